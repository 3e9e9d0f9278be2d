//! One open file: reading what is new, and handing on whole lines.
//!
//! Lines go out straight from the reader's buffer. Only a last line whose end has
//! not been written yet is copied, into the file's carry, and bytes are added to
//! that until the newline comes: no byte is read or copied twice, however slowly
//! a line grows. `offset` always stands at the first byte not handed on, which is
//! where the carry begins.

use std::fs::{self, Metadata};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Instant;

use memchr::{memchr, memrchr};
use rustix::fs::OFlags;

use super::seek;
use super::{
    Block, FileId, FileState, FileStatus, HEAD_BYTES_MAX, Head, LINE_BYTES_MAX, Position, SourceId,
};

/// How much is read at a time: large enough that a log is read at memory speed,
/// small enough to stay in a processor's cache.
pub(super) const READ_BYTES: usize = 256 * 1024;

/// A carry that grew larger gives its memory back: most lines are short.
const CARRY_BYTES_KEPT: usize = 4 * 1024;

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
pub(super) fn open(path: &Path) -> io::Result<(fs::File, Metadata)> {
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
    offset: u64,
    carry: Vec<u8>,
    /// The rest of a line that is too long is thrown away.
    skipping: bool,
    pub(super) lines_cut: u64,
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
            offset: 0,
            carry: Vec::new(),
            skipping: false,
            lines_cut: 0,
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
        self.offset = offset;
        self.skipping = before != *b"\n";
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
        self.offset = 0;
        self.carry = Vec::new();
        self.skipping = false;
        self.lines_cut = 0;
        self.look = Look::default();
        self.dirty = true;
    }

    pub(super) fn position(&self) -> Position {
        Position {
            path: self.path.clone(),
            inode: self.identity.1,
            head: self.head,
            offset: self.offset,
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
            state: match (self.named, self.live) {
                (false, _) => FileState::Rotated,
                (true, false) => FileState::CatchingUp,
                (true, true) => FileState::Following,
            },
            offset: self.offset,
            size: self.look.size,
            lines_cut: self.lines_cut,
        }
    }

    /// How many bytes of an unfinished last line are kept.
    pub(super) fn carried(&self) -> usize {
        self.carry.len()
    }

    /// The next byte to read.
    fn next(&self) -> u64 {
        self.offset + self.carry.len() as u64
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
        let mut turn_left = turn_bytes;
        while self.next() < look.size {
            if turn_left == 0 {
                return Ok(Turn::More);
            }
            let bytes = read_at(&self.handle, buffer, self.next())?;
            if bytes == 0 {
                break; // It was truncated just now; the next look tells.
            }
            self.changed = now;
            self.hand_on(&mut buffer[..bytes], each);
            turn_left = turn_left.saturating_sub(bytes);
        }
        self.live = true;
        self.dirty = false;
        Ok(Turn::End)
    }

    /// Is this not the content that we read so far? If it is, learns its head.
    fn is_other(&mut self, size: u64) -> io::Result<bool> {
        if size < self.next() {
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
        Ok(false)
    }

    /// Hands on all lines that end in `fresh`, the bytes that follow the carry.
    fn hand_on(&mut self, fresh: &mut [u8], each: &mut dyn FnMut(Block<'_>)) {
        let mut start = 0;
        if self.skipping {
            match memchr(b'\n', fresh) {
                None => {
                    self.offset += fresh.len() as u64;
                    return;
                }
                Some(newline) => {
                    start = newline + 1;
                    self.offset += start as u64;
                    self.skipping = false;
                }
            }
        } else if !self.carry.is_empty() {
            match memchr(b'\n', fresh) {
                None => return self.keep(fresh, each),
                Some(newline) => {
                    start = newline + 1;
                    self.hand_on_carry(&fresh[..start], each);
                }
            }
        }
        let rest = &mut fresh[start..];
        let whole = memrchr(b'\n', rest).map_or(0, |newline| newline + 1);
        let (lines, tail) = rest.split_at_mut(whole);
        self.hand_on_lines(lines, each);
        self.keep(tail, each);
    }

    /// Adds the beginning of a line to the carry.
    fn keep(&mut self, tail: &[u8], each: &mut dyn FnMut(Block<'_>)) {
        let room = LINE_BYTES_MAX - self.carry.len();
        if tail.len() <= room {
            self.carry.extend_from_slice(tail);
            return;
        }
        let span = (self.carry.len() + tail.len()) as u64;
        self.carry.extend_from_slice(&tail[..room]);
        self.hand_on_cut_carry(span, each);
        self.skipping = true;
    }

    /// Hands on the carry together with the end of its line.
    fn hand_on_carry(&mut self, end: &[u8], each: &mut dyn FnMut(Block<'_>)) {
        let room = LINE_BYTES_MAX - self.carry.len();
        if end.len() > room + 1 {
            let span = (self.carry.len() + end.len()) as u64;
            self.carry.extend_from_slice(&end[..room]);
            return self.hand_on_cut_carry(span, each);
        }
        let mut line = std::mem::take(&mut self.carry);
        line.extend_from_slice(end);
        self.block(&line, line.len() as u64, false, each);
        self.reuse(line);
    }

    /// Hands on the carry as the head of a line that took `span` bytes so far.
    fn hand_on_cut_carry(&mut self, span: u64, each: &mut dyn FnMut(Block<'_>)) {
        let mut line = std::mem::take(&mut self.carry);
        line.push(b'\n');
        self.block(&line, span, true, each);
        self.reuse(line);
    }

    fn reuse(&mut self, mut carry: Vec<u8>) {
        carry.clear();
        carry.shrink_to(CARRY_BYTES_KEPT);
        self.carry = carry;
    }

    /// Hands on whole lines; those that are too long by themselves, and cut.
    ///
    /// Only one newline is looked for in every stretch as long as the longest
    /// line, from its end: lines within such a stretch cannot be too long.
    fn hand_on_lines(&mut self, lines: &mut [u8], each: &mut dyn FnMut(Block<'_>)) {
        let (mut first, mut line) = (0, 0);
        while line < lines.len() {
            let stretch = lines.len().min(line + LINE_BYTES_MAX + 1);
            if let Some(newline) = memrchr(b'\n', &lines[line..stretch]) {
                line += newline + 1;
                continue;
            }
            self.block(&lines[first..line], (line - first) as u64, false, each);
            let rest = memchr(b'\n', &lines[stretch..])
                .map_or(lines.len(), |newline| stretch + newline + 1);
            lines[stretch - 1] = b'\n';
            self.block(&lines[line..stretch], (rest - line) as u64, true, each);
            (first, line) = (rest, rest);
        }
        self.block(&lines[first..], (lines.len() - first) as u64, false, each);
    }

    /// Hands on a block, if there is anything in it, that took `span` bytes of the file.
    fn block(&mut self, bytes: &[u8], span: u64, cut: bool, each: &mut dyn FnMut(Block<'_>)) {
        if bytes.is_empty() {
            return;
        }
        each(Block {
            file: self.id,
            sources: &self.sources,
            path: &self.path,
            offset: self.offset,
            bytes,
            live: self.live,
            cut,
        });
        self.offset += span;
        self.lines_cut += u64::from(cut);
    }
}
