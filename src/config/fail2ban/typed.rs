//! From the texts of a jail to what the other parts need: numbers, durations, words.
//!
//! What the texts mean is what fail2ban's server would make of the command stream, in
//! its order: the filter's settings first, then the jail's; patterns add up, everything
//! else replaces. A value that cannot be read refuses its jail, and all of a jail's
//! errors are reported together.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::jail::{RawAction, RawJail};
use super::options;
use super::template::{self, Scalar};
use super::timespan;
use super::{ActionText, FilterText, IgnoreCache, Increment, JailText, LogPath, UseDns};
use crate::config::error::{ConfigError, ConfigErrorKind, Origin, quoted};
use crate::config::ini::{Options, Value};
use crate::jail::formula::{self, ExprError, Formula};
use crate::time::BanTime;

/// What fail2ban's server uses when nothing is set.
const MAXRETRY_DEFAULT: u32 = 3;
const MAXMATCHES_DEFAULT: u32 = 5;
const FINDTIME_DEFAULT: Duration = Duration::from_secs(600);
const BANTIME_DEFAULT: Duration = Duration::from_secs(600);

/// The largest `maxretry`, `maxmatches`, `maxlines` and `max-count`: beyond a million a
/// jail would never ban, or keep more lines than a machine has memory.
const COUNT_MAX: i64 = 1_000_000;

/// How many patterns a jail may have. fail2ban's largest filter has 60.
const PATTERNS_MAX: usize = 10_000;

/// Reads values, and collects what is wrong with them.
struct Typer<'a> {
    raw: &'a RawJail,
    errors: Vec<ConfigError>,
}

/// The jail, or everything that is wrong with it; with warnings in either case.
pub(super) fn jail(raw: &RawJail) -> (Option<JailText>, Vec<ConfigError>) {
    let mut typer = Typer {
        raw,
        errors: Vec::new(),
    };
    let jail = typer.jail();
    let refused = typer.errors.iter().any(|error| !error.is_warning());
    (Some(jail).filter(|_| !refused), typer.errors)
}

/// A filter by itself: the last pass of [`jail`] without the jail.
pub(super) fn filter(
    values: &Options,
    extra: &Options,
    origin: &Origin,
) -> Result<FilterText, ConfigError> {
    let raw = RawJail {
        name: String::new(),
        origin: origin.clone(),
        settings: Vec::new(),
        filter: Some(values.clone()),
        extra: extra.clone(),
        port: Ok(None),
        protocol: Ok(None),
        actions: Vec::new(),
        warnings: Vec::new(),
    };
    let mut typer = Typer {
        raw: &raw,
        errors: Vec::new(),
    };
    let filter = typer.filter();
    match typer.errors.into_iter().find(|error| !error.is_warning()) {
        Some(error) => Err(error),
        None => Ok(filter),
    }
}

/// Where the keys of a jail, and of its filter under them, have their values.
fn places(raw: &RawJail) -> BTreeMap<String, (PathBuf, u32)> {
    let settings = raw.settings.iter().map(|one| (one.option, &one.value));
    let filter = raw.filter.iter().flat_map(Options::iter);
    let written = filter.chain(settings).chain(raw.extra.iter());
    let written = written.filter(|(_, value)| value.origin.line > 0);
    written
        .map(|(key, Value { origin, .. })| {
            (key.to_owned(), (origin.path.to_path_buf(), origin.line))
        })
        .collect()
}

