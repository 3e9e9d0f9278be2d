//! This machine's own addresses, each with the network in which it stands: those of its
//! containers' bridges too.

use std::io;

use if_addrs::{IfAddr, get_if_addrs};
use ipnet::IpNet;

/// The addresses of all interfaces now.
pub(super) fn addresses() -> io::Result<Vec<IpNet>> {
    let address = |addr: IfAddr| match addr {
        IfAddr::V4(v4) => IpNet::new(v4.ip.into(), v4.prefixlen),
        IfAddr::V6(v6) => IpNet::new(v6.ip.into(), v6.prefixlen),
    };
    let all = get_if_addrs()?.into_iter();
    Ok(all.filter_map(|one| address(one.addr).ok()).collect())
}
