//! Connection tracking: to whom did this machine open a flow?
//!
//! The kernel notes for every flow who sent its first packet. A flow that we opened, and
//! that was answered, is one that we wanted: a trunk where we register, a peer that we call.
//! Its far end is not convicted by what a forged packet can cause.
//!
//! The whole table is read for each [`Conntrack::opened`], whose questions are therefore
//! asked together; it can have a million entries. Nothing is changed. Without connection
//! tracking there are no flows, and without the capability NET_ADMIN the kernel refuses.

use std::net::IpAddr;

use super::netlink::{Attribute, Attributes, FLAG_DUMP, Netlink, Trouble};
use crate::addr::Addr;

/// `NFNL_SUBSYS_CTNETLINK` and `IPCTNL_MSG_CT_GET`.
const GET: u16 = 0x0101;

/// `CTA_TUPLE_ORIG`: the addresses of the first packet.
const TUPLE_ORIGINAL: u16 = 1;
/// `CTA_STATUS`: what has happened in the flow.
const STATUS: u16 = 3;
/// `IPS_SEEN_REPLY`: it was answered.
const STATUS_ANSWERED: u32 = 2;
/// `CTA_TUPLE_IP`, and inside of it source and destination of either family.
const TUPLE_IP: u16 = 1;
const IP_SOURCE: [u16; 2] = [1, 3];
const IP_DESTINATION: [u16; 2] = [2, 4];

/// A socket to the kernel's connection tracking.
#[derive(Debug)]
pub struct Conntrack(Netlink);

impl Conntrack {
    /// Opens a socket; whether we may ask shows at the first question.
    pub fn open() -> Result<Conntrack, Trouble> {
        Netlink::open(0).map(Conntrack)
    }

    /// To which of these addresses, or into which of these prefixes, was a flow opened from
    /// an address that is `ours`, and answered?
    pub fn opened(
        &mut self,
        asked: &[Addr],
        ours: impl Fn(IpAddr) -> bool,
    ) -> Result<Vec<Addr>, Trouble> {
        let mut found = vec![false; asked.len()];
        self.0.ask(GET, FLAG_DUMP, |_| {}, &mut |flow| {
            let Some((source, destination)) = wanted(flow) else {
                return;
            };
            let destination = Addr::host(destination);
            for (addr, found) in asked.iter().zip(&mut found) {
                *found |= addr.contains(&destination) && ours(source);
            }
        })?;
        let opened = asked.iter().zip(found).filter(|(_, found)| *found);
        Ok(opened.map(|(addr, _)| *addr).collect())
    }
}

/// Who opened this flow, and to whom, if it was answered.
fn wanted(flow: Attributes<'_>) -> Option<(IpAddr, IpAddr)> {
    let status = flow.get(STATUS).and_then(Attribute::be32)?;
    let tuple = flow.get(TUPLE_ORIGINAL)?.nested().get(TUPLE_IP)?.nested();
    let ends = (ip(tuple, IP_SOURCE)?, ip(tuple, IP_DESTINATION)?);
    (status & STATUS_ANSWERED != 0).then_some(ends)
}

fn ip(tuple: Attributes<'_>, [v4, v6]: [u16; 2]) -> Option<IpAddr> {
    let v4 = tuple.get(v4).and_then(|attribute| {
        let bytes: [u8; 4] = attribute.value.try_into().ok()?;
        Some(IpAddr::from(bytes))
    });
    v4.or_else(|| {
        let bytes: [u8; 16] = tuple.get(v6)?.value.try_into().ok()?;
        Some(IpAddr::from(bytes))
    })
}
