//! Where in the list we are, and how long an entry lives.
//!
//! A cursor is the service's own word for a place in its list. It is sent back
//! as it came: never computed, never compared by size. It belongs to one base
//! URL, one set and one key; with any other it means nothing, and the list is
//! read from its start again.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::settings::Settings;
use crate::time::Time;

/// What starts the list at its oldest entry.
const START: &str = "100";
/// The longest cursor; those seen are ten digits of epoch seconds.
const CURSOR_DIGITS_MAX: usize = 20;
/// The form in which a [`Cursor`] is kept on disk. Another one is not read.
const FORMAT: u32 = 1;

/// How long an address stays on the list after it was listed.
pub const ENTRY_LIFE: Duration = Duration::from_secs(7 * 86_400);
/// The least life of an entry: so old a listing date may be wrong, the page is not.
pub const ENTRY_LIFE_MIN: Duration = Duration::from_secs(3_600);
/// A cursor older than this is not a listing date.
const DATE_AGE_MAX: Duration = Duration::from_secs(8 * 86_400);
/// A cursor further in the future than this is not a listing date.
const DATE_AHEAD_MAX: Duration = Duration::from_secs(86_400);

/// A place in the list: up to 20 digits, not all of them zero.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CursorId(String);

impl CursorId {
    /// The start of the list.
    pub fn start() -> Self {
        CursorId(START.to_owned())
    }

    /// A place as the service wrote it; `None` for `none`, `unauthorized`, `0` and whatever is no number.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = (1..=CURSOR_DIGITS_MAX).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_digit());
        (digits && text.bytes().any(|byte| byte != b'0')).then(|| CursorId(text.to_owned()))
    }

    /// Is it the start of the list?
    pub fn is_start(&self) -> bool {
        self.0 == START
    }

    /// As it is sent.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// When the entries of the page that ended here expire: seven days after they
    /// were listed, if the cursor can be that date, else seven days from now.
    /// `entry_ttl` overrules this guess. Never under an hour, never over a week.
    pub fn expiry(&self, entry_ttl: Option<Duration>, now: Time) -> Time {
        let latest = now + ENTRY_LIFE;
        if let Some(ttl) = entry_ttl {
            return (now + ttl).min(latest);
        }
        let date = self.0.parse().map(Time::from_secs).ok();
        match date.filter(|date| now - DATE_AGE_MAX <= *date && *date <= now + DATE_AHEAD_MAX) {
            Some(listed) => (listed + ENTRY_LIFE).clamp(now + ENTRY_LIFE_MIN, latest),
            None => latest,
        }
    }
}

impl TryFrom<String> for CursorId {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        CursorId::parse(&text).ok_or("not a cursor")
    }
}

impl From<CursorId> for String {
    fn from(id: CursorId) -> String {
        id.0
    }
}

impl fmt::Display for CursorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A place in the list and what it belongs to. The store keeps one for each set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    format: u32,
    /// The place.
    pub id: CursorId,
    /// Whose list: the base URL, the name of the set and the digest of the key.
    pub base_url: String,
    /// The name of the set.
    pub set: String,
    /// Eight digits that tell the key; see [`Key::digest`](super::Key::digest).
    pub key_digest: String,
    /// When the list was last read from its start to its end, in epoch seconds.
    pub walked_secs: Option<i64>,
}

impl Cursor {
    /// The start of the list that these settings name; `None` without a key.
    pub fn start(settings: &Settings) -> Option<Self> {
        let key = settings.key.as_ref().ok()?;
        Some(Cursor {
            format: FORMAT,
            id: CursorId::start(),
            base_url: settings.base_url.to_string(),
            set: settings.set.to_string(),
            key_digest: key.digest(),
            walked_secs: None,
        })
    }

    /// Do both mean the same list and the same key?
    pub fn is_of_same_list(&self, other: &Cursor) -> bool {
        self.base_url == other.base_url
            && self.set == other.set
            && self.key_digest == other.key_digest
    }

    /// One line of JSON, for the store.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default() // strings and numbers always can
    }

    /// Reads what [`to_json`](Self::to_json) wrote; `None` if it is damaged or of
    /// another format, and then the list is read from its start.
    pub fn from_json(text: &str) -> Option<Self> {
        serde_json::from_str(text)
            .ok()
            .filter(|cursor: &Cursor| cursor.format == FORMAT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feed::Key;

    #[test]
    fn what_is_a_cursor() {
        for (text, good) in [
            ("100", true),
            ("1698425647", true),
            ("007", true),
            ("12345678901234567890", true),
            ("123456789012345678901", false),
            ("", false),
            ("0", false),
            ("000", false),
            ("none", false),
            ("unauthorized", false),
            ("-1", false),
            ("1 ", false),
            ("1e9", false),
            ("١٢", false),
        ] {
            assert_eq!(CursorId::parse(text).is_some(), good, "{text}");
        }
    }

    #[test]
    fn how_long_entries_live() {
        const NOW: i64 = 1_700_000_000;
        const DAY: i64 = 86_400;
        for (cursor, ttl, wanted) in [
            (NOW, None, 7 * DAY),
            (NOW - DAY, None, 6 * DAY),
            (NOW - 7 * DAY, None, 3_600),
            (NOW - 8 * DAY, None, 3_600),
            (NOW - 8 * DAY - 1, None, 7 * DAY),
            (NOW + DAY, None, 7 * DAY),
            (NOW + DAY + 1, None, 7 * DAY),
            (100, None, 7 * DAY),
            (i64::MAX, None, 7 * DAY),
            (NOW - DAY, Some(600), 600),
            (NOW - DAY, Some(30 * DAY as u64), 7 * DAY),
        ] {
            let id = CursorId::parse(&cursor.to_string()).unwrap();
            let expiry = id.expiry(ttl.map(Duration::from_secs), Time::from_secs(NOW));
            assert_eq!(expiry.as_secs() - NOW, wanted, "{cursor} {ttl:?}");
        }
        let huge = CursorId::parse("99999999999999999999").unwrap();
        assert_eq!(
            huge.expiry(None, Time::from_secs(NOW)).as_secs() - NOW,
            7 * DAY
        );
    }

    #[test]
    fn a_cursor_on_disk() {
        let settings = Settings {
            key: Key::parse("s3cr3t-0001"),
            ..Settings::default()
        };
        let cursor = Cursor {
            id: CursorId::parse("1698425647").unwrap(),
            ..Cursor::start(&settings).unwrap()
        };
        let json = cursor.to_json();
        assert!(!json.contains("s3cr3t"), "{json}");
        assert_eq!(Cursor::from_json(&json), Some(cursor.clone()));
        for damage in [
            json.replace("\"format\":1", "\"format\":2"),
            json.replace("1698425647", "none"),
            json.replace('}', ""),
            String::new(),
        ] {
            assert_eq!(Cursor::from_json(&damage), None, "{damage}");
        }
        for other in [
            Settings {
                key: Key::parse("s3cr3t-0002"),
                ..settings.clone()
            },
            Settings {
                set: crate::feed::ListName::All,
                ..settings.clone()
            },
            Settings {
                base_url: "https://apiban.example/".parse().unwrap(),
                ..settings.clone()
            },
        ] {
            assert!(!cursor.is_of_same_list(&Cursor::start(&other).unwrap()));
        }
    }
}
