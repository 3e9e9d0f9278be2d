//! Can a pattern be made to blame somebody else?
//!
//! Two readings of a line are needed for it: the true one, and one in which a part
//! that a stranger wrote is taken for what the server writes around the address. So
//! the pattern's own words, with another address in them, are put where a stranger may
//! write, and the filter says which address it finds.

use super::sample::{Piece, Source, VARIANTS, text};
use super::{Fault, Forged, Judge};
use crate::filter::dialect::{CharSet, Mode, Node, Repeat};

/// The true address, and that of the stranger's choice.
const TRUE: &str = "198.51.100.7";
const FRAMED: &str = "203.0.113.66";
const TRUE6: &str = "2001:db8::7";
const FRAMED6: &str = "2001:db8:bad::66";

/// What a stranger may have written into another line of the server's. No prefix of
/// a log takes all of it.
const STRANGE: &str = "said, 'x y' [z] (\"a\"): = 1; ";

/// Repetitions up to this many times are not taken for text.
const TEXT_CHARS_MIN: u32 = 12;

/// How many of the 32 marks of ASCII a set holds that is meant for text.
const MARKS_MIN: usize = 20;

/// So many letters that the server always writes stand before what a stranger does;
/// what comes earlier is the prefix of the log: host, process, thread.
const LETTERS_MIN: usize = 3;

/// The most fields that are looked at on each side.
const FIELDS_MAX: usize = 12;

/// The way to frame this pattern that was found first.
pub(super) fn fault(source: &Source<'_>, judge: Judge<'_>) -> Option<Fault> {
    let framer = Framer::new(source, judge)?;
    framer
        .unanchored()
        .or_else(|| framer.before())
        .or_else(|| framer.behind())
}

struct Framer<'s, 't> {
    source: &'s Source<'t>,
    judge: Judge<'s>,
    honest: &'static str,
    framed: &'static str,
    variant: usize,
    /// May anything follow?
    open: bool,
    /// Fields in which a stranger may write.
    fields: Vec<&'t Node>,
}

impl<'s, 't> Framer<'s, 't> {
    /// `None` if no line was found that it matches.
    fn new(source: &'s Source<'t>, judge: Judge<'s>) -> Option<Framer<'s, 't>> {
        let (honest, framed) = match source.six() {
            true => (TRUE6, FRAMED6),
            false => (TRUE, FRAMED),
        };
        let line = |variant: usize| Some(text(&source.line(&[], variant, "")?, honest));
        let matches =
            |variant: &usize| line(*variant).is_some_and(|line| judge.blames(&line, honest));
        let variant = (0..VARIANTS).find(matches)?;
        let honest_line = line(variant)?;
        let follows = |more: &&str| judge.blames(&format!("{honest_line} {more}"), honest);
        let open = ["and more", STRANGE].iter().any(follows);
        let mut fields = source.repeats(&is_text);
        fields.truncate(2 * FIELDS_MAX);
        Some(Framer {
            source,
            judge,
            honest,
            framed,
            variant,
            open,
            fields,
        })
    }

    /// Nothing holds it at the start of the line, or of the content.
    fn unanchored(&self) -> Option<Fault> {
        let whole = text(&self.source.line(&[], self.variant, "")?, self.framed);
        let within = text(&self.source.line(&[], self.variant, STRANGE)?, self.framed);
        // A newline is the server's: the line with the address is what counts.
        let at = whole
            .find(self.framed)
            .and_then(|at| Some(whole.get(..at)?.rfind('\n')? + 1));
        let (head, tail) = whole.split_at_checked(at.unwrap_or(0))?;
        let before = format!("{head}{STRANGE}{tail}");
        let mut lines = vec![before];
        lines.extend((!whole.contains('\n')).then_some(within));
        let line = lines
            .iter()
            .find(|line| self.judge.blames(line, self.framed))?;
        let forged = self.forged_line(line);
        Some(Fault::Unanchored { forged })
    }

