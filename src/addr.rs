//! An address: what a failure is counted for and what a ban is laid on.
//!
//! An [`Addr`] is one host or one prefix, always in canonical form: no host bits
//! beyond the prefix, and an IPv4 address mapped into IPv6 is IPv4. Two values
//! that mean the same packets are therefore equal. Nothing here resolves names.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnet::IpNet;

/// An IPv6 customer is given a /64 at least, so an IPv6 attacker owns one.
pub const V6_OFFENDER_PREFIX: u8 = 64;

/// What one site is given of IPv4, as a rule, and of IPv6.
const V4_NETWORK_PREFIX: u8 = 24;
const V6_NETWORK_PREFIX: u8 = 48;

/// One host, or one prefix, in canonical form.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Addr(IpNet);

impl Addr {
    /// A single host.
    pub fn host(ip: IpAddr) -> Self {
        Addr(IpNet::from(ip.to_canonical()))
    }

    /// The `prefix` bits around `ip`; a prefix that is too long means the host itself.
    pub fn prefix(ip: IpAddr, prefix: u8) -> Self {
        let ip = ip.to_canonical();
        Addr(IpNet::new(ip, prefix).map_or_else(|_| IpNet::from(ip), |net| net.trunc()))
    }

    /// Whom a failure of `ip` is counted for: the IPv4 host, or the IPv6 /64. Behind a
    /// translator (NAT64, RFC 6052 and 8215) one /64 is all of IPv4, so there it is the host.
    pub fn offender(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V4(v4) => Addr::host(IpAddr::V4(v4)),
            IpAddr::V6(v6)
                if matches!(
                    v6.segments(),
                    [0x64, 0xff9b, 0, 0, 0, 0, ..] | [0x64, 0xff9b, 1, ..]
                ) =>
            {
                Addr::host(IpAddr::V6(v6))
            }
            v6 => Addr::prefix(v6, V6_OFFENDER_PREFIX),
        }
    }

    /// The network that a host is thought to share with its neighbours: the IPv4 /24, or the
    /// IPv6 /48.
    pub fn network(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            v4 @ IpAddr::V4(_) => Addr::prefix(v4, V4_NETWORK_PREFIX),
            v6 => Addr::prefix(v6, V6_NETWORK_PREFIX),
        }
    }

    /// The first address of it.
    pub fn ip(&self) -> IpAddr {
        self.0.network()
    }

    /// The number of leading bits that count.
    pub fn prefix_len(&self) -> u8 {
        self.0.prefix_len()
    }

    /// Is it an IPv6 address?
    pub fn is_ipv6(&self) -> bool {
        matches!(self.0, IpNet::V6(_))
    }

    /// Is it one single host?
    pub fn is_host(&self) -> bool {
        self.0.prefix_len() == self.0.max_prefix_len()
    }

    /// How many leading bits of the two are the same; none of another family's.
    pub fn shared_bits(&self, other: &Addr) -> Option<u8> {
        let same = match (self.ip(), other.ip()) {
            (IpAddr::V4(one), IpAddr::V4(two)) => (one.to_bits() ^ two.to_bits()).leading_zeros(),
            (IpAddr::V6(one), IpAddr::V6(two)) => (one.to_bits() ^ two.to_bits()).leading_zeros(),
            _ => return None,
        };
        let length = self.prefix_len().min(other.prefix_len());
        Some(u8::try_from(same).unwrap_or(u8::MAX).min(length))
    }

    /// Does `other` lie wholly inside this?
    pub fn contains(&self, other: &Addr) -> bool {
        self.0.contains(&other.0)
    }

    /// Do the two have an address in common?
    pub fn overlaps(&self, other: &Addr) -> bool {
        self.contains(other) || other.contains(self)
    }
}

/// Is this an address of the public internet, one that an attacker on another
/// network can have? Private, reserved and documentation addresses are not.
pub fn is_global(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(v4) => is_global_v4(v4),
        IpAddr::V6(v6) => is_global_v6(v6),
    }
}

/// Is this an address of somebody's own network, or of this machine? Packets from there do
/// not come in from the internet.
pub fn is_private(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(v4) => v4.is_private() || v4.is_loopback() || v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unique_local() || v6.is_loopback() || v6.is_unicast_link_local(),
    }
}

fn is_global_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    !(a == 0
        || ip.is_private()
        || ip.is_loopback()
        || ip.is_link_local()
        || ip.is_documentation()
        || ip.is_multicast()
        || a >= 240
        || (a == 100 && (64..128).contains(&b))
        || (a == 198 && (b == 18 || b == 19))
        || (a == 192 && b == 0 && c == 0))
}

fn is_global_v6(ip: Ipv6Addr) -> bool {
    let segments = ip.segments();
    (0x2000..0x4000).contains(&segments[0])
        && !(segments[0] == 0x2001 && segments[1] == 0xdb8)
        && !(segments[0] == 0x3fff && segments[1] < 0x1000)
}

