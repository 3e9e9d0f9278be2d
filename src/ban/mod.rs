//! The ledger: who is banned, by which jail, and until when.
//!
//! The ledger is the truth; the kernel's sets and the database are copies of it.
//! A ban is carried out first and written down next, so a crash between the two
//! leaves an address that is blocked and that the next start reads back from the
//! kernel, never one that we forgot. Blocking twice is harmless; every action
//! must keep it so.
//!
//! Nothing here reads the clock or touches the disk: [`Ledger`] is told what
//! time it is, and [`store`] writes what the ledger says.

pub mod archive;
mod bans;
pub mod listed;
mod logs;
pub mod look;
mod open;
pub mod record;
mod rows;
mod salvage;
mod standings;
pub mod store;
mod tries;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::ops::Bound;
use std::time::Duration;

use crate::addr::Addr;
use crate::ticket::{Ban, JailName, KERNEL_TIMEOUT_SECS_MAX, Reason};
use crate::time::Time;

/// How long before a clamped kernel entry runs out it is laid on again. An hour
/// is far more than the daemon is ever late, and a negligible part of 24 days.
const RENEW_BEFORE: Duration = Duration::from_secs(3_600);

/// Deadlines that may lie about for bans that were lifted or prolonged, beyond
/// one for each ban, before they are cleared away.
const DEADLINES_SLACK: usize = 1_024;

/// What has become due.
#[derive(Clone, Debug, PartialEq)]
pub enum Due {
    /// This ban has ended and is no longer in the ledger.
    Ended(Ban),
    /// This ban goes on for longer than one kernel time-out: lay it on again.
    Renew(Ban),
}

/// All bans in force.
#[derive(Debug, Default)]
pub struct Ledger {
    jails: BTreeMap<JailName, Page>,
}

/// The bans of one jail.
#[derive(Debug, Default)]
struct Page {
    // In order, so that a list of them can be taken up again behind any address.
    bans: BTreeMap<Addr, Held>,
    // Entries whose ban changed meanwhile are skipped when they come up.
    deadlines: BinaryHeap<Reverse<(Time, Addr)>>,
    renewals: HashMap<Addr, Time>,
}

/// A ban without what its place says already: a ledger may hold very many.
#[derive(Debug)]
struct Held {
    since: Time,
    until: Option<Time>,
    reason: Reason,
    tries: u32,
}

impl Held {
    fn ban(&self, jail: &JailName, addr: Addr) -> Ban {
        let Held {
            since,
            until,
            reason,
            tries,
        } = *self;
        Ban {
            jail: jail.clone(),
            addr,
            since,
            until,
            reason,
            tries,
        }
    }
}

impl Ledger {
    /// The ban that `jail` holds over `addr`.
    pub fn get(&self, jail: &str, addr: &Addr) -> Option<Ban> {
        let (jail, page) = self.jails.get_key_value(jail)?;
        Some(page.bans.get(addr)?.ban(jail, *addr))
    }

    /// Enters a ban at time `now`; an older one of the same jail and address gives way.
    pub fn insert(&mut self, ban: &Ban, now: Time) {
        let Ban {
            ref jail,
            addr,
            since,
            until,
            reason,
            tries,
        } = *ban;
        let page = self.jails.entry(jail.clone()).or_default();
        page.bans.insert(
            addr,
            Held {
                since,
                until,
                reason,
                tries,
            },
        );
        page.schedule(addr, until, now);
    }

    /// Makes room for so many more bans of one jail.
    pub fn reserve(&mut self, jail: &JailName, bans: usize) {
        let page = self.jails.entry(jail.clone()).or_default();
        page.deadlines.reserve(bans);
    }

    /// Strikes a ban out.
    pub fn remove(&mut self, jail: &str, addr: &Addr) -> Option<Ban> {
        let ban = self.get(jail, addr)?;
        let page = self.jails.get_mut(jail)?;
        page.bans.remove(addr);
        page.renewals.remove(addr);
        Some(ban)
    }

    /// The bans of all jails that hold some of `addr` or lie inside it.
    pub fn overlapping(&self, addr: &Addr) -> Vec<Ban> {
        let bans = |(jail, page): (&JailName, &Page)| {
            let held = page.bans.iter().filter(|(held, _)| held.overlaps(addr));
            held.map(|(addr, held)| held.ban(jail, *addr))
                .collect::<Vec<_>>()
        };
        let mut found: Vec<Ban> = self.jails.iter().flat_map(bans).collect();
        found.sort_by(|a, b| (&a.jail, a.addr).cmp(&(&b.jail, b.addr)));
        found
    }

    /// The bans of one jail, in the order of addresses.
    pub fn of_jail(&self, jail: &str) -> impl Iterator<Item = Ban> {
        let page = self.jails.get_key_value(jail).into_iter();
        page.flat_map(|(jail, page)| page.bans.iter().map(|(addr, held)| held.ban(jail, *addr)))
    }

