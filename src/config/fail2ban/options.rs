//! Option lists, `name[option=value, option="value"][option='value']`, and other words
//! in values.
//!
//! A quoted value may hold anything but its quote, line ends too; a bare one ends at
//! `,` or `]`. Several bracket groups join, the later value of an option wins. Names
//! are letters, digits and `_ - .`, and may end in a condition, `name?family=inet6`.

use crate::config::ini::Ordered;

/// What `name[…]` says.
pub(super) type Given = Ordered<String>;

/// Where an option list cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OptionListError {
    /// In characters from behind the first bracket; `None`: the brackets themselves.
    pub(super) offset: Option<usize>,
    /// The option in whose value it is; `None`: where an option should begin.
    pub(super) after: Option<String>,
    /// What stands there.
    pub(super) found: String,
}

/// How many characters of the wrong place are shown.
const FOUND_CHARS_MAX: usize = 25;

/// Splits `name[options]`.
pub(super) fn parse(text: &str) -> Result<(String, Given), OptionListError> {
    let brackets = |found: &str| OptionListError {
        offset: None,
        after: None,
        found: found.chars().take(FOUND_CHARS_MAX).collect(),
    };
    let (name, body) = match text.split_once('[') {
        None => (text, None),
        Some((name, rest)) => {
            let Some(body) = rest.trim_end().strip_suffix(']') else {
                return Err(brackets(rest));
            };
            (name, Some(body))
        }
    };
    if name.is_empty() {
        return Err(brackets(text));
    }
    let given = body.map_or(Ok(Given::default()), parse_body)?;
    Ok((name.to_owned(), given))
}

fn parse_body(body: &str) -> Result<Given, OptionListError> {
    let mut given = Given::default();
    let mut rest = body;
    loop {
        let item = rest.trim_start();
        if matches!(item.trim_end(), "" | ",") {
            return Ok(given);
        }
        let Some((name, after)) = option_name(item) else {
            return Err(wrong(body, rest, None));
        };
        let (value, after) = option_value(after);
        given.insert(name, value.trim().to_owned());
        rest = match separator(after) {
            Some(rest) => rest,
            None => return Err(wrong(body, after, Some(name.to_owned()))),
        };
    }
}

fn wrong(body: &str, rest: &str, after: Option<String>) -> OptionListError {
    OptionListError {
        offset: Some(body.chars().count() - rest.chars().count()),
        after,
        found: rest.chars().take(FOUND_CHARS_MAX).collect(),
    }
}

fn is_name_char(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '-' | '.')
}

/// `name=` or `name?family=inet6=`, and what follows.
fn option_name(item: &str) -> Option<(&str, &str)> {
    let plain = item.find(|c| !is_name_char(c))?;
    if plain == 0 {
        return None;
    }
    match item.get(plain..)?.strip_prefix('?') {
        None => Some((item.get(..plain)?, item.get(plain..)?.strip_prefix('=')?)),
        Some(condition) => {
            let (family, rest) = condition.split_once('=')?;
            let (value, _) = rest.split_once('=')?;
            let end = plain + 1 + family.len() + 1 + value.len();
            let words = family.chars().chain(value.chars()).all(is_name_char);
            let name = item.get(..end).filter(|_| words)?;
            Some((name, item.get(end + 1..)?))
        }
    }
}

/// A value at the beginning of `text`, and what follows it.
fn option_value(text: &str) -> (&str, &str) {
    for quote in ['"', '\''] {
        if let Some(quoted) = text.strip_prefix(quote)
            && let Some(parts) = quoted.split_once(quote)
        {
            return parts;
        }
    }
    let end = text.find([',', ']']).unwrap_or(text.len());
    text.split_at(end)
}

/// What follows `,` or `][`; `None` if neither stands there.
fn separator(text: &str) -> Option<&str> {
    if text.is_empty() {
        return Some(text);
    }
    if let Some(rest) = text.strip_prefix(',') {
        return Some(rest);
    }
    text.strip_prefix(']')?.trim_start().strip_prefix('[')
}

/// Splits the entries of `action`: blanks and line ends between entries count, those
/// inside brackets and in front of them do not.
pub(super) fn split_entries(text: &str) -> Vec<&str> {
    let mut entries = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let plain = rest.find(|c: char| c == '[' || c.is_whitespace());
        let name = plain.unwrap_or(rest.len());
        let mut end = name;
        while let Some(group) = after_group(rest.get(end..).unwrap_or_default()) {
            end = rest.len() - group.len();
        }
        let ends_well = rest
            .get(end..)
            .is_none_or(|after| after.is_empty() || after.starts_with(char::is_whitespace));
        if name == 0 || !ends_well {
            end = rest.find(char::is_whitespace).unwrap_or(rest.len());
        }
        let (entry, after) = rest.split_at(end);
        entries.push(entry);
        rest = after.trim_start();
    }
    entries
}

