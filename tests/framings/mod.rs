//! The recordings again, wrapped in everything that logs are wrapped in: the verdicts are
//! those of the plain lines.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::LazyLock;

use proptest::prelude::*;
use regex::bytes::Regex;
use ringfence::filter::lines::{Found, Lineup, Mode};
use ringfence::frame::{Decoder, Framing, LINE_BYTES_MAX};
use ringfence::ticket::Failure;

use super::{NOW, folder, lineup};

const STAMP: &str = "2026-11-22T07:40:00.123456789Z";
/// As the decoder puts it in front of lines that have no date.
const SHOWN_STAMP: &str = "2026-11-22T07:40:00Z ";

/// Wraps one line, without its newline.
type Wrap = fn(&[u8]) -> Vec<u8>;

fn docker(line: &[u8]) -> Vec<u8> {
    docker_part(line, true, "stdout")
}

fn docker_part(line: &[u8], ends: bool, stream: &str) -> Vec<u8> {
    let mut log = String::from_utf8_lossy(line).into_owned();
    log.extend(ends.then_some('\n'));
    let log = serde_json::to_string(&log).unwrap();
    format!("{{\"log\":{log},\"stream\":\"{stream}\",\"time\":\"{STAMP}\"}}\n").into_bytes()
}

fn cri(line: &[u8]) -> Vec<u8> {
    cri_part(line, true, "stdout")
}

fn cri_part(line: &[u8], ends: bool, stream: &str) -> Vec<u8> {
    let tag = if ends { "F" } else { "P" };
    [format!("{STAMP} {stream} {tag} ").as_bytes(), line, b"\n"].concat()
}

/// Each line in two parts, as runtimes split long ones.
fn halves(line: &[u8], part: fn(&[u8], bool, &str) -> Vec<u8>) -> Vec<u8> {
    let middle = (line.len() / 2..).find(|place| {
        line.get(*place)
            .is_none_or(|byte| !(0x80..0xc0).contains(byte)) // between letters
    });
    let (first, second) = line.split_at(middle.unwrap());
    [part(first, false, "stderr"), part(second, true, "stderr")].concat()
}

/// With a colour after every third word, in one of the three spellings.
fn coloured(line: &[u8], escape: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for (number, word) in line.split(|byte| *byte == b' ').enumerate() {
        if number > 0 {
            out.push(b' ');
        }
        if number % 3 == 1 {
            out.extend(format!("{escape}[1;31m").bytes());
        }
        out.extend(word);
        if number % 3 == 1 {
            out.extend(format!("{escape}[0m").bytes());
        }
    }
    out
}

fn with_newline(mut line: Vec<u8>) -> Vec<u8> {
    line.push(b'\n');
    line
}

/// As Asterisk writes it; what is no message of its own stays as it is.
fn asterisk_json(line: &[u8]) -> Vec<u8> {
    static FORM: LazyLock<Regex> = LazyLock::new(|| {
        let form = r"(?s-u)^\[([^\]]+)\] ([A-Z]+)\[(\d+)\](\[C-[0-9a-f]+\])? ([\w.]+): (.*)$";
        Regex::new(form).unwrap()
    });
    let Some(groups) = FORM.captures(line) else {
        return with_newline(line.to_vec());
    };
    let text = |group| String::from_utf8_lossy(groups.get(group).map_or(b"", |m| m.as_bytes()));
    let json = serde_json::json!({
        "hostname": "pbx",
        "timestamp": text(1),
        "identifiers": {"lwp": text(3).parse::<i64>().unwrap(), "callid": text(4)},
        "logmsg": {
            "location": {"filename": text(5), "function": "f", "line": 12},
            "level": text(2),
            "message": format!("{}\n", text(6)),
        },
    });
    with_newline(json.to_string().into_bytes())
}

const WRAPS: [(&str, Framing, Wrap); 10] = [
    ("docker", Framing::Docker, docker),
    ("docker, parts", Framing::Docker, |line| {
        halves(line, docker_part)
    }),
    ("cri", Framing::Cri, cri),
    ("cri, parts", Framing::Cri, |line| halves(line, cri_part)),
    ("colours", Framing::Auto, |line| {
        with_newline(coloured(line, "\x1b"))
    }),
    ("colours of syslog", Framing::Auto, |line| {
        with_newline(coloured(line, "#033"))
    }),
    ("colours in words", Framing::Auto, |line| {
        with_newline(coloured(line, "\\x1b"))
    }),
    ("docker, colours", Framing::Docker, |line| {
        docker(&coloured(line, "\x1b"))
    }),
    ("asterisk", Framing::AsteriskJson, asterisk_json),
    ("docker, asterisk", Framing::Docker, |line| {
        docker(asterisk_json(line).strip_suffix(b"\n").unwrap())
    }),
];

