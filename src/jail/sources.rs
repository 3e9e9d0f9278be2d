//! Wrong sources: addresses that the log names, and that cannot be who failed.
//!
//! A proxy in front, a container's gateway, this machine itself: a jail may not ban them,
//! so whoever hides behind them goes free. Each time that one of them fails as often as
//! convicts others is counted here, for the operator to mend the log.

use std::time::Duration;

use lru::LruCache;

use crate::addr::Addr;
use crate::ticket::JailName;
use crate::time::Time;

/// Addresses that are remembered: a machine has few proxies.
const ADDRS_MAX: usize = 64;

/// What is known of one such address.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// The jail in whose log it stands.
    pub jail: JailName,
    /// Failed tries under its name.
    pub tries: u64,
    /// How often it would have been banned for them.
    pub convictions: u64,
    /// The last of them.
    pub last: Time,
    /// Tries since `since` that have not convicted it yet.
    waiting: u32,
    since: Time,
}

/// All such addresses.
#[derive(Debug)]
pub struct Sources {
    addrs: LruCache<Addr, Finding>,
}

impl Default for Sources {
    fn default() -> Self {
        Sources {
            addrs: LruCache::unbounded(),
        }
    }
}

impl Sources {
    /// Counts a failure of an address that is not banned; says whether it is convicted by it.
    pub fn failed(
        &mut self,
        addr: Addr,
        jail: &JailName,
        time: Time,
        (maxretry, findtime): (u32, Duration),
    ) -> bool {
        if self.addrs.len() >= ADDRS_MAX && !self.addrs.contains(&addr) {
            self.addrs.pop_lru();
        }
        let finding = self.addrs.get_or_insert_mut(addr, || Finding {
            jail: jail.clone(),
            tries: 0,
            convictions: 0,
            last: time,
            waiting: 0,
            since: time,
        });
        if finding.since + findtime <= time {
            (finding.since, finding.waiting) = (time, 0);
        }
        finding.tries += 1;
        finding.waiting += 1;
        finding.last = time.max(finding.last);
        let convicts = finding.waiting >= maxretry;
        if convicts {
            finding.waiting = 0;
            finding.convictions += 1;
        }
        convicts
    }

    /// Those that would have been banned, the latest first.
    pub fn convicted(&self) -> impl Iterator<Item = (&Addr, &Finding)> {
        self.addrs
            .iter()
            .filter(|(_, finding)| finding.convictions > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_convicts_others_is_counted() {
        let mut sources = Sources::default();
        let rules = (3, Duration::from_secs(600));
        let mut fail = |host: u8, secs| {
            let addr = Addr::host([127, 0, 0, host].into());
            sources.failed(addr, &"kamailio".into(), Time::from_secs(secs), rules)
        };
        let seen = [
            fail(1, 0),
            fail(1, 1),
            fail(1, 2),
            fail(1, 3),
            fail(1, 602),
            fail(1, 603),
        ];
        assert_eq!(seen, [false, false, true, false, false, false]);
        fail(2, 604);
        let found: Vec<_> = sources
            .convicted()
            .map(|(addr, f)| (addr.to_string(), f.tries))
            .collect();
        assert_eq!(found, [("127.0.0.1".to_owned(), 6)]);
        for host in 0..200 {
            sources.failed(
                Addr::host([127, 0, 1, host].into()),
                &"kamailio".into(),
                Time::from_secs(0),
                rules,
            );
        }
        assert_eq!(sources.addrs.len(), ADDRS_MAX);
    }
}
