//! A filter or an action: its files, and what a jail gives it.
//!
//! Both are files with `[Definition]` and `[Init]`. What a jail writes in brackets goes
//! before `[Init]`, and both are variables for the references in `[Definition]`, as are
//! the jail's own options. Afterwards tags are replaced, over all values together.
//!
//! A filter is read twice: first before its jail's options are known, so that the jail
//! can use `known/failregex`; then again with them. What the first reading took from
//! `[Init]` counts as given in the second, and goes before `[Definition]` there.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use super::interpolate::{Scope, get_anywhere};
use super::options::Given;
use super::tags;
use super::template::{Setting, Template, has};
use super::tree::{Tree, conditional};
use crate::config::error::{ConfigError, Origin};
use crate::config::ini::{Options, Value};

const DEFINITION: &str = "Definition";
const INIT: &str = "Init";

/// The files of a filter or an action, and what is known of its options so far.
#[derive(Debug, Clone)]
pub(super) struct Definition {
    tree: Rc<Tree>,
    template: Template,
    /// What the jail gave in brackets, and then what `[Init]` adds.
    pub(super) given: Options,
    /// The names that the jail gave.
    by_jail: HashSet<String>,
    /// The options of `[Definition]`.
    own: Options,
    /// What goes before the files: the jail's options, and what was given.
    vars: Options,
    /// What tags were found to mean, or that they mean nothing. It outlives a reading, as
    /// in fail2ban: `<maxretry>` in a filter, unknown at first, stays unknown.
    found: RefCell<HashMap<String, Option<Value>>>,
}

impl Definition {
    /// `origin` is the jail's line that gave the options.
    pub(super) fn new(tree: Rc<Tree>, template: Template, given: &Given, origin: &Origin) -> Self {
        let mut options = Options::default();
        for (name, text) in given.iter() {
            let (text, origin) = (text.to_owned(), origin.clone());
            options.insert(name, Value { text, origin });
        }
        Definition {
            tree,
            template,
            by_jail: given.iter().map(|(name, _)| name.to_owned()).collect(),
            given: options,
            own: Options::default(),
            vars: Options::default(),
            found: RefCell::default(),
        }
    }

    /// Gives an option unless it is given, or written in `[Definition]`, already.
    pub(super) fn give_default(&mut self, name: &str, text: &str, origin: &Origin) {
        let given = self
            .given
            .get(name)
            .is_some_and(|value| !value.text.is_empty());
        let own = self.tree.sections.get(DEFINITION);
        if !given && !own.is_some_and(|section| section.options.contains(name)) {
            let (text, origin) = (text.to_owned(), origin.clone());
            self.given.insert(name, Value { text, origin });
        }
    }

    /// Reads the files. `jail`: the jail's options; `all`: options that the template does
    /// not know too.
    pub(super) fn read(&mut self, jail: &[Setting], all: bool) -> Result<(), ConfigError> {
        if let Some((_, error)) = self.tree.errors.iter().find(|(_, e)| !e.is_warning()) {
            return Err(error.clone());
        }
        self.vars = Options::default();
        for setting in jail {
            self.vars.insert(setting.option, shown(setting));
        }
        for (name, value) in self.given.iter() {
            self.vars.insert(name.to_lowercase(), value.clone());
        }
        self.own = Options::default();
        for (option, _) in self.template {
            let scope = Scope::new(&self.tree, DEFINITION).with(&self.vars);
            if !self.vars.contains(option)
                && let Some(value) = scope.get(option)?
            {
                self.own.insert(*option, value);
            }
        }
        self.read_init()?;
        if all {
            self.read_rest()?;
        }
        Ok(())
    }

    /// `[Init]` adds what was not given, and everything once more as `known/…`.
    fn read_init(&mut self) -> Result<(), ConfigError> {
        let Some(init) = self.tree.sections.get(INIT) else {
            return Ok(());
        };
        for (option, _) in init.options.iter() {
            let Some(value) = self.tree.get(INIT, option)? else {
                continue;
            };
            self.given.insert(format!("known/{option}"), value.clone());
            // What the jail gives holds under every condition (so since fail2ban 1.1).
            if conditional(option).is_some_and(|(plain, _)| self.by_jail.contains(plain)) {
                continue;
            }
            if !self.given.contains(option) {
                self.given.insert(option, value);
            }
        }
        Ok(())
    }

    fn read_rest(&mut self) -> Result<(), ConfigError> {
        let Some(section) = self.tree.sections.get(DEFINITION) else {
            return Ok(());
        };
        for (option, _) in section.options.iter() {
            if !self.own.contains(option)
                && let Some(value) = self.tree.get(DEFINITION, option)?
            {
                self.own.insert(option, value);
            }
        }
        Ok(())
    }

    /// All options with their tags replaced, but for the tags in `ignored` and those that
    /// have variants under a condition (which of them counts is known only in a ban).
    pub(super) fn combined(&self, ignored: &[&str]) -> Result<Options, ConfigError> {
        let mut all = self.own.clone();
        for (name, value) in self.given.iter() {
            all.insert(name, value.clone());
        }
        let conditionals = all.iter().filter_map(|(name, _)| conditional(name));
        let mut ignored: HashSet<&str> = ignored.iter().copied().collect();
        ignored.extend(conditionals.map(|(name, _)| name));
        let lookup = |name: &str| {
            if let Some(found) = self.found.borrow().get(name) {
                return Ok(found.clone());
            }
            let found = get_anywhere(&self.tree, DEFINITION, &self.vars, name)?;
            let mut all = self.found.borrow_mut();
            all.insert(name.to_owned(), found.clone());
            Ok(found)
        };
        tags::expand_all(&all, &ignored, &lookup)
    }

    /// What is odd in its files, but does no harm.
    pub(super) fn warnings(&self) -> impl Iterator<Item = ConfigError> {
        let errors = self.tree.errors.iter().map(|(_, error)| error);
        errors.filter(|error| error.is_warning()).cloned()
    }

    /// An option that the template does not know, as `[Definition]` has it.
    pub(super) fn is_own(&self, option: &str) -> bool {
        !has(self.template, option) && self.own.contains(option)
    }
}

/// A jail's option as a variable: fail2ban has read it already, so a boolean is
/// `True` or `False`.
fn shown(setting: &Setting) -> Value {
    use super::template::Scalar;
    let text = match setting.scalar() {
        Scalar::Text(text) => text,
        Scalar::Bool(true) => "True".to_owned(),
        Scalar::Bool(false) => "False".to_owned(),
        Scalar::Int(number) => number.to_string(),
        Scalar::Unreadable => String::new(),
    };
    let origin = setting.value.origin.clone();
    Value { text, origin }
}
