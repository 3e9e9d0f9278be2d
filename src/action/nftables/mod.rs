//! nftables: the kernel's nf_tables, spoken to by netlink.
//!
//! One table, `inet ringfence`, with one chain and many sets. A set holds either single
//! addresses or prefixes of one length, so every look-up is one hash, as inside of
//! ipset's `hash:net`. (A set of intervals refuses a prefix inside of another, and bans
//! do overlap.) Entries have counters and time-outs where wanted.
//!
//! What belongs together is one transaction: the kernel does all of it or nothing, and no
//! packet sees a half. `objects` keeps the sets that we need, `rule` the expressions of
//! the chain's rules, `signalling` those of two more chains, for the throttled, and
//! `listed` that of one for who is on the list.
//!
//! Absent here: names (see `name`), and what the sets mean.
//! The numbers are from Linux's `include/uapi/linux/netfilter/nf_tables.h`.

mod listed;
pub(super) mod objects;
mod order;
mod rule;
mod signalling;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rustix::io::Errno;

use super::error::Error;
use super::family::{Family, Kept};
use super::netlink::{
    Attribute, Attributes, Batch, FLAG_APPEND, FLAG_CREATE, FLAG_DUMP, Netlink, Request, Trouble,
};
use crate::addr::Addr;
use crate::ticket::Entry;
use rule::{Fate, Found, Rule};

/// The name of our table. Its family is `inet`: IPv4 and IPv6.
pub const TABLE: &str = "ringfence";

/// The name of our chain.
pub const CHAIN: &str = "prerouting";

/// `NFNL_SUBSYS_NFTABLES`.
const SUBSYSTEM: u8 = 10;

/// `NFPROTO_INET`.
const INET: u8 = 1;

/// `NF_INET_PRE_ROUTING`.
const HOOK: u32 = 0;

/// nft's `priority raw`: before connection tracking.
const PRIORITY: i32 = -300;

/// How many sources a meter remembers; of more than these nothing passes.
const METER_SIZE: u32 = 65_536;

/// A dump during which somebody changed something is asked for again, so many times.
const DUMPS_MAX: usize = 10;

/// Since this version of Linux, to add an entry again renews its time-out.
const RENEWING_LINUX: (u32, u32) = (6, 12);

/// `NFT_MSG_*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Command {
    NewTable = 0,
    GetTable = 1,
    DelTable = 2,
    NewChain = 3,
    GetChain = 4,
    DelChain = 5,
    NewRule = 6,
    GetRule = 7,
    DelRule = 8,
    NewSet = 9,
    GetSet = 10,
    DelSet = 11,
    NewElements = 12,
    GetElements = 13,
    DelElements = 14,
    GetGeneration = 16,
}

impl Command {
    fn kind(self) -> u16 {
        u16::from(SUBSYSTEM) << 8 | self as u16
    }
}

/// `NFTA_GEN_ID`.
const GENERATION_ID: u16 = 1;

/// `NFTA_TABLE_*`.
mod table {
    pub(super) const NAME: u16 = 1;
    pub(super) const FLAGS: u16 = 2;
    /// `NFT_TABLE_F_DORMANT`: nothing in it is looked at.
    pub(super) const DORMANT: u32 = 1;
}

/// `NFTA_CHAIN_*` and `NFTA_HOOK_*`.
mod chain {
    pub(super) const TABLE: u16 = 1;
    pub(super) const NAME: u16 = 3;
    pub(super) const HOOK: u16 = 4;
    pub(super) const POLICY: u16 = 5;
    pub(super) const TYPE: u16 = 7;
    pub(super) const HOOK_NUMBER: u16 = 1;
    pub(super) const HOOK_PRIORITY: u16 = 2;
}

