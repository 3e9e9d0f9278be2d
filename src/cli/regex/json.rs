//! `--json`: the same report as one object, for programs.

use serde::Serialize;

use super::arguments::Arguments;
use super::report::shown;
use super::trial::{Lines, Trial};
use crate::filter::tally::Count;

#[derive(Serialize)]
struct Report<'r> {
    log: String,
    /// How long the test took.
    seconds: f64,
    lines: Totals,
    /// Searches that were given up because a line needs too many steps.
    given_up: u64,
    prefregex: Option<Row<'r>>,
    failregex: Vec<Row<'r>>,
    ignoreregex: Vec<Row<'r>>,
    dates: Vec<Date>,
    /// Where lines are not shown in the report for people, they are not here.
    ignored: Option<&'r [String]>,
    matched: Option<&'r [String]>,
    missed: Option<&'r [String]>,
}

#[derive(Serialize)]
struct Totals {
    total: u64,
    ignored: u64,
    matched: u64,
    missed: u64,
}

#[derive(Serialize)]
struct Row<'r> {
    regex: &'r str,
    /// What the report for people counts: failures of a failregex, else matches.
    hits: u64,
    /// How often it was asked, and how often it matched.
    asked: u64,
    matches: u64,
    nanoseconds: u64,
}

#[derive(Serialize)]
struct Date {
    format: String,
    hits: u64,
}

/// The whole report as JSON.
pub(super) fn json(
    trial: &Trial,
    arguments: &Arguments,
    seconds: f64,
) -> Result<String, serde_json::Error> {
    let Some(tally) = trial.lineup.tally() else {
        return Ok("{}\n".to_owned());
    };
    let prefix = trial.filter.prefix();
    let failregex = trial.text.failregex.iter().zip(&trial.found);
    let ignoreregex = trial.text.ignoreregex.iter();
    let dates = trial.lineup.dates();
    let dates = dates.map(|dates| dates.tally(trial.text.datepattern.as_deref()));
    let told = |hits: u64| hits > 0 || arguments.verbose > 0;
    let limit = shown(arguments);
    let missed = lines(
        &trial.missed,
        arguments.no_missed,
        arguments.all_missed,
        limit,
    );
    let ignored = lines(
        &trial.ignored,
        arguments.no_ignored,
        arguments.all_ignored,
        limit,
    );
    let report = Report {
        log: arguments.log.to_string_lossy().into_owned(),
        seconds,
        lines: Totals {
            total: trial.total,
            ignored: trial.ignored.count,
            matched: trial.matched.count,
            missed: trial.missed.count,
        },
        given_up: trial.lineup.given_up(),
        prefregex: prefix.map(|(regex, _)| row(regex, tally.prefregex.hits, tally.prefregex)),
        failregex: failregex
            .zip(&tally.failregex)
            .map(|((regex, found), count)| row(regex, found.count, *count))
            .collect(),
        ignoreregex: ignoreregex
            .zip(&tally.ignoreregex)
            .map(|(regex, count)| row(regex, count.hits, *count))
            .collect(),
        dates: dates
            .unwrap_or_default()
            .into_iter()
            .filter(|date| told(date.hits))
            .map(|date| Date {
                format: date.name,
                hits: date.hits,
            })
            .collect(),
        ignored,
        matched: arguments.all_matched.then_some(&*trial.matched.kept),
        missed,
    };
    Ok(serde_json::to_string(&report)? + "\n")
}

fn row(regex: &str, hits: u64, count: Count) -> Row<'_> {
    Row {
        regex,
        hits,
        asked: count.asked,
        matches: count.hits,
        nanoseconds: count.nanoseconds,
    }
}

fn lines(lines: &Lines, none: bool, all: bool, limit: usize) -> Option<&[String]> {
    let shown = !none && (all || lines.count < limit as u64);
    shown.then_some(&*lines.kept)
}
