//! What is unwise in a filter's patterns, though they can be used as they are.
//!
//! A pattern can be *framed* if a stranger who writes a part of a log line (a user
//! name, a user agent, a Call-ID) can make it blame an address of the stranger's
//! choice. That is not guessed from the look of a pattern: [`lint`] makes a line that
//! the pattern matches, writes a second address into one of its open fields, or before
//! or behind it, and lets the filter judge. A finding shows the line that was
//! blamed on the wrong address. In the same way a pattern that only the backtracker
//! can run is given lines of the greatest length before it is said to give up.
//!
//! What cannot be known is who writes a field. A finding says which field it is, and
//! holds if a stranger can write it. No finding is no proof: the lines that are tried
//! are few. Whatever is found, the patterns run as they were written.

mod frame;
mod sample;
mod slow;

use std::fmt;
use std::sync::Arc;

use super::dialect::{self, Node, Tree, simplify};
use super::follow::{Ask, Follower, Seen};
use super::groups::Form;
use super::threads::Around;
use super::{Exact, Filter, FilterError, FilterText};
use crate::time::Time;
use sample::Source;

/// The longest piece of a pattern or a line that a finding quotes, in characters.
const QUOTED_CHARS_MAX: usize = 160;

/// Something unwise in a filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Where: `failregex 3`, say, or `the filter`.
    pub place: String,
    /// The pattern as it was given, tags and all, shortened; empty for the filter.
    pub pattern: String,
    /// What is unwise.
    pub fault: Fault,
}

/// A line that a stranger can have the server write, and whom it blames.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forged {
    /// The line, without a date; a newline within ends a line.
    pub line: String,
    /// The address that the stranger wrote into it, and that the filter found.
    pub blamed: &'static str,
}

/// What can be unwise in a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It matches anywhere in a line, so also what a stranger had quoted there.
    Unanchored {
        /// Such a line.
        forged: Forged,
    },
    /// A field before the address may be ended early by the stranger who writes it.
    Before {
        /// The field, as a pattern.
        field: String,
        /// May anything follow what the pattern matches?
        open: bool,
        /// Such a line.
        forged: Forged,
    },
    /// A field before the address may also take the address itself, and then another
    /// one is found in what a stranger writes behind it.
    Behind {
        /// The field before the address, as a pattern.
        field: String,
        /// The field behind it; `None` is what follows the pattern's end.
        behind: Option<String>,
        /// Such a line.
        forged: Forged,
    },
    /// An automaton cannot run it.
    Backtracks {
        /// The first part that it cannot run.
        part: &'static str,
    },
    /// There are lines for which its steps run out.
    StepLimit {
        /// The first part that an automaton cannot run.
        part: &'static str,
        /// How long the line is, in bytes.
        bytes: usize,
        /// How it begins.
        line: String,
    },
    /// Every line of the log must be looked at.
    EveryLine(Exact),
}

impl Fault {
    /// The line that frames somebody, if there is one.
    pub fn forged(&self) -> Option<&Forged> {
        match self {
            Fault::Unanchored { forged }
            | Fault::Before { forged, .. }
            | Fault::Behind { forged, .. } => Some(forged),
            Fault::Backtracks { .. } | Fault::StepLimit { .. } | Fault::EveryLine(_) => None,
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pattern.as_str() {
            "" => write!(f, "{}: {}", self.place, self.fault),
            pattern => write!(f, "{} `{pattern}`: {}", self.place, self.fault),
        }
    }
}

impl fmt::Display for Forged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` blames {}", quoted(&self.line), self.blamed)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Unanchored { forged } => write!(
                f,
                "can be framed, since it matches anywhere in a line, also what a stranger had \
                 written there: {forged}; begin it with `^` and the words that the server \
                 writes first"
            ),
            Fault::Before {
                field,
                open: true,
                forged,
            } => write!(
                f,
                "can be framed by whoever writes what `{field}` before the address takes: \
                 {forged}; go on behind the address to the end of the line, with words that \
                 only the server writes there and `$`"
            ),
            Fault::Before { field, forged, .. } => write!(
                f,
                "can be framed by whoever writes what `{field}` before the address takes: \
                 {forged}; write instead of `{field}` what cannot hold the mark that ends it, \
                 as `[^']*` between quotes"
            ),
            Fault::Behind {
                field,
                behind: Some(behind),
                forged,
            } => write!(
                f,
                "can be framed by whoever writes what `{behind}` behind the address takes, since \
                 `{field}` before it may take the true one: {forged}; write instead of \
                 `{field}` what cannot hold the mark that ends it, as `[^']*` between quotes"
            ),
            Fault::Behind {
                field,
                behind: None,
                forged,
            } => write!(
                f,
                "can be framed by whoever writes what follows the pattern's end, since \
                 `{field}` before the address may take the true one: {forged}; end it with \
                 `$` behind all that the server writes"
            ),
            Fault::Backtracks { part } => write!(
                f,
                "takes the slow path, since no automaton can run {part}; its steps are counted, \
                 and none of the lines that were tried used them up"
            ),
            Fault::StepLimit { part, bytes, line } => write!(
                f,
                "can run into the step limit, since no automaton can run {part} and it repeats \
                 what can be read in many ways: a line of {bytes} bytes that begins `{line}` \
                 is given up; do without {part}, or bound the repetition as in `{{0,99}}`"
            ),
            Fault::EveryLine(exact) => {
                write!(f, "every line is looked at, a slow path, since {exact}")
            }
        }
    }
}

