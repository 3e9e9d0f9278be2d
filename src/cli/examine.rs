//! `ringfence examine`: lets another program drive our filters, line by line.
//!
//! Requests come on standard input, one JSON object a line; each is answered by one on
//! standard output, in order. `open` makes a session: one filter and what it remembers of
//! one log. `line` shows it a line and gives all that was found. `close` ends it. A
//! request that cannot be understood is answered by an error; the program goes on. The
//! filters, dates and rules are the daemon's own.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, BufRead, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Common;
use crate::addr::Addr;
use crate::config;
use crate::filter::Names;
use crate::filter::date;
use crate::filter::follow::Ask;
use crate::filter::lines::{Attached, Lineup, Mode, Reading};
use crate::filter::matched::Match;
use crate::ticket::Group;
use crate::time::Time;

/// Sessions at once. All of fail2ban's filters with all their options are 200.
const SESSIONS_MAX: usize = 1_000;

/// The longest request. A log line is far shorter, and so is a filter's name.
const REQUEST_BYTES_MAX: usize = 1 << 20;

/// A filter's `findtime` unless the request says otherwise: fail2ban's default.
const FINDTIME_SECS: f64 = 600.0;

#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// Requests and answers are JSON, one a line (the only form there is)
    #[arg(long)]
    jsonl: bool,
}

