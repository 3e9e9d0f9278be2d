//! `ringfence man`: the manual's pages, one for each verb, for those who make packages. They
//! are the words of `--help`, so there is nothing that could differ from it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, Command, CommandFactory};
use clap_mangen::Man;

use super::Cli;

/// Programs of the administrator's.
const SECTION: &str = "8";

/// What stands at the foot of each page.
const SOURCE: &str = concat!("ringfence ", env!("CARGO_PKG_VERSION"));

#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// The folder into which they are written; it is made if need be
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let folder = &arguments.folder;
    let write = || {
        fs::create_dir_all(folder)?;
        let mut all = Cli::command().disable_help_subcommand(true);
        all.build();
        write_pages(all, folder)
    };
    write().with_context(|| format!("the pages cannot be written into {}", folder.display()))
}

fn write_pages(command: Command, folder: &Path) -> std::io::Result<()> {
    for verb in command.get_subcommands().filter(|verb| !verb.is_hide_set()) {
        write_pages(verb.clone(), folder)?;
    }
    let page = Man::new(command).section(SECTION).source(SOURCE);
    page.generate_to(folder).map(|_path| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_verb_has_a_page() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("man8");
        run(&Arguments {
            folder: folder.clone(),
        })
        .unwrap();
        let read = |page: &str| fs::read_to_string(folder.join(page)).unwrap();
        let all = read("ringfence.8");
        for verb in Cli::command().get_subcommands() {
            let name = verb.get_name();
            let page = folder.join(format!("ringfence-{name}.8"));
            assert_eq!(page.exists(), !verb.is_hide_set(), "{name}");
            let is_listed = all.contains(&format!("ringfence\\-{name}(8)"));
            assert_eq!(is_listed, !verb.is_hide_set(), "{name}: {all}");
        }
        assert!(read("ringfence-apiban-check.8").contains(".TH ringfence-apiban-check 8"));
        for part in ["RINGFENCE_CONFIG_DIR", "\\-\\-socket", "Exit codes: 0 done"] {
            assert!(all.contains(part), "{part}: {all}");
        }
    }
}
