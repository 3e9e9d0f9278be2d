//! A model of one family's firewall, for playing an action's commands in.
//!
//! It knows the few forms of `iptables`, `ipset` and `nft` commands that firewall
//! actions are made of, and says of every other that it does not. Chains and sets that
//! the commands do not make themselves (`INPUT`) are taken to be there and empty.

mod ipset;
mod iptables;
mod laid;
mod nft;
mod sound;

use super::shell::{Done, Programs, Strange};
use crate::action::Family;

pub(super) use ipset::Sets;
pub(super) use iptables::Tables;
pub(super) use laid::Ban;
pub(super) use nft::Nftables;
pub(crate) use sound::is_sound;

/// What stands in the kernel for one family. Two are equal if a packet and an operator
/// could not tell them apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Model {
    pub(super) family: Family,
    pub(super) iptables: Tables,
    pub(super) ipset: Sets,
    pub(super) nft: Nftables,
    /// Is what stands there hidden? Stock actions do not look before they ban; what one that
    /// does would do depends on more than the model knows.
    pub(super) blind: bool,
}

impl Model {
    /// Nothing that anybody made.
    pub(super) fn new(family: Family) -> Self {
        Model {
            family,
            iptables: Tables::default(),
            ipset: Sets::default(),
            nft: Nftables::default(),
            blind: false,
        }
    }
}

/// Words of commands that look at the firewall, of all its programs.
const LOOKS: [&str; 10] = [
    "-C", "-L", "-S", "-T", "--check", "--list", "list", "test", "get", "monitor",
];

impl Programs for Model {
    fn run(&mut self, words: &[String]) -> Result<Done, Strange> {
        let Some((program, arguments)) = words.split_first() else {
            return Ok(Done::quietly(true));
        };
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        if self.blind && arguments.iter().any(|word| LOOKS.contains(word)) {
            let command = words.join(" ");
            let why = format!("`{command}` looks what there is, and no stock action bans by that");
            return Err(Strange(why));
        }
        let known = match (program.as_str(), self.family) {
            ("iptables", Family::V4) | ("ip6tables", Family::V6) => self.iptables.run(&arguments),
            ("ipset", _) => self.ipset.run(&arguments, self.family),
            ("nft", _) => self.nft.run(&arguments),
            _ => None,
        };
        known.ok_or_else(|| {
            let command = words.join(" ");
            Strange(format!("`{command}` is no command of a stock action"))
        })
    }

    fn aside(&self) -> Box<dyn Programs> {
        Box::new(self.clone())
    }
}

/// Can it be the name of a chain or set? Nothing in it may mean something to a program.
fn is_name(text: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.+".contains(&byte);
    !text.is_empty() && text.len() <= 64 && text.bytes().all(is_part) && !text.starts_with('-')
}

/// Can it be a list of ports or protocols, of numbers and names?
fn is_list(text: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.+,:".contains(&byte);
    !text.is_empty() && text.len() <= 512 && text.bytes().all(is_part) && !text.starts_with('-')
}
