//! The few rules per family that make the sets count.
//!
//! They stand first in the raw table's PREROUTING: before connection tracking, so
//! that a flood costs nothing, before Docker's forwarding, and out of the way of
//! other tools' filter chains. A packet whose source is in the allow set is let be,
//! another whose source is in the list `ringfence` is dropped. Of a source in the set
//! `ringfence-throttled` the signalling alone is held back, to a trickle: of datagrams
//! one a second, since each can try a password; of streams, where one segment can
//! carry many tries, as many bytes as few tries need. What comes too soon is dropped,
//! and an honest phone sends it again.
//!
//! The rules are put in place by `iptables` and `ip6tables`, once: no program runs for
//! a ban. Each is looked for first, so it never stands there twice. No shell is used,
//! and programs are taken from the system's folders only.
//!
//! Absent: hosts without iptables; they get nftables' own sets.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::action::error::Error;
use crate::action::family::Family;
use crate::action::name::{Name, ROOT};
use crate::ticket::Set;

/// Where programs of the system are.
const FOLDERS: [&str; 3] = ["/usr/sbin", "/sbin", "/usr/bin"];

/// How long iptables waits for another iptables to finish, in seconds.
const LOCK_SECS: &str = "10";

/// Copies of a rule that we take away; somebody may have inserted it again by hand.
const COPIES_MAX: usize = 16;

/// What is kept of a program's words.
const SAID_CHARS_MAX: usize = 300;

/// Does the kernel route this family at all?
pub(super) fn is_spoken(family: Family) -> bool {
    family == Family::V4 || Path::new("/proc/net/if_inet6").exists()
}

/// Where SIP is spoken, for iptables.
const SIGNALLING_PORTS: &str = "5060,5061";

/// One rule of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    /// Whoever is in the list `ringfence` is dropped.
    Drop,
    /// SIP over UDP of the throttled is held back.
    ThrottleDatagrams,
    /// SIP over TCP and TLS of the throttled is held back.
    ThrottleStreams,
}

impl Rule {
    /// All that there are.
    pub(super) const ALL: [Rule; 3] = [Rule::Drop, Rule::ThrottleDatagrams, Rule::ThrottleStreams];

    /// Those that hold back.
    pub(super) const THROTTLES: [Rule; 2] = [Rule::ThrottleDatagrams, Rule::ThrottleStreams];

    /// Which packets, in iptables' words, after the allow set has let its own be.
    fn matches(self, family: Family) -> Vec<String> {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect();
        let limit = |protocol: &str, above: &str, burst: &str| {
            let set = Name::of(&Set::Throttled, family);
            words(&format!(
                "-m set --match-set {} src -p {protocol} -m multiport --dports {SIGNALLING_PORTS} \
                 -m hashlimit --hashlimit-above {above} --hashlimit-burst {burst} \
                 --hashlimit-mode srcip --hashlimit-name {ROOT}-{protocol}",
                &*set
            ))
        };
        match self {
            Rule::Drop => words(&format!("-m set --match-set {ROOT} src")),
            Rule::ThrottleDatagrams => limit("udp", "1/sec", "1"),
            Rule::ThrottleStreams => limit("tcp", "512b/s", "4kb"),
        }
    }
}

/// Is it where the system's programs are?
pub(super) fn is_installed() -> bool {
    find(program(Family::V4), &FOLDERS).is_some()
}

/// Which form of iptables this host has, as it says itself: ` (nf_tables)` or ` (legacy)`;
/// none if it is too old to say, or not there. It is asked once.
pub(super) fn form() -> Option<&'static str> {
    static FORM: OnceLock<Option<&'static str>> = OnceLock::new();
    *FORM.get_or_init(ask_form)
}

fn ask_form() -> Option<&'static str> {
    let path = find(program(Family::V4), &FOLDERS)?;
    let output = Command::new(path).arg("--version").output().ok()?;
    let said = String::from_utf8_lossy(&output.stdout);
    [" (nf_tables)", " (legacy)"]
        .into_iter()
        .find(|form| said.contains(form))
}

/// Puts the rule in place; false if it was there already.
pub(super) fn ensure(family: Family, rule: Rule) -> Result<bool, Error> {
    if is_present(family, rule)? {
        return Ok(false);
    }
    run(family, &["-I", "PREROUTING", "1"], rule).map_err(|refusal| refusal.error)?;
    Ok(true)
}

/// Is the rule there?
pub(super) fn is_present(family: Family, rule: Rule) -> Result<bool, Error> {
    match run(family, &["-C", "PREROUTING"], rule) {
        Ok(()) => Ok(true),
        Err(refusal) if refusal.is_absence => Ok(false),
        Err(refusal) => Err(refusal.error),
    }
}

/// Takes these rules away, as often as they are there.
pub(super) fn remove(family: Family, rules: &[Rule]) -> Result<(), Error> {
    if !is_spoken(family) {
        return Ok(());
    }
    for rule in rules {
        for _ in 0..COPIES_MAX {
            match run(family, &["-D", "PREROUTING"], *rule) {
                Ok(()) => {}
                Err(refusal) if refusal.is_absence => break,
                Err(refusal) => return Err(refusal.error),
            }
        }
    }
    Ok(())
}

