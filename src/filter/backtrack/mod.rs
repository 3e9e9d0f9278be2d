//! The backtracker: Python's own way of matching, with its steps counted.
//!
//! It runs what no finite automaton can (look-around, back-references,
//! conditionals, atomic groups), and finds the groups of a match whose place is
//! known. It works on bytes, one per character, as an
//! [`Alphabet`](super::dialect::Alphabet) spells them, so a program is a few
//! hundred bytes. Alternatives are tried in Python's order, hence match, span and
//! groups are Python's too. A search ends after a bounded number of steps:
//! [`Outcome::Exhausted`]. Recursion is as deep as look-arounds nest.

mod program;
mod run;

pub(super) use program::Program;
pub(super) use run::{Outcome, Subject};
