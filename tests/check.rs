//! `ringfence check`: its warnings, and `-t` beside `fail2ban-client -t` itself, which
//! must be installed.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

/// A tree with one jail; `jail` goes before what it says otherwise.
fn tree(failregex: &str, jail: &str) -> TempDir {
    let folder = tempfile::tempdir().expect("a temp folder");
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        fs::write(path, text).expect("a file");
    };
    let log = folder.path().join("log");
    write("log", "");
    write(
        "fail2ban.conf",
        "[Definition]\nloglevel = INFO\nlogtarget = STDOUT\n",
    );
    write(
        "filter.d/pbx.conf",
        &format!("[Definition]\nfailregex = {failregex}\nignoreregex =\n"),
    );
    write("action.d/note.conf", "[Definition]\nactionban = true\n");
    let plain = format!(
        "[pbx]\nenabled = true\nbackend = polling\nfilter = pbx\naction = note\nlogpath = {}\n",
        log.display()
    );
    write("jail.conf", &plain);
    write("jail.local", jail);
    folder
}

fn ringfence(tree: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ringfence"))
        .args(["check", "--fail2ban"])
        .arg(tree)
        .args(arguments)
        .output()
        .expect("our own program")
}

fn fail2ban(tree: &Path) -> Output {
    Command::new("fail2ban-client")
        .arg("-t")
        .arg("-c")
        .arg(tree)
        .output()
        .expect("fail2ban must be installed: apt-get install fail2ban")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("utf-8")
}

#[test]
fn a_test_says_what_fail2ban_says() {
    for (jail, good) in [
        ("", true),
        ("[pbx]\nmaxretry = 4\nfindtime = 10m\n", true),
        ("[pbx]\nlogpath = /nonexistent/log\n", false),
        ("[pbx]\nlogpath =\n", false),
        (
            "[pbx]\nbackend = systemd\nlogpath = /nonexistent/log\n",
            true,
        ),
        ("[pbx]\nfilter = pbxx\n", false),
        ("[pbx]\nbantime = %(nothing)s\n", false),
        ("[pbx]\nenabled = false\nlogpath = /nonexistent\n", true),
    ] {
        let tree = tree("^wrong from <HOST>$", jail);
        let ours = ringfence(tree.path(), &["-t"]);
        let theirs = fail2ban(tree.path());
        let complaints = text(&ours.stderr);
        assert_eq!(theirs.status.success(), good, "{jail}{theirs:?}");
        assert_eq!(
            ours.status.code(),
            theirs.status.code(),
            "{jail}{complaints}"
        );
        assert_eq!(text(&ours.stdout), text(&theirs.stdout), "{jail}");
        let word = "ERROR: test configuration failed\n";
        assert_eq!(complaints.ends_with(word), !good, "{jail}{complaints}");
        assert_eq!(text(&theirs.stderr).ends_with(word), !good, "{jail}");
    }
}

/// fail2ban finds out when it starts; we say it when we are asked.
#[test]
fn a_test_fails_for_a_pattern_that_cannot_be_compiled() {
    let tree = tree("^wrong (<HOST>$", "");
    let ours = ringfence(tree.path(), &["-t"]);
    assert_eq!(ours.status.code(), Some(255));
    let complaints = text(&ours.stderr);
    assert!(
        complaints.contains("jail.conf:1: jail pbx: filter pbx: failregex 1: "),
        "{complaints}"
    );
}

#[test]
fn what_is_unwise_is_a_warning() {
    let tree = tree("wrong from <HOST>$", "");
    let ours = ringfence(tree.path(), &[]);
    assert!(ours.status.success());
    let said = text(&ours.stdout);
    assert!(said.contains("warning: "), "{said}");
    assert!(
        said.contains(
            "jail.conf:1: jail pbx: filter pbx: failregex 1 `wrong from <HOST>$`: can be framed"
        ),
        "{said}"
    );

    let ours = ringfence(tree.path(), &["--json"]);
    assert!(ours.status.success());
    let answer: serde_json::Value = serde_json::from_slice(&ours.stdout).expect("JSON");
    let finding = &answer["findings"][0];
    assert_eq!(finding["jail"], "pbx");
    assert_eq!(finding["place"], "failregex 1");
    assert_eq!(finding["pattern"], "wrong from <HOST>$");

    let ours = ringfence(tree.path(), &["-t"]);
    assert!(ours.status.success());
    assert_eq!(text(&ours.stdout), "OK: configuration test is successful\n");
    assert!(text(&ours.stderr).contains("can be framed"));
}

#[test]
fn our_own_filters_are_clean() {
    let nothing = tempfile::tempdir().expect("a temp folder");
    let ours = Command::new(env!("CARGO_BIN_EXE_ringfence"))
        .arg("check")
        .arg("--config-dir")
        .arg(nothing.path())
        .output()
        .expect("our own program");
    let said = text(&ours.stdout);
    assert!(
        ours.status.success() && said.starts_with("jails that can run: "),
        "{ours:?}"
    );
    assert!(!said.contains("warning"), "{said}");
}

/// A tree's filter may call anything of its own by the name of a key of ours.
#[test]
fn our_keys_do_not_break_a_jail_of_fail2bans() {
    let tree = tree("^\\s*wrong from <HOST>$\nsuccessregex = (", "");
    let ours = ringfence(tree.path(), &["-t"]);
    assert!(ours.status.success(), "{ours:?}");
    let log = tree.path().join("log");
    fs::write(&log, "2026-11-22 07:00:00 wrong from 192.0.2.7\n").expect("a log");
    let scan = Command::new(env!("CARGO_BIN_EXE_ringfence"))
        .args(["scan", "--config-dir", "/nonexistent", "-c"])
        .arg(tree.path())
        .args(["--jail", "pbx"])
        .arg(&log)
        .output()
        .expect("our own program");
    assert!(text(&scan.stdout).contains("1 failures of 1"), "{scan:?}");
}

/// What the daemon would refuse is no jail that can run.
#[test]
fn a_jail_that_cannot_run_is_a_problem() {
    for (jail, why) in [
        ("logencoding = klingon", "this encoding is not known"),
        ("logtimezone = nowhere", "logtimezone: "),
        (
            "ignorecommand = true <raw-ticket>",
            "<raw-ticket> is not known",
        ),
        ("journalmatch = sshd\nbackend = systemd", "FIELD=value"),
    ] {
        let tree = tree("^wrong from <HOST>$", &format!("[pbx]\n{jail}\n"));
        let output = ringfence(tree.path(), &[]);
        let said = text(&output.stdout);
        assert!(!output.status.success(), "{jail}: {said}");
        assert!(said.starts_with("jails that can run: \n"), "{said}");
        assert!(said.contains("jail.conf:1: jail pbx: "), "{said}");
        assert!(said.contains(why), "{why}: {said}");
    }
}
