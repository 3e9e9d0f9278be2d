//! Jails with fail2ban's stock actions, run by ringfence and by fail2ban itself: what
//! stands in the kernel must be the same after bans, after unbans and after the stop.
//!
//! Debian's fail2ban must be installed: these tests do not skip.

#[path = "common/client.rs"]
mod client;
#[path = "common/namespace.rs"]
mod namespace;
#[path = "common/running.rs"]
mod running;

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use client::fail2ban_client;
use namespace::run;
use ringfence::action::stock::{
    ChainLayout, Kind, Layout, Layouts, Rule, SetLayout, Stock, TableLayout, Timeouts,
};
use ringfence::action::{Action, Family, Outcome};
use ringfence::control::client::Client;
use ringfence::daemon::verbs::{Reloaded, Verb};
use ringfence::ticket::{Entry, JailName, Order, Set};

/// A jail for each kind of stock action. The last two share a table.
const JAILS: &str = "[DEFAULT]\nenabled = true\nfilter = logins\nbackend = polling\nlogpath = @log\nbantime = 1h\nport = ssh\nchain = INPUT\n\
     [multi]\naction = iptables-multiport[port=\"22,5060:5061\", protocol=\"tcp,udp\"]\n\
     [all]\naction = iptables-allports[name=SIP, protocol=all]\n\
     [one]\naction = iptables[port=5060, protocol=udp]\n\
     [new]\naction = iptables-new[port=5060]\n\
     [set]\naction = iptables-ipset-proto6[port=\"5060,5061\", protocol=udp]\n\
     [setall]\naction = iptables-ipset-proto6-allports[bantime=0]\n\
     [old]\naction = iptables-ipset-proto4[port=5060, protocol=udp, blocktype=DROP]\n\
     [nft]\naction = nftables-multiport[port=\"http,5060:5061\", protocol=\"udp,tcp\"]\n\
     [nftall]\naction = nftables-allports[blocktype=drop, protocol=\"tcp,udp\"]\n";

const NAMES: [&str; 9] = [
    "multi", "all", "one", "new", "set", "setall", "old", "nft", "nftall",
];

struct Lab {
    folder: tempfile::TempDir,
    child: Option<Child>,
}

impl Lab {
    fn new(jails: &str) -> Lab {
        let lab = Lab {
            folder: tempfile::tempdir().expect("a folder"),
            child: None,
        };
        for folder in ["tree/filter.d", "run"] {
            fs::create_dir_all(lab.path(folder)).unwrap();
        }
        std::os::unix::fs::symlink("/etc/fail2ban/action.d", lab.path("tree/action.d")).unwrap();
        let folder = lab.path("").display().to_string();
        for (name, text) in [
            (
                "tree/fail2ban.conf",
                "[Definition]\nloglevel = INFO\nlogtarget = @f2b.log\nsyslogsocket = auto\nsocket = @f2b.sock\npidfile = @f2b.pid\ndbfile = @db.sqlite3\ndbpurgeage = 1d\nallowipv6 = yes\n",
            ),
            (
                "tree/filter.d/logins.conf",
                "[Definition]\nfailregex = ^\\s*login of \\S+ failed from <HOST>$\n",
            ),
            ("log", "2026-01-01 00:00:00 the first line\n"),
            (
                "ringfence.toml",
                "state_dir = '@state'\nsocket = '@socket'\n",
            ),
        ] {
            fs::write(lab.path(name), text.replace('@', &folder)).unwrap();
        }
        lab.set_jails(jails);
        lab
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn wait(&self, what: &str, is_so: impl Fn() -> bool) {
        let start = std::time::Instant::now();
        while !is_so() {
            let told = |name: &str| fs::read_to_string(self.path(name)).unwrap_or_default();
            assert!(
                start.elapsed() < running::PATIENCE,
                "waited in vain for {what}: {}{}{}",
                told("said"),
                told("f2b.log"),
                dump()
            );
            std::thread::park_timeout(std::time::Duration::from_millis(20));
        }
    }

    fn wait_for(&self, what: &str, is_so: impl Fn() -> bool) {
        running::wait(what, self.folder.path(), is_so);
    }

    /// Failures with the present date, in UTC.
    fn fail(&self, host: &str, times: usize) {
        let now = jiff::Zoned::now().with_time_zone(jiff::tz::TimeZone::UTC);
        let now = now.strftime("%Y-%m-%d %H:%M:%S");
        let line = format!("{now} login of root failed from {host}\n");
        let log = OpenOptions::new().append(true).open(self.path("log"));
        log.unwrap()
            .write_all(line.repeat(times).as_bytes())
            .unwrap();
    }

    fn set_jails(&self, jails: &str) {
        let folder = self.path("").display().to_string();
        fs::write(self.path("tree/jail.conf"), jails.replace('@', &folder)).unwrap();
    }

    fn ringfence(&self, words: &[&str]) -> String {
        self.try_ringfence(words).unwrap_or_else(|said| {
            panic!("{words:?}: {said} {}", running::said(self.folder.path()))
        })
    }

    fn try_ringfence(&self, words: &[&str]) -> Result<String, String> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringfence"));
        command
            .arg("--config-dir")
            .arg(self.folder.path())
            .args(words);
        let output = command.output().unwrap();
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
            false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        }
    }

    fn start_ringfence(&mut self) {
        // It says that it is ready when what was in force is so again.
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringfence"));
        command
            .arg("--config-dir")
            .arg(self.folder.path())
            .args(["run", "-c"])
            .arg(self.path("tree"));
        self.child = Some(running::start(&mut command, self.folder.path()));
    }

    fn start_fail2ban(&mut self) {
        let server = Command::new("fail2ban-server")
            .arg("-c")
            .arg(self.path("tree"))
            .args(["-f", "start"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.child = Some(server.expect("fail2ban is needed (package fail2ban)"));
        self.wait("fail2ban", || self.client(&["status", NAMES[8]]));
    }

    fn client(&self, words: &[&str]) -> bool {
        fail2ban_client(&self.path("tree"), words).0
    }

    /// Ends it as systemd would.
    fn terminate(&mut self) {
        let mut child = self.child.take().expect("it runs");
        run(&format!("kill -TERM {}", child.id()));
        child.wait().unwrap();
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.child.iter_mut().for_each(running::end);
    }
}

fn addresses(jail: &str) -> &'static [&'static str] {
    match jail {
        "old" => &["192.0.2.1", "192.0.2.2"], // knows no IPv6
        _ => &["192.0.2.1", "192.0.2.2", "2001:db8::1"],
    }
}

