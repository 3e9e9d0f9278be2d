//! Administrators who are logged in from elsewhere. They are on our side, and would be
//! locked out of the machine that they are mending.
//!
//! Two books are read: utmp, where there is one, and the sessions of logind. Both are
//! written after a login, by the system. Who merely holds a connection stands in neither:
//! an open TCP connection can be had without a password.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};

use super::Known;
use crate::time::Time;

/// The book of logins of old; Debian 13 and others have none any more.
const UTMP: &str = "/run/utmp";

/// logind's book: a file for each session.
const SESSIONS: &str = "/run/systemd/sessions";

/// How long an address stays protected after its last session has ended: who loses the
/// connection comes back from there, and may mistype.
const LINGERS: Duration = Duration::from_secs(3_600);

/// Addresses that count at once; more administrators than any machine has.
const LOGINS_MAX: usize = 64;

/// Addresses of one user that count at once; fewer if there are many users. So nobody who may
/// log in takes the protection of others by very many sessions of his own.
const LOGINS_OF_USER_MAX: usize = 8;

/// Bytes that are read of utmp: some thousand sessions.
const UTMP_BYTES_MAX: u64 = 1024 * 1024;

/// Sessions that are looked at, and bytes that are read of each.
const SESSIONS_MAX: usize = 4_096;
const SESSION_BYTES_MAX: u64 = 16 * 1024;

/// Who is, or lately was, logged in, and from where.
#[derive(Debug, Default)]
pub(super) struct Logins(BTreeMap<String, Addresses>);

/// From where one user is, or was, logged in, and when that was seen last.
type Addresses = BTreeMap<IpAddr, Time>;

impl Logins {
    /// Reads the books again.
    pub(super) fn look(&mut self, now: Time) {
        let utmp = read(Path::new(UTMP), UTMP_BYTES_MAX).unwrap_or_default();
        let mut open = of_utmp(&utmp, is_alive);
        open.extend(of_logind(Path::new(SESSIONS)));
        self.learn(open, now);
    }

    fn learn(&mut self, open: Vec<(IpAddr, String)>, now: Time) {
        // A clock that was set back shall not protect for ever.
        let lingers = |seen: &Time| *seen <= now && now.since(*seen) < LINGERS;
        for addresses in self.0.values_mut() {
            addresses.retain(|_, seen| lingers(seen));
        }
        for (ip, user) in open {
            let ip = ip.to_canonical();
            if !ip.is_loopback() && !ip.is_unspecified() {
                self.0.entry(user).or_default().insert(ip, now);
            }
        }
        self.0.retain(|_, addresses| !addresses.is_empty());
        let most = (1..=LOGINS_OF_USER_MAX)
            .rev()
            .find(|most| self.count(*most) <= LOGINS_MAX);
        self.0
            .values_mut()
            .for_each(|addresses| keep_newest(addresses, most.unwrap_or(1)));
        while self.0.len() > LOGINS_MAX {
            self.0.pop_last();
        }
    }

    /// How many addresses count if each user has so many at most.
    fn count(&self, most: usize) -> usize {
        self.0.values().map(|all| all.len().min(most)).sum()
    }

    pub(super) fn known(&self) -> impl Iterator<Item = Known> {
        self.0.iter().flat_map(|(user, addresses)| {
            let why = format!("login {user}");
            addresses
                .keys()
                .map(move |ip| Known::new((*ip).into(), &why))
        })
    }
}

/// Drops all but the addresses that were seen last.
fn keep_newest(addresses: &mut Addresses, most: usize) {
    let mut seen: Vec<(Reverse<Time>, IpAddr)> = addresses
        .iter()
        .map(|(ip, seen)| (Reverse(*seen), *ip))
        .collect();
    seen.sort_unstable();
    for (_, ip) in seen.into_iter().skip(most) {
        addresses.remove(&ip);
    }
}

/// A user's name, for showing.
fn shown(user: &str) -> String {
    let letters = user.chars().filter(char::is_ascii_graphic);
    letters.filter(|letter| *letter != ',').take(32).collect()
}

