//! The store: what must outlive the daemon, in SQLite.
//!
//! Bans lie in fail2ban's own tables (schema version 4), so that tools which read
//! its database find them; what fail2ban has no place for (positions in logs,
//! APIBAN's list and cursor) lies in tables whose names begin with `ringfence_`.
//! Many records are written in one transaction. A position is written in the same
//! transaction as the bans that the lines before it caused, or after it, never before.
//!
//! The store decides nothing. It is used by one thread.

use std::collections::{BTreeSet, HashSet};
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::types::{ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Connection, Row, Transaction, params};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

pub use super::open::{StoreError, Trouble};

use super::listed::Listed;
use super::{logs, open, standings};
use crate::addr::Addr;
use crate::ticket::{Ban, FormTries, Group, JailName, KeptStanding, KeptTries, Reason, Testimony};
use crate::time::{BanTime, Time};

/// Rows of the past that are loaded: as many addresses as the engine remembers.
const HISTORY_MAX: usize = 32_768;

/// Offenders whose tries are loaded: as many as one jail's window holds.
const TRIES_MAX: u32 = 65_536;

/// Offenders whose tries wait to be written: those of a few full windows, some 20 MB.
const TRIES_WAITING_MAX: usize = 4 * 65_536;

/// How long tries are kept whose jail does not delete them: longer than any `findtime`.
const TRIES_KEPT: Duration = Duration::from_secs(60 * 86_400);

/// How long another program's lock on the file is waited for.
pub(super) const LOCK_WAIT: Duration = Duration::from_secs(2);

/// Where reading of one log stopped: everything before `offset` was judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The path under which it was followed.
    pub path: PathBuf,
    /// Its inode.
    pub inode: u64,
    /// How many of its first bytes the fingerprint covers.
    pub head_len: u8,
    /// The fingerprint of its first bytes, by which a reused inode is told.
    pub head_hash: u64,
    /// The first byte that was not yet judged.
    pub offset: u64,
    /// When it had last been written to, in nanoseconds since 1970.
    pub modified: i64,
    /// The same for fail2ban, of the file that has this name now. Not read back.
    pub mark: Option<Mark>,
}

/// How fail2ban knows a log again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// SHA-1 of its first line with its newline, in hexadecimal.
    pub first_line: String,
    /// The jails that follow it.
    pub jails: Vec<JailName>,
}

/// Where fail2ban stopped reading a log for a jail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignPlace {
    /// Which jail.
    pub jail: JailName,
    /// The path under which it was followed.
    pub path: PathBuf,
    /// As [`Mark::first_line`].
    pub first_line: String,
    /// The first byte that was not yet judged.
    pub offset: u64,
}

/// How far all logs were read, and the tries that those lines left behind: they are
/// written together, so that no line counts twice or not at all after a crash.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reading {
    /// Where reading of each log stopped; what was known before is void.
    pub places: Vec<Place>,
    /// Jails of which all that was known is void.
    pub anew: Vec<JailName>,
    /// Tries that have changed.
    pub tries: Vec<KeptTries>,
    /// Where reading of each journal stopped: facts, by their names.
    pub cursors: Vec<(String, String)>,
}

impl Reading {
    /// Puts what was read before it into one with it: what came later counts. However
    /// long nothing can be written, it stays bounded.
    pub fn after(&mut self, mut before: Reading) {
        before
            .tries
            .retain(|tries| !self.anew.contains(&tries.jail));
        before.tries.append(&mut self.tries);
        before.anew.append(&mut self.anew);
        before.anew.sort_unstable();
        before.anew.dedup();
        let newer = &self.cursors;
        let is_newest =
            |(name, _): &(String, String)| !newer.iter().any(|(other, _)| other == name);
        self.cursors.extend(
            before
                .cursors
                .into_iter()
                .filter(is_newest)
                .collect::<Vec<_>>(),
        );
        (self.tries, self.anew) = (newest(before.tries), before.anew);
    }
}

