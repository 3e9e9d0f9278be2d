//! The firewall stage against a real kernel: what we do by netlink is looked at with
//! the programs `ipset`, `iptables` and `nft`, and with packets.
//!
//! The rows here hold for every kind of firewall and are run on each [`Bed`]; what is so
//! on one kind only stands in `ipset` and `nftables`.

#[macro_use]
#[path = "../common/namespace.rs"]
mod namespace;

mod bed;
mod choice;
mod ipset;
mod nftables;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{TcpStream, UdpSocket};

use bed::Bed;
use namespace::run;
use ringfence::action::conntrack::Conntrack;
use ringfence::action::{Action, Backend, Error, Family, Firewall, Missing, Note, Outcome, Sizes};
use ringfence::addr::Addr;
use ringfence::ticket::{Entry, KERNEL_TIMEOUT_SECS_MAX, Order, Set, Unanswered};

const SIZES: Sizes = Sizes {
    jail: 20_000,
    list: 20_000,
    allow: 1_000,
};

fn jail() -> Set {
    Set::Jail("asterisk".into())
}

fn addr(text: &str) -> Addr {
    text.parse().expect(text)
}

fn entry(text: &str, timeout_secs: u32) -> Entry {
    let addr = addr(text);
    Entry { addr, timeout_secs }
}

fn block(set: &Set, text: &str, timeout_secs: u32) -> Order {
    Order::Block {
        set: set.clone(),
        entry: entry(text, timeout_secs),
    }
}

fn unblock(set: &Set, text: &str) -> Order {
    Order::Unblock {
        set: set.clone(),
        addr: addr(text),
    }
}

fn apply(firewall: &mut Firewall, orders: &[Order]) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    firewall.apply(orders, &mut |outcome| outcomes.push(outcome));
    outcomes
}

fn names(notes: &[Note]) -> Vec<String> {
    notes.iter().map(ToString::to_string).collect()
}

