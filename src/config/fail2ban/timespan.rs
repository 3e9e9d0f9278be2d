//! Durations as fail2ban reads them: `600`, `10m`, `1d12h`, `2w 3d`, `3600*2`.
//!
//! A unit multiplies the number before it, numbers beside each other are added, and the
//! rest is arithmetic. `m` and `M` are minutes; a month is a twelfth of 365.25 days.
//! A negative duration is "for ever" where that is allowed, and nowhere else.

use std::time::Duration;

use crate::jail::formula::eval::{Values, eval};
use crate::jail::formula::expr::{self, ExprError, Language, Number};
use crate::time::BanTime;

/// The longest duration that we tell apart from "for ever": a thousand years.
const SECS_MAX: f64 = 31_557_600_000.0;

const LANGUAGE: Language = Language {
    name: |_| None,
    unit: Some(unit),
    accepted: "units are s, m, h, d, w, mo, y, with + - * / and parentheses",
};

/// Seconds in a unit, by any of its abbreviations.
fn unit(word: &str) -> Option<Number> {
    const DAY: i128 = 86_400;
    Some(match word.to_lowercase().as_str() {
        "s" | "ss" | "sec" | "secs" | "second" | "seconds" => Number::Int(1),
        "m" | "mm" | "mi" | "min" | "mins" | "minute" | "minutes" => Number::Int(60),
        "h" | "hh" | "ho" | "hou" | "hour" | "hours" => Number::Int(3_600),
        "d" | "dd" | "da" | "day" | "days" => Number::Int(DAY),
        "w" | "ww" | "we" | "wee" | "week" | "weeks" => Number::Int(7 * DAY),
        "mo" | "mon" | "month" | "months" => Number::Float(DAY as f64 * 365.25 / 12.0),
        "y" | "yy" | "ye" | "yea" | "year" | "years" => Number::Float(DAY as f64 * 365.25),
        _ => return None,
    })
}

/// The seconds that a text means; they may be a fraction, and negative.
pub fn seconds(text: &str) -> Result<Number, ExprError> {
    let expr = expr::parse(text, &LANGUAGE)?;
    let mut values = Values {
        variables: &[],
        random: &mut || 0.0,
    };
    let number = eval(&expr, &mut values)?;
    if number.as_f64().is_finite() {
        Ok(number)
    } else {
        Err(ExprError::new("it is infinite"))
    }
}

/// A duration that is not negative; more than a thousand years is cut to that.
pub fn duration(text: &str) -> Result<Duration, ExprError> {
    let secs = seconds(text)?.as_f64();
    if secs < 0.0 {
        return Err(ExprError::new("it is negative"));
    }
    let secs = secs.min(SECS_MAX);
    Duration::try_from_secs_f64(secs).map_err(|error| ExprError::new(error.to_string()))
}

/// A ban time: negative is for ever.
pub fn ban_time(text: &str) -> Result<BanTime, ExprError> {
    if seconds(text)?.as_f64() < 0.0 {
        return Ok(BanTime::Forever);
    }
    duration(text).map(BanTime::For)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        match seconds(text) {
            Ok(Number::Int(secs)) => secs.to_string(),
            Ok(Number::Float(secs)) => format!("{secs:?}"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn units_and_arithmetic() {
        for (text, expected) in [
            ("600", "600"),
            (" 600 ", "600"),
            ("1d12h", "129600"),
            ("2w 3d", "1468800"),
            ("3600*2", "7200"),
            ("1year-6mo", "15778800.0"),
            ("1.5h", "5400.0"),
            ("1mo", "2629800.0"),
            ("1M", "60"),
            ("1 h", "3600"),
            ("5 6", "11"),
            ("1h30", "3630"),
            ("1 d12", "86412"),
            ("2*1d12h", "216000"),
            ("-1", "-1"),
            ("-1d12h", "-43200"),
            ("2**1h", "7200"),
            ("24/1h", "86400.0"),
            ("7//2", "3"),
            ("-7//2", "-4"),
            ("-7%4", "1"),
            ("1h - 30m", "1800"),
            ("(1h+1m)*2", "7320"),
            ("3 days 2hours", "266400"),
            ("1_000", "1000"),
            (".5h", "1800.0"),
            ("--1", "1"),
            ("2<<3", "16"),
        ] {
            assert_eq!(shown(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_duration() {
        let accepted = "units are s, m, h, d, w, mo, y, with + - * / and parentheses";
        for (text, expected) in [
            ("", "it ends too early".to_owned()),
            ("1h+", "it ends too early".to_owned()),
            ("h", format!("`h` has no meaning there; {accepted}")),
            (
                "1 fortnight",
                format!("`fortnight` has no meaning there; {accepted}"),
            ),
            ("(2)h", format!("`h` has no meaning there; {accepted}")),
            ("1/0", "it divides by zero".to_owned()),
            ("08", "`08` is not a number".to_owned()),
            ("1h#x", "`#` has no meaning here".to_owned()),
            ("(1", "it ends where `)` should be".to_owned()),
            ("9**9**9**9", "it is infinite".to_owned()),
        ] {
            assert_eq!(shown(text), expected, "{text}");
        }
        assert!(shown(&"(".repeat(5000)).contains("longer than"));
        assert!(shown(&"(".repeat(500)).contains("nested too deeply"));
    }

    #[test]
    fn for_ever_is_negative() {
        assert_eq!(ban_time("-1"), Ok(BanTime::Forever));
        assert_eq!(ban_time("1m"), Ok(BanTime::For(Duration::from_secs(60))));
        assert!(duration("-1").is_err());
        assert_eq!(
            duration("9999999y"),
            Ok(Duration::from_secs(31_557_600_000))
        );
    }
}
