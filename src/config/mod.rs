//! Configuration: files in, a checked and compiled [`Config`] out.
//!
//! Settings of the daemon come from `ringfence.toml` ([`native`]), jails and filters
//! from fail2ban's dialect ([`fail2ban`]), ours too: they are embedded in the binary,
//! and files in the configuration folder replace what they name. One jail that is
//! wrong never stops the others; what is wrong with it stands in [`Config::problems`].

pub mod error;
pub mod fail2ban;
pub mod ini;
pub mod native;

use std::path::Path;
use std::sync::Arc;

use crate::addr::Addr;
use crate::feed;
use crate::filter::lint::{self, Finding};
use crate::filter::{Filter, FilterText, Names};
use crate::jail::Rules;
pub use error::{ConfigError, ConfigErrorKind};
use fail2ban::{JailText, PyValue, Root, Roots};
use native::{Settings, SettingsError};

/// Our own jails and filters, as they stand in the source tree.
static EMBEDDED: &[(&str, &str)] = &[
    ("jail.conf", include_str!("../../config/jail.conf")),
    (
        "filter.d/asterisk.conf",
        include_str!("../../filters/asterisk.conf"),
    ),
    (
        "filter.d/kamailio.conf",
        include_str!("../../filters/kamailio.conf"),
    ),
];

/// One jail, ready to run.
#[derive(Clone, Debug)]
pub struct JailConfig {
    /// How it judges.
    pub rules: Rules,
    /// The name of its filter.
    pub filter_name: String,
    /// Its compiled filter.
    pub filter: Arc<Filter>,
    /// The logs that it follows: paths and globs.
    pub logs: Vec<String>,
    /// Whom it never bans.
    pub ignored: Vec<Addr>,
}

/// All that the daemon is told.
#[derive(Clone, Debug)]
pub struct Config {
    /// The daemon's settings.
    pub settings: Settings,
    /// The jails that run.
    pub jails: Vec<JailConfig>,
    /// What is wrong with others, a sentence each with file and line.
    pub problems: Vec<String>,
    /// The jails that are enabled and cannot run.
    pub broken: Vec<String>,
}

impl Config {
    /// Reads a configuration folder, which need not exist, over what is built in.
    pub fn load(folder: &Path) -> Result<Config, SettingsError> {
        let settings = Settings::load(folder)?;
        let loaded = fail2ban::load(&roots(folder));
        // Our own jails ban in the kernel without an action file.
        let wrong = loaded
            .errors
            .iter()
            .filter(|error| !matches!(*error.kind, ConfigErrorKind::NoAction));
        let wrong: Vec<&ConfigError> = wrong.collect();
        let fatal = wrong.iter().filter(|error| !error.is_warning());
        let mut broken: Vec<String> = fatal.filter_map(|error| error.jail.clone()).collect();
        let mut problems: Vec<String> = wrong.iter().map(ToString::to_string).collect();
        let mut jails = Vec::new();
        for text in &loaded.jails {
            match compile(text, &mut problems) {
                Ok(jail) => jails.push(jail),
                Err(problem) => {
                    let (path, line) = &text.origin;
                    broken.push(text.name.clone());
                    problems.push(format!(
                        "{}:{line}: jail {}: {problem}",
                        path.display(),
                        text.name
                    ));
                }
            }
        }
        Ok(Config {
            settings,
            jails,
            problems,
            broken,
        })
    }
}

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
    pub origin: (std::path::PathBuf, u32),
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

