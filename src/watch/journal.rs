//! The systemd journal, as `journalctl` exports it.
//!
//! One child process follows the journal for all jails that read the same one, and sends
//! only the entries and fields that somebody asked for. Its format (systemd's "Journal
//! Export Format") is a field a line, an empty line behind each entry, and a length
//! instead of a line's end where a value holds one. An entry becomes the line that a
//! syslog daemon would have written, without its date: the entry's own time is better.
//!
//! It is read in two steps: first what is there, of all boots, to its end; then what comes.
//! (`journalctl --follow` knows the present boot only.)
//!
//! What always holds: entries come in the journal's order, each once, and a cursor is
//! that of an entry that was handed on. Values are cut at [`LINE_BYTES_MAX`], and names
//! at 64 bytes; what is longer is read over, so memory is bounded whatever is
//! logged. A child that ends is started again behind its last entry.

use std::collections::BTreeSet;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use memchr::memchr;

use super::{LINE_BYTES_MAX, TURN_BYTES_MAX};
use crate::time::Time;

/// How long a field's name may be: systemd's own limit.
const NAME_BYTES_MAX: usize = 64;

/// Room for one value and its name.
const CARRY_BYTES_MAX: usize = NAME_BYTES_MAX + 1 + LINE_BYTES_MAX;

/// How much is read at once: what a pipe holds.
const READ_BYTES: usize = 64 * 1024;

/// How long after its end `journalctl` is started again.
const RESTART_AFTER: Duration = Duration::from_secs(2);

/// Fields of which an entry's line and time are made.
const LINE_FIELDS: [&str; 10] = [
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

/// Which entries somebody wants: groups of fields, of which one group must fit. In a
/// group every field that is named must have one of its values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Matches(Vec<Vec<(String, String)>>);

/// Something that is no match.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("journalmatch: `{0}` is neither FIELD=value nor `+`")]
pub struct MatchError(String);

impl Matches {
    /// Reads fail2ban's lists of words: `FIELD=value` and `+`. Several lists are several
    /// groups; none is every entry.
    ///
    /// # Errors
    /// A word is neither.
    pub fn parse(lists: &[Vec<String>]) -> Result<Matches, MatchError> {
        let mut groups = Vec::new();
        for list in lists {
            for group in list.split(|word| word == "+") {
                let fields: Result<Vec<_>, _> = group.iter().map(|word| field(word)).collect();
                groups.push(fields?);
            }
        }
        // A group without a field asks for nothing in particular.
        groups.retain(|group| !group.is_empty());
        Ok(Matches(groups))
    }

    /// Does it take every entry?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Do both name the same value of the same field?
    pub fn shares(&self, other: &Matches) -> bool {
        let mut fields = self.0.iter().flatten();
        fields.any(|field| other.0.iter().flatten().any(|other| field == other))
    }

    /// Does it want this entry?
    pub fn take(&self, entry: &Entry) -> bool {
        let has = |name: &str, value: &str| {
            let mut fields = entry.fields.iter();
            fields.any(|(known, is)| known == name && is == value)
        };
        let fits = |group: &Vec<(String, String)>| {
            group.iter().all(|(name, _)| {
                let mut same = group.iter().filter(|(other, _)| other == name);
                same.any(|(name, value)| has(name, value))
            })
        };
        self.is_empty() || self.0.iter().any(fits)
    }

    /// The values of this field that it asks for.
    pub fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let fields = self.0.iter().flatten();
        let values = fields.filter(move |(known, _)| known == name);
        values.map(|(_, value)| value.as_str())
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().flatten().map(|(name, _)| name.as_str())
    }
}

fn field(word: &str) -> Result<(String, String), MatchError> {
    let is_name = |name: &str| {
        let letters = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
        !name.is_empty() && name.len() <= NAME_BYTES_MAX && name.bytes().all(letters)
    };
    match word.split_once('=') {
        Some((name, value)) if is_name(name) => Ok((name.to_owned(), value.to_owned())),
        _ => Err(MatchError(word.to_owned())),
    }
}

/// What is read of which journal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// Which journal, in `journalctl`'s words (`--namespace=…`); none is the system's.
    pub arguments: Vec<String>,
    /// What each reader wants of it.
    pub matches: Vec<Matches>,
}

