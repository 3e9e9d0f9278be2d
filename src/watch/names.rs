//! Names: from a source's pattern to the paths that it stands for now, and to the
//! directories in which something may change that.
//!
//! One walk finds both. A path without wildcards is a name even if nothing is
//! there; a glob stands for what it finds. The pattern language is that of
//! Python's `glob` without recursion, since that is what `logpath` means in
//! `jail.conf`: a leading dot must be written, `**` is `*`, and a pattern that
//! makes no sense is a plain name.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Component, Path, PathBuf};

use super::{SourceId, inlet};

/// How many names one walk collects: twice what we follow, so that the limit on
/// open files is the one that is met and said.
const NAMES_MAX: usize = 2 * super::FILES_MAX;

/// A compiled pattern: an absolute path, part by part.
#[derive(Debug)]
pub(super) struct Pattern {
    path: PathBuf,
    parts: Vec<Part>,
    /// Does it name no file?
    is_inlet: bool,
}

#[derive(Debug)]
enum Part {
    Literal(OsString),
    Glob(glob::Pattern),
}

impl Pattern {
    pub(super) fn new(text: &str) -> Self {
        let is_inlet = inlet::is_inlet(text);
        let path = match is_inlet {
            true => PathBuf::from(text),
            false => std::path::absolute(text).unwrap_or_else(|_| PathBuf::from(text)),
        };
        let part = |name: &OsStr| match is_inlet {
            true => Part::Literal(name.to_owned()),
            false => Part::new(name),
        };
        let parts = parts_of(&path).map(part).collect();
        Pattern {
            path,
            parts,
            is_inlet,
        }
    }

    /// Does it stand for this path, whether or not something is there?
    pub(super) fn names(&self, path: &Path) -> bool {
        let mut names = parts_of(path);
        self.parts
            .iter()
            .all(|part| names.next().is_some_and(|name| part.names(name)))
            && names.next().is_none()
    }

    fn is_plain(&self) -> bool {
        self.parts
            .iter()
            .all(|part| matches!(part, Part::Literal(_)))
    }
}

fn parts_of(path: &Path) -> impl Iterator<Item = &OsStr> {
    path.components()
        .filter(|part| !matches!(part, Component::RootDir))
        .map(|part| part.as_os_str())
}

impl Part {
    fn new(name: &OsStr) -> Self {
        let literal = || Part::Literal(name.to_owned());
        let Some(text) = name.to_str().filter(|text| text.contains(['*', '?', '['])) else {
            return literal();
        };
        let mut text = text.to_owned();
        while text.contains("**") {
            text = text.replace("**", "*");
        }
        glob::Pattern::new(&text).map_or_else(|_| literal(), Part::Glob)
    }

    fn names(&self, name: &OsStr) -> bool {
        match self {
            Part::Literal(literal) => literal == name,
            Part::Glob(pattern) => glob_names(pattern, name),
        }
    }
}

fn glob_names(pattern: &glob::Pattern, name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    let is_hidden = name.starts_with('.') && !pattern.as_str().starts_with('.');
    !is_hidden && pattern.matches(&name)
}

/// What the sources stand for now.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The paths.
    pub(super) names: BTreeMap<PathBuf, Name>,
    /// Where changes are to be heard: directories by their real path, so that no
    /// two of them are the same.
    pub(super) ears: BTreeMap<PathBuf, Ear>,
}

/// A path that somebody follows.
#[derive(Debug, Default)]
pub(super) struct Name {
    /// Who.
    pub(super) sources: BTreeSet<SourceId>,
    /// Was it written out, so that it counts even if nothing is there?
    pub(super) plain: bool,
}

/// What matters in one directory.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Ear {
    names: BTreeSet<OsString>,
    globs: Vec<glob::Pattern>,
}

impl Ear {
    /// Does it matter if a thing of that name comes, goes or changes?
    pub(super) fn hears(&self, name: &OsStr) -> bool {
        self.names.contains(name) || self.globs.iter().any(|glob| glob_names(glob, name))
    }
}

impl Found {
    /// Adds what one source's pattern stands for.
    pub(super) fn walk(&mut self, pattern: &Pattern, source: SourceId) {
        if pattern.is_plain() {
            self.name(pattern.path.clone(), source, true);
        }
        if !pattern.is_inlet {
            self.step(Path::new("/"), &pattern.parts, source);
        }
    }

    fn step(&mut self, dir: &Path, parts: &[Part], source: SourceId) {
        let Some((part, rest)) = parts.split_first() else {
            return;
        };
        match part {
            Part::Literal(name) => {
                let path = dir.join(name);
                if rest.is_empty() {
                    self.ear(dir, |ear| {
                        ear.names.insert(name.clone());
                    });
                    if path.exists() {
                        self.name(path, source, false);
                    }
                } else if path.is_dir() {
                    self.step(&path, rest, source);
                } else {
                    self.ear(dir, |ear| {
                        ear.names.insert(name.clone());
                    });
                }
            }
            Part::Glob(pattern) => {
                self.ear(dir, |ear| {
                    if !ear.globs.contains(pattern) {
                        ear.globs.push(pattern.clone());
                    }
                });
                for path in matches_in(dir, pattern) {
                    if rest.is_empty() {
                        self.name(path, source, false);
                    } else if path.is_dir() {
                        self.step(&path, rest, source);
                    }
                }
            }
        }
    }

