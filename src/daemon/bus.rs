//! The judge, whom all threads ask, and the threads beside him.
//!
//! The [`Judge`] is the engine and a handle on the firewall behind one lock. Who brings
//! an event judges it and carries out what follows, on his own thread: so a line that
//! convicts is banned by the reader that read it, and no other thread must wake first,
//! which would take longer than all the rest. A reader that finds the lock taken waits,
//! since the log is the queue. Whatever takes its time goes elsewhere: lists to a thread
//! that loads them, records and messages to the clerk (database and log), questions to
//! the feed. These queues never make anybody wait, and are bounded by what they stand
//! for: a page by the feed, a question by a cache entry, a record by either. So no two
//! can wait for each other.

use std::sync::mpsc::{Receiver, Sender, SyncSender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::sync::mpsc as tokio_mpsc;
use tracing::{Level, debug, error, warn};

use super::clock::{Clock, LOOK_EVERY};
use super::keeper::Bell;
use super::recidive::Recidive;
use crate::action::{Action, Outcome};
use crate::ban::record::Record;
use crate::engine::{Effect, Engine, Event, Held, LIST_PART, Tell};
use crate::feed::Command;
use crate::ticket::{Failure, JailName, Order, Reason, Set};
use crate::time::Time;

/// Orders whose room is kept for the next: more than an attack brings at once.
pub(super) const ORDERS_KEPT: usize = 1_024;

/// How long a reload waits for the bans of jails that it brings back.
const BRING_BACK_PATIENCE: Duration = Duration::from_secs(2);

/// Where the engine's effects go.
#[derive(Clone)]
pub struct Outlets {
    /// To the thread that loads lists.
    pub lists: Sender<ListWork>,
    /// To the clerk.
    pub clerk: Sender<Paper>,
    /// To the feed.
    pub feed: tokio_mpsc::UnboundedSender<Command>,
    /// The bell of the thread that asks about flows.
    pub flows: SyncSender<()>,
    /// Failures of jails that watch bans, to be asked about first (`ignorecommand`).
    pub asked: tokio_mpsc::Sender<Failure>,
}

/// What the thread that loads lists gets.
pub enum ListWork {
    /// To be carried out.
    Order(Order),
    /// All of the list is to be laid on again.
    Again,
}

/// What the clerk gets.
pub enum Paper {
    /// These jails have come back: what the database holds of them is to be in force again.
    BringBack(BroughtBack),
    /// To be recorded.
    Record(Record),
    /// To be told.
    Tell(Tell),
}

/// Jails that a reload brought back.
pub struct BroughtBack {
    /// Their names.
    pub jails: Vec<JailName>,
    /// What their sets hold, from a time when nobody looked after them.
    pub kernel: Held,
    /// Dropped when they have their bans.
    pub done: Sender<()>,
}

impl Outlets {
    /// Sends effects on their ways, in their order and by the wall's clock; orders that the
    /// judge carries out himself are put into `bans`.
    pub fn send(&self, effects: &mut Vec<Effect>, clock: &Clock, bans: &mut Vec<Order>) {
        for effect in effects.drain(..).map(|effect| clock.effect(effect)) {
            // A thread that has ended has said why; the others go on.
            let _ended = match effect {
                Effect::Order(order) if set_of(&order) == &Set::List => {
                    self.lists.send(ListWork::Order(order)).is_err()
                }
                Effect::Order(order) => {
                    bans.push(order);
                    false
                }
                Effect::Record(record) => self.clerk.send(Paper::Record(record)).is_err(),
                // Whoever is rung for already takes this question, too.
                Effect::AskFlow(_) => self.flows.try_send(()).is_err(),
                Effect::Feed(command) => self.feed.send(command).is_err(),
                Effect::Tell(tell) if is_quiet(&tell) => false,
                Effect::Tell(tell) => self.clerk.send(Paper::Tell(tell)).is_err(),
            };
        }
    }
}

pub(super) fn set_of(order: &Order) -> &Set {
    match order {
        Order::Block { set, .. } | Order::Unblock { set, .. } | Order::Load { set, .. } => set,
    }
}

/// A failure is told at DEBUG: under attack nobody wants a line for each. A ban is told when
/// it is recorded, so that a flood of them is not queued twice.
fn is_quiet(tell: &Tell) -> bool {
    match tell {
        Tell::Found { .. } | Tell::Protected { .. } => !tracing::enabled!(Level::DEBUG),
        Tell::Banned(_) => true,
        _ => false,
    }
}

/// The engine, and the hands that ban. Cheap to clone: all are the same judge.
#[derive(Clone)]
pub struct Judge(Arc<Court>);

struct Court {
    bench: Mutex<Bench>,
    /// Rung when something is due earlier than the clock believes, and at the end.
    clock: Condvar,
}

/// What the judge has at hand.
struct Bench {
    engine: Engine,
    clock: Clock,
    action: Box<dyn Action + Send>,
    outlets: Option<Outlets>,
    recidive: Option<Recidive>,
    bell: Bell,
    effects: Vec<Effect>,
    bans: Vec<Order>,
    /// When the clock looks next; none while it does not sleep.
    alarm: Option<Instant>,
}

impl Judge {
    /// Sets the judge to work.
    pub fn new(
        engine: Engine,
        clock: Clock,
        action: Box<dyn Action + Send>,
        outlets: Outlets,
        recidive: Option<Recidive>,
        bell: Bell,
    ) -> Judge {
        Judge(Arc::new(Court {
            bench: Mutex::new(Bench {
                engine,
                clock,
                action,
                outlets: Some(outlets),
                recidive,
                bell,
                effects: Vec::new(),
                bans: Vec::new(),
                alarm: None,
            }),
            clock: Condvar::new(),
        }))
    }

    /// Judges an event, and carries out what follows.
    pub fn event(&self, event: Event) {
        self.events([event]);
    }

    /// Judges events, and carries out together what follows.
    pub fn events(&self, events: impl IntoIterator<Item = Event>) {
        self.hear(|bench| {
            for event in events {
                bench.handle(event);
            }
        });
    }

    /// Has something written down that is not the engine's business.
    pub fn keep(&self, record: Record) {
        if let Some(outlets) = &self.bench().outlets {
            // A clerk that has ended has said why.
            let _ended = outlets.clerk.send(Paper::Record(record));
        }
    }

    /// Has all of the list laid on again, by the thread that loads it.
    pub fn lay_list_again(&self) {
        if let Some(outlets) = &self.bench().outlets {
            // A thread that has ended has said why.
            let _ended = outlets.lists.send(ListWork::Again);
        }
    }

    /// Brings back in force what the database holds of these jails, before their logs are
    /// read. A database that makes us wait longer is not waited for; the bans come later.
    pub fn bring_back(&self, jails: Vec<JailName>, kernel: Held) {
        let (done, is_done) = channel();
        let paper = Paper::BringBack(BroughtBack {
            jails,
            kernel,
            done,
        });
        let sent = self.bench().outlets.as_ref().map(|to| to.clerk.send(paper));
        if sent.is_some_and(|sent| sent.is_ok()) {
            let _late = is_done.recv_timeout(BRING_BACK_PATIENCE);
        }
    }

    /// Has something done with the engine, carries out what follows, and brings back
    /// what it gave. All times are the engine's.
    pub fn visit<R>(&self, visit: impl FnOnce(&mut Engine, Time, &mut Vec<Effect>) -> R) -> R {
        self.hear(|bench| visit(&mut bench.engine, bench.clock.now(), &mut bench.effects))
    }

    /// The engine's time, which nobody sets.
    pub fn now(&self) -> Time {
        let mut bench = self.bench();
        bench.look_at_clock();
        bench.clock.now()
    }

    /// The way from the engine's times to the wall's, for what is shown.
    pub fn clock(&self) -> Clock {
        self.bench().clock
    }

    fn hear<R>(&self, hear: impl FnOnce(&mut Bench) -> R) -> R {
        let mut bench = self.bench();
        let bench = &mut *bench;
        bench.look_at_clock();
        let given = hear(bench);
        bench.carry_out();
        let due = bench.engine.next_deadline();
        let now = bench.clock.now();
        let is_earlier = |due: Time, alarm| Instant::now() + due.since(now) < alarm;
        if let (Some(due), Some(alarm)) = (due, bench.alarm)
            && is_earlier(due, alarm)
        {
            self.0.clock.notify_one();
        }
        given
    }

    /// Other jails watch bans from now on.
    pub fn watch_bans(&self, recidive: Option<Recidive>) {
        self.bench().recidive = recidive;
    }

    fn bench(&self) -> MutexGuard<'_, Bench> {
        // A panic ends the daemon, so nobody finds the lock poisoned.
        self.0.bench.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts the clock, which brings up what is due. It ends when the judge has closed.
    pub fn start_clock(&self) -> anyhow::Result<JoinHandle<()>> {
        let judge = self.clone();
        named("clock", move || judge.keep_time())
    }

    fn keep_time(&self) {
        let mut bench = self.bench();
        while bench.outlets.is_some() {
            bench.look_at_clock();
            let now = bench.clock.now();
            let due = bench.engine.next_deadline();
            let wait = due.map_or(LOOK_EVERY, |due| due.since(now)).min(LOOK_EVERY);
            if wait.is_zero() {
                let bench = &mut *bench;
                bench.engine.handle(Event::Tick, now, &mut bench.effects);
                bench.carry_out();
                continue;
            }
            bench.alarm = Some(Instant::now() + wait);
            bench = match self.0.clock.wait_timeout(bench, wait) {
                Ok((bench, _)) => bench,
                Err(poisoned) => poisoned.into_inner().0,
            };
            bench.alarm = None;
        }
    }

    /// Ends judging: what comes later is judged by nobody, and those who wait for
    /// records, lists and questions find their queues closed.
    pub fn close(&self) {
        self.bench().outlets = None;
        self.0.clock.notify_one();
    }
}

impl Bench {
    fn handle(&mut self, event: Event) {
        let event = self.clock.event(event);
        self.engine
            .handle(event, self.clock.now(), &mut self.effects);
    }

    /// Sees whether the wall's clock was set. What is written down by it would be wrong for
    /// the next run, so bans and tries are written anew.
    fn look_at_clock(&mut self) {
        if let Some(micros) = self.clock.look() {
            let seconds = micros / 1_000_000;
            warn!(
                seconds,
                "the clock was set; bans and tries last and count as if it had not been"
            );
            self.engine.record_times(&mut self.effects);
            self.carry_out();
        }
    }

    /// Shows new bans to the jails that watch bans, and has judged what they find; so
    /// again with the bans that follow. A jail bans an address once, so this has an end.
    fn show_bans(&mut self) {
        let Some(recidive) = &mut self.recidive else {
            return;
        };
        let (mut seen, now) = (0, self.clock.now());
        while seen < self.effects.len() {
            let mut failures = Vec::new();
            for effect in self.effects.iter().skip(seen) {
                if let Effect::Tell(Tell::Banned(ban)) = effect
                    && ban.reason != Reason::Crowd
                {
                    recidive.see(ban, now, &mut |failure| failures.push(failure));
                }
            }
            seen = self.effects.len();
            for failure in failures {
                if recidive.asks(&failure.jail) {
                    // If very many wait for that command, this one is not judged.
                    let asked = self.outlets.as_ref().map(|outlets| &outlets.asked);
                    let _full = asked.is_some_and(|asked| asked.try_send(failure).is_err());
                    continue;
                }
                let event = Event::Failure(failure);
                self.engine.handle(event, now, &mut self.effects);
            }
        }
    }

    /// Carries out what the engine wants. A ban that the kernel refuses is the engine's
    /// business again; that it then forgets it asks for nothing more.
    fn carry_out(&mut self) {
        self.show_bans();
        let Some(outlets) = self.outlets.take() else {
            return self.effects.clear();
        };
        outlets.send(&mut self.effects, &self.clock, &mut self.bans);
        while !self.bans.is_empty() {
            let mut answers = Vec::new();
            let bell = &self.bell;
            self.action.apply(&self.bans, &mut |outcome| {
                if bell.hears(&outcome) {
                    answers.extend(answer(outcome));
                }
            });
            self.bans.clear();
            self.bans.shrink_to(ORDERS_KEPT);
            for event in answers {
                self.handle(event);
            }
            outlets.send(&mut self.effects, &self.clock, &mut self.bans);
        }
        self.outlets = Some(outlets);
    }
}

/// Starts the thread that loads lists, all pages that wait at once.
pub fn load_lists(
    mut action: Box<dyn Action + Send>,
    work: Receiver<ListWork>,
    judge: Judge,
    bell: Bell,
) -> anyhow::Result<JoinHandle<()>> {
    named("lists", move || {
        let mut hear = |outcome| {
            if bell.hears(&outcome)
                && let Some(event) = answer(outcome)
            {
                judge.event(event);
            }
        };
        let mut waiting = Vec::new();
        while let Ok(first) = work.recv() {
            let mut again = false;
            for work in std::iter::once(first).chain(work.try_iter()) {
                match work {
                    ListWork::Order(order) => waiting.push(order),
                    ListWork::Again => again = true,
                }
            }
            action.apply(&waiting, &mut hear);
            waiting.clear();
            waiting.shrink_to(ORDERS_KEPT);
            if again {
                lay_list_again(&judge, &mut |orders| action.apply(orders, &mut hear));
            }
        }
    })
}

/// Lays on again all of the list, each part as it is when its turn comes: what is ordered
/// meanwhile is carried out behind it.
fn lay_list_again(judge: &Judge, apply: &mut dyn FnMut(&[Order])) {
    let listed = judge.visit(|engine, _, _| engine.in_force(&Set::List));
    for part in listed.chunks(LIST_PART) {
        let mut effects = Vec::new();
        judge.visit(|engine, now, _| engine.lay_again(&Set::List, part, now, &mut effects));
        let orders = effects.into_iter().filter_map(|effect| match effect {
            Effect::Order(order) => Some(order),
            _ => None,
        });
        apply(&orders.collect::<Vec<Order>>());
    }
}

/// What the engine must know of an outcome. The rest is told to people.
pub(super) fn answer(outcome: Outcome) -> Option<Event> {
    match outcome {
        Outcome::Loaded { page, refused } => return Some(Event::Loaded { page, refused }),
        Outcome::LoadFailed { page, error } => {
            error!(%error, "APIBAN's list could not be loaded into the kernel");
            return Some(Event::LoadFailed { page });
        }
        Outcome::Refused { set, addr, error } if !error.is_lasting() => {
            debug!(%set, %addr, %error, "the kernel refused an order");
            return Some(Event::Refused { set, addr });
        }
        Outcome::Refused { set, addr, error } if error.is_foreign() => {
            error!(%set, %addr, %error, "a ban is not in force");
        }
        Outcome::Refused { set, addr, error } => {
            error!(%set, %addr, %error, "an order could not be carried out; it is tried again");
        }
        Outcome::Full { set, error } => error!(%set, %error, "a kernel set is full"),
    }
    None
}

/// Starts a thread of ours.
pub fn named(name: &str, work: impl FnOnce() + Send + 'static) -> anyhow::Result<JoinHandle<()>> {
    let builder = thread::Builder::new()
        .name(name.to_owned())
        .stack_size(STACK_BYTES);
    Ok(builder.spawn(work)?)
}

/// Stacks of our threads: nothing of ours recurses deeply.
const STACK_BYTES: usize = 1024 * 1024;
