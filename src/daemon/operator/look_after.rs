//! What is looked at again and again: who is protected here, what the names of `protect`
//! stand for, and those that jails ignore.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::info;

use super::super::protected::{self, NamesDue};
use super::super::{ignored, names};
use super::{Current, Operator};
use crate::engine::Event;

/// How often this machine's own addresses, gateways and resolvers are looked at again,
/// and who is logged in.
const PROTECTED_EVERY: Duration = Duration::from_secs(5);

/// How often names that jails ignore are looked up again: as long as fail2ban remembers them.
const IGNORED_EVERY: Duration = Duration::from_secs(300);

/// How often it is tried while one of them has no answer yet.
const UNANSWERED_EVERY: Duration = Duration::from_secs(5);

impl Operator {
    pub(super) async fn look_after_protected(&self) {
        let mut turns = tokio::time::interval(PROTECTED_EVERY);
        turns.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            turns.tick().await;
            let now = self.parts.judge.now();
            self.current.borrow_mut().found.look(now);
            self.renew_protected();
        }
    }

    /// Looks up the names of `protect`, each when it is due.
    pub(super) async fn look_after_names(&self) {
        let mut reloaded = self.reloaded.subscribe();
        let mut due = NamesDue::default();
        let mut lookups: JoinSet<(String, Option<protected::Answer>)> = JoinSet::new();
        loop {
            due.follow(
                &self.current.borrow().config.settings.protect_names,
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
        let mut current = self.current.borrow_mut();
        let Current { found, config, .. } = &mut *current;
        found.names.keep(&config.settings.protect_names);
        if found.names.learn(name, &answer, self.parts.judge.now()) {
            let fact = (
                protected::NAMES_FACT.to_owned(),
                current.found.names.to_json(),
            );
            drop(current);
            self.parts.judge.event(Event::Fact(fact.0, fact.1));
            self.renew_protected();
        }
    }

    /// Looks up the names that jails ignore, and reads their files, again and again.
    pub(super) async fn look_after_ignored(&self) {
        let mut reloaded = self.reloaded.subscribe();
        let mut pause = Duration::ZERO; // what is known may be of the last run
        loop {
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _ = reloaded.changed() => {}
            }
            let asked = ignored::names(&self.current.borrow().config.jails);
            let answers = ignored::look_up(&asked, IGNORED_EVERY).await;
            let mut current = self.current.borrow_mut();
            let Current {
                answers: known,
                config,
                ..
            } = &mut *current;
            ignored::learn(known, &asked, answers, &mut config.jails, &self.parts.judge);
            pause = match known.missing(&asked).is_empty() {
                true => IGNORED_EVERY,
                false => UNANSWERED_EVERY,
            };
        }
    }

    pub(super) fn renew_protected(&self) {
        let mut current = self.current.borrow_mut();
        if let Some(now_known) = protected::everybody(&current.config, &current.found) {
            protected::update(
                &self.parts.judge,
                &mut current.known,
                now_known,
                &self.parts.guard,
            );
        }
        self.parts
            .judge
            .event(Event::Infrastructure(protected::neighbours()));
    }
}

/// Waits until then; without a time, for ever.
async fn until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}
