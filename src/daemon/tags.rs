//! Tags in a command for the shell (`<ip>`, `<F-USER>`), filled in and quoted as fail2ban
//! does.
//!
//! Values are log text, and so the attacker's. One that holds nothing that the shell heeds
//! is pasted. Any other one is never part of the command: a variable stands in its place,
//! and the value goes to the shell as an argument of its own.

use std::fmt::Write;

/// A command, ready for `/bin/sh -c COMMAND VALUE…`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Filled {
    /// The command.
    pub(super) command: String,
    /// What its variables stand for, in their order, from `$0` on.
    pub(super) values: Vec<String>,
}

/// Characters that the shell heeds; a blank parts words in fail2ban, too.
const HEEDED: &str = "\"#$&'()*;<>?[\\]^`{|}~\r\n";

/// Fills in the tags for which there is a value; others stay as they are.
pub(super) fn fill(text: &str, value: impl Fn(&str) -> Option<String>) -> Filled {
    let mut filled = Filled::default();
    let mut names: Vec<String> = Vec::new();
    each(text, |piece| match piece {
        Piece::Text(text) => filled.command.push_str(text),
        Piece::Tag(tag) => match value(tag) {
            None => filled.command.push_str(&literal(tag)),
            Some(value) if !is_heeded(&value) => filled.command.push_str(&value),
            Some(value) => {
                let name = variable(tag);
                filled.command.push('$');
                filled.command.push_str(&name);
                if !names.contains(&name) {
                    names.push(name);
                    filled.values.push(value.replace('\0', "\u{fffd}"));
                }
            }
        },
    });
    let mut before = String::new();
    for (place, name) in names.iter().enumerate() {
        let _infallible = write!(before, "{name}=${{{place}}} ");
    }
    if !before.is_empty() {
        filled.command.insert_str(0, &(before + "\n"));
    }
    filled
}

/// The same where no shell will see it.
pub(super) fn plain(text: &str, value: impl Fn(&str) -> Option<String>) -> String {
    let mut out = String::new();
    each(text, |piece| match piece {
        Piece::Text(text) => out.push_str(text),
        Piece::Tag(tag) => out.push_str(&value(tag).unwrap_or_else(|| literal(tag))),
    });
    out
}

/// A part of a text with tags.
enum Piece<'t> {
    Text(&'t str),
    /// What may be a tag, by its name.
    Tag(&'t str),
}

fn each<'t>(text: &'t str, mut each: impl FnMut(Piece<'t>)) {
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
    let is_name = |name: &str| !name.is_empty() && name.chars().all(is_part);
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once('<') {
        each(Piece::Text(before));
        rest = match behind.split_once('>').filter(|(name, _)| is_name(name)) {
            Some((name, after)) => {
                each(Piece::Tag(name));
                after
            }
            None => {
                each(Piece::Text("<"));
                behind
            }
        };
    }
    each(Piece::Text(rest));
}

/// A tag for which there is no value.
fn literal(tag: &str) -> String {
    format!("<{tag}>")
}

fn is_heeded(value: &str) -> bool {
    let heeded = |letter: char| HEEDED.contains(letter) || (letter.is_control() && letter != '\t');
    value.contains(heeded)
}

/// The name of the variable that stands for a tag, as fail2ban calls it.
fn variable(tag: &str) -> String {
    let name = match tag.strip_prefix("F-") {
        Some(group) => format!("F_{}", group.to_lowercase()),
        None => tag.to_owned(),
    };
    format!("f2bV_{}", name.replace(['-', '.'], "_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(tag: &str) -> Option<String> {
        match tag {
            "ip" => Some("192.0.2.7".to_owned()),
            "F-USER" => Some("$(id)`x`\"y'".to_owned()),
            "F-NAME" => Some("a b".to_owned()),
            "F-NUL" => Some("a\0b".to_owned()),
            "ip-host" => Some("a;b".to_owned()),
            _ => None,
        }
    }

    #[test]
    fn what_the_shell_heeds_is_no_part_of_the_command() {
        for (text, command, values) in [
            ("known <ip>", "known 192.0.2.7", &[][..]),
            ("x <F-NAME> <nobody> < a > b", "x a b <nobody> < a > b", &[]),
            (
                "x \"<F-USER>\" <F-USER> '<ip-host>'<",
                "f2bV_F_user=${0} f2bV_ip_host=${1} \nx \"$f2bV_F_user\" $f2bV_F_user '$f2bV_ip_host'<",
                &["$(id)`x`\"y'", "a;b"],
            ),
            (
                "<F-NUL><<ip>>",
                "f2bV_F_nul=${0} \n$f2bV_F_nul<192.0.2.7>",
                &["a\u{fffd}b"],
            ),
        ] {
            let filled = fill(text, value);
            assert_eq!(filled.command, command);
            assert_eq!(filled.values, values, "{text}");
        }
        assert_eq!(
            plain("<F-USER>/<ip>/<x>", value),
            "$(id)`x`\"y'/192.0.2.7/<x>"
        );
    }
}
