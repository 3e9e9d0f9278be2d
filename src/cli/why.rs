//! `ringfence why ADDR`: why an address is held off, or not, for a person at 3 a.m. The
//! answer comes first, then what it rests on, then what to do.
//!
//! Exit codes: 0 it passes, 3 it is held off, 1 nobody could tell.

use std::fmt::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::ask::ask;
use super::reason::reason;
use super::{Common, Output, printable};
use crate::addr::Addr;
use crate::count::counted;
use crate::daemon::verbs::Verb;
use crate::daemon::why::{Account, BanWhy, PastWhy, TriesWhy, Why};
use crate::time::{Time, human};

/// The exit code for an address that is held off.
const HELD_OFF: u8 = 3;

#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// An address or a prefix
    addr: String,
    /// Leave out other tenants' data: lines, patterns, whom else we know
    #[arg(long)]
    for_customer: bool,
    #[command(flatten)]
    output: Output,
}

pub(super) fn run(common: &Common, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let verb = Verb::Why {
        addr: arguments.addr.clone(),
        for_customer: arguments.for_customer,
    };
    let why: Why = ask(common, &verb)?;
    arguments
        .output
        .print(&why, |why| people(why, Time::now()))?;
    Ok(match why.blocked {
        true => ExitCode::from(HELD_OFF),
        false => ExitCode::SUCCESS,
    })
}

fn people(why: &Why, now: Time) -> String {
    let mut text = String::new();
    write_all(&mut text, why, now).unwrap_or_default(); // writing to a String cannot fail
    text
}

fn write_all(text: &mut String, why: &Why, now: Time) -> fmt::Result {
    verdict(text, why)?;
    for ban in &why.bans {
        write_ban(text, ban, now)?;
    }
    for alarm in &why.alarms {
        let since = Time::from_secs(alarm.time);
        let ago = human(now.since(since));
        writeln!(
            text,
            "ALARM since {since} ({ago} ago): {}",
            printable(&alarm.text)
        )?;
    }
    write_listing(text, why)?;
    for tries in &why.tries {
        write_tries(text, tries)?;
    }
    if !why.accounts.is_empty() {
        writeln!(
            text,
            "Who tried from there (as the log lines say; a sender can write anything):"
        )?;
        for account in &why.accounts {
            write_account(text, account, now)?;
        }
    }
    for entry in why.packets.iter().filter(|entry| entry.packets > 0) {
        let (packets, bytes) = (entry.packets, entry.bytes);
        let is_throttle = entry.set.starts_with("ringfence-throttled");
        let what = match (entry.passed, is_throttle) {
            (true, _) => "let through",
            (false, true) => "held back or let through",
            (false, false) => "dropped",
        };
        writeln!(
            text,
            "Kernel: {} ({}) of {} {what} by {}",
            counted(packets, "packet"),
            counted(bytes, "byte"),
            entry.addr,
            entry.set
        )?;
    }
    for past in &why.past {
        write_past(text, past)?;
    }
    for trouble in &why.trouble {
        writeln!(text, "NOT LOOKED AT: {}", printable(trouble))?;
    }
    advice(text, why)
}

/// The answer itself.
fn verdict(text: &mut String, why: &Why) -> fmt::Result {
    let addr = &why.addr;
    match (why.protected, why.blocked) {
        (true, _) => {
            let reasons = why
                .protected_by
                .iter()
                .map(|known| format!("{} ({})", known.addr, printable(&known.why)));
            let reasons: Vec<String> = reasons.collect();
            match reasons.is_empty() {
                true => writeln!(text, "{addr} is PROTECTED: it is never banned"),
                false => writeln!(
                    text,
                    "{addr} is PROTECTED, it is never banned: {}",
                    reasons.join(", ")
                ),
            }?;
        }
        (false, true) if why.dry_run => {
            writeln!(
                text,
                "{addr} WOULD BE HELD OFF, but this is a dry run: it passes"
            )?;
        }
        (false, true) if is_throttled(why) => {
            writeln!(
                text,
                "{addr} is HELD BACK: its signalling is slowed, its calls go on"
            )?;
        }
        (false, true) => writeln!(text, "{addr} is HELD OFF: its packets are dropped")?,
        (false, false) => writeln!(
            text,
            "{addr} PASSES: it is neither banned nor on the list that we hold"
        )?,
    }
    match (why.standing.as_str(), why.known_since.map(Time::from_secs)) {
        ("shared", _) => writeln!(
            text,
            "It speaks for many (an SBC, an office behind one address): it is never banned by itself"
        )?,
        ("known-good", Some(since)) => writeln!(
            text,
            "It is known-good since {since}: it is judged slowly, and its signalling is held back at most"
        )?,
        _ => {}
    }
    match why.ignored_by.is_empty() {
        true => Ok(()),
        false => writeln!(
            text,
            "Ignored by the jails {} (ignoreip)",
            why.ignored_by.join(", ")
        ),
    }
}

/// Is it held back, and nothing more?
fn is_throttled(why: &Why) -> bool {
    let mut bans = why.bans.iter();
    !why.apiban.listed && bans.all(|ban| ban.ban.reason == "throttled")
}

