//! The stores in SQLite: Asterisk's `astdb.sqlite3` and FreeSWITCH's `sofia_reg_*.db`.
//!
//! A reader's lock would make the phone server's own write fail or wait, so none is taken:
//! the file is read as if it could not change (`immutable`), and what was read counts only
//! if nothing has been written from before the first to after the last byte.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, Row};
use serde::Deserialize;

use super::{REGISTRATIONS_MAX, Trouble, host, registration};
use crate::ticket::Registration;
use crate::time::Time;

/// A file that was written to so lately may be in the middle of it; and the kernel's clock,
/// by which a second write is told from the first, moves every few milliseconds only.
const SETTLED: Duration = Duration::from_millis(50);

/// The longest value that is looked at; Asterisk's longest contacts have some 1,500 bytes.
const VALUE_BYTES_MAX: u32 = 8_192;

/// Reads all registrations that have not expired.
pub(super) fn read(path: &Path, now: Time) -> Result<Vec<Registration>, Trouble> {
    let before = state(path, now)?;
    let found = look(path, now);
    match state(path, now)? == before {
        true => found,
        false => Err(Trouble::Busy),
    }
}

/// What changes when somebody writes; an error if somebody is about to.
fn state(path: &Path, now: Time) -> Result<impl PartialEq + use<>, Trouble> {
    let mut journal = path.as_os_str().to_owned();
    journal.push("-journal");
    let is_open = std::fs::metadata(journal).is_ok_and(|journal| journal.len() > 0);
    let file = path.metadata()?;
    let modified =
        Time::from_secs(file.mtime()) + Duration::from_nanos(file.mtime_nsec().unsigned_abs());
    let is_settled = now.since(modified).max(modified.since(now)) >= SETTLED;
    match is_settled && !is_open {
        true => Ok((file.ino(), file.len(), file.mtime(), file.mtime_nsec())),
        false => Err(Trouble::Busy),
    }
}

fn look(path: &Path, now: Time) -> Result<Vec<Registration>, Trouble> {
    let nonsense = |error: rusqlite::Error| Trouble::Nonsense(error.to_string());
    let connection = open(path).map_err(nonsense)?;
    let has = |table: &str| {
        let sql = "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = ?1";
        let count = connection.query_row(sql, [table], |row| row.get::<_, i64>(0));
        count.map(|count| count > 0)
    };
    if has("astdb").map_err(nonsense)? {
        asterisk(&connection, now).map_err(nonsense)
    } else if has("sip_registrations").map_err(nonsense)? {
        freeswitch(&connection, now).map_err(nonsense)
    } else {
        Err(Trouble::Unknown)
    }
}

fn open(path: &Path) -> rusqlite::Result<Connection> {
    let mut uri = "file:".to_owned();
    for byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'/' | b'.' | b'-' | b'_' => uri.push(char::from(*byte)),
            byte if byte.is_ascii_alphanumeric() => uri.push(char::from(*byte)),
            byte => uri += &format!("%{byte:02x}"),
        }
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
        | OpenFlags::SQLITE_OPEN_URI
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(uri + "?immutable=1", flags)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    Ok(connection)
}

/// A contact of pjsip's, as far as it concerns us. Asterisk writes numbers as texts.
#[derive(Deserialize)]
struct Contact {
    uri: String,
    #[serde(default)]
    expiration_time: String,
}

/// pjsip's contacts, `/registrar/contact/1001;@HASH`, and what chan_sip and IAX2 keep of
/// a peer, `/SIP/Registry/1001` = `192.0.2.7:5060:3600:1001:sip:1001@192.0.2.7`.
fn asterisk(connection: &Connection, now: Time) -> rusqlite::Result<Vec<Registration>> {
    let mut found = Vec::new();
    for kind in ["/registrar/contact/", "/SIP/Registry/", "/IAX/Registry/"] {
        let sql = "SELECT substr(key, length(?1) + 1), value FROM astdb
                   WHERE key > ?1 AND key < ?2 AND length(value) <= ?3 LIMIT ?4";
        let mut select = connection.prepare(sql)?;
        let beyond = kind.trim_end_matches('/').to_owned() + "0"; // `0` comes after `/`
        let room = REGISTRATIONS_MAX.saturating_sub(u32::try_from(found.len()).unwrap_or(u32::MAX));
        let mut rows = select.query((kind, beyond, VALUE_BYTES_MAX, room))?;
        while let Some(row) = rows.next()? {
            let Some([name, value]) = texts(row)? else {
                continue;
            };
            found.extend(match kind {
                "/registrar/contact/" => pjsip(name, value, now),
                _ => registration(peer(value), name, None),
            });
        }
    }
    Ok(found)
}

/// The first two columns; none if they are no texts: a phone wrote some of it, and one
/// row that nobody can read must not hide all the others.
fn texts<'row>(row: &'row Row<'_>) -> rusqlite::Result<Option<[&'row str; 2]>> {
    let columns = [row.get_ref(0)?, row.get_ref(1)?];
    let [Ok(one), Ok(other)] = columns.map(|column| column.as_str()) else {
        return Ok(None);
    };
    Ok(Some([one, other]))
}

fn pjsip(name: &str, value: &str, now: Time) -> Option<Registration> {
    let contact: Contact = serde_json::from_str(value).ok()?;
    let user = name.rsplit_once(";@").map_or(name, |(user, _)| user);
    let expires: i64 = contact.expiration_time.parse().unwrap_or(i64::MAX);
    // With `rewrite_contact` the contact is where the phone's packets come from. `via_addr`
    // never is: it is what the phone wrote into its Via, behind NAT its private address.
    let found = registration(host(&contact.uri), user, None);
    found.filter(|_| expires > now.as_secs())
}

/// The address in front of `:PORT:…`.
fn peer(value: &str) -> &str {
    match value.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => value.split(':').next().unwrap_or_default(),
    }
}

/// FreeSWITCH writes down whence a registration came.
fn freeswitch(connection: &Connection, now: Time) -> rusqlite::Result<Vec<Registration>> {
    let sql = "SELECT network_ip, sip_user FROM sip_registrations
               WHERE expires > ?1 AND network_ip IS NOT NULL AND length(sip_user) <= ?2 LIMIT ?3";
    let mut select = connection.prepare(sql)?;
    let mut rows = select.query((now.as_secs(), VALUE_BYTES_MAX, REGISTRATIONS_MAX))?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        if let Some([ip, user]) = texts(row)? {
            found.extend(registration(ip, user, None));
        }
    }
    Ok(found)
}
