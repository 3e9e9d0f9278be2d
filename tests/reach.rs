//! How far a ban reaches: a sanctioned customer keeps the call that runs, a stranger
//! keeps nothing; and behind forwarding to containers bans hold as well.
//!
//! Real packets in network namespaces; the calls are sipp's (package sip-tester).

#[path = "common/namespace.rs"]
mod namespace;

use std::net::UdpSocket;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use namespace::run;
use ringfence::action::{Action, Backend, Firewall, Sizes};
use ringfence::ticket::{Entry, Order, Set};

/// A hang becomes a failure after this long.
const PATIENCE: Duration = Duration::from_secs(30);

fn jail() -> Set {
    Set::Jail("asterisk".into())
}

fn firewall(backend: Backend) -> Firewall {
    let mut firewall = Firewall::open(backend, Sizes::default()).expect("open");
    let sets = [jail(), Set::Throttled, Set::List];
    firewall.ensure(&sets).expect("ensure");
    firewall
}

fn block(firewall: &mut Firewall, set: &Set, addr: &str) {
    let entry = Entry {
        addr: addr.parse().expect(addr),
        timeout_secs: match set {
            Set::Allow => 0,
            _ => 600,
        },
    };
    let set = set.clone();
    firewall.apply(&[Order::Block { set, entry }], &mut |outcome| {
        panic!("{outcome:?}")
    });
}

fn packets(firewall: &mut Firewall, set: &Set, addr: &str) -> u64 {
    let mut packets = 0;
    let addr = addr.parse().expect(addr);
    firewall
        .list(set, &mut |kept| {
            packets += if kept.addr == addr { kept.packets } else { 0 }
        })
        .expect("list");
    packets
}

/// Ends what a test has started, whatever becomes of it.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ended = self.0.kill();
        let _ended = self.0.wait();
    }
}

fn spawn(command: &str, folder: &Path) -> Running {
    let mut words = command.split_whitespace();
    let child = Command::new(words.next().expect("a program"))
        .args(words)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    Running(child.unwrap_or_else(|error| panic!("`{command}`: {error}")))
}

