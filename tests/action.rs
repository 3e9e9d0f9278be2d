//! The firewall stage against a real kernel: what we do by netlink is looked at with
//! the programs `ipset` and `iptables`, and with packets.

#[path = "common/namespace.rs"]
mod namespace;

use std::collections::{BTreeMap, BTreeSet};
use std::net::UdpSocket;

use namespace::run;
use ringfence::action::{Action, Backend, Error, Family, Firewall, Missing, Note, Outcome, Sizes};
use ringfence::addr::Addr;
use ringfence::ticket::{Entry, KERNEL_TIMEOUT_SECS_MAX, Order, Set};

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

/// A firewall with a jail and the list.
fn firewall(sizes: Sizes) -> Firewall {
    let mut firewall = Firewall::open(Backend::Ipset, sizes).expect("open");
    firewall.ensure(&[jail(), Set::List]).expect("ensure");
    firewall
}

fn apply(firewall: &mut Firewall, orders: &[Order]) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    firewall.apply(orders, &mut |outcome| outcomes.push(outcome));
    outcomes
}

/// The members of a set as the `ipset` program sees them: address and the rest.
fn members(name: &str) -> BTreeMap<String, String> {
    run(&format!("ipset list {name}"))
        .lines()
        .skip_while(|line| *line != "Members:")
        .skip(1)
        .map(|line| line.split_once(' ').unwrap_or((line, "")))
        .map(|(addr, rest)| (addr.to_owned(), rest.to_owned()))
        .collect()
}

fn timeout_secs(rest: &str) -> u32 {
    let mut words = rest.split(' ').skip_while(|word| *word != "timeout");
    words.nth(1).and_then(|secs| secs.parse().ok()).expect(rest)
}

/// The bare addresses in a set, as `ipset` sees them.
fn addresses(name: &str) -> Vec<String> {
    members(name).into_keys().collect()
}

fn header(name: &str) -> String {
    let listed = run(&format!("ipset list -t {name}"));
    let line = listed.lines().find(|line| line.starts_with("Header:"));
    line.expect("a header").to_owned()
}

fn rules(program: &str) -> Vec<String> {
    run(&format!("{program} -t raw -S"))
        .lines()
        .filter(|line| line.starts_with("-A"))
        .map(str::to_owned)
        .collect()
}

fn names(notes: &[Note]) -> Vec<String> {
    notes.iter().map(ToString::to_string).collect()
}

