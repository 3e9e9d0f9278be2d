//! Programs that the shell plays itself, since all they touch is text: `[`, `sed`, `grep`.

use regex::Regex;

use super::{Done, Strange, strange};

/// `[ ONE -le OTHER ]`
pub(super) fn at_most(arguments: &[String]) -> Result<Done, Strange> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    if let [one, "-le", other, "]"] = words.as_slice()
        && let (Ok(one), Ok(other)) = (one.parse::<i64>(), other.parse::<i64>())
    {
        return Ok(Done::quietly(one <= other));
    }
    Err(strange(format!("`[ {}` is not known", words.join(" "))))
}

/// `s/one/other/g` with plain text.
pub(super) fn sed(arguments: &[String], input: &str) -> Result<Done, Strange> {
    let unknown = || strange(format!("`sed {}` is not known", arguments.join(" ")));
    let [script] = arguments else {
        return Err(unknown());
    };
    let mut parts = script.split('/');
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some("s"), Some(one), Some(other), Some("g"))
            if parts.next().is_none()
                && !one.is_empty()
                && !one.contains(['.', '[', '*', '^', '$', '\\'])
                && !other.contains(['&', '\\']) =>
        {
            Ok(Done {
                success: true,
                output: input.replace(one, other),
            })
        }
        _ => Err(unknown()),
    }
}

/// `grep` with one pattern, in Perl's words or in those that all have.
pub(super) fn grep(arguments: &[String], input: &str) -> Result<Done, Strange> {
    let unknown = || strange(format!("`grep {}` is not known", arguments.join(" ")));
    let (mut quiet, mut only, mut once, mut pattern) = (false, false, false, None);
    for argument in arguments {
        match argument.strip_prefix('-') {
            Some("m1") => once = true,
            Some(letters) if pattern.is_none() => {
                for letter in letters.chars() {
                    match letter {
                        'q' => quiet = true,
                        'o' => only = true,
                        'P' | 'E' | 'e' => {}
                        _ => return Err(unknown()),
                    }
                }
            }
            _ if pattern.is_none() => pattern = Some(argument),
            _ => return Err(unknown()),
        }
    }
    let pattern = pattern.ok_or_else(unknown)?;
    // `\K` throws away what was matched so far.
    let (before, kept) = pattern.split_once("\\K").unwrap_or(("", pattern));
    let regex = Regex::new(&format!("(?:{before})({kept})")).map_err(|_| unknown())?;
    let mut output = String::new();
    let mut found = false;
    for line in input.lines() {
        let Some(captures) = regex.captures(line) else {
            continue;
        };
        found = true;
        if !quiet {
            let part = captures.get(1).map_or("", |kept| kept.as_str());
            output += if only { part } else { line };
            output.push('\n');
        }
        if once {
            break;
        }
    }
    Ok(Done {
        success: found,
        output,
    })
}
