//! The protected: addresses that are never banned, whatever a line, a list or
//! an operator's slip says.
//!
//! The same addresses stand in the kernel's allow set, in front of every drop,
//! so a prefix that is banned around them leaves them reachable.

use std::collections::BTreeSet;

use crate::addr::Addr;

/// Whom nobody can be attacked by from outside.
const ALWAYS: [&str; 8] = [
    "127.0.0.0/8",
    "::1",
    "fe80::/10",
    "0.0.0.0/8",
    "::",
    "224.0.0.0/4",
    "ff00::/8",
    "255.255.255.255",
];

/// Protected addresses. However many there are, asking takes one look, and at most as many
/// more as there are lengths of prefixes among them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Protected {
    addrs: BTreeSet<Addr>,
    /// The lengths of their prefixes, hosts' too: is it IPv6, and how long?
    lengths: BTreeSet<(bool, u8)>,
}

impl Protected {
    /// These, and what can never be an attacker from outside: the loopback networks, IPv6's
    /// link-local one, and what no host has (a host that asks for an address has 0.0.0.0 or
    /// `::`, and multicast and broadcast are no sources).
    pub fn new(addrs: impl IntoIterator<Item = Addr>) -> Self {
        let always = ALWAYS.into_iter().filter_map(|text| text.parse().ok());
        Protected::only(always.chain(addrs))
    }

    /// These and nobody else, for what one jail ignores.
    pub fn only(addrs: impl IntoIterator<Item = Addr>) -> Self {
        let addrs: BTreeSet<Addr> = addrs.into_iter().collect();
        let length = |addr: &Addr| (addr.is_ipv6(), addr.prefix_len());
        let lengths = addrs.iter().map(length).collect();
        Protected { addrs, lengths }
    }

    /// Is the whole of `addr` protected?
    pub fn covers(&self, addr: &Addr) -> bool {
        self.around(addr).is_some()
    }

    /// The widest of them that covers the whole of `addr`.
    pub fn around(&self, addr: &Addr) -> Option<Addr> {
        // In their order, what covers it stands before it, and covers what stands between the
        // two: so it is no longer than what it shares with the one right before it.
        let before = self.addrs.range(..=addr).next_back();
        let longest = before.and_then(|before| before.shared_bits(addr))?;
        let is_ipv6 = addr.is_ipv6();
        let lengths = self.lengths.range((is_ipv6, 0)..=(is_ipv6, longest));
        let mut prefixes = lengths.map(|(_, length)| Addr::prefix(addr.ip(), *length));
        prefixes.find(|prefix| self.addrs.contains(prefix))
    }

    /// Is somebody inside of this prefix protected?
    pub fn any_inside(&self, prefix: &Addr) -> bool {
        // In their order, what lies inside a prefix follows it at once.
        let next = || self.addrs.range(prefix..).next();
        !prefix.is_host()
            && (self.covers(prefix) || next().is_some_and(|addr| prefix.contains(addr)))
    }

    /// Does a protected network share something with this prefix, or is all of it protected?
    pub fn any_network_inside(&self, prefix: &Addr) -> bool {
        let inside = self.addrs.range(prefix..);
        let mut inside = inside.take_while(|addr| prefix.contains(addr));
        self.covers(prefix) || inside.any(|addr| !addr.is_host())
    }

    /// All of them, for the kernel's allow set and for showing, in order.
    pub fn addrs(&self) -> Vec<Addr> {
        self.addrs.iter().copied().collect()
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
            ("0.0.0.0", true),
            ("239.255.255.250", true),
            ("255.255.255.255", true),
            ("255.255.255.254", false),
            ("::", true),
            ("::2", false),
            ("ff02::1", true),
        ] {
            assert_eq!(protected.covers(&text.parse().unwrap()), covered, "{text}");
        }
    }

    #[test]
    fn asking_many_is_as_asking_one_by_one() {
        let mut seed = 7_u32;
        let mut next = |below: u32| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 8) % below
        };
        let mut addr = || {
            let (ip, length) = (next(64) << 4 | next(16), 20 + next(13) as u8);
            match next(2) {
                0 => Addr::prefix(std::net::Ipv4Addr::from(0xc000_0000 | ip).into(), length),
                _ => {
                    let ip = std::net::Ipv6Addr::from(0x2001 << 112 | u128::from(ip));
                    Addr::prefix(ip.into(), length + 96)
                }
            }
        };
        for _ in 0..200 {
            let all: Vec<Addr> = (0..20).map(|_| addr()).collect();
            let protected = Protected::only(all.iter().copied());
            for _ in 0..50 {
                let asked = addr();
                let covered = all.iter().any(|one| one.contains(&asked));
                assert_eq!(protected.covers(&asked), covered, "{asked} in {all:?}");
                let overlaps = all.iter().any(|one| one.overlaps(&asked));
                let inside = !asked.is_host() && overlaps;
                assert_eq!(
                    protected.any_inside(&asked),
                    inside,
                    "{asked} around {all:?}"
                );
            }
        }
    }
}
