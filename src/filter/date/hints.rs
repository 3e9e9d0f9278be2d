//! What a line holds, at a glance: so most templates need not be tried at all.
//!
//! A template names what every text that it matches must hold; a line is looked
//! over once, and only templates whose needs it meets are run. A hint may be
//! set in vain, it is never missing. Where a line's beginning is not ASCII, all
//! hints are set that could be, and all at once where it has a digit beyond ASCII.

use super::token::MONTHS;
use crate::filter::dialect::CharSet;

/// Things that a line can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hints(u16);

/// How far in a template for the line's beginning may have its first letter or
/// digit: two characters that belong to no word, and the blank of a padded day or
/// the sign of an offset.
const LEAD_MAX: usize = 3;

impl Hints {
    /// Whatever could be asked for.
    const ALL: Hints = Hints(u16::MAX);
    /// Nothing.
    pub(super) const NONE: Hints = Hints(0);
    /// Two colons between digits, two digits at most apart.
    pub(super) const CLOCK: Hints = Hints(1);
    /// A month's name, or its first three letters.
    pub(super) const MONTH: Hints = Hints(2);
    /// `-`, `/` or `.` between digits.
    pub(super) const SEPARATOR: Hints = Hints(4);
    /// Six digits in a row.
    pub(super) const SIX: Hints = Hints(8);
    /// Ten digits in a row.
    pub(super) const TEN: Hints = Hints(16);
    /// An `@` before a digit or a letter.
    pub(super) const AT: Hints = Hints(32);
    /// A digit near the beginning, with no letter before it.
    pub(super) const LEADING_DIGIT: Hints = Hints(64);
    /// A letter near the beginning, with no digit before it.
    pub(super) const LEADING_LETTER: Hints = Hints(128);

    /// Both.
    pub(super) const fn and(self, other: Hints) -> Hints {
        Hints(self.0 | other.0)
    }

    /// Are all of `needs` here?
    pub(super) fn meet(self, needs: Hints) -> bool {
        self.0 & needs.0 == needs.0
    }

    /// What `line` holds.
    pub(super) fn of(line: &str) -> Hints {
        let bytes = line.as_bytes();
        let ascii = line.is_ascii();
        if !ascii && has_foreign_digit(line) {
            return Hints::ALL;
        }
        let mut hints = leading(bytes);
        let digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
        let mut run = 0;
        let mut colon = None;
        for (at, byte) in bytes.iter().enumerate() {
            if byte.is_ascii_digit() {
                run += 1;
                hints = hints
                    .if_so(run >= 6, Hints::SIX)
                    .if_so(run >= 10, Hints::TEN);
                continue;
            }
            let between = run > 0 && digit(at + 1);
            match byte {
                b':' if between => {
                    let near = run <= 2 && colon.is_some_and(|colon: usize| colon + run + 1 == at);
                    hints = hints.if_so(near, Hints::CLOCK);
                    colon = Some(at);
                }
                b'-' | b'/' | b'.' => hints = hints.if_so(between, Hints::SEPARATOR),
                b'@' => hints = hints.and(Hints::AT),
                _ => {}
            }
            run = 0;
        }
        if hints.meet(Hints::CLOCK) {
            hints = hints.if_so(!ascii || has_month(bytes), Hints::MONTH);
        }
        hints
    }

    fn if_so(self, so: bool, other: Hints) -> Hints {
        if so { self.and(other) } else { self }
    }
}

/// Is a decimal digit beyond ASCII in it? The templates take those as well.
fn has_foreign_digit(line: &str) -> bool {
    let mut foreign = line.chars().filter(|char| !char.is_ascii());
    let digits = CharSet::digit(false);
    foreign.any(|char| digits.contains(char))
}

fn leading(bytes: &[u8]) -> Hints {
    let lead = bytes.iter().take(LEAD_MAX + 1);
    for byte in lead {
        match byte {
            b'0'..=b'9' => return Hints::LEADING_DIGIT,
            b'A'..=b'Z' | b'a'..=b'z' | b'_' => return Hints::LEADING_LETTER,
            0x80.. => return Hints::LEADING_DIGIT.and(Hints::LEADING_LETTER),
            _ => {}
        }
    }
    Hints::NONE
}

/// Is a month's name in it? Only its first three letters are looked at.
fn has_month(bytes: &[u8]) -> bool {
    bytes.windows(3).any(|three| {
        let lower = [three[0] | 0x20, three[1] | 0x20, three[2] | 0x20];
        matches!(
            lower[0],
            b'j' | b'f' | b'm' | b'a' | b's' | b'o' | b'n' | b'd'
        ) && MONTHS
            .iter()
            .any(|name| name.as_bytes()[..3].eq_ignore_ascii_case(&lower))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints() {
        for (line, hints) in [
            ("", Hints::NONE),
            ("no date: at all", Hints::LEADING_LETTER),
            ("---7", Hints::LEADING_DIGIT),
            ("----7", Hints::NONE),
            ("7:50:06", Hints::LEADING_DIGIT.and(Hints::CLOCK)),
            ("x7:50", Hints::LEADING_LETTER),
            ("7:500:06", Hints::LEADING_DIGIT),
            ("::7:5:0", Hints::LEADING_DIGIT.and(Hints::CLOCK)),
            (
                "oCT 7:50:06",
                Hints::LEADING_LETTER.and(Hints::CLOCK).and(Hints::MONTH),
            ),
            ("1-2", Hints::LEADING_DIGIT.and(Hints::SEPARATOR)),
            ("-@x", Hints::LEADING_LETTER.and(Hints::AT)),
            ("....123456", Hints::SIX),
            ("....1234567890", Hints::SIX.and(Hints::TEN)),
            ("é", Hints::LEADING_DIGIT.and(Hints::LEADING_LETTER)),
            ("²½", Hints::LEADING_DIGIT.and(Hints::LEADING_LETTER)),
            ("x ٣", Hints::ALL),
        ] {
            assert_eq!(Hints::of(line), hints, "{line}");
        }
    }
}
