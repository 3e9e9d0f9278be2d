//! `ringfence firewall`: what is in the kernel, what is missing, what will hurt at boot.
//!
//! `check` ends with 0 if all is well and with 1 if anything is not, a pause included, so
//! that scripts and monitoring can ask it.

use std::fmt::Write;
use std::path::Path;

use clap::Subcommand;
use serde::Serialize;

use super::ask::ask;
use super::{Common, Output};
use crate::action::saved;
use crate::count::counted;
use crate::daemon::verbs::{self, FirewallShown};
use crate::time::Time;

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Show the sets, their entries, and the packets that met them
    Show {
        #[command(flatten)]
        output: Output,
    },
    /// Say what is missing or in the way; also saved rulesets that name our sets. Ends
    /// with 1 if there is anything
    Check {
        #[command(flatten)]
        output: Output,
    },
    /// Put back what is missing, and all that is in force, now
    Repair {
        #[command(flatten)]
        output: Output,
    },
}

/// What `check --json` prints.
#[derive(Debug, Serialize)]
struct Checked {
    /// Is all well?
    well: bool,
    /// What is missing or in the way, in words.
    findings: Vec<String>,
    /// Saved rulesets that name our sets, with the remedy.
    traps: Vec<String>,
}

pub(super) fn run(common: &Common, verb: &Verb) -> anyhow::Result<()> {
    match verb {
        Verb::Show { output } => {
            let shown: FirewallShown = ask(common, &verbs::Verb::Firewall)?;
            output.print(&shown, |shown| people(shown).unwrap_or_default())
        }
        Verb::Check { output } => check(common, *output),
        Verb::Repair { output } => {
            let done: Vec<String> = ask(common, &verbs::Verb::Repair)?;
            output.print(&done, |done| match done.is_empty() {
                true => "nothing was missing\n".to_owned(),
                false => done.join("\n") + "\n",
            })
        }
    }
}

fn check(common: &Common, output: Output) -> anyhow::Result<()> {
    let traps = saved::traps(Path::new("/"));
    let traps: Vec<String> = traps.iter().map(ToString::to_string).collect();
    let findings = match ask::<FirewallShown>(common, &verbs::Verb::Firewall) {
        Ok(shown) => findings(&shown),
        Err(error) => vec![error.to_string()],
    };
    let well = traps.is_empty() && findings.is_empty();
    let checked = Checked {
        well,
        findings,
        traps,
    };
    output.print(&checked, |checked| {
        let lines = checked.findings.iter().chain(&checked.traps);
        let text: String = lines.map(|line| format!("{line}\n")).collect();
        match checked.well {
            true => "all is well: sets, rules and saved rulesets\n".to_owned(),
            false => text,
        }
    })?;
    anyhow::ensure!(well, "the firewall needs a look");
    Ok(())
}

fn findings(shown: &FirewallShown) -> Vec<String> {
    let paused = shown.paused_until.map(|until| {
        format!(
            "PAUSED: nothing is dropped until {}; `ringfence resume` ends it",
            Time::from_secs(until)
        )
    });
    let short = shown.sets.iter().filter(|set| set.entries < set.in_force);
    let short = short.map(|set| {
        format!(
            "the set of `{}` has {} and should have {}; `ringfence firewall repair` lays them on again",
            set.set,
            counted(set.entries, "entry"),
            set.in_force
        )
    });
    let missing = shown.missing.iter().cloned();
    paused
        .into_iter()
        .chain(missing)
        .chain(shown.troubles.clone())
        .chain(shown.fight.clone())
        .chain(short)
        .collect()
}

fn people(shown: &FirewallShown) -> Result<String, std::fmt::Error> {
    let mut text = String::new();
    for finding in findings(shown) {
        writeln!(text, "  {finding}")?;
    }
    writeln!(text, "Firewall: {}", shown.firewall)?;
    writeln!(text, "Repairs since the start: {}", shown.repairs)?;
    let names = shown.sets.iter().map(|set| set.set.len());
    let width = names.max().unwrap_or_default().max(24);
    writeln!(
        text,
        "{:<width$} {:>9} {:>9} {:>12} {:>15}  PORTS",
        "SET", "IN FORCE", "ENTRIES", "PACKETS", "BYTES"
    )?;
    for set in &shown.sets {
        writeln!(
            text,
            "{:<width$} {:>9} {:>9} {:>12} {:>15}  {}",
            set.set, set.in_force, set.entries, set.packets, set.bytes, set.ports
        )?;
    }
    Ok(text)
}
