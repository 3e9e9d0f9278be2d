//! What a line says of its time, and when that was.
//!
//! A [`Stamp`] is what stands in the line, in numbers; only with the present time
//! and a zone does it become a [`Time`]. What the line leaves out is taken from the
//! present: the year, or the day. Such a guess never lies in the future, except by
//! one day for a guessed year, since clocks differ. Fractions of a second are kept
//! for seconds since 1970 only, as fail2ban does.

use std::borrow::Cow;
use std::time::Duration;

use jiff::civil;
use jiff::tz::{Offset, TimeZone};
use jiff::{Span, Timestamp};

use super::token::{DAYS, MONTHS};
use super::zone;
use crate::filter::dialect::digit_value;
use crate::time::Time;

/// A date without a year that would lie further ahead than this is last year's.
const AHEAD_MAX: Duration = Duration::from_secs(86_400);

/// What a line says of its time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Stamp {
    /// A calendar date and time of day, or parts of them.
    Civil(Civil),
    /// Microseconds since 1970.
    Epoch(i64),
    /// It looks like a date and is none: a zone that nobody knows, an hour 29.
    Unreadable,
}

/// A calendar date and time of day; `None` where the line is silent.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Civil {
    /// The year, in full.
    pub year: Option<i16>,
    /// Month, from 1.
    pub month: Option<i8>,
    /// Day of the month, from 1.
    pub day: Option<i8>,
    /// Day of the year, from 1; serves where month or day is not known.
    pub yearday: Option<i16>,
    /// Week of the year and the day on which weeks begin, with `weekday`; serves where
    /// nothing else does.
    pub week: Option<(i8, WeekStart)>,
    /// Day of the week, from 0 for Monday.
    pub weekday: Option<i8>,
    /// Hour, minute and second; zero where the line is silent.
    pub clock: [i8; 3],
    /// Seconds east of UTC.
    pub offset_secs: Option<i32>,
}

/// The day on which weeks begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WeekStart {
    /// As `%U` counts.
    Sunday,
    /// As `%W` counts.
    Monday,
}

impl Stamp {
    /// When that was. `now` finds the year or the day where the line has none; `zone`
    /// serves where the line has no zone. `None` if there is no such time.
    pub fn time(&self, now: Time, zone: &TimeZone) -> Option<Time> {
        match self {
            Stamp::Epoch(micros) => Some(Time::from_micros(*micros)),
            Stamp::Civil(civil) => civil.time(now, zone),
            Stamp::Unreadable => None,
        }
    }

    /// From the named groups of a template that matched, in their order; a later one
    /// overrules an earlier one.
    pub(super) fn read<'g>(groups: impl Iterator<Item = (&'g str, &'g str)>) -> Stamp {
        let mut civil = Civil::default();
        let mut noon = Noon::default();
        for (name, text) in groups {
            if civil.take(name, &in_ascii(text), &mut noon).is_none() {
                return Stamp::Unreadable;
            }
        }
        if let Some(hour) = noon.hour() {
            civil.clock[0] = hour;
        }
        Stamp::Civil(civil)
    }
}

/// Halves of the day: the hour in `%I`, and `%p`, in whichever order.
#[derive(Default)]
struct Noon {
    twelve: Option<i8>,
    afternoon: bool,
}

impl Noon {
    /// The hour of 24; that of `13 pm` is no hour.
    fn hour(&self) -> Option<i8> {
        let hour = self.twelve?;
        Some(match (hour, self.afternoon) {
            (12, false) => 0,
            (12, true) | (_, false) => hour,
            (_, true) => hour + 12,
        })
    }
}

impl Civil {
    /// Takes one group. `None` if its text cannot be read.
    fn take(&mut self, name: &str, text: &str, noon: &mut Noon) -> Option<()> {
        match name {
            "Y" => self.year = Some(number(text)?),
            "y" => self.year = Some(number::<i16>(text)?.checked_add(2_000)?),
            "m" => self.month = Some(number(text)?),
            "b" | "B" => self.month = Some(place(text, &MONTHS)? + 1),
            "d" => self.day = Some(number(text)?),
            "j" => self.yearday = Some(number(text)?),
            "U" => self.week = Some((number(text)?, WeekStart::Sunday)),
            "W" => self.week = Some((number(text)?, WeekStart::Monday)),
            "a" | "A" => self.weekday = Some(place(text, &DAYS)?),
            "w" => self.weekday = Some((number::<i8>(text)? + 6) % 7),
            "H" => {
                self.clock[0] = number(text)?;
                noon.twelve = None;
            }
            "I" => noon.twelve = Some(number(text)?),
            "p" => noon.afternoon = text.eq_ignore_ascii_case("pm"),
            "M" => self.clock[1] = number(text)?,
            "S" => self.clock[2] = number(text)?,
            "z" | "Z" => self.offset_secs = Some(zone::offset_secs(text)?),
            _ => {}
        }
        Some(())
    }

