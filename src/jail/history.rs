//! Who was banned before: how often, and when last, by jail.
//!
//! This is what `bantime.increment` asks for while it judges, so it lies in memory. The
//! database is the long memory; at start the newest of it comes back here. An address
//! that is forgotten here counts as one that was never banned: its next ban is a first
//! one again, and says so in the database.

use lru::LruCache;

use crate::addr::Addr;
use crate::ticket::JailName;
use crate::time::Time;

/// Addresses that are remembered; the one whose ban is oldest is forgotten first.
/// With one jail each they take 5 MB, as many as a busy server bans in months.
pub const HISTORY_MAX: usize = 32_768;

/// What is known of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Past {
    /// How often it was banned.
    pub count: u32,
    /// The time of its last ban, in whole seconds as in the database.
    pub latest: Time,
}

/// The past of all addresses.
#[derive(Debug)]
pub struct History {
    addrs: LruCache<Addr, Vec<(JailName, Past)>>,
}

impl Default for History {
    fn default() -> Self {
        History {
            addrs: LruCache::unbounded(),
        }
    }
}

impl History {
    /// What one jail knows of an address.
    pub fn of(&self, jail: &str, addr: &Addr) -> Option<Past> {
        let known = self.addrs.peek(addr)?;
        let (_, past) = known.iter().find(|(name, _)| **name == *jail)?;
        Some(*past)
    }

    /// What all jails together know of an address: the sum of their bans.
    pub fn overall(&self, addr: &Addr) -> Option<Past> {
        let pasts = self.addrs.peek(addr)?.iter().map(|(_, past)| *past);
        pasts.reduce(|one, other| Past {
            count: one.count.saturating_add(other.count),
            latest: one.latest.max(other.latest),
        })
    }

    /// Remembers a ban; what the jail knew of the address before gives way.
    pub fn put(&mut self, jail: &JailName, addr: Addr, past: Past) {
        if self.addrs.len() >= HISTORY_MAX && !self.addrs.contains(&addr) {
            self.addrs.pop_lru();
        }
        let known = self.addrs.get_or_insert_mut(addr, || Vec::with_capacity(1));
        match known.iter_mut().find(|(name, _)| name == jail) {
            Some((_, before)) => *before = past,
            None => known.push((jail.clone(), past)),
        }
    }

    /// Forgets an address, and says which jails knew it.
    pub fn forget(&mut self, addr: &Addr) -> Vec<JailName> {
        let known = self.addrs.pop(addr).unwrap_or_default();
        known.into_iter().map(|(jail, _)| jail).collect()
    }

    /// Forgets what one jail knew of an address.
    pub fn forget_of(&mut self, jail: &str, addr: &Addr) {
        if let Some(known) = self.addrs.peek_mut(addr) {
            known.retain(|(name, _)| **name != *jail);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn past(count: u32, secs: i64) -> Past {
        Past {
            count,
            latest: Time::from_secs(secs),
        }
    }

    #[test]
    fn pasts_are_known_by_jail_and_overall() {
        let mut history = History::default();
        let addr: Addr = "192.0.2.7".parse().unwrap();
        let (one, two): (JailName, JailName) = ("one".into(), "two".into());
        assert_eq!(history.overall(&addr), None);
        history.put(&one, addr, past(1, 100));
        history.put(&two, addr, past(3, 50));
        history.put(&one, addr, past(2, 200));
        assert_eq!(history.of("one", &addr), Some(past(2, 200)));
        assert_eq!(history.overall(&addr), Some(past(5, 200)));
        history.forget_of("two", &addr);
        assert_eq!(history.of("two", &addr), None);
        assert_eq!(history.forget(&addr), [one]);
        assert_eq!(history.of("one", &addr), None);
    }

    #[test]
    fn memory_is_bounded() {
        let mut history = History::default();
        let jail: JailName = "one".into();
        let addr = |number: u32| Addr::host(std::net::IpAddr::V4(number.into()));
        for number in 0..=HISTORY_MAX as u32 {
            history.put(&jail, addr(number), past(1, i64::from(number)));
        }
        assert_eq!(history.addrs.len(), HISTORY_MAX);
        assert_eq!(history.of("one", &addr(0)), None);
    }
}
