//! Lines that a pattern matches, made from its tree.
//!
//! A line is a list of [`Piece`]s: text, the address, and the parts that were asked
//! for, so that other text can be put in their place. Look-around is left out of
//! account; whoever uses a line lets the filter say whether it matches.

use crate::filter::dialect::{CharSet, Node, Repeat, Tree};

/// Characters that stand for a set, the first that it has.
const EXAMPLES: &[char] = &['x', '1', 'A', 'a', 'f', ' ', '-', '_', '.', ':', '"', '\''];
/// The longest line that is made, in pieces; a pattern can ask for `a{9999}`.
const PIECES_MAX: usize = 5_000;
/// How many kinds of lines are made of a pattern until one matches.
pub(super) const VARIANTS: usize = 6;

/// Names of groups that are the address, the best first.
const HOSTS: [&str; 4] = ["ip4", "ip6", "fid", "dns"];

/// A piece of a line.
#[derive(Clone, Debug)]
pub(super) enum Piece<'t> {
    /// Text as it stands.
    Text(String),
    /// The address.
    Host,
    /// A part that was asked for.
    Part {
        /// Its node.
        node: &'t Node,
        /// What it takes once.
        unit: String,
        /// Letters before it without which the pattern matches nothing.
        letters: usize,
        /// Does it stand in a part that may be missing, or in the prefregex before the
        /// content, where the server writes about itself?
        aside: bool,
    },
}

/// A failregex, within what its prefregex captures as content.
pub(super) struct Source<'t> {
    root: &'t Node,
    /// The prefregex's group for the content, and the failregex.
    content: Option<(u32, &'t Node)>,
    host: Option<&'t Node>,
    /// Does the host take IPv6 only?
    six: bool,
}

impl<'t> Source<'t> {
    pub(super) fn new(prefregex: Option<&'t Tree>, failregex: &'t Tree) -> Source<'t> {
        let content = prefregex.and_then(|tree| group(tree, "content"));
        let (root, content) = match (prefregex, content) {
            (Some(prefregex), Some(index)) => (&prefregex.root, Some((index, &failregex.root))),
            _ => (&failregex.root, None),
        };
        let trees = [Some(failregex), prefregex];
        let hosts = trees.into_iter().flatten().find_map(|tree| {
            let named = |name| Some((name, find_group(&tree.root, group(tree, name)?)?));
            HOSTS.into_iter().find_map(named)
        });
        Source {
            root,
            content,
            host: hosts.map(|(_, node)| node),
            six: hosts.is_some_and(|(name, _)| name == "ip6"),
        }
    }

    /// Does it take IPv6 only?
    pub(super) fn six(&self) -> bool {
        self.six
    }

    /// All repetitions of the pattern that `fits`, in their order.
    pub(super) fn repeats(&self, fits: &dyn Fn(&Repeat) -> bool) -> Vec<&'t Node> {
        let mut all = Vec::new();
        collect(self.root, &mut all);
        if let Some((_, failregex)) = self.content {
            collect(failregex, &mut all);
        }
        all.retain(|node| matches!(node, Node::Repeat(repeat) if fits(repeat)));
        all
    }

    /// The repetitions in one tree of the two.
    pub(super) fn repeats_in(root: &'t Node) -> Vec<&'t Node> {
        let mut all = Vec::new();
        collect(root, &mut all);
        all
    }

    /// A line with these parts, in one of [`VARIANTS`] ways; `junk` stands where the
    /// failregex begins.
    pub(super) fn line(
        &self,
        parts: &[&'t Node],
        variant: usize,
        junk: &str,
    ) -> Option<Vec<Piece<'t>>> {
        let wanted: Vec<&Node> = parts.iter().copied().chain(self.host).collect();
        let mut sampler = Sampler {
            source: self,
            wanted,
            variant,
            junk,
            pieces: Vec::new(),
            captured: Vec::new(),
            letters: 0,
            optional: 0,
            perhaps: 0,
            in_prefix: self.content.is_some(),
        };
        if self.content.is_none() {
            sampler.text(junk);
        }
        sampler.node(self.root)?;
        Some(sampler.pieces)
    }
}

/// The line as text.
pub(super) fn text(pieces: &[Piece<'_>], host: &str) -> String {
    let one = |piece: &Piece<'_>| match piece {
        Piece::Text(text) => text.clone(),
        Piece::Host => host.to_owned(),
        Piece::Part { unit, .. } => unit.clone(),
    };
    pieces.iter().map(one).collect()
}

fn group(tree: &Tree, name: &str) -> Option<u32> {
    let place = tree
        .groups
        .iter()
        .position(|own| own.as_deref() == Some(name))?;
    u32::try_from(place + 1).ok()
}

/// The children of a node that a line can be made of, in their order.
fn children(node: &Node) -> Vec<&Node> {
    match node {
        Node::Concat(parts) | Node::Alt(parts) => parts.iter().collect(),
        Node::Repeat(repeat) => vec![&repeat.body],
        Node::Group(_, body) | Node::Atomic(body) => vec![body],
        Node::Cond { yes, no, .. } => vec![yes, no],
        _ => Vec::new(),
    }
}

fn find_group(node: &Node, index: u32) -> Option<&Node> {
    match node {
        Node::Group(own, _) if *own == index => Some(node),
        _ => children(node)
            .into_iter()
            .find_map(|child| find_group(child, index)),
    }
}

fn collect<'t>(node: &'t Node, all: &mut Vec<&'t Node>) {
    if matches!(node, Node::Repeat(_)) {
        all.push(node);
    }
    children(node)
        .into_iter()
        .for_each(|child| collect(child, all));
}

