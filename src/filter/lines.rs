//! A log's filters, and what they do with a block of its lines.
//!
//! However many jails follow a log, its blocks are searched once: the gate finds
//! candidate lines, each gets its date cut out, and then every filter sees what is
//! left. A filter that must see every line ([`Filter::exact`]) does, the others are
//! spared. What the daemon does with a live log is what `scan` and `examine` do with an
//! old one; they differ in [`Mode`] and [`Ask`] only.

use std::borrow::Cow;
use std::net::IpAddr;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;
use memchr::memrchr;

use super::Filter;
use super::date::{Detector, Years};
use super::follow::{Ask, Follower, Seen};
use super::gate::Gate;
use super::literals::Literal;
use super::losses::{self, Losses};
use super::matched::{self, Host, Match};
use super::near::{self, NearMiss};
use super::tally::{Clock, Tally};
use super::threads::{self, Around, Start, WRITTEN_IN_PARTS_BYTES};
use crate::addr::Addr;
use crate::ticket::{Captured, Failure, JailName, Sighting, Trust};
use crate::time::Time;

/// A live line whose date is further from now than this counts as written now:
/// its clock or its zone is wrong, and it is new all the same. fail2ban's figure.
const CLOCK_TRUST: Duration = Duration::from_secs(60);

/// How many lines are looked back for the date of a line that has none.
const LOOK_BACK_LINES: usize = 100;

/// A block of that many bytes may have ended before the log did: no pause follows it.
pub(super) const LONG_BLOCK_BYTES: usize = 64 * 1024;

/// Bytes of an account's name that are kept; an honest one is shorter.
const USER_BYTES_MAX: usize = 128;

/// How a line's date is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The line was written just now.
    Live,
    /// The line was written before we started; what is older than `findtime` is past.
    CatchingUp,
    /// An old log is played again: every line counts at its own time.
    Replay,
    /// As in a replay, but a line without a date counts now: for tests of a filter.
    Trusting,
}

/// One jail's part in a log.
#[derive(Clone, Debug)]
pub struct Attached {
    /// The jail.
    pub jail: JailName,
    /// Its filter.
    pub filter: Arc<Filter>,
    /// Its `findtime`: older lines are past while catching up.
    pub findtime: Duration,
    /// The zone of dates that name none (`logtimezone`), if it is not the lineup's.
    pub zone: Option<TimeZone>,
}

/// Whom a line blames, or what else it says of somebody.
#[derive(Clone, Debug, PartialEq)]
pub enum Found {
    /// An address.
    Failure(Failure),
    /// A host name, which must be looked up first.
    Named(Named),
    /// An address, and something else than a failure.
    Sighting(Sighting),
}

/// A failure of a host that the line calls by its name. The name is whatever an attacker's
/// own name server says, or whatever he wrote.
#[derive(Clone, Debug, PartialEq)]
pub struct Named {
    /// The name.
    pub name: Box<str>,
    jail: JailName,
    time: Time,
    form: u32,
    trust: Trust,
    user: Option<Box<str>>,
    line: Box<str>,
    captured: Option<Box<Captured>>,
}

impl Named {
    /// The jail whose filter matched.
    pub fn jail(&self) -> &JailName {
        &self.jail
    }

    /// The failure, now that one of the host's addresses is known.
    pub fn at(&self, ip: IpAddr) -> Failure {
        Failure {
            jail: self.jail.clone(),
            addr: Addr::host(ip),
            time: self.time,
            form: self.form,
            trust: self.trust,
            user: self.user.clone(),
            line: self.line.clone(),
            captured: self.captured.clone(),
        }
    }
}

/// All filters on one log.
#[derive(Debug)]
pub struct Lineup {
    places: Vec<Place>,
    cutters: Vec<Cutter>,
    gate: Gate,
    /// How many filters doubted the log when the gate was made.
    doubted_gate: usize,
    zone: TimeZone,
    years: Years,
    log: u16,
    /// When the last block was read.
    read_at: Time,
    /// How long it was.
    read_bytes: usize,
    /// Are this block and the last one parts of what was written, cut where a reading ended?
    begun: [bool; 2],
    losses: Losses,
    /// Dates that were too far from the present to be believed, since the start.
    pub clock_doubts: u64,
    /// Lines that were looked at and are no UTF-8, since the start.
    pub bad_lines: u64,
    /// Lines that look like failures and have no date, nor one of a line before, where such
    /// lines do not count, since the start.
    pub undated_lines: u64,
}

