//! A message in which a folded header goes on: one line, for whoever reads it.
//!
//! FreeSWITCH's SIP stack hands on what stands between two lines of a folded header as it came,
//! newline and all, and a blank or a tab always follows it. So the server's line breaks off in
//! the sender's words, all that begins with a blank is his, and the last of these ends as the
//! server ends the message:
//!
//! ```text
//! 2026-11-22 07:40:00.118206 97.43% [WARNING] …for [x@y] from ip 203.0.113.20
//!  2026-11-22 07:40:00.118206 97.43% [WARNING] …for [1001@192.0.2.1] from ip 203.0.113.20
//!  z@192.0.2.1] from ip 198.51.100.7
//! ```
//!
//! No line between them can be another message's, so it says what it would say in one line. Only
//! a message that is not written at once may end within what was read: a long one, and any in a
//! log that showed it (a container's, whose runtime writes line by line). What is the last there
//! blames nobody.

use super::broken::Reading;
use super::{Follower, Seen, begins_blank, first_line};
use crate::filter::Filter;
use crate::filter::matched::Match;
use crate::filter::threads::WRITTEN_IN_PARTS_BYTES;
use crate::ticket::Trust;

impl Follower {
    /// Gives whom the message names that begins with this line and goes on in those behind it
    /// that begin with a blank; false if none does, or it names nobody.
    pub(super) fn unfold(
        &mut self,
        filter: &Filter,
        seen: Seen<'_>,
        each: &mut dyn FnMut(Match),
    ) -> bool {
        if !seen.dated || !begins_blank(seen.around.after) {
            return false;
        }
        let mut text = seen.text.to_owned();
        let mut rest = seen.around.after;
        while let Some((line, behind)) = first_line(rest) {
            if !begins_blank(line) {
                break;
            }
            text.push_str(&String::from_utf8_lossy(line));
            rest = behind;
        }
        if rest.is_empty() && (self.torn || text.len() >= WRITTEN_IN_PARTS_BYTES) {
            return false;
        }
        let Some(reading) = self.read(filter, &text).filter(Reading::is_of_folded) else {
            return false;
        };
        let most = match self.doubted {
            true => self.begins(filter, Some(reading.addr), seen),
            false => Some(Trust::Proof),
        };
        let Some(most) = most else {
            return false;
        };
        self.joined = Some(rest.len());
        let last = text.trim_end().rsplit('\n').next().unwrap_or_default();
        self.give(filter, reading, (seen, last, most), each);
        true
    }
}
