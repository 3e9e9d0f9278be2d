//! APIBAN's list in memory: who is on it, and until when.
//!
//! A million addresses are 19 MB: each family has a table of its own, and times are kept
//! by the second, rounded up, as the kernel has them.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::time::Time;

/// Addresses, and when each expires.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Listed {
    four: HashMap<Ipv4Addr, u32>,
    six: HashMap<Ipv6Addr, u32>,
}

impl Listed {
    /// An empty one, in which so many have room: to grow takes half as much memory besides.
    /// They are taken for IPv4, as nearly all are.
    pub fn with_room_for(count: usize) -> Listed {
        Listed {
            four: HashMap::with_capacity(count),
            six: HashMap::new(),
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.four.len() + self.six.len()
    }

    /// Is nobody on it?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Until when the address is on it.
    pub fn get(&self, ip: &IpAddr) -> Option<Time> {
        let secs = match ip {
            IpAddr::V4(v4) => self.four.get(v4),
            IpAddr::V6(v6) => self.six.get(v6),
        };
        secs.map(|secs| time(*secs))
    }

    /// Puts an address on it, or gives it another end.
    pub fn insert(&mut self, ip: IpAddr, expires: Time) {
        match ip {
            IpAddr::V4(v4) => self.four.insert(v4, secs(expires)),
            IpAddr::V6(v6) => self.six.insert(v6, secs(expires)),
        };
    }

    /// Takes an address off it.
    pub fn remove(&mut self, ip: &IpAddr) {
        match ip {
            IpAddr::V4(v4) => self.four.remove(v4),
            IpAddr::V6(v6) => self.six.remove(v6),
        };
    }

    /// Takes off whoever has expired.
    pub fn expire(&mut self, now: Time) {
        self.retain(|_, expires| expires > now);
    }

    /// Takes off all others.
    pub fn retain(&mut self, mut is_kept: impl FnMut(IpAddr, Time) -> bool) {
        self.four
            .retain(|ip, secs| is_kept(IpAddr::V4(*ip), time(*secs)));
        self.six
            .retain(|ip, secs| is_kept(IpAddr::V6(*ip), time(*secs)));
    }

    /// Puts everybody of another on it who is not there, until then.
    pub fn add_missing(&mut self, other: Listed) {
        if self.is_empty() {
            *self = other; // of a long one there is no room for a copy
            return;
        }
        for (ip, expires) in other.iter() {
            if self.get(&ip).is_none() {
                self.insert(ip, expires);
            }
        }
    }

    /// Gives each end as another clock shows it.
    pub fn move_ends(&mut self, to: impl Fn(Time) -> Time) {
        let four = self.four.values_mut();
        for end in four.chain(self.six.values_mut()) {
            *end = secs(to(time(*end)));
        }
    }

    /// Everybody, in no order.
    pub fn ips(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.iter().map(|(ip, _)| ip)
    }

    /// Everybody, and until when, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (IpAddr, Time)> + '_ {
        let four = self.four.iter();
        let six = self.six.iter();
        let four = four.map(|(ip, secs)| (IpAddr::V4(*ip), time(*secs)));
        four.chain(six.map(|(ip, secs)| (IpAddr::V6(*ip), time(*secs))))
    }
}

impl FromIterator<(IpAddr, Time)> for Listed {
    fn from_iter<I: IntoIterator<Item = (IpAddr, Time)>>(entries: I) -> Listed {
        let mut listed = Listed::default();
        for (ip, expires) in entries {
            listed.insert(ip, expires);
        }
        listed
    }
}

/// Seconds since 1970, rounded up; until 2106.
fn secs(time: Time) -> u32 {
    let is_part = time.as_micros() > Time::from_secs(time.as_secs()).as_micros();
    let secs = time.as_secs().saturating_add(i64::from(is_part)).max(0);
    u32::try_from(secs).unwrap_or(u32::MAX)
}

fn time(secs: u32) -> Time {
    Time::from_secs(i64::from(secs))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn both_families_are_kept_by_the_second() {
        let mut listed = Listed::default();
        let [four, six] = ["192.0.2.7", "2001:db8::7"].map(|ip| ip.parse::<IpAddr>().unwrap());
        for (ip, micros, secs) in [
            (four, 1_000_001, 2),
            (six, 5_000_000, 5),
            (four, -1, 0),
            (four, 7, 1),
        ] {
            listed.insert(ip, Time::from_micros(micros));
            assert_eq!(listed.get(&ip), Some(Time::from_secs(secs)), "{micros}");
        }
        assert_eq!((listed.len(), listed.ips().count()), (2, 2));
        let mut later = Listed::default();
        later.add_missing(listed.clone());
        assert_eq!(later, listed);
        later.move_ends(|end| end + Duration::from_secs(60));
        assert_eq!(later.get(&four), Some(Time::from_secs(61)));
        later.remove(&six);
        later.add_missing(listed.clone());
        assert_eq!(later.get(&four), Some(Time::from_secs(61)));
        assert_eq!(later.get(&six), Some(Time::from_secs(5)));
        listed.expire(Time::from_secs(1));
        assert_eq!(listed.ips().collect::<Vec<_>>(), [six]);
        listed.remove(&six);
        assert!(listed.is_empty() && listed.get(&six).is_none());
    }
}