/// Of each offender what came last, and of all the last ones that there is room for.
fn newest(mut tries: Vec<KeptTries>) -> Vec<KeptTries> {
    let mut known = HashSet::new();
    tries.reverse();
    tries.retain(|tries| known.insert((tries.jail.clone(), tries.addr)));
    tries.truncate(TRIES_WAITING_MAX);
    tries.reverse();
    tries
}

/// One thing to be kept.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    /// A ban, and what convicted.
    Ban {
        /// The ban.
        ban: Ban,
        /// What the log says of it.
        testimony: Testimony,
        /// Which one of this address by this jail it is, as fail2ban counts.
        count: u32,
    },
    /// A ban in force and its count, for a file that may not know it.
    Standing(Ban, u32),
    /// A ban that is written down already lasts longer.
    Prolonged(Ban),
    /// An address was pardoned by a jail: its ban, if there is one, and its past are void.
    Unban {
        /// By which jail it was held.
        jail: JailName,
        /// Whom it held.
        addr: Addr,
    },
    /// An address is pardoned: no jail knows it any more.
    Forget(Addr),
    /// All logs were read up to here, and so the tries stand.
    Read(Reading),
    /// What makes an address known-good or shared.
    Known(KeptStanding),
    /// Entries of the list are in force until then.
    Listed(Vec<(Addr, Time)>),
    /// These jails run, and no others.
    Jails(Vec<JailName>),
    /// A named fact, as JSON: the list's cursor, the times of its requests.
    Fact(String, String),
}

/// A ban as the database has it; its jail's rules say what is left of it.
#[derive(Clone, Debug, PartialEq)]
pub struct OldBan {
    /// The jail that laid it on.
    pub jail: JailName,
    /// Whom it holds.
    pub addr: Addr,
    /// Since when, in whole seconds.
    pub since: Time,
    /// How long it lasts; unknown if a fail2ban before 0.11 wrote it (`-2`).
    pub bantime: Option<BanTime>,
    /// Why.
    pub reason: Reason,
    /// How many tries convicted it.
    pub tries: u32,
}

/// That an address was banned before.
#[derive(Clone, Debug, PartialEq)]
pub struct PastBan {
    /// By which jail.
    pub jail: JailName,
    /// Whom.
    pub addr: Addr,
    /// How often.
    pub count: u32,
    /// Since when the last time, in whole seconds.
    pub latest: Time,
}

/// What the last run left.
#[derive(Debug, Default, PartialEq)]
pub struct Kept {
    /// Bans that have not ended, as far as the database can tell.
    pub bans: Vec<OldBan>,
    /// The newest bans of each address and jail, ended or not, the oldest of them first.
    pub history: Vec<PastBan>,
    /// Where reading stopped.
    pub places: Vec<Place>,
    /// The same by fail2ban's table, which we write with our own; it may have gone on.
    pub foreign: Vec<ForeignPlace>,
    /// The tries that were not too many yet.
    pub tries: Vec<KeptTries>,
    /// What makes addresses known-good or shared, the oldest first.
    pub standings: Vec<KeptStanding>,
    /// Entries of the list that have not expired.
    pub listed: Listed,
}

/// The open database.
#[derive(Debug)]
pub struct Store {
    connection: Connection,
    path: PathBuf,
    file: Option<(u64, u64)>,
    /// Standings that were written since there were too many last.
    standings: usize,
}

impl Store {
    /// Opens the database, and creates it with its tables where they are missing.
    pub fn open(path: &Path) -> Result<Store, StoreError> {
        Store::open_patiently(path, LOCK_WAIT)
    }

    /// The same; another program's lock is waited for so long.
    pub(super) fn open_patiently(path: &Path, patience: Duration) -> Result<Store, StoreError> {
        let connection = open::connect(path, patience)?;
        // The patience of the start is not that of a write.
        connection
            .busy_timeout(LOCK_WAIT)
            .map_err(StoreError::sqlite(path))?;
        Ok(Store::new(connection, path))
    }

    /// Opens the database to read it once; writing to it fails.
    pub(super) fn open_reading(path: &Path) -> Result<Store, StoreError> {
        Ok(Store::new(open::connect_reading(path)?, path))
    }

