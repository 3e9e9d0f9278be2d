//! Compressed files: as text they are noise, in which no failure is found and nothing is
//! wrong. They are known by their first bytes, whatever they are called.

/// How a file is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// gzip's, of pigz and logrotate as well.
    Gzip,
    /// That of xz.
    Xz,
    /// Zstandard's.
    Zstd,
    /// That of bzip2.
    Bzip2,
}

/// How many of its first bytes tell whether a file is compressed.
pub const TELLING_BYTES: usize = 10;

impl Compression {
    /// How a file with this beginning is compressed; it is text if not.
    pub fn of(head: &[u8]) -> Option<Compression> {
        match head {
            // Deflate, no reserved flag, and a level and a system that there are.
            [
                0x1f,
                0x8b,
                8,
                flags,
                _,
                _,
                _,
                _,
                0 | 2 | 4,
                0..=13 | 255,
                ..,
            ] if *flags < 0x20 => Some(Compression::Gzip),
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Some(Compression::Xz),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Some(Compression::Zstd),
            [
                b'B',
                b'Z',
                b'h',
                b'1'..=b'9',
                0x31,
                0x41,
                0x59,
                0x26,
                0x53,
                0x59,
                ..,
            ] => Some(Compression::Bzip2),
            _ => None,
        }
    }

    /// Its name.
    pub fn word(self) -> &'static str {
        match self {
            Compression::Gzip => "gzip",
            Compression::Xz => "xz",
            Compression::Zstd => "zstd",
            Compression::Bzip2 => "bzip2",
        }
    }

    /// The program that writes such a file's text.
    pub fn reader(self) -> &'static str {
        match self {
            Compression::Gzip => "zcat",
            Compression::Xz => "xzcat",
            Compression::Zstd => "zstdcat",
            Compression::Bzip2 => "bzcat",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_known_by_their_first_bytes() {
        for (head, expected) in [
            // printf x | gzip; pigz; gzip -9n; python's gzip
            (&b"\x1f\x8b\x08\0\0\0\0\0\0\x03\xab"[..], "gzip"),
            (b"\x1f\x8b\x08\x08\x9a\xbc\x0ee\x04\x03x", "gzip"),
            (b"\x1f\x8b\x08\0\0\0\0\0\x02\xff", "gzip"),
            (b"\x1f\x8b\x08\0\0\0\0\0\0", ""),
            (b"\x1f\x8b by whom it is dated", ""),
            (b"\xfd7zXZ\0\0\x04\xe6\xd6", "xz"),
            (b"\x28\xb5\x2f\xfd\x24\x01", "zstd"),
            (b"BZh91AY&SY\x13", "bzip2"),
            (b"BZh9 is no compression", ""),
            (b"Nov 29 00:00:00 sip1 kamailio[7]: NOTICE", ""),
            (b"", ""),
        ] {
            let word = Compression::of(head).map_or("", Compression::word);
            assert_eq!(word, expected, "{head:?}");
        }
    }
}
