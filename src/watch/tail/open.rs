//! Opening: where to begin in a file that has come into view, and which files
//! hold what its log said before.

use std::io;
use std::path::Path;
use std::time::Instant;

use super::super::file::{self, File, Identity};
use super::super::names::Name;
use super::super::rotated::{self, Sibling};
use super::super::{FILES_MAX, FileId, Head, Notice, Position, SourceId, Start};
use super::{Followed, Tail, Trouble};

/// How to look for a log's earlier content.
pub(super) struct Search {
    /// The file that stands behind the name now.
    pub(super) except: Identity,
    /// Its first bytes.
    pub(super) head: Vec<u8>,
    /// The file that stood behind it before, if it is open.
    pub(super) previous: Option<FileId>,
    /// Also take unknown files that are newer than those that we know: the log
    /// was rotated more than once.
    pub(super) between: bool,
    /// No file stood behind the name since we follow it: the log may have been
    /// rotated just before, and its server may still write to the old file.
    pub(super) returning: bool,
    /// Was all this written while we were watching?
    pub(super) live: bool,
    /// The present time.
    pub(super) now: Instant,
}

impl Search {
    /// The search after a truncation, while we were here.
    pub(super) fn running(except: Identity, head: Vec<u8>, now: Instant) -> Self {
        Search {
            except,
            head,
            previous: None,
            between: true,
            returning: false,
            live: true,
            now,
        }
    }
}

/// What a file beside the log holds.
enum Earlier {
    /// Content of the log, read so far.
    Unread(Position),
    /// Content of the log, all read.
    Read,
    /// We never saw it.
    Unknown,
}

impl Tail {
    /// Opens the file behind a name, and what is to be read before it.
    pub(super) fn open(&mut self, path: &Path, name: &Name, now: Instant) -> io::Result<()> {
        if self.files.len() >= FILES_MAX {
            if !std::mem::replace(&mut self.is_full, true) {
                self.notices.push(Notice::TooManyFiles(path.to_owned()));
            }
            self.see_trouble(path, Trouble::TooMany);
            return Ok(());
        }
        let (handle, meta) = file::open(path)?;
        let identity = file::identity(&meta);
        if let Some(place) = self.files.iter().position(|file| file.identity == identity) {
            self.see_file(place, path, name, false);
            return Ok(()); // Two new names for one new file.
        }
        let head = file::read_head(&handle)?;
        let size = meta.len();
        let was_left_out = self
            .names
            .get(path)
            .is_some_and(|name| name.trouble == Some(Trouble::TooMany));
        let is_first_sight = was_left_out || self.followed(name).all(|followed| followed.fresh);
        let was_followed = self.remembered.iter().any(|known| known.path == path);
        let last = self.names.get(path).and_then(|name| name.file);
        let previous = last.filter(|id| self.file(*id).is_some());
        let known = self.recall(identity, size, &head);

        let mut file = File::new(self.new_id(), path, (handle, meta), &head, now);
        file.live = !is_first_sight;
        let start = match is_first_sight && !was_followed {
            true => self.start(name),
            false => Start::Head,
        };
        let started = match (&known, start) {
            (Some(position), _) => file.start_at(position.offset),
            (None, Start::Head) => Ok(()),
            (None, Start::Tail) => file.start_at_end(size),
            (None, Start::Recent) => self.start_at_recent(&mut file, name, size),
        };
        if let Err(error) = started {
            self.remembered.extend(known);
            return Err(error);
        }
        if is_first_sight || known.is_none() {
            let search = Search {
                except: identity,
                head,
                previous,
                between: known.is_none(),
                returning: last.is_none(),
                live: !is_first_sight,
                now,
            };
            file.after = self.open_earlier(path, &search);
        }
        // What was known of an empty file has served its end.
        self.remembered
            .retain(|known| known.path != path || known.head.len > 0);
        self.take_in(file, name, previous.is_some(), is_first_sight);
        Ok(())
    }

    /// Puts a newly opened file under its name.
    fn take_in(&mut self, mut file: File, name: &Name, is_rotation: bool, is_first_sight: bool) {
        file.sources = name.sources.iter().copied().collect();
        let path = file.path.clone();
        let entry = self.names.entry(path.clone()).or_default();
        entry.file = Some(file.id);
        file.failed_before = matches!(entry.trouble, Some(Trouble::Failed(_)));
        if entry.trouble.is_none() {
            if is_rotation {
                self.notices.push(Notice::Rotated(path.clone()));
            } else if !is_first_sight {
                self.notices.push(Notice::Appeared(path.clone()));
            }
        }
        if !file.failed_before {
            entry.change(&path, None, &mut self.notices);
        }
        self.files.push(file);
    }

    fn followed(&self, name: &Name) -> impl Iterator<Item = &Followed> {
        self.sources
            .iter()
            .filter(|followed| name.sources.contains(&followed.source.id))
    }

    fn start(&self, name: &Name) -> Start {
        let starts = |start| {
            let mut followed = self.followed(name);
            followed.any(|followed| followed.source.start == start)
        };
        [Start::Head, Start::Recent]
            .into_iter()
            .find(|start| starts(*start))
            .unwrap_or(Start::Tail)
    }

    fn start_at_recent(&mut self, file: &mut File, name: &Name, size: u64) -> io::Result<()> {
        let Some(ages) = &mut self.ages else {
            return file.start_at_end(size);
        };
        let sources: Vec<SourceId> = name.sources.iter().copied().collect();
        file.start_at_recent(size, &mut |line| ages(&sources, line))
    }