/// `NFTA_SET_*`, of sets.
mod set {
    pub(super) const TABLE: u16 = 1;
    pub(super) const NAME: u16 = 2;
    pub(super) const FLAGS: u16 = 3;
    pub(super) const KEY_TYPE: u16 = 4;
    pub(super) const KEY_BYTES: u16 = 5;
    pub(super) const DESCRIPTION: u16 = 9;
    pub(super) const ID: u16 = 10;
    pub(super) const EXPRESSION: u16 = 17;
    pub(super) const SIZE: u16 = 1;
    pub(super) const TIMEOUT: u16 = 11;
    /// `NFT_SET_EVAL`: rules put entries in.
    pub(super) const IS_METER: u32 = 0x20;
    /// `NFT_SET_TIMEOUT`.
    pub(super) const HAS_TIMEOUTS: u32 = 0x10;
    /// What no set of ours is: anonymous, constant, of intervals, a map, of objects.
    pub(super) const FOREIGN: u32 = 0x1 | 0x2 | 0x4 | 0x8 | 0x40;
}

/// `NFTA_SET_ELEM_*` and `NFTA_SET_ELEM_LIST_*`.
mod element {
    pub(super) const TABLE: u16 = 1;
    pub(super) const SET: u16 = 2;
    pub(super) const ELEMENTS: u16 = 3;
    pub(super) const KEY: u16 = 1;
    pub(super) const TIMEOUT: u16 = 4;
    pub(super) const EXPIRATION: u16 = 5;
    pub(super) const EXPRESSION: u16 = 7;
    pub(super) const EXPRESSIONS: u16 = 11;
    pub(super) const COUNTER_BYTES: u16 = 1;
    pub(super) const COUNTER_PACKETS: u16 = 2;
}

/// `NFTA_LIST_ELEM`: one of many.
const LIST_ELEMENT: u16 = 1;

/// `NFTA_DATA_VALUE`.
const DATA_VALUE: u16 = 1;

/// Error numbers that mean something to us.
pub(super) mod code {
    pub(super) const EPERM: i32 = 1;
    pub(super) const ENOENT: i32 = 2;
    pub(super) const EACCES: i32 = 13;
    pub(super) const EBUSY: i32 = 16;
    pub(super) const EINVAL: i32 = 22;
    /// A set is full.
    pub(in crate::action) const ENFILE: i32 = 23;
    pub(super) const EOPNOTSUPP: i32 = 95;
}

/// How a set is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shape {
    family: Family,
    /// How many entries it can hold. The kernel makes the table for this many.
    size: u32,
    /// Do entries have a time-out?
    timeouts: bool,
    /// Do entries count the packets of their addresses?
    counters: bool,
}

/// A set in which rules note what sources send.
#[derive(Clone, Debug)]
struct Meter {
    name: String,
    family: Family,
    /// A source that is silent for so long is forgotten.
    remembered_secs: u32,
}

/// A set as the kernel tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Header {
    name: String,
    flags: u32,
    /// nft's number of the type of its keys.
    key_type: u32,
    key_bytes: u32,
    /// How many entries it can hold; 0 is as many as come.
    size: u32,
    counters: bool,
}

impl Header {
    /// The family of its addresses; `None` if it holds something else.
    fn family(&self) -> Option<Family> {
        let is_of = |family: &Family| {
            self.key_type == key_type(*family) && self.key_bytes == key_bytes(*family)
        };
        let family = Family::BOTH.into_iter().find(is_of);
        family.filter(|_| self.flags & set::FOREIGN == 0)
    }

    /// Do rules put entries in?
    fn is_meter(&self) -> bool {
        self.flags & set::IS_METER != 0
    }

    fn has_timeouts(&self) -> bool {
        self.flags & set::HAS_TIMEOUTS != 0
    }

    /// What it is, for people.
    fn description(&self) -> String {
        let mut words = match self.key_type {
            7 => "set of ipv4_addr".to_owned(),
            8 => "set of ipv6_addr".to_owned(),
            other => format!("set of the type {other}"),
        };
        for (flag, word) in [(0x4, " with intervals"), (0x8, " that is a map")] {
            if self.flags & flag != 0 {
                words.push_str(word);
            }
        }
        words
    }
}