/// Defines tests that run on each kind of firewall, in namespaces of their own.
macro_rules! on_each_bed {
    ($($(#[$meta:meta])* fn $name:ident($bed:ident) $body:block)*) => {
        $(
            $(#[$meta])*
            mod $name {
                use super::*;

                pub(crate) fn check($bed: Bed) $body

                namespaced! {
                    fn ipset() { check(Bed::Ipset.prepare()) }
                    fn ipset_with_legacy_iptables() { check(Bed::Legacy.prepare()) }
                    fn nftables() { check(Bed::Nftables.prepare()) }
                }
            }
        )*
    };
}

mod ports;
mod signalling;

on_each_bed! {
    fn ensure_twice_changes_nothing(bed) {
        let mut firewall = bed.firewall(SIZES);
        let drops = bed.drops();
        apply(&mut firewall, &[block(&jail(), "192.0.2.7", 600)]);
        assert_eq!(bed.open(SIZES).ensure(&[jail(), Set::List]), Ok(vec![]));
        assert_eq!(bed.addresses("ringfence-asterisk"), ["192.0.2.7"]);
        assert_eq!(bed.drops(), drops);
        assert_eq!(firewall.check(), Ok(vec![]));
    }

    fn blocks_and_unblocks(bed) {
        let mut firewall = bed.firewall(SIZES);
        let outcomes = apply(&mut firewall, &[
            block(&jail(), "192.0.2.7", 600),
            block(&Set::List, "198.51.100.0/24", 0),
            block(&jail(), "2001:db8::/64", 3600),
            block(&jail(), "192.0.2.8", 600),
            unblock(&jail(), "192.0.2.8"),
            unblock(&jail(), "192.0.2.9"),
            block(&jail(), "192.0.2.10", KERNEL_TIMEOUT_SECS_MAX),
            block(&Set::Allow, "203.0.113.5", 0),
            unblock(&Set::List, "2001:db8::7"),
        ]);
        assert_eq!(outcomes, []);
        assert_eq!(bed.addresses("ringfence-asterisk"), ["192.0.2.10", "192.0.2.7"]);
        assert_eq!(bed.addresses("ringfence-asterisk6"), ["2001:db8::/64"]);
        assert_eq!(bed.addresses("ringfence-apiban"), ["198.51.100.0/24"]);
        assert_eq!(bed.addresses("ringfence-allow"), ["203.0.113.5"]);
        assert_eq!(firewall.holds(&Set::List, &addr("198.51.100.9")), Ok(true));
        assert_eq!(firewall.holds(&Set::List, &addr("198.51.101.9")), Ok(false));
        assert_eq!(firewall.holds(&jail(), &addr("2001:db8::9")), Ok(true));
        firewall.flush(&jail()).expect("flush");
        assert!(bed.addresses("ringfence-asterisk6").is_empty());
    }

    fn the_order_of_one_address_is_kept(bed) {
        let mut firewall = bed.firewall(SIZES);
        let mut orders = Vec::new();
        for _ in 0..3 {
            orders.push(block(&jail(), "192.0.2.7", 600));
            orders.push(unblock(&jail(), "192.0.2.7"));
            orders.push(unblock(&jail(), "192.0.2.8"));
            orders.push(block(&jail(), "192.0.2.8", 600));
        }
        orders.push(Order::Load { set: jail(), page: 1, entries: [entry("192.0.2.9", 60)].into() });
        orders.push(unblock(&jail(), "192.0.2.9"));
        assert_eq!(apply(&mut firewall, &orders), [Outcome::Loaded { page: 1, refused: 0 }]);
        assert_eq!(bed.addresses("ringfence-asterisk"), ["192.0.2.8"]);
    }

    fn a_second_ban_renews_the_time_out(bed) {
        let mut firewall = bed.firewall(SIZES);
        for secs in [60, 7200, 600, 0] {
            assert_eq!(apply(&mut firewall, &[block(&jail(), "192.0.2.7", secs)]), []);
            let left = bed.members("ringfence-asterisk")["192.0.2.7"].timeout_secs;
            assert!(left <= secs && left + 60 > secs, "{left} of {secs}");
        }
    }

    fn a_bad_entry_does_not_stop_the_others(bed) {
        let mut firewall = bed.firewall(SIZES);
        let mut entries: Vec<Entry> = (0..10_000u32)
            .map(|n| entry(&format!("198.18.{}.{}", n >> 8, n & 255), 3600))
            .collect();
        entries[5_000] = entry("0.0.0.0/0", 3600);
        let orders: Vec<Order> = entries.iter().map(|entry| Order::Block { set: jail(), entry: *entry }).collect();
        let outcomes = apply(&mut firewall, &orders);
        let everybody = addr("0.0.0.0/0");
        let error = Error::Entry { addr: everybody };
        assert_eq!(outcomes, [Outcome::Refused { set: jail(), addr: everybody, error }]);
        assert_eq!(bed.addresses("ringfence-asterisk").len(), 9_999);
        assert!(bed.members("ringfence-asterisk").contains_key("198.18.39.15"));

        let load = Order::Load { set: Set::List, page: 7, entries: entries.into() };
        assert_eq!(apply(&mut firewall, &[load]), [Outcome::Loaded { page: 7, refused: 1 }]);
        assert_eq!(bed.addresses("ringfence-apiban").len(), 9_999);
    }

    fn lists_what_its_program_lists(bed) {
        let mut firewall = bed.firewall(SIZES);
        let mut orders: Vec<Order> = (0..5_000u32)
            .map(|n| block(&jail(), &format!("198.18.{}.{}", n >> 8, n & 255), 3600))
            .collect();
        orders.push(block(&jail(), "2001:db8:1::/64", 0));
        orders.push(block(&jail(), "203.0.113.0/25", 0));
        assert_eq!(apply(&mut firewall, &orders), []);
        let mut listed = BTreeMap::new();
        firewall
            .list(&jail(), &mut |kept| {
                listed.insert(kept.addr.to_string(), kept.timeout_secs);
            })
            .expect("list");
        let mut seen = bed.members("ringfence-asterisk");
        seen.extend(bed.members("ringfence-asterisk6"));
        assert_eq!(listed.len(), 5_002);
        for (addr, member) in &seen {
            assert!(listed[addr].abs_diff(member.timeout_secs) <= 60, "{addr} {member:?}");
        }
        assert_eq!(listed["203.0.113.0/25"], 0);
    }

    fn a_full_set_is_told_and_stops_nobody(bed) {
        let mut firewall = bed.firewall(Sizes { jail: 100, ..SIZES });
        let mut orders: Vec<Order> = (0..300).map(|n| block(&jail(), &format!("198.18.{}.{}", n / 100, n % 100), 600)).collect();
        orders.push(block(&jail(), "2001:db8::/64", 600));
        orders.push(block(&Set::Allow, "203.0.113.5", 0));
        orders.push(block(&jail(), "198.18.0.1", 7200));
        let outcomes = apply(&mut firewall, &orders);
        let error = Error::Full {
            name: "ringfence-asterisk".to_owned(),
            maxelem: 100,
            setting: "firewall.max_bans",
        };
        let full = outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Full { .. })).count();
        assert_eq!(full, 1);
        assert!(outcomes.contains(&Outcome::Full { set: jail(), error: error.clone() }));
        let refused: Vec<&Outcome> = outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Refused { .. })).collect();
        assert_eq!(refused.len(), 200);
        assert_eq!(*refused[0], Outcome::Refused { set: jail(), addr: addr("198.18.1.0"), error: error.clone() });
        assert_eq!(error.to_string(), "the set ringfence-asterisk is full (100 entries); change `firewall.max_bans` in ringfence.toml and restart");
        assert_eq!(bed.members("ringfence-asterisk").len(), 100);
        assert!(bed.members("ringfence-asterisk")["198.18.0.1"].timeout_secs > 6000, "renewed though full");
        assert_eq!(bed.addresses("ringfence-asterisk6").len(), 1);
        assert_eq!(bed.addresses("ringfence-allow").len(), 1);
    }

    fn a_set_grows_and_keeps_its_entries(bed) {
        let mut small = bed.firewall(Sizes { jail: 1_001, ..SIZES });
        let orders: Vec<Order> = (0..1_000u32)
            .map(|n| block(&jail(), &format!("198.18.{}.{}", n >> 8, n & 255), 3600))
            .collect();
        assert_eq!(apply(&mut small, &orders), []);
        let prefixes = [block(&jail(), "2001:db8::/64", 0), block(&jail(), "203.0.113.0/25", 3600)];
        assert_eq!(apply(&mut small, &prefixes), []);
        bed.put_counted("ringfence-asterisk", "198.18.0.0");
        let before = bed.members("ringfence-asterisk");

        let mut larger = bed.open(SIZES);
        let mut notes = larger.ensure(&[jail(), Set::List]).expect("ensure");
        let everybody = |wanted: &Set, each: &mut dyn FnMut(Entry)| {
            for order in orders.iter().chain(&prefixes) {
                match order {
                    Order::Block { set, entry } if set == wanted => each(*entry),
                    _ => {}
                }
            }
        };
        notes.append(&mut larger.enlarge(&everybody).expect("enlarge"));
        let enlarged = |note: &Note| match note {
            Note::Enlarged { name, maxelem: 20_000, entries } if name.starts_with("ringfence-asterisk") => *entries,
            other => panic!("{other}"),
        };
        assert_eq!(notes.iter().map(enlarged).sum::<usize>(), 1_002);
        assert_eq!(
            notes[0].to_string(),
            format!("enlarged the set ringfence-asterisk to 20000 entries and kept its {}", if bed == Bed::Nftables { 1_000 } else { 1_001 })
        );
        let after = bed.members("ringfence-asterisk");
        assert_eq!(before.keys().collect::<Vec<_>>(), after.keys().collect::<Vec<_>>());
        let counted = &after["198.18.0.0"];
        // nf_tables' are filled anew.
        let expected = if bed == Bed::Nftables { (0, 0) } else { (7, 700) };
        assert_eq!((counted.packets, counted.bytes), expected);
        assert!(after.values().all(|member| (3_500..=3_600).contains(&member.timeout_secs)));
        assert_eq!(bed.addresses("ringfence-asterisk6"), ["2001:db8::/64"]);
        assert_eq!(bed.size("ringfence-asterisk"), 20_000);
        assert_eq!(larger.check(), Ok(vec![]), "the rules still see it");
        assert!(bed.sets().iter().all(|name| !name.ends_with("new")), "{:?}", bed.sets());
        assert_eq!(small.ensure(&[jail(), Set::List]), Ok(vec![]), "a larger set is not made smaller");
        assert_eq!(small.enlarge(&|_, _| panic!("nobody is needed")), Ok(vec![]));
    }

    fn a_full_list_takes_no_room_from_local_bans(bed) {
        let mut firewall = bed.firewall(Sizes { list: 100, jail: 100, ..SIZES });
        let entries: Vec<Entry> = (0..300).map(|n| entry(&format!("198.18.{}.{}", n / 100, n % 100), 600)).collect();
        let load = Order::Load { set: Set::List, page: 1, entries: entries.into() };
        let outcomes = apply(&mut firewall, &[load, block(&jail(), "198.18.2.99", 600)]);
        assert!(outcomes.contains(&Outcome::Loaded { page: 1, refused: 200 }), "{outcomes:?}");
        assert!(outcomes.iter().all(|outcome| !matches!(outcome, Outcome::Refused { .. })));
        assert_eq!(firewall.holds(&jail(), &addr("198.18.2.99")), Ok(true));
    }

    fn remove_rules_keeps_the_bans(bed) {
        let mut firewall = bed.firewall(SIZES);
        apply(&mut firewall, &[block(&jail(), "192.0.2.7", 600)]);
        firewall.remove_rules().expect("remove");
        firewall.remove_rules().expect("remove twice");
        assert_eq!(bed.drops(), (0, 0));
        assert_eq!(bed.addresses("ringfence-asterisk"), ["192.0.2.7"]);
        let notes = firewall.ensure(&[jail(), Set::List]).expect("ensure");
        assert_eq!(names(&notes), ["put the rule for inet in place", "put the rule for inet6 in place"]);
    }

    fn sets_of_gone_jails_are_told_and_removed(bed) {
        let mut firewall = bed.firewall(SIZES);
        let old = Set::Jail("a jail with a name too long".into());
        firewall.ensure(&[jail(), Set::List, old.clone()]).expect("ensure");
        assert_eq!(apply(&mut firewall, &[block(&old, "192.0.2.7", 60)]), []);
        let notes = firewall.ensure(&[jail(), Set::List]).expect("ensure");
        let strays = notes.len();
        assert!(strays >= 2, "one for each family");
        assert!(notes.iter().all(|note| matches!(note, Note::Stray { .. })), "{notes:?}");
        assert_eq!(firewall.remove_strays().map(|names| names.len()), Ok(strays));
        assert_eq!(firewall.ensure(&[jail(), Set::List]), Ok(vec![]));
    }

    fn there_can_be_hundreds_of_jails(bed) {
        let jails: Vec<Set> = (0..300).map(|n| Set::Jail(format!("jail-{n}x").into())).collect();
        let mut firewall = bed.open(Sizes { jail: 100, ..SIZES });
        firewall.ensure(&jails).expect("ensure");
        assert!(bed.sets().len() >= 602, "{:?}", bed.sets());
        assert_eq!(firewall.check(), Ok(vec![]));
    }

    fn packets_of_banned_sources_are_dropped(bed) {
        let mut firewall = bed.firewall(SIZES);
        run("ip link set lo up");
        for addr in ["192.0.2.1/32", "192.0.2.2/32", "192.0.2.3/32", "192.0.2.4/32"] {
            run(&format!("ip addr add {addr} dev lo"));
        }
        for addr in ["2001:db8::1/128", "2001:db8:0:2::1/128", "2001:db8:0:3::1/128"] {
            run(&format!("ip addr add {addr} dev lo nodad"));
        }
        let four = ["192.0.2.2", "192.0.2.3", "192.0.2.4"];
        let six = ["2001:db8:0:2::1", "2001:db8:0:3::1"];
        settle("192.0.2.1", &four);
        settle("2001:db8::1", &six);
        apply(&mut firewall, &[
            block(&jail(), "192.0.2.2", 600),
            block(&jail(), "192.0.2.3", 600),
            block(&Set::List, "192.0.2.4", 0),
            block(&jail(), "2001:db8:0:2::/64", 600),
            block(&Set::List, "2001:db8:0:3::/64", 600),
        ]);
        check_heard("192.0.2.1", &four, &[]);
        check_heard("2001:db8::1", &six, &[]);

        // The allow set goes before every drop.
        apply(&mut firewall, &[
            block(&Set::Allow, "192.0.2.3", 0),
            block(&Set::Allow, "2001:db8:0:3::/64", 0),
        ]);
        check_heard("192.0.2.1", &four, &["192.0.2.3"]);
        check_heard("2001:db8::1", &six, &["2001:db8:0:3::1"]);

        // What was dropped is counted, and what passed was not even looked up.
        let mut packets = BTreeMap::new();
        for set in [jail(), Set::List] {
            firewall
                .list(&set, &mut |kept| { packets.insert(kept.addr.to_string(), kept.packets); })
                .expect("list");
        }
        for (addr, count) in [
            ("192.0.2.2", 2),
            ("192.0.2.3", 1),
            ("2001:db8:0:2::/64", 2),
        ] {
            assert_eq!(packets[addr], count, "{addr}");
        }
        let told: Vec<String> = ["192.0.2.3", "192.0.2.4", "2001:db8:0:2::1", "2001:db8:0:3::/64", "192.0.2.77"]
            .iter()
            .flat_map(|text| firewall.counters(&addr(text)).expect(text))
            .map(|(set, kept)| format!("{set:?} {} {}", kept.addr, kept.packets))
            .collect();
        assert_eq!(
            told,
            [
                "Allow 192.0.2.3 1",
                "Jail(\"asterisk\") 192.0.2.3 1",
                "List 192.0.2.4 2",
                "Jail(\"asterisk\") 2001:db8:0:2::/64 2",
                "Allow 2001:db8:0:3::/64 1",
                "List 2001:db8:0:3::/64 1",
            ]
        );
        let beside = firewall.counted_beside(&Set::List).expect("counted").0;
        assert_eq!(beside, if bed == Bed::Nftables { 3 } else { 0 });
        // A renewed ban keeps its count.
        apply(&mut firewall, &[block(&jail(), "192.0.2.2", 900)]);
        let member = bed.members("ringfence-asterisk")["192.0.2.2"].clone();
        assert!(member.packets == 2 && member.timeout_secs > 600, "{member:?}");

        firewall.remove_rules().expect("remove");
        check_heard("192.0.2.1", &four, &four);
        check_heard("2001:db8::1", &six, &six);
    }

    fn signalling_of_the_throttled_is_a_trickle_and_their_media_pass(bed) {
        let mut firewall = bed.open(SIZES);
        firewall.ensure(&[jail(), Set::Throttled]).expect("ensure");
        let drops = bed.drops();
        run("ip link set lo up");
        for addr in ["192.0.2.1/32", "192.0.2.2/32", "192.0.2.3/32"] {
            run(&format!("ip addr add {addr} dev lo"));
        }
        for addr in ["2001:db8::1/128", "2001:db8:0:2::1/128", "2001:db8:0:3::1/128"] {
            run(&format!("ip addr add {addr} dev lo nodad"));
        }
        settle("2001:db8::1", &["2001:db8:0:2::1", "2001:db8:0:3::1"]);
        apply(&mut firewall, &[
            block(&Set::Throttled, "192.0.2.2", 600),
            block(&Set::Throttled, "2001:db8:0:2::/64", 600),
        ]);
        for (to, throttled, free) in [
            ("192.0.2.1", "192.0.2.2", "192.0.2.3"),
            ("2001:db8::1", "2001:db8:0:2::1", "2001:db8:0:3::1"),
        ] {
            assert_eq!(count_heard((to, 5060), free, 50), 50, "{free}");
            assert_eq!(count_heard((to, 10_000), throttled, 50), 50, "media of {throttled}");
            let start = std::time::Instant::now();
            let heard = count_heard((to, 5060), throttled, 50);
            let allowed = 1 + start.elapsed().as_secs() as usize + 1;
            assert!((1..=allowed).contains(&heard), "{throttled}: {heard} of at most {allowed}");
            apply(&mut firewall, &[block(&Set::Allow, throttled, 0)]);
            assert_eq!(count_heard((to, 5061), throttled, 50), 50, "allowed: {throttled}");
            apply(&mut firewall, &[unblock(&Set::Allow, throttled)]);
        }
        // To ensure again changes nothing, and all goes together.
        firewall.ensure(&[jail(), Set::Throttled]).expect("ensure again");
        assert_eq!(bed.drops(), drops);
        firewall.lift().expect("lift");
        firewall.ensure(&[jail(), Set::Throttled]).expect("ensure what is lifted");
        assert_eq!(count_heard(("192.0.2.1", 5060), "192.0.2.2", 50), 50, "lifted");
        firewall.lay().expect("lay");
        assert_eq!(bed.drops(), drops);
        firewall.remove_rules().expect("remove");
        assert_eq!(bed.drops(), (0, 0));
        assert_eq!(bed.addresses("ringfence-throttled"), ["192.0.2.2"]);
    }

    fn lifted_drops_let_all_pass_and_lie_again(bed) {
        let mut firewall = bed.firewall(SIZES);
        run("ip link set lo up");
        run("ip addr add 192.0.2.1/32 dev lo");
        run("ip addr add 192.0.2.2/32 dev lo");
        let four = ["192.0.2.2"];
        settle("192.0.2.1", &four);
        apply(&mut firewall, &[block(&jail(), "192.0.2.2", 600)]);
        assert_eq!(firewall.is_lifted(), Ok(false));
        firewall.lay().expect("lay what lies");
        check_heard("192.0.2.1", &four, &[]);
        for _ in 0..2 {
            firewall.lift().expect("lift");
            assert_eq!(firewall.is_lifted(), Ok(true));
            assert_eq!(firewall.check(), Ok(vec![]), "lifted is not broken");
            check_heard("192.0.2.1", &four, &four);
        }
        // Another run finds them lifted, and its new jail is not in force either.
        let other = Set::Jail("other".into());
        let mut next = bed.open(SIZES);
        let notes = next.ensure(&[jail(), Set::List, other.clone()]).expect("ensure");
        assert_eq!(notes.last(), Some(&Note::Lifted));
        assert_eq!(apply(&mut next, &[unblock(&jail(), "192.0.2.2"), block(&other, "192.0.2.2", 600)]), []);
        check_heard("192.0.2.1", &four, &four);
        assert_eq!(next.check(), Ok(vec![]));
        for _ in 0..2 {
            next.lay().expect("lay");
            assert_eq!(next.is_lifted(), Ok(false));
            assert_eq!(next.check(), Ok(vec![]));
            check_heard("192.0.2.1", &four, &[]);
        }
        // What is broken while lifted is missed, and mended without laying.
        next.lift().expect("lift");
        bed.remove_rule("ringfence-asterisk");
        assert_eq!(next.check(), Ok(vec![Missing::Rule { family: Family::V4 }]));
        next.ensure(&[jail(), Set::List, other]).expect("ensure");
        check_heard("192.0.2.1", &four, &four);
        next.purge().expect("purge");
        assert!(bed.sets().is_empty());
    }

    fn two_handles_work_at_once(bed) {
        let mut hot = bed.firewall(SIZES);
        let mut load = hot.handle().expect("handle");
        let entries: Vec<Entry> = (0..10_000u32)
            .map(|n| entry(&format!("198.18.{}.{}", n >> 8, n & 255), 0))
            .collect();
        let loader = std::thread::spawn(move || {
            apply(&mut load, &[Order::Load { set: Set::List, page: 1, entries: entries.into() }])
        });
        for n in 0..250 {
            assert_eq!(apply(&mut hot, &[block(&jail(), &format!("203.0.113.{n}"), 60)]), []);
        }
        assert_eq!(loader.join().expect("loader"), [Outcome::Loaded { page: 1, refused: 0 }]);
        assert_eq!((bed.addresses("ringfence-apiban").len(), bed.addresses("ringfence-asterisk").len()), (10_000, 250));
    }
}

