//! The protected: addresses that are never banned, whatever a line, a list or
//! an operator's slip says.
//!
//! The same addresses stand in the kernel's allow set, in front of every drop,
//! so a prefix that is banned around them leaves them reachable.

use std::collections::HashSet;
use std::net::IpAddr;

use crate::addr::Addr;

/// Protected addresses, known by host and by prefix.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Protected {
    hosts: HashSet<IpAddr>,
    prefixes: Vec<Addr>,
}

impl Protected {
    /// These, and what can never be an attacker from outside: the loopback
    /// networks and IPv6's link-local one.
    pub fn new(addrs: impl IntoIterator<Item = Addr>) -> Self {
        let always = ["127.0.0.0/8", "::1", "fe80::/10"]
            .into_iter()
            .filter_map(|text| text.parse().ok());
        Protected::only(always.chain(addrs))
    }

    /// These and nobody else, for what one jail ignores.
    pub fn only(addrs: impl IntoIterator<Item = Addr>) -> Self {
        let mut protected = Protected::default();
        for addr in addrs {
            if addr.is_host() {
                protected.hosts.insert(addr.ip());
            } else {
                protected.prefixes.push(addr);
            }
        }
        protected.prefixes.sort_unstable();
        protected.prefixes.dedup();
        protected
    }

    /// Is the whole of `addr` protected?
    pub fn covers(&self, addr: &Addr) -> bool {
        (addr.is_host() && self.hosts.contains(&addr.ip()))
            || self.prefixes.iter().any(|prefix| prefix.contains(addr))
    }

    /// Is somebody inside of this prefix protected?
    pub fn any_inside(&self, prefix: &Addr) -> bool {
        let hosts = || self.hosts.iter().map(|host| Addr::host(*host));
        !prefix.is_host()
            && (hosts().any(|host| prefix.contains(&host))
                || self
                    .prefixes
                    .iter()
                    .any(|protected| protected.overlaps(prefix)))
    }

    /// All of them, for the kernel's allow set and for showing, in order.
    pub fn addrs(&self) -> Vec<Addr> {
        let hosts = self.hosts.iter().map(|host| Addr::host(*host));
        let mut addrs: Vec<Addr> = hosts.chain(self.prefixes.iter().copied()).collect();
        addrs.sort_unstable();
        addrs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_prefixes_are_covered() {
        let addrs =
            ["192.0.2.7", "198.51.100.0/24", "2001:db8::5"].map(|text| text.parse().unwrap());
        let protected = Protected::new(addrs);
        for (text, covered) in [
            ("192.0.2.7", true),
            ("192.0.2.8", false),
            ("192.0.2.0/24", false), // a ban around a protected host leaves it reachable
            ("198.51.100.9", true),
            ("198.51.100.0/25", true),
            ("198.51.0.0/16", false),
            ("2001:db8::5", true),
            ("2001:db8::/64", false),
            ("127.0.0.53", true),
            ("::1", true),
            ("fe80::1", true),
        ] {
            assert_eq!(protected.covers(&text.parse().unwrap()), covered, "{text}");
        }
    }
}
