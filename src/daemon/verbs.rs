//! Our own verbs on the control socket, and what they answer. These are the
//! shapes of `--json`: times are seconds since 1970, durations are seconds.

use serde::{Deserialize, Serialize};

use super::protected::Known;
use crate::filter::lines::Doubt;
use crate::filter::near::NearMiss;
use crate::ticket::{Ban, JailName};

/// What an operator asks of the daemon.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "snake_case", deny_unknown_fields)]
pub enum Verb {
    /// How is everything?
    Status,
    /// Ban an address.
    Ban {
        /// An address or a prefix.
        addr: String,
        /// The jail that holds it, if not the operators' own.
        jail: Option<String>,
        /// For how long, in seconds, if not for the jail's time.
        secs: Option<u64>,
    },
    /// Who is banned? A page of it.
    Bans {
        /// By this jail, if not by any.
        jail: Option<String>,
        /// Behind this place; null is from the beginning.
        after: Option<Place>,
    },
    /// Why is an address held off, or not?
    Why {
        /// An address or a prefix.
        addr: String,
        /// Leave out what is other tenants'?
        for_customer: bool,
    },
    /// Lift the bans on an address.
    Unban {
        /// An address or a prefix.
        addr: String,
    },
    /// Read the configuration again.
    Reload,
    /// Take the rules away, and end.
    Stop {
        /// The sets too.
        #[serde(default)]
        purge: bool,
    },
    /// Lift every drop for so long.
    Pause {
        /// In seconds.
        secs: u64,
    },
    /// End a pause.
    Resume,
    /// Which objects are in the kernel, and how are they?
    Firewall,
    /// Put back what is missing in the kernel, and all that is in force, now.
    Repair,
    /// How is APIBAN?
    ApibanStatus,
    /// What does APIBAN say of an address?
    ApibanCheck {
        /// One address.
        addr: String,
    },
}

/// A ban, as it is shown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BanShown {
    /// The address or prefix.
    pub addr: String,
    /// The jail that holds it.
    pub jail: String,
    /// Since when.
    pub since: i64,
    /// Until when; null is for ever.
    pub until: Option<i64>,
    /// `maxretry`, `apiban`, `operator`, `hints`, `scan`, `throttled` or `aggregate`.
    pub reason: String,
    /// The tries that convicted.
    pub tries: u32,
}

impl From<&Ban> for BanShown {
    fn from(ban: &Ban) -> Self {
        BanShown {
            addr: ban.addr.to_string(),
            jail: ban.jail.to_string(),
            since: ban.since.as_secs(),
            until: ban.until.map(|until| until.as_secs()),
            reason: ban.reason.word().to_owned(),
            tries: ban.tries,
        }
    }
}

/// A place in the list of all bans, which stands in the order of jails and addresses.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Place {
    /// The jail.
    pub jail: String,
    /// The address or prefix.
    pub addr: String,
}

/// The answer to [`Verb::Bans`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BansPage {
    /// Bans in force.
    pub bans: Vec<BanShown>,
    /// Behind which place there may be more; null if these were the last.
    pub next: Option<Place>,
}

/// A followed log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LogShown {
    /// Its path.
    pub path: String,
    /// How it is, in words.
    pub state: String,
    /// Is it being read?
    pub followed: bool,
    /// The first byte not read yet.
    pub offset: u64,
    /// Its size in bytes.
    pub size: u64,
    /// How many of its lines were longer than is read, and blame nobody.
    #[serde(default)]
    pub lines_cut: u64,
    /// How many times its lines told since the start that messages were lost before they
    /// came into it.
    pub loss_reports: u64,
    /// How many messages are known to be lost so.
    pub messages_lost: u64,
    /// Lines that look like failures and match no pattern.
    #[serde(default)]
    pub near_misses: Vec<NearMissShown>,
    /// The jails that doubt it, since senders can write lines of their own into it.
    #[serde(default)]
    pub doubts: Vec<DoubtShown>,
}

/// A jail that doubts a log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DoubtShown {
    /// The jail.
    pub jail: String,
    /// How many lines blamed nobody since a sender may have written them.
    pub disbelieved: u64,
    /// What mends it.
    pub remedy: String,
}

