//! The life of what stock actions of fail2ban's keep in the kernel, under a running daemon:
//! pauses, and people and programs that change it behind our back. With real packets.

#[path = "common/lab.rs"]
mod lab;
#[path = "common/namespace.rs"]
mod namespace;

use std::fs;
use std::net::UdpSocket;

use lab::{Lab, may_send_from, reaches, wait};
use namespace::run;

/// A jail for each way in which stock actions ban; the last one, as distributions for phone
/// servers had it, bans no IPv6.
const JAILS: [(&str, &str); 6] = [
    (
        "multi",
        "iptables-multiport[name=multi, port=5060, protocol=udp]",
    ),
    ("all", "iptables-allports[name=all, protocol=all]"),
    (
        "set",
        "iptables-ipset-proto6[name=set, port=5060, protocol=udp]",
    ),
    (
        "nft",
        "nftables-multiport[name=nft, port=5060, protocol=udp]",
    ),
    ("nftall", "nftables-allports[name=nftall, protocol=udp]"),
    ("old", "old[name=SIP, port=5060, protocol=udp]"),
];

/// As it was written before chains were called `f2b-`.
const OLD_ACTION: &str = "[Definition]
actionstart = iptables -N fail2ban-<name>
              iptables -A fail2ban-<name> -j RETURN
              iptables -I INPUT -p <protocol> -m multiport --dports <port> -j fail2ban-<name>
actionstop = iptables -D INPUT -p <protocol> -m multiport --dports <port> -j fail2ban-<name>
             iptables -F fail2ban-<name>
             iptables -X fail2ban-<name>
actioncheck = iptables -n -L INPUT | grep -q 'fail2ban-<name>[ \\t]'
actionban = iptables -I fail2ban-<name> 1 -s <ip> -j DROP
actionunban = iptables -D fail2ban-<name> -s <ip> -j DROP
";

struct Servers {
    v4: UdpSocket,
    v6: UdpSocket,
}

impl Servers {
    fn open() -> Servers {
        may_send_from("198.51.100.0/24");
        may_send_from("2001:db8:bad::/48");
        Servers {
            v4: UdpSocket::bind("127.0.0.1:5060").unwrap(),
            v6: UdpSocket::bind("[::1]:5060").unwrap(),
        }
    }

    fn hear(&self, addr: &str) -> bool {
        let server = if addr.contains(':') {
            &self.v6
        } else {
            &self.v4
        };
        reaches(addr, server)
    }
}

/// The `number`th pair of addresses that a jail bans.
fn addrs(jail: usize, number: usize) -> Vec<String> {
    let v4 = format!("198.51.100.{}", 10 * jail + number);
    let v6 = format!("2001:db8:bad::{jail}:{number}");
    match JAILS[jail].0 {
        "old" => vec![v4],
        _ => vec![v4, v6],
    }
}

fn all_addrs(number: usize) -> Vec<String> {
    (0..JAILS.len())
        .flat_map(|jail| addrs(jail, number))
        .collect()
}

fn lab(jails: &[(&str, &str)]) -> Lab {
    let jails = jails.iter().map(|(name, action)| {
        format!(
            "[{name}]\nenabled = true\nfilter = kamailio\nlogpath = /nowhere\naction = {action}\n"
        )
    });
    let mut lab = Lab::new("", &jails.collect::<String>());
    fs::create_dir(lab.path("action.d")).unwrap();
    for entry in fs::read_dir("/etc/fail2ban/action.d").expect("fail2ban is needed") {
        let path = entry.unwrap().path();
        let link = lab.path("action.d").join(path.file_name().unwrap());
        std::os::unix::fs::symlink(path, link).unwrap();
    }
    fs::write(lab.path("action.d/old.conf"), OLD_ACTION).unwrap();
    lab.environment.push(("RINGFENCE_LOG", "debug".into()));
    lab
}

fn ban(lab: &Lab, number: usize) {
    for (jail, (name, _)) in JAILS.iter().enumerate() {
        for addr in addrs(jail, number) {
            lab.says(0, &["ban", "--jail", name, &addr]);
        }
    }
}

/// How often the keeper has found that all is well. When he has, after whatever made him look,
/// he looks closer again only if something shows that something has changed.
fn calms(lab: &Lab) -> usize {
    lab.log().matches("the firewall is as it should be").count()
}

