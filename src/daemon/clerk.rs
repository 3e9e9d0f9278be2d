//! The clerk: he writes down what must outlive the daemon, and tells people.
//!
//! Nobody waits for him. While the database is in trouble he keeps what he was given,
//! within a bound, and tries again; what is wrong stands in [`Trouble`], where `status`
//! finds it. What the database turns out to hold, once it can be read, he brings the judge.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tracing::{debug, error, info, warn};

use super::bus::{self, BroughtBack, Judge, ORDERS_KEPT, Paper};
use super::stock;
use crate::ban::archive::{Archive, is_from_kernel};
use crate::ban::record::Record;
use crate::engine::{Before, Held, Tell};
use crate::ticket::{JailName, Testimony};
use crate::time::{Time, human};

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

/// Records that wait with their lines; the lines of later ones are dropped, some 30 MB.
const RECORDS_WITH_LINES_MAX: usize = 4_096;

/// How often what is long over is deleted.
const PURGE_EVERY: Duration = Duration::from_secs(3_600);

/// Positions alone may wait longer: a line judged twice finds its address banned.
const COMMIT_POSITIONS_EVERY: Duration = Duration::from_secs(1);

/// What is wrong with the database, for whoever asks. Cheap to clone.
#[derive(Clone, Default)]
pub struct Trouble(Arc<Mutex<Wrong>>);

/// What can be wrong with it, in words.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wrong {
    /// Why it cannot be used now.
    pub now: Option<String>,
    /// Why it has lost some of what was in force before the start.
    pub lost: Option<String>,
}

impl Trouble {
    /// What is wrong; nothing if all is well.
    pub fn get(&self) -> Wrong {
        self.wrong().clone()
    }

    fn wrong(&self) -> MutexGuard<'_, Wrong> {
        // A panic ends the daemon, so nobody finds the lock poisoned.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Starts the clerk.
pub fn start(
    archive: Archive,
    papers: Receiver<Paper>,
    judge: Judge,
    door: stock::Door,
    trouble: Trouble,
) -> anyhow::Result<JoinHandle<()>> {
    let mut clerk = Clerk {
        archive,
        judge,
        door,
        trouble,
        records: Vec::new(),
        brought_back: Vec::new(),
        knows_places: false,
        in_trouble: false,
        purged: None,
    };
    // What went wrong before is told and shown at once.
    clerk.tell_trouble();
    bus::named("clerk", move || clerk.serve(&papers))
}

struct Clerk {
    archive: Archive,
    judge: Judge,
    /// Where it is told that the ledger is whole.
    door: stock::Door,
    trouble: Trouble,
    records: Vec<Record>,
    /// Jails that wait for their bans.
    brought_back: Vec<BroughtBack>,
    in_trouble: bool,
    /// Is it known in the database where the logs stand? Until then a log that is rotated
    /// while we are dead would not be read to its end, so that is written at once.
    knows_places: bool,
    /// When what is long over was deleted last; in this run not before all else is up.
    purged: Option<Instant>,
}

impl Clerk {
    fn serve(&mut self, papers: &Receiver<Paper>) {
        let mut open = true;
        while open {
            if self.records.is_empty() && !self.in_trouble {
                match papers.recv() {
                    Ok(paper) => self.take(paper),
                    Err(_) => return,
                }
            }
            open = self.collect(papers);
            if self.records.is_empty() && self.brought_back.is_empty() && !self.in_trouble {
                continue; // what was told needs no database
            }
            self.write(open);
            let is_time = |last: Instant| last.elapsed() > PURGE_EVERY;
            if !self.in_trouble && self.purged.is_none_or(is_time) {
                self.purged = Some(Instant::now());
                if let Err(error) = self.archive.purge(Time::now()) {
                    warn!(%error, "what is long over could not be deleted");
                }
            }
        }
    }

    fn write(&mut self, open: bool) {
        let has_places =
            |record: &Record| matches!(record, Record::Read(reading) if !reading.places.is_empty());
        let has_places = self.records.iter().any(has_places);
        let written = self.archive.write(&mut self.records, Time::now());
        self.knows_places |= has_places && written.is_ok();
        if written.is_ok() && self.in_trouble {
            info!("the database can be written again; nothing is missing in it");
        }
        self.records.shrink_to(ORDERS_KEPT);
        drop_the_oldest(&mut self.records);
        self.tell_trouble();
        if !open && let Err(error) = &written {
            error!(%error, lost = self.records.len(), "cannot be written down before the end");
        }
        if let Some(kept) = self.archive.take_late() {
            info!(
                bans = kept.bans.len(),
                "the database can be read; its bans go on"
            );
            let before = Before {
                bans: kept.bans,
                history: kept.history,
                standings: kept.standings,
                listed: kept.listed,
                ..Before::default()
            };
            let before = self.judge.clock().before(before);
            self.judge
                .visit(|engine, now, effects| engine.restore_late(before, now, effects));
            self.judge.lay_list_again();
            self.door.settle(self.archive.is_whole());
        }
        if written.is_ok() && !self.brought_back.is_empty() {
            self.bring_back();
        }
        if self.archive.take_anew() {
            self.judge
                .visit(|engine, _, effects| engine.record_all(effects));
        }
    }

