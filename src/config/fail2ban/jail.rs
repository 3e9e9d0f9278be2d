//! One jail as its files have it: options, filter and actions, expanded but still texts.
//!
//! Read in this order, since each step may refer to the one before: `enabled`, `backend`
//! and `filter`; the filter; all options of the jail; the filter again, with them; the
//! actions. The first error ends the jail, and only this jail.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::definition::Definition;
use super::interpolate::Scope;
use super::options::{self, OptionListError};
use super::template::{self, ACTION, FILTER, JAIL, JAIL_FIRST, Scalar, Setting};
use super::tree::{Library, Tree};
use crate::config::error::{ConfigError, ConfigErrorKind, Origin, quoted};
use crate::config::ini::{Options, Value};

/// Tags that stay in an action's commands until the ban: log text (which must never be
/// pasted into a command early), and times that the ban itself sets.
const ACTION_TAGS_KEPT: &[&str] = &[
    "matches",
    "ipmatches",
    "ipjailmatches",
    "timeout",
    "bantime",
];

/// One jail.
#[derive(Debug, Clone)]
pub(super) struct RawJail {
    pub(super) name: String,
    pub(super) origin: Origin,
    /// What the jail sets, in the order of the template.
    pub(super) settings: Vec<Setting>,
    /// What its filter says where the jail does not.
    pub(super) filter: Option<Options>,
    /// Keys that fail2ban does not know, of the filter and of the jail.
    pub(super) extra: Options,
    /// `port` and `protocol`, which mean something to jails of ours only.
    pub(super) port: Result<Option<Value>, ConfigError>,
    pub(super) protocol: Result<Option<Value>, ConfigError>,
    pub(super) actions: Vec<RawAction>,
    /// What is odd in the files of its filter and actions, but does no harm.
    pub(super) warnings: Vec<ConfigError>,
}

/// One action of a jail.
#[derive(Debug, Clone)]
pub(super) struct RawAction {
    /// Its name in this jail; not unique yet.
    pub(super) name: String,
    /// Its file: `action.d/NAME` without ending, or the path of a Python file.
    pub(super) file: PathBuf,
    /// Is it a Python class?
    pub(super) python: bool,
    /// Commands and switches, with their tags replaced.
    pub(super) definition: Vec<(String, Scalar)>,
    /// What was given in brackets and by `[Init]`, as written.
    pub(super) properties: Options,
    pub(super) origin: Origin,
    pub(super) warnings: Vec<ConfigError>,
}

impl RawJail {
    pub(super) fn get(&self, option: &str) -> Option<&Setting> {
        self.settings
            .iter()
            .find(|setting| setting.option == option)
    }
}

/// Is the jail enabled?
pub(super) fn is_enabled(tree: &Tree, name: &str) -> Result<bool, ConfigError> {
    let enabled = tree.get(name, "enabled")?;
    Ok(enabled.is_some_and(|value| template::is_true(&value.text)))
}

/// Reads one jail of `tree`.
pub(super) fn read(
    library: &Library<'_>,
    tree: &Tree,
    name: &str,
    origin: &Origin,
) -> Result<RawJail, ConfigError> {
    let mut first = template::read(JAIL_FIRST, |option| tree.get(name, option))?;
    for (option, text) in [("backend", "auto"), ("filter", "")] {
        give_default(&mut first, option, text, origin);
    }
    let mut filter = read_filter(library, &first)?;
    let mut known = Options::default();
    let mut extra = Options::default();
    if let Some(filter) = &filter {
        let combined = filter.combined(&[])?;
        for (option, value) in combined.iter() {
            if !option.starts_with("known/") {
                known.insert(format!("known/{option}"), value.clone());
            }
        }
        own_extra(filter, &combined, &mut extra);
    }
    let scope = Scope::new(tree, name).with(&known);
    let mut settings = template::read(JAIL, |option| scope.get(option))?;
    give_default(&mut settings, "backend", "auto", origin);
    if let Some(filter) = &mut filter {
        filter.read(&settings, false)?;
    }
    read_extra(tree, name, &scope, &mut extra)?;
    let actions = read_actions(library, name, &settings)?;
    let mut warnings: Vec<ConfigError> = filter.iter().flat_map(Definition::warnings).collect();
    warnings.extend(actions.iter().flat_map(|action| action.warnings.clone()));
    Ok(RawJail {
        name: name.to_owned(),
        origin: origin.clone(),
        port: scope.get("port"),
        protocol: scope.get("protocol"),
        actions,
        warnings,
        filter: filter.map(|filter| filter.combined(&[])).transpose()?,
        settings,
        extra,
    })
}

