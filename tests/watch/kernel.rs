//! With the real kernel: what wakes the reader, and what happens where the kernel
//! gives no watch or no permission.
//!
//! Nothing here measures time: a read an hour ahead puts off the sweep, so that
//! only the kernel's word can end the wait.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use ringfence::watch::{Source, SourceId, Start, Tail, Woken};

use super::append_to;

const LONG: Duration = Duration::from_secs(60);

struct Watch {
    tail: Tail,
    now: Instant,
}

impl Watch {
    fn new(path: &Path) -> Self {
        let source = Source {
            id: SourceId(0),
            pattern: path.display().to_string(),
            start: Start::Head,
        };
        let mut watch = Watch {
            tail: Tail::new(vec![source], Vec::new()),
            now: Instant::now(),
        };
        watch.read();
        watch
    }

    fn read(&mut self) -> String {
        let mut out = String::new();
        self.now += Duration::from_secs(3600);
        while self.tail.read(self.now, &mut |block| {
            out += &String::from_utf8_lossy(block.bytes);
        }) {}
        out
    }

    /// The same without a sweep: only what the kernel told of is looked at.
    fn read_what_is_told(&mut self) -> String {
        let mut out = String::new();
        while self.tail.read(self.now, &mut |block| {
            out += &String::from_utf8_lossy(block.bytes);
        }) {}
        out
    }

    /// Waits for the kernel's word, as often as it takes until a line is there.
    fn next(&mut self) -> String {
        loop {
            assert_eq!(self.tail.wait(LONG), Woken::News);
            let out = self.read_what_is_told();
            if !out.is_empty() {
                return out;
            }
        }
    }

    fn notices(&mut self) -> Vec<String> {
        let notices = self.tail.notices();
        notices.iter().map(|notice| notice.to_string()).collect()
    }
}

fn write(path: &Path, text: &str) {
    append_to(path).write_all(text.as_bytes()).unwrap();
}

#[test]
fn a_write_wakes() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    write(&log, "old\n");
    let mut watch = Watch::new(&log);
    write(&log, "one\n");
    assert_eq!(watch.next(), "one\n");
    write(&log, "two\n");
    assert_eq!(watch.next(), "two\n");
}

#[test]
fn names_wake() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("a/b/log");
    let mut watch = Watch::new(&log);
    fs::create_dir(dir.path().join("a")).unwrap();
    assert_eq!(watch.tail.wait(LONG), Woken::News);
    assert_eq!(watch.read_what_is_told(), "");
    fs::create_dir(dir.path().join("a/b")).unwrap();
    assert_eq!(watch.tail.wait(LONG), Woken::News);
    assert_eq!(watch.read_what_is_told(), "");
    write(&log, "one\n");
    assert_eq!(watch.next(), "one\n");
    let mut server = append_to(&log);
    fs::rename(&log, dir.path().join("a/b/log.1")).unwrap();
    write(&log, "new\n");
    assert_eq!(watch.next(), "new\n");
    server.write_all(b"late\n").unwrap();
    assert_eq!(watch.next(), "late\n");
    fs::remove_dir_all(dir.path().join("a")).unwrap();
    fs::create_dir_all(dir.path().join("a/b")).unwrap();
    write(&log, "newer\n");
    assert_eq!(watch.next(), "newer\n");
}

#[test]
fn writing_behind_a_link_wakes() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("real")).unwrap();
    let real = dir.path().join("real/log");
    write(&real, "old\n");
    symlink("real/log", dir.path().join("link")).unwrap();
    let mut watch = Watch::new(&dir.path().join("link"));
    write(&real, "one\n");
    assert_eq!(watch.next(), "one\n");
}

#[test]
fn another_thread_can_call() {
    let dir = tempfile::tempdir().unwrap();
    let mut watch = Watch::new(&dir.path().join("log"));
    let waker = watch.tail.waker();
    let thread = std::thread::spawn(move || waker.wake());
    assert_eq!(watch.tail.wait(LONG), Woken::Called);
    thread.join().unwrap();
    assert_eq!(watch.tail.wait(Duration::ZERO), Woken::Time);
}

