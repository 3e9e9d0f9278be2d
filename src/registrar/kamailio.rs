//! Kamailio's registrations, asked for at its control socket (module `ctl`).
//!
//! The socket speaks BINRPC: a header, and records that say their type and length, so no
//! text in one can be taken for another. We ask `ul.dump`, and read on for as long as the
//! answer says, within bounds. A location table that does not fit into Kamailio's own
//! buffer (`modparam("ctl", "binrpc_max_body_size", …)`) is answered by a fault.

use std::io::{Error, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use super::{REGISTRATIONS_MAX, Trouble, host, registration};
use crate::ticket::Registration;
use crate::time::Time;

/// `ul.dump` as a whole request: magic and version, a request with lengths of one byte,
/// 10 bytes, a cookie, and one text of 8 bytes with its NUL.
const REQUEST: &[u8] = b"\xa1\x00\x0a\x52\x91\x08ul.dump\x00";

/// The longest answer that is read.
const ANSWER_BYTES_MAX: usize = 32 * 1024 * 1024;

/// How long the whole of it may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// The upper half of an answer's second byte.
const ANSWER: u8 = 1;

/// Kinds of records.
const INTEGER: u8 = 0;
const TEXT: u8 = 1;
const FRACTION: u8 = 2;
const NAME: u8 = 5; // of the value behind it

/// Asks for all registrations that have not expired.
pub(super) fn read(path: &Path, now: Time) -> Result<Vec<Registration>, Trouble> {
    read_within(PATIENCE, path, now)
}

fn read_within(patience: Duration, path: &Path, now: Time) -> Result<Vec<Registration>, Trouble> {
    let silent = |error: Error| match error.kind() {
        ErrorKind::WouldBlock => Trouble::Silent(patience),
        _ => Trouble::Io(error),
    };
    let end = Instant::now() + patience;
    let mut socket = UnixStream::connect(path)?;
    socket.set_write_timeout(Some(patience))?;
    socket.write_all(REQUEST).map_err(silent)?;
    let mut answer = Vec::new();
    let mut part = [0; 16 * 1024];
    loop {
        if let Some(body) = body(&answer)? {
            return Ok(registrations(body, now));
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Trouble::Silent(patience));
        }
        socket.set_read_timeout(Some(left))?;
        match socket.read(&mut part).map_err(silent)? {
            0 => return Err(Trouble::Nonsense("the answer breaks off".to_owned())),
            bytes => answer.extend(part.iter().take(bytes)),
        }
    }
}

/// What stands in an answer, if it is there to its end.
fn body(answer: &[u8]) -> Result<Option<&[u8]>, Trouble> {
    let nonsense = |why: &str| Err(Trouble::Nonsense(why.to_owned()));
    let [magic, kind, rest @ ..] = answer else {
        return Ok(None);
    };
    if magic >> 4 != 0xa {
        return nonsense("this is not BINRPC");
    }
    let length_bytes = usize::from(kind >> 2 & 3) + 1;
    let cookie_bytes = usize::from(kind & 3) + 1;
    let Some(length) = rest.get(..length_bytes) else {
        return Ok(None);
    };
    let length = number(length);
    if length > ANSWER_BYTES_MAX {
        return nonsense("the answer is too long");
    }
    let start = length_bytes + cookie_bytes;
    match rest.get(start..start + length) {
        Some(_) if kind >> 4 != ANSWER => nonsense(
            "Kamailio refuses `ul.dump`; usrloc may be missing, or binrpc_max_body_size too small",
        ),
        body => Ok(body),
    }
}

/// One record: its kind and its bytes.
fn record<'a>(body: &mut &'a [u8]) -> Option<(u8, &'a [u8])> {
    let (first, rest) = body.split_first()?;
    let (kind, size) = (first & 15, usize::from(first >> 4 & 7));
    let (length, rest) = match first >> 7 {
        0 => (size, rest),
        // A size of 8 runs over into the bit that says that a length follows.
        _ if size == 0 && kind <= FRACTION => (8, rest),
        _ => (number(rest.get(..size)?), rest.get(size..)?),
    };
    let value = rest.get(..length)?;
    *body = rest.get(length..)?;
    Some((kind, value))
}

/// A number in network order.
fn number(bytes: &[u8]) -> usize {
    bytes.iter().fold(0, |number: usize, byte| {
        number
            .saturating_mul(256)
            .saturating_add(usize::from(*byte))
    })
}

/// One contact of `ul.dump` while it is read.
#[derive(Default)]
struct Contact {
    address: String,
    received: String,
    modified: Option<i64>,
    is_over: bool,
}

