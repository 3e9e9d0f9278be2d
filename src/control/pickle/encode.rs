//! Writes a value as a pickle.
//!
//! The opcodes are those of protocol 4 that fail2ban's own replies consist of,
//! without the memo and without frames: Python and every known client of
//! fail2ban load them.

use std::slice;

use memchr::memmem;

use super::{Value, op};

/// Texts with this in them are written in escaped form.
///
/// A message ends at `<F2B_END_COMMAND>`, wherever that stands, so a log line
/// with this text in it would cut the reply short and let its writer forge the
/// next one. Part of the marker is enough to look for, since an opcode's length
/// byte can be the `<` before it (in a text of 60 bytes, it is).
const MARKER_PART: &[u8] = b"END_COMMAND>";

/// What is still to be written, the next on top.
enum Step<'a> {
    One(&'a Value),
    All(slice::Iter<'a, Value>),
    Pairs(slice::Iter<'a, (Value, Value)>),
    Opcode(u8),
}

/// Writes `value` as a pickle that Python loads.
pub fn encode(value: &Value) -> Vec<u8> {
    let mut out = vec![op::PROTO, 4];
    let mut steps = vec![Step::Opcode(op::STOP), Step::One(value)];
    while let Some(step) = steps.pop() {
        match step {
            Step::One(value) => put(value, &mut out, &mut steps),
            Step::All(mut items) => {
                if let Some(item) = items.next() {
                    steps.push(Step::All(items));
                    put(item, &mut out, &mut steps);
                }
            }
            Step::Pairs(mut pairs) => {
                if let Some((key, value)) = pairs.next() {
                    steps.push(Step::Pairs(pairs));
                    steps.push(Step::One(value));
                    put(key, &mut out, &mut steps);
                }
            }
            Step::Opcode(opcode) => out.push(opcode),
        }
    }
    out
}

/// Writes a leaf, or the opening of a container and notes what must follow.
fn put<'a>(value: &'a Value, out: &mut Vec<u8>, steps: &mut Vec<Step<'a>>) {
    match value {
        Value::None => out.push(op::NONE),
        Value::Bool(true) => out.push(op::NEWTRUE),
        Value::Bool(false) => out.push(op::NEWFALSE),
        Value::Int(number) => put_int(*number, out),
        Value::Float(number) => {
            out.push(op::BINFLOAT);
            out.extend(number.to_be_bytes());
        }
        Value::Str(text) => put_text(text, out),
        Value::Bytes(bytes) => {
            let opcodes = [op::SHORT_BINBYTES, op::BINBYTES, op::BINBYTES8];
            put_sized(opcodes, bytes, out);
        }
        Value::List(items) => fill(op::EMPTY_LIST, op::APPENDS, items, out, steps),
        Value::Set(items) => fill(op::EMPTY_SET, op::ADDITEMS, items, out, steps),
        Value::Tuple(items) => put_tuple(items, out, steps),
        Value::Dict(pairs) => {
            out.push(op::EMPTY_DICT);
            if !pairs.is_empty() {
                out.push(op::MARK);
                steps.push(Step::Opcode(op::SETITEMS));
                steps.push(Step::Pairs(pairs.iter()));
            }
        }
        Value::Call { class, args } => {
            let (module, name) = class.rsplit_once('.').unwrap_or(("builtins", class));
            put_text(module, out);
            put_text(name, out);
            out.push(op::STACK_GLOBAL);
            steps.push(Step::Opcode(op::REDUCE));
            put_tuple(args, out, steps);
        }
    }
}

fn fill<'a>(empty: u8, add: u8, items: &'a [Value], out: &mut Vec<u8>, steps: &mut Vec<Step<'a>>) {
    out.push(empty);
    if !items.is_empty() {
        out.push(op::MARK);
        steps.push(Step::Opcode(add));
        steps.push(Step::All(items.iter()));
    }
}

fn put_tuple<'a>(items: &'a [Value], out: &mut Vec<u8>, steps: &mut Vec<Step<'a>>) {
    let close = match items.len() {
        0 => return out.push(op::EMPTY_TUPLE),
        1 => op::TUPLE1,
        2 => op::TUPLE2,
        3 => op::TUPLE3,
        _ => {
            out.push(op::MARK);
            op::TUPLE
        }
    };
    steps.push(Step::Opcode(close));
    steps.push(Step::All(items.iter()));
}

fn put_int(number: i64, out: &mut Vec<u8>) {
    if let Ok(byte) = u8::try_from(number) {
        out.extend([op::BININT1, byte]);
    } else if let Ok(short) = u16::try_from(number) {
        out.push(op::BININT2);
        out.extend(short.to_le_bytes());
    } else if let Ok(int) = i32::try_from(number) {
        out.push(op::BININT);
        out.extend(int.to_le_bytes());
    } else {
        out.extend([op::LONG1, 8]);
        out.extend(number.to_le_bytes());
    }
}

fn put_text(text: &str, out: &mut Vec<u8>) {
    if memmem::find(text.as_bytes(), MARKER_PART).is_some() {
        return put_escaped(text, out);
    }
    let opcodes = [op::SHORT_BINUNICODE, op::BINUNICODE, op::BINUNICODE8];
    put_sized(opcodes, text.as_bytes(), out);
}

/// Writes bytes after an opcode and their number, in 1, 4 or 8 bytes as need be.
fn put_sized([short, medium, long]: [u8; 3], bytes: &[u8], out: &mut Vec<u8>) {
    if let Ok(len) = u8::try_from(bytes.len()) {
        out.extend([short, len]);
    } else if let Ok(len) = u32::try_from(bytes.len()) {
        out.push(medium);
        out.extend(len.to_le_bytes());
    } else {
        out.push(long);
        out.extend((bytes.len() as u64).to_le_bytes());
    }
    out.extend(bytes);
}

/// Writes a text in protocol 0's form, a line in which anything but letters,
/// digits, blanks and underscores is escaped.
fn put_escaped(text: &str, out: &mut Vec<u8>) {
    out.push(op::UNICODE);
    for c in text.chars() {
        match u32::from(c) {
            _ if c.is_ascii_alphanumeric() || c == ' ' || c == '_' => out.push(c as u8),
            code @ ..=0xffff => out.extend(format!("\\u{code:04x}").bytes()),
            code => out.extend(format!("\\U{code:08x}").bytes()),
        }
    }
    out.push(b'\n');
}