/// An entry that was read, and how to go on behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// systemd's name for the place.
    pub cursor: String,
    /// When the entry was received.
    pub received: Time,
}

/// One entry.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Entry {
    /// As a syslog daemon would have written it, without its date and its newline.
    pub text: String,
    /// When it was written.
    pub written: Time,
    /// When the journal received it.
    pub received: Time,
    /// It is longer than [`LINE_BYTES_MAX`], or than what journald takes as one line: what
    /// stands at its end was chosen by whoever made it so long.
    pub cut: bool,
    cursor: String,
    fields: Vec<(String, String)>,
}

/// A journal that is followed.
pub struct Journal {
    query: Query,
    names: BTreeSet<String>,
    child: Option<(Child, ChildStdout)>,
    parser: Parser,
    buffer: Box<[u8]>,
    last: Option<Cursor>,
    since: Time,
    /// When a child that has ended is started again; until then it is not known whether
    /// one that was started is well.
    restart: Instant,
    /// Does the child that runs read what comes?
    follows: bool,
    /// Has it given an entry?
    gave: bool,
    trouble: Option<String>,
    told: bool,
}

impl Journal {
    /// Follows a journal behind `last`, or from `since` on if that is later. Nothing is
    /// read yet.
    pub fn new(query: Query, last: Option<Cursor>, since: Time, now: Instant) -> Journal {
        let wanted = query.matches.iter().flat_map(Matches::names);
        let names = wanted.chain(LINE_FIELDS).map(str::to_owned).collect();
        let mut journal = Journal {
            query,
            names,
            child: None,
            parser: Parser::default(),
            buffer: vec![0; READ_BYTES].into_boxed_slice(),
            last: last.filter(|last| last.received >= since),
            since,
            restart: now,
            follows: false,
            gave: false,
            trouble: None,
            told: false,
        };
        journal.start(now);
        journal
    }

    /// What is ready when there is something to read; `None` while nobody follows.
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        let (_, stdout) = self.child.as_ref()?;
        Some(stdout.as_fd())
    }

    /// Hands on what is there, for a turn; says whether there may be more.
    pub fn read(&mut self, now: Instant, each: &mut dyn FnMut(&Entry)) -> bool {
        if self.child.is_none() && now >= self.restart {
            self.follows = false;
            self.start(now);
        }
        let mut left = TURN_BYTES_MAX;
        while let Some((_, stdout)) = &mut self.child {
            match stdout.read(&mut self.buffer) {
                Ok(0) => {
                    self.ended(now);
                    return true;
                }
                Ok(bytes) => {
                    let Journal {
                        parser,
                        names,
                        last,
                        gave,
                        since,
                        buffer,
                        ..
                    } = self;
                    parser.feed(&buffer[..bytes], names, &mut |entry| {
                        *gave = true;
                        let is_last = |last: &Cursor| last.cursor == entry.cursor;
                        if last.as_ref().is_some_and(is_last) || entry.received < *since {
                            return; // It was handed on.
                        }
                        *last = Some(Cursor {
                            cursor: entry.cursor.clone(),
                            received: entry.received,
                        });
                        each(entry);
                    });
                    left = left.saturating_sub(bytes);
                    if left == 0 {
                        return true;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if self.follows && (self.gave || now >= self.restart) {
                        self.trouble = None;
                    }
                    return false;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.end(now, &error.to_string());
                    return false;
                }
            }
        }
        false
    }

    /// Behind which entry reading goes on.
    pub fn cursor(&self) -> Option<&Cursor> {
        self.last.as_ref()
    }

    /// Why nothing is read, if so.
    pub fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    /// The same, once for each trouble: what is worth a warning.
    pub fn news(&mut self) -> Option<&str> {
        match (&self.trouble, self.told) {
            (Some(trouble), false) => {
                self.told = true;
                Some(trouble)
            }
            (None, _) => {
                self.told = false;
                None
            }
            (Some(_), true) => None,
        }
    }

    fn start(&mut self, now: Instant) {
        self.restart = now + RESTART_AFTER;
        self.parser = Parser::default();
        self.gave = false;
        match self.spawn() {
            Ok(child) => self.child = Some(child),
            Err(error) => self.trouble = Some(format!("journalctl cannot be run: {error}")),
        }
    }

    fn spawn(&self) -> io::Result<(Child, ChildStdout)> {
        let mut command = Command::new("journalctl");
        command
            .args(["--output=export", "--quiet", "--all", "--no-pager"])
            .args(
                self.follows
                    .then_some(["--follow", "--no-tail"])
                    .into_iter()
                    .flatten(),
            )
            .arg(format!("--output-fields={}", join(&self.names)))
            .args(&self.query.arguments);
        match &self.last {
            // Not --after-cursor: where that entry does not fit, it skips one that does.
            Some(last) => command.arg(format!("--cursor={}", last.cursor)),
            None => command.arg(format!("--since=@{}", self.since.as_secs().max(0))),
        };
        if !self.query.matches.iter().any(Matches::is_empty) {
            command.args(words(&self.query.matches));
        }
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            // A terminal's interrupt is for us; we end it ourselves.
            .process_group(0)
            .spawn()?;
        let stdout = child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        rustix::io::ioctl_fionbio(&stdout, true)?;
        Ok((child, stdout))
    }

    /// The child has ended: what was there is read, or there is trouble.
    fn ended(&mut self, now: Instant) {
        let status = self.child.as_mut().map(|(child, _)| child.wait());
        let is_well = matches!(&status, Some(Ok(status)) if status.success());
        if is_well && !self.follows {
            self.child = None;
            self.follows = true;
            return self.start(now);
        }
        // Perhaps the cursor is of another journal. Then the time must do.
        if let Some(last) = self.last.take_if(|_| !self.follows && !self.gave) {
            self.since = last.received + Duration::from_micros(1);
        }
        self.end(now, "journalctl has ended");
    }

    fn end(&mut self, now: Instant, why: &str) {
        self.restart = now + RESTART_AFTER;
        if let Some((mut child, _)) = self.child.take() {
            // It has ended, or is of no use any more.
            let _ended = child.kill();
            let status = child.wait().map(|status| status.to_string());
            self.trouble = Some(format!("{why} ({})", status.unwrap_or_default()));
        }
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.end(Instant::now(), "");
    }
}

