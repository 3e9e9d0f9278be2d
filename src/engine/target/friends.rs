//! Failures of those who are more than strangers: known-good and shared addresses.
//!
//! Their pace is watched, by account and in all, for the alarm `cracking`; when very many of
//! them fail at once the brake is on, and what fails as in an outage is not judged. An
//! address that is held back and goes on trying **strange accounts**, ones on which no login
//! has worked from there, as often again as convicted it, is a cracker and no phone with
//! an outdated password: it is cut off like a stranger.

use super::{recorded, tried};
use crate::addr::Addr;
use crate::ban::record::Record;
use crate::engine::{Effect, Engine, set_of, unblock};
use crate::jail::Rules;
use crate::jail::brake::Change;
use crate::jail::standing::{self, PATIENCE, Rank};
use crate::ticket::{Alarm, AlarmKind, Ban, Failure, Reason, Testimony, Trust};
use crate::time::Time;

impl Engine {
    /// Looks at a proven failure of a friend; says whether a jail shall judge it.
    pub(super) fn friend_fails(
        &mut self,
        failure: &Failure,
        offender: Addr,
        rank: Rank,
        now: Time,
        effects: &mut Vec<Effect>,
    ) -> bool {
        let (user, _) = tried(failure);
        let is_own = user.is_empty() || self.target.standings.has_worked(&offender, user);
        let is_on = match is_own {
            true => self.is_outage(failure, offender, now, effects),
            false => self.target.brake.on_since().is_some() && rank == Rank::Shared,
        };
        // Of an office of hundreds not all accounts are remembered; it is not sanctioned anyway.
        if !self.is_cracking(failure, offender, is_on, effects) && is_on {
            return false;
        }
        if rank == Rank::Shared {
            self.hidden(failure, offender);
            return false;
        }
        is_own || !self.is_cut_off(failure, offender, now, effects)
    }

    /// A failure that may be somebody else's work. It counts for the alarm, apart: that
    /// sanctions nobody, and pjsip over UDP gives nothing but hints.
    pub(super) fn friend_is_hinted_at(
        &mut self,
        failure: &Failure,
        offender: Addr,
        effects: &mut Vec<Effect>,
    ) {
        if self.target.brake.on_since().is_none() {
            self.is_cracking(failure, offender, false, effects);
        }
    }

    /// A hint about a stranger to whom we opened a flow, or about a known-good address and an
    /// account that never worked there. With pjsip over UDP every wrong password is one, and
    /// anybody can have himself called or become known-good by an account of his: so in the end
    /// he is held back, for as long as hints ban, and keeps his standing. Calls go on.
    pub(super) fn called_is_hinted_at(
        &mut self,
        failure: &Failure,
        offender: Addr,
        now: Time,
        effects: &mut Vec<Effect>,
    ) {
        let rules = self.jails.get(&failure.jail).map(|jail| &jail.rules);
        let is_over = |rules: &&Rules| rules.is_over(Reason::Hints, failure.time, now);
        let Some(rules) = rules.filter(|rules| !is_over(rules)) else {
            return;
        };
        let enough = rules.maxretry.saturating_mul(PATIENCE);
        let called = &mut self.target.called;
        let tries = called.again(offender, failure.form, failure.time, rules.findtime);
        if tries < enough {
            return;
        }
        called.forget(&offender);
        let reason = Reason::Hints;
        let ban = Ban {
            reason: Reason::Throttled,
            ..self.sentence(&failure.jail, offender, failure.time, reason, tries)
        };
        if self.rank(&offender, now) == Rank::Stranger {
            self.target.flows.hold_back(&ban);
        }
        let _already = self.impose(ban, Testimony::default(), now, effects);
    }

    /// Do very many fail at once, on accounts that have worked where they fail?
    fn is_outage(
        &mut self,
        failure: &Failure,
        offender: Addr,
        now: Time,
        effects: &mut Vec<Effect>,
    ) -> bool {
        let (user, _) = tried(failure);
        let account = (!user.is_empty()).then(|| standing::hash(user));
        let standings = &self.target.standings;
        let known = || standings.census(now);
        let brake = &mut self.target.brake;
        let change = brake.failed(offender, account, failure.time, known);
        let (Change::On(count) | Change::Still(count)) = change else {
            return false;
        };
        if matches!(change, Change::On(_)) {
            self.target.accounts.clear();
            self.target.hinted.clear();
        }
        let alarm = Alarm {
            kind: AlarmKind::Outage,
            time: failure.time,
            addr: None,
            jail: failure.jail.clone(),
            accounts: Vec::new(),
            count,
        };
        self.alarm(alarm, effects); // again in an hour
        true
    }

    /// Counts a failure by its account, and but for an outage in all; says whether only
    /// crackers try as fast. Of a log that names no accounts nothing can be said in an outage.
    fn is_cracking(
        &mut self,
        failure: &Failure,
        offender: Addr,
        is_outage: bool,
        effects: &mut Vec<Effect>,
    ) -> bool {
        let Some(jail) = self.jails.get(&failure.jail) else {
            return false;
        };
        let maxretry = jail.rules.maxretry;
        let accounts = match jail.trust(failure) {
            Trust::Proof => &mut self.target.accounts,
            Trust::Hint => &mut self.target.hinted,
        };
        let one = tried(failure);
        let cracking = match is_outage {
            true if one.0.is_empty() => None,
            true => accounts.retried(offender, one, failure.time, maxretry),
            false => accounts.failed(offender, one, failure.time, maxretry),
        };
        let Some(cracking) = cracking else {
            return false;
        };
        let alarm = Alarm {
            kind: AlarmKind::Cracking,
            time: failure.time,
            addr: Some(offender),
            jail: failure.jail.clone(),
            accounts: cracking.accounts,
            count: cracking.tries,
        };
        self.alarm(alarm, effects);
        true
    }

    /// Counts a failure on a strange account for an address that is held back; cuts it off
    /// if they are too many.
    fn is_cut_off(
        &mut self,
        failure: &Failure,
        offender: Addr,
        now: Time,
        effects: &mut Vec<Effect>,
    ) -> bool {
        let held: Vec<Ban> = self.throttles(&offender).collect();
        let Some(jail) = self.jails.get_mut(&failure.jail) else {
            return false;
        };
        if held.is_empty() {
            return false;
        }
        let findtime = jail.rules.findtime;
        let enough = jail.rules.maxretry.saturating_mul(PATIENCE);
        let strange = &mut self.target.strange;
        let tries = strange.again(offender, failure.form, failure.time, findtime);
        if tries < enough {
            return false;
        }
        strange.forget(&offender);
        let testimony = jail.take_testimony(&offender);
        for ban in &held {
            self.ledger.remove(&ban.jail, &offender);
        }
        // What he has earned by logins of his own meanwhile is void, too.
        let lost = self.target.standings.lose(&offender).map(recorded);
        let since = failure.time;
        let ban = self.sentence(&failure.jail, offender, since, Reason::MaxRetry, tries);
        let jail = ban.jail.clone();
        let _shut = self.impose(ban, testimony, now, effects);
        for ban in held {
            effects.push(unblock(set_of(&ban), offender));
            if ban.jail != jail {
                let (jail, addr) = (ban.jail, offender);
                effects.push(Effect::Record(Record::Unban { jail, addr }));
            }
        }
        effects.extend(lost);
        true
    }
}
