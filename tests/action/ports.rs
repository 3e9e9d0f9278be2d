//! Drops that are for some ports only, and with them everything that happens to rules.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::time::{Duration, Instant};

use crate::bed::Bed;
use crate::choice::flood_while;
use crate::namespace::run;
use crate::{SIZES, addr, apply, block, check_heard, jail, names, settle};
use ringfence::action::{Error, Firewall, Missing, Ports, Reach, Reaches, Transport};
use ringfence::ticket::Set;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with};

/// A hang becomes a failure after this long.
const PATIENCE: Duration = Duration::from_secs(30);

/// Who is banned by the jail with ports, by that and by the one without, and by none.
const FOUR: [&str; 3] = ["192.0.2.2", "192.0.2.3", "192.0.2.4"];
const SIX: [&str; 3] = ["2001:db8:0:2::1", "2001:db8:0:3::1", "2001:db8:0:4::1"];

fn ports(first: u16, last: u16) -> Ports {
    Ports { first, last }
}

fn sshd() -> Set {
    Set::Jail("sshd".into())
}

fn all() -> [Set; 3] {
    [jail(), sshd(), Set::List]
}

/// SIP by any transport, and a port of TCP alone.
fn sip_and_web() -> Reach {
    let sip = Reach::only(&Transport::ALL, &[ports(5060, 5061)]);
    sip.and(Reach::only(&[Transport::Tcp], &[ports(8088, 8088)]))
}

fn narrow(reach: Reach) -> Reaches {
    [("sshd".into(), reach)].into()
}

/// What was dropped of this address, as the sets count it.
fn dropped(firewall: &mut Firewall, from: &str) -> u64 {
    let counters = firewall.counters(&addr(from)).expect("counters");
    let drops = counters.iter().filter(|(set, _)| *set != Set::Allow);
    drops.map(|(_, kept)| kept.packets).sum()
}

