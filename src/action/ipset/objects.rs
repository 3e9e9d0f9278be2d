//! Bans in the kernel's ipset: the sets, the list of those that block, the rules.
//!
//! What holds after [`Objects::ensure`]: for each set its two kernel sets, all but
//! the allow sets members of the list `ringfence`, and one rule per family. Rules
//! come last and go first, so no rule ever refers to what is not there. A jail whose drops
//! are for some ports is no member of the list, and has rules of its own.
//!
//! **Lifted** drops leave the rule alone: an empty list changes places with
//! `ringfence`, whose members wait under the name `ringfence~lifted`. It is one step
//! of the kernel's, so a crash leaves either all of it or nothing, and whoever comes
//! next sees by the members which. (Rules for some ports, and those that hold back the
//! throttled, do go, next.)

use std::collections::{BTreeMap, BTreeSet};

use super::rules::{self, Found, Placed, Rule};
use super::{Header, Ipset, Shape};
use crate::action::error::Error;
use crate::action::family::{Family, Kept};
use crate::action::firewall::{Glance, Missing, Note, UNSPOKEN};
use crate::action::foreign::Foreign;
use crate::action::name::{self, LIFTED, Name, ROOT, SPARE};
use crate::action::reach::Narrowed;
use crate::action::{BATCH_MAX, Sizes, has_timeouts};
use crate::addr::Addr;
use crate::ticket::{Entry, Set};

/// Buckets that a jail's set begins with: bans of a bad day without enlarging.
const JAIL_HASHSIZE: u32 = 16_384;

/// Buckets of the sets that stay small: what people allow, and known-good addresses that
/// misbehave.
const SMALL_HASHSIZE: u32 = 1_024;

/// The fewest buckets that the kernel makes.
const HASHSIZE_MIN: u32 = 64;

/// The most buckets that we ask for, 32 MiB of them: room for 8 million entries.
const HASHSIZE_MAX: u32 = 1 << 22;

/// The sets and rules in the kernel, and a socket to speak of them.
#[derive(Debug)]
pub(in crate::action) struct Objects {
    ipset: Ipset,
    sizes: Sizes,
    /// The sets that `ensure` was last told of.
    sets: BTreeSet<Set>,
    narrowed: Narrowed,
    /// The rules of each family; none of IPv6 if it cannot be guarded.
    placed: [Option<Placed>; 2],
    foreign: Foreign,
}

impl Objects {
    /// Connects to the kernel; changes nothing.
    pub(in crate::action) fn open(sizes: Sizes, narrowed: Narrowed) -> Result<Self, Error> {
        Ok(Objects {
            ipset: Ipset::open()?,
            sizes,
            sets: BTreeSet::new(),
            narrowed,
            placed: Family::BOTH.map(|_| Some(Placed::default())),
            foreign: Foreign::default(),
        })
    }

    /// A second one with a socket of its own.
    pub(in crate::action) fn another(&self) -> Result<Self, Error> {
        Ok(Objects {
            ipset: Ipset::open()?,
            sizes: self.sizes,
            sets: self.sets.clone(),
            narrowed: self.narrowed.clone(),
            placed: self.placed.clone(),
            foreign: self.foreign.clone(),
        })
    }

    /// Where bans go, in words.
    pub(in crate::action) fn describe(&self) -> String {
        let form = rules::form().unwrap_or_default();
        format!(
            "kernel ipset (sets ringfence-*), dropped in raw PREROUTING by iptables{form} and ip6tables"
        )
    }

    /// Makes what is missing: sets, then their places in the list, rules last.
    pub(in crate::action) fn ensure(&mut self, sets: BTreeSet<Set>) -> Result<Vec<Note>, Error> {
        let mut notes = Vec::new();
        self.sets = sets;
        self.destroy_if_there(SPARE)?; // left by a crash
        let mut foreign = BTreeMap::new();
        for set in self.sets.clone() {
            for family in Family::BOTH {
                match self.ensure_set(&set, family, &mut notes) {
                    // The rule needs it, and another's would let others pass.
                    Err(error) if (&set, family) == (&Set::Allow, Family::V4) => return Err(error),
                    Err(error @ Error::Foreign { .. }) => {
                        let name = Name::of(&set, family).to_string();
                        foreign.insert(name, error);
                    }
                    ensured => ensured?,
                }
            }
        }
        notes.extend(
            foreign
                .values()
                .cloned()
                .map(|error| Note::Foreign { error }),
        );
        self.foreign.are(foreign);
        self.ensure_list(&mut notes)?;
        self.ensure_rules(&mut notes)?;
        self.leave_list()?;
        notes.extend(self.strays()?.into_iter().map(|name| Note::Stray { name }));
        if self.is_lifted()? {
            notes.push(Note::Lifted);
        }
        Ok(notes)
    }

