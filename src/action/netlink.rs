//! Netlink: the messages in which the kernel's firewall is spoken to.
//!
//! A request is built into one reused buffer, sent, and answered before the next
//! is built: one socket, one question at a time. The kernel works while we send,
//! so an answer is there as soon as `send` returns and nothing here waits for long.
//! Replies are read without trusting them: any bytes are either messages or
//! [`Trouble`], never a panic. The socket is connected to the kernel, so no other
//! process can answer in its place.
//!
//! A question is one message ([`Netlink::ask`]), or a batch that the kernel does all
//! together or not at all ([`Netlink::transact`]).
//!
//! Absent: what the messages mean. `ipset` and `nftables` know that. Linux's own byte
//! order is used where netlink says so; `be` in a name means network order.

use std::ops::Range;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::netlink::{NETFILTER, SocketAddrNetlink};
use rustix::net::sockopt::{Timeout, set_socket_send_buffer_size_force, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, connect, recv, send, socket_with,
};

/// The kernel's answers to one `recv`: it never fills more than 32 KiB of a dump,
/// and an error repeats our request, which is smaller.
const REPLY_BYTES_MAX: usize = 64 * 1024;

/// The largest batch that can be sent: the rules of some thousand sets.
const BATCH_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The kernel answers at once; one that is silent for this long never will.
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// `NLM_F_REQUEST`: this is a question.
const FLAG_REQUEST: u16 = 0x1;
/// `NLM_F_ACK`: answer even if there is nothing to say.
const FLAG_ACK: u16 = 0x4;
/// `NLM_F_DUMP`: answer with all there is, in many messages.
pub const FLAG_DUMP: u16 = 0x300;
/// `NLM_F_EXCL` of a request that makes something new.
pub const FLAG_EXCL: u16 = 0x200;
/// `NLM_F_CREATE` of a request that makes something new.
pub const FLAG_CREATE: u16 = 0x400;
/// `NLM_F_APPEND` of a request that makes something new: behind all others.
pub const FLAG_APPEND: u16 = 0x800;
/// `NLM_F_DUMP_INTR` of an answer: things changed while they were told.
const FLAG_INTERRUPTED: u16 = 0x10;

/// `NLMSG_ERROR`: an error, or with code 0 the acknowledgement.
const KIND_ERROR: u16 = 2;
/// `NLMSG_DONE`: a dump is at its end.
const KIND_DONE: u16 = 3;
/// `NFNL_MSG_BATCH_BEGIN` and its end, around the messages of a batch.
const KIND_BATCH: [u16; 2] = [0x10, 0x11];

/// `NLA_F_NESTED`: the value is attributes.
const ATTR_NESTED: u16 = 0x8000;
/// `NLA_F_NET_BYTEORDER`: the value is in network order.
const ATTR_NET_ORDER: u16 = 0x4000;
/// The bits of an attribute's kind that are the kind.
const ATTR_KIND: u16 = 0x3fff;

/// The size of `nlmsghdr`.
const HEADER_BYTES: usize = 16;
/// The size of `nfgenmsg`, which begins every netfilter message.
const NETFILTER_BYTES: usize = 4;
/// The size of `nlattr`.
const ATTR_BYTES: usize = 4;

/// Why a request was not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// The kernel says no, with this error number (positive; ipset's own begin at 4096).
    Refused(i32),
    /// The socket failed while doing this.
    Socket(&'static str, Errno),
    /// The answer makes no sense: too short, cut off, or lengths that do not fit.
    Malformed,
}

/// A socket to the kernel's netfilter.
#[derive(Debug)]
pub struct Netlink {
    socket: OwnedFd,
    /// `NFPROTO_*` of what all messages are about; 0 where none is asked for.
    family: u8,
    outgoing: Vec<u8>,
    incoming: Vec<u8>,
    sequence: u32,
    /// Did things change while the last dump was told?
    is_interrupted: bool,
    /// Where in `incoming` the request stands that the last error repeated.
    echo: Range<usize>,
}

