//! A filter at work on one log: fail2ban's algorithm, line by line.
//!
//! 1. With far fewer ignoreregexes than failregexes, those are asked first.
//! 2. The prefregex must match; what it captures as content is all that is seen then.
//! 3. The failregexes are tried in their order. The first that matches decides, unless
//!    an ignoreregex matches as well.
//! 4. Groups are merged: the prefregex's, the failregex's, and those of earlier lines
//!    of the same connection.
//! 5. The groups say who failed.
//!
//! A filter for several lines (`maxlines`) is tried on the last lines together; lines
//! that were part of a match are not seen again, except those that it skipped.
//!
//! The [`Follower`] holds all that changes from line to line. It is told the time.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use memchr::memchr;

use super::Filter;
use super::attempts::Attempts;
use super::claims::Claims;
use super::connection::Connections;
use super::groups::{Form, Groups};
use super::matched::{self, Evidence, Host, Match};
use super::near::NearMisses;
use super::pattern::{Found, Steps};
use super::pulse::Pulse;
use super::tally::{Asked, Clock, Tally};
use super::threads::{self, Around, Start, Threads};
use crate::ticket::{Sight, Trust};
use crate::time::Time;

/// The group of `<F-PROOF>`: text that the server writes where it knows who it speaks to.
const PROOF: &str = "proof";

/// The group of `<F-DATED>`: what stands behind a date, if the server wrote it. A line without
/// one that has it is a sender's, who wrote a newline. What goes on in a line that begins with a
/// blank is a folded header, whose words may name the address.
pub(super) const DATED: &str = "dated";

/// A line as a filter sees it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen<'a> {
    /// Without its date, one newline behind.
    pub(super) text: &'a str,
    /// As it stands in the log.
    pub(super) line: &'a str,
    /// Has it a date of its own?
    pub(super) dated: bool,
    /// When it counts.
    pub(super) time: Time,
    /// The present.
    pub(super) now: Time,
    /// What stands around it.
    pub(super) around: Around<'a>,
}

/// How many whole lines are followed back to one of a known thread.
const LOOK_BACK_LINES: usize = 16;

/// Which failregexes are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Until one matches, as the daemon does.
    First,
    /// The same, and a match that is pending is given too: for tests.
    FirstPending,
    /// All, and matches that are pending or no failure are given too: for tests.
    All,
}

/// A filter and what it remembers of one log.
#[derive(Clone, Debug)]
pub struct Follower {
    filter: Arc<Filter>,
    connections: Connections,
    /// The last lines, for a filter that looks at several.
    lines: VecDeque<Kept>,
    /// Searches that were given up because of their steps.
    given_up: u64,
    /// What is counted in a test of the filter; nothing in the daemon.
    tally: Option<Box<Tally>>,
    /// What is left of the steps for the line at hand.
    steps: Steps,
    /// Was a line seen after which nothing in this log is a proof?
    doubted: bool,
    /// Which threads write this log.
    threads: Threads,
    /// Whom lines named whose number was wrong.
    claims: Claims,
    /// What its lines say that a sender cannot see, if they name no thread.
    pulse: Pulse,
    /// Lines that blame nobody because a sender may have written them.
    disbelieved: u64,
    /// Lines that look like failures and match nothing.
    missed: NearMisses,
    /// How many lines in a row were looked at for a failure behind a strange head, in vain.
    strange_in_vain: u32,
    /// Attempts that are reported twice.
    attempts: Attempts,
    /// How much of the block stands behind the lines that were read with one before them.
    joined: Option<usize>,
    /// Does a folded header go on in another block than it begins in? Then a message is not
    /// written at once here.
    torn: bool,
    /// May the block begin within a message because of how it was read?
    within: bool,
    /// How many messages of the block were looked at in the same way.
    rejoined: u8,
    /// How far the block was followed from its start, and whether a message begins there; for a
    /// log whose lines name no thread.
    reached: Option<(usize, Start)>,
}

/// A line that waits for others.
#[derive(Clone, Debug)]
struct Kept {
    text: Box<str>,
    line: Box<str>,
}

/// What a prefregex found.
#[derive(Debug, Default)]
struct Prefix {
    groups: Groups,
    /// What the failregexes see instead of the line, if it captured that.
    content: Option<String>,
}

