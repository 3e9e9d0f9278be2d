//! The engine owns everything that changes: jails, the ledger of bans, APIBAN's
//! verdicts and list. It is a function: events and the time go in, effects come out.
//!
//! No I/O, no lock, no clock, and nothing in it can fail at run time; last
//! night's log can be played to it again. Effects come in a fixed order for each
//! event: first the orders to the kernel, since they protect, then what is to be
//! recorded, then what is to be told.

mod about;
mod again;
mod backlog;
mod crowd;
mod event;
mod flows;
mod list;
mod operator;
mod restore;
mod target;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::time::Duration;

use fastrand::Rng;
use lru::LruCache;

use crate::addr::{self, Addr};
use crate::ban::listed::Listed;
use crate::ban::record::{Place, Reading, Record, rounded};
use crate::ban::{Due, Ledger};
use crate::feed::Command;
use crate::feed::verdicts::{Cached, Verdicts};
use crate::jail::bantime::Increment;
use crate::jail::history::{History, Past};
use crate::jail::protect::Protected;
use crate::jail::standing::Rank;
use crate::jail::{Jail, Judgement, Rules, Tally};
use crate::ticket::{
    Ban, Entry, Failure, JailName, KeptTries, Order, Reason, Set, Testimony, Verdict,
};
use crate::time::{BanTime, Time};

pub use about::{About, Trying};
pub use again::LIST_PART;
use backlog::Backlog;
pub use event::{Checks, Effect, Event, Refusal, Tell};
pub use list::CURSOR_FACTS;
use list::WaitingPage;
use operator::operators_rules;
pub use operator::{OPERATOR_JAIL, Pardon};
pub use restore::{Before, Held};
pub use target::Target;

/// How long an address is banned that APIBAN confirms, at least. It is as long as
/// the confirmation is remembered; whoever fails after that is asked for again.
const LISTED_BANTIME: Duration = Duration::from_secs(86_400);

/// A line of a banned address this long after its ban, and after drops were laid on, means
/// that packets still come through, so the order is given again. Lines that were on their
/// way by then arrive sooner.
const STRAGGLERS: Duration = Duration::from_secs(3);

/// How often that is done for one ban: under attack nobody wants a line for each packet.
const AGAIN_EVERY: Duration = Duration::from_secs(60);

/// Bans for which that is remembered, and the most that are ordered again in this time:
/// when somebody has flushed the firewall, very many are seen.
const AGAIN_MAX: NonZeroUsize = NonZeroUsize::new(1_024).unwrap();

/// How often the silent are forgotten and expired list entries dropped.
const HOUSEKEEPING: Duration = Duration::from_secs(60);

/// See the module's header.
#[derive(Debug)]
pub struct Engine {
    jails: BTreeMap<JailName, Jail>,
    ledger: Ledger,
    history: History,
    /// For `bantime.rndtime`; the same start gives the same numbers.
    chance: Rng,
    protected: Protected,
    checks: Checks,
    verdicts: Verdicts,
    asked: HashMap<IpAddr, JailName>,
    list: Listed,
    again: LruCache<(JailName, Addr), Time>,
    /// Since when drops are in force; none while they are lifted.
    laid_since: Option<Time>,
    pages: Vec<WaitingPage>,
    bans_total: u64,
    asks_flows: bool,
    target: Target,
    backlog: Backlog,
    housekeeping: Time,
}

impl Engine {
    /// An engine in which nothing has happened yet.
    pub fn new(rules: Vec<Rules>, protected: Protected, checks: Checks, now: Time) -> Self {
        let mut engine = Engine {
            jails: BTreeMap::new(),
            ledger: Ledger::default(),
            history: History::default(),
            chance: Rng::with_seed(now.as_micros().cast_unsigned()),
            protected,
            checks,
            verdicts: Verdicts::default(),
            asked: HashMap::new(),
            list: Listed::default(),
            again: LruCache::new(AGAIN_MAX),
            laid_since: Some(Time::default()),
            pages: Vec::new(),
            bans_total: 0,
            asks_flows: false,
            target: Target::default(),
            backlog: Backlog::default(),
            housekeeping: now + HOUSEKEEPING,
        };
        let _none_before = engine.set_rules(rules);
        engine
    }

