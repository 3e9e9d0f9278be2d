use std::path::Path;

use super::super::fail2ban::{Roots, load, testing};
use super::*;
use crate::action::stock::Rule;
use expect_test::{Expect, expect};

/// Plays the action of each jail of a tree, and shows what it would keep in the kernel.
fn show(tree: &Path) -> String {
    let loaded = load(&Roots::dir(tree));
    let mut shown: String = loaded
        .errors
        .iter()
        .filter(|e| !e.is_warning())
        .map(|e| format!("{e}\n"))
        .collect();
    for jail in &loaded.jails {
        for action in &jail.actions {
            shown += &format!("{} {}\n", jail.name, action.name);
            match recognise(action, jail.bantime) {
                Err(why) => shown += &format!("  no: {why}\n"),
                Ok(recognised) => {
                    for layout in &recognised.layouts {
                        assert!(is_sound(layout), "{layout:?}");
                        shown +=
                            &format!("  {} {}\n", layout.family.word(), show_kind(&layout.kind));
                    }
                    shown += &recognised
                        .doubt
                        .map_or_else(String::new, |why| format!("  not IPv6: {why}\n"));
                }
            }
        }
    }
    shown
}

fn show_kind(kind: &Kind) -> String {
    let jumps = |jumps: &[Rule]| {
        let words = jumps
            .iter()
            .map(|rule| format!("\n    {} {}", rule.chain, rule.words.join(" ")));
        words.collect::<String>()
    };
    match kind {
        Kind::Chain(chain) => format!(
            "chain {} {} ends {:?} bans {}{}",
            chain.table,
            chain.chain,
            chain
                .rules
                .iter()
                .map(|rule| rule.join(" "))
                .collect::<Vec<_>>(),
            chain.target.join(" "),
            jumps(&chain.jumps)
        ),
        Kind::Set(set) => format!(
            "set {} {} {:?}{}",
            set.name,
            set.made.join(" "),
            set.timeouts,
            jumps(&set.jumps)
        ),
        Kind::Table(table) => format!(
            "table {} {} {{{}}} {} {{{}}}\n    {}",
            table.table,
            table.chain,
            table.chain_made,
            table.set,
            table.set_made,
            table.rules.join("\n    ")
        ),
    }
}

/// A tree with one jail, `pbx`, that has this action.
fn check(action: &str, given: &str, expected: Expect) {
    let jail =
        format!("[pbx]\nenabled = true\nfilter =\nbackend = polling\naction = fw[{given}]\n");
    let files = [("jail.conf", jail.as_str()), ("action.d/fw.conf", action)];
    let tree = testing::write_tree(&files);
    expected.assert_eq(&show(tree.path()));
}

/// In the way of older releases, which phone servers still have: no locks, no loops, and
/// one family.
const PLAIN: &str = "[Definition]
actionstart = <fw> -N <own>
 <fw> -A <own> -j RETURN
 <fw> -I <from> <sip> -j <own>
actionstop = <fw> -D <from> <sip> -j <own>
 <fw> -F <own>
 <fw> -X <own>
actioncheck = <fw> -n -L <from> | grep -q '<own>[ \\t]'
actionban = <fw> -I <own> 1 -s <ip> -j <what>
actionunban = <fw> -D <own> -s <ip> -j <what>
[Init]
fw = iptables
own = fail2ban-<name>
from = INPUT
sip = -p udp -m multiport --dports 5060:5061
what = DROP
";

