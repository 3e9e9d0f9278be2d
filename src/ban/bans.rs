//! fail2ban's tables of bans: `bips` has the latest ban of each address and jail, `bans` the
//! history of all.

use std::time::Duration;

use rusqlite::types::{ToSql, ToSqlOutput};
use rusqlite::{Connection, Row, Transaction, params};
use serde::Deserialize;
use serde_json::{Value, json};

use super::record::{OldBan, PastBan, rounded};
use super::rows::{self, Names, if_sound};
use crate::addr::Addr;
use crate::ticket::{Ban, Group, JailName, Reason, Testimony};
use crate::time::{BanTime, Time};

/// Rows of the past that are loaded: as many addresses as the engine remembers.
const HISTORY_MAX: usize = 32_768;

/// The latest ban of an address by a jail.
const LATEST: &str = "
    INSERT OR REPLACE INTO bips(ip, jail, timeofban, bantime, bancount, data)
    VALUES(?1, ?2, ?3, ?4, ?5, ?6)";

/// The same, if none is known.
const STANDING: &str = "
    INSERT OR IGNORE INTO bips(ip, jail, timeofban, bantime, bancount, data)
    VALUES(?1, ?2, ?3, ?4, ?5, ?6)";

/// One ban more in the history.
const HISTORY: &str = "
    INSERT INTO bans(ip, jail, timeofban, bantime, bancount, data)
    VALUES(?1, ?2, ?3, ?4, ?5, ?6)";

/// The latest ban has these times now.
const LATEST_LASTS: &str = "
    UPDATE bips SET timeofban = ?3, bantime = ?4 WHERE ip = ?1 AND jail = ?2";

/// The same ban in the history, told by its time. (The plus: few bans are of one address, and
/// many of one second.)
const HISTORY_LASTS: &str = "
    UPDATE bans SET timeofban = ?3, bantime = ?4 WHERE ip = ?1 AND jail = ?2
    AND +timeofban = (SELECT timeofban FROM bips WHERE ip = ?1 AND jail = ?2)";

/// A ban, and what convicted.
pub(super) fn write(
    transaction: &Transaction<'_>,
    ban: &Ban,
    testimony: &Testimony,
    count: u32,
) -> rusqlite::Result<()> {
    insert(transaction, ban, testimony, count, &[LATEST, HISTORY])
}

/// A ban in force that the file may know already.
pub(super) fn write_standing(
    transaction: &Transaction<'_>,
    ban: &Ban,
    count: u32,
) -> rusqlite::Result<()> {
    insert(transaction, ban, &Testimony::default(), count, &[STANDING])
}

/// A ban that is written down has these times now.
pub(super) fn prolong(transaction: &Transaction<'_>, ban: &Ban) -> rusqlite::Result<()> {
    for statement in [HISTORY_LASTS, LATEST_LASTS] {
        transaction.prepare_cached(statement)?.execute(params![
            ban.addr.to_string(),
            ban.jail.as_ref(),
            rounded(ban.since).as_secs(),
            BanSecs(ban)
        ])?;
    }
    Ok(())
}

/// The ban of an address by a jail, and its past, are void.
pub(super) fn pardon(
    transaction: &Transaction<'_>,
    jail: &JailName,
    addr: &Addr,
) -> rusqlite::Result<()> {
    for statement in [
        "DELETE FROM bips WHERE ip = ?1 AND jail = ?2",
        "DELETE FROM bans WHERE ip = ?1 AND jail = ?2",
    ] {
        transaction
            .prepare_cached(statement)?
            .execute(params![addr.to_string(), jail.as_ref()])?;
    }
    Ok(())
}

/// The same by all jails.
pub(super) fn forget(transaction: &Transaction<'_>, addr: &Addr) -> rusqlite::Result<()> {
    for statement in [
        "DELETE FROM bips WHERE ip = ?1",
        "DELETE FROM bans WHERE ip = ?1",
    ] {
        transaction
            .prepare_cached(statement)?
            .execute([addr.to_string()])?;
    }
    Ok(())
}

fn insert(
    transaction: &Transaction<'_>,
    ban: &Ban,
    testimony: &Testimony,
    count: u32,
    statements: &[&str],
) -> rusqlite::Result<()> {
    let jail = ban.jail.as_ref();
    let ip = ban.addr.to_string();
    let data = data(ban, testimony).to_string();
    transaction
        .prepare_cached("INSERT OR IGNORE INTO jails(name, enabled) VALUES(?1, 1)")?
        .execute([jail])?;
    let since = rounded(ban.since).as_secs();
    for statement in statements {
        let row = params![ip, jail, since, BanSecs(ban), count, data];
        transaction.prepare_cached(statement)?.execute(row)?;
    }
    Ok(())
}

