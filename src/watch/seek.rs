//! Finding where the recent part of a log begins, in a file of any size.
//!
//! Lines stand in the order of their times, more or less, so that a binary search
//! needs some twenty looks for gigabytes. What a line says of its time is told by
//! the caller. A stretch without any such line counts as old.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use memchr::memchr;

use super::LINE_BYTES_MAX;

/// How much is read at each look: the longest line, and then some.
const LOOK_BYTES: usize = 2 * LINE_BYTES_MAX;

/// Is the line old? `None` if it does not tell.
pub(super) type IsOld<'a> = dyn FnMut(&[u8]) -> Option<bool> + 'a;

/// The beginning of the first line that is not old, or the end of the last line.
pub(super) fn first_recent(file: &File, size: u64, is_old: &mut IsOld<'_>) -> io::Result<u64> {
    let mut look = vec![0; LOOK_BYTES];
    // What stands before `old` is old; from `recent` on, nothing is.
    let (mut old, mut recent) = (0, size);
    while recent - old > LOOK_BYTES as u64 {
        let middle = old + (recent - old) / 2;
        let bytes = read(file, middle, recent, &mut look)?;
        match dated(bytes, true, is_old) {
            Some((start, _, false)) => recent = middle + start as u64,
            Some((_, end, true)) => old = middle + end as u64,
            None => old = middle + bytes.len().max(1) as u64,
        }
    }
    let mut place = old;
    let bytes = read(file, old, recent, &mut look)?;
    let mut rest = bytes;
    while let Some((start, end, is_old)) = dated(rest, false, is_old) {
        let before = (bytes.len() - rest.len()) as u64;
        if !is_old {
            return line_start(file, old + before + start as u64, size, &mut look);
        }
        place = old + before + end as u64;
        rest = &rest[end..];
    }
    // None in here: what follows begins where nothing is old any more.
    let place = if recent < size {
        recent
    } else {
        place.max(recent)
    };
    line_start(file, place, size, &mut look)
}

/// The first whole line of `bytes` that tells its time: where it begins and ends, and
/// whether it is old. `torn` says that the first line may lack its beginning.
fn dated(bytes: &[u8], torn: bool, is_old: &mut IsOld<'_>) -> Option<(usize, usize, bool)> {
    let mut start = match torn {
        true => memchr(b'\n', bytes)? + 1,
        false => 0,
    };
    loop {
        let rest = bytes.get(start..)?;
        let end = memchr(b'\n', rest)? + 1;
        if let Some(is_old) = is_old(&rest[..end - 1]) {
            return Some((start, start + end, is_old));
        }
        start += end;
    }
}

/// The beginning of the line at `place`, or of the next one if it lies within a line.
fn line_start(file: &File, place: u64, size: u64, look: &mut [u8]) -> io::Result<u64> {
    let Some(before) = place.checked_sub(1) else {
        return Ok(0);
    };
    let bytes = read(file, before, size, look)?;
    // A line longer than a look has no end in it, and is begun in its middle, where
    // nothing can match that would be believed.
    Ok(memchr(b'\n', bytes).map_or(place, |newline| before + newline as u64 + 1))
}

fn read<'a>(file: &File, from: u64, to: u64, look: &'a mut [u8]) -> io::Result<&'a [u8]> {
    let room = usize::try_from(to.saturating_sub(from)).unwrap_or(LOOK_BYTES);
    let room = room.min(look.len());
    let mut filled = 0;
    while filled < room {
        match file.read_at(&mut look[filled..room], from + filled as u64) {
            Ok(0) => break,
            Ok(bytes) => filled += bytes,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(&look[..filled])
}

#[cfg(test)]
mod tests {
    use std::io::{Seek, SeekFrom, Write};

    use super::*;

    /// A line tells its time by the number that it begins with.
    fn found(text: &[u8], since: u64) -> (u64, u32) {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(text).unwrap();
        search(&file, text.len() as u64, since)
    }

    fn search(file: &File, size: u64, since: u64) -> (u64, u32) {
        let mut asked = 0;
        let mut is_old = |line: &[u8]| {
            asked += 1;
            let digits = line.iter().take_while(|byte| byte.is_ascii_digit()).count();
            let number: u64 = std::str::from_utf8(&line[..digits]).unwrap().parse().ok()?;
            Some(number < since)
        };
        let place = first_recent(file, size, &mut is_old).unwrap();
        (place, asked)
    }

    #[test]
    fn the_first_recent_line_is_found() {
        let text = b"1 a\n  more\n3 b\n\n5 c\n5 d\nno\n9 e\n";
        for (since, expected) in [
            (0, "1 a"),
            (2, "3 b"),
            (3, "3 b"),
            (4, "5 c"),
            (6, "9 e"),
            (10, ""),
        ] {
            let (place, _) = found(text, since);
            let rest = &text[usize::try_from(place).unwrap()..];
            let line = rest.split(|byte| *byte == b'\n').next().unwrap();
            assert_eq!(String::from_utf8_lossy(line), expected, "since {since}");
        }
        assert_eq!(found(b"", 3), (0, 0));
        assert_eq!(found(b"none\nhere\n", 3).0, 10);
    }

    #[test]
    fn a_large_file_needs_few_looks_wherever_the_border_is() {
        let mut text = Vec::new();
        let mut starts = Vec::new();
        for number in 0..60_000 {
            starts.push(text.len() as u64);
            let filling = number % 97;
            writeln!(text, "{number} {:filling$}|", "").unwrap();
            if number % 10 == 3 {
                text.extend(b"  a line without a time\n");
            }
        }
        for since in (0..60_000).step_by(97).chain([1, 7, 59_998, 59_999]) {
            let (place, asked) = found(&text, since);
            assert_eq!(place, starts[usize::try_from(since).unwrap()], "{since}");
            assert!(asked < 5_000, "{asked} lines were asked for {since}");
        }
        assert_eq!(found(&text, 60_000).0, text.len() as u64);
    }

    #[test]
    fn ten_gigabytes_of_nothing_are_old() {
        let mut file = tempfile::tempfile().unwrap();
        let size = 10 * 1024 * 1024 * 1024;
        file.write_all(b"1 old\n").unwrap();
        file.seek(SeekFrom::Start(size)).unwrap();
        file.write_all(b"\n7 new\n8 new\n").unwrap();
        assert_eq!(search(&file, size + 13, 5).0, size + 1);
    }
}
