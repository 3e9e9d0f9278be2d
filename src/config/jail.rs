//! From a jail's texts to a jail that can run: its filter compiled, its logs, whom it
//! ignores, and what its actions come to: our own sets, or a stock action's objects.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::tz::TimeZone;

use super::Purpose;
use super::fail2ban::{self, ActionText, IgnoreCache, JailText, UseDns};
use super::judgement;
use super::ports;
use super::stock;
use super::syslog;
use crate::action::Reach;
use crate::action::stock::Layout;
use crate::addr::Addr;
use crate::filter::lines::Attached;
use crate::filter::{Filter, FilterError, FilterText, Names, SightingText, date};
use crate::frame::Framing;
use crate::frame::charset::{Charset, UnknownCharset};
use crate::jail::protect::Protected;
use crate::jail::{Rules, Tally};
use crate::time::BanTime;
use crate::watch::journal::Matches;

/// Keys whose values are compiled with the filter, be they the filter's or the jail's.
const FILTER_KEYS: [&str; 16] = [
    "prefregex",
    "failregex",
    "ignoreregex",
    "datepattern",
    "maxlines",
    "successregex",
    "challengeregex",
    "doubtregex",
    "rawdoubtregex",
    "wholeregex",
    "endregex",
    "repeatregex",
    "glueregex",
    "pulseregex",
    "unclearregex",
    "brokenregex",
];

/// The action that bans in our own sets, on the ports that it is given.
const OUR_ACTION: &str = "ringfence";

/// The action that bans in our own sets, on all ports.
const OUR_ACTION_ALLPORTS: &str = "ringfence-allports";

/// What `ignoreip` has before the path of a file with more entries.
const FILE_PREFIX: &str = "file:";

/// One jail, ready to run.
#[derive(Clone, Debug)]
pub struct JailConfig {
    /// How it judges. Whom it ignores by address is in there already.
    pub rules: Rules,
    /// The name of its filter.
    pub filter_name: String,
    /// Its compiled filter.
    pub filter: Arc<Filter>,
    /// The logs that it follows.
    pub logs: Vec<LogConfig>,
    /// What their lines are wrapped in.
    pub framing: Framing,
    /// What their bytes mean.
    pub charset: Charset,
    /// What it reads of the systemd journal.
    pub journal: Option<JournalConfig>,
    /// The zone of dates that name none; the system's if it is not set.
    pub zone: Option<TimeZone>,
    /// Whom it never bans.
    pub ignore: IgnoreConfig,
    /// What its stock actions of fail2ban's keep in the kernel; none if it bans in a set
    /// of ours.
    pub stock: Vec<Layout>,
    /// What its drops in a set of ours are for.
    pub reach: Reach,
    /// Is it told whenever a host name in its lines is looked up (`usedns = warn`)?
    pub warns_of_names: bool,
    /// Is it one of those that run without any configuration?
    pub built_in: bool,
}

impl JailConfig {
    /// Does it follow the log of this path or pattern?
    pub fn follows(&self, path: &str) -> bool {
        self.logs.iter().any(|log| {
            log.pattern == path
                || glob::Pattern::new(&log.pattern).is_ok_and(|pattern| pattern.matches(path))
        })
    }

    /// Its part in a log.
    pub fn attached(&self) -> Attached {
        Attached {
            jail: self.rules.name.clone(),
            filter: self.filter.clone(),
            findtime: self.rules.findtime,
            zone: self.zone.clone(),
        }
    }
}

/// One log of a jail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// A path or a glob.
    pub pattern: String,
    /// At first sight, does only what comes count, or also what is recent in it?
    pub tail: bool,
}

/// A jail's part of the systemd journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalConfig {
    /// Which journal, in `journalctl`'s words.
    pub arguments: Vec<String>,
    /// Which entries.
    pub matches: Matches,
    /// Has the jail nothing else to read? If it has, a machine without a journal is fine.
    pub needed: bool,
}

