//! A chain of iptables' with a rule for each address.
//!
//! A rule cannot be put in by netlink where iptables is the legacy one, and by its own
//! private form elsewhere; so bans go through `iptables-restore`, all that wait in one
//! run and one transaction.

use std::fmt::Write;

use super::jumps::{self, Jumps, LOCK, program};
use super::ruleset::{Rulesets, Saved};
use super::{ChainLayout, Change};
use crate::action::error::Error;
use crate::action::program::{must, run};
use crate::action::{Family, Kept};

impl ChainLayout {
    pub(super) fn jumps(&self, family: Family) -> Jumps<'_> {
        Jumps {
            family,
            table: &self.table,
            rules: &self.jumps,
            target: vec!["-j", &self.chain],
            name: &self.chain,
        }
    }
}

/// Who is in the chain; `None`: there is no such chain.
pub(super) fn read(
    layout: &ChainLayout,
    family: Family,
    rulesets: &mut Rulesets,
) -> Result<Option<Vec<Kept>>, Error> {
    let ruleset = rulesets.of(family, &layout.table)?;
    let rules = ruleset.of_chain(&layout.chain);
    let there = ruleset.has_chain(&layout.chain);
    Ok(there.then(|| rules.filter_map(|rule| kept(rule, layout)).collect()))
}

/// Whom a rule bans: `-s 192.0.2.7/32 -j REJECT`. A rule about an address that does
/// something else is not ours.
fn kept(rule: &Saved, layout: &ChainLayout) -> Option<Kept> {
    let mut words = rule.words();
    let addr = words
        .next()
        .filter(|word| *word == "-s")
        .and(words.next())?;
    let target: Vec<&str> = layout.target.iter().map(String::as_str).collect();
    let found: Vec<&str> = words.collect();
    // iptables prints more than it was told (`--reject-with`), and names as numbers.
    let does = |words: &[&str]| {
        let place = words.iter().position(|word| *word == "-j");
        place.and_then(|place| {
            words
                .get(place + 1)
                .map(|word| (place == 0, (*word).to_owned()))
        })
    };
    (does(&found) == does(&target)).then_some(())?;
    Some(Kept {
        addr: addr.parse().ok()?,
        timeout_secs: 0,
        packets: rule.packets,
        bytes: rule.bytes,
    })
}

/// Has it lost the rules that it ends in?
pub(super) fn has_lost_end(
    layout: &ChainLayout,
    family: Family,
    rulesets: &mut Rulesets,
) -> Result<bool, Error> {
    let ruleset = rulesets.of(family, &layout.table)?;
    let rules = ruleset.of_chain(&layout.chain);
    let ends = rules
        .filter(|rule| rule.words().next() != Some("-s"))
        .count();
    Ok(ends < layout.rules.len())
}

/// Makes the chain at once, with the rules that it ends in and the jumps if it shall have them.
pub(super) fn make(layout: &ChainLayout, family: Family, jumps: bool) -> Result<(), Error> {
    let mut script = format!("*{}\n:{} - [0:0]\n", layout.table, layout.chain);
    write_end(&mut script, layout);
    for jump in layout.jumps.iter().filter(|_| jumps) {
        let _ok = writeln!(script, "-I {} {}", jump.chain, jump.words.join(" "));
    }
    restore(family, script + "COMMIT\n")
}

/// Puts the rules in again that it ends in.
pub(super) fn mend(layout: &ChainLayout, family: Family) -> Result<(), Error> {
    let mut script = format!("*{}\n", layout.table);
    write_end(&mut script, layout);
    restore(family, script + "COMMIT\n")
}

fn write_end(script: &mut String, layout: &ChainLayout) {
    for rule in &layout.rules {
        let _ok = writeln!(script, "-A {} {}", layout.chain, rule.join(" "));
    }
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
    layout.jumps(family).remove()?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::action::stock::ruleset::Ruleset;

    #[test]
    fn only_rules_of_ours_are_bans() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect();
        let layout = |target: &str| ChainLayout {
            table: "filter".to_owned(),
            chain: "f2b-pbx".to_owned(),
            rules: vec![words("-j RETURN")],
            jumps: Vec::new(),
            target: words(target),
        };
        for (target, rule, is_ban) in [
            ("-j DROP", "-s 192.0.2.7/32 -j DROP", true),
            (
                "-j REJECT",
                "-s 192.0.2.7/32 -j REJECT --reject-with icmp-port-unreachable",
                true,
            ),
            (
                "-p udp --dport sip -j DROP",
                "-s 192.0.2.7/32 -p udp -m udp --dport 5060 -j DROP",
                true,
            ),
            ("-j DROP", "-s 192.0.2.7/32 -j ACCEPT", false),
            ("-j DROP", "-s 192.0.2.7/32 -j RETURN", false),
            (
                "-j DROP",
                "-s 192.0.2.7/32 -p tcp -m tcp --dport 22 -j DROP",
                false,
            ),
            ("-j DROP", "! -s 192.0.2.7/32 -j DROP", false),
            ("-j DROP", "-j RETURN", false),
        ] {
            let ruleset = Ruleset::parse(&format!("[0:0] -A f2b-pbx {rule}\n"));
            let found: Vec<Kept> = ruleset
                .of_chain("f2b-pbx")
                .filter_map(|rule| kept(rule, &layout(target)))
                .collect();
            assert_eq!(!found.is_empty(), is_ban, "{target}: {rule}");
        }
    }
}
