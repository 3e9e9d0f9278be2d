//! The journals that jails read: one reader for all jails of a journal, on the intake's
//! thread.

use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use tracing::warn;

use super::intake::{LogStatus, looks_on};
use crate::config::{JailConfig, JournalConfig};
use crate::filter::lines::{Attached, Found, Lineup, Mode};
use crate::filter::losses::Losses;
use crate::time::Time;
use crate::watch::journal::{Cursor, Journal, Matches, Query};
use crate::watch::{FileState, FileStatus};

/// How the system's journal is called where logs are shown.
const NAME: &str = "systemd-journal";

/// The names under which cursors are kept begin with this.
pub const CURSOR_FACTS: &str = "journal.cursor.";

/// Where a machine that has a journal has one of these.
const SIGNS: [&str; 3] = [
    "/run/systemd/journal",
    "/run/log/journal",
    "/var/log/journal",
];

/// How journald itself says that it has suppressed messages; nobody else can write these
/// fields together.
const SUPPRESSED: [&str; 2] = [
    "_TRANSPORT=driver",
    "MESSAGE_ID=a596d6fe7bfa4994828e72309e95d61e",
];

/// The fields by which a jail asks for a unit, and for a unit's instances.
const UNIT: &str = "_SYSTEMD_UNIT";
const SLICE: &str = "_SYSTEMD_SLICE";

/// A jail, and what it reads.
type Reading<'a> = (&'a JailConfig, &'a JournalConfig);

/// A cursor as it is kept.
#[derive(Serialize, Deserialize)]
struct Kept {
    journal: String,
    cursor: String,
    received: i64,
}

/// All journals that are followed.
pub struct Journals {
    followed: Vec<Followed>,
    zone: TimeZone,
}

struct Followed {
    name: String,
    query: Query,
    journal: Journal,
    /// What was received before this was there when we came.
    came: Time,
    jails: Vec<Watching>,
    sent: Option<Cursor>,
    /// journald's own entries about losses.
    suppressed: Matches,
    losses: Losses,
}

/// A jail that reads a journal.
struct Watching {
    attached: Attached,
    matches: Matches,
    lineup: Lineup,
}

impl Journals {
    /// Follows what these jails read, behind the cursors of the last run (JSON).
    pub fn new(jails: &[JailConfig], kept: &[String], zone: TimeZone) -> Journals {
        let mut journals = Journals {
            followed: Vec::new(),
            zone,
        };
        let kept = kept
            .iter()
            .filter_map(|json| serde_json::from_str(json).ok());
        journals.follow(jails, kept.collect());
        journals
    }

    /// Follows what these jails read from now on; a journal that stays keeps its place.
    pub fn set_jails(&mut self, jails: &[JailConfig]) {
        let kept = self.followed.iter().filter_map(Followed::kept);
        self.follow(jails, kept.collect());
    }

    fn follow(&mut self, jails: &[JailConfig], kept: Vec<Kept>) {
        let there_is_one = SIGNS.iter().any(|sign| Path::new(sign).is_dir());
        let reads = |jail: &&JailConfig| {
            let journal = jail.journal.as_ref();
            journal.is_some_and(|journal| journal.needed || there_is_one)
        };
        let mut before = std::mem::take(&mut self.followed);
        let mut groups: Vec<(&Vec<String>, Vec<Reading<'_>>)> = Vec::new();
        for jail in jails.iter().filter(reads) {
            let Some(journal) = &jail.journal else {
                continue;
            };
            match groups
                .iter_mut()
                .find(|(known, _)| **known == journal.arguments)
            {
                Some((_, group)) => group.push((jail, journal)),
                None => groups.push((&journal.arguments, vec![(jail, journal)])),
            }
        }
        for (arguments, group) in groups {
            let name = [&[NAME.to_owned()], &arguments[..]].concat().join(" ");
            let suppressed = Matches::parse(&[SUPPRESSED.map(str::to_owned).to_vec()]);
            let suppressed = suppressed.unwrap_or_default();
            let wanted = group.iter().map(|(_, journal)| journal.matches.clone());
            let query = Query {
                arguments: arguments.clone(),
                matches: wanted.chain([suppressed.clone()]).collect(),
            };
            let same = before.iter().position(|known| known.query == query);
            let mut same = same.map(|place| before.swap_remove(place));
            let mut old = same
                .as_mut()
                .map_or_else(Vec::new, |followed| std::mem::take(&mut followed.jails));
            let watching = |(jail, journal): &Reading<'_>| {
                let goes_on = |one: &Watching| looks_on(&one.attached, std::slice::from_ref(*jail));
                let known = old.iter().position(goes_on);
                let attached = jail.attached();
                let lineup = match known.map(|place| old.swap_remove(place).lineup) {
                    Some(mut lineup) => {
                        lineup.replace(vec![attached.clone()]);
                        lineup
                    }
                    None => lineup(attached.clone(), &name, &self.zone),
                };
                Watching {
                    attached,
                    matches: journal.matches.clone(),
                    lineup,
                }
            };
            let jails = group.iter().map(watching).collect();
            if let Some(followed) = same {
                self.followed.push(Followed { jails, ..followed });
                continue;
            }
            let findtime = group.iter().map(|(jail, _)| jail.rules.findtime).max();
            let last = kept
                .iter()
                .find(|kept| kept.journal == name)
                .map(|kept| Cursor {
                    cursor: kept.cursor.clone(),
                    received: Time::from_micros(kept.received),
                });
            let came = Time::now();
            let since = came - findtime.unwrap_or(Duration::ZERO);
            self.followed.push(Followed {
                journal: Journal::new(query.clone(), last, since, Instant::now()),
                name,
                query,
                came,
                jails,
                sent: None,
                suppressed,
                losses: Losses::default(),
            });
        }
    }

