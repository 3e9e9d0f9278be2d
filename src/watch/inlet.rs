//! Inlets: where lines come in that are gone once they are read.
//!
//! | inlet | written as | lines |
//! |---|---|---|
//! | standard input | `-` | as in a file; it ends when its writer does |
//! | a named pipe | its path, without wildcards | as in a file; writers come and go |
//! | a datagram socket | `unix:/path` | one for each datagram |
//!
//! What always holds: nobody is waited for. A pipe is open before its writer comes and
//! stays open when he has gone; a line that he left unfinished is no line. The socket is
//! closed to all but its owner and its group from its first moment; one that a crash left
//! behind is replaced, one that another program reads from is not, nor is a file. What is
//! in a datagram is one line: control characters in it become `#012` and the like, as
//! rsyslog writes them, so nobody begins a line of his own.
//!
//! Absent: positions. What waits in a pipe that its writer holds is read by the next
//! start; what was sent to a socket while nobody read is lost, and its sender knows it.

use std::fs::{self, Permissions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::SocketAddrUnix;

use super::file::{Identity, READ_BYTES, identity};
use super::lines::{Lines, Piece};
use super::{Block, FileId, FileState, FileStatus, LINE_BYTES_MAX, SourceId, TURN_BYTES_MAX};

/// How standard input is written.
const STDIN: &str = "-";

/// What the path of a socket is written behind.
const SOCKET: &str = "unix:";

/// Who may send lines: whoever can have anybody banned by that. Its folder says by its
/// group (`chmod g+s`) who else does.
const SOCKET_MODE: Mode = Mode::RUSR
    .union(Mode::WUSR)
    .union(Mode::RGRP)
    .union(Mode::WGRP);

/// Datagrams of one reading: empty ones fill no buffer, and whoever sends them without end
/// must not hold up the other logs.
const DATAGRAMS_MAX: usize = 1_024;

/// Is this the name of an inlet, and not of a file? (A pipe is named as a file.)
pub fn is_inlet(name: &str) -> bool {
    name == STDIN || is_socket(name)
}

/// Is this the name of a datagram socket?
pub fn is_socket(name: &str) -> bool {
    name.starts_with(SOCKET)
}

/// What a reading came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// All that is there was read.
    Read,
    /// The turn is over, and there is more.
    More,
    /// Its writer has gone, and left so many bytes of a line unfinished.
    Left(usize),
    /// It ended so, and nothing more will ever come.
    Ended(usize),
}

/// An open inlet.
pub(super) struct Inlet {
    pub(super) id: FileId,
    pub(super) path: PathBuf,
    pub(super) sources: Vec<SourceId>,
    /// Does its name still stand for it?
    pub(super) named: bool,
    lines: Lines,
    mouth: Mouth,
}

enum Mouth {
    Stdin(io::Stdin),
    Pipe(fs::File),
    Socket(Socket),
    Ended,
}

impl Inlet {
    /// Opens what `path` names.
    pub(super) fn open(id: FileId, path: &Path) -> io::Result<Inlet> {
        let name = path.to_str().unwrap_or_default();
        let mouth = match (name, name.strip_prefix(SOCKET)) {
            (STDIN, _) => Mouth::Stdin(io::stdin()),
            (_, Some(socket)) => Mouth::Socket(Socket::bind(Path::new(socket))?),
            _ => Mouth::Pipe(open_pipe(path)?),
        };
        Ok(Inlet {
            id,
            path: path.to_owned(),
            sources: Vec::new(),
            named: true,
            lines: Lines::default(),
            mouth,
        })
    }

    /// Which pipe it is, if it is one.
    pub(super) fn pipe(&self) -> Option<Identity> {
        match &self.mouth {
            Mouth::Pipe(pipe) => pipe.metadata().ok().map(|meta| identity(&meta)),
            _ => None,
        }
    }

    /// Has somebody taken its place from it?
    pub(super) fn is_displaced(&self) -> bool {
        matches!(&self.mouth, Mouth::Socket(socket) if !socket.is_in_place())
    }

