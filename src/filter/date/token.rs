//! The `%` tokens of a datepattern, as Python regexes.
//!
//! A token is a named group, and its name says what the text in it means: `Y` a
//! year, `b` a month's name. Where two readings are possible (`%d` before `12`),
//! alternatives stand in fail2ban's order, since the first one that fits is taken.
//! A digit is any decimal digit of Unicode, except where a token names the digits
//! that it takes one by one. Names of months and days are those of the C locale.

use std::ops::RangeInclusive;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::time::Time;

/// Day names, Monday first; `%a` is their first three letters.
pub(super) const DAYS: [&str; 7] = [
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
    "Sunday",
];

/// Month names; `%b` is their first three letters.
pub(super) const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// A zone's name of one letter, or of three to five.
const ZONE_NAME: &str = "[A-Z](?:[A-Z]{2,4})?";
const ZONE_SHIFT: &str = r"[+-][01]\d(?::?\d{2})?";

/// What may follow a `%`, for error messages.
pub(super) const ACCEPTED: &str = "%Y %y %m %d %H %k %I %l %M %S %f %p %b %B %a %A %j %U %W %w %z %Z %c %x %X %%, \
     and the exact %ExY %Exy %Exm %Exd %ExH %Exk %Exl %ExM %ExS %Exz %ExZ";

/// How many years ahead of the start `%ExY` looks; it then takes the whole decade.
const YEARS_AHEAD: i16 = 3;

/// The years that `%ExY` takes: from 2000 to the end of the decade that is begun three
/// years after the program started.
///
/// fail2ban reckons so, and where a line has two readings it decides which is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Years {
    /// The first decade after the last, by its year that ends in 0.
    end: i16,
}

impl Years {
    /// Those of a program that starts at `started`.
    pub fn at(started: Time) -> Years {
        let timestamp = Timestamp::from_microsecond(started.as_micros()).unwrap_or_default();
        let year = timestamp.to_zoned(TimeZone::UTC).year().clamp(2_000, 9_980);
        Years {
            end: (year + YEARS_AHEAD) / 10 * 10 + 10,
        }
    }

    /// Is `year` one of them?
    pub(super) fn contains(self, year: i16) -> bool {
        (2_000..self.end).contains(&year)
    }

    /// The regex of all of them.
    fn regex(self) -> String {
        let century = |century: i16, decades: RangeInclusive<i16>| {
            format!("{century}[{}-{}]\\d", decades.start(), decades.end())
        };
        let last = (self.end - 10) / 10;
        let whole = (20..last / 10).map(|whole| century(whole, 0..=9));
        let all: Vec<String> = whole.chain([century(last / 10, 0..=last % 10)]).collect();
        all.join("|")
    }
}

/// A pattern with its tokens written out.
#[derive(Debug, PartialEq)]
pub(super) struct Expanded {
    /// The regex.
    pub(super) regex: String,
    /// Does it hold names? Then case does not matter in all of it.
    pub(super) ignore_case: bool,
}

/// Writes out the tokens of `pattern`. The error is the token that is not known.
pub(super) fn expand(pattern: &str, years: Years) -> Result<Expanded, String> {
    let mut regex = String::with_capacity(4 * pattern.len());
    let mut ignore_case = false;
    let mut rest = pattern;
    while let Some((before, behind)) = rest.split_once('%') {
        regex.push_str(before);
        let name = name(behind);
        let token = token(name, years).ok_or_else(|| format!("%{name}"))?;
        regex.push_str(&token);
        ignore_case |= matches!(name, "a" | "A" | "b" | "B" | "p" | "c");
        rest = behind.get(name.len()..).unwrap_or("");
    }
    regex.push_str(rest);
    Ok(Expanded { regex, ignore_case })
}

/// The token's name at the start of `text`: `ExY` or one character.
fn name(text: &str) -> &str {
    let chars = if text.starts_with("Ex") { 3 } else { 1 };
    let end = text.char_indices().nth(chars);
    end.map_or(text, |(end, _)| text.get(..end).unwrap_or(text))
}

