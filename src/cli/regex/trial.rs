//! A test at work: line by line, with all that is counted.
//!
//! The filter, its dates and its rules are the daemon's own ([`Lineup`]); what is added
//! here is `fail2ban-regex`'s book-keeping: whether a line was matched, ignored or missed,
//! and what each failregex found. A host name is looked up as the daemon would, but waits.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, ToSocketAddrs};
use std::ops::Range;
use std::sync::Arc;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use jiff::tz::TimeZone;

use super::subject::Subject;
use crate::filter::date::Detector;
use crate::filter::follow::Ask;
use crate::filter::lines::{Attached, Lineup, Mode, Reading};
use crate::filter::matched::{Host, Match};
use crate::filter::{Filter, FilterText};
use crate::time::Time;

/// Lines that are remembered with the place of their date, for what a later line reports
/// of them. Connections report fewer.
const RECENT_LINES_MAX: usize = 1_000;

/// Host names whose addresses are remembered.
const NAMES_MAX: usize = 1_000;

/// What a failregex found, if all of it is to be listed: more are only counted.
const FINDINGS_MAX: usize = 100_000;

/// Something that a failregex found.
#[derive(Clone, Debug)]
pub(super) struct Finding {
    /// The failregex, counted from 0.
    pub(super) form: u16,
    /// Whom it is counted for; none while it is pending.
    pub(super) id: Option<String>,
    /// The address, if the id is something else.
    pub(super) ip: Option<String>,
    /// When; none if nothing gave it a date.
    pub(super) time: Option<Time>,
    /// Is it no failure by itself?
    pub(super) nofail: bool,
    /// All else.
    pub(super) found: Match,
    /// The lines that report it.
    pub(super) lines: Vec<Seen>,
}

/// A line and where its date stands in it.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) line: String,
    pub(super) date: Range<usize>,
}

/// Lines of one kind.
#[derive(Debug, Default)]
pub(super) struct Lines {
    pub(super) count: u64,
    /// The first of them.
    pub(super) kept: Vec<String>,
    /// How many are kept.
    keep: usize,
}

/// Who was found when, for one failregex.
#[derive(Clone, Debug, Default)]
pub(super) struct Found {
    pub(super) count: u64,
    pub(super) listed: Vec<(Option<String>, Time)>,
}

/// How much is kept for the report.
#[derive(Clone, Copy, Debug)]
pub(super) struct Keep {
    pub(super) ignored: usize,
    pub(super) matched: usize,
    pub(super) missed: usize,
    /// Are findings and what the prefregex captured listed?
    pub(super) findings: bool,
    /// How often what the prefregex captured is listed.
    pub(super) prefixes: usize,
    /// Are all failregexes asked?
    pub(super) all: bool,
}

/// A filter on a log.
pub(super) struct Trial {
    pub(super) text: FilterText,
    pub(super) filter: Arc<Filter>,
    pub(super) lineup: Lineup,
    pub(super) total: u64,
    pub(super) ignored: Lines,
    pub(super) matched: Lines,
    pub(super) missed: Lines,
    /// What each failregex found.
    pub(super) found: Vec<Found>,
    /// What the prefregex captured, written as Python does.
    pub(super) prefixes: Vec<String>,
    keep: Keep,
    recent: VecDeque<Seen>,
    names: HashMap<String, Vec<IpAddr>>,
}

impl Trial {
    pub(super) fn new(subject: Subject, zone: TimeZone, keep: Keep) -> Trial {
        let filter = Arc::new(subject.filter);
        let attached = Attached {
            zone: None,
            jail: "regex".into(),
            filter: Arc::clone(&filter),
            findtime: Duration::MAX,
        };
        let mut lineup = Lineup::new(vec![attached], 0, zone, Time::now());
        lineup.open_gate();
        lineup.count(nanoseconds);
        let lines = |keep| Lines {
            keep,
            ..Lines::default()
        };
        Trial {
            found: vec![Found::default(); filter.len()],
            text: subject.text,
            filter,
            lineup,
            total: 0,
            ignored: lines(keep.ignored),
            matched: lines(keep.matched),
            missed: lines(keep.missed),
            prefixes: Vec::new(),
            keep,
            recent: VecDeque::new(),
            names: HashMap::new(),
        }
    }

