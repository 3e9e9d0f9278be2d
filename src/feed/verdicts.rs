//! What APIBAN said lately of single addresses: a cache that the engine owns.
//!
//! An address is asked about once; while its answer is under way, later askers
//! wait for the same one. Answers age: "listed" for a day, "not listed" for ten
//! minutes, since an attacker is listed minutes after it began. No answer is not
//! an answer: it only holds off the next question for a moment.
//!
//! No I/O here, no clock and no task: everything is told the time. The list that
//! was loaded is not in here; it is looked at before this cache.

use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::time::Duration;

use lru::LruCache;

use crate::ticket::Verdict;
use crate::time::Time;

/// How many addresses are remembered: a scan from a botnet fits, at about 1 MB.
pub const VERDICTS_MAX: usize = 10_000;
/// How long "listed" is believed; the ban itself has its own end.
pub const LISTED_FOR: Duration = Duration::from_secs(24 * 3600);
/// How long "not listed" is believed.
pub const NOT_LISTED_FOR: Duration = Duration::from_secs(600);
/// How long no new question is asked after one that had no answer.
pub const HOLD_OFF: Duration = Duration::from_secs(30);
/// How long an answer is waited for. The feed answers within 60 s in its queue
/// and 5 s on the network; this only heals a feed that lost a question.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// What the cache knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cached {
    /// The answer. After [`Verdict::NoAnswer`] a new question must wait.
    Known(Verdict),
    /// Somebody asked, and the answer is on its way.
    InFlight,
    /// Nothing: ask.
    Unknown,
}

/// What is remembered of one address.
#[derive(Clone, Copy, Debug)]
struct Memory {
    /// `None` while the question is under way.
    verdict: Option<Verdict>,
    since: Time,
}

impl Memory {
    /// Is it still worth something? A clock that was set back makes it worthless.
    fn holds(&self, now: Time) -> bool {
        let lasting = match self.verdict {
            Some(Verdict::Listed) => LISTED_FOR,
            Some(Verdict::NotListed) => NOT_LISTED_FOR,
            Some(Verdict::NoAnswer) => HOLD_OFF,
            None => PATIENCE,
        };
        self.since <= now && now < self.since + lasting
    }
}

/// The cache.
#[derive(Debug)]
pub struct Verdicts(LruCache<IpAddr, Memory>);

impl Default for Verdicts {
    fn default() -> Self {
        Self::new(VERDICTS_MAX)
    }
}

impl Verdicts {
    /// A cache of at most `entries` addresses, and of one at least.
    pub fn new(entries: usize) -> Self {
        Verdicts(LruCache::new(
            NonZeroUsize::new(entries).unwrap_or(NonZeroUsize::MIN),
        ))
    }

    /// What is known of `ip`.
    pub fn lookup(&mut self, ip: IpAddr, now: Time) -> Cached {
        match self.0.get(&ip.to_canonical()) {
            Some(memory) if memory.holds(now) => {
                memory.verdict.map_or(Cached::InFlight, Cached::Known)
            }
            _ => Cached::Unknown,
        }
    }

    /// The question about `ip` is under way.
    pub fn asked(&mut self, ip: IpAddr, now: Time) {
        self.remember(ip, None, now);
    }

    /// The answer came. It never takes back a "listed" that still holds: that
    /// came from a page while the question was under way, and is newer.
    pub fn answered(&mut self, ip: IpAddr, verdict: Verdict, now: Time) {
        let listed = self
            .0
            .peek(&ip.to_canonical())
            .is_some_and(|memory| memory.verdict == Some(Verdict::Listed) && memory.holds(now));
        if !listed || verdict == Verdict::Listed {
            self.remember(ip, Some(verdict), now);
        }
    }

    /// An operator pardons these: what is remembered of them counts as "not listed".
    pub fn pardon(&mut self, is_pardoned: impl Fn(IpAddr) -> bool, now: Time) {
        for (_, memory) in self.0.iter_mut().filter(|(ip, _)| is_pardoned(**ip)) {
            *memory = Memory {
                verdict: Some(Verdict::NotListed),
                since: now,
            };
        }
    }

