//! What fail2ban passes over in silence, and our own folder does not.
//!
//! fail2ban takes whatever it does not understand for `false`, for `no`, or for a variable:
//! `enabled = maybe` switches a jail off, and `maxrety = 3` does nothing. A tree of its own
//! must go on meaning what it meant there. In our own folder a value that can only be a
//! mistake is an error of its jail. What may be somebody's variable, or may be there later
//! (a key, a section, a command), is a warning, and the jail runs.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use super::OUR_KEYS;
use super::jail::RawJail;
use super::roots::EMBEDDED_NAME;
use super::template::{self, JAIL, Kind};
use super::timespan;
use super::tree::{INCLUDES, Tree};
use crate::config::error::{ConfigError, ConfigErrorKind, Origin, quoted};
use crate::config::ini::{DEFAULT, Value};
use crate::time::BanTime;
use crate::watch;

/// Keys of jails beside fail2ban's options and [`OUR_KEYS`].
const OTHER_KEYS: &[&str] = &["port", "protocol", "skip_if_nologs", "systemd_if_nologs"];

/// Those of all of them that no option of fail2ban's is, and that are switches.
const OTHER_SWITCHES: &[&str] = &["apiban", "skip_if_nologs", "systemd_if_nologs"];

/// What fail2ban's own `jail.conf` refers to, and ours does not.
const ACTION_KEYS: &[&str] = &["banaction", "banaction_allports"];

/// How alike (of 1) two words are, of which one is taken for the other mistyped.
const ALIKE: f64 = 0.85;

/// Is it a word for yes or no?
pub(super) fn switch(key: &str, value: &Value) -> Result<(), ConfigError> {
    let no = ["0", "off", "false", "no"];
    match template::is_true(&value.text) || no.contains(&value.text.to_lowercase().as_str()) {
        true => Ok(()),
        false => Err(word(key, value, "`true` or `false`")),
    }
}

/// What is wrong with the values of a jail.
pub(super) fn values(raw: &RawJail) -> Vec<ConfigError> {
    let mut wrong = Vec::new();
    for setting in &raw.settings {
        let value = &setting.value;
        if setting.kind == Kind::Bool {
            wrong.extend(switch(setting.option, value).err());
        }
        wrong.extend(match setting.option {
            "usedns" => use_dns(value),
            "findtime" => findtime(value),
            "bantime" => bantime(value),
            "ignorecommand" => command(value),
            _ => None,
        });
        if setting.option == "logpath" {
            wrong.extend(logs(value));
        }
    }
    for key in OTHER_SWITCHES {
        let value = raw.extra.get(key);
        wrong.extend(value.and_then(|value| switch(key, value).err()));
    }
    let of_jail = |error: ConfigError| error.of_jail(&raw.name);
    wrong.into_iter().map(of_jail).collect()
}

fn word(key: &str, value: &Value, accepted: &'static str) -> ConfigError {
    value.origin.error(ConfigErrorKind::Word {
        key: key.to_owned(),
        value: quoted(&value.text),
        accepted,
    })
}

fn use_dns(value: &Value) -> Option<ConfigError> {
    let words = ["yes", "warn", "no", "raw"];
    let known = words.contains(&value.text.trim().to_lowercase().as_str());
    (!known).then(|| word("usedns", value, "`no`, `warn`, `yes` or `raw`"))
}

fn findtime(value: &Value) -> Option<ConfigError> {
    let accepted = "a time within which tries count, as in `10m`: in none nobody is ever banned";
    (timespan::duration(&value.text) == Ok(Duration::ZERO))
        .then(|| word("findtime", value, accepted))
}

fn bantime(value: &Value) -> Option<ConfigError> {
    let accepted = "a time as in `1h`, or -1 for ever: a ban of no time bans nobody";
    (timespan::ban_time(&value.text) == Ok(BanTime::For(Duration::ZERO)))
        .then(|| word("bantime", value, accepted))
}

