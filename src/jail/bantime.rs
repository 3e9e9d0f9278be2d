//! How long a ban lasts: longer each time, if the jail says so (`bantime.increment`).
//!
//! An address that was banned before counts as an old acquaintance in two ways: its
//! failures weigh more ([`weight`]), and its bans grow ([`Increment::bantime`]). Both are
//! computed before the ban, so the kernel's time-out is right from the start; fail2ban
//! bans first and prolongs afterwards.
//!
//! Absent here: who was banned before, which is [`history`](super::history)'s.

use std::time::Duration;

use super::formula::Formula;
use super::history::Past;
use crate::time::{BanTime, Time};

/// The longest ban that a formula can make: a thousand years, as in the configuration.
const SECS_MAX: f64 = 31_557_600_000.0;

/// fail2ban doubles a ban, and halves its patience, no more than so many times.
const DOUBLINGS_MAX: u32 = 20;

/// How bans of old acquaintances grow.
#[derive(Debug, Clone, PartialEq)]
pub struct Increment {
    /// Do they grow at all? If not, the rest means nothing.
    pub enabled: bool,
    /// `banFactor` of the formula.
    pub factor: f64,
    /// The formula; `None` is fail2ban's own: doubling.
    pub formula: Option<Formula>,
    /// If there are any, they replace the formula; the last repeats.
    pub multipliers: Vec<u32>,
    /// The longest ban.
    pub maxtime: Option<Duration>,
    /// Up to this much is added by chance.
    pub rndtime: Option<Duration>,
    /// Do bans of other jails count?
    pub overalljails: bool,
}

impl Default for Increment {
    fn default() -> Self {
        Increment {
            enabled: false,
            factor: 1.0,
            formula: None,
            multipliers: Vec::new(),
            maxtime: None,
            rndtime: None,
            overalljails: false,
        }
    }
}

impl Increment {
    /// The next ban of an address that was banned `count` times. The first ban is the
    /// jail's own, whatever `maxtime` says; one for ever cannot grow. `chance` gives
    /// numbers from 0 up to, and without, 1. A formula that has no value (it divides by
    /// zero, say) leaves the jail's own ban time.
    pub fn bantime(&self, base: BanTime, count: u32, chance: &mut dyn FnMut() -> f64) -> BanTime {
        let BanTime::For(span) = base else {
            return base;
        };
        if !self.enabled || count == 0 || span.is_zero() {
            return base;
        }
        let Some(mut secs) = self.grown(span.as_secs_f64(), count, chance) else {
            return base;
        };
        if let Some(maxtime) = self.maxtime {
            secs = secs.min(maxtime.as_secs_f64());
        }
        if let Some(rndtime) = self.rndtime {
            secs += chance() * rndtime.as_secs_f64();
        }
        BanTime::For(Duration::from_secs_f64(secs.clamp(0.0, SECS_MAX)))
    }

    /// What multipliers or the formula make of it. Only the multipliers may shorten.
    fn grown(&self, secs: f64, count: u32, chance: &mut dyn FnMut() -> f64) -> Option<f64> {
        if let Some(last) = self.multipliers.last() {
            let place = usize::try_from(count).unwrap_or(usize::MAX);
            let multiplier = self.multipliers.get(place).unwrap_or(last);
            return Some(secs * self.factor * f64::from(*multiplier));
        }
        let grown = match &self.formula {
            None => secs * f64::from(1u32 << count.min(DOUBLINGS_MAX)) * self.factor,
            Some(formula) => formula.eval(secs, count, self.factor, chance).ok()?,
        };
        Some(grown.max(secs))
    }

    /// The longest ban that is taken over after a restart, in a jail that bans for `base`.
    fn longest(&self, base: BanTime) -> BanTime {
        match self.maxtime {
            _ if !self.enabled => base,
            Some(maxtime) => BanTime::For(maxtime),
            None => BanTime::Forever,
        }
    }

    /// How long a ban that began at `since` lasts after a restart; `None` is no more.
    /// `kept` is what the database says; it says `None` if an old fail2ban wrote it.
    pub fn restored(
        &self,
        base: BanTime,
        since: Time,
        kept: Option<BanTime>,
        now: Time,
    ) -> Option<BanTime> {
        // fail2ban also asks that the jail's own ban time is not over yet, unless bans grow;
        // the cut to the longest ban says the same.
        let bantime = match kept {
            None => base,
            Some(kept) => shorter(kept, self.longest(base)),
        };
        let over = bantime.end(since).is_some_and(|end| end <= now);
        (!over).then_some(bantime)
    }
}

fn shorter(one: BanTime, other: BanTime) -> BanTime {
    match (one, other) {
        (BanTime::Forever, other) => other,
        (one, BanTime::Forever) => one,
        (BanTime::For(one), BanTime::For(other)) => BanTime::For(one.min(other)),
    }
}