    fn name(&mut self, path: PathBuf, source: SourceId, plain: bool) {
        if self.names.len() < NAMES_MAX || self.names.contains_key(&path) {
            let name = self.names.entry(path).or_default();
            name.sources.insert(source);
            name.plain |= plain;
        }
    }

    fn ear(&mut self, dir: &Path, hear: impl FnOnce(&mut Ear)) {
        if let Ok(dir) = fs::canonicalize(dir) {
            self.real_ear(dir, hear);
        }
    }

    fn real_ear(&mut self, dir: PathBuf, hear: impl FnOnce(&mut Ear)) {
        if self.ears.len() < NAMES_MAX || self.ears.contains_key(&dir) {
            hear(self.ears.entry(dir).or_default());
        }
    }

    /// Listens for one file by its real path as well: it may lie elsewhere.
    pub(super) fn hear_file(&mut self, real: &Path) {
        if let (Some(dir), Some(name)) = (real.parent(), real.file_name()) {
            self.real_ear(dir.to_owned(), |ear| {
                ear.names.insert(name.to_owned());
            });
        }
    }
}

/// What the glob finds in a directory, sorted. A directory that cannot be read
/// has nothing in it; the next sweep asks again.
fn matches_in(dir: &Path, pattern: &glob::Pattern) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else {
        return Vec::new();
    };
    let mut paths: Vec<PathBuf> = entries
        .flatten()
        .filter(|entry| glob_names(pattern, &entry.file_name()))
        .map(|entry| entry.path())
        .collect();
    paths.sort();
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_name_paths() {
        for (pattern, path, named) in [
            ("/var/log/messages", "/var/log/messages", true),
            ("/var/log/messages", "/var/log/messages.1", false),
            ("/var/log/*.log", "/var/log/a.log", true),
            ("/var/log/*.log", "/var/log/.log", false),
            ("/var/log/*.log", "/var/log/a/b.log", false),
            ("/var/log/*/full", "/var/log/asterisk/full", true),
            ("/var/log/**/full", "/var/log/asterisk/full", true),
            ("/var/log/**/full", "/var/log/a/b/full", false),
            ("/var/log/a**.log", "/var/log/ab.log", true),
            ("/var/log/[ab]?.log", "/var/log/a1.log", true),
            ("/var/log/[!ab]?.log", "/var/log/a1.log", false),
            ("/var/log/[", "/var/log/[", true),
        ] {
            let compiled = Pattern::new(pattern);
            assert_eq!(compiled.names(Path::new(path)), named, "{pattern} {path}");
        }
    }

    fn walk(dir: &Path, patterns: &str) -> String {
        let mut found = Found::default();
        for (place, pattern) in patterns.split_whitespace().enumerate() {
            let pattern = Pattern::new(&format!("{}/{pattern}", dir.display()));
            found.walk(&pattern, SourceId(place));
        }
        let short = |path: &Path| path.strip_prefix(dir).unwrap().display().to_string();
        let names = found.names.iter().map(|(path, name)| {
            let ids: Vec<String> = name.sources.iter().map(|id| id.0.to_string()).collect();
            format!("{} for {}\n", short(path), ids.join(" "))
        });
        let ears = found.ears.iter().map(|(path, ear)| {
            let names = ear.names.iter().map(|name| name.to_string_lossy());
            let globs = ear.globs.iter().map(|glob| glob.as_str().into());
            let all: Vec<_> = names.chain(globs).collect();
            format!("in `{}`: {}\n", short(path), all.join(" "))
        });
        names.chain(ears).collect()
    }

    #[test]
    fn one_walk_finds_names_and_directories() {
        let dir = tempfile::tempdir().unwrap();
        let dir = fs::canonicalize(dir.path()).unwrap();
        fs::create_dir_all(dir.join("a/empty")).unwrap();
        fs::create_dir_all(dir.join("b")).unwrap();
        std::os::unix::fs::symlink("b", dir.join("c")).unwrap();
        for name in ["a/1.log", "a/2.log", "a/.3.log", "b/1.log"] {
            fs::write(dir.join(name), "").unwrap();
        }
        expect_test::expect![[r#"
            a/1.log for 0 1 2
            a/2.log for 1
            b/1.log for 2
            c/1.log for 2
            no/such/file for 3
            in ``: no *
            in `a`: 1.log *.log
            in `b`: 1.log
        "#]]
        .assert_eq(&walk(
            &dir,
            "a/1.log a/*.log */1.log no/such/file no/such/*",
        ));
    }
}
