//! `ringfence pause` and `ringfence resume`.

use clap::Args;

use super::ask::ask;
use super::ban::secs;
use super::{Common, Output};
use crate::daemon::verbs::{Paused, Verb};
use crate::time::Time;

#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// For how long, as in `90s` or `10m`; a day at most
    #[arg(value_name = "TIME", default_value = "10m", value_parser = secs)]
    time: u64,
    #[command(flatten)]
    output: Output,
}

#[derive(Args, Debug)]
pub(super) struct ResumeArguments {
    #[command(flatten)]
    output: Output,
}

pub(super) fn pause(common: &Common, arguments: &Arguments) -> anyhow::Result<()> {
    let secs = arguments.time;
    let paused: Paused = ask(common, &Verb::Pause { secs })?;
    arguments.output.print(&paused, |paused| {
        let until = Time::from_secs(paused.until.unwrap_or_default());
        format!("nothing is dropped until {until}; `ringfence resume` ends it\n")
    })
}

pub(super) fn resume(common: &Common, arguments: &ResumeArguments) -> anyhow::Result<()> {
    let paused: Paused = ask(common, &Verb::Resume)?;
    arguments.output.print(&paused, |paused| {
        match paused.was_paused {
            true => "drops are in force again\n",
            false => "there was no pause; drops are in force\n",
        }
        .to_owned()
    })
}
