//! Who is never banned, and why: this machine's own addresses, gateways and resolvers,
//! the addresses and names of `protect`, whom every jail ignores, APIBAN's servers, and
//! administrators who are logged in.

mod logins;
mod machine;
mod named;
mod neighbours;
mod reasons;
mod shells;

use std::net::IpAddr;
use std::sync::RwLock;

use tracing::warn;

use super::bus::Judge;
use crate::addr::Addr;
use crate::ban::archive::Archive;
use crate::config::Config;
use crate::engine::Event;
use crate::jail::protect::Protected;
use crate::time::Time;

pub use named::{Answer, NAMES_FACT, Names, NamesDue, look_up};
pub use neighbours::neighbours;
pub use reasons::refusal;

use logins::Logins;

/// A protected address and what it is to us.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Known {
    /// The address or prefix.
    #[serde(serialize_with = "as_text", deserialize_with = "from_text")]
    pub addr: Addr,
    /// `own`, `gateway`, `resolver`, `protect`, `protect NAME`, `ignoreip`, `apiban`,
    /// `login USER`, or several of them with `, ` between.
    pub why: String,
}

fn as_text<S: serde::Serializer>(addr: &Addr, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(addr)
}

fn from_text<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Addr, D::Error> {
    let text = <String as serde::Deserialize>::deserialize(deserializer)?;
    text.parse().map_err(serde::de::Error::custom)
}

impl Known {
    /// An address and what it is to us.
    pub fn new(addr: Addr, why: &str) -> Known {
        Known {
            addr,
            why: why.to_owned(),
        }
    }

    /// The first of its reasons.
    pub fn first_reason(&self) -> &str {
        self.why.split(", ").next().unwrap_or_default()
    }
}

/// Whom we know of by asking, beside those whom the settings and this machine name.
#[derive(Debug, Default)]
pub struct Found {
    /// APIBAN's servers.
    pub servers: Vec<IpAddr>,
    /// What the names of `protect` stand for.
    pub names: Names,
    logins: Logins,
}

impl Found {
    /// Looks who is logged in.
    pub fn look(&mut self, now: Time) {
        let before = self.logins.unprotected().to_vec();
        self.logins.look(now);
        if self.logins.unprotected() != before {
            let news = self.logins.unprotected().iter();
            let news = news.filter(|told| !before.contains(told));
            news.for_each(|told| warn!("not protected: {told}"));
        }
    }

    /// Those who are logged in and are not protected, in words.
    pub fn unprotected(&self) -> &[String] {
        self.logins.unprotected()
    }
}

/// Everybody who is protected, each once and with all reasons. `None` if this machine
/// does not tell its own addresses.
pub fn everybody(config: &Config, found: &Found) -> Option<Vec<Known>> {
    let machine = machine::of_this_machine().ok()?;
    Some(joined(machine.into_iter().chain(named(config, found))))
}

/// The same without this machine's own.
pub fn everybody_else(config: &Config, found: &Found) -> Vec<Known> {
    joined(named(config, found))
}

/// Those who are protected since somebody named them, or logged in.
fn named(config: &Config, found: &Found) -> impl Iterator<Item = Known> {
    let protect = config.settings.protect.iter();
    let protect = protect.map(|addr| Known::new(*addr, "protect"));
    // Whom every jail ignores is protected from lists and operators as well.
    let mut jails = config.jails.iter().map(|jail| &jail.ignore.addrs);
    let ignored = jails.next().into_iter().flatten();
    let ignored = ignored.filter(move |addr| jails.clone().all(|others| others.contains(addr)));
    let ignored = ignored.map(|addr| Known::new(*addr, "ignoreip"));
    let servers = found.servers.iter();
    let servers = servers.map(|ip| Known::new((*ip).into(), "apiban"));
    protect
        .chain(found.names.known(&config.settings.protect_names))
        .chain(ignored)
        .chain(servers)
        .chain(found.logins.known())
}

/// Each address once, in order.
fn joined(known: impl Iterator<Item = Known>) -> Vec<Known> {
    let mut all: Vec<Known> = known.collect();
    all.sort_by_key(|known| known.addr); // stable: the reasons keep their order
    all.dedup_by(|next, kept| {
        let is_same = next.addr == kept.addr;
        if is_same && !kept.why.split(", ").any(|why| why == next.why) {
            kept.why = format!("{}, {}", kept.why, next.why);
        }
        is_same
    });
    all
}

/// As the engine and the feed want them.
pub fn guarded(known: &[Known]) -> Protected {
    Protected::new(known.iter().map(|known| known.addr))
}

/// What the names of `protect` stood for in the last run, and who is logged in.
pub fn found_before(archive: &Archive, now: Time) -> Found {
    let kept = archive.facts(NAMES_FACT);
    let names = kept.iter().map(|json| Names::from_json(json)).next();
    let mut found = Found {
        names: names.unwrap_or_default(),
        ..Found::default()
    };
    found.look(now);
    found
}

/// Who would be protected here under this configuration, for judging an old log.
pub fn by(config: &Config) -> Protected {
    let found = Found::default();
    let known = everybody(config, &found);
    guarded(&known.unwrap_or_else(|| everybody_else(config, &found)))
}

/// Tells the engine who is protected now, if that has changed.
pub fn update(
    judge: &Judge,
    known: &mut Vec<Known>,
    now_known: Vec<Known>,
    guard: &RwLock<Protected>,
) {
    if *known != now_known {
        let protected = guarded(&now_known);
        if let Ok(mut guard) = guard.write() {
            *guard = protected.clone();
        }
        judge.event(Event::Protect(protected));
        *known = now_known;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_once_with_all_its_reasons() {
        let known = [
            ("192.0.2.7", "own"),
            ("192.0.2.1", "gateway"),
            ("192.0.2.7", "protect"),
            ("192.0.2.7", "own"),
        ];
        let known = known.map(|(addr, why)| Known::new(addr.parse().unwrap(), why));
        let shown = joined(known.into_iter());
        let shown: Vec<String> = shown
            .iter()
            .map(|known| format!("{} ({})", known.addr, known.why))
            .collect();
        assert_eq!(shown, ["192.0.2.1 (gateway)", "192.0.2.7 (own, protect)"]);
    }
}
