//! The few rules per family that make the sets count.
//!
//! They stand first in the raw table's PREROUTING: before connection tracking, so
//! that a flood costs nothing, before Docker's forwarding, and out of the way of
//! other tools' filter chains. A packet whose source is in the allow set is let be,
//! another whose source is in the list `ringfence` is dropped. A jail with ports of its
//! own is not in that list: rules of its own drop what goes there. Of a source in the set
//! `ringfence-throttled` the signalling alone is held back, to a trickle: of datagrams
//! one a second, since each can try a password; of streams, where one segment can
//! carry many tries, as many bytes as few tries need. What comes too soon is dropped,
//! and an honest phone sends it again.
//!
//! The rules of a family are looked at with `iptables -S`, and changed by one run of
//! `iptables-restore`, which is one transaction: no packet sees fewer than before. No
//! program runs for a ban. What iptables writes is not understood here but remembered:
//! when we have put our rules in place we look how it shows them, and if it ever shows
//! them otherwise, somebody has changed them.
//!
//! Absent: hosts without iptables; they get nftables' own sets.

use std::fmt::Write;
use std::path::Path;
use std::sync::OnceLock;

use crate::action::error::Error;
use crate::action::family::Family;
use crate::action::name::{Name, ROOT};
use crate::action::program;
use crate::action::reach::{Ports, Reach, Transport};
use crate::ticket::Set;

/// How long iptables waits for another iptables to finish, in seconds.
const LOCK_SECS: &str = "10";

/// Somebody who changes rules between our look and our change makes it fail: so often is
/// it tried.
const TRIES_MAX: usize = 3;

/// How many ports iptables' `multiport` takes; a range is two.
const MULTIPORT_MAX: usize = 15;

/// Does the kernel route this family at all?
pub(super) fn is_spoken(family: Family) -> bool {
    family == Family::V4 || Path::new("/proc/net/if_inet6").exists()
}

/// Where SIP is spoken, for iptables.
const SIGNALLING_PORTS: &str = "5060,5061";

/// One rule of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    /// Whoever is in the list `ringfence` is dropped.
    Drop,
    /// Whoever is in this set is dropped on some ports.
    Narrow {
        /// The kernel's name of the set.
        set: String,
        /// By which transport.
        transport: Transport,
        /// Where to.
        ports: Vec<Ports>,
    },
    /// SIP over UDP of the throttled is held back.
    ThrottleDatagrams,
    /// SIP over TCP and TLS of the throttled is held back.
    ThrottleStreams,
}

impl Rule {
    /// Those that hold back.
    pub(super) const THROTTLES: [Rule; 2] = [Rule::ThrottleDatagrams, Rule::ThrottleStreams];

    /// Those that drop what is in a set of this reach, which is not everything.
    pub(super) fn narrow(set: &Name, reach: &Reach) -> Vec<Rule> {
        let mut rules = Vec::new();
        for (transport, ports) in reach.parts() {
            for ports in chunks(ports) {
                let set = set.to_string();
                rules.push(Rule::Narrow {
                    set,
                    transport,
                    ports,
                });
            }
        }
        rules
    }

    /// Does it hold back?
    pub(super) fn is_throttle(&self) -> bool {
        Rule::THROTTLES.contains(self)
    }

    /// The rule as one would write it behind `iptables -A PREROUTING`.
    fn words(&self, family: Family) -> String {
        let limit = |protocol: &str, above: &str, burst: &str| {
            let set = Name::of(&Set::Throttled, family);
            format!(
                "-m set ! --match-set {} src -m set --match-set {} src -p {protocol} -m multiport --dports {SIGNALLING_PORTS} \
                 -m hashlimit --hashlimit-above {above} --hashlimit-burst {burst} \
                 --hashlimit-mode srcip --hashlimit-name {ROOT}-{protocol}",
                &*Name::of(&Set::Allow, family),
                &*set
            )
        };
        let allow = Name::of(&Set::Allow, family);
        let matches = match self {
            Rule::Drop => format!(
                "-m set ! --match-set {} src -m set --match-set {ROOT} src",
                &*allow
            ),
            // What is looked up is counted, so the ports come first, and who is allowed is
            // counted by the other rule.
            Rule::Narrow {
                set,
                transport,
                ports,
            } => {
                let word = transport.word();
                let ports = match &**ports {
                    [Ports::ALL] => String::new(),
                    ports => {
                        let texts: Vec<String> =
                            ports.iter().map(|ports| ports.text(':')).collect();
                        format!(" -m multiport --dports {}", texts.join(","))
                    }
                };
                format!(
                    "-p {word}{ports} -m set ! --match-set {} src ! --update-counters -m set --match-set {set} src",
                    &*allow
                )
            }
            Rule::ThrottleDatagrams => limit("udp", "1/sec", "1"),
            Rule::ThrottleStreams => limit("tcp", "512b/s", "4kb"),
        };
        format!("{matches} -m comment --comment {ROOT} -j DROP")
    }
}

