//! A rule of our chain, as the expressions that nf_tables knows.
//!
//! nft would write `ip saddr & 255.255.255.0 @ringfence-asterisk/24 drop`; of single
//! addresses the mask is left out. A rule is read back by what it looks up in which set, and
//! by what it does. Where a jail has ports of its own there is a rule for each [`Part`] of them,
//! which looks at the port first, since a look-up counts: `tcp dport 22 ip saddr
//! @ringfence-sshd drop`.
//!
//! What the throttled send to SIP's ports goes through chains of their own (see
//! `signalling`): `udp dport 5060-5061 ip saddr @ringfence-throttled jump ringfence-sip-udp`;
//! and so does what those on the list send (see `listed`).

use super::signalling::chain;
use super::{DATA_VALUE, LIST_ELEMENT, listed, put_u32};
use crate::action::family::Family;
use crate::action::netlink::{Attribute, Attributes, Request};
use crate::action::reach::{Part, Ports, Transport};

/// `NFTA_RULE_TABLE`.
pub(super) const TABLE: u16 = 1;
/// `NFTA_RULE_CHAIN`.
pub(super) const CHAIN: u16 = 2;
/// `NFTA_RULE_HANDLE`.
const HANDLE: u16 = 3;
/// `NFTA_RULE_EXPRESSIONS`.
pub(super) const EXPRESSIONS: u16 = 4;
/// `NFTA_RULE_USERDATA`, in which nft keeps comments.
const USERDATA: u16 = 7;

/// `NF_ACCEPT`.
pub(super) const ACCEPT: u32 = 1;
/// `NF_DROP`.
pub(super) const DROP: u32 = 0;
/// `NFT_JUMP`.
const JUMP: u32 = -3_i32 as u32;
/// `NFT_RETURN`.
pub(super) const RETURN: u32 = -5_i32 as u32;

/// `NFTA_EXPR_NAME` and its data.
const EXPRESSION_NAME: u16 = 1;
const EXPRESSION_DATA: u16 = 2;

/// `NFT_REG_VERDICT`, and the register in which packets are looked at.
const REGISTER_VERDICT: u32 = 0;
pub(super) const REGISTER: u32 = 1;

/// Attributes of expressions (`NFTA_META_*` and so on).
pub(super) mod attr {
    pub(in super::super) const META_REGISTER: u16 = 1;
    pub(in super::super) const META_KEY: u16 = 2;
    pub(in super::super) const COMPARE_REGISTER: u16 = 1;
    pub(in super::super) const COMPARE_HOW: u16 = 2;
    pub(in super::super) const COMPARE_DATA: u16 = 3;
    pub(in super::super) const PAYLOAD_REGISTER: u16 = 1;
    pub(in super::super) const PAYLOAD_BASE: u16 = 2;
    pub(in super::super) const PAYLOAD_OFFSET: u16 = 3;
    pub(in super::super) const PAYLOAD_BYTES: u16 = 4;
    pub(in super::super) const BITWISE_FROM: u16 = 1;
    pub(in super::super) const BITWISE_TO: u16 = 2;
    pub(in super::super) const BITWISE_BYTES: u16 = 3;
    pub(in super::super) const BITWISE_MASK: u16 = 4;
    pub(in super::super) const BITWISE_XOR: u16 = 5;
    pub(in super::super) const LOOKUP_SET: u16 = 1;
    pub(in super::super) const LOOKUP_REGISTER: u16 = 2;
    pub(in super::super) const LOOKUP_FLAGS: u16 = 5;
    pub(in super::super) const IMMEDIATE_REGISTER: u16 = 1;
    pub(in super::super) const IMMEDIATE_DATA: u16 = 2;
    pub(in super::super) const VERDICT_CHAIN: u16 = 2;
    pub(in super::super) const DYNSET_SET: u16 = 1;
    pub(in super::super) const DYNSET_HOW: u16 = 3;
    pub(in super::super) const DYNSET_REGISTER: u16 = 4;
    pub(in super::super) const DYNSET_EXPRESSION: u16 = 7;
    pub(in super::super) const LIMIT_RATE: u16 = 1;
    pub(in super::super) const LIMIT_SECS: u16 = 2;
    pub(in super::super) const LIMIT_BURST: u16 = 3;
    pub(in super::super) const LIMIT_OF: u16 = 4;
    pub(in super::super) const DATA_VERDICT: u16 = 2;
    pub(in super::super) const VERDICT_CODE: u16 = 1;
}

