//! The brake: when everybody fails at once, it is us.
//!
//! A database that is down, a rollout with a wrong password: then all customers fail, and
//! to sanction them would make it worse. While the brake is on, known-good and shared
//! addresses are not sanctioned; strangers are judged as ever.
//!
//! It comes on when many of those addresses *begin* to fail within [`WINDOW`]: a share of
//! [`ONE_IN`] of all, and [`LEAST`] at least. A phone that has failed for hours says
//! nothing, and neither does one whose neighbour has just logged in. It goes off by itself
//! when fewer than half as many fail still, or after [`LASTS_MAX`]. Only proven failures
//! count, so nobody can pull it by forged packets.
//!
//! Nor can anybody buy it. What fails in an outage are accounts that have worked from where
//! they fail, and no others are counted or spared, so whoever cracks accounts gains nothing
//! by it. To pull it takes as many such accounts as addresses, in [`LEAST`] networks; and of
//! one network, all of which may be one customer's, no more than [`OF_NETWORK`] addresses
//! are counted.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use lru::LruCache;

use crate::addr::Addr;
use crate::time::Time;

/// Within how long failures count as at once: phones register again once in an hour at
/// most, so this long shows a twelfth of them at least.
pub const WINDOW: Duration = Duration::from_secs(300);

/// One in so many known-good addresses must fail.
pub const ONE_IN: usize = 4;

/// And so many at least: in a small company two that fail together are chance. They must
/// lie in as many networks, or in all that there are.
pub const LEAST: usize = 5;

/// So many addresses of one network count.
pub const OF_NETWORK: usize = 16;

/// It stays on no longer than this: a long night. What lasts longer is no outage that
/// somebody is mending.
pub const LASTS_MAX: Duration = Duration::from_secs(12 * 3_600);

/// Addresses that are remembered: a share of all that can be known-good.
const ADDRS_MAX: usize = 16_384;

/// How many addresses there are, no more than [`OF_NETWORK`] of each network counted, and
/// in how many networks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Addresses.
    pub addrs: usize,
    /// Networks.
    pub networks: usize,
}

impl Census {
    /// Counts these.
    pub fn of<'a>(addrs: impl Iterator<Item = &'a Addr>) -> Census {
        let mut networks: HashMap<Addr, usize> = HashMap::new();
        addrs.for_each(|addr| *networks.entry(network(addr)).or_default() += 1);
        Census {
            addrs: networks.values().map(|addrs| *addrs.min(&OF_NETWORK)).sum(),
            networks: networks.len(),
        }
    }
}

/// What a provider gives to one customer at most, as a rule: a /24, or a /48.
fn network(addr: &Addr) -> Addr {
    let longest = if addr.is_ipv6() { 48 } else { 24 };
    Addr::prefix(addr.ip(), addr.prefix_len().min(longest))
}

/// What a failure or the time has done to the brake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nothing: it is off.
    None,
    /// It is on from now, since so many fail.
    On(u32),
    /// It is on as before, and so many fail.
    Still(u32),
    /// It is off again.
    Off,
    /// It was on for too long.
    TooLong,
}

/// Who began to fail.
#[derive(Clone, Copy, Debug)]
struct Begun {
    time: Time,
    addr: Addr,
    account: Option<u64>,
}

/// Known-good and shared addresses that fail.
#[derive(Debug)]
pub struct Brake {
    /// Since when each fails, and when it did last; the one that failed first is first.
    failing: LruCache<Addr, (Time, Time)>,
    /// In order.
    begun: VecDeque<Begun>,
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

    /// A known-good or shared address has failed on an account that has worked from there;
    /// none if the log names no account. `known` counts all such addresses.
    pub fn failed(
        &mut self,
        addr: Addr,
        account: Option<u64>,
        time: Time,
        known: impl FnOnce() -> Census,
    ) -> Change {
        self.forget(time);
        let is_new = !self.failing.contains(&addr);
        match self.failing.get_mut(&addr) {
            Some((_, last)) => *last = time.max(*last),
            None => self.begin(Begun {
                time,
                addr,
                account,
            }),
        }
        if self.on.is_some() {
            return Change::Still(self.count());
        }
        if !is_new || self.begun.len() < LEAST {
            return Change::None;
        }
        // Who has logged in meanwhile does not count.
        let failing = &self.failing;
        self.begun.retain(|begun| {
            let since = failing.peek(&begun.addr).map(|(since, _)| *since);
            since == Some(begun.time)
        });
        let known = known();
        let begun = Census::of(self.begun.iter().map(|begun| &begun.addr));
        let accounts = self.begun.iter().map(|begun| match begun.account {
            Some(account) => (Some(account), None),
            None => (None, Some(network(&begun.addr))),
        });
        let accounts = accounts.collect::<HashSet<_>>().len();
        self.enough = known.addrs.div_ceil(ONE_IN).max(LEAST);
        if begun.addrs.min(accounts) < self.enough || begun.networks < known.networks.min(LEAST) {
            return Change::None;
        }
        self.on = Some(time);
        Change::On(self.count())
    }

