//! What an operator is shown: how all is, what is in the kernel, and why an address is held
//! off. Nothing here changes anything.

use std::time::Duration;

use super::super::clock::Clock;
use super::super::intake::{self, LogStatus};
use super::super::keeper::Condition;
use super::super::verbs::{
    ApibanShown, BanShown, DoubtShown, FirewallShown, JailShown, LogShown, NearMissShown, Status,
};
use super::super::why::{self, Evidence, Why};
use super::super::{standing, stock};
use super::{Operator, aside};
use crate::action::stock::{Layouts, describe};
use crate::addr::Addr;
use crate::config::Config;
use crate::engine::Engine;
use crate::feed;
use crate::ticket::Ban;
use crate::time::Time;

/// Bans that `status` shows of each jail: a screen, and no flood.
const LATEST_SHOWN: usize = 10;
/// How long `why` waits for the database, which may be on a disk that is full or slow.
const LOOK_PATIENCE: Duration = Duration::from_secs(5);
impl Operator {
    pub(super) async fn status(&self) -> Status {
        let clock = self.parts.judge.clock();
        let layouts = stock::layouts(&self.current.borrow().config);
        let (jails, banned, bans_total) = self.engine(|engine| {
            (
                jails(engine, &clock, &layouts, &self.current.borrow().config),
                engine.ledger().len(),
                engine.bans_total(),
            )
        });
        let files = self.parts.intake.files().await.unwrap_or_default();
        let apiban = self.apiban();
        let kept = match self.parts.keeper.clone() {
            Some(keeper) => aside(move || Ok(keeper.condition())).await,
            None => Ok(Condition::default()),
        };
        let kept = kept.unwrap_or_default();
        let database = self.parts.trouble.get();
        let current = self.current.borrow();
        let known = &current.known;
        let now = self.parts.judge.now();
        let standing = self.engine(|engine| standing::shown(engine, known, now));
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            started: self.parts.started.as_secs(),
            dry_run: self.parts.options.dry_run,
            firewall: self.parts.firewall.clone(),
            paused_until: kept
                .paused_until
                .map(|until| clock.outward(until).as_secs()),
            firewall_missing: kept.missing,
            firewall_troubles: kept.troubles,
            firewall_fight: kept.fight,
            firewall_repairs: kept.repairs,
            database_trouble: database.now,
            database_lost: database.lost,
            unprotected: current.found.unprotected().to_vec(),
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
                         doubts,
                     }| LogShown {
                        path: file.path.display().to_string(),
                        state: intake::state(&file.state),
                        followed: intake::is_followed(&file.state),
                        offset: file.offset,
                        size: file.size,
                        lines_cut: file.lines_cut,
                        loss_reports: losses.reports,
                        messages_lost: losses.messages(),
                        near_misses: missed.iter().map(NearMissShown::from).collect(),
                        doubts: doubts.iter().map(DoubtShown::from).collect(),
                    },
                )
                .collect(),
            apiban,
            protected: current.known.clone(),
            problems: current.config.problems.clone(),
        }
    }

    pub(super) fn apiban(&self) -> ApibanShown {
        let listed = self.engine(Engine::listed);
        let state = self.feed_state.borrow();
        let state = state.as_ref();
        ApibanShown {
            on: state.is_some_and(|state| state.condition != feed::Condition::Off),
            summary: state.map_or_else(|| "starting".to_owned(), summary),
            listed,
            feed: state
                .and_then(|state| serde_json::to_value(state).ok())
                .unwrap_or_default(),
        }
    }

    pub(super) async fn why(&self, addr: &str, for_customer: bool) -> Result<Why, String> {
        let addr: Addr = addr
            .parse()
            .map_err(|error: crate::addr::AddrError| error.to_string())?;
        if for_customer && !addr.is_host() && !Addr::offender(addr.ip()).contains(&addr) {
            return Err(format!(
                "{addr} may be several customers' own; ask for one address, or for an IPv6 network of /64 or less"
            ));
        }
        let about = self
            .parts
            .judge
            .visit(|engine, now, _| engine.about(addr, now));
        let about = self.parts.judge.clock().about_outward(about);
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
        let (kept, stock) = match self.parts.keeper.clone() {
            Some(keeper) => {
                let look = move || {
                    let kept = keeper.with(|firewall| firewall.counters(&addr));
                    Ok((Some(kept), keeper.stock_entries(&addr)))
                };
                aside(look).await?
            }
            None => (None, Ok(Vec::new())),
        };
        let current = self.current.borrow();
        let mut trouble = Vec::new();
        let mut told = |what: &str, error: String| trouble.push(format!("{what}: {error}"));
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
            known: &current.known,
            config: &current.config,
        };
        let mut why = why::why(addr, evidence, Time::now());
        why.trouble = trouble;
        why.dry_run = self.parts.options.dry_run;
        Ok(match for_customer {
            true => why.for_customer(),
            false => why,
        })
    }

    pub(super) async fn firewall(&self) -> Result<FirewallShown, String> {
        let keeper = self.kept()?.clone();
        let look = move || Ok((keeper.condition(), keeper.sets()));
        let (condition, sets) = aside(look).await?;
        let Condition {
            missing,
            troubles,
            paused_until,
            repairs,
            fight,
        } = condition;
        Ok(FirewallShown {
            firewall: self.parts.firewall.clone(),
            sets,
            paused_until: paused_until
                .map(|until| self.parts.judge.clock().outward(until).as_secs()),
            missing,
            troubles,
            fight,
            repairs,
        })
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

fn jails(engine: &Engine, clock: &Clock, layouts: &Layouts, config: &Config) -> Vec<JailShown> {
    let shown = engine.jails().map(|jail| {
        let name = &jail.rules.name;
        let latest = latest(engine.ledger().of_jail(name));
        JailShown {
            name: name.to_string(),
            ports: config.ports_of(name),
            failing: jail.failing(),
            forgotten_early: jail.crowded().map_or(0, |crowded| crowded.offenders),
            forgotten_last: jail
                .crowded()
                .map(|crowded| clock.outward(crowded.last).as_secs()),
            failures_total: jail.failures_total,
            banned: engine.ledger().len_of(name),
            places: layouts.get(name).map_or(Vec::new(), |own| describe(own)),
            latest: latest.into_iter().map(|ban| shown(clock, ban)).collect(),
        }
    });
    shown.collect()
}

/// A ban of the engine's, with the wall's times.
pub(super) fn shown(clock: &Clock, ban: Ban) -> BanShown {
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
