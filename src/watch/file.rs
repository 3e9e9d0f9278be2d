//! One open file: reading what is new, and handing on whole lines.
//!
//! Which bytes are whole lines is the business of [`lines`](super::lines).

use std::fs::{self, Metadata};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Instant;

use memchr::memrchr;
use rustix::fs::OFlags;

use super::lines::{Lines, Piece};
use super::seek;
use super::{
    Block, Compression, FileId, FileState, FileStatus, HEAD_BYTES_MAX, Head, LINE_BYTES_MAX,
    Position, SourceId,
};

/// How much is read at a time: large enough that a log is read at memory speed,
/// small enough to stay in a processor's cache.
pub(super) const READ_BYTES: usize = 256 * 1024;

/// Which content this is, as far as the file system knows.
pub(super) type Identity = (u64, u64);

/// What the file system says without reading: if it is as it was, so is the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Look {
    pub(super) size: u64,
    /// Nanoseconds since 1970, by the file system's clock; it is only ever compared
    /// with that of other files.
    pub(super) modified: i64,
}

impl Look {
    pub(super) fn of(meta: &Metadata) -> Self {
        Look {
            size: meta.len(),
            modified: meta
                .mtime()
                .saturating_mul(1_000_000_000)
                .saturating_add(meta.mtime_nsec()),
        }
    }
}

pub(super) fn identity(meta: &Metadata) -> Identity {
    (meta.dev(), meta.ino())
}

/// Opens a regular file for reading; never waits, not even for a pipe.
pub fn open(path: &Path) -> io::Result<(fs::File, Metadata)> {
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let handle = fs::OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits() as i32)
        .open(path)?;
    let meta = handle.metadata()?;
    if !meta.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    Ok((handle, meta))
}

/// The file's first bytes.
pub(super) fn read_head(handle: &fs::File) -> io::Result<Vec<u8>> {
    let mut head = vec![0; HEAD_BYTES_MAX];
    let bytes = read_at(handle, &mut head, 0)?;
    head.truncate(bytes);
    Ok(head)
}

/// Where to begin in a file of `size` bytes so that only new lines are read: after
/// the last newline. If the last line is longer than any line we read, at its end.
pub(super) fn last_line(handle: &fs::File, size: u64) -> io::Result<u64> {
    let mut end = vec![0; (LINE_BYTES_MAX + 1).min(size as usize)];
    let from = size - end.len() as u64;
    let bytes = read_at(handle, &mut end, from)?;
    Ok(match memrchr(b'\n', &end[..bytes]) {
        Some(newline) => from + newline as u64 + 1,
        None if from == 0 => 0,
        None => size,
    })
}