    /// The bans behind a place, in the order of jails and addresses: of all jails, or of one.
    /// Whoever goes on behind the last ban he got sees each that stays exactly once,
    /// whatever comes and goes meanwhile.
    pub fn behind<'a>(
        &'a self,
        jail: Option<&'a str>,
        place: Option<(&'a str, Addr)>,
    ) -> impl Iterator<Item = Ban> + 'a {
        let first = match (jail, place) {
            (Some(jail), _) | (None, Some((jail, _))) => Bound::Included(jail),
            (None, None) => Bound::Unbounded,
        };
        let pages = self.jails.range::<str, _>((first, Bound::Unbounded));
        let pages = pages.take_while(move |(name, _)| jail.is_none_or(|jail| jail == &***name));
        pages.flat_map(move |(jail, page)| {
            let first = match place {
                Some((of, addr)) if of == &**jail => Bound::Excluded(addr),
                _ => Bound::Unbounded,
            };
            let held = page.bans.range((first, Bound::Unbounded));
            held.map(|(addr, held)| held.ban(jail, *addr))
        })
    }

    /// How many bans one jail holds.
    pub fn len_of(&self, jail: &str) -> usize {
        self.jails.get(jail).map_or(0, |page| page.bans.len())
    }

    /// How many bans there are.
    pub fn len(&self) -> usize {
        self.jails.values().map(|page| page.bans.len()).sum()
    }

    /// Is nobody banned?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// When something becomes due next.
    pub fn next_deadline(&self) -> Option<Time> {
        self.jails.values().filter_map(Page::next_deadline).min()
    }

    /// Takes the next thing that is due at `now`; ask again until it is `None`.
    pub fn due(&mut self, now: Time) -> Option<Due> {
        self.jails
            .iter_mut()
            .find_map(|(jail, page)| page.due(jail, now))
    }
}

impl Page {
    fn next_deadline(&self) -> Option<Time> {
        self.deadlines.peek().map(|Reverse((time, _))| *time)
    }

    fn due(&mut self, jail: &JailName, now: Time) -> Option<Due> {
        while self.next_deadline().is_some_and(|time| time <= now) {
            let Reverse((time, addr)) = self.deadlines.pop()?;
            let Some(held) = self.bans.get(&addr) else {
                continue;
            };
            let ban = held.ban(jail, addr);
            if ban.until.is_some_and(|until| until <= now) {
                self.bans.remove(&addr);
                self.renewals.remove(&addr);
                return Some(Due::Ended(ban));
            }
            if self.renewals.get(&addr) == Some(&time) {
                self.schedule(addr, ban.until, now);
                return Some(Due::Renew(ban));
            }
        }
        None
    }

    fn schedule(&mut self, addr: Addr, until: Option<Time>, now: Time) {
        let kernel_end = now + Duration::from_secs(u64::from(KERNEL_TIMEOUT_SECS_MAX));
        let deadline = match until {
            Some(until) if until <= kernel_end => {
                self.renewals.remove(&addr);
                until
            }
            _ => {
                let renewal = kernel_end - RENEW_BEFORE;
                self.renewals.insert(addr, renewal);
                renewal
            }
        };
        self.deadlines.push(Reverse((deadline, addr)));
        if self.deadlines.len() > 2 * self.bans.len() + DEADLINES_SLACK {
            self.drop_void_deadlines();
        }
    }

