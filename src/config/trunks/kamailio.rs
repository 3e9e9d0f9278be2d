//! Kamailio's peers: the dispatcher's list and the addresses of the module permissions, as
//! plain files or as tables of db_text; where they lie, `kamailio.cfg` says.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use regex::Regex;

use super::{Found, Place, of_uri};

/// `modparam("dispatcher", "list_file", "/etc/kamailio/dispatcher.list")`
static MODPARAM: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let quoted = r#"\s*"([^"]*)"\s*"#;
    Regex::new(&format!(r"^\s*modparam\({quoted},{quoted},{quoted}\)")).ok()
});

pub(super) fn find(folder: &Path, found: &mut Found) {
    let mut dispatchers = BTreeSet::from([folder.join("dispatcher.list")]);
    let mut addresses = BTreeSet::from([folder.join("address.list")]);
    let mut tables = BTreeSet::from([folder.join("dbtext")]);
    let main = folder.join("kamailio.cfg");
    let text = found.read(&main).unwrap_or_default();
    for line in text.lines() {
        let Some(words) = MODPARAM
            .as_ref()
            .and_then(|modparam| modparam.captures(line))
        else {
            continue;
        };
        let word = |place: usize| words.get(place).map_or("", |word| word.as_str());
        let is_of = |module: &str| word(1).split('|').any(|name| name == module);
        let path = || folder.join(word(3));
        match word(2) {
            "list_file" if is_of("dispatcher") => drop(dispatchers.insert(path())),
            "address_file" if is_of("permissions") => drop(addresses.insert(path())),
            "db_url" => {
                let place = word(3).strip_prefix("text://").map(PathBuf::from);
                tables.extend(place);
            }
            _ => {}
        }
    }
    for path in dispatchers {
        each_line(&path, found, |words, place, found| {
            if let [set, uri, ..] = words {
                found.peer(
                    of_uri(uri),
                    &format!("Kamailio dispatcher set {set}"),
                    place,
                );
            }
        });
    }
    for path in addresses {
        each_line(&path, found, |words, place, found| {
            if let [group, ip, mask @ ..] = words {
                address(ip, mask.first().copied(), group, place, found);
            }
        });
    }
    for folder in tables {
        table(&folder.join("dispatcher"), found, |row, place, found| {
            let what = format!("Kamailio dispatcher set {}", row("setid"));
            found.peer(of_uri(&row("destination")), &what, place);
        });
        table(&folder.join("address"), found, |row, place, found| {
            address(
                &row("ip_addr"),
                Some(&row("mask")),
                &row("grp"),
                place,
                found,
            );
        });
        table(&folder.join("trusted"), found, |row, place, found| {
            found.peer(&row("src_ip"), "Kamailio trusted", place);
        });
    }
}

fn address(ip: &str, mask: Option<&str>, group: &str, place: Place<'_>, found: &mut Found) {
    let what = format!("Kamailio address group {group}");
    match mask.filter(|mask| mask.parse::<u8>().is_ok_and(|bits| bits > 0)) {
        Some(mask) if !ip.contains('/') => found.peer(&format!("{ip}/{mask}"), &what, place),
        _ => found.peer(ip, &what, place),
    }
}

/// The words of each line that is no comment.
fn each_line(path: &Path, found: &mut Found, mut each: impl FnMut(&[&str], Place<'_>, &mut Found)) {
    let text = found.read(path).unwrap_or_default();
    for (number, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default();
        let words: Vec<&str> = line.split_whitespace().collect();
        let place = Place {
            file: path,
            line: number + 1,
        };
        each(&words, place, found);
    }
}

/// The rows of a table of db_text: the first line names the columns, `name(type,…)`, and
/// fields end with `:`, which is written `\:` inside of them.
fn table(
    path: &Path,
    found: &mut Found,
    mut each: impl FnMut(&dyn Fn(&str) -> String, Place<'_>, &mut Found),
) {
    let text = found.read(path).unwrap_or_default();
    let mut lines = text.lines().enumerate();
    let Some((_, head)) = lines.next() else {
        return;
    };
    let columns: Vec<&str> = head
        .split_whitespace()
        .map(|column| column.split('(').next().unwrap_or_default())
        .collect();
    for (number, line) in lines.filter(|(_, line)| !line.trim().is_empty()) {
        let fields = fields(line);
        let value = |name: &str| {
            let place = columns.iter().position(|column| *column == name);
            place
                .and_then(|place| fields.get(place).cloned())
                .unwrap_or_default()
        };
        let place = Place {
            file: path,
            line: number + 1,
        };
        each(&value, place, found);
    }
}

fn fields(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        match (letter, fields.last_mut()) {
            (':', _) => fields.push(String::new()),
            ('\\', Some(field)) => field.extend(letters.next()),
            (letter, Some(field)) => field.push(letter),
            (_, None) => {}
        }
    }
    fields
}
