//! What can be wrong with the firewall, in words that say what to do.

use super::ipset::code;
use super::nftables;
use crate::addr::Addr;

/// What is said of a program that does not end.
pub(super) const TOO_LATE: &str = "it did not end in time";

/// Why the firewall did not do something. The sentence is for the operator, the
/// parts are for the caller.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// We may not change the firewall.
    #[error(
        "no permission to {doing}; run as root, or give the service {capability} (systemd: `AmbientCapabilities={capability}`)"
    )]
    Permission {
        /// What was tried.
        doing: String,
        /// The capability that is missing.
        capability: &'static str,
    },
    /// The kernel has no ipset.
    #[error(
        "the kernel has no ipset; load it with `modprobe ip_set`, or on a container do so on its host"
    )]
    NoIpset,
    /// The kernel has no nf_tables.
    #[error(
        "the kernel has no nf_tables; load it with `modprobe nf_tables`, or on a container do so on its host; or set `firewall.backend = \"ipset\"` in ringfence.toml and install iptables"
    )]
    NoNftables,
    /// Neither kind of firewall can be used.
    #[error("no kind of firewall works here. ipset: {ipset}. nftables: {nftables}")]
    NoBackend {
        /// Why not ipset.
        ipset: String,
        /// Why not nftables.
        nftables: String,
    },
    /// The kernel's nf_tables is too old or lacks a part.
    #[error(
        "the kernel's nf_tables refused to make our {what} ({reason}); this needs Linux 5.7 or later with the modules nf_tables and nf_tables_inet; or set `firewall.backend = \"ipset\"` in ringfence.toml and install iptables"
    )]
    OldNftables {
        /// Table, chain, sets and rules.
        what: &'static str,
        /// What it says.
        reason: String,
    },
    /// Something of our name is in nf_tables and is not ours.
    #[error(
        "there is already {found} where ringfence needs {wanted}; remove it with `nft delete {object}`, or rename whatever made it"
    )]
    ForeignNft {
        /// What is there, for people.
        found: String,
        /// What we need.
        wanted: String,
        /// As nft writes it.
        object: String,
    },
    /// The kernel's ipset speaks other versions than we do.
    #[error(
        "the kernel's ipset speaks protocol {min} to {max}, and ringfence speaks 6 and 7; use Linux 3.2 or later"
    )]
    Protocol {
        /// Its lowest version.
        min: u8,
        /// Its highest version.
        max: u8,
    },
    /// The kernel lacks a kind of set, or has it too old.
    #[error(
        "the kernel has no sets of the type {kind} with counters; load it with `modprobe {module}`, which needs Linux 3.10 or later"
    )]
    NoSetType {
        /// As ipset writes it.
        kind: &'static str,
        /// The module that has it.
        module: &'static str,
    },
    /// A set can take no more.
    #[error(
        "the set {name} is full ({maxelem} entries); change `{setting}` in ringfence.toml and restart"
    )]
    Full {
        /// The kernel's name of it.
        name: String,
        /// How many entries it can hold.
        maxelem: u32,
        /// The setting that decides it.
        setting: &'static str,
    },
    /// Something of our name is there and is not ours.
    #[error(
        "there is already an ipset {name}, and it is a {found} where ringfence needs a {wanted}; remove it with `ipset destroy {name}`, or rename whatever made it"
    )]
    Foreign {
        /// The name.
        name: String,
        /// What is there, as in `hash:ip inet`.
        found: String,
        /// What we need, as in `hash:net inet6`.
        wanted: String,
    },
    /// A set is gone.
    #[error("the set {name} is not there; somebody destroyed it, and it is put back within 2 s")]
    Missing {
        /// The name.
        name: String,
    },
    /// A set cannot go, since a rule or another set refers to it.
    #[error(
        "the set {name} is in use by a rule that is not ringfence's; find it with `iptables-save | grep {name}`"
    )]
    InUse {
        /// The name.
        name: String,
    },
    /// An address that no set can hold.
    #[error(
        "a set cannot hold {addr}; write it as two halves, as in `0.0.0.0/1` and `128.0.0.0/1`"
    )]
    Entry {
        /// The address.
        addr: Addr,
    },
    /// The kernel refused for a reason that we have no better word for.
    #[error("the kernel refused to {doing}: {reason} (error {code})")]
    Kernel {
        /// What was tried.
        doing: String,
        /// The error number; ipset's own begin at 4096.
        code: i32,
        /// What it means.
        reason: String,
    },
    /// The netlink socket failed.
    #[error("could not {doing} the socket to the kernel's firewall: {reason}")]
    Socket {
        /// What was tried.
        doing: &'static str,
        /// What the system says.
        reason: String,
    },
    /// The kernel's answer makes no sense.
    #[error(
        "the kernel's answer to `{doing}` could not be read; please report this with the output of `uname -r`"
    )]
    Reply {
        /// What was tried.
        doing: String,
    },
    /// A program is not installed.
    #[error(
        "{program} was not found in /usr/sbin, /sbin or /usr/bin; install iptables (`apt install iptables`, `dnf install iptables-nft`)"
    )]
    NoProgram {
        /// Which one.
        program: &'static str,
    },
    /// A program that a jail's action calls is not installed.
    #[error(
        "{program} was not found in /usr/sbin, /sbin or /usr/bin, and the jail's action needs it; install it, or choose another `banaction`"
    )]
    NoTool {
        /// Which one.
        program: String,
    },
    /// A jail's action has no way to ban this family.
    #[error(
        "{addr} cannot be banned by this jail's action, which knows no IPv6; choose another `banaction`"
    )]
    NoFamily {
        /// Whom.
        addr: Addr,
    },
    /// A jail's action can keep others, and this one it cannot.
    #[error(
        "the jail's action cannot ban {addr} ({said}); choose another `banaction` for it, as `ringfence`"
    )]
    NotTaken {
        /// Whom.
        addr: Addr,
        /// What its program printed.
        said: String,
    },
    /// A jail's action keeps hosts only.
    #[error(
        "{place} holds single addresses, and {addr} is a prefix; ban it in a jail with `banaction = ringfence`"
    )]
    NoPrefix {
        /// Where.
        place: String,
        /// Whom.
        addr: Addr,
    },
    /// iptables cannot match sets.
    #[error(
        "{program} cannot match sets ({said}); load it with `modprobe xt_set`, or on a container do so on its host"
    )]
    NoSetMatch {
        /// Which program.
        program: &'static str,
        /// What it printed.
        said: String,
    },
    /// iptables cannot match something else that a rule needs.
    #[error(
        "{program} cannot match `{what}` ({said}); load it with `modprobe xt_{what}`, or on a container do so on its host"
    )]
    NoMatch {
        /// Which program.
        program: &'static str,
        /// As in `-m multiport`.
        what: String,
        /// What it printed.
        said: String,
    },
    /// The kernel has no raw table.
    #[error(
        "{program} finds no table `raw` ({said}); load it with `modprobe {module}`, or on a container do so on its host"
    )]
    NoRawTable {
        /// Which program.
        program: &'static str,
        /// The module that has it.
        module: &'static str,
        /// What it printed.
        said: String,
    },
    /// iptables refused a rule for another reason.
    #[error("`{command}` failed: {said}")]
    Rule {
        /// The command, as one would type it.
        command: String,
        /// What it printed.
        said: String,
    },
}

