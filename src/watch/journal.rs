//! The systemd journal, as `journalctl` exports it.
//!
//! One child process follows the journal for all jails that read the same one, and sends
//! only the entries and fields that somebody asked for. Its format (systemd's "Journal
//! Export Format") is a field a line, an empty line behind each entry, and a length
//! instead of a line's end where a value holds one. An entry becomes the line that a
//! syslog daemon would have written, without its date: the entry's own time is better.
//!
//! It is read in two steps: first what is there, of all boots, to its end; then what comes.
//! (`journalctl --follow` knows the present boot only.)
//!
//! What always holds: entries come in the journal's order, each once, and a cursor is
//! that of an entry that was handed on. Values are cut at [`LINE_BYTES_MAX`](super::LINE_BYTES_MAX), and names
//! at 64 bytes; what is longer is read over, so memory is bounded whatever is
//! logged. A child that ends is started again behind its last entry.

mod export;
mod matches;

use std::collections::BTreeSet;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use super::TURN_BYTES_MAX;
use crate::time::Time;
use export::{LINE_FIELDS, Parser};
use matches::words;

pub use matches::{MatchError, Matches};

/// How much is read at once: what a pipe holds.
const READ_BYTES: usize = 64 * 1024;

/// How long after its end `journalctl` is started again.
const RESTART_AFTER: Duration = Duration::from_secs(2);

/// What is read of which journal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// Which journal, in `journalctl`'s words (`--namespace=…`); none is the system's.
    pub arguments: Vec<String>,
    /// What each reader wants of it.
    pub matches: Vec<Matches>,
}

/// An entry that was read, and how to go on behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// systemd's name for the place.
    pub cursor: String,
    /// When the entry was received.
    pub received: Time,
}

/// One entry.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Entry {
    /// As a syslog daemon would have written it, without its date and its newline.
    pub text: String,
    /// When it was written.
    pub written: Time,
    /// When the journal received it.
    pub received: Time,
    /// It is longer than [`LINE_BYTES_MAX`](super::LINE_BYTES_MAX), or than what journald takes as one line: what
    /// stands at its end was chosen by whoever made it so long.
    pub cut: bool,
    cursor: String,
    fields: Vec<(String, String)>,
}

/// A journal that is followed.
pub struct Journal {
    query: Query,
    names: BTreeSet<String>,
    child: Option<(Child, ChildStdout)>,
    parser: Parser,
    buffer: Box<[u8]>,
    last: Option<Cursor>,
    since: Time,
    /// When a child that has ended is started again; until then it is not known whether
    /// one that was started is well.
    restart: Instant,
    /// Does the child that runs read what comes?
    follows: bool,
    /// Has it given an entry?
    gave: bool,
    trouble: Option<String>,
    told: bool,
}

impl Journal {
    /// Follows a journal behind `last`, or from `since` on if that is later. Nothing is
    /// read yet.
    pub fn new(query: Query, last: Option<Cursor>, since: Time, now: Instant) -> Journal {
        let wanted = query.matches.iter().flat_map(Matches::names);
        let names = wanted.chain(LINE_FIELDS).map(str::to_owned).collect();
        let mut journal = Journal {
            query,
            names,
            child: None,
            parser: Parser::default(),
            buffer: vec![0; READ_BYTES].into_boxed_slice(),
            last: last.filter(|last| last.received >= since),
            since,
            restart: now,
            follows: false,
            gave: false,
            trouble: None,
            told: false,
        };
        journal.start(now);
        journal
    }

