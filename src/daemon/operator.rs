//! The side doors, on one asynchronous thread: the control socket, the feed,
//! signals, and a look at our own addresses now and then.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use serde::Serialize;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::{error, info, warn};

use super::bans;
use super::bus::Judge;
use super::clerk::Trouble;
use super::clock::Clock;
use super::ignored::{self, Answers};
use super::intake::{self, Intake, LogStatus};
use super::keeper::{Condition, Keeper};
use super::protected::{self, Found, Known, NamesDue};
use super::recidive::Recidive;
use super::standing;
use super::upgrade::Program;
use super::verbs::{
    ApibanShown, BanShown, Checked, FirewallShown, JailShown, LogShown, NearMissShown, Pardoned,
    Paused, Reloaded, Status, Verb,
};
use super::why::{self, Evidence, Why};
use super::{
    Ending, Options, REQUESTS_FACT, Signals, Told, checks, ignorecommand, kernel, names, pause,
    running, stock, update_protected,
};
use crate::action::stock::{Layouts, describe};
use crate::addr::Addr;
use crate::config::{self, Config, IgnoreCommand};
use crate::control::{self, Reply, Request};
use crate::engine::{Engine, Event, Held};
use crate::feed::{self, Command, Report};
use crate::filter::lines::Named;
use crate::filter::near::NearMiss;
use crate::jail::protect::Protected;
use crate::ticket::{Ban, Failure, JailName, Set, Verdict};
use crate::time::{BanTime, Time};

/// Bans that `status` shows of each jail: a screen, and no flood.
const LATEST_SHOWN: usize = 10;

/// How long `apiban check` waits for an answer; the feed asks for 5 s at most, but
/// the rate limit may keep the question for longer.
const CHECK_PATIENCE: Duration = Duration::from_secs(8);

/// How long `why` waits for the database, which may be on a disk that is full or slow.
const LOOK_PATIENCE: Duration = Duration::from_secs(5);

/// Times of requests to APIBAN that are kept: as many as a window can hold.
const REQUESTS_KEPT: usize = 16;

/// How often names that jails ignore are looked up again: as long as fail2ban remembers them.
const IGNORED_EVERY: Duration = Duration::from_secs(300);

/// How often it is tried while one of them has no answer yet.
const UNANSWERED_EVERY: Duration = Duration::from_secs(5);

/// What the operator's thread is made of.
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
    /// The configuration in force.
    pub config: Config,
    /// Who is protected, and why.
    pub known: Vec<Known>,
    /// Those among them who were found by asking.
    pub found: Found,
    /// The same for the feed.
    pub guard: Arc<RwLock<Protected>>,
    /// When APIBAN was asked lately.
    pub requests: Vec<Time>,
    /// What is wrong with the database.
    pub trouble: Trouble,
    /// What the names stand for that jails ignore.
    pub answers: Answers,
    /// The program that we are.
    pub program: Option<Program>,
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

struct Changing {
    config: Config,
    known: Vec<Known>,
    found: Found,
    requests: Vec<Time>,
    answers: Answers,
    feed_state: Option<feed::State>,
    waiting: HashMap<IpAddr, Vec<oneshot::Sender<Verdict>>>,
    ending: Ending,
}

/// The operator's side of the daemon.
pub struct Operator {
    options: Options,
    started: Time,
    firewall: String,
    keeper: Option<Keeper>,
    door: stock::Door,
    judge: Judge,
    intake: Intake,
    feed: mpsc::UnboundedSender<Command>,
    guard: Arc<RwLock<Protected>>,
    trouble: Trouble,
    program: Option<Program>,
    changing: RefCell<Changing>,
    stop: Notify,
    /// The configuration was read again.
    reloaded: watch::Sender<()>,
}