    /// The address came with a page of the list: a "not listed" is over at once.
    /// An address that nobody asked about is not taken in; the list knows it.
    pub fn listed_by_page(&mut self, ip: IpAddr, now: Time) {
        if let Some(memory) = self.0.peek_mut(&ip.to_canonical()) {
            *memory = Memory {
                verdict: Some(Verdict::Listed),
                since: now,
            };
        }
    }

    /// How many addresses are remembered, aged ones included.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Is nothing remembered?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn remember(&mut self, ip: IpAddr, verdict: Option<Verdict>, now: Time) {
        let memory = Memory {
            verdict,
            since: now,
        };
        self.0.put(ip.to_canonical(), memory);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect(text)
    }

    fn at(secs: i64) -> Time {
        Time::from_secs(1_000_000 + secs)
    }

    #[test]
    fn answers_age() {
        for (verdict, lasts) in [
            (Verdict::Listed, 86_400),
            (Verdict::NotListed, 600),
            (Verdict::NoAnswer, 30),
        ] {
            let mut verdicts = Verdicts::default();
            let attacker = ip("192.0.2.7");
            assert_eq!(verdicts.lookup(attacker, at(0)), Cached::Unknown);
            verdicts.asked(attacker, at(0));
            assert_eq!(verdicts.lookup(attacker, at(1)), Cached::InFlight);
            verdicts.answered(attacker, verdict, at(2));
            for (secs, wanted) in [
                (2, Cached::Known(verdict)),
                (1 + lasts, Cached::Known(verdict)),
                (2 + lasts, Cached::Unknown),
                (-5, Cached::Unknown), // the clock was set back
            ] {
                assert_eq!(
                    verdicts.lookup(attacker, at(secs)),
                    wanted,
                    "{verdict:?} {secs}"
                );
            }
        }
    }

    #[test]
    fn a_lost_question_is_asked_again() {
        let mut verdicts = Verdicts::default();
        verdicts.asked(ip("192.0.2.7"), at(0));
        assert_eq!(verdicts.lookup(ip("192.0.2.7"), at(119)), Cached::InFlight);
        assert_eq!(verdicts.lookup(ip("192.0.2.7"), at(120)), Cached::Unknown);
    }

    #[test]
    fn a_page_overrules_not_listed_at_once() {
        let mut verdicts = Verdicts::default();
        let attacker = ip("192.0.2.7");
        verdicts.answered(attacker, Verdict::NotListed, at(0));
        verdicts.listed_by_page(attacker, at(1));
        assert_eq!(
            verdicts.lookup(attacker, at(2)),
            Cached::Known(Verdict::Listed)
        );
        // An answer that was under way meanwhile is older than the page.
        for verdict in [Verdict::NotListed, Verdict::NoAnswer] {
            verdicts.answered(attacker, verdict, at(3));
            assert_eq!(
                verdicts.lookup(attacker, at(4)),
                Cached::Known(Verdict::Listed)
            );
        }
        verdicts.answered(attacker, Verdict::NotListed, at(90_000));
        assert_eq!(
            verdicts.lookup(attacker, at(90_001)),
            Cached::Known(Verdict::NotListed)
        );
        verdicts.listed_by_page(ip("192.0.2.8"), at(1));
        assert_eq!(verdicts.len(), 1);
    }

    #[test]
    fn one_address_in_two_spellings() {
        let mut verdicts = Verdicts::default();
        verdicts.asked(ip("::ffff:192.0.2.7"), at(0));
        assert_eq!(verdicts.lookup(ip("192.0.2.7"), at(1)), Cached::InFlight);
    }

    #[test]
    fn it_is_bounded_and_forgets_the_least_used() {
        let mut verdicts = Verdicts::new(2);
        verdicts.answered(ip("192.0.2.1"), Verdict::Listed, at(0));
        verdicts.answered(ip("192.0.2.2"), Verdict::Listed, at(0));
        verdicts.lookup(ip("192.0.2.1"), at(1));
        verdicts.answered(ip("192.0.2.3"), Verdict::Listed, at(1));
        assert_eq!(verdicts.len(), 2);
        assert_eq!(verdicts.lookup(ip("192.0.2.2"), at(2)), Cached::Unknown);
        assert_eq!(
            verdicts.lookup(ip("192.0.2.1"), at(2)),
            Cached::Known(Verdict::Listed)
        );
    }
}
