//! Our table `ringfence_standings`: what makes addresses known-good or shared.
//!
//! Times are microseconds since 1970. A row that makes no sense is as if it were not there.
//!
//! An address that is forgotten in memory keeps its row until there are too many: then those go
//! that are neither known-good nor shared, and whose last login is oldest.

use std::time::Duration;

use rusqlite::{Connection, Transaction, params};
use serde::{Deserialize, Serialize};

use super::open;
use super::rows::sound;
use crate::ticket::KeptStanding;
use crate::time::Time;

/// Rows that are kept and loaded: as many addresses as are remembered.
const STANDINGS_MAX: u32 = 16_384;

/// So many more may be written before rows go.
pub(super) const TRIM_EVERY: usize = 1_024;

/// The rows that are kept, the last to go first.
const KEPT_FIRST: &str = "FROM ringfence_standings
    ORDER BY CASE WHEN json_valid(data) THEN json_extract(data, '$.known') IS NOT NULL
        OR json_extract(data, '$.shared') IS NOT NULL ELSE 0 END DESC, last DESC LIMIT ?1";

/// How long rows are kept whose address has not logged in: longer than they count.
const KEPT: Duration = Duration::from_secs(30 * 86_400);

#[derive(Serialize, Deserialize)]
struct Data {
    merit: Option<i64>,
    known: Option<i64>,
    shared: Option<i64>,
    last: i64,
    accounts: Vec<(u64, i64)>,
}

pub(super) fn write(transaction: &Transaction<'_>, kept: &KeptStanding) -> rusqlite::Result<()> {
    let micros = |time: Option<Time>| time.map(Time::as_micros);
    let accounts = kept.accounts.iter();
    let data = Data {
        merit: micros(kept.merit),
        known: micros(kept.known),
        shared: micros(kept.shared),
        last: kept.last.as_micros(),
        accounts: accounts
            .map(|(hash, time)| (*hash, time.as_micros()))
            .collect(),
    };
    let data = serde_json::to_string(&data).unwrap_or_default(); // numbers cannot fail
    transaction
        .prepare_cached(
            "INSERT OR REPLACE INTO ringfence_standings(ip, data, last) VALUES(?1, ?2, ?3)",
        )?
        .execute(params![kept.addr.to_string(), data, kept.last.as_secs()])
        .map(|_| ())
}

pub(super) fn load(connection: &Connection) -> rusqlite::Result<Vec<KeptStanding>> {
    // A file that can only be read may be of a version without this table.
    if !open::has_table(connection, "ringfence_standings")? {
        return Ok(Vec::new());
    }
    let mut select = connection.prepare(&format!("SELECT ip, data {KEPT_FIRST}"))?;
    let rows = select.query_map([STANDINGS_MAX], |row| {
        let (ip, data): (String, String) = (row.get(0)?, row.get(1)?);
        let data: Option<Data> = serde_json::from_str(&data).ok();
        Ok(ip.parse().ok().zip(data).map(|(addr, data)| KeptStanding {
            addr,
            merit: data.merit.map(Time::from_micros),
            known: data.known.map(Time::from_micros),
            shared: data.shared.map(Time::from_micros),
            last: Time::from_micros(data.last),
            accounts: data
                .accounts
                .into_iter()
                .map(|(hash, time)| (hash, Time::from_micros(time)))
                .collect(),
        }))
    })?;
    let mut standings: Vec<KeptStanding> = sound(rows)?;
    standings.sort_by_key(|kept| kept.last);
    Ok(standings)
}

/// Sees to it that there are no more rows than are loaded.
pub(super) fn trim(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    let count: u32 =
        transaction.query_row("SELECT count(*) FROM ringfence_standings", [], |row| {
            row.get(0)
        })?;
    if count > STANDINGS_MAX {
        let kept = format!("SELECT ip {KEPT_FIRST}");
        let delete = format!("DELETE FROM ringfence_standings WHERE ip NOT IN ({kept})");
        transaction.execute(&delete, [STANDINGS_MAX])?;
    }
    Ok(())
}

pub(super) fn purge(transaction: &Transaction<'_>, now: Time) -> rusqlite::Result<()> {
    transaction
        .execute(
            "DELETE FROM ringfence_standings WHERE last <= ?1",
            [(now - KEPT).as_secs()],
        )
        .map(|_| ())
}
