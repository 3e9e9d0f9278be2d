//! Why a request brought nothing.
//!
//! The sentences name no URL and no key. What a stranger's server sent is shown
//! only as a number, a host name or a certificate's fault, and cut short.

use std::fmt;

/// The longest foreign text in one of our sentences.
const SHOWN_CHARS_MAX: usize = 160;

/// Why a request brought nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// The client could not be made: an unreadable CA file, no root certificates.
    #[error("cannot speak HTTPS: {0}")]
    Client(Shown),
    /// The host's name has no address.
    #[error("the name does not resolve: {0}")]
    Name(Shown),
    /// Nobody answers, or the TLS handshake failed.
    #[error("cannot connect: {0}")]
    Connect(Shown),
    /// The certificate is not one we may trust; there is no way to skip this.
    #[error("its certificate is not valid: {0}; a private authority's goes into `ca_file`")]
    Certificate(Shown),
    /// Not done in the time that one request may take.
    #[error("no answer within {0} s")]
    Slow(u64),
    /// More bytes than an answer may have.
    #[error("the answer is larger than {0} bytes")]
    Huge(usize),
    /// The connection ended inside the answer.
    #[error("the answer broke off, or does not say where it ends")]
    Truncated,
    /// The answer is compressed, though we did not offer to read that.
    #[error("the answer is compressed, which we did not ask for")]
    Compressed,
    /// We are sent elsewhere, and do not go: the key is for this host only.
    #[error("a redirect to {0}, which is not followed")]
    Redirect(Shown),
    /// A status that says no more than that something is wrong.
    #[error("status {0}")]
    Status(u16),
    /// A body that is not an answer.
    #[error("an answer without sense: {0}")]
    Malformed(&'static str),
    /// The entries arrived, and the firewall did not take them.
    #[error("the firewall did not take the page")]
    NotLoaded,
}

/// Foreign text that can be shown: one line, printable, cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown(Box<str>);

impl Shown {
    /// Makes any text fit to be shown.
    pub fn new(text: impl fmt::Display) -> Self {
        let printable = |letter: char| if letter.is_control() { ' ' } else { letter };
        let text = text.to_string();
        Shown(text.chars().map(printable).take(SHOWN_CHARS_MAX).collect())
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
