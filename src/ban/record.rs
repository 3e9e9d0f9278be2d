//! What is kept: the records that the engine has written down, and what the next start reads
//! of them. Values only; [`store`](super::store) brings them into a file and back.

use std::collections::HashSet;
use std::path::PathBuf;

use super::listed::Listed;
use crate::addr::Addr;
use crate::ticket::{Ban, JailName, KeptStanding, KeptTries, Reason, Testimony};
use crate::time::{BanTime, Time};

/// Offenders whose tries wait to be written: those of a few full windows, some 20 MB.
const TRIES_WAITING_MAX: usize = 4 * 65_536;

/// Where reading of one log stopped: everything before `offset` was judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The path under which it was followed.
    pub path: PathBuf,
    /// Its inode.
    pub inode: u64,
    /// How many of its first bytes the fingerprint covers.
    pub head_len: u8,
    /// The fingerprint of its first bytes, by which a reused inode is told.
    pub head_hash: u64,
    /// The first byte that was not yet judged.
    pub offset: u64,
    /// When it had last been written to, in nanoseconds since 1970.
    pub modified: i64,
    /// The same for fail2ban, of the file that has this name now. Not read back.
    pub mark: Option<Mark>,
}

/// How fail2ban knows a log again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// SHA-1 of its first line with its newline, in hexadecimal.
    pub first_line: String,
    /// The jails that follow it.
    pub jails: Vec<JailName>,
}

/// Where fail2ban stopped reading a log for a jail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignPlace {
    /// Which jail.
    pub jail: JailName,
    /// The path under which it was followed.
    pub path: PathBuf,
    /// As [`Mark::first_line`].
    pub first_line: String,
    /// The first byte that was not yet judged.
    pub offset: u64,
}

/// How far all logs were read, and the tries that those lines left behind: they are
/// written together, so that no line counts twice or not at all after a crash.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reading {
    /// Where reading of each log stopped; what was known before is void.
    pub places: Vec<Place>,
    /// Jails of which all that was known is void.
    pub anew: Vec<JailName>,
    /// Tries that have changed.
    pub tries: Vec<KeptTries>,
    /// Where reading of each journal stopped: facts, by their names.
    pub cursors: Vec<(String, String)>,
}

impl Reading {
    /// Puts what was read before it into one with it: what came later counts. However
    /// long nothing can be written, it stays bounded.
    pub fn after(&mut self, mut before: Reading) {
        before
            .tries
            .retain(|tries| !self.anew.contains(&tries.jail));
        before.tries.append(&mut self.tries);
        before.anew.append(&mut self.anew);
        before.anew.sort_unstable();
        before.anew.dedup();
        let newer = &self.cursors;
        let is_newest =
            |(name, _): &(String, String)| !newer.iter().any(|(other, _)| other == name);
        self.cursors.extend(
            before
                .cursors
                .into_iter()
                .filter(is_newest)
                .collect::<Vec<_>>(),
        );
        (self.tries, self.anew) = (newest(before.tries), before.anew);
    }
}

/// Of each offender what came last, and of all the last ones that there is room for.
fn newest(mut tries: Vec<KeptTries>) -> Vec<KeptTries> {
    let mut known = HashSet::new();
    tries.reverse();
    tries.retain(|tries| known.insert((tries.jail.clone(), tries.addr)));
    tries.truncate(TRIES_WAITING_MAX);
    tries.reverse();
    tries
}

/// One thing to be kept.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    /// A ban, and what convicted.
    Ban {
        /// The ban.
        ban: Ban,
        /// What the log says of it.
        testimony: Testimony,
        /// Which one of this address by this jail it is, as fail2ban counts.
        count: u32,
    },
    /// A ban in force and its count, for a file that may not know it.
    Standing(Ban, u32),
    /// A ban that is written down already lasts longer.
    Prolonged(Ban),
    /// An address was pardoned by a jail: its ban, if there is one, and its past are void.
    Unban {
        /// By which jail it was held.
        jail: JailName,
        /// Whom it held.
        addr: Addr,
    },
    /// An address is pardoned: no jail knows it any more.
    Forget(Addr),
    /// All logs were read up to here, and so the tries stand.
    Read(Reading),
    /// What makes an address known-good or shared.
    Known(KeptStanding),
    /// Entries of the list are in force until then.
    Listed(Vec<(Addr, Time)>),
    /// These jails run, and no others.
    Jails(Vec<JailName>),
    /// A named fact, as JSON: the list's cursor, the times of its requests.
    Fact(String, String),
}

