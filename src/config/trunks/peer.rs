//! A peer as configurations write it, and as `protect` takes it.

use crate::addr::Addr;
use crate::config::jail::is_name;

/// What `protect` takes, of what a server's configuration says.
pub(super) fn peer(written: &str) -> Option<String> {
    if let Some((ip, mask)) = written.split_once('/') {
        let bits = match mask.parse::<std::net::Ipv4Addr>() {
            Ok(mask) => {
                let ones = mask.to_bits().leading_ones();
                let has_holes = ones != mask.to_bits().count_ones();
                (!has_holes).then(|| ones.to_string())?
            }
            Err(_) => mask.to_owned(),
        };
        let prefix: Addr = format!("{ip}/{bits}").parse().ok()?;
        return (prefix.prefix_len() > 0).then(|| prefix.to_string());
    }
    let host = without_port(written);
    match host.parse::<Addr>() {
        Ok(addr) => Some(addr.to_string()),
        Err(_) => is_name(host).then(|| host.trim_end_matches('.').to_ascii_lowercase()),
    }
}

/// `192.0.2.7:5060` and `[2001:db8::7]:5060` without their ports.
fn without_port(written: &str) -> &str {
    match (written.strip_prefix('['), written.matches(':').count()) {
        (Some(v6), _) => v6.split(']').next().unwrap_or_default(),
        (None, 1) => written.split(':').next().unwrap_or_default(),
        (None, _) => written,
    }
}

/// The host and port of a SIP URI: `sip.example.net:5060` of
/// `"X" <sip:user@sip.example.net:5060;transport=udp>`.
pub(super) fn of_uri(uri: &str) -> &str {
    let uri = uri.split_once('<').map_or(uri, |(_, uri)| uri);
    let schemes = ["sip:", "sips:"];
    let rest = schemes
        .iter()
        .find_map(|scheme| uri.trim().strip_prefix(scheme));
    let rest = rest.unwrap_or(uri).split(['>', ';', '?', '\\']).next();
    rest.unwrap_or_default()
        .rsplit('@')
        .next()
        .unwrap_or_default()
}

/// Is it this machine, or nobody?
pub(super) fn is_ours(value: &str) -> bool {
    match value.parse::<Addr>() {
        Ok(addr) => addr.ip().is_loopback() || addr.ip().is_unspecified(),
        Err(_) => value == "localhost",
    }
}