    fn new(connection: Connection, path: &Path) -> Store {
        Store {
            connection,
            path: path.to_owned(),
            file: identity(path),
            standings: 0,
        }
    }

    /// Writes all that it holds into a new file.
    pub(super) fn copy_to(&self, path: &Path) -> Result<(), StoreError> {
        let path = path.to_string_lossy();
        self.connection
            .execute("VACUUM INTO ?1", [path])
            .map(|_| ())
            .map_err(|source| self.error(source))
    }

    /// Does its path still lead to the file that is open? Who moves a database away means
    /// another to be written.
    pub(super) fn is_in_place(&self) -> bool {
        self.file == identity(&self.path)
    }

    /// What is kept from before and still holds at `now`.
    pub fn load(&self, now: Time) -> Result<Kept, StoreError> {
        (|| {
            // A file of fail2ban's that cannot be written has none of our tables.
            let ours = open::has_table(&self.connection, "ringfence_facts")?;
            let mut names = Names::default();
            let (bans, history) = load_bans(&self.connection, &mut names, now)?;
            let kept = Kept {
                bans,
                history,
                foreign: logs::load(&self.connection)?,
                ..Kept::default()
            };
            if !ours {
                return Ok(kept);
            }
            Ok(Kept {
                places: load_places(&self.connection)?,
                tries: load_tries(&self.connection, &mut names)?,
                standings: standings::load(&self.connection)?,
                listed: load_listed(&self.connection, now)?,
                ..kept
            })
        })()
        .map_err(|source| self.error(source))
    }

