//! What stands in the kernel for one layout: a chain or set and the rules that lead to it.

use std::collections::BTreeSet;

use super::jumps::Jumps;
use super::ruleset::Rulesets;
use super::{Change, Kind, Layout, Timeouts, chain, set, table};
use crate::action::Kept;
use crate::action::error::Error;
use crate::addr::Addr;

/// Changes in one transaction of a program's. It goes to the kernel as one message, which
/// has a limit: without real root, 1,000 rules are too many for iptables.
const TRANSACTION_MAX: usize = 200;

/// A place and what we know of it.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) layout: Layout,
    /// Who is in it; none if it was not made yet.
    pub(super) held: Option<BTreeSet<Addr>>,
    /// Who was in it until somebody took them out, and whom nobody has put back yet.
    pub(super) lost: BTreeSet<Addr>,
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
            known: None,
        }
    }

    /// Reads what is there, and puts back what is missing of it; the rules that lead to it
    /// too, or takes them away, as drops are `laid` or lifted.
    pub(super) fn take_over(&mut self, laid: bool, rulesets: &mut Rulesets) -> Result<(), Error> {
        let found = self.read(rulesets)?;
        let addrs = |found: Vec<Kept>| found.into_iter().map(|kept| kept.addr).collect();
        let before = std::mem::replace(&mut self.held, found.map(addrs));
        let here = self.held.iter().flatten().copied().collect();
        self.lost.extend(before.into_iter().flatten());
        self.lost = &self.lost - &here;
        self.stand(laid, rulesets)
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
        let found: BTreeSet<Addr> = found.into_iter().map(|kept| kept.addr).collect();
        lacking.lost.extend(held - &found);
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

    /// Does these changes, once more after a look at the kernel if they fail.
    pub(super) fn change(
        &mut self,
        changes: &[Change],
        laid: bool,
        refused: &mut dyn FnMut(Addr, Error),
    ) -> Result<(), Error> {
        // What could not be read before may stand there all the same: it is not made anew.
        let known = match self.held {
            Some(_) => Ok(()),
            None => self.take_over(laid, &mut Rulesets::default()),
        };
        let tried = known.and_then(|()| self.try_change(changes, laid, &mut |_, _| {}));
        let done = match tried {
            Ok(true) => Ok(()),
            Ok(false) | Err(_) => self
                // Whom somebody's rebuilding took away the keeper puts back.
                .take_over(laid, &mut Rulesets::default())
                .and_then(|()| self.try_change(changes, laid, refused).map(drop)),
        };
        for change in changes {
            self.lost.remove(&change.addr()); // whoever is in is, and whoever is out may stay so
        }
        done
    }

    /// Does these changes, but for those that are done already; false if some were refused.
    fn try_change(
        &mut self,
        changes: &[Change],
        laid: bool,
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
                .make(laid)
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

    pub(super) fn remove(&mut self) -> Result<(), Error> {
        self.held = None;
        match &self.layout.kind {
            Kind::Chain(chain) => chain::remove(chain, self.layout.family),
            Kind::Set(set) => set::remove(set, self.layout.family),
            Kind::Table(table) => table::remove(table),
        }
    }
}
