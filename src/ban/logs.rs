//! fail2ban's own word on logs and jails: its tables `logs` and `jails`.
//!
//! Where reading stopped stands there as well as in our own table, so that fail2ban goes
//! on where we stopped, and we where it did. Both are written in one transaction: if they
//! differ at start, fail2ban has read in between, and its word holds.

use rusqlite::{Connection, Transaction, params};

use super::record::{ForeignPlace, Mark, Place};
use super::rows::sound;
use crate::ticket::JailName;

/// Where reading stopped by fail2ban's table. Whether a jail is enabled says nothing here:
/// fail2ban disables its jails when it ends.
pub(super) fn load(connection: &Connection) -> rusqlite::Result<Vec<ForeignPlace>> {
    let mut select = connection.prepare(
        "SELECT jail, path, firstlinemd5, lastfilepos FROM logs
         WHERE path IS NOT NULL AND firstlinemd5 IS NOT NULL ORDER BY path, jail",
    )?;
    let rows = select.query_map([], |row| {
        let (jail, path, offset): (String, String, i64) = (row.get(0)?, row.get(1)?, row.get(3)?);
        Ok(Some(ForeignPlace {
            jail: jail.into(),
            path: path.into(),
            first_line: row.get(2)?,
            offset: u64::try_from(offset).unwrap_or(0),
        }))
    })?;
    sound(rows)
}

/// Writes where reading stopped.
pub(super) fn write(transaction: &Transaction<'_>, places: &[Place]) -> rusqlite::Result<()> {
    let mut forget = transaction.prepare_cached("DELETE FROM logs WHERE path = ?1")?;
    let mut jail = transaction.prepare_cached("INSERT OR IGNORE INTO jails(name) VALUES(?1)")?;
    let mut insert = transaction.prepare_cached(
        "INSERT OR REPLACE INTO logs(jail, path, firstlinemd5, lastfilepos) VALUES(?1, ?2, ?3, ?4)",
    )?;
    for place in places {
        let path = place.path.to_string_lossy();
        match &place.mark {
            Some(Mark { first_line, jails }) => {
                for name in jails {
                    jail.execute([name.as_ref()])?;
                    let offset = place.offset.cast_signed();
                    insert.execute(params![name.as_ref(), path, first_line, offset])?;
                }
            }
            // The rest of a log that was rotated. Nothing known is better than something
            // old: fail2ban then reads back to its findtime.
            None if !has_mark(places, place) => {
                forget.execute([path])?;
            }
            None => {}
        }
    }
    Ok(())
}

fn has_mark(places: &[Place], place: &Place) -> bool {
    let mut same = places.iter().filter(|other| other.path == place.path);
    same.any(|other| other.mark.is_some())
}

/// Enables these jails and disables all others.
pub(super) fn write_jails(
    transaction: &Transaction<'_>,
    jails: &[JailName],
) -> rusqlite::Result<()> {
    transaction.execute("UPDATE jails SET enabled = 0", [])?;
    let mut enable = transaction.prepare_cached(
        "INSERT INTO jails(name, enabled) VALUES(?1, 1) ON CONFLICT(name) DO UPDATE SET enabled = 1",
    )?;
    for jail in jails {
        enable.execute([jail.as_ref()])?;
    }
    Ok(())
}

/// Forgets jails that are disabled and of which no ban is known.
pub(super) fn purge_jails(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    transaction.execute_batch(
        "DELETE FROM jails WHERE NOT enabled
         AND NOT EXISTS (SELECT 1 FROM bans WHERE jail = name)
         AND NOT EXISTS (SELECT 1 FROM bips WHERE jail = name)",
    )
}
