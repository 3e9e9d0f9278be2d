//! `fail2ban-regex` beside the real one, which must be installed: these tests do not skip.
//!
//! Our program runs under that name, by a link, with the same arguments in the same folder;
//! what both print and their exit codes are compared byte for byte. What differs on purpose
//! is masked in [`masked`], and nothing else is: the time that it took, what a line without
//! a date counts as (now), how we write a regex, in which order a connection's groups come,
//! and what stands behind the word ERROR.
//!
//! The filters of `/etc/fail2ban` are tried on the sample logs that come with fail2ban;
//! both stay where they are. Lines with an address that cannot be one are left out: fail2ban
//! takes it for a name.

#[path = "common/fail2ban.rs"]
mod fail2ban;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use fail2ban::Fail2ban;
use regex::Regex;
use ringfence::time::Time;

const FAIL2BAN_REGEX: &str = "/usr/bin/fail2ban-regex";
/// What both find in their environment.
const ENVIRONMENT: [(&str, &str); 2] = [("TZ", "UTC"), ("LC_ALL", "C.UTF-8")];
const STOCK_FILTERS: &str = "/etc/fail2ban/filter.d";
const SAMPLE_LOGS: &str = "/usr/lib/python3/dist-packages/fail2ban/tests/files/logs";

const FILES: &[(&str, &str)] = &[
    (
        "conf/filter.d/two.conf",
        r"[Definition]
failregex = login from <HOST>
            bad <F-X>\w+</F-X> from <ADDR>
            never <HOST>
            user <F-ALT_USER>\w+</F-ALT_USER> <HOST>$
ignoreregex = user ok
              user fine
              nothing
",
    ),
    (
        "two.log",
        "2026-11-22 07:06:05 a: bad login from 192.0.2.1 user bob
# comment
2026-11-22 07:06:06 a: bad login from 192.0.2.1 user ok

no date here bad login from 192.0.2.2
2026-11-22 07:06:07 a: good login from 192.0.2.1 user fine
\x20\x20
Nov 22 07:06:07 a: other line with trailing blank \x20
Feb 30 07:06:07 a: bad login from 192.0.2.9
2026-11-22 07:06:08 a: bad login from localhost user x
2026-11-22 07:06:08 a: bad login from nosuch.invalid user x
2026-11-22 07:06:08 a: bad login from 2001:db8::1 user x
2026-11-22 07:06:08 a: user zed 192.0.2.77
2020-11-22 07:06:08 a: user zed 192.0.2.77
",
    ),
    (
        "conf/filter.d/connection.conf",
        r"[Definition]
prefregex = ^<F-MLFID> \w+\[\d+\]:</F-MLFID> <F-CONTENT>.+</F-CONTENT>$
failregex = ^login by <F-USER>\w+</F-USER>$
            ^<F-NOFAIL>connect</F-NOFAIL> from <HOST>$
            ^failed for <F-USER>\w+</F-USER> from <ADDR>$
            ^failed <F-X>for</F-X>
            ^<F-MLFFORGET>closed</F-MLFFORGET>$
            ^<F-MLFGAINED>accepted</F-MLFGAINED> <HOST>$
ignoreregex = zzz
",
    ),
    (
        "connection.log",
        "2026-11-22 07:06:05 a[1]: connect from 192.0.2.1
2026-11-22 07:06:05 a[1]: login by bob
2026-11-22 07:06:06 a[1]: failed for bob from 192.0.2.1
2026-11-22 07:06:07 a[1]: failed for eve from 192.0.2.1
2026-11-22 07:06:08 a[1]: closed
2026-11-22 07:06:08 a[2]: login by zed
2026-11-22 07:06:08 a[2]: other thing
2026-11-22 07:06:08 no connection
2026-11-22 07:06:08 a[3]: login by a
2026-11-22 07:06:08 a[3]: login by b
2026-11-22 07:06:08 a[3]: connect from 192.0.2.3
2026-11-22 07:06:08 a[4]: login by a
2026-11-22 07:06:08 a[4]: accepted 192.0.2.4
2026-11-22 07:06:08 a[5]: connect from 192.0.2.5
2026-11-22 07:06:08 a[5]: closed
",
    ),
    (
        "conf/filter.d/several.conf",
        r"[Definition]
failregex = ^ \w+: start <F-USER>\w+</F-USER><SKIPLINES>^ \w+: end <HOST>$
            ^ \w+: single <HOST>$
ignoreregex = start ok
maxlines = 4
datepattern = ^%%Y-%%m-%%d %%H:%%M:%%S
",
    ),
    (
        "several.log",
        "2026-11-22 07:06:05 a: single 192.0.2.1
2026-11-22 07:06:05 a: start bob
2026-11-22 07:06:06 a: skip
2026-11-22 07:06:07 a: end 192.0.2.2
2026-11-22 07:06:08 a: lost
2026-11-22 07:06:08 a: start ok
2026-11-22 07:06:08 a: end 192.0.2.2
2026-11-22 07:06:08 a: start far
2026-11-22 07:06:08 a: 1
2026-11-22 07:06:08 a: 2
2026-11-22 07:06:08 a: 3
2026-11-22 07:06:08 a: end 192.0.2.2
",
    ),
    (
        "conf/filter.d/quiet.conf",
        r"[Definition]
failregex = ^ <F-NOFAIL>\w+</F-NOFAIL> login from <HOST>
            to <HOST>
",
    ),
    (
        "conf/filter.d/local.local",
        "[Definition]\nfailregex = l <HOST>\n",
    ),
    (
        "conf/filter.d/wrong.txt",
        "[Definition]\nfailregex = l <HOST>\n",
    ),
    (
        "alone.conf",
        "[Definition]\nfailregex = from <HOST>\nignoreregex = bob\n",
    ),
];

