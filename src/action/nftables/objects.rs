//! Bans in nf_tables: our table with its chain, its sets, and a rule for each set.
//!
//! What holds after [`Objects::ensure`]: each set has its kernel sets for single addresses
//! (and for the prefix that an IPv6 offender is banned by), and the chain has one rule for
//! each kernel set of ours in the table (for each part of its ports, if the jail has some of
//! its own), those of the allow set first. Prefixes of another
//! length get their set when the first is banned.
//!
//! **Lifted** drops leave all rules alone: one that lets every packet pass stands before
//! them. It is one step of the kernel's, and whoever comes next finds it.
//!
//! A set that has less than its size stays as it is until `enlarge`.

mod enlarge;

use std::collections::{BTreeMap, BTreeSet};

use super::listed;
use super::order::{changes, handles_of, rules_of, rules_there};
use super::rule::{Fate, Found, Rule, Seen};
use super::signalling;
use super::{
    CHAIN, Chain, HOOK, Header, Meter, Nftables, PRIORITY, Shape, Steps, TABLE, Trouble, code,
    explain,
};
use crate::action::error::Error;
use crate::action::family::{Family, Kept};
use crate::action::firewall::{Glance, Missing, Note};
use crate::action::foreign::Foreign;
use crate::action::name::{self, Name};
use crate::action::reach::{Narrowed, Reach};
use crate::action::{BATCH_MAX, Sizes, has_timeouts};
use crate::addr::{Addr, V6_OFFENDER_PREFIX};
use crate::ticket::{Entry, Set};

/// The objects in the kernel, and a socket to speak of them.
#[derive(Debug)]
pub(in crate::action) struct Objects {
    nftables: Nftables,
    sizes: Sizes,
    /// The sets that `ensure` was last told of.
    sets: BTreeSet<Set>,
    narrowed: Narrowed,
    /// What we have put into the chains that hold back, as the kernel shows it.
    held: Vec<Vec<u8>>,
    /// And into the one for who is on the list.
    listed: Vec<Vec<u8>>,
    foreign: Foreign,
}

/// What one transaction does at most: the kernel holds its lock for so long, and what
/// may be sent at once is 200 kB where more is not allowed.
const STEPS_MAX: usize = 200;

/// One thing that is done.
#[derive(Clone, Debug)]
enum Step {
    MakeSet(String, Shape),
    MakeMeter(Meter),
    /// The chains that hold back, and all that is in them.
    MakeHeld,
    /// The chain for who is on the list, and all that is in it.
    MakeListed,
    MakeRule(Rule),
    RemoveRule(u64),
    RemoveSet(String),
}

/// What there is in the kernel.
#[derive(Debug)]
struct Present {
    /// Is the table there and looked at?
    awake: bool,
    chain: bool,
    /// Our sets.
    sets: Vec<Header>,
    /// Sets of our names that are not ours.
    foreign: BTreeMap<String, Error>,
    /// The names of the sets in which our rules note what sources send.
    meters: Vec<String>,
    rules: Vec<Found>,
    /// What is in the chains that hold back, as the kernel shows it.
    held: Vec<Vec<u8>>,
    /// And in the one for who is on the list.
    listed: Vec<Vec<u8>>,
}

impl Present {
    fn set(&self, name: &str) -> Option<&Header> {
        self.sets.iter().find(|set| set.name == name)
    }

    /// The rule that lets everything pass.
    fn lifted(&self) -> Option<u64> {
        let mut rules = self.rules.iter();
        let found = rules.find(|found| found.seen == Seen::Lifted);
        found.map(|found| found.handle)
    }

    /// Is there a rule for each of these?
    fn has_all<'a>(&self, mut rules: impl Iterator<Item = &'a Rule>) -> bool {
        self.awake && rules.all(|rule| self.rules.iter().any(|found| rule.is(&found.seen)))
    }
}

impl Objects {
    /// Connects to the kernel; changes nothing.
    pub(in crate::action) fn open(sizes: Sizes, narrowed: Narrowed) -> Result<Self, Error> {
        Ok(Objects {
            nftables: Nftables::open()?,
            sizes,
            sets: BTreeSet::new(),
            narrowed,
            held: Vec::new(),
            listed: Vec::new(),
            foreign: Foreign::default(),
        })
    }

