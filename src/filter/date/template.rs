//! A template: one layout of dates, compiled.
//!
//! A datepattern becomes a regex in Python's syntax: its `%` tokens written out,
//! word edges put around it, and the part that is the date made a group. Equal
//! regexes are compiled once, when a line first needs them, and shared by all
//! detectors: ten logs with fail2ban's default templates hold them once.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use super::hints::Hints;
use super::stamp::{Stamp, epoch_micros, in_ascii, long_epoch_micros, tai64n_micros};
use super::token::{self, Years};
use crate::filter::dialect;
use crate::filter::pattern::{Pattern, PatternError};

/// The prefix that ties a pattern to the line's beginning.
pub(super) const LINE_BEGIN: &str = "{^LN-BEG}";
/// The prefix that frees a pattern of word edges.
const UNBOUND: &str = "{UNB}";
/// The line's beginning, as [`LINE_BEGIN`] means it: a bracket may stand in front.
const LINE_BEGIN_REGEX: &str = r"^\W{0,2}";
/// Not between two characters of a word; for the left end and for the right.
const LEFT_EDGE: &str = r"(?<!\w\B)";
const RIGHT_EDGE: &str = r"(?!\B\w)";
/// The group that is cut out of the line, if the pattern has none of its own.
const CUT: &str = "_cut";

/// Seconds since 1970, in groups of the reading kind's name.
const EPOCH: &str = r"\d{10,11}\b(?:\.\d{3,6}\b)?";
const LONG_EPOCH: &str = r"\d{10,11}(?:\d{3}(?:\.\d{1,6}|\d{3})?)?\b";
const TAI64N: &str = "@[0-9a-f]{24}";

/// How much a hit of a template that is tied to the line's beginning counts among
/// the defaults, where another counts 1.
pub(super) const WEIGHT_LINE_BEGIN: u32 = 100;

/// How the text of a hit is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reading {
    /// By the tokens' groups.
    Tokens,
    /// Seconds since 1970.
    Epoch,
    /// Seconds, milliseconds or microseconds since 1970.
    LongEpoch,
    /// TAI64N.
    Tai64n,
}

/// One layout of dates.
#[derive(Debug)]
pub(super) struct Template {
    /// Tied to the line's beginning or end: a hit ends the search.
    pub(super) anchored: bool,
    /// How much a hit counts.
    pub(super) weight: u32,
    /// What a line must have for it to match at all.
    pub(super) needs: Hints,
    reading: Reading,
    cut: Box<str>,
    regex: Arc<Regex>,
    /// What it was made of, without the prefix that frees it of word edges: two of one
    /// name are one template to fail2ban.
    name: Box<str>,
}

/// A template's match in a line, in bytes.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Hit {
    /// All that matched.
    pub(super) whole: Range<usize>,
    /// The date: what is cut out. Empty if the pattern's group took no part.
    pub(super) date: Range<usize>,
    /// What it says.
    pub(super) stamp: Stamp,
}

/// A regex that is compiled when it is first needed.
#[derive(Debug)]
struct Regex {
    text: Box<str>,
    pattern: OnceLock<Option<Pattern>>,
}

impl Regex {
    /// The regex with this text, which others may hold already.
    fn shared(text: String) -> Arc<Regex> {
        static ALL: Mutex<BTreeMap<String, Weak<Regex>>> = Mutex::new(BTreeMap::new());
        let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(regex) = all.get(&text).and_then(Weak::upgrade) {
            return regex;
        }
        all.retain(|_, regex| regex.strong_count() > 0);
        let regex = Arc::new(Regex {
            text: text.as_str().into(),
            pattern: OnceLock::new(),
        });
        all.insert(text, Arc::downgrade(&regex));
        regex
    }

    fn pattern(&self) -> Option<&Pattern> {
        let compile = || Pattern::compile(&self.text, false).ok();
        self.pattern.get_or_init(compile).as_ref()
    }

