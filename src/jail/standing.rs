//! Who is known to be good, and who speaks for many.
//!
//! An address is **known-good** once logins from it have worked at two times that lie
//! [`MERITS_APART`], with no proven failure of its own before or between them. That gains
//! patience ([`PATIENCE`] times `maxretry`) and keeps hints off it; it exempts from nothing,
//! and it is lost when even that patience is used up. So it cannot be bought: whoever
//! earns it, with an account of his own or with a cracked one, gains that factor and no more.
//!
//! An address is **shared** once logins on [`SHARED_ACCOUNTS`] accounts have worked from it
//! within [`SHARED_WITHIN`]: an office, a carrier's gateway, an SBC. To ban it would hit all
//! of them for one, so its failures are judged by accounts (see [`accounts`](super::accounts)).
//!
//! Only proven logins count. Accounts are remembered by hash. One account counts for the last
//! [`ACCOUNT_ADDRS_MAX`] addresses at most, so that a single one cannot drive out all others,
//! nor make known-good whom it likes where a registrar's store holds what a phone writes.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use lru::LruCache;

use super::brake::Census;
use crate::addr::Addr;
use crate::ticket::{KeptStanding, account};
use crate::time::Time;

/// How far apart two logins must lie to make an address known-good. Whoever wants to earn
/// it on the way to an attack must behave for an hour first.
pub const MERITS_APART: Duration = Duration::from_secs(3_600);

/// A known-good address may fail so many times `maxretry`. Three phones with an outdated
/// password that try once a minute are 30 tries in 10 minutes: six times the usual limit.
pub const PATIENCE: u32 = 10;

/// Logins on so many accounts make an address shared.
pub const SHARED_ACCOUNTS: usize = 20;

/// Within this time: phones renew their registrations within a day.
pub const SHARED_WITHIN: Duration = Duration::from_secs(86_400);

/// How long a standing outlives the last login: over a weekend and a long holiday, but
/// not until the address has gone to somebody else for good.
pub const STANDING_KEPT: Duration = Duration::from_secs(7 * 86_400);

/// A standing that has not changed is written down again after this long, for its last login.
const WRITTEN_EVERY: Duration = Duration::from_secs(86_400);

/// Addresses for which one account counts: a phone that roams, or one account of many phones.
/// One more, and the older half is forgotten.
pub const ACCOUNT_ADDRS_MAX: usize = 64;

/// Addresses that are remembered; the one whose last login is oldest is forgotten first, and
/// strangers before others, as long as there are more of them than `NEWCOMERS_LEAST`.
/// With one account each they take 3 MB, with [`SHARED_ACCOUNTS`] 8 MB.
pub const STANDINGS_MAX: usize = 16_384;

/// So many are on their way to a standing in any case.
const NEWCOMERS_LEAST: usize = STANDINGS_MAX / 8;

/// What an address is to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rank {
    /// Nothing is known of it, or nothing good.
    Stranger,
    /// It is known-good.
    Known,
    /// It speaks for many.
    Shared,
}

/// What is known of one address.
#[derive(Debug, Default)]
struct Standing {
    /// The first login since the last failure.
    merit: Option<Time>,
    /// Since when it is known-good.
    known: Option<Time>,
    /// Until when it counts as shared.
    shared: Option<Time>,
    /// The last login.
    last: Time,
    /// Hashes of the accounts of the last logins.
    accounts: Vec<(u64, Time)>,
    /// The last login when this was last written down.
    written: Time,
}

impl Standing {
    fn rank(&self, now: Time) -> Rank {
        match self.last + STANDING_KEPT > now {
            true if self.shared.is_some_and(|until| until > now) => Rank::Shared,
            true if self.known.is_some() => Rank::Known,
            _ => Rank::Stranger,
        }
    }

    /// Notes a login on an account, and what became of the others.
    fn note(&mut self, account: u64, time: Time) -> Noted {
        let mut accounts = self.accounts.iter_mut();
        if let Some((_, last)) = accounts.find(|(known, _)| *known == account) {
            *last = time.max(*last);
            return Noted::Known;
        }
        let is_full = self.accounts.len() >= SHARED_ACCOUNTS;
        let oldest = self.accounts.iter_mut().min_by_key(|(_, last)| *last);
        match oldest {
            Some(oldest) if is_full => {
                let (gone, _) = std::mem::replace(oldest, (account, time));
                Noted::InsteadOf(gone)
            }
            _ => {
                self.accounts.push((account, time));
                Noted::New
            }
        }
    }

