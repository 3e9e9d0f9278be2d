//! Any text as a datepattern and as a zone's name, any lines to find dates in.
//!
//! The input is cut at byte 1: the datepattern (none if it is empty), the name of a
//! zone, and the lines. A date stands on character borders and is not empty; asked
//! again, for the same present, it is at the same time. Two detectors that see the
//! same lines find the same.

#![no_main]

use std::sync::LazyLock;

use jiff::tz::TimeZone;
use libfuzzer_sys::fuzz_target;
use ringfence::filter::date::{Detector, Years, zone};
use ringfence::time::Time;

/// 2026-11-22 07:00:00 UTC.
const NOW: f64 = 1_795_330_800.0;

/// What detectors share lives as long as one of them does.
static KEPT: LazyLock<[Option<Detector>; 2]> = LazyLock::new(|| {
    [None, Some("{DEFAULT}")]
        .map(|pattern| Detector::new(pattern, Years::at(Time::from_secs_f64(NOW))).ok())
});

fuzz_target!(|text: &str| {
    LazyLock::force(&KEPT);
    let mut pieces = text.splitn(3, '\u{1}');
    let pattern = pieces.next().filter(|pattern| !pattern.is_empty());
    let zone = zone(pieces.next().unwrap_or_default()).unwrap_or(TimeZone::UTC);
    let mut detector = match Detector::new(pattern, Years::at(Time::from_secs_f64(NOW))) {
        Ok(detector) => detector,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    let mut same = detector.clone();
    let now = Time::from_secs_f64(NOW);
    for line in pieces.next().unwrap_or_default().split('\n') {
        let found = detector.find(line);
        assert_eq!(found, same.find(line));
        let Some(found) = found else {
            continue;
        };
        let date = line.get(found.span.clone()).expect("on character borders");
        assert!(!date.is_empty());
        let time = found.stamp.time(now, &zone);
        assert_eq!(time, found.stamp.time(now, &zone));
    }
});
