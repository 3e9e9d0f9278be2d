//! The intake: logs in, failures out, on one plain thread.
//!
//! It reads what the logs have, lets the filters of each log see it, and hands
//! every failure to the engine; where reading stopped follows behind them, so a
//! position never covers a failure that was not judged.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use jiff::tz::TimeZone;
use tokio::sync::oneshot;
use tracing::{debug, info, warn};

use super::bus::{self, Inbox};
use crate::ban::store::Place;
use crate::config::JailConfig;
use crate::engine::Event;
use crate::filter::lines::{Attached, Lineup, Mode};
use crate::time::Time;
use crate::watch::{
    Block, FileState, FileStatus, Head, Position, Source, SourceId, Start, Tail, Waker,
};

/// How long the reader sleeps at most when nothing wakes it; the tailer's own
/// sweep is shorter.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// How soon after a line its position follows: writing it down costs more than
/// judging a line twice, which finds its address banned.
const POSITIONS_EVERY: Duration = Duration::from_millis(200);

/// Logs whose filters are kept at hand; names with a date in them come and go. When
/// there are more, all begin anew: it costs their last dates and splits a few tries.
const LOGS_MAX: usize = 4 * crate::watch::FILES_MAX;

enum Order {
    Jails(Vec<JailConfig>),
    Files(oneshot::Sender<Vec<FileStatus>>),
    Stop,
}

/// The intake's thread, from outside.
pub struct Intake {
    orders: Sender<Order>,
    waker: Waker,
    thread: Option<JoinHandle<()>>,
}

impl Intake {
    /// Starts to follow the logs of these jails, where the last run stopped.
    pub fn start(jails: &[JailConfig], places: Vec<Place>, inbox: Inbox) -> anyhow::Result<Intake> {
        let (sources, attached) = sources(jails);
        let positions: Vec<Position> = places.into_iter().map(position).collect();
        let tail = Tail::new(sources, positions);
        let (sender, orders) = channel();
        let waker = tail.waker();
        let reader = Reader {
            sent: Vec::new(),
            positions_due: None,
            tail,
            attached,
            lineups: HashMap::new(),
            numbers: HashMap::new(),
            zone: TimeZone::system(),
            inbox,
            orders,
        };
        let (opened, is_open) = channel();
        let thread = bus::named("reader", move || reader.run(opened))?;
        // From here on no line is missed. (An error means that the reader has ended; it has said why.)
        let _ended = is_open.recv();
        Ok(Intake {
            orders: sender,
            waker,
            thread: Some(thread),
        })
    }

    /// Follows the logs of these jails from now on; logs that stay keep their place.
    pub fn set_jails(&self, jails: Vec<JailConfig>) {
        self.order(Order::Jails(jails));
    }

    /// How each log is doing.
    pub fn files(&self) -> oneshot::Receiver<Vec<FileStatus>> {
        let (sender, receiver) = oneshot::channel();
        self.order(Order::Files(sender));
        receiver
    }

    /// Ends reading; what was read has been handed on.
    pub fn stop(mut self) {
        self.order(Order::Stop);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            warn!("the reader ended in a panic");
        }
    }

    fn order(&self, order: Order) {
        // A reader that has ended has said why.
        let _ended = self.orders.send(order);
        self.waker.wake();
    }
}

/// One source for each path pattern, and the jails that follow it.
fn sources(jails: &[JailConfig]) -> (Vec<Source>, Vec<Vec<Attached>>) {
    let (mut sources, mut attached): (Vec<Source>, Vec<Vec<Attached>>) = (Vec::new(), Vec::new());
    for jail in jails {
        for log in &jail.logs {
            let known = sources.iter().position(|source| source.pattern == *log);
            let place = known.unwrap_or_else(|| {
                let id = SourceId(sources.len());
                sources.push(Source {
                    id,
                    pattern: log.clone(),
                    start: Start::Tail,
                });
                attached.push(Vec::new());
                id.0
            });
            attached[place].push(Attached {
                jail: jail.rules.name.clone(),
                filter: jail.filter.clone(),
                findtime: jail.rules.findtime,
            });
        }
    }
    (sources, attached)
}

fn position(place: Place) -> Position {
    let Place {
        path,
        inode,
        head_len,
        head_hash,
        offset,
        modified,
    } = place;
    Position {
        path,
        inode,
        head: Head {
            len: head_len,
            hash: head_hash,
        },
        offset,
        modified,
    }
}

