//! Sets that hold fewer than they should, since somebody took entries out.
//!
//! A kernel tells nobody of an entry that is gone from an ipset, and of nf_tables' it tells
//! every change of anybody's. So sets are counted, and when one falls short by more than it did
//! before, and stays so, it has lost something. To count costs time, since the kernel
//! walks through the set; so it is done the less often the longer it takes, and takes a third
//! of a thousandth of a core for each set: of 1,000 entries once a second, of 100,000 every few
//! seconds, of a million once a minute or two; but of nf_tables' see [`COUNTED_MAX`].
//!
//! Absent: the set of those who are held back. Its bans are those of all jails.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use crate::action::{Error, Firewall};
use crate::daemon::bus::Judge;
use crate::ticket::Set;

/// A set is counted anew after so many times the time that counting took.
const PACE: u32 = 3_000;

/// A set is counted so often at most: at every other look.
const EVERY: Duration = Duration::from_millis(1_050);

/// Where the time to read a set grows with the square of its size (nf_tables), larger ones
/// are not counted: it takes a twentieth of a second, and the keeper can do nothing else.
pub(super) const COUNTED_MAX: usize = 32_768;

/// How long a set must fall short: what is ordered is in the kernel by then.
const PATIENCE: Duration = Duration::from_millis(400);

/// The same for the list, which another thread loads.
const LIST_PATIENCE: Duration = Duration::from_secs(10);

/// How the sets were when they were counted last.
#[derive(Debug, Default)]
pub(super) struct Counts(HashMap<Set, Count>);

#[derive(Debug)]
struct Count {
    /// So many fewer than there are bans, and that is known to be well.
    short: usize,
    /// Since when it falls shorter than that.
    since: Option<Instant>,
    /// When it is to be counted.
    due: Instant,
}

impl Counts {
    /// Which of these sets have lost entries since they were counted last.
    pub(super) fn short(
        &mut self,
        sets: &BTreeSet<Set>,
        firewall: &mut Firewall,
        judge: &Judge,
    ) -> BTreeSet<Set> {
        self.0.retain(|set, _| sets.contains(set));
        let counted = sets.iter().filter(|set| **set != Set::Throttled);
        counted
            .filter(|set| {
                // What cannot be counted is another's to notice.
                self.has_lost(set, firewall, judge).unwrap_or_default()
            })
            .cloned()
            .collect()
    }

    fn has_lost(
        &mut self,
        set: &Set,
        firewall: &mut Firewall,
        judge: &Judge,
    ) -> Result<bool, Error> {
        let now = Instant::now();
        let count = self.0.entry(set.clone()).or_insert(Count {
            short: 0,
            since: None,
            due: now,
        });
        if count.due > now {
            return Ok(false);
        }
        let in_force = || judge.visit(|engine, _, _| engine.in_force_max(set));
        let before = in_force();
        if before == 0 {
            return Ok(false); // there is nothing to lose
        }
        if before > COUNTED_MAX && !firewall.lists_fast() {
            return Ok(false);
        }
        let entries = firewall.count(set)?;
        count.due = now + (now.elapsed() * PACE).max(EVERY);
        let Some(entries) = entries.filter(|_| in_force() == before) else {
            return Ok(false); // it is changing, or has trouble that is told elsewhere
        };
        let short = before.saturating_sub(entries);
        if short <= count.short {
            count.short = short;
            count.since = None;
            return Ok(false);
        }
        let since = *count.since.get_or_insert(now);
        let patience = match set {
            Set::List => LIST_PATIENCE,
            _ => PATIENCE,
        };
        if since.elapsed() < patience {
            count.due = now;
            return Ok(false);
        }
        // Not every ban of a jail stands in its own set.
        let wanted = judge.visit(|engine, _, _| engine.in_force_len(set));
        count.short = short;
        count.since = None;
        Ok(entries < wanted)
    }
}