impl Prefix {
    /// A failregex's groups, laid upon these.
    fn with(&self, form: &Form, found: &Found<'_>) -> Groups {
        let mut groups = self.groups.clone();
        groups.overlay(form.groups(found));
        groups
    }
}

impl Follower {
    /// A filter at the start of a log.
    pub fn new(filter: Arc<Filter>) -> Follower {
        Follower {
            filter,
            connections: Connections::default(),
            lines: VecDeque::new(),
            given_up: 0,
            tally: None,
            steps: Steps::default(),
            doubted: false,
            threads: Threads::default(),
            claims: Claims::default(),
            pulse: Pulse::default(),
            disbelieved: 0,
            missed: NearMisses::default(),
            strange_in_vain: 0,
            attempts: Attempts::default(),
            joined: None,
            torn: false,
            within: false,
            rejoined: 0,
            reached: None,
        }
    }

    /// Can lines of this log be a sender's own (`doubtregex`)?
    pub fn is_doubted(&self) -> bool {
        self.doubted
    }

    /// How many lines blamed nobody because a sender may have written them whole.
    pub fn disbelieved(&self) -> u64 {
        self.disbelieved
    }

    /// What looked like failures and matched nothing.
    pub fn missed(&self) -> &NearMisses {
        &self.missed
    }

    /// Counts from now on what the patterns do, and how long it takes.
    pub(super) fn count(&mut self, clock: Clock) {
        self.tally = Some(Box::new(Tally::new(&self.filter, clock)));
    }

    /// What was counted, if it is.
    pub(super) fn tally(&self) -> Option<&Tally> {
        self.tally.as_deref()
    }

    /// Its filter.
    pub fn filter(&self) -> &Arc<Filter> {
        &self.filter
    }

    /// Another filter from the next line on, after a reload.
    pub fn replace(&mut self, filter: Arc<Filter>) {
        self.filter = filter;
    }

    /// How many searches were given up because a line needs too many steps. Such a
    /// line is matched by no pattern that needs more, and blames nobody if an
    /// ignoreregex is among them: that it does not match is not known.
    pub fn given_up(&self) -> u64 {
        self.given_up
    }

    /// Gives each match to `each`.
    pub(super) fn line(&mut self, seen: Seen<'_>, ask: Ask, each: &mut dyn FnMut(Match)) {
        if (self.joined).is_some_and(|behind| seen.around.after.len() >= behind) {
            return;
        }
        let filter = Arc::clone(&self.filter);
        if let Some(tally) = &mut self.tally {
            tally.next_line();
        }
        self.steps = Steps::default();
        let seen = self.unglue(&filter, seen);
        let (text, times) = self.unrepeat(&filter, seen);
        let seen = Seen {
            text: &text,
            ..seen
        };
        self.doubt(&filter, seen);
        // In a doubted log a sender may have written that, too.
        let times = if self.doubted || ask != Ask::First {
            1
        } else {
            times
        };
        let mut each = |made: Match| {
            (1..times).for_each(|_| each(made.clone()));
            each(made);
        };
        match filter.maxlines {
            0 | 1 => self.single(&filter, seen, ask, &mut each),
            _ => self.several(&filter, seen, ask, &mut each),
        }
    }

    /// Nothing was written for a while: what is read next begins a message, as sure as that. Or
    /// it may begin `within` one, for all that is known of how it was read.
    pub(super) fn pause(&mut self, sure: Start, within: bool) {
        self.threads.next = self.threads.next.max(sure);
        self.reached = None;
        self.within = within;
    }

    /// A block of whole lines has ended.
    pub(super) fn end(&mut self, block: Around<'_>, now: Time) {
        self.joined = None;
        self.rejoined = 0;
        if begins_blank(block.before) && !self.within && self.filter.is_folded() {
            (self.torn, self.doubted) = (true, true);
        }
        if self.doubted {
            self.steps = Steps::default();
            let filter = Arc::clone(&self.filter);
            self.feel(&filter, block, now);
            self.threads.next = match filter.knows_threads() {
                true => self.start_behind(&filter, block, None),
                false => self.start_at(&filter, block),
            };
        }
    }