/// Runs one of the tests below by itself: they need another user or a kernel that
/// gives less. `None` if this machine does not let us make such a place.
fn run_apart(test: &str, command: &mut Command) -> Option<()> {
    let output = command
        .env("RINGFENCE_TEST_APART", "1")
        .output()
        .expect("the program that makes a place apart");
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    if text.contains("Operation not permitted") && !text.contains("running 1 test") {
        eprintln!("skipped, since we may not make such a place: {text}");
        return None;
    }
    assert!(text.contains(&format!("{test} ... ok")), "{text}");
    Some(())
}

fn is_apart() -> bool {
    std::env::var_os("RINGFENCE_TEST_APART").is_some()
}

#[test]
fn permission_is_lost_and_given() {
    const NAME: &str = "kernel::permission_is_lost_and_given";
    if rustix::process::geteuid().is_root() && !is_apart() {
        // Root may read everything, so we become nobody; the program itself may
        // lie where nobody is let in, so it is copied.
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let program = dir.path().join("test");
        fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
        let mut command = Command::new(program);
        command.args(["--exact", NAME]).uid(65_534).gid(65_534);
        command.env("TMPDIR", dir.path()).current_dir(dir.path());
        run_apart(NAME, &mut command);
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let mode = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    write(&log, "one\n");
    mode(&log, 0);
    let mut watch = Watch::new(&log);
    assert_eq!(watch.read(), "");
    let said = watch.notices();
    assert!(
        said.len() == 1 && said[0].contains("we may not read it"),
        "{said:?}"
    );
    mode(&log, 0o600);
    assert_eq!(watch.next(), "one\n");
    let said = watch.notices();
    assert!(
        said.len() == 1 && said[0].contains("can be read again"),
        "{said:?}"
    );
    // What is open stays open, and a directory that hides it does not remove it.
    let mut server = append_to(&log);
    mode(dir.path(), 0);
    server.write_all(b"two\n").unwrap();
    assert_eq!(watch.read() + &watch.read(), "two\n");
    mode(dir.path(), 0o700);
    write(&log, "three\n");
    assert_eq!(watch.read(), "three\n");
    let files = watch.tail.files();
    assert_eq!(files.len(), 1, "{files:?}");
}

#[test]
fn without_watches_we_look_ourselves() {
    const NAME: &str = "kernel::without_watches_we_look_ourselves";
    if !is_apart() {
        for limit in ["max_inotify_watches", "max_inotify_instances"] {
            let mut command = Command::new("unshare");
            let script = format!("echo 0 > /proc/sys/user/{limit} && exec \"$0\" \"$@\"");
            command.args(["-Ur", "sh", "-c", &script]);
            command.arg(std::env::current_exe().unwrap());
            command.args(["--exact", NAME]);
            run_apart(NAME, &mut command);
        }
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    write(&log, "one\n");
    let mut watch = Watch::new(&log);
    let said = watch.notices();
    assert!(
        said.len() == 1 && said[0].contains("the kernel gives no watch"),
        "{said:?}"
    );
    write(&log, "two\n");
    assert_eq!(watch.read(), "two\n");
    assert_eq!(watch.notices(), Vec::<String>::new());
}

#[test]
fn an_overflow_of_the_kernels_queue_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    write(&log, "one\n");
    let mut watch = Watch::new(&log);
    // While nobody listens more is told than the queue holds; all that comes then is dropped.
    let queue = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
    let words: usize = queue.trim().parse().unwrap();
    for _ in 0..=words / 2 {
        write(&dir.path().join("other"), "");
        fs::remove_file(dir.path().join("other")).unwrap();
    }
    write(&log, "two\n");
    fs::rename(&log, dir.path().join("log.1")).unwrap();
    write(&log, "three\n");
    let mut out = String::new();
    while !out.ends_with("three\n") {
        out += &watch.next();
    }
    assert_eq!(out, "two\nthree\n");
    write(&log, "four\n");
    assert_eq!(watch.next(), "four\n", "it is told of again");
}
