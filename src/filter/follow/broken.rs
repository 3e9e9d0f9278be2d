//! A message that a sender's newline broke, put together again.
//!
//! Its first line has a head of the server's own and breaks off in the sender's words; its
//! last line ends as the server ends such a message, and names who sent it. Between them
//! stands what he wrote, which may look like the end of the message, or like others:
//!
//! ```text
//! SECURITY[4839] …SecurityEvent="InvalidAccountID",…,AccountID="z
//! NOTICE[1] manager.c: 203.0.113.20 failed to authenticate as '
//! ",SessionID="1-9425",LocalAddress="IPV4/…",RemoteAddress="IPV4/UDP/198.51.100.7/5060"
//! ```
//!
//! The lines up to the next head of a known thread, or up to the end of what was written, are
//! read as one. If no line of them has a head they are one message, and its end is the last
//! that fits. If some have heads of threads that nobody knows, these may be messages of the
//! server's, and the first one may have ended before each: whatever it says if it did must name
//! the same address. A number that was guessed gains nothing then; else it is held against the
//! log. Whom such a message names is a hint, as in every line in which the
//! sender's words stand before the address.

use super::{Ask, DATED, Follower, Seen, first_line, sighting};
use crate::addr::Addr;
use crate::filter::Filter;
use crate::filter::groups::Groups;
use crate::filter::lines::LONG_BLOCK_BYTES;
use crate::filter::matched::{self, Evidence, Host, Match};
use crate::filter::threads::{Start, WRITTEN_IN_PARTS_BYTES};
use crate::ticket::{Sight, Trust};

/// Heads in a message that are perhaps a sender's.
const HEADS_MAX: usize = 64;

/// So many messages of a block are put together. Each may take a millisecond, and a sender
/// writes hundreds of heads of such with one packet.
const REJOINED_MAX: u8 = 16;

/// Lines that are read as one.
struct Joined {
    text: String,
    /// Where another message of the server's may begin, and the thread that is said to write it.
    heads: Vec<(usize, u64)>,
    /// How much of the block stands behind it.
    behind: usize,
    /// Is it all of the message, and more than its first line?
    is_whole: bool,
}

/// What a text says of whom.
pub(super) struct Reading {
    pub(super) addr: Addr,
    host: Host,
    /// Which failregex, or which sighting and what that is.
    form: (usize, Option<Sight>),
    groups: Groups,
    /// Does an ignoreregex match it as well?
    is_ignored: bool,
}

impl Reading {
    /// Is it of a message that a folded header can break?
    pub(super) fn is_of_folded(&self) -> bool {
        self.groups.full(DATED).is_some() && !self.is_ignored
    }
}

impl Follower {
    /// The same as [`rejoin`](Follower::rejoin); what cannot be put together is a sender's.
    pub(super) fn rejoin_or_disbelieve(
        &mut self,
        filter: &Filter,
        seen: Seen<'_>,
        each: &mut dyn FnMut(Match),
    ) {
        let is_rejoined = self.rejoin(filter, seen, each);
        self.disbelieved += u64::from(!is_rejoined);
    }

    /// Gives whom the message names that begins with this line and goes on behind it; false
    /// if it does not, or names nobody for certain.
    pub(super) fn rejoin(
        &mut self,
        filter: &Filter,
        seen: Seen<'_>,
        each: &mut dyn FnMut(Match),
    ) -> bool {
        if !filter.knows_threads() {
            return self.unfold(filter, seen, each);
        }
        if seen.around.after.is_empty() {
            return false;
        }
        let Some(thread) = self.head(filter, seen.text) else {
            return false;
        };
        if self.doubted && self.start_of(filter, thread, seen) == Start::Unclear {
            return false;
        }
        if self.rejoined == REJOINED_MAX {
            return false;
        }
        self.rejoined += 1;
        let joined = self.join(filter, seen);
        let Some(reading) = self.told_by(filter, &joined) else {
            self.doubt_guesses(filter, &joined, seen);
            return false;
        };
        if self.doubted && !self.claims.right(Some(reading.addr), seen.time) {
            return false;
        }
        self.joined = Some(joined.behind);
        let last = joined.text.trim_end().rsplit('\n').next();
        let last = last.unwrap_or_default();
        self.give(filter, reading, (seen, last, Trust::Hint), each);
        true
    }

