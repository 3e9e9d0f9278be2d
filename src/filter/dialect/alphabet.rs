//! The alphabet of one pattern: a byte for every character.
//!
//! A pattern tells few characters apart: those that lie in the same of its sets
//! are one to it. So each character is given one byte, ASCII its own, others the
//! byte of an ASCII character that this pattern treats alike (`é` and `z` in
//! `\w+`), else a byte from 0x80 on. Both engines then run over bytes, one per
//! character: an automaton holds no Unicode tables, and one compiled pattern
//! serves ASCII text as it is and any other text after [`Alphabet::spell`].
//!
//! A word character that the pattern treats like no ASCII word character gets a
//! byte that `\b` of `regex` does not take for a word: [`Alphabet::words_exact`]
//! is false then, and such text is for the backtracker, which asks the set.

use std::collections::HashMap;

use super::sets::CharSet;
use super::tree::{Assert, Node};

/// How many kinds of non-ASCII characters a pattern can tell apart: the bytes from 0x80.
pub(crate) const KINDS_MAX: usize = 128;

/// A set of bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ByteSet([u64; 4]);

impl ByteSet {
    /// Is `byte` in it?
    pub(crate) fn contains(&self, byte: u8) -> bool {
        self.0[usize::from(byte >> 6)] >> (byte & 63) & 1 == 1
    }

    /// Puts `byte` in.
    pub(crate) fn insert(&mut self, byte: u8) {
        self.0[usize::from(byte >> 6)] |= 1 << (byte & 63);
    }

    /// The bytes of both.
    pub(crate) fn union(&self, other: &ByteSet) -> ByteSet {
        let mut all = *self;
        for (all, other) in all.0.iter_mut().zip(other.0) {
            *all |= other;
        }
        all
    }

    /// All bytes in it, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = u8> + '_ {
        (0..=u8::MAX).filter(|byte| self.contains(*byte))
    }
}

/// A byte for every character, as one pattern needs it.
#[derive(Debug)]
pub(crate) struct Alphabet {
    /// The first character of each run of characters with the same byte, from 0x80 on.
    starts: Box<[u32]>,
    /// The byte of each run.
    bytes: Box<[u8]>,
    /// One character of each kind that has a byte from 0x80 on, with that byte.
    kinds: Box<[(char, u8)]>,
    words_exact: bool,
}

impl Alphabet {
    /// The alphabet for all sets and characters below `root`; `None` if the
    /// pattern tells more than [`KINDS_MAX`] kinds of non-ASCII characters apart.
    pub(crate) fn build(root: &Node) -> Option<Alphabet> {
        let mut used = Used::default();
        root.walk(&mut |node| used.note(node));
        let mut bytes_of = used.ascii_kinds();
        let (mut starts, mut bytes, mut kinds) = (Vec::new(), Vec::new(), Vec::new());
        let mut fresh = 0x80..=0xff_u8;
        let mut words_exact = true;
        for (start, kind) in used.runs() {
            let byte = match bytes_of.get(&kind) {
                Some(&byte) => byte,
                None => {
                    let byte = fresh.next()?;
                    words_exact &= !used.is_word(&kind);
                    kinds.push((char::from_u32(start)?, byte));
                    bytes_of.insert(kind, byte);
                    byte
                }
            };
            if bytes.last() != Some(&byte) {
                starts.push(start);
                bytes.push(byte);
            }
        }
        Some(Alphabet {
            starts: starts.into_boxed_slice(),
            bytes: bytes.into_boxed_slice(),
            kinds: kinds.into_boxed_slice(),
            words_exact,
        })
    }

    /// The byte of a character.
    pub(crate) fn byte(&self, char: char) -> u8 {
        match u8::try_from(char) {
            Ok(byte) if byte.is_ascii() => byte,
            _ => {
                let run = self.starts.partition_point(|start| *start <= char as u32);
                let run = run.saturating_sub(1);
                self.bytes.get(run).copied().unwrap_or(0xff)
            }
        }
    }