    /// A second one with a socket of its own.
    pub(in crate::action) fn another(&self) -> Result<Self, Error> {
        Ok(Objects {
            nftables: Nftables::open()?,
            sizes: self.sizes,
            sets: self.sets.clone(),
            narrowed: self.narrowed.clone(),
            held: self.held.clone(),
            listed: self.listed.clone(),
            foreign: self.foreign.clone(),
        })
    }

    /// Where bans go, in words.
    pub(in crate::action) fn describe(&self) -> String {
        format!("nftables (table inet {TABLE}, sets ringfence-*), dropped in raw PREROUTING")
    }

    /// Makes what is missing, in one transaction.
    pub(in crate::action) fn ensure(&mut self, sets: BTreeSet<Set>) -> Result<Vec<Note>, Error> {
        let mut notes = Vec::new();
        self.sets = sets;
        let wanted = self.wanted();
        let mut present = self.look()?;
        let foreign = present.foreign.values().cloned();
        notes.extend(foreign.map(|error| Note::Foreign { error }));
        self.foreign.are(present.foreign.clone());
        self.ensure_sets(&present, &wanted, &mut notes)?;
        present = self.look()?;
        self.ensure_listed(&present)?;
        let held = self
            .ensure_held(&present)
            .inspect_err(|_| self.held.clear());
        self.ensure_rules(&present, held.is_ok(), &mut notes)?;
        match held {
            Ok(()) => self.remove_old_meters(&present)?,
            Err(error) => notes.extend(Family::BOTH.map(|family| Note::NoThrottle {
                family,
                reason: error.to_string(),
            })),
        }
        notes.extend(self.strays()?.into_iter().map(|name| Note::Stray { name }));
        if present.lifted().is_some() {
            notes.push(Note::Lifted);
        }
        Ok(notes)
    }

    fn ensure_sets(
        &mut self,
        present: &Present,
        wanted: &[(Name, Shape)],
        notes: &mut Vec<Note>,
    ) -> Result<(), Error> {
        let mut steps = Vec::new();
        for (name, shape) in wanted {
            if present.set(name).is_none() && !present.foreign.contains_key(&**name) {
                let name = name.to_string();
                steps.push(Step::MakeSet(name.clone(), *shape));
                notes.push(Note::Made { name });
            }
        }
        if present.chain && present.awake && steps.is_empty() {
            return Ok(());
        }
        let done = self.nftables.transact(|steps| {
            steps.make_table();
            steps.make_chain();
        });
        done.map_err(too_old)?;
        self.carry_out(&steps).map_err(too_old)
    }

    fn ensure_rules(
        &mut self,
        present: &Present,
        throttles: bool,
        notes: &mut Vec<Note>,
    ) -> Result<(), Error> {
        let wanted = self.rules(present, throttles);
        let changes = changes(&wanted, &present.rules);
        for family in Family::BOTH {
            let mut made = changes.make.iter();
            if made.any(|rule| rule.family == family && matches!(rule.fate, Fate::Drop(_))) {
                notes.push(Note::Ruled { family });
            }
        }
        let make = changes.make.into_iter().map(Step::MakeRule);
        let remove = changes.remove.into_iter().map(Step::RemoveRule);
        let steps: Vec<Step> = make.chain(remove).collect();
        self.carry_out(&steps).map_err(too_old)
    }

    /// Makes the chains that hold back what they should be. Bans stand without them.
    fn ensure_held(&mut self, present: &Present) -> Result<(), Error> {
        let is_held = !self.held.is_empty() && present.held == self.held;
        if !self.sets.contains(&Set::Throttled) || is_held {
            return Ok(());
        }
        let mut steps = meters_missing(signalling::meters(), present);
        steps.push(Step::MakeHeld);
        self.carry_out(&steps).map_err(too_old)?;
        self.held = self.nftables.shown(&signalling::chains())?;
        Ok(())
    }

    /// Makes the chain for who is on the list what it should be.
    fn ensure_listed(&mut self, present: &Present) -> Result<(), Error> {
        if !self.sets.contains(&Set::List) || self.is_listed(present) {
            return Ok(());
        }
        let mut steps = meters_missing(listed::meters(), present);
        steps.push(Step::MakeListed);
        self.carry_out(&steps).map_err(too_old)?;
        self.listed = self.nftables.shown(&[listed::CHAIN])?;
        Ok(())
    }

    /// Is the chain for who is on the list as we have made it?
    fn is_listed(&self, present: &Present) -> bool {
        !self.listed.is_empty() && present.listed == self.listed
    }

