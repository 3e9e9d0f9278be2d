//! The two usual layouts at a line's beginning, read by hand.
//!
//! This runs for nearly every line that is looked at, so it is written for speed:
//!
//! - `2026-11-22 07:50:06`, also with `/` or `.`, with `T`, with a fraction, with a
//!   zone (`Z`, `UTC`, `GMT`, `+02`, `+0200`, `+02:00`);
//! - `Nov 22 07:50:06`, also with a weekday in front, a fraction, a year behind.
//!
//! What is read here, the template of that layout would read in the same way, and
//! no other template for the line's beginning matches such a line; the tests
//! compare them. Whatever is in the least unusual is left to the templates, so
//! `None` says nothing about the line; a character beyond ASCII anywhere near the date
//! is unusual, since it may be a digit or a blank as well.

use super::defaults::{ISO, SYSLOG};
use super::stamp::{Civil, Stamp};
use super::template::Hit;
use super::token::{DAYS, MONTHS, Years};

/// Characters before the date that are no part of a word.
const BEFORE_MAX: usize = 2;

/// The place of the layout in the list of defaults, and the hit.
pub(super) fn read(line: &str, years: Years) -> Option<(usize, Hit)> {
    let bytes = line.as_bytes();
    let start = bytes
        .iter()
        .take(BEFORE_MAX + 1)
        .position(|byte| is_word(*byte))?;
    let mut cursor = Cursor {
        bytes,
        at: start,
        years,
        foreign: false,
    };
    let (layout, civil) = match bytes[start] {
        b'0'..=b'9' => (ISO, iso(&mut cursor)?),
        b'A'..=b'Z' | b'a'..=b'z' => (SYSLOG, syslog(&mut cursor)?),
        _ => return None,
    };
    let end = cursor.at;
    (cursor.at_edge() && !cursor.foreign).then_some((
        layout,
        Hit {
            whole: 0..end,
            date: start..end,
            stamp: Stamp::Civil(civil),
        },
    ))
}

/// Part of a word; a byte of a character that is not ASCII may be, so it counts.
fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

fn iso(cursor: &mut Cursor<'_>) -> Option<Civil> {
    let year = 100 * i16::from(cursor.two()?) + i16::from(cursor.two()?);
    let separator = cursor.take(|byte| matches!(byte, b'-' | b'/' | b'.'))?;
    let month = cursor.two()?;
    cursor.take(|byte| byte == separator)?;
    let day = cursor.two()?;
    if cursor.take(|byte| byte == b'T').is_none() {
        cursor.take(|byte| byte == b' ')?;
        cursor.take(|byte| byte == b' ');
    }
    let clock = cursor.clock()?;
    cursor.fraction(b".,")?;
    let offset_secs = cursor.zone()?;
    let usual = cursor.years.contains(year) && (1..=12).contains(&month) && (1..=31).contains(&day);
    usual.then_some(Civil {
        year: Some(year),
        month: Some(month),
        day: Some(day),
        clock,
        offset_secs,
        ..Civil::default()
    })
}

fn syslog(cursor: &mut Cursor<'_>) -> Option<Civil> {
    let weekday = cursor.name(&DAYS);
    if weekday.is_some() {
        cursor.take(|byte| byte == b' ')?;
    }
    let month = cursor.name(&MONTHS)? + 1;
    cursor.take(|byte| byte == b' ')?;
    let day = match cursor.take(|byte| byte == b' ') {
        Some(_) => cursor.one()?,
        None => cursor.two()?,
    };
    cursor.take(|byte| byte == b' ')?;
    let clock = cursor.clock()?;
    cursor.fraction(b".")?;
    let year = cursor.year();
    (1..=31).contains(&day).then_some(Civil {
        year,
        month: Some(month),
        day: Some(day),
        weekday,
        clock,
        ..Civil::default()
    })
}

/// Reads forward through a line.
struct Cursor<'l> {
    bytes: &'l [u8],
    at: usize,
    years: Years,
    /// Was a character beyond ASCII met, if only to see that something ends before it?
    foreign: bool,
}

