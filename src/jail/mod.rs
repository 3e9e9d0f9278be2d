//! A jail judges failures: it counts the tries of each offender and says when
//! they are enough.
//!
//! A jail knows nothing of logs, filters, bans in force or the kernel, and it
//! does no I/O; time and APIBAN's verdict are told to it.

pub mod accounts;
pub mod alarms;
pub mod bantime;
pub mod brake;
pub mod crowd;
pub mod evidence;
pub mod formula;
pub mod history;
pub mod ids;
pub mod protect;
pub mod repeats;
pub mod sources;
pub mod standing;
pub mod window;

use std::time::Duration;

use crate::addr::Addr;
use crate::ticket::{Ban, Failure, FormTries, JailName, Reason, Testimony, Trust, Verdict};
use crate::time::{BanTime, Time};
use bantime::Increment;
use crowd::Crowds;
use evidence::Evidence;
use history::Past;
use ids::Ids;
use protect::Protected;
use window::{Crowded, News, Try, Window};

/// What `jail.conf` says of a jail's judgement.
#[derive(Clone, Debug, PartialEq)]
pub struct Rules {
    /// Its name.
    pub name: JailName,
    /// Tries that are too many.
    pub maxretry: u32,
    /// Within how long.
    pub findtime: Duration,
    /// How many banned offenders of one network are tolerated before it is banned; none if
    /// networks are never banned. (`aggregate`)
    pub aggregate: Option<u32>,
    /// How many lines are kept of an offender as evidence; 0 is none.
    pub maxmatches: u32,
    /// How long a ban lasts.
    pub bantime: BanTime,
    /// How bans of those grow who were banned before. Our own jails leave it off.
    pub increment: Increment,
    /// Is APIBAN asked about its offenders? (`apiban = true`)
    pub apiban: bool,
    /// What is counted, and for whom.
    pub tally: Tally,
    /// Can its action ban hosts only? Then nobody's network is banned in his place.
    pub hosts_only: bool,
    /// How long a ban lasts that rests on what a forged packet can cause (`hints`). Without
    /// it every failure counts as proven.
    pub hints: Option<BanTime>,
    /// How often a stranger may be asked to authenticate without doing so within `findtime`
    /// (`maxchallenges`). Without it challenges are not counted.
    pub maxchallenges: Option<u32>,
    /// Whom this jail never bans (`ignoreip`); names among them were looked up.
    pub ignored: Protected,
}

impl Rules {
    /// How long a ban lasts that is laid on for this reason.
    pub fn bantime_of(&self, reason: Reason) -> BanTime {
        match (reason, self.hints) {
            (Reason::Hints | Reason::Scan, Some(short)) => short,
            _ => self.bantime,
        }
    }

    /// Would a ban for a reason of this jail's own be over by now?
    pub fn is_over(&self, reason: Reason, since: Time, now: Time) -> bool {
        let end = self.bantime_of(reason).end(since);
        reason != Reason::Listed && end.is_some_and(|end| end <= now)
    }
}

/// What a jail counts, and for whom.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tally {
    /// Tries, as our own jails do: a try that is written in several forms or to several
    /// logs counts once, and an IPv6 offender is his /64.
    Tries,
    /// Matches, as fail2ban does: each counts, and each address is by itself.
    #[default]
    Matches,
}

/// What a jail says of a failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// Not yet enough; so many tries are on the account.
    Tries(u32),
    /// Enough: ban.
    Ban {
        /// Why.
        reason: Reason,
        /// After so many tries.
        tries: u32,
        /// From the time of the last of them.
        since: Time,
        /// What the log says of them.
        testimony: Testimony,
    },
}

/// One jail: its rules and its window.
#[derive(Debug)]
pub struct Jail {
    /// Its rules; a reload replaces them and keeps the window.
    pub rules: Rules,
    window: Window,
    evidence: Evidence,
    ids: Ids,
    crowds: Crowds,
    /// Failures seen since the start.
    pub failures_total: u64,
    /// Bans that it laid on since the start, and those that went on then.
    pub bans_total: u64,
}

impl Jail {
    /// A jail in which nobody has failed yet.
    pub fn new(rules: Rules) -> Self {
        Jail {
            rules,
            window: Window::default(),
            evidence: Evidence::default(),
            ids: Ids::default(),
            crowds: Crowds::default(),
            failures_total: 0,
            bans_total: 0,
        }
    }

    /// How sure this jail is of a failure.
    pub fn trust(&self, failure: &Failure) -> Trust {
        match self.rules.hints {
            Some(_) => failure.trust,
            None => Trust::Proof,
        }
    }

