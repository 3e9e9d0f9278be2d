//! The files of one server's configuration: plain ones, none of them inside itself, and no
//! more than somebody can look through. Who wrote them may be somebody else than who runs us.

use std::collections::HashSet;
use std::io::{Error, ErrorKind, Read, Result};
use std::path::{Path, PathBuf};

use super::{Found, Kind, Place, Server};
use crate::watch::open_plain;

/// Files that are read of one server, counted as often as they are included.
const FILES_MAX: usize = 512;

/// The longest file that is read; a table of a few ten thousand addresses.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// How deep files may include each other.
const DEPTH_MAX: usize = 16;

/// What is known of one server's files while they are read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Reading {
    /// Those that are being read, the outermost first; links are resolved.
    open: Vec<PathBuf>,
    /// How often any was begun.
    begun: usize,
    /// Those that were read.
    known: HashSet<PathBuf>,
}

impl Found {
    /// Reads what lies in one server's folder.
    pub(super) fn server(
        &mut self,
        Kind { name, looked_for }: Kind,
        folder: &Path,
        look: fn(&Path, &mut Found),
    ) {
        self.reading = Reading::default();
        match folder.read_dir() {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => self.problem(whole(folder), error.to_string()),
            Ok(_) => look(folder, self),
        }
        self.servers.push(Server {
            name,
            looked_for,
            folder: folder.to_owned(),
            files: self.reading.known.len(),
        });
    }

    /// Reads a file; none if it is not there, or cannot be read.
    pub(super) fn read(&mut self, path: &Path) -> Option<String> {
        let text = self.begin(path, whole(path));
        if text.is_some() {
            self.end();
        }
        text
    }

    /// Reads a file that may include others, until [`Found::end`]. None if it is not there, or
    /// cannot be read, or is being read already: `from` has said so then.
    pub(super) fn begin(&mut self, path: &Path, from: Place<'_>) -> Option<String> {
        let file = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let shown = path.display();
        if self.reading.open.contains(&file) {
            let message =
                format!("{shown} is being read already: it includes itself, and is left out here");
            self.problem(from, message);
            return None;
        }
        if self.reading.open.len() > DEPTH_MAX {
            let message =
                format!("more than {DEPTH_MAX} includes in each other; {shown} is left out");
            self.problem(from, message);
            return None;
        }
        if self.reading.begun >= FILES_MAX {
            if self.reading.begun == FILES_MAX {
                let message = format!(
                    "more than {FILES_MAX} files; {shown} and all further ones of this server are left out"
                );
                self.problem(from, message);
                self.reading.begun += 1;
            }
            return None;
        }
        match text(path) {
            Ok(text) => {
                self.reading.begun += 1;
                if self.reading.known.insert(file.clone()) {
                    self.files.push(path.to_owned());
                }
                self.reading.open.push(file);
                Some(text)
            }
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => {
                self.problem(whole(path), error.to_string());
                None
            }
        }
    }

    /// The file that was begun last is read to its end.
    pub(super) fn end(&mut self) {
        self.reading.open.pop();
    }

    /// Was this file read to its end?
    pub(super) fn has_read(&self, path: &Path) -> bool {
        let Reading { open, known, .. } = &self.reading;
        let file = path.canonicalize();
        file.is_ok_and(|file| known.contains(&file) && !open.contains(&file))
    }

    /// The files that a pattern names, in byte order; relative ones lie in `folder`.
    pub(super) fn named(&mut self, folder: &Path, pattern: &str, from: Place<'_>) -> Vec<PathBuf> {
        let pattern = folder.join(pattern).display().to_string();
        let mut files = Vec::new();
        match glob::glob(&pattern) {
            Ok(paths) => {
                for path in paths.take(FILES_MAX + 1) {
                    match path {
                        Ok(path) => files.push(path),
                        Err(error) => self.problem(whole(error.path()), error.error().to_string()),
                    }
                }
            }
            Err(error) => self.problem(from, format!("{pattern} is no pattern of files: {error}")),
        }
        files
    }
}

/// All of a file, or of a folder.
pub(super) fn whole(path: &Path) -> Place<'_> {
    Place {
        file: path,
        line: 0,
    }
}

fn text(path: &Path) -> Result<String> {
    let (file, _) = open_plain(path).map_err(|error| match error.kind() {
        ErrorKind::InvalidInput => Error::other("it is no plain file"),
        _ => error,
    })?;
    let mut bytes = Vec::new();
    if file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)? as u64 > FILE_BYTES_MAX {
        let message = format!("it is longer than {FILE_BYTES_MAX} bytes");
        return Err(Error::other(message));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