fn read(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(bytes_max).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Does this process exist, whoever may see it?
fn is_alive(pid: i32) -> bool {
    Pid::from_raw(pid).is_some_and(|pid| test_kill_process(pid) != Err(Errno::SRCH))
}

/// The C library's `struct utmp`: where things stand in it. The kind, the process, the
/// user and the host stand alike everywhere; what follows depends on the size of a long.
struct Layout {
    bytes: usize,
    address: usize,
}

const LAYOUT: Layout = match cfg!(target_arch = "aarch64") {
    true => Layout {
        bytes: 400,
        address: 360,
    },
    false => Layout {
        bytes: 384,
        address: 348,
    },
};

/// `USER_PROCESS`: somebody is logged in.
const KIND_USER: i16 = 7;

/// The sessions from elsewhere that utmp tells of. One whose process is gone is left of a crash.
fn of_utmp(book: &[u8], is_alive: impl Fn(i32) -> bool) -> Vec<(IpAddr, String)> {
    let session = |entry: &[u8]| {
        let kind = i16::from_ne_bytes(*entry.first_chunk()?);
        let pid = i32::from_ne_bytes(*entry.get(4..)?.first_chunk()?);
        let user = text(entry.get(44..76)?);
        let host = text(entry.get(76..332)?);
        let ip = address(*entry.get(LAYOUT.address..)?.first_chunk()?);
        let ip = ip.or_else(|| host.parse().ok())?;
        (kind == KIND_USER && is_alive(pid)).then(|| (ip, shown(&user)))
    };
    book.chunks_exact(LAYOUT.bytes)
        .filter_map(session)
        .collect()
}

fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0);
    String::from_utf8_lossy(bytes.get(..end.unwrap_or(bytes.len())).unwrap_or_default())
        .into_owned()
}

/// Sixteen bytes in network order; IPv4 has the first four.
fn address(bytes: [u8; 16]) -> Option<IpAddr> {
    let [a, b, c, d, rest @ ..] = bytes;
    match (bytes == [0; 16], rest == [0; 12]) {
        (true, _) => None,
        (_, true) => Some(Ipv4Addr::new(a, b, c, d).into()),
        _ => Some(Ipv6Addr::from(bytes).into()),
    }
}

/// The sessions from elsewhere that logind knows.
fn of_logind(folder: &Path) -> Vec<(IpAddr, String)> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    let paths = entries.filter_map(Result::ok).map(|entry| entry.path());
    let files = paths.filter(|path| path.is_file()).take(SESSIONS_MAX);
    files
        .filter_map(|path| of_session(&read(&path, SESSION_BYTES_MAX).ok()?))
        .collect()
}

