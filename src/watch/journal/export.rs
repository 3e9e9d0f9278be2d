//! journald's export format: entries, out of the bytes that `journalctl` writes.

use std::collections::BTreeSet;

use memchr::memchr;

use super::Entry;
use crate::time::Time;
use crate::watch::LINE_BYTES_MAX;

/// How long a field's name may be: systemd's own limit.
pub(super) const NAME_BYTES_MAX: usize = 64;

/// Room for one value and its name.
const CARRY_BYTES_MAX: usize = NAME_BYTES_MAX + 1 + LINE_BYTES_MAX;

/// Fields of which an entry's line and time are made.
pub(super) const LINE_FIELDS: [&str; 10] = [
    "MESSAGE",
    "_HOSTNAME",
    "SYSLOG_IDENTIFIER",
    "_COMM",
    "SYSLOG_PID",
    "_PID",
    "_TRANSPORT",
    "_SOURCE_REALTIME_TIMESTAMP",
    "_LINE_BREAK",
    STREAM,
];

/// Which output of a program an entry came from: what journald cuts, goes on in the next
/// entry of the same.
const STREAM: &str = "_STREAM_ID";

/// How many outputs are remembered whose last line was cut.
const TORN_MAX: usize = 64;

/// Reads the export format, however it is torn.
#[derive(Default)]
pub(super) struct Parser {
    /// The beginning of a field whose end has not come yet.
    carry: Vec<u8>,
    state: State,
    draft: Draft,
    /// Outputs whose last line journald has cut.
    torn: Vec<String>,
}

#[derive(Default)]
enum State {
    /// At a line: a field, the name of a field with a length, or an entry's end.
    #[default]
    Line,
    /// In a line that is too long; what fits stands in the carry.
    LongLine,
    /// At the length of this field's value.
    Length { name: String },
    /// In a value of which so much is still to come.
    Value { name: String, left: u64 },
}

/// What is known of an entry that has not ended.
#[derive(Default)]
struct Draft {
    entry: Entry,
    messages: Vec<String>,
    cut: bool,
    /// It is the beginning of a line that is too long.
    is_torn: bool,
    monotonic: Option<u64>,
}

impl Parser {
    /// Hands on the entries that end in these bytes; fields of these `names` are kept.
    pub(super) fn feed(
        &mut self,
        bytes: &[u8],
        names: &BTreeSet<String>,
        each: &mut dyn FnMut(&Entry),
    ) {
        let mut rest = bytes;
        while !rest.is_empty() {
            rest = match std::mem::take(&mut self.state) {
                State::Line => self.line(rest, names, each),
                State::LongLine => self.long_line(rest, names),
                State::Length { name } => self.length(name, rest),
                State::Value { name, left } => self.value(name, left, rest, names),
            };
        }
    }

