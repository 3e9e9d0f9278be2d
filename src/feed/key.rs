//! The key to APIBAN, and the rule that nobody ever sees it.
//!
//! A [`Key`] comes from a file and goes into one request header; there is no
//! other way out. `Debug` shows a placeholder, there is no `Display`, and the
//! digest that says which key a cursor belongs to cannot be turned back.

use std::fmt;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use ring::digest::{SHA256, digest};

/// The longest key. Those of APIBAN are about 40 characters; more is another kind of file.
pub const KEY_BYTES_MAX: usize = 256;

/// What manuals and examples write where the key belongs, in lower case and
/// without `-`, `_`, `<`, `>` and spaces.
const PLACEHOLDERS: [&str; 12] = [
    "myapikey",
    "yourkey",
    "yourapikey",
    "yourapibankey",
    "apikey",
    "apibankey",
    "key",
    "none",
    "changeme",
    "replaceme",
    "insertkeyhere",
    "secret",
];

/// A key to APIBAN. It cannot be shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Key(Box<str>);

/// A key as it was found in its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyFile {
    /// The key.
    pub key: Key,
    /// Others than the owner may read the file; worth a warning.
    pub readable_by_others: bool,
}

/// Why there is no key. None of these shows what the file holds.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoKey {
    /// Nobody named a key file.
    #[error("no key file is configured; a key is free at https://apiban.org/getkey.html")]
    NotConfigured,
    /// The file cannot be read.
    #[error("{}: cannot read the key: {}", path.display(), unreadable(*why))]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        why: ErrorKind,
    },
    /// The file is empty.
    #[error("the key file is empty; write the key of https://apiban.org/getkey.html into it")]
    Empty,
    /// The file holds an example, such as `MYAPIKEY`.
    #[error("the key file holds a placeholder; write the key of https://apiban.org/getkey.html")]
    Placeholder,
    /// The file holds something that no key can be.
    #[error(
        "the key file holds no key; it should hold one word of at most {KEY_BYTES_MAX} letters, digits and signs"
    )]
    NotAKey,
}

/// Why a file cannot be read, in an operator's words.
fn unreadable(why: ErrorKind) -> String {
    match why {
        ErrorKind::NotFound => "there is no such file".to_owned(),
        ErrorKind::IsADirectory => "it is a folder".to_owned(),
        why => why.to_string(),
    }
}

impl Key {
    /// A key from its text; white space around it does not count.
    pub fn parse(text: &str) -> Result<Self, NoKey> {
        let text = text.trim();
        if text.is_empty() {
            return Err(NoKey::Empty);
        }
        let plain: String = text
            .chars()
            .filter(|letter| !"-_<> ".contains(*letter))
            .collect::<String>()
            .to_ascii_lowercase();
        if plain.is_empty()
            || PLACEHOLDERS.contains(&plain.as_str())
            || plain.bytes().all(|byte| matches!(byte, b'x' | b'.' | b'*'))
        {
            return Err(NoKey::Placeholder);
        }
        if text.len() > KEY_BYTES_MAX || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(NoKey::NotAKey);
        }
        Ok(Key(text.into()))
    }

    /// The key in the file at `path`, which should be readable by its owner alone.
    pub fn read(path: &Path) -> Result<KeyFile, NoKey> {
        let unreadable = |why: std::io::Error| NoKey::Unreadable {
            path: path.to_owned(),
            why: why.kind(),
        };
        let file = File::open(path).map_err(unreadable)?;
        let mode = file.metadata().map_err(unreadable)?.permissions().mode();
        let mut bytes = Vec::new();
        // Twice the longest key leaves room for white space and shows what is too long.
        file.take(2 * KEY_BYTES_MAX as u64)
            .read_to_end(&mut bytes)
            .map_err(unreadable)?;
        let text = str::from_utf8(&bytes).map_err(|_| NoKey::NotAKey)?;
        Ok(KeyFile {
            key: Key::parse(text)?,
            readable_by_others: mode & 0o077 != 0,
        })
    }

    /// Eight hexadecimal digits that tell this key from another, and nothing about it.
    pub fn digest(&self) -> String {
        let sha = digest(&SHA256, self.0.as_bytes());
        sha.as_ref()
            .iter()
            .take(4)
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }

    /// The value of the `Authorization` header.
    pub(super) fn bearer(&self) -> String {
        format!("Bearer {}", self.0)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{Permissions, set_permissions, write};

    #[test]
    fn what_is_a_key() {
        for (text, wanted) in [
            ("0123456789abcdef\n", Ok(())),
            ("  k3y-w1th_signs==  ", Ok(())),
            ("", Err(NoKey::Empty)),
            (" \r\n", Err(NoKey::Empty)),
            ("MYAPIKEY", Err(NoKey::Placeholder)),
            ("YOUR-KEY", Err(NoKey::Placeholder)),
            ("<your api key>", Err(NoKey::Placeholder)),
            ("your_apiban_key\n", Err(NoKey::Placeholder)),
            ("xxxxxxxx", Err(NoKey::Placeholder)),
            ("---", Err(NoKey::Placeholder)),
            ("two words", Err(NoKey::NotAKey)),
            ("line\r\nX-Header: y", Err(NoKey::NotAKey)),
            ("schlüssel-0001", Err(NoKey::NotAKey)),
            (&"k".repeat(KEY_BYTES_MAX + 1), Err(NoKey::NotAKey)),
        ] {
            assert_eq!(Key::parse(text).map(|_| ()), wanted, "{text:?}");
        }
    }

    #[test]
    fn a_key_is_read_and_never_shown() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        for (path, told) in [
            (path.as_path(), "there is no such file"),
            (folder.path(), "it is a folder"),
            (&path.join("x"), "there is no such file"),
        ] {
            let error = Key::read(path).unwrap_err().to_string();
            assert_eq!(
                error,
                format!("{}: cannot read the key: {told}", path.display())
            );
        }
        write(&path, "s3cr3t-0001\n").unwrap();
        for (mode, loose) in [(0o600, false), (0o400, false), (0o640, true), (0o604, true)] {
            set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            let found = Key::read(&path).unwrap();
            assert_eq!(found.readable_by_others, loose, "{mode:o}");
            assert_eq!(found.key.bearer(), "Bearer s3cr3t-0001");
            assert!(!format!("{found:?}{found:#?}").contains("s3cr3t"));
        }
        write(&path, [0xff, 0xfe]).unwrap();
        assert_eq!(Key::read(&path), Err(NoKey::NotAKey));
    }

    #[test]
    fn a_digest_tells_keys_apart() {
        let digest = |text| Key::parse(text).unwrap().digest();
        // printf abc | sha256sum
        assert_eq!(digest("abc"), "ba7816bf");
        assert_ne!(digest("s3cr3t-0001"), digest("s3cr3t-0002"));
    }
}