impl Operator {
    /// Takes its parts over.
    pub fn new(parts: Parts) -> Rc<Operator> {
        let Parts {
            options,
            started,
            firewall,
            keeper,
            door,
            judge,
            intake,
            feed,
            config,
            known,
            found,
            guard,
            requests,
            trouble,
            answers,
            program,
        } = parts;
        let changing = Changing {
            config,
            known,
            found,
            requests,
            answers,
            feed_state: None,
            waiting: HashMap::new(),
            ending: Ending::Leave,
        };
        let changing = RefCell::new(changing);
        Rc::new(Operator {
            options,
            started,
            firewall,
            keeper,
            door,
            judge,
            intake,
            feed,
            guard,
            trouble,
            program,
            changing,
            stop: Notify::new(),
            reloaded: watch::Sender::new(()),
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
        let guard = self.guard.clone();
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
                    matches: operator.changing.borrow().config.database.matches,
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
            () = ignorecommand::serve(ways.questions, command, database, self.judge.clone()) => {}
            () = self.look_after_protected() => {}
            () = self.look_after_names() => {}
            () = self.look_after_ignored() => {}
            () = self.obey(ways.signals) => {}
        }
        let ending = std::mem::take(&mut self.changing.borrow_mut().ending);
        tell_systemd(&ending);
        // The other holders of this operator were the futures above.
        let operator = Rc::try_unwrap(self)
            .map_err(|_| anyhow::anyhow!("the operator's thread is still in use"))?;
        Ok(Stopped {
            intake: operator.intake,
            ending,
            config: operator.changing.into_inner().config,
        })
    }

    async fn obey(&self, mut signals: Signals) {
        loop {
            match signals.next().await {
                Told::Stop => return,
                Told::Reload => match self.reload_or_upgrade() {
                    Ok(Reloaded { upgrade: None, .. }) => info!("configuration read again"),
                    Ok(_) => {}
                    Err(error) => {
                        error!(%error, "the configuration cannot be used; the one before stays")
                    }
                },
            }
        }
    }

    async fn look_after_protected(&self) {
        let mut turns = tokio::time::interval(super::PROTECTED_EVERY);
        turns.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            turns.tick().await;
            let now = self.judge.now();
            self.changing.borrow_mut().found.look(now);
            self.renew_protected();
        }
    }

    /// Looks up the names of `protect`, each when it is due.
    async fn look_after_names(&self) {
        let mut reloaded = self.reloaded.subscribe();
        let mut due = NamesDue::default();
        let mut lookups: JoinSet<(String, Option<protected::Answer>)> = JoinSet::new();
        loop {
            due.follow(
                &self.changing.borrow().config.settings.protect_names,
                Instant::now(),
            );
            let next = due.next().filter(|_| lookups.len() < names::LOOKUPS_MAX);
            let (name, at) = next.unzip();
            tokio::select! {
                _ = reloaded.changed() => {}
                Some(Ok((name, answer))) = lookups.join_next() => {
                    due.done(&name, answer.as_ref(), Instant::now());
                    self.learn_name(&name, answer);
                }
                () = until(at) => if let Some(name) = name {
                    due.begin(&name);
                    lookups.spawn(async move {
                        let answer = protected::look_up(&name).await;
                        (name, answer)
                    });
                },
            }
        }
    }

    /// Takes over what a name of `protect` stands for now.
    fn learn_name(&self, name: &str, answer: Option<protected::Answer>) {
        let Some(answer) = answer else {
            return info!(
                name,
                "protect: no answer; the last one holds, if there was one"
            );
        };
        let mut changing = self.changing.borrow_mut();
        let Changing { found, config, .. } = &mut *changing;
        found.names.keep(&config.settings.protect_names);
        if found.names.learn(name, &answer, self.judge.now()) {
            let fact = (
                protected::NAMES_FACT.to_owned(),
                changing.found.names.to_json(),
            );
            drop(changing);
            self.judge.event(Event::Fact(fact.0, fact.1));
            self.renew_protected();
        }
    }

