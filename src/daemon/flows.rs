//! Did we open a flow to an address? A thread asks the kernel's connection tracking, away
//! from the reader and from bans.
//!
//! Whoever asks does not wait: the engine holds the questions, rings, and the answer is an
//! event. Without one nobody is banned for what can be forged, so questions may grow old when
//! the kernel does not answer just now.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tracing::{debug, info};

use super::bus::{self, Judge};
use super::interfaces;
use crate::action::conntrack::Conntrack;
use crate::addr::Addr;
use crate::engine::Event;

/// For each second that reading the table takes, so many are waited: under a flood of
/// forged packets at a router with a million flows it takes a fifth of a core, not all.
const PAUSE: u32 = 4;

/// The longest such pause.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// The bell, and who hears it. Rung twice it is heard once: all questions are answered together.
pub fn bell() -> (SyncSender<()>, Receiver<()>) {
    sync_channel(1)
}

/// The kernel's table, if it can be read.
pub fn open() -> Option<Conntrack> {
    let opened = Conntrack::open().and_then(|mut conntrack| {
        conntrack.try_out()?;
        Ok(conntrack)
    });
    match opened {
        Ok(conntrack) => Some(conntrack),
        Err(trouble) => {
            info!(
                ?trouble,
                "connection tracking cannot be asked to whom we opened flows; we go on without"
            );
            None
        }
    }
}

/// Starts the thread. It ends when the judge has closed.
pub fn start(
    mut conntrack: Conntrack,
    bell: Receiver<()>,
    judge: Judge,
) -> anyhow::Result<JoinHandle<()>> {
    bus::named("flows", move || {
        while let Ok(()) = bell.recv() {
            let asked: Vec<Addr> = judge.visit(|engine, _, _| engine.asked_flows().collect());
            let start = Instant::now();
            let near = interfaces::addresses().unwrap_or_default();
            let is_near = |ip: IpAddr| near.iter().any(|network| network.contains(&ip));
            match conntrack.opened(&asked, is_near) {
                Ok(opened) => {
                    let opened: HashSet<Addr> = opened.into_iter().collect();
                    let answer = |addr: Addr| Event::Flow(addr, opened.contains(&addr));
                    judge.events(asked.into_iter().map(answer));
                }
                Err(trouble) => debug!(?trouble, "connection tracking did not answer"),
            }
            std::thread::park_timeout((start.elapsed() * PAUSE).min(PAUSE_MAX));
        }
    })
}
