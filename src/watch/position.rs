//! A position: how far a file was read, and how to know the file again.
//!
//! A file is known by its inode and its first bytes. The inode alone is not
//! enough, since file systems give it to the next file at once; the device number
//! is not asked, since it may change when the machine starts again. Writing
//! positions down is the caller's business.

use std::path::PathBuf;

/// How many bytes of a file's beginning identify it; as far as a `u8` counts.
/// Logs begin with a date, containers' logs have it at the end of the first line.
pub const HEAD_BYTES_MAX: usize = u8::MAX as usize;

/// Below this many bytes a head does not tell two files apart whose inodes differ.
const TELLING_BYTES_MIN: u8 = 16;

/// The fingerprint of a file's first bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// How many bytes, at most [`HEAD_BYTES_MAX`]; 0 says nothing about the file.
    pub len: u8,
    /// Their FNV-1a hash. It is written to disk, so it must stay what it is.
    pub hash: u64,
}

impl Head {
    /// The fingerprint of a file that begins with `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        let len = bytes.len().min(HEAD_BYTES_MAX);
        Head {
            len: len as u8,
            hash: fnv1a(&bytes[..len]),
        }
    }

    /// Is a file that begins with `bytes` the same one, perhaps grown?
    pub fn fits(self, bytes: &[u8]) -> bool {
        bytes
            .get(..usize::from(self.len))
            .is_some_and(|head| self.len == 0 || fnv1a(head) == self.hash)
    }

    /// Is it long enough to know a copy of the file by it?
    pub(super) fn is_telling(self) -> bool {
        self.len >= TELLING_BYTES_MIN
    }
}

/// How far a file was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// The name under which it was followed.
    pub path: PathBuf,
    /// Its inode.
    pub inode: u64,
    /// What it began with.
    pub head: Head,
    /// The first byte that was not handed on.
    pub offset: u64,
    /// When it had last been written to when we last saw it under its name, in
    /// nanoseconds since 1970 by the file system's clock. What we have not seen of
    /// the log is newer.
    pub modified: i64,
}

impl Position {
    /// Was this the position of the file with that inode, size and beginning? Of a
    /// file that was empty, nobody can tell.
    pub(super) fn is_of(&self, inode: u64, size: u64, head: &[u8]) -> bool {
        self.inode == inode && self.offset <= size && self.head.len > 0 && self.head.fits(head)
    }

    /// Does another file begin as this one did, and reach as far? Then it is a
    /// copy, made before the file was truncated.
    pub(super) fn is_copied_by(&self, size: u64, head: &[u8]) -> bool {
        self.head.is_telling() && self.offset <= size && self.head.fits(head)
    }
}

fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_grow_with_their_file() {
        let head = Head::of(b"one\n");
        assert_eq!((head.len, head.hash), (4, 0x0715_adb4_6adb_6c5f));
        assert!(head.fits(b"one\ntwo\n"));
        assert!(!head.fits(b"one"), "shorter");
        assert!(!head.fits(b"One\ntwo\n"));
        assert!(Head::default().fits(b""));
        assert_eq!(usize::from(Head::of(&[7; 999]).len), HEAD_BYTES_MAX);
    }

    #[test]
    fn a_file_is_known_again() {
        let position = Position {
            path: "/var/log/messages".into(),
            inode: 7,
            head: Head::of(b"2026-11-22 first line\n"),
            offset: 22,
            modified: 0,
        };
        let grown = b"2026-11-22 first line\nsecond\n";
        for (inode, size, head, known, copied) in [
            (7, 29, &grown[..], true, true),
            (7, 21, grown, false, false),
            (8, 29, grown, false, true),
            (7, 29, b"2026-11-23 first line\n", false, false),
        ] {
            assert_eq!(position.is_of(inode, size, head), known);
            assert_eq!(position.is_copied_by(size, head), copied);
        }
    }
}
