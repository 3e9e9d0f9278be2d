//! Which database, and how long its history is kept: our own file, or fail2ban's.
//!
//! A tree that names a `dbfile` is one whose server kept its bans there, so we go on in
//! that file, and fail2ban can go on after us. `[fail2ban] database` goes before it: who
//! names a file means that one and no other.

use std::path::PathBuf;
use std::time::Duration;

use super::fail2ban::{Globals, timespan};
use super::native::Settings;

/// fail2ban's own `dbpurgeage`.
const PURGE_AGE: Duration = Duration::from_secs(86_400);

/// fail2ban's own `dbmaxmatches`.
const MATCHES: usize = 10;

/// The database that the configuration means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Database {
    /// Where it lies; nowhere if nothing shall be kept.
    pub path: Option<PathBuf>,
    /// Where else, if that is fail2ban's file and we may not write it.
    pub instead: Option<PathBuf>,
    /// How long a ban stays in its history.
    pub purge_age: Duration,
    /// How many of the lines that convicted are kept with a ban.
    pub matches: usize,
}

impl Database {
    /// Without a tree.
    pub(super) fn own(settings: &Settings) -> Database {
        let named = settings.fail2ban_database.clone();
        Database {
            path: Some(named.unwrap_or_else(|| settings.database())),
            instead: None,
            purge_age: PURGE_AGE,
            matches: MATCHES,
        }
    }

    /// With a tree: what its `fail2ban.conf` says. What cannot be read goes to `problems`.
    pub(super) fn of_tree(
        settings: &Settings,
        globals: &Globals,
        problems: &mut Vec<String>,
    ) -> Database {
        let mut database = Database::own(settings);
        if settings.fail2ban_database.is_none() {
            match globals.get("dbfile").map(str::trim) {
                None | Some("") => {}
                Some(word) if is_nowhere(word) => database.path = None,
                Some(path) => database.instead = database.path.replace(path.into()),
            }
        }
        if let Some(age) = globals.get("dbpurgeage") {
            match timespan::duration(age) {
                Ok(age) => database.purge_age = age,
                Err(error) => problems.push(format!("fail2ban.conf: dbpurgeage = {age}: {error}")),
            }
        }
        if let Some(count) = globals.get("dbmaxmatches") {
            match count.trim().parse() {
                Ok(count) => database.matches = count,
                Err(_) => problems.push(format!(
                    "fail2ban.conf: dbmaxmatches = {count}: write a number, 0 for no lines"
                )),
            }
        }
        database
    }
}

/// fail2ban's words for a database that is no file.
fn is_nowhere(word: &str) -> bool {
    word.eq_ignore_ascii_case("none") || word == ":memory:"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(globals: &[(&str, &str)], database: Option<&str>) -> (Database, usize) {
        let settings = globals
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let globals = Globals {
            settings: settings.collect(),
        };
        let settings = Settings {
            fail2ban_database: database.map(PathBuf::from),
            ..Settings::default()
        };
        let mut problems = Vec::new();
        (
            Database::of_tree(&settings, &globals, &mut problems),
            problems.len(),
        )
    }

    #[test]
    fn a_tree_names_the_database() {
        let own = "/var/lib/ringfence/ringfence.sqlite3";
        for (globals, database, path) in [
            (&[][..], None, Some(own)),
            (&[("dbfile", "/a/b.sqlite3")], None, Some("/a/b.sqlite3")),
            (&[("dbfile", "None")], None, None),
            (&[("dbfile", ":memory:")], None, None),
            (&[("dbfile", "None")], Some("/c"), Some("/c")),
        ] {
            let (found, problems) = of(globals, database);
            let instead = found.path.as_deref() == Some("/a/b.sqlite3".as_ref());
            assert_eq!(found.instead, instead.then(|| own.into()));
            assert_eq!((found.path, problems), (path.map(PathBuf::from), 0));
            assert_eq!((found.purge_age, found.matches), (PURGE_AGE, MATCHES));
        }
        let (found, _) = of(&[("dbpurgeage", "2h"), ("dbmaxmatches", "0")], None);
        assert_eq!((found.purge_age.as_secs(), found.matches), (7_200, 0));
        for wrong in [("dbpurgeage", "soon"), ("dbmaxmatches", "few")] {
            let (found, problems) = of(&[wrong], None);
            let kept = (found.purge_age, found.matches);
            assert_eq!((kept, problems), ((PURGE_AGE, MATCHES), 1), "{wrong:?}");
        }
    }
}
