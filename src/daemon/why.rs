//! Why is this address held off, or not? All that engine, kernel and database know of it.
//!
//! These are the shapes of `ringfence why --json`: times are seconds since 1970. Lines, and
//! whatever was read out of them (accounts, devices), are text of the sender's.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::LazyLock;

use jiff::tz::TimeZone;
use regex::Regex;
use serde::{Deserialize, Serialize};

use super::protected::Known;
use super::standing::alarm_shown;
use super::verbs::{AlarmShown, BanShown};
use crate::action::Family;
use crate::action::Kept;
use crate::action::name::Name;
use crate::action::stock::{Layout, describe};
use crate::addr::Addr;
use crate::ban::look::{self, Written};
use crate::config::{Config, JailConfig};
use crate::engine::About;
use crate::filter::follow::Ask;
use crate::filter::lines::{Lineup, Mode, Reading};
use crate::jail::standing::Rank;
use crate::ticket::{Ban, Reason, Set, Verdict};
use crate::time::Time;

/// Lines that are shown of one ban.
const LINES_SHOWN: usize = 20;

/// Devices, ports and the like that are shown of one account.
const DEVICES_SHOWN: usize = 5;

/// Accounts that are shown.
const ACCOUNTS_SHOWN: usize = 50;

/// The answer to [`Verb::Why`](super::verbs::Verb::Why).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Why {
    /// What was asked for.
    pub addr: String,
    /// Is it held off now, by a ban or by the list?
    pub blocked: bool,
    /// Bans on it, or on a prefix around it or inside of it.
    pub bans: Vec<BanWhy>,
    /// APIBAN.
    pub apiban: Listing,
    /// Is it never banned? Why, `protected_by` says.
    pub protected: bool,
    /// Protected addresses that hold it.
    pub protected_by: Vec<Known>,
    /// `stranger`, `known-good` (its signalling is held back at most) or `shared` (it speaks
    /// for many, and is never sanctioned by itself).
    pub standing: String,
    /// Since when it is known-good.
    pub known_since: Option<i64>,
    /// Jails that ignore it.
    pub ignored_by: Vec<String>,
    /// Alarms about it since the start, the newest first: what it did although it is spared.
    #[serde(default)]
    pub alarms: Vec<AlarmShown>,
    /// Tries that were not enough yet.
    pub tries: Vec<TriesWhy>,
    /// Who tried to log in from it, as the lines say.
    pub accounts: Vec<Account>,
    /// Entries of the kernel's sets that hold it, and what met them.
    pub packets: Vec<Packets>,
    /// Bans that are over, the newest first.
    pub past: Vec<PastWhy>,
    /// What could not be looked at.
    pub trouble: Vec<String>,
    /// Nothing is done in the kernel, so whatever is held off passes all the same.
    pub dry_run: bool,
    /// Other tenants' data was left out.
    pub for_customer: bool,
}

/// A ban, and what convicted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BanWhy {
    /// The ban.
    #[serde(flatten)]
    pub ban: BanShown,
    /// Which one of this address by this jail it is; null if it is not known.
    pub count: Option<u32>,
    /// Where it is in force, as in [`JailShown::ports`](super::verbs::JailShown::ports).
    #[serde(default)]
    pub ports: String,
    /// The filter of the jail.
    pub filter: Option<String>,
    /// The patterns that found the lines.
    pub patterns: Vec<String>,
    /// Where it counts if its jail has stock actions of fail2ban's, in words.
    #[serde(default)]
    pub places: Vec<String>,
    /// The last lines that convicted.
    pub lines: Vec<String>,
}

/// What APIBAN says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Listing {
    /// Is it on the list that we hold?
    pub listed: bool,
    /// Until when.
    pub until: Option<i64>,
    /// What was answered when it was looked up: `listed` or `not listed`; null if it was not.
    pub answer: Option<String>,
}

/// Tries that were not enough yet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TriesWhy {
    /// The jail that counts.
    pub jail: String,
    /// Whom it counts for.
    pub addr: String,
    /// How many.
    pub tries: u32,
    /// How many are too many.
    pub maxretry: u32,
    /// Within how many seconds.
    pub findtime: u64,
    /// The last lines that tell of them.
    pub lines: Vec<String>,
}

/// An account that was tried.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Account {
    /// Its name; null if the lines name none.
    pub user: Option<String>,
    /// Lines that tell of it.
    pub lines: u32,
    /// The last of them.
    pub last: i64,
    /// Ports that it came from.
    pub ports: Vec<u16>,
    /// What the device called itself.
    pub user_agents: Vec<String>,
    /// Whom it called.
    pub extensions: Vec<String>,
}

