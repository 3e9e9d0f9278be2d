//! The daemon: wires the parts, runs, reloads and stops them.
//!
//! It alone knows threads, channels, the clock and signals. Start: read the
//! configuration, open the database, put the kernel's sets in place, restore what
//! was in force, and only then say that we are ready. Stop: the reader first, then
//! the engine once it has judged what was read, then those who carry out.
//! SIGTERM leaves sets and rules where they are, so that a restart has no gap.

pub mod bans;
pub mod bus;
pub mod clerk;
pub mod clock;
mod ending;
pub mod flows;
pub mod heap;
pub mod ignorecommand;
pub mod ignored;
pub mod intake;
mod interfaces;
pub mod journals;
pub mod keeper;
pub mod kernel;
pub mod marks;
pub mod names;
pub mod operator;
pub mod pause;
mod programs;
pub mod protected;
pub mod recidive;
pub mod registrars;
mod report;
mod signals;
pub mod standing;
pub mod stock;
mod tags;
mod troubles;
pub mod unchanged;
pub mod upgrade;
pub mod verbs;
pub mod why;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;
use std::sync::{Arc, RwLock};
use std::thread;
use std::time::Duration;

use anyhow::Context;
use tokio::sync::mpsc as tokio_mpsc;
use tracing::{info, warn};

use crate::ban::archive::{Archive, Terms};
use crate::ban::record::Record;
use crate::config::native::SettingsError;
use crate::config::{self, Config, Database, JailConfig, Location, Purpose};
use crate::control;
use crate::engine::{self, Before, Checks, Effect, Engine, Event};
use crate::feed;
use crate::time::Time;
use bus::{Judge, Outlets};
use clock::Clock;
pub use ending::Ending;
use ending::{end_on_panic, finish};
use ignored::Answers;
use intake::{Intake, Progress, Ways};
use keeper::{Bell, Keeper};
use kernel::Kernel;
use operator::{Operator, SideWays};
use protected::guarded;
use recidive::Recidive;
use report::report;
use signals::Signals;
use stock::Left;
use upgrade::Program;

/// The name under which the times of requests to APIBAN are kept.
const REQUESTS_FACT: &str = "apiban.requests";

/// How long the logs wait for names that jails ignore and that never had an answer, since
/// what is recent in them is judged at once. Bans are in force and we are ready meanwhile;
/// later answers count when they come.
const NAMES_PATIENCE: Duration = Duration::from_secs(1);

/// What the command line says.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the configuration lies.
    pub location: Location,
    /// The control socket, if not the one that the settings name.
    pub socket: Option<PathBuf>,
    /// Do everything but the kernel.
    pub dry_run: bool,
}

impl Options {
    fn config(&self) -> Result<Config, SettingsError> {
        let purpose = match self.dry_run {
            true => Purpose::Judge,
            false => Purpose::Ban,
        };
        Config::load(&self.location, purpose)
    }
}

/// Takes away the rules that a daemon left in the kernel, which kept its state in this
/// folder: nothing is blocked any more.
pub fn remove_rules(state_dir: &Path) -> anyhow::Result<()> {
    Kernel::remove_rules()?;
    Ok(stock::remove(&Left::in_folder(state_dir))?)
}

/// Takes away the rules and sets that it left there.
pub fn purge(state_dir: &Path) -> anyhow::Result<()> {
    Kernel::purge()?;
    Ok(stock::remove(&Left::in_folder(state_dir))?)
}