impl Error {
    /// Would another address fare the same? True of a lost set, right or socket, not of
    /// a full set or of an address that no set can hold.
    pub fn is_lasting(&self) -> bool {
        !matches!(
            self,
            Error::Full { .. }
                | Error::Entry { .. }
                | Error::NoFamily { .. }
                | Error::NotTaken { .. }
                | Error::NoPrefix { .. }
                | Error::Kernel { .. }
        )
    }

    /// Is something of our name there that is not ours?
    pub fn is_foreign(&self) -> bool {
        matches!(self, Error::Foreign { .. } | Error::ForeignNft { .. })
    }

    /// Would a program fail in the same way, whatever it is told?
    pub(super) fn is_of_all(&self) -> bool {
        match self {
            Error::Rule { said, .. } => {
                let words = [
                    "xtables lock",
                    "ermission denied",
                    "not permitted",
                    TOO_LATE,
                ];
                words.iter().any(|words| said.contains(words))
            }
            _ => true,
        }
    }

    /// Does this host lack what this kind of firewall needs?
    pub(super) fn is_unfit(&self) -> bool {
        matches!(
            self,
            Error::NoIpset
                | Error::Protocol { .. }
                | Error::NoSetType { .. }
                | Error::NoProgram { .. }
                | Error::NoSetMatch { .. }
                | Error::NoMatch { .. }
                | Error::NoRawTable { .. }
                | Error::NoNftables
                | Error::OldNftables { .. }
        )
    }

    /// Does the kernel say that the set is full?
    pub(super) fn is_full(&self) -> bool {
        matches!(
            self,
            Error::Kernel {
                code: code::FULL | nftables::code::ENFILE,
                ..
            }
        )
    }

    /// Does the kernel say that it cannot hold this prefix?
    pub(super) fn is_prefix(&self) -> bool {
        matches!(
            self,
            Error::Kernel {
                code: code::PREFIX,
                ..
            }
        )
    }
}
