//! A damaged database: what can be read of it goes row by row into a new one, and the
//! damaged one is set aside under a dated name.
//!
//! The new file is complete before the damaged one loses its name, so a crash or a full
//! disk in between leaves things as they were. Nothing is ever deleted.

use std::fs;
use std::path::{Path, PathBuf};

use rusqlite::config::DbConfig;
use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags, params_from_iter};

use super::open::{self, StoreError, TABLES, beside};
use crate::time::Time;

/// The files that are one database.
const PARTS: [&str; 3] = ["", "-wal", "-shm"];

/// The new file, while it is being made.
const REPAIRED: &str = ".repaired";

/// What became of a damaged database.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Repair {
    /// Where the damaged file lies now.
    pub aside: PathBuf,
    /// How many rows the new one has from it.
    pub rows: usize,
}

/// Puts a new database in the place of a damaged one.
pub(super) fn repair(path: &Path, now: Time) -> Result<Repair, StoreError> {
    let repaired = beside(path, REPAIRED);
    for part in PARTS {
        let _none = fs::remove_file(beside(&repaired, part)); // of a try that was cut short
    }
    let rows = {
        let new = open::connect(&repaired, super::store::LOCK_WAIT)?;
        salvage(path, &new).map_err(StoreError::sqlite(&repaired))?
    };
    let aside = aside(path, now);
    let file = |doing| {
        let path = path.to_owned();
        move |source| StoreError::File {
            path,
            doing,
            source,
        }
    };
    // The log of a database goes first: without its name it would be no part of it.
    for part in PARTS.iter().rev() {
        let (from, to) = (beside(path, part), beside(&aside, part));
        if from.exists() {
            fs::rename(from, to).map_err(file("it is damaged and cannot be moved aside"))?;
        }
    }
    fs::rename(&repaired, path).map_err(file("what was saved of it cannot be put in its place"))?;
    Ok(Repair { aside, rows })
}

/// Ends a repair that was cut short after the damaged file had gone; was there one?
pub(super) fn finish(path: &Path) -> bool {
    let repaired = beside(path, REPAIRED);
    let is_cut_short = !path.exists() && repaired.exists();
    if is_cut_short {
        // If it fails a new file is made, and this one is still there.
        let _kept = fs::rename(repaired, path);
    }
    is_cut_short
}

/// A dated name that is free.
fn aside(path: &Path, now: Time) -> PathBuf {
    let date = jiff::Timestamp::from_second(now.as_secs()).map_or_else(
        |_| now.as_secs().to_string(),
        |date| date.strftime("%Y%m%d-%H%M%S").to_string(),
    );
    let name = beside(path, &format!(".corrupt-{date}"));
    let more = (2..).map(|number: u32| beside(&name, &format!("-{number}")));
    std::iter::once(name.clone())
        .chain(more)
        .find(|name| !name.exists())
        .unwrap_or(name)
}

/// Copies what can be read; what cannot is no error.
fn salvage(path: &Path, new: &Connection) -> rusqlite::Result<usize> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let Ok(old) = Connection::open_with_flags(path, flags) else {
        return Ok(0);
    };
    // Without it, SQLite reads nothing of a file that is shorter than it should be.
    if old
        .set_db_config(DbConfig::SQLITE_DBCONFIG_WRITABLE_SCHEMA, true)
        .is_err()
    {
        return Ok(0);
    }
    // A row whose jail was lost is worth keeping.
    new.pragma_update(None, "foreign_keys", false)?;
    new.execute_batch("BEGIN")?;
    let mut rows = 0;
    for table in TABLES {
        rows += copy(&old, new, table)?;
    }
    let jails =
        "INSERT OR IGNORE INTO jails(name) SELECT jail FROM bips UNION SELECT jail FROM bans";
    new.execute_batch(&format!("{jails}; COMMIT"))?;
    new.pragma_update(None, "foreign_keys", true)?;
    Ok(rows)
}

/// Rows with their numbers, where the table has such. A row of letters that are no text
/// has no values.
type Rows = Vec<(Option<i64>, Option<Vec<Value>>)>;

