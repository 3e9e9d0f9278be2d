//! The options that fail2ban knows, with their types, in the order of the command stream.

use crate::config::error::ConfigError;
use crate::config::ini::Value;

/// How a value is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Bool,
    Int,
}

/// A value by its kind.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Scalar {
    Text(String),
    Bool(bool),
    Int(i128),
    /// A number that could not be read; fail2ban sends `None`.
    Unreadable,
}

pub(super) type Template = &'static [(&'static str, Kind)];

/// What is read of a jail first; the rest waits until its filter is known.
pub(super) const JAIL_FIRST: Template = &[
    ("enabled", Kind::Bool),
    ("backend", Kind::Text),
    ("filter", Kind::Text),
];

/// All options of a jail.
pub(super) const JAIL: Template = &[
    ("enabled", Kind::Bool),
    ("backend", Kind::Text),
    ("maxretry", Kind::Int),
    ("maxmatches", Kind::Int),
    ("findtime", Kind::Text),
    ("bantime", Kind::Text),
    ("bantime.increment", Kind::Bool),
    ("bantime.factor", Kind::Text),
    ("bantime.formula", Kind::Text),
    ("bantime.multipliers", Kind::Text),
    ("bantime.maxtime", Kind::Text),
    ("bantime.rndtime", Kind::Text),
    ("bantime.overalljails", Kind::Bool),
    ("ignorecommand", Kind::Text),
    ("ignoreself", Kind::Bool),
    ("ignoreip", Kind::Text),
    ("ignorecache", Kind::Text),
    ("filter", Kind::Text),
    ("logtimezone", Kind::Text),
    ("logencoding", Kind::Text),
    ("logpath", Kind::Text),
    ("action", Kind::Text),
    ("usedns", Kind::Text),
    ("prefregex", Kind::Text),
    ("ignoreregex", Kind::Text),
    ("failregex", Kind::Text),
    ("maxlines", Kind::Int),
    ("datepattern", Kind::Text),
    ("journalmatch", Kind::Text),
];

/// The options of a filter; a jail may have them too.
pub(super) const FILTER: Template = &[
    ("usedns", Kind::Text),
    ("prefregex", Kind::Text),
    ("ignoreregex", Kind::Text),
    ("failregex", Kind::Text),
    ("maxlines", Kind::Int),
    ("datepattern", Kind::Text),
    ("journalmatch", Kind::Text),
];

/// The options of an action.
pub(super) const ACTION: Template = &[
    ("actionstart", Kind::Text),
    ("actionstart_on_demand", Kind::Bool),
    ("actionstop", Kind::Text),
    ("actionflush", Kind::Text),
    ("actionreload", Kind::Text),
    ("actioncheck", Kind::Text),
    ("actionrepair", Kind::Text),
    ("actionrepair_on_unban", Kind::Bool),
    ("actionban", Kind::Text),
    ("actionprolong", Kind::Text),
    ("actionreban", Kind::Text),
    ("actionunban", Kind::Text),
    ("norestored", Kind::Bool),
];

/// Is it one of a template's options?
pub(super) fn has(template: Template, option: &str) -> bool {
    template.iter().any(|(name, _)| *name == option)
}

/// A text read as its kind says.
pub(super) fn convert(kind: Kind, text: &str) -> Scalar {
    match kind {
        Kind::Text => Scalar::Text(text.to_owned()),
        Kind::Bool => Scalar::Bool(is_true(text)),
        Kind::Int => integer(text).map_or(Scalar::Unreadable, Scalar::Int),
    }
}

/// True are `1 on true yes`; everything else is false.
pub(super) fn is_true(text: &str) -> bool {
    matches!(text.to_lowercase().as_str(), "1" | "on" | "true" | "yes")
}

/// A whole number as Python reads one: blanks around, a sign, `_` between digits.
pub(super) fn integer(text: &str) -> Option<i128> {
    let text = text.trim();
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let mut groups = digits.split('_');
    let fits = |group: &str| !group.is_empty() && group.bytes().all(|byte| byte.is_ascii_digit());
    if !groups.all(fits) {
        return None;
    }
    text.replace('_', "").parse().ok()
}

/// An option that was read: its kind and its text.
#[derive(Debug, Clone)]
pub(super) struct Setting {
    pub(super) option: &'static str,
    pub(super) kind: Kind,
    pub(super) value: Value,
}

impl Setting {
    pub(super) fn scalar(&self) -> Scalar {
        convert(self.kind, &self.value.text)
    }
}

/// Reads the options of a template through `get`; those that are set nowhere are left out.
pub(super) fn read(
    template: Template,
    get: impl Fn(&str) -> Result<Option<Value>, ConfigError>,
) -> Result<Vec<Setting>, ConfigError> {
    let mut settings = Vec::new();
    for &(option, kind) in template {
        if let Some(value) = get(option)? {
            settings.push(Setting {
                option,
                kind,
                value,
            });
        }
    }
    Ok(settings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds() {
        for (kind, text, expected) in [
            (Kind::Bool, "YES", Scalar::Bool(true)),
            (Kind::Bool, "on", Scalar::Bool(true)),
            (Kind::Bool, "enabled", Scalar::Bool(false)),
            (Kind::Int, " 5 ", Scalar::Int(5)),
            (Kind::Int, "-1_000", Scalar::Int(-1000)),
            (Kind::Int, "1__0", Scalar::Unreadable),
            (Kind::Int, "5 ; five", Scalar::Unreadable),
            (Kind::Int, "", Scalar::Unreadable),
            (Kind::Text, " a ", Scalar::Text(" a ".into())),
        ] {
            assert_eq!(convert(kind, text), expected, "{text}");
        }
    }
}