fn place(position: Position) -> Place {
    let Position {
        path,
        inode,
        head,
        offset,
        modified,
    } = position;
    Place {
        path,
        inode,
        head_len: head.len,
        head_hash: head.hash,
        offset,
        modified,
    }
}

struct Reader {
    tail: Tail,
    attached: Vec<Vec<Attached>>,
    lineups: HashMap<PathBuf, Lineup>,
    /// A log keeps its number over a reload: tries are counted by it.
    numbers: HashMap<PathBuf, u16>,
    sent: Vec<Position>,
    positions_due: Option<Instant>,
    zone: TimeZone,
    inbox: Inbox,
    orders: Receiver<Order>,
}

impl Reader {
    /// Reads until it is told to stop; says so once it has opened what there is.
    fn run(mut self, opened: Sender<()>) {
        let mut opened = Some(opened);
        loop {
            let more = self.read();
            if let Some(opened) = opened.take() {
                let _nobody_waits = opened.send(());
            }
            let now = Instant::now();
            if self.positions_due.is_some_and(|due| due <= now) {
                self.hand_on_positions();
            }
            if !self.obey() {
                return self.hand_on_positions();
            }
            if !more {
                let until_due = self
                    .positions_due
                    .map(|due| due.saturating_duration_since(now));
                self.tail.wait(until_due.unwrap_or(WAIT_MAX));
            }
        }
    }

    /// Reads one turn; true if more is waiting.
    fn read(&mut self) -> bool {
        let now = Instant::now();
        let Reader {
            tail,
            attached,
            lineups,
            numbers,
            zone,
            inbox,
            positions_due,
            ..
        } = self;
        let more = tail.read(now, &mut |block| {
            positions_due.get_or_insert(now + POSITIONS_EVERY);
            if !lineups.contains_key(block.path) {
                if numbers.len() >= LOGS_MAX {
                    lineups.clear();
                    numbers.clear();
                }
                let next = u16::try_from(numbers.len()).unwrap_or(u16::MAX);
                let log = *numbers.entry(block.path.to_owned()).or_insert(next);
                let attached = attached_to(attached, &block);
                let lineup = Lineup::new(attached, log, zone.clone(), Time::now());
                lineups.insert(block.path.to_owned(), lineup);
            }
            let Some(lineup) = lineups.get_mut(block.path) else {
                return;
            };
            let mode = if block.live {
                Mode::Live
            } else {
                Mode::CatchingUp
            };
            if !block.cut {
                lineup.block(block.bytes, mode, Time::now(), |failure| {
                    inbox.event(Event::Failure(failure))
                });
            }
        });
        for notice in self.tail.notices() {
            match notice.is_warning() {
                true => warn!("{notice}"),
                false if matches!(notice, crate::watch::Notice::Missing(_)) => debug!("{notice}"),
                false => info!("{notice}"),
            }
        }
        more
    }

    fn hand_on_positions(&mut self) {
        self.positions_due = None;
        let positions = self.tail.positions();
        if positions != self.sent {
            self.inbox
                .event(Event::Read(positions.iter().cloned().map(place).collect()));
            self.sent = positions;
        }
    }

    /// Does what it was told; false if that was to stop.
    fn obey(&mut self) -> bool {
        while let Ok(order) = self.orders.try_recv() {
            match order {
                Order::Stop => return false,
                Order::Files(answer) => {
                    let _gone = answer.send(self.tail.files());
                }
                Order::Jails(jails) => {
                    let (sources, attached) = sources(&jails);
                    self.tail.set_sources(sources);
                    self.attached = attached;
                    self.lineups.clear();
                }
            }
        }
        true
    }
}

fn attached_to(attached: &[Vec<Attached>], block: &Block<'_>) -> Vec<Attached> {
    let mut all: Vec<Attached> = Vec::new();
    for one in block
        .sources
        .iter()
        .filter_map(|source| attached.get(source.0))
        .flatten()
    {
        if !all.iter().any(|known| known.jail == one.jail) {
            all.push(one.clone());
        }
    }
    all
}

/// Is this log followed now?
pub fn is_followed(state: &FileState) -> bool {
    matches!(
        state,
        FileState::CatchingUp | FileState::Following | FileState::Rotated
    )
}

/// How a log is, in few words.
pub fn state(state: &FileState) -> String {
    match state {
        FileState::CatchingUp => "catching up".to_owned(),
        FileState::Following => "followed".to_owned(),
        FileState::Rotated => "rotated, being read to its end".to_owned(),
        FileState::Missing => "not there yet".to_owned(),
        FileState::Unreadable(why) => format!("unreadable: {why}"),
    }
}
