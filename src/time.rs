//! Time as the engine is told it, and durations as people write them.
//!
//! A [`Time`] is microseconds since 1970 in UTC: fail2ban keeps fractions of a
//! second where a log has them, and so do we. Only the shell (`daemon`, `cli`)
//! may ask for the present time; everybody else has it as an argument.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

/// A point in time, in microseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time(i64);

impl Time {
    /// From microseconds since 1970.
    pub const fn from_micros(micros: i64) -> Self {
        Time(micros)
    }

    /// From whole seconds since 1970; what does not fit becomes the nearest that does.
    pub const fn from_secs(secs: i64) -> Self {
        Time(secs.saturating_mul(1_000_000))
    }

    /// From seconds with a fraction, as fail2ban's database has them.
    pub fn from_secs_f64(secs: f64) -> Self {
        Time((secs * 1e6).round() as i64)
    }

    /// The present time, by the system's clock. For the shell only.
    #[allow(clippy::disallowed_methods)] // the one place that may
    pub fn now() -> Self {
        Time(jiff::Timestamp::now().as_microsecond())
    }

    /// Microseconds since 1970.
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// Whole seconds since 1970, rounded down.
    pub const fn as_secs(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// Seconds with a fraction since 1970.
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / 1e6
    }

    /// So many microseconds later, or earlier.
    pub const fn moved(self, micros: i64) -> Time {
        Time(self.0.saturating_add(micros))
    }

    /// How long after `earlier` this is; nothing if it is not after it.
    pub fn since(self, earlier: Time) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl Add<Duration> for Time {
    type Output = Time;

    fn add(self, span: Duration) -> Time {
        Time(
            self.0
                .saturating_add(i64::try_from(span.as_micros()).unwrap_or(i64::MAX)),
        )
    }
}

impl Sub<Duration> for Time {
    type Output = Time;

    fn sub(self, span: Duration) -> Time {
        Time(
            self.0
                .saturating_sub(i64::try_from(span.as_micros()).unwrap_or(i64::MAX)),
        )
    }
}

impl fmt::Display for Time {
    /// UTC in RFC 3339, to the second.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_second(self.as_secs()) {
            Ok(timestamp) => timestamp.fmt(f),
            Err(_) => write!(f, "@{}", self.as_secs()),
        }
    }
}

impl fmt::Debug for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}", self.as_secs(), self.0.rem_euclid(1_000_000))
    }
}

/// How long a ban lasts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BanTime {
    /// For this long.
    For(Duration),
    /// For ever; fail2ban writes `-1`.
    Forever,
}

impl BanTime {
    /// When a ban that began at `start` ends; `None` is never.
    pub fn end(self, start: Time) -> Option<Time> {
        match self {
            BanTime::For(span) => Some(start + span),
            BanTime::Forever => None,
        }
    }
}

/// A span as a person reads it: its two largest units, as in `1d 3h` or `40s`.
pub fn human(span: Duration) -> String {
    const UNITS: [(u64, &str); 5] = [
        (7 * 86_400, "w"),
        (86_400, "d"),
        (3_600, "h"),
        (60, "m"),
        (1, "s"),
    ];
    let mut rest = span.as_secs();
    let mut parts = Vec::new();
    for (secs, unit) in UNITS {
        if rest >= secs && parts.len() < 2 {
            parts.push(format!("{}{unit}", rest / secs));
            rest %= secs;
        } else if !parts.is_empty() {
            break;
        }
    }
    if parts.is_empty() {
        "0s".to_owned()
    } else {
        parts.join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_readable() {
        for (secs, shown) in [
            (0, "0s"),
            (40, "40s"),
            (60, "1m"),
            (61, "1m 1s"),
            (3_600, "1h"),
            (3_601, "1h"),
            (97_200, "1d 3h"),
            (604_800, "1w"),
        ] {
            assert_eq!(human(Duration::from_secs(secs)), shown, "{secs}");
        }
    }

    #[test]
    fn time_does_not_overflow() {
        assert_eq!(
            Time::from_secs(i64::MAX) + Duration::MAX,
            Time::from_micros(i64::MAX)
        );
        assert_eq!(Time::from_secs(5).since(Time::from_secs(9)), Duration::ZERO);
        assert_eq!(Time::from_micros(-1).as_secs(), -1);
        assert_eq!(Time::from_secs(0).to_string(), "1970-01-01T00:00:00Z");
    }
}