/// Runs until it is told to stop.
pub fn run(options: &Options) -> anyhow::Result<()> {
    end_on_panic();
    let clock = Clock::start();
    let started = clock.now();
    let program = Program::running();
    let mut config = options.config()?;
    if config.jails.is_empty() {
        anyhow::bail!("no jail can run: {}", config.problems.join("; "));
    }
    let feed_settings = config::feed_settings(&config.settings).map_err(anyhow::Error::msg)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    // First of all, so that a second daemon changes nothing.
    let listener = {
        let _guard = runtime.enter();
        bind(options.socket.as_ref().unwrap_or(&config.settings.socket))?
    };
    let unchanged = !options.dry_run && unchanged::are_they(&config);
    let mut archive = open_archive(options, &config, started);
    let answers = archive.facts(ignored::ANSWERS_FACT);
    let mut answers = answers
        .first()
        .map_or_else(Answers::default, |json| Answers::from_json(json));
    answers.fill(&mut config.jails);
    let found = protected::found_before(&archive, started);
    let known = protected::everybody(&config, &found).unwrap_or_else(|| {
        warn!("this machine's own addresses cannot be read yet");
        protected::everybody_else(&config, &found)
    });
    let checks = checks(&feed_settings);
    let rules: Vec<_> = config.jails.iter().map(|jail| jail.rules.clone()).collect();
    let layouts = stock::layouts(&config);
    let sets = stock::sets_beside(&layouts, &rules);
    let paused_until = pause::before(&archive, started);
    let paused = paused_until.is_some();
    let left = match options.dry_run {
        true => Left::none(),
        false => Left::in_folder(&config.settings.state_dir),
    };
    let stock = stock::take_over(&left, &config, &layouts, paused);
    // What disk and kernel hold is read at the same time, once the kernel drops again.
    let (kept, held) = thread::scope(|scope| {
        let loading = scope.spawn(|| archive.load(started));
        let held =
            Kernel::open(options.dry_run, &config, &sets, stock, paused).and_then(|mut kernel| {
                let unchanged = unchanged && !kernel.must_be_read();
                let held = kernel.entries(!unchanged)?;
                Ok((held, unchanged, kernel.listed(started)?, kernel))
            });
        (loading.join(), held)
    });
    let kept = kept.map_err(|_| anyhow::anyhow!("the database could not be read: a panic"))?;
    let (mut in_sets, unchanged, on_list, mut kernel) = held?;
    match unchanged {
        true if archive.is_whole() => {
            info!("the kernel's sets are unchanged since the last run, and are not read");
            in_sets.append(&mut unchanged::held(&sets, &kept.bans, started));
        }
        // Nobody else knows who is in them.
        true => in_sets = kernel.entries(true)?,
        false => {}
    }
    let mut engine = Engine::new(rules, guarded(&known), checks, started);
    let mut effects = Vec::new();
    let before = Before {
        bans: kept.bans,
        history: kept.history,
        tries: kept.tries,
        standings: kept.standings,
        listed: kept.listed,
        kernel: in_sets,
        lost: !archive.is_whole(),
    };
    let neighbours = Event::Infrastructure(protected::neighbours());
    engine.handle(neighbours, started, &mut effects);
    engine.restore(before, &on_list, started, &mut effects);
    let memory = memory(&archive, engine.listed());
    let cursors = archive.facts(journals::CURSOR_FACTS);
    kernel.enlarge(&engine, started)?;
    for (set, addr) in kernel.apply(&mut effects) {
        engine.handle(Event::Refused { set, addr }, started, &mut effects);
    }
    for order in engine.missing_on_list(&on_list, started) {
        kernel.apply(&mut vec![Effect::Order(order)]);
    }
    drop(on_list); // of a million addresses it is 19 MB
    // Until the database is read nobody knows who is banned: all stay (see `clerk`).
    if !archive.is_unread() {
        kernel.settle(archive.is_whole(), &mut engine, started, &mut effects);
    }
    let restored = engine.ledger().len();

    let report = report(options, &config, &kernel, &feed_settings, &known, restored);
    // A report that nobody can read is no reason to protect nobody.
    let _unread = std::io::stdout().write_all(report.as_bytes());
    let (lists, list_orders) = channel();
    let (clerk, papers) = channel();
    let (feed_sender, feed_commands) = tokio_mpsc::unbounded_channel();
    let (flows, flow_bell) = flows::bell();
    let (asked, questions) = tokio_mpsc::channel(ignorecommand::WAITING_MAX);
    let outlets = Outlets {
        lists,
        clerk,
        feed: feed_sender.clone(),
        flows,
        asked: asked.clone(),
    };
    // The bans among them are in the kernel already.
    outlets.send(&mut effects, &clock, &mut Vec::new());
    let (firewall, another) = (kernel.describe(), kernel.another()?);
    let actions = kernel.actions()?;
    let stock = stock::Shared::new(actions.stock);
    let (door, waiting) = stock::Door::new(&layouts);
    let hands = stock::Hands {
        ours: actions.bans,
        door: door.clone(),
    };
    let conntrack = flows::open();
    engine.flows_can_be_asked(conntrack.is_some());
    let bell = Bell::new()?;
    let recidive = Recidive::new(&config);
    let hands = Box::new(hands);
    let judge = Judge::new(engine, clock, hands, outlets, recidive, bell.clone());
    let trouble = clerk::Trouble::default();
    let mut threads = vec![
        judge.start_clock()?,
        bus::load_lists(actions.lists, list_orders, judge.clone(), bell.clone())?,
        stock::start(stock.clone(), left, waiting, judge.clone(), bell.clone())?,
        clerk::start(
            archive,
            papers,
            judge.clone(),
            door.clone(),
            trouble.clone(),
        )?,
    ];
    if let Some(conntrack) = conntrack {
        threads.push(flows::start(conntrack, flow_bell, judge.clone())?);
    }
    let signals = {
        let _guard = runtime.enter();
        Signals::new()?
    };
    registrars::start(config.settings.registrars.clone(), judge.clone())?;
    let mut keeper = None;
    if let Some(firewall) = another {
        let kept = keeper::Kept {
            firewall,
            sets,
            stock,
        };
        let (one, thread) = Keeper::start(kept, paused_until, judge.clone(), bell)?;
        keeper = Some(one);
        threads.push(thread);
    }
    judge.keep(running(&config.jails));
    let (named, names) = tokio_mpsc::channel(names::WAITING_MAX);
    let ways = Ways {
        judge: judge.clone(),
        named,
        asked: asked.clone(),
    };
    let before = Progress {
        places: kept.places,
        foreign: kept.foreign,
        cursors,
    };
    let mut intake = Intake::start(&config.jails, before, ways)?;
    // All that disk and kernel know is in force, and the logs are open. What
    // may wait for somebody comes after.
    if let Err(error) = sd_notify::notify(&[sd_notify::NotifyState::Ready]) {
        warn!(%error, "systemd could not be told that we are ready");
    }
    let asked_names = ignored::names(&config.jails);
    let missing = answers.missing(&asked_names);
    let found_names = runtime.block_on(ignored::look_up(&missing, NAMES_PATIENCE));
    ignored::learn(
        &mut answers,
        &asked_names,
        found_names,
        &mut config.jails,
        &judge,
    );
    judge.visit(|engine, now, _| engine.reads_back(now));
    intake.begin();

    let guard = Arc::new(RwLock::new(guarded(&known)));
    let parts = operator::Parts {
        options: options.clone(),
        started,
        firewall,
        keeper: keeper.clone(),
        door: door.clone(),
        judge: judge.clone(),
        intake,
        feed: feed_sender,
        guard,
        trouble: trouble.clone(),
        program,
    };
    let current = operator::Current {
        config,
        known,
        found,
        requests: memory.requests.clone(),
        answers,
    };
    let operator = Operator::new(parts, current);
    let side_ways = SideWays {
        names,
        asked,
        questions,
        signals,
    };
    let stopped = runtime.block_on(operator.serve(
        listener,
        feed_settings,
        memory,
        feed_commands,
        side_ways,
    ))?;
    // A lookup may take as long as the system's resolver is patient; nobody waits for it.
    runtime.shutdown_background();
    if let Some(keeper) = keeper {
        keeper.close();
    }
    let (ending, config) = finish(stopped, &judge, &door, threads);
    if !options.dry_run && trouble.get().now.is_none() {
        unchanged::note(&config);
    }
    match ending {
        Ending::Leave | Ending::Lift => Ok(()),
        Ending::Purge if options.dry_run => Ok(()),
        Ending::Purge => Kernel::purge().inspect(|()| info!("rules and sets are taken away")),
        Ending::Upgrade(successor) => Err(successor.take_over()),
    }
}