/// Sends packets from each of `sources` to a socket on `to` until one is heard: Linux
/// takes a moment to route a new IPv6 address, and loses what is sent before.
fn settle(to: &str, sources: &[&str]) {
    const TRIES_MAX: usize = 200;
    for source in sources.iter().chain([&to]) {
        let receiver = UdpSocket::bind((to, 0)).expect("bind receiver");
        let patience = std::time::Duration::from_millis(100);
        receiver
            .set_read_timeout(Some(patience))
            .expect("time limit");
        let target = receiver.local_addr().expect("local address");
        let is_heard = (0..TRIES_MAX).any(|_| {
            let sender = UdpSocket::bind((*source, 0)).expect("bind sender");
            sender.send_to(b"OPTIONS", target).expect("send");
            receiver.recv_from(&mut [0; 64]).is_ok()
        });
        assert!(is_heard, "{source}");
    }
}

/// Sends a packet from each of `sources` to a socket on `to`, and last one from `to`
/// itself. Exactly `expected` must be heard, besides that last one.
///
/// Every packet that is expected is waited for, so a busy machine only makes the
/// test slower. One that must not come could come too late to be noticed: the sets'
/// counters have the last word on those.
fn check_heard(to: &str, sources: &[&str], expected: &[&str]) {
    let receiver = UdpSocket::bind((to, 0)).expect("bind receiver");
    let stuck = std::time::Duration::from_secs(20);
    receiver.set_read_timeout(Some(stuck)).expect("time limit");
    let target = receiver.local_addr().expect("local address");
    for source in sources.iter().chain([&to]) {
        let sender = UdpSocket::bind((*source, 0)).expect("bind sender");
        sender.send_to(b"REGISTER", target).expect("send");
    }
    let expected: BTreeSet<String> = expected
        .iter()
        .chain([&to])
        .map(ToString::to_string)
        .collect();
    let mut heard = BTreeSet::new();
    while !heard.is_superset(&expected) {
        let (_, from) = receiver
            .recv_from(&mut [0; 64])
            .unwrap_or_else(|error| panic!("heard {heard:?} of {expected:?}: {error}"));
        heard.insert(from.ip().to_string());
    }
    assert_eq!(heard, expected);
}

