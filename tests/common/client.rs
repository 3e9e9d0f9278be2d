//! The installed fail2ban's own client.

use std::path::Path;
use std::process::Command;

/// What it says to the server of this tree, and whether it is content.
pub(crate) fn fail2ban_client(tree: &Path, words: &[&str]) -> (bool, String) {
    let output = Command::new("fail2ban-client")
        .arg("-c")
        .arg(tree)
        .args(words)
        .output()
        .expect("fail2ban is needed (package fail2ban)");
    (
        output.status.success(),
        String::from_utf8_lossy(&output.stdout).into_owned(),
    )
}
