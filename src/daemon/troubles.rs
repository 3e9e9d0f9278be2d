//! What goes wrong in the kernel for longer than a moment: sets that are full, and orders
//! that it refuses whoever they are about.
//!
//! Each is an alarm once, when it begins, and stands in `status` as long as it lasts, and
//! [`REMEMBERED`] longer: an attack tells of the same thousands of times.
//!
//! Absent: what somebody took away (see `keeper`), and what is no trouble of the kernel's.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::action::{Error, Outcome};
use crate::ticket::Set;

/// For how long a trouble that does not come back is shown.
const REMEMBERED: Duration = Duration::from_secs(600);

/// A trouble.
#[derive(Clone, Debug)]
struct Trouble {
    /// It in words, with what to do.
    words: String,
    /// How many orders it has cost.
    orders: u64,
    /// How many entries a set must have to be full.
    entries: Option<usize>,
    last: Instant,
}

/// All that there are: of a set that is full, and else of one kind of error each.
#[derive(Debug, Default)]
pub(super) struct Troubles(BTreeMap<(Option<Set>, String), Trouble>);

impl Troubles {
    /// Takes in what became of an order; is it an alarm that has been raised already?
    pub(super) fn hear(&mut self, outcome: &Outcome, now: Instant) -> bool {
        self.forget(now);
        match outcome {
            Outcome::Full { set, error } => !self.note(Some(set), error, 0, now),
            Outcome::Refused { set, error, .. } if matches!(error, Error::Full { .. }) => {
                self.note(Some(set), error, 1, now);
                false
            }
            Outcome::Refused { error, .. } if is_alarm(error) => !self.note(None, error, 1, now),
            Outcome::LoadFailed { error, .. } if is_alarm(error) => {
                self.note(None, error, 1, now);
                false // the feed must know of each
            }
            _ => false,
        }
    }

    /// Is it new?
    fn note(&mut self, set: Option<&Set>, error: &Error, orders: u64, now: Instant) -> bool {
        let words = error.to_string();
        // Of a full set each family has its own.
        let key = (set.cloned(), words.clone());
        let is_new = !self.0.contains_key(&key);
        let trouble = self.0.entry(key).or_insert(Trouble {
            words,
            orders: 0,
            entries: match error {
                Error::Full { maxelem, .. } => usize::try_from(*maxelem).ok(),
                _ => None,
            },
            last: now,
        });
        trouble.orders += orders;
        trouble.last = now;
        is_new
    }

    fn forget(&mut self, now: Instant) {
        self.0
            .retain(|_, trouble| now.duration_since(trouble.last) < REMEMBERED);
    }

    /// All of them in words; `count` says how many a set holds now.
    pub(super) fn shown(&mut self, now: Instant, count: &dyn Fn(&Set) -> usize) -> Vec<String> {
        for ((set, _), trouble) in &mut self.0 {
            let is_full = |set| trouble.entries.is_some_and(|entries| count(set) >= entries);
            if set.as_ref().is_some_and(is_full) {
                trouble.last = now;
            }
        }
        self.forget(now);
        let shown = self.0.values().map(|trouble| match trouble.orders {
            0 => trouble.words.clone(),
            1 => format!("{}; one order was refused so", trouble.words),
            orders => format!("{}; {orders} orders were refused so", trouble.words),
        });
        shown.collect()
    }
}

/// Does it last, without a word from elsewhere? What is missing is the keeper's business, and
/// what is foreign he tells.
fn is_alarm(error: &Error) -> bool {
    error.is_lasting() && !error.is_foreign() && !matches!(error, Error::Missing { .. })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_trouble_is_one_alarm_and_is_shown_while_it_lasts() {
        let start = Instant::now();
        let set = Set::Jail("asterisk".into());
        let full = Error::Full {
            name: "ringfence-asterisk".to_owned(),
            maxelem: 2,
            setting: "firewall.max_bans",
        };
        let addr = "192.0.2.7".parse().unwrap();
        let refused = |error: &Error| Outcome::Refused {
            set: set.clone(),
            addr,
            error: error.clone(),
        };
        let permission = Error::Permission {
            doing: "change the firewall".to_owned(),
            capability: "CAP_NET_ADMIN",
        };
        let missing = Error::Missing {
            name: "ringfence-asterisk".to_owned(),
        };
        let mut troubles = Troubles::default();
        let told = Outcome::Full {
            set: set.clone(),
            error: full.clone(),
        };
        let heard: Vec<bool> = [
            &told,
            &refused(&full),
            &refused(&full),
            &told,
            &refused(&permission),
            &refused(&permission),
            &refused(&missing),
            &refused(&missing),
        ]
        .iter()
        .map(|outcome| troubles.hear(outcome, start))
        .collect();
        // Whoever found no room is the engine's business each time.
        assert_eq!(
            heard,
            [false, false, false, true, false, true, false, false]
        );
        let shown = troubles.shown(start, &|_| 2);
        assert_eq!(shown.len(), 2, "{shown:?}");
        assert!(
            shown[0].contains("CAP_NET_ADMIN") && shown[0].ends_with("2 orders were refused so")
        );
        assert_eq!(
            shown[1],
            "the set ringfence-asterisk is full (2 entries); change `firewall.max_bans` in ringfence.toml and restart; 2 orders were refused so"
        );
        // One is full still, the other has not come back.
        let later = start + REMEMBERED;
        assert_eq!(troubles.shown(later, &|_| 2).len(), 1);
        assert_eq!(troubles.shown(later + REMEMBERED, &|_| 1), [""; 0]);
        assert!(!troubles.hear(&told, later + REMEMBERED), "an alarm again");
    }
}
