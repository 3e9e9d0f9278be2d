//! Bans that wait for conntrack: did we open a flow to this address?
//!
//! What rests on hints alone may be somebody else's work. An address to which this machine
//! opened a flow itself is a trunk, or a server that we use: then the hints are forged, or
//! its mistake, and nobody is banned. Waiting bans are few and short-lived.
//!
//! Whoever forges packets can fill connection tracking, and this queue. So a question that
//! nobody answers in time, or for which there is no room, bans nobody: the case is dropped,
//! and who goes on failing is asked about again.

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::time::Duration;

use lru::LruCache;

use crate::addr::Addr;
use crate::ticket::{Ban, Testimony};
use crate::time::Time;

/// How long an answer is waited for; after that the case is dropped. It comes from the kernel
/// on the same machine, but under a flood each reading of its table is followed by a pause.
const PATIENCE: Duration = Duration::from_secs(10);

/// Bans that may wait at once; one more is dropped.
const WAITING_MAX: usize = 1_024;

/// How long a yes is remembered: hints about the address are not counted so long.
const REMEMBERED: Duration = Duration::from_secs(600);

/// Addresses for which that is remembered; one that is forgotten is asked about again.
const OURS_MAX: NonZeroUsize = NonZeroUsize::new(1_024).unwrap();

/// A ban, and what the log says for it.
#[derive(Debug)]
pub(super) struct Case {
    pub(super) ban: Ban,
    pub(super) testimony: Testimony,
}

/// See the module's header.
#[derive(Debug)]
pub(super) struct Flows {
    waiting: VecDeque<(Time, Case)>,
    ours: LruCache<Addr, Time>,
}

impl Default for Flows {
    fn default() -> Self {
        Flows {
            waiting: VecDeque::new(),
            ours: LruCache::new(OURS_MAX),
        }
    }
}

impl Flows {
    /// Lets a ban wait for the answer; says whether there is room.
    pub(super) fn wait(&mut self, case: Case, now: Time) -> bool {
        let has_room = self.waiting.len() < WAITING_MAX;
        if has_room {
            self.waiting.push_back((now + PATIENCE, case));
        }
        has_room
    }

    /// Does a ban of this jail wait for an answer about this address?
    pub(super) fn is_waiting(&self, jail: &str, addr: &Addr) -> bool {
        let is_it = |(_, case): &(Time, Case)| *case.ban.jail == *jail && case.ban.addr == *addr;
        self.waiting.iter().any(is_it)
    }

    /// The answer about an address: gives the bans that waited for it.
    pub(super) fn answered(&mut self, addr: Addr, ours: bool, now: Time) -> Vec<Case> {
        if ours {
            self.ours.put(addr, now);
        }
        let (given, waiting) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition(|(_, case)| case.ban.addr == addr);
        self.waiting = waiting;
        let given: VecDeque<(Time, Case)> = given;
        given.into_iter().map(|(_, case)| case).collect()
    }

    /// Drops those that have waited for too long.
    pub(super) fn tick(&mut self, now: Time) {
        while self.waiting.front().is_some_and(|(until, _)| *until <= now) {
            self.waiting.pop_front();
        }
    }

    /// When the next has waited for too long.
    pub(super) fn next_deadline(&self) -> Option<Time> {
        self.waiting.front().map(|(until, _)| *until)
    }

    /// Is it known that we opened a flow to this address?
    pub(super) fn are_ours(&self, addr: &Addr, now: Time) -> bool {
        let answered = self.ours.peek(addr);
        answered.is_some_and(|answered| *answered + REMEMBERED > now)
    }
}
