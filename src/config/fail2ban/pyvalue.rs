//! Python values, and how Python prints them.
//!
//! `fail2ban-client -d` prints each command as a Python literal, and people paste these
//! lines into bug reports; ours look the same, byte for byte.

use std::fmt;
use std::sync::LazyLock;

use regex::Regex;

/// A value that a command stream can hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PyValue {
    /// `None`
    None,
    /// `True`, `False`
    Bool(bool),
    /// `5`
    Int(i128),
    /// `'text'`
    Str(String),
    /// `[1, 2]`
    List(Vec<PyValue>),
    /// `{'a': 1}`, in the order given
    Dict(Vec<(String, PyValue)>),
}

impl From<&str> for PyValue {
    fn from(text: &str) -> Self {
        PyValue::Str(text.to_owned())
    }
}

impl From<String> for PyValue {
    fn from(text: String) -> Self {
        PyValue::Str(text)
    }
}

impl fmt::Display for PyValue {
    /// As Python's `repr` does.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PyValue::None => f.write_str("None"),
            PyValue::Bool(true) => f.write_str("True"),
            PyValue::Bool(false) => f.write_str("False"),
            PyValue::Int(number) => number.fmt(f),
            PyValue::Str(text) => write_text(f, text),
            PyValue::List(values) => {
                f.write_str("[")?;
                for (place, value) in values.iter().enumerate() {
                    f.write_str(if place == 0 { "" } else { ", " })?;
                    value.fmt(f)?;
                }
                f.write_str("]")
            }
            PyValue::Dict(pairs) => {
                f.write_str("{")?;
                for (place, (key, value)) in pairs.iter().enumerate() {
                    f.write_str(if place == 0 { "" } else { ", " })?;
                    write_text(f, key)?;
                    f.write_str(": ")?;
                    value.fmt(f)?;
                }
                f.write_str("}")
            }
        }
    }
}

/// Characters that Python escapes: controls, formats, unassigned ones and all blanks
/// but the space itself.
static UNPRINTABLE: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"[\p{C}\p{Z}]").ok());

fn is_printable(c: char) -> bool {
    let mut buffer = [0; 4];
    let text = c.encode_utf8(&mut buffer);
    c == ' '
        || !UNPRINTABLE
            .as_ref()
            .is_some_and(|class| class.is_match(text))
}

/// A text in single quotes, or in double ones if it has single ones only.
fn write_text(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    let quote = if text.contains('\'') && !text.contains('"') {
        '"'
    } else {
        '\''
    };
    write!(f, "{quote}")?;
    for c in text.chars() {
        match c {
            '\n' => f.write_str("\\n")?,
            '\r' => f.write_str("\\r")?,
            '\t' => f.write_str("\\t")?,
            '\\' => f.write_str("\\\\")?,
            _ if c == quote => write!(f, "\\{c}")?,
            ' '..='~' => write!(f, "{c}")?,
            _ if is_printable(c) => write!(f, "{c}")?,
            _ => match u32::from(c) {
                code @ ..=0xff => write!(f, "\\x{code:02x}")?,
                code @ ..=0xffff => write!(f, "\\u{code:04x}")?,
                code => write!(f, "\\U{code:08x}")?,
            },
        }
    }
    write!(f, "{quote}")
}

/// An object of texts as Python's `json.dumps` writes it: blanks behind `,` and `:`, and
/// nothing but ASCII.
pub(super) fn json_object<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let mut json = String::from("{");
    for (place, (key, value)) in pairs.enumerate() {
        json.push_str(if place == 0 { "" } else { ", " });
        json_text(&mut json, key);
        json.push_str(": ");
        json_text(&mut json, value);
    }
    json.push('}');
    json
}

fn json_text(json: &mut String, text: &str) {
    json.push('"');
    for c in text.chars() {
        match c {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            '\n' => json.push_str("\\n"),
            '\r' => json.push_str("\\r"),
            '\t' => json.push_str("\\t"),
            '\u{8}' => json.push_str("\\b"),
            '\u{c}' => json.push_str("\\f"),
            ' '..='~' => json.push(c),
            _ => {
                let mut units = [0; 2];
                for unit in c.encode_utf16(&mut units) {
                    json.push_str(&format!("\\u{unit:04x}"));
                }
            }
        }
    }
    json.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_python_prints() {
        for (value, expected) in [
            (PyValue::None, "None"),
            (PyValue::Bool(true), "True"),
            (PyValue::Int(-5), "-5"),
            ("it's".into(), "\"it's\""),
            ("it's \"q\"".into(), r#"'it\'s "q"'"#),
            (
                "a\\d\t\n\r\u{7f}\u{a0}é\u{200b}😀\u{e0001}".into(),
                r"'a\\d\t\n\r\x7f\xa0é\u200b😀\U000e0001'",
            ),
            (
                PyValue::List(vec!["a".into(), PyValue::List(vec![])]),
                "['a', []]",
            ),
            (
                PyValue::Dict(vec![("stacksize".into(), PyValue::Int(7))]),
                "{'stacksize': 7}",
            ),
        ] {
            assert_eq!(value.to_string(), expected);
        }
    }

    #[test]
    fn as_python_writes_json() {
        let pairs = [("a", "1"), ("b", "x\"é😀\n")];
        assert_eq!(
            json_object(pairs.into_iter()),
            r#"{"a": "1", "b": "x\"\u00e9\ud83d\ude00\n"}"#
        );
        assert_eq!(json_object([].into_iter()), "{}");
    }
}
