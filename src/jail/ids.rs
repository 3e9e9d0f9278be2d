//! Ids: failures that are counted by something else than their address (`<F-ID>`).
//!
//! As in fail2ban, failures of one id count together, wherever they come from, and the
//! address of the first of them is whom the jail bans. So an id leads to that address, for as
//! long as the address has tries of this id; and tries of several ids are as those of
//! several line forms: they do not add up. An id is log text: it goes nowhere else.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::num::NonZeroUsize;

use lru::LruCache;

use crate::addr::Addr;

/// Ids that are remembered; the one that was silent longest begins anew.
const IDS_MAX: NonZeroUsize = NonZeroUsize::new(4_096).unwrap();

/// The ids that were seen, each with the address of its first failure.
#[derive(Debug, Default)]
pub struct Ids {
    /// None until there is one: few jails have any.
    first: Option<LruCache<Box<str>, Addr>>,
}

impl Ids {
    /// For whom a failure of `addr` with this id counts, if `counts` says of an address that
    /// tries of this id are on its account.
    pub fn offender(&mut self, id: &str, addr: Addr, counts: impl Fn(&Addr) -> bool) -> Addr {
        let first = self.first.get_or_insert_with(|| LruCache::new(IDS_MAX));
        match first.get(id) {
            Some(known) if counts(known) => *known,
            _ => {
                first.put(id.into(), addr);
                addr
            }
        }
    }
}

/// The number under which an id's tries are counted: never 0, which is that of all others.
pub fn form(id: &str) -> u32 {
    let mut hasher = DefaultHasher::new();
    id.hash(&mut hasher);
    (hasher.finish() as u32).max(1)
}
