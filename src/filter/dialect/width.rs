//! How many characters a part of a pattern can take.
//!
//! Python allows look-behind only where this is one fixed number, and so do we.

use super::tree::Node;

/// Least and greatest width in characters, saturating; `groups` are the widths
/// of the groups closed so far, by index from 1 at 0, for back-references.
pub(crate) fn width(node: &Node, groups: &[Option<(u32, u32)>]) -> (u32, u32) {
    let of = |node: &Node| width(node, groups);
    let either = |(a, b): (u32, u32), (c, d): (u32, u32)| (a.min(c), b.max(d));
    match node {
        Node::Empty | Node::Assert(_) | Node::Look { .. } => (0, 0),
        Node::Char(_) | Node::Set(_) => (1, 1),
        Node::Concat(parts) => parts.iter().map(of).fold((0, 0), |(a, b), (c, d)| {
            (a.saturating_add(c), b.saturating_add(d))
        }),
        Node::Alt(parts) => parts.iter().map(of).reduce(either).unwrap_or((0, 0)),
        Node::Repeat(repeat) => {
            let (least, most) = of(&repeat.body);
            let most = match repeat.max {
                Some(max) => most.saturating_mul(max),
                None if most == 0 => 0,
                None => u32::MAX,
            };
            (least.saturating_mul(repeat.min), most)
        }
        Node::Group(_, body) | Node::Atomic(body) => of(body),
        Node::BackRef { group, .. } => usize::try_from(*group)
            .ok()
            .and_then(|group| groups.get(group.checked_sub(1)?).copied().flatten())
            .unwrap_or((0, u32::MAX)),
        Node::Cond { yes, no, .. } => either(of(yes), of(no)),
    }
}