/// `NFT_META_NFPROTO`.
pub(super) const META_NFPROTO: u32 = 15;
/// `NFT_META_L4PROTO`.
pub(super) const META_L4PROTO: u32 = 16;
/// `NFT_CMP_*`.
pub(super) const COMPARE_EQUAL: u32 = 0;
pub(super) const COMPARE_AT_MOST: u32 = 3;
const COMPARE_AT_LEAST: u32 = 5;
/// `NFT_PAYLOAD_*`.
pub(super) const NETWORK_HEADER: u32 = 1;
pub(super) const TRANSPORT_HEADER: u32 = 2;
/// `NFT_DYNSET_OP_UPDATE`.
const DYNSET_UPDATE: u32 = 1;
/// What a person reads at the rule that lets everything pass.
const LIFTED_COMMENT: &str = "ringfence: all drops are lifted";

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Accept,
    /// Dropped, if it is of this part; without one in any case.
    Drop(Option<Part>),
    /// Held back, if it is of this part.
    Throttle(Part),
    /// Counted and dropped.
    Listed,
}

impl Part {
    fn write(self, list: &mut Request) {
        put_meta(list, META_L4PROTO);
        put_compare(list, COMPARE_EQUAL, &[self.transport.number()]);
        if self.ports == Ports::ALL {
            return;
        }
        let Ports { first, last } = self.ports;
        put_payload(list, TRANSPORT_HEADER, 2, 2);
        if first == last {
            put_compare(list, COMPARE_EQUAL, &first.to_be_bytes());
        } else {
            put_compare(list, COMPARE_AT_LEAST, &first.to_be_bytes());
            put_compare(list, COMPARE_AT_MOST, &last.to_be_bytes());
        }
    }

    /// What is compared in these expressions, if they are as we write them.
    fn read(expressions: &[Attributes<'_>]) -> Option<Part> {
        let (meta, more) = expressions.split_first()?;
        let (protocol, more) = more.split_first()?;
        let key = of(*meta, "meta")?.get(attr::META_KEY)?.be32()?;
        let (how, number) = read_compare(*protocol)?;
        let mut transports = Transport::ALL.into_iter();
        let transport = transports.find(|one| number == [one.number()])?;
        let ports = match more {
            [] => Ports::ALL,
            [payload, more @ ..] => {
                let payload = of(*payload, "payload")?;
                let number = |kind| payload.get(kind).and_then(Attribute::be32);
                let place = [
                    attr::PAYLOAD_BASE,
                    attr::PAYLOAD_OFFSET,
                    attr::PAYLOAD_BYTES,
                ];
                if place.map(number) != [Some(TRANSPORT_HEADER), Some(2), Some(2)] {
                    return None;
                }
                let mut compared = Vec::new();
                for compare in more {
                    let (how, value) = read_compare(*compare)?;
                    compared.push((how, u16::from_be_bytes(value.try_into().ok()?)));
                }
                match compared[..] {
                    [(COMPARE_EQUAL, port)] => Ports {
                        first: port,
                        last: port,
                    },
                    [(COMPARE_AT_LEAST, first), (COMPARE_AT_MOST, last)] => Ports { first, last },
                    _ => return None,
                }
            }
        };
        let is_it = (key, how) == (META_L4PROTO, COMPARE_EQUAL);
        is_it.then_some(Part { transport, ports })
    }
}

/// One rule: the fate of packets that come from an address in the set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) set: String,
    pub(super) family: Family,
    /// How many leading bits of the source are looked up.
    pub(super) length: u8,
    pub(super) fate: Fate,
}

/// A rule as it was found, and its number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) handle: u64,
    pub(super) seen: Seen,
}

/// What a rule that was found is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// It looks the source of a family's packets up in a set, cut to a length.
    Rule {
        set: String,
        family: Family,
        length: u8,
        fate: Fate,
    },
    /// It lets everything pass.
    Lifted,
    /// Not one that we write.
    Other,
}

