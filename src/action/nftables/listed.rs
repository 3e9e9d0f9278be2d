//! The chain for who is on the list: what they send is counted, by source, and dropped.
//!
//! `ip saddr @ringfence-apiban jump ringfence-listed`, and there `update
//! @ringfence-apiban/senders { ip saddr counter }` and `drop`. The entries of jails' sets
//! have counters of their own; in nf_tables such a counter takes memory on every processor
//! and two thirds of the time in which an entry is put in. Of a million listed addresses
//! few ever send anything, so only those have one. Where that many send that the meter has
//! no room the others are dropped uncounted.

use super::rule::{self, put_counted, put_family, put_source, put_verdict};
use crate::action::family::Family;
use crate::action::name::Name;
use crate::action::netlink::Request;
use crate::ticket::Set;

/// The chain.
pub(super) const CHAIN: &str = "ringfence-listed";

/// A source that is silent for so long is forgotten.
const REMEMBERED_SECS: u32 = 24 * 60 * 60;

/// The name of the meter of a family.
pub(super) fn meter(family: Family) -> String {
    let set = Name::in_nftables(&Set::List, family, family.bits());
    format!("{}/senders", &*set)
}

/// Both meters.
pub(super) fn meters() -> impl Iterator<Item = super::Meter> {
    Family::BOTH.into_iter().map(|family| super::Meter {
        name: meter(family),
        family,
        remembered_secs: REMEMBERED_SECS,
    })
}

/// One rule.
#[derive(Clone, Copy, Debug)]
pub(super) enum Listed {
    /// The source is counted.
    Count(Family),
    /// All is dropped.
    Drop,
}

/// All rules in their order.
pub(super) const RULES: [Listed; 3] = [
    Listed::Count(Family::V4),
    Listed::Count(Family::V6),
    Listed::Drop,
];

impl Listed {
    pub(super) fn write(self, request: &mut Request) {
        request.put_text(rule::TABLE, super::TABLE);
        request.put_text(rule::CHAIN, CHAIN);
        request.nest(rule::EXPRESSIONS, |list| match self {
            Listed::Count(family) => {
                put_family(list, family);
                put_source(list, family);
                put_counted(list, &meter(family), "counter", |_| {});
            }
            Listed::Drop => put_verdict(list, rule::DROP, None),
        });
    }
}