/// How many of `times` datagrams from `source` arrive at `to`. One from there itself,
/// which nobody holds back, is waited for at the end.
fn count_heard(to: (&str, u16), source: &str, times: usize) -> usize {
    let receiver = UdpSocket::bind(to).expect("bind receiver");
    let stuck = std::time::Duration::from_secs(20);
    receiver.set_read_timeout(Some(stuck)).expect("time limit");
    let sender = UdpSocket::bind((source, 0)).expect("bind sender");
    for _ in 0..times {
        sender.send_to(b"REGISTER", to).expect("send");
    }
    let last = UdpSocket::bind((to.0, 0)).expect("bind the last sender");
    last.send_to(b"LAST", to).expect("send");
    let mut heard = 0;
    loop {
        let (bytes, _) = receiver.recv_from(&mut [0; 64]).expect("the last");
        match bytes == b"LAST".len() {
            true => return heard,
            false => heard += 1,
        }
    }
}

/// What the test without rights prints, so that nobody takes silence for success.
const ASKED: &str = "asked without rights";

/// Sends a packet, and back if it is to be answered.
fn flow(from: &str, to: &str, is_answered: bool) {
    let (near, far) = (UdpSocket::bind(from).unwrap(), UdpSocket::bind(to).unwrap());
    near.send_to(b"OPTIONS", to).unwrap();
    if is_answered {
        far.recv(&mut [0; 16]).unwrap();
        far.send_to(b"200 OK", from).unwrap();
        near.recv(&mut [0; 16]).unwrap();
    }
}

