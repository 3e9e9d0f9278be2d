//! `ipset` as the model has it: named sets with the options that they were made with.

use std::collections::BTreeMap;

use super::is_name;
use crate::action::Family;
use crate::addr::Addr;
use crate::config::stock::shell::Done;

/// One set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::config::stock) struct KernelSet {
    /// Type and options, as written.
    pub(in crate::config::stock) made: Vec<String>,
    /// What is in it, and the time-out that was given to it.
    pub(in crate::config::stock) entries: BTreeMap<Addr, Option<i64>>,
}

/// All sets, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::config::stock) struct Sets {
    pub(in crate::config::stock) sets: BTreeMap<String, KernelSet>,
}

impl Sets {
    /// `None`: the command is not known.
    pub(super) fn run(&mut self, arguments: &[&str], family: Family) -> Option<Done> {
        let is_exist = |word: &&str| matches!(*word, "-exist" | "-!" | "--exist");
        let exist = arguments.iter().any(is_exist);
        let words: Vec<&str> = arguments.iter().copied().filter(|w| !is_exist(w)).collect();
        let (verb, name, rest) = match words.as_slice() {
            [verb, name, rest @ ..] if is_name(name) => (verb.trim_start_matches('-'), *name, rest),
            _ => return None,
        };
        match (verb, rest) {
            ("create" | "N", made) => {
                let is_new = !self.sets.contains_key(name);
                if is_new {
                    let made = read_made(made, family)?;
                    let entries = BTreeMap::new();
                    self.sets
                        .insert(name.to_owned(), KernelSet { made, entries });
                }
                Some(Done::quietly(is_new || exist))
            }
            ("destroy" | "X", []) => Some(Done::quietly(self.sets.remove(name).is_some())),
            ("flush" | "F", []) => {
                let set = self.sets.get_mut(name);
                Some(Done::quietly(set.map(|set| set.entries.clear()).is_some()))
            }
            ("add" | "A", [addr, timeout @ ..]) => {
                let addr: Addr = addr.parse().ok()?;
                let timeout = match timeout {
                    [] => None,
                    ["timeout", secs] => Some(secs.parse().ok()?),
                    _ => return None,
                };
                let entries = &mut self.sets.get_mut(name)?.entries;
                let is_new = entries.insert(addr, timeout).is_none();
                Some(Done::quietly(is_new || exist))
            }
            ("del" | "D", [addr]) => {
                let addr: Addr = addr.parse().ok()?;
                let entries = &mut self.sets.get_mut(name)?.entries;
                Some(Done::quietly(entries.remove(&addr).is_some() || exist))
            }
            ("test" | "T", [addr]) => {
                let addr: Addr = addr.parse().ok()?;
                let entries = &self.sets.get(name)?.entries;
                Some(Done::quietly(entries.contains_key(&addr)))
            }
            _ => None,
        }
    }
}

/// The type and the options of a set, in any order; the type comes first in what is given.
pub(super) fn read_made(words: &[&str], family: Family) -> Option<Vec<String>> {
    let (mut kind, mut options, mut rest) = (None, Vec::new(), words);
    let mut is_ipv6 = false;
    loop {
        rest = match rest {
            [] => break,
            [
                name @ ("hash:ip" | "hash:net" | "iphash" | "nethash"),
                more @ ..,
            ] if kind.is_none() => {
                kind = Some(match *name {
                    "iphash" => "hash:ip",
                    "nethash" => "hash:net",
                    name => name,
                });
                more
            }
            ["family", word, more @ ..] => {
                is_ipv6 = *word == "inet6";
                options.extend(["family", *word]);
                more
            }
            [
                option @ ("timeout" | "maxelem" | "hashsize"),
                number,
                more @ ..,
            ] if number.parse::<u32>().is_ok() => {
                options.extend([*option, *number]);
                more
            }
            [option @ ("counters" | "comment"), more @ ..] => {
                options.push(*option);
                more
            }
            _ => return None,
        };
    }
    let is_right = is_ipv6 == (family == Family::V6);
    let words = [kind?].into_iter().chain(options).map(str::to_owned);
    is_right.then(|| words.collect())
}
