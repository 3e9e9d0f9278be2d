//! The real program with a tree of fail2ban's, in a network namespace of its own: its
//! jails watch and judge as fail2ban would, and ban by ringfence's own action.

#[path = "common/namespace.rs"]
mod namespace;
#[path = "common/running.rs"]
mod running;

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command};

use namespace::run;
use running::is_banned;

const FILTER: &str = "[Definition]\nfailregex = ^\\s*login of <F-USER>\\S+</F-USER> failed from <HOST>$\n            ^\\s*attack by \\S+ failed from <SUBNET>$\n";

struct Lab {
    folder: tempfile::TempDir,
    daemon: Option<Child>,
}

impl Lab {
    /// A tree with one filter, and these jails.
    fn new(jails: &str) -> Lab {
        run("ip link set lo up");
        let lab = Lab {
            folder: tempfile::tempdir().expect("a folder"),
            daemon: None,
        };
        fs::create_dir_all(lab.path("tree/filter.d")).unwrap();
        lab.write("tree/filter.d/logins.conf", FILTER);
        lab.write(
            "tree/jail.conf",
            &jails.replace("@", &lab.path("").display().to_string()),
        );
        let (state, socket) = (lab.path("state"), lab.path("socket"));
        lab.write(
            "ringfence.toml",
            &format!("state_dir = {state:?}\nsocket = {socket:?}\n"),
        );
        lab
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    fn append(&self, name: &str, text: &str) {
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.path(name));
        log.unwrap().write_all(text.as_bytes()).unwrap();
    }

    fn fail(&self, log: &str, host: &str, times: usize) {
        self.append(log, &line(host).repeat(times));
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringfence"));
        command
            .arg("--config-dir")
            .arg(self.folder.path())
            .args(arguments);
        command
    }

    /// Starts the daemon on the tree, far from UTC, and waits until it is ready.
    fn start(&mut self) {
        let mut command = self.command(&["run", "-c"]);
        command.arg(self.path("tree")).env("TZ", "Asia/Tokyo");
        self.daemon = Some(running::start(&mut command, self.folder.path()));
    }

    fn said(&self) -> String {
        running::said(self.folder.path())
    }

    fn wait_for_ban(&self, jail: &str, addr: &str) {
        running::wait(addr, self.folder.path(), || is_banned(jail, addr));
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.daemon.iter_mut().for_each(running::end);
    }
}

/// A failure with the present date, in UTC.
fn line(host: &str) -> String {
    let now = jiff::Zoned::now()
        .with_time_zone(jiff::tz::TimeZone::UTC)
        .strftime("%Y-%m-%d %H:%M:%S");
    format!("{now} login of root failed from {host}\n")
}