fn lines(log: &[u8]) -> impl Iterator<Item = &[u8]> {
    log.split_inclusive(|byte| *byte == b'\n')
}

fn wrapped(log: &[u8], wrap: Wrap) -> Vec<u8> {
    lines(log)
        .flat_map(|line| wrap(line.strip_suffix(b"\n").unwrap_or(line)))
        .collect()
}

/// Cuts a log into blocks of whole lines: one, two, three… lines, a thousand, and again.
fn torn(log: &[u8], longest: usize) -> Vec<Vec<u8>> {
    let mut rest = lines(log).peekable();
    let mut sizes = (1..=longest).cycle();
    let mut blocks = Vec::new();
    while rest.peek().is_some() {
        blocks.push(
            rest.by_ref()
                .take(sizes.next().unwrap())
                .collect::<Vec<_>>()
                .concat(),
        );
    }
    blocks
}

fn decoded<'a>(framing: Framing, blocks: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut decoder = Decoder::new(framing);
    let blocks = blocks.into_iter();
    let out: Vec<u8> = blocks
        .flat_map(|block| decoder.block(block, &mut Vec::new()).to_vec())
        .collect();
    String::from_utf8(out).unwrap()
}

/// What the decoder makes of each block.
fn unwrapped(mut decoder: Decoder, blocks: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let blocks = blocks.iter();
    blocks
        .map(|block| decoder.block(block, &mut Vec::new()).to_vec())
        .collect()
}

fn judge(lineup: Lineup, decoder: Decoder, blocks: &[Vec<u8>]) -> Vec<Failure> {
    judge_plain(lineup, &unwrapped(decoder, blocks))
}

fn judge_plain(mut lineup: Lineup, blocks: &[Vec<u8>]) -> Vec<Failure> {
    let mut failures = Vec::new();
    for block in blocks {
        lineup.block(block, Mode::Replay, NOW, |found| match found {
            Found::Failure(failure) => failures.push(failure),
            Found::Sighting(_) => {}
            Found::Named(named) => panic!("our filters do not look up {}", named.name),
        });
    }
    failures
}

