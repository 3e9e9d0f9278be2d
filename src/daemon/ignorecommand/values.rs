//! What the tags of an `ignorecommand` stand for, as measured on fail2ban 1.0.2: a failure is
//! not counted yet when the command is asked, and there is no ban.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use tracing::debug;

use crate::ban::look::{self, Written};
use crate::config::IgnoreCommand;
use crate::config::fail2ban::PyValue;
use crate::engine::Engine;
use crate::ticket::{Failure, Group, JailName, last_lines};

/// How long the database is waited for, which may be on a disk that is full or slow.
const LOOK_PATIENCE: Duration = Duration::from_secs(5);

/// Bytes of earlier lines that go into a command; the system takes 128 KiB at most.
const EARLIER_BYTES_MAX: usize = 64 * 1024;

/// Where that is found which the failure itself does not say.
pub(super) struct Sources<C, D> {
    /// The numbers of a jail.
    pub(super) counts: C,
    /// The database, if there is one.
    pub(super) database: D,
}

/// Where earlier bans are written down.
#[derive(Clone, Debug)]
pub struct Database {
    /// The file.
    pub path: PathBuf,
    /// So many lines are told of it at most (`dbmaxmatches`).
    pub matches: usize,
}

/// The numbers of a jail before the failure.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    banned: usize,
    banned_total: u64,
    failing: usize,
    failures_total: u64,
}

impl Counts {
    /// Those of this jail.
    pub(super) fn of(engine: &Engine, name: &JailName) -> Counts {
        let mut jails = engine.jails();
        let jail = jails.find(|jail| jail.rules.name == *name);
        jail.map_or(Counts::default(), |jail| Counts {
            banned: engine.ledger().len_of(name),
            banned_total: jail.bans_total,
            failing: jail.failing(),
            failures_total: jail.failures_total,
        })
    }
}

/// The values for one failure.
pub(super) struct Values<'f> {
    command: &'f IgnoreCommand,
    failure: &'f Failure,
    /// The host's name, if it is wanted and there is one.
    host: Option<String>,
    counts: Counts,
    /// Earlier bans of the address, the oldest first, if they are wanted.
    earlier: Vec<Written>,
    /// So many of their lines are told at most.
    matches: usize,
}

