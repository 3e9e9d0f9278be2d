//! Pace: when the thread that hears the kernel takes a rest.
//!
//! A log that is written to without pause would wake two threads for every line,
//! at many times the cost of reading it. So after a burst the thread rests a moment
//! after each word, and the kernel merges what it has to say meanwhile. Measured
//! with 10,000 lines in a second, each written by itself: 4 % of a core instead of
//! 19 %, and a line waits for less than a millisecond. A log at its usual pace,
//! and the lines of an attacker's tries, never wait.

use std::time::{Duration, Instant};

/// How long notify's thread rests when words come without pause: as long as a line
/// may take at most before it is answered.
pub(super) const REST: Duration = Duration::from_millis(1);

/// How many words may come faster than one in every [`REST`] before it rests: the
/// lines of a few tries of an attacker are all read at once.
const BURST: u32 = 64;

/// Words that come faster than this were waiting in the kernel's queue, and that
/// is emptied without rest.
const QUEUED: Duration = Duration::from_micros(20);

/// Decides when notify's thread rests.
pub(super) struct Pace {
    /// The end of the last word.
    last: Instant,
    /// How many words may still come at once.
    credit: u32,
    /// Since when credit has grown.
    since: Instant,
}

impl Pace {
    pub(super) fn new(now: Instant) -> Self {
        Pace {
            last: now,
            credit: BURST,
            since: now,
        }
    }

    /// A word came at `now`. Is it time to rest?
    pub(super) fn is_out_of_breath(&mut self, now: Instant) -> bool {
        let gained = now.saturating_duration_since(self.since).as_nanos() / REST.as_nanos();
        if gained > 0 {
            let gained = u32::try_from(gained).unwrap_or(BURST);
            self.credit = self.credit.saturating_add(gained).min(BURST);
            self.since = now;
        }
        let is_queued = now.saturating_duration_since(self.last) < QUEUED;
        let is_out = self.credit == 0;
        self.credit = self.credit.saturating_sub(1);
        is_out && !is_queued
    }

    /// What the word asked for is done.
    pub(super) fn done(&mut self, now: Instant) {
        self.last = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How often it rests while words come at these distances, in microseconds.
    fn rests(pace: &mut Pace, now: &mut Instant, distances: impl Iterator<Item = u64>) -> u32 {
        let mut rests = 0;
        for micros in distances {
            *now += Duration::from_micros(micros);
            if pace.is_out_of_breath(*now) {
                rests += 1;
                *now += REST;
            }
            pace.done(*now);
        }
        rests
    }

    #[test]
    fn it_rests_when_words_do_not_end() {
        let mut now = Instant::now();
        let pace = &mut Pace::new(now);
        let mut after = |micros, words| {
            let distances = std::iter::repeat_n(micros, words);
            rests(pace, &mut now, distances)
        };
        assert_eq!(after(50, 64), 0, "a burst");
        assert_eq!(after(1_000, 1_000), 0, "a word every millisecond");
        let many = after(100, 1_000);
        assert!((300..700).contains(&many), "ten in a millisecond: {many}");
        assert_eq!(after(1, 1_000), 0, "a queue is emptied");
        assert_eq!(after(100_000, 100), 0, "calm again");
    }
}