    fn single(&mut self, filter: &Filter, seen: Seen<'_>, ask: Ask, each: &mut dyn FnMut(Match)) {
        if filter.ignores_first() && self.ignored(filter, seen.text) {
            self.see_unclear(filter, seen);
            return;
        }
        let Some(before) = self.before(filter, seen.text) else {
            if ask == Ask::First && !self.see_unclear(filter, seen) {
                self.see_strange(filter, seen);
            }
            return;
        };
        let text = before.content.as_deref().unwrap_or(seen.text);
        for (place, form) in filter.failregex.iter().enumerate() {
            let Some(found) = self.find(Asked::Fail(place), form, text).flatten() else {
                continue;
            };
            if self.ignored(filter, text) {
                match ask {
                    Ask::First | Ask::FirstPending => {
                        self.see_unclear(filter, seen);
                        return;
                    }
                    Ask::All => continue,
                }
            }
            let mut evidence = Evidence::default();
            evidence.push(seen.line);
            let groups = before.with(form, &found);
            let most = match ask {
                Ask::First => self.believes(filter, &groups, seen),
                _ => Some(Trust::Proof),
            };
            let Some(most) = most else {
                self.rejoin_or_disbelieve(filter, seen, each);
                return;
            };
            let mut made = self.judge(filter, place, groups, evidence, seen, ask);
            if let Some(made) = &mut made {
                made.again = self.attempts.again(made);
                made.trust = made.trust.min(most);
            }
            give(made, ask, each);
            if ask != Ask::All {
                return;
            }
        }
        if ask != Ask::First || self.sight(filter, &before, text, seen, each) {
            return;
        }
        if !self.rejoin(filter, seen, each) && !self.see_unclear(filter, seen) {
            self.missed.see(seen.text, seen.line);
        }
    }

    /// Gives what is seen in a line that reports no failure; false if nothing knows it.
    fn sight(
        &mut self,
        filter: &Filter,
        before: &Prefix,
        text: &str,
        seen: Seen<'_>,
        each: &mut dyn FnMut(Match),
    ) -> bool {
        for (place, (sight, form)) in filter.sightings.iter().enumerate() {
            let Some(Some(found)) = self.look(form, text) else {
                continue;
            };
            if self.ignored(filter, text) {
                self.see_unclear(filter, seen);
                return true;
            }
            let groups = before.with(form, &found);
            let host = matched::host(&groups, filter.names);
            let host @ Some(Host::Addr(_)) = host.unwrap_or_default() else {
                return false;
            };
            let Some(most) = self.believes(filter, &groups, seen) else {
                self.rejoin_or_disbelieve(filter, seen, each);
                return true;
            };
            each(sighting(filter, (place, *sight), host, groups, seen, most));
            return true;
        }
        let is_ignored = self.ignored(filter, text);
        if is_ignored {
            self.see_unclear(filter, seen);
        }
        is_ignored
    }

    /// Counts a line that blames nobody, if it is unclear whom it should; is it?
    fn see_unclear(&mut self, filter: &Filter, seen: Seen<'_>) -> bool {
        let mut forms = filter.unclearregex.iter().chain(&filter.brokenregex);
        let head = forms.find_map(|form| Some(self.look(form, seen.text)??.as_str()));
        if let Some(head) = head {
            self.missed.see_unclear(head, seen.line, filter.remedy());
        }
        head.is_some()
    }

