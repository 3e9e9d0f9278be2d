//! Running a program of the backtracker.

use super::program::{Counts, Inst, Program};
use crate::filter::dialect::{Assert, Fold, Mode, lower};

/// How many ways back are remembered at once: 1.2 MB at most.
const FRAMES_MAX: usize = 50_000;
/// A run over one set is cheap: so many bytes of it count as one step.
const RUN_BYTES_PER_STEP: usize = 16;
/// "Nowhere yet", for slots and registers.
const NONE: u32 = u32::MAX;

/// The text to search.
#[derive(Clone, Copy)]
pub(crate) struct Subject<'t> {
    /// One byte per character, as the alphabet spells it.
    pub(crate) bytes: &'t [u8],
    /// The characters themselves, where they are not the bytes.
    pub(crate) chars: Option<&'t [char]>,
}

/// How a search ended.
#[derive(Debug, PartialEq)]
pub(crate) enum Outcome {
    /// A match: start and end of each group, the whole match first, in
    /// characters; `None` for groups that took no part.
    Match(Vec<Option<(usize, usize)>>),
    /// Surely none.
    NoMatch,
    /// The steps were used up before one or the other was known.
    Exhausted,
}

impl Program {
    /// Searches from `start` on, or at `start` only if `here`, in at most `steps`; what
    /// is left of them when it ends is left in `steps`.
    pub(crate) fn search(
        &self,
        subject: Subject<'_>,
        start: usize,
        here: bool,
        steps: &mut u64,
    ) -> Outcome {
        if u32::try_from(subject.bytes.len()).is_err() {
            return Outcome::Exhausted;
        }
        let mut machine = Machine {
            program: self,
            subject,
            slots: vec![NONE; self.slots],
            registers: vec![Register::default(); self.registers],
            frames: Vec::new(),
            steps: *steps,
        };
        let outcome = machine.search(start, here);
        *steps = machine.steps;
        outcome
    }
}

impl Machine<'_, '_> {
    fn search(&mut self, start: usize, here: bool) -> Outcome {
        let program = self.program;
        let bytes = self.subject.bytes;
        let last = if here || program.anchored {
            start
        } else {
            bytes.len()
        };
        if program.anchored && start > 0 {
            return Outcome::NoMatch;
        }
        for at in start..=last {
            if let Some(first) = &program.first
                && !bytes.get(at).is_some_and(|byte| first.contains(*byte))
            {
                continue;
            }
            self.frames.clear();
            match self.run(0, at as u32) {
                Ok(Some(end)) => return Outcome::Match(self.groups(at as u32, end)),
                Ok(None) => {}
                Err(Exhausted) => return Outcome::Exhausted,
            }
        }
        Outcome::NoMatch
    }
}

struct Exhausted;

/// Of one loop: how often its body has been entered, and where it was last
/// entered by choice.
#[derive(Clone, Copy)]
struct Register {
    count: u32,
    last: u32,
}

impl Default for Register {
    fn default() -> Self {
        Register {
            count: 0,
            last: NONE,
        }
    }
}

/// What to do when the way taken has failed, the latest first.
enum Frame {
    /// Go on there instead.
    Branch { pc: u32, at: u32 },
    /// Give back a byte of a greedy run, down to `least`.
    Shrink {
        pc: u32,
        follow: Option<u16>,
        least: u32,
        at: u32,
    },
    /// Take a byte more for a lazy run, up to `most`.
    Grow {
        pc: u32,
        set: u16,
        follow: Option<u16>,
        most: u32,
        at: u32,
    },
    /// Put a slot back.
    Slot { slot: u16, old: u32 },
    /// Put a register back.
    Register { register: u16, old: Register },
}

struct Machine<'p, 't> {
    program: &'p Program,
    subject: Subject<'t>,
    slots: Vec<u32>,
    registers: Vec<Register>,
    frames: Vec<Frame>,
    steps: u64,
}

/// What one instruction did.
enum Step {
    Go(u32, u32),
    Fail,
}

