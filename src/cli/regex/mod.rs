//! `ringfence regex`, and the program under the name `fail2ban-regex`: what a filter finds
//! in a log.
//!
//! Arguments, report and exit codes are those of `fail2ban-regex`, so that a script that
//! reads them goes on working; the filters, dates and rules are the daemon's own.
//! [`help::HELP`] says what differs. Exit codes: 0 done, whatever was found; 255 it could not
//! be done; 2 an option is not known.

mod arguments;
mod help;
mod json;
mod options;
mod out;
mod python;
mod report;
mod source;
mod subject;
mod trial;

use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use clap::Args;
use jiff::tz::TimeZone;

use super::{Common, shown};
use crate::config::fail2ban::FAIL2BAN_VERSION;
use crate::count::counted;
use crate::filter::date;
use arguments::{Asked, Wrong};
use source::Source;
use subject::{Home, Subject};
use trial::{Keep, Trial};

/// The name under which the program is `fail2ban-regex` and nothing else.
const NAME: &str = "fail2ban-regex";

/// What fail2ban's programs exit with when something is wrong.
const EXIT_WRONG: u8 = 255;
/// And when the command line cannot be understood.
const EXIT_OPTION: u8 = 2;

const HEAD: &str = "\nRunning tests\n=============\n\n";

#[derive(Args, Debug)]
#[command(disable_help_flag = true)]
pub(super) struct Arguments {
    /// fail2ban-regex's own: [OPTIONS] LOG REGEX [IGNOREREGEX]; `regex --help` shows them.
    /// Options of ringfence stand before `regex`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<OsString>,
}

/// `ringfence regex`.
pub(super) fn run(common: &Common, arguments: &Arguments) -> ExitCode {
    let home = Home::Ours(&common.config_dir);
    answer("ringfence regex", home, &arguments.words)
}

/// The program under the name `fail2ban-regex`; `None` if it has another one.
pub(super) fn by_name(words: impl IntoIterator<Item = OsString>) -> Option<ExitCode> {
    let mut words = words.into_iter();
    let program = words.next()?;
    if Path::new(&program).file_name()? != NAME {
        return None;
    }
    let words: Vec<OsString> = words.collect();
    Some(answer(NAME, Home::Fail2ban, &words))
}

fn answer(program: &str, home: Home<'_>, words: &[OsString]) -> ExitCode {
    let done = match arguments::parse(words) {
        Ok(Asked::Help) => print(&help::help(program)).map(|()| ExitCode::SUCCESS),
        Ok(Asked::Version) => {
            let own = env!("CARGO_PKG_VERSION");
            print(&format!("{NAME} {FAIL2BAN_VERSION} (ringfence {own})\n"))
                .map(|()| ExitCode::SUCCESS)
        }
        Ok(Asked::ShortVersion) => {
            print(&format!("{FAIL2BAN_VERSION}\n")).map(|()| ExitCode::SUCCESS)
        }
        Ok(Asked::Test(arguments)) => test(program, home, &arguments),
        Err(Wrong::Option(wrong)) => {
            complain(&format!(
                "Usage: {program} {}\n\n{program}: error: {wrong}",
                help::USAGE
            ));
            return ExitCode::from(EXIT_OPTION);
        }
        Err(Wrong::Use(wrong)) => {
            let shown = print(&help::help(program));
            complain(&format!("\nERROR: {wrong}"));
            shown.map(|()| ExitCode::from(EXIT_WRONG))
        }
    };
    done.unwrap_or_else(|error| {
        complain(&format!("{program}: {error:#}"));
        ExitCode::from(EXIT_WRONG)
    })
}

/// Tests, and prints the report.
fn test(
    program: &str,
    home: Home<'_>,
    arguments: &arguments::Arguments,
) -> anyhow::Result<ExitCode> {
    let people = arguments.out.is_none() && !arguments.json;
    let mut said = String::new();
    if arguments.debuggex {
        complain(&format!(
            "{program}: --debuggex: no addresses of debuggex.com are made; the rest is as without it"
        ));
    }
    let begun = begin(home, arguments, &mut |text| said.push_str(text));
    if people {
        print(&format!("{HEAD}{said}"))?;
    }
    let (mut trial, source) = match begun {
        Ok(begun) => begun,
        Err(wrong) => return refuse(program, arguments, &wrong),
    };
    let start = Instant::now();
    let mut broken = None;
    let read = source.each(arguments.encoding.as_deref(), |line| {
        let findings = trial.line(line);
        let Some(out) = &arguments.out else {
            return Ok(());
        };
        print(&out::out(out, &trial, &findings)).map_err(|error| {
            broken = Some(error);
            String::new()
        })
    });
    if let Some(error) = broken {
        return Err(error);
    }
    if let Err(wrong) = read {
        return refuse(program, arguments, &wrong);
    }
    let seconds = start.elapsed().as_secs_f64();
    if people {
        print(&report::report(&trial, arguments, seconds))?;
    } else if arguments.json {
        print(&json::json(&trial, arguments, seconds)?)?;
    }
    let given_up = trial.lineup.given_up();
    if given_up > 0 {
        complain(&format!(
            "{program}: {} given up after too many steps",
            counted(given_up, "search")
        ));
    }
    Ok(ExitCode::SUCCESS)
}

/// Reads everything that the arguments name; `say` is told what is used.
fn begin(
    home: Home<'_>,
    arguments: &arguments::Arguments,
    say: &mut dyn FnMut(&str),
) -> Result<(Trial, Source), String> {
    let zone = match &arguments.timezone {
        Some(name) => date::zone(name).map_err(|error| {
            let name = python::repr(name);
            format!("Unknown or unsupported time zone: {name}: {error}")
        })?,
        None => TimeZone::system(),
    };
    let subject = Subject::read(arguments, home, say)?;
    let source = Source::of(&arguments.log)?;
    let maxlines = subject.text.maxlines;
    say(&source.mention(arguments.encoding.as_deref(), maxlines));
    say("\n");
    // A line that was missed may still become a part of a match. Only where all lines are
    // asked for are all kept.
    let some = report::shown(arguments) + maxlines as usize;
    let kept = |none: bool, all: bool| match (none, all) {
        (true, _) => 0,
        (_, true) => usize::MAX,
        _ => some,
    };
    let keep = Keep {
        ignored: kept(arguments.no_ignored, arguments.all_ignored),
        matched: kept(!arguments.all_matched, arguments.all_matched),
        missed: kept(arguments.no_missed, arguments.all_missed),
        findings: arguments.verbose > 0 && arguments.out.is_none(),
        prefixes: report::shown(arguments),
        all: !arguments.no_check_all && arguments.out.is_none(),
    };
    Ok((Trial::new(subject, zone, keep), source))
}

/// What is wrong is told where `fail2ban-regex` tells it; a program that reads JSON is
/// told apart from it.
fn refuse(
    program: &str,
    arguments: &arguments::Arguments,
    wrong: &str,
) -> anyhow::Result<ExitCode> {
    match arguments.json {
        true => complain(&format!("{program}: ERROR: {wrong}")),
        false => print(&format!("ERROR: {wrong}\n"))?,
    }
    Ok(ExitCode::from(EXIT_WRONG))
}

/// Prints to standard output. A terminal is not moved by what stands in a log; programs get
/// it as it is, as from `fail2ban-regex`.
fn print(text: &str) -> anyhow::Result<()> {
    super::print(&shown(text, io::stdout().is_terminal()))
}

fn complain(text: &str) {
    // Nothing is left to tell if standard error is gone as well.
    let _untold = writeln!(io::stderr(), "{}", shown(text, io::stderr().is_terminal()));
}
