//! The regex dialect: Python's `re`, read into our own tree.
//!
//! fail2ban's filters are written for Python. Its syntax looks like that of
//! Rust's `regex` but means other things in places, and those places differ in
//! silence: `$`, `\<`, `[[`, `\s`, `(?(name)…)`. So a pattern is never handed to
//! another engine as text. [`parse()`] reads it as Python 3.11 would, and refuses
//! what Python refuses; everything later works on the [`Tree`], in which flags,
//! classes and case folding are already resolved into plain sets of characters.
//!
//! Two engines run a tree: `regex` where the tree is regular, and `backtrack`,
//! which has Python's own semantics and counts its steps, for the rest.
//! [`widen`] turns any tree into a regular one that matches at least as much.
//!
//! Absent: `\N{NAME}`, surrogates (`\ud800`), the `L` flag and bytes patterns.

mod alphabet;
mod class;
mod error;
mod escape;
mod flags;
mod hir;
mod parse;
mod sets;
mod tree;
mod width;

#[cfg(test)]
mod tests;

pub use error::{DialectError, DialectErrorKind};
pub use parse::{DEPTH_MAX, GROUPS_MAX, PATTERN_BYTES_MAX, parse};
pub use sets::CharSet;
pub use tree::{Assert, Fold, Mode, Node, Repeat, Tree};

pub(super) use alphabet::{Alphabet, ByteSet, KINDS_MAX};
pub(super) use hir::to_hir;
pub(super) use sets::{digit_value, lower};
pub(super) use tree::{simplify, widen_node};

/// Can `node` match nothing at all?
pub(super) fn can_be_empty(node: &Node) -> bool {
    width::width(node, &[]).0 == 0
}

/// A regular tree that matches wherever `tree` matches, and perhaps elsewhere:
/// look-around is dropped, a back-reference becomes any text, a conditional an
/// alternation, an atomic group a plain one.
pub fn widen(tree: &Tree) -> Tree {
    Tree {
        root: widen_node(&tree.root),
        groups: tree.groups.clone(),
    }
}
