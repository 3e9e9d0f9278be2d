//! Which actions of a tree are fail2ban's stock ones, known by what they do.
//!
//! An action's commands are played in a model of the firewall: start, ban, unban, check,
//! flush and stop. If the ban is one entry more, the unban takes exactly it away, and
//! the stop leaves nothing, then what stood there is a [`Layout`], if that is all of it:
//! what ringfence makes of the layout is laid into a model too, and the two must be equal,
//! without bans and with one, however long it lasts. Then ringfence does the same by its own
//! means. Names of files do not count, nor does how it is written: any
//! release's text passes that does the same, and an edited one that does not is refused
//! with the command that differs.
//!
//! Absent: running anything, and actions that do something else.

mod model;
mod places;
mod read;
mod shell;

use crate::action::Family;
use crate::action::stock::{Kind, Layout};
use crate::addr::Addr;
use crate::ticket::KERNEL_TIMEOUT_SECS_MAX;
use crate::time::BanTime;

use super::fail2ban::ActionText;
pub(crate) use model::is_sound;
use model::{Ban, Model};
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
const BANTIME_PLAYED: i64 = 86_399;

/// Other times, for which they must do the same: a short one, one that is too long for the
/// kernel, and for ever.
const BANTIMES_PLAYED: [i64; 3] = [60, 3_000_000, -1];

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

/// Is this a stock action of a jail with this ban time, by what it does?
///
/// # Errors
/// It is not: where, and what it has that a stock action has not.
pub(super) fn recognise(action: &ActionText, bantime: BanTime) -> Result<Recognised, String> {
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
    // As far as a set's own time-out goes, which is all that depends on it.
    let bantime = match bantime {
        BanTime::For(span) => i64::try_from(span.as_secs()).unwrap_or_default(),
        BanTime::Forever => 0,
    };
    let bantime = match bantime <= KERNEL_TIMEOUT_SECS_MAX.into() {
        true => bantime,
        false => 0,
    };
    let four = layout(action, Family::V4, bantime)?;
    let (six, doubt) = match layout(action, Family::V6, bantime) {
        Ok(layout) => (Some(layout), None),
        Err(why) => (None, Some(why)),
    };
    Ok(Recognised {
        layouts: [four].into_iter().chain(six).collect(),
        doubt,
    })
}

fn layout(action: &ActionText, family: Family, bantime: i64) -> Result<Layout, String> {
    let played = Played { action, family };
    let none = Model::new(family);
    // The jail's own time is what fail2ban tells all commands but those about a ban.
    let after = |before: &Model, name| played.after(before, name, bantime);
    let started = after(&none, "actionstart")?;
    let addr = self::played(family);
    let secs = BANTIME_PLAYED;
    let banned = played.ban(&started, secs)?;
    let kind = read::kind(&started, &banned, addr, secs);
    let kind = kind.ok_or("it bans in another way than stock actions do")?;
    let layout = Layout { family, kind };
    is_all(&layout, &started)?;
    for secs in [secs, bantime].into_iter().chain(BANTIMES_PLAYED) {
        let banned = played.ban(&started, secs)?;
        let laid = |secs| Model::laid(&layout, Some(Ban { addr, secs }));
        // The kernel keeps no time-out beyond its limit; we clamp, or have it stay for ever.
        let is_beyond = !(0..=KERNEL_TIMEOUT_SECS_MAX.into()).contains(&secs);
        if banned != laid(secs) && !(is_beyond && banned == laid(0)) {
            let place = layout.kind.place();
            return Err(match secs {
                BANTIME_PLAYED => {
                    format!("its actionban bans in more places than {place}, or in another way")
                }
                _ => format!(
                    "what its actionban does depends on the ban's time: for {secs} s it is not \
                     what it is for {BANTIME_PLAYED} s"
                ),
            });
        }
    }
    if after(&started, "actioncheck")? != started {
        return Err("its actioncheck changes something".to_owned());
    }
    let mut flushed = started.clone();
    if !played.command("actionflush", bantime)?.is_empty() {
        flushed = after(&banned, "actionflush")?;
        // It may take more than the bans away: all that follows is the stop.
        if flushed != after(&started, "actionflush")? {
            return Err("its actionflush does not undo its actionban".to_owned());
        }
    }
    if after(&flushed, "actionstop")? != none {
        return Err("its actionstop leaves something behind".to_owned());
    }
    Ok(layout)
}

/// Is the layout all that the action makes at its start?
fn is_all(layout: &Layout, started: &Model) -> Result<(), String> {
    let (jumps, rules) = match &layout.kind {
        Kind::Chain(chain) => (chain.jumps.len(), chain.rules.as_slice()),
        Kind::Set(set) => (set.jumps.len(), [].as_slice()),
        Kind::Table(table) => (table.rules.len(), [].as_slice()),
    };
    if jumps == 0 {
        return Err(format!("no rule of it leads to {}", layout.kind.place()));
    }
    // It would be taken for a ban.
    if rules.iter().flatten().any(|word| word == "-s") {
        return Err("its actionstart puts an address of its own into its chain".to_owned());
    }
    match Model::laid(layout, None) == *started {
        true => Ok(()),
        false => Err(format!(
            "its actionstart does more than to make {} and the rules that lead there",
            layout.kind.place()
        )),
    }
}

/// The commands of an action, for one family.
struct Played<'a> {
    action: &'a ActionText,
    family: Family,
}

impl Played<'_> {
    /// What stands there after a command.
    fn after(&self, before: &Model, command: &str, bantime: i64) -> Result<Model, String> {
        let mut model = before.clone();
        let text = self.command(command, bantime)?;
        let ended = shell::play(&text, &mut model);
        if let Some(chain) = model.iptables.take_asked() {
            return Err(format!(
                "what its {command} does depends on what others have in {chain}"
            ));
        }
        match ended {
            Ok(true) => Ok(model),
            Ok(false) => Err(format!("its {command} would fail")),
            Err(Strange(why)) => Err(format!("in its {command}: {why}")),
        }
    }

    /// What stands there after a ban; its unban must take it away again.
    fn ban(&self, started: &Model, secs: i64) -> Result<Model, String> {
        let blind = |before: &Model, command| {
            let mut before = before.clone();
            before.blind = true;
            let mut after = self.after(&before, command, secs)?;
            after.blind = false;
            Ok::<_, String>(after)
        };
        let banned = blind(started, "actionban")?;
        match blind(&banned, "actionunban")? == *started {
            true => Ok(banned),
            false => Err("its actionunban does not undo its actionban".to_owned()),
        }
    }

    /// A command with its tags replaced.
    fn command(&self, name: &str, bantime: i64) -> Result<String, String> {
        let text = self.property(name).unwrap_or_default();
        let text = self.expand(text, bantime, 0);
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

    fn expand(&self, text: &str, bantime: i64, depth: u32) -> Result<String, String> {
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
                "bantime" => bantime.to_string(),
                "sp" => " ".to_owned(),
                "br" => "\n".to_owned(),
                _ => match self.property(name) {
                    Some(text) => self.expand(text, bantime, depth + 1)?,
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

#[cfg(test)]
mod tests;
