//! Configuration: files in, a checked and compiled [`Config`] out.
//!
//! Settings of the daemon come from `ringfence.toml` ([`native`]), jails and filters
//! from fail2ban's dialect ([`fail2ban`]), ours too: they are embedded in the binary,
//! and files in the configuration folder replace what they name. One jail that is
//! wrong never stops the others; what is wrong with it stands in [`Config::problems`].

mod check;
mod database;
pub mod error;
pub mod fail2ban;
pub mod ini;
pub mod jail;
mod judgement;
pub mod native;
mod ports;
mod stock;
mod syslog;
pub mod trunks;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::action::{Reach, Reaches};
use crate::feed;
use crate::filter::{Filter, FilterText, Names};
pub use check::{Checked, JailFinding, check, test_tree};
pub use database::Database;
pub use error::{ConfigError, ConfigErrorKind};
use fail2ban::{Globals, Root, Roots};
use jail::filter_text;
pub use jail::{IGNORE_TAGS, IgnoreCommand, IgnoreConfig, JailConfig, JournalConfig, LogConfig};
use native::{CONFIG_DIR, Settings, SettingsError};
pub(crate) use stock::is_sound;

/// Our own jails and filters, as they stand in the source tree.
static EMBEDDED: &[(&str, &str)] = &[
    ("jail.conf", include_str!("../../config/jail.conf")),
    (
        "filter.d/asterisk.conf",
        include_str!("../../filters/asterisk.conf"),
    ),
    (
        "filter.d/freeswitch.conf",
        include_str!("../../filters/freeswitch.conf"),
    ),
    (
        "filter.d/kamailio.conf",
        include_str!("../../filters/kamailio.conf"),
    ),
    OUR_ACTIONS[0],
    OUR_ACTIONS[1],
];

/// The actions that ban in our own sets, by their names in `action = …`.
const OUR_ACTIONS: [(&str, &str); 2] = [
    (
        "action.d/ringfence.conf",
        include_str!("../../config/ringfence.conf"),
    ),
    (
        "action.d/ringfence-allports.conf",
        include_str!("../../config/ringfence-allports.conf"),
    ),
];

/// Where bans are in force that fail2ban's actions lay on, for people.
pub const PORTS_OF_ACTIONS: &str = "as its actions say";

/// Where fail2ban writes its log unless it is told otherwise.
const LOG_TARGET: &str = "/var/log/fail2ban.log";

/// What lies under a tree of fail2ban's: our actions and nothing else.
static UNDER_TREE: &[(&str, &str)] = &OUR_ACTIONS;

/// Where the configuration lies.
#[derive(Clone, Debug)]
pub struct Location {
    /// Our own folder.
    pub folder: PathBuf,
    /// A tree of fail2ban's, if not the one that the settings name.
    pub tree: Option<PathBuf>,
}

/// All that the daemon is told.
#[derive(Clone, Debug)]
pub struct Config {
    /// The daemon's settings.
    pub settings: Settings,
    /// Where state is kept.
    pub database: Database,
    /// The jails that run.
    pub jails: Vec<JailConfig>,
    /// What is wrong with others, a sentence each with file and line.
    pub problems: Vec<String>,
    /// The jails that are enabled and cannot run.
    pub broken: Vec<String>,
    /// The file into which fail2ban would write its bans, if a tree is given.
    pub ban_log: Option<PathBuf>,
}

/// What a configuration is read for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To ban: a jail whose actions we cannot run cannot run.
    Ban,
    /// To judge and ban nobody, as in a dry run: its actions do not matter.
    Judge,
}

impl Config {
    /// Reads a configuration folder, which need not exist, over what is built in; and a
    /// tree of fail2ban's, if there is one, whose jails run beside ours.
    pub fn load(location: &Location, purpose: Purpose) -> Result<Config, SettingsError> {
        let settings = Settings::load(&location.folder)?;
        let tree = location.tree.clone().or(settings.fail2ban_tree.clone());
        let mut config = Config {
            database: Database::own(&settings),
            settings,
            jails: Vec::new(),
            problems: Vec::new(),
            broken: Vec::new(),
            ban_log: None,
        };
        if location.folder != Path::new(CONFIG_DIR) && !location.folder.is_dir() {
            let folder = location.folder.display();
            config.problems.push(format!(
                "{folder}: there is no such folder; all is as if nothing were configured"
            ));
        }
        let is_tree = false;
        config.read(
            &roots(&location.folder),
            jail::Reader { is_tree, purpose },
            &[],
        );
        if let Some(tree) = tree {
            let ours = std::mem::take(&mut config.jails);
            let is_tree = true;
            let reader = jail::Reader { is_tree, purpose };
            let globals = config.read(&tree_roots(tree), reader, &ours);
            config.database = Database::of_tree(&config.settings, &globals, &mut config.problems);
            let theirs = std::mem::take(&mut config.jails);
            let left = ours
                .into_iter()
                .filter_map(|jail| stood_back(jail, &theirs));
            config.jails = left.chain(theirs.iter().cloned()).collect();
        }
        Ok(config)
    }

