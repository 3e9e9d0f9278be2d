//! The tries of each attack in the recordings: the most lines of one form.
//!
//! By hand they were counted from the exchange: how often did the source ask for
//! something and was refused in the end, whatever was written of it. Three attacks count
//! for more than that, since the server refuses, and reports, a request without
//! credentials as well as the one that follows with them (an unknown account of pjsip's
//! from its fifth request on, an ACL of chan_sip's): two lines of one form for one try,
//! and no word in them that would tell them apart. `inject` and `newline` are hundreds of
//! packets, and were not counted by hand.

use std::collections::BTreeMap;

use ringfence::filter::lines::Found;

use super::{found, lineup_of, recording};

/// For each attack and source: the tries, when `split` tells which log a line stands in.
fn tries(name: &str, filter: &str, split: fn(&[u8]) -> u16) -> Vec<String> {
    let mut lineups: Vec<_> = (0..2).map(|log| lineup_of(&[filter], log)).collect();
    let mut forms: BTreeMap<(String, String), BTreeMap<u32, u32>> = BTreeMap::new();
    let mut log = 0;
    for recorded in recording(name) {
        // What a sender wrote stands in the log of the line whose message it is part of.
        if !["forged", "fragment"].contains(&recorded.verdict.as_str()) {
            log = split(&recorded.line);
        }
        let lineup = &mut lineups[usize::from(log)];
        if let Some(Found::Failure(failure)) = found(lineup, &recorded.line) {
            let forms = forms.entry((recorded.attack, failure.addr.to_string()));
            *forms.or_default().entry(failure.form).or_default() += 1;
        }
    }
    let rows = forms.iter().map(|((attack, addr), forms)| {
        let tries = forms.values().max().expect("a form");
        format!("{attack} {addr} {tries}")
    });
    rows.collect()
}

/// Attack, source, what we count, what a person counts and why.
type Row = (&'static str, &'static str, u32, &'static str);

fn check(found: &[String], rows: &[Row]) {
    let rows = rows
        .iter()
        .map(|(attack, addr, tries, _)| format!("{attack} {addr} {tries}"));
    let expected: Vec<String> = rows.collect();
    assert_eq!(found, expected, "{found:#?}");
}

#[test]
fn asterisk() {
    let one = tries("asterisk-16", "asterisk", |_| 0);
    check(
        &one,
        &[
            (
                "acl",
                "198.51.100.117",
                12,
                "6 REGISTERs, each refused without and with credentials",
            ),
            (
                "ami",
                "198.51.100.109",
                9,
                "9 logins: 3 wrong passwords, 3 unknown users, 3 stopped by an ACL",
            ),
            (
                "crack",
                "198.51.100.103",
                7,
                "7 passwords, one wrong answer each",
            ),
            (
                "crack-ghost",
                "198.51.100.104",
                7,
                "7 passwords for an account that is not there",
            ),
            (
                "crack6",
                "2001:db8:bad::110",
                7,
                "7 passwords, one wrong answer each",
            ),
            (
                "enum-invite",
                "198.51.100.108",
                6,
                "6 INVITEs: 5 to no extension, 1 to one behind an ACL",
            ),
            ("fraud", "198.51.100.106", 6, "6 INVITEs to numbers abroad"),
            (
                "ghost6",
                "2001:db8:bad::120",
                8,
                "6 REGISTERs; from the 5th request on each is reported without and with credentials",
            ),
            (
                "honest-typo",
                "203.0.113.20",
                1,
                "1 wrong password; the next one was right",
            ),
            (
                "http",
                "198.51.100.116",
                3,
                "3 logins with a wrong password",
            ),
            (
                "iax",
                "198.51.100.115",
                6,
                "3 wrong passwords and 3 unknown peers, who ask twice",
            ),
            ("inject", "198.51.100.112", 76, "-"),
            (
                "inject-ami",
                "198.51.100.119",
                6,
                "6 logins of unknown users",
            ),
            (
                "invite-bad",
                "198.51.100.107",
                6,
                "6 INVITEs with a wrong password",
            ),
            ("newline", "198.51.100.121", 28, "-"),
            (
                "register",
                "198.51.100.105",
                6,
                "6 REGISTERs with a wrong password",
            ),
            (
                "tcp",
                "198.51.100.111",
                6,
                "6 REGISTERs with a wrong password",
            ),
        ],
    );
    // `messages` and `security` apart: the same tries.
    let is_security = |line: &[u8]| u16::from(line.windows(10).any(|part| part == b"] SECURITY"));
    assert_eq!(one, tries("asterisk-16", "asterisk", is_security));
}

#[test]
fn kamailio() {
    check(
        &tries("kamailio-5.6", "kamailio", |_| 0),
        &[
            (
                "acl",
                "198.51.100.117",
                6,
                "6 REGISTERs of a blacklisted address",
            ),
            (
                "crack",
                "198.51.100.103",
                7,
                "7 passwords, one wrong answer each",
            ),
            (
                "crack-ghost",
                "198.51.100.104",
                7,
                "7 passwords for an account that is not there",
            ),
            (
                "crack6",
                "2001:db8:bad::110",
                7,
                "7 passwords, one wrong answer each",
            ),
            ("flood", "198.51.100.114", 1, "1 flood, stopped once"),
            ("fraud", "198.51.100.106", 6, "6 INVITEs to numbers abroad"),
            (
                "ghost6",
                "2001:db8:bad::120",
                6,
                "6 REGISTERs of an unknown account",
            ),
            (
                "honest-typo",
                "203.0.113.20",
                1,
                "1 wrong password; the next one was right",
            ),
            ("inject", "198.51.100.112", 64, "-"),
            (
                "invite-bad",
                "198.51.100.107",
                6,
                "6 INVITEs with a wrong password",
            ),
            (
                "malformed",
                "198.51.100.113",
                6,
                "6 requests that make no sense",
            ),
            (
                "register",
                "198.51.100.105",
                6,
                "6 REGISTERs with a wrong password",
            ),
            ("scan", "198.51.100.101", 1, "1 OPTIONS of a scanner"),
            (
                "tcp",
                "198.51.100.111",
                6,
                "6 REGISTERs with a wrong password",
            ),
        ],
    );
}
