//! Where a jail's bans count, in an operator's words: `the chain f2b-pbx, udp 5060,5061`.

use super::{Kind, Layout};
use crate::action::Family;

/// The places of a jail. A chain that both families have by the same name is named once.
pub fn describe(layouts: &[Layout]) -> Vec<String> {
    let mut described: Vec<(String, Vec<Family>)> = Vec::new();
    for layout in layouts {
        let words = format!("{}, {}", layout.kind.place(), layout.reach());
        match described.iter_mut().find(|(known, _)| *known == words) {
            Some((_, families)) => families.push(layout.family),
            None => described.push((words, vec![layout.family])),
        }
    }
    let family = |families: &Vec<Family>| match families.as_slice() {
        [Family::V4] => " of IPv4",
        [Family::V6] => " of IPv6",
        _ => "",
    };
    described
        .iter()
        .map(|(words, families)| words.clone() + family(families))
        .collect()
}

impl Layout {
    /// Which packets of whom is banned are refused: `udp 5060`, `all packets`.
    pub fn reach(&self) -> String {
        reach(&self.kind)
    }
}

fn reach(kind: &Kind) -> String {
    let rules: Vec<Vec<&str>> = match kind {
        Kind::Chain(chain) => words_of(chain.jumps.iter().map(|rule| &rule.words)),
        Kind::Set(set) => words_of(set.jumps.iter().map(|rule| &rule.words)),
        Kind::Table(table) => table
            .rules
            .iter()
            .map(|rule| rule.split(' ').collect())
            .collect(),
    };
    let mut reaches: Vec<String> = Vec::new();
    for rule in &rules {
        let reach = match kind {
            Kind::Table(_) => reach_of_nft(rule),
            _ => reach_of_iptables(rule),
        };
        if !reaches.contains(&reach) {
            reaches.push(reach);
        }
    }
    reaches.join(" and ")
}

fn words_of<'a>(rules: impl Iterator<Item = &'a Vec<String>>) -> Vec<Vec<&'a str>> {
    rules
        .map(|words| words.iter().map(String::as_str).collect())
        .collect()
}

/// `-p udp -m multiport --dports 5060,5061 -j f2b-pbx`
fn reach_of_iptables(rule: &[&str]) -> String {
    let behind = |flags: &[&str]| {
        let at = rule.iter().position(|word| flags.contains(word))?;
        rule.get(at + 1).copied()
    };
    let protocol = behind(&["-p"]).filter(|protocol| *protocol != "all");
    let reach = [protocol, behind(&["--dports", "--dport"])];
    words(reach.into_iter().flatten().collect::<Vec<_>>().join(" "))
}

/// `udp dport { 5060,5061 } ip saddr @addr-set-pbx reject`, `meta l4proto { tcp,udp } …`
fn reach_of_nft(rule: &[&str]) -> String {
    let is_reach = |word: &&&str| !["meta", "l4proto", "dport", "th", "{", "}"].contains(*word);
    let before = rule.iter().take_while(|word| !["ip", "ip6"].contains(word));
    let reach: Vec<&str> = before.filter(is_reach).copied().collect();
    words(reach.join(" "))
}

fn words(reach: String) -> String {
    match reach.is_empty() {
        true => "all packets".to_owned(),
        false => reach,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::action::stock::{ChainLayout, Rule, SetLayout, TableLayout, Timeouts};

    #[test]
    fn places_are_said_in_words() {
        let split = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let jump = |text: &str| Rule {
            chain: "INPUT".to_owned(),
            words: split(text),
        };
        let chain = |jumps: &[&str]| {
            Kind::Chain(ChainLayout {
                table: "filter".to_owned(),
                chain: "f2b-pbx".to_owned(),
                rules: Vec::new(),
                jumps: jumps.iter().map(|words| jump(words)).collect(),
                target: Vec::new(),
            })
        };
        let set = |name: &str| {
            Kind::Set(SetLayout {
                name: name.to_owned(),
                made: Vec::new(),
                timeouts: Timeouts::None,
                jumps: vec![jump(
                    "-p tcp --dport ssh -m set --match-set f2b-pbx src -j DROP",
                )],
            })
        };
        let table = |rules: &[&str]| {
            Kind::Table(TableLayout {
                table: "inet f2b-table".to_owned(),
                chain: String::new(),
                chain_made: String::new(),
                set: "addr-set-pbx".to_owned(),
                set_made: String::new(),
                rules: rules.iter().map(|rule| (*rule).to_owned()).collect(),
            })
        };
        let both = [
            "-p tcp -m multiport --dports 5060,5061 -j f2b-pbx",
            "-p udp -m multiport --dports 5060,5061 -j f2b-pbx",
        ];
        for (four, six, expected) in [
            (
                chain(&both),
                Some(chain(&both)),
                "the chain f2b-pbx, tcp 5060,5061 and udp 5060,5061",
            ),
            (
                chain(&["-j f2b-pbx"]),
                None,
                "the chain f2b-pbx, all packets of IPv4",
            ),
            (
                set("f2b-pbx"),
                Some(set("f2b-pbx6")),
                "the ipset f2b-pbx, tcp ssh of IPv4; the ipset f2b-pbx6, tcp ssh of IPv6",
            ),
            (
                table(&["udp dport { 5060,5061 } ip saddr @addr-set-pbx reject"]),
                None,
                "the nft set addr-set-pbx of inet f2b-table, udp 5060,5061 of IPv4",
            ),
            (
                table(&["meta l4proto { tcp,udp } ip saddr @addr-set-pbx drop"]),
                None,
                "the nft set addr-set-pbx of inet f2b-table, tcp,udp of IPv4",
            ),
        ] {
            let mut layouts = vec![Layout {
                family: Family::V4,
                kind: four,
            }];
            layouts.extend(six.map(|kind| Layout {
                family: Family::V6,
                kind,
            }));
            assert_eq!(describe(&layouts).join("; "), expected);
        }
    }
}