    /// For whom a failure counts that would count for `offender` by its address: as in
    /// fail2ban, those of one id (`<F-ID>`) count for the first of them.
    pub fn counted_for(&mut self, failure: &Failure, offender: Addr) -> Addr {
        let Some(id) = failure.id().filter(|_| self.rules.tally == Tally::Matches) else {
            return offender;
        };
        let (window, form) = (&self.window, ids::form(id));
        self.ids
            .offender(id, offender, |known| window.has(known, form))
    }

    /// Counts a failure for `offender` and judges it, with so many times the patience that
    /// it has for strangers. `past` is what this jail knows of the offender.
    pub fn judge(
        &mut self,
        failure: &Failure,
        offender: Addr,
        patience: u32,
        verdict: Verdict,
        past: Option<Past>,
        now: Time,
    ) -> Judgement {
        let findtime = self.rules.findtime;
        let maxretry = self.rules.maxretry.saturating_mul(patience);
        self.failures_total += 1;
        let form = match self.rules.tally {
            Tally::Tries => failure.form,
            Tally::Matches => failure.id().map_or(0, ids::form),
        };
        let one = Try {
            form,
            time: failure.time,
            trust: self.trust(failure),
        };
        self.window.forget_silent(&offender, now, findtime);
        if self.window.last(&offender).is_none() {
            self.evidence.take(&offender);
        }
        let maxmatches = self.rules.maxmatches;
        self.evidence.add(offender, failure, maxmatches);
        let mut tries = self.window.add(offender, one, findtime);
        if self.rules.increment.enabled && tries < maxretry {
            let more = bantime::weight(past, failure.time, maxretry) - 1;
            tries = self.window.raise(&offender, one, more, findtime);
        }
        let since = self.window.last(&offender).unwrap_or(failure.time);
        let reason = match verdict {
            Verdict::Listed => Reason::Listed,
            _ if tries < maxretry => return Judgement::Tries(tries),
            _ if self.window.proven(&offender, since, findtime) < maxretry => Reason::Hints,
            _ => Reason::MaxRetry,
        };
        // A match that is weighed, or decayed, was one match all the same.
        let tries = match self.rules.tally {
            Tally::Tries => tries,
            Tally::Matches => self.window.failures(&offender),
        };
        match reason {
            // What is proven counts for the longer ban.
            Reason::Hints => self.window.forget_hints(&offender),
            _ => self.window.forget(&offender),
        }
        Judgement::Ban {
            reason,
            tries,
            since,
            testimony: self.take_testimony(&offender),
        }
    }

    /// Counts a ban of this jail for its network; gives the network and its banned
    /// offenders if they are too many.
    pub fn crowd(&mut self, ban: &Ban, now: Time) -> Option<(Addr, u32)> {
        let tolerated = self.rules.aggregate?;
        self.crowds.add(ban.addr, ban.until, tolerated, now)
    }

    /// Takes out what the log says against an offender, for its ban.
    pub fn take_testimony(&mut self, offender: &Addr) -> Testimony {
        self.evidence.take(offender)
    }

    /// The last lines that tell of an offender, a newline between them.
    pub fn lines(&self, offender: &Addr) -> &str {
        self.evidence.lines(offender)
    }

    /// The tries of an offender that count at `now`.
    pub fn tries(&self, offender: &Addr, now: Time) -> u32 {
        self.window.tries(offender, now, self.rules.findtime)
    }

    /// The proven tries of an offender that count at `now`.
    pub fn proven(&self, offender: &Addr, now: Time) -> u32 {
        self.window.proven(offender, now, self.rules.findtime)
    }

    /// Forgets what an offender did.
    pub fn forget(&mut self, offender: &Addr) {
        self.window.forget(offender);
    }

    /// Forgets what all offenders inside `addr` did.
    pub fn forget_inside(&mut self, addr: &Addr) {
        self.crowds.forget(addr);
        self.window.forget_inside(addr);
    }

    /// Forgets those who were silent for `findtime`.
    pub fn expire(&mut self, now: Time) {
        self.window.expire(now, self.rules.findtime);
    }

    /// What must be written down of its tries since this was last asked.
    pub fn news(&mut self) -> News {
        self.window.news()
    }

    /// Has all of its tries written down anew.
    pub fn renew(&mut self) {
        self.window.renew();
    }

    /// Takes over what was written down of an offender's tries.
    pub fn restore(&mut self, offender: Addr, forms: Vec<FormTries>, now: Time) {
        let findtime = self.rules.findtime;
        self.window.restore(offender, forms, now, findtime);
    }

    /// Who was forgotten although his tries still counted.
    pub fn crowded(&self) -> Option<Crowded> {
        self.window.crowded()
    }

    /// Offenders under watch now.
    pub fn failing(&self) -> usize {
        self.window.len()
    }
}
