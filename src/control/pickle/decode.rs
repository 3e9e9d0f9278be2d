//! Reads a pickle, within limits.
//!
//! The stack machine runs over the bytes once and builds nodes that name each
//! other by number: a value that is mentioned ten times is one node, and a list
//! that grows after it was remembered grows everywhere, as in Python. Then the
//! nodes are written out as one tree, counting, so that a small pickle which
//! stands for a huge value (or for an endless one) is refused, not unfolded.

use std::borrow::Cow;
use std::slice;

use memchr::memchr;

use super::text::{long, parse, unescape_raw, unquote};
use super::{Limits, PickleError, PickleErrorKind as Kind, Value, op};

/// A node's number.
type Id = u32;

/// A place in the memo that was never written.
const UNWRITTEN: Id = Id::MAX;

/// A value whose parts are other nodes.
enum Node<'a> {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Str(Cow<'a, str>),
    Bytes(&'a [u8]),
    /// The name of a class.
    Class(String),
    Group(Group, Vec<Id>),
}

/// What a group of nodes is.
#[derive(Clone, Copy, PartialEq)]
enum Group {
    List,
    Tuple,
    Set,
    /// Keys and values in turn.
    Dict,
    /// A class and a tuple of arguments.
    Call,
}

/// Reads one pickle. Bytes after its end are ignored, as Python does.
pub fn decode(pickle: &[u8], limits: &Limits) -> Result<Value, PickleError> {
    let mut machine = Machine {
        input: pickle,
        at: 0,
        limits,
        nodes: Vec::new(),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: Vec::new(),
        memo_len: 0,
    };
    let mut at = 0;
    machine
        .run(&mut at)
        .and_then(|root| machine.unfold(root))
        .map_err(|kind| PickleError { at, kind })
}

struct Machine<'a> {
    input: &'a [u8],
    at: usize,
    limits: &'a Limits,
    nodes: Vec<Node<'a>>,
    stack: Vec<Id>,
    /// The heights of the stack at which a MARK stands.
    marks: Vec<usize>,
    memo: Vec<Id>,
    /// How many places of the memo are written: the number of the next MEMOIZE.
    memo_len: usize,
}

impl<'a> Machine<'a> {
    /// Runs to STOP and returns what is on top then. `at` is where the present
    /// opcode stands. Each round reads a byte, so the input bounds the rounds.
    fn run(&mut self, at: &mut usize) -> Result<Id, Kind> {
        if self.input.len() > self.limits.bytes {
            return Err(limit("bytes", self.limits.bytes));
        }
        loop {
            *at = self.at;
            match self.byte()? {
                op::STOP => return self.pop(op::STOP),
                op::PROTO => match self.byte()? {
                    0..=5 => {}
                    other => return Err(Kind::Protocol(other)),
                },
                // A hint how much to read at once; all is here already.
                op::FRAME => drop(self.array::<8>()?),
                opcode => self.step(opcode)?,
            }
        }
    }

    fn step(&mut self, opcode: u8) -> Result<(), Kind> {
        match opcode {
            op::MARK => self.marks.push(self.stack.len()),
            op::POP if self.marks.last() == Some(&self.stack.len()) => drop(self.marks.pop()),
            op::POP => drop(self.pop(opcode)?),
            op::POP_MARK => drop(self.above_mark(opcode)?),
            op::DUP => {
                let top = self.top(opcode)?;
                self.stack.push(top);
            }
            op::PUT | op::BINPUT | op::LONG_BINPUT | op::MEMOIZE => self.remember(opcode)?,
            op::GET | op::BINGET | op::LONG_BINGET => self.recall(opcode)?,
            op::EMPTY_LIST
            | op::LIST
            | op::APPEND
            | op::APPENDS
            | op::EMPTY_TUPLE
            | op::TUPLE
            | op::TUPLE1..=op::TUPLE3
            | op::EMPTY_DICT
            | op::DICT
            | op::SETITEM
            | op::SETITEMS
            | op::EMPTY_SET..=op::FROZENSET => self.group_step(opcode)?,
            op::GLOBAL | op::STACK_GLOBAL | op::REDUCE if self.limits.calls => {
                self.class_step(opcode)?;
            }
            _ => {
                let leaf = self.leaf(opcode)?;
                self.push(leaf)?;
            }
        }
        Ok(())
    }