impl Machine<'_, '_> {
    /// Runs from `pc` at `at` up to an Accept. On success the frames above stay,
    /// for the caller to undo or to try; on failure they are gone.
    fn run(&mut self, mut pc: u32, mut at: u32) -> Result<Option<u32>, Exhausted> {
        let base = self.frames.len();
        loop {
            self.spend(1)?;
            let Some(&inst) = self.program.insts.get(pc as usize) else {
                return Ok(None);
            };
            if matches!(inst, Inst::Accept) {
                return Ok(Some(at));
            }
            match self.step(inst, pc, at)? {
                Step::Go(next, there) => (pc, at) = (next, there),
                Step::Fail => match self.back(base)? {
                    Some((next, there)) => (pc, at) = (next, there),
                    None => return Ok(None),
                },
            }
        }
    }

    fn spend(&mut self, steps: usize) -> Result<(), Exhausted> {
        let left = self.steps.checked_sub(steps as u64);
        self.steps = left.unwrap_or(0);
        left.map(|_| ()).ok_or(Exhausted)
    }

    fn push(&mut self, frame: Frame) -> Result<(), Exhausted> {
        if self.frames.len() >= FRAMES_MAX {
            return Err(Exhausted);
        }
        self.frames.push(frame);
        Ok(())
    }

    fn step(&mut self, inst: Inst, pc: u32, at: u32) -> Result<Step, Exhausted> {
        let next = pc + 1;
        let go = |hit: bool, to: u32| if hit { Step::Go(next, to) } else { Step::Fail };
        Ok(match inst {
            Inst::Byte(byte) => go(self.byte(at) == Some(byte), at + 1),
            Inst::Set(set) => go(self.in_set(set, at), at + 1),
            Inst::Split(one, other) => {
                if !self.may_begin(one, at) {
                    Step::Go(other, at)
                } else {
                    if self.may_begin(other, at) {
                        self.push(Frame::Branch { pc: other, at })?;
                    }
                    Step::Go(one, at)
                }
            }
            Inst::Jump(to) => Step::Go(to, at),
            Inst::Save(slot) => {
                self.save(slot, at)?;
                Step::Go(next, at)
            }
            Inst::Assert(assert) => go(self.holds(assert, at), at),
            Inst::Run {
                set,
                counts,
                follow,
            } => self.take_run(set, self.counts(counts), follow, next, at)?,
            Inst::Begin(register) => {
                self.set_register(register, Register::default())?;
                Step::Go(next, at)
            }
            Inst::Again {
                register,
                counts,
                body,
            } => self.again(register, self.counts(counts), body, next, at)?,
            Inst::Retry {
                register,
                counts,
                body,
            } => self.retry(register, self.counts(counts), body, at)?,
            Inst::BackRef { group, fold } => match self.back_ref(group, fold, at)? {
                Some(end) => Step::Go(next, end),
                None => Step::Fail,
            },
            Inst::Cond { group, no } => Step::Go(
                if self.group(group).is_some() {
                    next
                } else {
                    no
                },
                at,
            ),
            Inst::Look {
                behind,
                negative,
                end,
            } => {
                let hit = self.look(next, behind, negative, at)?;
                if hit != negative {
                    Step::Go(end, at)
                } else {
                    Step::Fail
                }
            }
            Inst::Atomic { end } => match self.once(next, at)? {
                Some(after) => Step::Go(end, after),
                None => Step::Fail,
            },
            Inst::Possessive { counts, end } => {
                match self.possessive(next, self.counts(counts), at)? {
                    Some(after) => Step::Go(end, after),
                    None => Step::Fail,
                }
            }
            Inst::Accept => Step::Fail,
        })
    }