/// One jail at work on the log.
#[derive(Debug)]
struct Place {
    jail: JailName,
    findtime: Duration,
    follower: Follower,
    /// Must it see every line?
    exact: bool,
    /// Which cutter shows it the lines.
    cutter: usize,
}

/// Cuts dates out, for all filters with the same patterns of dates and the same zone.
#[derive(Debug)]
struct Cutter {
    datepattern: Option<String>,
    zone: TimeZone,
    detector: Detector,
    /// Are there no dates in this log (`{NONE}`)? Then a line counts when it is read.
    dateless: bool,
    /// Does it see every line?
    every_line: bool,
    /// The date of the last line before the block, or of the last one that was seen.
    last: Option<Time>,
    /// The line at hand without its date, one newline behind; `None` if it was not
    /// looked at yet.
    shown: Option<Shown>,
    text: String,
}

/// What a line says of its time.
#[derive(Clone, Copy, Debug)]
struct Shown {
    /// Which bytes of the line were cut out as its date.
    cut: (usize, usize),
    own: Option<Time>,
    /// The date of the nearest line before that has one.
    before: Option<Time>,
}

/// A log into which senders can write lines of their own (`doubtregex`), as one jail sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doubt {
    /// The jail.
    pub jail: JailName,
    /// How many lines blamed nobody since a sender may have written them.
    pub disbelieved: u64,
    /// What mends it, in the filter's own words.
    pub remedy: Box<str>,
}

/// How a block is read.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    /// How dates are taken.
    pub mode: Mode,
    /// The present.
    pub now: Time,
    /// Which failregexes are asked.
    pub ask: Ask,
}

impl Lineup {
    /// The filters of log number `log`. One try may be written to several logs, so a
    /// line form is known by its log and its pattern. `zone` serves where a date names
    /// none; `started` is when the program was started, and says which years are meant.
    pub fn new(attached: Vec<Attached>, log: u16, zone: TimeZone, started: Time) -> Lineup {
        let mut lineup = Lineup {
            places: Vec::new(),
            cutters: Vec::new(),
            gate: Gate::open(),
            doubted_gate: 0,
            zone,
            years: Years::at(started),
            log,
            read_at: Time::default(),
            read_bytes: 0,
            begun: [false; 2],
            losses: Losses::default(),
            clock_doubts: 0,
            bad_lines: 0,
            undated_lines: 0,
        };
        lineup.replace(attached);
        lineup
    }

    /// Another set of filters after a reload; the place in the log stays, and what
    /// the jails that stay remember of it.
    pub fn replace(&mut self, attached: Vec<Attached>) {
        let last = self.cutters.iter().find_map(|cutter| cutter.last);
        let mut old = std::mem::take(&mut self.places);
        self.cutters.clear();
        for attached in attached {
            let known = old.iter().position(|place| place.jail == attached.jail);
            let follower = match known {
                Some(known) => {
                    let mut follower = old.swap_remove(known).follower;
                    follower.replace(Arc::clone(&attached.filter));
                    follower
                }
                None => Follower::new(Arc::clone(&attached.filter)),
            };
            let exact = attached.filter.exact().is_some();
            let zone = attached.zone.unwrap_or_else(|| self.zone.clone());
            let cutter = self.cutter(attached.filter.datepattern(), zone, exact, last);
            self.places.push(Place {
                jail: attached.jail,
                findtime: attached.findtime,
                follower,
                exact,
                cutter,
            });
        }
        self.gate = gate(&self.places);
        self.doubted_gate = self.doubted();
    }

    /// From now on every filter looks at every line, as if there were no gate. That
    /// finds the same, more slowly.
    pub fn open_gate(&mut self) {
        self.places.iter_mut().for_each(|place| place.exact = true);
        self.cutters
            .iter_mut()
            .for_each(|cutter| cutter.every_line = true);
    }

