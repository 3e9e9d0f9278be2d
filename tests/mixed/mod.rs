//! The recordings together: both servers' lines in one log, and Asterisk's through syslog.

use expect_test::expect;
use regex::bytes::Regex;

use super::{Recorded, judged, lineup_of, recording, shown};

const BOTH: [&str; 2] = ["asterisk", "kamailio"];

/// Lines of two logs, one after the other in turns of one, two, three… lines.
fn mixed(first: Vec<Recorded>, second: Vec<Recorded>) -> Vec<Recorded> {
    let (mut first, mut second) = (first.into_iter().peekable(), second.into_iter().peekable());
    let mut all = Vec::new();
    for turn in (1..8).cycle() {
        all.extend(first.by_ref().take(turn));
        all.extend(second.by_ref().take(8 - turn));
        if first.peek().is_none() && second.peek().is_none() {
            return all;
        }
    }
    all
}

/// What is true of a recording is true of it among another server's lines, with both
/// filters at work on one log.
#[test]
fn both_servers_in_one_log() {
    let both = mixed(recording("asterisk-16"), recording("kamailio-5.6"));
    let counts = judged(&mut lineup_of(&BOTH, 0), &both);
    expect![[r#"
        challenge: its source is challenged, a hint 294
        forged: nobody 32
        fragment: nobody 44
        nameless: nobody 129
        noise: nobody 134
        offence: its source fails, a hint 705
        offence: its source fails, proven 99
        offence: its source has failed by the line before, a hint 26
        success: its source succeeds, a hint 4
        typo: its source fails, a hint 3
        typo: its source fails, proven 1
    "#]]
    .assert_eq(&shown(&counts));
}

/// Asterisk's lines as rsyslog writes them, the tails of broken ones back in their place:
/// syslog escapes newlines, so nothing is forged, and what the server knows is proven.
fn through_syslog(lines: Vec<Recorded>) -> Vec<Recorded> {
    let form = Regex::new(
        r"(?s-u)^\[([^\]]+)\] ([A-Z]+\[\d+\](?:\[C-[0-9a-f]+\])?):? ([\w./]+)(?:\.c)?: (.*)\n$",
    );
    let form = form.expect("a regex");
    let mut out: Vec<Recorded> = Vec::new();
    for recorded in lines {
        let is_tail = ["forged", "fragment"].contains(&recorded.verdict.as_str())
            || !recorded.line.starts_with(b"[");
        match (is_tail, out.last_mut()) {
            (true, Some(last)) => {
                last.line.pop();
                last.line.extend(b"#015#012");
                last.line.extend(&recorded.line);
                last.source = match recorded.verdict.as_str() {
                    "fragment" => {
                        last.verdict = "mended".to_owned();
                        recorded.source
                    }
                    _ => std::mem::take(&mut last.source),
                };
            }
            _ => {
                let written = form.replace(
                    &recorded.line,
                    b"Nov 22 07:51:22 pbx asterisk[77]: $2: $3:123 in some_function: $4\n"
                        .as_slice(),
                );
                out.push(Recorded {
                    line: of_pjproject(&written),
                    ..recorded
                });
            }
        }
    }
    out
}

/// pjproject's own messages have no place in Asterisk's source.
fn of_pjproject(line: &[u8]) -> Vec<u8> {
    let place = Regex::new(r"(?-u)pjproject:123 in some_function:").expect("a regex");
    place
        .replace(line, b"pjproject:0 in <?>:".as_slice())
        .into_owned()
}

#[test]
fn asterisk_through_syslog() {
    let lines = through_syslog(recording("asterisk-16"));
    let counts = judged(&mut lineup_of(&["asterisk"], 0), &lines);
    expect![[r#"
        challenge: its source is challenged, a hint 288
        challenge: its source is challenged, proven 6
        mended: its source fails, a hint 28
        mended: its source is challenged, a hint 16
        nameless: nobody 27
        noise: nobody 86
        offence: its source fails, a hint 334
        offence: its source fails, proven 127
        offence: its source has failed by the line before, a hint 26
        success: its source succeeds, proven 4
        typo: its source fails, proven 2
    "#]]
    .assert_eq(&shown(&counts));
}

/// The same in RFC 5424's form (rsyslog's `RSYSLOG_SyslogProtocol23Format`).
fn modern(lines: &[Recorded]) -> Vec<Recorded> {
    let form = Regex::new(r"(?s-u)^Nov 22 (\S+) (\S+) (\S+)\[(\d+)\]: ").expect("a regex");
    let modern = |recorded: &Recorded| {
        let head = b"<133>1 2026-11-22T$1.25+00:00 $2 $3 $4 - [a@1 b=\"]\"] ".as_slice();
        let line = form.replace(&recorded.line, head).into_owned();
        Recorded {
            line,
            ..recorded.clone()
        }
    };
    lines.iter().map(modern).collect()
}

#[test]
fn both_servers_in_one_syslog() {
    let asterisk = through_syslog(recording("asterisk-16"));
    let both = mixed(asterisk, recording("kamailio-5.6"));
    let counts = judged(&mut lineup_of(&BOTH, 0), &both);
    let modern = judged(&mut lineup_of(&BOTH, 0), &modern(&both));
    assert_eq!(shown(&modern), shown(&counts));
    expect![[r#"
        challenge: its source is challenged, a hint 288
        challenge: its source is challenged, proven 6
        mended: its source fails, a hint 28
        mended: its source is challenged, a hint 16
        nameless: nobody 69
        noise: nobody 93
        offence: its source fails, a hint 578
        offence: its source fails, proven 226
        offence: its source has failed by the line before, a hint 26
        success: its source succeeds, proven 4
        typo: its source fails, a hint 1
        typo: its source fails, proven 3
    "#]]
    .assert_eq(&shown(&counts));
}
