//! action: carries orders out in the kernel's firewall.
//!
//! Each [`Set`] is two kernel sets, IPv4 and IPv6 (their names are in `name`). All
//! that block are members of one list, `ringfence`, and one rule per family drops
//! what is in it, unless the allow set has it (see `rules`). To do an order twice
//! is harmless, and entries expire by themselves: the kernel keeps its word even if
//! we never come back. Nothing is taken away when a [`Firewall`] is dropped.
//!
//! **Bans never wait for a load.** A ban is one message of some 4 µs. A load sends
//! many, and the kernel holds its lock for one of them, 50 µs, at a time. So run two
//! threads, each with its own [`Firewall`] (see [`Firewall::handle`]): one for the
//! orders of [`Set::List`], one for all others. Since a set has one thread, the order
//! of what is done to it is kept. Sets are made for their full size at once, because
//! while the kernel enlarges a table everybody waits, for 0.1 s or more.
//!
//! Absent: who is banned and why, and any clock.

mod apply;
mod choice;
pub mod conntrack;
mod error;
mod family;
mod firewall;
mod foreign;
pub mod ipset;
mod monitor;
pub mod name;
pub mod netlink;
pub mod nftables;
mod program;
mod reach;
pub mod saved;
mod signalling;
pub mod stock;

use std::fmt;

pub use choice::Backend;
pub use error::Error;
pub use family::{Family, Kept};
pub use firewall::{Everybody, Firewall, Glance, Missing, Note};
pub use monitor::Monitor;
pub use reach::{Ports, Reach, Reaches, Transport};

use crate::addr::Addr;
use crate::ticket::{Order, Set};

/// Entries in one message. The kernel holds one lock for a whole message, so this is
/// how long a load makes a ban wait: about 50 µs.
pub const BATCH_MAX: usize = 128;

/// Carries out orders.
pub trait Action {
    /// Does all waiting orders. Sets are served one after the other, the allow set
    /// first and the list last; orders of one set are done in the order given.
    /// `outcome` is told of every load, and of every order that could not be done;
    /// neither stops the others. Time-outs of entries for the allow set are ignored.
    fn apply(&mut self, orders: &[Order], outcome: &mut dyn FnMut(Outcome));
}

/// What became of an order.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// A load was done.
    Loaded {
        /// Which page.
        page: u64,
        /// How many of its entries were not taken.
        refused: usize,
    },
    /// A load was not done, or only in part; to send it again is harmless.
    LoadFailed {
        /// Which page.
        page: u64,
        /// Why.
        error: Error,
    },
    /// A block or unblock was not done.
    Refused {
        /// Where.
        set: Set,
        /// Whom.
        addr: Addr,
        /// Why.
        error: Error,
    },
    /// A set took no more entries ([`Error::Full`]): an operator must act. Told once
    /// for each `apply` and kernel set; each ban that found no room is
    /// [`Outcome::Refused`] besides, and entries of a load are counted in `refused`.
    Full {
        /// Which set.
        set: Set,
        /// The sentence, with the setting that helps.
        error: Error,
    },
}

/// How many entries sets can hold, for each family. From the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// `firewall.max_bans`: each jail's set, and that of the throttled.
    pub jail: u32,
    /// `apiban.max_entries`: APIBAN's list.
    pub list: u32,
    /// The allow set: own addresses, gateways, resolvers and `protect`.
    pub allow: u32,
}

impl Sizes {
    fn maxelem(&self, set: &Set) -> (u32, &'static str) {
        match set {
            Set::Jail(_) | Set::Throttled => (self.jail, "firewall.max_bans"),
            Set::List => (self.list, "apiban.max_entries"),
            Set::Allow => (self.allow, "protect"),
        }
    }
}

/// Protected addresses do not expire: in the allow set, time-outs are ignored.
fn has_timeouts(set: &Set) -> bool {
    !matches!(set, Set::Allow)
}

/// An action that touches nothing: for dry runs and for tests.
pub struct DryRun<'a> {
    tell: Box<dyn FnMut(&Order) + Send + 'a>,
}

impl<'a> DryRun<'a> {
    /// Hands each order to `tell`, in the order in which they come.
    pub fn new(tell: impl FnMut(&Order) + Send + 'a) -> Self {
        DryRun {
            tell: Box::new(tell),
        }
    }

    /// Writes into the log what would have been done.
    pub fn logging() -> Self {
        DryRun::new(|order| match order {
            Order::Block { set, entry } => {
                let timeout_secs = entry.timeout_secs;
                tracing::info!(%set, addr = %entry.addr, timeout_secs, "would block");
            }
            Order::Unblock { set, addr } => {
                tracing::info!(%set, %addr, "would unblock");
            }
            Order::Load { set, page, entries } => {
                tracing::info!(%set, page, entries = entries.len(), "would load");
            }
        })
    }
}

impl Action for DryRun<'_> {
    fn apply(&mut self, orders: &[Order], outcome: &mut dyn FnMut(Outcome)) {
        for order in orders {
            (self.tell)(order);
            if let Order::Load { page, .. } = order {
                let (page, refused) = (*page, 0);
                outcome(Outcome::Loaded { page, refused });
            }
        }
    }
}

impl fmt::Debug for DryRun<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DryRun")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dry_run_tells_and_says_that_pages_are_loaded() {
        let addr = "192.0.2.7".parse().unwrap();
        let set = Set::List;
        let orders = [
            Order::Load {
                set: set.clone(),
                page: 3,
                entries: [].into(),
            },
            Order::Unblock { set, addr },
        ];
        let (mut told, mut outcomes) = (Vec::new(), Vec::new());
        DryRun::new(|order| told.push(order.clone()))
            .apply(&orders, &mut |outcome| outcomes.push(outcome));
        assert_eq!(told, orders);
        let (page, refused) = (3, 0);
        assert_eq!(outcomes, [Outcome::Loaded { page, refused }]);
    }
}
