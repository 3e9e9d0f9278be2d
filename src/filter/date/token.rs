//! The `%` tokens of a datepattern, as Python regexes.
//!
//! A token is a named group, and its name says what the text in it means: `Y` a
//! year, `b` a month's name. Where two readings are possible (`%d` before `12`),
//! alternatives stand in fail2ban's order, since the first one that fits is taken.
//! Digits are ASCII digits. Names of months and days are those of the C locale.

/// Day names, Monday first; `%a` is their first three letters.
pub(super) const DAYS: [&str; 7] = [
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
    "Sunday",
];

/// Month names; `%b` is their first three letters.
pub(super) const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// A zone's name of one letter, or of three to five.
const ZONE_NAME: &str = "[A-Z](?:[A-Z]{2,4})?";
const ZONE_SHIFT: &str = "[+-][01][0-9](?::?[0-9]{2})?";

/// What may follow a `%`, for error messages.
pub(super) const ACCEPTED: &str = "%Y %y %m %d %H %k %I %l %M %S %f %p %b %B %a %A %j %U %W %w %z %Z %c %x %X %%, \
     and the exact %ExY %Exy %Exm %Exd %ExH %Exk %Exl %ExM %ExS %Exz %ExZ";

/// A pattern with its tokens written out.
#[derive(Debug, PartialEq)]
pub(super) struct Expanded {
    /// The regex.
    pub(super) regex: String,
    /// Does it hold names? Then case does not matter in all of it.
    pub(super) ignore_case: bool,
}

/// Writes out the tokens of `pattern`. The error is the token that is not known.
pub(super) fn expand(pattern: &str) -> Result<Expanded, String> {
    let mut regex = String::with_capacity(4 * pattern.len());
    let mut ignore_case = false;
    let mut rest = pattern;
    while let Some((before, behind)) = rest.split_once('%') {
        regex.push_str(before);
        let name = name(behind);
        let token = token(name).ok_or_else(|| format!("%{name}"))?;
        regex.push_str(&token);
        ignore_case |= matches!(name, "a" | "A" | "b" | "B" | "p" | "c");
        rest = behind.get(name.len()..).unwrap_or("");
    }
    regex.push_str(rest);
    Ok(Expanded { regex, ignore_case })
}

/// The token's name at the start of `text`: `ExY` or one character.
fn name(text: &str) -> &str {
    let chars = if text.starts_with("Ex") { 3 } else { 1 };
    let end = text.char_indices().nth(chars);
    end.map_or(text, |(end, _)| text.get(..end).unwrap_or(text))
}

fn token(name: &str) -> Option<String> {
    let group = |group: &str, body: &str| Some(format!("(?P<{group}>{body})"));
    let plain = |body: &str| Some(body.to_owned());
    match name {
        "Y" => group("Y", "[0-9]{4}"),
        "ExY" => group("Y", "20[0-9]{2}"),
        "y" | "Exy" => group("y", "[0-9]{2}"),
        "m" => group("m", "0?[1-9]|1[0-2]"),
        "Exm" => group("m", "0[1-9]|1[0-2]"),
        "d" => group("d", "[12][0-9]|[ 0]?[1-9]|3[01]"),
        "Exd" => group("d", "[12][0-9]|0[1-9]|3[01]"),
        "j" => group(
            "j",
            "36[0-6]|3[0-5][0-9]|[12][0-9]{2}|0[1-9][0-9]|00[1-9]|[1-9][0-9]|0?[1-9]",
        ),
        "H" => group("H", "[01]?[0-9]|2[0-3]"),
        "ExH" => group("H", "[01][0-9]|2[0-3]"),
        "k" => plain(" ?(?P<H>[0-2]?[0-9])"),
        "Exk" => plain(" ?(?P<H>[01]?[0-9]|2[0-3])"),
        "I" => group("I", "1[0-2]|0?[1-9]"),
        "l" => plain(" ?(?P<I>1?[0-9])"),
        "Exl" => plain(" ?(?P<I>1[0-2]|[0-9])"),
        "M" => group("M", "[0-5]?[0-9]"),
        "ExM" => group("M", "[0-5][0-9]"),
        "S" => group("S", "[0-5]?[0-9]|6[01]"),
        "ExS" => group("S", "[0-5][0-9]|6[01]"),
        "f" => group("f", "[0-9]{1,6}"),
        "p" => group("p", "am|pm"),
        "w" => group("w", "[0-6]"),
        "u" => group("u", "[1-7]"),
        "U" | "W" => group(name, "5[0-3]|[0-4]?[0-9]"),
        "V" => group("V", "5[0-3]|0[1-9]|[1-4][0-9]|[0-9]"),
        "G" => group("G", "[0-9]{4}"),
        "b" => group("b", &short(&MONTHS)),
        "B" => group("B", &long(&MONTHS)),
        "a" => group("a", &short(&DAYS)),
        "A" => group("A", &long(&DAYS)),
        "z" => group("z", &format!("Z|UTC|GMT|{ZONE_SHIFT}")),
        "Exz" => group("z", &format!("(?:{ZONE_NAME})?{ZONE_SHIFT}|{ZONE_NAME}")),
        "Z" => group("Z", "Z|[A-Z]{3,5}"),
        "ExZ" => group("Z", ZONE_NAME),
        "x" => joined(&["m", "/", "d", "/", "y"]),
        "X" => joined(&["H", ":", "M", ":", "S"]),
        "c" => joined(&["a", r"\s+", "b", r"\s+", "d", r"\s+", "X", r"\s+", "Y"]),
        "%" => plain("%"),
        _ => None,
    }
}

fn joined(parts: &[&str]) -> Option<String> {
    Some(
        parts
            .iter()
            .map(|part| token(part).unwrap_or_else(|| (*part).to_owned()))
            .collect(),
    )
}

fn short(names: &[&str]) -> String {
    let names: Vec<&str> = names.iter().filter_map(|name| name.get(..3)).collect();
    names.join("|")
}

/// Long names: none is the beginning of another, so their order is of no account.
fn long(names: &[&str]) -> String {
    names.join("|")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_written_out() {
        for (pattern, regex) in [
            ("", ""),
            ("no token", "no token"),
            ("%y", "(?P<y>[0-9]{2})"),
            ("a%%b", "a%b"),
            ("%k:", " ?(?P<H>[0-2]?[0-9]):"),
            (
                "%Exm%Exd",
                "(?P<m>0[1-9]|1[0-2])(?P<d>[12][0-9]|0[1-9]|3[01])",
            ),
            ("%%ExY", "%ExY"),
        ] {
            assert_eq!(expand(pattern).map(|all| all.regex), Ok(regex.to_owned()));
        }
        for (pattern, token) in [
            ("%", "%"),
            ("%Ex", "%Ex"),
            ("%ExB", "%ExB"),
            ("%Y %q", "%q"),
            ("%é", "%é"),
            ("%Ex🦀", "%Ex🦀"),
        ] {
            assert_eq!(expand(pattern), Err(token.to_owned()));
        }
    }

    #[test]
    fn names_make_case_of_no_account() {
        for (pattern, expected) in [("%b", true), ("%Y %p", true), ("%%b", false), ("%Z", false)] {
            assert_eq!(expand(pattern).map(|all| all.ignore_case), Ok(expected));
        }
    }
}
