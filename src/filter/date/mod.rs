//! The date in a line: where it stands, and when it was.
//!
//! A [`Detector`] tries templates, the layouts of dates that it knows, and learns
//! from every hit: the template that won last is tried first, at the place where
//! it won. The part of a line that is the date is cut out, so
//! `[Nov 22 07:50:06] NOTICE` leaves `[] NOTICE`. Which templates there are says
//! the `datepattern` of the filter or jail; without one, fail2ban's own seventeen
//! layouts serve.
//!
//! What phone servers, syslog and systemd write is read by hand (`quick`), where
//! that gives what the templates would give. Everything is fail2ban's behaviour,
//! its oddities too; where we differ, the text of the tests says so.
//!
//! A detector keeps a few numbers per template and nothing of the lines. It is
//! told neither the time nor the zone, only when the program started ([`Years`]);
//! [`Stamp::time`] is. Absent: fail2ban's rule
//! that a template unused for five minutes gives way to others; what it changes is
//! only the order among templates that match the same line.

mod defaults;
mod hints;
mod quick;
mod stamp;
pub mod tally;
mod template;
mod token;
mod zone;

use std::ops::Range;
use std::sync::Arc;

use crate::filter::dialect::CharSet;
use crate::filter::pattern::PatternError;
use defaults::{LAYOUTS, Placed};
use hints::Hints;
pub use stamp::{Civil, Stamp, WeekStart};
use template::{Beginning, Hit, LINE_BEGIN, Template, WEIGHT_LINE_BEGIN};
pub use token::Years;
pub use zone::{ZoneError, zone};

/// How many templates a detector may have: fail2ban's own lists need 31 at most,
/// and each costs a search in a line without date.
const TEMPLATES_MAX: usize = 200;

/// A hit that begins after this many characters is not taken at once before there
/// was any.
const FAR: usize = 1;

/// A date in a line.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// The bytes that are the date, to be cut out. Never empty.
    pub span: Range<usize>,
    /// What they say.
    pub stamp: Stamp,
}

/// A datepattern that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DatePatternError {
    /// A `%` before something that is no token.
    #[error(
        "datepattern `{pattern}`: `{token}` is not known; after a percent sign {accepted} are \
         accepted, and `%%` is the sign itself (in a configuration file each `%` is written twice)",
        accepted = token::ACCEPTED
    )]
    Token {
        /// The line of the datepattern.
        pattern: String,
        /// What stands there.
        token: String,
    },
    /// Not a regex.
    #[error("datepattern `{pattern}`, with its tokens written out: {error}")]
    Regex {
        /// The line of the datepattern.
        pattern: String,
        /// What is wrong with it.
        error: PatternError,
    },
    /// More than we are ready to try on every line.
    #[error(
        "datepattern `{pattern}`: this makes more than {TEMPLATES_MAX} templates; write fewer lines"
    )]
    TooMany {
        /// The line of the datepattern.
        pattern: String,
    },
}

/// Finds the dates of one log.
#[derive(Clone, Debug)]
pub struct Detector {
    slots: Vec<Slot>,
    /// The first slot that never had a hit, unless one further on was moved.
    first_unused: usize,
    /// The slot that won last.
    winner: Option<usize>,
    last: Last,
    /// May lines be read by hand? Only if all templates are default ones.
    by_hand: bool,
    years: Years,
}

/// A template and its luck.
#[derive(Clone, Debug)]
struct Slot {
    template: Arc<Template>,
    /// The layout of which it is the line-begin form.
    layout: Option<usize>,
    hits: u64,
    /// Where its last hit began, in characters.
    distance: usize,
}

/// What came of trying the last winner first.
enum Again {
    /// It wins again.
    Won(Hit),
    /// It does not, or hits elsewhere than last time.
    Lost {
        /// Its hit elsewhere.
        reserve: Option<Hit>,
        /// Was the whole line looked at, so that it need not be tried again?
        tried: bool,
    },
}

/// Where the last hit of all began and ended, in characters.
#[derive(Clone, Copy, Debug)]
struct Last {
    begin: usize,
    end: usize,
    /// The characters around its begin, and around its end.
    edges: [Edge; 2],
}

/// The characters outside of a hit and within it, at one of its ends.
#[derive(Clone, Copy, Debug, Default)]
struct Edge {
    outer: Option<char>,
    inner: Option<char>,
}