/// Is there a program where the command names one by its whole path?
fn command(value: &Value) -> Option<ConfigError> {
    let program = value.text.split_whitespace().next()?;
    let is_path = program.starts_with('/') && !program.contains(['<', '\'', '"', '$', '\\', ';']);
    let runs = |path: &str| {
        std::fs::metadata(path)
            .is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
    };
    (is_path && !runs(program)).then(|| {
        value.origin.error(ConfigErrorKind::NoProgram {
            key: "ignorecommand",
            program: quoted(program),
        })
    })
}

/// Lines of a `logpath` that name no place.
fn logs(value: &Value) -> Vec<ConfigError> {
    let lines = value.text.split('\n').filter(|line| !line.is_empty());
    let paths = lines.map(|line| line.rsplit_once(' ').map_or(line, |(path, _)| path));
    let is_place = |path: &&str| {
        let place = path.split_once(':').map_or("/", |(_, socket)| socket);
        path.starts_with('/') || watch::is_inlet(path) && place.starts_with('/')
    };
    paths
        .filter(|path| !is_place(path))
        .map(|path| {
            let value = Value {
                text: path.to_owned(),
                origin: value.origin.clone(),
            };
            let accepted = "a path from `/` on, `unix:/path` or `-`";
            word("logpath", &value, accepted)
        })
        .collect()
}

/// Keys and sections of the folder's files that do nothing.
pub(super) fn without_effect(tree: &Tree) -> Vec<ConfigError> {
    let mut idle = Vec::new();
    let mut known: Vec<&str> = JAIL.iter().map(|(option, _)| *option).collect();
    known.extend(OUR_KEYS.iter().chain(OTHER_KEYS));
    let defaults = [(DEFAULT, &tree.defaults)];
    let sections = tree.sections.iter();
    let sections = sections.map(|(name, section)| (name, &section.options));
    for (section, options) in defaults.into_iter().chain(sections) {
        let origin = tree.sections.get(section).map(|section| &section.origin);
        if section == INCLUDES {
            continue;
        }
        if let Some(origin) = origin.filter(|_| is_no_jail(tree, section)) {
            let candidates = alike(section, tree.sections.iter().map(|(name, _)| name));
            let section = section.to_owned();
            let kind = ConfigErrorKind::UnknownSection {
                section,
                candidates,
            };
            idle.push(origin.error(kind));
            continue;
        }
        for (key, value) in options.iter() {
            if is_ours(&value.origin) || known.contains(&key) || is_referred_to(tree, key) {
                continue;
            }
            let kind = match ACTION_KEYS.contains(&key) {
                true if value.text.starts_with("ringfence") => continue, // as they do anyway
                true => ConfigErrorKind::IdleAction {
                    key: key.to_owned(),
                },
                false => ConfigErrorKind::UnknownKey {
                    key: key.to_owned(),
                    candidates: alike(key, known.iter().copied()),
                },
            };
            idle.push(value.origin.error(kind));
        }
    }
    idle
}

/// Has nobody said whether this section is to run?
fn is_no_jail(tree: &Tree, section: &str) -> bool {
    matches!(tree.get(section, "enabled"), Ok(None))
}

/// Does it stand in a file that is built in, or in none at all?
fn is_ours(origin: &Origin) -> bool {
    origin.line == 0 || origin.path.starts_with(EMBEDDED_NAME)
}

/// Is there a `%(key)s`, or a `%(section/key)s`, in any value?
fn is_referred_to(tree: &Tree, key: &str) -> bool {
    let ends = [format!("%({key})s"), format!("/{key})s")];
    let sections = tree.sections.iter().map(|(_, section)| &section.options);
    let mut values = sections
        .chain([&tree.defaults])
        .flat_map(|options| options.iter());
    values.any(|(_, value)| {
        let text = value.text.to_lowercase();
        ends.iter().any(|end| text.contains(end))
    })
}