/// A chain as the kernel tells of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Chain {
    name: String,
    /// Hook and priority, if it has one.
    hook: Option<(u32, i32)>,
}

/// A connection to the kernel's nf_tables.
#[derive(Debug)]
pub(super) struct Nftables {
    netlink: Netlink,
    /// Does adding an entry again renew its time-out?
    renews: bool,
}

impl Nftables {
    /// Connects; changes nothing.
    pub(super) fn open() -> Result<Self, Error> {
        let netlink = Netlink::open(INET).map_err(|trouble| explain(trouble, "open", ""))?;
        let mut nftables = Nftables {
            netlink,
            renews: renews(),
        };
        match nftables.ask(Command::GetGeneration, 0, |_| {}, &mut |_| {}) {
            Err(Trouble::Refused(code::EINVAL | code::EOPNOTSUPP)) => Err(Error::NoNftables),
            asked => asked.map_err(|trouble| explain(trouble, "ask for", TABLE)),
        }?;
        Ok(nftables)
    }

    /// The number of transactions that the kernel has done, anybody's.
    pub(super) fn generation(&mut self) -> Result<Option<u64>, Error> {
        let mut generation = None;
        let asked = self.ask(Command::GetGeneration, 0, |_| {}, &mut |reply| {
            let number = reply.get(GENERATION_ID).and_then(Attribute::be32);
            generation = number.map(u64::from);
        });
        self.unless_missing(asked, "look at the generation")
            .map(|()| generation)
    }

