//! What stands in the kernel for one layout: a chain or set and the rules that lead to it.

use std::collections::BTreeSet;

use super::jumps::Jumps;
use super::parts::{self, Refused};
use super::ruleset::Rulesets;
use super::{Change, Kind, Layout, Timeouts, chain, set, table};
use crate::action::Kept;
use crate::action::error::Error;
use crate::addr::Addr;

/// A place and what we know of it.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) layout: Layout,
    /// Who is in it; none if it was not made yet.
    pub(super) held: Option<BTreeSet<Addr>>,
    /// Who was in it until somebody took them out, and whom nobody has put back yet.
    pub(super) lost: BTreeSet<Addr>,
    /// Who should be in it and could not be put in, for a reason that may go by.
    pub(super) owed: BTreeSet<Addr>,
    /// The rules that lead here as the kernel prints them; none until they were looked at.
    known: Option<Vec<String>>,
}

/// What a place lacks.
#[derive(Debug, Default)]
pub(super) struct Lacking {
    /// In words; whose bans are gone is not among them.
    pub(super) words: Vec<String>,
    /// Who should be in it and is not.
    pub(super) lost: BTreeSet<Addr>,
}

impl Place {
    pub(super) fn new(layout: Layout) -> Self {
        Place {
            layout,
            held: None,
            lost: BTreeSet::new(),
            owed: BTreeSet::new(),
            known: None,
        }
    }

    /// Reads what is there, and puts back what is missing of it; the rules that lead to it
    /// too, or takes them away, as drops are `laid` or lifted.
    pub(super) fn take_over(&mut self, laid: bool, rulesets: &mut Rulesets) -> Result<(), Error> {
        let found = self.read(rulesets)?;
        let addrs = |found: Vec<Kept>| found.into_iter().map(|kept| kept.addr).collect();
        let is_there = found.is_some();
        let before = std::mem::replace(&mut self.held, found.map(addrs));
        if !(is_there && self.layout.forgets()) {
            self.lost.extend(before.into_iter().flatten());
        }
        let known = self.lost.clone();
        self.fold(&known);
        let here = self.held.iter().flatten().copied().collect();
        self.lost = &self.lost - &here;
        self.stand(laid, rulesets)
    }

    /// Takes hosts that are all of a prefix for that prefix, which the kernel made them of,
    /// as far as it is `known` and they are not.
    pub(super) fn fold(&mut self, known: &BTreeSet<Addr>) {
        if let Some(held) = self.held.as_mut().filter(|_| self.layout.is_of_hosts()) {
            fold(held, known);
        }
    }

    /// Who is in it; none if it is not there.
    pub(super) fn read(&self, rulesets: &mut Rulesets) -> Result<Option<Vec<Kept>>, Error> {
        match &self.layout.kind {
            Kind::Chain(chain) => chain::read(chain, self.layout.family, rulesets),
            Kind::Set(set) => set::read(set),
            Kind::Table(table) => table::read(table),
        }
    }

    /// Sees to it that the rules lead here, or that none does.
    pub(super) fn stand(&mut self, laid: bool, rulesets: &mut Rulesets) -> Result<(), Error> {
        self.known = None;
        if self.held.is_none() {
            return Ok(());
        }
        if let Kind::Chain(chain) = &self.layout.kind
            && chain::has_lost_end(chain, self.layout.family, rulesets)?
        {
            chain::mend(chain, self.layout.family)?;
        }
        match (&self.layout.kind, self.jumps()) {
            (Kind::Table(table), _) => table::make(table, true, laid),
            (_, Some(jumps)) if laid => jumps.lay(rulesets),
            (_, Some(jumps)) => jumps.lift(),
            (_, None) => Ok(()),
        }
    }

    fn make(&mut self, laid: bool) -> Result<(), Error> {
        match &self.layout.kind {
            Kind::Chain(chain) => chain::make(chain, self.layout.family, laid),
            Kind::Set(set) => {
                set::make(set)?;
                self.stand(laid, &mut Rulesets::default())
            }
            Kind::Table(table) => table::make(table, false, laid),
        }
    }

