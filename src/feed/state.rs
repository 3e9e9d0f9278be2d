//! How the feed does, for `apiban status` and the log.

use std::fmt;
use std::time::Duration;

use serde::{Serialize, Serializer};

use super::key::NoKey;
use super::limiter::Kind;
use super::trouble::Trouble;
use super::vet::Rejections;
use crate::time::{Time, human};

/// How the feed does. A picture of one moment; all counters are since start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct State {
    /// In one word.
    pub condition: Condition,
    /// Why, if it is not as it should be.
    pub why: Option<String>,
    /// Until when nothing is asked, if something forbids it.
    #[serde(serialize_with = "secs")]
    pub waits_until: Option<Time>,
    /// No page and no "nothing new" for a day.
    pub stale: bool,
    /// The service's host.
    pub host: String,
    /// The list's name.
    pub set: String,
    /// When the list was last answered for: a page in force, or "nothing new".
    #[serde(serialize_with = "secs")]
    pub last_sync: Option<Time>,
    /// When the list is asked for next; `None` while pages follow one another.
    #[serde(serialize_with = "secs")]
    pub next_poll: Option<Time>,
    /// Entries of the list in force, as the engine last said.
    pub held: u32,
    /// Pages that came into force.
    pub pages: u64,
    /// Entries that were handed on.
    pub entries: u64,
    /// Entries that were not.
    pub rejected: Rejections,
    /// Requests that count against the budget now.
    pub requests_in_window: u32,
    /// The budget: requests in 2 minutes.
    pub rate_limit: u32,
    /// What became of questions about single addresses.
    pub checks: Checks,
}

/// What became of questions about single addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Checks {
    /// They wait now.
    pub waiting: usize,
    /// Asked.
    pub asked: u64,
    /// Listed.
    pub listed: u64,
    /// Not listed.
    pub not_listed: u64,
    /// Asked, and no answer could be had.
    pub no_answer: u64,
    /// Not asked: no room in the budget or the queue, or not an address to ask about.
    pub not_asked: u64,
}

/// How the feed does, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// There is no key.
    Off,
    /// The list is being read for the first time since start.
    Syncing,
    /// The list was read to its end.
    Current,
    /// The service does not answer as it should.
    Trouble,
    /// Too many requests; the key may be shared.
    RateLimited,
    /// The key is refused.
    Refused,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde wants it so
fn secs<S: Serializer>(time: &Option<Time>, serializer: S) -> Result<S::Ok, S::Error> {
    time.map(Time::as_secs).serialize(serializer)
}

/// Something an operator should read once, where it happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The feed is off.
    Off(NoKey),
    /// The list is complete for the first time since start.
    Complete {
        /// Entries in force.
        held: u32,
    },
    /// The first failure in a row, or one of another kind.
    Trouble(Kind, Trouble),
    /// A further one.
    StillTrouble(Kind, Trouble),
    /// It works again.
    Recovered(Kind),
    /// The key is refused.
    Refused {
        /// When we try again.
        again_in: Duration,
        /// Was it refused before, too?
        again: bool,
    },
    /// Too many requests.
    RateLimited {
        /// Were there too many before, too?
        again: bool,
        /// How long nothing is asked.
        wait: Duration,
        /// The budget for the next hour.
        limit: u32,
    },
    /// Some entries of a page were not taken.
    Rejected(Rejections),
    /// The list leads back to an earlier page.
    Circle,
    /// The list does not end.
    Endless,
    /// The set is full.
    Full {
        /// The setting `max_entries`.
        max: u32,
    },
    /// No page and no "nothing new" for a day.
    Stale,
}

impl Notice {
    /// Must somebody act?
    pub fn is_error(&self) -> bool {
        matches!(
            self,
            Notice::Refused { again: false, .. } | Notice::Full { .. }
        )
    }

    /// Is it good news, or none?
    pub fn is_info(&self) -> bool {
        matches!(
            self,
            Notice::Off(_) | Notice::Complete { .. } | Notice::Recovered(_)
        )
    }

    /// Is it only for those who look closely?
    pub fn is_detail(&self) -> bool {
        matches!(
            self,
            Notice::StillTrouble(..)
                | Notice::Refused { again: true, .. }
                | Notice::RateLimited { again: true, .. }
        )
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Notice::Off(why) => write!(f, "off: {why}"),
            Notice::Complete { held } => write!(f, "list complete, {held} entries in force"),
            Notice::Trouble(kind, trouble) => write!(f, "{kind}: {trouble}; will try again"),
            Notice::StillTrouble(kind, trouble) => write!(f, "{kind}: {trouble}, again"),
            Notice::Recovered(kind) => write!(f, "{kind}: works again"),
            Notice::Refused { again_in, .. } => write!(
                f,
                "the key is refused; entries stay; next try in {}, or at once with another key and a reload",
                human(*again_in)
            ),
            Notice::RateLimited { wait, limit, .. } => write!(
                f,
                "too many requests, so the key is in use elsewhere; pause of {}, then {limit} requests in 2 minutes for an hour",
                human(*wait)
            ),
            Notice::Rejected(rejections) => write!(f, "entries not taken: {rejections}"),
            Notice::Circle => f.write_str("the list leads back to an earlier page; round ended"),
            Notice::Endless => f.write_str("the list does not end; the next poll goes on"),
            Notice::Full { max } => write!(
                f,
                "the list is larger than max_entries = {max}; the rest is not loaded"
            ),
            Notice::Stale => {
                f.write_str("no successful sync for 24 hours; entries live out their time")
            }
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::List => "list",
            Kind::Check => "check",
        })
    }
}
