//! Which actions of a tree are fail2ban's stock ones, known by what they do.
//!
//! An action's commands are played in a model of the firewall: start, ban, unban, check,
//! flush and stop. If the ban is one entry more, the unban takes exactly it away, and
//! the stop leaves nothing, then what stood there is a [`Layout`], and ringfence makes the
//! same by its own means. Names of files do not count, nor does how it is written: any
//! release's text passes that does the same, and an edited one that does not is refused
//! with the command that differs.
//!
//! Absent: running anything, and actions that do something else.

mod model;
mod places;
mod shell;

use crate::action::Family;
use crate::action::stock::{ChainLayout, Kind, Layout, Rule, SetLayout, TableLayout, Timeouts};
use crate::addr::Addr;

use super::fail2ban::ActionText;
use model::Model;
pub(super) use places::Places;
use shell::Strange;

/// Commands that no stock ban action has.
const FOREIGN: [&str; 4] = [
    "actionreban",
    "actionprolong",
    "actionreload",
    "actionrepair",
];

/// How often a tag in a tag is followed.
const TAG_DEPTH_MAX: u32 = 16;

/// How long a command may become.
const COMMAND_BYTES_MAX: usize = 16 * 1024;

/// The ban time that commands are played with; no stock action has it as its own.
const BANTIME_PLAYED: u32 = 86_399;

/// Whom the played commands ban: documentation's addresses, which nobody has.
fn played(family: Family) -> Addr {
    let text = match family {
        Family::V4 => "192.0.2.1",
        Family::V6 => "2001:db8::1",
    };
    #[allow(clippy::expect_used)] // a constant
    text.parse().expect("an address")
}

/// What an action does, for each family that it can ban.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Recognised {
    pub(super) layouts: Vec<Layout>,
    /// Why it cannot ban addresses of IPv6, if it cannot.
    pub(super) doubt: Option<String>,
}

/// Is this a stock action, by what it does?
///
/// # Errors
/// It is not: where, and what it has that a stock action has not.
pub(super) fn recognise(action: &ActionText) -> Result<Recognised, String> {
    if action.python {
        return Err("it is a program in Python".to_owned());
    }
    let get = |name: &str| action.properties.get(name).map_or("", |text| text.trim());
    if let Some(name) = FOREIGN.into_iter().find(|name| !get(name).is_empty()) {
        return Err(format!("it has an {name}, and no stock action has"));
    }
    if get("norestored") == "true" {
        return Err("it has norestored = true, and no stock ban action has".to_owned());
    }
    let four = layout(action, Family::V4)?;
    let (six, doubt) = match layout(action, Family::V6) {
        Ok(layout) => (Some(layout), None),
        Err(why) => (None, Some(why)),
    };
    Ok(Recognised {
        layouts: [four].into_iter().chain(six).collect(),
        doubt,
    })
}

fn layout(action: &ActionText, family: Family) -> Result<Layout, String> {
    let played = Played { action, family };
    let none = Model::new(family);
    let started = played.after(&none, "actionstart")?;
    let banned = played.after(&started, "actionban")?;
    let unbanned = played.after(&banned, "actionunban")?;
    if unbanned != started {
        return Err("its actionunban does not undo its actionban".to_owned());
    }
    if played.after(&started, "actioncheck")? != started {
        return Err("its actioncheck changes something".to_owned());
    }
    let mut flushed = unbanned;
    if !played.command("actionflush")?.is_empty() {
        flushed = played.after(&banned, "actionflush")?;
        // It may take more than the bans away: all that follows is the stop.
        if flushed != played.after(&started, "actionflush")? {
            return Err("its actionflush does not undo its actionban".to_owned());
        }
    }
    if played.after(&flushed, "actionstop")? != none {
        return Err("its actionstop leaves something behind".to_owned());
    }
    let addr = self::played(family);
    let kind = read_chain(&started, &banned, addr)
        .or_else(|| read_set(&started, &banned, addr))
        .or_else(|| read_table(&started, &banned, addr));
    match kind {
        Some(kind) => Ok(Layout { family, kind }),
        None => Err("it bans in another way than stock actions do".to_owned()),
    }
}

/// The commands of an action, for one family.
struct Played<'a> {
    action: &'a ActionText,
    family: Family,
}