    fn drop_void_deadlines(&mut self) {
        let mut deadlines = std::mem::take(&mut self.deadlines).into_vec();
        deadlines.retain(|Reverse((time, addr))| {
            let until = self.bans.get(addr).and_then(|held| held.until);
            until == Some(*time) || self.renewals.get(addr) == Some(time)
        });
        self.deadlines = deadlines.into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ban(addr: &str, since: i64, until: Option<i64>) -> Ban {
        Ban {
            jail: "asterisk".into(),
            addr: addr.parse().unwrap(),
            since: Time::from_secs(since),
            until: until.map(Time::from_secs),
            reason: Reason::MaxRetry,
            tries: 5,
        }
    }

    #[test]
    fn bans_end_in_order_and_once() {
        let mut ledger = Ledger::default();
        let start = Time::from_secs(0);
        ledger.insert(&ban("192.0.2.1", 0, Some(50)), start);
        ledger.insert(&ban("192.0.2.2", 0, Some(20)), start);
        ledger.insert(&ban("192.0.2.2", 0, Some(30)), start); // prolonged: the old deadline is void
        assert_eq!(
            (ledger.len(), ledger.next_deadline()),
            (2, Some(Time::from_secs(20)))
        );
        assert_eq!(ledger.due(Time::from_secs(25)), None);
        assert_eq!(
            ledger.due(Time::from_secs(30)),
            Some(Due::Ended(ban("192.0.2.2", 0, Some(30))))
        );
        assert_eq!(
            ledger.due(Time::from_secs(99)),
            Some(Due::Ended(ban("192.0.2.1", 0, Some(50))))
        );
        assert_eq!(ledger.due(Time::from_secs(99)), None);
        assert!(ledger.is_empty());
    }

    #[test]
    fn bans_beyond_the_kernels_time_out_are_renewed() {
        let mut ledger = Ledger::default();
        let forever = ban("192.0.2.1", 0, None);
        let max = i64::from(KERNEL_TIMEOUT_SECS_MAX);
        let months = ban("192.0.2.2", 0, Some(max + 7_200));
        ledger.insert(&forever, Time::from_secs(0));
        ledger.insert(&months, Time::from_secs(0));
        let renewal = Time::from_secs(max - 3_600);
        assert_eq!(ledger.due(renewal - Duration::from_secs(1)), None);
        assert_eq!(ledger.due(renewal), Some(Due::Renew(forever.clone())));
        assert_eq!(ledger.due(renewal), Some(Due::Renew(months.clone())));
        assert_eq!(ledger.due(renewal), None);
        assert_eq!(
            ledger.due(Time::from_secs(max + 7_200)),
            Some(Due::Ended(months))
        );
        assert_eq!(ledger.remove("asterisk", &forever.addr), Some(forever));
        assert_eq!(ledger.due(Time::from_secs(3 * max)), None);
        assert!(ledger.jails["asterisk"].renewals.is_empty());
    }

    #[test]
    fn void_deadlines_do_not_pile_up() {
        let mut ledger = Ledger::default();
        for turn in 0..10_000 {
            ledger.insert(&ban("192.0.2.1", 0, Some(1_000 + turn)), Time::from_secs(0));
        }
        assert!(ledger.jails["asterisk"].deadlines.len() <= DEADLINES_SLACK + 2);
        assert_eq!(
            ledger.due(Time::from_secs(20_000)),
            Some(Due::Ended(ban("192.0.2.1", 0, Some(10_999))))
        );
    }

    #[test]
    fn a_list_goes_on_behind_any_place() {
        let mut ledger = Ledger::default();
        let start = Time::from_secs(0);
        for (jail, addr) in [
            ("kamailio", "192.0.2.1"),
            ("asterisk", "2001:db8::/64"),
            ("asterisk", "192.0.2.9"),
            ("asterisk", "192.0.2.10"),
        ] {
            let jail = jail.into();
            let ban = ban(addr, 0, None);
            ledger.insert(&Ban { jail, ..ban }, start);
        }
        let list = |jail: Option<&str>, place: Option<(&str, &str)>| {
            let place = place.map(|(jail, addr)| (jail, addr.parse().unwrap()));
            let bans = ledger.behind(jail, place);
            let bans = bans.map(|ban| format!("{} {}", ban.jail, ban.addr));
            bans.collect::<Vec<_>>().join(", ")
        };
        let all =
            "asterisk 192.0.2.9, asterisk 192.0.2.10, asterisk 2001:db8::/64, kamailio 192.0.2.1";
        assert_eq!(list(None, None), all);
        for (place, left) in [
            (("asterisk", "192.0.2.9"), 3),
            (("asterisk", "192.0.2.9/32"), 3),
            (("asterisk", "192.0.2.11"), 2), // lifted meanwhile
            (("asterisk", "ffff::"), 1),
            (("freeswitch", "192.0.2.1"), 1), // a jail that is gone
            (("kamailio", "192.0.2.1"), 0),
        ] {
            let behind: Vec<&str> = all.split(", ").skip(4 - left).collect();
            assert_eq!(list(None, Some(place)), behind.join(", "), "{place:?}");
        }
        assert_eq!(list(Some("kamailio"), None), "kamailio 192.0.2.1");
        let rest = list(Some("asterisk"), Some(("asterisk", "192.0.2.10")));
        assert_eq!(rest, "asterisk 2001:db8::/64");
        assert_eq!(list(Some("freeswitch"), None), "");
    }

    #[test]
    fn overlapping_bans_are_found() {
        let mut ledger = Ledger::default();
        for addr in ["192.0.2.1", "192.0.2.200", "2001:db8::/64"] {
            ledger.insert(&ban(addr, 0, None), Time::from_secs(0));
        }
        let found = |text: &str| {
            let bans = ledger.overlapping(&text.parse().unwrap());
            bans.iter()
                .map(|ban| ban.addr.to_string())
                .collect::<Vec<_>>()
                .join(" ")
        };
        assert_eq!(found("192.0.2.1"), "192.0.2.1");
        assert_eq!(found("192.0.2.0/25"), "192.0.2.1");
        assert_eq!(found("2001:db8::7"), "2001:db8::/64");
        assert_eq!(found("198.51.100.1"), "");
    }
}