impl Netlink {
    /// Opens a socket. This needs no rights; the first request does.
    pub fn open(family: u8) -> Result<Self, Trouble> {
        let socket = socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            Some(NETFILTER),
        )
        .map_err(|errno| Trouble::Socket("open", errno))?;
        connect(&socket, &SocketAddrNetlink::new(0, 0))
            .map_err(|errno| Trouble::Socket("connect", errno))?;
        set_socket_timeout(&socket, Timeout::Recv, Some(SILENCE_MAX))
            .map_err(|errno| Trouble::Socket("set the time limit of", errno))?;
        // Without the right to it small batches go through all the same.
        let _forced = set_socket_send_buffer_size_force(&socket, BATCH_BYTES_MAX);
        Ok(Netlink {
            socket,
            family,
            is_interrupted: false,
            outgoing: Vec::new(),
            incoming: vec![0; REPLY_BYTES_MAX],
            sequence: 0,
            echo: 0..0,
        })
    }

    /// Sends one request and hands every answer's attributes to `each`, until the
    /// kernel has acknowledged it or the dump is at its end.
    ///
    /// `kind` is the subsystem in the upper and the command in the lower byte.
    pub fn ask(
        &mut self,
        kind: u16,
        flags: u16,
        fill: impl FnOnce(&mut Request),
        each: &mut dyn FnMut(Attributes<'_>),
    ) -> Result<(), Trouble> {
        let mut batch = self.begin();
        let sequence = batch.put(kind, flags | FLAG_ACK, fill);
        self.send(batch)?;
        while !self.receive(sequence, each)? {}
        Ok(())
    }

    /// Has the kernel do all messages together, or none. Refused is the first that
    /// cannot be done. An empty batch is done.
    pub fn transact(
        &mut self,
        subsystem: u8,
        fill: impl FnOnce(&mut Batch),
    ) -> Result<(), Trouble> {
        let mut batch = self.begin();
        let [begin, end] = KIND_BATCH;
        let first = batch.put(begin, 0, |_| {});
        batch.address(subsystem);
        fill(&mut batch);
        if batch.sequence == first {
            self.outgoing = batch.bytes;
            return Ok(());
        }
        let last = batch.acknowledge();
        batch.put(end, 0, |_| {});
        batch.address(subsystem);
        self.send(batch)?;
        self.receive_all(first, last)
    }

    fn begin(&mut self) -> Batch {
        self.echo = 0..0;
        self.is_interrupted = false;
        let mut bytes = std::mem::take(&mut self.outgoing);
        bytes.clear();
        Batch {
            bytes,
            start: 0,
            family: self.family,
            sequence: self.sequence,
        }
    }

    fn send(&mut self, batch: Batch) -> Result<(), Trouble> {
        self.sequence = batch.sequence;
        self.outgoing = batch.bytes;
        let sent = send(&self.socket, &self.outgoing, SendFlags::empty());
        sent.map_err(|errno| Trouble::Socket("write to", errno))?;
        Ok(())
    }

    /// Did things change while the last dump was told? Then it may be wrong.
    pub fn is_interrupted(&self) -> bool {
        self.is_interrupted
    }

    /// The attributes of the request that the last refusal repeated. ipset writes
    /// into them at which line of a batch it stopped.
    pub fn echo(&self) -> Attributes<'_> {
        Attributes(self.incoming.get(self.echo.clone()).unwrap_or_default())
    }

    /// Reads what the kernel has sent; true if the request of this number is done.
    fn receive(
        &mut self,
        sequence: u32,
        each: &mut dyn FnMut(Attributes<'_>),
    ) -> Result<bool, Trouble> {
        let bytes = self.read()?;
        let reply = self.incoming.get(..bytes).ok_or(Trouble::Malformed)?;
        for message in parse(reply) {
            let message = message?;
            if message.sequence != sequence {
                continue; // the rest of a dump that we left
            }
            self.is_interrupted |= message.flags & FLAG_INTERRUPTED != 0;
            match message.kind {
                KIND_ERROR => {
                    let code = message.code().ok_or(Trouble::Malformed)?;
                    if code == 0 {
                        return Ok(true);
                    }
                    let echo = HEADER_BYTES + 4 + HEADER_BYTES + NETFILTER_BYTES;
                    self.echo = message.start + echo..message.start + message.bytes;
                    return Err(Trouble::Refused(code));
                }
                KIND_DONE => {
                    // A dump that broke off says so in the same place.
                    return match message.code() {
                        None | Some(0) => Ok(true),
                        Some(code) => Err(Trouble::Refused(code)),
                    };
                }
                _ => each(message.attributes()),
            }
        }
        Ok(false)
    }

    /// Reads what became of a batch. Errors come in the messages' order, and behind them
    /// the last one's acknowledgement; a batch that failed as a whole is told of as its
    /// first message.
    fn receive_all(&mut self, first: u32, last: u32) -> Result<(), Trouble> {
        let mut refused = Ok(());
        loop {
            let bytes = self.read()?;
            let reply = self.incoming.get(..bytes).ok_or(Trouble::Malformed)?;
            for message in parse(reply) {
                let message = message?;
                let is_of_batch = message.sequence.wrapping_sub(first) <= last.wrapping_sub(first);
                if message.kind != KIND_ERROR || !is_of_batch {
                    continue; // the rest of an answer that we left
                }
                let code = message.code().ok_or(Trouble::Malformed)?;
                if code != 0 {
                    refused = refused.and(Err(Trouble::Refused(code)));
                }
                if message.sequence == last || message.sequence == first {
                    return refused;
                }
            }
        }
    }

    /// Reads one datagram; returns how long it is.
    fn read(&mut self) -> Result<usize, Trouble> {
        loop {
            match recv(&self.socket, &mut self.incoming[..], RecvFlags::TRUNC) {
                Err(Errno::INTR) => {}
                Err(errno) => return Err(Trouble::Socket("read from", errno)),
                Ok((_, bytes)) => return Ok(bytes),
            }
        }
    }
}

