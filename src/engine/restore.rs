//! After a start: what was in force before, by the database and by the kernel, is in
//! force again.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use super::{Effect, Engine, LIST_PART, Tell, allow, block, unblock};
use crate::addr::Addr;
use crate::ban::archive::is_from_kernel;
use crate::ban::listed::Listed;
use crate::ban::record::{OldBan, PastBan, Record};
use crate::jail::history::Past;
use crate::jail::{Jail, Rules};
use crate::ticket::{Ban, Entry, JailName, KeptStanding, KeptTries, Order, Reason, Set, Testimony};
use crate::time::Time;

/// A kernel entry that ends this much before its ban is not laid on again at start:
/// the rounding of seconds, and the moments between two looks.
const KERNEL_SLACK_SECS: u32 = 2;

/// A ban that begins in the future by more than the rounding of its time was written down
/// by a clock that was set back since.
const FUTURE_MAX: Duration = Duration::from_secs(1);

/// The page number of a load that is not the feed's.
pub(super) const NO_PAGE: u64 = u64::MAX;

/// Whom sets hold in the kernel, and for how many seconds.
pub type Held = BTreeMap<Set, HashMap<Addr, u32>>;

/// What was in force before the start.
#[derive(Debug, Default)]
pub struct Before {
    /// By the database.
    pub bans: Vec<OldBan>,
    /// Who was banned before, by the database, the oldest first.
    pub history: Vec<PastBan>,
    /// Tries that were not too many yet, by the database, the oldest first.
    pub tries: Vec<KeptTries>,
    /// What makes addresses known-good or shared, by the database, the oldest first.
    pub standings: Vec<KeptStanding>,
    /// APIBAN's list, by the database.
    pub listed: Listed,
    /// By the kernel, but for the list.
    pub kernel: Held,
    /// Has the database lost some of it?
    pub lost: bool,
}

impl Engine {
    /// Takes over what was in force before the start: the database's bans and list,
    /// and what the kernel's sets still hold, of the list `on_list`. What the kernel lacks is
    /// ordered again, but for the list: see [`missing_on_list`](Self::missing_on_list). What
    /// only the kernel knows (the daemon was killed before it wrote it down) is taken over
    /// for the rest of its time.
    pub fn restore(
        &mut self,
        before: Before,
        on_list: &Listed,
        now: Time,
        effects: &mut Vec<Effect>,
    ) {
        let mut in_kernel = before.kernel;
        self.restore_standings(before.standings, now, effects);
        self.restore_protected(in_kernel.remove(&Set::Allow).unwrap_or_default(), effects);
        for PastBan {
            jail,
            addr,
            count,
            latest,
        } in before.history
        {
            self.history.put(&jail, addr, Past { count, latest });
        }
        for (set, entries) in &in_kernel {
            if let Set::Jail(jail) = set
                && self.jails.contains_key(jail)
            {
                self.ledger.reserve(jail, entries.len());
            }
        }
        let mut records = Vec::new();
        for ban in before.bans {
            self.restore_ban(ban, &mut in_kernel, now, effects);
        }
        // Nobody knows for which jail these are held back, so they are let go.
        for addr in in_kernel
            .remove(&Set::Throttled)
            .unwrap_or_default()
            .into_keys()
        {
            effects.push(unblock(Set::Throttled, addr));
        }
        for (jail, entries) in jails_of(in_kernel) {
            for (addr, timeout_secs) in entries {
                let until = Some(now + Duration::from_secs(u64::from(timeout_secs)));
                let record = self.take_over(&jail, addr, until, now, effects);
                records.extend(record);
            }
        }
        self.restore_tries(before.tries, now);
        self.restore_list(before.listed, on_list, now, effects);
        effects.append(&mut records);
        for jail in self.jails.keys() {
            let bans = self.ledger.len_of(jail);
            if bans > 0 {
                let jail = jail.clone();
                effects.push(Effect::Tell(Tell::Restored { jail, bans }));
            }
        }
    }

    /// Takes over whom the kernel holds for a jail in a place where nothing expires, and the
    /// ledger does not know since the database has lost it: for the jail's ban time, as nobody
    /// knows how much of it is left.
    pub fn adopt(
        &mut self,
        jail: &JailName,
        held: impl IntoIterator<Item = Addr>,
        now: Time,
        effects: &mut Vec<Effect>,
    ) {
        let Some(until) = self.jails.get(jail).map(|jail| jail.rules.bantime.end(now)) else {
            return; // it does not run, since it has a mistake: what it has stays
        };
        let mut records = Vec::new();
        for addr in held {
            if self.ledger.get(jail, &addr).is_none() {
                records.extend(self.take_over(jail, addr, until, now, effects));
            }
        }
        let bans = records.len();
        effects.append(&mut records);
        if bans > 0 {
            let jail = jail.clone();
            effects.push(Effect::Tell(Tell::Adopted { jail, bans }));
        }
    }

