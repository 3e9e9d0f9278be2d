//! Tests that need a firewall of their own.
//!
//! A [`namespaced!`] test runs itself again as root of fresh user, network and mount
//! namespaces, where it may do to firewall and mounts what it likes and nobody else
//! sees it. It needs `unshare` and a kernel that lets users have namespaces.

use std::process::Command;

/// Set in the environment of the inner run.
const INSIDE: &str = "RINGFENCE_TEST_NAMESPACE";

/// Runs the test at `path` (crate, modules, name) of this program again inside of a
/// namespace. Returns false there, where the test's body is to be run, and true outside,
/// when it has been run.
pub(crate) fn was_run_inside(path: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return false;
    }
    let (_, name) = path.split_once("::").expect("a crate before the name");
    let program = std::env::current_exe().expect("our own path");
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--net", "--mount", "--"])
        .arg(program)
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env(INSIDE, "1")
        .output()
        .expect("`unshare` is needed (package util-linux)");
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && stdout.contains("1 passed"),
        "inside of the namespace:\n{stdout}\n{stderr}"
    );
    true
}

/// Defines tests that run in a namespace of their own.
#[macro_export]
macro_rules! namespaced {
    ($($(#[$meta:meta])* fn $name:ident() $body:block)*) => {
        $(
            $(#[$meta])*
            #[test]
            fn $name() {
                if !$crate::namespace::was_run_inside(concat!(module_path!(), "::", stringify!($name))) {
                    $body
                }
            }
        )*
    };
}

/// Runs a program to its end and returns what it printed; it must succeed.
pub(crate) fn run(command: &str) -> String {
    let mut words = command.split_whitespace();
    let program = words.next().expect("a program");
    let output = Command::new(program)
        .args(words)
        .output()
        .unwrap_or_else(|error| panic!("`{command}`: {error}"));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "`{command}`: {stderr}");
    String::from_utf8(output.stdout).expect("text")
}
