//! The engine owns everything that changes: jails, the ledger of bans, APIBAN's
//! verdicts and list. It is a function: events and the time go in, effects come out.
//!
//! No I/O, no lock, no clock, and nothing in it can fail at run time; last
//! night's log can be played to it again. Effects come in a fixed order for each
//! event: first the orders to the kernel, since they protect, then what is to be
//! recorded, then what is to be told.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use lru::LruCache;

use crate::addr::{self, Addr};
use crate::ban::archive::is_from_kernel;
use crate::ban::store::{OldBan, PastBan, Place, Reading, Record, rounded};
use crate::ban::{Due, Ledger};
use crate::feed::verdicts::{Cached, Verdicts};
use crate::feed::{Command, Page};
use crate::jail::bantime::Increment;
use crate::jail::history::{History, Past};
use crate::jail::protect::Protected;
use crate::jail::{Jail, Judgement, Rules, Tally};
use crate::ticket::{Ban, Entry, Failure, JailName, KeptTries, Order, Reason, Set, Verdict};
use crate::time::{BanTime, Time};

/// The jail that holds what operators ban by hand.
pub const OPERATOR_JAIL: &str = "operator";

/// How long an address is banned that APIBAN confirms, at least. It is as long as
/// the confirmation is remembered; whoever fails after that is asked for again.
const LISTED_BANTIME: Duration = Duration::from_secs(86_400);

/// A line of a banned address this long after its ban means that packets still
/// come through, so the order is given again. Lines that were on their way when
/// the ban was laid on arrive sooner.
const STRAGGLERS: Duration = Duration::from_secs(3);

/// How often that is done for one ban: under attack nobody wants a line for each packet.
const AGAIN_EVERY: Duration = Duration::from_secs(60);

/// Bans for which that is remembered; one that is forgotten is ordered once too often.
const AGAIN_MAX: NonZeroUsize = NonZeroUsize::new(1_024).unwrap();

/// How often the silent are forgotten and expired list entries dropped.
const HOUSEKEEPING: Duration = Duration::from_secs(60);

/// A kernel entry that ends this much before its ban is not laid on again at start:
/// the rounding of seconds, and the moments between two looks.
const KERNEL_SLACK_SECS: u32 = 2;

/// Pages of the list that may wait for the kernel at once; the feed sends one.
const PAGES_WAITING_MAX: usize = 4;

/// The page number of a load that is not the feed's.
const NO_PAGE: u64 = u64::MAX;

/// What happens to the engine.
#[derive(Debug)]
pub enum Event {
    /// A filter found a failure.
    Failure(Failure),
    /// All logs were read up to here; all failures before were handed in before.
    Read {
        /// In files.
        places: Vec<Place>,
        /// In journals: names of facts, and cursors.
        cursors: Vec<(String, String)>,
    },
    /// APIBAN answered about an address.
    Answer(IpAddr, Verdict),
    /// A page of APIBAN's list arrived.
    Page(Page),
    /// The kernel holds a page, but for so many refused entries.
    Loaded {
        /// Which page.
        page: u64,
        /// Entries that the kernel did not take.
        refused: usize,
    },
    /// The kernel did not take a page at all.
    LoadFailed {
        /// Which page.
        page: u64,
    },
    /// The kernel did not take a ban.
    Refused {
        /// In which set.
        set: Set,
        /// Whom.
        addr: Addr,
    },
    /// The protected addresses are these now.
    Protect(Protected),
    /// A jail ignores these now: the names among them were looked up again.
    Ignored(JailName, Protected),
    /// The feed wants a fact of its own kept, as JSON.
    Fact(String, String),
    /// Time has passed.
    Tick,
}

/// What the engine wants done.
#[derive(Debug)]
pub enum Effect {
    /// To the kernel.
    Order(Order),
    /// To the database.
    Record(Record),
    /// To the feed.
    Feed(Command),
    /// To the log, and one day to our other servers.
    Tell(Tell),
}