    /// Says that there is somebody who answers [`Effect::AskFlow`]. Until then nobody is
    /// asked, and every answer is a no.
    pub fn flows_can_be_asked(&mut self, yes: bool) {
        self.asks_flows = yes;
    }

    /// Drops are lifted, or in force again: that banned addresses are seen meanwhile is as
    /// it should be.
    pub fn drops_are(&mut self, laid: bool, now: Time) {
        self.laid_since = laid.then_some(now);
    }

    /// New rules after a reload: jails that stay keep their windows.
    /// The bans of jails that are gone leave the kernel; the database keeps them, and the
    /// tries of those jails: [`Engine::bring_back`].
    pub fn reconfigure(
        &mut self,
        rules: Vec<Rules>,
        checks: Checks,
        now: Time,
        effects: &mut Vec<Effect>,
    ) {
        self.checks = checks;
        let mut gone = self.set_rules(rules);
        if !gone.is_empty() {
            let reading = reading(&mut gone, Vec::new(), Vec::new());
            effects.push(Effect::Record(Record::Read(reading)));
        }
        for name in gone.into_keys() {
            let bans: Vec<Ban> = self.ledger.of_jail(&name).collect();
            for ban in bans {
                self.ledger.remove(&name, &ban.addr);
                effects.push(unblock(set_of(&ban), ban.addr));
            }
        }
        let names: Vec<JailName> = self.jails.keys().cloned().collect();
        self.lift_ignored(&names, effects);
        self.tick(now, effects);
    }

    /// Lets go those whom these jails ignore by now, but for whom an operator banned. The list
    /// is long, and is looked through once for all of them.
    fn lift_ignored(&mut self, names: &[JailName], effects: &mut Vec<Effect>) {
        let jails = names.iter().filter_map(|name| self.jails.get(name));
        let (mut bans, mut ignored) = (Vec::new(), Vec::new());
        for Jail { rules, .. } in jails {
            let is_lifted =
                |ban: &Ban| ban.reason != Reason::Operator && rules.ignored.covers(&ban.addr);
            bans.extend(self.ledger.of_jail(&rules.name).filter(is_lifted));
            ignored.extend(rules.ignored.addrs());
        }
        let mut listed: Vec<IpAddr> = Vec::new();
        if !ignored.is_empty() {
            let ignored = Protected::only(ignored);
            let is_ignored = |ip: &IpAddr| ignored.covers(&Addr::host(*ip));
            listed.extend(self.list.ips().filter(is_ignored));
        }
        for ban in &bans {
            self.ledger.remove(&ban.jail, &ban.addr);
            effects.push(unblock(set_of(ban), ban.addr));
        }
        for ip in listed {
            self.list.remove(&ip);
            effects.push(unblock(Set::List, Addr::host(ip)));
        }
        for ban in bans {
            let (jail, addr) = (ban.jail.clone(), ban.addr);
            effects.push(Effect::Record(Record::Unban { jail, addr }));
            effects.push(Effect::Tell(Tell::Unbanned(ban)));
        }
    }

    /// Shall no list hold this address? Whoever is protected, ignored by any jail, or more
    /// than a stranger.
    fn is_spared(&self, addr: &Addr, now: Time) -> bool {
        let mut jails = self.jails.values();
        self.protected.covers(addr)
            || jails.any(|jail| jail.rules.ignored.covers(addr))
            || self.rank(&Addr::offender(addr.ip()), now) != Rank::Stranger
    }

    /// Takes rules over, and hands out the jails that are gone.
    fn set_rules(&mut self, rules: Vec<Rules>) -> BTreeMap<JailName, Jail> {
        let mut before = std::mem::take(&mut self.jails);
        for rules in rules.into_iter().chain([operators_rules()]) {
            let jail = match before.remove(&rules.name) {
                Some(mut jail) => {
                    jail.rules = rules;
                    jail
                }
                None => Jail::new(rules),
            };
            self.jails.insert(jail.rules.name.clone(), jail);
        }
        before
    }

