//! Are nf_tables' sets unchanged since the last run? Then they need not be read at start.
//!
//! nf_tables tells of a set's entries in a time that grows with the square of their number:
//! of 100,000 bans in most of a second. But it counts whatever anybody changes. So the end of
//! a run notes the count; if a start finds the same, the sets of its jails hold what the
//! database says, less what has expired. After a crash, after a reboot, or if anybody has
//! changed anything at all, the count is another, and the sets are read.
//!
//! Absent: ipset, which neither counts nor needs it.

use std::collections::HashMap;
use std::time::Duration;

use crate::action::nftables;
use crate::ban::archive::Archive;
use crate::ban::store::{OldBan, Record};
use crate::config::Config;
use crate::engine::Held;
use crate::ticket::{Entry, Reason, Set};
use crate::time::{BanTime, Time};

/// The name of the fact.
const FACT: &str = "firewall.unchanged";

/// The note that is written when nothing more is done to these sets.
pub fn fact(sets: &[Set]) -> Option<Record> {
    let json = serde_json::to_string(&mark(sets)?).ok()?;
    Some(Record::Fact(FACT.to_owned(), json))
}

/// Are these sets unchanged? To be asked before anything is changed. Of a database
/// that another program writes to nobody knows what it says of the sets.
pub fn are_they(archive: &Archive, config: &Config, sets: &[Set]) -> bool {
    let facts = archive.facts(FACT);
    let noted: Option<String> = facts
        .first()
        .and_then(|json| serde_json::from_str(json).ok());
    config.database.instead.is_none() && noted.is_some() && noted == mark(sets)
}

/// The count, and whose sets it is about.
fn mark(sets: &[Set]) -> Option<String> {
    nftables::mark().map(|mark| format!("{mark} {sets:?}"))
}

/// Whom these sets hold if they are unchanged.
pub fn held(sets: &[Set], bans: &[OldBan], now: Time) -> Held {
    let mut held = Held::new();
    for set in sets.iter().filter(|set| matches!(set, Set::Jail(_))) {
        held.insert(set.clone(), HashMap::new());
    }
    for ban in bans.iter().filter(|ban| ban.reason != Reason::Throttled) {
        let Some(entries) = held.get_mut(&Set::Jail(ban.jail.clone())) else {
            continue; // it has another place in the kernel
        };
        let left = match ban.bantime {
            None => continue, // no run of ours wrote it
            Some(BanTime::Forever) => Duration::MAX,
            Some(BanTime::For(span)) => (ban.since + span).since(now),
        };
        entries.insert(ban.addr, Entry::lasting(ban.addr, left).timeout_secs);
    }
    held
}
