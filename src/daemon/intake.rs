//! The intake: logs in, failures out, on one plain thread.
//!
//! It reads what the logs have, lets the filters of each log see it, and hands
//! every failure to the engine; where reading stopped follows behind them, so a
//! position never covers a failure that was not judged; but for those that wait for a
//! host's name to be looked up, or for a jail's `ignorecommand`.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use jiff::tz::TimeZone;
use tokio::sync::{mpsc, oneshot};
use tracing::{debug, info, warn};

use super::bus::{self, Judge};
use super::journals::Journals;
use super::marks::{self, Marks};
use crate::ban::record::{ForeignPlace, Place};
use crate::config::JailConfig;
use crate::engine::Event;
use crate::filter::Filter;
use crate::filter::date::{Detector, Years};
use crate::filter::lines::{Attached, Doubt, Found, Lineup, Mode, Named};
use crate::filter::losses::Losses;
use crate::filter::near::NearMiss;
use crate::frame::charset::{Charset, Transcoder};
use crate::frame::{self, Decoder, Framing};
use crate::ticket::{Failure, JailName};
use crate::time::Time;
use crate::watch::{
    Ages, Block, FileState, FileStatus, Head, Position, Source, SourceId, Start, Tail, Waker,
    is_socket,
};

/// How long the reader sleeps at most when nothing wakes it; the tailer's own
/// sweep is shorter.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// How soon after a line its position follows: writing it down costs more than
/// judging a line twice, which finds its address banned.
const POSITIONS_EVERY: Duration = Duration::from_millis(200);

/// How long the engine is kept waiting at most for the end of what was written before the
/// start. Some gigabytes are read in less.
const CATCHING_UP_MAX: Duration = Duration::from_secs(10);

/// Nobody says where a journal's past ends. What is in it is read after this long.
const JOURNAL_CATCHING_UP: Duration = Duration::from_secs(1);

/// Failures that are judged together at most, so that under a flood the kernel is asked
/// once for many, and none waits for the rest of a long block.
const TOGETHER: usize = 64;

/// How often it is told that a log has bytes which are no text: fail2ban's figure.
const BAD_TOLD_EVERY: Duration = Duration::from_secs(86_400);

/// Logs whose filters are kept at hand; names with a date in them come and go. When
/// there are more, all begin anew: it costs their last dates and splits a few tries.
const LOGS_MAX: usize = 4 * crate::watch::FILES_MAX;

/// How far the last run read.
pub struct Progress {
    /// In files.
    pub places: Vec<Place>,
    /// In files, by fail2ban.
    pub foreign: Vec<ForeignPlace>,
    /// In journals, as JSON.
    pub cursors: Vec<String>,
}

/// Where failures go.
pub struct Ways {
    /// To be judged at once.
    pub judge: Judge,
    /// To be looked up first.
    pub named: mpsc::Sender<Named>,
    /// To be asked about first.
    pub asked: mpsc::Sender<Failure>,
}

enum Order {
    Jails(Vec<JailConfig>),
    Files(oneshot::Sender<Vec<LogStatus>>),
    Stop,
}

/// How a log is doing.
#[derive(Clone, Debug)]
pub struct LogStatus {
    /// Its file, or what stands for it.
    pub file: FileStatus,
    /// What its lines told of losses since the start.
    pub losses: Losses,
    /// What looked like failures and matched no pattern, for each jail.
    pub missed: Vec<(JailName, NearMiss)>,
    /// The jails that doubt it.
    pub doubts: Vec<Doubt>,
}

/// The intake's thread, from outside.
pub struct Intake {
    orders: Sender<Order>,
    waker: Waker,
    thread: Option<JoinHandle<()>>,
    /// Dropped when reading may begin.
    gate: Option<Sender<()>>,
}