/// Whom a jail never bans, beside those who are protected everywhere.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct IgnoreConfig {
    /// Addresses and prefixes.
    pub addrs: Vec<Addr>,
    /// Names, to be looked up again and again.
    pub names: Vec<String>,
    /// Files with more of all these, a line each.
    pub files: Vec<PathBuf>,
    /// A command that says whom else.
    pub command: Option<IgnoreCommand>,
}

/// A command that is asked whether a failure is to be ignored.
#[derive(Clone, Debug, PartialEq)]
pub struct IgnoreCommand {
    /// For the shell, with tags.
    pub command: String,
    /// How long its answers are remembered.
    pub cache: Option<IgnoreCache>,
    /// How long a ban of its jail lasts, as fail2ban writes it: seconds, -1 for ever.
    pub bantime: String,
}

/// The tags that are filled in for `ignorecommand`, beside those of what the filter captured
/// (`<F-USER>`).
pub const IGNORE_TAGS: [&str; 23] = [
    "ip",
    "fid",
    "family",
    "time",
    "matches",
    "failures",
    "ip-host",
    "ip-rev",
    "bantime",
    "bancount",
    "restored",
    "ipmatches",
    "ipfailures",
    "ipjailmatches",
    "ipjailfailures",
    "jail.banned",
    "jail.banned_total",
    "jail.found",
    "jail.found_total",
    "br",
    "sp",
    "fq-hostname",
    "sh-hostname",
];

impl IgnoreCommand {
    /// All its texts with tags.
    fn texts(&self) -> impl Iterator<Item = &str> {
        let key = self.cache.iter().map(|cache| cache.key.as_str());
        key.chain([self.command.as_str()])
    }

    /// Does this stand in it, as in `<ip-host>`? What is not wanted need not be found out.
    pub fn wants(&self, part: &str) -> bool {
        self.texts().any(|text| text.contains(part))
    }
}

/// A tag that nobody fills in for `ignorecommand`. The shell's own `<` is none.
fn unknown_tag(text: &str) -> Option<&str> {
    let tags = text
        .split('<')
        .skip(1)
        .filter_map(|rest| rest.split_once('>'));
    let mut names = tags.map(|(name, _)| name);
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || "-_./".contains(letter);
    names.find(|name| {
        !name.is_empty()
            && name.chars().all(is_part)
            && !IGNORE_TAGS.contains(name)
            && !name.starts_with("F-")
    })
}

impl IgnoreConfig {
    /// Adds an entry of `ignoreip`, or of a file of them.
    ///
    /// # Errors
    /// It is neither an address, nor a prefix, nor a name, nor `file:/path`.
    pub fn add(&mut self, entry: &str) -> Result<(), String> {
        if let Some(path) = entry.strip_prefix(FILE_PREFIX) {
            self.files.push(PathBuf::from(path));
            return Ok(());
        }
        match entry.parse::<Addr>() {
            Ok(addr) => self.addrs.push(addr),
            Err(_) if is_name(entry) => self.names.push(entry.to_owned()),
            Err(error) => return Err(format!("{error}, nor a host name, nor `file:/path`")),
        }
        Ok(())
    }
}

/// Can it be a host name? One that looks like a mistyped address cannot.
pub(super) fn is_name(text: &str) -> bool {
    let is_label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    let text = text.strip_suffix('.').unwrap_or(text);
    let last = text.rsplit('.').next().unwrap_or_default();
    text.len() <= 253
        && text.split('.').all(is_label)
        && !last.bytes().all(|b| b.is_ascii_digit())
        // A service without a domain: `_sip._udp`.
        && !last.starts_with('_')
}

/// Why a jail cannot run, or what is doubtful about it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Wrong {
    /// The key that is at fault, if it is one.
    key: Option<&'static str>,
    pub(super) sentence: String,
}

impl Wrong {
    fn of(key: &'static str, sentence: String) -> Wrong {
        Wrong {
            key: Some(key),
            sentence,
        }
    }

    /// The sentence, and where the operator finds what it is about.
    pub(super) fn told_of(&self, text: &JailText) -> String {
        let (path, line) = text.place(self.key);
        let (path, jail) = (path.display(), &text.name);
        format!("{path}:{line}: jail {jail}: {}", self.sentence)
    }
}