    fn compile(&self) -> Result<(), PatternError> {
        if self.pattern().is_none() {
            Pattern::compile(&self.text, false)?;
        }
        Ok(())
    }
}

impl Template {
    /// The template that a datepattern's text asks for. Its tokens must be known;
    /// whether its regex can be compiled is said by [`Template::check`].
    pub(super) fn new(text: &str, years: Years) -> Result<Template, String> {
        let whole = text;
        let (beginning, text) = match text.strip_prefix(LINE_BEGIN) {
            Some(rest) => (Beginning::Line, rest),
            None => match text.strip_prefix(UNBOUND) {
                Some(rest) => (Beginning::Free, rest),
                None => (Beginning::Word, text),
            },
        };
        let text = text.trim();
        let upper = text.to_ascii_uppercase();
        for (mark, regex, reading) in [
            ("{EPOCH}", EPOCH, Reading::Epoch),
            ("{LEPOCH}", LONG_EPOCH, Reading::LongEpoch),
        ] {
            if let Some(at) = upper.find(mark)
                && !text.as_bytes()[..at].ends_with(b"\\")
            {
                let before = text.get(..at).unwrap_or("");
                let behind = text.get(at + mark.len()..).unwrap_or("");
                let group = format!("{before}(?P<epoch>{regex}){behind}");
                let mut template = Template::of_tokens(&group, beginning, years)?;
                template.reading = reading;
                template.name = whole.to_ascii_uppercase().into();
                return Ok(template);
            }
        }
        Template::of_tokens(text, beginning, years)
    }

    /// Seconds since 1970: at the line's beginning, or there or in a record of the
    /// kernel's audit, whose time stands in `audit(1795334400.123:45)`.
    pub(super) fn epoch(long: bool, beginning: Beginning) -> Template {
        let (digits, reading) = match long {
            false => (EPOCH, Reading::Epoch),
            true => (LONG_EPOCH, Reading::LongEpoch),
        };
        let regex = match beginning {
            Beginning::Line => format!("{LINE_BEGIN_REGEX}(?P<{CUT}>{digits}){RIGHT_EDGE}"),
            _ => format!(r"(?:^|(?<=^\[)|(?<=\baudit\())(?P<{CUT}>{digits})"),
        };
        let name = regex.clone();
        Template::assembled(name, regex, CUT, reading, beginning == Beginning::Line)
    }

    /// The stamp of djb's multilog.
    pub(super) fn tai64n(beginning: Beginning) -> Template {
        let regex = match beginning {
            Beginning::Line => format!("{LINE_BEGIN_REGEX}(?P<{CUT}>{TAI64N}){RIGHT_EDGE}"),
            _ => format!("(?P<{CUT}>{TAI64N}){RIGHT_EDGE}"),
        };
        let (name, anchored) = (regex.clone(), beginning == Beginning::Line);
        Template::assembled(name, regex, CUT, Reading::Tai64n, anchored)
    }

    fn of_tokens(text: &str, beginning: Beginning, years: Years) -> Result<Template, String> {
        let expanded = token::expand(text, years)?;
        let (flags, regex) = leading_flags(&expanded.regex);
        let mut shape = Shape::of(regex, beginning);
        let (regex, cut) = with_group(&regex_without_marks(regex));
        shape.regex = regex;
        let case = if expanded.ignore_case { "(?i)" } else { "" };
        let flags = flags.map_or(String::new(), |flags| format!("(?{flags})"));
        let regex = format!("{flags}{case}{}", shape.assembled());
        let name = match shape.before {
            LINE_BEGIN_REGEX => format!("{LINE_BEGIN}{text}"),
            _ => text.to_owned(),
        };
        Ok(Template::assembled(
            name,
            regex,
            &cut,
            Reading::Tokens,
            shape.anchored,
        ))
    }

    fn assembled(
        name: String,
        regex: String,
        cut: &str,
        reading: Reading,
        anchored: bool,
    ) -> Template {
        Template {
            name: name.into(),
            anchored,
            weight: 1,
            needs: Hints::NONE,
            reading,
            cut: cut.into(),
            regex: Regex::shared(regex),
        }
    }