    /// Brings the judge what is kept of jails that are back. All that happened before is
    /// written by now, so who was pardoned meanwhile stays so. If it cannot be read, they wait.
    fn bring_back(&mut self) {
        let mut kept = self.archive.load(Time::now());
        self.tell_trouble();
        if self.in_trouble {
            return;
        }
        let mut waiting = std::mem::take(&mut self.brought_back);
        let mut kernel = Held::new();
        for back in &mut waiting {
            kernel.append(&mut back.kernel);
        }
        let is_back = |jail: &JailName| waiting.iter().any(|back| back.jails.contains(jail));
        kept.bans.retain(|ban| is_back(&ban.jail));
        kept.tries.retain(|tries| is_back(&tries.jail));
        info!(bans = kept.bans.len(), "jails are back; their bans go on");
        let before = self.judge.clock().before(Before {
            bans: kept.bans,
            tries: kept.tries,
            kernel,
            lost: !self.archive.is_whole(),
            ..Before::default()
        });
        self.judge
            .visit(|engine, now, effects| engine.bring_back(before, now, effects));
        self.door.settle(self.archive.is_whole());
    }

    /// Takes what comes until it is time to write; false if nothing more will come.
    fn collect(&mut self, papers: &Receiver<Paper>) -> bool {
        let (start, trouble) = (Instant::now(), self.in_trouble);
        while trouble || (!self.records.is_empty() && self.records.len() < RECORDS_MAX) {
            let patience = match self.records.iter().all(is_reading) {
                _ if trouble => RETRY_EVERY,
                _ if !self.brought_back.is_empty() => Duration::ZERO,
                true if !self.knows_places => Duration::ZERO,
                true => COMMIT_POSITIONS_EVERY,
                false => COMMIT_EVERY,
            };
            match papers.recv_timeout(patience.saturating_sub(start.elapsed())) {
                Ok(paper) => self.take(paper),
                Err(RecvTimeoutError::Timeout) => return true,
                Err(RecvTimeoutError::Disconnected) => return false,
            }
            if self.records.len() > RECORDS_KEPT_MAX {
                drop_the_oldest(&mut self.records);
            }
        }
        true
    }

    fn take(&mut self, paper: Paper) {
        match paper {
            Paper::BringBack(jails) => self.brought_back.push(jails),
            Paper::Tell(tell) => tell_people(&tell),
            Paper::Record(record) => take(record, &mut self.records),
        }
    }

    /// Tells what is new, and the beginning of a trouble.
    fn tell_trouble(&mut self) {
        for news in self.archive.news() {
            error!("{news}");
        }
        let trouble = self.archive.trouble();
        if let Some(trouble) = trouble.filter(|_| !self.in_trouble) {
            error!(
                "{trouble}; bans hold in memory and kernel, and are written down as soon as it can be used"
            );
        }
        self.in_trouble = trouble.is_some();
        let (now, lost) = (trouble, self.archive.lost());
        let wrong = Wrong {
            now: now.map(str::to_owned),
            lost: lost.map(str::to_owned),
        };
        *self.trouble.wrong() = wrong;
    }
}

fn is_reading(record: &Record) -> bool {
    matches!(record, Record::Read(_))
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

fn take(record: Record, records: &mut Vec<Record>) {
    match record {
        Record::Read(mut reading) => {
            let is_reading = |record: &mut Record| matches!(record, Record::Read(_));
            for before in records.extract_if(.., is_reading) {
                if let Record::Read(before) = before {
                    reading.after(before);
                }
            }
            records.push(Record::Read(reading));
        }
        mut record => {
            if let Record::Ban { ban, testimony, .. } = &mut record {
                // What a start found in the kernel was told by the run that banned it.
                if !is_from_kernel(ban) {
                    tell_people(&Tell::Banned(ban.clone()));
                }
                if records.len() >= RECORDS_WITH_LINES_MAX {
                    *testimony = Testimony::default();
                }
            }
            records.push(record);
        }
    }
}

fn tell_people(tell: &Tell) {
    match tell {
        Tell::Found {
            jail,
            addr,
            tries,
            maxretry,
        } => debug!(%jail, %addr, tries, maxretry, "failure"),
        Tell::Banned(ban) => {
            let until = ban
                .until
                .map_or("for ever".to_owned(), |until| human(until.since(ban.since)));
            info!(jail = %ban.jail, addr = %ban.addr, reason = %ban.reason, tries = ban.tries, "for" = until, "banned");
        }
        Tell::Restored { jail, bans } => info!(%jail, bans, "bans from before go on"),
        Tell::Adopted { jail, bans } => {
            error!(%jail, bans, "the database has lost bans that the kernel holds; they go on, for the jail's ban time from now");
        }
        Tell::Unbanned(ban) => info!(jail = %ban.jail, addr = %ban.addr, "unbanned"),
        Tell::StillSeen(ban) => {
            warn!(jail = %ban.jail, addr = %ban.addr, "is banned and still gets through; ordered again");
        }
        Tell::Protected { jail, addr } => {
            debug!(%jail, %addr, "a protected address fails; nothing is done")
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
        Tell::Alarm(alarm) => warn!(kind = alarm.kind.word(), "ALARM: {alarm}"),
        Tell::OutageOver => info!("known-good addresses do not fail all at once any more"),
        Tell::OutageTooLong => warn!(
            "known-good addresses have failed all at once for 12 hours; they are judged again"
        ),
    }
}
