//! The report for people, in the words and the shape of `fail2ban-regex`.

use std::fmt::{self, Write};

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::arguments::Arguments;
use super::trial::{Found, Lines, Trial};
use crate::filter::tally::Count;
use crate::time::Time;

/// Fewer lines than this are shown if nothing else is said.
pub(super) const LINES_SHOWN: usize = 20;

const REGEX_HEAD: &str = "|-  #) [# of hits] regular expression\n";

/// One pattern in a section.
struct Row<'r> {
    regex: &'r str,
    hits: u64,
    found: Option<&'r Found>,
    count: Count,
}

/// The whole report. `seconds` is how long the test took.
pub(super) fn report(trial: &Trial, arguments: &Arguments, seconds: f64) -> String {
    let mut text = String::new();
    write_report(&mut text, trial, arguments, seconds).unwrap_or_default(); // a String takes all
    text
}

fn write_report(
    text: &mut String,
    trial: &Trial,
    arguments: &Arguments,
    seconds: f64,
) -> fmt::Result {
    text.push_str("\nResults\n=======\n\n");
    let Some(tally) = trial.lineup.tally() else {
        return Ok(());
    };
    if let Some((regex, _)) = trial.filter.prefix() {
        writeln!(
            text,
            "Prefregex: {} total\n|  {regex}",
            tally.prefregex.hits
        )?;
        write_time(text, arguments, tally.prefregex)?;
        if arguments.verbose > 0 {
            let shown = shown(arguments);
            for captured in trial.prefixes.iter().take(shown) {
                writeln!(text, "|      {captured}")?;
            }
            if trial.prefixes.len() > shown {
                text.push_str("|      ...\n");
            }
        }
        text.push_str("`-\n\n");
    }
    let failregex = trial.text.failregex.iter().zip(&trial.found);
    let rows = failregex
        .zip(&tally.failregex)
        .map(|((regex, found), count)| Row {
            regex,
            hits: found.count,
            found: Some(found),
            count: *count,
        });
    section(text, arguments, "Failregex", rows.collect())?;
    let ignoreregex = trial.text.ignoreregex.iter().zip(&tally.ignoreregex);
    let rows = ignoreregex.map(|(regex, count)| Row {
        regex,
        hits: count.hits,
        found: None,
        count: *count,
    });
    section(text, arguments, "Ignoreregex", rows.collect())?;
    write_dates(text, trial, arguments)?;
    writeln!(
        text,
        "\nLines: {} lines, {} ignored, {} matched, {} missed\n[processed in {seconds:.2} sec]\n",
        trial.total, trial.ignored.count, trial.matched.count, trial.missed.count
    )?;
    if arguments.all_matched {
        lines(text, "Matched", &trial.matched, None)?;
    }
    let shown = shown(arguments);
    if !arguments.no_ignored {
        let limit = Some(shown).filter(|_| !arguments.all_ignored);
        lines(text, "Ignored", &trial.ignored, limit)?;
    }
    if !arguments.no_missed {
        let limit = Some(shown).filter(|_| !arguments.all_missed);
        lines(text, "Missed", &trial.missed, limit)?;
    }
    Ok(())
}

/// How many lines are too many to show. `--maxlines` sets it as well; fail2ban has it so.
pub(super) fn shown(arguments: &Arguments) -> usize {
    match usize::try_from(arguments.maxlines) {
        Ok(lines) if lines > 0 => lines,
        _ => LINES_SHOWN,
    }
}

fn section(
    text: &mut String,
    arguments: &Arguments,
    title: &str,
    rows: Vec<Row<'_>>,
) -> fmt::Result {
    let total: u64 = rows.iter().map(|row| row.hits).sum();
    writeln!(text, "{title}: {total} total")?;
    let verbose = arguments.verbose > 0;
    let told = |row: &Row<'_>| row.hits > 0 || verbose || arguments.time;
    if rows.iter().any(told) {
        text.push_str(REGEX_HEAD);
        for (place, row) in rows.iter().enumerate().filter(|(_, row)| told(row)) {
            writeln!(text, "|  {:2}) [{}] {}", place + 1, row.hits, row.regex)?;
            write_time(text, arguments, row.count)?;
            let found = row.found.filter(|_| verbose);
            for (id, time) in found.iter().flat_map(|found| &found.listed) {
                let id = id.as_deref().unwrap_or("None");
                writeln!(text, "|      {id}  {}", people(*time))?;
            }
            let unlisted = found.map_or(0, |found| found.count - found.listed.len() as u64);
            if unlisted > 0 {
                writeln!(text, "|      and {unlisted} more")?;
            }
        }
        text.push_str("`-\n");
    }
    text.push('\n');
    Ok(())
}

/// How long a pattern took, if that is asked for.
fn write_time(text: &mut String, arguments: &Arguments, count: Count) -> fmt::Result {
    if !arguments.time {
        return Ok(());
    }
    let micros = count.nanoseconds as f64 / 1e3;
    let each = micros / count.asked.max(1) as f64;
    writeln!(
        text,
        "|      # asked: {}, time: {:.6} sec, {each:.3} us each",
        count.asked,
        micros / 1e6
    )
}

fn write_dates(text: &mut String, trial: &Trial, arguments: &Arguments) -> fmt::Result {
    text.push_str("Date template hits:\n");
    let datepattern = trial.text.datepattern.as_deref();
    let dates = trial.lineup.dates().map(|dates| dates.tally(datepattern));
    let told = |hits: u64| hits > 0 || arguments.verbose > 0;
    let dates: Vec<_> = dates.unwrap_or_default();
    if !dates.iter().any(|date| told(date.hits)) {
        return Ok(());
    }
    text.push_str("|- [# of hits] date format\n");
    for date in dates.iter().filter(|date| told(date.hits)) {
        writeln!(text, "|  [{}] {}", date.hits, date.name)?;
        if arguments.verbose_date {
            let (weight, each) = (date.weight, f64::from(date.weight_each));
            writeln!(
                text,
                "|      # weight: {weight:.3} ({each:.3}), pattern: {}\n|      # regex:   {}",
                date.pattern, date.regex
            )?;
        }
    }
    text.push_str("`-\n");
    Ok(())
}

fn lines(text: &mut String, kind: &str, lines: &Lines, limit: Option<usize>) -> fmt::Result {
    match limit {
        _ if lines.count == 0 => Ok(()),
        Some(limit) if lines.count >= limit as u64 => writeln!(
            text,
            "{kind} line(s): too many to print.  Use --print-all-{} to print all {} lines",
            kind.to_lowercase(),
            lines.count
        ),
        _ => {
            writeln!(text, "|- {kind} line(s):")?;
            for line in &lines.kept {
                writeln!(text, "|  {line}")?;
            }
            writeln!(text, "`-")
        }
    }
}

/// A time as C writes it, where we are.
fn people(time: Time) -> String {
    let zoned =
        Timestamp::from_microsecond(time.as_micros()).map(|time| time.to_zoned(TimeZone::system()));
    match zoned {
        Ok(zoned) => zoned.strftime("%a %b %d %H:%M:%S %Y").to_string(),
        Err(_) => time.to_string(),
    }
}
