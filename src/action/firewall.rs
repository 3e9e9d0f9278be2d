//! The kernel objects that bans live in: made, looked over, and taken away.
//!
//! What holds after [`Firewall::ensure`]: for each set its two kernel sets, all but
//! the allow sets members of the list `ringfence`, and one rule per family. Rules
//! come last and go first, so no rule ever refers to what is not there.
//!
//! Absent: what goes into the sets (see `apply`).

use std::collections::BTreeSet;

use super::Sizes;
use super::error::Error;
use super::ipset::{BATCH_MAX, Family, Header, Ipset, Kept, Shape};
use super::name::{self, Name, ROOT, SPARE};
use super::rules::{self, Rule};
use crate::addr::Addr;
use crate::ticket::{Entry, Set};

/// What [`Firewall::ensure`] did or could not do. Not errors: protection stands.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Note {
    /// A set was made.
    #[error("made the set {name}")]
    Made {
        /// Its name.
        name: String,
    },
    /// A set was replaced by a larger one with the same entries.
    #[error("enlarged the set {name} to {maxelem} entries and kept its {entries}")]
    Enlarged {
        /// Its name.
        name: String,
        /// What it can hold now.
        maxelem: u32,
        /// How many were carried over.
        entries: usize,
    },
    /// A rule was put in place.
    #[error("put the rule for {} in place", family.word())]
    Ruled {
        /// Which family it is for.
        family: Family,
    },
    /// Known-good addresses cannot be held back.
    #[error("signalling of known-good addresses cannot be held back over {}: {reason}", family.word())]
    NoThrottle {
        /// Which family.
        family: Family,
        /// Why, and what helps.
        reason: String,
    },
    /// IPv6 cannot be guarded.
    #[error("IPv6 is not guarded, IPv4 is: {reason}")]
    NoIpv6 {
        /// Why, and what helps.
        reason: String,
    },
    /// A set of ours is there that no jail has now. It blocks until its entries
    /// expire; see [`Firewall::remove_strays`].
    #[error("the set {name} belongs to no jail that runs; its entries still block")]
    Stray {
        /// Its name.
        name: String,
    },
}

/// What [`Firewall::check`] misses.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Missing {
    /// A set.
    #[error("the set {name} is gone")]
    Set {
        /// Its name.
        name: String,
    },
    /// A set is not in the list of those that block.
    #[error("the set {name} is no longer in the list `ringfence`, so it blocks nothing")]
    Member {
        /// Its name.
        name: String,
    },
    /// A rule.
    #[error("the rule for {} is gone, so nothing is blocked", family.word())]
    Rule {
        /// Which family it was for.
        family: Family,
    },
}

/// The kernel's firewall.
#[derive(Debug)]
pub struct Firewall {
    pub(super) ipset: Ipset,
    pub(super) sizes: Sizes,
    /// The sets that `ensure` was last told of.
    sets: BTreeSet<Set>,
    /// Is there a rule for IPv6?
    ipv6: bool,
    /// Reused by `apply`: in which order the orders are done.
    pub(super) turn: Vec<usize>,
    /// Reused by `apply`: what waits to be sent, per family.
    pub(super) waiting: [Vec<Entry>; 2],
}

impl Firewall {
    /// Connects to the kernel; changes nothing.
    pub fn open(sizes: Sizes) -> Result<Self, Error> {
        Ok(Firewall {
            ipset: Ipset::open()?,
            sizes,
            sets: BTreeSet::new(),
            ipv6: rules::is_spoken(Family::V6),
            turn: Vec::new(),
            waiting: [Vec::new(), Vec::new()],
        })
    }

    /// A second one with a socket of its own, for another thread.
    pub fn handle(&self) -> Result<Self, Error> {
        Ok(Firewall {
            sets: self.sets.clone(),
            ipv6: self.ipv6,
            ..Firewall::open(self.sizes)?
        })
    }

    /// Makes what is missing for these sets (and the allow set): sets, then their
    /// places in the list, rules last. What is there already keeps its entries. A set
    /// that is too small is replaced by a larger one without a gap; let no other
    /// thread apply orders meanwhile, since what it adds in this moment can be lost.
    pub fn ensure(&mut self, sets: &[Set]) -> Result<Vec<Note>, Error> {
        let mut notes = Vec::new();
        self.sets = sets.iter().cloned().chain([Set::Allow]).collect();
        self.destroy_if_there(SPARE)?; // left by a crash
        for set in self.sets.clone() {
            for family in Family::BOTH {
                self.ensure_set(&set, family, &mut notes)?;
            }
        }
        self.ensure_list(&mut notes)?;
        if rules::ensure(Family::V4, Rule::Drop)? {
            notes.push(Note::Ruled { family: Family::V4 });
        }
        self.ensure_rule_v6(&mut notes);
        self.ensure_throttles(&mut notes);
        notes.extend(self.strays()?.into_iter().map(|name| Note::Stray { name }));
        Ok(notes)
    }

    fn ensure_set(
        &mut self,
        set: &Set,
        family: Family,
        notes: &mut Vec<Note>,
    ) -> Result<(), Error> {
        let name = Name::of(set, family);
        let shape = self.sizes.shape(set, family);
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
        for name in self.blocking() {
            self.ipset.join(ROOT, &name)?;
        }
        Ok(())
    }

