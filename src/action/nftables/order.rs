//! Which rules our chain must have, and what is to be done if it has others.
//!
//! The sets that are there decide: each has its rule, or one for each part of its ports,
//! the throttled one for each part of SIP's. What
//! accepts stands before what drops. If the rules that were found are some of these,
//! the missing ones are added; if anything else is among them, all are made anew and
//! then the old ones go, so no packet ever sees fewer.

use super::rule::{Fate, Found, Rule, Seen};
use crate::action::family::Family;
use crate::action::name::{self, Name};
use crate::action::reach::{Part, Reach};
use crate::action::signalling;
use crate::ticket::Set;

/// What is to be done to the chain.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    /// Rules to be made.
    pub(super) make: Vec<Rule>,
    /// Rules to be taken away thereafter.
    pub(super) remove: Vec<u64>,
}

/// The rules for a kernel set of ours, whose drops have this reach.
pub(super) fn rules_of(set: &str, family: Family, reach: &Reach) -> Vec<Rule> {
    let (base, length, _) = name::parts(set);
    let is = |set| base == &*Name::in_nftables(set, family, family.bits());
    let fates = if is(&Set::Allow) {
        vec![Fate::Accept]
    } else if is(&Set::Throttled) {
        signalling::parts().map(Fate::Throttle).collect()
    } else if is(&Set::List) {
        vec![Fate::Listed]
    } else if reach.is_everything() {
        vec![Fate::Drop(None)]
    } else {
        let parts = reach.parts().flat_map(|(transport, ports)| {
            ports.iter().map(move |ports| Part {
                transport,
                ports: *ports,
            })
        });
        parts.map(|part| Fate::Drop(Some(part))).collect()
    };
    let rule = |fate| Rule {
        set: set.to_owned(),
        family,
        length: length.unwrap_or(family.bits()),
        fate,
    };
    fates.into_iter().map(rule).collect()
}

/// What makes the rules that were found the ones that are wanted.
pub(super) fn changes(wanted: &[Rule], found: &[Found]) -> Changes {
    let ours: Vec<&Found> = found
        .iter()
        .filter(|found| found.seen != Seen::Lifted)
        .collect();
    if is_in_order(wanted, &ours) {
        let is_missing = |rule: &&Rule| !ours.iter().any(|found| rule.is(&found.seen));
        return Changes {
            make: wanted.iter().filter(is_missing).cloned().collect(),
            remove: Vec::new(),
        };
    }
    Changes {
        make: wanted.to_vec(),
        remove: ours.iter().map(|found| found.handle).collect(),
    }
}

/// Is each one that is wanted, none there twice, and none that drops before one that accepts?
fn is_in_order(wanted: &[Rule], found: &[&Found]) -> bool {
    let mut seen: Vec<&Rule> = Vec::new();
    for found in found {
        let Some(rule) = wanted.iter().find(|rule| rule.is(&found.seen)) else {
            return false;
        };
        let is_late =
            rule.fate == Fate::Accept && seen.last().is_some_and(|last| last.fate != Fate::Accept);
        if is_late || seen.contains(&rule) {
            return false;
        }
        seen.push(rule);
    }
    true
}

/// The rules that look up this set, whoever has made it; if there are none, one that drops.
pub(super) fn rules_there(set: &str, family: Family, found: &[Found]) -> Vec<Rule> {
    let mut rules = rules_of(set, family, &Reach::EVERYTHING);
    let is_drop = |found: &Found| match &found.seen {
        Seen::Rule {
            set: other, fate, ..
        } if other == set => Some(*fate),
        _ => None,
    };
    let fates: Vec<Fate> = found.iter().filter_map(is_drop).collect();
    if let (Some(rule), false) = (rules.pop(), fates.is_empty()) {
        let with = |fate| Rule {
            fate,
            ..rule.clone()
        };
        return fates.into_iter().map(with).collect();
    }
    rules_of(set, family, &Reach::EVERYTHING)
}

/// The numbers of the rules that look this set up.
pub(super) fn handles_of(set: &str, found: &[Found]) -> Vec<u64> {
    let is_of =
        |found: &&Found| matches!(&found.seen, Seen::Rule { set: other, .. } if other == set);
    found
        .iter()
        .filter(is_of)
        .map(|found| found.handle)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rules as letters: of the allow set `a`, of two jails `x` and `y`; `?` is not ours,
    /// `l` lets everything pass.
    fn found(letters: &str) -> Vec<Found> {
        let seen = |letter| {
            let (set, fate) = match letter {
                'a' => ("ringfence-allow", Fate::Accept),
                'x' => ("ringfence-x", Fate::Drop(None)),
                'y' => ("ringfence-y", Fate::Drop(None)),
                'l' => return Seen::Lifted,
                _ => return Seen::Other,
            };
            let set = set.to_owned();
            Seen::Rule {
                set,
                family: Family::V4,
                length: 32,
                fate,
            }
        };
        let handles = 1..;
        handles
            .zip(letters.chars())
            .map(|(handle, letter)| Found {
                handle,
                seen: seen(letter),
            })
            .collect()
    }

    #[test]
    fn rules_are_added_or_made_anew() {
        let sets = ["ringfence-allow", "ringfence-x", "ringfence-y"];
        let wanted: Vec<Rule> = sets
            .iter()
            .flat_map(|set| rules_of(set, Family::V4, &Reach::EVERYTHING))
            .collect();
        for (there, make, remove) in [
            ("axy", "", &[][..]),
            ("ayx", "", &[]),
            ("laxy", "", &[]),
            ("", "axy", &[]),
            ("xy", "a", &[]),
            ("a", "xy", &[]),
            ("xay", "axy", &[1, 2, 3]),
            ("axxy", "axy", &[1, 2, 3, 4]),
            ("l?axy", "axy", &[2, 3, 4, 5]),
        ] {
            let changes = changes(&wanted, &found(there));
            let letter = |rule: &Rule| rule.set.chars().nth("ringfence-".len());
            let made: String = changes.make.iter().filter_map(letter).collect();
            assert_eq!((&*made, &*changes.remove), (make, remove), "{there}");
        }
    }
}
