//! What to do now: the decisions of the feed, without the network.
//!
//! [`Planner::next`] says whether to ask for a page, to ask about an address, or
//! until when to wait; the shell in `run` does it and tells what came of it.
//! At most one page and one check are under way. Nothing is ever asked that the
//! limiter did not allow, and every question gets an answer, [`NoAnswer`] at worst.
//!
//! Pure: told the time, asks nobody, waits for nothing.
//!
//! [`NoAnswer`]: Verdict::NoAnswer

use std::net::IpAddr;
use std::time::Duration;

use super::answer::{self, CheckAnswer, Content, ListAnswer};
use super::backoff::{Jitter, Ladder, RATE_LIMITED_SECS, REFUSED_SECS, TROUBLE_SECS};
use super::clock::Now;
use super::cursor::{Cursor, CursorId};
use super::limiter::{Kind, Limiter};
use super::queue::{Queue, WAITING_FOR};
use super::round::End;
use super::servers::Servers;
use super::settings::Settings;
use super::state::{Checks, Condition, Notice, State};
use super::trouble::Trouble;
use super::vet::{Rejected, Rejections, Vet};
use super::walk::Walk;
use super::{Memory, Page, Report};
use crate::ticket::Verdict;
use crate::time::Time;

/// How long a whole request for a page may take, however slowly it drips.
pub const LIST_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a whole check may take.
pub const CHECK_TIMEOUT: Duration = Duration::from_secs(5);
/// After this time without success the list is called stale, once a day.
pub const STALE_AFTER: Duration = Duration::from_secs(86_400);

/// What the shell should do now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Do {
    /// Ask for the page after this cursor.
    Fetch(CursorId),
    /// Ask about this address.
    Check(IpAddr),
    /// Nothing until then, or until something happens.
    Wait(Option<Duration>),
}

/// What a request brought.
pub type Outcome = Result<Content, Trouble>;

/// The state of the feed.
#[derive(Debug)]
pub struct Planner {
    settings: Settings,
    limiter: Limiter,
    jitter: Jitter,
    walk: Walk,
    queue: Queue,
    checking: Option<IpAddr>,
    check_trouble: Ladder,
    too_many: Ladder,
    refused: Ladder,
    servers: Servers,
    stale_at: Duration,
    stale: bool,
    told: Told,
    reports: Vec<Report>,
    notices: Vec<Notice>,
    changed: bool,
}

/// What only `State` and the log want to know.
#[derive(Debug, Default)]
struct Told {
    trouble: [Option<Trouble>; 2],
    last_sync: Option<Time>,
    complete: bool,
    full: bool,
    held: u32,
    pages: u64,
    entries: u64,
    rejected: Rejections,
    checks: Checks,
}

impl Planner {
    /// Before the first request. `memory` is what the store kept of the last run.
    pub fn new(settings: Settings, memory: Memory, jitter: Jitter, now: Now) -> Self {
        let settings = settings.clamped();
        let mut limiter = Limiter::new(settings.rate_limit);
        limiter.restore(&memory.requests, LIST_TIMEOUT, now.mono, now.wall);
        let age = memory
            .last_sync
            .map_or(Duration::ZERO, |at| now.wall.since(at));
        let mut planner = Planner {
            walk: Walk::new(Cursor::start(&settings), memory.cursors, now),
            limiter,
            jitter,
            queue: Queue::default(),
            checking: None,
            check_trouble: Ladder::new(TROUBLE_SECS),
            too_many: Ladder::new(RATE_LIMITED_SECS),
            refused: Ladder::new(REFUSED_SECS),
            servers: Servers::default(),
            stale_at: now.mono + STALE_AFTER.saturating_sub(age),
            stale: false,
            told: Told {
                last_sync: memory.last_sync.filter(|at| *at <= now.wall),
                held: memory.held,
                ..Told::default()
            },
            reports: Vec::new(),
            notices: Vec::new(),
            changed: true,
            settings,
        };
        planner.greet(now);
        planner
    }

