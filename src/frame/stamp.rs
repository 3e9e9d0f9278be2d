//! Times: the framing's own, and whether a line has one itself.

/// How far into a line its own time of day may begin: FreeSWITCH writes a session's UUID
/// (36 bytes) and a date in front of it.
const DATE_WITHIN: usize = 64;

/// A number of so many digits at the beginning of a line is a date: `20261122`, or
/// seconds since 1970.
const DATE_DIGITS: usize = 8;

/// When a container's runtime took a line from the server; RFC 3339.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp<'a> {
    /// `2026-11-22T07:00:00`.
    seconds: &'a [u8],
    /// `Z` or `+01:00`.
    zone: &'a [u8],
}

impl<'a> Stamp<'a> {
    /// The stamp at the beginning of `bytes`, and what follows it.
    pub(super) fn read(bytes: &'a [u8]) -> Option<(Stamp<'a>, &'a [u8])> {
        let (seconds, rest) = bytes.split_at_checked(19)?;
        if !fits(seconds, b"0000-00-00T00:00:00") {
            return None;
        }
        let rest = match rest.strip_prefix(b".") {
            Some(fraction) => fraction.get(digits(fraction)..)?,
            None => rest,
        };
        let zone_len = if rest.starts_with(b"Z") { 1 } else { 6 };
        let (zone, rest) = rest.split_at_checked(zone_len)?;
        let is_zone = zone == b"Z" || fits(zone, b"+00:00") || fits(zone, b"-00:00");
        is_zone.then_some((Stamp { seconds, zone }, rest))
    }

    /// Writes it so that the default templates of dates read it: they know no
    /// nanoseconds.
    pub(super) fn write(self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.seconds);
        out.extend_from_slice(self.zone);
    }
}

/// Are these bytes of this form, where a `0` stands for any digit?
fn fits(bytes: &[u8], form: &[u8]) -> bool {
    let fits = |(byte, form): (&u8, &u8)| match form {
        b'0' => byte.is_ascii_digit(),
        _ => byte == form,
    };
    bytes.len() == form.len() && bytes.iter().zip(form).all(fits)
}

fn digits(bytes: &[u8]) -> usize {
    bytes
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .count()
}

/// Does the line itself say when it was written?
///
/// It does if, behind nothing but what dates and levels are made of (letters, digits,
/// ` -/.,:[<>+_@`), a time of day (`7:15:04`) begins in its first 64 bytes, shortly behind
/// a digit (of the day or the year); or if it begins with a number of eight digits. This
/// is no reading of dates, which is the filter's part: it decides only whether a line
/// needs the framing's time. If it errs, the line counts when it is read.
pub(super) fn has_date(line: &[u8]) -> bool {
    let start = line
        .iter()
        .position(|byte| !b" [<".contains(byte))
        .unwrap_or(line.len());
    if line
        .get(start..)
        .is_some_and(|rest| digits(rest) >= DATE_DIGITS)
    {
        return true;
    }
    let is_part = |byte: &&u8| byte.is_ascii_alphanumeric() || b" -/.,:[<>+_@".contains(byte);
    let head = line
        .iter()
        .take(DATE_WITHIN + 8)
        .take_while(is_part)
        .count();
    let head = line.get(..head).unwrap_or_default();
    memchr::memchr_iter(b':', head).any(|colon| {
        let (before, after) = head.split_at(colon);
        let hours = before
            .iter()
            .rev()
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        let day = before.get(..before.len() - hours).unwrap_or_default();
        (1..=2).contains(&hours)
            && after.get(..6).is_some_and(|after| fits(after, b":00:00"))
            && ends_in_day(day)
    })
}

/// Does this end as a date does in front of its time of day? A colon stands behind years
/// only: `22/Nov/2026:07:15:04`. In an address it stands behind anything.
fn ends_in_day(text: &[u8]) -> bool {
    if let Some(year) = text.strip_suffix(b":") {
        return year
            .iter()
            .rev()
            .take(4)
            .filter(|byte| byte.is_ascii_digit())
            .count()
            == 4;
    }
    let is_separator = |byte: &&u8| b" T,-_/@".contains(byte);
    let gap = text.iter().rev().take(2).take_while(is_separator).count();
    let day = text.iter().rev().nth(gap);
    gap > 0 && day.is_some_and(u8::is_ascii_digit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_lines_have_a_date() {
        for line in [
            "[Nov 22 07:15:04] NOTICE[12] chan_sip.c: x",
            "Nov  2 07:15:04 sip1 kamailio[7]: ERROR: x",
            "2026-11-22T07:15:04.123+00:00 sip1 kamailio[7]: ERROR: x",
            "<13>Nov 22 07:15:04 sip1 x",
            "[2026-11-22 07:15:04.123] NOTICE[12] x",
            "11/22/2026, 7:15:04 AM x",
            "22/Nov/2026:07:15:04 +0000 x",
            "8b1f0c9e-3f6e-4a3e-9d2c-0a8f7b6c5d4e 2026-11-22 07:40:00.118206 97.43% [WARNING] x",
            "1795331704.25 x",
            "20261122 071504 x",
        ] {
            assert!(has_date(line.as_bytes()), "{line}");
        }
        for line in [
            "",
            " 2(4511) ERROR: {1 2 REGISTER 22 07:15:04} <script>: Blocking traffic from 192.0.2.1",
            "NOTICE[12]: chan_sip.c:568 handle: Registration from '22 07:15:04' failed",
            "pike blocking from 2001:db8::07:15:04:1",
            "pike blocking from 2001:db8:07:15:04::1",
            "x 07:15:04",
            "   -- Registered SIP '1001' at 192.0.2.1:5060",
        ] {
            assert!(!has_date(line.as_bytes()), "{line}");
        }
    }

    #[test]
    fn stamps_lose_what_no_template_reads() {
        for (text, expected, rest) in [
            (
                "2026-11-22T07:00:00.123456789Z stdout",
                "2026-11-22T07:00:00Z",
                " stdout",
            ),
            ("2026-11-22T07:00:00Z", "2026-11-22T07:00:00Z", ""),
            (
                "2026-11-22T07:00:00.5-03:30x",
                "2026-11-22T07:00:00-03:30",
                "x",
            ),
        ] {
            let (stamp, after) = Stamp::read(text.as_bytes()).unwrap();
            let mut out = Vec::new();
            stamp.write(&mut out);
            assert_eq!((&*out, after), (expected.as_bytes(), rest.as_bytes()));
        }
        for text in [
            "",
            "2026-11-22 07:00:00Z",
            "2026-11-22T07:00:00",
            "2026-11-22T07:00:00+0100 ",
        ] {
            assert_eq!(Stamp::read(text.as_bytes()), None, "{text}");
        }
    }
}
