//! What the feed is told by the configuration.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use reqwest::Url;
use serde::Deserialize;

use super::key::{Key, NoKey};
use super::limiter::{RATE_LIMIT_MAX, RATE_LIMIT_MIN};
use crate::addr::is_global;

/// The service itself.
const BASE_URL: &str = "https://apiban.org/";
/// How often the list is asked for, unless configured.
const POLL: Duration = Duration::from_secs(300);
/// The shortest time between two polls.
pub const POLL_MIN: Duration = Duration::from_secs(60);
/// Requests in 2 minutes. The service allows 11; one is left for the network's jitter.
const RATE_LIMIT: u32 = 10;
/// Entries of the list in force, unless configured. The list has a few thousand.
const ENTRIES_MAX: u32 = 200_000;

/// What the feed needs to know. `Default` is the service itself, without a key.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where the service is.
    pub base_url: BaseUrl,
    /// Which of its lists.
    pub set: ListName,
    /// The key, or why there is none; without one the feed is off.
    pub key: Result<Key, NoKey>,
    /// Ask about single addresses? If not, only the list is loaded.
    pub check: bool,
    /// How often the list is asked for; at least [`POLL_MIN`].
    pub poll: Duration,
    /// Requests in any 2 minutes, clamped to 2..=1000.
    pub rate_limit: u32,
    /// Certificates (PEM) that are trusted besides the system's.
    pub ca_file: Option<PathBuf>,
    /// How long an entry stays, instead of seven days from its listing; seven days at most.
    pub entry_ttl: Option<Duration>,
    /// How many entries may be in force at once.
    pub max_entries: u32,
    /// Read the whole list again once a day?
    pub reconcile: bool,
    /// Exceptions for laboratories.
    pub laboratory: Laboratory,
}

/// What only a laboratory may do. All of it is off by default, and wrong on a
/// real server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Laboratory {
    /// Documentation, private and other reserved addresses pass as entries.
    pub accept_reserved: bool,
    /// `http://` is accepted for hosts that are a loopback or private address.
    pub insecure_http: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            base_url: BaseUrl::apiban(),
            set: ListName::Sip,
            key: Err(NoKey::NotConfigured),
            check: true,
            poll: POLL,
            rate_limit: RATE_LIMIT,
            ca_file: None,
            entry_ttl: None,
            max_entries: ENTRIES_MAX,
            reconcile: true,
            laboratory: Laboratory::default(),
        }
    }
}

impl Settings {
    /// The same with every number within its limits.
    pub fn clamped(mut self) -> Self {
        self.poll = self.poll.max(POLL_MIN);
        self.rate_limit = self.rate_limit.clamp(RATE_LIMIT_MIN, RATE_LIMIT_MAX);
        self
    }
}

/// A list of APIBAN's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ListName {
    /// Attackers of phone servers.
    Sip,
    /// Attackers of web servers.
    Http,
    /// Both.
    All,
}

impl fmt::Display for ListName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ListName::Sip => "sip",
            ListName::Http => "http",
            ListName::All => "all",
        })
    }
}

/// Where the service is: `https://`, a host, perhaps a port and a path; it ends in `/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseUrl(Url);

/// A text that cannot be the service's URL. It does not repeat the text, in
/// which somebody may have written a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BaseUrlError {
    /// Not a URL.
    #[error("base_url is not a URL; write `https://apiban.org/`")]
    NotAUrl,
    /// Not `https`.
    #[error("base_url must begin with `https://`: the key must not travel in the clear")]
    NotHttps,
    /// A user name or a password, a query or a fragment.
    #[error("base_url may have a host, a port and a path, and nothing else")]
    TooMuch,
}

impl BaseUrl {
    /// APIBAN itself.
    pub fn apiban() -> Self {
        BASE_URL.parse().expect("BASE_URL is a URL")
    }