    /// Is it, or was it, more than a stranger?
    fn is_friend(&self) -> bool {
        self.known.is_some() || self.shared.is_some()
    }

    fn is_used_by_many(&self, time: Time) -> bool {
        let lately = |(_, last): &&(u64, Time)| *last + SHARED_WITHIN > time;
        self.accounts.iter().filter(lately).count() >= SHARED_ACCOUNTS
    }

    fn kept(&self, addr: Addr) -> KeptStanding {
        KeptStanding {
            addr,
            merit: self.merit,
            known: self.known,
            shared: self.shared,
            last: self.last,
            accounts: self.accounts.clone(),
        }
    }
}

/// What a login has changed in the accounts of an address.
enum Noted {
    /// The account was there.
    Known,
    /// It is new.
    New,
    /// It is new, and this one has gone for it.
    InsteadOf(u64),
}

/// What is known of all addresses.
#[derive(Debug)]
pub struct Standings {
    addrs: LruCache<Addr, Standing>,
    /// Those of them who are strangers still.
    newcomers: LruCache<Addr, ()>,
    /// With how many addresses each account is remembered.
    spread: HashMap<u64, usize>,
}

impl Default for Standings {
    fn default() -> Self {
        Standings {
            addrs: LruCache::unbounded(),
            newcomers: LruCache::unbounded(),
            spread: HashMap::new(),
        }
    }
}

impl Standings {
    /// What an address is to us.
    pub fn rank(&self, addr: &Addr, now: Time) -> Rank {
        let standing = self.addrs.peek(addr);
        standing.map_or(Rank::Stranger, |standing| standing.rank(now))
    }

    /// Has a login from this address ever worked, as far as we remember?
    pub fn has_logged_in(&self, addr: &Addr) -> bool {
        self.addrs.contains(addr)
    }

    /// Has a login on this account worked from this address lately?
    pub fn has_worked(&self, addr: &Addr, user: &str) -> bool {
        let account = hash(user);
        let standing = self.addrs.peek(addr);
        let mut accounts = standing.into_iter().flat_map(|standing| &standing.accounts);
        accounts.any(|(known, _)| *known == account)
    }

    /// Those who are known-good or shared now.
    pub fn census(&self, now: Time) -> Census {
        let friends = self.addrs.iter();
        let friends = friends.filter(|(_, standing)| standing.rank(now) != Rank::Stranger);
        Census::of(friends.map(|(addr, _)| addr))
    }

    /// Since when an address is known-good.
    pub fn known_since(&self, addr: &Addr) -> Option<Time> {
        self.addrs.peek(addr)?.known
    }

    /// A login from an address has worked. It is a merit unless the address, or its
    /// account, failed just before. Gives what is to be written down.
    pub fn login(
        &mut self,
        addr: Addr,
        user: &str,
        time: Time,
        is_merit: bool,
    ) -> Option<KeptStanding> {
        let account = hash(user);
        self.make_room(&addr);
        self.confine(account, &addr);
        let standing = self.addrs.get_or_insert_mut(addr, Standing::default);
        standing.last = standing.last.max(time);
        let noted = standing.note(account, time);
        let mut news = match noted {
            Noted::Known => false,
            Noted::New => true,
            Noted::InsteadOf(_) => standing.shared.is_none_or(|until| until <= time),
        };
        if is_merit && standing.known.is_none() {
            match standing.merit {
                Some(first) if time >= first + MERITS_APART => {
                    standing.known = Some(time);
                    news = true;
                }
                Some(first) if time >= first => {}
                _ => {
                    standing.merit = Some(time);
                    news = true;
                }
            }
        }
        if standing.is_used_by_many(time) {
            news = news || standing.shared.is_none_or(|until| until <= time);
            standing.shared = Some(time + STANDING_KEPT);
        }
        match standing.is_friend() {
            true => self.newcomers.pop(&addr),
            false => self.newcomers.put(addr, ()),
        };
        if !matches!(noted, Noted::Known) {
            *self.spread.entry(account).or_default() += 1;
        }
        if let Noted::InsteadOf(gone) = noted {
            leave(&mut self.spread, gone);
        }
        if !news && standing.last < standing.written + WRITTEN_EVERY {
            return None;
        }
        standing.written = standing.last;
        Some(standing.kept(addr))
    }

    /// A proven failure of an address that is not known-good: its merits are void.
    pub fn failed(&mut self, addr: &Addr) -> Option<KeptStanding> {
        let standing = self.addrs.peek_mut(addr)?;
        let had_merit = standing.known.is_none() && standing.merit.take().is_some();
        had_merit.then(|| standing.kept(*addr))
    }

