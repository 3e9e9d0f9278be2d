//! One round: from a cursor to the end of the list, page by page.
//!
//! A round ends when the service says so, and also when it leads nowhere: at a
//! cursor that was there before, or after too many pages. A short page is most
//! likely the last one; a round that only catches up believes that and leaves
//! the rest to the next poll, one that has never seen the end asks once more.

use std::collections::HashSet;

use super::cursor::CursorId;

/// The pages of one round: 250,000 entries, more than ever fit into the set.
pub const PAGES_MAX: usize = 1_000;
/// The service's page.
pub const PAGE_ENTRIES: usize = 250;

/// Why a round ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The service said so.
    Finished,
    /// A short page, in a round that only catches up.
    Short,
    /// The page names the cursor that we sent.
    SameCursor,
    /// The page names a cursor of an earlier page: we would go in a circle.
    Circle,
    /// Enough for one round.
    TooManyPages,
}

impl End {
    /// Has everything been read, as far as one can tell?
    pub fn is_complete(self) -> bool {
        matches!(self, End::Finished | End::Short | End::SameCursor)
    }
}

/// A round under way.
#[derive(Debug)]
pub struct Round {
    sent: CursorId,
    seen: HashSet<CursorId>,
    pages: usize,
    catches_up: bool,
    from_start: bool,
}

impl Round {
    /// A round from `cursor`; it `catches_up` if the last one reached the end.
    pub fn new(cursor: CursorId, catches_up: bool) -> Self {
        Round {
            from_start: cursor.is_start(),
            seen: HashSet::from([cursor.clone()]),
            sent: cursor,
            pages: 0,
            catches_up,
        }
    }

    /// The cursor to send next.
    pub fn cursor(&self) -> &CursorId {
        &self.sent
    }

    /// Did it begin at the start of the list?
    pub fn is_from_start(&self) -> bool {
        self.from_start
    }

    /// A page of `entries` came, which names `next`. If the round goes on, it goes
    /// on there; the page is good in any case.
    pub fn page(&mut self, next: &CursorId, entries: usize) -> Option<End> {
        self.pages += 1;
        if *next == self.sent {
            return Some(End::SameCursor);
        }
        if !self.seen.insert(next.clone()) {
            return Some(End::Circle);
        }
        self.sent = next.clone();
        if self.pages >= PAGES_MAX {
            Some(End::TooManyPages)
        } else if self.catches_up && entries < PAGE_ENTRIES {
            Some(End::Short)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: usize) -> CursorId {
        CursorId::parse(&number.to_string()).unwrap()
    }

    /// Goes from `start` through the cursors; says after which page it ended and why.
    fn walk(start: usize, catches_up: bool, pages: &[(usize, usize)]) -> (usize, Option<End>) {
        let mut round = Round::new(id(start), catches_up);
        for (place, (next, entries)) in pages.iter().enumerate() {
            if let Some(end) = round.page(&id(*next), *entries) {
                return (place + 1, Some(end));
            }
        }
        (pages.len(), None)
    }

    #[test]
    fn how_rounds_end() {
        for (catches_up, pages, wanted) in [
            (false, &[(5, 250), (6, 250), (7, 3)][..], (3, None)),
            (true, &[(5, 250), (6, 250), (7, 3)], (3, Some(End::Short))),
            (true, &[(5, 249), (6, 250)], (1, Some(End::Short))),
            (false, &[(5, 250), (5, 250)], (2, Some(End::SameCursor))),
            (true, &[(5, 250), (5, 3)], (2, Some(End::SameCursor))),
            (false, &[(100, 250)], (1, Some(End::SameCursor))),
            (false, &[(5, 250), (6, 250), (5, 9)], (3, Some(End::Circle))),
            (false, &[(9, 250), (7, 250), (8, 250)], (3, None)), // never compared by size
        ] {
            assert_eq!(walk(100, catches_up, pages), wanted, "{pages:?}");
        }
        let many: Vec<_> = (101..=101 + PAGES_MAX).map(|next| (next, 250)).collect();
        assert_eq!(
            walk(100, false, &many),
            (PAGES_MAX, Some(End::TooManyPages))
        );
        assert!(!End::Circle.is_complete() && !End::TooManyPages.is_complete());
    }
}