    /// What the log's lines told of losses since this was last asked.
    pub fn take_losses(&mut self) -> Losses {
        std::mem::take(&mut self.losses)
    }

    /// What each jail's filter has missed in this log, most often first.
    pub fn near_misses(&self) -> Vec<(JailName, NearMiss)> {
        let mut all = Vec::new();
        for place in &self.places {
            let shapes = place.follower.missed().shapes().iter();
            all.extend(shapes.map(|miss| (place.jail.clone(), miss.clone())));
        }
        all.sort_by_key(|(_, miss)| std::cmp::Reverse(miss.count));
        all
    }

    /// Who doubts this log.
    pub fn doubts(&self) -> Vec<Doubt> {
        let doubting = self.places.iter().filter(|one| one.follower.is_doubted());
        let doubt = |place: &Place| Doubt {
            jail: place.jail.clone(),
            disbelieved: place.follower.disbelieved(),
            remedy: place.follower.filter().remedy().into(),
        };
        doubting.map(doubt).collect()
    }

    /// How many searches were given up because a line needs too many steps.
    pub fn given_up(&self) -> u64 {
        let given_up = |place: &Place| place.follower.given_up();
        self.places.iter().map(given_up).sum()
    }

    /// The last line as the first filter saw it, without its date and its newline;
    /// `None` if the gate spared it that line.
    pub fn shown(&self) -> Option<&str> {
        let cutter = self.cutters.get(self.places.first()?.cutter)?;
        cutter.shown?;
        cutter.text.strip_suffix('\n')
    }

    /// Counts from now on what the first filter's patterns do, with a clock that gives
    /// nanoseconds: for a test of the filter.
    pub fn count(&mut self, clock: Clock) {
        if let Some(place) = self.places.first_mut() {
            place.follower.count(clock);
        }
    }

    /// What was counted since then.
    pub fn tally(&self) -> Option<&Tally> {
        self.places.first()?.follower.tally()
    }

    /// What the first filter's templates of dates did.
    pub fn dates(&self) -> Option<&Detector> {
        let cutter = self.cutters.get(self.places.first()?.cutter)?;
        Some(&cutter.detector)
    }

    /// Which bytes of the last line were cut out as its date, and whether the first
    /// filter had any date for it, be it one of a line shortly before; `None` if the line
    /// was not looked at.
    pub fn date_cut(&self, now: Time) -> Option<(Range<usize>, bool)> {
        let cutter = self.cutters.get(self.places.first()?.cutter)?;
        let Shown { cut, own, before } = cutter.shown?;
        Some((cut.0..cut.1, own.is_some() || is_fresh(before, now)))
    }

    /// Lets the filters see a block of whole lines, the last byte a newline.
    pub fn block(&mut self, block: &[u8], mode: Mode, now: Time, mut each: impl FnMut(Found)) {
        let ask = Ask::First;
        let log = u32::from(self.log) << 16;
        self.matches(block, Reading { mode, now, ask }, |jail, _, found| {
            blame(jail, log | u32::from(found.form), found, &mut each);
        });
    }

    /// What is read now goes on in a line whose head was read before: whatever pause stands
    /// there, no message begins behind it.
    pub fn goes_on(&mut self, now: Time) {
        self.read_at = now;
        self.begun[0] = true;
    }

    /// Lets the filters see an entry of a journal.
    pub fn journal(
        &mut self,
        text: &str,
        written: Time,
        mode: Mode,
        now: Time,
        mut each: impl FnMut(Found),
    ) {
        let ask = Ask::First;
        let log = u32::from(self.log) << 16;
        let reading = Reading { mode, now, ask };
        self.entry(text, written, reading, |jail, _, found| {
            blame(jail, log | u32::from(found.form), found, &mut each);
        });
    }

