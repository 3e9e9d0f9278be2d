//! Bans that wait until the logs are read up to the present.
//!
//! A start reads what was written before it, from the oldest line on. At a first start, when
//! nobody is known yet, the failures of an office may stand before the logins that show it to
//! be one. So what convicts a stranger meanwhile waits for the end of that reading, which
//! takes moments: then all that the logs tell of him is known, and the door decides. A line
//! that is written after the start convicts at once.
//!
//! Only bans of our own jails wait, since theirs alone depend on standings.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use super::flows::Case;
use super::{Effect, Engine, ends_later_or_same};
use crate::addr::Addr;
use crate::jail::standing::Rank;
use crate::ticket::{Alarm, Ban, JailName, Reason, Testimony};
use crate::time::Time;

/// Bans that may wait at once; one more is not put off.
const WAITING_MAX: usize = 4_096;

/// See the module's header.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    /// When the start was, as long as what was written before it is read.
    started: Option<Time>,
    waiting: BTreeMap<(Addr, JailName), Case>,
    /// Alarms about those whose bans wait.
    alarms: Vec<Alarm>,
}

impl Backlog {
    /// Lets a ban wait; gives it back if it need not. Of two that wait for one address the
    /// one that ends later does.
    fn wait(&mut self, case: Case) -> Option<Case> {
        let is_full = self.waiting.len() >= WAITING_MAX;
        let is_old = self.started.is_some_and(|started| case.ban.since < started);
        if !is_old {
            return Some(case);
        }
        match self.waiting.entry((case.ban.addr, case.ban.jail.clone())) {
            Entry::Occupied(mut known) => {
                let known = known.get_mut();
                let tries = known.ban.tries.max(case.ban.tries);
                if !ends_later_or_same(&known.ban, &case.ban) {
                    *known = case;
                }
                known.ban.tries = tries;
            }
            Entry::Vacant(_) if is_full => return Some(case),
            Entry::Vacant(room) => {
                room.insert(case);
            }
        }
        None
    }

    /// After how many tries a ban of this address waits that is for this reason.
    pub(super) fn guesses(&self, addr: &Addr, reason: Reason) -> u32 {
        if self.waiting.is_empty() {
            return 0;
        }
        let of_addr = self.waiting.range((*addr, JailName::from(""))..);
        let bans = of_addr.map(|(_, case)| &case.ban);
        let bans = bans.take_while(|ban| ban.addr == *addr);
        let guesses = bans.filter(|ban| ban.reason == reason);
        guesses.map(|ban| ban.tries).max().unwrap_or(0)
    }
}

impl Engine {
    /// An account seems to be cracked. Whose ban waits may turn out to be an office.
    pub(super) fn suspect_crack(&mut self, alarm: Alarm, effects: &mut Vec<Effect>) {
        let has_room = self.backlog.alarms.len() < WAITING_MAX;
        let waits = |addr, reason| self.backlog.guesses(&addr, reason) > 0;
        let reasons = [Reason::MaxRetry, Reason::Hints];
        let may_wait = |addr| has_room && reasons.iter().any(|reason| waits(addr, *reason));
        match alarm.addr.is_some_and(may_wait) {
            true => self.backlog.alarms.push(alarm),
            false => self.alarm(alarm, effects),
        }
    }

    /// Says that logs are read which were written before now, until
    /// [`Event::CaughtUp`](super::Event::CaughtUp). Where anybody's standing is known from
    /// before, nothing waits for that.
    pub fn reads_back(&mut self, now: Time) {
        if self.target.count(now) == (0, 0) {
            // Lines have whole seconds: what is written in this one is not old.
            self.backlog.started = Some(Time::from_secs(now.as_secs()));
        }
    }

    /// A jail of ours has convicted a stranger.
    pub(super) fn convict(
        &mut self,
        ban: Ban,
        testimony: Testimony,
        now: Time,
        effects: &mut Vec<Effect>,
    ) {
        let case = Case { ban, testimony };
        let case = match self.is_ours(&case.ban.jail) {
            true => self.backlog.wait(case),
            false => Some(case),
        };
        if let Some(case) = case {
            self.decide(case, now, effects);
        }
    }

    fn decide(&mut self, case: Case, now: Time, effects: &mut Vec<Effect>) {
        let Case { ban, testimony } = case;
        match ban.reason {
            Reason::Hints | Reason::Scan => self.suspect(ban, testimony, now, effects),
            _ => {
                // The door may stay shut; then there is nothing to do.
                let _shut = self.impose(ban, testimony, now, effects);
            }
        }
    }

    /// All that was written before the start is read: what waits for that is decided.
    pub(super) fn caught_up(&mut self, now: Time, effects: &mut Vec<Effect>) {
        self.backlog.started = None;
        for case in std::mem::take(&mut self.backlog.waiting).into_values() {
            self.decide(case, now, effects);
        }
        for alarm in std::mem::take(&mut self.backlog.alarms) {
            let rank = alarm.addr.map(|addr| self.rank(&addr, now));
            if rank != Some(Rank::Shared) {
                self.alarm(alarm, effects);
            }
        }
    }
}
