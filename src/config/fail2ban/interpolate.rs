//! References inside values: `%(name)s`, `%(section/name)s`, `%(known/name)s`.
//!
//! A reference is followed when a value is read, never before: a later `[DEFAULT]`
//! changes what earlier lines mean. The value it leads to is taken as written and its
//! own references are followed in the place where the reading began. Names are looked
//! up in the variables given by the reader, then in the section, then in `[DEFAULT]`.
//! `%%` is one `%`.

use super::tree::Tree;
use crate::config::error::{ConfigError, ConfigErrorKind, Origin, quoted};
use crate::config::ini::{DEFAULT, Options, Value};

/// How many levels of references are followed, as in Python's ConfigParser.
pub(super) const DEPTH_MAX: u32 = 10;

/// How long a value may become. The longest real ones are lists of addresses.
const VALUE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// How many references one value may need, its references' own included: ten levels
/// of a hundred references each would keep us busy for years.
const REFERENCES_MAX: u32 = 20_000;

/// The place in which a value is read.
#[derive(Clone, Copy)]
pub(super) struct Scope<'a> {
    tree: &'a Tree,
    section: &'a str,
    vars: Option<&'a Options>,
}

impl<'a> Scope<'a> {
    pub(super) fn new(tree: &'a Tree, section: &'a str) -> Self {
        Scope {
            tree,
            section,
            vars: None,
        }
    }

    /// The same place, with variables that go before everything that the files say.
    pub(super) fn with(mut self, vars: &'a Options) -> Self {
        self.vars = Some(vars);
        self
    }

    /// An option with its references followed; `None` if it is set nowhere, or if there
    /// is no such section.
    pub(super) fn get(&self, option: &str) -> Result<Option<Value>, ConfigError> {
        if self.tree.options(self.section).is_none() {
            return Ok(None);
        }
        let Some(raw) = self.raw(&option.to_lowercase()) else {
            return Ok(None);
        };
        let mut expansion = Expansion {
            scope: self,
            key: option,
            origin: &raw.origin,
            text: String::new(),
            references: 0,
        };
        expansion.follow(&raw.text, 1)?;
        let text = expansion.text;
        let origin = raw.origin.clone();
        Ok(Some(Value { text, origin }))
    }

    /// An option as it is written.
    fn raw(&self, option: &str) -> Option<&'a Value> {
        let given = self.vars.and_then(|vars| vars.get(option));
        let own = || self.tree.options(self.section)?.get(option);
        given
            .or_else(own)
            .or_else(|| self.tree.defaults.get(option))
    }

    /// What a reference leads to, as it is written.
    fn reference(&self, name: &str) -> Option<&'a str> {
        let raw = self.raw(name).or_else(|| self.elsewhere(name));
        match raw {
            Some(value) => Some(&value.text),
            None => (name == "__name__").then_some(self.section),
        }
    }

    /// `section/option`, `known/option` or `default/option`.
    fn elsewhere(&self, name: &str) -> Option<&'a Value> {
        let (section, option) = name.split_once('/')?;
        let own = match section {
            "default" => None,
            "known" => {
                let known = self.tree.known.get(self.section);
                known.and_then(|known| known.get(option))
            }
            _ => named_section(self.tree, section)?.get(option),
        };
        own.or_else(|| self.tree.defaults.get(option))
    }
}

/// A section by its name, whatever the case: references have lost theirs.
fn named_section<'a>(tree: &'a Tree, name: &str) -> Option<&'a Options> {
    tree.options(name).or_else(|| {
        let mut sections = tree.sections.iter();
        let found = sections.find(|(section, _)| section.to_lowercase() == name);
        found.map(|(_, section)| &section.options)
    })
}

/// One value while its references are followed.
struct Expansion<'a, 's> {
    scope: &'s Scope<'a>,
    key: &'s str,
    origin: &'s Origin,
    text: String,
    references: u32,
}

impl Expansion<'_, '_> {
    fn follow(&mut self, raw: &str, depth: u32) -> Result<(), ConfigError> {
        let mut rest = raw;
        while let Some((before, after)) = rest.split_once('%') {
            self.push(before)?;
            if let Some(after) = after.strip_prefix('%') {
                self.push("%")?;
                rest = after;
                continue;
            }
            let reference = after
                .strip_prefix('(')
                .and_then(|after| after.split_once(')'))
                .and_then(|(name, after)| Some((name, after.strip_prefix('s')?)));
            let Some((name, after)) = reference.filter(|(name, _)| !name.is_empty()) else {
                return Err(self.error(ConfigErrorKind::LonePercent {
                    key: self.key.to_owned(),
                    text: quoted(&format!("%{after}")),
                }));
            };
            self.replace(name, depth)?;
            rest = after;
        }
        self.push(rest)
    }

    fn replace(&mut self, name: &str, depth: u32) -> Result<(), ConfigError> {
        let lowered = name.to_lowercase();
        let Some(raw) = self.scope.reference(&lowered) else {
            return Err(self.error(ConfigErrorKind::UnknownReference {
                key: self.key.to_owned(),
                name: quoted(name),
            }));
        };
        self.references += 1;
        if !raw.contains('%') {
            return self.push(raw);
        }
        if depth >= DEPTH_MAX || self.references > REFERENCES_MAX {
            return Err(self.error(ConfigErrorKind::ReferenceDepth {
                key: self.key.to_owned(),
                name: quoted(name),
                depth_max: DEPTH_MAX,
            }));
        }
        self.follow(raw, depth + 1)
    }

