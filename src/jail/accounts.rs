//! Failures behind an address that is spared, by account.
//!
//! An office of 200 phones fails all the time: somebody mistypes, and a phone with an
//! outdated password tries once a minute for ever. A total says nothing about it. What
//! gives a cracker away behind it is his pace: on one account, or over many.
//!
//! Both are measured by leaky buckets. Each failure adds one; a bucket leaks one for every
//! [`ACCOUNT_LEAKS`] (an account's) or [`ADDRESS_LEAKS`] (the address's). A phone that
//! tries once a minute never fills its own; a cracker with one try a second fills either
//! within twice `maxretry`. As in the window, one try may write several lines, so each
//! form of a line has buckets of its own.

use std::time::Duration;

use lru::LruCache;

use crate::addr::Addr;
use crate::ticket::account;
use crate::time::Time;

/// An account may fail once in this time for ever; phones wait longer between two tries.
pub const ACCOUNT_LEAKS: Duration = Duration::from_secs(20);

/// An address may fail once in this time for ever: twice what an office of 200 does with
/// three phones that hold an outdated password.
pub const ADDRESS_LEAKS: Duration = Duration::from_secs(10);

/// Buckets hold no less than this, however strict `maxretry` is: three phones that fail in
/// the same second and somebody who mistypes twice.
const LEAST: f32 = 5.0;

/// Addresses that are remembered; the one that failed first is forgotten first. They take
/// 2 MB with all their accounts.
const ADDRS_MAX: usize = 1_024;

/// Accounts of each address that are told apart; the emptiest bucket makes room.
const ACCOUNTS_MAX: usize = 24;

/// Line forms told apart for one address; more share the last bucket.
const FORMS_MAX: usize = 4;

/// Bytes of an account's name that are kept for people.
const NAME_BYTES_MAX: usize = 64;

/// Accounts that an alarm names.
const NAMED_MAX: usize = 8;

/// See the module's header.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    level: f32,
    last: Time,
}

impl Bucket {
    fn new(time: Time) -> Bucket {
        Bucket {
            level: 0.0,
            last: time,
        }
    }

    fn level(&self, time: Time, leaks: Duration) -> f32 {
        let leaked = time.since(self.last).as_secs_f32() / leaks.as_secs_f32();
        (self.level - leaked).max(0.0)
    }

    fn fill(&mut self, time: Time, leaks: Duration) -> f32 {
        self.level = self.level(time, leaks) + 1.0;
        self.last = self.last.max(time);
        self.level
    }
}

/// The failures behind one address.
#[derive(Debug)]
struct Failing {
    /// By form.
    all: Vec<(u32, Bucket)>,
    accounts: Vec<Account>,
}

/// The failures of one account in one form.
#[derive(Debug)]
struct Account {
    name: Box<str>,
    form: u32,
    bucket: Bucket,
}

impl Account {
    fn level(&self, time: Time) -> f32 {
        self.bucket.level(time, ACCOUNT_LEAKS)
    }
}

/// A pace that only crackers have.
#[derive(Clone, Debug, PartialEq)]
pub struct Cracking {
    /// The accounts that are tried, the one that is tried most first.
    pub accounts: Vec<Box<str>>,
    /// Tries that have not leaked away.
    pub tries: u32,
}

/// The failures behind all spared addresses.
#[derive(Debug)]
pub struct Accounts {
    addrs: LruCache<Addr, Failing>,
}

impl Default for Accounts {
    fn default() -> Self {
        Accounts {
            addrs: LruCache::unbounded(),
        }
    }
}

