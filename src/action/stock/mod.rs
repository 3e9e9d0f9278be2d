//! Bans as fail2ban's stock actions lay them on: the same chains, sets and rules, in the
//! same place, so that `iptables -S`, `ipset list f2b-sshd` and `nft list ruleset` look as
//! they did, and the scripts that read them go on.
//!
//! As there, nothing of a family stands in the kernel before its first ban. What a run
//! before us, or fail2ban itself, has left is taken over. We remember who is in the
//! kernel, so to do an order twice is harmless here too; if the kernel refuses a change,
//! somebody has rebuilt the firewall, and it is looked at again and put back.
//!
//! Rules and nftables' sets are changed by programs, in some milliseconds; so a thread of
//! its own does it (see `daemon::stock`), with all orders that wait in few transactions.
//!
//! Absent: what a command means (see `config::stock`), and which jails there are.

mod chain;
mod jumps;
mod layout;
mod set;
mod table;

use std::collections::{BTreeMap, BTreeSet};

pub use layout::{ChainLayout, Kind, Layout, Rule, SetLayout, TableLayout, Timeouts};

use super::error::Error;
use super::{Action, Family, Outcome};
use crate::addr::Addr;
use crate::ticket::{Entry, JailName, Order, Set};

/// The jails with stock actions, and what they keep in the kernel.
pub type Layouts = BTreeMap<JailName, Vec<Layout>>;

/// Changes in one transaction of a program's. It goes to the kernel as one message, which
/// has a limit: without real root, 1,000 rules are too many for iptables.
const TRANSACTION_MAX: usize = 200;

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
}

/// What stands there for one layout.
#[derive(Debug)]
struct Place {
    layout: Layout,
    /// Who is in it; none if it was not made yet.
    held: Option<BTreeSet<Addr>>,
}

impl Stock {
    /// Takes over what is there for these jails, and puts missing rules back. What cannot
    /// be looked at is told; it is tried again at the next ban.
    pub fn open(layouts: &Layouts, trouble: &mut dyn FnMut(&JailName, Error)) -> Self {
        let mut stock = Stock::default();
        stock.add(layouts, trouble);
        stock
    }

    /// Takes jails over as well; what one of them had in another form goes first, since
    /// both forms may share their names.
    pub fn add(&mut self, layouts: &Layouts, trouble: &mut dyn FnMut(&JailName, Error)) {
        for (jail, layouts) in layouts {
            let places = self.jails.entry(jail.clone()).or_default();
            remove_all(places.extract_if(.., |place| !layouts.contains(&place.layout)))
                .unwrap_or_else(|error| trouble(jail, error));
            for layout in layouts {
                if places.iter().all(|place| place.layout != *layout) {
                    let mut place = Place::new(layout.clone());
                    place
                        .take_over()
                        .unwrap_or_else(|error| trouble(jail, error));
                    places.push(place);
                }
            }
        }
    }

    /// Takes away what other jails than these have.
    pub fn retain(&mut self, layouts: &Layouts, trouble: &mut dyn FnMut(&JailName, Error)) {
        let jails = std::mem::take(&mut self.jails).into_iter();
        let (kept, gone): (BTreeMap<_, _>, BTreeMap<_, _>) =
            jails.partition(|(jail, _)| layouts.contains_key(jail));
        self.jails = kept;
        for (jail, places) in gone {
            remove_all(places.into_iter()).unwrap_or_else(|error| trouble(&jail, error));
        }
    }

    /// Has this jail stock actions?
    pub fn has(&self, jail: &JailName) -> bool {
        self.jails.contains_key(jail)
    }

