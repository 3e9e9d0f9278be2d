//! What the engine knows of one address, for whoever asks why.

use std::time::Duration;

use super::{Engine, offender};
use crate::addr::Addr;
use crate::feed::verdicts::Cached;
use crate::jail::standing::Rank;
use crate::ticket::{Alarm, Ban, JailName, Verdict};
use crate::time::Time;

/// Bans that are shown; an operator who asks for a large prefix does not want all of them.
const BANS_MAX: usize = 64;

/// See the module's header.
#[derive(Debug)]
pub struct About {
    /// Whom a failure of it would be counted for: its /64 if it is an IPv6 host.
    pub offender: Addr,
    /// Bans on it, on a prefix around it, or on a part of it.
    pub bans: Vec<Ban>,
    /// Is the whole of it protected?
    pub is_protected: bool,
    /// Jails that ignore it.
    pub ignored_by: Vec<JailName>,
    /// Until when APIBAN's list holds it.
    pub listed_until: Option<Time>,
    /// What APIBAN answered about it lately.
    pub verdict: Option<Verdict>,
    /// Tries that were not enough yet.
    pub tries: Vec<Trying>,
    /// What it is to our own jails.
    pub rank: Rank,
    /// Since when it is known-good.
    pub known_since: Option<Time>,
    /// Alarms about it, about a prefix around it, or about a part of it, the newest first.
    pub alarms: Vec<Alarm>,
}

/// What one jail has counted of it so far.
#[derive(Debug)]
pub struct Trying {
    /// Which jail.
    pub jail: JailName,
    /// Whom it counts: the address, or the prefix.
    pub addr: Addr,
    /// The tries on the account.
    pub tries: u32,
    /// The tries that are too many.
    pub maxretry: u32,
    /// Within how long.
    pub findtime: Duration,
    /// The last lines that tell of them, a newline between them.
    pub lines: Box<str>,
}

impl Engine {
    /// What is known of an address or a prefix.
    pub fn about(&mut self, addr: Addr, now: Time) -> About {
        let mut bans = self.ledger.overlapping(&addr);
        bans.truncate(BANS_MAX);
        let ip = addr.ip();
        let verdict = match self.verdicts.lookup(ip, now) {
            Cached::Known(verdict) if addr.is_host() => Some(verdict),
            _ => None,
        };
        let ignores = self.jails.values();
        let ignores = ignores.filter(|jail| jail.rules.ignored.covers(&addr));
        let tries = self.jails.values().filter_map(|jail| {
            let addr = offender(jail, addr, &self.protected);
            let tries = jail.tries(&addr, now);
            (tries > 0).then(|| Trying {
                jail: jail.rules.name.clone(),
                addr,
                tries,
                maxretry: jail.rules.maxretry,
                findtime: jail.rules.findtime,
                lines: jail.lines(&addr).into(),
            })
        });
        let offender = match addr.is_host() {
            true => Addr::offender(ip),
            false => addr,
        };
        let rank = [addr, offender].map(|addr| self.rank(&addr, now));
        let known_since = [addr, offender].map(|addr| self.target.known_since(&addr));
        let is_about = |alarm: &&Alarm| alarm.addr.is_some_and(|other| other.overlaps(&addr));
        let alarms = self.target.alarms().newest().filter(is_about);
        About {
            alarms: alarms.cloned().collect(),
            rank: match rank {
                [Rank::Stranger, rank] | [rank, _] => rank,
            },
            known_since: known_since.into_iter().flatten().min(),
            offender,
            is_protected: self.protected.covers(&addr),
            ignored_by: ignores.map(|jail| jail.rules.name.clone()).collect(),
            listed_until: self
                .listed_until(ip)
                .filter(|until| addr.is_host() && *until > now),
            verdict,
            tries: tries.collect(),
            bans,
        }
    }
}