/// All that stands in the kernel, as operators look at it; without what the kernel makes
/// up, and with the jumps in a fixed order: jails come up in any.
fn dump() -> String {
    let mut all = String::new();
    for command in ["iptables -S", "ip6tables -S"] {
        let text = run(command);
        let (mut jumps, others): (Vec<&str>, Vec<&str>) =
            text.lines().partition(|line| line.starts_with("-A INPUT"));
        let last = jumps.pop();
        jumps.sort_unstable();
        all += &format!("# {command}\n{}\n{}\n", others.join("\n"), jumps.join("\n"));
        all += &format!("last: {last:?}\n");
    }
    all += "# ipset list\n";
    let names = run("ipset list -n");
    let mut names: Vec<&str> = names
        .lines()
        .filter(|name| name.starts_with("f2b-"))
        .collect();
    names.sort_unstable();
    let sets: String = names
        .iter()
        .map(|name| run(&format!("ipset -sorted list {name}")))
        .collect();
    for line in sets
        .lines()
        .filter(|line| !line.starts_with("Size in memory"))
    {
        let line = line.split(" initval").next().unwrap_or(line);
        all += &match line.split_once("timeout ") {
            // A time-out counts down.
            Some((entry, rest)) if entry.starts_with(|first: char| first.is_ascii_hexdigit()) => {
                format!(
                    "{entry}timeout {}\n",
                    if rest.trim() == "0" { "0" } else { "some" }
                )
            }
            _ => format!("{line}\n"),
        };
    }
    let tables = run("nft list tables");
    if tables.contains("f2b-table") {
        all += &run("nft list table inet f2b-table");
    }
    all
}

fn count(addr: &str) -> usize {
    let is_whole =
        |rest: &str| !rest.starts_with(|next: char| next.is_ascii_digit() || next == '.');
    let dump = dump();
    dump.match_indices(addr)
        .filter(|(place, _)| is_whole(dump.get(place + addr.len()..).unwrap_or("")))
        .count()
}

/// What stands there after bans, after unbans, and at the end.
#[derive(Debug, PartialEq)]
struct Story {
    banned: String,
    unbanned: String,
    stopped: String,
}

/// `ban` is told jail and addresses, `unban` the address.
fn story(
    lab: &mut Lab,
    ban: &dyn Fn(&Lab, &str, &[&str]),
    unban: &dyn Fn(&Lab, &str),
    stop: &dyn Fn(&mut Lab),
) -> Story {
    // What was there before stays, and below.
    for program in ["iptables", "ip6tables"] {
        run(&format!("{program} -A INPUT -i lo -j ACCEPT"));
    }
    for jail in NAMES {
        ban(lab, jail, addresses(jail));
        if jail == "nft" {
            lab.wait("the first of the table", || {
                run("nft list tables").contains("f2b-table")
                    && run("nft list table inet f2b-table").contains("addr6-set-nft")
            });
        }
    }
    let all = |addr: &str| {
        NAMES
            .iter()
            .filter(|jail| addresses(jail).contains(&addr))
            .count()
    };
    lab.wait("all bans", || {
        ["192.0.2.1", "192.0.2.2", "2001:db8::1"]
            .iter()
            .all(|addr| count(addr) == all(addr))
    });
    let banned = dump();
    unban(lab, "192.0.2.1");
    unban(lab, "2001:db8::1");
    lab.wait("the unban", || {
        count("192.0.2.1") + count("2001:db8::1") == 0
    });
    let unbanned = dump();
    stop(lab);
    let stopped = dump();
    for program in ["iptables", "ip6tables"] {
        run(&format!("{program} -F"));
    }
    Story {
        banned,
        unbanned,
        stopped,
    }
}

