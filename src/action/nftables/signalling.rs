//! The chains that hold back what the throttled send to SIP's ports, as nf_tables knows them.
//!
//! For what passes, how much of it and why see [`signalling`]. How much each source has sent
//! the kernel notes in more sets, a *meter* for each bucket and family:
//! `meta l4proto udp @th,64,32 0x42594520 update @ringfence-throttled/udp-dialog { ip saddr
//! limit rate 15/minute burst 5 packets } return`. What no bucket has room for is dropped at
//! the end.
//!
//! Nothing of it is read back and understood: who has written it remembers how the kernel
//! shows it.

use super::rule::{
    self, REGISTER, attr, put, put_compare, put_counted, put_family, put_meta, put_payload,
    put_source, put_verdict,
};
use super::{DATA_VALUE, put_u32};
use crate::action::family::Family;
use crate::action::name::Name;
use crate::action::netlink::Request;
use crate::action::reach::Transport;
use crate::action::signalling::{
    BUCKETS, Bucket, REMEMBERED_SECS, TCP_DATA_WORDS, TCP_HEADER_WORDS, TRANSPORTS,
};
use crate::ticket::Set;

/// `NFT_LIMIT_PKTS`.
const LIMIT_PACKETS: u32 = 0;

/// The header of IPv6, in bytes, which its length leaves out.
const V6_HEADER_BYTES: u16 = 40;

/// The chain for a transport.
pub(super) fn chain(transport: Transport) -> &'static str {
    match transport {
        Transport::Udp => "ringfence-sip-udp",
        Transport::Tcp => "ringfence-sip-tcp",
        Transport::Sctp => "ringfence-sip-sctp", // which nothing leads to
    }
}

/// All chains.
pub(super) fn chains() -> [&'static str; 2] {
    TRANSPORTS.map(chain)
}

/// All meters.
pub(super) fn meters() -> impl Iterator<Item = super::Meter> {
    Family::BOTH.into_iter().flat_map(|family| {
        BUCKETS.map(|bucket| super::Meter {
            name: meter(&bucket, family),
            family,
            remembered_secs: REMEMBERED_SECS,
        })
    })
}

fn meter(bucket: &Bucket, family: Family) -> String {
    let set = Name::in_nftables(&Set::Throttled, family, family.bits());
    format!("{}/{}", &*set, bucket.full_name())
}