fn read_at(handle: &fs::File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    loop {
        match handle.read_at(buffer, offset) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// What a turn of reading came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Everything that is there was read.
    End,
    /// The turn is over, and there is more.
    More,
    /// The content is another one than that which we read so far.
    Truncated,
}

/// One file that is being read.
pub(super) struct File {
    pub(super) id: FileId,
    /// The name under which it is or was followed.
    pub(super) path: PathBuf,
    pub(super) sources: Vec<SourceId>,
    pub(super) identity: Identity,
    handle: fs::File,
    head: Head,
    lines: Lines,
    pub(super) live: bool,
    /// Does a name stand for it now? If not, it was rotated or removed.
    pub(super) named: bool,
    /// The file that must be read to its end before this one.
    pub(super) after: Option<FileId>,
    /// Is there perhaps something to read?
    pub(super) dirty: bool,
    /// How it looked when it was last read.
    pub(super) look: Look,
    /// When it had last been written to when it last had its name, or was opened.
    /// Whatever of its log we have not seen was written later; it itself may be
    /// written to by a late server at any time.
    pub(super) modified: i64,
    /// When it last had something new, or lost its name.
    pub(super) changed: Instant,
    /// How it is compressed. Then nothing of it is read.
    compressed: Option<Compression>,
    /// Was that said?
    pub(super) is_told: bool,
    /// Its content came after a truncation. What was compressed began as a new file; a log
    /// may then begin with whatever its server writes in the middle of a message.
    is_begun_again: bool,
    /// It could not be read the last time, and nobody said yet that it can.
    pub(super) failed_before: bool,
}

impl File {
    /// A file to be read from its beginning. `head` are its first bytes.
    pub(super) fn new(
        id: FileId,
        path: &Path,
        (handle, meta): (fs::File, Metadata),
        head: &[u8],
        now: Instant,
    ) -> Self {
        File {
            id,
            path: path.to_owned(),
            sources: Vec::new(),
            identity: identity(&meta),
            handle,
            head: Head::of(head),
            compressed: Compression::of(head),
            is_told: false,
            is_begun_again: false,
            lines: Lines::default(),
            live: true,
            named: true,
            after: None,
            dirty: true,
            look: Look::default(),
            modified: Look::of(&meta).modified,
            changed: now,
            failed_before: false,
        }
    }

    /// Goes on at `offset`. If that is in the middle of a line, then because the
    /// line is too long, or because the position is not ours: the rest is no line.
    pub(super) fn start_at(&mut self, offset: u64) -> io::Result<()> {
        let mut before = *b"\n";
        if let Some(last) = offset.checked_sub(1) {
            read_at(&self.handle, &mut before, last)?;
        }
        self.lines = Lines::at(offset, before != *b"\n");
        Ok(())
    }

    /// Goes on at the last line's beginning.
    pub(super) fn start_at_end(&mut self, size: u64) -> io::Result<()> {
        self.start_at(last_line(&self.handle, size)?)
    }

    /// Begins where the lines are not old any more.
    pub(super) fn start_at_recent(
        &mut self,
        size: u64,
        is_old: &mut seek::IsOld<'_>,
    ) -> io::Result<()> {
        let end = last_line(&self.handle, size)?;
        self.start_at(seek::first_recent(&self.handle, end, is_old)?)
    }

    /// The same file with new content: forgets what was read.
    pub(super) fn begin_again(&mut self, id: FileId) {
        self.id = id;
        self.head = Head::default();
        self.compressed = None;
        self.is_begun_again = true;
        self.lines = Lines::default();
        self.look = Look::default();
        self.dirty = true;
    }

    pub(super) fn position(&self) -> Position {
        Position {
            path: self.path.clone(),
            inode: self.identity.1,
            head: self.head,
            offset: self.lines.offset,
            modified: self.modified,
        }
    }

    /// Its first bytes as they are now.
    pub(super) fn head(&self) -> io::Result<Vec<u8>> {
        read_head(&self.handle)
    }

    pub(super) fn status(&self) -> FileStatus {
        FileStatus {
            path: self.path.clone(),
            state: match (self.compressed, self.named, self.live) {
                (Some(how), ..) => FileState::Unreadable(format!("compressed ({})", how.word())),
                (None, false, _) => FileState::Rotated,
                (None, true, false) => FileState::CatchingUp,
                (None, true, true) => FileState::Following,
            },
            offset: self.lines.offset,
            size: self.look.size,
            lines_cut: self.lines.lines_cut,
        }
    }

    /// How many bytes of an unfinished last line are kept.
    pub(super) fn carried(&self) -> usize {
        self.lines.unfinished().len()
    }

    /// How many of its lines were cut.
    pub(super) fn lines_cut(&self) -> u64 {
        self.lines.lines_cut
    }

    /// Is it compressed, so that nothing of it is read, and how?
    pub(super) fn compressed(&self) -> Option<Compression> {
        self.compressed
    }

    /// Where the file lies now, by the kernel's word: rotation may have moved it.
    /// Nothing if it was removed.
    pub(super) fn real_path(&self) -> Option<PathBuf> {
        fs::read_link(format!("/proc/self/fd/{}", self.handle.as_raw_fd()))
            .ok()
            .filter(|path| !path.as_os_str().as_bytes().ends_with(b" (deleted)"))
    }

    /// Has it been removed? Then it lives only as long as somebody holds it.
    pub(super) fn is_removed(&self) -> bool {
        self.handle.metadata().is_ok_and(|meta| meta.nlink() == 0)
    }

    /// Reads what is new, at most `turn_bytes` and a buffer more.
    pub(super) fn read(
        &mut self,
        buffer: &mut [u8],
        turn_bytes: usize,
        now: Instant,
        each: &mut dyn FnMut(Block<'_>),
    ) -> io::Result<Turn> {
        let look = Look::of(&self.handle.metadata()?);
        if look != self.look {
            if self.is_other(look.size)? {
                return Ok(Turn::Truncated);
            }
            self.look = look;
            if self.named {
                self.modified = look.modified;
            }
        }
        if self.compressed.is_some() {
            self.lines = Lines::at(look.size, false);
        }
        let mut turn_left = turn_bytes;
        while self.lines.next() < look.size {
            if turn_left == 0 {
                return Ok(Turn::More);
            }
            let bytes = read_at(&self.handle, buffer, self.lines.next())?;
            if bytes == 0 {
                break; // It was truncated just now; the next look tells.
            }
            self.changed = now;
            let File {
                id,
                sources,
                path,
                live,
                lines,
                ..
            } = self;
            let read_from = lines.next();
            lines.hand_on(&mut buffer[..bytes], &mut |Piece { offset, bytes, cut }| {
                each(Block {
                    file: *id,
                    sources,
                    path,
                    offset,
                    bytes,
                    live: *live,
                    cut,
                    begun: offset < read_from,
                });
            });
            turn_left = turn_left.saturating_sub(bytes);
        }
        self.live = true;
        self.dirty = false;
        Ok(Turn::End)
    }

    /// Is this not the content that we read so far? If it is, learns its head.
    fn is_other(&mut self, size: u64) -> io::Result<bool> {
        if size < self.lines.next() {
            return Ok(true);
        }
        let mut head = [0; HEAD_BYTES_MAX];
        let bytes = read_at(&self.handle, &mut head, 0)?;
        let head = &head[..bytes];
        if !self.head.fits(head) {
            return Ok(true);
        }
        if bytes > usize::from(self.head.len) {
            self.head = Head::of(head);
        }
        if self.lines.next() == 0 && !self.is_begun_again {
            self.compressed = Compression::of(head);
        }
        Ok(false)
    }
}