    /// An address is known-good no more: it used up its patience.
    pub fn lose(&mut self, addr: &Addr) -> Option<KeptStanding> {
        let standing = self.addrs.peek_mut(addr)?;
        (standing.known, standing.merit) = (None, None);
        if !standing.is_friend() {
            self.newcomers.put(*addr, ());
        }
        Some(standing.kept(*addr))
    }

    /// Sees to it that this address can be remembered.
    fn make_room(&mut self, addr: &Addr) {
        if self.addrs.len() < STANDINGS_MAX || self.addrs.contains(addr) {
            return;
        }
        let oldest = match self.newcomers.len() > NEWCOMERS_LEAST {
            true => self.newcomers.peek_lru().map(|(addr, ())| *addr),
            false => self.addrs.peek_lru().map(|(addr, _)| *addr),
        };
        if let Some(oldest) = oldest {
            self.forget(&oldest);
        }
    }

    /// Sees to it that this account can count for one more address.
    fn confine(&mut self, account: u64, addr: &Addr) {
        let holds = |standing: &Standing| {
            let mut accounts = standing.accounts.iter();
            accounts.find(|(known, _)| *known == account).copied()
        };
        let is_wide = self.spread.get(&account) >= Some(&ACCOUNT_ADDRS_MAX);
        if !is_wide || self.addrs.peek(addr).and_then(holds).is_some() {
            return;
        }
        let logins = self.addrs.iter();
        let logins = logins.filter_map(|(addr, one)| holds(one).map(|(_, last)| (last, *addr)));
        let mut logins: Vec<(Time, Addr)> = logins.collect();
        logins.sort_unstable();
        for (_, addr) in logins.into_iter().take(ACCOUNT_ADDRS_MAX / 2) {
            let Some(standing) = self.addrs.peek_mut(&addr) else {
                continue;
            };
            if standing.accounts.len() == 1 {
                self.forget(&addr);
            } else {
                standing.accounts.retain(|(known, _)| *known != account);
                leave(&mut self.spread, account);
            }
        }
    }

    fn forget(&mut self, addr: &Addr) {
        self.newcomers.pop(addr);
        let gone = self.addrs.pop(addr).map(|standing| standing.accounts);
        for (account, _) in gone.into_iter().flatten() {
            leave(&mut self.spread, account);
        }
    }

    /// Takes over what was written down. What has been seen since goes before it; gives
    /// what both together are, where that is more than was written down.
    pub fn restore(&mut self, kept: KeptStanding, now: Time) -> Option<KeptStanding> {
        let KeptStanding { addr, last, .. } = kept;
        if last + STANDING_KEPT <= now {
            return None;
        }
        let Some(since) = self.addrs.peek_mut(&addr) else {
            let KeptStanding {
                merit,
                known,
                shared,
                mut accounts,
                ..
            } = kept;
            let spread = &mut self.spread;
            let had_any = !accounts.is_empty();
            accounts.retain(|(account, _)| spread.get(account) < Some(&ACCOUNT_ADDRS_MAX));
            accounts.truncate(SHARED_ACCOUNTS);
            if self.addrs.len() < STANDINGS_MAX && (!accounts.is_empty() || !had_any) {
                for (account, _) in &accounts {
                    *spread.entry(*account).or_default() += 1;
                }
                let standing = Standing {
                    merit,
                    known,
                    shared,
                    last,
                    accounts,
                    written: last,
                };
                if !standing.is_friend() {
                    self.newcomers.put(addr, ());
                }
                self.addrs.put(addr, standing);
            }
            return None;
        };
        since.shared = since.shared.max(kept.shared);
        // Without a merit it has failed since, or has not been seen to do well.
        if since.merit.is_some() {
            since.merit = since.merit.min(kept.merit).or(since.merit);
            since.known = kept.known.or(since.known);
        }
        for (account, time) in kept.accounts {
            if !since.accounts.iter().any(|(known, _)| *known == account)
                && since.accounts.len() < SHARED_ACCOUNTS
            {
                since.accounts.push((account, time));
                *self.spread.entry(account).or_default() += 1;
            }
        }
        if since.is_friend() {
            self.newcomers.pop(&addr);
        }
        Some(since.kept(addr))
    }

    /// All that would be written down.
    pub fn all(&self) -> impl Iterator<Item = KeptStanding> {
        let standings = self.addrs.iter().rev();
        standings.map(|(addr, standing)| standing.kept(*addr))
    }