    /// Takes over one whom only the kernel holds; who may not be banned is let go there.
    fn take_over(
        &mut self,
        jail: &JailName,
        addr: Addr,
        until: Option<Time>,
        now: Time,
        effects: &mut Vec<Effect>,
    ) -> Option<Effect> {
        let ignores = |jail: &Jail| jail.rules.ignored.covers(&addr);
        let is_free = self.jails.get(jail).is_none_or(ignores);
        if is_free || self.protected.covers(&addr) {
            effects.push(unblock(Set::Jail(jail.clone()), addr));
            return None;
        }
        let ban = Ban {
            jail: jail.clone(),
            addr,
            since: now,
            until,
            reason: Reason::MaxRetry,
            tries: 0,
        };
        self.count_ban(&ban);
        self.enter(&ban, now);
        // It was killed before it was written down: one more than is written.
        let before = self.past(&ban.jail, &ban.addr).map_or(0, |past| past.count);
        Some(self.recorded(&ban, Testimony::default(), before.saturating_add(1)))
    }

    /// Puts back in force what the database held, when it could be read only now: what
    /// has happened since goes before it, and counts go on. The list is not ordered.
    pub fn restore_late(&mut self, before: Before, now: Time, effects: &mut Vec<Effect>) {
        self.restore_standings(before.standings, now, effects);
        for past in before.history {
            let since = self.history.of(&past.jail, &past.addr);
            let past_now = Past {
                count: since
                    .map_or(0, |since| since.count)
                    .saturating_add(past.count),
                latest: since.map_or(past.latest, |since| since.latest.max(past.latest)),
            };
            self.history.put(&past.jail, past.addr, past_now);
        }
        for ban in before.bans {
            let held = self.ledger.get(&ban.jail, &ban.addr);
            if held.is_none_or(|held| is_from_kernel(&held)) {
                self.restore_ban(ban, &mut Held::new(), now, effects);
            }
        }
        self.restore_list(before.listed, &Listed::default(), now, effects);
    }

    /// Puts back in force what the database holds of jails that a reload brought back. Who
    /// was banned before is known already; what has happened since goes before it. Whom only
    /// the kernel holds was pardoned while nobody looked after that set, unless the database
    /// has lost him.
    pub fn bring_back(&mut self, before: Before, now: Time, effects: &mut Vec<Effect>) {
        let mut in_kernel = before.kernel;
        for ban in before.bans {
            if self.ledger.get(&ban.jail, &ban.addr).is_none() {
                self.restore_ban(ban, &mut in_kernel, now, effects);
            }
        }
        for (jail, mut left) in jails_of(in_kernel) {
            left.retain(|(addr, _)| self.ledger.get(&jail, addr).is_none());
            for (addr, timeout_secs) in left {
                if before.lost {
                    let until = Some(now + Duration::from_secs(u64::from(timeout_secs)));
                    let record = self.take_over(&jail, addr, until, now, effects);
                    effects.extend(record);
                } else {
                    effects.push(unblock(Set::Jail(jail.clone()), addr));
                }
            }
        }
        self.restore_tries(before.tries, now);
    }

    /// Has the times of all that is in force written down anew, since the clock by which they
    /// were written was set: bans and standings at once, tries with the next reading.
    pub fn record_times(&mut self, effects: &mut Vec<Effect>) {
        let bans = self.jails.keys().flat_map(|jail| self.ledger.of_jail(jail));
        effects.extend(bans.map(|ban| Effect::Record(Record::Prolonged(ban))));
        self.record_standings(effects);
        self.jails.values_mut().for_each(Jail::renew);
    }

    /// Has every ban in force written down, for a database that may not know it.
    pub fn record_all(&self, effects: &mut Vec<Effect>) {
        let bans = self.jails.keys().flat_map(|jail| self.ledger.of_jail(jail));
        effects.extend(bans.map(|ban| {
            let past = self.history.of(&ban.jail, &ban.addr);
            Effect::Record(Record::Standing(ban, past.map_or(1, |past| past.count)))
        }));
        self.record_standings(effects);
    }