    /// The bytes of the characters in `set`.
    pub(crate) fn set(&self, set: &CharSet) -> ByteSet {
        let mut bytes = ByteSet::default();
        for (first, last) in set.ranges().take_while(|(first, _)| first.is_ascii()) {
            let last = last.min('\x7f');
            (first as u8..=last as u8).for_each(|byte| bytes.insert(byte));
        }
        for &(char, byte) in &self.kinds {
            if set.contains(char) {
                bytes.insert(byte);
            }
        }
        bytes
    }

    /// A text with one byte per character.
    pub(crate) fn spell(&self, text: &str) -> Vec<u8> {
        text.chars().map(|char| self.byte(char)).collect()
    }

    /// Does every non-ASCII word character have an ASCII word byte?
    pub(crate) fn words_exact(&self) -> bool {
        self.words_exact
    }
}

/// In which sets of a pattern a character lies, one bit each.
type Kind = Vec<u64>;

#[derive(Default)]
struct Used {
    sets: Vec<CharSet>,
    /// ASCII characters that the pattern names one by one.
    named: ByteSet,
    /// The places in `sets` of the words that `\b` asks for.
    words: Vec<usize>,
}

impl Used {
    fn note(&mut self, node: &Node) {
        match node {
            Node::Char(char) if char.is_ascii() => self.named.insert(*char as u8),
            Node::Char(char) => {
                self.place(&CharSet::new([(*char, *char)]));
            }
            Node::Set(set) => {
                self.place(set);
            }
            Node::Assert(
                Assert::Word { ascii } | Assert::NotWord { ascii } | Assert::WordEdge { ascii },
            ) => {
                let place = self.place(&CharSet::word(*ascii));
                self.words.push(place);
            }
            _ => {}
        }
    }

    fn place(&mut self, set: &CharSet) -> usize {
        match self.sets.iter().position(|other| other.same(set)) {
            Some(place) => place,
            None => {
                self.sets.push(set.clone());
                self.sets.len() - 1
            }
        }
    }

    fn is_word(&self, kind: &Kind) -> bool {
        self.words.iter().any(|place| {
            kind.get(place / 64)
                .is_some_and(|bits| bits >> (place % 64) & 1 == 1)
        })
    }

    fn nothing(&self) -> Kind {
        vec![0; self.sets.len().div_ceil(64)]
    }

    /// The ASCII characters that may stand for others, by their kind. The newline
    /// may not: `$` asks for it.
    fn ascii_kinds(&self) -> HashMap<Kind, u8> {
        let mut kinds = HashMap::new();
        for byte in (0..0x80_u8).filter(|byte| *byte != b'\n' && !self.named.contains(*byte)) {
            let mut kind = self.nothing();
            for (place, set) in self.sets.iter().enumerate() {
                if set.contains(char::from(byte)) {
                    flip(&mut kind, place);
                }
            }
            // Where `\b` is asked for, the kind tells words from others already.
            kinds.insert(kind, byte);
        }
        kinds
    }

    /// The runs of non-ASCII characters of one kind, by their first character.
    fn runs(&self) -> Vec<(u32, Kind)> {
        let mut edges: Vec<(u32, usize)> = Vec::new();
        for (place, set) in self.sets.iter().enumerate() {
            for (first, last) in set.ranges().filter(|(_, last)| !last.is_ascii()) {
                edges.push(((first as u32).max(0x80), place));
                // After the last character before the surrogates comes the first beyond.
                let beyond = last as u32 + 1;
                edges.push((if beyond == 0xd800 { 0xe000 } else { beyond }, place));
            }
        }
        edges.sort_unstable();
        let mut kind = self.nothing();
        let mut runs = vec![(0x80, kind.clone())];
        for (at, place) in edges {
            flip(&mut kind, place);
            match runs.last_mut() {
                Some((start, last)) if *start == at => last.clone_from(&kind),
                _ if at <= char::MAX as u32 => runs.push((at, kind.clone())),
                _ => {}
            }
        }
        runs
    }
}

fn flip(kind: &mut Kind, place: usize) {
    if let Some(bits) = kind.get_mut(place / 64) {
        *bits ^= 1 << (place % 64);
    }
}