    fn line<'a>(
        &mut self,
        bytes: &'a [u8],
        names: &BTreeSet<String>,
        each: &mut dyn FnMut(&Entry),
    ) -> &'a [u8] {
        let Some(end) = memchr(b'\n', bytes) else {
            self.keep(bytes);
            if self.carry.len() >= CARRY_BYTES_MAX {
                self.state = State::LongLine;
            }
            return &[];
        };
        self.keep(&bytes[..end]);
        let line = std::mem::take(&mut self.carry);
        match memchr(b'=', &line) {
            _ if line.is_empty() => {
                let is_torn = self.draft.is_torn;
                if let Some(mut entry) = std::mem::take(&mut self.draft).finish() {
                    self.mend(&mut entry, is_torn);
                    each(&entry);
                }
            }
            Some(equals) => self.draft.take(&line[..equals], &line[equals + 1..], names),
            None => {
                let name = String::from_utf8_lossy(&line).into_owned();
                self.state = State::Length { name };
            }
        }
        // Its room serves the next line.
        self.carry = line;
        self.carry.clear();
        &bytes[end + 1..]
    }

    /// The rest of a line that journald has cut is none: whoever made it so long chose
    /// where it begins.
    fn mend(&mut self, entry: &mut Entry, is_torn: bool) {
        let mut fields = entry.fields.iter();
        let Some((_, stream)) = fields.find(|(name, _)| name == STREAM) else {
            return;
        };
        if let Some(known) = self.torn.iter().position(|torn| torn == stream) {
            self.torn.swap_remove(known);
            entry.cut = true;
        }
        if is_torn && self.torn.len() < TORN_MAX {
            self.torn.push(stream.clone());
        }
    }

    fn long_line<'a>(&mut self, bytes: &'a [u8], names: &BTreeSet<String>) -> &'a [u8] {
        let Some(end) = memchr(b'\n', bytes) else {
            self.state = State::LongLine;
            return &[];
        };
        let line = std::mem::take(&mut self.carry);
        if let Some(equals) = memchr(b'=', &line) {
            self.draft.take(&line[..equals], &line[equals + 1..], names);
        }
        &bytes[end + 1..]
    }

    fn length<'a>(&mut self, name: String, bytes: &'a [u8]) -> &'a [u8] {
        let missing = 8 - self.carry.len().min(8);
        let (head, rest) = bytes.split_at(missing.min(bytes.len()));
        self.carry.extend_from_slice(head);
        match <[u8; 8]>::try_from(self.carry.as_slice()) {
            Ok(length) => {
                self.carry.clear();
                // The value, and the newline behind it.
                let left = u64::from_le_bytes(length).saturating_add(1);
                self.state = State::Value { name, left };
            }
            Err(_) => self.state = State::Length { name },
        }
        rest
    }

    fn value<'a>(
        &mut self,
        name: String,
        left: u64,
        bytes: &'a [u8],
        names: &BTreeSet<String>,
    ) -> &'a [u8] {
        let here = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
        let (head, rest) = bytes.split_at(here);
        self.keep(head);
        let left = left - here as u64;
        if left > 0 {
            self.state = State::Value { name, left };
            return rest;
        }
        let value = std::mem::take(&mut self.carry);
        let value = value.strip_suffix(b"\n").unwrap_or(&value);
        self.draft.take(name.as_bytes(), value, names);
        rest
    }

    fn keep(&mut self, bytes: &[u8]) {
        let room = CARRY_BYTES_MAX.saturating_sub(self.carry.len());
        self.carry
            .extend_from_slice(&bytes[..bytes.len().min(room)]);
    }
}

impl Draft {
    fn take(&mut self, name: &[u8], value: &[u8], names: &BTreeSet<String>) {
        let Ok(name) = std::str::from_utf8(name) else {
            return;
        };
        let value = &value[..value.len().min(LINE_BYTES_MAX)];
        let text = || String::from_utf8_lossy(value).into_owned();
        let number = || std::str::from_utf8(value).ok()?.parse().ok();
        match name {
            "__CURSOR" => self.entry.cursor = text(),
            "__REALTIME_TIMESTAMP" => {
                self.entry.received = number().map_or(Time::default(), Time::from_micros);
            }
            "__MONOTONIC_TIMESTAMP" => {
                self.monotonic = number().and_then(|n| u64::try_from(n).ok())
            }
            "MESSAGE" => {
                let so_far: usize = self.messages.iter().map(String::len).sum();
                self.cut |= so_far + value.len() >= LINE_BYTES_MAX;
                if !self.cut {
                    self.messages.push(text());
                }
            }
            "_LINE_BREAK" => {
                self.is_torn = value == b"line-max";
                self.cut |= self.is_torn;
            }
            _ => {}
        }
        // A field may stand in an entry several times; that many are enough.
        if names.contains(name) && self.entry.fields.len() < FIELDS_MAX {
            self.entry.fields.push((name.to_owned(), text()));
        }
    }

    /// The entry, unless it has no cursor and so is none.
    fn finish(mut self) -> Option<Entry> {
        let field = |name: &str| {
            let mut fields = self.entry.fields.iter();
            fields
                .find(|(known, _)| known == name)
                .map(|(_, value)| value.as_str())
        };
        let written = field("_SOURCE_REALTIME_TIMESTAMP").and_then(|text| text.parse().ok());
        let mut parts = Vec::new();
        parts.extend(field("_HOSTNAME").map(str::to_owned));
        if let Some(name) = field("SYSLOG_IDENTIFIER").or(field("_COMM")) {
            parts.push(match field("SYSLOG_PID").or(field("_PID")) {
                Some(pid) => format!("{name}[{pid}]:"),
                None => format!("{name}:"),
            });
        }
        if field("_TRANSPORT") == Some("kernel") {
            let seconds =
                |micros: u64| format!("[{}.{:06}]", micros / 1_000_000, micros % 1_000_000);
            parts.extend(self.monotonic.map(seconds));
        }
        parts.push(self.messages.join(" ").replace('\n', "\\n"));
        let text = parts.join(" ");
        self.entry.written = written.map_or(self.entry.received, Time::from_micros);
        self.entry.text = text;
        self.entry.cut = self.cut;
        (!self.entry.cursor.is_empty()).then_some(self.entry)
    }
}

