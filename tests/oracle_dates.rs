//! Our dates against fail2ban's own: the same lines to both, one after the other.
//!
//! Python runs fail2ban's detector as a child, if it is installed, and answers one
//! line of JSON with one: where it cut a date out of each line, and which second
//! that was. Lines come from fail2ban's sample logs and from a grammar of dates,
//! mutated; datepatterns from another. `RINGFENCE_ORACLE_ROUNDS` says how many
//! rounds there are (40), `RINGFENCE_ORACLE_SEED` where they start.
//!
//! Where we differ on purpose, [`Mask`] names it.

#[path = "common/dice.rs"]
mod dice;

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use dice::Dice;
use jiff::tz::TimeZone;
use ringfence::filter::date::{Detector, Years, zone};
use ringfence::time::Time;
use serde_json::{Value, json};

/// Written for this test; it only calls what fail2ban's own filter calls.
const DRIVER: &str = r#"
import glob, json, logging, os, sys, time
os.environ['TZ'] = 'UTC'
time.tzset()
logging.disable(logging.CRITICAL)
import fail2ban.tests
from fail2ban.server.filter import Filter
from fail2ban.server.datedetector import DateDetector
from fail2ban.server.mytime import MyTime

def detector(pattern):
    if pattern is None:
        made = DateDetector()
        made.addDefaultTemplate()
        return made
    owner = Filter(None)
    owner.setDatePattern(pattern)
    for each in owner.dateDetector.templates:
        each.template.matchDate('')  # compiles it
    return owner.dateDetector

def one(made, line):
    try:
        found, template = made.matchTime(line)
    except Exception as error:
        return {'raised': repr(error)}
    if found is None:
        return None
    start, end = found.span(1)
    failed = None
    try:
        time = made.getTime(line, (found, template))
        time = None if time is None else time[0]
    except Exception as error:
        time, failed = None, repr(error)
    return {'span': [start, end], 'time': time, 'name': template.name, 'failed': failed}

def samples():
    root = os.path.join(os.path.dirname(fail2ban.tests.__file__), 'files', 'logs')
    for path in sorted(glob.glob(root + '/*')):
        if os.path.isfile(path):
            with open(path, encoding='utf-8', errors='replace') as lines:
                kept = [line.rstrip('\r\n') for line in lines]
            yield [line for line in kept if line and not line.startswith('# ')]

for question in sys.stdin:
    question = json.loads(question)
    if question.get('samples'):
        answer = list(samples())
    else:
        MyTime.setTime(question['now'])
        try:
            made = detector(question['pattern'])
            if question['zone'] is not None:
                made.default_tz = question['zone']
            answer = [one(made, line) for line in question['lines']]
        except Exception as error:
            answer = {'raised': repr(error)}
    print(json.dumps(answer), flush=True)
"#;

/// What we do otherwise, and why it is right.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
enum Mask {
    /// The compact layout may have `-` between date and time, and colons; so since 1.1.1.
    Compact,
    /// It raises an exception where it matches nothing at the line's end, or where an
    /// optional `%p` is left out.
    Raised,
    /// A pattern may match no characters at all; what it learns from that differs.
    Nothing,
    /// A stamp far beyond any calendar.
    FarFuture,
    /// Where it guesses last year for a date with a zone, it is a day off if it was
    /// another day in UTC.
    GuessedYear,
    /// The year that a line leaves out is the present one in the log's zone for us, in
    /// the machine's for it.
    YearInZone,
    /// It loses the blank that `%k` and `%l` allow in front, at a pattern's beginning.
    LostBlank,
    /// Before a pattern with `{EPOCH}` or `{LEPOCH}` in it, it takes `{UNB}` and
    /// `{^LN-BEG}` for text that a line must hold.
    PrefixOfEpoch,
    /// It refuses, by an accident in its regexes, what makes sense.
    Refused,
}

