//! `ringfence reload`: the configuration is read again, all of it or nothing.

use clap::Args;

use super::ask::ask;
use super::{Common, Output};
use crate::daemon::verbs::{Reloaded, Verb};

#[derive(Args, Debug)]
pub(super) struct Arguments {
    #[command(flatten)]
    output: Output,
}

pub(super) fn run(common: &Common, arguments: &Arguments) -> anyhow::Result<()> {
    arguments
        .output
        .print(&ask::<Reloaded>(common, &Verb::Reload)?, |reloaded| {
            let mut text = format!("jails: {}\n", reloaded.jails.join(", "));
            for problem in &reloaded.problems {
                text += &format!("PROBLEM: {problem}\n");
            }
            text
        })
}
