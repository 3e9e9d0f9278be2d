//! Our table `ringfence_tries`: tries that were not too many yet, a row for each offender and
//! jail. Times are microseconds since 1970.

use rusqlite::{Connection, Transaction, params};
use serde_json::{Value, json};

use super::record::Reading;
use super::rows::{Names, sound};
use crate::ticket::{FormTries, KeptTries};
use crate::time::Time;

/// Offenders whose tries are loaded: as many as one jail's window holds.
const TRIES_MAX: u32 = 65_536;

/// Writes how the tries stand when so much was read.
pub(super) fn write(transaction: &Transaction<'_>, reading: &Reading) -> rusqlite::Result<()> {
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

/// The tries of the last run, the one that was silent longest first.
pub(super) fn load(connection: &Connection, names: &mut Names) -> rusqlite::Result<Vec<KeptTries>> {
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
