//! Which part of a pattern only the backtracker can run, and whether a line can use
//! up its steps.

use super::sample::{Piece, Source, VARIANTS, text};
use super::{Fault, quoted};
use crate::filter::dialect::{Mode, Node};
use crate::filter::pattern::Pattern;

/// The longest line that a log's reader hands on.
const LINE_BYTES: usize = 64 * 1024;

/// The most repetitions of a pattern that are tried. Each try costs some milliseconds.
const REPEATS_MAX: usize = 24;

/// How much of a line is shown, in characters; the rest is the same again.
const SHOWN_CHARS: usize = 60;

/// A letter that is not in ASCII.
const BEYOND_ASCII: &str = "é";

/// What is unwise in `pattern`, whose tree is `root`, one of the two of the source;
/// `gives_up` says whether a line uses up the steps.
pub(super) fn fault<'t>(
    source: &Source<'t>,
    root: &'t Node,
    pattern: &Pattern,
    gives_up: &dyn Fn(&str) -> bool,
) -> Option<Fault> {
    let part = match irregular(root) {
        Some(part) => part,
        None if !pattern.knows_words() => r"`\b` beyond ASCII",
        None => return None,
    };
    let repeats = Source::repeats_in(root).into_iter();
    let unbounded = |node: &&Node| matches!(node, Node::Repeat(repeat) if repeat.max.is_none());
    let mut repeats = repeats.filter(unbounded).take(REPEATS_MAX);
    match repeats.find_map(|repeat| exhausting(source, repeat, gives_up)) {
        Some(line) => Some(Fault::StepLimit {
            part,
            bytes: line.len(),
            line: quoted(&line.chars().take(SHOWN_CHARS).collect::<String>()),
        }),
        None if pattern.is_regular() => None,
        None => Some(Fault::Backtracks { part }),
    }
}

/// A line that uses up the steps: this part of the pattern again and again, and then
/// what the pattern wants, or not quite.
fn exhausting<'t>(
    source: &Source<'t>,
    repeat: &'t Node,
    gives_up: &dyn Fn(&str) -> bool,
) -> Option<String> {
    for variant in [0, VARIANTS - 1] {
        let pieces = source.line(&[repeat], variant, "")?;
        let at = pieces.iter().position(
            |piece| matches!(piece, Piece::Part { node, .. } if std::ptr::eq(*node, repeat)),
        )?;
        let head = text(pieces.get(..at)?, "198.51.100.7");
        let unit = text(pieces.get(at..=at)?, "");
        let rest = text(pieces.get(at + 1..)?, "198.51.100.7");
        let units = [
            unit.clone(),
            unit.replacen('x', BEYOND_ASCII, 1),
            format!("{unit}{rest}"),
        ];
        for unit in units {
            let room = LINE_BYTES.saturating_sub(head.len() + rest.len() + 2);
            if unit.is_empty() || unit.contains('\n') {
                continue;
            }
            let pumped = unit.repeat(room / unit.len());
            let lines = [
                format!("{head}{pumped}{rest}"),
                format!("{head}{pumped}{rest}!"),
                format!("{head}{pumped}!{rest}"),
            ];
            if let Some(line) = lines.into_iter().find(|line| gives_up(line)) {
                return Some(line);
            }
        }
    }
    None
}

/// The first part that no automaton can run.
fn irregular(root: &Node) -> Option<&'static str> {
    let mut first = None;
    root.walk(&mut |node| {
        let part = match node {
            Node::Look {
                behind: None,
                negative,
                ..
            } => Some(if *negative { "`(?!…)`" } else { "`(?=…)`" }),
            Node::Look { negative, .. } => Some(if *negative {
                "`(?<!…)`"
            } else {
                "`(?<=…)`"
            }),
            Node::BackRef { .. } => Some("a back-reference"),
            Node::Cond { .. } => Some("`(?(group)…)`"),
            Node::Atomic(_) => Some("`(?>…)`"),
            Node::Repeat(repeat) if repeat.mode == Mode::Possessive => {
                Some("a possessive repetition")
            }
            _ => None,
        };
        first = first.or(part);
    });
    first
}