namespaced! {
    fn flows_that_we_opened_and_that_were_answered_are_known() {
        run("ip link set lo up");
        let mut conntrack = Conntrack::open().unwrap();
        let ours = |ip: std::net::IpAddr| addr("198.51.100.0/24").contains(&ip.into()) || ip == addr("2001:db8::1").ip();
        let asked = ["192.0.2.7", "192.0.2.8", "192.0.2.9", "198.51.100.1", "2001:db8:1::/64", "2001:db8:2::/64"].map(addr);
        // Nobody tracks anything yet.
        assert_eq!(conntrack.opened(&asked, ours).unwrap(), []);
        for own in ["192.0.2.0/24", "198.51.100.0/24"] {
            run(&format!("ip route add local {own} dev lo"));
        }
        for own in ["2001:db8::1", "2001:db8:1::5"] {
            run(&format!("ip address add {own}/128 dev lo nodad"));
        }
        settle("2001:db8::1", &["2001:db8:1::5"]);
        for tables in ["iptables", "ip6tables"] {
            run(&format!("{tables} -A INPUT -m conntrack --ctstate NEW -j ACCEPT"));
        }
        flow("198.51.100.1:5060", "192.0.2.7:5060", true); // our trunk
        flow("192.0.2.8:5060", "198.51.100.1:5060", true); // who came to us
        flow("198.51.100.1:5060", "192.0.2.9:5060", false); // an answer that we sent elsewhere
        flow("192.0.2.8:5061", "192.0.2.9:5061", true); // of others
        flow("[2001:db8::1]:5060", "[2001:db8:1::5]:5060", true);
        flow("[2001:db8::1]:5060", "[2001:db8:1::5]:5062", false);
        flow("192.0.2.8:5060", "192.0.2.10:5060", false); // of others
        // Nobody answers to this connection.
        run("iptables -t raw -A OUTPUT -p tcp --sport 5060 -j DROP");
        run("ip route add local 192.0.2.11 dev lo src 198.51.100.1");
        let soon = std::time::Duration::from_millis(1);
        TcpStream::connect_timeout(&"192.0.2.11:5060".parse().unwrap(), soon).unwrap_err();
        assert_eq!(conntrack.opened(&asked, ours).unwrap(), [addr("192.0.2.7"), addr("2001:db8:1::/64")]);
        let mut unanswered = conntrack.unanswered(ours).unwrap();
        unanswered.sort();
        let sent = |text: &str, tcp| Unanswered { ip: addr(text).ip(), tcp };
        let all = [sent("192.0.2.9", false), sent("192.0.2.11", true), sent("2001:db8:1::5", false)];
        assert_eq!(unanswered, all);
        // Many are asked about together: by all answered flows.
        let many: Vec<Addr> = (0..200).map(|host| addr(&format!("192.0.2.{host}"))).collect();
        assert_eq!(conntrack.opened(&many, ours).unwrap(), [addr("192.0.2.7")]);
        assert_eq!(conntrack.opened(&[addr("2001:db8:1::5"), addr("2001:db8:1::6")], ours).unwrap(), [addr("2001:db8:1::5")]);
    }
}

