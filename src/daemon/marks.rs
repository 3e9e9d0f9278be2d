//! How fail2ban knows a log again: by the SHA-1 of its first line. (Its table calls it
//! `firstlinemd5`.) Here positions of ours get that mark, and a position of fail2ban's
//! becomes one of ours if the file still begins as it did.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use glob::{MatchOptions, Pattern};
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

use crate::ban::record::{ForeignPlace, Mark, Place};
use crate::config::JailConfig;
use crate::ticket::JailName;
use crate::watch::{Head, LINE_BYTES_MAX, Position};

/// Marks that are remembered; when there are more, all are made again.
const MARKS_MAX: usize = 4 * crate::watch::FILES_MAX;

/// The marks of all logs that are followed.
pub struct Marks {
    followers: Vec<(Pattern, JailName)>,
    known: HashMap<PathBuf, Known>,
}

/// A mark holds as long as the file is the same by its inode and beginning.
struct Known {
    inode: u64,
    head: Head,
    mark: Mark,
}

impl Marks {
    /// The marks of the logs of these jails.
    pub fn new(jails: &[JailConfig]) -> Marks {
        let logs = jails.iter().flat_map(|jail| {
            let name = &jail.rules.name;
            jail.logs
                .iter()
                .map(move |log| (&log.pattern, name.clone()))
        });
        let pattern = |text: &str| {
            Pattern::new(text)
                .or_else(|_| Pattern::new(&Pattern::escape(text)))
                .ok()
        };
        Marks {
            followers: logs
                .filter_map(|(text, name)| Some((pattern(text)?, name)))
                .collect(),
            known: HashMap::new(),
        }
    }

    /// The mark of the log that was read so far; none if another file has its name now, if
    /// its first line is not whole yet, or if nobody can read it.
    pub fn of(&mut self, position: &Position) -> Option<Mark> {
        let known = self.known.get(&position.path);
        let same = |known: &&Known| known.inode == position.inode && known.head == position.head;
        if let Some(known) = known.filter(same) {
            return Some(known.mark.clone());
        }
        let file = File::open(&position.path).ok()?;
        if file.metadata().ok()?.ino() != position.inode {
            return None;
        }
        let mark = Mark {
            first_line: sha1(&first_line(&file)?),
            jails: self.followers_of(&position.path),
        };
        if self.known.len() >= MARKS_MAX {
            self.known.clear();
        }
        let known = Known {
            inode: position.inode,
            head: position.head,
            mark: mark.clone(),
        };
        self.known.insert(position.path.clone(), known);
        Some(mark)
    }

    fn followers_of(&self, path: &Path) -> Vec<JailName> {
        let options = MatchOptions {
            require_literal_separator: true,
            ..MatchOptions::new()
        };
        let follows = |pattern: &Pattern| pattern.matches_path_with(path, options);
        let mut jails: Vec<JailName> = self
            .followers
            .iter()
            .filter(|(pattern, _)| follows(pattern))
            .map(|(_, name)| name.clone())
            .collect();
        jails.sort();
        jails.dedup();
        jails
    }

    /// Where reading goes on, by our own table and by fail2ban's. Both are written together,
    /// so where they differ fail2ban has read since, and its word holds. Its jails may have
    /// stopped at different places of one log: then at the first of them, since a line that
    /// counts twice is better than one that does not count. A log that is another now has
    /// no position.
    pub fn positions(&self, ours: Vec<Position>, foreign: &[ForeignPlace]) -> Vec<Position> {
        let mut logs: BTreeMap<&Path, Vec<&ForeignPlace>> = BTreeMap::new();
        for place in foreign {
            // What a jail says that we do not run was not written by us, and may be old.
            if self.followers_of(&place.path).contains(&place.jail) {
                logs.entry(&place.path).or_default().push(place);
            }
        }
        logs.retain(|path, found| {
            let is_ours = |foreign: &&ForeignPlace| {
                let mut same = ours.iter().filter(|position| position.path == *path);
                same.any(|position| position.offset == foreign.offset)
            };
            !found.iter().all(is_ours)
        });
        let theirs = logs.values().filter_map(|found| {
            let fitting = found.iter().filter_map(|foreign| position(foreign));
            fitting.min_by_key(|position| position.offset)
        });
        let theirs: Vec<Position> = theirs.collect();
        let left = ours.into_iter();
        left.filter(|position| !logs.contains_key(position.path.as_path()))
            .chain(theirs)
            .collect()
    }
}

