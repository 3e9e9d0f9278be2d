//! The names in `protect`, and the addresses that they stand for.
//!
//! A host's name is asked of the system's resolver, as the phone server asks it: so
//! `/etc/hosts` counts, and a cache keeps what its time to live allows. A service's name
//! (`_sip._udp.trunk.example.net`) has SRV records, which that resolver does not know:
//! they are asked for by the crate `domain`, from the name servers of `/etc/resolv.conf`.
//!
//! Nobody waits for an answer. While there is none the last good one holds, over restarts
//! too. An address that is in no answer any more stays for an hour: where a name stands for
//! many servers, each answer has but a few of them.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::time::Duration;

use domain::base::iana::Rtype;
use domain::base::name::Name;
use domain::rdata::Srv;
use domain::resolv::StubResolver;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::Known;
use crate::daemon::names;
use crate::time::Time;

/// The name under which the answers are kept.
pub const NAMES_FACT: &str = "protect.names";

/// How soon a host's name is looked up again: the resolver's cache answers meanwhile.
const AGAIN: Duration = Duration::from_secs(60);

/// Whatever time to live a service's record names, it is asked for again within this.
const AGAIN_MAX: Duration = Duration::from_secs(3_600);

/// How soon it is tried again without an answer at first; each time it is twice as long.
const RETRY: Duration = Duration::from_secs(5);
const RETRY_MAX: Duration = Duration::from_secs(300);

/// How long an address stays that no answer names any more.
const LINGERS: Duration = Duration::from_secs(3_600);

/// Addresses that one name stands for; those that were seen last count.
const ADDRESSES_MAX: usize = 16;

/// Servers of a service that count.
const TARGETS_MAX: usize = 16;

/// How long a lookup of SRV records may take.
const PATIENCE: Duration = Duration::from_secs(15);

/// What each name stands for, and when an answer last said so.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Names(BTreeMap<String, BTreeMap<IpAddr, i64>>);

/// What a lookup brought.
#[derive(Debug, PartialEq)]
pub struct Answer {
    ips: Vec<IpAddr>,
    /// Are these all? If the address of one of a service's servers is missing, the others
    /// are no reason to forget it.
    is_whole: bool,
    good_for: Duration,
}

impl Names {
    /// Back from [`Names::to_json`]; what cannot be read is nothing.
    pub fn from_json(json: &str) -> Names {
        serde_json::from_str(json).unwrap_or_default()
    }

    /// As it is kept.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Takes an answer over, and says whether it is news who is protected.
    pub fn learn(&mut self, name: &str, answer: &Answer, now: Time) -> bool {
        let seen = self.0.entry(name.to_owned()).or_default();
        let before: Vec<IpAddr> = seen.keys().copied().collect();
        seen.extend(answer.ips.iter().map(|ip| (*ip, now.as_secs())));
        if answer.is_whole {
            seen.retain(|_, last| now.since(Time::from_secs(*last)) < LINGERS);
        }
        while seen.len() > ADDRESSES_MAX {
            let oldest = seen.iter().min_by_key(|(_, last)| **last);
            let Some(oldest) = oldest.map(|(ip, _)| *ip) else {
                break;
            };
            seen.remove(&oldest);
        }
        !seen.keys().eq(before.iter())
    }

    /// Forgets what other names stood for.
    pub fn keep(&mut self, names: &[String]) {
        self.0.retain(|name, _| names.contains(name));
    }

    /// Whom these names protect.
    pub(super) fn known(&self, names: &[String]) -> impl Iterator<Item = Known> {
        let answers = self.0.iter().filter(move |(name, _)| names.contains(name));
        answers.flat_map(|(name, seen)| {
            let known = |ip: &IpAddr| Known::new((*ip).into(), &format!("protect {name}"));
            seen.keys().map(known).collect::<Vec<_>>()
        })
    }
}

/// When each name is to be looked up.
#[derive(Debug, Default)]
pub struct NamesDue(HashMap<String, Turn>);

#[derive(Debug)]
struct Turn {
    /// When it is to be looked up; none while it is.
    due: Option<Instant>,
    failed: u32,
}

impl NamesDue {
    /// Follows these names from now on; new ones are due at once.
    pub fn follow(&mut self, names: &[String], now: Instant) {
        self.0.retain(|name, _| names.contains(name));
        for name in names {
            let turn = Turn {
                due: Some(now),
                failed: 0,
            };
            self.0.entry(name.clone()).or_insert(turn);
        }
    }

    /// The name that is due first, and when.
    pub fn next(&self) -> Option<(String, Instant)> {
        let waiting = self.0.iter();
        let waiting = waiting.filter_map(|(name, turn)| Some((name, turn.due?)));
        let (name, due) = waiting.min_by_key(|(_, due)| *due)?;
        Some((name.clone(), due))
    }

    /// It is being looked up.
    pub fn begin(&mut self, name: &str) {
        if let Some(turn) = self.0.get_mut(name) {
            turn.due = None;
        }
    }

    /// It was looked up.
    pub fn done(&mut self, name: &str, answer: Option<&Answer>, now: Instant) {
        let Some(turn) = self.0.get_mut(name) else {
            return;
        };
        match answer {
            Some(answer) => {
                turn.failed = 0;
                turn.due = Some(now + answer.good_for.clamp(AGAIN, AGAIN_MAX));
            }
            None => {
                let pause = RETRY.saturating_mul(1 << turn.failed.min(16));
                turn.failed = turn.failed.saturating_add(1);
                turn.due = Some(now + pause.min(RETRY_MAX));
            }
        }
    }
}