    /// Takes one event; what is to be done is added to `effects`.
    pub fn handle(&mut self, event: Event, now: Time, effects: &mut Vec<Effect>) {
        match event {
            Event::Failure(failure) => self.failure(&failure, now, effects),
            Event::Read { places, cursors } => {
                let reading = reading(&mut self.jails, places, cursors);
                effects.push(Effect::Record(Record::Read(reading)));
            }
            Event::Answer(ip, verdict) => self.answer(ip, verdict, now, effects),
            Event::Page(page) => self.page(page, now, effects),
            Event::Loaded { page, refused } => self.loaded(page, refused, now, effects),
            Event::LoadFailed { page } => self.load_failed(page, effects),
            Event::Refused { set, addr } => self.refused(&set, addr, effects),
            Event::Protect(protected) => self.protect(protected, now, effects),
            Event::Ignored(jail, ignored) => {
                if let Some(known) = self.jails.get_mut(&jail) {
                    known.rules.ignored = ignored;
                }
                self.lift_ignored(&[jail], effects);
            }
            Event::Fact(name, value) => effects.push(Effect::Record(Record::Fact(name, value))),
            Event::Sighting(sighting) => self.sighting(&sighting, now, effects),
            Event::Registered(registrations) => self.registered(registrations, now, effects),
            Event::Flow(addr, ours) => self.flow(addr, ours, now, effects),
            Event::Unanswered(all) => self.unanswered(all, now, effects),
            Event::Infrastructure(addrs) => self.infrastructure(addrs),
            Event::CaughtUp => self.caught_up(now, effects),
            Event::Tick => {}
        }
        self.tick(now, effects);
    }

    /// Is it clear what comes of this failure, whatever anybody says? The address is banned
    /// by this jail, protected, or ignored.
    pub fn is_settled(&self, failure: &Failure) -> bool {
        let offender = self.offender(&failure.jail, failure.addr);
        let jail = self.jails.get(&failure.jail);
        let ignores = |jail: &Jail| jail.rules.ignored.covers(&failure.addr);
        self.protected.covers(&failure.addr)
            || jail.is_none_or(ignores)
            || self.ledger.get(&failure.jail, &offender).is_some()
    }

    /// For whom this jail counts a failure of `addr`.
    pub fn offender(&self, jail: &str, addr: Addr) -> Addr {
        let jail = self.jails.get(jail);
        jail.map_or(addr, |jail| offender(jail, addr, &self.protected))
    }

    /// When [`Event::Tick`] is wanted next, if nothing else happens.
    pub fn next_deadline(&self) -> Option<Time> {
        let busy = !self.list.is_empty()
            || !self.target.is_idle()
            || self.jails.values().any(|jail| jail.failing() > 0);
        let housekeeping = busy.then_some(self.housekeeping);
        let flows = self.target.flows.next_deadline();
        [self.ledger.next_deadline(), flows, housekeeping]
            .into_iter()
            .flatten()
            .min()
    }

    fn failure(&mut self, failure: &Failure, now: Time, effects: &mut Vec<Effect>) {
        let Some(jail) = self.jails.get_mut(&failure.jail) else {
            return;
        };
        let offender = offender(jail, failure.addr, &self.protected);
        let offender = jail.counted_for(failure, offender);
        if self.protected.covers(&failure.addr) || jail.rules.ignored.covers(&failure.addr) {
            effects.push(Effect::Tell(Tell::Protected {
                jail: failure.jail.clone(),
                addr: failure.addr,
            }));
            return self.wrong_source(failure, effects);
        }
        // What is found about the address is told after what is ordered.
        let mut later = Vec::new();
        if let Some(patience) = self.patience(failure, offender, now, &mut later) {
            self.judge(failure, offender, patience, now, effects);
        }
        effects.append(&mut later);
    }