namespaced! {
    fn ringfence_keeps_in_the_kernel_what_fail2ban_does() {
        run("ip link set lo up");
        let mut lab = Lab::new(JAILS);
        lab.start_fail2ban();
        let theirs = story(
            &mut lab,
            &|lab, jail, addrs| assert!(lab.client(&[&["set", jail, "banip"], addrs].concat())),
            &|lab, addr| assert!(lab.client(&["unban", addr])),
            &|lab| {
                assert!(lab.client(&["stop"]));
                lab.child.take().unwrap().wait().unwrap();
            },
        );
        let mut lab = Lab::new(JAILS);
        lab.start_ringfence();
        let said = running::said(lab.folder.path());
        assert!(!said.contains("cannot be run"), "{said}");
        let ours = story(
            &mut lab,
            &|lab, jail, addrs| addrs.iter().for_each(|addr| drop(lab.ringfence(&["ban", "--jail", jail, addr]))),
            &|lab, addr| drop(lab.ringfence(&["unban", addr])),
            &|lab| {
                lab.ringfence(&["stop"]);
                lab.child.take().unwrap().wait().unwrap();
            },
        );
        check_same(&theirs.banned, &ours.banned);
        check_same(&theirs.unbanned, &ours.unbanned);
        check_same(&theirs.stopped, &ours.stopped);
    }
}

namespaced! {
    fn bans_outlive_restarts_rebuilding_and_other_settings() {
        run("ip link set lo up");
        let jail = |action: &str| {
            format!(
                "[pbx]\nenabled = true\nfilter = logins\nbackend = polling\nlogpath = @log\nlogtimezone = UTC\n\
                 maxretry = 3\nfindtime = 1h\nbantime = 1h\naction = {action}\n"
            )
        };
        let mut lab = Lab::new(&jail("iptables-multiport[port=5060, protocol=udp]"));
        lab.start_ringfence();
        assert!(!dump().contains("f2b-"), "nothing before the first ban: {}", dump());
        for addr in ["203.0.113.7", "2001:db8::7"] {
            lab.fail(addr, 3);
            lab.wait_for(addr, || count(addr) == 1);
        }
        let before = dump();
        for part in ["-A f2b-pbx -s 203.0.113.7/32 -j REJECT", "-A INPUT -p udp -m multiport --dports 5060 -j f2b-pbx", "-A f2b-pbx -s 2001:db8::7/128"] {
            assert!(before.contains(part), "{part}: {before}");
        }
        lab.terminate();
        assert_eq!(dump(), before, "the end of a run leaves no gap");
        // Whom nobody's ledger knows is let go, as fail2ban would by its stop.
        run("iptables -I f2b-pbx 1 -s 192.0.2.99 -j REJECT");
        lab.start_ringfence();
        check_same(&before, &dump());

        // Somebody rebuilds the firewall: it is put back, once.
        for command in ["iptables -F", "iptables -X"] {
            run(command);
        }
        lab.fail("203.0.113.8", 3);
        lab.wait_for("what was there", || {
            let jumps = dump().matches("-j f2b-pbx").count();
            (count("203.0.113.8"), count("203.0.113.7"), jumps) == (1, 1, 2)
        });

        // Other ports, by reload; another action; none.
        lab.set_jails(&jail("iptables-multiport[port=\"5060,5061\", protocol=udp]"));
        lab.ringfence(&["reload"]);
        lab.wait_for("the other ports", || {
            let dump = dump();
            dump.matches("--dports 5060,5061 -j f2b-pbx").count() == 2 && !dump.contains("5060 -j f2b-pbx")
                && ["203.0.113.7", "203.0.113.8", "2001:db8::7"].iter().all(|addr| count(addr) == 1)
        });
        lab.set_jails(&jail("ringfence"));
        lab.ringfence(&["reload"]);
        lab.wait_for("our own set", || !dump().contains("f2b-") && running::is_banned("pbx", "203.0.113.7"));
        lab.set_jails(&jail("nftables-multiport[port=5060, protocol=udp]"));
        lab.ringfence(&["reload"]);
        lab.wait_for("the table", || count("203.0.113.8") == 1 && dump().contains("addr-set-pbx"));
        lab.terminate();
        lab.set_jails(&jail("iptables-ipset-proto6[port=5060, protocol=udp]"));
        lab.start_ringfence();
        let after = dump();
        assert!(!after.contains("f2b-table") && after.contains("f2b-pbx6"), "{after}");
        lab.ringfence(&["stop"]);
        lab.child.take().unwrap().wait().unwrap();
        assert!(!dump().contains("f2b-"), "{}", dump());
    }
}