/// What is unwise in the filter's patterns, in their order; at most one way to frame
/// each. Takes milliseconds for most filters.
///
/// # Errors
/// The filter cannot be compiled.
pub fn lint(text: &FilterText) -> Result<Vec<Finding>, FilterError> {
    let filter = Arc::new(Filter::compile(text)?);
    let mut findings = Vec::new();
    if let Some(exact) = filter.exact() {
        findings.push(finding("the filter", "", Fault::EveryLine(exact)));
    }
    let judge = Judge { filter: &filter };
    let gives_up = |line: &str| judge.look(line).1;
    let prefix = filter.prefregex.as_ref().zip(text.prefregex.as_ref());
    let prefix_tree = prefix.and_then(|(form, _)| tree(form, false));
    let failregexes = filter.failregex.iter().zip(&text.failregex);
    for (place, (form, written)) in failregexes.enumerate() {
        let Some(failregex) = tree(form, filter.maxlines() > 1) else {
            continue;
        };
        let source = Source::new(prefix_tree.as_ref(), &failregex);
        if let (0, Some((form, written)), Some(tree)) = (place, prefix, &prefix_tree) {
            let fault = slow::fault(&source, &tree.root, &form.pattern, &gives_up);
            findings.extend(fault.map(|fault| finding("prefregex", written, fault)));
        }
        let slow = slow::fault(&source, &failregex.root, &form.pattern, &gives_up);
        let faults = [frame::fault(&source, judge), slow].into_iter().flatten();
        let place = format!("failregex {}", place + 1);
        findings.extend(faults.map(|fault| finding(&place, written, fault)));
    }
    let ignoreregexes = filter.ignoreregex.iter().zip(&text.ignoreregex);
    for (place, (form, written)) in ignoreregexes.enumerate() {
        let Some(tree) = tree(form, false) else {
            continue;
        };
        let gives_up = |line: &str| form.pattern.is_match(line).is_err();
        let source = Source::new(None, &tree);
        let fault = slow::fault(&source, &tree.root, &form.pattern, &gives_up);
        let place = format!("ignoreregex {}", place + 1);
        findings.extend(fault.map(|fault| finding(&place, written, fault)));
    }
    Ok(findings)
}

fn finding(place: &str, pattern: &str, fault: Fault) -> Finding {
    Finding {
        place: place.to_owned(),
        pattern: quoted(pattern),
        fault,
    }
}

/// The tree of a pattern that was compiled before.
fn tree(form: &Form, several: bool) -> Option<Tree> {
    let tree = dialect::parse(form.pattern.as_str(), several).ok()?;
    let root: Node = simplify(&tree.root);
    Some(Tree { root, ..tree })
}

/// A text for one line of a terminal: newlines are written as `\n`, other control
/// characters left out, and the middle of a long one as well.
fn quoted(text: &str) -> String {
    let mut shown = text.replace('\n', "\\n");
    shown.retain(|char| !char.is_control());
    let count = shown.chars().count();
    if count <= QUOTED_CHARS_MAX {
        return shown;
    }
    let half = QUOTED_CHARS_MAX / 2;
    let head: String = shown.chars().take(half).collect();
    let tail: String = shown.chars().skip(count - half).collect();
    format!("{head}…{tail}")
}

/// Lets the filter itself judge lines.
#[derive(Clone, Copy)]
struct Judge<'f> {
    filter: &'f Arc<Filter>,
}

impl Judge<'_> {
    /// Whom the line blames, and whether a search was given up. A newline within ends
    /// a line.
    fn look(self, text: &str) -> (Option<String>, bool) {
        let mut follower = Follower::new(Arc::clone(self.filter));
        let mut blamed = None;
        for line in text.split('\n') {
            let shown = format!("{line}\n");
            let seen = Seen {
                dated: true,
                text: &shown,
                line,
                time: Time::from_micros(0),
                now: Time::from_micros(0),
                around: Around::default(),
            };
            follower.line(seen, Ask::First, &mut |found| blamed = found.failure_id());
        }
        (blamed, follower.given_up() > 0)
    }

    fn blames(self, text: &str, host: &str) -> bool {
        self.look(text).0.as_deref() == Some(host)
    }
}

#[cfg(test)]
mod tests;
