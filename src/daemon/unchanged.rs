//! Are nf_tables' sets unchanged since the last run? Then they need not be read at start.
//!
//! nf_tables tells of a set's entries in a time that grows with the square of their number:
//! of 100,000 bans in most of a second. But it counts whatever anybody changes. So the end of
//! a run notes the count, and how the database's file looks; if a start finds the same, the
//! sets of its jails hold what the database says, less what has expired. After a crash, after
//! a reboot, or if anybody has changed anything at all in either, the sets are read.
//!
//! Absent: ipset, which neither counts nor needs it.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use super::stock;
use crate::action::nftables;
use crate::ban::record::OldBan;
use crate::config::Config;
use crate::engine::Held;
use crate::ticket::{Entry, Reason, Set};
use crate::time::{BanTime, Time};

/// The note, in the folder of states.
const FILE: &str = "unchanged";

/// Notes how the sets and the database are left, when nothing more is done to either. If
/// it cannot be written, the next start reads the sets.
pub fn note(config: &Config) {
    if let Some(mark) = mark(config) {
        let _unwritten = fs::write(config.settings.state_dir.join(FILE), mark);
    }
}

/// Are they as the last run left them? To be asked before anything is opened or changed.
pub fn are_they(config: &Config) -> bool {
    let noted = fs::read_to_string(config.settings.state_dir.join(FILE));
    noted.is_ok_and(|noted| mark(config).is_some_and(|mark| mark == noted))
}

/// The count, whose sets it is about, and the database's file as it looks when it is closed.
fn mark(config: &Config) -> Option<String> {
    let rules: Vec<_> = config.jails.iter().map(|jail| jail.rules.clone()).collect();
    let sets = stock::sets_beside(&stock::layouts(config), &rules);
    let database = config.database.path.as_ref()?;
    let mut log = database.clone().into_os_string();
    log.push("-wal");
    // What waits there is not in the file yet.
    let is_closed = fs::metadata(Path::new(&log)).map_or(true, |log| log.len() == 0);
    let file = fs::metadata(database).ok().filter(|_| is_closed)?;
    let (inode, bytes, seconds, nanos) = (file.ino(), file.len(), file.mtime(), file.mtime_nsec());
    let kernel = nftables::mark()?;
    Some(format!(
        "{kernel} {sets:?} {inode} {bytes} {seconds}.{nanos}"
    ))
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