#[test]
fn a_chain_of_older_releases() {
    check(
        PLAIN,
        "name=SIP",
        expect![[r#"
            pbx fw-SIP
              inet chain filter fail2ban-SIP ends ["-j RETURN"] bans -j DROP
                INPUT -p udp -m multiport --dports 5060:5061 -j fail2ban-SIP
              not IPv6: in its actionstart: `iptables -N fail2ban-SIP` is no command of a stock action
        "#]],
    );
}

#[test]
fn both_families_loops_and_several_chains() {
    check(
        "[Definition]
actionstart = { <fw> -C <own> -j RETURN >/dev/null 2>&1; } || { <fw> -N <own> || true; <fw> -A <own> -j RETURN; }
 for c in $(echo '<chain>' | sed 's/,/ /g'); do for p in $(echo 'tcp,udp' | sed 's/,/ /g'); do
 { <fw> -C $c -p $p -j <own> >/dev/null 2>&1; } || <fw> -I $c -p $p -j <own>
 done; done
actionstop = for c in $(echo '<chain>' | sed 's/,/ /g'); do for p in tcp udp; do <fw> -D $c -p $p -j <own>; done; done
 <fw> -F <own>
 <fw> -X <own>
actionflush = <fw> -F <own>
actionban = <fw> -I <own> 1 -s <ip> -j <block>
actionunban = <fw> -D <own> -s <ip> -j <block>
[Init]
fw = iptables -w
own = f2b-<name>
chain = INPUT,DOCKER-USER
block = REJECT --reject-with icmp-port-unreachable
[Init?family=inet6]
fw = ip6tables -w
block = REJECT --reject-with icmp6-port-unreachable
",
        "",
        expect![[r#"
            pbx fw
              inet chain filter f2b-pbx ends ["-j RETURN"] bans -j REJECT --reject-with icmp-port-unreachable
                DOCKER-USER -p tcp -j f2b-pbx
                DOCKER-USER -p udp -j f2b-pbx
                INPUT -p tcp -j f2b-pbx
                INPUT -p udp -j f2b-pbx
              inet6 chain filter f2b-pbx ends ["-j RETURN"] bans -j REJECT --reject-with icmp6-port-unreachable
                DOCKER-USER -p tcp -j f2b-pbx
                DOCKER-USER -p udp -j f2b-pbx
                INPUT -p tcp -j f2b-pbx
                INPUT -p udp -j f2b-pbx
        "#]],
    );
}

/// A set for each family.
const SET: &str = "[Definition]
actionstart = ipset create <set> hash:ip timeout 600 <family6>
 <fw> -I INPUT -m set --match-set <set> src -j DROP
actionstop = <fw> -D INPUT -m set --match-set <set> src -j DROP
 ipset flush <set>
 ipset destroy <set>
actionban = ipset add <set> <ip> timeout @timeout -exist
actionunban = ipset del <set> <ip> -exist
[Init]
fw = iptables
set = f2b-<name>
family6 =
[Init?family=inet6]
fw = ip6tables
set = f2b-<name>6
family6 = family inet6
";

#[test]
fn sets_and_their_time_outs() {
    for (timeout, expected) in [
        ("0", "Always(0)"),
        ("<bantime>", "Ban"),
        (
            "$([ \"<bantime>\" -le 2147483 ] && echo \"<bantime>\" || echo 0)",
            "Ban",
        ),
    ] {
        let action = SET.replace("@timeout", timeout);
        // Older releases make the set with the jail's own time.
        let older = action.replace("timeout 600", "timeout <bantime>");
        let shown = show(tree_of(&action).path());
        assert_eq!(show(tree_of(&older).path()), shown);
        for line in [
            format!("inet set f2b-pbx hash:ip timeout 600 {expected}"),
            format!("inet6 set f2b-pbx6 hash:ip timeout 600 family inet6 {expected}"),
            "INPUT -m set --match-set f2b-pbx6 src -j DROP".to_owned(),
        ] {
            assert!(shown.contains(&line), "{line}: {shown}");
        }
    }
}

/// What was edited does not pass for a stock action, and the error says where.
#[test]
fn edited_actions_are_told() {
    for (old, new, why) in [
        (
            "actionban = <fw>",
            "actionban = logger <ip>\n <fw>",
            "in its actionban: `logger 192.0.2.1` is no command",
        ),
        (
            "-s <ip> -j <what>\n[Init]",
            "-s <ip> -j REJECT\n[Init]",
            "its actionunban would fail",
        ),
        (
            "actionban = <fw> -I <own> 1",
            "actionban = <fw> -I <own> 2",
            "in its actionban",
        ),
        (
            "-I <own> 1 -s <ip>",
            "-I <own> 1 -d <ip>",
            "in its actionban",
        ),
        (
            "-I <own> 1 -s <ip>",
            "-I <own> 1 -s 192.0.2.0/24",
            "its actionunban would fail",
        ),
        (
            "<fw> -X",
            "conntrack -D -s 192.0.2.1\n <fw> -X",
            "in its actionstop",
        ),
        (
            "<fw> -D <from> <sip> -j <own>",
            "true",
            "its actionstop would fail",
        ),
        (
            " <fw> -X <own>\n",
            "",
            "its actionstop leaves something behind",
        ),
        (
            "<sip> -j <own>\nactionstop",
            "<sip> -j <own>\n <fw> -I FORWARD -p udp -j DROP\nactionstop",
            "its actionstart does more",
        ),
        (
            "<fw> -n -L",
            "<fw> -I INPUT -p tcp -j DROP; <fw> -n -L",
            "actioncheck",
        ),
        ("[Init]", "norestored = 1\n[Init]", "norestored"),
        ("[Init]", "actionprolong = <fw> -L\n[Init]", "actionprolong"),
        (
            "<sip> -j",
            "<sip> > /etc/cron.d/x -j",
            "writes to `/etc/cron.d/x`",
        ),
        (
            "what = DROP",
            "what = DROP; reboot",
            "`reboot` is no command",
        ),
        ("1 -s <ip>", "1 -s <ip> <matches>", "the tag <matches>"),
        ("<fw> -I <from>", "<fw> -A <from>", "in its actionstart"),
    ] {
        let action = PLAIN.replacen(old, new, 1);
        assert_ne!(action, PLAIN, "{old}");
        let jail = "[pbx]\nenabled = true\nfilter =\nbackend = polling\naction = fw\n";
        let tree = testing::write_tree(&[("jail.conf", jail), ("action.d/fw.conf", &action)]);
        let shown = show(tree.path());
        assert!(
            shown.contains("no: ") && shown.contains(why),
            "{old} -> {new}: {shown}"
        );
    }
}

/// In the way of today's: a table that jails share.
const TABLE: &str = "[Definition]
actionstart = nft add table inet t
 nft -- add chain inet t c \\{ type filter hook input priority -1 \\; \\}
 nft add set inet t <set> \\{ type ipv4_addr\\; \\}
 nft add rule inet t c udp dport 5060 ip saddr @<set> drop
actionstop = { nft -a list chain inet t c | grep -oP '@<set>\\s+.*\\s+\\Khandle\\s+(\\d+)$'; } | while read -r h; do nft delete rule inet t c $h; done
 nft delete set inet t <set>
 nft delete table inet t
actionban = nft add element inet t <set> \\{ <ip> \\}
actionunban = nft delete element inet t <set> \\{ <ip> \\}
[Init]
set = addr-set-<name>
";

/// A word that no stock action has makes a noted layout one that nobody trusts.
#[test]
fn words_of_strangers_are_not_sound() {
    let set = SET.replace("@timeout", "0");
    for (action, word, stranger) in [
        (PLAIN, "RETURN", "RETURN\n-A INPUT"),
        (PLAIN, "filter", "filter\nCOMMIT"),
        (PLAIN, "DROP", "--modprobe=/tmp/x"),
        (PLAIN, "udp", "-M"),
        (PLAIN, "INPUT", "-Z"),
        (&set, "hash:ip", "-file"),
        (&set, "f2b-pbx", "f2b-pbx -file"),
        (TABLE, "inet t", "inet t; include \\\"/etc/shadow\\\""),
        (TABLE, "type ipv4_addr", "type ipv4_addr } flush ruleset"),
        (TABLE, "drop", "drop\nflush ruleset"),
    ] {
        let loaded = load(&Roots::dir(tree_of(action).path()));
        let jail = &loaded.jails[0];
        let recognised = recognise(&jail.actions[0], jail.bantime).unwrap();
        let layout = &recognised.layouts[0];
        let json = serde_json::to_string(layout).unwrap();
        let stranger = stranger.replace('\n', "\\n");
        let edited = json.replacen(word, &stranger, 1);
        assert_ne!(edited, json);
        let edited: crate::action::stock::Layout = serde_json::from_str(&edited).unwrap();
        assert!(is_sound(layout) && !is_sound(&edited), "{edited:?}");
    }
}

/// Whatever an action does besides, it does for a reason; so it is no stock action, and the
/// error says what differs.
#[test]
fn what_does_more_than_stock_actions_is_told() {
    let set = SET.replace("@timeout", "<bantime>");
    for base in [PLAIN, &set, TABLE] {
        let tree = tree_of(base);
        assert!(!show(tree.path()).contains("no:"), "{}", show(tree.path()));
    }
    for (base, old, new, why) in [
        // Bans in a second place.
        (
            PLAIN,
            "actionban = <fw> -I <own> 1 -s <ip> -j <what>
actionunban = ",
            "actionban = <fw> -I <own> 1 -s <ip> -j <what>
 <fw> -I FORWARD -s <ip> -j DROP
actionunban = <fw> -D FORWARD -s <ip> -j DROP
 ",
            "bans in more places",
        ),
        (
            TABLE,
            "\\}
actionunban = ",
            "\\}
 iptables -I INPUT -s <ip> -j DROP
actionunban = iptables -D INPUT -s <ip> -j DROP
 ",
            "bans in more places",
        ),
        (
            TABLE,
            "\\}
actionunban = ",
            "\\}
 ipset add other <ip>
actionunban = ipset del other <ip>
 ",
            "in its actionban",
        ),
        // More at its start: a chain, an entry, a rule.
        (
            &set,
            " <fw> -I INPUT -m set --match-set <set> src -j DROP
actionstop = <fw> -D INPUT -m set --match-set <set> src -j DROP
",
            " <fw> -N LOGDROP
 <fw> -A LOGDROP -j DROP
 <fw> -I INPUT -m set --match-set <set> src -j LOGDROP
actionstop = <fw> -D INPUT -m set --match-set <set> src -j LOGDROP
 <fw> -F LOGDROP
 <fw> -X LOGDROP
",
            "its actionstart does more",
        ),
        (
            &set,
            " <fw> -I INPUT -m",
            " ipset add <set> 192.0.2.99 timeout 0
 <fw> -I INPUT -m",
            "its actionstart does more",
        ),
        (
            TABLE,
            "actionstop =",
            " nft add element inet t <set> \\{ 192.0.2.99 \\}
actionstop =",
            "its actionstart does more",
        ),
        (
            PLAIN,
            " <fw> -A <own> -j RETURN",
            " <fw> -A <own> -s 192.0.2.99 -j RETURN
 <fw> -A <own> -j RETURN",
            "an address of its own",
        ),
        // What it does depends on the ban's time, or on what others have in the firewall.
        (
            &set,
            "add <set> <ip> timeout <bantime>",
            "add <set> <ip> timeout $([ <bantime> -le 86400 ] && echo <bantime> || echo 86400)",
            "depends on the ban's time",
        ),
        (
            &set,
            "add <set> <ip> timeout <bantime>",
            "add <set> <ip> timeout $([ <bantime> -le 2147483 ] && echo <bantime> || echo 2147483)",
            "depends on the ban's time",
        ),
        (
            PLAIN,
            "actionban = ",
            "actionban = [ <bantime> -le 86400 ] || false && ",
            "its actionban would fail",
        ),
        (
            PLAIN,
            "actionban = ",
            "actionban = [ <bantime> -le 86400 ] || mail root
 ",
            "`mail root` is no command",
        ),
        (
            PLAIN,
            "actioncheck = ",
            "actioncheck = <fw> -n -L INPUT || curl evil
 ",
            "`curl evil` is no command",
        ),
        (
            PLAIN,
            "actionban = ",
            "actionban = for a in $(echo A | grep B); do curl $a; done
 ",
            "`curl 1` is no command",
        ),
        (
            PLAIN,
            "actionban = ",
            "actionban = <fw> -C INPUT -s <ip> -j ACCEPT || ",
            "looks what there is",
        ),
        (
            &set,
            "actionban = ",
            "actionban = ipset test <set> <ip> || ",
            "looks what there is",
        ),
        (
            PLAIN,
            "actionstart = ",
            "actionstart = <fw> -C INPUT -j FOREIGN || ",
            "depends on what others have in INPUT",
        ),
    ] {
        let action = base.replacen(old, new, 1);
        assert_ne!(action, base, "{old}");
        let shown = show(tree_of(&action).path());
        assert!(
            shown.contains("no: ") && shown.contains(why),
            "{why}: {old} -> {new}: {shown}"
        );
    }
}

fn tree_of(action: &str) -> tempfile::TempDir {
    let jail = "[pbx]\nenabled = true\nfilter =\nbackend = polling\naction = fw\n";
    testing::write_tree(&[("jail.conf", jail), ("action.d/fw.conf", action)])
}

/// The second of two jails that would share a chain or set is refused, by `check` too.
#[test]
fn places_are_not_shared() {
    for (jails, wrong) in [
        (["chain[name=a]", "chain[name=b]", "set[name=a]"], None),
        (
            ["chain[name=SIP]", "chain[name=b]", "chain[name=SIP, sip=]"],
            Some(
                "jail three: it would keep its bans in the chain fail2ban-SIP (IPv4), and so does jail one",
            ),
        ),
        (
            // IPv6 of the one is IPv4 of the other.
            ["set[name=a]", "set[name=a6]", "chain[name=a]"],
            Some(
                "jail two: it would keep its bans in the ipset f2b-a6 (IPv4), and so does jail one",
            ),
        ),
        (
            [
                "chain[name=a]",
                "set[name=a]\n set[name=a, actname=again]",
                "chain[name=b]",
            ],
            Some(
                "jail two: it would keep its bans in the ipset f2b-a (IPv4), and so does another action of its own",
            ),
        ),
        // What another table has is another's.
        (
            [
                "chain[name=a]",
                "chain[name=a, fw=iptables -t raw, from=PREROUTING]",
                "set[name=a]",
            ],
            None,
        ),
    ] {
        let names = ["one", "two", "three"].iter().zip(jails);
        let jails = names.map(|(name, action)| {
            format!("[{name}]\nenabled = true\nfilter =\nbackend = polling\naction = {action}\n")
        });
        let set = SET.replace("@timeout", "0");
        let tree = testing::write_tree(&[
            ("jail.conf", &jails.collect::<String>()),
            ("action.d/chain.conf", PLAIN),
            ("action.d/set.conf", &set),
        ]);
        let location = super::super::Location {
            folder: tree.path().join("none"),
            tree: Some(tree.path().to_owned()),
        };
        let config = super::super::Config::load(&location, super::super::Purpose::Ban).unwrap();
        let is_wrong = |problem: &&String| problem.contains("keep its bans in");
        let problems: Vec<&String> = config.problems.iter().filter(is_wrong).collect();
        let checked = super::super::check(&location, super::super::Purpose::Ban).unwrap();
        let told: Vec<&String> = checked.problems.iter().filter(is_wrong).collect();
        assert_eq!(told, problems);
        let told = problems
            .iter()
            .map(|problem| problem.contains(wrong.unwrap_or("none")));
        assert_eq!(
            told.collect::<Vec<_>>(),
            vec![true; usize::from(wrong.is_some())],
            "{problems:?}"
        );
        assert_eq!(config.broken.len(), problems.len());
    }
}

/// Sets of fail2ban's take hosts only, so an own jail that bans by one bans no network.
#[test]
fn a_jail_bans_networks_where_its_action_can() {
    for (action, keys, expected) in [
        ("chain[name=a]", "", Ok(false)),
        ("chain[name=a]", "aggregate = 5", Ok(false)),
        ("set[name=a]", "", Ok(true)),
        ("chain[name=a]\n set[name=a]", "", Ok(true)),
        (
            "set[name=a]",
            "aggregate = 5",
            Err("jail own: aggregate: its action cannot ban networks of both families"),
        ),
    ] {
        let jail = format!(
            "[own]\nenabled = true\nfilter = kamailio\nlogpath = /var/log/own\naction = {action}\n{keys}\n"
        );
        let set = SET.replace("@timeout", "0");
        let folder = testing::write_tree(&[
            ("jail.d/own.conf", &jail),
            ("action.d/chain.conf", PLAIN),
            ("action.d/set.conf", &set),
        ]);
        let location = super::super::Location {
            folder: folder.path().to_owned(),
            tree: None,
        };
        let config = super::super::Config::load(&location, super::super::Purpose::Ban).unwrap();
        let own = config.jails.iter().find(|jail| &*jail.rules.name == "own");
        let found = own.map(|jail| jail.rules.hosts_only);
        let problems = config.problems.join("\n");
        match expected {
            Ok(hosts_only) => assert_eq!(found, Some(hosts_only), "{action}: {problems}"),
            Err(problem) => assert!(found.is_none() && problems.contains(problem), "{problems}"),
        }
    }
}
