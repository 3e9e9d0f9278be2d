//! The real fail2ban-client.

use std::fs;
use std::path::Path;

use crate::fail2ban::Fail2ban;

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

/// Whoever is asked.
pub(crate) struct Client {
    fail2ban: Fail2ban,
    version: String,
}

impl Client {
    pub(crate) fn start() -> Client {
        let mut fail2ban = Fail2ban::start(
            "fail2ban.client.fail2banclient",
            &[("PYTHONIOENCODING", "utf-8")],
        );
        let version = fail2ban.run(Path::new("/"), CLIENT, &["-V"]).stdout;
        Client {
            fail2ban,
            version: version.trim().to_owned(),
        }
    }

    /// Asks it for the command stream of a tree.
    pub(crate) fn ask(&mut self, folder: &Path) -> Answer {
        let words = ["-c", folder.to_str().expect("a folder"), "-d"];
        let said = self.fail2ban.run(Path::new("/"), CLIENT, &words);
        let gave_up = "ERROR: The configuration stream failed";
        if said.stdout.contains(gave_up) {
            return Answer::GaveUp(said.stderr);
        }
        Answer::Stream {
            lines: said.stdout.lines().map(str::to_owned).collect(),
            version: self.version.clone(),
        }
    }
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
