//! A log that the real `logrotate` rotates while it is written fast, and a reader of it.
//!
//! The writer numbers its lines, and writes as programs with a buffer do: in chunks that
//! end within lines. (For `copytruncate` it writes whole lines, since a line whose
//! beginning was truncated away is no line for anybody.) It goes on with the renamed file
//! until `postrotate` tells it. What came out is compared with what was written, and with
//! what lies in the files at the end.

use std::collections::VecDeque;
use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ringfence::watch::{ROTATE_WAIT, Source, SourceId, Start, Tail};

/// A line is this long, its newline included: "000000123 and so on".
const LINE_BYTES: usize = 120;

/// What a program's buffer holds.
const CHUNK_BYTES: usize = 4096;

/// How often the writer writes.
const TICK: Duration = Duration::from_millis(10);

/// How long the reader waits for the last lines, beyond what a rotated file is kept open.
const PATIENCE: Duration = Duration::from_secs(30);

/// What logrotate is told to do; all tell the writer to reopen its log.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Create,
    CopyTruncate,
    DateExt,
    /// Compressed at once, not a rotation later.
    Compress,
}

impl Way {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Way::Create => "create",
            Way::CopyTruncate => "copytruncate",
            Way::DateExt => "dateext",
            Way::Compress => "compress",
        }
    }

    fn settings(self) -> &'static str {
        match self {
            Way::Create => "create 0644",
            Way::CopyTruncate => "copytruncate",
            Way::DateExt => "create 0644\n  dateext\n  dateformat -%Y%m%d-%s",
            Way::Compress => "create 0644\n  compress",
        }
    }
}

/// How long, how fast.
#[derive(Clone, Copy)]
pub(crate) struct Load {
    pub(crate) span: Duration,
    pub(crate) lines_per_second: u32,
    pub(crate) rotate_every: Duration,
}

/// What became of the lines.
#[derive(Default)]
pub(crate) struct Outcome {
    pub(crate) written: usize,
    pub(crate) rotations: usize,
    /// Lines that lie in a file, or lay in one whose only copy was made by renaming, and
    /// did not come out.
    pub(crate) lost: usize,
    pub(crate) twice: usize,
    /// What came out and is no line that was written.
    pub(crate) split: usize,
    /// Lines that logrotate's own copies lack, and how many of these came out.
    pub(crate) uncopied: usize,
    pub(crate) uncopied_read: usize,
}

impl fmt::Display for Outcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Outcome {
            written,
            rotations,
            lost,
            twice,
            split,
            uncopied,
            uncopied_read,
        } = self;
        write!(
            formatter,
            "{written} lines, {rotations} rotations: {lost} lost, {twice} twice, {split} split; \
             {uncopied} were truncated before logrotate copied them, we had {uncopied_read} of these"
        )
    }
}

/// Lets it run in `folder`, which must be empty.
pub(crate) fn run(folder: &Path, way: Way, load: Load) -> Outcome {
    let log = folder.join("app.log");
    fs::write(&log, "").unwrap();
    let is_over = AtomicBool::new(false);
    let (written, rotations, came) = thread::scope(|scope| {
        let reader = scope.spawn(|| read(&log, &is_over));
        let rotator = scope.spawn(|| rotate(folder, way, load, &is_over));
        let written = write(&log, way, load);
        is_over.store(true, Ordering::Release);
        (written, rotator.join().unwrap(), reader.join().unwrap())
    });
    compare(written, rotations, &came, &in_files(folder), way)
}

/// Writes numbered lines, as many as it should by now; says how many it wrote.
fn write(log: &Path, way: Way, load: Load) -> usize {
    let (began, reopen) = (Instant::now(), log.with_file_name("reopen"));
    let open = || {
        OpenOptions::new()
            .append(true)
            .create(true)
            .open(log)
            .unwrap()
    };
    let (mut file, mut waiting, mut lines) = (open(), VecDeque::new(), 0);
    loop {
        let past = began.elapsed();
        let is_over = past >= load.span;
        let due = (past.min(load.span).as_secs_f64() * f64::from(load.lines_per_second)) as usize;
        while lines < due {
            waiting.extend(line(lines));
            lines += 1;
        }
        let chunk = match way {
            Way::CopyTruncate => CHUNK_BYTES / LINE_BYTES * LINE_BYTES,
            _ => CHUNK_BYTES,
        };
        while waiting.len() >= chunk || (is_over && !waiting.is_empty()) {
            let bytes: Vec<u8> = waiting.drain(..chunk.min(waiting.len())).collect();
            file.write_all(&bytes).unwrap();
        }
        if is_over {
            return lines;
        }
        // It closes its file at a line's end, as programs do that are told by a signal.
        if fs::remove_file(&reopen).is_ok() {
            let bytes: Vec<u8> = waiting.drain(..).collect();
            file.write_all(&bytes).unwrap();
            file = open();
        }
        thread::sleep(TICK);
    }
}