    /// Takes the latest way back above `base`.
    fn back(&mut self, base: usize) -> Result<Option<(u32, u32)>, Exhausted> {
        while self.frames.len() > base {
            self.spend(1)?;
            match self.frames.pop() {
                Some(Frame::Branch { pc, at }) => return Ok(Some((pc, at))),
                Some(Frame::Shrink {
                    pc,
                    follow,
                    least,
                    at,
                }) => {
                    if let Some(end) = self.shrink(pc, follow, least, at - 1)? {
                        return Ok(Some((pc, end)));
                    }
                }
                Some(Frame::Grow {
                    pc,
                    set,
                    follow,
                    most,
                    at,
                }) => {
                    if self.in_set(set, at)
                        && let Some(end) = self.grow(pc, set, follow, most, at + 1)?
                    {
                        return Ok(Some((pc, end)));
                    }
                }
                Some(Frame::Slot { slot, old }) => {
                    if let Some(place) = self.slots.get_mut(usize::from(slot)) {
                        *place = old;
                    }
                }
                Some(Frame::Register { register, old }) => {
                    if let Some(place) = self.registers.get_mut(usize::from(register)) {
                        *place = old;
                    }
                }
                None => break,
            }
        }
        Ok(None)
    }

    fn byte(&self, at: u32) -> Option<u8> {
        self.subject.bytes.get(at as usize).copied()
    }

    fn in_set(&self, set: u16, at: u32) -> bool {
        match (self.byte(at), self.program.sets.get(usize::from(set))) {
            (Some(byte), Some(set)) => set.contains(byte),
            _ => false,
        }
    }

    fn counts(&self, place: u16) -> Counts {
        self.program
            .counts
            .get(usize::from(place))
            .copied()
            .unwrap_or(Counts {
                min: 0,
                max: Some(0),
                mode: Mode::Greedy,
            })
    }

    fn save(&mut self, slot: u16, value: u32) -> Result<(), Exhausted> {
        let Some(&old) = self.slots.get(usize::from(slot)) else {
            return Ok(());
        };
        self.push(Frame::Slot { slot, old })?;
        if let Some(place) = self.slots.get_mut(usize::from(slot)) {
            *place = value;
        }
        Ok(())
    }

    fn register(&self, register: u16) -> Register {
        self.registers
            .get(usize::from(register))
            .copied()
            .unwrap_or_default()
    }

    fn set_register(&mut self, register: u16, value: Register) -> Result<(), Exhausted> {
        let old = self.register(register);
        self.push(Frame::Register { register, old })?;
        if let Some(place) = self.registers.get_mut(usize::from(register)) {
            *place = value;
        }
        Ok(())
    }

    /// One set, several times: no frame per byte.
    fn take_run(
        &mut self,
        set: u16,
        counts: Counts,
        follow: Option<u16>,
        next: u32,
        at: u32,
    ) -> Result<Step, Exhausted> {
        let length = self.subject.bytes.len() as u32;
        let most = counts
            .max
            .map_or(length, |max| at.saturating_add(max).min(length));
        let Some(least) = at.checked_add(counts.min).filter(|least| *least <= most) else {
            return Ok(Step::Fail);
        };
        let lazy = counts.mode == Mode::Lazy;
        let until = if lazy { least } else { most };
        let end = at + self.run_length(set, at, until)?;
        if end < least {
            return Ok(Step::Fail);
        }
        let end = match counts.mode {
            Mode::Greedy => self.shrink(next, follow, least, end)?,
            Mode::Lazy => self.grow(next, set, follow, most, end)?,
            Mode::Possessive => Some(end),
        };
        Ok(end.map_or(Step::Fail, |end| Step::Go(next, end)))
    }

    /// How many bytes of `set` follow each other from `at` on, before `until`.
    fn run_length(&mut self, set: u16, at: u32, until: u32) -> Result<u32, Exhausted> {
        let bytes = self.subject.bytes.get(at as usize..until as usize);
        let (Some(bytes), Some(set)) = (bytes, self.program.sets.get(usize::from(set))) else {
            return Ok(0);
        };
        let length = bytes.iter().take_while(|byte| set.contains(**byte)).count();
        self.spend(length / RUN_BYTES_PER_STEP)?;
        Ok(length as u32)
    }

