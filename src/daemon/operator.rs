//! The side doors, on one asynchronous thread: the control socket, the feed,
//! signals, and a look at our own addresses now and then.

mod look_after;
mod reload;
mod shown;

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use serde::Serialize;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tracing::{error, info};

use super::bans;
use super::bus::Judge;
use super::clerk::Trouble;
use super::ignored::Answers;
use super::intake::Intake;
use super::keeper::Keeper;
use super::protected::{Found, Known, refusal};
use super::signals::{Signals, Told};
use super::upgrade::Program;
use super::verbs::{BanShown, Checked, NO_ANSWER, Pardoned, Paused, Reloaded, Verb};
use super::why;
use super::{Ending, Options, REQUESTS_FACT, ignorecommand, names, pause, stock};
use crate::addr::Addr;
use crate::config::{Config, IgnoreCommand};
use crate::control::{self, Reply, Request};
use crate::engine::{Engine, Event, Refusal};
use crate::feed::{self, Command, Report};
use crate::filter::lines::Named;
use crate::jail::protect::Protected;
use crate::ticket::{Ban, Failure, JailName, Verdict};
use crate::time::{BanTime, Time};
use shown::shown;

/// How long `apiban check` waits for an answer; the feed asks for 5 s at most, but
/// the rate limit may keep the question for longer.
const CHECK_PATIENCE: Duration = Duration::from_secs(8);

/// Times of requests to APIBAN that are kept: as many as a window can hold.
const REQUESTS_KEPT: usize = 16;

/// What the operator's thread works with.
pub struct Parts {
    /// From the command line.
    pub options: Options,
    /// When the daemon was started.
    pub started: Time,
    /// Where bans go, in words.
    pub firewall: String,
    /// Who looks after the firewall; none in a dry run.
    pub keeper: Option<Keeper>,
    /// The way to jails with stock actions.
    pub door: stock::Door,
    /// The engine.
    pub judge: Judge,
    /// The reader.
    pub intake: Intake,
    /// To the feed.
    pub feed: mpsc::UnboundedSender<Command>,
    /// Who is protected, for the feed.
    pub guard: Arc<RwLock<Protected>>,
    /// What is wrong with the database.
    pub trouble: Trouble,
    /// The program that we are.
    pub program: Option<Program>,
}

/// What is in force and known now; a reload or a look at the world changes it.
pub struct Current {
    /// The configuration in force.
    pub config: Config,
    /// Who is protected, and why.
    pub known: Vec<Known>,
    /// Those among them who were found by asking.
    pub found: Found,
    /// When APIBAN was asked lately.
    pub requests: Vec<Time>,
    /// What the names stand for that jails ignore.
    pub answers: Answers,
}

/// The ways of failures that are not judged at once, and of signals.
pub struct SideWays {
    /// Host names to be looked up.
    pub names: mpsc::Receiver<Named>,
    /// Where their failures go on.
    pub asked: mpsc::Sender<Failure>,
    /// Failures to be asked about.
    pub questions: mpsc::Receiver<Failure>,
    /// What the system tells us.
    pub signals: Signals,
}

/// What is left when the daemon shall end.
pub struct Stopped {
    /// The reader, still running.
    pub intake: Intake,
    /// What is done at the end.
    pub ending: Ending,
    /// The configuration at the end.
    pub config: Config,
}

/// The operator's side of the daemon.
pub struct Operator {
    parts: Parts,
    current: RefCell<Current>,
    /// How the feed was when it last told.
    feed_state: RefCell<Option<feed::State>>,
    /// Those who wait for the feed's answer about an address.
    waiting: RefCell<HashMap<IpAddr, Vec<oneshot::Sender<Verdict>>>>,
    /// How the daemon shall end.
    ending: RefCell<Ending>,
    stop: Notify,
    /// The configuration was read again.
    reloaded: watch::Sender<()>,
    /// Held by whoever reads it.
    reloading: tokio::sync::Mutex<()>,
}