    /// Takes away the meters of an earlier version.
    fn remove_old_meters(&mut self, present: &Present) -> Result<(), Error> {
        let is_old = |name: &&String| {
            let mut known = signalling::meters().chain(listed::meters());
            !known.any(|meter| meter.name == **name)
        };
        let old = present.meters.iter().filter(is_old);
        let steps: Vec<Step> = old.cloned().map(Step::RemoveSet).collect();
        self.change(TABLE, &steps)
    }

    /// The rules for all our sets, with or without those that hold back. A set that no jail
    /// has keeps what it has.
    fn rules(&self, present: &Present, throttles: bool) -> Vec<Rule> {
        let mut rules = Vec::new();
        for header in &present.sets {
            let Some(family) = header.family() else {
                continue;
            };
            let base = name::parts(&header.name).0;
            let is_of = |set: &&Set| base == &*Name::in_nftables(set, family, family.bits());
            rules.extend(match self.sets.iter().find(is_of) {
                Some(set) => rules_of(&header.name, family, &self.narrowed.of(set)),
                None => rules_there(&header.name, family, &present.rules),
            });
        }
        rules.retain(|rule| throttles || !matches!(rule.fate, Fate::Throttle(_)));
        rules
    }

    /// Does these, in transactions of a bounded size.
    fn carry_out(&mut self, steps: &[Step]) -> Result<(), Trouble> {
        for steps in steps.chunks(STEPS_MAX) {
            self.nftables.transact(|batch| {
                for step in steps {
                    match step {
                        Step::MakeSet(name, shape) => batch.make_set(name, *shape),
                        Step::MakeMeter(meter) => batch.make_meter(meter),
                        Step::MakeHeld => batch.make_held(),
                        Step::MakeListed => batch.make_listed(),
                        Step::MakeRule(rule) => batch.make_rule(rule),
                        Step::RemoveRule(handle) => batch.remove_rule(*handle),
                        Step::RemoveSet(name) => batch.remove_set(name),
                    }
                }
            })?;
        }
        Ok(())
    }

    /// The kernel sets that always are there, and how they are made.
    fn wanted(&self) -> Vec<(Name, Shape)> {
        let mut wanted = Vec::new();
        for set in &self.sets {
            let lengths = [
                (Family::V4, Family::V4.bits()),
                (Family::V6, Family::V6.bits()),
                (Family::V6, V6_OFFENDER_PREFIX),
            ];
            for (family, length) in lengths {
                let name = Name::in_nftables(set, family, length);
                wanted.push((name, self.shape(set, family)));
            }
        }
        wanted
    }

    fn shape(&self, set: &Set, family: Family) -> Shape {
        let (size, _) = self.sizes.maxelem(set);
        Shape {
            family,
            size: size.max(1),
            timeouts: has_timeouts(set),
            counters: *set != Set::List, // see `listed`
        }
    }

    /// What is there of ours, and what has a name of ours and is not.
    fn look(&mut self) -> Result<Present, Error> {
        let Some(awake) = self.nftables.table()? else {
            return Ok(Present {
                awake: false,
                chain: false,
                sets: Vec::new(),
                foreign: BTreeMap::new(),
                meters: Vec::new(),
                rules: Vec::new(),
                held: Vec::new(),
                listed: Vec::new(),
            });
        };
        let chains = self.nftables.chains()?;
        let chain = chains.iter().find(|chain| chain.name == CHAIN);
        if let Some(Chain { hook, .. }) = chain
            && *hook != Some((HOOK, PRIORITY))
        {
            return Err(Error::ForeignNft {
                found: format!("a chain {CHAIN} in the table inet {TABLE}"),
                wanted: "one that hooks prerouting with priority raw".to_owned(),
                object: format!("chain inet {TABLE} {CHAIN}"),
            });
        }
        let mut sets = self.nftables.sets()?;
        sets.retain(|set| name::is_ours(&set.name));
        let meters = sets.extract_if(.., |set| set.is_meter());
        let meters = meters.map(|set| set.name).collect();
        let foreign = self.extract_foreign(&mut sets);
        let is_there = |names: &[&str]| chains.iter().any(|chain| names.contains(&&*chain.name));
        let mut shown = |names: &[&str]| match is_there(names) {
            true => self.nftables.shown(names),
            false => Ok(Vec::new()),
        };
        Ok(Present {
            awake,
            held: shown(&signalling::chains())?,
            listed: shown(&[listed::CHAIN])?,
            chain: chain.is_some(),
            rules: match chain {
                Some(_) => self.nftables.rules()?,
                None => Vec::new(),
            },
            sets,
            foreign,
            meters,
        })
    }

