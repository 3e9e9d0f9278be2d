//! `ringfence run`: the daemon in the foreground.

use std::io::{self, IsTerminal};
use std::path::PathBuf;

use clap::Args;
use tracing::level_filters::LevelFilter;

use super::Common;
use crate::config::Location;
use crate::daemon::{self, Options};

#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// Do everything but the kernel: watch, judge, and say what would be banned
    #[arg(long)]
    dry_run: bool,
    /// Run the jails of this tree of fail2ban's, too (such as /etc/fail2ban)
    #[arg(short = 'c', long, value_name = "DIR")]
    fail2ban: Option<PathBuf>,
    /// What is logged: error, warn, info, debug or trace
    #[arg(
        long,
        value_name = "LEVEL",
        default_value = "info",
        env = "RINGFENCE_LOG"
    )]
    log: String,
}

pub(super) fn run(common: &Common, arguments: &Arguments) -> anyhow::Result<()> {
    daemon::heap::be_small();
    let level: LevelFilter = arguments.log.parse().map_err(|_| {
        anyhow::anyhow!(
            "--log {}: write error, warn, info, debug or trace",
            arguments.log
        )
    })?;
    let to_journal = std::env::var_os("JOURNAL_STREAM").is_some();
    let log = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(io::stderr)
        .with_target(false)
        // A log that cannot be written is no reason to end.
        .log_internal_errors(false);
    match to_journal {
        // The journal has the time already.
        true => log.with_ansi(false).without_time().init(),
        false => log.with_ansi(io::stderr().is_terminal()).init(),
    }
    daemon::run(&Options {
        location: Location {
            folder: common.config_dir.clone(),
            tree: arguments.fail2ban.clone(),
        },
        socket: common.socket.clone(),
        dry_run: arguments.dry_run,
    })
}
