//! The throttled: what of their signalling passes, with real packets. Somebody behind the
//! address tries passwords all the while.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use crate::bed::Bed;
use crate::namespace::run;
use crate::{SIZES, apply, block, jail, settle};
use ringfence::action::{Firewall, Missing};
use ringfence::ticket::Set;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with};

/// A hang becomes a failure after this long.
const PATIENCE: Duration = Duration::from_secs(30);

/// Server, throttled customer.
const FOUR: [&str; 2] = ["192.0.2.1", "192.0.2.2"];
const SIX: [&str; 2] = ["2001:db8::1", "2001:db8:0:2::1"];

/// Tries of passwords that may pass at once, and in a second, by datagrams. The promise for
/// all together is 2 a second over a minute; a unit test adds the numbers up.
const AT_ONCE: u64 = 5 + 3 + 1;

fn prepare(bed: Bed) -> Firewall {
    run("ip link set lo up mtu 1500");
    for addr in FOUR {
        run(&format!("ip addr add {addr}/32 dev lo"));
    }
    for addr in SIX {
        run(&format!("ip addr add {addr}/128 dev lo nodad"));
    }
    settle(SIX[0], &SIX[1..]);
    let mut firewall = bed.open(SIZES);
    firewall.ensure(&[jail(), Set::Throttled]).expect("ensure");
    firewall
}

fn throttle(firewall: &mut Firewall) {
    let orders = [
        block(&Set::Throttled, FOUR[1], 600),
        block(&Set::Throttled, "2001:db8:0:2::/64", 600),
    ];
    assert_eq!(apply(firewall, &orders), []);
}

/// A phone and a server.
struct Datagrams {
    server: UdpSocket,
    phone: UdpSocket,
}

impl Datagrams {
    fn new([server, phone]: [&str; 2], port: u16) -> Self {
        let server = UdpSocket::bind((server, port)).expect("bind");
        server.set_nonblocking(true).expect("non-blocking");
        let phone = UdpSocket::bind((phone, 0)).expect("bind");
        phone
            .connect(server.local_addr().expect("address"))
            .expect("connect");
        Datagrams { server, phone }
    }

    /// Sends so many messages that begin so; how many arrive? A packet over loopback has
    /// arrived, or not, when the sending is done.
    fn heard(&self, start: &str, times: u64) -> u64 {
        let mut heard = 0;
        for _ in 0..times {
            let message = format!("{start}sip:100@example.net SIP/2.0\r\n\r\n");
            self.phone.send(message.as_bytes()).expect("send");
            while self.server.recv(&mut [0; 256]).is_ok() {
                heard += 1;
            }
        }
        heard
    }
}

/// A connection from one of these to the listener.
fn dial(listener: &TcpListener, phone: &str) -> (TcpStream, TcpStream) {
    let to = listener.local_addr().expect("address");
    let family = match to.is_ipv4() {
        true => AddressFamily::INET,
        false => AddressFamily::INET6,
    };
    let socket: OwnedFd =
        socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None).expect("socket");
    bind(&socket, &SocketAddr::new(phone.parse().expect(phone), 0)).expect("bind");
    connect(&socket, &to).expect("connect");
    let near = TcpStream::from(socket);
    near.set_nodelay(true).expect("no delay");
    near.set_nonblocking(true).expect("non-blocking");
    let (far, _) = listener.accept().expect("accept");
    far.set_read_timeout(Some(PATIENCE)).expect("time limit");
    (near, far)
}

/// Sends a message of so many bytes and waits until all of it is there.
fn deliver((near, far): &mut (TcpStream, TcpStream), start: &str, bytes: usize) {
    let mut message = format!("{start}sip:112@example.net SIP/2.0\r\n");
    message += &"x".repeat(bytes - message.len());
    near.write_all(message.as_bytes()).expect("write");
    let mut heard = vec![0; bytes];
    far.read_exact(&mut heard)
        .unwrap_or_else(|error| panic!("{start}: {error}"));
    assert_eq!(heard, message.as_bytes());
}

