//! How much a line can say in a log into which senders can write: see `threads`.

use memchr::memrchr;

use super::{DATED, Follower, LOOK_BACK_LINES, Seen, begins_blank, first_line, is_last, number};
use crate::addr::Addr;
use crate::filter::Filter;
use crate::filter::groups::{Form, Groups};
use crate::filter::matched::{self, Host};
use crate::filter::pattern::Found;
use crate::filter::pulse;
use crate::filter::threads::{self, Around, Start, WRITTEN_IN_PARTS_BYTES};
use crate::ticket::Trust;
use crate::time::Time;

/// So many lines behind one may confirm it: a refusal writes up to four.
const CONFIRMED_LINES: usize = 3;

/// What lines behind a message say of where it ends. What is worse is the more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Tail {
    /// None of them can be its end.
    #[default]
    None,
    /// One could, if it were not of a known thread.
    Known,
    /// One can, if its number is made up.
    Strange,
    /// One is.
    Bare,
}

impl Follower {
    /// Notes whether this line casts a doubt on its log. It begins a message itself, unless it
    /// stands behind one of another kind, whose sender may have written it.
    pub(super) fn doubt(&mut self, filter: &Filter, seen: Seen<'_>) {
        let mut forms = filter.doubtregex.iter();
        let casts = |found: Option<Option<Found<'_>>>| found.is_none_or(|found| found.is_some());
        if self.doubted || !forms.any(|form| casts(self.look(form, seen.text))) {
            return;
        }
        self.doubted = true;
        let before = seen.around.before.strip_suffix(b"\n");
        if before.is_none() {
            self.threads.next = self.threads.next.max(Start::Vouched);
        }
        let line = before.map(|lines| lines.rsplit(|byte| *byte == b'\n').next());
        let line = line.map(|line| String::from_utf8_lossy(line.unwrap_or_default()));
        if line.is_some_and(|line| self.head(filter, &line).is_none()) {
            return;
        }
        if let Some(thread) = self.head(filter, seen.text) {
            self.threads.learn(thread);
        }
    }

    /// How much a line with these groups can say; nothing if a sender may have written it.
    pub(super) fn believes(
        &mut self,
        filter: &Filter,
        groups: &Groups,
        seen: Seen<'_>,
    ) -> Option<Trust> {
        if groups.full(DATED).is_some() {
            let goes_on = begins_blank(seen.around.after) || (self.torn && is_last(seen));
            // What stands before a date is cut off with it, so the line's own head is looked at.
            let is_folded = seen.line.starts_with([' ', '\t']);
            if !seen.dated || is_folded || (goes_on && groups.full(threads::OPEN).is_some()) {
                return None;
            }
            if filter.knows_threads() {
                // Its words stand for it, whatever else is in this log.
                return Some(Trust::Proof);
            }
        }
        let thread = number(groups);
        if !self.doubted {
            thread.iter().for_each(|thread| self.threads.learn(*thread));
            return Some(Trust::Proof);
        }
        if !filter.knows_threads() {
            return self.begins(filter, addr(filter, groups), seen);
        }
        let start = self.start_of(filter, thread?, seen);
        let is_open = groups.full(threads::OPEN).is_some();
        let tail = match is_open {
            true => self.tail_of(
                filter,
                seen.line.len(),
                seen.around.after,
                seen.around.replayed,
            ),
            false => Tail::None,
        };
        let most = match is_open {
            true => start.trust().min(Some(Trust::Hint)),
            false => start.trust(),
        };
        let most = most.filter(|_| tail <= Tail::Known);
        if seen.around.replayed {
            return most;
        }
        let addr = addr(filter, groups);
        if start == Start::Unclear {
            // Which teaches no thread: a sender may have written it before a line of his own.
            if !self.is_confirmed(filter, addr, seen.around.after) {
                self.claims.wrong(addr, seen.time);
            }
        }
        let most = most?;
        let is_by_number = start == Start::Vouched || tail == Tail::Known;
        (!is_by_number || self.claims.right(addr, seen.time)).then_some(most)
    }

