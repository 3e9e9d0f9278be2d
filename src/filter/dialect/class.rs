//! Classes: `[a-z\d]`.
//!
//! There are no classes in classes and no set operators: `[[]`, `[a&&b]` and
//! `[a--b]` are lists of characters, as in Python.

use super::error::DialectErrorKind as Kind;
use super::escape::{Escape, parse_class_escape};
use super::flags::Flags;
use super::parse::{Parser, Result, Token};
use super::sets::CharSet;
use super::tree::Node;

/// One member: a character or `\d` and the like.
enum Member {
    Char(char),
    Set(CharSet),
}

/// Reads a class whose `[` was at `at`.
pub(super) fn parse_class(parser: &mut Parser<'_>, at: usize, flags: &Flags) -> Result<Node> {
    let negated = parser.eat('^');
    let mut ranges: Vec<(char, char)> = Vec::new();
    let mut categories: Option<CharSet> = None;
    let mut add = |member, ranges: &mut Vec<_>| match member {
        Member::Char(char) => ranges.push((char, char)),
        Member::Set(set) => {
            categories = Some(match &categories {
                Some(other) => other.union(&set),
                None => set,
            });
        }
    };
    let mut empty = true;
    loop {
        // A `]` that comes first is a member.
        if !empty && parser.eat(']') {
            break;
        }
        empty = false;
        let member_at = parser.pos();
        let low = member(parser, at, flags)?;
        if !parser.eat('-') {
            add(low, &mut ranges);
            continue;
        }
        if parser.eat(']') {
            add(low, &mut ranges);
            ranges.push(('-', '-'));
            break;
        }
        let high = member(parser, at, flags)?;
        match (low, high) {
            (Member::Char(low), Member::Char(high)) if low <= high => ranges.push((low, high)),
            _ => return parser.fail_at(member_at, Kind::BadRange(parser.since(member_at))),
        }
    }
    if let ([(low, high)], None, false) = (&ranges[..], &categories, negated || flags.ignorecase)
        && low == high
    {
        return Ok(Node::Char(*low));
    }
    Ok(Node::Set(finish(ranges, categories, negated, flags)))
}

fn finish(
    ranges: Vec<(char, char)>,
    categories: Option<CharSet>,
    negated: bool,
    flags: &Flags,
) -> CharSet {
    let listed = CharSet::new(ranges);
    let set = match categories {
        _ if flags.ignorecase => {
            let categories = categories.unwrap_or_else(|| CharSet::new([]));
            CharSet::folded(&listed, &categories, flags.ascii)
        }
        Some(categories) => categories.union(&listed),
        None => listed,
    };
    if negated { set.negated() } else { set }
}

fn member(parser: &mut Parser<'_>, at: usize, flags: &Flags) -> Result<Member> {
    let here = parser.pos();
    match parser.take()? {
        None => parser.fail_at(at, Kind::OpenClass),
        Some(Token::Plain(char)) => Ok(Member::Char(char)),
        Some(Token::Escaped(char)) => match parse_class_escape(parser, char, here, flags)? {
            Escape::Char(char) => Ok(Member::Char(char)),
            Escape::Set(set) => Ok(Member::Set(set)),
            // `\A`, `\B`, `\Z` were refused as unknown letters.
            Escape::Assert(_) | Escape::Group(_) => {
                parser.fail_at(here, Kind::BadEscape(parser.since(here)))
            }
        },
    }
}