    /// How many addresses are known-good now, and how many shared.
    pub fn count(&self, now: Time) -> (usize, usize) {
        let ranks = self.addrs.iter().map(|(_, standing)| standing.rank(now));
        ranks.fold((0, 0), |(known, shared), rank| match rank {
            Rank::Stranger => (known, shared),
            Rank::Known => (known + 1, shared),
            Rank::Shared => (known, shared + 1),
        })
    }
}

/// An account is remembered with one address less.
fn leave(spread: &mut HashMap<u64, usize>, account: u64) {
    if let Some(addrs) = spread.get_mut(&account) {
        *addrs -= 1;
        if *addrs == 0 {
            spread.remove(&account);
        }
    }
}

/// An account's name as it is remembered.
pub fn hash(user: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    account(user).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600;

    fn addr() -> Addr {
        "203.0.113.5".parse().unwrap()
    }

    /// Plays `HOURS login USER`, `HOURS spoiled USER`, `HOURS fail`, `HOURS lose`, and says
    /// after each what the address is, and whether that is written down.
    fn play(standings: &mut Standings, rows: &str) -> String {
        let mut shown = String::new();
        for row in rows.lines().map(str::trim).filter(|row| !row.is_empty()) {
            let words: Vec<&str> = row.split_whitespace().collect();
            let hours: f64 = words[0].parse().expect(row);
            let time = Time::from_secs_f64(hours * HOUR as f64);
            let news = match words[1..] {
                ["login", user] => standings.login(addr(), user, time, true),
                ["spoiled", user] => standings.login(addr(), user, time, false),
                ["fail"] => standings.failed(&addr()),
                ["lose"] => standings.lose(&addr()),
                ["look"] => None,
                _ => panic!("{row}"),
            };
            let rank = standings.rank(&addr(), time);
            let written = if news.is_some() { ", written" } else { "" };
            shown += &format!("{row}: {rank:?}{written}\n");
        }
        shown
    }

    fn check(rows: &str, expected: expect_test::Expect) {
        expected.assert_eq(&play(&mut Standings::default(), rows));
    }

    #[test]
    fn two_clean_hours_make_an_address_known_good() {
        check(
            "0    login 1001
             0.9  login 1001
             1    login 1001
             1.5  fail
             1.6  login 1001
             170  look
             190  look",
            expect_test::expect![[r#"
                0    login 1001: Stranger, written
                0.9  login 1001: Stranger
                1    login 1001: Known, written
                1.5  fail: Known
                1.6  login 1001: Known
                170  look: Stranger
                190  look: Stranger
            "#]],
        );
    }

    #[test]
    fn failures_before_void_the_merit() {
        check(
            "0    spoiled 1001
             1    login 1001
             1.5  fail
             2.5  login 1001
             3.4  login 1001
             3.5  login 1001
             4    lose
             4.1  login 1001
             5.1  login 1001",
            expect_test::expect![[r#"
                0    spoiled 1001: Stranger, written
                1    login 1001: Stranger, written
                1.5  fail: Stranger, written
                2.5  login 1001: Stranger, written
                3.4  login 1001: Stranger
                3.5  login 1001: Known, written
                4    lose: Stranger, written
                4.1  login 1001: Stranger, written
                5.1  login 1001: Known, written
            "#]],
        );
    }

    /// Logins on so many accounts, one in each `step` of hours.
    fn office(accounts: usize, step: f64) -> Rank {
        let mut standings = Standings::default();
        let rows = (0..accounts).map(|n| format!("{} spoiled {n}\n", n as f64 * step));
        play(&mut standings, &rows.collect::<String>());
        standings.rank(
            &addr(),
            Time::from_secs_f64(accounts as f64 * step * 3_600.0),
        )
    }

    #[test]
    fn twenty_accounts_within_a_day_are_a_shared_address() {
        assert_eq!(office(19, 0.01), Rank::Stranger);
        assert_eq!(office(20, 0.01), Rank::Shared);
        assert_eq!(office(20, 1.2), Rank::Shared);
        assert_eq!(office(99, 1.3), Rank::Stranger); // never 20 within a day
    }

    /// A log calls `1001` what a registrar's store calls `1001@pbx`.
    #[test]
    fn an_account_is_the_same_with_its_domain() {
        let mut standings = Standings::default();
        let phones = 0..SHARED_ACCOUNTS - 1;
        let rows = phones.map(|n| format!("0 spoiled {n}\n0 spoiled {n}@pbx\n"));
        play(&mut standings, &rows.collect::<String>());
        let now = Time::from_secs(1);
        assert_eq!(standings.rank(&addr(), now), Rank::Stranger);
        assert!(standings.has_worked(&addr(), "7") && standings.has_worked(&addr(), "7@other"));
        let strange =
            ["77", "@pbx", "@7", "pbx", ""].map(|user| standings.has_worked(&addr(), user));
        assert_eq!(strange, [false; 5]);
        play(&mut standings, "0 spoiled 99@pbx");
        assert_eq!(standings.rank(&addr(), now), Rank::Shared);
    }

    #[test]
    fn what_was_written_is_restored_and_what_happened_since_goes_before_it() {
        let mut before = Standings::default();
        before.login(addr(), "1001", Time::from_secs(0), true);
        let kept = before
            .login(addr(), "1002", Time::from_secs(HOUR), true)
            .unwrap();
        assert!(kept.known.is_some());
        let now = Time::from_secs(2 * HOUR);

        let mut at_start = Standings::default();
        assert_eq!(at_start.restore(kept.clone(), now), None);
        assert_eq!(at_start.rank(&addr(), now), Rank::Known);

        let mut clean = Standings::default();
        clean.login(addr(), "1003", now, true);
        let merged = clean.restore(kept.clone(), now).unwrap();
        assert_eq!((merged.known, merged.accounts.len()), (kept.known, 3));

        let mut failed = Standings::default();
        failed.login(addr(), "1003", now, true);
        failed.failed(&addr());
        failed.restore(kept.clone(), now);
        assert_eq!(failed.rank(&addr(), now), Rank::Stranger);

        let mut late = Standings::default();
        late.restore(kept, now + STANDING_KEPT);
        assert_eq!(late.addrs.len(), 0);
        for standings in [before, at_start, clean, failed, late] {
            assert_counted(&standings);
        }
    }

    fn host(number: u32) -> Addr {
        Addr::host(std::net::IpAddr::V4(number.into()))
    }

    /// All that is counted beside the standings agrees with them.
    fn assert_counted(standings: &Standings) {
        let accounts = standings.addrs.iter().map(|(_, one)| one.accounts.len());
        assert_eq!(
            accounts.sum::<usize>(),
            standings.spread.values().sum::<usize>()
        );
        let strangers = standings.addrs.iter().filter(|(_, one)| !one.is_friend());
        assert_eq!(strangers.count(), standings.newcomers.len());
    }

    #[test]
    fn one_account_does_not_drive_out_others() {
        let mut standings = Standings::default();
        let office = (0..100).map(|number| (host(number), number.to_string()));
        for hours in 0..3 {
            for (addr, user) in office.clone() {
                standings.login(addr, &user, Time::from_secs(hours * HOUR), true);
            }
        }
        let later = Time::from_secs(4 * HOUR);
        let known = |standings: &Standings| {
            let known = (0..100).filter(|n| standings.rank(&host(*n), later) == Rank::Known);
            known.count()
        };
        // One account from very many addresses, twice: known-good with the last of them.
        let mut one = Standings::default();
        for hours in 2..4 {
            for number in 0..40_000 {
                let time = Time::from_secs(hours * HOUR) + Duration::from_micros(number.into());
                one.login(host(1_000_000 + number), "trial", time, true);
            }
            for number in 0..200 {
                let time = Time::from_secs(hours * HOUR);
                standings.login(host(1_000_000 + number), "trial", time, true);
            }
        }
        assert!(one.addrs.len() <= ACCOUNT_ADDRS_MAX);
        assert_eq!((known(&standings), standings.count(later).0), (100, 100));
        assert_counted(&one);
        assert_counted(&standings);
        // Very many accounts: strangers make room first.
        for number in 0..20_000 {
            standings.login(host(2_000_000 + number), &number.to_string(), later, true);
        }
        assert_eq!(
            (known(&standings), standings.addrs.len()),
            (100, STANDINGS_MAX)
        );
        assert_counted(&standings);
    }

    #[test]
    fn memory_is_bounded() {
        let mut standings = Standings::default();
        for number in 0..STANDINGS_MAX as u32 + 9 {
            standings.login(host(number), &number.to_string(), Time::from_secs(0), true);
        }
        assert_eq!(standings.addrs.len(), STANDINGS_MAX);
        for number in 0..1_000 {
            standings.login(addr(), &number.to_string(), Time::from_secs(0), true);
        }
        assert_eq!(
            standings.addrs.peek(&addr()).unwrap().accounts.len(),
            SHARED_ACCOUNTS
        );
    }
}
