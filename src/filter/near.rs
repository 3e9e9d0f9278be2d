//! Near misses: lines that look like failures and match no pattern.
//!
//! A server that writes otherwise since its last upgrade is attacked in silence: fail2ban
//! missed pjsip's failures for years, since `after 5 tries in 0.026 ms` had come to stand
//! behind them. So candidates of the gate that no pattern matched, and that hold a
//! failure's word and an address, are counted by their shape: what is left of a line when
//! numbers, addresses and quoted text are masked. Senders can write very many shapes, so
//! only so many are kept, and those that were seen once make room for others. As others come
//! that find no room, what was seen is worth half as much, so that a form which is written
//! from now on is seen at last, whatever has been written before.
//!
//! *Unclear* lines are counted beside them: a pattern knows them, but they have more than one
//! reading, or break off where a sender wrote a newline. They blame nobody, so whoever
//! makes his lines unclear goes free until somebody does what the filter says (`remedy`).

use std::net::IpAddr;

use super::matched::cut;

/// Shapes that are kept of one log and filter.
const SHAPES_MAX: usize = 32;

/// Bytes of a shape: the beginning of a line is the server's, and tells its kind.
const SHAPE_BYTES_MAX: usize = 96;

/// Bytes of a sample line.
const SAMPLE_BYTES_MAX: usize = 256;

/// The shape of all rests of lines.
const REST: &str = "the rest of a line";

/// Words of failures, in lower case.
const WORDS: [&str; 14] = [
    "fail",
    "reject",
    "denied",
    "refus",
    "wrong",
    "invalid",
    "unauth",
    "not allowed",
    "no matching",
    "not found",
    "forbidden",
    "incorrect",
    "block",
    "error",
];

/// Lines of one shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NearMiss {
    /// The beginning of such a line, masked.
    pub shape: Box<str>,
    /// How many there were.
    pub count: u64,
    /// The first of them, cut.
    pub sample: Box<str>,
    /// What mends it, if these lines are unclear: the filter's own words.
    pub remedy: Option<Box<str>>,
    /// How many there were lately.
    lately: u64,
}

/// What one filter has missed in one log.
#[derive(Clone, Debug, Default)]
pub struct NearMisses {
    shapes: Vec<NearMiss>,
    /// Lines whose shapes are not kept.
    others: u64,
    /// How many of them have found no room since this was last 0.
    turned_away: usize,
}

impl NearMisses {
    /// Counts a line that no pattern matched, if it looks like a failure. `text` is
    /// without its date, `line` as it stands in the log.
    pub(super) fn see(&mut self, text: &str, line: &str) {
        if looks_like_failure(text) {
            self.count(shape(text), line, None);
        }
    }

    /// Counts an unclear line. `head` is what the server wrote of it for certain; nothing if it
    /// is the rest of another.
    pub(super) fn see_unclear(&mut self, head: &str, line: &str, remedy: &str) {
        let head = if head.is_empty() { REST } else { head };
        self.count(shape(head), line, Some(remedy));
    }

    fn count(&mut self, shape: String, line: &str, remedy: Option<&str>) {
        let is_it =
            |known: &&mut NearMiss| *known.shape == *shape && known.remedy.as_deref() == remedy;
        if let Some(known) = self.shapes.iter_mut().find(is_it) {
            known.count = known.count.saturating_add(1);
            known.lately = known.lately.saturating_add(1);
            return;
        }
        let new = NearMiss {
            shape: shape.into(),
            count: 1,
            lately: 1,
            sample: cut(line, SAMPLE_BYTES_MAX).into(),
            remedy: remedy.map(Box::from),
        };
        if self.shapes.len() < SHAPES_MAX {
            self.shapes.push(new);
            return;
        }
        self.others = self.others.saturating_add(1);
        if let Some(place) = self.shapes.iter().position(|known| known.lately <= 1) {
            self.shapes.remove(place);
            self.shapes.push(new);
            return;
        }
        self.turned_away += 1;
        if self.turned_away == SHAPES_MAX {
            self.turned_away = 0;
            self.shapes.iter_mut().for_each(|known| known.lately /= 2);
        }
    }

    /// The shapes that are kept.
    pub fn shapes(&self) -> &[NearMiss] {
        &self.shapes
    }

    /// How many lines have had another shape.
    pub fn others(&self) -> u64 {
        self.others
    }
}

/// Does it hold a failure's word and an address?
pub(super) fn looks_like_failure(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    WORDS.iter().any(|word| lower.contains(word)) && holds_address(text)
}

pub(super) fn holds_address(text: &str) -> bool {
    let is_part = |char: char| char.is_ascii_hexdigit() || char == '.' || char == ':';
    let is_address = |word: &str| {
        let word = word.trim_matches(|end| end == '.' || end == ',');
        let without_port = word.rsplit_once(':').map_or(word, |(host, _)| host);
        let is = |text: &str| text.len() >= 3 && text.parse::<IpAddr>().is_ok();
        is(word) || is(without_port)
    };
    text.split(|char| !is_part(char)).any(is_address)
}

