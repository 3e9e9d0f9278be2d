//! Whose words a line is, in a log into which senders can write lines of their own.
//!
//! A server that lets a sender's newline through (`doubtregex`) writes the head of its
//! message, the sender's lines, and the rest. One thing in a head the sender cannot know:
//! the number of the thread that writes (`<F-THREAD>` in the prefregex). A thread is *known*
//! once it began a message for certain:
//!
//! - before anybody could write a line of his own: up to the first line of `doubtregex`;
//! - behind a pause, since a message is written at once;
//! - behind a line that is *whole* (`wholeregex`), which ends with the server's own words and
//!   can hold no newline of a sender's, if that line is the server's own itself.
//!
//! A line that begins a block behind a *lull*, with not so much read before it that its message
//! could have come in parts, is a hint as well: a log that never pauses, as one with all that a
//! dialplan executes, would convict nobody otherwise. A thread that was seen so
//! [`LIKELY_MIN`] times is known, too. (Lines of one message come microseconds apart. Where they
//! do not, the machine is so busy that there are no lulls.)
//!
//! Any other line of a thread that is not known blames nobody. One of a known thread is a hint,
//! since a number can be guessed: whom wrong ones name is remembered (`claims`).
//! A line that begins a message for certain, since only whole lines stand between it and a
//! pause, is worth as much as in any log.
//!
//! Where the sender's words stand before the address (`<F-OPEN>`), the head is the
//! server's and the rest may not be: such a line is a hint at most, and only if the message
//! ends there. It does, unless a line behind it in what was read ends in the same way
//! (`endregex`) and is not of a known thread: that may be its end, and what looked like it a
//! sender's. Then it is read together with those behind it (`follow/broken.rs`). What stands
//! behind a message that has ended so is a hint as well: a new connection has a new thread,
//! and its line may come right behind the security log's.
//!
//! A server that names no thread in its lines leaves the pauses and the whole lines: what begins
//! a message for certain is worth as much as in any log, what stands behind a lull is a hint, all
//! else blames nobody. Its folded headers (`<F-DATED>`) go on in lines that begin with a blank,
//! which are read as one with the line before them (`follow/folded.rs`).
//!
//! When an old log is played again there are no pauses to see, and nobody is banned either:
//! there every line is whole but one with a head that ends within quotes.

use std::collections::VecDeque;
use std::time::Duration;

use crate::ticket::Trust;

/// The group of `<F-THREAD>`.
pub(super) const GROUP: &str = "thread";

/// The same of `<F-ALT_THREAD>`.
pub(super) const ALTERNATIVE: &str = "alt_thread";

/// The group of `<F-OPEN>`.
pub(super) const OPEN: &str = "open";

/// Nothing was written for so long: the next line begins a message. A message that is too
/// long for one write comes in two, microseconds apart.
pub(super) const PAUSE: Duration = Duration::from_millis(50);

/// Nothing was written for so long: the next line probably begins a message.
pub(super) const LULL: Duration = Duration::from_millis(5);

/// A message of so many bytes is not written at once (the C library's buffer is full), and its
/// end may not be there yet.
pub(super) const WRITTEN_IN_PARTS_BYTES: usize = 4096;

/// So often a thread must have begun a message probably to be known.
const LIKELY_MIN: u8 = 3;

/// Threads that are remembered. A server has a few that write of requests, and one for
/// each connection to its manager; the more of them, the better the odds of a guess.
const KNOWN_MAX: usize = 64;

/// The threads of a log.
#[derive(Clone, Debug, Default)]
pub(super) struct Threads {
    /// The one that wrote last is the last.
    known: VecDeque<u64>,
    /// Those that probably began a message, and how often.
    likely: VecDeque<(u64, u8)>,
    /// Does a message begin after what was read last?
    pub(super) next: Start,
}

/// How sure it is that a message of the server's begins somewhere. The more sure is the more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Start {
    /// A sender may have written what stands there.
    #[default]
    Unclear,
    /// Behind a lull.
    Likely,
    /// A known thread vouches for it.
    Vouched,
    /// No sender could write there.
    Certain,
}

impl Start {
    /// How much a message that begins there can say; nothing if it may be a sender's.
    pub(super) fn trust(self) -> Option<Trust> {
        match self {
            Start::Unclear => None,
            Start::Likely | Start::Vouched => Some(Trust::Hint),
            Start::Certain => Some(Trust::Proof),
        }
    }
}

/// What stands around a line.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Around<'a> {
    /// The block up to the line, of whole lines.
    pub(super) before: &'a [u8],
    /// The block behind the line.
    pub(super) after: &'a [u8],
    /// Is this an old log that is played again?
    pub(super) replayed: bool,
}

/// Does a line end outside of all quotes, or with one?
pub(super) fn is_closed(line: &str) -> bool {
    let line = line.trim_end();
    let even = |quote: u8| line.bytes().filter(|byte| *byte == quote).count() % 2 == 0;
    line.ends_with(['"', '\'']) || (even(b'"') && even(b'\''))
}

impl Threads {
    /// Is this thread known?
    pub(super) fn knows(&self, thread: u64) -> bool {
        self.known.contains(&thread)
    }

    /// This thread began a message, or is vouched for and writes again.
    pub(super) fn learn(&mut self, thread: u64) {
        self.known.retain(|known| *known != thread);
        if self.known.len() == KNOWN_MAX {
            self.known.pop_front();
        }
        self.known.push_back(thread);
    }

    /// This thread probably began a message.
    pub(super) fn note(&mut self, thread: u64) {
        let known = self.likely.iter().position(|(likely, _)| *likely == thread);
        let known = known.and_then(|place| self.likely.remove(place));
        let times = known.map_or(1, |(_, times)| times + 1);
        if times == LIKELY_MIN {
            self.learn(thread);
            return;
        }
        if self.likely.len() == KNOWN_MAX {
            self.likely.pop_front();
        }
        self.likely.push_back((thread, times));
    }
}

#[cfg(test)]
mod tests;