/// Adds an option that no file sets.
fn give_default(settings: &mut Vec<Setting>, option: &'static str, text: &str, origin: &Origin) {
    if settings.iter().all(|setting| setting.option != option) {
        settings.push(Setting {
            option,
            kind: template::Kind::Text,
            value: Value {
                text: text.to_owned(),
                origin: origin.clone(),
            },
        });
    }
}

fn text_of<'a>(settings: &'a [Setting], option: &str) -> Option<&'a Value> {
    let setting = settings.iter().find(|setting| setting.option == option);
    setting.map(|setting| &setting.value)
}

fn read_filter(
    library: &Library<'_>,
    settings: &[Setting],
) -> Result<Option<Definition>, ConfigError> {
    let Some(wanted) = text_of(settings, "filter").filter(|value| !value.text.is_empty()) else {
        return Ok(None);
    };
    let (name, given) = parse_entry("filter", &wanted.text, &wanted.origin)?;
    let tree = find(library, "filter", &name, &wanted.origin)?;
    first_reading(tree, &given, settings, &wanted.origin).map(Some)
}

fn first_reading(
    tree: Rc<Tree>,
    given: &options::Given,
    settings: &[Setting],
    origin: &Origin,
) -> Result<Definition, ConfigError> {
    let mut filter = Definition::new(tree, FILTER, given, origin);
    let backend = text_of(settings, "backend").map_or("", |value| value.text.as_str());
    let logtype = if backend.starts_with("systemd") {
        "journal"
    } else {
        "file"
    };
    filter.give_default("logtype", logtype, origin);
    filter.read(settings, true)?;
    Ok(filter)
}

/// Reads a filter by itself, for a backend: `name[options]`, where the name is that of a
/// filter or, with `explicit`, the path of a file. Gives its options, and its extra ones.
pub(super) fn read_filter_alone(
    library: &Library<'_>,
    entry: &str,
    explicit: bool,
    backend: &str,
    origin: &Origin,
) -> Result<(Options, Options), ConfigError> {
    let setting = |option: &'static str, text: &str| Setting {
        option,
        kind: template::Kind::Text,
        value: Value {
            text: text.to_owned(),
            origin: origin.clone(),
        },
    };
    let settings = [setting("backend", backend), setting("filter", entry)];
    let (name, given) = parse_entry("filter", entry, origin)?;
    let tree = match explicit.then(|| library.single(Path::new(&name))).flatten() {
        Some(tree) => tree,
        None => find(library, "filter", &name, origin)?,
    };
    let mut filter = first_reading(tree, &given, &settings, origin)?;
    let mut extra = Options::default();
    own_extra(&filter, &filter.combined(&[])?, &mut extra);
    filter.read(&settings, false)?;
    Ok((filter.combined(&[])?, extra))
}

/// The options of a filter that fail2ban does not know, but for its helpers.
fn own_extra(filter: &Definition, combined: &Options, extra: &mut Options) {
    for (option, value) in combined.iter() {
        if filter.is_own(option) && !option.starts_with('_') {
            extra.insert(option, value.clone());
        }
    }
}

/// Splits `name[options]`.
fn parse_entry(
    key: &'static str,
    text: &str,
    origin: &Origin,
) -> Result<(String, options::Given), ConfigError> {
    options::parse(text).map_err(|wrong: OptionListError| {
        origin.error(ConfigErrorKind::OptionList {
            key,
            text: text.to_owned(),
            offset: wrong.offset,
            after: wrong.after,
            found: wrong.found,
        })
    })
}

/// The files of a filter or an action.
fn find(
    library: &Library<'_>,
    key: &'static str,
    name: &str,
    origin: &Origin,
) -> Result<Rc<Tree>, ConfigError> {
    let folder = PathBuf::from(format!("{key}.d"));
    library.tree(&folder.join(name)).ok_or_else(|| {
        let known = library.roots.list(&folder, "conf");
        let stems = known.iter().filter_map(|path| path.file_stem()?.to_str());
        origin.error(ConfigErrorKind::NoSuchFile {
            key,
            name: quoted(name),
            wanted: library
                .roots
                .folder()
                .join(&folder)
                .join(format!("{name}.conf")),
            candidates: similar(name, stems),
        })
    })
}

/// How many look-alikes are offered.
const CANDIDATES_MAX: usize = 3;

/// Names that begin like `name`, or that it begins like.
fn similar<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Vec<String> {
    let start: String = name.chars().take(4).collect::<String>().to_lowercase();
    let alike = known.filter(|known| !start.is_empty() && known.to_lowercase().starts_with(&start));
    alike.take(CANDIDATES_MAX).map(str::to_owned).collect()
}

