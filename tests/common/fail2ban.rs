//! A program of the installed fail2ban, run many times: `runs_fail2ban.py` has loaded it.
#![allow(dead_code)] // not every test needs all of it

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// The Python for which Debian installs fail2ban.
const PYTHON: &str = "/usr/bin/python3";

/// Runs it, again and again.
pub(crate) struct Fail2ban {
    process: Child,
    /// Closed, it ends.
    requests: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

/// What a run came to.
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Fail2ban {
    /// For programs of this module, which find these in their environment.
    pub(crate) fn start(module: &str, environment: &[(&str, &str)]) -> Fail2ban {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/common/runs_fail2ban.py");
        let mut process = Command::new(PYTHON)
            .arg("-B")
            .arg(script)
            .arg(module)
            .envs(environment.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 and fail2ban must be installed: tests/install");
        Fail2ban {
            requests: process.stdin.take(),
            answers: BufReader::new(process.stdout.take().unwrap()),
            process,
        }
    }

    /// Runs a program in this folder.
    pub(crate) fn run(&mut self, folder: &Path, program: &str, words: &[&str]) -> Ran {
        let folder = folder.to_str().expect("a folder");
        let request = serde_json::json!([&[folder, program], words].concat());
        let mut requests = self.requests.as_ref().unwrap();
        writeln!(requests, "{request}").expect("it runs");
        let mut head = String::new();
        self.answers.read_line(&mut head).unwrap();
        let numbers: Vec<i32> = head
            .split_whitespace()
            .map(|n| n.parse().unwrap())
            .collect();
        let [code, stdout, stderr] = numbers[..] else {
            panic!("fail2ban must be installed (tests/install): {head:?}")
        };
        let mut read = |bytes: i32| {
            let mut text = vec![0; bytes as usize];
            self.answers.read_exact(&mut text).unwrap();
            String::from_utf8_lossy(&text).into_owned()
        };
        Ran {
            code,
            stdout: read(stdout),
            stderr: read(stderr),
        }
    }
}

impl Drop for Fail2ban {
    fn drop(&mut self) {
        self.requests = None;
        let _ended = self.process.wait();
    }
}
