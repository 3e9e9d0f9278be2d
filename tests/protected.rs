//! Who is never banned, in the real program: names, while they are looked up and when
//! nobody answers any more, and administrators who are logged in.

#[path = "common/lab.rs"]
mod lab;
#[path = "common/nameserver.rs"]
mod nameserver;
#[path = "common/namespace.rs"]
mod namespace;

use std::fs;
use std::net::UdpSocket;
use std::process::Command;

use lab::{Lab, line_of, may_send_from, wait};
use nameserver::NameServer;
use namespace::run;

/// Does the jail, or the allow set, hold the address?
fn is_banned(lab: &Lab, set: &str, addr: &str) -> bool {
    let family = if addr.contains(':') { "6" } else { "" };
    lab.is_blocked(&format!("ringfence-{set}{family}"), addr)
}

/// Waits until `status` shows somebody as protected.
fn wait_for_protected(lab: &Lab, known: &str) {
    let shown = || {
        let status = lab.json(&["status"]);
        let protected = status["protected"].as_array().unwrap().clone();
        protected.into_iter().map(|known| {
            let text = |key: &str| known[key].as_str().unwrap().to_owned();
            format!("{} ({})", text("addr"), text("why"))
        })
    };
    wait(known, || shown().any(|one| one == known), || lab.log());
}

const TABLE: &str = "trunk.example.net A 192.0.2.7
    trunk.example.net AAAA 2001:db8::7
    _sip._udp.example.net SRV a.example.net
    _sip._udp.example.net SRV b.example.net
    a.example.net A 192.0.2.8
    b.example.net A 192.0.2.9";