    /// Has its jail judge a failure, and does what follows.
    fn judge(
        &mut self,
        failure: &Failure,
        offender: Addr,
        patience: u32,
        now: Time,
        effects: &mut Vec<Effect>,
    ) {
        let is_stranger = patience == 1;
        let Some(jail) = self.jails.get_mut(&failure.jail) else {
            return;
        };
        let past = self.history.of(&failure.jail, &offender);
        if let Some(ban) = self.ledger.get(&failure.jail, &offender) {
            // A banned address is judged as well, but by its failures alone: a ban that
            // would end later now is prolonged.
            if let Judgement::Ban {
                since,
                reason,
                tries,
                testimony,
            } = jail.judge(failure, offender, patience, Verdict::NoAnswer, past, now)
            {
                let is_for_hints = rests_on_hints(&ban) || ban.reason == Reason::Throttled;
                if is_stranger && is_for_hints && reason == Reason::MaxRetry {
                    if ban.reason == Reason::Throttled {
                        self.ledger.remove(&ban.jail, &offender);
                        effects.push(unblock(Set::Throttled, offender));
                    }
                    let ban = self.sentence(&failure.jail, offender, since, reason, tries);
                    return self.convict(ban, testimony, now, effects);
                }
                if let Some(longer) = prolonged(&ban, jail.rules.bantime_of(reason), since) {
                    return self.prolong(longer, now, effects);
                }
            }
            return self.still_seen(ban, failure.time, now, effects);
        }
        // APIBAN knows hosts.
        let ip = failure.addr.ip();
        let is_asked_for = jail.rules.apiban && failure.addr.is_host() && is_stranger;
        let cached = self.verdicts.lookup(ip, now);
        let verdict = match cached {
            _ if !is_asked_for => Verdict::NoAnswer,
            _ if self.list.get(&ip).is_some_and(|expires| expires > now) => Verdict::Listed,
            Cached::Known(verdict) => verdict,
            Cached::InFlight | Cached::Unknown => Verdict::NoAnswer,
        };
        let may_ask = is_asked_for && self.checks.on;
        let maxretry = jail.rules.maxretry.saturating_mul(patience);
        match jail.judge(failure, offender, patience, verdict, past, now) {
            Judgement::Ban { reason, since, .. } if jail.rules.is_over(reason, since, now) => {} // an old line
            Judgement::Ban {
                reason,
                tries,
                since,
                testimony,
            } => {
                if is_stranger {
                    let ban = self.sentence(&failure.jail, offender, since, reason, tries);
                    return self.convict(ban, testimony, now, effects);
                }
                let reason = Reason::Throttled;
                let ban = self.sentence(&failure.jail, offender, since, reason, tries);
                // The door may stay shut only for what is protected or banned, both seen to above.
                let _already = self.impose(ban, testimony, now, effects);
                self.lose(&offender, effects);
            }
            Judgement::Tries(tries) => {
                if may_ask && cached == Cached::Unknown && self.may_be_checked(ip) {
                    self.verdicts.asked(ip, now);
                    self.asked.insert(ip, failure.jail.clone());
                    effects.push(Effect::Feed(Command::Check(ip)));
                }
                let jail = failure.jail.clone();
                effects.push(Effect::Tell(Tell::Found {
                    jail,
                    addr: failure.addr,
                    tries,
                    maxretry,
                }));
            }
        }
    }

    /// A banned address wrote a line: if packets still come through, the order is given again.
    fn still_seen(&mut self, ban: Ban, time: Time, now: Time, effects: &mut Vec<Effect>) {
        let key = (ban.jail.clone(), ban.addr);
        let is_old = |last: &Time| now > *last + AGAIN_EVERY;
        let due = match self.again.peek(&key) {
            Some(last) => is_old(last),
            None if self.again.len() < AGAIN_MAX.get() => true,
            None => self.again.peek_lru().is_none_or(|(_, last)| is_old(last)),
        };
        let is_cut_off = ban.reason != Reason::Throttled;
        let since = self.laid_since.map(|laid| laid.max(ban.since));
        if is_cut_off && since.is_some_and(|since| time > since + STRAGGLERS) && due {
            effects.extend(block(&ban, now).map(Effect::Order));
            effects.push(Effect::Tell(Tell::StillSeen(ban)));
            self.again.put(key, now);
        }
    }

