//! ipset: the kernel's sets of addresses, spoken to by netlink.
//!
//! Two kinds are used. `hash:net` holds hosts and prefixes of one family, with
//! counters and, if wanted, a time-out for each entry. `list:set` holds other sets;
//! the packet's family decides which of its members are looked at.
//!
//! To add an entry again renews its time-out, to delete a missing one is no error.
//! Entries travel in batches: the kernel stops at the first that it cannot take and
//! says which; we report that one and go on behind it, so no other is lost.
//!
//! `objects` keeps the sets that we need, `rules` the rule that looks them up.
//!
//! Absent here: names (see `name`), rules, and what the sets mean.
//! The numbers are from Linux's `include/uapi/linux/netfilter/ipset/ip_set.h`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub(super) mod objects;
mod rules;

use super::BATCH_MAX;
use super::error::Error;
use super::family::{Family, Kept};
use super::netlink::{Attribute, Attributes, FLAG_DUMP, FLAG_EXCL, Netlink, Request, Trouble};
use crate::addr::Addr;
use crate::ticket::Entry;

/// Sets that a `list:set` is made for. Linux grows it as needed; old kernels do not.
const LIST_SIZE: u32 = 256;

/// Oldest and newest version of the protocol that we speak.
const PROTOCOLS: (u8, u8) = (6, 7);

/// The first revision of `hash:net` with counters. We ask for the oldest that will
/// do, since an older `ipset` program cannot list a set of a newer revision.
const HASH_NET: Kind = Kind {
    name: "hash:net",
    module: "ip_set_hash_net",
    revision: 3,
};

/// Any `list:set` will do.
const LIST_SET: Kind = Kind {
    name: "list:set",
    module: "ip_set_list_set",
    revision: 0,
};

struct Kind {
    name: &'static str,
    module: &'static str,
    revision: u8,
}

/// `NFNL_SUBSYS_IPSET`, where a message's kind has it.
const SUBSYSTEM: u16 = 6 << 8;

/// What is asked of ipset (`IPSET_CMD_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Command {
    Protocol = 1,
    Create = 2,
    Destroy = 3,
    Flush = 4,
    Swap = 6,
    List = 7,
    Add = 9,
    Del = 10,
    Test = 11,
    Type = 13,
}

/// `IPSET_ATTR_*` of a message.
mod attr {
    pub(super) const PROTOCOL: u16 = 1;
    pub(super) const SET: u16 = 2;
    pub(super) const TYPE: u16 = 3;
    pub(super) const OTHER_SET: u16 = 3;
    pub(super) const REVISION: u16 = 4;
    pub(super) const FAMILY: u16 = 5;
    pub(super) const FLAGS: u16 = 6;
    pub(super) const DATA: u16 = 7;
    pub(super) const ENTRIES: u16 = 8;
    pub(super) const LINE: u16 = 9;
    pub(super) const MINIMUM: u16 = 10;
}

/// `IPSET_ATTR_*` inside of `DATA`.
mod data {
    pub(super) const IP: u16 = 1;
    pub(super) const PREFIX: u16 = 3;
    pub(super) const TIMEOUT: u16 = 6;
    pub(super) const FLAGS: u16 = 8;
    pub(super) const LINE: u16 = 9;
    pub(super) const HASHSIZE: u16 = 18;
    pub(super) const MAXELEM: u16 = 19;
    pub(super) const SIZE: u16 = 23;
    pub(super) const REFERENCES: u16 = 25;
    pub(super) const ENTRIES: u16 = 24;
    pub(super) const NAME: u16 = 18;
    pub(super) const BYTES: u16 = 24;
    pub(super) const PACKETS: u16 = 25;
    pub(super) const IPV4: u16 = 1;
    pub(super) const IPV6: u16 = 2;
}

/// `IPSET_FLAG_LIST_SETNAME`: names only.
const LIST_NAMES: u32 = 1 << 1;
/// `IPSET_FLAG_LIST_HEADER`: no entries.
const LIST_HEADER: u32 = 1 << 2;
/// `IPSET_FLAG_WITH_COUNTERS`.
const WITH_COUNTERS: u32 = 1 << 3;

