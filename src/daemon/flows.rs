//! Did we open a flow to an address? A thread asks the kernel's connection tracking, away
//! from the reader and from bans.
//!
//! Whoever asks does not wait: the engine holds the questions, rings, and the answer is an
//! event. Without one nobody is banned for what can be forged, so questions may grow old when
//! the kernel does not answer just now.
//!
//! As long as somebody is banned for hints it is asked every few seconds, too, to whom we
//! send in vain: of a trunk that was banned our own drops eat the answers.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tracing::{debug, info};

use super::bus::{self, Judge};
use super::interfaces;
use crate::action::conntrack::Conntrack;
use crate::action::netlink::Trouble;
use crate::addr::Addr;
use crate::engine::Event;

/// For each second that reading the table takes, so many are waited: under a flood of
/// forged packets at a router with a million flows it takes a fifth of a core, not all.
const PAUSE: u32 = 4;

/// The longest such pause.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// How often it is asked to whom we send in vain: what we send is sent again, over UDP for 32
/// seconds, and a look takes a millisecond where there are few flows.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// For each second that this takes, so many are waited.
const LOOK_PAUSE: u32 = 20;

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
        // Bans from before the start may rest on hints.
        let (mut look, mut next_look) = (Some(Instant::now()), Instant::now());
        loop {
            let rung = match look {
                Some(look) => bell.recv_timeout(look.saturating_duration_since(Instant::now())),
                None => bell.recv().map_err(RecvTimeoutError::from),
            };
            match rung {
                Ok(()) => {
                    let start = Instant::now();
                    said(answer(&mut conntrack, &judge));
                    // What was answered bans, perhaps: what is sent to him by now is no news.
                    look = Some(next_look);
                    std::thread::park_timeout((start.elapsed() * PAUSE).min(PAUSE_MAX));
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            let start = Instant::now();
            if look.is_some_and(|look| look <= start) {
                let is_due = judge.visit(|engine, now, _| engine.bans_rest_on_hints(now));
                if is_due {
                    said(look_after(&mut conntrack, &judge));
                }
                let pause = LOOK_EVERY.max(start.elapsed() * LOOK_PAUSE);
                next_look = if is_due { start + pause } else { start };
                look = is_due.then_some(next_look);
            }
        }
    })
}

/// Answers what the engine asks.
fn answer(conntrack: &mut Conntrack, judge: &Judge) -> Result<(), Trouble> {
    let asked: Vec<Addr> = judge.visit(|engine, _, _| engine.asked_flows().collect());
    let opened: HashSet<Addr> = conntrack.opened(&asked, near())?.into_iter().collect();
    let answer = |addr: Addr| Event::Flow(addr, opened.contains(&addr));
    judge.events(asked.into_iter().map(answer));
    Ok(())
}

/// Tells the engine to whom we send in vain.
fn look_after(conntrack: &mut Conntrack, judge: &Judge) -> Result<(), Trouble> {
    let unanswered = conntrack.unanswered(near())?;
    judge.events([Event::Unanswered(unanswered)]);
    Ok(())
}

/// Is an address this machine's, or of a network in which it stands?
fn near() -> impl Fn(IpAddr) -> bool {
    let near = interfaces::addresses().unwrap_or_default();
    move |ip| near.iter().any(|network| network.contains(&ip))
}

fn said(done: Result<(), Trouble>) {
    if let Err(trouble) = done {
        debug!(?trouble, "connection tracking did not answer");
    }
}