    /// What is kept in the kernel, for whom.
    pub fn layouts(&self) -> Layouts {
        let layouts = |places: &Vec<Place>| places.iter().map(|p| p.layout.clone()).collect();
        let jails = self.jails.iter();
        jails
            .map(|(jail, places)| (jail.clone(), layouts(places)))
            .collect()
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

    /// Takes away everything of these jails, also what a run before us left.
    pub fn remove(&mut self) -> Result<(), Error> {
        remove_all(std::mem::take(&mut self.jails).into_values().flatten())
    }

    /// Who shall be in the kernel for a jail: the others are let go.
    pub fn keep_only(&mut self, jail: &JailName, wanted: &BTreeSet<Addr>) -> Result<(), Error> {
        for place in self.jails.get_mut(jail).into_iter().flatten() {
            let held = place.held.iter().flatten();
            let gone: Vec<Change> = held
                .filter(|addr| !wanted.contains(addr))
                .map(|addr| Change::Out(*addr))
                .collect();
            place.change(&gone, &mut |_, _| {})?;
        }
        Ok(())
    }

    fn orders_of(&mut self, jail: &JailName, changes: &[Change], outcome: &mut dyn FnMut(Outcome)) {
        let set = Set::Jail(jail.clone());
        let places = self.jails.entry(jail.clone()).or_default();
        for family in Family::BOTH {
            let of_family = |change: &&Change| Family::of(&change.addr()) == family;
            let changes: Vec<Change> = changes.iter().filter(of_family).copied().collect();
            let mut refused: BTreeMap<Addr, Error> = BTreeMap::new();
            let mut any = false;
            for place in places
                .iter_mut()
                .filter(|place| place.layout.family == family)
            {
                any = true;
                let done = place.change(&changes, &mut |addr, error| {
                    refused.insert(addr, error);
                });
                if let Err(error) = done {
                    refused.extend(changes.iter().map(|change| (change.addr(), error.clone())));
                }
            }
            if !any {
                let bans = changes.iter().filter(|change| change.is_in());
                refused.extend(bans.map(|change| {
                    let addr = change.addr();
                    (addr, Error::NoFamily { addr })
                }));
            }
            for (addr, error) in refused {
                let set = set.clone();
                outcome(Outcome::Refused { set, addr, error });
            }
        }
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

/// Takes places away; the others go even if one does not.
fn remove_all(places: impl Iterator<Item = Place>) -> Result<(), Error> {
    let mut done = Ok(());
    for mut place in places {
        done = place.remove().and(done);
    }
    done
}

impl Place {
    fn new(layout: Layout) -> Self {
        let held = None;
        Place { layout, held }
    }

    /// Reads what is there, and puts back what is missing of it.
    fn take_over(&mut self) -> Result<(), Error> {
        self.held = self.read()?;
        match self.held {
            Some(_) => self.make(true),
            None => Ok(()),
        }
    }

    fn read(&self) -> Result<Option<BTreeSet<Addr>>, Error> {
        match &self.layout.kind {
            Kind::Chain(chain) => chain::read(chain, self.layout.family),
            Kind::Set(set) => set::read(set),
            Kind::Table(table) => table::read(table),
        }
    }

    fn make(&self, is_there: bool) -> Result<(), Error> {
        match &self.layout.kind {
            Kind::Chain(chain) => chain::make(chain, self.layout.family, is_there),
            Kind::Set(set) => set::make(set, self.layout.family, is_there),
            Kind::Table(table) => table::make(table, is_there),
        }
    }

    /// Does these changes, once more after a look at the kernel if they fail.
    fn change(
        &mut self,
        changes: &[Change],
        refused: &mut dyn FnMut(Addr, Error),
    ) -> Result<(), Error> {
        match self.try_change(changes, &mut |_, _| {}) {
            Ok(true) => Ok(()),
            Ok(false) | Err(_) => {
                let before = self.held.take();
                self.take_over()?;
                // Whom somebody's rebuilding took away we put back.
                let lost =
                    |addr: &&Addr| self.held.as_ref().is_none_or(|held| !held.contains(addr));
                let lost: Vec<Change> = before
                    .iter()
                    .flatten()
                    .filter(lost)
                    .map(|addr| {
                        let (addr, timeout_secs) = (*addr, 0);
                        Change::In(Entry { addr, timeout_secs })
                    })
                    .collect();
                self.try_change(&[lost.as_slice(), changes].concat(), refused)
                    .map(drop)
            }
        }
    }

    /// Does these changes, but for those that are done already; false if some were refused.
    fn try_change(
        &mut self,
        changes: &[Change],
        refused: &mut dyn FnMut(Addr, Error),
    ) -> Result<bool, Error> {
        let renews = match &self.layout.kind {
            Kind::Set(set) => set.timeouts == Timeouts::Ban,
            _ => false,
        };
        let is_made = self.held.is_some();
        let held = self.held.get_or_insert_default();
        let (mut due, mut undo) = (Vec::new(), Vec::new());
        for change in changes {
            let is_news = match change {
                Change::In(entry) => held.insert(entry.addr),
                Change::Out(addr) => held.remove(addr),
            };
            if is_news {
                undo.push(*change);
            }
            if is_news || (renews && change.is_in()) {
                due.push(*change);
            }
        }
        let mut all = true;
        let done = match (due.is_empty(), is_made) {
            (true, true) => Ok(()),
            (true, false) => {
                self.held = None;
                return Ok(true);
            }
            (false, false) => self
                .make(false)
                .and_then(|()| self.carry_out(&due, &mut all, refused)),
            (false, true) => self.carry_out(&due, &mut all, refused),
        };
        if done.is_err() {
            let held = self.held.get_or_insert_default();
            for change in undo.iter().rev() {
                match change {
                    Change::In(entry) => held.remove(&entry.addr),
                    Change::Out(addr) => held.insert(*addr),
                };
            }
        }
        done.map(|()| all)
    }

    fn carry_out(
        &mut self,
        due: &[Change],
        all: &mut bool,
        refused: &mut dyn FnMut(Addr, Error),
    ) -> Result<(), Error> {
        match &self.layout.kind {
            // A part may be done when the next fails: then the kernel is looked at.
            Kind::Chain(chain) => due
                .chunks(TRANSACTION_MAX)
                .try_for_each(|part| chain::change(chain, self.layout.family, part)),
            Kind::Table(table) => due
                .chunks(TRANSACTION_MAX)
                .try_for_each(|part| table::change(table, part)),
            Kind::Set(set) => {
                let held = self.held.get_or_insert_default();
                set::change(set, due, &mut |addr, error| {
                    *all = false;
                    held.remove(&addr);
                    refused(addr, error);
                })
            }
        }
    }

    fn remove(&mut self) -> Result<(), Error> {
        self.held = None;
        match &self.layout.kind {
            Kind::Chain(chain) => chain::remove(chain, self.layout.family),
            Kind::Set(set) => set::remove(set, self.layout.family),
            Kind::Table(table) => table::remove(table),
        }
    }
}