    /// Does a line of a known thread right behind this one name the same address? A connection's
    /// own thread writes of a refusal, and then the security log's.
    fn is_confirmed(&mut self, filter: &Filter, addr: Option<Addr>, after: &[u8]) -> bool {
        let mut rest = after;
        for _ in 0..CONFIRMED_LINES {
            let Some((line, behind)) = first_line(rest) else {
                return false;
            };
            let line = String::from_utf8_lossy(line);
            let thread = self.head(filter, &line);
            if thread.is_some_and(|thread| self.threads.knows(thread)) {
                let reading = self.read(filter, &line);
                if reading.is_some_and(|reading| Some(reading.addr) == addr) {
                    return true;
                }
            }
            rest = behind;
        }
        false
    }

    /// How sure it is that a line of this thread begins a message; notes that.
    pub(super) fn start_of(&mut self, filter: &Filter, thread: u64, seen: Seen<'_>) -> Start {
        let is_known = self.threads.knows(thread);
        let start = match self.start_behind(filter, seen.around, Some(seen.line)) {
            Start::Unclear if is_known && !seen.around.replayed => Start::Vouched,
            start => start,
        };
        match start {
            Start::Unclear => {}
            Start::Certain => self.threads.learn(thread),
            Start::Likely | Start::Vouched if is_known => self.threads.learn(thread),
            Start::Likely | Start::Vouched => self.threads.note(thread),
        }
        start
    }

    /// Does a message of the server's begin where this text of whole lines ends? `line` is what
    /// begins there; without it nothing is known of what follows.
    pub(super) fn start_behind(
        &mut self,
        filter: &Filter,
        around: Around<'_>,
        line: Option<&str>,
    ) -> Start {
        let mut text = around.before;
        let mut vouched = Start::Unclear;
        // Messages have ended in between, and by the number of a thread only.
        let (mut have_ended, mut by_number) = (false, false);
        // What stands behind the line at hand.
        let mut tail = None;
        for _ in 0..LOOK_BACK_LINES {
            let Some(lines) = text.strip_suffix(b"\n") else {
                return match self.threads.next {
                    Start::Unclear => vouched,
                    _ if by_number => Start::Vouched,
                    next if have_ended => next.min(Start::Likely),
                    next => next,
                };
            };
            let head = memrchr(b'\n', lines).map_or(0, |newline| newline + 1);
            let (before, last) = text.split_at(head);
            let last = String::from_utf8_lossy(last);
            if around.replayed && (threads::is_closed(&last) || self.head(filter, &last).is_none())
            {
                return Start::Vouched;
            }
            let mut forms = filter.wholeregex.iter();
            let thread = match forms.find_map(|form| self.thread(form, &last)) {
                Some(thread) => thread,
                None => {
                    // One that has its end, and no other behind it, has ended.
                    let Some(line) = line.filter(|_| self.is_end(filter, &last)) else {
                        return vouched;
                    };
                    let Some(thread) = self.head(filter, &last) else {
                        return vouched;
                    };
                    let behind = tail.get_or_insert_with(|| {
                        let after =
                            self.tail_of(filter, last.len() + line.len(), around.after, false);
                        after.max(self.tail(filter, line, false))
                    });
                    match *behind {
                        Tail::None => have_ended = true,
                        Tail::Known => by_number = true,
                        Tail::Strange | Tail::Bare => return vouched,
                    }
                    Some(thread)
                }
            };
            if let Some(behind) = &mut tail {
                *behind = (*behind).max(self.tail(filter, &last, false));
            }
            // One number that was guessed vouches for one more line.
            let is_next = text.len() == around.before.len();
            if is_next && thread.is_some_and(|thread| self.threads.knows(thread)) {
                vouched = Start::Vouched;
            }
            text = before;
        }
        vouched
    }

    /// Can the end of a message of so many bytes stand in these lines behind it? One that is not
    /// written at once may end later than was looked, unless a known thread goes on.
    fn tail_of(&mut self, filter: &Filter, bytes: usize, text: &[u8], replayed: bool) -> Tail {
        let limit = WRITTEN_IN_PARTS_BYTES.saturating_sub(bytes);
        let mut tail = Tail::None;
        let mut rest = text;
        while let Some((line, behind)) = first_line(rest) {
            let is_far = text.len() - behind.len() >= limit;
            let line = String::from_utf8_lossy(line);
            tail = tail.max(self.tail(filter, &line, replayed));
            if tail == Tail::Bare || filter.endregex.is_empty() {
                return tail;
            }
            if is_far {
                let next = first_line(text).map(|(line, _)| String::from_utf8_lossy(line));
                let next = next.and_then(|line| self.head(filter, &line));
                let goes_on = next.is_some_and(|thread| replayed || self.threads.knows(thread));
                return if goes_on {
                    tail.max(Tail::Known)
                } else {
                    Tail::Bare
                };
            }
            rest = behind;
        }
        match text.is_empty() || text.len() < limit {
            true => tail,
            false => Tail::Bare,
        }
    }

