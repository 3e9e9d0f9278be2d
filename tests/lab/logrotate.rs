//! The real `logrotate` against the log reader: `cargo run --release --example logrotate`.
//!
//! Each way of rotating for `--seconds`, with a writer of `--lines` lines a second and a
//! rotation every `--every` milliseconds. Prints a line for each way; fails if a line was
//! lost, came twice or was split.

#[path = "../common/rotation.rs"]
mod rotation;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use rotation::{Load, Outcome, Way};

/// The real logrotate against the log reader.
#[derive(Parser)]
struct Options {
    /// How long each way of rotating is tried.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// How many lines are written each second.
    #[arg(long, default_value_t = 50_000)]
    lines: u32,
    /// Milliseconds from one rotation to the next.
    #[arg(long, default_value_t = 2_000)]
    every: u64,
    /// One of the ways only.
    #[arg(long, value_name = "create|copytruncate|dateext|compress")]
    way: Option<String>,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let load = Load {
        span: Duration::from_secs(options.seconds),
        lines_per_second: options.lines,
        rotate_every: Duration::from_millis(options.every),
    };
    let is_wanted = |way: &Way| options.way.as_ref().is_none_or(|name| name == way.name());
    let mut code = ExitCode::SUCCESS;
    let ways = [Way::Create, Way::CopyTruncate, Way::DateExt, Way::Compress];
    for way in ways.into_iter().filter(is_wanted) {
        let folder = tempfile::tempdir().expect("a folder");
        let outcome = rotation::run(folder.path(), way, load);
        println!("logrotate, {}: {outcome}", way.name());
        if let Outcome {
            lost: 0,
            twice: 0,
            split: 0,
            ..
        } = outcome
        {
            continue;
        }
        code = ExitCode::FAILURE;
    }
    code
}