/// Without rights the first request fails, and says which right is missing.
#[test]
fn without_rights_the_error_names_the_capability() {
    let status = std::fs::read_to_string("/proc/self/status").expect("status");
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = u64::from_str_radix(effective.expect("CapEff").trim(), 16).expect("hex");
    let net_admin = 1 << 12;
    if effective & net_admin != 0 {
        return; // `rights_are_asked_for` runs us again without them
    }
    for backend in [Backend::Auto, Backend::Ipset, Backend::Nftables] {
        let error = Firewall::open(backend, SIZES).expect_err("no rights");
        assert_eq!(
            error.to_string(),
            "no permission to change the firewall; run as root, or give the service CAP_NET_ADMIN (systemd: `AmbientCapabilities=CAP_NET_ADMIN`)"
        );
    }
    println!("{ASKED}");
}

/// Runs the test above without rights, in case we have them.
#[test]
fn rights_are_asked_for() {
    let program = std::env::current_exe().expect("our own path");
    // A user namespace without a mapping has no rights in our network namespace.
    let output = std::process::Command::new("unshare")
        .args(["--user", "--"])
        .arg(program)
        .args([
            "--exact",
            "without_rights_the_error_names_the_capability",
            "--nocapture",
        ])
        .output()
        .expect("unshare");
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && stdout.contains(ASKED),
        "{stdout}"
    );
}
