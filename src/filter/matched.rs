//! What a filter found in a line: who failed, when, by which pattern.

use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::net::IpAddr;

use super::Names;
use super::groups::Groups;
use crate::addr::Addr;
use crate::ticket::{Captured, Group, Sight, Trust};
use crate::time::Time;

/// Lines that are kept of one failure. Jails keep five unless told otherwise.
const EVIDENCE_LINES_MAX: usize = 20;

/// Bytes of a line that are kept as evidence.
const EVIDENCE_BYTES_MAX: usize = 512;

/// Groups that are kept of one failure for a command; a pattern has a handful.
const GROUPS_MAX: usize = 64;

/// The longest character in UTF-8.
const CHAR_BYTES_MAX: usize = 4;

/// Something that a filter found.
#[derive(Clone, Debug, PartialEq)]
pub struct Match {
    /// Which failregex hit, counted from 0; sightings are counted behind those.
    pub form: u16,
    /// What it is if it is no failure.
    pub sight: Option<Sight>,
    /// Is it the second line of an attempt that counts once (`<F-TWICE>`)? Then no jail is told.
    pub again: bool,
    /// Is all wanted that was captured?
    pub(super) captures: bool,
    /// The id that the pattern gives by `<F-ID>`; it goes before the host.
    pub id: Option<Box<str>>,
    /// The host that it names. Without id and host the match is pending: a later line
    /// of the same connection may name somebody.
    pub host: Option<Host>,
    /// When.
    pub time: Time,
    /// How sure it is that the host did it: `<F-PROOF>` captured something, in a log that
    /// is not doubted.
    pub trust: Trust,
    /// Does its pattern say that it is no failure by itself? In a connection such a match
    /// is given only where all are asked for; elsewhere fail2ban counts it all the same.
    pub nofail: bool,
    /// What was captured, on this line and on earlier ones of the same connection.
    pub groups: Groups,
    /// All users that the connection named.
    pub users: BTreeSet<Box<str>>,
    /// The lines that report it.
    pub evidence: Evidence,
}

/// The host that a match names.
#[derive(Clone, Debug, PartialEq)]
pub enum Host {
    /// An address or prefix.
    Addr(Addr),
    /// A name that must be looked up first.
    Name(Box<str>),
    /// A text that counts as it is written (`usedns = raw`).
    Raw(Box<str>),
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Addr(addr) => addr.fmt(f),
            Host::Name(name) | Host::Raw(name) => f.write_str(name),
        }
    }
}

/// Why no host can be taken from a match that captured something as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Nobody;

impl Match {
    /// What there is to say besides whom it blames; nothing in most filters.
    pub(super) fn captured(&self) -> Option<Box<Captured>> {
        let host = self.host.as_ref().map(ToString::to_string);
        let other = |id: &&str| host.as_ref().is_some_and(|host| host != id);
        let id = self.id.as_deref().filter(other).map(Box::from);
        if id.is_none() && !self.captures {
            return None;
        }
        let groups = match self.captures {
            true => self.wanted(host.filter(|_| id.is_some())),
            false => Vec::new(),
        };
        Some(Box::new(Captured { id, groups }))
    }

    /// All that was captured, and as fail2ban has it beside: the users of a connection, and
    /// the host where that is not what is counted.
    fn wanted(&self, host: Option<String>) -> Vec<(Box<str>, Group)> {
        let text = |text: &str| Box::from(cut(text, EVIDENCE_BYTES_MAX));
        let cut = |group: &Group| match group {
            Group::Text(whole) => Group::Text(text(whole)),
            Group::List(parts) => {
                let parts = parts.iter().take(GROUPS_MAX);
                Group::List(parts.map(|part| part.as_deref().map(text)).collect())
            }
        };
        let groups = self.groups.iter().take(GROUPS_MAX);
        let mut wanted: Vec<(Box<str>, Group)> = groups
            .map(|(name, group)| (name.into(), cut(group)))
            .collect();
        if !self.users.is_empty() {
            let users = self.users.iter().map(|user| Some(user.clone()));
            wanted.push(("users".into(), cut(&Group::List(users.collect()))));
        }
        wanted.extend(host.map(|host| ("ip".into(), Group::Text(host.into()))));
        wanted
    }

    /// Does it name nobody yet?
    pub fn is_pending(&self) -> bool {
        self.id.is_none() && self.host.is_none()
    }

