//! Which kind of firewall is chosen, and the change from one to the other.

use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::bed::{Bed, nft_rules, rules};
use crate::namespace::run;
use crate::{SIZES, apply, block, jail, names, settle};
use ringfence::action::{Backend, Firewall, Note, Reaches};
use ringfence::ticket::Set;

fn establish(backend: Backend) -> (Firewall, Vec<Note>) {
    Firewall::establish(backend, SIZES, &[jail(), Set::List], &Reaches::new()).expect("establish")
}

crate::namespaced! {
    fn iptables_decides() {
        let (firewall, _) = establish(Backend::Auto);
        assert_eq!(
            firewall.describe(),
            "kernel ipset (sets ringfence-*), dropped in raw PREROUTING by iptables (nf_tables) and ip6tables; chosen: iptables is installed"
        );
    }

    fn the_old_iptables_is_told() {
        let (firewall, _) = {
            Bed::Legacy.prepare();
            establish(Backend::Ipset)
        };
        assert_eq!(
            firewall.describe(),
            "kernel ipset (sets ringfence-*), dropped in raw PREROUTING by iptables (legacy) and ip6tables; chosen: as `firewall.backend` says"
        );
    }

    fn without_iptables_it_is_nftables() {
        hide_all_but(&["ipset", "nft"]);
        let (mut firewall, _) = establish(Backend::Auto);
        assert_eq!(
            firewall.describe(),
            "nftables (table inet ringfence, sets ringfence-*), dropped in raw PREROUTING; chosen: iptables is not installed"
        );
        assert_eq!(firewall.check(), Ok(vec![]));
        assert_eq!(run("ipset list -n"), "");
    }

    fn an_iptables_that_cannot_match_sets_will_not_do() {
        hide_all_but(&["ipset", "nft"]);
        let said = "iptables v1.8.9 (legacy): Couldn't load match `set':No such file or directory";
        let script = format!("#!/bin/sh\necho \"{}\" >&2\nexit 2\n", said.replace('`', "\\`"));
        std::fs::write("/usr/sbin/iptables", script).expect("write");
        run("chmod 755 /usr/sbin/iptables");
        let (mut firewall, notes) = establish(Backend::Auto);
        assert!(firewall.describe().contains("nftables (") && firewall.describe().contains("modprobe xt_set"), "{}", firewall.describe());
        assert_eq!(firewall.check(), Ok(vec![]));
        // The sets that were made in vain are gone.
        assert_eq!(names(&notes).last().map(String::as_str), Some("took 0 entries over from the other kind of firewall, and removed it there"));
        assert_eq!(run("ipset list -n"), "");
        let error = Firewall::establish(Backend::Ipset, SIZES, &[jail()], &Reaches::new()).expect_err("told to");
        assert!(error.to_string().contains("modprobe xt_set"), "{error}");
    }

    fn the_other_kind_is_taken_over_without_a_gap() {
        run("ip link set lo up");
        for addr in ["192.0.2.1/32", "192.0.2.2/32"] {
            run(&format!("ip addr add {addr} dev lo"));
        }
        settle("192.0.2.1", &["192.0.2.2"]);
        let mut firewall = Bed::Ipset.firewall(SIZES);
        let mut orders: Vec<_> = (0..1_000)
            .map(|n| block(&Set::List, &format!("198.18.{}.{}", n / 250, n % 250), 600))
            .collect();
        orders.push(block(&jail(), "192.0.2.2", 600));
        orders.push(block(&jail(), "2001:db8::/64", 0));
        orders.push(block(&Set::Allow, "203.0.113.5", 0));
        assert_eq!(apply(&mut firewall, &orders), []);
        let heard = flood_while("192.0.2.2", "192.0.2.1", || {
            let (mut other, notes) = establish(Backend::Nftables);
            assert_eq!(notes.last(), Some(&Note::TookOver { entries: 1_003 }));
            assert_eq!(run("ipset list -n"), "");
            assert!(rules("iptables").is_empty() && rules("ip6tables").is_empty());
            assert_eq!(Bed::Nftables.addresses("ringfence-apiban").len(), 1_000);
            assert_eq!(Bed::Nftables.addresses("ringfence-allow"), ["203.0.113.5"]);
            assert_eq!(other.check(), Ok(vec![]));

            let (mut back, notes) = establish(Backend::Ipset);
            assert_eq!(notes.last(), Some(&Note::TookOver { entries: 1_003 }));
            assert!(nft_rules().is_empty());
            assert_eq!(Bed::Ipset.addresses("ringfence-asterisk"), ["192.0.2.2"]);
            assert_eq!(Bed::Ipset.members("ringfence-asterisk6")["2001:db8::/64"].timeout_secs, 0);
            assert!(Bed::Ipset.members("ringfence-asterisk")["192.0.2.2"].timeout_secs > 500);
            assert_eq!(back.check(), Ok(vec![]));
            assert_eq!(establish(Backend::Ipset).1, [], "nothing is left to be taken over");
        });
        assert_eq!(heard, 0, "packets passed");
    }
}

/// Sends packets from one address to another all the while; says how many arrived.
pub(crate) fn flood_while(from: &str, to: &str, work: impl FnOnce()) -> usize {
    let receiver = UdpSocket::bind((to, 0)).expect("bind receiver");
    let target = receiver.local_addr().expect("local address");
    receiver.set_nonblocking(true).expect("non-blocking");
    let sender = UdpSocket::bind((from, 0)).expect("bind sender");
    let over = AtomicBool::new(false);
    let mut sent = 0_u64;
    std::thread::scope(|scope| {
        let flood = scope.spawn(|| {
            while !over.load(Ordering::Acquire) {
                sender.send_to(b"REGISTER", target).expect("send");
                sent += 1;
                std::thread::yield_now();
            }
        });
        work();
        over.store(true, Ordering::Release);
        flood.join().expect("flood");
    });
    assert!(sent > 0);
    std::iter::from_fn(|| receiver.recv_from(&mut [0; 64]).ok()).count()
}

/// Makes the namespace's /usr/sbin have only these of its programs.
pub(crate) fn hide_all_but(programs: &[&str]) {
    let kept: Vec<(String, Vec<u8>)> = programs
        .iter()
        .map(|program| format!("/usr/sbin/{program}"))
        .map(|path| (path.clone(), std::fs::read(&path).expect("program")))
        .collect();
    run("mount -t tmpfs tmpfs /usr/sbin");
    for (path, bytes) in kept {
        std::fs::write(&path, bytes).expect("write");
        run(&format!("chmod 755 {path}"));
    }
}
