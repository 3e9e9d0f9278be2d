//! The firewall: one small interface over the kinds of kernel objects that bans live in.
//!
//! [`Objects`] are the sets and rules of one kind; all kinds do the same things, and
//! nobody but this file and its kind's own folder knows which it is. What holds after
//! [`Firewall::ensure`]: the sets are there, every packet from an address in one of them
//! is dropped before connection tracking, and the allow set goes before every drop.
//!
//! Absent: what goes into the sets (see `apply`).

use std::collections::BTreeSet;

use super::error::Error;
use super::family::{Family, Kept};
use super::reach::{Narrowed, Reach, Reaches};
use super::{Sizes, ipset, nftables};
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
        /// How many it holds.
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
    /// Something of our name is not ours: it is let be, and nothing is banned by it.
    #[error(
        "{error}, then run `ringfence firewall repair`; until then nobody is banned by it, by the others all the same"
    )]
    Foreign {
        /// What is there.
        error: Error,
    },
    /// Drops are out of force: see [`Firewall::lift`].
    #[error("all drops are lifted; nothing is blocked until they are laid on again")]
    Lifted,
    /// What an earlier run had put into the other kind of firewall is here now.
    #[error("took {entries} entries over from the other kind of firewall, and removed it there")]
    TookOver {
        /// How many.
        entries: usize,
    },
    /// The other kind of firewall still has something of ours.
    #[error(
        "what an earlier run put into the other kind of firewall could not be removed: {reason}"
    )]
    OtherStays {
        /// Why.
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

/// Hands over everybody who should be in a set.
pub type Everybody<'a> = dyn Fn(&Set, &mut dyn FnMut(Entry)) + 'a;

/// Why IPv6 is not guarded where there is none.
pub(super) const UNSPOKEN: &str = "this kernel does not speak it, so nothing comes that way";

impl Note {
    /// Is it as it should not be?
    fn is_trouble(&self) -> bool {
        match self {
            Note::NoThrottle { .. } | Note::OtherStays { .. } => true,
            Note::NoIpv6 { reason } => reason != UNSPOKEN,
            _ => false,
        }
    }
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
    /// Something of our name is not ours. To put something back is no help.
    #[error(
        "{error}, then run `ringfence firewall repair`; until then nobody is banned by it, by the others all the same"
    )]
    Foreign {
        /// What is there.
        error: Error,
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
    /// A rule for a jail with ports of its own.
    #[error("a rule is gone that drops who is in {set} on the ports of its jail")]
    Narrow {
        /// The set's name.
        set: String,
    },
    /// All rules are there, and others besides, or changed, or not in their order.
    #[error(
        "the rules are not as ringfence wrote them: somebody added some, or changed them or their order"
    )]
    Order,
    /// A rule that holds back the throttled.
    #[error("a rule for {} is gone that holds back known-good addresses", family.word())]
    Throttle {
        /// Which family it was for.
        family: Family,
    },
}

impl Missing {
    /// Can [`Firewall::ensure`] put it back?
    pub fn is_mendable(&self) -> bool {
        !matches!(self, Missing::Foreign { .. })
    }
}

/// What a cheap look shows: numbers that change whenever objects of ours come or go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Glance(pub(super) Vec<Option<u64>>);

impl Glance {
    /// Both at once.
    pub fn and(mut self, other: Glance) -> Glance {
        self.0.extend(other.0);
        self
    }
}

/// The kernel's firewall.
#[derive(Debug)]
pub struct Firewall {
    pub(super) objects: Objects,
    /// Why it is of this kind.
    why: String,
    pub(super) sizes: Sizes,
    narrowed: Narrowed,
    /// What was wrong when it was put in place, and will be until somebody does something.
    pub(super) troubles: Vec<Note>,
    /// Reused by `apply`: in which order the orders are done.
    pub(super) turn: Vec<usize>,
    /// Reused by `apply`: what waits to be sent, per family.
    pub(super) waiting: [Vec<Entry>; 2],
}

/// The objects of one kind.
#[derive(Debug)]
pub(super) enum Objects {
    Ipset(ipset::objects::Objects),
    Nftables(nftables::objects::Objects),
}

/// Has the objects do something, whatever kind they are.
macro_rules! of_any_kind {
    ($objects:expr, $kind:ident => $work:expr) => {
        match $objects {
            Objects::Ipset($kind) => $work,
            Objects::Nftables($kind) => $work,
        }
    };
}

