//! The real fail2ban-client.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::LazyLock;

/// Where Debian's package puts it. Not looked up in `PATH`: our own program answers to
/// this name too.
const CLIENT: &str = "/usr/bin/fail2ban-client";

/// Its configuration as shipped.
pub(crate) const STOCK: &str = "/etc/fail2ban";

/// What it says of a tree.
pub(crate) enum Answer {
    /// The commands, and its release.
    Stream { lines: Vec<String>, version: String },
    /// No commands, for this reason.
    GaveUp(String),
}

static VERSION: LazyLock<String> = LazyLock::new(|| {
    let output = Command::new(CLIENT)
        .arg("-V")
        .output()
        .expect("fail2ban must be installed: apt-get install fail2ban");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
});

/// Asks it for the command stream of a tree.
pub(crate) fn ask(folder: &Path) -> Answer {
    let version = VERSION.clone();
    let output = Command::new(CLIENT)
        .env("PYTHONIOENCODING", "utf-8")
        .args(["-c", folder.to_str().expect("a folder"), "-d"])
        .output()
        .expect("fail2ban must be installed: apt-get install fail2ban");
    let stdout = String::from_utf8_lossy(&output.stdout);
    if stdout.contains("ERROR: The configuration stream failed") {
        return Answer::GaveUp(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let lines = stdout.lines().map(str::to_owned).collect();
    Answer::Stream { lines, version }
}

/// Copies a folder and what is in it.
pub(crate) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder").flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("a file");
        }
    }
}
