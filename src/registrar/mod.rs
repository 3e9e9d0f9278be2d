//! The registrars' own stores: who is registered now, and so is known to log in.
//!
//! A log tells of logins from the day on which it is read; a registrar's store tells of them
//! all at once, even where the log has no line for a login. Asterisk keeps one in
//! `astdb.sqlite3`, FreeSWITCH in `sofia_reg_*.db`, and Kamailio answers at its control
//! socket. They are read and never written, no lock is taken that a phone server could wait
//! for, and what cannot be read, is in the middle of being written, or makes no sense, is
//! no news: it neither adds nor takes away.
//!
//! Who may register may write into a store: texts are bounded here, and a contact is
//! believed for what a registration is worth, an account's login from somewhere. Where a
//! store keeps the contact as the phone wrote it (pjsip without `rewrite_contact`), that is
//! any address that he likes; so one account can earn a standing for a few at most
//! (`jail::standing`).

mod kamailio;
mod store;

use std::net::IpAddr;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::addr::Addr;
use crate::ticket::Registration;
use crate::time::{Time, human};

/// Where the stores lie unless the settings name others.
pub const USUAL: &[&str] = &[
    "/var/lib/asterisk/astdb.sqlite3",
    "/var/lib/freeswitch/db/sofia_reg_*.db",
    "/usr/local/freeswitch/db/sofia_reg_*.db",
    "/run/kamailio/kamailio_ctl",
];

/// Registrations that are read of one store.
pub const REGISTRATIONS_MAX: u32 = 65_536;

/// Stores that are read.
const STORES_MAX: usize = 64;

/// The longest name of an account that is taken over, in bytes.
const USER_BYTES_MAX: usize = 128;

/// Why a store could not be read. It is no news then.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// It is being written, or locked; later.
    #[error("it is being written just now")]
    Busy,
    /// It is a socket at which nobody answers.
    #[error("it did not answer within {}", human(*.0))]
    Silent(Duration),
    /// It is none that we know.
    #[error("it is no registrar's store: neither Asterisk's, nor FreeSWITCH's, nor Kamailio's")]
    Unknown,
    /// It is damaged, or of a form that we do not know.
    #[error("it cannot be understood: {0}")]
    Nonsense(String),
    /// The system says no.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// The stores that these patterns name now.
pub fn stores(patterns: &[String]) -> Vec<PathBuf> {
    let named = patterns
        .iter()
        .filter_map(|pattern| glob::glob(pattern).ok());
    let paths = named.flatten().filter_map(Result::ok);
    paths.take(STORES_MAX).collect()
}

/// What one store holds now.
pub fn read(path: &Path, now: Time) -> Result<Vec<Registration>, Trouble> {
    match path.metadata()?.file_type() {
        kind if kind.is_socket() => kamailio::read(path, now),
        _ => store::read(path, now),
    }
}

/// A registration, if it is of a host that can be known by its address.
fn registration(ip: &str, user: &str, since: Option<Time>) -> Option<Registration> {
    let ip = ip.trim_matches(|letter| matches!(letter, '[' | ']'));
    let ip: IpAddr = ip.parse().ok()?;
    let mut end = user.len().min(USER_BYTES_MAX);
    while !user.is_char_boundary(end) {
        end -= 1;
    }
    let user = user.get(..end)?;
    (!ip.is_loopback() && !ip.is_unspecified()).then(|| Registration {
        addr: Addr::host(ip),
        user: user.into(),
        since,
    })
}

/// The host of a SIP URI: `192.0.2.7` of `sip:1001@192.0.2.7:5060;ob`.
fn host(uri: &str) -> &str {
    let rest = uri.split_once(':').map_or(uri, |(_, rest)| rest);
    let rest = rest.split(['>', ';', '?', '^']).next().unwrap_or_default();
    let place = rest.rsplit('@').next().unwrap_or_default();
    match place.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => place.split(':').next().unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_of_uris() {
        for (uri, expected) in [
            ("sip:1001@192.0.2.7:5060;ob", "192.0.2.7"),
            ("sip:1001@[2001:db8::7]:5060", "2001:db8::7"),
            ("sips:192.0.2.7", "192.0.2.7"),
            ("sip:a@b@192.0.2.7", "192.0.2.7"),
            (
                "sip:1001@192.0.2.7^3Bx-ast-orig-host=10.0.0.1:0",
                "192.0.2.7",
            ),
            ("sip:1001@phone.example", "phone.example"),
            ("", ""),
            ("@", ""),
            ("sip:[", ""),
        ] {
            assert_eq!(host(uri), expected, "{uri}");
        }
    }

    #[test]
    fn only_addresses_and_bounded_names_count() {
        let shown = |ip, user| {
            let found = registration(ip, user, None);
            found.map(|found| format!("{} {}", found.addr, found.user))
        };
        assert_eq!(
            shown("[2001:db8::7]", "1001").as_deref(),
            Some("2001:db8::7 1001")
        );
        for ip in ["127.0.0.1", "::", "phone.example", ""] {
            assert_eq!(shown(ip, "1001"), None, "{ip}");
        }
        let long = "ä".repeat(USER_BYTES_MAX);
        assert_eq!(
            shown("192.0.2.7", &long).unwrap().len(),
            "192.0.2.7 ".len() + USER_BYTES_MAX
        );
    }
}