fn recordings() -> [(&'static str, Vec<u8>); 2] {
    [("asterisk", "asterisk-16"), ("kamailio", "kamailio-5.6")].map(|(filter, name)| {
        let log = fs::read(folder().join(format!("{name}.log"))).expect("the recording");
        // Docker and Asterisk's JSON hold no bytes that are no text. Messages that a newline
        // broke are left out: what becomes of them depends on what is read at once.
        let text = String::from_utf8_lossy(&log);
        let is_broken = |line: &&str| {
            let ends = ["SecurityEvent=\"", ",RemoteAddress=\""];
            filter == "asterisk" && ends.iter().filter(|end| line.contains(**end)).count() == 1
        };
        let lines = text.split_inclusive('\n').filter(|line| !is_broken(line));
        (filter, lines.collect::<String>().into_bytes())
    })
}

/// One line after another; the time of one that has none is the framing's. Messages that were
/// put together depend on what is read at once.
fn summary(failures: &[Failure]) -> Vec<(String, u32)> {
    failures
        .iter()
        .filter(|failure| !failure.line.contains('\n'))
        .map(|failure| (failure.addr.to_string(), failure.form))
        .collect()
}

#[test]
fn verdicts_are_those_of_the_plain_lines() {
    for (filter, log) in recordings() {
        let plain = judge(lineup(filter), Decoder::new(Framing::Plain), &torn(&log, 7));
        assert!(plain.len() > 300);
        // Most framings come to the same blocks, which are judged once.
        let mut judged = HashMap::new();
        for (name, framing, wrap) in WRAPS {
            let framed = wrapped(&log, wrap);
            for longest in [1, 40, 1_000_000] {
                for framing in [framing, Framing::Auto] {
                    let blocks = unwrapped(Decoder::new(framing), &torn(&framed, longest));
                    let found = judged
                        .entry(blocks)
                        .or_insert_with_key(|blocks| judge_plain(lineup(filter), blocks));
                    let what = format!("{filter}: {name} as {framing}, {longest} lines");
                    assert_eq!(summary(&plain), summary(found), "{what}");
                    let single = |failure: &&Failure| !failure.line.contains('\n');
                    let singles = plain.iter().filter(single);
                    for (plain, found) in singles.zip(found.iter().filter(single)) {
                        let line = found.line.strip_prefix(SHOWN_STAMP).unwrap_or(&found.line);
                        let cut = plain.line.get(..line.len()).unwrap_or_default();
                        assert_eq!(cut, line, "{what}");
                    }
                }
            }
        }
    }
}

#[test]
fn lines_come_out_as_they_went_in() {
    for (_, log) in recordings() {
        for (name, framing, wrap) in WRAPS {
            let framed = wrapped(&log, wrap);
            let out = decoded(framing, torn(&framed, 9).iter().map(Vec::as_slice));
            for (line, expected) in out.lines().zip(String::from_utf8_lossy(&log).lines()) {
                let line = line.strip_prefix(SHOWN_STAMP).unwrap_or(line);
                assert_eq!(line, expected, "{name}");
            }
            assert_eq!(out.lines().count(), lines(&log).count(), "{name}");
        }
    }
}

/// A plain log's block goes through without a copy.
#[test]
fn plain_blocks_are_not_touched() {
    for (_, log) in recordings() {
        let (mut decoder, mut room) = (Decoder::new(Framing::Auto), Vec::new());
        for block in torn(&log, 30) {
            let lines = decoder.block(&block, &mut room);
            assert!(std::ptr::eq(lines, block.as_slice()));
        }
        assert_eq!(room.capacity(), 0);
        assert_eq!(decoder.odd(), 0);
    }
}

#[test]
fn a_line_without_a_date_gets_the_framings() {
    let line = b" 2(4511) NOTICE: {1 2 REGISTER x} <script>: Auth error for 1@x from 198.51.100.103 cause -2";
    let cri_elsewhere = [b"2026-11-22T13:10:00.5+05:30 stdout F ", &line[..], b"\n"].concat();
    for block in [docker(line), cri(line), cri_elsewhere] {
        let found = judge(lineup("kamailio"), Decoder::new(Framing::Auto), &[block]);
        let [failure] = &found[..] else {
            panic!("{found:?}")
        };
        assert_eq!(failure.addr.to_string(), "198.51.100.103");
        assert_eq!(failure.time.to_string(), "2026-11-22T07:40:00Z");
    }
}

/// Asterisk's console in a container that has a terminal.
#[test]
fn asterisks_console_in_colours() {
    let line = "[Nov 22 07:15:04] \x1b[1;33mNOTICE\x1b[0m[12]: \x1b[1;37mchan_sip.c\x1b[0m:\x1b[1;37m28000\x1b[0m \x1b[1;37mhandle_request_register\x1b[0m: Registration from '<sip:1@192.0.2.10>' failed for '198.51.100.103:5060' - Wrong password\r";
    for wrap in [docker as Wrap, cri, |line| with_newline(line.to_vec())] {
        let block = wrap(line.as_bytes());
        let found = judge(lineup("asterisk"), Decoder::new(Framing::Auto), &[block]);
        assert_eq!(found[0].addr.to_string(), "198.51.100.103");
    }
}

/// What a log looks like, and what it is taken for.
#[test]
fn detection() {
    let stamp = STAMP;
    let table: [(&str, String, String); 9] = [
        (
            "plain",
            "Nov 22 07:15:04 a\n".into(),
            "Nov 22 07:15:04 a\n".into(),
        ),
        (
            "JSON of somebody else's",
            "{\"level\":\"x\",\"log\":\"y\"}\n".into(),
            "{\"level\":\"x\",\"log\":\"y\"}\n".into(),
        ),
        (
            "docker's, inside a plain line",
            format!(
                "Nov 22 07:15:04 ua={{\"log\":\"x\\n\",\"stream\":\"stdout\",\"time\":\"{stamp}\"}}\n"
            ),
            format!(
                "Nov 22 07:15:04 ua={{\"log\":\"x\\n\",\"stream\":\"stdout\",\"time\":\"{stamp}\"}}\n"
            ),
        ),
        (
            "docker's, with something behind it",
            format!("{{\"log\":\"x\\n\",\"stream\":\"stdout\",\"time\":\"{stamp}\"}}' failed\n"),
            format!("{{\"log\":\"x\\n\",\"stream\":\"stdout\",\"time\":\"{stamp}\"}}' failed\n"),
        ),
        (
            "docker's, with labels",
            format!(
                "{{\"log\":\"x\\n\",\"stream\":\"stdout\",\"attrs\":{{\"a\":\"b\"}},\"time\":\"{stamp}\"}}\n"
            ),
            format!("{SHOWN_STAMP}x\n"),
        ),
        (
            "syslog's ISO dates",
            format!("{stamp} sip1 kamailio[7]: x\n"),
            format!("{stamp} sip1 kamailio[7]: x\n"),
        ),
        (
            "CRI, with more tags",
            format!("{stamp} stderr F:a:b x\n"),
            format!("{SHOWN_STAMP}x\n"),
        ),
        (
            "a beginning that was torn off",
            format!("p 1\n{stamp} stdout F x\n"),
            format!("p 1\n{SHOWN_STAMP}x\n"),
        ),
        (
            "another runtime later",
            format!(
                "{{\"log\":\"x\\n\",\"stream\":\"stdout\",\"time\":\"{stamp}\"}}\n{}{stamp} stdout F y\n",
                "p\n".repeat(100)
            ),
            format!("{SHOWN_STAMP}x\n{}{SHOWN_STAMP}y\n", "p\n".repeat(100)),
        ),
    ];
    for (name, log, expected) in table {
        for longest in [1, 1000] {
            let blocks = torn(log.as_bytes(), longest);
            let out = decoded(Framing::Auto, blocks.iter().map(Vec::as_slice));
            assert_eq!(out, expected, "{name}");
        }
    }
}

#[test]
fn an_override_is_obeyed_and_what_does_not_fit_it_is_counted() {
    let (docker, cri) = (docker(b"x"), cri(b"x"));
    for (framing, fits) in [
        (Framing::Auto, [true, true]),
        (Framing::Plain, [false, false]),
        (Framing::Docker, [true, false]),
        (Framing::Cri, [false, true]),
        (Framing::AsteriskJson, [false, false]),
    ] {
        assert_eq!(framing.word().parse(), Ok(framing));
        for (line, fits) in [&docker, &cri].into_iter().zip(fits) {
            let mut decoder = Decoder::new(framing);
            let out = decoder.block(line, &mut Vec::new()).to_vec();
            match fits {
                true => assert_eq!(out, format!("{SHOWN_STAMP}x\n").as_bytes()),
                false => assert_eq!(&out, line),
            }
            let counts = !fits && framing != Framing::Plain;
            assert_eq!(decoder.odd(), u64::from(counts), "{framing}");
        }
    }
    let error = "podman".parse::<Framing>().unwrap_err().to_string();
    assert_eq!(
        error,
        "`podman` is not a framing; auto, plain, docker, cri, asterisk-json and syslog are"
    );
}

/// Asterisk writes an attacker's newlines into files; in its JSON they are escaped, and
/// the forged line is a part of the line that it was put into.
#[test]
fn a_newline_in_a_message_begins_no_line() {
    let forged = "[2026-11-22 07:51:22.000] NOTICE[1000] chan_sip.c: Registration from '1' failed for '203.0.113.20:5060' - Wrong password";
    let line = format!(
        "[Nov 22 07:51:22] NOTICE[4741][C-0000006b] chan_sip.c: Call from '' (198.51.100.121:38319) to extension 'z0\r\n{forged}\n' rejected because extension not found in context 'public'."
    );
    for block in [
        asterisk_json(line.as_bytes()),
        docker(asterisk_json(line.as_bytes()).strip_suffix(b"\n").unwrap()),
    ] {
        assert_eq!(decoded(Framing::Auto, [&block[..]]).lines().count(), 1);
        let found = judge(lineup("asterisk"), Decoder::new(Framing::Auto), &[block]);
        assert!(
            found
                .iter()
                .all(|failure| failure.addr.to_string() == "198.51.100.121"),
            "{found:?}"
        );
    }
}

#[test]
fn a_line_too_long_and_one_with_a_lost_part_are_dropped() {
    assert_eq!(LINE_BYTES_MAX, ringfence::watch::LINE_BYTES_MAX);
    let long = "Nov 22 07:15:04 ".repeat(1000);
    let part = |ends| cri_part(long.as_bytes(), ends, "stdout");
    let other = cri_part(b"Nov 22 07:15:04 other", true, "stderr");
    let mut decoder = Decoder::new(Framing::Auto);
    for _ in 0..1000 {
        assert_eq!(decoder.block(&part(false), &mut Vec::new()), b"");
    }
    assert_eq!(
        decoder.block(&other, &mut Vec::new()),
        b"Nov 22 07:15:04 other\n"
    );
    assert_eq!(decoder.block(&part(true), &mut Vec::new()), b"");
    assert_eq!(
        decoder.block(&part(true), &mut Vec::new()).len(),
        long.len() + 1
    );
    assert_eq!(decoder.block(&part(false), &mut Vec::new()), b"");
    decoder.lost();
    assert_eq!(decoder.block(&part(true), &mut Vec::new()), b"");
    assert_eq!(
        decoder.block(&part(true), &mut Vec::new()).len(),
        long.len() + 1
    );
    assert_eq!(decoder.given_up(), 2);
}

#[test]
fn scan_reads_dockers_log_as_it_reads_the_plain_one() {
    let folder = tempfile::tempdir().unwrap();
    let scan = |log: &Path| {
        let output = Command::new(env!("CARGO_BIN_EXE_ringfence"))
            .args([
                "scan",
                "--json",
                "--jail",
                "kamailio",
                "--config-dir",
                "/nonexistent",
            ])
            .arg(log)
            .env("TZ", "UTC")
            .output()
            .unwrap();
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        (report["failures"].clone(), report["offenders"].clone())
    };
    let [_, (_, log)] = recordings();
    let plain = folder.path().join("plain.log");
    fs::write(&plain, &log).unwrap();
    let framed = folder.path().join("abc-json.log");
    fs::write(&framed, wrapped(&log, docker)).unwrap();
    assert_eq!(scan(&plain).0, 345);
    assert_eq!(scan(&plain), scan(&framed));
}

#[test]
fn the_key_of_a_jail_is_obeyed_and_checked() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("jail.d")).unwrap();
    let log = folder.path().join("abc-json.log");
    let line = b"Nov 22 07:49:07 sip1 kamailio[7]: NOTICE: {1 2 REGISTER x} <script>: Auth error for 1@x from 198.51.100.103 cause -2";
    fs::write(&log, docker(line)).unwrap();
    let run = |framing: &str, arguments: &[&str]| {
        let jail = format!("[kamailio]\nframing = {framing}\n");
        fs::write(folder.path().join("jail.d/a.conf"), jail).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_ringfence"))
            .arg("--config-dir")
            .arg(folder.path())
            .args(arguments)
            .output()
            .unwrap();
        String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
    };
    for (framing, failures) in [("auto", 1), ("docker", 1), ("plain", 0), ("cri", 0)] {
        let scan = ["scan", "--jail", "kamailio", log.to_str().unwrap()];
        let text = run(framing, &scan);
        assert!(
            text.contains(&format!("1 line, {failures} failure")),
            "{framing}: {text}"
        );
    }
    let text = run("podman", &["check"]);
    assert!(
        text.contains("framing: `podman` is not a framing; auto, plain, docker,"),
        "{text}"
    );
}

