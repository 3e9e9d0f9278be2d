//! How often an address does the same again within `findtime`, until something ends it.
//!
//! **Challenges** until a login: a scan that leaves no failure. A challenge is what every
//! honest phone gets first, and a login follows it. They are hints: one forged packet causes
//! one. **Failures on strange accounts** while an address is held back, until it is cut off.

use std::time::Duration;

use lru::LruCache;

use crate::addr::Addr;
use crate::time::Time;

/// Addresses that are remembered; the one that did it longest ago is forgotten
/// first. They take 2 MB.
const ADDRS_MAX: usize = 16_384;

/// Line forms told apart for one address (what stands in two logs is one); more share the last.
const FORMS_MAX: usize = 4;

/// What one address did.
#[derive(Debug)]
struct Seen {
    first: Time,
    forms: Vec<(u32, u32)>,
}

/// What all addresses did.
#[derive(Debug)]
pub struct Repeats {
    addrs: LruCache<Addr, Seen>,
}

impl Default for Repeats {
    fn default() -> Self {
        Repeats {
            addrs: LruCache::unbounded(),
        }
    }
}

impl Repeats {
    /// Counts one more; gives how many there were.
    pub fn again(&mut self, addr: Addr, form: u32, time: Time, findtime: Duration) -> u32 {
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

    /// That has ended for an address.
    pub fn forget(&mut self, addr: &Addr) {
        self.addrs.pop(addr);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_counted_within_findtime_and_from_their_end_on() {
        let mut repeats = Repeats::default();
        let addr: Addr = "198.51.100.7".parse().unwrap();
        let ask = |repeats: &mut Repeats, form, secs| {
            repeats.again(addr, form, Time::from_secs(secs), Duration::from_secs(600))
        };
        let counts = [(1, 0), (2, 0), (1, 1), (2, 1), (1, 599), (1, 600)]
            .map(|(form, secs)| ask(&mut repeats, form, secs));
        assert_eq!(counts, [1, 1, 2, 2, 3, 1]);
        repeats.forget(&addr);
        assert_eq!(ask(&mut repeats, 1, 601), 1);
        for form in 0..99 {
            ask(&mut repeats, form, 602);
        }
        assert_eq!(repeats.addrs.peek(&addr).unwrap().forms.len(), FORMS_MAX);
        for number in 0..ADDRS_MAX as u32 + 9 {
            let addr = Addr::host(std::net::IpAddr::V4(number.into()));
            repeats.again(addr, 0, Time::from_secs(0), Duration::from_secs(600));
        }
        assert_eq!(repeats.addrs.len(), ADDRS_MAX);
    }
}