struct Oracle {
    child: Child,
    ask: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Oracle {
    /// `None` where there is no fail2ban.
    fn start() -> Option<Oracle> {
        let knows = |python: &&str| {
            Command::new(python)
                .args(["-c", "import fail2ban.server.filter, fail2ban.tests"])
                .stderr(Stdio::null())
                .status()
                .is_ok_and(|status| status.success())
        };
        // The system's own first: packages of fail2ban belong to it.
        let Some(python) = ["/usr/bin/python3", "python3"].into_iter().find(knows) else {
            eprintln!("no fail2ban here: nothing compared");
            return None;
        };
        let mut child = Command::new(python)
            .args(["-c", DRIVER])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let (ask, answers) = (child.stdin.take()?, child.stdout.take()?);
        Some(Oracle {
            child,
            ask,
            answers: BufReader::new(answers),
        })
    }

    fn answer(&mut self, question: &Value) -> Value {
        writeln!(self.ask, "{question}").expect("python reads");
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("python answers");
        serde_json::from_str(&line).expect("python answers in JSON")
    }
}

impl Drop for Oracle {
    fn drop(&mut self) {
        let ended = self.child.kill().and_then(|()| self.child.wait());
        assert!(ended.is_ok(), "{ended:?}");
    }
}

/// One detector's life.
struct Case {
    pattern: Option<String>,
    zone: Option<&'static str>,
    now: i64,
    lines: Vec<String>,
}

/// Runs a case on both sides. Returns how many lines were compared.
fn compare(oracle: &mut Oracle, case: &Case) -> usize {
    let theirs = oracle.answer(&json!({
        "pattern": case.pattern, "zone": case.zone, "now": case.now, "lines": case.lines,
    }));
    let ours = Detector::new(case.pattern.as_deref(), Years::at(Time::now()));
    let mut told = format!(
        "pattern {:?} zone {:?} now {}\n",
        case.pattern, case.zone, case.now
    );
    if let Some(raised) = theirs.get("raised") {
        assert!(ours.is_err() || refused(raised), "{told}they: {raised}");
        return 0;
    }
    let theirs = theirs.as_array().expect("an answer for each line");
    let mut ours = match ours {
        Ok(ours) => ours,
        Err(error) => {
            panic!("{told}we: {error}\nthey: {theirs:?}");
        }
    };
    let here = case
        .zone
        .map_or(TimeZone::UTC, |text| zone(text).expect("a zone"));
    let mut compared = 0;
    let mut nothing = false;
    for (line, theirs) in case.lines.iter().zip(theirs) {
        if let Some(raised) = theirs.get("raised") {
            assert!(refused(raised), "{told}{line:?}: they: {raised}");
            return compared;
        }
        let found = ours.find(line);
        let time = found
            .as_ref()
            .and_then(|found| found.stamp.time(Time::from_secs(case.now), &here));
        let span = found.map(|found| found.span);
        let chars = |at: usize| line.get(..at).map_or(0, |before| before.chars().count());
        let ours = span.map(|span| {
            (
                chars(span.start),
                chars(span.end),
                time.map(Time::as_micros),
            )
        });
        let same = agree(shown(theirs), ours);
        writeln!(told, "{line:?}\n  they {theirs}\n  we {ours:?}").expect("a string");
        nothing |= theirs["span"][0].is_i64() && theirs["span"][0] == theirs["span"][1];
        if !same {
            let mask = match nothing {
                true => Some(Mask::Nothing),
                false => mask_of_case(case, line).or_else(|| mask(line, theirs, ours)),
            };
            assert!(mask.is_some(), "{told}");
            return compared; // from here on, each has learnt something else
        }
        compared += 1;
    }
    compared
}

type Answer = Option<(usize, usize, Option<i64>)>;

/// Their answer in our form; a date of no characters is no date.
fn shown(answer: &Value) -> Answer {
    let place = |index: usize| answer["span"][index].as_i64();
    let (start, end) = (place(0)?, place(1)?);
    let micros = answer["time"]
        .as_f64()
        .map(|secs| (secs * 1e6).round() as i64);
    let place = |place: i64| usize::try_from(place).ok();
    (start < end).then_some((place(start)?, place(end)?, micros))
}

/// Within what floating point makes of a microsecond.
fn agree(theirs: Answer, ours: Answer) -> bool {
    match (theirs, ours) {
        (Some((start, end, Some(micros))), Some((own_start, own_end, Some(own)))) => {
            (start, end) == (own_start, own_end) && micros.abs_diff(own) <= 8
        }
        (theirs, ours) => theirs == ours,
    }
}

fn refused(raised: &Value) -> bool {
    let raised = raised.as_str().unwrap_or("");
    let mask = if raised.starts_with("IndexError") {
        Some(Mask::Raised)
    } else {
        // the blank of `%k` at the beginning
        let blank_lost = raised.contains("in group name '?P<");
        let doubled = raised.contains("already a template");
        // a pattern's own flags, and names in it
        let flags = raised.contains("global flags");
        (blank_lost || doubled || flags).then_some(Mask::Refused)
    };
    mask.is_some()
}

fn mask_of_case(case: &Case, line: &str) -> Option<Mask> {
    let mut patterns = case.pattern.iter().flat_map(|pattern| pattern.lines());
    let blank = patterns.any(|line| {
        let line = line
            .trim_start_matches("{^LN-BEG}")
            .trim_start_matches("{UNB}");
        ["%k", "%l", "%Exk", "%Exl"]
            .iter()
            .any(|token| line.trim_start().starts_with(token))
    });
    let mut patterns = case.pattern.iter().flat_map(|pattern| pattern.lines());
    let epoch = patterns.any(|line| {
        let upper = line.to_ascii_uppercase();
        let prefix = line.starts_with("{UNB}") || line.starts_with("{^LN-BEG}");
        prefix && upper.contains("EPOCH}")
    });
    // at these times it is another year elsewhere
    let new_year = case.now == NOWS[1] || case.now == NOWS[2];
    if blank {
        Some(Mask::LostBlank)
    } else if epoch {
        Some(Mask::PrefixOfEpoch)
    } else if case.zone.is_some() && new_year && !has_year(line) {
        Some(Mask::YearInZone)
    } else {
        None
    }
}

fn mask(line: &str, theirs: &Value, ours: Answer) -> Option<Mask> {
    let (start, end, time) = ours?;
    let date: String = line.chars().skip(start).take(end - start).collect();
    let they = theirs["time"].as_f64().unwrap_or(0.0);
    let day = 86_400_000_000;
    let day_off = time.is_some_and(|time| ((they * 1e6) as i64).abs_diff(time) == day);
    let attribute = theirs["failed"]
        .as_str()
        .is_some_and(|failed| failed.starts_with("AttributeError"));
    if attribute {
        Some(Mask::Raised)
    } else if they.abs() > 1e11 {
        Some(Mask::FarFuture)
    } else if day_off && !has_year(&date) {
        Some(Mask::GuessedYear)
    } else if is_compact(&date) {
        Some(Mask::Compact)
    } else {
        None
    }
}

/// Is it a compact date with what older releases did not take?
fn is_compact(date: &str) -> bool {
    let day = date.chars().take_while(|char| char.is_numeric()).count();
    let time: String = date.chars().skip(day).collect();
    let clock: String = time.chars().skip(1).take(8).collect();
    day == 8 && (time.starts_with('-') || clock.contains(':'))
}

fn has_year(date: &str) -> bool {
    let mut runs = date.split(|char: char| !char.is_ascii_digit());
    runs.any(|run| run.len() == 4 && (run.starts_with("19") || run.starts_with("20")))
}

const SHORT_MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];
const SHORT_DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];

