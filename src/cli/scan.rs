//! `ringfence scan LOG`: what the daemon would have done about an existing log.
//!
//! It is the daemon's own lines, filters and engine, fed with the log's own time
//! instead of the clock. Nothing is banned, and APIBAN is not asked.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use jiff::tz::TimeZone;
use serde::Serialize;

use super::reason::reason;
use super::{Common, Output, overlooked};
use crate::addr::Addr;
use crate::config::{self, Config, JailConfig, Location, Purpose};
use crate::count::counted;
use crate::daemon;
use crate::daemon::verbs::{DoubtShown, NearMissShown};
use crate::engine::{Checks, Effect, Engine, Event, Tell};
use crate::filter::lines::{Found, Lineup, Mode};
use crate::frame::charset::{Charset, Transcoder};
use crate::frame::{Decoder, Framing};
use crate::ticket::{Ban, Failure, Sighting, last_lines};
use crate::time::{Time, human};
use crate::watch::{Compression, TELLING_BYTES};

/// Offenders that are told apart; a log with more is a botnet's, and the rest are
/// counted together.
const OFFENDERS_MAX: usize = 1_000_000;

/// How standard input is written.
const STDIN: &str = "-";

/// Rows of the table for people; `--json` has all.
const ROWS_SHOWN: usize = 40;

#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// The log to be judged; `-` is standard input
    log: PathBuf,
    /// Judge by this jail; by default by those that follow this log, else by all
    #[arg(long, value_name = "JAIL", conflicts_with = "filter")]
    jail: Option<String>,
    /// Judge by this filter alone, with maxretry, findtime and bantime of the jail that has
    /// it, or else of [DEFAULT]
    #[arg(long, value_name = "FILTER")]
    filter: Option<String>,
    /// Judge by the jails of this tree of fail2ban's, too (such as /etc/fail2ban)
    #[arg(short = 'c', long, value_name = "DIR")]
    fail2ban: Option<PathBuf>,
    #[command(flatten)]
    output: Output,
}

/// What was found. Times are seconds since 1970.
#[derive(Serialize)]
struct Report {
    log: String,
    jails: Vec<String>,
    bytes: u64,
    lines: u64,
    failures: u64,
    /// Searches that were given up because a line needs too many steps; whether those
    /// lines report failures is not known.
    given_up: u64,
    offenders: Vec<Offender>,
    /// Failures of offenders beyond those that are told apart.
    others: u64,
    /// Lines that are longer than is read, and blame nobody.
    lines_cut: u64,
    /// How many times the log tells that messages were lost before they came into it.
    loss_reports: u64,
    /// How many messages are known to be lost so.
    messages_lost: u64,
    /// Lines that look like failures and blame nobody, by their shape.
    /// Lines that look like failures and have no date.
    undated_lines: u64,
    near_misses: Vec<NearMissShown>,
    /// The jails that doubt the log, since senders can write lines of their own into it.
    doubts: Vec<DoubtShown>,
    /// Failures of hosts that the log calls by name. What the name stood for then cannot
    /// be known, so nothing is looked up.
    names: u64,
}

#[derive(Serialize)]
struct Offender {
    addr: String,
    jail: String,
    /// Lines that report a failure of this address.
    failures: u64,
    /// The most tries on its account at any time.
    tries: u32,
    first: i64,
    last: i64,
    protected: bool,
    bans: Vec<BanSeen>,
}

#[derive(Serialize)]
struct BanSeen {
    at: i64,
    until: Option<i64>,
    tries: u32,
    reason: &'static str,
    line: String,
}

pub(super) fn run(common: &Common, arguments: &Arguments) -> anyhow::Result<()> {
    let location = Location {
        folder: common.config_dir.clone(),
        tree: arguments.fail2ban.clone(),
    };
    let config = Config::load(&location, Purpose::Judge)?;
    let jails = chosen(common, arguments, &config)?;
    let report = Scan::new(&config, &jails).run(&arguments.log)?;
    arguments.output.print(&report, people)
}

