//! `port` and `protocol` of a jail that bans in a set of ours: what its drops are for.
//!
//! Without either everything is dropped. The keys are fail2ban's, with its words: names of
//! services, numbers, ranges as `5060:5061` or `5060-5061`, with commas between; and
//! `0:65535`, which is all. In a jail of ours `protocol` is `all` unless it says otherwise.
//! In a tree they are what its action is given, as in `ringfence[port="ssh", protocol="tcp"]`.

use std::collections::BTreeMap;
use std::fs;

use crate::action::{Ports, Reach, Transport};

/// Where the system names ports.
const SERVICES: &str = "/etc/services";

/// Names that a phone server's jails use, for hosts without [`SERVICES`] (package netbase).
const SERVICES_KNOWN: [(&str, u16); 6] = [
    ("http", 80),
    ("https", 443),
    ("sip", 5060),
    ("sips", 5061),
    ("sip-tls", 5061),
    ("ssh", 22),
];

/// What stands for all ports, and for all transports.
const ALL: &str = "all";

/// What cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum PortsError {
    /// One of `port`.
    #[error(
        "`{0}` is neither a port from 1 to 65535, nor a range as in `5060:5061`, nor a service that {SERVICES} names; write such with commas between, or `all`"
    )]
    Port(String),
    /// A range that ends before it begins.
    #[error("the range `{0}` ends before it begins; write the lower port first")]
    Backwards(String),
    /// One of `protocol`.
    #[error("`{0}` is none of: tcp, udp, sctp, all; write one, or some with commas between")]
    Protocol(String),
}

/// The reach of drops for these ports and protocols, as written.
pub(super) fn reach(port: Option<&str>, protocol: Option<&str>) -> Result<Reach, PortsError> {
    let protocols = protocols(protocol.unwrap_or(ALL))?;
    let ports = ports(port.unwrap_or(ALL), &|name| service(name))?;
    let is_all = protocols.len() == Transport::ALL.len() && ports.contains(&Ports::ALL);
    Ok(match is_all {
        true => Reach::EVERYTHING,
        false => Reach::only(&protocols, &ports),
    })
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    let words = text.split(|letter: char| letter == ',' || letter.is_whitespace());
    words.filter(|word| !word.is_empty())
}

fn protocols(text: &str) -> Result<Vec<Transport>, PortsError> {
    let mut protocols = Vec::new();
    for word in words(text) {
        if word.eq_ignore_ascii_case(ALL) {
            return Ok(Transport::ALL.to_vec());
        }
        let mut known = Transport::ALL.into_iter();
        let found = known.find(|one| word.eq_ignore_ascii_case(one.word()));
        protocols.push(found.ok_or_else(|| PortsError::Protocol(word.to_owned()))?);
    }
    match protocols.is_empty() {
        true => Err(PortsError::Protocol(text.to_owned())),
        false => Ok(protocols),
    }
}

fn ports(text: &str, service: &dyn Fn(&str) -> Option<u16>) -> Result<Vec<Ports>, PortsError> {
    let mut ports = Vec::new();
    for word in words(text) {
        let own = match word.eq_ignore_ascii_case(ALL) {
            true => Ports::ALL,
            false => one(word, service)?,
        };
        ports.push(own);
    }
    match ports.is_empty() {
        true => Err(PortsError::Port(text.to_owned())),
        false => Ok(ports),
    }
}

/// A port or a range. Names of services can have a `-` as well.
fn one(word: &str, service: &dyn Fn(&str) -> Option<u16>) -> Result<Ports, PortsError> {
    let number = |text: &str| text.parse::<u16>().ok().or_else(|| service(text));
    if let Some(port) = number(word).filter(|port| *port > 0) {
        let (first, last) = (port, port);
        return Ok(Ports { first, last });
    }
    let ends = word.split_once(':').or_else(|| word.split_once('-'));
    let ends = ends.and_then(|(first, last)| number(first).zip(number(last)));
    match ends {
        Some((first, last)) if first > last => Err(PortsError::Backwards(word.to_owned())),
        Some((first, last)) if last > 0 => Ok(Ports { first, last }),
        _ => Err(PortsError::Port(word.to_owned())),
    }
}

/// The port of a service.
fn service(name: &str) -> Option<u16> {
    let text = fs::read_to_string(SERVICES).unwrap_or_default();
    let found = services(&text).get(name).copied();
    found.or_else(|| {
        let mut known = SERVICES_KNOWN.iter();
        known
            .find(|(known, _)| *known == name)
            .map(|(_, port)| *port)
    })
}

