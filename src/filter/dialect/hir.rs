//! A regular tree as an expression of `regex`, over the bytes of its alphabet.
//!
//! Python's `$` has no equal in `regex`. It is written as the end of any line,
//! which is the same in a text whose only newline is its last character; who
//! searches another text must take the backtracker.

use regex_syntax::hir::{Capture, Class, ClassBytes, ClassBytesRange, Hir, Look, Repetition};

use super::alphabet::{Alphabet, ByteSet};
use super::tree::{Assert, Mode, Node};

/// The expression for a regular `node`, with capturing groups if `captures`.
/// What is not regular never matches; widen it first.
pub(crate) fn to_hir(node: &Node, alphabet: &Alphabet, captures: bool) -> Hir {
    let part = |node: &Node| to_hir(node, alphabet, captures);
    match node {
        Node::Empty => Hir::empty(),
        Node::Char(char) => Hir::literal([alphabet.byte(*char)]),
        Node::Set(set) => class(&alphabet.set(set)),
        Node::Concat(parts) => Hir::concat(parts.iter().map(part).collect()),
        Node::Alt(parts) => Hir::alternation(parts.iter().map(part).collect()),
        Node::Repeat(repeat) => Hir::repetition(Repetition {
            min: repeat.min,
            max: repeat.max,
            greedy: repeat.mode != Mode::Lazy,
            sub: Box::new(part(&repeat.body)),
        }),
        Node::Group(index, body) if captures => Hir::capture(Capture {
            index: *index,
            name: None,
            sub: Box::new(part(body)),
        }),
        Node::Group(_, body) => part(body),
        Node::Assert(assert) => look(*assert),
        Node::Look { .. } | Node::BackRef { .. } | Node::Cond { .. } | Node::Atomic(_) => {
            Hir::fail()
        }
    }
}

fn class(bytes: &ByteSet) -> Hir {
    let ranges = bytes.iter().map(|byte| ClassBytesRange::new(byte, byte));
    Hir::class(Class::Bytes(ClassBytes::new(ranges)))
}

fn look(assert: Assert) -> Hir {
    Hir::look(match assert {
        Assert::TextStart => Look::Start,
        Assert::TextEnd => Look::End,
        Assert::LineStart => Look::StartLF,
        Assert::LineEnd | Assert::TextEndOrNewline => Look::EndLF,
        Assert::Word { .. } => Look::WordAscii,
        Assert::NotWord { .. } => Look::WordAsciiNegate,
        Assert::WordEdge { .. } => {
            return Hir::alternation(vec![
                Hir::look(Look::WordStartHalfAscii),
                Hir::look(Look::WordEndHalfAscii),
            ]);
        }
    })
}