    /// The jail of this name.
    pub fn jail(&self, name: &str) -> Option<&JailConfig> {
        let mut jails = self.jails.iter();
        jails.find(|jail| *jail.rules.name == *name)
    }

    /// Where a jail's bans are in force, for people.
    pub fn ports_of(&self, jail: &str) -> String {
        match self.jail(jail) {
            Some(jail) if !jail.stock.is_empty() => PORTS_OF_ACTIONS.to_owned(),
            Some(jail) => jail.reach.to_string(),
            None => Reach::EVERYTHING.to_string(), // an operator's
        }
    }

    /// Adds the jails of a tree, and brings its other settings. Those of `others` have
    /// taken their names.
    fn read(&mut self, roots: &Roots, reader: jail::Reader, others: &[JailConfig]) -> Globals {
        let loaded = match reader.is_tree {
            true => fail2ban::load(roots),
            false => fail2ban::load_strictly(roots),
        };
        if reader.is_tree {
            let log = loaded.globals.get("logtarget").unwrap_or(LOG_TARGET);
            self.ban_log = log.starts_with('/').then(|| PathBuf::from(log));
        }
        // What a jail without an action means is told with the jail.
        let wrong = loaded
            .errors
            .iter()
            .filter(|error| !matches!(*error.kind, ConfigErrorKind::NoAction));
        let wrong: Vec<&ConfigError> = wrong.collect();
        let fatal = wrong.iter().filter(|error| !error.is_warning());
        self.broken
            .extend(fatal.filter_map(|error| error.jail.clone()));
        for wrong in wrong.iter().map(ToString::to_string) {
            // One line of [DEFAULT] is wrong in every jail.
            if !self.problems.contains(&wrong) {
                self.problems.push(wrong);
            }
        }
        let mut places = stock::Places::default();
        for other in others {
            // They have been asked themselves.
            let _taken = places.take(&other.rules.name, &other.stock);
        }
        for text in &loaded.jails {
            let mut doubts = Vec::new();
            let is_taken = |jail: &JailConfig| !jail.built_in && *jail.rules.name == *text.name;
            let jail = match others.iter().any(is_taken) {
                true => Err("our own folder has a jail of that name; rename one"
                    .to_owned()
                    .into()),
                false => reader.jail(text, &mut doubts),
            };
            let jail = jail.and_then(|jail| {
                places.take(&text.name, &jail.stock)?;
                Ok(jail)
            });
            match jail {
                Ok(jail) => self.jails.push(jail),
                Err(problem) => {
                    self.broken.push(text.name.clone());
                    doubts.push(problem);
                }
            }
            self.problems
                .extend(doubts.iter().map(|doubt| doubt.told_of(text)));
        }
        loaded.globals
    }
}

/// What the drops of jails in sets of ours are for, where that is not everything.
pub fn reaches(jails: &[JailConfig]) -> Reaches {
    let narrow = jails.iter().filter(|jail| !jail.reach.is_everything());
    narrow
        .map(|jail| (jail.rules.name.clone(), jail.reach.clone()))
        .collect()
}

/// What is left of a jail of ours beside a tree's: a built-in one makes room for a jail of
/// the same name, and leaves to the tree the logs that it follows.
fn stood_back(mut jail: JailConfig, theirs: &[JailConfig]) -> Option<JailConfig> {
    if !jail.built_in {
        return Some(jail);
    }
    let same_name = |other: &JailConfig| other.rules.name == jail.rules.name;
    let follows = |log: &LogConfig| theirs.iter().any(|other| other.follows(&log.pattern));
    let is_theirs = theirs.iter().any(same_name);
    let logs = jail.logs.len();
    jail.logs.retain(|log| !follows(log));
    // Who follows its log watches that server, whatever else the server writes to.
    let shares = |other: &JailConfig| match (&other.journal, &jail.journal) {
        (Some(theirs), Some(ours)) => theirs.matches.shares(&ours.matches),
        _ => false,
    };
    if jail.logs.len() < logs || theirs.iter().any(shares) {
        jail.journal = None;
    }
    let reads = !jail.logs.is_empty() || jail.journal.is_some();
    (!is_theirs && reads).then_some(jail)
}

/// Our built-in jails and filters, and the folder's `jail.d` and `filter.d` over them.
fn roots(folder: &Path) -> Roots {
    Roots(vec![Root::Embedded(EMBEDDED), Root::Dir(folder.to_owned())])
}

