//! Is every word of a [`Layout`] of the form that commands of stock actions have?
//!
//! A layout that was read from an action is. One that was read from a file may hold anything,
//! and its words go to programs that run as root.

use super::{ipset, iptables, is_name, nft};
use crate::action::stock::{Kind, Layout, Rule};

/// See above.
pub(crate) fn is_sound(layout: &Layout) -> bool {
    match &layout.kind {
        Kind::Chain(chain) => {
            is_name(&chain.table)
                && is_name(&chain.chain)
                && chain.rules.iter().all(|rule| is_rule(rule))
                && are_jumps(&chain.jumps)
                && is_rule(&chain.target)
        }
        Kind::Set(set) => {
            let made = ipset::read_made(&words(&set.made), layout.family);
            is_name(&set.name) && made.as_ref() == Some(&set.made) && are_jumps(&set.jumps)
        }
        Kind::Table(table) => {
            let place: Vec<&str> = table.table.split(' ').collect();
            let is_table =
                matches!(place.as_slice(), ["inet" | "ip" | "ip6", name] if is_name(name));
            let inside = |made: &str| nft::can_be_inside(&made.split(' ').collect::<Vec<_>>());
            is_table
                && is_name(&table.chain)
                && is_name(&table.set)
                && inside(&table.chain_made)
                && inside(&table.set_made)
                && table
                    .rules
                    .iter()
                    .all(|rule| nft::is_rule(&rule.split(' ').collect::<Vec<_>>()))
        }
    }
}

fn are_jumps(jumps: &[Rule]) -> bool {
    jumps
        .iter()
        .all(|jump| is_name(&jump.chain) && is_rule(&jump.words))
}

fn is_rule(rule: &[String]) -> bool {
    iptables::read_rule(&words(rule)).is_some()
}

fn words(words: &[String]) -> Vec<&str> {
    words.iter().map(String::as_str).collect()
}
