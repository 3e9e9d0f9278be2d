//! Administrators who are logged in from elsewhere. They are on our side, and would be
//! locked out of the machine that they are mending.
//!
//! Two books are read: utmp, where there is one, and the sessions of logind. Both are
//! written after a login, by the system. Who merely holds a connection stands in neither:
//! an open TCP connection can be had without a password.
//!
//! Nobody can tell who of those with a shell may become root (`su` asks for a password that
//! no file tells of), so all of them count, and accounts without a shell do not (`shells`).
//!
//! Of utmp the address counts that the login program noted. The name of the host beside it
//! any user may write, by the helpers that terminal emulators have (`utempter`). A name
//! is never looked up: whose it is today he decides who owns it.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};

use super::{Known, shells};
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

/// A session from elsewhere, as a book has it.
#[derive(Clone, Debug)]
struct Session {
    user: String,
    /// From where: an address, or a name.
    host: Result<IpAddr, String>,
    /// When it began, in seconds since 1970.
    since: i64,
}

/// Who is, or lately was, logged in, and from where.
#[derive(Debug, Default)]
pub(super) struct Logins {
    users: BTreeMap<String, Addresses>,
    /// Who is logged in and is not protected, in words.
    unprotected: Vec<String>,
}

/// From where one user is, or was, logged in.
type Addresses = BTreeMap<IpAddr, Login>;

/// The order is that in which they count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Login {
    /// When a session was seen last.
    seen: Time,
    /// When the last of them began.
    since: i64,
}

impl Logins {
    /// Reads the books again.
    pub(super) fn look(&mut self, now: Time) {
        let utmp = read(Path::new(UTMP), UTMP_BYTES_MAX).unwrap_or_default();
        let mut open = of_utmp(&utmp, is_alive);
        open.extend(of_logind(Path::new(SESSIONS)));
        if !open.is_empty() {
            let without = shells::read();
            open.retain(|session| without.may_have_one(&session.user));
        }
        self.learn(open, now);
    }

    /// Those who are logged in and are not protected, in words.
    pub(super) fn unprotected(&self) -> &[String] {
        &self.unprotected
    }

    fn learn(&mut self, open: Vec<Session>, now: Time) {
        // A clock that was set back shall not protect for ever.
        let lingers = |login: &Login| login.seen <= now && now.since(login.seen) < LINGERS;
        for addresses in self.users.values_mut() {
            addresses.retain(|_, login| lingers(login));
        }
        let mut named = BTreeMap::new();
        for Session { user, host, since } in open {
            let user = shown(&user, USER_SHOWN);
            match host.map(|ip| ip.to_canonical()) {
                Ok(ip) if ip.is_loopback() || ip.is_unspecified() => {}
                Ok(ip) => {
                    let logins = self.users.entry(user).or_default();
                    let since = logins
                        .get(&ip)
                        .map_or(since, |login| login.since.max(since));
                    logins.insert(ip, Login { seen: now, since });
                }
                Err(name) => {
                    named.insert(user, shown(&name, NAME_SHOWN));
                }
            }
        }
        // Of a session in both books one may have its address.
        named.retain(|user, _| !self.users.contains_key(user));
        self.users.retain(|_, addresses| !addresses.is_empty());
        let surplus = self.trim();
        let surplus = surplus.iter().filter(|login| login.seen == now).count();
        self.unprotected = in_words(&named, surplus);
    }

    /// Keeps those that count, who logged in last; gives what is dropped.
    fn trim(&mut self) -> Vec<Login> {
        let most = (1..=LOGINS_OF_USER_MAX)
            .rev()
            .find(|most| self.count(*most) <= LOGINS_MAX);
        let mut dropped = Vec::new();
        for addresses in self.users.values_mut() {
            keep_newest(addresses, most.unwrap_or(1), &mut dropped);
        }
        if self.users.len() > LOGINS_MAX {
            let newest = |addresses: &Addresses| addresses.values().max().copied();
            let mut logins: Vec<Login> = self.users.values().filter_map(newest).collect();
            logins.sort_unstable_by_key(|login| Reverse(*login));
            let last = logins.get(LOGINS_MAX - 1).copied();
            let mut room = LOGINS_MAX;
            self.users.retain(|_, addresses| {
                let counts = room > 0 && newest(addresses) >= last;
                match counts {
                    true => room -= 1,
                    false => dropped.extend(addresses.values()),
                }
                counts
            });
        }
        dropped
    }