    /// A field before the address holds what the server writes around addresses.
    fn before(&self) -> Option<Fault> {
        self.fields.iter().rev().find_map(|field| {
            let pieces = self.source.line(&[field], self.variant, "")?;
            let (at, host) = (place(&pieces, field)?, host(&pieces)?);
            let Some(Piece::Part { letters, aside, .. }) = pieces.get(at) else {
                return None;
            };
            if at > host || *letters < LETTERS_MIN || !self.counts(field) {
                return None;
            }
            let between = text(pieces.get(at + 1..host)?, "");
            if !takes_anything(field) && (*aside || is_name_of_host(&between)) {
                return None;
            }
            let head = text(pieces.get(..=at)?, self.honest);
            let rest = text(pieces.get(at + 1..)?, self.honest);
            let forged = self.forged(&pieces, at, field);
            let lines = forged
                .iter()
                .flat_map(|forged| ["", " "].map(|blank| format!("{head}{forged}{blank}{rest}")));
            Some(Fault::Before {
                field: shown(field),
                open: self.open,
                forged: self.framing(lines)?,
            })
        })
    }

    /// A field before the address takes the true one; the other stands behind it.
    fn behind(&self) -> Option<Fault> {
        // The nearest one needs the least forged text, so it is the one to blame.
        self.fields
            .iter()
            .rev()
            .filter(|field| self.counts(field))
            .find_map(|field| {
                let pieces = self.source.line(&[field], self.variant, "")?;
                let at = place(&pieces, field).filter(|at| Some(*at) < host(&pieces))?;
                // One word is one word: only what takes a blank, too, holds a forged message.
                let holds =
                    |behind: &&&'t Node| set_of(behind).is_some_and(|set| set.contains(' '));
                let mut behind = self.fields.iter().filter(holds);
                let found = behind.find_map(|behind| self.behind_at(field, behind));
                found.or_else(|| {
                    // A field that may be missing is missing in the true reading.
                    let without = self.source.line(&[], self.variant, "")?;
                    let honest = [&pieces, &without].map(|line| text(line, self.honest));
                    let forged = self.forged(&pieces, at, field);
                    let lines = forged.iter().flat_map(|forged| {
                        let after = |honest: &String| format!("{honest} x{forged}");
                        honest.each_ref().map(after)
                    });
                    Some(Fault::Behind {
                        field: shown(field),
                        behind: None,
                        forged: self.framing(lines.filter(|_| self.open))?,
                    })
                })
            })
    }

    fn behind_at(&self, field: &'t Node, behind: &'t Node) -> Option<Fault> {
        let whole = self.source.line(&[field, behind], self.variant, "")?;
        let forged = self.forged(&whole, place(&whole, field)?, field);
        let without = self.source.line(&[behind], self.variant, "")?;
        let honest = [whole, without].into_iter().filter_map(|pieces| {
            let at = place(&pieces, behind).filter(|at| Some(*at) > host(&pieces))?;
            let head = text(pieces.get(..=at)?, self.honest);
            Some((head, text(pieces.get(at + 1..)?, self.honest)))
        });
        let lines = honest.flat_map(|(head, rest)| {
            let around = |blank| {
                let whole = |forged: &String| format!("{head}{forged}{blank}{rest}");
                forged.iter().map(whole).collect::<Vec<_>>()
            };
            ["", " "].map(around).concat()
        });
        Some(Fault::Behind {
            field: shown(field),
            behind: Some(shown(behind)),
            forged: self.framing(lines)?,
        })
    }

    /// Does this field count as one that a stranger can end or stretch? One that takes
    /// anything does; one that leaves a character out, only where anything may follow
    /// the pattern: else its author knows that the server lets that character not in.
    fn counts(&self, field: &Node) -> bool {
        self.open || takes_anything(field)
    }

