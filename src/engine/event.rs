//! What goes into the engine and what comes out of it: events and effects.

use std::net::IpAddr;

use crate::addr::Addr;
use crate::ban::record::{Place, Record};
use crate::feed::{Command, Page};
use crate::jail::protect::Protected;
use crate::ticket::{
    Alarm, Ban, Failure, JailName, Order, Registration, Set, Sighting, Unanswered, Verdict,
};

/// What happens to the engine.
#[derive(Debug)]
pub enum Event {
    /// A filter found a failure.
    Failure(Failure),
    /// A filter saw something of an address that is no failure.
    Sighting(Sighting),
    /// Registrations that a registrar's store holds now; a reading may be handed in in parts.
    Registered(Vec<Registration>),
    /// Did we open a flow to this address? The answer to [`Effect::AskFlow`].
    Flow(Addr, bool),
    /// To these, and nobody else, we have sent something that is not answered yet. It is told
    /// as long as [`Engine::bans_rest_on_hints`](super::Engine::bans_rest_on_hints).
    Unanswered(Vec<Unanswered>),
    /// Addresses that speak for many are these now: directly connected networks, gateways,
    /// proxies. They are judged by accounts and never banned by a jail of ours.
    Infrastructure(Protected),
    /// All logs were read up to here; all failures before were handed in before.
    Read {
        /// In files.
        places: Vec<Place>,
        /// In journals: names of facts, and cursors.
        cursors: Vec<(String, String)>,
    },
    /// APIBAN answered about an address.
    Answer(IpAddr, Verdict),
    /// A page of APIBAN's list arrived.
    Page(Page),
    /// The kernel holds a page, but for so many refused entries.
    Loaded {
        /// Which page.
        page: u64,
        /// Entries that the kernel did not take.
        refused: usize,
    },
    /// The kernel did not take a page at all.
    LoadFailed {
        /// Which page.
        page: u64,
    },
    /// The kernel did not take a ban.
    Refused {
        /// In which set.
        set: Set,
        /// Whom.
        addr: Addr,
    },
    /// The protected addresses are these now.
    Protect(Protected),
    /// A jail ignores these now: the names among them were looked up again.
    Ignored(JailName, Protected),
    /// The feed wants a fact of its own kept, as JSON.
    Fact(String, String),
    /// All that was written into the logs before the start is read: see
    /// [`Engine::reads_back`](super::Engine::reads_back).
    CaughtUp,
    /// Time has passed.
    Tick,
}

/// What the engine wants done.
#[derive(Debug)]
pub enum Effect {
    /// To the kernel.
    Order(Order),
    /// To the database.
    Record(Record),
    /// To the feed.
    Feed(Command),
    /// Did we open a flow to this address, or into this prefix? A ban that rests on hints
    /// waits for the answer, [`Event::Flow`]; without one it is dropped. Asked only if
    /// [`Engine::flows_can_be_asked`](super::Engine::flows_can_be_asked) was called.
    AskFlow(Addr),
    /// To the log, and one day to our other servers.
    Tell(Tell),
}

/// What people (and one day peers) are told.
#[derive(Clone, Debug, PartialEq)]
pub enum Tell {
    /// A failure was counted.
    Found {
        /// In which jail.
        jail: JailName,
        /// Who failed.
        addr: Addr,
        /// The tries on the account.
        tries: u32,
        /// The tries that are too many.
        maxretry: u32,
    },
    /// A ban was laid on.
    Banned(Ban),
    /// Bans from before the start go on.
    Restored {
        /// Of which jail.
        jail: JailName,
        /// How many.
        bans: usize,
    },
    /// The database has lost bans that the kernel still holds; they go on.
    Adopted {
        /// Of which jail.
        jail: JailName,
        /// How many.
        bans: usize,
    },
    /// A ban has ended, or was lifted.
    Unbanned(Ban),
    /// A banned address still gets through; the order was given again.
    StillSeen(Ban),
    /// A protected or ignored address fails; nothing is done about it.
    Protected {
        /// In which jail.
        jail: JailName,
        /// Who.
        addr: Addr,
    },
    /// The kernel refused this ban, so it is not in force.
    NotInForce(Ban),
    /// A page of the list is in force.
    ListLoaded {
        /// Entries in it.
        entries: usize,
        /// Entries that the kernel refused.
        refused: usize,
        /// Entries left out since they are protected.
        protected: usize,
    },
    /// Something that an operator must look at.
    Alarm(Alarm),
    /// Known-good addresses do not fail all at once any more.
    OutageOver,
    /// They do, but for so long that they are judged again.
    OutageTooLong,
}

/// Why the door stayed shut.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// It is protected; why, the daemon knows.
    #[error("{0} is protected")]
    Protected(Addr),
    /// It is known-good, or speaks for many: no jail of ours cuts it off.
    #[error("{0} is known-good, or shared by many: no jail bans it by itself")]
    Spared(Addr),
    /// It is the whole internet.
    #[error("{0} is everybody; ban a longer prefix")]
    Everybody(Addr),
    /// It is banned already, and for at least as long.
    #[error("{} is banned by jail {} already", .0.addr, .0.jail)]
    Already(Ban),
    /// There is no such jail.
    #[error("there is no jail `{name}`; there are: {}", known.join(", "))]
    NoJail {
        /// What was asked for.
        name: String,
        /// What there is.
        known: Vec<String>,
    },
}

/// May offenders be checked with APIBAN, and which?
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checks {
    /// Are checks made at all?
    pub on: bool,
    /// Also for addresses that are not of the public internet? For laboratories.
    pub accept_reserved: bool,
}