/// A tree of fail2ban's, and our actions under it.
fn tree_roots(tree: PathBuf) -> Roots {
    Roots(vec![Root::Embedded(UNDER_TREE), Root::Dir(tree)])
}

/// The jail that has the filter of this name, the one that follows `log` first; if there is
/// none, one as `[DEFAULT]` has it.
pub fn jail_of_filter(
    folder: &Path,
    config: &Config,
    name: &str,
    log: &str,
) -> Result<JailConfig, String> {
    let have = |jail: &&JailConfig| jail.filter_name == name;
    let jails = config.jails.iter().filter(have);
    if let Some(jail) = jails.max_by_key(|jail| jail.follows(log)) {
        return Ok(jail.clone());
    }
    let filter = filter(folder, name)?;
    // Behind all files of the folder, so that their [DEFAULT] counts and nothing follows it.
    let text = format!("[{name}]\nenabled = true\nfilter = {name}\n");
    let file = ("jail.d/~.conf".to_owned(), text);
    let mut roots = roots(folder);
    roots.0.push(Root::Texts([file].into()));
    let loaded = fail2ban::load(&roots);
    let text = loaded.jails.iter().find(|text| text.name == name);
    let text = text.ok_or_else(|| format!("no jail can be made of filter {name}"))?;
    let reader = jail::Reader {
        is_tree: false,
        purpose: Purpose::Judge,
    };
    let jail = reader.jail(text, &mut Vec::new());
    let jail = jail.map_err(|wrong| wrong.sentence)?;
    Ok(JailConfig {
        filter: Arc::new(filter),
        ..jail
    })
}

/// The filter of this name alone.
pub fn filter(folder: &Path, name: &str) -> Result<Filter, String> {
    let text =
        fail2ban::load_filter(&roots(folder), name, "auto").map_err(|error| error.to_string())?;
    Filter::compile(&filter_text(&text)).map_err(|error| format!("filter {name}: {error}"))
}

/// A filter for `examine`: `entry` is `name[option=value]`, looked for in `tree` if that
/// is given, else among ours and the folder's. `names` goes before what the filter says.
pub fn examined(
    folder: &Path,
    tree: Option<&Path>,
    entry: &str,
    backend: &str,
    names: Option<Names>,
) -> Result<Filter, String> {
    let roots = tree.map_or_else(|| roots(folder), Roots::dir);
    let text = fail2ban::load_filter(&roots, entry, backend).map_err(|error| error.to_string())?;
    let mut text = filter_text(&text);
    text.names = names.unwrap_or(text.names);
    Filter::compile(&text).map_err(|error| format!("filter {entry}: {error}"))
}

/// What the feed is told.
pub fn feed_settings(settings: &Settings) -> Result<feed::Settings, String> {
    let apiban = &settings.apiban;
    let laboratory = feed::Laboratory {
        accept_reserved: apiban.accept_reserved,
        insecure_http: apiban.insecure_http,
    };
    let key = match apiban.enabled {
        true => feed::Key::read(&apiban.key_file),
        false => Err(feed::NoKey::NotConfigured),
    };
    Ok(feed::Settings {
        base_url: feed::BaseUrl::parse(&apiban.url, laboratory)
            .map_err(|error| error.to_string())?,
        set: apiban.set,
        key: key.map(|file| file.key),
        check: apiban.check,
        poll: apiban.poll,
        rate_limit: apiban.rate_limit,
        ca_file: apiban.ca_file.clone(),
        entry_ttl: apiban.entry_ttl,
        max_entries: apiban.max_entries,
        reconcile: apiban.reconcile,
        laboratory,
    })
}

/// Our own jails, as fail2ban's reader understands them: for `check -d`.
pub fn our_texts(folder: &Path) -> fail2ban::Loaded {
    fail2ban::load_strictly(&roots(folder))
}

/// Is there a filter of this name among ours that are built in?
pub fn has_filter(name: &str) -> bool {
    let file = format!("filter.d/{name}.conf");
    EMBEDDED.iter().any(|(path, _)| *path == file)
}

/// The texts of a filter for `regex`, and the names of the options that it sets. `entry` is
/// `name[option=value]`, looked for in `tree` if that is given, else among ours and the
/// folder's; or it is a path, if it is a `file`.
pub fn tested(
    folder: &Path,
    tree: Option<&Path>,
    entry: &str,
    file: bool,
) -> Result<(FilterText, Vec<String>), ConfigError> {
    let roots = tree.map_or_else(|| roots(folder), Roots::dir);
    let (text, names) = fail2ban::load_filter_options(&roots, entry, file)?;
    Ok((filter_text(&text), names))
}