impl Accounts {
    /// Counts a failure; says whether it is one too many. Then the buckets are emptied.
    pub fn failed(
        &mut self,
        addr: Addr,
        (user, form): (&str, u32),
        time: Time,
        maxretry: u32,
    ) -> Option<Cracking> {
        let failing = self.failing(addr);
        let all = failing.all(form, time).fill(time, ADDRESS_LEAKS);
        let account = failing.account(cut(user), form, time);
        let own = account.bucket.fill(time, ACCOUNT_LEAKS);
        let own_holds = own_holds(maxretry);
        let all_holds = (2.0 * maxretry as f32 - 2.0).max(LEAST + 1.0);
        if own < own_holds && all < all_holds {
            return None;
        }
        let mut accounts = self.addrs.pop(&addr)?.accounts;
        accounts.sort_by(|one, other| other.level(time).total_cmp(&one.level(time)));
        let mut names: Vec<Box<str>> = Vec::new();
        let lately = accounts
            .into_iter()
            .take_while(|account| account.level(time) > 0.0);
        for Account { name, .. } in lately {
            if names.len() < NAMED_MAX && !name.is_empty() && !names.contains(&name) {
                names.push(name);
            }
        }
        Some(Cracking {
            accounts: names,
            tries: all.max(own).round() as u32,
        })
    }

    /// Counts a failure for its account alone, when very many fail behind all addresses;
    /// says whether it comes faster than phones try.
    pub fn retried(
        &mut self,
        addr: Addr,
        (user, form): (&str, u32),
        time: Time,
        maxretry: u32,
    ) -> Option<Cracking> {
        let account = self.failing(addr).account(cut(user), form, time);
        let own = account.bucket.fill(time, ACCOUNT_LEAKS);
        let holds = own_holds(maxretry);
        account.bucket.level = own.min(holds); // as long as he goes on, all are too many
        (own >= holds).then(|| Cracking {
            accounts: vec![account.name.clone()],
            tries: own.round() as u32,
        })
    }

    fn failing(&mut self, addr: Addr) -> &mut Failing {
        if self.addrs.len() >= ADDRS_MAX && !self.addrs.contains(&addr) {
            self.addrs.pop_lru();
        }
        self.addrs.get_or_insert_mut(addr, || Failing {
            all: Vec::with_capacity(1),
            accounts: Vec::new(),
        })
    }

    /// The failures of an account that have not leaked away.
    pub fn tries(&self, addr: &Addr, user: &str, time: Time) -> u32 {
        let accounts = self.addrs.peek(addr).map(|failing| &failing.accounts);
        let accounts = accounts.into_iter().flatten();
        let own = accounts.filter(|account| *account.name == *cut(user));
        let tries = own.map(|account| account.level(time).round() as u32);
        tries.max().unwrap_or(0)
    }

    /// Forgets all: what was counted means nothing.
    pub fn clear(&mut self) {
        self.addrs.clear();
    }
}

impl Failing {
    fn all(&mut self, form: u32, time: Time) -> &mut Bucket {
        let known = self.all.iter().position(|(known, _)| *known == form);
        let place = known.unwrap_or_else(|| {
            if self.all.len() < FORMS_MAX {
                self.all.push((form, Bucket::new(time)));
            }
            self.all.len() - 1
        });
        &mut self.all[place].1
    }

    fn account(&mut self, name: &str, form: u32, time: Time) -> &mut Account {
        let is_it = |known: &Account| known.form == form && *known.name == *name;
        let known = self.accounts.iter().position(is_it);
        let place = known.unwrap_or_else(|| {
            let new = Account {
                name: name.into(),
                form,
                bucket: Bucket::new(time),
            };
            if self.accounts.len() < ACCOUNTS_MAX {
                self.accounts.push(new);
                return self.accounts.len() - 1;
            }
            let level = |place: &usize| self.accounts[*place].level(time);
            let emptiest = (0..ACCOUNTS_MAX).min_by(|a, b| level(a).total_cmp(&level(b)));
            let place = emptiest.unwrap_or(0);
            self.accounts[place] = new;
            place
        });
        &mut self.accounts[place]
    }
}

/// How much an account's bucket holds.
fn own_holds(maxretry: u32) -> f32 {
    (maxretry as f32).max(LEAST)
}

