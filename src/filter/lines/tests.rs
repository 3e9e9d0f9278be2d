use super::*;
use crate::filter::{FilterText, Names};

/// Central Europe's rule: an hour forward on the last Sunday of March, back on that of October.
const ZONE: &str = "CET-1CEST,M3.5.0,M10.5.0/3";

/// When a failure with this date counts that is read at `now`.
fn counted(mode: Mode, zone: &str, now: &str, date: &str) -> String {
    let text = FilterText {
        prefregex: None,
        failregex: vec!["bad <ADDR>$".to_owned()],
        ignoreregex: Vec::new(),
        maxlines: 1,
        datepattern: None,
        names: Names::No,
        ..FilterText::default()
    };
    let at = |text: &str| {
        let time: jiff::Timestamp = text.parse().unwrap();
        Time::from_micros(time.as_microsecond())
    };
    let attached = Attached {
        jail: "jail".into(),
        filter: Arc::new(Filter::compile(&text).unwrap()),
        findtime: Duration::from_secs(600),
        zone: None,
    };
    let zone = TimeZone::posix(zone).unwrap();
    let mut lineup = Lineup::new(vec![attached], 0, zone, at(now));
    let mut times = Vec::new();
    let line = format!("{date} pbx bad 192.0.2.7\n");
    lineup.block(line.as_bytes(), mode, at(now), |found| {
        if let Found::Failure(failure) = found {
            times.push(failure.time.to_string());
        }
    });
    times.join(" ")
}

#[test]
fn turns_of_clocks_and_years_move_no_live_line() {
    for (zone, now, date, expected) in [
        // the year's end
        (
            "UTC0",
            "2027-01-01T00:00:05Z",
            "Dec 31 23:59:59",
            "2026-12-31T23:59:59Z",
        ),
        (
            "UTC0",
            "2027-01-01T00:00:05Z",
            "Jan  1 00:00:04",
            "2027-01-01T00:00:04Z",
        ),
        (
            ZONE,
            "2026-12-31T23:00:01Z",
            "Dec 31 23:59:59",
            "2026-12-31T22:59:59Z",
        ),
        // the hour that comes twice, and the one that is left out
        (
            ZONE,
            "2026-10-25T00:30:01Z",
            "Oct 25 02:30:00",
            "2026-10-25T00:30:00Z",
        ),
        (
            ZONE,
            "2026-10-25T01:30:01Z",
            "Oct 25 02:30:00",
            "2026-10-25T01:30:01Z",
        ),
        (
            ZONE,
            "2026-03-29T01:00:01Z",
            "Mar 29 03:00:00",
            "2026-03-29T01:00:00Z",
        ),
        (
            ZONE,
            "2026-03-29T01:00:01Z",
            "Mar 29 01:59:59",
            "2026-03-29T00:59:59Z",
        ),
        // the clock was set between the writing and the reading
        (
            "UTC0",
            "2026-06-01T12:00:00Z",
            "Jun  1 10:00:00",
            "2026-06-01T12:00:00Z",
        ),
        (
            "UTC0",
            "2026-06-01T10:00:00Z",
            "Jun  1 12:00:00",
            "2026-06-01T10:00:00Z",
        ),
        (
            "UTC0",
            "1970-01-01T00:01:00Z",
            "2026-06-01 12:00:00",
            "1970-01-01T00:01:00Z",
        ),
        (
            "UTC0",
            "2026-06-01T12:00:00Z",
            "1970-01-01 00:01:00",
            "2026-06-01T12:00:00Z",
        ),
    ] {
        assert_eq!(
            counted(Mode::Live, zone, now, date),
            expected,
            "{now} {date}"
        );
    }
}

#[test]
fn after_a_start_a_line_of_the_future_counts_now_and_an_old_one_not() {
    for (now, date, expected) in [
        (
            "2026-06-01T12:00:00Z",
            "Jun  1 11:55:00",
            "2026-06-01T11:55:00Z",
        ),
        ("2026-06-01T12:00:00Z", "Jun  1 11:45:00", ""),
        (
            "2026-06-01T12:00:00Z",
            "Jun  1 13:00:00",
            "2026-06-01T12:00:00Z",
        ),
    ] {
        let found = counted(Mode::CatchingUp, "UTC0", now, date);
        assert_eq!(found, expected, "{now} {date}");
    }
}