    fn restore_ban(
        &mut self,
        old: OldBan,
        in_kernel: &mut Held,
        now: Time,
        effects: &mut Vec<Effect>,
    ) {
        let set = match old.reason {
            Reason::Throttled => Set::Throttled,
            _ => Set::Jail(old.jail.clone()),
        };
        let addr = old.addr;
        let held = in_kernel
            .get_mut(&set)
            .and_then(|entries| entries.remove(&addr));
        let jail = self.jails.get(&old.jail);
        let ban = jail
            .filter(|jail| {
                let is_ignored = jail.rules.ignored.covers(&addr) && old.reason != Reason::Operator;
                !self.protected.covers(&addr) && !is_ignored
            })
            .and_then(|jail| restored(&jail.rules, old, now));
        match ban.and_then(|ban| Some((block(&ban, now)?, ban))) {
            Some((order, ban)) => {
                if !lasts_long_enough(held, &order) {
                    effects.push(Effect::Order(order));
                }
                self.count_ban(&ban);
                self.enter(&ban, now);
                self.crowd_again(&ban, now);
            }
            None if held.is_some() => {
                effects.push(Effect::Order(Order::Unblock { set, addr }));
            }
            None => {}
        }
    }

    /// Tries that were made since are not written over.
    fn restore_tries(&mut self, tries: Vec<KeptTries>, now: Time) {
        for KeptTries { jail, addr, forms } in tries {
            if self.ledger.get(&jail, &addr).is_none()
                && let Some(jail) = self.jails.get_mut(&jail)
                && jail.tries(&addr, now) == 0
            {
                jail.restore(addr, forms, now);
            }
        }
    }

    fn restore_protected(&self, held: HashMap<Addr, u32>, effects: &mut Vec<Effect>) {
        let wanted = self.protected.addrs();
        for addr in wanted.iter().filter(|addr| !held.contains_key(addr)) {
            effects.push(allow(*addr));
        }
        for addr in held.keys().filter(|addr| !wanted.contains(addr)) {
            effects.push(unblock(Set::Allow, *addr));
        }
    }

    fn restore_list(
        &mut self,
        mut listed: Listed,
        held: &Listed,
        now: Time,
        effects: &mut Vec<Effect>,
    ) {
        let is_spared = |ip| self.is_spared(&Addr::host(ip), now);
        listed.retain(|ip, expires| expires > now && !is_spared(ip));
        self.list.add_missing(listed);
        for (ip, expires) in held.iter() {
            let addr = Addr::host(ip);
            if self.is_spared(&addr, now) {
                effects.push(unblock(Set::List, addr));
            } else if self.list.get(&ip).is_none() {
                self.list.insert(ip, expires);
            }
        }
    }

    /// Orders for those on the list whom the kernel does not hold, or not for as long; in
    /// parts, since together they would take more memory than the list.
    pub fn missing_on_list(&self, held: &Listed, now: Time) -> impl Iterator<Item = Order> {
        let slack = Duration::from_secs(u64::from(KERNEL_SLACK_SECS));
        let is_missing = move |entry: &Entry| {
            let least = Duration::from_secs(u64::from(entry.timeout_secs));
            let lasts = |end: Time| end.since(now) + slack >= least;
            !held.get(&entry.addr.ip()).is_some_and(lasts)
        };
        let mut missing = self.entries(&Set::List, now).filter(is_missing);
        std::iter::from_fn(move || {
            let entries: Arc<[Entry]> = missing.by_ref().take(LIST_PART).collect();
            (!entries.is_empty()).then_some(Order::Load {
                set: Set::List,
                page: NO_PAGE,
                entries,
            })
        })
    }
}

/// Does the kernel hold an entry for as long as the order wants it to?
fn lasts_long_enough(held: Option<u32>, order: &Order) -> bool {
    match (held, order) {
        (Some(held), Order::Block { entry, .. }) => {
            held.saturating_add(KERNEL_SLACK_SECS) >= entry.timeout_secs
        }
        _ => false,
    }
}

/// What is left of a ban after a restart, by its jail's rules. A ban that the rules did
/// not make (APIBAN's, an operator's) keeps its own length.
fn restored(rules: &Rules, mut old: OldBan, now: Time) -> Option<Ban> {
    // A clock that was set back since, or does not know the time yet, must not make it
    // last for longer than it was meant to.
    if old.since > now + FUTURE_MAX {
        old.since = now;
    }
    let bantime = match (old.reason, old.bantime) {
        (Reason::Listed | Reason::Operator, Some(bantime)) => bantime,
        (_, kept) => rules
            .increment
            .restored(rules.bantime, old.since, kept, now)?,
    };
    Some(Ban {
        jail: old.jail,
        addr: old.addr,
        since: old.since,
        until: bantime.end(old.since),
        reason: old.reason,
        tries: old.tries,
    })
}

/// What sets of jails hold, in order.
fn jails_of(in_kernel: Held) -> impl Iterator<Item = (JailName, Vec<(Addr, u32)>)> {
    in_kernel
        .into_iter()
        .filter_map(|(set, entries)| match set {
            Set::Jail(jail) => {
                let mut entries: Vec<_> = entries.into_iter().collect();
                entries.sort_unstable();
                Some((jail, entries))
            }
            _ => None,
        })
}
