//! What must come of lines that make a backtracker run for ever, without a clock:
//! those that an automaton can judge are judged, and for the others the steps run out,
//! the line counts as not matched, and that is counted and said.

#[path = "common/redos.rs"]
mod redos;

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use expect_test::expect;
use jiff::tz::TimeZone;
use redos::{ATTACKS, Attack, LENGTHS};
use ringfence::filter::follow::Ask;
use ringfence::filter::lines::{Attached, Lineup, Mode, Reading};
use ringfence::filter::lint::{Fault, lint};
use ringfence::filter::pattern::{Pattern, Steps, expand};
use ringfence::filter::{Filter, FilterText};
use ringfence::time::Time;

fn text(attack: &Attack) -> FilterText {
    FilterText {
        failregex: vec![attack.regex.to_owned()],
        datepattern: Some("{NONE}".to_owned()),
        ..FilterText::default()
    }
}

/// What comes of a line of this length.
fn judged(attack: &Attack, length: usize) -> &'static str {
    judge(&text(attack), &attack.line(length))
}

/// What the daemon's reader would make of the line.
fn judge(text: &FilterText, line: &str) -> &'static str {
    let filter = Filter::compile(text).expect("good patterns");
    let attached = Attached {
        zone: None,
        jail: "redos".into(),
        filter: Arc::new(filter),
        findtime: Duration::from_secs(600),
    };
    let mut lineup = Lineup::new(vec![attached], 0, TimeZone::UTC, Time::from_secs_f64(0.0));
    let reading = Reading {
        mode: Mode::Live,
        now: Time::from_secs_f64(0.0),
        ask: Ask::First,
    };
    let mut matches = 0;
    let block = format!("{line}\n");
    lineup.matches(block.as_bytes(), reading, |_, _, _| matches += 1);
    match (matches, lineup.given_up()) {
        (0, 0) => "no",
        (1, 0) => "yes",
        (0, 1) => "given up",
        _ => "both",
    }
}

#[test]
fn every_attack_ends_in_one_of_two_ways() {
    let mut shown = String::new();
    for attack in &ATTACKS {
        let ends = LENGTHS.map(|length| judged(attack, length));
        writeln!(shown, "{}: {}", attack.name, ends.join(", ")).expect("a string");
    }
    expect![[r#"
        nested plus: no, no, no, no
        a or aa: no, no, no, no
        a or nothing: no, no, no, no
        twenty of anything: no, no, no, no
        letters, starred twice: no, no, no, no
        name of a class (OWASP): no, no, no, no
        mail address (OWASP): no, no, no, no
        blanks at the end: no, no, no, no
        anything, twice, and =: no, no, no, no
        dots and stars: no, no, no, no
        words, and one again: given up, given up, given up, given up
        stars around a back-reference: given up, given up, given up, given up
        look-ahead in a loop: given up, given up, given up, given up
        look-ahead at each place: given up, given up, given up, given up
        words beyond ASCII: yes, yes, yes, given up
        the advisory, pieces: no, no, no, no
        the advisory, reasons: no, no, no, no
    "#]]
    .assert_eq(&shown);
}

#[test]
fn a_search_that_is_given_up_says_how_many_steps_it_took() {
    let attack = find("words, and one again");
    let pattern = Pattern::compile(&expand(attack.regex, true), false).expect("a good pattern");
    let error = pattern
        .find(&attack.line(1024))
        .expect_err("too many steps");
    expect![
        "no answer after 400000 steps of backtracking; simplify nested or repeated `.*` and `+`"
    ]
    .assert_eq(&error.to_string());
}

/// However many patterns a filter has, a line costs what one may cost. An automaton
/// needs no steps and still answers.
#[test]
fn the_steps_are_those_of_a_line() {
    let compile = |regex: &str| Pattern::compile(&expand(regex, true), false).expect(regex);
    let explosive = compile(r"^(?:(\w+)\s?)*=\1 from <HOST>$");
    let cheap = compile(r"^(a)\1");
    let regular = compile("from <HOST>$");
    let line = format!("{}=b from 192.0.2.1", "a".repeat(1_000));
    let mut steps = Steps::default();
    assert!(
        cheap
            .find_within(&line, &mut steps)
            .is_ok_and(|found| found.is_some())
    );
    assert!(explosive.find_within(&line, &mut steps).is_err());
    assert!(
        regular
            .find_within(&line, &mut steps)
            .is_ok_and(|found| found.is_some())
    );
    assert!(explosive.find_within(&line, &mut steps).is_err());
    // Nothing is left even for what needs little.
    let line = format!("x{line}");
    let cheap = compile(r"(a)\1{500}");
    assert!(cheap.find_within(&line, &mut Steps::default()).is_ok());
    assert!(cheap.find_within(&line, &mut steps).is_err());
}

/// Whether the line is to be ignored is not known, and nobody is blamed in doubt.
#[test]
fn an_ignoreregex_that_is_given_up_ignores_the_line() {
    let attack = find("words, and one again");
    let line = attack.line(1024);
    let mut text = text(attack);
    text.failregex = vec!["from <HOST>$".to_owned()];
    assert_eq!(judge(&text, &line), "yes");
    text.ignoreregex = vec![r"^(?:(\w+)\s?)*=\1 from".to_owned()];
    assert_eq!(judge(&text, &line), "given up");
}

fn find(name: &str) -> &'static Attack {
    let attack = ATTACKS.iter().find(|attack| attack.name == name);
    attack.expect("it is there")
}

/// Whoever runs `check` is told beforehand.
#[test]
fn check_warns_of_patterns_that_may_be_given_up() {
    for attack in &ATTACKS {
        let ends = LENGTHS.map(|length| judged(attack, length));
        let findings = lint(&text(attack)).expect("a good pattern");
        let limited = |fault: &Fault| matches!(fault, Fault::StepLimit { .. });
        let warned = findings.iter().any(|finding| limited(&finding.fault));
        assert!(warned || !ends.contains(&"given up"), "{}", attack.name);
    }
}
