//! A real journald in a mount namespace of its own, and the real program that reads it.

#[path = "common/namespace.rs"]
mod namespace;
#[path = "common/running.rs"]
mod running;

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use namespace::run;
use running::is_banned;

/// Where a systemd of any age has it.
const JOURNALD: [&str; 2] = [
    "/lib/systemd/systemd-journald",
    "/usr/lib/systemd/systemd-journald",
];

/// Children that are ended whatever happens.
struct Lab {
    folder: tempfile::TempDir,
    children: Vec<Child>,
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.children.iter_mut().for_each(running::end);
    }
}

impl Lab {
    /// A journald that nobody else sees.
    fn new() -> Lab {
        Lab::with("")
    }

    /// The same with these settings in its `[Journal]`.
    fn with(settings: &str) -> Lab {
        run("ip link set lo up");
        run("mount -t tmpfs none /run");
        fs::create_dir_all("/run/systemd/journal").unwrap();
        fs::create_dir_all("/run/systemd/journald.conf.d").unwrap();
        let settings = format!("[Journal]\n{settings}\n");
        fs::write("/run/systemd/journald.conf.d/lab.conf", settings).unwrap();
        if fs::metadata("/var/log/journal").is_ok() {
            run("mount -t tmpfs none /var/log/journal");
        }
        let mut lab = Lab {
            folder: tempfile::tempdir().unwrap(),
            children: Vec::new(),
        };
        lab.start_journald();
        lab
    }

