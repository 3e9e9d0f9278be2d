//! Crowds: networks of which more than `aggregate` offenders are banned.
//!
//! A botnet's hosts often share a network (an IPv4 /24, an IPv6 /48), and each of them costs
//! `maxretry` tries. Where the operator wants it, the network is banned when one offender
//! more than he tolerates is banned in it at the same time by the same jail. Only bans that
//! stand on proof count: one packet with a forged source must not cut off a network.

use std::num::NonZeroUsize;

use lru::LruCache;

use crate::addr::Addr;
use crate::time::Time;

/// The largest `aggregate`: an IPv4 network has hardly more hosts.
pub const OFFENDERS_MAX: u32 = 250;

/// Networks that are watched at once; the one that was quiet longest begins anew.
const NETWORKS_MAX: NonZeroUsize = NonZeroUsize::new(4_096).unwrap();

/// The banned offenders of one jail, by network.
#[derive(Debug, Default)]
pub struct Crowds {
    /// With the end of each ban. None until there is one: few jails aggregate.
    networks: Option<LruCache<Addr, Vec<Held>>>,
}

/// An offender, and until when it is banned.
type Held = (Addr, Option<Time>);

impl Crowds {
    /// Adds an offender that is banned until then. If there are more than `tolerated` in its
    /// network now, that is the answer, with their number; from then on it is counted anew.
    pub fn add(
        &mut self,
        offender: Addr,
        until: Option<Time>,
        tolerated: u32,
        now: Time,
    ) -> Option<(Addr, u32)> {
        let network = Addr::network(offender.ip());
        if !network.contains(&offender) || network == offender {
            return None;
        }
        let networks = self
            .networks
            .get_or_insert_with(|| LruCache::new(NETWORKS_MAX));
        let held = networks.get_or_insert_mut(network, Vec::new);
        held.retain(|(known, end)| *known != offender && end.is_none_or(|end| end > now));
        held.push((offender, until));
        let count = u32::try_from(held.len()).unwrap_or(u32::MAX);
        if count <= tolerated.min(OFFENDERS_MAX) {
            return None;
        }
        networks.pop(&network);
        Some((network, count))
    }

    /// Forgets offenders that are pardoned: those who share something with `addr`.
    pub fn forget(&mut self, addr: &Addr) {
        for (_, held) in self.networks.iter_mut().flatten() {
            held.retain(|(offender, _)| !offender.overlaps(addr));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_those_banned_at_the_same_time_count() {
        let mut crowds = Crowds::default();
        let mut add = |addr: &str, until: i64, now: i64| {
            let until = Some(Time::from_secs(until));
            let found = crowds.add(addr.parse().unwrap(), until, 2, Time::from_secs(now));
            found.map(|(network, count)| format!("{network} {count}"))
        };
        assert_eq!(add("192.0.2.1", 100, 0), None);
        assert_eq!(add("192.0.2.2", 200, 0), None);
        assert_eq!(add("192.0.2.2", 300, 10), None); // the same again
        assert_eq!(add("198.51.100.3", 300, 10), None); // another network
        assert_eq!(add("192.0.2.3", 300, 100), None); // the first has ended
        assert_eq!(add("192.0.2.0/24", 300, 100), None); // a network is no host of itself
        assert_eq!(
            add("192.0.2.4", 300, 101).as_deref(),
            Some("192.0.2.0/24 3")
        );
        assert_eq!(add("192.0.2.5", 300, 102), None); // counted anew
        for (host, expected) in [(1, None), (2, None), (3, Some("2001:db8:5::/48 3"))] {
            let found = add(&format!("2001:db8:5:{host}::/64"), 900, 103);
            assert_eq!(found.as_deref(), expected);
        }
    }

    #[test]
    fn the_pardoned_are_forgotten() {
        let mut crowds = Crowds::default();
        let mut add = |host: u8| {
            let addr = format!("192.0.2.{host}").parse().unwrap();
            crowds.add(addr, None, 1, Time::default())
        };
        assert_eq!(add(1), None);
        crowds.forget(&"192.0.2.1".parse().unwrap());
        let addr = "192.0.2.2".parse().unwrap();
        assert_eq!(crowds.add(addr, None, 1, Time::default()), None);
    }
}
