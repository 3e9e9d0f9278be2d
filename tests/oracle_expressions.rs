//! Our durations and formulas against fail2ban and Python themselves.
//!
//! Durations are asked of the installed fail2ban (its `--str2sec`, in one process);
//! formulas of the Python that runs it. Both must be installed: these tests do not skip.
//! Where Python overflows, or reckons with complex numbers, we need not agree.

#[path = "common/dice.rs"]
mod dice;

use std::io::Write;
use std::process::{Command, Stdio};

use dice::Dice;
use ringfence::config::fail2ban::{Formula, timespan};

/// Debian's name for the Python that runs fail2ban.
const PYTHON: &str = "/usr/bin/fail2ban-python";

/// How many random formulas are compared. All of them take Python a second.
const FORMULAS: u64 = 5_000;

/// How many random durations are compared.
const DURATIONS: u64 = 5_000;

/// Gives `lines` to a Python program and returns its lines.
fn python(program: &str, lines: &[String]) -> Vec<String> {
    let mut child = Command::new(PYTHON)
        .args(["-W", "ignore", "-c", program])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("fail2ban must be installed: apt-get install fail2ban");
    let mut input = child.stdin.take().expect("its input");
    let text = lines.join("\n") + "\n";
    let writer = std::thread::spawn(move || input.write_all(text.as_bytes()));
    let output = child.wait_with_output().expect("its output");
    writer.join().expect("a writer").expect("a pipe");
    let text = String::from_utf8(output.stdout).expect("utf-8");
    let answers: Vec<String> = text.lines().map(str::to_owned).collect();
    assert_eq!(answers.len(), lines.len(), "Python ended early");
    answers
}

/// Are they the same number, but for the last digits of a floating one?
fn close(ours: f64, theirs: f64) -> bool {
    ours == theirs || (ours - theirs).abs() <= 1e-11 * ours.abs().max(theirs.abs())
}

#[test]
fn formulas() {
    const PROGRAM: &str = r#"
import sys, math
class Ban: Time = 600; Count = 3
for line in sys.stdin:
    try:
        value = eval(line, {'ban': Ban, 'banFactor': 1.5, 'math': math})
        value = float(value)
        print('nan' if math.isnan(value) else repr(value))
    except OverflowError: print('any')
    except Exception as error:
        print('any' if 'complex' in str(error) else 'error')
"#;
    let mut dice = Dice(1);
    let texts: Vec<String> = (0..FORMULAS).map(|_| formula(&mut dice, 4)).collect();
    let mut values = 0;
    for (text, theirs) in texts.iter().zip(python(PROGRAM, &texts)) {
        let ours = Formula::parse(text).and_then(|f| f.eval(600.0, 3, 1.5, &mut || 0.5));
        let same = match (&ours, theirs.as_str()) {
            (_, "any") => true,
            (Err(_), "error" | "nan") => true,
            (Ok(ours), theirs) => theirs.parse().is_ok_and(|theirs| close(*ours, theirs)),
            (Err(_), _) => false,
        };
        assert!(same, "{text}\n  ours {ours:?}\n  theirs {theirs}");
        values += usize::from(ours.is_ok());
    }
    assert!(
        values as u64 > FORMULAS / 3,
        "only {values} formulas have a value"
    );
}

fn formula(dice: &mut Dice, depth: usize) -> String {
    if depth == 0 {
        let atoms = [
            "0",
            "1",
            "2",
            "7",
            "20",
            "0.5",
            "2.885385",
            "1_000",
            "ban.Time",
            "ban.Count",
            "banFactor",
            "math.pi",
            "True",
        ];
        return dice.pick(&atoms).to_owned();
    }
    let one = |dice: &mut Dice| formula(dice, depth - 1);
    match dice.below(12) {
        0..=3 => {
            let operator = dice.pick(&["+", "-", "*", "/", "//", "%"]);
            format!("{} {operator} {}", one(dice), one(dice))
        }
        // Python would reckon for years with a tower of powers.
        4 => {
            let operator = dice.pick(&["**", "<<", ">>"]);
            let right = dice.pick(&["0", "1", "2", "7", "-1", "0.5", "ban.Count", "(-3)"]);
            format!("{} {operator} {right}", formula(dice, depth.min(2) - 1))
        }
        5 => format!("({})", one(dice)),
        6 => format!("-{}", one(dice)),
        7 => {
            let comparison = dice.pick(&["<", "<=", "==", "!=", ">=", ">"]);
            format!(
                "{} if {} {comparison} {} else {}",
                one(dice),
                one(dice),
                one(dice),
                one(dice)
            )
        }
        8 => format!(
            "{}({}, {})",
            dice.pick(&["min", "max", "math.pow"]),
            one(dice),
            one(dice)
        ),
        9 => {
            let name = dice.pick(&[
                "int",
                "float",
                "abs",
                "round",
                "math.exp",
                "math.log",
                "math.sqrt",
                "math.floor",
                "math.ceil",
                "math.log10",
            ]);
            format!("{name}({})", one(dice))
        }
        10 => format!("{} {} {}", one(dice), dice.pick(&["and", "or"]), one(dice)),
        _ => format!("not {}", one(dice)),
    }
}

#[test]
fn durations() {
    const PROGRAM: &str = r#"
import sys
from fail2ban.server.mytime import MyTime
for line in sys.stdin:
    try:
        value = MyTime.str2seconds(line.rstrip('\n'))
        print(repr(float(value)) if isinstance(value, (int, float)) else 'error')
    except OverflowError: print('any')
    except Exception: print('error')
"#;
    let mut dice = Dice(2);
    let texts: Vec<String> = (0..DURATIONS).map(|_| duration(&mut dice)).collect();
    let mut values = 0;
    for (text, theirs) in texts.iter().zip(python(PROGRAM, &texts)) {
        let ours = timespan::seconds(text).map(|number| number.as_f64());
        let same = match (&ours, theirs.as_str()) {
            (_, "any") => true,
            // What fail2ban cannot read may mean something to us, as `5.h` does.
            (_, "error") => true,
            (Ok(ours), theirs) => theirs.parse().is_ok_and(|theirs| close(*ours, theirs)),
            (Err(_), _) => false,
        };
        assert!(same, "{text:?}\n  ours {ours:?}\n  theirs {theirs}");
        values += usize::from(theirs != "error");
    }
    assert!(
        values as u64 > DURATIONS / 3,
        "only {values} durations have a value"
    );
}

fn duration(dice: &mut Dice) -> String {
    const UNITS: &[&str] = &[
        "", "s", "ss", "sec", "secs", "second", "seconds", "m", "M", "mm", "min", "mins", "minute",
        "minutes", "h", "H", "hh", "hour", "hours", "d", "dd", "da", "day", "days", "w", "ww",
        "wee", "week", "weeks", "mo", "mon", "month", "months", "y", "yy", "yea", "year", "years",
        "ho", "mi", "we", "ye", "mont", "x",
    ];
    let mut text = dice.pick(&["", "", "", "-", " "]).to_owned();
    let parts = 1 + dice.below(4);
    for part in 0..parts {
        text += dice.pick(&["0", "1", "2", "12", "1.5", "30", "0.25", "007", "1_0"]);
        text += dice.pick(&["", "", " "]);
        text += dice.pick(UNITS);
        if part + 1 < parts {
            text += dice.pick(&["", " ", " ", "+", "-", " * ", "/", "//", "%", "**", " - "]);
        }
    }
    text
}