impl From<&Doubt> for DoubtShown {
    fn from(doubt: &Doubt) -> DoubtShown {
        DoubtShown {
            jail: doubt.jail.to_string(),
            disbelieved: doubt.disbelieved,
            remedy: doubt.remedy.to_string(),
        }
    }
}

/// Lines of one shape that look like failures and match no pattern of a jail.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NearMissShown {
    /// The jail.
    pub jail: String,
    /// How such a line begins, what varies masked.
    pub shape: String,
    /// How many there were since the start, or since the configuration was read again.
    pub count: u64,
    /// The first of them, cut.
    pub sample: String,
    /// What mends it, if a pattern knows these lines, but they have more than one reading or
    /// break off, so that they blame nobody.
    #[serde(default)]
    pub remedy: Option<String>,
}

impl From<&(JailName, NearMiss)> for NearMissShown {
    fn from((jail, miss): &(JailName, NearMiss)) -> NearMissShown {
        NearMissShown {
            jail: jail.to_string(),
            shape: miss.shape.to_string(),
            count: miss.count,
            sample: miss.sample.to_string(),
            remedy: miss.remedy.as_deref().map(str::to_owned),
        }
    }
}

/// A jail.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JailShown {
    /// Its name.
    pub name: String,
    /// Where its bans are in force: `all ports`, `tcp 22`; `as its actions say` if those are
    /// fail2ban's.
    #[serde(default)]
    pub ports: String,
    /// Offenders under watch now.
    pub failing: usize,
    /// Offenders since the start who were forgotten although their tries still counted, since
    /// too many others fail.
    #[serde(default)]
    pub forgotten_early: u64,
    /// When the last of them was.
    #[serde(default)]
    pub forgotten_last: Option<i64>,
    /// Failures since the start.
    pub failures_total: u64,
    /// Addresses it holds now.
    pub banned: usize,
    /// Where its bans count if it has stock actions of fail2ban's, in words; empty if they
    /// stand in ringfence's own set.
    #[serde(default)]
    pub places: Vec<String>,
    /// The latest of them, newest first, and no more than a screen full.
    pub latest: Vec<BanShown>,
}

/// How APIBAN is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ApibanShown {
    /// Is it used?
    pub on: bool,
    /// How it is, in words; if it is off, why.
    pub summary: String,
    /// Entries of the list in force.
    pub listed: usize,
    /// The feed's own figures.
    pub feed: serde_json::Value,
}

/// Something that an operator must look at.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AlarmShown {
    /// `cracked`, `cracking`, `outage` or `wrong-source`.
    pub kind: String,
    /// When it was raised.
    pub time: i64,
    /// Whom it is about; null is everybody.
    pub addr: Option<String>,
    /// In which jail it came up.
    pub jail: String,
    /// Accounts that were tried: text of the sender's.
    pub accounts: Vec<String>,
    /// Tries, or addresses, that raised it.
    pub count: u32,
    /// It in words.
    pub text: String,
}

/// An address that a log names, and that cannot be who failed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SourceShown {
    /// The address.
    pub addr: String,
    /// The jail in whose log it stands.
    pub jail: String,
    /// Failed tries under its name.
    pub tries: u64,
    /// How often it would have been banned for them.
    pub convictions: u64,
    /// The last of them.
    pub last: i64,
    /// Why it is not banned: `loopback`, `own`, `gateway`, `shared`, `protect` …
    pub why: String,
    /// What mends it.
    pub remedy: String,
}

/// What is known of addresses beside their failures.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StandingShown {
    /// Addresses that are known-good now.
    pub known_good: usize,
    /// Addresses that speak for many.
    pub shared: usize,
    /// Since when everybody fails at once, so that none of them is sanctioned; null if not.
    pub brake_since: Option<i64>,
    /// Alarms since the start.
    pub alarms_total: u64,
    /// The newest alarms, the newest first.
    pub alarms: Vec<AlarmShown>,
    /// Addresses that logs name wrongly.
    pub wrong_sources: Vec<SourceShown>,
}

