//! Bans as fail2ban's stock actions lay them on: the same chains, sets and rules, in the
//! same place, so that `iptables -S`, `ipset list f2b-sshd` and `nft list ruleset` look as
//! they did, and the scripts that read them go on.
//!
//! As there, nothing of a family stands in the kernel before its first ban. What a run
//! before us, or fail2ban itself, has left is taken over. We remember who is in the
//! kernel, so to do an order twice is harmless here too. What somebody else takes away
//! shows in a [`Stock::glance`], and [`Stock::check`] says what it is.
//!
//! Drops are lifted by taking the rules away that lead to a jail's chain or set; who is in
//! there comes and goes as ever.
//!
//! Rules and nftables' sets are changed by programs, in some milliseconds; so a thread of
//! its own does it (see `daemon::stock`), with all orders that wait in few transactions.
//!
//! Absent: what a command means (see `config::stock`), and which jails there are.

mod chain;
mod eyes;
mod jumps;
mod layout;
mod parts;
mod place;
mod ruleset;
mod set;
mod table;
mod words;

use std::collections::{BTreeMap, BTreeSet};

use eyes::Eyes;
use parts::Refused;
use place::{Lacking, Place};
use ruleset::Rulesets;

pub use layout::{ChainLayout, Kind, Layout, Rule, SetLayout, TableLayout, Timeouts};
pub use words::describe;

use super::error::Error;
use super::{Action, Family, Glance, Kept, Outcome};
use crate::addr::Addr;
use crate::ticket::{Entry, JailName, Order, Set};

/// The jails with stock actions, and what they keep in the kernel.
pub type Layouts = BTreeMap<JailName, Vec<Layout>>;

/// One thing to do to a set or chain.
#[derive(Debug, Clone, Copy)]
enum Change {
    In(Entry),
    Out(Addr),
}

impl Change {
    fn is_in(&self) -> bool {
        matches!(self, Change::In(_))
    }

    fn addr(&self) -> Addr {
        match self {
            Change::In(entry) => entry.addr,
            Change::Out(addr) => *addr,
        }
    }
}

/// What stands in the kernel for jails with stock actions.
#[derive(Debug, Default)]
pub struct Stock {
    jails: BTreeMap<JailName, Vec<Place>>,
    /// What nobody needs and could not be taken away yet.
    gone: BTreeMap<JailName, Vec<Place>>,
    /// Are drops lifted? Then bans come and go as ever, and no rule leads to them.
    lifted: bool,
    eyes: Eyes,
}

/// What a jail lacks in the kernel.
#[derive(Debug, PartialEq)]
pub struct Lack {
    /// The jail.
    pub jail: JailName,
    /// Objects that are gone, in words.
    pub words: Vec<String>,
    /// Whose bans are gone; some of them may be over.
    pub lost: BTreeSet<Addr>,
    /// How many could not be put in yet.
    pub owed: usize,
}

/// One of a jail's chains or sets, as it is now.
#[derive(Debug)]
pub struct Shown {
    /// The jail.
    pub jail: JailName,
    /// Where its bans stand.
    pub layout: Layout,
    /// Who is in there, if it is there.
    pub kept: Vec<Kept>,
}

impl Stock {
    /// Takes over what is there for these jails, and puts missing rules back, or lifts
    /// their drops. What cannot be looked at is told; it is tried again at the next ban.
    pub fn open(
        layouts: &Layouts,
        lifted: bool,
        trouble: &mut dyn FnMut(&JailName, Error),
    ) -> Self {
        let mut stock = Stock {
            lifted,
            ..Stock::default()
        };
        stock.add(layouts, trouble);
        stock
    }

    /// Takes jails over as well; what one of them had in another form goes first, since
    /// both forms may share their names.
    pub fn add(&mut self, layouts: &Layouts, trouble: &mut dyn FnMut(&JailName, Error)) {
        let mut rulesets = Rulesets::default();
        for (jail, layouts) in layouts {
            let places = self.jails.entry(jail.clone()).or_default();
            let gone: Vec<Place> = places
                .extract_if(.., |place| !layouts.contains(&place.layout))
                .collect();
            if !gone.is_empty() {
                rulesets = Rulesets::default();
            }
            for mut place in gone {
                let Err(error) = place.remove() else {
                    continue;
                };
                trouble(jail, error);
                let object = place.layout.object();
                match layouts.iter().any(|layout| layout.object() == object) {
                    // The same chain or set: bans stay in it, as it was, until it can go.
                    true => places.push(place),
                    false => self.gone.entry(jail.clone()).or_default().push(place),
                }
            }
            for layout in layouts {
                let object = layout.object();
                if places.iter().all(|place| place.layout.object() != object) {
                    let mut place = Place::new(layout.clone());
                    place
                        .take_over(!self.lifted, &mut rulesets)
                        .unwrap_or_else(|error| trouble(jail, error));
                    places.push(place);
                }
            }
        }
    }

