//! Checking a configuration: what is wrong in it, and what is unwise.

use std::path::PathBuf;

use super::fail2ban::{self, JailText, PyValue, Root, Roots};
use super::jail::{filter_text, is_idle};
use super::native::SettingsError;
use super::{Config, EMBEDDED, Location, Purpose, feed_settings, roots, tree_roots};
use crate::filter::lint::{self, Fault, Finding};
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

/// What `fail2ban-client -t` answers of a tree: which jails fail2ban could run, as far as it
/// is asked (an action is a text to it), and what is wrong with others; and what is unwise.
pub fn test_tree(tree: PathBuf) -> Checked {
    let loaded = fail2ban::load(&tree_roots(tree));
    let wrong = loaded.errors.iter().filter(|error| !error.is_warning());
    let mut checked = Checked {
        problems: wrong.map(ToString::to_string).collect(),
        without_log: without_log(&loaded),
        ..Checked::default()
    };
    for text in &loaded.jails {
        if is_idle(text) {
            checked.jails.push(text.name.clone());
            continue;
        }
        match lint::lint(&without_sightings(filter_text(&text.filter_text))) {
            Ok(findings) => {
                checked.jails.push(text.name.clone());
                checked.add(text, findings);
            }
            Err(error) => {
                let (path, line) = &text.origin;
                checked.problems.push(format!(
                    "{}:{line}: jail {}: filter {}: {error}",
                    path.display(),
                    text.name,
                    text.filter
                ));
            }
        }
    }
    checked
}

/// A filter as fail2ban reads it: our own keys mean nothing to it.
fn without_sightings(patterns: FilterText) -> FilterText {
    FilterText {
        sightings: SightingText::default(),
        ..patterns
    }
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

/// The jails that would run for this purpose, our own and a tree's, what is wrong with
/// others, and what is unwise.
pub fn check(location: &Location, purpose: Purpose) -> Result<Checked, SettingsError> {
    let config = Config::load(location, purpose)?;
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
    let tree = location.tree.clone().or(config.settings.fail2ban_tree);
    let ours = roots(&location.folder);
    for roots in [Some(ours), tree.map(tree_roots)].iter().flatten() {
        for text in &fail2ban::load(roots).jails {
            let patterns = filter_text(&text.filter_text);
            let findings = lint::lint(&patterns);
            // A tree's filter may mean something else by our keys, and runs without them.
            // Whatever cannot be compiled then stands among the problems.
            let findings = findings.or_else(|_| lint::lint(&without_sightings(patterns.clone())));
            let mut findings = findings.unwrap_or_default();
            if is_shipped(&text.filter, &patterns) {
                findings.retain(|finding| !matches!(finding.fault, Fault::Backtracks { .. }));
            }
            checked.add(text, findings);
        }
    }
    Ok(checked)
}

/// Are these the patterns of our own filter, as it is shipped? Its slow paths are our choice.
fn is_shipped(name: &str, patterns: &FilterText) -> bool {
    let shipped = fail2ban::load_filter(&Roots(vec![Root::Embedded(EMBEDDED)]), name, "auto");
    shipped.is_ok_and(|shipped| {
        let shipped = filter_text(&shipped);
        let pairs = [
            (&shipped.failregex, &patterns.failregex),
            (&shipped.ignoreregex, &patterns.ignoreregex),
        ];
        shipped.prefregex == patterns.prefregex && pairs.iter().all(|(one, other)| one == other)
    })
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
