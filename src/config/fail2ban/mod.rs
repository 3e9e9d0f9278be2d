//! fail2ban's configuration dialect: jails, filters and actions out of a tree of files.
//!
//! [`load`] gives every enabled jail as a [`JailText`]: expanded and with its values
//! read, but with patterns and commands still as text, since other parts compile them.
//! A jail that cannot be read is reported and left out; the others are not touched. Only
//! an unreadable line in `[DEFAULT]`, which is a part of every jail, refuses them all.
//!
//! Absent here: looking for log files, compiling patterns, running anything.

use std::path::Path;
use std::sync::Arc;

use super::error::{ConfigError, ConfigErrorKind, Origin};
use super::ini::{DEFAULT, Options};
use jail::RawJail;
use template::Kind;
use tree::{INCLUDES, Library, Tree};

mod definition;
mod interpolate;
mod jail;
mod options;
mod pyvalue;
mod roots;
mod stream;
mod strict;
mod tags;
mod template;
mod text;
pub mod timespan;
mod tree;
mod typed;

pub use crate::jail::bantime::Increment;
pub use crate::jail::formula::{ExprError, Formula, Number};
pub use pyvalue::PyValue;
pub use roots::{EMBEDDED_NAME, EmbeddedFiles, FILE_BYTES_MAX, Root, Roots};
pub use stream::stream;
pub use text::{ActionText, FilterText, Globals, IgnoreCache, JailText, LogPath, UseDns};

/// The release of fail2ban whose place we take; `%(fail2ban_version)s` in the files.
pub const FAIL2BAN_VERSION: &str = "1.1.1";

/// Keys of ours that fail2ban has no word for. An error in one of them is an error of
/// its jail; other unknown keys are variables, which may be broken as long as unused.
pub const OUR_KEYS: &[&str] = &[
    "successregex",
    "challengeregex",
    "doubtregex",
    "rawdoubtregex",
    "wholeregex",
    "endregex",
    "repeatregex",
    "glueregex",
    "pulseregex",
    "unclearregex",
    "brokenregex",
    "remedy",
    "apiban",
    "hints",
    "maxchallenges",
    "framing",
    "aggregate",
];

/// What a tree says.
#[derive(Debug, Clone, Default)]
pub struct Loaded {
    /// The enabled jails, in the order of their sections.
    pub jails: Vec<JailText>,
    /// Jails that are there and not enabled.
    pub disabled: Vec<String>,
    /// Errors and warnings ([`ConfigError::is_warning`]); an error names the jail that
    /// does not run because of it.
    pub errors: Vec<ConfigError>,
    /// fail2ban's own settings.
    pub globals: Globals,
    /// The enabled jails as texts, for [`stream`].
    entries: Vec<Entry>,
    raw_globals: RawGlobals,
}

/// An enabled jail before its values were read.
#[derive(Debug, Clone)]
enum Entry {
    Read(Box<RawJail>),
    Refused { name: String, error: ConfigError },
}

/// `fail2ban.conf` before its values were read.
#[derive(Debug, Clone, Default)]
struct RawGlobals {
    /// Does any file have `[Definition]`?
    has_section: bool,
    settings: Options,
    /// `[Thread] stacksize`, which means nothing to us.
    stacksize: Option<String>,
}

/// The settings of `fail2ban.conf` that the server is told, and their defaults.
const GLOBALS: &[(&str, Kind, Option<&str>)] = &[
    ("syslogsocket", Kind::Text, Some("auto")),
    ("loglevel", Kind::Text, Some("INFO")),
    ("logtarget", Kind::Text, Some("/var/log/fail2ban.log")),
    ("allowipv6", Kind::Text, Some("auto")),
    (
        "dbfile",
        Kind::Text,
        Some("/var/lib/fail2ban/fail2ban.sqlite3"),
    ),
    ("dbmaxmatches", Kind::Int, None),
    ("dbpurgeage", Kind::Text, Some("1d")),
];