    /// Does all that `fill` writes, or nothing.
    fn transact(&mut self, fill: impl Fn(&mut Steps<'_>)) -> Result<(), Trouble> {
        let fill = |batch: &mut Batch| fill(&mut Steps(batch));
        match self.netlink.transact(SUBSYSTEM, fill) {
            // The answer was lost. What we write can be done twice.
            Err(Trouble::Socket(_, Errno::NOBUFS)) => self.netlink.transact(SUBSYSTEM, fill),
            done => done,
        }
    }

    /// Is our table there, and is it looked at?
    fn table(&mut self) -> Result<Option<bool>, Error> {
        let mut awake = None;
        let name = |request: &mut Request| request.put_text(table::NAME, TABLE);
        let asked = self.ask(Command::GetTable, 0, name, &mut |reply| {
            let flags = reply.get(table::FLAGS).and_then(Attribute::be32);
            awake = Some(flags.unwrap_or(0) & table::DORMANT == 0);
        });
        self.unless_missing(asked, "look at the table")
            .map(|()| awake)
    }

    /// The chains in our table, other people's too.
    fn chains(&mut self) -> Result<Vec<Chain>, Error> {
        let mut chains = Vec::new();
        let name = |request: &mut Request| request.put_text(chain::TABLE, TABLE);
        self.dump(Command::GetChain, name, &mut |reply| match reply {
            None => chains.clear(),
            Some(reply) => chains.extend(read_chain(reply)),
        })?;
        Ok(chains)
    }

    /// The sets in our table, other people's too.
    fn sets(&mut self) -> Result<Vec<Header>, Error> {
        let mut sets = Vec::new();
        let name = |request: &mut Request| request.put_text(set::TABLE, TABLE);
        self.dump(Command::GetSet, name, &mut |reply| match reply {
            None => sets.clear(),
            Some(reply) => sets.extend(read_set(reply)),
        })?;
        Ok(sets)
    }

    /// The rules of our chain, from the first to the last.
    fn rules(&mut self) -> Result<Vec<Found>, Error> {
        let mut rules = Vec::new();
        let fill = |request: &mut Request| {
            request.put_text(rule::TABLE, TABLE);
            request.put_text(rule::CHAIN, CHAIN);
        };
        self.dump(Command::GetRule, fill, &mut |reply| match reply {
            None => rules.clear(),
            // Old kernels tell of all chains of all tables.
            Some(reply) if rule::is_of(reply, TABLE, CHAIN) => rules.push(rule::read(reply)),
            Some(_) => {}
        })?;
        Ok(rules)
    }

    /// The rules of these chains, as the kernel shows them.
    fn shown(&mut self, chains: &[&str]) -> Result<Vec<Vec<u8>>, Error> {
        let mut shown = Vec::new();
        for chain in chains {
            let mut rules = Vec::new();
            let fill = |request: &mut Request| {
                request.put_text(rule::TABLE, TABLE);
                request.put_text(rule::CHAIN, chain);
            };
            self.dump(Command::GetRule, fill, &mut |reply| match reply {
                None => rules.clear(),
                Some(reply) if rule::is_of(reply, TABLE, chain) => {
                    let expressions = reply.get(rule::EXPRESSIONS);
                    rules.extend(expressions.map(|list| list.value.to_vec()));
                }
                Some(_) => {}
            })?;
            shown.append(&mut rules);
        }
        Ok(shown)
    }

    /// Hands over every entry of a set as it is read. `length` is that of its prefixes.
    /// Entries that come or go meanwhile may be missed or seen twice.
    fn each(&mut self, name: &str, length: u8, each: &mut dyn FnMut(Kept)) -> Result<(), Error> {
        let fill = |request: &mut Request| put_place(request, name);
        let asked = self.ask(Command::GetElements, FLAG_DUMP, fill, &mut |reply| {
            elements_of(reply, length, each);
        });
        asked.map_err(|trouble| explain(trouble, "list", name))
    }

    /// The entry of a set that has exactly this key, if it is there.
    fn find(&mut self, name: &str, addr: &Addr) -> Result<Option<Kept>, Error> {
        let mut found = None;
        let fill = |request: &mut Request| {
            put_place(request, name);
            request.nest(element::ELEMENTS, |list| {
                list.nest(LIST_ELEMENT, |element| put_key(element, addr));
            });
        };
        let asked = self.ask(Command::GetElements, 0, fill, &mut |reply| {
            elements_of(reply, addr.prefix_len(), &mut |kept| found = Some(kept));
        });
        self.unless_missing(asked, "look into").map(|()| found)
    }

    /// Asks for all of something, again if it changed meanwhile: `each` is told `None`
    /// before each try.
    fn dump(
        &mut self,
        command: Command,
        fill: impl Fn(&mut Request),
        each: &mut dyn FnMut(Option<Attributes<'_>>),
    ) -> Result<(), Error> {
        for _ in 0..DUMPS_MAX {
            each(None);
            let asked = self.ask(command, FLAG_DUMP, &fill, &mut |reply| each(Some(reply)));
            self.unless_missing(asked, "list")?;
            if !self.netlink.is_interrupted() {
                break;
            }
        }
        Ok(())
    }

    fn ask(
        &mut self,
        command: Command,
        flags: u16,
        fill: impl FnOnce(&mut Request),
        each: &mut dyn FnMut(Attributes<'_>),
    ) -> Result<(), Trouble> {
        self.netlink.ask(command.kind(), flags, fill, each)
    }

    /// What is not there is no error to who only looks.
    fn unless_missing(&self, asked: Result<(), Trouble>, verb: &'static str) -> Result<(), Error> {
        match asked {
            Ok(()) | Err(Trouble::Refused(code::ENOENT)) => Ok(()),
            Err(trouble) => Err(explain(trouble, verb, TABLE)),
        }
    }
}

/// What is another as soon as anybody has changed anything in nf_tables, but for entries that
/// expire: this boot, this network, and how many transactions were done in it. `None` where
/// that cannot be told.
pub fn mark() -> Option<String> {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let network = std::fs::read_link("/proc/self/ns/net").ok()?;
    let generation = Nftables::open().ok()?.generation().ok()??;
    Some(format!(
        "{} {} {generation}",
        boot.trim(),
        network.display()
    ))
}

/// What a transaction of ours consists of.
struct Steps<'a>(&'a mut Batch);

impl Steps<'_> {
    /// Makes the table, or wakes it up.
    fn make_table(&mut self) {
        self.0
            .put(Command::NewTable.kind(), FLAG_CREATE, |request| {
                request.put_text(table::NAME, TABLE);
                put_u32(request, table::FLAGS, 0);
            });
    }

    /// Takes the table away, with all that is in it.
    fn remove_table(&mut self) {
        self.0.put(Command::DelTable.kind(), 0, |request| {
            request.put_text(table::NAME, TABLE);
        });
    }

    /// Makes the chain; if it is there, it stays.
    fn make_chain(&mut self) {
        self.0
            .put(Command::NewChain.kind(), FLAG_CREATE, |request| {
                request.put_text(chain::TABLE, TABLE);
                request.put_text(chain::NAME, CHAIN);
                request.nest(chain::HOOK, |hook| {
                    put_u32(hook, chain::HOOK_NUMBER, HOOK);
                    hook.put(chain::HOOK_PRIORITY, &PRIORITY.to_be_bytes());
                });
                put_u32(request, chain::POLICY, rule::ACCEPT);
                request.put_text(chain::TYPE, "filter");
            });
    }

    /// Takes a chain away; it must have no rules, and none may lead to it.
    fn remove_chain(&mut self, name: &str) {
        self.0.put(Command::DelChain.kind(), 0, |request| {
            request.put_text(chain::TABLE, TABLE);
            request.put_text(chain::NAME, name);
        });
    }

    /// Makes the chains that hold back, and all that is in them anew.
    fn make_held(&mut self) {
        for name in signalling::chains() {
            self.make_empty_chain(name);
        }
        for rule in signalling::rules() {
            self.append(|request| rule.write(request));
        }
    }

    /// Makes the chain for who is on the list, and all that is in it anew.
    fn make_listed(&mut self) {
        self.make_empty_chain(listed::CHAIN);
        for rule in listed::RULES {
            self.append(|request| rule.write(request));
        }
    }

    /// Makes a chain that rules lead to, without any rules.
    fn make_empty_chain(&mut self, name: &str) {
        self.0
            .put(Command::NewChain.kind(), FLAG_CREATE, |request| {
                request.put_text(chain::TABLE, TABLE);
                request.put_text(chain::NAME, name);
            });
        self.clear_chain(name);
    }

    fn append(&mut self, write: impl FnOnce(&mut Request)) {
        let kind = Command::NewRule.kind();
        self.0.put(kind, FLAG_CREATE | FLAG_APPEND, write);
    }

    /// Adds a rule: one that accepts before the others, one that drops behind them.
    fn make_rule(&mut self, rule: &Rule) {
        let place = match rule.fate {
            Fate::Accept => 0,
            Fate::Drop(_) | Fate::Throttle(_) | Fate::Listed => FLAG_APPEND,
        };
        let kind = Command::NewRule.kind();
        self.0
            .put(kind, FLAG_CREATE | place, |request| rule.write(request));
    }

    /// Takes one rule away.
    fn remove_rule(&mut self, handle: u64) {
        self.0.put(Command::DelRule.kind(), 0, |request| {
            rule::write_handle(request, handle);
        });
    }

    /// Puts the rule before all others that lets every packet pass.
    fn put_lifted(&mut self) {
        self.0
            .put(Command::NewRule.kind(), FLAG_CREATE, rule::write_lifted);
    }

    /// Takes all rules out of a chain.
    fn clear_chain(&mut self, name: &str) {
        self.0.put(Command::DelRule.kind(), 0, |request| {
            request.put_text(rule::TABLE, TABLE);
            request.put_text(rule::CHAIN, name);
        });
    }

    /// Makes a set.
    fn make_set(&mut self, name: &str, shape: Shape) {
        self.0.put(Command::NewSet.kind(), FLAG_CREATE, |request| {
            request.put_text(set::TABLE, TABLE);
            request.put_text(set::NAME, name);
            let flags = if shape.timeouts { set::HAS_TIMEOUTS } else { 0 };
            put_u32(request, set::FLAGS, flags);
            put_u32(request, set::KEY_TYPE, key_type(shape.family));
            put_u32(request, set::KEY_BYTES, key_bytes(shape.family));
            request.nest(set::DESCRIPTION, |description| {
                put_u32(description, set::SIZE, shape.size);
            });
            put_u32(request, set::ID, 1);
            if shape.counters {
                rule::put_expression(request, set::EXPRESSION, "counter", |_| {});
            }
        });
    }

    /// Makes a set in which rules note what sources have sent.
    fn make_meter(&mut self, meter: &Meter) {
        self.0.put(Command::NewSet.kind(), FLAG_CREATE, |request| {
            request.put_text(set::TABLE, TABLE);
            request.put_text(set::NAME, &meter.name);
            put_u32(request, set::FLAGS, set::HAS_TIMEOUTS | set::IS_METER);
            put_u32(request, set::KEY_TYPE, key_type(meter.family));
            put_u32(request, set::KEY_BYTES, key_bytes(meter.family));
            let remembered = u64::from(meter.remembered_secs) * 1_000;
            request.put(set::TIMEOUT, &remembered.to_be_bytes());
            request.nest(set::DESCRIPTION, |description| {
                put_u32(description, set::SIZE, METER_SIZE);
            });
            put_u32(request, set::ID, 1);
        });
    }

    /// Takes a set away; no rule may look it up.
    fn remove_set(&mut self, name: &str) {
        self.0.put(Command::DelSet.kind(), 0, |request| {
            request.put_text(set::TABLE, TABLE);
            request.put_text(set::NAME, name);
        });
    }

    /// Takes all entries out of a set.
    fn clear_set(&mut self, name: &str) {
        self.0.put(Command::DelElements.kind(), 0, |request| {
            put_place(request, name)
        });
    }

    /// Puts entries into a set; those that are there stay.
    fn put_in<'a>(&mut self, name: &str, entries: impl Iterator<Item = &'a Entry>, timeouts: bool) {
        self.0
            .put(Command::NewElements.kind(), FLAG_CREATE, |request| {
                put_entries(request, name, entries, timeouts);
            });
    }