    /// Takes the position at which this file was left, if it was read before.
    fn recall(&mut self, identity: Identity, size: u64, head: &[u8]) -> Option<Position> {
        let place = self
            .remembered
            .iter()
            .rposition(|known| known.is_of(identity.1, size, head))?;
        Some(self.remembered.remove(place))
    }

    /// Opens the files in which a log's earlier content was not read to its end,
    /// and chains them, oldest first. Returns the last of them, or else the
    /// previous file: the log itself is to be read after that.
    pub(super) fn open_earlier(&mut self, path: &Path, search: &Search) -> Option<FileId> {
        let mut last = search.previous;
        let open = self.files.iter().filter(|file| file.path == path);
        let known = self.remembered.iter().filter(|known| known.path == path);
        let inodes: Vec<u64> = known.clone().map(|known| known.inode).collect();
        // What we have not seen was written after we last looked.
        let newest = open
            .filter(|file| file.identity != search.except)
            .map(|file| file.modified)
            .chain(known.map(|known| known.modified))
            .max();
        let Some(newest) = newest else {
            return last; // We know nothing of this log yet.
        };
        let mut unread = Vec::new();
        for sibling in rotated::siblings(path, &inodes) {
            if sibling.identity == search.except || self.is_open(sibling.identity) {
                continue;
            }
            let modified = sibling.look.modified;
            match self.earlier(path, &sibling, search) {
                // What we know is older than what we do not, even if it is still
                // written to.
                Earlier::Unread(known) => {
                    unread.push((false, known.modified, sibling, Some(known)))
                }
                Earlier::Unknown if sibling.is_named_so && modified > newest && search.between => {
                    unread.push((true, modified, sibling, None));
                }
                Earlier::Read | Earlier::Unknown => {}
            }
        }
        unread.sort_by_key(|(is_unknown, modified, ..)| (*is_unknown, *modified));
        for (_, _, sibling, known) in unread {
            let offset = known.as_ref().map_or(0, |known| known.offset);
            match self.open_sibling(path, &sibling, offset, last, search) {
                Ok(id) => last = Some(id),
                Err(_) => self.remembered.extend(known), // Perhaps another time.
            }
        }
        last
    }

    /// What a file beside the log holds. If that is to be read, its position is
    /// taken from what we remember.
    fn earlier(&mut self, path: &Path, sibling: &Sibling, search: &Search) -> Earlier {
        let (inode, size, head) = (sibling.identity.1, sibling.look.size, &sibling.head[..]);
        let here = |known: &Position| known.path == path;
        let find = |which: &dyn Fn(&Position) -> bool| {
            self.remembered
                .iter()
                .rposition(|known| here(known) && which(known))
        };
        let same = find(&|known| known.is_of(inode, size, head));
        let copied = || find(&|known| known.is_copied_by(size, head));
        let was_empty = || {
            let is_it = |known: &Position| known.inode == inode && known.head.len == 0;
            find(&|known| sibling.is_named_so && is_it(known))
        };
        let known = same.or_else(copied);
        if known.is_none() && self.is_copy(path, head, search) {
            return Earlier::Read;
        }
        let Some(place) = known.or_else(was_empty) else {
            return Earlier::Unknown;
        };
        let known = &self.remembered[place];
        let is_latest = !self.remembered[place + 1..].iter().any(here);
        let may_grow = search.returning && is_latest && known.inode == inode;
        if size == known.offset && !may_grow {
            // The next file gets a deleted one's inode at once, so that an empty one may
            // be another, and its server may be about to write to it.
            return match known.head.len {
                0 => Earlier::Unknown,
                _ => Earlier::Read,
            };
        }
        Earlier::Unread(self.remembered.remove(place))
    }

    /// Does a file begin as one of the log's that we know or are about to read? It may be
    /// shorter: the log was written to once more between the copying and the truncation.
    fn is_copy(&self, path: &Path, head: &[u8], search: &Search) -> bool {
        let is_present = search.head.starts_with(head) && Head::of(head).is_telling();
        let open = self.files.iter().filter(|file| file.path == path);
        let mut remembered = self.remembered.iter().filter(|known| known.path == path);
        is_present
            || remembered.any(|known| known.is_copied_by(u64::MAX, head))
            || open
                .map(File::position)
                .any(|known| known.is_copied_by(u64::MAX, head))
    }

    fn open_sibling(
        &mut self,
        path: &Path,
        sibling: &Sibling,
        offset: u64,
        after: Option<FileId>,
        search: &Search,
    ) -> io::Result<FileId> {
        if self.files.len() + 1 >= FILES_MAX {
            return Err(io::ErrorKind::QuotaExceeded.into()); // One is for the log itself.
        }
        let opened = file::open(&sibling.path)?;
        let head = file::read_head(&opened.0)?;
        let mut file = File::new(self.new_id(), path, opened, &head, search.now);
        file.start_at(offset)?;
        file.live = search.live;
        file.named = false;
        file.after = after;
        file.sources = super::look::followers(&self.sources, path);
        let id = file.id;
        self.files.push(file);
        Ok(id)
    }

    fn is_open(&self, identity: Identity) -> bool {
        self.files.iter().any(|file| file.identity == identity)
    }
}
