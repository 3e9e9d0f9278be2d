//! LOG: a file, or lines that are given as text.
//!
//! Empty lines and those that begin with `#` are passed over, as `fail2ban-regex` does, and
//! so is a last line without its newline in a file: the server is still writing it.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use super::subject::short;
use crate::frame::charset::{Charset, Transcoder, UnknownCharset};

/// The longest line that is looked at; the rest of a longer one is passed over. Servers
/// write a few kilobytes at most.
const LINE_BYTES_MAX: usize = 1 << 20;

/// Lines of a text that are mentioned.
const LINES_MENTIONED: usize = 5;

/// What follows LOG if it is a journal.
const JOURNAL: &str = "systemd-journal";

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
                let mut transcoder = Transcoder::new(charset(encoding)?);
                let told = |error: std::io::Error| format!("{}: {error}", path.display());
                let mut file = BufReader::new(File::open(path).map_err(told)?);
                let (mut bytes, mut room, mut offset) = (Vec::new(), String::new(), 0);
                while let Some(length) = read_line(&mut file, &mut bytes).map_err(told)? {
                    let lines = transcoder.block(&bytes, offset, &mut room);
                    offset += length;
                    for line in lines.split_inclusive(|byte| *byte == b'\n') {
                        let text = String::from_utf8_lossy(line);
                        given(text.trim_end_matches(['\r', '\n']))?;
                    }
                }
                Ok(())
            }
        }
    }
}

/// Reads a whole line with its newline, and says how long it is in the file; `None` at its
/// end.
fn read_line(file: &mut impl BufRead, bytes: &mut Vec<u8>) -> std::io::Result<Option<u64>> {
    bytes.clear();
    let mut length = file
        .by_ref()
        .take(LINE_BYTES_MAX as u64)
        .read_until(b'\n', bytes)? as u64;
    let whole = bytes.last() == Some(&b'\n');
    if !whole && bytes.len() == LINE_BYTES_MAX {
        length += file.skip_until(b'\n')? as u64;
        bytes.push(b'\n');
        return Ok(Some(length));
    }
    Ok(whole.then_some(length))
}

fn charset(name: Option<&str>) -> Result<Charset, String> {
    let charset = name.unwrap_or("utf-8");
    match charset.eq_ignore_ascii_case("auto") {
        true => Ok(Charset::Utf8),
        false => charset
            .parse()
            .map_err(|error: UnknownCharset| error.to_string()),
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
            (Some("koi8_r"), &["aЪ", " # d"]),
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