impl Intake {
    /// Opens the logs of these jails, where the last run stopped. Nothing is read before
    /// [`Intake::begin`], and no line is missed from here on.
    pub fn start(jails: &[JailConfig], before: Progress, ways: Ways) -> anyhow::Result<Intake> {
        let (sources, attached) = sources(jails);
        let ours = before.places.into_iter().map(position).collect();
        let marks = Marks::new(jails);
        let positions = marks.positions(ours, &before.foreign);
        let shapes = shapes(jails, &sources);
        let mut tail = Tail::new(sources, positions);
        tail.set_ages(ages(&attached, &shapes, &TimeZone::system()));
        let (sender, orders) = channel();
        let waker = tail.waker();
        let reader = Reader {
            sent: Vec::new(),
            marks,
            positions_due: None,
            began: None,
            tail,
            attached,
            shapes,
            logs: HashMap::new(),
            reloads: 0,
            losses: BTreeMap::new(),
            room: Room::default(),
            journals: Journals::new(jails, &before.cursors, TimeZone::system()),
            zone: TimeZone::system(),
            sorter: Sorter {
                ways,
                asking: asking(jails),
                names_lost: 0,
                unasked: 0,
                events: Vec::new(),
            },
            orders,
        };
        let (opened, is_open) = channel();
        let (gate, begun) = channel();
        let thread = bus::named("reader", move || reader.run(opened, begun))?;
        // (An error means that the reader has ended; it has said why.)
        let _ended = is_open.recv();
        Ok(Intake {
            orders: sender,
            waker,
            thread: Some(thread),
            gate: Some(gate),
        })
    }

    /// Reads from now on.
    pub fn begin(&mut self) {
        self.gate = None;
    }

    /// Follows the logs of these jails from now on; logs that stay keep their place.
    pub fn set_jails(&self, jails: Vec<JailConfig>) {
        self.order(Order::Jails(jails));
    }

    /// How each log is doing.
    pub fn files(&self) -> oneshot::Receiver<Vec<LogStatus>> {
        let (sender, receiver) = oneshot::channel();
        self.order(Order::Files(sender));
        receiver
    }

    /// Ends reading; what was read has been handed on.
    pub fn stop(mut self) {
        self.begin();
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
            let same = |source: &Source| source.pattern == log.pattern;
            let start = match log.tail {
                true => Start::Tail,
                false => Start::Recent,
            };
            let known = sources.iter().position(same);
            let place = known.unwrap_or_else(|| {
                let id = SourceId(sources.len());
                sources.push(Source {
                    id,
                    pattern: log.pattern.clone(),
                    start,
                });
                attached.push(Vec::new());
                id.0
            });
            if start == Start::Recent {
                sources[place].start = start;
            }
            attached[place].push(jail.attached());
        }
    }
    (sources, attached)
}

/// The shape of each source's lines: what the first jail says that says anything. What comes
/// from a socket is syslog's, unless it is said to be a container's.
fn shapes(jails: &[JailConfig], sources: &[Source]) -> Vec<Shape> {
    let shape = |source: &Source| {
        let follows =
            |jail: &&JailConfig| jail.logs.iter().any(|log| log.pattern == source.pattern);
        let mut said = Shape::said(jails.iter().filter(follows).map(|jail| Shape {
            framing: jail.framing,
            charset: jail.charset,
        }));
        if is_socket(&source.pattern) && matches!(said.framing, Framing::Auto | Framing::Plain) {
            said.framing = Framing::Syslog;
        }
        said
    };
    sources.iter().map(shape).collect()
}

/// What stands between the bytes of a log and its lines.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Shape {
    framing: Framing,
    charset: Charset,
}

impl Shape {
    /// The first of these that was said.
    fn said(shapes: impl Iterator<Item = Shape>) -> Shape {
        let first = |before: Shape, next: Shape| Shape {
            framing: match before.framing {
                Framing::Auto => next.framing,
                said => said,
            },
            charset: match before.charset {
                Charset::Utf8 => next.charset,
                said => said,
            },
        };
        shapes.reduce(first).unwrap_or_default()
    }