/// Asks until it is so; the pause keeps the asking from taking the processor.
fn wait(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

fn bind(addr: (&str, u16), patience: Duration) -> UdpSocket {
    let socket = UdpSocket::bind(addr).expect("bind");
    socket.set_read_timeout(Some(patience)).expect("time limit");
    socket
}

/// A call of a customer's, and its media: each packet of it comes back before the next.
struct Call {
    media: UdpSocket,
    echo: UdpSocket,
    sent: u16,
}

impl Call {
    fn new(patience: Duration) -> Call {
        Call {
            media: bind(("192.0.2.2", 40_000), patience),
            echo: bind(("192.0.2.1", 10_000), patience),
            sent: 0,
        }
    }

    /// One packet there and back: does it arrive?
    fn speak(&mut self) -> bool {
        self.sent = self.sent.wrapping_add(1);
        let mut packet = [0_u8; 172]; // 20 ms of G.711
        packet[0] = 0x80;
        packet[2..4].copy_from_slice(&self.sent.to_be_bytes());
        self.media
            .send_to(&packet, ("192.0.2.1", 10_000))
            .expect("send");
        let mut heard = [0; 200];
        let Ok((bytes, from)) = self.echo.recv_from(&mut heard) else {
            return false;
        };
        self.echo.send_to(&heard[..bytes], from).expect("send");
        self.media
            .recv(&mut heard)
            .is_ok_and(|bytes| heard[..bytes] == packet)
    }
}

namespaced! {
    fn a_sanctioned_customer_keeps_the_call_and_a_stranger_nothing() {
        a_call_of_the_sanctioned(Backend::Ipset);
    }

    fn with_nftables_a_sanctioned_customer_keeps_the_call_and_a_stranger_nothing() {
        a_call_of_the_sanctioned(Backend::Nftables);
    }
}

/// Figure 7 of issue 5.
fn a_call_of_the_sanctioned(backend: Backend) {
    run("ip link set lo up");
    for addr in ["192.0.2.1/32", "192.0.2.2/32"] {
        run(&format!("ip addr add {addr} dev lo"));
    }
    let folder = tempfile::tempdir().expect("a folder");
    let mut firewall = firewall(backend);
    let _server = spawn(
        "sipp -sn uas -i 192.0.2.1 -p 5060 -nostdin -trace_msg -message_file server.log",
        folder.path(),
    );
    let log = folder.path().join("server.log");
    wait("the server", || {
        run("ss -Hlun src 192.0.2.1").contains(":5060")
    });
    let mut phone = spawn(
        "sipp -sn uac 192.0.2.1:5060 -i 192.0.2.2 -p 5062 -m 1 -d 4000 -nostdin -timeout 25",
        folder.path(),
    );
    wait("the call", || {
        std::fs::read_to_string(&log).is_ok_and(|log| log.contains("ACK sip:"))
    });
    let mut call = Call::new(PATIENCE);
    assert!((0..50).all(|_| call.speak()), "before");

    // Somebody behind the same address tries passwords, and the address is sanctioned.
    let server = bind(("192.0.2.1", 5061), PATIENCE);
    server.set_nonblocking(true).expect("nonblocking");
    let cracker = bind(("192.0.2.2", 50_000), PATIENCE);
    block(&mut firewall, &Set::Throttled, "192.0.2.2");
    let (start, mut tries, mut heard, mut spoken) = (Instant::now(), 0, 0_u64, 0);
    while start.elapsed() < Duration::from_secs(3) {
        cracker
            .send_to(b"REGISTER sip:192.0.2.1 SIP/2.0\r\n", ("192.0.2.1", 5061))
            .expect("send");
        tries += 1;
        assert!(call.speak(), "lost after {spoken} packets");
        spoken += 1;
        while server.recv(&mut [0; 100]).is_ok() {
            heard += 1;
        }
    }
    let allowed = 2 * start.elapsed().as_secs();
    assert!(
        tries > 100 && (1..=allowed).contains(&heard),
        "{heard} of {tries} tries were heard, {allowed} may be"
    );
    println!("{spoken} packets of media, 0 lost; {heard} of {tries} tries heard in 3 s");
    // The call goes on, and ends as calls do.
    assert!(call.speak());
    let ended = phone.0.wait().expect("the phone");
    assert!(ended.success(), "the call did not end well: {ended}");

    // A stranger: everything stops.
    block(&mut firewall, &jail(), "192.0.2.2");
    drop(call);
    let mut call = Call::new(Duration::from_millis(50));
    assert!((0..5).all(|_| !call.speak()), "media of a banned stranger");
    assert!(cracker.send_to(b"REGISTER", ("192.0.2.1", 5061)).is_ok());
    wait("the drops", || {
        packets(&mut firewall, &jail(), "192.0.2.2") >= 5
    });
    assert!(server.recv(&mut [0; 100]).is_err());
}

/// Answers whatever comes to UDP port 5060 with the address that it came from.
const ECHO: &str = "import socket, sys\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\ns.bind((sys.argv[1], 5060))\nwhile True:\n    _, who = s.recvfrom(2048)\n    s.sendto(who[0].encode(), who)\n";

/// Asks the given place from an address; prints what is answered, if that comes in time.
const ASK: &str = "import socket, sys\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\ns.bind((sys.argv[1], 0))\ns.settimeout(float(sys.argv[3]))\nfor _ in range(int(sys.argv[4])):\n    s.sendto(b'OPTIONS', (sys.argv[2], 5060))\n    try:\n        print(s.recvfrom(2048)[0].decode())\n        break\n    except OSError:\n        pass\n";

/// Sends from `source` in the namespace; what comes back. Whom we expect to be heard is
/// given time.
fn ask(namespace: &str, source: &str, to: &str, is_expected: bool) -> String {
    let (patience, times) = match is_expected {
        true => ("0.5", "40"),
        false => ("0.1", "3"),
    };
    let output = Command::new("ip")
        .args(["netns", "exec", namespace, "python3", "-c", ASK])
        .args([source, to, patience, times])
        .output()
        .expect("ip and python3");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn echo(namespace: &str, at: &str) -> Running {
    let child = Command::new("ip")
        .args(["netns", "exec", namespace, "python3", "-c", ECHO, at])
        .stdin(Stdio::null())
        .spawn();
    Running(child.expect("ip and python3"))
}

namespaced! {
    fn bans_hold_in_front_of_containers() {
        a_container_behind_bans(Backend::Ipset);
    }

    fn with_nftables_bans_hold_in_front_of_containers() {
        a_container_behind_bans(Backend::Nftables);
    }
}

/// Figure 6 of issue 5: as with Docker, a container stands behind a bridge, and what
/// comes to the host's port is forwarded to it.
fn a_container_behind_bans(backend: Backend) {
    run("mount -t tmpfs none /run"); // where namespaces get their names
    run("ip link set lo up");
    for (name, ours, own, gateway) in [
        ("outside", "198.51.100.1/24", "198.51.100.10/24", None),
        (
            "container",
            "172.17.0.1/16",
            "172.17.0.2/16",
            Some("172.17.0.1"),
        ),
    ] {
        run(&format!("ip netns add {name}"));
        run(&format!(
            "ip link add {name} type veth peer name eth0 netns {name}"
        ));
        run(&format!("ip netns exec {name} ip addr add {own} dev eth0"));
        run(&format!("ip netns exec {name} ip link set eth0 up"));
        run(&format!("ip netns exec {name} ip link set lo up"));
        if name == "container" {
            run("ip link add docker0 type bridge");
            run("ip link set container master docker0");
            run("ip link set docker0 up");
            run(&format!("ip addr add {ours} dev docker0"));
        } else {
            run(&format!("ip addr add {ours} dev {name}"));
        }
        run(&format!("ip link set {name} up"));
        if let Some(gateway) = gateway {
            run(&format!(
                "ip netns exec {name} ip route add default via {gateway}"
            ));
        }
    }
    for last in [7, 8, 9] {
        run(&format!(
            "ip netns exec outside ip addr add 198.51.100.{last}/24 dev eth0"
        ));
    }
    std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").expect("forwarding");
    run(
        "iptables -t nat -A PREROUTING -i outside -p udp --dport 5060 -j DNAT --to-destination 172.17.0.2:5060",
    );
    run("iptables -t nat -A POSTROUTING -s 172.17.0.0/16 -o outside -j MASQUERADE");
    let mut firewall = firewall(backend);
    let _phone_server = echo("container", "172.17.0.2");
    let _trunk = echo("outside", "198.51.100.9");

    // Before: everybody is heard.
    for addr in ["198.51.100.7", "198.51.100.8", "198.51.100.10"] {
        assert_eq!(ask("outside", addr, "198.51.100.1", true), addr);
    }
    block(&mut firewall, &jail(), "198.51.100.7");
    for set in [jail(), Set::List, Set::Throttled, Set::Allow] {
        block(&mut firewall, &set, "198.51.100.8");
    }
    assert_eq!(
        ask("outside", "198.51.100.7", "198.51.100.1", false),
        "",
        "a banned one reached the container"
    );
    assert!(packets(&mut firewall, &jail(), "198.51.100.7") >= 3);
    for addr in ["198.51.100.8", "198.51.100.10"] {
        assert_eq!(
            ask("outside", addr, "198.51.100.1", true),
            addr,
            "on every list, but allowed; and an honest one"
        );
    }
    // The container opens a flow to its trunk: answers come back through the same rules.
    assert_eq!(
        ask("container", "172.17.0.2", "198.51.100.9", true),
        "198.51.100.1"
    );
    // It does not reach whom we banned either: answers are dropped as all else.
    block(&mut firewall, &jail(), "198.51.100.9");
    assert_eq!(ask("container", "172.17.0.2", "198.51.100.9", false), "");
    block(&mut firewall, &Set::Allow, "198.51.100.9");
    assert_eq!(
        ask("container", "172.17.0.2", "198.51.100.9", true),
        "198.51.100.1"
    );
}