    /// Takes away what the jails have that are not to be kept. What cannot be taken away is
    /// not forgotten: see [`Stock::sweep`].
    pub fn retain(
        &mut self,
        keeps: &dyn Fn(&JailName) -> bool,
        trouble: &mut dyn FnMut(&JailName, Error),
    ) {
        let jails = std::mem::take(&mut self.jails).into_iter();
        let (kept, gone): (BTreeMap<_, _>, BTreeMap<_, _>) =
            jails.partition(|(jail, _)| keeps(jail));
        self.jails = kept;
        for (jail, places) in gone {
            self.gone.entry(jail).or_default().extend(places);
        }
        self.sweep(trouble);
    }

    /// Takes away what nobody needs any more and could not be taken away before.
    pub fn sweep(&mut self, trouble: &mut dyn FnMut(&JailName, Error)) {
        // What another jail has by now is not ours to take.
        let used = self.jails.values().flatten();
        let used: BTreeSet<String> = used.map(|place| place.layout.object()).collect();
        for (jail, places) in &mut self.gone {
            places.retain(|place| !used.contains(&place.layout.object()));
            places.retain_mut(|place| match place.remove() {
                Ok(()) => false,
                Err(error) => {
                    trouble(jail, error);
                    true
                }
            });
        }
        self.gone.retain(|_, places| !places.is_empty());
    }

    /// Is anything there that nobody needs?
    pub fn has_litter(&self) -> bool {
        !self.gone.is_empty()
    }

    /// Lifts all drops: no rule leads to a ban any more. To lift twice is harmless.
    pub fn lift(&mut self) -> Result<(), Error> {
        self.lifted = true;
        self.stand()
    }

    /// Puts all drops back in force, in the place where they were.
    pub fn lay(&mut self) -> Result<(), Error> {
        self.lifted = false;
        self.stand()
    }

    /// Has each place stand as it should; the others do even if one does not.
    fn stand(&mut self) -> Result<(), Error> {
        let (mut rulesets, mut done) = (Rulesets::default(), Ok(()));
        for place in self.jails.values_mut().flatten() {
            let stood = place.stand(!self.lifted, &mut rulesets);
            // Somebody may have taken it away a moment ago.
            let stood = stood.or_else(|_| place.take_over(!self.lifted, &mut Rulesets::default()));
            done = stood.and(done);
        }
        done
    }

    /// A cheap look: see [`Firewall::glance`](super::Firewall::glance).
    pub fn glance(&mut self) -> Result<Glance, Error> {
        let places = self.jails.values().flatten();
        self.eyes.glance(places)
    }

    /// What of all that we left there is no longer there. Nothing is changed.
    pub fn check(&mut self) -> Result<Vec<Lack>, Error> {
        let (mut rulesets, mut lacks) = (Rulesets::default(), Vec::new());
        for (jail, places) in &mut self.jails {
            let mut lack = Lack {
                jail: jail.clone(),
                words: Vec::new(),
                lost: BTreeSet::new(),
                owed: places.iter().map(|place| place.owed.len()).sum(),
            };
            for place in places {
                let Lacking { words, lost } = place.check(!self.lifted, &mut rulesets)?;
                let words = words.iter().map(|what| format!("{what}, of jail {jail}"));
                lack.words.extend(words);
                lack.lost.extend(lost);
            }
            if !lack.words.is_empty() || !lack.lost.is_empty() || lack.owed > 0 {
                lacks.push(lack);
            }
        }
        Ok(lacks)
    }

    /// Puts back what a jail lacks of chains, sets and rules. Whose bans are gone must be
    /// ordered again; a place that is gone altogether comes back with them.
    pub fn put_back(&mut self, jail: &JailName) -> Result<(), Error> {
        let (mut rulesets, mut done) = (Rulesets::default(), Ok(()));
        for place in self.jails.get_mut(jail).into_iter().flatten() {
            done = place.take_over(!self.lifted, &mut rulesets).and(done);
            place.lost.clear();
        }
        done
    }

    /// All places that were made, and who is in them.
    pub fn show(&self) -> Result<Vec<Shown>, Error> {
        let (mut rulesets, mut all) = (Rulesets::default(), Vec::new());
        for (jail, places) in &self.jails {
            for place in places.iter().filter(|place| place.held.is_some()) {
                all.push(Shown {
                    jail: jail.clone(),
                    layout: place.layout.clone(),
                    kept: place.read(&mut rulesets)?.unwrap_or_default(),
                });
            }
        }
        Ok(all)
    }