    /// What can be waited for.
    pub(super) fn fd(&self) -> Option<BorrowedFd<'_>> {
        match &self.mouth {
            Mouth::Stdin(stdin) => Some(stdin.as_fd()),
            Mouth::Pipe(pipe) => Some(pipe.as_fd()),
            Mouth::Socket(socket) => Some(socket.socket.as_fd()),
            Mouth::Ended => None,
        }
    }

    pub(super) fn lines_cut(&self) -> u64 {
        self.lines.lines_cut
    }

    pub(super) fn status(&self) -> FileStatus {
        FileStatus {
            path: self.path.clone(),
            state: match self.mouth {
                Mouth::Ended => FileState::Ended,
                _ => FileState::Following,
            },
            offset: self.lines.offset,
            size: self.lines.next(),
            lines_cut: self.lines.lines_cut,
        }
    }

    /// Hands on the lines that have come, a turn at most.
    pub(super) fn read(
        &mut self,
        buffer: &mut [u8],
        each: &mut dyn FnMut(Block<'_>),
    ) -> io::Result<Turn> {
        let mut bytes = 0;
        while bytes < TURN_BYTES_MAX {
            let got = match &mut self.mouth {
                Mouth::Stdin(stdin) => read_ready(stdin, buffer),
                Mouth::Pipe(pipe) => read_ready(pipe, buffer),
                Mouth::Socket(socket) => socket.read(buffer),
                Mouth::Ended => return Ok(Turn::Read),
            };
            match got? {
                None => return Ok(Turn::Read),
                Some(0) if self.is_socket() => return Ok(Turn::More),
                Some(0) => return self.left(),
                Some(got) => {
                    bytes += got;
                    self.hand_on(&mut buffer[..got], each);
                }
            }
        }
        Ok(Turn::More)
    }

    fn is_socket(&self) -> bool {
        matches!(self.mouth, Mouth::Socket(_))
    }

    /// The writer has gone. A pipe waits for the next one.
    fn left(&mut self) -> io::Result<Turn> {
        let unfinished = self.lines.unfinished().len();
        self.lines.drop_unfinished();
        match &self.mouth {
            Mouth::Pipe(pipe) => {
                // The kernel says of this end for ever that its writer has gone; of a new
                // one it does not. The old one is open until then: nothing falls between.
                let again = format!("/proc/self/fd/{}", pipe.as_raw_fd());
                self.mouth = Mouth::Pipe(open_pipe(Path::new(&again))?);
                Ok(Turn::Left(unfinished))
            }
            _ => {
                self.mouth = Mouth::Ended;
                Ok(Turn::Ended(unfinished))
            }
        }
    }

    fn hand_on(&mut self, fresh: &mut [u8], each: &mut dyn FnMut(Block<'_>)) {
        let Inlet {
            id,
            path,
            sources,
            lines,
            ..
        } = self;
        let read_from = lines.next();
        lines.hand_on(fresh, &mut |Piece { offset, bytes, cut }| {
            each(Block {
                file: *id,
                sources,
                path,
                offset,
                bytes,
                live: true,
                cut,
                begun: offset < read_from,
            });
        });
    }
}

/// Opens a named pipe for reading; never waits for its writer.
fn open_pipe(path: &Path) -> io::Result<fs::File> {
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let pipe = fs::OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits() as i32)
        .open(path)?;
    match pipe.metadata()?.file_type().is_fifo() {
        true => Ok(pipe),
        false => Err(io::ErrorKind::InvalidInput.into()),
    }
}

