//! A [`Layout`] in the model: what ringfence would make of it, without bans or with one.
//!
//! An action passes for a stock one only if its own commands leave exactly this.

use super::ipset::KernelSet;
use super::iptables::Chain;
use super::nft::{NftChain, NftSet, NftTable};
use super::{Model, Tables};
use crate::action::stock::{ChainLayout, Kind, Layout, Rule, SetLayout, TableLayout, Timeouts};
use crate::addr::Addr;

/// A ban in the model.
#[derive(Debug, Clone, Copy)]
pub(in crate::config::stock) struct Ban {
    pub(in crate::config::stock) addr: Addr,
    /// Its time as the action is told it: -1 is for ever.
    pub(in crate::config::stock) secs: i64,
}

impl Model {
    /// What stands there when this layout was made, and when that ban is laid on, if any.
    pub(in crate::config::stock) fn laid(layout: &Layout, ban: Option<Ban>) -> Self {
        let mut model = Model::new(layout.family);
        match &layout.kind {
            Kind::Chain(chain) => lay_chain(&mut model, chain, ban),
            Kind::Set(set) => lay_set(&mut model, set, ban),
            Kind::Table(table) => lay_table(&mut model, table, ban),
        }
        model
    }
}

fn lay_chain(model: &mut Model, layout: &ChainLayout, ban: Option<Ban>) {
    let mut rules = layout.rules.clone();
    if let Some(ban) = ban {
        let source = ["-s".to_owned(), ban.addr.to_string()];
        rules.insert(0, [source.as_slice(), &layout.target].concat());
    }
    let key = (layout.table.clone(), layout.chain.clone());
    let own = true;
    model.iptables.chains.insert(key, Chain { own, rules });
    lay_jumps(&mut model.iptables, &layout.table, &layout.jumps);
}

fn lay_set(model: &mut Model, layout: &SetLayout, ban: Option<Ban>) {
    let timeout = |ban: Ban| match layout.timeouts {
        Timeouts::None => None,
        Timeouts::Always(secs) => Some(secs.into()),
        Timeouts::Ban => Some(ban.secs),
    };
    let set = KernelSet {
        made: layout.made.clone(),
        entries: ban
            .map(|ban| (ban.addr, timeout(ban)))
            .into_iter()
            .collect(),
    };
    model.ipset.sets.insert(layout.name.clone(), set);
    lay_jumps(&mut model.iptables, SetLayout::TABLE, &layout.jumps);
}

fn lay_jumps(tables: &mut Tables, table: &str, jumps: &[Rule]) {
    for jump in jumps {
        let key = (table.to_owned(), jump.chain.clone());
        let chain = tables.chains.entry(key).or_default();
        chain.rules.insert(0, jump.words.clone());
    }
}

fn lay_table(model: &mut Model, layout: &TableLayout, ban: Option<Ban>) {
    let chain = NftChain {
        made: layout.chain_made.clone(),
        rules: (1..).zip(layout.rules.iter().cloned()).collect(),
    };
    let set = NftSet {
        made: layout.set_made.clone(),
        entries: ban.map(|ban| ban.addr).into_iter().collect(),
    };
    let table = NftTable {
        chains: [(layout.chain.clone(), chain)].into(),
        sets: [(layout.set.clone(), set)].into(),
    };
    if let Some((family, name)) = layout.table.split_once(' ') {
        let key = (family.to_owned(), name.to_owned());
        model.nft.tables.insert(key, table);
    }
}
