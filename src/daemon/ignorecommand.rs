//! `ignorecommand`: a jail's own command that says whether a failure is to be ignored.
//!
//! Commands run one at a time, as under fail2ban's lock, and away from the judge:
//! failures of jails that have one wait here in their order, and when too many wait,
//! the next are dropped and counted: a slow command must not hold up other jails. It is
//! not asked about whom nothing depends on: the banned and the protected. Text of a log line
//! goes to it as an argument of the shell's, see [`tags`].

use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use lru::LruCache;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::Command;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::{debug, warn};

use super::bus::Judge;
use super::names;
use super::tags::{self, Filled};
use crate::config::IgnoreCommand;
use crate::engine::Event;
use crate::ticket::{Failure, JailName};

/// Failures that may wait for an answer: some 10 MB, and more than an attack brings while
/// a usual command is run.
pub const WAITING_MAX: usize = 16_384;

/// How long a command may take: fail2ban's limit.
const PATIENCE: Duration = Duration::from_secs(60);

/// Answers that a jail remembers at most, whatever its `max-count`.
const REMEMBERED_MAX: usize = 65_536;

/// Answers of one jail's command: until when they hold, and whether it said to ignore.
type Answers = LruCache<String, (Instant, bool)>;

/// Asks for each failure, and has the judge judge those that are not ignored. `command`
/// tells a jail's command as it is now.
pub async fn serve(
    mut failures: mpsc::Receiver<Failure>,
    command: impl Fn(&JailName) -> Option<IgnoreCommand>,
    judge: Judge,
) {
    let mut known: HashMap<JailName, Answers> = HashMap::new();
    while let Some(failure) = failures.recv().await {
        let is_ignored = match command(&failure.jail) {
            Some(_) if judge.visit(|engine, _, _| engine.is_settled(&failure)) => false,
            Some(command) => is_ignored(&command, &failure, &mut known).await,
            None => false,
        };
        match is_ignored {
            true => debug!(jail = %failure.jail, addr = %failure.addr, "ignored by ignorecommand"),
            false => judge.event(Event::Failure(failure)),
        }
    }
}

async fn is_ignored(
    command: &IgnoreCommand,
    failure: &Failure,
    known: &mut HashMap<JailName, Answers>,
) -> bool {
    let Some(cache) = &command.cache else {
        return ask(command, failure).await;
    };
    let room = usize::try_from(cache.max_count).unwrap_or(REMEMBERED_MAX);
    let room = NonZeroUsize::new(room.min(REMEMBERED_MAX)).unwrap_or(NonZeroUsize::MIN);
    let answers = known
        .entry(failure.jail.clone())
        .or_insert_with(|| LruCache::new(room));
    answers.resize(room);
    let values = Values::of(command, failure).await;
    let key = tags::plain(&cache.key, |tag| values.get(tag));
    let now = Instant::now();
    if let Some((until, answer)) = answers.get(&key)
        && *until > now
    {
        return *answer;
    }
    let answer = ask(command, failure).await;
    answers.put(key, (now + cache.max_time, answer));
    answer
}

/// Runs the command: 0 is yes, 1 is no. What fails or takes too long is a no, as in fail2ban.
async fn ask(command: &IgnoreCommand, failure: &Failure) -> bool {
    let values = Values::of(command, failure).await;
    let jail = &failure.jail;
    let filled = tags::fill(&command.command, |tag| values.get(tag));
    let text = &filled.command;
    match run(&filled).await {
        Ok(Some(status)) if status.success() => true,
        Ok(Some(status)) if status.code() == Some(1) => false,
        Ok(Some(status)) => {
            warn!(%jail, command = text, %status, "ignorecommand: 0 means ignore, 1 means do not");
            false
        }
        Ok(None) => {
            warn!(%jail, command = text, "ignorecommand takes too long; it is ended");
            false
        }
        Err(error) => {
            warn!(%jail, command = text, %error, "ignorecommand cannot be run");
            false
        }
    }
}

/// Runs a command by the shell in a process group of its own; `None` if it was ended
/// because it took too long.
async fn run(filled: &Filled) -> std::io::Result<Option<ExitStatus>> {
    let mut child = Command::new("/bin/sh")
        .args(["-c", &filled.command])
        .args(&filled.values)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()?;
    let group = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
    match tokio::time::timeout(PATIENCE, child.wait()).await {
        Ok(status) => status.map(Some),
        Err(_) => {
            if let Some(group) = group {
                // It fails only if all of it has just ended.
                let _ended = kill_process_group(group, Signal::KILL);
            }
            child.wait().await.map(|_| None)
        }
    }
}