/// The jails to judge by.
fn chosen(
    common: &Common,
    arguments: &Arguments,
    config: &Config,
) -> anyhow::Result<Vec<JailConfig>> {
    if let Some(name) = &arguments.filter {
        let log = arguments.log.to_string_lossy();
        let jail = config::jail_of_filter(&common.config_dir, config, name, &log);
        let mut jail = jail.map_err(anyhow::Error::msg)?;
        jail.rules.name = name.as_str().into();
        return Ok(vec![jail]);
    }
    if let Some(name) = &arguments.jail {
        let known: Vec<&str> = config.jails.iter().map(|jail| &*jail.rules.name).collect();
        let jail = config.jail(name);
        let jail = jail.with_context(|| {
            format!("there is no jail `{name}`; there are: {}", known.join(", "))
        })?;
        return Ok(vec![jail.clone()]);
    }
    let log = arguments.log.to_string_lossy();
    let follows = |jail: &&JailConfig| jail.follows(&log);
    let following: Vec<JailConfig> = config.jails.iter().filter(follows).cloned().collect();
    Ok(if following.is_empty() {
        config.jails.clone()
    } else {
        following
    })
}

struct Scan {
    engine: Engine,
    transcoder: Transcoder,
    decoder: Decoder,
    /// For decoded lines.
    room: (String, Vec<u8>),
    lineup: Lineup,
    jails: Vec<String>,
    found: BTreeMap<(Addr, String), Offender>,
    failures: u64,
    others: u64,
    names: u64,
    lines: u64,
    lines_cut: u64,
    effects: Vec<Effect>,
}

impl Scan {
    fn new(config: &Config, jails: &[JailConfig]) -> Scan {
        let rules = jails.iter().map(|jail| jail.rules.clone()).collect();
        let attached = jails.iter().map(JailConfig::attached);
        let protected = daemon::protected::by(config);
        let mut framings = jails.iter().map(|jail| jail.framing);
        let framing = framings.find(|framing| *framing != Framing::Auto);
        let mut charsets = jails.iter().map(|jail| jail.charset);
        let charset = charsets.find(|charset| *charset != Charset::Utf8);
        Scan {
            engine: Engine::new(rules, protected, Checks::default(), Time::from_secs(0)),
            transcoder: Transcoder::new(charset.unwrap_or_default()),
            decoder: Decoder::new(framing.unwrap_or_default()),
            room: (String::new(), Vec::new()),
            lineup: Lineup::new(attached.collect(), 0, TimeZone::system(), Time::now()),
            jails: jails
                .iter()
                .map(|jail| jail.rules.name.to_string())
                .collect(),
            found: BTreeMap::new(),
            failures: 0,
            others: 0,
            names: 0,
            lines: 0,
            lines_cut: 0,
            effects: Vec::new(),
        }
    }

    fn run(mut self, log: &Path) -> anyhow::Result<Report> {
        let named = || format!("{}", log.display());
        let (mut from, size): (Box<dyn Read>, u64) = if log == Path::new(STDIN) {
            (Box::new(io::stdin()), 0)
        } else {
            let file = File::open(log).with_context(named)?;
            let meta = file.metadata().with_context(named)?;
            match meta.is_file() {
                true => (Box::new(file.take(meta.len())), meta.len()),
                false => (Box::new(file), 0),
            }
        };
        let mut head = Vec::new();
        let telling = (&mut *from)
            .take(TELLING_BYTES as u64)
            .read_to_end(&mut head);
        telling.with_context(named)?;
        if let Some(how) = Compression::of(&head) {
            let name = match log == Path::new(STDIN) {
                true => "FILE".to_owned(),
                false => log.display().to_string(),
            };
            anyhow::bail!(
                "{}: it is compressed ({}): `{} {name} | ringfence scan -`",
                log.display(),
                how.word(),
                how.reader()
            );
        }
        let mut from = io::Cursor::new(head).chain(from);
        let bar = bar(size);
        let bytes = crate::watch::read_to_end(&mut from, &mut |offset, bytes, cut| {
            bar.inc(bytes.len() as u64);
            match cut {
                true => self.lost_line(),
                false => self.block(bytes, offset),
            }
        });
        bar.finish_and_clear();
        Ok(self.report(log, bytes.with_context(named)?))
    }

    /// A line that is too long blames nobody.
    fn lost_line(&mut self) {
        self.lines += 1;
        self.lines_cut += 1;
        self.transcoder.lost();
        self.decoder.lost();
    }

    fn block(&mut self, bytes: &[u8], offset: u64) {
        let (text, lines) = &mut self.room;
        let bytes = self.transcoder.block(bytes, offset, text);
        self.lines += memchr::memchr_iter(b'\n', bytes).count() as u64;
        let (mut all, mut names) = (Vec::new(), 0);
        let lines = self.decoder.block(bytes, lines);
        self.lineup
            .block(lines, Mode::Replay, Time::now(), |found| match found {
                Found::Named(_) => names += 1,
                found => all.push(found),
            });
        self.names += names;
        for found in all {
            match found {
                Found::Failure(failure) => self.failure(failure),
                Found::Sighting(sighting) => self.sighting(sighting),
                Found::Named(_) => {}
            }
        }
    }

