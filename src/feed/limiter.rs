//! The rate budget: one limiter before every request, whatever its kind.
//!
//! A request holds one of `limit` slots from its start until [`WINDOW`] after
//! its *end*. The service counts arrivals, and a request arrives somewhere
//! between its start and its end; so however the network delays them, no window
//! of that length ever sees more than `limit` arrivals. (Take the last arrival
//! in a window: all others in it still hold their slots.)
//!
//! Nothing here knows the clock: time is the span since the feed began.

use std::collections::VecDeque;
use std::time::Duration;

use crate::time::Time;

/// The span for which APIBAN counts: 11 requests in 2 minutes.
pub const WINDOW: Duration = Duration::from_secs(120);
/// For how long the budget stays halved after the service said "too many".
pub const HALVED_FOR: Duration = Duration::from_secs(3600);
/// Less makes no progress: one request for the list, one for checks.
pub const RATE_LIMIT_MIN: u32 = 2;
/// More is no limit; also the most request times that are restored.
pub const RATE_LIMIT_MAX: u32 = 1_000;

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A page of the list.
    List,
    /// One address.
    Check,
}

/// One request of the recent past, or one that runs.
#[derive(Debug)]
struct Slot {
    kind: Kind,
    /// When it counts no more; `None` while the request runs.
    free_at: Option<Duration>,
}

/// The budget.
#[derive(Debug)]
pub struct Limiter {
    limit: u32,
    halved: Option<(u32, Duration)>,
    slots: VecDeque<Slot>,
}

impl Limiter {
    /// At most `limit` requests in any [`WINDOW`], clamped to what makes sense.
    pub fn new(limit: u32) -> Self {
        Limiter {
            limit: limit.clamp(RATE_LIMIT_MIN, RATE_LIMIT_MAX),
            halved: None,
            slots: VecDeque::new(),
        }
    }

    /// Takes over another limit; what was spent stays spent.
    pub fn set_limit(&mut self, limit: u32) {
        self.limit = limit.clamp(RATE_LIMIT_MIN, RATE_LIMIT_MAX);
    }

    /// Remembers the request times of the last run. Each may have run for `lasting`
    /// before it ended; times after `wall` come from a clock that was wrong, and count nothing.
    pub fn restore(&mut self, requests: &[Time], lasting: Duration, now: Duration, wall: Time) {
        let newest = requests.len().saturating_sub(RATE_LIMIT_MAX as usize);
        for &start in requests.iter().skip(newest).filter(|start| **start <= wall) {
            let age = wall.since((start + lasting).min(wall));
            if age < WINDOW {
                self.slots.push_back(Slot {
                    kind: Kind::List,
                    free_at: Some(now + (WINDOW - age)),
                });
            }
        }
    }

    /// When a request of this kind may start, at `now` or later; `None` if that
    /// depends on the end of one that runs. While the other kind waits too
    /// (`contended`), each may use only its share, so that neither starves.
    pub fn earliest(&self, kind: Kind, contended: bool, now: Duration) -> Option<Duration> {
        let limit = self.limit_at(now);
        let all = self.room_at(limit, |_| true, now)?;
        if !contended {
            return Some(all);
        }
        let own = self.room_at(share(limit), |slot| slot.kind == kind, now)?;
        Some(all.max(own))
    }

    /// When fewer than `limit` of the slots that `counts` picks are held.
    fn room_at(
        &self,
        limit: u32,
        counts: impl Fn(&Slot) -> bool,
        now: Duration,
    ) -> Option<Duration> {
        let mut held: Vec<_> = self
            .slots
            .iter()
            .filter(|slot| counts(slot) && slot.free_at.is_none_or(|free| free > now))
            .map(|slot| slot.free_at.unwrap_or(Duration::MAX))
            .collect();
        let Some(excess) = held.len().checked_sub(limit as usize) else {
            return Some(now);
        };
        held.sort_unstable();
        held.get(excess)
            .copied()
            .filter(|free| *free < Duration::MAX)
    }

    /// A request starts.
    pub fn start(&mut self, kind: Kind, now: Duration) {
        self.slots
            .retain(|slot| slot.free_at.is_none_or(|free| free > now));
        self.slots.push_back(Slot {
            kind,
            free_at: None,
        });
    }

    /// The running request of this kind ended, well or badly.
    pub fn end(&mut self, kind: Kind, now: Duration) {
        let running = |slot: &&mut Slot| slot.kind == kind && slot.free_at.is_none();
        if let Some(slot) = self.slots.iter_mut().find(running) {
            slot.free_at = Some(now + WINDOW);
        }
    }

    /// The service counts more than we sent, so others use the key: make do with
    /// half for an hour. Returns the limit that holds from now on.
    pub fn halve(&mut self, now: Duration) -> u32 {
        let limit = (self.limit_at(now) / 2).max(RATE_LIMIT_MIN);
        self.halved = Some((limit, now + HALVED_FOR));
        limit
    }

    /// The limit that holds at `now`.
    pub fn limit_at(&self, now: Duration) -> u32 {
        match self.halved {
            Some((limit, until)) if now < until => limit.min(self.limit),
            _ => self.limit,
        }
    }

