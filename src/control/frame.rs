//! Where a message ends: framing on the socket.
//!
//! A message is a pickle and the marker [`END`] after it. Messages may arrive
//! in any pieces, one byte at a time or ten messages at once; [`Frames`] finds
//! them and looks at each byte about once. A message that is longer than
//! allowed is thrown away as it arrives and reported when it ends, so that the
//! messages after it are still understood.

use memchr::memmem;

/// What ends a message.
pub const END: &[u8] = b"<F2B_END_COMMAND>";

/// A message that says goodbye.
pub const CLOSE: &[u8] = b"<F2B_CLOSE_COMMAND>";

/// A buffer that has grown beyond this is given back when it is empty: one huge
/// request must not stay in memory for as long as its client stays connected.
const BUFFER_KEPT_BYTES: usize = 64 * 1024;

/// The next thing in the stream.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// A message, without its end marker.
    Message(&'a [u8]),
    /// A message that was longer than allowed; it is gone.
    TooLong,
    /// The other side says goodbye.
    Close,
}

/// Cuts a stream of bytes into messages.
#[derive(Debug)]
pub struct Frames {
    bytes_max: usize,
    buffer: Vec<u8>,
    /// Where the present message begins.
    start: usize,
    /// No end marker begins before this.
    searched: usize,
    /// Is the beginning of the present message thrown away already?
    skipping: bool,
}

impl Frames {
    /// For messages of at most `bytes_max` bytes.
    pub fn new(bytes_max: usize) -> Self {
        Frames {
            bytes_max,
            buffer: Vec::new(),
            start: 0,
            searched: 0,
            skipping: false,
        }
    }

    /// Takes in what was read.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.searched -= self.start;
            self.start = 0;
            if self.buffer.is_empty() && self.buffer.capacity() > BUFFER_KEPT_BYTES {
                self.buffer = Vec::new();
            }
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next message, if it is complete.
    pub fn next_frame(&mut self) -> Option<Frame<'_>> {
        let unsearched = self.buffer.get(self.searched..).unwrap_or_default();
        let Some(found) = memmem::find(unsearched, END) else {
            self.wait_for_more();
            return None;
        };
        let end = self.searched + found;
        let message = self.start..end;
        self.start = end + END.len();
        self.searched = self.start;
        let skipped = std::mem::take(&mut self.skipping);
        match self.buffer.get(message).unwrap_or_default() {
            message if skipped || message.len() > self.bytes_max => Some(Frame::TooLong),
            CLOSE => Some(Frame::Close),
            message => Some(Frame::Message(message)),
        }
    }

    /// Has a message begun that has not ended?
    pub fn is_partial(&self) -> bool {
        self.skipping || self.start < self.buffer.len()
    }

    /// Notes how far the search went; throws away what is too long already, but
    /// for the bytes with which an end marker may have begun.
    fn wait_for_more(&mut self) {
        let tail = self.buffer.len().saturating_sub(END.len() - 1);
        self.searched = tail.max(self.start);
        if self.searched - self.start > self.bytes_max {
            self.buffer.drain(..self.searched);
            (self.start, self.searched) = (0, 0);
            self.skipping = true;
        }
    }
}

/// A message whose text would end it early. Only raw bytes can: see `pickle`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the message holds the marker that ends messages; it cannot be sent")]
pub struct MarkerInside;

/// Adds the end marker.
pub fn wrap(mut pickle: Vec<u8>) -> Result<Vec<u8>, MarkerInside> {
    if memmem::find(&pickle, END).is_some() {
        return Err(MarkerInside);
    }
    pickle.extend_from_slice(END);
    Ok(pickle)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes out when `pieces` go in, and what is left unfinished.
    fn check(bytes_max: usize, pieces: &[&str], expected: &str) {
        let mut frames = Frames::new(bytes_max);
        let mut seen = Vec::new();
        for piece in pieces {
            frames.push(piece.as_bytes());
            while let Some(frame) = frames.next_frame() {
                seen.push(match frame {
                    Frame::Message(bytes) => String::from_utf8_lossy(bytes).into_owned(),
                    Frame::TooLong => "TOO LONG".into(),
                    Frame::Close => "CLOSE".into(),
                });
            }
        }
        if frames.is_partial() {
            seen.push("...".into());
        }
        assert_eq!(seen.join(" "), expected, "{pieces:?}");
    }

    #[test]
    fn messages_in_any_pieces() {
        let end = "<F2B_END_COMMAND>";
        let stream = format!("one{end}two{end}{end}<F2B_END_x{end}<F2B_CLOSE_COMMAND>{end}rest");
        let expected = "one two  <F2B_END_x CLOSE ...";
        check(100, &[&stream], expected);
        let (ends, len) = (stream.len(), stream.len());
        for first in 0..len {
            for second in [first, first + 1, first + 5, ends] {
                let second = second.min(ends);
                let pieces = [
                    stream.get(..first).unwrap(),
                    stream.get(first..second).unwrap(),
                    stream.get(second..).unwrap(),
                ];
                check(100, &pieces, expected);
            }
        }
        let letters: Vec<&str> = stream.split("").collect();
        check(100, &letters, expected);
        check(100, &[], "");
        check(100, &["<F2B_END_COMMAND"], "...");
    }

    #[test]
    fn too_long_messages_are_skipped() {
        let end = "<F2B_END_COMMAND>";
        let long = "x".repeat(1000);
        let stream = format!("1234567890{end}12345678901{end}ok{end}{long}{end}ok{end}");
        let expected = "1234567890 TOO LONG ok TOO LONG ok";
        check(10, &[&stream], expected);
        let letters: Vec<&str> = stream.split("").collect();
        check(10, &letters, expected);
        check(10, &[&long], "...");
        check(10, &[&long, end], "TOO LONG");
    }

    #[test]
    fn memory_stays_bounded_and_is_given_back() {
        let mut frames = Frames::new(1000);
        let piece = [b'x'; 100];
        for _ in 0..100_000 {
            frames.push(&piece);
            assert_eq!(frames.next_frame(), None);
            assert!(frames.buffer.len() <= 1000 + END.len() + piece.len());
        }
        let mut frames = Frames::new(1 << 20);
        frames.push(&vec![b'x'; 1 << 20]);
        frames.push(END);
        assert!(matches!(frames.next_frame(), Some(Frame::Message(_))));
        frames.push(b"");
        assert!(frames.buffer.capacity() <= BUFFER_KEPT_BYTES);
    }

    #[test]
    fn a_message_with_the_marker_in_it_is_not_sent() {
        assert_eq!(wrap(b"a<F2B_END_COMMAND>b".to_vec()), Err(MarkerInside));
        assert_eq!(wrap(b"a".to_vec()), Ok(b"a<F2B_END_COMMAND>".to_vec()));
    }
}