fn line(number: usize) -> Vec<u8> {
    let mut line = format!("{number:09} ").into_bytes();
    line.resize(LINE_BYTES - 1, b'.');
    line.push(b'\n');
    line
}

/// The number of a line, if it is one of ours, whole.
fn number(text: &[u8]) -> Option<usize> {
    let number = std::str::from_utf8(text.get(..9)?).ok()?.parse().ok()?;
    (text.len() + 1 == LINE_BYTES && line(number).starts_with(text)).then_some(number)
}

/// Runs logrotate until it is over; says how often.
fn rotate(folder: &Path, way: Way, load: Load, is_over: &AtomicBool) -> usize {
    let config = folder.join("logrotate.conf");
    let (settings, log) = (way.settings(), folder.join("app.log"));
    let (log, reopen) = (log.display(), folder.join("reopen"));
    let text = format!(
        "{log} {{\n  su root root\n  rotate 1000\n  missingok\n  {settings}\n  postrotate\n    touch {}\n  endscript\n}}\n",
        reopen.display()
    );
    fs::write(&config, text).unwrap();
    let (mut rotations, mut next) = (0, Instant::now() + load.rotate_every);
    while !is_over.load(Ordering::Acquire) {
        if Instant::now() < next {
            thread::sleep(TICK);
            continue;
        }
        next += load.rotate_every;
        let state = folder.join("logrotate.state");
        let output = Command::new("logrotate")
            .args(["--force", "--state"])
            .args([&state, &config])
            .output()
            .expect("`logrotate` is needed (package logrotate)");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "logrotate: {said}");
        rotations += 1;
    }
    rotations
}

/// Follows the log until nothing comes any more; the number of every line that came, if it is one.
fn read(log: &Path, is_over: &AtomicBool) -> Vec<Option<usize>> {
    let source = Source {
        id: SourceId(0),
        pattern: log.display().to_string(),
        start: Start::Head,
    };
    let mut tail = Tail::new(vec![source], Vec::new());
    let (mut came, mut quiet) = (Vec::new(), Instant::now());
    loop {
        let before = came.len();
        while tail.read(Instant::now(), &mut |block| {
            let text = block.bytes.strip_suffix(b"\n").unwrap_or(block.bytes);
            came.extend(text.split(|byte| *byte == b'\n').map(number));
        }) {}
        if came.len() > before || !is_over.load(Ordering::Acquire) {
            quiet = Instant::now();
        }
        let is_read = || tail.files().iter().all(|file| file.offset == file.size);
        if quiet.elapsed() > ROTATE_WAIT / 5 && is_read() || quiet.elapsed() > PATIENCE {
            return came;
        }
        tail.wait(Duration::from_millis(100));
    }
}

/// All lines that lie in the log and in what logrotate made of it.
fn in_files(folder: &Path) -> Vec<bool> {
    let mut there = Vec::new();
    let entries = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let is_log = |path: &PathBuf| {
        path.file_name()
            .unwrap()
            .to_string_lossy()
            .starts_with("app")
    };
    for path in entries.filter(is_log) {
        let bytes = match path.extension().is_some_and(|extension| extension == "gz") {
            true => {
                Command::new("gzip")
                    .arg("-dc")
                    .arg(&path)
                    .output()
                    .unwrap()
                    .stdout
            }
            false => fs::read(&path).unwrap(),
        };
        for number in bytes.split(|byte| *byte == b'\n').filter_map(number) {
            mark(&mut there, number);
        }
    }
    there
}

fn mark(marks: &mut Vec<bool>, number: usize) -> bool {
    if marks.len() <= number {
        marks.resize(number + 1, false);
    }
    std::mem::replace(&mut marks[number], true)
}

fn compare(
    written: usize,
    rotations: usize,
    came: &[Option<usize>],
    there: &[bool],
    way: Way,
) -> Outcome {
    let mut outcome = Outcome {
        written,
        rotations,
        ..Outcome::default()
    };
    let mut read = vec![false; written];
    for number in came {
        match number {
            Some(number) => outcome.twice += usize::from(mark(&mut read, *number)),
            None => outcome.split += 1,
        }
    }
    for (number, is_read) in read.iter().enumerate() {
        let is_there = there.get(number).copied().unwrap_or(false);
        if way == Way::CopyTruncate && !is_there {
            outcome.uncopied += 1;
            outcome.uncopied_read += usize::from(*is_read);
        } else {
            outcome.lost += usize::from(!is_read);
        }
    }
    outcome
}