    /// Reads a URL; in a laboratory `http://` to a private or loopback address will do.
    pub fn parse(text: &str, laboratory: Laboratory) -> Result<Self, BaseUrlError> {
        let mut url = Url::parse(text).map_err(|_| BaseUrlError::NotAUrl)?;
        let host = url.host_str().ok_or(BaseUrlError::NotAUrl)?;
        let plain = laboratory.insecure_http && url.scheme() == "http" && is_near(host);
        if url.scheme() != "https" && !plain {
            return Err(BaseUrlError::NotHttps);
        }
        if !url.username().is_empty()
            || url.password().is_some()
            || url.query().is_some()
            || url.fragment().is_some()
        {
            return Err(BaseUrlError::TooMuch);
        }
        if !url.path().ends_with('/') {
            let path = format!("{}/", url.path());
            url.set_path(&path);
        }
        Ok(BaseUrl(url))
    }

    /// The host, for messages.
    pub fn host(&self) -> &str {
        self.0.host_str().unwrap_or_default()
    }

    /// The host, if it is an address and not a name.
    pub fn ip(&self) -> Option<IpAddr> {
        unbracketed(self.host()).parse().ok()
    }

    /// Does it begin with `https`?
    pub(super) fn is_https(&self) -> bool {
        self.0.scheme() == "https"
    }

    /// The URL of something below it.
    pub(super) fn join(&self, path: &str) -> Url {
        // A relative path of ours always joins; if not, the base answers for itself.
        self.0.join(path).unwrap_or_else(|_| self.0.clone())
    }
}

impl FromStr for BaseUrl {
    type Err = BaseUrlError;

    /// Reads an `https` URL.
    fn from_str(text: &str) -> Result<Self, BaseUrlError> {
        BaseUrl::parse(text, Laboratory::default())
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

fn unbracketed(host: &str) -> &str {
    host.trim_start_matches('[').trim_end_matches(']')
}

fn is_near(host: &str) -> bool {
    host == "localhost"
        || unbracketed(host)
            .parse()
            .is_ok_and(|ip: IpAddr| !is_global(ip))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_a_base_url() {
        use BaseUrlError::*;
        const STRICT: bool = false;
        const LABORATORY: bool = true;
        for (text, insecure_http, wanted) in [
            (BASE_URL, STRICT, Ok("https://apiban.org/")),
            ("https://apiban.org", STRICT, Ok("https://apiban.org/")),
            (
                "https://a.example:8443/x",
                STRICT,
                Ok("https://a.example:8443/x/"),
            ),
            (
                "https://[2001:db8::1]/",
                STRICT,
                Ok("https://[2001:db8::1]/"),
            ),
            ("http://apiban.org/", STRICT, Err(NotHttps)),
            ("http://apiban.org/", LABORATORY, Err(NotHttps)),
            ("http://8.8.8.8/", LABORATORY, Err(NotHttps)),
            ("http://127.0.0.1:8080/", STRICT, Err(NotHttps)),
            (
                "http://127.0.0.1:8080/",
                LABORATORY,
                Ok("http://127.0.0.1:8080/"),
            ),
            ("http://[::1]:8080/", LABORATORY, Ok("http://[::1]:8080/")),
            ("http://10.0.0.1/", LABORATORY, Ok("http://10.0.0.1/")),
            ("ftp://10.0.0.1/", LABORATORY, Err(NotHttps)),
            ("file:///etc/passwd", STRICT, Err(NotAUrl)),
            ("apiban.org", STRICT, Err(NotAUrl)),
            ("", STRICT, Err(NotAUrl)),
            ("https://user:word@apiban.org/", STRICT, Err(TooMuch)),
            ("https://apiban.org/?a=b", STRICT, Err(TooMuch)),
            ("https://apiban.org/#a", STRICT, Err(TooMuch)),
        ] {
            let laboratory = Laboratory {
                insecure_http,
                accept_reserved: false,
            };
            let found = BaseUrl::parse(text, laboratory).map(|url| url.to_string());
            assert_eq!(found, wanted.map(str::to_owned), "{text}");
        }
        assert_eq!(
            BaseUrl::apiban().join("api/get").as_str(),
            "https://apiban.org/api/get"
        );
        assert_eq!(
            "https://[2001:db8::1]/".parse::<BaseUrl>().unwrap().ip(),
            Some("2001:db8::1".parse().unwrap())
        );
    }

    #[test]
    fn lists_have_names() {
        for word in ["sip", "http", "all"] {
            let list: ListName = serde_json::from_value(word.into()).unwrap();
            assert_eq!(list.to_string(), word);
        }
    }
}
