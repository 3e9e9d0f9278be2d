//! An upgrade without a gap: the running daemon becomes the new program.
//!
//! After a package has put a new program in the place of the one that runs, a reload
//! ends the daemon as SIGTERM does (all that was read is judged and written down, sets
//! and rules stay in the kernel) and then executes the new program in the same process,
//! with the same arguments: process id, journal and systemd's unit go on. The socket is
//! bound anew. Before that the new program must say its version and accept the
//! configuration; if it does not, the one that runs goes on.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use tokio::process::Command;
use tokio::time::Instant;
use tracing::{error, info};

use super::{Options, programs};

/// What a check of a configuration says at most: findings of some thousand jails.
const SAID_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// What is kept of a program's words.
const SAID_CHARS_MAX: usize = 300;

/// The program that runs, as it was when it began.
#[derive(Clone, Debug)]
pub struct Program {
    path: PathBuf,
    file: FileId,
}

/// Tells one file from another that took its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileId {
    device: u64,
    inode: u64,
    changed: (i64, i64),
    bytes: u64,
}

impl FileId {
    fn of(path: &Path) -> Option<FileId> {
        let meta = fs::metadata(path).ok()?;
        Some(FileId {
            device: meta.dev(),
            inode: meta.ino(),
            changed: (meta.mtime(), meta.mtime_nsec()),
            bytes: meta.len(),
        })
    }
}

/// A new program that has shown that it can go on in our place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Successor {
    path: PathBuf,
    /// What it says that it is, as in `ringfence 0.2.0`.
    pub version: String,
}

impl Program {
    /// The one that runs now; `None` if the system does not tell.
    pub fn running() -> Option<Program> {
        Program::at(std::env::current_exe().ok()?)
    }

    fn at(path: PathBuf) -> Option<Program> {
        let file = FileId::of(&path)?;
        Some(Program { path, file })
    }

    /// Has another program taken this one's place?
    pub fn is_replaced(&self) -> bool {
        // While it is being replaced there may be none.
        FileId::of(&self.path).is_some_and(|there| there != self.file)
    }

    /// The program that has taken this one's place, or the reason why it cannot go on for
    /// us. It must be able to run the `jails` that run now, and say so before the deadline.
    pub async fn successor(
        &self,
        options: &Options,
        jails: &[String],
        deadline: Instant,
    ) -> Result<Successor, String> {
        let refuse = |why: String| {
            format!(
                "the program {} was replaced, and the new one cannot go on ({why}); the one that runs goes on",
                self.path.display()
            )
        };
        let mut version = Command::new(&self.path);
        version.arg("--version");
        let (version, is_well) = said(&mut version, deadline).await.map_err(refuse)?;
        if !is_well {
            return Err(refuse(brief(&version)));
        }
        let mut check = Command::new(&self.path);
        check.args(["check", "--json", "--config-dir"]);
        check.arg(&options.location.folder);
        if let Some(tree) = &options.location.tree {
            check.arg("--fail2ban").arg(tree);
        }
        if options.dry_run {
            check.arg("--dry-run");
        }
        // Problems that one has to live with are no reason; a jail that is lost is one.
        let (answer, _) = said(&mut check, deadline).await.map_err(refuse)?;
        let checked: Checked = serde_json::from_str(&answer).map_err(|_| refuse(brief(&answer)))?;
        let is_lost = |jail: &&String| !checked.jails.contains(jail);
        if let Some(jail) = jails.iter().find(is_lost) {
            let problems = checked.problems.join("; ");
            return Err(refuse(format!("jail {jail} could not run: {problems}")));
        }
        Ok(Successor {
            path: self.path.clone(),
            version,
        })
    }
}

impl Successor {
    /// Becomes the new program. It returns only if that cannot be done.
    pub fn take_over(self) -> anyhow::Error {
        info!(version = %self.version, "goes on as the new program");
        let error = in_our_place(&self.path).exec();
        error!(%error, program = %self.path.display(), "the new program cannot be executed");
        error.into()
    }
}

/// A program with the arguments that this one was given.
pub(super) fn in_our_place(program: &Path) -> std::process::Command {
    let mut arguments = std::env::args_os();
    let name = arguments
        .next()
        .unwrap_or_else(|| OsString::from("ringfence"));
    let mut command = std::process::Command::new(program);
    command.arg0(name).args(arguments);
    command
}

/// What `ringfence check --json` answers, as far as it matters here.
#[derive(Deserialize)]
struct Checked {
    jails: Vec<String>,
    problems: Vec<String>,
}

