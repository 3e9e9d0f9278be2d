//! The tree of a pattern.
//!
//! A tree says which characters, in which order, how often; flags and case
//! folding are gone into the sets. [`Node::is_regular`] says whether a finite
//! automaton can run it.

use super::sets::CharSet;

/// A whole pattern.
#[derive(Clone, Debug, PartialEq)]
pub struct Tree {
    /// What it matches.
    pub root: Node,
    /// The names of its capturing groups; the first is group 1.
    pub groups: Vec<Option<Box<str>>>,
}

/// A part of a pattern.
#[derive(Clone, Debug, PartialEq)]
pub enum Node {
    /// Nothing, which always matches.
    Empty,
    /// One certain character.
    Char(char),
    /// One character of a set.
    Set(CharSet),
    /// One after the other.
    Concat(Vec<Node>),
    /// The first that leads to a match.
    Alt(Vec<Node>),
    /// The same several times.
    Repeat(Box<Repeat>),
    /// A capturing group, counted from 1.
    Group(u32, Box<Node>),
    /// A condition on the place.
    Assert(Assert),
    /// A condition on the text ahead or behind.
    Look {
        /// For look-behind: its width in characters.
        behind: Option<u32>,
        /// Must the text not match?
        negative: bool,
        /// The text.
        body: Box<Node>,
    },
    /// The same text as a group matched.
    BackRef {
        /// Which group.
        group: u32,
        /// How letters are compared.
        fold: Fold,
    },
    /// `yes` if the group took part in the match so far, else `no`.
    Cond {
        /// Which group.
        group: u32,
        /// If it took part.
        yes: Box<Node>,
        /// If not.
        no: Box<Node>,
    },
    /// The first way in which the body matches, and no other.
    Atomic(Box<Node>),
}

/// A repeated part.
#[derive(Clone, Debug, PartialEq)]
pub struct Repeat {
    /// At least so often.
    pub min: u32,
    /// At most so often; `None` is without bound.
    pub max: Option<u32>,
    /// Which number of times is tried first.
    pub mode: Mode,
    /// What is repeated.
    pub body: Node,
}

/// Which number of repetitions is tried first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Many.
    Greedy,
    /// Few.
    Lazy,
    /// Many, and none is given back.
    Possessive,
}

/// How a back-reference compares letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fold {
    /// Exactly.
    None,
    /// Without regard to the case of A to Z.
    Ascii,
    /// Without regard to case.
    Unicode,
}

/// A condition on a place in the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Assert {
    /// `\A`, and `^` without MULTILINE.
    TextStart,
    /// `\Z`.
    TextEnd,
    /// `$` without MULTILINE: the end, or before a newline that ends the text.
    TextEndOrNewline,
    /// `^` with MULTILINE.
    LineStart,
    /// `$` with MULTILINE.
    LineEnd,
    /// `\b`.
    Word {
        /// Are only ASCII letters and digits words?
        ascii: bool,
    },
    /// `\B`.
    NotWord {
        /// Are only ASCII letters and digits words?
        ascii: bool,
    },
    /// Not in the middle of a word. No syntax writes it; `(?=\b|\W|$)` is read as it.
    WordEdge {
        /// Are only ASCII letters and digits words?
        ascii: bool,
    },
}

impl Node {
    /// Can a finite automaton run it?
    pub fn is_regular(&self) -> bool {
        match self {
            Node::Look { .. } | Node::BackRef { .. } | Node::Cond { .. } | Node::Atomic(_) => false,
            Node::Repeat(repeat) => repeat.mode != Mode::Possessive && repeat.body.is_regular(),
            Node::Group(_, body) => body.is_regular(),
            Node::Concat(parts) | Node::Alt(parts) => parts.iter().all(Node::is_regular),
            Node::Empty | Node::Char(_) | Node::Set(_) | Node::Assert(_) => true,
        }
    }

    /// Calls `visit` for this node and all below it.
    pub fn walk(&self, visit: &mut dyn FnMut(&Node)) {
        visit(self);
        match self {
            Node::Concat(parts) | Node::Alt(parts) => {
                for part in parts {
                    part.walk(visit);
                }
            }
            Node::Repeat(repeat) => repeat.body.walk(visit),
            Node::Group(_, body) | Node::Look { body, .. } | Node::Atomic(body) => body.walk(visit),
            Node::Cond { yes, no, .. } => {
                yes.walk(visit);
                no.walk(visit);
            }
            Node::Empty | Node::Char(_) | Node::Set(_) | Node::Assert(_) | Node::BackRef { .. } => {
            }
        }
    }