    /// Looks at a line and books it; gives what was found.
    pub(super) fn line(&mut self, line: &str) -> Vec<Finding> {
        let now = Time::now();
        let reading = Reading {
            mode: Mode::Trusting,
            now,
            ask: match self.keep.all {
                true => Ask::All,
                false => Ask::FirstPending,
            },
        };
        let dates = |lineup: &Lineup| lineup.dates().map_or(0, Detector::hits);
        let dates_before = dates(&self.lineup);
        let block = format!("{line}\n");
        let mut matches = Vec::new();
        self.lineup
            .matches(block.as_bytes(), reading, |_, _, found| matches.push(found));
        let (date, dated) = self.lineup.date_cut(now).unwrap_or((0..0, false));
        // A template that matches nothing (`()`) says that the line counts now.
        let dated = dated || (date.is_empty() && dates(&self.lineup) > dates_before);
        while self.recent.len() >= RECENT_LINES_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back(Seen {
            line: line.to_owned(),
            date,
        });
        let mut findings = Vec::new();
        for found in matches {
            self.find(found, dated, &mut findings);
        }
        self.book(line, &findings);
        findings
    }

    /// A match is a finding for every address of its host.
    fn find(&mut self, found: Match, dated: bool, findings: &mut Vec<Finding>) {
        let lines = found.evidence.lines().map(|line| self.seen(line)).collect();
        let finding = Finding {
            form: found.form,
            id: found.failure_id(),
            ip: match (&found.id, &found.host) {
                (Some(id), Some(host)) => Some(host.to_string()).filter(|ip| **ip != **id),
                _ => None,
            },
            time: dated.then_some(found.time),
            nofail: found.nofail,
            found,
            lines,
        };
        let Some(Host::Name(name)) = &finding.found.host else {
            findings.push(finding);
            return;
        };
        for address in self.addresses(name) {
            findings.push(Finding {
                id: Some(address.to_string()),
                ip: None,
                ..finding.clone()
            });
        }
    }

    /// A line that is reported, whole if it is still known.
    fn seen(&self, line: &str) -> Seen {
        let is = |seen: &&Seen| {
            seen.line == line || (line.len() < seen.line.len() && seen.line.starts_with(line))
        };
        let known = self.recent.iter().rev().find(is).cloned();
        known.unwrap_or_else(|| Seen {
            line: line.to_owned(),
            date: 0..0,
        })
    }

    /// The addresses of a name; none if it has none, or nobody can say.
    fn addresses(&mut self, name: &str) -> Vec<IpAddr> {
        if let Some(known) = self.names.get(name) {
            return known.clone();
        }
        let mut addresses: Vec<IpAddr> = match (name, 0).to_socket_addrs() {
            Ok(found) => found.map(|address| address.ip()).collect(),
            Err(_) => Vec::new(),
        };
        let mut known = std::collections::HashSet::new();
        addresses.retain(|address| known.insert(*address));
        if self.names.len() >= NAMES_MAX {
            self.names.clear();
        }
        self.names.insert(name.to_owned(), addresses.clone());
        addresses
    }

    fn book(&mut self, line: &str, findings: &[Finding]) {
        self.total += 1;
        let Some(tally) = self.lineup.tally().map(|tally| &tally.line) else {
            return;
        };
        if let Some(groups) = &tally.prefix
            && self.keep.findings
            && self.prefixes.len() <= self.keep.prefixes
        {
            let (_, names) = self.filter.prefix().unwrap_or_default();
            self.prefixes
                .push(super::python::repr_groups(&names, groups, &[]));
        }
        // Earlier lines that are part of a match now were missed till here.
        let earlier = tally.covered.iter().filter(|covered| ***covered != *line);
        for covered in earlier {
            if self.missed.take(covered) {
                self.matched.push(covered);
            }
        }
        // One finding that is no failure is enough to ignore the line; fail2ban has it so.
        let quiet = findings.iter().any(|finding| finding.nofail);
        let kind = match findings.is_empty() {
            false if !quiet => &mut self.matched,
            true if !tally.ignored => &mut self.missed,
            _ => &mut self.ignored,
        };
        kind.push(line.trim_end());
        for finding in findings {
            let Some(found) = self.found.get_mut(usize::from(finding.form)) else {
                continue;
            };
            found.count += 1;
            if self.keep.findings && found.listed.len() < FINDINGS_MAX {
                let time = finding.found.time;
                found.listed.push((finding.id.clone(), time));
            }
        }
    }
}

impl Lines {
    fn push(&mut self, line: &str) {
        self.count += 1;
        if self.kept.len() < self.keep {
            self.kept.push(line.to_owned());
        }
    }

    /// Takes out the first such line; false if there is none.
    fn take(&mut self, line: &str) -> bool {
        let place = self.kept.iter().position(|kept| kept == line.trim_end());
        if let Some(place) = place {
            self.kept.remove(place);
        }
        // What is not kept cannot be found again; it is there unless all are kept.
        let taken = place.is_some() || self.count > self.kept.len() as u64;
        self.count -= u64::from(taken);
        taken
    }
}

/// Nanoseconds since this was first asked.
fn nanoseconds() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    let start = START.get_or_init(Instant::now);
    u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX)
}