    /// Takes out what has the name of a set of ours and is not as ours are.
    fn extract_foreign(&self, there: &mut Vec<Header>) -> BTreeMap<String, Error> {
        let mut foreign = BTreeMap::new();
        for set in &self.sets {
            for family in Family::BOTH {
                let base = Name::in_nftables(set, family, family.bits());
                let shape = self.shape(set, family);
                there.retain(|header| {
                    let is_of = name::parts(&header.name).0 == &*base;
                    let error = is_of.then(|| must_serve(header, &shape).err()).flatten();
                    let serves = error.is_none();
                    foreign.extend(error.map(|error| (header.name.clone(), error)));
                    serves
                });
            }
        }
        foreign
    }

    fn change(&mut self, name: &str, steps: &[Step]) -> Result<(), Error> {
        let done = self.carry_out(steps);
        done.map_err(|trouble| explain(trouble, "change", name))
    }

    fn step(&mut self, name: &str, fill: impl Fn(&mut Steps<'_>)) -> Result<(), Error> {
        let done = self.nftables.transact(fill);
        done.map_err(|trouble| explain(trouble, "change", name))
    }

    /// What of all that `ensure` made is no longer there.
    pub(in crate::action) fn check(&mut self) -> Result<Vec<Missing>, Error> {
        let present = self.look()?;
        let mut missing = Vec::new();
        let wanted = self.wanted();
        for (name, _) in &wanted {
            match self.foreign.at(name) {
                Some(error) if present.foreign.contains_key(&**name) => {
                    missing.push(Missing::Foreign { error });
                }
                // What another took the place of is gone as well.
                _ if present.set(name).is_none() => {
                    let name = name.to_string();
                    missing.push(Missing::Set { name });
                }
                _ => {}
            }
        }
        // What the kernel has refused is a note of `ensure`, and no loss.
        let holds_back = self.sets.contains(&Set::Throttled) && !self.held.is_empty();
        let rules = self.rules(&present, holds_back);
        for family in Family::BOTH {
            let of_family = rules.iter().filter(|rule| rule.family == family);
            let (throttles, drops): (Vec<_>, Vec<_>) =
                of_family.partition(|rule| matches!(rule.fate, Fate::Throttle(_)));
            let (narrow, wide): (Vec<_>, Vec<_>) = drops
                .into_iter()
                .partition(|rule| matches!(rule.fate, Fate::Drop(Some(_))));
            let is_held = present.held == self.held && present.has_all(throttles.into_iter());
            if holds_back && !is_held {
                missing.push(Missing::Throttle { family });
            }
            let is_listed = self.is_listed(&present) || !self.sets.contains(&Set::List);
            if !(present.chain && is_listed && present.has_all(wide.into_iter())) {
                missing.push(Missing::Rule { family });
            }
            for rule in narrow {
                let set = rule.set.clone();
                if !(missing.contains(&Missing::Narrow { set: set.clone() })
                    || present.has_all(std::iter::once(rule)))
                {
                    missing.push(Missing::Narrow { set });
                }
            }
        }
        if missing.is_empty() && !changes(&rules, &present.rules).remove.is_empty() {
            missing.push(Missing::Order);
        }
        Ok(missing)
    }

    /// Whatever anybody changes counts up the kernel's generation. Our own entries do, too:
    /// they make us look more closely than needed, not less.
    pub(in crate::action) fn glance(&mut self) -> Result<Glance, Error> {
        Ok(Glance(vec![self.nftables.generation()?]))
    }

    /// Are the drops out of force by [`Objects::lift`]?
    pub(in crate::action) fn is_lifted(&mut self) -> Result<bool, Error> {
        let rules = self.nftables.rules()?;
        Ok(rules.iter().any(|found| found.seen == Seen::Lifted))
    }

    /// Takes all drops out of force; everything stays.
    pub(in crate::action) fn lift(&mut self) -> Result<(), Error> {
        if self.is_lifted()? {
            return Ok(());
        }
        self.step(CHAIN, |steps| steps.put_lifted())
    }

    /// Puts the drops back in force.
    pub(in crate::action) fn lay(&mut self) -> Result<(), Error> {
        match self.look()?.lifted() {
            Some(handle) => self.change(CHAIN, &[Step::RemoveRule(handle)]),
            None => Ok(()),
        }
    }

    /// Hands over every entry of the set, both families.
    pub(in crate::action) fn list(
        &mut self,
        set: &Set,
        each: &mut dyn FnMut(Kept),
    ) -> Result<(), Error> {
        for family in Family::BOTH {
            let lengths = self.lengths(set, family)?;
            let name = Name::in_nftables(set, family, family.bits());
            if lengths.is_empty() && self.foreign.at(&name).is_none() {
                let name = name.to_string();
                return Err(Error::Missing { name });
            }
            for length in lengths {
                let name = Name::in_nftables(set, family, length);
                self.nftables.each(&name, length, each)?;
            }
        }
        Ok(())
    }

    /// The lengths of prefixes for which the set has a kernel set.
    fn lengths(&mut self, set: &Set, family: Family) -> Result<Vec<u8>, Error> {
        let there = self.nftables.sets()?;
        Ok(self.own_lengths(&there, set, family))
    }

    /// The lengths of prefixes for which the set has one of these that is ours.
    fn own_lengths(&self, there: &[Header], set: &Set, family: Family) -> Vec<u8> {
        let mut lengths = lengths_in(there, set, family);
        let name = |length: &u8| Name::in_nftables(set, family, *length);
        lengths.retain(|length| self.foreign.at(&name(length)).is_none());
        lengths
    }

    /// Every entry that `addr` is, or lies in, by set.
    pub(in crate::action) fn entries_of(&mut self, addr: &Addr) -> Result<Vec<(Set, Kept)>, Error> {
        let mut found = Vec::new();
        let there = self.nftables.sets()?;
        for set in self.sets.clone() {
            for length in self.own_lengths(&there, &set, Family::of(addr)) {
                if length <= addr.prefix_len() {
                    let kept = self.find(&set, &Addr::prefix(addr.ip(), length))?;
                    if let Some(mut kept) = kept {
                        if set == Set::List {
                            (kept.packets, kept.bytes) = self.sent_by(addr)?;
                        }
                        found.push((set.clone(), kept));
                    }
                }
            }
        }
        Ok(found)
    }

    /// How many packets and bytes of this address, on the list, were dropped.
    fn sent_by(&mut self, addr: &Addr) -> Result<(u64, u64), Error> {
        if !addr.is_host() {
            return self.sum_sent(Family::of(addr), |sender| addr.contains(sender));
        }
        let sender = self.nftables.find(&listed::meter(Family::of(addr)), addr)?;
        Ok(sender.map_or((0, 0), |sender| (sender.packets, sender.bytes)))
    }

    fn sum_sent(
        &mut self,
        family: Family,
        is_meant: impl Fn(&Addr) -> bool,
    ) -> Result<(u64, u64), Error> {
        let mut sum = (0_u64, 0_u64);
        let mut count = |sender: Kept| {
            if is_meant(&sender.addr) {
                sum = (sum.0 + sender.packets, sum.1 + sender.bytes);
            }
        };
        self.nftables
            .each(&listed::meter(family), family.bits(), &mut count)?;
        Ok(sum)
    }

    /// Packets and bytes of everybody on the list that were dropped.
    pub(in crate::action) fn sent_by_listed(&mut self) -> Result<(u64, u64), Error> {
        let (four, six) = (
            self.sum_sent(Family::V4, |_| true)?,
            self.sum_sent(Family::V6, |_| true)?,
        );
        Ok((four.0 + six.0, four.1 + six.1))
    }

    fn find(&mut self, set: &Set, addr: &Addr) -> Result<Option<Kept>, Error> {
        let name = Name::in_nftables(set, Family::of(addr), addr.prefix_len());
        self.nftables.find(&name, addr)
    }

    /// Is the host, or a prefix around it, in the set? Of a prefix: is exactly it?
    pub(in crate::action) fn holds(&mut self, set: &Set, addr: &Addr) -> Result<bool, Error> {
        let name = Name::in_nftables(set, Family::of(addr), addr.prefix_len());
        if let Some(error) = self.foreign.at(&name) {
            return Err(error);
        }
        if !addr.is_host() {
            return Ok(self.find(set, addr)?.is_some());
        }
        for length in self.lengths(set, Family::of(addr))? {
            if self.find(set, &Addr::prefix(addr.ip(), length))?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Takes every entry out of the set.
    pub(in crate::action) fn flush(&mut self, set: &Set) -> Result<(), Error> {
        for family in Family::BOTH {
            for length in self.lengths(set, family)? {
                let name = Name::in_nftables(set, family, length);
                self.step(&name, |steps| steps.clear_set(&name))?;
            }
        }
        Ok(())
    }

    /// How many entries the set has, both families; none if it is full, foreign or gone.
    /// nf_tables itself does not say, so they are read.
    pub(in crate::action) fn count(&mut self, set: &Set) -> Result<Option<usize>, Error> {
        let (mut count, there) = (0, self.nftables.sets()?);
        for family in Family::BOTH {
            let lengths = lengths_in(&there, set, family);
            if lengths.is_empty() {
                return Ok(None);
            }
            for length in lengths {
                let name = Name::in_nftables(set, family, length);
                let mut entries = 0;
                self.nftables.each(&name, length, &mut |_| entries += 1)?;
                let header = there.iter().find(|header| header.name == *name);
                let is_full = header.is_none_or(|header| entries >= header.size);
                if is_full || self.foreign.at(&name).is_some() {
                    return Ok(None);
                }
                count += entries as usize;
            }
        }
        Ok(Some(count))
    }

    /// How many entries the set can hold; `None` if it is not there.
    pub(in crate::action) fn capacity(
        &mut self,
        set: &Set,
        family: Family,
    ) -> Result<Option<u32>, Error> {
        let name = Name::in_nftables(set, family, family.bits());
        let sets = self.nftables.sets()?;
        Ok(sets
            .iter()
            .find(|set| set.name == *name)
            .map(|set| set.size))
    }

    /// Puts entries in, or renews their time-outs; `refused` is told whom it did not take.
    pub(in crate::action) fn add(
        &mut self,
        set: &Set,
        family: Family,
        entries: &[Entry],
        refused: &mut dyn FnMut(usize, Error),
    ) {
        by_length(entries, &mut |length, entries| {
            if length == 0 {
                for (place, entry) in entries {
                    refused(*place, Error::Entry { addr: entry.addr });
                }
                return;
            }
            let target = Target {
                set,
                family,
                length,
            };
            if let Some(error) = self.foreign.at(&target.name()) {
                for (place, _) in entries {
                    refused(*place, error.clone());
                }
                return;
            }
            self.add_all(&target, entries, refused);
        });
    }

    /// Adds a batch. If it fails for one of its entries, its halves are tried.
    fn add_all(
        &mut self,
        target: &Target<'_>,
        entries: &[(usize, Entry)],
        refused: &mut dyn FnMut(usize, Error),
    ) {
        let mut done = self.add_batch(target, entries);
        if let Err(Trouble::Refused(code::ENOENT)) = done
            && !target.is_always_there()
            && self.make_length(target).is_ok()
        {
            done = self.add_batch(target, entries);
        }
        match done {
            Ok(()) => {}
            Err(Trouble::Refused(code::ENFILE)) if entries.len() > 1 => {
                let (one, other) = entries.split_at(entries.len() / 2);
                self.add_all(target, one, refused);
                self.add_all(target, other, refused);
            }
            Err(trouble) => {
                let error = explain(trouble, "add to", &target.name());
                for (place, _) in entries {
                    refused(*place, error.clone());
                }
            }
        }
    }

    fn add_batch(
        &mut self,
        target: &Target<'_>,
        entries: &[(usize, Entry)],
    ) -> Result<(), Trouble> {
        let entries = entries.iter().map(|(_, entry)| entry);
        self.put(&target.name(), has_timeouts(target.set), entries)
    }

    /// Puts entries into a kernel set, or renews their time-outs.
    fn put<'a>(
        &mut self,
        name: &str,
        timeouts: bool,
        entries: impl Iterator<Item = &'a Entry> + Clone,
    ) -> Result<(), Trouble> {
        let renews = self.nftables.renews || !timeouts;
        self.nftables.transact(|steps| {
            steps.put_in(name, entries.clone(), timeouts);
            if !renews {
                // What is there keeps its time-out, so all are there now, and made anew.
                steps.take_out(name, entries.clone());
                steps.put_in(name, entries.clone(), timeouts);
            }
        })
    }

    /// Makes the kernel set for prefixes of one more length, with its rule.
    fn make_length(&mut self, target: &Target<'_>) -> Result<(), Error> {
        let present = self.look()?;
        let name = target.name();
        // Where the table was taken away, one set of it would be no help.
        if !present.chain {
            let name = name.to_string();
            return Err(Error::Missing { name });
        }
        if present.set(&name).is_some() {
            return Ok(());
        }
        let shape = self.shape(target.set, target.family);
        let reach = self.narrowed.of(target.set);
        self.change(&name, &make_set(&name, shape, &reach))
    }

    /// Takes entries out, those that are there.
    pub(in crate::action) fn del(
        &mut self,
        set: &Set,
        family: Family,
        entries: &[Entry],
        refused: &mut dyn FnMut(usize, Error),
    ) {
        by_length(entries, &mut |length, entries| {
            let target = Target {
                set,
                family,
                length,
            };
            if self.foreign.at(&target.name()).is_none() {
                self.del_all(&target, entries, refused);
            }
        });
    }

    fn del_all(
        &mut self,
        target: &Target<'_>,
        entries: &[(usize, Entry)],
        refused: &mut dyn FnMut(usize, Error),
    ) {
        let name = target.name();
        let done = self
            .nftables
            .transact(|steps| steps.take_out(&name, entries.iter().map(|(_, entry)| entry)));
        match done {
            Ok(()) => {}
            // One is not there, or the set is not.
            Err(Trouble::Refused(code::ENOENT)) if entries.len() > 1 => {
                let (one, other) = entries.split_at(entries.len() / 2);
                self.del_all(target, one, refused);
                self.del_all(target, other, refused);
            }
            Err(Trouble::Refused(code::ENOENT)) => {
                let is_gone = target.is_always_there()
                    && matches!(self.capacity(target.set, target.family), Ok(None));
                if is_gone {
                    let name = name.to_string();
                    refused(entries[0].0, Error::Missing { name });
                }
            }
            Err(trouble) => {
                let error = explain(trouble, "delete from", &name);
                for (place, _) in entries {
                    refused(*place, error.clone());
                }
            }
        }
    }

    /// Takes the chain away with its rules, so nothing is blocked; sets and entries stay.
    pub(in crate::action) fn remove_rules(&mut self) -> Result<(), Error> {
        if !self.look()?.chain {
            return Ok(());
        }
        let chains = self.nftables.chains()?;
        self.step(CHAIN, |steps| remove_chains(steps, &chains))
    }

    /// Takes away all of ours: the table, unless it holds something of somebody else's.
    pub(in crate::action) fn purge(&mut self) -> Result<(), Error> {
        self.sets.clear();
        if self.nftables.table()?.is_none() {
            return Ok(());
        }
        let chains = self.nftables.chains()?;
        let sets = self.nftables.sets()?;
        let is_ours = |set: &&Header| name::is_ours(&set.name) && set.family().is_some();
        let is_all_ours = chains.iter().all(is_our_chain) && sets.iter().all(|set| is_ours(&set));
        self.step(TABLE, |steps| {
            if is_all_ours {
                return steps.remove_table();
            }
            remove_chains(steps, &chains);
            for set in sets.iter().filter(is_ours) {
                steps.remove_set(&set.name);
            }
        })
    }

    /// Are there sets of ours, from this run or another?
    pub(in crate::action) fn has_traces(&mut self) -> Result<bool, Error> {
        Ok(!(self.sets.is_empty() && self.strays()?.is_empty()))
    }

    /// Removes sets of ours that `ensure` was not told of.
    pub(in crate::action) fn remove_strays(&mut self) -> Result<Vec<String>, Error> {
        let strays = self.strays()?;
        if strays.is_empty() {
            return Ok(strays);
        }
        let present = self.look()?;
        let mut steps: Vec<Step> = Vec::new();
        for name in &strays {
            steps.extend(remove_set(name, &present));
        }
        self.change(TABLE, &steps)?;
        Ok(strays)
    }

    fn strays(&mut self) -> Result<Vec<String>, Error> {
        let of_set = |set| Family::BOTH.map(|family| Name::in_nftables(set, family, family.bits()));
        let known: Vec<Name> = self.sets.iter().flat_map(of_set).collect();
        let is_known = |name: &str| known.iter().any(|known| **known == *name);
        let sets = self.nftables.sets()?.into_iter();
        let ours = sets
            .filter(|set| name::is_ours(&set.name) && set.family().is_some() && !set.is_meter());
        Ok(ours
            .map(|set| set.name)
            .filter(|name| !is_known(name::parts(name).0))
            .collect())
    }
}

/// The lengths of prefixes for which the set has one of these.
fn lengths_in(there: &[Header], set: &Set, family: Family) -> Vec<u8> {
    let base = Name::in_nftables(set, family, family.bits());
    let length = |set: &Header| match name::parts(&set.name) {
        (name, length, false) if name == &*base => Some(length.unwrap_or(family.bits())),
        _ => None,
    };
    there.iter().filter_map(length).collect()
}

/// A kernel set: one length of prefixes of one family of a set.
struct Target<'a> {
    set: &'a Set,
    family: Family,
    length: u8,
}

impl Target<'_> {
    fn name(&self) -> Name {
        Name::in_nftables(self.set, self.family, self.length)
    }