/// How many failures one of an old acquaintance stands for: 2, 3, 5, 9 … for 1, 2, 3, 4
/// bans before, and never more than make a ban. A failure that is not newer than the
/// last ban was counted then: the log is being read again.
pub fn weight(past: Option<Past>, time: Time, maxretry: u32) -> u32 {
    match past {
        Some(past) if time > past.latest && past.count > 0 => {
            let doublings = past.count.min(DOUBLINGS_MAX) - 1;
            ((1u32 << doublings) + 1).min(maxretry).max(1)
        }
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(secs: u64) -> BanTime {
        BanTime::For(Duration::from_secs(secs))
    }

    /// The bans after so many before, of a jail that bans for ten minutes.
    fn bans(increment: Increment) -> [u64; 5] {
        [0, 1, 2, 3, 30].map(
            |count| match increment.bantime(secs(600), count, &mut || 0.5) {
                BanTime::For(span) => span.as_secs(),
                BanTime::Forever => u64::MAX,
            },
        )
    }

    fn on() -> Increment {
        Increment {
            enabled: true,
            ..Increment::default()
        }
    }

    #[test]
    fn bans_grow() {
        let longest = 600 << 20;
        assert_eq!(bans(Increment::default()), [600; 5]);
        assert_eq!(bans(on()), [600, 1_200, 2_400, 4_800, longest]);
        let multipliers = vec![1, 5, 30];
        let maxtime = Some(Duration::from_secs(2_000));
        let rndtime = Some(Duration::from_secs(100));
        for (increment, expected) in [
            (
                Increment {
                    multipliers,
                    ..on()
                },
                [600, 3_000, 18_000, 18_000, 18_000],
            ),
            (
                Increment { maxtime, ..on() },
                [600, 1_200, 2_000, 2_000, 2_000],
            ),
            (
                Increment {
                    maxtime,
                    rndtime, // may exceed the maximum
                    ..on()
                },
                [600, 1_250, 2_050, 2_050, 2_050],
            ),
            (
                Increment {
                    factor: 0.25, // a formula never shortens
                    ..on()
                },
                [600, 600, 600, 1_200, longest / 4],
            ),
            (
                Increment {
                    formula: Some(Formula::parse("ban.Time / (ban.Count - 2) * 4").unwrap()),
                    ..on()
                },
                [600, 600, 600, 2_400, 600], // a division by zero changes nothing
            ),
        ] {
            assert_eq!(bans(increment.clone()), expected, "{increment:?}");
        }
        let forever = on().bantime(BanTime::Forever, 3, &mut || 0.5);
        assert_eq!(forever, BanTime::Forever);
    }

    #[test]
    fn failures_of_the_known_weigh_more() {
        let weight = |count, time, maxretry| {
            let latest = Time::from_secs(100);
            weight(
                Some(Past { count, latest }),
                Time::from_secs(time),
                maxretry,
            )
        };
        assert_eq!(
            [1, 2, 3, 4, 5, 99].map(|count| weight(count, 101, 10)),
            [2, 3, 5, 9, 10, 10]
        );
        assert_eq!(weight(3, 100, 10), 1); // not newer than the ban
        assert_eq!(super::weight(None, Time::from_secs(0), 10), 1);
    }

    #[test]
    fn what_is_restored() {
        let since = Time::from_secs(1_000);
        let now = Time::from_secs(1_300);
        let maxtime = Increment {
            maxtime: Some(Duration::from_secs(400)),
            ..on()
        };
        for (increment, base, kept, expected) in [
            (
                Increment::default(),
                secs(600),
                Some(secs(600)),
                Some(secs(600)),
            ),
            (Increment::default(), secs(600), Some(secs(300)), None),
            (
                Increment::default(),
                secs(400),
                Some(secs(600)),
                Some(secs(400)),
            ),
            (Increment::default(), secs(60), Some(secs(600)), None),
            (Increment::default(), secs(60), Some(BanTime::Forever), None),
            (
                Increment::default(),
                secs(400),
                Some(BanTime::Forever),
                Some(secs(400)),
            ),
            (
                Increment::default(),
                BanTime::Forever,
                Some(BanTime::Forever),
                Some(BanTime::Forever),
            ),
            (
                Increment::default(),
                BanTime::Forever,
                Some(secs(600)),
                Some(secs(600)),
            ),
            (Increment::default(), secs(400), None, Some(secs(400))),
            (Increment::default(), secs(60), None, None),
            (on(), secs(60), Some(secs(600)), Some(secs(600))),
            (
                on(),
                secs(60),
                Some(BanTime::Forever),
                Some(BanTime::Forever),
            ),
            (maxtime.clone(), secs(60), Some(secs(600)), Some(secs(400))),
            (
                maxtime.clone(),
                secs(60),
                Some(BanTime::Forever),
                Some(secs(400)),
            ),
            (maxtime, secs(60), None, None),
        ] {
            let restored = increment.restored(base, since, kept, now);
            assert_eq!(restored, expected, "{increment:?} {base:?} {kept:?}");
        }
    }
}
