//! The socket an operator's command speaks to, in fail2ban's own protocol.
//!
//! A [`Request`] is a list of words (`status`, `sshd`), a [`Reply`] is a value
//! or an exception; both travel as Python pickles that end in a marker, so that
//! fail2ban's own client and its many cousins speak to us unchanged. Verbs that
//! fail2ban has no word for travel inside: two words, [`NATIVE_WORD`] and one
//! JSON text; the reply is one JSON text.
//!
//! What always holds: nothing that a client sends is executed, nothing that it
//! sends or leaves unread costs more than a named constant, and no text in a
//! reply (log lines hold what attackers wrote) can end the reply early.
//! Absent: what the verbs mean (the daemon knows) and who may speak (the mode
//! of the socket's file says so).

pub mod client;
pub mod frame;
mod listener;
pub mod pickle;
pub mod server;

use serde::Serialize;
use serde::de::DeserializeOwned;

use pickle::Value;

pub use client::{Client, ClientError};
pub use listener::{BindError, Listener, bind};
pub use server::serve;

/// The first of the two words in which a verb of ours travels.
pub const NATIVE_WORD: &str = "ringfence";

/// What a client asks for. There is always at least one word.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// The words up to the first thing that is none; numbers and truth values
    /// are written as Python writes them (`600`, `1.5`, `True`).
    pub words: Vec<String>,
    /// What follows the words: lists and dictionaries (with words between
    /// them). Only fail2ban's `server-stream` and `reload` have any.
    pub rest: Vec<Value>,
}

impl Request {
    /// Reads a decoded message; `None` if it is not a list that starts with a word.
    pub fn from_value(value: Value) -> Option<Request> {
        let (Value::List(mut items) | Value::Tuple(mut items)) = value else {
            return None;
        };
        let words = items.iter().take_while(|item| item.is_word()).count();
        let rest = items.split_off(words);
        let words: Vec<String> = items.into_iter().map(Value::into_word).collect();
        (!words.is_empty()).then_some(Request { words, rest })
    }

    /// The verb of ours that this is, read from its JSON; `None` if it is one of
    /// fail2ban's. The daemon chooses `V`, usually an enum.
    pub fn native<V: DeserializeOwned>(&self) -> Option<Result<V, serde_json::Error>> {
        let (first, json) = self.words.split_first()?;
        let json = json.first().map_or("", String::as_str);
        (first == NATIVE_WORD).then(|| serde_json::from_str(json))
    }
}

/// What a client is told.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// It was done; fail2ban's `(0, value)`.
    Ok(Value),
    /// It was not; fail2ban's `(1, exception)`.
    Error {
        /// Which exception Python's client sees.
        class: ErrorClass,
        /// What it says, for the operator.
        text: String,
    },
}

impl Reply {
    /// A failure that no narrower class fits.
    pub fn error(text: impl Into<String>) -> Reply {
        Reply::Error {
            class: ErrorClass::Exception,
            text: text.into(),
        }
    }

    /// The answer to a verb of ours, as one JSON text.
    pub fn native<R: Serialize>(answer: &R) -> Reply {
        match serde_json::to_string(answer) {
            Ok(json) => Reply::Ok(Value::Str(json)),
            Err(error) => Reply::error(format!("the answer cannot be written as JSON: {error}")),
        }
    }

    /// As it goes over the wire: the pair of 0 or 1 and what there is to say.
    pub fn into_value(self) -> Value {
        Value::Tuple(match self {
            Reply::Ok(value) => vec![Value::Int(0), value],
            Reply::Error { class, text } => {
                let class = class.path().to_owned();
                let args = vec![Value::Str(text)];
                vec![Value::Int(1), Value::Call { class, args }]
            }
        })
    }
}

/// The exceptions that we send. Python's client must be able to import each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorClass {
    /// Anything; `Invalid command` among them.
    Exception,
    /// A value that is out of place.
    ValueError,
    /// A name that nothing has.
    KeyError,
    /// Too few words.
    IndexError,
    /// A word of the wrong kind.
    TypeError,
    /// There is no jail of that name. The text is the name.
    UnknownJail,
    /// There is a jail of that name already. The text is the name.
    DuplicateJail,
}

impl ErrorClass {
    /// Module and name, joined by a dot.
    pub fn path(self) -> &'static str {
        match self {
            ErrorClass::Exception => "builtins.Exception",
            ErrorClass::ValueError => "builtins.ValueError",
            ErrorClass::KeyError => "builtins.KeyError",
            ErrorClass::IndexError => "builtins.IndexError",
            ErrorClass::TypeError => "builtins.TypeError",
            ErrorClass::UnknownJail => "fail2ban.exceptions.UnknownJailException",
            ErrorClass::DuplicateJail => "fail2ban.exceptions.DuplicateJailException",
        }
    }
}
