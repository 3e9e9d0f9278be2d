//! The end: what is done then, and the threads end in the order in which they feed each other.

use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tracing::warn;

use super::bus::Judge;
use super::upgrade::Successor;
use super::{keeper, operator, running, stock};
use crate::config::Config;

/// What is done at the end, when all that was read is judged and written down.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Ending {
    /// Rules and sets stay: a restart has no gap.
    #[default]
    Leave,
    /// Nothing is blocked any more; the rules are gone already. The sets stay for the
    /// next start, and their entries expire.
    Lift,
    /// Rules and sets are taken away.
    Purge,
    /// The daemon goes on as another program.
    Upgrade(Successor),
}

/// How long the end waits for threads that wait for the system's programs: a part of what
/// systemd gives us (`TimeoutStopSec`).
const END_PATIENCE: Duration = Duration::from_secs(4);

/// How often it looks whether they have ended.
const END_LOOK_EVERY: Duration = Duration::from_millis(5);

/// Ends the threads in the order in which they feed each other.
pub(super) fn finish(
    stopped: operator::Stopped,
    judge: &Judge,
    door: &stock::Door,
    threads: Vec<JoinHandle<()>>,
) -> (Ending, Config) {
    stopped.intake.stop();
    judge.keep(running(&[])); // as fail2ban leaves them
    judge.close();
    door.end(matches!(stopped.ending, Ending::Lift | Ending::Purge));
    let deadline = Instant::now() + END_PATIENCE;
    for thread in threads {
        // Whoever waits for a program of the system's may do so for longer than we have.
        let name = thread.thread().name().unwrap_or_default().to_owned();
        let waits = [stock::THREAD, keeper::THREAD].contains(&name.as_str());
        while waits && !thread.is_finished() && Instant::now() < deadline {
            thread::sleep(END_LOOK_EVERY);
        }
        if waits && !thread.is_finished() {
            warn!(
                "the thread `{name}` is still at work and is left alone; whatever it has not done the next start does, or `ringfence stop`"
            );
        } else if thread.join().is_err() {
            warn!("a thread ended in a panic");
        }
    }
    (stopped.ending, stopped.config)
}

/// Half a daemon is worse than a restart: the kernel's sets hold meanwhile, and
/// systemd starts another. The message says where it was.
pub(super) fn end_on_panic() {
    let tell = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        tell(panic);
        std::process::abort();
    }));
}
