//! A cheap look at what stands in the kernel: does anything there look otherwise?
//!
//! nf_tables counts its transactions, anybody's. Of iptables' legacy form the kernel says
//! nothing, but whoever changes something by it takes its lock file, and closes that when
//! he is done. Of an ipset nothing tells; so each is asked for one address that must be in
//! it, and how many there are.

use std::collections::BTreeMap;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;

use super::{Kind, Timeouts, place::Place};
use crate::action::error::Error;
use crate::action::ipset::Ipset;
use crate::action::nftables::Nftables;
use crate::action::{Family, Glance};
use crate::addr::Addr;

/// The lock file of iptables' legacy form.
const LOCK_FILE: &str = "/run/xtables.lock";

/// A set's entries are counted anew after so many times the time that counting took, since
/// the kernel walks through all of them: this is half a thousandth of a core. 65,536
/// entries, the most that a stock set holds, take it a millisecond.
const COUNT_PACE: u32 = 2_000;

/// Room for what inotify says at once; it is only counted.
const WORDS_BYTES: usize = 1_024;

/// What is needed for looking, each opened when it is needed first.
#[derive(Debug, Default)]
pub(super) struct Eyes {
    nftables: Option<Nftables>,
    ipset: Option<Ipset>,
    lock: LockFile,
    counts: BTreeMap<String, Count>,
}

/// How many entries a set had beside those that we know of.
#[derive(Debug)]
struct Count {
    surplus: u64,
    due: Instant,
}

impl Eyes {
    /// Numbers that change if anything does that was made for these places. Nothing is
    /// looked at if nothing was.
    pub(super) fn glance<'a>(
        &mut self,
        places: impl Iterator<Item = &'a Place>,
    ) -> Result<Glance, Error> {
        let mut seen = Vec::new();
        for place in places {
            let Some(held) = &place.held else {
                continue;
            };
            seen.push(u64::try_from(place.lost.len()).ok());
            if let Kind::Set(set) = &place.layout.kind {
                let any = any(place.layout.family);
                let witness = held.first().unwrap_or(&any);
                seen.push(self.holds(&set.name, witness)?);
                if set.timeouts != Timeouts::Ban {
                    seen.push(self.surplus(&set.name, held.len())?);
                }
            }
        }
        if !seen.is_empty() {
            seen.push(self.generation()?);
            seen.push(Some(self.lock.closed()));
        }
        Ok(Glance(seen))
    }

    fn generation(&mut self) -> Result<Option<u64>, Error> {
        if self.nftables.is_none() {
            self.nftables = match Nftables::open() {
                Err(Error::NoNftables) => return Ok(None),
                opened => Some(opened?),
            };
        }
        let nftables = self.nftables.as_mut();
        nftables.map_or(Ok(None), Nftables::generation)
    }

    fn ipset(&mut self) -> Result<&mut Ipset, Error> {
        Ok(match self.ipset.take() {
            Some(ipset) => self.ipset.insert(ipset),
            None => self.ipset.insert(Ipset::open()?),
        })
    }

    /// Is this address in the set? None: the set is gone.
    fn holds(&mut self, name: &str, addr: &Addr) -> Result<Option<u64>, Error> {
        match self.ipset()?.test(name, addr) {
            Ok(holds) => Ok(Some(u64::from(holds))),
            Err(Error::Missing { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// How many entries the set has beside these, counted now and then.
    fn surplus(&mut self, name: &str, held: usize) -> Result<Option<u64>, Error> {
        let begun = Instant::now();
        if let Some(count) = self.counts.get(name)
            && count.due > begun
        {
            return Ok(Some(count.surplus));
        }
        let Some(header) = self.ipset()?.header(name)? else {
            return Ok(None);
        };
        let surplus = u64::from(header.entries).wrapping_sub(held as u64);
        let due = Instant::now() + begun.elapsed().max(Duration::from_micros(1)) * COUNT_PACE;
        self.counts.insert(name.to_owned(), Count { surplus, due });
        Ok(Some(surplus))
    }
}

/// Some address of the family, which need not be in any set.
fn any(family: Family) -> Addr {
    let ip: std::net::IpAddr = match family {
        Family::V4 => std::net::Ipv4Addr::LOCALHOST.into(),
        Family::V6 => std::net::Ipv6Addr::LOCALHOST.into(),
    };
    Addr::host(ip)
}

/// Watches the lock file.
#[derive(Debug, Default)]
struct LockFile {
    inotify: Option<OwnedFd>,
    closed: u64,
}

impl LockFile {
    /// How often somebody was done with it. As long as it is not there nobody uses it.
    fn closed(&mut self) -> u64 {
        if self.inotify.is_none() {
            self.inotify = watch().ok();
        }
        let Some(inotify) = &self.inotify else {
            return self.closed;
        };
        let mut room = [MaybeUninit::uninit(); WORDS_BYTES];
        let mut words = inotify::Reader::new(inotify, &mut room);
        loop {
            match words.next() {
                Ok(word) if word.events().contains(ReadFlags::IGNORED) => break, // it was deleted
                Ok(_) => self.closed += 1,
                Err(Errno::INTR) => {}
                Err(_) => return self.closed,
            }
        }
        self.closed += 1;
        self.inotify = None;
        self.closed
    }
}

fn watch() -> Result<OwnedFd, Errno> {
    let inotify = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
    let closing = WatchFlags::CLOSE_NOWRITE | WatchFlags::CLOSE_WRITE;
    inotify::add_watch(&inotify, LOCK_FILE, closing)?;
    Ok(inotify)
}