    /// The same, counting more, and known to need something of a line.
    pub(super) fn known(mut self, weight: u32, needs: Hints) -> Template {
        self.weight = weight;
        self.needs = needs;
        self
    }

    /// Can it be compiled? It then is. `lazily` only looks at its syntax.
    pub(super) fn check(&self, lazily: bool) -> Result<(), PatternError> {
        if lazily {
            dialect::parse(&self.regex.text, false)?;
            return Ok(());
        }
        self.regex.compile()
    }

    /// Are both the same template, by name?
    pub(super) fn same(&self, other: &Template) -> bool {
        self.name == other.name
    }

    /// Its regex as text.
    pub(super) fn regex(&self) -> &str {
        &self.regex.text
    }

    /// The leftmost match in `line` that begins at `start` or later.
    pub(super) fn find(&self, line: &str, start: usize) -> Option<Hit> {
        let found = self.regex.pattern()?.find_at(line, start).ok()??;
        let whole = found.span();
        let date = found.group_span(&self.cut).unwrap_or(0..0);
        let text = line.get(date.clone()).unwrap_or("");
        let read = |micros: Option<i64>| micros.map_or(Stamp::Unreadable, Stamp::Epoch);
        let epoch = || in_ascii(found.get("epoch").unwrap_or(text));
        let stamp = match self.reading {
            Reading::Tokens => Stamp::read(found.groups()),
            Reading::Epoch => read(epoch_micros(&epoch())),
            Reading::LongEpoch => read(long_epoch_micros(&epoch())),
            Reading::Tai64n => read(tai64n_micros(text)),
        };
        Some(Hit { whole, date, stamp })
    }
}

/// Where a pattern may begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Beginning {
    /// At the edge of a word, and so it must end.
    Word,
    /// At the beginning of the line; it ends at the edge of a word.
    Line,
    /// Anywhere, and it may end anywhere.
    Free,
}

/// What stands around a pattern's own regex.
struct Shape {
    before: &'static str,
    behind: &'static str,
    anchored: bool,
    regex: String,
}

impl Shape {
    /// `text` is without flags, and has its marks (`**`) still.
    fn of(text: &str, beginning: Beginning) -> Shape {
        let tied = starts_bound(text);
        let before = match beginning {
            Beginning::Line if !tied => LINE_BEGIN_REGEX,
            Beginning::Word if !tied => LEFT_EDGE,
            _ => "",
        };
        let behind = match beginning {
            Beginning::Free => "",
            _ if ends_bound(text) => "",
            _ => RIGHT_EDGE,
        };
        let at_begin = before == LINE_BEGIN_REGEX || is_line_begin(text);
        let anchored = beginning != Beginning::Free && (at_begin || is_line_end(text));
        Shape {
            before,
            behind,
            anchored,
            regex: String::new(),
        }
    }

    fn assembled(&self) -> String {
        format!("{}{}{}", self.before, self.regex, self.behind)
    }
}

/// Does it say by itself where it begins: `^…`, `(^…`, `(?:^…`, or `**…`?
fn starts_bound(text: &str) -> bool {
    let inner = text.trim_start_matches('(');
    let grouped = text
        .strip_prefix("(?:")
        .is_some_and(|inner| inner.starts_with('^'));
    grouped || inner.starts_with('^') || inner.starts_with("**")
}

/// Does it say by itself where it ends: `…$`, `…$)`, `…\b`, `…\s`, or `…**`?
fn ends_bound(text: &str) -> bool {
    let inner = text.trim_end_matches(')');
    let one_less = text.strip_suffix(')').unwrap_or(text);
    let unescaped = |text: &str, end: &str| {
        text.strip_suffix(end)
            .is_some_and(|before| !before.ends_with('\\'))
    };
    unescaped(one_less, "$")
        || unescaped(text, r"\b")
        || unescaped(text, r"\s")
        || unescaped(inner, "**")
}