/// Ports in as many parts as `multiport` needs.
fn chunks(ports: &[Ports]) -> Vec<Vec<Ports>> {
    let cost = |ports: &Ports| if ports.first == ports.last { 1 } else { 2 };
    let mut chunks: Vec<Vec<Ports>> = Vec::new();
    let mut left = 0;
    for ports in ports {
        match chunks.last_mut() {
            Some(chunk) if cost(ports) <= left => chunk.push(*ports),
            _ => {
                chunks.push(vec![*ports]);
                left = MULTIPORT_MAX;
            }
        }
        left -= cost(ports);
    }
    chunks
}

/// The rules of one family that we have put in place, each as iptables shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Placed(Vec<(Rule, String)>);

impl Placed {
    /// Which these are.
    pub(super) fn rules(&self) -> impl Iterator<Item = &Rule> {
        self.0.iter().map(|(rule, _)| rule)
    }

    fn lines(&self) -> impl Iterator<Item = &String> {
        self.0.iter().map(|(_, line)| line)
    }

    fn are(&self, rules: &[Rule]) -> bool {
        self.rules().eq(rules)
    }
}

/// What became of rules that were put in place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Each is as it was.
    Whole,
    /// These are gone.
    Gone(Vec<Rule>),
    /// Each is there, and others besides, or changed ones, or in another order.
    Changed,
}

/// Is it where the system's programs are?
pub(super) fn is_installed() -> bool {
    program::path(iptables(Family::V4)).is_some()
}

/// Which form of iptables this host has, as it says itself: ` (nf_tables)` or ` (legacy)`;
/// none if it is too old to say, or not there. It is asked once.
pub(super) fn form() -> Option<&'static str> {
    static FORM: OnceLock<Option<&'static str>> = OnceLock::new();
    *FORM.get_or_init(|| {
        let said = program::run(iptables(Family::V4), &["--version"], "").ok()?;
        let mut forms = [" (nf_tables)", " (legacy)"].into_iter();
        forms.find(|form| said.output.contains(form))
    })
}

/// Makes these our rules, in this order, and no others; `before` is what we had put there.
/// Rules of the sets that `is_stray` are let be. Says if all that drops was missing.
pub(super) fn ensure(
    family: Family,
    rules: &[Rule],
    before: &mut Placed,
    is_stray: &dyn Fn(&str) -> bool,
) -> Result<bool, Error> {
    let mut tries = 1..=TRIES_MAX;
    loop {
        let there = look(family, is_stray)?;
        if before.are(rules) && there.iter().eq(before.lines()) {
            return Ok(false);
        }
        let mut script = String::new();
        for line in &there {
            let _ok = writeln!(script, "-D {line}");
        }
        for (place, rule) in (1..).zip(rules) {
            let _ok = writeln!(script, "-I PREROUTING {place} {}", rule.words(family));
        }
        let put = restore(family, &script);
        if put.is_err() && tries.next().is_some_and(|tries| tries < TRIES_MAX) {
            continue;
        }
        put?;
        let shown = look(family, is_stray)?;
        *before = Placed(rules.iter().cloned().zip(shown).collect());
        let is_drop = |line: &String| line.contains(&format!("--match-set {ROOT} src"));
        return Ok(!there.iter().any(is_drop));
    }
}

