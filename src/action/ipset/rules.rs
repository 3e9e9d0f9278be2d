//! The few rules per family that make the sets count.
//!
//! They stand first in the raw table's PREROUTING: before connection tracking, so
//! that a flood costs nothing, before Docker's forwarding, and out of the way of
//! other tools' filter chains. A packet whose source is in the allow set is let be,
//! another whose source is in the list `ringfence` is dropped. A jail with ports of its
//! own is not in that list: rules of its own drop what goes there. What a source in the set
//! `ringfence-throttled` sends to SIP's ports goes through a chain that lets so much of it
//! pass as its buckets say (see `signalling`) and drops the rest.
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
use crate::action::signalling::{self, Bucket, REMEMBERED_SECS, TCP_HEADER_WORDS, TRANSPORTS};
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

/// The chains that hold back, without the transport at their end.
const CHAINS: &str = "ringfence-sip-";

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
    /// What the throttled send to SIP's ports goes through a chain that holds it back.
    Throttle(Transport),
}

impl Rule {
    /// Those that hold back.
    pub(super) const THROTTLES: [Rule; 2] =
        [Rule::Throttle(TRANSPORTS[0]), Rule::Throttle(TRANSPORTS[1])];

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
                let ports = multiport(ports);
                format!(
                    "-p {word}{ports} -m set ! --match-set {} src ! --update-counters -m set --match-set {set} src",
                    &*allow
                )
            }
            // The chain counts what it drops.
            Rule::Throttle(transport) => format!(
                "-p {}{} -m set ! --match-set {} src ! --update-counters -m set --match-set {} src ! --update-counters",
                transport.word(),
                multiport(&signalling::PORTS),
                &*allow,
                &*Name::of(&Set::Throttled, family)
            ),
        };
        let target = match self {
            Rule::Throttle(transport) => format!("{CHAINS}{}", transport.word()),
            Rule::Drop | Rule::Narrow { .. } => "DROP".to_owned(),
        };
        format!("{matches} -m comment --comment {ROOT} -j {target}")
    }
}

/// The match of these ports.
fn multiport(ports: &[Ports]) -> String {
    match ports {
        [Ports::ALL] => String::new(),
        ports => {
            let texts: Vec<String> = ports.iter().map(|ports| ports.text(':')).collect();
            format!(" -m multiport --dports {}", texts.join(","))
        }
    }
}

/// The rules of the chains that hold back, as one would write them behind `iptables`.
fn chains(family: Family) -> Vec<String> {
    let mut rules = Vec::new();
    for transport in TRANSPORTS {
        let word = transport.word();
        let chain = format!("-A {CHAINS}{word}");
        if transport == Transport::Tcp {
            for words in TCP_HEADER_WORDS {
                let bare = bare(words, family);
                rules.push(format!("{chain} -p tcp -m u32 --u32 \"{bare}\" -j RETURN"));
            }
        }
        for bucket in Bucket::of(transport) {
            let limit = limit(bucket);
            if bucket.starts.is_empty() {
                rules.push(format!("{chain} {limit} -j RETURN"));
            }
            for start in bucket.starts {
                let begins = begins(start, transport, family);
                rules.push(format!(
                    "{chain} -p {word} -m u32 --u32 \"{begins}\" {limit} -j RETURN"
                ));
            }
        }
        let set = Name::of(&Set::Throttled, family);
        rules.push(format!("{chain} -m set --match-set {} src -j DROP", &*set));
    }
    rules
}

/// The match of what a bucket has room for. Rules of one bucket share it by its name, for
/// which old kernels have 15 bytes.
fn limit(bucket: &Bucket) -> String {
    let size = bucket
        .bytes_max
        .map(|max| format!("-m length --length 0:{max} "));
    format!(
        "{}-m hashlimit --hashlimit-upto {}/min --hashlimit-burst {} --hashlimit-mode srcip \
         --hashlimit-name rf-{} --hashlimit-htable-expire {}",
        size.unwrap_or_default(),
        bucket.per_minute,
        bucket.burst,
        bucket.full_name(),
        u64::from(REMEMBERED_SECS) * 1_000
    )
}

