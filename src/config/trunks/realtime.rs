//! Asterisk's objects that lie elsewhere than in its own files: `extconfig.conf` keeps whole
//! families of them in a database, `sorcery.conf` says for each kind of pjsip's where it is.
//! A database is not asked; that it may name trunks is said.

use std::collections::BTreeSet;

use super::Found;
use super::asterisk::Section;

/// Families of `extconfig.conf` that name peers; also whole files that lie in a database.
const FAMILIES: [&str; 12] = [
    "ps_endpoint_id_ips",
    "ps_endpoints",
    "ps_aors",
    "ps_registrations",
    "sippeers",
    "sipusers",
    "iaxpeers",
    "iaxusers",
    "pjsip.conf",
    "pjsip_wizard.conf",
    "sip.conf",
    "iax.conf",
];

/// Kinds of pjsip's objects that name peers.
const KINDS: [&str; 4] = ["identify", "endpoint", "aor", "registration"];

/// What is to be done about a database.
const REMEDY: &str = "a database is not read here; write its trunks into `protect` by hand";

/// `ps_endpoint_id_ips => odbc,asterisk`
pub(super) fn families(_file: &str, section: &Section, found: &mut Found) {
    let is_of_peers = |key: &str| FAMILIES.contains(&key);
    for setting in section
        .settings
        .iter()
        .filter(|setting| is_of_peers(&setting.key))
    {
        let driver = setting.value.split(',').next().unwrap_or_default().trim();
        found.problem(
            setting.place(),
            format!("{} comes from {driver}: {REMEDY}", setting.key),
        );
    }
}

/// `identify = realtime,ps_endpoint_id_ips`: what pjsip keeps elsewhere. Other files than
/// `pjsip.conf` are noted down.
pub(super) fn objects(section: &Section, files: &mut BTreeSet<String>, found: &mut Found) {
    for setting in &section.settings {
        // `endpoint/cache = memory_cache,…` is no place of its own.
        if !KINDS.contains(&setting.key.as_str()) {
            continue;
        }
        let mut words = setting.value.split(',').map(str::trim);
        match (words.next().unwrap_or_default(), words.next()) {
            ("config", Some(file)) => drop(files.insert(file.to_owned())),
            ("config" | "memory" | "memory_cache", _) => {}
            (place, _) => found.problem(
                setting.place(),
                format!("pjsip {} comes from {place}: {REMEDY}", setting.key),
            ),
        }
    }
    files.remove("pjsip.conf");
}