/// Looks a name up; `None` if there is no answer, or none that names anybody.
pub async fn look_up(name: &str) -> Option<Answer> {
    if !name.starts_with('_') {
        let ips = names::addresses(name.to_owned()).await?;
        return Some(Answer {
            ips,
            is_whole: true,
            good_for: AGAIN,
        })
        .filter(|answer| !answer.ips.is_empty());
    }
    let (targets, good_for) = tokio::time::timeout(PATIENCE, servers(name)).await.ok()??;
    let mut answer = Answer {
        ips: Vec::new(),
        is_whole: true,
        good_for,
    };
    for target in targets {
        match names::addresses(target).await {
            Some(ips) => answer.ips.extend(ips),
            None => answer.is_whole = false,
        }
    }
    Some(answer).filter(|answer| !answer.ips.is_empty())
}

/// The servers of a service, and how long that holds.
async fn servers(name: &str) -> Option<(Vec<String>, Duration)> {
    let name: Name<Vec<u8>> = name.parse().ok()?;
    let resolver = StubResolver::new();
    let answer = resolver.query((&name, Rtype::SRV)).await.ok()?;
    let message = answer.into_message();
    let owner = message.canonical_name()?;
    let records = message.answer().ok()?.limit_to_in::<Srv<_>>();
    let records: Vec<_> = records
        .filter_map(Result::ok)
        .filter(|record| *record.owner() == owner && !record.data().target().is_root())
        .take(TARGETS_MAX)
        .collect();
    let good_for = records
        .iter()
        .map(|record| record.ttl().into_duration())
        .min()?;
    // The dot at the end keeps the search list out.
    let targets = records
        .iter()
        .map(|record| format!("{}.", record.data().target()));
    Some((targets.collect(), good_for))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(ips: &[&str]) -> Answer {
        Answer {
            ips: ips.iter().map(|ip| ip.parse().unwrap()).collect(),
            is_whole: true,
            good_for: AGAIN,
        }
    }

    fn shown(names: &Names) -> Vec<String> {
        let asked = ["trunk.example".to_owned()];
        let known = names.known(&asked);
        known
            .map(|known| format!("{} ({})", known.addr, known.why))
            .collect()
    }

    #[test]
    fn the_last_good_answer_holds_and_each_address_for_an_hour_more() {
        let mut names = Names::default();
        let at = Time::from_secs;
        assert!(names.learn("trunk.example", &answer(&["192.0.2.7", "192.0.2.8"]), at(0)));
        assert!(!names.learn("trunk.example", &answer(&["192.0.2.8"]), at(3_599)));
        let kept = Names::from_json(&names.to_json());
        assert_eq!(kept, names);
        let mut partial = answer(&["192.0.2.9"]);
        partial.is_whole = false;
        assert!(names.learn("trunk.example", &partial, at(90_000)));
        assert_eq!(
            shown(&names),
            [
                "192.0.2.7 (protect trunk.example)",
                "192.0.2.8 (protect trunk.example)",
                "192.0.2.9 (protect trunk.example)"
            ]
        );
        assert!(names.learn("trunk.example", &answer(&["192.0.2.9"]), at(90_000)));
        assert_eq!(shown(&names), ["192.0.2.9 (protect trunk.example)"]);
        names.keep(&[]);
        assert!(shown(&names).is_empty());
        assert_eq!(Names::from_json("{\"x\": [1]}"), Names::default());
    }

    #[test]
    fn a_name_stands_for_a_bounded_number_of_addresses() {
        let mut names = Names::default();
        for host in 0..=255 {
            let ip = format!("192.0.2.{host}");
            names.learn("trunk.example", &answer(&[&ip]), Time::from_secs(host));
        }
        assert_eq!(shown(&names).len(), ADDRESSES_MAX);
        assert!(shown(&names)[15].starts_with("192.0.2.255 "));
    }

    #[tokio::test(start_paused = true)]
    async fn names_without_an_answer_are_tried_ever_more_seldom() {
        let start = Instant::now();
        let mut due = NamesDue::default();
        due.follow(&["a".to_owned()], start);
        let mut now = start;
        let mut pauses = Vec::new();
        for _ in 0..8 {
            due.done("a", None, now);
            let (_, next) = due.next().unwrap();
            pauses.push(next.duration_since(now).as_secs());
            now = next;
        }
        assert_eq!(pauses, [5, 10, 20, 40, 80, 160, 300, 300]);
        let mut good = answer(&["192.0.2.7"]);
        for (ttl, pause) in [(0, 60), (120, 120), (1_000_000, 3_600)] {
            good.good_for = Duration::from_secs(ttl);
            due.done("a", Some(&good), now);
            assert_eq!(due.next().unwrap().1.duration_since(now).as_secs(), pause);
        }
        due.done("a", None, now);
        assert_eq!(due.next().unwrap().1.duration_since(now), RETRY);
        due.begin("a");
        assert!(due.next().is_none());
        due.done("a", None, now);
        assert_eq!(due.next().unwrap().1.duration_since(now), 2 * RETRY);
        due.follow(&[], now);
        assert!(due.next().is_none());
    }
}
