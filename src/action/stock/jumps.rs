//! Rules of iptables' in somebody else's chain, by which a jail's bans count.
//!
//! While drops are lifted, a mark stands in the place of the first of them: a rule that
//! matches by a comment only and has no target, so it does nothing. Where it stood before
//! or behind other rules, it does so again afterwards.

use std::collections::{BTreeMap, BTreeSet};

use super::Rule;
use super::ruleset::{Ruleset, Rulesets};
use crate::action::Family;
use crate::action::error::Error;
use crate::action::program::{must, run};

/// How long iptables waits for another iptables to finish.
pub(super) const LOCK: &[&str] = &["-w", "5"];

/// Copies of a rule that are taken away.
const COPIES_MAX: usize = 16;

/// What a mark's comment begins with.
const MARK: &str = "ringfence-lifted:";

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

/// The rules that lead to one chain or set.
pub(super) struct Jumps<'a> {
    pub(super) family: Family,
    /// The table that they stand in.
    pub(super) table: &'a str,
    /// They, in the order in which they are put in place.
    pub(super) rules: &'a [Rule],
    /// Where they lead, in the words that each of them has.
    pub(super) target: Vec<&'a str>,
    /// The name of that.
    pub(super) name: &'a str,
}

impl Jumps<'_> {
    /// Those that are there, as iptables prints them.
    pub(super) fn found(&self, ruleset: &Ruleset) -> Vec<String> {
        let found = ruleset.having(&self.target);
        found
            .map(|rule| format!("{} {}", rule.chain, rule.text))
            .collect()
    }

    /// The chains of those that are not there.
    pub(super) fn missing(&self) -> Result<BTreeSet<&str>, Error> {
        let mut missing = BTreeSet::new();
        for rule in self.rules {
            if !self.is_there(rule)? {
                missing.insert(rule.chain.as_str());
            }
        }
        Ok(missing)
    }

    /// Puts those in that are not there, in their order: where the mark is, else on top.
    pub(super) fn lay(&self, rulesets: &mut Rulesets) -> Result<(), Error> {
        let mark = self.mark();
        let mark = ["--comment", &mark];
        let before = rulesets.of(self.family, self.table)?;
        let is_marked = before.having(&mark).next().is_some();
        // Each chain's rules go in at one place, each above the one before it, as on top.
        let mut places: BTreeMap<&str, usize> = BTreeMap::new();
        for rule in self.rules {
            if self.is_there(rule)? {
                continue;
            }
            let place = match places.get(rule.chain.as_str()) {
                Some(place) => *place,
                None => {
                    // What was read may have been counted while others came or went.
                    let place = match is_marked {
                        true => Ruleset::read(self.family, self.table)?.place(&rule.chain, &mark),
                        false => None,
                    };
                    *places.entry(&rule.chain).or_insert(place.unwrap_or(1))
                }
            };
            let place = place.to_string();
            let words = rule.words.iter().map(String::as_str);
            let words: Vec<&str> = [place.as_str()].into_iter().chain(words).collect();
            self.must("-I", &rule.chain, &words)?;
        }
        match is_marked {
            true => self.remove_marks(),
            false => Ok(()),
        }
    }

    /// Takes them away, and leaves a mark where the first of each chain was.
    pub(super) fn lift(&self) -> Result<(), Error> {
        let before = Ruleset::read(self.family, self.table)?;
        let mark = self.mark();
        for chain in self.chains() {
            let is_marked = before.place(chain, &["--comment", &mark]).is_some();
            if let Some(place) = before.place(chain, &self.target)
                && !is_marked
            {
                let place = place.to_string();
                self.must(
                    "-I",
                    chain,
                    &[&[place.as_str()], &mark_words(&mark)[..]].concat(),
                )?;
            }
        }
        self.remove_rules()
    }

    /// Takes them away, as often as they are there, and marks too.
    pub(super) fn remove(&self) -> Result<(), Error> {
        self.remove_rules()?;
        self.remove_marks()
    }

    fn remove_rules(&self) -> Result<(), Error> {
        for rule in self.rules {
            let words: Vec<&str> = rule.words.iter().map(String::as_str).collect();
            self.remove_all(&rule.chain, &words)?;
        }
        Ok(())
    }

    fn remove_marks(&self) -> Result<(), Error> {
        let mark = self.mark();
        let mut chains = self.chains().into_iter();
        chains.try_for_each(|chain| self.remove_all(chain, &mark_words(&mark)))
    }

    fn chains(&self) -> BTreeSet<&str> {
        self.rules.iter().map(|rule| rule.chain.as_str()).collect()
    }

    fn mark(&self) -> String {
        format!("{MARK}{}", self.name)
    }

    fn is_there(&self, rule: &Rule) -> Result<bool, Error> {
        let words: Vec<&str> = rule.words.iter().map(String::as_str).collect();
        let arguments = self.arguments("-C", &rule.chain, &words);
        Ok(run(program(self.family), &arguments, "")?.success)
    }

    fn must(&self, verb: &str, chain: &str, words: &[&str]) -> Result<(), Error> {
        let arguments = self.arguments(verb, chain, words);
        must(program(self.family), &arguments, "").map(drop)
    }

    fn remove_all(&self, chain: &str, words: &[&str]) -> Result<(), Error> {
        let arguments = self.arguments("-D", chain, words);
        for _ in 0..COPIES_MAX {
            let ended = run(program(self.family), &arguments, "")?;
            if !ended.success {
                return absence(program(self.family), &arguments, ended.said);
            }
        }
        Ok(())
    }

    fn arguments<'a>(&'a self, verb: &'a str, chain: &'a str, words: &[&'a str]) -> Vec<&'a str> {
        [LOCK, &["-t", self.table, verb, chain], words].concat()
    }
}

fn mark_words(mark: &str) -> [&str; 4] {
    ["-m", "comment", "--comment", mark]
}