    fn ensure_set(
        &mut self,
        set: &Set,
        family: Family,
        notes: &mut Vec<Note>,
    ) -> Result<(), Error> {
        let name = Name::of(set, family);
        let shape = shape(&self.sizes, set, family);
        let Some(header) = self.ipset.header(&name)? else {
            self.ipset.create_net(&name, &shape)?;
            let name = name.to_string();
            notes.push(Note::Made { name });
            return Ok(());
        };
        if !header.is_net(family) {
            return Err(Error::Foreign {
                name: name.to_string(),
                found: header.description(),
                wanted: format!("hash:net {}", family.word()),
            });
        }
        if !serves(&header, &shape) {
            let entries = self.replace(&name, &shape)?;
            notes.push(Note::Enlarged {
                name: name.to_string(),
                maxelem: shape.maxelem,
                entries,
            });
        }
        Ok(())
    }

    /// Puts a set of this shape in the place of `name`, with its entries, remaining
    /// time-outs and counters. Rules and lists refer to the place, so they go on.
    fn replace(&mut self, name: &str, shape: &Shape) -> Result<usize, Error> {
        self.destroy_if_there(SPARE)?;
        self.ipset.create_net(SPARE, shape)?;
        let mut copy = Ipset::open()?;
        let mut lane: Vec<Kept> = Vec::with_capacity(BATCH_MAX);
        let (mut entries, mut trouble) = (0, None);
        let mut carry = |lane: &mut Vec<Kept>| {
            entries += lane.len();
            copy.add_kept(SPARE, lane, shape.timeouts, &mut |_, error| {
                trouble = Some(error);
            });
            lane.clear();
        };
        self.ipset.each(name, &mut |kept| {
            lane.push(kept);
            if lane.len() == BATCH_MAX {
                carry(&mut lane);
            }
        })?;
        carry(&mut lane);
        match trouble {
            Some(error) => {
                self.ipset.destroy(SPARE)?;
                Err(error)
            }
            None => {
                self.ipset.swap(name, SPARE)?;
                self.ipset.destroy(SPARE)?;
                Ok(entries)
            }
        }
    }

    fn ensure_list(&mut self, notes: &mut Vec<Note>) -> Result<(), Error> {
        match self.ipset.header(ROOT)? {
            None => {
                self.ipset.create_list(ROOT)?;
                let name = ROOT.to_owned();
                notes.push(Note::Made { name });
            }
            Some(header) if !header.is_list() => {
                return Err(Error::Foreign {
                    name: ROOT.to_owned(),
                    found: header.description(),
                    wanted: "list:set".to_owned(),
                });
            }
            Some(_) => {}
        }
        let list = self.list_of_members()?;
        for name in self.blocking() {
            self.ipset.join(list, &name)?;
        }
        Ok(())
    }

    /// Takes those out of the list that have rules of their own by now.
    fn leave_list(&mut self) -> Result<(), Error> {
        let (list, narrow) = (self.list_of_members()?, self.narrow());
        for name in narrow.into_iter().flat_map(|set| names_of([&set])) {
            if self.foreign.at(&name).is_none() {
                self.ipset.leave(list, &name)?;
            }
        }
        Ok(())
    }

    /// Are the drops out of force by [`Objects::lift`]?
    pub(in crate::action) fn is_lifted(&mut self) -> Result<bool, Error> {
        let header = self.ipset.header(LIFTED)?;
        let is_there = header.is_some_and(|header| header.is_list());
        Ok(is_there && self.members(ROOT)?.is_empty())
    }

    fn members(&mut self, list: &str) -> Result<Vec<String>, Error> {
        match self.ipset.members(list) {
            Err(Error::Missing { .. }) => Ok(Vec::new()),
            members => members,
        }
    }