    /// The last end of a greedy run, from `end` down to `least`, after which the
    /// program can go on.
    fn shrink(
        &mut self,
        pc: u32,
        follow: Option<u16>,
        least: u32,
        end: u32,
    ) -> Result<Option<u32>, Exhausted> {
        let mut at = end;
        if let Some(follow) = follow {
            while !self.in_set(follow, at) {
                if at == least {
                    self.spend((end - at) as usize / RUN_BYTES_PER_STEP)?;
                    return Ok(None);
                }
                at -= 1;
            }
            self.spend((end - at) as usize / RUN_BYTES_PER_STEP)?;
        }
        if at > least {
            self.push(Frame::Shrink {
                pc,
                follow,
                least,
                at,
            })?;
        }
        Ok(Some(at))
    }

    /// The first end of a lazy run, from `end` up to `most`, after which the
    /// program can go on.
    fn grow(
        &mut self,
        pc: u32,
        set: u16,
        follow: Option<u16>,
        most: u32,
        end: u32,
    ) -> Result<Option<u32>, Exhausted> {
        let mut at = end;
        if let Some(follow) = follow {
            while !self.in_set(follow, at) {
                if at == most || !self.in_set(set, at) {
                    self.spend((at - end) as usize / RUN_BYTES_PER_STEP)?;
                    return Ok(None);
                }
                at += 1;
            }
            self.spend((at - end) as usize / RUN_BYTES_PER_STEP)?;
        }
        if at < most {
            self.push(Frame::Grow {
                pc,
                set,
                follow,
                most,
                at,
            })?;
        }
        Ok(Some(at))
    }

    /// Can the instruction at `pc` match here? Only one that takes a byte tells.
    fn may_begin(&self, pc: u32, at: u32) -> bool {
        match self.program.insts.get(pc as usize) {
            Some(&Inst::Byte(byte)) => self.byte(at) == Some(byte),
            Some(&Inst::Set(set)) => self.in_set(set, at),
            _ => true,
        }
    }

    /// At the end of a loop's body, or before it: enter it (again), or go out.
    /// As in Python, a repetition beyond the least number must not begin where the
    /// one before it began.
    fn again(
        &mut self,
        register: u16,
        counts: Counts,
        body: u32,
        out: u32,
        at: u32,
    ) -> Result<Step, Exhausted> {
        let now = self.register(register);
        let enter = if counts.mode == Mode::Lazy {
            body + 1
        } else {
            body
        };
        if now.count < counts.min {
            let count = now.count + 1;
            self.set_register(register, Register { count, ..now })?;
            return Ok(Step::Go(enter, at));
        }
        if counts.mode == Mode::Lazy {
            self.push(Frame::Branch { pc: body, at })?;
            return Ok(Step::Go(out, at));
        }
        if counts.max.is_none_or(|max| now.count < max) && now.last != at {
            self.push(Frame::Branch { pc: out, at })?;
            let count = now.count.saturating_add(1);
            self.set_register(register, Register { count, last: at })?;
            return Ok(Step::Go(body, at));
        }
        Ok(Step::Go(out, at))
    }

    fn retry(
        &mut self,
        register: u16,
        counts: Counts,
        body: u32,
        at: u32,
    ) -> Result<Step, Exhausted> {
        let now = self.register(register);
        if counts.max.is_some_and(|max| now.count >= max) || now.last == at {
            return Ok(Step::Fail);
        }
        let count = now.count.saturating_add(1);
        self.set_register(register, Register { count, last: at })?;
        Ok(Step::Go(body, at))
    }

    /// Start and end of a group that took part.
    fn group(&self, group: u16) -> Option<(u32, u32)> {
        let slot = 2 * usize::from(group);
        match (self.slots.get(slot), self.slots.get(slot + 1)) {
            (Some(&start), Some(&end)) if start != NONE && end != NONE && start <= end => {
                Some((start, end))
            }
            _ => None,
        }
    }