    /// Looks up the names that jails ignore, and reads their files, again and again.
    async fn look_after_ignored(&self) {
        let mut reloaded = self.reloaded.subscribe();
        let mut pause = Duration::ZERO; // what is known may be of the last run
        loop {
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _ = reloaded.changed() => {}
            }
            let asked = ignored::names(&self.changing.borrow().config.jails);
            let answers = ignored::look_up(&asked, IGNORED_EVERY).await;
            let mut changing = self.changing.borrow_mut();
            let Changing {
                answers: known,
                config,
                ..
            } = &mut *changing;
            ignored::learn(known, &asked, answers, &mut config.jails, &self.judge);
            pause = match known.missing(&asked).is_empty() {
                true => IGNORED_EVERY,
                false => UNANSWERED_EVERY,
            };
        }
    }

    fn warns_of_names(&self, jail: &JailName) -> bool {
        let jails = &self.changing.borrow().config.jails;
        let mut jails = jails.iter().filter(|one| one.rules.name == *jail);
        jails.any(|jail| jail.warns_of_names)
    }

    fn ignore_command(&self, jail: &JailName) -> Option<IgnoreCommand> {
        let changing = self.changing.borrow();
        let jail = changing
            .config
            .jails
            .iter()
            .find(|one| one.rules.name == *jail)?;
        jail.ignore.command.clone()
    }

    /// Where bans are written down, if they are.
    fn database(&self) -> Option<PathBuf> {
        let path = why::database(&self.changing.borrow().config);
        path.filter(|path| !self.options.dry_run && path.exists())
    }

    fn renew_protected(&self) {
        let mut changing = self.changing.borrow_mut();
        if let Some(now_known) = protected::everybody(&changing.config, &changing.found) {
            update_protected(&self.judge, &mut changing.known, now_known, &self.guard);
        }
        self.judge
            .event(Event::Infrastructure(protected::neighbours()));
    }

    fn report(&self, report: Report) {
        match report {
            Report::Page(page) => self.judge.event(Event::Page(page)),
            Report::Answer { ip, verdict } => {
                self.judge.event(Event::Answer(ip, verdict));
                let waiting = self.changing.borrow_mut().waiting.remove(&ip);
                for sender in waiting.into_iter().flatten() {
                    let _gone = sender.send(verdict);
                }
            }
            Report::Requesting(time) => {
                let mut changing = self.changing.borrow_mut();
                // On the engine's clock, so that one who sets the wall's makes none older.
                let clock = self.judge.clock();
                changing.requests.push(clock.inward(time));
                let surplus = changing.requests.len().saturating_sub(REQUESTS_KEPT);
                changing.requests.drain(..surplus);
                let times: Vec<i64> = changing
                    .requests
                    .iter()
                    .map(|time| clock.outward(*time).as_micros())
                    .collect();
                self.judge
                    .event(Event::Fact(REQUESTS_FACT.to_owned(), format!("{times:?}")));
            }
            Report::Servers(servers) => {
                self.changing.borrow_mut().found.servers = servers;
                self.renew_protected();
            }
            Report::State(state) => self.changing.borrow_mut().feed_state = Some(*state),
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
        if self.changing.borrow().ending != Ending::Leave {
            return Reply::error("ringfence is about to end; ask again when it runs".to_owned());
        }
        match verb {
            Verb::Status => reply(Ok(self.status().await)),
            Verb::Ban { addr, jail, secs } => reply(self.ban(&addr, jail, secs)),
            Verb::Bans { jail, after } => reply(bans::page(&self.judge, jail, after)),
            Verb::Why { addr, for_customer } => reply(self.why(&addr, for_customer).await),
            Verb::Unban { addr } => reply(self.unban(&addr)),
            Verb::Reload => reply(self.reload_or_upgrade()),
            Verb::Stop { purge } => reply(self.end(purge)),
            Verb::Pause { secs } => reply(self.pause(secs)),
            Verb::Firewall => reply(self.firewall()),
            Verb::Repair => reply(self.kept().and_then(Keeper::repair)),
            Verb::Resume => reply(self.resume()),
            Verb::ApibanStatus => reply(Ok(self.apiban())),
            Verb::ApibanCheck { addr } => reply(self.check(&addr).await),
        }
    }

    /// Looks at the engine; nobody is banned meanwhile, so it is brief.
    fn engine<R>(&self, look: impl FnOnce(&Engine) -> R) -> R {
        self.judge.visit(|engine, _, _| look(engine))
    }

    fn pause(&self, secs: u64) -> Result<Paused, String> {
        pause::begin(self.keeper.as_ref(), &self.judge, secs)
    }

    fn resume(&self) -> Result<Paused, String> {
        pause::end(self.keeper.as_ref(), &self.judge)
    }

    async fn status(&self) -> Status {
        let clock = self.judge.clock();
        let layouts = stock::layouts(&self.changing.borrow().config);
        let (jails, banned, bans_total) = self.engine(|engine| {
            (
                jails(engine, &clock, &layouts, &self.changing.borrow().config),
                engine.ledger().len(),
                engine.bans_total(),
            )
        });
        let files = self.intake.files().await.unwrap_or_default();
        let apiban = self.apiban();
        let keeper = self.keeper.as_ref();
        let kept = keeper.map(Keeper::condition).unwrap_or_default();
        let changing = self.changing.borrow();
        let known = &changing.known;
        let now = self.judge.now();
        let standing = self.engine(|engine| standing::shown(engine, known, now));
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            started: self.started.as_secs(),
            dry_run: self.options.dry_run,
            firewall: self.firewall.clone(),
            paused_until: kept
                .paused_until
                .map(|until| clock.outward(until).as_secs()),
            firewall_missing: kept.missing,
            firewall_troubles: kept.troubles,
            firewall_fight: kept.fight,
            firewall_repairs: kept.repairs,
            database_trouble: self.trouble.get(),
            banned,
            bans_total,
            jails,
            standing,
            logs: files
                .iter()
                .map(
                    |LogStatus {
                         file,
                         losses,
                         missed,
                     }| LogShown {
                        path: file.path.display().to_string(),
                        state: intake::state(&file.state),
                        followed: intake::is_followed(&file.state),
                        offset: file.offset,
                        size: file.size,
                        lines_cut: file.lines_cut,
                        loss_reports: losses.reports,
                        messages_lost: losses.messages(),
                        near_misses: missed.iter().map(near_miss).collect(),
                    },
                )
                .collect(),
            apiban,
            protected: changing.known.clone(),
            problems: changing.config.problems.clone(),
        }
    }

    fn apiban(&self) -> ApibanShown {
        let listed = self.engine(Engine::listed);
        let changing = self.changing.borrow();
        let state = changing.feed_state.as_ref();
        ApibanShown {
            on: state.is_some_and(|state| state.condition != feed::Condition::Off),
            summary: state.map_or_else(|| "starting".to_owned(), summary),
            listed,
            feed: state
                .and_then(|state| serde_json::to_value(state).ok())
                .unwrap_or_default(),
        }
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
            .judge
            .visit(|engine, now, effects| engine.ban(addr, jail.as_deref(), bantime, now, effects));
        ban.map(|ban| shown(&self.judge.clock(), ban))
            .map_err(|refusal| refusal.to_string())
    }

    async fn why(&self, addr: &str, for_customer: bool) -> Result<Why, String> {
        let addr: Addr = addr
            .parse()
            .map_err(|error: crate::addr::AddrError| error.to_string())?;
        let about = self.judge.visit(|engine, now, _| engine.about(addr, now));
        let about = self.judge.clock().about_outward(about);
        let mut addrs: Vec<Addr> = about.bans.iter().map(|ban| ban.addr).collect();
        addrs.extend([addr, about.offender]);
        addrs.sort_unstable();
        addrs.dedup();
        let path = self.database();
        let look = tokio::task::spawn_blocking(move || why::written(path, &addrs));
        let written = match tokio::time::timeout(LOOK_PATIENCE, look).await {
            Ok(Ok(written)) => written,
            _ => Err("it takes too long".to_owned()),
        };
        let changing = self.changing.borrow();
        let keeper = self.keeper.as_ref();
        let kept = keeper.map(|keeper| keeper.with(|firewall| firewall.counters(&addr)));
        let mut trouble = Vec::new();
        let mut told = |what: &str, error: String| trouble.push(format!("{what}: {error}"));
        let stock = keeper.map_or(Ok(Vec::new()), |keeper| keeper.stock_entries(&addr));
        let evidence = Evidence {
            about,
            stock: stock.unwrap_or_else(|error| {
                told("the kernel", error.to_string());
                Vec::new()
            }),
            written: written.unwrap_or_else(|error| {
                told("the database", error);
                Vec::new()
            }),
            kept: kept
                .unwrap_or_else(|| Ok(Vec::new()))
                .unwrap_or_else(|error| {
                    told("the kernel", error.to_string());
                    Vec::new()
                }),
            known: &changing.known,
            config: &changing.config,
        };
        let mut why = why::why(addr, evidence, Time::now());
        why.trouble = trouble;
        why.dry_run = self.options.dry_run;
        Ok(match for_customer {
            true => why.for_customer(),
            false => why,
        })
    }

    fn unban(&self, addr: &str) -> Result<Pardoned, String> {
        let addr: Addr = addr
            .parse()
            .map_err(|error: crate::addr::AddrError| error.to_string())?;
        let pardon = self
            .judge
            .visit(|engine, now, effects| engine.unban(addr, now, effects));
        let clock = self.judge.clock();
        let shown = |bans: &[Ban]| bans.iter().map(|ban| shown(&clock, ban.clone())).collect();
        Ok(Pardoned {
            lifted: shown(&pardon.lifted),
            wider: shown(&pardon.wider),
            listed: pardon.listed.iter().map(ToString::to_string).collect(),
        })
    }

    fn kept(&self) -> Result<&Keeper, String> {
        let keeper = self.keeper.as_ref();
        keeper.ok_or_else(|| "this is a dry run: nothing is in the kernel".to_owned())
    }

    fn firewall(&self) -> Result<FirewallShown, String> {
        let keeper = self.kept()?;
        let Condition {
            missing,
            troubles,
            paused_until,
            repairs,
            fight,
        } = keeper.condition();
        Ok(FirewallShown {
            firewall: self.firewall.clone(),
            sets: keeper.sets(),
            paused_until: paused_until.map(|until| self.judge.clock().outward(until).as_secs()),
            missing,
            troubles,
            fight,
            repairs,
        })
    }

    /// Ends the daemon. The rules go at once, however long all else takes.
    fn end(&self, purge: bool) -> Result<u32, String> {
        let lifted = self.keeper.as_ref().map_or(Ok(()), |keeper| {
            keeper.lift_for_good().map_err(|error| {
                format!("ringfence ends, but its rules are not all gone: {error}; `ringfence stop` once more takes them away")
            })
        });
        self.door.end(true);
        self.changing.borrow_mut().ending = match purge {
            true => Ending::Purge,
            false => Ending::Lift,
        };
        self.stop.notify_one();
        // Nobody keeps anything any more, so it ends whatever was refused.
        lifted.map(|()| std::process::id())
    }

    /// Goes on as the program that has taken our place, if one has; else reads the
    /// configuration again.
    fn reload_or_upgrade(&self) -> Result<Reloaded, String> {
        let jails: Vec<String> = {
            let config = &self.changing.borrow().config;
            let jails = config.jails.iter();
            jails.map(|jail| jail.rules.name.to_string()).collect()
        };
        let program = self.program.as_ref();
        let Some(successor) = program.and_then(|one| one.successor(&self.options, &jails)) else {
            return self.reload();
        };
        let successor = successor?;
        let upgrade = Some(successor.version.clone());
        self.changing.borrow_mut().ending = Ending::Upgrade(successor);
        self.stop.notify_one();
        Ok(Reloaded {
            jails,
            problems: Vec::new(),
            upgrade,
        })
    }

    /// Reads the configuration again: all of it is taken, or nothing.
    fn reload(&self) -> Result<Reloaded, String> {
        let mut config = self.options.config().map_err(|error| error.to_string())?;
        if config.jails.is_empty() {
            return Err(format!("no jail could run: {}", config.problems.join("; ")));
        }
        let before = self.changing.borrow().config.clone();
        let is_running =
            |name: &&String| before.jails.iter().any(|jail| *jail.rules.name == ***name);
        if let Some(name) = config.broken.iter().find(is_running) {
            return Err(format!(
                "jail {name} runs and could not any more: {}",
                config.problems.join("; ")
            ));
        }
        let feed_settings = config::feed_settings(&config.settings)?;
        self.changing.borrow().answers.fill(&mut config.jails);
        let rules: Vec<_> = config.jails.iter().map(|jail| jail.rules.clone()).collect();
        let layouts = stock::layouts(&config);
        let sets = stock::sets_beside(&layouts, &rules);
        if let Some(keeper) = &self.keeper {
            keeper.set_sets(sets.clone(), config::reaches(&config.jails))?;
        }
        self.door.add(&layouts);
        let checks = checks(&feed_settings);
        self.judge
            .visit(|engine, now, effects| engine.reconfigure(rules, checks, now, effects));
        self.door.retain(&layouts);
        // Whose bans have another place by now: there they are laid on again.
        for jail in stock::moved(&stock::layouts(&before), &layouts) {
            let set = Set::Jail(jail);
            self.judge.visit(|engine, now, effects| {
                engine.lay_again(&set, &engine.in_force(&set), now, effects);
            });
        }
        self.judge.keep(running(&config.jails));
        if let Some(keeper) = &self.keeper {
            // Nobody orders anything in them any more.
            keeper.with(|firewall| kernel::remove_strays(firewall, &config));
        }
        self.bring_back(&before, &config, &sets);
        self.judge.watch_bans(Recidive::new(&config));
        self.intake.set_jails(config.jails.clone());
        let _ended = self.feed.send(Command::Settings(Box::new(feed_settings)));
        let reloaded = Reloaded {
            jails: config
                .jails
                .iter()
                .map(|jail| jail.rules.name.to_string())
                .collect(),
            problems: [only_at_start(&before, &config), config.problems.clone()].concat(),
            upgrade: None,
        };
        for problem in &config.problems {
            warn!("{problem}");
        }
        self.changing.borrow_mut().config = config;
        self.reloaded.send_replace(());
        self.renew_protected();
        Ok(reloaded)
    }

    /// Jails that did not run before get their bans back, before their logs are read.
    fn bring_back(&self, before: &Config, config: &Config, sets: &[Set]) {
        let ran = |name: &JailName| before.jails.iter().any(|jail| jail.rules.name == *name);
        let names = config.jails.iter().map(|jail| &jail.rules.name);
        let back: Vec<JailName> = names.filter(|name| !ran(name)).cloned().collect();
        if back.is_empty() {
            return;
        }
        let is_theirs = |set: &&Set| matches!(set, Set::Jail(jail) if back.contains(jail));
        let theirs = sets.iter().filter(is_theirs);
        let held = self.keeper.as_ref().map_or_else(
            || Ok(Held::new()),
            |keeper| keeper.with(|firewall| kernel::entries(firewall, theirs)),
        );
        let held = held.unwrap_or_else(|error| {
            warn!(%error, "what the kernel holds for jails that are back cannot be read");
            Held::new()
        });
        self.judge.bring_back(back, held);
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
                Verdict::NoAnswer => "no answer",
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
        self.changing
            .borrow_mut()
            .waiting
            .entry(ip)
            .or_default()
            .push(sender);
        let _ended = self.feed.send(Command::Check(ip));
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

/// Waits until then; without a time, for ever.
async fn until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
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

fn summary(state: &feed::State) -> String {
    let condition = match state.condition {
        feed::Condition::Off => "off",
        feed::Condition::Syncing => "on, reading the list",
        feed::Condition::Current => "on, the list is current",
        feed::Condition::Trouble => "in trouble",
        feed::Condition::RateLimited => "waiting, too many requests",
        feed::Condition::Refused => "the key is refused",
    };
    let stale = if state.stale {
        "; no news for a day"
    } else {
        ""
    };
    let why = state
        .why
        .as_ref()
        .map_or(String::new(), |why| format!(" ({why})"));
    format!("{condition}{why}{stale}")
}

fn near_miss((jail, miss): &(JailName, NearMiss)) -> NearMissShown {
    NearMissShown {
        jail: jail.to_string(),
        shape: miss.shape.to_string(),
        count: miss.count,
        sample: miss.sample.to_string(),
    }
}

fn jails(engine: &Engine, clock: &Clock, layouts: &Layouts, config: &Config) -> Vec<JailShown> {
    let shown = engine.jails().map(|jail| {
        let name = &jail.rules.name;
        let latest = latest(engine.ledger().of_jail(name));
        JailShown {
            name: name.to_string(),
            ports: config.ports_of(name),
            failing: jail.failing(),
            failures_total: jail.failures_total,
            banned: engine.ledger().len_of(name),
            places: layouts.get(name).map_or(Vec::new(), |own| describe(own)),
            latest: latest.into_iter().map(|ban| shown(clock, ban)).collect(),
        }
    });
    shown.collect()
}

/// A ban of the engine's, with the wall's times.
fn shown(clock: &Clock, ban: Ban) -> BanShown {
    BanShown::from(&clock.ban_outward(ban))
}

/// The latest bans, newest first. There may be very many to choose from.
fn latest(bans: impl Iterator<Item = Ban>) -> Vec<Ban> {
    let mut latest: Vec<Ban> = Vec::with_capacity(LATEST_SHOWN + 1);
    for ban in bans {
        let place =
            latest.partition_point(|other| (other.since, other.addr) > (ban.since, ban.addr));
        if place < LATEST_SHOWN {
            latest.truncate(LATEST_SHOWN - 1);
            latest.insert(place, ban);
        }
    }
    latest
}

/// What has changed in the settings and counts only after a restart.
fn only_at_start(before: &Config, after: &Config) -> Vec<String> {
    let database = before.database != after.database;
    let (before, after) = (&before.settings, &after.settings);
    let changed = [
        ("fail2ban.database", database),
        ("state_dir", before.state_dir != after.state_dir),
        ("socket", before.socket != after.socket),
        ("firewall", before.firewall != after.firewall),
        ("registrars", before.registrars != after.registrars),
        (
            "apiban.max_entries",
            before.apiban.max_entries != after.apiban.max_entries,
        ),
    ];
    let changed = changed.iter().filter(|(_, has_changed)| *has_changed);
    changed
        .map(|(key, _)| format!("`{key}` has changed; it counts after a restart"))
        .collect()
}