/// ipset's own error numbers (`IPSET_ERR_*`) and the few of the system's that we know.
pub(super) mod code {
    pub(super) const EPERM: i32 = 1;
    pub(super) const ENOENT: i32 = 2;
    pub(super) const EACCES: i32 = 13;
    pub(super) const EINVAL: i32 = 22;
    pub(super) const PROTOCOL: i32 = 4097;
    pub(super) const NO_TYPE: i32 = 4098;
    pub(super) const BUSY: i32 = 4100;
    pub(super) const EXIST: i32 = 4103;
    pub(in crate::action) const PREFIX: i32 = 4104;
    pub(super) const REFERENCED: i32 = 4108;
    pub(in crate::action) const FULL: i32 = 4352;
}

/// How a `hash:net` is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// IPv4 or IPv6.
    pub family: Family,
    /// Buckets at the start. The kernel doubles them when they fill up, and then
    /// every ban waits.
    pub hashsize: u32,
    /// How many entries it can hold.
    pub maxelem: u32,
    /// Do entries have a time-out?
    pub timeouts: bool,
}

/// What the kernel says of a set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// The type, as in `hash:net`.
    pub kind: String,
    /// `NFPROTO_*`; 0 for a `list:set`.
    family: u8,
    /// Buckets.
    pub hashsize: u32,
    /// How many entries it can hold.
    pub maxelem: u32,
    /// How many it holds, those included that are about to expire.
    pub entries: u32,
    /// How many rules and lists refer to it.
    pub references: u32,
    /// Do entries have a time-out?
    pub timeouts: bool,
    /// Do entries have counters?
    pub counters: bool,
}

impl Header {
    /// Type and family, as in `hash:net inet6`.
    pub fn description(&self) -> String {
        let family = Family::BOTH.into_iter().find(|f| f.number() == self.family);
        match family {
            Some(family) => format!("{} {}", self.kind, family.word()),
            None => self.kind.clone(),
        }
    }

    /// Is it a `hash:net` of this family?
    pub fn is_net(&self, family: Family) -> bool {
        self.kind == HASH_NET.name && self.family == family.number()
    }

    /// Is it a `hash:net` of any family?
    pub fn is_any_net(&self) -> bool {
        self.kind == HASH_NET.name
    }

    /// Is it a `list:set`?
    pub fn is_list(&self) -> bool {
        self.kind == LIST_SET.name
    }
}

/// A connection to the kernel's ipset.
#[derive(Debug)]
pub struct Ipset {
    netlink: Netlink,
    protocol: u8,
    hash_net: u8,
    list_set: u8,
}

/// Is iptables where the system's programs are?
pub(super) fn is_iptables_here() -> bool {
    rules::is_installed()
}

impl Ipset {
    /// Connects and agrees with the kernel on versions.
    pub fn open() -> Result<Self, Error> {
        let netlink = Netlink::open(0).map_err(|trouble| explain(trouble, "open", ""))?;
        let mut ipset = Ipset {
            netlink,
            protocol: PROTOCOLS.1,
            hash_net: 0,
            list_set: 0,
        };
        ipset.protocol = ipset.agree_on_protocol()?;
        ipset.hash_net = ipset.agree_on_type(&HASH_NET, Family::V4.number())?;
        ipset.list_set = ipset.agree_on_type(&LIST_SET, 0)?;
        Ok(ipset)
    }

    fn agree_on_protocol(&mut self) -> Result<u8, Error> {
        let (mut max, mut min) = (None, None);
        self.ask(Command::Protocol, 0, "", |_| {}, &mut |reply| {
            max = reply.get(attr::PROTOCOL).and_then(Attribute::u8);
            min = reply.get(attr::MINIMUM).and_then(Attribute::u8);
        })?;
        let max = max.ok_or_else(|| explain(Trouble::Malformed, "agree on a protocol", ""))?;
        let min = min.unwrap_or(max);
        if max < PROTOCOLS.0 || min > PROTOCOLS.1 {
            return Err(Error::Protocol { min, max });
        }
        Ok(max.min(PROTOCOLS.1))
    }

