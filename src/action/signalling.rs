//! How the signalling of a throttled address is held back: what passes, and how much of it.
//!
//! A known-good address that must be sanctioned may still speak: the running call ends as
//! calls do, and an emergency call can be made, while somebody behind it tries passwords. So
//! packets to SIP's ports are told apart by how they begin, and each kind has a bucket of its
//! own. A flood of one kind takes nothing of the others; what is too much is dropped, and an
//! honest phone sends it again.
//!
//! **What can try a password** counts, not what usually does. A server asks for credentials
//! whatever the method is: Kamailio's usual script does so for every request without a tag in
//! `To`, Asterisk's pjsip for all but BYE, ACK and CANCEL. Responses, ACK and CANCEL are never
//! asked (RFC 3261, 22.1), so no password can be tried by them over UDP, where a datagram is
//! one message. Over TCP one segment can hold several messages, whatever it begins with; so
//! there it counts for as many tries as fit in, and larger ones never pass: TCP sends them
//! again in smaller pieces. Segments that carry nothing are free. Of all that can try, no more
//! passes than 2 a second over any minute, in all buckets together (a test adds them up).
//!
//! The two kinds of firewall write it each in their words; the numbers stand here.
//!
//! Absent: TLS, which begins with nothing that tells. It has what is left over for TCP.

use super::reach::{Part, Ports, Transport};

/// Where SIP is spoken: the usual ports; FreeSWITCH's second profile; the second driver of
/// FreePBX. No usual range of media has one of them.
pub(super) const PORTS: [Ports; 3] = [
    Ports {
        first: 5060,
        last: 5061,
    },
    Ports {
        first: 5080,
        last: 5081,
    },
    Ports {
        first: 5160,
        last: 5161,
    },
];

/// What carries SIP, and is held back.
pub(super) const TRANSPORTS: [Transport; 2] = [Transport::Udp, Transport::Tcp];

/// The promise: 2 tries of a password a second, over any minute.
#[cfg(test)]
const TRIES_A_MINUTE_MAX: u32 = 120;

/// The shortest request with credentials that a server accepts, in bytes: short names, compact
/// headers, and the digest.
#[cfg(test)]
const TRY_BYTES_MIN: u32 = 310;

/// Headers of IP and TCP, in bytes; IPv6 has 20 more.
#[cfg(test)]
const HEADER_BYTES: u32 = 40;

/// How long a bucket is remembered: until it is full again, or a short silence would fill it.
pub(super) const REMEMBERED_SECS: u32 = 120;

/// The largest packet of a usual network.
const PACKET_BYTES: u16 = 1_500;

/// A packet with a request that describes no session.
const SMALL_PACKET_BYTES: u16 = 740;

/// What begins in one of these ways shares a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bucket {
    /// What it is for.
    pub(super) name: &'static str,
    pub(super) transport: Transport,
    /// How the message begins. None: this is for everything else.
    pub(super) starts: &'static [&'static [u8]],
    /// The largest packet that it is for, with its headers.
    pub(super) bytes_max: Option<u16>,
    /// How many packets pass in a minute.
    pub(super) per_minute: u32,
    /// How many pass at once.
    pub(super) burst: u32,
}

