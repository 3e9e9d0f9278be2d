//! The options of `fail2ban-regex`, as Python's `optparse` understands them.
//!
//! Short ones may be joined (`-vvL3`), long ones cut short as long as they are unmistakable
//! (`--print-all-mi`). A value may begin with a dash. Two are ours: `--json` and `--time`.

use std::ffi::OsString;

use super::arguments::Wrong;

/// An option: its letter, its long names (the first is what it is called here), and
/// whether it has a value.
pub(super) struct Known {
    letter: Option<char>,
    pub(super) long: &'static [&'static str],
    value: bool,
}

const fn flag(letter: Option<char>, long: &'static [&'static str]) -> Known {
    Known {
        letter,
        long,
        value: false,
    }
}

const fn value(letter: Option<char>, long: &'static [&'static str]) -> Known {
    Known {
        letter,
        long,
        value: true,
    }
}

static KNOWN: [Known; 27] = [
    flag(None, &["version"]),
    flag(Some('h'), &["help"]),
    value(Some('c'), &["config"]),
    value(Some('d'), &["datepattern"]),
    value(None, &["timezone", "TZ"]),
    value(Some('e'), &["encoding"]),
    flag(Some('r'), &["raw"]),
    value(None, &["usedns"]),
    value(Some('L'), &["maxlines"]),
    value(Some('m'), &["journalmatch"]),
    value(Some('l'), &["log-level"]),
    flag(Some('V'), &["V"]),
    flag(Some('v'), &["verbose"]),
    value(None, &["verbosity"]),
    flag(None, &["verbose-date", "VD"]),
    flag(Some('D'), &["debuggex"]),
    flag(None, &["no-check-all"]),
    value(Some('o'), &["out"]),
    flag(None, &["print-no-missed"]),
    flag(None, &["print-no-ignored"]),
    flag(None, &["print-all-matched"]),
    flag(None, &["print-all-missed"]),
    flag(None, &["print-all-ignored"]),
    flag(Some('t'), &["log-traceback"]),
    flag(None, &["full-traceback"]),
    flag(None, &["json"]),
    flag(None, &["time"]),
];

/// An option at hand, as it was written.
pub(super) struct Given {
    pub(super) known: &'static Known,
    pub(super) written: String,
    pub(super) value: Option<String>,
}

/// Reads a long option, whose `--` is behind us.
pub(super) fn long<'w>(
    text: &str,
    words: &mut impl Iterator<Item = &'w OsString>,
) -> Result<Given, Wrong> {
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (text, None),
    };
    let names = || {
        KNOWN
            .iter()
            .flat_map(|known| known.long.iter().map(move |long| (known, *long)))
            .filter(|(known, long)| known.letter != Some('V') && long.starts_with(name))
    };
    let written = format!("--{name}");
    let exact = names().find(|(_, long)| *long == name);
    let known = match (exact, names().count()) {
        (Some((known, _)), _) => known,
        (None, 1) => names().map(|(known, _)| known).next().unwrap_or(&KNOWN[0]),
        (None, 0) => return Err(Wrong::Option(format!("no such option: {written}"))),
        (None, _) => {
            let mut could: Vec<String> = names().map(|(_, long)| format!("--{long}")).collect();
            could.sort_unstable();
            let could = could.join(", ");
            return Err(Wrong::Option(format!(
                "ambiguous option: {written} ({could}?)"
            )));
        }
    };
    let value = match (known.value, value) {
        (true, Some(value)) => Some(value),
        (true, None) => Some(next(words, &written)?),
        (false, None) => None,
        (false, Some(_)) => {
            return Err(Wrong::Option(format!(
                "{written} option does not take a value"
            )));
        }
    };
    Ok(Given {
        known,
        written,
        value,
    })
}

/// Reads a short option; `rest` is what is joined to it.
pub(super) fn short<'w>(
    letter: char,
    rest: &mut std::str::Chars<'_>,
    words: &mut impl Iterator<Item = &'w OsString>,
) -> Result<Given, Wrong> {
    let written = format!("-{letter}");
    let known = KNOWN.iter().find(|known| known.letter == Some(letter));
    let known = known.ok_or_else(|| Wrong::Option(format!("no such option: {written}")))?;
    let value = match (known.value, rest.as_str()) {
        (false, _) => None,
        (true, "") => Some(next(words, &written)?),
        (true, joined) => {
            let joined = joined.to_owned();
            rest.by_ref().for_each(drop);
            Some(joined)
        }
    };
    Ok(Given {
        known,
        written,
        value,
    })
}

fn next<'w>(
    words: &mut impl Iterator<Item = &'w OsString>,
    written: &str,
) -> Result<String, Wrong> {
    let word = words.next();
    let text = word.map(|word| word.to_string_lossy().into_owned());
    text.ok_or_else(|| Wrong::Option(format!("{written} option requires 1 argument")))
}
