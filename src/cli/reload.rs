//! `ringfence reload`: the configuration is read again, all of it or nothing. If the
//! program was replaced meanwhile, the daemon goes on as the new one, and this waits
//! until it answers.

use std::thread;
use std::time::{Duration, Instant};

use clap::Args;

use super::ask::ask;
use super::{Common, Output};
use crate::daemon::verbs::{Reloaded, Status, Verb};

/// How long a new program may take until it answers: it restores all bans first.
const TAKE_OVER_MAX: Duration = Duration::from_secs(60);

/// How often it is asked meanwhile.
const ASK_EVERY: Duration = Duration::from_millis(20);

#[derive(Args, Debug)]
pub(super) struct Arguments {
    #[command(flatten)]
    output: Output,
}

pub(super) fn run(common: &Common, arguments: &Arguments) -> anyhow::Result<()> {
    let reloaded: Reloaded = ask(common, &Verb::Reload)?;
    let status = match &reloaded.upgrade {
        Some(version) => Some(wait_for(common, version)?),
        None => None,
    };
    arguments.output.print(&reloaded, |reloaded| {
        let mut text = format!("jails: {}\n", reloaded.jails.join(", "));
        if let Some(status) = &status {
            text += &format!(
                "now runs ringfence {} (pid {})\n",
                status.version, status.pid
            );
        }
        for problem in &reloaded.problems {
            text += &format!("PROBLEM: {problem}\n");
        }
        text
    })
}

/// Asks until the new program answers; the old one answers nobody any more.
fn wait_for(common: &Common, version: &str) -> anyhow::Result<Status> {
    let start = Instant::now();
    loop {
        match ask::<Status>(common, &Verb::Status) {
            Ok(status) => return Ok(status),
            Err(error) if start.elapsed() > TAKE_OVER_MAX => {
                return Err(error.context(format!(
                    "{version} was to go on and does not answer; see the log"
                )));
            }
            Err(_) => thread::sleep(ASK_EVERY),
        }
    }
}
