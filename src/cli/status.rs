//! `ringfence status`: what a person wants to know at 3 a.m. under attack. What is
//! wrong stands first.

use std::fmt::Write;
use std::io::IsTerminal;
use std::time::Duration;

use clap::Args;

use super::ask::ask;
use super::reason::reason;
use super::{Common, Output, overlooked};
use crate::config::PORTS_OF_ACTIONS;
use crate::count::counted;
use crate::daemon::verbs::{BanShown, JailShown, StandingShown, Status, Verb};
use crate::jail::window::OFFENDERS_MAX;
use crate::time::{Time, human};

/// Alarms that people are shown; they stand first, and must leave room for the rest.
const ALARMS_SHOWN: usize = 5;

#[derive(Args, Debug)]
pub(super) struct Arguments {
    #[command(flatten)]
    output: Output,
}

pub(super) fn run(common: &Common, arguments: &Arguments) -> anyhow::Result<()> {
    let status: Status = ask(common, &Verb::Status)?;
    arguments
        .output
        .print(&status, |status| people(status, Time::now()))
}

fn people(status: &Status, now: Time) -> String {
    let mut text = String::new();
    write_all(&mut text, status, now).unwrap_or_default(); // writing to a String cannot fail
    text
}

fn write_all(text: &mut String, status: &Status, now: Time) -> std::fmt::Result {
    let up = human(now.since(Time::from_secs(status.started)));
    writeln!(
        text,
        "ringfence {}, running for {up} (pid {})",
        status.version, status.pid
    )?;
    if let Some(until) = status.paused_until {
        let until = Time::from_secs(until);
        alarm(
            text,
            &format!(
                "PAUSED: nothing is dropped for {} more, until {until}; `ringfence resume` ends it",
                human(until.since(now))
            ),
        )?;
    }
    let troubles = status.firewall_missing.iter();
    for trouble in troubles.chain(&status.firewall_troubles) {
        alarm(text, &format!("FIREWALL: {trouble}"))?;
    }
    if let Some(fight) = &status.firewall_fight {
        alarm(text, &format!("FIREWALL: {fight}"))?;
    }
    if let Some(trouble) = &status.database_trouble {
        writeln!(
            text,
            "  DATABASE: {trouble}; bans hold in memory and kernel meanwhile"
        )?;
    }
    if let Some(lost) = &status.database_lost {
        writeln!(
            text,
            "  LOST BANS: {lost}; whoever the kernel held goes on being banned, for his jail's ban time from the start"
        )?;
    }
    for problem in &status.problems {
        writeln!(text, "  PROBLEM: {problem}")?;
    }
    for login in &status.unprotected {
        writeln!(text, "  UNPROTECTED: {login}")?;
    }
    write_alarms(text, &status.standing, now)?;
    if !status.logs.iter().any(|log| log.followed) {
        writeln!(
            text,
            "  NO LOG is followed: nothing is seen, so nobody is banned"
        )?;
    }
    writeln!(
        text,
        "Bans:     {} in force, {} laid on since the start",
        status.banned, status.bans_total
    )?;
    writeln!(text, "Firewall: {}", status.firewall)?;
    writeln!(
        text,
        "Standing: {}, {} shared by many",
        counted(status.standing.known_good, "known-good address"),
        status.standing.shared
    )?;
    writeln!(
        text,
        "APIBAN:   {}; {} of its list blocked",
        status.apiban.summary,
        counted(status.apiban.listed, "address")
    )?;
    for jail in &status.jails {
        write_jail(text, jail, now)?;
    }
    writeln!(text, "Logs:")?;
    let (there, missing): (Vec<_>, Vec<_>) = status
        .logs
        .iter()
        .partition(|log| log.state != "not there yet");
    for log in there {
        let behind = log.size.saturating_sub(log.offset);
        match behind {
            0 => writeln!(text, "  {} ({})", log.path, log.state)?,
            _ => writeln!(
                text,
                "  {} ({}, {} behind)",
                log.path,
                log.state,
                counted(behind, "byte")
            )?,
        }
        let lost = (log.loss_reports, log.messages_lost);
        overlooked::blind(text, log.lines_cut, lost)?;
        overlooked::doubted(text, &log.doubts)?;
    }
    for log in &status.logs {
        overlooked::missed(text, &log.path, &log.near_misses)?;
    }
    if !missing.is_empty() {
        writeln!(
            text,
            "  waiting for {} more that are not there yet",
            missing.len()
        )?;
    }
    let protected = status
        .protected
        .iter()
        .map(|known| format!("{} ({})", known.addr, known.why));
    writeln!(
        text,
        "Never banned: {}",
        protected.collect::<Vec<_>>().join(", ")
    )
}

/// What nobody is banned for and somebody must look at.
fn write_alarms(text: &mut String, standing: &StandingShown, now: Time) -> std::fmt::Result {
    let ago = |secs: i64| human(now.since(Time::from_secs(secs)));
    if let Some(since) = standing.brake_since {
        writeln!(
            text,
            "  BRAKE: on for {}: known-good addresses fail all at once, so none of them is sanctioned",
            ago(since)
        )?;
    }
    for alarm in standing.alarms.iter().take(ALARMS_SHOWN) {
        writeln!(text, "  ALARM {} ago: {}", ago(alarm.time), alarm.text)?;
    }
    let more = standing.alarms.len().saturating_sub(ALARMS_SHOWN);
    if more > 0 {
        let more = counted(more, "older alarm");
        writeln!(text, "  and {more}; --json has all")?;
    }
    for source in &standing.wrong_sources {
        writeln!(
            text,
            "  WRONG SOURCE: jail {} would have banned {} ({}) {}: {}",
            source.jail,
            source.addr,
            source.why,
            counted(source.convictions, "time"),
            source.remedy
        )?;
    }
    Ok(())
}

