//! `ringfence protect --suggest`: reads the phone servers' configuration, and prints what
//! to put into `protect`. It changes nothing, and asks nobody.

use std::fmt::Write;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use clap::Args;

use super::{Common, Output, printable};
use crate::config::native::Settings;
use crate::config::trunks::{self, Found, Places};
use crate::count::counted;

#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// Suggest the trunks that the phone servers' configuration names
    #[arg(long, required = true)]
    suggest: bool,
    /// Asterisk's configuration (pjsip.conf, pjsip_wizard.conf, sip.conf, iax.conf); by default /etc/asterisk, if it is there
    #[arg(long, value_name = "DIR")]
    asterisk: Option<PathBuf>,
    /// FreeSWITCH's (sip_profiles, autoload_configs, directory); by default /etc/freeswitch
    #[arg(long, value_name = "DIR")]
    freeswitch: Option<PathBuf>,
    /// Kamailio's (kamailio.cfg, dispatcher.list, address.list, dbtext); by default /etc/kamailio
    #[arg(long, value_name = "DIR")]
    kamailio: Option<PathBuf>,
    #[command(flatten)]
    output: Output,
}

pub(super) fn run(common: &Common, arguments: &Arguments) -> anyhow::Result<()> {
    let settings = Settings::load(&common.config_dir)?;
    let addrs = settings.protect.iter().map(ToString::to_string);
    let before: Vec<String> = addrs.chain(settings.protect_names).collect();
    let mut found = trunks::find(&Places {
        asterisk: folder(
            arguments.asterisk.as_deref(),
            "/etc/asterisk",
            trunks::ASTERISK,
        )?,
        freeswitch: folder(
            arguments.freeswitch.as_deref(),
            "/etc/freeswitch",
            trunks::FREESWITCH,
        )?,
        kamailio: folder(
            arguments.kamailio.as_deref(),
            "/etc/kamailio",
            trunks::KAMAILIO,
        )?,
    });
    found
        .suggestions
        .retain(|suggestion| !before.contains(&suggestion.value));
    arguments
        .output
        .print(&found, |found| people(found, &before))
}

