//! Python's pickle, as far as it is plain data.
//!
//! A pickle is a program for a small stack machine, and most of its danger is
//! in the opcodes that name classes and call them. [`decode`] knows the opcodes
//! that build plain data, of protocols 0 to 5; any other is an error. [`encode`]
//! writes what fail2ban's own replies consist of (opcodes of protocol 4), so
//! every client has met them.
//!
//! What always holds: both are loops with a stack of their own, so no nesting
//! exhausts the thread's; work and memory stay within [`Limits`], also when a
//! small pickle stands for a huge value (lists that contain a list twice, again
//! and again). Absent: running anything. A class call is data here
//! ([`Value::Call`]), accepted in replies only, for the exceptions in them.

mod decode;
mod encode;
mod text;
mod value;

pub use decode::decode;
pub use encode::encode;
pub use value::Value;

/// How much one pickle may ask of us.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of the pickle, and bytes of all texts of the value together.
    pub bytes: usize,
    /// How many values may contain each other: a list in a list is 2 deep.
    pub depth: usize,
    /// How many values the whole may consist of, each counted as often as it appears.
    pub values: usize,
    /// How many values may be remembered for later mention.
    pub memo: usize,
    /// Are class calls accepted (as data)?
    pub calls: bool,
}

impl Limits {
    /// For what clients send us.
    ///
    /// The longest honest request is a `server-stream` of a whole configuration
    /// (some hundred kB) or a `banip` of 20,000 addresses (400 kB): 1 MiB holds
    /// them. An address takes 8 bytes at least, hence the number of values; a
    /// stream is 4 deep. All are remembered, since Python remembers each text.
    pub const REQUEST: Limits = Limits {
        bytes: 1 << 20,
        depth: 64,
        values: 1 << 17,
        memo: 1 << 17,
        calls: false,
    };

    /// For what the daemon answers: a million banned addresses with room to
    /// spare. The daemon is trusted not to attack its operator, not to be free
    /// of mistakes.
    pub const REPLY: Limits = Limits {
        bytes: 1 << 28,
        depth: 64,
        values: 1 << 23,
        memo: 1 << 23,
        calls: true,
    };
}

/// Why bytes are not a pickle that we take.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("byte {at} of the pickle: {kind}")]
pub struct PickleError {
    /// Where, counted from 0.
    pub at: usize,
    /// What is wrong there.
    pub kind: PickleErrorKind,
}

/// What can be wrong in a pickle.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PickleErrorKind {
    /// It ends in the middle of something.
    #[error("it ends too early")]
    Truncated,
    /// A protocol that was not known when this was written.
    #[error("protocol {0} is not known; 0 to 5 are")]
    Protocol(u8),
    /// An opcode that is unknown, or that would run code.
    #[error("opcode 0x{0:02x} is not plain data; send lists, texts and numbers")]
    Opcode(u8),
    /// An opcode took more from the stack than there was.
    #[error("opcode 0x{0:02x} finds too little on the stack")]
    Stack(u8),
    /// An opcode found a value of the wrong kind.
    #[error("opcode 0x{0:02x} does not fit the value on the stack")]
    Kind(u8),
    /// A value is mentioned that was never remembered.
    #[error("number {0} was never remembered")]
    Memo(u64),
    /// A number that cannot be read.
    #[error("not a number of at most 64 bits")]
    Number,
    /// A quoted text that cannot be read.
    #[error("not a quoted text")]
    Text,
    /// A limit was passed.
    #[error("more than {max} {what}")]
    Limit {
        /// Of what there was too much.
        what: &'static str,
        /// The limit.
        max: usize,
    },
}

/// The opcodes, under the names that Python's `pickletools` gives them.
mod op {
    pub(super) const MARK: u8 = b'(';
    pub(super) const STOP: u8 = b'.';
    pub(super) const POP: u8 = b'0';
    pub(super) const POP_MARK: u8 = b'1';
    pub(super) const DUP: u8 = b'2';
    pub(super) const PROTO: u8 = 0x80;
    pub(super) const FRAME: u8 = 0x95;

    pub(super) const NONE: u8 = b'N';
    pub(super) const NEWTRUE: u8 = 0x88;
    pub(super) const NEWFALSE: u8 = 0x89;
    pub(super) const INT: u8 = b'I';
    pub(super) const BININT: u8 = b'J';
    pub(super) const BININT1: u8 = b'K';
    pub(super) const BININT2: u8 = b'M';
    pub(super) const LONG: u8 = b'L';
    pub(super) const LONG1: u8 = 0x8a;
    pub(super) const LONG4: u8 = 0x8b;
    pub(super) const FLOAT: u8 = b'F';
    pub(super) const BINFLOAT: u8 = b'G';

    pub(super) const STRING: u8 = b'S';
    pub(super) const BINSTRING: u8 = b'T';
    pub(super) const SHORT_BINSTRING: u8 = b'U';
    pub(super) const UNICODE: u8 = b'V';
    pub(super) const BINUNICODE: u8 = b'X';
    pub(super) const SHORT_BINUNICODE: u8 = 0x8c;
    pub(super) const BINUNICODE8: u8 = 0x8d;
    pub(super) const BINBYTES: u8 = b'B';
    pub(super) const SHORT_BINBYTES: u8 = b'C';
    pub(super) const BINBYTES8: u8 = 0x8e;
    pub(super) const BYTEARRAY8: u8 = 0x96;

    pub(super) const EMPTY_LIST: u8 = b']';
    pub(super) const LIST: u8 = b'l';
    pub(super) const APPEND: u8 = b'a';
    pub(super) const APPENDS: u8 = b'e';
    pub(super) const EMPTY_TUPLE: u8 = b')';
    pub(super) const TUPLE: u8 = b't';
    pub(super) const TUPLE1: u8 = 0x85;
    pub(super) const TUPLE2: u8 = 0x86;
    pub(super) const TUPLE3: u8 = 0x87;
    pub(super) const EMPTY_DICT: u8 = b'}';
    pub(super) const DICT: u8 = b'd';
    pub(super) const SETITEM: u8 = b's';
    pub(super) const SETITEMS: u8 = b'u';
    pub(super) const EMPTY_SET: u8 = 0x8f;
    pub(super) const ADDITEMS: u8 = 0x90;
    pub(super) const FROZENSET: u8 = 0x91;

    pub(super) const PUT: u8 = b'p';
    pub(super) const BINPUT: u8 = b'q';
    pub(super) const LONG_BINPUT: u8 = b'r';
    pub(super) const MEMOIZE: u8 = 0x94;
    pub(super) const GET: u8 = b'g';
    pub(super) const BINGET: u8 = b'h';
    pub(super) const LONG_BINGET: u8 = b'j';

    // Read in replies only, and never acted upon.
    pub(super) const GLOBAL: u8 = b'c';
    pub(super) const STACK_GLOBAL: u8 = 0x93;
    pub(super) const REDUCE: u8 = b'R';
}

#[cfg(test)]
mod tests;