struct Sampler<'s, 't> {
    source: &'s Source<'t>,
    wanted: Vec<&'t Node>,
    variant: usize,
    junk: &'s str,
    pieces: Vec<Piece<'t>>,
    /// What groups took, by number.
    captured: Vec<(u32, String)>,
    letters: usize,
    /// How many optional parts we are within.
    optional: usize,
    /// How many of them come once at most.
    perhaps: usize,
    /// Are we in the prefregex, before content and address?
    in_prefix: bool,
}

impl<'t> Sampler<'_, 't> {
    fn node(&mut self, node: &'t Node) -> Option<()> {
        if self.pieces.len() > PIECES_MAX {
            return None;
        }
        match node {
            Node::Empty | Node::Assert(_) | Node::Look { .. } => {}
            Node::Char(char) => self.char(*char),
            Node::Set(set) => {
                let char = example(set)?;
                // A letter in both cases counts as the letter.
                let letter = char.is_alphabetic() && set.ranges().count() <= 3;
                let one = letter && set.ranges().all(|(first, last)| first == last);
                self.letters += usize::from(one && self.optional == 0);
                self.text(char.encode_utf8(&mut [0; 4]));
            }
            Node::Concat(parts) => parts.iter().try_for_each(|part| self.node(part))?,
            Node::Alt(choices) => {
                let place = choices.iter().position(|choice| self.is_wanted(choice));
                let place = place.unwrap_or(self.variant % choices.len().max(1));
                self.node(choices.get(place)?)?;
            }
            Node::Repeat(repeat) => self.repeat(node, repeat)?,
            Node::Group(index, body) => self.group(node, *index, body)?,
            Node::BackRef { group, .. } => {
                let taken = self.captured.iter().rev().find(|(index, _)| index == group);
                let taken = taken.map(|(_, text)| text.clone())?;
                self.text(&taken);
            }
            Node::Cond { group, yes, no } => {
                let took_part = self.captured.iter().any(|(index, _)| index == group);
                self.node(if took_part { yes } else { no })?;
            }
            Node::Atomic(body) => self.node(body)?,
        }
        Some(())
    }

    fn char(&mut self, char: char) {
        self.letters += usize::from(char.is_alphabetic() && self.optional == 0);
        self.text(char.encode_utf8(&mut [0; 4]));
    }

    fn text(&mut self, text: &str) {
        match self.pieces.last_mut() {
            Some(Piece::Text(last)) => last.push_str(text),
            _ => self.pieces.push(Piece::Text(text.to_owned())),
        }
    }

    fn group(&mut self, node: &'t Node, index: u32, body: &'t Node) -> Option<()> {
        if self
            .source
            .host
            .is_some_and(|host| std::ptr::eq(host, node))
        {
            self.pieces.push(Piece::Host);
            return Some(());
        }
        let start = self.pieces.len();
        match self.source.content {
            Some((content, failregex)) if content == index && self.in_prefix(node) => {
                self.in_prefix = false;
                self.text(self.junk);
                self.node(failregex)?;
            }
            _ => {
                // What a group takes begins a piece of its own.
                self.pieces.push(Piece::Text(String::new()));
                self.node(body)?;
            }
        }
        let taken = text(self.pieces.get(start..)?, "");
        self.captured.push((index, taken));
        Some(())
    }

    /// Is this group one of the prefregex?
    fn in_prefix(&self, node: &Node) -> bool {
        let Node::Group(index, _) = node else {
            return false;
        };
        find_group(self.source.root, *index).is_some_and(|own| std::ptr::eq(own, node))
    }

    fn repeat(&mut self, node: &'t Node, repeat: &'t Repeat) -> Option<()> {
        let asked = self.wanted.iter().any(|wanted| std::ptr::eq(*wanted, node));
        let optional = usize::from(repeat.min == 0);
        let perhaps = usize::from(repeat.min == 0 && repeat.max == Some(1));
        self.optional += optional;
        self.perhaps += perhaps;
        if asked {
            let letters = self.letters;
            let before = std::mem::take(&mut self.pieces);
            self.node(&repeat.body)?;
            let unit = text(&std::mem::replace(&mut self.pieces, before), "");
            self.pieces.push(Piece::Part {
                node,
                unit,
                letters,
                aside: self.perhaps > 0 || (self.in_prefix && !self.host_in_prefix()),
            });
            self.letters = letters;
        } else {
            let some = self.is_wanted(&repeat.body)
                || (self.variant >= VARIANTS / 2 && repeat.max != Some(0));
            for _ in 0..repeat.min.max(u32::from(some)) {
                self.node(&repeat.body)?;
            }
        }
        self.optional -= optional;
        self.perhaps -= perhaps;
        Some(())
    }

    /// Is the address one of the prefregex's groups?
    fn host_in_prefix(&self) -> bool {
        self.source.host.is_some_and(|host| self.in_prefix(host))
    }

    /// Is it, or does it hold, a part that is wanted?
    fn is_wanted(&self, node: &'t Node) -> bool {
        let is_it = self.wanted.iter().any(|wanted| std::ptr::eq(*wanted, node));
        let content = match (node, self.source.content) {
            (Node::Group(index, _), Some((content, failregex)))
                if *index == content && self.in_prefix(node) =>
            {
                self.is_wanted(failregex)
            }
            _ => false,
        };
        is_it
            || content
            || children(node)
                .into_iter()
                .any(|child| self.is_wanted(child))
    }
}

/// A character of a set.
fn example(set: &CharSet) -> Option<char> {
    let known = EXAMPLES.iter().copied().find(|char| set.contains(*char));
    known.or_else(|| set.ranges().next().map(|(first, _)| first))
}