/// Sentences that stand behind ERROR in our words.
const OUR_ERRORS: &str =
    "Unable to compile|failed to load filter|Failed to set datepattern|Unknown or unsupported";

/// A folder with the files of the tests, and our program under the other name in it.
struct Bench {
    folder: tempfile::TempDir,
    fail2ban: Fail2ban,
    masks: Vec<(Regex, &'static str)>,
    differences: String,
    count: usize,
}

impl Bench {
    fn new() -> Bench {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in FILES {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let lines = |range: std::ops::RangeInclusive<u32>| -> String {
            range.map(|n| format!("line {n} 192.0.2.1\n")).collect()
        };
        fs::write(folder.path().join("19.log"), lines(1..=19)).unwrap();
        fs::write(folder.path().join("20.log"), lines(1..=20)).unwrap();
        let odd = b"a 192.0.2.1 \r\nb\0c 192.0.2.2  \n\xff\xfe bad 192.0.2.3\nlast 192.0.2.4";
        fs::write(folder.path().join("odd.log"), odd).unwrap();
        symlink(
            env!("CARGO_BIN_EXE_ringfence"),
            folder.path().join("fail2ban-regex"),
        )
        .unwrap();
        let mask = |regex: &str, with| (Regex::new(regex).unwrap(), with);
        Bench {
            folder,
            fail2ban: Fail2ban::start("fail2ban.client.fail2banregex", &ENVIRONMENT),
            masks: vec![
                mask(r"\[processed in [\d.]+ sec\]", "[processed]"),
                mask(r"(?m)^\|      # regex:.*$", "|      # regex"),
                // What addresses are in a prefregex is written in our own way.
                mask(r"(?m)^\|  .*\(\?P<ip4>.*$", "|  prefregex"),
                // One layout has more forms since fail2ban 1.1.1.
                mask(
                    r"\(\?:-\|T\|  \?\)(%ExH|Ex24hour):\?(%ExM|ExMinute):\?",
                    "(?:T|  ?)$1$2",
                ),
                // A float, or an integer where the line names its zone.
                mask(r"\t(\d+)(\.0)?,\t", "\t$1,\t"),
                mask(r"\t17\d{8}\.\d{4,},\t", "\tnow,\t"),
                mask(r"\b1[78]\d{8}\.\d{4,}\|", "now|"),
                mask(r"(?m)^Real  filter options : .*\n", ""),
            ],
            differences: String::new(),
            count: 0,
        }
    }

    /// Runs ours.
    fn run(&self, program: &Path, words: &[&str]) -> (Option<i32>, String) {
        let output = Command::new(program)
            .args(words)
            .current_dir(self.folder.path())
            .envs(ENVIRONMENT)
            .output()
            .expect("our own program");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.code(), text)
    }

    /// Runs both and keeps what differs.
    fn compare(&mut self, words: &[&str]) {
        self.count += 1;
        let theirs = self.fail2ban.run(self.folder.path(), FAIL2BAN_REGEX, words);
        let (code, theirs) = (Some(theirs.code), theirs.stdout);
        let (our_code, ours) = self.run(&self.folder.path().join("fail2ban-regex"), words);
        let (theirs, ours) = (self.masked(&theirs), self.masked(&ours));
        if code == our_code && theirs == ours {
            return;
        }
        self.differences += &format!("{words:?}: {code:?}, ours {our_code:?}\n");
        let (mut theirs, mut ours) = (theirs.lines(), ours.lines());
        loop {
            match (theirs.next(), ours.next()) {
                (None, None) => break,
                (theirs, ours) if theirs == ours => {}
                (theirs, ours) => {
                    self.differences += &format!("  - {theirs:?}\n  + {ours:?}\n");
                    break;
                }
            }
        }
    }