impl Played<'_> {
    /// What stands there after a command.
    fn after(&self, before: &Model, command: &str) -> Result<Model, String> {
        let mut model = before.clone();
        let text = self.command(command)?;
        match shell::play(&text, &mut model) {
            Ok(true) => Ok(model),
            Ok(false) => Err(format!("its {command} would fail")),
            Err(Strange(why)) => Err(format!("in its {command}: {why}")),
        }
    }

    /// A command with its tags replaced.
    fn command(&self, name: &str) -> Result<String, String> {
        let text = self.property(name).unwrap_or_default();
        let text = self.expand(text, 0);
        text.map(|text| text.trim().to_owned())
            .map_err(|why| format!("in its {name}: {why}"))
    }

    fn property(&self, name: &str) -> Option<&str> {
        let family = match self.family {
            Family::V4 => "inet4",
            Family::V6 => "inet6",
        };
        let properties = &self.action.properties;
        let own = properties.get(&format!("{name}?family={family}"));
        own.or_else(|| properties.get(name)).map(String::as_str)
    }

    fn expand(&self, text: &str, depth: u32) -> Result<String, String> {
        if depth > TAG_DEPTH_MAX {
            return Err("its tags lead in a circle".to_owned());
        }
        let mut expanded = String::new();
        let mut rest = text;
        while let Some((before, behind)) = rest.split_once('<') {
            expanded += before;
            let Some((name, behind)) = behind.split_once('>') else {
                return Err("it has a `<` that begins no tag".to_owned());
            };
            expanded += &match name {
                "ip" => played(self.family).to_string(),
                "bantime" => BANTIME_PLAYED.to_string(),
                "sp" => " ".to_owned(),
                "br" => "\n".to_owned(),
                _ => match self.property(name) {
                    Some(text) => self.expand(text, depth + 1)?,
                    None => return Err(format!("the tag <{name}> is not in stock actions")),
                },
            };
            rest = behind;
            if expanded.len() + rest.len() > COMMAND_BYTES_MAX {
                return Err("it is too long".to_owned());
            }
        }
        Ok(expanded + rest)
    }
}

/// A rule for each address, in a chain of its own.
fn read_chain(started: &Model, banned: &Model, addr: Addr) -> Option<Kind> {
    if banned.ipset != started.ipset || banned.nft != started.nft {
        return None;
    }
    let is_bare = started.ipset.sets.is_empty() && started.nft.tables.is_empty();
    let chains = &started.iptables.chains;
    let mut own = chains.iter().filter(|(_, chain)| chain.own);
    let ((table, name), chain) = own.next().filter(|_| is_bare)?;
    let jumps = jumps(started, table, &["-j", name])?;
    if own.next().is_some() || jumps.is_empty() {
        return None;
    }
    let (rule, rest) = match &banned
        .iptables
        .chains
        .get(&(table.clone(), name.clone()))?
        .rules[..]
    {
        [rule, rest @ ..] => (rule, rest),
        [] => return None,
    };
    let target = match &rule[..] {
        [flag, source, target @ ..] if flag == "-s" && *source == addr.to_string() => target,
        _ => return None,
    };
    (rest == chain.rules).then(|| {
        Kind::Chain(ChainLayout {
            table: table.clone(),
            chain: name.clone(),
            rules: chain.rules.clone(),
            jumps,
            target: target.to_vec(),
        })
    })
}

/// A set, and rules that look into it.
fn read_set(started: &Model, banned: &Model, addr: Addr) -> Option<Kind> {
    if banned.iptables != started.iptables || banned.nft != started.nft {
        return None;
    }
    let mut sets = started.ipset.sets.iter();
    let (name, set) = sets.next().filter(|_| started.nft.tables.is_empty())?;
    let timeout = *banned.ipset.sets.get(name)?.entries.get(&addr)?;
    let timeouts = match timeout {
        None => Timeouts::None,
        Some(BANTIME_PLAYED) => Timeouts::Ban,
        Some(secs) => Timeouts::Always(secs),
    };
    let jumps = jumps(started, "filter", &["--match-set", name, "src"])?;
    let is_alone = sets.next().is_none() && !jumps.is_empty();
    is_alone.then(|| {
        Kind::Set(SetLayout {
            name: name.clone(),
            made: set.made.clone(),
            timeouts,
            jumps,
        })
    })
}

/// Rules in chains of others, in the order in which they are put on top; `None` if there
/// are any without `wanted`.
fn jumps(model: &Model, table: &str, wanted: &[&str]) -> Option<Vec<Rule>> {
    let mut jumps = Vec::new();
    for ((of, chain), content) in &model.iptables.chains {
        if content.own {
            continue;
        }
        for words in content.rules.iter().rev() {
            let has = |window: &[String]| window.iter().eq(wanted.iter());
            if of != table || !words.windows(wanted.len()).any(has) {
                return None;
            }
            jumps.push(Rule {
                chain: chain.clone(),
                words: words.clone(),
            });
        }
    }
    Some(jumps)
}

/// A set in a table of nftables', and rules that look into it.
fn read_table(started: &Model, banned: &Model, addr: Addr) -> Option<Kind> {
    let is_bare = started.iptables.chains.is_empty() && started.ipset.sets.is_empty();
    let mut tables = started.nft.tables.iter();
    let (key, table) = tables.next().filter(|_| is_bare)?;
    let (mut chains, mut sets) = (table.chains.iter(), table.sets.iter());
    let ((chain, content), (set, made)) = (chains.next()?, sets.next()?);
    let reference = format!("@{set}");
    let is_ours = |rule: &String| rule.split(' ').any(|word| word == reference);
    let is_alone = tables.next().is_none()
        && chains.next().is_none()
        && sets.next().is_none()
        && !content.rules.is_empty()
        && content.rules.values().all(is_ours);
    let is_banned = banned
        .nft
        .tables
        .get(key)?
        .sets
        .get(set)?
        .entries
        .contains(&addr);
    (is_alone && is_banned).then(|| {
        Kind::Table(TableLayout {
            table: format!("{} {}", key.0, key.1),
            chain: chain.clone(),
            chain_made: content.made.clone(),
            set: set.clone(),
            set_made: made.made.clone(),
            rules: content.rules.values().cloned().collect(),
        })
    })
}

#[cfg(test)]
mod tests;