    /// What is said and noted when settings take effect.
    fn greet(&mut self, now: Now) {
        if let Err(why) = &self.settings.key {
            self.notices.push(Notice::Off(why.clone()));
        } else if let Some(ip) = self.settings.base_url.ip() {
            self.servers(&[ip], now);
        }
        self.changed = true;
    }

    /// The settings in force.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    // Deciding.

    /// What to do now. What it says to ask counts as asked.
    pub fn next(&mut self, now: Now) -> Do {
        self.give_up_the_hopeless(now);
        self.lose_patience(now);
        self.grow_stale(now);
        let (list_at, check_at) = (self.list_at(now), self.check_at(now));
        let due = |at: Option<Duration>| at.is_some_and(|at| at <= now.mono);
        if due(list_at) {
            self.begin(Kind::List, now);
            let may_reconcile = self.settings.reconcile && self.queue.is_empty();
            return Do::Fetch(self.walk.ask(may_reconcile, now.mono));
        }
        if due(check_at)
            && let Some(ip) = self.queue.pop()
        {
            self.begin(Kind::Check, now);
            self.checking = Some(ip);
            self.told.checks.asked += 1;
            return Do::Check(ip);
        }
        let stale_at = self.settings.key.is_ok().then_some(self.stale_at);
        let wake = [
            list_at,
            check_at,
            self.queue.next_expiry(),
            self.walk.patience_ends(),
            stale_at,
        ];
        Do::Wait(wake.into_iter().flatten().min())
    }

    fn begin(&mut self, kind: Kind, now: Now) {
        self.limiter.start(kind, now.mono);
        self.reports.push(Report::Requesting(now.wall));
        self.changed = true;
    }

    /// When a page may be asked for; `None` if that is not a matter of time.
    fn list_at(&self, now: Now) -> Option<Duration> {
        self.settings.key.as_ref().ok()?;
        let wanted = self.walk.wants_at()?.max(self.forbidden_until());
        let contended = !self.queue.is_empty();
        let budget = self.limiter.earliest(Kind::List, contended, now.mono)?;
        Some(wanted.max(budget))
    }

    /// When the next waiting check may be made; `None` if that is not a matter of time.
    fn check_at(&self, now: Now) -> Option<Duration> {
        if self.checking.is_some() || self.queue.is_empty() {
            return None;
        }
        let wanted = self.check_trouble.until().max(self.forbidden_until());
        Some(wanted.max(self.check_budget_at(now)?))
    }

    fn check_budget_at(&self, now: Now) -> Option<Duration> {
        let contended = self.walk.is_due(now.mono);
        self.limiter.earliest(Kind::Check, contended, now.mono)
    }

    /// Until when the service wants nothing of us.
    fn forbidden_until(&self) -> Duration {
        self.too_many.until().max(self.refused.until())
    }

    /// Can a check no longer be made before it is too old? A refused key is tried
    /// again with the list; checks wait until that has worked.
    fn checks_are_hopeless(&self, now: Now) -> bool {
        let wanted = self.check_trouble.until().max(self.forbidden_until());
        let budget = self.check_budget_at(now).unwrap_or(now.mono);
        self.settings.key.is_err()
            || !self.settings.check
            || self.refused.failures() > 0
            || wanted.max(budget) >= now.mono + WAITING_FOR
    }

    fn give_up_the_hopeless(&mut self, now: Now) {
        while let Some(ip) = self.queue.pop_expired(now.mono) {
            self.leave_unasked(ip);
        }
        if !self.queue.is_empty() && self.checks_are_hopeless(now) {
            while let Some(ip) = self.queue.pop() {
                self.leave_unasked(ip);
            }
        }
    }

    fn lose_patience(&mut self, now: Now) {
        let over = self.walk.patience_ends().is_some_and(|at| at <= now.mono);
        if let Some(page) = self.walk.loading_page().filter(|_| over) {
            self.not_loaded(page, now);
        }
    }

    fn grow_stale(&mut self, now: Now) {
        if self.settings.key.is_ok() && self.stale_at <= now.mono {
            self.stale = true;
            self.stale_at = now.mono + STALE_AFTER;
            self.notices.push(Notice::Stale);
            self.changed = true;
        }
    }

    // Being told.