/// In a tree of fail2ban's, lines stay as they are: its filters may be written for docker's
/// JSON. What is asked for happens there too.
#[test]
fn a_tree_sees_what_fail2ban_sees_unless_it_asks() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("filter.d")).unwrap();
    let log = folder.path().join("abc-json.log");
    fs::write(&log, docker(b"Nov 22 07:49:07 sip1 refused 198.51.100.103")).unwrap();
    for (key, failregex, failures) in [
        ("", r#"^\{"log":".* refused <HOST>\\n""#, 1),
        ("", "^sip1 refused <HOST>$", 0),
        ("framing = auto", "^ ?sip1 refused <HOST>$", 1),
    ] {
        let jail = format!(
            "[j]\nenabled = true\nfilter = f\nlogpath = {}\n{key}\n",
            log.display()
        );
        fs::write(folder.path().join("jail.conf"), jail).unwrap();
        let filter = format!("[Definition]\nfailregex = {failregex}\n");
        fs::write(folder.path().join("filter.d/f.conf"), filter).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_ringfence"))
            .args(["--config-dir", "/nonexistent", "scan", "--jail", "j", "-c"])
            .args([folder.path(), &log])
            .output()
            .unwrap();
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(
            text.contains(&format!("1 line, {failures} failure")),
            "{failregex}: {text}"
        );
    }
}