fn is_line_begin(text: &str) -> bool {
    let grouped = text
        .strip_prefix("(^")
        .is_some_and(|rest| !rest.starts_with('|'));
    grouped || text.starts_with('^')
}

fn is_line_end(text: &str) -> bool {
    let grouped = text.strip_suffix(')').filter(|_| has_plain_group(text));
    let text = grouped.unwrap_or(text);
    text.strip_suffix('$')
        .is_some_and(|before| !before.ends_with(['\\', '|']))
}

/// Without the marks `**` at its ends, which only say that there is no word edge.
fn regex_without_marks(text: &str) -> String {
    let opened = text.len() - text.trim_start_matches('(').len();
    let (open, text) = text.split_at_checked(opened).unwrap_or(("", text));
    let text = text.strip_prefix("**").unwrap_or(text);
    let inner = text.trim_end_matches(')');
    let close = text.get(inner.len()..).unwrap_or("");
    let inner = match inner.strip_suffix("**") {
        Some(before) if !before.ends_with('\\') => before,
        _ => inner,
    };
    format!("{open}{inner}{close}")
}

/// Flags for the whole pattern, `(?i)` at its start or after `^`, and the rest.
fn leading_flags(text: &str) -> (Option<&str>, &str) {
    let Some(inner) = text.strip_prefix("(?") else {
        return (None, text);
    };
    match inner.split_once(')') {
        Some((flags, rest))
            if !flags.is_empty() && flags.bytes().all(|b| b.is_ascii_lowercase()) =>
        {
            (Some(flags), rest)
        }
        _ => (None, text),
    }
}

/// The regex with a group that is the date, and that group's name. The date is the
/// pattern's first group if it has a plain `(` anywhere, else all of the pattern but
/// `^` and `$` at its ends.
fn with_group(regex: &str) -> (String, String) {
    let cut = CUT.to_owned();
    if !has_plain_group(regex) {
        let (before, inner) = match regex.strip_prefix('^') {
            Some(inner) => ("^", inner),
            None => ("", regex),
        };
        let (inner, behind) = match inner.strip_suffix('$') {
            Some(own) if !own.ends_with('\\') => (own, "$"),
            _ => (inner, ""),
        };
        return (format!("{before}(?P<{CUT}>{inner}){behind}"), cut);
    }
    match first_group(regex) {
        Some((at, None)) => {
            let (before, behind) = regex.split_at_checked(at + 1).unwrap_or((regex, ""));
            (format!("{before}?P<{CUT}>{behind}"), cut)
        }
        Some((_, Some(name))) => (regex.to_owned(), name.to_owned()),
        None => (regex.to_owned(), cut),
    }
}

/// Is there a `(` that is not escaped and not the beginning of `(?`? Classes are
/// not looked at, as fail2ban does not.
fn has_plain_group(regex: &str) -> bool {
    let bytes = regex.as_bytes();
    (0..bytes.len()).any(|at| {
        bytes[at] == b'('
            && bytes.get(at + 1) != Some(&b'?')
            && !bytes[..at].ends_with(b"\\")
            && !bytes[..at].ends_with(b"(?")
    })
}

/// Where the first capturing group begins, and its name if it has one.
fn first_group(regex: &str) -> Option<(usize, Option<&str>)> {
    let bytes = regex.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 1,
            b'[' => at = class_end(bytes, at),
            b'(' => {
                let behind = regex.get(at + 1..)?;
                if !behind.starts_with('?') {
                    return Some((at, None));
                }
                if let Some(name) = behind.strip_prefix("?P<") {
                    return Some((at, Some(name.split_once('>')?.0)));
                }
            }
            _ => {}
        }
        at += 1;
    }
    None
}

/// Where the class that begins at `start` ends: the place of its `]`.
fn class_end(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    at += usize::from(bytes.get(at) == Some(&b'^'));
    at += usize::from(bytes.get(at) == Some(&b']'));
    while let Some(byte) = bytes.get(at) {
        match byte {
            b']' => break,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    at
}