    /// The same tree with `change` applied to each direct child.
    fn map(&self, change: &dyn Fn(&Node) -> Node) -> Node {
        match self {
            Node::Concat(parts) => Node::Concat(parts.iter().map(change).collect()),
            Node::Alt(parts) => Node::Alt(parts.iter().map(change).collect()),
            Node::Repeat(repeat) => Node::Repeat(Box::new(Repeat {
                body: change(&repeat.body),
                ..**repeat
            })),
            Node::Group(index, body) => Node::Group(*index, Box::new(change(body))),
            Node::Look {
                behind,
                negative,
                body,
            } => Node::Look {
                behind: *behind,
                negative: *negative,
                body: Box::new(change(body)),
            },
            Node::Cond { group, yes, no } => Node::Cond {
                group: *group,
                yes: Box::new(change(yes)),
                no: Box::new(change(no)),
            },
            Node::Atomic(body) => Node::Atomic(Box::new(change(body))),
            Node::Empty | Node::Char(_) | Node::Set(_) | Node::Assert(_) | Node::BackRef { .. } => {
                self.clone()
            }
        }
    }
}

/// The widening of one node; see [`super::widen`].
pub(crate) fn widen_node(node: &Node) -> Node {
    match node {
        Node::Look { .. } => Node::Empty,
        Node::BackRef { .. } => Node::Repeat(Box::new(Repeat {
            min: 0,
            max: None,
            mode: Mode::Greedy,
            body: Node::Set(CharSet::all()),
        })),
        Node::Cond { yes, no, .. } => Node::Alt(vec![widen_node(yes), widen_node(no)]),
        Node::Atomic(body) => widen_node(body),
        Node::Repeat(repeat) if repeat.mode == Mode::Possessive => Node::Repeat(Box::new(Repeat {
            mode: Mode::Greedy,
            body: widen_node(&repeat.body),
            ..**repeat
        })),
        _ => node.map(&widen_node),
    }
}

/// An equal tree with fewer look-arounds: fail2ban's word edges around dates,
/// `(?=\b|\W|$)` and `(?=^|\b|\W)`, become [`Assert::WordEdge`].
pub(crate) fn simplify(node: &Node) -> Node {
    let Node::Concat(parts) = node else {
        return word_edge(node, false).unwrap_or_else(|| node.map(&simplify));
    };
    let consumes = |rest: &[Node]| rest.iter().any(|part| super::width::width(part, &[]).0 > 0);
    Node::Concat(
        parts
            .iter()
            .enumerate()
            .map(|(at, part)| {
                let followed = parts.get(at + 1..).is_some_and(consumes);
                word_edge(part, followed).unwrap_or_else(|| simplify(part))
            })
            .collect(),
    )
}

/// `(?=\b|\W|$)` holds everywhere but inside a word. `(?=^|\b|\W)` too, except at
/// the end of the text, so it counts only where more text must follow.
fn word_edge(node: &Node, followed: bool) -> Option<Node> {
    let Node::Look {
        behind: None,
        negative: false,
        body,
    } = node
    else {
        return None;
    };
    let Node::Alt(choices) = &**body else {
        return None;
    };
    let has = |wanted: &Node| choices.contains(wanted);
    let ascii = if has(&Node::Assert(Assert::Word { ascii: false }))
        && has(&Node::Set(CharSet::word(false).negated()))
    {
        false
    } else if has(&Node::Assert(Assert::Word { ascii: true }))
        && has(&Node::Set(CharSet::word(true).negated()))
    {
        true
    } else {
        return None;
    };
    let at_end = choices.iter().any(|choice| {
        matches!(
            choice,
            Node::Assert(Assert::TextEnd | Assert::TextEndOrNewline | Assert::LineEnd)
        )
    });
    let no_more = choices.iter().all(|choice| {
        matches!(choice, Node::Assert(_)) || *choice == Node::Set(CharSet::word(ascii).negated())
    });
    (no_more && (at_end || followed)).then_some(Node::Assert(Assert::WordEdge { ascii }))
}