impl Edge {
    /// At the begin of a hit, byte `at` of `line`.
    fn begin(line: &str, at: usize) -> Edge {
        Edge {
            outer: before(line, at),
            inner: behind(line, at),
        }
    }

    /// At the end of a hit.
    fn end(line: &str, at: usize) -> Edge {
        Edge {
            outer: behind(line, at),
            inner: before(line, at),
        }
    }

    /// May a hit stand here as one did there? The same character stands outside, or
    /// the same one that is no letter or digit within.
    fn agrees(self, with: Edge) -> bool {
        let alphanumeric = |char: char| char != '_' && CharSet::word(false).contains(char);
        let within = self.inner == with.inner && !with.inner.is_some_and(alphanumeric);
        self.outer == with.outer || within
    }
}

impl Detector {
    /// `datepattern` as it stands in a filter or jail, with single `%`; several lines
    /// are several patterns. `None`, or nothing but blanks, is the default. `years` are
    /// those that a year of four digits may be, in the default and as `%ExY`.
    pub fn new(datepattern: Option<&str>, years: Years) -> Result<Detector, DatePatternError> {
        let mut slots = Vec::new();
        let mut by_hand = true;
        let lines = datepattern.unwrap_or("").lines().map(str::trim);
        for line in lines.filter(|line| !line.is_empty()) {
            let (templates, default) = templates(line, years)?;
            by_hand &= default;
            for (template, layout) in templates {
                push(&mut slots, template, layout);
            }
            if slots.len() > TEMPLATES_MAX {
                return Err(DatePatternError::TooMany {
                    pattern: line.to_owned(),
                });
            }
        }
        Ok(Detector::with(slots, by_hand, years))
    }

    /// With these templates, or the default ones if there are none.
    fn with(mut slots: Vec<Slot>, by_hand: bool, years: Years) -> Detector {
        if slots.is_empty() {
            for (template, layout) in defaults::all(years) {
                push(&mut slots, template, layout);
            }
        }
        Detector {
            slots,
            first_unused: 0,
            winner: None,
            last: Last {
                begin: FAR,
                end: usize::MAX,
                edges: [Edge::default(); 2],
            },
            by_hand,
            years,
        }
    }

    /// The date in `line`, which has no newline at its end.
    pub fn find(&mut self, line: &str) -> Option<Found> {
        let hit = match self.hit_by_hand(line) {
            Some((place, hit)) => self.won(line, place, hit),
            None => match self.hit(line) {
                Some((place, hit)) => self.won(line, place, hit),
                None => return None,
            },
        };
        (!hit.date.is_empty()).then_some(Found {
            span: hit.date,
            stamp: hit.stamp,
        })
    }

    /// Reads the line by hand if that gives what the templates would give: the one
    /// for the layout is the only one bound to the line's beginning that can match,
    /// and nothing that is not bound comes before it.
    fn hit_by_hand(&self, line: &str) -> Option<(usize, Hit)> {
        if !self.by_hand {
            return None;
        }
        let (layout, hit) = quick::read(line, self.years)?;
        let like = |slot: &Slot| {
            layout == defaults::SYSLOG
                && slot
                    .layout
                    .is_some_and(|own| defaults::SYSLOG_LIKE.contains(&own))
        };
        let in_doubt = |slot: &Slot| like(slot) || !slot.template.anchored;
        if self
            .winner
            .is_some_and(|winner| in_doubt(&self.slots[winner]))
        {
            return None;
        }
        let mut slots = self.slots.iter();
        let place = slots.position(|slot| slot.layout == Some(layout) || in_doubt(slot))?;
        (self.slots[place].layout == Some(layout)).then_some((place, hit))
    }

    /// The template that wins, and its hit.
    ///
    /// A hit further right than its template's last one, or than the last one of all,
    /// may be a date in the message: it is kept in reserve while others are tried, and
    /// the leftmost in reserve wins in the end. The last template of the list wins at
    /// once, wherever it hits; fail2ban has it so.
    fn hit(&self, line: &str) -> Option<(usize, Hit)> {
        let (tried, mut reserve) = match self.winner {
            Some(winner) => match self.hit_again(line, winner) {
                Again::Won(hit) => return Some((winner, hit)),
                Again::Lost { reserve, tried } => {
                    (tried.then_some(winner), reserve.map(|hit| (winner, hit)))
                }
            },
            None => (None, None),
        };
        let hints = Hints::of(line);
        for (place, slot) in self.slots.iter().enumerate() {
            if tried == Some(place) || !hints.meet(slot.template.needs) {
                continue;
            }
            let Some(hit) = slot.template.find(line, 0) else {
                continue;
            };
            let distance = chars(line, hit.whole.start);
            let usual = distance <= slot.distance.min(self.last.begin);
            if slot.template.anchored || usual || place + 1 == self.slots.len() {
                return Some((place, hit));
            }
            let leftmost = reserve
                .as_ref()
                .is_none_or(|(_, reserve): &(usize, Hit)| hit.whole.start < reserve.whole.start);
            if leftmost {
                reserve = Some((place, hit));
            }
        }
        reserve
    }