    /// The rules of iptables' that lead here.
    fn jumps(&self) -> Option<Jumps<'_>> {
        match &self.layout.kind {
            Kind::Chain(chain) => Some(chain.jumps(self.layout.family)),
            Kind::Set(set) => Some(set.jumps(self.layout.family)),
            Kind::Table(_) => None,
        }
    }

    /// What is no longer there of all that we left there. Nothing is changed.
    pub(super) fn check(&mut self, laid: bool, rulesets: &mut Rulesets) -> Result<Lacking, Error> {
        let mut lacking = Lacking {
            words: Vec::new(),
            lost: self.lost.clone(),
        };
        let Some(held) = &self.held else {
            return Ok(lacking);
        };
        let place = self.layout.place();
        let Some(found) = self.read(rulesets)? else {
            lacking.lost.extend(held);
            lacking.words.push(format!("{place} is gone"));
            return Ok(lacking);
        };
        let mut found: BTreeSet<Addr> = found.into_iter().map(|kept| kept.addr).collect();
        if self.layout.is_of_hosts() {
            fold(&mut found, held);
        }
        match self.layout.forgets() {
            // Whoever is gone may be gone by the set's own time-out.
            true => self.held = Some(found),
            false => lacking.lost.extend(held - &found),
        }
        let rules = self.check_rules(laid, rulesets)?;
        lacking
            .words
            .extend(rules.map(|what| format!("{what} {place}")));
        Ok(lacking)
    }

    /// What is wrong with the rules that lead here, if anything is.
    fn check_rules(
        &mut self,
        laid: bool,
        rulesets: &mut Rulesets,
    ) -> Result<Option<String>, Error> {
        const LIFTED: &str = "drops are lifted, and a rule leads all the same to";
        let found = match (&self.layout.kind, self.jumps()) {
            (Kind::Table(table), _) => {
                let (found, wanted) = (table::rules(table)?, table.rules.len());
                return Ok(match (laid, found) {
                    (true, found) if found < wanted => {
                        Some(format!("a rule of {} is gone that looks into", table.chain))
                    }
                    (false, 1..) => Some(LIFTED.to_owned()),
                    _ => None,
                });
            }
            (_, None) => return Ok(None),
            (_, Some(jumps)) => {
                let found = jumps.found(rulesets.of(self.layout.family, jumps.table)?);
                if !laid {
                    return Ok((!found.is_empty()).then(|| LIFTED.to_owned()));
                }
                if self.known.as_ref() != Some(&found)
                    && let Some(chain) = jumps.missing()?.first()
                {
                    return Ok(Some(format!("a rule of {chain} is gone that leads to")));
                }
                found
            }
        };
        self.known = Some(found);
        match &self.layout.kind {
            Kind::Chain(chain) if chain::has_lost_end(chain, self.layout.family, rulesets)? => {
                Ok(Some("the last rule is gone of".to_owned()))
            }
            _ => Ok(None),
        }
    }

    /// Does these changes, once more after a look at the kernel if any fails; says which
    /// could not be done.
    pub(super) fn change(&mut self, changes: &[Change], laid: bool) -> Refused {
        // What could not be read before may stand there all the same: it is not made anew.
        let known = match self.held {
            Some(_) => Ok(()),
            None => self.take_over(laid, &mut Rulesets::default()),
        };
        let is_done = known.is_ok() && self.try_change(changes, laid, false).is_empty();
        let refused = match is_done {
            true => Refused::new(),
            // Whom somebody's rebuilding took away the keeper puts back.
            false => match self.take_over(laid, &mut Rulesets::default()) {
                Ok(()) => self.try_change(changes, laid, true),
                Err(error) => parts::all(changes, &error),
            },
        };
        for change in changes {
            let addr = change.addr();
            self.lost.remove(&addr); // whoever is in is, and whoever is out may stay so
            match refused.get(&addr) {
                Some(error) if change.is_in() && error.is_lasting() => self.owed.insert(addr),
                _ => self.owed.remove(&addr),
            };
            if !change.is_in() && !addr.is_host() && self.layout.is_of_hosts() {
                // All hosts of it are out, also who is banned for himself.
                let held = self.held.iter_mut();
                let (mut gone, rest): (BTreeSet<Addr>, _) = held
                    .flat_map(std::mem::take)
                    .partition(|host| addr.contains(host));
                self.held = self.held.as_ref().map(|_| rest);
                self.lost.append(&mut gone);
            }
        }
        refused
    }

    /// Does these changes, but for those that are done already.
    fn try_change(&mut self, changes: &[Change], laid: bool, halves: bool) -> Refused {
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
        if due.is_empty() {
            self.held.take_if(|_| !is_made);
            return Refused::new();
        }
        let made = match is_made {
            true => Ok(()),
            false => self.make(laid),
        };
        let refused = match &made {
            Ok(()) => self.carry_out(&due, halves),
            Err(error) => parts::all(&due, error),
        };
        let held = self.held.get_or_insert_default();
        let undone = undo.iter().rev();
        for change in undone.filter(|change| refused.contains_key(&change.addr())) {
            match change {
                Change::In(entry) => held.remove(&entry.addr),
                Change::Out(addr) => held.insert(*addr),
            };
        }
        self.held.take_if(|_| made.is_err());
        refused
    }

    fn carry_out(&self, due: &[Change], halves: bool) -> Refused {
        let family = self.layout.family;
        match &self.layout.kind {
            Kind::Chain(chain) => {
                parts::put(due, halves, &mut |part| chain::change(chain, family, part))
            }
            Kind::Table(table) => parts::put(due, halves, &mut |part| table::change(table, part)),
            Kind::Set(set) => set::change(set, due),
        }
    }

    pub(super) fn remove(&mut self) -> Result<(), Error> {
        self.held = None;
        self.owed.clear();
        match &self.layout.kind {
            Kind::Chain(chain) => chain::remove(chain, self.layout.family),
            Kind::Set(set) => set::remove(set, self.layout.family),
            Kind::Table(table) => table::remove(table),
        }
    }
}

