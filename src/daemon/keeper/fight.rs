//! A fight: somebody takes away again and again what the keeper puts back.
//!
//! Only repairs that worked count: what could not be put back nobody took away. As long as it
//! lasts nothing is put back, and it is over when what is missing has stayed the same for a
//! while. What else changes in the firewall is no sign of him: our own bans change it too.

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use crate::ticket::JailName;

/// More repairs than this within [`SPAN`] are a fight.
pub(super) const REPAIRS_MAX: usize = 3;

/// See [`REPAIRS_MAX`].
const SPAN: Duration = Duration::from_secs(60);

/// How long the firewall must be left alone until he tries again after a fight.
pub(super) const PEACE: Duration = Duration::from_secs(60);

/// What is missing: our own objects in words, and the jails whose stock actions lack any.
pub(super) type Missed = (Vec<String>, BTreeSet<JailName>);

/// What the keeper remembers of others' hands.
#[derive(Debug, Default)]
pub(super) struct Fight {
    /// When he repaired lately.
    repairs: VecDeque<Instant>,
    /// What is missing in a fight, and since when that has not changed.
    calm: Option<(Missed, Instant)>,
}

impl Fight {
    /// Something was put back.
    pub(super) fn repaired(&mut self, now: Instant) {
        self.repairs.push_back(now);
    }

    /// May something be put back again? If not, a fight begins, and this is missing in it.
    pub(super) fn begins(&mut self, missed: Missed, now: Instant) -> bool {
        let is_old = |at: &Instant| now.saturating_duration_since(*at) > SPAN;
        while self.repairs.front().is_some_and(is_old) {
            self.repairs.pop_front();
        }
        if self.repairs.len() < REPAIRS_MAX {
            return false;
        }
        self.repairs.clear();
        self.calm = Some((missed, now));
        true
    }

    /// This is missing now.
    pub(super) fn see(&mut self, missed: Missed, now: Instant) {
        if let Some((before, since)) = &mut self.calm
            && *before != missed
        {
            (*before, *since) = (missed, now);
        }
    }

    /// Since when the firewall has been left alone, in a fight.
    pub(super) fn calm_since(&self) -> Option<Instant> {
        self.calm.as_ref().map(|(_, since)| *since)
    }

    /// Is it not over yet?
    pub(super) fn is_on(&self, now: Instant) -> bool {
        self.calm_since()
            .is_some_and(|since| now.saturating_duration_since(since) < PEACE)
    }

    /// It is over; was there one?
    pub(super) fn end(&mut self) -> bool {
        self.calm.take().is_some()
    }

    /// All is forgotten.
    pub(super) fn forget(&mut self) {
        *self = Fight::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fight_is_what_others_do() {
        let start = Instant::now();
        let at = |secs| start + Duration::from_secs(secs);
        let missed = |what: &str| -> Missed { (vec![what.to_owned()], BTreeSet::new()) };
        let mut fight = Fight::default();
        // What could not be put back is none.
        for secs in 0..10 {
            assert!(!fight.begins(missed("a"), at(secs)));
        }
        for secs in [0, 61, 62, 63] {
            assert!(!fight.begins(missed("a"), at(secs)), "{secs}");
            fight.repaired(at(secs));
        }
        assert!(fight.begins(missed("a"), at(64)));
        // Our bans go on meanwhile, and the same is missing each time.
        for secs in 64..124 {
            fight.see(missed("a"), at(secs));
            assert!(fight.is_on(at(secs)), "{secs}");
        }
        assert!(!fight.is_on(at(124)));
        fight.see(missed("b"), at(124));
        assert!(fight.is_on(at(183)) && !fight.is_on(at(184)));
        assert!(fight.end() && !fight.end());
        assert!(!fight.begins(missed("b"), at(184)), "it counts anew");
    }
}