/// A text that the token stands for, most often.
fn value(dice: &mut Dice, token: &str) -> String {
    let pad = |dice: &mut Dice, number: usize| match dice.below(8) {
        0 => format!("{number}"),
        1 => format!("{number:>2}"),
        _ => format!("{number:02}"),
    };
    match token {
        "Y" | "ExY" => dice
            .pick(&[
                "2026", "2025", "2026", "2024", "2019", "2005", "1999", "2031",
            ])
            .to_owned(),
        "y" | "Exy" => dice.pick(&["26", "25", "24", "05", "99"]).to_owned(),
        "m" | "Exm" => {
            let number = 1 + dice.below(13);
            pad(dice, number)
        }
        "d" | "Exd" => {
            let number = 1 + dice.below(32);
            pad(dice, number)
        }
        "H" | "ExH" | "k" | "Exk" => {
            let number = dice.below(26);
            pad(dice, number)
        }
        "I" | "l" | "Exl" => {
            let number = dice.below(14);
            pad(dice, number)
        }
        "M" | "S" | "ExM" | "ExS" => {
            let number = dice.below(62);
            pad(dice, number)
        }
        "f" => dice
            .pick(&["1", "123", "123456", "1234567", "000"])
            .to_owned(),
        "p" => dice.pick(&["AM", "PM", "am", "pm", "xm"]).to_owned(),
        "b" => dice.pick(&SHORT_MONTHS).to_owned(),
        "B" => dice
            .pick(&["November", "May", "february", "Sept"])
            .to_owned(),
        "a" => dice.pick(&SHORT_DAYS).to_owned(),
        "A" => dice.pick(&["Sunday", "monday", "Wednesday"]).to_owned(),
        "j" => format!("{:03}", dice.below(368)),
        "U" | "W" => format!("{:02}", dice.below(55)),
        "w" => format!("{}", dice.below(8)),
        "z" | "Exz" => dice
            .pick(&[
                "Z", "UTC", "GMT", "+0200", "-02:30", "+02", "+2", "-1145", "CET", "utc", "CET+01",
            ])
            .to_owned(),
        "Z" | "ExZ" => dice
            .pick(&["Z", "CET", "EST", "CEST", "cet", "ABC", "UTC", "A", "Mon"])
            .to_owned(),
        "c" => "Sun Nov 22 07:50:06 2026".to_owned(),
        "x" => "11/22/26".to_owned(),
        "X" => "07:50:06".to_owned(),
        "%" => "%".to_owned(),
        "EPOCH" => dice
            .pick(&[
                "1795334400",
                "1795334400.123",
                "17953344001",
                "1795334400.5",
                "999999999",
            ])
            .to_owned(),
        "LEPOCH" => dice
            .pick(&[
                "1795334400",
                "1795334400123",
                "1795334400123456",
                "1795334400123.5",
            ])
            .to_owned(),
        _ => "@400000006553f100abcdef01".to_owned(),
    }
}