    /// Enters a ban into the ledger.
    fn enter(&mut self, ban: &Ban, now: Time) {
        self.ledger.insert(ban, now);
        if rests_on_hints(ban) {
            self.target.flows.hinted(ban, now);
        }
    }

    /// Lets a ban in force last longer. It is the same ban: it is not counted again.
    fn prolong(&mut self, ban: Ban, now: Time, effects: &mut Vec<Effect>) {
        self.enter(&ban, now);
        if let Some(past) = self.history.of(&ban.jail, &ban.addr) {
            let latest = rounded(ban.since);
            let past = Past { latest, ..past };
            self.history.put(&ban.jail, ban.addr, past);
        }
        effects.extend(block(&ban, now).map(Effect::Order));
        effects.push(Effect::Record(Record::Prolonged(ban)));
    }

    /// What counts as the past of an address in this jail, if its bans grow.
    fn past(&self, jail: &JailName, addr: &Addr) -> Option<Past> {
        match &self.jails.get(jail)?.rules.increment {
            Increment { enabled: false, .. } => None,
            Increment {
                overalljails: true, ..
            } => self.history.overall(addr),
            _ => self.history.of(jail, addr),
        }
    }

    fn may_be_checked(&self, ip: IpAddr) -> bool {
        self.checks.accept_reserved || addr::is_global(ip)
    }

    /// The ban that a jail lays on, by its rules.
    fn sentence(
        &mut self,
        jail: &JailName,
        addr: Addr,
        since: Time,
        reason: Reason,
        tries: u32,
    ) -> Ban {
        let count = self.past(jail, &addr).map_or(0, |past| past.count);
        let bantime = match self.jails.get(jail) {
            Some(jail) => {
                let Rules { increment, .. } = &jail.rules;
                let base = jail.rules.bantime_of(reason);
                increment.bantime(base, count, &mut || self.chance.f64())
            }
            None => BanTime::For(LISTED_BANTIME),
        };
        let until = match (reason, bantime.end(since)) {
            (Reason::Listed, Some(end)) => Some(end.max(since + LISTED_BANTIME)),
            (_, end) => end,
        };
        Ban {
            jail: jail.clone(),
            addr,
            since,
            until,
            reason,
            tries,
        }
    }