/// Are the rules that we have put in place still there?
pub(super) fn check(
    family: Family,
    placed: &Placed,
    is_stray: &dyn Fn(&str) -> bool,
) -> Result<Found, Error> {
    let there = look(family, is_stray)?;
    let is_gone = |(_, line): &&(Rule, String)| !there.contains(line);
    let gone: Vec<Rule> = placed
        .0
        .iter()
        .filter(is_gone)
        .map(|(rule, _)| rule.clone())
        .collect();
    Ok(if !gone.is_empty() {
        Found::Gone(gone)
    } else if there.iter().eq(placed.lines()) {
        Found::Whole
    } else {
        Found::Changed
    })
}

/// Takes all rules of ours away, whoever has put them there; but for those of sets that
/// are not `is_mine`.
pub(super) fn remove(family: Family, is_mine: &dyn Fn(&str) -> bool) -> Result<(), Error> {
    if !is_spoken(family) {
        return Ok(());
    }
    let mut script = String::new();
    for line in look(family, &|set| !is_mine(set))? {
        let _ok = writeln!(script, "-D {line}");
    }
    match script.is_empty() {
        true => Ok(()),
        false => restore(family, &script),
    }
}

/// Our rules as iptables writes them behind `-A`, but for those of sets that are let be.
fn look(family: Family, is_let_be: &dyn Fn(&str) -> bool) -> Result<Vec<String>, Error> {
    let program = iptables(family);
    let arguments = ["-w", LOCK_SECS, "-t", "raw", "-S", "PREROUTING"];
    let ended = run(program, &arguments, "")?;
    if !ended.success {
        let command = format!("{program} {}", arguments.join(" "));
        return Err(explain(family, command, &ended.said));
    }
    let ours = ended.output.lines().filter_map(|line| {
        let line = line.strip_prefix("-A ")?;
        let set = set_of(line)?;
        (!is_let_be(set)).then(|| line.to_owned())
    });
    Ok(ours.collect())
}

/// The set that a rule of ours looks up beside the allow set; none if it is not ours.
fn set_of(line: &str) -> Option<&str> {
    let is_ours = ["--comment ringfence ", "--comment \"ringfence\" "]
        .iter()
        .any(|words| line.contains(words));
    let sets = line.split("--match-set ").skip(1);
    let set = sets.filter_map(|rest| rest.split(' ').next()).last()?;
    (is_ours && crate::action::name::is_ours(set)).then_some(set)
}

/// Changes the raw table, in one transaction.
fn restore(family: Family, script: &str) -> Result<(), Error> {
    let program = match family {
        Family::V4 => "iptables-restore",
        Family::V6 => "ip6tables-restore",
    };
    let arguments = ["-w", LOCK_SECS, "--noflush"];
    let ended = run(program, &arguments, &format!("*raw\n{script}COMMIT\n"))?;
    match ended.success {
        true => Ok(()),
        false => {
            let commands = script.trim_end().replace('\n', "; ");
            let command = format!("{program} {} (*raw; {commands})", arguments.join(" "));
            Err(explain(family, command, &ended.said))
        }
    }
}

fn iptables(family: Family) -> &'static str {
    match family {
        Family::V4 => "iptables",
        Family::V6 => "ip6tables",
    }
}

fn run(program: &'static str, arguments: &[&str], input: &str) -> Result<program::Ended, Error> {
    match program::run(program, arguments, input) {
        Err(Error::NoTool { .. }) => Err(Error::NoProgram { program }),
        ended => ended,
    }
}

/// Makes a sentence of what iptables printed, since its exit codes say little.
fn explain(family: Family, command: String, said: &str) -> Error {
    let program = iptables(family);
    let said = said.to_owned();
    let has = |words: &[&str]| words.iter().any(|word| said.contains(word));
    if has(&["Can't open socket to ipset"]) {
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
    } else if let Some(what) = missing_match(&said) {
        Error::NoMatch {
            program,
            what,
            said,
        }
    } else {
        Error::Rule { command, said }
    }
}