    /// Tries the last winner first, and at the last place: if the same characters stand
    /// outside, only what is between is looked at, else the whole line. It wins again
    /// if it hits exactly there, or is the only one. One that is bound to an end of the line looks at all
    /// of it and wins with any hit.
    fn hit_again(&self, line: &str, winner: usize) -> Again {
        let last = self.last;
        let template = &self.slots[winner].template;
        if template.anchored {
            return match template.find(line, 0) {
                Some(hit) => Again::Won(hit),
                None => Again::Lost {
                    reserve: None,
                    tried: true,
                },
            };
        }
        let begin = byte(line, last.begin).unwrap_or(line.len());
        let end = byte(line, last.end).unwrap_or(line.len());
        let edges = [Edge::begin(line, begin), Edge::end(line, end)];
        let same = edges
            .iter()
            .zip(last.edges)
            .all(|(edge, last)| edge.agrees(last));
        let part = if same {
            let part = line.get(..end).unwrap_or(line);
            template.find(part, begin)
        } else {
            template.find(line, 0)
        };
        let again = |hit: &Hit| {
            (chars(line, hit.whole.start), chars(line, hit.whole.end)) == (last.begin, last.end)
        };
        match part {
            Some(hit) if again(&hit) || self.slots.len() == 1 => Again::Won(hit),
            hit => Again::Lost {
                reserve: hit,
                tried: !same,
            },
        }
    }

    fn won(&mut self, line: &str, place: usize, hit: Hit) -> Hit {
        let begin = chars(line, hit.whole.start);
        let slot = &mut self.slots[place];
        slot.hits += 1;
        slot.distance = begin;
        if self.first_unused == place {
            self.first_unused += 1;
        }
        let again = self.winner == Some(place);
        self.winner = Some(if again { place } else { self.risen(place) });
        self.last = Last {
            begin,
            end: chars(line, hit.whole.end),
            edges: [
                Edge::begin(line, hit.whole.start),
                Edge::end(line, hit.whole.end),
            ],
        };
        hit
    }

    /// Moves a winner forward: to the first slot that never won or half way, else by
    /// one, if it counts more than what is there. Returns its place.
    fn risen(&mut self, place: usize) -> usize {
        if place == 0 {
            return 0;
        }
        let far = if self.first_unused < place {
            self.first_unused
        } else {
            place / 2
        };
        let better = |than: usize| {
            let (own, other) = (&self.slots[place], &self.slots[than]);
            own.weight_times(other) > other.weight_times(own)
        };
        let Some(to) = [far, place - 1].into_iter().find(|than| better(*than)) else {
            return place;
        };
        let slot = self.slots.remove(place);
        self.slots.insert(to, slot);
        while self
            .slots
            .get(self.first_unused)
            .is_some_and(|slot| slot.hits > 0)
        {
            self.first_unused += 1;
        }
        to
    }
}

impl Slot {
    /// Its hits, the more so the nearer to the line's beginning, times the distance of
    /// `other`: so two slots are compared without dividing.
    fn weight_times(&self, other: &Slot) -> u128 {
        let hits = u128::from(self.hits) * u128::from(self.template.weight);
        hits * other.distance.max(1) as u128
    }
}

