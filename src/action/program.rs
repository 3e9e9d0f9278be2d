//! The system's programs, for what is done seldom: rules at start and at the end.
//!
//! No shell is used, programs are taken from the system's folders only, and their words
//! are read, so they must not be translated.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::error::Error;

/// Where programs of the system are.
const FOLDERS: [&str; 3] = ["/usr/sbin", "/sbin", "/usr/bin"];

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

/// Runs a program to its end with this on its standard input.
pub(super) fn run(program: &str, arguments: &[&str], input: &str) -> Result<Ended, Error> {
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
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    // These programs read all of their input before they print anything; one that has
    // ended early says why.
    let written = child
        .stdin
        .take()
        .map(|mut stdin| stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().map_err(failed)?;
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
