//! The command line: one file or folder per verb, and exit codes.
//!
//! Exit codes: 0 done, 1 it could not be done (a sentence on standard error says
//! why), 2 the command line could not be understood; `why` says 3 of an address that is held
//! off, and `check -t` fails with fail2ban's 255.
//! Under the name `fail2ban-regex` the program is that one (`regex`), with its arguments
//! and its exit codes.

mod apiban;
mod ask;
mod ban;
mod bans;
mod check;
mod examine;
mod firewall;
mod man;
mod overlooked;
mod pause;
mod protect;
mod reason;
mod regex;
mod reload;
mod run;
mod scan;
mod status;
mod stop;
mod why;

use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::native::CONFIG_DIR;

/// What `--help` and the manual say of this file's header.
const EXIT_CODES: &str = "Exit codes: 0 done, 1 it could not be done (a sentence on standard error \
    says why), 2 the command line could not be understood; `why` says 3 of an address that is \
    held off, and `check -t` fails with fail2ban's 255.";

/// A log watcher and reactive blocker for phone servers.
///
/// Follows the logs of Asterisk, Kamailio and FreeSWITCH, counts failed logins, asks
/// APIBAN about who fails, and drops attackers in the kernel.
#[derive(Debug, Parser)]
#[command(name = "ringfence", version, max_term_width = 100, after_long_help = EXIT_CODES)]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    verb: Verb,
}

/// What every verb takes.
#[derive(Args, Clone, Debug)]
struct Common {
    /// The configuration folder (ringfence.toml, ringfence.d, jail.d, filter.d)
    #[arg(long, global = true, value_name = "DIR", default_value = CONFIG_DIR, env = "RINGFENCE_CONFIG_DIR")]
    config_dir: PathBuf,
    /// The control socket, if not the one that ringfence.toml names
    #[arg(long, global = true, value_name = "PATH")]
    socket: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run the daemon in the foreground (as root)
    Run(run::Arguments),
    /// Judge an existing log: who failed how often, who would have been banned
    Scan(scan::Arguments),
    /// Test a filter or a regex on a log, as fail2ban-regex does
    Regex(regex::Arguments),
    /// Let a program drive the filters: JSON on standard input and output
    Examine(examine::Arguments),
    /// Say whether the configuration can be used, and what is wrong with it
    Check(check::Arguments),
    /// Show how the daemon is: jails, bans, logs, firewall, APIBAN
    Status(status::Arguments),
    /// List everybody who is banned (not APIBAN's list, which `status` counts)
    Bans(bans::Arguments),
    /// Ban an address or prefix by hand
    Ban(ban::BanArguments),
    /// Lift the bans on an address or prefix
    Unban(ban::UnbanArguments),
    /// Say why an address is held off, or not: bans, lines, accounts, lists (exit code 3: held off)
    Why(why::Arguments),
    /// Suggest whom to protect: the trunks that the phone servers' configuration names
    Protect(protect::Arguments),
    /// Read the configuration again; bans and counts stay. If the program was replaced,
    /// the new one goes on in its place without a gap
    Reload(reload::Arguments),
    /// End the daemon and take its rules out of the kernel: nothing is blocked any more
    Stop(stop::Arguments),
    /// Look at the firewall: sets and counters, what is missing, what will hurt at boot
    #[command(subcommand)]
    Firewall(firewall::Verb),
    /// Lift every drop for a while; watching goes on, and it ends by itself
    Pause(pause::Arguments),
    /// End a pause
    Resume(pause::ResumeArguments),
    /// Look at APIBAN, or ask it about an address
    #[command(subcommand)]
    Apiban(apiban::Verb),
    /// Write the manual's pages, for packages
    #[command(hide = true)]
    Man(man::Arguments),
}

/// Whether a person or a program reads the answer.
#[derive(Args, Clone, Copy, Debug)]
struct Output {
    /// Print JSON, for programs
    #[arg(long)]
    json: bool,
}

impl Output {
    /// Prints an answer: as JSON, or as `people` write it.
    fn print<T: serde::Serialize>(
        self,
        answer: &T,
        people: impl FnOnce(&T) -> String,
    ) -> anyhow::Result<()> {
        let text = match self.json {
            true => escaped(&serde_json::to_string_pretty(answer)?) + "\n",
            false => people(answer),
        };
        print(&text)
    }
}

/// Text of a sender's, for a terminal: what is no letter, but moves, colours or hides, is
/// written out.
fn printable(text: &str) -> String {
    written_out(text, is_printable)
}