/// One message as it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message<'a> {
    /// Subsystem and command, or a kind of netlink's own.
    pub kind: u16,
    /// `NLM_F_*`.
    flags: u16,
    /// The number of the request that it answers.
    pub sequence: u32,
    /// What follows the header.
    pub payload: &'a [u8],
    /// Where in the reply it begins, in bytes.
    start: usize,
    /// How long it is, header and all.
    bytes: usize,
}

impl<'a> Message<'a> {
    /// The error number of an error or of a dump's end, made positive.
    fn code(&self) -> Option<i32> {
        let code = self.payload.first_chunk()?;
        Some(i32::from_ne_bytes(*code).saturating_neg())
    }

    /// The attributes behind netfilter's small header.
    pub fn attributes(&self) -> Attributes<'a> {
        Attributes(self.payload.get(NETFILTER_BYTES..).unwrap_or_default())
    }
}

/// The messages in one reply; ends after the first that is malformed.
pub fn parse(reply: &[u8]) -> Messages<'_> {
    Messages { reply, start: 0 }
}

/// See [`parse`].
#[derive(Debug)]
pub struct Messages<'a> {
    reply: &'a [u8],
    start: usize,
}

impl<'a> Iterator for Messages<'a> {
    type Item = Result<Message<'a>, Trouble>;

    fn next(&mut self) -> Option<Self::Item> {
        let start = self.start;
        let rest = self.reply.get(start..).unwrap_or_default();
        if rest.is_empty() {
            return None;
        }
        self.start = self.reply.len();
        let Some(header) = rest.first_chunk::<HEADER_BYTES>() else {
            return Some(Err(Trouble::Malformed));
        };
        let [l0, l1, l2, l3, k0, k1, f0, f1, s0, s1, s2, s3, ..] = *header;
        let bytes = u32::from_ne_bytes([l0, l1, l2, l3]) as usize;
        let Some(payload) = rest.get(HEADER_BYTES..bytes) else {
            return Some(Err(Trouble::Malformed));
        };
        self.start = start.saturating_add(aligned(bytes));
        Some(Ok(Message {
            kind: u16::from_ne_bytes([k0, k1]),
            flags: u16::from_ne_bytes([f0, f1]),
            sequence: u32::from_ne_bytes([s0, s1, s2, s3]),
            payload,
            start,
            bytes,
        }))
    }
}

/// Attributes, one after the other; ends at the first that does not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attributes<'a>(&'a [u8]);

impl<'a> Attributes<'a> {
    /// The first attribute of this kind.
    pub fn get(mut self, kind: u16) -> Option<Attribute<'a>> {
        self.find(|attribute| attribute.kind == kind)
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Attribute<'a>;

    fn next(&mut self) -> Option<Attribute<'a>> {
        let [l0, l1, k0, k1] = *self.0.first_chunk::<ATTR_BYTES>()?;
        let bytes = usize::from(u16::from_ne_bytes([l0, l1]));
        let value = self.0.get(ATTR_BYTES..bytes)?;
        self.0 = self.0.get(aligned(bytes)..).unwrap_or_default();
        let kind = u16::from_ne_bytes([k0, k1]) & ATTR_KIND;
        Some(Attribute { kind, value })
    }
}