impl Operator {
    /// Takes its parts over.
    pub fn new(parts: Parts, current: Current) -> Rc<Operator> {
        Rc::new(Operator {
            parts,
            current: RefCell::new(current),
            feed_state: RefCell::default(),
            waiting: RefCell::default(),
            ending: RefCell::default(),
            stop: Notify::new(),
            reloaded: watch::Sender::new(()),
            reloading: tokio::sync::Mutex::default(),
        })
    }

    /// Serves until the daemon shall end.
    pub async fn serve(
        self: Rc<Self>,
        listener: control::Listener,
        settings: feed::Settings,
        memory: feed::Memory,
        commands: mpsc::UnboundedReceiver<Command>,
        ways: SideWays,
    ) -> anyhow::Result<Stopped> {
        let guard = self.parts.guard.clone();
        let is_protected =
            move |ip: IpAddr| guard.read().is_ok_and(|guard| guard.covers(&ip.into()));
        let reports = {
            let operator = self.clone();
            move |report| operator.report(report)
        };
        let handler = {
            let operator = self.clone();
            move |request| operator.clone().answer(request)
        };
        let command = {
            let operator = self.clone();
            move |jail: &JailName| operator.ignore_command(jail)
        };
        let database = {
            let operator = self.clone();
            move || {
                Some(ignorecommand::Database {
                    path: operator.database()?,
                    matches: operator.current.borrow().config.database.matches,
                })
            }
        };
        let warns = {
            let operator = self.clone();
            move |jail: &JailName| operator.warns_of_names(jail)
        };
        tokio::select! {
            served = control::serve(listener, handler, self.stop.notified()) => served?,
            () = feed::run(settings, memory, feed::Clock::system(Time::now), Arc::new(is_protected), commands, reports) => {}
            () = names::serve(ways.names, ways.asked, warns) => {}
            () = ignorecommand::serve(ways.questions, command, database, self.parts.judge.clone()) => {}
            () = self.look_after_protected() => {}
            () = self.look_after_names() => {}
            () = self.look_after_ignored() => {}
            () = self.obey(ways.signals) => {}
        }
        let ending = self.ending.take();
        tell_systemd(&ending);
        // The other holders of this operator were the futures above.
        let operator = Rc::try_unwrap(self)
            .map_err(|_| anyhow::anyhow!("the operator's thread is still in use"))?;
        Ok(Stopped {
            intake: operator.parts.intake,
            ending,
            config: operator.current.into_inner().config,
        })
    }

    async fn obey(&self, mut signals: Signals) {
        while let Told::Reload = signals.next().await {
            let reloaded = tokio::select! {
                reloaded = self.reload_or_upgrade() => reloaded,
                () = signals.stop() => return,
            };
            match reloaded {
                Ok(Reloaded { upgrade: None, .. }) => info!("configuration read again"),
                Ok(_) => {}
                Err(error) => {
                    error!(%error, "the configuration cannot be used; the one before stays")
                }
            }
        }
    }

    fn warns_of_names(&self, jail: &JailName) -> bool {
        let config = &self.current.borrow().config;
        config.jail(jail).is_some_and(|jail| jail.warns_of_names)
    }

    fn ignore_command(&self, jail: &JailName) -> Option<IgnoreCommand> {
        let config = &self.current.borrow().config;
        config.jail(jail)?.ignore.command.clone()
    }

    /// Where bans are written down, if they are.
    fn database(&self) -> Option<PathBuf> {
        let path = why::database(&self.current.borrow().config);
        path.filter(|path| !self.parts.options.dry_run && path.exists())
    }

    fn report(&self, report: Report) {
        match report {
            Report::Page(page) => self.parts.judge.event(Event::Page(page)),
            Report::Answer { ip, verdict } => {
                self.parts.judge.event(Event::Answer(ip, verdict));
                let waiting = self.waiting.borrow_mut().remove(&ip);
                for sender in waiting.into_iter().flatten() {
                    let _gone = sender.send(verdict);
                }
            }
            Report::Requesting(time) => {
                let mut current = self.current.borrow_mut();
                // On the engine's clock, so that one who sets the wall's makes none older.
                let clock = self.parts.judge.clock();
                current.requests.push(clock.inward(time));
                let surplus = current.requests.len().saturating_sub(REQUESTS_KEPT);
                current.requests.drain(..surplus);
                let times: Vec<i64> = current
                    .requests
                    .iter()
                    .map(|time| clock.outward(*time).as_micros())
                    .collect();
                self.parts
                    .judge
                    .event(Event::Fact(REQUESTS_FACT.to_owned(), format!("{times:?}")));
            }
            Report::Servers(servers) => {
                self.current.borrow_mut().found.servers = servers;
                self.renew_protected();
            }
            Report::State(state) => *self.feed_state.borrow_mut() = Some(*state),
        }
    }

