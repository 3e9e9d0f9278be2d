//! Our table `ringfence_standings`: what makes addresses known-good or shared.
//!
//! Times are microseconds since 1970. A row that makes no sense is as if it were not there.

use std::time::Duration;

use rusqlite::{Connection, Transaction, params};
use serde::{Deserialize, Serialize};

use super::open;
use super::store::sound;
use crate::ticket::KeptStanding;
use crate::time::Time;

/// Rows that are loaded: as many addresses as are remembered.
const STANDINGS_MAX: u32 = 16_384;

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
    let mut select = connection
        .prepare("SELECT ip, data FROM ringfence_standings ORDER BY last DESC LIMIT ?1")?;
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
    standings.reverse();
    Ok(standings)
}

pub(super) fn purge(transaction: &Transaction<'_>, now: Time) -> rusqlite::Result<()> {
    transaction
        .execute(
            "DELETE FROM ringfence_standings WHERE last <= ?1",
            [(now - KEPT).as_secs()],
        )
        .map(|_| ())
}
