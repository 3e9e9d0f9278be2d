//! A tree, compiled for the backtracker.

use crate::filter::dialect::{Alphabet, Assert, ByteSet, CharSet, Fold, Mode, Node, Repeat, Tree};

/// One instruction; unless it says otherwise the next one follows.
#[derive(Clone, Copy, Debug)]
pub(super) enum Inst {
    /// This byte.
    Byte(u8),
    /// A byte of the set at this place.
    Set(u16),
    /// Go on at the first; failing that, at the second.
    Split(u32, u32),
    /// Go on there.
    Jump(u32),
    /// Remember the place: start (even) or end (odd) of group n/2.
    Save(u16),
    /// A condition on the place.
    Assert(Assert),
    /// Bytes of one set, several times, and then one of `follow`, if that is known.
    Run {
        set: u16,
        counts: u16,
        follow: Option<u16>,
    },
    /// Begin the loop with this register: no repetition yet.
    Begin(u16),
    /// Again, or out of the loop?
    Again {
        register: u16,
        counts: u16,
        body: u32,
    },
    /// A lazy loop whose way out failed: again, if it may.
    Retry {
        register: u16,
        counts: u16,
        body: u32,
    },
    /// The text of a group.
    BackRef { group: u16, fold: Fold },
    /// Go on, if the group took part; else there.
    Cond { group: u16, no: u32 },
    /// The part up to `end` is a look-ahead, or a look-behind of some width.
    Look {
        behind: Option<u32>,
        negative: bool,
        end: u32,
    },
    /// The part up to `end` matches in its first way or not at all.
    Atomic { end: u32 },
    /// The part up to `end`, repeated, each time in its first way.
    Possessive { counts: u16, end: u32 },
    /// The program, or a part of it, has matched.
    Accept,
}

/// How often something is repeated, and which number is tried first.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Counts {
    pub(super) min: u32,
    pub(super) max: Option<u32>,
    pub(super) mode: Mode,
}

/// A compiled tree.
#[derive(Debug)]
pub(crate) struct Program {
    pub(super) insts: Box<[Inst]>,
    pub(super) sets: Box<[ByteSet]>,
    pub(super) counts: Box<[Counts]>,
    /// Two per group, group 0 being the whole match.
    pub(super) slots: usize,
    pub(super) registers: usize,
    /// Words for `\b`: of Unicode, and of ASCII only.
    pub(super) words: [ByteSet; 2],
    /// What a match can begin with; `None` if it can be empty.
    pub(super) first: Option<ByteSet>,
    /// Can it match at the start of the text only?
    pub(super) anchored: bool,
    /// Does it refer back to groups?
    pub(super) back_refs: bool,
}

impl Program {
    /// Compiles `tree`; `None` if it has more parts than can be counted.
    pub(crate) fn compile(tree: &Tree, alphabet: &Alphabet) -> Option<Program> {
        let mut compiler = Compiler {
            alphabet,
            insts: Vec::new(),
            sets: Vec::new(),
            counts: Vec::new(),
            registers: 0,
            back_refs: false,
        };
        compiler.node(&tree.root)?;
        compiler.push(Inst::Accept);
        compiler.find_follows()?;
        let (first, nullable) = first(&tree.root, alphabet);
        Some(Program {
            insts: compiler.insts.into_boxed_slice(),
            sets: compiler.sets.into_boxed_slice(),
            counts: compiler.counts.into_boxed_slice(),
            slots: 2 * (tree.groups.len() + 1),
            registers: usize::from(compiler.registers),
            words: [false, true].map(|ascii| alphabet.set(&CharSet::word(ascii))),
            first: (!nullable).then_some(first),
            anchored: is_anchored(&tree.root),
            back_refs: compiler.back_refs,
        })
    }

    /// Can it match at the start of the text only?
    pub(crate) fn is_anchored(&self) -> bool {
        self.anchored
    }

    /// Does it refer back to groups, so that it needs the text's own characters?
    pub(crate) fn has_back_refs(&self) -> bool {
        self.back_refs
    }
}

struct Compiler<'a> {
    alphabet: &'a Alphabet,
    insts: Vec<Inst>,
    sets: Vec<ByteSet>,
    counts: Vec<Counts>,
    registers: u16,
    back_refs: bool,
}