impl Typer<'_> {
    fn jail(&mut self) -> JailText {
        let raw = self.raw;
        let filter_text = self.filter();
        if filter_text.failregex.is_empty() && filter_text.prefregex.is_none() {
            self.warn(ConfigErrorKind::NoFilter);
        }
        JailText {
            name: raw.name.clone(),
            origin: (raw.origin.path.to_path_buf(), raw.origin.line),
            keys: places(raw),
            enabled: self.bool("enabled", false),
            backend: self.text("backend").unwrap_or_default(),
            filter: self.text("filter").unwrap_or_default(),
            logpath: self.log_paths(),
            maxretry: self.count("maxretry", 1).unwrap_or(MAXRETRY_DEFAULT),
            findtime: self.duration("findtime").unwrap_or(FINDTIME_DEFAULT),
            bantime: self.ban_time(),
            maxmatches: self.count("maxmatches", 0).unwrap_or(MAXMATCHES_DEFAULT),
            logencoding: self
                .text("logencoding")
                .unwrap_or_else(|| "auto".to_owned()),
            logtimezone: self.text("logtimezone").filter(|zone| !zone.is_empty()),
            ignoreip: self
                .value("ignoreip")
                .map_or_else(Vec::new, |v| options::words(&v.text)),
            ignoreself: self.bool("ignoreself", true),
            ignorecommand: self
                .text("ignorecommand")
                .filter(|command| !command.is_empty()),
            ignorecache: self.ignore_cache(),
            bantime_increment: self.increment(),
            port: raw.port.clone().map(|port| port.map(|value| value.text)),
            protocol: raw
                .protocol
                .clone()
                .map(|protocol| protocol.map(|value| value.text)),
            actions: self.actions(),
            skip_if_nologs: self.extra_bool("skip_if_nologs", false),
            systemd_if_nologs: self.extra_bool("systemd_if_nologs", true),
            filter_text,
        }
    }

    /// What the server makes of the filter's and then the jail's settings.
    fn filter(&mut self) -> FilterText {
        let raw = self.raw;
        let filter = raw.filter.iter().flat_map(Options::iter);
        let mut settings: Vec<(&str, &Value)> = filter.collect();
        let jail = raw.settings.iter().map(|s| (s.option, &s.value));
        settings.extend(jail.filter(|(option, _)| template::has(template::FILTER, option)));
        let mut text = FilterText::default();
        for (option, value) in settings {
            let optional = || Some(value.text.clone()).filter(|text| !text.is_empty());
            match option {
                "usedns" => text.usedns = UseDns::read(&value.text),
                "prefregex" => text.prefregex = optional(),
                "datepattern" => text.datepattern = optional(),
                "failregex" => text.failregex.extend(lines(&value.text)),
                "ignoreregex" => text.ignoreregex.extend(lines(&value.text)),
                "maxlines" => {
                    let least = 1;
                    text.maxlines = self
                        .number("maxlines", value, least)
                        .unwrap_or(text.maxlines);
                }
                "journalmatch" => text.journalmatch.extend(self.journal_matches(value)),
                _ => {}
            }
        }
        if text.failregex.len() + text.ignoreregex.len() > PATTERNS_MAX {
            self.warn(ConfigErrorKind::TooMany {
                what: "patterns",
                max: PATTERNS_MAX,
            });
        }
        text.extra = extra(&raw.extra);
        text
    }

    fn value(&self, option: &str) -> Option<&Value> {
        self.raw.get(option).map(|setting| &setting.value)
    }

    fn text(&self, option: &str) -> Option<String> {
        self.value(option).map(|value| value.text.clone())
    }

    fn bool(&self, option: &str, default: bool) -> bool {
        self.value(option)
            .map_or(default, |value| template::is_true(&value.text))
    }

    fn extra_bool(&self, option: &str, default: bool) -> bool {
        let value = self.raw.extra.get(option);
        value.map_or(default, |value| template::is_true(&value.text))
    }

    fn warn(&mut self, kind: ConfigErrorKind) {
        let error = self.raw.origin.error(kind).of_jail(&self.raw.name);
        self.errors.push(error);
    }

    fn error(&mut self, origin: &Origin, kind: ConfigErrorKind) {
        self.errors.push(origin.error(kind).of_jail(&self.raw.name));
    }

    fn number(&mut self, key: &'static str, value: &Value, least: i64) -> Option<u32> {
        let number = template::integer(&value.text);
        let fits = |number: &i128| (i128::from(least)..=i128::from(COUNT_MAX)).contains(number);
        let number = number
            .filter(fits)
            .and_then(|number| u32::try_from(number).ok());
        if number.is_none() {
            let kind = ConfigErrorKind::Number {
                key,
                value: quoted(&value.text),
                min: least,
                max: COUNT_MAX,
            };
            self.error(&value.origin, kind);
        }
        number
    }

    fn count(&mut self, key: &'static str, least: i64) -> Option<u32> {
        let value = self.value(key)?.clone();
        self.number(key, &value, least)
    }

    /// A duration by `read`; what is wrong with it is remembered.
    fn timed<T>(&mut self, key: &'static str, read: fn(&str) -> Result<T, ExprError>) -> Option<T> {
        let value = self.value(key)?.clone();
        read(&value.text)
            .map_err(|error| {
                let kind = ConfigErrorKind::Duration {
                    key,
                    value: quoted(&value.text),
                    reason: error.to_string(),
                };
                self.error(&value.origin, kind);
            })
            .ok()
    }

    fn duration(&mut self, key: &'static str) -> Option<Duration> {
        self.timed(key, timespan::duration)
    }

    fn ban_time(&mut self) -> BanTime {
        let time = self.timed("bantime", timespan::ban_time);
        time.unwrap_or(BanTime::For(BANTIME_DEFAULT))
    }

    /// An expression by `read`.
    fn computed<T>(
        &mut self,
        key: &'static str,
        read: fn(&str) -> Result<T, ExprError>,
    ) -> Option<T> {
        let value = self
            .value(key)
            .filter(|value| !value.text.trim().is_empty())?
            .clone();
        read(&value.text)
            .map_err(|error| {
                let kind = ConfigErrorKind::Expression {
                    key,
                    value: quoted(&value.text),
                    reason: error.to_string(),
                };
                self.error(&value.origin, kind);
            })
            .ok()
    }

    fn increment(&mut self) -> Increment {
        // None of it is looked at while it is off, so it cannot be wrong.
        if !self.bool("bantime.increment", false) {
            return Increment::default();
        }
        Increment {
            enabled: true,
            factor: self
                .computed("bantime.factor", formula::constant)
                .unwrap_or(1.0),
            formula: self.computed("bantime.formula", Formula::parse),
            multipliers: self
                .computed("bantime.multipliers", multipliers)
                .unwrap_or_default(),
            maxtime: self.duration_if_set("bantime.maxtime"),
            rndtime: self.duration_if_set("bantime.rndtime"),
            overalljails: self.bool("bantime.overalljails", false),
        }
    }

    /// A duration that an empty value switches off.
    fn duration_if_set(&mut self, key: &'static str) -> Option<Duration> {
        self.value(key)
            .filter(|value| !value.text.trim().is_empty())?;
        self.duration(key)
    }

    fn log_paths(&mut self) -> Vec<LogPath> {
        let Some(value) = self.value("logpath") else {
            return Vec::new();
        };
        let paths = lines(&value.text).map(|line| match line.rsplit_once(' ') {
            Some((path, place)) => LogPath {
                path: path.to_owned(),
                tail: place == "tail",
            },
            None => LogPath {
                path: line,
                tail: false,
            },
        });
        paths.collect()
    }

    fn journal_matches(&mut self, value: &Value) -> Vec<Vec<String>> {
        let mut matches = Vec::new();
        for line in lines(&value.text) {
            match options::shell_words(&line) {
                Some(words) => matches.push(words),
                None => {
                    let kind = ConfigErrorKind::OpenQuote {
                        key: "journalmatch",
                        value: quoted(&line),
                    };
                    self.error(&value.origin, kind);
                }
            }
        }
        matches
    }

    /// `key="<ip>", max-count=100, max-time=5m`
    fn ignore_cache(&mut self) -> Option<IgnoreCache> {
        let value = self
            .value("ignorecache")
            .filter(|v| !v.text.trim().is_empty())?
            .clone();
        let wrong = |typer: &mut Self, offset, after, found: String| {
            let kind = ConfigErrorKind::OptionList {
                key: "ignorecache",
                text: quoted(&value.text),
                offset,
                after,
                found,
            };
            typer.error(&value.origin, kind);
            None
        };
        let given = match options::parse(&format!("ignorecache[{}]", value.text)) {
            Ok((_, given)) => given,
            Err(error) => return wrong(self, error.offset, error.after, error.found),
        };
        let Some(key) = given.get("key").filter(|key| !key.is_empty()) else {
            return wrong(self, None, None, "no `key`".to_owned());
        };
        let max_count = match given.get("max-count") {
            None => Some(IgnoreCache::COUNT_DEFAULT),
            Some(text) => {
                let count = Value {
                    text: text.clone(),
                    origin: value.origin.clone(),
                };
                self.number("max-count", &count, 1)
            }
        };
        let max_time = given
            .get("max-time")
            .map_or(Ok(IgnoreCache::TIME_DEFAULT), |text| {
                timespan::duration(text)
            });
        match (max_count, max_time) {
            (Some(max_count), Ok(max_time)) => Some(IgnoreCache {
                key: key.clone(),
                max_count,
                max_time,
            }),
            (_, Err(error)) => {
                let kind = ConfigErrorKind::Duration {
                    key: "max-time",
                    value: quoted(given.get("max-time").map_or("", String::as_str)),
                    reason: error.to_string(),
                };
                self.error(&value.origin, kind);
                None
            }
            (None, _) => None,
        }
    }

    fn actions(&mut self) -> Vec<ActionText> {
        let raw = self.raw;
        let mut names = HashSet::new();
        for action in &raw.actions {
            if !names.insert(action.name.as_str()) {
                let name = action.name.clone();
                self.error(&action.origin, ConfigErrorKind::DuplicateAction { name });
            }
        }
        if raw.actions.is_empty() {
            self.warn(ConfigErrorKind::NoAction);
        }
        raw.actions.iter().map(action).collect()
    }
}

