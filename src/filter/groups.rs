//! What a pattern captured: groups by name, with fail2ban's rules for joining them.
//!
//! Two kinds of names serve other groups. `alt_user` or `alt_user_2` fill `user` where
//! that is empty; `tuple_user` or `tuple_user_2` are put behind it in a list. A group
//! that took part and is empty is kept, but hides nothing: what is merged over
//! something else must have a text.

use std::collections::BTreeMap;

use super::pattern::{Found, Pattern, PatternError, StepLimit, Steps};
use crate::ticket::Group;

/// Groups that took part in a match, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Groups(BTreeMap<Box<str>, Group>);

impl Groups {
    /// The text of a group; `None` if it took no part or is a list.
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.0.get(name)? {
            Group::Text(text) => Some(text),
            Group::List(_) => None,
        }
    }

    /// The text of a group if it is not empty.
    pub fn full(&self, name: &str) -> Option<&str> {
        self.text(name).filter(|text| !text.is_empty())
    }

    /// All groups, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Group)> {
        self.0.iter().map(|(name, value)| (&**name, value))
    }

    /// Takes a group out; true if it had a text.
    pub(super) fn take_flag(&mut self, name: &str) -> bool {
        self.0.remove(name).is_some_and(|value| !value.is_empty())
    }

    /// Takes a group's text out.
    pub(super) fn take(&mut self, name: &str) -> Option<Box<str>> {
        match self.0.remove(name)? {
            Group::Text(text) => Some(text),
            Group::List(_) => None,
        }
    }

    /// Lays `over` upon these; what is empty in it hides nothing.
    pub(super) fn overlay(&mut self, over: Groups) {
        for (name, value) in over.0 {
            if !value.is_empty() || !self.0.contains_key(&name) {
                self.0.insert(name, value);
            }
        }
    }
}

/// A pattern, and which of its groups serve others.
#[derive(Debug)]
pub(super) struct Form {
    pub(super) pattern: Pattern,
    /// Groups by name, and the group that each fills if that is empty.
    alternates: Vec<(Box<str>, Box<str>)>,
    /// Groups by name, and the list that each is put into.
    tuples: Vec<(Box<str>, Box<str>)>,
}

impl Form {
    pub(super) fn compile(regex: &str, multiline: bool) -> Result<Form, PatternError> {
        let pattern = Pattern::compile(regex, multiline)?;
        let mut names: Vec<&str> = pattern.group_names().collect();
        names.sort_unstable();
        let serving = |prefix: &str| -> Vec<(Box<str>, Box<str>)> {
            let served = |name: &&str| Some(((*name).into(), served(name.strip_prefix(prefix)?)));
            names.iter().filter_map(served).collect()
        };
        Ok(Form {
            alternates: serving("alt_"),
            tuples: serving("tuple_"),
            pattern,
        })
    }

    /// Can it say who failed, by one of the groups `names`?
    pub(super) fn has_any(&self, names: &[&str]) -> bool {
        let mut own = self.pattern.group_names();
        own.any(|name| names.contains(&name))
    }

    pub(super) fn find<'t>(
        &self,
        text: &'t str,
        steps: &mut Steps,
    ) -> Result<Option<Found<'t>>, StepLimit> {
        self.pattern.find_within(text, steps)
    }

    /// The groups of a match of this pattern.
    pub(super) fn groups(&self, found: &Found<'_>) -> Groups {
        let texts = found
            .groups()
            .map(|(name, text)| (Box::from(name), Group::Text(text.into())));
        let mut groups = Groups(texts.collect());
        for (alternate, name) in &self.alternates {
            if groups.full(name).is_none()
                && let Some(text) = groups.full(alternate).map(Box::from)
            {
                groups.0.insert(name.clone(), Group::Text(text));
            }
        }
        for (part, name) in &self.tuples {
            let part = groups.text(part).map(Box::from);
            let list = match groups.0.remove(name) {
                Some(Group::List(mut list)) => {
                    list.push(part);
                    list
                }
                Some(Group::Text(first)) => vec![Some(first), part],
                None => vec![None, part],
            };
            groups.0.insert(name.clone(), Group::List(list));
        }
        groups
    }
}

/// The group that `name` serves, its prefix taken off: without a number behind.
fn served(name: &str) -> Box<str> {
    let numbered = |(name, number): (&'_ str, &str)| {
        let digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| Box::from(name))
    };
    name.rsplit_once('_')
        .and_then(numbered)
        .unwrap_or_else(|| name.into())
}
