//! Connection tracking: to whom did this machine open a flow?
//!
//! The kernel notes for every flow who sent its first packet. A flow that we opened, and
//! that was answered, is one that we wanted: a trunk where we register, a peer that we call.
//! Its far end is not convicted by what a forged packet can cause.
//!
//! The table can have a million entries, and whoever forges packets fills it. Copying it out
//! costs ten times what the kernel needs to walk through it (250,000 entries: 1.3 s and
//! 0.13 s), so the kernel is told what we look for: answered flows, and for a few hosts
//! their address. A kernel that does not know these filters (before 5.8) gives all, and what
//! comes is looked at in any case. Nothing is changed. Without connection tracking there
//! are no flows, and without the capability NET_ADMIN the kernel refuses.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::IpAddr;

use super::netlink::{Attribute, Attributes, FLAG_DUMP, Netlink, Request, Trouble};
use crate::addr::Addr;
use crate::ticket::Unanswered;

/// `NFNL_SUBSYS_CTNETLINK` and `IPCTNL_MSG_CT_GET`.
const GET: u16 = 0x0101;

/// `CTA_TUPLE_ORIG`: the addresses of the first packet.
const TUPLE_ORIGINAL: u16 = 1;
/// `CTA_STATUS`: what has happened in the flow.
const STATUS: u16 = 3;
/// `CTA_STATUS_MASK`: which bits of it are looked for.
const STATUS_MASK: u16 = 26;
/// `IPS_SEEN_REPLY`: it was answered.
const STATUS_ANSWERED: u32 = 2;
/// `CTA_FILTER`, and in it `CTA_FILTER_ORIG_FLAGS`: which parts of a tuple are looked for.
const FILTER: u16 = 25;
const FILTER_ORIGINAL: u16 = 1;
/// `CTA_FILTER_F_CTA_IP_DST`.
const FILTER_DESTINATION: u32 = 2;
/// `CTA_TUPLE_PROTO`, and in it `CTA_PROTO_NUM`; and TCP's number.
const TUPLE_PROTOCOL: u16 = 2;
const PROTOCOL_NUMBER: u16 = 1;
const TCP: u8 = 6;
/// `CTA_TUPLE_IP`, and inside of it source and destination of either family.
const TUPLE_IP: u16 = 1;
const IP_SOURCE: [u16; 2] = [1, 3];
const IP_DESTINATION: [u16; 2] = [2, 4];
/// `NFPROTO_IPV4` and `NFPROTO_IPV6`.
const FAMILIES: [u8; 2] = [2, 10];

/// So many hosts are asked about one by one; with more, all answered flows are copied.
const SINGLY_MAX: usize = 4;

/// So many to whom we sent something in vain are told at once: whoever forges packets has us
/// send to many. It takes 3 MB, and 2,000 such packets a second.
const UNANSWERED_MAX: usize = 65_536;

/// Sockets to the kernel's connection tracking, one for each family.
#[derive(Debug)]
pub struct Conntrack {
    v4: Netlink,
    v6: Netlink,
    /// Does the kernel look for a destination?
    finds: bool,
}

impl Conntrack {
    /// Opens the sockets; whether we may ask shows at the first question.
    pub fn open() -> Result<Conntrack, Trouble> {
        let [v4, v6] = FAMILIES.map(Netlink::open);
        let (v4, v6, finds) = (v4?, v6?, true);
        Ok(Conntrack { v4, v6, finds })
    }

    /// May we ask? An error says why not.
    pub fn try_out(&mut self) -> Result<(), Trouble> {
        self.v4.ask(GET, FLAG_DUMP, answered, &mut |_| {})
    }

    /// To whom was a flow opened from an address that is `ours`, and not answered yet?
    pub fn unanswered(
        &mut self,
        ours: impl Fn(IpAddr) -> bool,
    ) -> Result<Vec<Unanswered>, Trouble> {
        let mut found = HashSet::new();
        for netlink in [&mut self.v4, &mut self.v6] {
            let ask = |request: &mut Request| look_for(request, 0);
            netlink.ask(GET, FLAG_DUMP, ask, &mut |flow| {
                let sent = ends(flow, false).filter(|(source, _)| ours(*source));
                if found.len() < UNANSWERED_MAX {
                    let tcp = protocol(flow) == Some(TCP);
                    found.extend(sent.map(|(_, ip)| Unanswered { ip, tcp }));
                }
            })?;
        }
        Ok(found.into_iter().collect())
    }

