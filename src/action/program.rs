//! The system's programs, for what is done seldom: rules at start and at the end.
//!
//! No shell is used, programs are taken from the system's folders only, and their words
//! are read, so they must not be translated.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};

use super::error::{Error, TOO_LATE};

/// Where programs of the system are.
const FOLDERS: [&str; 3] = ["/usr/sbin", "/sbin", "/usr/bin"];

/// How long a program may run. It waits for another's lock for a part of that.
const RUN_MAX: Duration = Duration::from_secs(20);

/// What is kept of a program's complaints.
const SAID_CHARS_MAX: usize = 300;

/// What a program did.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) success: bool,
    /// What it printed.
    pub(super) output: String,
    /// What it complained of, shortened.
    pub(super) said: String,
}

/// Runs a program to its end with this on its standard input. One that does not end is
/// killed, with all that it has started.
pub(super) fn run(program: &str, arguments: &[&str], input: &str) -> Result<Ended, Error> {
    run_for(RUN_MAX, program, arguments, input)
}

fn run_for(
    patience: Duration,
    program: &str,
    arguments: &[&str],
    input: &str,
) -> Result<Ended, Error> {
    let path = path(program).ok_or_else(|| Error::NoTool {
        program: program.to_owned(),
    })?;
    let failed = |error: std::io::Error| Error::Rule {
        command: format!("{program} {}", arguments.join(" ")),
        said: error.to_string(),
    };
    let mut child = Command::new(path)
        .args(arguments)
        .env("LC_ALL", "C")
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let (ended, is_ended) = channel::<()>();
    let (written, output, is_late) = thread::scope(|scope| {
        let watch = scope.spawn(move || {
            let is_late = is_ended.recv_timeout(patience) == Err(RecvTimeoutError::Timeout);
            if let Some(group) = group.filter(|_| is_late) {
                // It fails only if it ended at this moment.
                let _ended = kill_process_group(group, Signal::KILL);
            }
            is_late
        });
        // These programs read all of their input before they print anything; one that has
        // ended early says why.
        let written = child
            .stdin
            .take()
            .map(|mut stdin| stdin.write_all(input.as_bytes()));
        let output = child.wait_with_output();
        drop(ended);
        (written, output, watch.join().unwrap_or_default())
    });
    let output = output.map_err(failed)?;
    if is_late {
        return Err(failed(std::io::Error::other(TOO_LATE)));
    }
    if let (Some(Err(error)), true) = (written, output.status.success()) {
        return Err(failed(error));
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Ok(Ended {
        success: output.status.success(),
        output: String::from_utf8_lossy(&output.stdout).into_owned(),
        said: said.trim().chars().take(SAID_CHARS_MAX).collect(),
    })
}

/// Runs a program that must succeed; gives what it printed.
pub(super) fn must(program: &str, arguments: &[&str], input: &str) -> Result<String, Error> {
    let ended = run(program, arguments, input)?;
    match ended.success {
        true => Ok(ended.output),
        false => Err(Error::Rule {
            command: format!("{program} {}", arguments.join(" ")),
            said: ended.said,
        }),
    }
}

/// Where the program is, in the system's folders.
pub(super) fn path(program: &str) -> Option<PathBuf> {
    FOLDERS
        .iter()
        .map(|folder| Path::new(folder).join(program))
        .find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_does_not_end_is_killed_with_its_children() {
        let brief = Duration::from_millis(50);
        // Its child would keep the pipes open for long.
        let late = run_for(brief, "sh", &["-c", "sleep 1000 & wait"], "").unwrap_err();
        assert!(
            late.to_string().ends_with(TOO_LATE) && late.is_of_all(),
            "{late}"
        );
        let done = run("sh", &["-c", "cat; echo no >&2; exit 3"], "text").unwrap();
        let said = (done.success, done.output.as_str(), done.said.as_str());
        assert_eq!(said, (false, "text", "no"));
    }
}