impl Loaded {
    /// Would `fail2ban-client -t` be satisfied?
    pub fn is_clean(&self) -> bool {
        self.errors.iter().all(ConfigError::is_warning)
    }
}

/// Reads a tree: all enabled jails.
pub fn load(roots: &Roots) -> Loaded {
    Loader::new(roots).load()
}

/// Reads our own folder: as [`load`] does, but what fail2ban would pass over in silence is
/// an error, or a warning.
pub fn load_strictly(roots: &Roots) -> Loaded {
    let mut loader = Loader::new(roots);
    loader.is_strict = true;
    loader.load()
}

/// The options of a backend (`systemd[namespace=x]`), by name; none if it has none, or
/// if they cannot be read.
pub fn backend_options(backend: &str) -> Vec<(String, String)> {
    let given = options::parse(backend.trim()).map(|(_, given)| given);
    let given = given.unwrap_or_default();
    let own = |(name, value): (&str, &String)| (name.to_owned(), value.clone());
    given.iter().map(own).collect()
}

/// Reads a filter by itself. `entry` is `name[option=value]`; with a backend that begins
/// with `systemd` it is read for the journal.
///
/// # Errors
/// There is no such filter, or one of its values cannot be read.
pub fn load_filter(roots: &Roots, entry: &str, backend: &str) -> Result<FilterText, ConfigError> {
    let library = Library::new(roots);
    let origin = Origin {
        path: Arc::from(Path::new("filter")),
        line: 0,
    };
    let (values, extra) = jail::read_filter_alone(&library, entry, false, backend, &origin)?;
    typed::filter(&values, &extra, &origin)
}

/// Reads a filter as [`load_filter`] does, and gives the names of fail2ban's options that it
/// sets as well. If it is a `file`, `entry` is `PATH[option=value]`, wherever that is, and
/// what the file includes is looked for beside it; without such a file it is a name all
/// the same.
///
/// # Errors
/// As [`load_filter`].
pub fn load_filter_options(
    roots: &Roots,
    entry: &str,
    file: bool,
) -> Result<(FilterText, Vec<String>), ConfigError> {
    let library = Library::new(roots);
    let origin = Origin {
        path: Arc::from(Path::new("filter")),
        line: 0,
    };
    let (values, extra) = jail::read_filter_alone(&library, entry, file, "auto", &origin)?;
    let names = values.iter().map(|(name, _)| name.to_owned()).collect();
    Ok((typed::filter(&values, &extra, &origin)?, names))
}

/// Splits `name[option=value]` into the name and the options, in their order; `None` if it
/// is not written so.
pub fn split_entry(entry: &str) -> Option<(String, Vec<(String, String)>)> {
    let (name, given) = options::parse(entry).ok()?;
    let given = given
        .iter()
        .map(|(name, value)| (name.to_owned(), value.clone()));
    Some((name, given.collect()))
}

/// One reading of a tree.
struct Loader<'a> {
    library: Library<'a>,
    loaded: Loaded,
    /// Is what fail2ban passes over in silence a mistake?
    is_strict: bool,
}

impl<'a> Loader<'a> {
    fn new(roots: &'a Roots) -> Self {
        Loader {
            library: Library::new(roots),
            loaded: Loaded::default(),
            is_strict: false,
        }
    }

    fn load(mut self) -> Loaded {
        self.load_globals();
        let folder = self.library.roots.folder();
        let Some(tree) = self.library.tree(Path::new("jail")) else {
            let error = ConfigError::new(&folder, 0, ConfigErrorKind::NoJailFile);
            self.loaded.errors.push(error);
            return self.loaded;
        };
        let mut tree = Tree::clone(&tree);
        tree.set_default("fail2ban_version", FAIL2BAN_VERSION);
        tree.set_default("fail2ban_confpath", &folder.to_string_lossy());
        self.loaded.errors.extend(tree.errors.iter().map(
            |(section, error)| match section.as_deref() {
                Some(section) if section != DEFAULT => error.clone().of_jail(section),
                _ => error.clone(),
            },
        ));
        if self.is_strict {
            self.loaded.errors.extend(strict::without_effect(&tree));
        }
        for (name, section) in tree.sections.iter() {
            if name != INCLUDES {
                self.load_jail(&tree, name, &section.origin);
            }
        }
        self.loaded
    }

