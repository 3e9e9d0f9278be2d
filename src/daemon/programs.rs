//! Programs that are run beside everything else on the asynchronous thread, and that may hang.
//!
//! Each has a process group of its own. When its time is over, or nobody waits for it any
//! more, the whole group is ended; what a program left running when it ended goes on.

use std::io;
use std::process::{ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::time::{Instant, timeout_at};

/// What a program said, and how it ended.
pub(super) struct Said {
    pub(super) status: ExitStatus,
    pub(super) output: Vec<u8>,
    pub(super) complaints: Vec<u8>,
}

/// Runs a program whose words are of no interest; `None` if it was ended at the deadline.
pub(super) async fn run(
    command: &mut Command,
    deadline: Instant,
) -> io::Result<Option<ExitStatus>> {
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut running = Running::start(command)?;
    let ended = timeout_at(deadline, running.0.wait()).await;
    running.unless_late(ended)
}

/// Runs a program and reads what it says, so many bytes of each stream at most; `None` if it
/// was ended at the deadline.
pub(super) async fn ask(
    command: &mut Command,
    bytes_max: u64,
    deadline: Instant,
) -> io::Result<Option<Said>> {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut running = Running::start(command)?;
    let output = read(running.0.stdout.take(), bytes_max);
    let complaints = read(running.0.stderr.take(), bytes_max);
    let all = async { tokio::join!(output, complaints, running.0.wait()) };
    let said = timeout_at(deadline, all).await;
    running.unless_late(said.map(|(output, complaints, status)| {
        Ok(Said {
            status: status?,
            output: output?,
            complaints: complaints?,
        })
    }))
}

/// A pipe is closed when enough was read, and its writer told so.
async fn read(from: Option<impl AsyncRead + Unpin>, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(from) = from {
        from.take(bytes_max).read_to_end(&mut bytes).await?;
    }
    Ok(bytes)
}

/// A program that runs, and the group in which it does as long as it is to be ended.
struct Running(Child, Option<Pid>);

impl Running {
    fn start(command: &mut Command) -> io::Result<Running> {
        command.stdin(Stdio::null()).process_group(0);
        let child = command.kill_on_drop(true).spawn()?;
        let group = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        Ok(Running(child, group))
    }

    fn unless_late<T, E>(&mut self, ended: Result<io::Result<T>, E>) -> io::Result<Option<T>> {
        if ended.is_ok() {
            self.1 = None;
        }
        ended.ok().transpose()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(group) = self.1 {
            // It fails only if all of it has just ended.
            let _ended = kill_process_group(group, Signal::KILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Duration;

    use super::*;

    /// How long a test waits at most.
    const PATIENCE: Duration = Duration::from_secs(60);

    fn shell(script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        command
    }

    async fn wait(what: &str, is_so: impl Fn() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_so() {
            assert!(Instant::now() < deadline, "waited in vain for {what}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// A process that has ended and is nobody's any more is none.
    fn runs(id: &str) -> bool {
        let stat = fs::read_to_string(format!("/proc/{}/stat", id.trim()));
        stat.is_ok_and(|stat| !stat.contains(") Z "))
    }

    #[tokio::test]
    async fn whoever_is_not_waited_for_ends_with_all_that_it_started() {
        let folder = tempfile::tempdir().unwrap();
        let ids = folder.path().join("ids");
        let script = format!(
            "sleep 1000 & echo $! $$ > {0}.new; mv {0}.new {0}; wait",
            ids.display()
        );
        let mut both = shell(&script);
        tokio::select! {
            _ = run(&mut both, Instant::now() + PATIENCE) => panic!("it has ended"),
            () = wait("both", || ids.exists()) => {}
        }
        let ids = fs::read_to_string(ids).unwrap();
        wait("their end", || !ids.split_whitespace().any(runs)).await;

        let soon = Instant::now() + Duration::from_millis(20);
        let late = run(&mut shell("sleep 1000"), soon).await.unwrap();
        assert_eq!(late, None);
    }

    #[tokio::test]
    async fn what_a_program_leaves_running_goes_on() {
        let script = "sleep 1000 > /dev/null 2>&1 & echo $!; echo oh >&2; exit 3";
        let said = ask(&mut shell(script), 1_000, Instant::now() + PATIENCE).await;
        let said = said.unwrap().unwrap();
        let id = String::from_utf8(said.output).unwrap();
        assert!(runs(&id), "{id}");
        assert_eq!(
            (said.complaints, said.status.code()),
            (b"oh\n".to_vec(), Some(3))
        );
        let id = Pid::from_raw(id.trim().parse().unwrap()).unwrap();
        rustix::process::kill_process(id, Signal::KILL).unwrap();
    }

    #[tokio::test]
    async fn endless_words_are_cut() {
        let endless = &mut shell("exec cat /dev/zero");
        let said = ask(endless, 1_000, Instant::now() + PATIENCE)
            .await
            .unwrap();
        let said = said.unwrap();
        assert_eq!(said.output.len(), 1_000);
        assert!(!said.status.success());
    }
}