/// Where a server's configuration lies. A folder that was named must be there; one that was
/// not is read if it is.
fn folder(named: Option<&Path>, usual: &str, kind: trunks::Kind) -> anyhow::Result<PathBuf> {
    let Some(folder) = named else {
        return Ok(PathBuf::from(usual));
    };
    let meta = std::fs::metadata(folder);
    let wrong = match &meta {
        Ok(meta) if meta.is_dir() => return Ok(folder.to_owned()),
        Ok(_) => "this is no folder".to_owned(),
        Err(error) if error.kind() == ErrorKind::NotFound => "there is no such folder".to_owned(),
        Err(error) => error.to_string(),
    };
    anyhow::bail!(
        "{}: {wrong}; name the folder of {}'s configuration ({})",
        folder.display(),
        kind.name,
        kind.looked_for
    )
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
    for server in &found.servers {
        let folder = server.folder.display().to_string();
        let (name, folder) = (server.name, printable(&folder));
        match server.files {
            0 => writeln!(
                text,
                "# {name}: nothing was read in {folder} ({})",
                server.looked_for
            ),
            files => writeln!(
                text,
                "# {name}: {} read in {folder}",
                counted(files, "file")
            ),
        }?;
    }
    let files = counted(found.files.len(), "file");
    match (
        found.files.len(),
        found.suggestions.len(),
        found.problems.len(),
    ) {
        (0, ..) => writeln!(
            text,
            "# no configuration of Asterisk, FreeSWITCH or Kamailio was found"
        ),
        (_, 0, 0) => writeln!(
            text,
            "# nothing to suggest: no trunk that `protect` lacks is named in {files}"
        ),
        (_, 0, _) => writeln!(
            text,
            "# nothing to suggest of what was understood in {files}; look at what was NOT UNDERSTOOD"
        ),
        (_, new, _) => writeln!(
            text,
            "# {new} new, from {files}; look through them, and put this into ringfence.toml"
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs it for a folder of Asterisk's, with no other server.
    fn suggested(asterisk: &Path, protect: &[&str]) -> String {
        let nowhere = asterisk.join("nowhere");
        let found = trunks::find(&Places {
            asterisk: asterisk.to_owned(),
            freeswitch: nowhere.clone(),
            kamailio: nowhere,
        });
        let before: Vec<String> = protect.iter().map(ToString::to_string).collect();
        people(&found, &before).replace(&asterisk.display().to_string(), "FOLDER")
    }

    #[test]
    fn what_was_read_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let write = |text: &str| std::fs::write(folder.path().join("sip.conf"), text).unwrap();
        let mut all = suggested(folder.path(), &[]);
        write("[a]\nhost=dynamic\n");
        all += &suggested(folder.path(), &[]);
        write("[a]\nhost=192.0.2.7\n#exec x\n");
        all += &suggested(folder.path(), &["192.0.2.8"]);
        write("#exec x\n");
        all += &suggested(folder.path(), &[]);
        expect_test::expect![[r##"
            # Asterisk: nothing was read in FOLDER (pjsip.conf, pjsip_wizard.conf, sip.conf, iax.conf)
            # FreeSWITCH: nothing was read in FOLDER/nowhere (vars.xml, sip_profiles, autoload_configs, directory)
            # Kamailio: nothing was read in FOLDER/nowhere (kamailio.cfg, dispatcher.list, address.list, dbtext)
            # no configuration of Asterisk, FreeSWITCH or Kamailio was found
            # Asterisk: 1 file read in FOLDER
            # FreeSWITCH: nothing was read in FOLDER/nowhere (vars.xml, sip_profiles, autoload_configs, directory)
            # Kamailio: nothing was read in FOLDER/nowhere (kamailio.cfg, dispatcher.list, address.list, dbtext)
            # nothing to suggest: no trunk that `protect` lacks is named in 1 file
            # NOT UNDERSTOOD FOLDER/sip.conf:3: #exec x is not run; what it says is not known here
            # Asterisk: 1 file read in FOLDER
            # FreeSWITCH: nothing was read in FOLDER/nowhere (vars.xml, sip_profiles, autoload_configs, directory)
            # Kamailio: nothing was read in FOLDER/nowhere (kamailio.cfg, dispatcher.list, address.list, dbtext)
            # 1 new, from 1 file; look through them, and put this into ringfence.toml
            protect = [
              "192.0.2.8",                       # was there
              "192.0.2.7",                       # FOLDER/sip.conf:2 sip a
            ]
            # NOT UNDERSTOOD FOLDER/sip.conf:1: #exec x is not run; what it says is not known here
            # Asterisk: 1 file read in FOLDER
            # FreeSWITCH: nothing was read in FOLDER/nowhere (vars.xml, sip_profiles, autoload_configs, directory)
            # Kamailio: nothing was read in FOLDER/nowhere (kamailio.cfg, dispatcher.list, address.list, dbtext)
            # nothing to suggest of what was understood in 1 file; look at what was NOT UNDERSTOOD
        "##]].assert_eq(&all);
    }

    #[test]
    fn a_folder_that_is_named_must_be_there() {
        let lab = tempfile::tempdir().unwrap();
        let file = lab.path().join("file");
        std::fs::write(&file, "").unwrap();
        let told = |named: Option<&Path>| match folder(named, "/usual", trunks::ASTERISK) {
            Ok(folder) => folder.display().to_string(),
            Err(error) => error.to_string(),
        };
        let missing = lab.path().join("missing");
        let all = [None, Some(lab.path()), Some(&missing), Some(&file)].map(told);
        let all = all
            .join("\n")
            .replace(&lab.path().display().to_string(), "LAB");
        expect_test::expect![[r#"
            /usual
            LAB
            LAB/missing: there is no such folder; name the folder of Asterisk's configuration (pjsip.conf, pjsip_wizard.conf, sip.conf, iax.conf)
            LAB/file: this is no folder; name the folder of Asterisk's configuration (pjsip.conf, pjsip_wizard.conf, sip.conf, iax.conf)"#]].assert_eq(&all);
    }
}
