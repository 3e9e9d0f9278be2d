//! What is said at start, for a person.

use super::Options;
use super::kernel::Kernel;
use super::protected::Known;
use crate::action;
use crate::config::Config;
use crate::count::counted;
use crate::feed;

/// See the module's header.
pub(super) fn report(
    options: &Options,
    config: &Config,
    kernel: &Kernel,
    feed: &feed::Settings,
    known: &[Known],
    restored: usize,
) -> String {
    let mut lines = vec![format!("ringfence {}", env!("CARGO_PKG_VERSION"))];
    for jail in &config.jails {
        let rules = &jail.rules;
        lines.push(format!(
            "  jail {}: filter {} ({}), {} in {} ban for {}",
            rules.name,
            jail.filter_name,
            counted(jail.filter.len(), "pattern"),
            counted(rules.maxretry, "failure"),
            crate::time::human(rules.findtime),
            match rules.bantime {
                crate::time::BanTime::For(span) => crate::time::human(span),
                crate::time::BanTime::Forever => "ever".to_owned(),
            },
        ));
        let places = action::stock::describe(&jail.stock);
        lines.extend(places.iter().map(|place| format!("    bans in {place}")));
        let (there, later): (Vec<&String>, Vec<&String>) = jail
            .logs
            .iter()
            .map(|log| &log.pattern)
            .partition(|log| is_there(log));
        lines.extend(there.iter().map(|log| format!("    log {log}")));
        if jail.journal.as_ref().is_some_and(|journal| journal.needed) {
            lines.push("    the systemd journal".to_owned());
        }
        match there.is_empty() {
            true if later.is_empty() => {}
            true => lines.push(format!("    no log yet; waiting for {}", join(&later))),
            false if !later.is_empty() => lines.push(format!(
                "    and {} more as soon as they appear",
                later.len()
            )),
            false => {}
        }
    }
    lines.push(format!("  bans go to: {}", kernel.describe()));
    lines.push(match &feed.key {
        Ok(_) if feed.check => format!("  APIBAN: on (list `{}` and checks)", feed.set),
        Ok(_) => format!("  APIBAN: on (list `{}`, no checks)", feed.set),
        Err(_) if !config.settings.apiban.enabled => {
            "  APIBAN: off (apiban.enabled = false)".to_owned()
        }
        Err(why) => format!("  APIBAN: off ({why}); a key is free: https://apiban.org/getkey.html"),
    });
    let shown: Vec<String> = known
        .iter()
        .map(|known| format!("{} ({})", known.addr, known.why))
        .collect();
    lines.push(format!(
        "  never banned: {}",
        if shown.is_empty() {
            "nobody".to_owned()
        } else {
            shown.join(", ")
        }
    ));
    lines.push(format!("  bans from before that go on: {restored}"));
    lines.push(format!(
        "  settings: {}",
        options.location.folder.join("ringfence.toml").display()
    ));
    lines.extend(
        config
            .problems
            .iter()
            .map(|problem| format!("  PROBLEM: {problem}")),
    );
    lines.join("\n") + "\n"
}

fn is_there(pattern: &str) -> bool {
    glob::glob(pattern).is_ok_and(|mut paths| paths.any(|path| path.is_ok()))
}

/// The first few of some paths, and how many more there are.
fn join(paths: &[&String]) -> String {
    const SHOWN: usize = 3;
    let shown: Vec<&str> = paths.iter().take(SHOWN).map(|path| path.as_str()).collect();
    match paths.len().saturating_sub(SHOWN) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}