/// A line that somebody must see: red where there are colours.
fn alarm(text: &mut String, line: &str) -> std::fmt::Result {
    match std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none() {
        true => writeln!(text, "  \x1b[1;31m{line}\x1b[0m"),
        false => writeln!(text, "  {line}"),
    }
}

fn write_jail(text: &mut String, jail: &JailShown, now: Time) -> std::fmt::Result {
    writeln!(
        text,
        "Jail {}{}: {} banned, {} failing, {} since the start",
        jail.name,
        ports(&jail.ports),
        jail.banned,
        jail.failing,
        counted(jail.failures_total, "failure")
    )?;
    if let Some(last) = jail.forgotten_last {
        writeln!(
            text,
            "  CROWDED: {} forgotten before their tries ran out, the last {} ago: more than {OFFENDERS_MAX} fail",
            counted(jail.forgotten_early, "offender"),
            human(now.since(Time::from_secs(last)))
        )?;
    }
    for place in &jail.places {
        writeln!(text, "  bans in {place}")?;
    }
    for ban in &jail.latest {
        writeln!(text, "  {}", ban_line(ban, now))?;
    }
    match jail.banned.saturating_sub(jail.latest.len()) {
        0 => Ok(()),
        more => writeln!(
            text,
            "  and {more} more: ringfence bans --jail {}",
            jail.name
        ),
    }
}

/// Where bans are in force, if that is not everywhere.
fn ports(ports: &str) -> String {
    match ports {
        "" | "all ports" | PORTS_OF_ACTIONS => String::new(),
        ports => format!(" ({ports})"),
    }
}

fn ban_line(ban: &BanShown, now: Time) -> String {
    let ago = human(now.since(Time::from_secs(ban.since)));
    let left = match ban.until {
        None => "for ever".to_owned(),
        Some(until) => {
            let secs = u64::try_from(until - now.as_secs()).unwrap_or(0);
            format!("for {} more", human(Duration::from_secs(secs)))
        }
    };
    let why = reason(&ban.reason, ban.tries);
    format!("{:<40} since {ago}, {left}: {why}", ban.addr)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A daemon for which everything goes wrong.
    fn worst() -> Status {
        let alarm = json!({"kind": "cracking", "time": 900, "addr": null, "jail": "asterisk",
            "accounts": [], "count": 7, "text": "somebody is spared"});
        let source = json!({"addr": "127.0.0.1", "jail": "kamailio", "tries": 9, "convictions": 3,
            "last": 900, "why": "loopback", "remedy": "log the client"});
        let miss = json!({"jail": "kamailio", "shape": "x", "count": 2, "sample": "x\u{1b}"});
        let unclear = json!({"jail": "kamailio", "shape": "x", "count": 2, "sample": "x",
            "remedy": "mend it"});
        let doubt = json!({"jail": "asterisk", "disbelieved": 3, "remedy": "mend it"});
        let log = json!({"path": "/log", "state": "no permission", "followed": false, "offset": 0,
            "size": 9, "loss_reports": 1, "messages_lost": 5, "near_misses": [miss, unclear],
            "doubts": [doubt]});
        let jail = json!({"name": "kamailio", "ports": "all ports", "failing": 1,
            "forgotten_early": 2, "forgotten_last": 990,
            "failures_total": 9, "banned": 4, "latest": [
                {"addr": "192.0.2.0/24", "jail": "kamailio", "since": 900, "until": null,
                 "reason": "aggregate", "tries": 8}]});
        let status = json!({"version": "1", "pid": 7, "started": 0, "dry_run": false,
            "firewall": "kernel", "paused_until": 1600, "firewall_missing": ["the set x is gone"],
            "firewall_fight": "somebody took it", "firewall_repairs": 4,
            "database_trouble": "locked", "database_lost": "it is damaged", "unprotected": ["eve"], "banned": 4, "bans_total": 5, "jails": [jail],
            "standing": {"known_good": 1, "shared": 0, "brake_since": 400, "alarms_total": 1,
                "alarms": [alarm], "wrong_sources": [source]},
            "logs": [log], "apiban": {"on": false, "summary": "off", "listed": 0, "feed": null},
            "protected": [], "problems": ["jail.conf:1: wrong"]});
        serde_json::from_value(status).unwrap()
    }

    #[test]
    fn the_page_explains_every_word_in_capitals() {
        const PAGE: &str = include_str!("../../docs/status.md");
        let text = people(&worst(), Time::from_secs(1_000));
        let mut words = Vec::new();
        for line in text.lines().filter(|line| line.starts_with(' ')) {
            let capitals = line.split_whitespace().take_while(|word| {
                let word = word.trim_end_matches(':');
                word.len() > 1 && word.chars().all(|letter| letter.is_ascii_uppercase())
            });
            let capitals = capitals.collect::<Vec<_>>().join(" ");
            let word = capitals.trim_end_matches(':');
            if !word.is_empty() && words.last().is_none_or(|last| last != word) {
                assert!(PAGE.contains(&format!("\n| {word}")), "{word}");
                words.push(word.to_owned());
            }
        }
        let told = "PAUSED, FIREWALL, DATABASE, LOST BANS, PROBLEM, UNPROTECTED, BRAKE, ALARM, WRONG SOURCE, NO LOG, CROWDED, BLIND, DOUBTED, UNCLEAR, NEAR MISS";
        assert_eq!(words.join(", "), told, "{text}");
        let crowd = "192.0.2.0/24                             since 1m 40s, for ever: 8 hosts of this network were banned\n  and 3 more: ringfence bans --jail kamailio\n";
        assert!(text.contains(crowd), "{text}");
    }
}
