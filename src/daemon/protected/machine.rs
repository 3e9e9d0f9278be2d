//! This machine's own addresses, its gateways and its resolvers. To ban one of them
//! would cut the machine off.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::super::interfaces;
use super::Known;

/// Where resolvers are named; the second is systemd-resolved's own list.
const RESOLVER_FILES: [&str; 2] = ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"];

/// What this machine says of itself now. Gateways and resolvers that cannot be read are
/// left out; an error is that of its own addresses.
pub(super) fn of_this_machine() -> io::Result<Vec<Known>> {
    let own = interfaces::addresses()?.into_iter().map(|own| own.addr());
    let own = own
        .filter(|ip| !ip.is_loopback())
        .map(|ip| Known::new(ip.into(), "own"));
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let gateways = gateways_v4(&read("/proc/net/route"))
        .into_iter()
        .map(IpAddr::V4);
    let gateways = gateways.chain(
        gateways_v6(&read("/proc/net/ipv6_route"))
            .into_iter()
            .map(IpAddr::V6),
    );
    let gateways = gateways.map(|ip| Known::new(ip.into(), "gateway"));
    let resolvers = RESOLVER_FILES
        .into_iter()
        .flat_map(|path| resolvers(&read(path)));
    let resolvers = resolvers
        .filter(|ip| !ip.is_loopback())
        .map(|ip| Known::new(ip.into(), "resolver"));
    Ok(own.chain(gateways).chain(resolvers).collect())
}

/// Gateways of `/proc/net/route`: numbers in hex, in the machine's byte order.
fn gateways_v4(table: &str) -> Vec<Ipv4Addr> {
    let gateway = |line: &str| {
        let number = u32::from_str_radix(line.split_whitespace().nth(2)?, 16).ok()?;
        (number != 0).then(|| Ipv4Addr::from(number.to_ne_bytes()))
    };
    table.lines().skip(1).filter_map(gateway).collect()
}

/// Next hops of `/proc/net/ipv6_route`: 32 hex digits each.
fn gateways_v6(table: &str) -> Vec<Ipv6Addr> {
    let gateway = |line: &str| {
        let number = u128::from_str_radix(line.split_whitespace().nth(4)?, 16).ok()?;
        (number != 0).then(|| Ipv6Addr::from(number))
    };
    table.lines().filter_map(gateway).collect()
}

fn resolvers(text: &str) -> Vec<IpAddr> {
    let resolver = |line: &str| {
        let mut words = line.split_whitespace();
        (words.next() == Some("nameserver"))
            .then(|| words.next())??
            .split('%')
            .next()?
            .parse()
            .ok()
    };
    text.lines().filter_map(resolver).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gateways_and_resolvers_are_read() {
        let v4 = "Iface\tDestination\tGateway\tFlags\neth0\t00000000\t010200C0\t0003\neth0\t000200C0\t00000000\t0001\n";
        #[cfg(target_endian = "little")]
        assert_eq!(gateways_v4(v4), ["192.0.2.1".parse::<Ipv4Addr>().unwrap()]);
        let v6 = "00000000000000000000000000000000 00 00000000000000000000000000000000 00 20010db8000000000000000000000001 00000400 00000000 00000000 00000003 eth0\n\
                  20010db8000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000000 00000000 00000001 eth0\n";
        assert_eq!(
            gateways_v6(v6),
            ["2001:db8::1".parse::<Ipv6Addr>().unwrap()]
        );
        let text = "# nameserver 192.0.2.1\nnameserver 192.0.2.2\nnameserver fe80::1%eth0\nsearch example\nnameserver\n";
        assert_eq!(
            resolvers(text),
            [
                "192.0.2.2".parse::<IpAddr>().unwrap(),
                "fe80::1".parse().unwrap()
            ]
        );
    }
}