    /// What the failure is counted for, as text; `None` while it is pending.
    pub fn failure_id(&self) -> Option<String> {
        let host = || self.host.as_ref().map(ToString::to_string);
        self.id.as_deref().map(str::to_owned).or_else(host)
    }

    /// The address or prefix that it blames: its host, else its id if that is one.
    pub fn addr(&self) -> Option<Addr> {
        match &self.host {
            Some(Host::Addr(addr)) => Some(*addr),
            Some(_) => None,
            None => self.id.as_deref()?.parse().ok(),
        }
    }
}

/// Whom the groups name. [`Nobody`] is: what looks like an address and is none
/// (`192.0.2.256`), unless names count as they are written; a prefix that holds
/// everybody; a name where names are of no account.
pub(super) fn host(groups: &Groups, names: Names) -> Result<Option<Host>, Nobody> {
    let address = groups.full("ip4").or_else(|| groups.full("ip6"));
    if let Some(address) = address {
        let Ok(ip) = address.parse::<IpAddr>() else {
            return match names {
                Names::Raw => Ok(Some(Host::Raw(address.into()))),
                Names::Lookup | Names::No => Err(Nobody),
            };
        };
        let addr = match groups.full("cidr") {
            None => Addr::host(ip),
            Some(bits) => match bits.parse() {
                Ok(0) => return Err(Nobody),
                Ok(bits) => Addr::prefix(ip, bits),
                Err(_) => Addr::host(ip),
            },
        };
        return Ok(Some(Host::Addr(addr)));
    }
    match (groups.full("dns"), names) {
        (None, _) => Ok(None),
        (Some(_), Names::No) => Err(Nobody),
        (Some(name), Names::Lookup) => Ok(Some(Host::Name(name.into()))),
        (Some(name), Names::Raw) => Ok(Some(Host::Raw(name.into()))),
    }
}

/// What `<F-ID>` captured, as the id that is counted. Unless names count as they are
/// written, brackets around all of it fall, and an address or prefix is spelled in one way.
pub(super) fn id(text: &str, names: Names) -> Box<str> {
    if names == Names::Raw {
        return text.into();
    }
    let inner = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    let plain = inner.filter(|inner| !inner.is_empty()).unwrap_or(text);
    match plain.parse::<Addr>() {
        Ok(addr) => addr.to_string().into(),
        Err(_) => plain.into(),
    }
}

/// Lines that report a failure: how many, and the last of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    count: u32,
    last: VecDeque<Box<str>>,
}

impl Evidence {
    /// How many lines there were.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// The last lines, oldest first, each cut to a bounded length.
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        self.last.iter().map(|line| &**line)
    }

    /// The same in one text, a newline between them.
    pub(super) fn into_text(mut self) -> Box<str> {
        match self.last.len() {
            1 => self.last.pop_front().unwrap_or_default(),
            _ => self.last.make_contiguous().join("\n").into(),
        }
    }

    pub(super) fn push(&mut self, line: &str) {
        self.keep(cut(line, EVIDENCE_BYTES_MAX).into());
        self.count = self.count.saturating_add(1);
    }

    /// Puts `later` behind these.
    pub(super) fn append(&mut self, later: &Evidence) {
        self.count = self.count.saturating_add(later.count);
        later.last.iter().cloned().for_each(|line| self.keep(line));
    }

    fn keep(&mut self, line: Box<str>) {
        if self.last.len() == EVIDENCE_LINES_MAX {
            self.last.pop_front();
        }
        self.last.push_back(line);
    }
}

/// The first `bytes` bytes of a text, or a few less where a character would be split.
pub(super) fn cut(text: &str, bytes: usize) -> &str {
    let fits = (0..=bytes.min(text.len())).rev();
    fits.take(CHAR_BYTES_MAX)
        .find_map(|end| text.get(..end))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_spelled_in_one_way() {
        for (text, shown) in [
            ("[2001:DB8::2]", "2001:db8::2"),
            ("[::ffff:192.0.2.1]", "192.0.2.1"),
            ("192.0.2.7/24", "192.0.2.0/24"),
            ("[192.0.2.7/32]", "192.0.2.7"),
            ("[192.0.2.1]/24", "[192.0.2.1]/24"),
            ("[[x]]", "[x]"),
            ("[]", "[]"),
            ("[", "["),
        ] {
            assert_eq!(&*id(text, Names::Lookup), shown);
            assert_eq!(&*id(text, Names::Raw), text);
        }
    }
}