fn action(raw: &RawAction) -> ActionText {
    let mut properties = BTreeMap::new();
    for (name, value) in raw.properties.iter() {
        properties.insert(name.to_owned(), value.text.clone());
    }
    for (name, scalar) in &raw.definition {
        let text = match scalar {
            Scalar::Text(text) => text.clone(),
            Scalar::Bool(value) => value.to_string(),
            Scalar::Int(value) => value.to_string(),
            Scalar::Unreadable => continue,
        };
        properties.insert(name.clone(), text);
    }
    ActionText {
        name: raw.name.clone(),
        file: PathBuf::from(
            raw.file
                .file_name()
                .map_or_else(|| Path::new(""), Path::new),
        ),
        python: raw.python,
        properties,
        origin: (raw.origin.path.to_path_buf(), raw.origin.line),
    }
}

fn lines(text: &str) -> impl Iterator<Item = String> {
    text.split('\n')
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
}

fn multipliers(text: &str) -> Result<Vec<u32>, ExprError> {
    let words = text.split_whitespace().map(|word| {
        word.parse()
            .map_err(|_| ExprError::new(format!("`{word}` is not a whole number; write `1 2 4 8`")))
    });
    words.collect()
}

fn extra(options: &Options) -> BTreeMap<String, String> {
    let pairs = options.iter();
    pairs
        .map(|(key, value)| (key.to_owned(), value.text.clone()))
        .collect()
}
