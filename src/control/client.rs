//! The command's end of the socket: ask, and wait for the answer.
//!
//! Blocking and without a runtime, since a command asks one thing and ends.
//! After an error in the middle of an exchange the connection is closed: a late
//! answer must not be taken for that to the next question.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::NATIVE_WORD;
use super::frame::{self, Frame, Frames, MarkerInside};
use super::pickle::{self, Limits, PickleError, Value};

/// How long the daemon may be silent while it works on a request. A reload of a
/// large tree takes seconds; fail2ban's client waits for a minute.
pub const SILENCE_MAX: Duration = Duration::from_secs(60);

/// Bytes read at once.
const READ_BYTES: usize = 64 * 1024;

/// Why there is no answer, or which.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// There is no socket, or nobody behind it.
    #[error("ringfence is not running ({why} at {})", path.display())]
    NotRunning {
        /// The socket.
        path: PathBuf,
        /// `no socket` or `nobody answers`.
        why: &'static str,
    },
    /// The socket's mode keeps us out.
    #[error("no permission to use {}: run as root, or as the user that ringfence runs as", path.display())]
    Denied {
        /// The socket.
        path: PathBuf,
    },
    /// More clients wait than the system lets wait.
    #[error("ringfence is too busy to answer at {}; try again", path.display())]
    Busy {
        /// The socket.
        path: PathBuf,
    },
    /// No byte came for too long.
    #[error("no answer from {} within {} seconds", path.display(), silence.as_secs())]
    Silent {
        /// The socket.
        path: PathBuf,
        /// How long we waited.
        silence: Duration,
    },
    /// The connection ended before the answer did.
    #[error("{} closed the connection without an answer", path.display())]
    HungUp {
        /// The socket.
        path: PathBuf,
    },
    /// The system says no.
    #[error("cannot talk to {}: {error}", path.display())]
    Io {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The question cannot be written.
    #[error(transparent)]
    Marker(#[from] MarkerInside),
    /// The answer is longer than any should be.
    #[error("the answer is longer than {} bytes", Limits::REPLY.bytes)]
    TooLong,
    /// The answer is not a pickle.
    #[error("the answer cannot be read: {0}")]
    Garbled(#[from] PickleError),
    /// The answer is no pair of 0 or 1 and a value; it is shown as it is.
    #[error("{0}")]
    Odd(String),
    /// The daemon understood, and refuses.
    #[error("{text}")]
    Refused {
        /// The exception: module and name, joined by a dot.
        class: String,
        /// What it says.
        text: String,
    },
    /// A verb of ours, or its answer, does not fit its type. The daemon may be
    /// of another version than the command.
    #[error("the answer does not fit this version of the command: {0}")]
    Json(#[from] serde_json::Error),
}

/// A connection to the daemon.
#[derive(Debug)]
pub struct Client {
    path: PathBuf,
    silence: Duration,
    /// Gone after an error.
    stream: Option<UnixStream>,
}

impl Client {
    /// Connects to the socket at `path`. The daemon may be silent for
    /// [`SILENCE_MAX`].
    pub fn connect(path: &Path) -> Result<Client, ClientError> {
        Client::connect_patient(path, SILENCE_MAX)
    }

    /// Connects; the daemon may be silent for `silence` (not zero).
    pub fn connect_patient(path: &Path, silence: Duration) -> Result<Client, ClientError> {
        let setup = |stream: UnixStream| {
            stream.set_read_timeout(Some(silence))?;
            stream.set_write_timeout(Some(silence))?;
            Ok(stream)
        };
        let owned = path.to_owned();
        match dial(path).and_then(setup) {
            Ok(stream) => Ok(Client {
                path: owned,
                silence,
                stream: Some(stream),
            }),
            Err(error) => Err(match error.kind() {
                io::ErrorKind::NotFound => ClientError::NotRunning {
                    path: owned,
                    why: "no socket",
                },
                io::ErrorKind::ConnectionRefused => ClientError::NotRunning {
                    path: owned,
                    why: "nobody answers",
                },
                io::ErrorKind::PermissionDenied => ClientError::Denied { path: owned },
                io::ErrorKind::WouldBlock => ClientError::Busy { path: owned },
                _ => ClientError::Io { path: owned, error },
            }),
        }
    }

    /// Asks with fail2ban's words and returns the value of the answer.
    pub fn call(&mut self, words: &[&str]) -> Result<Value, ClientError> {
        let words = words.iter().map(|&word| Value::from(word)).collect();
        let question = frame::wrap(pickle::encode(&Value::List(words)))?;
        match self.exchange(&question)? {
            Value::Tuple(mut pair) | Value::List(mut pair) if pair.len() == 2 => {
                match (pair.pop(), pair.pop()) {
                    (Some(value), Some(Value::Int(0))) => Ok(value),
                    (Some(value), Some(_)) => Err(refusal(value)),
                    _ => Err(ClientError::Odd(String::new())),
                }
            }
            other => Err(ClientError::Odd(other.to_string())),
        }
    }

    /// Asks with a verb of ours. A refusal is [`ClientError::Refused`].
    pub fn native<Req: Serialize, Rep: DeserializeOwned>(
        &mut self,
        verb: &Req,
    ) -> Result<Rep, ClientError> {
        let json = serde_json::to_string(verb)?;
        match self.call(&[NATIVE_WORD, &json])? {
            Value::Str(json) => Ok(serde_json::from_str(&json)?),
            other => Err(ClientError::Odd(other.to_string())),
        }
    }

    fn exchange(&mut self, question: &[u8]) -> Result<Value, ClientError> {
        // Put back only when all went well.
        let Some(mut stream) = self.stream.take() else {
            return Err(self.hung_up());
        };
        stream.write_all(question).map_err(|e| self.failed(e))?;
        let mut frames = Frames::new(Limits::REPLY.bytes);
        let mut piece = vec![0; READ_BYTES];
        loop {
            match frames.next_frame() {
                Some(Frame::Message(bytes)) => {
                    let answer = pickle::decode(bytes, &Limits::REPLY)?;
                    self.stream = Some(stream);
                    return Ok(answer);
                }
                Some(Frame::TooLong) => return Err(ClientError::TooLong),
                Some(Frame::Close) => return Err(self.hung_up()),
                None => {}
            }
            match stream.read(&mut piece) {
                Ok(0) => return Err(self.hung_up()),
                Ok(len) => frames.push(piece.get(..len).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.failed(error)),
            }
        }
    }

    fn hung_up(&self) -> ClientError {
        ClientError::HungUp {
            path: self.path.clone(),
        }
    }

    fn failed(&self, error: io::Error) -> ClientError {
        let path = self.path.clone();
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => ClientError::Silent {
                path,
                silence: self.silence,
            },
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => self.hung_up(),
            _ => ClientError::Io { path, error },
        }
    }
}

/// Reads `(1, exception)`. Some servers send a text instead of an exception.
fn refusal(value: Value) -> ClientError {
    let (class, mut args) = match value {
        Value::Call { class, args } => (class, args),
        other => ("builtins.Exception".to_owned(), vec![other]),
    };
    let text = match args.len() {
        1 => args.remove(0).to_string(),
        _ => Value::Tuple(args).to_string(),
    };
    ClientError::Refused { class, text }
}

/// Connects without waiting: `WouldBlock` if too many wait there already.
pub(super) fn dial(path: &Path) -> io::Result<UnixStream> {
    let address = SocketAddrUnix::new(path)?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::net::connect(&socket, &address)?;
    let stream = UnixStream::from(socket);
    stream.set_nonblocking(false)?;
    Ok(stream)
}