    fn masked(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (regex, with) in &self.masks {
            text = regex.replace_all(&text, *with).into_owned();
        }
        let errors = Regex::new(&format!(r"(?s)(ERROR: ({OUR_ERRORS})).*")).unwrap();
        text = errors.replace(&text, "$1").into_owned();
        let lines = text.lines().map(|line| match line.contains("'mlfid': ") {
            true if line.starts_with('[') => of_connection(line),
            _ => undated(line),
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    fn finish(self, at_least: usize) {
        assert!(self.count >= at_least, "only {} comparisons", self.count);
        assert!(self.differences.is_empty(), "{}", self.differences);
    }
}

/// A row without the order of its groups, and without those that took no part.
fn of_connection(row: &str) -> String {
    let pair = Regex::new(r"'(\w+)': ('(?:[^'\\]|\\.)*'|\{[^}]*\}|None|[^,}]*)").unwrap();
    let mut groups = BTreeMap::new();
    for pair in pair.captures_iter(row) {
        // The order of a set is any.
        let mut value: Vec<&str> = pair[2].trim_matches(['{', '}']).split(", ").collect();
        value.sort_unstable();
        if &pair[2] != "None" {
            groups.insert(pair[1].to_owned(), value.join(", "));
        }
    }
    let head = row.split("\t{").next().unwrap_or_default();
    format!("{head} {groups:?}")
}

/// A line of today in a list of findings: it has no date, and counts when it was read.
fn undated(line: &str) -> String {
    let now = jiff::Timestamp::from_second(Time::now().as_secs()).unwrap();
    let today = now.strftime("%a %b %d ").to_string();
    match line.split_once(&today) {
        Some((head, tail)) if line.starts_with("|      ") && !tail.starts_with("07:") => {
            format!("{head}now")
        }
        _ => line.to_owned(),
    }
}

/// Options that change what is printed.
const OPTIONS: &[&[&str]] = &[
    &[],
    &["-v"],
    &["-vv", "--VD"],
    &["--no-check-all", "-v"],
    &["-o", "ip"],
    &["-o", "row"],
    &["-o", "msg"],
    &["-o", "matches"],
    &["-o", "user"],
    &["-o", "<F-USER> <ip> <matches>|<msg>"],
    &["--print-all-matched", "--print-no-ignored"],
    &["--print-all-ignored", "--print-no-missed"],
];

#[test]
fn our_own_filters_with_all_options() {
    let mut bench = Bench::new();
    for options in OPTIONS {
        for name in ["two", "connection", "several"] {
            let log = format!("{name}.log");
            let mut words = vec!["-c", "conf"];
            words.extend(*options);
            words.extend([log.as_str(), name]);
            bench.compare(&words);
        }
    }
    for lines in ["1", "2", "3", "8"] {
        bench.compare(&["-c", "conf", "-L", lines, "-v", "several.log", "several"]);
        bench.compare(&["-c", "conf", "-L", lines, "two.log", "two"]);
    }
    bench.finish(40);
}

#[test]
fn recorded_logs() {
    let mut bench = Bench::new();
    let logs = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/logs");
    let log = |name: &str| logs.join(name).display().to_string();
    let (asterisk, kamailio) = (log("asterisk-16.log"), log("kamailio-5.6.log"));
    for (place, options) in OPTIONS.iter().enumerate() {
        let mut words = options.to_vec();
        match place % 2 {
            0 => words.extend([asterisk.as_str(), "asterisk"]),
            _ => words.extend([kamailio.as_str(), "pike.*<HOST>", "UNBLOCK"]),
        }
        bench.compare(&words);
    }
    bench.finish(12);
}

/// The dates: a line for each way to write a pattern.
#[test]
fn datepatterns() {
    let mut bench = Bench::new();
    let line = "2026-11-22 07:06:05 a: bad login from 192.0.2.1 at 1795331165.250";
    for pattern in [
        "%d|%f|%H",
        "%X|%y|%Y|%z|%Z|%%",
        "{^LN-BEG}%Y-%m-%d",
        "^%Y",
        "{^LN-BEG}",
        "{DEFAULT}",
        "{NONE}",
        "epoch",
        "{EPOCH}",
        "{LEPOCH}",
        "TAI64N",
        "{DATE}",
        "^{DATE}",
        "{UNB}%Y",
        "**%Y**",
        "%Y\n%H:%M:%S",
        "x%Y\n{^LN-BEG}",
        "%Y\n{DEFAULT}",
        "Year%Y",
        "%ExY-%Exm-%Exd %ExH:%ExM:%ExS",
    ] {
        bench.compare(&["-d", pattern, "-vv", "--VD", line, "from <ADDR>"]);
    }
    for zone in ["+0200", "CET", "UTC-03:00"] {
        bench.compare(&["--timezone", zone, "-v", line, "from <ADDR>"]);
        bench.compare(&["--TZ", zone, "-o", "row", line, "from <ADDR>"]);
    }
    bench.finish(26);
}

#[test]
fn arguments_and_mistakes() {
    let mut bench = Bench::new();
    let line = "2026-11-22 07:06:05 a: bad login from 192.0.2.1 user bob";
    let long = "2026-11-22 07:06:05 a login from 192.0.2.1 to 192.0.2.2";
    for words in [
        &[line, "from <HOST>"][..],
        &[line, "from <HOST>", "bob"],
        &["-v", "--raw", "--print-all-mat", line, "from <HOST>"],
        &["--usedns=raw", "-v", "x host.invalid", "x <HOST>"],
        &["--usedns", "no", "-v", "x host.invalid", "x <HOST>"],
        &["x", "nothing"],
        &["x", "nosuchfilter"],
        &["x", "(<HOST>"],
        &["x", "<ADDR>", "("],
        &["-o", "ip", "x", "("],
        &["x", ""],
        &["", "<ADDR>"],
        &["-L", "-1", "x", "<ADDR>"],
        &["-L0", "x", "<ADDR>"],
        &["--timezone=X/Y", "x", "<ADDR>"],
        &["-d", "%q", "x", "<ADDR>"],
        &["-c", "conf", "x", "two.conf"],
        &["-c", "conf", "x", "two[mode=x, other=\"a,b\"]"],
        &["-c", "conf", "x", "two[]"],
        &["-c", "conf", "x", "local"],
        &["-c", "conf", "x", "wrong.txt"],
        &["-c", "conf", "x", "two[a=b"],
        &["-c", "conf", "x", "several"],
        &["-c", "conf", "-L", "3", "-d", "%Y", "x", "several"],
        &["-c", "conf", "x", "two[maxlines=3]"],
        &["-c", "conf", "-v", long, "quiet"],
        &["-c", "conf", "-v", "--no-check-all", long, "quiet"],
        &["-c", "conf", "-o", "row", long, "quiet"],
        &["x", "./conf/filter.d/two.conf"],
        &["x", "./alone.conf"],
        &["x", "alone.conf"],
        &[line, "./alone.conf[a=b]"],
        &["odd.log", "<ADDR>", "--print-all-matched"],
        &["-o", "msg", "odd.log", "<ADDR>"],
        &[
            "-e",
            "latin1",
            "-o",
            "row",
            "odd.log",
            "<ADDR>.*<F-Z>[^x]+</F-Z>",
        ],
        &["-e", "ascii", "--print-all-matched", "odd.log", "<ADDR>"],
        &["19.log", "nothing <HOST>"],
        &["20.log", "nothing <HOST>"],
        &["20.log", "<HOST>", "line"],
        &["--print-all-ignored", "20.log", "<HOST>", "line"],
        &["--print-all-missed", "20.log", "nothing <HOST>"],
        &["-L", "2", "20.log", "nothing <HOST>"],
        &["1\n2\n3\n4\n5", "<ADDR>"],
        &["1\n2\n3\n4\n5\n6\n", "<ADDR>"],
        &["-o", "row", "localhost id7", "<HOST> <F-ID/>"],
        &["-o", "row", "x 192.0.2.0/24 id7", "<SUBNET> <F-ID/>"],
        &["-o", "ip", "x 192.0.2.0/24 id7", "<SUBNET> <F-ID/>"],
        &[
            "-o",
            "<ip>|<fid>|<family>|<ip-rev>|<ip-host>|<F-FID>|<sp>|<br>|<failures>|<x>",
            "2001:db8::1 id7",
            "<ADDR> <F-ID/>",
        ],
        &[
            "-o",
            "row",
            "x t1 t2 192.0.2.0",
            r"<F-TUPLE_USER_1>\w1</F-TUPLE_USER_1> <F-TUPLE_USER_2>\w+</F-TUPLE_USER_2> <ADDR>",
        ],
        &[
            "-o",
            "row",
            "x \"it's\" 192.0.2.1 \\ é\t.",
            "<F-U>.*</F-U> <ADDR><F-Q>.*</F-Q>",
        ],
        &["k 192.0.2.1", "<F-NOFAIL>k</F-NOFAIL> <ADDR>"],
        &[
            "--no-check-all",
            "k 192.0.2.1",
            "<F-NOFAIL>k</F-NOFAIL> <ADDR>",
        ],
        &[
            "-o",
            "row",
            "k 192.0.2.1",
            "<F-MLFGAINED>k</F-MLFGAINED> <ADDR>",
        ],
        &["--nope"],
        &["-L"],
        &["-L", "x", "a", "b"],
        &["--print-all", "a", "b"],
    ] {
        bench.compare(words);
    }
    bench.finish(50);
}

/// Every other filter that comes with fail2ban, on its sample log; all of them with
/// `RINGFENCE_ALL_FILTERS` in the environment, for a minute more.
#[test]
fn stock_filters() {
    let mut bench = Bench::new();
    let mut names: Vec<PathBuf> = fs::read_dir(STOCK_FILTERS)
        .expect("fail2ban must be installed: tests/install")
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|end| end == "conf"))
        .collect();
    names.sort();
    if std::env::var_os("RINGFENCE_ALL_FILTERS").is_none() {
        names = names.into_iter().step_by(2).collect();
    }
    let address = Regex::new(r"(?:\d{1,3}\.){3}\d{1,3}").unwrap();
    let possible = |line: &&str| {
        let mut addresses = address.find_iter(line);
        addresses.all(|found| found.as_str().parse::<std::net::Ipv4Addr>().is_ok())
    };
    for (place, path) in names.iter().enumerate() {
        let name = path.file_stem().unwrap().to_string_lossy();
        let Ok(sample) = fs::read(Path::new(SAMPLE_LOGS).join(&*name)) else {
            continue; // a file that others include
        };
        let sample = String::from_utf8_lossy(&sample);
        let lines: Vec<&str> = sample.lines().filter(possible).collect();
        fs::write(
            bench.folder.path().join("sample.log"),
            lines.join("\n") + "\n",
        )
        .unwrap();
        let options: &[&str] = match place % 3 {
            0 => &["-v", "--print-all-matched"],
            1 => &["--no-check-all", "-v"],
            _ => &["-o", "row"],
        };
        let mut words = options.to_vec();
        words.extend(["sample.log", &*name]);
        bench.compare(&words);
    }
    bench.finish(40);
}

/// What only we have.
#[test]
fn json_and_times() {
    let bench = Bench::new();
    let program = bench.folder.path().join("fail2ban-regex");
    let (code, text) = bench.run(&program, &["--json", "-c", "conf", "two.log", "two"]);
    assert_eq!(code, Some(0));
    let report: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(report["lines"]["total"], 12);
    assert_eq!(report["lines"]["ignored"], 2);
    assert_eq!(report["lines"]["missed"], 3);
    assert_eq!(report["failregex"][0]["hits"], 5);
    assert_eq!(report["failregex"][0]["asked"], 12);
    assert!(report["failregex"][0]["nanoseconds"].as_u64() > Some(0));
    assert_eq!(report["ignoreregex"][0]["hits"], 2);
    assert_eq!(report["missed"].as_array().map(Vec::len), Some(3));
    assert!(report["matched"].is_null());
    let (_, text) = bench.run(&program, &["--json", "20.log", "nothing <HOST>"]);
    let report: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert!(report["missed"].is_null(), "too many to print: {text}");
    let (code, text) = bench.run(&program, &["--json", "x", "("]);
    assert_eq!((code, text.as_str()), (Some(255), ""));
    let (_, text) = bench.run(&program, &["--time", "20.log", "<ADDR>"]);
    assert!(text.contains("|      # asked: 20, time: 0."), "{text}");
    let (code, text) = bench.run(&program, &["systemd-journal", "<ADDR>"]);
    assert_eq!(code, Some(255));
    assert!(text.contains("ERROR: systemd journals are not read yet"));

    // The verb takes the same words, and knows our own filters.
    let verb = Path::new(env!("CARGO_BIN_EXE_ringfence"));
    let asterisk = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/logs/asterisk-16.log");
    let asterisk = asterisk.display().to_string();
    let words = [
        "--config-dir",
        "none",
        "regex",
        "-o",
        "ip",
        &asterisk,
        "asterisk",
    ];
    let (code, text) = bench.run(verb, &words);
    assert_eq!(code, Some(0));
    assert!(text.lines().count() > 100, "{text}");
    let (code, text) = bench.run(verb, &["regex", "--help"]);
    assert_eq!(code, Some(0));
    assert!(text.starts_with("Usage: ringfence regex"), "{text}");
}
