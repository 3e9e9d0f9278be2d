//! `pause`: every drop is lifted for a while, to see whether ringfence is in the way.
//!
//! Watching, judging and recording go on, and so do bans, which count again when the pause
//! is over. It ends by itself: its end is written down, so also after a crash or a restart,
//! and it is never longer than [`PAUSE_MAX`]. Bans of jails with stock actions of fail2ban's
//! are lifted like the others: no rule leads to their chains and sets meanwhile.

use std::time::Duration;

use tracing::{info, warn};

use super::bus::Judge;
use super::keeper::Keeper;
use super::verbs::Paused;
use crate::ban::archive::Archive;
use crate::ban::record::Record;
use crate::time::{Time, human};

/// The name under which a pause's end is kept, in microseconds since 1970.
const FACT: &str = "firewall.paused_until";

/// The longest pause: nobody wants to find after the holidays that nothing was dropped.
pub const PAUSE_MAX: Duration = Duration::from_secs(24 * 3_600);

const DRY: &str = "this is a dry run: nothing is dropped anyway";

/// Until when the pause lasts that the last run was in.
pub fn before(archive: &Archive, now: Time) -> Option<Time> {
    let until = read(&archive.facts(FACT))?;
    let is_on = until > now && until <= now + PAUSE_MAX;
    is_on.then_some(until)
}

fn read(facts: &[String]) -> Option<Time> {
    let micros = facts.first()?.parse().ok()?;
    Some(Time::from_micros(micros))
}

/// Begins a pause, or changes how long it lasts.
pub fn begin(keeper: Option<&Keeper>, judge: &Judge, secs: u64) -> Result<Paused, String> {
    let keeper = keeper.ok_or(DRY)?;
    let span = Duration::from_secs(secs);
    if span.is_zero() || span > PAUSE_MAX {
        return Err(format!(
            "a pause lasts for {} at most and for a second at least",
            human(PAUSE_MAX)
        ));
    }
    // By a clock that nobody sets: else an hour back would be an hour more without drops.
    let until = judge.now() + span;
    let was_paused = keeper.pause(until)?;
    let until = judge.clock().outward(until);
    note(judge, until);
    warn!("paused for {}: nothing is dropped until then", human(span));
    Ok(Paused {
        until: Some(until.as_secs()),
        was_paused,
    })
}

/// Ends a pause.
pub fn end(keeper: Option<&Keeper>, judge: &Judge) -> Result<Paused, String> {
    let keeper = keeper.ok_or(DRY)?;
    // Also if not all can be laid on at once: the keeper tries it again, and a restart does.
    note(judge, Time::from_secs(0));
    let was_paused = keeper.resume()?;
    if was_paused {
        info!("the pause was ended: drops are in force again");
    }
    Ok(Paused {
        until: None,
        was_paused,
    })
}

fn note(judge: &Judge, until: Time) {
    let (name, value) = (FACT.to_owned(), until.as_micros().to_string());
    judge.keep(Record::Fact(name, value));
}