    /// Is none followed?
    pub fn is_empty(&self) -> bool {
        self.followed.is_empty()
    }

    /// What can be waited for.
    pub fn fds(&self) -> Vec<BorrowedFd<'_>> {
        let fds = self
            .followed
            .iter()
            .filter_map(|followed| followed.journal.fd());
        fds.collect()
    }

    /// Hands on what the filters find in new entries; says whether there were any, and
    /// whether there may be more.
    pub fn read(&mut self, now: Instant, each: &mut dyn FnMut(Found)) -> (bool, bool) {
        let (mut any, mut more) = (false, false);
        for followed in &mut self.followed {
            let Followed {
                journal,
                came,
                jails,
                name,
                suppressed,
                losses,
                ..
            } = followed;
            more |= journal.read(now, &mut |entry| {
                any = true;
                let is_ours = |one: &Watching| may_be_of(&entry.text, &one.matches);
                let mut lost = Losses::default();
                if suppressed.take(entry)
                    && jails.iter().any(is_ours)
                    && lost.see(entry.text.as_bytes())
                {
                    super::intake::add_losses(Path::new(name), losses, lost);
                }
                let mode = match entry.received < *came {
                    true => Mode::CatchingUp,
                    false => Mode::Live,
                };
                for Watching {
                    matches, lineup, ..
                } in jails.iter_mut()
                {
                    if matches.take(entry) && !entry.cut {
                        lineup.journal(&entry.text, entry.written, mode, Time::now(), &mut *each);
                    }
                }
            });
            if let Some(trouble) = journal.news() {
                warn!(
                    journal = followed.name,
                    "cannot be read: {trouble}; tried again and again"
                );
            }
        }
        (any, more)
    }

    /// Where reading has come to, as facts to be kept: those that have changed.
    pub fn cursors(&mut self) -> Vec<(String, String)> {
        let mut facts = Vec::new();
        for followed in &mut self.followed {
            if followed.journal.cursor() != followed.sent.as_ref()
                && let Some(kept) = followed.kept()
                && let Ok(json) = serde_json::to_string(&kept)
            {
                facts.push((format!("{CURSOR_FACTS}{}", followed.name), json));
                followed.sent = followed.journal.cursor().cloned();
            }
        }
        facts
    }

    /// How each journal is doing, as a log.
    pub fn status(&self) -> Vec<LogStatus> {
        let file = |followed: &Followed| FileStatus {
            path: PathBuf::from(&followed.name),
            state: match followed.journal.trouble() {
                Some(trouble) => FileState::Unreadable(trouble.to_owned()),
                None => FileState::Following,
            },
            offset: 0,
            size: 0,
            lines_cut: 0,
        };
        let status = |followed: &Followed| LogStatus {
            file: file(followed),
            losses: followed.losses,
            missed: followed
                .jails
                .iter()
                .flat_map(|one| one.lineup.near_misses())
                .collect(),
            doubts: followed
                .jails
                .iter()
                .flat_map(|one| one.lineup.doubts())
                .collect(),
        };
        self.followed.iter().map(status).collect()
    }
}

impl Followed {
    fn kept(&self) -> Option<Kept> {
        let Cursor { cursor, received } = self.journal.cursor()?;
        Some(Kept {
            journal: self.name.clone(),
            cursor: cursor.clone(),
            received: received.as_micros(),
        })
    }
}

/// Are these losses (`Suppressed 9 messages from UNIT`) of a unit that somebody asks for?
/// Who asks for no unit may have lost any.
fn may_be_of(text: &str, matches: &Matches) -> bool {
    let unit = text.rsplit(' ').next().unwrap_or_default();
    let instances = |slice: &str| {
        let name = slice.strip_prefix("system-")?.strip_suffix(".slice")?;
        let instance = unit.strip_prefix(name)?;
        Some(instance.starts_with('@'))
    };
    let mut wanted = matches.values(UNIT).chain(matches.values(SLICE)).peekable();
    wanted.peek().is_none()
        || wanted.any(|name| name == unit || instances(name).unwrap_or_default())
}

fn lineup(attached: Attached, journal: &str, zone: &TimeZone) -> Lineup {
    let number = super::intake::number(Path::new(journal));
    Lineup::new(vec![attached], number, zone.clone(), Time::now())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_are_of_a_unit_that_is_read() {
        for (matches, unit, expected) in [
            ("_SYSTEMD_UNIT=kamailio.service", "kamailio.service", true),
            ("_SYSTEMD_UNIT=kamailio.service", "nginx.service", false),
            (
                "_SYSTEMD_UNIT=kamailio.service",
                "kamailio@1.service",
                false,
            ),
            (
                "_SYSTEMD_SLICE=system-kamailio.slice",
                "kamailio@1.service",
                true,
            ),
            (
                "_SYSTEMD_SLICE=system-kamailio.slice",
                "kamailio-exporter.service",
                false,
            ),
            ("_COMM=kamailio", "anything", true),
            ("", "anything", true),
        ] {
            let list: Vec<String> = matches.split_whitespace().map(str::to_owned).collect();
            let parsed = Matches::parse(&[list]).unwrap();
            let text = format!("sip1 systemd-journald[2]: Suppressed 9 messages from {unit}");
            assert_eq!(may_be_of(&text, &parsed), expected, "{matches} {unit}");
        }
    }
}
