//! Two messages on one line: a server cut the first off, newline and all.
//!
//! Asterisk writes at most 8,191 bytes of a message, so whoever has a long Call-ID has the next
//! message stand on his line, and its end would be taken for his: what he did would be blamed
//! on whom that names. The thread in its head tells it from a sender's words.

use super::{Follower, Seen, number};
use crate::filter::Filter;

/// A line of fewer bytes is one message.
const LINE_BYTES_MIN: usize = 8_000;

/// So many heads in a line are looked at; a sender may write some.
const HEADS_MAX: usize = 256;

impl Follower {
    /// The last message of a line that holds several; the others have lost their ends, and blame
    /// nobody.
    pub(super) fn unglue<'t>(&mut self, filter: &Filter, mut seen: Seen<'t>) -> Seen<'t> {
        while seen.line.len() > LINE_BYTES_MIN
            && let Some(at) = self.second_head(filter, seen.text)
            && let (Some(first), Some(text)) = (seen.text.get(..at), seen.text.get(at..))
        {
            self.missed.see_unclear(first, seen.line, filter.remedy());
            let before = seen.line.len().saturating_sub(text.trim_end().len());
            seen = Seen {
                text,
                line: seen.line.get(before..).unwrap_or(seen.line),
                ..seen
            };
        }
        seen
    }

    /// Where a head of a known thread stands within a line.
    fn second_head(&mut self, filter: &Filter, text: &str) -> Option<usize> {
        // Not before the first one was cut off: what stands there is a sender's.
        let mut from = (LINE_BYTES_MIN..text.len()).find(|at| text.is_char_boundary(*at))?;
        for _ in 0..HEADS_MAX {
            let heads = filter.glueregex.iter();
            let found = heads.filter_map(|form| {
                let found = form.pattern.find_at(text, from).ok()??;
                Some((found.span(), number(&form.groups(&found))))
            });
            let (span, thread) = found.min_by_key(|(span, _)| span.start)?;
            if thread.is_some_and(|thread| self.threads.knows(thread)) {
                return Some(span.start);
            }
            from = span.end;
        }
        None
    }
}