/// What a program prints, or what it complains of; and whether all was well.
async fn said(command: &mut Command, deadline: Instant) -> Result<(String, bool), String> {
    // It must not take itself for the service.
    command.env_remove("NOTIFY_SOCKET");
    let said = programs::ask(command, SAID_BYTES_MAX, deadline).await;
    let Some(said) = said.map_err(|error| error.to_string())? else {
        return Err("it does not answer; it was waited for and ended".to_owned());
    };
    let words = match said.output.is_empty() {
        true => said.complaints,
        false => said.output,
    };
    if words.len() as u64 == SAID_BYTES_MAX {
        return Err(format!("it says {SAID_BYTES_MAX} bytes and more"));
    }
    let words = String::from_utf8_lossy(&words).trim().to_owned();
    Ok((words, said.status.success()))
}

fn brief(words: &str) -> String {
    words.chars().take(SAID_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::time::Duration;

    use super::*;
    use crate::config::Location;

    fn put(path: &Path, script: &str) {
        let new = path.with_extension("new");
        fs::write(&new, script).unwrap();
        fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).unwrap();
        fs::rename(new, path).unwrap();
    }

    #[tokio::test]
    async fn only_a_program_that_can_go_on_takes_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ringfence");
        let options = Options {
            location: Location {
                folder: folder.path().to_owned(),
                tree: None,
            },
            socket: None,
            dry_run: false,
        };
        let jails = ["kamailio".to_owned()];
        put(&path, "#!/bin/sh\n");
        let program = Program::at(path.clone()).unwrap();
        assert!(!program.is_replaced(), "nothing has changed");
        let deadline = Instant::now() + Duration::from_secs(60);

        let answers = |jails: &str, code: u8| {
            format!(
                r#"#!/bin/sh
                [ "$1" = check ] || {{ echo "ringfence 9.9.9$NOTIFY_SOCKET"; exit; }}
                echo '{{"jails":[{jails}],"problems":["asterisk: no filter"],"findings":[]}}'
                exit {code}"#
            )
        };
        put(&path, &answers(r#""kamailio","sshd""#, 1));
        assert!(program.is_replaced());
        let successor = program.successor(&options, &jails, deadline).await.unwrap();
        assert_eq!(successor.version, "ringfence 9.9.9");

        for (script, why) in [
            ("#!/bin/sh\necho broken >&2; exit 1\n", "broken"),
            (
                &answers(r#""sshd""#, 1),
                "jail kamailio could not run: asterisk: no filter",
            ),
            ("#!/bin/sh\necho what", "(what)"),
            ("not a program", "format"),
            ("#!/bin/sh\nexec cat /dev/zero", "4194304 bytes and more"),
        ] {
            put(&path, script);
            let refusal = program
                .successor(&options, &jails, deadline)
                .await
                .unwrap_err();
            assert!(refusal.contains(why), "{refusal}");
            assert!(refusal.contains("the one that runs goes on"), "{refusal}");
        }
        for hangs in [
            "#!/bin/sh\nexec sleep 1000",
            "#!/bin/sh\nsleep 1000 &",
            "#!/bin/sh\n[ $1 = check ] || { echo 9; exit; }\nexec sleep 1000",
        ] {
            put(&path, hangs);
            let soon = Instant::now() + Duration::from_millis(50);
            let refusal = program.successor(&options, &jails, soon).await.unwrap_err();
            assert!(refusal.contains("does not answer"), "{hangs}: {refusal}");
        }
        // It is asked about the tree and the purpose with which this one was started.
        let options = Options {
            location: Location {
                tree: Some("/tree".into()),
                ..options.location
            },
            dry_run: true,
            ..options
        };
        let asked = format!(
            r#"#!/bin/sh
            [ "$1" = check ] || {{ echo "ringfence 9.9.9"; exit; }}
            case "$*" in
                *"--config-dir {} --fail2ban /tree --dry-run") echo '{{"jails":["kamailio"],"problems":[]}}' ;;
                *) echo '{{"jails":[],"problems":["asked: '"$*"'"]}}' ;;
            esac"#,
            folder.path().display()
        );
        put(&path, &asked);
        let successor = program.successor(&options, &jails, deadline).await;
        assert_eq!(successor.unwrap().version, "ringfence 9.9.9");
        put(&path, &answers(r#""sshd""#, 1));
        let refusal = program
            .successor(&options, &jails, deadline)
            .await
            .unwrap_err();
        assert!(refusal.contains("jail kamailio could not run"), "{refusal}");

        fs::remove_file(&path).unwrap();
        assert!(!program.is_replaced(), "while it is being replaced");
    }
}
