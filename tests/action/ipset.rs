//! What is so of ipset and iptables only.

use crate::bed::{Bed, rules};
use crate::choice::hide_all_but;
use crate::namespace::run;
use crate::{SIZES, addr, apply, block, entry, jail, names, unblock};
use ringfence::action::{Error, Family, Missing, Note, Outcome};
use ringfence::ticket::{Order, Set};

crate::namespaced! {
    fn ensure_makes_sets_list_and_rules() {
        let mut firewall = Bed::Ipset.open(SIZES);
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
            Bed::Ipset.addresses("ringfence"),
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

    fn a_foreign_set_is_let_be_and_the_others_protect() {
        run("ipset create ringfence-asterisk hash:ip");
        run("ipset add ringfence-asterisk 192.0.2.1");
        let mut firewall = Bed::Ipset.open(SIZES);
        let notes = firewall.ensure(&[jail(), Set::List]).expect("ensure");
        let error = Error::Foreign {
            name: "ringfence-asterisk".to_owned(),
            found: "hash:ip inet".to_owned(),
            wanted: "hash:net inet".to_owned(),
        };
        assert_eq!(
            error.to_string(),
            "there is already an ipset ringfence-asterisk, and it is a hash:ip inet where ringfence needs a hash:net inet; remove it with `ipset destroy ringfence-asterisk`, or rename whatever made it"
        );
        assert!(notes.contains(&Note::Foreign { error: error.clone() }), "{notes:?}");
        let missing = Missing::Foreign { error: error.clone() };
        assert!(!missing.is_mendable());
        assert_eq!(firewall.check(), Ok(vec![missing]));
        // Another handle knows it too; the other family and the list are filled.
        let load = Order::Load { set: Set::List, page: 4, entries: [entry("192.0.2.9", 60)].into() };
        let orders = [block(&jail(), "192.0.2.7", 60), block(&jail(), "2001:db8::/64", 60), load];
        assert_eq!(
            apply(&mut firewall.handle().expect("handle"), &orders),
            [
                Outcome::Refused { set: jail(), addr: addr("192.0.2.7"), error: error.clone() },
                Outcome::Loaded { page: 4, refused: 0 },
            ]
        );
        assert_eq!(Bed::Ipset.addresses("ringfence-apiban"), ["192.0.2.9"]);
        assert_eq!(firewall.holds(&jail(), &addr("192.0.2.1")), Err(error));
        let mut held = Vec::new();
        firewall.list(&jail(), &mut |kept| held.push(kept.addr)).expect("list");
        assert_eq!(held, [addr("2001:db8::/64")], "whom somebody else holds is no ban of ours");
        assert!(!run("ipset list ringfence").contains("ringfence-asterisk\n"), "nobody is dropped by it");
        apply(&mut firewall, &[unblock(&jail(), "192.0.2.1")]);
        firewall.flush(&jail()).expect("flush");
        assert!(run("ipset list ringfence-asterisk").contains("192.0.2.1"));
        // When it is gone it is made as ours are.
        run("ipset destroy ringfence-asterisk");
        let name = "ringfence-asterisk".to_owned();
        assert_eq!(firewall.check(), Ok(vec![Missing::Set { name }]));
        firewall.ensure(&[jail(), Set::List]).expect("ensure");
        assert_eq!(firewall.check(), Ok(vec![]));
        assert_eq!(apply(&mut firewall, &[block(&jail(), "192.0.2.7", 60)]), []);
        // What others put into the place of ours is foreign from the next look on.
        run("ipset del ringfence ringfence-asterisk");
        run("ipset destroy ringfence-asterisk");
        run("ipset create ringfence-asterisk hash:net family inet6");
        assert_eq!(firewall.check().expect("check").len(), 2, "the set, and its place in the list");
        firewall.ensure(&[jail(), Set::List]).expect("ensure");
        assert!(matches!(firewall.check().expect("check")[..], [Missing::Foreign { .. }]));
    }

    fn a_foreign_allow_set_lets_nobody_pass() {
        run("ipset create ringfence-allow6 hash:ip family inet6");
        let mut firewall = Bed::Ipset.open(SIZES);
        let notes = firewall.ensure(&[jail()]).expect("ensure");
        assert!(notes.iter().any(|note| matches!(note, Note::NoIpv6 { .. })), "{notes:?}");
        assert_eq!((rules("iptables").len(), rules("ip6tables").len()), (1, 0));
        firewall.purge().expect("purge");
        run("ipset destroy ringfence-allow6");
        run("ipset create ringfence-allow hash:ip");
        assert!(matches!(firewall.ensure(&[jail()]), Err(Error::Foreign { .. })));
    }

    fn purge_leaves_only_what_is_not_ours() {
        let mut firewall = Bed::Ipset.firewall(SIZES);
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
        let mut firewall = Bed::Ipset.firewall(SIZES);
        run("iptables -A INPUT -m set --match-set ringfence-asterisk src -j DROP");
        let error = firewall.purge().expect_err("in use");
        let name = "ringfence-asterisk".to_owned();
        assert_eq!(error, Error::InUse { name });
        assert!(rules("iptables").is_empty(), "the rules are gone at any rate");
    }

    fn check_says_what_others_took_away() {
        let mut firewall = Bed::Ipset.firewall(SIZES);
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
        assert_eq!(Bed::Ipset.addresses("ringfence-asterisk6").len(), 1);
        firewall.ensure(&[jail(), Set::List]).expect("ensure mends");
        assert_eq!(firewall.check(), Ok(vec![]));
        run("iptables -t raw -F");
        run("ip6tables -t raw -F");
        run("ipset destroy ringfence");
        assert_eq!(firewall.check().expect("check").len(), 7);
    }

    fn without_iptables_the_error_says_what_to_install() {
        hide_all_but(&["ipset"]);
        let mut firewall = Bed::Ipset.open(SIZES);
        let error = firewall.ensure(&[jail()]).expect_err("no iptables");
        assert_eq!(
            error.to_string(),
            "iptables was not found in /usr/sbin, /sbin or /usr/bin; install iptables (`apt install iptables`, `dnf install iptables-nft`)"
        );
        assert_eq!(Bed::Ipset.addresses("ringfence").len(), 2, "the sets are there already");
    }

    fn without_ip6tables_ipv4_is_guarded() {
        hide_all_but(&["ipset", "iptables", "iptables-restore"]);
        let mut firewall = Bed::Ipset.open(SIZES);
        let notes = names(&firewall.ensure(&[jail()]).expect("ensure"));
        let last = notes.last().expect("notes");
        assert!(last.starts_with("IPv6 is not guarded, IPv4 is: ip6tables was not found"), "{last}");
        assert_eq!(rules("iptables").len(), 1);
        assert_eq!(firewall.check(), Ok(vec![]));
        firewall.purge().expect("purge");
        assert!(rules("iptables").is_empty());
    }
}

fn header(name: &str) -> String {
    let listed = run(&format!("ipset list -t {name}"));
    let line = listed.lines().find(|line| line.starts_with("Header:"));
    line.expect("a header").to_owned()
}
