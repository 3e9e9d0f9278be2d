//! `ignorecommand`: a jail's own command that says whether a failure is to be ignored.
//!
//! Commands run one at a time, as under fail2ban's lock, and away from the judge:
//! failures of jails that have one wait here in their order, and when too many wait,
//! the next are dropped and counted: a slow command must not hold up jails that have none.
//! It is not asked about whom nothing depends on: the banned and the protected. Text of a log
//! line goes to it as an argument of the shell's, see `tags`.

mod hosts;
mod values;

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::process::ExitStatus;
use std::time::Duration;

use lru::LruCache;
use tokio::process::Command;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::{debug, warn};

use super::bus::Judge;
use super::tags::{self, Filled};
use super::{names, programs};
use crate::config::IgnoreCommand;
use crate::engine::Event;
use crate::ticket::{Failure, JailName};
use hosts::Hosted;
use values::{Counts, Sources, Values};

pub use values::Database;

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
/// tells a jail's command as it is now, `database` where earlier bans are written down.
pub async fn serve(
    failures: mpsc::Receiver<Failure>,
    command: impl Fn(&JailName) -> Option<IgnoreCommand>,
    database: impl Fn() -> Option<Database>,
    judge: Judge,
) {
    let is_settled = |failure: &Failure| judge.visit(|engine, _, _| engine.is_settled(failure));
    let wants_host = |failure: &Failure| {
        let command = command(&failure.jail);
        command.is_some_and(|command| command.wants("<ip-host>")) && !is_settled(failure)
    };
    let (hosted, mut next) = mpsc::channel::<Hosted>(1);
    let ask_all = async {
        let sources = Sources {
            counts: |jail: &JailName| judge.visit(|engine, _, _| Counts::of(engine, jail)),
            database,
        };
        let mut known: HashMap<JailName, Answers> = HashMap::new();
        while let Some((failure, host)) = next.recv().await {
            let is_ignored = match command(&failure.jail) {
                Some(_) if is_settled(&failure) => false,
                Some(command) => is_ignored(&command, &failure, host, &sources, &mut known).await,
                None => false,
            };
            match is_ignored {
                true => {
                    debug!(jail = %failure.jail, addr = %failure.addr, "ignored by ignorecommand")
                }
                false => judge.event(Event::Failure(failure)),
            }
        }
    };
    let hosts = hosts::serve(failures, hosted, wants_host, names::name_of);
    tokio::join!(hosts, ask_all);
}

async fn is_ignored(
    command: &IgnoreCommand,
    failure: &Failure,
    host: Option<String>,
    sources: &Sources<impl Fn(&JailName) -> Counts, impl Fn() -> Option<Database>>,
    known: &mut HashMap<JailName, Answers>,
) -> bool {
    let values = Values::of(command, failure, host, sources).await;
    let Some(cache) = &command.cache else {
        return ask(command, &failure.jail, &values).await;
    };
    let room = usize::try_from(cache.max_count).unwrap_or(REMEMBERED_MAX);
    let room = NonZeroUsize::new(room.min(REMEMBERED_MAX)).unwrap_or(NonZeroUsize::MIN);
    let answers = known
        .entry(failure.jail.clone())
        .or_insert_with(|| LruCache::new(room));
    answers.resize(room);
    let key = tags::plain(&cache.key, |tag| values.get(tag));
    let now = Instant::now();
    // As in fail2ban the answer that was had first is forgotten first, asked for or not.
    if let Some((until, answer)) = answers.peek(&key)
        && *until > now
    {
        return *answer;
    }
    let answer = ask(command, &failure.jail, &values).await;
    answers.put(key, (now + cache.max_time, answer));
    answer
}

/// Runs the command: 0 is yes, 1 is no. What fails or takes too long is a no, as in fail2ban.
async fn ask(command: &IgnoreCommand, jail: &JailName, values: &Values<'_>) -> bool {
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

/// Runs a command by the shell; `None` if it was ended because it took too long.
async fn run(filled: &Filled) -> std::io::Result<Option<ExitStatus>> {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", &filled.command]).args(&filled.values);
    programs::run(&mut command, Instant::now() + PATIENCE).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::fail2ban::IgnoreCache;
    use crate::ticket::{Captured, Group, Trust};
    use crate::time::Time;

    /// A failed try from there.
    pub(super) fn failure(ip: &str) -> Failure {
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
            ("192.0.2.8", false),
            ("192.0.2.7", true), // two are remembered, and this was the first
        ] {
            let is_ignored =
                is_ignored(&command, &failure(ip), None, &values::NONE, &mut known).await;
            assert_eq!(is_ignored, expected, "{ip}");
        }
        let asked = std::fs::read_to_string(asked).unwrap();
        let expected = "192.0.2.7 inet4 1000.0\n192.0.2.8 inet4 1000.0\n2001:db8::1 inet6 1000.0\n192.0.2.7 inet4 1000.0\n";
        assert_eq!(asked, expected);
    }

    #[tokio::test]
    async fn what_fails_ignores_nobody() {
        for command in ["exit 2", "kill -9 $$", "no-such-command-here"] {
            let is_ignored = answer(&plain(command), &failure("192.0.2.7")).await;
            assert!(!is_ignored, "{command}");
        }
    }

    async fn answer(command: &IgnoreCommand, failure: &Failure) -> bool {
        is_ignored(command, failure, None, &values::NONE, &mut HashMap::new()).await
    }

    fn plain(command: &str) -> IgnoreCommand {
        IgnoreCommand {
            command: command.to_owned(),
            cache: None,
            bantime: "3600".to_owned(),
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
            groups: vec![("user".into(), Group::Text(user.as_str().into()))],
        }));
        let command = format!("printf %s \"<F-USER>\" > {}; exit 0", seen.display());
        assert!(answer(&plain(&command), &failure).await);
        assert_eq!(std::fs::read_to_string(seen).unwrap(), user);
        assert!(!bad.exists());
    }
}
