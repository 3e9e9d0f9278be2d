//! LOG: a file, or lines that are given as text.
//!
//! Empty lines and those that begin with `#` are passed over, as `fail2ban-regex` does, and
//! so is a last line without its newline in a file: the server is still writing it.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use super::subject::short;

/// The longest line that is looked at; the rest of a longer one is passed over. Servers
/// write a few kilobytes at most.
const LINE_BYTES_MAX: usize = 1 << 20;

/// Lines of a text that are mentioned.
const LINES_MENTIONED: usize = 5;

/// What follows LOG if it is a journal.
const JOURNAL: &str = "systemd-journal";

/// How the bytes of a log are read as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encoding {
    /// What is no UTF-8 is shown by the character for that.
    Utf8,
    /// The same for what is no ASCII.
    Ascii,
    /// Every byte is the character of that number.
    Latin1,
}

/// Where lines come from.
#[derive(Debug)]
pub(super) enum Source {
    /// A file.
    File(PathBuf),
    /// A text.
    Text(String),
}

impl Source {
    pub(super) fn of(log: &OsStr) -> Result<Source, String> {
        let text = log.to_string_lossy();
        let behind = text.strip_prefix(JOURNAL);
        if behind.is_some_and(|behind| behind.is_empty() || behind.starts_with('[')) {
            return Err(
                "systemd journals are not read yet; give a log file, or the lines of \
                 `journalctl -o short-iso` in one"
                    .to_owned(),
            );
        }
        Ok(match Path::new(log).is_file() {
            true => Source::File(PathBuf::from(log)),
            false => Source::Text(text.into_owned()),
        })
    }

    /// What is said of it.
    pub(super) fn mention(&self, encoding: Option<&str>, maxlines: u32) -> String {
        let text = match self {
            Source::File(path) => {
                let encoding = encoding.unwrap_or("UTF-8");
                return format!(
                    "Use         log file : {}\nUse         encoding : {encoding}\n",
                    path.display()
                );
            }
            Source::Text(text) => text,
        };
        let lines: Vec<&str> = text.split('\n').collect();
        if lines.len() == 1 && maxlines <= 1 {
            return format!("Use      single line : {}\n", short(text));
        }
        let mut mention = format!("Use      multi line : {} line(s)\n", lines.len());
        for (place, line) in lines.iter().take(LINES_MENTIONED).enumerate() {
            mention += &format!("|  {}: {}\n", place + 1, short(line));
        }
        if lines.len() > LINES_MENTIONED {
            mention += "| ...\n";
        }
        mention + "`-\n"
    }

    /// Gives each line that counts, without its newline.
    pub(super) fn each(
        &self,
        encoding: Option<&str>,
        mut each: impl FnMut(&str) -> Result<(), String>,
    ) -> Result<(), String> {
        let mut given = |line: &str| match line.is_empty() || line.starts_with('#') {
            true => Ok(()),
            false => each(line),
        };
        match self {
            Source::Text(text) => text
                .split('\n')
                .try_for_each(|line| given(line.trim_end_matches('\r'))),
            Source::File(path) => {
                let encoding = encoding_named(encoding)?;
                let told = |error: std::io::Error| format!("{}: {error}", path.display());
                let mut file = BufReader::new(File::open(path).map_err(told)?);
                let mut bytes = Vec::new();
                while read_line(&mut file, &mut bytes).map_err(told)? {
                    let text = decoded(&bytes, encoding);
                    given(text.trim_end_matches(['\r', '\n']))?;
                }
                Ok(())
            }
        }
    }
}

/// Reads a whole line with its newline; false at the end of the file.
fn read_line(file: &mut impl BufRead, bytes: &mut Vec<u8>) -> std::io::Result<bool> {
    bytes.clear();
    file.by_ref()
        .take(LINE_BYTES_MAX as u64)
        .read_until(b'\n', bytes)?;
    let whole = bytes.last() == Some(&b'\n');
    if !whole && bytes.len() == LINE_BYTES_MAX {
        file.skip_until(b'\n')?;
        return Ok(true);
    }
    Ok(whole)
}

fn encoding_named(name: Option<&str>) -> Result<Encoding, String> {
    let plain = |char: &char| char.is_ascii_alphanumeric();
    let given = name.unwrap_or("utf8").to_lowercase();
    match given.chars().filter(plain).collect::<String>().as_str() {
        "utf8" | "u8" | "auto" => Ok(Encoding::Utf8),
        "ascii" | "usascii" | "646" => Ok(Encoding::Ascii),
        "latin1" | "iso88591" | "88591" | "l1" => Ok(Encoding::Latin1),
        _ => Err(format!(
            "unknown encoding: {given}; write UTF-8, ASCII or ISO-8859-1"
        )),
    }
}

fn decoded(bytes: &[u8], encoding: Encoding) -> Cow<'_, str> {
    match encoding {
        Encoding::Utf8 => String::from_utf8_lossy(bytes),
        Encoding::Latin1 => bytes.iter().map(|byte| char::from(*byte)).collect(),
        Encoding::Ascii => {
            let char = |byte: &u8| match byte.is_ascii() {
                true => char::from(*byte),
                false => char::REPLACEMENT_CHARACTER,
            };
            bytes.iter().map(char).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_without_meaning_are_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        std::fs::write(&path, b"a\xff\r\n# c\n\n # d\nlast").unwrap();
        for (encoding, expected) in [
            (None, &["a\u{fffd}", " # d"][..]),
            (Some("ascii"), &["a\u{fffd}", " # d"]),
            (Some("latin1"), &["a\u{ff}", " # d"]),
        ] {
            let mut lines = Vec::new();
            let keep = |line: &str| {
                lines.push(line.to_owned());
                Ok(())
            };
            Source::of(path.as_os_str())
                .unwrap()
                .each(encoding, keep)
                .unwrap();
            assert_eq!(lines, expected, "{encoding:?}");
        }
        assert!(
            Source::of(path.as_os_str())
                .unwrap()
                .each(Some("x"), |_| Ok(()))
                .is_err()
        );
        assert!(Source::of("systemd-journal[a=b]".as_ref()).is_err());
    }
}