/// Trees as Debian, FreePBX and FusionPBX have them, with stock actions: their jails run,
/// and ban where those actions do. (Our likeness of FusionPBX has a filter without an address.)
const TREES: [(&str, &[(&str, &str)]); 3] = [
    (
        "/etc/fail2ban",
        &[(
            "sshd",
            "-A INPUT -p tcp -m multiport --dports 22 -j f2b-sshd",
        )],
    ),
    (
        "tests/trees/freepbx-like",
        &[
            ("asterisk-iptables", "-A INPUT -j f2b-SIP"),
            ("pbx-gui", "-A INPUT -j f2b-PBX-GUI"),
            (
                "ssh-iptables",
                "-A INPUT -p tcp -m multiport --dports 22 -j f2b-SSH",
            ),
            (
                "apache-badbots",
                "-A INPUT -p tcp -m multiport --dports 80,443 -j f2b-BadBots",
            ),
            ("recidive", "-A INPUT -j f2b-recidive"),
        ],
    ),
    (
        "tests/trees/fusionpbx-like",
        &[
            ("ssh", "-A INPUT -j f2b-sshd"),
            ("sip-auth-failure", "-A INPUT -j f2b-sip-auth-failure"),
            (
                "sip-auth-challenge-ip",
                "-A INPUT -j f2b-sip-auth-challenge-ip",
            ),
            (
                "fusionpbx",
                "-A INPUT -p tcp -m multiport --dports 80,443 -j f2b-fusionpbx",
            ),
            (
                "nginx-404",
                "-A INPUT -p tcp -m multiport --dports 80,443 -j f2b-nginx-404",
            ),
        ],
    ),
];

namespaced! {
    fn trees_of_phone_servers_ban() {
        run("ip link set lo up");
        for (tree, jails) in TREES {
            let mut lab = Lab::new("");
            let copy = lab.path("tree");
            fs::remove_dir_all(&copy).unwrap();
            let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(tree);
            run(&format!("cp -r {} {}", source.display(), copy.display()));
            let actions = copy.join("action.d");
            fs::remove_dir_all(&actions).unwrap();
            std::os::unix::fs::symlink("/etc/fail2ban/action.d", actions).unwrap();
            let own = format!("[Definition]\ndbfile = {}\n", lab.path("db.sqlite3").display());
            fs::write(copy.join("fail2ban.local"), own).unwrap();
            if let Ok(jails) = fs::read_to_string(copy.join("jail.local")) {
                // Mail is not sent yet. A name of a port may be missing on this machine.
                let is_mail = |line: &&str| line.trim_start().starts_with("sendmail");
                let jails: Vec<&str> = jails.lines().filter(|line| !is_mail(line)).collect();
                fs::write(copy.join("jail.local"), jails.join("\n")).unwrap();
            }
            lab.start_ringfence();
            for (jail, jump) in jails {
                lab.ringfence(&["ban", "--jail", jail, "203.0.113.9"]);
                lab.wait_for(jump, || {
                    let rules = run("iptables -S");
                    let chain = jump.rsplit(' ').next().unwrap();
                    rules.contains(jump) && rules.contains(&format!("-A {chain} -s 203.0.113.9/32 -j REJECT"))
                });
            }
            lab.ringfence(&["stop"]);
            lab.child.take().unwrap().wait().unwrap();
            assert!(!dump().contains("f2b-"), "{tree}: {}", dump());
        }
    }
}

namespaced! {
    fn many_bans_at_once() {
        run("ip link set lo up");
        const BANS: usize = 2_000;
        let jail: JailName = "pbx".into();
        for layouts in [chain_of("-j DROP"), set_of(Timeouts::Always(0)), table_of("type ipv4_addr")] {
            let mut stock = open(&layouts);
            let set = Set::Jail(jail.clone());
            let addr = |number: usize| format!("10.0.{}.{}", number / 250, number % 250).parse().unwrap();
            let orders: Vec<Order> = (0..BANS)
                .map(|number| Order::Block { set: set.clone(), entry: Entry { addr: addr(number), timeout_secs: 600 } })
                .collect();
            stock.apply(&orders, &mut |outcome| panic!("{outcome:?}"));
            // What the kernel has, whoever asks.
            let there = open(&layouts).held(&jail);
            assert_eq!(there.len(), BANS);
            let orders: Vec<Order> = (1..BANS)
                .map(|number| Order::Unblock { set: set.clone(), addr: addr(number) })
                .collect();
            stock.apply(&orders, &mut |outcome| panic!("{outcome:?}"));
            let there = open(&layouts).held(&jail);
            assert_eq!(there, [addr(0)].into());
            stock.remove().unwrap();
            assert!(!dump().contains("pbx"), "{}", dump());
        }
    }
}

/// Stock actions' places for IPv4, without a daemon.
fn layout(kind: Kind) -> Layouts {
    [(
        "pbx".into(),
        vec![Layout {
            family: Family::V4,
            kind,
        }],
    )]
    .into()
}

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