impl Compiler<'_> {
    fn push(&mut self, inst: Inst) -> usize {
        self.insts.push(inst);
        self.insts.len() - 1
    }

    fn here(&self) -> Option<u32> {
        u32::try_from(self.insts.len()).ok()
    }

    fn patch(&mut self, at: usize, inst: Inst) {
        if let Some(place) = self.insts.get_mut(at) {
            *place = inst;
        }
    }

    fn set(&mut self, set: ByteSet) -> Option<u16> {
        let place = self.sets.iter().position(|other| *other == set);
        u16::try_from(place.unwrap_or_else(|| {
            self.sets.push(set);
            self.sets.len() - 1
        }))
        .ok()
    }

    fn counts(&mut self, repeat: &Repeat) -> Option<u16> {
        let counts = Counts {
            min: repeat.min,
            max: repeat.max,
            mode: repeat.mode,
        };
        let place = self.counts.iter().position(|other| *other == counts);
        u16::try_from(place.unwrap_or_else(|| {
            self.counts.push(counts);
            self.counts.len() - 1
        }))
        .ok()
    }

    /// Tells each run what must come after it, so that it gives back no byte in vain.
    fn find_follows(&mut self) -> Option<()> {
        for at in 0..self.insts.len() {
            let Some(&Inst::Run { set, counts, .. }) = self.insts.get(at) else {
                continue;
            };
            let mut next = self.insts.iter().skip(at + 1);
            let follow = match next.find(|inst| !matches!(inst, Inst::Save(_))) {
                Some(&Inst::Byte(byte)) => {
                    let mut one = ByteSet::default();
                    one.insert(byte);
                    Some(self.set(one)?)
                }
                Some(&Inst::Set(set)) => Some(set),
                Some(&Inst::Run { set, counts, .. })
                    if self.counts.get(usize::from(counts))?.min > 0 =>
                {
                    Some(set)
                }
                _ => None,
            };
            self.patch(
                at,
                Inst::Run {
                    set,
                    counts,
                    follow,
                },
            );
        }
        Some(())
    }

    fn node(&mut self, node: &Node) -> Option<()> {
        match node {
            Node::Empty => {}
            Node::Char(char) => {
                self.push(Inst::Byte(self.alphabet.byte(*char)));
            }
            Node::Set(set) => {
                let set = self.set(self.alphabet.set(set))?;
                self.push(Inst::Set(set));
            }
            Node::Concat(parts) => {
                for part in parts {
                    self.node(part)?;
                }
            }
            Node::Alt(choices) => self.alternation(choices)?,
            Node::Repeat(repeat) => self.repeat(repeat)?,
            Node::Group(index, body) => {
                let slot = u16::try_from(index.checked_mul(2)?).ok()?;
                self.push(Inst::Save(slot));
                self.node(body)?;
                self.push(Inst::Save(slot + 1));
            }
            Node::Assert(assert) => {
                self.push(Inst::Assert(*assert));
            }
            Node::BackRef { group, fold } => {
                self.back_refs = true;
                self.push(Inst::BackRef {
                    group: u16::try_from(*group).ok()?,
                    fold: *fold,
                });
            }
            Node::Look {
                behind,
                negative,
                body,
            } => {
                let at = self.part(body)?;
                let end = self.here()?;
                let (behind, negative) = (*behind, *negative);
                self.patch(
                    at,
                    Inst::Look {
                        behind,
                        negative,
                        end,
                    },
                );
            }
            Node::Atomic(body) => {
                let at = self.part(body)?;
                let end = self.here()?;
                self.patch(at, Inst::Atomic { end });
            }
            Node::Cond { group, yes, no } => self.conditional(*group, yes, no)?,
        }
        Some(())
    }

    /// A place for an instruction, then `body` and an Accept.
    fn part(&mut self, body: &Node) -> Option<usize> {
        let at = self.push(Inst::Accept);
        self.node(body)?;
        self.push(Inst::Accept);
        Some(at)
    }

    fn alternation(&mut self, choices: &[Node]) -> Option<()> {
        let mut ends = Vec::new();
        for (place, choice) in choices.iter().enumerate() {
            if place + 1 == choices.len() {
                self.node(choice)?;
                break;
            }
            let split = self.push(Inst::Accept);
            self.node(choice)?;
            ends.push(self.push(Inst::Accept));
            let (this, next) = (u32::try_from(split + 1).ok()?, self.here()?);
            self.patch(split, Inst::Split(this, next));
        }
        let end = self.here()?;
        for at in ends {
            self.patch(at, Inst::Jump(end));
        }
        Some(())
    }

    fn conditional(&mut self, group: u32, yes: &Node, no: &Node) -> Option<()> {
        let test = self.push(Inst::Accept);
        self.node(yes)?;
        let skip = self.push(Inst::Accept);
        let group = u16::try_from(group).ok()?;
        let other = self.here()?;
        self.patch(test, Inst::Cond { group, no: other });
        self.node(no)?;
        let end = self.here()?;
        self.patch(skip, Inst::Jump(end));
        Some(())
    }

    fn repeat(&mut self, repeat: &Repeat) -> Option<()> {
        let counts = self.counts(repeat)?;
        let single = match &repeat.body {
            Node::Char(char) => {
                let mut one = ByteSet::default();
                one.insert(self.alphabet.byte(*char));
                Some(one)
            }
            Node::Set(set) => Some(self.alphabet.set(set)),
            _ => None,
        };
        if let Some(set) = single {
            let set = self.set(set)?;
            self.push(Inst::Run {
                set,
                counts,
                follow: None,
            });
            return Some(());
        }
        match (repeat.mode, repeat.min, repeat.max) {
            (Mode::Possessive, _, _) => {
                let at = self.part(&repeat.body)?;
                let end = self.here()?;
                self.patch(at, Inst::Possessive { counts, end });
            }
            (mode, 0, Some(1)) => {
                let split = self.push(Inst::Accept);
                self.node(&repeat.body)?;
                let (body, end) = (u32::try_from(split + 1).ok()?, self.here()?);
                let ways = if mode == Mode::Lazy {
                    Inst::Split(end, body)
                } else {
                    Inst::Split(body, end)
                };
                self.patch(split, ways);
            }
            _ => self.counted(repeat, counts)?,
        }
        Some(())
    }

    /// Begin; jump to Again; body; Again; for lazy loops, a Retry beyond the way out.
    fn counted(&mut self, repeat: &Repeat, counts: u16) -> Option<()> {
        let register = self.registers;
        self.registers = self.registers.checked_add(1)?;
        self.push(Inst::Begin(register));
        let entry = self.push(Inst::Accept);
        let body = self.here()?;
        if repeat.mode == Mode::Lazy {
            // A failing way out comes back to the instruction before the body.
            self.push(Inst::Retry {
                register,
                counts,
                body: body.checked_add(1)?,
            });
        }
        self.node(&repeat.body)?;
        let again = self.here()?;
        self.push(Inst::Again {
            register,
            counts,
            body,
        });
        self.patch(entry, Inst::Jump(again));
        Some(())
    }
}

