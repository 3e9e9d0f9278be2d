//! Names of our sets in the kernel.
//!
//! | what | IPv4 | IPv6 |
//! |---|---|---|
//! | bans of the jail `asterisk` | `ringfence-asterisk` | `ringfence-asterisk6` |
//! | APIBAN's list | `ringfence-apiban` | `ringfence-apiban6` |
//! | addresses that always pass | `ringfence-allow` | `ringfence-allow6` |
//! | addresses whose signalling is held back | `ringfence-throttled` | `ringfence-throttled6` |
//! | the list of all that block | `ringfence` | the same one |
//! | a set while it is being enlarged | `ringfence~new` | the same one |
//! | the list while drops are lifted | `ringfence~lifted` | the same one |
//!
//! In nftables there is no such list, and a set of prefixes has their length behind its
//! name: `ringfence-asterisk/24`, `ringfence-asterisk6/64`; a copy of a set while it is
//! being enlarged has `/new` behind that. Since nft cannot write a `~`, it is a `/` there.
//!
//! ipset takes 31 bytes. A jail name that is longer than 20, that has other
//! characters than letters, digits, `.`, `_` and `-`, that ends in `6`, or that is
//! `apiban`, `allow` or `throttled`, is written as its first 11 usable characters, a `~` and 8
//! letters made from the whole name: `ringfence-asterisk-se~eagiidaj`. The same
//! name always gives the same letters, and no two sets can meet: `~` stands in no
//! name that is kept as it is, and the letters never end in `6`.

use std::fmt;
use std::ops::Deref;

use super::family::Family;
use crate::ticket::Set;

/// What every name of ours begins with, and the name of the list of all blocking sets.
pub const ROOT: &str = "ringfence";

/// Where a larger copy of a set is made before it takes the set's place.
pub const SPARE: &str = "ringfence~new";

/// Where the list of all blocking sets is kept while no rule shall see it.
pub const LIFTED: &str = "ringfence~lifted";

/// ipset's limit, without the NUL. nftables takes 255.
pub const NAME_BYTES_MAX: usize = 31;

/// What can stand behind a name in nftables: `/128/new`.
const SUFFIX_BYTES_MAX: usize = 8;

/// What the copy of a set has behind its name in nftables.
pub const SPARE_SUFFIX: &str = "/new";

/// What stands before a jail's name.
const PREFIX: &str = "ringfence-";

/// A longer jail name is shortened: 31 bytes less the prefix and the `6`.
const JAIL_BYTES_MAX: usize = NAME_BYTES_MAX - PREFIX.len() - 1;

/// How many letters of a shortened name are made from the whole of it: 32 bits.
const DIGEST_BYTES: usize = 8;

/// The name of one set: ASCII, in ipset at most [`NAME_BYTES_MAX`] bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Name {
    bytes: [u8; NAME_BYTES_MAX + SUFFIX_BYTES_MAX],
    length: u8,
}

impl Name {
    /// The name of `set` for one family.
    pub fn of(set: &Set, family: Family) -> Self {
        let mut name = Name {
            bytes: [0; NAME_BYTES_MAX + SUFFIX_BYTES_MAX],
            length: 0,
        };
        name.push(PREFIX.bytes());
        match set {
            Set::Allow => name.push("allow".bytes()),
            Set::Throttled => name.push("throttled".bytes()),
            Set::List => name.push("apiban".bytes()),
            Set::Jail(jail) if is_plain(jail) => name.push(jail.bytes()),
            Set::Jail(jail) => {
                let head = JAIL_BYTES_MAX - DIGEST_BYTES - 1;
                name.push(jail.bytes().filter(|byte| is_usable(*byte)).take(head));
                name.push(std::iter::once(b'~').chain(digest(jail)));
            }
        }
        if family == Family::V6 {
            name.push("6".bytes());
        }
        name
    }

    /// The name in nftables of the set that has prefixes of this length.
    pub fn in_nftables(set: &Set, family: Family, length: u8) -> Self {
        let mut name = Name::of(set, family);
        for byte in &mut name.bytes {
            if *byte == b'~' {
                *byte = b'/';
            }
        }
        if length < family.bits() {
            let digits = [length / 100, length / 10 % 10, length % 10].map(|digit| b'0' + digit);
            let zeros = digits.iter().take_while(|digit| **digit == b'0').count();
            name.push(b"/".iter().chain(digits.iter().skip(zeros)).copied());
        }
        name
    }