#[derive(Deserialize)]
#[serde(tag = "op", rename_all = "lowercase", deny_unknown_fields)]
enum Request {
    Open(Box<Open>),
    Line(Line),
    Close(Close),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Open {
    session: String,
    /// A folder with `filter.d`; without it our own filters, and the configuration
    /// folder's over them.
    config: Option<PathBuf>,
    filter: String,
    #[serde(default)]
    options: BTreeMap<String, String>,
    /// The present for this session, in seconds since 1970; by default the clock's.
    now: Option<f64>,
    /// A zone's name or a POSIX rule, for dates without a zone; by default the system's.
    tz: Option<String>,
    /// Is the time of a line held against the present?
    #[serde(default = "yes")]
    check_findtime: bool,
    /// Were the lines written before we started?
    #[serde(default)]
    catching_up: bool,
    findtime: Option<f64>,
    /// `yes`, `warn`, `no` or `raw`; by default what the filter says.
    usedns: Option<String>,
    /// Are all failregexes asked, and pending matches given?
    #[serde(default)]
    all_regex: bool,
    /// May the gate spare the filter lines?
    #[serde(default = "yes")]
    gate: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    session: String,
    #[serde(default)]
    id: Value,
    line: String,
    /// The time of a journal entry, in seconds since 1970: then no date is looked for.
    #[serde(default)]
    journal_time: Option<f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Close {
    session: String,
}

fn yes() -> bool {
    true
}

/// One thing that was found in a line.
#[derive(Serialize)]
struct Found {
    regex: u16,
    fid: Option<String>,
    /// The address, where the id is something else.
    ip: Option<String>,
    time: f64,
    pending: bool,
    nofail: bool,
    groups: BTreeMap<String, Value>,
    users: Vec<String>,
    matches: u32,
}

struct Session {
    lineup: Lineup,
    reading: Reading,
    /// The present as it is told, or the clock's.
    now: Option<Time>,
}

pub(super) fn run(common: &Common, _arguments: &Arguments) -> anyhow::Result<()> {
    let mut input = io::stdin().lock();
    let mut output = io::BufWriter::new(io::stdout().lock());
    let mut sessions = HashMap::new();
    let mut request = Vec::new();
    while read(&mut input, &mut request)? {
        if request.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let reply = answer(common, &mut sessions, &request);
        let written = writeln!(output, "{reply}").and_then(|()| output.flush());
        match written {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            written => written?,
        }
    }
    Ok(())
}

/// Reads one line; what is too long is cut, and so is no request.
fn read(input: &mut impl BufRead, request: &mut Vec<u8>) -> io::Result<bool> {
    request.clear();
    loop {
        let part = input.fill_buf()?;
        if part.is_empty() {
            return Ok(!request.is_empty());
        }
        let newline = memchr::memchr(b'\n', part);
        let end = newline.unwrap_or(part.len());
        let room = REQUEST_BYTES_MAX.saturating_sub(request.len());
        request.extend(part.iter().take(end.min(room)));
        input.consume(newline.map_or(end, |newline| newline + 1));
        if newline.is_some() {
            return Ok(true);
        }
    }
}

fn answer(common: &Common, sessions: &mut HashMap<String, Session>, request: &[u8]) -> Value {
    let done = match serde_json::from_slice(request) {
        Ok(Request::Open(open)) => open_session(common, sessions, &open),
        Ok(Request::Line(line)) => look(sessions, line),
        Ok(Request::Close(Close { session })) => match sessions.remove(&session) {
            Some(_) => Ok(json!({ "session": session, "ok": true })),
            None => Err(format!("there is no session `{session}`; open it first")),
        },
        Err(_) if request.len() >= REQUEST_BYTES_MAX => Err(format!(
            "the request is longer than {REQUEST_BYTES_MAX} bytes"
        )),
        Err(error) => Err(format!(
            "{error}; write {{\"op\": \"open\" | \"line\" | \"close\", \"session\": …}}"
        )),
    };
    done.unwrap_or_else(|error| {
        // The answer names what the request named, as far as that can be read.
        let asked: Value = serde_json::from_slice(request).unwrap_or_default();
        let mut reply = json!({ "ok": false, "error": error });
        for name in ["session", "id"] {
            if let Some(value) = asked.get(name) {
                reply[name] = value.clone();
            }
        }
        reply
    })
}

fn open_session(
    common: &Common,
    sessions: &mut HashMap<String, Session>,
    open: &Open,
) -> Result<Value, String> {
    if sessions.len() >= SESSIONS_MAX && !sessions.contains_key(&open.session) {
        return Err(format!("{SESSIONS_MAX} sessions are open; close one first"));
    }
    let names = open.usedns.as_deref().map(names).transpose()?;
    let entry = entry(&open.filter, &open.options)?;
    let logtype = open.options.get("logtype").map(String::as_str);
    let backend = match logtype {
        Some("journal") => "systemd",
        _ => "auto",
    };
    let folder = open.config.as_deref();
    let filter = config::examined(&common.config_dir, folder, &entry, backend, names)?;
    let zone = match &open.tz {
        Some(name) => date::zone(name).map_err(|error| format!("tz: {error}"))?,
        None => TimeZone::system(),
    };
    let findtime = open.findtime.unwrap_or(FINDTIME_SECS);
    let opened = json!({
        "session": open.session,
        "ok": true,
        "prefregex": u8::from(filter.has_prefregex()),
        "failregex": filter.len(),
        "ignoreregex": filter.ignoreregexes(),
        "maxlines": filter.maxlines(),
        "exact": filter.exact().map(|why| why.to_string()),
    });
    let attached = Attached {
        zone: None,
        jail: open.filter.as_str().into(),
        filter: Arc::new(filter),
        findtime: Duration::try_from_secs_f64(findtime)
            .map_err(|_| format!("findtime: {findtime}: write seconds"))?,
    };
    let mut lineup = Lineup::new(vec![attached], 0, zone, Time::now());
    if !open.gate {
        lineup.open_gate();
    }
    let session = Session {
        lineup,
        reading: Reading {
            mode: mode(open),
            now: Time::default(),
            ask: match open.all_regex {
                true => Ask::All,
                false => Ask::First,
            },
        },
        now: open.now.map(Time::from_secs_f64),
    };
    sessions.insert(open.session.clone(), session);
    Ok(opened)
}

fn mode(open: &Open) -> Mode {
    match (open.check_findtime, open.catching_up) {
        (false, _) => Mode::Trusting,
        (true, false) => Mode::Live,
        (true, true) => Mode::CatchingUp,
    }
}

fn names(usedns: &str) -> Result<Names, String> {
    match usedns {
        "yes" | "warn" => Ok(Names::Lookup),
        "no" => Ok(Names::No),
        "raw" => Ok(Names::Raw),
        _ => Err(format!("usedns: `{usedns}`: write yes, warn, no or raw")),
    }
}

/// `filter[option="value"]`, as a jail would write it.
fn entry(filter: &str, options: &BTreeMap<String, String>) -> Result<String, String> {
    let quoted = |(name, value): (&String, &String)| {
        let quote = ['"', '\'']
            .into_iter()
            .find(|quote| !value.contains(*quote));
        let quote = quote.ok_or_else(|| format!("option {name}: `{value}` has both quotes"))?;
        Ok(format!("{name}={quote}{value}{quote}"))
    };
    let options: Result<Vec<String>, String> = options.iter().map(quoted).collect();
    let options = options?;
    Ok(match options.is_empty() {
        true => filter.to_owned(),
        false => format!("{filter}[{}]", options.join(", ")),
    })
}

fn look(sessions: &mut HashMap<String, Session>, line: Line) -> Result<Value, String> {
    let name = &line.session;
    let session = sessions
        .get_mut(name)
        .ok_or_else(|| format!("there is no session `{name}`; open it first"))?;
    let text = line.line.trim_end_matches(['\r', '\n']);
    if text.contains('\n') {
        return Err("a line ends at its newline; send the next one by itself".to_owned());
    }
    let mut reading = session.reading;
    reading.now = session.now.unwrap_or_else(Time::now);
    let given_up = session.lineup.given_up();
    let mut results = Vec::new();
    match line.journal_time {
        Some(time) => {
            let time = Time::from_secs_f64(time);
            session.lineup.entry(text, time, reading, |_, _, found| {
                results.push(result(found))
            });
        }
        None => {
            let block = format!("{text}\n");
            session
                .lineup
                .matches(block.as_bytes(), reading, |_, _, found| {
                    results.push(result(found));
                });
        }
    }
    let given_up = session.lineup.given_up() - given_up;
    let error = (given_up > 0).then(|| format!("{given_up} searches took too many steps"));
    Ok(json!({
        "id": line.id,
        "results": results,
        "rest": session.lineup.shown(),
        "error": error,
    }))
}

fn result(found: Match) -> Found {
    let value = |value: &Group| match value {
        Group::Text(text) => json!(text),
        Group::List(parts) => json!(parts),
    };
    let groups = found.groups.iter();
    let addr = |text: &str| text.parse::<Addr>().ok();
    let ip = found.host.as_ref().map(ToString::to_string);
    let fid = found.failure_id();
    let other = |ip: &String| {
        let fid = fid.as_deref().unwrap_or_default();
        fid != ip && (addr(ip).is_none() || addr(ip) != addr(fid))
    };
    Found {
        regex: found.form,
        ip: ip.filter(other),
        fid: found.failure_id(),
        time: found.time.as_secs_f64(),
        pending: found.is_pending(),
        nofail: found.nofail,
        groups: groups
            .filter(|(name, _)| *name != "nofail")
            .map(|(name, group)| (name.to_owned(), value(group)))
            .collect(),
        users: found.users.iter().map(|user| user.to_string()).collect(),
        matches: found.evidence.count(),
    }
}
