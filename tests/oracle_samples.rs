//! Our filters over the sample lines of fail2ban's own tests, which must be installed:
//! whatever its filters for these servers are expected to match, ours match too, and
//! blame the same address.
//!
//! The samples are read where the package has put them, and nothing of them is kept here.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use expect_test::{Expect, expect};
use jiff::tz::TimeZone;
use ringfence::config;
use ringfence::filter::Filter;
use ringfence::filter::lines::{Attached, Found, Lineup, Mode};
use ringfence::ticket::Sight;
use ringfence::time::Time;

const SAMPLES: &str = "/usr/lib/python3/dist-packages/fail2ban/tests/files/logs";
const NOW: Time = Time::from_secs(1_796_000_000);

/// A sample, and what fail2ban expects of its filter.
struct Sample {
    line: String,
    /// Whom it blames; `None` if it must not match.
    host: Option<String>,
    /// Is it an entry of the journal, so that nothing cuts its date out?
    journal: bool,
}

fn samples(name: &str) -> Vec<Sample> {
    let path = Path::new(SAMPLES).join(name);
    let text = fs::read_to_string(path).expect("fail2ban must be installed: apt install fail2ban");
    let mut samples = Vec::new();
    let (mut expected, mut prefix) = (None, None);
    for line in text.lines() {
        if let Some(options) = line.strip_prefix("# filterOptions: ") {
            let options: serde_json::Value = serde_json::from_str(options).expect("JSON");
            let journal = options[0]["logtype"] == "journal";
            let head = options[0]["test.prefix-line"].as_str().unwrap_or_default();
            prefix = journal.then(|| head.to_owned());
        } else if let Some(json) = line.strip_prefix("# failJSON: ") {
            expected = serde_json::from_str::<serde_json::Value>(json).ok();
        } else if let Some(expected) = expected.take() {
            let host = expected["host"].as_str().map(str::to_owned);
            samples.push(Sample {
                line: format!("{}{line}", prefix.as_deref().unwrap_or_default()),
                host: host.filter(|_| expected["match"] == true),
                journal: prefix.is_some(),
            });
        }
    }
    samples
}

/// What our filter makes of a sample: whom it sees, and as what.
fn seen(filter: &Arc<Filter>, sample: &Sample) -> Option<(String, &'static str)> {
    let attached = Attached {
        zone: None,
        jail: "jail".into(),
        filter: Arc::clone(filter),
        findtime: Duration::from_secs(600),
    };
    let mut lineup = Lineup::new(vec![attached], 0, TimeZone::UTC, NOW);
    let mut seen = None;
    let each = |found| {
        seen = Some(match found {
            Found::Failure(failure) => (failure.addr.to_string(), "failed"),
            Found::Sighting(sighting) => match sighting.sight {
                Sight::Challenge => (sighting.addr.to_string(), "challenged"),
                Sight::Success => (sighting.addr.to_string(), "succeeded"),
            },
            Found::Named(named) => panic!("our filters do not look up {}", named.name),
        });
    };
    match sample.journal {
        true => lineup.journal(&sample.line, NOW, Mode::Live, NOW, each),
        false => lineup.block(
            format!("{}\n", sample.line).as_bytes(),
            Mode::Replay,
            NOW,
            each,
        ),
    }
    seen
}

fn check(name: &str, expected: Expect) {
    let (mut failed, mut challenged, mut nobody) = (0, 0, 0);
    let filter = config::filter(Path::new("/nonexistent"), name).expect("our filter");
    let filter = Arc::new(filter);
    for sample in samples(name) {
        let seen = seen(&filter, &sample);
        let whom = seen.as_ref().map(|(host, _)| host.clone());
        assert_eq!(whom, sample.host, "{}", sample.line);
        match seen {
            Some((_, "challenged")) => challenged += 1,
            Some((_, what)) => {
                assert_eq!(what, "failed", "{}", sample.line);
                failed += 1;
            }
            None => nobody += 1,
        }
    }
    expected.assert_eq(&format!(
        "{failed} failed, {challenged} challenged, {nobody} nobody"
    ));
}

#[test]
fn asterisk() {
    check("asterisk", expect!["46 failed, 0 challenged, 0 nobody"]);
}

/// fail2ban counts a challenge as a failure unless told otherwise; every honest phone is
/// challenged first, so we do not.
#[test]
fn freeswitch() {
    check("freeswitch", expect!["7 failed, 1 challenged, 1 nobody"]);
}