/// The buckets, in the order in which a packet comes by them. Whatever one has no room for
/// may pass by the last one of its transport.
pub(super) const BUCKETS: [Bucket; 7] = [
    // No password can be tried, so it only keeps a flood off: 50 a second are far more than
    // the calls of a few phones need.
    Bucket {
        name: "talk",
        transport: Transport::Udp,
        starts: &[b"SIP/2.0 ", b"ACK ", b"CANCEL "],
        bytes_max: None,
        per_minute: 3_000,
        burst: 100,
    },
    // Five calls at once can end or be changed, and one more every 4 s.
    Bucket {
        name: "dialog",
        transport: Transport::Udp,
        starts: &[
            b"BYE ", b"PRACK ", b"UPDATE ", b"INFO ", b"REFER ", b"NOTIFY ",
        ],
        bytes_max: None,
        per_minute: 15,
        burst: 5,
    },
    // A call is two of them: the second has the credentials. One is sent again.
    Bucket {
        name: "invite",
        transport: Transport::Udp,
        starts: &[b"INVITE "],
        bytes_max: None,
        per_minute: 15,
        burst: 3,
    },
    // REGISTER and what else tries passwords.
    Bucket {
        name: "rest",
        transport: Transport::Udp,
        starts: &[],
        bytes_max: None,
        per_minute: 20,
        burst: 1,
    },
    // A BYE has some 600 bytes.
    Bucket {
        name: "dialog",
        transport: Transport::Tcp,
        starts: &[
            b"SIP/2.0 ",
            b"ACK ",
            b"CANCEL ",
            b"BYE ",
            b"PRACK ",
            b"UPDATE ",
            b"INFO ",
            b"REFER ",
            b"NOTIFY ",
        ],
        bytes_max: Some(SMALL_PACKET_BYTES),
        per_minute: 6,
        burst: 5,
    },
    // An INVITE, the same with credentials, and one of them again.
    Bucket {
        name: "invite",
        transport: Transport::Tcp,
        starts: &[b"INVITE "],
        bytes_max: Some(PACKET_BYTES),
        per_minute: 2,
        burst: 3,
    },
    // REGISTER, and all of TLS.
    Bucket {
        name: "rest",
        transport: Transport::Tcp,
        starts: &[],
        bytes_max: Some(PACKET_BYTES),
        per_minute: 2,
        burst: 2,
    },
];

/// The lengths of TCP's header, in words of 4 bytes. A segment that is no longer than its
/// headers carries nothing: it opens or ends a connection or says what has arrived.
pub(super) const TCP_HEADER_WORDS: std::ops::RangeInclusive<u8> = 5..=15;

/// TCP's header where data are carried, in words of 4 bytes: without options, and with the
/// time stamp that most systems put there. What has others counts as the rest.
pub(super) const TCP_DATA_WORDS: [u8; 2] = [5, 8];

impl Bucket {
    /// Its name, in which nothing else is called so.
    pub(super) fn full_name(&self) -> String {
        format!("{}-{}", self.transport.word(), self.name)
    }

    /// The buckets of a transport.
    pub(super) fn of(transport: Transport) -> impl Iterator<Item = &'static Bucket> {
        BUCKETS
            .iter()
            .filter(move |bucket| bucket.transport == transport)
    }
}

/// The packets that are looked at.
pub(super) fn parts() -> impl Iterator<Item = Part> {
    TRANSPORTS
        .into_iter()
        .flat_map(|transport| PORTS.map(|ports| Part { transport, ports }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_buckets_together_keep_the_promise() {
        let tries = |bucket: &Bucket| {
            let fitting = |bytes| (u32::from(bytes) - HEADER_BYTES) / TRY_BYTES_MIN;
            let in_packet = bucket.bytes_max.map_or(1, fitting);
            match bucket.full_name().as_str() {
                "udp-talk" => 0,
                _ => (bucket.per_minute + bucket.burst) * in_packet,
            }
        };
        let tries: u32 = BUCKETS.iter().map(tries).sum();
        assert!(tries <= TRIES_A_MINUTE_MAX, "{tries}");
        // Nobody fills a bucket by being silent until it is forgotten.
        let is_full = |bucket: &Bucket| bucket.burst * 60 / bucket.per_minute <= REMEMBERED_SECS;
        assert!(BUCKETS.iter().all(is_full));
        // Of a stream every bucket has a measure.
        assert!(Bucket::of(Transport::Tcp).all(|bucket| bucket.bytes_max.is_some()));
    }

    #[test]
    fn what_cannot_try_a_password_is_told_by_whole_words() {
        // `CANCELLED sip:…` is a method that servers do challenge.
        let mut starts = BUCKETS.iter().flat_map(|bucket| bucket.starts);
        assert!(starts.all(|start| start.ends_with(b" ")));
    }
}
