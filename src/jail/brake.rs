//! The brake: when everybody fails at once, it is us.
//!
//! A database that is down, a rollout with a wrong password: then all customers fail, and
//! to sanction them would make it worse. While the brake is on, known-good and shared
//! addresses are not sanctioned; strangers are judged as ever.
//!
//! It comes on when many of those addresses *begin* to fail within [`WINDOW`]: a share of
//! [`ONE_IN`] of all, and [`LEAST`] at least. A phone that has failed for hours says
//! nothing, and neither does one whose neighbour has just logged in. It goes off by itself
//! when fewer than half as many fail still. Only proven failures count, so nobody can pull
//! it by forged packets.

use std::collections::VecDeque;
use std::time::Duration;

use lru::LruCache;

use crate::addr::Addr;
use crate::time::Time;

/// Within how long failures count as at once: phones register again once in an hour at
/// most, so this long shows a twelfth of them at least.
pub const WINDOW: Duration = Duration::from_secs(300);

/// One in so many known-good addresses must fail.
pub const ONE_IN: usize = 4;

/// And so many at least: in a small company two that fail together are chance.
pub const LEAST: usize = 5;

/// Addresses that are remembered: a share of all that can be known-good.
const ADDRS_MAX: usize = 16_384;

/// What a failure or the time has done to the brake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nothing.
    None,
    /// It is on from now, since so many fail.
    On(u32),
    /// It is off again.
    Off,
}

/// Known-good and shared addresses that fail.
#[derive(Debug)]
pub struct Brake {
    /// Since when each fails, and when it did last; the one that failed first is first.
    failing: LruCache<Addr, (Time, Time)>,
    /// Who began to fail, in order.
    begun: VecDeque<(Time, Addr)>,
    on: Option<Time>,
    /// How many must fail for it to be on, when it came on.
    enough: usize,
}

impl Default for Brake {
    fn default() -> Self {
        Brake {
            failing: LruCache::unbounded(),
            begun: VecDeque::new(),
            on: None,
            enough: 0,
        }
    }
}

impl Brake {
    /// Since when it is on.
    pub fn on_since(&self) -> Option<Time> {
        self.on
    }

    /// A known-good or shared address has failed. `known` says how many of them there are.
    pub fn failed(&mut self, addr: Addr, time: Time, known: impl FnOnce() -> usize) -> Change {
        self.forget(time);
        if let Some((_, last)) = self.failing.get_mut(&addr) {
            *last = time.max(*last);
            return Change::None;
        }
        if self.failing.len() >= ADDRS_MAX {
            self.failing.pop_lru();
        }
        self.failing.put(addr, (time, time));
        self.begun.push_back((time, addr));
        if self.on.is_some() || self.begun.len() < LEAST {
            return Change::None;
        }
        // Who has logged in meanwhile does not count.
        let failing = &self.failing;
        let fails_still = |(since, addr): &(Time, Addr)| {
            failing.peek(addr).is_some_and(|(first, _)| first == since)
        };
        self.begun.retain(fails_still);
        self.enough = known().div_ceil(ONE_IN).max(LEAST);
        if self.begun.len() < self.enough {
            return Change::None;
        }
        self.on = Some(time);
        Change::On(u32::try_from(self.failing.len()).unwrap_or(u32::MAX))
    }

    /// A login from this address has worked.
    pub fn login(&mut self, addr: &Addr) {
        self.failing.pop(addr);
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Time) -> Change {
        self.forget(now);
        if self.on.is_some() && self.failing.len() * 2 < self.enough {
            self.on = None;
            return Change::Off;
        }
        Change::None
    }

    /// Does nobody fail, and is it off?
    pub fn is_idle(&self) -> bool {
        self.failing.is_empty() && self.on.is_none()
    }

    fn forget(&mut self, now: Time) {
        let is_old = |time: Time| time + WINDOW <= now;
        let oldest = |failing: &LruCache<Addr, (Time, Time)>| {
            failing
                .peek_lru()
                .is_some_and(|(_, (_, last))| is_old(*last))
        };
        while oldest(&self.failing) {
            self.failing.pop_lru();
        }
        while self.begun.front().is_some_and(|(time, _)| is_old(*time))
            || self.begun.len() > ADDRS_MAX
        {
            self.begun.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(number: u32) -> Addr {
        Addr::host(std::net::IpAddr::V4(number.into()))
    }

    /// Of 100 known-good addresses so many begin to fail in a second and go on for
    /// `minutes`. Says when the brake came on and went off, in minutes.
    fn outage(failing: u32, each: f64, minutes: u32) -> (Option<f64>, Option<f64>) {
        let mut brake = Brake::default();
        let (mut on, mut off) = (None, None);
        for minute in 0..60 {
            let at = f64::from(minute);
            for number in 0..failing {
                let time = Time::from_secs_f64(at * 60.0 + f64::from(number) * each);
                if minute < minutes
                    && matches!(brake.failed(addr(number), time, || 100), Change::On(_))
                {
                    on = Some(at);
                }
            }
            if brake.tick(Time::from_secs_f64(at * 60.0 + 59.0)) == Change::Off {
                off = Some(at);
            }
        }
        (on, off)
    }

    #[test]
    fn it_comes_on_when_many_fail_and_ends_by_itself() {
        assert_eq!(outage(24, 0.01, 9), (None, None));
        assert_eq!(outage(25, 0.01, 9), (Some(0.0), Some(13.0)));
        assert_eq!(outage(90, 0.5, 9), (Some(0.0), Some(13.0)));
    }

    #[test]
    fn who_fails_for_long_or_has_logged_in_does_not_count() {
        let mut brake = Brake::default();
        for minute in 0..60 {
            for number in 0..30 {
                // One more begins every two minutes; all go on.
                if number * 2 <= minute {
                    let time = Time::from_secs(i64::from(minute) * 60);
                    assert_eq!(brake.failed(addr(number), time, || 20), Change::None);
                }
            }
        }
        let mut brake = Brake::default();
        for number in 0..30 {
            assert_eq!(
                brake.failed(addr(number), Time::from_secs(1), || 20),
                Change::None
            );
            brake.login(&addr(number));
        }
    }
}
