//! What a line costs that was written to make a pattern run for ever.
//!
//! `cargo bench --bench redos`: patterns known to explode and lines of up to the
//! longest that the daemon reads, each through a filter as the daemon runs it. A line's
//! time is the middle one of some runs, since in the others this machine may have done
//! something else; what counts is the worst line. Beside it, one run of Python's `re`
//! on a line of 64 bytes and on one of 1 KiB, ended after some seconds. Where fail2ban's tree is installed, its
//! two filters that its advisory GHSA-33wh-ccjc-p397 names are attacked as well.

#[path = "../common/redos.rs"]
mod redos;

use std::env;
use std::io::Write;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use jiff::tz::TimeZone;
use redos::{ATTACKS, LENGTHS};
use ringfence::config;
use ringfence::filter::follow::Ask;
use ringfence::filter::lines::{Attached, Lineup, Mode, Reading};
use ringfence::filter::pattern::expand;
use ringfence::filter::{Filter, FilterText};
use ringfence::time::Time;

/// The promise.
const LINE_MAX: Duration = Duration::from_millis(10);
/// Runs of each line.
const RUNS: usize = 9;
/// How long Python may take for one line.
const PYTHON_PATIENCE: Duration = Duration::from_secs(3);
/// How often we look whether Python has ended.
const LOOK: Duration = Duration::from_millis(5);

const PYTHON: &str = "\
import re, sys, time
pattern, line = re.compile(sys.argv[1]), sys.stdin.read()
start = time.perf_counter()
pattern.search(line)
print(time.perf_counter() - start)
";

/// fail2ban's own filters that its advisory names, and lines against them.
const INSTALLED: [(&str, &str, &str, &str); 2] = [
    ("domino-smtp", "smtp: ", "a ", "x"),
    (
        "dovecot",
        "Nov 22 07:00:00 host dovecot: imap-login: Disconnected",
        ": a",
        " (auth failed)",
    ),
];

fn main() -> Result<ExitCode> {
    // `cargo test --all-targets` runs benchmarks with --test, to see that they start.
    if env::args().any(|argument| argument == "--test") {
        return Ok(ExitCode::SUCCESS);
    }
    println!(
        "{:<32} {} | Python {:>8} {:>9}",
        "ms for a line of (* given up)",
        LENGTHS.map(|length| format!("{length:>9}")).join(" "),
        LENGTHS[0],
        LENGTHS[1],
    );
    let mut worst = Duration::ZERO;
    for attack in &ATTACKS {
        let text = FilterText {
            failregex: vec![attack.regex.to_owned()],
            datepattern: Some("{NONE}".to_owned()),
            ..FilterText::default()
        };
        let filter = Arc::new(Filter::compile(&text)?);
        let lines = LENGTHS.map(|length| attack.line(length));
        let python = [&lines[0], &lines[1]].map(|line| python(attack.regex, line));
        let [short, long] = python;
        let (times, row) = row(&filter, &lines);
        println!("{:<32} {row} | {:>15} {:>9}", attack.name, short?, long?);
        worst = worst.max(times);
    }
    for (name, head, pump, tail) in INSTALLED {
        let tree = Path::new("/etc/fail2ban");
        let Ok(filter) = config::examined(tree, Some(tree), name, "auto", None) else {
            println!("{name:<32} not installed");
            continue;
        };
        let lines = LENGTHS.map(|length| {
            let room = length.saturating_sub(head.len() + tail.len());
            format!("{head}{}{tail}", pump.repeat(room / pump.len()))
        });
        let (times, row) = row(&Arc::new(filter), &lines);
        println!("{:<32} {row}", format!("fail2ban's {name}"));
        worst = worst.max(times);
    }
    let kept = worst < LINE_MAX;
    println!(
        "promise    below {LINE_MAX:?} a line: {}, the worst took {worst:?}",
        if kept { "kept" } else { "NOT KEPT" }
    );
    Ok(if kept {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The worst time of all lines, and of each as text; `*` where the search was given up.
fn row(filter: &Arc<Filter>, lines: &[String]) -> (Duration, String) {
    let measured: Vec<(Duration, bool)> = lines.iter().map(|line| measure(filter, line)).collect();
    let shown: Vec<String> = measured
        .iter()
        .map(|(time, given_up)| {
            let mark = if *given_up { '*' } else { ' ' };
            format!("{:>8.3}{mark}", time.as_secs_f64() * 1e3)
        })
        .collect();
    let worst = measured.iter().map(|(time, _)| *time).max();
    (worst.unwrap_or_default(), shown.join(" "))
}

/// The time for this line, and whether the search was given up.
fn measure(filter: &Arc<Filter>, line: &str) -> (Duration, bool) {
    let attached = Attached {
        zone: None,
        jail: "redos".into(),
        filter: Arc::clone(filter),
        findtime: Duration::from_secs(600),
    };
    let mut lineup = Lineup::new(vec![attached], 0, TimeZone::UTC, Time::from_secs_f64(0.0));
    let block = format!("{line}\n");
    let reading = Reading {
        mode: Mode::Live,
        now: Time::from_secs_f64(0.0),
        ask: Ask::First,
    };
    let mut times = [Duration::ZERO; RUNS];
    for time in &mut times {
        let start = Instant::now();
        lineup.matches(block.as_bytes(), reading, |_, _, _| {});
        *time = start.elapsed();
    }
    times.sort_unstable();
    (times[RUNS / 2], lineup.given_up() > 0)
}

/// What Python takes in one run, in milliseconds, as text.
fn python(regex: &str, line: &str) -> Result<String> {
    let mut child = Command::new("python3")
        .args(["-c", PYTHON, &expand(regex, true)])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("python3, for comparison")?;
    if let Some(mut input) = child.stdin.take() {
        writeln!(input, "{line}")?;
    }
    let start = Instant::now();
    while child.try_wait()?.is_none() {
        if start.elapsed() > PYTHON_PATIENCE {
            child.kill()?;
            child.wait()?;
            return Ok(format!("> {}", PYTHON_PATIENCE.as_millis()));
        }
        thread::sleep(LOOK);
    }
    let output = child.wait_with_output()?;
    let seconds = String::from_utf8(output.stdout)?;
    let seconds: f64 = seconds.trim().parse().context("Python's answer")?;
    Ok(format!("{:.3}", seconds * 1e3))
}