/// The database. A dry run leaves nothing behind that a true run would enforce.
fn open_archive(options: &Options, config: &Config, now: Time) -> Archive {
    let Database {
        path,
        instead,
        purge_age,
        matches,
    } = &config.database;
    let terms = Terms {
        purge_age: *purge_age,
        matches: *matches,
    };
    let archive = match (path, instead) {
        (None, _) => Archive::none(),
        _ if options.dry_run => Archive::none(),
        (Some(path), None) => Archive::open(path, now),
        (Some(path), Some(own)) => Archive::open_shared(path, own, now),
    };
    archive.on(terms)
}

/// Which jails run, for the database.
fn running(jails: &[JailConfig]) -> Record {
    Record::Jails(jails.iter().map(|jail| jail.rules.name.clone()).collect())
}

fn memory(archive: &Archive, held: usize) -> feed::Memory {
    let cursors = archive.facts(engine::CURSOR_FACTS);
    let requests = archive.facts(REQUESTS_FACT);
    let requests: Vec<i64> = requests
        .iter()
        .find_map(|json| serde_json::from_str(json).ok())
        .unwrap_or_default();
    feed::Memory {
        cursors: cursors
            .iter()
            .filter_map(|json| feed::Cursor::from_json(json))
            .collect(),
        requests: requests.into_iter().map(Time::from_micros).collect(),
        last_sync: None,
        held: u32::try_from(held).unwrap_or(u32::MAX),
    }
}

fn checks(settings: &feed::Settings) -> Checks {
    Checks {
        on: settings.check && settings.key.is_ok(),
        accept_reserved: settings.laboratory.accept_reserved,
    }
}

fn bind(socket: &Path) -> anyhow::Result<control::Listener> {
    if let Some(folder) = socket.parent() {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("the socket's folder {}", folder.display()))?;
    }
    Ok(control::bind(socket)?)
}
