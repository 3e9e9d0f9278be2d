//! The feed: what APIBAN knows about attackers.
//!
//! It loads APIBAN's list page by page and asks about single addresses, within a
//! budget of requests that is small. It speaks to the rest only by messages: a
//! [`Command`] goes in, a [`Report`] comes out; ledger, store and firewall are
//! elsewhere. Whatever the service does, the feed ends only when its commands do,
//! and it never takes an entry back: entries live out their time in the firewall.
//!
//! [`run`] is a thin shell around [`planner`], which decides, and [`http`], which
//! asks. The key is never shown, by any of them. What is absent: removals (there
//! is no feed of them), APIBAN's older API with the key in the URL, and the
//! plain-text list for firewalls.

pub mod answer;
pub mod backoff;
pub mod clock;
pub mod cursor;
pub mod http;
pub mod key;
pub mod limiter;
pub mod planner;
pub mod queue;
pub mod round;
pub mod servers;
pub mod settings;
pub mod state;
pub mod trouble;
pub mod verdicts;
pub mod vet;
pub mod walk;

use std::collections::hash_map::RandomState;
use std::future::Future;
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

pub use self::clock::{Clock, Now};
pub use self::cursor::{Cursor, CursorId};
pub use self::key::{Key, KeyFile, NoKey};
pub use self::settings::{BaseUrl, BaseUrlError, Laboratory, ListName, POLL_MIN, Settings};
pub use self::state::{Checks, Condition, State};
pub use self::verdicts::{Cached, Verdicts};
pub use self::vet::Rejections;

use self::backoff::Jitter;
use self::http::Client;
use self::planner::{CHECK_TIMEOUT, Do, LIST_TIMEOUT, Outcome, Planner};
use self::trouble::Trouble;
use crate::ticket::Verdict;
use crate::time::Time;

/// Lookups of the service's name that may wait to be noted. Two requests run at most.
const NAMES_MAX: usize = 8;

/// What the store kept from the last run. Leave out the cursors if the firewall's
/// entries could not be restored: then the list is read from its start.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    /// The places reached in the lists, one for each.
    pub cursors: Vec<Cursor>,
    /// When requests were made; those of the last three minutes matter.
    pub requests: Vec<Time>,
    /// When the list was last answered for; see [`State::last_sync`].
    pub last_sync: Option<Time>,
    /// How many entries of the list are in force.
    pub held: u32,
}

/// What the feed is told.
#[derive(Clone, Debug)]
pub enum Command {
    /// Ask about an address; one [`Report::Answer`] follows, perhaps at once.
    Check(IpAddr),
    /// The entries of this page are in force, and its cursor is kept.
    Applied {
        /// [`Page::seq`].
        page: u64,
        /// How many entries of the list are in force now.
        held: u32,
    },
    /// The firewall did not take the page, and its cursor was not kept.
    LoadFailed {
        /// [`Page::seq`].
        page: u64,
    },
    /// The firewall lost the entries: read the list from its start.
    Resync,
    /// The configuration was read again.
    Settings(Box<Settings>),
}

/// What the feed tells.
#[derive(Clone, Debug, PartialEq)]
pub enum Report {
    /// Entries to put in force. Nothing more is loaded until
    /// [`Command::Applied`] or [`Command::LoadFailed`] says what became of them.
    Page(Page),
    /// The answer to [`Command::Check`].
    Answer {
        /// The address, in canonical form.
        ip: IpAddr,
        /// What is known of it.
        verdict: Verdict,
    },
    /// A request is about to be made; to be kept, see [`Memory::requests`].
    Requesting(Time),
    /// All addresses of the service, which no list may ban; they belong into the
    /// allow set. Comes before the first page, and when they change.
    Servers(Vec<IpAddr>),
    /// How the feed does.
    State(Box<State>),
}

/// A page of the list: parsed, vetted, each address once.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    /// Its number, from 1, since the feed began.
    pub seq: u64,
    /// Whom, and when it expires. May be empty; the cursor counts all the same.
    pub entries: Vec<(IpAddr, Time)>,
    /// To be kept once the entries are in force, instead of any other of the same list.
    pub cursor: Cursor,
    /// Entries that were left out, by reason.
    pub rejected: Rejections,
}