/// What is written of a ban's cause, as fail2ban does: its lines, how many failures there
/// were, and what the first of them captured, by name.
fn data(ban: &Ban, Testimony { lines, captured }: &Testimony) -> Value {
    let captured = captured.iter().flat_map(|captured| &captured.groups);
    let mut data: serde_json::Map<String, Value> = captured
        .map(|(name, group)| {
            let value = match group {
                Group::Text(text) => json!(text),
                Group::List(parts) => json!(parts),
            };
            (name.to_string(), value)
        })
        .collect();
    let matches = lines.split('\n').filter(|line| !line.is_empty());
    data.insert("matches".to_owned(), matches.collect());
    data.insert("failures".to_owned(), ban.tries.into());
    data.insert("ringfence".to_owned(), ban.reason.word().into());
    Value::Object(data)
}

/// The length of a ban as fail2ban writes it: a whole number where it is one, -1 for ever.
struct BanSecs<'a>(&'a Ban);

impl ToSql for BanSecs<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        let Ban { since, until, .. } = *self.0;
        Ok(match until.map(|until| until.since(since)) {
            None => (-1i64).into(),
            Some(span) if span.subsec_nanos() == 0 => span.as_secs().cast_signed().into(),
            Some(span) => span.as_secs_f64().into(),
        })
    }
}

/// The bans that have not ended, and of all bans the newest, the oldest of them first.
pub(super) fn load(
    connection: &Connection,
    names: &mut Names,
    now: Time,
) -> rusqlite::Result<(Vec<OldBan>, Vec<PastBan>)> {
    let mut select =
        connection.prepare("SELECT jail, ip, timeofban, bantime, bancount, data FROM bips")?;
    let mut found = select.query([])?;
    let (mut bans, mut history) = (Vec::new(), Vec::new());
    while let Some(row) = found.next()? {
        let Some((past, bantime_secs)) = if_sound(read_ban(row, names))? else {
            continue;
        };
        let end_secs = past.latest.as_secs_f64() + bantime_secs;
        let bantime = match bantime_secs {
            -2.0 => None,
            -1.0 => Some(BanTime::Forever),
            secs => Some(BanTime::For(
                Duration::try_from_secs_f64(secs).unwrap_or(Duration::ZERO),
            )),
        };
        if bantime_secs == -2.0 || bantime_secs == -1.0 || end_secs > now.as_secs_f64() {
            let Cause {
                ringfence,
                failures,
            } = rows::json(row.get_ref(5)?);
            bans.push(OldBan {
                jail: past.jail.clone(),
                addr: past.addr,
                since: past.latest,
                bantime,
                reason: ringfence
                    .as_str()
                    .and_then(Reason::from_word)
                    .unwrap_or(Reason::MaxRetry),
                tries: failures
                    .as_u64()
                    .and_then(|tries| u32::try_from(tries).ok())
                    .unwrap_or(0),
            });
        }
        history.push(past);
        if history.len() >= 2 * HISTORY_MAX {
            drop_the_oldest(&mut history);
        }
    }
    drop_the_oldest(&mut history);
    Ok((bans, history))
}

/// A ban, and how many seconds it lasts. With a random part that has a fraction of a second
/// in fail2ban's file.
fn read_ban(row: &Row<'_>, names: &mut Names) -> rusqlite::Result<Option<(PastBan, f64)>> {
    let Ok(addr) = row.get_ref(1)?.as_str()?.parse() else {
        return Ok(None);
    };
    let count: i64 = row.get(4)?;
    let past = PastBan {
        jail: names.get(row.get_ref(0)?.as_str()?),
        addr,
        count: u32::try_from(count.max(0)).unwrap_or(u32::MAX),
        latest: Time::from_secs_f64(row.get(2)?),
    };
    Ok(Some((past, row.get(3)?)))
}

/// Puts them in the order of their times, and keeps the newest.
fn drop_the_oldest(history: &mut Vec<PastBan>) {
    history.sort_by_key(|past| past.latest);
    let surplus = history.len().saturating_sub(HISTORY_MAX);
    history.drain(..surplus);
}

/// What is read of a ban's cause at start; the lines are not.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Cause {
    ringfence: Value,
    failures: Value,
}
