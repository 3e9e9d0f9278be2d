//! What is counted while a filter is tested: hits of each pattern, and their time.
//!
//! The daemon counts nothing of this. A test ([`Follower::count`](super::follow::Follower))
//! hands in a clock, since nothing here may look at one, and reads the tally after each
//! line. Only the line at hand is kept.

use super::Filter;
use super::groups::Groups;
use super::pattern::{Found, StepLimit};

/// Nanoseconds since any fixed point; it never goes backwards.
pub type Clock = fn() -> u64;

/// What one pattern did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// How often it was asked.
    pub asked: u64,
    /// How often it matched.
    pub hits: u64,
    /// How long that took, in nanoseconds.
    pub nanoseconds: u64,
}

/// What all patterns of a filter did.
#[derive(Clone, Debug)]
pub struct Tally {
    clock: Clock,
    /// The prefregex.
    pub prefregex: Count,
    /// The failregexes, in their order.
    pub failregex: Vec<Count>,
    /// The ignoreregexes, in their order.
    pub ignoreregex: Vec<Count>,
    /// What was seen in the line at hand.
    pub line: LineTally,
}

/// What was seen in one line.
#[derive(Clone, Debug, Default)]
pub struct LineTally {
    /// What the prefregex captured, if it matched.
    pub prefix: Option<Groups>,
    /// Did an ignoreregex match?
    pub ignored: bool,
    /// The lines that matches of several lines took, the line at hand among them; ignored
    /// matches take them too.
    pub covered: Vec<Box<str>>,
}

/// Which pattern is asked.
#[derive(Clone, Copy, Debug)]
pub(super) enum Asked {
    Prefix,
    Fail(usize),
    Ignore(usize),
}

impl Tally {
    pub(super) fn new(filter: &Filter, clock: Clock) -> Tally {
        Tally {
            clock,
            prefregex: Count::default(),
            failregex: vec![Count::default(); filter.len()],
            ignoreregex: vec![Count::default(); filter.ignoreregexes()],
            line: LineTally::default(),
        }
    }

    pub(super) fn next_line(&mut self) {
        self.line = LineTally::default();
    }

    pub(super) fn covers<'l>(&mut self, lines: impl Iterator<Item = &'l str>) {
        self.line.covered.extend(lines.map(Box::from));
    }

    /// Lets a pattern search, and counts it.
    pub(super) fn time<'t>(
        &mut self,
        asked: Asked,
        search: impl FnOnce() -> Result<Option<Found<'t>>, StepLimit>,
    ) -> Result<Option<Found<'t>>, StepLimit> {
        let start = (self.clock)();
        let found = search();
        let nanoseconds = (self.clock)().saturating_sub(start);
        let hit = matches!(found, Ok(Some(_)));
        let count = match asked {
            Asked::Prefix => Some(&mut self.prefregex),
            Asked::Fail(place) => self.failregex.get_mut(place),
            Asked::Ignore(place) => {
                self.line.ignored |= hit;
                self.ignoreregex.get_mut(place)
            }
        };
        if let Some(count) = count {
            count.asked += 1;
            count.hits += u64::from(hit);
            count.nanoseconds = count.nanoseconds.saturating_add(nanoseconds);
        }
        found
    }
}