/// Which jails of a fail2ban tree can be read and their patterns compiled, what is
/// wrong with others, and what is unwise.
pub fn check_tree(tree: std::path::PathBuf) -> Checked {
    let loaded = fail2ban::load(&Roots::dir(tree));
    let wrong = loaded.errors.iter().filter(|error| !error.is_warning());
    let mut checked = Checked {
        problems: wrong.map(ToString::to_string).collect(),
        without_log: without_log(&loaded),
        ..Checked::default()
    };
    for text in &loaded.jails {
        match lint::lint(&filter_text(&text.filter_text)) {
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
    let config = Config::load(folder)?;
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
    for text in &fail2ban::load(&roots(folder)).jails {
        // Whatever cannot be compiled stands among the problems.
        if let Ok(findings) = lint::lint(&filter_text(&text.filter_text)) {
            checked.add(text, findings);
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

/// Our built-in jails and filters, and the folder's `jail.d` and `filter.d` over them.
fn roots(folder: &Path) -> Roots {
    Roots(vec![Root::Embedded(EMBEDDED), Root::Dir(folder.to_owned())])
}

/// The filter of this name alone, for `scan --filter`.
pub fn filter(folder: &Path, name: &str) -> Result<Filter, String> {
    let text =
        fail2ban::load_filter(&roots(folder), name, "auto").map_err(|error| error.to_string())?;
    Filter::compile(&filter_text(&text)).map_err(|error| format!("filter {name}: {error}"))
}

/// A filter for `examine`: `entry` is `name[option=value]`, looked for in `tree` if that
/// is given, else among ours and the folder's. `names` goes before what the filter says.
pub fn examined(
    folder: &Path,
    tree: Option<&Path>,
    entry: &str,
    backend: &str,
    names: Option<Names>,
) -> Result<Filter, String> {
    let roots = tree.map_or_else(|| roots(folder), Roots::dir);
    let text = fail2ban::load_filter(&roots, entry, backend).map_err(|error| error.to_string())?;
    let mut text = filter_text(&text);
    text.names = names.unwrap_or(text.names);
    Filter::compile(&text).map_err(|error| format!("filter {entry}: {error}"))
}

fn filter_text(text: &fail2ban::FilterText) -> FilterText {
    FilterText {
        prefregex: text.prefregex.clone(),
        failregex: text.failregex.clone(),
        ignoreregex: text.ignoreregex.clone(),
        maxlines: text.maxlines,
        datepattern: text.datepattern.clone(),
        names: match text.usedns {
            fail2ban::UseDns::Yes | fail2ban::UseDns::Warn => Names::Lookup,
            fail2ban::UseDns::No => Names::No,
            fail2ban::UseDns::Raw => Names::Raw,
        },
    }
}

fn compile(text: &JailText, problems: &mut Vec<String>) -> Result<JailConfig, String> {
    let filter = Filter::compile(&filter_text(&text.filter_text))
        .map_err(|error| format!("filter {}: {error}", text.filter))?;
    let mut ignored = Vec::new();
    for entry in &text.ignoreip {
        match entry.parse::<Addr>() {
            Ok(addr) => ignored.push(addr),
            Err(error) => {
                let (path, line) = &text.origin;
                problems.push(format!(
                    "{}:{line}: jail {}: ignoreip: {error}; the others count",
                    path.display(),
                    text.name
                ));
            }
        }
    }
    Ok(JailConfig {
        rules: Rules {
            name: text.name.as_str().into(),
            maxretry: text.maxretry,
            findtime: text.findtime,
            bantime: text.bantime,
            increment: text.bantime_increment.clone(),
            apiban: text
                .filter_text
                .extra
                .get("apiban")
                .is_some_and(|value| is_true(value)),
            by_prefix: true,
        },
        filter_name: text.filter.clone(),
        filter: Arc::new(filter),
        logs: text.logpath.iter().map(|log| log.path.clone()).collect(),
        ignored,
    })
}

/// fail2ban's words for yes.
fn is_true(value: &str) -> bool {
    ["1", "on", "true", "yes"]
        .iter()
        .any(|word| value.eq_ignore_ascii_case(word))
}

/// What the feed is told.
pub fn feed_settings(settings: &Settings) -> Result<feed::Settings, String> {
    let apiban = &settings.apiban;
    let laboratory = feed::Laboratory {
        accept_reserved: apiban.accept_reserved,
        insecure_http: apiban.insecure_http,
    };
    let key = match apiban.enabled {
        true => feed::Key::read(&apiban.key_file),
        false => Err(feed::NoKey::NotConfigured),
    };
    Ok(feed::Settings {
        base_url: feed::BaseUrl::parse(&apiban.url, laboratory)
            .map_err(|error| error.to_string())?,
        set: apiban
            .set
            .parse()
            .map_err(|error: feed::ListNameError| error.to_string())?,
        key: key.map(|file| file.key),
        check: apiban.check,
        poll: apiban.poll,
        rate_limit: apiban.rate_limit,
        ca_file: apiban.ca_file.clone(),
        entry_ttl: apiban.entry_ttl,
        max_entries: apiban.max_entries,
        reconcile: apiban.reconcile,
        laboratory,
    })
}
