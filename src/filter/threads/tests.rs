//! A log into which senders can write, read as the daemon reads it. A row is a block: how
//! many milliseconds after the one before it was read, and its lines, `|` between them.

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use expect_test::{Expect, expect};
use jiff::tz::TimeZone;

use super::{KNOWN_MAX, is_closed};
use crate::filter::lines::{Attached, Found, Lineup, Mode};
use crate::filter::{Filter, FilterText, Names, SightingText};
use crate::ticket::Trust;
use crate::time::Time;

const NOW: Time = Time::from_secs(1_796_000_000);

/// `careless` lets newlines through, `careful` does not.
fn lineup() -> Lineup {
    let one = |text: &str| vec![text.to_owned()];
    let text = FilterText {
        prefregex: Some(
            r"^\[<F-THREAD>\d+</F-THREAD>\] <F-CONTENT>(?s:.+?)</F-CONTENT>$".to_owned(),
        ),
        failregex: vec![
            r"^care(?:less|ful): <F-PROOF><ADDR></F-PROOF> failed".to_owned(),
            r"^careless: <F-OPEN>user</F-OPEN> '(?s:.*)' of <F-PROOF><ADDR></F-PROOF> failed$"
                .to_owned(),
        ],
        sightings: SightingText {
            doubt: one(r"^\[\d+\] careless: "),
            whole: one(r"^\[<F-THREAD>\d+</F-THREAD>\] careful: .* failed$"),
            end: one(r"' of [\d.]+ failed$"),
            broken: one(r"^\[\d+\] careless: user '(?!.* failed$)"),
            ..SightingText::default()
        },
        names: Names::No,
        ..FilterText::default()
    };
    let attached = Attached {
        zone: None,
        jail: "jail".into(),
        filter: Arc::new(Filter::compile(&text).expect("a filter")),
        findtime: Duration::from_secs(600),
    };
    Lineup::new(vec![attached], 0, TimeZone::UTC, NOW)
}

fn said(lineup: &mut Lineup, mode: Mode, now: Time, lines: &str) -> String {
    let block = lines.replace('|', "\n") + "\n";
    let mut said = String::new();
    lineup.block(block.as_bytes(), mode, now, |found| {
        let Found::Failure(failure) = found else {
            panic!("{found:?}")
        };
        let trust = match failure.trust {
            Trust::Proof => "proven",
            Trust::Hint => "hint",
        };
        write!(said, " {} {trust}", failure.addr).expect("a String");
    });
    said
}

fn check(mode: Mode, rows: &str, expected: Expect) {
    let mut lineup = lineup();
    let mut now = NOW;
    let mut shown = String::new();
    for row in rows.lines().map(str::trim) {
        let (millis, lines) = row.split_once(' ').expect("a time and lines");
        now = now + Duration::from_millis(millis.parse().expect("milliseconds"));
        let said = said(&mut lineup, mode, now, lines);
        writeln!(shown, "{row}\n    ={said}").expect("a String");
    }
    expected.assert_eq(&shown);
}

