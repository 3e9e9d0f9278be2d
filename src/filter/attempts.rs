//! Attempts that a server reports twice.
//!
//! Who authenticates asks once without credentials, is asked for them, and asks once more.
//! A server that refuses him whatever they are refuses both, in the same words. A pattern
//! captures these by `<F-TWICE>`, and what the two have in common by `<F-SESSION>`, with the
//! word before it, which tells it from the same session in lines of another kind:
//!
//! - the second line of a session is the same attempt *again*, and counts for nothing;
//! - the third and further ones count, since some scanners have one session for all they ask;
//! - but a line with a session and without `<F-TWICE>` is the server's word on credentials: it
//!   ends the attempt, and the next line is the first of another.
//!
//! Words that come without a session are those of a server that refuses everything twice: every
//! second line of them is the first one again.
//!
//! A session is the sender's word. Before each line that counts for nothing stands one that
//! counted, of the same address, and as much of a proof: so nobody gets less than half of his
//! lines, or takes anything from another's, and no forged packet takes a proof's place.

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use super::matched::Match;
use crate::addr::Addr;
use crate::time::Time;

/// The group of `<F-TWICE>`: words that an attempt brings about twice.
const TWICE: &str = "twice";

/// The group of `<F-SESSION>`: what the lines of an attempt have in common.
const SESSION: &str = "session";

/// How long after one request the next of the same attempt may come: by SIP's own clock
/// nobody waits longer for an answer (RFC 3261, timer F).
const ATTEMPT_AGE_MAX: Duration = Duration::from_secs(32);

/// Attempts that are remembered. Of one that is pushed out more is counted, never less.
const ATTEMPTS_MAX: usize = 256;

/// The attempts of a log of which one line or more was seen a moment ago.
#[derive(Clone, Debug, Default)]
pub(super) struct Attempts {
    /// The one that was heard of last is the last.
    seen: VecDeque<Attempt>,
    /// With a secret, so that nobody can make two of them look the same.
    keys: RandomState,
}

#[derive(Clone, Copy, Debug)]
struct Attempt {
    /// Whose it is, and its session or, without one, the server's words.
    key: u64,
    last: Time,
    /// Has its second line been seen?
    again: bool,
}

impl Attempts {
    /// Is this the second line of an attempt? Its trust is what its pattern says.
    pub(super) fn again(&mut self, found: &Match) -> bool {
        let (words, session) = (found.groups.full(TWICE), found.groups.full(SESSION));
        let (Some(addr), Some(name)) = (found.addr(), session.or(words)) else {
            return false;
        };
        let whose = (Addr::offender(addr.ip()), found.trust);
        let key = self.keys.hash_one((whose, name));
        let known = self.seen.iter().position(|attempt| attempt.key == key);
        let known = known.and_then(|place| self.seen.remove(place));
        if words.is_none() {
            return false;
        }
        let known = known.filter(|attempt| found.time.since(attempt.last) <= ATTEMPT_AGE_MAX);
        let is_second = known.is_some_and(|attempt| !attempt.again);
        if session.is_some() || !is_second {
            self.remember(Attempt {
                key,
                last: found.time,
                again: known.is_some(),
            });
        }
        is_second
    }

    fn remember(&mut self, attempt: Attempt) {
        if self.seen.len() == ATTEMPTS_MAX {
            self.seen.pop_front();
        }
        self.seen.push_back(attempt);
    }
}

#[cfg(test)]
mod tests;
