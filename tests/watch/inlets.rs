//! Where lines come in that are gone once they are read: pipes and sockets.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ringfence::watch::{FileState, LINE_BYTES_MAX, Source, SourceId, Start, Tail, Woken};
use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat};
use tempfile::TempDir;

const LONG: Duration = Duration::from_secs(60);

struct Watch {
    folder: TempDir,
    tail: Tail,
    now: Instant,
}

impl Watch {
    /// Follows `name` in a folder that `prepare` has filled.
    fn new(name: &str, prepare: impl Fn(&Path)) -> Watch {
        let folder = tempfile::tempdir().unwrap();
        prepare(folder.path());
        let tail = Tail::new(sources(folder.path(), &[name]), Vec::new());
        let mut watch = Watch {
            folder,
            tail,
            now: Instant::now(),
        };
        assert_eq!(watch.read(), "");
        watch
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What comes by a look at everything.
    fn read(&mut self) -> String {
        let mut out = String::new();
        self.now += Duration::from_secs(3600);
        while self.tail.read(self.now, &mut |block| {
            out += &String::from_utf8_lossy(block.bytes);
            out += if block.cut { "(cut)" } else { "" };
            out += if block.begun { "(begun)" } else { "" };
        }) {}
        out
    }

    /// Waits until something comes, as often as it takes.
    fn next(&mut self) -> String {
        loop {
            assert_eq!(self.tail.wait(LONG), Woken::News);
            let out = self.read();
            if !out.is_empty() {
                return out;
            }
        }
    }

    fn notices(&mut self) -> String {
        let folder = format!("{}/", self.folder.path().display());
        let notices = self.tail.notices();
        let notices = notices.iter().map(|notice| notice.to_string());
        notices.collect::<Vec<_>>().join("; ").replace(&folder, "")
    }

    fn state(&self) -> FileState {
        self.tail.files()[0].state.clone()
    }
}

fn sources(folder: &Path, names: &[&str]) -> Vec<Source> {
    let pattern = |name: &str| match name.strip_prefix("unix:") {
        Some(name) => format!("unix:{}", folder.join(name).display()),
        None => folder.join(name).display().to_string(),
    };
    let source = |(number, name): (usize, &&str)| Source {
        id: SourceId(number),
        pattern: pattern(name),
        start: Start::Recent,
    };
    names.iter().enumerate().map(source).collect()
}

fn make_pipe(path: &Path) {
    mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
}

/// A writer that would rather fail than wait.
fn writer(path: &Path) -> File {
    let flags = OFlags::NONBLOCK.bits() as i32;
    let mut options = OpenOptions::new();
    options.write(true).custom_flags(flags).open(path).unwrap()
}

#[test]
fn writers_of_a_pipe_come_and_go() {
    let mut watch = Watch::new("pipe", |folder| make_pipe(&folder.join("pipe")));
    assert_eq!(watch.state(), FileState::Following);
    assert_eq!(
        watch.tail.wait(Duration::ZERO),
        Woken::Time,
        "nobody writes"
    );
    for _ in 0..3 {
        let mut first = writer(&watch.path("pipe"));
        first.write_all(b"one\ntw").unwrap();
        assert_eq!(watch.next(), "one\n");
        first.write_all(b"o\nhal").unwrap();
        assert_eq!(watch.next(), "two\n(begun)");
        drop(first);
        assert_eq!(watch.tail.wait(LONG), Woken::News);
        assert_eq!(watch.read(), "", "a line without its end blames nobody");
        assert_eq!(
            watch.notices(),
            "pipe: ended without a newline; its last 3 bytes are no line"
        );
        // One who has gone does not keep us awake.
        assert_eq!(watch.tail.wait(Duration::ZERO), Woken::Time);
    }
    // One waits for room; we wait for nobody.
    let path = watch.path("pipe");
    let lines = "a line\n".repeat(100_000);
    let expected = lines.clone();
    let other = std::thread::spawn(move || fs::write(path, lines).unwrap());
    let mut got = String::new();
    while got.len() < expected.len() {
        got += &watch.next().replace("(begun)", "");
    }
    assert!(got == expected);
    other.join().unwrap();
    assert_eq!(watch.tail.positions(), []);
}

#[test]
fn a_pipe_comes_and_goes_as_a_file_does() {
    let mut watch = Watch::new("log", |folder| fs::write(folder.join("log"), "").unwrap());
    fs::remove_file(watch.path("log")).unwrap();
    make_pipe(&watch.path("log"));
    assert_eq!(watch.read(), "");
    let mut server = writer(&watch.path("log"));
    server.write_all(b"through the pipe\n").unwrap();
    assert_eq!(watch.next(), "through the pipe\n");
    server.write_all(b"late\n").unwrap();
    fs::remove_file(watch.path("log")).unwrap();
    fs::write(watch.path("log"), "a file again\n").unwrap();
    let both = watch.read();
    assert!(
        both.contains("late\n") && both.contains("a file again\n"),
        "{both}"
    );
    drop(server);
    assert_eq!(watch.read(), "");
    assert_eq!(watch.tail.files().len(), 1);
}

#[test]
fn a_pipe_by_two_names_is_read_once_and_a_globs_is_left_alone() {
    let mut watch = Watch::new("pipe", |folder| make_pipe(&folder.join("pipe")));
    std::os::unix::fs::symlink("pipe", watch.path("other")).unwrap();
    let names = ["pipe", "other", "*"];
    watch.tail.set_sources(sources(watch.folder.path(), &names));
    writer(&watch.path("pipe")).write_all(b"one\n").unwrap();
    let mut heard = Vec::new();
    watch.now += LONG;
    while watch.tail.read(watch.now, &mut |block| {
        heard.push((block.sources.to_vec(), block.bytes.to_vec()));
    }) {}
    assert_eq!(
        heard,
        [(
            vec![SourceId(0), SourceId(1), SourceId(2)],
            b"one\n".to_vec()
        )]
    );
    watch.tail.set_sources(sources(watch.folder.path(), &["*"]));
    assert_eq!(watch.read(), "");
    assert_eq!(watch.notices(), "", "what a glob finds is no mistake");
    let nobody = OpenOptions::new()
        .write(true)
        .custom_flags(OFlags::NONBLOCK.bits() as i32)
        .open(watch.path("pipe"));
    assert_eq!(
        nobody.unwrap_err().raw_os_error(),
        Some(6),
        "nobody reads it (ENXIO)"
    );
}

#[test]
fn a_datagram_is_a_line() {
    let mut watch = Watch::new("unix:socket", |_| {});
    let path = watch.path("socket");
    let meta = fs::metadata(&path).unwrap();
    assert!(meta.file_type().is_socket());
    assert_eq!(meta.permissions().mode() & 0o777, 0o660);
    let sender = UnixDatagram::unbound().unwrap();
    for datagram in [
        &b"<133>one"[..],
        b"two\n",
        b"three\0",
        b"",
        b"\n",
        b"four\nforged\rline\tof \x1b[0mhis\0own\x7f \xff\n",
    ] {
        sender.send_to(datagram, &path).unwrap();
    }
    let expected =
        "<133>one\ntwo\nthree\nfour#012forged#015line#011of #033[0mhis#000own#177 \u{fffd}\n";
    assert_eq!(watch.next(), expected);
    assert_eq!(watch.tail.wait(Duration::ZERO), Woken::Time);

    for (bytes, cut) in [
        (LINE_BYTES_MAX, false),
        (LINE_BYTES_MAX + 1, true),
        (LINE_BYTES_MAX + 60_000, true), // a datagram has some 208 KiB at most
    ] {
        sender.send_to(&vec![b'a'; bytes], &path).unwrap();
        sender.send_to(b"next", &path).unwrap();
        let got = watch.next();
        assert_eq!(got.contains("(cut)"), cut, "{bytes}");
        let line = got.split(['\n', '(']).next().unwrap();
        assert_eq!(line.len(), LINE_BYTES_MAX);
        assert!(got.ends_with("next\n"), "{bytes}");
    }
    // Escapes make it longer, and no way round the limit.
    sender
        .send_to(&b"\t".repeat(LINE_BYTES_MAX / 2), &path)
        .unwrap();
    assert!(watch.next().ends_with("#011#011\n(cut)"));
    assert_eq!(
        watch.notices().matches("has lines of more than").count(),
        1,
        "said once"
    );
    assert_eq!(watch.tail.files()[0].lines_cut, 3);
    drop(watch.tail);
    assert!(
        !path.exists(),
        "nobody reads there, and senders shall know it"
    );
}

#[test]
fn a_burst_of_datagrams_is_read_whole() {
    const MANY: usize = 20_000;
    let mut watch = Watch::new("unix:socket", |_| {});
    let path = watch.path("socket");
    let sender = std::thread::spawn(move || {
        let sender = UnixDatagram::unbound().unwrap();
        sender.connect(path).unwrap();
        for number in 0..MANY {
            sender.send(format!("line {number}").as_bytes()).unwrap();
        }
    });
    let mut got = String::new();
    while got.bytes().filter(|byte| *byte == b'\n').count() < MANY {
        got += &watch.next();
    }
    let expected: String = (0..MANY).map(|number| format!("line {number}\n")).collect();
    assert!(got == expected);
    sender.join().unwrap();
}

#[test]
fn a_sockets_place_is_taken_from_nobody() {
    let stale = |folder: &Path| drop(UnixDatagram::bind(folder.join("socket")).unwrap());
    let mut watch = Watch::new("unix:socket", stale);
    assert_eq!(
        watch.state(),
        FileState::Following,
        "a crash left it behind"
    );
    let path = watch.path("socket");
    // Tidied away, and put back.
    fs::remove_file(&path).unwrap();
    assert_eq!(watch.read(), "");
    UnixDatagram::unbound()
        .unwrap()
        .send_to(b"one", &path)
        .unwrap();
    assert_eq!(watch.next(), "one\n");
    // Another program has it now.
    fs::remove_file(&path).unwrap();
    let other = UnixDatagram::bind(&path).unwrap();
    assert_eq!(watch.read(), "");
    let said = watch.notices();
    assert!(said.contains("another program reads there"), "{said}");
    drop(other);
    fs::remove_file(&path).unwrap();
    // A file is nobody's to remove.
    fs::write(&path, "precious").unwrap();
    assert_eq!(watch.read(), "");
    let said = watch.notices();
    assert!(
        said.contains("something that is no socket is in its place"),
        "{said}"
    );
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    fs::remove_file(&path).unwrap();
    assert_eq!(watch.read(), "");
    UnixDatagram::unbound()
        .unwrap()
        .send_to(b"two", &path)
        .unwrap();
    assert_eq!(watch.next(), "two\n");
    assert!(watch.notices().ends_with("socket: can be read again"));
}

#[test]
fn a_sockets_folder_may_come_later_and_its_path_may_be_too_long() {
    let mut watch = Watch::new("unix:later/socket", |_| {});
    assert_eq!(watch.state(), FileState::Missing);
    fs::create_dir(watch.path("later")).unwrap();
    assert_eq!(watch.read(), "");
    assert_eq!(watch.state(), FileState::Following);
    let long = format!("unix:{}", "x".repeat(200));
    let mut watch = Watch::new(&long, |_| {});
    let said = watch.notices();
    assert!(said.contains("the path is too long for a socket"), "{said}");
}
