//! A look into the database beside the clerk: what it holds of a few addresses. It only
//! reads, and what it finds is bounded, whoever wrote the file.

use std::path::Path;

use rusqlite::params;
use serde_json::Value;

use super::open::{self, StoreError};
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
    let connection = open::connect_reading(path)?;
    let wrap = StoreError::sqlite(path);
    let sql = "SELECT jail, timeofban, bantime, bancount, data FROM bans
               WHERE ip = ?1 AND length(data) <= ?2
               UNION SELECT jail, timeofban, bantime, bancount, data FROM bips
               WHERE ip = ?1 AND length(data) <= ?2
               ORDER BY timeofban DESC LIMIT ?3";
    (|| {
        let mut select = connection.prepare(sql)?;
        let mut found = Vec::new();
        for addr in addrs {
            let mut rows = select.query(params![addr.to_string(), DATA_BYTES_MAX, PAST_MAX])?;
            while let Some(row) = rows.next()? {
                let (jail, since, secs, count): (String, f64, f64, u32) =
                    (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?);
                let data: String = row.get(4)?;
                let data: Value = serde_json::from_str(&data).unwrap_or_default();
                found.push(Written {
                    jail: jail.into(),
                    addr: *addr,
                    since: Time::from_secs_f64(since),
                    secs: (secs >= 0.0).then_some(secs as i64),
                    count,
                    reason: data["ringfence"].as_str().and_then(Reason::from_word),
                    tries: data["failures"]
                        .as_u64()
                        .map_or(0, |tries| tries.try_into().unwrap_or(u32::MAX)),
                    lines: lines(&data["matches"]),
                });
            }
        }
        found.sort_by_key(|ban: &Written| std::cmp::Reverse(ban.since));
        Ok(found)
    })()
    .map_err(wrap)
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