    /// Was it made by `ensure`?
    fn is_always_there(&self) -> bool {
        self.length == self.family.bits()
    }
}

/// Is told a length of prefixes, and entries of that length with their places.
type EachLength<'a> = dyn FnMut(u8, &[(usize, Entry)]) + 'a;

/// Hands over the entries of each length, with their places. Most often all have one.
fn by_length(entries: &[Entry], each: &mut EachLength<'_>) {
    let mut lengths: Vec<u8> = entries
        .iter()
        .map(|entry| entry.addr.prefix_len())
        .collect();
    lengths.sort_unstable();
    lengths.dedup();
    for length in lengths {
        let places = entries.iter().copied().enumerate();
        let of_length: Vec<_> = places
            .filter(|(_, entry)| entry.addr.prefix_len() == length)
            .collect();
        of_length
            .chunks(BATCH_MAX)
            .for_each(|entries| each(length, entries));
    }
}

/// What makes a set and its rules.
fn make_set(name: &str, shape: Shape, reach: &Reach) -> Vec<Step> {
    let rules = rules_of(name, shape.family, reach).into_iter();
    std::iter::once(Step::MakeSet(name.to_owned(), shape))
        .chain(rules.map(Step::MakeRule))
        .collect()
}

/// What takes a set and its rules away.
fn remove_set(name: &str, present: &Present) -> Vec<Step> {
    let rules = handles_of(name, &present.rules).into_iter();
    let rules = rules.map(Step::RemoveRule);
    rules.chain([Step::RemoveSet(name.to_owned())]).collect()
}