/// An entry of a kernel set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Packets {
    /// The set's name in the kernel; of a stock action's, in words.
    pub set: String,
    /// The entry: the address, or a prefix around it.
    pub addr: String,
    /// Packets that met it: dropped, or let through by the allow set.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Are they let through?
    pub passed: bool,
}

/// A ban that is over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PastWhy {
    /// The jail that laid it on.
    pub jail: String,
    /// Whom it held.
    pub addr: String,
    /// Since when.
    pub since: i64,
    /// For how many seconds; null is for ever.
    pub secs: Option<i64>,
    /// Why, as in a ban.
    pub reason: Option<String>,
    /// The tries that convicted.
    pub tries: u32,
}

/// All that is known when the answer is written.
pub(super) struct Evidence<'a> {
    /// By the engine.
    pub(super) about: About,
    /// By the database.
    pub(super) written: Vec<Written>,
    /// By the kernel.
    pub(super) kept: Vec<(Set, Kept)>,
    /// By the kernel, of what stock actions keep there.
    pub(super) stock: Vec<(Layout, Kept)>,
    /// Who is protected.
    pub(super) known: &'a [Known],
    /// The jails, and their filters.
    pub(super) config: &'a Config,
}

/// Where the database lies that the daemon writes.
pub(super) fn database(config: &Config) -> Option<PathBuf> {
    let database = &config.database;
    let own = database.instead.clone().filter(|path| path.exists());
    own.or_else(|| database.path.clone())
}

/// Looks into the database, if there is one.
pub(super) fn written(path: Option<PathBuf>, addrs: &[Addr]) -> Result<Vec<Written>, String> {
    path.map_or(Ok(Vec::new()), |path| {
        look::bans_of(&path, addrs).map_err(|error| error.to_string())
    })
}

/// The answer.
pub(super) fn why(addr: Addr, evidence: Evidence<'_>, now: Time) -> Why {
    let Evidence {
        about,
        written,
        kept,
        stock,
        known,
        config,
    } = evidence;
    let mut accounts = Accounts::new(addr);
    let mut bans = Vec::new();
    for ban in &about.bans {
        let written = written.iter().find(|written| tells_of(written, ban));
        let jail = config.jail(&ban.jail);
        let lines = written.map_or(Vec::new(), |written| last(&written.lines));
        let patterns = jail.map_or(Vec::new(), |jail| accounts.read(jail, &lines, now));
        bans.push(BanWhy {
            ban: BanShown::from(ban),
            count: written.map(|written| written.count),
            ports: match ban.reason {
                Reason::Throttled => "SIP's ports".to_owned(),
                _ => config.ports_of(&ban.jail),
            },
            filter: jail.map(|jail| jail.filter_name.clone()),
            patterns,
            places: jail.map_or(Vec::new(), |jail| describe(&jail.stock)),
            lines,
        });
    }
    let mut tries = Vec::new();
    for trying in &about.tries {
        let lines: Vec<String> = trying.lines.lines().map(str::to_owned).collect();
        let lines = last(&lines);
        if let Some(jail) = config.jail(&trying.jail) {
            accounts.read(jail, &lines, now);
        }
        tries.push(TriesWhy {
            jail: trying.jail.to_string(),
            addr: trying.addr.to_string(),
            tries: trying.tries,
            maxretry: trying.maxretry,
            findtime: trying.findtime.as_secs(),
            lines,
        });
    }
    let is_over = |written: &&Written| !about.bans.iter().any(|ban| tells_of(written, ban));
    let past = written.iter().filter(is_over).map(past).collect();
    let holds = |known: &&Known| known.addr.contains(&addr);
    let blocked =
        about.bans.iter().any(|ban| ban.addr.contains(&addr)) || about.listed_until.is_some();
    Why {
        addr: addr.to_string(),
        blocked: blocked && !about.is_protected,
        bans,
        apiban: Listing {
            listed: about.listed_until.is_some(),
            until: about.listed_until.map(|until| until.as_secs()),
            answer: about.verdict.and_then(|verdict| match verdict {
                Verdict::Listed => Some("listed".to_owned()),
                Verdict::NotListed => Some("not listed".to_owned()),
                Verdict::NoAnswer => None,
            }),
        },
        protected: about.is_protected,
        protected_by: known.iter().filter(holds).cloned().collect(),
        standing: match about.rank {
            Rank::Stranger => "stranger",
            Rank::Known => "known-good",
            Rank::Shared => "shared",
        }
        .to_owned(),
        known_since: about
            .known_since
            .filter(|_| about.rank == Rank::Known)
            .map(|since| since.as_secs()),
        ignored_by: about.ignored_by.iter().map(ToString::to_string).collect(),
        alarms: about.alarms.iter().map(alarm_shown).collect(),
        tries,
        accounts: accounts.shown(),
        packets: kept
            .into_iter()
            .map(packets)
            .chain(stock.into_iter().map(stock_packets))
            .collect(),
        past,
        trouble: Vec::new(),
        dry_run: false,
        for_customer: false,
    }
}

