//! The right target: who is behind an address, and what may be done to it.
//!
//! A jail counts; here it is decided with how much patience, and what follows. A stranger is
//! banned. A known-good address is judged with more patience, by proofs only, and its
//! signalling is held back at most. A shared one is not sanctioned at all: an alarm names
//! the accounts that are tried behind it. While the brake is on neither of them is.
//! All this goes for our own jails (`Tally::Tries`); a fail2ban tree's judge as they did.

#[cfg(test)]
mod figures;
mod friends;
#[cfg(test)]
mod tests;

use super::flows::{Case, Flows, GRACE, settled};
use super::{Effect, Engine, Tell, offender, rests_on_hints, set_of, unblock};
use crate::addr::{self, Addr};
use crate::ban::record::Record;
use crate::jail::accounts::Accounts;
use crate::jail::alarms::Alarms;
use crate::jail::brake::{Brake, Change};
use crate::jail::protect::Protected;
use crate::jail::repeats::Repeats;
use crate::jail::sources::Sources;
use crate::jail::standing::{PATIENCE, Rank, Standings};
use crate::jail::{Jail, Tally};
use crate::ticket::{
    Alarm, AlarmKind, Ban, Failure, JailName, KeptStanding, Reason, Registration, Sight, Sighting,
    Testimony, Trust, Unanswered,
};
use crate::time::Time;

/// A login after so many failures less than `maxretry` is no mistake that was mended.
const MANY_BELOW: u32 = 1;

/// And never after fewer than this, however strict `maxretry` is: people mistype.
const MANY_LEAST: u32 = 3;

/// What is known of addresses beside their failures.
#[derive(Debug, Default)]
pub struct Target {
    infrastructure: Protected,
    standings: Standings,
    accounts: Accounts,
    /// The same of hints, by which alarms are raised and nobody is judged.
    hinted: Accounts,
    brake: Brake,
    /// Challenges without a login.
    scans: Repeats,
    /// Hints about strangers to whom we opened a flow.
    called: Repeats,
    /// Failures on strange accounts of those who are held back.
    strange: Repeats,
    sources: Sources,
    alarms: Alarms,
    pub(super) flows: Flows,
}

impl Target {
    /// How many addresses are known-good now, and how many shared.
    pub fn count(&self, now: Time) -> (usize, usize) {
        self.standings.count(now)
    }

    /// Since when an address is known-good.
    pub fn known_since(&self, addr: &Addr) -> Option<Time> {
        self.standings.known_since(addr)
    }

    /// Since when the brake is on.
    pub fn brake(&self) -> Option<Time> {
        self.brake.on_since()
    }

    /// The alarms.
    pub fn alarms(&self) -> &Alarms {
        &self.alarms
    }

    /// Addresses that the logs name wrongly.
    pub fn sources(&self) -> &Sources {
        &self.sources
    }

    /// Is there something that time ends?
    pub(super) fn is_idle(&self) -> bool {
        self.brake.is_idle()
    }
}

impl Engine {
    /// What is known of addresses beside their failures.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// What an address is to us, as our own jails see it.
    pub fn rank(&self, addr: &Addr, now: Time) -> Rank {
        if self.target.infrastructure.covers(addr) {
            return Rank::Shared;
        }
        match self.target.standings.rank(addr, now) {
            // Whoever lost his standing is not cut off as long as he is held back for it.
            // Who is held back for hints had none.
            Rank::Stranger
                if self.is_throttled(addr) && !self.target.flows.is_held_back(addr, now) =>
            {
                Rank::Known
            }
            rank => rank,
        }
    }

    /// Is somebody in this network who is more than a stranger?
    pub(super) fn has_friends(&self, network: &Addr, now: Time) -> bool {
        let mut standings = self.target.standings.all();
        let is_friend =
            |addr: &Addr| network.overlaps(addr) && self.rank(addr, now) != Rank::Stranger;
        self.target.infrastructure.any_inside(network)
            || standings.any(|kept| is_friend(&kept.addr))
    }