    async fn answer(self: Rc<Self>, request: Request) -> Reply {
        match request.native::<Verb>() {
            None => Reply::error(format!(
                "`{}` is a command of fail2ban's, which this version does not know yet",
                request.words.join(" ").chars().take(80).collect::<String>()
            )),
            Some(Err(error)) => Reply::error(format!("the request cannot be understood: {error}")),
            Some(Ok(verb)) => self.carry_out(verb).await,
        }
    }

    async fn carry_out(&self, verb: Verb) -> Reply {
        if let Err(ends) = self.goes_on() {
            return Reply::error(ends);
        }
        match verb {
            Verb::Status => reply(Ok(self.status().await)),
            Verb::Ban { addr, jail, secs } => reply(self.ban(&addr, jail, secs)),
            Verb::Bans { jail, after } => reply(bans::page(&self.parts.judge, jail, after)),
            Verb::Why { addr, for_customer } => reply(self.why(&addr, for_customer).await),
            Verb::Unban { addr } => reply(self.unban(&addr)),
            Verb::Reload => reply(self.reload_or_upgrade().await),
            Verb::Stop { purge } => reply(self.end(purge).await),
            Verb::Pause { secs } => reply(self.pause(secs).await),
            Verb::Firewall => reply(self.firewall().await),
            Verb::Repair => reply(self.repair().await),
            Verb::Resume => reply(self.resume().await),
            Verb::ApibanStatus => reply(Ok(self.apiban())),
            Verb::ApibanCheck { addr } => reply(self.check(&addr).await),
        }
    }

    /// Who asks while the daemon ends must ask another one.
    fn goes_on(&self) -> Result<(), String> {
        match *self.ending.borrow() {
            Ending::Leave => Ok(()),
            _ => Err("ringfence is about to end; ask again when it runs".to_owned()),
        }
    }

    /// Looks at the engine; nobody is banned meanwhile, so it is brief.
    fn engine<R>(&self, look: impl FnOnce(&Engine) -> R) -> R {
        self.parts.judge.visit(|engine, _, _| look(engine))
    }

    async fn pause(&self, secs: u64) -> Result<Paused, String> {
        let (keeper, judge) = (self.parts.keeper.clone(), self.parts.judge.clone());
        aside(move || pause::begin(keeper.as_ref(), &judge, secs)).await
    }

    async fn resume(&self) -> Result<Paused, String> {
        let (keeper, judge) = (self.parts.keeper.clone(), self.parts.judge.clone());
        aside(move || pause::end(keeper.as_ref(), &judge)).await
    }

    async fn repair(&self) -> Result<Vec<String>, String> {
        let keeper = self.kept()?.clone();
        aside(move || keeper.repair()).await
    }

    fn ban(&self, addr: &str, jail: Option<String>, secs: Option<u64>) -> Result<BanShown, String> {
        let addr: Addr = addr
            .parse()
            .map_err(|error: crate::addr::AddrError| error.to_string())?;
        if secs == Some(0) {
            return Err("a ban of 0 seconds is none; write at least 1".to_owned());
        }
        let bantime = secs.map(|secs| BanTime::For(Duration::from_secs(secs)));
        let ban = self
            .parts
            .judge
            .visit(|engine, now, effects| engine.ban(addr, jail.as_deref(), bantime, now, effects));
        ban.map(|ban| shown(&self.parts.judge.clock(), ban))
            .map_err(|refused| match refused {
                Refusal::Protected(addr) => refusal(&addr, &self.current.borrow().known),
                other => other.to_string(),
            })
    }