    /// The same, with all that was found: calls `each` with the jail, the line and
    /// the match.
    pub fn matches(
        &mut self,
        block: &[u8],
        reading: Reading,
        mut each: impl FnMut(&JailName, &str, Match),
    ) {
        self.begin(reading);
        let gate = std::mem::replace(&mut self.gate, Gate::open());
        if self.places.iter().any(|place| place.exact) {
            let mut start = 0;
            for line in block.split_inclusive(|byte| *byte == b'\n') {
                let candidate = gate.lets_through(line);
                self.line(block, start, line, candidate, reading, &mut each);
                start += line.len();
            }
        } else {
            self.forget();
            gate.candidates(block, |start, line| {
                self.line(block, start, line, true, reading, &mut each);
            });
        }
        self.gate = gate;
        self.narrow_gate();
        for cutter in self.cutters.iter_mut().filter(|cutter| !cutter.every_line) {
            cutter.last = cutter
                .date_before(block, block.len(), reading.now)
                .or(cutter.last);
        }
        self.end(block, reading);
    }

    /// Lets the filters see an entry of a journal: its time is known, and no date is
    /// looked for in its text.
    pub fn entry(
        &mut self,
        text: &str,
        written: Time,
        reading: Reading,
        mut each: impl FnMut(&JailName, &str, Match),
    ) {
        self.begin(reading);
        for cutter in &mut self.cutters {
            cutter.text.clear();
            cutter.text.push_str(text);
            cutter.text.push('\n');
            cutter.last = Some(written);
            cutter.shown = Some(Shown {
                cut: (0, 0),
                own: Some(written),
                before: None,
            });
        }
        self.show(text, true, reading, Around::default(), &mut each);
        if self.doubted() > 0 {
            self.end(format!("{text}\n").as_bytes(), reading);
        }
    }

    /// Tells the filters of a pause before what is read now.
    fn begin(&mut self, reading: Reading) {
        let since = reading.now.since(self.read_at);
        let sure = match reading.mode {
            Mode::Live if since >= threads::PAUSE && self.read_bytes < LONG_BLOCK_BYTES => {
                Start::Certain
            }
            Mode::Live if since >= threads::LULL && self.read_bytes < WRITTEN_IN_PARTS_BYTES => {
                Start::Likely
            }
            _ => Start::Unclear,
        };
        self.read_at = reading.now;
        let begun = self.begun.contains(&true) || reading.mode != Mode::Live;
        let within = begun || self.read_bytes >= WRITTEN_IN_PARTS_BYTES;
        self.begun = [false, self.begun[0]];
        let followers = self.places.iter_mut().map(|place| &mut place.follower);
        followers.for_each(|follower| follower.pause(sure, within));
    }

    /// Tells the filters what was read.
    fn end(&mut self, block: &[u8], reading: Reading) {
        self.read_bytes = block.len();
        let around = Around {
            before: block,
            replayed: is_replayed(reading.mode),
            ..Around::default()
        };
        let followers = self.places.iter_mut().map(|place| &mut place.follower);
        followers.for_each(|follower| follower.end(around, reading.now));
    }

    fn line(
        &mut self,
        block: &[u8],
        start: usize,
        line: &[u8],
        candidate: bool,
        reading: Reading,
        each: &mut dyn FnMut(&JailName, &str, Match),
    ) {
        self.forget();
        let length = line.len();
        let ends = |byte: &u8| !b"\r\n".contains(byte);
        let end = line.iter().rposition(ends).map_or(0, |last| last + 1);
        let line = line.get(..end).unwrap_or(line);
        if candidate {
            self.losses.see(line);
        }
        let line = String::from_utf8_lossy(line);
        self.bad_lines += u64::from(matches!(line, Cow::Owned(_)));
        for cutter in &mut self.cutters {
            if candidate || cutter.every_line {
                cutter.look(block, start, &line, reading);
            }
        }
        let (before, rest) = block.split_at_checked(start).unwrap_or_default();
        let after = rest.get(length..).unwrap_or_default();
        let around = Around {
            before,
            after: after.strip_prefix(b"\n").unwrap_or(after),
            replayed: is_replayed(reading.mode),
        };
        self.show(&line, candidate, reading, around, each);
    }

