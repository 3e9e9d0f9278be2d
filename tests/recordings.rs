//! Our filters over recordings of real servers under attack (`tests/logs`).
//!
//! Each line of `NAME.log` has a row in `NAME.tsv`: its number, the attack that ran, the
//! true source, a verdict. An `offence` and a `typo` count for their true source and
//! nobody else; nothing else counts for anybody, but for a `fragment`, which may count
//! for its true source.

mod framings;
mod mixed;
mod tries;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;
use ringfence::config;
use ringfence::filter::follow::Ask;
use ringfence::filter::lines::{Attached, Found, Lineup, Mode, Reading};
use ringfence::ticket::{Sight, Trust};
use ringfence::time::Time;

/// Long after the recordings were made, in the same year.
const NOW: Time = Time::from_secs(1_796_000_000);

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/logs")
}

fn lineup(filter: &str) -> Lineup {
    lineup_of(&[filter], 0)
}

/// These filters, a jail each, on log number `log`.
fn lineup_of(filters: &[&str], log: u16) -> Lineup {
    let nothing_configured = Path::new("/nonexistent");
    let attached = |filter: &&str| Attached {
        zone: None,
        jail: (*filter).into(),
        filter: Arc::new(config::filter(nothing_configured, filter).expect("our filter")),
        findtime: Duration::from_secs(600),
    };
    let attached = filters.iter().map(attached).collect();
    Lineup::new(attached, log, TimeZone::UTC, NOW)
}

/// A line of a recording.
#[derive(Clone)]
struct Recorded {
    attack: String,
    source: String,
    verdict: String,
    /// With its newline.
    line: Vec<u8>,
}

/// A recording and its verdicts.
fn recording(name: &str) -> Vec<Recorded> {
    let log = fs::read(folder().join(format!("{name}.log"))).expect("the recording");
    let table = fs::read_to_string(folder().join(format!("{name}.tsv"))).expect("its verdicts");
    let lines: Vec<&[u8]> = log.split_inclusive(|byte| *byte == b'\n').collect();
    assert_eq!(lines.len(), table.lines().count());
    let recorded = |(row, line): (&str, &[u8])| {
        let [_, attack, source, verdict] = row.split('\t').collect::<Vec<_>>()[..] else {
            panic!("{row}")
        };
        Recorded {
            attack: attack.to_owned(),
            source: source.to_owned(),
            verdict: verdict.to_owned(),
            line: line.to_owned(),
        }
    };
    table.lines().zip(lines).map(recorded).collect()
}

/// What the filters find in a block of one line.
fn found(lineup: &mut Lineup, line: &[u8]) -> Option<Found> {
    let mut all = Vec::new();
    lineup.block(line, Mode::Replay, NOW, |found| all.push(found));
    assert!(all.len() <= 1, "{all:?}");
    all.pop()
}

/// Whom the filter blames for each line, handed to it alone.
fn blamed(filter: &str, log: &[u8]) -> Vec<Option<String>> {
    blamed_by(lineup(filter), log)
}

fn blamed_by(mut lineup: Lineup, log: &[u8]) -> Vec<Option<String>> {
    let lines = log.split_inclusive(|byte| *byte == b'\n');
    lines
        .map(|line| match found(&mut lineup, line)? {
            Found::Failure(failure) => Some(failure.addr.to_string()),
            Found::Sighting(_) => None,
            Found::Named(named) => panic!("our filters do not look up {}", named.name),
        })
        .collect()
}

/// What is made of a line that comes of `source`, handed over as a block of its own.
fn made(lineup: &mut Lineup, line: &[u8], source: &str) -> String {
    let reading = Reading {
        mode: Mode::Replay,
        now: NOW,
        ask: Ask::First,
    };
    let mut all = Vec::new();
    lineup.matches(line, reading, |_, _, found| all.push(found));
    assert!(all.len() <= 1, "{all:?}");
    let Some(found) = all.pop() else {
        return "nobody".to_owned();
    };
    let what = match (found.sight, found.again) {
        (Some(Sight::Success), _) => "succeeds",
        (Some(Sight::Challenge), _) => "is challenged",
        (None, false) => "fails",
        (None, true) => "has failed by the line before",
    };
    let addr = found.addr().expect("our filters do not look up names");
    let whose = match addr.to_string() == source {
        true => "its source",
        false => "ANOTHER",
    };
    let trust = match found.trust {
        Trust::Proof => "proven",
        Trust::Hint => "a hint",
    };
    format!("{whose} {what}, {trust}")
}

