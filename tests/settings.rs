//! `docs/settings.md` beside the program: which keys there are, what holds without them, and
//! when a change counts.

#[path = "common/lab.rs"]
mod lab;
#[path = "common/namespace.rs"]
mod namespace;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use lab::Lab;
use ringfence::config::native::Settings;

const PAGE: &str = include_str!("../docs/settings.md");

const TABLES: [&str; 3] = ["fail2ban", "apiban", "firewall"];

/// What the page says of a key.
struct Row {
    key: &'static str,
    /// As it would be written in the file.
    default: Option<&'static str>,
    restart: bool,
}

fn rows() -> Vec<Row> {
    let lines = PAGE.lines().filter(|line| line.starts_with("| `"));
    let row = |line: &'static str| {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let [key, _, default, counts] = cells[..] else {
            panic!("four columns: {line}");
        };
        let quoted = |cell: &'static str| cell.strip_prefix('`')?.strip_suffix('`');
        assert!(["reload", "restart"].contains(&counts), "{line}");
        assert_eq!(quoted(default).is_none(), default == "none", "{line}");
        Row {
            key: quoted(key).expect("a key"),
            default: quoted(default),
            restart: counts == "restart",
        }
    };
    lines.map(row).collect()
}

fn load(folder: &Path, text: &str) -> Result<Settings, String> {
    fs::write(folder.join("ringfence.toml"), text).unwrap();
    Settings::load(folder).map_err(|error| error.to_string())
}

/// The keys that the program names when it meets one that it does not know.
fn known(folder: &Path, table: &str) -> Vec<String> {
    let error = load(folder, &format!("{table}\nno_such_key = 1\n")).unwrap_err();
    let (_, expected) = error.split_once("expected").expect("what is accepted");
    let words = expected.split('`').skip(1).step_by(2);
    words.map(str::to_owned).collect()
}

#[test]
fn each_key_stands_there_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let mut keys: BTreeSet<String> = known(folder.path(), "").into_iter().collect();
    for table in TABLES {
        assert!(keys.remove(table), "there is no table {table}");
        let of_table = known(folder.path(), &format!("[{table}]"));
        keys.extend(of_table.iter().map(|key| format!("{table}.{key}")));
    }
    let told: BTreeSet<String> = rows().iter().map(|row| row.key.to_owned()).collect();
    assert_eq!(told, keys);
}

#[test]
fn the_defaults_are_those_that_hold() {
    let folder = tempfile::tempdir().unwrap();
    let set = |row: Row| Some(format!("{} = {}\n", row.key, row.default?));
    let text: String = rows().into_iter().filter_map(set).collect();
    assert_eq!(load(folder.path(), &text), Ok(Settings::default()));
}

/// Each key, with a value that is not its default.
const CHANGED: &str = "
protect = ['192.0.2.1']
state_dir = '@/other'
socket = '@/other.sock'
registrars = []
[fail2ban]
tree = '@/tree'
database = '@/other.sqlite3'
[apiban]
enabled = false
key_file = '@/key'
url = 'http://127.0.0.1:9/'
set = 'all'
check = false
poll = 90
rate_limit = 9
entry_ttl = '2h'
max_entries = 100
reconcile = false
ca_file = '@/ca.pem'
insecure_http = true
accept_reserved = true
[firewall]
max_bans = 1000
backend = 'ipset'
";

namespaced! {
    fn a_reload_names_what_counts_after_a_restart() {
        let mut lab = Lab::new("", "maxretry = 3");
        lab.start();
        fs::create_dir(lab.path("tree")).unwrap();
        let folder = lab.folder.path().display().to_string();
        fs::write(lab.path("ringfence.toml"), CHANGED.replace('@', &folder)).unwrap();
        let socket = lab.path("socket").display().to_string();
        let reloaded = lab.json(&["reload", "--socket", &socket]);
        let named: BTreeSet<&str> = reloaded["problems"].as_array().unwrap().iter()
            .filter_map(|problem| problem.as_str()?.strip_suffix("` has changed; it counts after a restart"))
            .map(|key| key.trim_start_matches('`'))
            .collect();
        let is_named = |key: &str| {
            let table = key.split_once('.').map_or(key, |(table, _)| table);
            named.contains(key) || named.contains(table)
        };
        let changed: toml::Table = CHANGED.parse().unwrap();
        for row in rows() {
            let (table, key) = row.key.split_once('.').unwrap_or(("", row.key));
            let table = changed.get(table).map_or(&changed, |table| table.as_table().unwrap());
            assert!(table.contains_key(key), "{} has not changed", row.key);
            assert_eq!(is_named(row.key), row.restart, "{}: {reloaded}", row.key);
        }
    }
}