    /// Somebody wants to know about `ip`.
    pub fn ask(&mut self, ip: IpAddr, protected: &dyn Fn(IpAddr) -> bool, now: Now) {
        let vetted = self.vetted(protected, |vet| vet.ip(ip));
        match vetted {
            Ok(ip) if self.checking == Some(ip) => {} // its answer is under way
            Ok(ip) if !self.checks_are_hopeless(now) => {
                if let Some(oldest) = self.queue.push(ip, now.mono) {
                    self.leave_unasked(oldest);
                }
            }
            Ok(_) | Err(_) => self.leave_unasked(ip),
        }
    }

    /// A request for a page is over.
    pub fn fetched(&mut self, outcome: Outcome, protected: &dyn Fn(IpAddr) -> bool, now: Now) {
        self.limiter.end(Kind::List, now.mono);
        self.changed = true;
        let read = |content: Content| answer::list(&content, now.wall);
        match outcome.map_or_else(ListAnswer::Broken, read) {
            ListAnswer::Page {
                addresses,
                cursor,
                skipped,
            } => {
                self.key_works();
                self.page(&addresses, cursor, skipped, protected, now);
            }
            ListAnswer::Finished => {
                self.key_works();
                let poll = self.jitter.about(self.settings.poll);
                if self.walk.finished(now, poll) {
                    self.recovered(Kind::List);
                }
                self.synced(now);
                self.completed();
            }
            ListAnswer::Unauthorized => {
                self.walk.refused();
                self.refuse(now);
            }
            ListAnswer::RateLimited(asked) => {
                self.walk.refused();
                self.rate_limit(asked, now);
            }
            ListAnswer::Broken(trouble) => {
                self.walk.troubled(now.mono, &mut self.jitter);
                self.trouble(Kind::List, trouble);
            }
        }
    }

    fn page(
        &mut self,
        texts: &[String],
        id: CursorId,
        not_text: u64,
        protected: &dyn Fn(IpAddr) -> bool,
        now: Now,
    ) {
        let mut rejected = Rejections {
            not_text,
            ..Rejections::default()
        };
        let mut ips = self.vetted(protected, |vet| vet.page(texts, &mut rejected));
        if rejected.are_odd() {
            self.notices.push(Notice::Rejected(rejected));
        }
        self.keep_within_the_set(&mut ips, &mut rejected);
        let expires = id.expiry(self.settings.entry_ttl, now.wall);
        let Some((seq, cursor)) = self.walk.page(id, texts.len(), now.mono) else {
            return;
        };
        self.told.rejected.add(&rejected);
        self.told.entries += ips.len() as u64;
        self.reports.push(Report::Page(Page {
            seq,
            entries: ips.into_iter().map(|ip| (ip, expires)).collect(),
            cursor,
            rejected,
        }));
    }

    /// Lets through only as many as the set has room for. Some of those that are
    /// left out may be in it already; then they live out the time they have.
    fn keep_within_the_set(&mut self, ips: &mut Vec<IpAddr>, rejected: &mut Rejections) {
        let max = self.settings.max_entries;
        let room = max.saturating_sub(self.told.held) as usize;
        let full = ips.len() > room;
        for _ in room..ips.len() {
            rejected.count(Rejected::Full);
        }
        ips.truncate(room);
        if full && !self.told.full {
            self.notices.push(Notice::Full { max });
        }
        self.told.full = full;
    }

    /// The firewall has page `page`; it holds `held` entries of the list now.
    pub fn loaded(&mut self, page: u64, held: u32, now: Now) {
        self.told.held = held;
        let poll = self.jitter.about(self.settings.poll);
        let Some(loaded) = self.walk.loaded(page, now, poll) else {
            return;
        };
        self.told.pages += 1;
        self.synced(now);
        if loaded.recovered {
            self.recovered(Kind::List);
        }
        match loaded.end {
            Some(End::Circle) => self.notices.push(Notice::Circle),
            Some(End::TooManyPages) => self.notices.push(Notice::Endless),
            Some(_) => self.completed(),
            None => {}
        }
    }