fn jump(text: &str) -> Rule {
    Rule {
        chain: "INPUT".to_owned(),
        words: words(text),
    }
}

fn chain_of(target: &str) -> Layouts {
    layout(Kind::Chain(ChainLayout {
        table: "filter".to_owned(),
        chain: "f2b-pbx".to_owned(),
        rules: vec![words("-j RETURN")],
        jumps: vec![
            jump("-p tcp -m multiport --dports 5060 -j f2b-pbx"),
            jump("-p udp -m multiport --dports 5060 -j f2b-pbx"),
        ],
        target: words(target),
    }))
}

fn set_of(timeouts: Timeouts) -> Layouts {
    layout(Kind::Set(SetLayout {
        name: "f2b-pbx".to_owned(),
        made: words("hash:ip timeout 0"),
        timeouts,
        jumps: vec![jump("-m set --match-set f2b-pbx src -j DROP")],
    }))
}

fn table_of(set_made: &str) -> Layouts {
    layout(Kind::Table(TableLayout {
        table: "inet f2b-table".to_owned(),
        chain: "f2b-chain".to_owned(),
        chain_made: "type filter hook input priority -1 ;".to_owned(),
        set: "addr-set-pbx".to_owned(),
        set_made: set_made.to_owned(),
        rules: vec!["udp dport { 5060 } ip saddr @addr-set-pbx drop".to_owned()],
    }))
}

fn open(layouts: &Layouts) -> Stock {
    Stock::open(layouts, false, &mut |_, error| panic!("{error}"))
}

/// Bans (`+`) and unbans (`-`), and who was refused; for good with a `!`.
fn order(stock: &mut Stock, orders: &[&str]) -> Vec<String> {
    let set = Set::Jail("pbx".into());
    let orders: Vec<Order> = orders
        .iter()
        .map(|text| {
            let addr = text.trim_start_matches(['+', '-']).parse().unwrap();
            let (set, timeout_secs) = (set.clone(), 600);
            match text.starts_with('+') {
                true => Order::Block {
                    set,
                    entry: Entry { addr, timeout_secs },
                },
                false => Order::Unblock { set, addr },
            }
        })
        .collect();
    let mut refused = Vec::new();
    stock.apply(&orders, &mut |outcome| match outcome {
        Outcome::Refused { addr, error, .. } => {
            refused.push(format!(
                "{addr}{}",
                if error.is_lasting() { "" } else { "!" }
            ));
        }
        other => panic!("{other:?}"),
    });
    refused
}

/// Who is in the kernel, whoever asks.
fn held(layouts: &Layouts) -> String {
    let held = open(layouts).held(&"pbx".into());
    held.iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(" ")
}