    fn unban(&self, addr: &str) -> Result<Pardoned, String> {
        let addr: Addr = addr
            .parse()
            .map_err(|error: crate::addr::AddrError| error.to_string())?;
        let pardon = self
            .parts
            .judge
            .visit(|engine, now, effects| engine.unban(addr, now, effects));
        if self.parts.trouble.get().now.is_some() {
            self.parts.door.pardon(addr); // it may not have been read yet
        }
        let clock = self.parts.judge.clock();
        let shown = |bans: &[Ban]| bans.iter().map(|ban| shown(&clock, ban.clone())).collect();
        Ok(Pardoned {
            lifted: shown(&pardon.lifted),
            wider: shown(&pardon.wider),
            listed: pardon.listed.iter().map(ToString::to_string).collect(),
        })
    }

    fn kept(&self) -> Result<&Keeper, String> {
        let keeper = self.parts.keeper.as_ref();
        keeper.ok_or_else(|| "this is a dry run: nothing is in the kernel".to_owned())
    }

    /// Ends the daemon. The rules go at once, however long all else takes.
    async fn end(&self, purge: bool) -> Result<u32, String> {
        *self.ending.borrow_mut() = match purge {
            true => Ending::Purge,
            false => Ending::Lift,
        };
        let lifted = match self.parts.keeper.clone() {
            None => Ok(()),
            Some(keeper) => aside(move || keeper.lift_for_good()).await,
        };
        let lifted = lifted.map_err(|error| {
            format!("ringfence ends, but its rules are not all gone: {error}; `ringfence stop` once more takes them away")
        });
        self.parts.door.end(true);
        self.stop.notify_one();
        // Nobody keeps anything any more, so it ends whatever was refused.
        lifted.map(|()| std::process::id())
    }

    async fn check(&self, addr: &str) -> Result<Checked, String> {
        let ip: IpAddr = addr
            .parse()
            .map_err(|_| format!("`{addr}` is not one address; write `192.0.2.7`"))?;
        let ip = ip.to_canonical();
        let shown = |verdict: Verdict, how: &str| Checked {
            addr: ip.to_string(),
            verdict: match verdict {
                Verdict::Listed => "listed",
                Verdict::NotListed => "not listed",
                Verdict::NoAnswer => NO_ANSWER,
            }
            .to_owned(),
            how: how.to_owned(),
        };
        if self.engine(move |engine| engine.listed_until(ip)).is_some() {
            return Ok(shown(Verdict::Listed, "on the list that we hold"));
        }
        let apiban = self.apiban();
        if !apiban.on {
            return Ok(shown(Verdict::NoAnswer, &apiban.summary));
        }
        let (sender, receiver) = oneshot::channel();
        self.waiting
            .borrow_mut()
            .entry(ip)
            .or_default()
            .push(sender);
        let _ended = self.parts.feed.send(Command::Check(ip));
        let answer = tokio::time::timeout(CHECK_PATIENCE, receiver).await;
        Ok(match answer {
            Ok(Ok(verdict)) => shown(verdict, "asked just now"),
            _ => shown(
                Verdict::NoAnswer,
                "nothing came in time; the rate limit or the service keeps it",
            ),
        })
    }
}

/// A manager that is not there need not be told.
fn tell_systemd(ending: &Ending) {
    let now = sd_notify::NotifyState::monotonic_usec_now();
    let _untold = match (ending, now) {
        (Ending::Upgrade(_), Ok(now)) => {
            sd_notify::notify(&[sd_notify::NotifyState::Reloading, now])
        }
        _ => sd_notify::notify(&[sd_notify::NotifyState::Stopping]),
    };
}

fn reply<T: Serialize>(result: Result<T, String>) -> Reply {
    match result {
        Ok(answer) => Reply::native(&answer),
        Err(error) => Reply::error(error),
    }
}

/// Has something done that may wait for programs and for the keeper, while this thread goes on.
async fn aside<R: Send + 'static>(
    work: impl FnOnce() -> Result<R, String> + Send + 'static,
) -> Result<R, String> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(format!("it was not done: {error}")))
}
