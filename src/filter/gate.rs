//! The gate: which lines of a block can match at all.
//!
//! Every pattern cannot do without certain literals. They are searched over the
//! whole block at once; a line that holds none of them is never looked at: no
//! UTF-8 check, no date, no regex. The gate may let a line through in vain, it
//! never holds one back that a filter would match.

use aho_corasick::{AhoCorasick, AhoCorasickKind};
use memchr::{memchr, memrchr};

/// Finds candidate lines.
#[derive(Debug)]
pub struct Gate {
    /// `None` lets every line through.
    automaton: Option<AhoCorasick>,
}

impl Gate {
    /// A gate for these literals, compared without regard to ASCII case.
    pub fn new<'l>(literals: impl IntoIterator<Item = &'l [u8]>, ignore_case: bool) -> Gate {
        // A DFA is faster by a little where many lines are candidates, and takes 0.3 MB.
        let automaton = AhoCorasick::builder()
            .kind(Some(AhoCorasickKind::ContiguousNFA))
            .ascii_case_insensitive(ignore_case)
            .build(literals)
            .ok();
        Gate {
            automaton: automaton.filter(|automaton| automaton.min_pattern_len() > 0),
        }
    }

    /// A gate that lets every line through.
    pub fn open() -> Gate {
        Gate { automaton: None }
    }

    /// Does it let every line through?
    pub fn is_open(&self) -> bool {
        self.automaton.is_none()
    }

    /// Is this line a candidate?
    pub fn lets_through(&self, line: &[u8]) -> bool {
        let holds_one = |automaton: &AhoCorasick| automaton.is_match(line);
        self.automaton.as_ref().is_none_or(holds_one)
    }

    /// Calls `each` with the start of every candidate line and the line, its newline
    /// left out. `block` ends in a newline.
    pub fn candidates<'b>(&self, block: &'b [u8], mut each: impl FnMut(usize, &'b [u8])) {
        let mut at = 0;
        while at < block.len() {
            let hit = match &self.automaton {
                None => at,
                Some(automaton) => match automaton.find(&block[at..]) {
                    None => return,
                    Some(found) => at + found.start(),
                },
            };
            let start = memrchr(b'\n', &block[at..hit]).map_or(at, |newline| at + newline + 1);
            let end = memchr(b'\n', &block[hit..]).map_or(block.len(), |newline| hit + newline);
            each(start, &block[start..end]);
            at = end + 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidates(gate: &Gate, block: &str) -> String {
        let mut found = Vec::new();
        gate.candidates(block.as_bytes(), |start, line| {
            found.push(format!("{start}:{}", String::from_utf8_lossy(line)));
        });
        found.join(" ")
    }

    #[test]
    fn lines_with_a_literal_come_through_once() {
        let gate = Gate::new([b"bad".as_slice(), b"worse"], false);
        for (block, found) in [
            ("bad\ngood\nworse bad\n", "0:bad 9:worse bad"),
            ("good\n", ""),
            ("\n\nx bad x\n\n", "2:x bad x"),
            ("ba\nd\n", ""),
            ("BAD\n", ""),
            ("", ""),
        ] {
            assert_eq!(candidates(&gate, block), found, "{block:?}");
        }
        assert_eq!(
            candidates(&Gate::new([b"bad".as_slice()], true), "BAD\n"),
            "0:BAD"
        );
    }

    #[test]
    fn an_open_gate_lets_all_through() {
        assert_eq!(candidates(&Gate::open(), "a\n\nb\n"), "0:a 2: 3:b");
        assert!(Gate::new([b"".as_slice()], false).is_open()); // an empty literal is in every line
    }
}