    /// Takes entries out of a set; all must be there.
    fn take_out<'a>(&mut self, name: &str, entries: impl Iterator<Item = &'a Entry>) {
        self.0.put(Command::DelElements.kind(), 0, |request| {
            put_entries(request, name, entries, false);
        });
    }
}

/// Entries of a set, with their time-outs if it has any.
fn put_entries<'a>(
    request: &mut Request,
    name: &str,
    entries: impl Iterator<Item = &'a Entry>,
    timeouts: bool,
) {
    put_place(request, name);
    request.nest(element::ELEMENTS, |list| {
        for entry in entries {
            list.nest(LIST_ELEMENT, |element| {
                put_key(element, &entry.addr);
                if timeouts {
                    put_timeout(element, entry.timeout_secs);
                }
            });
        }
    });
}

/// A time-out of 0 is none; where the kernel renews, it must be said.
fn put_timeout(element: &mut Request, secs: u32) {
    let milliseconds = (u64::from(secs) * 1_000).to_be_bytes();
    element.put(element::TIMEOUT, &milliseconds);
    if secs > 0 {
        element.put(element::EXPIRATION, &milliseconds);
    }
}

fn put_key(element: &mut Request, addr: &Addr) {
    element.nest(element::KEY, |key| match addr.ip() {
        IpAddr::V4(v4) => key.put(DATA_VALUE, &v4.octets()),
        IpAddr::V6(v6) => key.put(DATA_VALUE, &v6.octets()),
    });
}

