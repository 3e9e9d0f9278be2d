//! The threads around the engine and the queues between them.
//!
//! One thread judges: it owns the [`Engine`]. Its inbox is bounded; a reader that
//! finds it full waits, since the log is the queue. What the engine wants done goes
//! to the firewall's threads, to the clerk (database and log) and to the feed; these
//! queues never make the engine wait, and are bounded by what they stand for: an
//! order by a ban, a question by a cache entry, a record by either. So no two
//! queues can wait for each other.

use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, SyncSender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc as tokio_mpsc, oneshot};
use tracing::{Level, debug, error, info, warn};

use crate::action::{Action, Outcome};
use crate::ban::store::{Record, Store};
use crate::engine::{Effect, Engine, Event, Tell};
use crate::feed::Command;
use crate::ticket::{Order, Set};
use crate::time::{Time, human};

/// Events that may wait for the engine. Each stands for a line that was read
/// and not judged; a hundred of them pass in well under a millisecond.
const INBOX: usize = 1_024;

/// Records are written together after this long, so that a flood of bans costs a few
/// transactions a second and a crash loses no more than this.
const COMMIT_EVERY: Duration = Duration::from_millis(200);

/// Records that are written together at most: a larger transaction is no faster for
/// each of them, and they would lie in memory meanwhile.
const RECORDS_MAX: usize = 256;

/// How soon a write that failed is tried again: a disk that is full stays so for a while.
const RETRY_EVERY: Duration = Duration::from_secs(5);

/// Records that wait for a database that cannot be written: some 20 MB, an hour of a
/// heavy attack.
const RECORDS_KEPT_MAX: usize = 65_536;

/// How often what is long over is deleted.
const PURGE_EVERY: Duration = Duration::from_secs(3_600);

/// Positions alone may wait longer: a line judged twice finds its address banned.
const COMMIT_POSITIONS_EVERY: Duration = Duration::from_secs(1);

/// Something that is done with the engine on its own thread.
type Visit = Box<dyn FnOnce(&mut Engine, Time, &mut Vec<Effect>) + Send>;

enum Message {
    Event(Event),
    Visit(Visit),
    Stop,
}

/// Where events for the engine are handed in. Cheap to clone.
#[derive(Clone)]
pub struct Inbox(SyncSender<Message>);

impl Inbox {
    /// Hands an event in; waits while the inbox is full.
    pub fn event(&self, event: Event) {
        // Without an engine the daemon is stopping, and nobody is interested any more.
        let _stopped = self.0.send(Message::Event(event));
    }

    /// Has something done with the engine, and brings back what it gave.
    pub fn visit<R: Send + 'static>(
        &self,
        visit: impl FnOnce(&mut Engine, Time, &mut Vec<Effect>) -> R + Send + 'static,
    ) -> oneshot::Receiver<R> {
        let (sender, receiver) = oneshot::channel();
        let visit: Visit = Box::new(move |engine, now, effects| {
            let _gone = sender.send(visit(engine, now, effects)).is_err();
        });
        let _stopped = self.0.send(Message::Visit(visit));
        receiver
    }
}

/// Where the engine's effects go.
#[derive(Clone)]
pub struct Outlets {
    /// To the thread that bans.
    pub bans: Sender<Order>,
    /// To the thread that loads lists.
    pub lists: Sender<Order>,
    /// To the clerk.
    pub clerk: Sender<Paper>,
    /// To the feed.
    pub feed: tokio_mpsc::UnboundedSender<Command>,
}

/// What the clerk gets.
pub enum Paper {
    /// To be recorded.
    Record(Record),
    /// To be told.
    Tell(Tell),
}

impl Outlets {
    /// Sends effects on their ways, in their order.
    pub fn send(&self, effects: &mut Vec<Effect>) {
        for effect in effects.drain(..) {
            // A thread that has ended has said why; the others go on.
            let _ended = match effect {
                Effect::Order(order) if set_of(&order) == &Set::List => {
                    self.lists.send(order).is_err()
                }
                Effect::Order(order) => self.bans.send(order).is_err(),
                Effect::Record(record) => self.clerk.send(Paper::Record(record)).is_err(),
                Effect::Feed(command) => self.feed.send(command).is_err(),
                Effect::Tell(tell) if is_quiet(&tell) => false,
                Effect::Tell(tell) => self.clerk.send(Paper::Tell(tell)).is_err(),
            };
        }
    }
}