impl From<String> for Wrong {
    fn from(sentence: String) -> Wrong {
        Wrong {
            key: None,
            sentence,
        }
    }
}

/// How jails are read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader {
    /// Are they fail2ban's, to be judged as it would?
    pub(super) is_tree: bool,
    /// What for.
    pub(super) purpose: Purpose,
}

impl Reader {
    /// A jail, or why it cannot run; what is doubtful about it is added to `doubts`.
    pub(super) fn jail(
        self,
        text: &JailText,
        doubts: &mut Vec<Wrong>,
    ) -> Result<JailConfig, Wrong> {
        let filter = match self.is_tree && is_idle(text) {
            true => Filter::nothing(),
            false => self.filter(text, doubts)?,
        };
        check_backend(&text.backend).map_err(|error| Wrong::of("backend", error))?;
        let by_journal =
            text.backend.trim_start().starts_with("systemd") || self.is_tree && turns(text);
        let stock = match self.purpose {
            Purpose::Ban => self
                .can_act(&text.actions, text.bantime, doubts)
                .map_err(|error| Wrong::of("action", error))?,
            Purpose::Judge => Vec::new(),
        };
        let aggregate =
            judgement::aggregate(text).map_err(|error| Wrong::of("aggregate", error))?;
        let hosts_only = !stock.iter().all(Layout::takes_networks);
        if hosts_only && aggregate.is_some() {
            return Err(Wrong::of(
                "aggregate",
                "aggregate: its action cannot ban networks of both families; leave it out, or write `banaction = ringfence`"
                    .to_owned(),
            ));
        }
        let reach = match self.is_tree {
            true if self.purpose == Purpose::Judge || !stock.is_empty() => Reach::EVERYTHING,
            true => reach_of_actions(&text.actions)?,
            false => reach_of_jail(text)?,
        };
        let zone = text.logtimezone.as_deref().map(date::zone);
        let zone = zone
            .transpose()
            .map_err(|error| Wrong::of("logtimezone", format!("logtimezone: {error}")))?;
        let charset = match text.logencoding.trim() {
            word if word.eq_ignore_ascii_case("auto") => Charset::of_locale(&locale()),
            name => name
                .parse()
                .map_err(|error: UnknownCharset| Wrong::of("logencoding", error.to_string()))?,
        };
        let mut ignore = IgnoreConfig {
            command: text.ignorecommand.clone().map(|command| IgnoreCommand {
                command,
                cache: text.ignorecache.clone(),
                bantime: match text.bantime {
                    BanTime::For(span) => span.as_secs().to_string(),
                    BanTime::Forever => "-1".to_owned(),
                },
            }),
            ..IgnoreConfig::default()
        };
        for entry in &text.ignoreip {
            if let Err(error) = ignore.add(entry) {
                let sentence = format!("ignoreip: {error}; the others count");
                doubts.push(Wrong::of("ignoreip", sentence));
            }
        }
        for command in ignore.command.iter().flat_map(IgnoreCommand::texts) {
            if let Some(tag) = unknown_tag(command) {
                let sentence = format!(
                    "ignorecommand: <{tag}> is not known; <{}> and <F-…> are",
                    IGNORE_TAGS.join(">, <")
                );
                return Err(Wrong::of("ignorecommand", sentence));
            }
        }
        let apiban = text.filter_text.extra.get("apiban");
        let framing = text.filter_text.extra.get("framing");
        let framing = framing.map(|word| word.trim().parse());
        let framing = framing
            .transpose()
            .map_err(|error| Wrong::of("framing", format!("framing: {error}")))?;
        Ok(JailConfig {
            rules: Rules {
                name: text.name.as_str().into(),
                maxretry: text.maxretry,
                findtime: text.findtime,
                aggregate,
                maxmatches: text.maxmatches,
                bantime: text.bantime,
                increment: text.bantime_increment.clone(),
                apiban: apiban.is_some_and(|value| is_true(value)),
                tally: match self.is_tree {
                    true => Tally::Matches,
                    false => Tally::Tries,
                },
                hosts_only,
                ignored: Protected::only(ignore.addrs.iter().copied()),
                hints: match self.is_tree {
                    true => None,
                    false => judgement::hints(text).map_err(|error| Wrong::of("hints", error))?,
                },
                maxchallenges: match self.is_tree {
                    true => None,
                    false => judgement::maxchallenges(text)
                        .map_err(|error| Wrong::of("maxchallenges", error))?,
                },
            },
            filter_name: text.filter.clone(),
            filter: Arc::new(filter),
            logs: match by_journal {
                true => Vec::new(),
                false => text.logpath.iter().map(log).collect(),
            },
            framing: framing.unwrap_or(match self.is_tree {
                true => Framing::Plain, // its filters know docker's JSON, or do not match
                false => Framing::Auto,
            }),
            charset,
            journal: self.journal(text, by_journal, doubts)?,
            zone,
            ignore,
            stock,
            reach,
            warns_of_names: text.filter_text.usedns == UseDns::Warn,
            built_in: text.origin.0.starts_with(fail2ban::EMBEDDED_NAME),
        })
    }

