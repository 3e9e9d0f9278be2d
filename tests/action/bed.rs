//! The kinds of firewall that every row is run on, and how to look at each with the
//! programs of its own.

use std::collections::BTreeMap;

use ringfence::action::{Backend, Firewall, Sizes};
use ringfence::ticket::Set;
use serde_json::Value;

use crate::jail;
use crate::namespace::run;

/// A kind of firewall on a kind of host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bed {
    /// ipset, with the iptables that speaks to nf_tables.
    Ipset,
    /// ipset, with the old iptables.
    Legacy,
    /// nftables.
    Nftables,
}

/// An entry as its program shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    /// Seconds that are left; 0 is until removed.
    pub(crate) timeout_secs: u32,
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
}

impl Bed {
    /// Makes the namespace such a host.
    pub(crate) fn prepare(self) -> Self {
        if self == Bed::Legacy {
            run("mount --bind /usr/sbin/xtables-legacy-multi /usr/sbin/xtables-nft-multi");
        }
        self
    }

    pub(crate) fn backend(self) -> Backend {
        match self {
            Bed::Ipset | Bed::Legacy => Backend::Ipset,
            Bed::Nftables => Backend::Nftables,
        }
    }

    pub(crate) fn open(self, sizes: Sizes) -> Firewall {
        Firewall::open(self.backend(), sizes).expect("open")
    }

    /// A firewall with a jail and the list.
    pub(crate) fn firewall(self, sizes: Sizes) -> Firewall {
        let mut firewall = self.open(sizes);
        firewall.ensure(&[jail(), Set::List]).expect("ensure");
        firewall
    }

    /// The members of a set of one family, single addresses and prefixes.
    pub(crate) fn members(self, name: &str) -> BTreeMap<String, Member> {
        match self {
            Bed::Ipset | Bed::Legacy => ipset_members(name),
            Bed::Nftables => nft_sets(name)
                .into_iter()
                .flat_map(|(set, length)| nft_members(&set, &length))
                .collect(),
        }
    }

    /// The addresses in a set of one family.
    pub(crate) fn addresses(self, name: &str) -> Vec<String> {
        self.members(name).into_keys().collect()
    }

    /// Rules of ours that drop, over IPv4 and over IPv6.
    pub(crate) fn drops(self) -> (usize, usize) {
        match self {
            Bed::Ipset | Bed::Legacy => (rules("iptables").len(), rules("ip6tables").len()),
            Bed::Nftables => {
                let drops = nft_rules();
                let drops = drops.iter().filter(|rule| rule.ends_with(" drop"));
                let (six, four): (Vec<_>, Vec<_>) =
                    drops.partition(|rule| rule.starts_with("ip6 "));
                (four.len(), six.len())
            }
        }
    }

    /// Puts an entry in with a count, by its program.
    pub(crate) fn put_counted(self, name: &str, addr: &str) {
        match self {
            Bed::Ipset | Bed::Legacy => run(&format!(
                "ipset add {name} {addr} timeout 3600 packets 7 bytes 700 -exist"
            )),
            Bed::Nftables => {
                run(&format!(
                    "nft delete element inet ringfence {name} {{ {addr} }}"
                ));
                run(&format!(
                    "nft add element inet ringfence {name} {{ {addr} counter packets 7 bytes 700 timeout 1h }}"
                ))
            }
        };
    }

    /// Takes the IPv4 rule away that drops what is in the set, as somebody might.
    pub(crate) fn remove_rule(self, name: &str) {
        match self {
            Bed::Ipset | Bed::Legacy => run("iptables -t raw -F"),
            Bed::Nftables => run(&format!(
                "nft delete rule inet ringfence prerouting handle {}",
                nft_handle(name)
            )),
        };
    }

    /// Writes another port into the IPv4 rule of a set, as somebody might.
    pub(crate) fn change_port(self, name: &str, from: u16, to: u16) {
        match self {
            Bed::Ipset | Bed::Legacy => {
                let rules = rules("iptables");
                let is_it = |rule: &&String| rule.contains(&format!("--match-set {name} "));
                let place = rules
                    .iter()
                    .position(|rule| is_it(&rule))
                    .expect("the rule")
                    + 1;
                let rule = rules[place - 1].replace(&from.to_string(), &to.to_string());
                let words = rule.strip_prefix("-A PREROUTING").expect("a rule");
                run(&format!("iptables -t raw -R PREROUTING {place}{words}"))
            }
            Bed::Nftables => run(&format!(
                "nft replace rule inet ringfence prerouting handle {} tcp dport {to} ip saddr @{name} drop",
                nft_handle(name)
            )),
        };
    }

