//! A chain of iptables' with a rule for each address.
//!
//! A rule cannot be put in by netlink where iptables is the legacy one, and by its own
//! private form elsewhere; so bans go through `iptables-restore`, all that wait in one
//! run and one transaction.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::jumps::{self, LOCK, program};
use super::{ChainLayout, Change};
use crate::action::Family;
use crate::action::error::Error;
use crate::action::program::{must, run};
use crate::addr::Addr;

/// Who is in the chain; `None`: there is no such chain.
pub(super) fn read(layout: &ChainLayout, family: Family) -> Result<Option<BTreeSet<Addr>>, Error> {
    let arguments = [LOCK, &["-t", &layout.table, "-S", &layout.chain]].concat();
    let ended = run(program(family), &arguments, "")?;
    if !ended.success {
        return jumps::absence(program(family), &arguments, ended.said).map(|()| None);
    }
    Ok(Some(ended.output.lines().filter_map(source).collect()))
}

/// Whom a rule is about: `-A f2b-sshd -s 192.0.2.7/32 -j REJECT`.
fn source(rule: &str) -> Option<Addr> {
    let mut words = rule.split(' ').skip_while(|word| *word != "-s");
    words.nth(1)?.parse().ok()
}

/// Makes chain and jumps at once, or what is missing of them.
pub(super) fn make(layout: &ChainLayout, family: Family, is_there: bool) -> Result<(), Error> {
    if is_there {
        return jumps::ensure(&layout.table, &layout.jumps, family);
    }
    let mut script = format!("*{}\n:{} - [0:0]\n", layout.table, layout.chain);
    for rule in &layout.rules {
        let _ok = writeln!(script, "-A {} {}", layout.chain, rule.join(" "));
    }
    for jump in &layout.jumps {
        let _ok = writeln!(script, "-I {} {}", jump.chain, jump.words.join(" "));
    }
    restore(family, script + "COMMIT\n")
}

/// Puts rules in and takes rules out, all or none.
pub(super) fn change(
    layout: &ChainLayout,
    family: Family,
    changes: &[Change],
) -> Result<(), Error> {
    let (chain, target) = (&layout.chain, layout.target.join(" "));
    let mut script = format!("*{}\n", layout.table);
    for change in changes {
        let _ok = match change {
            Change::In(entry) => writeln!(script, "-I {chain} 1 -s {} {target}", entry.addr),
            Change::Out(addr) => writeln!(script, "-D {chain} -s {addr} {target}"),
        };
    }
    restore(family, script + "COMMIT\n")
}

/// Takes all of it away.
pub(super) fn remove(layout: &ChainLayout, family: Family) -> Result<(), Error> {
    jumps::remove(&layout.table, &layout.jumps, family)?;
    for verb in ["-F", "-X"] {
        let arguments = [LOCK, &["-t", &layout.table, verb, &layout.chain]].concat();
        let ended = run(program(family), &arguments, "")?;
        if !ended.success {
            jumps::absence(program(family), &arguments, ended.said)?;
        }
    }
    Ok(())
}

fn restore(family: Family, script: String) -> Result<(), Error> {
    let program = match family {
        Family::V4 => "iptables-restore",
        Family::V6 => "ip6tables-restore",
    };
    must(program, &[LOCK, &["--noflush"]].concat(), &script).map(drop)
}
