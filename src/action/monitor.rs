//! The kernel's word that somebody changed its nf_tables.
//!
//! iptables in its nf_tables form, firewalld, nft and we ourselves all change them, so a
//! word says only that it is time to look. Old iptables gives none, and ipset neither:
//! looking now and then is needed besides (see [`Firewall::glance`](super::Firewall::glance)).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::netlink::{NETFILTER, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recv, socket_with};

use super::error::Error;

/// `NFNLGRP_NFTABLES`, as the bit that a socket's address wants.
const GROUP_NFTABLES: u32 = 1 << (7 - 1);

/// What is said is not read, so a little room is enough.
const WORD_BYTES: usize = 256;

/// Words that are taken at once; a ruleset of thousands of rules says one for each.
const WORDS_MAX: usize = 10_000;

/// Listens.
#[derive(Debug)]
pub struct Monitor(OwnedFd);

impl Monitor {
    /// Begins to listen. A kernel without nf_tables never says anything.
    pub fn open() -> Result<Self, Error> {
        let failed = |doing: &'static str| {
            move |errno: Errno| Error::Socket {
                doing,
                reason: errno.to_string(),
            }
        };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            flags,
            Some(NETFILTER),
        )
        .map_err(failed("open"))?;
        bind(&socket, &SocketAddrNetlink::new(0, GROUP_NFTABLES)).map_err(failed("listen at"))?;
        Ok(Monitor(socket))
    }

    /// Takes in what was said; was there anything?
    pub fn heard(&self) -> bool {
        let mut word = [0; WORD_BYTES];
        let mut heard = false;
        for _ in 0..WORDS_MAX {
            match recv(&self.0, &mut word[..], RecvFlags::empty()) {
                Ok(_) | Err(Errno::NOBUFS) => heard = true, // more was said than there was room for
                Err(Errno::INTR) => {}
                Err(_) => break,
            }
        }
        heard
    }
}

impl AsFd for Monitor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