    /// The firewall did not take page `page`: its cursor does not count.
    pub fn not_loaded(&mut self, page: u64, now: Now) {
        if self.walk.not_loaded(page, now.mono, &mut self.jitter) {
            self.trouble(Kind::List, Trouble::NotLoaded);
        }
    }

    /// A check is over.
    pub fn checked(&mut self, outcome: Outcome, now: Now) {
        self.limiter.end(Kind::Check, now.mono);
        self.changed = true;
        let Some(ip) = self.checking.take() else {
            return;
        };
        let read = |content: Content| answer::check(&content, ip, now.wall);
        let verdict = match outcome.map_or_else(CheckAnswer::NoAnswer, read) {
            CheckAnswer::Listed => Verdict::Listed,
            // What they do not take for an address, they do not list.
            CheckAnswer::NotListed | CheckAnswer::NotAnAddress => Verdict::NotListed,
            CheckAnswer::Unauthorized => {
                self.refuse(now);
                Verdict::NoAnswer
            }
            CheckAnswer::RateLimited(asked) => {
                self.rate_limit(asked, now);
                Verdict::NoAnswer
            }
            CheckAnswer::NoAnswer(trouble) => {
                let jitter = &mut self.jitter;
                self.check_trouble.failed(now.mono, Duration::ZERO, jitter);
                self.trouble(Kind::Check, trouble);
                Verdict::NoAnswer
            }
        };
        let checks = &mut self.told.checks;
        *match verdict {
            Verdict::Listed => &mut checks.listed,
            Verdict::NotListed => &mut checks.not_listed,
            Verdict::NoAnswer => &mut checks.no_answer,
        } += 1;
        if verdict != Verdict::NoAnswer {
            self.key_works();
            if self.check_trouble.succeeded() {
                self.recovered(Kind::Check);
            }
        }
        self.reports.push(Report::Answer { ip, verdict });
    }

    /// The service's name has these addresses.
    pub fn servers(&mut self, ips: &[IpAddr], now: Now) {
        if let Some(all) = self.servers.seen(ips.iter().copied(), now.mono) {
            self.reports.push(Report::Servers(all));
        }
    }

    /// The configuration was read again. True if requests under way are for
    /// another list, key or host and must be dropped.
    pub fn reload(&mut self, settings: Settings, now: Now) -> bool {
        let old = std::mem::replace(&mut self.settings, settings.clamped());
        self.limiter.set_limit(self.settings.rate_limit);
        let new = &self.settings;
        let other_key = new.key != old.key || new.base_url != old.base_url;
        let other = other_key || new.set != old.set || new.ca_file != old.ca_file;
        if other_key {
            // What was spent stays spent: keys are not for multiplying the budget.
            self.refused.succeeded();
            self.too_many.succeeded();
        }
        if other {
            self.drop_requests(now);
            self.check_trouble.succeeded();
            self.told.trouble = [None, None];
            let list = Cursor::start(&self.settings);
            self.walk.turn_to(list, now);
            self.greet(now);
        }
        self.changed = true;
        other
    }

    /// The firewall lost its entries: read the list from its start. Requests under
    /// way must be dropped.
    pub fn resync(&mut self, now: Now) {
        self.drop_requests(now);
        self.told.held = 0;
        self.told.complete = false;
        self.walk.forget(now);
        self.changed = true;
    }

    fn drop_requests(&mut self, now: Now) {
        self.limiter.end(Kind::List, now.mono);
        self.limiter.end(Kind::Check, now.mono);
        if let Some(ip) = self.checking.take() {
            self.told.checks.no_answer += 1;
            self.answer_nothing(ip);
        }
    }

    // What follows from an answer.

    fn key_works(&mut self) {
        self.too_many.succeeded();
        self.refused.succeeded();
    }

    fn refuse(&mut self, now: Now) {
        let again = self.refused.failures() > 0;
        let none = Duration::ZERO;
        let until = self.refused.failed(now.mono, none, &mut self.jitter);
        let again_in = until.saturating_sub(now.mono);
        self.notices.push(Notice::Refused { again_in, again });
    }

