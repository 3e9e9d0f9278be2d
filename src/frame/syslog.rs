//! Syslog's messages as lines: what rsyslog would have written into a file.
//!
//! A message begins with its priority, `<34>`. What follows is, after RFC 3164, a date, a
//! host and the text behind its tag, or, after RFC 5424, fields divided by blanks. A
//! program that writes to its own machine's socket names no host; one stands in for it,
//! since filters expect one.

use std::borrow::Cow;

/// The host of a message that names none.
const HERE: &[u8] = b"localhost ";

/// What a field without a value says (RFC 5424).
const NIL: &[u8] = b"-";

/// The line of a message; as it is, if it is no message of syslog's.
pub(super) fn line(message: &[u8]) -> Cow<'_, [u8]> {
    let Some(rest) = behind_priority(message) else {
        return Cow::Borrowed(message);
    };
    if let Some(line) = rest.strip_prefix(b"1 ").and_then(modern) {
        return Cow::Owned(line);
    }
    match behind_date(rest) {
        Some((date, text)) if names_no_host(text) => Cow::Owned([date, HERE, text].concat()),
        _ => Cow::Borrowed(rest),
    }
}

/// `<0>` to `<191>`.
fn behind_priority(message: &[u8]) -> Option<&[u8]> {
    let rest = message.strip_prefix(b"<")?;
    let end = rest.iter().take(4).position(|byte| *byte == b'>')?;
    let (digits, rest) = rest.split_at(end);
    let number: u8 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    (number <= 191).then(|| rest.get(1..).unwrap_or_default())
}

/// A date of RFC 3164 (`Nov  2 07:06:05 `), blank and all, and what follows.
fn behind_date(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let (date, rest) = text.split_at_checked(16)?;
    let is_date = date
        .iter()
        .zip(b"Aaa D0 00:00:00 ")
        .all(|(byte, form)| match form {
            b'A' => byte.is_ascii_uppercase(),
            b'a' => byte.is_ascii_lowercase(),
            b'D' => byte.is_ascii_digit() || *byte == b' ',
            b'0' => byte.is_ascii_digit(),
            _ => byte == form,
        });
    is_date.then_some((date, rest))
}

/// Does the tag follow at once (`kamailio[7]: `)? No host ends in a colon.
fn names_no_host(text: &[u8]) -> bool {
    let first = text.split(|byte| *byte == b' ').next();
    first.is_some_and(|word| word.ends_with(b":"))
}

/// A message of RFC 5424 behind its version: `DATE HOST APP PROCID MSGID SD TEXT`.
fn modern(fields: &[u8]) -> Option<Vec<u8>> {
    let mut rest = fields;
    let mut field = || {
        let end = memchr::memchr(b' ', rest)?;
        let (field, after) = rest.split_at(end);
        rest = after.get(1..).unwrap_or_default();
        Some(field)
    };
    let (date, host, app, process) = (field()?, field()?, field()?, field()?);
    let _message_id = field()?;
    let text = behind_data(rest)?;
    let mut line = Vec::with_capacity(fields.len());
    if date != NIL {
        line.extend_from_slice(date);
        line.push(b' ');
    }
    match host == NIL {
        true => line.extend_from_slice(HERE),
        false => line.extend([host, b" "].concat()),
    }
    line.extend_from_slice(app);
    if process != NIL {
        line.extend([b"[", process, b"]"].concat());
    }
    line.extend_from_slice(b": ");
    line.extend_from_slice(text);
    Some(line)
}

/// What follows the structured data, `-` or `[id name="value"]` any number of times.
fn behind_data(text: &[u8]) -> Option<&[u8]> {
    let mut rest = text;
    if let Some(after) = rest.strip_prefix(NIL) {
        rest = after;
    } else {
        while rest.starts_with(b"[") {
            rest = behind_element(rest)?;
        }
    }
    let text = match rest {
        [] => rest,
        _ => rest.strip_prefix(b" ")?,
    };
    Some(text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text))
}

/// A bracket in a value is quoted, and a quote in it has a backslash before it.
fn behind_element(text: &[u8]) -> Option<&[u8]> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    let end = text.iter().position(|byte| {
        let was_escaped = std::mem::replace(&mut is_escaped, is_quoted && *byte == b'\\');
        if was_escaped {
            is_escaped = false;
            return false;
        }
        is_quoted ^= *byte == b'"';
        !is_quoted && *byte == b']'
    })?;
    text.get(end + 1..)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_become_lines() {
        for (message, expected) in [
            // rsyslog's omuxsock, syslog-ng's unix-dgram
            (
                "<133>Nov 22 07:06:05 sip1 kamailio[7]: NOTICE: text",
                "Nov 22 07:06:05 sip1 kamailio[7]: NOTICE: text",
            ),
            // glibc's syslog(), which Kamailio and Asterisk call
            (
                "<133>Nov  2 07:06:05 kamailio[7]: NOTICE: text",
                "Nov  2 07:06:05 localhost kamailio[7]: NOTICE: text",
            ),
            (
                "<133>Nov  2 07:06:05 asterisk: text",
                "Nov  2 07:06:05 localhost asterisk: text",
            ),
            (
                "<133>2026-11-22T07:06:05.123456+01:00 sip1 kamailio[7]: text",
                "2026-11-22T07:06:05.123456+01:00 sip1 kamailio[7]: text",
            ),
            (
                "<133>1 2026-11-22T07:06:05.1Z sip1 kamailio 7 - - text with [brackets]",
                "2026-11-22T07:06:05.1Z sip1 kamailio[7]: text with [brackets]",
            ),
            (
                r#"<133>1 2026-11-22T07:06:05Z - kamailio - ID47 [a b="]\"]"][c] text"#,
                "2026-11-22T07:06:05Z localhost kamailio: text",
            ),
            (
                "<133>1 - sip1 kamailio 7 - - \u{feff}text",
                "sip1 kamailio[7]: text",
            ),
            ("<133>1 - sip1 kamailio 7 - -", "sip1 kamailio[7]: "),
            // not syslog's, or not well formed: as it is
            ("no priority", "no priority"),
            ("<192>text", "<192>text"),
            ("<x>text", "<x>text"),
            ("<1234>text", "<1234>text"),
            ("<34", "<34"),
            ("<34>", ""),
            ("<133>1 half of it", "1 half of it"),
            ("<133>1 - a b c - [open", "1 - a b c - [open"),
        ] {
            let line = line(message.as_bytes());
            assert_eq!(String::from_utf8_lossy(&line), expected, "{message}");
        }
    }
}
