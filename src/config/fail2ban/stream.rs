//! The command stream: what fail2ban's client would send its server for this tree.
//!
//! It is fail2ban's own normal form of a configuration (`-d` prints it), so comparing
//! streams compares whole loaders. The order of commands is a part of it. Log files are
//! looked up while the stream is made, as the client does.
//!
//! One oddity is not copied: fail2ban 1.0.2 also sends each `[Init]` option of a filter
//! whose name is a piece of the word `datepattern` (`a`, `date`, `pattern`…), and its
//! server then refuses to start.

use std::fs;

use super::jail::{RawAction, RawJail};
use super::options;
use super::pyvalue::{PyValue, json_object};
use super::template::{self, FILTER, Kind, Scalar};
use super::{Entry, Loaded, RawGlobals};
use crate::config::error::{ConfigError, ConfigErrorKind};
use crate::config::ini::Options;

/// Options of a jail that are not sent as they are.
const NOT_SENT: &[&str] = &[
    "enabled", "backend", "filter", "action", "logpath", "ignoreip",
];

/// The commands, in order.
pub fn stream(loaded: &Loaded) -> Vec<PyValue> {
    let mut commands = globals(&loaded.raw_globals);
    let mut started = Vec::new();
    for entry in &loaded.entries {
        match entry {
            Entry::Read(raw) => {
                commands.extend(jail(raw));
                started.push(command(["start", &raw.name]));
            }
            Entry::Refused { name, error } => {
                let text = PyValue::from(name.as_str());
                let reason = reason(error);
                commands.push(command([
                    "config-error",
                    &format!("Jail {text} skipped, because of wrong configuration: {reason}"),
                ]));
            }
        }
    }
    commands.extend(started);
    commands
}

fn command<'a>(words: impl IntoIterator<Item = &'a str>) -> PyValue {
    PyValue::List(words.into_iter().map(PyValue::from).collect())
}

fn set(target: &str, option: &str, value: PyValue) -> PyValue {
    PyValue::List(vec!["set".into(), target.into(), option.into(), value])
}

fn value(scalar: Scalar) -> PyValue {
    match scalar {
        Scalar::Text(text) => PyValue::Str(text),
        Scalar::Bool(value) => PyValue::Bool(value),
        Scalar::Int(number) => PyValue::Int(number),
        Scalar::Unreadable => PyValue::None,
    }
}

/// fail2ban's own words for the errors that it isolates too; ours for the others.
fn reason(error: &ConfigError) -> String {
    match &*error.kind {
        ConfigErrorKind::NoSuchFile { key, name, .. } => {
            let article = if *key == "filter" { "the " } else { "" };
            format!(
                "Unable to read {article}{key} {}",
                PyValue::from(name.as_str())
            )
        }
        ConfigErrorKind::OptionList {
            key,
            text,
            offset,
            after,
            found,
        } => {
            let text = PyValue::from(text.as_str());
            let place = match (offset, after) {
                (None, _) => "unexpected option syntax".to_owned(),
                (Some(offset), Some(after)) => {
                    let after = PyValue::from(after.as_str());
                    format!("unexpected syntax at {offset} after option {after}: {found}")
                }
                (Some(offset), None) => {
                    format!("expected option, wrong syntax at {offset}: {found}")
                }
            };
            format!("Invalid {key} definition {text}: {place}")
        }
        _ => error.to_string(),
    }
}

fn globals(raw: &RawGlobals) -> Vec<PyValue> {
    let mut commands = Vec::new();
    if let Some(stacksize) = &raw.stacksize {
        let size = value(template::convert(Kind::Int, stacksize));
        let pairs = vec![("stacksize".to_owned(), size)];
        commands.push(PyValue::List(vec![
            "set".into(),
            "thread".into(),
            PyValue::Dict(pairs),
        ]));
    }
    for &(option, kind, default) in super::GLOBALS {
        let sent = match (raw.settings.get(option), default) {
            (Some(setting), _) => value(template::convert(kind, &setting.text)),
            (None, Some(default)) => default.into(),
            (None, None) if !raw.has_section => PyValue::None,
            (None, None) => continue,
        };
        commands.push(PyValue::List(vec!["set".into(), option.into(), sent]));
    }
    commands
}

