//! Failures behind a strange head: what the prefregex does not know, and the failregexes do.
//!
//! A server or a logger that writes otherwise since its upgrade puts other words in front of
//! the same message (`<133>1 … kamailio 77 - -` where `kamailio[77]:` stood). The prefregex
//! matches none of its lines then, so nobody is blamed: they are counted as near misses. Other
//! programs' lines in the same log are not: what a failregex matches must begin at a word near
//! the line's beginning.

use super::{Follower, Seen};
use crate::filter::Filter;
use crate::filter::near;

/// So many words of a line may be its head.
const HEAD_WORDS_MAX: usize = 12;

/// After so many lines in a row that were looked at in vain...
pub(super) const VAIN_MAX: u32 = 256;

/// ...one of so many is looked at, so that other programs' lines cost little.
pub(super) const LOOKED_AT_ONE_OF: u32 = 64;

impl Follower {
    /// Counts a line that the prefregex refuses if it reports a failure behind another head.
    pub(super) fn see_strange(&mut self, filter: &Filter, seen: Seen<'_>) {
        if !filter.holds_literal(seen.text) || !near::looks_like_failure(seen.text) {
            return;
        }
        let vain = self.strange_in_vain;
        self.strange_in_vain = vain.wrapping_add(1);
        if vain >= VAIN_MAX && !vain.is_multiple_of(LOOKED_AT_ONE_OF) {
            return;
        }
        let words = seen.text.split_inclusive([' ', '\t']);
        let starts = words.scan(0, |start, word| {
            *start += word.len();
            Some(*start)
        });
        for start in starts.take(HEAD_WORDS_MAX) {
            let Some(text) = seen.text.get(start..).filter(|text| !text.is_empty()) else {
                return;
            };
            let mut forms = filter.failregex.iter();
            if forms.any(|form| matches!(self.look(form, text), Some(Some(_)))) {
                self.strange_in_vain = 0;
                self.missed.see(seen.text, seen.line);
                return;
            }
        }
    }
}