namespaced! {
    fn who_cannot_be_done_costs_no_other() {
        run("ip link set lo up");
        // Somebody's own rules about addresses are no bans, and those that only look like
        // ours keep nobody else in.
        let chain = chain_of("-j REJECT");
        let mut stock = open(&chain);
        assert_eq!(order(&mut stock, &["+192.0.2.1", "+192.0.2.2", "+192.0.2.3"]), [""; 0]);
        run("iptables -I f2b-pbx 1 -s 203.0.113.9 -j ACCEPT");
        run("iptables -I f2b-pbx 1 -s 203.0.113.8 -j REJECT --reject-with icmp-host-prohibited");
        let mut stock = open(&chain);
        assert_eq!(held(&chain), "192.0.2.1 192.0.2.2 192.0.2.3 203.0.113.8");
        let kept = stock.keep_only(&"pbx".into(), &["192.0.2.1".parse().unwrap()].into());
        assert!(kept.is_err());
        assert_eq!(held(&chain), "192.0.2.1 203.0.113.8");
        assert!(run("iptables -S f2b-pbx").contains("-s 203.0.113.9/32 -j ACCEPT"));
        stock.remove().unwrap();

        // A set without ranges takes no prefix: it is refused for good, the others are in.
        let table = table_of("type ipv4_addr");
        let mut stock = open(&table);
        let bans = ["+192.0.2.1", "+198.51.100.0/24", "+192.0.2.2"];
        assert_eq!(order(&mut stock, &bans), ["198.51.100.0/24!"]);
        assert_eq!(held(&table), "192.0.2.1 192.0.2.2");
        stock.remove().unwrap();
        let table = table_of("type ipv4_addr ; flags interval");
        let mut stock = open(&table);
        assert_eq!(order(&mut stock, &bans), [""; 0]);
        // One that lies in another is refused by the kernel, alone.
        assert_eq!(order(&mut stock, &["+192.0.2.3", "+198.51.100.7", "+192.0.2.4"]), ["198.51.100.7!"]);
        assert_eq!(held(&table), "192.0.2.1 192.0.2.2 192.0.2.3 192.0.2.4 198.51.100.0/24");
        stock.remove().unwrap();

        // The kernel makes hosts of a prefix.
        let set = set_of(Timeouts::Always(0));
        let mut stock = open(&set);
        assert_eq!(order(&mut stock, &["+198.51.100.0/30", "+198.51.100.9"]), [""; 0]);
        assert_eq!(stock.check().unwrap(), []);
        let mut stock = open(&set);
        stock.keep_only(&"pbx".into(), &["198.51.100.0/30".parse().unwrap()].into()).unwrap();
        assert_eq!(order(&mut stock, &["+198.51.100.0/30"]), [""; 0]);
        assert_eq!(stock.check().unwrap(), []);
        assert_eq!(held(&set).matches("198.51.100.").count(), 4);
        run("ipset del f2b-pbx 198.51.100.2");
        assert_eq!(stock.check().unwrap()[0].lost, ["198.51.100.0/30".parse().unwrap()].into());
        assert_eq!(order(&mut stock, &["+198.51.100.0/30", "-198.51.100.0/30"]), [""; 0]);
        assert_eq!((held(&set), stock.held(&"pbx".into()).len()), (String::new(), 0));
        stock.remove().unwrap();

        // From a set whose entries go before their bans, they may be gone.
        for (timeouts, is_missed) in [(Timeouts::Always(600), false), (Timeouts::Ban, true)] {
            let set = set_of(timeouts);
            let mut stock = open(&set);
            assert_eq!(order(&mut stock, &["+192.0.2.1", "+192.0.2.2"]), [""; 0]);
            run("ipset del f2b-pbx 192.0.2.1");
            assert_eq!(!stock.check().unwrap().is_empty(), is_missed, "{timeouts:?}");
            assert_eq!(order(&mut stock, &["+192.0.2.1"]), [""; 0]);
            assert_eq!(held(&set), "192.0.2.1 192.0.2.2", "a new ban is laid on");
            stock.remove().unwrap();
        }

        // What cannot be taken away yet is not forgotten.
        let chain = chain_of("-j DROP");
        let mut stock = open(&chain);
        assert_eq!(order(&mut stock, &["+192.0.2.1"]), [""; 0]);
        run("iptables -I FORWARD -j f2b-pbx");
        let mut told = 0;
        stock.retain(&|_| false, &mut |_, _| told += 1);
        assert!(told == 1 && stock.has_litter() && stock.layouts() == chain);
        run("iptables -D FORWARD -j f2b-pbx");
        stock.sweep(&mut |_, error| panic!("{error}"));
        assert!(!stock.has_litter() && stock.layouts().is_empty());
        assert!(!dump().contains("pbx"), "{}", dump());

        // Lifted and laid, each rule is where it was.
        let chain = chain_of("-j DROP");
        let mut stock = open(&chain);
        assert_eq!(order(&mut stock, &["+192.0.2.1"]), [""; 0]);
        run("iptables -I INPUT 1 -p tcp --dport 22 -j ACCEPT");
        run("iptables -A INPUT -p tcp --dport 23 -j ACCEPT");
        let before = run("iptables -S INPUT");
        stock.lift().unwrap();
        assert!(!run("iptables -S INPUT").contains("-j f2b-pbx"));
        stock.lay().unwrap();
        assert_eq!(run("iptables -S INPUT"), before);
        run("iptables -F INPUT");
        stock.remove().unwrap();
        assert!(!dump().contains("pbx"), "{}", dump());
    }
}

/// What `iptables` and its kin are, with some that are refused the lock whenever it is about
/// a stock action's chain.
const LOCKED: &str = r#"#!/bin/bash
name=$(basename "$0")
input=
[[ $name == *-restore ]] && input=$(cat)
if [[ " REFUSED " == *" $name "* && "$name $* $input" == *@(f2b-|-save)* ]]; then
  ENDS
fi
[[ $name == *-restore ]] && exec FOLDER/$name "$@" <<<"$input"
exec FOLDER/$name "$@"
"#;

/// Has the programs say that the lock is held while `meanwhile` is done.
fn with_refused(lab: &mut Lab, refused: &str, meanwhile: impl FnOnce(&mut Lab)) {
    let ends = "echo 'Another app is currently holding the xtables lock.' >&2; exit 4";
    with_ends(lab, refused, ends, meanwhile);
}