    fn rate_limit(&mut self, asked: Duration, now: Now) {
        let again = self.too_many.failures() > 0;
        let until = self.too_many.failed(now.mono, asked, &mut self.jitter);
        let limit = self.limiter.halve(now.mono);
        let wait = until.saturating_sub(now.mono);
        self.notices
            .push(Notice::RateLimited { again, wait, limit });
    }

    fn trouble(&mut self, kind: Kind, trouble: Trouble) {
        let last = &mut self.told.trouble[kind as usize];
        let same = std::mem::discriminant(&trouble);
        let again = last.as_ref().map(std::mem::discriminant) == Some(same);
        *last = Some(trouble.clone());
        self.notices.push(if again {
            Notice::StillTrouble(kind, trouble)
        } else {
            Notice::Trouble(kind, trouble)
        });
        self.changed = true;
    }

    fn recovered(&mut self, kind: Kind) {
        self.told.trouble[kind as usize] = None;
        self.notices.push(Notice::Recovered(kind));
    }

    fn synced(&mut self, now: Now) {
        self.stale = false;
        self.stale_at = now.mono + STALE_AFTER;
        self.told.last_sync = Some(now.wall);
        self.changed = true;
    }

    fn completed(&mut self) {
        if !std::mem::replace(&mut self.told.complete, true) {
            let held = self.told.held;
            self.notices.push(Notice::Complete { held });
        }
    }

    fn leave_unasked(&mut self, ip: IpAddr) {
        self.told.checks.not_asked += 1;
        self.answer_nothing(ip);
    }

    fn answer_nothing(&mut self, ip: IpAddr) {
        let verdict = Verdict::NoAnswer;
        self.reports.push(Report::Answer { ip, verdict });
    }

    fn vetted<T>(
        &self,
        protected: &dyn Fn(IpAddr) -> bool,
        use_it: impl FnOnce(Vet<'_>) -> T,
    ) -> T {
        use_it(Vet {
            protected: &|ip| self.servers.contains(ip) || protected(ip),
            accept_reserved: self.settings.laboratory.accept_reserved,
        })
    }

    // Telling.

    /// What happened since the last call, for the engine; [`Report::State`] comes last.
    pub fn take_reports(&mut self, now: Now) -> Vec<Report> {
        if std::mem::take(&mut self.changed) {
            let state = self.state(now);
            self.reports.push(Report::State(Box::new(state)));
        }
        std::mem::take(&mut self.reports)
    }

    /// What happened since the last call, for the log.
    pub fn take_notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }

    /// A picture of the present.
    pub fn state(&self, now: Now) -> State {
        let (condition, why, until) = self.condition(now);
        let told = &self.told;
        State {
            condition,
            why,
            waits_until: until.map(|at| now.date_of(at)),
            stale: self.stale,
            host: self.settings.base_url.host().to_owned(),
            set: self.settings.set.to_string(),
            last_sync: told.last_sync,
            next_poll: self.walk.next_poll().map(|at| now.date_of(at)),
            held: told.held,
            pages: told.pages,
            entries: told.entries,
            rejected: told.rejected,
            requests_in_window: self.limiter.held(now.mono),
            rate_limit: self.limiter.limit_at(now.mono),
            checks: Checks {
                waiting: self.queue.len(),
                ..told.checks
            },
        }
    }

    fn condition(&self, now: Now) -> (Condition, Option<String>, Option<Duration>) {
        if let Err(why) = &self.settings.key {
            return (Condition::Off, Some(why.to_string()), None);
        }
        if self.refused.failures() > 0 {
            let why = "the key is refused".to_owned();
            return (Condition::Refused, Some(why), Some(self.refused.until()));
        }
        if self.too_many.until() > now.mono {
            let why = "too many requests; the key is in use elsewhere".to_owned();
            let until = self.too_many.until();
            return (Condition::RateLimited, Some(why), Some(until));
        }
        if let Some(until) = self.walk.trouble() {
            let [list, _] = &self.told.trouble;
            let why = list.as_ref().map(Trouble::to_string);
            return (Condition::Trouble, why, Some(until));
        }
        if self.walk.is_caught_up() {
            (Condition::Current, None, None)
        } else {
            (Condition::Syncing, None, None)
        }
    }
}

#[cfg(test)]
mod tests;