    /// To which of these addresses, or into which of these prefixes, was a flow opened from
    /// an address that is `ours`, and answered?
    pub fn opened(
        &mut self,
        asked: &[Addr],
        ours: impl Fn(IpAddr) -> bool,
    ) -> Result<Vec<Addr>, Trouble> {
        let mut found: HashMap<Addr, bool> = asked.iter().map(|addr| (*addr, false)).collect();
        for is_ipv6 in [false, true] {
            let of_family: Vec<Addr> = found
                .keys()
                .filter(|addr| addr.is_ipv6() == is_ipv6)
                .copied()
                .collect();
            let few = of_family.len() <= SINGLY_MAX && of_family.iter().all(Addr::is_host);
            let mut wanted: Vec<Option<IpAddr>> =
                of_family.iter().map(|one| Some(one.ip())).collect();
            if !few || !self.finds {
                wanted = vec![None; usize::from(!of_family.is_empty())];
            }
            let lengths: BTreeSet<u8> = of_family.iter().map(Addr::prefix_len).collect();
            for destination in wanted {
                let netlink = if is_ipv6 { &mut self.v6 } else { &mut self.v4 };
                let ask = |request: &mut Request| {
                    answered(request);
                    if let Some(ip) = destination {
                        to(request, ip);
                    }
                };
                netlink.ask(GET, FLAG_DUMP, ask, &mut |flow| {
                    let opened = ends(flow, true).filter(|(source, _)| ours(*source));
                    let Some((_, end)) = opened else {
                        return;
                    };
                    self.finds &= destination.is_none_or(|wanted| wanted == end);
                    for length in &lengths {
                        if let Some(found) = found.get_mut(&Addr::prefix(end, *length)) {
                            *found = true;
                        }
                    }
                })?;
            }
        }
        let is_opened = |addr: &&Addr| found.get(addr).is_some_and(|found| *found);
        Ok(asked.iter().filter(is_opened).copied().collect())
    }
}

/// Only flows that were answered are looked for.
fn answered(request: &mut Request) {
    look_for(request, STATUS_ANSWERED);
}

/// Only flows that were answered are looked for, or only those that were not.
fn look_for(request: &mut Request, status: u32) {
    request.put(STATUS, &status.to_be_bytes());
    request.put(STATUS_MASK, &STATUS_ANSWERED.to_be_bytes());
}

/// Only flows to this address are looked for.
fn to(request: &mut Request, ip: IpAddr) {
    let [v4, v6] = IP_DESTINATION;
    request.nest(TUPLE_ORIGINAL, |tuple| {
        tuple.nest(TUPLE_IP, |ends| match ip {
            IpAddr::V4(ip) => ends.put(v4, &ip.octets()),
            IpAddr::V6(ip) => ends.put(v6, &ip.octets()),
        });
    });
    request.nest(FILTER, |filter| {
        filter.put_u32(FILTER_ORIGINAL, FILTER_DESTINATION);
    });
}

/// Who opened this flow, and to whom, if it was answered, or if it was not.
fn ends(flow: Attributes<'_>, answered: bool) -> Option<(IpAddr, IpAddr)> {
    let status = flow.get(STATUS).and_then(Attribute::be32)?;
    let tuple = flow.get(TUPLE_ORIGINAL)?.nested().get(TUPLE_IP)?.nested();
    let ends = (ip(tuple, IP_SOURCE)?, ip(tuple, IP_DESTINATION)?);
    let was_answered = status & STATUS_ANSWERED != 0;
    (was_answered == answered).then_some(ends)
}

fn protocol(flow: Attributes<'_>) -> Option<u8> {
    let tuple = flow.get(TUPLE_ORIGINAL)?.nested();
    let protocol = tuple.get(TUPLE_PROTOCOL)?.nested();
    protocol.get(PROTOCOL_NUMBER)?.value.first().copied()
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
