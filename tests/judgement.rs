//! The judgement under the real program: known-good addresses from the database, logs that
//! name a proxy, and what of an attacker of the manager interface still gets through.

#[path = "common/lab.rs"]
mod lab;
#[path = "common/namespace.rs"]
mod namespace;

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;

use lab::{Lab, may_send_from, reaches, wait};
use namespace::run;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with};

/// Does a connection from this address reach a listener on this machine?
fn connects(from: &str, to: &TcpListener) -> bool {
    let family = AddressFamily::INET;
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::NONBLOCK, None).unwrap();
    let from: SocketAddr = (from.parse::<std::net::IpAddr>().unwrap(), 0).into();
    bind(&socket, &from).unwrap();
    // Over loopback the connection stands, or does not, when this returns.
    let _in_progress = connect(&socket, &to.local_addr().unwrap());
    to.set_nonblocking(true).unwrap();
    to.accept().is_ok()
}

/// Writes a standing into the database of a daemon that does not run.
fn know(lab: &Lab, addr: &str) {
    let now = jiff::Zoned::now().timestamp();
    let (secs, micros) = (now.as_second(), now.as_microsecond());
    let data = format!(
        r#"{{"merit":{micros},"known":{micros},"shared":null,"last":{micros},"accounts":[[7,{micros}]]}}"#
    );
    let row = format!("INSERT INTO ringfence_standings VALUES('{addr}', '{data}', {secs})");
    let database = lab.path("state/ringfence.sqlite3");
    let sqlite = Command::new("sqlite3").arg(database).arg(row).status();
    assert!(sqlite.expect("sqlite3 must be installed").success());
}

/// A line of Asterisk's security log, so many seconds ago.
fn security(secs_ago: i64, event: &str, account: &str, addr: &str, rest: &str) -> String {
    let then = jiff::Zoned::now() - jiff::SignedDuration::from_secs(secs_ago);
    let then = then.strftime("%Y-%m-%d %H:%M:%S");
    format!(
        "[{then}] SECURITY[4839] res_security_log.c: SecurityEvent=\"{event}\",EventTV=\"2026-11-22T07:50:06.436+0000\",\
         Severity=\"Informational\",Service=\"PJSIP\",EventVersion=\"1\",AccountID=\"{account}\",SessionID=\"{account}-9425\",\
         LocalAddress=\"IPV4/UDP/192.0.2.16/5060\",RemoteAddress=\"IPV4/UDP/{addr}/5070\"{rest}\n"
    )
}

fn succeeds(secs_ago: i64, account: &str, addr: &str) -> String {
    security(
        secs_ago,
        "SuccessfulAuth",
        account,
        addr,
        ",UsingPassword=\"1\"",
    )
}

fn fails(secs_ago: i64, addr: &str) -> String {
    let rest = ",Challenge=\"079a8898\",ReceivedChallenge=\"079a8898\",ReceivedHash=\"ed7dc6fc\"";
    security(secs_ago, "InvalidPassword", "1001", addr, rest)
}

/// A connection that stands, and over which nothing is said.
fn connected(from: &str, to: &TcpListener) -> TcpStream {
    let family = AddressFamily::INET;
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::empty(), None).unwrap();
    let from: SocketAddr = (from.parse::<std::net::IpAddr>().unwrap(), 0).into();
    bind(&socket, &from).unwrap();
    connect(&socket, &to.local_addr().unwrap()).unwrap();
    to.accept().unwrap();
    socket.into()
}