/// The words that this one may have been meant for, the likeliest alone.
fn alike<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Vec<String> {
    let word = word.to_lowercase();
    let others = known.filter(|known| *known != word);
    let rated = others.map(|known| (strsim::jaro_winkler(&word, &known.to_lowercase()), known));
    let likely = rated.filter(|(rate, _)| *rate >= ALIKE);
    let best = likely.max_by(|(one, _), (other, _)| one.total_cmp(other));
    best.map(|(_, known)| known.to_owned())
        .into_iter()
        .collect()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use crate::config::fail2ban::testing::write_tree;
    use crate::config::{Config, Location, Purpose};

    /// The jails that run with this file in our own folder, and what is said of the others.
    fn ours(text: &str) -> (Vec<String>, Vec<String>) {
        let folder = write_tree(&[("jail.d/x.conf", text)]);
        read(folder.path().to_owned(), None)
    }

    /// The other filters need not be compiled for each row.
    const OTHERS_OFF: &str = "[asterisk]\nenabled = off\n[freeswitch]\nenabled = 0\n";

    fn has(jails: &[String], name: &str) -> bool {
        jails.iter().any(|jail| jail == name)
    }

    fn read(folder: PathBuf, tree: Option<PathBuf>) -> (Vec<String>, Vec<String>) {
        let prefix = format!("{}/", folder.display());
        let config = Config::load(&Location { folder, tree }, Purpose::Ban).unwrap();
        let jails = config.jails.iter();
        let problems = config.problems.iter();
        (
            jails.map(|jail| jail.rules.name.to_string()).collect(),
            problems.map(|one| one.replace(&prefix, "")).collect(),
        )
    }

    /// fail2ban takes all of these without a word. What can only be a mistake stops the jail;
    /// what may be a variable, or may be there later, is said while it runs.
    #[test]
    fn our_own_folder_takes_nothing_in_silence() {
        const SWITCH: &str = "is not understood; write `true` or `false`";
        const PLACE: &str = "is not understood; write a path from `/` on, `unix:/path` or `-`";
        let stops = [
            ("enabled = maybe", SWITCH),
            ("enabled =", SWITCH),
            ("apiban = ja", SWITCH),
            ("ignoreself = x", SWITCH),
            ("skip_if_nologs = x", SWITCH),
            ("bantime.increment = x", SWITCH),
            ("bantime.overalljails = x", SWITCH),
            ("usedns = maybe", "write `no`, `warn`, `yes` or `raw`"),
            (
                "findtime = 0",
                "write a time within which tries count, as in `10m`",
            ),
            ("bantime = 0m", "write a time as in `1h`, or -1 for ever"),
            ("logpath = /var/log/a\n relative.log", PLACE),
            ("logpath = unix:relative", PLACE),
            // These were errors before, but named our own jail.conf.
            ("framing = paper", "jail kamailio: framing: "),
            ("hints = soon", "jail kamailio: hints = soon: "),
            ("maxchallenges = 0", "jail kamailio: maxchallenges = 0: "),
            ("aggregate = many", "jail kamailio: aggregate = many: "),
            (
                "port = shh",
                "jail kamailio: `port = shh`: `shh` is neither a port",
            ),
            (
                "protocol = tpc",
                "jail kamailio: `protocol = tpc`: `tpc` is none of",
            ),
            ("backend = inotify", "jail kamailio: backend: "),
            (
                "logencoding = klingon",
                "jail kamailio: logencoding = klingon: this encoding",
            ),
            ("logtimezone = UTC+99", "jail kamailio: logtimezone: "),
            (
                "ignorecommand = ask <nobody>",
                "jail kamailio: ignorecommand: <nobody>",
            ),
            ("journalmatch = nothing", "jail kamailio: "),
            (
                "failregex = (",
                "jail kamailio: filter kamailio: failregex ",
            ),
            (
                "datepattern = %%Q",
                "jail kamailio: filter kamailio: datepattern: ",
            ),
            ("action = foo", "`action = foo`: there is no "),
            ("maxretry = 0", "is not a number from 1 to "),
        ];
        let runs = [
            (
                "bogus = 5",
                "`bogus` is no key of a jail, and no `%(bogus)s` refers to it: it does nothing; docs/jails.md",
            ),
            ("maxrety = 3", "did you mean `maxretry`?"),
            (
                "banaction = foo",
                "`banaction` does nothing here, as no `action` refers",
            ),
            (
                "ignorecommand = /nope <ip>",
                "there is no program /nope; until there is, it ignores nobody",
            ),
            ("ignoreip = 192.0.2.256", "jail kamailio: ignoreip: "),
        ];
        let rows = stops.map(|row| (row, false)).into_iter();
        for ((key, word), still_runs) in rows.chain(runs.map(|row| (row, true))) {
            let (jails, problems) = ours(&format!("[kamailio]\n{key}\n{OTHERS_OFF}"));
            let [problem] = &problems[..] else {
                panic!("{key}: {problems:?}");
            };
            assert!(problem.starts_with("jail.d/x.conf:2: "), "{key}: {problem}");
            assert!(problem.contains(word), "{key}: {problem}");
            assert_eq!(has(&jails, "kamailio"), still_runs, "{key}: {jails:?}");
        }
    }

    #[test]
    fn a_section_that_is_no_jail_and_a_default_for_all_are_told_once() {
        let (jails, problems) = ours("[kamaillio]\nmaxretry = 2\n[DEFAULT]\nfindtyme = 5m\n");
        assert!(has(&jails, "kamailio"));
        let [default, section] = &problems[..] else {
            panic!("{problems:?}");
        };
        assert!(
            default.starts_with("jail.d/x.conf:4: `findtyme` is no key")
                && default.ends_with("did you mean `findtime`?"),
            "{default}"
        );
        assert!(
            section.starts_with("jail.d/x.conf:1: [kamaillio] is no jail that is built in")
                && section.ends_with("did you mean `kamailio`?"),
            "{section}"
        );
        let (jails, problems) = ours("[DEFAULT]\nusedns = maybe\n");
        assert_eq!((jails.len(), problems.len()), (0, 1), "{problems:?}");
        assert!(problems[0].starts_with("jail.d/x.conf:2: "), "{problems:?}");
    }

    /// Variables, words for no, and places that are no files are nobody's mistake.
    #[test]
    fn what_is_meant_so_is_no_mistake() {
        let all = "[DEFAULT]\nwhere = /srv/log\nbanaction = ringfence\n\
        [kamailio]\nlogpath = %(where)s/kamailio.log tail\n unix:/run/x.sock\n -\n\
        usedns = Warn\nignoreself = OFF\napiban = 0\nbantime = -1\nignorecommand = /bin/true <ip>\n\
        [freeswitch]\nenabled = no\n[idle]\nenabled = false\n";
        let (jails, problems) = ours(all);
        assert_eq!(problems, Vec::<String>::new());
        assert_eq!(jails, ["asterisk", "kamailio"]);
    }

    /// The same values in a tree mean what they mean to fail2ban.
    #[test]
    fn a_tree_means_what_it_meant() {
        for key in [
            "usedns = maybe",
            "ignoreself = x",
            "bantime.increment = x",
            "findtime = 0",
            "bogus = 5",
            "ignorecommand = /nope",
            "logpath = relative.log",
        ] {
            let jail = "[pbx]\nenabled = true\nfilter = pbx\naction = ringfence\n";
            let folder = write_tree(&[
                ("ours/ringfence.toml", ""),
                ("tree/jail.conf", &format!("{jail}{key}\n")),
                (
                    "tree/filter.d/pbx.conf",
                    "[Definition]\nfailregex = from <HOST>$\n",
                ),
            ]);
            let [ours, tree] = ["ours", "tree"].map(|name| folder.path().join(name));
            let (jails, problems) = read(ours, Some(tree));
            assert_eq!(problems, Vec::<String>::new(), "{key}");
            assert!(has(&jails, "pbx"), "{key}: {jails:?}");
        }
    }

    #[test]
    fn a_folder_that_is_not_there_is_told() {
        let (jails, problems) = read("/nonexistent".into(), None);
        assert_eq!(jails, ["asterisk", "kamailio", "freeswitch"]);
        let told = "/nonexistent: there is no such folder; all is as if nothing were configured";
        assert_eq!(problems, [told]);
    }
}
