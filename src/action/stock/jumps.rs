//! Rules of iptables' in somebody else's chain, by which a jail's bans count.

use super::Rule;
use crate::action::Family;
use crate::action::error::Error;
use crate::action::program::{must, run};

/// How long iptables waits for another iptables to finish.
pub(super) const LOCK: &[&str] = &["-w", "10"];

/// Copies of a rule that are taken away.
const COPIES_MAX: usize = 16;

/// iptables for this family.
pub(super) fn program(family: Family) -> &'static str {
    match family {
        Family::V4 => "iptables",
        Family::V6 => "ip6tables",
    }
}

/// Is this complaint only that the chain or rule is not there? Otherwise it is the error.
pub(super) fn absence(program: &str, arguments: &[&str], said: String) -> Result<(), Error> {
    let words = [
        "No chain/target/match",
        "does a matching rule exist",
        "doesn't exist",
        "does not exist",
        "is incompatible, use 'nft' tool", // said by iptables 1.8.9 of a chain that is not there
    ];
    match words.iter().any(|word| said.contains(word)) {
        true => Ok(()),
        false => Err(Error::Rule {
            command: format!("{program} {}", arguments.join(" ")),
            said,
        }),
    }
}

fn arguments<'a>(table: &'a str, verb: &'a str, rule: &'a Rule) -> Vec<&'a str> {
    let words = rule.words.iter().map(String::as_str);
    let mut arguments = [LOCK, &["-t", table, verb, &rule.chain]].concat();
    arguments.extend(words);
    arguments
}

/// Puts those on top that are not there, in their order.
pub(super) fn ensure(table: &str, rules: &[Rule], family: Family) -> Result<(), Error> {
    for rule in rules {
        if !run(program(family), &arguments(table, "-C", rule), "")?.success {
            must(program(family), &arguments(table, "-I", rule), "")?;
        }
    }
    Ok(())
}

/// Takes them away, as often as they are there.
pub(super) fn remove(table: &str, rules: &[Rule], family: Family) -> Result<(), Error> {
    for rule in rules {
        let arguments = arguments(table, "-D", rule);
        for _ in 0..COPIES_MAX {
            let ended = run(program(family), &arguments, "")?;
            if !ended.success {
                absence(program(family), &arguments, ended.said)?;
                break;
            }
        }
    }
    Ok(())
}
