//! The real program in a network namespace of its own, with real kernel sets, a real
//! database and real packets: what a person would do with it, and what kills do to it.

#[path = "common/lab.rs"]
mod lab;
#[path = "common/nameserver.rs"]
mod nameserver;
#[path = "common/namespace.rs"]
mod namespace;

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command};

use lab::{Lab, forget_all, line, may_send_from, reaches, wait};
use nameserver::NameServer;
use namespace::run;
use serde_json::Value;

/// A program that ends with its test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ended = self.0.kill();
        let _ended = self.0.wait();
    }
}

/// Where the library lies that fakes clocks (Debian's libfaketime).
const FAKETIME: [&str; 2] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
];

namespaced! {
    /// What a filter has missed is known over a reload, until it is mended.
    fn near_misses_outlive_a_reload() {
        let mut lab = Lab::new("", "maxretry = 2\nfilter = pbx");
        std::fs::create_dir(lab.path("filter.d")).unwrap();
        let filter = |lab: &Lab, more: &str| {
            let text = format!("[Definition]\nfailregex = <script>: Refused[, ]+by us from <ADDR>$\n            {more}\n");
            lab.write("filter.d/pbx.conf", &text);
        };
        filter(&lab, "");
        lab.start();
        let missed = || lab.json(&["status"])["logs"][0]["near_misses"].clone();
        let miss = || lab.write_log(&lab::line_of("Refused by us, rule 7, from 198.51.100.7"));
        miss();
        wait("the near miss", || missed()[0]["count"] == 1, || lab.log());
        lab.says(0, &["reload"]);
        assert_eq!(missed()[0]["count"], 1);
        miss();
        wait("another one", || missed()[0]["count"] == 2, || lab.log());
        filter(&lab, "<script>: Refused by us, rule \\d+, from <ADDR>$");
        lab.says(0, &["reload"]);
        assert_eq!(missed(), Value::Array(Vec::new()));
        (0..2).for_each(|_| miss());
        lab.wait_for_ban("198.51.100.7");
    }
}

