//! `ringfence check`: that it says what `run` would say, its warnings, and `-t` beside
//! `fail2ban-client -t` itself, which must be installed.

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
    fs::create_dir(folder.path().join("ours")).expect("a folder");
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
        .args(["check", "--config-dir"])
        .arg(tree.join("ours"))
        .arg("-c")
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

/// A jail that `run -c DIR` refuses is none that can run. In a dry run actions do not matter.
#[test]
fn what_run_demands_of_a_jail_is_checked() {
    let rows = [
        ("good", "", None),
        ("foreign", "action = note\n", Some("action note (")),
        (
            "idle",
            "action =\n",
            Some("it has no action, and bans nobody"),
        ),
        (
            "encoding",
            "logencoding = klingon\n",
            Some("this encoding is not known"),
        ),
        ("zone", "logtimezone = UTC+99\n", Some("logtimezone: ")),
        (
            "backend",
            "backend = inotify\n",
            Some("backend: `inotify` is not known; write auto"),
        ),
        (
            "command",
            "ignorecommand = /bin/ask <nobody>\n",
            Some("ignorecommand: <nobody> is not known"),
        ),
        (
            "journal",
            "backend = systemd\njournalmatch = nothing\n",
            Some("FIELD=value"),
        ),
    ];
    let jails = rows.map(|(name, text, _)| {
        let action = match text.starts_with("action") {
            true => "",
            false => "action = ringfence\n",
        };
        format!("[{name}]\nenabled = true\nfilter = pbx\nlogpath = /nonexistent\n{action}{text}")
    });
    let tree = tree(
        "^wrong from <HOST>$",
        &format!("[pbx]\nenabled = false\n{}", jails.concat()),
    );
    for (arguments, actions_matter) in [(&[][..], true), (&["--dry-run"], false)] {
        let output = ringfence(tree.path(), arguments);
        let said = text(&output.stdout);
        assert!(!output.status.success(), "{said}");
        let (can_run, problems) = said.split_once('\n').unwrap();
        for (name, text, wrong) in rows {
            let wrong = wrong.filter(|_| actions_matter || !text.starts_with("action"));
            let runs = can_run.split([' ', ',']).any(|word| word == name);
            assert_eq!(runs, wrong.is_none(), "{name}: {said}");
            let place = format!(": jail {name}: ");
            let told = problems.lines().find(|line| line.contains(&place));
            assert_eq!(told.is_some(), wrong.is_some(), "{name}: {said}");
            let told = told.unwrap_or_default();
            assert!(told.contains(wrong.unwrap_or_default()), "{name}: {told}");
        }
    }
}

/// fail2ban finds out when it starts; its answer is about what it looks at.
#[test]
fn a_test_does_not_look_at_what_fail2ban_does_not() {
    let tree = tree("^wrong from <HOST>$", "[pbx]\nlogtimezone = UTC+99\n");
    let output = ringfence(tree.path(), &["-t"]);
    let tested = "OK: configuration test is successful\n";
    assert_eq!(text(&output.stdout), tested);
}

#[test]
fn what_is_unwise_is_a_warning() {
    let tree = tree("wrong from <HOST>$", "[pbx]\naction = ringfence\n");
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
    let forged = &finding["forged"];
    let line = forged["line"].as_str().expect("a line");
    let blamed = forged["blamed"].as_str().expect("an address");
    assert!(line.ends_with(blamed), "{forged}");

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

/// Our own jails are read by the same loader, so their commands can be seen as well.
#[test]
fn our_own_jails_can_be_printed() {
    let folder = tempfile::tempdir().expect("a temp folder");
    fs::create_dir(folder.path().join("jail.d")).expect("a folder");
    let jail = "[kamailio]\nmaxretry = 7\nlogpath = /nonexistent\n";
    fs::write(folder.path().join("jail.d/own.conf"), jail).expect("a file");
    let ours = Command::new(env!("CARGO_BIN_EXE_ringfence"))
        .args(["check", "-d", "--config-dir"])
        .arg(folder.path())
        .output()
        .expect("our own program");
    let said = text(&ours.stdout);
    assert!(ours.status.success(), "{ours:?}");
    assert!(
        said.contains("['set', 'kamailio', 'maxretry', 7]\n"),
        "{said}"
    );
    assert!(said.contains("['add', 'asterisk', "), "{said}");
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
    assert!(
        text(&scan.stdout).contains("1 failure of 1 offender;"),
        "{scan:?}"
    );
}
