//! `nft` as the model has it: tables with chains and sets, and rules as their words.

use std::collections::{BTreeMap, BTreeSet};

use super::{is_list, is_name};
use crate::addr::Addr;
use crate::config::stock::shell::Done;

/// What the words of a rule may be, besides protocols, ports and the set.
const RULE_WORDS: &[&str] = &[
    "dport",
    "meta",
    "l4proto",
    "ip",
    "ip6",
    "saddr",
    "counter",
    "reject",
    "drop",
    "with",
    "icmp",
    "icmpv6",
    "icmpx",
    "type",
    "port-unreachable",
    "admin-prohibited",
    "host-prohibited",
    "tcp",
    "reset",
    "udp",
    "sctp",
    "dccp",
    "th",
    "{",
    "}",
];

/// A chain of a table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::config::stock) struct NftChain {
    /// What stands in its braces.
    pub(in crate::config::stock) made: String,
    /// Its rules by their handles.
    pub(in crate::config::stock) rules: BTreeMap<u32, String>,
}

/// A set of a table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::config::stock) struct NftSet {
    /// What stands in its braces.
    pub(in crate::config::stock) made: String,
    pub(in crate::config::stock) entries: BTreeSet<Addr>,
}

/// A table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::config::stock) struct NftTable {
    pub(in crate::config::stock) chains: BTreeMap<String, NftChain>,
    pub(in crate::config::stock) sets: BTreeMap<String, NftSet>,
}

/// All tables, by family and name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::config::stock) struct Nftables {
    pub(in crate::config::stock) tables: BTreeMap<(String, String), NftTable>,
}

impl Nftables {
    /// `None`: the command is not known.
    pub(super) fn run(&mut self, arguments: &[&str]) -> Option<Done> {
        // nft reads its arguments as one text.
        let text = arguments
            .join(" ")
            .replace(';', " ; ")
            .replace('{', " { ")
            .replace('}', " } ");
        let words: Vec<&str> = text.split_whitespace().collect();
        let words: Vec<&str> = words
            .into_iter()
            .filter(|word| !matches!(*word, "--" | "-a" | "-n" | "--handle" | "--numeric"))
            .collect();
        let (verb, object, family, table, rest) = match words.as_slice() {
            [
                verb,
                object,
                family @ ("inet" | "ip" | "ip6"),
                table,
                rest @ ..,
            ] if is_name(table) => (*verb, *object, *family, *table, rest),
            _ => return None,
        };
        let key = (family.to_owned(), table.to_owned());
        if (verb, object) == ("add", "table") {
            self.tables.entry(key).or_default();
            return rest.is_empty().then(|| Done::quietly(true));
        }
        let Some(table) = self.tables.get_mut(&key) else {
            return Some(Done::quietly(false));
        };
        match (verb, object, rest) {
            ("delete", "table", []) => {
                self.tables.remove(&key);
                Some(Done::quietly(true))
            }
            ("list", "table", []) => Some(Done {
                success: true,
                output: table
                    .sets
                    .keys()
                    .map(|set| format!("\tset {set} {{\n"))
                    .collect(),
            }),
            (verb, object, [name, rest @ ..]) if is_name(name) => {
                table.run(verb, object, name, rest)
            }
            _ => None,
        }
    }
}

impl NftTable {
    fn run(&mut self, verb: &str, object: &str, name: &str, rest: &[&str]) -> Option<Done> {
        let is_done = match (verb, object) {
            ("add", "chain") => {
                let made = inside(rest)?.join(" ");
                self.chains.entry(name.to_owned()).or_default().made = made;
                true
            }
            ("list", "chain") => {
                let Some(chain) = self.chains.get(name) else {
                    return Some(Done::quietly(false));
                };
                let rules = chain.rules.iter();
                let line = |(handle, rule)| format!("\t\t{rule} # handle {handle}\n");
                return Some(Done {
                    success: true,
                    output: rules.map(line).collect(),
                });
            }
            ("add", "rule") => {
                let chain = self.chains.get_mut(name).filter(|_| is_rule(rest))?;
                let handle = chain.rules.keys().next_back().map_or(1, |last| last + 1);
                chain.rules.insert(handle, rest.join(" "));
                true
            }
            ("delete", "rule") => match rest {
                ["handle", handle] => {
                    let rules = &mut self.chains.get_mut(name)?.rules;
                    rules.remove(&handle.parse().ok()?).is_some()
                }
                _ => return None,
            },
            ("add", "set") => {
                let made = inside(rest)?.join(" ");
                let made = made.trim_end_matches([' ', ';']).to_owned();
                self.sets.entry(name.to_owned()).or_default().made = made;
                true
            }
            ("flush", "set") if rest.is_empty() => self
                .sets
                .get_mut(name)
                .map(|set| set.entries.clear())
                .is_some(),
            ("delete", "set") if rest.is_empty() => {
                let set = format!("@{name}");
                let mut rules = self.chains.values().flat_map(|chain| chain.rules.values());
                !rules.any(|rule| rule.split(' ').any(|word| word == set))
                    && self.sets.remove(name).is_some()
            }
            ("add", "element") => match inside(rest)?.as_slice() {
                [addr] => {
                    let addr = addr.parse().ok()?;
                    self.sets.get_mut(name)?.entries.insert(addr);
                    true
                }
                _ => return None,
            },
            ("delete", "element") => match inside(rest)?.as_slice() {
                [addr] => {
                    let addr = addr.parse().ok()?;
                    self.sets.get_mut(name)?.entries.remove(&addr)
                }
                _ => return None,
            },
            _ => return None,
        };
        Some(Done::quietly(is_done))
    }
}

/// The words between `{` and `}`, if they can stand there.
fn inside<'a>(words: &[&'a str]) -> Option<Vec<&'a str>> {
    match words {
        ["{", inside @ .., "}"] if can_be_inside(inside) => Some(inside.to_vec()),
        _ => None,
    }
}

/// Can these words stand in braces?
pub(super) fn can_be_inside(words: &[&str]) -> bool {
    let is_part = |word: &&str| {
        *word == ";" || word.parse::<Addr>().is_ok() || is_list(word.trim_start_matches('-'))
    };
    words.iter().all(is_part)
}

/// Are these the words of a rule as stock actions have them?
pub(super) fn is_rule(words: &[&str]) -> bool {
    let is_known = |word: &&str| {
        RULE_WORDS.contains(word) || is_list(word) || word.strip_prefix('@').is_some_and(is_name)
    };
    let ends = matches!(words.last(), Some(&("reject" | "drop")))
        || words.windows(2).any(|pair| pair == ["reject", "with"]);
    ends && words.iter().all(is_known)
}