/// Puts the script in the programs' place while `meanwhile` is done.
fn with_ends(lab: &mut Lab, refused: &str, ends: &str, meanwhile: impl FnOnce(&mut Lab)) {
    let real = lab.path("real");
    let program = fs::canonicalize("/usr/sbin/iptables").unwrap();
    if !real.exists() {
        fs::create_dir(&real).unwrap();
        let copy = real.join("multi");
        fs::copy(&program, &copy).unwrap();
        for name in ["iptables", "ip6tables"] {
            for kind in ["", "-save", "-restore"] {
                std::os::unix::fs::symlink(&copy, real.join(format!("{name}{kind}"))).unwrap();
            }
        }
    }
    let script = LOCKED.replace("FOLDER", &real.display().to_string());
    let locked = lab.path("locked");
    fs::write(
        &locked,
        script.replace("REFUSED", refused).replace("ENDS", ends),
    )
    .unwrap();
    fs::set_permissions(&locked, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    run(&format!(
        "mount --bind {} {}",
        locked.display(),
        program.display()
    ));
    meanwhile(lab);
    // Whoever has begun to run the script ends it.
    run(&format!("umount --lazy {}", program.display()));
}

/// Waits until `status` says so, or no longer does.
fn with_status(lab: &Lab, words: &str, is_said: bool) {
    lab.wait(words, || {
        lab.ringfence(&["status"]).contains(words) == is_said
    });
}

/// Has the database be of another version, which nobody reads; says which one it was of.
fn set_version(lab: &Lab, version: &str) -> String {
    let database = rusqlite::Connection::open(lab.path("db.sqlite3")).unwrap();
    let get = "SELECT value FROM ringfence_facts WHERE name = 'version'";
    let before = database.query_row(get, [], |row| row.get(0)).unwrap();
    let set = "UPDATE ringfence_facts SET value = ?1 WHERE name = 'version'";
    database.execute(set, [version]).unwrap();
    before
}

namespaced! {
    fn programs_that_fail_at_start_cost_no_ban() {
        run("ip link set lo up");
        let jails = JAILS.split("[all]").next().unwrap().to_owned();
        let mut lab = Lab::new(&(jails + "[nft]\naction = nftables-allports\n"));
        let bans = |lab: &Lab| {
            let database = rusqlite::Connection::open(lab.path("db.sqlite3")).unwrap();
            let count = "SELECT count(*) FROM bips WHERE jail = 'multi' AND ip = '192.0.2.1'";
            database.query_row(count, [], |row| row.get::<_, i64>(0)).unwrap_or(0)
        };
        let is_refused = |lab: &Lab| {
            lab.wait_for("the refusal", || running::said(lab.folder.path()).contains("xtables lock"));
        };
        lab.start_ringfence();
        lab.ringfence(&["ban", "--jail", "multi", "192.0.2.1"]);
        lab.wait("the ban", || count("192.0.2.1") == 1 && bans(&lab) == 1);

        // A pause that fails at one jail's rules lifts no other's.
        lab.ringfence(&["ban", "--jail", "nft", "198.51.100.1"]);
        let is_laid = || {
            let tables = run("nft list tables");
            tables.contains("f2b-table") && run("nft list table inet f2b-table").contains("@addr-set-nft ")
        };
        lab.wait("the table", is_laid);
        with_refused(&mut lab, "iptables iptables-restore", |lab| {
            let said = lab.try_ringfence(&["pause", "10m"]).unwrap_err();
            assert!(said.contains("xtables lock"), "{said}");
            lab.wait("its drops", is_laid);
            // A ban that cannot be laid on is told as long as that lasts, and not given up.
            lab.ringfence(&["ban", "--jail", "multi", "192.0.2.3"]);
            with_status(lab, "could not be laid on yet", true);
        });
        lab.wait("the ban that waited", || count("192.0.2.3") == 1);
        with_status(&lab, "could not be laid on yet", false);
        lab.ringfence(&["unban", "192.0.2.3"]);
        lab.wait("the unban", || count("192.0.2.3") == 0);
        lab.terminate();

        // What stands there cannot be read: it is not made anew over it.
        with_refused(&mut lab, "iptables iptables-save", |lab| {
            lab.start_ringfence();
            is_refused(lab);
        });
        lab.ringfence(&["ban", "--jail", "multi", "192.0.2.2"]);
        lab.wait("the other ban", || count("192.0.2.2") == 1);
        assert_eq!((bans(&lab), count("192.0.2.1")), (1, 1));
        let jumps = "-p tcp -m multiport --dports 22,5060:5061 -j f2b-multi";
        assert_eq!(run("iptables -S INPUT").matches(jumps).count(), 1);
        lab.terminate();

        // It is gone, and cannot be put back yet.
        run("iptables -F");
        with_refused(&mut lab, "iptables-restore", |lab| {
            lab.start_ringfence();
            is_refused(lab);
            lab.terminate();
            assert_eq!((bans(lab), count("192.0.2.1")), (1, 0));
        });
        lab.start_ringfence();
        lab.wait("the bans again", || count("192.0.2.1") + count("192.0.2.2") == 2);
        lab.terminate();

        // The database cannot be read: nobody knows who is banned, so all stay. Whom it does
        // not know goes as soon as it can be.
        for host in [98, 99] {
            run(&format!("iptables -I f2b-multi 1 -s 192.0.2.{host} -j REJECT"));
        }
        let known = set_version(&lab, "2000");
        lab.start_ringfence();
        let all = ["192.0.2.1", "192.0.2.2", "192.0.2.98", "192.0.2.99"].map(count);
        assert_eq!(all, [1, 1, 1, 1], "{}", running::said(lab.folder.path()));
        // Who is pardoned goes all the same.
        lab.ringfence(&["unban", "192.0.2.98"]);
        lab.wait("the unban", || count("192.0.2.98") == 0);
        set_version(&lab, &known);
        lab.wait("the unknown one's end", || count("192.0.2.99") == 0);
        assert_eq!([count("192.0.2.1"), count("192.0.2.2")], [1, 1]);
        lab.ringfence(&["unban", "192.0.2.1"]);
        lab.wait("the unban", || count("192.0.2.1") == 0);
        lab.terminate();

        // It may be neither read nor written: nobody will ever know, so whom only the kernel
        // holds is taken over.
        let (path, hidden) = (lab.path("db.sqlite3"), lab.path("hidden.sqlite3"));
        fs::rename(&path, &hidden).unwrap();
        fs::create_dir(&path).unwrap();
        run("iptables -I f2b-multi 1 -s 192.0.2.98 -j REJECT");
        lab.start_ringfence();
        assert_eq!(["192.0.2.2", "192.0.2.98"].map(count), [1, 1], "{}", running::said(lab.folder.path()));
        let status = lab.ringfence(&["status"]);
        assert!(status.contains("  LOST BANS: the database ") && status.contains("192.0.2.98 "), "{status}");
        let is_told = || running::said(lab.folder.path()).contains("the database has lost bans that the kernel holds");
        lab.wait_for("the loss to be told", is_told);
        lab.ringfence(&["unban", "192.0.2.98"]);
        lab.wait("the unban", || count("192.0.2.98") == 0);
        lab.terminate();
        fs::remove_dir(&path).unwrap();
        fs::rename(&hidden, &path).unwrap();
        lab.start_ringfence();

        // Whoever asks something while a reload waits for the keeper, and he for a program, has
        // his answer meanwhile.
        let (held, hold) = (lab.path("held"), lab.path("hold"));
        fs::write(&hold, "").unwrap();
        let ends = format!("touch {}; while [[ -e {} ]]; do sleep 0.02; done; exit 4", held.display(), hold.display());
        with_ends(&mut lab, "iptables-save", &ends, |lab| {
            run("iptables -A FORWARD -p tcp --dport 9 -j ACCEPT");
            lab.wait("the keeper's look", || held.exists());
            lab.set_jails(&(JAILS.split("[all]").next().unwrap().to_owned() + "[late]\naction = ringfence\n"));
            let mut impatient = Client::connect_patient(&lab.path("socket"), Duration::from_millis(1)).unwrap();
            impatient.native::<Verb, Reloaded>(&Verb::Reload).unwrap_err();
            lab.ringfence(&["ban", "--jail", "multi", "192.0.2.6"]);
            let said = lab.try_ringfence(&["ban", "--jail", "late", "192.0.2.7"]).unwrap_err();
            assert!(said.contains("there is no jail `late`"), "{said}");
            let status = lab.ringfence(&["status"]);
            assert!(status.contains("FIREWALL: it is being put in order"), "{status}");
            fs::remove_file(&hold).unwrap();
            lab.wait("the reload", || lab.try_ringfence(&["ban", "--jail", "late", "192.0.2.7"]).is_ok());
        });

        // A program that does not end holds up neither who asks nor the end; what it has not
        // done the next start does.
        with_ends(&mut lab, "iptables-restore", "exec sleep 30", |lab| {
            lab.ringfence(&["ban", "--jail", "multi", "192.0.2.4"]);
            with_status(lab, "has not ended for a while", true);
            lab.terminate();
            let said = running::said(lab.folder.path());
            assert!(said.contains("is still at work and is left alone"), "{said}");
        });
        lab.start_ringfence();
        lab.wait("the ban", || count("192.0.2.4") == 1);
        lab.terminate();

        // A jail that cannot run for a mistake keeps what it has, also over a reload.
        lab.set_jails(&JAILS.split("[all]").next().unwrap().replace("[multi]", "[other]\naction = ringfence\n[multi]\nmaxretry = none"));
        lab.start_ringfence();
        lab.ringfence(&["reload"]);
        lab.ringfence(&["ban", "--jail", "other", "192.0.2.5"]);
        lab.wait("the reload's end", || running::said(lab.folder.path()).contains("192.0.2.5"));
        assert_eq!(count("192.0.2.4"), 1, "{}", running::said(lab.folder.path()));
        lab.ringfence(&["stop"]);
    }
}

/// Shows where the two differ.
fn check_same(theirs: &str, ours: &str) {
    if theirs != ours {
        let missing = theirs
            .lines()
            .filter(|line| !ours.lines().any(|other| other == *line));
        let more = ours
            .lines()
            .filter(|line| !theirs.lines().any(|other| other == *line));
        let missing: Vec<&str> = missing.collect();
        let more: Vec<&str> = more.collect();
        panic!("missing: {missing:#?}\nmore: {more:#?}\ntheirs:\n{theirs}\nours:\n{ours}");
    }
}
