//! Our command stream against that of the real fail2ban, line for line.
//!
//! The oracle is Debian's `fail2ban-client -d`, which must be installed: without it these
//! tests fail, they do not skip. Trees are its own (as shipped, and with every jail
//! enabled), and generated ones. Where we differ on purpose the difference has a name:
//!
//! - `order of log files`: fail2ban gives the files of one pattern as the folder has
//!   them, we sort them.
//! - `version`: `%(fail2ban_version)s` is the release whose place we take.
//! - `isolation`: where fail2ban gives up as a whole, we refuse a jail and name the line.
//! - `given over conditional`: as since fail2ban 1.1 (gh-4069), an option given by the
//!   jail also replaces its variants such as `blocktype?family=inet6`.

mod client;
#[path = "../common/dice.rs"]
mod dice;
#[path = "../common/fail2ban.rs"]
mod fail2ban;
mod generate;

use std::fs;
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use client::{Answer, Client};
use ringfence::config::fail2ban::{FAIL2BAN_VERSION, Loaded, Roots, load, stream};
use ringfence::config::{ConfigError, ConfigErrorKind};

/// How many generated trees are compared.
const TREES: u64 = 300;

/// How many of them at a time, each by a fail2ban of its own.
const THREADS: usize = 2;

/// `RINGFENCE_TREES=300..5000` compares others than the usual ones.
fn seeds() -> Range<u64> {
    let Ok(text) = std::env::var("RINGFENCE_TREES") else {
        return 0..TREES;
    };
    let (from, to) = text.split_once("..").expect("FROM..TO");
    from.parse().expect("a number")..to.parse().expect("a number")
}

fn ours(folder: &Path) -> (Loaded, Vec<String>) {
    let loaded = load(&Roots::dir(folder));
    let lines = stream(&loaded).iter().map(ToString::to_string).collect();
    (loaded, lines)
}

/// Sorts neighbouring `addlogpath` commands: mask `order of log files`.
fn sorted_log_paths(mut lines: Vec<String>) -> Vec<String> {
    let is_path = |line: &String| line.contains(", 'addlogpath', ");
    let mut from = 0;
    while from < lines.len() {
        let run = lines[from..]
            .iter()
            .take_while(|line| is_path(line))
            .count();
        lines[from..from + run].sort();
        from += run.max(1);
    }
    lines
}

/// Mask `given over conditional`, for the one option of the stock tree that needs it:
/// what 1.0.2 sends, as later releases read it.
fn given_over_conditional(line: String) -> String {
    const GIVEN: &str = "['blocktype', 'RETURN']";
    const VARIANT: &str =
        ", ['blocktype?family=inet6', 'REJECT --reject-with icmp6-port-unreachable']";
    if line.contains(GIVEN) {
        line.replace(VARIANT, "").replace("<blocktype>", "RETURN")
    } else {
        line
    }
}

/// What differs, or nothing.
fn difference(client: &mut Client, folder: &Path) -> Option<String> {
    let (loaded, lines) = ours(folder);
    match client.ask(folder) {
        Answer::Stream {
            lines: theirs,
            version,
        } => {
            let theirs: Vec<String> = theirs
                .iter()
                .map(|line| line.replace(&version, FAIL2BAN_VERSION))
                .map(given_over_conditional)
                .collect();
            let (lines, theirs) = (sorted_log_paths(lines), sorted_log_paths(theirs));
            let place =
                (0..lines.len().max(theirs.len())).find(|&i| lines.get(i) != theirs.get(i))?;
            Some(format!(
                "line {}\n  ours:   {:?}\n  theirs: {:?}\n  our errors: {:#?}",
                place + 1,
                lines.get(place),
                theirs.get(place),
                loaded
                    .errors
                    .iter()
                    .map(ToString::to_string)
                    .collect::<Vec<_>>()
            ))
        }
        // Mask `isolation`. It must not pass without a word of ours.
        Answer::GaveUp(reason) => {
            let idle = |error: &ConfigError| {
                matches!(
                    *error.kind,
                    ConfigErrorKind::NoAction | ConfigErrorKind::NoFilter
                )
            };
            loaded
                .errors
                .iter()
                .all(idle)
                .then(|| format!("fail2ban gave up and we saw nothing wrong: {reason}"))
        }
    }
}

#[track_caller]
fn same(folder: &Path) {
    if let Some(difference) = difference(&mut Client::start(), folder) {
        panic!("{}: {difference}", folder.display());
    }
}

#[test]
fn the_stock_tree() {
    same(Path::new(client::STOCK));
}

#[test]
fn the_stock_tree_with_every_jail_enabled() {
    let folder = tempfile::tempdir().unwrap();
    client::copy(Path::new(client::STOCK), folder.path());
    let (loaded, _) = ours(folder.path());
    let jails = loaded
        .jails
        .iter()
        .map(|jail| &jail.name)
        .chain(&loaded.disabled);
    let mut enabled = String::new();
    for name in jails {
        enabled += &format!("[{name}]\nenabled = true\n");
    }
    fs::write(folder.path().join("jail.d/zz.local"), enabled).unwrap();
    let (loaded, lines) = ours(folder.path());
    assert!(loaded.jails.len() > 60, "{} jails", loaded.jails.len());
    assert!(lines.len() > 1_000, "{} lines", lines.len());
    same(folder.path());
}

#[test]
fn trees_as_phone_servers_have_them() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/trees");
    let trees: Vec<_> = fs::read_dir(folder).unwrap().flatten().collect();
    let trees = trees
        .iter()
        .map(|entry| entry.path())
        .filter(|path| path.is_dir());
    let trees: Vec<_> = trees.collect();
    assert!(trees.len() >= 3, "{trees:?}");
    trees.iter().for_each(|tree| same(tree));
}

#[test]
fn generated_trees() {
    let seeds = seeds();
    let trees = seeds.end - seeds.start;
    let next = AtomicU64::new(seeds.start);
    let (streams, errors) = (AtomicU64::new(0), AtomicU64::new(0));
    let work = || {
        let mut client = Client::start();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return;
            }
            let (long, clean) = generated_tree(&mut client, seed);
            streams.fetch_add(u64::from(long), Ordering::Relaxed);
            errors.fetch_add(u64::from(!clean), Ordering::Relaxed);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(work);
        }
    });
    let (streams, errors) = (streams.into_inner(), errors.into_inner());
    println!("{trees} trees, {streams} long streams, {errors} trees with errors");
    // A generator that breaks every tree, or none, tests nothing.
    assert!(streams > trees / 2, "{streams} long streams");
    assert!(errors > trees / 20, "{errors} trees with errors");
}

/// Compares one tree. Is its stream long, and is it clean?
fn generated_tree(client: &mut Client, seed: u64) -> (bool, bool) {
    let folder = tempfile::tempdir().unwrap();
    generate::tree(seed, folder.path());
    if let Some(difference) = difference(client, folder.path()) {
        let kept = folder.keep();
        panic!("tree {seed} (kept as {}): {difference}", kept.display());
    }
    let (loaded, lines) = ours(folder.path());
    (lines.len() > 20, loaded.is_clean())
}