/// A program of iptables' `u32`: does the message begin so? Where headers of IPv6 stand
/// between, it says no.
fn begins(start: &[u8], transport: Transport, family: Family) -> String {
    let (is_it, payload) = match (family, transport) {
        (Family::V4, Transport::Tcp) => (String::new(), "0>>22&0x3C@12>>26&0x3C@"),
        (Family::V4, _) => (String::new(), "0>>22&0x3C@"),
        (Family::V6, Transport::Tcp) => ("4>>8&0xFF=6&&".to_owned(), "52>>26&0x3C@"),
        (Family::V6, _) => (format!("4>>8&0xFF={}&&", transport.number()), ""),
    };
    let first = match (family, transport) {
        (Family::V4, Transport::Tcp) => 0,
        (Family::V4, _) => 8,
        (Family::V6, Transport::Tcp) => 40,
        (Family::V6, _) => 48,
    };
    let words = start.chunks(4).zip((first..).step_by(4));
    let words = words.map(|(bytes, offset)| {
        let mut word = [0; 4];
        let mut mask = [0; 4];
        for ((word, mask), byte) in word.iter_mut().zip(&mut mask).zip(bytes) {
            (*word, *mask) = (*byte, 0xff);
        }
        let mask = match u32::from_be_bytes(mask) {
            u32::MAX => String::new(),
            mask => format!("&0x{mask:x}"),
        };
        format!("{payload}{offset}{mask}=0x{:x}", u32::from_be_bytes(word))
    });
    is_it + &words.collect::<Vec<_>>().join("&&")
}