impl<'f> Values<'f> {
    pub(super) async fn of(
        command: &'f IgnoreCommand,
        failure: &'f Failure,
        host: Option<String>,
        sources: &Sources<impl Fn(&JailName) -> Counts, impl Fn() -> Option<Database>>,
    ) -> Values<'f> {
        let is_wanted = |part: &str| command.wants(part);
        let counts = match is_wanted("<jail.") {
            true => (sources.counts)(&failure.jail),
            false => Counts::default(),
        };
        let earlier = [
            "<ipmatches>",
            "<ipfailures>",
            "<ipjailmatches>",
            "<ipjailfailures>",
        ];
        let database = match earlier.into_iter().any(is_wanted) {
            true => (sources.database)(),
            false => None,
        };
        let matches = database.as_ref().map_or(0, |database| database.matches);
        let earlier = match database {
            Some(database) => earlier_bans(failure, database.path).await,
            None => Vec::new(),
        };
        Values {
            command,
            failure,
            host,
            counts,
            earlier,
            matches,
        }
    }

    pub(super) fn get(&self, tag: &str) -> Option<String> {
        let Failure {
            addr, time, line, ..
        } = self.failure;
        Some(match tag {
            "ip" => addr.to_string(),
            "fid" => self.failure.id().map_or(addr.to_string(), str::to_owned),
            "family" if addr.is_ipv6() => "inet6".to_owned(),
            "family" => "inet4".to_owned(),
            "time" => format!("{:?}", time.as_secs_f64()),
            "matches" => line.to_string(),
            "failures" | "bancount" | "restored" => "0".to_owned(),
            "bantime" => self.command.bantime.clone(),
            "ip-host" => self.host.clone().unwrap_or_else(|| "None".to_owned()),
            "ip-rev" => reversed(addr.ip()),
            "ipmatches" => self.earlier_lines(|_| true),
            "ipfailures" => self.earlier_tries(|_| true).to_string(),
            "ipjailmatches" => self.earlier_lines(|ban| ban.jail == self.failure.jail),
            "ipjailfailures" => {
                let tries = self.earlier_tries(|ban| ban.jail == self.failure.jail);
                tries.to_string()
            }
            "jail.banned" => self.counts.banned.to_string(),
            "jail.banned_total" => self.counts.banned_total.to_string(),
            "jail.found" => self.counts.failing.to_string(),
            "jail.found_total" => self.counts.failures_total.to_string(),
            "br" => "\n".to_owned(),
            "sp" => " ".to_owned(),
            "fq-hostname" => hostname(),
            "sh-hostname" => hostname().split('.').next().unwrap_or_default().to_owned(),
            _ => self.group(tag.strip_prefix("F-")?),
        })
    }

    /// The lines that convicted in these earlier bans; the failure's own if there are none.
    fn earlier_lines(&self, is_meant: impl Fn(&Written) -> bool) -> String {
        let mut bans = self.earlier.iter().filter(|ban| is_meant(ban)).peekable();
        if bans.peek().is_none() {
            return self.failure.line.to_string();
        }
        let lines: Vec<&str> = bans
            .flat_map(|ban| &ban.lines)
            .map(String::as_str)
            .collect();
        let lines = lines.join("\n");
        let mut count = self.matches;
        while last_lines(&lines, count).len() > EARLIER_BYTES_MAX {
            count /= 2;
        }
        last_lines(&lines, count).to_owned()
    }

    fn earlier_tries(&self, is_meant: impl Fn(&Written) -> bool) -> u64 {
        let bans = self.earlier.iter().filter(|ban| is_meant(ban));
        bans.map(|ban| u64::from(ban.tries)).sum()
    }

    /// What the filter captured under this name, in any case; an empty text if nothing.
    fn group(&self, name: &str) -> String {
        let captured = self.failure.captured.as_deref();
        let name = match name {
            "ID" => "fid",
            "PORT" => "fport",
            _ => name,
        };
        let groups = captured.map_or(&[][..], |captured| &captured.groups);
        let group = groups
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name));
        group.map_or_else(String::new, |(_, group)| shown(group))
    }
}

/// A group as fail2ban puts it into a command: a list as Python writes it.
fn shown(group: &Group) -> String {
    match group {
        Group::Text(text) => text.to_string(),
        Group::List(parts) => {
            let part = |part: &Option<Box<str>>| match part {
                Some(text) => PyValue::from(&**text).to_string(),
                None => PyValue::None.to_string(),
            };
            let parts: Vec<String> = parts.iter().map(part).collect();
            format!("({})", parts.join(", "))
        }
    }
}

/// An address as names are made of it: its parts in reverse, a dot behind each.
fn reversed(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => {
            let [a, b, c, d] = ip.octets();
            format!("{d}.{c}.{b}.{a}.")
        }
        IpAddr::V6(ip) => {
            let digits = format!("{:032x}", ip.to_bits());
            digits
                .chars()
                .rev()
                .flat_map(|digit| [digit, '.'])
                .collect()
        }
    }
}

/// This machine's name.
fn hostname() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname");
    name.unwrap_or_default().trim().to_owned()
}