impl Contact {
    fn registration(&self, user: &str, now: Time) -> Option<Registration> {
        let modified = self.modified.map(Time::from_secs);
        let since = modified.filter(|time| *time <= now);
        // `received` is where the packets came from, if it is not what the contact says.
        let by_packets = registration(host(&self.received), user, since);
        let found = by_packets.or_else(|| registration(host(&self.address), user, since));
        found.filter(|_| !self.is_over)
    }
}

/// The registrations of an answer: the names of values say whose they are, and an
/// `Address` begins a contact of the `AoR` before.
fn registrations(mut body: &[u8], now: Time) -> Vec<Registration> {
    let (mut user, mut name) = (String::new(), "");
    let mut contact = Contact::default();
    let mut found = Vec::new();
    while let Some((kind, value)) = record(&mut body)
        && found.len() < REGISTRATIONS_MAX as usize
    {
        let text = std::str::from_utf8(value).unwrap_or_default();
        let text = text.trim_end_matches('\0');
        match (kind, name) {
            (NAME, _) => {
                name = text;
                continue;
            }
            (TEXT, "AoR" | "Address") => {
                found.extend(contact.registration(&user, now));
                contact = Contact::default();
                match name {
                    "AoR" => text.clone_into(&mut user),
                    _ => text.clone_into(&mut contact.address),
                }
            }
            (TEXT, "Received") => text.clone_into(&mut contact.received),
            (TEXT, "Expires") => contact.is_over = matches!(text, "expired" | "deleted"),
            (INTEGER, "Last-Modified") => contact.modified = i64::try_from(number(value)).ok(),
            _ => {}
        }
        name = "";
    }
    found.extend(contact.registration(&user, now));
    found
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(kind: u8, text: &str) -> Vec<u8> {
        let length = u8::try_from(text.len() + 1).unwrap();
        [&[0x90 | kind, length], text.as_bytes(), b"\0"].concat()
    }

    fn pair(name: &str, value: &str) -> Vec<u8> {
        [text(NAME, name), text(TEXT, value)].concat()
    }

    fn shown(body: &[u8]) -> Vec<String> {
        let found = registrations(body, Time::from_secs(1_000));
        let shown = found.iter().map(|one| {
            format!(
                "{} {} {:?}",
                one.addr,
                one.user,
                one.since.map(Time::as_secs)
            )
        });
        shown.collect()
    }

    #[test]
    fn contacts_of_several_accounts() {
        let modified = [text(NAME, "Last-Modified"), vec![0x20, 0x03, 0x20]].concat();
        let body = [
            vec![0x03],
            pair("AoR", "1001"),
            pair("Address", "sip:1001@10.0.0.5:5060"),
            [
                text(NAME, "Q"),
                vec![0x82],
                (-1_000_i64).to_be_bytes().to_vec(),
            ]
            .concat(),
            pair("Received", "sip:192.0.2.7:40000"),
            modified,
            pair("Address", "sip:1001@192.0.2.8"),
            pair("Received", "[not set]"),
            pair("AoR", "10\u{1}02"),
            pair("Address", "sip:1002@192.0.2.9"),
            pair("Expires", "expired"),
            pair("Address", "sip:1002@phone.example"),
            pair("User-Agent", "AoR"),
            pair("Address", "sip:x@[2001:db8::7]:5060"),
            vec![0x83],
        ]
        .concat();
        assert_eq!(
            shown(&body),
            [
                "192.0.2.7 1001 Some(800)",
                "192.0.2.8 1001 None",
                "2001:db8::7 10\u{1}02 None"
            ]
        );
    }

    #[test]
    fn a_socket_at_which_nobody_answers_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ctl");
        let _mute = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let patience = Duration::from_millis(10);
        let trouble = read_within(patience, &path, Time::from_secs(1)).unwrap_err();
        assert!(matches!(trouble, Trouble::Silent(time) if time == patience));
        let told = Trouble::Silent(PATIENCE).to_string();
        assert_eq!(told, "it did not answer within 5s");
    }

    #[test]
    fn an_answer_is_waited_for_to_its_end() {
        let answer = [&[0xa1, 0x10, 3, 0x52][..], &text(TEXT, "")].concat();
        for cut in 0..answer.len() {
            assert!(body(&answer[..cut]).unwrap().is_none());
        }
        assert_eq!(body(&answer).unwrap(), Some(&answer[4..]));
        for wrong in [
            &b"{\"jsonrpc\""[..],
            b"\xa1\x30\x00\x52",
            b"\xa1\x1c\xff\xff\xff\xff\x52",
        ] {
            assert!(body(wrong).is_err(), "{wrong:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _any = body(&bytes);
            let _any = registrations(&bytes, Time::from_secs(1));
        }
    }
}
