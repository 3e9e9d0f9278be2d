//! fail2ban and ringfence side by side: folders with the same tree and the same logs, in
//! each of which one of the two runs.
//!
//! Debian's fail2ban must be installed: these tests do not skip.
#![allow(dead_code)] // not every test needs all of it

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::client::fail2ban_client;
use crate::namespace::run;
use rusqlite::{Connection, OpenFlags};

/// A hang becomes a failure after this long.
const PATIENCE: Duration = Duration::from_secs(60);

/// A folder in which one of the two runs.
pub(crate) struct Lab {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) server: Option<Child>,
}

impl Lab {
    /// A tree with these jails and one filter; `@` in them is the folder.
    pub(crate) fn new(jails: &str, filter: &str) -> Lab {
        let lab = Lab {
            folder: tempfile::tempdir().expect("a folder"),
            server: None,
        };
        for folder in ["tree/filter.d", "tree/action.d"] {
            fs::create_dir_all(lab.path(folder)).unwrap();
        }
        let folder = lab.path("").display().to_string();
        let files = [
            (
                "tree/fail2ban.conf",
                "[Definition]\nloglevel = DEBUG\nlogtarget = @said\nsyslogsocket = auto\nsocket = @f2b.sock\npidfile = @f2b.pid\ndbfile = @db.sqlite3\ndbpurgeage = 1d\ndbmaxmatches = 3\n",
            ),
            ("tree/jail.conf", jails),
            ("tree/filter.d/logins.conf", filter),
            (
                "tree/action.d/echo.conf",
                "[Definition]\nactionban = echo ban <name> <ip> >> @acts\nactionunban = echo unban <name> <ip> >> @acts\n",
            ),
            (
                "ringfence.toml",
                "state_dir = '@state'\nsocket = '@socket'\n",
            ),
            ("one.log", "2026-01-01 00:00:00 the first line\n"),
            ("two-a.log", "2026-01-01 00:00:00 another first line\n"),
            ("acts", ""),
        ];
        for (name, text) in files {
            fs::write(lab.path(name), text.replace('@', &folder)).unwrap();
        }
        lab
    }

    /// A file of the folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What the servers said.
    pub(crate) fn said(&self) -> String {
        fs::read_to_string(self.path("said")).unwrap_or_default()
    }

    fn act(&self, action: &str) {
        let text = format!("[DEFAULT]\naction = {action}\n");
        fs::write(self.path("tree/jail.local"), text).unwrap();
    }

    /// What fail2ban's client says, and whether it is content.
    pub(crate) fn client(&self, words: &[&str]) -> (bool, String) {
        fail2ban_client(&self.path("tree"), words)
    }

    /// Starts it, and waits until its jails run.
    pub(crate) fn start_fail2ban(&mut self) {
        self.begin_fail2ban();
        self.await_fail2ban();
    }

    fn begin_fail2ban(&mut self) {
        self.act("echo");
        let server = Command::new("fail2ban-server")
            .arg("-c")
            .arg(self.path("tree"))
            .args(["-f", "start"])
            .env("TZ", "UTC")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.server = Some(server.expect("fail2ban is needed (package fail2ban)"));
    }

    fn await_fail2ban(&self) {
        let jails = |words: &[&str]| self.client(words).0;
        self.wait("fail2ban", || {
            jails(&["status", "one"]) && jails(&["status", "two"])
        });
    }

