//! The daemon's end of the socket.
//!
//! Each client has a task and asks one thing after the other; clients do not
//! wait for each other. The tasks share one thread: the handler may keep its
//! state in an `Rc`. A client is dropped when it leaves a message unfinished or
//! a reply unread for too long. One that merely stays connected may do so (an
//! exporter asks once a minute, for years); when all seats are taken, the one
//! that has been silent longest gives up its seat to the newcomer.
//!
//! Absent: any rule about who may ask what; the mode of the socket's file decides.

use std::future::{self, Future};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tracing::{debug, warn};

use super::frame::{self, Frame, Frames};
use super::listener::{Listener, SocketFile};
use super::pickle::{self, Limits, Value};
use super::{Reply, Request};

/// Clients at once: an operator, a few exporters, and scripts that run one
/// command per address in parallel. Each may hold a request in memory.
pub const CLIENTS_MAX: u32 = 128;

/// A message must be complete this long after its first byte. Programs send it
/// in one go; ten seconds are for a machine that is swapping.
pub const MESSAGE_TIMEOUT: Duration = Duration::from_secs(10);

/// A reply must be taken by the client at this pace: 64 KiB in this time.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// A reply is sent in pieces of this size: one that is huge may take its time,
/// as long as the client keeps reading.
const WRITE_CHUNK_BYTES: usize = 64 * 1024;

/// A client that asks nothing for so long is gone, whatever its socket says.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);

/// What `serve` allows for replies that are on their way when it is stopped.
pub const STOP_GRACE: Duration = Duration::from_secs(2);

/// When no connection can be accepted (out of file handles), the next try waits
/// so long, because the listener stays ready and the loop would spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Bytes read at once.
const READ_BYTES: usize = 16 * 1024;

/// What all clients' tasks share.
struct House<H> {
    handler: H,
    /// Wakes the client that has been silent longest: waiters are woken in the
    /// order in which they began to wait.
    crowded: Notify,
}

/// Serves clients until `stop` is done: then the socket's file goes, replies
/// that are on their way are finished (for [`STOP_GRACE`] at most), and all
/// connections are closed. Dropping the future closes them at once.
///
/// `handler` answers one request; it is called for several clients at the same
/// time, and its futures need not be `Send`. If the runtime has several
/// threads, this future stays on the one that polls it.
pub async fn serve<H, F>(
    listener: Listener,
    handler: H,
    stop: impl Future<Output = ()>,
) -> io::Result<()>
where
    H: Fn(Request) -> F + 'static,
    F: Future<Output = Reply> + 'static,
{
    let Listener { socket, file } = listener;
    let socket = UnixListener::from_std(socket)?;
    let house = Rc::new(House {
        handler,
        crowded: Notify::new(),
    });
    LocalSet::new()
        .run_until(receive(socket, file, house, stop))
        .await;
    Ok(())
}

async fn receive<H, F>(
    socket: UnixListener,
    file: SocketFile,
    house: Rc<House<H>>,
    stop: impl Future<Output = ()>,
) where
    H: Fn(Request) -> F + 'static,
    F: Future<Output = Reply> + 'static,
{
    let seats = Arc::new(Semaphore::new(CLIENTS_MAX as usize));
    let (closing, closed) = watch::channel(false);
    let welcome = async {
        loop {
            let (stream, seat) = next_client(&socket, &seats, &house.crowded).await;
            let visit = Visit {
                stream,
                frames: Frames::new(Limits::REQUEST.bytes),
                begun: None,
                house: Rc::clone(&house),
                closed: closed.clone(),
            };
            tokio::task::spawn_local(async move {
                visit.stay().await;
                drop(seat);
            });
        }
    };
    tokio::select! {
        () = welcome => {}
        () = stop => {}
    }
    drop((socket, file));
    closing.send_replace(true);
    // All seats free: everybody has gone.
    if timeout(STOP_GRACE, seats.acquire_many(CLIENTS_MAX))
        .await
        .is_err()
    {
        warn!("some clients of the socket did not take their reply");
    }
}