/// Which set a message about entries means.
fn put_place(request: &mut Request, name: &str) {
    request.put_text(element::TABLE, TABLE);
    request.put_text(element::SET, name);
}

/// Four bytes in network order, as nf_tables has all its numbers.
fn put_u32(request: &mut Request, kind: u16, value: u32) {
    request.put(kind, &value.to_be_bytes());
}

/// nft's numbers of the types `ipv4_addr` and `ipv6_addr`.
fn key_type(family: Family) -> u32 {
    match family {
        Family::V4 => 7,
        Family::V6 => 8,
    }
}

fn key_bytes(family: Family) -> u32 {
    match family {
        Family::V4 => 4,
        Family::V6 => 16,
    }
}

fn read_chain(reply: Attributes<'_>) -> Option<Chain> {
    // Old kernels tell of all tables.
    if reply.get(chain::TABLE)?.text()? != TABLE {
        return None;
    }
    let hook = reply.get(chain::HOOK).map(Attribute::nested);
    let number = |kind| hook.and_then(|hook| hook.get(kind)?.be32());
    Some(Chain {
        name: reply.get(chain::NAME)?.text()?.to_owned(),
        hook: number(chain::HOOK_NUMBER).zip(number(chain::HOOK_PRIORITY).map(u32::cast_signed)),
    })
}

