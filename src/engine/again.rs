//! What is in force, for a kernel that has lost it: somebody emptied or destroyed a set.
//!
//! It is laid on again in parts, so that nobody's ban waits for all of it. A part is
//! named by addresses; whoever has been let go meanwhile is left out, and who was banned
//! meanwhile needs no help. So the parts and all that happens between them agree.

use std::time::Duration;

use super::restore::NO_PAGE;
use super::{Effect, Engine, block};
use crate::addr::Addr;
use crate::ticket::{Entry, Order, Set};
use crate::time::Time;

/// A witness has so long to live at least: two looks, and the kernel's rounding.
const WITNESS_LASTS: Duration = Duration::from_secs(10);

impl Engine {
    /// Everybody who is in force in this set.
    pub fn in_force(&self, set: &Set) -> Vec<Addr> {
        match set {
            Set::Allow => self.protected.addrs(),
            Set::Jail(jail) => self.ledger.addrs_of(jail).collect(),
            Set::Throttled => Vec::new(),
            Set::List => self.list.keys().copied().map(Addr::host).collect(),
        }
    }

    /// How many are in force in this set.
    pub fn count_in_force(&self, set: &Set) -> usize {
        match set {
            Set::Allow => self.protected.addrs().len(),
            Set::Jail(jail) => self.ledger.len_of(jail),
            Set::Throttled => 0,
            Set::List => self.list.len(),
        }
    }

    /// Orders those of `addrs` again that are in force in this set.
    pub fn lay_again(&self, set: &Set, addrs: &[Addr], now: Time, effects: &mut Vec<Effect>) {
        if *set == Set::List {
            let entry = |addr: &Addr| {
                let expires = self.list.get(&addr.ip()).filter(|end| **end > now)?;
                Some(Entry::lasting(*addr, expires.since(now)))
            };
            let entries: Vec<Entry> = addrs.iter().filter_map(entry).collect();
            return effects.push(Effect::Order(Order::Load {
                set: Set::List,
                page: NO_PAGE,
                entries: entries.into(),
            }));
        }
        let protected = self.protected.addrs();
        let order = |addr: &Addr| match set {
            Set::Jail(jail) => block(&self.ledger.get(jail, addr)?, now),
            _ => protected.contains(addr).then(|| Order::Block {
                set: set.clone(),
                entry: Entry {
                    addr: *addr,
                    timeout_secs: 0,
                },
            }),
        };
        effects.extend(addrs.iter().filter_map(order).map(Effect::Order));
    }

    /// Is this address in force in this set, and for a while yet? Then a kernel that does
    /// not know it has lost it.
    pub fn is_witness(&self, set: &Set, addr: &Addr, now: Time) -> bool {
        let end = match set {
            Set::Allow => return self.protected.addrs().contains(addr),
            Set::Jail(jail) => match self.ledger.get(jail, addr) {
                Some(ban) => ban.until,
                None => return false,
            },
            Set::Throttled => return false,
            Set::List => match self.list.get(&addr.ip()) {
                Some(expires) => Some(*expires),
                None => return false,
            },
        };
        end.is_none_or(|end| end > now + WITNESS_LASTS)
    }

    /// Any such address of one family. This may look at all that are in force.
    pub fn witness(&self, set: &Set, ipv6: bool, now: Time) -> Option<Addr> {
        let fits = |addr: &Addr| addr.is_ipv6() == ipv6 && self.is_witness(set, addr, now);
        match set {
            Set::Allow => self.protected.addrs().into_iter().find(fits),
            Set::Jail(jail) => self.ledger.addrs_of(jail).find(fits),
            Set::Throttled => None,
            Set::List => self.list.keys().copied().map(Addr::host).find(fits),
        }
    }
}