    pub(super) fn is_throttled(&self, addr: &Addr) -> bool {
        self.throttles(addr).next().is_some()
    }

    /// The bans by which an address is held back.
    fn throttles(&self, addr: &Addr) -> impl Iterator<Item = Ban> {
        let ban = |jail: &JailName| self.ledger.get(jail, addr);
        let bans = self.jails.keys().filter_map(ban);
        bans.filter(|ban| ban.reason == Reason::Throttled)
    }

    /// Is this one of our own jails?
    pub(super) fn is_ours(&self, jail: &str) -> bool {
        self.jails.get(jail).is_some_and(is_ours)
    }

    /// These addresses speak for many.
    pub(super) fn infrastructure(&mut self, addrs: Protected) {
        self.target.infrastructure = addrs;
    }

    /// With how much patience a failure is judged; none if it is not judged at all.
    pub(super) fn patience(
        &mut self,
        failure: &Failure,
        offender: Addr,
        now: Time,
        effects: &mut Vec<Effect>,
    ) -> Option<u32> {
        let jail = self.jails.get(&failure.jail).filter(|jail| is_ours(jail));
        let Some(jail) = jail else { return Some(1) };
        let trust = jail.trust(failure);
        let maxretry = jail.rules.maxretry;
        let rank = self.rank(&offender, now);
        match (rank, trust) {
            (Rank::Stranger, Trust::Hint) => {
                if !self.target.flows.are_ours(&offender, now) {
                    return Some(1);
                }
                // Whoever has us answer to another port than his own is called, too.
                self.friend_is_hinted_at(failure, offender, effects);
                self.called_is_hinted_at(failure, offender, now, effects);
                return None;
            }
            (Rank::Stranger, Trust::Proof) => {
                let void = self.target.standings.failed(&offender);
                effects.extend(void.map(recorded));
                if self.target.standings.has_logged_in(&offender) {
                    // Only to know whose login is no surprise: a stranger's total decides.
                    let accounts = &mut self.target.accounts;
                    let _pace = accounts.failed(offender, tried(failure), failure.time, maxretry);
                }
                return Some(1);
            }
            (_, Trust::Hint) => {
                self.friend_is_hinted_at(failure, offender, effects);
                let (user, _) = tried(failure);
                let is_own = user.is_empty() || self.target.standings.has_worked(&offender, user);
                if rank == Rank::Known && !is_own {
                    self.called_is_hinted_at(failure, offender, now, effects);
                }
                return None;
            }
            (_, Trust::Proof) => {}
        }
        let is_judged = self.friend_fails(failure, offender, rank, now, effects);
        is_judged.then_some(PATIENCE)
    }

    /// A known-good address has used its patience up.
    pub(super) fn lose(&mut self, addr: &Addr, effects: &mut Vec<Effect>) {
        effects.extend(self.target.standings.lose(addr).map(recorded));
    }

    /// A failure of an address that may not be banned. Says whether others are for as many.
    fn hidden(&mut self, failure: &Failure, addr: Addr) -> bool {
        let Some(jail) = self.jails.get(&failure.jail).filter(|jail| is_ours(jail)) else {
            return false;
        };
        let rules = (jail.rules.maxretry, jail.rules.findtime);
        let sources = &mut self.target.sources;
        sources.failed(addr, &failure.jail, failure.time, rules)
    }

    /// A failure of a protected or ignored address: whoever failed hides behind it, perhaps.
    /// Who forges packets from a protected network fills no list with its hosts: it counts
    /// as one, and hints only where nobody outside could send from.
    pub(super) fn wrong_source(&mut self, failure: &Failure, effects: &mut Vec<Effect>) {
        let Some(jail) = self.jails.get(&failure.jail) else {
            return;
        };
        let ip = failure.addr.ip();
        if jail.trust(failure) == Trust::Hint && !addr::is_private(ip) {
            return;
        }
        let ignored = jail.rules.ignored.around(&failure.addr);
        let addr = match self.protected.around(&failure.addr).or(ignored) {
            Some(around) if !ip.is_loopback() => around,
            _ => failure.addr,
        };
        if self.hidden(failure, addr) {
            let alarm = Alarm {
                kind: AlarmKind::WrongSource,
                time: failure.time,
                addr: Some(addr),
                jail: failure.jail.clone(),
                accounts: Vec::new(),
                count: self
                    .jails
                    .get(&failure.jail)
                    .map_or(0, |jail| jail.rules.maxretry),
            };
            self.alarm(alarm, effects);
        }
    }