/// All rules of all kinds, without what counts.
fn rules() -> String {
    let tables = run("nft list tables");
    let nft = match tables.contains("f2b-table") {
        true => run("nft list table inet f2b-table"),
        false => String::new(),
    };
    format!("{}{}{nft}", run("iptables -S"), run("ip6tables -S"))
}

namespaced! {
    fn a_pause_lifts_bans_of_stock_actions() {
        let mut lab = lab(&JAILS);
        for program in ["iptables", "ip6tables"] {
            run(&format!("{program} -N neighbour"));
            run(&format!("{program} -A INPUT -p tcp --dport 22 -j neighbour"));
        }
        let empty = rules();
        let report = lab.start();
        for place in [
            "the chain f2b-multi, udp 5060\n",
            "the chain fail2ban-SIP, udp 5060 of IPv4\n",
            "the ipset f2b-set6, udp 5060 of IPv6\n",
            "the nft set addr-set-nft of inet f2b-table, udp 5060 of IPv4\n",
        ] {
            for text in [&report, &lab.says(0, &["status"])] {
                assert!(text.contains(&format!("bans in {place}")), "{text}");
            }
        }
        let servers = Servers::open();
        let hear = |addrs: &[String]| addrs.iter().filter(|addr| servers.hear(addr)).count();
        let first = all_addrs(1);
        ban(&lab, 1);
        wait("the bans", || hear(&first) == 0, || lab.log());
        let why = lab.says(3, &["why", &first[0]]);
        for part in ["it counts in the chain f2b-multi, udp 5060\n", "198.51.100.1 dropped by the chain f2b-multi (IPv4)\n"] {
            assert!(why.contains(part), "{why}");
        }
        // What an operator puts before our rules stays before them, for whoever it is.
        for program in ["iptables", "ip6tables"] {
            run(&format!("{program} -I INPUT 1 -p tcp --dport 9 -j ACCEPT"));
            run(&format!("{program} -I INPUT 3 -p tcp --dport 10 -j ACCEPT"));
        }
        let before = rules();

        assert!(lab.says(0, &["pause", "10m"]).contains("nothing is dropped until"));
        assert_eq!(hear(&first), first.len(), "{}", rules());
        let aliens = |rules: &str| {
            let aliens = rules.lines().filter(|line| ["neighbour", "ACCEPT"].iter().any(|word| line.contains(word)));
            aliens.map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(aliens(&rules()), aliens(&before));
        assert!(lab.says(0, &["firewall", "show"]).contains("PAUSED"));
        assert_eq!(lab.json(&["status"])["firewall_missing"], serde_json::json!([]), "{}", rules());

        // Bans come and go meanwhile.
        let second = all_addrs(2);
        ban(&lab, 2);
        lab.says(0, &["unban", &first[0]]);
        let entries = || {
            let shown = lab.json(&["firewall", "show"]);
            let sets = shown["sets"].as_array().unwrap().clone();
            sets.iter().filter(|set| set["set"].as_str().unwrap().contains(": the ")).map(|set| set["entries"].as_u64().unwrap()).sum::<u64>()
        };
        let wanted = (first.len() + second.len() - 1) as u64;
        wait("the second bans", || entries() == wanted, || lab.log());
        assert_eq!(hear(&[first.clone(), second.clone()].concat()), first.len() + second.len());
        lab.says(0, &["reload"]);
        assert_eq!(hear(&first), first.len(), "a reload does not end it");
        let until = lab.pause_end();
        lab.signal("KILL");
        lab.start();
        assert_eq!(lab.json(&["status"])["paused_until"], until);
        assert_eq!(hear(&first), first.len(), "nor does a crash");

        assert!(lab.says(0, &["resume"]).contains("in force again"));
        assert_eq!((hear(&first), hear(&second)), (1, 0));
        let order = |rules: &str| {
            let rules = rules.lines().filter(|line| line.starts_with("-A INPUT"));
            rules.map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(order(&rules()), order(&before), "each rule is where it was");
        assert_eq!(lab.json(&["status"])["firewall_repairs"], 0);

        // It ends by itself, while nobody is there to see it too.
        lab.says(0, &["pause", "1s"]);
        wait("the end of the pause", || hear(&second) == 0, || lab.log());
        lab.says(0, &["pause", "1s"]);
        lab.signal("KILL");
        lab.start();
        wait("the end of the pause", || hear(&second) == 0, || lab.log());

        // A stop in it leaves nothing behind.
        lab.says(0, &["pause", "10m"]);
        lab.says(0, &["stop"]);
        lab.daemon.take().unwrap().wait().unwrap();
        for program in ["iptables", "ip6tables"] {
            run(&format!("{program} -D INPUT -p tcp --dport 9 -j ACCEPT"));
            run(&format!("{program} -D INPUT -p tcp --dport 10 -j ACCEPT"));
        }
        assert_eq!(rules(), empty);
        assert!(!run("ipset list -n").contains("f2b-"));
    }

    fn what_others_take_from_stock_actions_comes_back() {
        let mut lab = lab(&JAILS);
        for program in ["iptables", "ip6tables"] {
            run(&format!("{program} -N neighbour"));
            run(&format!("{program} -A neighbour -p tcp --dport 22 -j ACCEPT"));
            run(&format!("{program} -A FORWARD -p tcp --dport 22 -j neighbour"));
        }
        run("nft add table inet neighbour { chain c { tcp dport 22 accept ; } ; }");
        lab.start();
        let servers = Servers::open();
        let banned = [all_addrs(1), all_addrs(2)].concat();
        ban(&lab, 1);
        ban(&lab, 2);
        let is_whole = || banned.iter().all(|addr| !servers.hear(addr));
        wait("the bans", is_whole, || lab.log());
        let aliens = || {
            let rules = |program: &str| {
                let rules = run(&format!("{program} -S"));
                let is_alien = |line: &&str| !line.contains("f2b-") && !line.contains("fail2ban-");
                rules.lines().filter(is_alien).collect::<Vec<_>>().join("\n")
            };
            (rules("iptables"), rules("ip6tables"), run("nft list table inet neighbour"))
        };
        let sorted = || {
            let rules = rules();
            let mut lines: Vec<String> = rules.lines().map(str::to_owned).collect();
            lines.sort_unstable();
            lines
        };
        let (before, neighbours) = (sorted(), aliens());
        // INPUT has no rule but ours, so that of others' nothing is flushed here.
        // An ipset's loss comes alone: of others the kernel tells, and then all is looked at.
        let damages: [&[&str]; 6] = [
            &["iptables -F INPUT", "ip6tables -F INPUT"],
            &[
                "iptables -D INPUT -p udp -m multiport --dports 5060 -j f2b-multi",
                "iptables -F f2b-multi",
                "ip6tables -F f2b-all",
            ],
            &[
                "iptables -D f2b-all -s 198.51.100.11 -j REJECT --reject-with icmp-port-unreachable",
                "nft delete element inet f2b-table addr6-set-nft { 2001:db8:bad::3:1 }",
            ],
            &["ipset del f2b-set 198.51.100.21"],
            &["ipset flush f2b-set6"],
            &[
                "iptables -F INPUT",
                "iptables -F fail2ban-SIP",
                "iptables -X fail2ban-SIP",
                "nft delete table inet f2b-table",
            ],
        ];
        for damage in damages {
            // A minute is over, as far as the keeper knows.
            let before_repair = calms(&lab);
            lab.says(0, &["firewall", "repair"]);
            wait("calm", || calms(&lab) > before_repair, || lab.log());
            let repairs = lab.json(&["status"])["firewall_repairs"].as_u64().unwrap();
            damage.iter().for_each(|command| drop(run(command)));
            wait(&format!("the repair of {damage:?}"), || {
                lab.json(&["status"])["firewall_repairs"].as_u64() > Some(repairs) && is_whole() && sorted() == before
            }, || format!("{}\n{}", rules(), lab.log()));
            assert_eq!(aliens(), neighbours);
        }
        assert_eq!(lab.json(&["status"])["firewall_missing"], serde_json::json!([]));

        // All at once, and in a pause: no drop comes back before its end. A minute is over again.
        lab.says(0, &["firewall", "repair"]);
        lab.says(0, &["pause", "10m"]);
        let all = lab.path("all");
        fs::write(&all, "iptables -F; iptables -X; ip6tables -F; ip6tables -X; nft delete table inet f2b-table; ipset destroy f2b-set; ipset destroy f2b-set6").unwrap();
        run(&format!("sh -e {}", all.display()));
        let are_back = || {
            let shown = lab.json(&["firewall", "show"]);
            let sets = shown["sets"].as_array().unwrap().clone();
            let stock = sets.iter().filter(|set| set["set"].as_str().unwrap().contains(": the "));
            let counts: Vec<bool> = stock.map(|set| set["entries"] == 2 && set["in_force"] == 2).collect();
            counts.len() == 11 && !counts.contains(&false)
        };
        wait("the bans", are_back, || lab.log());
        assert!(banned.iter().all(|addr| servers.hear(addr)), "{}", rules());
        // Somebody puts a rule back that we have lifted.
        let shown = lab.says(1, &["firewall", "check"]);
        assert!(shown.contains("PAUSED") && !shown.contains("a rule leads"), "{shown}");
        lab.says(0, &["firewall", "repair"]);
        run("iptables -I INPUT -p udp -m multiport --dports 5060 -j f2b-multi");
        wait("its end", || banned.iter().all(|addr| servers.hear(addr)), || lab.log());
        lab.says(0, &["resume"]);
        assert!(is_whole());
        let is_stock = |line: &&String| line.contains("f2b-") || line.contains("SIP") || line.contains("@addr");
        assert_eq!(sorted().iter().filter(is_stock).count(), before.iter().filter(is_stock).count());
    }

    fn legacy_iptables_is_looked_after_too() {
        // Its lock file is not there before its first run.
        run("mount -t tmpfs tmpfs /run");
        run("mount --bind /usr/sbin/xtables-legacy-multi /usr/sbin/xtables-nft-multi");
        assert!(run("iptables --version").contains("legacy"));
        let mut lab = lab(&[JAILS[0]]);
        run("iptables -A FORWARD -p tcp --dport 22 -j ACCEPT");
        lab.start();
        let servers = Servers::open();
        let banned = [addrs(0, 1), addrs(0, 2)].concat();
        for addr in &banned {
            lab.says(0, &["ban", "--jail", "multi", addr]);
        }
        let is_whole = || banned.iter().all(|addr| !servers.hear(addr));
        wait("the bans", is_whole, || lab.log());
        let before = rules();
        assert!(before.contains("-A f2b-multi -s 198.51.100.1/32 -j REJECT"), "{before}");
        lab.says(0, &["pause", "10m"]);
        assert!(banned.iter().all(|addr| servers.hear(addr)));
        lab.says(0, &["resume"]);
        assert_eq!((rules(), is_whole()), (before.clone(), true));
        let damages = [
            "ip6tables -F INPUT",
            "iptables -D f2b-multi -s 198.51.100.1 -j REJECT --reject-with icmp-port-unreachable",
            "iptables -F f2b-multi",
        ];
        let mut seen = calms(&lab);
        lab.says(0, &["firewall", "repair"]);
        wait("calm", || calms(&lab) > seen, || lab.log());
        // The first was ours.
        for (repairs, damage) in (2..).zip(damages) {
            seen = calms(&lab);
            run(damage);
            wait(damage, || {
                lab.json(&["status"])["firewall_repairs"] == repairs && is_whole() && calms(&lab) > seen
            }, || format!("{}\n{}", rules(), lab.log()));
        }
        let sorted = |rules: &str| {
            let mut lines: Vec<String> = rules.lines().map(str::to_owned).collect();
            lines.sort_unstable();
            lines
        };
        assert_eq!(sorted(&rules()), sorted(&before));
        // The fourth within a minute is a fight, and not fought.
        run("iptables -F INPUT");
        wait("the report", || lab.json(&["status"])["firewall_fight"].is_string(), || lab.log());
        assert!(!is_whole());
        let said = lab.says(1, &["firewall", "check"]);
        assert!(said.contains("a rule of INPUT is gone that leads to the chain f2b-multi (IPv4), of jail multi"), "{said}");
        lab.says(0, &["firewall", "repair"]);
        assert!(is_whole());
    }
}