/// Reads if that does not wait: `None` if nothing is there, 0 bytes if the writer has gone.
/// Standard input may be shared with others, so its own settings are left alone.
fn read_ready(from: &impl AsFd, buffer: &mut [u8]) -> io::Result<Option<usize>> {
    let mut ready = [PollFd::new(from, PollFlags::IN)];
    let is_ready = poll(&mut ready, Some(&Timespec::default()));
    if !is_ready.is_ok_and(|ready| ready > 0) {
        return Ok(None);
    }
    match rustix::io::read(from, buffer) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(Errno::AGAIN | Errno::INTR) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// A datagram socket, and its place in the file system.
struct Socket {
    socket: UnixDatagram,
    path: PathBuf,
    place: Identity,
    /// Datagrams that one reading takes.
    datagrams_max: usize,
}

impl Socket {
    fn bind(path: &Path) -> io::Result<Socket> {
        free(path)?;
        // Nobody can reach it under its name before it has its mode.
        let mut hidden = path.as_os_str().to_owned();
        hidden.push(".new");
        let hidden = PathBuf::from(hidden);
        let address = SocketAddrUnix::new(&hidden)
            .map_err(|_| io::Error::other("the path is too long for a socket"))?;
        let _none_before = fs::remove_file(&hidden);
        let socket = closed_socket(&address)?;
        let placed =
            open_to_group(&hidden).and_then(|place| fs::rename(&hidden, path).map(|()| place));
        if placed.is_err() {
            let _left_behind = fs::remove_file(&hidden);
        }
        Ok(Socket {
            socket,
            path: path.to_owned(),
            place: placed?,
            datagrams_max: DATAGRAMS_MAX,
        })
    }

    fn is_in_place(&self) -> bool {
        fs::symlink_metadata(&self.path).is_ok_and(|meta| (meta.dev(), meta.ino()) == self.place)
    }

    /// Reads as many datagrams as there are, the buffer holds, and one reading may take, a
    /// line each; 0 bytes if all that came was empty.
    fn read(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        let (mut used, mut is_read) = (0, false);
        for _ in 0..self.datagrams_max {
            // One byte more than a line may have tells that it is too long.
            let Some(room) = buffer.get_mut(used..used + LINE_BYTES_MAX + 2) else {
                break;
            };
            let (room, _newline) = room.split_at_mut(LINE_BYTES_MAX + 1);
            match self.socket.recv(room) {
                Ok(bytes) => {
                    let length = one_line(room, bytes);
                    if length > 0 {
                        used += length;
                        buffer[used] = b'\n';
                        used += 1;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    is_read = true;
                    break;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Some(used).filter(|used| *used > 0 || !is_read))
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if self.is_in_place() {
            // If it stays, the next start finds that nobody reads there, and replaces it.
            let _left_behind = fs::remove_file(&self.path);
        }
    }
}

/// A socket that nobody else but its group may send to, from its first moment and whatever
/// the umask is.
fn closed_socket(address: &SocketAddrUnix) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    // Binding gives this mode to its file, less what the umask takes away.
    rustix::fs::fchmod(&socket, SOCKET_MODE)?;
    rustix::net::bind(&socket, address)?;
    Ok(socket)
}

/// Gives the socket at this path its whole mode, and says which file it is. If somebody has
/// put anything else there meanwhile, that stays as it is.
fn open_to_group(path: &Path) -> io::Result<Identity> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = fs::File::from(rustix::fs::open(path, flags, Mode::empty())?);
    let meta = file.metadata()?;
    if !meta.file_type().is_socket() {
        return Err(io::Error::other(
            "somebody took its place while it was made",
        ));
    }
    // This path is the very file, wherever its name leads by now.
    let same = format!("/proc/self/fd/{}", file.as_raw_fd());
    fs::set_permissions(same, Permissions::from_mode(SOCKET_MODE.as_raw_mode()))?;
    Ok(identity(&meta))
}

/// Makes one line of a datagram in place, and says how long it is: no newline at its end,
/// and none in it. What does not fit any more makes it too long.
fn one_line(room: &mut [u8], bytes: usize) -> usize {
    let is_end = |byte: &u8| b"\r\n\0".contains(byte);
    let last = room[..bytes].iter().rposition(|byte| !is_end(byte));
    let length = last.map_or(0, |last| last + 1);
    if !room[..length].iter().any(u8::is_ascii_control) {
        return length;
    }
    let mut line = Vec::with_capacity(length + 64);
    for byte in &room[..length] {
        match byte.is_ascii_control() {
            true => line.extend_from_slice(format!("#{byte:03o}").as_bytes()),
            false => line.push(*byte),
        }
    }
    line.truncate(room.len());
    room[..line.len()].copy_from_slice(&line);
    line.len()
}

/// Removes a socket that nobody reads from any more.
fn free(path: &Path) -> io::Result<()> {
    let meta = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        meta => meta?,
    };
    if !meta.file_type().is_socket() {
        let why = "something that is no socket is in its place; remove it, or write another path";
        return Err(io::Error::other(why));
    }
    match UnixDatagram::unbound()?.connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        Err(error) => Err(error),
        Ok(()) => Err(io::Error::other(
            "another program reads there; write another path",
        )),
    }
}

const _: () = assert!(READ_BYTES > LINE_BYTES_MAX + 2, "a datagram fits");

#[cfg(test)]
mod tests {
    use super::*;

    fn mode_of(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_link_in_the_place_of_the_socket_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let [file, link, socket] = ["file", "link", "socket"].map(|name| folder.path().join(name));
        fs::write(&file, "").unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        for other in [&link, &file] {
            let error = open_to_group(other).unwrap_err().to_string();
            assert!(error.contains("took its place"), "{error}");
        }
        assert_eq!(mode_of(&file), 0o600);

        let _socket = closed_socket(&SocketAddrUnix::new(&socket).unwrap()).unwrap();
        assert_eq!(mode_of(&socket) & !0o660, 0, "from its first moment");
        open_to_group(&socket).unwrap();
        assert_eq!(mode_of(&socket), 0o660);
    }

    #[test]
    fn empty_datagrams_end_a_turn() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let name = format!("unix:{}", path.display());
        let mut inlet = Inlet::open(FileId(0), Path::new(&name)).unwrap();
        let Mouth::Socket(socket) = &mut inlet.mouth else {
            panic!("a socket");
        };
        socket.datagrams_max = 3;
        let sender = UnixDatagram::unbound().unwrap();
        for datagram in [b"" as &[u8], b"\n", b"", b"", b"one", b"two"] {
            sender.send_to(datagram, &path).unwrap();
        }
        let (mut buffer, mut lines) = (vec![0; READ_BYTES], Vec::<u8>::new());
        let mut read = || inlet.read(&mut buffer, &mut |block| lines.extend(block.bytes));
        let turns = [(); 3].map(|()| read().unwrap());
        assert_eq!(turns, [Turn::More, Turn::Read, Turn::Read]);
        assert_eq!(lines, b"one\ntwo\n");
    }
}
