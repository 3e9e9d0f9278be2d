//! The socket's place in the file system: taking it, and giving it back.
//!
//! What always holds: the file belongs to the daemon's user and is closed to
//! all others before the first client can connect; a socket that somebody
//! listens on is never taken away from them; and a file that is not ours is
//! never removed. The folder is not made here: its owner and mode are for the
//! system to decide (`RuntimeDirectory=`).

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use super::client::dial;

/// Clients that wait for a seat, in the kernel.
const BACKLOG: i32 = 128;

/// Why the socket could not be had.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The folder is not there.
    #[error("no folder for the socket {}: create {} first", path.display(), folder.display())]
    NoFolder {
        /// The socket.
        path: PathBuf,
        /// Its folder.
        folder: PathBuf,
    },
    /// Somebody answers there, or is just about to.
    #[error(
        "another ringfence (or fail2ban) is running: it answers at {}",
        path.display()
    )]
    Running {
        /// The socket.
        path: PathBuf,
    },
    /// There is something else in that place.
    #[error("{} is there and is not a socket; remove it or choose another path", path.display())]
    NotASocket {
        /// The path.
        path: PathBuf,
    },
    /// The system says no.
    #[error("cannot {what} {}: {error}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
}

/// A socket that listens. Dropping it removes the file.
#[derive(Debug)]
pub struct Listener {
    pub(super) socket: UnixListener,
    pub(super) file: SocketFile,
}

/// The socket's file, as long as it is ours.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    /// Device and inode: a successor may have put its own file there.
    id: Option<(u64, u64)>,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.id.is_some() && file_id(&self.path) == self.id {
            // If it stays, the next start finds that nobody answers, and removes it.
            fs::remove_file(&self.path).ok();
        }
    }
}

fn file_id(path: &Path) -> Option<(u64, u64)> {
    let meta = fs::symlink_metadata(path).ok()?;
    Some((meta.dev(), meta.ino()))
}

/// Puts the socket at `path`, for the own user only (mode 0600, however wide
/// the umask is). The folder must exist. A socket that a crash left behind is
/// replaced, one that answers is not.
pub fn bind(path: &Path) -> Result<Listener, BindError> {
    let failed = |what| {
        move |error: io::Error| BindError::Io {
            what,
            path: path.to_owned(),
            error,
        }
    };
    let _lock = lock_folder(path)?;
    remove_stale(path)?;
    let address = SocketAddrUnix::new(path).map_err(|e| failed("use the path")(e.into()))?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
        .map_err(|e| failed("make a socket for")(e.into()))?;
    // Binding gives this mode to the file, less what the umask takes away. A path is not asked
    // for that: by then it might lead elsewhere.
    rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR)
        .map_err(|e| failed("set the mode of")(e.into()))?;
    rustix::net::bind(&socket, &address).map_err(|e| failed("bind")(e.into()))?;
    let file = SocketFile {
        path: path.to_owned(),
        id: file_id(path),
    };
    rustix::net::listen(&socket, BACKLOG).map_err(|e| failed("listen at")(e.into()))?;
    Ok(Listener {
        socket: socket.into(),
        file,
    })
}

/// Holds others that start in this moment off, until the returned handle is
/// closed: else both might find a stale socket, and the second remove the
/// first's new one.
fn lock_folder(path: &Path) -> Result<rustix::fd::OwnedFd, BindError> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let handle = rustix::fs::open(folder, flags, Mode::empty()).map_err(|error| match error {
        rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR => BindError::NoFolder {
            path: path.to_owned(),
            folder: folder.to_owned(),
        },
        error => BindError::Io {
            what: "open the folder",
            path: folder.to_owned(),
            error: error.into(),
        },
    })?;
    match rustix::fs::flock(&handle, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(handle),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(BindError::Running {
            path: path.to_owned(),
        }),
        Err(error) => Err(BindError::Io {
            what: "lock the folder",
            path: folder.to_owned(),
            error: error.into(),
        }),
    }
}

fn remove_stale(path: &Path) -> Result<(), BindError> {
    let path_owned = path.to_owned();
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Ok(meta) if meta.file_type().is_socket() => {}
        Ok(_) => return Err(BindError::NotASocket { path: path_owned }),
        Err(error) => {
            return Err(BindError::Io {
                what: "look at",
                path: path_owned,
                error,
            });
        }
    }
    match dial(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path)
            .map_err(|error| BindError::Io {
                what: "remove the stale socket",
                path: path_owned,
                error,
            }),
        // It answers, or its queue is full, or it is not ours to judge.
        Ok(_) => Err(BindError::Running { path: path_owned }),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            Err(BindError::Running { path: path_owned })
        }
        Err(error) => Err(BindError::Io {
            what: "find out who answers at",
            path: path_owned,
            error,
        }),
    }
}
