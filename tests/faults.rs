//! Faults beneath the real program: a log that cannot be read, no descriptor left, a disk
//! that is full. Each stops only what it must, is said, and ends by itself.

#[path = "common/lab.rs"]
mod lab;
#[path = "common/namespace.rs"]
mod namespace;

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command};

use lab::{Lab, line, wait};
use namespace::run;

/// Writes so many failures of an address.
fn fail(log: &Path, addr: &str, times: usize) {
    let mut file = OpenOptions::new()
        .append(true)
        .create(true)
        .open(log)
        .unwrap();
    file.write_all(line(addr).repeat(times).as_bytes()).unwrap();
}

/// A jail that follows these logs.
fn follow(lab: &Lab, logs: &[&Path]) {
    let logs: Vec<String> = logs.iter().map(|log| log.display().to_string()).collect();
    let text = format!(
        "[asterisk]\nenabled = false\n[freeswitch]\nenabled = false\n[kamailio]\nmaxretry = 3\nlogpath = {}\n",
        logs.join("\n  ")
    );
    lab.write("jail.d/lab.conf", &text);
}

fn state(lab: &Lab, log: &Path) -> String {
    let status = lab.json(&["status"]);
    let logs = status["logs"].as_array().unwrap();
    let log = logs
        .iter()
        .find(|shown| shown["path"] == log.display().to_string());
    log.map_or_else(String::new, |log| log["state"].as_str().unwrap().to_owned())
}

/// A mount that is taken away with the test.
struct Mount(Child);

impl Drop for Mount {
    fn drop(&mut self) {
        let _ended = self.0.kill();
        let _ended = self.0.wait();
    }
}

namespaced! {
    fn a_mount_that_fails_is_read_on_when_it_is_well_again() {
        let mut lab = Lab::new("", "");
        let (folder, mount) = (lab.path("folder"), lab.path("mount"));
        fs::create_dir(&folder).unwrap();
        fs::create_dir(&mount).unwrap();
        let (behind, log, local) = (folder.join("log"), mount.join("log"), lab.path("kamailio.log"));
        fs::write(&behind, "").unwrap();
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/common/faulty.py");
        let server = Command::new("/usr/bin/python3").arg("-B").arg(script).arg(&folder).arg(&mount).spawn();
        let _mount = Mount(server.unwrap());
        wait("the mount", || log.exists(), || lab.log());
        follow(&lab, &[&log, &local]);
        lab.start();
        // Nobody tells of what is written there: the sweep finds it.
        fail(&behind, "198.51.100.1", 3);
        lab.wait_for_ban("198.51.100.1");
        fail(&behind, "198.51.100.2", 2);
        wait("the tries", || lab.json(&["status"])["jails"][0]["failing"] == 1, || lab.log());
        fs::write(folder.join("broken"), "").unwrap();
        fail(&behind, "198.51.100.3", 3);
        let is_told = || state(&lab, &log) == "unreadable: Input/output error (os error 5)";
        wait("the error", is_told, || state(&lab, &log) + &lab.log());
        fail(&local, "198.51.100.4", 3);
        lab.wait_for_ban("198.51.100.4");
        fail(&behind, "198.51.100.2", 1);
        fs::remove_file(folder.join("broken")).unwrap();
        for addr in ["198.51.100.3", "198.51.100.2"] {
            lab.wait_for_ban(addr);
        }
        assert_eq!(lab.json(&["status"])["banned"], 4, "no line counts twice");
        let said = lab.log();
        assert_eq!(said.matches("cannot be read: Input/output error").count(), 1, "{said}");
        assert!(said.contains("can be read again"), "{said}");
    }

    fn without_descriptors_what_is_open_is_read() {
        let mut lab = Lab::new("", "");
        let (old, new) = (lab.path("kamailio.log"), lab.path("new.log"));
        follow(&lab, &[&old, &new]);
        lab.start();
        fail(&old, "198.51.100.1", 3);
        lab.wait_for_ban("198.51.100.1");
        let pid = lab.daemon.as_ref().unwrap().id();
        // Its first descriptors are taken, and more it may not have.
        run(&format!("prlimit --pid {pid} --nofile=4:1024"));
        fail(&new, "198.51.100.2", 3);
        wait("the error", || lab.log().contains("new.log: cannot be read: Too many open files"), || lab.log());
        fail(&old, "198.51.100.3", 3);
        lab.wait_for_ban("198.51.100.3");
        assert!(!lab.is_blocked("ringfence-kamailio", "198.51.100.2"));
        run(&format!("prlimit --pid {pid} --nofile=1024:1024"));
        lab.wait_for_ban("198.51.100.2");
        assert_eq!(state(&lab, &new), "followed");
    }

    fn a_log_on_a_full_disk_goes_on_where_it_was_torn() {
        let mut lab = Lab::new("", "");
        let disk = lab.path("disk");
        fs::create_dir(&disk).unwrap();
        run(&format!("mount -t tmpfs -o size=64k tmpfs {}", disk.display()));
        let log = disk.join("log");
        follow(&lab, &[&log]);
        fail(&log, "198.51.100.1", 2);
        lab.start();
        let mut ballast = fs::File::create(disk.join("ballast")).unwrap();
        while ballast.write_all(&[0; 512]).is_ok() {}
        // The server writes what it can, as one that buffers does, and the rest later.
        let mut server = OpenOptions::new().append(true).open(&log).unwrap();
        let text = line("198.51.100.1") + &line("198.51.100.2").repeat(64);
        let mut written = 0;
        while let Ok(bytes) = server.write(&text.as_bytes()[written..]) {
            written += bytes;
        }
        assert!(written > 0 && written < text.len(), "{written} of {}", text.len());
        lab.wait_for_ban("198.51.100.1");
        drop(ballast);
        fs::remove_file(disk.join("ballast")).unwrap();
        server.write_all(&text.as_bytes()[written..]).unwrap();
        lab.wait_for_ban("198.51.100.2");
        wait("the end of the log", || {
            let shown = &lab.json(&["status"])["logs"][0];
            shown["offset"] == fs::metadata(&log).unwrap().len()
        }, || lab.log());
        let failures = lab.json(&["status"])["jails"][0]["failures_total"].as_u64().unwrap();
        assert_eq!(failures, 2 + 1 + 64);
    }

    fn a_file_under_a_bind_mount_is_read_once() {
        let mut lab = Lab::new("", "");
        let (folder, mount) = (lab.path("folder"), lab.path("mount"));
        fs::create_dir(&folder).unwrap();
        fs::create_dir(&mount).unwrap();
        run(&format!("mount --bind {} {}", folder.display(), mount.display()));
        let (log, again, linked) = (folder.join("log"), mount.join("log"), folder.join("linked"));
        fs::write(&log, "").unwrap();
        fs::hard_link(&log, &linked).unwrap();
        follow(&lab, &[&log, &again, &linked]);
        lab.start();
        fail(&again, "198.51.100.1", 2);
        fail(&linked, "198.51.100.2", 3);
        lab.wait_for_ban("198.51.100.2");
        let status = lab.json(&["status"]);
        let jail = &status["jails"][0];
        assert_eq!((&jail["failures_total"], &jail["banned"]), (&5.into(), &1.into()));
    }
}