    fn sighting(&mut self, sighting: Sighting) {
        let time = sighting.time;
        self.engine
            .handle(Event::Sighting(sighting), time, &mut self.effects);
        self.effects.clear();
    }

    fn failure(&mut self, failure: Failure) {
        self.failures += 1;
        let (time, jail) = (failure.time, failure.jail.to_string());
        let addr = failure.addr;
        let offender = self.engine.offender(&jail, addr);
        let line: Box<str> = last_lines(&failure.line, 1).into();
        let key = (offender, jail.clone());
        if self.found.len() >= OFFENDERS_MAX && !self.found.contains_key(&key) {
            self.others += 1;
            return;
        }
        self.engine
            .handle(Event::Failure(failure), time, &mut self.effects);
        let seen = self.found.entry(key).or_insert_with(|| Offender {
            addr: offender.to_string(),
            jail,
            failures: 0,
            tries: 0,
            first: time.as_secs(),
            last: time.as_secs(),
            protected: self.engine.protected().covers(&addr),
            bans: Vec::new(),
        });
        seen.failures += 1;
        seen.first = seen.first.min(time.as_secs());
        seen.last = seen.last.max(time.as_secs());
        for effect in self.effects.drain(..) {
            match effect {
                Effect::Tell(Tell::Found { tries, .. }) => seen.tries = seen.tries.max(tries),
                Effect::Tell(Tell::Banned(ban)) if ban.addr == offender => {
                    seen.tries = seen.tries.max(ban.tries);
                    seen.bans.push(ban_seen(&ban, &line));
                }
                _ => {}
            }
        }
    }

    fn report(mut self, log: &Path, bytes: u64) -> Report {
        let (losses, missed) = (self.lineup.take_losses(), self.lineup.near_misses());
        let mut offenders: Vec<Offender> = self.found.into_values().collect();
        offenders.sort_by_key(|offender| std::cmp::Reverse(offender.failures));
        Report {
            log: log.display().to_string(),
            jails: self.jails,
            bytes,
            lines: self.lines,
            failures: self.failures,
            given_up: self.lineup.given_up(),
            offenders,
            others: self.others,
            lines_cut: self.lines_cut,
            loss_reports: losses.reports,
            messages_lost: losses.messages(),
            undated_lines: self.lineup.undated_lines,
            near_misses: missed.iter().map(NearMissShown::from).collect(),
            doubts: self.lineup.doubts().iter().map(DoubtShown::from).collect(),
            names: self.names,
        }
    }
}

fn ban_seen(ban: &Ban, line: &str) -> BanSeen {
    BanSeen {
        at: ban.since.as_secs(),
        until: ban.until.map(|until| until.as_secs()),
        tries: ban.tries,
        reason: ban.reason.word(),
        line: line.to_owned(),
    }
}

fn bar(size: u64) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = "{bar:40} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left";
    let style =
        ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(size).with_style(style)
}

fn people(report: &Report) -> String {
    let mut text = String::new();
    write_people(&mut text, report).unwrap_or_default(); // writing to a String cannot fail
    text
}