    /// Takes all drops out of force; sets, entries and the rule for the list stay.
    pub(in crate::action) fn lift(&mut self) -> Result<(), Error> {
        if !self.is_lifted()? {
            self.destroy_if_there(LIFTED)?; // left by a crash
            self.ipset.create_list(LIFTED)?;
            self.ipset.swap(ROOT, LIFTED)?;
        }
        self.ensure_rules(&mut Vec::new())
    }

    /// Puts the drops back in force.
    pub(in crate::action) fn lay(&mut self) -> Result<(), Error> {
        if !self.is_lifted()? {
            return self.destroy_if_there(LIFTED); // left by a crash
        }
        self.ipset.swap(ROOT, LIFTED)?;
        self.destroy_if_there(LIFTED)?;
        self.ensure_rules(&mut Vec::new()) // `ensure` has said what is wrong
    }

    /// The list that has the blocking sets for members now.
    fn list_of_members(&mut self) -> Result<&'static str, Error> {
        Ok(if self.is_lifted()? { LIFTED } else { ROOT })
    }

    /// Puts the rules in place that are wanted now. IPv4 stands without IPv6, so what is
    /// wrong there is a note and no error.
    fn ensure_rules(&mut self, notes: &mut Vec<Note>) -> Result<(), Error> {
        let is_lifted = self.is_lifted()?;
        if self.place(Family::V4, is_lifted, notes)? {
            notes.push(Note::Ruled { family: Family::V4 });
        }
        let allow = self.foreign.at(&Name::of(&Set::Allow, Family::V6));
        let ruled = match (rules::is_spoken(Family::V6), allow) {
            (true, Some(error)) => Err(error.to_string()),
            (true, None) => self
                .place(Family::V6, is_lifted, notes)
                .map_err(|error| error.to_string()),
            (false, _) => Err(UNSPOKEN.to_owned()),
        };
        match ruled {
            Ok(true) => notes.push(Note::Ruled { family: Family::V6 }),
            Ok(false) => {}
            Err(reason) => {
                self.placed[Family::V6 as usize] = None;
                notes.push(Note::NoIpv6 { reason });
            }
        }
        Ok(())
    }

    /// Puts a family's rules in place. Bans stand without those that hold back, so what is
    /// wrong with them is a note and no error. Says if what drops was missing.
    fn place(
        &mut self,
        family: Family,
        is_lifted: bool,
        notes: &mut Vec<Note>,
    ) -> Result<bool, Error> {
        let wanted = match is_lifted {
            true => vec![Rule::Drop],
            false => self.wanted(family),
        };
        let known = names_of(&self.sets);
        let is_stray = |set: &str| !is_lifted && is_stray(set, &known);
        let placed = self.placed[family as usize].get_or_insert_default();
        match rules::ensure(family, &wanted, placed, &is_stray) {
            Err(error) if wanted.iter().any(Rule::is_throttle) => {
                let bans: Vec<Rule> = wanted
                    .into_iter()
                    .filter(|rule| !rule.is_throttle())
                    .collect();
                let done = rules::ensure(family, &bans, placed, &is_stray)?;
                let reason = error.to_string();
                notes.push(Note::NoThrottle { family, reason });
                Ok(done)
            }
            done => done,
        }
    }

    /// The rules of a family while drops are in force.
    fn wanted(&self, family: Family) -> Vec<Rule> {
        let is_ours = |set: &Set| self.foreign.at(&Name::of(set, family)).is_none();
        let mut rules = vec![Rule::Drop];
        for set in self.narrow().iter().filter(|set| is_ours(set)) {
            let name = Name::of(set, family);
            rules.extend(Rule::narrow(&name, &self.narrowed.of(set)));
        }
        if self.sets.contains(&Set::Throttled) && is_ours(&Set::Throttled) {
            rules.extend(Rule::THROTTLES);
        }
        rules
    }

    /// The families that have rules.
    fn ruled(&self) -> impl Iterator<Item = (Family, &Placed)> {
        let placed = Family::BOTH.into_iter().zip(&self.placed);
        placed.filter_map(|(family, placed)| Some((family, placed.as_ref()?)))
    }

    /// The sets whose drops are for some ports.
    fn narrow(&self) -> Vec<Set> {
        let is_narrow = |set: &&Set| !self.narrowed.of(set).is_everything();
        self.sets.iter().filter(is_narrow).cloned().collect()
    }

    /// The kernel sets that belong into the list.
    fn blocking(&self) -> Vec<Name> {
        let blocks = |set: &&Set| {
            !matches!(set, Set::Allow | Set::Throttled) && self.narrowed.of(set).is_everything()
        };
        let mut names = names_of(self.sets.iter().filter(blocks));
        names.retain(|name| self.foreign.at(name).is_none());
        names
    }

    /// What of all that `ensure` made is no longer there. Nothing is changed.
    pub(in crate::action) fn check(&mut self) -> Result<Vec<Missing>, Error> {
        let names = self.ipset.names()?;
        let there = |name: &str| names.iter().any(|other| other == name);
        let list = self.list_of_members()?;
        let members = match there(list) {
            true => self.ipset.members(list)?,
            false => Vec::new(),
        };
        let mut missing = Vec::new();
        for family in Family::BOTH {
            for name in self.sets.iter().map(|set| Name::of(set, family)) {
                let header = self.ipset.header(&name)?;
                let is_ours = header.is_some_and(|header| header.is_net(family));
                match self.foreign.at(&name) {
                    Some(error) if there(&name) && !is_ours => {
                        missing.push(Missing::Foreign { error });
                    }
                    // What another took the place of is gone as well.
                    _ if !is_ours => {
                        let name = name.to_string();
                        missing.push(Missing::Set { name });
                    }
                    _ => {}
                }
            }
        }
        if !there(ROOT) {
            let name = ROOT.to_owned();
            missing.push(Missing::Set { name });
        }
        for name in self.blocking() {
            if there(&name) && !members.iter().any(|member| **member == *name) {
                let name = name.to_string();
                missing.push(Missing::Member { name });
            }
        }
        let known = names_of(&self.sets);
        let mut is_changed = false;
        for (family, placed) in self.ruled() {
            match rules::check(family, placed, &|set| is_stray(set, &known))? {
                Found::Whole => {}
                Found::Changed => is_changed = true,
                Found::Gone(rules) => missing.extend(gone(family, rules)),
            }
        }
        if is_changed && missing.is_empty() {
            missing.push(Missing::Order);
        }
        Ok(missing)
    }

    /// The members of the lists, and how often rules refer to lists and small sets: so a
    /// rule that is gone shows without a program that looks for it. The large sets are not
    /// asked, since the kernel counts their entries for it.
    pub(in crate::action) fn glance(&mut self) -> Result<Glance, Error> {
        let small = [Set::Allow, Set::Throttled];
        let small = names_of(self.sets.intersection(&BTreeSet::from(small)));
        let mut seen = Vec::new();
        for name in small.iter().map(|name| &**name).chain([ROOT, LIFTED]) {
            let header = self.ipset.header(name)?;
            let references = header.as_ref().map(|header| u64::from(header.references));
            let lists = header.filter(Header::is_list);
            seen.push(references);
            seen.push(lists.map(|list| u64::from(list.entries)));
        }
        Ok(Glance(seen))
    }

    /// Hands over every entry of the set, both families, as the kernel has it now.
    pub(in crate::action) fn list(
        &mut self,
        set: &Set,
        each: &mut dyn FnMut(Kept),
    ) -> Result<(), Error> {
        for name in self.own(set) {
            self.ipset.each(&name, each)?;
        }
        Ok(())
    }

    /// How many entries the set has, both families; none if it is full, foreign or gone.
    pub(in crate::action) fn count(&mut self, set: &Set) -> Result<Option<usize>, Error> {
        let mut count = 0;
        for name in names_of([set]) {
            let is_ours = self.foreign.at(&name).is_none();
            match self.ipset.header(&name)?.filter(|_| is_ours) {
                Some(header) if header.entries < header.maxelem => count += header.entries as usize,
                _ => return Ok(None),
            }
        }
        Ok(Some(count))
    }

    /// Puts entries in, or renews their time-outs; `refused` is told whom it did not take.
    pub(in crate::action) fn add(
        &mut self,
        set: &Set,
        family: Family,
        entries: &[Entry],
        refused: &mut dyn FnMut(usize, Error),
    ) {
        let (name, timeouts) = (Name::of(set, family), has_timeouts(set));
        match self.foreign.at(&name) {
            Some(error) => (0..entries.len()).for_each(|place| refused(place, error.clone())),
            None => self.ipset.add(&name, entries, timeouts, refused),
        }
    }

    /// Takes entries out, those that are there.
    pub(in crate::action) fn del(
        &mut self,
        set: &Set,
        family: Family,
        entries: &[Entry],
        refused: &mut dyn FnMut(usize, Error),
    ) {
        let name = Name::of(set, family);
        if self.foreign.at(&name).is_none() {
            self.ipset.del(&name, entries, refused);
        }
    }

    /// How many entries the set can hold; `None` if it is not there.
    pub(in crate::action) fn capacity(
        &mut self,
        set: &Set,
        family: Family,
    ) -> Result<Option<u32>, Error> {
        let header = self.ipset.header(&Name::of(set, family))?;
        Ok(header.map(|header| header.maxelem))
    }

    /// Every entry that `addr` is, or lies in, by set. Only the sets that hold it are
    /// read, since ipset tells no single entry.
    pub(in crate::action) fn entries_of(&mut self, addr: &Addr) -> Result<Vec<(Set, Kept)>, Error> {
        let mut found = Vec::new();
        for set in self.sets.clone() {
            let is_there = match self.holds(&set, addr) {
                Err(Error::Missing { .. } | Error::Foreign { .. }) => false,
                holds => holds? || !addr.is_host(), // a prefix around a prefix is not tested
            };
            if is_there {
                let name = Name::of(&set, Family::of(addr));
                self.ipset.each(&name, &mut |kept| {
                    if kept.addr.contains(addr) {
                        found.push((set.clone(), kept));
                    }
                })?;
            }
        }
        Ok(found)
    }

    /// Is the host, or a prefix around it, in the set? Of a prefix: is exactly it?
    pub(in crate::action) fn holds(&mut self, set: &Set, addr: &Addr) -> Result<bool, Error> {
        let name = Name::of(set, Family::of(addr));
        match self.foreign.at(&name) {
            Some(error) => Err(error),
            None => self.ipset.test(&name, addr),
        }
    }

    /// Takes every entry out of the set.
    pub(in crate::action) fn flush(&mut self, set: &Set) -> Result<(), Error> {
        for name in self.own(set) {
            self.ipset.flush(&name)?;
        }
        Ok(())
    }

    /// The kernel sets of a set, without what is of its name and not ours.
    fn own(&self, set: &Set) -> Vec<Name> {
        let mut names = names_of([set]);
        names.retain(|name| self.foreign.at(name).is_none());
        names
    }

    /// Takes the rules away, so nothing is blocked; sets and entries stay. This takes
    /// milliseconds whatever the number of bans.
    pub(in crate::action) fn remove_rules(&mut self) -> Result<(), Error> {
        self.placed = Family::BOTH.map(|_| Some(Placed::default()));
        self.remove(&|_| true)
    }

    /// Takes those rules away that look up such sets.
    fn remove(&self, is_such: &dyn Fn(&str) -> bool) -> Result<(), Error> {
        let mut done = Ok(());
        for family in Family::BOTH {
            match rules::remove(family, is_such) {
                // A program that is not there, or cannot match sets, never put a rule in place.
                Err(Error::NoProgram { .. } | Error::NoSetMatch { .. }) | Ok(()) => {}
                Err(Error::NoRawTable { .. }) => {}
                Err(error) => done = Err(error),
            }
        }
        done
    }

    /// Takes away the rules, then every set of ours. Sets of other types are not ours,
    /// whatever they are called.
    pub(in crate::action) fn purge(&mut self) -> Result<(), Error> {
        self.remove_rules()?;
        self.sets.clear();
        // The lists first: while they have members, those cannot go.
        for list in [ROOT, LIFTED] {
            let header = self.ipset.header(list)?;
            if header.is_some_and(|header| header.is_list()) {
                self.ipset.destroy(list)?;
            }
        }
        for name in self.strays()? {
            self.ipset.destroy(&name)?;
        }
        Ok(())
    }

    /// Are there sets of ours, from this run or another?
    pub(in crate::action) fn has_traces(&mut self) -> Result<bool, Error> {
        Ok(!(self.sets.is_empty() && self.strays()?.is_empty()))
    }

    /// Removes sets of ours that `ensure` was not told of, as of a jail that is gone.
    /// Their names are returned.
    pub(in crate::action) fn remove_strays(&mut self) -> Result<Vec<String>, Error> {
        let strays = self.strays()?;
        let list = self.list_of_members()?;
        if !strays.is_empty() {
            self.remove(&|set| strays.iter().any(|stray| stray == set))?;
        }
        for name in &strays {
            self.ipset.leave(list, name)?;
            self.ipset.destroy(name)?;
        }
        Ok(strays)
    }

    fn strays(&mut self) -> Result<Vec<String>, Error> {
        let known = names_of(&self.sets);
        let mut strays = Vec::new();
        for name in self.ipset.names()? {
            let ours = name::is_ours(&name) && !known.iter().any(|known| **known == *name);
            if ours
                && self
                    .ipset
                    .header(&name)?
                    .is_some_and(|header| header.is_any_net())
            {
                strays.push(name);
            }
        }
        Ok(strays)
    }

    fn destroy_if_there(&mut self, name: &str) -> Result<(), Error> {
        match self.ipset.destroy(name) {
            Err(Error::Missing { .. }) => Ok(()),
            other => other,
        }
    }
}