    /// What the server writes behind `field`, which is piece `at`, with the address to
    /// be framed: all of it, or up to a field behind the address, which takes what follows.
    fn forged(&self, pieces: &[Piece<'t>], at: usize, field: &'t Node) -> Vec<String> {
        let rest = |pieces: &[Piece<'t>], at: usize| {
            let rest = pieces.get(at + 1..).unwrap_or_default();
            text(rest, self.framed)
        };
        let mut all = vec![rest(pieces, at)];
        for other in &self.fields {
            if std::ptr::eq(*other, field) {
                continue;
            }
            let line = self.source.line(&[field, other], self.variant, "");
            let Some(pieces) = line else {
                continue;
            };
            if let (Some(at), Some(end), Some(host)) =
                (place(&pieces, field), place(&pieces, other), host(&pieces))
                && host < end
                && let Some(until) = pieces.get(..=end)
            {
                all.push(rest(until, at));
            }
        }
        // Nobody but the server begins a new line.
        all.retain(|forged| !forged.contains('\n'));
        all
    }

    fn framing(&self, mut lines: impl Iterator<Item = String>) -> Option<Forged> {
        let line = lines.find(|line| self.judge.blames(line, self.framed))?;
        Some(self.forged_line(&line))
    }

    fn forged_line(&self, line: &str) -> Forged {
        Forged {
            line: line.to_owned(),
            blamed: self.framed,
        }
    }
}

fn place(pieces: &[Piece<'_>], wanted: &Node) -> Option<usize> {
    pieces
        .iter()
        .position(|piece| matches!(piece, Piece::Part { node, .. } if std::ptr::eq(*node, wanted)))
}

fn host(pieces: &[Piece<'_>]) -> Option<usize> {
    pieces.iter().position(|piece| matches!(piece, Piece::Host))
}

/// Is it meant for text of any length?
fn is_text(repeat: &Repeat) -> bool {
    repeat.max.is_none_or(|max| max >= TEXT_CHARS_MIN)
        && text_set(&repeat.body).is_some_and(|set| {
            let marks = ('!'..='~').filter(char::is_ascii_punctuation);
            let letters = ['a', 'z', '0', '9'].iter().all(|char| set.contains(*char));
            letters && marks.filter(|mark| set.contains(*mark)).count() >= MARKS_MIN
        })
}

/// Does the field take any character that a line may have?
fn takes_anything(field: &Node) -> bool {
    set_of(field).is_some_and(|set| (' '..='~').all(|char| set.contains(char)))
}

fn set_of(field: &Node) -> Option<&CharSet> {
    match field {
        Node::Repeat(repeat) => text_set(&repeat.body),
        _ => None,
    }
}

/// Is what stands before the address in brackets the name of the same host, as in
/// `from host.example[192.0.2.7]`? The system that found the name let no mark in.
fn is_name_of_host(between: &str) -> bool {
    let between = between.strip_suffix("::ffff:").unwrap_or(between);
    !between.is_empty() && between.chars().all(|char| " [(<".contains(char))
}

/// The set, if one character after the other is taken, whatever stands around it.
fn text_set(body: &Node) -> Option<&CharSet> {
    match body {
        Node::Set(set) => Some(set),
        Node::Group(_, body) => text_set(body),
        Node::Concat(parts) => {
            let mut taking = parts
                .iter()
                .filter(|part| !matches!(part, Node::Look { .. } | Node::Assert(_)));
            let only = taking.next().and_then(text_set);
            only.filter(|_| taking.next().is_none())
        }
        _ => None,
    }
}

/// A field, as it may have been written.
fn shown(field: &Node) -> String {
    let Node::Repeat(repeat) = field else {
        return String::new();
    };
    let set = set_of(field).map_or_else(String::new, shown_set);
    let count = match (repeat.min, repeat.max) {
        (0, None) => "*".to_owned(),
        (1, None) => "+".to_owned(),
        (min, None) => format!("{{{min},}}"),
        (min, Some(max)) => format!("{{{min},{max}}}"),
    };
    let mode = match repeat.mode {
        Mode::Greedy => "",
        Mode::Lazy => "?",
        Mode::Possessive => "+",
    };
    format!("{set}{count}{mode}")
}

fn shown_set(set: &CharSet) -> String {
    if set.same(&CharSet::not_newline()) || set.same(&CharSet::all()) {
        return ".".to_owned();
    }
    if set.same(&CharSet::space(false).negated()) {
        return r"\S".to_owned();
    }
    let left_out: String = ('\t'..='~')
        .filter(|char| (*char >= ' ' || "\t\n".contains(*char)) && !set.contains(*char))
        .flat_map(|char| {
            char.escape_default()
                .filter(move |mark| *mark != '\\' || !char.is_ascii_punctuation())
        })
        .collect();
    format!("[^{left_out}]")
}
