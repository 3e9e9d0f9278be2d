//! Opening the database: whether it may be used now, and why not.
//!
//! A file of a version that is not ours is not touched, not even by the journal mode. A file
//! that can only be read is not for writing; it may be looked at, so that a start from a
//! full or read-only disk knows its bans. Nothing here decides what to do about it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::ffi::{self, ErrorCode};
use rusqlite::{Connection, MAIN_DB, OpenFlags};

/// fail2ban's schema version that we keep to.
pub(super) const FAIL2BAN_VERSION: i64 = 4;

/// The version of our own tables.
pub(super) const RINGFENCE_VERSION: i64 = 1;

/// Everything a file must have; harmless where it has it already.
const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS fail2banDb(version INTEGER);
    CREATE TABLE IF NOT EXISTS jails(
        name TEXT NOT NULL UNIQUE, enabled INTEGER NOT NULL DEFAULT 1);
    CREATE TABLE IF NOT EXISTS logs(
        jail TEXT NOT NULL, path TEXT, firstlinemd5 TEXT, lastfilepos INTEGER DEFAULT 0,
        FOREIGN KEY(jail) REFERENCES jails(name) ON DELETE CASCADE,
        UNIQUE(jail, path), UNIQUE(jail, path, firstlinemd5));
    CREATE TABLE IF NOT EXISTS bans(
        jail TEXT NOT NULL, ip TEXT, timeofban INTEGER NOT NULL, bantime INTEGER NOT NULL,
        bancount INTEGER NOT NULL DEFAULT 1, data JSON,
        FOREIGN KEY(jail) REFERENCES jails(name));
    CREATE INDEX IF NOT EXISTS bans_jail_timeofban_ip ON bans(jail, timeofban);
    CREATE INDEX IF NOT EXISTS bans_jail_ip ON bans(jail, ip);
    CREATE INDEX IF NOT EXISTS bans_ip ON bans(ip);
    CREATE TABLE IF NOT EXISTS bips(
        ip TEXT NOT NULL, jail TEXT NOT NULL, timeofban INTEGER NOT NULL, bantime INTEGER NOT NULL,
        bancount INTEGER NOT NULL DEFAULT 1, data JSON,
        PRIMARY KEY(ip, jail), FOREIGN KEY(jail) REFERENCES jails(name));
    CREATE INDEX IF NOT EXISTS bips_timeofban ON bips(timeofban);
    CREATE INDEX IF NOT EXISTS bips_ip ON bips(ip);
    CREATE TABLE IF NOT EXISTS ringfence_positions(
        path TEXT NOT NULL, inode INTEGER NOT NULL,
        head_len INTEGER NOT NULL, head_hash INTEGER NOT NULL, offset INTEGER NOT NULL, modified INTEGER NOT NULL);
    CREATE TABLE IF NOT EXISTS ringfence_tries(
        jail TEXT NOT NULL, ip TEXT NOT NULL, forms JSON NOT NULL, last INTEGER NOT NULL,
        PRIMARY KEY(jail, ip)) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS ringfence_standings(
        ip TEXT PRIMARY KEY, data JSON NOT NULL, last INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS ringfence_list(ip TEXT PRIMARY KEY, expires INTEGER NOT NULL);
    CREATE TABLE IF NOT EXISTS ringfence_facts(name TEXT PRIMARY KEY, value TEXT NOT NULL);
";

/// The tables of [`SCHEMA`], those first that others refer to.
pub(super) const TABLES: &[&str] = &[
    "jails",
    "logs",
    "bans",
    "bips",
    "ringfence_positions",
    "ringfence_tries",
    "ringfence_standings",
    "ringfence_list",
    "ringfence_facts",
];

/// What kind of trouble it is: it says what may help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Another program holds a lock on it.
    Locked,
    /// It may not be written.
    ReadOnly,
    /// There is no room for more.
    Full,
    /// It is damaged, or no database at all.
    Corrupt,
    /// Another version of its programs wrote it.
    Version,
    /// Anything else: the disk fails, the folder is gone.
    Other,
}

/// Something wrong with the database.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// SQLite says so.
    #[error("the database {}: {source}", path.display())]
    Sqlite {
        /// Which file.
        path: PathBuf,
        /// What it says.
        source: rusqlite::Error,
    },
    /// It is not for us.
    #[error("the database {} has {what} of version {version}, and this program knows \
             version {known}; {}, or move the file away",
            path.display(), cure(*version, *known))]
    Version {
        /// Which file.
        path: PathBuf,
        /// Whose tables.
        what: &'static str,
        /// Their version.
        version: i64,
        /// The version that we know.
        known: i64,
    },
    /// A file beside it cannot be made or renamed.
    #[error("the database {}: {doing}: {source}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What could not be done.
        doing: &'static str,
        /// Why not.
        source: std::io::Error,
    },
}

impl StoreError {
    pub(super) fn sqlite(path: &Path) -> impl Fn(rusqlite::Error) -> StoreError {
        move |source| StoreError::Sqlite {
            path: path.to_owned(),
            source,
        }
    }

    /// What kind of trouble is it?
    pub fn trouble(&self) -> Trouble {
        match self {
            StoreError::Version { .. } => Trouble::Version,
            StoreError::File { .. } => Trouble::Other,
            StoreError::Sqlite { source, .. } => match source.sqlite_error_code() {
                Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Trouble::Locked,
                Some(ErrorCode::ReadOnly) => Trouble::ReadOnly,
                Some(ErrorCode::DiskFull) => Trouble::Full,
                Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Trouble::Corrupt,
                _ => Trouble::Other,
            },
        }
    }
}