/// The templates that one line of a datepattern asks for, and whether all of them
/// are default ones.
fn templates(line: &str, years: Years) -> Result<(Vec<Placed>, bool), DatePatternError> {
    let upper = line.to_ascii_uppercase();
    let key = if line.contains('%') { line } else { &upper };
    match key {
        LINE_BEGIN => return Ok((defaults::line_begin(years), true)),
        // In a list with others, this adds nothing; fail2ban has it so.
        "{DEFAULT}" => return Ok((Vec::new(), true)),
        "{NONE}" => return Ok((vec![(Arc::new(plain(line, "^", years)?), None)], false)),
        _ => {}
    }
    if let Some(template) = by_word(key) {
        return Ok((vec![(Arc::new(template), None)], false));
    }
    if key.contains("{DATE}") {
        return Ok((around_default(line, key, years)?, false));
    }
    let template = plain(line, line, years)?;
    check(line, &template, false)?;
    Ok((vec![(Arc::new(template), None)], false))
}

/// `EPOCH`, `LEPOCH`, `TAI64N`; also with `^` or `{^LN-BEG}` in front.
fn by_word(key: &str) -> Option<Template> {
    let (beginning, weight, word) = if let Some(word) = key.strip_prefix(LINE_BEGIN) {
        (Beginning::Line, WEIGHT_LINE_BEGIN, word)
    } else if let Some(word) = key.strip_prefix('^') {
        (Beginning::Line, 1, word)
    } else {
        (Beginning::Word, 1, key)
    };
    let template = match word {
        "EPOCH" => Template::epoch(false, beginning),
        "LEPOCH" => Template::epoch(true, beginning),
        "TAI64N" => Template::tai64n(beginning),
        _ => return None,
    };
    Some(template.known(weight, Hints::NONE))
}

/// Every layout, in the place of `{DATE}`.
fn around_default(line: &str, key: &str, years: Years) -> Result<Vec<Placed>, DatePatternError> {
    let alone = matches!(key, "{DATE}" | "^{DATE}") || key == format!("{LINE_BEGIN}{{DATE}}");
    let weight = match key.starts_with(LINE_BEGIN) {
        true => WEIGHT_LINE_BEGIN,
        false => 1,
    };
    let mut all = Vec::with_capacity(LAYOUTS.len());
    for text in defaults::texts() {
        let text = replaced(line, key, text);
        let word = text.to_ascii_uppercase();
        let template = match by_word(&word).filter(|_| alone) {
            Some(template) => template,
            None => plain(line, &text, years)?,
        };
        check(line, &template, true)?;
        all.push((Arc::new(template.known(weight, Hints::NONE)), None));
    }
    Ok(all)
}

/// `line` with `text` in place of every `{DATE}` of `key`, which differs from it in
/// case only.
fn replaced(line: &str, key: &str, text: &str) -> String {
    let mut whole = String::new();
    let mut end = 0;
    for (at, mark) in key.match_indices("{DATE}") {
        whole.push_str(line.get(end..at).unwrap_or(""));
        whole.push_str(text);
        end = at + mark.len();
    }
    whole.push_str(line.get(end..).unwrap_or(""));
    whole
}

fn plain(line: &str, text: &str, years: Years) -> Result<Template, DatePatternError> {
    Template::new(text, years).map_err(|token| DatePatternError::Token {
        pattern: line.to_owned(),
        token,
    })
}

fn check(line: &str, template: &Template, lazily: bool) -> Result<(), DatePatternError> {
    template
        .check(lazily)
        .map_err(|error| DatePatternError::Regex {
            pattern: line.to_owned(),
            error,
        })
}

fn push(slots: &mut Vec<Slot>, template: Arc<Template>, layout: Option<usize>) {
    if slots.iter().any(|slot| slot.template.same(&template)) {
        return;
    }
    slots.push(Slot {
        template,
        layout,
        hits: 0,
        distance: usize::MAX,
    });
}

/// How many characters `line` has before byte `at`.
fn chars(line: &str, at: usize) -> usize {
    let before = line.as_bytes().get(..at).unwrap_or(line.as_bytes());
    if before.is_ascii() {
        return at;
    }
    line.get(..at).map_or(at, |before| before.chars().count())
}

/// The byte at which character `at` begins; `None` beyond the end.
fn byte(line: &str, at: usize) -> Option<usize> {
    if line.is_ascii() {
        return (at <= line.len()).then_some(at);
    }
    let mut bytes = line
        .char_indices()
        .map(|(byte, _)| byte)
        .chain([line.len()]);
    bytes.nth(at)
}

fn before(line: &str, at: usize) -> Option<char> {
    line.get(..at)?.chars().next_back()
}

fn behind(line: &str, at: usize) -> Option<char> {
    line.get(at..)?.chars().next()
}

#[cfg(test)]
mod tests;