    /// Can this line be the end of a message before it? Any can in a log whose ends are not known.
    fn tail(&mut self, filter: &Filter, line: &str, replayed: bool) -> Tail {
        if !filter.endregex.is_empty() && !self.is_end(filter, line) {
            return Tail::None;
        }
        match self.head(filter, line) {
            Some(thread) if replayed || self.threads.knows(thread) => Tail::Known,
            Some(_) => Tail::Strange,
            None => Tail::Bare,
        }
    }

    /// Does this line end as messages do in which a sender's words stand before the address?
    fn is_end(&mut self, filter: &Filter, line: &str) -> bool {
        let mut forms = filter.endregex.iter();
        forms.any(|form| self.look(form, line).flatten().is_some())
    }

    /// The same in a log whose lines name no thread: by its place, if it is of a kind that is
    /// written at once, or by its pulse.
    pub(super) fn begins(
        &mut self,
        filter: &Filter,
        addr: Option<Addr>,
        seen: Seen<'_>,
    ) -> Option<Trust> {
        if filter.wholeregex.is_empty() || seen.around.replayed {
            return Some(Trust::Hint);
        }
        if self.is_whole(filter, seen.line)
            && let Some(trust) = self.start_at(filter, seen.around).trust()
        {
            return Some(trust);
        }
        self.feel(filter, seen.around, seen.now);
        let pulse = self.pulse_of(filter, seen.line)?;
        let is_right = self.pulse.is(&pulse, seen.now)?;
        if !is_right {
            self.claims.wrong(addr, seen.time);
        }
        (is_right && self.claims.right(addr, seen.time)).then_some(Trust::Hint)
    }

    fn is_whole(&mut self, filter: &Filter, line: &str) -> bool {
        let mut forms = filter.wholeregex.iter();
        forms.any(|form| self.look(form, line).flatten().is_some())
    }

    /// Does a message of the server's begin where this text of whole lines ends? There are no
    /// threads: as sure as it is at the block's start, up to the first line that is not whole.
    pub(super) fn start_at(&mut self, filter: &Filter, around: Around<'_>) -> Start {
        let (mut at, mut start) = self.reached.unwrap_or((0, self.threads.next));
        while start != Start::Unclear
            && let Some((line, _)) = around.before.get(at..).and_then(first_line)
        {
            at += line.len();
            if !self.is_whole(filter, &String::from_utf8_lossy(line)) {
                start = Start::Unclear;
            }
        }
        self.reached = Some((at, start));
        start
    }

    /// Learns the pulse of a block's first line, if that begins a message.
    pub(super) fn feel(&mut self, filter: &Filter, around: Around<'_>, now: Time) {
        if filter.pulseregex.is_empty() || self.threads.next == Start::Unclear {
            return;
        }
        let Some((line, _)) = first_line(around.before) else {
            return;
        };
        if let Some(pulse) = self.pulse_of(filter, &String::from_utf8_lossy(line)) {
            self.pulse.learn(&pulse, now);
        }
    }

    fn pulse_of(&mut self, filter: &Filter, line: &str) -> Option<Box<str>> {
        let mut forms = filter.pulseregex.iter();
        let groups = forms.find_map(|form| Some(form.groups(&self.look(form, line)??)))?;
        groups.full(pulse::GROUP).map(Box::from)
    }

    /// The thread in a line's head, if it has one.
    pub(super) fn head(&mut self, filter: &Filter, line: &str) -> Option<u64> {
        self.thread(filter.prefregex.as_ref()?, line)?
    }

    /// The thread of a line that this form matches, if it names one.
    fn thread(&mut self, form: &Form, line: &str) -> Option<Option<u64>> {
        let found = self.look(form, line)??;
        Some(number(&form.groups(&found)))
    }
}

/// Whom these groups name.
fn addr(filter: &Filter, groups: &Groups) -> Option<Addr> {
    match matched::host(groups, filter.names) {
        Ok(Some(Host::Addr(addr))) => Some(addr),
        _ => None,
    }
}
