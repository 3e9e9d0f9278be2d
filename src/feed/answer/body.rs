//! The two fields of an answer of APIBAN's, out of whatever JSON it is written in.

use std::fmt;
use std::net::IpAddr;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::{Content, PAGE_ENTRIES_MAX};
use crate::feed::cursor::CursorId;
use crate::feed::trouble::Trouble;

/// The two fields of every answer. Their names count in any case, the last of
/// several counts, and other fields do not.
#[derive(Debug, Default)]
pub(super) struct Body {
    /// The texts in `ipaddress`, be it an array or one bare string.
    pub(super) entries: Vec<String>,
    /// Elements of the array that are not text.
    pub(super) skipped: u64,
    /// More elements than a page may have.
    pub(super) overflow: bool,
    /// Was there such a field at all, null or not?
    pub(super) named: bool,
    pub(super) id: Id,
}

#[derive(Debug, Default, PartialEq)]
pub(super) enum Id {
    #[default]
    Missing,
    /// Text, or a number that is written without sign, point and exponent.
    Text(String),
    /// Anything else.
    Odd,
}

impl Id {
    pub(super) fn is(&self, word: &str) -> bool {
        matches!(self, Id::Text(text) if text.eq_ignore_ascii_case(word))
    }
}

impl Body {
    /// Reads the body. Where the status alone says enough, what the body is does not matter.
    pub(super) fn read(content: &Content) -> Result<Body, Trouble> {
        match serde_json::from_slice(&content.body) {
            Ok(body) => Ok(body),
            Err(_) if matches!(content.status, 401 | 429) => Ok(Body::default()),
            Err(_) if !content.is_success() => Err(Trouble::Status(content.status)),
            Err(error) => Err(Trouble::Malformed(match error.classify() {
                _ if content.body.is_empty() => "an empty body",
                serde_json::error::Category::Eof => "JSON that ends too early",
                _ => "not the JSON that was agreed on",
            })),
        }
    }

    /// Is this text its only entry?
    pub(super) fn says(&self, words: &str) -> bool {
        self.skipped == 0
            && matches!(self.entries.as_slice(), [only] if only.eq_ignore_ascii_case(words))
    }

    /// No entry of any kind.
    pub(super) fn is_silent(&self) -> bool {
        self.entries.is_empty() && self.skipped == 0
    }

    /// Neither of the two fields.
    pub(super) fn is_void(&self) -> bool {
        self.is_silent() && !self.named && self.id == Id::Missing
    }

    /// Exactly the address that was asked for, or the early form "blocked" with a number.
    pub(super) fn is_positive_for(&self, ip: IpAddr) -> bool {
        let number = match &self.id {
            Id::Text(text) => CursorId::parse(text).is_some(),
            Id::Missing | Id::Odd => false,
        };
        let same = |text: &String| {
            text.parse::<IpAddr>()
                .is_ok_and(|listed| listed.to_canonical() == ip.to_canonical())
        };
        let exactly = self.skipped == 0 && matches!(self.entries.as_slice(), [only] if same(only));
        (exactly && (number || self.id == Id::Missing)) || (self.says("blocked") && number)
    }
}

impl<'de> Deserialize<'de> for Body {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(BodyVisitor)
    }
}

struct BodyVisitor;

impl<'de> Visitor<'de> for BodyVisitor {
    type Value = Body;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with `ipaddress` and `ID`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Body, A::Error> {
        let mut body = Body::default();
        while let Some(name) = map.next_key::<String>()? {
            if name.eq_ignore_ascii_case("ipaddress") {
                let Texts {
                    entries,
                    skipped,
                    overflow,
                } = map.next_value()?;
                body = Body {
                    entries,
                    skipped,
                    overflow,
                    named: true,
                    id: body.id,
                };
            } else if name.eq_ignore_ascii_case("id") {
                body.id = match map.next_value()? {
                    Scalar::Text(text) | Scalar::Number(text) => Id::Text(text),
                    Scalar::Null => Id::Missing,
                    Scalar::Other => Id::Odd,
                };
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(body)
    }
}

/// An array of texts, one text, or nothing.
#[derive(Default)]
struct Texts {
    entries: Vec<String>,
    skipped: u64,
    overflow: bool,
}

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextsVisitor)
    }
}

struct TextsVisitor;

impl<'de> Visitor<'de> for TextsVisitor {
    type Value = Texts;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of addresses, one text, or null")
    }

    fn visit_str<E>(self, text: &str) -> Result<Texts, E> {
        let mut texts = Texts::default();
        if !text.is_empty() {
            texts.entries.push(text.to_owned());
        }
        Ok(texts)
    }

    fn visit_unit<E>(self) -> Result<Texts, E> {
        Ok(Texts::default())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Texts, A::Error> {
        let mut texts = Texts::default();
        while let Some(element) = seq.next_element::<Scalar>()? {
            match element {
                _ if texts.entries.len() >= PAGE_ENTRIES_MAX => texts.overflow = true,
                Scalar::Text(text) => texts.entries.push(text),
                Scalar::Number(_) | Scalar::Null | Scalar::Other => texts.skipped += 1,
            }
        }
        Ok(texts)
    }
}

/// A text, a whole number in its digits, or something that is not looked into.
enum Scalar {
    Text(String),
    Number(String),
    Null,
    Other,
}

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ScalarVisitor)
    }
}

struct ScalarVisitor;

impl<'de> Visitor<'de> for ScalarVisitor {
    type Value = Scalar;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_str<E>(self, text: &str) -> Result<Scalar, E> {
        Ok(Scalar::Text(text.to_owned()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Scalar, E> {
        Ok(Scalar::Number(number.to_string()))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Scalar, E> {
        Ok(Scalar::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Scalar, E> {
        Ok(Scalar::Other)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Scalar, E> {
        Ok(Scalar::Other)
    }

    fn visit_unit<E>(self) -> Result<Scalar, E> {
        Ok(Scalar::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Scalar, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Scalar::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Scalar, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Scalar::Other)
    }
}
