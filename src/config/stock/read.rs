//! Reads from the model where an action puts its ban: a first reading, which may overlook
//! what the action does besides. What it does must then be compared with
//! [`Model::laid`].

use super::model::Model;
use crate::action::stock::{ChainLayout, Kind, Rule, SetLayout, TableLayout, Timeouts};
use crate::addr::Addr;

/// The place of the only ban, which lasts `secs`.
pub(super) fn kind(started: &Model, banned: &Model, addr: Addr, secs: i64) -> Option<Kind> {
    table(started, banned, addr)
        .map(Kind::Table)
        .or_else(|| set(started, banned, addr, secs).map(Kind::Set))
        .or_else(|| chain(started, banned, addr).map(Kind::Chain))
}

/// A rule for each address, in a chain of its own.
fn chain(started: &Model, banned: &Model, addr: Addr) -> Option<ChainLayout> {
    let addr = addr.to_string();
    let mut own = started
        .iptables
        .chains
        .iter()
        .filter(|(_, chain)| chain.own);
    own.find_map(|(key, chain)| {
        let target = match banned.iptables.chains.get(key)?.rules.first()?.as_slice() {
            [flag, source, target @ ..] if flag == "-s" && *source == addr => target,
            _ => return None,
        };
        let (table, name) = key;
        Some(ChainLayout {
            table: table.clone(),
            chain: name.clone(),
            rules: chain.rules.clone(),
            jumps: jumps(started, table, &["-j", name]),
            target: target.to_vec(),
        })
    })
}

/// A set, and rules that look into it.
fn set(started: &Model, banned: &Model, addr: Addr, secs: i64) -> Option<SetLayout> {
    started.ipset.sets.iter().find_map(|(name, set)| {
        let timeout = *banned.ipset.sets.get(name)?.entries.get(&addr)?;
        let timeouts = match timeout {
            None => Timeouts::None,
            Some(timeout) if timeout == secs => Timeouts::Ban,
            Some(timeout) => Timeouts::Always(timeout.try_into().ok()?),
        };
        Some(SetLayout {
            name: name.clone(),
            made: set.made.clone(),
            timeouts,
            jumps: jumps(started, SetLayout::TABLE, &["--match-set", name, "src"]),
        })
    })
}

/// Rules with these words in chains of others, in the order in which they are put on top.
fn jumps(model: &Model, table: &str, wanted: &[&str]) -> Vec<Rule> {
    let chains = model.iptables.chains.iter();
    let others = chains.filter(|((of, _), content)| of == table && !content.own);
    let jumps = others.flat_map(|((_, chain), content)| {
        let has = |words: &&Vec<String>| words.windows(wanted.len()).any(|part| part == wanted);
        content.rules.iter().rev().filter(has).map(|words| Rule {
            chain: chain.clone(),
            words: words.clone(),
        })
    });
    jumps.collect()
}

/// A set in a table of nftables', and rules that look into it.
fn table(started: &Model, banned: &Model, addr: Addr) -> Option<TableLayout> {
    started.nft.tables.iter().find_map(|(key, table)| {
        let sets = &banned.nft.tables.get(key)?.sets;
        let is_there = |name: &String| {
            sets.get(name)
                .is_some_and(|set| set.entries.contains(&addr))
        };
        let (name, set) = table.sets.iter().find(|(name, _)| is_there(name))?;
        let (chain, content) = table.chains.first_key_value()?;
        let reference = format!("@{name}");
        let looks = |rule: &&String| rule.split(' ').any(|word| word == reference);
        Some(TableLayout {
            table: format!("{} {}", key.0, key.1),
            chain: chain.clone(),
            chain_made: content.made.clone(),
            set: name.clone(),
            set_made: set.made.clone(),
            rules: content.rules.values().filter(looks).cloned().collect(),
        })
    })
}
