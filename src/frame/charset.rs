//! The charset: what the bytes of a log mean (`logencoding`).
//!
//! Everything behind this sees UTF-8. A log in UTF-8 goes through untouched; of another one
//! each block is written anew. Bytes that mean nothing become U+FFFD. Names are Python's,
//! as fail2ban takes them.
//!
//! A block ends at a newline byte, which in UTF-16 may be half of a character: there the
//! beginning of a line waits for its end. Where it is the first half of a newline, the line
//! is complete, and the second half is passed over when it comes.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use encoding_rs::{Encoding, REPLACEMENT, UTF_8, UTF_16BE, UTF_16LE, X_USER_DEFINED};

use super::LINE_BYTES_MAX;

/// An encoding of text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Charset {
    /// UTF-8, and ASCII within it.
    #[default]
    Utf8,
    /// ASCII and nothing beyond it.
    Ascii,
    /// Each byte is the character of that number (ISO 8859-1).
    Latin1,
    /// UTF-16, by its byte order mark, or with the low byte first.
    Utf16,
    /// Any other one.
    Other(&'static Encoding),
}

/// It is not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "logencoding = {0}: this encoding is not known; write auto, utf-8, ascii, latin-1, iso-8859-2 to -16, \
     cp1250 to cp1258, cp866, cp874, koi8-r, koi8-u, mac-roman, utf-16, utf-16-le, utf-16-be, gbk, \
     gb18030, big5, euc-jp, iso-2022-jp, shift_jis or euc-kr"
)]
pub struct UnknownCharset(pub String);

/// Python's names that are nobody else's, without what divides their parts.
const PYTHON_NAMES: [(&str, &str); 17] = [
    ("u8", "utf-8"),
    ("utf8sig", "utf-8"),
    ("cp65001", "utf-8"),
    ("latin7", "iso-8859-13"),
    ("latin8", "iso-8859-14"),
    ("latin9", "iso-8859-15"),
    ("latin10", "iso-8859-16"),
    ("cp874", "windows-874"),
    ("cp932", "shift_jis"),
    ("cp936", "gbk"),
    ("cp949", "euc-kr"),
    ("cp950", "big5"),
    ("big5hkscs", "big5-hkscs"),
    ("eucjis2004", "euc-jp"),
    ("shiftjis2004", "shift_jis"),
    ("macroman", "macintosh"),
    ("maccyrillic", "x-mac-cyrillic"),
];

impl FromStr for Charset {
    type Err = UnknownCharset;

    fn from_str(name: &str) -> Result<Charset, UnknownCharset> {
        let plain = name.trim().to_ascii_lowercase().replace(['_', ' '], "-");
        let squeezed = plain.replace('-', "");
        match squeezed.as_str() {
            "ascii" | "usascii" | "646" => return Ok(Charset::Ascii),
            "latin1" | "iso88591" | "88591" | "l1" | "latin" | "cp819" => {
                return Ok(Charset::Latin1);
            }
            "utf16" | "u16" => return Ok(Charset::Utf16),
            _ => {}
        }
        let known = PYTHON_NAMES.iter().find(|(python, _)| *python == squeezed);
        let label = known.map_or(plain.as_str(), |(_, label)| label);
        let dashed = squeezed.replacen("utf16", "utf-16", 1);
        let dashed = dashed.replacen("iso8859", "iso-8859-", 1);
        let jp = plain.replacen("iso2022", "iso-2022", 1);
        let labels = [label, &squeezed, &dashed, &jp];
        let found = labels
            .into_iter()
            .find_map(|label| Encoding::for_label(label.as_bytes()))
            .filter(|found| ![REPLACEMENT, X_USER_DEFINED].contains(found));
        match found {
            Some(found) if found == UTF_8 => Ok(Charset::Utf8),
            Some(found) => Ok(Charset::Other(found)),
            None => Err(UnknownCharset(name.to_owned())),
        }
    }
}