    /// The opcodes of values without parts, and the last stop of unknown ones.
    fn leaf(&mut self, opcode: u8) -> Result<Node<'a>, Kind> {
        Ok(match opcode {
            op::NONE => Node::None,
            op::NEWTRUE => Node::Bool(true),
            op::NEWFALSE => Node::Bool(false),
            op::INT => match self.line()? {
                b"00" => Node::Bool(false),
                b"01" => Node::Bool(true),
                digits => Node::Int(parse(digits)?),
            },
            op::BININT => Node::Int(i32::from_le_bytes(self.array()?).into()),
            op::BININT1 => Node::Int(self.byte()?.into()),
            op::BININT2 => Node::Int(u16::from_le_bytes(self.array()?).into()),
            op::LONG => {
                let digits = self.line()?;
                Node::Int(parse(digits.strip_suffix(b"L").unwrap_or(digits))?)
            }
            op::LONG1 | op::LONG4 => Node::Int(long(self.sized(opcode)?)?),
            op::FLOAT => Node::Float(parse(self.line()?)?),
            op::BINFLOAT => Node::Float(f64::from_be_bytes(self.array()?)),
            op::STRING => Node::Str(unquote(self.line()?)?.into()),
            op::UNICODE => Node::Str(unescape_raw(self.line()?).into()),
            op::BINSTRING
            | op::SHORT_BINSTRING
            | op::BINUNICODE
            | op::SHORT_BINUNICODE
            | op::BINUNICODE8 => Node::Str(String::from_utf8_lossy(self.sized(opcode)?)),
            op::BINBYTES | op::SHORT_BINBYTES | op::BINBYTES8 | op::BYTEARRAY8 => {
                Node::Bytes(self.sized(opcode)?)
            }
            other => return Err(Kind::Opcode(other)),
        })
    }

    /// The opcodes of values with parts.
    fn group_step(&mut self, opcode: u8) -> Result<(), Kind> {
        match opcode {
            op::EMPTY_LIST => self.push_group(Group::List, Vec::new()),
            op::EMPTY_TUPLE => self.push_group(Group::Tuple, Vec::new()),
            op::EMPTY_DICT => self.push_group(Group::Dict, Vec::new()),
            op::EMPTY_SET => self.push_group(Group::Set, Vec::new()),
            op::LIST | op::TUPLE | op::DICT | op::FROZENSET => {
                let group = match opcode {
                    op::LIST => Group::List,
                    op::TUPLE => Group::Tuple,
                    op::DICT => Group::Dict,
                    _ => Group::Set,
                };
                let items = self.above_mark(opcode)?;
                self.push_group(group, items)
            }
            op::TUPLE1..=op::TUPLE3 => {
                let items = self.above(usize::from(opcode - op::TUPLE1) + 1, opcode)?;
                self.push_group(Group::Tuple, items)
            }
            op::APPEND => {
                let items = self.above(1, opcode)?;
                self.extend(Group::List, items, opcode)
            }
            op::SETITEM => {
                let items = self.above(2, opcode)?;
                self.extend(Group::Dict, items, opcode)
            }
            _ => {
                let group = match opcode {
                    op::APPENDS => Group::List,
                    op::SETITEMS => Group::Dict,
                    _ => Group::Set,
                };
                let items = self.above_mark(opcode)?;
                self.extend(group, items, opcode)
            }
        }
    }

    /// Names of classes, and calls of them: noted, never made.
    fn class_step(&mut self, opcode: u8) -> Result<(), Kind> {
        if opcode == op::REDUCE {
            let call = self.above(2, opcode)?;
            let fits = matches!(
                call.as_slice(),
                [class, args] if matches!(self.node(*class), Some(Node::Class(_)))
                    && matches!(self.node(*args), Some(Node::Group(Group::Tuple, _)))
            );
            return match fits {
                true => self.push_group(Group::Call, call),
                false => Err(Kind::Kind(opcode)),
            };
        }
        let (module, name) = if opcode == op::GLOBAL {
            let module = String::from_utf8_lossy(self.line()?);
            (module, String::from_utf8_lossy(self.line()?))
        } else {
            let (name, module) = (self.pop(opcode)?, self.pop(opcode)?);
            match (self.node(module), self.node(name)) {
                (Some(Node::Str(module)), Some(Node::Str(name))) => (module.clone(), name.clone()),
                _ => return Err(Kind::Kind(opcode)),
            }
        };
        if module.len() + name.len() > CLASS_BYTES_MAX {
            return Err(limit("bytes in the name of a class", CLASS_BYTES_MAX));
        }
        self.push(Node::Class(format!("{module}.{name}")))
    }

    fn remember(&mut self, opcode: u8) -> Result<(), Kind> {
        let index = match opcode {
            op::MEMOIZE => self.memo_len as u64,
            op::BINPUT => self.byte()?.into(),
            op::LONG_BINPUT => u32::from_le_bytes(self.array()?).into(),
            _ => parse(self.line()?)?,
        };
        let top = self.top(opcode)?;
        // Python numbers without gaps, so the largest number is the size.
        let index = usize::try_from(index)
            .ok()
            .filter(|&index| index < self.limits.memo)
            .ok_or(limit("remembered values", self.limits.memo))?;
        if index >= self.memo.len() {
            self.memo.resize(index + 1, UNWRITTEN);
        }
        if let Some(place) = self.memo.get_mut(index) {
            self.memo_len += usize::from(*place == UNWRITTEN);
            *place = top;
        }
        Ok(())
    }

    fn recall(&mut self, opcode: u8) -> Result<(), Kind> {
        let index = match opcode {
            op::BINGET => self.byte()?.into(),
            op::LONG_BINGET => u32::from_le_bytes(self.array()?).into(),
            _ => parse(self.line()?)?,
        };
        let found = usize::try_from(index).ok().and_then(|i| self.memo.get(i));
        match found.copied() {
            None | Some(UNWRITTEN) => Err(Kind::Memo(index)),
            Some(id) => {
                self.stack.push(id);
                Ok(())
            }
        }
    }

    // The stack. Nothing below the last MARK can be reached.

    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn top(&self, opcode: u8) -> Result<Id, Kind> {
        let reachable = self.stack.get(self.floor()..).unwrap_or_default();
        reachable.last().copied().ok_or(Kind::Stack(opcode))
    }

    fn pop(&mut self, opcode: u8) -> Result<Id, Kind> {
        let top = self.top(opcode)?;
        self.stack.pop();
        Ok(top)
    }

    /// Takes the topmost `count`.
    fn above(&mut self, count: usize, opcode: u8) -> Result<Vec<Id>, Kind> {
        match self.stack.len().checked_sub(count) {
            Some(height) if height >= self.floor() => Ok(self.stack.split_off(height)),
            _ => Err(Kind::Stack(opcode)),
        }
    }

    /// Takes the last MARK and all above it.
    fn above_mark(&mut self, opcode: u8) -> Result<Vec<Id>, Kind> {
        let mark = self.marks.pop().ok_or(Kind::Stack(opcode))?;
        Ok(self.stack.split_off(mark))
    }

    fn node(&self, id: Id) -> Option<&Node<'a>> {
        self.nodes.get(id as usize)
    }

    fn push(&mut self, node: Node<'a>) -> Result<(), Kind> {
        if self.nodes.len() >= self.limits.values {
            return Err(limit("values", self.limits.values));
        }
        self.stack.push(self.nodes.len() as Id);
        self.nodes.push(node);
        Ok(())
    }

    fn push_group(&mut self, group: Group, items: Vec<Id>) -> Result<(), Kind> {
        if group == Group::Dict && !items.len().is_multiple_of(2) {
            return Err(Kind::Stack(op::DICT));
        }
        self.push(Node::Group(group, items))
    }

    /// Adds to the container on top of the stack.
    fn extend(&mut self, wanted: Group, items: Vec<Id>, opcode: u8) -> Result<(), Kind> {
        let top = self.top(opcode)?;
        match self.nodes.get_mut(top as usize) {
            Some(Node::Group(group, _)) if *group != wanted => Err(Kind::Kind(opcode)),
            Some(Node::Group(Group::Dict, _)) if !items.len().is_multiple_of(2) => {
                Err(Kind::Stack(opcode))
            }
            Some(Node::Group(_, old)) => {
                old.extend(items);
                Ok(())
            }
            _ => Err(Kind::Kind(opcode)),
        }
    }

    // The input. A length is believed only as far as there are bytes.

    fn take(&mut self, count: usize) -> Result<&'a [u8], Kind> {
        let rest = self.input.get(self.at..).unwrap_or_default();
        let taken = rest.get(..count).ok_or(Kind::Truncated)?;
        self.at += count;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, Kind> {
        let [byte] = self.array()?;
        Ok(byte)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Kind> {
        self.take(N)?.try_into().map_err(|_| Kind::Truncated)
    }

    /// What stands before the next newline.
    fn line(&mut self) -> Result<&'a [u8], Kind> {
        let rest = self.input.get(self.at..).unwrap_or_default();
        let len = memchr(b'\n', rest).ok_or(Kind::Truncated)?;
        let line = self.take(len)?;
        self.at += 1;
        Ok(line)
    }

    /// Bytes after their number, which has the size that the opcode says.
    fn sized(&mut self, opcode: u8) -> Result<&'a [u8], Kind> {
        let len = match opcode {
            op::LONG1 | op::SHORT_BINSTRING | op::SHORT_BINUNICODE | op::SHORT_BINBYTES => {
                self.byte()?.into()
            }
            op::BINUNICODE8 | op::BINBYTES8 | op::BYTEARRAY8 => u64::from_le_bytes(self.array()?),
            _ => u32::from_le_bytes(self.array()?).into(),
        };
        self.take(usize::try_from(len).map_err(|_| Kind::Truncated)?)
    }

    /// Writes the tree under `root` out. Each part is counted as often as it
    /// appears, before room is made for it; what contains itself is too deep.
    fn unfold(&self, root: Id) -> Result<Value, Kind> {
        let mut budget = Budget {
            values: self.limits.values,
            bytes: self.limits.bytes,
        };
        let mut open: Vec<Open<'_>> = Vec::new();
        let mut next = root;
        budget.spend_values(1, self.limits)?;
        loop {
            let in_call = open.last().is_some_and(|open| open.group == Group::Call);
            let mut done = match self.node(next).ok_or(Kind::Truncated)? {
                // A class is no value; what is called must be one, see `class_step`.
                Node::Class(_) if !in_call => return Err(Kind::Kind(op::GLOBAL)),
                Node::Group(group, items) => {
                    if open.len() >= self.limits.depth {
                        return Err(limit("values inside each other", self.limits.depth));
                    }
                    budget.spend_values(items.len(), self.limits)?;
                    open.push(Open {
                        group: *group,
                        rest: items.iter(),
                        parts: Vec::with_capacity(items.len()),
                    });
                    None
                }
                leaf => Some(self.leaf_value(leaf, &mut budget)?),
            };
            next = loop {
                let Some(innermost) = open.last_mut() else {
                    return done.ok_or(Kind::Truncated);
                };
                innermost.parts.extend(done.take());
                match innermost.rest.next() {
                    Some(&id) => break id,
                    None => done = open.pop().and_then(Open::close),
                }
            };
        }
    }

    fn leaf_value(&self, leaf: &Node<'a>, budget: &mut Budget) -> Result<Value, Kind> {
        Ok(match leaf {
            Node::None | Node::Group(..) => Value::None,
            Node::Bool(truth) => Value::Bool(*truth),
            Node::Int(number) => Value::Int(*number),
            Node::Float(number) => Value::Float(*number),
            Node::Str(text) => {
                budget.spend_bytes(text.len(), self.limits)?;
                Value::Str(text.clone().into_owned())
            }
            Node::Class(name) => {
                budget.spend_bytes(name.len(), self.limits)?;
                Value::Call {
                    class: name.clone(),
                    args: Vec::new(),
                }
            }
            Node::Bytes(bytes) => {
                budget.spend_bytes(bytes.len(), self.limits)?;
                Value::Bytes(bytes.to_vec())
            }
        })
    }
}