    fn begin(&mut self, begun: Begun) {
        if self.failing.len() >= ADDRS_MAX {
            self.failing.pop_lru();
        }
        self.failing.put(begun.addr, (begun.time, begun.time));
        self.begun.push_back(begun);
    }

    fn count(&self) -> u32 {
        u32::try_from(self.failing.len()).unwrap_or(u32::MAX)
    }

    /// A login from this address has worked, at this time.
    pub fn login(&mut self, addr: &Addr, time: Time) {
        if self
            .failing
            .peek(addr)
            .is_some_and(|(_, last)| *last <= time)
        {
            self.failing.pop(addr);
        }
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Time) -> Change {
        self.forget(now);
        let Some(since) = self.on else {
            return Change::None;
        };
        let is_over = self.failing.len() * 2 < self.enough;
        if !is_over && since + LASTS_MAX > now {
            return Change::Still(self.count());
        }
        self.on = None;
        self.begun.clear();
        match is_over {
            true => Change::Off,
            false => Change::TooLong,
        }
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
        while self.begun.front().is_some_and(|begun| is_old(begun.time))
            || self.begun.len() > ADDRS_MAX
        {
            self.begun.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: Census = Census {
        addrs: 100,
        networks: 100,
    };

    /// Each in a network of its own.
    fn addr(number: u32) -> Addr {
        Addr::host(std::net::IpAddr::V4((number << 8).into()))
    }

    fn begins(brake: &mut Brake, addr: Addr, account: Option<u64>) -> bool {
        matches!(
            brake.failed(addr, account, Time::from_secs(1), || KNOWN),
            Change::On(_)
        )
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
                let account = Some(u64::from(number));
                if minute < minutes
                    && matches!(
                        brake.failed(addr(number), account, time, || KNOWN),
                        Change::On(_)
                    )
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
        let few = Census {
            addrs: 20,
            networks: 20,
        };
        let mut brake = Brake::default();
        for minute in 0..60 {
            for number in 0..30 {
                // One more begins every two minutes; all go on.
                if number * 2 <= minute {
                    let time = Time::from_secs(i64::from(minute) * 60);
                    let account = Some(u64::from(number));
                    let change = brake.failed(addr(number), account, time, || few);
                    assert_eq!(change, Change::None);
                }
            }
        }
        let mut brake = Brake::default();
        for number in 0..30 {
            assert!(!begins(&mut brake, addr(number), Some(u64::from(number))));
            brake.login(&addr(number), Time::from_secs(1));
        }
        // A store that was written before says nothing.
        let mut brake = Brake::default();
        let on = (0..30).any(|number| {
            brake.login(&addr(number), Time::from_secs(0));
            begins(&mut brake, addr(number), Some(u64::from(number)))
        });
        assert!(on);
    }

    #[test]
    fn addresses_of_one_network_or_of_one_account_do_not_pull_it() {
        let pulled = |address: &dyn Fn(u32) -> Addr, account: &dyn Fn(u32) -> Option<u64>| {
            let mut brake = Brake::default();
            (0..200).position(|n| begins(&mut brake, address(n), account(n)))
        };
        let host = |n: u32| Addr::host(std::net::IpAddr::V4(n.into()));
        let own = |n: u32| Some(u64::from(n));
        assert_eq!(pulled(&addr, &own), Some(24));
        assert_eq!(pulled(&addr, &|_| None), Some(24));
        assert_eq!(pulled(&addr, &|_| Some(7)), None);
        assert_eq!(pulled(&host, &own), None);
        assert_eq!(pulled(&host, &|_| None), None);
        // All customers live in two networks, and both fail.
        let near = |n: u32| Addr::host(std::net::IpAddr::V4(((n % 2) << 8 | n).into()));
        let all: Vec<Addr> = (0..200).map(near).collect();
        let census = Census::of(all.iter());
        assert_eq!((census.addrs, census.networks), (32, 2));
        let mut brake = Brake::default();
        let on = (0..200).position(|n| {
            let change = brake.failed(near(n), own(n), Time::from_secs(1), || census);
            matches!(change, Change::On(_))
        });
        assert_eq!(on, Some(7));
    }

    #[test]
    fn it_ends_at_last() {
        let mut brake = Brake::default();
        let mut changes = Vec::new();
        for minute in 0..15 * 60 {
            let time = Time::from_secs(minute * 60);
            for number in 0..50 {
                brake.failed(addr(number), Some(u64::from(number)), time, || KNOWN);
            }
            let change = brake.tick(time);
            if !matches!(change, Change::Still(50) | Change::None) {
                changes.push((minute, change));
            }
        }
        assert_eq!(changes, [(12 * 60, Change::TooLong)]);
    }
}
