//! Jails of a tree in ringfence and in fail2ban, over the same lines: what their
//! `ignorecommand` is told and how often it is asked, and what is counted by an id.
//!
//! Debian's fail2ban must be installed: this test does not skip.

#[path = "common/both.rs"]
mod both;
#[path = "common/client.rs"]
mod client;
#[path = "common/namespace.rs"]
mod namespace;

use std::fs;
use std::process::Command;

use both::{Both, Lab, ago, now};
use namespace::run;
use serde_json::Value;

const JAILS: &str = "[DEFAULT]
filter = logins
backend = polling
usedns = no
findtime = 1h
bantime = 1h
enabled = true
[one]
logpath = @one.log
maxretry = 2
bantime = 6
ignorecommand = printf '[%%s] ' \"<ip>\" \"<F-USER>\" \"<ipmatches>\" \"<ipfailures>\" \"<ipjailmatches>\" \"<ipjailfailures>\" <jail.banned> <jail.banned_total> <jail.found> <jail.found_total> <failures> >> @asked-one; echo >> @asked-one; exit 1
[two]
logpath = @two-a.log
maxretry = 50
ignorecommand = echo <ip> <F-USER> >> @asked-two; test <ip> = 203.0.113.9
ignorecache = key=\"<ip>\", max-count=2, max-time=5m
[three]
logpath = @two-b.log
maxretry = 2
";

const FILTER: &str = "[Definition]
failregex = ^\\s*login of <F-USER>\\S+</F-USER> failed from <HOST>$
            ^\\s*call <F-ID>\\S+</F-ID> of <F-USER>\\S+</F-USER> failed from <HOST>$
";

fn login(user: &str, host: u8) -> String {
    format!("{} login of {user} failed from 203.0.113.{host}\n", now())
}

fn call(id: &str, host: u8) -> String {
    format!("{} call {id} of bob failed from 203.0.113.{host}\n", now())
}

fn asked(lab: &Lab, jail: &str) -> String {
    fs::read_to_string(lab.path(&format!("asked-{jail}"))).unwrap_or_default()
}

/// Was 203.0.113.1 banned by jail one, and is it free again?
fn has_freed(lab: &Lab) -> bool {
    let said = lab.said();
    [
        "[one] Unban 203.0.113.1",
        "unbanned jail=one addr=203.0.113.1",
    ]
    .iter()
    .any(|freed| said.contains(freed))
}

fn start() -> Both {
    run("ip link set lo up");
    let mut both = Both::new(JAILS, FILTER);
    both.append("two-b.log", "2026-01-01 00:00:00 a first line\n");
    let [ours, theirs] = &mut both.0;
    ours.start_ringfence();
    theirs.start_fail2ban();
    both
}

/// Waits until both have asked so often, and compares what they asked.
fn same_questions(both: &Both, jail: &str, lines: usize) -> String {
    for lab in &both.0 {
        lab.wait("the questions", || {
            asked(lab, jail).matches('\n').count() >= lines
        });
    }
    let [ours, theirs] = both.0.each_ref().map(|lab| asked(lab, jail));
    assert_eq!(ours, theirs, "{jail}");
    ours
}

/// Why jail three banned, as the database says it. fail2ban leaves the first line in parts.
fn causes(lab: &Lab) -> Vec<Value> {
    let causes = lab.rows("SELECT CAST(data AS TEXT) FROM bips WHERE jail = 'three'");
    let cause = |text: String| {
        let mut cause: Value = serde_json::from_str(&text).unwrap();
        cause.as_object_mut().unwrap().remove("ringfence");
        for line in cause["matches"].as_array_mut().unwrap() {
            if let Value::Array(parts) = line {
                let parts: String = parts.iter().filter_map(Value::as_str).collect();
                *line = parts.into();
            }
        }
        cause
    };
    causes.into_iter().map(cause).collect()
}

namespaced! {
    fn an_ignorecommand_is_told_and_asked_the_same() {
        let both = start();
        for host in [9, 9, 9, 8, 9, 7, 6, 9, 6, 5, 6, 4] {
            both.append("two-a.log", &login("x", host));
        }
        // Once banned and free again, so that there are earlier lines.
        let user = "$(id)`x`\"'";
        // Earlier by the clock: fail2ban has no order for two bans of one second.
        let line = format!("{} login of a failed from 203.0.113.1\n", ago(5));
        both.append("two-b.log", &line.repeat(2));
        both.wait_for("three", "203.0.113.1", true);
        // ringfence bans first and writes it down then; the questions tell what is written.
        for lab in &both.0 {
            lab.wait("the ban's row", || !causes(lab).is_empty());
        }
        both.append("one.log", &(login(user, 1) + &login("y", 1)));
        for lab in &both.0 {
            lab.wait("the ban's end", || has_freed(lab));
        }
        both.append("one.log", &login("z", 1));
        let told = same_questions(&both, "one", 8);
        let last = told.lines().last().unwrap();
        assert!(told.contains(&format!("[203.0.113.1] [{user}] [")), "{told}");
        assert!(told.contains("] [4] ["), "of all jails: {told}");
        assert!(last.ends_with("] [2] [0] [1] [0] [2] [0] "), "of this jail: {told}");
        let hosts = same_questions(&both, "two", 8);
        assert_eq!(hosts.matches(".9 ").count(), 2, "{hosts}");
    }

    fn failures_of_one_id_count_together() {
        let mut both = start();
        // Two ids of one address do not add up, one id of two addresses does.
        both.append("two-b.log", &(call("x", 40) + &call("y", 40)));
        both.append("two-b.log", &(call("abc", 31) + &call("abc", 32)));
        let [ours, theirs] = &both.0;
        ours.wait("the ban", || ours.holds("three", "203.0.113.31"));
        theirs.wait("the ban", || theirs.holds("three", "abc"));
        let not_banned = |lab: &Lab| ["32", "40"].iter().all(|host| !lab.holds("three", &format!("203.0.113.{host}")));
        assert!(not_banned(ours));
        assert!(!theirs.holds("three", "x") && !theirs.holds("three", "y"));

        let status = |lab: &Lab| {
            let mut status = Command::new(env!("CARGO_BIN_EXE_ringfence"));
            let output = status.arg("--config-dir").arg(lab.path("")).args(["status", "--json"]).output().unwrap();
            String::from_utf8(output.stdout).unwrap()
        };
        let shown = status(ours);
        assert!(shown.contains("203.0.113.31") && !shown.contains("abc"), "{shown}");

        both.stop();
        let [ours, theirs] = &mut both.0;
        // fail2ban's row is the id's, ours that of the address; the cause is the same.
        assert_eq!(causes(ours), causes(theirs));
        assert_eq!(ours.rows("SELECT ip FROM bans WHERE jail = 'three'"), ["203.0.113.31"]);
        assert_eq!(theirs.rows("SELECT ip FROM bans WHERE jail = 'three'"), ["abc"]);

        run("ipset flush ringfence-three");
        ours.start_ringfence();
        assert!(ours.holds("three", "203.0.113.31") && not_banned(ours));
        assert_eq!(causes(ours), causes(theirs));
    }
}