/// One rule.
#[derive(Clone, Copy, Debug)]
pub(super) enum Held {
    /// A segment that carries nothing passes. TCP's header is so many words long.
    Bare(Family, u8),
    /// What begins so passes as long as its bucket has room.
    Begins(Family, &'static Bucket, Begins),
    /// Whatever else comes passes as long as the bucket has room.
    Rest(Family, &'static Bucket),
    /// All else is dropped.
    Drop(Transport),
}

/// How a message begins, behind how many words of TCP's header.
#[derive(Clone, Copy, Debug)]
pub(super) struct Begins {
    start: &'static [u8],
    header_words: Option<u8>,
}

/// All rules in their order.
pub(super) fn rules() -> Vec<Held> {
    let mut rules = Vec::new();
    for transport in TRANSPORTS {
        let headers = match transport {
            Transport::Tcp => TCP_DATA_WORDS.map(Some).to_vec(),
            _ => vec![None],
        };
        for family in Family::BOTH {
            if transport == Transport::Tcp {
                rules.extend(TCP_HEADER_WORDS.map(|words| Held::Bare(family, words)));
            }
            for bucket in Bucket::of(transport) {
                for start in bucket.starts {
                    rules.extend(headers.iter().map(|header_words| {
                        let header_words = *header_words;
                        let begins = Begins {
                            start,
                            header_words,
                        };
                        Held::Begins(family, bucket, begins)
                    }));
                }
                if bucket.starts.is_empty() {
                    rules.push(Held::Rest(family, bucket));
                }
            }
        }
        rules.push(Held::Drop(transport));
    }
    rules
}

impl Held {
    fn transport(self) -> Transport {
        match self {
            Held::Bare(..) => Transport::Tcp,
            Held::Begins(_, bucket, _) | Held::Rest(_, bucket) => bucket.transport,
            Held::Drop(transport) => transport,
        }
    }

    /// Writes it, in the order in which nft would.
    pub(super) fn write(self, request: &mut Request) {
        request.put_text(rule::TABLE, super::TABLE);
        request.put_text(rule::CHAIN, chain(self.transport()));
        request.nest(rule::EXPRESSIONS, |list| match self {
            Held::Bare(family, words) => {
                let bytes = 4 * u16::from(words);
                let bytes = match family {
                    Family::V4 => 20 + bytes,
                    Family::V6 => bytes,
                };
                put_family(list, family);
                put_length(list, family, rule::COMPARE_EQUAL, bytes);
                put_transport(list, Transport::Tcp);
                put_header_words(list, words);
                put_verdict(list, rule::RETURN, None);
            }
            Held::Begins(family, bucket, begins) => {
                put_transport(list, bucket.transport);
                let offset = match begins.header_words {
                    Some(words) => {
                        put_header_words(list, words);
                        4 * u32::from(words)
                    }
                    None => 8,
                };
                let bytes = begins.start.len() as u32;
                put_payload(list, rule::TRANSPORT_HEADER, offset, bytes);
                put_compare(list, rule::COMPARE_EQUAL, begins.start);
                put_limit(list, family, bucket);
                put_verdict(list, rule::RETURN, None);
            }
            Held::Rest(family, bucket) => {
                put_limit(list, family, bucket);
                put_verdict(list, rule::RETURN, None);
            }
            Held::Drop(_) => put_verdict(list, rule::DROP, None),
        });
    }
}

/// Compares the length that the header of IP tells.
fn put_length(list: &mut Request, family: Family, how: u32, bytes: u16) {
    let offset = match family {
        Family::V4 => 2,
        Family::V6 => 4,
    };
    put_payload(list, rule::NETWORK_HEADER, offset, 2);
    put_compare(list, how, &bytes.to_be_bytes());
}

fn put_transport(list: &mut Request, transport: Transport) {
    put_meta(list, rule::META_L4PROTO);
    put_compare(list, rule::COMPARE_EQUAL, &[transport.number()]);
}

/// Is TCP's header so many words long?
fn put_header_words(list: &mut Request, words: u8) {
    put_payload(list, rule::TRANSPORT_HEADER, 12, 1);
    put(list, "bitwise", |bitwise| {
        put_u32(bitwise, attr::BITWISE_FROM, REGISTER);
        put_u32(bitwise, attr::BITWISE_TO, REGISTER);
        put_u32(bitwise, attr::BITWISE_BYTES, 1);
        bitwise.nest(attr::BITWISE_MASK, |data| data.put(DATA_VALUE, &[0xf0]));
        bitwise.nest(attr::BITWISE_XOR, |data| data.put(DATA_VALUE, &[0]));
    });
    put_compare(list, rule::COMPARE_EQUAL, &[words << 4]);
}

/// What goes on only if the source's bucket has room.
fn put_limit(list: &mut Request, family: Family, bucket: &Bucket) {
    put_family(list, family);
    if let Some(max) = bucket.bytes_max {
        let max = match family {
            Family::V4 => max,
            Family::V6 => max - V6_HEADER_BYTES,
        };
        put_length(list, family, rule::COMPARE_AT_MOST, max);
    }
    put_source(list, family);
    put_counted(list, &meter(bucket, family), "limit", |limit| {
        limit.put(
            attr::LIMIT_RATE,
            &u64::from(bucket.per_minute).to_be_bytes(),
        );
        limit.put(attr::LIMIT_SECS, &60_u64.to_be_bytes());
        put_u32(limit, attr::LIMIT_BURST, bucket.burst);
        put_u32(limit, attr::LIMIT_OF, LIMIT_PACKETS);
    });
}
