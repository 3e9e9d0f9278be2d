//! A laboratory in one folder: a configuration, a log, and the real program that follows
//! it, with kernel sets and packets of the namespace that the test made.
//!
//! Beside it stands `running`, which only starts a command and waits: for tests that write
//! folders of their own (trees of fail2ban's, journals, registrars).

#![allow(dead_code)] // several test programs share it, and each uses a part

use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::net::UdpSocket;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::namespace::run;

/// A hang becomes a failure after this long.
const PATIENCE: Duration = Duration::from_secs(30);

/// A configuration folder, a log, and the daemon that follows it.
pub(crate) struct Lab {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) daemon: Option<Child>,
    /// Which program is run.
    pub(crate) program: PathBuf,
    /// What the daemon finds in its environment.
    pub(crate) environment: Vec<(&'static str, PathBuf)>,
}

impl Lab {
    pub(crate) fn new(settings: &str, jail: &str) -> Lab {
        run("ip link set lo up");
        let folder = tempfile::tempdir().expect("a folder");
        let lab = Lab {
            folder,
            daemon: None,
            program: env!("CARGO_BIN_EXE_ringfence").into(),
            environment: Vec::new(),
        };
        fs::create_dir(lab.path("jail.d")).unwrap();
        lab.write("ringfence.toml", settings);
        let log = lab.path("kamailio.log");
        lab.write(
            "jail.d/lab.conf",
            &format!(
                "[asterisk]\nenabled = false\n[freeswitch]\nenabled = false\n[kamailio]\nlogpath = {}\n{jail}\n",
                log.display()
            ),
        );
        fs::write(log, "").unwrap();
        lab
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        let folder = self.folder.path().display();
        let head = format!("state_dir = '{folder}/state'\nsocket = '{folder}/socket'\n");
        let text = if name == "ringfence.toml" {
            head + text
        } else {
            text.to_owned()
        };
        fs::write(self.path(name), text).unwrap();
    }

    /// Starts the daemon and waits until it says that it is ready.
    pub(crate) fn start(&mut self) -> String {
        self.start_with(&[])
    }

    pub(crate) fn start_with(&mut self, arguments: &[&str]) -> String {
        self.start_from(Stdio::null(), arguments)
    }