    /// The facts whose names begin so, as JSON, by name.
    pub fn facts(&self, beginning: &str) -> Result<Vec<String>, StoreError> {
        (|| {
            let mut select = self.connection.prepare(
                "SELECT value FROM ringfence_facts WHERE substr(name, 1, length(?1)) = ?1 ORDER BY name",
            )?;
            let values = select.query_map([beginning], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
            Ok(values)
        })()
        .map_err(|source| self.error(source))
    }

    /// Writes all records in one transaction: all of them are kept, or none.
    pub fn write(&mut self, records: &[Record]) -> Result<(), StoreError> {
        let is_standing = |record: &&Record| matches!(record, Record::Known(_));
        let standings = self.standings + records.iter().filter(is_standing).count();
        let trims = standings >= standings::TRIM_EVERY;
        let written = (|| {
            let transaction = self.connection.transaction()?;
            for record in records {
                write_one(&transaction, record)?;
            }
            if trims {
                standings::trim(&transaction)?;
            }
            transaction.commit()
        })();
        written.map_err(|source| self.error(source))?;
        self.standings = if trims { 0 } else { standings };
        Ok(())
    }

    /// Forgets what is over: entries of the list that have expired, the history of bans
    /// after `age`, the latest bans of addresses that have been silent for as long after
    /// three times their ban, and jails that are gone with all their bans.
    pub fn purge(&mut self, age: Duration, now: Time) -> Result<(), StoreError> {
        let before = (now - age).as_secs();
        (|| {
            let transaction = self.connection.transaction()?;
            let delete = |sql, time: i64| transaction.execute(sql, [time]);
            delete("DELETE FROM ringfence_list WHERE expires <= ?1", now.as_secs())?;
            delete("DELETE FROM bans WHERE timeofban <= ?1", before)?;
            let silent = (now - TRIES_KEPT).as_secs();
            delete("DELETE FROM ringfence_tries WHERE last <= ?1", silent)?;
            delete(
                "DELETE FROM bips WHERE bantime >= 0 AND timeofban <= ?1 AND timeofban + 3 * bantime <= ?1",
                before,
            )?;
            standings::purge(&transaction, now)?;
            standings::trim(&transaction)?;
            logs::purge_jails(&transaction)?;
            transaction.commit()
        })()
        .map_err(|source| self.error(source))
    }

    fn error(&self, source: rusqlite::Error) -> StoreError {
        StoreError::sqlite(&self.path)(source)
    }
}

/// The device and the inode of a file.
fn identity(path: &Path) -> Option<(u64, u64)> {
    let file = std::fs::metadata(path).ok()?;
    Some((file.dev(), file.ino()))
}

fn write_one(transaction: &Transaction<'_>, record: &Record) -> rusqlite::Result<()> {
    match record {
        Record::Ban {
            ban,
            testimony,
            count,
        } => write_ban(transaction, ban, testimony, *count, &[LATEST, HISTORY]),
        Record::Standing(ban, count) => {
            write_ban(transaction, ban, &Testimony::default(), *count, &[STANDING])
        }
        Record::Prolonged(ban) => {
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
        Record::Unban { jail, addr } => {
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
        Record::Forget(addr) => {
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
        Record::Read(reading) => {
            write_tries(transaction, reading)?;
            for (name, value) in &reading.cursors {
                write_fact(transaction, name, value)?;
            }
            transaction.execute("DELETE FROM ringfence_positions", [])?;
            let mut insert = transaction.prepare_cached(
                "INSERT INTO ringfence_positions(path, inode, head_len, head_hash, offset, modified)
                 VALUES(?1, ?2, ?3, ?4, ?5, ?6)",
            )?;
            for place in &reading.places {
                insert.execute(params![
                    place.path.to_string_lossy(),
                    place.inode.cast_signed(),
                    place.head_len,
                    place.head_hash.cast_signed(),
                    place.offset.cast_signed(),
                    place.modified
                ])?;
            }
            logs::write(transaction, &reading.places)
        }
        Record::Known(kept) => standings::write(transaction, kept),
        Record::Jails(jails) => logs::write_jails(transaction, jails),
        Record::Listed(entries) => {
            let mut insert = transaction.prepare_cached(
                "INSERT OR REPLACE INTO ringfence_list(ip, expires) VALUES(?1, ?2)",
            )?;
            for (addr, expires) in entries {
                insert.execute(params![addr.to_string(), expires.as_secs()])?;
            }
            Ok(())
        }
        Record::Fact(name, value) => write_fact(transaction, name, value),
    }
}

fn write_fact(transaction: &Transaction<'_>, name: &str, value: &str) -> rusqlite::Result<()> {
    transaction
        .prepare_cached("INSERT OR REPLACE INTO ringfence_facts(name, value) VALUES(?1, ?2)")?
        .execute(params![name, value])
        .map(|_| ())
}

fn write_tries(transaction: &Transaction<'_>, reading: &Reading) -> rusqlite::Result<()> {
    for jail in &reading.anew {
        transaction
            .prepare_cached("DELETE FROM ringfence_tries WHERE jail = ?1")?
            .execute([jail.as_ref()])?;
    }
    let mut delete =
        transaction.prepare_cached("DELETE FROM ringfence_tries WHERE jail = ?1 AND ip = ?2")?;
    let mut insert = transaction.prepare_cached(
        "INSERT OR REPLACE INTO ringfence_tries(jail, ip, forms, last) VALUES(?1, ?2, ?3, ?4)",
    )?;
    for KeptTries { jail, addr, forms } in &reading.tries {
        let (jail, ip) = (jail.as_ref(), addr.to_string());
        let Some(last) = forms.iter().map(|form| form.last).max() else {
            delete.execute(params![jail, ip])?;
            continue;
        };
        let forms: Vec<Value> = forms
            .iter()
            .map(|form| {
                json!([
                    form.form,
                    form.count,
                    form.first.as_micros(),
                    form.last.as_micros(),
                    form.proven
                ])
            })
            .collect();
        insert.execute(params![
            jail,
            ip,
            Value::Array(forms).to_string(),
            last.as_secs()
        ])?;
    }
    Ok(())
}

/// The rows that make sense. One that holds something else than its columns say is as if
/// it were not there: it must not keep the others from us. Damage is an error.
pub(super) fn sound<T>(
    rows: impl Iterator<Item = rusqlite::Result<Option<T>>>,
) -> rusqlite::Result<Vec<T>> {
    rows.filter_map(|row| if_sound(row).transpose()).collect()
}

fn if_sound<T>(row: rusqlite::Result<Option<T>>) -> rusqlite::Result<Option<T>> {
    match row {
        Err(error) if error.sqlite_error_code().is_none() => Ok(None),
        row => row,
    }
}

/// The names of jails, each of which is kept once: there are few of them and many rows.
#[derive(Default)]
struct Names(BTreeSet<JailName>);

impl Names {
    fn get(&mut self, text: &str) -> JailName {
        if let Some(name) = self.0.get(text) {
            return name.clone();
        }
        let name = JailName::from(text);
        self.0.insert(name.clone());
        name
    }
}

fn load_tries(connection: &Connection, names: &mut Names) -> rusqlite::Result<Vec<KeptTries>> {
    let mut select = connection
        .prepare("SELECT jail, ip, forms FROM ringfence_tries ORDER BY last DESC LIMIT ?1")?;
    let rows = select.query_map([TRIES_MAX], |row| {
        let (jail, ip, forms): (String, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let forms: Vec<Vec<i64>> = serde_json::from_str(&forms).unwrap_or_default();
        Ok(ip.parse().ok().map(|addr| KeptTries {
            jail: names.get(&jail),
            addr,
            forms: forms.iter().filter_map(|form| form_tries(form)).collect(),
        }))
    })?;
    let mut tries: Vec<KeptTries> = sound(rows)?;
    tries.reverse(); // the one that was silent longest first
    Ok(tries)
}

/// Tries as they are written. Before there were proofs their number was not.
fn form_tries(written: &[i64]) -> Option<FormTries> {
    let [form, count, first, last, rest @ ..] = written else {
        return None;
    };
    Some(FormTries {
        form: u32::try_from(*form).ok()?,
        count: u32::try_from(*count).ok()?,
        proven: u32::try_from(rest.first().copied().unwrap_or(0)).ok()?,
        first: Time::from_micros(*first),
        last: Time::from_micros(*last),
    })
}

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

fn write_ban(
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

/// A time as fail2ban writes it: to the nearest second, halves to the even one.
pub fn rounded(time: Time) -> Time {
    Time::from_secs(time.as_secs_f64().round_ties_even() as i64)
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
fn load_bans(
    connection: &Connection,
    names: &mut Names,
    now: Time,
) -> rusqlite::Result<(Vec<OldBan>, Vec<PastBan>)> {
    let mut select =
        connection.prepare("SELECT jail, ip, timeofban, bantime, bancount, data FROM bips")?;
    let mut rows = select.query([])?;
    let (mut bans, mut history) = (Vec::new(), Vec::new());
    while let Some(row) = rows.next()? {
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
            } = json(row.get_ref(5)?);
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

/// What was written of a ban's cause: as text, or as bytes, as fail2ban does. If it is
/// neither, nothing.
pub(super) fn json<T: Default + DeserializeOwned>(written: ValueRef<'_>) -> T {
    let bytes = written.as_bytes().unwrap_or_default();
    serde_json::from_slice(bytes).unwrap_or_default()
}

fn load_places(connection: &Connection) -> rusqlite::Result<Vec<Place>> {
    let mut select =
        connection.prepare("SELECT path, inode, head_len, head_hash, offset, modified FROM ringfence_positions ORDER BY rowid")?;
    let rows = select.query_map([], |row| {
        Ok(Some(Place {
            path: PathBuf::from(row.get::<_, String>(0)?),
            inode: row.get::<_, i64>(1)?.cast_unsigned(),
            head_len: row.get(2)?,
            head_hash: row.get::<_, i64>(3)?.cast_unsigned(),
            offset: row.get::<_, i64>(4)?.cast_unsigned(),
            modified: row.get(5)?,
            mark: None,
        }))
    })?;
    sound(rows)
}

fn load_listed(connection: &Connection, now: Time) -> rusqlite::Result<Listed> {
    let mut select =
        connection.prepare("SELECT ip, expires FROM ringfence_list WHERE expires > ?1")?;
    let count: i64 =
        connection.query_row("SELECT count(*) FROM ringfence_list", [], |row| row.get(0))?;
    let mut listed = Listed::with_room_for(usize::try_from(count).unwrap_or(0));
    let mut rows = select.query([now.as_secs()])?;
    while let Some(row) = rows.next()? {
        let read = |row: &Row<'_>| -> rusqlite::Result<Option<(IpAddr, i64)>> {
            let ip = row.get_ref(0)?.as_str()?.parse();
            Ok(ip.ok().zip(row.get(1)?))
        };
        if let Some((ip, expires)) = if_sound(read(row))? {
            listed.insert(ip, Time::from_secs(expires));
        }
    }
    Ok(listed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ban(addr: &str, since: i64, until: Option<i64>) -> Ban {
        Ban {
            jail: "asterisk".into(),
            addr: addr.parse().unwrap(),
            since: Time::from_secs(since),
            until: until.map(Time::from_secs),
            reason: Reason::Listed,
            tries: 5,
        }
    }

    fn old(ban: &Ban, bantime: Option<BanTime>) -> OldBan {
        OldBan {
            jail: ban.jail.clone(),
            addr: ban.addr,
            since: ban.since,
            bantime,
            reason: ban.reason,
            tries: ban.tries,
        }
    }

    /// Tries of 192.0.2.`host`, in so many forms.
    fn tries(host: u8, forms: u32) -> KeptTries {
        let form = |form| FormTries {
            form,
            count: 5,
            proven: 2,
            first: Time::from_micros(7),
            last: Time::from_secs(10 * i64::from(form)),
        };
        KeptTries {
            jail: "asterisk".into(),
            addr: format!("192.0.2.{host}").parse().unwrap(),
            forms: (0..forms).map(form).collect(),
        }
    }

    fn standing(host: u8, last: i64) -> KeptStanding {
        KeptStanding {
            addr: format!("203.0.113.{host}").parse().unwrap(),
            merit: Some(Time::from_micros(7)),
            known: None,
            shared: Some(Time::from_secs(99)),
            last: Time::from_secs(last),
            accounts: vec![(u64::MAX, Time::from_micros(5))],
        }
    }

    #[test]
    fn standings_are_bounded_and_friends_stay() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.sqlite3");
        let mut store = Store::open(&path).unwrap();
        let of = |number: u32, known: bool| KeptStanding {
            addr: Addr::host(std::net::Ipv4Addr::from(number).into()),
            known: known.then_some(Time::from_secs(1)),
            shared: None,
            ..standing(1, 1_000 + i64::from(number))
        };
        // The known-good ones logged in longest ago.
        for known in [true, false] {
            let start = if known { 0 } else { 1_000 };
            let end = if known { 1_000 } else { 40_000 };
            for first in (start..end).step_by(500) {
                let some = (first..first + 500).map(|number| Record::Known(of(number, known)));
                store.write(&some.collect::<Vec<_>>()).unwrap();
            }
        }
        let rows = |store: &Store| -> u32 {
            let count = "SELECT count(*) FROM ringfence_standings";
            store
                .connection
                .query_row(count, [], |row| row.get(0))
                .unwrap()
        };
        let most = 16_384;
        let written = standings::TRIM_EVERY as u32 + 500;
        assert!(rows(&store) < most + written, "{}", rows(&store));
        // A row that makes no sense is the first to go.
        store
            .connection
            .execute("INSERT INTO ringfence_standings VALUES('x', '{', 9)", [])
            .unwrap();
        store
            .purge(Duration::from_secs(60), Time::from_secs(50_000))
            .unwrap();
        assert_eq!(rows(&store), most);
        drop(store);
        let kept = Store::open(&path)
            .unwrap()
            .load(Time::from_secs(50_000))
            .unwrap()
            .standings;
        let known = kept.iter().filter(|kept| kept.known.is_some()).count();
        assert_eq!((kept.len(), known), (most as usize, 1_000));
        assert_eq!(
            kept.last().map(|kept| kept.addr),
            Some(of(39_999, false).addr)
        );
        assert!(kept.is_sorted_by_key(|kept| kept.last));
    }

    #[test]
    fn readings_are_joined() {
        let reading = |anew: &[&str], tries: &[KeptTries]| Reading {
            places: Vec::new(),
            anew: anew.iter().map(|jail| (*jail).into()).collect(),
            tries: tries.to_vec(),
            cursors: Vec::new(),
        };
        let mut later = reading(&[], &[tries(1, 2)]);
        later.after(reading(&["sshd"], &[tries(1, 1), tries(2, 1)]));
        let expected = reading(&["sshd"], &[tries(2, 1), tries(1, 2)]);
        assert_eq!(later, expected);
        let mut anew = reading(&["asterisk"], &[tries(3, 1)]);
        anew.after(later);
        assert_eq!(anew, reading(&["asterisk", "sshd"], &[tries(3, 1)]));

        let cursors = |all: &[(&str, &str)]| Reading {
            cursors: all
                .iter()
                .map(|(name, at)| ((*name).to_owned(), (*at).to_owned()))
                .collect(),
            ..Reading::default()
        };
        let mut later = cursors(&[("a", "2")]);
        later.after(cursors(&[("a", "1"), ("b", "1")]));
        assert_eq!(later, cursors(&[("a", "2"), ("b", "1")]));
    }

    #[test]
    fn what_is_written_is_there_after_opening_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.sqlite3");
        let place = Place {
            path: "/var/log/kamailio.log".into(),
            inode: u64::MAX,
            head_len: 6,
            head_hash: u64::MAX,
            offset: 99,
            modified: -1,
            mark: None,
        };
        let bans = [
            ban("192.0.2.1", 100, Some(700)),
            ban("2001:db8::/64", 100, None),
            ban("192.0.2.2", 100, Some(150)), // ended by then
            ban("192.0.2.3", 100, Some(900)), // pardoned
        ];
        let past = |ban: &Ban| PastBan {
            jail: ban.jail.clone(),
            addr: ban.addr,
            count: 7,
            latest: ban.since,
        };
        let kept = Kept {
            bans: vec![
                old(&bans[0], Some(BanTime::For(Duration::from_secs(600)))),
                old(&bans[1], Some(BanTime::Forever)),
            ],
            history: vec![past(&bans[2]), past(&bans[1]), past(&bans[0])],
            places: vec![place.clone()],
            foreign: Vec::new(),
            tries: vec![tries(8, 2), tries(7, 3)],
            standings: vec![standing(7, 800), standing(8, 900)],
            listed: [("198.51.100.1".parse().unwrap(), Time::from_secs(900))]
                .into_iter()
                .collect(),
        };
        let mut store = Store::open(&path).unwrap();
        let ban_record = |ban: &Ban| Record::Ban {
            ban: ban.clone(),
            testimony: Testimony::default(),
            count: 7,
        };
        store
            .write(&[
                ban_record(&bans[0]),
                ban_record(&bans[1]),
                ban_record(&bans[2]),
                ban_record(&bans[3]),
                Record::Known(standing(8, 900)),
                Record::Known(standing(7, 700)),
                Record::Known(standing(7, 800)),
                Record::Unban {
                    jail: "asterisk".into(),
                    addr: "192.0.2.3".parse().unwrap(),
                },
                Record::Read(Reading {
                    places: vec![place],
                    anew: Vec::new(),
                    tries: [tries(9, 1), tries(7, 3), tries(8, 2), tries(9, 0)].to_vec(),
                    cursors: vec![("journal.a".to_owned(), "{}".to_owned())],
                }),
                Record::Listed(vec![(
                    "198.51.100.1".parse().unwrap(),
                    Time::from_secs(900),
                )]),
                Record::Listed(vec![(
                    "198.51.100.2".parse().unwrap(),
                    Time::from_secs(150),
                )]),
                Record::Fact("cursor".to_owned(), "\"100\"".to_owned()),
            ])
            .unwrap();
        drop(store);
        let mut store = Store::open(&path).unwrap();
        let mut found = store.load(Time::from_secs(200)).unwrap();
        found.history.sort_by_key(|past| past.addr);
        let mut kept = kept;
        kept.history.sort_by_key(|past| past.addr);
        assert_eq!(found, kept);
        assert_eq!(store.facts("cur").unwrap(), ["\"100\""]);
        assert_eq!(store.facts("journal.").unwrap(), ["{}"]);
        assert!(store.facts("other").unwrap().is_empty());
        store
            .purge(Duration::from_secs(60), Time::from_secs(200))
            .unwrap();
        let listed: i64 = store
            .connection
            .query_row("SELECT count(*) FROM ringfence_list", [], |row| row.get(0))
            .unwrap();
        assert_eq!(listed, 1);
    }

    #[test]
    fn the_latest_ban_is_kept_beside_the_history() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = Store::open(&folder.path().join("state.sqlite3")).unwrap();
        for (since, count) in [(100, 1), (800, 2), (1_500, 3)] {
            let ban = ban("192.0.2.1", since, Some(since + 600));
            let testimony = Testimony::default();
            let ban = Record::Ban {
                ban,
                testimony,
                count,
            };
            store.write(&[ban]).unwrap();
        }
        let mut longer = ban("192.0.2.1", 1_500, Some(2_600));
        longer.since = Time::from_secs(1_600);
        store.write(&[Record::Prolonged(longer.clone())]).unwrap();
        let rows: Vec<String> = store
            .connection
            .prepare("SELECT 'bans', timeofban, bantime, bancount FROM bans UNION ALL SELECT 'bips', timeofban, bantime, bancount FROM bips")
            .unwrap()
            .query_map([], |row| {
                let (table, numbers): (String, [i64; 3]) =
                    (row.get(0)?, [row.get(1)?, row.get(2)?, row.get(3)?]);
                Ok(format!("{table} {numbers:?}"))
            })
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        assert_eq!(
            rows,
            [
                "bans [100, 600, 1]",
                "bans [800, 600, 2]",
                "bans [1600, 1000, 3]",
                "bips [1600, 1000, 3]",
            ]
        );
        let kept = store.load(Time::from_secs(2_200)).unwrap();
        let whole = Some(BanTime::For(Duration::from_secs(1_000)));
        assert_eq!(kept.bans, [old(&longer, whole)]);
    }

    #[test]
    fn rows_of_fail2ban_are_understood() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("state.sqlite3")).unwrap();
        store
            .connection
            .execute_batch(
                r#"INSERT INTO jails(name) VALUES('sshd');
                   INSERT INTO bips(ip, jail, timeofban, bantime, bancount, data) VALUES
                     ('192.0.2.1', 'sshd', 100, 600.75, 2, CAST('{"matches":[["","","x"]],"failures":4}' AS BLOB)),
                     ('192.0.2.2', 'sshd', 100, -2, 1, NULL),
                     ('192.0.2.3', 'sshd', 100, -1, 1, '{}'),
                     ('192.0.2.4', 'sshd', 100, -7, 1, '{}'),
                     ('a.name', 'sshd', 100, 600, 1, '{}');"#,
            )
            .unwrap();
        let kept = store.load(Time::from_secs(200)).unwrap();
        let bantimes: Vec<_> = kept.bans.iter().map(|ban| ban.bantime).collect();
        let fraction = BanTime::For(Duration::from_millis(600_750));
        assert_eq!(bantimes, [Some(fraction), None, Some(BanTime::Forever)]);
        assert_eq!(kept.bans[0].tries, 4);
        assert_eq!(kept.history.len(), 4);
    }

    #[test]
    fn errors_name_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.sqlite3");
        std::fs::write(
            &path,
            "this is no database, and it is longer than a header ".repeat(40),
        )
        .unwrap();
        let error = Store::open(&path).unwrap_err().to_string();
        assert!(
            error.contains("state.sqlite3") && error.contains("not a database"),
            "{error}"
        );
    }
}