    /// How many requests hold a slot at `now`.
    pub fn held(&self, now: Duration) -> u32 {
        let held = |slot: &&Slot| slot.free_at.is_none_or(|free| free > now);
        u32::try_from(self.slots.iter().filter(held).count()).unwrap_or(u32::MAX)
    }
}

/// What one kind may use while the other waits: 8 of 10, and all but one of few.
fn share(limit: u32) -> u32 {
    limit - (limit / 5).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    fn spend(limiter: &mut Limiter, kind: Kind, times: usize, now: Duration) {
        for _ in 0..times {
            limiter.start(kind, now);
            limiter.end(kind, now);
        }
    }

    #[test]
    fn ten_and_no_more() {
        let mut limiter = Limiter::new(10);
        for _ in 0..10 {
            assert_eq!(limiter.earliest(Kind::List, false, secs(5)), Some(secs(5)));
            spend(&mut limiter, Kind::List, 1, secs(5));
        }
        assert_eq!(
            limiter.earliest(Kind::List, false, secs(6)),
            Some(secs(125))
        );
        assert_eq!(limiter.held(secs(124)), 10);
        assert_eq!(limiter.held(secs(125)), 0);
    }

    #[test]
    fn a_running_request_holds_its_slot() {
        let mut limiter = Limiter::new(2);
        limiter.start(Kind::List, secs(0));
        limiter.start(Kind::Check, secs(0));
        assert_eq!(limiter.earliest(Kind::Check, false, secs(500)), None);
        limiter.end(Kind::List, secs(500));
        assert_eq!(
            limiter.earliest(Kind::Check, false, secs(500)),
            Some(secs(620))
        );
    }

    #[test]
    fn neither_kind_starves_the_other() {
        for (limit, wanted) in [(10, 8), (11, 9), (5, 4), (2, 1), (100, 80)] {
            for (kind, other) in [(Kind::List, Kind::Check), (Kind::Check, Kind::List)] {
                let mut limiter = Limiter::new(limit);
                spend(&mut limiter, kind, wanted, secs(1));
                assert_eq!(
                    limiter.earliest(kind, true, secs(2)),
                    Some(secs(121)),
                    "{limit} {kind:?}"
                );
                assert_eq!(limiter.earliest(kind, false, secs(2)), Some(secs(2)));
                assert_eq!(limiter.earliest(other, true, secs(2)), Some(secs(2)));
            }
        }
    }

    #[test]
    fn halved_for_an_hour() {
        let mut limiter = Limiter::new(10);
        for (at, wanted) in [(0, 5), (10, 2), (20, 2)] {
            assert_eq!(limiter.halve(secs(at)), wanted);
        }
        assert_eq!(limiter.limit_at(secs(3_619)), 2);
        assert_eq!(limiter.limit_at(secs(3_620)), 10);
        assert_eq!(limiter.halve(secs(4_000)), 5);
        // With more spent than the limit allows, it takes several to expire.
        let mut limiter = Limiter::new(10);
        for at in 0..10 {
            spend(&mut limiter, Kind::List, 1, secs(at));
        }
        limiter.halve(secs(10));
        assert_eq!(
            limiter.earliest(Kind::List, false, secs(10)),
            Some(secs(125))
        );
    }

    #[test]
    fn the_last_run_counts() {
        let wall = Time::from_secs(10_000);
        let ago = |secs: i64| Time::from_secs(10_000 - secs);
        for (requests, held, next) in [
            (vec![], 0, 50),
            (vec![ago(0); 10], 10, 170),
            (vec![ago(30); 10], 10, 160), // each may have run for 20 s
            (vec![ago(139); 10], 10, 51),
            (vec![ago(140); 10], 0, 50),
            (vec![ago(-1); 10], 0, 50), // the future is a mistake
            (vec![ago(86_400); 5_000], 0, 50),
        ] {
            let mut limiter = Limiter::new(10);
            limiter.restore(&requests, secs(20), secs(50), wall);
            assert_eq!(limiter.held(secs(50)), held, "{requests:?}");
            assert_eq!(
                limiter.earliest(Kind::Check, false, secs(50)),
                Some(secs(next))
            );
        }
        let mut limiter = Limiter::new(10);
        limiter.restore(&vec![wall; 5_000], secs(20), secs(50), wall);
        assert_eq!(limiter.held(secs(50)), RATE_LIMIT_MAX);
    }

    proptest! {
        /// Whatever the network does to them, arrivals keep within the budget.
        #[test]
        fn arrivals_keep_within_the_budget(
            limit in 2_u32..12,
            requests in prop::collection::vec((0_u64..40, 0_u64..30, 0.0..1.0_f64, any::<bool>()), 1..120),
        ) {
            let mut limiter = Limiter::new(limit);
            let mut now = secs(0);
            let mut arrivals = Vec::new();
            for (idle, lasts, arrives, check) in requests {
                let kind = if check { Kind::Check } else { Kind::List };
                now += secs(idle);
                now = limiter.earliest(kind, check, now).expect("nothing runs");
                limiter.start(kind, now);
                arrivals.push(now + secs(lasts).mul_f64(arrives));
                now += secs(lasts);
                limiter.end(kind, now);
            }
            arrivals.sort_unstable();
            for (place, first) in arrivals.iter().enumerate() {
                let within = arrivals.iter().skip(place).take_while(|at| **at < *first + WINDOW);
                prop_assert!(within.count() <= limit as usize);
            }
        }
    }
}
