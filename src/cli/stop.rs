//! `ringfence stop`: ends the daemon and takes its rules out of the kernel, also when no
//! daemon runs. The sets stay for the next start, and their entries expire; `--purge`
//! takes them as well.
//!
//! systemd's unit calls it with `--if-unit-stops` whenever the daemon has ended. Only when
//! somebody stopped the unit are rules taken away: a restart, also one after a crash, has
//! no gap, and neither has the way down of the whole system.

use std::process::Command;

use clap::Args;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::ask;
use super::{Common, print};
use crate::config::native::Settings;
use crate::control::{Client, ClientError};
use crate::daemon::{self, verbs::Verb};

#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// Take the sets away as well: nothing is left in the kernel
    #[arg(long)]
    purge: bool,
    /// Do so only if somebody stops this unit of systemd's; for its `ExecStopPost=`
    #[arg(long, value_name = "UNIT", hide = true)]
    if_unit_stops: Option<String>,
}

pub(super) fn run(common: &Common, arguments: &Arguments) -> anyhow::Result<()> {
    if let Some(unit) = &arguments.if_unit_stops
        && !is_stopped(&jobs()?, unit)
    {
        return print("the unit is not stopped for good; rules and sets stay\n");
    }
    let purge = arguments.purge;
    let done = match purge {
        true => "rules and sets are taken away",
        false => {
            "the rules are taken away, so nothing is blocked; sets stay for the next start (`ringfence stop --purge` takes them too)"
        }
    };
    match Client::connect(&ask::socket(common)?) {
        Ok(mut client) => {
            let pid: i32 = client.native(&Verb::Stop { purge })?;
            wait_for_end(pid)?;
            print(&format!("stopped; {done}; bans stay in the database\n"))
        }
        Err(ClientError::NotRunning { .. }) => {
            let state_dir = Settings::load(&common.config_dir)?.state_dir;
            match purge {
                true => daemon::purge(&state_dir)?,
                false => daemon::remove_rules(&state_dir)?,
            }
            print(&format!("no daemon runs; {done}\n"))
        }
        Err(error) => Err(error.into()),
    }
}

/// The jobs that systemd has to do, as it lists them.
fn jobs() -> anyhow::Result<String> {
    let mut systemctl = Command::new("systemctl");
    let output = systemctl
        .args(["list-jobs", "--no-legend", "--no-pager", "--full"])
        .output()?;
    anyhow::ensure!(
        output.status.success(),
        "systemctl list-jobs: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Does somebody stop this unit, and will it stay so while the system runs? Lines are
/// `JOB UNIT TYPE STATE`. A restart is one job of the type `restart` until the unit is
/// down; a unit that ended by itself has none; and with a system that goes down all stop.
fn is_stopped(jobs: &str, unit: &str) -> bool {
    const WAY_DOWN: [&str; 5] = [
        "shutdown.target",
        "reboot.target",
        "poweroff.target",
        "halt.target",
        "kexec.target",
    ];
    let is_job = |unit: &str, kind: &str| {
        jobs.lines().any(|line| {
            let mut words = line.split_whitespace().skip(1);
            words.next() == Some(unit) && words.next() == Some(kind)
        })
    };
    is_job(unit, "stop") && !WAY_DOWN.iter().any(|target| is_job(target, "start"))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_stop_that_is_no_restart_takes_rules_away() {
        for (jobs, stopped) in [
            ("", false),
            ("1204 ringfence.service stop running\n", true),
            ("1204 ringfence.service restart running\n", false),
            ("1204 ringfence.service start waiting\n", false),
            ("1204 other.service stop running\n", false),
            (
                "  77 kamailio.service restart waiting\n1204 ringfence.service stop running\n",
                true,
            ),
            (
                "1204 ringfence.service stop running\n1180 shutdown.target start waiting\n",
                false,
            ),
            (
                "1204 ringfence.service stop running\n1180 reboot.target start waiting\n",
                false,
            ),
            (
                "1204 ringfence.service stop running\n1180 reboot.target stop waiting\n",
                true,
            ),
        ] {
            assert_eq!(is_stopped(jobs, "ringfence.service"), stopped, "{jobs}");
        }
    }
}