/// The answer to [`Verb::Status`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Our version.
    pub version: String,
    /// The daemon's process.
    pub pid: u32,
    /// When it was started.
    pub started: i64,
    /// Nothing is done in the kernel.
    pub dry_run: bool,
    /// Where bans go, in words.
    pub firewall: String,
    /// Until when nothing is dropped; null if there is no pause.
    pub paused_until: Option<i64>,
    /// What is missing in the kernel just now; empty if all is well.
    pub firewall_missing: Vec<String>,
    /// What else is wrong with the firewall for longer than a moment: full sets, orders that
    /// the kernel refuses, what could not be put back, what this host lacks.
    #[serde(default)]
    pub firewall_troubles: Vec<String>,
    /// Somebody takes away again what is put back, so that is left off for now; null if not.
    pub firewall_fight: Option<String>,
    /// How often something was put back since the start.
    pub firewall_repairs: u64,
    /// What is wrong with the database; null if all is well.
    pub database_trouble: Option<String>,
    /// Why the database has lost some of what was in force before the start; null if it
    /// has not.
    #[serde(default)]
    pub database_lost: Option<String>,
    /// Administrators who are logged in and are not protected, in words.
    #[serde(default)]
    pub unprotected: Vec<String>,
    /// Bans in force, of all jails.
    pub banned: usize,
    /// Bans laid on since the start.
    pub bans_total: u64,
    /// All jails.
    pub jails: Vec<JailShown>,
    /// Known-good and shared addresses, the brake, and alarms.
    #[serde(default)]
    pub standing: StandingShown,
    /// All followed logs.
    pub logs: Vec<LogShown>,
    /// APIBAN.
    pub apiban: ApibanShown,
    /// Who is never banned.
    pub protected: Vec<Known>,
    /// What is wrong with the configuration.
    pub problems: Vec<String>,
}

/// The answer to [`Verb::Pause`] and [`Verb::Resume`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Paused {
    /// Until when nothing is dropped; null if drops are in force.
    pub until: Option<i64>,
    /// Was there a pause before?
    pub was_paused: bool,
}

/// One kernel set of ours and what has met it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SetShown {
    /// What it is for: `allow`, `throttled`, `apiban`, or a jail's name; of a jail with stock
    /// actions its name and the place, as in `sshd: the chain f2b-sshd (IPv4)`.
    pub set: String,
    /// What its drops are for: `all ports`, `tcp 22`; for the allow set it means nothing.
    #[serde(default)]
    pub ports: String,
    /// How many addresses should be in it.
    pub in_force: usize,
    /// How many entries the kernel has.
    pub entries: usize,
    /// Packets that met them: dropped ones, or let through by the allow set.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// The answer to [`Verb::Firewall`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FirewallShown {
    /// Where bans go, in words.
    pub firewall: String,
    /// All sets.
    pub sets: Vec<SetShown>,
    /// Until when nothing is dropped; null if there is no pause.
    pub paused_until: Option<i64>,
    /// What is missing just now; empty if all is well.
    pub missing: Vec<String>,
    /// See [`Status::firewall_troubles`].
    #[serde(default)]
    pub troubles: Vec<String>,
    /// See [`Status::firewall_fight`].
    pub fight: Option<String>,
    /// See [`Status::firewall_repairs`].
    pub repairs: u64,
}

/// The answer to [`Verb::Unban`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pardoned {
    /// Bans that were lifted.
    pub lifted: Vec<BanShown>,
    /// Wider bans that hold the address still.
    pub wider: Vec<BanShown>,
    /// Addresses of it that were on APIBAN's list, and may come again.
    pub listed: Vec<String>,
}

/// The answer to [`Verb::Reload`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reloaded {
    /// The jails that run now.
    pub jails: Vec<String>,
    /// What is wrong with the configuration, jail by jail.
    pub problems: Vec<String>,
    /// The version that takes over now, if the program was replaced.
    #[serde(default)]
    pub upgrade: Option<String>,
}

/// The verdict if APIBAN is off or says nothing.
pub const NO_ANSWER: &str = "no answer";

/// The answer to [`Verb::ApibanCheck`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Checked {
    /// The address.
    pub addr: String,
    /// `listed`, `not listed` or `no answer`.
    pub verdict: String,
    /// How we know, or why there is no answer, in words.
    pub how: String,
}
