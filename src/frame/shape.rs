//! The framings, a line of each at a time.
//!
//! | framing | a line |
//! |---|---|
//! | docker json-file | `{"log":"text\n","stream":"stdout","time":"2026-11-22T07:00:00.1Z"}` |
//! | CRI (Kubernetes, podman) | `2026-11-22T07:00:00.1Z stdout F text` |
//! | syslog | `<34>Nov 22 07:00:00 host tag[1]: text`, `<34>1 2026-11-22T07:00:00Z host tag 1 - - text` |
//! | Asterisk's JSON | `{"hostname":…,"timestamp":…,"identifiers":{…},"logmsg":{…}}` |
//!
//! A line must fit from its first byte to its last, or it is none of the framing's.

use std::borrow::Cow;

use serde::Deserialize;

use super::stamp::Stamp;
use super::syslog;

/// A kind of framing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Docker,
    Cri,
    AsteriskJson,
    Syslog,
}

/// What a framing held.
#[derive(Debug)]
pub(super) struct Inner<'a> {
    /// The server's text, a newline at its end perhaps.
    pub(super) text: Cow<'a, [u8]>,
    /// When the framing took it; `None` if the text itself says so.
    pub(super) stamp: Option<Stamp<'a>>,
    /// Which of the server's two outputs it came from: 0 or 1.
    pub(super) stream: usize,
    /// Does the server's line end here? If not, this is a part of it.
    pub(super) ends: bool,
}

impl Shape {
    /// Those that are found out by their lines. Syslog's is not: it has no end, and who
    /// asks for it has a socket.
    pub(super) const ALL: [Shape; 3] = [Shape::Docker, Shape::Cri, Shape::AsteriskJson];

    /// What a line of this framing holds; `None` if it is no such line. `line` is without
    /// its newline.
    pub(super) fn read(self, line: &[u8]) -> Option<Inner<'_>> {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        match self {
            Shape::Docker => docker(line),
            Shape::Cri => cri(line),
            Shape::Syslog => Some(Inner {
                text: syslog::line(line),
                stamp: None,
                stream: 0,
                ends: true,
            }),
            Shape::AsteriskJson => asterisk(line).map(|text| Inner {
                text: Cow::Owned(text),
                stamp: None,
                stream: 0,
                ends: true,
            }),
        }
    }
}

#[derive(Deserialize)]
struct Docker<'a> {
    #[serde(borrow)]
    log: Cow<'a, str>,
    #[serde(borrow)]
    stream: Cow<'a, str>,
    time: &'a str,
}

fn docker(line: &[u8]) -> Option<Inner<'_>> {
    if !line.starts_with(b"{\"log\":\"") {
        return None;
    }
    let Docker { log, stream, time } = serde_json::from_slice(line).ok()?;
    let (stamp, _) = Stamp::read(time.as_bytes()).filter(|(_, rest)| rest.is_empty())?;
    let ends = log.ends_with('\n');
    Some(Inner {
        text: match log {
            Cow::Borrowed(log) => Cow::Borrowed(log.as_bytes()),
            Cow::Owned(log) => Cow::Owned(log.into_bytes()),
        },
        stamp: Some(stamp),
        stream: usize::from(stream != "stdout"),
        ends,
    })
}

fn cri(line: &[u8]) -> Option<Inner<'_>> {
    let (stamp, rest) = Stamp::read(line)?;
    let (stream, rest) = match rest.strip_prefix(b" stdout ") {
        Some(rest) => (0, rest),
        None => (1, rest.strip_prefix(b" stderr ")?),
    };
    // More tags may follow behind a colon.
    let tags = memchr::memchr(b' ', rest).unwrap_or(rest.len());
    let ends = match rest.get(..tags)? {
        [b'F'] | [b'F', b':', ..] => true,
        [b'P'] | [b'P', b':', ..] => false,
        _ => return None,
    };
    Some(Inner {
        text: Cow::Borrowed(rest.get(tags + 1..).unwrap_or_default()),
        stamp: Some(stamp),
        stream,
        ends,
    })
}

#[derive(Deserialize)]
struct Asterisk<'a> {
    #[serde(borrow)]
    timestamp: Cow<'a, str>,
    #[serde(borrow)]
    identifiers: Identifiers<'a>,
    #[serde(borrow)]
    logmsg: Message<'a>,
}

#[derive(Deserialize)]
struct Identifiers<'a> {
    lwp: i64,
    /// `[C-0000000d]`, brackets and all; empty outside of calls.
    #[serde(borrow)]
    callid: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    location: Place<'a>,
    #[serde(borrow)]
    level: Cow<'a, str>,
    /// As the server wrote it, with the newline at its end and those in it.
    #[serde(borrow)]
    message: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Place<'a> {
    #[serde(borrow)]
    filename: Cow<'a, str>,
}

/// The line that Asterisk would have written to a file without the `[json]`.
pub(super) fn asterisk(line: &[u8]) -> Option<Vec<u8>> {
    if !line.starts_with(b"{") {
        return None;
    }
    let Asterisk {
        timestamp,
        identifiers: Identifiers { lwp, callid },
        logmsg:
            Message {
                location: Place { filename },
                level,
                message,
            },
    } = serde_json::from_slice(line).ok()?;
    let message = message.trim_end_matches(['\r', '\n']);
    Some(format!("[{timestamp}] {level}[{lwp}]{callid} {filename}: {message}").into_bytes())
}