    fn agree_on_type(&mut self, kind: &Kind, family: u8) -> Result<u8, Error> {
        let (mut max, mut min) = (None, None);
        let asked = self.ask(
            Command::Type,
            0,
            "",
            |request| {
                request.put_text(attr::TYPE, kind.name);
                request.put(attr::FAMILY, &[family]);
            },
            &mut |reply| {
                max = reply.get(attr::REVISION).and_then(Attribute::u8);
                min = reply.get(attr::MINIMUM).and_then(Attribute::u8);
            },
        );
        match asked {
            Err(Error::Kernel { code, .. }) if code == code::NO_TYPE => {}
            other => other?,
        }
        match max {
            Some(max) if max >= kind.revision => Ok(kind.revision.max(min.unwrap_or(0))),
            _ => Err(Error::NoSetType {
                kind: kind.name,
                module: kind.module,
            }),
        }
    }

    /// Makes an empty `hash:net` with counters. A set of that name is an error.
    pub fn create_net(&mut self, name: &str, shape: &Shape) -> Result<(), Error> {
        let revision = self.hash_net;
        let fill = |request: &mut Request| {
            request.put_text(attr::TYPE, HASH_NET.name);
            request.put(attr::REVISION, &[revision]);
            request.put(attr::FAMILY, &[shape.family.number()]);
            request.nest(attr::DATA, |data| {
                data.put_be32(data::HASHSIZE, shape.hashsize);
                data.put_be32(data::MAXELEM, shape.maxelem);
                data.put_be32(data::FLAGS, WITH_COUNTERS);
                if shape.timeouts {
                    data.put_be32(data::TIMEOUT, 0);
                }
            });
        };
        self.ask(Command::Create, FLAG_EXCL, name, fill, &mut |_| {})
    }

    /// Makes an empty `list:set`. A set of that name is an error.
    pub fn create_list(&mut self, name: &str) -> Result<(), Error> {
        let revision = self.list_set;
        let fill = |request: &mut Request| {
            request.put_text(attr::TYPE, LIST_SET.name);
            request.put(attr::REVISION, &[revision]);
            request.put(attr::FAMILY, &[0]);
            request.nest(attr::DATA, |data| data.put_be32(data::SIZE, LIST_SIZE));
        };
        self.ask(Command::Create, FLAG_EXCL, name, fill, &mut |_| {})
    }

    /// Takes all entries out.
    pub fn flush(&mut self, name: &str) -> Result<(), Error> {
        self.ask(Command::Flush, 0, name, |_| {}, &mut |_| {})
    }

    /// Removes the set; nothing may refer to it.
    pub fn destroy(&mut self, name: &str) -> Result<(), Error> {
        self.ask(Command::Destroy, 0, name, |_| {}, &mut |_| {})
    }

    /// Exchanges what two sets of one kind hold, in one instant for every packet.
    pub fn swap(&mut self, name: &str, other: &str) -> Result<(), Error> {
        let fill = |request: &mut Request| request.put_text(attr::OTHER_SET, other);
        self.ask(Command::Swap, 0, name, fill, &mut |_| {})
    }

    /// Puts entries in, or renews their time-outs. `timeouts` says whether the set
    /// has any. `refused` is told the place and the reason of each that was not taken.
    pub fn add(
        &mut self,
        name: &str,
        entries: &[Entry],
        timeouts: bool,
        refused: &mut dyn FnMut(usize, Error),
    ) {
        let fill = |data: &mut Request, entry: &Entry| {
            put_addr(data, &entry.addr);
            if timeouts {
                data.put_be32(data::TIMEOUT, entry.timeout_secs);
            }
        };
        self.change(Command::Add, name, entries, fill, refused);
    }

    /// Puts entries in with the counters that they had elsewhere.
    pub fn add_kept(
        &mut self,
        name: &str,
        entries: &[Kept],
        timeouts: bool,
        refused: &mut dyn FnMut(usize, Error),
    ) {
        let fill = |data: &mut Request, kept: &Kept| {
            put_addr(data, &kept.addr);
            if timeouts {
                data.put_be32(data::TIMEOUT, kept.timeout_secs);
            }
            data.put_be(data::BYTES, &kept.bytes.to_be_bytes());
            data.put_be(data::PACKETS, &kept.packets.to_be_bytes());
        };
        self.change(Command::Add, name, entries, fill, refused);
    }

