//! What an operator should know about the logs, each thing said once.

use std::fmt;
use std::path::{Path, PathBuf};

use super::{Compression, FILES_MAX, LINE_BYTES_MAX};

/// How many notices wait for the caller at most; what comes after is dropped,
/// since the caller asks for them after every read.
const NOTICES_MAX: usize = 1024;

/// Something happened to a log.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Notice {
    /// There is no such file (yet).
    Missing(PathBuf),
    /// It was missing, and now it is there.
    Appeared(PathBuf),
    /// It was there, and now it is missing.
    Gone(PathBuf),
    /// The name stands for a new file; the old one is read to its end.
    Rotated(PathBuf),
    /// It was emptied; it is read from its beginning.
    Truncated(PathBuf),
    /// We may not read it.
    Denied(PathBuf),
    /// There is something that is no file: a directory, a device.
    NotAFile(PathBuf),
    /// It cannot be read for another reason.
    Failed(PathBuf, String),
    /// It can be read again.
    Readable(PathBuf),
    /// It is compressed, so it is not read; said once per file.
    Compressed(PathBuf, Compression),
    /// It has lines longer than we read; said once per file.
    LineCut(PathBuf),
    /// It ended for good without a newline; that many bytes are no line.
    Unfinished(PathBuf, usize),
    /// Nothing more will come from it.
    Ended(PathBuf),
    /// More files than we follow; the name is the first that is left out.
    TooManyFiles(PathBuf),
    /// The kernel does not tell us about this directory, and why: we look ourselves.
    NotWatched(PathBuf, String),
}

impl Notice {
    /// Should an operator mend something?
    pub fn is_warning(&self) -> bool {
        matches!(
            self,
            Notice::Denied(_)
                | Notice::NotAFile(_)
                | Notice::Failed(..)
                | Notice::Compressed(..)
                | Notice::LineCut(_)
                | Notice::TooManyFiles(_)
                | Notice::NotWatched(..)
        )
    }

    /// Which log, or which directory.
    pub fn path(&self) -> &Path {
        match self {
            Notice::Missing(path)
            | Notice::Appeared(path)
            | Notice::Gone(path)
            | Notice::Rotated(path)
            | Notice::Truncated(path)
            | Notice::Denied(path)
            | Notice::NotAFile(path)
            | Notice::Failed(path, _)
            | Notice::Readable(path)
            | Notice::Compressed(path, _)
            | Notice::LineCut(path)
            | Notice::Unfinished(path, _)
            | Notice::Ended(path)
            | Notice::TooManyFiles(path)
            | Notice::NotWatched(path, _) => path,
        }
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.path().display())?;
        match self {
            Notice::Missing(_) => f.write_str("is not there; it will be read once it is"),
            Notice::Appeared(_) => f.write_str("is there now"),
            Notice::Gone(_) => f.write_str("is gone; what was left in it is read"),
            Notice::Rotated(_) => f.write_str("was rotated"),
            Notice::Truncated(_) => f.write_str("was truncated; it is read from its beginning"),
            Notice::Denied(_) => {
                f.write_str("we may not read it; give the group of our user read permission")
            }
            Notice::NotAFile(_) => f.write_str("is neither a file nor a named pipe"),
            Notice::Failed(_, why) => write!(f, "cannot be read: {why}"),
            Notice::Readable(_) => f.write_str("can be read again"),
            Notice::Compressed(path, how) => write!(
                f,
                "is compressed ({}) and not read: let `logpath` name only logs that are written to; `{} {} | ringfence scan -` judges it",
                how.word(),
                how.reader(),
                path.display()
            ),
            Notice::LineCut(_) => write!(
                f,
                "has lines of more than {LINE_BYTES_MAX} bytes; they are cut"
            ),
            Notice::Unfinished(_, bytes) => {
                write!(
                    f,
                    "ended without a newline; its last {bytes} bytes are no line"
                )
            }
            Notice::Ended(_) => f.write_str("has ended; nothing more will come from it"),
            Notice::TooManyFiles(_) => {
                write!(
                    f,
                    "is not followed, nor are those after it: at most {FILES_MAX} files are"
                )
            }
            Notice::NotWatched(_, why) => write!(
                f,
                "the kernel gives no watch ({why}); we look ourselves, a quarter of a second later"
            ),
        }
    }
}

/// The notices that nobody has taken yet.
#[derive(Debug, Default)]
pub(super) struct Notices(Vec<Notice>);

impl Notices {
    pub(super) fn push(&mut self, notice: Notice) {
        if self.0.len() < NOTICES_MAX {
            self.0.push(notice);
        }
    }

    /// That many bytes are no line.
    pub(super) fn tell_unfinished(&mut self, path: PathBuf, bytes: usize) {
        if bytes > 0 {
            self.push(Notice::Unfinished(path, bytes));
        }
    }

    pub(super) fn take(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.0)
    }
}