fn copy(old: &Connection, new: &Connection, table: &str) -> rusqlite::Result<usize> {
    let columns = columns(new, table)?;
    let names = columns.join(", ");
    let marks = vec!["?"; columns.len()].join(", ");
    // A later copy of a row gives way to an earlier one; what breaks a rule is no row.
    let insert = format!("INSERT OR IGNORE INTO {table}({names}) VALUES({marks})");
    let mut insert = new.prepare(&insert)?;
    let mut copied = 0;
    read_all(old, table, &names, &mut |values| {
        copied += insert.execute(params_from_iter(values))?;
        Ok(())
    })?;
    Ok(copied)
}

/// Rows that are read at a time: what is found before damage is not read twice.
const CHUNK: usize = 256;

/// Hands on every row that can be reached: forward to the damage, then from behind it,
/// the steps over it growing twofold, and backward from there to the damage again.
fn read_all(
    old: &Connection,
    table: &str,
    names: &str,
    take: &mut dyn FnMut(Vec<Value>) -> rusqlite::Result<()>,
) -> rusqlite::Result<()> {
    let has_numbers = table != "ringfence_tries";
    let number = if has_numbers { "rowid" } else { "NULL" };
    if !has_numbers {
        for order in ["ASC", "DESC"] {
            let query =
                format!("SELECT {number}, {names} FROM {table} ORDER BY jail {order}, ip {order}");
            let (rows, whole) = read(old, &query, usize::MAX);
            rows.into_iter()
                .filter_map(|(_, row)| row)
                .try_for_each(&mut *take)?;
            if whole {
                break;
            }
        }
        return Ok(());
    }
    let (mut after, mut step) = (i64::MIN, 1);
    loop {
        let query = format!(
            "SELECT rowid, {names} FROM {table} WHERE rowid > {after} ORDER BY rowid LIMIT {CHUNK}"
        );
        let (rows, whole) = read(old, &query, CHUNK);
        let (count, last) = (rows.len(), rows.last().and_then(|(number, _)| *number));
        rows.into_iter()
            .filter_map(|(_, row)| row)
            .try_for_each(&mut *take)?;
        if let Some(last) = last {
            after = last;
        }
        if whole && count < CHUNK {
            return Ok(());
        }
        if whole {
            step = 1;
            continue;
        }
        // Damage. Look for the first reachable number behind it.
        after = after.max(0);
        let found = behind(old, table, after, &mut step);
        let end = found.unwrap_or(i64::MAX);
        let query = format!(
            "SELECT rowid, {names} FROM {table} WHERE rowid > {after} AND rowid < {end} ORDER BY rowid DESC"
        );
        let (rows, _) = read(old, &query, usize::MAX);
        rows.into_iter()
            .filter_map(|(_, row)| row)
            .try_for_each(&mut *take)?;
        match found {
            Some(found) => after = found - 1,
            None => return Ok(()),
        }
    }
}

/// A number after `after` from which rows can be read again. `step` is never made
/// smaller while there is damage, so that this ends.
fn behind(old: &Connection, table: &str, after: i64, step: &mut i64) -> Option<i64> {
    loop {
        let from = after.checked_add(*step)?;
        *step = step.checked_mul(2)?;
        let query =
            format!("SELECT rowid, 0 FROM {table} WHERE rowid > {from} ORDER BY rowid LIMIT 1");
        match read(old, &query, 1) {
            (rows, true) => return rows.first().and_then(|(number, _)| *number),
            (_, false) => continue,
        }
    }
}

/// Reads until the end or to the damage; false if there is damage.
fn read(old: &Connection, query: &str, most: usize) -> (Rows, bool) {
    let mut found = Vec::new();
    let read = (|| {
        let mut select = old.prepare(query)?;
        let width = select.column_count();
        let mut rows = select.query([])?;
        while found.len() < most
            && let Some(row) = rows.next()?
        {
            let values = (1..width).map(|column| row.get(column));
            found.push((row.get(0)?, values.collect::<Result<_, _>>().ok()));
        }
        Ok::<_, rusqlite::Error>(())
    })();
    (found, read.is_ok())
}

fn columns(connection: &Connection, table: &str) -> rusqlite::Result<Vec<String>> {
    let mut select = connection.prepare("SELECT name FROM pragma_table_info(?1)")?;
    select.query_map([table], |row| row.get(0))?.collect()
}