/// The beginning of a line, its quoted parts and whatever has digits masked.
fn shape(text: &str) -> String {
    let mut shape = String::new();
    let mut quote = None;
    let mut word = String::new();
    let end = |word: &mut String, shape: &mut String| {
        match word.bytes().any(|byte| byte.is_ascii_digit()) {
            true => shape.push('N'),
            false => shape.push_str(word),
        }
        word.clear();
    };
    for char in text.trim().chars() {
        if shape.len() >= SHAPE_BYTES_MAX {
            break;
        }
        match quote {
            Some(opened) if opened == char => {
                quote = None;
                shape.push(char);
            }
            Some(_) => {}
            None if char.is_alphanumeric() || "._:@/-".contains(char) => {
                if word.len() < SHAPE_BYTES_MAX {
                    word.push(char);
                }
            }
            None => {
                end(&mut word, &mut shape);
                shape.push(char);
                quote = (char == '\'' || char == '"').then_some(char);
            }
        }
    }
    end(&mut word, &mut shape);
    cut(&shape, SHAPE_BYTES_MAX).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(lines: &[&str]) -> Vec<String> {
        let mut missed = NearMisses::default();
        lines.iter().for_each(|line| missed.see(line, line));
        let shown = |miss: &NearMiss| format!("{} {}", miss.count, miss.shape);
        missed.shapes().iter().map(shown).collect()
    }

    #[test]
    fn lines_are_counted_by_shape() {
        let found = seen(&[
            "[] NOTICE[12] res_pjsip.c: Request 'INVITE' from '<sip:1@x>' failed for '192.0.2.7:5060' - no such thing",
            "[] NOTICE[4711] res_pjsip.c: Request 'REGISTER' from 'it's' failed for '[2001:db8::7]:5060' - no such thing",
            "[] NOTICE[12] res_pjsip.c: Login from 192.0.2.7 denied",
            "[] NOTICE[12] res_pjsip.c: Login from 192.0.2.7 welcome",
            "[] NOTICE[12] res_pjsip.c: Login denied at 07:51:22 in version 1.2.3",
            "[] NOTICE[12] res_pjsip.c: Login from 2001:db8::7 denied",
        ]);
        assert_eq!(
            found,
            [
                "1 [] NOTICE[N] res_pjsip.c: Request '' from '' failed for '' - no such thing",
                "1 [] NOTICE[N] res_pjsip.c: Request '' from ''s''[N]N'",
                "2 [] NOTICE[N] res_pjsip.c: Login from N denied",
            ]
        );
    }

    #[test]
    fn many_shapes_do_not_drive_out_what_is_seen_often() {
        let mut missed = NearMisses::default();
        let often = "changed form: 192.0.2.7 failed";
        let shape_of = |number: usize| {
            let word: String = (0..=number).map(|_| 'a').collect();
            format!("{word} 192.0.2.7 failed")
        };
        (0..2).for_each(|_| missed.see(often, often));
        for number in 0..80 {
            missed.see(&shape_of(number), "x");
        }
        assert_eq!(missed.shapes().len(), SHAPES_MAX);
        assert_eq!(missed.others(), 80 + 1 - SHAPES_MAX as u64);
        assert_eq!(
            (missed.shapes()[0].count, &*missed.shapes()[0].sample),
            (2, often)
        );
    }

    #[test]
    fn what_was_seen_before_does_not_blind_for_ever() {
        let mut missed = NearMisses::default();
        for number in 0..SHAPES_MAX {
            let word = "b".repeat(number + 1);
            let line = format!("{word} 192.0.2.7 failed");
            (0..100).for_each(|_| missed.see(&line, &line));
        }
        let new = "changed form: 192.0.2.7 failed";
        let at = (1..1_000).find(|_| {
            missed.see(new, new);
            missed.shapes().iter().any(|miss| &*miss.sample == new)
        });
        assert_eq!(at, Some(6 * SHAPES_MAX + 1));
        assert_eq!(missed.shapes()[0].count, 100);
    }

    #[test]
    fn unclear_lines_are_counted_by_what_the_server_wrote_of_them() {
        let mut missed = NearMisses::default();
        missed.see_unclear("NOTICE: {", "NOTICE: {x 192.0.2.7", "mend it");
        missed.see_unclear("NOTICE: {", "NOTICE: {y 192.0.2.8", "mend it");
        missed.see("NOTICE: { 192.0.2.7 failed", "x");
        let shown = missed.shapes().iter();
        let shown = shown.map(|miss| (miss.count, &*miss.sample, miss.remedy.as_deref()));
        assert_eq!(
            shown.collect::<Vec<_>>(),
            [(2, "NOTICE: {x 192.0.2.7", Some("mend it")), (1, "x", None)]
        );
    }

    #[test]
    fn what_is_kept_of_a_line_is_bounded() {
        let mut missed = NearMisses::default();
        let long = format!("192.0.2.7 failed {}", "x".repeat(100_000));
        missed.see(&long, &long);
        let miss = &missed.shapes()[0];
        assert!(miss.shape.len() <= SHAPE_BYTES_MAX && miss.sample.len() <= SAMPLE_BYTES_MAX);
    }
}
