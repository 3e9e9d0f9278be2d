//! What the stages hand to each other.
//!
//! A line becomes a [`Failure`], a failure may become a [`Ban`], and a ban
//! becomes an [`Order`] to the kernel. Stages know these words and nothing else
//! of each other.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::addr::Addr;
use crate::time::Time;

/// A jail's name, as written in `jail.conf`. Cheap to clone.
pub type JailName = Arc<str>;

/// One failed request, as a filter read it from one line.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    /// The jail whose filter matched.
    pub jail: JailName,
    /// Who failed: a host, or a prefix if the line names one.
    pub addr: Addr,
    /// When, by the line's own date (never in the future).
    pub time: Time,
    /// Which line form: the log and the failregex that hit.
    /// One failed try may write several lines, each of another form.
    pub form: u32,
    /// How sure it is that the address itself sent what the line tells of.
    pub trust: Trust,
    /// Whose account was tried, as the line says it (`<F-USER>`): the sender's own text.
    pub user: Option<Box<str>>,
    /// The lines that tell of it, each cut to a bounded length, a newline between them:
    /// the evidence.
    pub line: Box<str>,
    /// What else it says, if that is of any account.
    pub captured: Option<Box<Captured>>,
}

/// What a line says besides whom it blames.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Captured {
    /// What its failure is counted by, if that is not its address (`<F-ID>`).
    pub id: Option<Box<str>>,
    /// What its pattern captured, by name; nothing unless somebody wants it: fail2ban's
    /// database, or a command.
    pub groups: Vec<(Box<str>, Group)>,
}

/// What one group of a pattern captured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Group {
    /// A text, perhaps empty.
    Text(Box<str>),
    /// The parts that `tuple_…` groups joined; `None` took no part.
    List(Vec<Option<Box<str>>>),
}

impl Group {
    /// Bytes of text in it.
    pub fn len(&self) -> usize {
        match self {
            Group::Text(text) => text.len(),
            Group::List(parts) => parts.iter().flatten().map(|part| part.len()).sum(),
        }
    }

    /// Is there no text in it? A list is one, whatever its parts are.
    pub fn is_empty(&self) -> bool {
        matches!(self, Group::Text(text) if text.is_empty())
    }
}

/// What the log says against an offender: it is written down with the ban.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Testimony {
    /// The last lines that tell of the failures, a newline between them; empty if there
    /// are none.
    pub lines: Box<str>,
    /// What the first of the failures captured, if that is wanted: as in fail2ban, later
    /// ones add nothing.
    pub captured: Option<Box<Captured>>,
}

impl Failure {
    /// What it is counted by, if that is not its address.
    pub fn id(&self) -> Option<&str> {
        self.captured.as_ref()?.id.as_deref()
    }
}

/// The last `count` lines of an evidence.
pub fn last_lines(lines: &str, count: usize) -> &str {
    let Some(before) = count.checked_sub(1) else {
        return "";
    };
    let newline = lines.rmatch_indices('\n').nth(before);
    newline.map_or(lines, |(at, _)| lines.get(at + 1..).unwrap_or_default())
}

/// How sure it is that an address itself sent what a line tells of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Trust {
    /// One packet is enough for the line, and its source can be forged; or the line itself can.
    #[default]
    Hint,
    /// The server saw an answer to what it had sent there (`<F-PROOF>` captured something).
    Proof,
}

/// Something seen of an address that is no failure.
#[derive(Clone, Debug, PartialEq)]
pub struct Sighting {
    /// The jail whose filter saw it.
    pub jail: JailName,
    /// Of whom.
    pub addr: Addr,
    /// When, by the line's own date (never in the future).
    pub time: Time,
    /// What it did.
    pub sight: Sight,
    /// How sure it is that it did.
    pub trust: Trust,
    /// On whose account, as the line says it.
    pub user: Option<Box<str>>,
    /// Which line form: see [`Failure::form`].
    pub form: u32,
}

/// What a [`Sighting`] is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight {
    /// It authenticated (`successregex`).
    Success,
    /// It was asked to authenticate, as everybody is at first (`challengeregex`).
    Challenge,
}

/// A registration that a registrar's own store holds now: a login that worked.
#[derive(Clone, Debug, PartialEq)]
pub struct Registration {
    /// From where.
    pub addr: Addr,
    /// On which account.
    pub user: Box<str>,
    /// When it was made or renewed, if the store says so.
    pub since: Option<Time>,
}