    /// How many addresses count if each user has so many at most.
    fn count(&self, most: usize) -> usize {
        self.users.values().map(|all| all.len().min(most)).sum()
    }

    pub(super) fn known(&self) -> impl Iterator<Item = Known> {
        self.users.iter().flat_map(|(user, addresses)| {
            let why = format!("login {user}");
            addresses
                .keys()
                .map(move |ip| Known::new((*ip).into(), &why))
        })
    }
}

/// Drops all but the addresses that were seen last, and of those that were logged in from last.
fn keep_newest(addresses: &mut Addresses, most: usize, dropped: &mut Vec<Login>) {
    let logins = addresses.iter();
    let mut logins: Vec<(Reverse<Login>, IpAddr)> =
        logins.map(|(ip, login)| (Reverse(*login), *ip)).collect();
    logins.sort_unstable();
    for (Reverse(login), ip) in logins.into_iter().skip(most) {
        addresses.remove(&ip);
        dropped.push(login);
    }
}

/// Who is not protected: those with names, and so many more.
fn in_words(named: &BTreeMap<String, String>, surplus: usize) -> Vec<String> {
    let mut words: Vec<String> = named
        .iter()
        .take(NAMED_SHOWN)
        .map(|(user, name)| {
            format!("{user} is logged in from {name}, and a name protects no address; write `UseDNS no` into sshd_config, or the address into `protect`")
        })
        .collect();
    if let more @ 1.. = named.len().saturating_sub(NAMED_SHOWN) {
        words.push(format!("{more} more users are logged in from names"));
    }
    if surplus > 0 {
        words.push(format!(
            "{surplus} addresses from which users are logged in: the {LOGINS_MAX} that count are of those who logged in last, {LOGINS_OF_USER_MAX} of each user at most; write the others into `protect`"
        ));
    }
    words
}

/// Letters that are shown of a user, and of the name of a host.
const USER_SHOWN: usize = 32;
const NAME_SHOWN: usize = 64;

/// Users whose hosts have names that are shown.
const NAMED_SHOWN: usize = 3;

/// A name, for showing.
fn shown(name: &str, most: usize) -> String {
    let letters = name.chars().filter(char::is_ascii_graphic);
    letters.filter(|letter| *letter != ',').take(most).collect()
}

pub(super) fn read(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
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
    /// The lower half of the seconds, which is enough until 2106.
    since: usize,
    address: usize,
}

const LAYOUT: Layout = match cfg!(target_arch = "aarch64") {
    true => Layout {
        bytes: 400,
        since: 344,
        address: 360,
    },
    false => Layout {
        bytes: 384,
        since: 340,
        address: 348,
    },
};

/// `USER_PROCESS`: somebody is logged in.
const KIND_USER: i16 = 7;

