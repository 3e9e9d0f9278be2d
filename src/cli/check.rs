//! `ringfence check`: can the configuration be used, and what is wrong with it?
//!
//! With `--fail2ban DIR` it is a tree of fail2ban's that is checked, and with `-d`
//! printed as `fail2ban-client -d` prints it: the commands that it comes to.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::{Common, Output, print};
use crate::config::{self, Config, Location, Purpose};

#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// Check this tree of fail2ban's (such as /etc/fail2ban) instead of our own settings
    #[arg(long, value_name = "DIR")]
    fail2ban: Option<PathBuf>,
    /// Print the tree as the commands that it comes to, as `fail2ban-client -d` does
    #[arg(
        short = 'd',
        long = "dump",
        requires = "fail2ban",
        conflicts_with = "json"
    )]
    dump: bool,
    #[command(flatten)]
    output: Output,
}

#[derive(Serialize)]
struct Checked {
    jails: Vec<String>,
    problems: Vec<String>,
}

pub(super) fn run(common: &Common, arguments: &Arguments) -> anyhow::Result<()> {
    let checked = match &arguments.fail2ban {
        Some(tree) if arguments.dump => return dump(tree.clone()),
        Some(tree) => {
            let (jails, problems) = config::check_tree(tree.clone());
            Checked { jails, problems }
        }
        None => {
            let location = Location {
                folder: common.config_dir.clone(),
                tree: None,
            };
            let config = Config::load(&location, Purpose::Ban)?;
            config::feed_settings(&config.settings).map_err(anyhow::Error::msg)?;
            let jails = config
                .jails
                .iter()
                .map(|jail| jail.rules.name.to_string())
                .collect();
            Checked {
                jails,
                problems: config.problems,
            }
        }
    };
    arguments.output.print(&checked, |checked| {
        let mut text = format!("jails that can run: {}\n", checked.jails.join(", "));
        for problem in &checked.problems {
            text += &format!("{problem}\n");
        }
        text
    })?;
    match checked.problems.len() {
        0 => Ok(()),
        1 => anyhow::bail!("1 problem in the configuration"),
        count => anyhow::bail!("{count} problems in the configuration"),
    }
}

fn dump(tree: PathBuf) -> anyhow::Result<()> {
    let loaded = config::fail2ban::load(&config::fail2ban::Roots::dir(tree));
    for command in config::fail2ban::stream(&loaded) {
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
