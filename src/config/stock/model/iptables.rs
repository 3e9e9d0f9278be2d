//! `iptables` as the model has it: chains of rules, each the words of a match and a target.

use std::collections::{BTreeMap, BTreeSet};

use super::{is_list, is_name};
use crate::config::stock::shell::Done;

/// One chain.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::config::stock) struct Chain {
    /// Did the commands make it?
    pub(in crate::config::stock) own: bool,
    /// Its rules, the first on top.
    pub(in crate::config::stock) rules: Vec<Vec<String>>,
}

/// All chains, by table and name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::config::stock) struct Tables {
    pub(in crate::config::stock) chains: BTreeMap<(String, String), Chain>,
    /// Chains that were asked for rules of others' before they were made, if they were.
    asked: BTreeSet<(String, String)>,
}

impl Tables {
    /// Which chain of others' was asked for a rule of others', since this was asked last?
    pub(in crate::config::stock) fn take_asked(&mut self) -> Option<String> {
        let asked = std::mem::take(&mut self.asked);
        let is_foreign =
            |key: &&(String, String)| !self.chains.get(key).is_some_and(|chain| chain.own);
        asked.iter().find(is_foreign).map(|(_, name)| name.clone())
    }

    /// `None`: the command is not known.
    pub(super) fn run(&mut self, arguments: &[&str]) -> Option<Done> {
        let mut table = "filter";
        let mut rest = arguments;
        loop {
            rest = match rest {
                ["-w", secs, rest @ ..] if secs.bytes().all(|byte| byte.is_ascii_digit()) => rest,
                ["-w" | "-n", rest @ ..] => rest,
                ["-t", name, rest @ ..] if is_name(name) => {
                    table = name;
                    rest
                }
                [verb, "-n", name] if *verb == "-L" => return self.list(table, name),
                _ => break,
            };
        }
        let (verb, chain, rest) = match rest {
            [verb, chain, rest @ ..] if is_name(chain) => (*verb, *chain, rest),
            _ => return None,
        };
        let key = (table.to_owned(), chain.to_owned());
        match (verb, rest) {
            ("-N", []) => {
                let is_new = !self.chains.contains_key(&key);
                if is_new {
                    let (own, rules) = (true, Vec::new());
                    self.chains.insert(key, Chain { own, rules });
                }
                Some(Done::quietly(is_new))
            }
            ("-F", []) => {
                // To flush a chain that is somebody else's is no stock command.
                let chain = self.chains.get_mut(&key).filter(|chain| chain.own)?;
                chain.rules.clear();
                Some(Done::quietly(true))
            }
            ("-X", []) => {
                let is_used = self.is_used(&key.1);
                let is_free = self
                    .chains
                    .get(&key)
                    .is_some_and(|chain| chain.own && chain.rules.is_empty() && !is_used);
                if is_free {
                    self.chains.remove(&key);
                }
                Some(Done::quietly(is_free))
            }
            ("-L", []) => self.list(table, chain),
            ("-C", rule) => {
                let rule = read_rule(rule)?;
                let chain = self.chains.get(&key);
                let rules = chain.map(|chain| &chain.rules);
                let is_there = rules.is_some_and(|rules| rules.contains(&rule));
                if !chain.is_some_and(|chain| chain.own) && !self.is_of_ours(&rule, table) {
                    self.asked.insert(key);
                }
                Some(Done::quietly(is_there))
            }
            ("-D", rule) => {
                let rule = read_rule(rule)?;
                let rules = &mut self.chains.get_mut(&key)?.rules;
                let place = rules.iter().position(|known| *known == rule);
                if let Some(place) = place {
                    rules.remove(place);
                }
                self.forget_empty(&key);
                Some(Done::quietly(place.is_some()))
            }
            ("-I", ["1", rule @ ..]) | ("-I", rule) => {
                let rule = read_rule(rule)?;
                self.chains.entry(key).or_default().rules.insert(0, rule);
                Some(Done::quietly(true))
            }
            ("-A", rule) => {
                // At the end of somebody else's chain a rule may never be reached.
                let rule = read_rule(rule)?;
                let chain = self.chains.get_mut(&key).filter(|chain| chain.own)?;
                chain.rules.push(rule);
                Some(Done::quietly(true))
            }
            _ => None,
        }
    }

    fn is_used(&self, name: &str) -> bool {
        let mut rules = self.chains.values().flat_map(|chain| &chain.rules);
        rules.any(|rule| {
            rule.windows(2)
                .any(|pair| pair[0] == "-j" && pair[1] == name)
        })
    }

    /// Is it a rule that only these commands can have made? It leads to a chain of theirs or
    /// looks into a set.
    fn is_of_ours(&self, rule: &[String], table: &str) -> bool {
        rule.windows(2).any(|pair| match pair {
            [flag, name] if flag == "-j" => {
                let key = (table.to_owned(), name.clone());
                self.chains.get(&key).is_some_and(|chain| chain.own)
            }
            [flag, _] => flag == "--match-set",
            _ => false,
        })
    }

    /// Somebody else's chain is as before when nothing of ours is in it.
    fn forget_empty(&mut self, key: &(String, String)) {
        let is_empty = |chain: &Chain| !chain.own && chain.rules.is_empty();
        if self.chains.get(key).is_some_and(is_empty) {
            self.chains.remove(key);
        }
    }

    fn list(&self, table: &str, name: &str) -> Option<Done> {
        let key = (table.to_owned(), name.to_owned());
        let rules = self.chains.get(&key).map(|chain| chain.rules.as_slice());
        // The target stands first, and a blank behind it.
        let line = |rule: &Vec<String>| {
            let target = rule.iter().skip_while(|word| *word != "-j").nth(1);
            format!("{}  all\n", target.map_or("", String::as_str))
        };
        Some(Done {
            success: true,
            output: rules.unwrap_or_default().iter().map(line).collect(),
        })
    }
}

/// A rule's words, if it is made of matches and targets that stock actions have.
pub(super) fn read_rule(words: &[&str]) -> Option<Vec<String>> {
    let (mut rest, mut has_target) = (words, false);
    loop {
        rest = match rest {
            [] => break,
            ["-j", target, more @ ..] if is_name(target) && !has_target => {
                has_target = true;
                more
            }
            ["--reject-with", kind, more @ ..] if has_target && is_name(kind) => more,
            _ if has_target => return None,
            ["-p", protocol, more @ ..] if is_list(protocol) => more,
            ["--dport" | "--dports", ports, more @ ..] if is_list(ports) => more,
            ["-s", source, more @ ..] if source.parse::<crate::addr::Addr>().is_ok() => more,
            ["-m", "multiport" | "tcp" | "udp", more @ ..] => more,
            ["-m", "state", "--state", "NEW", more @ ..] => more,
            ["-m", "conntrack", "--ctstate", "NEW", more @ ..] => more,
            ["-m", "set", "--match-set", set, "src", more @ ..] if is_name(set) => more,
            ["-m", "comment", "--comment", text, more @ ..] if is_name(text) => more,
            _ => return None,
        };
    }
    has_target.then(|| words.iter().map(|word| (*word).to_owned()).collect())
}
