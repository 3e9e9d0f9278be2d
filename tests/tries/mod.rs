//! The tries of each attack in the recordings: the most lines of one form.
//!
//! By hand they were counted from the exchange: how often did the source ask for
//! something and was refused in the end, whatever was written of it. Of whom an ACL keeps
//! out, and of an account that pjsip does not know, the server writes the same line twice: of
//! the request without credentials and of the one that follows with them (`<F-TWICE>`).
//! `inject` and `newline` are hundreds of packets, and were not counted by hand.

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
                6,
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
                6,
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

/// One attempt each, as 16.28 wrote it in `tests/lab/asterisk`, the heads left out; `#` is its
/// number. Of 6 that are made in a row 6 tries are counted, in so many forms.
#[test]
fn attempts_that_are_not_in_the_recordings() {
    for (count, attempt) in [
        (3, "acl.c: SIP ACL: Rejecting '198.51.100.62' due to a failure to pass ACL '(BASELINE)'
         res_pjsip/pjsip_distributor.c: Request 'REGISTER' from '<sip:1003@192.0.2.10>' failed for '198.51.100.62:44187' (callid: 189-#@198.51.100.62) - Not match Endpoint ACL
         acl.c: SIP ACL: Rejecting '198.51.100.62' due to a failure to pass ACL '(BASELINE)'
         res_pjsip/pjsip_distributor.c: Request 'REGISTER' from '<sip:1003@192.0.2.10>' failed for '198.51.100.62:44187' (callid: 189-#@198.51.100.62) - Not match Endpoint ACL
         res_pjsip/pjsip_distributor.c: Request 'REGISTER' from '<sip:1003@192.0.2.10>' failed for '198.51.100.62:44187' (callid: 189-#@198.51.100.62) - Failed to authenticate"),
        (1, "res_security_log.c: SecurityEvent=\"FailedACL\",EventTV=\"2026-11-29T00:11:03.383+0000\",Severity=\"Error\",Service=\"PJSIP\",EventVersion=\"1\",AccountID=\"1003\",SessionID=\"190-#@198.51.100.62\",LocalAddress=\"IPV4/UDP/192.0.2.10/5062\",RemoteAddress=\"IPV4/UDP/198.51.100.62/38237\",ACLName=\"not_match_endpoint_acl\"
         res_security_log.c: SecurityEvent=\"FailedACL\",EventTV=\"2026-11-29T00:11:03.384+0000\",Severity=\"Error\",Service=\"PJSIP\",EventVersion=\"1\",AccountID=\"1003\",SessionID=\"190-#@198.51.100.62\",LocalAddress=\"IPV4/UDP/192.0.2.10/5062\",RemoteAddress=\"IPV4/UDP/198.51.100.62/38237\",ACLName=\"not_match_endpoint_acl\""),
        (2, "chan_sip.c: Registration from '<sip:1004@192.0.2.10>' failed for '198.51.100.65:38781' - Peer is not supposed to register
         res_security_log.c: SecurityEvent=\"FailedACL\",EventTV=\"2026-11-29T00:11:07.673+0000\",Severity=\"Error\",Service=\"SIP\",EventVersion=\"1\",AccountID=\"1004\",SessionID=\"0x7f8d6c027d90\",LocalAddress=\"IPV4/UDP/192.0.2.10/5060\",RemoteAddress=\"IPV4/UDP/198.51.100.65/38781\",ACLName=\"peer_not_dynamic\"
         chan_sip.c: Registration from '<sip:1004@192.0.2.10>' failed for '198.51.100.65:38781' - Peer is not supposed to register
         res_security_log.c: SecurityEvent=\"FailedACL\",EventTV=\"2026-11-29T00:11:07.674+0000\",Severity=\"Error\",Service=\"SIP\",EventVersion=\"1\",AccountID=\"1004\",SessionID=\"0x7f8d6c027d90\",LocalAddress=\"IPV4/UDP/192.0.2.10/5060\",RemoteAddress=\"IPV4/UDP/198.51.100.65/38781\",ACLName=\"peer_not_dynamic\""),
        // An account that is not there, by a scanner with one Call-ID for all that it asks.
        (2, "res_pjsip/pjsip_distributor.c: Request 'REGISTER' from '<sip:7777@192.0.2.10>' failed for '198.51.100.66:55048' (callid: 222-0@198.51.100.66) - No matching endpoint found after # tries in 0.402 ms
         res_pjsip/pjsip_distributor.c: Request 'REGISTER' from '<sip:7777@192.0.2.10>' failed for '198.51.100.66:55048' (callid: 222-0@198.51.100.66) - No matching endpoint found after # tries in 0.402 ms
         res_pjsip/pjsip_distributor.c: Request 'REGISTER' from '<sip:7777@192.0.2.10>' failed for '198.51.100.66:55048' (callid: 222-0@198.51.100.66) - Failed to authenticate"),
    ] {
        let mut lineup = lineup_of(&["asterisk"], 0);
        let mut forms: BTreeMap<u32, u32> = BTreeMap::new();
        for number in 1..=6 {
            for line in attempt.replace('#', &number.to_string()).lines() {
                let line = format!("[Nov 22 07:51:22] NOTICE[109] {}\n", line.trim());
                let Some(Found::Failure(failure)) = found(&mut lineup, line.as_bytes()) else {
                    continue;
                };
                *forms.entry(failure.form).or_default() += 1;
            }
        }
        let tries: Vec<u32> = forms.into_values().collect();
        assert_eq!(tries, vec![6; count], "{attempt}");
    }
}
