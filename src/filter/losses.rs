//! Losses: what those who write logs say that they did not write.
//!
//! A logger under load throws messages away and says so in the log. What we cannot see we
//! cannot judge, but we can count it. These are known:
//!
//! | who | what it says |
//! |---|---|
//! | systemd-journald | `Suppressed 917 messages from kamailio.service` |
//! | rsyslog | `imuxsock[pid 7]: begin to drop messages due to rate-limiting`, `imjournal: 236 messages lost due to rate-limiting`, before release 7 `imuxsock lost 512 messages from pid 7 due to rate-limiting` |
//! | rsyslog's full queues, by `impstats` only | `main Q: origin=core.queue size=20 … discarded.full=262 discarded.nf=11 maxqsize=20` |
//! | Asterisk | `Log queue threshold (1000) exceeded.  Discarding new messages.`, `Logging resumed.  15 messages discarded.` |
//!
//! The numbers of `impstats` go up from rsyslog's start: the highest that was seen counts, so
//! where several queues lose messages, more are lost than it says.
//!
//! Kamailio writes by syslog and says nothing itself. The words count only where their
//! writer stands in front of them, not where a server quotes its client; who can write
//! lines of his own can pretend losses, and has nothing of it.

use std::sync::LazyLock;

use aho_corasick::AhoCorasick;
use regex::bytes::Regex;

/// One of these is in every such line: for the gate.
pub(super) const LITERALS: [&str; 5] = [
    "Suppressed ",
    "due to rate-limiting",
    "origin=core.queue",
    "Log queue threshold (",
    "Logging resumed.  ",
];

static SEARCH: LazyLock<Option<AhoCorasick>> = LazyLock::new(|| AhoCorasick::new(LITERALS).ok());

/// A date, a host, and the writer; Asterisk writes a file of its own, and to syslog.
static FORM: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let stamp = r"(?:[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d |\d{4}-\d\d-\d\d[T ]\S+ )?";
    let count = r"(\d+)";
    let journald = format!(r"systemd-journald?(?:\[\d+\])?: Suppressed {count} messages from ");
    let rsyslog = format!(
        r"rsyslogd(?:-\d+)?(?:\[\d+\])?: .*(?: begins? to drop messages (?:from pid \d+ )?|: {count} messages lost | lost {count} messages from pid \d+ )due to rate-limiting"
    );
    let queues = r"rsyslogd-pstats: .*origin=core\.queue .*\bdiscarded\.full=(?P<full>\d+) discarded\.nf=(?P<nf>\d+)";
    let queue = format!(
        r"(?:Log queue threshold \(\d+\) exceeded\.|Logging resumed\.  {count} messages? discarded\.)"
    );
    let asterisk = format!(r"WARNING\[\d+\](?: logger|: logger:0 (?:in )?\*\*\*): {queue}");
    let forms = [
        format!(r"{stamp}\S+ (?:{journald}|{rsyslog}|{queues})"),
        format!(r"(?:\[[^\]]*\] |{stamp}\S+ asterisk(?:\[\d+\])?: ){asterisk}"),
    ];
    Regex::new(&format!("^(?:{})", forms.join("|"))).ok()
});

/// What was lost, as far as it was told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    /// How many times a loss was told of.
    pub reports: u64,
    /// How many messages are known to be lost by what was told loss by loss.
    told: u64,
    /// The highest number that a counter showed.
    counter: u64,
}

impl Losses {
    /// How many messages are known to be lost; more are, where no number was told.
    pub fn messages(&self) -> u64 {
        self.told.saturating_add(self.counter)
    }

    /// Counts these as well. That a counter has gone up is told once more.
    pub fn add(&mut self, more: Losses) {
        let is_higher = more.counter > self.counter;
        self.reports = self.reports.saturating_add(more.reports);
        self.reports = self.reports.saturating_add(u64::from(is_higher));
        self.told = self.told.saturating_add(more.told);
        self.counter = self.counter.max(more.counter);
    }

    /// Counts what the line tells of, if it tells of a loss. Says whether it does.
    pub fn see(&mut self, line: &[u8]) -> bool {
        match lost(line) {
            Some(Lost::Messages(messages)) => {
                self.reports = self.reports.saturating_add(1);
                self.told = self.told.saturating_add(messages);
            }
            Some(Lost::Since(counter)) => self.counter = self.counter.max(counter),
            None => return false,
        }
        true
    }
}

/// What a line tells.
#[derive(Debug, PartialEq)]
enum Lost {
    /// So many were lost, 0 if it does not say how many.
    Messages(u64),
    /// So many were lost since its writer's start.
    Since(u64),
}