    /// What is doubted by now needs not be doubted again: those lines can stay behind.
    fn narrow_gate(&mut self) {
        let doubted = self.doubted();
        if doubted > self.doubted_gate {
            self.gate = gate(&self.places);
            self.doubted_gate = doubted;
        }
    }

    /// How many filters doubt this log.
    fn doubted(&self) -> usize {
        let doubts = |place: &&Place| place.follower.is_doubted();
        self.places.iter().filter(doubts).count()
    }

    fn forget(&mut self) {
        self.cutters
            .iter_mut()
            .for_each(|cutter| cutter.shown = None);
    }

    /// Lets the filters see what their cutters show.
    fn show(
        &mut self,
        line: &str,
        candidate: bool,
        reading: Reading,
        around: Around<'_>,
        each: &mut dyn FnMut(&JailName, &str, Match),
    ) {
        let Reading { mode, now, ask } = reading;
        let mut is_undated = false;
        for place in &mut self.places {
            let Some(cutter) = self.cutters.get(place.cutter) else {
                continue;
            };
            let Some(shown) = cutter.shown.filter(|_| candidate || place.exact) else {
                continue;
            };
            let Some(time) = policy(shown, now, mode, place.findtime) else {
                is_undated |=
                    shown.own.or(shown.before).is_none() && near::looks_like_failure(&cutter.text);
                continue;
            };
            let text = &cutter.text;
            let seen = Seen {
                text,
                line,
                dated: shown.own.is_some(),
                time,
                now,
                around,
            };
            let (jail, doubts) = (&place.jail, &mut self.clock_doubts);
            let doubted = mode == Mode::Live && shown.own.is_some_and(|date| doubtful(date, now));
            place.follower.line(seen, ask, &mut |found| {
                *doubts += u64::from(doubted);
                each(jail, line, found);
            });
        }
        self.undated_lines += u64::from(is_undated);
    }

    /// The cutter for these patterns of dates.
    fn cutter(
        &mut self,
        datepattern: Option<&str>,
        zone: TimeZone,
        exact: bool,
        last: Option<Time>,
    ) -> usize {
        let same =
            |cutter: &Cutter| cutter.datepattern.as_deref() == datepattern && cutter.zone == zone;
        if let Some(known) = self.cutters.iter().position(same) {
            if let Some(cutter) = self.cutters.get_mut(known) {
                cutter.every_line |= exact;
            }
            return known;
        }
        // The filter's patterns were compiled before, so they can be again.
        let new = |datepattern| Detector::new(datepattern, self.years);
        let detector = new(datepattern).or_else(|_| new(Some("{NONE}")));
        if let Ok(detector) = detector {
            self.cutters.push(Cutter {
                datepattern: datepattern.map(str::to_owned),
                zone,
                dateless: datepattern.is_some_and(|pattern| pattern.trim() == "{NONE}"),
                detector,
                every_line: exact,
                last,
                shown: None,
                text: String::new(),
            });
        }
        self.cutters.len().saturating_sub(1)
    }
}

impl Cutter {
    /// Looks at a line, which starts at `start` in its block.
    fn look(&mut self, block: &[u8], start: usize, line: &str, reading: Reading) {
        let Reading { mode, now, .. } = reading;
        let found = self.detector.find(line);
        let own = found
            .as_ref()
            .and_then(|found| found.stamp.time(now, &self.zone));
        let before = match own {
            Some(_) => None,
            None if self.every_line => self.last,
            None => self.date_before(block, start, now).or(self.last),
        };
        // What looks like a date and is none (Feb 30) is cut out all the same, unless the
        // line takes the date of one before: fail2ban's way.
        let known = is_fresh(before, now) || (mode == Mode::Live && before.is_some());
        let takes = own.is_none() && known;
        let span = found.filter(|_| !takes).map_or(0..0, |found| found.span);
        let (head, tail) = (line.get(..span.start), line.get(span.end..));
        self.text.clear();
        self.text.push_str(head.unwrap_or_default());
        self.text.push_str(tail.unwrap_or(line));
        self.text.push('\n');
        if self.every_line {
            self.last = own.or(self.last);
        }
        let own = own.or((self.dateless && mode != Mode::Replay).then_some(now));
        let cut = (span.start, span.end);
        self.shown = Some(Shown { cut, own, before });
    }