/// One attribute: a kind and a value. A value of another size than asked for is `None`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attribute<'a> {
    /// What it is; the numbers belong to the place where it stands.
    pub kind: u16,
    /// The bytes as they came.
    pub value: &'a [u8],
}

impl<'a> Attribute<'a> {
    /// The attributes inside.
    pub fn nested(self) -> Attributes<'a> {
        Attributes(self.value)
    }

    /// One byte.
    pub fn u8(self) -> Option<u8> {
        self.value.first().copied()
    }

    /// Four bytes in the machine's order.
    pub fn u32(self) -> Option<u32> {
        self.value.try_into().ok().map(u32::from_ne_bytes)
    }

    /// Four bytes in network order.
    pub fn be32(self) -> Option<u32> {
        self.value.try_into().ok().map(u32::from_be_bytes)
    }

    /// Eight bytes in network order.
    pub fn be64(self) -> Option<u64> {
        self.value.try_into().ok().map(u64::from_be_bytes)
    }

    /// A text, which ends at its first NUL.
    pub fn text(self) -> Option<&'a str> {
        let text = self.value.split(|byte| *byte == 0).next()?;
        std::str::from_utf8(text).ok()
    }
}

/// Messages that are being written, one behind the other.
#[derive(Debug)]
pub struct Batch {
    bytes: Vec<u8>,
    /// Where the last message begins.
    start: usize,
    /// See [`Netlink::open`].
    family: u8,
    /// The number of the last message.
    sequence: u32,
}

impl Batch {
    /// Writes one more message; its number is returned. `kind` is the subsystem in the
    /// upper and the command in the lower byte.
    pub fn put(&mut self, kind: u16, flags: u16, fill: impl FnOnce(&mut Request)) -> u32 {
        self.start = self.bytes.len();
        self.sequence = self.sequence.wrapping_add(1);
        let mut request = Request(std::mem::take(&mut self.bytes));
        let begin = self.start + HEADER_BYTES;
        request.0.resize(begin + NETFILTER_BYTES, 0);
        request.0[begin] = self.family;
        fill(&mut request);
        self.bytes = request.0;
        // Far smaller than 4 GiB: what goes into a message is bounded.
        let bytes = u32::try_from(self.bytes.len() - self.start).unwrap_or(u32::MAX);
        let header = &mut self.bytes[self.start..];
        header[0..4].copy_from_slice(&bytes.to_ne_bytes());
        header[4..6].copy_from_slice(&kind.to_ne_bytes());
        header[6..8].copy_from_slice(&(flags | FLAG_REQUEST).to_ne_bytes());
        header[8..12].copy_from_slice(&self.sequence.to_ne_bytes());
        self.sequence
    }

    /// The last message asks for an answer even if there is nothing to say.
    fn acknowledge(&mut self) -> u32 {
        let flags = self.start + 6;
        self.bytes[flags] |= FLAG_ACK.to_ne_bytes()[0];
        self.bytes[flags + 1] |= FLAG_ACK.to_ne_bytes()[1];
        self.sequence
    }

    /// The last message, one of [`KIND_BATCH`], says for whom the batch is; it is about no family.
    fn address(&mut self, subsystem: u8) {
        let begin = self.start + HEADER_BYTES;
        self.bytes[begin] = 0;
        self.bytes[begin + 2..begin + 4].copy_from_slice(&u16::from(subsystem).to_be_bytes());
    }
}

/// A message that is being written.
#[derive(Debug)]
pub struct Request(Vec<u8>);

impl Request {
    /// An attribute with these bytes.
    pub fn put(&mut self, kind: u16, value: &[u8]) {
        let start = self.open(kind);
        self.0.extend_from_slice(value);
        self.close(start);
    }

    /// A text, with the NUL that the kernel expects.
    pub fn put_text(&mut self, kind: u16, text: &str) {
        let start = self.open(kind);
        self.0.extend_from_slice(text.as_bytes());
        self.0.push(0);
        self.close(start);
    }

    /// Four bytes in the machine's order.
    pub fn put_u32(&mut self, kind: u16, value: u32) {
        self.put(kind, &value.to_ne_bytes());
    }

    /// Bytes in network order, marked as such.
    pub fn put_be(&mut self, kind: u16, value: &[u8]) {
        self.put(kind | ATTR_NET_ORDER, value);
    }

