//! The reach of a drop: everything that an address sends, or only what goes to some ports.
//!
//! A [`Reach`] is a jail's; that of lists, and of jails that say nothing, is everything. Two
//! drops of one address add up, since what either drops is gone.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use crate::ticket::{JailName, Set};

/// What carries ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Transport {
    /// `tcp`
    Tcp,
    /// `udp`
    Udp,
    /// `sctp`, which carries SIP between operators.
    Sctp,
}

impl Transport {
    /// All that we know.
    pub const ALL: [Transport; 3] = [Transport::Tcp, Transport::Udp, Transport::Sctp];

    /// As iptables and nft write it.
    pub fn word(self) -> &'static str {
        match self {
            Transport::Tcp => "tcp",
            Transport::Udp => "udp",
            Transport::Sctp => "sctp",
        }
    }

    /// `IPPROTO_*`.
    pub(super) fn number(self) -> u8 {
        match self {
            Transport::Tcp => 6,
            Transport::Udp => 17,
            Transport::Sctp => 132,
        }
    }
}

/// Ports in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ports {
    /// The first.
    pub first: u16,
    /// The last, which may be the first.
    pub last: u16,
}

impl Ports {
    /// All that there are.
    pub const ALL: Ports = Ports {
        first: 0,
        last: u16::MAX,
    };

    /// As iptables writes it with `:` between, and nft with `-`.
    pub(super) fn text(self, between: char) -> String {
        match self.first == self.last {
            true => self.first.to_string(),
            false => format!("{}{between}{}", self.first, self.last),
        }
    }
}

/// Packets that go to these ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) transport: Transport,
    pub(super) ports: Ports,
}

/// Which packets of an address a drop is for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reach(BTreeMap<Transport, Vec<Ports>>); // none at all: everything

impl Reach {
    /// All packets, whatever they are.
    pub const EVERYTHING: Reach = Reach(BTreeMap::new());

    /// What goes to these ports by any of these transports. None of either is everything.
    pub fn only(transports: &[Transport], ports: &[Ports]) -> Reach {
        let ports = in_order(ports);
        match ports.is_empty() {
            true => Reach::EVERYTHING,
            false => Reach(transports.iter().map(|one| (*one, ports.clone())).collect()),
        }
    }

    /// What either reaches.
    #[must_use]
    pub fn and(mut self, other: Reach) -> Reach {
        if self.is_everything() || other.is_everything() {
            return Reach::EVERYTHING;
        }
        for (transport, ports) in other.0 {
            let own = self.0.entry(transport).or_default();
            own.extend(ports);
            *own = in_order(own);
        }
        self
    }

    /// Are all packets dropped?
    pub fn is_everything(&self) -> bool {
        self.0.is_empty()
    }

    /// The ports of each transport, in order; those that touch are put together.
    pub(super) fn parts(&self) -> impl Iterator<Item = (Transport, &[Ports])> {
        self.0
            .iter()
            .map(|(transport, ports)| (*transport, &**ports))
    }
}

impl fmt::Display for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_everything() {
            return f.write_str("all ports");
        }
        for (place, (transport, ports)) in self.parts().enumerate() {
            let comma = if place > 0 { ", " } else { "" };
            write!(f, "{comma}{}", transport.word())?;
            for (place, ports) in ports.iter().enumerate() {
                match *ports == Ports::ALL {
                    true => f.write_str(" all ports")?,
                    false if place > 0 => write!(f, ",{}", ports.text('-'))?,
                    false => write!(f, " {}", ports.text('-'))?,
                }
            }
        }
        Ok(())
    }
}

fn in_order(ports: &[Ports]) -> Vec<Ports> {
    let mut ports = ports.to_vec();
    ports.sort_unstable();
    let mut joined: Vec<Ports> = Vec::new();
    for next in ports {
        match joined.last_mut() {
            Some(last) if u32::from(next.first) <= u32::from(last.last) + 1 => {
                last.last = last.last.max(next.last);
            }
            _ => joined.push(next),
        }
    }
    joined
}

/// The reach of each jail that does not reach everything.
pub type Reaches = BTreeMap<JailName, Reach>;

/// What all handles of a firewall know of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Narrowed(Arc<RwLock<Reaches>>);

impl Narrowed {
    /// From now on these are all; what was before is returned.
    pub(super) fn are(&self, reaches: Reaches) -> Reaches {
        let mut own = self.0.write().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *own, reaches)
    }

    /// The reach of what is in the set.
    pub(super) fn of(&self, set: &Set) -> Reach {
        let Set::Jail(jail) = set else {
            return Reach::EVERYTHING;
        };
        let reaches = self.0.read().unwrap_or_else(PoisonError::into_inner);
        reaches.get(jail).cloned().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ports(first: u16, last: u16) -> Ports {
        Ports { first, last }
    }

    #[test]
    fn reaches_add_up() {
        use Transport::{Sctp, Tcp, Udp};
        let ssh = Reach::only(&[Tcp], &[ports(22, 22)]);
        let sip = Reach::only(&[Tcp, Udp], &[ports(5061, 5061), ports(5060, 5060)]);
        let web = Reach::only(
            &[Tcp],
            &[ports(80, 80), ports(8080, 8090), ports(8085, 8443)],
        );
        let all_of_udp = Reach::only(&[Udp, Sctp], &[Ports::ALL, ports(7, 7)]);
        let table: Vec<String> = [
            ssh.clone(),
            ssh.clone().and(sip.clone()),
            web.and(ssh.clone()),
            sip.and(all_of_udp),
            ssh.clone().and(Reach::EVERYTHING),
            Reach::EVERYTHING.and(ssh),
            Reach::only(&[Tcp], &[]),
        ]
        .iter()
        .map(ToString::to_string)
        .collect();
        assert_eq!(
            table,
            [
                "tcp 22",
                "tcp 22,5060-5061, udp 5060-5061",
                "tcp 22,80,8080-8443",
                "tcp 5060-5061, udp all ports, sctp all ports",
                "all ports",
                "all ports",
                "all ports",
            ]
        );
    }
}