/// The match that iptables or its kernel lacks, if it says so.
fn missing_match(said: &str) -> Option<String> {
    let behind = |words: &str| said.split_once(words).map(|(_, rest)| rest);
    let rest = behind("load match `").or_else(|| behind("Extension "))?;
    let end = rest.find(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '_'))?;
    rest.get(..end).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_iptables_become_advice() {
        for (said, advice) in [
            (
                "iptables v1.8.9 (nf_tables): Can't open socket to ipset.\n\n",
                "CAP_NET_RAW",
            ),
            (
                "getsockopt failed strangely: Operation not permitted\n",
                "CAP_NET_ADMIN",
            ),
            (
                "iptables v1.8.9 (nf_tables): Could not fetch rule set generation id: Permission denied (you must be root)\n",
                "CAP_NET_ADMIN",
            ),
            (
                "iptables v1.8.7 (legacy): can't initialize iptables table `raw': Table does not exist (do you need to insmod?)",
                "modprobe iptable_raw",
            ),
            (
                "iptables v1.8.9 (nf_tables): Kernel module xt_set is not loaded in.\n",
                "modprobe xt_set",
            ),
            (
                "iptables v1.8.9 (legacy): Couldn't load match `set':No such file or directory",
                "modprobe xt_set",
            ),
            (
                "iptables: No chain/target/match by that name.\n",
                "modprobe xt_set",
            ),
            (
                "iptables v1.8.9 (nf_tables): Set ringfence-allow doesn't exist.\n\nTry `iptables -h'",
                "Set ringfence-allow doesn't exist",
            ),
            (
                "iptables-restore v1.8.9 (nf_tables): Couldn't load match `multiport':No such file or directory",
                "modprobe xt_multiport",
            ),
            (
                "Warning: Extension u32 revision 0 not supported, missing kernel module?\niptables-restore: line 3 failed",
                "modprobe xt_u32",
            ),
            (
                "iptables: Bad rule (does a matching rule exist in that chain?).\n",
                "Bad rule",
            ),
            (
                "Another app is currently holding the xtables lock.",
                "holding the xtables lock",
            ),
        ] {
            let error = explain(Family::V4, "iptables …".to_owned(), said);
            let sentence = error.to_string();
            assert!(sentence.contains(advice), "{said} -> {sentence}");
        }
    }

    #[test]
    fn ports_are_written_as_iptables_takes_them() {
        let ports = |first, last| Ports { first, last };
        let mut many: Vec<Ports> = (0..16).map(|n| ports(100 + 2 * n, 100 + 2 * n)).collect();
        many.push(ports(5060, 5061));
        let reach = Reach::only(&[Transport::Tcp], &many)
            .and(Reach::only(&[Transport::Udp], &[Ports::ALL]));
        let set = Name::of(&Set::Jail("x".into()), Family::V4);
        let shown: String = Rule::narrow(&set, &reach)
            .iter()
            .map(|rule| rule.words(Family::V4) + "\n")
            .collect();
        expect_test::expect![[r#"
            -p tcp -m multiport --dports 100,102,104,106,108,110,112,114,116,118,120,122,124,126,128 -m set ! --match-set ringfence-allow src ! --update-counters -m set --match-set ringfence-x src -m comment --comment ringfence -j DROP
            -p tcp -m multiport --dports 130,5060:5061 -m set ! --match-set ringfence-allow src ! --update-counters -m set --match-set ringfence-x src -m comment --comment ringfence -j DROP
            -p udp -m set ! --match-set ringfence-allow src ! --update-counters -m set --match-set ringfence-x src -m comment --comment ringfence -j DROP
        "#]].assert_eq(&shown);
    }

    #[test]
    fn rules_of_ours_are_told_from_others() {
        for (line, set) in [
            (
                "PREROUTING -m set ! --match-set ringfence-allow src -m set --match-set ringfence src -m comment --comment ringfence -j DROP",
                Some("ringfence"),
            ),
            (
                "PREROUTING -p tcp -m set ! --match-set ringfence-allow src -m set --match-set ringfence-sshd src -m multiport --dports 22 -m comment --comment \"ringfence\" -j DROP",
                Some("ringfence-sshd"),
            ),
            (
                "PREROUTING -m set --match-set ringfence src -m comment --comment mine -j LOG",
                None,
            ),
            ("PREROUTING -m comment --comment ringfence -j ACCEPT", None),
        ] {
            assert_eq!(set_of(line), set, "{line}");
        }
    }
}