/// Runs the feed until `commands` closes.
///
/// `reports` must not block for long. Its calls are bounded by their causes: one
/// page at a time, one answer for each check, a few states for each request.
pub async fn run(
    settings: Settings,
    memory: Memory,
    clock: Clock,
    protected: Arc<dyn Fn(IpAddr) -> bool + Send + Sync>,
    mut commands: mpsc::UnboundedReceiver<Command>,
    mut reports: impl FnMut(Report),
) {
    let (names, mut looked_up) = mpsc::channel(NAMES_MAX);
    let jitter = Jitter::new(RandomState::new().hash_one("feed"));
    let mut shell = Shell {
        planner: Planner::new(settings, memory, jitter, clock.now()),
        clock,
        names,
        client: None,
        list: None,
        check: None,
    };
    loop {
        let wake = shell.start_what_is_due();
        shell.tell(&mut reports);
        tokio::select! {
            biased; // addresses of the service are known before what it says
            Some(ips) = looked_up.recv() => shell.planner.servers(&ips, shell.clock.now()),
            command = commands.recv() => match command {
                Some(command) => shell.obey(command, &*protected),
                None => return,
            },
            outcome = finished(&mut shell.list) => {
                shell.planner.fetched(outcome, &*protected, shell.clock.now());
            }
            outcome = finished(&mut shell.check) => {
                shell.planner.checked(outcome, shell.clock.now());
            }
            () = shell.clock.clone().wait_until(wake) => {}
        }
    }
}

/// A request under way. To drop it is to end its connection.
type Running = Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// What stands around the planner: the network and the clock.
struct Shell {
    planner: Planner,
    clock: Clock,
    names: mpsc::Sender<Vec<IpAddr>>,
    client: Option<Arc<Client>>,
    list: Option<Running>,
    check: Option<Running>,
}

impl Shell {
    /// Starts all requests that are due; returns until when to wait for more.
    fn start_what_is_due(&mut self) -> Option<Duration> {
        loop {
            match self.planner.next(self.clock.now()) {
                Do::Fetch(cursor) => {
                    let client = self.client();
                    let request = async move { client?.list(&cursor).await };
                    self.list = Some(self.within(LIST_TIMEOUT, request));
                }
                Do::Check(ip) => {
                    let client = self.client();
                    let request = async move { client?.check(ip).await };
                    self.check = Some(self.within(CHECK_TIMEOUT, request));
                }
                Do::Wait(until) => return until,
            }
        }
    }

    /// The client. One that cannot be made now is tried again with the next request.
    fn client(&mut self) -> Result<Arc<Client>, Trouble> {
        if let Some(client) = &self.client {
            return Ok(Arc::clone(client));
        }
        let client = Arc::new(Client::new(self.planner.settings(), self.names.clone())?);
        self.client = Some(Arc::clone(&client));
        Ok(client)
    }

    /// The request, given up when it is not done after `limit`, however busy it is.
    fn within(
        &self,
        limit: Duration,
        request: impl Future<Output = Outcome> + Send + 'static,
    ) -> Running {
        let clock = self.clock.clone();
        let deadline = clock.now().mono + limit;
        Box::pin(async move {
            tokio::select! {
                outcome = request => outcome,
                () = clock.wait_until(Some(deadline)) => Err(Trouble::Slow(limit.as_secs())),
            }
        })
    }

    fn obey(&mut self, command: Command, protected: &dyn Fn(IpAddr) -> bool) {
        let now = self.clock.now();
        match command {
            Command::Check(ip) => self.planner.ask(ip, protected, now),
            Command::Applied { page, held } => self.planner.loaded(page, held, now),
            Command::LoadFailed { page } => self.planner.not_loaded(page, now),
            Command::Resync => {
                self.planner.resync(now);
                self.drop_requests();
            }
            Command::Settings(settings) => {
                if self.planner.reload(*settings, now) {
                    self.drop_requests();
                }
                self.client = None; // a renewed `ca_file` counts from now on
            }
        }
    }

    fn drop_requests(&mut self) {
        self.list = None;
        self.check = None;
    }

    /// Hands on what the planner has to say.
    fn tell(&mut self, reports: &mut impl FnMut(Report)) {
        let host = self.planner.settings().base_url.host().to_owned();
        for notice in self.planner.take_notices() {
            if notice.is_error() {
                tracing::error!(%host, "APIBAN {notice}");
            } else if notice.is_info() {
                tracing::info!(%host, "APIBAN {notice}");
            } else if notice.is_detail() {
                tracing::debug!(%host, "APIBAN {notice}");
            } else {
                tracing::warn!(%host, "APIBAN {notice}");
            }
        }
        for report in self.planner.take_reports(self.clock.now()) {
            reports(report);
        }
    }
}

/// Waits for the request, for ever if there is none, and clears it away.
async fn finished(running: &mut Option<Running>) -> Outcome {
    let outcome = match running {
        Some(request) => request.as_mut().await,
        None => std::future::pending().await,
    };
    *running = None;
    outcome
}
