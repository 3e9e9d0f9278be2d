//! The window: how often somebody failed lately.
//!
//! It counts as fail2ban does: neither a sliding nor a fixed window,
//! but a count that is scaled to a rate as soon as its first failure is older
//! than `findtime`, so an old burst decays and no time stamps are kept.
//!
//! One failed try may write several lines, each of another form (a NOTICE and a
//! SecurityEvent, say), so every form has a counter of its own and the tries of
//! an offender are the largest of them. Counting lines would ban an honest person
//! at a half or a third of the tries that the operator allowed; counting distinct
//! Call-IDs would let scanners through that reuse one. Of all tries those are counted
//! beside that are proven: what is not may have been sent by somebody else.

use std::collections::HashSet;
use std::time::Duration;

use lru::LruCache;

use crate::addr::Addr;
use crate::ticket::{FormTries, Trust};
use crate::time::Time;

/// Offenders that one jail remembers; the one that was silent longest is
/// forgotten first, and those with proven tries last, so that nobody who forges packets
/// has them forgotten. 65,536 of them take about 10 MB, and a botnet that is larger
/// than this and fails less often than that many others is APIBAN's business.
pub const OFFENDERS_MAX: usize = 65_536;

/// Line forms told apart for one offender; more share the last counter.
const FORMS_MAX: usize = 64;

/// One failure, as it is counted.
#[derive(Clone, Copy, Debug)]
pub struct Try {
    /// Which line form tells of it.
    pub form: u32,
    /// When.
    pub time: Time,
    /// Is it proven?
    pub trust: Trust,
}

/// The count after a first failure.
fn first(Try { form, time, trust }: Try) -> FormTries {
    FormTries {
        form,
        count: 1,
        proven: u32::from(trust == Trust::Proof),
        first: time,
        last: time,
    }
}

/// One more failure: fail2ban's count, see the module's header.
fn add(tries: &mut FormTries, Try { time, trust, .. }: Try, findtime: Duration) {
    if time > tries.last {
        let start = time - findtime;
        if tries.first < start {
            let span = time.since(tries.first).as_secs_f64();
            let rate = |count: u32| f64::from(count) / span * findtime.as_secs_f64();
            tries.count = rate(tries.count).round_ties_even() as u32;
            tries.proven = rate(tries.proven).round_ties_even() as u32;
            tries.first = start;
        }
        tries.last = time;
    }
    tries.count = tries.count.saturating_add(1);
    let proven = u32::from(trust == Trust::Proof);
    tries.proven = tries.proven.saturating_add(proven);
}

/// One offender's counters, by line form.
#[derive(Debug)]
struct Tries {
    forms: Vec<FormTries>,
    last: Time,
    /// All failures since the first, whatever their count decayed to.
    failures: u32,
}

impl Tries {
    /// The largest count of the forms that were seen within `findtime` before `time`.
    fn count(&self, time: Time, findtime: Duration) -> u32 {
        let counts = self.recent(time, findtime).map(|form| form.count);
        counts.max().unwrap_or(0)
    }

    /// The same of what is proven.
    fn proven(&self, time: Time, findtime: Duration) -> u32 {
        let counts = self.recent(time, findtime).map(|form| form.proven);
        counts.max().unwrap_or(0)
    }

    fn recent(&self, time: Time, findtime: Duration) -> impl Iterator<Item = &FormTries> {
        let start = time - findtime;
        let forms = self.forms.iter();
        forms.filter(move |form| form.last > start || form.last == time)
    }
}

/// The offenders of one jail.
#[derive(Debug)]
pub struct Window {
    /// Those of whom nothing is proven.
    hinted: LruCache<Addr, Tries>,
    /// The others.
    proven: LruCache<Addr, Tries>,
    /// Who was forgotten although his tries still counted.
    crowded: Option<Crowded>,
    /// Who must be written down again.
    changed: Changed,
}

/// Offenders whose tries have changed since they were last written down.
#[derive(Debug, Default)]
enum Changed {
    /// Nobody.
    #[default]
    Nobody,
    /// These.
    These(HashSet<Addr>),
    /// More than are remembered, so that all of it is written down again.
    All,
}

impl Changed {
    fn add(&mut self, addr: Addr) {
        match self {
            Changed::Nobody => *self = Changed::These(HashSet::from([addr])),
            Changed::These(these) => {
                these.insert(addr);
                if these.len() > OFFENDERS_MAX {
                    *self = Changed::All;
                }
            }
            Changed::All => {}
        }
    }
}