    /// How many entries the set of single addresses can hold.
    pub(crate) fn size(self, name: &str) -> u32 {
        let listed = match self {
            Bed::Ipset | Bed::Legacy => run(&format!("ipset list -t {name}")),
            Bed::Nftables => run(&format!("nft list set inet ringfence {name}")),
        };
        let mut words = listed.split_whitespace();
        words.find(|word| ["maxelem", "size"].contains(word));
        words
            .next()
            .and_then(|word| word.parse().ok())
            .expect("a size")
    }

    /// The names of all sets, other people's too.
    pub(crate) fn sets(self) -> Vec<String> {
        let mut names: Vec<String> = match self {
            Bed::Ipset | Bed::Legacy => run("ipset list -n").lines().map(str::to_owned).collect(),
            Bed::Nftables => nft("list sets")
                .iter()
                .map(|set| text(&set["set"]["name"]))
                .collect(),
        };
        names.sort();
        names
    }
}

/// The number of the rule that drops what is in the set.
fn nft_handle(name: &str) -> String {
    let chain = run("nft -a list chain inet ringfence prerouting");
    let mut lines = chain.lines();
    let rule = lines.find(|line| line.contains(&format!("@{name} drop")));
    let (_, handle) = rule
        .and_then(|rule| rule.rsplit_once(' '))
        .expect("the rule");
    handle.to_owned()
}

/// The rules of a program's raw table.
pub(crate) fn rules(program: &str) -> Vec<String> {
    run(&format!("{program} -t raw -S"))
        .lines()
        .filter(|line| line.starts_with("-A"))
        .map(str::to_owned)
        .collect()
}

/// The rules of our chain as nft writes them; none if it is not there.
pub(crate) fn nft_rules() -> Vec<String> {
    run("nft list ruleset")
        .lines()
        .map(str::trim)
        .skip_while(|line| *line != "chain prerouting {")
        .skip(2)
        .take_while(|line| *line != "}")
        .map(str::to_owned)
        .collect()
}

fn ipset_members(name: &str) -> BTreeMap<String, Member> {
    let listed = run(&format!("ipset list {name}"));
    let members = listed
        .lines()
        .skip_while(|line| *line != "Members:")
        .skip(1);
    let member = |line: &str| {
        let (addr, rest) = line.split_once(' ').unwrap_or((line, ""));
        let number = |word: &str| {
            let mut words = rest.split(' ').skip_while(|other| *other != word);
            words
                .nth(1)
                .and_then(|number| number.parse::<u64>().ok())
                .unwrap_or(0)
        };
        let member = Member {
            timeout_secs: u32::try_from(number("timeout")).expect("seconds"),
            packets: number("packets"),
            bytes: number("bytes"),
        };
        (addr.to_owned(), member)
    };
    members.map(member).collect()
}

/// What `nft -j` lists, one by one.
fn nft(command: &str) -> Vec<Value> {
    let json: Value = serde_json::from_str(&run(&format!("nft -j {command}"))).expect("JSON");
    let mut all = json["nftables"].as_array().expect("an array").clone();
    all.retain(|one| one["metainfo"].is_null());
    all
}

fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}

/// The sets of a name: for single addresses, and with the length behind it for prefixes.
fn nft_sets(name: &str) -> Vec<(String, String)> {
    let name = name.replace('~', "/");
    let sets = Bed::Nftables.sets().into_iter();
    sets.filter_map(|set| {
        let behind = set.strip_prefix(&name)?.to_owned();
        let is_length = behind
            .strip_prefix('/')
            .is_some_and(|digits| digits.parse::<u8>().is_ok());
        (behind.is_empty() || is_length).then_some((set, behind))
    })
    .collect()
}

fn nft_members(set: &str, length: &str) -> Vec<(String, Member)> {
    let listed = nft(&format!("list set inet ringfence {set}"));
    let elements = listed[0]["set"]["elem"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let member = |element: &Value| {
        // One without counters and time-out is shown as its address alone.
        let element = match element {
            Value::String(_) => &serde_json::json!({"val": element}),
            _ => &element["elem"],
        };
        let number = |value: &Value| value.as_u64().unwrap_or(0);
        let member = Member {
            timeout_secs: u32::try_from(number(&element["expires"])).expect("seconds"),
            packets: number(&element["counter"]["packets"]),
            bytes: number(&element["counter"]["bytes"]),
        };
        (text(&element["val"]) + length, member)
    };
    elements.iter().map(member).collect()
}
