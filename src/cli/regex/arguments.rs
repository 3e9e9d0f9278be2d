//! The command line of `fail2ban-regex`: what it asks for, and what is wrong with it.
//!
//! Options may stand anywhere, and `--` ends them. Some that fail2ban takes mean nothing
//! here; they are accepted, so that a script goes on working.

use std::ffi::OsString;
use std::path::PathBuf;

use super::options::{self, Given};

/// The loudest level of fail2ban's own messages, for the hint in an error.
const LOG_LEVELS: [&str; 8] = [
    "CRITICAL",
    "ERROR",
    "WARNING",
    "NOTICE",
    "INFO",
    "DEBUG",
    "TRACEDEBUG",
    "HEAVYDEBUG",
];

/// What the command line asks for.
#[derive(Debug)]
pub(super) enum Asked {
    /// A test.
    Test(Box<Arguments>),
    /// The help.
    Help,
    /// The version, in a sentence.
    Version,
    /// The version alone.
    ShortVersion,
}

/// A command line that cannot be understood.
#[derive(Debug)]
pub(super) enum Wrong {
    /// An option is not known, or its value is missing: exit code 2.
    Option(String),
    /// LOG or REGEX is missing, or options contradict each other: the help, and 255.
    Use(String),
}

/// What a test is told.
#[derive(Debug, Default)]
pub(super) struct Arguments {
    pub(super) log: OsString,
    pub(super) regex: String,
    pub(super) ignoreregex: Option<String>,
    pub(super) config: Option<PathBuf>,
    pub(super) datepattern: Option<String>,
    pub(super) timezone: Option<String>,
    pub(super) encoding: Option<String>,
    pub(super) usedns: Option<String>,
    pub(super) maxlines: i64,
    pub(super) verbose: i64,
    pub(super) verbose_date: bool,
    pub(super) debuggex: bool,
    pub(super) no_check_all: bool,
    pub(super) out: Option<String>,
    pub(super) no_missed: bool,
    pub(super) no_ignored: bool,
    pub(super) all_matched: bool,
    pub(super) all_missed: bool,
    pub(super) all_ignored: bool,
    pub(super) json: bool,
    pub(super) time: bool,
}

/// Reads a command line, without the program's name.
pub(super) fn parse(words: &[OsString]) -> Result<Asked, Wrong> {
    let mut arguments = Arguments::default();
    let mut places = Vec::new();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let text = word.to_string_lossy();
        if text == "--" {
            places.extend(words.by_ref().cloned());
        } else if let Some(long) = text.strip_prefix("--") {
            let given = options::long(long, &mut words)?;
            if let Some(asked) = arguments.take(&given)? {
                return Ok(asked);
            }
        } else if let Some(letters) = text.strip_prefix('-').filter(|rest| !rest.is_empty()) {
            let mut letters = letters.chars();
            while let Some(letter) = letters.next() {
                let given = options::short(letter, &mut letters, &mut words)?;
                if let Some(asked) = arguments.take(&given)? {
                    return Ok(asked);
                }
            }
        } else {
            places.push(word.clone());
        }
    }
    arguments.places(places)?;
    Ok(Asked::Test(Box::new(arguments)))
}

impl Arguments {
    fn take(&mut self, given: &Given) -> Result<Option<Asked>, Wrong> {
        let value = given.value.clone();
        match given.known.long.first().copied().unwrap_or_default() {
            "version" => return Ok(Some(Asked::Version)),
            "help" => return Ok(Some(Asked::Help)),
            "V" => return Ok(Some(Asked::ShortVersion)),
            "config" => self.config = value.map(PathBuf::from),
            "datepattern" => self.datepattern = value.filter(|text| !text.is_empty()),
            "timezone" => self.timezone = value.filter(|text| !text.is_empty()),
            "encoding" => self.encoding = value.filter(|text| !text.is_empty()),
            "raw" => self.usedns = Some("raw".to_owned()),
            "usedns" => self.usedns = value.filter(|text| !text.is_empty()),
            "maxlines" => self.maxlines = number(given)?,
            // Files are read only, so there is nothing to pick from.
            "journalmatch" => {}
            "log-level" => log_level(&value.unwrap_or_default())?,
            "verbose" => self.verbose += 1,
            "verbosity" => self.verbose = number(given)?,
            "verbose-date" => self.verbose_date = true,
            "debuggex" => self.debuggex = true,
            "no-check-all" => self.no_check_all = true,
            "out" => self.out = value.filter(|text| !text.is_empty()),
            "print-no-missed" => self.no_missed = true,
            "print-no-ignored" => self.no_ignored = true,
            "print-all-matched" => self.all_matched = true,
            "print-all-missed" => self.all_missed = true,
            "print-all-ignored" => self.all_ignored = true,
            "json" => self.json = true,
            "time" => self.time = true,
            // How errors of Python are shown; there are none here.
            _ => {}
        }
        Ok(None)
    }

