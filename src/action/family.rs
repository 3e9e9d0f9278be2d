//! The words that both kinds of kernel sets share: the family, and an entry.

use serde::{Deserialize, Serialize};

use crate::addr::Addr;

/// IPv4 or IPv6. A set holds one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, PartialOrd, Ord)]
pub enum Family {
    /// `inet`
    V4,
    /// `inet6`
    V6,
}

impl Family {
    /// Both.
    pub const BOTH: [Family; 2] = [Family::V4, Family::V6];

    /// Which one `addr` is of.
    pub fn of(addr: &Addr) -> Self {
        if addr.is_ipv6() {
            Family::V6
        } else {
            Family::V4
        }
    }

    /// As ipset and nft write it.
    pub fn word(self) -> &'static str {
        match self {
            Family::V4 => "inet",
            Family::V6 => "inet6",
        }
    }

    /// The length of a prefix that is one address.
    pub fn bits(self) -> u8 {
        match self {
            Family::V4 => 32,
            Family::V6 => 128,
        }
    }

    /// `NFPROTO_IPV4` and `NFPROTO_IPV6`.
    pub(super) fn number(self) -> u8 {
        match self {
            Family::V4 => 2,
            Family::V6 => 10,
        }
    }
}

/// One entry as the kernel keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Whom.
    pub addr: Addr,
    /// Seconds that are left; 0 is until removed.
    pub timeout_secs: u32,
    /// Packets that matched.
    pub packets: u64,
    /// Bytes that matched.
    pub bytes: u64,
}