/// Layouts of lines: `%` tokens as in patterns, everything else as it is.
const FORMS: [&str; 40] = [
    "%Y-%m-%d %H:%M:%S",
    "%Y-%m-%d %H:%M:%S.%f",
    "%Y-%m-%d %H:%M:%S,%f %z",
    "%Y-%m-%dT%H:%M:%S%z",
    "%Y-%m-%dT%H:%M:%S.%f%z",
    "%Y/%m/%d  %H:%M:%S %z",
    "%Y.%m.%d %H:%M:%S",
    "%Y-%m/%d %H:%M:%S",
    "%b %d %H:%M:%S",
    "%b %d %H:%M:%S.%f",
    "%b %d %k:%M:%S %Y",
    "%a %b %d %H:%M:%S %Y",
    "%a %b %d %H:%M:%S.%f %Y",
    "%a %b %d %Y %H:%M:%S",
    "%b %d %Y %H:%M:%S.%f",
    "%d/%m/%Y %H:%M:%S",
    "%d-%m-%y %H:%M:%S",
    "%d/%b/%Y:%H:%M:%S %z",
    "%d-%b-%Y %H:%M:%S.%f",
    "%m/%d/%Y:%H:%M:%S",
    "%m-%d-%Y %H:%M:%S.%f",
    "%EPOCH",
    "audit(%EPOCH:45)",
    "[%EPOCH]",
    "%H:%M:%S",
    "<%m/%d/%y@%H:%M:%S>",
    "%y%m%d %H:%M:%S",
    "%y%m%d  %H:%M:%S",
    "%b %d, %Y %I:%M:%S %p",
    "%b-%d-%y %H:%M:%S",
    "%Y%m%dT%H%M%S",
    "%Y%m%d%H%M%S.%f%z",
    "%Y%m%d %H%M%S %z",
    "%Z %b %d %H:%M:%S",
    "%Z %a %b %d %H:%M:%S %Y",
    "%z %b %d %H:%M:%S",
    "%z %a %b %d %H:%M:%S.%f %Y",
    "%TAI64N",
    "%LEPOCH",
    "%c",
];