    /// This line and those behind it up to the next head of a known thread. A head before which
    /// the message has no end is none.
    fn join(&mut self, filter: &Filter, seen: Seen<'_>) -> Joined {
        let mut rest = seen.around.after;
        let mut bytes = seen.line.len() + 1;
        let mut forms = filter.brokenregex.iter();
        let breaks_off = forms.any(|form| self.look(form, seen.text).flatten().is_some());
        let mut joined = Joined {
            text: seen.text.to_owned(),
            heads: Vec::new(),
            behind: seen.around.after.len(),
            is_whole: false,
        };
        while let Some((line, behind)) = first_line(rest) {
            bytes += line.len();
            let line = String::from_utf8_lossy(line);
            if let Some(thread) = self.head(filter, &line) {
                let is_known = self.threads.knows(thread);
                if is_known && !(breaks_off && self.read(filter, &joined.text).is_none()) {
                    break;
                }
                joined.heads.push((joined.text.len(), thread));
            }
            if joined.heads.len() > HEADS_MAX || bytes >= WRITTEN_IN_PARTS_BYTES {
                return joined;
            }
            joined.text.push_str(&line);
            rest = behind;
        }
        // What was read last may end within a message, if there was much.
        let block = seen.around.before.len() + seen.line.len() + seen.around.after.len();
        joined.is_whole =
            rest.len() < seen.around.after.len() && (!rest.is_empty() || block < LONG_BLOCK_BYTES);
        joined.behind = rest.len();
        joined
    }

    /// What these lines say, if they can say nothing else.
    fn told_by(&mut self, filter: &Filter, joined: &Joined) -> Option<Reading> {
        let reading = joined.is_whole.then(|| self.read(filter, &joined.text))??;
        let is_told = !reading.is_ignored && self.is_only(filter, joined, reading.addr);
        is_told.then_some(reading)
    }

    /// Notes whom these lines would have named if a number in them had been known.
    fn doubt_guesses(&mut self, filter: &Filter, joined: &Joined, seen: Seen<'_>) {
        if !self.doubted {
            return;
        }
        let claimed = joined.heads.iter().find_map(|(head, _)| {
            let text = joined.text.get(..*head).unwrap_or_default();
            Some(self.read(filter, text)?.addr)
        });
        self.claims.wrong(claimed, seen.time);
    }

    /// Does the first message of these lines name nobody but this address, wherever it ends?
    fn is_only(&mut self, filter: &Filter, joined: &Joined, addr: Addr) -> bool {
        joined.heads.iter().all(|(head, _)| {
            let text = joined.text.get(..*head).unwrap_or_default();
            self.read(filter, text)
                .is_none_or(|other| other.addr == addr)
        })
    }

    /// Whom the first pattern that matches this text names.
    pub(super) fn read(&mut self, filter: &Filter, text: &str) -> Option<Reading> {
        let before = self.before(filter, text)?;
        let content = before.content.as_deref().unwrap_or(text);
        let failures = filter.failregex.iter().map(|form| (None, form));
        let sightings = filter.sightings.iter();
        let sightings = sightings.map(|(sight, form)| (Some(*sight), form));
        let mut forms = failures.enumerate().chain(sightings.enumerate());
        let (form, mut groups) = forms.find_map(|(place, (sight, form))| {
            let found = self.look(form, content)??;
            Some(((place, sight), before.with(form, &found)))
        })?;
        // A name with a newline in it is no account of anybody's.
        groups.take("user");
        let host = matched::host(&groups, filter.names).ok()??;
        let Host::Addr(addr) = host else {
            return None;
        };
        Some(Reading {
            addr,
            host,
            form,
            groups,
            is_ignored: self.ignored(filter, content),
        })
    }

    /// Gives what a message says that begins with `seen`, ends with `last`, and is worth `most`.
    pub(super) fn give(
        &mut self,
        filter: &Filter,
        reading: Reading,
        (seen, last, most): (Seen<'_>, &str, Trust),
        each: &mut dyn FnMut(Match),
    ) {
        let Reading {
            host,
            form: (place, sight),
            groups,
            ..
        } = reading;
        if let Some(sight) = sight {
            each(sighting(
                filter,
                (place, sight),
                Some(host),
                groups,
                seen,
                most,
            ));
            return;
        }
        let mut evidence = Evidence::default();
        evidence.push(seen.line);
        evidence.push(last);
        let made = self.judge(filter, place, groups, evidence, seen, Ask::First);
        if let Some(mut made) = made {
            made.trust = made.trust.min(most);
            made.again = self.attempts.again(&made);
            each(made);
        }
    }
}
