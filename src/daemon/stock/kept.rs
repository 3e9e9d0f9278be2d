//! What the keeper sees to of jails with stock actions: chains, sets, and rules that lead
//! to them.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::Shared;
use crate::action::stock::{Lack, Shown};
use crate::action::{Error, Family, Glance};
use crate::daemon::bus::Judge;
use crate::daemon::verbs::SetShown;
use crate::ticket::{JailName, Set};

/// How long somebody who asks waits for orders that are being carried out.
const PATIENCE: Duration = Duration::from_secs(1);

/// How often he looks meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What he is told then.
const BUSY: &str =
    "a program that lays bans of jails' actions on has not ended for a while; see `ps`";

/// What is missing in the kernel.
#[derive(Debug, Default)]
pub struct Lacking {
    /// Whose it is.
    pub jails: BTreeSet<JailName>,
    /// It in words.
    pub words: Vec<String>,
    /// Bans that could not be laid on yet, in words: nobody took them away, and the thread
    /// that carries orders out tries them again.
    pub owed: Vec<String>,
}

impl Shared {
    /// A cheap look: see [`Firewall::glance`](crate::action::Firewall::glance).
    /// None while orders are carried out.
    pub fn glance(&self) -> Option<Result<Glance, Error>> {
        self.try_lock().map(|mut stock| stock.glance())
    }

    /// Lifts drops, or lays them on.
    pub fn stand(&self, laid: bool) -> Result<(), Error> {
        match laid {
            true => self.lock().lay(),
            false => self.lock().lift(),
        }
    }

    /// The same for whoever does not wait until orders are carried out, which a program may
    /// hold up.
    pub fn lacking_now(&self, judge: &Judge) -> Result<Lacking, Error> {
        let begun = Instant::now();
        loop {
            if let Some(mut stock) = self.try_lock() {
                return Ok(lacking(stock.check()?, judge));
            }
            if begun.elapsed() > PATIENCE {
                let owed = vec![BUSY.to_owned()];
                return Ok(Lacking {
                    owed,
                    ..Lacking::default()
                });
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// What somebody took away. Bans that are over are not missed.
    pub fn lacking(&self, judge: &Judge) -> Result<Lacking, Error> {
        Ok(lacking(self.lock().check()?, judge))
    }

    /// Puts back chains, sets and rules of these jails. Their bans must be laid on again.
    pub fn put_back(&self, jails: &BTreeSet<JailName>) -> Result<(), Error> {
        let mut done = Ok(());
        for jail in jails {
            done = self.lock().put_back(jail).and(done);
        }
        done
    }

    /// Each chain and set: how many should be in it, and what the kernel has.
    pub fn shown(&self, judge: &Judge) -> Result<Vec<SetShown>, Error> {
        let shown = self.lock().show()?;
        let shown = shown.into_iter().map(|Shown { jail, layout, kept }| {
            let set = Set::Jail(jail.clone());
            let is_here = |addr| Family::of(addr) == layout.family;
            let in_force = judge.visit(|engine, _, _| engine.in_force(&set));
            SetShown {
                set: format!("{jail}: {}", layout.place()),
                ports: layout.reach(),
                in_force: in_force.iter().filter(|addr| is_here(addr)).count(),
                entries: kept.len(),
                packets: kept.iter().map(|kept| kept.packets).sum(),
                bytes: kept.iter().map(|kept| kept.bytes).sum(),
            }
        });
        Ok(shown.collect())
    }
}

/// What is lacking of all that lacks, by the ledger.
fn lacking(lacks: Vec<Lack>, judge: &Judge) -> Lacking {
    let mut lacking = Lacking::default();
    for lack in lacks {
        let Lack {
            jail,
            words,
            lost,
            owed,
        } = lack;
        if owed > 0 {
            let words = format!(
                "{owed} bans of jail {jail} could not be laid on yet; they are tried again and again"
            );
            lacking.owed.push(words);
        }
        let set = Set::Jail(jail.clone());
        let count = judge.visit(|engine, now, _| {
            let lost = lost.iter();
            lost.filter(|addr| engine.is_witness(&set, addr, now))
                .count()
        });
        if count > 0 {
            let words = format!("{count} bans of jail {jail} are gone from the kernel");
            lacking.words.push(words);
        }
        if count > 0 || !words.is_empty() {
            lacking.words.extend(words);
            lacking.jails.insert(jail);
        }
    }
    lacking
}