fn write_ban(text: &mut String, why: &BanWhy, now: Time) -> fmt::Result {
    let ban = &why.ban;
    let since = Time::from_secs(ban.since);
    let until = match ban.until.map(Time::from_secs) {
        None => "for ever".to_owned(),
        Some(until) => format!("until {until}, {} more", human(until.since(now))),
    };
    writeln!(
        text,
        "Ban of {} by jail {}: {}",
        ban.addr,
        ban.jail,
        reason(&ban.reason, ban.tries)
    )?;
    writeln!(
        text,
        "  since {since} ({} ago), {until}",
        human(now.since(since))
    )?;
    if why.ports != "all ports" {
        writeln!(text, "  in force on: {}", why.ports)?;
    }
    if let Some(count) = why.count.filter(|count| *count > 1) {
        writeln!(text, "  it is number {count} of this address by this jail")?;
    }
    if let Some(filter) = &why.filter {
        writeln!(text, "  filter {filter}")?;
    }
    for place in &why.places {
        writeln!(text, "  it counts in {}", printable(place))?;
    }
    for pattern in &why.patterns {
        writeln!(text, "  pattern {}", printable(pattern))?;
    }
    write_lines(text, &why.lines)
}

fn write_lines(text: &mut String, lines: &[String]) -> fmt::Result {
    if !lines.is_empty() {
        writeln!(text, "  the last lines:")?;
    }
    lines
        .iter()
        .try_for_each(|line| writeln!(text, "    {}", printable(line)))
}

fn write_listing(text: &mut String, why: &Why) -> fmt::Result {
    match (why.apiban.until, why.apiban.answer.as_deref()) {
        (Some(until), _) => writeln!(
            text,
            "APIBAN: on the list that we hold, until {}",
            Time::from_secs(until)
        ),
        (None, Some(answer)) => writeln!(text, "APIBAN: {answer}, when it was looked up"),
        (None, None) => writeln!(text, "APIBAN: not on the list that we hold"),
    }
}

fn write_tries(text: &mut String, why: &TriesWhy) -> fmt::Result {
    let within = human(Duration::from_secs(why.findtime));
    let TriesWhy {
        jail,
        addr,
        tries,
        maxretry,
        ..
    } = why;
    writeln!(
        text,
        "Not enough yet: jail {jail} counts {tries} of {maxretry} tries of {addr} within {within}"
    )?;
    write_lines(text, &why.lines)
}

fn write_account(text: &mut String, account: &Account, now: Time) -> fmt::Result {
    let user = account
        .user
        .as_deref()
        .map_or("no name".to_owned(), printable);
    let ago = human(now.since(Time::from_secs(account.last)));
    write!(
        text,
        "  {user}: {}, the last {ago} ago",
        counted(account.lines, "line")
    )?;
    let ports: Vec<String> = account.ports.iter().map(ToString::to_string).collect();
    let printed = |texts: &[String]| texts.iter().map(|text| printable(text)).collect::<Vec<_>>();
    for (what, values) in [
        ("port", ports),
        ("device", printed(&account.user_agents)),
        ("calling", printed(&account.extensions)),
    ] {
        if !values.is_empty() {
            write!(text, ", {what} {}", values.join(", "))?;
        }
    }
    writeln!(text)
}

fn write_past(text: &mut String, past: &PastWhy) -> fmt::Result {
    let span = match past.secs {
        None => "for ever".to_owned(),
        Some(secs) => format!("for {}", human(Duration::from_secs(secs.unsigned_abs()))),
    };
    let why = past.reason.as_deref().unwrap_or("maxretry");
    let since = Time::from_secs(past.since);
    writeln!(
        text,
        "Before: {} by jail {} since {since} {span}: {}",
        past.addr,
        past.jail,
        reason(why, past.tries)
    )
}

/// What to do about it: the commands that lift what holds it.
fn advice(text: &mut String, why: &Why) -> fmt::Result {
    if !why.blocked || why.for_customer {
        return Ok(());
    }
    let mut lead = "To let it pass";
    if why.apiban.listed || why.bans.iter().any(|ban| !is_wider(why, ban)) {
        writeln!(text, "{lead}: ringfence unban {}", why.addr)?;
        lead = "  and";
    }
    let wider = why.bans.iter().filter(|ban| is_wider(why, ban));
    let mut wider: Vec<&str> = wider.map(|ban| ban.ban.addr.as_str()).collect();
    wider.dedup();
    for addr in wider {
        writeln!(text, "{lead}, with all of {addr}: ringfence unban {addr}")?;
        lead = "  and";
    }
    writeln!(
        text,
        "To let it pass for good: add it to `protect` in ringfence.toml, and ringfence reload"
    )
}

/// Is the ban on more than what is asked about, so that a pardon of that leaves it? An IPv6
/// host is pardoned with its /64.
fn is_wider(why: &Why, ban: &BanWhy) -> bool {
    let (Ok(asked), Ok(held)) = (why.addr.parse::<Addr>(), ban.ban.addr.parse::<Addr>()) else {
        return false;
    };
    let pardoned = match asked.is_host() {
        true => Addr::offender(asked.ip()),
        false => asked,
    };
    !asked.contains(&held) && held != pardoned
}