    fn places(&mut self, places: Vec<OsString>) -> Result<(), Wrong> {
        let usage = |text: &str| Err(Wrong::Use(text.to_owned()));
        if self.no_missed && self.all_missed {
            return usage("--print-no-missed and --print-all-missed are mutually exclusive.");
        }
        if self.no_ignored && self.all_ignored {
            return usage("--print-no-ignored and --print-all-ignored are mutually exclusive.");
        }
        if self.json && self.out.is_some() {
            return usage("--json and --out are mutually exclusive.");
        }
        let mut places = places.into_iter();
        let (Some(log), Some(regex), ignoreregex, None) =
            (places.next(), places.next(), places.next(), places.next())
        else {
            return usage("provide both <LOG> and <REGEX>.");
        };
        self.log = log;
        self.regex = regex.to_string_lossy().into_owned();
        self.ignoreregex = ignoreregex.map(|text| text.to_string_lossy().into_owned());
        Ok(())
    }
}

fn number(given: &Given) -> Result<i64, Wrong> {
    let text = given.value.as_deref().unwrap_or_default();
    text.trim().parse().map_err(|_| {
        let written = &given.written;
        Wrong::Option(format!("option {written}: invalid integer value: '{text}'"))
    })
}

/// Nothing is logged here, but a script's mistake is told.
fn log_level(level: &str) -> Result<(), Wrong> {
    let known = LOG_LEVELS.iter().any(|own| own.eq_ignore_ascii_case(level));
    match known || level.parse::<u32>().is_ok() {
        true => Ok(()),
        false => Err(Wrong::Use(format!(
            "--log-level: '{level}' is no level; write a number or one of {}",
            LOG_LEVELS.join(", ")
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &[&str]) -> Result<Arguments, String> {
        let words: Vec<OsString> = words.iter().map(OsString::from).collect();
        match parse(&words) {
            Ok(Asked::Test(arguments)) => Ok(*arguments),
            Ok(other) => Err(format!("{other:?}")),
            Err(Wrong::Option(text) | Wrong::Use(text)) => Err(text),
        }
    }

    #[test]
    fn options_stand_anywhere_and_may_be_cut_short() {
        let read = read(&[
            "log",
            "-vvL3",
            "--print-all-mi",
            "re",
            "-o",
            "-x",
            "--no-c",
            "ig",
        ]);
        let read = read.unwrap();
        assert_eq!((read.log.as_os_str(), &*read.regex), ("log".as_ref(), "re"));
        assert_eq!(read.ignoreregex.as_deref(), Some("ig"));
        assert_eq!((read.verbose, read.maxlines), (2, 3));
        assert!(read.all_missed && read.no_check_all);
        assert_eq!(read.out.as_deref(), Some("-x"));
    }

    #[test]
    fn mistakes_are_told() {
        for (words, expected) in [
            (&["x"][..], "provide both <LOG> and <REGEX>."),
            (&["a", "b", "c", "d"], "provide both <LOG> and <REGEX>."),
            (&["--nope"], "no such option: --nope"),
            (&["-q"], "no such option: -q"),
            (&["-L"], "-L option requires 1 argument"),
            (&["-L", "x"], "option -L: invalid integer value: 'x'"),
            (&["--raw=1"], "--raw option does not take a value"),
            (
                &["--print-all"],
                "ambiguous option: --print-all (--print-all-ignored, --print-all-matched, --print-all-missed?)",
            ),
            (&["--", "-L"], "provide both <LOG> and <REGEX>."),
            (&["-h"], "Help"),
            (&["-V"], "ShortVersion"),
        ] {
            assert_eq!(read(words).unwrap_err(), expected, "{words:?}");
        }
    }
}
