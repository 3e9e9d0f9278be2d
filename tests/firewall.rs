//! The life of the firewall under a running daemon: upgrades, pauses, and people and
//! programs that change it behind our back. With real sets, rules and packets.

#[path = "common/lab.rs"]
mod lab;
#[path = "common/namespace.rs"]
mod namespace;

use std::fs;
use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt;

use lab::{Lab, may_send_from, reaches, wait};
use namespace::run;

namespaced! {
    fn a_new_program_goes_on_in_the_place_of_the_old_one() {
        let mut lab = Lab::new("", "maxretry = 3");
        let program = lab.path("ringfence");
        fs::copy(env!("CARGO_BIN_EXE_ringfence"), &program).unwrap();
        lab.program = program.clone();
        let inode_of = |path: &str| run(&format!("stat -L -c %i {path}"));
        lab.start();
        let daemon = lab.daemon.as_ref().unwrap().id();
        may_send_from("198.51.100.0/24");
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        lab.fail("198.51.100.1", 3);
        lab.wait_for_ban("198.51.100.1");
        lab.fail("198.51.100.2", 2);

        // What cannot run is not executed.
        let next = lab.path("next");
        fs::write(&next, "not a program").unwrap();
        fs::rename(&next, &program).unwrap();
        lab.program = env!("CARGO_BIN_EXE_ringfence").into();
        let text = lab.says(1, &["reload"]);
        assert!(text.contains("the one that runs goes on"), "{text}");
        assert_eq!(lab.json(&["status"])["banned"], 1);

        // One that hangs makes nobody wait but those who asked for it.
        let asked = lab.path("asked");
        fs::write(&next, format!("#!/bin/sh\ntouch {}\nexec sleep 1000\n", asked.display())).unwrap();
        fs::set_permissions(&next, fs::Permissions::from_mode(0o755)).unwrap();
        fs::rename(&next, &program).unwrap();
        let mut reload = lab.ringfence(&["reload"]).spawn().unwrap();
        wait("its start", || asked.exists(), || lab.log());
        assert_eq!(lab.json(&["status"])["banned"], 1);
        assert!(reload.try_wait().unwrap().is_none(), "it waits");
        reload.kill().unwrap();
        reload.wait().unwrap();

        fs::copy(env!("CARGO_BIN_EXE_ringfence"), &next).unwrap();
        fs::rename(&next, &program).unwrap();
        let text = lab.says(0, &["reload"]);
        assert!(text.contains("now runs ringfence") && text.contains(&format!("pid {daemon}")), "{text}");
        assert_eq!(inode_of(&format!("/proc/{daemon}/exe")), inode_of(&program.display().to_string()));
        assert!(!reaches("198.51.100.1", &server));
        lab.fail("198.51.100.2", 1); // the third, and two were counted before
        lab.wait_for_ban("198.51.100.2");
        let status = lab.json(&["status"]);
        assert_eq!((&status["banned"], &status["bans_total"]), (&2.into(), &1.into()));
        assert!(lab.json(&["reload"])["upgrade"].is_null(), "nothing was replaced since");

        // So it is by a signal.
        fs::copy(env!("CARGO_BIN_EXE_ringfence"), &next).unwrap();
        fs::rename(&next, &program).unwrap();
        run(&format!("kill -HUP {daemon}"));
        let inode = inode_of(&program.display().to_string());
        wait("the new program", || inode_of(&format!("/proc/{daemon}/exe")) == inode, || lab.log());
        let is_well = || lab.ringfence(&["status"]).output().unwrap().status.success();
        wait("its answer", is_well, || lab.log());
        assert_eq!(lab.json(&["status"])["banned"], 2);
    }

    fn what_others_take_away_comes_back() {
        let mut lab = Lab::new("protect = ['198.51.100.99']\n", "maxretry = 3");
        run("iptables -t raw -N neighbour");
        run("iptables -t raw -A PREROUTING -s 198.51.100.50 -j neighbour");
        run("ip6tables -t raw -A PREROUTING -p udp --dport 9 -j ACCEPT");
        let before = |program: &str| {
            let rules = run(&format!("{program} -t raw -S"));
            rules.lines().filter(|line| !line.contains("ringfence")).collect::<Vec<_>>().join("\n")
        };
        let (four, six) = (before("iptables"), before("ip6tables"));
        lab.start();
        may_send_from("198.51.100.0/24");
        may_send_from("2001:db8:bad::/48");
        let (server, server6) = (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("[::1]:0").unwrap());
        for addr in ["198.51.100.1", "198.51.100.2", "2001:db8:bad:1::5"] {
            lab.fail(addr, 3);
            lab.wait_for_ban(addr);
        }
        lab.says(0, &["ban", "198.51.100.96/30"]);
        let is_whole = || {
            let counts = ["iptables", "ip6tables"].map(|program| {
                run(&format!("{program} -t raw -S")).matches("--match-set ringfence src").count()
            });
            counts == [1, 1]
                && !reaches("198.51.100.1", &server)
                && !reaches("198.51.100.2", &server)
                && !reaches("198.51.100.98", &server)
                && reaches("198.51.100.99", &server)
                && !reaches("2001:db8:bad:1::5", &server6)
        };
        assert!(is_whole(), "{}", lab.log());
        let damages: [&[&str]; 9] = [
            // One of both is looked for itself, the other is missed by the number.
            &["ipset del ringfence-kamailio 198.51.100.1"],
            &["ipset del ringfence-kamailio 198.51.100.2"],
            &["iptables -t raw -D PREROUTING 1"],
            &["ip6tables -t raw -D PREROUTING 1"],
            &["ipset flush ringfence-kamailio"],
            &["ipset flush ringfence-kamailio6", "ipset flush ringfence-allow"],
            &["ipset del ringfence ringfence-operator"],
            &["ipset flush"],
            &["forget"],
        ];
        for damage in damages {
            // A minute is over, as far as the keeper knows.
            lab.says(0, &["firewall", "repair"]);
            assert!(is_whole());
            let repairs = lab.json(&["status"])["firewall_repairs"].as_u64().unwrap();
            match damage {
                ["forget"] => lab::forget_all(),
                commands => commands.iter().for_each(|command| drop(run(command))),
            }
            wait(&format!("the repair of {damage:?}"), || {
                lab.json(&["status"])["firewall_repairs"].as_u64() > Some(repairs) && is_whole()
            }, || lab.log());
            if damage != ["forget"] { // that took the neighbour's rules as well
                assert_eq!((before("iptables"), before("ip6tables")), (four.clone(), six.clone()));
            }
        }
        assert_eq!(lab.json(&["status"])["firewall_missing"], serde_json::json!([]));
    }

    fn only_a_stop_of_the_unit_takes_rules_away() {
        // What the real systemd does, tests/lab/systemd shows; here another answers for it.
        let mut lab = Lab::new("", "maxretry = 3");
        lab.start();
        lab.says(0, &["ban", "198.51.100.1"]);
        lab.signal("TERM");
        let bin = lab.path("bin");
        fs::create_dir(&bin).unwrap();
        let systemctl = bin.join("systemctl");
        let words = "#!/bin/sh\n[ \"$*\" = 'list-jobs --no-legend --no-pager --full' ] && exec cat \"${0%/*}/jobs\"\n";
        fs::write(&systemctl, words).unwrap();
        run(&format!("chmod 755 {}", systemctl.display()));
        let is_there = || run("iptables -t raw -S").contains("--match-set ringfence src");
        let unit = include_str!("../packaging/ringfence.service");
        let stop = unit.lines().find_map(|line| line.strip_prefix("ExecStopPost=-+/usr/bin/ringfence ")).unwrap();
        let stop = stop.replace("%n", "ringfence.service");
        for (jobs, success, stays) in [
            (None, false, true), // nobody could tell
            (Some(""), true, true),
            (Some("7 ringfence.service restart running\n"), true, true),
            (Some("7 ringfence.service stop running\n8 poweroff.target start waiting\n"), true, true),
            (Some("7 asterisk.service stop running\n"), true, true),
            (Some("7 ringfence.service stop running\n"), true, false),
        ] {
            if let Some(jobs) = jobs {
                fs::write(bin.join("jobs"), jobs).unwrap();
            }
            let words: Vec<&str> = stop.split(' ').collect();
            let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
            let output = lab.ringfence(&words).env("PATH", path).output().unwrap();
            assert_eq!((output.status.success(), is_there()), (success, stays), "{jobs:?}: {output:?}");
        }
    }

    fn a_fight_is_reported_and_not_fought() {
        let mut lab = Lab::new("", "maxretry = 3");
        lab.start();
        lab.says(0, &["ban", "198.51.100.1"]);
        let is_there = || run("iptables -t raw -S").contains("--match-set ringfence src");
        for repairs in 1..=3 {
            run("iptables -t raw -F");
            let is_repaired = || is_there() && lab.json(&["status"])["firewall_repairs"] == repairs;
            wait("the repair", is_repaired, || lab.log());
        }
        run("iptables -t raw -F");
        let fight = || lab.json(&["status"])["firewall_fight"].as_str().map(str::to_owned);
        wait("the report", || fight().is_some(), || lab.log());
        assert!(!is_there());
        assert!(lab.says(0, &["status"]).contains("FIREWALL: somebody took rules"), "{}", lab.log());
        assert_eq!(lab.log().matches("again and again").count(), 1);
        lab.says(0, &["firewall", "repair"]);
        assert!(is_there() && fight().is_none());
    }

    fn with_nftables_what_others_take_away_comes_back_and_a_pause_ends() {
        let mut lab = Lab::new("firewall.backend = 'nftables'\nprotect = ['198.51.100.99']\n", "maxretry = 3");
        lab.start();
        may_send_from("198.51.100.0/24");
        may_send_from("2001:db8:bad::/48");
        let (server, server6) = (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("[::1]:0").unwrap());
        for addr in ["198.51.100.1", "198.51.100.2", "198.51.100.96/30", "2001:db8:bad:1::/64"] {
            lab.says(0, &["ban", addr]);
        }
        let is_whole = || {
            !reaches("198.51.100.1", &server)
                && !reaches("198.51.100.2", &server)
                && !reaches("198.51.100.98", &server)
                && reaches("198.51.100.99", &server)
                && !reaches("2001:db8:bad:1::5", &server6)
        };
        assert!(is_whole(), "{}", lab.log());
        for damage in [
            "nft delete element inet ringfence ringfence-operator { 198.51.100.1 }",
            "nft delete element inet ringfence ringfence-operator { 198.51.100.2 }",
            "nft flush table inet ringfence",
            "nft flush set inet ringfence ringfence-operator",
            "nft delete table inet ringfence",
            "nft flush ruleset",
        ] {
            // A minute is over, as far as the keeper knows.
            lab.says(0, &["firewall", "repair"]);
            assert!(is_whole());
            let repairs = lab.json(&["status"])["firewall_repairs"].as_u64().unwrap();
            run(damage);
            wait(&format!("the repair of {damage}"), || {
                lab.json(&["status"])["firewall_repairs"].as_u64() > Some(repairs) && is_whole()
            }, || lab.log());
        }
        assert_eq!(lab.json(&["status"])["firewall_missing"], serde_json::json!([]));

        lab.says(0, &["firewall", "repair"]);
        lab.says(0, &["pause", "10m"]);
        assert!(reaches("198.51.100.1", &server) && reaches("2001:db8:bad:1::5", &server6));
        // Somebody takes all of it away meanwhile: sets come back, drops do not.
        run("nft flush ruleset");
        let is_back = || run("nft list ruleset").contains("198.51.100.1 ");
        wait("the sets", is_back, || lab.log());
        assert!(reaches("198.51.100.1", &server));
        lab.pause_end();
        lab.signal("KILL");
        lab.start();
        assert!(reaches("198.51.100.1", &server), "a crash does not end it");
        assert!(lab.says(0, &["resume"]).contains("in force again"));
        assert!(is_whole(), "{}", lab.log());
        lab.says(0, &["pause", "1s"]);
        wait("the end of the pause", || !reaches("198.51.100.1", &server), || lab.log());
    }

    fn with_nftables_a_start_reads_the_sets_if_anything_has_changed() {
        let mut lab = Lab::new("firewall.backend = 'nftables'\n", "maxretry = 3");
        lab.start();
        may_send_from("198.51.100.0/24");
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let ban = |lab: &Lab, addr: &str| {
            lab.fail(addr, 3);
            wait(addr, || !reaches(addr, &server), || lab.log());
        };
        // Each start has a log of its own.
        let is_unchanged = |lab: &Lab| lab.log().contains("unchanged since the last run");
        ban(&lab, "198.51.100.1");
        lab.signal("TERM");
        lab.start();
        assert_eq!((is_unchanged(&lab), &lab.json(&["status"])["banned"]), (true, &1.into()));
        assert!(!reaches("198.51.100.1", &server));
        assert!(lab.says(0, &["unban", "198.51.100.1"]).contains("198.51.100.1"));
        assert!(reaches("198.51.100.1", &server), "the start knew that the kernel held it");

        // Somebody writes into the database: a ban that the kernel does not know.
        lab.signal("TERM");
        let insert = "INSERT OR IGNORE INTO jails(name) VALUES('kamailio');
            INSERT INTO bips(jail, ip, timeofban, bantime) VALUES('kamailio', '198.51.100.1', unixepoch(), 600)";
        let database = rusqlite::Connection::open(lab.path("state/ringfence.sqlite3")).unwrap();
        database.execute_batch(insert).unwrap();
        drop(database);
        lab.start();
        assert_eq!((is_unchanged(&lab), reaches("198.51.100.1", &server)), (false, false));
        lab.says(0, &["unban", "198.51.100.1"]);

        // Somebody puts an address in.
        lab.signal("TERM");
        run("nft add element inet ringfence ringfence-kamailio { 198.51.100.2 timeout 1h }");
        lab.start();
        assert_eq!((is_unchanged(&lab), &lab.json(&["status"])["banned"]), (false, &1.into()));
        // A crash.
        ban(&lab, "198.51.100.3");
        lab.signal("KILL");
        lab.start();
        assert_eq!((is_unchanged(&lab), &lab.json(&["status"])["banned"]), (false, &2.into()));
        // The table is gone, and so nothing is as it was.
        lab.signal("TERM");
        run("nft flush ruleset");
        lab.start();
        assert_eq!((is_unchanged(&lab), reaches("198.51.100.3", &server)), (false, false));
        // Other jails have other sets.
        lab.signal("TERM");
        let jails = lab.path("jail.d/lab.conf");
        let text = fs::read_to_string(&jails).unwrap();
        fs::write(&jails, text + "\n[other]\nenabled = true\nfilter = kamailio\nlogpath = /dev/null\n").unwrap();
        lab.start();
        assert!(!is_unchanged(&lab), "{}", lab.log());
        lab.signal("TERM");
        lab.start();
        assert_eq!((is_unchanged(&lab), &lab.json(&["status"])["banned"]), (true, &2.into()));
        // A ban that could not be written down before the end.
        let other = rusqlite::Connection::open(lab.path("state/ringfence.sqlite3")).unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        ban(&lab, "198.51.100.4");
        lab.signal("TERM");
        assert!(lab.log().contains("cannot be written down before the end"), "{}", lab.log());
        other.execute_batch("ROLLBACK").unwrap();
        drop(other);
        lab.start();
        assert_eq!((is_unchanged(&lab), &lab.json(&["status"])["banned"]), (false, &3.into()));
        // The database looks as it was, but it cannot be read.
        lab.signal("TERM");
        let path = lab.path("state/ringfence.sqlite3");
        let modified = fs::metadata(&path).unwrap().modified().unwrap();
        let database = rusqlite::Connection::open(&path).unwrap();
        let newer = "UPDATE ringfence_facts SET value = '2000' WHERE name = 'version'";
        database.execute(newer, []).unwrap();
        drop(database);
        fs::File::open(&path).unwrap().set_modified(modified).unwrap();
        lab.start();
        assert_eq!((is_unchanged(&lab), &lab.json(&["status"])["banned"]), (false, &3.into()));
    }

    fn a_pause_lifts_every_drop_and_ends_by_itself() {
        let mut lab = Lab::new("", "maxretry = 3");
        lab.start();
        may_send_from("198.51.100.0/24");
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        lab.says(0, &["ban", "198.51.100.1"]);
        assert!(!reaches("198.51.100.1", &server));
        assert!(lab.says(1, &["pause", "2d"]).contains("a pause lasts for"));
        assert!(lab.says(0, &["pause", "10m"]).contains("nothing is dropped until"));
        assert!(reaches("198.51.100.1", &server));
        lab.fail("198.51.100.2", 3); // watching goes on
        lab.wait_for_ban("198.51.100.2");
        let text = lab.says(0, &["status"]);
        assert!(text.contains("PAUSED: nothing is dropped for ") && !text.contains("FIREWALL"), "{text}");
        assert_eq!(lab.json(&["reload"])["problems"], serde_json::json!([]));
        assert!(reaches("198.51.100.2", &server), "a reload does not end it");

        // Somebody takes all of it away meanwhile: sets come back, drops do not.
        lab::forget_all();
        let is_back = || lab.is_blocked("ringfence-kamailio", "198.51.100.2");
        wait("the sets", is_back, || lab.log());
        assert!(reaches("198.51.100.2", &server));

        // Nor does a crash end it.
        let until = lab.pause_end();
        lab.signal("KILL");
        lab.start();
        assert_eq!(lab.json(&["status"])["paused_until"], until);
        assert!(reaches("198.51.100.1", &server));
        assert!(lab.says(0, &["resume"]).contains("in force again"));
        assert!(!reaches("198.51.100.1", &server) && !reaches("198.51.100.2", &server));
        assert!(lab.says(0, &["resume"]).contains("there was no pause"));

        lab.says(0, &["pause", "1s"]);
        wait("the end of the pause", || !reaches("198.51.100.1", &server), || lab.log());
        assert!(lab.json(&["status"])["paused_until"].is_null());

        // It is over while nobody is there to see it.
        lab.says(0, &["pause", "1s"]);
        lab.signal("KILL");
        lab.start();
        wait("the end of the pause", || !reaches("198.51.100.1", &server), || lab.log());
    }

    fn a_full_set_and_what_lasts_is_one_alarm_and_stands_in_status() {
        let mut lab = Lab::new("firewall.max_bans = 3\n", "maxretry = 3");
        lab.start();
        assert!(lab.says(0, &["firewall", "check"]).contains("all is well"));
        for last in 1..=6 {
            lab.says(0, &["ban", &format!("198.51.100.{last}")]);
        }
        let full = "the set ringfence-operator is full (3 entries); change `firewall.max_bans` in ringfence.toml and restart; 3 orders were refused so";
        assert!(lab.says(0, &["status"]).contains(&format!("FIREWALL: {full}")), "{}", lab.log());
        assert_eq!(lab.json(&["status"])["firewall_troubles"], serde_json::json!([full]));
        assert!(lab.says(1, &["firewall", "check"]).contains(full));
        assert_eq!(lab.log().matches("a kernel set is full").count(), 1);
        // Who found no room is no ban in our books, and other sets have their own room.
        assert_eq!(lab.json(&["status"])["banned"], 3);
        lab.fail("198.51.100.9", 3);
        lab.wait_for_ban("198.51.100.9");
        // What is taken away cannot come back, as somebody holds the name of a list of ours.
        run("iptables -t raw -F");
        run("ip6tables -t raw -F");
        run("ipset destroy ringfence");
        run("ipset create ringfence hash:ip");
        let troubles = || lab.json(&["status"])["firewall_troubles"].to_string();
        let told = "what is missing cannot be put back: there is already an ipset ringfence";
        wait("the trouble", || troubles().contains(told), || lab.log());
        assert!(lab.says(0, &["status"]).contains(&format!("FIREWALL: {told}")));
        run("ipset destroy ringfence");
        lab.says(0, &["firewall", "repair"]);
        assert!(!troubles().contains(told));
        assert_eq!(lab.log().matches("could not be put back").count(), 1, "{}", lab.log());
    }

    fn ports_of_a_jail_hold_through_all_that_happens() {
        let mut lab = Lab::new("", "maxretry = 3\nport = sip, 5061\nprotocol = udp");
        let program = lab.path("ringfence");
        fs::copy(env!("CARGO_BIN_EXE_ringfence"), &program).unwrap();
        lab.program = program.clone();
        lab.start();
        may_send_from("198.51.100.0/24");
        may_send_from("2001:db8:bad::/48");
        let bind = |port: u16| [UdpSocket::bind(("127.0.0.1", port)).unwrap(), UdpSocket::bind(("::1", port)).unwrap()];
        let (sip, other) = (bind(5061), bind(5070));
        for addr in ["198.51.100.1", "2001:db8:bad:1::5"] {
            lab.fail(addr, 3);
            lab.wait_for_ban(addr);
        }
        let reached = || {
            let of = |servers: &[UdpSocket; 2]| {
                [reaches("198.51.100.1", &servers[0]), reaches("2001:db8:bad:1::5", &servers[1])]
            };
            (of(&sip), of(&other))
        };
        let narrow = ([false, false], [true, true]);
        assert_eq!(reached(), narrow, "{}", lab.log());
        let ports = "udp 5060-5061";
        assert!(lab.says(0, &["status"]).contains(&format!("Jail kamailio ({ports}): 2 banned")));
        assert!(lab.says(3, &["why", "198.51.100.1"]).contains(&format!("  in force on: {ports}\n")));
        let shown = lab.says(0, &["firewall", "show"]);
        assert!(shown.lines().any(|line| line.starts_with("kamailio ") && line.ends_with(ports)), "{shown}");
        assert!(shown.lines().any(|line| line.starts_with("operator ") && line.ends_with("all ports")), "{shown}");
        assert!(lab.says(0, &["firewall", "check"]).contains("all is well"));

        // A wrong port is an error with its place, and the jail goes on as it was.
        let config = fs::read_to_string(lab.path("jail.d/lab.conf")).unwrap();
        let with = |ports: &str| config.replace("port = sip, 5061", ports);
        lab.write("jail.d/lab.conf", &with("port = 506o"));
        let said = lab.says(1, &["reload"]);
        let line = config.lines().position(|line| line.starts_with("port")).unwrap() + 1;
        assert!(said.contains(&format!("{}:{line}: jail kamailio: `port = 506o`: `506o` is neither a port", lab.path("jail.d/lab.conf").display())), "{said}");
        assert_eq!(reached(), narrow);
        lab.write("jail.d/lab.conf", &with("port = 5070"));
        assert_eq!(lab.json(&["reload"])["problems"], serde_json::json!([]));
        assert_eq!(reached(), ([true, true], [false, false]));
        lab.write("jail.d/lab.conf", &with(""));
        assert_eq!(lab.json(&["reload"])["problems"], serde_json::json!([]));
        assert_eq!(reached(), ([false, false], [false, false]), "all of UDP");
        lab.write("jail.d/lab.conf", &config);
        assert_eq!(lab.json(&["reload"])["problems"], serde_json::json!([]));
        assert_eq!(reached(), narrow);

        // Pauses, repairs, a new program, a crash, the other kind of firewall.
        lab.says(0, &["pause", "10m"]);
        assert_eq!(reached(), ([true, true], [true, true]));
        lab.says(0, &["resume"]);
        assert_eq!(reached(), narrow);
        run("iptables -t raw -F");
        wait("the repair", || reached() == narrow, || lab.log());
        let next = lab.path("next");
        fs::copy(env!("CARGO_BIN_EXE_ringfence"), &next).unwrap();
        fs::rename(&next, &program).unwrap();
        assert!(lab.says(0, &["reload"]).contains("now runs ringfence"));
        assert_eq!(reached(), narrow);
        lab.signal("KILL");
        assert_eq!(reached(), narrow);
        lab.start();
        assert_eq!(reached(), narrow);
        lab.signal("TERM");
        assert_eq!(reached(), narrow);
        lab.write("ringfence.toml", "firewall.backend = 'nftables'\n");
        lab.start();
        assert_eq!(reached(), narrow);
        assert_eq!(run("ipset list -n"), "");
        lab.write("jail.d/lab.conf", &with("port = 5070"));
        assert_eq!(lab.json(&["reload"])["problems"], serde_json::json!([]));
        assert_eq!(reached(), ([true, true], [false, false]));
        assert!(lab.says(0, &["firewall", "check"]).contains("all is well"));
        run("nft flush chain inet ringfence prerouting");
        wait("the repair", || reached() == ([true, true], [false, false]), || lab.log());
        lab.says(0, &["stop", "--purge"]);
        assert!(!run("nft list ruleset").contains("ringfence"));
        assert_eq!(reached(), ([true, true], [true, true]));
    }
}