fn position(foreign: &ForeignPlace) -> Option<Position> {
    let file = File::open(&foreign.path).ok()?;
    let about = file.metadata().ok()?;
    let line = first_line(&file)?;
    if foreign.offset > about.size() || sha1(&line) != foreign.first_line {
        return None;
    }
    let mut head = Vec::new();
    let beginning = File::open(&foreign.path).ok()?;
    let most = crate::watch::HEAD_BYTES_MAX as u64;
    beginning.take(most).read_to_end(&mut head).ok()?;
    Some(Position {
        path: foreign.path.clone(),
        inode: about.ino(),
        head: Head::of(&head),
        offset: foreign.offset,
        modified: about
            .mtime()
            .saturating_mul(1_000_000_000)
            .saturating_add(about.mtime_nsec()),
    })
}

/// The first line of a file with its newline, if it is whole and no longer than a line may be.
fn first_line(file: &File) -> Option<Vec<u8>> {
    let mut line = Vec::new();
    let most = LINE_BYTES_MAX as u64 + 1;
    BufReader::new(file.take(most))
        .read_until(b'\n', &mut line)
        .ok()?;
    line.ends_with(b"\n").then_some(line)
}

fn sha1(bytes: &[u8]) -> String {
    let digest = digest(&SHA1_FOR_LEGACY_USE_ONLY, bytes);
    digest
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// A position of ours with its mark, as it is written down.
pub fn place(position: Position, mark: Option<Mark>) -> Place {
    let Position {
        path,
        inode,
        head,
        offset,
        modified,
    } = position;
    Place {
        path,
        inode,
        head_len: head.len,
        head_hash: head.hash,
        offset,
        modified,
        mark,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_read_last_says_where() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        std::fs::write(&path, "first\nsecond\n").unwrap();
        assert_eq!(sha1(b"abc"), "a9993e364706816aba3e25717850c26c9cd0d89d");
        let first_line = sha1(b"first\n");
        let place = |jail: &str, first_line: &str, offset| ForeignPlace {
            jail: jail.into(),
            path: path.clone(),
            first_line: first_line.to_owned(),
            offset,
        };
        let pattern = |_| Pattern::new(&folder.path().join("*").to_string_lossy()).unwrap();
        let mut marks = Marks {
            followers: ["one", "two"].map(|jail| (pattern(()), jail.into())).into(),
            known: HashMap::new(),
        };
        let one = |offset| place("one", &first_line, offset);
        let two = |offset| place("two", &first_line, offset);
        let offsets = |ours: &[Position], theirs: &[ForeignPlace]| {
            let found = marks.positions(ours.to_vec(), theirs);
            found.iter().map(|found| found.offset).collect::<Vec<_>>()
        };
        assert_eq!(offsets(&[], &[one(13), two(6)]), [6]);
        let ours = marks.positions(Vec::new(), &[one(6)]);
        assert_eq!(offsets(&ours, &[one(6), two(6)]), [6]);
        assert_eq!(offsets(&ours, &[one(13), two(13)]), [13], "it went on");
        assert_eq!(
            offsets(&ours, &[one(6), place("three", &first_line, 1)]),
            [6]
        );
        assert_eq!(offsets(&ours, &[]), [6]);
        assert_eq!(offsets(&ours, &[one(14)]), [0; 0], "truncated since");
        assert_eq!(offsets(&ours, &[place("one", "other", 1)]), [0; 0]);
        let mark = marks.of(&ours[0]).unwrap();
        assert_eq!(mark.first_line, first_line);
        assert_eq!(mark.jails, ["one".into(), "two".into()]);
        std::fs::write(&path, "no whole line").unwrap();
        assert_eq!(marks.positions(Vec::new(), &[one(6)]), []);
    }
}
