//! `--out`: only what was found, a line or more for each finding.
//!
//! `id`, `ip`, `msg`, `matches` and `row` are words of their own, any other word is a
//! group's name. A text with a tag in it is a template: `<F-USER>` is a group there.

use super::python::{repr, repr_groups, repr_or_none, repr_value, show_value};
use super::trial::{Finding, Seen, Trial};
use crate::filter::matched::Host;
use crate::ticket::Group;

/// Prints what was found in one line as `out` says it.
pub(super) fn out(out: &str, trial: &Trial, findings: &[Finding]) -> String {
    let counts = |finding: &&Finding| finding.id.is_some() && !finding.nofail;
    let Some(first) = findings.first().filter(counts) else {
        return String::new();
    };
    // Several findings of one failregex are the addresses of one name.
    let same = |finding: &&Finding| finding.form == first.form;
    let findings = findings.iter().take_while(same).filter(counts);
    findings
        .map(|finding| of_finding(out, trial, finding))
        .collect()
}

fn of_finding(out: &str, trial: &Trial, finding: &Finding) -> String {
    let id = finding.id.as_deref().unwrap_or_default();
    let lines = finding.lines.iter();
    match out {
        "id" | "fid" => format!("{id}\n"),
        "ip" => format!("{}\n", finding.ip.as_deref().unwrap_or(id)),
        "msg" => lines.map(|seen| format!("{}\n", seen.line)).collect(),
        "matches" => format!("{}\n", triples(&finding.lines)),
        "row" => row(trial, finding),
        _ if out.contains('<') && out.contains("<msg>") => {
            let each = |seen: &Seen| filled(out, finding, Some(&seen.line)) + "\n";
            lines.map(each).collect()
        }
        _ if out.contains('<') => filled(out, finding, None) + "\n",
        group => match group_text(finding, group) {
            Some(text) => format!("{text}\n"),
            None => "None\n".to_owned(),
        },
    }
}

fn group_text(finding: &Finding, name: &str) -> Option<String> {
    let mut groups = finding.found.groups.iter();
    let value = groups.find(|(own, _)| *own == name).map(|(_, value)| value);
    value.map(show_value)
}

/// The lines as Python's list of what stands before, in and after their dates.
fn triples(lines: &[Seen]) -> String {
    let triple = |seen: &Seen| {
        let part = |part: Option<&str>| repr(part.unwrap_or_default());
        let before = part(seen.line.get(..seen.date.start));
        let date = part(seen.line.get(seen.date.clone()));
        let after = part(seen.line.get(seen.date.end..));
        format!("({before}, {date}, {after})")
    };
    let triples: Vec<String> = lines.iter().map(triple).collect();
    format!("[{}]", triples.join(", "))
}

fn row(trial: &Trial, finding: &Finding) -> String {
    let found = &finding.found;
    let names = trial.filter.group_names(finding.form);
    // What a connection captured before is not known by its place: what is absent is left out.
    let connected = found.groups.text("mlfid").is_some();
    let present = |name: &&str| found.groups.iter().any(|(own, _)| own == *name);
    let hidden = ["content", "nofail", "mlfforget", "mlfgained"];
    let names: Vec<&str> = names
        .filter(|name| match connected {
            true => present(name) && !hidden.contains(name),
            false => *name != "content",
        })
        .collect();
    let mut more = Vec::new();
    if connected && !found.users.is_empty() {
        let users: Vec<String> = found.users.iter().map(|user| repr(user)).collect();
        more.push(("users", format!("{{{}}}", users.join(", "))));
    }
    if let Some(ip) = &finding.ip {
        more.push(("ip", repr(ip)));
    }
    let time = match finding.time {
        Some(time) => format!("{:?}", time.as_secs_f64()),
        None => "None".to_owned(),
    };
    format!(
        "[{},\t{time},\t{}],\n",
        repr_or_none(finding.id.as_deref()),
        repr_groups(&names, &found.groups, &more)
    )
}

/// A template with its tags filled in; unknown tags stay.
fn filled(template: &str, finding: &Finding, line: Option<&str>) -> String {
    let mut text = String::new();
    let mut rest = template;
    while let Some((before, behind)) = rest.split_once('<') {
        text.push_str(before);
        let Some((name, after)) = behind.split_once('>') else {
            text.push('<');
            rest = behind;
            continue;
        };
        match tag(name, finding, line) {
            Some(value) => {
                text.push_str(&value);
                rest = after;
            }
            None => {
                text.push('<');
                rest = behind;
            }
        }
    }
    text + rest
}

fn tag(name: &str, finding: &Finding, line: Option<&str>) -> Option<String> {
    let id = finding.id.as_deref().unwrap_or_default();
    let ip = finding.ip.as_deref().unwrap_or(id);
    let address = ip.parse::<std::net::IpAddr>().ok();
    Some(match name {
        "ip" => ip.to_owned(),
        "fid" => id.to_owned(),
        "msg" => line?.to_owned(),
        // A line without a date counts now.
        "time" => format!("{:?}", finding.found.time.as_secs_f64()),
        "matches" => {
            let lines: Vec<&str> = finding.lines.iter().map(|seen| &*seen.line).collect();
            lines.join("\n")
        }
        "family" => match address {
            Some(std::net::IpAddr::V4(_)) => "inet4".to_owned(),
            Some(std::net::IpAddr::V6(_)) => "inet6".to_owned(),
            None => "None".to_owned(),
        },
        "ip-rev" => address.map(reversed).unwrap_or_default(),
        "ip-host" => match &finding.found.host {
            Some(Host::Name(name)) => name.to_string(),
            _ => "None".to_owned(),
        },
        "failures" | "bancount" | "restored" => "0".to_owned(),
        "sp" => " ".to_owned(),
        "br" => "\n".to_owned(),
        "F-MATCHES" => triples(&finding.lines),
        _ => {
            let group = name.strip_prefix("F-")?.to_lowercase();
            let mut groups = finding.found.groups.iter();
            let value = groups.find(|(own, _)| *own == group);
            value
                .map(|(_, value)| match value {
                    Group::Text(text) => text.to_string(),
                    list => repr_value(list),
                })
                .unwrap_or_default()
        }
    })
}

/// An address as names of the reverse zone begin.
fn reversed(ip: std::net::IpAddr) -> String {
    match ip {
        std::net::IpAddr::V4(ip) => {
            let octets = ip.octets().into_iter().rev();
            octets.map(|octet| format!("{octet}.")).collect()
        }
        std::net::IpAddr::V6(ip) => {
            let nibbles = ip.octets().into_iter().rev();
            nibbles
                .map(|byte| format!("{:x}.{:x}.", byte & 15, byte >> 4))
                .collect()
        }
    }
}