    fn start_journald(&mut self) {
        let journald = JOURNALD.iter().find(|path| fs::metadata(path).is_ok());
        let journald = journald.expect("systemd-journald is needed (package systemd)");
        let said = fs::File::create(self.path("journald")).unwrap();
        let child = Command::new(journald)
            .stdout(Stdio::null())
            .stderr(said)
            .spawn();
        self.children.push(child.unwrap());
        self.wait("journald", || {
            fs::metadata("/run/systemd/journal/socket").is_ok() && write("x", "begin")
        });
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn start_ringfence(&mut self, jails: &str) {
        let (state, control) = (self.path("state"), self.path("socket"));
        let settings = format!("state_dir = {state:?}\nsocket = {control:?}\n");
        fs::write(self.path("ringfence.toml"), settings).unwrap();
        fs::create_dir_all(self.path("jail.d")).unwrap();
        fs::write(self.path("jail.d/lab.conf"), jails).unwrap();
        let child = running::start(&mut self.ringfence(&["run"]), self.folder.path());
        self.children.push(child);
    }

    fn ringfence(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringfence"));
        command
            .arg("--config-dir")
            .arg(self.folder.path())
            .args(arguments);
        command
    }

    /// Kills the child that was started last.
    fn kill(&mut self) {
        let mut child = self.children.pop().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    fn wait(&self, what: &str, is_so: impl Fn() -> bool) {
        running::wait(what, self.folder.path(), is_so);
    }

    fn wait_for_ban(&self, jail: &str, addr: &str) {
        self.wait(addr, || is_banned(jail, addr));
    }
}

/// Writes an entry by journald's own protocol; false if nobody takes it.
fn write(lab: &str, message: &str) -> bool {
    let entry = format!("SYSLOG_IDENTIFIER=kamailio\nLAB={lab}\nMESSAGE={message}\n");
    let socket = UnixDatagram::unbound().unwrap();
    socket
        .send_to(entry.as_bytes(), "/run/systemd/journal/socket")
        .is_ok()
}

fn fail(lab: &str, addr: &str, times: usize) {
    for _ in 0..times {
        let message = format!(
            "NOTICE: {{1 2 REGISTER lab}} <script>: Auth error for 1001@192.0.2.10 from {addr} cause -2"
        );
        assert!(write(lab, &message));
    }
}

namespaced! {
    fn jails_read_the_journal() {
        // journald looks up who writes: it believes that this is Kamailio.
        fs::write("/proc/self/comm", "kamailio").unwrap();
        let jails = "[DEFAULT]\nmaxretry = 3\n[asterisk]\nenabled = false\n[freeswitch]\nenabled = false\n[kamailio]\njournalmatch = _COMM=kamailio\n\
            [other]\nenabled = true\nfilter = kamailio\nbackend = systemd\n\
            journalmatch = LAB=third PRIORITY=6\n  LAB=third + LAB=kamailio MESSAGE=never\n";
        let mut lab = Lab::new();
        fail("kamailio", "198.51.100.1", 3); // before the start, and within findtime
        lab.start_ringfence(jails);
        lab.wait_for_ban("kamailio", "198.51.100.1");
        fail("kamailio", "198.51.100.2", 3);
        lab.wait_for_ban("kamailio", "198.51.100.2");
        // A jail reads what its matches take; all of this comes from "kamailio".
        fail("third", "198.51.100.3", 3);
        lab.wait_for_ban("other", "198.51.100.3");
        lab.wait_for_ban("kamailio", "198.51.100.3");
        assert!(!is_banned("other", "198.51.100.2"), "it is not that jail's entry");
        let status = lab.ringfence(&["status"]).output().unwrap();
        let status = String::from_utf8_lossy(&status.stdout).into_owned();
        assert!(status.contains("systemd-journal"), "{status}");

        // Tries and cursor outlive a kill, and what was written meanwhile is read.
        fail("kamailio", "198.51.100.4", 1);
        let database = lab.path("state/ringfence.sqlite3");
        lab.wait("the try to be written down", || {
            let query = "SELECT count(*) FROM ringfence_tries WHERE ip = '198.51.100.4'";
            let asked = Command::new("sqlite3").arg("-readonly").arg(&database).arg(query).output();
            asked.unwrap().stdout == b"1\n"
        });
        lab.kill();
        fail("kamailio", "198.51.100.4", 1);
        fail("kamailio", "198.51.100.5", 2);
        lab.start_ringfence(jails);
        fail("kamailio", "198.51.100.6", 3);
        lab.wait_for_ban("kamailio", "198.51.100.6");
        assert!(!is_banned("kamailio", "198.51.100.4") && !is_banned("kamailio", "198.51.100.5"));
        fail("kamailio", "198.51.100.4", 1);
        lab.wait_for_ban("kamailio", "198.51.100.4");
        fail("kamailio", "198.51.100.5", 1);
        lab.wait_for_ban("kamailio", "198.51.100.5");

        // A cursor of another journal is none; the time of its entry counts.
        lab.kill();
        let forge = "UPDATE ringfence_facts SET value = json_set(value, '$.cursor', 's=0;i=1') WHERE name LIKE 'journal.%'";
        assert!(Command::new("sqlite3").arg(&database).arg(forge).status().unwrap().success());
        lab.start_ringfence(jails);
        fail("kamailio", "198.51.100.9", 3);
        lab.wait_for_ban("kamailio", "198.51.100.9");

        // Rotation is not noticed, and a journald that comes back is read on.
        run("journalctl --rotate --quiet");
        fail("kamailio", "198.51.100.7", 3);
        lab.wait_for_ban("kamailio", "198.51.100.7");
        let mut journald = lab.children.remove(0);
        journald.kill().unwrap();
        journald.wait().unwrap();
        fs::remove_file("/run/systemd/journal/socket").unwrap();
        lab.start_journald();
        fail("kamailio", "198.51.100.8", 3);
        lab.wait_for_ban("kamailio", "198.51.100.8");
    }

    fn instances_of_a_unit_are_read_and_what_journald_suppressed_is_counted() {
        let mut lab = Lab::with("RateLimitIntervalSec=1s\nRateLimitBurst=5\nStorage=volatile");
        lab.start_ringfence("[DEFAULT]\nmaxretry = 3\n");
        fail("x", "198.51.100.1", 3); // journald knows of no unit
        let is_taken = || run("journalctl --no-pager --output=cat").matches("198.51.100.1 ").count() == 3;
        lab.wait("journald to have looked", is_taken);
        // journald reads there of which unit a process is, as systemd has put it.
        let place = "/system.slice/system-kamailio.slice/kamailio@1.service";
        fs::write("/run/place", format!("1:name=systemd:{place}\n0::{place}\n")).unwrap();
        run(&format!("mount --bind /run/place /proc/{}/cgroup", std::process::id()));
        lab.wait("a ban", || {
            fail("x", "198.51.100.2", 1); // journald remembers a process for a second
            is_banned("kamailio", "198.51.100.2")
        });
        assert!(!is_banned("kamailio", "198.51.100.1"), "anybody can call himself kamailio");
        for _ in 0..200 {
            write("x", "NOTICE: much");
        }
        let status = || {
            // It says so when the next message comes in another second.
            write("x", "NOTICE: later");
            let status = lab.ringfence(&["status", "--json"]).output().unwrap();
            let status: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
            let logs = status["logs"].as_array().unwrap().clone();
            logs.into_iter().find(|log| log["path"] == "systemd-journal").unwrap()
        };
        lab.wait("the loss to be counted", || status()["messages_lost"].as_u64() >= Some(50));
        assert!(status()["loss_reports"].as_u64() >= Some(1));
        let text = lab.ringfence(&["status"]).output().unwrap().stdout;
        let text = String::from_utf8(text).unwrap();
        assert!(text.contains("    BLIND: ") && text.contains("lost before they came into it"), "{text}");
        let said = running::said(lab.folder.path());
        assert!(said.contains("messages were lost before they came into the log"), "{said}");
    }
}