    fn time(&self, now: Time, zone: &TimeZone) -> Option<Time> {
        let here = Timestamp::from_microsecond(now.as_micros()).ok()?;
        let today = here.to_zoned(zone.clone()).date();
        let zone = match self.offset_secs {
            Some(secs) => &TimeZone::fixed(Offset::from_seconds(secs).ok()?),
            None => zone,
        };
        let [hour, minute, second] = self.clock;
        let clock = civil::Time::new(hour, minute, second, 0).ok()?;
        let at = |date: civil::Date| {
            let timestamp = zone.to_timestamp(date.to_datetime(clock)).ok()?;
            Some(Time::from_micros(timestamp.as_microsecond()))
        };
        let year = self.year.unwrap_or(today.year());
        let date = match self.date(year)? {
            Some(date) => date,
            None => {
                let date = civil::Date::new(year, today.month(), today.day()).ok()?;
                let future = at(date)? > now;
                date.checked_sub(Span::new().days(i64::from(future))).ok()?
            }
        };
        let time = at(date)?;
        if self.year.is_none() && time > now + AHEAD_MAX {
            return at(civil::Date::new(date.year() - 1, date.month(), date.day()).ok()?);
        }
        Some(time)
    }

    /// The day that the line names; `None` within if it names none, without if there
    /// is no such day, or half of it is missing.
    fn date(&self, year: i16) -> Option<Option<civil::Date>> {
        if !(1..=9_999).contains(&year) {
            return None;
        }
        if let (Some(month), Some(day)) = (self.month, self.day) {
            return Some(Some(civil::Date::new(year, month, day).ok()?));
        }
        if let Some(yearday) = self.yearday.or_else(|| self.yearday_of_week(year)) {
            let first = civil::Date::new(year, 1, 1).ok()?;
            let days = Span::new().days(i64::from(yearday) - 1);
            return Some(Some(first.checked_add(days).ok()?));
        }
        let half = self.month.is_some() || self.day.is_some();
        (!half).then_some(None)
    }

    /// The day of the year by week and weekday; below 1 for the end of the last year.
    /// Days before the year's first week begins are week 0.
    fn yearday_of_week(&self, year: i16) -> Option<i16> {
        let ((week, start), weekday) = (self.week?, i16::from(self.weekday?));
        let first = civil::Date::new(year, 1, 1).ok()?.weekday();
        let (first, weekday) = match start {
            WeekStart::Monday => (i16::from(first.to_monday_zero_offset()), weekday),
            WeekStart::Sunday => (i16::from(first.to_sunday_zero_offset()), (weekday + 1) % 7),
        };
        let before_week_1 = (7 - first) % 7;
        Some(match week {
            0 => 1 + weekday - first,
            week => 1 + before_week_1 + 7 * (i16::from(week) - 1) + weekday,
        })
    }
}

/// `text` with ASCII digits in place of all others.
pub(super) fn in_ascii(text: &str) -> Cow<'_, str> {
    if text.is_ascii() {
        return Cow::Borrowed(text);
    }
    let plain = |char| digit_value(char).map_or(char, |digit| char::from(b'0' + digit));
    Cow::Owned(text.chars().map(plain).collect())
}

/// A number, with a blank in front or not.
fn number<N: std::str::FromStr>(text: &str) -> Option<N> {
    text.trim_start().parse().ok()
}

/// The place of a name in the list, by its first three letters, from 0.
fn place(text: &str, names: &[&str]) -> Option<i8> {
    let short = text.get(..3)?;
    let same = |name: &&str| {
        name.get(..3)
            .is_some_and(|own| own.eq_ignore_ascii_case(short))
    };
    i8::try_from(names.iter().position(same)?).ok()
}

/// Seconds since 1970 with a fraction, in microseconds. What is finer is cut off.
pub(super) fn epoch_micros(text: &str) -> Option<i64> {
    let (secs, fraction) = text.split_once('.').unwrap_or((text, ""));
    let micros = format!("{:0<6.6}", fraction).parse::<i64>().ok()?;
    secs.parse::<i64>()
        .ok()?
        .checked_mul(1_000_000)?
        .checked_add(micros)
}

/// The long form: 10 or 11 digits of seconds, perhaps three more of milliseconds,
/// perhaps then three more, or a point and more, of microseconds.
pub(super) fn long_epoch_micros(text: &str) -> Option<i64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let number = whole.parse::<i64>().ok()?;
    match whole.len() {
        0..=11 => number.checked_mul(1_000_000),
        12..=14 => {
            let micros = format!("{:0<3.3}", fraction).parse::<i64>().ok()?;
            number.checked_mul(1_000)?.checked_add(micros)
        }
        _ => Some(number),
    }
}

/// TAI64N: `@`, 16 hexadecimal digits of seconds of which the first is a mark, and
/// 8 of nanoseconds. They count as seconds since 1970; leap seconds are left out of
/// account, and so are the nanoseconds.
pub(super) fn tai64n_micros(text: &str) -> Option<i64> {
    let secs = i64::from_str_radix(text.get(2..17)?, 16).ok()?;
    Some(Time::from_secs(secs).as_micros())
}
