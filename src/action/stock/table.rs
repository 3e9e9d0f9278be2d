//! A set of nftables', with rules that look into it, in a table that jails share.
//!
//! Bans go through `nft`, all that wait in one run and one transaction.

use std::fmt::Write;

use serde_json::Value;

use super::{Change, TableLayout};
use crate::action::Kept;
use crate::action::error::Error;
use crate::action::program::{must, run};

/// Who is in the set; `None`: there is no such set.
pub(super) fn read(layout: &TableLayout) -> Result<Option<Vec<Kept>>, Error> {
    let arguments = ["-j", "list", "set", &layout.place()];
    let ended = run("nft", &arguments, "")?;
    if ended.success {
        let json: Value = serde_json::from_str(&ended.output).unwrap_or_default();
        return Ok(Some(elements(&json)));
    }
    match ended.said.contains("No such file or directory") {
        true => Ok(None),
        false => Err(Error::Rule {
            command: format!("nft {}", arguments.join(" ")),
            said: ended.said,
        }),
    }
}

/// The elements of the set in what `nft -j list set` prints: addresses, prefixes, and
/// either with more about them.
fn elements(json: &Value) -> Vec<Kept> {
    let objects = json["nftables"].as_array().into_iter().flatten();
    let elements = objects.filter_map(|object| object["set"]["elem"].as_array());
    let kept = |element: &Value| {
        let more = &element["elem"];
        let value = match &more["val"] {
            Value::Null => element,
            value => value,
        };
        let addr = match &value["prefix"] {
            Value::Null => value.as_str()?.parse().ok()?,
            prefix => {
                let (addr, len) = (prefix["addr"].as_str()?, prefix["len"].as_u64()?);
                format!("{addr}/{len}").parse().ok()?
            }
        };
        let counter = |name: &str| more["counter"][name].as_u64().unwrap_or_default();
        Some(Kept {
            addr,
            timeout_secs: 0,
            packets: counter("packets"),
            bytes: counter("bytes"),
        })
    };
    elements.flatten().filter_map(kept).collect()
}

/// Makes what is missing of table, chain and set, and of the rules if it shall have them.
pub(super) fn make(layout: &TableLayout, is_there: bool, rules: bool) -> Result<(), Error> {
    let TableLayout { table, chain, .. } = layout;
    let before = match is_there {
        true => handles(layout)?,
        false => Vec::new(),
    };
    let wanted = if rules { layout.rules.as_slice() } else { &[] };
    if is_there && before.len() == wanted.len() {
        return Ok(());
    }
    let mut script = format!(
        "add table {table}\nadd chain {table} {chain} {{ {} }}\nadd set {} {{ {} ; }}\n",
        layout.chain_made,
        layout.place(),
        layout.set_made
    );
    for handle in before {
        let _ok = writeln!(script, "delete rule {table} {chain} handle {handle}");
    }
    for rule in wanted {
        let _ok = writeln!(script, "add rule {table} {chain} {rule}");
    }
    must("nft", &["-f", "-"], &script).map(drop)
}

/// How many of its rules look into the set.
pub(super) fn rules(layout: &TableLayout) -> Result<usize, Error> {
    handles(layout).map(|handles| handles.len())
}

/// Puts elements in and takes elements out, all or none.
pub(super) fn change(layout: &TableLayout, changes: &[Change]) -> Result<(), Error> {
    let place = layout.place();
    let mut script = String::new();
    for change in changes {
        let _ok = match change {
            Change::In(entry) => writeln!(script, "add element {place} {{ {} }}", entry.addr),
            Change::Out(addr) => writeln!(script, "delete element {place} {{ {addr} }}"),
        };
    }
    must("nft", &["-f", "-"], &script).map(drop)
}

/// Takes it away; the table too if no set is left in it.
pub(super) fn remove(layout: &TableLayout) -> Result<(), Error> {
    if read(layout)?.is_none() {
        return Ok(());
    }
    let TableLayout { table, chain, .. } = layout;
    let mut script = String::new();
    for handle in handles(layout)? {
        let _ok = writeln!(script, "delete rule {table} {chain} handle {handle}");
    }
    must(
        "nft",
        &["-f", "-"],
        &(script + &format!("delete set {}\n", layout.place())),
    )?;
    let left = must("nft", &["list", "table", table], "")?;
    let has_set = |line: &str| line.trim_start().starts_with("set ");
    if !left.lines().any(has_set) {
        must("nft", &["delete", "table", table], "")?;
    }
    Ok(())
}

/// The handles of the rules that look into the set.
fn handles(layout: &TableLayout) -> Result<Vec<String>, Error> {
    let set = format!("@{}", layout.set);
    let ended = run(
        "nft",
        &["-a", "list", "chain", &layout.table, &layout.chain],
        "",
    )?;
    let ours = |line: &&str| line.split_whitespace().any(|word| word == set);
    let handle = |line: &str| {
        line.split("# handle ")
            .nth(1)
            .map(|text| text.trim().to_owned())
    };
    Ok(ended
        .output
        .lines()
        .filter(ours)
        .filter_map(handle)
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_of_every_form_are_read() {
        let json = r#"{"nftables": [{"metainfo": {}}, {"set": {"elem": [
            "192.0.2.7", {"prefix": {"addr": "198.51.100.0", "len": 24}},
            {"elem": {"val": "203.0.113.1", "timeout": 60,
            "counter": {"packets": 5, "bytes": 9}}}, {"range": ["a", "b"]}, 7]}}]}"#;
        let found = elements(&serde_json::from_str(json).expect("json"));
        let found: Vec<String> = found
            .iter()
            .map(|kept| format!("{} {}", kept.addr, kept.packets))
            .collect();
        assert_eq!(found, ["192.0.2.7 0", "198.51.100.0/24 0", "203.0.113.1 5"]);
    }
}
