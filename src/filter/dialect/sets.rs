//! Sets of characters, and Python's idea of words, digits, blanks and case.
//!
//! Python's `\w` is letters, numbers and `_`; the regex crate's has marks and
//! joiners too and lacks `½`. Python's `\s` has 0x1c to 0x1f. So sets are spelled
//! out here and no engine's own classes are used. The properties come from the
//! Unicode version of `regex-syntax` and of Rust's `char`; a Python of another
//! version differs in characters that Unicode has added since.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use regex_syntax::hir::{ClassUnicode, ClassUnicodeRange, HirKind};

/// A set of characters. Cheap to clone.
#[derive(Clone, Debug, PartialEq)]
pub struct CharSet(Arc<ClassUnicode>);

impl CharSet {
    /// The set of these ranges, ends included.
    pub fn new(ranges: impl IntoIterator<Item = (char, char)>) -> Self {
        CharSet(Arc::new(ClassUnicode::new(
            ranges
                .into_iter()
                .map(|(first, last)| ClassUnicodeRange::new(first, last)),
        )))
    }

    /// Every character.
    pub fn all() -> Self {
        CharSet::new([('\0', char::MAX)])
    }

    /// Every character but the newline: `.`.
    pub fn not_newline() -> Self {
        CharSet::new([('\n', '\n')]).negated()
    }

    /// `\w`.
    pub fn word(ascii: bool) -> Self {
        static WORD: OnceLock<CharSet> = OnceLock::new();
        if ascii {
            CharSet::new([('0', '9'), ('A', 'Z'), ('_', '_'), ('a', 'z')])
        } else {
            WORD.get_or_init(|| property(r"[\pL\pN_]")).clone()
        }
    }

    /// `\d`.
    pub fn digit(ascii: bool) -> Self {
        static DIGIT: OnceLock<CharSet> = OnceLock::new();
        if ascii {
            CharSet::new([('0', '9')])
        } else {
            DIGIT.get_or_init(|| property(r"\p{Nd}")).clone()
        }
    }

    /// `\s`. Only the Unicode form has 0x1c to 0x1f.
    pub fn space(ascii: bool) -> Self {
        if ascii {
            return CharSet::new([('\t', '\r'), (' ', ' ')]);
        }
        CharSet::new([
            ('\t', '\r'),
            ('\x1c', ' '),
            ('\u{85}', '\u{85}'),
            ('\u{a0}', '\u{a0}'),
            ('\u{1680}', '\u{1680}'),
            ('\u{2000}', '\u{200a}'),
            ('\u{2028}', '\u{2029}'),
            ('\u{202f}', '\u{202f}'),
            ('\u{205f}', '\u{205f}'),
            ('\u{3000}', '\u{3000}'),
        ])
    }

    /// The ranges, in order, ends included.
    pub fn ranges(&self) -> impl Iterator<Item = (char, char)> + '_ {
        self.0
            .ranges()
            .iter()
            .map(|range| (range.start(), range.end()))
    }

    /// Is `char` in it?
    pub fn contains(&self, char: char) -> bool {
        self.0
            .ranges()
            .binary_search_by(|range| {
                if range.end() < char {
                    std::cmp::Ordering::Less
                } else if range.start() > char {
                    std::cmp::Ordering::Greater
                } else {
                    std::cmp::Ordering::Equal
                }
            })
            .is_ok()
    }

    /// All other characters.
    pub fn negated(&self) -> Self {
        let mut class = (*self.0).clone();
        class.negate();
        CharSet(Arc::new(class))
    }

    /// The characters of both.
    pub fn union(&self, other: &CharSet) -> Self {
        let mut class = (*self.0).clone();
        class.union(&other.0);
        CharSet(Arc::new(class))
    }

    /// Are the two the same object, or equal?
    pub(crate) fn same(&self, other: &CharSet) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0 == other.0
    }

    /// What the set `listed` (written out) together with `categories` (`\w` and
    /// the like) matches under IGNORECASE: every character whose lower case is
    /// the lower case of a listed one, or differs from it only by Python's list
    /// of extra cases, or belongs to a category.
    pub(crate) fn folded(listed: &CharSet, categories: &CharSet, ascii: bool) -> Self {
        if ascii {
            return folded_ascii(listed).union(categories);
        }
        let case = Case::tables();
        let mut lower = (*listed.0).clone();
        lower.difference(&case.changing.0);
        let add = |class: &mut ClassUnicode, char| {
            class.push(ClassUnicodeRange::new(char, char));
        };
        for &(char, low) in &case.pairs {
            if listed.contains(char) {
                add(&mut lower, low);
            }
        }
        let plain = CharSet(Arc::new(lower.clone()));
        for (low, others) in &case.extra {
            if plain.contains(*low) {
                others.iter().for_each(|&other| add(&mut lower, other));
            }
        }
        lower.union(&categories.0);
        let wanted = CharSet(Arc::new(lower.clone()));
        lower.difference(&case.changing.0);
        for &(char, low) in &case.pairs {
            if wanted.contains(low) {
                add(&mut lower, char);
            }
        }
        CharSet(Arc::new(lower))
    }
}

