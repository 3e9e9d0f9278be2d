//! What becomes of a tree's chains and sets when the daemon is gone: `ringfence stop` and the
//! next run are told nothing of the tree that the last one was given by `-c`.

#[path = "common/lab.rs"]
mod lab;
#[path = "common/namespace.rs"]
mod namespace;

use std::fs;

use lab::{Lab, wait};
use namespace::run;

/// A lab with a tree that bans by fail2ban's stock actions, and has a database of its own.
fn lab() -> Lab {
    let lab = Lab::new("", "maxretry = 3");
    for folder in ["tree/filter.d", "tree/jail.d"] {
        fs::create_dir_all(lab.path(folder)).unwrap();
    }
    std::os::unix::fs::symlink("/etc/fail2ban/action.d", lab.path("tree/action.d")).unwrap();
    let folder = lab.folder.path().display();
    lab.write(
        "tree/fail2ban.conf",
        &format!("[Definition]\ndbfile = {folder}/theirs.sqlite3\n"),
    );
    lab.write(
        "tree/filter.d/logins.conf",
        "[Definition]\nfailregex = ^ login failed from <HOST>$\n",
    );
    lab.write(
        "tree/jail.conf",
        &format!(
            "[DEFAULT]\nenabled = true\nfilter = logins\nlogpath = {folder}/kamailio.log\n\
             [chain]\naction = iptables-multiport[name=chain, port=5060, protocol=udp]\n\
             [set]\naction = iptables-ipset-proto6[name=set, port=5060, protocol=udp]\n"
        ),
    );
    lab
}

/// A tree's daemon bans somebody in each jail, and is ended as systemd ends it.
fn left_by_a_tree(lab: &mut Lab) {
    let tree = lab.path("tree").display().to_string();
    lab.start_with(&["-c", &tree]);
    for jail in ["chain", "set"] {
        lab.says(0, &["ban", "--jail", jail, "192.0.2.7"]);
    }
    wait("the bans", || stands(2), || lab.log());
    lab.signal("TERM");
    assert!(stands(2), "a restart has no gap");
}

/// Is there something of so many jails?
fn stands(jails: usize) -> bool {
    let rules = run("iptables -S");
    let chain = rules.contains("-A f2b-chain -s 192.0.2.7/32");
    let set = rules.contains("--match-set f2b-set ");
    usize::from(chain) + usize::from(set) == jails
}

/// Nothing of the tree's is in the kernel.
fn is_clean() -> bool {
    !run("iptables -S").contains("f2b-") && !run("ipset list -n").contains("f2b-")
}

namespaced! {
    fn a_stop_finds_what_a_tree_has_left() {
        for words in [&["stop"][..], &["stop", "--purge"]] {
            let mut lab = lab();
            left_by_a_tree(&mut lab);
            assert!(lab.says(0, words).contains("no daemon runs"));
            assert!(is_clean(), "{words:?}: {}{}", run("iptables -S"), run("ipset list -n"));

            // It is done, so another stop leaves alone what somebody else makes since.
            run("iptables -N f2b-chain");
            lab.says(0, words);
            assert!(!is_clean(), "it is not ours");
            run("iptables -X f2b-chain");
        }
    }

    fn a_stop_needs_no_configuration_that_can_run() {
        let mut lab = lab();
        left_by_a_tree(&mut lab);
        fs::remove_dir_all(lab.path("tree")).unwrap();
        lab.write("jail.d/lab.conf", "[kamailio]\nmaxretry = many\n");
        lab.says(0, &["stop"]);
        assert!(is_clean(), "{}", run("iptables -S"));
    }

    fn a_run_without_the_tree_takes_its_objects_away() {
        let mut lab = lab();
        left_by_a_tree(&mut lab);
        lab.start_with(&["--dry-run"]);
        lab.signal("TERM");
        assert!(stands(2), "a dry run touches nothing");
        lab.start();
        assert!(is_clean(), "{}", run("iptables -S"));
    }
}
