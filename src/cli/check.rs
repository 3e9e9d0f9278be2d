//! `ringfence check`: can the configuration be used, and what is wrong with it?
//!
//! It is read as `run` reads it, with the same `-c DIR`: what is said here of a jail is what
//! would become of it there. Two answers are fail2ban's own instead, about the tree alone:
//! `-t` is that of `fail2ban-client -t`, and `-d` prints the commands that the tree comes to,
//! as `fail2ban-client -d` does.
//!
//! What is unwise in a pattern ([`crate::filter::lint`]) is said as a warning and
//! changes no exit code.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::{Common, Output, TestFailed, print};
use crate::config::{self, Checked, JailFinding, Location, Purpose, fail2ban};

#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// Check the jails of this tree of fail2ban's, too (such as /etc/fail2ban)
    #[arg(short = 'c', long, value_name = "DIR")]
    fail2ban: Option<PathBuf>,
    /// Check it for `run --dry-run`: actions do not matter
    #[arg(long)]
    dry_run: bool,
    /// Print the tree, or our own jails, as the commands that it comes to, as
    /// `fail2ban-client -d` does
    #[arg(short = 'd', long = "dump", conflicts_with_all = ["json", "dry_run"])]
    dump: bool,
    /// Only say whether the configuration, or the tree alone, can be used, as
    /// `fail2ban-client -t` does: by its words and its exit code (255 if not)
    #[arg(short = 't', long = "test", conflicts_with_all = ["json", "dump"])]
    test: bool,
    #[command(flatten)]
    output: Output,
}

#[derive(Serialize)]
struct Answer {
    jails: Vec<String>,
    problems: Vec<String>,
    findings: Vec<Unwise>,
}

/// Something unwise in a jail's filter.
#[derive(Serialize)]
struct Unwise {
    jail: String,
    filter: String,
    place: String,
    pattern: String,
    sentence: String,
    /// A line that blames the wrong address.
    forged: Option<Forged>,
}

/// A line that an attacker can have written.
#[derive(Serialize)]
struct Forged {
    line: String,
    /// Who is banned for it.
    blamed: &'static str,
}

/// fail2ban's word for a configuration that can be used.
const TESTED: &str = "OK: configuration test is successful\n";

pub(super) fn run(common: &Common, arguments: &Arguments) -> anyhow::Result<()> {
    let mut checked = match &arguments.fail2ban {
        _ if arguments.dump => return dump(common, arguments),
        Some(tree) if arguments.test => config::test_tree(tree.clone()),
        tree => config::check(
            &Location {
                folder: common.config_dir.clone(),
                tree: tree.clone(),
            },
            match arguments.dry_run {
                true => Purpose::Judge,
                false => Purpose::Ban,
            },
        )?,
    };
    if arguments.test {
        let without_log = std::mem::take(&mut checked.without_log);
        checked.problems.extend(without_log);
        return test(&checked);
    }
    let problems = checked.problems.len();
    let text = text(&checked);
    let findings = checked.findings.into_iter().map(unwise).collect();
    let answer = Answer {
        jails: checked.jails,
        problems: checked.problems,
        findings,
    };
    arguments.output.print(&answer, |_| text)?;
    match problems {
        0 => Ok(()),
        1 => anyhow::bail!("1 problem in the configuration"),
        count => anyhow::bail!("{count} problems in the configuration"),
    }
}

fn unwise(found: JailFinding) -> Unwise {
    Unwise {
        jail: found.jail,
        filter: found.filter,
        place: found.finding.place,
        sentence: found.finding.fault.to_string(),
        forged: found.finding.fault.forged().map(|forged| Forged {
            line: forged.line.clone(),
            blamed: forged.blamed,
        }),
        pattern: found.finding.pattern,
    }
}

/// All that was found, for people: findings last, and after a word that they are no more.
fn text(checked: &Checked) -> String {
    let mut text = format!("jails that can run: {}\n", checked.jails.join(", "));
    for problem in &checked.problems {
        text += &format!("{problem}\n");
    }
    for finding in &checked.findings {
        text += &format!("warning: {finding}\n");
    }
    text
}

/// As `fail2ban-client -t`: one sentence for programs, and what is wrong on standard error.
fn test(checked: &Checked) -> anyhow::Result<()> {
    for finding in &checked.findings {
        eprintln!("ringfence: warning: {finding}");
    }
    if checked.problems.is_empty() {
        return print(TESTED);
    }
    for problem in &checked.problems {
        eprintln!("ringfence: {problem}");
    }
    Err(TestFailed.into())
}

fn dump(common: &Common, arguments: &Arguments) -> anyhow::Result<()> {
    let loaded = match &arguments.fail2ban {
        Some(tree) => fail2ban::load(&fail2ban::Roots::dir(tree)),
        None => config::our_texts(&common.config_dir),
    };
    for command in fail2ban::stream(&loaded) {
        print(&format!("{command}\n"))?;
    }
    let errors: Vec<String> = loaded
        .errors
        .iter()
        .filter(|error| !error.is_warning())
        .map(ToString::to_string)
        .collect();
    anyhow::ensure!(errors.is_empty(), "{}", errors.join("\nringfence: "));
    Ok(())
}