fn read_set(reply: Attributes<'_>) -> Option<Header> {
    if reply.get(set::TABLE)?.text()? != TABLE {
        return None;
    }
    let number = |kind| reply.get(kind).and_then(Attribute::be32).unwrap_or(0);
    let description = reply.get(set::DESCRIPTION).map(Attribute::nested);
    let size = description.and_then(|description| description.get(set::SIZE)?.be32());
    let counter = reply.get(set::EXPRESSION).map(Attribute::nested);
    Some(Header {
        name: reply.get(set::NAME)?.text()?.to_owned(),
        flags: number(set::FLAGS),
        key_type: number(set::KEY_TYPE),
        key_bytes: number(set::KEY_BYTES),
        size: size.unwrap_or(0),
        counters: counter.is_some_and(|counter| rule::expression_name(counter) == Some("counter")),
    })
}

/// Reads a message of the kernel's in every way that we know, and says how much was found
/// in it. For fuzzing: whatever the bytes are, this ends without a panic.
pub fn read_anyhow(attributes: Attributes<'_>) -> usize {
    let mut found = 0;
    for length in [0, 24, 32, 64, 128] {
        elements_of(attributes, length, &mut |_| found += 1);
    }
    found += usize::from(read_set(attributes).is_some_and(|set| set.family().is_some()));
    found += usize::from(read_chain(attributes).is_some());
    found + usize::from(rule::read(attributes).seen != rule::Seen::Other)
}

/// Hands over the entries in a message.
fn elements_of(reply: Attributes<'_>, length: u8, each: &mut dyn FnMut(Kept)) {
    let elements = reply.get(element::ELEMENTS).map(Attribute::nested);
    for element in elements.into_iter().flatten() {
        if let Some(kept) = read_element(element.nested(), length) {
            each(kept);
        }
    }
}

fn read_element(element: Attributes<'_>, length: u8) -> Option<Kept> {
    let key = element.get(element::KEY)?.nested().get(DATA_VALUE)?.value;
    let ip = match key.len() {
        4 => IpAddr::V4(Ipv4Addr::from(*key.first_chunk::<4>()?)),
        16 => IpAddr::V6(Ipv6Addr::from(*key.first_chunk::<16>()?)),
        _ => return None,
    };
    let number = |kind| element.get(kind).and_then(Attribute::be64);
    let is_timed = number(element::TIMEOUT).is_some_and(|timeout| timeout > 0);
    let left = number(element::EXPIRATION).filter(|_| is_timed);
    let left_secs = left.map_or(0, |left| left.div_ceil(1_000).max(1));
    let counter = element.get(element::EXPRESSION).map(Attribute::nested);
    let counter = counter.or_else(|| {
        let list = element.get(element::EXPRESSIONS)?.nested();
        Some(list.get(LIST_ELEMENT)?.nested())
    });
    let counter = counter.and_then(rule::expression_data);
    let count = |kind| counter.and_then(|data| data.get(kind)?.be64()).unwrap_or(0);
    Some(Kept {
        addr: Addr::prefix(ip, length),
        timeout_secs: u32::try_from(left_secs).unwrap_or(u32::MAX),
        packets: count(element::COUNTER_PACKETS),
        bytes: count(element::COUNTER_BYTES),
    })
}