fn jail(raw: &RawJail) -> Vec<PyValue> {
    let name = &raw.name;
    let mut commands = Vec::new();
    let filter = raw.filter.iter().flat_map(Options::iter);
    fill(
        &mut commands,
        name,
        filter.map(|(option, v)| (option, v.text.as_str())),
    );
    let own = raw.settings.iter();
    fill(
        &mut commands,
        name,
        own.map(|s| (s.option, s.value.text.as_str())),
    );
    for setting in &raw.settings {
        if setting.option == "ignoreip" {
            let mut words = vec!["set".into(), name.as_str().into(), "addignoreip".into()];
            words.extend(
                options::words(&setting.value.text)
                    .into_iter()
                    .map(PyValue::Str),
            );
            commands.push(PyValue::List(words));
        } else if !NOT_SENT.contains(&setting.option) && !template::has(FILTER, setting.option) {
            commands.push(set(name, setting.option, value(setting.scalar())));
        }
    }
    let text = |option| {
        raw.get(option)
            .map_or("", |setting| setting.value.text.as_str())
    };
    let backend = text("backend");
    if !backend.starts_with("systemd") {
        commands.extend(log_paths(name, text("logpath")));
    }
    commands.extend(raw.actions.iter().flat_map(|entry| action(name, entry)));
    commands.insert(0, command(["add", name, backend]));
    commands
}

/// The options that filter and jail share. Those that the server must know before it
/// reads a pattern go in front, the later filled ones first.
fn fill<'a>(
    commands: &mut Vec<PyValue>,
    jail: &str,
    settings: impl Iterator<Item = (&'a str, &'a str)>,
) {
    let mut front = 0;
    for (option, text) in settings {
        match option {
            "failregex" | "ignoreregex" => commands.extend(patterns(jail, option, text)),
            "usedns" | "prefregex" | "maxlines" => {
                let kind = if option == "maxlines" {
                    Kind::Int
                } else {
                    Kind::Text
                };
                let sent = value(template::convert(kind, text));
                if sent != PyValue::None {
                    let place = if option == "usedns" { 0 } else { front };
                    commands.insert(place, set(jail, option, sent));
                    front += 1;
                }
            }
            "datepattern" => commands.push(set(jail, option, text.into())),
            "journalmatch" => {
                for line in text.split('\n').filter(|line| !line.is_empty()) {
                    let words = options::shell_words(line).unwrap_or_default();
                    let words = words.iter().map(String::as_str);
                    commands.push(command(
                        ["set", jail, "addjournalmatch"].into_iter().chain(words),
                    ));
                }
            }
            _ => {}
        }
    }
}

fn patterns(jail: &str, option: &str, text: &str) -> Option<PyValue> {
    let lines = text.split('\n').filter(|line| !line.is_empty());
    let mut patterns: Vec<PyValue> = lines.map(PyValue::from).collect();
    let (verb, sent) = match patterns.len() {
        0 => return None,
        1 => ("set", patterns.pop()?),
        _ => ("multi-set", PyValue::List(patterns)),
    };
    let option = format!("add{option}");
    Some(PyValue::List(vec![
        verb.into(),
        jail.into(),
        option.into(),
        sent,
    ]))
}

/// One command for each file that is there.
fn log_paths(jail: &str, text: &str) -> Vec<PyValue> {
    let mut commands = Vec::new();
    for line in text.split('\n') {
        let (pattern, place) = line.rsplit_once(' ').unwrap_or((line, "head"));
        for path in matching_files(pattern) {
            commands.push(command(["set", jail, "addlogpath", &path, place]));
        }
    }
    commands
}

/// The files that a pattern names; dangling links are not among them.
fn matching_files(pattern: &str) -> Vec<String> {
    if !pattern.contains(['*', '?', '[']) {
        let there = !pattern.is_empty() && fs::metadata(pattern).is_ok();
        return there.then(|| pattern.to_owned()).into_iter().collect();
    }
    // `**` is no more than `*` here.
    let pattern = pattern.replace("**", "*");
    let options = glob::MatchOptions {
        case_sensitive: true,
        require_literal_separator: true,
        require_literal_leading_dot: true,
    };
    let Ok(paths) = glob::glob_with(&pattern, options) else {
        return Vec::new();
    };
    let there = paths.flatten().filter(|path| fs::metadata(path).is_ok());
    there
        .map(|path| path.to_string_lossy().into_owned())
        .collect()
}

fn action(jail: &str, raw: &RawAction) -> Vec<PyValue> {
    let add = ["set", jail, "addaction", &raw.name];
    if raw.python {
        let properties = raw.properties.iter();
        let json = json_object(properties.map(|(name, value)| (name, value.text.as_str())));
        let path = raw.file.to_string_lossy();
        return vec![command(add.into_iter().chain([&*path, json.as_str()]))];
    }
    let pair = |name: &str, value| PyValue::List(vec![name.into(), value]);
    let mut pairs = Vec::new();
    for (name, scalar) in &raw.definition {
        pairs.push(pair(name, value(scalar.clone())));
    }
    for (name, text) in raw.properties.iter() {
        pairs.push(pair(name, text.text.as_str().into()));
    }
    let head = ["multi-set", jail, "action", &raw.name].map(PyValue::from);
    let mut properties = head.to_vec();
    properties.push(PyValue::List(pairs));
    vec![command(add), PyValue::List(properties)]
}