    /// That of a file that these sources follow.
    fn of(shapes: &[Shape], sources: &[SourceId]) -> Shape {
        let shapes = sources.iter().filter_map(|source| shapes.get(source.0));
        Shape::said(shapes.copied())
    }
}

/// The number of a log: tries are counted by it, and kept for the next run. That two
/// logs of one jail have the same is rare, and then a try in both counts twice.
pub(super) fn number(path: &Path) -> u16 {
    let hash = Head::of(path.as_os_str().as_bytes()).hash;
    (hash ^ (hash >> 16) ^ (hash >> 32) ^ (hash >> 48)) as u16
}

/// Says which lines of a source are older than `findtime` for all of its jails.
fn ages(attached: &[Vec<Attached>], shapes: &[Shape], zone: &TimeZone) -> Ages {
    let shapes = shapes.to_vec();
    let years = Years::at(Time::now());
    let clock = |one: &Attached| {
        let detector = Detector::new(one.filter.datepattern(), years).ok()?;
        let zone = one.zone.clone().unwrap_or_else(|| zone.clone());
        Some((detector, zone, one.findtime))
    };
    let clocks = |all: &Vec<Attached>| all.iter().filter_map(clock).collect();
    let mut clocks: Vec<Vec<(Detector, TimeZone, Duration)>> =
        attached.iter().map(clocks).collect();
    Box::new(move |sources, line| {
        let Shape { framing, charset } = Shape::of(&shapes, sources);
        let line = charset.peek(line);
        let line = frame::peel(framing, &line);
        let (line, now) = (String::from_utf8_lossy(&line), Time::now());
        let mut answer = None;
        for source in sources {
            for (detector, zone, findtime) in clocks.get_mut(source.0).into_iter().flatten() {
                let found = detector.find(&line);
                let date = found.and_then(|found| found.stamp.time(now, zone));
                match date.map(|date| date + *findtime <= now) {
                    Some(false) => return Some(false),
                    Some(true) => answer = Some(true),
                    None => {}
                }
            }
        }
        answer
    })
}

/// The jails whose failures must be asked about.
pub(super) fn asking(jails: &[JailConfig]) -> HashSet<JailName> {
    let asking = jails.iter().filter(|jail| jail.ignore.command.is_some());
    asking.map(|jail| jail.rules.name.clone()).collect()
}

/// A line that no pattern can be searched in within its steps blames nobody; whoever can
/// write such lines can write very many, so it is told when their number has doubled.
fn tell_given_up(log: &Path, before: u64, now: u64) {
    if now.checked_ilog2() > before.checked_ilog2() {
        warn!(log = %log.display(), searches = now, "took too many steps and were given up (`ringfence check` names the patterns)");
    }
}

/// A command that is slow holds up jails that have one, and no log.
fn tell_unasked(unasked: u64) {
    if unasked.is_power_of_two() {
        warn!(
            unasked,
            "failures are not judged, since their jail's ignorecommand is too slow"
        );
    }
}

/// Whoever can write names into a log can write very many: it is told ever more rarely.
fn tell_names_lost(lost: u64) {
    if lost.is_power_of_two() {
        warn!(
            lost,
            "too many host names in logs to look them all up (usedns)"
        );
    }
}

/// Lines without their log's framing are judged as they are, and told ever more rarely.
fn tell_odd(path: &Path, before: u64, lines: u64) {
    if before.checked_ilog2() != lines.checked_ilog2() {
        let log = path.display();
        info!(%log, lines, "lines do not fit the framing of their log; they count as they are");
    }
}

/// Adds up what a log tells of losses. Whoever loses messages loses many: it is told when
/// the number of reports has doubled.
pub(super) fn add_losses(log: &Path, known: &mut Losses, more: Losses) {
    let before = known.reports;
    known.add(more);
    if before.checked_ilog2() != known.reports.checked_ilog2() {
        let (reports, messages) = (known.reports, known.messages());
        warn!(log = %log.display(), reports, messages, "messages were lost before they came into the log; what stood in them is not judged");
    }
}