/// The jail's keys that fail2ban does not know. References in those that only serve as
/// variables (`action_mwl`, `destemail`) may lead nowhere; an error in them is no error.
fn read_extra(
    tree: &Tree,
    name: &str,
    scope: &Scope<'_>,
    extra: &mut Options,
) -> Result<(), ConfigError> {
    let own = tree.options(name);
    let keys = tree
        .defaults
        .iter()
        .chain(own.into_iter().flat_map(Options::iter));
    for (key, _) in keys {
        if template::has(JAIL, key) {
            continue;
        }
        match scope.get(key) {
            Ok(Some(value)) => extra.insert(key, value),
            Ok(None) => {}
            Err(error) if super::OUR_KEYS.contains(&key) => return Err(error),
            Err(_) => {}
        }
    }
    Ok(())
}

fn read_actions(
    library: &Library<'_>,
    jail: &str,
    settings: &[Setting],
) -> Result<Vec<RawAction>, ConfigError> {
    let Some(wanted) = text_of(settings, "action") else {
        return Ok(Vec::new());
    };
    let entries = options::split_entries(&wanted.text);
    let read = |entry: &str| {
        let (name, given) = parse_entry("action", entry.trim(), &wanted.origin)?;
        if name.ends_with(".py") {
            Ok(python_action(library, &name, given, &wanted.origin))
        } else {
            read_action(library, jail, settings, &name, given, &wanted.origin)
        }
    };
    entries.into_iter().map(read).collect()
}

fn python_action(
    library: &Library<'_>,
    file: &str,
    given: options::Given,
    origin: &Origin,
) -> RawAction {
    let mut name = file.strip_suffix(".py").unwrap_or(file).to_owned();
    let mut properties = Options::default();
    for (option, text) in given.iter() {
        if option == "actname" {
            name = text.clone();
            continue;
        }
        let (text, origin) = (text.clone(), origin.clone());
        properties.insert(option, Value { text, origin });
    }
    RawAction {
        name,
        file: library.roots.folder().join("action.d").join(file),
        python: true,
        definition: Vec::new(),
        properties,
        origin: origin.clone(),
        warnings: Vec::new(),
    }
}

fn read_action(
    library: &Library<'_>,
    jail: &str,
    settings: &[Setting],
    file: &str,
    mut given: options::Given,
    origin: &Origin,
) -> Result<RawAction, ConfigError> {
    if !given.contains("name") {
        given.insert("name", jail.to_owned());
    }
    if !given.contains("actname") {
        let name = given.get("name").map_or(jail, String::as_str);
        given.insert("actname", action_name(file, name, jail));
    }
    let tree = find(library, "action", file, origin)?;
    let mut action = Definition::new(tree, ACTION, &given, origin);
    action.read(settings, false)?;
    let combined = action.combined(ACTION_TAGS_KEPT)?;
    let mut definition = Vec::new();
    for (option, value) in combined.iter() {
        let known = ACTION.iter().find(|(name, _)| *name == option);
        if let Some((_, kind)) = known {
            let scalar = template::convert(*kind, &value.text);
            definition.push((option.to_owned(), scalar));
        }
    }
    let mut properties = Options::default();
    for (name, value) in action.given.iter() {
        if !name.starts_with("known/") && !template::has(ACTION, name) {
            properties.insert(name, value.clone());
        }
    }
    Ok(RawAction {
        name: given.get("actname").cloned().unwrap_or_default(),
        file: Path::new("action.d").join(file),
        python: false,
        definition,
        properties,
        origin: origin.clone(),
        warnings: action.warnings().collect(),
    })
}

/// The name of an action: its file's, and what `name` has that the jail's has not.
fn action_name(file: &str, name: &str, jail: &str) -> String {
    if name == jail {
        return file.to_owned();
    }
    match name.strip_prefix(jail) {
        Some(rest) => format!("{file}{rest}"),
        None => format!("{file}-{name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_actions() {
        for (name, expected) in [("tf", "ta"), ("tf-two", "ta-two"), ("x", "ta-x")] {
            assert_eq!(action_name("ta", name, "tf"), expected, "{name}");
        }
    }

    #[test]
    fn look_alikes() {
        let known = ["asterisk", "apache-auth", "sshd"];
        assert_eq!(similar("asterisk2", known.into_iter()), ["asterisk"]);
        assert!(similar("", known.into_iter()).is_empty());
    }
}
