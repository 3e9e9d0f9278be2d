//! How long a line takes from `write()` to the block it comes in, what a busy log
//! costs, and how fast a long log is read. `cargo bench --bench tail`
//!
//! Beside the tail stands a reader that looks every millisecond, which is what
//! one writes first; it loses on both counts.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use ringfence::watch::{Source, SourceId, Start, Tail};

const TRIALS: u32 = 2000;
const LINE: &str = "[2026-11-22 12:00:00] NOTICE[1234] res_pjsip/pjsip_distributor.c: Request \
                    'REGISTER' from '<sip:100@192.0.2.7>' failed for '198.51.100.9:5060'\n";
const LINES: usize = 1_000_000;
const BUSY_LINES_PER_SEC: u32 = 10_000;
const BUSY_SECS: u32 = 4;
const REST: Duration = Duration::from_secs(8);

/// A thread that reads a log and reports when something came, until it is told.
struct Reader {
    stop: Arc<AtomicBool>,
    thread: thread::JoinHandle<()>,
}

type Spawn = fn(PathBuf, Arc<AtomicBool>, Sender<(Instant, usize)>);

fn tail(path: PathBuf, stop: Arc<AtomicBool>, came: Sender<(Instant, usize)>) {
    let mut tail = Tail::new(vec![source(&path)], Vec::new());
    while !stop.load(Ordering::Relaxed) {
        while tail.read(Instant::now(), &mut |block| {
            came.send((Instant::now(), block.bytes.len())).unwrap();
        }) {}
        tail.wait(Duration::from_secs(2));
    }
}

fn poll(path: PathBuf, stop: Arc<AtomicBool>, came: Sender<(Instant, usize)>) {
    let file = File::open(path).unwrap();
    let (mut buffer, mut offset) = (vec![0; 256 * 1024], 0);
    while !stop.load(Ordering::Relaxed) {
        let bytes = file.read_at(&mut buffer, offset).unwrap();
        if bytes > 0 {
            offset += bytes as u64;
            came.send((Instant::now(), bytes)).unwrap();
        }
        thread::sleep(Duration::from_millis(1));
    }
}

fn source(path: &Path) -> Source {
    Source {
        id: SourceId(0),
        pattern: path.display().to_string(),
        start: Start::Head,
    }
}

fn main() {
    let dir = tempfile::tempdir().unwrap();
    for (name, spawn) in [("tail", tail as Spawn), ("poll every 1 ms", poll)] {
        for pause in [Duration::from_micros(300), Duration::from_millis(5)] {
            latency(dir.path(), name, spawn, pause);
        }
        busy(dir.path(), name, spawn);
    }
    rest(dir.path());
    throughput(dir.path());
}

/// Many logs that nobody writes to.
fn rest(dir: &Path) {
    const LOGS: usize = 100;
    for log in 0..LOGS {
        fs::write(dir.join(format!("{log}.log")), LINE).unwrap();
    }
    let (stop, (sender, came)) = (Arc::new(AtomicBool::new(false)), channel());
    let (stopped, glob) = (Arc::clone(&stop), dir.join("*.log"));
    let thread = thread::spawn(move || tail(glob, stopped, sender));
    came.iter().take(LOGS).for_each(drop);
    thread::sleep(Duration::from_millis(100));
    let cpu = cpu_of_readers();
    thread::sleep(REST);
    let cost = cpu_of_readers() - cpu;
    println!(
        "tail: {LOGS} quiet logs: {:.3} % of a core",
        100.0 * cost.as_secs_f64() / REST.as_secs_f64()
    );
    Reader { stop, thread }.stop();
}

fn start(dir: &Path, spawn: Spawn) -> (File, Reader, std::sync::mpsc::Receiver<(Instant, usize)>) {
    let path = dir.join("log");
    fs::write(&path, LINE).unwrap();
    let file = OpenOptions::new().append(true).open(&path).unwrap();
    let (sender, came) = channel();
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let thread = thread::spawn(move || spawn(path, stopped, sender));
    came.recv().unwrap();
    thread::sleep(Duration::from_millis(20));
    (file, Reader { stop, thread }, came)
}

impl Reader {
    fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
    }
}

/// One line at a time: how long until it is there?
fn latency(dir: &Path, name: &str, spawn: Spawn, pause: Duration) {
    let (mut file, reader, came) = start(dir, spawn);
    let mut spans: Vec<Duration> = (0..TRIALS)
        .map(|_| {
            thread::sleep(pause);
            let written = Instant::now();
            file.write_all(LINE.as_bytes()).unwrap();
            came.recv().unwrap().0 - written
        })
        .collect();
    spans.sort();
    let at = |percent: usize| spans[(spans.len() - 1) * percent / 100];
    println!(
        "{name}: a line every {pause:?}: p50 {:?}, p90 {:?}, p99 {:?}, most {:?}",
        at(50),
        at(90),
        at(99),
        at(100)
    );
    reader.stop();
}

/// Many lines, each written by itself: what does following cost?
fn busy(dir: &Path, name: &str, spawn: Spawn) {
    let (mut file, reader, came) = start(dir, spawn);
    let blocks = AtomicU64::new(0);
    let cpu = cpu_of_readers();
    let start = Instant::now();
    let lines = BUSY_LINES_PER_SEC * BUSY_SECS;
    for line in 0..lines {
        let due = start + Duration::from_secs(1) * line / BUSY_LINES_PER_SEC;
        while Instant::now() < due {
            std::hint::spin_loop();
        }
        file.write_all(LINE.as_bytes()).unwrap();
        blocks.fetch_add(came.try_iter().count() as u64, Ordering::Relaxed);
    }
    let span = start.elapsed();
    let cost = cpu_of_readers() - cpu;
    println!(
        "{name}: {:.0} lines/s: {:.1} % of a core, {:.1} lines in a block",
        f64::from(lines) / span.as_secs_f64(),
        100.0 * cost.as_secs_f64() / span.as_secs_f64(),
        f64::from(lines) / blocks.load(Ordering::Relaxed) as f64,
    );
    reader.stop();
}

/// The time on a processor of all threads but this one.
fn cpu_of_readers() -> Duration {
    let me = fs::read_link("/proc/thread-self").unwrap();
    let threads = fs::read_dir("/proc/self/task").unwrap().flatten();
    threads
        .filter(|thread| Some(thread.file_name().as_os_str()) != me.file_name())
        .filter_map(|thread| fs::read_to_string(thread.path().join("schedstat")).ok())
        .filter_map(|stat| stat.split_whitespace().next()?.parse().ok())
        .map(Duration::from_nanos)
        .sum()
}

/// A long log that was there before.
fn throughput(dir: &Path) {
    let path = dir.join("long");
    fs::write(&path, LINE.repeat(LINES)).unwrap();
    for _ in 0..3 {
        let start = Instant::now();
        let mut tail = Tail::new(vec![source(&path)], Vec::new());
        let mut bytes = 0;
        while tail.read(Instant::now(), &mut |block| bytes += block.bytes.len()) {}
        let span = start.elapsed().as_secs_f64();
        assert_eq!(bytes, LINE.len() * LINES);
        println!(
            "tail: {LINES} lines in {:.3} s: {:.1} million lines/s, {:.1} GB/s",
            span,
            LINES as f64 / span / 1e6,
            bytes as f64 / span / 1e9
        );
    }
}
