//! The flags of a pattern: `(?i)`, `(?s:…)`, `(?-i:…)`.

use super::error::DialectErrorKind as Kind;
use super::parse::{Parser, Result};

/// Which flags hold at a place.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Flags {
    /// `i`: case does not matter.
    pub(super) ignorecase: bool,
    /// `m`: `^` and `$` are edges of lines.
    pub(super) multiline: bool,
    /// `s`: `.` is any character.
    pub(super) dotall: bool,
    /// `x`: blanks and comments are not part of the pattern.
    pub(super) verbose: bool,
    /// `a`: `\w \d \s \b` and case know ASCII only.
    pub(super) ascii: bool,
    /// `u`: the contrary of `a`, and the default.
    pub(super) unicode: bool,
}

impl Flags {
    fn set(&mut self, letter: char, value: bool) -> bool {
        let flag = match letter {
            'i' => &mut self.ignorecase,
            'm' => &mut self.multiline,
            's' => &mut self.dotall,
            'x' => &mut self.verbose,
            'a' => &mut self.ascii,
            'u' => &mut self.unicode,
            _ => return false,
        };
        *flag = value;
        true
    }
}

/// What a `(?…` with flags is.
pub(super) enum FlagGroup {
    /// `(?i)`: they hold for the whole pattern.
    Global(Flags),
    /// `(?i-s:`: they hold up to the `)`.
    Scoped(Flags),
}

/// Reads flags after `(?`, up to and including `)` or `:`.
pub(super) fn parse_flags(parser: &mut Parser<'_>, outer: Flags) -> Result<FlagGroup> {
    let start = parser.pos();
    let mut flags = outer;
    let (mut added, mut removed) = (Vec::new(), Vec::new());
    let mut adding = true;
    loop {
        let Some(letter) = parser.take_char()? else {
            return parser.fail_at(start, Kind::BadFlags("after the letters comes `:` or `)`"));
        };
        match letter {
            ')' if adding && !added.is_empty() => break,
            ':' if adding || !removed.is_empty() => break,
            '-' if adding => adding = false,
            'L' => {
                return parser
                    .fail_at(start, Kind::BadFlags("`L` is for bytes, and logs are text"));
            }
            'a' | 'u' if !adding => {
                return parser.fail_at(start, Kind::BadFlags("`a` and `u` cannot be turned off"));
            }
            letter if flags.set(letter, adding) => {
                if adding { &mut added } else { &mut removed }.push(letter);
            }
            _ => {
                return parser.fail_at(
                    start,
                    Kind::BadFlags("the letters are `a i m s u x`, then comes `-`, `:` or `)`"),
                );
            }
        }
    }
    let global = adding && parser.previous_is(')');
    check_flags(parser, start, &added, &removed, outer, global)?;
    if added.contains(&'u') {
        flags.ascii = false;
    }
    Ok(if global {
        FlagGroup::Global(flags)
    } else {
        FlagGroup::Scoped(flags)
    })
}

fn check_flags(
    parser: &Parser<'_>,
    start: usize,
    added: &[char],
    removed: &[char],
    outer: Flags,
    global: bool,
) -> Result<()> {
    let both = added.contains(&'a') && added.contains(&'u');
    let clash = (added.contains(&'a') && outer.unicode) || (added.contains(&'u') && outer.ascii);
    if both || (global && clash) {
        return parser.fail_at(start, Kind::BadFlags("`a` and `u` exclude each other"));
    }
    if added.iter().any(|letter| removed.contains(letter)) {
        return parser.fail_at(start, Kind::BadFlags("one is turned on and off"));
    }
    Ok(())
}