/// As few bytes as tell addresses apart: tables of very many of them are what a start and a
/// flood spend their time on.
impl Hash for Addr {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let length = self.prefix_len();
        match self.ip() {
            IpAddr::V4(v4) => state.write_u64(u64::from(v4.to_bits()) << 8 | u64::from(length)),
            IpAddr::V6(v6) => {
                state.write_u128(v6.to_bits());
                state.write_u8(length);
            }
        }
    }
}

impl fmt::Display for Addr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_host() {
            self.ip().fmt(f)
        } else {
            self.0.fmt(f)
        }
    }
}

impl fmt::Debug for Addr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<IpAddr> for Addr {
    fn from(ip: IpAddr) -> Self {
        Addr::host(ip)
    }
}

/// A text that is neither an address nor a prefix.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not an address; write `192.0.2.7`, `192.0.2.0/24`, `2001:db8::7` or `2001:db8::/64`"
)]
pub struct AddrError(String);

impl FromStr for Addr {
    type Err = AddrError;

    /// Reads `ADDRESS` or `ADDRESS/PREFIX`; host bits beyond the prefix are cleared.
    fn from_str(text: &str) -> Result<Self, AddrError> {
        let wrong = || AddrError(text.chars().take(80).collect());
        match text.split_once('/') {
            None => text.parse().map(Addr::host).map_err(|_| wrong()),
            Some((ip, prefix)) => {
                let ip: IpAddr = ip.parse().map_err(|_| wrong())?;
                if prefix.is_empty() || !prefix.bytes().all(|byte| byte.is_ascii_digit()) {
                    return Err(wrong());
                }
                let prefix: u8 = prefix.parse().map_err(|_| wrong())?;
                match (ip, ip.to_canonical()) {
                    (IpAddr::V6(_), IpAddr::V4(v4)) if prefix >= 96 => {
                        Ok(Addr::prefix(IpAddr::V4(v4), prefix - 96))
                    }
                    (IpAddr::V6(_), IpAddr::V4(_)) => Err(wrong()),
                    _ => IpNet::new(ip, prefix)
                        .map(|net| Addr(net.trunc()))
                        .map_err(|_| wrong()),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(text: &str) -> Addr {
        text.parse().expect(text)
    }

    #[test]
    fn canonical_form() {
        for (text, shown) in [
            ("192.0.2.7", "192.0.2.7"),
            ("192.0.2.7/32", "192.0.2.7"),
            ("192.0.2.7/24", "192.0.2.0/24"),
            ("::ffff:192.0.2.7", "192.0.2.7"),
            ("::ffff:192.0.2.7/120", "192.0.2.0/24"),
            ("2001:DB8::7", "2001:db8::7"),
            ("2001:db8::7/64", "2001:db8::/64"),
        ] {
            assert_eq!(addr(text).to_string(), shown, "{text}");
        }
        for text in [
            "",
            "192.0.2",
            "192.0.2.07",
            "192.0.2.7/33",
            "192.0.2.7/",
            "192.0.2.7/+8",
            "::ffff:192.0.2.7/95",
            "2001:db8::/129",
            "sip.example",
            " 192.0.2.7",
        ] {
            assert!(text.parse::<Addr>().is_err(), "{text}");
        }
    }

    #[test]
    fn offenders_are_hosts_or_slash_64() {
        assert_eq!(
            Addr::offender("192.0.2.7".parse().unwrap()),
            addr("192.0.2.7")
        );
        assert_eq!(
            Addr::offender("2001:db8::7".parse().unwrap()),
            addr("2001:db8::/64")
        );
        for translated in ["64:ff9b::192.0.2.7", "64:ff9b:1:2::192.0.2.7"] {
            let host = Addr::offender(translated.parse().unwrap());
            assert_eq!(host, addr(translated));
        }
        assert!(addr("2001:db8::/64").contains(&addr("2001:db8::7")));
        assert!(addr("192.0.2.7").overlaps(&addr("192.0.2.0/24")));
        assert!(!addr("192.0.2.7").overlaps(&addr("2001:db8::/64")));
    }

    #[test]
    fn what_is_global() {
        for (text, global) in [
            ("8.8.8.8", true),
            ("10.0.0.1", false),
            ("100.64.0.1", false),
            ("100.128.0.1", true),
            ("127.0.0.1", false),
            ("169.254.1.1", false),
            ("172.31.0.1", false),
            ("192.0.0.8", false),
            ("198.18.0.1", false),
            ("203.0.113.1", false),
            ("224.0.0.1", false),
            ("255.255.255.255", false),
            ("0.1.2.3", false),
            ("::1", false),
            ("fe80::1", false),
            ("fd00::1", false),
            ("2001:db8::1", false),
            ("2a00::1", true),
            ("::ffff:10.0.0.1", false),
            ("::ffff:8.8.8.8", true),
        ] {
            assert_eq!(is_global(text.parse().unwrap()), global, "{text}");
        }
    }
}
