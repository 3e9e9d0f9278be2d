//! Rows of tables that others may have written: what makes no sense in one is as if it were
//! not there.

use std::collections::BTreeSet;

use rusqlite::types::ValueRef;
use serde::de::DeserializeOwned;

use crate::ticket::JailName;

/// The rows that make sense. One that holds something else than its columns say is as if
/// it were not there: it must not keep the others from us. Damage is an error.
pub(super) fn sound<T>(
    rows: impl Iterator<Item = rusqlite::Result<Option<T>>>,
) -> rusqlite::Result<Vec<T>> {
    rows.filter_map(|row| if_sound(row).transpose()).collect()
}

pub(super) fn if_sound<T>(row: rusqlite::Result<Option<T>>) -> rusqlite::Result<Option<T>> {
    match row {
        Err(error) if error.sqlite_error_code().is_none() => Ok(None),
        row => row,
    }
}

/// The names of jails, each of which is kept once: there are few of them and many rows.
#[derive(Default)]
pub(super) struct Names(BTreeSet<JailName>);

impl Names {
    pub(super) fn get(&mut self, text: &str) -> JailName {
        if let Some(name) = self.0.get(text) {
            return name.clone();
        }
        let name = JailName::from(text);
        self.0.insert(name.clone());
        name
    }
}

/// What was written of a ban's cause: as text, or as bytes, as fail2ban does. If it is
/// neither, nothing.
pub(super) fn json<T: Default + DeserializeOwned>(written: ValueRef<'_>) -> T {
    let bytes = written.as_bytes().unwrap_or_default();
    serde_json::from_slice(bytes).unwrap_or_default()
}