    /// Where the text of the group ends, if it stands at `at`.
    fn back_ref(&mut self, group: u16, fold: Fold, at: u32) -> Result<Option<u32>, Exhausted> {
        let Some((start, end)) = self.group(group) else {
            return Ok(None);
        };
        let length = end - start;
        self.spend(length as usize / RUN_BYTES_PER_STEP)?;
        if self.subject.bytes.len() < (at + length) as usize {
            return Ok(None);
        }
        let same = (0..length).all(|offset| {
            let (one, other) = (self.char(start + offset), self.char(at + offset));
            match fold {
                Fold::None => one == other,
                Fold::Ascii => one.eq_ignore_ascii_case(&other),
                Fold::Unicode => lower(one) == lower(other),
            }
        });
        Ok(same.then_some(at + length))
    }

    fn char(&self, at: u32) -> char {
        let at = at as usize;
        match self.subject.chars {
            Some(chars) => chars.get(at).copied(),
            None => self.subject.bytes.get(at).map(|byte| char::from(*byte)),
        }
        .unwrap_or('\0')
    }

    /// Does the text ahead of or behind `at` match? A negative look leaves no trace.
    fn look(
        &mut self,
        body: u32,
        behind: Option<u32>,
        negative: bool,
        at: u32,
    ) -> Result<bool, Exhausted> {
        let Some(start) = at.checked_sub(behind.unwrap_or(0)) else {
            return Ok(false);
        };
        if !negative {
            return Ok(self.once(body, start)?.is_some());
        }
        let base = self.frames.len();
        let hit = self.run(body, start)?.is_some();
        self.forget_ways(base);
        while self.back(base)?.is_some() {}
        Ok(hit)
    }

    /// Runs a part and forgets its other ways; what it saved can still be undone.
    fn once(&mut self, body: u32, at: u32) -> Result<Option<u32>, Exhausted> {
        let base = self.frames.len();
        let end = self.run(body, at)?;
        self.forget_ways(base);
        Ok(end)
    }

    fn forget_ways(&mut self, base: usize) {
        let mut kept = base;
        for place in base..self.frames.len() {
            if matches!(
                self.frames.get(place),
                Some(Frame::Slot { .. } | Frame::Register { .. })
            ) {
                self.frames.swap(kept, place);
                kept += 1;
            }
        }
        self.frames.truncate(kept);
    }

    /// As Python does it: each repetition in its first way, none given back.
    fn possessive(
        &mut self,
        body: u32,
        counts: Counts,
        mut at: u32,
    ) -> Result<Option<u32>, Exhausted> {
        let mut count = 0;
        while count < counts.min {
            match self.once(body, at)? {
                Some(end) => at = end,
                None => return Ok(None),
            }
            count += 1;
        }
        while counts.max.is_none_or(|max| count < max) {
            match self.once(body, at)? {
                Some(end) if end != at => at = end,
                _ => break,
            }
            count += 1;
        }
        Ok(Some(at))
    }

    fn holds(&self, assert: Assert, at: u32) -> bool {
        let length = self.subject.bytes.len() as u32;
        let before = at.checked_sub(1).and_then(|before| self.byte(before));
        let after = self.byte(at);
        let word = |byte: Option<u8>, ascii: bool| {
            byte.is_some_and(|byte| self.program.words[usize::from(ascii)].contains(byte))
        };
        match assert {
            Assert::TextStart => at == 0,
            Assert::TextEnd => at == length,
            Assert::TextEndOrNewline => at == length || (at + 1 == length && after == Some(b'\n')),
            Assert::LineStart => at == 0 || before == Some(b'\n'),
            Assert::LineEnd => at == length || after == Some(b'\n'),
            Assert::Word { ascii } => word(before, ascii) != word(after, ascii),
            // Python's `\B` never holds in an empty text.
            Assert::NotWord { ascii } => length > 0 && word(before, ascii) == word(after, ascii),
            Assert::WordEdge { ascii } => !(word(before, ascii) && word(after, ascii)),
        }
    }

    fn groups(&self, start: u32, end: u32) -> Vec<Option<(usize, usize)>> {
        let whole = Some((start as usize, end as usize));
        let count = u16::try_from(self.slots.len() / 2).unwrap_or(u16::MAX);
        std::iter::once(whole)
            .chain((1..count).map(|group| {
                self.group(group)
                    .map(|(start, end)| (start as usize, end as usize))
            }))
            .collect()
    }
}