/// What a decimal digit of any script counts; `None` if it is none. Unicode places
/// them in rows of ten, and only full rows touch each other.
pub(crate) fn digit_value(char: char) -> Option<u8> {
    let digits = CharSet::digit(false);
    let (first, _) = digits
        .ranges()
        .find(|(first, last)| (*first..=*last).contains(&char))?;
    u8::try_from((u32::from(char) - u32::from(first)) % 10).ok()
}

/// A property of Unicode, by the regex crate's name for it.
fn property(name: &str) -> CharSet {
    match regex_syntax::parse(name).map(regex_syntax::hir::Hir::into_kind) {
        Ok(HirKind::Class(regex_syntax::hir::Class::Unicode(class))) => CharSet(Arc::new(class)),
        _ => CharSet::new([]),
    }
}

fn folded_ascii(listed: &CharSet) -> CharSet {
    let flipped = ('A'..='Z')
        .filter(|char| listed.contains(*char) || listed.contains(char.to_ascii_lowercase()))
        .flat_map(|char| [char, char.to_ascii_lowercase()]);
    listed.union(&CharSet::new(flipped.map(|char| (char, char))))
}

/// Python's simple lower case of a character.
pub(crate) fn lower(char: char) -> char {
    // Only `İ` has a longer one, and its simple form is the first of the two.
    char.to_lowercase().next().unwrap_or(char)
}

/// What case folding needs to know; built when the first pattern ignores case.
pub(super) struct Case {
    /// Every character that is not its own lower case, with that lower case.
    pub(super) pairs: Vec<(char, char)>,
    /// The first halves of `pairs`.
    changing: CharSet,
    /// Lower-case characters that share an upper case, as `s` and `ſ`.
    pub(super) extra: BTreeMap<char, Vec<char>>,
}

impl Case {
    pub(super) fn tables() -> &'static Case {
        static CASE: OnceLock<Case> = OnceLock::new();
        CASE.get_or_init(Case::build)
    }

    fn build() -> Case {
        // No script with case has been placed beyond the second plane.
        let cased = '\0'..'\u{20000}';
        let mut pairs = Vec::new();
        let mut by_upper: BTreeMap<String, Vec<char>> = BTreeMap::new();
        for char in cased {
            let (low, upper) = (lower(char), char.to_uppercase());
            if low != char {
                pairs.push((char, low));
            } else if upper.clone().eq([char]) {
                continue;
            }
            let sharing = by_upper.entry(upper.collect()).or_default();
            if !sharing.contains(&low) {
                sharing.push(low);
            }
        }
        let mut extra = BTreeMap::new();
        for sharing in by_upper.into_values().filter(|sharing| sharing.len() > 1) {
            for &low in &sharing {
                let others = sharing.iter().copied().filter(|other| *other != low);
                extra.insert(low, others.collect());
            }
        }
        let changing = CharSet::new(pairs.iter().map(|&(char, _)| (char, char)));
        Case {
            pairs,
            changing,
            extra,
        }
    }
}
