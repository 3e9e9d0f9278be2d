//! Claims: whom lines name that are believed by the number of a thread only, or by a log's
//! pulse, and whom those name that are not.
//!
//! Who writes whole lines into a log must guess the number in them. Each wrong one names his
//! victim, and is held against later lines that name the same address by a right one: these
//! count only if there have been as many. So guessing gains nothing, and takes nothing from
//! what is counted of others. (Of himself a sender can have it so: whoever writes wrong lines
//! that name him gets away with as many tries, in a log that never pauses.)

use std::time::Duration;

use lru::LruCache;

use crate::addr::Addr;
use crate::time::Time;

/// Addresses that wrong lines named, the last ones.
const ADDRS_MAX: usize = 1024;

/// How long they are.
const KEPT: Duration = Duration::from_secs(600);

/// How often an address was named since it first was by a wrong line.
#[derive(Clone, Copy, Debug)]
struct Claim {
    since: Time,
    wrong: u32,
    right: u32,
}

/// Whom the lines of a log named wrongly.
#[derive(Clone, Debug)]
pub(super) struct Claims(LruCache<Addr, Claim>);

impl Default for Claims {
    fn default() -> Claims {
        Claims(LruCache::unbounded())
    }
}

impl Claims {
    /// A line with a wrong number names this address.
    pub(super) fn wrong(&mut self, addr: Option<Addr>, now: Time) {
        let Some(addr) = addr.map(|addr| Addr::offender(addr.ip())) else {
            return;
        };
        let claim = self.0.get_or_insert_mut(addr, || Claim {
            since: now,
            wrong: 0,
            right: 0,
        });
        if now.since(claim.since) >= KEPT {
            *claim = Claim {
                since: now,
                wrong: 0,
                right: 0,
            };
        }
        claim.wrong = claim.wrong.saturating_add(1);
        if self.0.len() > ADDRS_MAX {
            self.0.pop_lru();
        }
    }

    /// A line with the number of a known thread names it: does that count?
    pub(super) fn right(&mut self, addr: Option<Addr>, now: Time) -> bool {
        let claim = addr.and_then(|addr| self.0.get_mut(&Addr::offender(addr.ip())));
        let Some(claim) = claim.filter(|claim| now.since(claim.since) < KEPT) else {
            return true;
        };
        claim.right = claim.right.saturating_add(1);
        claim.right >= claim.wrong
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_lines_are_held_against_the_same_address() {
        let now = Time::from_secs(1_796_000_000);
        let addr = |text: &str| text.parse().ok();
        let (victim, other) = (addr("2001:db8::1"), addr("192.0.2.1"));
        let mut claims = Claims::default();
        assert!(claims.right(victim, now));
        (0..2).for_each(|_| claims.wrong(victim, now));
        let right = [(); 4].map(|()| claims.right(addr("2001:db8::7"), now));
        assert_eq!(right, [false, true, true, true]);
        assert!(claims.right(other, now) && claims.right(None, now));
        (0..1_000).for_each(|_| claims.wrong(victim, now));
        let right = (0..1_000).filter(|_| claims.right(victim, now)).count();
        assert_eq!(right, 3); // as many, those from before too
        let later = now + KEPT;
        assert!(claims.right(victim, later));
        (0..2).for_each(|_| claims.wrong(victim, later));
        assert!(!claims.right(victim, later) && claims.right(victim, later));
        for host in 0..2 * ADDRS_MAX {
            let ip = std::net::Ipv4Addr::from(u32::try_from(host).unwrap());
            claims.wrong(Some(Addr::host(ip.into())), later);
        }
        assert_eq!(claims.0.len(), ADDRS_MAX);
    }
}