impl fmt::Display for Charset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Charset::Utf8 => "UTF-8",
            Charset::Ascii => "ASCII",
            Charset::Latin1 => "ISO-8859-1",
            Charset::Utf16 => "UTF-16",
            Charset::Other(encoding) => encoding.name(),
        })
    }
}

impl Charset {
    /// That of a locale (`de_DE.ISO-8859-15@euro`): what stands behind its dot. A locale
    /// without one, such as C, has UTF-8, as Python has it.
    pub fn of_locale(locale: &str) -> Charset {
        let behind = locale.split_once('.').map_or("", |(_, behind)| behind);
        let name = behind.split('@').next().unwrap_or_default();
        name.parse().unwrap_or_default()
    }

    /// One line alone, for whoever looks for a line's date only.
    pub fn peek<'l>(self, line: &'l [u8]) -> Cow<'l, [u8]> {
        match self.order() {
            _ if self == Charset::Utf8 => Cow::Borrowed(line),
            Some(_) => line.iter().copied().filter(|byte| *byte != 0).collect(),
            None => {
                let mut text = String::new();
                self.decode(line, &mut text);
                text.into_bytes().into()
            }
        }
    }

    /// For UTF-16, whether the low byte is known to come first.
    fn order(self) -> Option<Order> {
        match self {
            Charset::Utf16 => Some(Order::Unknown),
            Charset::Other(encoding) if encoding == UTF_16LE => Some(Order::LowFirst),
            Charset::Other(encoding) if encoding == UTF_16BE => Some(Order::HighFirst),
            _ => None,
        }
    }

    /// Writes what bytes mean; true if some mean nothing.
    fn decode(self, bytes: &[u8], text: &mut String) -> bool {
        let (meant, is_bad) = match self {
            Charset::Latin1 => {
                text.extend(bytes.iter().map(|byte| char::from(*byte)));
                return false;
            }
            Charset::Ascii => {
                let char = |byte: &u8| match byte.is_ascii() {
                    true => char::from(*byte),
                    false => char::REPLACEMENT_CHARACTER,
                };
                text.extend(bytes.iter().map(char));
                return !bytes.is_ascii();
            }
            Charset::Utf8 => UTF_8.decode_without_bom_handling(bytes),
            Charset::Utf16 => UTF_16LE.decode_without_bom_handling(bytes),
            Charset::Other(encoding) => encoding.decode_without_bom_handling(bytes),
        };
        text.push_str(&meant);
        is_bad
    }
}

/// Which half of a UTF-16 character comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    LowFirst,
    HighFirst,
    /// The log's first two bytes say it.
    Unknown,
}

/// Turns one log's blocks into UTF-8.
#[derive(Debug)]
pub struct Transcoder {
    charset: Charset,
    /// In UTF-16, the beginning of a line whose end was not read yet.
    begun: Vec<u8>,
    /// Blocks with bytes that mean nothing.
    bad: u64,
}

impl Transcoder {
    /// For a log in this charset.
    pub fn new(charset: Charset) -> Transcoder {
        Transcoder {
            charset,
            begun: Vec::new(),
            bad: 0,
        }
    }

    /// What it turns into UTF-8.
    pub fn charset(&self) -> Charset {
        self.charset
    }

    /// How many blocks had bytes that mean nothing. Those of UTF-8 are not looked at here.
    pub fn bad(&self) -> u64 {
        self.bad
    }

    /// The whole lines of a block that begins at `offset` of its log, in UTF-8. `room` is
    /// for them if they are not the block itself: one for all logs will do.
    pub fn block<'a>(&mut self, block: &'a [u8], offset: u64, room: &'a mut String) -> &'a [u8] {
        if self.charset == Charset::Utf8 {
            return block;
        }
        room.clear();
        let is_bad = match self.charset.order() {
            Some(order) => self.utf16(block, offset, order, room),
            None => self.charset.decode(block, room),
        };
        self.bad += u64::from(is_bad);
        if !room.is_empty() && !room.ends_with('\n') {
            room.push('\n');
        }
        room.as_bytes()
    }