    pub(super) fn alarm(&mut self, alarm: Alarm, effects: &mut Vec<Effect>) {
        if self.target.alarms.raise(&alarm) {
            effects.push(Effect::Tell(Tell::Alarm(alarm)));
        }
    }

    /// A filter saw something of an address.
    pub(super) fn sighting(&mut self, seen: &Sighting, now: Time, effects: &mut Vec<Effect>) {
        let Some(jail) = self.jails.get(&seen.jail).filter(|jail| is_ours(jail)) else {
            return;
        };
        if self.protected.covers(&seen.addr) || jail.rules.ignored.covers(&seen.addr) {
            return;
        }
        let offender = offender(jail, seen.addr, &self.protected);
        match seen.sight {
            Sight::Challenge => self.challenged(seen, offender, now, effects),
            // Whoever forges a login of his own is not found scanning; it gains him no more.
            Sight::Success if seen.trust == Trust::Hint => self.target.scans.forget(&offender),
            Sight::Success => {
                self.target.scans.forget(&offender);
                let user = seen.user.as_deref().unwrap_or("");
                let before = |trust| self.failed_before(seen, &offender, trust);
                let failed = before(Trust::Proof);
                if let Some(count) = failed.or_else(|| before(Trust::Hint)) {
                    let alarm = Alarm {
                        kind: AlarmKind::Cracked,
                        time: seen.time,
                        addr: Some(offender),
                        jail: seen.jail.clone(),
                        accounts: seen.user.iter().map(|user| user.as_ref().into()).collect(),
                        count,
                    };
                    self.suspect_crack(alarm, effects);
                }
                self.target.brake.login(&offender, seen.time);
                self.login(offender, user, seen.time, failed.is_none(), effects);
            }
        }
    }

    /// After how many failures a login worked, if these were many: then somebody guessed.
    /// Behind an address that has logged in before the account's own failures count.
    fn failed_before(&self, login: &Sighting, addr: &Addr, trust: Trust) -> Option<u32> {
        let time = login.time;
        let maxretry = self.jails.get(&login.jail)?.rules.maxretry;
        let many = maxretry.saturating_sub(MANY_BELOW).max(MANY_LEAST);
        let failed = match self.target.standings.has_logged_in(addr) {
            false => {
                let reason = match trust {
                    Trust::Proof => Reason::MaxRetry,
                    Trust::Hint => Reason::Hints,
                };
                let guessed = |ban: &Ban| {
                    let is_over = ban.until.is_some_and(|until| until <= time);
                    ban.reason == reason && ban.since <= time && !is_over
                };
                let bans = self
                    .ours()
                    .filter_map(|jail| self.ledger.get(&jail.rules.name, addr));
                let banned = bans.filter(guessed).map(|ban| ban.tries).max();
                let waiting = self.backlog.guesses(addr, reason);
                let tries = self.tries(addr, time, trust);
                banned.unwrap_or(0).max(waiting).max(tries)
            }
            true => {
                let accounts = match trust {
                    Trust::Proof => &self.target.accounts,
                    Trust::Hint => &self.target.hinted,
                };
                accounts.tries(addr, login.user.as_deref().unwrap_or(""), time)
            }
        };
        (failed >= many).then_some(failed)
    }

    /// The most tries of an address in any of our jails: proven ones, or all.
    fn tries(&self, addr: &Addr, time: Time, trust: Trust) -> u32 {
        let tries = self.ours().map(|jail| match trust {
            Trust::Proof => jail.proven(addr, time),
            Trust::Hint => jail.tries(addr, time),
        });
        tries.max().unwrap_or(0)
    }

