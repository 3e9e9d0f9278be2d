//! The life of the firewall under a running daemon: upgrades, pauses, and people and
//! programs that change it behind our back. With real sets, rules and packets.

#[path = "common/lab.rs"]
mod lab;
#[path = "common/namespace.rs"]
mod namespace;

use std::fs;
use std::net::UdpSocket;

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
}