/// A ban as the database has it; its jail's rules say what is left of it.
#[derive(Clone, Debug, PartialEq)]
pub struct OldBan {
    /// The jail that laid it on.
    pub jail: JailName,
    /// Whom it holds.
    pub addr: Addr,
    /// Since when, in whole seconds.
    pub since: Time,
    /// How long it lasts; unknown if a fail2ban before 0.11 wrote it (`-2`).
    pub bantime: Option<BanTime>,
    /// Why.
    pub reason: Reason,
    /// How many tries convicted it.
    pub tries: u32,
}

/// That an address was banned before.
#[derive(Clone, Debug, PartialEq)]
pub struct PastBan {
    /// By which jail.
    pub jail: JailName,
    /// Whom.
    pub addr: Addr,
    /// How often.
    pub count: u32,
    /// Since when the last time, in whole seconds.
    pub latest: Time,
}

/// What the last run left.
#[derive(Debug, Default, PartialEq)]
pub struct Kept {
    /// Bans that have not ended, as far as the database can tell.
    pub bans: Vec<OldBan>,
    /// The newest bans of each address and jail, ended or not, the oldest of them first.
    pub history: Vec<PastBan>,
    /// Where reading stopped.
    pub places: Vec<Place>,
    /// The same by fail2ban's table, which we write with our own; it may have gone on.
    pub foreign: Vec<ForeignPlace>,
    /// The tries that were not too many yet.
    pub tries: Vec<KeptTries>,
    /// What makes addresses known-good or shared, the oldest first.
    pub standings: Vec<KeptStanding>,
    /// Entries of the list that have not expired.
    pub listed: Listed,
}

/// A time as fail2ban writes it: to the nearest second, halves to the even one.
pub fn rounded(time: Time) -> Time {
    Time::from_secs(time.as_secs_f64().round_ties_even() as i64)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::ticket::FormTries;

    /// Tries of 192.0.2.`host`, in so many forms.
    pub(in super::super) fn tries(host: u8, forms: u32) -> KeptTries {
        let form = |form| FormTries {
            form,
            count: 5,
            proven: 2,
            first: Time::from_micros(7),
            last: Time::from_secs(10 * i64::from(form)),
        };
        KeptTries {
            jail: "asterisk".into(),
            addr: format!("192.0.2.{host}").parse().unwrap(),
            forms: (0..forms).map(form).collect(),
        }
    }

    #[test]
    fn readings_are_joined() {
        let reading = |anew: &[&str], tries: &[KeptTries]| Reading {
            places: Vec::new(),
            anew: anew.iter().map(|jail| (*jail).into()).collect(),
            tries: tries.to_vec(),
            cursors: Vec::new(),
        };
        let mut later = reading(&[], &[tries(1, 2)]);
        later.after(reading(&["sshd"], &[tries(1, 1), tries(2, 1)]));
        let expected = reading(&["sshd"], &[tries(2, 1), tries(1, 2)]);
        assert_eq!(later, expected);
        let mut anew = reading(&["asterisk"], &[tries(3, 1)]);
        anew.after(later);
        assert_eq!(anew, reading(&["asterisk", "sshd"], &[tries(3, 1)]));

        let cursors = |all: &[(&str, &str)]| Reading {
            cursors: all
                .iter()
                .map(|(name, at)| ((*name).to_owned(), (*at).to_owned()))
                .collect(),
            ..Reading::default()
        };
        let mut later = cursors(&[("a", "2")]);
        later.after(cursors(&[("a", "1"), ("b", "1")]));
        assert_eq!(later, cursors(&[("a", "2"), ("b", "1")]));
    }
}