    fn ours(&self) -> impl Iterator<Item = &Jail> {
        self.jails.values().filter(|jail| is_ours(jail))
    }

    /// A login has worked.
    fn login(
        &mut self,
        addr: Addr,
        user: &str,
        time: Time,
        may_be_merit: bool,
        effects: &mut Vec<Effect>,
    ) {
        let is_merit = may_be_merit && self.tries(&addr, time, Trust::Proof) == 0;
        let news = self.target.standings.login(addr, user, time, is_merit);
        if let Some(kept) = news {
            self.lift_shared(addr, time, effects);
            effects.push(recorded(kept));
        }
    }

    /// A registrar's store holds these registrations.
    pub(super) fn registered(
        &mut self,
        registrations: Vec<Registration>,
        now: Time,
        effects: &mut Vec<Effect>,
    ) {
        for Registration { addr, user, since } in registrations {
            let wider = Addr::offender(addr.ip());
            let addr = match addr.is_host() && !self.protected.any_inside(&wider) {
                true => wider,
                false => addr,
            };
            if !self.protected.covers(&addr) {
                self.target.scans.forget(&addr);
                // An entry from before the failures says nothing about an outage.
                if let Some(since) = since.map(|since| since.min(now)) {
                    self.target.brake.login(&addr, since);
                    self.login(addr, &user, since, true, effects);
                }
                self.login(addr, &user, now, true, effects);
            }
        }
    }

    /// Lets go an address that turns out to be shared: after a first start its failures may
    /// be read before its logins.
    fn lift_shared(&mut self, addr: Addr, now: Time, effects: &mut Vec<Effect>) {
        if self.rank(&addr, now) == Rank::Shared {
            self.let_go(&addr, |ban| ban.reason != Reason::Operator, effects);
        }
    }

    /// Lifts such bans of our own jails on an address.
    fn let_go(&mut self, addr: &Addr, which: impl Fn(&Ban) -> bool, effects: &mut Vec<Effect>) {
        let bans = self
            .ours()
            .filter_map(|jail| self.ledger.get(&jail.rules.name, addr));
        let bans: Vec<Ban> = bans.filter(which).collect();
        for ban in bans {
            self.ledger.remove(&ban.jail, addr);
            effects.push(unblock(set_of(&ban), *addr));
            let jail = ban.jail.clone();
            effects.push(Effect::Record(Record::Unban { jail, addr: *addr }));
            effects.push(Effect::Tell(Tell::Unbanned(ban)));
        }
    }

    /// An address was asked to authenticate.
    fn challenged(&mut self, seen: &Sighting, addr: Addr, now: Time, effects: &mut Vec<Effect>) {
        let rules = self.jails.get(&seen.jail).map(|jail| &jail.rules);
        let Some((rules, most)) = rules.and_then(|rules| Some((rules, rules.maxchallenges?)))
        else {
            return;
        };
        let is_over = rules.is_over(Reason::Scan, seen.time, now);
        let is_spared = self.rank(&addr, now) != Rank::Stranger
            || self.ledger.get(&seen.jail, &addr).is_some()
            || self.target.flows.are_ours(&addr, now);
        if is_over || is_spared {
            return;
        }
        let scans = &mut self.target.scans;
        let count = scans.again(addr, seen.form, seen.time, rules.findtime);
        if count >= most {
            scans.forget(&addr);
            let ban = self.sentence(&seen.jail, addr, seen.time, Reason::Scan, count);
            self.convict(ban, Testimony::default(), now, effects);
        }
    }

    /// A ban that rests on hints: it is laid on unless we opened a flow to the address.
    pub(super) fn suspect(
        &mut self,
        ban: Ban,
        testimony: Testimony,
        now: Time,
        effects: &mut Vec<Effect>,
    ) {
        if !self.asks_flows {
            // The door may stay shut; then there is nothing to do.
            let _shut = self.impose(ban, testimony, now, effects);
            return;
        }
        if self.target.flows.is_waiting(&ban.jail, &ban.addr) {
            return;
        }
        let addr = ban.addr;
        if self.target.flows.wait(Case { ban, testimony }, now) {
            effects.push(Effect::AskFlow(addr));
        }
    }