/// FreeSWITCH's lines in all their forms, by its source; the last two blame nobody.
const FREESWITCH: &str = "\
2026-11-22 07:40:00.118206 97.43% [WARNING] sofia_reg.c:1533 SIP auth failure (REGISTER) on sofia profile 'internal' for [1001@192.0.2.1] from ip 198.51.100.3
0a1b2c3d-1763-7933-0411-176379330412 2026-11-22 07:40:01.118206 97.43% [WARNING] sofia_reg.c:2889 Can't find user [x] from 203.0.113.20@192.0.2.1] from 198.51.100.4
2026-11-22 07:40:02.118206 [WARNING] sofia.c:10533 IP 198.51.100.5 Rejected by acl \"domains\"
2026-11-22 07:40:02.118206 97.43% [WARNING] sofia_reg.c:1300 IP 198.51.100.5 Rejected by register acl \"domains\"
Nov 22 07:40:03 pbx freeswitch[12]: [WARNING] mod_event_socket.c:2889 IP 2001:db8:bad::5 Rejected by acl \"lan\"
2026-11-22T07:40:04.118206+00:00 pbx freeswitch[1]: 2026-11-22 07:40:04.118206 97.43% [WARNING] sofia_reg.c:1533 SIP auth failure (INVITE) on sofia profile 'internal' for [1001@192.0.2.1] from ip 2001:db8:bad::5
2026-11-22 07:40:05.118206 97.43% [DEBUG] mod_verto.c:123 Client Connect from 198.51.100.6:5060 refused by ACL wss
2026-11-22 07:40:06.118206 97.43% [DEBUG] sofia.c:10533 IP 198.51.100.7 Rejected by acl \"domains\". Falling back to Digest auth.
2026-11-22 07:40:07.118206 97.43% [WARNING] sofia_reg.c:3009 'sip:us@trunk' Registration Failed with status Forbidden [403]. failure #1 from 198.51.100.9
";

/// Runs fail2ban's own `fail2ban-regex`, or ours, over a log.
fn regex(program: &[&str], log: &Path, name: &str) -> String {
    let filters = Path::new(env!("CARGO_MANIFEST_DIR")).join("filters");
    let output = Command::new(program[0])
        .args(&program[1..])
        .args(["-o", "<ip>"])
        .arg(log)
        .arg(filters.join(format!("{name}.conf")))
        .env("TZ", "UTC")
        .output()
        .expect("fail2ban must be installed: apt install fail2ban");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("addresses")
}

/// Our filter files are fail2ban's as well: it loads them, and finds whom we find.
#[test]
fn fail2ban_finds_the_same_with_our_filters() {
    let logs = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/logs");
    let folder = tempfile::tempdir().expect("a folder");
    let freeswitch = folder.path().join("freeswitch.log");
    fs::write(&freeswitch, FREESWITCH).expect("a log");
    for (name, log, matches) in [
        ("asterisk", logs.join("asterisk-16.log"), 505),
        ("kamailio", logs.join("kamailio-5.6.log"), 345),
        ("freeswitch", freeswitch, 7),
    ] {
        let theirs = regex(&["fail2ban-regex"], &log, name);
        let ours = regex(&[env!("CARGO_BIN_EXE_ringfence"), "regex"], &log, name);
        assert_eq!(theirs.lines().count(), matches, "{name}: {theirs}");
        assert_eq!(theirs, ours, "{name}");
    }
}

/// What the other side of our own registrations says is no attack, nor what is said of the
/// address in a Contact header.
#[test]
fn our_own_trunk_is_no_attacker() {
    let lines = [
        "res_pjsip_outbound_registration.c: No response received from 'sip:203.0.113.9' on registration attempt to 'sip:us@203.0.113.9', retrying in '60' seconds",
        "res_pjsip_outbound_registration.c: '403' fatal response received from 'sip:203.0.113.9' on registration attempt to 'sip:us@203.0.113.9', stopping outbound registration",
        "res_pjsip_outbound_registration.c: Fatal response '401' received from 'sip:203.0.113.9:5060' on registration attempt to 'sip:us@203.0.113.9'",
        "chan_sip.c: Failed to authenticate on REGISTER to '<sip:us@203.0.113.9>;tag=1' (Tries 2)",
        "chan_sip.c: Forbidden - wrong password on authentication for REGISTER for 'us' to '203.0.113.9'",
        "chan_sip.c: Registration for 'us@203.0.113.9' timed out, trying again (Attempt #3)",
        "chan_sip.c: Got 404 Not found on SIP register to service us@203.0.113.9, giving up",
        "chan_sip.c: Failed to authenticate on INVITE to '\"x\" <sip:us@203.0.113.9>;tag=1'",
        "chan_iax2.c: Registration of 'us' rejected: 'Registration Refused' from: '203.0.113.9'",
        "res_pjsip_outbound_authenticator_digest.c: Host: 'sip:203.0.113.9': There were no auth ids available",
        "acl.c: SIP contact ACL: Rejecting '203.0.113.9' due to a failure to pass ACL 'contacts'",
        "acl.c: SIP Contact ACL: Rejecting '203.0.113.9' due to a failure to pass ACL '(BASELINE)'",
        "res_pjsip_acl.c: Incoming SIP message from 203.0.113.9:0 did not pass ACL test",
        "chan_sip.c: Call from '1001' (203.0.113.9:5060) to extension '9999' rejected because extension not found in context 'phones'.",
    ];
    let filter = config::filter(Path::new("/nonexistent"), "asterisk").expect("our filter");
    let filter = Arc::new(filter);
    for line in lines {
        let sample = Sample {
            line: format!("[Nov 22 07:51:22] WARNING[4741] {line}"),
            host: None,
            journal: false,
        };
        assert_eq!(seen(&filter, &sample), None, "{line}");
    }
}