/// Somebody to whom this machine has sent what was not answered yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Unanswered {
    /// To where.
    pub ip: IpAddr,
    /// By TCP?
    pub tcp: bool,
}

/// What an account is known by: its name without the domain. A store writes `1001@pbx` of the
/// account that a log calls `1001`, and the domain in a log line would be whatever the sender
/// wrote into his request.
pub fn account(user: &str) -> &str {
    match user.split_once('@') {
        Some((name, _)) if !name.is_empty() => name,
        _ => user,
    }
}

/// What an operator must look at, since nobody is banned for it.
#[derive(Clone, Debug, PartialEq)]
pub struct Alarm {
    /// What is wrong.
    pub kind: AlarmKind,
    /// When.
    pub time: Time,
    /// Whom it is about; nobody if it is about all.
    pub addr: Option<Addr>,
    /// In which jail it came up.
    pub jail: JailName,
    /// Accounts that were tried, as the lines say it: text of the sender's, bounded.
    pub accounts: Vec<Box<str>>,
    /// How many tries, or addresses, raised it.
    pub count: u32,
}

/// What can be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AlarmKind {
    /// A login worked right after many that did not: the account may be cracked.
    Cracked,
    /// An address that is spared tries accounts as a cracker does.
    Cracking,
    /// Known-good addresses fail all at once: it is us.
    Outage,
    /// The log names a proxy, or this machine, where it should name who failed.
    WrongSource,
}

impl AlarmKind {
    /// The word for logs and JSON.
    pub fn word(self) -> &'static str {
        match self {
            AlarmKind::Cracked => "cracked",
            AlarmKind::Cracking => "cracking",
            AlarmKind::Outage => "outage",
            AlarmKind::WrongSource => "wrong-source",
        }
    }
}

impl fmt::Display for Alarm {
    /// One line. Names of accounts are shown escaped: they are the sender's text.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Alarm { jail, count, .. } = self;
        let whose = |f: &mut fmt::Formatter<'_>| match &self.addr {
            Some(addr) => write!(f, "{addr}"),
            None => f.write_str("somebody"),
        };
        match self.kind {
            AlarmKind::Cracked => {
                f.write_str("a login from ")?;
                whose(f)?;
                write!(f, " worked right after {count} that failed")?;
                accounts(f, "; is the account cracked?", &self.accounts)
            }
            AlarmKind::Cracking => {
                whose(f)?;
                write!(f, " is spared, but fails like a cracker ({count} tries)")?;
                accounts(f, "", &self.accounts)
            }
            AlarmKind::Outage => write!(
                f,
                "{count} known-good addresses fail at once: it seems to be us (the database, \
                 a rollout); none of them is sanctioned until it is over"
            ),
            AlarmKind::WrongSource => {
                f.write_str("the log names ")?;
                whose(f)?;
                write!(
                    f,
                    ", which is never banned, for {count} failed tries: if it is a proxy, who \
                     failed stays hidden"
                )
            }
        }?;
        write!(f, " (jail {jail})")
    }
}

fn accounts(f: &mut fmt::Formatter<'_>, then: &str, accounts: &[Box<str>]) -> fmt::Result {
    for (place, account) in accounts.iter().enumerate() {
        let before = if place == 0 { ", accounts " } else { ", " };
        write!(f, "{before}`{}`", account.escape_debug())?;
    }
    f.write_str(then)
}

/// The tries of an offender in one line form, as a window counts them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FormTries {
    /// Which form: see [`Failure::form`].
    pub form: u32,
    /// How many count.
    pub count: u32,
    /// How many of them are proven: see [`Trust`].
    pub proven: u32,
    /// From when on.
    pub first: Time,
    /// The time of the last.
    pub last: Time,
}

/// The tries of an offender that were not too many yet, for the next run.
#[derive(Clone, Debug, PartialEq)]
pub struct KeptTries {
    /// The jail that counts them.
    pub jail: JailName,
    /// Whose.
    pub addr: Addr,
    /// By line form; none if there is nothing left to count.
    pub forms: Vec<FormTries>,
}

/// What makes an address known-good or shared, for the next run.
#[derive(Clone, Debug, PartialEq)]
pub struct KeptStanding {
    /// Whose.
    pub addr: Addr,
    /// The first login since the last failure.
    pub merit: Option<Time>,
    /// Since when it is known-good.
    pub known: Option<Time>,
    /// Until when it counts as shared.
    pub shared: Option<Time>,
    /// The last login.
    pub last: Time,
    /// Accounts of the last logins, by hash.
    pub accounts: Vec<(u64, Time)>,
}

