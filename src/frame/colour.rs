//! ANSI colours: what a terminal takes for a colour and a filter would stumble over.
//!
//! They come as the byte ESC, as rsyslog writes it (`#033`) and as programs quote it
//! (`\x1b`). Only colours and "erase the line" are taken away (`ESC [ 0-9;: m` or `K`):
//! whoever writes an unfinished one cannot swallow what the server writes behind it.

use std::ops::Range;

use memchr::memchr3_iter;

/// The longest list of numbers in a colour; true colours take 19 (`38;2;255;255;255;1`).
const NUMBERS_BYTES_MAX: usize = 32;

/// How a colour may begin.
const BEGINNINGS: [&[u8]; 3] = [b"\x1b[", b"#033[", b"\\x1b["];

/// Where the first colour is at or behind `from`.
fn next(bytes: &[u8], from: usize) -> Option<Range<usize>> {
    let rest = bytes.get(from..)?;
    memchr3_iter(0x1b, b'#', b'\\', rest).find_map(|place| {
        let at = rest.get(place..)?;
        let begun = BEGINNINGS
            .iter()
            .find_map(|begin| at.strip_prefix(*begin))?;
        let is_number = |byte: &&u8| byte.is_ascii_digit() || b";:".contains(byte);
        let limited = begun.iter().take(NUMBERS_BYTES_MAX);
        let numbers = limited.take_while(is_number).count();
        let is_end = begun.get(numbers).is_some_and(|end| b"mK".contains(end));
        let start = from + place;
        is_end.then(|| start..start + (at.len() - begun.len()) + numbers + 1)
    })
}

/// Is there any colour in these lines?
pub(super) fn has(bytes: &[u8]) -> bool {
    next(bytes, 0).is_some()
}

/// Appends the bytes without their colours.
pub(super) fn strip(bytes: &[u8], out: &mut Vec<u8>) {
    let mut done = 0;
    while let Some(colour) = next(bytes, done) {
        out.extend_from_slice(bytes.get(done..colour.start).unwrap_or_default());
        done = colour.end;
    }
    out.extend_from_slice(bytes.get(done..).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_colours_go() {
        for (text, expected) in [
            ("\x1b[1;33mNOTICE\x1b[0m[12]: x", "NOTICE[12]: x"),
            ("#033[0;31mERROR#033[0m x", "ERROR x"),
            ("\\x1b[38;2;255;255;255;1mERROR\\x1b[K x", "ERROR x"),
            (
                "a#b\\c\x1bd\x1b[1;3Zq #033[ 1m",
                "a#b\\c\x1bd\x1b[1;3Zq #033[ 1m",
            ),
            ("user=\x1b[", "user=\x1b["),
            ("\x1b[\x1b[0m0m", "\x1b[0m"),
        ] {
            let mut out = Vec::new();
            strip(text.as_bytes(), &mut out);
            assert_eq!(String::from_utf8_lossy(&out), expected);
            assert_eq!(has(text.as_bytes()), text != expected);
        }
    }
}