    /// The jail's filter. A tree's may use our keys for something else: it runs without them.
    fn filter(self, text: &JailText, doubts: &mut Vec<Wrong>) -> Result<Filter, Wrong> {
        let mut patterns = filter_text(&text.filter_text);
        patterns.captures = self.is_tree || text.ignorecommand.is_some();
        let say = |error: FilterError| {
            let sentence = format!("filter {}: {error}", text.filter);
            // It begins with the option that is at fault.
            let told = error.to_string();
            let key = FILTER_KEYS.into_iter().find(|key| told.starts_with(key));
            Wrong { key, sentence }
        };
        match Filter::compile(&patterns) {
            Err(error) if self.is_tree && error.is_about_sightings() => {
                let mut doubt = say(error);
                doubt.sentence += "; the filter runs without it";
                doubts.push(doubt);
                patterns.sightings = SightingText::default();
                Filter::compile(&patterns).map_err(say)
            }
            compiled => compiled.map_err(say),
        }
    }

    /// What the jail reads of the journal: a tree's jail by its `backend`, one of ours
    /// beside its logs if it has a `journalmatch`.
    fn journal(
        self,
        text: &JailText,
        by_journal: bool,
        doubts: &mut Vec<Wrong>,
    ) -> Result<Option<JournalConfig>, Wrong> {
        let lists = &text.filter_text.journalmatch;
        if !by_journal && (self.is_tree || lists.is_empty()) {
            return Ok(None);
        }
        let mut arguments = Vec::new();
        for (name, value) in fail2ban::backend_options(&text.backend) {
            match name.as_str() {
                "journalpath" => arguments.push(format!("--directory={value}")),
                "journalfiles" => {
                    let files = value
                        .split([',', ' ', '\n'])
                        .filter(|file| !file.is_empty());
                    arguments.extend(files.map(|file| format!("--file={file}")));
                }
                "namespace" => arguments.push(format!("--namespace={value}")),
                // Which files count is journalctl's business; rotated ones always do.
                "journalflags" | "rotated" => {}
                _ => doubts.push(Wrong::of(
                    "backend",
                    format!("backend: `{name}` is not known; journalpath, journalfiles and namespace are"),
                )),
            }
        }
        let matches =
            Matches::parse(lists).map_err(|error| Wrong::of("journalmatch", error.to_string()))?;
        Ok(Some(JournalConfig {
            arguments,
            matches,
            needed: by_journal,
        }))
    }