fn cure(version: i64, known: i64) -> &'static str {
    match version > known {
        true => "start the newer program",
        false => "let fail2ban 1.0 or newer open it once, which brings it up to date",
    }
}

/// Opens the database for use, and creates it with its tables where they are missing. A
/// lock is waited for so long.
pub(super) fn connect(path: &Path, patience: Duration) -> Result<Connection, StoreError> {
    let wrap = StoreError::sqlite(path);
    let connection = Connection::open(path).map_err(&wrap)?;
    connection.busy_timeout(patience).map_err(&wrap)?;
    // SQLite opens a file that may not be written all the same, and fails later.
    if connection.is_readonly(MAIN_DB).map_err(&wrap)? {
        let code = ffi::Error::new(ffi::SQLITE_READONLY);
        let source = rusqlite::Error::SqliteFailure(code, Some("it is read-only here".to_owned()));
        return Err(wrap(source));
    }
    // Until we know that it is ours, even closing must leave the file as it is.
    keep_on_close(&connection, true).map_err(&wrap)?;
    refuse_versions(&connection, path)?;
    keep_on_close(&connection, false).map_err(&wrap)?;
    prepare(&connection).map_err(&wrap)?;
    Ok(connection)
}

/// Opens the database to look at it once, in whatever way its disk allows. Nothing is
/// written: as it was left by a crash it may need more than one way.
pub(super) fn connect_reading(path: &Path) -> Result<Connection, StoreError> {
    let wrap = StoreError::sqlite(path);
    let try_ = |flags: OpenFlags, name: &Path, exclusive: bool| {
        let connection = Connection::open_with_flags(name, flags)?;
        keep_on_close(&connection, true)?;
        if exclusive {
            connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
        }
        connection.query_row("SELECT count(*) FROM bips", [], |row| row.get::<_, i64>(0))?;
        Ok(connection)
    };
    let plain = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let writing = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let empty = |path: PathBuf| std::fs::metadata(path).map_or(true, |file| file.len() == 0);
    let is_locked =
        |error: &rusqlite::Error| error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy);
    let connection = try_(plain, path, false)
        // Where there is no room for the file of shared memory that readers want.
        .or_else(|error| match is_locked(&error) {
            true => Err(error),
            false => try_(writing, path, true),
        })
        // Where that file may not be made; then nothing may wait in the log beside it.
        .or_else(
            |error| match is_locked(&error) || !empty(beside(path, "-wal")) {
                true => Err(error),
                false => try_(plain | OpenFlags::SQLITE_OPEN_URI, &immutable(path), false),
            },
        );
    let connection = connection.map_err(&wrap)?;
    refuse_versions(&connection, path)?;
    Ok(connection)
}

/// The path of a file that belongs to the database.
pub(super) fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// A path as an address that says that nobody changes the file.
fn immutable(path: &Path) -> PathBuf {
    let path = path.to_string_lossy();
    let path = path
        .replace('%', "%25")
        .replace('?', "%3f")
        .replace('#', "%23");
    format!("file:{path}?immutable=1").into()
}

fn keep_on_close(connection: &Connection, keep: bool) -> rusqlite::Result<bool> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, keep)
}

fn refuse_versions(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    let versions = [
        (
            "fail2ban's tables",
            "fail2banDb",
            "max(version)",
            FAIL2BAN_VERSION,
        ),
        (
            "ringfence's tables",
            "ringfence_facts",
            "max(CAST(value AS INTEGER)) FILTER (WHERE name = 'version')",
            RINGFENCE_VERSION,
        ),
    ];
    for (what, table, column, known) in versions {
        let found = version(connection, table, column).map_err(StoreError::sqlite(path))?;
        if let Some(version) = found.filter(|version| *version != known) {
            return Err(StoreError::Version {
                path: path.to_owned(),
                what,
                version,
                known,
            });
        }
    }
    Ok(())
}

fn version(connection: &Connection, table: &str, column: &str) -> rusqlite::Result<Option<i64>> {
    if !has_table(connection, table)? {
        return Ok(None);
    }
    connection.query_row(&format!("SELECT {column} FROM {table}"), [], |row| {
        row.get(0)
    })
}

pub(super) fn has_table(connection: &Connection, table: &str) -> rusqlite::Result<bool> {
    connection.query_row(
        "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = ?1",
        [table],
        |row| Ok(row.get::<_, i64>(0)? > 0),
    )
}

fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.pragma_update(None, "cache_size", -128)?; // KiB; the daemon writes rows and reads none
    connection.execute_batch(SCHEMA)?;
    // Written only where missing: a file that is complete can be opened while another
    // program writes to it.
    if version(connection, "fail2banDb", "max(version)")?.is_none() {
        connection.execute(
            "INSERT INTO fail2banDb(version) VALUES(?1)",
            [FAIL2BAN_VERSION],
        )?;
    }
    let ours = "SELECT count(*) FROM ringfence_facts WHERE name = 'version'";
    if connection.query_row(ours, [], |row| row.get::<_, i64>(0))? == 0 {
        connection.execute(
            "INSERT INTO ringfence_facts(name, value) VALUES('version', ?1)",
            [RINGFENCE_VERSION.to_string()],
        )?;
    }
    Ok(())
}