/// Fields of one entry that are kept.
const FIELDS_MAX: usize = 64;

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn parsed(parts: &[&[u8]]) -> Vec<Entry> {
        let names = LINE_FIELDS.iter().chain(&["_SYSTEMD_UNIT"]);
        let names = names.map(|name| (*name).to_owned()).collect();
        let mut parser = Parser::default();
        let mut entries = Vec::new();
        for part in parts {
            parser.feed(part, &names, &mut |entry| entries.push(entry.clone()));
        }
        entries
    }

    fn binary(name: &str, value: &[u8]) -> Vec<u8> {
        let length = (value.len() as u64).to_le_bytes();
        [name.as_bytes(), b"\n", &length, value, b"\n"].concat()
    }

    pub(in super::super) fn export() -> Vec<u8> {
        [
            b"__CURSOR=s=1;i=1\n__REALTIME_TIMESTAMP=1700000000500000\n_HOSTNAME=sip1\nSYSLOG_IDENTIFIER=kamailio\n\
              _PID=7\n_COMM=other\n_SYSTEMD_UNIT=kamailio.service\nMESSAGE=a = b\n\n"
                .to_vec(),
            b"__CURSOR=s=1;i=2\n__REALTIME_TIMESTAMP=1700000001500000\n_SOURCE_REALTIME_TIMESTAMP=1700000001000000\n\
              _COMM=asterisk\n"
                .to_vec(),
            binary("MESSAGE", b"two\nlines=\n\nX"),
            b"MESSAGE=more\n\n\n".to_vec(),
            b"__CURSOR=s=1;i=3\n__MONOTONIC_TIMESTAMP=12000345\n_TRANSPORT=kernel\n_HOSTNAME=sip1\nSYSLOG_IDENTIFIER=kernel\nMESSAGE=\n\n"
                .to_vec(),
        ]
        .concat()
    }

    #[test]
    fn entries_become_lines_however_they_are_torn() {
        let export = export();
        let whole = parsed(&[&export]);
        let texts: Vec<&str> = whole.iter().map(|entry| entry.text.as_str()).collect();
        assert_eq!(
            texts,
            [
                "sip1 kamailio[7]: a = b",
                "asterisk: two\\nlines=\\n\\nX more",
                "sip1 kernel: [12.000345] ",
            ]
        );
        let times = whole.iter().map(|entry| entry.written.as_micros());
        let times: Vec<i64> = times.collect();
        assert_eq!(times, [1_700_000_000_500_000, 1_700_000_001_000_000, 0]);
        for place in 0..export.len() {
            let (head, tail) = export.split_at(place);
            assert_eq!(parsed(&[head, tail]), whole, "torn at {place}");
        }
        let bytes: Vec<&[u8]> = export.chunks(1).collect();
        assert_eq!(parsed(&bytes), whole);
    }

    #[test]
    fn what_is_too_long_is_cut_and_the_next_entry_is_whole() {
        let long = vec![b'x'; 5 * LINE_BYTES_MAX];
        for field in [
            [b"MESSAGE=".as_slice(), &long, b"\n"].concat(),
            binary("MESSAGE", &long),
        ] {
            let export = [
                b"__CURSOR=1\n".as_slice(),
                &field,
                b"\n__CURSOR=2\nMESSAGE=y\n\n",
            ]
            .concat();
            for size in [export.len(), 1_000] {
                let parts: Vec<&[u8]> = export.chunks(size).collect();
                let entries = parsed(&parts);
                let cut: Vec<bool> = entries.iter().map(|entry| entry.cut).collect();
                assert_eq!(cut, [true, false]);
                assert_eq!(
                    (entries[0].text.as_str(), entries[1].text.as_str()),
                    ("", "y")
                );
            }
        }
    }

    #[test]
    fn the_rest_of_a_line_that_journald_cut_is_none() {
        let entry = |stream: &str, end: &str, text: &str| {
            format!("__CURSOR=1\n_STREAM_ID={stream}\n{end}MESSAGE={text}\n\n")
        };
        let torn = "_LINE_BREAK=line-max\n";
        let export = [
            entry("a", torn, "begins"),
            entry("b", "", "another's"),
            entry("a", torn, "goes on"),
            entry("a", "", "ends"),
            entry("a", "", "the next"),
        ];
        let entries = parsed(&[export.concat().as_bytes()]);
        let cut: Vec<bool> = entries.iter().map(|entry| entry.cut).collect();
        assert_eq!(cut, [true, false, true, true, false]);
    }
}
