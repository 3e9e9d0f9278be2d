//! What an entry of the feed must pass before it may reach the firewall.
//!
//! The feed is text from a stranger. Only what the standard library's strict
//! parser reads as one single address of the public internet goes on, and never
//! one that we protect. From here on an entry is an [`IpAddr`], formatted by us;
//! the text is dropped. One bad entry never spoils its page: it is counted.

use std::collections::HashSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use serde::Serialize;

use crate::addr::is_global;

/// The longest text of an address; `Ipv6Addr` needs up to 45 characters.
const TEXT_BYTES_MAX: usize = 45;

/// Why an entry was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejected {
    /// Not the text of one address: spaces, ports, ranges, leading zeros, names.
    NotAnAddress,
    /// A prefix, of any width; the feed lists single addresses.
    Prefix,
    /// Private, reserved, documentation, multicast and the like.
    NotGlobal,
    /// One that we protect: allowed, our own, a gateway, or APIBAN's.
    Protected,
    /// The page had it already.
    Twice,
    /// The set is full.
    Full,
}

/// How many entries were not taken, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Rejections {
    /// Not text in the first place: numbers, lists, nulls.
    pub not_text: u64,
    /// Text, but not of an address.
    pub not_an_address: u64,
    /// Prefixes.
    pub prefix: u64,
    /// Not of the public internet.
    pub not_global: u64,
    /// Ours to protect.
    pub protected: u64,
    /// Twice in one page.
    pub twice: u64,
    /// For want of room in the set.
    pub full: u64,
}

impl Rejections {
    /// Counts one.
    pub fn count(&mut self, reason: Rejected) {
        *match reason {
            Rejected::NotAnAddress => &mut self.not_an_address,
            Rejected::Prefix => &mut self.prefix,
            Rejected::NotGlobal => &mut self.not_global,
            Rejected::Protected => &mut self.protected,
            Rejected::Twice => &mut self.twice,
            Rejected::Full => &mut self.full,
        } += 1;
    }

    /// Adds those of another page.
    pub fn add(&mut self, other: &Rejections) {
        self.not_text += other.not_text;
        self.not_an_address += other.not_an_address;
        self.prefix += other.prefix;
        self.not_global += other.not_global;
        self.protected += other.protected;
        self.twice += other.twice;
        self.full += other.full;
    }

    /// Those that an operator should hear of: a feed in order has none.
    pub fn are_odd(&self) -> bool {
        self.not_text + self.not_an_address + self.prefix + self.not_global + self.protected > 0
    }
}

impl fmt::Display for Rejections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut comma = "";
        for (count, what) in [
            (self.not_text, "not text"),
            (self.not_an_address, "not an address"),
            (self.prefix, "a prefix"),
            (self.not_global, "not global"),
            (self.protected, "protected"),
            (self.twice, "twice in the page"),
            (self.full, "no room left"),
        ] {
            if count > 0 {
                write!(f, "{comma}{count} {what}")?;
                comma = ", ";
            }
        }
        if comma.is_empty() {
            f.write_str("none")?;
        }
        Ok(())
    }
}

/// Whose addresses pass.
#[derive(Clone, Copy)]
pub struct Vet<'a> {
    /// Addresses that no list may ban.
    pub protected: &'a dyn Fn(IpAddr) -> bool,
    /// For laboratories: documentation, private and other reserved ranges pass,
    /// but not loopback, multicast, broadcast or the unspecified address.
    pub accept_reserved: bool,
}

impl Vet<'_> {
    /// The address in an entry's text, if it may be banned.
    pub fn text(&self, text: &str) -> Result<IpAddr, Rejected> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(Rejected::NotAnAddress);
        }
        match text.parse::<IpAddr>() {
            Ok(ip) => self.ip(ip),
            Err(_) => match text.split_once('/') {
                Some((ip, _)) if ip.parse::<IpAddr>().is_ok() => Err(Rejected::Prefix),
                _ => Err(Rejected::NotAnAddress),
            },
        }
    }

    /// The address in canonical form, if it may be banned (or asked about).
    pub fn ip(&self, ip: IpAddr) -> Result<IpAddr, Rejected> {
        let ip = ip.to_canonical();
        let in_range = is_global(ip) || (self.accept_reserved && is_host_of_a_laboratory(ip));
        if !in_range {
            Err(Rejected::NotGlobal)
        } else if (self.protected)(ip) {
            Err(Rejected::Protected)
        } else {
            Ok(ip)
        }
    }

    /// The entries of a page that pass, each once; the others are counted.
    pub fn page(&self, texts: &[String], rejections: &mut Rejections) -> Vec<IpAddr> {
        let mut seen = HashSet::with_capacity(texts.len());
        let mut passed = Vec::with_capacity(texts.len());
        for text in texts {
            match self.text(text) {
                Ok(ip) if seen.insert(ip) => passed.push(ip),
                Ok(_) => rejections.count(Rejected::Twice),
                Err(reason) => rejections.count(reason),
            }
        }
        passed
    }
}

