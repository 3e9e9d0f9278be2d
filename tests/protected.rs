//! Who is never banned, in the real program: names, while they are looked up and when
//! nobody answers any more, and administrators who are logged in.

#[path = "common/nameserver.rs"]
mod nameserver;
#[path = "common/namespace.rs"]
mod namespace;
#[path = "common/running.rs"]
mod running;

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command};

use nameserver::NameServer;
use namespace::run;
use running::is_banned;

struct Lab {
    folder: tempfile::TempDir,
    daemon: Option<Child>,
}

impl Lab {
    fn new(settings: &str) -> Lab {
        run("ip link set lo up");
        let folder = tempfile::tempdir().expect("a folder");
        let lab = Lab {
            folder,
            daemon: None,
        };
        fs::create_dir(lab.path("jail.d")).unwrap();
        let (state, socket) = (lab.path("state"), lab.path("socket"));
        let head = format!("state_dir = {state:?}\nsocket = {socket:?}\n");
        fs::write(lab.path("ringfence.toml"), head + settings).unwrap();
        let log = lab.path("kamailio.log");
        let jail = format!(
            "[asterisk]\nenabled = false\n[kamailio]\nmaxretry = 2\nlogpath = {}\n",
            log.display()
        );
        fs::write(lab.path("jail.d/lab.conf"), jail).unwrap();
        fs::write(log, "").unwrap();
        lab
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn ringfence(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringfence"));
        command
            .args(["--config-dir".as_ref(), self.folder.path()])
            .args(arguments);
        command
    }

    fn start(&mut self) {
        let mut command = self.ringfence(&["run"]);
        self.daemon = Some(running::start(&mut command, self.folder.path()));
    }

    fn stop(&mut self) {
        self.daemon.iter_mut().for_each(running::end);
    }

    fn fail(&self, addr: &str, times: usize) {
        let now = jiff::Zoned::now().strftime("%b %e %H:%M:%S").to_string();
        let line = format!(
            "{now} sip1 kamailio[7]: NOTICE: {{1 2 REGISTER 4072471650}} <script>: Auth error for 1001@192.0.2.10 from {addr} cause -2\n"
        );
        let mut log = OpenOptions::new();
        let mut log = log.append(true).open(self.path("kamailio.log")).unwrap();
        log.write_all(line.repeat(times).as_bytes()).unwrap();
    }

    /// Who is protected, as `status` shows it.
    fn protected(&self) -> Vec<String> {
        let output = self.ringfence(&["status", "--json"]).output().unwrap();
        let status: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let known = status["protected"].as_array().unwrap().iter();
        known
            .map(|known| {
                let text = |key: &str| known[key].as_str().unwrap().to_owned();
                format!("{} ({})", text("addr"), text("why"))
            })
            .collect()
    }

    fn wait_for_protected(&self, known: &str) {
        let is_known = || self.protected().iter().any(|one| one == known);
        running::wait(known, self.folder.path(), is_known);
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.stop();
    }
}

const TABLE: &str = "trunk.example.net A 192.0.2.7
    trunk.example.net AAAA 2001:db8::7
    _sip._udp.example.net SRV a.example.net
    _sip._udp.example.net SRV b.example.net
    a.example.net A 192.0.2.8
    b.example.net A 192.0.2.9";

namespaced! {
    fn names_are_protected_as_soon_as_they_are_known_and_for_good() {
        let mut lab = Lab::new("protect = ['trunk.example.net', '_sip._udp.example.net', 'nobody.example.net']\n");
        let server = NameServer::start(lab.folder.path());
        lab.start(); // though nobody answers
        lab.fail("192.0.2.7", 2);
        running::wait("the trunk to be banned", lab.folder.path(), || is_banned("kamailio", "192.0.2.7"));
        server.set(TABLE);
        for known in ["192.0.2.7 (protect trunk.example.net)", "2001:db8::7 (protect trunk.example.net)",
            "192.0.2.8 (protect _sip._udp.example.net)", "192.0.2.9 (protect _sip._udp.example.net)"] {
            lab.wait_for_protected(known);
        }
        running::wait("the trunk's pardon", lab.folder.path(), || !is_banned("kamailio", "192.0.2.7"));
        assert!(is_banned("allow", "192.0.2.8") && is_banned("allow", "2001:db8::7"), "they stand in the allow set");
        running::wait("the answers to be kept", lab.folder.path(), || {
            let facts = "SELECT value FROM ringfence_facts WHERE name = 'protect.names'";
            let path = lab.path("state/ringfence.sqlite3");
            let output = Command::new("sqlite3").arg(path).arg(facts).output().unwrap();
            let kept = String::from_utf8(output.stdout).unwrap();
            kept.contains("192.0.2.7") && kept.contains("192.0.2.9")
        });

        lab.stop();
        server.set(""); // no such name any more
        lab.start();
        assert!(running::said(lab.folder.path()).contains("192.0.2.9 (protect _sip._udp.example.net)"));
        lab.fail("192.0.2.9", 9);
        lab.fail("198.51.100.1", 2);
        running::wait("a stranger's ban", lab.folder.path(), || is_banned("kamailio", "198.51.100.1"));
        assert!(!is_banned("kamailio", "192.0.2.9"));
    }

    fn administrators_who_are_logged_in_are_protected() {
        let mut lab = Lab::new("");
        run("mount -t tmpfs tmpfs /run");
        let mut entry = vec![0; if cfg!(target_arch = "aarch64") { 400 } else { 384 }];
        entry[0] = 7; // USER_PROCESS
        entry[4..8].copy_from_slice(&std::process::id().to_ne_bytes());
        entry[44..48].copy_from_slice(b"root");
        entry[76..85].copy_from_slice(b"192.0.2.7");
        fs::write("/run/utmp", entry).unwrap();
        lab.start();
        lab.wait_for_protected("192.0.2.7 (login root)");

        fs::create_dir_all("/run/systemd/sessions").unwrap();
        let session = "UID=0\nUSER=eve\nSTATE=active\nREMOTE=1\nCLASS=user\nREMOTE_HOST=2001:db8::7\n";
        fs::write("/run/systemd/sessions/4", session).unwrap();
        fs::write("/run/utmp", "").unwrap(); // he has logged out
        lab.wait_for_protected("2001:db8::7 (login eve)");
        lab.fail("192.0.2.7", 9);
        lab.fail("2001:db8::7", 9);
        lab.fail("2001:db8::8", 2); // her neighbour in the same /64
        running::wait("a stranger's ban", lab.folder.path(), || is_banned("kamailio", "2001:db8::8"));
        assert!(!is_banned("kamailio", "2001:db8::7") && !is_banned("kamailio", "192.0.2.7"));
    }
}