const BEFORE: [&str; 14] = [
    "",
    "",
    "",
    "",
    "[",
    "  ",
    "---",
    "x ",
    "host ",
    "(",
    "é ",
    "abc [",
    "x=",
    "user 'x' ",
];
const BEHIND: [&str; 14] = [
    "",
    " x",
    "] y",
    " 2026",
    ": failed",
    " +0200",
    "Z",
    ",123",
    " é",
    "\t+01",
    ".",
    "_",
    ")",
    " 12:13:14",
];

/// Token names, the longer first, as they are looked for.
const TOKENS: [&str; 37] = [
    "EPOCH", "LEPOCH", "TAI64N", "ExY", "Exy", "Exm", "Exd", "ExH", "Exk", "Exl", "ExM", "ExS",
    "Exz", "ExZ", "Y", "y", "m", "d", "H", "k", "I", "l", "M", "S", "f", "p", "b", "B", "a", "A",
    "j", "U", "W", "w", "z", "Z", "c",
];

/// A text that `form` stands for.
fn text(dice: &mut Dice, form: &str) -> String {
    let mut text = String::new();
    let mut parts = form.split('%');
    text.push_str(parts.next().unwrap_or(""));
    for part in parts {
        match TOKENS.iter().find(|token| part.starts_with(**token)) {
            Some(token) => {
                text.push_str(&value(dice, token));
                text.push_str(part.get(token.len()..).unwrap_or(""));
            }
            None => text.push_str(part),
        }
    }
    text
}

fn mutated(dice: &mut Dice, line: &str) -> String {
    let mut chars: Vec<char> = line.chars().collect();
    for _ in 0..dice.below(3) {
        let at = dice.below(chars.len() + 1);
        let other = dice.pick(&[
            "0", "1", "9", " ", ":", "-", "/", "T", "x", "Z", ".", "+", "[", "é", "2", "٢", "０",
            "²", "\u{85}", "\u{a0}", "\u{301}", "ſ", "\u{1c}", "_",
        ]);
        let other = other.chars().next().unwrap_or(' ');
        match dice.below(4) {
            0 => {
                let foreign = |digit| char::from_u32(0x660 + digit).unwrap_or(other);
                let digits = chars.iter_mut().skip(at);
                if let Some(char) = digits.into_iter().find(|char| char.is_ascii_digit()) {
                    *char = char.to_digit(10).map_or(other, foreign);
                }
            }
            1 if at < chars.len() => chars[at] = other,
            2 if at < chars.len() => drop(chars.remove(at)),
            _ => chars.insert(at, other),
        }
    }
    chars.into_iter().collect()
}