/// Counts lines by verdict and by what the filters make of them.
fn judged<'r>(
    lineup: &mut Lineup,
    lines: impl IntoIterator<Item = &'r Recorded>,
) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for recorded in lines {
        let made = made(lineup, &recorded.line, &recorded.source);
        *counts
            .entry(format!("{}: {made}", recorded.verdict))
            .or_default() += 1;
    }
    counts
}

fn shown(counts: &BTreeMap<String, usize>) -> String {
    let rows = counts.iter();
    rows.map(|(what, count)| format!("{what} {count}\n"))
        .collect()
}

fn check(filter: &str, name: &str, expected: expect_test::Expect) {
    let counts = judged(&mut lineup(filter), &recording(name));
    expected.assert_eq(&shown(&counts));
}

#[test]
fn kamailio() {
    check(
        "kamailio",
        "kamailio-5.6",
        expect_test::expect![[r#"
            nameless: nobody 42
            noise: nobody 7
            offence: its source fails, a hint 244
            offence: its source fails, proven 99
            typo: its source fails, a hint 1
            typo: its source fails, proven 1
        "#]],
    );
}

/// 32 lines are an attacker's own, whole, who put a newline into a user name. They blame
/// nobody: the number of their thread is made up. All else in a log in which chan_sip
/// writes is a hint when it is played again.
#[test]
fn asterisk() {
    check(
        "asterisk",
        "asterisk-16",
        expect_test::expect![[r#"
            challenge: its source is challenged, a hint 294
            forged: nobody 32
            fragment: nobody 44
            nameless: nobody 87
            noise: nobody 127
            offence: its source fails, a hint 461
            offence: its source has failed by the line before, a hint 26
            success: its source succeeds, a hint 4
            typo: its source fails, a hint 2
        "#]],
    );
}

#[test]
fn neither_filter_sees_anything_in_the_others_log() {
    for (filter, name) in [("asterisk", "kamailio-5.6"), ("kamailio", "asterisk-16")] {
        let log = fs::read(folder().join(format!("{name}.log"))).expect("the recording");
        assert!(
            blamed(filter, &log).iter().all(Option::is_none),
            "{filter} in {name}"
        );
    }
}

/// The gate may let lines through in vain, and never holds one back: every line that
/// the filter matches without a gate, it matches with one.
#[test]
fn the_gate_changes_no_verdict() {
    for (filter, name) in [("asterisk", "asterisk-16"), ("kamailio", "kamailio-5.6")] {
        let log = fs::read(folder().join(format!("{name}.log"))).expect("the recording");
        let compiled = config::filter(Path::new("/nonexistent"), filter).expect("our filter");
        assert_eq!(compiled.exact(), None, "{filter} has no gate");
        let gated = blamed_by(lineup(filter), &log);
        let mut lineup = lineup(filter);
        lineup.open_gate();
        assert_eq!(gated, blamed_by(lineup, &log), "{filter}");
    }
}

/// `ringfence scan` over a recording: who failed how often and who would be banned.
fn scan(jail: &str, name: &str, expected: expect_test::Expect) {
    let output = Command::new(env!("CARGO_BIN_EXE_ringfence"))
        .args(["scan", "--json", "--jail", jail])
        .args(["--config-dir", "/nonexistent"])
        .arg(folder().join(format!("{name}.log")))
        .env("TZ", "UTC")
        .output()
        .expect("ringfence");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let mut shown = format!(
        "{} lines, {} failures\n",
        report["lines"], report["failures"]
    );
    for offender in report["offenders"].as_array().expect("offenders") {
        let addr = offender["addr"].as_str().unwrap();
        let bans = offender["bans"].as_array().unwrap().len();
        let row = format!(
            "{addr} {} {} {bans}\n",
            offender["failures"], offender["tries"]
        );
        shown.push_str(&row);
    }
    expected.assert_eq(&shown);
}

#[test]
fn scan_tells_who_would_be_banned() {
    scan(
        "kamailio",
        "kamailio-5.6",
        expect_test::expect![[r#"
            394 lines, 345 failures
            198.51.100.112 194 5 2
            2001:db8:bad::/64 35 5 1
            198.51.100.103 19 5 1
            198.51.100.104 19 5 1
            198.51.100.105 16 5 1
            198.51.100.107 16 5 1
            198.51.100.111 16 5 1
            198.51.100.113 13 5 1
            198.51.100.106 6 5 1
            198.51.100.117 6 5 1
            198.51.100.114 2 1 0
            203.0.113.20 2 1 0
            198.51.100.101 1 1 0
        "#]],
    );
}

/// The phone, 203.0.113.20, has mistyped once; 16 forged lines say more.
#[test]
fn scan_is_not_misled_by_forged_lines() {
    scan(
        "asterisk",
        "asterisk-16",
        expect_test::expect![[r#"
            1077 lines, 449 failures
            198.51.100.112 207 5 1
            198.51.100.121 46 5 1
            2001:db8:bad::/64 34 5 1
            198.51.100.109 27 5 1
            198.51.100.117 18 5 1
            198.51.100.119 18 5 1
            198.51.100.103 14 5 1
            198.51.100.104 14 5 1
            198.51.100.105 12 5 1
            198.51.100.106 12 5 1
            198.51.100.108 12 5 1
            198.51.100.111 12 5 1
            198.51.100.115 9 5 1
            198.51.100.107 6 5 1
            198.51.100.116 6 3 0
            203.0.113.20 2 1 0
        "#]],
    );
}

#[test]
fn scan_reads_the_last_line_without_its_newline_and_says_what_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("k.log");
    let line = "Nov 22 07:49:07 sip1 kamailio[1]: NOTICE: {1 2 REGISTER x} <script>: Auth error for 1@x from 198.51.100.103 cause -2";
    fs::write(&log, format!("{line}\n{line}")).unwrap();
    let scan = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_ringfence"))
            .args(["scan", "--config-dir", "/nonexistent"])
            .args(arguments)
            .output()
            .unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).unwrap())
    };
    let path = log.to_str().unwrap();
    let (code, text) = scan(&[path]);
    assert!(
        code == Some(0) && text.contains("2 lines, 2 failures of 1 offender; 0 would"),
        "{text}"
    );
    let (code, text) = scan(&["--filter", "kamailio", path]);
    assert!(code == Some(0) && text.contains("2 failures"), "{text}");
    // Judged as by the jail that has the filter; one that no jail has, by [DEFAULT].
    let settings = folder.path().join("settings");
    fs::create_dir_all(settings.join("jail.d")).unwrap();
    fs::create_dir_all(settings.join("filter.d")).unwrap();
    let write = |name: &str, text: &str| fs::write(settings.join(name), text).unwrap();
    write(
        "jail.d/a.conf",
        "[DEFAULT]\nmaxretry = 1\nbantime = 2h\n[kamailio]\nmaxretry = 2\nbantime = 3h\n[asterisk]\nmaxretry = 9\n",
    );
    write(
        "filter.d/own.conf",
        "[Definition]\nfailregex = Auth error for .* from <ADDR> cause\n",
    );
    for (filter, expected) in [
        ("kamailio", "for 3h: 2 failed tries"),
        ("own", "for 2h: 1 failed try"),
    ] {
        let settings = settings.to_str().unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_ringfence"))
            .args(["scan", "--config-dir", settings, "--filter", filter, path])
            .output()
            .unwrap();
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(text.contains(expected), "{filter}: {text}");
    }
    let (code, text) = scan(&["--jail", "sshd", path]);
    assert!(
        code == Some(1) && text.contains("there is no jail `sshd`; there are: asterisk, kamailio"),
        "{text}"
    );
    let (code, text) = scan(&["--filter", "sshd", path]);
    assert!(code == Some(1) && text.contains("sshd"), "{text}");
    // The same through a pipe, by name and on standard input.
    for arguments in ["/dev/stdin", "-"] {
        let command = format!(
            "cat {path} | {} scan --config-dir /nonexistent {arguments}",
            env!("CARGO_BIN_EXE_ringfence")
        );
        let output = Command::new("sh").args(["-c", &command]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let expected = format!("{arguments}: 2 lines, 2 failures of 1 offender; 0 would");
        assert!(text.contains(&expected), "{text}");
    }
    let (code, text) = scan(&["/nonexistent.log"]);
    assert!(
        code == Some(1) && text.contains("/nonexistent.log"),
        "{text}"
    );
}

/// Lines that were made to frame somebody (203.0.113.9), and whom they may blame.
#[test]
fn nobody_is_framed_by_a_call_id_or_a_user_agent() {
    let head = "Nov 22 07:49:07 sip1 kamailio[7]:";
    let frame = "<script>: Failed REGISTER authentication from 203.0.113.9:5060 user=";
    for (text, blamed_one) in [
        (format!("ERROR: {{1 1 REGISTER x}} {frame}}} <core> [core/resolve.c:12]: bad uri"), None),
        (format!("ERROR: {{1 1 REGISTER x}} {frame}}} <script>: Blocking traffic from 198.51.100.7"), None),
        (format!("ERROR: {{1 1 REGISTER x}} <core> [core/parser/parse_from.c:107]: bad uri [}} {frame}1"), None),
        (
            "ERROR: {1 1 REGISTER x} <core> [core/parser/parse_from.c:107]: bad uri [} <script>: Blocking traffic from 203.0.113.9".to_owned(),
            None,
        ),
        (format!("WARNING: {{1 1 REGISTER x}} <script>: Failed REGISTER authentication from 198.51.100.7:5060 user=1 ua=}} {frame}2"), None),
        (
            "WARNING: {1 1 REGISTER x} <script>: Failed REGISTER authentication from 198.51.100.7:5060 user=1 ua=Blocking traffic from 203.0.113.9".to_owned(),
            Some("198.51.100.7"),
        ),
    ] {
        let line = format!("{head} {text}\n");
        assert_eq!(blamed("kamailio", line.as_bytes()), [blamed_one.map(str::to_owned)], "{text}");
    }
}

/// The documented way to add lines: whatever the built-in filter finds is found still.
#[test]
fn an_administrators_lines_stand_beside_ours() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("filter.d")).unwrap();
    let own = [
        ("failregex", "<head>No entry for <ADDR>$"),
        ("successregex", "<head>Welcome <ADDR>$"),
        ("challengeregex", "<head>Who is <ADDR>$"),
        ("ignoreregex", "of the house$"),
    ];
    let own: String = own
        .iter()
        .map(|(key, regex)| format!("{key} = %(known/{key})s\n    {regex}\n"))
        .collect();
    let local = folder.path().join("filter.d/kamailio.local");
    fs::write(local, format!("[Definition]\n{own}")).unwrap();
    let attached = Attached {
        zone: None,
        jail: "kamailio".into(),
        filter: Arc::new(config::filter(folder.path(), "kamailio").expect("our filter")),
        findtime: Duration::from_secs(600),
    };
    let mut lineup = Lineup::new(vec![attached], 0, TimeZone::UTC, NOW);
    let mut said = String::new();
    for text in [
        "Blocking traffic from 198.51.100.7",
        "No entry for 198.51.100.7",
        "Auth success for 1@x from 198.51.100.7",
        "Welcome 198.51.100.7",
        "Auth challenge for 1@x from 198.51.100.7",
        "Who is 198.51.100.7",
        "Welcome 198.51.100.7 of the house",
    ] {
        let line = format!("Nov 22 07:49:07 sip1 kamailio[1]: NOTICE: <script>: {text}\n");
        let made = made(&mut lineup, line.as_bytes(), "198.51.100.7");
        said += &format!("{text}: {made}\n");
    }
    expect_test::expect![[r#"
        Blocking traffic from 198.51.100.7: its source fails, a hint
        No entry for 198.51.100.7: its source fails, a hint
        Auth success for 1@x from 198.51.100.7: its source succeeds, proven
        Welcome 198.51.100.7: its source succeeds, a hint
        Auth challenge for 1@x from 198.51.100.7: its source is challenged, a hint
        Who is 198.51.100.7: its source is challenged, a hint
        Welcome 198.51.100.7 of the house: nobody
    "#]]
    .assert_eq(&said);
}