impl Firewall {
    /// A second one with a socket of its own, for another thread.
    pub fn handle(&self) -> Result<Self, Error> {
        let objects = match &self.objects {
            Objects::Ipset(ipset) => Objects::Ipset(ipset.another()?),
            Objects::Nftables(nftables) => Objects::Nftables(nftables.another()?),
        };
        Ok(Firewall {
            objects,
            why: self.why.clone(),
            sizes: self.sizes,
            narrowed: self.narrowed.clone(),
            troubles: self.troubles.clone(),
            turn: Vec::new(),
            waiting: [Vec::new(), Vec::new()],
        })
    }

    pub(super) fn with(
        sizes: Sizes,
        why: &str,
        open: impl FnOnce(Narrowed) -> Result<Objects, Error>,
    ) -> Result<Self, Error> {
        let narrowed = Narrowed::default();
        Ok(Firewall {
            objects: open(narrowed.clone())?,
            why: why.to_owned(),
            sizes,
            narrowed,
            troubles: Vec::new(),
            turn: Vec::new(),
            waiting: [Vec::new(), Vec::new()],
        })
    }

    /// These jails' drops are for some ports only, those of all others for everything. All
    /// handles know it; the rules follow at the next [`Firewall::ensure`]. What was so before
    /// is returned.
    pub fn narrow(&mut self, reaches: Reaches) -> Reaches {
        self.narrowed.are(reaches)
    }

    /// What the drops of a set are for.
    pub fn reach(&self, set: &Set) -> Reach {
        self.narrowed.of(set)
    }

    /// Which objects bans live in, and why in these.
    pub fn describe(&self) -> String {
        let what = of_any_kind!(&self.objects, kind => kind.describe());
        format!("{what}; chosen: {}", self.why)
    }

    /// Makes what is missing for these sets (and the allow set): sets first, rules last.
    /// What is there already keeps its entries. An ipset that is too small is replaced by a
    /// larger one without a gap; let no other thread apply orders meanwhile, since what it
    /// adds in this moment can be lost. For nftables see [`Firewall::enlarge`]. Drops that
    /// are lifted stay so. A set of our name that is not ours is let be and said, and the
    /// others are made all the same.
    pub fn ensure(&mut self, sets: &[Set]) -> Result<Vec<Note>, Error> {
        let sets: BTreeSet<Set> = sets.iter().cloned().chain([Set::Allow]).collect();
        let notes = of_any_kind!(&mut self.objects, kind => kind.ensure(sets))?;
        self.troubles
            .retain(|note| matches!(note, Note::OtherStays { .. })); // which is not looked at here
        self.troubles
            .extend(notes.iter().filter(|note| note.is_trouble()).cloned());
        Ok(notes)
    }

    /// Replaces sets that are smaller than they should be, without a gap, where `ensure` could
    /// not: `everybody` is asked who should be in them. Let no other thread apply orders
    /// meanwhile.
    pub fn enlarge(&mut self, everybody: &Everybody<'_>) -> Result<Vec<Note>, Error> {
        match &mut self.objects {
            Objects::Ipset(_) => Ok(Vec::new()),
            Objects::Nftables(nftables) => nftables.enlarge(everybody),
        }
    }

    /// What is wrong with it as it is in place: protection stands, and something is lacking.
    /// What is foreign `check` tells.
    pub fn troubles(&self) -> &[Note] {
        &self.troubles
    }

    /// What of all that `ensure` made is no longer there. Nothing is changed. Drops that
    /// are lifted are not missing: see [`Firewall::is_lifted`].
    pub fn check(&mut self) -> Result<Vec<Missing>, Error> {
        of_any_kind!(&mut self.objects, kind => kind.check())
    }

    /// A look that costs some microseconds, whatever the number of bans. If it shows
    /// another than before, [`Firewall::check`] says what is missing, if anything is.
    /// Entries alone do not show in it.
    pub fn glance(&mut self) -> Result<Glance, Error> {
        of_any_kind!(&mut self.objects, kind => kind.glance())
    }

    /// Takes all drops out of force at once; sets and entries stay, and go on to change.
    /// To lift twice is harmless. It outlives us: whoever comes after a crash finds it with
    /// [`Firewall::is_lifted`], and `ensure` says so.
    pub fn lift(&mut self) -> Result<(), Error> {
        of_any_kind!(&mut self.objects, kind => kind.lift())
    }

