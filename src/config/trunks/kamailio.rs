//! Kamailio's peers: the dispatcher's list and the addresses of the module permissions, as
//! plain files or as tables of db_text; where they lie, `kamailio.cfg` says.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::script::{Modparam, Script};
use super::{Found, Place, of_uri};

/// Modules that keep peers in a database, and how the option is called that names it.
const DATABASES: [(&str, &str); 6] = [
    ("dispatcher", "db_url"),
    ("permissions", "db_url"),
    ("drouting", "db_url"),
    ("lcr", "db_url"),
    ("carrierroute", "db_url"),
    ("uac", "reg_db_url"),
];

/// Those of them whose tables are read where db_text has them.
const READ: [&str; 2] = ["dispatcher", "permissions"];

/// Where peers lie.
struct Tables {
    dispatchers: BTreeSet<PathBuf>,
    addresses: BTreeSet<PathBuf>,
    /// Folders of db_text.
    folders: BTreeSet<PathBuf>,
}

pub(super) fn find(folder: &Path, found: &mut Found) {
    let mut tables = Tables {
        dispatchers: BTreeSet::from([folder.join("dispatcher.list")]),
        addresses: BTreeSet::from([folder.join("address.list")]),
        folders: BTreeSet::from([folder.join("dbtext")]),
    };
    let script = Script::read(&folder.join("kamailio.cfg"), found);
    for modparam in &script.modparams {
        for value in script.values(&modparam.value) {
            tables.take(modparam, value.as_deref(), folder, found);
        }
    }
    tables.read(found);
}

impl Tables {
    /// One setting of a module, with one of the values that it may have.
    fn take(&mut self, modparam: &Modparam, value: Option<&str>, folder: &Path, found: &mut Found) {
        let is_of = |module: &str| modparam.module.split('|').any(|name| name == module);
        let files = match modparam.name.as_str() {
            "list_file" if is_of("dispatcher") => &mut self.dispatchers,
            "address_file" if is_of("permissions") => &mut self.addresses,
            name => {
                if let Some(folder) = value.and_then(|value| value.strip_prefix("text://")) {
                    self.folders.insert(folder.into());
                }
                for (module, _) in DATABASES
                    .iter()
                    .filter(|(of, key)| is_of(of) && *key == name)
                {
                    database(module, modparam, value, found);
                }
                return;
            }
        };
        match value {
            Some(file) => {
                let path = folder.join(file);
                if path.try_exists().is_ok_and(|is_there| !is_there) {
                    let message = format!("the {} {} is not there", modparam.name, path.display());
                    found.problem(modparam.place(), message);
                }
                files.insert(path);
            }
            None => found.problem(
                modparam.place(),
                format!("{} {}: `{}` is defined nowhere in kamailio.cfg; write the trunks of that file into `protect` by hand", modparam.module, modparam.name, modparam.value.shown()),
            ),
        }
    }

    fn read(self, found: &mut Found) {
        for path in self.dispatchers {
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
        for path in self.addresses {
            each_line(&path, found, |words, place, found| {
                if let [group, ip, mask @ ..] = words {
                    address(ip, mask.first().copied(), group, place, found);
                }
            });
        }
        for folder in self.folders {
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
}

/// Says that a module has its peers in a database. Its address holds a password, so no more
/// is shown than its kind.
fn database(module: &str, modparam: &Modparam, value: Option<&str>, found: &mut Found) {
    let kind = value.map_or("", |url| url.split("://").next().unwrap_or_default());
    if kind == "text" && READ.contains(&module) {
        return;
    }
    let kind = match kind {
        "" => format!("`{}`", modparam.value.shown()),
        kind => kind.to_owned(),
    };
    let condition = match &modparam.condition {
        Some(condition) => format!(", under `{condition}`"),
        None => String::new(),
    };
    found.problem(
        modparam.place(),
        format!("{module} keeps its trunks in a database ({kind}{condition}), which is not read here: write them into `protect` by hand"),
    );
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