/// Offenders who were forgotten early, as too many others fail.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Crowded {
    /// How many, since the start.
    pub offenders: u64,
    /// When the last was.
    pub last: Time,
}

/// What has changed in a window.
#[derive(Debug, Default, PartialEq)]
pub struct News {
    /// Is what was written down before void?
    pub all: bool,
    /// Offenders and their tries; none if they are forgotten.
    pub tries: Vec<(Addr, Vec<FormTries>)>,
}

impl Default for Window {
    fn default() -> Self {
        Window {
            hinted: LruCache::unbounded(),
            proven: LruCache::unbounded(),
            crowded: None,
            changed: Changed::Nobody,
        }
    }
}

impl Window {
    /// Counts one failure and returns the tries of this offender so far.
    pub fn add(&mut self, offender: Addr, one: Try, findtime: Duration) -> u32 {
        if self.len() >= OFFENDERS_MAX && self.peek(&offender).is_none() {
            self.make_room(one.time, findtime);
        }
        self.changed.add(offender);
        if one.trust == Trust::Proof
            && let Some(tries) = self.hinted.pop(&offender)
        {
            self.proven.put(offender, tries);
        }
        let is_proven = one.trust == Trust::Proof || self.proven.contains(&offender);
        let table = match is_proven {
            true => &mut self.proven,
            false => &mut self.hinted,
        };
        let tries = table.get_or_insert_mut(offender, || Tries {
            forms: Vec::with_capacity(2),
            last: one.time,
            failures: 0,
        });
        tries.last = tries.last.max(one.time);
        tries.failures = tries.failures.saturating_add(1);
        match tries.forms.iter().position(|known| known.form == one.form) {
            Some(place) => add(&mut tries.forms[place], one, findtime),
            None if tries.forms.len() < FORMS_MAX => tries.forms.push(first(one)),
            None => add(&mut tries.forms[FORMS_MAX - 1], one, findtime),
        }
        tries.count(one.time, findtime)
    }

    /// Counts `more` for the failure that was added last; returns the tries.
    pub fn raise(&mut self, offender: &Addr, one: Try, more: u32, findtime: Duration) -> u32 {
        let (hinted, proven) = (&mut self.hinted, &mut self.proven);
        let tries = proven.peek_mut(offender).or(hinted.peek_mut(offender));
        let Some(tries) = tries else {
            return 0;
        };
        let place = tries.forms.iter().position(|known| known.form == one.form);
        if let Some(known) = tries.forms.get_mut(place.unwrap_or(FORMS_MAX - 1)) {
            known.count = known.count.saturating_add(more);
            if one.trust == Trust::Proof {
                known.proven = known.proven.saturating_add(more);
            }
        }
        tries.count(tries.last, findtime)
    }

    fn peek(&self, offender: &Addr) -> Option<&Tries> {
        let proven = self.proven.peek(offender);
        proven.or_else(|| self.hinted.peek(offender))
    }

    /// How many failures of an offender there were since the first that counts.
    pub fn failures(&self, offender: &Addr) -> u32 {
        let tries = self.peek(offender);
        tries.map_or(0, |tries| tries.failures)
    }

    /// Has an offender tries of this form?
    pub fn has(&self, offender: &Addr, form: u32) -> bool {
        let tries = self.peek(offender);
        tries.is_some_and(|tries| tries.forms.iter().any(|known| known.form == form))
    }

    /// The time of an offender's last failure.
    pub fn last(&self, offender: &Addr) -> Option<Time> {
        self.peek(offender).map(|tries| tries.last)
    }

    /// The tries of an offender that count at `now`.
    pub fn tries(&self, offender: &Addr, now: Time, findtime: Duration) -> u32 {
        match self.peek(offender) {
            Some(tries) if tries.last > now - findtime => tries.count(tries.last, findtime),
            _ => 0,
        }
    }

    /// The same of what is proven.
    pub fn proven(&self, offender: &Addr, now: Time, findtime: Duration) -> u32 {
        match self.peek(offender) {
            Some(tries) if tries.last > now - findtime => tries.proven(tries.last, findtime),
            _ => 0,
        }
    }

    /// Forgets an offender whose last failure is older than `findtime`.
    pub fn forget_silent(&mut self, offender: &Addr, now: Time, findtime: Duration) {
        if self
            .last(offender)
            .is_some_and(|last| last <= now - findtime)
        {
            self.forget(offender);
        }
    }

