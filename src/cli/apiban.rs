//! `ringfence apiban status` and `ringfence apiban check ADDR`.

use clap::{Args, Subcommand};

use super::ask::ask;
use super::{Common, Output};
use crate::count::counted;
use crate::daemon::verbs::{self, ApibanShown, Checked, NO_ANSWER};

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Show how the list and the checks are doing
    Status(StatusArguments),
    /// Ask whether an address is listed (takes one request of the budget)
    Check(CheckArguments),
}

#[derive(Args, Debug)]
pub(super) struct StatusArguments {
    #[command(flatten)]
    output: Output,
}

#[derive(Args, Debug)]
pub(super) struct CheckArguments {
    /// One address; it is sent to apiban.org
    addr: String,
    #[command(flatten)]
    output: Output,
}

pub(super) fn run(common: &Common, verb: &Verb) -> anyhow::Result<()> {
    match verb {
        Verb::Status(arguments) => {
            let shown: ApibanShown = ask(common, &verbs::Verb::ApibanStatus)?;
            arguments.output.print(&shown, |shown| {
                format!(
                    "APIBAN: {}\n{} of its list blocked\n",
                    shown.summary,
                    counted(shown.listed, "address")
                )
            })
        }
        Verb::Check(arguments) => {
            let verb = verbs::Verb::ApibanCheck {
                addr: arguments.addr.clone(),
            };
            let checked: Checked = ask(common, &verb)?;
            arguments.output.print(&checked, |checked| {
                format!("{}: {} ({})\n", checked.addr, checked.verdict, checked.how)
            })?;
            // A script that asks must not take silence for `not listed`.
            let is_answered = checked.verdict != NO_ANSWER;
            anyhow::ensure!(
                is_answered,
                "nobody answered whether {} is listed",
                checked.addr
            );
            Ok(())
        }
    }
}
