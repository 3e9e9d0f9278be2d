//! Following logs: blocks of whole lines, and where we stopped.
//!
//! One [`Tail`] reads all logs, each file once however many jails follow it, on
//! one plain thread. What it hands on are whole lines, straight from its buffer;
//! a line whose end has not been written yet is kept back until it has. A file is
//! known by its inode, not by its name: a name that changes hands is a rotation,
//! and the old file is read to its end before the new one.
//!
//! What always holds: a byte is handed on at most once per place, lines of a log
//! come in the order in which they were written, and a [`Position`] never claims
//! a line that was not handed on. Nothing here knows what a line means, and
//! nothing here remembers positions on disk: the caller does.
//!
//! Standard input, pipes and datagram sockets (`inlet`) and the systemd journal
//! ([`journal`]) are read beside the files, on the same thread.
//!
//! Absent: what lines are wrapped in ([`crate::frame`] takes that off).

mod compressed;
mod file;
mod inlet;
pub mod journal;
mod lines;
mod names;
mod notice;
mod pace;
mod position;
mod rotated;
mod seek;
mod tail;
mod wake;

use std::path::{Path, PathBuf};
use std::time::Duration;

pub use compressed::{Compression, TELLING_BYTES};
pub use file::open as open_plain;
pub use inlet::{is_inlet, is_socket};
pub use lines::read_to_end;
pub use notice::Notice;
pub use position::{HEAD_BYTES_MAX, Head, Position};
pub use tail::{Ages, Tail};
pub use wake::{Waker, Woken};

/// A line is cut after this many bytes, its newline not counted. A SIP message over UDP
/// has at most 64 KiB; docker cuts what quotes one into parts of 16 KiB and escapes each
/// byte with up to six. So nobody hides behind the length of what he sends.
pub const LINE_BYTES_MAX: usize = 128 * 1024;

/// How many files are open at once, rotated ones included. A service has 1024
/// descriptors unless somebody asks for more; half of them are for us.
pub const FILES_MAX: usize = 512;

/// How much of one file is read before the next one gets its turn.
pub const TURN_BYTES_MAX: usize = 1024 * 1024;

/// How long a file that lost its name must be quiet before it is closed: servers
/// hold it for some seconds after a rotation until they are told to reopen.
pub const ROTATE_WAIT: Duration = Duration::from_secs(10);

/// How often everything is looked at, whether or not the kernel told us anything:
/// it does not tell about network file systems, bind mounts and queues run over.
pub const SWEEP: Duration = Duration::from_secs(2);

/// The same where the kernel gave us no watch at all.
pub const SWEEP_BLIND: Duration = Duration::from_millis(250);

/// Who asked for a log: the caller's own number, handed back with every block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SourceId(pub usize);

/// One generation of one file's content, never used twice. A rotation and a
/// truncation begin a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileId(u64);

/// Where to begin with a file that is there at first sight and has no position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// At its end: only what comes.
    Tail,
    /// Where its recent part begins, by the caller's word ([`Tail::set_ages`]); at its end
    /// if nobody can tell.
    Recent,
    /// At its beginning.
    Head,
}

/// A log that somebody wants to follow. A file that appears later is always read
/// from its beginning, whatever `start` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Whose it is.
    pub id: SourceId,
    /// A path, or a shell glob (`*`, `?`, `[a-z]`; `**` means no more than `*`); `-` is
    /// standard input, and `unix:/path` a datagram socket.
    pub pattern: String,
    /// Where to begin; if two sources disagree about one file, the earlier place wins.
    pub start: Start,
}

/// Some whole lines of one file.
#[derive(Clone, Copy, Debug)]
pub struct Block<'a> {
    /// Which content; a caller's memory of a file (its last date) hangs on this.
    pub file: FileId,
    /// Everybody who follows it, in order.
    pub sources: &'a [SourceId],
    /// The name under which it is or was followed.
    pub path: &'a Path,
    /// Where in the file its first byte stands.
    pub offset: u64,
    /// One or more lines; the last byte is a newline.
    pub bytes: &'a [u8],
    /// Was it written while we were watching? If not, we are catching up.
    pub live: bool,
    /// This is one line, and its rest was thrown away since it is longer than
    /// [`LINE_BYTES_MAX`]. What stands at its end was chosen by whoever made it so
    /// long: nobody should be blamed by it.
    pub cut: bool,
    /// The head of this line was read before its end was there. So whatever pause stands
    /// before the rest, no message need begin with it.
    pub begun: bool,
}

/// How a followed log is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileStatus {
    /// Its name.
    pub path: PathBuf,
    /// What goes on.
    pub state: FileState,
    /// The first byte not handed on yet; 0 if there is no file.
    pub offset: u64,
    /// How long the file was when last looked at, in bytes; 0 if there is none.
    pub size: u64,
    /// How many of its lines were cut.
    pub lines_cut: u64,
}

/// What goes on with a followed log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileState {
    /// Reading what was there before we came.
    CatchingUp,
    /// Reading what comes.
    Following,
    /// It lost its name and is read until it is quiet.
    Rotated,
    /// There is no such file now.
    Missing,
    /// It cannot be read, and why.
    Unreadable(String),
    /// Nothing more will come from it.
    Ended,
}
