//! Pace: when the reader takes a rest before it listens.
//!
//! A log that is written to without pause would wake the reader for every line, at
//! many times the cost of reading it. So after a burst it rests a moment after each
//! waking, and the kernel merges what it has to say meanwhile. A log at its usual
//! pace, and the lines of an attacker's tries, never wait.

use std::time::{Duration, Instant};

/// How long the reader rests when it is woken without pause: as long as a line may
/// take at most before it is answered.
pub(super) const REST: Duration = Duration::from_millis(1);

/// How many times it may be woken faster than once in every [`REST`] before it rests:
/// the lines of a few tries of an attacker are all read at once.
const BURST: u32 = 64;

/// How long it takes to earn one of these times back: twice a rest, so that a log that
/// is written to without pause has a rest before every reading and not before every second.
const EARNED: Duration = Duration::from_millis(2);

/// Decides when the reader rests.
pub(super) struct Pace {
    /// How many times it may still be woken at once.
    credit: u32,
    /// Since when credit has grown.
    since: Instant,
}

impl Pace {
    pub(super) fn new(now: Instant) -> Self {
        Pace {
            credit: BURST,
            since: now,
        }
    }

    /// The reader is woken at `now`. Is it time to rest?
    pub(super) fn is_out_of_breath(&mut self, now: Instant) -> bool {
        let gained = now.saturating_duration_since(self.since).as_nanos() / EARNED.as_nanos();
        if gained > 0 {
            let gained = u32::try_from(gained).unwrap_or(BURST);
            self.credit = self.credit.saturating_add(gained).min(BURST);
            self.since = now;
        }
        let is_out = self.credit == 0;
        self.credit = self.credit.saturating_sub(1);
        is_out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How often it rests while it is woken at these distances.
    fn rests(pace: &mut Pace, now: &mut Instant, micros: u64, times: usize) -> u32 {
        let mut rests = 0;
        for _ in 0..times {
            *now += Duration::from_micros(micros);
            if pace.is_out_of_breath(*now) {
                rests += 1;
                *now += REST;
            }
        }
        rests
    }

    #[test]
    fn it_rests_when_words_do_not_end() {
        let mut now = Instant::now();
        let pace = &mut Pace::new(now);
        let mut after = |micros, times| rests(pace, &mut now, micros, times);
        assert_eq!(after(50, 64), 0, "a burst");
        assert_eq!(after(2_000, 1_000), 0, "a word every other millisecond");
        let many = after(100, 1_000);
        assert!((400..1_000).contains(&many), "ten in a millisecond: {many}");
        assert_eq!(after(100_000, 100), 0, "calm again");
    }
}