fn is_host_of_a_laboratory(ip: IpAddr) -> bool {
    !ip.is_unspecified()
        && !ip.is_loopback()
        && !ip.is_multicast()
        && ip != IpAddr::V4(Ipv4Addr::BROADCAST)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nobody(_: IpAddr) -> bool {
        false
    }

    const STRICT: Vet<'_> = Vet {
        protected: &nobody,
        accept_reserved: false,
    };

    #[test]
    fn only_single_global_addresses_pass() {
        use Rejected::*;
        let long = "1".repeat(10_000);
        for (text, wanted) in [
            ("8.8.8.8", Ok("8.8.8.8")),
            ("2a00:1450::5", Ok("2a00:1450::5")),
            ("2A00:1450:0:0::5", Ok("2a00:1450::5")),
            ("::ffff:8.8.8.8", Ok("8.8.8.8")),
            ("", Err(NotAnAddress)),
            (" 8.8.8.8", Err(NotAnAddress)),
            ("8.8.8.8\n", Err(NotAnAddress)),
            ("8.8.8.8\n9.9.9.9", Err(NotAnAddress)),
            ("8.8.8.08", Err(NotAnAddress)),
            ("8.8.8", Err(NotAnAddress)),
            ("8.8.8.8:5060", Err(NotAnAddress)),
            ("[2a00::5]", Err(NotAnAddress)),
            ("8.8.8.8-8.8.8.9", Err(NotAnAddress)),
            ("0x08080808", Err(NotAnAddress)),
            ("134744072", Err(NotAnAddress)),
            ("fe80::1%eth0", Err(NotAnAddress)),
            ("dns.google", Err(NotAnAddress)),
            ("8.8.8.8; flush ruleset", Err(NotAnAddress)),
            (long.as_str(), Err(NotAnAddress)),
            ("8.8.8.8/32", Err(Prefix)),
            ("0.0.0.0/0", Err(Prefix)),
            ("::/0", Err(Prefix)),
            ("2a00::/64", Err(Prefix)),
            ("0.0.0.0", Err(NotGlobal)),
            ("0.1.2.3", Err(NotGlobal)),
            ("127.0.0.1", Err(NotGlobal)),
            ("10.1.2.3", Err(NotGlobal)),
            ("172.16.0.1", Err(NotGlobal)),
            ("192.168.0.1", Err(NotGlobal)),
            ("169.254.1.1", Err(NotGlobal)),
            ("100.64.0.1", Err(NotGlobal)),
            ("224.0.0.1", Err(NotGlobal)),
            ("240.0.0.1", Err(NotGlobal)),
            ("255.255.255.255", Err(NotGlobal)),
            ("192.0.2.1", Err(NotGlobal)),
            ("198.51.100.1", Err(NotGlobal)),
            ("203.0.113.1", Err(NotGlobal)),
            ("198.18.0.1", Err(NotGlobal)),
            ("::ffff:127.0.0.1", Err(NotGlobal)),
            ("::ffff:192.168.0.1", Err(NotGlobal)),
            ("::", Err(NotGlobal)),
            ("::1", Err(NotGlobal)),
            ("fe80::1", Err(NotGlobal)),
            ("fd00::1", Err(NotGlobal)),
            ("ff02::1", Err(NotGlobal)),
            ("2001:db8::1", Err(NotGlobal)),
        ] {
            let wanted = wanted.map(|ip: &str| ip.parse().unwrap());
            assert_eq!(STRICT.text(text), wanted, "{:.40}", text);
        }
    }

    #[test]
    fn a_laboratory_takes_reserved_ranges_but_not_itself() {
        let vet = Vet {
            accept_reserved: true,
            ..STRICT
        };
        for (text, passes) in [
            ("192.0.2.7", true),
            ("10.0.0.7", true),
            ("2001:db8::7", true),
            ("127.0.0.1", false),
            ("::1", false),
            ("0.0.0.0", false),
            ("::", false),
            ("224.0.0.1", false),
            ("ff02::1", false),
            ("255.255.255.255", false),
            ("192.0.2.0/24", false),
        ] {
            assert_eq!(vet.text(text).is_ok(), passes, "{text}");
        }
    }

    #[test]
    fn a_page_keeps_its_good_entries() {
        let ours: IpAddr = "9.9.9.9".parse().unwrap();
        let vet = Vet {
            protected: &|ip| ip == ours,
            accept_reserved: false,
        };
        let texts = [
            "8.8.8.8",
            "9.9.9.9",
            "::ffff:9.9.9.9",
            "8.8.8.8",
            "::ffff:8.8.8.8",
            "10.0.0.1",
            "0.0.0.0/0",
            "x",
            "8.8.4.4",
        ]
        .map(str::to_owned);
        let mut rejections = Rejections::default();
        let passed = vet.page(&texts, &mut rejections);
        assert_eq!(format!("{passed:?}"), "[8.8.8.8, 8.8.4.4]");
        assert_eq!(
            rejections.to_string(),
            "1 not an address, 1 a prefix, 1 not global, 2 protected, 2 twice in the page"
        );
        assert!(rejections.are_odd());
        assert_eq!(Rejections::default().to_string(), "none");
    }
}