    fn push(&mut self, text: &str) -> Result<(), ConfigError> {
        if self.text.len() + text.len() > VALUE_BYTES_MAX {
            return Err(self.error(ConfigErrorKind::ValueTooLong {
                key: self.key.to_owned(),
                bytes_max: VALUE_BYTES_MAX,
            }));
        }
        self.text.push_str(text);
        Ok(())
    }

    fn error(&self, kind: ConfigErrorKind) -> ConfigError {
        self.origin.error(kind)
    }
}

/// An option by a name that may say where to look: `option`, `section/option`,
/// `known/option`. This is how tags look; unlike a reference, the value is read in
/// its own section.
pub(super) fn get_anywhere(
    tree: &Tree,
    section: &str,
    vars: &Options,
    name: &str,
) -> Result<Option<Value>, ConfigError> {
    if let Some((place, option)) = name.split_once('/')
        && place
            .chars()
            .all(|c| c.is_alphanumeric() || c == '_' || c == '-')
        && !place.is_empty()
    {
        let found = match place.to_lowercase().as_str() {
            "known" => known(tree, section, option)?,
            "default" => Scope::new(tree, DEFAULT).get(option)?,
            _ if tree.options(place).is_some() => Scope::new(tree, place).get(option)?,
            _ => None,
        };
        if found.is_some() {
            return Ok(found);
        }
    }
    Scope::new(tree, section).with(vars).get(name)
}

fn known(tree: &Tree, section: &str, option: &str) -> Result<Option<Value>, ConfigError> {
    let option = option.to_lowercase();
    match tree.known.get(section).and_then(|known| known.get(&option)) {
        // The replaced value is read in a section of its own, with the same [DEFAULT].
        Some(value) => {
            let mut vars = tree.known.get(section).cloned().unwrap_or_default();
            vars.insert(option.clone(), value.clone());
            Scope::new(tree, DEFAULT).with(&vars).get(&option)
        }
        None => Scope::new(tree, section).get(&option),
    }
}

#[cfg(test)]
mod tests {
    use crate::config::fail2ban::roots::Roots;
    use crate::config::fail2ban::testing::write_tree;
    use crate::config::fail2ban::tree::Library;
    use std::path::Path;

    #[track_caller]
    fn check(text: &str, rows: &[(&str, &str)]) {
        let folder = write_tree(&[("jail.conf", text), ("jail.local", "[a]\nover = new\n")]);
        let roots = Roots::dir(folder.path());
        let library = Library::new(&roots);
        let tree = library.tree(Path::new("jail")).unwrap();
        for (option, expected) in rows {
            let shown = match tree.get("a", option) {
                Ok(Some(value)) => value.text,
                Ok(None) => "nothing".to_owned(),
                Err(error) => format!("{}: {}", error.line, error.kind),
            };
            assert_eq!(shown, *expected, "{option}");
        }
    }

    #[test]
    fn references() {
        check(
            "[DEFAULT]\nd = default\nlate = %(x)s\nonly = o\n[a]\nx = here\ny = <%(X)s>\nz = %(late)s 5%%\n\
             over = old\nk = %(known/over)s\nkd = %(known/only)s\no = %(b/v)s\nod = %(b/d)s\n\
             dd = %(default/d)s\nn = %(__name__)s\nsec = %(Deep/v)s\n[b]\nv = from b: %(x)s\n[Deep]\nv = 1\n",
            &[
                ("y", "<here>"),
                ("z", "here 5%"),
                ("over", "new"),
                ("k", "old"),
                ("o", "from b: here"),
                ("od", "default"),
                ("dd", "default"),
                ("n", "a"),
                ("sec", "1"),
                ("kd", "o"),
                ("none", "nothing"),
                ("Y", "<here>"),
            ],
        );
    }

    #[test]
    fn errors() {
        check(
            "[a]\nlone = 5% off\nopen = %(x\nunknown = %(nix)s\nself = %(self)s\nempty = %()s\nother = %(nosuch/v)s\n",
            &[
                (
                    "lone",
                    "2: `lone`: `%` in `% off` must be `%%` or begin `%(option)s`",
                ),
                (
                    "open",
                    "3: `open`: `%` in `%(x` must be `%%` or begin `%(option)s`",
                ),
                (
                    "unknown",
                    "4: `unknown` refers to `%(nix)s`, which is set neither in this section nor in [DEFAULT]",
                ),
                (
                    "self",
                    "5: `self` refers to itself, or through more than 10 levels; see `%(self)s`",
                ),
                (
                    "empty",
                    "6: `empty`: `%` in `%()s` must be `%%` or begin `%(option)s`",
                ),
                (
                    "other",
                    "7: `other` refers to `%(nosuch/v)s`, which is set neither in this section nor in [DEFAULT]",
                ),
            ],
        );
    }

    #[test]
    fn growth_is_bounded() {
        let many = |name: &str| format!("%({name})s").repeat(100);
        let mut text = String::from("[a]\nv0 = x\n");
        for level in 1..9 {
            text += &format!("v{level} = {}\n", many(&format!("v{}", level - 1)));
        }
        check(
            &text,
            &[(
                "v8",
                "10: `v8` refers to itself, or through more than 10 levels; see `%(v1)s`",
            )],
        );
    }
}