impl Cursor<'_> {
    fn peek(&mut self) -> Option<u8> {
        self.peek_at(self.at)
    }

    fn peek_at(&mut self, at: usize) -> Option<u8> {
        let byte = self.bytes.get(at).copied();
        self.foreign |= byte.is_some_and(|byte| byte >= 0x80);
        byte
    }

    fn take(&mut self, wanted: impl Fn(u8) -> bool) -> Option<u8> {
        let byte = self.peek().filter(|byte| wanted(*byte))?;
        self.at += 1;
        Some(byte)
    }

    /// Does a word end here, if one stands before?
    fn at_edge(&mut self) -> bool {
        !self.peek().is_some_and(is_word)
    }

    fn one(&mut self) -> Option<i8> {
        let digit = self.take(|byte| byte.is_ascii_digit())?;
        i8::try_from(digit - b'0').ok()
    }

    fn two(&mut self) -> Option<i8> {
        Some(self.one()? * 10 + self.one()?)
    }

    fn clock(&mut self) -> Option<[i8; 3]> {
        let hour = self.two().filter(|hour| *hour < 24)?;
        self.take(|byte| byte == b':')?;
        let minute = self.two().filter(|minute| *minute < 60)?;
        self.take(|byte| byte == b':')?;
        Some([hour, minute, self.two().filter(|second| *second < 60)?])
    }

    /// Passes over one of `points` and one to six digits, if they stand here. More
    /// digits are unusual.
    fn fraction(&mut self, points: &[u8]) -> Option<()> {
        let point = self.peek().is_some_and(|byte| points.contains(&byte));
        if !point {
            return Some(());
        }
        let first = self.at + 1;
        let digit =
            |cursor: &mut Self, at| cursor.peek_at(at).is_some_and(|byte| byte.is_ascii_digit());
        let digits = (0..7)
            .take_while(|place| digit(self, first + place))
            .count();
        match digits {
            0 => Some(()),
            1..=6 => {
                self.at += 1 + digits;
                Some(())
            }
            _ => None,
        }
    }

    /// A zone, if one stands here, with blanks in front or not: seconds east of UTC.
    /// Without one the cursor stays. `None` if it is hard to say.
    fn zone(&mut self) -> Option<Option<i32>> {
        let start = self.at;
        while self.take(|byte| byte == b' ').is_some() {}
        if self.peek().is_some_and(|byte| byte.is_ascii_control()) {
            return None;
        }
        let found = self.zone_here();
        if found.is_none() {
            self.at = start;
        }
        Some(found)
    }

    fn zone_here(&mut self) -> Option<i32> {
        for name in [b"Z".as_slice(), b"UTC", b"GMT"] {
            if self.bytes[self.at..].starts_with(name) {
                self.at += name.len();
                return self.at_edge().then_some(0);
            }
        }
        let sign = match self.take(|byte| byte == b'+' || byte == b'-')? {
            b'+' => 1,
            _ => -1,
        };
        let hours = self.two().filter(|hours| *hours < 20)?;
        let before_minutes = self.at;
        self.take(|byte| byte == b':');
        let minutes = self.two().filter(|_| self.at_edge()).unwrap_or_else(|| {
            self.at = before_minutes;
            0
        });
        let secs = i32::from(hours) * 3_600 + i32::from(minutes) * 60;
        self.at_edge().then_some(sign * secs)
    }

    /// A blank and a year, if they stand here.
    fn year(&mut self) -> Option<i16> {
        let start = self.at;
        let found = self.year_here();
        if found.is_none() {
            self.at = start;
        }
        found
    }

    fn year_here(&mut self) -> Option<i16> {
        self.take(|byte| byte == b' ')?;
        let year = 100 * i16::from(self.two()?) + i16::from(self.two()?);
        (self.at_edge() && self.years.contains(year)).then_some(year)
    }

    /// The place in `names` of the three letters that stand here, from 0.
    fn name(&mut self, names: &[&str]) -> Option<i8> {
        let here = self.bytes.get(self.at..self.at + 3)?;
        let same = |name: &&str| name.as_bytes()[..3].eq_ignore_ascii_case(here);
        let place = names.iter().position(same)?;
        self.at += 3;
        i8::try_from(place).ok()
    }
}