    /// Those about whom it is asked whether we opened a flow to them.
    pub fn asked_flows(&self) -> impl Iterator<Item = Addr> + use<> {
        self.target.flows.waiting().into_iter()
    }

    /// The answer: did we open a flow to this address? A yes lifts what rests on hints.
    pub(super) fn flow(&mut self, addr: Addr, ours: bool, now: Time, effects: &mut Vec<Effect>) {
        for Case { ban, testimony } in self.target.flows.answered(addr, ours, now) {
            if !ours {
                let _shut = self.impose(ban, testimony, now, effects);
            }
        }
        if ours {
            self.let_go(&addr, rests_on_hints, effects);
        }
    }

    /// Does any ban rest on hints?
    pub fn bans_rest_on_hints(&self, now: Time) -> bool {
        self.target.flows.are_hinted(now)
    }

    /// To these we send in vain. Of somebody who is banned for hints it is our own drops that
    /// eat the answers, and a flow that began when he was cut off is one that we wanted.
    pub(super) fn unanswered(
        &mut self,
        all: Vec<Unanswered>,
        now: Time,
        effects: &mut Vec<Effect>,
    ) {
        let Some(laid) = self.laid_since else {
            return; // drops are lifted: whoever is banned is answered as ever
        };
        let all = self.target.flows.unanswered(all, now);
        let ends = all.into_iter().flat_map(|(sent, not_before)| {
            let addrs = [Addr::offender(sent.ip), Addr::host(sent.ip)];
            addrs.map(|addr| (addr, sent, not_before))
        });
        let is_wanted = |(addr, sent, not_before): &(Addr, Unanswered, Option<Time>)| {
            let held = |jail: &Jail| self.ledger.get(&jail.rules.name, addr);
            let mut bans = self.ours().filter_map(held).filter(rests_on_hints);
            bans.any(|ban| {
                let since = self.target.flows.cut_off(addr).unwrap_or(ban.since);
                let since = since.max(laid);
                let is_new = not_before.is_some_and(|time| time >= since + GRACE);
                is_new || now >= since + settled(*sent)
            })
        };
        let wanted: Vec<Addr> = ends.filter(is_wanted).map(|(addr, ..)| addr).collect();
        for addr in wanted {
            self.flow(addr, true, now, effects);
        }
    }

    /// What time brings.
    pub(super) fn target_tick(&mut self, now: Time, effects: &mut Vec<Effect>) {
        self.target.flows.tick(now);
        let over = match self.target.brake.tick(now) {
            Change::Off => Tell::OutageOver,
            Change::TooLong => Tell::OutageTooLong,
            Change::None | Change::On(_) | Change::Still(_) => return,
        };
        self.target.accounts.clear();
        self.target.hinted.clear();
        effects.push(Effect::Tell(over));
    }

    /// Takes over what was written down of standings. Where something has happened since,
    /// both together are written down again.
    pub(super) fn restore_standings(
        &mut self,
        kept: Vec<KeptStanding>,
        now: Time,
        effects: &mut Vec<Effect>,
    ) {
        for kept in kept {
            effects.extend(self.target.standings.restore(kept, now).map(recorded));
        }
    }

    /// Has all standings written down.
    pub(super) fn record_standings(&self, effects: &mut Vec<Effect>) {
        effects.extend(self.target.standings.all().map(recorded));
    }
}

fn is_ours(jail: &Jail) -> bool {
    jail.rules.tally == Tally::Tries
}

/// Whose account was tried, and in which form of a line that is told.
fn tried(failure: &Failure) -> (&str, u32) {
    (failure.user.as_deref().unwrap_or(""), failure.form)
}

fn recorded(kept: KeptStanding) -> Effect {
    Effect::Record(Record::Known(kept))
}
