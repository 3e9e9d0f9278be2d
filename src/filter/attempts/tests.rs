//! Attempts as lines of text: who asks, in which session, and what counts.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use expect_test::{Expect, expect};
use jiff::tz::TimeZone;

use super::{ATTEMPT_AGE_MAX, ATTEMPTS_MAX};
use crate::filter::lines::{Attached, Found, Lineup, Mode, Reading};
use crate::filter::{Filter, FilterText, follow::Ask};
use crate::time::Time;

const START: Time = Time::from_secs(1_796_000_000);

/// A server that refuses `unknown` ones by session, `kept out` ones without, and the rest once.
fn lineup() -> Lineup {
    let failregex = [
        "^<F-TWICE>unknown</F-TWICE> (?:<F-PROOF>tcp</F-PROOF> )?<ADDR> <F-SESSION>call \\S+</F-SESSION>$",
        "^wrong <ADDR>(?: <F-SESSION>call \\S+</F-SESSION>)?$",
        "^<F-TWICE>kept out</F-TWICE> <ADDR>$",
        "^<F-TWICE>kept off</F-TWICE> <ADDR>$",
    ];
    let text = FilterText {
        failregex: failregex.map(str::to_owned).to_vec(),
        datepattern: Some("{NONE}".to_owned()),
        ..FilterText::default()
    };
    let attached = Attached {
        zone: None,
        jail: "jail".into(),
        filter: Arc::new(Filter::compile(&text).expect("a filter")),
        findtime: Duration::from_secs(600),
    };
    Lineup::new(vec![attached], 0, TimeZone::UTC, START)
}

/// Does a line count? It is read at `now`.
fn counts(lineup: &mut Lineup, line: &str, now: Time) -> bool {
    let mut count = 0;
    let block = format!("{line}\n");
    lineup.block(block.as_bytes(), Mode::Live, now, |found| {
        assert!(matches!(found, Found::Failure(_)), "{found:?}");
        count += 1;
    });
    count == 1
}

/// How many lines of each kind count; each row is a line, and may stand there `N x`.
fn check(rows: &str, expected: Expect) {
    let mut lineup = lineup();
    let mut counted: BTreeMap<&str, (u32, u32)> = BTreeMap::new();
    for row in rows.lines().map(str::trim) {
        let (times, line) = match row.split_once(" x ") {
            Some((times, line)) => (times.parse().expect("a number"), line),
            None => (1, row),
        };
        for _ in 0..times {
            let (lines, tries) = counted.entry(line).or_default();
            *lines += 1;
            *tries += u32::from(counts(&mut lineup, line, START));
        }
    }
    let told = counted.iter();
    let told = told.map(|(line, (lines, tries))| format!("{line}: {tries} of {lines}\n"));
    expected.assert_eq(&told.collect::<String>());
}