fn set_of(order: &Order) -> &Set {
    match order {
        Order::Block { set, .. } | Order::Unblock { set, .. } | Order::Load { set, .. } => set,
    }
}

/// A failure is told at DEBUG: under attack nobody wants a line for each. A ban is
/// told when it is recorded, so that a flood of them is not queued twice.
fn is_quiet(tell: &Tell) -> bool {
    match tell {
        Tell::Found { .. } | Tell::Protected { .. } => !tracing::enabled!(Level::DEBUG),
        Tell::Banned(_) => true,
        _ => false,
    }
}

/// A place for the engine's events, before there is a thread that takes them.
pub struct Judge {
    receiver: Receiver<Message>,
}

/// The inbox, and the other end of it.
pub fn inbox() -> (Inbox, Judge) {
    let (sender, receiver) = mpsc::sync_channel(INBOX);
    (Inbox(sender), Judge { receiver })
}

impl Judge {
    /// Starts the thread that judges.
    pub fn start(self, mut engine: Engine, outlets: Outlets) -> anyhow::Result<JoinHandle<()>> {
        named("judge", move || {
            let mut effects = Vec::new();
            loop {
                let now = Time::now();
                let wait = engine
                    .next_deadline()
                    .map_or(Duration::from_secs(3_600), |deadline| deadline.since(now));
                match self.receiver.recv_timeout(wait) {
                    Ok(Message::Event(event)) => engine.handle(event, Time::now(), &mut effects),
                    Ok(Message::Visit(visit)) => visit(&mut engine, Time::now(), &mut effects),
                    Err(RecvTimeoutError::Timeout) => {
                        engine.handle(Event::Tick, Time::now(), &mut effects)
                    }
                    Ok(Message::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                }
                outlets.send(&mut effects);
            }
        })
    }
}

/// Ends the thread that judges, once it has judged what was handed in.
pub fn stop(inbox: &Inbox) {
    let _stopped = inbox.0.send(Message::Stop);
}

/// Starts a thread that carries orders out, all that wait at once.
pub fn carry_out(
    name: &'static str,
    mut action: Box<dyn Action + Send>,
    orders: Receiver<Order>,
    inbox: Inbox,
) -> anyhow::Result<JoinHandle<()>> {
    named(name, move || {
        let mut waiting = Vec::new();
        while let Ok(order) = orders.recv() {
            waiting.push(order);
            waiting.extend(orders.try_iter());
            action.apply(&waiting, &mut |outcome| report(outcome, &inbox));
            waiting.clear();
            waiting.shrink_to(INBOX);
        }
    })
}

fn report(outcome: Outcome, inbox: &Inbox) {
    match outcome {
        Outcome::Loaded { page, refused } => inbox.event(Event::Loaded { page, refused }),
        Outcome::LoadFailed { page, error } => {
            error!(%error, "APIBAN's list could not be loaded into the kernel");
            inbox.event(Event::LoadFailed { page });
        }
        Outcome::Refused { set, addr, error } if !error.is_lasting() => {
            debug!(?set, %addr, %error, "the kernel refused an order");
            inbox.event(Event::Refused { set, addr });
        }
        Outcome::Refused { set, addr, error } => {
            error!(?set, %addr, %error, "an order could not be carried out; a restart puts rules and sets back");
        }
        Outcome::Full { set, error } => error!(?set, %error, "a kernel set is full"),
    }
}

/// Starts the clerk, who writes records down together and tells people.
pub fn clerk(mut store: Store, papers: Receiver<Paper>) -> anyhow::Result<JoinHandle<()>> {
    named("clerk", move || {
        let mut records: Vec<Record> = Vec::new();
        let (mut open, mut trouble) = (true, false);
        let mut purged = Instant::now();
        while open {
            if records.is_empty() {
                match papers.recv() {
                    Ok(paper) => take(paper, &mut records),
                    Err(_) => return,
                }
            }
            open = collect(&papers, &mut records, trouble);
            match store.write(&records) {
                Ok(()) => {
                    if trouble {
                        info!("the database can be written again; nothing is missing in it");
                    }
                    trouble = false;
                    records.clear();
                    records.shrink_to(INBOX);
                }
                Err(error) => {
                    if !trouble || !open {
                        error!(%error, waiting = records.len(), "cannot be written down; bans hold in the kernel meanwhile");
                    }
                    trouble = true;
                    drop_the_oldest(&mut records);
                }
            }
            if !trouble && purged.elapsed() > PURGE_EVERY {
                purged = Instant::now();
                if let Err(error) = store.purge(Time::now()) {
                    warn!(%error, "what is long over could not be deleted");
                }
            }
        }
    })
}

/// While nothing can be written, so much is kept for later and no more.
fn drop_the_oldest(records: &mut Vec<Record>) {
    let surplus = records.len().saturating_sub(RECORDS_KEPT_MAX);
    if surplus > 0 {
        records.drain(..surplus);
        error!(
            lost = surplus,
            "records are lost, since the database could not be written for long"
        );
    }
}

/// Takes what comes until it is time to write; false if nothing more will come.
fn collect(papers: &Receiver<Paper>, records: &mut Vec<Record>, trouble: bool) -> bool {
    let is_place = |record: &Record| matches!(record, Record::Places(_));
    let start = Instant::now();
    while !records.is_empty() && (trouble || records.len() < RECORDS_MAX) {
        let patience = match records.iter().all(is_place) {
            _ if trouble => RETRY_EVERY,
            true => COMMIT_POSITIONS_EVERY,
            false => COMMIT_EVERY,
        };
        match papers.recv_timeout(patience.saturating_sub(start.elapsed())) {
            Ok(paper) => take(paper, records),
            Err(RecvTimeoutError::Timeout) => return true,
            Err(RecvTimeoutError::Disconnected) => return false,
        }
        if records.len() > RECORDS_KEPT_MAX {
            drop_the_oldest(records);
        }
    }
    true
}

fn take(paper: Paper, records: &mut Vec<Record>) {
    match paper {
        Paper::Tell(tell) => tell_people(&tell),
        Paper::Record(Record::Places(places)) => {
            records.retain(|record| !matches!(record, Record::Places(_)));
            records.push(Record::Places(places));
        }
        Paper::Record(record) => {
            if let Record::Ban { ban, .. } = &record {
                tell_people(&Tell::Banned(ban.clone()));
            }
            records.push(record);
        }
    }
}

fn tell_people(tell: &Tell) {
    match tell {
        Tell::Found {
            jail,
            ip,
            tries,
            maxretry,
        } => debug!(%jail, %ip, tries, maxretry, "failure"),
        Tell::Banned(ban) => {
            let until = ban
                .until
                .map_or("for ever".to_owned(), |until| human(until.since(ban.since)));
            info!(jail = %ban.jail, addr = %ban.addr, reason = %ban.reason, tries = ban.tries, "for" = until, "banned");
        }
        Tell::Restored(ban) => {
            debug!(jail = %ban.jail, addr = %ban.addr, reason = %ban.reason, "ban goes on")
        }
        Tell::Unbanned(ban) => info!(jail = %ban.jail, addr = %ban.addr, "unbanned"),
        Tell::StillSeen(ban) => {
            warn!(jail = %ban.jail, addr = %ban.addr, "is banned and still gets through; ordered again");
        }
        Tell::Protected { jail, ip } => {
            debug!(%jail, %ip, "a protected address fails; nothing is done")
        }
        Tell::NotInForce(ban) => {
            error!(jail = %ban.jail, addr = %ban.addr, "the kernel refused this ban; it is not in force");
        }
        Tell::ListLoaded {
            entries,
            refused,
            protected,
        } => {
            info!(
                entries,
                refused, protected, "a page of APIBAN's list is in force"
            );
        }
    }
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
