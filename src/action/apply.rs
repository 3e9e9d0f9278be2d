//! Orders on their way into the kernel's sets.
//!
//! What waits is sorted by set, and the orders of one set are put together into
//! batches, one lane for each family. A lane is sent when it has a full batch, when
//! the next order goes the other way (block after unblock), and at the end; so two
//! orders for one address are always done in the order given.

use super::error::Error;
use super::family::Family;
use super::firewall::{Firewall, Objects};
use super::name::Name;
use super::{Action, BATCH_MAX, Outcome, Sizes};
use crate::addr::Addr;
use crate::ticket::{Entry, Order, Set};

impl Action for Firewall {
    fn apply(&mut self, orders: &[Order], outcome: &mut dyn FnMut(Outcome)) {
        let mut turn = std::mem::take(&mut self.turn);
        turn.clear();
        turn.extend(0..orders.len());
        turn.sort_by_key(|place| set_of(&orders[*place])); // stable, so a set's order is kept
        for orders_of_set in
            turn.chunk_by(|one, next| set_of(&orders[*one]) == set_of(&orders[*next]))
        {
            let set = set_of(&orders[orders_of_set[0]]);
            let mut run = Run::new(self, set, outcome);
            for place in orders_of_set {
                run.take(&orders[*place]);
            }
            run.finish();
        }
        self.turn = turn;
    }
}

fn set_of(order: &Order) -> &Set {
    match order {
        Order::Block { set, .. } | Order::Unblock { set, .. } | Order::Load { set, .. } => set,
    }
}

/// Which way an entry goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    In,
    Out,
}

/// What waits for one family.
struct Lane<'a> {
    way: Way,
    entries: &'a mut Vec<Entry>,
    /// What the set can hold; known once it was found full.
    full: Option<u32>,
}

/// The orders of one set.
struct Run<'a> {
    objects: &'a mut Objects,
    sizes: Sizes,
    set: &'a Set,
    lanes: [Lane<'a>; 2],
    outcome: &'a mut dyn FnMut(Outcome),
}

impl<'a> Run<'a> {
    fn new(firewall: &'a mut Firewall, set: &'a Set, outcome: &'a mut dyn FnMut(Outcome)) -> Self {
        let [four, six] = &mut firewall.waiting;
        let lane = |entries| Lane {
            way: Way::In,
            entries,
            full: None,
        };
        Run {
            objects: &mut firewall.objects,
            sizes: firewall.sizes,
            set,
            lanes: [lane(four), lane(six)],
            outcome,
        }
    }

    fn take(&mut self, order: &Order) {
        match order {
            Order::Block { entry, .. } => self.wait(Way::In, *entry),
            Order::Unblock { addr, .. } => {
                let (addr, timeout_secs) = (*addr, 0);
                self.wait(Way::Out, Entry { addr, timeout_secs });
            }
            Order::Load { page, entries, .. } => {
                self.finish();
                let done = self.load(*page, entries);
                (self.outcome)(done);
            }
        }
    }

    /// Sends what waits.
    fn finish(&mut self) {
        for family in Family::BOTH {
            self.send_and_tell(family);
        }
    }

    fn wait(&mut self, way: Way, entry: Entry) {
        let family = Family::of(&entry.addr);
        if self.lane(family).way != way {
            self.send_and_tell(family);
            self.lane(family).way = way;
        }
        self.lane(family).entries.push(entry);
        if self.lane(family).entries.len() == BATCH_MAX {
            self.send_and_tell(family);
        }
    }

    fn send_and_tell(&mut self, family: Family) {
        for (addr, error) in self.send(family) {
            let set = self.set.clone();
            (self.outcome)(Outcome::Refused { set, addr, error });
        }
    }

    /// Puts a page in. Nothing waits in the lanes before and after.
    fn load(&mut self, page: u64, entries: &[Entry]) -> Outcome {
        let (mut refused, mut failed) = (0, None);
        for family in Family::BOTH {
            self.lane(family).way = Way::In;
            let mut rest = entries
                .iter()
                .filter(|entry| Family::of(&entry.addr) == family)
                .peekable();
            while rest.peek().is_some() {
                self.lane(family)
                    .entries
                    .extend(rest.by_ref().take(BATCH_MAX));
                let troubles = self.send(family);
                refused += troubles.len();
                let lasting = troubles.into_iter().find(|(_, error)| error.is_lasting());
                if let Some((_, error)) = lasting {
                    failed = Some(error); // the other family may fare better
                    break;
                }
            }
        }
        match failed {
            Some(error) => Outcome::LoadFailed { page, error },
            None => Outcome::Loaded { page, refused },
        }
    }

    /// Sends one lane; returns who was not taken. That a set is full is told at once.
    fn send(&mut self, family: Family) -> Vec<(Addr, Error)> {
        let mut troubles = Vec::new();
        let lane = &mut self.lanes[family as usize];
        if lane.entries.is_empty() {
            return troubles;
        }
        let mut refused = |place: usize, error| {
            troubles.extend(lane.entries.get(place).map(|entry| (entry.addr, error)));
        };
        let (set, entries) = (self.set, &*lane.entries);
        match lane.way {
            Way::In => self.objects.add(set, family, entries, &mut refused),
            Way::Out => self.objects.del(set, family, entries, &mut refused),
        }
        lane.entries.clear();
        for (addr, error) in &mut troubles {
            if error.is_prefix() {
                *error = Error::Entry { addr: *addr };
            } else if error.is_full() {
                *error = self.full(family);
            }
        }
        troubles
    }

    /// The error of a full set; the first time it is also told.
    fn full(&mut self, family: Family) -> Error {
        let lane = &mut self.lanes[family as usize];
        let (configured, setting) = self.sizes.maxelem(self.set);
        let first = lane.full.is_none();
        let maxelem = *lane.full.get_or_insert_with(|| {
            let capacity = self.objects.capacity(self.set, family);
            capacity.ok().flatten().unwrap_or(configured)
        });
        let error = Error::Full {
            name: Name::of(self.set, family).to_string(),
            maxelem,
            setting,
        };
        if first {
            let (set, error) = (self.set.clone(), error.clone());
            (self.outcome)(Outcome::Full { set, error });
        }
        error
    }

    fn lane(&mut self, family: Family) -> &mut Lane<'a> {
        &mut self.lanes[family as usize]
    }
}