    /// Starts it, and waits until it is ready.
    pub(crate) fn start_ringfence(&mut self) {
        self.act("ringfence");
        let notify = self.path("notify");
        let _none_yet = fs::remove_file(&notify);
        let socket = UnixDatagram::bind(&notify).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let said = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.path("said"))
            .unwrap();
        let server = Command::new(env!("CARGO_BIN_EXE_ringfence"))
            .arg("--config-dir")
            .arg(self.folder.path())
            .args(["run", "-c"])
            .arg(self.path("tree"))
            .env("NOTIFY_SOCKET", &notify)
            .env("TZ", "UTC")
            .env("RINGFENCE_LOG", "debug")
            .stdout(said.try_clone().unwrap())
            .stderr(said)
            .spawn();
        self.server = Some(server.expect("ringfence"));
        assert!(socket.recv(&mut [0; 256]).is_ok(), "{}", self.said());
    }

    /// Has the server end by itself.
    pub(crate) fn stop(&mut self) {
        let mut server = self.server.take().expect("a server");
        run(&format!("kill -TERM {}", server.id()));
        server.wait().unwrap();
    }

    /// Asks until it is so; the pause keeps the asking from taking the processor.
    pub(crate) fn wait(&self, what: &str, is_so: impl Fn() -> bool) {
        let start = Instant::now();
        while !is_so() {
            let acts = fs::read_to_string(self.path("acts")).unwrap();
            assert!(
                start.elapsed() < PATIENCE,
                "waited in vain for {what}: {}\n{acts}",
                self.said()
            );
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }

    /// Is the address banned now, by whoever has the turn?
    pub(crate) fn holds(&self, jail: &str, addr: &str) -> bool {
        let set = format!("ringfence-{jail}");
        let ours = || {
            Command::new("ipset")
                .args(["-q", "test", &set, addr])
                .status()
        };
        match self.path("f2b.sock").exists() {
            true => {
                let (_, text) = self.client(&["get", jail, "banip"]);
                text.split_whitespace().any(|word| word == addr)
            }
            false => ours().unwrap().success(),
        }
    }

    /// The database of both.
    pub(crate) fn database(&self) -> Connection {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE;
        Connection::open_with_flags(self.path("db.sqlite3"), flags).unwrap()
    }

    /// Rows as words.
    pub(crate) fn rows(&self, select: &str) -> Vec<String> {
        let database = self.database();
        let mut select = database.prepare(select).unwrap();
        let rows = select.query_map([], |row| row.get(0)).unwrap();
        let folder = self.folder.path().display().to_string();
        rows.map(|row| row.map(|row: String| row.replace(&folder, "@")))
            .collect::<Result<_, _>>()
            .unwrap()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if let Some(server) = &mut self.server {
            let _ended = server.kill();
            let _ended = server.wait();
        }
    }
}

/// Two folders that get the same lines at the same time.
pub(crate) struct Both(pub(crate) [Lab; 2]);

impl Both {
    /// Two folders with these jails and this filter.
    pub(crate) fn new(jails: &str, filter: &str) -> Both {
        Both([Lab::new(jails, filter), Lab::new(jails, filter)])
    }

    /// Starts fail2ban in both at the same time.
    pub(crate) fn start_fail2ban(&mut self) {
        self.0.iter_mut().for_each(Lab::begin_fail2ban);
        self.0.iter().for_each(Lab::await_fail2ban);
    }

    /// Writes behind a log.
    pub(crate) fn append(&self, log: &str, lines: &str) {
        for lab in &self.0 {
            let mut log = OpenOptions::new()
                .append(true)
                .create(true)
                .open(lab.path(log))
                .unwrap();
            log.write_all(lines.as_bytes()).unwrap();
        }
    }

    /// Waits until both have banned the address, or have let it go.
    pub(crate) fn wait_for(&self, jail: &str, addr: &str, banned: bool) {
        for lab in &self.0 {
            let what = format!("{addr} in {jail}: {banned}");
            lab.wait(&what, || lab.holds(jail, addr) == banned);
        }
    }

    /// Waits until both have written down that they banned the address so many times. Whether
    /// a short ban is still in force then does not matter, so nobody has to look in time.
    pub(crate) fn wait_for_record(&self, jail: &str, addr: &str, times: usize) {
        let bans = format!("SELECT ip FROM bans WHERE jail = '{jail}' AND ip = '{addr}'");
        for lab in &self.0 {
            let what = format!("ban {times} of {addr} in {jail}");
            lab.wait(&what, || lab.rows(&bans).len() == times);
        }
    }

    /// Has both servers end by themselves.
    pub(crate) fn stop(&mut self) {
        for lab in &mut self.0 {
            lab.stop();
        }
    }
}

/// The present date as logs have it, in UTC.
pub(crate) fn now() -> String {
    ago(0)
}

/// The date of so many seconds ago.
pub(crate) fn ago(secs: i64) -> String {
    let now = jiff::Zoned::now().with_time_zone(jiff::tz::TimeZone::UTC);
    let then = now - jiff::SignedDuration::from_secs(secs);
    then.strftime("%Y-%m-%d %H:%M:%S").to_string()
}