    pub(crate) fn start_from(&mut self, stdin: Stdio, arguments: &[&str]) -> String {
        let notify = self.path("notify");
        let _none = fs::remove_file(&notify);
        let socket = UnixDatagram::bind(&notify).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut daemon = self
            .ringfence(&["run"])
            .args(arguments)
            .env("NOTIFY_SOCKET", &notify)
            .envs(self.environment.iter().cloned())
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(fs::File::create(self.path("log")).unwrap())
            .spawn()
            .expect("ringfence");
        let mut message = [0; 256];
        let ready = socket
            .recv(&mut message)
            .map(|bytes| message[..bytes].to_vec());
        let ready = ready.unwrap_or_else(|error| panic!("{error}: {}", self.log()));
        assert!(
            ready.starts_with(b"READY=1"),
            "{}",
            String::from_utf8_lossy(&ready)
        );
        let lines = BufReader::new(daemon.stdout.take().unwrap()).lines();
        let mut report = String::new();
        for line in lines.map_while(Result::ok) {
            report += &(line.clone() + "\n");
            if line.starts_with("  settings:") {
                break;
            }
        }
        self.daemon = Some(daemon);
        report
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    pub(crate) fn ringfence(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(arguments)
            .arg("--config-dir")
            .arg(self.folder.path());
        command
    }

    /// What a verb prints; the exit code must be as expected.
    pub(crate) fn says(&self, code: i32, arguments: &[&str]) -> String {
        let output = self.ringfence(arguments).output().unwrap();
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert_eq!(
            output.status.code(),
            Some(code),
            "{arguments:?}: {text}\n{}",
            self.log()
        );
        text
    }

    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        let text = self.says(0, &[arguments, &["--json"]].concat());
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    pub(crate) fn fail(&self, addr: &str, times: usize) {
        self.write_log(&line(addr).repeat(times));
    }

    /// Kamailio writes these lines.
    pub(crate) fn write_log(&self, lines: &str) {
        let mut log = OpenOptions::new()
            .append(true)
            .open(self.path("kamailio.log"))
            .unwrap();
        log.write_all(lines.as_bytes()).unwrap();
    }

    pub(crate) fn signal(&mut self, signal: &str) {
        let mut daemon = self.daemon.take().expect("a daemon");
        run(&format!("kill -{signal} {}", daemon.id()));
        daemon.wait().unwrap();
    }

    /// When the present pause ends, as soon as that is written down: a crash before ends it.
    pub(crate) fn pause_end(&self) -> Value {
        let until = self.json(&["status"])["paused_until"].clone();
        assert!(until.is_i64(), "{until}");
        let is_it = format!(
            "SELECT abs(value / 1000000 - {until}) <= 1 FROM ringfence_facts WHERE name = 'firewall.paused_until'"
        );
        let database = self.path("state/ringfence.sqlite3");
        let is_written = || {
            let mut ask = Command::new("sqlite3");
            let said = ask.arg("-readonly").arg(&database).arg(&is_it).output();
            said.unwrap().stdout == b"1\n"
        };
        wait("the pause's record", is_written, || self.log());
        until
    }

    pub(crate) fn is_blocked(&self, set: &str, addr: &str) -> bool {
        Command::new("ipset")
            .args(["-q", "test", set, addr])
            .status()
            .unwrap()
            .success()
    }

    pub(crate) fn wait_for_ban(&self, addr: &str) {
        let set = if addr.contains(':') {
            "ringfence-kamailio6"
        } else {
            "ringfence-kamailio"
        };
        wait(
            &format!("{addr} in {set}"),
            || self.is_blocked(set, addr),
            || self.log(),
        );
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if let Some(daemon) = &mut self.daemon {
            let _ended = daemon.kill();
            let _ended = daemon.wait();
        }
    }
}

/// A line of Kamailio's with the present date.
pub(crate) fn line(addr: &str) -> String {
    line_of(&format!(
        "Auth error for 1001@192.0.2.10 from {addr} cause -2"
    ))
}

/// The same with these words of the script's.
pub(crate) fn line_of(words: &str) -> String {
    let now = jiff::Zoned::now().strftime("%b %e %H:%M:%S").to_string();
    format!("{now} sip1 kamailio[7]: NOTICE: {{1 2 REGISTER 4072471650}} <script>: {words}\n")
}

/// Asks until it is so; the pause keeps the asking from taking the processor.
pub(crate) fn wait(what: &str, is_so: impl Fn() -> bool, explain: impl Fn() -> String) {
    let start = Instant::now();
    while !is_so() {
        assert!(
            start.elapsed() < PATIENCE,
            "waited in vain for {what}: {}",
            explain()
        );
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

/// Lets a test send from all addresses of a prefix, which are not our own for all that.
pub(crate) fn may_send_from(prefix: &str) {
    run(&format!("ip route add local {prefix} dev lo"));
    run("sysctl -q -w net.ipv6.ip_nonlocal_bind=1"); // IPv4 needs no more than the route
}

/// The kernel's rules and sets are gone, as after a reboot.
pub(crate) fn forget_all() {
    run("iptables -t raw -F");
    run("ip6tables -t raw -F");
    // The kernel lets go of sets a moment after the rules are gone.
    let is_gone = || {
        let script = "ipset -q destroy ringfence; ipset -q destroy ringfence~lifted; ipset -q destroy; ipset list -n";
        let output = Command::new("sh").args(["-c", script]).output().unwrap();
        output.stdout.is_empty()
    };
    wait("the sets' end", is_gone, || run("ipset list -n"));
}

/// Does a packet from this address reach a server on this machine?
pub(crate) fn reaches(from: &str, server: &UdpSocket) -> bool {
    let mut packet = [0; 64];
    let sender = UdpSocket::bind((from, 0)).unwrap();
    let word = format!("{:?}", Instant::now());
    sender
        .send_to(word.as_bytes(), server.local_addr().unwrap())
        .unwrap();
    // A packet over loopback has arrived, or not, when the sending is done.
    server.set_nonblocking(true).unwrap();
    server
        .recv(&mut packet)
        .is_ok_and(|bytes| &packet[..bytes] == word.as_bytes())
}
