//! Whole lines out of bytes as they come.
//!
//! Lines go out straight from the reader's buffer. Only a last line whose end has
//! not come yet is copied, into the carry, and bytes are added to that until the
//! newline comes: no byte is read or copied twice, however slowly a line grows.
//! `offset` always stands at the first byte not handed on, which is where the carry
//! begins.

use std::io::{self, Read};

use memchr::{memchr, memrchr};

use super::LINE_BYTES_MAX;
use super::file::READ_BYTES;

/// A carry that grew larger gives its memory back: most lines are short.
const CARRY_BYTES_KEPT: usize = 4 * 1024;

/// One or more whole lines.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece<'a> {
    /// Where the first byte stands.
    pub(super) offset: u64,
    /// The last byte is a newline.
    pub(super) bytes: &'a [u8],
    /// This is one line, and its rest was thrown away.
    pub(super) cut: bool,
}

/// Reads a stream to its end and hands on its lines, a block of whole ones at a time, or
/// one that was cut ([`Block::cut`](super::Block::cut)), with its place. The last may lack its newline: nobody
/// writes to it any more. Says how many bytes there were.
///
/// # Errors
/// It cannot be read further.
pub fn read_to_end(from: &mut dyn Read, each: &mut dyn FnMut(u64, &[u8], bool)) -> io::Result<u64> {
    let (mut lines, mut buffer) = (Lines::default(), vec![0; READ_BYTES]);
    loop {
        let bytes = match from.read(&mut buffer) {
            Ok(0) => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            bytes => bytes?,
        };
        let mut piece = |piece: Piece<'_>| each(piece.offset, piece.bytes, piece.cut);
        lines.hand_on(&mut buffer[..bytes], &mut piece);
    }
    let end = lines.next();
    if end > lines.offset {
        lines.hand_on(&mut b"\n".to_owned(), &mut |piece| {
            each(piece.offset, piece.bytes, piece.cut)
        });
    }
    Ok(end)
}

/// What is kept of a stream of bytes between two readings.
#[derive(Debug, Default)]
pub(super) struct Lines {
    /// The first byte not handed on yet.
    pub(super) offset: u64,
    /// How many lines were cut.
    pub(super) lines_cut: u64,
    carry: Vec<u8>,
    /// The rest of a line that is too long is thrown away.
    skipping: bool,
}

impl Lines {
    /// Begins at `offset`; in the middle of a line, if `skipping`, whose rest is no line.
    pub(super) fn at(offset: u64, skipping: bool) -> Lines {
        Lines {
            offset,
            skipping,
            ..Lines::default()
        }
    }

    /// The next byte to read.
    pub(super) fn next(&self) -> u64 {
        self.offset + self.carry.len() as u64
    }

    /// The beginning of a last line whose end has not come yet.
    pub(super) fn unfinished(&self) -> &[u8] {
        &self.carry
    }

    /// Forgets an unfinished line: its end never comes.
    pub(super) fn drop_unfinished(&mut self) {
        self.offset = self.next();
        self.carry = Vec::new();
        self.skipping = false;
    }

    /// Hands on all lines that end in `fresh`, the bytes that follow the carry.
    pub(super) fn hand_on(&mut self, fresh: &mut [u8], each: &mut dyn FnMut(Piece<'_>)) {
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
    fn keep(&mut self, tail: &[u8], each: &mut dyn FnMut(Piece<'_>)) {
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
    fn hand_on_carry(&mut self, end: &[u8], each: &mut dyn FnMut(Piece<'_>)) {
        let room = LINE_BYTES_MAX - self.carry.len();
        if end.len() > room + 1 {
            let span = (self.carry.len() + end.len()) as u64;
            self.carry.extend_from_slice(&end[..room]);
            return self.hand_on_cut_carry(span, each);
        }
        let mut line = std::mem::take(&mut self.carry);
        line.extend_from_slice(end);
        self.piece(&line, line.len() as u64, false, each);
        self.reuse(line);
    }

    /// Hands on the carry as the head of a line that took `span` bytes so far.
    fn hand_on_cut_carry(&mut self, span: u64, each: &mut dyn FnMut(Piece<'_>)) {
        let mut line = std::mem::take(&mut self.carry);
        line.push(b'\n');
        self.piece(&line, span, true, each);
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
    fn hand_on_lines(&mut self, lines: &mut [u8], each: &mut dyn FnMut(Piece<'_>)) {
        let (mut first, mut line) = (0, 0);
        while line < lines.len() {
            let stretch = lines.len().min(line + LINE_BYTES_MAX + 1);
            if let Some(newline) = memrchr(b'\n', &lines[line..stretch]) {
                line += newline + 1;
                continue;
            }
            self.piece(&lines[first..line], (line - first) as u64, false, each);
            let rest = memchr(b'\n', &lines[stretch..])
                .map_or(lines.len(), |newline| stretch + newline + 1);
            lines[stretch - 1] = b'\n';
            self.piece(&lines[line..stretch], (rest - line) as u64, true, each);
            (first, line) = (rest, rest);
        }
        self.piece(&lines[first..], (lines.len() - first) as u64, false, each);
    }

    /// Hands on a piece, if there is anything in it, that took `span` bytes.
    fn piece(&mut self, bytes: &[u8], span: u64, cut: bool, each: &mut dyn FnMut(Piece<'_>)) {
        if bytes.is_empty() {
            return;
        }
        each(Piece {
            offset: self.offset,
            bytes,
            cut,
        });
        self.offset += span;
        self.lines_cut += u64::from(cut);
    }
}