    /// The one door for every ban: protected addresses do not pass, nor does an order of
    /// our own jails to cut off somebody who is more than a stranger; an address that the
    /// same jail holds for as long already is left as it is.
    fn impose(
        &mut self,
        ban: Ban,
        testimony: Testimony,
        now: Time,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Refusal> {
        if self.protected.covers(&ban.addr) {
            return Err(Refusal::Protected(ban.addr));
        }
        if ban.addr.prefix_len() == 0 {
            return Err(Refusal::Everybody(ban.addr));
        }
        let cuts_off = !matches!(ban.reason, Reason::Operator | Reason::Throttled);
        if cuts_off && self.is_ours(&ban.jail) && self.rank(&ban.addr, now) != Rank::Stranger {
            return Err(Refusal::Spared(ban.addr));
        }
        let held = self.ledger.get(&ban.jail, &ban.addr);
        let held_before = held.is_some();
        if let Some(held) = held.filter(|held| ends_later_or_same(held, &ban)) {
            return Err(Refusal::Already(held));
        }
        let Some(order) = block(&ban, now) else {
            return Ok(()); // an old line: the ban would be over by now
        };
        let past = self.past(&ban.jail, &ban.addr);
        let count = match held_before {
            // A ban that takes the place of one in force is the same offence.
            true => past.and_then(|_| self.history.of(&ban.jail, &ban.addr)),
            false => past,
        };
        let count = count.map_or(0, |past| past.count);
        let count = count.saturating_add(u32::from(!held_before)).max(1);
        self.bans_total += 1;
        if !held_before {
            self.count_ban(&ban);
        }
        self.enter(&ban, now);
        effects.push(Effect::Order(order));
        effects.push(self.recorded(&ban, testimony, count));
        effects.push(Effect::Tell(Tell::Banned(ban.clone())));
        self.crowd(&ban, now, effects);
        Ok(())
    }

    /// Counts a ban for its jail.
    fn count_ban(&mut self, ban: &Ban) {
        if let Some(jail) = self.jails.get_mut(&ban.jail) {
            jail.bans_total += 1;
        }
    }

    /// Does the past count in any jail? Else nobody new is kept in memory for it; after a
    /// reload that changes this it counts from then on, and all of it after a restart.
    fn bans_grow(&self) -> bool {
        self.jails.values().any(|jail| jail.rules.increment.enabled)
    }

    /// Remembers a ban, and has it written down.
    fn recorded(&mut self, ban: &Ban, testimony: Testimony, count: u32) -> Effect {
        let latest = rounded(ban.since);
        if self.bans_grow() || self.history.of(&ban.jail, &ban.addr).is_some() {
            self.history
                .put(&ban.jail, ban.addr, Past { count, latest });
        }
        Effect::Record(Record::Ban {
            ban: ban.clone(),
            testimony,
            count,
        })
    }

    fn refused(&mut self, set: &Set, addr: Addr, effects: &mut Vec<Effect>) {
        let holds = |jail: &&JailName| {
            let ban = self.ledger.get(jail, &addr);
            ban.is_some_and(|ban| set_of(&ban) == *set)
        };
        let jails: Vec<JailName> = self.jails.keys().filter(holds).cloned().collect();
        for jail in jails {
            if let Some(ban) = self.ledger.remove(&jail, &addr) {
                self.history.forget_of(&jail, &addr);
                effects.push(Effect::Record(Record::Unban { jail, addr }));
                effects.push(Effect::Tell(Tell::NotInForce(ban)));
            }
        }
    }

    fn protect(&mut self, protected: Protected, now: Time, effects: &mut Vec<Effect>) {
        let (before, after) = (self.protected.addrs(), protected.addrs());
        for addr in after.iter().filter(|addr| !before.contains(addr)) {
            effects.push(allow(*addr));
        }
        for addr in before.iter().filter(|addr| !after.contains(addr)) {
            effects.push(unblock(Set::Allow, *addr));
        }
        self.protected = protected;
        for addr in after.iter().filter(|addr| !before.contains(addr)) {
            self.unban(*addr, now, effects);
        }
    }

    fn tick(&mut self, now: Time, effects: &mut Vec<Effect>) {
        while let Some(due) = self.ledger.due(now) {
            match due {
                Due::Ended(ban) => {
                    // Jails share the set of those that are held back.
                    if set_of(&ban) != Set::Throttled || !self.is_throttled(&ban.addr) {
                        effects.push(unblock(set_of(&ban), ban.addr));
                    }
                    effects.push(Effect::Tell(Tell::Unbanned(ban)));
                }
                Due::Renew(ban) => effects.extend(block(&ban, now).map(Effect::Order)),
            }
        }
        self.target_tick(now, effects);
        if now >= self.housekeeping {
            self.housekeeping = now + HOUSEKEEPING;
            self.list.expire(now);
            for jail in self.jails.values_mut() {
                jail.expire(now);
            }
        }
    }

    /// All jails, by name.
    pub fn jails(&self) -> impl Iterator<Item = &Jail> {
        self.jails.values()
    }

    /// The bans in force.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The protected addresses.
    pub fn protected(&self) -> &Protected {
        &self.protected
    }

    /// Entries of APIBAN's list in force.
    pub fn listed(&self) -> usize {
        self.list.len()
    }

    /// Until when APIBAN's list holds an address.
    pub fn listed_until(&self, ip: IpAddr) -> Option<Time> {
        self.list.get(&ip)
    }

    /// Bans laid on since the start, restored ones not counted.
    pub fn bans_total(&self) -> u64 {
        self.bans_total
    }
}

/// The kernel sets that these jails need: their own, the operators', that of the throttled
/// and the list.
pub fn sets_of(rules: &[Rules]) -> Vec<Set> {
    let jails = rules.iter().map(|rules| Set::Jail(rules.name.clone()));
    jails
        .chain([Set::Jail(OPERATOR_JAIL.into()), Set::Throttled, Set::List])
        .collect()
}

/// The order that lays a ban on at `now`; none if it has ended.
fn block(ban: &Ban, now: Time) -> Option<Order> {
    let span = match ban.until {
        Some(until) if until <= now => return None,
        Some(until) => until.since(now),
        None => Duration::MAX,
    };
    Some(Order::Block {
        set: set_of(ban),
        entry: Entry::lasting(ban.addr, span),
    })
}

/// Does this ban rest on what a forged packet can cause?
fn rests_on_hints(ban: &Ban) -> bool {
    matches!(ban.reason, Reason::Hints | Reason::Scan)
}

/// The kernel set in which a ban stands.
fn set_of(ban: &Ban) -> Set {
    match ban.reason {
        Reason::Throttled => Set::Throttled,
        _ => Set::Jail(ban.jail.clone()),
    }
}

/// Lets an address pass in front of every drop, until that is taken back.
fn allow(addr: Addr) -> Effect {
    let (set, timeout_secs) = (Set::Allow, 0);
    let entry = Entry { addr, timeout_secs };
    Effect::Order(Order::Block { set, entry })
}

fn unblock(set: Set, addr: Addr) -> Effect {
    Effect::Order(Order::Unblock { set, addr })
}

/// Whom a failure is counted for and a ban is laid on. Where somebody protected lives in
/// the same /64 it is our own network, or a customer's: then it is the host alone, as where
/// the jail's action knows no networks.
fn offender(jail: &Jail, addr: Addr, protected: &Protected) -> Addr {
    let prefix = match addr.is_host() {
        true => Addr::offender(addr.ip()),
        false => addr,
    };
    let is_mixed = protected.any_inside(&prefix) || jail.rules.ignored.any_inside(&prefix);
    match jail.rules.tally == Tally::Tries && !jail.rules.hosts_only && !is_mixed {
        true => prefix,
        false => addr,
    }
}

/// The ban that takes the place of `ban` if enough failures up to `since` came meanwhile;
/// none if it would not end later.
fn prolonged(ban: &Ban, bantime: BanTime, since: Time) -> Option<Ban> {
    let end = bantime.end(since);
    let later = match (ban.until, end) {
        (None, _) => false,
        (Some(_), None) => true,
        (Some(until), Some(end)) => end > until,
    };
    // A ban for ever needs no later beginning.
    let since = end.map_or(ban.since, |_| since.max(ban.since));
    later.then(|| Ban {
        since,
        until: bantime.end(since),
        ..ban.clone()
    })
}

fn ends_later_or_same(held: &Ban, other: &Ban) -> bool {
    match (held.until, other.until) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(held), Some(other)) => held >= other,
    }
}

/// How far the logs were read, and what has changed in the windows of these jails by that.
fn reading(
    jails: &mut BTreeMap<JailName, Jail>,
    places: Vec<Place>,
    cursors: Vec<(String, String)>,
) -> Reading {
    let mut reading = Reading {
        places,
        cursors,
        ..Reading::default()
    };
    for (name, jail) in jails {
        let news = jail.news();
        reading.anew.extend(news.all.then(|| name.clone()));
        let kept = news.tries.into_iter().map(|(addr, forms)| KeptTries {
            jail: name.clone(),
            addr,
            forms,
        });
        reading.tries.extend(kept);
    }
    reading
}
