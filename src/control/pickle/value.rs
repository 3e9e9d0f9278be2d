//! A value of Python's plain data, and how Python would print it.

use std::fmt::{self, Write};

/// A value of Python's plain data.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `None`.
    None,
    /// `True` or `False`.
    Bool(bool),
    /// A whole number; Python's may be longer, those are refused.
    Int(i64),
    /// A number with a fraction.
    Float(f64),
    /// A text. Where the bytes were not UTF-8, U+FFFD stands.
    Str(String),
    /// Bytes (`bytes`, `bytearray`).
    Bytes(Vec<u8>),
    /// A list.
    List(Vec<Value>),
    /// A tuple.
    Tuple(Vec<Value>),
    /// A dictionary in the order written; a later pair overrules an earlier one.
    Dict(Vec<(Value, Value)>),
    /// A set, in the order written.
    Set(Vec<Value>),
    /// A class called with these arguments. It is data: nobody makes the call here.
    Call {
        /// Module and name of the class, joined by a dot.
        class: String,
        /// What it is called with.
        args: Vec<Value>,
    },
}

impl Value {
    /// Can it stand for a word of a command: is it no container?
    pub(crate) fn is_word(&self) -> bool {
        !matches!(
            self,
            Value::List(_) | Value::Tuple(_) | Value::Dict(_) | Value::Set(_) | Value::Call { .. }
        )
    }

    /// As a word of a command: a text as it is, bytes as text, and anything else
    /// as Python prints it.
    pub(crate) fn into_word(self) -> String {
        match self {
            Value::Str(text) => text,
            Value::Bytes(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            other => other.to_string(),
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Value::Str(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Value::Str(text)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Value::Int(number)
    }
}

impl From<bool> for Value {
    fn from(truth: bool) -> Self {
        Value::Bool(truth)
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Value::Float(number)
    }
}

impl<V: Into<Value>> From<Vec<V>> for Value {
    fn from(items: Vec<V>) -> Self {
        Value::List(items.into_iter().map(V::into).collect())
    }
}

/// As Python's `print` shows it: a text bare, and texts inside containers quoted.
/// fail2ban-client prints replies that way, so scripts read it.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Str(text) => f.write_str(text),
            other => repr(other, f),
        }
    }
}

/// Writes what Python's `repr` gives. It recurses; decoded values are at most
/// `Limits::depth` deep, and ours are flat.
fn repr(value: &Value, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match value {
        Value::None => f.write_str("None"),
        Value::Bool(true) => f.write_str("True"),
        Value::Bool(false) => f.write_str("False"),
        Value::Int(number) => write!(f, "{number}"),
        Value::Float(number) => repr_float(*number, f),
        Value::Str(text) => repr_text(text, f),
        Value::Bytes(bytes) => repr_bytes(bytes, f),
        Value::List(items) => repr_all("[", items, "]", f),
        Value::Tuple(items) if items.len() == 1 => repr_all("(", items, ",)", f),
        Value::Tuple(items) => repr_all("(", items, ")", f),
        Value::Set(items) if items.is_empty() => f.write_str("set()"),
        Value::Set(items) => repr_all("{", items, "}", f),
        Value::Dict(pairs) => {
            f.write_str("{")?;
            for (index, (key, value)) in pairs.iter().enumerate() {
                f.write_str(if index == 0 { "" } else { ", " })?;
                repr(key, f)?;
                f.write_str(": ")?;
                repr(value, f)?;
            }
            f.write_str("}")
        }
        Value::Call { class, args } => {
            let name = class.rsplit('.').next().unwrap_or(class);
            f.write_str(name)?;
            repr_all("(", args, ")", f)
        }
    }
}

fn repr_all(open: &str, items: &[Value], close: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str(open)?;
    for (index, item) in items.iter().enumerate() {
        f.write_str(if index == 0 { "" } else { ", " })?;
        repr(item, f)?;
    }
    f.write_str(close)
}

/// Rust and Python agree on the digits and on when an exponent is due; Python
/// writes the exponent with its sign and two digits.
fn repr_float(number: f64, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    if number.is_nan() {
        return f.write_str("nan");
    }
    let text = format!("{number:?}");
    match text.split_once('e') {
        None => f.write_str(&text),
        Some((digits, exponent)) => {
            let (sign, exponent) = match exponent.strip_prefix('-') {
                Some(rest) => ('-', rest),
                None => ('+', exponent),
            };
            write!(f, "{digits}e{sign}{exponent:0>2}")
        }
    }
}

/// The quote that Python chooses: `'`, unless only that one occurs.
fn quote_for(bytes: &[u8]) -> char {
    if bytes.contains(&b'\'') && !bytes.contains(&b'"') {
        '"'
    } else {
        '\''
    }
}

fn repr_text(text: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let quote = quote_for(text.as_bytes());
    f.write_char(quote)?;
    for c in text.chars() {
        match c {
            '\n' => f.write_str("\\n")?,
            '\r' => f.write_str("\\r")?,
            '\t' => f.write_str("\\t")?,
            '\\' => f.write_str("\\\\")?,
            c if c == quote => write!(f, "\\{c}")?,
            c if is_unprintable(c) => match u32::from(c) {
                code @ ..=0xff => write!(f, "\\x{code:02x}")?,
                code @ ..=0xffff => write!(f, "\\u{code:04x}")?,
                code => write!(f, "\\U{code:08x}")?,
            },
            c => f.write_char(c)?,
        }
    }
    f.write_char(quote)
}

/// What a terminal would not show, or would act upon: control characters,
/// spaces other than the plain one, marks of direction. Python knows some more
/// (unassigned code points), for which we keep no table.
fn is_unprintable(c: char) -> bool {
    c.is_control()
        || (c.is_whitespace() && c != ' ')
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{feff}')
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
        || matches!(c, '\u{e000}'..='\u{f8ff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

fn repr_bytes(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let quote = quote_for(bytes);
    write!(f, "b{quote}")?;
    for &byte in bytes {
        match byte {
            b'\n' => f.write_str("\\n")?,
            b'\r' => f.write_str("\\r")?,
            b'\t' => f.write_str("\\t")?,
            b'\\' => f.write_str("\\\\")?,
            byte if char::from(byte) == quote => write!(f, "\\{quote}")?,
            b' '..=b'~' => f.write_char(char::from(byte))?,
            byte => write!(f, "\\x{byte:02x}")?,
        }
    }
    f.write_char(quote)
}