    /// Puts all drops back in force at once. If they were, nothing changes.
    pub fn lay(&mut self) -> Result<(), Error> {
        of_any_kind!(&mut self.objects, kind => kind.lay())
    }

    /// Are the drops out of force by [`Firewall::lift`]?
    pub fn is_lifted(&mut self) -> Result<bool, Error> {
        of_any_kind!(&mut self.objects, kind => kind.is_lifted())
    }

    /// Hands over every entry of the set, both families, as the kernel has it now.
    pub fn list(&mut self, set: &Set, each: &mut dyn FnMut(Kept)) -> Result<(), Error> {
        of_any_kind!(&mut self.objects, kind => kind.list(set, each))
    }

    /// Does reading a set take a time that only grows with its size? nf_tables begins
    /// anew for every 400 entries: 100,000 take a second, a million minutes.
    pub fn lists_fast(&self) -> bool {
        matches!(self.objects, Objects::Ipset(_))
    }

    /// Packets and bytes of the set's addresses that its entries do not count themselves.
    pub fn counted_beside(&mut self, set: &Set) -> Result<(u64, u64), Error> {
        match &mut self.objects {
            Objects::Nftables(nftables) if *set == Set::List => nftables.sent_by_listed(),
            _ => Ok((0, 0)),
        }
    }

    /// Every entry that is `addr` or a prefix around it, in which set, and how many
    /// packets and bytes of it met the set: dropped ones, or let through by the allow set.
    pub fn counters(&mut self, addr: &Addr) -> Result<Vec<(Set, Kept)>, Error> {
        of_any_kind!(&mut self.objects, kind => kind.entries_of(addr))
    }

    /// Is the host, or a prefix around it, in the set? Of a prefix: is exactly it?
    pub fn holds(&mut self, set: &Set, addr: &Addr) -> Result<bool, Error> {
        of_any_kind!(&mut self.objects, kind => kind.holds(set, addr))
    }

    /// How many entries the set has, both families. The kernel walks through all of them.
    /// None if the number says nothing of what should be there: the set is full, foreign
    /// or gone.
    pub fn count(&mut self, set: &Set) -> Result<Option<usize>, Error> {
        of_any_kind!(&mut self.objects, kind => kind.count(set))
    }

    /// Takes every entry out of the set.
    pub fn flush(&mut self, set: &Set) -> Result<(), Error> {
        of_any_kind!(&mut self.objects, kind => kind.flush(set))
    }

    /// Takes the rules away, so nothing is blocked; sets and entries stay. This takes
    /// milliseconds whatever the number of bans.
    pub fn remove_rules(&mut self) -> Result<(), Error> {
        of_any_kind!(&mut self.objects, kind => kind.remove_rules())
    }

    /// Takes away the rules, then every set of ours. Sets of other types are not ours,
    /// whatever they are called.
    pub fn purge(&mut self) -> Result<(), Error> {
        of_any_kind!(&mut self.objects, kind => kind.purge())
    }

    /// Are there sets of ours, from this run or another?
    pub(super) fn has_traces(&mut self) -> Result<bool, Error> {
        of_any_kind!(&mut self.objects, kind => kind.has_traces())
    }

    /// Removes sets of ours that `ensure` was not told of, as of a jail that is gone.
    /// Their names are returned.
    pub fn remove_strays(&mut self) -> Result<Vec<String>, Error> {
        of_any_kind!(&mut self.objects, kind => kind.remove_strays())
    }
}

impl Objects {
    /// Puts entries of one family in, or renews their time-outs. `refused` is told the
    /// place and the reason of each that was not taken.
    pub(super) fn add(
        &mut self,
        set: &Set,
        family: Family,
        entries: &[Entry],
        refused: &mut dyn FnMut(usize, Error),
    ) {
        of_any_kind!(self, kind => kind.add(set, family, entries, refused));
    }

    /// Takes entries of one family out, those that are there.
    pub(super) fn del(
        &mut self,
        set: &Set,
        family: Family,
        entries: &[Entry],
        refused: &mut dyn FnMut(usize, Error),
    ) {
        of_any_kind!(self, kind => kind.del(set, family, entries, refused));
    }

    /// How many entries the set can hold; `None` if it is not there.
    pub(super) fn capacity(&mut self, set: &Set, family: Family) -> Result<Option<u32>, Error> {
        of_any_kind!(self, kind => kind.capacity(set, family))
    }
}