/// The groups of all matches, in `journalctl`'s words.
fn words(matches: &[Matches]) -> Vec<String> {
    let mut groups: Vec<Vec<String>> = Vec::new();
    for group in matches.iter().flat_map(|matches| &matches.0) {
        let group = group
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        if !groups.contains(&group) {
            groups.push(group);
        }
    }
    groups.join(&"+".to_owned())
}

fn join(names: &BTreeSet<String>) -> String {
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    names.join(",")
}

/// Reads the export format, however it is torn.
#[derive(Default)]
struct Parser {
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
    fn feed(&mut self, bytes: &[u8], names: &BTreeSet<String>, each: &mut dyn FnMut(&Entry)) {
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
mod tests {
    use super::*;

    fn parsed(parts: &[&[u8]]) -> Vec<Entry> {
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

    fn export() -> Vec<u8> {
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

    #[test]
    fn matches_are_fail2bans() {
        let entries = parsed(&[&export()]);
        for (lists, expected) in [
            (vec![], [true, true, true]),
            (vec!["_SYSTEMD_UNIT=kamailio.service"], [true, false, false]),
            (vec!["_COMM=asterisk _COMM=other"], [true, true, false]),
            (vec!["_COMM=other _SYSTEMD_UNIT=sshd.service"], [false; 3]),
            (vec!["_COMM=other + _TRANSPORT=kernel"], [true, false, true]),
            (
                vec!["_COMM=asterisk", "_TRANSPORT=kernel"],
                [false, true, true],
            ),
        ] {
            let words = |list: &&str| list.split(' ').map(str::to_owned).collect();
            let lists: Vec<Vec<String>> = lists.iter().map(words).collect();
            let matches = Matches::parse(&lists).unwrap();
            let taken: Vec<bool> = entries.iter().map(|entry| matches.take(entry)).collect();
            assert_eq!(taken, expected, "{lists:?}");
        }
        for word in ["kamailio", "=x", "_lower=x", "--follow"] {
            let error = Matches::parse(&[vec![word.to_owned()]]).unwrap_err();
            assert_eq!(error, MatchError(word.to_owned()));
        }
    }
}
