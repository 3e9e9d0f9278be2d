//! The evidence: the last lines that tell of each offender (`maxmatches`).
//!
//! They are written down with the ban, and reports show them. Lines are the attacker's, so
//! all of it is bounded: who was silent longest loses his lines first, and his tries count
//! all the same. They are not kept over a restart; fail2ban keeps none either.

use lru::LruCache;

use crate::addr::Addr;
use crate::ticket::last_lines;

/// Bytes that one jail keeps: the last lines of a few thousand offenders. A jail that has
/// more of them at once keeps those of the latest.
const BYTES_MAX: usize = 1024 * 1024;

/// Bytes of one offender: twenty long lines.
const OFFENDER_BYTES_MAX: usize = 16 * 1024;

/// The lines of all offenders of a jail.
#[derive(Debug)]
pub struct Evidence {
    /// Of each the lines in one text, the oldest first, a newline between them.
    lines: LruCache<Addr, Box<str>>,
    bytes: usize,
}

impl Default for Evidence {
    fn default() -> Self {
        Evidence {
            lines: LruCache::unbounded(),
            bytes: 0,
        }
    }
}

impl Evidence {
    /// Puts `lines` behind an offender's, and keeps the last `maxmatches` of them.
    pub fn add(&mut self, offender: Addr, lines: &str, maxmatches: u32) {
        let before = self.take(&offender);
        let all = match (&*before, lines) {
            ("", _) => lines.into(),
            (_, "") => before,
            _ => [&before, "\n", lines].concat().into_boxed_str(),
        };
        let room = usize::try_from(maxmatches).unwrap_or(usize::MAX);
        let kept = shortened(last_lines(&all, room));
        if kept.is_empty() {
            return;
        }
        self.bytes += kept.len();
        self.lines.put(offender, kept.into());
        while self.bytes > BYTES_MAX
            && let Some((_, oldest)) = self.lines.pop_lru()
        {
            self.bytes -= oldest.len();
        }
    }

    /// What there is of an offender.
    pub fn of(&self, offender: &Addr) -> &str {
        self.lines.peek(offender).map_or("", |lines| lines)
    }

    /// Takes out what there is of an offender; an empty text if there is nothing.
    pub fn take(&mut self, offender: &Addr) -> Box<str> {
        let lines = self.lines.pop(offender).unwrap_or_default();
        self.bytes -= lines.len();
        lines
    }
}

/// The last lines that fit into what one offender may have.
fn shortened(lines: &str) -> &str {
    let mut rest = lines;
    while rest.len() > OFFENDER_BYTES_MAX {
        rest = rest.split_once('\n').map_or("", |(_, later)| later);
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offender(host: u32) -> Addr {
        Addr::host(std::net::IpAddr::V4(host.into()))
    }

    #[test]
    fn the_last_lines_are_kept() {
        for (maxmatches, kept) in [
            (0, ""),
            (1, "d"),
            (2, "c\nd"),
            (3, "b\nc\nd"),
            (9, "a\nb\nc\nd"),
        ] {
            let mut evidence = Evidence::default();
            for lines in ["a", "b\nc", "", "d"] {
                evidence.add(offender(1), lines, maxmatches);
            }
            assert_eq!(&*evidence.take(&offender(1)), kept, "{maxmatches}");
            assert_eq!((evidence.bytes, evidence.lines.len()), (0, 0));
        }
    }

    #[test]
    fn memory_is_bounded_and_the_latest_keep_their_lines() {
        let mut evidence = Evidence::default();
        let line = "x".repeat(512);
        for host in 0..10_000 {
            (0..40).for_each(|_| evidence.add(offender(host), &line, u32::MAX));
        }
        assert!(evidence.bytes <= BYTES_MAX);
        let kept = evidence.take(&offender(9_999));
        assert!(kept.len() <= OFFENDER_BYTES_MAX && kept.split('\n').all(|kept| kept == line));
        assert!(kept.len() > OFFENDER_BYTES_MAX - 1_024);
        assert_eq!(&*evidence.take(&offender(1)), "");
    }
}
