//! What an operator does by hand: ban and pardon.

use std::net::IpAddr;
use std::time::Duration;

use super::{Effect, Engine, Refusal, Tell, set_of, unblock};
use crate::addr::Addr;
use crate::ban::record::Record;
use crate::jail::bantime::Increment;
use crate::jail::protect::Protected;
use crate::jail::{Jail, Rules, Tally};
use crate::ticket::{Ban, Order, Reason, Set, Testimony};
use crate::time::{BanTime, Time};

/// The jail that holds what operators ban by hand.
pub const OPERATOR_JAIL: &str = "operator";

/// What a pardon did.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pardon {
    /// Bans that were lifted.
    pub lifted: Vec<Ban>,
    /// Wider bans that hold it still.
    pub wider: Vec<Ban>,
    /// Addresses of it that were on APIBAN's list; the list may bring them again.
    pub listed: Vec<IpAddr>,
}

impl Engine {
    /// The jail of a name that an operator wrote.
    pub fn jail(&self, name: &str) -> Result<&Jail, Refusal> {
        self.jails.get(name).ok_or_else(|| Refusal::NoJail {
            name: name.to_owned(),
            known: self.jails.keys().map(ToString::to_string).collect(),
        })
    }

    /// An operator bans an address, in the operators' jail unless another is named.
    pub fn ban(
        &mut self,
        addr: Addr,
        jail: Option<&str>,
        bantime: Option<BanTime>,
        now: Time,
        effects: &mut Vec<Effect>,
    ) -> Result<Ban, Refusal> {
        let name = jail.unwrap_or(OPERATOR_JAIL);
        let jail = self.jail(name)?;
        let (jail, base) = (jail.rules.name.clone(), jail.rules.bantime);
        let ban = match bantime {
            // A ban in force is prolonged by the jail's own ban time; a new one may grow.
            None if self.ledger.get(name, &addr).is_none() => {
                self.sentence(&jail, addr, now, Reason::Operator, 0)
            }
            _ => Ban {
                jail,
                addr,
                since: now,
                until: bantime.unwrap_or(base).end(now),
                reason: Reason::Operator,
                tries: 0,
            },
        };
        self.impose(ban.clone(), Testimony::default(), now, effects)?;
        Ok(ban)
    }

    /// An operator pardons an address: every ban that is on it, or on part of it, is
    /// lifted, what it did is forgotten, and it leaves the list. An IPv6 host stands
    /// for its /64, as it does when it fails. Wider bans around it stay.
    pub fn unban(&mut self, addr: Addr, now: Time, effects: &mut Vec<Effect>) -> Pardon {
        let offender = if addr.is_host() {
            Addr::offender(addr.ip())
        } else {
            addr
        };
        let mut pardon = Pardon::default();
        for ban in self.ledger.overlapping(&addr) {
            if addr.contains(&ban.addr) || ban.addr == offender {
                pardon.lifted.push(ban);
            } else if !self.protected.covers(&addr) {
                pardon.wider.push(ban);
            }
        }
        for ban in &pardon.lifted {
            self.ledger.remove(&ban.jail, &ban.addr);
            effects.push(unblock(set_of(ban), ban.addr));
        }
        let inside = |ip: &IpAddr| addr.contains(&Addr::host(*ip));
        let mut listed: Vec<IpAddr> = self.list.ips().filter(inside).collect();
        listed.sort_unstable();
        for ip in listed {
            self.list.remove(&ip);
            effects.push(Effect::Order(Order::Unblock {
                set: Set::List,
                addr: Addr::host(ip),
            }));
            effects.push(Effect::Record(Record::Listed(vec![(Addr::host(ip), now)])));
            pardon.listed.push(ip);
        }
        for ban in &pardon.lifted {
            effects.push(Effect::Record(Record::Unban {
                jail: ban.jail.clone(),
                addr: ban.addr,
            }));
            effects.push(Effect::Tell(Tell::Unbanned(ban.clone())));
            self.history.forget_of(&ban.jail, &ban.addr);
        }
        let both = [addr, offender];
        for addr in &both[usize::from(addr == offender)..] {
            self.history.forget(addr);
            effects.push(Effect::Record(Record::Forget(*addr)));
        }
        for jail in self.jails.values_mut() {
            jail.forget_inside(&addr);
            jail.forget(&offender);
        }
        // Else an answer that is remembered bans it again.
        self.verdicts
            .pardon(|ip| addr.contains(&Addr::host(ip)), now);
        pardon
    }
}

/// The rules of the operators' own jail, which judges nobody.
pub(super) fn operators_rules() -> Rules {
    Rules {
        name: OPERATOR_JAIL.into(),
        maxretry: u32::MAX,
        findtime: Duration::ZERO,
        aggregate: None,
        maxmatches: 0,
        bantime: BanTime::Forever,
        increment: Increment::default(),
        apiban: false,
        tally: Tally::Matches,
        hints: None,
        hosts_only: false,
        maxchallenges: None,
        ignored: Protected::default(),
    }
}