impl Why {
    /// The same for the customer whose address it is: nothing of what others sent, of what
    /// others are to us, and of how we judge.
    pub(super) fn for_customer(mut self) -> Why {
        for ban in &mut self.bans {
            ban.filter = None;
            ban.patterns.clear();
            ban.places.clear();
            ban.lines.clear();
        }
        let addr: Option<Addr> = self.addr.parse().ok();
        let is_his = |text: &str| {
            addr.is_some_and(|addr| {
                text.parse::<Addr>()
                    .is_ok_and(|other| addr.contains(&other))
            })
        };
        let holds_him = |text: &str| {
            addr.is_some_and(|addr| {
                text.parse::<Addr>()
                    .is_ok_and(|other| other.contains(&addr))
            })
        };
        self.bans
            .retain(|ban| holds_him(&ban.ban.addr) || is_his(&ban.ban.addr));
        self.past.retain(|past| is_his(&past.addr));
        self.tries.iter_mut().for_each(|tries| tries.lines.clear());
        if self.standing == "shared" {
            // Whoever tried from there may be another customer.
            self.accounts.clear();
        }
        self.alarms.clear(); // they name accounts, and say how we judge
        self.protected_by.clear();
        self.ignored_by.clear();
        self.trouble.clear();
        self.for_customer = true;
        self
    }
}

fn last(lines: &[String]) -> Vec<String> {
    lines
        .iter()
        .skip(lines.len().saturating_sub(LINES_SHOWN))
        .cloned()
        .collect()
}

/// Is this ban, which is in force, the one that was written down? By the wall's clock another
/// one of its address may lie behind it, if that was set back.
fn tells_of(written: &Written, ban: &Ban) -> bool {
    // It is written in whole seconds.
    let apart = written.since.as_micros().abs_diff(ban.since.as_micros());
    written.jail == ban.jail && written.addr == ban.addr && apart <= 1_000_000
}

fn past(written: &Written) -> PastWhy {
    PastWhy {
        jail: written.jail.to_string(),
        addr: written.addr.to_string(),
        since: written.since.as_secs(),
        secs: written.secs,
        reason: written.reason.map(|reason| reason.word().to_owned()),
        tries: written.tries,
    }
}

fn packets((set, kept): (Set, Kept)) -> Packets {
    let family = match kept.addr.is_ipv6() {
        true => Family::V6,
        false => Family::V4,
    };
    Packets {
        set: Name::of(&set, family).to_string(),
        addr: kept.addr.to_string(),
        packets: kept.packets,
        bytes: kept.bytes,
        passed: set == Set::Allow,
    }
}

fn stock_packets((layout, kept): (Layout, Kept)) -> Packets {
    Packets {
        set: layout.place(),
        addr: kept.addr.to_string(),
        packets: kept.packets,
        bytes: kept.bytes,
        passed: false,
    }
}

/// Accounts, as the lines name them.
struct Accounts {
    /// Whose lines count.
    addr: Addr,
    by_user: BTreeMap<Option<String>, Account>,
}

impl Accounts {
    fn new(addr: Addr) -> Accounts {
        Accounts {
            addr,
            by_user: BTreeMap::new(),
        }
    }

    /// Shows lines to the jail's own filter again, and says which patterns find them.
    fn read(&mut self, jail: &JailConfig, lines: &[String], now: Time) -> Vec<String> {
        let mut lineup = Lineup::new(vec![jail.attached()], 0, TimeZone::system(), now);
        let (mode, ask) = (Mode::Trusting, Ask::First);
        let mut patterns: Vec<String> = Vec::new();
        for line in lines {
            let block = format!("{}\n", line.replace('\n', " "));
            lineup.matches(
                block.as_bytes(),
                Reading { mode, now, ask },
                |_, _, found| {
                    let pattern = jail.filter.failregex(found.form);
                    patterns.extend(
                        pattern
                            .filter(|pattern| !patterns.iter().any(|one| one == pattern))
                            .map(str::to_owned),
                    );
                    let from = found.addr().filter(|from| self.addr.contains(from));
                    if let Some(from) = from.filter(|_| found.sight.is_none()) {
                        let user = found.groups.full("user").map(str::to_owned);
                        self.add(user, found.time, line, from);
                    }
                },
            );
        }
        patterns
    }