/// The same: is the segment no longer than its headers, that of TCP being so long?
fn bare(words: u8, family: Family) -> String {
    let bytes = 4 * u32::from(words);
    match family {
        Family::V4 => format!("0&0xFFFF={}&&0>>22&0x3C@12>>28={words}", 20 + bytes),
        Family::V6 => format!("4>>16={bytes}&&4>>8&0xFF=6&&52>>28={words}"),
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
pub(super) struct Placed {
    rules: Vec<Rule>,
    shown: Shown,
}

/// What iptables shows of ours, as it writes it behind `-A`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Shown {
    /// In PREROUTING.
    rules: Vec<String>,
    /// In the chains that hold back.
    chains: Vec<String>,
    /// The names of those chains that are there.
    names: Vec<String>,
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
    let mut tries = 1..TRIES_MAX;
    loop {
        let there = look(family, is_stray)?;
        if before.rules == rules && there == before.shown {
            return Ok(false);
        }
        let mut script = String::new();
        let throttles = rules.iter().any(Rule::is_throttle);
        if throttles {
            for transport in TRANSPORTS {
                let _ok = writeln!(script, ":{CHAINS}{} - [0:0]", transport.word());
            }
            script += &(chains(family).join("\n") + "\n");
        }
        for line in &there.rules {
            let _ok = writeln!(script, "-D {line}");
        }
        for (place, rule) in (1..).zip(rules) {
            let _ok = writeln!(script, "-I PREROUTING {place} {}", rule.words(family));
        }
        if !throttles {
            script += &removal(&there.names);
        }
        let put = restore(family, &script);
        if put.is_err() && tries.next().is_some() {
            continue; // somebody may have changed them in between
        }
        put?;
        *before = Placed {
            rules: rules.to_vec(),
            shown: look(family, is_stray)?,
        };
        let is_drop = |line: &String| line.contains(&format!("--match-set {ROOT} src"));
        return Ok(!there.rules.iter().any(is_drop));
    }
}

/// Are the rules that we have put in place still there?
pub(super) fn check(
    family: Family,
    placed: &Placed,
    is_stray: &dyn Fn(&str) -> bool,
) -> Result<Found, Error> {
    let there = look(family, is_stray)?;
    let rules = placed.rules.iter().zip(&placed.shown.rules);
    let gone = rules.filter(|(_, line)| !there.rules.contains(line));
    let mut gone: Vec<Rule> = gone.map(|(rule, _)| rule.clone()).collect();
    let is_held_back = placed.rules.iter().any(Rule::is_throttle);
    if is_held_back && there.chains != placed.shown.chains {
        gone.extend(Rule::THROTTLES);
    }
    Ok(if !gone.is_empty() {
        Found::Gone(gone)
    } else if there == placed.shown {
        Found::Whole
    } else {
        Found::Changed
    })
}

/// Takes away these chains, which no rule leads to any more.
fn removal(names: &[String]) -> String {
    let mut script = String::new();
    for name in names {
        let _ok = writeln!(script, "-F {name}\n-X {name}");
    }
    script
}

/// Takes all rules of ours away, whoever has put them there; but for those of sets that
/// are not `is_mine`.
pub(super) fn remove(family: Family, is_mine: &dyn Fn(&str) -> bool) -> Result<(), Error> {
    if !is_spoken(family) {
        return Ok(());
    }
    let there = look(family, &|set| !is_mine(set))?;
    let mut script = String::new();
    for line in &there.rules {
        let _ok = writeln!(script, "-D {line}");
    }
    if is_mine(&Name::of(&Set::Throttled, family)) {
        script += &removal(&there.names);
    }
    match script.is_empty() {
        true => Ok(()),
        false => restore(family, &script),
    }
}

/// Our rules, but for those of sets that are let be.
fn look(family: Family, is_let_be: &dyn Fn(&str) -> bool) -> Result<Shown, Error> {
    let program = iptables(family);
    let arguments = ["-w", LOCK_SECS, "-t", "raw", "-S"];
    let ended = run(program, &arguments, "")?;
    if !ended.success {
        let command = format!("{program} {}", arguments.join(" "));
        return Err(explain(family, command, &ended.said));
    }
    let mut shown = Shown::default();
    for line in ended.output.lines() {
        if let Some(name) = line.strip_prefix("-N ").filter(|name| is_chain(name)) {
            shown.names.push(name.to_owned());
        } else if let Some(line) = line.strip_prefix("-A ") {
            match set_of(line) {
                _ if line.split(' ').next().is_some_and(is_chain) => {
                    shown.chains.push(line.to_owned());
                }
                Some(set) if line.starts_with("PREROUTING ") && !is_let_be(set) => {
                    shown.rules.push(line.to_owned());
                }
                _ => {}
            }
        }
    }
    Ok(shown)
}

fn is_chain(name: &str) -> bool {
    let transport = name.strip_prefix(CHAINS);
    transport.is_some_and(|word| TRANSPORTS.iter().any(|one| one.word() == word))
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
    fn beginnings_are_compared_where_the_message_begins() {
        let table: String = [
            (Family::V4, Transport::Udp, &b"ACK "[..]),
            (Family::V4, Transport::Udp, b"CANCEL "),
            (Family::V4, Transport::Tcp, b"SIP/2.0 "),
            (Family::V6, Transport::Udp, b"BYE "),
            (Family::V6, Transport::Tcp, b"INVITE "),
        ]
        .map(|(family, transport, start)| begins(start, transport, family) + "\n")
        .concat();
        expect_test::expect![[r#"
            0>>22&0x3C@8=0x41434b20
            0>>22&0x3C@8=0x43414e43&&0>>22&0x3C@12&0xffffff00=0x454c2000
            0>>22&0x3C@12>>26&0x3C@0=0x5349502f&&0>>22&0x3C@12>>26&0x3C@4=0x322e3020
            4>>8&0xFF=17&&48=0x42594520
            4>>8&0xFF=6&&52>>26&0x3C@40=0x494e5649&&52>>26&0x3C@44&0xffffff00=0x54452000
        "#]]
        .assert_eq(&table);
        assert!(Bucket::of(Transport::Udp).all(|bucket| bucket.full_name().len() <= 12));
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