    /// Four bytes in network order, marked as such.
    pub fn put_be32(&mut self, kind: u16, value: u32) {
        self.put_be(kind, &value.to_be_bytes());
    }

    /// An attribute with attributes inside.
    pub fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) {
        let start = self.open(kind | ATTR_NESTED);
        fill(self);
        self.close(start);
    }

    fn open(&mut self, kind: u16) -> usize {
        let start = self.0.len();
        self.0.extend_from_slice(&[0, 0]);
        self.0.extend_from_slice(&kind.to_ne_bytes());
        start
    }

    fn close(&mut self, start: usize) {
        let bytes = self.0.len() - start;
        debug_assert!(bytes <= usize::from(u16::MAX), "a batch is bounded");
        let bytes = u16::try_from(bytes).unwrap_or(u16::MAX);
        self.0[start..start + 2].copy_from_slice(&bytes.to_ne_bytes());
        self.0.resize(aligned(self.0.len()), 0);
    }
}

/// Netlink begins everything at a multiple of four bytes.
fn aligned(bytes: usize) -> usize {
    bytes.saturating_add(3) & !3
}

/// A message of the kernel's with these attributes.
#[cfg(test)]
pub(super) fn reply(attributes: &[u8]) -> Vec<u8> {
    let bytes = attributes.len() + HEADER_BYTES + NETFILTER_BYTES;
    let mut reply = u32::try_from(bytes).unwrap().to_ne_bytes().to_vec();
    reply.resize(HEADER_BYTES + NETFILTER_BYTES, 0);
    reply.extend_from_slice(attributes);
    reply
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn walk(attributes: Attributes<'_>, depth: u8) -> usize {
        attributes
            .map(|attribute| {
                let seen = [
                    attribute.u8().is_some(),
                    attribute.u32().is_some(),
                    attribute.be32().is_some(),
                    attribute.be64().is_some(),
                    attribute.text().is_some(),
                ];
                let inside = match depth {
                    0 => 0,
                    _ => walk(attribute.nested(), depth - 1),
                };
                inside + seen.len()
            })
            .sum()
    }

    fn request(names: &[String]) -> Vec<u8> {
        let mut batch = Batch {
            bytes: Vec::new(),
            start: 0,
            family: 0,
            sequence: 76,
        };
        batch.put(0x0609, 5, |request| {
            for name in names {
                request.nest(7, |inner| {
                    inner.put_text(2, name);
                    inner.put_be32(6, 86_400);
                });
            }
        });
        batch.bytes
    }

    proptest! {
        #[test]
        fn any_bytes_are_messages_or_trouble(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            for message in parse(&bytes).flatten() {
                walk(message.attributes(), 3);
            }
            walk(Attributes(&bytes), 3);
        }

        #[test]
        fn a_bent_request_is_messages_or_trouble(
            names in proptest::collection::vec("[a-z]{0,9}", 0..6),
            bends in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut bytes = request(&names);
            for (place, byte) in bends {
                let place = place.index(bytes.len());
                bytes[place] = byte;
            }
            bytes.truncate(cut.index(bytes.len()) + 1);
            for message in parse(&bytes).flatten() {
                walk(message.attributes(), 3);
            }
        }

        #[test]
        fn what_is_written_is_read(names in proptest::collection::vec("[a-z]{0,9}", 0..6)) {
            let bytes = request(&names);
            let messages: Vec<_> = parse(&bytes).collect::<Result<_, _>>().unwrap();
            prop_assert_eq!(messages.len(), 1);
            prop_assert_eq!((messages[0].kind, messages[0].sequence), (0x0609, 77));
            let read: Vec<_> = messages[0]
                .attributes()
                .map(|attribute| {
                    let inside = attribute.nested();
                    assert_eq!(inside.get(6).and_then(Attribute::be32), Some(86_400));
                    inside.get(2).and_then(Attribute::text).unwrap().to_owned()
                })
                .collect();
            prop_assert_eq!(read, names);
        }
    }

    #[test]
    fn a_message_shorter_than_its_header_is_malformed() {
        let mut bytes = request(&[]);
        bytes[0..4].copy_from_slice(&8u32.to_ne_bytes());
        assert_eq!(parse(&bytes).next(), Some(Err(Trouble::Malformed)));
        assert_eq!(parse(&bytes[..7]).next(), Some(Err(Trouble::Malformed)));
        assert_eq!(parse(&[]).next(), None);
    }
}
