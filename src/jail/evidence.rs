//! The evidence: the last lines that tell of each offender (`maxmatches`), and what the first
//! of his failures captured.
//!
//! It is written down with the ban, and reports show it. Lines are the attacker's, so all of
//! it is bounded: who was silent longest loses his evidence first, and his tries count all
//! the same. It is not kept over a restart: each line would be written once more for that,
//! and fail2ban loses even the tries.

use lru::LruCache;

use crate::addr::Addr;
use crate::ticket::{Captured, Failure, Group, Testimony, last_lines};

/// Bytes that one jail keeps: the last lines of a few thousand offenders. A jail that has
/// more of them at once keeps those of the latest.
const BYTES_MAX: usize = 1024 * 1024;

/// Bytes of one offender's lines: twenty long ones.
const OFFENDER_BYTES_MAX: usize = 16 * 1024;

/// Bytes of what was captured of one offender: a handful of long groups.
const CAPTURED_BYTES_MAX: usize = 4 * 1024;

/// The evidence against all offenders of a jail.
#[derive(Debug)]
pub struct Evidence {
    against: LruCache<Addr, Testimony>,
    bytes: usize,
}

impl Default for Evidence {
    fn default() -> Self {
        Evidence {
            against: LruCache::unbounded(),
            bytes: 0,
        }
    }
}

impl Evidence {
    /// Puts a failure's lines behind an offender's, and keeps the last `maxmatches` of them.
    pub fn add(&mut self, offender: Addr, failure: &Failure, maxmatches: u32) {
        let Testimony { lines, captured } = self.take(&offender);
        let all = match (&*lines, &*failure.line) {
            ("", line) => line.into(),
            (_, "") => lines,
            (before, line) => [before, "\n", line].concat().into_boxed_str(),
        };
        let room = usize::try_from(maxmatches).unwrap_or(usize::MAX);
        let kept = Testimony {
            lines: shortened(last_lines(&all, room)).into(),
            captured: captured.or_else(|| worth_keeping(failure)),
        };
        if kept == Testimony::default() {
            return;
        }
        self.bytes += size(&kept);
        self.against.put(offender, kept);
        while self.bytes > BYTES_MAX
            && let Some((_, oldest)) = self.against.pop_lru()
        {
            self.bytes -= size(&oldest);
        }
    }

    /// The lines that there are of an offender.
    pub fn lines(&self, offender: &Addr) -> &str {
        let testimony = self.against.peek(offender);
        testimony.map_or("", |testimony| &testimony.lines)
    }

    /// Takes out what there is against an offender.
    pub fn take(&mut self, offender: &Addr) -> Testimony {
        let testimony = self.against.pop(offender).unwrap_or_default();
        self.bytes -= size(&testimony);
        testimony
    }
}

/// What a failure captured, if it is of use later and not too much.
fn worth_keeping(failure: &Failure) -> Option<Box<Captured>> {
    let captured = failure.captured.as_ref()?;
    let fits = captured_size(captured) <= CAPTURED_BYTES_MAX;
    (fits && !captured.groups.is_empty()).then(|| captured.clone())
}

/// Bytes that it takes, about.
fn size(testimony: &Testimony) -> usize {
    let captured = testimony.captured.as_deref().map_or(0, captured_size);
    testimony.lines.len() + captured
}

fn captured_size(captured: &Captured) -> usize {
    let groups = captured.groups.iter();
    let groups: usize = groups
        .map(|(name, group)| size_of::<(Box<str>, Group)>() + name.len() + group.len())
        .sum();
    groups + captured.id.as_deref().map_or(0, str::len)
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
    use crate::ticket::Trust;
    use crate::time::Time;

    fn offender(host: u32) -> Addr {
        Addr::host(std::net::IpAddr::V4(host.into()))
    }

    /// A failure with these lines that captured this user, if any.
    fn failure(lines: &str, user: Option<&str>) -> Failure {
        Failure {
            jail: "sshd".into(),
            addr: offender(1),
            time: Time::from_secs(0),
            form: 0,
            trust: Trust::Hint,
            user: None,
            line: lines.into(),
            captured: user.map(|user| Box::new(captured(user))),
        }
    }

    fn captured(user: &str) -> Captured {
        Captured {
            id: None,
            groups: vec![("user".into(), Group::Text(user.into()))],
        }
    }

    #[test]
    fn the_last_lines_are_kept_and_what_the_first_captured() {
        for (maxmatches, kept) in [
            (0, ""),
            (1, "d"),
            (2, "c\nd"),
            (3, "b\nc\nd"),
            (9, "a\nb\nc\nd"),
        ] {
            let mut evidence = Evidence::default();
            for (lines, user) in [
                ("a", Some("x")),
                ("b\nc", Some("y")),
                ("", None),
                ("d", None),
            ] {
                evidence.add(offender(1), &failure(lines, user), maxmatches);
            }
            let testimony = Testimony {
                lines: kept.into(),
                captured: Some(Box::new(captured("x"))),
            };
            assert_eq!(evidence.take(&offender(1)), testimony, "{maxmatches}");
            assert_eq!((evidence.bytes, evidence.against.len()), (0, 0));
        }
    }

    #[test]
    fn memory_is_bounded_and_the_latest_keep_their_lines() {
        let mut evidence = Evidence::default();
        let line = "x".repeat(512);
        let failure = failure(&line, Some(&line));
        for host in 0..10_000 {
            (0..40).for_each(|_| evidence.add(offender(host), &failure, u32::MAX));
        }
        assert!(evidence.bytes <= BYTES_MAX);
        let Testimony { lines, captured } = evidence.take(&offender(9_999));
        assert!(lines.len() <= OFFENDER_BYTES_MAX && lines.split('\n').all(|kept| kept == line));
        assert!(lines.len() > OFFENDER_BYTES_MAX - 1_024);
        assert!(captured.is_some());
        assert_eq!(evidence.take(&offender(1)), Testimony::default());
    }

    #[test]
    fn too_much_that_was_captured_is_left_out() {
        let mut evidence = Evidence::default();
        let long = "x".repeat(CAPTURED_BYTES_MAX);
        evidence.add(offender(1), &failure("a", Some(&long)), 5);
        assert_eq!(evidence.take(&offender(1)).captured, None);
    }
}
