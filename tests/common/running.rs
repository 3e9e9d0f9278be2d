//! The real program while it runs: started and waited for, and what it has banned. The test
//! writes the folder; `lab` is for those to which a usual one will do.
#![allow(dead_code)] // not every test needs all of it

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A hang becomes a failure after this long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Starts it, and waits until it says that it is ready. What it says goes into the file
/// `said` of the folder.
pub(crate) fn start(command: &mut Command, folder: &Path) -> Child {
    let notify = folder.join("notify");
    let _none_yet = fs::remove_file(&notify);
    let socket = UnixDatagram::bind(&notify).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let output = fs::File::create(folder.join("said")).unwrap();
    let child = command
        .env("NOTIFY_SOCKET", &notify)
        .env("RINGFENCE_LOG", "debug")
        .stdout(output.try_clone().unwrap())
        .stderr(output)
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    assert!(socket.recv(&mut [0; 256]).is_ok(), "{}", said(folder));
    child
}

/// What it has said so far.
pub(crate) fn said(folder: &Path) -> String {
    fs::read_to_string(folder.join("said")).unwrap_or_default()
}

/// Ends what a test has started, whatever became of it.
pub(crate) fn end(child: &mut Child) {
    let _ended = child.kill();
    let _ended = child.wait();
}

/// Asks until it is so; the pause keeps the asking from taking the processor.
pub(crate) fn wait(what: &str, folder: &Path, is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() {
        let said = || said(folder);
        assert!(
            start.elapsed() < PATIENCE,
            "waited in vain for {what}: {}",
            said()
        );
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

/// Does the kernel's set of this jail hold the address?
pub(crate) fn is_banned(jail: &str, addr: &str) -> bool {
    let family = if addr.contains(':') { "6" } else { "" };
    let set = format!("ringfence-{jail}{family}");
    let mut test = Command::new("ipset");
    test.args(["-q", "test", &set, addr]);
    test.status().unwrap().success()
}