#[test]
fn a_line_of_an_unknown_thread_blames_nobody() {
    check(
        Mode::Live,
        "0 [1] careful: 192.0.2.1 failed
         0 [2] careless: 192.0.2.2 failed, x|[9] careful: 192.0.2.3 failed|x
         0 [1] careful: 192.0.2.4 failed
         0 [2] careless: 192.0.2.5 failed, x|[1] careful: 192.0.2.6 failed|x",
        expect![[r#"
            0 [1] careful: 192.0.2.1 failed
                = 192.0.2.1 proven
            0 [2] careless: 192.0.2.2 failed, x|[9] careful: 192.0.2.3 failed|x
                = 192.0.2.2 proven
            0 [1] careful: 192.0.2.4 failed
                = 192.0.2.4 hint
            0 [2] careless: 192.0.2.5 failed, x|[1] careful: 192.0.2.6 failed|x
                = 192.0.2.5 hint 192.0.2.6 hint
        "#]],
    );
}

#[test]
fn a_thread_is_known_behind_a_pause_or_a_whole_line() {
    check(
        Mode::Live,
        "0 [2] careless: x
         1 [3] careful: 192.0.2.1 failed
         50 [3] careful: 192.0.2.2 failed|[4] careful: 192.0.2.3 failed
         1 [5] careful: 192.0.2.4 failed
         1 [2] careless: x|[6] careful: 192.0.2.5 failed
         1 [6] careful: 192.0.2.6 failed
         1 [5] careful: 192.0.2.7 failed
         1 [7] careful: 192.0.2.8 failed",
        expect![[r#"
            0 [2] careless: x
                =
            1 [3] careful: 192.0.2.1 failed
                =
            50 [3] careful: 192.0.2.2 failed|[4] careful: 192.0.2.3 failed
                = 192.0.2.2 proven 192.0.2.3 proven
            1 [5] careful: 192.0.2.4 failed
                = 192.0.2.4 proven
            1 [2] careless: x|[6] careful: 192.0.2.5 failed
                =
            1 [6] careful: 192.0.2.6 failed
                =
            1 [5] careful: 192.0.2.7 failed
                = 192.0.2.7 hint
            1 [7] careful: 192.0.2.8 failed
                = 192.0.2.8 hint
        "#]],
    );
}

/// What is read after a stop has no clock of its own, and a long block may have ended
/// before the log did.
#[test]
fn no_pause_is_seen_where_there_may_be_none() {
    check(
        Mode::CatchingUp,
        "0 [2] careless: x
         60000 [3] careful: 192.0.2.1 failed",
        expect![[r#"
            0 [2] careless: x
                =
            60000 [3] careful: 192.0.2.1 failed
                =
        "#]],
    );
    let mut lineup = lineup();
    let long = "x|".repeat(super::super::lines::LONG_BLOCK_BYTES / 2);
    assert_eq!(
        said(
            &mut lineup,
            Mode::Live,
            NOW,
            &format!("[2] careless: x|{long}")
        ),
        ""
    );
    let later = NOW + Duration::from_secs(1);
    assert_eq!(
        said(
            &mut lineup,
            Mode::Live,
            later,
            "[3] careful: 192.0.2.1 failed"
        ),
        ""
    );
}

#[test]
fn an_open_line_is_a_hint_if_a_known_thread_goes_on() {
    check(
        Mode::Live,
        "0 [2] careless: user 'x' of 192.0.2.1 failed
         99 [2] careless: user 'x' of 192.0.2.2 failed|[2] careless: 192.0.2.3 failed
         99 [2] careless: user 'x' of 192.0.2.4 failed|' of 192.0.2.5 failed
         99 [2] careless: user 'x' of 192.0.2.6 failed|[8] careful: ' of 192.0.2.7 failed",
        expect![[r#"
            0 [2] careless: user 'x' of 192.0.2.1 failed
                = 192.0.2.1 hint
            99 [2] careless: user 'x' of 192.0.2.2 failed|[2] careless: 192.0.2.3 failed
                = 192.0.2.2 hint 192.0.2.3 hint
            99 [2] careless: user 'x' of 192.0.2.4 failed|' of 192.0.2.5 failed
                = 192.0.2.5 hint
            99 [2] careless: user 'x' of 192.0.2.6 failed|[8] careful: ' of 192.0.2.7 failed
                =
        "#]],
    );
}

/// Nor does it take anything from what is counted of others.
#[test]
fn who_tries_many_numbers_hits_in_vain() {
    check(
        Mode::Live,
        "0 [2] careless: 192.0.2.1 failed, x
         0 [2] careless: x|[7] careful: 192.0.2.9 failed|[8] careful: 192.0.2.9 failed|x
         0 [2] careless: x|[2] careful: 192.0.2.9 failed|[2] careful: 192.0.2.3 failed
         0 [2] careless: x|[2] careful: 192.0.2.9 failed
         50 [2] careful: 192.0.2.9 failed
         0 [2] careless: x|[2] careful: 192.0.2.9 failed
         600000 [7] careless: x
         0 [2] careful: 192.0.2.9 failed",
        expect![[r#"
            0 [2] careless: 192.0.2.1 failed, x
                = 192.0.2.1 proven
            0 [2] careless: x|[7] careful: 192.0.2.9 failed|[8] careful: 192.0.2.9 failed|x
                =
            0 [2] careless: x|[2] careful: 192.0.2.9 failed|[2] careful: 192.0.2.3 failed
                = 192.0.2.3 hint
            0 [2] careless: x|[2] careful: 192.0.2.9 failed
                = 192.0.2.9 hint
            50 [2] careful: 192.0.2.9 failed
                = 192.0.2.9 proven
            0 [2] careless: x|[2] careful: 192.0.2.9 failed
                = 192.0.2.9 hint
            600000 [7] careless: x
                =
            0 [2] careful: 192.0.2.9 failed
                = 192.0.2.9 hint
        "#]],
    );
}

/// A connection of its own has a new thread, and honest ones are many.
#[test]
fn new_threads_make_nobody_blind() {
    let mut lineup = lineup();
    let _ = said(&mut lineup, Mode::Live, NOW, "[2] careless: x");
    for thread in 100..200 {
        let line = format!("[{thread}] careful: 192.0.2.9 failed");
        assert_eq!(said(&mut lineup, Mode::Live, NOW, &line), "");
    }
    let line = "[2] careful: 192.0.2.1 failed";
    assert_eq!(said(&mut lineup, Mode::Live, NOW, line), " 192.0.2.1 hint");
}

/// Of a refusal a connection's own thread writes, and then the security log's.
#[test]
fn a_line_that_a_known_thread_confirms_is_no_guess() {
    check(
        Mode::Live,
        "0 [2] careless: x
         0 [2] careless: x|[7] careful: 192.0.2.1 failed|[8] careful: 192.0.2.1 failed|[2] careful: 192.0.2.1 failed
         0 [2] careless: x|[9] careful: 192.0.2.1 failed|[10] careful: 192.0.2.1 failed|[2] careful: 192.0.2.1 failed
         0 [2] careless: x|[11] careful: 192.0.2.1 failed|[2] careful: 192.0.2.1 failed
         0 [2] careless: x|[11] careful: 192.0.2.1 failed|[2] careful: 192.0.2.1 failed
         0 [2] careless: x|[11] careful: 192.0.2.1 failed|[2] careful: 192.0.2.1 failed
         0 [2] careless: x|[11] careful: 192.0.2.1 failed",
        expect![[r#"
            0 [2] careless: x
                =
            0 [2] careless: x|[7] careful: 192.0.2.1 failed|[8] careful: 192.0.2.1 failed|[2] careful: 192.0.2.1 failed
                = 192.0.2.1 hint
            0 [2] careless: x|[9] careful: 192.0.2.1 failed|[10] careful: 192.0.2.1 failed|[2] careful: 192.0.2.1 failed
                = 192.0.2.1 hint
            0 [2] careless: x|[11] careful: 192.0.2.1 failed|[2] careful: 192.0.2.1 failed
                = 192.0.2.1 hint
            0 [2] careless: x|[11] careful: 192.0.2.1 failed|[2] careful: 192.0.2.1 failed
                = 192.0.2.1 hint
            0 [2] careless: x|[11] careful: 192.0.2.1 failed|[2] careful: 192.0.2.1 failed
                = 192.0.2.1 hint
            0 [2] careless: x|[11] careful: 192.0.2.1 failed
                =
        "#]],
    );
}

/// Two threads write of one request, and either is first.
#[test]
fn a_message_with_an_end_and_none_behind_it_has_ended() {
    check(
        Mode::Live,
        "0 [2] careless: x
         50 [2] careless: user 'x' of 192.0.2.1 failed|[7] careful: 192.0.2.1 failed
         50 [8] careful: 192.0.2.2 failed|[2] careless: user 'x' of 192.0.2.2 failed
         50 [2] careless: user 'x' of 192.0.2.3 failed|[9] careful: 192.0.2.3 failed|[2] careless: user 'x' of 192.0.2.3 failed
         50 [2] careless: user 'x' of 192.0.2.9 failed|[10] careful: 192.0.2.9 failed|[11] careless: user 'y' of 192.0.2.4 failed
         50 [2] careless: user 'x' of 192.0.2.9 failed|[10] careful: 192.0.2.9 failed|y' of 192.0.2.4 failed
         50 [12] careless: user 'x' of 192.0.2.5 failed|[13] careful: 192.0.2.5 failed|[14] careful: 192.0.2.5 failed
         0 [2] careless: user 'x' of 192.0.2.6 failed|[15] careful: 192.0.2.6 failed
         0 [16] careless: user 'x' of 192.0.2.7 failed|[17] careful: 192.0.2.7 failed
         50 [2] careless: x|[2] careless: user 'x' of 192.0.2.8 failed|[18] careful: 192.0.2.8 failed",
        expect![[r#"
            0 [2] careless: x
                =
            50 [2] careless: user 'x' of 192.0.2.1 failed|[7] careful: 192.0.2.1 failed
                = 192.0.2.1 hint 192.0.2.1 hint
            50 [8] careful: 192.0.2.2 failed|[2] careless: user 'x' of 192.0.2.2 failed
                = 192.0.2.2 proven 192.0.2.2 hint
            50 [2] careless: user 'x' of 192.0.2.3 failed|[9] careful: 192.0.2.3 failed|[2] careless: user 'x' of 192.0.2.3 failed
                = 192.0.2.3 hint 192.0.2.3 hint 192.0.2.3 hint
            50 [2] careless: user 'x' of 192.0.2.9 failed|[10] careful: 192.0.2.9 failed|[11] careless: user 'y' of 192.0.2.4 failed
                =
            50 [2] careless: user 'x' of 192.0.2.9 failed|[10] careful: 192.0.2.9 failed|y' of 192.0.2.4 failed
                =
            50 [12] careless: user 'x' of 192.0.2.5 failed|[13] careful: 192.0.2.5 failed|[14] careful: 192.0.2.5 failed
                = 192.0.2.5 hint 192.0.2.5 hint 192.0.2.5 hint
            0 [2] careless: user 'x' of 192.0.2.6 failed|[15] careful: 192.0.2.6 failed
                = 192.0.2.6 hint 192.0.2.6 hint
            0 [16] careless: user 'x' of 192.0.2.7 failed|[17] careful: 192.0.2.7 failed
                =
            50 [2] careless: x|[2] careless: user 'x' of 192.0.2.8 failed|[18] careful: 192.0.2.8 failed
                = 192.0.2.8 hint 192.0.2.8 hint
        "#]],
    );
}

#[test]
fn threads_are_bounded_and_the_busy_ones_stay() {
    let mut lineup = lineup();
    said(
        &mut lineup,
        Mode::Live,
        NOW,
        "[2] careful: 192.0.2.1 failed",
    );
    for thread in 10..10 + KNOWN_MAX {
        let lines = format!("[{thread}] careful: 192.0.2.1 failed|[3] careful: 192.0.2.1 failed");
        said(&mut lineup, Mode::Live, NOW, &lines);
    }
    said(&mut lineup, Mode::Live, NOW, "[4] careless: x");
    let known = |thread: usize| {
        let lines = format!("[4] careless: x|[{thread}] careful: 192.0.2.{thread} failed");
        !said(&mut lineup, Mode::Live, NOW, &lines).is_empty()
    };
    assert_eq!(
        [3, 2, 10, 9 + KNOWN_MAX].map(known),
        [true, false, false, true]
    );
}

/// Nobody is banned by an old log, and it has no pauses.
#[test]
fn an_old_log_is_believed_unless_a_quote_is_open() {
    check(
        Mode::Trusting,
        "0 [2] careless: x 'y'|[3] careful: 192.0.2.1 failed
         0 [2] careless: x 'y|[4] careful: 192.0.2.2 failed
         0 [2] careless: x 'y
         0 [5] careful: 192.0.2.3 failed",
        expect![[r#"
            0 [2] careless: x 'y'|[3] careful: 192.0.2.1 failed
                = 192.0.2.1 hint
            0 [2] careless: x 'y|[4] careful: 192.0.2.2 failed
                =
            0 [2] careless: x 'y
                =
            0 [5] careful: 192.0.2.3 failed
                =
        "#]],
    );
    for (line, expected) in [
        ("a 'b'", true),
        ("a 'b' c.", true),
        ("a 'b' c'", true),
        ("a 'b", false),
        ("a \"b", false),
    ] {
        assert_eq!(is_closed(line), expected, "{line}");
    }
}

#[test]
fn a_message_that_a_newline_broke_is_put_together() {
    check(
        Mode::Live,
        "0 [1] careless: x
         50 [1] careless: user 'x|y' of 192.0.2.2 failed
         50 [1] careless: user 'x' of 192.0.2.9 failed|y' of 192.0.2.2 failed
         50 [1] careless: user 'x|[9] careful: 192.0.2.9 failed|y' of 192.0.2.2 failed
         50 [1] careless: user 'x' of 192.0.2.2 failed|[9] careless: y' of 192.0.2.2 failed
         50 [1] careless: user 'x|y' of 192.0.2.2 failed|[1] careful: 192.0.2.3 failed
         50 [1] careless: user 'x|y' of 192.0.2.2 failed|[1] careless: user 'x|y' of 192.0.2.3 failed",
        expect![[r#"
            0 [1] careless: x
                =
            50 [1] careless: user 'x|y' of 192.0.2.2 failed
                = 192.0.2.2 hint
            50 [1] careless: user 'x' of 192.0.2.9 failed|y' of 192.0.2.2 failed
                = 192.0.2.2 hint
            50 [1] careless: user 'x|[9] careful: 192.0.2.9 failed|y' of 192.0.2.2 failed
                = 192.0.2.2 hint
            50 [1] careless: user 'x' of 192.0.2.2 failed|[9] careless: y' of 192.0.2.2 failed
                = 192.0.2.2 hint
            50 [1] careless: user 'x|y' of 192.0.2.2 failed|[1] careful: 192.0.2.3 failed
                = 192.0.2.2 hint 192.0.2.3 hint
            50 [1] careless: user 'x|y' of 192.0.2.2 failed|[1] careless: user 'x|y' of 192.0.2.3 failed
                = 192.0.2.2 hint 192.0.2.3 hint
        "#]],
    );
}

#[test]
fn a_broken_message_with_two_ends_blames_nobody() {
    check(
        Mode::Live,
        "0 [1] careless: x
         50 [1] careless: user 'x' of 192.0.2.9 failed|[9] careless: y' of 192.0.2.2 failed
         50 [1] careless: user 'x|y' of 192.0.2.9 failed|[9] careless: y
         50 [1] careless: user 'x|y
         0 z' of 192.0.2.2 failed
         0 [9] careless: user 'x|y' of 192.0.2.2 failed",
        expect![[r#"
            0 [1] careless: x
                =
            50 [1] careless: user 'x' of 192.0.2.9 failed|[9] careless: y' of 192.0.2.2 failed
                =
            50 [1] careless: user 'x|y' of 192.0.2.9 failed|[9] careless: y
                =
            50 [1] careless: user 'x|y
                =
            0 z' of 192.0.2.2 failed
                =
            0 [9] careless: user 'x|y' of 192.0.2.2 failed
                =
        "#]],
    );
}

#[test]
fn a_message_that_is_not_written_at_once_is_not_put_together() {
    for (letters, said_of) in [(4_040, " 192.0.2.2 hint"), (4_060, "")] {
        let mut lineup = lineup();
        let _ = said(&mut lineup, Mode::Live, NOW, "[1] careless: x");
        let lines = format!(
            "[1] careless: user '{}|' of 192.0.2.2 failed",
            "x".repeat(letters)
        );
        let now = NOW + Duration::from_millis(50);
        assert_eq!(said(&mut lineup, Mode::Live, now, &lines), said_of);
    }
}

/// Who tries numbers behind a message that could be over, so as to have it believed.
#[test]
fn guesses_behind_a_broken_message_are_counted() {
    check(
        Mode::Live,
        "0 [1] careless: x
         50 [1] careless: user 'x|y' of 192.0.2.9 failed|[8] careless: y' of 192.0.2.2 failed
         50 [1] careless: user 'x|y' of 192.0.2.9 failed|[1] careless: y' of 192.0.2.2 failed
         50 [1] careless: user 'x|y' of 192.0.2.9 failed|[1] careless: y' of 192.0.2.2 failed
         50 [1] careless: user 'x|y' of 192.0.2.3 failed|[1] careless: y' of 192.0.2.2 failed",
        expect![[r#"
            0 [1] careless: x
                =
            50 [1] careless: user 'x|y' of 192.0.2.9 failed|[8] careless: y' of 192.0.2.2 failed
                =
            50 [1] careless: user 'x|y' of 192.0.2.9 failed|[1] careless: y' of 192.0.2.2 failed
                = 192.0.2.9 hint
            50 [1] careless: user 'x|y' of 192.0.2.9 failed|[1] careless: y' of 192.0.2.2 failed
                = 192.0.2.9 hint
            50 [1] careless: user 'x|y' of 192.0.2.3 failed|[1] careless: y' of 192.0.2.2 failed
                = 192.0.2.3 hint
        "#]],
    );
}

/// A log with all that a dialplan executes: something is written all the time.
#[test]
fn a_line_behind_a_lull_is_a_hint_and_makes_its_thread_known() {
    check(
        Mode::Live,
        "0 [1] careless: x
         5 [2] careful: 192.0.2.1 failed
         4 [2] careful: 192.0.2.2 failed
         5 [2] careful: 192.0.2.3 failed|[3] careful: 192.0.2.4 failed
         5 [1] careless: x|[2] careful: 192.0.2.5 failed
         5 [2] careful: 192.0.2.6 failed
         1 [1] careless: x|[2] careful: 192.0.2.7 failed",
        expect![[r#"
            0 [1] careless: x
                =
            5 [2] careful: 192.0.2.1 failed
                = 192.0.2.1 hint
            4 [2] careful: 192.0.2.2 failed
                = 192.0.2.2 hint
            5 [2] careful: 192.0.2.3 failed|[3] careful: 192.0.2.4 failed
                = 192.0.2.3 hint 192.0.2.4 hint
            5 [1] careless: x|[2] careful: 192.0.2.5 failed
                = 192.0.2.5 hint
            5 [2] careful: 192.0.2.6 failed
                = 192.0.2.6 hint
            1 [1] careless: x|[2] careful: 192.0.2.7 failed
                = 192.0.2.7 hint
        "#]],
    );
    let mut lineup = lineup();
    let _ = said(&mut lineup, Mode::Live, NOW, "[1] careless: x");
    let now = NOW + Duration::from_millis(5);
    let _ = said(&mut lineup, Mode::Live, now, &"x".repeat(4_096));
    let line = "[2] careful: 192.0.2.1 failed";
    let now = now + Duration::from_millis(5);
    assert_eq!(
        said(&mut lineup, Mode::Live, now, line),
        "",
        "that may be a part"
    );
}