/// Text that may hold a sender's, as it is: on a terminal his letters are written out, but
/// for what lays a text out.
fn shown(text: &str, is_terminal: bool) -> Cow<'_, str> {
    if !is_terminal {
        return text.into();
    }
    written_out(text, |letter| {
        matches!(letter, '\n' | '\t') || is_printable(letter)
    })
    .into()
}

/// The text with its letters written out that are not fit.
fn written_out(text: &str, is_fit: impl Fn(char) -> bool) -> String {
    text.chars().fold(String::new(), |mut shown, letter| {
        match is_fit(letter) {
            true => shown.push(letter),
            false => shown.extend(letter.escape_debug()),
        }
        shown
    })
}

fn is_printable(letter: char) -> bool {
    matches!(letter, '\'' | '"' | '\\') || letter.escape_debug().len() == 1
}

/// JSON in which no letter moves a cursor: it stands in a text, so it can be written out.
fn escaped(json: &str) -> String {
    json.chars().fold(String::new(), |mut text, letter| {
        match letter == '\n' || is_printable(letter) {
            true => text.push(letter),
            false => {
                let units = letter.encode_utf16(&mut [0; 2]).to_vec();
                text.extend(units.iter().map(|unit| format!("\\u{unit:04x}")));
            }
        }
        text
    })
}

/// Prints to standard output; a reader that has gone away is no error.
fn print(text: &str) -> anyhow::Result<()> {
    print_on(text).map(|_is_read| ())
}

/// The same for who has more to print: false if the reader has gone away.
fn print_on(text: &str) -> anyhow::Result<bool> {
    let mut stdout = io::stdout().lock();
    match stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
    {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        written => Ok(written.map(|()| true)?),
    }
}

/// What `fail2ban-client -t` says of a configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("ERROR: test configuration failed")]
struct TestFailed;

impl TestFailed {
    /// fail2ban's exit code.
    const EXIT_CODE: u8 = 255;
}

/// Does what the command line says.
pub fn main() -> ExitCode {
    if let Some(code) = regex::by_name(std::env::args_os()) {
        return code;
    }
    let cli = Cli::parse();
    let done = match &cli.verb {
        Verb::Run(arguments) => run::run(&cli.common, arguments),
        Verb::Scan(arguments) => scan::run(&cli.common, arguments),
        Verb::Regex(arguments) => return regex::run(&cli.common, arguments),
        Verb::Examine(arguments) => examine::run(&cli.common, arguments),
        Verb::Check(arguments) => check::run(&cli.common, arguments),
        Verb::Status(arguments) => status::run(&cli.common, arguments),
        Verb::Bans(arguments) => bans::run(&cli.common, arguments),
        Verb::Ban(arguments) => ban::ban(&cli.common, arguments),
        Verb::Unban(arguments) => ban::unban(&cli.common, arguments),
        Verb::Why(arguments) => match why::run(&cli.common, arguments) {
            Ok(code) => return code,
            Err(error) => Err(error),
        },
        Verb::Protect(arguments) => protect::run(&cli.common, arguments),
        Verb::Reload(arguments) => reload::run(&cli.common, arguments),
        Verb::Stop(arguments) => stop::run(&cli.common, arguments),
        Verb::Firewall(verb) => firewall::run(&cli.common, verb),
        Verb::Pause(arguments) => pause::pause(&cli.common, arguments),
        Verb::Resume(arguments) => pause::resume(&cli.common, arguments),
        Verb::Apiban(verb) => apiban::run(&cli.common, verb),
        Verb::Man(arguments) => man::run(arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nothing is left to tell if standard error is gone as well.
            let told = format!("ringfence: {error:#}");
            let told = shown(&told, io::stderr().is_terminal());
            let _untold = writeln!(io::stderr(), "{told}");
            match error.is::<TestFailed>() {
                true => ExitCode::from(TestFailed::EXIT_CODE),
                false => ExitCode::FAILURE,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::shown;

    #[test]
    fn a_senders_letters_move_no_terminal() {
        let text = "a\tä\n\u{1b}[31mb\u{7}\u{9b}\u{202e}'\\\r\n";
        assert_eq!(shown(text, false), text);
        let written_out = "a\tä\n\\u{1b}[31mb\\u{7}\\u{9b}\\u{202e}'\\\\r\n";
        assert_eq!(shown(text, true), written_out);
    }
}
