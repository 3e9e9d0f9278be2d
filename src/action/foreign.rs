//! Kernel objects of our names that are somebody else's.
//!
//! Who looks finds them, and from then on nobody of us reads, fills or removes them: what
//! is in there is no ban of ours.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use super::error::Error;

/// What is there, by its name. All handles of a firewall know the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Foreign(Arc<RwLock<BTreeMap<String, Error>>>);

impl Foreign {
    /// From now on these are all.
    pub(super) fn are(&self, found: BTreeMap<String, Error>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = found;
    }

    /// Is the object of this name foreign? In words.
    pub(super) fn at(&self, name: &str) -> Option<Error> {
        let found = self.0.read().unwrap_or_else(PoisonError::into_inner);
        found.get(name).cloned()
    }
}