    /// Takes entries out, those that are there.
    pub fn del(&mut self, name: &str, entries: &[Entry], refused: &mut dyn FnMut(usize, Error)) {
        let fill = |data: &mut Request, entry: &Entry| put_addr(data, &entry.addr);
        self.change(Command::Del, name, entries, fill, refused);
    }

    /// Puts a set into a list, where it may already be.
    pub fn join(&mut self, list: &str, member: &str) -> Result<(), Error> {
        self.change_one(Command::Add, list, member)
    }

    /// Takes a set out of a list, if it is there.
    pub fn leave(&mut self, list: &str, member: &str) -> Result<(), Error> {
        self.change_one(Command::Del, list, member)
    }

    fn change_one(&mut self, command: Command, list: &str, member: &str) -> Result<(), Error> {
        let fill = |request: &mut Request| {
            request.nest(attr::DATA, |data| data.put_text(data::NAME, member));
        };
        self.ask(command, 0, list, fill, &mut |_| {})
    }

    /// Is exactly this address or prefix in the set, or, for a host, one that has it?
    pub fn test(&mut self, name: &str, addr: &Addr) -> Result<bool, Error> {
        let fill = |request: &mut Request| {
            request.nest(attr::DATA, |data| put_addr(data, addr));
        };
        match self.ask(Command::Test, 0, name, fill, &mut |_| {}) {
            Ok(()) => Ok(true),
            Err(Error::Kernel { code, .. }) if code == code::EXIST => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// What kind of set it is and how full; `None` if there is none.
    pub fn header(&mut self, name: &str) -> Result<Option<Header>, Error> {
        let mut found = None;
        let fill = |request: &mut Request| request.put_be32(attr::FLAGS, LIST_HEADER);
        let asked = self.ask(Command::List, FLAG_DUMP, name, fill, &mut |reply| {
            if let Some(kind) = reply.get(attr::TYPE).and_then(Attribute::text) {
                found = Some(read_header(kind, reply));
            }
        });
        match asked {
            Ok(()) => Ok(found),
            Err(Error::Missing { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The names of all sets, other people's too.
    pub fn names(&mut self) -> Result<Vec<String>, Error> {
        let mut names = Vec::new();
        let fill = |request: &mut Request| request.put_be32(attr::FLAGS, LIST_NAMES);
        self.ask(Command::List, FLAG_DUMP, "", fill, &mut |reply| {
            names.extend(
                reply
                    .get(attr::SET)
                    .and_then(Attribute::text)
                    .map(str::to_owned),
            );
        })?;
        Ok(names)
    }

    /// The sets in a list.
    pub fn members(&mut self, list: &str) -> Result<Vec<String>, Error> {
        let mut members = Vec::new();
        self.each_data(list, &mut |data| {
            members.extend(
                data.get(data::NAME)
                    .and_then(Attribute::text)
                    .map(str::to_owned),
            );
        })?;
        Ok(members)
    }

    /// Hands over every entry as it is read; a million of them take no memory of ours.
    /// Entries that come or go meanwhile may be missed or seen.
    pub fn each(&mut self, name: &str, each: &mut dyn FnMut(Kept)) -> Result<(), Error> {
        self.each_data(name, &mut |data| {
            if let Some(kept) = read_entry(data) {
                each(kept);
            }
        })
    }

    fn each_data(&mut self, name: &str, each: &mut dyn FnMut(Attributes<'_>)) -> Result<(), Error> {
        self.ask(Command::List, FLAG_DUMP, name, |_| {}, &mut |reply| {
            if let Some(entries) = reply.get(attr::ENTRIES) {
                for entry in entries.nested().filter(|entry| entry.kind == attr::DATA) {
                    each(entry.nested());
                }
            }
        })
    }

    /// Adds or deletes entries in batches, going on behind each that is refused.
    fn change<T>(
        &mut self,
        command: Command,
        name: &str,
        entries: &[T],
        fill: impl Fn(&mut Request, &T),
        refused: &mut dyn FnMut(usize, Error),
    ) {
        let mut done = 0;
        while done < entries.len() {
            let batch = &entries[done..entries.len().min(done + BATCH_MAX)];
            match self.change_batch(command, name, batch, &fill) {
                Ok(()) => done += batch.len(),
                Err((Some(place), error)) => {
                    refused(done + place, error);
                    done += place + 1;
                }
                Err((None, error)) => {
                    // It is not about one entry, so the next batch would fail the same way.
                    (done..entries.len()).for_each(|place| refused(place, error.clone()));
                    return;
                }
            }
        }
    }

    /// One message. An error comes with the place of the entry that it is about.
    fn change_batch<T>(
        &mut self,
        command: Command,
        name: &str,
        batch: &[T],
        fill: impl Fn(&mut Request, &T),
    ) -> Result<(), (Option<usize>, Error)> {
        let asked = self.ask_raw(
            command,
            0,
            name,
            |request| {
                request.put_u32(attr::LINE, 0);
                request.nest(attr::ENTRIES, |entries| {
                    for (line, entry) in (1..).zip(batch) {
                        entries.nest(attr::DATA, |data| {
                            fill(data, entry);
                            data.put_u32(data::LINE, line);
                        });
                    }
                });
            },
            &mut |_| {},
        );
        asked.map_err(|trouble| {
            let line = self.netlink.echo().get(attr::LINE).and_then(Attribute::u32);
            let place = line
                .and_then(|line| usize::try_from(line).ok()?.checked_sub(1))
                .filter(|place| *place < batch.len());
            (place, explain(trouble, command.verb(), name))
        })
    }

    fn ask(
        &mut self,
        command: Command,
        flags: u16,
        name: &str,
        fill: impl FnOnce(&mut Request),
        each: &mut dyn FnMut(Attributes<'_>),
    ) -> Result<(), Error> {
        self.ask_raw(command, flags, name, fill, each)
            .map_err(|trouble| explain(trouble, command.verb(), name))
    }

    /// A request about the set `name`, or about none if that is empty.
    fn ask_raw(
        &mut self,
        command: Command,
        flags: u16,
        name: &str,
        fill: impl FnOnce(&mut Request),
        each: &mut dyn FnMut(Attributes<'_>),
    ) -> Result<(), Trouble> {
        let protocol = self.protocol;
        self.netlink.ask(
            SUBSYSTEM | command as u16,
            flags,
            |request| {
                request.put(attr::PROTOCOL, &[protocol]);
                if !name.is_empty() {
                    request.put_text(attr::SET, name);
                }
                fill(request);
            },
            each,
        )
    }
}

impl Command {
    /// For sentences: "the kernel refused to …".
    fn verb(self) -> &'static str {
        match self {
            Command::Protocol => "agree on a protocol",
            Command::Create => "create",
            Command::Destroy => "destroy",
            Command::Flush => "flush",
            Command::Swap => "swap",
            Command::List => "list",
            Command::Add => "add to",
            Command::Del => "delete from",
            Command::Test => "test",
            Command::Type => "name its set types",
        }
    }
}

fn put_addr(data: &mut Request, addr: &Addr) {
    data.nest(data::IP, |ip| match addr.ip() {
        IpAddr::V4(v4) => ip.put_be(data::IPV4, &v4.octets()),
        IpAddr::V6(v6) => ip.put_be(data::IPV6, &v6.octets()),
    });
    data.put(data::PREFIX, &[addr.prefix_len()]);
}

/// Reads a message of the kernel's in every way that we know, and says how much was found
/// in it. For fuzzing: whatever the bytes are, this ends without a panic.
pub fn read_anyhow(attributes: Attributes<'_>) -> usize {
    let header = read_header(HASH_NET.name, attributes);
    let own = usize::from(read_entry(attributes).is_some());
    let entries = attributes.get(attr::ENTRIES).map(Attribute::nested);
    let entries = entries.into_iter().flatten();
    own + usize::from(header.counters)
        + entries
            .filter(|entry| read_entry(entry.nested()).is_some())
            .count()
}

fn read_header(kind: &str, reply: Attributes<'_>) -> Header {
    let inside = reply.get(attr::DATA).map(Attribute::nested);
    let find = |kind| inside.and_then(|data| data.get(kind));
    let number = |kind| find(kind).and_then(Attribute::be32).unwrap_or(0);
    Header {
        kind: kind.to_owned(),
        family: reply.get(attr::FAMILY).and_then(Attribute::u8).unwrap_or(0),
        hashsize: number(data::HASHSIZE),
        maxelem: number(data::MAXELEM),
        entries: number(data::ENTRIES),
        references: number(data::REFERENCES),
        timeouts: find(data::TIMEOUT).is_some(),
        counters: number(data::FLAGS) & WITH_COUNTERS != 0,
    }
}

fn read_entry(data: Attributes<'_>) -> Option<Kept> {
    let ip = data.get(data::IP)?.nested();
    let (ip, host) = if let Some(v4) = ip.get(data::IPV4) {
        (
            IpAddr::V4(Ipv4Addr::from(*v4.value.first_chunk::<4>()?)),
            32,
        )
    } else {
        let v6 = ip.get(data::IPV6)?;
        (
            IpAddr::V6(Ipv6Addr::from(*v6.value.first_chunk::<16>()?)),
            128,
        )
    };
    let prefix = data
        .get(data::PREFIX)
        .and_then(Attribute::u8)
        .unwrap_or(host);
    let be64 = |kind| data.get(kind).and_then(Attribute::be64).unwrap_or(0);
    Some(Kept {
        addr: Addr::prefix(ip, prefix),
        timeout_secs: data
            .get(data::TIMEOUT)
            .and_then(Attribute::be32)
            .unwrap_or(0),
        packets: be64(data::PACKETS),
        bytes: be64(data::BYTES),
    })
}

/// Makes a sentence of an error number.
fn explain(trouble: Trouble, verb: &'static str, name: &str) -> Error {
    let doing = || {
        if name.is_empty() {
            verb.to_owned()
        } else {
            format!("{verb} {name}")
        }
    };
    let code = match trouble {
        Trouble::Refused(code) => code,
        Trouble::Malformed => return Error::Reply { doing: doing() },
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
        code::EINVAL if name.is_empty() => Error::NoIpset,
        code::ENOENT => Error::Missing { name },
        code::BUSY | code::REFERENCED => Error::InUse { name },
        code => Error::Kernel {
            doing: doing(),
            code,
            reason: reason(code),
        },
    }
}

/// The meaning of an error number.
fn reason(code: i32) -> String {
    match code {
        code::PROTOCOL => "it does not understand the message".to_owned(),
        code::NO_TYPE => "it has no such set type".to_owned(),
        code::EXIST => "the entry is already there, or is not there".to_owned(),
        code::PREFIX => "it cannot hold such a prefix".to_owned(),
        code::FULL => "the set is full, or has no such member".to_owned(),
        4096.. => "an error of ipset's".to_owned(),
        _ => std::io::Error::from_raw_os_error(code).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::action::netlink::{parse, reply};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_attributes_are_an_entry_or_none(
            attributes in proptest::collection::vec(prop_oneof![0..30u8, any::<u8>()], 0..200),
        ) {
            let reply = reply(&attributes);
            let message = parse(&reply).next().unwrap().unwrap();
            read_header("hash:net", message.attributes());
            read_entry(message.attributes());
            for attribute in message.attributes() {
                read_entry(attribute.nested());
            }
        }
    }

    #[test]
    fn an_entry_of_the_kernels_is_read() {
        // As Linux 6.18 sends it: ip 192.0.2.0, prefix 24, time-out 90, 3 packets.
        let attributes = [
            &[12, 0, 1, 0x80, 8, 0, 1, 0x40, 192, 0, 2, 0][..],
            &[5, 0, 3, 0, 24, 0, 0, 0],
            &[8, 0, 6, 0x40, 0, 0, 0, 90],
            &[12, 0, 24, 0x40, 0, 0, 0, 0, 0, 0, 1, 0],
            &[12, 0, 25, 0x40, 0, 0, 0, 0, 0, 0, 0, 3],
        ]
        .concat();
        let reply = reply(&attributes);
        let message = parse(&reply).next().unwrap().unwrap();
        let kept = Kept {
            addr: "192.0.2.0/24".parse().unwrap(),
            timeout_secs: 90,
            packets: 3,
            bytes: 256,
        };
        assert_eq!(read_entry(message.attributes()), Some(kept));
    }
}