    /// What is ready when there is something to read; `None` while nobody follows.
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        let (_, stdout) = self.child.as_ref()?;
        Some(stdout.as_fd())
    }

    /// Hands on what is there, for a turn; says whether there may be more.
    pub fn read(&mut self, now: Instant, each: &mut dyn FnMut(&Entry)) -> bool {
        if self.child.is_none() && now >= self.restart {
            self.follows = false;
            self.start(now);
        }
        let mut left = TURN_BYTES_MAX;
        while let Some((_, stdout)) = &mut self.child {
            match stdout.read(&mut self.buffer) {
                Ok(0) => {
                    self.ended(now);
                    return true;
                }
                Ok(bytes) => {
                    let Journal {
                        parser,
                        names,
                        last,
                        gave,
                        since,
                        buffer,
                        ..
                    } = self;
                    parser.feed(&buffer[..bytes], names, &mut |entry| {
                        *gave = true;
                        let is_last = |last: &Cursor| last.cursor == entry.cursor;
                        if last.as_ref().is_some_and(is_last) || entry.received < *since {
                            return; // It was handed on.
                        }
                        *last = Some(Cursor {
                            cursor: entry.cursor.clone(),
                            received: entry.received,
                        });
                        each(entry);
                    });
                    left = left.saturating_sub(bytes);
                    if left == 0 {
                        return true;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if self.follows && (self.gave || now >= self.restart) {
                        self.trouble = None;
                    }
                    return false;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.end(now, &error.to_string());
                    return false;
                }
            }
        }
        false
    }

    /// Behind which entry reading goes on.
    pub fn cursor(&self) -> Option<&Cursor> {
        self.last.as_ref()
    }

    /// Why nothing is read, if so.
    pub fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    /// The same, once for each trouble: what is worth a warning.
    pub fn news(&mut self) -> Option<&str> {
        match (&self.trouble, self.told) {
            (Some(trouble), false) => {
                self.told = true;
                Some(trouble)
            }
            (None, _) => {
                self.told = false;
                None
            }
            (Some(_), true) => None,
        }
    }

    fn start(&mut self, now: Instant) {
        self.restart = now + RESTART_AFTER;
        self.parser = Parser::default();
        self.gave = false;
        match self.spawn() {
            Ok(child) => self.child = Some(child),
            Err(error) => self.trouble = Some(format!("journalctl cannot be run: {error}")),
        }
    }

    fn spawn(&self) -> io::Result<(Child, ChildStdout)> {
        let mut command = Command::new("journalctl");
        command
            .args(["--output=export", "--quiet", "--all", "--no-pager"])
            .args(
                self.follows
                    .then_some(["--follow", "--no-tail"])
                    .into_iter()
                    .flatten(),
            )
            .arg(format!("--output-fields={}", join(&self.names)))
            .args(&self.query.arguments);
        match &self.last {
            // Not --after-cursor: where that entry does not fit, it skips one that does.
            Some(last) => command.arg(format!("--cursor={}", last.cursor)),
            None => command.arg(format!("--since=@{}", self.since.as_secs().max(0))),
        };
        if !self.query.matches.iter().any(Matches::is_empty) {
            command.args(words(&self.query.matches));
        }
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            // A terminal's interrupt is for us; we end it ourselves.
            .process_group(0)
            .spawn()?;
        let stdout = child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        rustix::io::ioctl_fionbio(&stdout, true)?;
        Ok((child, stdout))
    }

    /// The child has ended: what was there is read, or there is trouble.
    fn ended(&mut self, now: Instant) {
        let status = self.child.as_mut().map(|(child, _)| child.wait());
        let is_well = matches!(&status, Some(Ok(status)) if status.success());
        if is_well && !self.follows {
            self.child = None;
            self.follows = true;
            return self.start(now);
        }
        // Perhaps the cursor is of another journal. Then the time must do.
        if let Some(last) = self.last.take_if(|_| !self.follows && !self.gave) {
            self.since = last.received + Duration::from_micros(1);
        }
        self.end(now, "journalctl has ended");
    }

    fn end(&mut self, now: Instant, why: &str) {
        self.restart = now + RESTART_AFTER;
        if let Some((mut child, _)) = self.child.take() {
            // It has ended, or is of no use any more.
            let _ended = child.kill();
            let status = child.wait().map(|status| status.to_string());
            self.trouble = Some(format!("{why} ({})", status.unwrap_or_default()));
        }
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.end(Instant::now(), "");
    }
}

fn join(names: &BTreeSet<String>) -> String {
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    names.join(",")
}
