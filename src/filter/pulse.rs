//! The pulse of a log: what its server writes into every line, and changes each second.
//!
//! FreeSWITCH's lines name no thread, but since 1.10.7 each names the share of idle processor
//! time, as `97.43%`. A sender who writes whole lines cannot see it. So in a doubted log a line
//! that stands right behind a call's, where a sender might have written it, is believed as a
//! hint if its pulse is that of a line which began a message a moment ago: a refused INVITE
//! is written so. A pulse can be guessed; who does it often is not believed for a while.

use std::collections::VecDeque;
use std::time::Duration;

use crate::time::Time;

/// The group of `<F-PULSE>`.
pub(super) const GROUP: &str = "pulse";

/// How long a pulse is good for. The server looks at its processor once a second.
const KEPT: Duration = Duration::from_secs(1);

/// Wrong ones that are put up with: honest lines in the milliseconds in which it changes.
const GUESSES_MAX: usize = 64;

/// How long a wrong one is held against the log.
const GUESSES_KEPT: Duration = Duration::from_secs(600);

/// The pulse of a log.
#[derive(Clone, Debug, Default)]
pub(super) struct Pulse {
    /// What a line said that began a message, and when it was read.
    last: Option<(Box<str>, Time)>,
    /// When the last wrong ones were read.
    guesses: VecDeque<Time>,
}

impl Pulse {
    /// A line that began a message said this.
    pub(super) fn learn(&mut self, pulse: &str, now: Time) {
        match &mut self.last {
            Some((last, at)) if **last == *pulse => *at = now,
            last => *last = Some((pulse.into(), now)),
        }
    }

    /// Is this the pulse, so that whoever wrote it can see it? A wrong one is held against the log.
    pub(super) fn is(&mut self, pulse: &str, now: Time) -> bool {
        let fresh = self.last.as_ref();
        let Some((last, _)) = fresh.filter(|(_, at)| now.since(*at) <= KEPT) else {
            return false;
        };
        if **last != *pulse {
            if self.guesses.len() == GUESSES_MAX {
                self.guesses.pop_front();
            }
            self.guesses.push_back(now);
            return false;
        }
        let first = self.guesses.front();
        let first = first.filter(|_| self.guesses.len() == GUESSES_MAX);
        first.is_none_or(|first| now.since(*first) >= GUESSES_KEPT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fresh_pulse_is_believed_until_it_is_guessed_at() {
        let at = |millis| Time::from_secs(1_796_000_000) + Duration::from_millis(millis);
        let mut pulse = Pulse::default();
        assert!(!pulse.is("97.43", at(0)));
        pulse.learn("97.43", at(0));
        assert!(pulse.is("97.43", at(1_000)));
        assert!(!pulse.is("97.43", at(1_001)));
        pulse.learn("97.50", at(1_001));
        assert!(pulse.is("97.50", at(1_500)));
        for _ in 1..GUESSES_MAX {
            assert!(!pulse.is("97.43", at(1_500)));
        }
        assert!(pulse.is("97.50", at(1_500)));
        assert!(!pulse.is("97.43", at(1_500)));
        assert!(!pulse.is("97.50", at(1_500)));
        pulse.learn("98.00", at(601_499));
        assert!(!pulse.is("98.00", at(601_499)));
        assert!(pulse.is("98.00", at(601_500)));
    }
}
