//! How far a ban reaches: a sanctioned customer keeps the call that runs, a stranger
//! keeps nothing; and behind forwarding to containers bans hold as well.
//!
//! Real packets of both families in network namespaces; the calls are sipp's (package
//! sip-tester). Of IPv6 the /64 is sanctioned, as our jails do.

#[path = "common/namespace.rs"]
mod namespace;

use std::net::{IpAddr, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use namespace::run;
use ringfence::action::{Action, Backend, Firewall, Sizes};
use ringfence::ticket::{Entry, Order, Set};

/// A hang becomes a failure after this long.
const PATIENCE: Duration = Duration::from_secs(30);

const SIZES: Sizes = Sizes {
    jail: 1_000,
    list: 1_000,
    allow: 100,
};

fn jail() -> Set {
    Set::Jail("asterisk".into())
}

fn firewall(backend: Backend) -> Firewall {
    let mut firewall = Firewall::open(backend, SIZES).expect("open");
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

fn bind(addr: &str, port: u16, patience: Duration) -> UdpSocket {
    let socket = UdpSocket::bind((addr, port)).expect("bind");
    socket.set_read_timeout(Some(patience)).expect("time limit");
    socket
}

/// Who calls whom.
struct Parties {
    server: &'static str,
    phone: &'static str,
    /// What is sanctioned: the phone, or its network.
    sanctioned: &'static str,
}

const PARTIES: Parties = Parties {
    server: "192.0.2.1",
    phone: "192.0.2.2",
    sanctioned: "192.0.2.2",
};

const PARTIES6: Parties = Parties {
    server: "2001:db8::1",
    phone: "2001:db8:0:2::2",
    sanctioned: "2001:db8:0:2::/64",
};

/// A call of a customer's, and its media: each packet of it comes back before the next.
struct Call {
    server: &'static str,
    media: UdpSocket,
    echo: UdpSocket,
    sent: u16,
}

impl Call {
    fn new(parties: &Parties, patience: Duration) -> Call {
        Call {
            server: parties.server,
            media: bind(parties.phone, 40_000, patience),
            echo: bind(parties.server, 10_000, patience),
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
            .send_to(&packet, (self.server, 10_000))
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
        a_call_of_the_sanctioned(Backend::Ipset, &PARTIES);
    }

    fn over_ipv6_a_sanctioned_customer_keeps_the_call_and_a_stranger_nothing() {
        a_call_of_the_sanctioned(Backend::Ipset, &PARTIES6);
    }

    fn with_nftables_a_sanctioned_customer_keeps_the_call_and_a_stranger_nothing() {
        a_call_of_the_sanctioned(Backend::Nftables, &PARTIES);
    }

    fn with_nftables_over_ipv6_a_sanctioned_customer_keeps_the_call_and_a_stranger_nothing() {
        a_call_of_the_sanctioned(Backend::Nftables, &PARTIES6);
    }
}

/// Figure 7 of issue 5.
fn a_call_of_the_sanctioned(backend: Backend, parties: &Parties) {
    let Parties {
        server,
        phone,
        sanctioned,
    } = *parties;
    run("ip link set lo up");
    for addr in [server, phone] {
        run(&format!("ip addr add {addr} dev lo"));
    }
    let folder = tempfile::tempdir().expect("a folder");
    let mut firewall = firewall(backend);
    let host = match server.parse().expect(server) {
        IpAddr::V4(_) => server.to_owned(),
        IpAddr::V6(_) => format!("[{server}]"),
    };
    let _server = spawn(
        &format!("sipp -sn uas -i {server} -p 5060 -nostdin -trace_msg -message_file server.log"),
        folder.path(),
    );
    let log = folder.path().join("server.log");
    wait("the server", || {
        run(&format!("ss -Hlun src {host}")).contains(":5060")
    });
    let mut calling = spawn(
        &format!("sipp -sn uac {host}:5060 -i {phone} -p 5062 -m 1 -d 4000 -nostdin -timeout 25"),
        folder.path(),
    );
    wait("the call", || {
        std::fs::read_to_string(&log).is_ok_and(|log| log.contains("ACK sip:"))
    });
    let mut call = Call::new(parties, PATIENCE);
    assert!((0..50).all(|_| call.speak()), "before");

    // Somebody behind the same address tries passwords, and the address is sanctioned.
    let attacked = bind(server, 5061, PATIENCE);
    attacked.set_nonblocking(true).expect("nonblocking");
    let cracker = bind(phone, 50_000, PATIENCE);
    let register = format!("REGISTER sip:{host} SIP/2.0\r\n");
    block(&mut firewall, &Set::Throttled, sanctioned);
    let (start, mut tries, mut heard, mut spoken) = (Instant::now(), 0, 0_u64, 0);
    while start.elapsed() < Duration::from_secs(3) || tries <= 100 {
        cracker
            .send_to(register.as_bytes(), (server, 5061))
            .expect("send");
        tries += 1;
        assert!(call.speak(), "lost after {spoken} packets");
        spoken += 1;
        while attacked.recv(&mut [0; 100]).is_ok() {
            heard += 1;
        }
    }
    let allowed = 2 * start.elapsed().as_secs();
    assert!(
        (1..=allowed).contains(&heard),
        "{heard} of {tries} tries were heard, {allowed} may be"
    );
    println!("{spoken} packets of media, 0 lost; {heard} of {tries} tries heard in 3 s");
    // The call goes on, and ends as calls do.
    assert!(call.speak());
    let ended = calling.0.wait().expect("the phone");
    assert!(ended.success(), "the call did not end well: {ended}");

    // A stranger: everything stops.
    block(&mut firewall, &jail(), sanctioned);
    drop(call);
    let mut call = Call::new(parties, Duration::from_millis(50));
    assert!((0..5).all(|_| !call.speak()), "media of a banned stranger");
    assert!(cracker.send_to(b"REGISTER", (server, 5061)).is_ok());
    wait("the drops", || {
        packets(&mut firewall, &jail(), sanctioned) >= 5
    });
    assert!(attacked.recv(&mut [0; 100]).is_err());
}

/// Answers whatever comes to UDP port 5060 with the address that it came from.
const ECHO: &str = "import socket, sys\nfamily = socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET\ns = socket.socket(family, socket.SOCK_DGRAM)\ns.bind((sys.argv[1], 5060))\nwhile True:\n    _, who = s.recvfrom(2048)\n    s.sendto(who[0].encode(), who)\n";

/// Asks the given place from an address; prints what is answered, if that comes in time.
const ASK: &str = "import socket, sys\nfamily = socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET\ns = socket.socket(family, socket.SOCK_DGRAM)\ns.bind((sys.argv[1], 0))\ns.settimeout(float(sys.argv[3]))\nfor _ in range(int(sys.argv[4])):\n    s.sendto(b'OPTIONS', (sys.argv[2], 5060))\n    try:\n        print(s.recvfrom(2048)[0].decode())\n        break\n    except OSError:\n        pass\n";

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

/// Who is where: the host with its two networks, a container in one of them, all others in
/// the other.
struct Places {
    iptables: &'static str,
    forwarding: &'static str,
    /// What `ip addr add` is told besides; and how long the networks' prefixes are.
    flag: &'static str,
    outside_len: u8,
    inside_len: u8,
    host: &'static str,
    bridge: &'static str,
    container: &'static str,
    honest: &'static str,
    banned: &'static str,
    /// What is banned of him: his address, or his network.
    ban: &'static str,
    listed: &'static str,
    trunk: &'static str,
}

const PLACES: Places = Places {
    iptables: "iptables",
    forwarding: "/proc/sys/net/ipv4/ip_forward",
    flag: "",
    outside_len: 24,
    inside_len: 16,
    host: "198.51.100.1",
    bridge: "172.17.0.1",
    container: "172.17.0.2",
    honest: "198.51.100.10",
    banned: "198.51.100.7",
    ban: "198.51.100.7",
    listed: "198.51.100.8",
    trunk: "198.51.100.9",
};

const PLACES6: Places = Places {
    iptables: "ip6tables",
    forwarding: "/proc/sys/net/ipv6/conf/all/forwarding",
    flag: "nodad", // nobody else has it, and to ask takes seconds
    outside_len: 32,
    inside_len: 64,
    host: "2001:db8:1::1",
    bridge: "fd17::1",
    container: "fd17::2",
    honest: "2001:db8:10::10",
    banned: "2001:db8:7::7",
    ban: "2001:db8:7::/64",
    listed: "2001:db8:8::8",
    trunk: "2001:db8:9::9",
};

namespaced! {
    fn bans_hold_in_front_of_containers() {
        a_container_behind_bans(Backend::Ipset, &PLACES);
    }

    fn over_ipv6_bans_hold_in_front_of_containers() {
        a_container_behind_bans(Backend::Ipset, &PLACES6);
    }

    fn with_nftables_bans_hold_in_front_of_containers() {
        a_container_behind_bans(Backend::Nftables, &PLACES);
    }

    fn with_nftables_over_ipv6_bans_hold_in_front_of_containers() {
        a_container_behind_bans(Backend::Nftables, &PLACES6);
    }
}

/// As with Docker, a container stands behind a bridge, and what comes to the host's port is
/// forwarded to it.
fn build(places: &Places) {
    let Places {
        iptables,
        flag,
        host,
        bridge,
        container,
        inside_len,
        outside_len,
        ..
    } = places;
    run("mount -t tmpfs none /run"); // where namespaces get their names
    run("ip link set lo up");
    for name in ["outside", "container"] {
        run(&format!("ip netns add {name}"));
        run(&format!(
            "ip link add {name} type veth peer name eth0 netns {name}"
        ));
        run(&format!("ip -n {name} link set eth0 up"));
        run(&format!("ip -n {name} link set lo up"));
        run(&format!("ip link set {name} up"));
    }
    run(&format!(
        "ip addr add {host}/{outside_len} dev outside {flag}"
    ));
    for addr in [places.honest, places.banned, places.listed, places.trunk] {
        run(&format!(
            "ip -n outside addr add {addr}/{outside_len} dev eth0 {flag}"
        ));
    }
    run("ip link add docker0 type bridge");
    run("ip link set container master docker0");
    run("ip link set docker0 up");
    run(&format!(
        "ip addr add {bridge}/{inside_len} dev docker0 {flag}"
    ));
    run(&format!(
        "ip -n container addr add {container}/{inside_len} dev eth0 {flag}"
    ));
    run(&format!("ip -n container route add default via {bridge}"));
    std::fs::write(places.forwarding, "1").expect("forwarding");
    run(&format!(
        "{iptables} -t nat -A PREROUTING -i outside -p udp --dport 5060 -j DNAT --to-destination {container}"
    ));
    run(&format!(
        "{iptables} -t nat -A POSTROUTING -s {container} -o outside -j MASQUERADE"
    ));
}

/// Figure 6 of issue 5.
fn a_container_behind_bans(backend: Backend, places: &Places) {
    build(places);
    let Places {
        host,
        container,
        honest,
        banned,
        ban,
        listed,
        trunk,
        ..
    } = *places;
    let mut firewall = firewall(backend);
    let _phone_server = echo("container", container);
    let _trunk = echo("outside", trunk);

    // Before: everybody is heard.
    for addr in [banned, listed, honest] {
        assert_eq!(ask("outside", addr, host, true), addr);
    }
    block(&mut firewall, &jail(), ban);
    for set in [jail(), Set::List, Set::Throttled, Set::Allow] {
        block(&mut firewall, &set, listed);
    }
    assert_eq!(
        ask("outside", banned, host, false),
        "",
        "a banned one reached the container"
    );
    assert!(packets(&mut firewall, &jail(), ban) >= 3);
    for addr in [listed, honest] {
        assert_eq!(
            ask("outside", addr, host, true),
            addr,
            "on every list, but allowed; and an honest one"
        );
    }
    // The container opens a flow to its trunk: answers come back through the same rules.
    assert_eq!(ask("container", container, trunk, true), host);
    // It does not reach whom we banned either: answers are dropped as all else.
    block(&mut firewall, &jail(), trunk);
    assert_eq!(ask("container", container, trunk, false), "");
    block(&mut firewall, &Set::Allow, trunk);
    assert_eq!(ask("container", container, trunk, true), host);
}
