//! Framings: a server's lines out of what container runtimes and loggers wrap them in.
//!
//! Each log has a [`Decoder`], between the reader and the filters. It gets blocks of whole
//! lines and hands on blocks of whole lines, as the server wrote them: without docker's
//! JSON, Kubernetes' prefix (CRI) or Asterisk's JSON, parts of long lines joined, and
//! without colours. Framings are found by how lines begin and end, which is the runtime's
//! and not the sender's; a line that fits no framing goes through as it is.
//!
//! Before it, a [`charset::Transcoder`] makes UTF-8 of a log in another encoding.
//!
//! What always holds: the block of a plain log goes through untouched, after a look at its
//! first lines; one line of the server's stays one line, whatever newlines are in it (they
//! become `#012`, as in syslog); nobody can write more by a framing of his own making than
//! by writing the line itself.
//!
//! Absent: positions. A part whose rest is not written yet is not in any; after a restart
//! just then the rest stands alone.

pub mod charset;
mod colour;
mod shape;
mod stamp;
mod syslog;

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use shape::{Inner, Shape};
use stamp::Stamp;

/// A line of parts is given up behind so many bytes, as a line too long is by the reader:
/// what stands at its end was chosen by whoever made it so long. A line that quotes all of
/// a SIP message over UDP fits.
pub const LINE_BYTES_MAX: usize = 128 * 1024;

/// How many lines at the head of a plain log's block are looked at for a framing: enough
/// for a start in the middle of something, few enough to cost nothing.
const LOOK_LINES: usize = 16;

/// So many lines in a row that fit no framing, and a log is plain again.
const MISFITS_MAX: u32 = 16;

/// What a log's lines are wrapped in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Framing {
    /// What its lines look like, whatever that is.
    #[default]
    Auto,
    /// Nothing, and colours stay.
    Plain,
    /// Docker's json-file.
    Docker,
    /// The Container Runtime Interface's, of Kubernetes and podman.
    Cri,
    /// Asterisk's own JSON (`[json]` in logger.conf).
    AsteriskJson,
    /// What programs and syslog daemons write to a socket: RFC 3164 and 5424.
    Syslog,
}

/// Not the name of a framing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a framing; auto, plain, docker, cri, asterisk-json and syslog are")]
pub struct UnknownFraming(String);

impl Framing {
    const ALL: [Framing; 6] = [
        Framing::Auto,
        Framing::Plain,
        Framing::Docker,
        Framing::Cri,
        Framing::AsteriskJson,
        Framing::Syslog,
    ];

    /// Its name in configurations.
    pub fn word(self) -> &'static str {
        match self {
            Framing::Auto => "auto",
            Framing::Plain => "plain",
            Framing::Docker => "docker",
            Framing::Cri => "cri",
            Framing::AsteriskJson => "asterisk-json",
            Framing::Syslog => "syslog",
        }
    }

    /// The shapes that a line of it may have.
    fn shapes(self) -> &'static [Shape] {
        match self {
            Framing::Auto => &Shape::ALL,
            Framing::Plain => &[],
            Framing::Docker => &[Shape::Docker],
            Framing::Cri => &[Shape::Cri],
            Framing::AsteriskJson => &[Shape::AsteriskJson],
            Framing::Syslog => &[Shape::Syslog],
        }
    }

    fn read(self, line: &[u8]) -> Option<Inner<'_>> {
        self.shapes().iter().find_map(|shape| shape.read(line))
    }
}

impl fmt::Display for Framing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl FromStr for Framing {
    type Err = UnknownFraming;

    fn from_str(word: &str) -> Result<Framing, UnknownFraming> {
        let known = Framing::ALL.into_iter().find(|known| known.word() == word);
        known.ok_or_else(|| UnknownFraming(word.to_owned()))
    }
}

/// Takes the framing off one log's lines.
#[derive(Debug)]
pub struct Decoder {
    framing: Framing,
    /// Are its lines framed? In a plain log only the first ones of each block are looked at.
    framed: bool,
    /// Has it colours?
    coloured: bool,
    /// Lines in a row that fit no framing.
    misfits: u32,
    /// The beginnings of lines whose end was not read yet, one for each output.
    parts: [Part; 2],
    odd: u64,
    given_up: u64,
}

/// A line whose end was not read yet.
#[derive(Debug, Default)]
struct Part {
    text: Vec<u8>,
    /// Its beginning was lost, or it is too long: its end is dropped as well.
    is_lost: bool,
}

impl Decoder {
    /// A decoder for a log of this framing.
    pub fn new(framing: Framing) -> Decoder {
        Decoder {
            framing,
            framed: !matches!(framing, Framing::Auto | Framing::Plain),
            coloured: false,
            misfits: 0,
            parts: [Part::default(), Part::default()],
            odd: 0,
            given_up: 0,
        }
    }