impl Rule {
    /// Is that what was found?
    pub(super) fn is(&self, seen: &Seen) -> bool {
        matches!(seen, Seen::Rule { set, family, length, fate }
            if *set == self.set && (family, length, fate) == (&self.family, &self.length, &self.fate))
    }

    /// Writes it.
    pub(super) fn write(&self, request: &mut Request) {
        request.put_text(TABLE, super::TABLE);
        request.put_text(CHAIN, super::CHAIN);
        request.nest(EXPRESSIONS, |list| {
            if let Fate::Drop(Some(part)) | Fate::Throttle(part) = self.fate {
                part.write(list);
            }
            self.write_source(list);
            put(list, "lookup", |lookup| {
                lookup.put_text(attr::LOOKUP_SET, &self.set);
                put_u32(lookup, attr::LOOKUP_REGISTER, REGISTER);
            });
            put_fate(list, self.fate);
        });
    }

    /// The packet's source, cut to our length, into the register.
    fn write_source(&self, list: &mut Request) {
        put_family(list, self.family);
        put_source(list, self.family);
        if self.length == self.family.bits() {
            return;
        }
        let bytes = usize::from(self.family.bits() / 8);
        let mask = mask(self.length);
        put(list, "bitwise", |bitwise| {
            put_u32(bitwise, attr::BITWISE_FROM, REGISTER);
            put_u32(bitwise, attr::BITWISE_TO, REGISTER);
            put_u32(bitwise, attr::BITWISE_BYTES, bytes as u32);
            bitwise.nest(attr::BITWISE_MASK, |data| {
                data.put(DATA_VALUE, &mask[..bytes])
            });
            bitwise.nest(attr::BITWISE_XOR, |data| {
                data.put(DATA_VALUE, &[0; 16][..bytes])
            });
        });
    }
}

/// So many ones, and zeros.
fn mask(length: u8) -> [u8; 16] {
    let zeros = 128_u32.saturating_sub(u32::from(length));
    u128::MAX.checked_shl(zeros).unwrap_or(0).to_be_bytes()
}

