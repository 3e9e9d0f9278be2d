//! Reading the list: when a page is due, from where, and what it leads to.
//!
//! A page goes through *asking* and *loading*. Only when the firewall has it does
//! its cursor count; until then nothing else is asked for. So a crash, a refusal
//! or a lost answer costs a page read twice, and never leaves a hole.
//!
//! Pure: told the monotonic time, asks nobody.

use std::time::Duration;

use super::backoff::{Jitter, Ladder, TROUBLE_SECS};
use super::clock::Now;
use super::cursor::{Cursor, CursorId};
use super::round::{End, Round};
use crate::time::Time;

/// How long the firewall may take for a page. Ten thousand entries take it 10 ms;
/// after this the answer was lost.
pub const LOAD_PATIENCE: Duration = Duration::from_secs(120);
/// How often the whole list is read again.
pub const RECONCILE_EVERY: Duration = Duration::from_secs(86_400);
/// How many lists' cursors are kept: those in use, and room for a few keys.
const CURSORS_MAX: usize = 8;

/// Where the list side of the feed stands.
#[derive(Debug)]
pub struct Walk {
    /// The start of the list in the settings; `None` without a key.
    list: Option<Cursor>,
    cursors: Vec<Cursor>,
    round: Option<Round>,
    phase: Phase,
    ladder: Ladder,
    poll_at: Duration,
    reconcile_at: Duration,
    caught_up: bool,
    pages: u64,
}

#[derive(Debug)]
enum Phase {
    Idle,
    Asking,
    Loading(Loading),
}

/// A page that the firewall has been given.
#[derive(Debug)]
struct Loading {
    page: u64,
    cursor: Cursor,
    entries: usize,
    since: Duration,
}

/// What came of a page when the firewall had it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// The round ended with it.
    pub end: Option<End>,
    /// The list did not load before, and does now.
    pub recovered: bool,
}

impl Walk {
    /// Before the first poll, which is due at once. `cursors` are those of the last run.
    pub fn new(list: Option<Cursor>, mut cursors: Vec<Cursor>, now: Now) -> Self {
        cursors.truncate(CURSORS_MAX);
        let mut walk = Walk {
            list: None,
            cursors,
            round: None,
            phase: Phase::Idle,
            ladder: Ladder::new(TROUBLE_SECS),
            poll_at: now.mono,
            reconcile_at: now.mono,
            caught_up: false,
            pages: 0,
        };
        walk.turn_to(list, now);
        walk
    }

    /// From now on this is the list; an answer under way counts no more.
    pub fn turn_to(&mut self, list: Option<Cursor>, now: Now) {
        self.list = list;
        self.begin_anew(now);
        let walked = self.stored().and_then(|cursor| cursor.walked_secs);
        let since = walked.map_or(Duration::ZERO, |secs| now.wall.since(Time::from_secs(secs)));
        self.reconcile_at = now.mono + RECONCILE_EVERY.saturating_sub(since);
    }

    /// The entries are lost: read the list from its start, as soon as may be.
    pub fn forget(&mut self, now: Now) {
        if let Some(list) = &self.list {
            self.cursors.retain(|cursor| !cursor.is_of_same_list(list));
        }
        self.begin_anew(now);
    }

    fn begin_anew(&mut self, now: Now) {
        self.round = None;
        self.phase = Phase::Idle;
        self.ladder.succeeded();
        self.poll_at = now.mono;
        self.caught_up = false;
    }

    fn stored(&self) -> Option<&Cursor> {
        let list = self.list.as_ref()?;
        self.cursors
            .iter()
            .find(|cursor| cursor.is_of_same_list(list))
    }

    /// When the next page wants to be asked for; `None` while one is under way.
    pub fn wants_at(&self) -> Option<Duration> {
        match self.phase {
            Phase::Idle if self.round.is_some() => Some(self.ladder.until()),
            Phase::Idle => Some(self.poll_at.max(self.ladder.until())),
            Phase::Asking | Phase::Loading(_) => None,
        }
    }

    /// Is a page due, or one of a row of pages under way? Then checks leave it room.
    pub fn is_due(&self, now: Duration) -> bool {
        (self.round.is_some() || self.poll_at <= now) && self.ladder.until() <= now
    }

    /// When waiting for the firewall ends.
    pub fn patience_ends(&self) -> Option<Duration> {
        match &self.phase {
            Phase::Loading(loading) => Some(loading.since + LOAD_PATIENCE),
            Phase::Idle | Phase::Asking => None,
        }
    }