/// What a file of services names, aliases too.
fn services(text: &str) -> BTreeMap<&str, u16> {
    let mut services = BTreeMap::new();
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_whitespace();
        let (name, port) = (words.next(), words.next());
        let port = port.and_then(|port| port.split('/').next()?.parse().ok());
        if let Some(port) = port {
            for name in name.into_iter().chain(words) {
                services.entry(name).or_insert(port);
            }
        }
    }
    services
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::fail2ban::testing::write_tree;
    use crate::config::{Config, Location, Purpose};

    #[test]
    fn ports_and_protocols_are_read() {
        let written = |port: &str, protocol: &str| {
            let some = |text: &str| (text != "-").then(|| text.to_owned());
            let (port, protocol) = (some(port), some(protocol));
            match reach(port.as_deref(), protocol.as_deref()) {
                Ok(reach) => reach.to_string(),
                Err(error) => error.to_string(),
            }
        };
        let table: String = [
            ("-", "-"),
            ("ssh", "tcp"),
            ("sip", "-"),
            ("5060,5061", "udp"),
            ("5060:5061, http\n8089", "tcp, UDP"),
            ("5060-5061", "tcp"),
            ("sip-sip-tls", "tcp"),
            ("0:65535", "tcp"),
            ("0:65535", "all"),
            ("all", "-"),
            ("-", "udp"),
            ("506o", "tcp"),
            ("0", "tcp"),
            ("65536", "tcp"),
            ("5061:5060", "tcp"),
            ("5060:", "tcp"),
            ("", "tcp"),
            ("5060", "tpc"),
            ("5060", ""),
        ]
        .map(|(port, protocol)| {
            let read = written(port, protocol);
            format!("{port:?} {protocol:?}: {read}\n")
        })
        .concat();
        expect_test::expect![[r#"
            "-" "-": all ports
            "ssh" "tcp": tcp 22
            "sip" "-": tcp 5060, udp 5060, sctp 5060
            "5060,5061" "udp": udp 5060-5061
            "5060:5061, http\n8089" "tcp, UDP": tcp 80,5060-5061,8089, udp 80,5060-5061,8089
            "5060-5061" "tcp": tcp 5060-5061
            "sip-sip-tls" "tcp": tcp 5060-5061
            "0:65535" "tcp": tcp all ports
            "0:65535" "all": all ports
            "all" "-": all ports
            "-" "udp": udp all ports
            "506o" "tcp": `506o` is neither a port from 1 to 65535, nor a range as in `5060:5061`, nor a service that /etc/services names; write such with commas between, or `all`
            "0" "tcp": `0` is neither a port from 1 to 65535, nor a range as in `5060:5061`, nor a service that /etc/services names; write such with commas between, or `all`
            "65536" "tcp": `65536` is neither a port from 1 to 65535, nor a range as in `5060:5061`, nor a service that /etc/services names; write such with commas between, or `all`
            "5061:5060" "tcp": the range `5061:5060` ends before it begins; write the lower port first
            "5060:" "tcp": `5060:` is neither a port from 1 to 65535, nor a range as in `5060:5061`, nor a service that /etc/services names; write such with commas between, or `all`
            "" "tcp": `` is neither a port from 1 to 65535, nor a range as in `5060:5061`, nor a service that /etc/services names; write such with commas between, or `all`
            "5060" "tpc": `tpc` is none of: tcp, udp, sctp, all; write one, or some with commas between
            "5060" "": `` is none of: tcp, udp, sctp, all; write one, or some with commas between
        "#]].assert_eq(&table);
    }

    /// The reach of each jail of a tree, or else what is wrong with it.
    fn of_tree(jails: &str) -> Vec<String> {
        const HEAD: &str = "[DEFAULT]\nenabled = true\nfilter = own\nlogpath = /var/log/own\nport = 0:65535\n\
             protocol = tcp\nbanaction = ringfence\nbanaction_allports = ringfence-allports\n\
             action_ = %(banaction)s[port=\"%(port)s\", protocol=\"%(protocol)s\", chain=\"INPUT\"]\n\
             action = %(action_)s\n";
        let tree = write_tree(&[
            ("jail.conf", &format!("{HEAD}{jails}")),
            (
                "filter.d/own.conf",
                "[Definition]\nfailregex = from <HOST>$\n",
            ),
        ]);
        let own = tempfile::tempdir().unwrap();
        let location = Location {
            folder: own.path().to_owned(),
            tree: Some(tree.path().to_owned()),
        };
        let config = Config::load(&location, Purpose::Ban).unwrap();
        let jails = config.jails.iter().filter(|jail| !jail.built_in);
        let reaches = jails.map(|jail| format!("{}: {}", jail.rules.name, jail.reach));
        let folder = format!("{}/", tree.path().display());
        let problems = config.problems.iter().map(|one| one.replace(&folder, ""));
        reaches.chain(problems).collect()
    }

    #[test]
    fn a_trees_jail_has_what_its_action_is_given() {
        assert_eq!(
            of_tree(
                "[sshd]\nport = ssh\n\
                 [web]\nport = http,https\nprotocol = all\n\
                 [default]\n\
                 [asterisk]\nport = 5060,5061\n\
                 action = %(action_)s[name=a, protocol=tcp]\n  %(action_)s[name=b, protocol=udp]\n\
                 [plain]\nport = ssh\naction = ringfence\n\
                 [recidive]\nport = ssh\nbanaction = %(banaction_allports)s\n\
                 [wrong]\nport = shh\n"
            ),
            [
                "sshd: tcp 22",
                "web: tcp 80,443, udp 80,443, sctp 80,443",
                "default: tcp all ports",
                "asterisk: tcp 5060-5061, udp 5060-5061",
                "plain: all ports",
                "recidive: all ports",
                "jail.conf:27: jail wrong: action ringfence (jail.conf:10): `shh` is neither a port from 1 to 65535, nor a range as in `5060:5061`, nor a service that /etc/services names; write such with commas between, or `all`",
            ]
        );
    }

    #[test]
    fn services_are_found_by_each_of_their_names() {
        let text = "# comment\nssh 22/tcp # SSH\nsip\t5060/tcp\nsip\t5060/udp\nsip-tls 5061/tcp sips\nbroken\n";
        let found = services(text);
        let names: Vec<(&str, u16)> = found.into_iter().collect();
        assert_eq!(
            names,
            [
                ("sip", 5060),
                ("sip-tls", 5061),
                ("sips", 5061),
                ("ssh", 22)
            ]
        );
    }
}