/// What follows one `[…]` at the beginning of `text`, blanks before it passed over.
fn after_group(text: &str) -> Option<&str> {
    let mut rest = text.trim_start().strip_prefix('[')?.trim_start();
    loop {
        if let Some(after) = rest.strip_prefix(']') {
            return Some(after);
        }
        let (_, after) = option_name(rest)?;
        let (_, after) = option_value(after);
        let after = after.trim_start();
        rest = after.strip_prefix(',').unwrap_or(after).trim_start();
    }
}

/// Splits a list on blanks, commas and line ends.
pub(super) fn words(text: &str) -> Vec<String> {
    let words = text.split([' ', ',', '\n']).map(str::trim);
    words
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect()
}

/// Splits a line as a shell does: blanks, quotes and backslashes. `None` if a quote or
/// a backslash is left open.
pub(super) fn shell_words(line: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            ' ' | '\t' | '\r' | '\n' => words.extend(word.take()),
            '\\' => word.get_or_insert_default().push(chars.next()?),
            '\'' => read_quoted(&mut chars, '\'', word.get_or_insert_default())?,
            '"' => read_quoted(&mut chars, '"', word.get_or_insert_default())?,
            _ => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Some(words)
}

fn read_quoted(chars: &mut std::str::Chars<'_>, quote: char, word: &mut String) -> Option<()> {
    loop {
        match chars.next()? {
            c if c == quote => return Some(()),
            '\\' if quote == '"' => match chars.next()? {
                c @ ('"' | '\\') => word.push(c),
                c => word.extend(['\\', c]),
            },
            c => word.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        match parse(text) {
            Ok((name, given)) => {
                let options: Vec<String> = given
                    .iter()
                    .map(|(name, value)| format!("{name}={value:?}"))
                    .collect();
                format!("{name:?} {}", options.join(" "))
            }
            Err(error) => format!("{:?} {:?} {:?}", error.offset, error.after, error.found),
        }
    }

    #[test]
    fn option_lists() {
        for (text, expected) in [
            ("sshd", r#""sshd" "#),
            ("sshd[mode=aggressive]", r#""sshd" mode="aggressive""#),
            (
                r#"x[k=v, k2="a,b]c", k3='it is "q"'][k4=v]"#,
                r#""x" k="v" k2="a,b]c" k3="it is \"q\"" k4="v""#,
            ),
            ("x[a=1,]", r#""x" a="1""#),
            ("x[a=1][a=2]", r#""x" a="2""#),
            ("x[]", r#""x" "#),
            ("x[a=]", r#""x" a="""#),
            ("x[a=\"l1\nl2\"]", r#""x" a="l1\nl2""#),
            ("x[t?family=inet6=DROP]", r#""x" t?family=inet6="DROP""#),
            ("x[a]", r#"Some(0) None "a""#),
            ("x[a=1,, b=2]", r#"Some(4) None ", b=2""#),
            (r#"x[a="1"b]"#, r#"Some(5) Some("a") "b""#),
            ("x[a=1", r#"None None "a=1""#),
            ("[a=1]", r#"None None "[a=1]""#),
        ] {
            assert_eq!(shown(text), expected, "{text}");
        }
    }

    #[test]
    fn entries() {
        for (text, expected) in [
            ("", vec![]),
            ("a\n  b[x=1]", vec!["a", "b[x=1]"]),
            ("a[x=\"1 ] 2\"] b", vec!["a[x=\"1 ] 2\"]", "b"]),
            ("a[x=1, y=2][z=3] b c", vec!["a[x=1, y=2][z=3]", "b", "c"]),
            ("a[x=1]\n[y=2]", vec!["a[x=1]\n[y=2]"]),
            ("a [x=1]", vec!["a [x=1]"]),
            ("a[x", vec!["a[x"]),
        ] {
            assert_eq!(split_entries(text), expected, "{text}");
        }
    }

    #[test]
    fn words_of_a_shell() {
        for (text, expected) in [
            ("a  b", Some(vec!["a", "b"])),
            (
                "_COMM='x y' + \"z\\\"\"",
                Some(vec!["_COMM=x y", "+", "z\""]),
            ),
            ("a\\ b ''", Some(vec!["a b", ""])),
            ("a 'b", None),
            ("a\\", None),
        ] {
            let expected: Option<Vec<String>> =
                expected.map(|words| words.into_iter().map(str::to_owned).collect());
            assert_eq!(shell_words(text), expected, "{text}");
        }
        assert_eq!(words(" 192.0.2.1,\n ::1  x"), ["192.0.2.1", "::1", "x"]);
    }
}