#[test]
fn an_attempt_counts_once() {
    check(
        "unknown 192.0.2.1 call a
         unknown 192.0.2.1 call a
         wrong 192.0.2.1 call a
         unknown 192.0.2.1 call b
         unknown 192.0.2.1 call b
         wrong 192.0.2.1 call b
         6 x kept out 192.0.2.1
         5 x kept out 192.0.2.2
         3 x wrong 192.0.2.2",
        expect![[r#"
            kept out 192.0.2.1: 3 of 6
            kept out 192.0.2.2: 3 of 5
            unknown 192.0.2.1 call a: 1 of 2
            unknown 192.0.2.1 call b: 1 of 2
            wrong 192.0.2.1 call a: 1 of 1
            wrong 192.0.2.1 call b: 1 of 1
            wrong 192.0.2.2: 3 of 3
        "#]],
    );
}

/// A scanner that has one session for all it asks, and one that never answers.
#[test]
fn whoever_does_not_answer_is_counted_by_what_he_asks() {
    check(
        "100 x unknown 192.0.2.1 call a
         unknown 192.0.2.2 call a
         unknown 192.0.2.2 call b
         unknown 192.0.2.2 call c",
        expect![[r#"
            unknown 192.0.2.1 call a: 99 of 100
            unknown 192.0.2.2 call a: 1 of 1
            unknown 192.0.2.2 call b: 1 of 1
            unknown 192.0.2.2 call c: 1 of 1
        "#]],
    );
}

/// A scanner, or a phone that registers again and again, that answers in one session.
#[test]
fn an_answer_ends_the_attempt() {
    check(
        &"unknown 192.0.2.1 call a
         unknown 192.0.2.1 call a
         wrong 192.0.2.1 call a\n"
            .repeat(7),
        expect![[r#"
            unknown 192.0.2.1 call a: 7 of 14
            wrong 192.0.2.1 call a: 7 of 7
        "#]],
    );
}

/// Nobody takes anything from another's lines, whatever he calls his session, no packet whose
/// source may be forged from what is proven, and no order of lines makes less than half of
/// them count.
#[test]
fn others_have_their_own_and_half_is_the_least() {
    check(
        "unknown 192.0.2.1 call a
         unknown 192.0.2.2 call a
         wrong 192.0.2.2 call a
         unknown 192.0.2.1 call a
         kept out 192.0.2.1
         kept off 192.0.2.1
         kept out 192.0.2.2
         unknown 192.0.2.3 call a
         unknown tcp 192.0.2.3 call a
         unknown 2001:db8:1:2::3 call a
         unknown 2001:db8:1:2::4 call a
         unknown 2001:db8:1:3::3 call a",
        expect![[r#"
            kept off 192.0.2.1: 1 of 1
            kept out 192.0.2.1: 1 of 1
            kept out 192.0.2.2: 1 of 1
            unknown 192.0.2.1 call a: 1 of 2
            unknown 192.0.2.2 call a: 1 of 1
            unknown 192.0.2.3 call a: 1 of 1
            unknown 2001:db8:1:2::3 call a: 1 of 1
            unknown 2001:db8:1:2::4 call a: 0 of 1
            unknown 2001:db8:1:3::3 call a: 1 of 1
            unknown tcp 192.0.2.3 call a: 1 of 1
            wrong 192.0.2.2 call a: 1 of 1
        "#]],
    );
    let mut lineup = lineup();
    // Each order of 8 lines.
    for order in 0..1 << 8 {
        let (mut lines, mut tries) = (0, 0);
        for line in 0..8 {
            let asks = order >> line & 1 == 1;
            let line = if asks { "unknown" } else { "wrong" };
            let line = format!("{line} 192.0.2.1 call {order}");
            let counted = counts(&mut lineup, &line, START);
            assert!(asks || counted, "an answer always counts");
            lines += u32::from(asks);
            tries += u32::from(asks && counted);
        }
        assert!(tries * 2 >= lines, "{order:b}: {tries} of {lines}");
    }
}

#[test]
fn a_late_line_is_another_attempt() {
    for line in ["unknown 192.0.2.1 call a", "kept out 192.0.2.1"] {
        for (late, again) in [(Duration::ZERO, true), (Duration::from_secs(1), false)] {
            let mut lineup = lineup();
            assert!(counts(&mut lineup, line, START));
            let counts = counts(&mut lineup, line, START + ATTEMPT_AGE_MAX + late);
            assert_eq!(counts, !again, "{line}, {late:?} too late");
        }
    }
}

/// Of what is pushed out more is counted.
#[test]
fn attempts_are_bounded() {
    let session = |number: usize| format!("unknown 192.0.2.1 call {number}");
    let mut lineup = lineup();
    for number in 0..=ATTEMPTS_MAX {
        assert!(counts(&mut lineup, &session(number), START));
    }
    assert!(!counts(&mut lineup, &session(1), START), "it is remembered");
    assert!(counts(&mut lineup, &session(0), START), "it was pushed out");
    assert!(!counts(&mut lineup, &session(0), START), "and is back");
}

/// Who tests a filter sees every line that it matches.
#[test]
fn tests_of_a_filter_see_both_lines() {
    for ask in [Ask::First, Ask::FirstPending, Ask::All] {
        let mut told = Vec::new();
        let (mode, now) = (Mode::Trusting, START);
        let block = "kept out 192.0.2.1\n".repeat(3);
        lineup().matches(
            block.as_bytes(),
            Reading { mode, now, ask },
            |_, _, found| told.push(found.again),
        );
        assert_eq!(told, [false, true, false]);
    }
}