on_each_bed! {
    fn calls_go_on_while_passwords_are_tried_by_datagrams(bed) {
        let mut firewall = prepare(bed);
        throttle(&mut firewall);
        for addrs in [FOUR, SIX] {
            let start = Instant::now();
            let (sip, other) = (Datagrams::new(addrs, 5060), Datagrams::new(addrs, 5160));
            let mut tries = sip.heard("REGISTER ", 200);
            let allowed = 1 + start.elapsed().as_secs();
            assert!((1..=allowed).contains(&tries), "the bucket for the rest: {tries} of {allowed}");
            // What no password can be tried by passes in any case.
            for talk in ["SIP/2.0 200 OK ", "ACK ", "CANCEL "] {
                assert_eq!(sip.heard(talk, 20), 20, "{talk}");
            }
            // The running call ends, and another can begin.
            for (call, times) in [("BYE ", 2), ("UPDATE ", 2), ("INFO ", 1), ("INVITE ", 3)] {
                assert_eq!(sip.heard(call, times), times, "{call}");
                tries += times;
            }
            // Whoever knows that tries them all, and what only looks like them.
            let more = [
                "REGISTER ", "INVITE ", "BYE ", "PRACK ", "MESSAGE ", "OPTIONS ", "CANCELLED ", "ACK\t",
                "ACKNOWLEDGE ", "SIP/2.1 ", "SIP/2.00 ", "cancel ", " ACK ", "\r\nACK ", "INVITEE ",
            ];
            for start in more {
                tries += sip.heard(start, 20) + other.heard(start, 20);
            }
            // 50 a minute of all of them.
            let allowed = AT_ONCE + start.elapsed().as_secs() + 1;
            assert!(tries <= allowed, "{tries} tries, {allowed} may pass");
            assert_eq!(sip.heard("ACK ", 20), 20, "and still");
        }
    }

    fn calls_go_on_while_passwords_are_tried_by_streams(bed) {
        let mut firewall = prepare(bed);
        for [server, phone] in [FOUR, SIX] {
            let listener = TcpListener::bind((server, 5060)).expect("bind");
            let mut honest = dial(&listener, phone);
            let (mut cracker, mut victim) = dial(&listener, phone);
            throttle(&mut firewall);
            let start = Instant::now();
            let attempt = format!("REGISTER sip:example.net SIP/2.0\r\n{}", "x".repeat(366));
            for _ in 0..40 {
                cracker.write_all(attempt.as_bytes()).expect("write");
            }
            deliver(&mut honest, "BYE ", 600);
            deliver(&mut honest, "INVITE ", 1_300);
            deliver(&mut honest, "SIP/2.0 200 ", 400);
            // A connection that is opened now is heard as well.
            let mut next = dial(&listener, phone);
            deliver(&mut next, "INVITE ", 1_400);
            victim.set_nonblocking(true).expect("non-blocking");
            let mut heard = Vec::new();
            while start.elapsed() < Duration::from_secs(1) {
                let mut bytes = [0; 1_500];
                match victim.read(&mut bytes) {
                    Ok(count) => heard.extend_from_slice(&bytes[..count]),
                    Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
                }
                std::thread::park_timeout(Duration::from_millis(5));
            }
            // Two segments at once, two a minute, and what TCP sends again fills one.
            let allowed = (2 + 1 + start.elapsed().as_secs() as usize / 30) * 1_460;
            let heard = heard.len();
            assert!(heard > 0 && heard <= allowed, "{heard} bytes, {allowed} may pass");
        }
    }

    fn what_others_do_to_what_holds_back_is_seen_and_mended(bed) {
        let mut firewall = prepare(bed);
        throttle(&mut firewall);
        let sets = [jail(), Set::Throttled];
        assert_eq!(firewall.check(), Ok(vec![]));
        let damages: [&str; 2] = match bed {
            Bed::Nftables => [
                "nft flush chain inet ringfence ringfence-sip-udp",
                "nft insert rule inet ringfence ringfence-sip-tcp accept",
            ],
            _ => [
                "iptables -t raw -F ringfence-sip-udp",
                "iptables -t raw -I ringfence-sip-tcp -j RETURN",
            ],
        };
        for damage in damages {
            run(damage);
            let missing = firewall.check().expect("check");
            assert!(!missing.is_empty(), "{damage}");
            assert!(missing.iter().all(|one| matches!(one, Missing::Throttle { .. })), "{missing:?}");
            assert_eq!(firewall.ensure(&sets), Ok(vec![]));
            assert_eq!(firewall.check(), Ok(vec![]), "{damage}");
            let tries = Datagrams::new(FOUR, 5061).heard("REGISTER ", 50);
            assert!(tries <= 2, "{tries} after {damage}");
            assert_eq!(Datagrams::new(FOUR, 5080).heard("BYE ", 1), 1, "{damage}");
        }
        assert_eq!(bed.open(SIZES).ensure(&sets), Ok(vec![]));
        assert_eq!(firewall.check(), Ok(vec![]), "another run makes the same");
        firewall.lift().expect("lift");
        assert_eq!(Datagrams::new(FOUR, 5060).heard("REGISTER ", 50), 50);
        assert_eq!(firewall.check(), Ok(vec![]));
        firewall.lay().expect("lay");
        assert!(Datagrams::new(FOUR, 5060).heard("REGISTER ", 50) <= 2);
        assert_eq!(firewall.check(), Ok(vec![]));
        firewall.purge().expect("purge");
        assert_eq!(bed.drops(), (0, 0));
        assert!(bed.sets().is_empty(), "{:?}", bed.sets());
        assert!(!run("nft list ruleset").contains("ringfence"));
    }
}
