//! Values as Python writes them, since `--out row` and the report of `fail2ban-regex` do.

use std::fmt::Write;

use crate::filter::groups::Groups;
use crate::ticket::Group;

/// `repr()` of a text.
pub(super) fn repr(text: &str) -> String {
    let quote = match text.contains('\'') && !text.contains('"') {
        true => '"',
        false => '\'',
    };
    let mut out = String::from(quote);
    for char in text.chars() {
        match char {
            '\\' => out.push_str(r"\\"),
            '\n' => out.push_str(r"\n"),
            '\r' => out.push_str(r"\r"),
            '\t' => out.push_str(r"\t"),
            char if char == quote => out.extend(['\\', quote]),
            char if is_printable(char) => out.push(char),
            char => {
                let number = u32::from(char);
                let escaped = match number {
                    0..=0xff => write!(out, "\\x{number:02x}"),
                    0x100..=0xffff => write!(out, "\\u{number:04x}"),
                    _ => write!(out, "\\U{number:08x}"),
                };
                escaped.unwrap_or_default(); // writing to a String cannot fail
            }
        }
    }
    out.push(quote);
    out
}

/// Python escapes what is no visible character, nor a plain blank. The rarer unassigned
/// code points are left as they are.
fn is_printable(char: char) -> bool {
    let format = matches!(char, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{e000}'..='\u{f8ff}');
    char == ' ' || !(char.is_control() || char.is_whitespace() || format)
}

/// `repr()` of what may be nothing.
pub(super) fn repr_or_none(text: Option<&str>) -> String {
    text.map_or_else(|| "None".to_owned(), repr)
}

/// `repr()` of a group's value.
pub(super) fn repr_value(value: &Group) -> String {
    match value {
        Group::Text(text) => repr(text),
        Group::List(parts) => {
            let parts: Vec<String> = parts
                .iter()
                .map(|part| repr_or_none(part.as_deref()))
                .collect();
            format!("({})", parts.join(", "))
        }
    }
}

/// `str()` of a group's value.
pub(super) fn show_value(value: &Group) -> String {
    match value {
        Group::Text(text) => text.to_string(),
        Group::List(_) => repr_value(value),
    }
}

/// `repr()` of groups as a dictionary: those in `names` in that order, absent ones as
/// `None`, then all others.
pub(super) fn repr_groups(names: &[&str], groups: &Groups, more: &[(&str, String)]) -> String {
    let mut pairs: Vec<(&str, String)> = Vec::new();
    for name in names {
        if pairs.iter().all(|(known, _)| known != name) {
            let value = groups.iter().find(|(own, _)| own == name);
            let value = value.map_or_else(|| "None".to_owned(), |(_, value)| repr_value(value));
            pairs.push((name, value));
        }
    }
    for (name, value) in groups.iter().filter(|(name, _)| !names.contains(name)) {
        pairs.push((name, repr_value(value)));
    }
    pairs.extend(more.iter().cloned());
    let pairs: Vec<String> = pairs
        .iter()
        .map(|(name, value)| format!("{}: {value}", repr(name)))
        .collect();
    format!("{{{}}}", pairs.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_quoted_as_python_does() {
        for (text, expected) in [
            ("bob", "'bob'"),
            ("it's", "\"it's\""),
            ("x \"it's\"", r#"'x "it\'s"'"#),
            ("a\\b\n\t", r"'a\\b\n\t'"),
            ("\0\u{7f}\u{a0}é", r"'\x00\x7f\xa0é'"),
            ("\u{2028}😀", r"'\u2028😀'"),
        ] {
            assert_eq!(repr(text), expected, "{text:?}");
        }
    }
}