    /// The date of the nearest line before `end` that has one.
    fn date_before(&mut self, block: &[u8], end: usize, now: Time) -> Option<Time> {
        let mut rest = block.get(..end)?;
        for _ in 0..LOOK_BACK_LINES {
            rest = rest.strip_suffix(b"\n")?;
            let start = memrchr(b'\n', rest).map_or(0, |newline| newline + 1);
            let (before, line) = rest.split_at_checked(start)?;
            let found = self.detector.find(&String::from_utf8_lossy(line));
            if let Some(time) = found.and_then(|found| found.stamp.time(now, &self.zone)) {
                return Some(time);
            }
            rest = before;
        }
        None
    }
}

/// Says whom a match blames, if anybody.
fn blame(jail: &JailName, form: u32, found: Match, each: &mut dyn FnMut(Found)) {
    if found.again {
        return;
    }
    let (jail, time, trust) = (jail.clone(), found.time, found.trust);
    let user = found.groups.full("user");
    let user = user.map(|user| matched::cut(user, USER_BYTES_MAX).into());
    let addr = found.addr();
    let captured = found.captured();
    let line = found.evidence.into_text();
    if let (Some(sight), Some(addr)) = (found.sight, addr) {
        each(Found::Sighting(Sighting {
            jail,
            addr,
            time,
            sight,
            trust,
            user,
            form,
        }));
    } else if let Some(addr) = addr {
        each(Found::Failure(Failure {
            jail,
            addr,
            time,
            form,
            trust,
            user,
            line,
            captured,
        }));
    } else if let Some(Host::Name(name)) = found.host {
        each(Found::Named(Named {
            name,
            jail,
            time,
            form,
            trust,
            user,
            line,
            captured,
        }));
    }
}

/// The gate of all filters together that do not see every line anyway.
fn gate(places: &[Place]) -> Gate {
    let of = |place: &Place| -> Vec<Literal> {
        let filter = place.follower.filter();
        let doubts = filter
            .doubt_literals()
            .filter(|_| !place.follower.is_doubted());
        [filter.literals(), doubts, filter.broken_literals()]
            .into_iter()
            .flatten()
            .flatten()
            .cloned()
            .collect()
    };
    let literals: Vec<Literal> = places
        .iter()
        .filter(|place| !place.exact)
        .flat_map(of)
        .collect();
    if literals.is_empty() {
        return Gate::open();
    }
    let ignore_case = literals.iter().any(|literal| literal.fold);
    let losses = losses::LITERALS.iter().map(|literal| literal.as_bytes());
    let literals = literals.iter().map(|literal| literal.bytes.as_slice());
    Gate::new(literals.chain(losses), ignore_case)
}

/// Is the date of an earlier line so young that one without a date can take it?
fn is_fresh(date: Option<Time>, now: Time) -> bool {
    date.is_some_and(|date| now.since(date) < CLOCK_TRUST)
}

fn doubtful(date: Time, now: Time) -> bool {
    date.since(now) > CLOCK_TRUST || now.since(date) > CLOCK_TRUST
}

fn is_replayed(mode: Mode) -> bool {
    match mode {
        Mode::Live | Mode::CatchingUp => false,
        Mode::Replay | Mode::Trusting => true,
    }
}

/// At what time a line counts; `None` if it is past or its time cannot be known.
fn policy(shown: Shown, now: Time, mode: Mode, findtime: Duration) -> Option<Time> {
    let written = shown.own.or(shown.before);
    match mode {
        Mode::Live => Some(
            written
                .filter(|date| !doubtful(*date, now))
                .unwrap_or(now)
                .min(now),
        ),
        Mode::CatchingUp => written
            .filter(|date| *date + findtime > now)
            .map(|date| date.min(now)),
        Mode::Replay => written,
        Mode::Trusting => {
            let fresh = shown.before.filter(|_| is_fresh(shown.before, now));
            Some(shown.own.or(fresh).unwrap_or(now))
        }
    }
}

#[cfg(test)]
mod tests;