/// What people (and one day peers) are told.
#[derive(Clone, Debug, PartialEq)]
pub enum Tell {
    /// A failure was counted.
    Found {
        /// In which jail.
        jail: JailName,
        /// Who failed.
        addr: Addr,
        /// The tries on the account.
        tries: u32,
        /// The tries that are too many.
        maxretry: u32,
    },
    /// A ban was laid on.
    Banned(Ban),
    /// A ban from before the start goes on.
    Restored(Ban),
    /// A ban has ended, or was lifted.
    Unbanned(Ban),
    /// A banned address still gets through; the order was given again.
    StillSeen(Ban),
    /// A protected or ignored address fails; nothing is done about it.
    Protected {
        /// In which jail.
        jail: JailName,
        /// Who.
        addr: Addr,
    },
    /// The kernel refused this ban, so it is not in force.
    NotInForce(Ban),
    /// A page of the list is in force.
    ListLoaded {
        /// Entries in it.
        entries: usize,
        /// Entries that the kernel refused.
        refused: usize,
        /// Entries left out since they are protected.
        protected: usize,
    },
}

/// Why the door stayed shut.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// It is protected.
    #[error("{0} is protected: remove it from `protect` in ringfence.toml first")]
    Protected(Addr),
    /// It is the whole internet.
    #[error("{0} is everybody; ban a longer prefix")]
    Everybody(Addr),
    /// It is banned already, and for at least as long.
    #[error("{} is banned by jail {} already", .0.addr, .0.jail)]
    Already(Ban),
    /// There is no such jail.
    #[error("there is no jail `{name}`; there are: {}", known.join(", "))]
    NoJail {
        /// What was asked for.
        name: String,
        /// What there is.
        known: Vec<String>,
    },
}

/// May offenders be checked with APIBAN, and which?
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checks {
    /// Are checks made at all?
    pub on: bool,
    /// Also for addresses that are not of the public internet? For laboratories.
    pub accept_reserved: bool,
}

#[derive(Debug)]
struct WaitingPage {
    page: Page,
    protected: usize,
}

/// See the module's header.
#[derive(Debug)]
pub struct Engine {
    jails: BTreeMap<JailName, Jail>,
    ledger: Ledger,
    history: History,
    chance: Chance,
    protected: Protected,
    checks: Checks,
    verdicts: Verdicts,
    asked: HashMap<IpAddr, JailName>,
    list: HashMap<IpAddr, Time>,
    again: LruCache<(JailName, Addr), Time>,
    pages: Vec<WaitingPage>,
    bans_total: u64,
    housekeeping: Time,
}

impl Engine {
    /// An engine in which nothing has happened yet.
    pub fn new(rules: Vec<Rules>, protected: Protected, checks: Checks, now: Time) -> Self {
        let mut engine = Engine {
            jails: BTreeMap::new(),
            ledger: Ledger::default(),
            history: History::default(),
            chance: Chance(now.as_micros().cast_unsigned()),
            protected,
            checks,
            verdicts: Verdicts::default(),
            asked: HashMap::new(),
            list: HashMap::new(),
            again: LruCache::new(AGAIN_MAX),
            pages: Vec::new(),
            bans_total: 0,
            housekeeping: now + HOUSEKEEPING,
        };
        let _none_before = engine.set_rules(rules);
        engine
    }

    /// New rules after a reload: jails that stay keep their windows.
    /// The bans of jails that are gone leave the kernel; the database keeps them.
    pub fn reconfigure(
        &mut self,
        rules: Vec<Rules>,
        checks: Checks,
        now: Time,
        effects: &mut Vec<Effect>,
    ) {
        self.checks = checks;
        for name in self.set_rules(rules) {
            let bans: Vec<Ban> = self.ledger.of_jail(&name).collect();
            for ban in bans {
                self.ledger.remove(&name, &ban.addr);
                effects.push(Effect::Order(Order::Unblock {
                    set: Set::Jail(name.clone()),
                    addr: ban.addr,
                }));
            }
        }
        let names: Vec<JailName> = self.jails.keys().cloned().collect();
        for name in names {
            self.lift_ignored(&name, effects);
        }
        self.tick(now, effects);
    }