/// Which family's source these expressions bring into the register, cut to which length,
/// if they are as we write them.
fn read_source(expressions: &[Attributes<'_>]) -> Option<(Family, u8)> {
    let [_, number, payload, more @ ..] = expressions else {
        return None;
    };
    let (how, number) = read_compare(*number)?;
    let mut families = Family::BOTH.into_iter();
    let family = families.find(|family| number == [family.number()])?;
    let (offset, bytes) = source(family);
    let payload = of(*payload, "payload")?;
    let place = [
        attr::PAYLOAD_BASE,
        attr::PAYLOAD_OFFSET,
        attr::PAYLOAD_BYTES,
    ];
    let place = place.map(|kind| payload.get(kind).and_then(Attribute::be32));
    if (how, place)
        != (
            COMPARE_EQUAL,
            [Some(NETWORK_HEADER), Some(offset), Some(bytes)],
        )
    {
        return None;
    }
    let [bitwise] = more else {
        return more.is_empty().then_some((family, family.bits()));
    };
    let bitwise = of(*bitwise, "bitwise")?;
    let value = |kind| Some(bitwise.get(kind)?.nested().get(DATA_VALUE)?.value);
    let ones = value(attr::BITWISE_MASK)?;
    let length: u32 = ones.iter().map(|byte| byte.count_ones()).sum();
    let length = u8::try_from(length).ok()?;
    let is_mask = mask(length).get(..ones.len()) == Some(ones);
    let keeps = value(attr::BITWISE_XOR)?.iter().all(|byte| *byte == 0);
    (is_mask && keeps).then_some((family, length))
}

/// Names a rule that was found, to take it away.
pub(super) fn write_handle(request: &mut Request, handle: u64) {
    request.put_text(TABLE, super::TABLE);
    request.put_text(CHAIN, super::CHAIN);
    request.put(HANDLE, &handle.to_be_bytes());
}

/// Writes the rule that lets every packet pass.
pub(super) fn write_lifted(request: &mut Request) {
    request.put_text(TABLE, super::TABLE);
    request.put_text(CHAIN, super::CHAIN);
    request.nest(EXPRESSIONS, |list| put_fate(list, Fate::Accept));
    // As nft keeps a comment: its kind 0, its length with the NUL, the text.
    let mut comment = vec![0, LIFTED_COMMENT.len() as u8 + 1];
    comment.extend_from_slice(LIFTED_COMMENT.as_bytes());
    comment.push(0);
    request.put(USERDATA, &comment);
}

/// Is the rule in a message one of this chain?
pub(super) fn is_of(reply: Attributes<'_>, table: &str, chain: &str) -> bool {
    let is = |kind, name| reply.get(kind).and_then(Attribute::text) == Some(name);
    is(TABLE, table) && is(CHAIN, chain)
}

/// What a rule is.
pub(super) fn read(reply: Attributes<'_>) -> Found {
    Found {
        handle: reply.get(HANDLE).and_then(Attribute::be64).unwrap_or(0),
        seen: read_expressions(reply),
    }
}

fn read_expressions(reply: Attributes<'_>) -> Seen {
    let list = reply.get(EXPRESSIONS).map(Attribute::nested);
    let (mut set, mut fate, mut others) = (None, None, false);
    let mut before = Vec::new();
    for expression in list.into_iter().flatten() {
        let expression = expression.nested();
        let data = expression_data(expression);
        match (expression_name(expression), data) {
            (Some("lookup"), Some(data)) => {
                let inverted = data.get(attr::LOOKUP_FLAGS).and_then(Attribute::be32);
                others |= inverted.unwrap_or(0) != 0;
                set = data.get(attr::LOOKUP_SET).and_then(Attribute::text);
            }
            (Some("immediate"), Some(data)) => fate = read_verdict(data),
            (Some("meta" | "cmp" | "payload" | "bitwise"), _) if set.is_none() => {
                before.push(expression);
            }
            _ => others = true,
        }
    }
    // What is asked before the source is looked at.
    let is_source = |one: &Attributes<'_>| {
        let meta = of(*one, "meta").and_then(|meta| meta.get(attr::META_KEY)?.be32());
        meta == Some(META_NFPROTO)
    };
    let asked = before.iter().position(is_source).unwrap_or(0);
    let (asked, source) = before.split_at_checked(asked).unwrap_or_default();
    let part = Part::read(asked);
    let fate = match (fate, part) {
        (Some((ACCEPT, None)), None) if asked.is_empty() => Some(Fate::Accept),
        (Some((DROP, None)), part) if asked.is_empty() == part.is_none() => Some(Fate::Drop(part)),
        (Some((JUMP, Some(to))), Some(part)) if to == chain(part.transport) => {
            Some(Fate::Throttle(part))
        }
        (Some((JUMP, Some(listed::CHAIN))), None) if asked.is_empty() => Some(Fate::Listed),
        _ => None,
    };
    match (set, fate) {
        (Some(set), Some(fate)) if !others => match read_source(source) {
            Some((family, length)) => Seen::Rule {
                set: set.to_owned(),
                family,
                length,
                fate,
            },
            None => Seen::Other,
        },
        (None, Some(Fate::Accept)) if !others && is_bare(reply) => Seen::Lifted,
        _ => Seen::Other,
    }
}

/// The attributes of an expression, if it is called so.
fn of<'a>(expression: Attributes<'a>, name: &str) -> Option<Attributes<'a>> {
    expression_data(expression).filter(|_| expression_name(expression) == Some(name))
}

/// How a comparison is made, and with what.
fn read_compare(expression: Attributes<'_>) -> Option<(u32, &[u8])> {
    let compare = of(expression, "cmp")?;
    let how = compare.get(attr::COMPARE_HOW)?.be32()?;
    let data = compare.get(attr::COMPARE_DATA)?.nested();
    Some((how, data.get(DATA_VALUE)?.value))
}

/// Has the rule one expression only?
fn is_bare(reply: Attributes<'_>) -> bool {
    let list = reply.get(EXPRESSIONS).map(Attribute::nested);
    list.is_some_and(|list| list.count() == 1)
}

/// What is said at the end, and to which chain it goes.
fn read_verdict(immediate: Attributes<'_>) -> Option<(u32, Option<&str>)> {
    let data = immediate.get(attr::IMMEDIATE_DATA)?.nested();
    let verdict = data.get(attr::DATA_VERDICT)?.nested();
    let to = verdict.get(attr::VERDICT_CHAIN).and_then(Attribute::text);
    Some((verdict.get(attr::VERDICT_CODE)?.be32()?, to))
}