    fn several(&mut self, filter: &Filter, seen: Seen<'_>, ask: Ask, each: &mut dyn FnMut(Match)) {
        while self.lines.len() >= filter.maxlines {
            self.lines.pop_front();
        }
        self.lines.push_back(Kept {
            text: seen.text.into(),
            line: seen.line.into(),
        });
        let mut text = self.joined();
        if filter.ignores_first() && self.ignored(filter, &text) {
            return;
        }
        let Some(before) = self.before(filter, &text) else {
            return;
        };
        if let Some(content) = &before.content {
            self.lines = VecDeque::from([Kept {
                text: content.as_str().into(),
                line: seen.line.into(),
            }]);
            text.clone_from(content);
        }
        // Asked for all patterns, fail2ban counts each one's lines in what is left by the
        // one before, and takes them by number from what was there at first.
        let mut first = None;
        for (place, form) in filter.failregex.iter().enumerate() {
            let Some(found) = self.find(Asked::Fail(place), form, &text).flatten() else {
                continue;
            };
            let first = first.get_or_insert_with(|| self.lines.clone());
            let (matched, rest) = part(first, &text, &found);
            let groups = before.with(form, &found);
            self.lines = rest;
            if let Some(tally) = &mut self.tally {
                tally.covers(matched.iter().map(|kept| &*kept.line));
            }
            let matched_text: String = matched.iter().map(|kept| &*kept.text).collect();
            if !self.ignored(filter, &matched_text) {
                let mut evidence = Evidence::default();
                matched.iter().for_each(|kept| evidence.push(&kept.line));
                give(
                    self.judge(filter, place, groups, evidence, seen, ask),
                    ask,
                    each,
                );
            }
            if ask != Ask::All {
                return;
            }
            text = self.joined();
        }
    }

    fn joined(&self) -> String {
        self.lines.iter().map(|kept| &*kept.text).collect()
    }

    /// What the prefregex says; `None` if it does not match.
    fn before(&mut self, filter: &Filter, text: &str) -> Option<Prefix> {
        let Some(form) = &filter.prefregex else {
            return Some(Prefix::default());
        };
        let found = self.find(Asked::Prefix, form, text)??;
        let mut groups = form.groups(&found);
        if let Some(tally) = &mut self.tally {
            tally.line.prefix = Some(groups.clone());
        }
        let content = groups.take("content");
        let content = content.filter(|content| !content.is_empty());
        Some(Prefix {
            groups,
            content: content.map(|content| content.into_string() + "\n"),
        })
    }

    /// Makes a match of the groups; `None` if they blame nobody.
    fn judge(
        &mut self,
        filter: &Filter,
        place: usize,
        groups: Groups,
        evidence: Evidence,
        seen: Seen<'_>,
        ask: Ask,
    ) -> Option<Match> {
        let connection = groups.text("mlfid").map(Box::<str>::from);
        let mut made = Match {
            form: u16::try_from(place).unwrap_or(u16::MAX),
            sight: None,
            again: false,
            captures: filter.captures,
            id: None,
            host: None,
            time: seen.time,
            trust: Trust::Hint,
            nofail: groups.full("nofail").is_some(),
            groups,
            users: BTreeSet::new(),
            evidence,
        };
        if let Some(id) = &connection {
            let joined = self
                .connections
                .join(id, made.groups, &made.evidence, seen.now);
            made.nofail = joined.nofail;
            made.groups = joined.groups;
            made.users = joined.users;
            made.evidence = joined.failed;
        }
        made.trust = trust(&made.groups);
        made.id = made
            .groups
            .full("fid")
            .map(|id| matched::id(id, filter.names));
        made.host = matched::host(&made.groups, filter.names).ok()?;
        if made.is_pending() {
            let connection = connection.as_deref()?;
            // A quiet line does not wait, unless fail2ban tests: it has it so.
            if ask != Ask::First || !made.nofail {
                self.connections.wait(connection);
            }
        }
        Some(made)
    }

    fn ignored(&mut self, filter: &Filter, text: &str) -> bool {
        let mut forms = filter.ignoreregex.iter().enumerate();
        forms.any(|(place, form)| {
            let found = self.find(Asked::Ignore(place), form, text);
            found.is_none_or(|found| found.is_some())
        })
    }

    /// A form's match; `None` if the search was given up.
    fn find<'t>(&mut self, asked: Asked, form: &Form, text: &'t str) -> Option<Option<Found<'t>>> {
        let steps = &mut self.steps;
        let found = match &mut self.tally {
            None => form.find(text, steps),
            Some(tally) => tally.time(asked, || form.find(text, steps)),
        };
        self.given_up += u64::from(found.is_err());
        found.ok()
    }

    /// The same for patterns that fail2ban does not have, so that nobody counts them.
    fn look<'t>(&mut self, form: &Form, text: &'t str) -> Option<Option<Found<'t>>> {
        let found = form.find(text, &mut self.steps);
        self.given_up += u64::from(found.is_err());
        found.ok()
    }
}