    /// The name of its copy while it is being enlarged.
    pub fn spare(mut self) -> Self {
        self.push(SPARE_SUFFIX.bytes());
        self
    }

    fn push(&mut self, bytes: impl Iterator<Item = u8>) {
        for byte in bytes {
            if let Some(place) = self.bytes.get_mut(usize::from(self.length)) {
                *place = byte;
                self.length += 1;
            }
        }
    }
}

impl Deref for Name {
    type Target = str;

    fn deref(&self) -> &str {
        let bytes = self.bytes.get(..usize::from(self.length));
        std::str::from_utf8(bytes.unwrap_or_default()).unwrap_or_default()
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

/// Is a set with this name one of ours?
pub fn is_ours(name: &str) -> bool {
    [ROOT, SPARE, LIFTED].contains(&name) || name.starts_with(PREFIX)
}

/// A set's name in nftables, taken apart: its name for single addresses, the length of
/// its prefixes if it has prefixes, and whether it is a copy.
pub fn parts(name: &str) -> (&str, Option<u8>, bool) {
    let (rest, is_spare) = match name.strip_suffix(SPARE_SUFFIX) {
        Some(rest) => (rest, true),
        None => (name, false),
    };
    match rest.rsplit_once('/') {
        Some((base, digits)) => match digits.parse() {
            Ok(length) => (base, Some(length), is_spare),
            Err(_) => (rest, None, is_spare),
        },
        None => (rest, None, is_spare),
    }
}

fn is_usable(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')
}

fn is_plain(jail: &str) -> bool {
    jail.len() <= JAIL_BYTES_MAX
        && jail.bytes().all(is_usable)
        && !jail.ends_with('6')
        && !matches!(jail, "" | "apiban" | "allow" | "throttled")
}

/// Letters `a` to `p`, four bits each, from FNV-1a over the whole name.
fn digest(jail: &str) -> impl Iterator<Item = u8> {
    let hash = jail.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let folded = (hash ^ (hash >> 32)) as u32;
    (0..DIGEST_BYTES).map(move |place| b'a' + ((folded >> (4 * place)) & 0xf) as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(jail: &str) -> String {
        let set = Set::Jail(jail.into());
        let four = Name::of(&set, Family::V4);
        let six = Name::of(&set, Family::V6);
        assert_eq!(format!("{}6", &*four), &*six);
        assert!(six.len() <= NAME_BYTES_MAX && is_ours(&six));
        for (family, length, behind) in [
            (Family::V4, 32, ""),
            (Family::V4, 8, "/8"),
            (Family::V6, 100, "/100"),
        ] {
            let name = Name::in_nftables(&set, family, length);
            let base = Name::of(&set, family).replace('~', "/");
            assert_eq!(*name, format!("{base}{behind}"));
            let told = (!behind.is_empty()).then_some(length);
            assert_eq!(parts(&name), (&*base, told, false));
            assert_eq!(parts(&name.spare()), (&*base, told, true));
        }
        four.to_string()
    }

    #[test]
    fn jails_keep_their_names_where_they_can() {
        assert_eq!(names("asterisk"), "ringfence-asterisk");
        assert_eq!(
            names("12345678901234567890"),
            "ringfence-12345678901234567890"
        );
        assert_eq!(&*Name::of(&Set::List, Family::V6), "ringfence-apiban6");
        assert_eq!(&*Name::of(&Set::Allow, Family::V4), "ringfence-allow");
        assert_eq!(
            &*Name::of(&Set::Throttled, Family::V6),
            "ringfence-throttled6"
        );
    }

    #[test]
    fn others_are_shortened_and_stay_apart() {
        let odd = [
            "123456789012345678901",
            "123456789012345678902",
            "asterisk6",
            "apiban",
            "allow",
            "throttled",
            "jail with spaces",
            "jail with spaces;",
            "Gefängnis",
            "a~b",
            "",
        ];
        let mut seen: Vec<String> = odd.iter().map(|jail| names(jail)).collect();
        assert!(seen.iter().all(|name| name.contains('~')), "{seen:?}");
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), odd.len());
        // A name that changed would leave its bans behind at the next upgrade.
        assert_eq!(
            names("asterisk-security-log"),
            "ringfence-asterisk-se~eagiidaj"
        );
    }
}