namespaced! {
    fn a_tree_watches_and_judges() {
        let mut lab = Lab::new(
            "[DEFAULT]\nfilter = logins\nbackend = auto\nbanaction = ringfence\nmaxretry = 2\nfindtime = 10m\nbantime = 1h\n\
             logtimezone = UTC\naction = %(banaction)s[port=\"%(port)s\", protocol=tcp]\nport = ssh\n\
             ignoreip = 192.0.2.1\n\
             [one]\nenabled = true\nlogpath = @one.log\nignoreip = 192.0.2.1 192.0.2.2 trunk.test file:@trunks\n\
             [two]\nenabled = true\nlogpath = @two.log tail\nusedns = yes\n\
             [three]\nenabled = true\nlogpath = @three*.log\n\
             ignorecommand = echo \"<ip> <ip-rev> <F-USER>\" >> @asked; grep -q '^<ip>$' @known\n\
             [four]\nenabled = true\nlogpath = @one.log\naction = iptables-multiport\n\
             [five]\nenabled = true\nbackend = systemd\njournalmatch = kamailio\n",
        );
        lab.write("hosts", "127.0.0.1 localhost\n198.51.100.8 trunk.test\n198.51.100.9 bad.test\n2001:db8::9 bad.test\n");
        run(&format!("mount --bind {} /etc/hosts", lab.path("hosts").display()));
        lab.write("trunks", "198.51.100.7\n");
        lab.write("known", "192.0.2.3\n");
        fs::create_dir(lab.path("tree/action.d")).unwrap();
        lab.write("tree/action.d/iptables-multiport.conf", "[Definition]\nactionban = false\n");
        // What was written before the start counts in one, and does not in two.
        lab.fail("one.log", "203.0.113.1", 1);
        lab.fail("two.log", "203.0.113.1", 1);
        lab.start();
        for (jail, why) in [("four", "cannot be run by this version yet"), ("five", "`kamailio` is neither FIELD=value")] {
            let said = lab.said();
            let told = said.lines().any(|line| line.contains("PROBLEM") && line.contains(&format!("jail {jail}: ")) && line.contains(why));
            assert!(told, "{jail}: {why}: {said}");
        }

        for log in ["one.log", "two.log"] {
            for host in ["203.0.113.1", "203.0.113.2"] {
                lab.fail(log, host, 1);
            }
            lab.fail(log, "203.0.113.3", 2);
            lab.wait_for_ban(log.trim_end_matches(".log"), "203.0.113.3");
        }
        assert!(is_banned("one", "203.0.113.1") && !is_banned("one", "203.0.113.2"));
        assert!(!is_banned("two", "203.0.113.1"));

        // Ignored by all jails, by this one, by name, by a file.
        for addr in ["192.0.2.1", "192.0.2.2", "198.51.100.8", "198.51.100.7"] {
            lab.fail("one.log", addr, 3);
        }
        for addr in ["192.0.2.1", "192.0.2.2"] {
            lab.fail("two.log", addr, 3);
        }
        lab.fail("two.log", "bad.test", 2);
        lab.fail("two.log", "nobody.invalid", 2);
        lab.wait_for_ban("two", "192.0.2.2");
        lab.wait_for_ban("two", "198.51.100.9");
        lab.wait_for_ban("two", "2001:db8::9");
        assert!(!lab.said().contains("looked up, since a line names"), "usedns = yes is quiet");
        lab.fail("one.log", "bad.test", 2);
        lab.wait_for_ban("one", "198.51.100.9");
        let told = lab.said().matches("looked up, since a line names").count();
        assert_eq!(told, 1, "usedns = warn: {}", lab.said());
        lab.fail("one.log", "203.0.113.4", 2);
        lab.wait_for_ban("one", "203.0.113.4");
        for (jail, addr) in [("one", "192.0.2.1"), ("two", "192.0.2.1"), ("one", "192.0.2.2"), ("one", "198.51.100.8"), ("one", "198.51.100.7")] {
            assert!(!is_banned(jail, addr), "{jail} {addr}");
        }
        // fail2ban bans an address of IPv6, and not its network.
        assert!(!is_banned("two", "2001:db8::a"));

        lab.append("two.log", &line("198.51.100.64/26").replace("login of", "attack by").repeat(2));
        lab.wait_for_ban("two", "198.51.100.127");
        assert!(!is_banned("two", "198.51.100.128"));

        lab.append("three-a.log", &line("192.0.2.3").replace("root", "$(x)'`").repeat(3));
        lab.fail("three-b.log", "192.0.2.4", 2);
        lab.wait_for_ban("three", "192.0.2.4");
        let asked = fs::read_to_string(lab.path("asked")).unwrap();
        assert!(asked.starts_with(&"192.0.2.3 3.2.0.192. $(x)'`\n".repeat(3)), "{asked}");
        assert!(!is_banned("three", "192.0.2.3"));
        assert!(run("iptables -t raw -S").contains("ringfence"));
    }
}