namespaced! {
    fn an_attacker_is_banned_and_an_operator_can_help_it() {
        let mut lab = Lab::new("protect = ['192.0.2.99']\n", "maxretry = 3");
        let report = lab.start();
        for part in ["jail kamailio: filter kamailio", "3 failures in 10m ban for 1h", "kamailio.log",
            "bans go to: kernel ipset", "APIBAN: off", "192.0.2.99 (protect)"] {
            assert!(report.contains(part), "{part}: {report}");
        }
        may_send_from("192.0.2.0/24");
        may_send_from("203.0.113.0/24");
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        assert!(reaches("192.0.2.7", &server));
        lab.fail("192.0.2.99", 9);
        lab.fail("203.0.113.1", 2);
        lab.fail("192.0.2.7", 3);
        lab.wait_for_ban("192.0.2.7");
        assert!(!reaches("192.0.2.7", &server));
        assert!(reaches("203.0.113.1", &server) && reaches("192.0.2.99", &server));
        lab.fail("2001:db8:bad:1::5", 3);
        lab.wait_for_ban("2001:db8:bad:1::77");

        lab.write_log(&line("198.51.100.77").replace("cause -2", "cause -2, says a newer server"));
        wait("the near miss", || lab.json(&["status"])["logs"][0]["near_misses"][0]["count"] == 1, || lab.log());
        let text = lab.says(0, &["status"]);
        assert!(text.contains("NEAR MISS: no pattern of jail kamailio matches 1 line of"), "{text}");
        lab.write_log(&line("198.51.100.78").replace("} <script>: ", "} <script>: y} <script>: "));
        wait("the unclear line", || lab.says(0, &["status"]).contains("UNCLEAR: 1 line of"), || lab.log());
        let unclear = lab.json(&["status"])["logs"][0]["near_misses"][1].clone();
        assert!(unclear["remedy"].as_str().is_some_and(|remedy| remedy.contains("comment out `log_prefix`")), "{unclear}");

        let status = lab.json(&["status"]);
        let jail = &status["jails"][0];
        assert_eq!((&jail["name"], &jail["banned"], &jail["failing"]), (&"kamailio".into(), &2.into(), &1.into()));
        assert_eq!(status["logs"][0]["followed"], true);
        assert_eq!(status["firewall_missing"], Value::Array(Vec::new()));
        let text = lab.says(0, &["status"]);
        assert!(text.contains("192.0.2.7") && text.contains("3 failed tries"), "{text}");

        let text = lab.says(0, &["unban", "192.0.2.7"]);
        assert!(text.contains("lifted the ban of jail kamailio on 192.0.2.7"), "{text}");
        wait("the end of the ban", || reaches("192.0.2.7", &server), || lab.log());
        let text = lab.says(1, &["ban", "192.0.2.99"]);
        assert!(text.contains("192.0.2.99 is protected: remove it from `protect` in ringfence.toml, and"), "{text}");
        let text = lab.says(1, &["ban", "127.0.0.1"]);
        assert!(text.contains("127.0.0.1 is protected: loopback, link-local,"), "{text}");
        let ban = lab.json(&["ban", "203.0.113.0/24", "--time", "2h"]);
        assert_eq!((&ban["addr"], &ban["jail"]), (&"203.0.113.0/24".into(), &"operator".into()));
        wait("the ban", || !reaches("203.0.113.1", &server), || lab.log());

        let text = lab.says(0, &["stop"]);
        assert!(text.contains("stopped"), "{text}");
        assert!(lab.daemon.take().unwrap().wait().unwrap().success());
        assert!(!run("iptables -t raw -S").contains("ringfence"));
        assert!(!run("ip6tables -t raw -S").contains("ringfence"));
        assert!(lab.is_blocked("ringfence-operator", "203.0.113.1") && reaches("203.0.113.1", &server));
        lab.start();
        assert!(!reaches("203.0.113.1", &server), "the next start goes on");
        lab.says(0, &["stop", "--purge"]);
        assert!(lab.daemon.take().unwrap().wait().unwrap().success());
        assert_eq!(run("ipset list -n"), "");
        assert!(!run("iptables -t raw -S").contains("ringfence"));
        let text = lab.says(1, &["status"]);
        assert!(text.contains("ringfence is not running"), "{text}");
        assert!(lab.says(0, &["stop"]).contains("no daemon runs"));
        assert!(lab.says(0, &["stop", "--purge"]).contains("rules and sets are taken away"));
    }

    fn bans_outlive_kills_restarts_and_reboots() {
        let mut lab = Lab::new("", "maxretry = 2");
        lab.start();
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        may_send_from("198.51.100.0/24");
        let addrs: Vec<String> = (1..=20).map(|host| format!("198.51.100.{host}")).collect();
        for addr in &addrs {
            lab.fail(addr, 2);
        }
        lab.wait_for_ban("198.51.100.20");
        lab.signal("KILL");
        assert!(addrs.iter().all(|addr| !reaches(addr, &server)), "the kernel holds them without us");
        lab.fail("198.51.100.1", 3); // nobody is watching
        lab.start();
        let status = lab.json(&["status"]);
        assert_eq!((&status["banned"], &status["bans_total"]), (&20.into(), &0.into()));
        wait("the log to be read", || {
            lab.json(&["status"])["logs"][0]["offset"] == fs::metadata(lab.path("kamailio.log")).unwrap().len()
        }, || lab.log());
        assert_eq!(lab.json(&["status"])["bans_total"], 0, "nothing is banned twice");

        lab.signal("TERM");
        assert!(lab.is_blocked("ringfence-kamailio", "198.51.100.1"), "a restart has no gap");
        lab.start();
        assert_eq!(lab.json(&["status"])["banned"], 20);

        lab.signal("TERM");
        forget_all();
        lab.start();
        assert!((1..=20).all(|host| lab.is_blocked("ringfence-kamailio", &format!("198.51.100.{host}"))));
        assert!(run("iptables -t raw -S").contains("ringfence"));
    }

    fn after_a_reboot_all_is_in_force_before_it_is_ready() {
        // Nobody answers here: no network, no APIBAN, and a name server that leaves everybody waiting.
        let mut lab = Lab::new("apiban.url = 'http://192.0.2.53:8080/'\napiban.insecure_http = true\n\
             protect = ['trunk.example.net', '_sip._udp.trunk.example.net']\n",
            "maxretry = 2\nignoreip = pbx.example.net");
        let names = NameServer::start(lab.folder.path());
        let key = lab.path("apiban.key");
        fs::write(&key, "0123456789abcdef0123456789abcdef\n").unwrap();
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
        lab.start();
        for addr in ["198.51.100.1", "2001:db8:bad:1::5"] {
            lab.fail(addr, 2);
            lab.wait_for_ban(addr);
        }
        lab.signal("TERM");
        let expires = jiff::Zoned::now().timestamp().as_second() + 3_600;
        let listed = format!("INSERT INTO ringfence_list VALUES('203.0.113.7', {expires}), ('2001:db8:7::7', {expires})");
        let database = lab.path("state/ringfence.sqlite3");
        assert!(Command::new("sqlite3").arg(&database).arg(listed).status().unwrap().success());
        forget_all();
        lab.start();
        let in_force = [("kamailio", "198.51.100.1"), ("kamailio6", "2001:db8:bad:1::77"),
            ("apiban", "203.0.113.7"), ("apiban6", "2001:db8:7::7")];
        for (set, addr) in in_force {
            assert!(lab.is_blocked(&format!("ringfence-{set}"), addr), "{addr}: {}", lab.log());
        }
        may_send_from("203.0.113.0/24");
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        assert!(!reaches("203.0.113.7", &server) && reaches("203.0.113.8", &server));
        // Whoever waits for an answer still gets it.
        names.set("pbx.example.net A 198.51.100.1\ntrunk.example.net A 203.0.113.7");
        for (set, addr) in [("kamailio", "198.51.100.1"), ("apiban", "203.0.113.7")] {
            wait("the answer", || !lab.is_blocked(&format!("ringfence-{set}"), addr), || lab.log());
        }
        assert!(lab.is_blocked("ringfence-kamailio6", "2001:db8:bad:1::77"));
    }

    fn a_locked_database_is_brought_in_late() {
        let mut lab = Lab::new("", "maxretry = 2");
        lab.start();
        for addr in ["198.51.100.1", "198.51.100.2"] {
            lab.fail(addr, 2);
            lab.wait_for_ban(addr);
        }
        lab.signal("TERM");
        run("iptables -t raw -F");
        run("ip6tables -t raw -F");
        wait("the sets' end", || {
            let script = "ipset -q destroy ringfence; ipset -q destroy; ipset list -n";
            Command::new("sh").args(["-c", script]).output().unwrap().stdout.is_empty()
        }, || run("ipset list -n"));
        let other = rusqlite::Connection::open(lab.path("state/ringfence.sqlite3")).unwrap();
        other.execute_batch("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE").unwrap();
        lab.write("kamailio.log", ""); // or reading back findtime would tell
        lab.start();
        let status = lab.json(&["status"]);
        assert_eq!(status["banned"], 0);
        assert!(status["database_trouble"].as_str().unwrap().contains("database is locked"));
        assert!(lab.says(0, &["status"]).contains("  DATABASE: the database "));
        lab.says(0, &["unban", "198.51.100.2/31"]);
        lab.fail("198.51.100.3", 2);
        lab.wait_for_ban("198.51.100.3");
        drop(other);
        lab.wait_for_ban("198.51.100.1");
        let is_well = || lab.json(&["status"])["database_trouble"].is_null();
        wait("the end of the trouble", is_well, || lab.log());
        assert_eq!(lab.json(&["status"])["banned"], 2, "the pardon came before the ban was known");
        lab.signal("TERM");
        assert!(lab.log().contains("bans hold in memory and kernel"), "{}", lab.log());
        lab.start();
        assert_eq!(lab.json(&["status"])["banned"], 2);
    }

    fn a_full_disk_stops_no_ban() {
        let mut lab = Lab::new("", "maxretry = 2");
        let state = lab.path("state");
        fs::create_dir(&state).unwrap();
        run(&format!("mount -t tmpfs -o size=1m tmpfs {}", state.display()));
        lab.start();
        let mut ballast = fs::File::create(state.join("ballast")).unwrap();
        while ballast.write_all(&[0; 4_096]).is_ok() {}
        lab.fail("198.51.100.1", 2);
        lab.wait_for_ban("198.51.100.1");
        let trouble = || lab.json(&["status"])["database_trouble"].to_string();
        wait("the trouble", || trouble().contains("full"), || trouble() + &lab.log());
        fs::remove_file(state.join("ballast")).unwrap();
        drop(ballast);
        wait("its end", || trouble() == "null", || trouble() + &lab.log());
        assert!(lab.log().contains("nothing is missing in it"), "{}", lab.log());
        let database = rusqlite::Connection::open(state.join("ringfence.sqlite3")).unwrap();
        let known: String = database.query_row("SELECT ip FROM bips", [], |row| row.get(0)).unwrap();
        assert_eq!(known, "198.51.100.1");
    }

    fn a_damaged_database_costs_no_ban() {
        let mut lab = Lab::new("", "maxretry = 2");
        lab.start();
        lab.fail("198.51.100.1", 2);
        lab.wait_for_ban("198.51.100.1");
        let path = lab.path("state/ringfence.sqlite3");
        let known = || {
            let count = Command::new("sqlite3").arg("-readonly").arg(&path).arg("SELECT count(*) FROM bips").output();
            String::from_utf8(count.unwrap().stdout).unwrap().trim().to_owned()
        };
        wait("the ban to be written", || known() == "1", || lab.log());
        lab.signal("TERM");
        fs::write(&path, "notes ".repeat(999)).unwrap();
        lab.start();
        assert_eq!(lab.json(&["status"])["banned"], 1, "the kernel knows it");
        wait("the ban to be written again", || known() == "1", || lab.log());
        assert!(lab.log().contains("ringfence.sqlite3.corrupt-"), "{}", lab.log());
        // Somebody tidies up.
        fs::remove_dir_all(lab.path("state")).unwrap();
        lab.fail("198.51.100.2", 2);
        wait("both bans in a new one", || known() == "2", || lab.log());
    }

    fn tries_outlive_a_kill() {
        let mut lab = Lab::new("", "maxretry = 5");
        lab.start();
        for (addr, times) in [("198.51.100.1", 4), ("198.51.100.2", 3)] {
            lab.fail(addr, times);
        }
        let database = lab.path("state/ringfence.sqlite3");
        let written = || {
            let counts = "SELECT group_concat(json_extract(forms, '$[0][1]')) FROM ringfence_tries ORDER BY ip";
            let asked = Command::new("sqlite3").arg("-readonly").arg(&database).arg(counts).output();
            asked.unwrap().stdout == b"4,3\n"
        };
        wait("the tries to be written down", written, || lab.log());
        lab.signal("KILL");
        lab.start();
        lab.fail("198.51.100.2", 1);
        lab.fail("198.51.100.1", 1);
        lab.wait_for_ban("198.51.100.1");
        assert!(!lab.is_blocked("ringfence-kamailio", "198.51.100.2"), "four are not five");
        assert_eq!(lab.json(&["status"])["bans_total"], 1);
    }

    fn a_log_may_come_later_and_be_rotated() {
        let mut lab = Lab::new("", "maxretry = 2");
        let log = lab.path("kamailio.log");
        fs::remove_file(&log).unwrap();
        let report = lab.start();
        assert!(report.contains("no log yet; waiting for"), "{report}");
        fs::write(&log, line("198.51.100.1").repeat(2)).unwrap();
        lab.wait_for_ban("198.51.100.1");
        lab.fail("198.51.100.2", 1);
        fs::rename(&log, lab.path("kamailio.log.1")).unwrap();
        fs::write(&log, line("198.51.100.2")).unwrap();
        lab.wait_for_ban("198.51.100.2");
        let half = line("198.51.100.3");
        let (first, second) = half.split_at(60);
        for _ in 0..2 {
            for part in [first, second] {
                OpenOptions::new().append(true).open(&log).unwrap().write_all(part.as_bytes()).unwrap();
            }
        }
        lab.wait_for_ban("198.51.100.3");
    }

    fn whatever_lines_come_by_the_verdict_is_the_same() {
        let mut lab = Lab::new("", "maxretry = 2");
        let (pipe, socket) = (lab.path("pipe"), lab.path("syslog"));
        run(&format!("mkfifo {}", pipe.display()));
        let logs = format!("{}\n {}\n unix:{}\n -", lab.path("kamailio.log").display(), pipe.display(), socket.display());
        lab.write("jail.d/lab.conf", &format!("[asterisk]\nenabled = false\n[freeswitch]\nenabled = false\n[kamailio]\nmaxretry = 3\nlogpath = {logs}\n"));
        let (stdin, mut typed) = std::io::pipe().unwrap();
        lab.start_from(stdin.into(), &[]);
        // Three lines convict, two and a half do not; wherever they come from, and whoever sends them.
        let (guilty, innocent) = (|from| format!("198.51.100.{from}"), |from| format!("203.0.113.{from}"));
        lab.fail(&guilty(1), 3);
        lab.fail(&innocent(1), 2);
        let mut piped = OpenOptions::new().write(true).open(&pipe).unwrap();
        for (way, from) in [(&mut piped as &mut dyn Write, 2), (&mut typed, 3)] {
            way.write_all(line(&innocent(from)).repeat(2).as_bytes()).unwrap();
            way.write_all(line(&guilty(from)).repeat(3).as_bytes()).unwrap();
            let third = line(&innocent(from));
            way.write_all(third.trim_end().as_bytes()).unwrap();
        }
        let sender = UnixDatagram::unbound().unwrap();
        sender.connect(&socket).unwrap();
        let text = "NOTICE: {1 2 REGISTER x} <script>: Auth error for 1001@192.0.2.10 from";
        let now = jiff::Zoned::now();
        let (old, new) = (now.strftime("%b %e %H:%M:%S"), now.strftime("%Y-%m-%dT%H:%M:%S%:z"));
        for addr in [&guilty(4), &innocent(4)] {
            sender.send(format!("<133>{old} sip1 kamailio[7]: {text} {addr} cause -2").as_bytes()).unwrap();
            sender.send(format!("<133>{old} kamailio[7]: {text} {addr} cause -2\n").as_bytes()).unwrap();
        }
        sender.send(format!("<133>1 {new} sip1 kamailio 7 - - {text} {} cause -2", guilty(4)).as_bytes()).unwrap();
        // A newline begins no line.
        sender.send(format!("<133>{old} sip1 kamailio[7]: x\n{}", line(&innocent(4))).as_bytes()).unwrap();
        drop((piped, typed));
        for from in 1..=4 {
            lab.wait_for_ban(&guilty(from));
        }
        wait("the end of standard input", || lab.log().contains("-: has ended"), || lab.log());
        sender.send(line(&guilty(5)).as_bytes()).unwrap(); // it still listens
        wait("the last line", || lab.json(&["status"])["jails"][0]["failing"] == 5, || lab.log());
        assert_eq!(lab.json(&["status"])["banned"], 4, "{}", lab.log());
        let text = lab.says(0, &["status"]);
        assert!(text.contains("ended") && text.contains("unix:"), "{text}");
        lab.signal("TERM");
        assert!(!socket.exists());
    }

    fn rsyslog_itself_sends_to_a_socket() {
        let mut lab = Lab::new("", "maxretry = 2");
        let folder = lab.folder.path().display().to_string();
        lab.write("jail.d/lab.conf", &format!("[asterisk]\nenabled = false\n[freeswitch]\nenabled = false\n\
            [kamailio]\nmaxretry = 2\nlogpath = unix:{folder}/out.sock\n"));
        lab.start();
        // As docs/inputs.md has it.
        lab.write("rsyslog.conf", &format!("global(workDirectory=\"{folder}\" localHostname=\"sip1\")\n\
            module(load=\"imuxsock\" SysSock.Use=\"off\")\ninput(type=\"imuxsock\" Socket=\"{folder}/in.sock\")\n\
            module(load=\"omuxsock\")\n$OMUxSockSocket {folder}/out.sock\nlocal0.* :omuxsock:\n"));
        let rsyslog = Command::new("rsyslogd").args(["-n", "-f"]).arg(lab.path("rsyslog.conf"))
            .arg("-i").arg(lab.path("rsyslog.pid")).spawn().expect("rsyslogd");
        let rsyslog = Ended(rsyslog);
        let text = "NOTICE: {1 2 REGISTER x} <script>: Auth error for 1001@192.0.2.10 from";
        let log = |socket: &str, more: &[&str], addr: &str| {
            let sent = Command::new("logger").args(["-d", "-u"]).arg(lab.path(socket)).args(more)
                .args(["-p", "local0.notice", "-t", "kamailio[7]", &format!("{text} {addr} cause -2")]).status();
            assert!(sent.unwrap().success());
        };
        wait("rsyslog's socket", || lab.path("in.sock").exists(), || lab.log());
        for _ in 0..2 {
            log("in.sock", &[], "198.51.100.1");
            log("out.sock", &["--rfc3164"], "198.51.100.2");
            log("out.sock", &["--rfc5424"], "198.51.100.3");
        }
        for host in 1..=3 {
            lab.wait_for_ban(&format!("198.51.100.{host}"));
        }
        drop(rsyslog);
    }

    fn what_a_logger_lost_is_counted() {
        let mut lab = Lab::new("", "maxretry = 3");
        lab.start();
        let mut log = OpenOptions::new().append(true).open(lab.path("kamailio.log")).unwrap();
        for said in ["imuxsock[pid 7]: begin to drop messages", "imuxsock[pid 7]: 236 messages lost"] {
            writeln!(log, "Nov 22 07:06:05 sip1 rsyslogd: {said} due to rate-limiting").unwrap();
        }
        lab.fail("198.51.100.1", 3);
        lab.wait_for_ban("198.51.100.1");
        let shown = &lab.json(&["status"])["logs"][0];
        assert_eq!((&shown["loss_reports"], &shown["messages_lost"]), (&2.into(), &236.into()));
        let text = lab.says(0, &["status"]);
        assert!(text.contains("BLIND: at least 236 messages lost before they came into it (told 2 times)"), "{text}");
        lab.says(0, &["reload"]);
        lab.fail("198.51.100.2", 3);
        lab.wait_for_ban("198.51.100.2");
        assert_eq!(lab.json(&["status"])["logs"][0]["messages_lost"], 236, "a reload forgets nothing");
        assert!(lab.log().contains("messages were lost before they came into the log"), "{}", lab.log());
    }

    fn a_clock_that_is_set_neither_bans_nor_unbans() {
        let mut lab = Lab::new("", "maxretry = 3\nbantime = 1h");
        let file = lab.path("clock");
        let set_clock = |to: &str| {
            fs::write(file.with_extension("new"), to).unwrap();
            fs::rename(file.with_extension("new"), &file).unwrap(); // never seen half
        };
        set_clock("+0");
        let library = FAKETIME.iter().find(|path| Path::new(path).exists());
        lab.environment = vec![
            ("LD_PRELOAD", library.expect("libfaketime is needed").into()),
            ("FAKETIME_TIMESTAMP_FILE", lab.path("clock")),
            ("FAKETIME_NO_CACHE", "1".into()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".into()),
        ];
        lab.start();
        lab.fail("198.51.100.1", 3);
        lab.wait_for_ban("198.51.100.1");
        lab.fail("198.51.100.2", 2);
        wait("two tries", || lab.json(&["status"])["jails"][0]["failing"] == 1, || lab.log());
        // What is left of the longest ban, by the clock that the daemon sees.
        let left = |hours: i64| {
            let bans = &lab.json(&["status"])["jails"][0]["latest"];
            let untils = bans.as_array().unwrap().iter().map(|ban| ban["until"].as_i64().unwrap());
            untils.max().unwrap() - (jiff::Zoned::now().timestamp().as_second() + 3600 * hours)
        };
        let steps = || lab.log().matches("the clock was set").count();
        set_clock("+2h");
        wait("the step", || steps() == 1, || lab.log());
        assert!(lab.is_blocked("ringfence-kamailio", "198.51.100.1") && !lab.log().contains("unbanned"), "{}", lab.log());
        assert_eq!(lab.json(&["status"])["banned"], 1);
        assert!((3500..=3600).contains(&left(2)), "{}", left(2));
        // Its row in the database is written anew with the clock's new time.
        let why = || {
            let why = lab.says(3, &["why", "198.51.100.1", "--json"]);
            serde_json::from_str::<serde_json::Value>(&why).unwrap()
        };
        let has_lines = || why()["bans"][0]["lines"][0].is_string();
        wait("the lines of the ban", has_lines, || format!("{} {}", why(), lab.log()));
        assert_eq!(why()["past"], serde_json::json!([]), "it is not over");
        lab.fail("198.51.100.2", 1); // two tries were made just now, whatever the clock says
        lab.wait_for_ban("198.51.100.2");
        lab.fail("198.51.100.3", 2);
        let ban = lab.json(&["ban", "198.51.100.9", "--time", "4s"]);
        assert_eq!(ban["until"].as_i64().unwrap() - ban["since"].as_i64().unwrap(), 4);
        lab.says(0, &["pause", "4s"]);
        set_clock("-3h");
        wait("the step back", || steps() == 2, || lab.log());
        let is_over = || lab.json(&["status"])["banned"] == 2;
        wait("the end of the short ban", is_over, || lab.log());
        wait("the end of the pause", || lab.json(&["status"])["paused_until"].is_null(), || lab.log());
        assert!((3500..=3600).contains(&left(-3)), "{}", left(-3));
        lab.fail("198.51.100.3", 1);
        lab.wait_for_ban("198.51.100.3");
        // By what was written down anew, the next run knows no better and no worse.
        let query = "SELECT count(*) FROM bips WHERE jail = 'kamailio' AND timeofban < unixepoch() - 7200";
        let written = || {
            let asked = Command::new("sqlite3").arg("-readonly").arg(lab.path("state/ringfence.sqlite3")).arg(query).output();
            asked.unwrap().stdout == b"3\n"
        };
        wait("the bans to be written down anew", written, || lab.log());
        lab.signal("KILL");
        forget_all();
        set_clock("-9h"); // nobody saw this step
        lab.start();
        // What had ended begins in the future now, and lasts as long as it was meant to at most.
        wait("the end of the short ban again", || lab.json(&["status"])["banned"] == 3, || lab.log());
        let bans = lab.json(&["status"]);
        for ban in bans["jails"][0]["latest"].as_array().unwrap() {
            let left = ban["until"].as_i64().unwrap() - (jiff::Zoned::now().timestamp().as_second() - 9 * 3600);
            assert!(left <= 3600, "{left} s are left of an hour");
        }
    }

    fn a_containers_log_is_read_as_its_servers() {
        let mut lab = Lab::new("", "maxretry = 2");
        let log = lab.path("kamailio.log");
        let part = |age: i64, text: &str| {
            let time = jiff::Zoned::now().timestamp() - jiff::SignedDuration::from_secs(age);
            let entry = serde_json::json!({"log": text, "stream": "stderr", "time": time.to_string()});
            // The runtime's order: the text comes first.
            let rest = entry.to_string();
            assert!(rest.starts_with("{\"log\":"), "{rest}");
            rest + "\n"
        };
        // On standard error Kamailio writes no date, so the runtime's counts.
        let text = |addr: &str| {
            format!(" 2(4511) NOTICE: {{1 2 REGISTER x}} <script>: Auth error for 1001@192.0.2.10 from {addr} cause -2\n")
        };
        let old = part(7200, &text("198.51.100.9")).repeat(2000);
        fs::write(&log, old + &part(60, &text("198.51.100.1"))).unwrap();
        lab.start();
        let failure = text("198.51.100.1");
        let (first, second) = failure.split_at(50);
        let mut file = OpenOptions::new().append(true).open(&log).unwrap();
        for piece in [first, second] {
            file.write_all(part(0, piece).as_bytes()).unwrap();
        }
        lab.wait_for_ban("198.51.100.1");
        assert!(!lab.is_blocked("ringfence-kamailio", "198.51.100.9"), "that was long ago");
    }

    fn reload_takes_all_or_nothing() {
        let mut lab = Lab::new("", "maxretry = 3");
        lab.start();
        lab.fail("198.51.100.1", 3);
        lab.wait_for_ban("198.51.100.1");
        lab.fail("198.51.100.2", 2);
        lab.write("ringfence.toml", "protekt = []\n");
        let text = lab.says(1, &["reload"]);
        assert!(text.contains("ringfence.toml:3: unknown field `protekt`"), "{text}");
        lab.write("ringfence.toml", "protect = ['198.51.100.9']\n");
        assert_eq!(lab.json(&["reload"])["jails"][0], "kamailio");
        wait("the allow set", || lab.is_blocked("ringfence-allow", "198.51.100.9"), || lab.log());
        lab.fail("198.51.100.2", 1); // counts from before the reload still count
        lab.wait_for_ban("198.51.100.2");
        assert!(lab.is_blocked("ringfence-kamailio", "198.51.100.1"));
        let daemon = lab.daemon.as_ref().unwrap().id();
        lab.write("ringfence.toml", "protect = ['198.51.100.8']\n");
        run(&format!("kill -HUP {daemon}"));
        wait("the reload", || lab.is_blocked("ringfence-allow", "198.51.100.8"), || lab.log());
    }

    fn a_jail_that_comes_back_has_its_bans() {
        let mut lab = Lab::new("", "");
        let log = lab.path("kamailio.log").display().to_string();
        let other = lab.path("freeswitch.log").display().to_string();
        fs::write(&other, "").unwrap();
        let jail = |lab: &Lab, said: &str| lab.write("jail.d/lab.conf", &format!(
            "[asterisk]\nenabled = false\n[freeswitch]\nlogpath = {other}\n[kamailio]\nlogpath = {log}\n{said}\n"));
        let is_held = |lab: &Lab, host: u8| lab.is_blocked("ringfence-kamailio", &format!("198.51.100.{host}"));
        let count = |lab: &Lab| {
            let known = rusqlite::Connection::open(lab.path("state/ringfence.sqlite3")).unwrap();
            let query = "SELECT group_concat(ip || ' ' || bancount) FROM (SELECT * FROM bips ORDER BY ip)";
            known.query_row(query, [], |row| row.get::<_, String>(0)).unwrap()
        };
        jail(&lab, "maxretry = 4");
        lab.start();
        for (host, times) in [(1, 4), (2, 2), (3, 4)] {
            lab.fail(&format!("198.51.100.{host}"), times);
        }
        lab.wait_for_ban("198.51.100.3");
        lab.signal("TERM");

        forget_all();
        jail(&lab, "maxretry = four");
        lab.start();
        assert!(!lab.json(&["status"])["jails"].to_string().contains("kamailio"));
        assert!(!is_held(&lab, 1), "the kernel knows nothing after a reboot");
        lab.says(0, &["unban", "198.51.100.3"]);
        jail(&lab, "maxretry = 4");
        lab.says(0, &["reload"]);
        lab.wait_for_ban("198.51.100.1");
        assert!(!is_held(&lab, 3), "who was pardoned meanwhile stays so");
        assert_eq!(count(&lab), "198.51.100.1 1", "no ban counts twice");
        lab.fail("198.51.100.2", 1);
        wait("the third try", || lab.json(&["status"])["jails"].to_string().contains("\"failing\":1"), || lab.log());

        // And the same when it was taken away while it ran.
        jail(&lab, "enabled = false");
        lab.says(0, &["reload"]);
        assert!(!is_held(&lab, 1));
        jail(&lab, "maxretry = 4");
        lab.says(0, &["reload"]);
        lab.wait_for_ban("198.51.100.1");
        assert!(!is_held(&lab, 2), "three are not four");
        lab.fail("198.51.100.2", 1); // the fourth
        lab.wait_for_ban("198.51.100.2");
        wait("both to be written", || count(&lab) == "198.51.100.1 1,198.51.100.2 1", || count(&lab) + &lab.log());
        assert_eq!(lab.json(&["status"])["bans_total"], 1);

        // While it cannot run for a mistake its set stays in force; nobody orders in it.
        lab.signal("TERM");
        jail(&lab, "maxretry = four");
        lab.start();
        assert!(is_held(&lab, 1) && is_held(&lab, 2));
        lab.says(0, &["unban", "198.51.100.1"]);
        jail(&lab, "maxretry = 4");
        lab.says(0, &["reload"]);
        wait("the pardon", || !is_held(&lab, 1), || lab.log());
        assert!(is_held(&lab, 2));
    }

    fn a_dry_run_touches_nothing() {
        let mut lab = Lab::new("", "maxretry = 2");
        let report = lab.start_with(&["--dry-run"]);
        assert!(report.contains("nowhere (dry run)"), "{report}");
        lab.fail("198.51.100.1", 2);
        wait("the judgement", || lab.log().contains("would block"), || lab.log());
        assert!(lab.log().contains("set=kamailio"), "{}", lab.log());
        assert_eq!(lab.json(&["status"])["banned"], 1);
        assert_eq!(run("ipset list -n"), "");
    }

    fn a_second_daemon_is_refused_in_words() {
        let mut lab = Lab::new("", "maxretry = 2");
        lab.start();
        let text = lab.says(1, &["run"]);
        assert!(text.contains("running"), "{text}");
        assert!(Path::new("/proc").join(lab.daemon.as_ref().unwrap().id().to_string()).exists());
    }
}