fn position(place: Place) -> Position {
    let Place {
        path,
        inode,
        head_len,
        head_hash,
        offset,
        modified,
        mark: _,
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

struct Reader {
    tail: Tail,
    attached: Vec<Vec<Attached>>,
    shapes: Vec<Shape>,
    logs: HashMap<PathBuf, Log>,
    /// How often there were other jails.
    reloads: u64,
    /// What logs told of losses: those that did, also over a reload.
    losses: BTreeMap<PathBuf, Losses>,
    room: Room,
    journals: Journals,
    sent: Vec<Position>,
    marks: Marks,
    positions_due: Option<Instant>,
    /// When reading began, until what was written before is read. As long as that takes bans
    /// may wait in the engine, so no position is handed on.
    began: Option<Instant>,
    zone: TimeZone,
    sorter: Sorter,
    orders: Receiver<Order>,
}

/// What is kept of one log.
struct Log {
    transcoder: Transcoder,
    decoder: Decoder,
    lineup: Lineup,
    /// When it was told last that it has bytes which are no text.
    bad_told: Option<Instant>,
    shape: Shape,
    /// The jails that follow it, as of which reload.
    attached: Vec<Attached>,
    reloads: u64,
}

impl Log {
    fn new(shape: Shape, lineup: Lineup, attached: Vec<Attached>, reloads: u64) -> Log {
        Log {
            transcoder: Transcoder::new(shape.charset),
            decoder: Decoder::new(shape.framing),
            lineup,
            bad_told: None,
            shape,
            attached,
            reloads,
        }
    }

    /// Does what is known of it hold with these jails? The same of them must look at it as
    /// before; there may be others.
    fn goes_on(&self, jails: &[JailConfig]) -> bool {
        self.attached.iter().all(|before| looks_on(before, jails))
    }

    /// How often something in it was no text.
    fn bad(&self) -> u64 {
        self.transcoder.bad() + self.lineup.bad_lines
    }

    /// Says so at most once a day, as fail2ban does.
    fn tell_bad(&mut self, path: &Path, before: u64, now: Instant) {
        let is_told = |told: Instant| now.duration_since(told) < BAD_TOLD_EVERY;
        if self.bad() > before && !self.bad_told.is_some_and(is_told) {
            self.bad_told = Some(now);
            let (log, encoding) = (path.display(), self.transcoder.charset());
            warn!(%log, %encoding, "has bytes that are no text in this encoding; they count as U+FFFD (set logencoding in its jail)");
        }
    }
}

/// For the lines of a block, decoded: one for all logs.
#[derive(Default)]
struct Room {
    text: String,
    lines: Vec<u8>,
}

/// Sends what was found on its way.
struct Sorter {
    ways: Ways,
    /// The jails that have an `ignorecommand`.
    asking: HashSet<JailName>,
    /// Lines that were dropped because too many names waited to be looked up.
    names_lost: u64,
    /// Failures that were dropped because too many waited for an `ignorecommand`.
    unasked: u64,
    /// Failures and sightings of one block, to be judged together in their order.
    events: Vec<Event>,
}

impl Sorter {
    fn take(&mut self, found: Found) {
        match found {
            Found::Failure(failure) if self.asking.contains(&failure.jail) => {
                if self.ways.asked.try_send(failure).is_err() {
                    self.unasked += 1;
                    tell_unasked(self.unasked);
                }
            }
            Found::Failure(failure) => self.judge(Event::Failure(failure)),
            Found::Sighting(sighting) => self.judge(Event::Sighting(sighting)),
            Found::Named(named) => {
                if self.ways.named.try_send(named).is_err() {
                    self.names_lost += 1;
                    tell_names_lost(self.names_lost);
                }
            }
        }
    }

    fn judge(&mut self, event: Event) {
        self.events.push(event);
        if self.events.len() >= TOGETHER {
            self.hand_in();
        }
    }

    fn hand_in(&mut self) {
        if !self.events.is_empty() {
            self.ways.judge.events(self.events.drain(..));
        }
    }
}

impl Reader {
    /// Says so once it has opened what there is; reads from when the gate is gone until it is
    /// told to stop.
    fn run(mut self, opened: Sender<()>, gate: Receiver<()>) {
        self.tail.open_all(Instant::now());
        let _nobody_waits = opened.send(());
        let _gone = gate.recv();
        self.hand_on_positions();
        self.began = Some(Instant::now());
        loop {
            let more = self.read();
            let now = Instant::now();
            if self.is_caught_up(more, now) {
                self.catch_up();
            }
            if self.began.is_none() && self.positions_due.is_some_and(|due| due <= now) {
                self.hand_on_positions();
            }
            if !self.obey() {
                self.catch_up();
                // Also what was forgiven since, or judged late.
                self.sent.clear();
                return self.hand_on_positions();
            }
            if !more {
                let due = match self.began {
                    Some(began) => Some(began + JOURNAL_CATCHING_UP),
                    None => self.positions_due,
                };
                let until_due = due.map(|due| due.saturating_duration_since(now));
                let journals = self.journals.fds();
                self.tail
                    .wait_beside(until_due.unwrap_or(WAIT_MAX), &journals);
            }
        }
    }

    /// Is all read by now that was written before the start, if that was not so before?
    fn is_caught_up(&self, more: bool, now: Instant) -> bool {
        let least = match self.journals.is_empty() {
            true => Duration::ZERO,
            false => JOURNAL_CATCHING_UP,
        };
        let is_over = |began| {
            let passed = now.saturating_duration_since(began);
            !more && passed >= least || passed >= CATCHING_UP_MAX
        };
        self.began.is_some_and(is_over)
    }

    fn catch_up(&mut self) {
        if self.began.take().is_some() {
            self.sorter.ways.judge.event(Event::CaughtUp);
        }
    }

    /// Reads one turn; true if more is waiting.
    fn read(&mut self) -> bool {
        let now = Instant::now();
        let Reader {
            tail,
            attached,
            shapes,
            logs,
            reloads,
            losses,
            room,
            journals,
            sorter,
            zone,
            positions_due,
            ..
        } = self;
        let more = tail.read(now, &mut |block| {
            positions_due.get_or_insert(now + POSITIONS_EVERY);
            if logs
                .get(block.path)
                .is_none_or(|log| log.reloads != *reloads)
            {
                if logs.len() >= LOGS_MAX {
                    logs.clear();
                }
                let shape = Shape::of(shapes, block.sources);
                let attached = attached_to(attached, &block);
                let log = match logs.remove(block.path).filter(|log| log.shape == shape) {
                    Some(mut log) => {
                        log.lineup.replace(attached.clone());
                        (log.attached, log.reloads) = (attached, *reloads);
                        log
                    }
                    None => {
                        let log = number(block.path);
                        let lineup = Lineup::new(attached.clone(), log, zone.clone(), Time::now());
                        Log::new(shape, lineup, attached, *reloads)
                    }
                };
                logs.insert(block.path.to_owned(), log);
            }
            let Some(log) = logs.get_mut(block.path) else {
                return;
            };
            let bad = log.bad();
            let Log {
                transcoder,
                decoder,
                lineup,
                ..
            } = log;
            let mode = if block.live {
                Mode::Live
            } else {
                Mode::CatchingUp
            };
            if block.cut {
                transcoder.lost();
                return decoder.lost();
            }
            let odd = decoder.odd();
            let text = transcoder.block(block.bytes, block.offset, &mut room.text);
            let lines = decoder.block(text, &mut room.lines);
            let given_up = lineup.given_up();
            let read_at = Time::now();
            if block.begun {
                lineup.goes_on(read_at);
            }
            lineup.block(lines, mode, read_at, |found| sorter.take(found));
            sorter.hand_in();
            tell_given_up(block.path, given_up, lineup.given_up());
            tell_odd(block.path, odd, decoder.odd());
            let lost = lineup.take_losses();
            if lost != Losses::default()
                && (losses.len() < LOGS_MAX || losses.contains_key(block.path))
            {
                let known = losses.entry(block.path.to_owned()).or_default();
                add_losses(block.path, known, lost);
            }
            log.tell_bad(block.path, bad, now);
        });
        let (any, more_entries) = journals.read(now, &mut |found| sorter.take(found));
        if any {
            positions_due.get_or_insert(now + POSITIONS_EVERY);
            sorter.hand_in();
        }
        for notice in self.tail.notices() {
            match notice.is_warning() {
                true => warn!("{notice}"),
                false if matches!(notice, crate::watch::Notice::Missing(_)) => debug!("{notice}"),
                false => info!("{notice}"),
            }
        }
        more || more_entries
    }

    fn hand_on_positions(&mut self) {
        self.positions_due = None;
        let positions = self.tail.positions();
        let cursors = self.journals.cursors();
        if positions != self.sent || !cursors.is_empty() {
            let marked = |position: &Position| {
                let mark = self.marks.of(position);
                marks::place(position.clone(), mark)
            };
            let places = positions.iter().map(marked).collect();
            self.sorter
                .ways
                .judge
                .event(Event::Read { places, cursors });
            self.sent = positions;
        }
    }

    fn status(&self) -> Vec<LogStatus> {
        let mut losses = self.losses.clone();
        let logs = self.tail.files().into_iter().map(|file| {
            let log = self.logs.get(&file.path);
            LogStatus {
                // A rotated file and its successor are one log.
                losses: losses.remove(&file.path).unwrap_or_default(),
                missed: log.map_or_else(Vec::new, |log| log.lineup.near_misses()),
                doubts: log.map_or_else(Vec::new, |log| log.lineup.doubts()),
                file,
            }
        });
        logs.chain(self.journals.status()).collect()
    }

    /// Does what it was told; false if that was to stop.
    fn obey(&mut self) -> bool {
        while let Ok(order) = self.orders.try_recv() {
            match order {
                Order::Stop => return false,
                Order::Files(answer) => {
                    let _gone = answer.send(self.status());
                }
                Order::Jails(jails) => {
                    let (sources, attached) = sources(&jails);
                    self.shapes = shapes(&jails, &sources);
                    self.tail.set_sources(sources);
                    self.tail
                        .set_ages(ages(&attached, &self.shapes, &self.zone));
                    self.marks = Marks::new(&jails);
                    self.attached = attached;
                    self.sorter.asking = asking(&jails);
                    self.logs.retain(|_, log| log.goes_on(&jails));
                    self.reloads += 1;
                    self.journals.set_jails(&jails);
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

/// Is there a jail of this name whose filter looks for the same?
pub(super) fn looks_on(before: &Attached, jails: &[JailConfig]) -> bool {
    let same = |jail: &&JailConfig| jail.rules.name == before.jail;
    let after = jails.iter().find(same).map(|jail| &jail.filter);
    after.is_some_and(|after| is_same(&before.filter, after))
}

/// Do both look for the same, as far as they can be compared?
fn is_same(one: &Filter, other: &Filter) -> bool {
    let forms = u16::try_from(one.len()).unwrap_or(u16::MAX);
    one.len() == other.len()
        && (0..forms).all(|form| one.failregex(form) == other.failregex(form))
        && one.prefix() == other.prefix()
        && one.ignoreregexes() == other.ignoreregexes()
        && one.datepattern() == other.datepattern()
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
        FileState::Ended => "ended".to_owned(),
    }
}