namespaced! {
    /// Of the same names and addresses in six encodings, each jail finds those in its own.
    fn logs_in_other_encodings() {
        let mut lab = Lab::new(
            "[DEFAULT]\nenabled = true\nfilter = accents\nbackend = auto\naction = ringfence\nmaxretry = 2\nlogtimezone = UTC\n\
             [plain]\nlogpath = @plain.log\n\
             [latin]\nlogpath = @latin.log\nlogencoding = latin-1\n\
             [gbk]\nlogpath = @gbk.log\nlogencoding = gbk\n\
             [low]\nlogpath = @low.log\nlogencoding = utf-16-le\n\
             [mark]\nlogpath = @mark.log\nlogencoding = utf-16\n\
             [bad]\nlogpath = @latin.log\nlogencoding = klingon\n",
        );
        lab.write("tree/filter.d/accents.conf", "[Definition]\nfailregex = ^\\s*login of caf[é中] failed from <HOST>$\n");
        let text = |accent: &str| line("203.0.113.7").replace("root", &format!("caf{accent}"));
        let latin = |text: &str| text.chars().map(|char| u8::try_from(char).unwrap()).collect::<Vec<u8>>();
        let low = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
        let high = |text: &str| text.encode_utf16().flat_map(u16::to_be_bytes).collect::<Vec<u8>>();
        let gbk = |text: &str| {
            let (before, behind) = text.split_once('中').unwrap();
            [before.as_bytes(), b"\xd6\xd0", behind.as_bytes()].concat()
        };
        let folder = lab.path("");
        let append = |name: &str, bytes: &[u8]| {
            let log = OpenOptions::new().create(true).append(true).open(folder.join(name));
            log.unwrap().write_all(bytes).unwrap();
        };
        // One line before the start, which is looked for by its date, and one behind.
        append("mark.log", &high(&format!("\u{feff}{}", text("é"))));
        append("low.log", &low(&text("é")));
        append("latin.log", &latin(&text("é")));
        lab.start();
        let said = lab.said();
        assert!(said.contains("jail bad: logencoding = klingon: this encoding is not known; write auto"), "{said}");
        append("mark.log", &high(&text("é")));
        append("low.log", &low(&text("é")));
        append("latin.log", &latin(&text("é")));
        append("gbk.log", &gbk(&text("中")).repeat(2));
        append("plain.log", &latin(&text("é")).repeat(2)); // no UTF-8
        append("plain.log", text("中").as_bytes());
        append("plain.log", text("é").as_bytes());
        for jail in ["latin", "gbk", "low", "mark", "plain"] {
            lab.wait_for_ban(jail, "203.0.113.7");
        }
        append("plain.log", &latin(&line("203.0.113.8").replace("root", "caf\u{ff}")).repeat(2));
        append("plain.log", text("é").replace(".7", ".9").repeat(2).as_bytes());
        lab.wait_for_ban("plain", "203.0.113.9");
        assert!(!is_banned("plain", "203.0.113.8"));
        let told = lab.said().matches("has bytes that are no text in this encoding").count();
        assert_eq!(told, 1, "once a day: {}", lab.said());
    }
}

namespaced! {
    /// Three of a network are banned, and so it is; whom we protect passes the kernel's door.
    fn a_network_is_banned_around_a_protected_host() {
        let mut lab = Lab::new(
            "[DEFAULT]\nenabled = true\nfilter = logins\naction = ringfence\nmaxretry = 1\nlogtimezone = UTC\n\
             [one]\nlogpath = @one.log\naggregate = 2\n[two]\nlogpath = @one.log\n\
             [bad]\nlogpath = @one.log\naggregate = many\n",
        );
        let settings = fs::read_to_string(lab.path("ringfence.toml")).unwrap();
        lab.write("ringfence.toml", &format!("protect = [\"203.0.113.9\"]\n{settings}"));
        lab.start();
        assert!(lab.said().contains("jail bad: aggregate = many: it is a number"), "{}", lab.said());
        for host in ["203.0.113.1", "203.0.113.2", "203.0.113.9"] {
            lab.fail("one.log", host, 1);
        }
        lab.wait_for_ban("one", "203.0.113.2");
        assert!(!is_banned("one", "203.0.113.200"));
        for prefix in ["203.0.113.3", "2001:db8:1:1::1", "2001:db8:1:2::1", "2001:db8:1:3::1"] {
            lab.fail("one.log", prefix, 1);
        }
        lab.wait_for_ban("one", "203.0.113.200");
        lab.wait_for_ban("one", "2001:db8:1:ffff::1");
        assert!(!is_banned("one", "203.0.114.1") && !is_banned("two", "203.0.113.200"));
        run("ipset test ringfence-allow 203.0.113.9");
        let mut daemon = lab.daemon.take().unwrap();
        run(&format!("kill -TERM {}", daemon.id()));
        daemon.wait().unwrap();
        run("ipset flush ringfence-one");
        lab.start();
        assert!(is_banned("one", "203.0.113.200"), "from the database");
    }
}