    /// Says that a line was lost before it came here.
    pub fn lost(&mut self) {
        self.begun.clear();
    }

    fn utf16(&mut self, block: &[u8], offset: u64, order: Order, room: &mut String) -> bool {
        let mut block = block;
        if offset == 0 {
            self.begun.clear();
            let (low, high) = (
                block.strip_prefix(b"\xff\xfe"),
                block.strip_prefix(b"\xfe\xff"),
            );
            if let (Order::Unknown, Some(_)) = (order, high) {
                self.charset = Charset::Other(UTF_16BE);
            }
            block = low.or(high).unwrap_or(block);
        }
        // The second half of a newline whose first half ended the block before.
        if offset % 2 == 1 && self.begun.len().is_multiple_of(2) {
            block = block.get(1..).unwrap_or_default();
        }
        self.begun.extend_from_slice(block);
        let low_first = self.charset.order() != Some(Order::HighFirst);
        let odd = !self.begun.len().is_multiple_of(2);
        match low_first {
            true if odd && self.begun.ends_with(b"\n") => self.begun.push(0),
            false if !odd && self.begun.ends_with(b"\0\n") => {}
            _ => {
                if self.begun.len() > 2 * LINE_BYTES_MAX {
                    self.begun.clear();
                }
                return false;
            }
        }
        let is_bad = self.charset.decode(&self.begun, room);
        self.begun.clear();
        self.begun.shrink_to(LINE_BYTES_MAX);
        is_bad
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_python_are_known() {
        for (names, expected) in [
            ("utf-8 UTF8 utf_8 U8 utf-8-sig", "UTF-8"),
            ("ascii us-ascii 646", "ASCII"),
            (
                "latin-1 latin1 iso-8859-1 iso8859_1 8859-1 L1",
                "ISO-8859-1",
            ),
            ("iso-8859-15 iso8859_15 latin9 ISO_8859_15", "ISO-8859-15"),
            ("cp1252 windows-1252 windows_1252", "windows-1252"),
            ("cp866 ibm866", "IBM866"),
            ("koi8-r koi8_r", "KOI8-R"),
            ("koi8_u", "KOI8-U"),
            ("utf-16 utf16 UTF_16", "UTF-16"),
            ("utf-16-le utf_16_le utf-16le", "UTF-16LE"),
            ("utf-16-be", "UTF-16BE"),
            ("gbk cp936 gb2312", "GBK"),
            ("gb18030", "gb18030"),
            ("big5 cp950 big5hkscs", "Big5"),
            ("shift_jis sjis cp932 shift-jis", "Shift_JIS"),
            ("euc_jp euc-jp", "EUC-JP"),
            ("iso2022_jp iso-2022-jp", "ISO-2022-JP"),
            ("euc_kr cp949", "EUC-KR"),
            ("cp874 tis-620", "windows-874"),
            ("mac_roman", "macintosh"),
        ] {
            for name in names.split(' ') {
                let found = name.parse::<Charset>().map(|found| found.to_string());
                assert_eq!(found.as_deref(), Ok(expected), "{name}");
            }
        }
        for name in [
            "",
            "bogus",
            "cp437",
            "hz",
            "utf-7",
            "x-user-defined",
            "base64",
        ] {
            let error = name.parse::<Charset>().unwrap_err().to_string();
            assert!(error.contains(name) && error.contains("koi8-r"), "{error}");
        }
    }

    #[test]
    fn locales_have_a_charset() {
        for (locale, expected) in [
            ("C", "UTF-8"),
            ("POSIX", "UTF-8"),
            ("", "UTF-8"),
            ("en_GB.UTF-8", "UTF-8"),
            ("de_DE.ISO-8859-15@euro", "ISO-8859-15"),
            ("ru_RU.KOI8-R", "KOI8-R"),
            ("tlh.nonsense", "UTF-8"),
        ] {
            assert_eq!(Charset::of_locale(locale).to_string(), expected, "{locale}");
        }
    }

    /// What comes of a log whose bytes are read in blocks of whole lines, as far as the
    /// reader can tell: cut behind each newline byte.
    fn read(charset: &str, log: &[u8]) -> String {
        let mut transcoder = Transcoder::new(charset.parse().unwrap());
        let (mut room, mut shown, mut offset) = (String::new(), String::new(), 0);
        for block in log.split_inclusive(|byte| *byte == b'\n') {
            if block.ends_with(b"\n") {
                let lines = transcoder.block(block, offset, &mut room);
                shown.push_str(std::str::from_utf8(lines).unwrap());
            }
            offset += block.len() as u64;
        }
        shown + &format!("bad={}", transcoder.bad())
    }

    fn utf16(text: &str, order: Order) -> Vec<u8> {
        let half = |unit: u16| match order {
            Order::HighFirst => unit.to_be_bytes(),
            _ => unit.to_le_bytes(),
        };
        text.encode_utf16().flat_map(half).collect()
    }

    #[test]
    fn bytes_become_text() {
        for (charset, log, expected) in [
            (
                "latin-1",
                b"caf\xe9 \x80\r\nx\n".as_slice(),
                "café \u{80}\r\nx\nbad=0",
            ),
            ("cp1252", b"caf\xe9 \x80\n", "café €\nbad=0"),
            ("ascii", b"caf\xe9\n", "caf\u{fffd}\nbad=1"),
            ("koi8-r", b"\xd0\xc1\n", "па\nbad=0"),
            ("gbk", b"\xd6\xd0\n\xd6\nx\n", "中\n\u{fffd}\nx\nbad=1"),
            ("shift_jis", b"\x93\xfa\n", "日\nbad=0"),
            ("iso-2022-jp", b"\x1b$BF|\x1b(Bx\n", "日x\nbad=0"),
        ] {
            assert_eq!(read(charset, log), expected, "{charset}");
        }
    }

    #[test]
    fn lines_of_utf_16_are_whole() {
        // U+0A05 and U+0A0A hold the byte of a newline where it is none.
        let text = "café 192.0.2.1\n\u{a05}\u{a0a} x\n\nlast\n";
        let whole = format!("{text}bad=0");
        for (charset, order, mark) in [
            ("utf-16-le", Order::LowFirst, ""),
            ("utf-16-be", Order::HighFirst, ""),
            ("utf-16", Order::LowFirst, ""),
            ("utf-16", Order::LowFirst, "\u{feff}"),
            ("utf-16", Order::HighFirst, "\u{feff}"),
        ] {
            let log = utf16(&format!("{mark}{text}"), order);
            let expected = match order {
                // Whether the byte begins a newline is not known when the block ends.
                Order::LowFirst => whole.replace("\u{a0a} x\n", "\n x\n"),
                _ => whole.clone(),
            };
            assert_eq!(
                read(charset, &log),
                expected,
                "{charset} {order:?} {mark:?}"
            );
        }
        // Half of a character at the end of a line.
        let mut log = utf16("a\n", Order::HighFirst);
        log.splice(2..2, *b"\xd8\x00");
        assert_eq!(read("utf-16-be", &log), "a\u{fffd}\nbad=1");
    }

    #[test]
    fn a_line_of_utf_16_without_an_end_is_bounded() {
        let mut transcoder = Transcoder::new("utf-16-be".parse().unwrap());
        let mut room = String::new();
        for turn in 0..100_000u64 {
            assert!(
                transcoder
                    .block(b"\x0a\x0a", 2 * turn, &mut room)
                    .is_empty()
            );
        }
        assert!(transcoder.begun.len() <= 2 * LINE_BYTES_MAX);
    }
}