/// What makes those of these meters that are not there.
fn meters_missing(meters: impl Iterator<Item = Meter>, present: &Present) -> Vec<Step> {
    let missing = meters.filter(|meter| !present.meters.contains(&meter.name));
    missing.map(Step::MakeMeter).collect()
}

/// The kernel does not know what we need.
fn too_old(trouble: Trouble) -> Error {
    match trouble {
        Trouble::Refused(code::EINVAL | code::EOPNOTSUPP | code::ENOENT) => {
            let reason = match explain(trouble, "make", TABLE) {
                Error::Kernel { reason, .. } => reason,
                _ => "it lacks a part".to_owned(),
            };
            let what = "table, chain, sets and rules";
            Error::OldNftables { what, reason }
        }
        trouble => explain(trouble, "make", TABLE),
    }
}

fn is_our_chain(chain: &Chain) -> bool {
    match chain.hook {
        Some(hook) => chain.name == CHAIN && hook == (HOOK, PRIORITY),
        None => chain.name == listed::CHAIN || signalling::chains().contains(&&*chain.name),
    }
}

/// Takes away those of these chains that are ours.
fn remove_chains(steps: &mut Steps<'_>, chains: &[Chain]) {
    let (base, others): (Vec<_>, Vec<_>) = chains
        .iter()
        .filter(|chain| is_our_chain(chain))
        .partition(|chain| chain.hook.is_some());
    // First those that lead to others.
    for chain in base.into_iter().chain(others) {
        steps.clear_chain(&chain.name);
        steps.remove_chain(&chain.name);
    }
}

/// A set that is not as ours are is somebody else's.
fn must_serve(header: &Header, shape: &Shape) -> Result<(), Error> {
    let serves = header.family() == Some(shape.family)
        && header.has_timeouts() == shape.timeouts
        && (header.counters || !shape.counters);
    if serves {
        return Ok(());
    }
    let Header { name, .. } = header;
    Err(Error::ForeignNft {
        found: format!(
            "a set {name} in the table inet {TABLE}, and it is a {}",
            header.description()
        ),
        wanted: match shape.counters {
            true => format!("a set of {} addresses with counters", shape.family.word()),
            false => format!("a set of {} addresses", shape.family.word()),
        },
        object: format!("set inet {TABLE} {name}"),
    })
}