/// A line with a date or several, or none.
fn line(dice: &mut Dice, forms: &[&str]) -> String {
    let mut line = dice.pick(&BEFORE).to_owned();
    for _ in 0..1 + usize::from(dice.one_in(5)) {
        let form = dice.pick(forms);
        line.push_str(&text(dice, form));
        line.push_str(dice.pick(&BEHIND));
    }
    if dice.one_in(3) {
        mutated(dice, &line)
    } else {
        line
    }
}

/// One that is like the line before, as in a log.
fn log(dice: &mut Dice, forms: &[&str], lines: usize) -> Vec<String> {
    let kept: Vec<&str> = (0..1 + dice.below(3)).map(|_| dice.pick(forms)).collect();
    (0..lines)
        .map(|_| {
            if dice.one_in(4) {
                line(dice, forms)
            } else {
                line(dice, &kept)
            }
        })
        .collect()
}

const NOWS: [i64; 4] = [
    1_795_334_400, // 2026-11-22T08:00:00Z
    1_798_759_800, // 2026-12-31T23:30:00Z
    1_767_227_400, // 2026-01-01T00:30:00Z
    1_709_208_000, // 2024-02-29T12:00:00Z
];

fn rounds() -> (Dice, usize) {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    let rounds = number("RINGFENCE_ORACLE_ROUNDS").unwrap_or(40);
    let seed = number("RINGFENCE_ORACLE_SEED").unwrap_or(1);
    (Dice(seed), usize::try_from(rounds).unwrap_or(usize::MAX))
}

#[test]
fn sample_logs() {
    let Some(mut oracle) = Oracle::start() else {
        return;
    };
    let samples = oracle.answer(&json!({ "samples": true }));
    let (mut dice, _) = rounds();
    let patterns = [
        None,
        Some("{^LN-BEG}"),
        Some("^[^\\[]*\\[({DATE})\n{^LN-BEG}"),
    ];
    // What is compiled is shared, while somebody has it.
    let kept = patterns.map(|pattern| Detector::new(pattern, Years::at(Time::now())));
    let mut compared = 0;
    let mut all = Vec::new();
    for log in samples.as_array().expect("logs") {
        let log = log.as_array().expect("lines");
        let lines: Vec<String> = log
            .iter()
            .filter_map(|line| line.as_str().map(str::to_owned))
            .collect();
        all.extend(lines.iter().take(3).cloned());
        for pattern in patterns {
            let mutated = lines.iter().map(|line| mutated(&mut dice, line)).collect();
            let kinds = if pattern.is_none() { 2 } else { 1 };
            for lines in [lines.clone(), mutated].into_iter().take(kinds) {
                let case = Case {
                    pattern: pattern.map(str::to_owned),
                    zone: None,
                    now: NOWS[0],
                    lines,
                };
                compared += compare(&mut oracle, &case);
            }
        }
    }
    let case = Case {
        pattern: None,
        zone: Some("CET"),
        now: NOWS[0],
        lines: all,
    };
    compared += compare(&mut oracle, &case);
    drop(kept);
    eprintln!("{compared} lines of sample logs compared");
    assert!(compared > 4_000);
}

#[test]
fn default_layouts() {
    let Some(mut oracle) = Oracle::start() else {
        return;
    };
    let (mut dice, rounds) = rounds();
    let kept = Detector::new(None, Years::at(Time::now())); // as above
    let mut compared = 0;
    for _ in 0..rounds {
        let case = Case {
            pattern: None,
            zone: [None, None, Some("+0200"), Some("EST")][dice.below(4)],
            now: NOWS[dice.below(NOWS.len())],
            lines: log(&mut dice, &FORMS, 30),
        };
        compared += compare(&mut oracle, &case);
    }
    drop(kept);
    eprintln!("{compared} lines with default layouts compared");
    assert!(compared > rounds);
}

