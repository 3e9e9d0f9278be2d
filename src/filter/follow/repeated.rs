//! Lines that a syslog daemon holds back and tells of later: `message repeated 39 times: [ … ]`.
//!
//! rsyslog does so if `$RepeatedMsgReduction` is on (Ubuntu's default), and whoever tries
//! passwords can see to it that his lines are the same. Such a line counts as often as it says.

use std::borrow::Cow;

use super::{Follower, Seen};
use crate::filter::Filter;

/// The groups of `<F-REPEATED>`, what stands before the message, and of `<F-TIMES>` in it.
const REPEATED: &str = "repeated";
const TIMES: &str = "times";

/// A line counts so often at most: more than any `maxretry` of note.
pub(super) const TIMES_MAX: usize = 100;

impl Follower {
    /// The message itself, and how often it was written.
    pub(super) fn unrepeat<'t>(
        &mut self,
        filter: &Filter,
        seen: Seen<'t>,
    ) -> (Cow<'t, str>, usize) {
        let text = seen.text;
        // A syslog daemon writes a date before it.
        let mut forms = filter.repeatregex.iter().filter(|_| seen.dated);
        let found = forms.find_map(|form| {
            let found = self.look(form, text)??;
            let span = found.group_span(REPEATED)?;
            let times = form.groups(&found).full(TIMES)?.parse().ok();
            Some((
                span,
                times.map_or(TIMES_MAX, |times: usize| times.clamp(1, TIMES_MAX)),
            ))
        });
        let message = |(span, times): (std::ops::Range<usize>, usize)| {
            let message = text.get(span.end..)?.trim_end().strip_suffix(']')?;
            let head = text.get(..span.start)?;
            Some((Cow::Owned(format!("{head}{message}\n")), times))
        };
        found.and_then(message).unwrap_or((Cow::Borrowed(text), 1))
    }
}
