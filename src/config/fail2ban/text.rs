//! What a jail, its filter and its actions say: the words between loading and compiling.
//!
//! Numbers, durations and switches have been read. Patterns and commands are still text,
//! expanded: other parts compile them, and know their own dialects.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::Increment;
use crate::config::error::ConfigError;
use crate::time::BanTime;

/// One jail, everything in it read but its patterns and commands.
#[derive(Debug, Clone, PartialEq)]
pub struct JailText {
    /// Its section's name.
    pub name: String,
    /// The file and line in which its section begins first.
    pub origin: (PathBuf, u32),
    /// The file and line in which each key of it, or of its filter, has its value.
    pub keys: BTreeMap<String, (PathBuf, u32)>,
    /// Is it enabled? [`load`](super::load) gives no others.
    pub enabled: bool,
    /// `auto`, `polling`, `pyinotify` or `systemd[…]`, as written.
    pub backend: String,
    /// `filter = …` as written, expanded.
    pub filter: String,
    /// What its filter and the jail itself say together.
    pub filter_text: FilterText,
    /// Patterns of log files, in the order written.
    pub logpath: Vec<LogPath>,
    /// How many failures within `findtime` make a ban; at least 1.
    pub maxretry: u32,
    /// The window in which failures count.
    pub findtime: Duration,
    /// How long a ban lasts.
    pub bantime: BanTime,
    /// How many matched lines are kept per address; 0 keeps none.
    pub maxmatches: u32,
    /// `auto`, or the name of an encoding.
    pub logencoding: String,
    /// The zone of log lines that have none, as written.
    pub logtimezone: Option<String>,
    /// Never banned: addresses, prefixes, names, as written.
    pub ignoreip: Vec<String>,
    /// Are our own addresses never banned?
    pub ignoreself: bool,
    /// A command that is asked before a ban.
    pub ignorecommand: Option<String>,
    /// How long that command's answers are remembered.
    pub ignorecache: Option<IgnoreCache>,
    /// How bans grow.
    pub bantime_increment: Increment,
    /// Its `port`. To fail2ban that is a variable like any other, and so it may be broken.
    pub port: Result<Option<String>, ConfigError>,
    /// Its `protocol`, likewise.
    pub protocol: Result<Option<String>, ConfigError>,
    /// What happens in a ban.
    pub actions: Vec<ActionText>,
    /// Without a log file, is the jail left out in silence?
    pub skip_if_nologs: bool,
    /// Without a log file, is the journal followed instead?
    pub systemd_if_nologs: bool,
}

impl JailText {
    /// The file and line of a key, or of the jail if no file sets it.
    pub fn place(&self, key: Option<&str>) -> &(PathBuf, u32) {
        let place = key.and_then(|key| self.keys.get(key));
        place.unwrap_or(&self.origin)
    }
}

/// What a filter looks for. Patterns are expanded; `<HOST>` and `<F-…>` are still tags.
#[derive(Debug, Clone, PartialEq)]
pub struct FilterText {
    /// What a line must match first; its `<F-CONTENT>` is what the rest is tried on.
    pub prefregex: Option<String>,
    /// Patterns of a failure, in order.
    pub failregex: Vec<String>,
    /// Patterns of lines that are no failure after all.
    pub ignoreregex: Vec<String>,
    /// How many lines a pattern may span; at least 1.
    pub maxlines: u32,
    /// Patterns of the date, one a line.
    pub datepattern: Option<String>,
    /// Which journal entries to read: one list of words for each line.
    pub journalmatch: Vec<Vec<String>>,
    /// What is done with host names in a log.
    pub usedns: UseDns,
    /// Keys that fail2ban does not know, tags and references replaced: ours
    /// ([`OUR_KEYS`](super::OUR_KEYS)) and variables such as `port`. The jail's go before the filter's.
    pub extra: BTreeMap<String, String>,
}

impl Default for FilterText {
    fn default() -> Self {
        FilterText {
            prefregex: None,
            failregex: Vec::new(),
            ignoreregex: Vec::new(),
            maxlines: 1,
            datepattern: None,
            journalmatch: Vec::new(),
            usedns: UseDns::Warn,
            extra: BTreeMap::new(),
        }
    }
}

/// One line of `logpath`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogPath {
    /// A path, perhaps with `*`, `?` or `[…]`.
    pub path: String,
    /// Is a file that we do not know yet read from its end?
    pub tail: bool,
}

/// What is done with host names in a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UseDns {
    /// They are looked up.
    Yes,
    /// They are looked up, and a warning is logged.
    Warn,
    /// They are passed over.
    No,
    /// They are taken as an id, as they are.
    Raw,
}

impl UseDns {
    /// A word that fail2ban does not know means `no`.
    pub(super) fn read(word: &str) -> Self {
        match word.trim().to_lowercase().as_str() {
            "yes" => UseDns::Yes,
            "warn" => UseDns::Warn,
            "raw" => UseDns::Raw,
            _ => UseDns::No,
        }
    }
}

/// How answers of `ignorecommand` are remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IgnoreCache {
    /// Which failures share an answer, with tags.
    pub key: String,
    /// How many answers are kept.
    pub max_count: u32,
    /// How long.
    pub max_time: Duration,
}

impl IgnoreCache {
    /// fail2ban's `max-count`.
    pub(super) const COUNT_DEFAULT: u32 = 300;
    /// fail2ban's `max-time`.
    pub(super) const TIME_DEFAULT: Duration = Duration::from_secs(5 * 60);
}

/// One action of a jail.
#[derive(Debug, Clone, PartialEq)]
pub struct ActionText {
    /// Its name in this jail.
    pub name: String,
    /// Its file in `action.d`, without ending; with `.py` for a Python class.
    pub file: PathBuf,
    /// Is it a Python class, which we cannot run?
    pub python: bool,
    /// Commands (`actionban`…), switches (`norestored`: `true` or `false`), and what
    /// `[Init]` and the jail give. A name may end in `?family=inet6`. Tags that the ban
    /// fills in, and those with a variant under a condition, are still there.
    pub properties: BTreeMap<String, String>,
    /// The file and line of the jail's `action`.
    pub origin: (PathBuf, u32),
}

/// fail2ban's own settings, of `fail2ban.conf`; `None` is not set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Globals {
    /// Option names (`loglevel`, `logtarget`, `socket`, `dbfile`, …) and texts.
    pub settings: BTreeMap<String, String>,
}

impl Globals {
    /// A setting as it is written.
    pub fn get(&self, option: &str) -> Option<&str> {
        self.settings.get(option).map(String::as_str)
    }
}