namespaced! {
    /// From a real log, and nothing else: who logged in in two different hours has ten times
    /// the patience, and who holds a connection open has none.
    fn standing_is_earned_by_the_log_and_not_by_a_connection() {
        let mut lab = Lab::new("", "enabled = false");
        let log = lab.path("messages");
        lab.write("jail.d/zz.conf", &format!("[asterisk]\nenabled = true\nmaxretry = 3\nfindtime = 3h\nlogpath = {}\n", log.display()));
        let (good, office, past) = ("203.0.113.9", "203.0.113.5", "198.51.100.1");
        let minute = 60;
        let mut lines = vec![succeeds(120 * minute, "9", good), succeeds(30 * minute, "9", good)];
        lines.extend((0..3).map(|_| fails(20 * minute, office)));
        lines.extend((0..3).map(|_| fails(15 * minute, past)));
        lines.extend((0..20).map(|account| succeeds(10 * minute, &account.to_string(), office)));
        fs::write(&log, lines.concat()).unwrap();
        run("iptables -A INPUT -m conntrack --ctstate NEW -j ACCEPT");
        may_send_from("198.51.100.0/24");
        let ssh = TcpListener::bind("127.0.0.1:22").unwrap();
        let _idle = ["198.51.100.7", "198.51.100.8"].map(|from| connected(from, &ssh));
        lab.start();
        let is_banned = |addr: &str| lab.is_blocked("ringfence-asterisk", addr);
        let is_held_back = |addr: &str| lab.is_blocked("ringfence-throttled", addr);
        let write = |lines: &str| {
            let mut file = OpenOptions::new().append(true).open(&log).unwrap();
            file.write_all(lines.as_bytes()).unwrap();
        };
        // An attacker in the past is banned; an office whose logins stand behind its failures
        // never is, not even for a moment.
        wait("the ban for the past", || is_banned(past), || lab.log());
        let standing = lab.json(&["status"])["standing"].clone();
        assert_eq!((&standing["known_good"], &standing["shared"]), (&1.into(), &1.into()), "{standing}");
        assert!(!lab.log().contains(office), "{}", lab.log());

        // An idle connection buys nothing: not against proofs, not against hints.
        write(&fails(0, "198.51.100.7").repeat(3));
        let asks = |account| security(0, "InvalidAccountID", account, "198.51.100.8", "");
        write(&["1001", "1002", "1003"].map(asks).concat());
        wait("the ban of a connected one", || is_banned("198.51.100.7"), || lab.log());
        let is_told = || lab.log().contains("addr=198.51.100.8 reason=hints");
        wait("his ban by hints", || is_banned("198.51.100.8") && is_told(), || lab.log());

        write(&fails(0, good).repeat(29));
        write(&fails(0, "198.51.100.9").repeat(3));
        wait("a stranger's ban", || is_banned("198.51.100.9"), || lab.log());
        assert!(!is_held_back(good) && !is_banned(good));
        write(&fails(0, good));
        wait("the address to be held back", || is_held_back(good), || lab.log());
        assert!(!is_banned(good));
    }

    fn a_known_good_address_is_held_back_and_a_proxy_is_a_finding() {
        let mut lab = Lab::new("", "maxretry = 3");
        lab.start();
        lab.signal("TERM");
        know(&lab, "203.0.113.5");
        lab.start();
        assert_eq!(lab.json(&["status"])["standing"]["known_good"], 1);
        lab.fail("203.0.113.5", 29);
        lab.fail("198.51.100.1", 3);
        lab.wait_for_ban("198.51.100.1");
        assert!(!lab.is_blocked("ringfence-throttled", "203.0.113.5"));
        let alarms = &lab.json(&["status"])["standing"]["alarms"];
        assert_eq!((&alarms[0]["kind"], &alarms[0]["addr"]), (&"cracking".into(), &"203.0.113.5".into()));
        lab.fail("203.0.113.5", 1);
        wait("the address to be held back", || lab.is_blocked("ringfence-throttled", "203.0.113.5"), || lab.log());
        assert!(!lab.is_blocked("ringfence-kamailio", "203.0.113.5"));
        let media = UdpSocket::bind("127.0.0.1:0").unwrap();
        may_send_from("203.0.113.0/24");
        may_send_from("198.51.100.0/24");
        assert!(reaches("203.0.113.5", &media) && !reaches("198.51.100.1", &media));

        // A restart knows what it was; the standing is lost, and the sanction goes on.
        lab.signal("TERM");
        lab.start();
        let status = lab.json(&["status"]);
        assert_eq!((&status["standing"]["known_good"], &status["banned"]), (&0.into(), &2.into()));
        assert!(lab.says(0, &["status"]).contains("known-good or called by us, and 30 failed tries"));
        lab.says(0, &["unban", "203.0.113.5"]);
        wait("the sanction's end", || !lab.is_blocked("ringfence-throttled", "203.0.113.5"), || lab.log());

        lab.fail("127.0.0.1", 6);
        let sources = || lab.json(&["status"])["standing"]["wrong_sources"].clone();
        wait("the finding", || sources()[0]["convictions"] == 2, || lab.log());
        assert_eq!((&sources()[0]["addr"], &sources()[0]["why"]), (&"127.0.0.1".into(), &"loopback".into()));
        let text = lab.says(0, &["status"]);
        assert!(text.contains("WRONG SOURCE: jail kamailio would have banned 127.0.0.1 (loopback) 2 times"), "{text}");
        assert!(text.contains("$hdr(X-Real-IP)") && text.contains("ALARM"), "{text}");
    }

    fn an_attacker_of_the_manager_interface_is_banned_on_every_port() {
        let mut lab = Lab::new("", "maxretry = 3");
        let log = lab.path("messages");
        fs::write(&log, "").unwrap();
        lab.write("jail.d/zz.conf", &format!("[asterisk]\nenabled = true\nmaxretry = 3\nlogpath = {}\n", log.display()));
        lab.start();
        may_send_from("198.51.100.0/24");
        let attacker = "198.51.100.9";
        let listeners = [5038, 22, 443, 5061].map(|port| TcpListener::bind(("127.0.0.1", port)).unwrap());
        let servers = [5060, 10_000, 4569].map(|port| UdpSocket::bind(("127.0.0.1", port)).unwrap());
        assert!(listeners.iter().all(|listener| connects(attacker, listener)));
        assert!(servers.iter().all(|server| reaches(attacker, server)));
        let mut file = OpenOptions::new().append(true).open(&log).unwrap();
        let now = jiff::Zoned::now().strftime("%b %e %H:%M:%S").to_string();
        for _ in 0..3 {
            writeln!(file, "[{now}] NOTICE[77] manager.c: {attacker} failed to authenticate as 'admin'").unwrap();
        }
        wait("the ban", || lab.is_blocked("ringfence-asterisk", attacker), || lab.log());
        assert!(!listeners.iter().any(|listener| connects(attacker, listener)));
        assert!(!servers.iter().any(|server| reaches(attacker, server)));
    }
}