fn write_people(text: &mut String, report: &Report) -> std::fmt::Result {
    let banned = report
        .offenders
        .iter()
        .filter(|offender| !offender.bans.is_empty())
        .count();
    writeln!(
        text,
        "{}: {}, {} of {}; {banned} would have been banned (jails: {})",
        report.log,
        counted(report.lines, "line"),
        counted(report.failures, "failure"),
        counted(report.offenders.len(), "offender"),
        report.jails.join(", ")
    )?;
    if report.given_up > 0 {
        let searches = counted(report.given_up, "search");
        writeln!(
            text,
            "{searches} took too many steps; `ringfence check` says in which patterns"
        )?;
    }
    let lost = (report.loss_reports, report.messages_lost);
    overlooked::blind(text, report.lines_cut, lost)?;
    overlooked::undated(text, report.undated_lines)?;
    overlooked::doubted(text, &report.doubts)?;
    overlooked::missed(text, &report.log, &report.near_misses)?;
    if report.offenders.is_empty() {
        return Ok(());
    }
    writeln!(
        text,
        "{:<40} {:<12} {:>8} {:>6}  ban",
        "address", "jail", "failures", "tries"
    )?;
    for offender in report.offenders.iter().take(ROWS_SHOWN) {
        let ban = match offender.bans.first() {
            _ if offender.protected => "never: it is protected".to_owned(),
            None => "none".to_owned(),
            Some(ban) => {
                let at = Time::from_secs(ban.at);
                let length = match ban.until {
                    Some(until) => human(Time::from_secs(until).since(at)),
                    None => "ever".to_owned(),
                };
                let again = match offender.bans.len() {
                    1 => String::new(),
                    count => format!("; again {}", counted(count - 1, "time")),
                };
                let why = reason(ban.reason, ban.tries);
                format!("{at} for {length}: {why}{again}")
            }
        };
        let Offender {
            addr,
            jail,
            failures,
            tries,
            ..
        } = offender;
        writeln!(
            text,
            "{addr:<40} {jail:<12} {failures:>8} {tries:>6}  {ban}"
        )?;
    }
    match report.offenders.len().saturating_sub(ROWS_SHOWN) {
        0 => Ok(()),
        more => writeln!(text, "and {more} more; --json shows all"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is said of a log, judged by a built-in jail.
    fn said(jail: &str, log: &[u8]) -> Result<(String, Report), String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        std::fs::write(&path, log).unwrap();
        let location = Location {
            folder: folder.path().to_owned(),
            tree: None,
        };
        let config = Config::load(&location, Purpose::Judge).unwrap();
        let jail = config.jail(jail).unwrap().clone();
        let hidden = |text: String| text.replace(&folder.path().display().to_string(), "FOLDER");
        let report = Scan::new(&config, &[jail]).run(&path);
        let report = report.map_err(|error| hidden(error.to_string()))?;
        Ok((hidden(people(&report)), report))
    }

    #[test]
    fn what_was_overlooked_is_said_as_status_does() {
        let hint = "[2026-11-22 07:51:22] NOTICE[12] chan_sip.c: Registration from '<sip:1@x>' failed for '192.0.2.7:5060' - Wrong password\n";
        let newline = "[2026-11-22 07:51:20] NOTICE[12] chan_sip.c: Call from '1' (192.0.2.8:5060) to extension '9\nx' rejected\n";
        let new =
            "[2026-11-22 07:51:22] NOTICE[12] chan_sip.c: Login of '1' from 192.0.2.9 denied\n";
        let cut = format!("{}\n", "x".repeat(crate::watch::LINE_BYTES_MAX + 1));
        let undated = hint.replace("2026-11-22", "22.11.2026");
        let log = [&undated, newline, &hint.repeat(5), new, &cut].concat();
        let (text, report) = said("asterisk", log.as_bytes()).unwrap();
        expect_test::expect![[r#"
            FOLDER/log: 10 lines, 5 failures of 1 offender; 1 would have been banned (jails: asterisk)
                BLIND: 1 line longer than 131072 bytes blamed nobody
                UNDATED: 1 line looks like a failure and has no date that is known (`datepattern`), so not counted; the daemon counts such a line when it is written
                DOUBTED by jail asterisk: senders can write whole lines into it; 0 that may be theirs blamed nobody: let Asterisk log through rsyslog or the journal, which escape newlines (`syslog.local0 => notice,warning,error,security` in logger.conf)
              NEAR MISS: no pattern of jail asterisk matches 1 line of FOLDER/log, such as "[2026-11-22 07:51:22] NOTICE[12] chan_sip.c: Login of '1' from 192.0.2.9 denied"
            address                                  jail         failures  tries  ban
            192.0.2.7                                asterisk            5      5  2026-11-22T07:51:22Z for 10m: 5 tries that one forged packet could cause each, so it is a short ban
        "#]].assert_eq(&text);
        let json = serde_json::to_value(&report).unwrap();
        let (misses, doubts) = (&json["near_misses"], &json["doubts"]);
        assert_eq!(misses.as_array().map(Vec::len), Some(1), "{json:#}");
        assert_eq!(
            (
                &doubts[0]["jail"],
                &json["lines_cut"],
                &json["undated_lines"]
            ),
            (&"asterisk".into(), &1.into(), &1.into())
        );
    }

    #[test]
    fn a_compressed_log_is_not_judged_as_text() {
        let gzip = b"\x1f\x8b\x08\0\0\0\0\0\0\x03\xab\n\n";
        let told = said("kamailio", gzip).map(|(text, _)| text).unwrap_err();
        let expected = "FOLDER/log: it is compressed (gzip): `zcat FOLDER/log | ringfence scan -`";
        assert_eq!(told, expected);
        // What is shorter than all that tells is read to its end.
        let (text, _) = said("kamailio", b"x\n").unwrap();
        let expected = "FOLDER/log: 1 line, 0 failures of 0 offenders; 0 would have been banned (jails: kamailio)\n";
        assert_eq!(text, expected);
    }
}
