//! Imports point one way. This test reads our `use` lines and paths, and keeps the
//! picture of ARCHITECTURE.md true:
//!
//!   words → stages → engine → config → daemon → cli

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

const WORDS: [&str; 4] = ["addr", "count", "ticket", "time"];
const STAGES: [&str; 9] = [
    "registrar",
    "watch",
    "frame",
    "filter",
    "jail",
    "ban",
    "action",
    "feed",
    "control",
];
const ABOVE: [&str; 4] = ["engine", "config", "daemon", "cli"];

/// May code in module `from` use module `to`?
fn may_use(from: &str, to: &str) -> bool {
    let level = |module: &str| {
        let above = ABOVE
            .iter()
            .position(|name| *name == module)
            .map(|place| place + 2);
        if WORDS.contains(&module) {
            Some(0)
        } else if STAGES.contains(&module) {
            Some(1)
        } else {
            above
        }
    };
    match (level(from), level(to)) {
        _ if from == to => true,
        (Some(0), Some(0)) => true,
        (Some(from), Some(to)) => from > to,
        _ => false,
    }
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("the source folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The modules that a source names as `crate::module`, with the line of each.
fn used(text: &str) -> Vec<(usize, String)> {
    let code = text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim_start().starts_with("//"));
    let mut used = Vec::new();
    for (number, line) in code {
        for (place, _) in line.match_indices("crate::") {
            let rest = line.get(place + "crate::".len()..).unwrap_or("");
            let names = rest
                .trim_start_matches('{')
                .split(|letter: char| !(letter.is_alphanumeric() || letter == '_'));
            used.extend(
                names
                    .take(1)
                    .filter(|name| !name.is_empty())
                    .map(|name| (number + 1, name.to_owned())),
            );
        }
    }
    used
}

#[test]
fn imports_point_one_way() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    assert!(files.len() > 20, "the sources were not found");
    let mut wrong = Vec::new();
    let mut edges: BTreeMap<String, usize> = BTreeMap::new();
    for file in files {
        let inside = file.strip_prefix(&root).expect("a source");
        let module = inside
            .components()
            .next()
            .expect("a name")
            .as_os_str()
            .to_string_lossy()
            .replace(".rs", "");
        if module == "lib" || module == "main" {
            continue;
        }
        for (line, to) in used(&fs::read_to_string(&file).expect("a source")) {
            *edges.entry(format!("{module} -> {to}")).or_default() += 1;
            if !may_use(&module, &to) {
                wrong.push(format!(
                    "src/{}:{line}: {module} must not use {to}",
                    inside.display()
                ));
            }
        }
    }
    assert!(
        edges.contains_key("engine -> jail"),
        "no imports were read: {edges:?}"
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