/// Whoever gets a line of a framing into a plain log changes nothing for the others.
#[test]
fn a_framed_line_in_a_plain_log_changes_no_verdict() {
    for (filter, log) in recordings() {
        let plain = judge(lineup(filter), Decoder::new(Framing::Plain), &torn(&log, 7));
        let mut mixed = Vec::new();
        for (number, line) in lines(&log).enumerate() {
            match number % 50 {
                0 => mixed.extend(docker_part(b"x", number % 100 == 0, "stdout")),
                20 => mixed.extend(cri_part(b"\x1b[", false, "stderr")),
                _ => {}
            }
            mixed.extend(line);
        }
        for longest in [1, 30, 1_000_000] {
            let blocks = torn(&mixed, longest);
            let found = judge(lineup(filter), Decoder::new(Framing::Auto), &blocks);
            assert_eq!(summary(&plain), summary(&found), "{filter}");
        }
    }
}

fn any_line() -> impl Strategy<Value = String> {
    prop_oneof!["[^\n\r]{0,80}", "[ -~]{0,300}", "\\PC{0,40}"]
        .prop_map(|text| format!("[Nov 22 07:15:04] {text}"))
}

proptest! {
    /// Lines of two outputs, in any number of parts, their parts interleaved, torn anywhere.
    #[test]
    fn parts_are_joined(
        out in proptest::collection::vec((any_line(), 1..5_usize), 0..8),
        err in proptest::collection::vec((any_line(), 1..5_usize), 0..8),
        turns in proptest::collection::vec(any::<bool>(), 80),
        longest in 1..20_usize,
        is_docker: bool,
    ) {
        let part = if is_docker { docker_part } else { cri_part };
        let parts = |lines: &[(String, usize)], stream: &'static str| {
            let mut wrapped = Vec::new();
            for (line, count) in lines {
                let letters: Vec<char> = line.chars().collect();
                let pieces: Vec<String> =
                    letters.chunks(letters.len().div_ceil(*count)).map(String::from_iter).collect();
                for (number, piece) in pieces.iter().enumerate() {
                    let ends = number + 1 == pieces.len();
                    wrapped.push((part(piece.as_bytes(), ends, stream), ends.then(|| line.clone())));
                }
            }
            wrapped
        };
        let mut queues = [parts(&out, "stdout").into_iter(), parts(&err, "stderr").into_iter()];
        let (mut log, mut expected) = (Vec::new(), String::new());
        let order = turns.into_iter().map(usize::from);
        for queue in order.chain([0; 80]).chain([1; 80]) {
            if let Some((bytes, ended)) = queues[queue].next() {
                log.extend(bytes);
                expected.extend(ended.map(|line| line + "\n"));
            }
        }
        // The decoder takes colours away, which such lines may hold by chance.
        prop_assume!(!expected.contains("\x1b[") && !expected.contains("\\x1b[") && !expected.contains("#033["));
        let blocks = torn(&log, longest);
        prop_assert_eq!(decoded(Framing::Auto, blocks.iter().map(Vec::as_slice)), expected);
    }

    /// Whatever comes, lines stay lines and nothing panics; what is plain stays as it is.
    #[test]
    fn anything_goes(
        bytes in proptest::collection::vec(any::<u8>(), 0..400),
        head in prop_oneof![
            Just(String::new()),
            Just("{\"log\":\"".to_owned()),
            Just(format!("{STAMP} stdout P ")),
            Just("\x1b[1".to_owned()),
        ],
        framing in prop_oneof![Just(Framing::Auto), Just(Framing::Docker), Just(Framing::Cri), Just(Framing::AsteriskJson)],
    ) {
        let block = [head.as_bytes(), &bytes, b"\n"].concat();
        let mut decoder = Decoder::new(framing);
        let mut room = Vec::new();
        let out = decoder.block(&block, &mut room);
        prop_assert!(out.is_empty() || out.ends_with(b"\n"));
        prop_assert!(lines(out).count() <= lines(&block).count());
    }
}
