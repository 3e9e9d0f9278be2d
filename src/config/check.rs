//! Checking a configuration: what is wrong in it, and what is unwise.

use std::path::{Path, PathBuf};

use super::fail2ban::{self, JailText, PyValue};
use super::jail::{Reader, filter_text, is_idle};
use super::native::SettingsError;
use super::{Config, Location, Purpose, feed_settings, roots, stock, tree_roots};
use crate::action::stock::Layout;
use crate::filter::lint::{self, Finding};
use crate::filter::{FilterText, SightingText};

/// What was found in a configuration that was read to be checked.
#[derive(Clone, Debug, Default)]
pub struct Checked {
    /// The jails that can run.
    pub jails: Vec<String>,
    /// What is wrong with others, a sentence each with file and line.
    pub problems: Vec<String>,
    /// What is unwise in the jails' filters, and runs all the same.
    pub findings: Vec<JailFinding>,
    /// Jails that follow files of which none is there, a sentence each with file and
    /// line. They can run; fail2ban would not start.
    pub without_log: Vec<String>,
}

/// Something unwise in a jail's filter.
#[derive(Clone, Debug)]
pub struct JailFinding {
    /// Where the jail begins.
    pub origin: (PathBuf, u32),
    /// The jail; others with the same filter are not named.
    pub jail: String,
    /// Its filter, as the jail writes it.
    pub filter: String,
    /// What is unwise.
    pub finding: Finding,
}

impl std::fmt::Display for JailFinding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (path, line) = &self.origin;
        let JailFinding {
            jail,
            filter,
            finding,
            ..
        } = self;
        let path = path.display();
        write!(f, "{path}:{line}: jail {jail}: filter {filter}: {finding}")
    }
}

/// Which jails of a fail2ban tree can be read and compiled and keep their bans where no other
/// does, what is wrong with others, and what is unwise. Their actions do not matter.
pub fn check_tree(tree: PathBuf) -> Checked {
    let loaded = fail2ban::load(&tree_roots(tree));
    let wrong = loaded.errors.iter().filter(|error| !error.is_warning());
    let mut checked = Checked {
        problems: wrong.map(ToString::to_string).collect(),
        without_log: without_log(&loaded),
        ..Checked::default()
    };
    let mut places = stock::Places::default();
    for text in &loaded.jails {
        let recognised = text
            .actions
            .iter()
            .filter_map(|action| stock::recognise(action).ok());
        let layouts: Vec<Layout> = recognised.flat_map(|stock| stock.layouts).collect();
        if let Err(error) = places.take(&text.name, &layouts) {
            checked.problems.push(problem(text, &error));
            continue;
        }
        let (is_tree, purpose) = (true, Purpose::Judge);
        let reader = Reader { is_tree, purpose };
        if let Err(error) = reader.jail(text, &mut Vec::new()) {
            checked.problems.push(problem(text, &error));
            continue;
        }
        checked.jails.push(text.name.clone());
        if is_idle(text) {
            continue;
        }
        let patterns = FilterText {
            sightings: SightingText::default(), // fail2ban does not look at them
            ..filter_text(&text.filter_text)
        };
        // Whatever cannot be compiled stands among the problems.
        if let Ok(findings) = lint::lint(&patterns) {
            checked.add(text, findings);
        }
    }
    checked
}

/// What is wrong with a jail, and where it is.
fn problem(text: &JailText, what: &str) -> String {
    let (path, line) = &text.origin;
    format!("{}:{line}: jail {}: {what}", path.display(), text.name)
}

impl Checked {
    /// Adds findings, unless another jail has them from the same filter.
    fn add(&mut self, text: &JailText, findings: Vec<Finding>) {
        for finding in findings {
            let known =
                |other: &JailFinding| other.filter == text.filter && other.finding == finding;
            if !self.findings.iter().any(known) {
                self.findings.push(JailFinding {
                    origin: text.origin.clone(),
                    jail: text.name.clone(),
                    filter: text.filter.clone(),
                    finding,
                });
            }
        }
    }
}

/// The jails of our own configuration, and what is wrong or unwise in them.
pub fn check(folder: &Path) -> Result<Checked, SettingsError> {
    let location = Location {
        folder: folder.to_owned(),
        tree: None,
    };
    let config = Config::load(&location, Purpose::Ban)?;
    let mut checked = Checked {
        jails: config
            .jails
            .iter()
            .map(|jail| jail.rules.name.to_string())
            .collect(),
        problems: config.problems,
        ..Checked::default()
    };
    if let Err(error) = feed_settings(&config.settings) {
        checked.problems.push(error);
    }
    let tree = config.settings.fail2ban_tree.map(tree_roots);
    for roots in [Some(roots(folder)), tree].iter().flatten() {
        for text in &fail2ban::load(roots).jails {
            // Whatever cannot be compiled stands among the problems.
            if let Ok(findings) = lint::lint(&filter_text(&text.filter_text)) {
                checked.add(text, findings);
            }
        }
    }
    Ok(checked)
}

/// Which jails follow files of which none is there, and do not say that this is well.
fn without_log(loaded: &fail2ban::Loaded) -> Vec<String> {
    let commands = fail2ban::stream(loaded);
    let follows = |name: &str| {
        commands.iter().any(|command| match command {
            PyValue::List(words) => {
                let words = words.get(..3).unwrap_or_default();
                words == ["set", name, "addlogpath"].map(PyValue::from)
            }
            _ => false,
        })
    };
    let jails = loaded.jails.iter().filter(|jail| {
        let may_switch = jail.systemd_if_nologs && jail.backend.starts_with("auto");
        let switches = may_switch && !jail.filter_text.journalmatch.is_empty();
        let elsewhere = jail.backend.starts_with("systemd") || switches;
        !elsewhere && !jail.skip_if_nologs && !follows(&jail.name)
    });
    jails
        .map(|jail| {
            let (path, line) = &jail.origin;
            format!(
                "{}:{line}: jail {}: none of its log files is there; write a `logpath` that is, \
                 or `skip_if_nologs = true`",
                path.display(),
                jail.name
            )
        })
        .collect()
}
