//! Whom jails ignore besides plain addresses: hosts by name, and what stands in files.
//!
//! Names are looked up again now and then; while there is no answer the last good one
//! holds, so that a name server that is down bans nobody.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::Read;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tracing::warn;

use super::bus::Judge;
use super::names;
use crate::addr::Addr;
use crate::config::{IgnoreConfig, JailConfig};
use crate::engine::Event;
use crate::jail::protect::Protected;

/// The longest file of addresses that is read; a hundred thousand have 2 MB.
const FILE_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// The name under which answers are kept for the next start, which need not wait then.
pub const ANSWERS_FACT: &str = "ignored.names";

/// What the names stood for when they last had an answer.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Answers(BTreeMap<String, Vec<IpAddr>>);

impl Answers {
    /// As a fact.
    pub fn to_json(&self) -> String {
        // Names and addresses can always be written.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// From a fact; nothing if it is none.
    pub fn from_json(json: &str) -> Answers {
        serde_json::from_str(json).unwrap_or_default()
    }

    /// Which of these have no answer yet?
    pub fn missing(&self, names: &[String]) -> Vec<String> {
        let is_missing = |name: &&String| !self.0.contains_key(*name);
        names.iter().filter(is_missing).cloned().collect()
    }

    /// Takes over new answers, and forgets names that nobody asks for any more.
    pub fn learn(&mut self, asked: &[String], answers: HashMap<String, Vec<IpAddr>>) {
        self.0.retain(|name, _| asked.contains(name));
        self.0.extend(answers);
    }

    /// Everybody whom this jail ignores now.
    pub fn ignored(&self, ignore: &IgnoreConfig) -> Protected {
        let all = with_files(ignore);
        let named = all.names.iter().filter_map(|name| self.0.get(name));
        let named = named.flatten().map(|ip| Addr::host(*ip));
        Protected::only(all.addrs.iter().copied().chain(named))
    }

    /// Fills in whom these jails ignore, as far as it is known.
    pub fn fill(&self, jails: &mut [JailConfig]) {
        for jail in jails {
            jail.rules.ignored = self.ignored(&jail.ignore);
        }
    }
}

/// Is there anything about it that may change by itself?
pub fn changes(ignore: &IgnoreConfig) -> bool {
    !ignore.names.is_empty() || !ignore.files.is_empty()
}

/// The names that these jails ignore.
pub fn names(jails: &[JailConfig]) -> Vec<String> {
    let jails = jails.iter().filter(|jail| changes(&jail.ignore));
    let mut all: Vec<String> = jails
        .flat_map(|jail| with_files(&jail.ignore).names)
        .collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// Looks up names; see [`Answers::learn`].
pub async fn look_up(asked: &[String], patience: Duration) -> HashMap<String, Vec<IpAddr>> {
    names::all(asked.to_vec(), patience).await
}

/// Takes over new answers for these names, has them kept, and tells the judge whom these
/// jails ignore by now.
pub fn learn(
    known: &mut Answers,
    asked: &[String],
    answers: HashMap<String, Vec<IpAddr>>,
    jails: &mut [JailConfig],
    judge: &Judge,
) {
    let before = known.to_json();
    known.learn(asked, answers);
    let after = known.to_json();
    if after != before {
        judge.event(Event::Fact(ANSWERS_FACT.to_owned(), after));
    }
    for jail in jails.iter_mut().filter(|jail| changes(&jail.ignore)) {
        let now = known.ignored(&jail.ignore);
        if now != jail.rules.ignored {
            jail.rules.ignored = now.clone();
            judge.event(Event::Ignored(jail.rules.name.clone(), now));
        }
    }
}

/// What the jail ignores, and what stands in its files: words, with comments after `#`.
fn with_files(ignore: &IgnoreConfig) -> IgnoreConfig {
    let mut all = ignore.clone();
    for path in &ignore.files {
        let text = match read(path) {
            Ok(text) => text,
            Err(error) => {
                warn!(file = %path.display(), %error, "ignoreip: the file cannot be read");
                continue;
            }
        };
        for (number, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default();
            let is_between = |letter: char| letter.is_whitespace() || letter == ',';
            for word in line.split(is_between).filter(|word| !word.is_empty()) {
                if word.starts_with("file:") {
                    continue; // a file of files might name itself
                }
                if let Err(error) = all.add(word) {
                    warn!(file = %path.display(), line = number + 1, %error, "ignoreip");
                }
            }
        }
    }
    all
}

fn read(path: &Path) -> std::io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?
        .take(FILE_BYTES_MAX)
        .read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_names_count() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("trunks");
        let text =
            "# our trunks\n192.0.2.7, 198.51.100.0/24 # main\n\ntrunk.example.net\nnot/this\n";
        std::fs::write(&path, text).unwrap();
        let mut ignore = IgnoreConfig::default();
        ignore.add(&format!("file:{}", path.display())).unwrap();
        ignore.add("2001:db8::1").unwrap();

        let mut answers = Answers::default();
        let asked = ["trunk.example.net".to_owned()];
        let answer = vec!["203.0.113.5".parse().unwrap()];
        answers.learn(&asked, HashMap::from([(asked[0].clone(), answer)]));
        answers.learn(&asked, HashMap::new()); // no answer: the last one holds
        let mut answers = Answers::from_json(&answers.to_json()); // in the next run, too
        assert_eq!(answers.missing(&asked), [""; 0]);
        assert_eq!(Answers::from_json("{").missing(&asked), asked);

        let ignored = answers.ignored(&ignore);
        for (addr, expected) in [
            ("192.0.2.7", true),
            ("198.51.100.9", true),
            ("203.0.113.5", true),
            ("2001:db8::1", true),
            ("192.0.2.8", false),
        ] {
            assert_eq!(ignored.covers(&addr.parse().unwrap()), expected, "{addr}");
        }
        answers.learn(&[], HashMap::new());
        let gone = answers.ignored(&ignore);
        assert!(!gone.covers(&"203.0.113.5".parse().unwrap()));
    }
}