    /// Lets go those whom this jail ignores by now, but for whom an operator banned.
    fn lift_ignored(&mut self, name: &JailName, effects: &mut Vec<Effect>) {
        let Some(jail) = self.jails.get(name) else {
            return;
        };
        let ignored = &jail.rules.ignored;
        let is_lifted = |ban: &Ban| ban.reason != Reason::Operator && ignored.covers(&ban.addr);
        let bans: Vec<Ban> = self.ledger.of_jail(name).filter(is_lifted).collect();
        let is_listed = |ip: &IpAddr| ignored.covers(&Addr::host(*ip));
        let listed: Vec<IpAddr> = self.list.keys().copied().filter(is_listed).collect();
        for ban in &bans {
            self.ledger.remove(name, &ban.addr);
            effects.push(unblock(Set::Jail(name.clone()), ban.addr));
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

    /// Shall no list hold this address? Whoever is protected, or ignored by any jail.
    fn is_spared(&self, addr: &Addr) -> bool {
        let mut jails = self.jails.values();
        self.protected.covers(addr) || jails.any(|jail| jail.rules.ignored.covers(addr))
    }

    /// Takes rules over, and says which jails are gone.
    fn set_rules(&mut self, rules: Vec<Rules>) -> Vec<JailName> {
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
        before.into_keys().collect()
    }

    /// Takes one event; what is to be done is added to `effects`.
    pub fn handle(&mut self, event: Event, now: Time, effects: &mut Vec<Effect>) {
        match event {
            Event::Failure(failure) => self.failure(&failure, now, effects),
            Event::Read { places, cursors } => {
                effects.push(Effect::Record(Record::Read(self.reading(places, cursors))))
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
                self.lift_ignored(&jail, effects);
            }
            Event::Fact(name, value) => effects.push(Effect::Record(Record::Fact(name, value))),
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
        let busy = !self.list.is_empty() || self.jails.values().any(|jail| jail.failing() > 0);
        let housekeeping = busy.then_some(self.housekeeping);
        [self.ledger.next_deadline(), housekeeping]
            .into_iter()
            .flatten()
            .min()
    }

    fn failure(&mut self, failure: &Failure, now: Time, effects: &mut Vec<Effect>) {
        let Some(jail) = self.jails.get_mut(&failure.jail) else {
            return;
        };
        let offender = offender(jail, failure.addr, &self.protected);
        if self.protected.covers(&failure.addr) || jail.rules.ignored.covers(&failure.addr) {
            effects.push(Effect::Tell(Tell::Protected {
                jail: failure.jail.clone(),
                addr: failure.addr,
            }));
            return;
        }
        let past = self.history.of(&failure.jail, &offender);
        if let Some(ban) = self.ledger.get(&failure.jail, &offender) {
            // A banned address is judged as well, but by its failures alone: a ban that
            // would end later now is prolonged.
            if let Judgement::Ban { since, .. } =
                jail.judge(failure, offender, Verdict::NoAnswer, past, now)
                && let Some(longer) = prolonged(&ban, jail.rules.bantime, since)
            {
                return self.prolong(longer, now, effects);
            }
            return self.still_seen(ban, failure.time, now, effects);
        }
        // APIBAN knows hosts.
        let ip = failure.addr.ip();
        let is_asked_for = jail.rules.apiban && failure.addr.is_host();
        let cached = self.verdicts.lookup(ip, now);
        let verdict = match cached {
            _ if !is_asked_for => Verdict::NoAnswer,
            _ if self.list.get(&ip).is_some_and(|expires| *expires > now) => Verdict::Listed,
            Cached::Known(verdict) => verdict,
            Cached::InFlight | Cached::Unknown => Verdict::NoAnswer,
        };
        let may_ask = is_asked_for && self.checks.on;
        let maxretry = jail.rules.maxretry;
        match jail.judge(failure, offender, verdict, past, now) {
            Judgement::Ban {
                reason: Reason::MaxRetry,
                since,
                ..
            } if jail.rules.bantime.end(since).is_some_and(|end| end <= now) => {} // an old line
            Judgement::Ban {
                reason,
                tries,
                since,
            } => {
                let ban = self.sentence(&failure.jail, offender, since, reason, tries);
                // The door may stay shut only for what is protected or banned, both seen to above.
                let _already = self.impose(ban, &failure.line, now, effects);
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

    /// How far the logs were read, and what has changed in the windows by that.
    fn reading(&mut self, places: Vec<Place>, cursors: Vec<(String, String)>) -> Reading {
        let mut reading = Reading {
            places,
            cursors,
            ..Reading::default()
        };
        for (name, jail) in &mut self.jails {
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

    /// A banned address wrote a line: if packets still come through, the order is given again.
    fn still_seen(&mut self, ban: Ban, time: Time, now: Time, effects: &mut Vec<Effect>) {
        let key = (ban.jail.clone(), ban.addr);
        let due = self
            .again
            .get(&key)
            .is_none_or(|last| now > *last + AGAIN_EVERY);
        if time > ban.since + STRAGGLERS && due {
            effects.extend(block(&ban, now).map(Effect::Order));
            effects.push(Effect::Tell(Tell::StillSeen(ban)));
            self.again.put(key, now);
        }
    }

    /// Lets a ban in force last longer. It is the same ban: it is not counted again.
    fn prolong(&mut self, ban: Ban, now: Time, effects: &mut Vec<Effect>) {
        self.ledger.insert(&ban, now);
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
                let Rules {
                    increment, bantime, ..
                } = &jail.rules;
                increment.bantime(*bantime, count, &mut || self.chance.next())
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

    /// The one door for every ban: protected addresses do not pass, and an address
    /// that the same jail holds for as long already is left as it is.
    fn impose(
        &mut self,
        ban: Ban,
        line: &str,
        now: Time,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Refusal> {
        if self.protected.covers(&ban.addr) {
            return Err(Refusal::Protected(ban.addr));
        }
        if ban.addr.prefix_len() == 0 {
            return Err(Refusal::Everybody(ban.addr));
        }
        let held = self.ledger.get(&ban.jail, &ban.addr);
        let held_before = held.is_some();
        if let Some(held) = held.filter(|held| ends_later_or_same(held, &ban)) {
            return Err(Refusal::Already(held));
        }
        let Some(order) = block(&ban, now) else {
            return Ok(()); // an old line: the ban would be over by now
        };
        let before = self.past(&ban.jail, &ban.addr).map_or(0, |past| past.count);
        // A ban that takes the place of one in force is the same offence.
        let count = before.saturating_add(u32::from(!held_before)).max(1);
        self.bans_total += 1;
        self.ledger.insert(&ban, now);
        effects.push(Effect::Order(order));
        effects.push(self.recorded(&ban, line, count));
        effects.push(Effect::Tell(Tell::Banned(ban)));
        Ok(())
    }

    /// Does the past count in any jail? Else nobody new is kept in memory for it; after a
    /// reload that changes this it counts from then on, and all of it after a restart.
    fn bans_grow(&self) -> bool {
        self.jails.values().any(|jail| jail.rules.increment.enabled)
    }

    /// Remembers a ban, and has it written down.
    fn recorded(&mut self, ban: &Ban, line: &str, count: u32) -> Effect {
        let latest = rounded(ban.since);
        if self.bans_grow() || self.history.of(&ban.jail, &ban.addr).is_some() {
            self.history
                .put(&ban.jail, ban.addr, Past { count, latest });
        }
        Effect::Record(Record::Ban {
            ban: ban.clone(),
            line: line.into(),
            count,
        })
    }

    /// An operator bans an address, in the operators' jail unless another is named.
    pub fn ban(
        &mut self,
        addr: Addr,
        jail: Option<&str>,
        bantime: Option<BanTime>,
        now: Time,
        effects: &mut Vec<Effect>,
    ) -> Result<Ban, Refusal> {
        let name = jail.unwrap_or(OPERATOR_JAIL);
        let Some(jail) = self.jails.get(name) else {
            let known = self.jails.keys().map(|name| name.to_string()).collect();
            return Err(Refusal::NoJail {
                name: name.to_owned(),
                known,
            });
        };
        let (jail, base) = (jail.rules.name.clone(), jail.rules.bantime);
        let ban = match bantime {
            // A ban in force is prolonged by the jail's own ban time; a new one may grow.
            None if self.ledger.get(name, &addr).is_none() => {
                self.sentence(&jail, addr, now, Reason::Operator, 0)
            }
            _ => Ban {
                jail,
                addr,
                since: now,
                until: bantime.unwrap_or(base).end(now),
                reason: Reason::Operator,
                tries: 0,
            },
        };
        self.impose(ban.clone(), "", now, effects)?;
        Ok(ban)
    }

    /// An operator pardons an address: every ban that is on it, or on part of it, is
    /// lifted, what it did is forgotten, and it leaves the list. An IPv6 host stands
    /// for its /64, as it does when it fails. Wider bans around it stay.
    pub fn unban(&mut self, addr: Addr, now: Time, effects: &mut Vec<Effect>) -> Pardon {
        let offender = if addr.is_host() {
            Addr::offender(addr.ip())
        } else {
            addr
        };
        let mut pardon = Pardon::default();
        for ban in self.ledger.overlapping(&addr) {
            if addr.contains(&ban.addr) || ban.addr == offender {
                pardon.lifted.push(ban);
            } else {
                pardon.wider.push(ban);
            }
        }
        for ban in &pardon.lifted {
            self.ledger.remove(&ban.jail, &ban.addr);
            effects.push(Effect::Order(Order::Unblock {
                set: Set::Jail(ban.jail.clone()),
                addr: ban.addr,
            }));
        }
        let inside = |ip: &IpAddr| addr.contains(&Addr::host(*ip));
        let mut listed: Vec<IpAddr> = self.list.keys().copied().filter(inside).collect();
        listed.sort_unstable();
        for ip in listed {
            self.list.remove(&ip);
            effects.push(Effect::Order(Order::Unblock {
                set: Set::List,
                addr: Addr::host(ip),
            }));
            effects.push(Effect::Record(Record::Listed(vec![(Addr::host(ip), now)])));
            pardon.listed.push(ip);
        }
        for ban in &pardon.lifted {
            effects.push(Effect::Record(Record::Unban {
                jail: ban.jail.clone(),
                addr: ban.addr,
            }));
            effects.push(Effect::Tell(Tell::Unbanned(ban.clone())));
            self.history.forget_of(&ban.jail, &ban.addr);
        }
        let both = [addr, offender];
        for addr in &both[usize::from(addr == offender)..] {
            self.history.forget(addr);
            effects.push(Effect::Record(Record::Forget(*addr)));
        }
        for jail in self.jails.values_mut() {
            jail.forget_inside(&addr);
            jail.forget(&offender);
        }
        // Else an answer that is remembered bans it again.
        self.verdicts
            .pardon(|ip| addr.contains(&Addr::host(ip)), now);
        pardon
    }

    fn answer(&mut self, ip: IpAddr, verdict: Verdict, now: Time, effects: &mut Vec<Effect>) {
        self.verdicts.answered(ip, verdict, now);
        let Some(jail) = self.asked.remove(&ip) else {
            return;
        };
        let Some(rules) = self.jails.get(&jail) else {
            return;
        };
        let offender = offender(rules, Addr::host(ip), &self.protected);
        if verdict == Verdict::Listed && !rules.rules.ignored.covers(&Addr::host(ip)) {
            let ban = self.sentence(&jail, offender, now, Reason::Listed, 1);
            if self.impose(ban, "", now, effects).is_ok()
                && let Some(jail) = self.jails.get_mut(&jail)
            {
                jail.forget(&offender);
            }
        }
    }

    fn page(&mut self, mut page: Page, now: Time, effects: &mut Vec<Effect>) {
        let arrived = page.entries.len();
        page.entries
            .retain(|(ip, expires)| *expires > now && !self.is_spared(&Addr::host(*ip)));
        let entries: Arc<[Entry]> = page
            .entries
            .iter()
            .map(|(ip, expires)| Entry::lasting(Addr::host(*ip), expires.since(now)))
            .collect();
        effects.push(Effect::Order(Order::Load {
            set: Set::List,
            page: page.seq,
            entries,
        }));
        if self.pages.len() == PAGES_WAITING_MAX {
            self.pages.remove(0);
        }
        self.pages.push(WaitingPage {
            protected: arrived - page.entries.len(),
            page,
        });
    }

    fn loaded(&mut self, seq: u64, refused: usize, now: Time, effects: &mut Vec<Effect>) {
        let Some(place) = self
            .pages
            .iter()
            .position(|waiting| waiting.page.seq == seq)
        else {
            return;
        };
        let WaitingPage { page, protected } = self.pages.remove(place);
        for (ip, expires) in &page.entries {
            self.list.insert(*ip, *expires);
            self.verdicts.listed_by_page(*ip, now);
        }
        let entries = page.entries.len();
        let listed = page
            .entries
            .into_iter()
            .map(|(ip, expires)| (Addr::host(ip), expires))
            .collect();
        effects.push(Effect::Record(Record::Listed(listed)));
        let name = format!("{CURSOR_FACTS}{}", page.cursor.set);
        effects.push(Effect::Record(Record::Fact(name, page.cursor.to_json())));
        effects.push(Effect::Feed(Command::Applied {
            page: seq,
            held: u32::try_from(self.list.len()).unwrap_or(u32::MAX),
        }));
        effects.push(Effect::Tell(Tell::ListLoaded {
            entries,
            refused,
            protected,
        }));
    }

    fn load_failed(&mut self, seq: u64, effects: &mut Vec<Effect>) {
        let before = self.pages.len();
        self.pages.retain(|waiting| waiting.page.seq != seq);
        if self.pages.len() < before {
            effects.push(Effect::Feed(Command::LoadFailed { page: seq }));
        }
    }

    fn refused(&mut self, set: &Set, addr: Addr, effects: &mut Vec<Effect>) {
        if let Set::Jail(jail) = set
            && let Some(ban) = self.ledger.remove(jail, &addr)
        {
            self.history.forget_of(jail, &addr);
            effects.push(Effect::Record(Record::Unban {
                jail: jail.clone(),
                addr,
            }));
            effects.push(Effect::Tell(Tell::NotInForce(ban)));
        }
    }

    fn protect(&mut self, protected: Protected, now: Time, effects: &mut Vec<Effect>) {
        let (before, after) = (self.protected.addrs(), protected.addrs());
        for addr in after.iter().filter(|addr| !before.contains(addr)) {
            let entry = Entry {
                addr: *addr,
                timeout_secs: 0,
            };
            effects.push(Effect::Order(Order::Block {
                set: Set::Allow,
                entry,
            }));
        }
        for addr in before.iter().filter(|addr| !after.contains(addr)) {
            effects.push(Effect::Order(Order::Unblock {
                set: Set::Allow,
                addr: *addr,
            }));
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
                    let set = Set::Jail(ban.jail.clone());
                    effects.push(Effect::Order(Order::Unblock {
                        set,
                        addr: ban.addr,
                    }));
                    effects.push(Effect::Tell(Tell::Unbanned(ban)));
                }
                Due::Renew(ban) => effects.extend(block(&ban, now).map(Effect::Order)),
            }
        }
        if now >= self.housekeeping {
            self.housekeeping = now + HOUSEKEEPING;
            self.list.retain(|_, expires| *expires > now);
            for jail in self.jails.values_mut() {
                jail.expire(now);
            }
        }
    }

    /// Takes over what was in force before the start: the database's bans and list,
    /// and what the kernel's sets still hold. What the kernel lacks is ordered again;
    /// what only the kernel knows (the daemon was killed before it wrote it down) is
    /// taken over for the rest of its time.
    pub fn restore(&mut self, before: Before, now: Time, effects: &mut Vec<Effect>) {
        let mut in_kernel: HashMap<Set, HashMap<Addr, u32>> = HashMap::new();
        for (set, entry) in before.kernel {
            in_kernel
                .entry(set)
                .or_default()
                .insert(entry.addr, entry.timeout_secs);
        }
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
        let mut records = Vec::new();
        for ban in before.bans {
            self.restore_ban(ban, &mut in_kernel, now, effects);
        }
        for (jail, entries) in jails_of(&in_kernel) {
            for (addr, timeout_secs) in entries {
                let until = Some(now + Duration::from_secs(u64::from(*timeout_secs)));
                let ban = Ban {
                    jail: jail.clone(),
                    addr: *addr,
                    since: now,
                    until,
                    reason: Reason::MaxRetry,
                    tries: 0,
                };
                let ignores = |jail: &Jail| jail.rules.ignored.covers(addr);
                let is_free = self.jails.get(&jail).is_none_or(ignores);
                if is_free || self.protected.covers(addr) {
                    let set = Set::Jail(jail.clone());
                    effects.push(Effect::Order(Order::Unblock { set, addr: *addr }));
                    continue;
                }
                self.ledger.insert(&ban, now);
                // It was killed before it was written down: one more than is written.
                let before = self.past(&ban.jail, &ban.addr).map_or(0, |past| past.count);
                records.push(self.recorded(&ban, "", before.saturating_add(1)));
                records.push(Effect::Tell(Tell::Restored(ban)));
            }
        }
        for KeptTries { jail, addr, forms } in before.tries {
            if self.ledger.get(&jail, &addr).is_none()
                && let Some(jail) = self.jails.get_mut(&jail)
            {
                jail.restore(addr, forms, now);
            }
        }
        self.restore_list(
            before.listed,
            in_kernel.remove(&Set::List).unwrap_or_default(),
            now,
            effects,
        );
        effects.append(&mut records);
    }

    /// Puts back in force what the database held, when it could be read only now: what
    /// has happened since goes before it, and counts go on.
    pub fn restore_late(&mut self, before: Before, now: Time, effects: &mut Vec<Effect>) {
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
                self.restore_ban(ban, &mut HashMap::new(), now, effects);
            }
        }
        let mut listed = before.listed;
        listed.retain(|(addr, _)| !self.list.contains_key(&addr.ip()));
        self.restore_list(listed, HashMap::new(), now, effects);
    }

    /// Has every ban in force written down, for a database that may not know it.
    pub fn record_all(&self, effects: &mut Vec<Effect>) {
        let bans = self.jails.keys().flat_map(|jail| self.ledger.of_jail(jail));
        effects.extend(bans.map(|ban| {
            let past = self.history.of(&ban.jail, &ban.addr);
            Effect::Record(Record::Standing(ban, past.map_or(1, |past| past.count)))
        }));
    }

    fn restore_ban(
        &mut self,
        old: OldBan,
        in_kernel: &mut HashMap<Set, HashMap<Addr, u32>>,
        now: Time,
        effects: &mut Vec<Effect>,
    ) {
        let set = Set::Jail(old.jail.clone());
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
                self.ledger.insert(&ban, now);
                effects.push(Effect::Tell(Tell::Restored(ban)));
            }
            None if held.is_some() => {
                effects.push(Effect::Order(Order::Unblock { set, addr }));
            }
            None => {}
        }
    }

    fn restore_protected(&self, held: HashMap<Addr, u32>, effects: &mut Vec<Effect>) {
        let wanted = self.protected.addrs();
        for addr in wanted.iter().filter(|addr| !held.contains_key(addr)) {
            let entry = Entry {
                addr: *addr,
                timeout_secs: 0,
            };
            effects.push(Effect::Order(Order::Block {
                set: Set::Allow,
                entry,
            }));
        }
        for addr in held.keys().filter(|addr| !wanted.contains(addr)) {
            effects.push(Effect::Order(Order::Unblock {
                set: Set::Allow,
                addr: *addr,
            }));
        }
    }

    fn restore_list(
        &mut self,
        listed: Vec<(Addr, Time)>,
        held: HashMap<Addr, u32>,
        now: Time,
        effects: &mut Vec<Effect>,
    ) {
        let (mut missing, mut unwanted) = (Vec::new(), Vec::new());
        for (addr, expires) in listed {
            if expires > now && !self.is_spared(&addr) {
                self.list.insert(addr.ip(), expires);
                let entry = Entry::lasting(addr, expires.since(now));
                let lasts =
                    |held: &u32| held.saturating_add(KERNEL_SLACK_SECS) >= entry.timeout_secs;
                if !held.get(&addr).is_some_and(lasts) {
                    missing.push(entry);
                }
            }
        }
        for (addr, timeout_secs) in held {
            if self.is_spared(&addr) {
                unwanted.push(addr);
            } else {
                let expires = now + Duration::from_secs(u64::from(timeout_secs));
                self.list.entry(addr.ip()).or_insert(expires);
            }
        }
        if !missing.is_empty() {
            effects.push(Effect::Order(Order::Load {
                set: Set::List,
                page: NO_PAGE,
                entries: missing.into(),
            }));
        }
        effects.extend(unwanted.into_iter().map(|addr| {
            Effect::Order(Order::Unblock {
                set: Set::List,
                addr,
            })
        }));
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
        self.list.get(&ip).copied()
    }

    /// Bans laid on since the start, restored ones not counted.
    pub fn bans_total(&self) -> u64 {
        self.bans_total
    }
}

/// The rules of the operators' own jail, which judges nobody.
fn operators_rules() -> Rules {
    Rules {
        name: OPERATOR_JAIL.into(),
        maxretry: u32::MAX,
        findtime: Duration::ZERO,
        bantime: BanTime::Forever,
        increment: Increment::default(),
        apiban: false,
        tally: Tally::Matches,
        ignored: Protected::default(),
    }
}

/// The kernel sets that these jails need: their own, the operators' and the list.
pub fn sets_of(rules: &[Rules]) -> Vec<Set> {
    let jails = rules.iter().map(|rules| Set::Jail(rules.name.clone()));
    jails
        .chain([Set::Jail(OPERATOR_JAIL.into()), Set::List])
        .collect()
}

/// The names under which lists' cursors are kept begin with this.
pub const CURSOR_FACTS: &str = "apiban.cursor.";

/// What was in force before the start.
#[derive(Debug, Default)]
pub struct Before {
    /// By the database.
    pub bans: Vec<OldBan>,
    /// Who was banned before, by the database, the oldest first.
    pub history: Vec<PastBan>,
    /// Tries that were not too many yet, by the database, the oldest first.
    pub tries: Vec<KeptTries>,
    /// APIBAN's list, by the database.
    pub listed: Vec<(Addr, Time)>,
    /// By the kernel.
    pub kernel: Vec<(Set, Entry)>,
}

/// What a pardon did.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pardon {
    /// Bans that were lifted.
    pub lifted: Vec<Ban>,
    /// Wider bans that hold it still.
    pub wider: Vec<Ban>,
    /// Addresses of it that were on APIBAN's list; the list may bring them again.
    pub listed: Vec<IpAddr>,
}

/// The order that lays a ban on at `now`; none if it has ended.
fn block(ban: &Ban, now: Time) -> Option<Order> {
    let span = match ban.until {
        Some(until) if until <= now => return None,
        Some(until) => until.since(now),
        None => Duration::MAX,
    };
    Some(Order::Block {
        set: Set::Jail(ban.jail.clone()),
        entry: Entry::lasting(ban.addr, span),
    })
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

fn unblock(set: Set, addr: Addr) -> Effect {
    Effect::Order(Order::Unblock { set, addr })
}

/// Whom a failure is counted for and a ban is laid on. Where somebody protected lives in
/// the same /64 it is our own network, or a customer's: then it is the host alone.
fn offender(jail: &Jail, addr: Addr, protected: &Protected) -> Addr {
    let prefix = match addr.is_host() {
        true => Addr::offender(addr.ip()),
        false => addr,
    };
    let is_mixed = protected.any_inside(&prefix) || jail.rules.ignored.any_inside(&prefix);
    match jail.rules.tally == Tally::Tries && !is_mixed {
        true => prefix,
        false => addr,
    }
}

/// What is left of a ban after a restart, by its jail's rules. A ban that the rules did
/// not make (APIBAN's, an operator's) keeps its own length.
fn restored(rules: &Rules, old: OldBan, now: Time) -> Option<Ban> {
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

/// Numbers that nobody outside can foresee; the same start gives the same ones (splitmix64).
#[derive(Debug)]
struct Chance(u64);

impl Chance {
    /// From 0 up to, and without, 1.
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
}

fn ends_later_or_same(held: &Ban, other: &Ban) -> bool {
    match (held.until, other.until) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(held), Some(other)) => held >= other,
    }
}

fn jails_of(in_kernel: &HashMap<Set, HashMap<Addr, u32>>) -> Vec<(JailName, Vec<(&Addr, &u32)>)> {
    let mut jails: Vec<_> = in_kernel
        .iter()
        .filter_map(|(set, entries)| match set {
            Set::Jail(jail) => {
                let mut entries: Vec<_> = entries.iter().collect();
                entries.sort_unstable();
                Some((jail.clone(), entries))
            }
            _ => None,
        })
        .collect();
    jails.sort();
    jails
}
