//! The store: what must outlive the daemon, in SQLite.
//!
//! Bans lie in fail2ban's own tables (schema version 4), so that tools which read
//! its database find them; what fail2ban has no place for (positions in logs,
//! APIBAN's list and cursor) lies in tables whose names begin with `ringfence_`.
//! Many records are written in one transaction. A position is written in the same
//! transaction as the bans that the lines before it caused, or after it, never before.
//!
//! The store decides nothing. It is used by one thread.

use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, Row, Transaction, params};

pub use super::open::{StoreError, Trouble};

use super::listed::Listed;
use super::record::{Kept, Place, Record};
use super::rows::{Names, if_sound, sound};
use super::{bans, logs, open, standings, tries};
use crate::time::Time;

/// How long tries are kept whose jail does not delete them: longer than any `findtime`.
const TRIES_KEPT: Duration = Duration::from_secs(60 * 86_400);

/// How long another program's lock on the file is waited for.
pub(super) const LOCK_WAIT: Duration = Duration::from_secs(2);

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
            let (bans, history) = bans::load(&self.connection, &mut names, now)?;
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
                tries: tries::load(&self.connection, &mut names)?,
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
        } => bans::write(transaction, ban, testimony, *count),
        Record::Standing(ban, count) => bans::write_standing(transaction, ban, *count),
        Record::Prolonged(ban) => bans::prolong(transaction, ban),
        Record::Unban { jail, addr } => bans::pardon(transaction, jail, addr),
        Record::Forget(addr) => bans::forget(transaction, addr),
        Record::Read(reading) => {
            tries::write(transaction, reading)?;
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
    use super::super::record::tests::tries;
    use super::super::record::{OldBan, PastBan, Reading};
    use super::*;
    use crate::addr::Addr;
    use crate::ticket::{Ban, KeptStanding, Reason, Testimony};
    use crate::time::BanTime;

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
