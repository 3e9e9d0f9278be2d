//! An ipset with rules that look into it. Bans are messages of netlink's.

use super::jumps::Jumps;
use super::parts::{self, Refused};
use super::{Change, SetLayout, Timeouts};
use crate::action::error::Error;
use crate::action::ipset::Ipset;
use crate::action::program::must;
use crate::action::{Family, Kept};
use crate::ticket::Entry;

impl SetLayout {
    /// The table that the rules stand in.
    pub const TABLE: &str = "filter";

    pub(super) fn jumps(&self, family: Family) -> Jumps<'_> {
        Jumps {
            family,
            table: Self::TABLE,
            rules: &self.jumps,
            target: vec!["--match-set", &self.name, "src"],
            name: &self.name,
        }
    }
}

/// Who is in the set; `None`: there is no such set.
pub(super) fn read(layout: &SetLayout) -> Result<Option<Vec<Kept>>, Error> {
    let (mut ipset, mut found) = (Ipset::open()?, Vec::new());
    if ipset.header(&layout.name)?.is_none() {
        return Ok(None);
    }
    ipset.each(&layout.name, &mut |kept| found.push(kept))?;
    Ok(Some(found))
}

/// Makes the set. The `ipset` program does it, so that it is of the very kind that its
/// users expect.
pub(super) fn make(layout: &SetLayout) -> Result<(), Error> {
    let made = layout.made.iter().map(String::as_str);
    let arguments: Vec<&str> = ["create", &layout.name].into_iter().chain(made).collect();
    must("ipset", &arguments, "").map(drop)
}

/// Puts entries in and takes entries out; says who could not be.
pub(super) fn change(layout: &SetLayout, changes: &[Change]) -> Refused {
    let mut refused = Refused::new();
    let mut ipset = match Ipset::open() {
        Ok(ipset) => ipset,
        Err(error) => return parts::all(changes, &error),
    };
    let timeout = |entry: &Entry| match layout.timeouts {
        Timeouts::Ban => entry.timeout_secs,
        Timeouts::Always(secs) => secs,
        Timeouts::None => 0,
    };
    let mut rest = changes;
    while let Some(first) = rest.first() {
        let same = |change: &&Change| change.is_in() == first.is_in();
        let count = rest.iter().take_while(same).count();
        let (lane, behind) = rest.split_at(count);
        let entries: Vec<Entry> = lane
            .iter()
            .map(|change| match change {
                Change::In(entry) => Entry {
                    addr: entry.addr,
                    timeout_secs: timeout(entry),
                },
                Change::Out(addr) => Entry {
                    addr: *addr,
                    timeout_secs: 0,
                },
            })
            .collect();
        let mut tell = |place: usize, error| {
            if let Some(entry) = entries.get(place) {
                refused.insert(entry.addr, error);
            }
        };
        match first.is_in() {
            true => {
                let timeouts = layout.timeouts != Timeouts::None;
                ipset.add(&layout.name, &entries, timeouts, &mut tell);
            }
            false => ipset.del(&layout.name, &entries, &mut tell),
        }
        rest = behind;
    }
    refused
}

/// Takes all of it away.
pub(super) fn remove(layout: &SetLayout, family: Family) -> Result<(), Error> {
    layout.jumps(family).remove()?;
    match Ipset::open()?.destroy(&layout.name) {
        Err(Error::Missing { .. }) => Ok(()),
        other => other,
    }
}