/// What iptables said instead of doing it.
#[derive(Debug)]
struct Refusal {
    error: Error,
    /// Is it only that the rule, its table or its set is not there?
    is_absence: bool,
}

fn program(family: Family) -> &'static str {
    match family {
        Family::V4 => "iptables",
        Family::V6 => "ip6tables",
    }
}

/// Runs iptables with `verb` and the rule behind it.
fn run(family: Family, verb: &[&str], rule: Rule) -> Result<(), Refusal> {
    let program = program(family);
    let Some(path) = find(program, &FOLDERS) else {
        return Err(Refusal {
            error: Error::NoProgram { program },
            is_absence: false,
        });
    };
    let allow = Name::of(&Set::Allow, family);
    let mut arguments = vec!["-w", LOCK_SECS, "-t", "raw"];
    arguments.extend(verb);
    arguments.extend(["-m", "set", "!", "--match-set", &allow, "src"]);
    let matches = rule.matches(family);
    arguments.extend(matches.iter().map(String::as_str));
    arguments.extend(["-m", "comment", "--comment", ROOT, "-j", "DROP"]);
    // Its messages are read, so they must not be translated.
    let output = Command::new(&path)
        .args(&arguments)
        .env("LC_ALL", "C")
        .output();
    let said = match output {
        Ok(output) if output.status.success() => return Ok(()),
        Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
        Err(error) => error.to_string(),
    };
    let command = format!("{program} {}", arguments.join(" "));
    Err(explain(family, command, &said))
}

/// The first of `folders` that has the program.
fn find(program: &str, folders: &[&str]) -> Option<PathBuf> {
    folders
        .iter()
        .map(|folder| Path::new(folder).join(program))
        .find(|path| path.is_file())
}

/// Makes a sentence of what iptables printed. Its exit codes do not tell "there is no
/// such rule" from what went wrong, so its words must.
fn explain(family: Family, command: String, said: &str) -> Refusal {
    let program = program(family);
    let said: String = said.trim().chars().take(SAID_CHARS_MAX).collect();
    let has = |words: &[&str]| words.iter().any(|word| said.contains(word));
    let is_absence = has(&[
        "does a matching rule exist",
        "doesn't exist",
        "No chain/target/match",
        "table `raw'",
    ]);
    let error = if has(&["Can't open socket to ipset"]) {
        Error::Permission {
            doing: format!("let {program} look up sets"),
            capability: "CAP_NET_RAW",
        }
    } else if has(&["Permission denied", "not permitted", "must be root"]) {
        Error::Permission {
            doing: format!("change the firewall's rules with {program}"),
            capability: "CAP_NET_ADMIN",
        }
    } else if has(&["table `raw'"]) {
        let module = match family {
            Family::V4 => "iptable_raw",
            Family::V6 => "ip6table_raw",
        };
        Error::NoRawTable {
            program,
            module,
            said,
        }
    } else if has(&["xt_set", "match `set'", "Extension set", "No chain/target"]) {
        Error::NoSetMatch { program, said }
    } else {
        Error::Rule { command, said }
    };
    Refusal { error, is_absence }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_iptables_become_advice() {
        for (said, advice, is_absence) in [
            (
                "iptables v1.8.9 (nf_tables): Can't open socket to ipset.\n\n",
                "CAP_NET_RAW",
                false,
            ),
            (
                "getsockopt failed strangely: Operation not permitted\n",
                "CAP_NET_ADMIN",
                false,
            ),
            (
                "iptables v1.8.9 (nf_tables): Could not fetch rule set generation id: Permission denied (you must be root)\n",
                "CAP_NET_ADMIN",
                false,
            ),
            (
                "iptables v1.8.7 (legacy): can't initialize iptables table `raw': Table does not exist (do you need to insmod?)",
                "modprobe iptable_raw",
                true,
            ),
            (
                "iptables v1.8.9 (nf_tables): Kernel module xt_set is not loaded in.\n",
                "modprobe xt_set",
                false,
            ),
            (
                "iptables v1.8.9 (legacy): Couldn't load match `set':No such file or directory",
                "modprobe xt_set",
                false,
            ),
            (
                "iptables: No chain/target/match by that name.\n",
                "modprobe xt_set",
                true,
            ),
            (
                "iptables v1.8.9 (nf_tables): Set ringfence-allow doesn't exist.\n\nTry `iptables -h'",
                "Set ringfence-allow doesn't exist",
                true,
            ),
            (
                "iptables: Bad rule (does a matching rule exist in that chain?).\n",
                "Bad rule",
                true,
            ),
            (
                "Another app is currently holding the xtables lock.",
                "holding the xtables lock",
                false,
            ),
        ] {
            let refusal = explain(Family::V4, "iptables …".to_owned(), said);
            let sentence = refusal.error.to_string();
            assert!(sentence.contains(advice), "{said} -> {sentence}");
            assert_eq!(refusal.is_absence, is_absence, "{said}");
        }
    }

    #[test]
    fn programs_are_found_in_the_systems_folders_only() {
        assert_eq!(find("no-such-program", &FOLDERS), None);
        let missing = Error::NoProgram {
            program: "iptables",
        };
        assert!(missing.to_string().contains("install iptables"));
    }
}