/// What a match of `node` can begin with, and whether it can be empty.
fn first(node: &Node, alphabet: &Alphabet) -> (ByteSet, bool) {
    let of = |node: &Node| first(node, alphabet);
    match node {
        Node::Char(char) => {
            let mut one = ByteSet::default();
            one.insert(alphabet.byte(*char));
            (one, false)
        }
        Node::Set(set) => (alphabet.set(set), false),
        Node::Concat(parts) => {
            let mut all = ByteSet::default();
            for part in parts {
                let (bytes, nullable) = of(part);
                all = all.union(&bytes);
                if !nullable {
                    return (all, false);
                }
            }
            (all, true)
        }
        Node::Alt(choices) => choices
            .iter()
            .map(of)
            .reduce(|(a, b), (c, d)| (a.union(&c), b || d))
            .unwrap_or((ByteSet::default(), true)),
        Node::Repeat(repeat) => {
            let (bytes, nullable) = of(&repeat.body);
            (bytes, nullable || repeat.min == 0)
        }
        Node::Group(_, body) | Node::Atomic(body) => of(body),
        Node::Cond { yes, no, .. } => {
            let ((a, b), (c, d)) = (of(yes), of(no));
            (a.union(&c), b || d)
        }
        // A back-reference begins with anything that its group does, or is empty.
        Node::BackRef { .. } => (alphabet.set(&CharSet::all()), true),
        Node::Empty | Node::Assert(_) | Node::Look { .. } => (ByteSet::default(), true),
    }
}

fn is_anchored(node: &Node) -> bool {
    match node {
        Node::Assert(Assert::TextStart) => true,
        Node::Group(_, body) | Node::Atomic(body) => is_anchored(body),
        Node::Alt(choices) => choices.iter().all(is_anchored),
        Node::Concat(parts) => parts.first().is_some_and(is_anchored),
        _ => false,
    }
}