namespaced! {
    fn ensure_makes_sets_list_and_rules() {
        let mut firewall = Firewall::open(Backend::Ipset, SIZES).expect("open");
        let notes = firewall.ensure(&[jail(), Set::List]).expect("ensure");
        assert_eq!(
            names(&notes),
            [
                "made the set ringfence-allow",
                "made the set ringfence-allow6",
                "made the set ringfence-asterisk",
                "made the set ringfence-asterisk6",
                "made the set ringfence-apiban",
                "made the set ringfence-apiban6",
                "made the set ringfence",
                "put the rule for inet in place",
                "put the rule for inet6 in place",
            ]
        );
        let jail4 = header("ringfence-asterisk");
        assert!(jail4.contains("family inet hashsize 16384 maxelem 20000 timeout 0 counters"), "{jail4}");
        let list6 = header("ringfence-apiban6");
        assert!(list6.contains("family inet6 hashsize 16384 maxelem 20000 timeout 0 counters"), "{list6}");
        let allow = header("ringfence-allow");
        assert!(allow.contains("family inet hashsize 512 maxelem 1000 counters"), "{allow}");
        assert_eq!(
            addresses("ringfence"),
            ["ringfence-apiban", "ringfence-apiban6", "ringfence-asterisk", "ringfence-asterisk6"]
        );
        assert_eq!(
            rules("iptables"),
            ["-A PREROUTING -m set ! --match-set ringfence-allow src -m set --match-set ringfence src -m comment --comment ringfence -j DROP"]
        );
        assert_eq!(
            rules("ip6tables"),
            ["-A PREROUTING -m set ! --match-set ringfence-allow6 src -m set --match-set ringfence src -m comment --comment ringfence -j DROP"]
        );
    }

    fn ensure_twice_changes_nothing() {
        let mut firewall = firewall(SIZES);
        apply(&mut firewall, &[block(&jail(), "192.0.2.7", 600)]);
        let again = Firewall::open(Backend::Ipset, SIZES).and_then(|mut other| other.ensure(&[jail(), Set::List]));
        assert_eq!(again, Ok(vec![]));
        assert_eq!(addresses("ringfence-asterisk"), ["192.0.2.7"]);
        assert_eq!((rules("iptables").len(), rules("ip6tables").len()), (1, 1));
        assert_eq!(firewall.check(), Ok(vec![]));
    }

    fn blocks_and_unblocks() {
        let mut firewall = firewall(SIZES);
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
        assert_eq!(addresses("ringfence-asterisk"), ["192.0.2.10", "192.0.2.7"]);
        assert_eq!(addresses("ringfence-asterisk6"), ["2001:db8::/64"]);
        assert_eq!(addresses("ringfence-apiban"), ["198.51.100.0/24"]);
        assert_eq!(addresses("ringfence-allow"), ["203.0.113.5"]);
        assert_eq!(firewall.holds(&Set::List, &addr("198.51.100.9")), Ok(true));
        assert_eq!(firewall.holds(&Set::List, &addr("198.51.101.9")), Ok(false));
        assert_eq!(firewall.holds(&jail(), &addr("2001:db8::9")), Ok(true));
        firewall.flush(&jail()).expect("flush");
        assert!(addresses("ringfence-asterisk6").is_empty());
    }

    fn the_order_of_one_address_is_kept() {
        let mut firewall = firewall(SIZES);
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
        assert_eq!(addresses("ringfence-asterisk"), ["192.0.2.8"]);
    }

    fn a_second_ban_renews_the_time_out() {
        let mut firewall = firewall(SIZES);
        for secs in [60, 7200, 600, 0] {
            assert_eq!(apply(&mut firewall, &[block(&jail(), "192.0.2.7", secs)]), []);
            let left = timeout_secs(&members("ringfence-asterisk")["192.0.2.7"]);
            assert!(left <= secs && left + 60 > secs, "{left} of {secs}");
        }
    }

    fn a_bad_entry_does_not_stop_the_others() {
        let mut firewall = firewall(SIZES);
        let mut entries: Vec<Entry> = (0..10_000u32)
            .map(|n| entry(&format!("198.18.{}.{}", n >> 8, n & 255), 3600))
            .collect();
        entries[5_000] = entry("0.0.0.0/0", 3600);
        let orders: Vec<Order> = entries.iter().map(|entry| Order::Block { set: jail(), entry: *entry }).collect();
        let outcomes = apply(&mut firewall, &orders);
        let everybody = addr("0.0.0.0/0");
        let error = Error::Entry { addr: everybody };
        assert_eq!(outcomes, [Outcome::Refused { set: jail(), addr: everybody, error }]);
        assert_eq!(addresses("ringfence-asterisk").len(), 9_999);
        assert!(members("ringfence-asterisk").contains_key("198.18.39.15"));

        let load = Order::Load { set: Set::List, page: 7, entries: entries.into() };
        assert_eq!(apply(&mut firewall, &[load]), [Outcome::Loaded { page: 7, refused: 1 }]);
        assert_eq!(addresses("ringfence-apiban").len(), 9_999);
    }

    fn lists_what_ipset_lists() {
        let mut firewall = firewall(SIZES);
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
        let mut seen = members("ringfence-asterisk");
        seen.extend(members("ringfence-asterisk6"));
        assert_eq!(listed.len(), 5_002);
        for (addr, rest) in &seen {
            assert!(listed[addr].abs_diff(timeout_secs(rest)) <= 60, "{addr} {rest}");
        }
        assert_eq!(listed["203.0.113.0/25"], 0);
    }

    fn a_full_set_is_told_and_stops_nobody() {
        let mut firewall = firewall(Sizes { jail: 100, ..SIZES });
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
        assert_eq!(members("ringfence-asterisk").len(), 100);
        assert!(timeout_secs(&members("ringfence-asterisk")["198.18.0.1"]) > 6000, "renewed though full");
        assert_eq!(addresses("ringfence-asterisk6").len(), 1);
        assert_eq!(addresses("ringfence-allow").len(), 1);
    }

    fn a_set_grows_and_keeps_its_entries() {
        let mut small = firewall(Sizes { jail: 1_000, ..SIZES });
        let orders: Vec<Order> = (0..1_000u32)
            .map(|n| block(&jail(), &format!("198.18.{}.{}", n >> 8, n & 255), 3600))
            .collect();
        assert_eq!(apply(&mut small, &orders), []);
        assert_eq!(apply(&mut small, &[block(&jail(), "2001:db8::/64", 0)]), []);
        run("ipset add ringfence-asterisk 198.18.0.0 timeout 3600 packets 7 bytes 700 -exist");
        let before = members("ringfence-asterisk");

        let mut larger = Firewall::open(Backend::Ipset, SIZES).expect("open");
        let notes = larger.ensure(&[jail(), Set::List]).expect("ensure");
        assert_eq!(
            names(&notes),
            [
                "enlarged the set ringfence-asterisk to 20000 entries and kept its 1000",
                "enlarged the set ringfence-asterisk6 to 20000 entries and kept its 1",
            ]
        );
        let after = members("ringfence-asterisk");
        assert_eq!(before.keys().collect::<Vec<_>>(), after.keys().collect::<Vec<_>>());
        assert!(after["198.18.0.0"].contains("packets 7 bytes 700"), "{}", after["198.18.0.0"]);
        assert!(after.values().all(|rest| timeout_secs(rest) > 3_500));
        assert!(header("ringfence-asterisk").contains("maxelem 20000"));
        assert_eq!(larger.check(), Ok(vec![]), "rule and list still see it");
        assert!(!run("ipset list -n").contains('~'));
        assert_eq!(small.ensure(&[jail(), Set::List]), Ok(vec![]), "a larger set is not made smaller");
    }

    fn a_foreign_set_is_an_error_and_stays() {
        run("ipset create ringfence-asterisk hash:ip");
        let mut firewall = Firewall::open(Backend::Ipset, SIZES).expect("open");
        let error = firewall.ensure(&[jail()]).expect_err("foreign");
        assert_eq!(
            error.to_string(),
            "there is already an ipset ringfence-asterisk, and it is a hash:ip inet where ringfence needs a hash:net inet; remove it with `ipset destroy ringfence-asterisk`, or rename whatever made it"
        );
        firewall.purge().expect("purge");
        assert_eq!(run("ipset list -n"), "ringfence-asterisk\n");
        run("ipset destroy ringfence-asterisk");
        run("ipset create ringfence-asterisk hash:net family inet6");
        assert!(matches!(firewall.ensure(&[jail()]), Err(Error::Foreign { .. })));
    }

    fn purge_leaves_only_what_is_not_ours() {
        let mut firewall = firewall(SIZES);
        apply(&mut firewall, &[block(&jail(), "192.0.2.7", 600)]);
        run("ipset create others hash:ip");
        run("iptables -t raw -A PREROUTING -m set --match-set others src -j DROP");
        // Somebody restored our rule a second time.
        run("iptables -t raw -A PREROUTING -m set ! --match-set ringfence-allow src -m set --match-set ringfence src -m comment --comment ringfence -j DROP");
        firewall.purge().expect("purge");
        assert_eq!(run("ipset list -n"), "others\n");
        assert_eq!(rules("iptables"), ["-A PREROUTING -m set --match-set others src -j DROP"]);
        assert!(rules("ip6tables").is_empty());
        firewall.purge().expect("purge twice");
    }

    fn purge_says_which_set_a_foreign_rule_holds() {
        let mut firewall = firewall(SIZES);
        run("iptables -A INPUT -m set --match-set ringfence-asterisk src -j DROP");
        let error = firewall.purge().expect_err("in use");
        let name = "ringfence-asterisk".to_owned();
        assert_eq!(error, Error::InUse { name });
        assert!(rules("iptables").is_empty(), "the rules are gone at any rate");
    }

    fn remove_rules_keeps_the_bans() {
        let mut firewall = firewall(SIZES);
        apply(&mut firewall, &[block(&jail(), "192.0.2.7", 600)]);
        firewall.remove_rules().expect("remove");
        firewall.remove_rules().expect("remove twice");
        assert!(rules("iptables").is_empty() && rules("ip6tables").is_empty());
        assert_eq!(addresses("ringfence-asterisk"), ["192.0.2.7"]);
        let notes = firewall.ensure(&[jail(), Set::List]).expect("ensure");
        assert_eq!(names(&notes), ["put the rule for inet in place", "put the rule for inet6 in place"]);
    }

    fn check_says_what_others_took_away() {
        let mut firewall = firewall(SIZES);
        run("ip6tables -t raw -F");
        run("ipset del ringfence ringfence-asterisk");
        run("ipset destroy ringfence-asterisk");
        run("ipset del ringfence ringfence-apiban6");
        let missing = firewall.check().expect("check");
        assert_eq!(
            missing,
            [
                Missing::Set { name: "ringfence-asterisk".to_owned() },
                Missing::Member { name: "ringfence-apiban6".to_owned() },
                Missing::Rule { family: Family::V6 },
            ]
        );
        let gone = Error::Missing { name: "ringfence-asterisk".to_owned() };
        let load = Order::Load { set: jail(), page: 4, entries: [entry("192.0.2.9", 60)].into() };
        assert_eq!(
            apply(&mut firewall, &[block(&jail(), "192.0.2.7", 60), block(&jail(), "2001:db8::/64", 60), load]),
            [
                Outcome::Refused { set: jail(), addr: addr("192.0.2.7"), error: gone.clone() },
                Outcome::LoadFailed { page: 4, error: gone },
            ]
        );
        assert_eq!(addresses("ringfence-asterisk6").len(), 1);
        firewall.ensure(&[jail(), Set::List]).expect("ensure mends");
        assert_eq!(firewall.check(), Ok(vec![]));
        run("iptables -t raw -F");
        run("ip6tables -t raw -F");
        run("ipset destroy ringfence");
        assert_eq!(firewall.check().expect("check").len(), 7);
    }

    fn sets_of_gone_jails_are_told_and_removed() {
        let mut firewall = firewall(SIZES);
        let old = Set::Jail("a jail with a name too long".into());
        firewall.ensure(&[jail(), Set::List, old.clone()]).expect("ensure");
        assert_eq!(apply(&mut firewall, &[block(&old, "192.0.2.7", 60)]), []);
        let notes = firewall.ensure(&[jail(), Set::List]).expect("ensure");
        assert_eq!(notes.len(), 2);
        assert!(notes.iter().all(|note| matches!(note, Note::Stray { .. })), "{notes:?}");
        assert_eq!(firewall.remove_strays().map(|names| names.len()), Ok(2));
        assert_eq!(firewall.ensure(&[jail(), Set::List]), Ok(vec![]));
    }

    fn a_list_takes_hundreds_of_jails() {
        let jails: Vec<Set> = (0..300).map(|n| Set::Jail(format!("jail-{n}x").into())).collect();
        let mut firewall = Firewall::open(Backend::Ipset, Sizes { jail: 100, ..SIZES }).expect("open");
        firewall.ensure(&jails).expect("ensure");
        assert_eq!(addresses("ringfence").len(), 600);
        assert_eq!(firewall.check(), Ok(vec![]));
    }

    fn packets_of_banned_sources_are_dropped() {
        let mut firewall = firewall(SIZES);
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
            ("192.0.2.4", 2),
            ("2001:db8:0:2::/64", 2),
            ("2001:db8:0:3::/64", 1),
        ] {
            assert_eq!(packets[addr], count, "{addr}");
        }
        let told: Vec<String> = ["192.0.2.3", "2001:db8:0:2::1", "192.0.2.77"]
            .iter()
            .flat_map(|text| firewall.counters(&addr(text)).expect(text))
            .map(|(set, kept)| format!("{set:?} {} {}", kept.addr, kept.packets))
            .collect();
        assert_eq!(
            told,
            [
                "Allow 192.0.2.3 1",
                "Jail(\"asterisk\") 192.0.2.3 1",
                "Jail(\"asterisk\") 2001:db8:0:2::/64 2",
            ]
        );
        // A renewed ban keeps its count.
        apply(&mut firewall, &[block(&jail(), "192.0.2.2", 900)]);
        assert!(members("ringfence-asterisk")["192.0.2.2"].contains("packets 2 "));

        firewall.remove_rules().expect("remove");
        check_heard("192.0.2.1", &four, &four);
        check_heard("2001:db8::1", &six, &six);
    }

    fn signalling_of_the_throttled_is_a_trickle_and_their_media_pass() {
        let mut firewall = Firewall::open(Backend::Ipset, SIZES).expect("open");
        firewall.ensure(&[jail(), Set::Throttled]).expect("ensure");
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
        assert_eq!((rules("iptables").len(), rules("ip6tables").len()), (3, 3));
        firewall.lift().expect("lift");
        firewall.ensure(&[jail(), Set::Throttled]).expect("ensure what is lifted");
        assert_eq!(count_heard(("192.0.2.1", 5060), "192.0.2.2", 50), 50, "lifted");
        firewall.lay().expect("lay");
        assert_eq!((rules("iptables").len(), rules("ip6tables").len()), (3, 3));
        firewall.remove_rules().expect("remove");
        assert_eq!((rules("iptables").len(), rules("ip6tables").len()), (0, 0));
        assert_eq!(addresses("ringfence-throttled"), ["192.0.2.2"]);
    }

    fn lifted_drops_let_all_pass_and_lie_again() {
        let mut firewall = firewall(SIZES);
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
        let mut next = Firewall::open(Backend::Ipset, SIZES).expect("open");
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
        run("iptables -t raw -F");
        assert_eq!(next.check(), Ok(vec![Missing::Rule { family: Family::V4 }]));
        next.ensure(&[jail(), Set::List, other]).expect("ensure");
        check_heard("192.0.2.1", &four, &four);
        next.purge().expect("purge");
        assert_eq!(run("ipset list -n"), "");
    }

    fn without_iptables_the_error_says_what_to_install() {
        hide_all_but(&["ipset"]);
        let mut firewall = Firewall::open(Backend::Ipset, SIZES).expect("open");
        let error = firewall.ensure(&[jail()]).expect_err("no iptables");
        assert_eq!(
            error.to_string(),
            "iptables was not found in /usr/sbin, /sbin or /usr/bin; install iptables (`apt install iptables`, `dnf install iptables-nft`)"
        );
        assert_eq!(addresses("ringfence").len(), 2, "the sets are there already");
    }

    fn without_ip6tables_ipv4_is_guarded() {
        hide_all_but(&["ipset", "iptables"]);
        let mut firewall = Firewall::open(Backend::Ipset, SIZES).expect("open");
        let notes = names(&firewall.ensure(&[jail()]).expect("ensure"));
        let last = notes.last().expect("notes");
        assert!(last.starts_with("IPv6 is not guarded, IPv4 is: ip6tables was not found"), "{last}");
        assert_eq!(rules("iptables").len(), 1);
        assert_eq!(firewall.check(), Ok(vec![]));
        firewall.purge().expect("purge");
        assert!(rules("iptables").is_empty());
    }

    fn two_handles_work_at_once() {
        let mut hot = firewall(SIZES);
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
        assert_eq!((addresses("ringfence-apiban").len(), addresses("ringfence-asterisk").len()), (10_000, 250));
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

/// Makes the namespace's /usr/sbin have only these of its programs.
fn hide_all_but(programs: &[&str]) {
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

/// What the test without rights prints, so that nobody takes silence for success.
const ASKED: &str = "asked without rights";

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
    let error = Firewall::open(Backend::Ipset, SIZES).expect_err("no rights");
    println!("{ASKED}");
    assert_eq!(
        error.to_string(),
        "no permission to change the firewall; run as root, or give the service CAP_NET_ADMIN (systemd: `AmbientCapabilities=CAP_NET_ADMIN`)"
    );
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
