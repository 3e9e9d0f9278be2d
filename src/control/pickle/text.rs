//! Numbers and texts in the forms that pickles have them.

use super::PickleErrorKind as Kind;

/// A number in decimal digits.
pub(super) fn parse<N: std::str::FromStr>(digits: &[u8]) -> Result<N, Kind> {
    let text = std::str::from_utf8(digits).map_err(|_| Kind::Number)?;
    text.trim().parse().map_err(|_| Kind::Number)
}

/// A whole number in two's complement, the lowest byte first.
pub(super) fn long(bytes: &[u8]) -> Result<i64, Kind> {
    let fill = match bytes.last() {
        Some(highest) if highest & 0x80 != 0 => 0xff,
        _ => 0,
    };
    let mut whole = [fill; 8];
    whole
        .get_mut(..bytes.len())
        .ok_or(Kind::Number)?
        .copy_from_slice(bytes);
    Ok(i64::from_le_bytes(whole))
}

/// Protocol 0's text: Latin-1 in which `\uXXXX` and `\UXXXXXXXX` stand for the rest.
pub(super) fn unescape_raw(line: &[u8]) -> String {
    let mut text = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        let digits = match (byte, tail.first()) {
            (b'\\', Some(b'u')) => tail.get(1..5),
            (b'\\', Some(b'U')) => tail.get(1..9),
            // A backslash before any other byte keeps that byte from being read anew.
            (b'\\', Some(&other)) => {
                text.push('\\');
                text.push(char::from(other));
                rest = tail.get(1..).unwrap_or_default();
                continue;
            }
            _ => None,
        };
        match digits.and_then(|digits| Some((hex(digits)?, digits.len()))) {
            Some((code, len)) => {
                text.push(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
                rest = tail.get(1 + len..).unwrap_or_default();
            }
            None => text.push(char::from(byte)),
        }
    }
    text
}

fn hex(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0u32, |code, &digit| {
        Some(code.checked_mul(16)? + char::from(digit).to_digit(16)?)
    })
}

/// Python 2's text: quoted, with the escapes of a string literal.
pub(super) fn unquote(line: &[u8]) -> Result<String, Kind> {
    let line = line.trim_ascii();
    let inner = match line {
        [b'\'', inner @ .., b'\''] | [b'"', inner @ .., b'"'] => inner,
        _ => return Err(Kind::Text),
    };
    let mut bytes = Vec::with_capacity(inner.len());
    let mut rest = inner;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if byte == b'\\' {
            let (escaped, len) = escape(tail).ok_or(Kind::Text)?;
            bytes.extend(escaped);
            rest = tail.get(len..).unwrap_or_default();
        } else {
            bytes.push(byte);
        }
    }
    Ok(String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
}

/// What the escape after a backslash stands for, and how long it is.
fn escape(after: &[u8]) -> Option<(Vec<u8>, usize)> {
    let byte = match after.first()? {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'a' => 0x07,
        b'b' => 0x08,
        b'f' => 0x0c,
        b'v' => 0x0b,
        same @ (b'\\' | b'\'' | b'"') => *same,
        b'x' => return Some((vec![hex(after.get(1..3)?)? as u8], 3)),
        b'0'..=b'7' => {
            let octal = after.iter().take(3);
            let digits = octal.take_while(|digit| (b'0'..=b'7').contains(digit));
            let (code, len) = digits.fold((0u32, 0), |(code, len), digit| {
                (code * 8 + u32::from(digit - b'0'), len + 1)
            });
            return Some((vec![(code & 0xff) as u8], len));
        }
        other => return Some((vec![b'\\', *other], 1)),
    };
    Some((vec![byte], 1))
}