/// What the tags stand for, measured on fail2ban 1.0.2: a failure is not counted yet when
/// the command is asked, so there are none, and no ban.
struct Values<'f> {
    command: &'f IgnoreCommand,
    failure: &'f Failure,
    /// The host's name, if it is wanted.
    host: Option<String>,
}

impl<'f> Values<'f> {
    async fn of(command: &'f IgnoreCommand, failure: &'f Failure) -> Values<'f> {
        let is_wanted = command.texts().any(|text| text.contains("<ip-host>"));
        let host = match is_wanted {
            true => names::name_of(failure.addr.ip()).await,
            false => None,
        };
        Values {
            command,
            failure,
            host,
        }
    }

    fn get(&self, tag: &str) -> Option<String> {
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
            "br" => "\n".to_owned(),
            "sp" => " ".to_owned(),
            "fq-hostname" => hostname(),
            "sh-hostname" => hostname().split('.').next().unwrap_or_default().to_owned(),
            _ => self.group(tag.strip_prefix("F-")?),
        })
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
        group.map_or_else(String::new, |(_, text)| text.to_string())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::IGNORE_TAGS;
    use crate::config::fail2ban::IgnoreCache;
    use crate::ticket::{Captured, Trust};
    use crate::time::Time;

    fn failure(ip: &str) -> Failure {
        Failure {
            jail: "sshd".into(),
            addr: ip.parse().unwrap(),
            time: Time::from_secs(1_000),
            form: 0,
            trust: Trust::Hint,
            user: None,
            line: "Failed password for `reboot`".into(),
            captured: None,
        }
    }

    #[tokio::test]
    async fn a_command_is_asked_and_its_answers_are_remembered() {
        let folder = tempfile::tempdir().unwrap();
        let asked = folder.path().join("asked");
        let command = IgnoreCommand {
            command: format!(
                "echo <ip> <family> <time> >> '{}'; test <ip> = 192.0.2.7",
                asked.display()
            ),
            cache: Some(IgnoreCache {
                key: "<ip>".to_owned(),
                max_count: 2,
                max_time: Duration::from_secs(600),
            }),
            bantime: "3600".to_owned(),
        };
        let mut known = HashMap::new();
        for (ip, expected) in [
            ("192.0.2.7", true),
            ("192.0.2.8", false),
            ("192.0.2.7", true),
            ("2001:db8::1", false),
            ("192.0.2.8", false), // two are remembered, and this is the third
        ] {
            let is_ignored = is_ignored(&command, &failure(ip), &mut known).await;
            assert_eq!(is_ignored, expected, "{ip}");
        }
        let asked = std::fs::read_to_string(asked).unwrap();
        let expected = "192.0.2.7 inet4 1000.0\n192.0.2.8 inet4 1000.0\n2001:db8::1 inet6 1000.0\n192.0.2.8 inet4 1000.0\n";
        assert_eq!(asked, expected);
    }

    #[tokio::test]
    async fn what_fails_ignores_nobody() {
        for command in ["exit 2", "kill -9 $$", "no-such-command-here"] {
            let asked = plain(command);
            assert!(!ask(&asked, &failure("192.0.2.7")).await, "{command}");
        }
    }

    fn plain(command: &str) -> IgnoreCommand {
        IgnoreCommand {
            command: command.to_owned(),
            cache: None,
            bantime: "3600".to_owned(),
        }
    }

    #[tokio::test]
    async fn tags_say_what_fail2ban_says() {
        let command = plain("");
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
            ("192.0.2.7", "matches", "Failed password for `reboot`"),
        ] {
            let mut failure = failure(ip);
            failure.captured = Some(Box::new(Captured {
                id: Some("abc".into()),
                groups: vec![
                    ("fid".into(), "abc".into()),
                    ("user".into(), "$(id)`x`\"y".into()),
                ],
            }));
            let values = Values::of(&command, &failure).await;
            assert_eq!(values.get(tag).as_deref(), Some(expected), "{tag}");
            for tag in IGNORE_TAGS {
                assert!(values.get(tag).is_some(), "{tag}");
            }
            assert_eq!(values.get("name"), None);
        }
    }

    #[tokio::test]
    async fn log_text_is_never_run() {
        let folder = tempfile::tempdir().unwrap();
        let (seen, bad) = (folder.path().join("seen"), folder.path().join("bad"));
        let mut failure = failure("192.0.2.7");
        let user = format!("`touch {0}`$(touch {0});touch {0}\n'\"", bad.display());
        failure.captured = Some(Box::new(Captured {
            id: None,
            groups: vec![("user".into(), user.as_str().into())],
        }));
        let command = format!("printf %s \"<F-USER>\" > {}; exit 0", seen.display());
        assert!(ask(&plain(&command), &failure).await);
        assert_eq!(std::fs::read_to_string(seen).unwrap(), user);
        assert!(!bad.exists());
    }
}