    /// A page is asked for now, from the cursor returned. A new round may begin at
    /// the start of the list if `may_reconcile` and it is time for that.
    pub fn ask(&mut self, may_reconcile: bool, now: Duration) -> CursorId {
        self.phase = Phase::Asking;
        if let Some(round) = &self.round {
            return round.cursor().clone();
        }
        let stored = self.stored().map(|cursor| cursor.id.clone());
        let again = may_reconcile && now >= self.reconcile_at;
        let cursor = stored.filter(|_| !again).unwrap_or_else(CursorId::start);
        let catches_up = self.caught_up && !cursor.is_start();
        self.round = Some(Round::new(cursor.clone(), catches_up));
        cursor
    }

    /// A page came and goes to the firewall: its number, and the cursor that counts
    /// once it is there.
    pub fn page(&mut self, id: CursorId, entries: usize, now: Duration) -> Option<(u64, Cursor)> {
        let list = self.list.as_ref()?;
        let walked_secs = self.stored().and_then(|cursor| cursor.walked_secs);
        let mut cursor = list.clone();
        cursor.id = id;
        cursor.walked_secs = walked_secs;
        self.pages += 1;
        self.phase = Phase::Loading(Loading {
            page: self.pages,
            cursor: cursor.clone(),
            entries,
            since: now,
        });
        Some((self.pages, cursor))
    }

    /// The firewall has the page. `None` if it is not the one we wait for.
    pub fn loaded(&mut self, page: u64, now: Now, poll: Duration) -> Option<Loaded> {
        let loading = self.take_loading(page)?;
        let recovered = self.ladder.succeeded();
        let round = self.round.as_mut();
        let end = round.and_then(|round| round.page(&loading.cursor.id, loading.entries));
        self.store(loading.cursor);
        if let Some(end) = end {
            self.end_round(end, now, poll);
        }
        Some(Loaded { end, recovered })
    }

    /// The firewall did not take the page, or we waited too long. False if it is
    /// not the one we wait for.
    pub fn not_loaded(&mut self, page: u64, now: Duration, jitter: &mut Jitter) -> bool {
        let waited = self.take_loading(page).is_some();
        if waited {
            self.troubled(now, jitter);
        }
        waited
    }

    /// The page that is being loaded.
    pub fn loading_page(&self) -> Option<u64> {
        match &self.phase {
            Phase::Loading(loading) => Some(loading.page),
            Phase::Idle | Phase::Asking => None,
        }
    }

    /// There is nothing after the cursor. True if the list did not answer before.
    pub fn finished(&mut self, now: Now, poll: Duration) -> bool {
        self.phase = Phase::Idle;
        self.end_round(End::Finished, now, poll);
        self.ladder.succeeded()
    }

    /// The request brought nothing; the same page again later.
    pub fn troubled(&mut self, now: Duration, jitter: &mut Jitter) {
        self.phase = Phase::Idle;
        self.ladder.failed(now, Duration::ZERO, jitter);
    }

    /// The request was refused, and others decide when to try again.
    pub fn refused(&mut self) {
        self.phase = Phase::Idle;
    }

    /// When the next poll is due, if no round is under way.
    pub fn next_poll(&self) -> Option<Duration> {
        let idle = self.round.is_none() && matches!(self.phase, Phase::Idle);
        idle.then_some(self.poll_at)
    }

    /// Was the end of the list reached since we turned to it?
    pub fn is_caught_up(&self) -> bool {
        self.caught_up
    }

    /// How many requests in a row brought nothing, and until when we wait.
    pub fn trouble(&self) -> Option<Duration> {
        (self.ladder.failures() > 0).then(|| self.ladder.until())
    }

    fn take_loading(&mut self, page: u64) -> Option<Loading> {
        match std::mem::replace(&mut self.phase, Phase::Idle) {
            Phase::Loading(loading) if loading.page == page => Some(loading),
            other => {
                self.phase = other;
                None
            }
        }
    }

    fn store(&mut self, cursor: Cursor) {
        self.cursors.retain(|old| !old.is_of_same_list(&cursor));
        self.cursors.insert(0, cursor);
        self.cursors.truncate(CURSORS_MAX);
    }

    fn end_round(&mut self, end: End, now: Now, poll: Duration) {
        let Some(round) = self.round.take() else {
            return;
        };
        self.poll_at = now.mono + poll;
        self.caught_up |= end.is_complete();
        if round.is_from_start() && end.is_complete() {
            self.reconcile_at = now.mono + RECONCILE_EVERY;
            // Kept on disk with the next page's cursor; until then a restart walks again.
            if let Some(mut cursor) = self.stored().cloned() {
                cursor.walked_secs = Some(now.wall.as_secs());
                self.store(cursor);
            }
        }
    }
}