/// The sessions from elsewhere that utmp tells of. One whose process is gone is left of a crash.
fn of_utmp(book: &[u8], is_alive: impl Fn(i32) -> bool) -> Vec<Session> {
    let session = |entry: &[u8]| {
        let kind = i16::from_ne_bytes(*entry.first_chunk()?);
        let pid = i32::from_ne_bytes(*entry.get(4..)?.first_chunk()?);
        let user = text(entry.get(44..76)?);
        let since = u32::from_ne_bytes(*entry.get(LAYOUT.since..)?.first_chunk()?);
        let ip = address(*entry.get(LAYOUT.address..)?.first_chunk()?)?;
        (kind == KIND_USER && is_alive(pid)).then(|| Session {
            user,
            host: Ok(ip),
            since: since.into(),
        })
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
fn of_logind(folder: &Path) -> Vec<Session> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    let paths = entries.filter_map(Result::ok).map(|entry| entry.path());
    let files = paths.filter(|path| path.is_file()).take(SESSIONS_MAX);
    files
        .filter_map(|path| of_session(&read(&path, SESSION_BYTES_MAX).ok()?, is_alive))
        .collect()
}

/// Lines of `KEY=VALUE`.
fn of_session(text: &[u8], is_alive: impl Fn(i32) -> bool) -> Option<Session> {
    let text = std::str::from_utf8(text).ok()?;
    let value = |key: &str| {
        let mut lines = text.lines().filter_map(|line| line.split_once('='));
        lines.find(|(name, _)| *name == key).map(|(_, value)| value)
    };
    let is_open = matches!(value("STATE"), Some("active" | "online"));
    let is_person = value("CLASS").is_some_and(|class| class.starts_with("user"));
    let leader = value("LEADER").and_then(|pid| pid.parse().ok());
    let is_open = is_open && leader.is_none_or(is_alive);
    let host = value("REMOTE_HOST").filter(|host| !host.is_empty())?;
    let address = host
        .split_once('%')
        .map_or(host, |(address, _scope)| address);
    let began: Option<i64> = value("REALTIME").and_then(|micros| micros.parse().ok());
    (is_open && is_person && value("REMOTE") == Some("1")).then(|| Session {
        user: value("USER").unwrap_or_default().to_owned(),
        host: address.parse().map_err(|_| host.to_owned()),
        since: began.unwrap_or_default() / 1_000_000,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One entry of utmp.
    fn entry(kind: i16, pid: i32, user: &str, host: &str, address: &[u8]) -> Vec<u8> {
        let mut entry = vec![0; LAYOUT.bytes];
        let mut put = |at: usize, bytes: &[u8]| entry[at..at + bytes.len()].copy_from_slice(bytes);
        put(LAYOUT.since, &9_u32.to_ne_bytes());
        put(0, &kind.to_ne_bytes());
        put(4, &pid.to_ne_bytes());
        put(44, user.as_bytes());
        put(76, host.as_bytes());
        put(LAYOUT.address, address);
        entry
    }

    fn shown_all(sessions: &[Session]) -> Vec<String> {
        let sessions = sessions.iter();
        sessions
            .map(|Session { user, host, since }| match host {
                Ok(ip) => format!("{ip} {user} {since}"),
                Err(name) => format!("{name:?} {user} {since}"),
            })
            .collect()
    }

    fn session(user: &str, host: &str, since: i64) -> Session {
        Session {
            user: user.to_owned(),
            host: host.parse().map_err(|_| host.to_owned()),
            since,
        }
    }

    #[test]
    fn sessions_of_utmp() {
        let v6: IpAddr = "2001:db8::7".parse().unwrap();
        let IpAddr::V6(octets) = v6 else { panic!() };
        let book = [
            entry(7, 1, "root", "somewhere.example", &[192, 0, 2, 7]),
            entry(7, 1, "eve", "192.0.2.8", &[]), // any user may write that
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
                "192.0.2.7 root 9",
                "2001:db8::7 six 9",
                "192.0.2.11 a\x1b[2J,b 9"
            ]
        );
        // Cut anywhere, it is the entries that are whole.
        for bytes in 0..book.len() {
            let cut = of_utmp(&book[..bytes], |pid| pid == 1);
            assert!(shown_all(&whole).starts_with(&shown_all(&cut)));
        }
    }

    #[test]
    fn sessions_of_logind() {
        for (text, expected) in [
            (
                "# This is private data.\nUID=0\nUSER=root\nACTIVE=1\nSTATE=active\nREMOTE=1\nCLASS=user\nREMOTE_HOST=192.0.2.7\nSERVICE=sshd\nLEADER=1\nREALTIME=1795348800999999\n",
                Some("192.0.2.7 root 1795348800"),
            ),
            (
                "USER=eve\nSTATE=online\nREMOTE=1\nCLASS=user-early\nREMOTE_HOST=2001:db8::7\n",
                Some("2001:db8::7 eve 0"),
            ),
            (
                "USER=near\nSTATE=active\nREMOTE=1\nCLASS=user\nREMOTE_HOST=fe80::7%eth0\n",
                Some("fe80::7 near 0"),
            ),
            (
                "USER=crashed\nSTATE=active\nREMOTE=1\nCLASS=user\nREMOTE_HOST=192.0.2.7\nLEADER=9\n",
                None,
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
                Some("\"pc.example\" x 0"),
            ),
            (
                "USER=x\nSTATE=active\nREMOTE=1\nCLASS=user\nREMOTE_HOST=\n",
                None,
            ),
            ("", None),
            ("\u{0}=\n==\n", None),
        ] {
            let session = of_session(text.as_bytes(), |pid| pid == 1);
            let shown = session.map(|session| shown_all(&[session]).concat());
            assert_eq!(shown.as_deref(), expected, "{text}");
        }
        assert!(of_session(b"USER=\xff\n", |_| true).is_none());
    }

    #[test]
    fn an_address_stays_for_a_while_and_there_are_not_too_many() {
        let mut logins = Logins::default();
        let at = Time::from_secs;
        let login = |text: &str| session("root", text, 0);
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
        let of = |user: &str, hosts: std::ops::Range<u8>, since: i64| -> Vec<Session> {
            let hosts = hosts.map(|host| format!("192.0.2.{host}"));
            hosts.map(|host| session(user, &host, since)).collect()
        };
        let mut logins = Logins::default();
        logins.learn(of("eve", 0..255, 0), at(0));
        logins.learn(
            [
                of("root", 7..8, 1),
                of("eve", 100..200, 0),
                of("eve", 20..24, 3),
                of("eve", 200..255, 2),
            ]
            .concat(),
            at(1),
        );
        let of_user = |logins: &Logins, user: &str| logins.users.get(user).map_or(0, BTreeMap::len);
        assert_eq!(
            (of_user(&logins, "root"), of_user(&logins, "eve")),
            (1, LOGINS_OF_USER_MAX)
        );
        // Of one user those count that were seen last, and of them those of the last logins.
        let since = logins.users["eve"]
            .values()
            .map(|login| (login.seen, login.since));
        let mut since: Vec<(Time, i64)> = since.collect();
        since.sort_unstable();
        assert_eq!(since, [[(at(1), 2); 4], [(at(1), 3); 4]].concat());
        // As long as there are no more users than addresses, each has one.
        let users = (0..60)
            .map(|n| of(&format!("user{n}"), 0..9, 4))
            .collect::<Vec<_>>();
        logins.learn(users.into_iter().flatten().collect(), at(2));
        assert_eq!((logins.users.len(), logins.known().count()), (62, 62));
        assert_eq!(of_user(&logins, "root"), 1);
    }

    #[test]
    fn of_very_many_users_those_count_who_logged_in_last() {
        let at = Time::from_secs;
        let mut logins = Logins::default();
        let all = |from: i64| -> Vec<Session> {
            let users = (0..100).map(|n| (n, format!("user{n:02}"), format!("192.0.2.{n}")));
            let since = |n| from + i64::from(n % 50);
            users
                .map(|(n, user, host)| session(&user, &host, since(n)))
                .collect()
        };
        logins.learn(all(0), at(1));
        // By logins 18 to 49 of either half; of the first that many have there is no room for all.
        let counts = |n: i64| logins.users.contains_key(&format!("user{n:02}"));
        let counting: Vec<i64> = (0..100).filter(|n| counts(*n)).collect();
        let last: Vec<i64> = (0..100).filter(|n| n % 50 >= 18).collect();
        assert_eq!((counting, last.len()), (last, LOGINS_MAX));
        assert!(
            logins.unprotected()[0].starts_with("36 addresses"),
            "{:?}",
            logins.unprotected()
        );
        // Who is gone makes room.
        logins.learn(all(0).into_iter().skip(50).collect(), at(4_000));
        assert_eq!((logins.users.len(), logins.unprotected().len()), (50, 0));
    }

    #[test]
    fn who_comes_from_a_name_is_told() {
        let mut logins = Logins::default();
        let open = ["a", "b", "c", "d", "e"].map(|user| session(user, "pc\x1b.example", 0));
        let both = session("e", "192.0.2.7", 0); // the other book knows
        logins.learn(open.into_iter().chain([both]).collect(), Time::from_secs(1));
        assert_eq!(logins.known().count(), 1);
        let told = logins.unprotected().join("\n");
        assert!(
            told.starts_with("a is logged in from pc.example, and a name"),
            "{told}"
        );
        assert!(
            told.ends_with("\n1 more users are logged in from names"),
            "{told}"
        );
        logins.learn(Vec::new(), Time::from_secs(2));
        assert!(logins.unprotected().is_empty());
    }
}
