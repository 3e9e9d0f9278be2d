//! Which syslog daemon writes this machine's logs.
//!
//! rsyslog escapes newlines in messages (`#012`), busybox makes blanks of them, the journal
//! keeps an entry one. syslog-ng writes them into its files as they came (4.8, tried): there
//! senders can write lines of their own.

use std::fs;
use std::path::Path;

/// Where it is installed.
pub(super) const SYSLOG_NG: &str = "/usr/sbin/syslog-ng";

/// Is a syslog daemon installed at `program` that keeps newlines, or does one run? `proc` is
/// where the kernel shows processes.
pub(super) fn keeps_newlines(program: &Path, proc: &Path) -> bool {
    if program.exists() {
        return true;
    }
    let processes = fs::read_dir(proc).into_iter().flatten().flatten();
    processes
        .filter_map(|process| fs::read(process.path().join("comm")).ok())
        .any(|name| name == b"syslog-ng\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn syslog_ng_is_seen_if_it_runs() {
        let proc = tempfile::tempdir().unwrap();
        let none = proc.path().join("none");
        assert!(!keeps_newlines(&none, &none));
        assert!(keeps_newlines(proc.path(), &none));
        for (name, keeps) in [("rsyslogd", false), ("syslog-ng", true)] {
            let process = proc.path().join(name.len().to_string());
            fs::create_dir(&process).unwrap();
            fs::write(process.join("comm"), format!("{name}\n")).unwrap();
            assert_eq!(keeps_newlines(&none, proc.path()), keeps, "{name}");
        }
    }
}
