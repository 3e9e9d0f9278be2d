//! From fail2ban to ringfence and back to fail2ban, on one database and one tree, against
//! fail2ban alone over the same lines: bans, their ends, counts and positions must be as
//! if nobody had changed.
//!
//! Debian's fail2ban must be installed: this test does not skip. Two laboratories get the
//! same lines at the same time. In one, ringfence has the second of three turns.

#[path = "common/namespace.rs"]
mod namespace;

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use namespace::run;
use rusqlite::{Connection, OpenFlags};

/// A hang becomes a failure after this long.
const PATIENCE: Duration = Duration::from_secs(60);

/// How far apart the two may be in seconds: their clocks tick, and lines have no fractions.
const SLACK: f64 = 3.0;

const JAILS: &str = "[DEFAULT]\nfilter = logins\nbackend = polling\nusedns = no\nmaxretry = 3\nfindtime = 1h\nbantime = 1h\n\
     [one]\nenabled = true\nmaxmatches = 2\nlogpath = @one.log\n\
     [two]\nenabled = true\nlogpath = @one.log\n          @two*.log\nmaxretry = 4\n\
     bantime = 4\nbantime.increment = true\n";

struct Lab {
    folder: tempfile::TempDir,
    server: Option<Child>,
}

impl Lab {
    fn new() -> Lab {
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
            ("tree/jail.conf", JAILS),
            (
                "tree/filter.d/logins.conf",
                "[Definition]\nfailregex = ^\\s*login of \\S+ failed from <HOST>$\n",
            ),
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

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn said(&self) -> String {
        fs::read_to_string(self.path("said")).unwrap_or_default()
    }

    fn act(&self, action: &str) {
        let text = format!("[DEFAULT]\naction = {action}\n");
        fs::write(self.path("tree/jail.local"), text).unwrap();
    }

    fn client(&self, words: &[&str]) -> (bool, String) {
        let output = Command::new("fail2ban-client")
            .arg("-c")
            .arg(self.path("tree"))
            .args(words)
            .output()
            .expect("fail2ban is needed (package fail2ban)");
        (
            output.status.success(),
            String::from_utf8_lossy(&output.stdout).into_owned(),
        )
    }

    fn start_fail2ban(&mut self) {
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
        let runs = |jail: &str| self.client(&["status", jail]).0;
        self.wait("fail2ban", || runs("one") && runs("two"));
    }

    fn start_ringfence(&mut self) {
        self.act("ringfence");
        let notify = self.path("notify");
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

    fn stop(&mut self) {
        let mut server = self.server.take().expect("a server");
        run(&format!("kill -TERM {}", server.id()));
        server.wait().unwrap();
    }

    /// Asks until it is so; the pause keeps the asking from taking the processor.
    fn wait(&self, what: &str, is_so: impl Fn() -> bool) {
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
    fn holds(&self, jail: &str, addr: &str) -> bool {
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

    fn database(&self) -> Connection {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE;
        Connection::open_with_flags(self.path("db.sqlite3"), flags).unwrap()
    }

    /// Rows as words.
    fn rows(&self, select: &str) -> Vec<String> {
        let database = self.database();
        let mut select = database.prepare(select).unwrap();
        let rows = select.query_map([], |row| row.get(0)).unwrap();
        let folder = self.folder.path().display().to_string();
        rows.map(|row| row.map(|row: String| row.replace(&folder, "@")))
            .collect::<Result<_, _>>()
            .unwrap()
    }

    /// When bans of a table begin and end, by jail and address.
    fn times(&self, table: &str) -> BTreeMap<String, Vec<(f64, f64)>> {
        let database = self.database();
        let select =
            format!("SELECT jail || ' ' || ip, timeofban, bantime FROM {table} ORDER BY timeofban");
        let mut select = database.prepare(&select).unwrap();
        let rows = select.query_map([], |row| {
            let (since, span): (f64, f64) = (row.get(1)?, row.get(2)?);
            Ok((row.get(0)?, (since, since + span)))
        });
        let mut times: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
        for row in rows.unwrap() {
            let (who, time) = row.unwrap();
            times.entry(who).or_default().push(time);
        }
        times
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

/// The one that changes, and fail2ban alone.
struct Both([Lab; 2]);

impl Both {
    fn fail(&self, log: &str, host: u8, times: usize) {
        let now = jiff::Zoned::now().with_time_zone(jiff::tz::TimeZone::UTC);
        let now = now.strftime("%Y-%m-%d %H:%M:%S").to_string();
        let line = |user| format!("{now} login of user{user} failed from 203.0.113.{host}\n");
        let lines: String = (0..times).map(line).collect();
        for lab in &self.0 {
            let mut log = OpenOptions::new()
                .append(true)
                .create(true)
                .open(lab.path(log))
                .unwrap();
            log.write_all(lines.as_bytes()).unwrap();
        }
    }

    fn wait_for(&self, jail: &str, host: u8, banned: bool) {
        let addr = format!("203.0.113.{host}");
        for lab in &self.0 {
            let what = format!("{addr} in {jail}: {banned}");
            lab.wait(&what, || lab.holds(jail, &addr) == banned);
        }
    }

    fn rotate(&self, log: &str) {
        for lab in &self.0 {
            fs::rename(lab.path(log), lab.path(&format!("old-{log}"))).unwrap();
        }
    }

    fn stop(&mut self) {
        for lab in &mut self.0 {
            lab.stop();
        }
    }

    /// Are both databases the same?
    fn compare(&self, when: &str) {
        let [changed, alone] = &self.0;
        // The tries of an address that comes again are worth more, as soon as fail2ban's
        // observer has looked: how many there were differs from run to run.
        for (what, select) in [
            (
                "the latest bans",
                "SELECT concat_ws(' ', jail, ip, bancount, bantime, iif(bancount > 1, '', json_extract(data, '$.failures'))) FROM bips ORDER BY 1",
            ),
            (
                "all bans",
                "SELECT concat_ws(' ', jail, ip, bancount, bantime, iif(bancount > 1, '', json_extract(data, '$.failures'))) FROM bans ORDER BY 1",
            ),
            (
                "the lines that convicted",
                "SELECT concat_ws(' ', jail, ip, json_extract(data, '$.matches')) FROM bips WHERE bancount = 1 ORDER BY 1",
            ),
            // What is in a log may have another date, so the mark is compared by its length.
            (
                "the positions",
                "SELECT concat_ws(' ', jail, path, length(firstlinemd5), lastfilepos) FROM logs ORDER BY 1",
            ),
            (
                "the jails",
                "SELECT concat_ws(' ', name, enabled) FROM jails WHERE name IN ('one', 'two') ORDER BY 1",
            ),
        ] {
            assert_eq!(changed.rows(select), alone.rows(select), "{what} {when}");
        }
        for table in ["bips", "bans"] {
            let (ours, theirs) = (changed.times(table), alone.times(table));
            for ((who, ours), theirs) in ours.iter().zip(theirs.values()) {
                for (ours, theirs) in ours.iter().zip(theirs) {
                    let near = |one: f64, other: f64| (one - other).abs() <= SLACK;
                    let same = near(ours.0, theirs.0) && near(ours.1, theirs.1);
                    assert!(same, "{table} {who} {when}: {ours:?} {theirs:?}");
                }
            }
        }
    }
}

namespaced! {
    /// The file is one that we have made, and its write-ahead log is not empty.
    fn a_kill_leaves_a_file_that_fail2ban_opens() {
        run("ip link set lo up");
        let mut both = Both([Lab::new(), Lab::new()]);
        let both_fail = |host, times| both.fail("one.log", host, times);
        both_fail(1, 3);
        both_fail(9, 2);
        both.0[0].start_ringfence();
        let lab = &both.0[0];
        lab.wait("the ban", || lab.holds("one", "203.0.113.1"));
        let size = fs::metadata(lab.path("one.log")).unwrap().len();
        let read = format!("SELECT jail FROM logs WHERE path LIKE '%one.log' AND lastfilepos = {size}");
        lab.wait("the position", || lab.rows(&read).len() == 2);
        let lab = &mut both.0[0];
        let mut server = lab.server.take().unwrap();
        run(&format!("kill -KILL {}", server.id()));
        server.wait().unwrap();
        assert!(fs::metadata(lab.path("db.sqlite3-wal")).unwrap().len() > 0);
        lab.start_fail2ban();
        both.fail("one.log", 9, 1);
        both.fail("one.log", 2, 3);
        let lab = &mut both.0[0];
        lab.wait("the ban", || lab.holds("one", "203.0.113.2"));
        assert!(lab.holds("one", "203.0.113.1"));
        lab.stop();
        assert_eq!(lab.rows("SELECT ip FROM bips ORDER BY 1"), ["203.0.113.1", "203.0.113.2"]);
    }

    fn nobody_sees_who_had_the_turn() {
        run("ip link set lo up");
        let mut both = Both([Lab::new(), Lab::new()]);

        both.0.iter_mut().for_each(Lab::start_fail2ban);
        both.fail("one.log", 1, 3); // in one for an hour
        both.fail("one.log", 9, 2); // too few; who reads them twice bans
        both.fail("two-a.log", 2, 4); // in two for 4 s, and longer each time
        both.fail("one.log", 8, 3);
        both.wait_for("one", 1, true);
        both.wait_for("two", 2, true);
        both.wait_for("one", 8, true);
        both.wait_for("two", 2, false);
        both.stop();
        both.compare("after the first turn");
        let before = both.0[0].times("bips");

        both.fail("one.log", 3, 3); // nobody watches
        both.0[0].start_ringfence();
        both.0[1].start_fail2ban();
        both.wait_for("one", 3, true);
        both.wait_for("one", 1, true);
        both.fail("one.log", 9, 1); // three by now, and two were in the turn before
        both.fail("one.log", 10, 2);
        both.fail("two-a.log", 2, 4); // again: twice as long
        both.wait_for("two", 2, true);
        both.fail("two-a.log", 11, 3);
        both.fail("two-a.log", 4, 4);
        both.wait_for("two", 4, true);
        both.rotate("two-a.log");
        both.fail("two-a.log", 5, 4);
        both.wait_for("two", 5, true);
        both.fail("one.log", 6, 3);
        both.wait_for("one", 6, true);
        both.wait_for("two", 2, false);
        both.wait_for("two", 5, false);
        both.stop();
        both.compare("after the second turn");
        assert_eq!(both.0[0].times("bips")["one 203.0.113.1"], before["one 203.0.113.1"]);

        both.fail("two-a.log", 7, 4); // nobody watches
        both.0.iter_mut().for_each(Lab::start_fail2ban);
        both.wait_for("two", 7, true);
        for host in [1, 3, 6, 8] {
            both.wait_for("one", host, true);
        }
        both.fail("one.log", 10, 1);
        both.fail("two-a.log", 11, 1);
        both.fail("two-a.log", 2, 4);
        both.wait_for("two", 2, true);
        both.fail("one.log", 12, 3);
        both.wait_for("one", 12, true);
        both.stop();
        both.compare("after the third turn");
        let [changed, _] = &both.0;
        assert_eq!(changed.times("bips")["one 203.0.113.1"], before["one 203.0.113.1"]);
        let counts = "SELECT concat_ws(' ', ip, bancount) FROM bips WHERE ip = '203.0.113.2'";
        assert_eq!(changed.rows(counts), ["203.0.113.2 3"]);
        let few = "SELECT ip FROM bans WHERE ip IN ('203.0.113.9', '203.0.113.10', '203.0.113.11')";
        assert_eq!(changed.rows(few), Vec::<String>::new());
    }
}
