//! Reads the registrars' stores again and again, on a thread of its own, and hands what
//! they hold to the engine. Nobody waits for it, and what cannot be read is no news.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tracing::{debug, info, warn};

use super::bus::{self, Judge};
use crate::engine::Event;
use crate::registrar::{self, Trouble};
use crate::ticket::Registration;
use crate::time::Time;

/// How often a store is read. A phone registers every few minutes, and it takes hours
/// until that makes it known-good.
const EVERY: Duration = Duration::from_secs(300);

/// A store that is being written is tried again after so long, so many times.
const BUSY_WAIT: Duration = Duration::from_millis(100);
const BUSY_TRIES: usize = 10;

/// Registrations that are handed in together: nobody is banned meanwhile.
const TOGETHER: usize = 256;

/// Starts to read the stores that these patterns name.
pub fn start(patterns: Vec<String>, judge: Judge) -> anyhow::Result<()> {
    let mut told = HashMap::new();
    // Nobody waits for its end: it holds nothing that would have to be put in order.
    let _thread = bus::named("registrars", move || {
        loop {
            for path in registrar::stores(&patterns) {
                let found = read(&path);
                tell(&path, &found, &mut told);
                for part in found.unwrap_or_default().chunks(TOGETHER) {
                    judge.event(Event::Registered(part.to_vec()));
                }
            }
            std::thread::park_timeout(EVERY);
        }
    })?;
    Ok(())
}

fn read(path: &Path) -> Result<Vec<Registration>, Trouble> {
    for _ in 1..BUSY_TRIES {
        match registrar::read(path, Time::now()) {
            Err(Trouble::Busy) => std::thread::park_timeout(BUSY_WAIT),
            found => return found,
        }
    }
    registrar::read(path, Time::now())
}

/// Tells people of a store once, and again when it is otherwise.
fn tell(
    path: &Path,
    found: &Result<Vec<Registration>, Trouble>,
    told: &mut HashMap<PathBuf, Option<String>>,
) {
    let trouble = found.as_ref().err().map(ToString::to_string);
    if let Ok(found) = found {
        debug!(store = %path.display(), registrations = found.len(), "a registrar's store was read");
    }
    if told.get(path) == Some(&trouble) {
        return;
    }
    match (&trouble, found) {
        (Some(trouble), _) => {
            warn!(store = %path.display(), "who is registered cannot be read: {trouble}");
        }
        (None, found) => {
            let registrations = found.as_ref().map_or(0, Vec::len);
            info!(store = %path.display(), registrations, "who is registered here is known");
        }
    }
    told.insert(path.to_owned(), trouble);
}