/// Lines of `KEY=VALUE`.
fn of_session(text: &[u8]) -> Option<(IpAddr, String)> {
    let text = std::str::from_utf8(text).ok()?;
    let value = |key: &str| {
        let mut lines = text.lines().filter_map(|line| line.split_once('='));
        lines.find(|(name, _)| *name == key).map(|(_, value)| value)
    };
    let is_open = matches!(value("STATE"), Some("active" | "online"));
    let is_person = value("CLASS").is_some_and(|class| class.starts_with("user"));
    let ip = value("REMOTE_HOST")?.parse().ok()?;
    (is_open && is_person && value("REMOTE") == Some("1"))
        .then(|| (ip, shown(value("USER").unwrap_or_default())))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One entry of utmp.
    fn entry(kind: i16, pid: i32, user: &str, host: &str, address: &[u8]) -> Vec<u8> {
        let mut entry = vec![0; LAYOUT.bytes];
        let mut put = |at: usize, bytes: &[u8]| entry[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &kind.to_ne_bytes());
        put(4, &pid.to_ne_bytes());
        put(44, user.as_bytes());
        put(76, host.as_bytes());
        put(LAYOUT.address, address);
        entry
    }

    fn shown_all(logins: &[(IpAddr, String)]) -> Vec<String> {
        logins
            .iter()
            .map(|(ip, user)| format!("{ip} {user}"))
            .collect()
    }

    #[test]
    fn sessions_of_utmp() {
        let v6: IpAddr = "2001:db8::7".parse().unwrap();
        let IpAddr::V6(octets) = v6 else { panic!() };
        let book = [
            entry(7, 1, "root", "somewhere.example", &[192, 0, 2, 7]),
            entry(7, 1, "eve", "192.0.2.8", &[]),
            entry(7, 1, "six", "", &octets.octets()),
            entry(7, 9, "crashed", "", &[192, 0, 2, 9]),
            entry(8, 1, "gone", "", &[192, 0, 2, 10]), // DEAD_PROCESS
            entry(7, 1, "here", "", &[]),
            entry(7, 1, "named", "tty1.example", &[]),
            entry(7, 1, "a\x1b[2J,b", "", &[192, 0, 2, 11]),
        ]
        .concat();
        let whole = of_utmp(&book, |pid| pid == 1);
        assert_eq!(
            shown_all(&whole),
            [
                "192.0.2.7 root",
                "192.0.2.8 eve",
                "2001:db8::7 six",
                "192.0.2.11 a[2Jb"
            ]
        );
        // Cut anywhere, it is the entries that are whole.
        for bytes in 0..book.len() {
            let cut = of_utmp(&book[..bytes], |pid| pid == 1);
            assert!(whole.starts_with(&cut));
        }
    }

    #[test]
    fn sessions_of_logind() {
        for (text, expected) in [
            (
                "# This is private data.\nUID=0\nUSER=root\nACTIVE=1\nSTATE=active\nREMOTE=1\nCLASS=user\nREMOTE_HOST=192.0.2.7\nSERVICE=sshd\n",
                Some("192.0.2.7 root"),
            ),
            (
                "USER=eve\nSTATE=online\nREMOTE=1\nCLASS=user-early\nREMOTE_HOST=2001:db8::7\n",
                Some("2001:db8::7 eve"),
            ),
            (
                "USER=out\nSTATE=closing\nREMOTE=1\nCLASS=user\nREMOTE_HOST=192.0.2.7\n",
                None,
            ),
            (
                "USER=x\nSTATE=active\nREMOTE=1\nCLASS=greeter\nREMOTE_HOST=192.0.2.7\n",
                None,
            ),
            (
                "USER=x\nSTATE=active\nREMOTE=0\nCLASS=user\nREMOTE_HOST=192.0.2.7\n",
                None,
            ),
            (
                "USER=x\nSTATE=active\nREMOTE=1\nCLASS=user\nREMOTE_HOST=pc.example\n",
                None,
            ),
            ("", None),
            ("\u{0}=\n==\n", None),
        ] {
            let session = of_session(text.as_bytes());
            let shown = session.map(|session| shown_all(&[session]).concat());
            assert_eq!(shown.as_deref(), expected, "{text}");
        }
        assert_eq!(of_session(b"USER=\xff\n"), None);
    }

    #[test]
    fn an_address_stays_for_a_while_and_there_are_not_too_many() {
        let mut logins = Logins::default();
        let at = Time::from_secs;
        let login = |text: &str| (text.parse().unwrap(), "root".to_owned());
        let is_known = |logins: &Logins| logins.known().any(|known| known.why == "login root");
        logins.learn(vec![login("127.0.0.1"), login("::ffff:127.0.0.1")], at(0));
        assert!(!is_known(&logins));
        logins.learn(vec![login("192.0.2.7")], at(0));
        logins.learn(vec![login("192.0.2.7")], at(1_000));
        logins.learn(Vec::new(), at(4_599));
        assert!(is_known(&logins));
        logins.learn(Vec::new(), at(4_600));
        assert!(!is_known(&logins));
        logins.learn(vec![login("192.0.2.7")], at(9_000));
        logins.learn(Vec::new(), at(8_999)); // the clock was set back
        assert!(!is_known(&logins));
        let many = (0..=255).map(|host| login(&format!("192.0.2.{host}")));
        logins.learn(many.collect(), at(10_000));
        assert_eq!(logins.known().count(), LOGINS_OF_USER_MAX);
    }

    #[test]
    fn nobody_takes_the_protection_of_others() {
        let at = Time::from_secs;
        let of = |user: &str, hosts: std::ops::Range<u8>| -> Vec<(IpAddr, String)> {
            let ip = |host| IpAddr::V4(Ipv4Addr::new(192, 0, 2, host));
            hosts.map(|host| (ip(host), user.to_owned())).collect()
        };
        let mut logins = Logins::default();
        logins.learn(of("eve", 0..255), at(0));
        logins.learn([of("root", 7..8), of("eve", 200..255)].concat(), at(1));
        let of_user = |logins: &Logins, user: &str| logins.0.get(user).map_or(0, BTreeMap::len);
        assert_eq!(
            (of_user(&logins, "root"), of_user(&logins, "eve")),
            (1, LOGINS_OF_USER_MAX)
        );
        // Of one user those that were seen last count, whoever else came from there.
        let seen = logins.0["eve"].values().filter(|seen| **seen == at(1));
        assert_eq!(seen.count(), LOGINS_OF_USER_MAX);
        // As long as there are no more users than addresses, each has one.
        let users = (0..60)
            .map(|n| of(&format!("user{n}"), 0..9))
            .collect::<Vec<_>>();
        logins.learn(users.concat(), at(2));
        assert_eq!((logins.0.len(), logins.known().count()), (62, 62));
        assert_eq!(of_user(&logins, "root"), 1);
        let users = (0..99)
            .map(|n| of(&format!("user{n}"), 0..9))
            .collect::<Vec<_>>();
        logins.learn(users.concat(), at(3));
        assert_eq!(logins.known().count(), LOGINS_MAX);
    }
}
