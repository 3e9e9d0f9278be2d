//! What is in force, for a kernel that has lost it: somebody emptied or destroyed a set.
//!
//! It is laid on again in parts, so that nobody's ban waits for all of it. A part is
//! named by addresses; whoever has been let go meanwhile is left out, and who was banned
//! meanwhile needs no help. So the parts and all that happens between them agree.

use std::collections::BTreeMap;
use std::time::Duration;

use super::restore::NO_PAGE;
use super::{Effect, Engine, set_of};
use crate::addr::Addr;
use crate::ticket::{Entry, JailName, Order, Set};
use crate::time::Time;

/// Entries of the list that are laid on together.
pub const LIST_PART: usize = 65_536;

/// A witness has so long to live at least: two looks, and the kernel's rounding.
const WITNESS_LASTS: Duration = Duration::from_secs(10);

impl Engine {
    /// Everybody who is in force in this set.
    pub fn in_force(&self, set: &Set) -> Vec<Addr> {
        self.all_of(set).map(|(addr, _)| addr).collect()
    }

    /// How many they are. It looks at all of them.
    pub fn in_force_len(&self, set: &Set) -> usize {
        self.all_of(set).count()
    }

    /// What the kernel should hold of them.
    pub fn entries(&self, set: &Set, now: Time) -> impl Iterator<Item = Entry> {
        self.all_of(set)
            .filter_map(move |(addr, end)| lasting(addr, end, now))
    }

    /// No more than so many are in force in this set. This is known without counting.
    pub fn in_force_max(&self, set: &Set) -> usize {
        match set {
            Set::Allow => self.protected.addrs().len(),
            Set::Jail(jail) => self.ledger.len_of(jail),
            Set::Throttled => self.ledger.len(),
            Set::List => self.list.len(),
        }
    }

    /// Orders those of `addrs` again that are in force in this set.
    pub fn lay_again(&self, set: &Set, addrs: &[Addr], now: Time, effects: &mut Vec<Effect>) {
        let still = addrs
            .iter()
            .filter_map(|addr| lasting(*addr, self.end_of(set, addr)?, now));
        let set = set.clone();
        match set {
            Set::List => effects.push(Effect::Order(Order::Load {
                set,
                page: NO_PAGE,
                entries: still.collect(),
            })),
            _ => effects.extend(still.map(|entry| {
                let set = set.clone();
                Effect::Order(Order::Block { set, entry })
            })),
        }
    }

    /// Is this address in force in this set, and for a while yet? Then a kernel that does
    /// not know it has lost it.
    pub fn is_witness(&self, set: &Set, addr: &Addr, now: Time) -> bool {
        self.end_of(set, addr).is_some_and(|end| lasts(end, now))
    }

    /// One such address of each family and length of prefix, since a kernel may keep each of
    /// them in a set of its own. This looks at all that are in force.
    pub fn witnesses(&self, set: &Set, now: Time) -> Vec<Addr> {
        let lasting = self.all_of(set).filter(|(_, end)| lasts(*end, now));
        let of_kind = lasting.map(|(addr, _)| ((addr.is_ipv6(), addr.prefix_len()), addr));
        let found: BTreeMap<(bool, u8), Addr> = of_kind.collect();
        found.into_values().collect()
    }

    /// Who is in force in this set, and until when.
    fn all_of(&self, set: &Set) -> Box<dyn Iterator<Item = (Addr, Option<Time>)> + '_> {
        let wanted = set.clone();
        let bans = move |jail: &JailName| -> Vec<(Addr, Option<Time>)> {
            let bans = self.ledger.of_jail(jail);
            bans.filter(|ban| set_of(ban) == wanted)
                .map(|ban| (ban.addr, ban.until))
                .collect()
        };
        match set {
            Set::Allow => Box::new(self.protected.addrs().into_iter().map(|addr| (addr, None))),
            Set::Jail(jail) => Box::new(bans(jail).into_iter()),
            Set::Throttled => Box::new(self.jails.keys().flat_map(bans)),
            Set::List => {
                let listed = self.list.iter();
                Box::new(listed.map(|(ip, expires)| (Addr::host(ip), Some(expires))))
            }
        }
    }

    /// Until when this address is in force in this set; none if it is not.
    fn end_of(&self, set: &Set, addr: &Addr) -> Option<Option<Time>> {
        let ban_in = |jail: &JailName| {
            let ban = self.ledger.get(jail, addr)?;
            (set_of(&ban) == *set).then_some(ban.until)
        };
        match set {
            Set::Allow => self.protected.addrs().contains(addr).then_some(None),
            Set::Jail(jail) => ban_in(jail),
            Set::Throttled => self.jails.keys().find_map(ban_in),
            Set::List => self.list.get(&addr.ip()).map(Some),
        }
    }
}

/// Does what ends then last for long enough to be a witness?
fn lasts(end: Option<Time>, now: Time) -> bool {
    end.is_none_or(|end| end > now + WITNESS_LASTS)
}

/// The entry of one whose time ends then, unless it is over.
fn lasting(addr: Addr, end: Option<Time>, now: Time) -> Option<Entry> {
    let span = match end {
        Some(end) if end <= now => return None,
        Some(end) => end.since(now),
        None => Duration::MAX,
    };
    Some(Entry::lasting(addr, span))
}