    /// The lines in a block of whole lines, as the server wrote them; each has its newline.
    /// `room` is for them if they are not the block itself: one for all logs will do.
    pub fn block<'a>(&mut self, block: &'a [u8], room: &'a mut Vec<u8>) -> &'a [u8] {
        if self.framing == Framing::Plain {
            return block;
        }
        if !self.framed {
            self.look(block);
        }
        let has_colours = || self.coloured && colour::has(block);
        if !(self.framed || has_colours()) {
            return block;
        }
        room.clear();
        for line in block.split_inclusive(|byte| *byte == b'\n') {
            self.line(line.strip_suffix(b"\n").unwrap_or(line), room);
        }
        if self.framing == Framing::Auto && self.misfits >= MISFITS_MAX {
            self.framed = false;
        }
        room
    }

    /// Says that a line was lost before it came here. It may have been a part, so the rest
    /// of its line is dropped too: nobody must get to choose where a line begins.
    pub fn lost(&mut self) {
        if self.framed {
            for part in &mut self.parts {
                *part = Part {
                    text: Vec::new(),
                    is_lost: true,
                };
            }
        }
    }

    /// How many lines were in no framing though the log has one. They went through.
    pub fn odd(&self) -> u64 {
        self.odd
    }

    /// How many lines were dropped because their parts are too long together, or because
    /// one of them was lost.
    pub fn given_up(&self) -> u64 {
        self.given_up
    }

    /// Looks for a framing and for colours in the first lines of a plain log's block.
    fn look(&mut self, block: &[u8]) {
        let mut start = 0;
        for end in memchr::memchr_iter(b'\n', block).take(LOOK_LINES) {
            let line = block.get(start..end).unwrap_or_default();
            start = end + 1;
            self.coloured |= colour::has(line);
            if self.framing.read(line).is_some() {
                self.framed = true;
                self.misfits = 0;
                return;
            }
        }
    }

    fn line(&mut self, line: &[u8], out: &mut Vec<u8>) {
        if !self.framed {
            return write_bare(line, out);
        }
        let Some(inner) = self.framing.read(line) else {
            self.odd += 1;
            self.misfits = self.misfits.saturating_add(1);
            return write_bare(line, out);
        };
        self.misfits = 0;
        let Some(part) = self.parts.get_mut(inner.stream) else {
            return;
        };
        match (inner.ends, part.is_whole()) {
            (true, true) => write(&inner.text, inner.stamp, out),
            (false, _) => part.add(&inner.text),
            (true, false) => {
                part.add(&inner.text);
                match part.is_lost {
                    true => self.given_up += 1,
                    false => write(&part.text, inner.stamp, out),
                }
                *part = Part::default();
            }
        }
    }
}

impl Part {
    /// Is nothing of the line known yet?
    fn is_whole(&self) -> bool {
        self.text.is_empty() && !self.is_lost
    }

    fn add(&mut self, text: &[u8]) {
        self.is_lost |= self.text.len() + text.len() > LINE_BYTES_MAX;
        match self.is_lost {
            true => self.text = Vec::new(),
            false => self.text.extend_from_slice(text),
        }
    }
}

/// One line alone, as far as it is there: for whoever looks for a line's date only.
pub fn peel(framing: Framing, line: &[u8]) -> Cow<'_, [u8]> {
    let end = line.strip_suffix(b"\n").unwrap_or(line);
    let Some(inner) = framing.read(end) else {
        return Cow::Borrowed(line);
    };
    let mut out = Vec::new();
    write(&inner.text, inner.stamp, &mut out);
    Cow::Owned(out)
}

/// Writes a line that has no framing, or none that we know.
fn write_bare(line: &[u8], out: &mut Vec<u8>) {
    colour::strip(line, out);
    out.push(b'\n');
}

/// Writes what was in a framing: without colours and inner newlines, and with a time.
fn write(text: &[u8], stamp: Option<Stamp<'_>>, out: &mut Vec<u8>) {
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    let nested = shape::asterisk(text);
    let text = nested.as_deref().unwrap_or(text);
    let mut bare = Vec::new();
    let text = match colour::has(text) {
        true => {
            colour::strip(text, &mut bare);
            &bare
        }
        false => text,
    };
    if let Some(stamp) = stamp.filter(|_| !stamp::has_date(text)) {
        stamp.write(out);
        out.push(b' ');
    }
    let mut rest = text;
    while let Some(newline) = memchr::memchr(b'\n', rest) {
        let (before, after) = rest.split_at(newline);
        out.extend_from_slice(before);
        out.extend_from_slice(b"#012");
        rest = after.get(1..).unwrap_or_default();
    }
    out.extend_from_slice(rest);
    out.push(b'\n');
}