    /// IPv4 stands without IPv6, so what is wrong here is a note and no error.
    fn ensure_rule_v6(&mut self, notes: &mut Vec<Note>) {
        let ruled = match rules::is_spoken(Family::V6) {
            true => rules::ensure(Family::V6, Rule::Drop).map_err(|error| error.to_string()),
            false => Err("this kernel does not speak it, so nothing comes that way".to_owned()),
        };
        self.ipv6 = ruled.is_ok();
        match ruled {
            Ok(true) => notes.push(Note::Ruled { family: Family::V6 }),
            Ok(false) => {}
            Err(reason) => notes.push(Note::NoIpv6 { reason }),
        }
    }

    /// Bans stand without them, so what is wrong here is a note and no error.
    fn ensure_throttles(&self, notes: &mut Vec<Note>) {
        if !self.sets.contains(&Set::Throttled) {
            return;
        }
        for family in self.ruled() {
            let ruled = Rule::THROTTLES
                .into_iter()
                .try_for_each(|rule| rules::ensure(family, rule).map(drop));
            if let Err(error) = ruled {
                let reason = error.to_string();
                notes.push(Note::NoThrottle { family, reason });
            }
        }
    }

    /// The families that have rules.
    fn ruled(&self) -> impl Iterator<Item = Family> {
        let ipv6 = self.ipv6;
        let families = Family::BOTH.into_iter();
        families.filter(move |family| *family == Family::V4 || ipv6)
    }

    /// The kernel sets that belong into the list.
    fn blocking(&self) -> Vec<Name> {
        let blocks = |set: &&Set| !matches!(set, Set::Allow | Set::Throttled);
        names_of(self.sets.iter().filter(blocks))
    }

    /// What of all that `ensure` made is no longer there. Nothing is changed.
    pub fn check(&mut self) -> Result<Vec<Missing>, Error> {
        let names = self.ipset.names()?;
        let there = |name: &str| names.iter().any(|other| other == name);
        let members = match there(ROOT) {
            true => self.ipset.members(ROOT)?,
            false => Vec::new(),
        };
        let mut missing = Vec::new();
        for name in names_of(&self.sets)
            .iter()
            .map(|name| &**name)
            .chain([ROOT])
        {
            if !there(name) {
                let name = name.to_owned();
                missing.push(Missing::Set { name });
            }
        }
        for name in self.blocking() {
            if there(&name) && !members.iter().any(|member| **member == *name) {
                let name = name.to_string();
                missing.push(Missing::Member { name });
            }
        }
        for family in self.ruled() {
            if !rules::is_present(family, Rule::Drop)? {
                missing.push(Missing::Rule { family });
            }
        }
        Ok(missing)
    }

    /// Hands over every entry of the set, both families, as the kernel has it now.
    pub fn list(&mut self, set: &Set, each: &mut dyn FnMut(Kept)) -> Result<(), Error> {
        for family in Family::BOTH {
            self.ipset.each(&Name::of(set, family), each)?;
        }
        Ok(())
    }

    /// Is the host, or a prefix around it, in the set? Of a prefix: is exactly it?
    pub fn holds(&mut self, set: &Set, addr: &Addr) -> Result<bool, Error> {
        self.ipset.test(&Name::of(set, Family::of(addr)), addr)
    }

    /// Takes every entry out of the set.
    pub fn flush(&mut self, set: &Set) -> Result<(), Error> {
        for family in Family::BOTH {
            self.ipset.flush(&Name::of(set, family))?;
        }
        Ok(())
    }

    /// Takes the rules away, so nothing is blocked; sets and entries stay. This takes
    /// milliseconds whatever the number of bans.
    pub fn remove_rules(&mut self) -> Result<(), Error> {
        let mut done = Ok(());
        for family in Family::BOTH {
            // A program that is not there never put a rule in place.
            match rules::remove(family) {
                Ok(()) | Err(Error::NoProgram { .. }) => {}
                Err(error) => done = Err(error),
            }
        }
        done
    }

    /// Takes away the rules, then every set of ours. Sets of other types are not ours,
    /// whatever they are called.
    pub fn purge(&mut self) -> Result<(), Error> {
        self.remove_rules()?;
        self.sets.clear();
        // The list first: while it has members, they cannot go.
        if self
            .ipset
            .header(ROOT)?
            .is_some_and(|header| header.is_list())
        {
            self.ipset.destroy(ROOT)?;
        }
        for name in self.strays()? {
            self.ipset.destroy(&name)?;
        }
        Ok(())
    }

    /// Removes sets of ours that `ensure` was not told of, as of a jail that is gone.
    /// Their names are returned.
    pub fn remove_strays(&mut self) -> Result<Vec<String>, Error> {
        let strays = self.strays()?;
        for name in &strays {
            self.ipset.leave(ROOT, name)?;
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

/// Can this set be used as it is? Larger is fine, and so are other buckets.
fn serves(header: &Header, shape: &Shape) -> bool {
    header.maxelem >= shape.maxelem && header.timeouts == shape.timeouts && header.counters
}

fn names_of<'a>(sets: impl IntoIterator<Item = &'a Set>) -> Vec<Name> {
    let both = |set| Family::BOTH.map(|family| Name::of(set, family));
    sets.into_iter().flat_map(both).collect()
}