/// A match of sighting `place` of the filter's.
fn sighting(
    filter: &Filter,
    (place, sight): (usize, Sight),
    host: Option<Host>,
    groups: Groups,
    seen: Seen<'_>,
    most: Trust,
) -> Match {
    Match {
        form: u16::try_from(filter.failregex.len() + place).unwrap_or(u16::MAX),
        sight: Some(sight),
        again: false,
        captures: false,
        id: None,
        host,
        time: seen.time,
        trust: trust(&groups).min(most),
        nofail: true,
        groups,
        users: BTreeSet::new(),
        evidence: Evidence::default(),
    }
}

/// What an address did by these groups: is it proven?
fn trust(groups: &Groups) -> Trust {
    match groups.full(PROOF) {
        Some(_) => Trust::Proof,
        None => Trust::Hint,
    }
}

/// Does a folded header go on in this text?
fn begins_blank(text: &[u8]) -> bool {
    matches!(text.first(), Some(b' ' | b'\t'))
}

/// Is it not known yet what stands behind this line?
fn is_last(seen: Seen<'_>) -> bool {
    seen.around.after.is_empty() && !seen.around.replayed
}

/// The first line of a text, its newline too, and what is behind it.
fn first_line(text: &[u8]) -> Option<(&[u8], &[u8])> {
    text.split_at_checked(memchr(b'\n', text)? + 1)
}

/// The number of the thread that these groups name.
fn number(groups: &Groups) -> Option<u64> {
    groups.full(threads::GROUP)?.parse().ok()
}

/// The ones of `lines` that a match in `text` covers, and all others. Lines that it skipped are no
/// part of it.
fn part(lines: &VecDeque<Kept>, text: &str, found: &Found<'_>) -> (Vec<Kept>, VecDeque<Kept>) {
    let span = found.span();
    let newlines = |end: usize| {
        let head = text.as_bytes().get(..end).unwrap_or(text.as_bytes());
        head.iter().filter(|byte| **byte == b'\n').count()
    };
    let first = newlines((span.start + 1).min(text.len()));
    let end = newlines(span.end.saturating_sub(1)) + 1;
    // Each skipped line is looked for behind the one before it.
    let mut skipped = vec![false; lines.len()];
    let mut from = first;
    for piece in skipped_pieces(found) {
        let mut inside = lines.iter().enumerate().take(end).skip(from);
        if let Some((place, _)) = inside.find(|(_, kept)| *kept.text == *piece) {
            skipped[place] = true;
            from = place + 1;
        }
    }
    let (mut matched, mut rest) = (Vec::new(), VecDeque::new());
    for (place, kept) in lines.iter().enumerate() {
        if (first..end).contains(&place) && !skipped[place] {
            matched.push(kept.clone());
        } else {
            rest.push_back(kept.clone());
        }
    }
    (matched, rest)
}

/// The lines that a match skipped, as Python's `splitlines` gives them: a line that has
/// one of its other breaks inside falls to pieces, so it counts as matched.
fn skipped_pieces<'f>(found: &'f Found<'_>) -> impl Iterator<Item = &'f str> {
    let is_break =
        |char| matches!(char, '\n'..='\r' | '\x1c'..='\x1e' | '\u{85}' | '\u{2028}' | '\u{2029}');
    let skipped = found
        .groups()
        .filter(|(name, _)| name.starts_with("skiplines"));
    skipped.flat_map(move |(_, lines)| lines.split_inclusive(is_break))
}

fn give(made: Option<Match>, ask: Ask, each: &mut dyn FnMut(Match)) {
    // Outside of connections, fail2ban does not heed that a line is no failure.
    let quiet = |made: &Match| made.nofail && made.groups.text("mlfid").is_some();
    let counts = |made: &Match| match ask {
        Ask::First => !(quiet(made) || made.is_pending()),
        Ask::FirstPending => !quiet(made),
        Ask::All => true,
    };
    if let Some(made) = made.filter(counts) {
        each(made);
    }
}

mod broken;
mod doubted;
mod folded;
mod glued;
mod repeated;
mod strange;

#[cfg(test)]
mod tests;
