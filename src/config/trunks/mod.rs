//! Trunks: who the phone servers' own configuration says we talk to. For suggestions to an
//! operator: nothing is changed, and nothing here decides.
//!
//! A server's configuration is read as far as it names peers: addresses and names, never
//! passwords. Whatever cannot be understood is a [`Problem`] with file and line, and all else
//! counts; so is what lies elsewhere than in files (a database, a web server), since it may
//! name trunks as well. Files, their number and their depth of includes are bounded.

mod asterisk;
mod files;
mod freeswitch;
mod kamailio;
mod peer;
mod realtime;
mod script;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use peer::{is_ours, of_uri, peer};

/// Suggestions that are made; beyond that nobody reads them.
const SUGGESTIONS_MAX: usize = 4_096;

/// Peers that are looked at. A template names many once, and each section that has it again.
const PEERS_MAX: usize = 100_000;

/// Letters that are shown of what a file says.
const WHAT_SHOWN: usize = 80;

/// Letters of a problem: a path, and a sentence.
const MESSAGE_SHOWN: usize = 1_000;

/// Somebody whom a configuration names.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Suggestion {
    /// An address, a prefix, or a name, as `protect` takes it.
    pub value: String,
    /// What it is there: `pjsip identify provider1`, say.
    pub what: String,
    /// The file.
    pub file: PathBuf,
    /// The line in it, counted from 1.
    pub line: usize,
}

/// Something that could not be understood.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Problem {
    /// The file.
    pub file: PathBuf,
    /// The line in it, counted from 1; 0 is the whole of it.
    pub line: usize,
    /// What is wrong, and what would be accepted.
    pub message: String,
}

/// Where the servers' configurations lie.
#[derive(Clone, Debug)]
pub struct Places {
    /// Asterisk's: `pjsip.conf`, `pjsip_wizard.conf`, `sip.conf`, `iax.conf`.
    pub asterisk: PathBuf,
    /// FreeSWITCH's: gateways and access lists.
    pub freeswitch: PathBuf,
    /// Kamailio's: dispatcher and permissions.
    pub kamailio: PathBuf,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Found {
    /// Each value once, in the order in which they stand there.
    pub suggestions: Vec<Suggestion>,
    /// What was left out.
    pub problems: Vec<Problem>,
    /// The files that were read, each once.
    pub files: Vec<PathBuf>,
    /// The servers, and how much was found of each.
    pub servers: Vec<Server>,
    #[serde(skip)]
    reading: files::Reading,
    /// How many peers were looked at.
    #[serde(skip)]
    looked_at: usize,
    /// The values that were suggested.
    #[serde(skip)]
    known: HashSet<String>,
}

/// One of the servers whose configuration is read.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Server {
    /// Its name.
    pub name: &'static str,
    /// What was looked for.
    pub looked_for: &'static str,
    /// Where its configuration was looked for.
    pub folder: PathBuf,
    /// How many files of it were read.
    pub files: usize,
}

/// A kind of phone servers.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// Its name.
    pub name: &'static str,
    /// What is looked for in its folder.
    pub looked_for: &'static str,
}

/// Asterisk.
pub const ASTERISK: Kind = Kind {
    name: "Asterisk",
    looked_for: "pjsip.conf, pjsip_wizard.conf, sip.conf, iax.conf",
};

/// FreeSWITCH.
pub const FREESWITCH: Kind = Kind {
    name: "FreeSWITCH",
    looked_for: "vars.xml, sip_profiles, autoload_configs, directory",
};

/// Kamailio.
pub const KAMAILIO: Kind = Kind {
    name: "Kamailio",
    looked_for: "kamailio.cfg, dispatcher.list, address.list, dbtext",
};

/// Reads all that is there.
pub fn find(places: &Places) -> Found {
    let mut found = Found::default();
    found.server(ASTERISK, &places.asterisk, asterisk::find);
    found.server(FREESWITCH, &places.freeswitch, freeswitch::find);
    found.server(KAMAILIO, &places.kamailio, kamailio::find);
    found
}

/// A place in a file.
#[derive(Clone, Copy, Debug)]
struct Place<'a> {
    file: &'a Path,
    line: usize,
}

impl Found {
    /// Suggests a peer as a configuration writes it: an address, with or without a mask, a
    /// name, or either with a port. Loopback is nobody's, and is protected anyway.
    fn peer(&mut self, written: &str, what: &str, place: Place<'_>) {
        self.looked_at += 1;
        if self.looked_at > PEERS_MAX {
            if self.looked_at == PEERS_MAX + 1 {
                let message = format!("more than {PEERS_MAX} peers; all from here on are left out");
                self.problem(place, message);
            }
            return;
        }
        let written = written.trim();
        match peer(written) {
            _ if written.is_empty() => {}
            Some(value) if is_ours(&value) => {}
            Some(value) => {
                if self.known.len() < SUGGESTIONS_MAX && self.known.insert(value.clone()) {
                    self.suggestions.push(Suggestion {
                        value,
                        what: shown(what, WHAT_SHOWN),
                        file: place.file.to_owned(),
                        line: place.line,
                    });
                }
            }
            None => {
                let (what, written) = (shown(what, WHAT_SHOWN), shown(written, WHAT_SHOWN));
                self.problem(place, format!("{what}: `{written}` is neither an address nor a host name; write it into `protect` by hand if it is a trunk"));
            }
        }
    }

    fn problem(&mut self, place: Place<'_>, message: String) {
        if self.problems.len() < SUGGESTIONS_MAX {
            self.problems.push(Problem {
                file: place.file.to_owned(),
                line: place.line,
                message: shown(&message, MESSAGE_SHOWN),
            });
        }
    }
}

/// The beginning of a text: whoever wrote it may have written very much.
fn shown(text: &str, letters: usize) -> String {
    text.chars().take(letters).collect()
}