/// Does a packet of this address arrive there? It either does, or is counted as dropped.
fn arrives(firewall: &mut Firewall, transport: Transport, from: &str, to: SocketAddr) -> bool {
    let before = dropped(firewall, from);
    let source = SocketAddr::new(from.parse().expect(from), 0);
    let start = Instant::now();
    let mut decide = |mut is_here: Box<dyn FnMut() -> std::io::Result<()>>| loop {
        match is_here() {
            Ok(()) => {
                assert_eq!(dropped(firewall, from), before, "what passed was counted");
                return true;
            }
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
        if dropped(firewall, from) > before {
            return false;
        }
        assert!(start.elapsed() < PATIENCE, "neither arrived nor dropped");
        std::thread::yield_now();
    };
    match transport {
        Transport::Udp => {
            let receiver = UdpSocket::bind(to).expect("bind");
            receiver.set_nonblocking(true).expect("non-blocking");
            let sender = UdpSocket::bind(source).expect("bind");
            sender.send_to(b"OPTIONS", to).expect("send");
            decide(Box::new(move || receiver.recv(&mut [0; 64]).map(drop)))
        }
        _ => {
            let listener = TcpListener::bind(to).expect("bind");
            listener.set_nonblocking(true).expect("non-blocking");
            let family = match to.is_ipv4() {
                true => AddressFamily::INET,
                false => AddressFamily::INET6,
            };
            let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            let client = socket_with(family, SocketType::STREAM, flags, None).expect("socket");
            bind(&client, &source).expect("bind");
            let _in_progress = connect(&client, &to);
            decide(Box::new(move || listener.accept().map(drop)))
        }
    }
}

/// Which of these places each of the addresses reaches.
fn reached(firewall: &mut Firewall) -> Vec<String> {
    let mut reached = Vec::new();
    for (to, from) in [("192.0.2.1", FOUR), ("2001:db8::1", SIX)] {
        for from in from {
            let mut open = Vec::new();
            for (transport, port) in [
                (Transport::Udp, 5060),
                (Transport::Udp, 8088),
                (Transport::Udp, 10_000),
                (Transport::Tcp, 5061),
                (Transport::Tcp, 8088),
                (Transport::Tcp, 22),
            ] {
                let to = SocketAddr::new(to.parse().expect(to), port);
                if arrives(firewall, transport, from, to) {
                    open.push(format!("{}{port}", transport.word()));
                }
            }
            reached.push(format!("{from}: {}", open.join(" ")));
        }
    }
    reached
}

fn prepare() {
    run("ip link set lo up");
    for addr in ["192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"] {
        run(&format!("ip addr add {addr}/32 dev lo"));
    }
    for addr in [&["2001:db8::1"][..], &SIX].concat() {
        run(&format!("ip addr add {addr}/128 dev lo nodad"));
    }
    settle("2001:db8::1", &SIX);
}

fn ban(firewall: &mut Firewall) {
    for (set, addrs) in [
        (sshd(), ["192.0.2.2", "192.0.2.3", "2001:db8:0:2::/63"]),
        (jail(), ["192.0.2.3", "198.51.100.1", "2001:db8:0:3::/64"]),
    ] {
        let orders = addrs.map(|addr| block(&set, addr, 600));
        assert_eq!(apply(firewall, &orders), []);
    }
}

const ALL_PORTS: &str = "udp5060 udp8088 udp10000 tcp5061 tcp8088 tcp22";

on_each_bed! {
    fn drops_of_some_ports_leave_the_others_open(bed) {
        prepare();
        let mut firewall = bed.open(SIZES);
        firewall.narrow(narrow(sip_and_web()));
        firewall.ensure(&all()).expect("ensure");
        ban(&mut firewall);
        // Who is banned on all ports by another jail is dropped everywhere.
        let narrowed = [
            "192.0.2.2: udp8088 udp10000 tcp22".to_owned(),
            "192.0.2.3: ".to_owned(),
            format!("192.0.2.4: {ALL_PORTS}"),
            "2001:db8:0:2::1: udp8088 udp10000 tcp22".to_owned(),
            "2001:db8:0:3::1: ".to_owned(),
            format!("2001:db8:0:4::1: {ALL_PORTS}"),
        ];
        let open = [FOUR, SIX].concat().into_iter().map(|addr| format!("{addr}: {ALL_PORTS}"));
        let open: Vec<String> = open.collect();
        assert_eq!(reached(&mut firewall), narrowed);
        assert_eq!(firewall.check(), Ok(vec![]));
        assert_eq!(firewall.ensure(&all()), Ok(vec![]), "to ensure again changes nothing");

        // Lifted, found so by another run, and laid again.
        firewall.lift().expect("lift");
        assert_eq!(reached(&mut firewall), open);
        assert_eq!(firewall.check(), Ok(vec![]), "lifted is not broken");
        let mut next = bed.open(SIZES);
        next.narrow(narrow(sip_and_web()));
        next.ensure(&all()).expect("ensure");
        assert_eq!(reached(&mut next), open);
        next.lay().expect("lay");
        assert_eq!(reached(&mut next), narrowed);
        assert_eq!(next.check(), Ok(vec![]));

        // Allowed addresses pass here too.
        assert_eq!(apply(&mut next, &[block(&Set::Allow, "192.0.2.2", 0)]), []);
        assert_eq!(reached(&mut next)[0], open[0]);

        // Nothing stays behind.
        next.remove_rules().expect("remove");
        assert_eq!(reached(&mut next), open);
        next.ensure(&all()).expect("ensure");
        next.purge().expect("purge");
        assert_eq!(bed.drops(), (0, 0));
        assert!(bed.sets().is_empty());
    }

    fn other_ports_take_the_place_of_these_without_a_gap(bed) {
        prepare();
        let mut firewall = bed.open(SIZES);
        firewall.narrow(narrow(Reach::only(&[Transport::Udp], &[Ports::ALL])));
        firewall.ensure(&all()).expect("ensure");
        ban(&mut firewall);
        let heard = flood_while("192.0.2.2", "192.0.2.1", || {
            for reach in [
                Reach::EVERYTHING,
                Reach::only(&[Transport::Udp, Transport::Tcp], &[Ports::ALL]),
                Reach::only(&[Transport::Udp], &[ports(1, 70), ports(80, u16::MAX)]),
                Reach::EVERYTHING,
                Reach::only(&[Transport::Udp], &[ports(1024, u16::MAX)]),
            ] {
                firewall.narrow(narrow(reach.clone()));
                firewall.ensure(&all()).expect("ensure");
                assert_eq!(firewall.check(), Ok(vec![]), "{reach}");
            }
        });
        assert_eq!(heard, 0, "packets passed");
        let to = SocketAddr::new([192, 0, 2, 1].into(), 5060);
        assert!(arrives(&mut firewall, Transport::Tcp, "192.0.2.2", to));
        // A jail that is gone takes its rules with it.
        firewall.narrow(Reaches::new());
        firewall.ensure(&[jail(), Set::List]).expect("ensure");
        check_heard("192.0.2.1", &["192.0.2.2"], &[]); // as long as its set is there
        firewall.remove_strays().expect("strays");
        assert!(arrives(&mut firewall, Transport::Udp, "192.0.2.2", to));
        assert_eq!(firewall.check(), Ok(vec![]));
    }

    fn rules_that_others_take_or_change_are_seen(bed) {
        prepare();
        let mut firewall = bed.open(SIZES);
        firewall.narrow(narrow(Reach::only(&[Transport::Tcp], &[ports(5061, 5061)])));
        firewall.ensure(&all()).expect("ensure");
        ban(&mut firewall);
        let to = SocketAddr::new([192, 0, 2, 1].into(), 5061);
        bed.remove_rule("ringfence-sshd");
        let gone = Missing::Narrow { set: "ringfence-sshd".to_owned() };
        assert_eq!(gone.to_string(), "a rule is gone that drops who is in ringfence-sshd on the ports of its jail");
        assert!(firewall.check().expect("check").contains(&gone));
        assert!(arrives(&mut firewall, Transport::Tcp, "192.0.2.2", to));
        firewall.ensure(&all()).expect("ensure");
        assert_eq!(firewall.check(), Ok(vec![]));
        bed.change_port("ringfence-sshd", 5061, 5062);
        assert!(arrives(&mut firewall, Transport::Tcp, "192.0.2.2", to));
        assert!(firewall.check().expect("check").contains(&gone));
        firewall.ensure(&all()).expect("ensure");
        assert_eq!(firewall.check(), Ok(vec![]));
        assert!(!arrives(&mut firewall, Transport::Tcp, "192.0.2.2", to));
    }
}

crate::namespaced! {
    fn the_other_kind_gets_the_ports_as_well() {
        use ringfence::action::Backend;
        prepare();
        let reaches = narrow(sip_and_web());
        let establish = |backend| Firewall::establish(backend, SIZES, &all(), &reaches).expect("establish");
        let (mut firewall, _) = establish(Backend::Ipset);
        ban(&mut firewall);
        let narrowed = reached(&mut firewall);
        assert_eq!(narrowed[0], "192.0.2.2: udp8088 udp10000 tcp22");
        let (mut other, notes) = establish(Backend::Nftables);
        assert!(names(&notes).last().expect("notes").contains("took 6 entries over"), "{notes:?}");
        assert_eq!(reached(&mut other), narrowed);
        let (mut back, _) = establish(Backend::Ipset);
        assert_eq!(reached(&mut back), narrowed);
        assert_eq!(back.check(), Ok(vec![]));
    }

    fn what_iptables_lacks_is_said() {
        // It has no multiport.
        let script = "#!/bin/sh\necho \"iptables-restore v1.8.9 (legacy): Couldn't load match \\`multiport':No such file or directory\" >&2\nexit 2\n";
        let folder = tempfile::tempdir().expect("folder");
        let fake = folder.path().join("iptables-restore");
        std::fs::write(&fake, script).expect("write");
        run(&format!("chmod 755 {}", fake.display()));
        crate::choice::hide_all_but(&["ipset", "nft", "iptables"]);
        run(&format!("cp {} /usr/sbin/iptables-restore", fake.display()));
        let mut firewall = Bed::Ipset.open(SIZES);
        firewall.narrow(narrow(sip_and_web()));
        let error = firewall.ensure(&all()).expect_err("no multiport");
        assert!(matches!(error, Error::NoMatch { .. }), "{error}");
        assert!(error.to_string().contains("modprobe xt_multiport"), "{error}");
    }
}
