//! Which kind of firewall a host gets, and why; and the change from one to the other.
//!
//! Where iptables is installed its users look for bans there, so ipset is taken; where it
//! is not, or cannot do what we need, nftables. Whatever an earlier run put into the other
//! kind is taken over: first it blocks here, and only then does it go there.

use super::error::Error;
use super::family::Family;
use super::firewall::{Firewall, Note, Objects};
use super::reach::{Narrowed, Reaches};
use super::{BATCH_MAX, Sizes, ipset, nftables};
use crate::ticket::{Entry, Set};

/// Which kind of kernel objects is wanted (`firewall.backend`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Backend {
    /// What suits this host.
    #[default]
    Auto,
    /// The kernel's ipset, and rules of iptables.
    Ipset,
    /// A table of our own in nf_tables.
    Nftables,
}

impl Firewall {
    /// Connects to the kernel; changes nothing.
    pub fn open(backend: Backend, sizes: Sizes) -> Result<Self, Error> {
        let told = "as `firewall.backend` says";
        match backend {
            Backend::Ipset => Firewall::with(sizes, told, |narrowed| open_ipset(sizes, narrowed)),
            Backend::Nftables => {
                Firewall::with(sizes, told, |narrowed| open_nftables(sizes, narrowed))
            }
            Backend::Auto if !ipset::is_iptables_here() => {
                Firewall::instead(sizes, &"iptables is not installed")
            }
            Backend::Auto => {
                let opened = Firewall::with(sizes, "iptables is installed", |narrowed| {
                    open_ipset(sizes, narrowed)
                });
                match opened {
                    Err(error) if error.is_unfit() => Firewall::instead(sizes, &error),
                    opened => opened,
                }
            }
        }
    }

    /// Connects, makes what is missing for these sets, and takes over what an earlier run
    /// put into the other kind of firewall. See [`Firewall::narrow`] for `reaches`.
    pub fn establish(
        backend: Backend,
        sizes: Sizes,
        sets: &[Set],
        reaches: &Reaches,
    ) -> Result<(Self, Vec<Note>), Error> {
        let mut firewall = Firewall::open(backend, sizes)?;
        firewall.narrow(reaches.clone());
        let mut notes = match firewall.ensure(sets) {
            Err(error) if backend == Backend::Auto && error.is_unfit() => {
                firewall = Firewall::instead(sizes, &error)?;
                firewall.narrow(reaches.clone());
                firewall.ensure(sets)?
            }
            ensured => ensured?,
        };
        firewall.take_over(sets, &mut notes)?;
        let stays = notes
            .iter()
            .filter(|note| matches!(note, Note::OtherStays { .. }));
        firewall.troubles.extend(stays.cloned());
        Ok((firewall, notes))
    }

    /// A firewall of every kind that this kernel has.
    pub fn of_all_kinds(sizes: Sizes) -> Result<Vec<Self>, Error> {
        let mut all = Vec::new();
        for backend in [Backend::Ipset, Backend::Nftables] {
            match Firewall::open(backend, sizes) {
                Ok(firewall) => all.push(firewall),
                Err(error) if error.is_unfit() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(all)
    }

    /// nftables, since ipset will not do.
    fn instead(sizes: Sizes, why: &dyn std::fmt::Display) -> Result<Self, Error> {
        let opened = Firewall::with(sizes, &why.to_string(), |narrowed| {
            open_nftables(sizes, narrowed)
        });
        match opened {
            Err(error) if error.is_unfit() => Err(Error::NoBackend {
                ipset: why.to_string(),
                nftables: error.to_string(),
            }),
            opened => opened,
        }
    }

    fn take_over(&mut self, sets: &[Set], notes: &mut Vec<Note>) -> Result<(), Error> {
        for mut other in Firewall::of_all_kinds(self.sizes)? {
            let is_other =
                std::mem::discriminant(&other.objects) != std::mem::discriminant(&self.objects);
            if is_other && other.has_traces()? {
                let mut entries = 0;
                for set in sets.iter().chain([&Set::Allow]) {
                    entries += self.copy(set, &mut other)?;
                }
                notes.push(match other.purge() {
                    Ok(()) => Note::TookOver { entries },
                    Err(error) => Note::OtherStays {
                        reason: error.to_string(),
                    },
                });
            }
        }
        Ok(())
    }

    /// Puts in what the set holds in another firewall; says how many those are.
    fn copy(&mut self, set: &Set, other: &mut Firewall) -> Result<usize, Error> {
        let (mut entries, mut trouble) = (0, None);
        let mut lanes = Family::BOTH.map(|family| (family, Vec::with_capacity(BATCH_MAX)));
        let objects = &mut self.objects;
        let mut send = |family, lane: &mut Vec<Entry>| {
            objects.add(set, family, lane, &mut |_, error| trouble = Some(error));
            lane.clear();
        };
        let listed = other.list(set, &mut |kept| {
            entries += 1;
            let (family, lane) = &mut lanes[Family::of(&kept.addr) as usize];
            lane.push(Entry {
                addr: kept.addr,
                timeout_secs: kept.timeout_secs,
            });
            if lane.len() == BATCH_MAX {
                send(*family, lane);
            }
        });
        for (family, lane) in &mut lanes {
            send(*family, lane);
        }
        match (listed, trouble) {
            (Err(Error::Missing { .. }), _) => Ok(entries), // it had no such set
            (Err(error), _) => Err(error),
            (Ok(()), Some(error)) if error.is_lasting() => Err(error),
            (Ok(()), _) => Ok(entries),
        }
    }
}

fn open_ipset(sizes: Sizes, narrowed: Narrowed) -> Result<Objects, Error> {
    let objects = ipset::objects::Objects::open(sizes, narrowed)?;
    Ok(Objects::Ipset(objects))
}

fn open_nftables(sizes: Sizes, narrowed: Narrowed) -> Result<Objects, Error> {
    let objects = nftables::objects::Objects::open(sizes, narrowed)?;
    Ok(Objects::Nftables(objects))
}