    fn load_jail(&mut self, tree: &Tree, name: &str, origin: &Origin) {
        match self.read_jail(tree, name, origin) {
            Ok(None) => self.loaded.disabled.push(name.to_owned()),
            Ok(Some(raw)) => {
                let (mut jail, mut errors) = typed::jail(&raw);
                if self.is_strict {
                    errors.extend(strict::values(&raw));
                    jail = jail.filter(|_| errors.iter().all(ConfigError::is_warning));
                }
                for warning in &raw.warnings {
                    self.report(warning.clone());
                }
                self.loaded.jails.extend(jail);
                self.loaded.errors.extend(errors);
                self.loaded.entries.push(Entry::Read(Box::new(raw)));
            }
            Err(error) => {
                let (name, error) = (name.to_owned(), error.of_jail(name));
                self.report(error.clone());
                self.loaded.entries.push(Entry::Refused { name, error });
            }
        }
    }

    /// Adds an error, unless it is known already.
    fn report(&mut self, error: ConfigError) {
        if !self.loaded.errors.contains(&error) {
            self.loaded.errors.push(error);
        }
    }

    fn read_jail(
        &self,
        tree: &Tree,
        name: &str,
        origin: &Origin,
    ) -> Result<Option<RawJail>, ConfigError> {
        if self.is_strict
            && let Some(enabled) = tree.get(name, "enabled")?
        {
            strict::switch("enabled", &enabled)?;
        }
        if !jail::is_enabled(tree, name)? {
            return Ok(None);
        }
        refuse_broken(tree, name, origin)?;
        jail::read(&self.library, tree, name, origin).map(Some)
    }

    fn load_globals(&mut self) {
        let Some(tree) = self.library.tree(Path::new("fail2ban")) else {
            return;
        };
        for (_, error) in &tree.errors {
            self.loaded.errors.push(error.clone());
        }
        const SECTION: &str = "Definition";
        let raw = &mut self.loaded.raw_globals;
        raw.has_section = tree.options(SECTION).is_some();
        let own = tree.options(SECTION).into_iter().flat_map(Options::iter);
        for (option, _) in tree.defaults.iter().chain(own) {
            match tree.get(SECTION, option) {
                Ok(Some(value)) => {
                    let settings = &mut self.loaded.globals.settings;
                    settings.insert(option.to_owned(), value.text.clone());
                    raw.settings.insert(option, value);
                }
                Ok(None) => {}
                Err(error) => self.loaded.errors.push(error),
            }
        }
        if let Ok(Some(stacksize)) = tree.get("Thread", "stacksize") {
            raw.stacksize = Some(stacksize.text);
        }
    }
}

/// Is there an unreadable line in what this jail is made of? A jail does not run on half
/// of its lines: one that is lost from `ignoreip` bans customers.
fn refuse_broken(tree: &Tree, name: &str, origin: &Origin) -> Result<(), ConfigError> {
    for (section, error) in &tree.errors {
        if error.is_warning() {
            continue;
        }
        match section.as_deref() {
            // It has been reported as this jail's error already; that says it best.
            Some(section) if section == name => return Err(error.clone()),
            Some(section) if section != DEFAULT => {}
            _ => {
                return Err(origin.error(ConfigErrorKind::BrokenDefaults {
                    path: error.path.display().to_string(),
                    line: error.line,
                }));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod testing {
    //! Trees for tests.

    /// Writes files into a new folder.
    pub(crate) fn write_tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a temp folder");
        for (name, text) in files {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
            std::fs::write(path, text).expect("a file");
        }
        folder
    }
}

#[cfg(test)]
mod tests;
