//! What is so of nftables only.

use crate::bed::{Bed, nft_rules};
use crate::namespace::run;
use crate::{SIZES, addr, apply, block, check_heard, entry, jail, names, settle, unblock};
use ringfence::action::{Error, Family, Missing, Note, Outcome, Sizes};
use ringfence::ticket::{Entry, Order, Set};

const BED: Bed = Bed::Nftables;

crate::namespaced! {
    fn ensure_makes_a_table_of_our_own() {
        run("nft add table inet others");
        let mut firewall = BED.open(SIZES);
        let notes = names(&firewall.ensure(&[jail()]).expect("ensure"));
        assert_eq!(
            notes,
            [
                "made the set ringfence-allow",
                "made the set ringfence-allow6",
                "made the set ringfence-allow6/64",
                "made the set ringfence-asterisk",
                "made the set ringfence-asterisk6",
                "made the set ringfence-asterisk6/64",
                "put the rule for inet in place",
                "put the rule for inet6 in place",
            ]
        );
        assert_eq!(
            nft_rules(),
            [
                "ip6 saddr & ffff:ffff:ffff:ffff:: == @ringfence-allow6/64 accept",
                "ip6 saddr @ringfence-allow6 accept",
                "ip saddr @ringfence-allow accept",
                "ip saddr @ringfence-asterisk drop",
                "ip6 saddr @ringfence-asterisk6 drop",
                "ip6 saddr & ffff:ffff:ffff:ffff:: == @ringfence-asterisk6/64 drop",
            ]
        );
        let chain = run("nft list chain inet ringfence prerouting");
        assert!(chain.contains("type filter hook prerouting priority raw; policy accept;"), "{chain}");
        // Where nobody uses iptables, nothing of ours is in what it saves.
        assert_eq!(run("iptables-save") + &run("ip6tables-save"), "");
    }

    fn nft_can_save_and_load_it() {
        let sets = [jail(), Set::List, Set::Throttled, Set::Jail("a jail with a name too long".into())];
        let mut firewall = BED.open(SIZES);
        firewall.ensure(&sets).expect("ensure");
        apply(&mut firewall, &[
            block(&jail(), "192.0.2.7", 600),
            block(&jail(), "198.51.100.0/24", 0),
            block(&jail(), "2001:db8::/64", 600),
            block(&sets[3], "2001:db8:1::/48", 600),
            block(&Set::Throttled, "192.0.2.9", 600),
            block(&Set::Allow, "192.0.2.8", 0),
        ]);
        firewall.lift().expect("lift");
        let saved = run("nft list ruleset");
        let folder = tempfile::tempdir().expect("folder");
        let file = folder.path().join("saved.nft");
        std::fs::write(&file, &saved).expect("write");
        run("nft flush ruleset");
        assert!(!firewall.check().expect("check").is_empty());
        run(&format!("nft -f {}", file.display()));
        assert_eq!(firewall.check(), Ok(vec![]));
        assert_eq!(firewall.ensure(&sets), Ok(vec![Note::Lifted]), "it is as we made it");
        firewall.lay().expect("lay");
        assert_eq!(BED.addresses("ringfence-asterisk"), ["192.0.2.7", "198.51.100.0/24"]);
        assert_eq!(BED.addresses("ringfence-asterisk6"), ["2001:db8::/64"]);
        assert_eq!(apply(&mut firewall, &[block(&jail(), "192.0.2.7", 7200)]), []);
        assert!(BED.members("ringfence-asterisk")["192.0.2.7"].timeout_secs > 7100);
    }

    fn a_prefix_within_another_is_banned_and_let_go_by_itself() {
        let mut firewall = BED.firewall(SIZES);
        run("ip link set lo up");
        for addr in ["192.0.2.1/32", "192.0.2.65/32", "192.0.2.130/32"] {
            run(&format!("ip addr add {addr} dev lo"));
        }
        let from = ["192.0.2.65", "192.0.2.130"];
        settle("192.0.2.1", &from);
        apply(&mut firewall, &[
            block(&Set::Allow, "192.0.2.1", 0),
            block(&jail(), "192.0.2.0/24", 600),
            block(&jail(), "192.0.2.64/26", 600),
            block(&jail(), "192.0.2.65", 600),
        ]);
        check_heard("192.0.2.1", &from, &[]);
        apply(&mut firewall, &[crate::unblock(&jail(), "192.0.2.0/24"), crate::unblock(&jail(), "192.0.2.65")]);
        check_heard("192.0.2.1", &from, &["192.0.2.130"]);
        let counted: Vec<String> = firewall
            .counters(&addr("192.0.2.65"))
            .expect("counters")
            .iter()
            .map(|(set, kept)| format!("{set:?} {} {}", kept.addr, kept.packets))
            .collect();
        assert_eq!(counted, ["Jail(\"asterisk\") 192.0.2.64/26 1"]);
    }

    fn check_says_what_others_took_away() {
        let mut firewall = BED.firewall(SIZES);
        let whole = [
            Missing::Rule { family: Family::V4 },
            Missing::Rule { family: Family::V6 },
        ];
        run("nft flush chain inet ringfence prerouting");
        assert_eq!(firewall.check().expect("check"), whole);
        firewall.ensure(&[jail(), Set::List]).expect("ensure");
        assert_eq!(firewall.check(), Ok(vec![]));
        run("nft add table inet ringfence { flags dormant ; }");
        assert_eq!(firewall.check().expect("check"), whole, "a table that sleeps");
        firewall.ensure(&[jail(), Set::List]).expect("ensure");
        assert_eq!(firewall.check(), Ok(vec![]));
        run("nft insert rule inet ringfence prerouting ip saddr 192.0.2.0/24 accept");
        assert_eq!(firewall.check(), Ok(vec![Missing::Order]));
        firewall.ensure(&[jail(), Set::List]).expect("ensure");
        // Rules that look alike and block nobody.
        for alike in [
            "ip daddr @ringfence-asterisk drop",
            "ip saddr & 255.255.255.0 == @ringfence-asterisk drop",
            "ip6 daddr & ffff:ffff:ffff:ffff:: == @ringfence-asterisk6/64 drop",
        ] {
            let set = alike.split(['@', ' ']).find(|word| word.starts_with("ringfence")).expect("a set");
            BED.remove_rule(set);
            run(&format!("nft add rule inet ringfence prerouting {alike}"));
            let family = if set.contains('6') { Family::V6 } else { Family::V4 };
            assert_eq!(firewall.check(), Ok(vec![Missing::Rule { family }]), "{alike}");
            firewall.ensure(&[jail(), Set::List]).expect("ensure");
            assert_eq!(firewall.check(), Ok(vec![]));
        }
        for chain in ["flush chain inet ringfence ringfence-listed", "insert rule inet ringfence ringfence-listed accept"] {
            run(&format!("nft {chain}"));
            assert_eq!(firewall.check().expect("check"), whole, "{chain}");
            firewall.ensure(&[jail(), Set::List]).expect("ensure");
            assert_eq!(firewall.check(), Ok(vec![]));
        }
        firewall.ensure(&[jail(), Set::List]).expect("ensure");
        assert_eq!(firewall.check(), Ok(vec![]));
        BED.remove_rule("ringfence-asterisk");
        assert_eq!(firewall.check(), Ok(vec![Missing::Rule { family: Family::V4 }]));
        run("nft flush ruleset");
        assert_eq!(firewall.check().expect("check").len(), 11);
        let gone = |name: &str| Error::Missing { name: name.to_owned() };
        let refused: Vec<String> = apply(&mut firewall, &[
            block(&jail(), "192.0.2.7", 60),
            block(&jail(), "198.51.100.0/24", 60),
            crate::unblock(&jail(), "192.0.2.8"),
        ])
        .iter()
        .map(|outcome| format!("{outcome:?}"))
        .collect();
        let expected = [gone("ringfence-asterisk"), gone("ringfence-asterisk/24"), gone("ringfence-asterisk")];
        assert_eq!(refused.len(), 3);
        for error in expected {
            assert!(refused.iter().any(|text| text.contains(&format!("{error:?}"))), "{error:?} in {refused:?}");
        }
    }

    fn what_is_foreign_is_let_be() {
        run("nft add table inet ringfence");
        run("nft add set inet ringfence ringfence-asterisk { type ipv4_addr ; flags interval ; }");
        run("nft add element inet ringfence ringfence-asterisk { 192.0.2.1 }");
        let mut firewall = BED.open(SIZES);
        let notes = firewall.ensure(&[jail(), Set::List]).expect("ensure");
        let foreign = notes.iter().find_map(|note| match note {
            Note::Foreign { error } => Some(error.clone()),
            _ => None,
        });
        let error = foreign.expect("foreign set");
        assert_eq!(
            error.to_string(),
            "there is already a set ringfence-asterisk in the table inet ringfence, and it is a set of ipv4_addr with intervals where ringfence needs a set of inet addresses with counters; remove it with `nft delete set inet ringfence ringfence-asterisk`, or rename whatever made it"
        );
        assert_eq!(firewall.check(), Ok(vec![Missing::Foreign { error: error.clone() }]));
        let load = Order::Load { set: Set::List, page: 4, entries: [entry("192.0.2.9", 60)].into() };
        let orders = [block(&jail(), "192.0.2.7", 60), block(&jail(), "2001:db8::/64", 60), load];
        assert_eq!(
            apply(&mut firewall.handle().expect("handle"), &orders),
            [
                Outcome::Refused { set: jail(), addr: addr("192.0.2.7"), error: error.clone() },
                Outcome::Loaded { page: 4, refused: 0 },
            ]
        );
        assert_eq!(firewall.holds(&jail(), &addr("192.0.2.1")), Err(error));
        let mut held = Vec::new();
        firewall.list(&jail(), &mut |kept| held.push(kept.addr)).expect("list");
        assert_eq!(held, [addr("2001:db8::/64")], "whom somebody else holds is no ban of ours");
        assert!(!run("nft list ruleset").contains("@ringfence-asterisk drop"), "nobody is dropped by it");
        apply(&mut firewall, &[unblock(&jail(), "192.0.2.1")]);
        assert!(run("nft list ruleset").contains("192.0.2.1"));
        run("nft delete set inet ringfence ringfence-asterisk");
        firewall.ensure(&[jail(), Set::List]).expect("ensure");
        assert_eq!(firewall.check(), Ok(vec![]));
        assert_eq!(apply(&mut firewall, &[block(&jail(), "192.0.2.7", 60)]), []);
        firewall.purge().expect("purge");
        run("nft add table inet ringfence");
        run("nft add chain inet ringfence prerouting { type filter hook prerouting priority 0 ; }");
        let error = BED.open(SIZES).ensure(&[jail()]).expect_err("foreign chain");
        assert_eq!(
            error.to_string(),
            "there is already a chain prerouting in the table inet ringfence where ringfence needs one that hooks prerouting with priority raw; remove it with `nft delete chain inet ringfence prerouting`, or rename whatever made it"
        );
        run("nft delete chain inet ringfence prerouting");
        // Other things in the table are let be.
        run("nft add chain inet ringfence mine");
        run("nft add rule inet ringfence mine ip saddr 192.0.2.1 accept");
        run("nft add set inet ringfence mine { type inet_service ; }");
        run("nft add table ip others");
        let before = run("nft list ruleset");
        let mut firewall = BED.firewall(SIZES);
        apply(&mut firewall, &[block(&jail(), "192.0.2.0/24", 60)]);
        firewall.purge().expect("purge");
        assert_eq!(run("nft list ruleset"), before);
    }

    fn what_the_kernel_does_not_hold_back_is_not_missed() {
        run("nft add table inet ringfence");
        // In a map the kernel takes no note of a source.
        run("nft add map inet ringfence ringfence-throttled/udp-dialog { type ipv4_addr : mark ; flags dynamic,timeout ; timeout 1m ; }");
        let sets = [jail(), Set::Throttled, Set::List];
        let mut firewall = BED.open(SIZES);
        let refused = |notes: &[Note]| notes.iter().filter(|note| matches!(note, Note::NoThrottle { .. })).count();
        assert_eq!(refused(&firewall.ensure(&sets).expect("ensure")), 2);
        assert_eq!(firewall.check(), Ok(vec![]), "what cannot be put back is no reason for a repair");
        assert_eq!(firewall.handle().expect("handle").check(), Ok(vec![]));
        assert_eq!(apply(&mut firewall, &[block(&jail(), "192.0.2.7", 60)]), []);
        run("nft delete map inet ringfence ringfence-throttled/udp-dialog");
        assert_eq!(refused(&firewall.ensure(&sets).expect("ensure")), 0);
        assert_eq!(firewall.check(), Ok(vec![]));
        run("nft flush chain inet ringfence ringfence-sip-udp");
        assert_eq!(
            firewall.check(),
            Ok(Family::BOTH.map(|family| Missing::Throttle { family }).to_vec())
        );
    }

    fn a_crash_while_a_set_was_enlarged_loses_nobody() {
        run("ip link set lo up");
        run("ip addr add 192.0.2.1/32 dev lo");
        run("ip addr add 192.0.2.8/32 dev lo");
        let everybody = |set: &Set, each: &mut dyn FnMut(Entry)| {
            if *set == jail() {
                each(entry("192.0.2.7", 600));
                each(entry("192.0.2.8", 600));
            }
        };
        // It left a copy of any size: with all when the set is made anew, and without some
        // before.
        for (in_set, in_copy, size) in [("192.0.2.7", "192.0.2.8", 20_000), ("192.0.2.8", "192.0.2.7", 5)] {
            let mut small = BED.firewall(Sizes { jail: 10, ..SIZES });
            apply(&mut small, &[block(&jail(), in_set, 600)]);
            run(&format!("nft add set inet ringfence ringfence-asterisk/new {{ type ipv4_addr ; size {size} ; flags timeout ; counter ; }}"));
            run(&format!("nft add element inet ringfence ringfence-asterisk/new {{ {in_copy} timeout 10m }}"));
            run("nft add rule inet ringfence prerouting ip saddr @ringfence-asterisk/new drop");
            let mut firewall = BED.open(SIZES);
            firewall.ensure(&[jail(), Set::List]).expect("ensure");
            check_heard("192.0.2.1", &["192.0.2.8"], &[]);
            let notes = firewall.enlarge(&everybody).expect("enlarge");
            assert_eq!(names(&notes)[0], "enlarged the set ringfence-asterisk to 20000 entries and kept its 2");
            assert_eq!(BED.addresses("ringfence-asterisk"), ["192.0.2.7", "192.0.2.8"]);
            assert!(BED.sets().iter().all(|name| !name.ends_with("new")));
            assert_eq!(firewall.check(), Ok(vec![]));
            check_heard("192.0.2.1", &["192.0.2.8"], &[]);
            run("nft flush ruleset");
        }
    }

    fn a_larger_set_that_is_full_all_the_same_takes_whom_it_can() {
        let mut small = BED.firewall(Sizes { jail: 10, ..SIZES });
        apply(&mut small, &[block(&jail(), "192.0.2.7", 600)]);
        let mut firewall = BED.open(Sizes { jail: 100, ..SIZES });
        firewall.ensure(&[jail(), Set::List]).expect("ensure");
        let everybody = |set: &Set, each: &mut dyn FnMut(Entry)| {
            (0..120).filter(|_| *set == jail()).for_each(|n| each(entry(&format!("198.18.0.{n}"), 600)));
        };
        let notes = firewall.enlarge(&everybody).expect("enlarge");
        assert_eq!(names(&notes)[0], "enlarged the set ringfence-asterisk to 100 entries and kept its 100");
        assert_eq!(BED.addresses("ringfence-asterisk").len(), 100);
    }

    fn before_linux_6_12_entries_are_renewed_by_making_them_anew() {
        let folder = tempfile::tempdir().expect("folder");
        let release = folder.path().join("osrelease");
        std::fs::write(&release, "5.10.0-28-amd64\n").expect("write");
        run(&format!("mount --bind {} /proc/sys/kernel/osrelease", release.display()));
        for check in [
            crate::a_second_ban_renews_the_time_out::check,
            crate::blocks_and_unblocks::check,
            crate::the_order_of_one_address_is_kept::check,
            crate::a_bad_entry_does_not_stop_the_others::check,
        ] {
            check(BED);
            run("nft flush ruleset");
        }
        // What that costs: the count begins anew.
        let mut firewall = BED.firewall(SIZES);
        apply(&mut firewall, &[block(&jail(), "192.0.2.7", 600)]);
        BED.put_counted("ringfence-asterisk", "192.0.2.7");
        apply(&mut firewall, &[block(&jail(), "192.0.2.7", 600)]);
        assert_eq!(BED.members("ringfence-asterisk")["192.0.2.7"].packets, 0);
    }
}