/// What is kept of an account's name.
fn cut(user: &str) -> &str {
    let name = account(user);
    let mut ends = (0..=NAME_BYTES_MAX.min(name.len())).rev();
    ends.find_map(|end| name.get(..end)).unwrap_or("")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr() -> Addr {
        "203.0.113.5".parse().unwrap()
    }

    /// After how many tries, one each `pace` seconds, these accounts raise an alarm.
    fn tries(accounts: usize, pace: f64) -> Option<usize> {
        let mut failing = Accounts::default();
        (0..2_000).find(|n| {
            let user = format!("{}", n % accounts);
            let time = Time::from_secs_f64(*n as f64 * pace);
            // Two lines for each try, in two logs.
            let both = [0, 65_536].map(|form| failing.failed(addr(), (&user, form), time, 5));
            both.into_iter().flatten().next().is_some()
        })
    }

    #[test]
    fn crackers_are_told_by_their_pace() {
        let table: String = [
            (1, 1.0),
            (200, 1.0),
            (1_000_000, 1.0),
            (1, 0.01),
            (3, 20.0),
            (1, 60.0),
            (8, 12.0),
        ]
        .map(|(accounts, pace)| {
            let at = tries(accounts, pace).map(|n| n + 1);
            format!("{accounts} accounts, a try each {pace} s: {at:?}\n")
        })
        .concat();
        expect_test::expect![[r#"
            1 accounts, a try each 1 s: Some(6)
            200 accounts, a try each 1 s: Some(9)
            1000000 accounts, a try each 1 s: Some(9)
            1 accounts, a try each 0.01 s: Some(6)
            3 accounts, a try each 20 s: None
            1 accounts, a try each 60 s: None
            8 accounts, a try each 12 s: None
        "#]]
        .assert_eq(&table);
    }

    /// Whoever makes up domains tries one account all the same.
    #[test]
    fn an_account_has_one_bucket_whatever_its_domain() {
        let mut failing = Accounts::default();
        let mut told = (0..20).filter_map(|n| {
            let (user, time) = (format!("1001@domain{n}"), Time::from_secs(n * 12));
            failing.failed(addr(), (&user, 0), time, 5)
        });
        let accounts = told.next().map(|told| told.accounts);
        assert_eq!(accounts, Some(vec!["1001".into()]));
        let mut failing = Accounts::default();
        for user in ["1001", "1001@pbx"] {
            failing.failed(addr(), (user, 0), Time::from_secs(0), 5);
        }
        let tries = failing.tries(&addr(), "1001@other", Time::from_secs(0));
        assert_eq!(tries, 2);
    }

    #[test]
    fn one_account_by_itself_is_held_to_a_phones_pace() {
        let mut failing = Accounts::default();
        let mut too_fast = |user: &str, pace: f64| {
            let times = (0..20).map(|n| Time::from_secs_f64(f64::from(n) * pace));
            let told = times.map(|time| failing.retried(addr(), (user, 0), time, 5));
            told.filter(Option::is_some).count()
        };
        assert_eq!([too_fast("1001", 25.0), too_fast("1002", 1.0)], [0, 15]);
    }

    #[test]
    fn an_alarm_names_the_accounts_and_memory_is_bounded() {
        let mut failing = Accounts::default();
        let mut alarm = None;
        for n in 0..9u32 {
            let user = if n % 2 == 0 {
                "1001".repeat(99)
            } else {
                n.to_string()
            };
            alarm = alarm.or(failing.failed(addr(), (&user, 0), Time::from_secs(0), 5));
        }
        let alarm = alarm.unwrap();
        assert_eq!(alarm.accounts[0].len(), NAME_BYTES_MAX);
        assert_eq!((alarm.accounts.len(), alarm.tries), (5, 8));
        for n in 0..2 * ADDRS_MAX as u32 {
            let addr = Addr::host(std::net::IpAddr::V4((n / 4).into()));
            failing.failed(
                addr,
                (&n.to_string(), n),
                Time::from_secs(i64::from(n) * 99),
                50,
            );
        }
        assert!(failing.addrs.len() <= ADDRS_MAX);
        for n in 0..99 {
            failing.failed(addr(), (&n.to_string(), 0), Time::from_secs(n * 99), 50);
        }
        assert_eq!(
            failing.addrs.peek(&addr()).unwrap().accounts.len(),
            ACCOUNTS_MAX
        );
    }
}
