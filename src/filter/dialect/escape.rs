//! Escapes: a backslash and what follows it, outside and inside of classes.

use super::error::DialectErrorKind as Kind;
use super::flags::Flags;
use super::parse::{Parser, Result};
use super::sets::CharSet;
use super::tree::Assert;

/// What an escape stands for.
pub(super) enum Escape {
    /// One character.
    Char(char),
    /// `\d`, `\W`…
    Set(CharSet),
    /// `\b`, `\A`…
    Assert(Assert),
    /// `\1`.
    Group(u32),
}

/// Reads the rest of an escape that began at `at` with a backslash and `char`.
pub(super) fn parse_escape(
    parser: &mut Parser<'_>,
    char: char,
    at: usize,
    flags: &Flags,
) -> Result<Escape> {
    let ascii = flags.ascii;
    Ok(match char {
        'A' => Escape::Assert(Assert::TextStart),
        'Z' => Escape::Assert(Assert::TextEnd),
        'b' => Escape::Assert(Assert::Word { ascii }),
        'B' => Escape::Assert(Assert::NotWord { ascii }),
        '0' => {
            let digits = parser.take_while(2, is_octal);
            Escape::Char(from_code(parser, &digits, 8, at)?)
        }
        '1'..='9' => number(parser, char, at)?,
        _ => match category(char, ascii) {
            Some(set) => Escape::Set(set),
            None => Escape::Char(character(parser, char, at)?),
        },
    })
}

/// The same within a class, where `\b` is a backspace and there are no groups.
pub(super) fn parse_class_escape(
    parser: &mut Parser<'_>,
    char: char,
    at: usize,
    flags: &Flags,
) -> Result<Escape> {
    Ok(match char {
        'b' => Escape::Char('\x08'),
        '0'..='7' => {
            let digits = format!("{char}{}", parser.take_while(2, is_octal));
            Escape::Char(from_code(parser, &digits, 8, at)?)
        }
        '8' | '9' => return parser.fail_at(at, Kind::BadCode(parser.since(at))),
        _ => match category(char, flags.ascii) {
            Some(set) => Escape::Set(set),
            None => Escape::Char(character(parser, char, at)?),
        },
    })
}

fn category(char: char, ascii: bool) -> Option<CharSet> {
    Some(match char {
        'd' => CharSet::digit(ascii),
        'D' => CharSet::digit(ascii).negated(),
        'w' => CharSet::word(ascii),
        'W' => CharSet::word(ascii).negated(),
        's' => CharSet::space(ascii),
        'S' => CharSet::space(ascii).negated(),
        _ => return None,
    })
}

/// Escapes that mean one character everywhere.
fn character(parser: &mut Parser<'_>, char: char, at: usize) -> Result<char> {
    Ok(match char {
        'a' => '\x07',
        'f' => '\x0c',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'v' => '\x0b',
        'x' => hex(parser, 2, at)?,
        'u' => hex(parser, 4, at)?,
        'U' => hex(parser, 8, at)?,
        'N' => return parser.fail_at(at, Kind::NamedChar),
        char if char.is_ascii_alphabetic() => {
            return parser.fail_at(at, Kind::BadEscape(parser.since(at)));
        }
        char => char,
    })
}

fn hex(parser: &mut Parser<'_>, count: usize, at: usize) -> Result<char> {
    let digits = parser.take_while(count, |char| char.is_ascii_hexdigit());
    if digits.len() != count {
        return parser.fail_at(at, Kind::BadCode(parser.since(at)));
    }
    from_code(parser, &digits, 16, at)
}

/// `\12` is group 12, but `\123` is a character in octal.
fn number(parser: &mut Parser<'_>, first: char, at: usize) -> Result<Escape> {
    let mut digits = String::from(first);
    let second = parser.take_while(1, |char| char.is_ascii_digit());
    digits.push_str(&second);
    if digits.len() == 2 && digits.chars().all(is_octal) {
        let third = parser.take_while(1, is_octal);
        if !third.is_empty() {
            digits.push_str(&third);
            return Ok(Escape::Char(from_code(parser, &digits, 8, at)?));
        }
    }
    match digits.parse() {
        Ok(group) => Ok(Escape::Group(group)),
        Err(_) => parser.fail_at(at, Kind::UnknownGroup(digits)),
    }
}

fn from_code(parser: &Parser<'_>, digits: &str, radix: u32, at: usize) -> Result<char> {
    let code = if digits.is_empty() {
        Ok(0)
    } else {
        u32::from_str_radix(digits, radix)
    };
    let shown = || parser.since(at);
    match code {
        Ok(0xd800..=0xdfff) => parser.fail_at(at, Kind::Surrogate(shown())),
        Ok(code) if radix == 16 || code <= 0o377 => match char::from_u32(code) {
            Some(char) => Ok(char),
            None => parser.fail_at(at, Kind::BadCode(shown())),
        },
        _ => parser.fail_at(at, Kind::BadCode(shown())),
    }
}

fn is_octal(char: char) -> bool {
    ('0'..='7').contains(&char)
}