/// Earlier bans of the address that failed, the oldest first; none if the database cannot
/// be read in time.
async fn earlier_bans(failure: &Failure, path: PathBuf) -> Vec<Written> {
    let addr = failure.addr;
    let look = tokio::task::spawn_blocking(move || look::past_of(&path, &addr));
    match tokio::time::timeout(LOOK_PATIENCE, look).await {
        Ok(Ok(Ok(bans))) => bans,
        Ok(Ok(Err(error))) => {
            debug!(%error, "earlier bans are not known to ignorecommand");
            Vec::new()
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
type Nothing = Sources<fn(&JailName) -> Counts, fn() -> Option<Database>>;

/// Sources that know nothing.
#[cfg(test)]
pub(super) const NONE: Nothing = Sources {
    counts: |_| Counts {
        banned: 0,
        banned_total: 0,
        failing: 0,
        failures_total: 0,
    },
    database: || None,
};

#[cfg(test)]
mod tests {
    use super::super::tests::failure;
    use super::*;
    use crate::config::IGNORE_TAGS;
    use crate::ticket::Captured;

    #[tokio::test]
    async fn tags_say_what_fail2ban_says() {
        let command = IgnoreCommand {
            command: String::new(),
            cache: None,
            bantime: "3600".to_owned(),
        };
        for (ip, tag, expected) in [
            ("192.0.2.7", "fid", "abc"),
            ("192.0.2.7", "ip", "192.0.2.7"),
            ("127.0.0.9", "ip-rev", "9.0.0.127."),
            (
                "2001:db8::1",
                "ip-rev",
                "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.",
            ),
            ("192.0.2.7", "time", "1000.0"),
            ("192.0.2.7", "failures", "0"),
            ("192.0.2.7", "bantime", "3600"),
            ("192.0.2.7", "F-USER", "$(id)`x`\"y"),
            ("192.0.2.7", "F-ID", "abc"),
            ("192.0.2.7", "F-NOBODY", ""),
            ("192.0.2.7", "F-BOTH", "(None, \"a'b\")"),
            ("192.0.2.7", "ipmatches", "Failed password for `reboot`"),
            ("192.0.2.7", "ipjailfailures", "0"),
            ("192.0.2.7", "jail.found_total", "0"),
            ("192.0.2.7", "matches", "Failed password for `reboot`"),
        ] {
            let captured = Some(Box::new(Captured {
                id: Some("abc".into()),
                groups: vec![
                    ("fid".into(), Group::Text("abc".into())),
                    ("user".into(), Group::Text("$(id)`x`\"y".into())),
                    ("both".into(), Group::List(vec![None, Some("a'b".into())])),
                ],
            }));
            let failure = Failure {
                captured,
                ..failure(ip)
            };
            let values = Values::of(&command, &failure, None, &NONE).await;
            assert_eq!(values.get(tag).as_deref(), Some(expected), "{tag}");
            for tag in IGNORE_TAGS {
                assert!(values.get(tag).is_some(), "{tag}");
            }
            assert_eq!(values.get("name"), None);
        }
    }

    #[test]
    fn earlier_lines_are_bounded_and_the_last_are_kept() {
        let failure = Failure {
            line: "own".into(),
            ..failure("192.0.2.7")
        };
        let command = IgnoreCommand {
            command: String::new(),
            cache: None,
            bantime: String::new(),
        };
        let earlier = |jail: &str, line: &str, count: usize| Written {
            jail: jail.into(),
            addr: failure.addr,
            since: failure.time,
            secs: None,
            count: 1,
            reason: None,
            tries: 3,
            lines: vec![line.to_owned(); count],
        };
        let of = |earlier: Vec<Written>| Values {
            command: &command,
            failure: &failure,
            host: None,
            counts: Counts::default(),
            earlier,
            matches: usize::MAX,
        };
        let values = of(vec![earlier("one", "a", 2), earlier("sshd", "b", 1)]);
        for (tag, expected) in [
            ("ipmatches", "a\na\nb"),
            ("ipjailmatches", "b"),
            ("ipfailures", "6"),
            ("ipjailfailures", "3"),
        ] {
            assert_eq!(values.get(tag).as_deref(), Some(expected), "{tag}");
        }
        let two = Values {
            matches: 2,
            ..of(values.earlier)
        };
        assert_eq!(two.get("ipmatches").as_deref(), Some("a\nb"));
        let long = "x".repeat(512);
        let values = of(vec![
            earlier("one", &long, 1_000),
            earlier("one", "last", 1),
        ]);
        let lines = values.get("ipmatches").unwrap();
        assert!(lines.len() <= EARLIER_BYTES_MAX && lines.ends_with("\nlast"));
        assert_eq!(values.get("ipjailmatches").as_deref(), Some("own"));
    }
}
