//! `ringfence why`, asked of the real program with real kernel sets and a real database.

#[path = "common/lab.rs"]
mod lab;
#[path = "common/namespace.rs"]
mod namespace;

use std::net::UdpSocket;

use lab::{Lab, line_of, may_send_from, wait};
use serde_json::{Value, json};

/// What `why` prints, and its exit code.
fn ask(lab: &Lab, arguments: &[&str]) -> (Option<i32>, String) {
    let output = lab.ringfence(&["why"]).args(arguments).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

/// The same as JSON.
fn json_of(lab: &Lab, addr: &str) -> Value {
    let (_, text) = ask(lab, &[addr, "--json"]);
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// Waits until the ban is laid on, and its lines are in the database.
fn wait_for_ban(lab: &Lab, addr: &str) {
    lab.wait_for_ban(addr);
    let has_lines = || {
        let lines = &json_of(lab, addr)["bans"][0]["lines"];
        lines.as_array().is_some_and(|lines| !lines.is_empty())
    };
    wait("the lines of a ban", has_lines, || lab.log());
}

/// All of these stand in the text.
fn has_all(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part}: {text}");
    }
}

namespaced! {
    fn a_person_and_a_program_are_told_why() {
        let mut lab = Lab::new("protect = ['192.0.2.99', '203.0.113.0/24']\n", "maxretry = 2");
        lab.start();
        may_send_from("192.0.2.0/24");
        lab.fail("192.0.2.7", 1);
        lab.write_log(&line_of("Failed REGISTER authentication from 192.0.2.7:5071 user=\u{1b}[2J10\u{9b}02"));
        lab.fail("192.0.2.7", 1);
        wait_for_ban(&lab, "192.0.2.7");
        UdpSocket::bind("192.0.2.7:0").unwrap().send_to(b"REGISTER", "127.0.0.1:5060").unwrap();

        let (code, text) = ask(&lab, &["192.0.2.7"]);
        assert_eq!(code, Some(3));
        has_all(&text, &["192.0.2.7 is HELD OFF", "by jail kamailio: 2 failed tries", "until ", " more",
            "filter kamailio", "from <ADDR> cause (?:<F-PROOF>-[23]</F-PROOF>|-1)$", "the last lines:",
            "from 192.0.2.7 cause -2", "\\u{1b}[2J10\\u{9b}02: 1 line, ", "port 5071",
            "Kernel: 1 packet (", "dropped by ringfence-kamailio", "APIBAN: not on the list that we hold",
            "ringfence unban 192.0.2.7"]);
        let is_plain = |letter: char| letter == '\n' || !letter.is_control();
        assert!(text.chars().all(is_plain), "{text:?}");
        let (code, text) = ask(&lab, &["192.0.2.7", "--json"]);
        assert!(code == Some(3) && text.chars().all(is_plain), "{text:?}");
        let why: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&why["blocked"], &why["bans"][0]["tries"], &why["bans"][0]["count"]), (&json!(true), &json!(2), &json!(1)));
        assert!(text.contains("\\u001b[2J10\\u009b02"), "it is the line as it was: {text}");

        // A neighbour: not enough yet, and later held by a wider ban.
        lab.fail("192.0.2.8", 1);
        wait("a try", || json_of(&lab, "192.0.2.8")["tries"][0]["tries"] == 1, || lab.log());
        let (code, text) = ask(&lab, &["192.0.2.8"]);
        assert_eq!(code, Some(0));
        has_all(&text, &["192.0.2.8 PASSES", "jail kamailio counts 1 of 2 tries of 192.0.2.8 within 10m", "from 192.0.2.8 cause -2"]);
        lab.says(0, &["ban", "192.0.2.0/28"]);
        let (code, text) = ask(&lab, &["192.0.2.8"]);
        assert_eq!(code, Some(3));
        has_all(&text, &["Ban of 192.0.2.0/28 by jail operator: an operator banned it by hand", "for ever",
            "To let it pass, with all of 192.0.2.0/28: ringfence unban 192.0.2.0/28\n"]);
        assert!(!text.contains("unban 192.0.2.8"), "it would not help: {text}");
        let text = lab.says(1, &["unban", "192.0.2.8"]);
        has_all(&text, &["jail operator holds all of 192.0.2.0/28\n", "192.0.2.8 is still banned; to lift that: ringfence unban 192.0.2.0/28"]);
        let (_, text) = ask(&lab, &["192.0.2.7"]);
        has_all(&text, &["To let it pass: ringfence unban 192.0.2.7\n  and, with all of 192.0.2.0/28: ringfence unban 192.0.2.0/28\n"]);

        // Who is protected passes whatever holds him.
        lab.says(0, &["ban", "203.0.0.0/16"]);
        let (code, text) = ask(&lab, &["203.0.113.5"]);
        assert_eq!(code, Some(0));
        has_all(&text, &["203.0.113.5 is PROTECTED", "203.0.113.0/24 (protect)", "Ban of 203.0.0.0/16"]);

        lab.says(0, &["unban", "203.0.113.5"]); // nothing holds him

        // Who speaks for many is not banned: an alarm says what he did, and with which accounts.
        let logins = |n| line_of(&format!("Auth success for {n}@pbx from 198.51.100.9"));
        lab.write_log(&(0..20).map(logins).collect::<String>());
        lab.write_log(&line_of("Auth error for secret\u{9b}@pbx from 198.51.100.9 cause -2").repeat(7));
        wait("the alarm", || json_of(&lab, "198.51.100.9")["alarms"][0]["kind"] == "cracking", || lab.log());
        let (code, text) = ask(&lab, &["198.51.100.9"]);
        assert_eq!(code, Some(0));
        has_all(&text, &["It speaks for many", "ALARM since 20", " ago): 198.51.100.9 is spared, but fails like a cracker", "secret\\u{9b}"]);
        assert_eq!(json_of(&lab, "198.51.100.0/24")["alarms"][0]["accounts"], json!(["secret\u{9b}"]));
        assert_eq!(json_of(&lab, "198.51.100.8")["alarms"], json!([]));
        let (_, text) = ask(&lab, &["198.51.100.9", "--for-customer", "--json"]);
        assert!(!text.contains("secret") && !text.contains("cracker"), "{text}");

        // Nobody answers without a key, and that is no `not listed`.
        let text = lab.says(1, &["apiban", "check", "198.51.100.9"]);
        has_all(&text, &["198.51.100.9: no answer (off", "nobody answered whether 198.51.100.9 is listed"]);

        // A ban that is over, and one of a /64.
        lab.says(0, &["unban", "192.0.2.0/28"]);
        lab.fail("2001:db8:bad::7", 2);
        wait_for_ban(&lab, "2001:db8:bad::7");
        let why = json_of(&lab, "2001:db8:bad::8");
        assert_eq!((&why["blocked"], &why["bans"][0]["addr"]), (&json!(true), &json!("2001:db8:bad::/64")));
        assert_eq!(why["accounts"], json!([]), "those are of a neighbour");
        let (_, text) = ask(&lab, &["2001:db8:bad::8"]);
        has_all(&text, &["To let it pass: ringfence unban 2001:db8:bad::8\n"]);
        assert_eq!(json_of(&lab, "2001:db8:bad::7")["accounts"][0]["lines"], 2);

        let (code, text) = ask(&lab, &["nobody"]);
        assert!(code == Some(1) && text.contains("`nobody` is not an address"), "{code:?} {text}");
        lab.signal("KILL");
        assert_eq!(ask(&lab, &["192.0.2.7"]).0, Some(1));
    }

    fn a_customer_is_told_nothing_of_others() {
        let mut lab = Lab::new("protect = ['198.51.100.7']\n", "maxretry = 2");
        lab.start();
        lab.fail("192.0.2.7", 1);
        lab.write_log(&line_of("Auth error for secret@tenant.example from 192.0.2.7 cause -2"));
        lab.fail("2001:db8:bad::7", 2);
        wait_for_ban(&lab, "192.0.2.7");
        wait_for_ban(&lab, "2001:db8:bad::7");
        for addr in ["192.0.2.7", "2001:db8:bad::8", "198.51.100.7"] {
            for arguments in [&[addr, "--for-customer"][..], &[addr, "--for-customer", "--json"]] {
                let (_, text) = ask(&lab, arguments);
                for secret in ["tenant", "Auth error", "<ADDR>", "bad::7", "(protect)"] {
                    assert!(!text.contains(secret), "{secret}: {text}");
                }
            }
        }
        let (code, text) = ask(&lab, &["192.0.2.7", "--for-customer"]);
        assert_eq!(code, Some(3));
        has_all(&text, &["192.0.2.7 is HELD OFF", "2 failed tries", "until "]);
        let (code, text) = ask(&lab, &["198.51.100.0/24", "--for-customer"]);
        assert!(code == Some(1) && text.contains("may be several customers'"), "{text}");
        let (code, text) = ask(&lab, &["198.51.100.7", "--for-customer"]);
        assert!(code == Some(0) && text.contains("198.51.100.7 is PROTECTED: it is never banned\n"), "{text}");
    }

    fn a_dry_run_does_not_claim_what_it_does_not_do() {
        let mut lab = Lab::new("", "maxretry = 2");
        lab.start_with(&["--dry-run"]);
        lab.fail("192.0.2.7", 2);
        wait("the ban", || json_of(&lab, "192.0.2.7")["blocked"] == true, || lab.log());
        let (code, text) = ask(&lab, &["192.0.2.7"]);
        assert_eq!(code, Some(3));
        has_all(&text, &["192.0.2.7 WOULD BE HELD OFF, but this is a dry run: it passes", "2 failed tries"]);
    }
}
