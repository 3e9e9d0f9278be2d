//! Which entries of a journal somebody wants, as `journalmatch` writes it.

use super::Entry;
use super::export::NAME_BYTES_MAX;

/// Which entries somebody wants: groups of fields, of which one group must fit. In a
/// group every field that is named must have one of its values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Matches(Vec<Vec<(String, String)>>);

/// Something that is no match.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("journalmatch: `{0}` is neither FIELD=value nor `+`")]
pub struct MatchError(String);

impl Matches {
    /// Reads fail2ban's lists of words: `FIELD=value` and `+`. Several lists are several
    /// groups; none is every entry.
    ///
    /// # Errors
    /// A word is neither.
    pub fn parse(lists: &[Vec<String>]) -> Result<Matches, MatchError> {
        let mut groups = Vec::new();
        for list in lists {
            for group in list.split(|word| word == "+") {
                let fields: Result<Vec<_>, _> = group.iter().map(|word| field(word)).collect();
                groups.push(fields?);
            }
        }
        // A group without a field asks for nothing in particular.
        groups.retain(|group| !group.is_empty());
        Ok(Matches(groups))
    }

    /// Does it take every entry?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Do both name the same value of the same field?
    pub fn shares(&self, other: &Matches) -> bool {
        let mut fields = self.0.iter().flatten();
        fields.any(|field| other.0.iter().flatten().any(|other| field == other))
    }

    /// Does it want this entry?
    pub fn take(&self, entry: &Entry) -> bool {
        let has = |name: &str, value: &str| {
            let mut fields = entry.fields.iter();
            fields.any(|(known, is)| known == name && is == value)
        };
        let fits = |group: &Vec<(String, String)>| {
            group.iter().all(|(name, _)| {
                let mut same = group.iter().filter(|(other, _)| other == name);
                same.any(|(name, value)| has(name, value))
            })
        };
        self.is_empty() || self.0.iter().any(fits)
    }

    /// The values of this field that it asks for.
    pub fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let fields = self.0.iter().flatten();
        let values = fields.filter(move |(known, _)| known == name);
        values.map(|(_, value)| value.as_str())
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().flatten().map(|(name, _)| name.as_str())
    }
}

fn field(word: &str) -> Result<(String, String), MatchError> {
    let is_name = |name: &str| {
        let letters = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
        !name.is_empty() && name.len() <= NAME_BYTES_MAX && name.bytes().all(letters)
    };
    match word.split_once('=') {
        Some((name, value)) if is_name(name) => Ok((name.to_owned(), value.to_owned())),
        _ => Err(MatchError(word.to_owned())),
    }
}

/// The groups of all matches, in `journalctl`'s words.
pub(super) fn words(matches: &[Matches]) -> Vec<String> {
    let mut groups: Vec<Vec<String>> = Vec::new();
    for group in matches.iter().flat_map(|matches| &matches.0) {
        let group = group
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        if !groups.contains(&group) {
            groups.push(group);
        }
    }
    groups.join(&"+".to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::export::tests::{export, parsed};
    use super::*;

    #[test]
    fn matches_are_fail2bans() {
        let entries = parsed(&[&export()]);
        for (lists, expected) in [
            (vec![], [true, true, true]),
            (vec!["_SYSTEMD_UNIT=kamailio.service"], [true, false, false]),
            (vec!["_COMM=asterisk _COMM=other"], [true, true, false]),
            (vec!["_COMM=other _SYSTEMD_UNIT=sshd.service"], [false; 3]),
            (vec!["_COMM=other + _TRANSPORT=kernel"], [true, false, true]),
            (
                vec!["_COMM=asterisk", "_TRANSPORT=kernel"],
                [false, true, true],
            ),
        ] {
            let words = |list: &&str| list.split(' ').map(str::to_owned).collect();
            let lists: Vec<Vec<String>> = lists.iter().map(words).collect();
            let matches = Matches::parse(&lists).unwrap();
            let taken: Vec<bool> = entries.iter().map(|entry| matches.take(entry)).collect();
            assert_eq!(taken, expected, "{lists:?}");
        }
        for word in ["kamailio", "=x", "_lower=x", "--follow"] {
            let error = Matches::parse(&[vec![word.to_owned()]]).unwrap_err();
            assert_eq!(error, MatchError(word.to_owned()));
        }
    }
}
