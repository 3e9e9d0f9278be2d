//! What an action of fail2ban's keeps in the kernel.

use serde::{Deserialize, Serialize};

use crate::action::Family;
use crate::addr::Addr;

/// What one action keeps in the kernel for one family. Every word of it is of known
/// form: it goes to programs as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layout {
    /// IPv4 or IPv6.
    pub family: Family,
    /// How it bans.
    pub kind: Kind,
}

/// The three ways in which fail2ban's stock actions ban.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// A rule for each address: `iptables-multiport` and its kin.
    Chain(ChainLayout),
    /// An ipset: `iptables-ipset` and its kin.
    Set(SetLayout),
    /// A set of nftables': `nftables-multiport` and its kin.
    Table(TableLayout),
}

impl Layout {
    /// What bans stand in, and of which family.
    pub fn place(&self) -> String {
        let family = match self.family {
            Family::V4 => "IPv4",
            Family::V6 => "IPv6",
        };
        format!("{} ({family})", self.kind.place())
    }

    /// Can it hold this? A set may hold hosts only; a prefix of IPv4 the kernel then puts
    /// into an ipset as all its hosts.
    pub fn holds(&self, addr: &Addr) -> bool {
        addr.is_host() || self.takes_networks() || self.is_of_hosts() && !addr.is_ipv6()
    }

    /// Can it hold networks, of either family?
    pub fn takes_networks(&self) -> bool {
        match &self.kind {
            Kind::Chain(_) => true,
            Kind::Set(set) => !set.is_of_hosts(),
            Kind::Table(table) => table.set_made.contains("interval"),
        }
    }

    /// Does it hold single addresses, and a prefix of IPv4 as all of its hosts?
    pub(super) fn is_of_hosts(&self) -> bool {
        matches!(&self.kind, Kind::Set(set) if set.is_of_hosts())
    }

    /// Do bans go from it by themselves before they are over?
    pub(super) fn forgets(&self) -> bool {
        let Kind::Set(set) = &self.kind else {
            return false;
        };
        match set.timeouts {
            Timeouts::Ban => false,
            Timeouts::Always(secs) => secs > 0,
            Timeouts::None => {
                let mut words = set.made.iter().skip_while(|word| *word != "timeout");
                words.nth(1).is_some_and(|secs| secs != "0")
            }
        }
    }

    /// The kernel's object that bans stand in. Two layouts with the same are one place.
    pub fn object(&self) -> String {
        match &self.kind {
            // Each family has tables of its own, and so have nf_tables'; of ipsets there is one list.
            Kind::Chain(chain) => {
                format!("{} {} {}", self.family.word(), chain.table, chain.chain)
            }
            Kind::Set(set) => format!("ipset {}", set.name),
            Kind::Table(table) => format!("nft {}", table.place()),
        }
    }
}

impl Kind {
    /// What bans stand in, as an operator finds it.
    pub fn place(&self) -> String {
        match self {
            Kind::Chain(chain) => format!("the chain {}", chain.chain),
            Kind::Set(set) => format!("the ipset {}", set.name),
            Kind::Table(table) => format!("the nft set {} of {}", table.set, table.table),
        }
    }
}

/// A rule of iptables' in somebody else's chain, where it stands on top.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// The chain, as `INPUT`.
    pub chain: String,
    /// Match and target.
    pub words: Vec<String>,
}

/// A chain with a rule for each address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainLayout {
    /// Its table, as `filter`.
    pub table: String,
    /// Its name, as `f2b-sshd`.
    pub chain: String,
    /// The rules that it ends in.
    pub rules: Vec<Vec<String>>,
    /// The rules that lead to it, in the order in which they are put in place.
    pub jumps: Vec<Rule>,
    /// What happens to who is banned, as `-j REJECT`.
    pub target: Vec<String>,
}

/// An ipset, and the rules that look into it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetLayout {
    /// Its name, as `f2b-sshd`.
    pub name: String,
    /// Its type and options, in `ipset`'s words.
    pub made: Vec<String>,
    /// How long entries stay.
    pub timeouts: Timeouts,
    /// The rules, in the order in which they are put in place.
    pub jumps: Vec<Rule>,
}

impl SetLayout {
    fn is_of_hosts(&self) -> bool {
        self.made.iter().any(|word| word == "hash:ip")
    }
}

/// How long entries of a set stay if nobody takes them out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Timeouts {
    /// The set has none, or its own.
    None,
    /// All as long, in seconds; 0 is for ever.
    Always(u32),
    /// As long as the ban.
    Ban,
}

/// A set of nftables', and the rules that look into it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableLayout {
    /// Family and name of the table, as `inet f2b-table`.
    pub table: String,
    /// The chain, which other jails share.
    pub chain: String,
    /// Its type and place.
    pub chain_made: String,
    /// The set.
    pub set: String,
    /// Its type and flags.
    pub set_made: String,
    /// The rules, in their order.
    pub rules: Vec<String>,
}

impl TableLayout {
    /// The set's full name.
    pub(super) fn place(&self) -> String {
        format!("{} {}", self.table, self.set)
    }
}
