//! SIGKILL at random moments, a few of them: `tests/lab/kills` does many.

use std::path::Path;
use std::process::Command;

#[test]
fn bans_are_those_of_an_unbroken_run() {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lab/kills");
    let output = Command::new("python3")
        .arg("-B")
        .arg(program)
        .args(["--kills", "10"])
        .env("RINGFENCE", env!("CARGO_BIN_EXE_ringfence"))
        .output()
        .expect("python3");
    let said = [output.stdout, output.stderr].concat();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&said)
    );
}