/// Is a set of ours none of these, as that of a jail that is gone?
fn is_stray(set: &str, known: &[Name]) -> bool {
    set != ROOT && !known.iter().any(|known| **known == *set)
}

/// What is missing where these rules are gone.
fn gone(family: Family, rules: Vec<Rule>) -> Vec<Missing> {
    let mut missing: Vec<Missing> = Vec::new();
    for rule in rules {
        let is_gone = match rule {
            Rule::Drop => Missing::Rule { family },
            Rule::Narrow { set, .. } => Missing::Narrow { set },
            Rule::Throttle(_) => Missing::Throttle { family },
        };
        if !missing.contains(&is_gone) {
            missing.push(is_gone);
        }
    }
    missing
}

/// Can this set be used as it is? Larger is fine, and so are other buckets.
fn serves(header: &Header, shape: &Shape) -> bool {
    header.maxelem >= shape.maxelem && header.timeouts == shape.timeouts && header.counters
}

fn names_of<'a>(sets: impl IntoIterator<Item = &'a Set>) -> Vec<Name> {
    let both = |set| Family::BOTH.map(|family| Name::of(set, family));
    sets.into_iter().flat_map(both).collect()
}

/// How the kernel set is made.
fn shape(sizes: &Sizes, set: &Set, family: Family) -> Shape {
    let (maxelem, _) = sizes.maxelem(set);
    let maxelem = maxelem.max(1);
    let ceiling = match set {
        Set::Jail(_) => JAIL_HASHSIZE,
        Set::List => HASHSIZE_MAX,
        Set::Allow | Set::Throttled => SMALL_HASHSIZE,
    };
    // Two entries a bucket is where the kernel's tables are fast and do not grow.
    let half = (maxelem / 2).checked_next_power_of_two().unwrap_or(ceiling);
    Shape {
        family,
        hashsize: half.clamp(HASHSIZE_MIN, ceiling),
        maxelem,
        timeouts: has_timeouts(set),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_made_for_their_full_size() {
        let sizes = Sizes {
            jail: 100,
            list: 1_000_000,
            allow: 65_536,
        };
        for (set, hashsize) in [
            (Set::Jail("asterisk".into()), 64),
            (Set::List, 524_288),
            (Set::Allow, 1_024),
        ] {
            assert_eq!(
                shape(&sizes, &set, Family::V4).hashsize,
                hashsize,
                "{set:?}"
            );
        }
        let largest = Sizes {
            jail: u32::MAX,
            list: u32::MAX,
            allow: 0,
        };
        assert_eq!(
            shape(&largest, &Set::List, Family::V6).hashsize,
            HASHSIZE_MAX
        );
        assert_eq!(shape(&largest, &Set::Allow, Family::V6).maxelem, 1);
    }
}
