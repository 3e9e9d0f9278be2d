//! A reload: the configuration is read again and all of it is taken, or nothing; or, where
//! a new program has taken our place, the daemon goes on as that.
//!
//! The keeper may be at work for as long as a program of the system's is, so what needs him is
//! done aside, and others are answered meanwhile. Reloads take turns.

use std::time::Duration;

use tokio::time::Instant;
use tracing::warn;

use super::super::bus::Judge;
use super::super::keeper::Keeper;
use super::super::recidive::Recidive;
use super::super::verbs::Reloaded;
use super::super::{Ending, checks, kernel, running, stock};
use super::{Operator, aside};
use crate::config::{self, Config};
use crate::control::client::SILENCE_MAX;
use crate::engine::Held;
use crate::feed::Command;
use crate::jail::Rules;
use crate::ticket::{JailName, Set};

/// How long a new program may take to show that it can go on. Whoever asked for the reload
/// waits for longer.
const SUCCESSOR_PATIENCE: Duration = Duration::from_secs(45);

const _: () = assert!(SUCCESSOR_PATIENCE.as_secs() < SILENCE_MAX.as_secs());

impl Operator {
    /// Goes on as the program that has taken our place, if one has; else reads the
    /// configuration again.
    pub(super) async fn reload_or_upgrade(&self) -> Result<Reloaded, String> {
        let jails: Vec<String> = {
            let config = &self.current.borrow().config;
            let jails = config.jails.iter();
            jails.map(|jail| jail.rules.name.to_string()).collect()
        };
        let replaced = self.parts.program.as_ref().filter(|one| one.is_replaced());
        let Some(program) = replaced else {
            return self.reload().await;
        };
        let deadline = Instant::now() + SUCCESSOR_PATIENCE;
        let successor = program.successor(&self.parts.options, &jails, deadline);
        let successor = successor.await?;
        self.goes_on()?; // it may have been stopped meanwhile
        let upgrade = Some(successor.version.clone());
        *self.ending.borrow_mut() = Ending::Upgrade(successor);
        self.stop.notify_one();
        Ok(Reloaded {
            jails,
            problems: Vec::new(),
            upgrade,
        })
    }

    /// Reads the configuration again: all of it is taken, or nothing.
    async fn reload(&self) -> Result<Reloaded, String> {
        let _turn = self.reloading.lock().await;
        let mut config = self
            .parts
            .options
            .config()
            .map_err(|error| error.to_string())?;
        if config.jails.is_empty() {
            return Err(format!("no jail could run: {}", config.problems.join("; ")));
        }
        let before = self.current.borrow().config.clone();
        let is_running = |name: &&String| before.jail(name).is_some();
        if let Some(name) = config.broken.iter().find(is_running) {
            return Err(format!(
                "jail {name} runs and could not any more: {}",
                config.problems.join("; ")
            ));
        }
        let feed_settings = config::feed_settings(&config.settings)?;
        let layouts = stock::layouts(&config);
        let rules = |config: &Config| -> Vec<Rules> {
            let jails = config.jails.iter();
            jails.map(|jail| jail.rules.clone()).collect()
        };
        let sets = stock::sets_beside(&layouts, &rules(&config));
        if let Some(keeper) = self.parts.keeper.clone() {
            let (sets, reaches) = (sets.clone(), config::reaches(&config.jails));
            aside(move || keeper.set_sets(sets, reaches)).await?;
        }
        // From here on nothing fails, and nobody else has a turn until it is in force.
        self.goes_on()?;
        self.current.borrow().answers.fill(&mut config.jails);
        let rules = rules(&config);
        self.parts.door.add(&layouts);
        let checks = checks(&feed_settings);
        self.parts
            .judge
            .visit(|engine, now, effects| engine.reconfigure(rules, checks, now, effects));
        self.parts.door.retain(&config);
        // Whose bans have another place by now: there they are laid on again.
        for jail in stock::moved(&stock::layouts(&before), &layouts) {
            let set = Set::Jail(jail);
            self.parts.judge.visit(|engine, now, effects| {
                engine.lay_again(&set, &engine.in_force(&set), now, effects);
            });
        }
        self.parts.judge.keep(running(&config.jails));
        self.parts.judge.watch_bans(Recidive::new(&config));
        let _ended = self
            .parts
            .feed
            .send(Command::Settings(Box::new(feed_settings)));
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
        let ran = |name: &JailName| before.jail(name).is_some();
        let names = config.jails.iter().map(|jail| &jail.rules.name);
        let back: Vec<JailName> = names.filter(|name| !ran(name)).cloned().collect();
        let broken = config.broken.clone();
        self.current.borrow_mut().config = config;
        self.reloaded.send_replace(());
        self.renew_protected();
        let (keeper, judge) = (self.parts.keeper.clone(), self.parts.judge.clone());
        let order = move || {
            put_in_order(keeper.as_ref(), &judge, &broken, back, &sets);
            Ok(())
        };
        aside(order).await?;
        // As names have been looked up meanwhile they ignore others by now.
        let jails = self.current.borrow().config.jails.clone();
        self.parts.intake.set_jails(jails);
        Ok(reloaded)
    }
}

/// Takes away sets in which nobody orders anything any more, and gives jails that did not run
/// before their bans `back`, before their logs are read.
fn put_in_order(
    keeper: Option<&Keeper>,
    judge: &Judge,
    broken: &[String],
    back: Vec<JailName>,
    sets: &[Set],
) {
    let is_theirs = |set: &&Set| matches!(set, Set::Jail(jail) if back.contains(jail));
    let held = keeper.map_or_else(
        || Ok(Held::new()),
        |keeper| {
            keeper.with(|firewall| {
                kernel::remove_strays(firewall, broken);
                kernel::entries(firewall, sets.iter().filter(is_theirs))
            })
        },
    );
    let held = held.unwrap_or_else(|error| {
        warn!(%error, "what the kernel holds for jails that are back cannot be read");
        Held::new()
    });
    if !back.is_empty() {
        judge.bring_back(back, held);
    }
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
