//! Our filters against fail2ban itself, which must be installed: these tests do not skip.
//!
//! `oracle_corpus.py` judges a program by the sample logs that come with fail2ban,
//! `oracle_fuzz.py` compares it with fail2ban on lines that nobody wrote. Both speak the
//! protocol of `ringfence examine`; the samples and filters stay where fail2ban keeps
//! them. The driver is judged first, by fail2ban behind the same protocol.

use std::path::Path;
use std::process::Command;

/// The Python for which Debian installs fail2ban.
const PYTHON: &str = "/usr/bin/python3";

/// How many made-up lines are compared: a minute's. `oracle_fuzz.py` takes more.
const FUZZ_LINES: &str = "25000";

fn judge(driver: &str, options: &[&str], program: &[&str]) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let output = Command::new(PYTHON)
        .current_dir(&folder)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .arg(driver)
        .args(options)
        .arg("--")
        .args(program)
        .output()
        .expect("python3 and fail2ban must be installed: tests/install");
    let told = String::from_utf8_lossy(&output.stdout);
    println!("{told}");
    assert!(
        output.status.success(),
        "{driver} {options:?} {program:?}:\n{told}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

const RINGFENCE: &[&str] = &[env!("CARGO_BIN_EXE_ringfence"), "examine", "--jsonl"];

#[test]
fn the_driver_finds_fail2ban_right() {
    judge("oracle_corpus.py", &[], &[PYTHON, "oracle_examine.py"]);
}

#[test]
fn all_sample_logs_are_judged_as_they_must_be() {
    judge("oracle_corpus.py", &[], RINGFENCE);
}

#[test]
fn without_the_gate_they_are_judged_the_same() {
    judge("oracle_corpus.py", &["--no-gate"], RINGFENCE);
}

#[test]
fn made_up_lines_are_judged_as_fail2ban_does() {
    judge("oracle_fuzz.py", &["--lines", FUZZ_LINES], RINGFENCE);
}
