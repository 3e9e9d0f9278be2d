//! `ringfence stop`: ends the daemon and takes rules and sets out of the kernel,
//! also when no daemon runs.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::ask;
use super::{Common, print};
use crate::control::{Client, ClientError};
use crate::daemon::{self, verbs::Verb};

pub(super) fn run(common: &Common) -> anyhow::Result<()> {
    match Client::connect(&ask::socket(common)?) {
        Ok(mut client) => {
            let pid: i32 = client.native(&Verb::Stop)?;
            wait_for_end(pid)?;
            print("stopped; rules and sets are taken away, bans stay in the database\n")
        }
        Err(ClientError::NotRunning { .. }) => {
            daemon::purge()?;
            print("no daemon runs; rules and sets are taken away\n")
        }
        Err(error) => Err(error.into()),
    }
}

/// How long a daemon may take to end: it writes down what it knows first.
const END_WAIT: Timespec = Timespec {
    tv_sec: 30,
    tv_nsec: 0,
};

fn wait_for_end(pid: i32) -> anyhow::Result<()> {
    let Some(Ok(process)) = Pid::from_raw(pid).map(|pid| pidfd_open(pid, PidfdFlags::empty()))
    else {
        return Ok(()); // it has ended already
    };
    match poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&END_WAIT))? {
        0 => anyhow::bail!("the daemon (pid {pid}) was told to end and has not done so yet"),
        _ => Ok(()),
    }
}