    /// Forgets what is not proven of an offender.
    pub fn forget_hints(&mut self, offender: &Addr) {
        let Some(tries) = self.proven.peek_mut(offender) else {
            return self.forget(offender);
        };
        tries.forms.retain(|form| form.proven > 0);
        for form in &mut tries.forms {
            form.count = form.proven;
        }
        self.changed.add(*offender);
    }

    /// Forgets an offender, since it is banned or pardoned now.
    pub fn forget(&mut self, offender: &Addr) {
        let tries = self.proven.pop(offender);
        if tries.or_else(|| self.hinted.pop(offender)).is_some() {
            self.changed.add(*offender);
        }
    }

    /// Forgets whoever was silent longest, of those with hints only if there are any.
    fn make_room(&mut self, now: Time, findtime: Duration) {
        let oldest = self.hinted.pop_lru().or_else(|| self.proven.pop_lru());
        let Some((addr, tries)) = oldest else { return };
        self.changed.add(addr);
        if tries.last > now - findtime {
            let before = self.crowded.map_or(0, |crowded| crowded.offenders);
            self.crowded = Some(Crowded {
                offenders: before.saturating_add(1),
                last: now,
            });
        }
    }

    /// Who was forgotten although his tries still counted.
    pub fn crowded(&self) -> Option<Crowded> {
        self.crowded
    }

    /// Forgets all offenders inside `addr`.
    pub fn forget_inside(&mut self, addr: &Addr) {
        let offenders = self.oldest_first().map(|(offender, _)| *offender);
        let inside: Vec<Addr> = offenders
            .filter(|offender| addr.contains(offender))
            .collect();
        for offender in inside {
            self.forget(&offender);
        }
    }

    /// Forgets those whose last failure is older than `findtime`.
    pub fn expire(&mut self, now: Time, findtime: Duration) {
        let start = now - findtime;
        for table in [&mut self.hinted, &mut self.proven] {
            let is_past = |(_, tries): (&Addr, &Tries)| tries.last <= start;
            while table.peek_lru().is_some_and(is_past) {
                let forgotten = table.pop_lru().map(|(addr, _)| addr);
                forgotten
                    .into_iter()
                    .for_each(|addr| self.changed.add(addr));
            }
        }
    }

    /// All offenders, those first who are the first to be forgotten.
    fn oldest_first(&self) -> impl Iterator<Item = (&Addr, &Tries)> {
        self.hinted.iter().rev().chain(self.proven.iter().rev())
    }

    /// What was written down before is void.
    pub fn renew(&mut self) {
        self.changed = Changed::All;
    }

    /// What has changed since this was last asked, to be written down.
    pub fn news(&mut self) -> News {
        let changed = std::mem::take(&mut self.changed);
        let forms = |addr: &Addr| {
            let tries = self.peek(addr);
            tries.map_or_else(Vec::new, |tries| tries.forms.clone())
        };
        match changed {
            Changed::Nobody => News::default(),
            Changed::These(these) => News {
                all: false,
                tries: these.into_iter().map(|addr| (addr, forms(&addr))).collect(),
            },
            Changed::All => News {
                all: true,
                // So that they are the first to be forgotten again.
                tries: self
                    .oldest_first()
                    .map(|(addr, _)| (*addr, forms(addr)))
                    .collect(),
            },
        }
    }

    /// Takes over what was written down of an offender, unless all of it is past.
    pub fn restore(
        &mut self,
        offender: Addr,
        forms: Vec<FormTries>,
        now: Time,
        findtime: Duration,
    ) {
        let mut forms = forms;
        // A clock that was set back since must not make them count for longer.
        for form in &mut forms {
            form.last = form.last.min(now);
            form.first = form.first.min(now);
        }
        let last = forms.iter().map(|form| form.last).max();
        if let Some(last) = last.filter(|last| *last > now - findtime)
            && self.len() < OFFENDERS_MAX
        {
            let counts = forms.iter().map(|form| form.count);
            let tries = Tries {
                failures: counts.max().unwrap_or(0),
                forms,
                last,
            };
            let is_proven = tries.forms.iter().any(|form| form.proven > 0);
            self.forget(&offender);
            match is_proven {
                true => self.proven.put(offender, tries),
                false => self.hinted.put(offender, tries),
            };
        }
    }

    /// Offenders remembered now.
    pub fn len(&self) -> usize {
        self.hinted.len() + self.proven.len()
    }

    /// Does nobody fail?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FINDTIME: Duration = Duration::from_secs(600);