fn put_fate(list: &mut Request, fate: Fate) {
    match fate {
        Fate::Accept => put_verdict(list, ACCEPT, None),
        Fate::Drop(_) => put_verdict(list, DROP, None),
        Fate::Throttle(part) => put_verdict(list, JUMP, Some(chain(part.transport))),
        Fate::Listed => put_verdict(list, JUMP, Some(listed::CHAIN)),
    }
}

/// The end of a rule.
pub(super) fn put_verdict(list: &mut Request, code: u32, to: Option<&str>) {
    put(list, "immediate", |immediate| {
        put_u32(immediate, attr::IMMEDIATE_REGISTER, REGISTER_VERDICT);
        immediate.nest(attr::IMMEDIATE_DATA, |data| {
            data.nest(attr::DATA_VERDICT, |verdict| {
                put_u32(verdict, attr::VERDICT_CODE, code);
                if let Some(to) = to {
                    verdict.put_text(attr::VERDICT_CHAIN, to);
                }
            });
        });
    });
}

/// The source of a packet of this family into the register.
pub(super) fn put_source(list: &mut Request, family: Family) {
    let (offset, bytes) = source(family);
    put_payload(list, NETWORK_HEADER, offset, bytes);
}

/// Where a packet's source stands in its header, and how long it is.
fn source(family: Family) -> (u32, u32) {
    match family {
        Family::V4 => (12, 4),
        Family::V6 => (8, 16),
    }
}

/// Is the packet of this family?
pub(super) fn put_family(list: &mut Request, family: Family) {
    put_meta(list, META_NFPROTO);
    put_compare(list, COMPARE_EQUAL, &[family.number()]);
}

/// What the register holds is noted in a meter, with an expression of its own.
pub(super) fn put_counted(
    list: &mut Request,
    meter: &str,
    name: &str,
    fill: impl FnOnce(&mut Request),
) {
    put(list, "dynset", |dynset| {
        dynset.put_text(attr::DYNSET_SET, meter);
        put_u32(dynset, attr::DYNSET_HOW, DYNSET_UPDATE);
        put_u32(dynset, attr::DYNSET_REGISTER, REGISTER);
        put_expression(dynset, attr::DYNSET_EXPRESSION, name, fill);
    });
}

pub(super) fn put_meta(list: &mut Request, key: u32) {
    put(list, "meta", |meta| {
        put_u32(meta, attr::META_KEY, key);
        put_u32(meta, attr::META_REGISTER, REGISTER);
    });
}

pub(super) fn put_compare(list: &mut Request, how: u32, value: &[u8]) {
    put(list, "cmp", |compare| {
        put_u32(compare, attr::COMPARE_REGISTER, REGISTER);
        put_u32(compare, attr::COMPARE_HOW, how);
        compare.nest(attr::COMPARE_DATA, |data| data.put(DATA_VALUE, value));
    });
}

pub(super) fn put_payload(list: &mut Request, base: u32, offset: u32, bytes: u32) {
    put(list, "payload", |payload| {
        put_u32(payload, attr::PAYLOAD_REGISTER, REGISTER);
        put_u32(payload, attr::PAYLOAD_BASE, base);
        put_u32(payload, attr::PAYLOAD_OFFSET, offset);
        put_u32(payload, attr::PAYLOAD_BYTES, bytes);
    });
}

/// One expression of a list.
pub(super) fn put(list: &mut Request, name: &str, fill: impl FnOnce(&mut Request)) {
    put_expression(list, LIST_ELEMENT, name, fill);
}

/// An expression in an attribute of this kind.
pub(super) fn put_expression(
    request: &mut Request,
    kind: u16,
    name: &str,
    fill: impl FnOnce(&mut Request),
) {
    request.nest(kind, |expression| {
        expression.put_text(EXPRESSION_NAME, name);
        expression.nest(EXPRESSION_DATA, fill);
    });
}

/// What an expression is called.
pub(super) fn expression_name(expression: Attributes<'_>) -> Option<&str> {
    expression.get(EXPRESSION_NAME)?.text()
}

/// The attributes of an expression.
pub(super) fn expression_data(expression: Attributes<'_>) -> Option<Attributes<'_>> {
    Some(expression.get(EXPRESSION_DATA)?.nested())
}