/// See [`Place::fold`].
fn fold(hosts: &mut BTreeSet<Addr>, known: &BTreeSet<Addr>) {
    let prefixes = known
        .iter()
        .filter(|addr| !addr.is_ipv6() && !addr.is_host());
    for prefix in prefixes {
        // By the order of addresses they stand together.
        let from = hosts.range(Addr::host(prefix.ip())..);
        let inside = from.take_while(|host| prefix.contains(host));
        let inside: Vec<Addr> = inside.copied().collect();
        let bits = u32::from(32_u8.saturating_sub(prefix.prefix_len()));
        if inside.iter().filter(|addr| addr.is_host()).count() as u64 == 1 << bits {
            hosts.retain(|host| known.contains(host) || !prefix.contains(host));
            hosts.insert(*prefix);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hosts_of_a_prefix_are_the_prefix() {
        let set = |text: &str| {
            let addrs = text.split_whitespace().map(|addr| addr.parse().unwrap());
            addrs.collect::<BTreeSet<Addr>>()
        };
        let two = "192.0.2.8 192.0.2.9";
        for (found, known, expected) in [
            (two, "192.0.2.8/31", "192.0.2.8/31"),
            (two, "192.0.2.8/31 192.0.2.9", "192.0.2.8/31 192.0.2.9"),
            (two, "192.0.2.8/30", two),
            (two, "192.0.2.8", two),
            ("192.0.2.8 192.0.2.7", "192.0.2.8/31", "192.0.2.7 192.0.2.8"),
            ("2001:db8::", "2001:db8::/127", "2001:db8::"),
        ] {
            let mut hosts = set(found);
            fold(&mut hosts, &set(known));
            assert_eq!(hosts, set(expected), "{found} as {known}");
        }
    }
}
