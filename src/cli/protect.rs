//! `ringfence protect --suggest`: reads the phone servers' configuration, and prints what
//! to put into `protect`. It changes nothing, and asks nobody.

use std::fmt::Write;
use std::path::PathBuf;

use clap::Args;

use super::{Common, Output, printable};
use crate::config::native::Settings;
use crate::config::trunks::{self, Found, Places};

#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// Suggest the trunks that the phone servers' configuration names
    #[arg(long, required = true)]
    suggest: bool,
    /// Asterisk's configuration (pjsip.conf, pjsip_wizard.conf, sip.conf, iax.conf)
    #[arg(long, value_name = "DIR", default_value = "/etc/asterisk")]
    asterisk: PathBuf,
    /// FreeSWITCH's (sip_profiles, autoload_configs)
    #[arg(long, value_name = "DIR", default_value = "/etc/freeswitch")]
    freeswitch: PathBuf,
    /// Kamailio's (kamailio.cfg, dispatcher.list, address.list, dbtext)
    #[arg(long, value_name = "DIR", default_value = "/etc/kamailio")]
    kamailio: PathBuf,
    #[command(flatten)]
    output: Output,
}

pub(super) fn run(common: &Common, arguments: &Arguments) -> anyhow::Result<()> {
    let settings = Settings::load(&common.config_dir)?;
    let addrs = settings.protect.iter().map(ToString::to_string);
    let before: Vec<String> = addrs.chain(settings.protect_names).collect();
    let mut found = trunks::find(&Places {
        asterisk: arguments.asterisk.clone(),
        freeswitch: arguments.freeswitch.clone(),
        kamailio: arguments.kamailio.clone(),
    });
    found
        .suggestions
        .retain(|suggestion| !before.contains(&suggestion.value));
    arguments
        .output
        .print(&found, |found| people(found, &before))
}

/// Lines for `ringfence.toml`; what is no line of it is a comment.
fn people(found: &Found, before: &[String]) -> String {
    let mut text = String::new();
    write_all(&mut text, found, before).unwrap_or_default(); // writing to a String cannot fail
    text
}

fn write_all(text: &mut String, found: &Found, before: &[String]) -> std::fmt::Result {
    for problem in &found.problems {
        let place = match problem.line {
            0 => problem.file.display().to_string(),
            line => format!("{}:{line}", problem.file.display()),
        };
        writeln!(
            text,
            "# NOT UNDERSTOOD {}: {}",
            printable(&place),
            printable(&problem.message)
        )?;
    }
    let files = found.files.len();
    match (files, found.suggestions.len()) {
        (0, _) => writeln!(
            text,
            "# no configuration of Asterisk, FreeSWITCH or Kamailio was found"
        ),
        (_, 0) => writeln!(
            text,
            "# nothing to suggest: {files} files name no trunk that `protect` lacks"
        ),
        (_, new) => writeln!(
            text,
            "# {new} new, from {files} files; look through them, and put this into ringfence.toml"
        ),
    }?;
    if found.suggestions.is_empty() {
        return Ok(());
    }
    writeln!(text, "protect = [")?;
    for value in before {
        writeln!(text, "  {:<34} # was there", format!("\"{value}\","))?;
    }
    for suggestion in &found.suggestions {
        let value = format!("\"{}\",", suggestion.value);
        let (file, line) = (suggestion.file.display().to_string(), suggestion.line);
        writeln!(
            text,
            "  {value:<34} # {}:{line} {}",
            printable(&file),
            printable(&suggestion.what)
        )?;
    }
    writeln!(text, "]")
}