/// The name of a class is a path in a program, and it is copied.
const CLASS_BYTES_MAX: usize = 256;

/// What may still be written out.
struct Budget {
    values: usize,
    bytes: usize,
}

impl Budget {
    fn spend_values(&mut self, count: usize, limits: &Limits) -> Result<(), Kind> {
        let rest = self.values.checked_sub(count);
        self.values = rest.ok_or(limit("values", limits.values))?;
        Ok(())
    }

    fn spend_bytes(&mut self, count: usize, limits: &Limits) -> Result<(), Kind> {
        let rest = self.bytes.checked_sub(count);
        self.bytes = rest.ok_or(limit("bytes of text", limits.bytes))?;
        Ok(())
    }
}

/// A group that is being written out.
struct Open<'n> {
    group: Group,
    rest: slice::Iter<'n, Id>,
    parts: Vec<Value>,
}

impl Open<'_> {
    /// The value, now that all parts are there.
    fn close(self) -> Option<Value> {
        let mut parts = self.parts;
        Some(match self.group {
            Group::List => Value::List(parts),
            Group::Tuple => Value::Tuple(parts),
            Group::Set => Value::Set(parts),
            Group::Dict => {
                let mut pairs = Vec::with_capacity(parts.len() / 2);
                let mut parts = parts.into_iter();
                while let (Some(key), Some(value)) = (parts.next(), parts.next()) {
                    pairs.push((key, value));
                }
                Value::Dict(pairs)
            }
            Group::Call => match (parts.pop()?, parts.pop()?) {
                (Value::Tuple(args), Value::Call { class, .. }) => Value::Call { class, args },
                _ => return None,
            },
        })
    }
}

fn limit(what: &'static str, max: usize) -> Kind {
    Kind::Limit { what, max }
}
