//! A look into the database beside the clerk: what it holds of a few addresses. It only
//! reads, and what it finds is bounded, whoever wrote the file.

use std::path::Path;

use rusqlite::{Row, params};
use serde_json::Value;

use super::open::{self, StoreError};
use super::rows::json;
use crate::addr::Addr;
use crate::ticket::{JailName, Reason};
use crate::time::Time;

/// Bans of the past that are shown of one address.
const PAST_MAX: u32 = 20;

/// The lines of a ban that are read, in bytes.
const DATA_BYTES_MAX: u32 = 256 * 1024;

/// A ban as it was written down.
#[derive(Clone, Debug, PartialEq)]
pub struct Written {
    /// By which jail.
    pub jail: JailName,
    /// Whom it held.
    pub addr: Addr,
    /// Since when, in whole seconds.
    pub since: Time,
    /// For how long; none is for ever.
    pub secs: Option<i64>,
    /// Which one of this address by this jail it was.
    pub count: u32,
    /// Why; ringfence alone writes it down.
    pub reason: Option<Reason>,
    /// How many tries convicted it.
    pub tries: u32,
    /// The lines that convicted.
    pub lines: Vec<String>,
}

/// The last bans of these addresses, the newest first.
pub fn bans_of(path: &Path, addrs: &[Addr]) -> Result<Vec<Written>, StoreError> {
    let both = "SELECT jail, timeofban, bantime, bancount, data FROM bans
                WHERE ip = ?1 AND length(data) <= ?2
                UNION SELECT jail, timeofban, bantime, bancount, data FROM bips
                WHERE ip = ?1 AND length(data) <= ?2
                ORDER BY timeofban DESC LIMIT ?3";
    let mut found = select(path, both, addrs)?;
    found.sort_by_key(|ban: &Written| std::cmp::Reverse(ban.since));
    Ok(found)
}

/// The last bans of an address that its history holds, the oldest first.
pub fn past_of(path: &Path, addr: &Addr) -> Result<Vec<Written>, StoreError> {
    let history = "SELECT jail, timeofban, bantime, bancount, data FROM bans
                   WHERE ip = ?1 AND length(data) <= ?2
                   ORDER BY timeofban DESC, rowid DESC LIMIT ?3";
    let mut found = select(path, history, std::slice::from_ref(addr))?;
    found.reverse();
    Ok(found)
}

fn select(path: &Path, sql: &str, addrs: &[Addr]) -> Result<Vec<Written>, StoreError> {
    let connection = open::connect_reading(path)?;
    (|| {
        let mut select = connection.prepare(sql)?;
        let mut found = Vec::new();
        for addr in addrs {
            let mut rows = select.query(params![addr.to_string(), DATA_BYTES_MAX, PAST_MAX])?;
            while let Some(row) = rows.next()? {
                found.push(written(row, *addr)?);
            }
        }
        Ok(found)
    })()
    .map_err(StoreError::sqlite(path))
}

fn written(row: &Row<'_>, addr: Addr) -> rusqlite::Result<Written> {
    let (jail, since, secs, count): (String, f64, f64, u32) =
        (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?);
    let data: Value = json(row.get_ref(4)?);
    Ok(Written {
        jail: jail.into(),
        addr,
        since: Time::from_secs_f64(since),
        secs: (secs >= 0.0).then_some(secs as i64),
        count,
        reason: data["ringfence"].as_str().and_then(Reason::from_word),
        tries: data["failures"]
            .as_u64()
            .map_or(0, |tries| tries.try_into().unwrap_or(u32::MAX)),
        lines: lines(&data["matches"]),
    })
}

/// Lines as both of us write them: a text, or the parts of one.
fn lines(matches: &Value) -> Vec<String> {
    let matches = matches.as_array().map(Vec::as_slice).unwrap_or_default();
    let line = |line: &Value| match line {
        Value::String(line) => Some(line.clone()),
        Value::Array(parts) => Some(parts.iter().filter_map(Value::as_str).collect()),
        _ => None,
    };
    matches.iter().filter_map(line).collect()
}