fn token(name: &str, years: Years) -> Option<String> {
    let group = |group: &str, body: &str| Some(format!("(?P<{group}>{body})"));
    let plain = |body: &str| Some(body.to_owned());
    match name {
        "Y" => group("Y", r"\d{4}"),
        "ExY" => group("Y", &years.regex()),
        "y" | "Exy" => group("y", r"\d{2}"),
        "m" => group("m", "0?[1-9]|1[0-2]"),
        "Exm" => group("m", "0[1-9]|1[0-2]"),
        "d" => group("d", r"[12]\d|[ 0]?[1-9]|3[01]"),
        "Exd" => group("d", r"[12]\d|0[1-9]|3[01]"),
        "j" => group(
            "j",
            r"36[0-6]|3[0-5]\d|[12]\d{2}|0[1-9]\d|00[1-9]|[1-9]\d|0?[1-9]",
        ),
        "H" => group("H", r"[01]?\d|2[0-3]"),
        "ExH" => group("H", r"[01]\d|2[0-3]"),
        "k" => plain(r" ?(?P<H>[0-2]?\d)"),
        "Exk" => plain(r" ?(?P<H>[01]?\d|2[0-3])"),
        "I" => group("I", "1[0-2]|0?[1-9]"),
        "l" => plain(r" ?(?P<I>1?\d)"),
        "Exl" => plain(r" ?(?P<I>1[0-2]|\d)"),
        "M" => group("M", r"[0-5]?\d"),
        "ExM" => group("M", r"[0-5]\d"),
        "S" => group("S", r"[0-5]?\d|6[01]"),
        "ExS" => group("S", r"[0-5]\d|6[01]"),
        "f" => group("f", "[0-9]{1,6}"),
        "p" => group("p", "am|pm"),
        "w" => group("w", "[0-6]"),
        "u" => group("u", "[1-7]"),
        "U" | "W" => group(name, r"5[0-3]|[0-4]?\d"),
        "V" => group("V", r"5[0-3]|0[1-9]|[1-4]\d|\d"),
        "G" => group("G", r"\d{4}"),
        "b" => group("b", &short(&MONTHS)),
        "B" => group("B", &long(&MONTHS)),
        "a" => group("a", &short(&DAYS)),
        "A" => group("A", &long(&DAYS)),
        "z" => group("z", &format!("Z|UTC|GMT|{ZONE_SHIFT}")),
        "Exz" => group("z", &format!("(?:{ZONE_NAME})?{ZONE_SHIFT}|{ZONE_NAME}")),
        "Z" => group("Z", "Z|[A-Z]{3,5}"),
        "ExZ" => group("Z", ZONE_NAME),
        "x" => joined(years, &["m", "/", "d", "/", "y"]),
        "X" => joined(years, &["H", ":", "M", ":", "S"]),
        "c" => joined(
            years,
            &["a", r"\s+", "b", r"\s+", "d", r"\s+", "X", r"\s+", "Y"],
        ),
        "%" => plain("%"),
        _ => None,
    }
}

fn joined(years: Years, parts: &[&str]) -> Option<String> {
    Some(
        parts
            .iter()
            .map(|part| token(part, years).unwrap_or_else(|| (*part).to_owned()))
            .collect(),
    )
}

fn short(names: &[&str]) -> String {
    let names: Vec<&str> = names.iter().filter_map(|name| name.get(..3)).collect();
    names.join("|")
}

/// Long names: none is the beginning of another, so their order is of no account.
fn long(names: &[&str]) -> String {
    names.join("|")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_written_out() {
        for (pattern, regex) in [
            ("", ""),
            ("no token", "no token"),
            ("%y", r"(?P<y>\d{2})"),
            ("a%%b", "a%b"),
            ("%k:", r" ?(?P<H>[0-2]?\d):"),
            (
                "%Exm%Exd",
                r"(?P<m>0[1-9]|1[0-2])(?P<d>[12]\d|0[1-9]|3[01])",
            ),
            ("%%ExY", "%ExY"),
        ] {
            assert_eq!(
                expand(pattern, Years::at(Time::default())).map(|all| all.regex),
                Ok(regex.to_owned())
            );
        }
        for (pattern, token) in [
            ("%", "%"),
            ("%Ex", "%Ex"),
            ("%ExB", "%ExB"),
            ("%Y %q", "%q"),
            ("%é", "%é"),
            ("%Ex🦀", "%Ex🦀"),
        ] {
            assert_eq!(
                expand(pattern, Years::at(Time::default())),
                Err(token.to_owned())
            );
        }
    }

    #[test]
    fn years_end_with_a_decade() {
        for (started, regex) in [
            (-1_000_000_000_000, r"20[0-0]\d"),
            (1_795_334_400, r"20[0-2]\d"),           // 2026
            (1_798_761_600, r"20[0-3]\d"),           // 2027
            (4_039_372_800, r"20[0-9]\d|21[0-0]\d"), // 2098
        ] {
            assert_eq!(Years::at(Time::from_secs(started)).regex(), regex);
        }
        let years = Years::at(Time::from_secs(1_795_334_400));
        let known = [1999, 2000, 2029, 2030].map(|year| years.contains(year));
        assert_eq!(known, [false, true, true, false]);
    }

    #[test]
    fn names_make_case_of_no_account() {
        for (pattern, expected) in [("%b", true), ("%Y %p", true), ("%%b", false), ("%Z", false)] {
            assert_eq!(
                expand(pattern, Years::at(Time::default())).map(|all| all.ignore_case),
                Ok(expected)
            );
        }
    }
}