/// Is this Linux one that renews a time-out when an entry is added again?
fn renews() -> bool {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut numbers = release
        .split(['.', '-'])
        .map_while(|part| part.trim().parse().ok());
    let version = numbers.next().zip(numbers.next());
    version.is_some_and(|version: (u32, u32)| version >= RENEWING_LINUX)
}

/// Makes a sentence of an error number.
fn explain(trouble: Trouble, verb: &'static str, name: &str) -> Error {
    let code = match trouble {
        Trouble::Refused(code) => code,
        Trouble::Malformed => {
            let doing = format!("{verb} {name}");
            return Error::Reply { doing };
        }
        Trouble::Socket(doing, errno) => {
            let reason = errno.to_string();
            return Error::Socket { doing, reason };
        }
    };
    let name = name.to_owned();
    match code {
        code::EPERM | code::EACCES => Error::Permission {
            doing: "change the firewall".to_owned(),
            capability: "CAP_NET_ADMIN",
        },
        code::ENOENT => Error::Missing { name },
        code::EBUSY => Error::InUse { name },
        code => Error::Kernel {
            doing: format!("{verb} {name}"),
            code,
            reason: match code {
                code::ENFILE => "the set is full".to_owned(),
                _ => std::io::Error::from_raw_os_error(code).to_string(),
            },
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::action::netlink::{parse, reply};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_attributes_are_read_or_not(
            attributes in proptest::collection::vec(prop_oneof![0..20u8, any::<u8>()], 0..200),
        ) {
            let reply = reply(&attributes);
            let message = parse(&reply).next().unwrap().unwrap();
            read_anyhow(message.attributes());
        }
    }

    #[test]
    fn entries_of_the_kernels_are_read() {
        // As Linux 6.18 sends them: 192.0.2.0 with 90.5 s left of 600, which has dropped
        // 3 packets of 256 bytes; and 192.0.3.0 for ever.
        let key = |last: u8| [&[12, 0, 1, 0x80, 8, 0, 1, 0][..], &[192, 0, last, 0]].concat();
        let number = |kind: u8, value: u64| [&[12, 0, kind, 0][..], &value.to_be_bytes()].concat();
        let counter = [
            &[44, 0, 7, 0x80, 12, 0, 1, 0][..],
            b"counter\0",
            &[28, 0, 2, 0x80],
            &number(1, 256),
            &number(2, 3),
        ]
        .concat();
        let first = [key(2), number(4, 600_000), number(5, 90_500), counter].concat();
        let second = [key(3), number(4, 0)].concat();
        let nest = |kind: u8, inside: &[u8]| {
            let bytes = u16::try_from(inside.len() + 4).unwrap().to_ne_bytes();
            [&[bytes[0], bytes[1], kind, 0x80], inside].concat()
        };
        let list = nest(3, &[nest(1, &first), nest(1, &second)].concat());
        let reply = reply(&list);
        let message = parse(&reply).next().unwrap().unwrap();
        let mut entries = Vec::new();
        elements_of(message.attributes(), 24, &mut |kept| entries.push(kept));
        let kept = |addr: &str, timeout_secs, packets, bytes| Kept {
            addr: addr.parse().unwrap(),
            timeout_secs,
            packets,
            bytes,
        };
        assert_eq!(
            entries,
            [
                kept("192.0.2.0/24", 91, 3, 256),
                kept("192.0.3.0/24", 0, 0, 0)
            ]
        );
    }

    #[test]
    fn what_nf_tables_lacks_is_said() {
        let refused = |code| explain(Trouble::Refused(code), "make", TABLE).to_string();
        assert!(refused(code::EPERM).contains("CAP_NET_ADMIN"));
        assert!(Error::NoNftables.to_string().contains("modprobe nf_tables"));
        assert_eq!(
            refused(code::ENFILE),
            "the kernel refused to make ringfence: the set is full (error 23)"
        );
    }
}