    /// Are drops lifted?
    pub fn is_lifted(&self) -> bool {
        self.lifted
    }

    /// Has this jail stock actions?
    pub fn has(&self, jail: &JailName) -> bool {
        self.jails.contains_key(jail)
    }

    /// What is in the kernel, for whom, also what could not be taken away.
    pub fn layouts(&self) -> Layouts {
        let mut layouts = Layouts::new();
        for (jail, places) in self.jails.iter().chain(&self.gone) {
            let own = places.iter().map(|place| place.layout.clone());
            layouts.entry(jail.clone()).or_default().extend(own);
        }
        layouts
    }

    /// The jails.
    pub fn jails(&self) -> impl Iterator<Item = &JailName> {
        self.jails.keys()
    }

    /// Who is in the kernel for this jail.
    pub fn held(&self, jail: &JailName) -> BTreeSet<Addr> {
        let places = self.jails.get(jail).into_iter().flatten();
        places
            .filter_map(|place| place.held.as_ref())
            .flatten()
            .copied()
            .collect()
    }

    /// Takes away everything, also what a run before us left. The others go even if one does
    /// not.
    pub fn remove(&mut self) -> Result<(), Error> {
        let mut done = Ok(());
        self.retain(&|_| false, &mut |_, error| done = Err(error));
        done
    }

    /// Who shall be in the kernel for a jail: the others are let go.
    pub fn keep_only(&mut self, jail: &JailName, wanted: &BTreeSet<Addr>) -> Result<(), Error> {
        let mut done = Ok(());
        for place in self.jails.get_mut(jail).into_iter().flatten() {
            place.fold(wanted);
            let held = place.held.iter().flatten();
            let gone: Vec<Change> = held
                .filter(|addr| !wanted.contains(addr))
                .map(|addr| Change::Out(*addr))
                .collect();
            let refused = place.change(&gone, !self.lifted).into_values();
            done = refused.map(Err).fold(done, Result::and);
        }
        done
    }

    fn orders_of(&mut self, jail: &JailName, changes: &[Change], outcome: &mut dyn FnMut(Outcome)) {
        let places = self.jails.entry(jail.clone()).or_default();
        for family in Family::BOTH {
            let of_family = |change: &&Change| Family::of(&change.addr()) == family;
            let changes: Vec<Change> = changes.iter().filter(of_family).copied().collect();
            let mut refused = Refused::new();
            let mut any = false;
            for place in places
                .iter_mut()
                .filter(|place| place.layout.family == family)
            {
                any = true;
                let (able, unable): (Vec<Change>, Vec<Change>) = changes
                    .iter()
                    .partition(|change| place.layout.holds(&change.addr()));
                refused.extend(place.change(&able, !self.lifted));
                let place = place.layout.place();
                let bans = unable.iter().filter(|change| change.is_in());
                refused.extend(bans.map(Change::addr).map(|addr| {
                    let place = place.clone();
                    (addr, Error::NoPrefix { place, addr })
                }));
            }
            if !any {
                let bans = changes.iter().filter(|change| change.is_in());
                let bans = bans.map(Change::addr);
                refused.extend(bans.map(|addr| (addr, Error::NoFamily { addr })));
            }
            for (addr, error) in refused {
                let set = Set::Jail(jail.clone());
                outcome(Outcome::Refused { set, addr, error });
            }
        }
    }

    /// Who should be in the kernel and could not be put there yet, by jail.
    pub fn owed(&self) -> BTreeMap<JailName, BTreeSet<Addr>> {
        let owed = self.jails.iter().map(|(jail, places)| {
            let owed = places.iter().flat_map(|place| &place.owed);
            (jail.clone(), owed.copied().collect::<BTreeSet<Addr>>())
        });
        owed.filter(|(_, owed)| !owed.is_empty()).collect()
    }
}

impl Action for Stock {
    fn apply(&mut self, orders: &[Order], outcome: &mut dyn FnMut(Outcome)) {
        let mut changes: BTreeMap<JailName, Vec<Change>> = BTreeMap::new();
        for order in orders {
            match order {
                Order::Block {
                    set: Set::Jail(jail),
                    entry,
                } => {
                    changes
                        .entry(jail.clone())
                        .or_default()
                        .push(Change::In(*entry));
                }
                Order::Unblock {
                    set: Set::Jail(jail),
                    addr,
                } => {
                    changes
                        .entry(jail.clone())
                        .or_default()
                        .push(Change::Out(*addr));
                }
                _ => debug_assert!(false, "only jails have stock actions"),
            }
        }
        for (jail, changes) in changes {
            self.orders_of(&jail, &changes, outcome);
        }
    }
}