/// Waits for a client, and then for a seat for it.
async fn next_client(
    socket: &UnixListener,
    seats: &Arc<Semaphore>,
    crowded: &Notify,
) -> (UnixStream, OwnedSemaphorePermit) {
    let stream = loop {
        match socket.accept().await {
            Ok((stream, _)) => break stream,
            Err(error) => {
                warn!(%error, "cannot accept a client on the socket");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    };
    if let Ok(seat) = seats.clone().try_acquire_owned() {
        return (stream, seat);
    }
    debug!("all seats are taken; the longest silent client goes");
    crowded.notify_one();
    let seat = match seats.clone().acquire_owned().await {
        Ok(seat) => seat,
        // The semaphore is never closed.
        Err(_) => future::pending().await,
    };
    // If a client left by itself meanwhile, nobody else needs to go.
    tokio::select! {
        biased;
        () = crowded.notified() => {}
        () = future::ready(()) => {}
    }
    (stream, seat)
}

/// One client, from coming to going.
struct Visit<H> {
    stream: UnixStream,
    frames: Frames,
    /// When the message that is not complete yet began.
    begun: Option<Instant>,
    house: Rc<House<H>>,
    closed: watch::Receiver<bool>,
}

/// What one message asks of us.
enum Turn {
    Ask(Request),
    Say(Value),
    Leave,
}

impl<H, F> Visit<H>
where
    H: Fn(Request) -> F,
    F: Future<Output = Reply>,
{
    async fn stay(mut self) {
        loop {
            let Some(turn) = self.frames.next_frame().map(read_turn) else {
                if self.hear().await {
                    continue;
                }
                return;
            };
            self.begun = None;
            let reply = match turn {
                Turn::Ask(request) => (self.house.handler)(request).await.into_value(),
                Turn::Say(value) => value,
                Turn::Leave => return,
            };
            if !self.say(&reply).await || *self.closed.borrow() {
                return;
            }
        }
    }

    /// Waits for more bytes; false if the client has gone, or must go.
    async fn hear(&mut self) -> bool {
        if self.frames.is_partial() {
            self.begun.get_or_insert_with(Instant::now);
        }
        let deadline = match self.begun {
            Some(begun) => begun + MESSAGE_TIMEOUT,
            None => Instant::now() + IDLE_TIMEOUT,
        };
        // A client that never stops sending is always readable, so the timer
        // below would not be asked.
        if deadline <= Instant::now() {
            return false;
        }
        tokio::select! {
            biased;
            ready = timeout_at(deadline, self.stream.readable()) => match ready {
                Ok(Ok(())) => read_some(&self.stream, &mut self.frames),
                _ => false,
            },
            _ = self.closed.wait_for(|closed| *closed) => false,
            () = self.house.crowded.notified(), if self.begun.is_none() => false,
        }
    }

    /// Sends a reply; false if the client does not take it.
    async fn say(&mut self, reply: &Value) -> bool {
        let bytes = frame::wrap(pickle::encode(reply)).or_else(|error| {
            let reply = Reply::error(error.to_string()).into_value();
            frame::wrap(pickle::encode(&reply))
        });
        for piece in bytes.unwrap_or_default().chunks(WRITE_CHUNK_BYTES) {
            match timeout(WRITE_TIMEOUT, self.stream.write_all(piece)).await {
                Ok(Ok(())) => {}
                outcome => {
                    debug!(?outcome, "a client did not take its reply");
                    return false;
                }
            }
        }
        true
    }
}

/// Reads what is there; false at the end of the stream.
fn read_some(stream: &UnixStream, frames: &mut Frames) -> bool {
    let mut piece = [0; READ_BYTES];
    match stream.try_read(&mut piece) {
        Ok(0) => false,
        Ok(len) => {
            frames.push(piece.get(..len).unwrap_or_default());
            true
        }
        // It was not ready after all.
        Err(error) => error.kind() == io::ErrorKind::WouldBlock,
    }
}

/// What a message asks. One that cannot be read is answered as fail2ban does,
/// with a text instead of a pair, and the next one is welcome.
fn read_turn(frame: Frame<'_>) -> Turn {
    let bytes = match frame {
        Frame::Close => return Turn::Leave,
        Frame::TooLong => {
            let max = Limits::REQUEST.bytes;
            return Turn::Say(format!("ERROR: the request is longer than {max} bytes").into());
        }
        Frame::Message(bytes) => bytes,
    };
    match pickle::decode(bytes, &Limits::REQUEST) {
        Err(error) => Turn::Say(format!("ERROR: {error}").into()),
        Ok(value) => match Request::from_value(value) {
            Some(request) => Turn::Ask(request),
            None => Turn::Say(Reply::error("Invalid command").into_value()),
        },
    }
}