/// What APIBAN says of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It attacks others too.
    Listed,
    /// It is not on the list now.
    NotListed,
    /// No answer could be had; it decides nothing.
    NoAnswer,
}

/// Why an address was banned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It failed `maxretry` times within `findtime`.
    MaxRetry,
    /// It failed, and APIBAN lists it.
    Listed,
    /// An operator said so.
    Operator,
    /// It failed `maxretry` times, by lines that a forged packet can cause: a short ban.
    Hints,
    /// It was asked to authenticate time after time, and never did: a short ban.
    Scan,
    /// It is known-good or called by us, and failed many times `maxretry`: its signalling is
    /// held back.
    Throttled,
    /// More of its network's hosts than the jail tolerates are banned: a network.
    Crowd,
}

impl Reason {
    /// The word for logs and JSON.
    pub fn word(self) -> &'static str {
        match self {
            Reason::MaxRetry => "maxretry",
            Reason::Listed => "apiban",
            Reason::Operator => "operator",
            Reason::Hints => "hints",
            Reason::Scan => "scan",
            Reason::Throttled => "throttled",
            Reason::Crowd => "aggregate",
        }
    }

    /// Back from the word.
    pub fn from_word(word: &str) -> Option<Self> {
        [
            Reason::MaxRetry,
            Reason::Listed,
            Reason::Operator,
            Reason::Hints,
            Reason::Scan,
            Reason::Throttled,
            Reason::Crowd,
        ]
        .into_iter()
        .find(|reason| reason.word() == word)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// One address held off by one jail.
#[derive(Clone, Debug, PartialEq)]
pub struct Ban {
    /// The jail that holds it.
    pub jail: JailName,
    /// Whom.
    pub addr: Addr,
    /// Since when: the time of the last failure.
    pub since: Time,
    /// Until when; `None` is for ever.
    pub until: Option<Time>,
    /// Why.
    pub reason: Reason,
    /// How many tries convicted it.
    pub tries: u32,
}

/// The longest time-out that the kernel takes for an entry of a set, in seconds
/// (libipset's own ceiling). Longer bans are laid on for this long and renewed.
pub const KERNEL_TIMEOUT_SECS_MAX: u32 = 2_147_483;

/// One entry of a kernel set and how long it stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Whom.
    pub addr: Addr,
    /// Seconds from now, at most [`KERNEL_TIMEOUT_SECS_MAX`]; 0 is until removed.
    pub timeout_secs: u32,
}

impl Entry {
    /// An entry that lasts for `span`, rounded up, and clamped to what the kernel takes.
    pub fn lasting(addr: Addr, span: Duration) -> Self {
        let secs = span
            .as_secs()
            .saturating_add(u64::from(span.subsec_nanos() > 0));
        let timeout_secs = u32::try_from(secs)
            .unwrap_or(u32::MAX)
            .clamp(1, KERNEL_TIMEOUT_SECS_MAX);
        Entry { addr, timeout_secs }
    }
}

/// A set of ours in the kernel. It stands for two: IPv4 and IPv6.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Set {
    /// Addresses that pass whatever any list says.
    Allow,
    /// The bans of one jail.
    Jail(JailName),
    /// Known-good addresses that must be sanctioned: only their SIP signalling is held
    /// back, to a trickle; their media pass.
    Throttled,
    /// APIBAN's list.
    List,
}

impl fmt::Display for Set {
    /// What it is for, in a word: a jail's name is its own.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Set::Allow => "allow",
            Set::Jail(jail) => jail,
            Set::Throttled => "throttled",
            Set::List => "apiban",
        })
    }
}

/// What the firewall is told to do. To do one twice is harmless.
#[derive(Clone, Debug, PartialEq)]
pub enum Order {
    /// Put an entry in, or renew its time-out.
    Block {
        /// Where.
        set: Set,
        /// Whom and for how long.
        entry: Entry,
    },
    /// Take an address out, if it is there.
    Unblock {
        /// Where.
        set: Set,
        /// Whom.
        addr: Addr,
    },
    /// Put many entries in; the outcome is reported under `page`.
    Load {
        /// Where.
        set: Set,
        /// Which page of the feed this was.
        page: u64,
        /// Whom and for how long.
        entries: Arc<[Entry]>,
    },
}