    fn offender() -> Addr {
        "192.0.2.7".parse().unwrap()
    }

    fn one(form: u32, secs: i64) -> Try {
        Try {
            form,
            time: Time::from_secs(secs),
            trust: Trust::Proof,
        }
    }

    /// The counts after failures at these seconds, all of one form.
    fn counts(times: &[i64]) -> Vec<u32> {
        let mut window = Window::default();
        times
            .iter()
            .map(|secs| window.add(offender(), one(0, *secs), FINDTIME))
            .collect()
    }

    #[test]
    fn counts_as_fail2ban_does() {
        // The first row was measured on fail2ban itself.
        assert_eq!(counts(&[100, 200, 700, 1300]), [1, 2, 3, 3]);
        assert_eq!(counts(&[0, 0, 0, 0]), [1, 2, 3, 4]);
        assert_eq!(counts(&[0, 600, 601]), [1, 2, 3]);
        assert_eq!(counts(&[0, 5_000]), [1, 1]);
        assert_eq!(counts(&[100, 50, 60]), [1, 2, 3]); // an older line counts, and ages nothing
    }

    #[test]
    fn lines_of_other_forms_are_the_same_tries() {
        let mut window = Window::default();
        let mut add = |form, secs| window.add(offender(), one(form, secs), FINDTIME);
        assert_eq!(
            [add(0, 0), add(1, 0), add(0, 1), add(1, 1), add(2, 1)],
            [1, 1, 2, 2, 2]
        );
        assert_eq!(add(2, 2_000), 1); // the other forms' tries are long past
    }

    #[test]
    fn what_is_proven_is_counted_beside() {
        let mut window = Window::default();
        let mut add = |form, secs, trust| {
            let one = Try {
                trust,
                ..one(form, secs)
            };
            let tries = window.add(offender(), one, FINDTIME);
            (tries, window.proven(&offender(), one.time, FINDTIME))
        };
        let counts = [
            add(0, 0, Trust::Hint),
            add(0, 1, Trust::Proof),
            add(0, 2, Trust::Hint),
            add(1, 2, Trust::Proof), // of another form, so maybe of the same tries
            add(1, 3, Trust::Proof),
            add(0, 1_205, Trust::Hint), // half of them are past
        ];
        assert_eq!(counts, [(1, 0), (2, 1), (3, 1), (3, 1), (3, 2), (2, 0)]);
    }

    #[test]
    fn the_silent_are_forgotten() {
        let mut window = Window::default();
        for host in 0..100u8 {
            let addr = Addr::host([192, 0, 2, host].into());
            window.add(addr, one(0, i64::from(host)), FINDTIME);
        }
        window.expire(Time::from_secs(650), FINDTIME);
        assert_eq!(window.len(), 49);
    }

    #[test]
    fn memory_is_bounded_and_hints_are_forgotten_before_proofs() {
        let mut window = Window::default();
        let addr = |number: u32| Addr::host(std::net::IpAddr::V4(number.into()));
        let hint = Try {
            trust: Trust::Hint,
            ..one(0, 700)
        };
        window.add(offender(), one(0, 0), FINDTIME); // long past
        window.add(addr(0), hint, FINDTIME);
        window.add(addr(0), one(0, 700), FINDTIME);
        for number in 1..(OFFENDERS_MAX as u32 + 10) {
            window.add(addr(number), hint, FINDTIME);
        }
        assert_eq!(window.len(), OFFENDERS_MAX);
        let tries = |window: &Window, addr: &Addr| window.tries(addr, hint.time, FINDTIME);
        let counted = [0, 11, 12].map(|number| tries(&window, &addr(number)));
        assert_eq!((counted, window.failures(&offender())), ([2, 0, 1], 1));
        let (offenders, last) = (11, hint.time);
        assert_eq!(window.crowded(), Some(Crowded { offenders, last }));
        // Where all are proven, the one that was silent longest goes.
        let mut window = Window::default();
        for number in 0..(OFFENDERS_MAX as u32 + 1) {
            window.add(addr(number), one(0, i64::from(number)), FINDTIME);
        }
        assert_eq!(window.failures(&addr(0)), 0);
        assert_eq!((window.len(), window.crowded()), (OFFENDERS_MAX, None));
        let mut window = Window::default();
        for form in 0..1_000 {
            window.add(offender(), one(form, 0), FINDTIME);
        }
        assert_eq!(window.peek(&offender()).unwrap().forms.len(), FORMS_MAX);
    }
}
