//! Following logs, told as scripts: what is done to the files, and what comes out.
//!
//! In a script `|` is a newline. Every read is one sweep later than the last, so
//! that no test waits for the kernel or for time. Printed is each line as
//! `file@offset line`, with a `~` before it if it is not live, then the notices
//! after a `!`, or `nothing`.

mod inlets;
mod kernel;
mod model;

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use expect_test::{Expect, expect};
use ringfence::watch::{
    FILES_MAX, FileState, LINE_BYTES_MAX, ROTATE_WAIT, SWEEP, Source, SourceId, Start,
    TURN_BYTES_MAX, Tail,
};
use tempfile::TempDir;

/// A folder of logs, their writers, and one reader.
struct Scene {
    dir: TempDir,
    handles: HashMap<String, File>,
    tail: Option<Tail>,
    now: Instant,
    /// Stands for the time of writing, so that the order of files is certain.
    written: SystemTime,
    out: String,
}

impl Scene {
    fn new() -> Self {
        Scene {
            dir: tempfile::tempdir().unwrap(),
            handles: HashMap::new(),
            tail: None,
            now: Instant::now(),
            written: SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000),
            out: String::new(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn sources(&self, patterns: &[&str]) -> Vec<Source> {
        let mut start = Start::Tail;
        let mut sources = Vec::new();
        for pattern in patterns {
            match *pattern {
                "head" => start = Start::Head,
                "tail" => start = Start::Tail,
                pattern => sources.push(Source {
                    id: SourceId(sources.len()),
                    pattern: self.path(pattern).display().to_string(),
                    start,
                }),
            }
        }
        sources
    }

    fn append(&mut self, file: &mut File, text: &str) {
        file.write_all(&bytes(text)).unwrap();
        self.stamp(file);
    }

    fn stamp(&mut self, file: &File) {
        self.written += Duration::from_secs(1);
        file.set_modified(self.written).unwrap();
    }

    fn step(&mut self, line: &str) {
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        let words: Vec<&str> = rest.split_whitespace().collect();
        let (name, text) = rest.split_once(' ').unwrap_or((rest, ""));
        match verb {
            "follow" => {
                let sources = self.sources(&words);
                match &mut self.tail {
                    Some(tail) => tail.set_sources(sources),
                    None => self.tail = Some(Tail::new(sources, Vec::new())),
                }
            }
            "restart" => {
                let positions = self.tail.take().unwrap().positions();
                self.tail = Some(Tail::new(self.sources(&words), positions));
            }
            "write" => {
                let path = self.path(name);
                let mut file = append_to(&path);
                self.append(&mut file, text);
            }
            "hold" => {
                let file = append_to(&self.path(words[0]));
                self.handles.insert(words[1].to_owned(), file);
            }
            "through" => {
                let mut file = self.handles.remove(name).unwrap();
                self.append(&mut file, text);
                self.handles.insert(name.to_owned(), file);
            }
            "move" => fs::rename(self.path(words[0]), self.path(words[1])).unwrap(),
            "copy" => {
                fs::copy(self.path(words[0]), self.path(words[1])).unwrap();
                let file = append_to(&self.path(words[1]));
                self.stamp(&file);
            }
            "truncate" => {
                let file = append_to(&self.path(name));
                file.set_len(0).unwrap();
                self.stamp(&file);
            }
            "remove" => fs::remove_file(self.path(name)).unwrap(),
            "mkdir" => fs::create_dir(self.path(name)).unwrap(),
            "rmdir" => fs::remove_dir_all(self.path(name)).unwrap(),
            "link" => {
                let path = self.path(words[1]);
                if path.is_symlink() {
                    fs::remove_file(&path).unwrap();
                }
                std::os::unix::fs::symlink(words[0], path).unwrap();
            }
            "pipe" => rustix::fs::mknodat(
                rustix::fs::CWD,
                self.path(name),
                rustix::fs::FileType::Fifo,
                rustix::fs::Mode::RUSR,
                0,
            )
            .unwrap(),
            "quiet" => self.now += ROTATE_WAIT,
            "read" => self.read(),
            "files" => self.files(),
            _ => panic!("what is `{line}`?"),
        }
    }

    fn short(&self, path: &Path) -> String {
        let path = path.strip_prefix(self.dir.path()).unwrap_or(path);
        path.display().to_string()
    }

    fn read(&mut self) {
        let mut out = String::new();
        let mut tail = self.tail.take().unwrap();
        self.now += SWEEP;
        while tail.read(self.now, &mut |block| {
            assert_eq!(block.bytes.last(), Some(&b'\n'));
            let mut offset = block.offset;
            for line in block.bytes.split_inclusive(|byte| *byte == b'\n') {
                let live = if block.live { "" } else { "~" };
                let shown = shown(line.strip_suffix(b"\n").unwrap());
                let name = self.short(block.path);
                let cut = if block.cut { " (cut)" } else { "" };
                let begun = if block.begun { " (begun)" } else { "" };
                write!(out, "{live}{name}@{offset} {shown}{cut}{begun}").unwrap();
                if block.sources != [SourceId(0)] {
                    let ids: Vec<usize> = block.sources.iter().map(|id| id.0).collect();
                    write!(out, " for {ids:?}").unwrap();
                }
                out.push('\n');
                offset += line.len() as u64;
            }
        }) {}
        for notice in tail.notices() {
            let notice = notice.to_string();
            let notice = notice.replace(&format!("{}/", self.dir.path().display()), "");
            writeln!(out, "! {notice}").unwrap();
        }
        self.tail = Some(tail);
        self.out += if out.is_empty() { "nothing\n" } else { &out };
    }

    fn files(&mut self) {
        for file in self.tail.as_ref().unwrap().files() {
            let name = self.short(&file.path);
            let (state, offset, size) = (&file.state, file.offset, file.size);
            writeln!(self.out, "{name} {state:?} {offset} of {size}").unwrap();
        }
    }
}

fn append_to(path: &Path) -> File {
    OpenOptions::new()
        .append(true)
        .create(true)
        .open(path)
        .unwrap()
}

/// `|` is a newline, `\xff` a byte, `{a*9}` nine times a.
fn bytes(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        if let Some((repeated, after)) = rest
            .strip_prefix('{')
            .and_then(|inner| inner.split_once('}'))
        {
            let (what, times) = repeated.split_once('*').unwrap();
            let times = match times {
                "max" => LINE_BYTES_MAX,
                times => times.parse().unwrap(),
            };
            bytes.extend(what.as_bytes().repeat(times));
            rest = after;
        } else if let Some(hex) = rest.strip_prefix("\\x") {
            let (digits, after) = hex.split_at(2);
            bytes.push(u8::from_str_radix(digits, 16).unwrap());
            rest = after;
        } else {
            bytes.extend(next.to_string().replace('|', "\n").as_bytes());
            rest = rest.split_at(next.len_utf8()).1;
        }
    }
    bytes
}

fn shown(line: &[u8]) -> String {
    if line.len() > 100 {
        return format!("{} bytes", line.len());
    }
    line.escape_ascii().to_string()
}

fn check(script: &str, expected: Expect) {
    let mut scene = Scene::new();
    for line in script.lines() {
        scene.step(line.trim_start());
    }
    expected.assert_eq(&scene.out);
}

#[test]
fn what_is_compressed_is_said_once_and_not_read() {
    const GZIP: &str = r"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03";
    check(
        &format!(
            "write log.2.gz {GZIP}old|old|
            write log one|
            follow head log*
            read
            write log.2.gz more|
            write log two|
            write log.1.gz {GZIP}new|
            read
            files
            restart log*
            write log three|
            read
            truncate log
            read
            write log {GZIP}four|
            read"
        ),
        expect![[r#"
            ~log@0 one
            ! log.2.gz: is compressed (gzip) and not read: let `logpath` name only logs that are written to; `zcat log.2.gz | ringfence scan -` judges it
            log@4 two
            ! log.1.gz: is there now
            ! log.1.gz: is compressed (gzip) and not read: let `logpath` name only logs that are written to; `zcat log.1.gz | ringfence scan -` judges it
            log Following 8 of 8
            log.1.gz Unreadable("compressed (gzip)") 14 of 14
            log.2.gz Unreadable("compressed (gzip)") 23 of 23
            ~log@8 three
            ! log.1.gz: is compressed (gzip) and not read: let `logpath` name only logs that are written to; `zcat log.1.gz | ringfence scan -` judges it
            ! log.2.gz: is compressed (gzip) and not read: let `logpath` name only logs that are written to; `zcat log.2.gz | ringfence scan -` judges it
            ! log: was truncated; it is read from its beginning
            log@0 \x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03four
        "#]],
    );
}

#[test]
fn files_take_turns() {
    let dir = tempfile::tempdir().unwrap();
    let line = b"a line that is one of very many\n";
    for name in ["a", "b"] {
        fs::write(dir.path().join(name), line.repeat(100_000)).unwrap();
    }
    let source = Source {
        id: SourceId(0),
        pattern: dir.path().join("*").display().to_string(),
        start: Start::Head,
    };
    let mut tail = Tail::new(vec![source], Vec::new());
    let mut turns = Vec::new();
    let mut more = true;
    while more {
        more = tail.read(Instant::now(), &mut |block| {
            let name = block.path.file_name().unwrap().to_str().unwrap().to_owned();
            match turns.last_mut() {
                Some((last, bytes)) if *last == name => *bytes += block.bytes.len(),
                _ => turns.push((name, block.bytes.len())),
            }
        });
    }
    let order: String = turns.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(order, "abababab");
    assert!(turns.iter().all(|(_, bytes)| *bytes <= 2 * TURN_BYTES_MAX));
    let all: usize = turns.iter().map(|(_, bytes)| bytes).sum();
    assert_eq!(all, 200_000 * line.len());
}

#[test]
fn only_so_many_files_are_followed() {
    let mut scene = Scene::new();
    for place in 0..=FILES_MAX {
        scene.step(&format!("write {place:03}.log old|"));
    }
    for step in [
        "follow *.log",
        "read",
        "read",
        "remove 007.log",
        "read",
        "quiet",
        "read",
        "read",
        "write 512.log new|",
        "read",
    ] {
        scene.step(step);
    }
    expect![[r#"
        ! 512.log: is not followed, nor are those after it: at most 512 files are
        nothing
        ! 007.log: is gone; what was left in it is read
        nothing
        nothing
        512.log@4 new
    "#]]
    .assert_eq(&scene.out);
    let files = scene.tail.unwrap().files();
    assert_eq!(files.len(), FILES_MAX);
    assert!(files.iter().all(|file| file.state == FileState::Following));
}

#[test]
fn new_lines_are_handed_on() {
    check(
        "write log old|
         follow log
         read
         write log one|two|
         read
         write log three|
         read
         read",
        expect![[r#"
            nothing
            log@4 one
            log@8 two
            log@12 three
            nothing
        "#]],
    );
}

#[test]
fn from_the_head() {
    check(
        "write log old|older|
         follow head log
         read
         write log new|
         read
         files",
        expect![[r#"
            ~log@0 old
            ~log@4 older
            log@10 new
            log Following 14 of 14
        "#]],
    );
}

#[test]
fn a_partial_line_is_kept_until_it_is_whole() {
    check(
        "write log ol
         follow log
         read
         write log d|ha
         read
         write log l
         read
         write log f|whole|quar
         read
         files
         write log ter|
         read",
        expect![[r#"
            nothing
            log@0 old (begun)
            nothing
            log@4 half (begun)
            log@9 whole
            log Following 15 of 19
            log@15 quarter (begun)
        "#]],
    );
}

#[test]
fn lines_are_bytes() {
    check(
        r"write log old|
         follow log
         read
         write log crlf\x0d|nul\x00 and \xff\xfe||end|
         read",
        expect![[r#"
            nothing
            log@4 crlf\r
            log@10 nul\x00 and \xff\xfe
            log@22 
            log@23 end
        "#]],
    );
}

#[test]
fn long_lines_are_cut() {
    check(
        "follow log
         read
         write log before|{a*max}|{b*max}b|after|
         read
         write log {c*max}
         read
         write log c
         read
         write log {c*max}
         read
         write log c|next|{d*200000}|last|
         read
         write log {e*120000}
         read
         write log {e*120000}|last|
         read",
        expect![[r#"
            ! log: is not there; it will be read once it is
            log@0 before
            log@7 131072 bytes
            log@131080 131072 bytes (cut) (begun)
            log@262154 after
            ! log: is there now
            ! log: has lines of more than 131072 bytes; they are cut
            nothing
            log@262160 131072 bytes (cut) (begun)
            nothing
            log@524307 next
            log@524312 131072 bytes (cut)
            log@724313 last
            nothing
            log@724318 131072 bytes (cut) (begun)
            log@964319 last
        "#]],
    );
}

#[test]
fn a_long_line_is_not_taken_up_in_its_middle() {
    check(
        "write log {a*max}aaa
         follow log
         read
         write log aaa|one|{b*max}bbb
         read
         restart log
         read
         write log bbb|two|
         read",
        expect![[r#"
            nothing
            log@131079 one
            log@131083 131072 bytes (cut)
            ! log: has lines of more than 131072 bytes; they are cut
            nothing
            log@262162 two
        "#]],
    );
}

#[test]
fn a_missing_file_appears() {
    check(
        "follow log dir/log
         read
         read
         files
         mkdir dir
         write dir/log one|
         write log two|
         read
         files",
        expect![[r#"
            ! dir/log: is not there; it will be read once it is
            ! log: is not there; it will be read once it is
            nothing
            dir/log Missing 0 of 0
            log Missing 0 of 0
            dir/log@0 one for [1]
            log@0 two
            ! dir/log: is there now
            ! log: is there now
            dir/log Following 4 of 4
            log Following 4 of 4
        "#]],
    );
}

#[test]
fn rotation_with_a_slow_writer() {
    check(
        "write log old|
         follow log
         read
         hold log server
         through server one|
         move log log.1
         write log three|
         through server two|
         read
         through server four|ha
         read
         through server lf|
         read
         quiet
         read
         files
         through server too late|
         write log five|
         read",
        expect![[r#"
            nothing
            log@4 one
            log@8 two
            log@0 three
            ! log: was rotated
            log@12 four
            log@17 half (begun)
            nothing
            log Following 6 of 6
            log@6 five
        "#]],
    );
}

#[test]
fn a_rotated_file_ends_without_a_newline() {
    check(
        "write log 0123456789 old|
         follow log
         read
         write log one|198.51.100.1
         move log log.1
         write log a line of the second file|
         read
         quiet
         read
         move log.1 log.2
         move log log.1
         write log a line of the third file|
         read
         quiet
         read",
        expect![[r#"
            nothing
            log@15 one
            log@0 a line of the second file
            ! log: was rotated
            ! log: ended without a newline; its last 12 bytes are no line
            log@0 a line of the third file
            ! log: was rotated
            nothing
        "#]],
    );
}

#[test]
fn a_server_that_never_reopens() {
    check(
        "write log old|
         follow log
         read
         hold log server
         move log log.1
         write log
         quiet
         read
         through server one|
         read
         quiet
         read
         through server two|
         read
         write log three|
         read
         quiet
         read
         files",
        expect![[r#"
            nothing
            ! log: was rotated
            log@4 one
            nothing
            log@8 two
            log@0 three
            nothing
            log Following 6 of 6
        "#]],
    );
}

#[test]
fn several_rotations_between_two_looks() {
    check(
        "write log.1 never read|
         write log old|
         follow log
         read
         write log one|
         move log.1 log.2
         move log log.1
         write log two|
         move log.2 log.3
         move log.1 log.2
         move log log.1
         write log three|
         move log.3 log.4
         move log.2 log.3
         move log.1 log.2
         move log log.1
         write log four|
         read
         read",
        expect![[r#"
            nothing
            log@4 one
            log@0 two
            log@0 three
            log@0 four
            ! log: was rotated
            nothing
        "#]],
    );
}

#[test]
fn copied_and_truncated() {
    check(
        "write log 0123456789 old|
         follow log
         read
         write log one|
         read
         write log two|
         copy log log.1
         truncate log
         read
         write log three, a line as long as others|
         read
         write log four|
         move log.1 log.2
         copy log log.1
         truncate log
         write log another first line, longer than all that was there before|
         read
         read
         restart log
         read",
        expect![[r#"
            nothing
            log@15 one
            log@19 two
            ! log: was truncated; it is read from its beginning
            log@0 three, a line as long as others
            log@32 four
            log@0 another first line, longer than all that was there before
            ! log: was truncated; it is read from its beginning
            nothing
            nothing
        "#]],
    );
}

#[test]
fn a_rotated_file_is_overwritten() {
    check(
        "write log 0123456789 old|
         follow log
         read
         move log log.1
         write log one, a line as long as others|
         read
         copy log log.1
         truncate log
         write log two|
         read
         read",
        expect![[r#"
            nothing
            log@0 one, a line as long as others
            ! log: was rotated
            log@0 two
            ! log: was truncated; it is read from its beginning
            nothing
        "#]],
    );
}

#[test]
fn deleted_and_made_anew() {
    check(
        "write log old|
         follow log
         read
         write log one|
         remove log
         read
         read
         write log two|
         read
         remove log
         write log three|
         read
         quiet
         read
         files",
        expect![[r#"
            nothing
            log@4 one
            ! log: is gone; what was left in it is read
            nothing
            log@0 two
            ! log: is there now
            log@0 three
            ! log: was rotated
            nothing
            log Following 6 of 6
        "#]],
    );
}

#[test]
fn globs_come_and_go() {
    check(
        "mkdir a
         write a/1.log old|
         write a/skipped old|
         follow */*.log
         read
         mkdir b
         write b/2.log one|
         write a/1.log two|
         read
         remove a/1.log
         read
         rmdir b
         read
         quiet
         read
         files",
        expect![[r#"
            nothing
            a/1.log@4 two
            b/2.log@0 one
            ! b/2.log: is there now
            ! a/1.log: is gone; what was left in it is read
            ! b/2.log: is gone; what was left in it is read
            nothing
        "#]],
    );
}

#[test]
fn a_glob_that_matches_rotated_files() {
    check(
        "write log.1 old|
         write log old|
         follow log*
         read
         write log one|
         move log.1 log.2
         move log log.1
         write log two|
         read
         write log.1 three|
         read
         files",
        expect![[r#"
            nothing
            log.1@4 one
            log@0 two
            ! log: was rotated
            log.1@8 three
            log Following 4 of 4
            log.1 Following 14 of 14
            log.2 Following 4 of 4
        "#]],
    );
}

#[test]
fn links_are_followed() {
    check(
        "mkdir real
         write real/a old|
         write real/b old b|
         link real/a log
         follow log
         read
         write real/a one|
         read
         link real/b log
         write real/b two|
         write real/a three|
         read",
        expect![[r#"
            nothing
            log@4 one
            log@8 three
            log@0 old b
            log@6 two
            ! log: was rotated
        "#]],
    );
}

#[test]
fn one_file_is_read_once() {
    check(
        "write log old|
         link log other
         follow log other *o*
         read
         write log one|
         read
         follow other
         write log two|
         read
         follow log
         write log three|
         read",
        expect![[r#"
            nothing
            log@4 one for [0, 1, 2]
            other@8 two
            log@12 three
        "#]],
    );
}

#[test]
fn what_is_no_file_is_said() {
    check(
        "mkdir dir
         pipe pipe
         follow dir pipe *
         read
         read
         files
         rmdir dir
         write dir one|
         read",
        expect![[r#"
            ! dir: is neither a file nor a named pipe
            nothing
            dir Unreadable("neither a file nor a named pipe") 0 of 0
            pipe Following 0 of 0
            dir@0 one for [0, 2]
            ! dir: can be read again
        "#]],
    );
}

#[test]
fn going_on_after_a_restart() {
    check(
        "write log old|
         follow log
         read
         write log one|ha
         read
         restart log
         write log lf|two|
         read
         write log three|
         read",
        expect![[r#"
            nothing
            log@4 one
            ~log@8 half
            ~log@13 two
            log@17 three
        "#]],
    );
}

#[test]
fn going_on_after_a_rotation_meanwhile() {
    check(
        "write log old|
         follow log
         read
         write log one|
         read
         hold log server
         through server two|
         move log log-20261121
         write log three|
         move log log-20261122
         write log four|
         restart log
         through server slow|
         read
         through server slower|
         read
         restart log
         read",
        expect![[r#"
            nothing
            log@4 one
            ~log@8 two
            ~log@12 slow
            ~log@0 three
            ~log@0 four
            log@17 slower
            nothing
        "#]],
    );
}

#[test]
fn going_on_after_a_truncation_meanwhile() {
    check(
        "write log 0123456789 old|
         follow log
         read
         write log one|
         read
         write log two|
         copy log log.1
         truncate log
         write log three|
         restart log
         read
         restart log
         read
         truncate log
         write log four is more than three|
         restart log
         read",
        expect![[r#"
            nothing
            log@15 one
            ~log@19 two
            ~log@0 three
            nothing
            ~log@0 four is more than three
        "#]],
    );
}

#[test]
fn going_on_where_nothing_is_known() {
    check(
        "write log old|
         follow log
         read
         remove log
         write log new log after all|
         restart log
         read",
        expect![[r#"
            nothing
            ~log@0 new log after all
        "#]],
    );
}

#[test]
fn reload_keeps_places() {
    check(
        "write log old|
         write other old|
         follow log
         read
         write log one|
         write other old too|
         follow other log
         read
         write log two|
         write other three|
         read
         follow other
         write log four|
         read
         follow log
         read",
        expect![[r#"
            nothing
            log@4 one for [1]
            log@8 two for [1]
            other@12 three
            nothing
            ~log@12 four
        "#]],
    );
}