namespaced! {
    fn names_are_protected_as_soon_as_they_are_known_and_for_good() {
        let mut lab = Lab::new("protect = ['trunk.example.net', '_sip._udp.example.net', 'nobody.example.net']\n", "maxretry = 2");
        let server = NameServer::start(lab.folder.path());
        lab.start(); // though nobody answers
        lab.fail("192.0.2.7", 2);
        wait("the trunk to be banned", || is_banned(&lab, "kamailio", "192.0.2.7"), || lab.log());
        server.set(TABLE);
        for known in ["192.0.2.7 (protect trunk.example.net)", "2001:db8::7 (protect trunk.example.net)",
            "192.0.2.8 (protect _sip._udp.example.net)", "192.0.2.9 (protect _sip._udp.example.net)"] {
            wait_for_protected(&lab, known);
        }
        wait("the trunk's pardon", || !is_banned(&lab, "kamailio", "192.0.2.7"), || lab.log());
        assert!(is_banned(&lab, "allow", "192.0.2.8") && is_banned(&lab, "allow", "2001:db8::7"), "they stand in the allow set");
        wait("the answers to be kept", || {
            let facts = "SELECT value FROM ringfence_facts WHERE name = 'protect.names'";
            let path = lab.path("state/ringfence.sqlite3");
            let output = Command::new("sqlite3").arg(path).arg(facts).output().unwrap();
            let kept = String::from_utf8(output.stdout).unwrap();
            kept.contains("192.0.2.7") && kept.contains("192.0.2.9")
        }, || lab.log());

        lab.signal("KILL");
        server.set(""); // no such name any more
        let report = lab.start();
        assert!(report.contains("192.0.2.9 (protect _sip._udp.example.net)"));
        lab.fail("192.0.2.9", 9);
        lab.fail("198.51.100.1", 2);
        wait("a stranger's ban", || is_banned(&lab, "kamailio", "198.51.100.1"), || lab.log());
        assert!(!is_banned(&lab, "kamailio", "192.0.2.9"));
    }

    fn lookups_leave_nothing_open() {
        run("ip link set lo up");
        let folder = tempfile::tempdir().unwrap();
        NameServer::start(folder.path()).set(TABLE);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let open = || fs::read_dir("/proc/self/fd").unwrap().count();
        let look_up = || {
            let answer = runtime.block_on(ringfence::daemon::protected::look_up("_sip._udp.example.net"));
            assert!(answer.is_some());
        };
        look_up();
        let before = open();
        (0..50).for_each(|_| look_up());
        assert!(open() <= before + 4, "{} were open before, and now {}", before, open());
    }

    fn administrators_who_are_logged_in_are_protected() {
        let mut lab = Lab::new("", "maxretry = 2");
        run("mount -t tmpfs tmpfs /run");
        let mut entry = vec![0; if cfg!(target_arch = "aarch64") { 400 } else { 384 }];
        entry[0] = 7; // USER_PROCESS
        entry[4..8].copy_from_slice(&std::process::id().to_ne_bytes());
        entry[44..48].copy_from_slice(b"root");
        let address = if cfg!(target_arch = "aarch64") { 360 } else { 348 };
        entry[address..address + 4].copy_from_slice(&[192, 0, 2, 7]);
        // Any user may write a text into the place of the host.
        let mut forged = entry.clone();
        forged[76..85].copy_from_slice(b"192.0.2.9");
        forged[address..].fill(0);
        fs::write("/run/utmp", [entry, forged].concat()).unwrap();
        // Who only fetches files is no administrator.
        fs::create_dir_all("/run/systemd/sessions").unwrap();
        let files = "UID=65534\nUSER=nobody\nSTATE=active\nREMOTE=1\nCLASS=user\nREMOTE_HOST=192.0.2.10\n";
        fs::write("/run/systemd/sessions/3", files).unwrap();
        let named = "UID=0\nUSER=adam\nSTATE=active\nREMOTE=1\nCLASS=user\nREMOTE_HOST=pc.example\n";
        fs::write("/run/systemd/sessions/5", named).unwrap();
        lab.start();
        wait_for_protected(&lab, "192.0.2.7 (login root)");
        let status = lab.says(0, &["status"]);
        assert!(status.contains("  UNPROTECTED: adam is logged in from pc.example, "), "{status}");
        assert!(!status.contains("192.0.2.9 ") && !status.contains("192.0.2.10 "), "{status}");

        let session = "UID=0\nUSER=eve\nSTATE=active\nREMOTE=1\nCLASS=user\nREMOTE_HOST=2001:db8::7\n";
        fs::write("/run/systemd/sessions/4", session).unwrap();
        fs::write("/run/utmp", "").unwrap(); // he has logged out
        wait_for_protected(&lab, "2001:db8::7 (login eve)");
        lab.fail("192.0.2.7", 9);
        lab.fail("2001:db8::7", 9);
        lab.fail("2001:db8::8", 2); // her neighbour in the same /64
        wait("a stranger's ban", || is_banned(&lab, "kamailio", "2001:db8::8"), || lab.log());
        assert!(!is_banned(&lab, "kamailio", "2001:db8::7") && !is_banned(&lab, "kamailio", "192.0.2.7"));
    }

    fn whom_we_called_is_not_banned_for_what_one_packet_can_cause() {
        let mut lab = Lab::new("", "maxretry = 2\nfilter = proven");
        fs::create_dir(lab.path("filter.d")).unwrap();
        let filter = "[Definition]\nfailregex = <script>: Refused a call from <ADDR>$\n <script>: Wrong <F-PROOF>password</F-PROOF> from <ADDR>$\n";
        lab.write("filter.d/proven.conf", filter);
        run("iptables -A INPUT -m conntrack --ctstate NEW -j ACCEPT");
        run("ip address add 198.51.100.1/32 dev lo");
        may_send_from("192.0.2.0/24");
        let (near, far) = (UdpSocket::bind("198.51.100.1:5060").unwrap(), UdpSocket::bind("192.0.2.7:5060").unwrap());
        near.send_to(b"REGISTER", "192.0.2.7:5060").unwrap();
        far.recv(&mut [0; 16]).unwrap();
        far.send_to(b"200 OK", "198.51.100.1:5060").unwrap();
        near.recv(&mut [0; 16]).unwrap();
        lab.start();
        for addr in ["192.0.2.7", "192.0.2.8"] {
            lab.write_log(&line_of(&format!("Refused a call from {addr}")).repeat(2));
        }
        lab.wait_for_ban("192.0.2.8");
        assert!(!is_banned(&lab, "kamailio", "192.0.2.7"));
        // What takes an answer to our own is a proof, whomever we called.
        lab.write_log(&line_of("Wrong password from 192.0.2.7").repeat(2));
        lab.wait_for_ban("192.0.2.7");
    }

    fn the_registrars_stores_are_read() {
        let mut lab = Lab::new("", "maxretry = 2");
        let store = lab.path("astdb.sqlite3");
        let sql = "CREATE TABLE astdb (key VARCHAR(256), value VARCHAR(256), PRIMARY KEY(key));
                   INSERT INTO astdb VALUES ('/SIP/Registry/2001', '192.0.2.11:5060:3600:2001:x');";
        rusqlite::Connection::open(&store).unwrap().execute_batch(sql).unwrap();
        lab.write("ringfence.toml", &format!("registrars = ['{}', '/nowhere/*.db']\n", store.display()));
        lab.start();
        let is_told = || lab.log().contains("who is registered here is known") && lab.log().contains("registrations=1");
        wait("the store to be read", is_told, || lab.log());
    }
}
