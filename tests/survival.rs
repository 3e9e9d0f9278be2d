//! The laboratory's programs for what survives, run short: `just figures` runs them long.

use std::path::Path;
use std::process::Command;

/// Runs one of them with the present program; it says itself what went wrong.
fn laboratory(program: &str, arguments: &[&str]) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lab");
    let ours = Path::new(env!("CARGO_BIN_EXE_ringfence"));
    // `cargo test` makes it, too.
    let stand_in = ours.with_file_name("examples").join("apiban-standin");
    let output = Command::new("python3")
        .arg("-B")
        .arg(folder.join(program))
        .args(arguments)
        .env("RINGFENCE", ours)
        .env("APIBAN_STANDIN", stand_in)
        .output()
        .expect("`python3` is needed");
    let said = [output.stdout, output.stderr].concat();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&said)
    );
}

#[test]
fn bans_after_kills_are_those_of_an_unbroken_run() {
    laboratory("kills", &["--kills", "10"]);
}

#[test]
fn a_huge_log_is_begun_where_its_recent_part_begins() {
    laboratory("first-start", &["--patient"]);
}

#[test]
fn no_packet_of_the_banned_passes_meanwhile() {
    let few =
        "--reloads 3 --restarts 2 --upgrades 1 --repairs 1 --refreshes 0 --bans 2000 --starts 1";
    let few: Vec<&str> = few.split(' ').collect();
    laboratory("no-gap", &few);
}

#[test]
fn kernel_and_ledger_agree_after_kills() {
    laboratory("firewall-kills", &["--kills", "3"]);
}