/// Parts of datepatterns.
const PARTS: [&str; 52] = [
    "%Y", "%y", "%m", "%d", "%H", "%k", "%I", "%l", "%M", "%S", "%f", "%p", "%b", "%B", "%a", "%A",
    "%j", "%U", "%W", "%w", "%z", "%Z", "%c", "%ExY", "%Exy", "%Exm", "%Exd", "%ExH", "%Exk",
    "%Exl", "%ExM", "%ExS", "%Exz", "%ExZ", " ", " ", "-", ":", "/", "T", ".", ",", r"\s*", r"\[",
    "(?:x|y)?", "(", ")", "[-/]", "%%", "x", "?", "(?: ",
];

/// Beginnings and ends.
const FRONTS: [&str; 16] = [
    "",
    "",
    "",
    "^",
    "{^LN-BEG}",
    "{UNB}",
    "**",
    r"\[",
    "(?:^|x)",
    "(?i)",
    r"^\W*",
    "(^",
    "{^LN-BEG}**",
    "(",
    "^x?",
    "{^LN-BEG}x?",
];
const BACKS: [&str; 10] = ["", "", "", "$", "**", r"\b", r"\s", ")", r"\]", r"(?=\])"];

/// Whole datepatterns.
const WHOLE: [&str; 36] = [
    "{UNB}^%Y-%m-%d %H:%M:%S",
    "{^LN-BEG}{EPOCH}",
    "{UNB}{EPOCH}",
    "{^LN-BEG}^{DATE}",
    "{DEFAULT}",
    "{DATE}",
    "^{DATE}",
    "{^LN-BEG}{DATE}",
    "{^LN-BEG}",
    "x {DATE}",
    r"\[{DATE}\]",
    "{UNB}{DATE}",
    "**{DATE}",
    "{DATE}**",
    "{NONE}",
    "EPOCH",
    "LEPOCH",
    "TAI64N",
    "^EPOCH",
    "^LEPOCH",
    "^TAI64N",
    "{^LN-BEG}EPOCH",
    "{^LN-BEG}LEPOCH",
    "{^LN-BEG}TAI64N",
    "{EPOCH}",
    "{LEPOCH}",
    r"\[{EPOCH}\]",
    "^{LEPOCH}",
    "epoch",
    "lepoch",
    "{date}",
    "x({DATE})",
    "{^LN-BEG}%Y(?P<_sep>[-/.])%m(?P=_sep)%d",
    "%Y-%m-%d %H:%M:%S(?:,%f)?",
    "^[^ ]+ %b %d %H:%M:%S()**",
    "%d/%b/%Y:%H:%M:%S %z",
];

fn datepattern(dice: &mut Dice) -> String {
    let mut lines = Vec::new();
    for _ in 0..1 + dice.below(6) / 4 {
        if dice.one_in(3) {
            lines.push(dice.pick(&WHOLE).to_owned());
            continue;
        }
        let mut line = dice.pick(&FRONTS).to_owned();
        if dice.one_in(2) {
            line.push_str(dice.pick(&FORMS).trim_start_matches("[%EPOCH]"));
        } else {
            for _ in 0..1 + dice.below(6) {
                line.push_str(dice.pick(&PARTS));
            }
        }
        line.push_str(dice.pick(&BACKS));
        lines.push(line);
    }
    lines.join("\n")
}

#[test]
fn datepatterns() {
    let Some(mut oracle) = Oracle::start() else {
        return;
    };
    let (mut dice, rounds) = rounds();
    let mut compared = 0;
    for _ in 0..2 * rounds {
        let pattern = datepattern(&mut dice);
        let mut forms: Vec<&str> = pattern.lines().filter(|line| line.contains('%')).collect();
        forms.push(dice.pick(&FORMS));
        let case = Case {
            lines: log(&mut dice, &forms, 12),
            pattern: Some(pattern.clone()),
            zone: None,
            now: NOWS[dice.below(NOWS.len())],
        };
        compared += compare(&mut oracle, &case);
    }
    eprintln!("{compared} lines with datepatterns compared");
    assert!(compared > rounds);
}