    /// Can these actions be run? A jail of ours needs none. What stock actions keep in
    /// the kernel is returned.
    fn can_act(
        self,
        actions: &[ActionText],
        bantime: BanTime,
        doubts: &mut Vec<Wrong>,
    ) -> Result<Vec<Layout>, String> {
        let advice = "write `action = ringfence` (or `banaction = ringfence`) to ban in ringfence's own sets, \
                      or use --dry-run to see whom the jail would ban";
        if actions.is_empty() && self.is_tree {
            return Err(format!("it has no action, and bans nobody; {advice}"));
        }
        let is_ours = |action: &&ActionText| is_ours(action);
        let mut layouts = Vec::new();
        for action in actions.iter().filter(|action| !is_ours(action)) {
            let file = action.file.display();
            let recognised = stock::recognise(action, bantime).map_err(|why| {
                let (path, line) = &action.origin;
                format!(
                    "action {file} ({}:{line}) cannot be run by this version yet, since it is no stock action of \
                     fail2ban's that bans by iptables, ipset or nftables: {why}; {advice}",
                    path.display()
                )
            })?;
            if let Some(why) = recognised.doubt {
                let sentence = format!("action {file} bans no addresses of IPv6: {why}");
                doubts.push(Wrong::of("action", sentence));
            }
            layouts.extend(recognised.layouts);
        }
        if !layouts.is_empty() && actions.iter().any(|action| is_ours(&action)) {
            return Err(
                "it bans in ringfence's own set and by another action too; keep one of them"
                    .to_owned(),
            );
        }
        Ok(layouts)
    }
}

fn is_ours(action: &ActionText) -> bool {
    let names = [OUR_ACTION, OUR_ACTION_ALLPORTS];
    !action.python && names.iter().any(|name| action.file.ends_with(name))
}

/// What the drops of a jail of ours are for, by its own keys.
fn reach_of_jail(text: &JailText) -> Result<Reach, Wrong> {
    let port = text.port.clone();
    let port = port.map_err(|error| Wrong::of("port", error.to_string()))?;
    let protocol = text.protocol.clone();
    let protocol = protocol.map_err(|error| Wrong::of("protocol", error.to_string()))?;
    ports::reach(port.as_deref(), protocol.as_deref()).map_err(|error| {
        let (key, written) = match error {
            ports::PortsError::Protocol(_) => ("protocol", protocol),
            _ => ("port", port),
        };
        let written = written.map_or(String::new(), |text| format!(" = {text}"));
        Wrong::of(key, format!("`{key}{written}`: {error}"))
    })
}

/// What the drops of a tree's jail in a set of ours are for: what its actions are given.
fn reach_of_actions(actions: &[ActionText]) -> Result<Reach, String> {
    let mut whole: Option<Reach> = None;
    for action in actions.iter().filter(|action| is_ours(action)) {
        let given = |key: &str| action.properties.get(key).map(String::as_str);
        let (port, protocol) = (given("port"), given("protocol"));
        let reach = match action.file.ends_with(OUR_ACTION_ALLPORTS) {
            true => Ok(Reach::EVERYTHING),
            false => ports::reach(port, protocol),
        };
        let reach = reach.map_err(|error| {
            let (path, line) = &action.origin;
            let file = action.file.display();
            format!("action {file} ({}:{line}): {error}", path.display())
        })?;
        whole = Some(match whole {
            Some(whole) => whole.and(reach),
            None => reach,
        });
    }
    Ok(whole.unwrap_or_default())
}

fn log(log: &fail2ban::LogPath) -> LogConfig {
    LogConfig {
        pattern: log.path.clone(),
        tail: log.tail,
    }
}

/// How logs are followed: fail2ban has several ways, ringfence one for files and one for
/// the journal. What fail2ban refuses is a mistake here, too.
fn check_backend(backend: &str) -> Result<(), String> {
    const KNOWN: [&str; 5] = ["auto", "systemd", "polling", "pyinotify", "gamin"];
    let name = backend.split('[').next().unwrap_or_default().trim();
    match KNOWN.contains(&name.to_lowercase().as_str()) {
        true => Ok(()),
        false => Err(format!(
            "backend: `{name}` is not known; write auto or systemd (polling, pyinotify and gamin are as auto)"
        )),
    }
}

