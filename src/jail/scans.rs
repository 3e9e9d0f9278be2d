//! Scans that leave no failure: who is asked to authenticate again and again, and never does.
//!
//! A challenge is what every honest phone gets first, and a login follows it. So challenges
//! are counted from the last login on, or from the beginning of `findtime`. They are hints:
//! one forged packet causes one.

use std::time::Duration;

use lru::LruCache;

use crate::addr::Addr;
use crate::time::Time;

/// Addresses that are remembered; the one that was challenged longest ago is forgotten
/// first. They take 2 MB.
const ADDRS_MAX: usize = 16_384;

/// Line forms told apart for one address (a challenge in two logs is one); more share the last.
const FORMS_MAX: usize = 4;

/// The challenges of one address.
#[derive(Debug)]
struct Seen {
    first: Time,
    forms: Vec<(u32, u32)>,
}

/// The challenges of all addresses.
#[derive(Debug)]
pub struct Scans {
    addrs: LruCache<Addr, Seen>,
}

impl Default for Scans {
    fn default() -> Self {
        Scans {
            addrs: LruCache::unbounded(),
        }
    }
}

impl Scans {
    /// Counts a challenge; gives how many there were without a login.
    pub fn challenged(&mut self, addr: Addr, form: u32, time: Time, findtime: Duration) -> u32 {
        if self.addrs.len() >= ADDRS_MAX && !self.addrs.contains(&addr) {
            self.addrs.pop_lru();
        }
        let seen = self.addrs.get_or_insert_mut(addr, || Seen {
            first: time,
            forms: Vec::with_capacity(1),
        });
        if seen.first + findtime <= time {
            seen.first = time;
            seen.forms.clear();
        }
        match seen.forms.iter().position(|(known, _)| *known == form) {
            Some(place) => seen.forms[place].1 += 1,
            None if seen.forms.len() < FORMS_MAX => seen.forms.push((form, 1)),
            None => seen.forms[FORMS_MAX - 1].1 += 1,
        }
        seen.forms
            .iter()
            .map(|(_, count)| *count)
            .max()
            .unwrap_or(0)
    }

    /// An address has logged in, or is banned or pardoned now.
    pub fn forget(&mut self, addr: &Addr) {
        self.addrs.pop(addr);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_counted_from_the_last_login_on() {
        let mut scans = Scans::default();
        let addr: Addr = "198.51.100.7".parse().unwrap();
        let ask = |scans: &mut Scans, form, secs| {
            scans.challenged(addr, form, Time::from_secs(secs), Duration::from_secs(600))
        };
        let counts = [(1, 0), (2, 0), (1, 1), (2, 1), (1, 599), (1, 600)]
            .map(|(form, secs)| ask(&mut scans, form, secs));
        assert_eq!(counts, [1, 1, 2, 2, 3, 1]);
        scans.forget(&addr);
        assert_eq!(ask(&mut scans, 1, 601), 1);
        for form in 0..99 {
            ask(&mut scans, form, 602);
        }
        assert_eq!(scans.addrs.peek(&addr).unwrap().forms.len(), FORMS_MAX);
        for number in 0..ADDRS_MAX as u32 + 9 {
            let addr = Addr::host(std::net::IpAddr::V4(number.into()));
            scans.challenged(addr, 0, Time::from_secs(0), Duration::from_secs(600));
        }
        assert_eq!(scans.addrs.len(), ADDRS_MAX);
    }
}