/// What was lost by the word of this line; `None` if it tells of no loss.
fn lost(line: &[u8]) -> Option<Lost> {
    if !SEARCH.as_ref()?.is_match(line) {
        return None;
    }
    let found = FORM.as_ref()?.captures(line)?;
    let number = |digits: regex::bytes::Match<'_>| {
        let digits = String::from_utf8_lossy(digits.as_bytes());
        digits.parse::<u64>().unwrap_or_default()
    };
    if let (Some(full), Some(nearly)) = (found.name("full"), found.name("nf")) {
        let sum = number(full).saturating_add(number(nearly));
        return (sum > 0).then_some(Lost::Since(sum));
    }
    let count = found.iter().skip(1).flatten().last();
    Some(Lost::Messages(count.map_or(0, number)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_are_told_by_those_who_lost() {
        for (line, expected) in [
            (
                "Nov 22 07:06:05 sip1 systemd-journald[231]: Suppressed 917 messages from kamailio.service",
                Some(917),
            ),
            (
                "sip1 systemd-journald[231]: Suppressed 1 messages from asterisk.service",
                Some(1),
            ),
            (
                "Nov  2 07:06:05 sip1 systemd-journal[1864]: Suppressed 9 messages from /",
                Some(9),
            ),
            (
                "2026-11-22T07:06:05.058324+00:00 leaf1 rsyslogd-2177: imuxsock[pid 22830]: begin to drop messages due to rate-limiting",
                Some(0),
            ),
            (
                "Nov 22 07:06:05 sip1 rsyslogd[1167]: imjournal from <sip1:kamailio>: begin to drop messages due to rate-limiting",
                Some(0),
            ),
            (
                "Nov 22 07:06:05 sip1 rsyslogd: imjournal: 102776 messages lost due to rate-limiting (20000 allowed within 600 seconds)",
                Some(102_776),
            ),
            (
                "Nov 22 07:06:05 sip1 rsyslogd-2177: imuxsock lost 516 messages from pid 159386 due to rate-limiting",
                Some(516),
            ),
            (
                "Nov 22 07:06:05 sip1 rsyslogd-2177: imuxsock begins to drop messages from pid 159386 due to rate-limiting",
                Some(0),
            ),
            (
                "[Nov 22 07:06:05] WARNING[5024] logger: Log queue threshold (1000) exceeded.  Discarding new messages.",
                Some(0),
            ),
            (
                "[2026-11-22 07:06:05] WARNING[28086]: logger:0 ***: Logging resumed.  158329 messages discarded.",
                Some(158_329),
            ),
            (
                "Nov 22 07:06:05 pbx asterisk[28086]: WARNING[28086]: logger:0 in ***: Logging resumed.  1 message discarded.",
                Some(1),
            ),
            (
                "sip1 systemd-journald[231]: Suppressed 99999999999999999999 messages from kamailio.service",
                Some(0),
            ),
            // what a server quotes, and what others say
            (
                "Nov 22 07:06:05 sip1 kamailio[7]: NOTICE: {x systemd-journald[231]: Suppressed 9 messages from a",
                None,
            ),
            (
                "Nov 22 07:06:05 sip1 kamailio[7]: rsyslogd: imjournal: 9 messages lost due to rate-limiting",
                None,
            ),
            (
                "[Nov 22 07:06:05] NOTICE[5024] chan_sip.c: Registration from 'WARNING[1] logger: Logging resumed.  9 messages discarded.' failed",
                None,
            ),
            (
                "Nov 22 07:06:05 sip1 systemd-journald[231]: Suppressed by request",
                None,
            ),
            ("", None),
        ] {
            let expected = expected.map(Lost::Messages);
            assert_eq!(lost(line.as_bytes()), expected, "{line}");
        }
    }

    #[test]
    fn what_a_counter_shows_again_is_lost_once() {
        let mut all = Losses::default();
        for (full, nearly, reports, messages) in [
            (0, 0, 0, 0),
            (262, 11, 1, 273),
            (262, 11, 1, 273),
            (1, 0, 1, 273), // another queue, or rsyslog was started again
            (300, 11, 2, 311),
        ] {
            let line = format!(
                "Nov 28 16:20:59 sip1 rsyslogd-pstats: main Q: origin=core.queue size=6 enqueued=6 full=0 discarded.full={full} discarded.nf={nearly} maxqsize=6 "
            );
            let mut block = Losses::default();
            block.see(line.as_bytes());
            all.add(block);
            assert_eq!((all.reports, all.messages()), (reports, messages), "{line}");
        }
    }
}