    fn add(&mut self, user: Option<String>, time: Time, line: &str, from: Addr) {
        if self.by_user.len() >= ACCOUNTS_SHOWN && !self.by_user.contains_key(&user) {
            return;
        }
        let account = self.by_user.entry(user.clone()).or_default();
        account.user = user;
        account.lines += 1;
        account.last = account.last.max(time.as_secs());
        keep(&mut account.ports, port(line, from));
        keep(&mut account.user_agents, captured(&USER_AGENT, line));
        keep(&mut account.extensions, captured(&EXTENSION, line));
    }

    /// The one that was tried last comes first.
    fn shown(self) -> Vec<Account> {
        let mut accounts: Vec<Account> = self.by_user.into_values().collect();
        accounts.sort_by_key(|account| std::cmp::Reverse(account.last));
        accounts
    }
}

fn keep<T: PartialEq>(kept: &mut Vec<T>, value: Option<T>) {
    if let Some(value) = value
        && kept.len() < DEVICES_SHOWN
        && !kept.contains(&value)
    {
        kept.push(value);
    }
}

/// How servers write what a device calls itself.
static USER_AGENT: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r#"(?i)\buser-?agent[ =:]{1,2}["']([^"']{1,120})["']"#).ok());

/// How servers write whom it calls.
static EXTENSION: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r#"(?i)\bextension ["']([^"']{1,64})["']"#).ok());

fn captured(pattern: &LazyLock<Option<Regex>>, line: &str) -> Option<String> {
    let captures = pattern.as_ref()?.captures(line)?;
    Some(captures.get(1)?.as_str().to_owned())
}

/// The port behind an address: `192.0.2.7:5060`, `[2001:db8::7]:5060`, `192.0.2.7/5060`.
fn port(line: &str, addr: Addr) -> Option<u16> {
    let ip = addr.ip().to_string();
    let ports = line.match_indices(&ip).filter_map(|(at, ip)| {
        let rest = line.get(at + ip.len()..)?;
        let rest = rest.strip_prefix(']').unwrap_or(rest);
        let rest = rest.strip_prefix([':', '/'])?;
        let end = rest.find(|letter: char| !letter.is_ascii_digit());
        rest.get(..end.unwrap_or(rest.len()))?.parse().ok()
    });
    ports.last()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_tells_of_the_ban_that_began_then() {
        let ban = Ban {
            jail: "sshd".into(),
            addr: "192.0.2.7".parse().unwrap(),
            since: Time::from_secs_f64(100_000.6),
            until: None,
            reason: Reason::MaxRetry,
            tries: 5,
        };
        for (jail, addr, since, expected) in [
            ("sshd", "192.0.2.7", 100_001, true),
            ("sshd", "192.0.2.7", 99_000, false), // over, or before the clock was set forward
            ("sshd", "192.0.2.7", 110_800, false), // over, before the clock was set back
            ("sshd", "192.0.2.0/24", 100_001, false),
            ("asterisk", "192.0.2.7", 100_001, false),
        ] {
            let written = Written {
                jail: jail.into(),
                addr: addr.parse().unwrap(),
                since: Time::from_secs(since),
                secs: None,
                count: 1,
                reason: None,
                tries: 5,
                lines: Vec::new(),
            };
            assert_eq!(tells_of(&written, &ban), expected, "{jail} {addr} {since}");
        }
    }

    #[test]
    fn devices_as_lines_show_them() {
        for (line, port_, agent, extension) in [
            (
                "Request 'INVITE' from '<sip:x@y>' failed for '192.0.2.7:5071' (callid: z) - No matching endpoint",
                Some(5071),
                None,
                None,
            ),
            (
                "RemoteAddress=\"IPV4/UDP/192.0.2.7/40000\"",
                Some(40000),
                None,
                None,
            ),
            (
                "Call from '' (192.0.2.7:5060) to extension '900442030' rejected",
                Some(5060),
                None,
                Some("900442030"),
            ),
            (
                "OPTIONS from 192.0.2.7 blocked because UserAgent 'friendly-scanner' is blacklisted",
                None,
                Some("friendly-scanner"),
                None,
            ),
            ("from 192.0.2.77:5060 and 192.0.2.7:99999", None, None, None),
        ] {
            let addr: Addr = "192.0.2.7".parse().unwrap();
            assert_eq!(port(line, addr), port_, "{line}");
            assert_eq!(captured(&USER_AGENT, line).as_deref(), agent, "{line}");
            assert_eq!(captured(&EXTENSION, line).as_deref(), extension, "{line}");
        }
        let v6: Addr = "2001:db8::7".parse().unwrap();
        assert_eq!(port("failed for '[2001:db8::7]:5060' (", v6), Some(5060));
    }
}
