//! Rotated files: what became of a log's earlier content.
//!
//! A log is rotated by a new name in the same directory (`messages.1`,
//! `full-20261122`, `app-2026-11-22.log`), or by a copy under such a name and
//! truncation. Compressed ones are never looked at: they are renamed first and
//! compressed a rotation later, or they are lost to any reader.

use std::fs;
use std::os::unix::fs::DirEntryExt;
use std::path::{Path, PathBuf};

use super::file::{self, Identity, Look};

/// How many entries of a directory are looked at, so that a spool directory with
/// millions of files does not hold up the reader.
const ENTRIES_MAX: usize = 20_000;

/// How many rotated files of one log are considered, the newest first. Two weeks
/// of daily rotation, the usual setting.
pub(super) const SIBLINGS_MAX: usize = 16;

/// A file that may hold a log's earlier content.
pub(super) struct Sibling {
    pub(super) path: PathBuf,
    pub(super) identity: Identity,
    pub(super) look: Look,
    /// Its first bytes.
    pub(super) head: Vec<u8>,
    /// Is its name that of a rotated file of this log?
    pub(super) is_named_so: bool,
}

/// The files beside `log` that may hold its earlier content, oldest first: those
/// with a rotated file's name, and those with one of the `inodes`, whatever their name.
pub(super) fn siblings(log: &Path, inodes: &[u64]) -> Vec<Sibling> {
    let real = fs::canonicalize(log).unwrap_or_else(|_| log.to_owned());
    let mut found = Vec::new();
    for place in [Some(log), Some(real.as_path()).filter(|real| *real != log)] {
        if let Some((dir, name)) = place.and_then(|path| path.parent().zip(path.file_name())) {
            look_in(dir, &name.to_string_lossy(), inodes, &mut found);
        }
    }
    found.sort_by_key(|sibling| sibling.look.modified);
    found.dedup_by_key(|sibling| sibling.identity);
    let surplus = found.len().saturating_sub(SIBLINGS_MAX);
    found.drain(..surplus);
    found
        .into_iter()
        .filter_map(|mut sibling| {
            let (handle, _) = file::open(&sibling.path).ok()?;
            sibling.head = file::read_head(&handle).ok()?;
            Some(sibling)
        })
        .collect()
}

fn look_in(dir: &Path, log: &str, inodes: &[u64], found: &mut Vec<Sibling>) {
    let Ok(entries) = fs::read_dir(dir) else {
        return;
    };
    for entry in entries.take(ENTRIES_MAX).flatten() {
        let is_named_so = is_rotated_name(log, &entry.file_name().to_string_lossy());
        if !is_named_so && !inodes.contains(&entry.ino()) {
            continue;
        }
        if let Ok(meta) = entry.metadata()
            && meta.is_file()
        {
            found.push(Sibling {
                path: entry.path(),
                identity: file::identity(&meta),
                look: Look::of(&meta),
                head: Vec::new(),
                is_named_so,
            });
        }
    }
}

/// Is `name` what a rotation makes of `log`? A separator and a number or a date,
/// at the end or before the extension; or `.old`. Nothing looser: `mail.err` is
/// another log than `mail`.
fn is_rotated_name(log: &str, name: &str) -> bool {
    let (stem, extension) = match log.rfind('.') {
        Some(dot) if dot > 0 => log.split_at(dot),
        _ => (log, ""),
    };
    let added = name.strip_prefix(log).or_else(|| {
        let middle = name.strip_prefix(stem)?.strip_suffix(extension)?;
        (!extension.is_empty()).then_some(middle)
    });
    added.is_some_and(|added| added == ".old" || is_date_or_number(added))
}

fn is_date_or_number(added: &str) -> bool {
    let mut bytes = added.bytes();
    bytes.next().is_some_and(|byte| b".-_".contains(&byte))
        && bytes.next().is_some_and(|byte| byte.is_ascii_digit())
        && bytes.all(|byte| byte.is_ascii_digit() || b".-_:T".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_rotated_files() {
        for (log, name, rotated) in [
            ("messages", "messages.1", true),
            ("messages", "messages.12", true),
            ("messages", "messages-20261122", true),
            ("messages", "messages.2026-11-22_03:15", true),
            ("messages", "messages.old", true),
            ("messages", "messages", false),
            ("messages", "messages.1.gz", false),
            ("messages", "messages.2.xz", false),
            ("messages", "messages-debug", false),
            ("messages", "messages1", false),
            ("mail", "mail.err", false),
            ("mail", "mail.log", false),
            ("app.log", "app.log.1", true),
            ("app.log", "app-20261122.log", true),
            ("app.log", "app.1.log", true),
            ("app.log", "app.log", false),
            ("app.log", "app-errors.log", false),
            ("app.log", "app2.log", false),
            (".log", ".log.1", true),
        ] {
            assert_eq!(is_rotated_name(log, name), rotated, "{log} {name}");
        }
    }
}
