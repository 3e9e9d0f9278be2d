//! Our neighbours: private networks to which this machine is connected directly.
//!
//! Phones of the own house stand there, and proxies. They are not protected, since a phone
//! may be cracked; but no jail of ours bans them by itself (see `engine::target`). A public
//! network is left out: at a hoster its other addresses are anybody's.

use std::net::IpAddr;

use ipnet::IpNet;

use super::super::interfaces;
use crate::addr::Addr;
use crate::jail::protect::Protected;

/// A network that is wider than this is no neighbourhood.
const WIDEST: u8 = 8;

/// The private networks of this machine's interfaces now; none if they cannot be read.
pub fn neighbours() -> Protected {
    let own = interfaces::addresses().unwrap_or_default();
    Protected::only(own.iter().filter_map(network))
}

fn network(own: &IpNet) -> Option<Addr> {
    let is_private = match own.addr() {
        IpAddr::V4(v4) => v4.is_private(),
        IpAddr::V6(v6) => v6.is_unique_local(),
    };
    (is_private && own.prefix_len() >= WIDEST).then(|| Addr::prefix(own.addr(), own.prefix_len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_private_networks_are_a_neighbourhood() {
        for (own, expected) in [
            ("192.168.7.9/24", Some("192.168.7.0/24")),
            ("10.1.2.3/8", Some("10.0.0.0/8")),
            ("10.1.2.3/0", None),
            ("fd00:1::5/64", Some("fd00:1::/64")),
            ("203.0.113.5/24", None),
            ("2001:db8::5/64", None),
            ("127.0.0.1/8", None),
            ("fe80::1/64", None),
        ] {
            let found = network(&own.parse().unwrap()).map(|addr| addr.to_string());
            assert_eq!(found.as_deref(), expected, "{own}");
        }
    }
}