/// Does the jail turn to the journal, as none of its logs is there? (Debian 12's sshd.)
fn turns(text: &JailText) -> bool {
    let is_there = |log: &fail2ban::LogPath| {
        glob::glob(&log.path).is_ok_and(|mut paths| paths.any(|path| path.is_ok()))
    };
    text.systemd_if_nologs
        && text.backend.starts_with("auto")
        && !text.filter_text.journalmatch.is_empty()
        && !text.logpath.iter().any(is_there)
}

/// Has the jail no pattern at all? fail2ban runs it, since others may ban in it.
pub(super) fn is_idle(text: &JailText) -> bool {
    text.filter_text.failregex.is_empty() && text.filter_text.prefregex.is_none()
}

/// A filter's texts, as the stage wants them.
pub(super) fn filter_text(text: &fail2ban::FilterText) -> FilterText {
    let ours = |key: &str| {
        let text = text.extra.get(key).map_or("", |text| text.as_str());
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        lines.map(str::to_owned).collect::<Vec<String>>()
    };
    FilterText {
        prefregex: text.prefregex.clone(),
        failregex: text.failregex.clone(),
        ignoreregex: text.ignoreregex.clone(),
        sightings: SightingText {
            success: ours("successregex"),
            challenge: ours("challengeregex"),
            doubt: doubts(ours("doubtregex"), ours("rawdoubtregex")),
            whole: ours("wholeregex"),
            end: ours("endregex"),
            repeat: ours("repeatregex"),
            glue: ours("glueregex"),
            pulse: ours("pulseregex"),
            unclear: ours("unclearregex"),
            broken: ours("brokenregex"),
            remedy: ours("remedy").join(" "),
        },
        maxlines: text.maxlines,
        datepattern: text.datepattern.clone(),
        names: match text.usedns {
            UseDns::Yes | UseDns::Warn => Names::Lookup,
            UseDns::No => Names::No,
            UseDns::Raw => Names::Raw,
        },
        captures: false,
    }
}

/// What casts a doubt on a log here.
fn doubts(mut always: Vec<String>, raw: Vec<String>) -> Vec<String> {
    let keeps_newlines =
        || syslog::keeps_newlines(Path::new(syslog::SYSLOG_NG), Path::new("/proc"));
    if !raw.is_empty() && keeps_newlines() {
        always.extend(raw);
    }
    always
}

/// The locale by which texts are read, as the C library finds it.
fn locale() -> String {
    let names = ["LC_ALL", "LC_CTYPE", "LANG"];
    let mut said = names.iter().filter_map(|name| std::env::var(name).ok());
    said.find(|locale| !locale.is_empty()).unwrap_or_default()
}

/// fail2ban's words for yes.
fn is_true(value: &str) -> bool {
    ["1", "on", "true", "yes"]
        .iter()
        .any(|word| value.eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_of_ignorecommand() {
        for (command, expected) in [
            ("/usr/bin/known <ip> <family>", None),
            ("grep -q <ip> < /etc/known > /dev/null", None),
            ("known <F-USER> <matches> <ip-rev>", None),
            ("known <ip> <<raw-ticket>", Some("raw-ticket")),
            ("known <ipmatches> <jail.found_total>", None),
            ("known <jail.name>", Some("jail.name")),
        ] {
            assert_eq!(unknown_tag(command), expected, "{command}");
        }
    }

    #[test]
    fn entries_of_ignoreip_are_told_apart() {
        let mut ignore = IgnoreConfig::default();
        for entry in [
            "192.0.2.7",
            "198.51.100.0/24",
            "2001:db8::/32",
            "trunk.example.net",
            "pbx",
            "file:/etc/trunks",
        ] {
            assert_eq!(ignore.add(entry), Ok(()), "{entry}");
        }
        assert_eq!(ignore.addrs.len(), 3);
        assert_eq!(ignore.names, ["trunk.example.net", "pbx"]);
        assert_eq!(ignore.files, [PathBuf::from("/etc/trunks")]);
        for entry in ["192.0.2.256", "192.0.2.0/33", "a..b", "%(missing)s"] {
            let error = ignore.add(entry).unwrap_err();
            assert!(error.contains(entry), "{error}");
        }
    }
}