namespaced! {
    fn lines_come_by_sockets_and_pipes_too() {
        let mut lab = Lab::new(
            "[DEFAULT]\naction = ringfence\nmaxretry = 2\nfilter = logins\nbackend = auto\nlogtimezone = UTC\nenabled = true\n\
             [one]\nlogpath = unix:@one.sock\n[two]\nlogpath = @pipe\n[three]\nlogpath = -\n          @three.log\n",
        );
        run(&format!("mkfifo {}", lab.path("pipe").display()));
        lab.append("three.log", "");
        lab.start();
        let socket = std::os::unix::net::UnixDatagram::unbound().unwrap();
        for _ in 0..2 {
            socket.send_to(line("203.0.113.1").as_bytes(), lab.path("one.sock")).unwrap();
        }
        lab.fail("pipe", "203.0.113.2", 2);
        lab.fail("three.log", "203.0.113.3", 2); // beside a standard input that has ended
        for (jail, addr) in [("one", "203.0.113.1"), ("two", "203.0.113.2"), ("three", "203.0.113.3")] {
            lab.wait_for_ban(jail, addr);
        }
        assert!(lab.said().contains("-: has ended"), "{}", lab.said());
    }
}

namespaced! {
    fn recidive_is_shown_the_bans() {
        let mut lab = Lab::new(
            "[DEFAULT]\naction = ringfence\nmaxretry = 1\nfilter = logins\nbackend = polling\nlogtimezone = UTC\n\
             [one]\nenabled = true\nlogpath = @one.log\n\
             [two]\nenabled = true\nlogpath = @two.log\n\
             [recidive]\nenabled = true\nfilter = recidive\nlogpath = @fail2ban.log\nmaxretry = 2\nbantime = 1w\nfindtime = 1d\n\
             ignorecommand = echo <ip> >> @asked; test <ip> = 203.0.113.7\n",
        );
        // The stock filter itself, with what it includes.
        for name in ["recidive.conf", "common.conf"] {
            let stock = format!("/etc/fail2ban/filter.d/{name}");
            std::os::unix::fs::symlink(stock, lab.path("tree/filter.d").join(name)).unwrap();
        }
        let log = lab.path("fail2ban.log");
        lab.write("tree/fail2ban.conf", &format!("[Definition]\nlogtarget = {}\n", log.display()));
        lab.start();
        lab.fail("one.log", "203.0.113.1", 1);
        lab.wait_for_ban("one", "203.0.113.1");
        lab.fail("one.log", "203.0.113.2", 1);
        lab.wait_for_ban("one", "203.0.113.2");
        assert!(!is_banned("recidive", "203.0.113.2") && !is_banned("recidive", "203.0.113.1"));
        for log in ["one.log", "two.log"] {
            lab.fail(log, "203.0.113.7", 1); // whom the command knows
        }
        lab.wait_for_ban("two", "203.0.113.7");
        lab.fail("two.log", "203.0.113.1", 1);
        lab.wait_for_ban("recidive", "203.0.113.1");
        assert!(!is_banned("recidive", "203.0.113.7"));
        let asked = fs::read_to_string(lab.path("asked")).unwrap();
        assert_eq!(asked.matches("203.0.113.7\n").count(), 2, "{asked}");
        assert!(!is_banned("recidive", "203.0.113.2"), "banned once");
        assert!(!log.exists(), "no log in between");
    }
}

/// A jail with an action of fail2ban's own cannot run yet, and says why and where; ours
/// make room for the tree's jails.
#[test]
fn a_stock_action_is_refused_by_name_and_place() {
    let lab = Lab {
        folder: tempfile::tempdir().unwrap(),
        daemon: None,
    };
    fs::create_dir_all(lab.path("tree/filter.d")).unwrap();
    fs::create_dir_all(lab.path("tree/action.d")).unwrap();
    lab.write("tree/filter.d/logins.conf", FILTER);
    lab.write(
        "tree/action.d/drop.conf",
        "[Definition]\nactionban = true\n",
    );
    lab.write(
        "tree/jail.conf",
        "[DEFAULT]\nenabled = true\nfilter = logins\naction = ringfence\n\
         [idle]\nfilter =\nlogpath = /nowhere\n[one]\nlogpath = /nowhere\naction = drop\n[asterisk]\nlogpath = /nowhere\n",
    );
    let tree = lab.path("tree");
    lab.write("ringfence.toml", &format!("[fail2ban]\ntree = {tree:?}\n"));
    let output = lab.command(&["check"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        said.starts_with("jails that can run: kamailio, freeswitch, idle, asterisk\n"),
        "{said}"
    );
    for part in ["jail one", "drop", "jail.conf:10", "banaction = ringfence"] {
        assert!(said.contains(part), "{part}: {said}");
    }
}
