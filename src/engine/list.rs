//! What APIBAN says: answers about single addresses, and its list, page by page.

use std::net::IpAddr;
use std::sync::Arc;

use super::{Effect, Engine, Tell, offender};
use crate::addr::Addr;
use crate::ban::record::Record;
use crate::feed::{Command, Page};
use crate::ticket::{Entry, Order, Reason, Set, Verdict};
use crate::time::Time;

/// Pages of the list that may wait for the kernel at once; the feed sends one.
const PAGES_WAITING_MAX: usize = 4;

/// The names under which lists' cursors are kept begin with this.
pub const CURSOR_FACTS: &str = "apiban.cursor.";

#[derive(Debug)]
pub(super) struct WaitingPage {
    page: Page,
    protected: usize,
}

impl Engine {
    pub(super) fn answer(
        &mut self,
        ip: IpAddr,
        verdict: Verdict,
        now: Time,
        effects: &mut Vec<Effect>,
    ) {
        self.verdicts.answered(ip, verdict, now);
        let Some(jail) = self.asked.remove(&ip) else {
            return;
        };
        let Some(known) = self.jails.get_mut(&jail) else {
            return;
        };
        let offender = offender(known, Addr::host(ip), &self.protected);
        if verdict == Verdict::Listed && !known.rules.ignored.covers(&Addr::host(ip)) {
            let testimony = known.take_testimony(&offender);
            let ban = self.sentence(&jail, offender, now, Reason::Listed, 1);
            if self.impose(ban, testimony, now, effects).is_ok()
                && let Some(jail) = self.jails.get_mut(&jail)
            {
                jail.forget(&offender);
            }
        }
    }

    pub(super) fn page(&mut self, mut page: Page, now: Time, effects: &mut Vec<Effect>) {
        let arrived = page.entries.len();
        page.entries
            .retain(|(ip, expires)| *expires > now && !self.is_spared(&Addr::host(*ip), now));
        let entries: Arc<[Entry]> = page
            .entries
            .iter()
            .map(|(ip, expires)| Entry::lasting(Addr::host(*ip), expires.since(now)))
            .collect();
        effects.push(Effect::Order(Order::Load {
            set: Set::List,
            page: page.seq,
            entries,
        }));
        if self.pages.len() == PAGES_WAITING_MAX {
            self.pages.remove(0);
        }
        self.pages.push(WaitingPage {
            protected: arrived - page.entries.len(),
            page,
        });
    }

    pub(super) fn loaded(
        &mut self,
        seq: u64,
        refused: usize,
        now: Time,
        effects: &mut Vec<Effect>,
    ) {
        let Some(place) = self
            .pages
            .iter()
            .position(|waiting| waiting.page.seq == seq)
        else {
            return;
        };
        let WaitingPage { page, protected } = self.pages.remove(place);
        for (ip, expires) in &page.entries {
            self.list.insert(*ip, *expires);
            self.verdicts.listed_by_page(*ip, now);
        }
        let entries = page.entries.len();
        let listed = page
            .entries
            .into_iter()
            .map(|(ip, expires)| (Addr::host(ip), expires))
            .collect();
        effects.push(Effect::Record(Record::Listed(listed)));
        let name = format!("{CURSOR_FACTS}{}", page.cursor.set);
        effects.push(Effect::Record(Record::Fact(name, page.cursor.to_json())));
        effects.push(Effect::Feed(Command::Applied {
            page: seq,
            held: u32::try_from(self.list.len()).unwrap_or(u32::MAX),
        }));
        effects.push(Effect::Tell(Tell::ListLoaded {
            entries,
            refused,
            protected,
        }));
    }

    pub(super) fn load_failed(&mut self, seq: u64, effects: &mut Vec<Effect>) {
        let before = self.pages.len();
        self.pages.retain(|waiting| waiting.page.seq != seq);
        if self.pages.len() < before {
            effects.push(Effect::Feed(Command::LoadFailed { page: seq }));
        }
    }
}
