//! `ringfence.toml`: the daemon's own settings.
//!
//! Every key is optional. A key that is not known, a value that cannot be, is an
//! error with its file and line; nothing is guessed. Files in `ringfence.d` are
//! read after `ringfence.toml`, in byte order, and replace what they name.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::jail::is_name;
use crate::action::Backend;
use crate::addr::Addr;
use crate::feed::{self, ListName, POLL_MIN};
use crate::registrar::USUAL;

/// The folder in which our configuration lies unless another is named.
pub const CONFIG_DIR: &str = "/etc/ringfence";

/// Names that `protect` takes: each is looked up every minute or so.
const NAMES_MAX: usize = 128;

/// Settings as they hold: defaults, and what the files say.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Where state is kept (the database).
    pub state_dir: PathBuf,
    /// The control socket.
    pub socket: PathBuf,
    /// A tree of fail2ban's, whose jails run beside ours.
    pub fail2ban_tree: Option<PathBuf>,
    /// The database, if it is not our own file: fail2ban's.
    pub fail2ban_database: Option<PathBuf>,
    /// Addresses that are never banned, beside our own, gateways and resolvers.
    pub protect: Vec<Addr>,
    /// The same by name: of a host, or of a service with SRV records.
    pub protect_names: Vec<String>,
    /// Patterns of files and sockets: the registrars' own stores.
    pub registrars: Vec<String>,
    /// APIBAN.
    pub apiban: Apiban,
    /// The kernel's sets.
    pub firewall: Firewall,
}

/// The table `[apiban]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Apiban {
    /// Is it used at all?
    pub enabled: bool,
    /// The file that holds the key, and nothing else.
    pub key_file: PathBuf,
    /// The service.
    pub url: String,
    /// Which list.
    pub set: ListName,
    /// Are offenders that are not on the list looked up one by one?
    pub check: bool,
    /// How often the list is asked for news.
    pub poll: Duration,
    /// Requests in any 120 seconds.
    pub rate_limit: u32,
    /// How long an entry stays, instead of 7 days from its listing.
    pub entry_ttl: Option<Duration>,
    /// Entries of the list that are taken at most.
    pub max_entries: u32,
    /// Is the whole list walked again once a day?
    pub reconcile: bool,
    /// A certificate authority that is trusted instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// For laboratories: plain HTTP is accepted.
    pub insecure_http: bool,
    /// For laboratories: private and documentation addresses are accepted.
    pub accept_reserved: bool,
}

/// The table `[firewall]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Firewall {
    /// Bans that one jail can hold.
    pub max_bans: u32,
    /// The kind of kernel objects that bans live in.
    pub backend: Backend,
}

impl Default for Settings {
    fn default() -> Self {
        let feed = feed::Settings::default();
        Settings {
            state_dir: PathBuf::from("/var/lib/ringfence"),
            socket: PathBuf::from("/run/ringfence/ringfence.sock"),
            fail2ban_tree: None,
            fail2ban_database: None,
            protect: Vec::new(),
            protect_names: Vec::new(),
            registrars: USUAL.iter().map(|path| (*path).to_owned()).collect(),
            apiban: Apiban {
                enabled: true,
                key_file: Path::new(CONFIG_DIR).join("apiban.key"),
                url: feed.base_url.to_string(),
                set: feed.set,
                check: feed.check,
                poll: feed.poll,
                rate_limit: feed.rate_limit,
                entry_ttl: feed.entry_ttl,
                max_entries: feed.max_entries,
                reconcile: feed.reconcile,
                ca_file: feed.ca_file,
                insecure_http: feed.laboratory.insecure_http,
                accept_reserved: feed.laboratory.accept_reserved,
            },
            firewall: Firewall {
                max_bans: 65_536,
                backend: Backend::Auto,
            },
        }
    }
}

/// Something wrong in a settings file.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file cannot be read.
    #[error("{}: {error}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why not.
        error: std::io::Error,
    },
    /// Its text cannot be understood.
    #[error("{}:{line}: {message}", path.display())]
    Text {
        /// Which file.
        path: PathBuf,
        /// The line in it, counted from 1.
        line: usize,
        /// What is wrong there, and what would be accepted.
        message: String,
    },
}

impl Settings {
    /// Reads `ringfence.toml` and `ringfence.d/*.toml` of a folder; neither need exist.
    pub fn load(folder: &Path) -> Result<Settings, SettingsError> {
        let mut settings = Settings::default();
        settings.apiban.key_file = key_file(folder);
        for path in files(folder)? {
            let bytes = fs::read(&path).map_err(|error| SettingsError::Read {
                path: path.clone(),
                error,
            })?;
            let text = String::from_utf8(bytes).map_err(|wrong| {
                let before = wrong
                    .as_bytes()
                    .iter()
                    .take(wrong.utf8_error().valid_up_to());
                SettingsError::Text {
                    path: path.clone(),
                    line: before.filter(|byte| **byte == b'\n').count() + 1,
                    message: "this is no UTF-8; save the file in that encoding".to_owned(),
                }
            })?;
            settings.merge(&text).map_err(|wrong| {
                let before = wrong
                    .span
                    .map_or("", |span| text.get(..span.start).unwrap_or(""));
                let line = before.matches('\n').count() + 1;
                SettingsError::Text {
                    path: path.clone(),
                    line,
                    message: wrong.message,
                }
            })?;
        }
        Ok(settings)
    }

    /// Our own database.
    pub fn database(&self) -> PathBuf {
        self.state_dir.join("ringfence.sqlite3")
    }

    fn merge(&mut self, text: &str) -> Result<(), Wrong> {
        let file: File = toml::from_str(text).map_err(|error| Wrong::new(error, text))?;
        let apiban = file.apiban.unwrap_or_default();
        let firewall = file.firewall.unwrap_or_default();
        replace(&mut self.state_dir, file.state_dir);
        replace(&mut self.socket, file.socket);
        replace(&mut self.registrars, file.registrars);
        let fail2ban = file.fail2ban.unwrap_or_default();
        self.fail2ban_tree = fail2ban.tree.or(self.fail2ban_tree.take());
        self.fail2ban_database = fail2ban.database.or(self.fail2ban_database.take());
        if let Some(entries) = file.protect {
            (self.protect, self.protect_names) = protect(entries)?;
        }
        replace(&mut self.apiban.enabled, apiban.enabled);
        replace(&mut self.apiban.key_file, apiban.key_file);
        replace(&mut self.apiban.url, apiban.url);
        replace(&mut self.apiban.set, apiban.set);
        replace(&mut self.apiban.check, apiban.check);
        replace(
            &mut self.apiban.poll,
            within(apiban.poll, "poll", POLL_MIN.as_secs()..=86_400)?,
        );
        replace(
            &mut self.apiban.rate_limit,
            apiban.rate_limit.map(|Limit(limit)| limit),
        );
        if let Some(ttl) = within(apiban.entry_ttl, "entry_ttl", 3_600..=604_800)? {
            self.apiban.entry_ttl = Some(ttl);
        }
        replace(
            &mut self.apiban.max_entries,
            apiban.max_entries.map(|Count(count)| count),
        );
        replace(&mut self.apiban.reconcile, apiban.reconcile);
        if let Some(path) = apiban.ca_file {
            self.apiban.ca_file = Some(path);
        }
        replace(&mut self.apiban.insecure_http, apiban.insecure_http);
        replace(&mut self.apiban.accept_reserved, apiban.accept_reserved);
        replace(
            &mut self.firewall.max_bans,
            firewall.max_bans.map(|Count(count)| count),
        );
        replace(
            &mut self.firewall.backend,
            firewall.backend.map(BackendWord::backend),
        );
        Ok(())
    }
}

/// Where the key lies unless the settings say otherwise: among systemd's credentials
/// (`LoadCredential=apiban.key`), else in the folder.
fn key_file(folder: &Path) -> PathBuf {
    let credential =
        std::env::var_os("CREDENTIALS_DIRECTORY").map(|dir| Path::new(&dir).join("apiban.key"));
    credential
        .filter(|path| path.exists())
        .unwrap_or_else(|| folder.join("apiban.key"))
}

fn files(folder: &Path) -> Result<Vec<PathBuf>, SettingsError> {
    let mut paths = Vec::new();
    let main = folder.join("ringfence.toml");
    if main.exists() {
        paths.push(main);
    }
    let extra = folder.join("ringfence.d");
    if extra.is_dir() {
        let wrap = |error| SettingsError::Read {
            path: extra.clone(),
            error,
        };
        let entries = fs::read_dir(&extra)
            .map_err(wrap)?
            .collect::<Result<Vec<_>, _>>()
            .map_err(wrap)?;
        let mut found: Vec<PathBuf> = entries.into_iter().map(|entry| entry.path()).collect();
        found.retain(|path| {
            path.extension()
                .is_some_and(|extension| extension == "toml")
        });
        found.sort();
        paths.append(&mut found);
    }
    Ok(paths)
}

fn replace<T>(setting: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *setting = value;
    }
}

/// What is wrong, and where in the text.
struct Wrong {
    message: String,
    span: Option<std::ops::Range<usize>>,
}

impl Wrong {
    fn new(error: toml::de::Error, text: &str) -> Self {
        let span = error.span();
        let mut message = error.message().to_owned();
        let written = span.clone().and_then(|span| text.get(span));
        if let Some(one) = written.filter(|_| message.ends_with("expected a sequence")) {
            message = format!("this is a list; write [{one}]");
        }
        Wrong { message, span }
    }
}

/// Addresses, and names. (An element of an array loses its place in an error of
/// serde's, so it is read as text first.)
fn protect(entries: Vec<toml::Spanned<String>>) -> Result<(Vec<Addr>, Vec<String>), Wrong> {
    let (mut addrs, mut names) = (Vec::new(), Vec::new());
    for entry in entries {
        let span = Some(entry.span());
        let entry = entry.into_inner();
        match entry.parse::<Addr>() {
            Ok(addr) if addr.prefix_len() < shortest(&addr) => {
                let message = format!(
                    "`{entry}` would protect most of the world; write addresses, or networks of /{} and longer",
                    shortest(&addr)
                );
                return Err(Wrong { message, span });
            }
            Ok(addr) => addrs.push(addr),
            Err(_) if is_name(&entry) && names.len() == NAMES_MAX => {
                let message = format!("`protect` takes {NAMES_MAX} names; write addresses");
                return Err(Wrong { message, span });
            }
            Err(_) if is_name(&entry) => names.push(entry.to_ascii_lowercase()),
            Err(error) => {
                let message = format!(
                    "{error}, nor a name such as `trunk.example.net` or `_sip._udp.example.net`"
                );
                return Err(Wrong { message, span });
            }
        }
    }
    Ok((addrs, names))
}

/// The shortest prefix that somebody's own network can have: `10.0.0.0/8`, `fc00::/7`.
fn shortest(addr: &Addr) -> u8 {
    if addr.is_ipv6() { 7 } else { 8 }
}

fn within(
    span: Option<toml::Spanned<Span>>,
    key: &str,
    secs: std::ops::RangeInclusive<u64>,
) -> Result<Option<Duration>, Wrong> {
    let Some(span) = span else { return Ok(None) };
    let place = span.span();
    let Span(value) = span.into_inner();
    if secs.contains(&value.as_secs()) {
        return Ok(Some(value));
    }
    let [least, most] =
        [*secs.start(), *secs.end()].map(|secs| crate::time::human(Duration::from_secs(secs)));
    Err(Wrong {
        message: format!("`{key}` lies between {least} and {most}"),
        span: Some(place),
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    state_dir: Option<PathBuf>,
    socket: Option<PathBuf>,
    fail2ban: Option<Fail2banFile>,
    protect: Option<Vec<toml::Spanned<String>>>,
    registrars: Option<Vec<String>>,
    apiban: Option<ApibanFile>,
    firewall: Option<FirewallFile>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fail2banFile {
    tree: Option<PathBuf>,
    database: Option<PathBuf>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ApibanFile {
    enabled: Option<bool>,
    key_file: Option<PathBuf>,
    url: Option<String>,
    set: Option<ListName>,
    check: Option<bool>,
    poll: Option<toml::Spanned<Span>>,
    rate_limit: Option<Limit>,
    entry_ttl: Option<toml::Spanned<Span>>,
    max_entries: Option<Count>,
    reconcile: Option<bool>,
    ca_file: Option<PathBuf>,
    insecure_http: Option<bool>,
    accept_reserved: Option<bool>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct FirewallFile {
    max_bans: Option<Count>,
    backend: Option<BackendWord>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum BackendWord {
    Auto,
    Ipset,
    Nftables,
}

impl BackendWord {
    fn backend(self) -> Backend {
        match self {
            BackendWord::Auto => Backend::Auto,
            BackendWord::Ipset => Backend::Ipset,
            BackendWord::Nftables => Backend::Nftables,
        }
    }
}

/// Requests in 120 seconds; APIBAN allows 11 for one key.
#[derive(Deserialize)]
#[serde(try_from = "u32")]
struct Limit(u32);

impl TryFrom<u32> for Limit {
    type Error = &'static str;

    fn try_from(number: u32) -> Result<Self, Self::Error> {
        if (2..=11).contains(&number) {
            Ok(Limit(number))
        } else {
            Err("`rate_limit` lies between 2 and 11")
        }
    }
}

/// A number of entries that a kernel set can be made for.
#[derive(Deserialize)]
#[serde(try_from = "u32")]
struct Count(u32);

impl TryFrom<u32> for Count {
    type Error = &'static str;

    fn try_from(number: u32) -> Result<Self, Self::Error> {
        if (1..=4_000_000).contains(&number) {
            Ok(Count(number))
        } else {
            Err("a number of entries lies between 1 and 4000000")
        }
    }
}

/// A duration: `"5m"`, `"1d 12h"`, or a number of seconds.
#[derive(Deserialize)]
#[serde(try_from = "SpanText")]
struct Span(Duration);

#[derive(Deserialize)]
#[serde(untagged)]
enum SpanText {
    Secs(u64),
    Text(String),
}

impl TryFrom<SpanText> for Span {
    type Error = String;

    fn try_from(value: SpanText) -> Result<Self, String> {
        match value {
            SpanText::Secs(secs) => Ok(Span(Duration::from_secs(secs))),
            SpanText::Text(text) => {
                let span = text
                    .parse::<jiff::SignedDuration>()
                    .ok()
                    .and_then(|span| span.try_into().ok());
                let written = text.chars().take(40).collect::<String>();
                span.map(Span).ok_or_else(|| {
                    format!("`{written}` is not a duration; write seconds, or units as in \"5m\" or \"1h 30m\"")
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(files: &[(&str, &str)]) -> Result<Settings, String> {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("ringfence.d")).unwrap();
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        let error = |error: SettingsError| {
            error
                .to_string()
                .replace(&format!("{}/", folder.path().display()), "")
        };
        Settings::load(folder.path()).map_err(error)
    }

    #[test]
    fn later_files_replace_what_they_name() {
        let settings = load(&[
            (
                "ringfence.toml",
                "protect = ['192.0.2.0/24', '_sip._udp.Trunk.example.net', 'pbx']\n[apiban]\npoll = '10m'\nset = 'all'\n",
            ),
            ("ringfence.d/20.toml", "[apiban]\npoll = 90\n"),
            (
                "ringfence.d/10.toml",
                "[apiban]\npoll = 100\ncheck = false\n",
            ),
            ("ringfence.d/readme", "not read"),
        ])
        .unwrap();
        assert_eq!(settings.protect, ["192.0.2.0/24".parse().unwrap()]);
        assert_eq!(
            settings.protect_names,
            ["_sip._udp.trunk.example.net", "pbx"]
        );
        assert_eq!(settings.apiban.poll, Duration::from_secs(90));
        assert_eq!(
            (settings.apiban.set, settings.apiban.check),
            (ListName::All, false)
        );
        assert!(load(&[]).is_ok());
    }

    #[test]
    fn a_file_in_another_encoding_is_said_once() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("ringfence.toml"), b"# ok\n# B\xfcro\n").unwrap();
        let error = anyhow::Error::from(Settings::load(folder.path()).unwrap_err());
        let told = "ringfence.toml:2: this is no UTF-8; save the file in that encoding";
        assert!(format!("{error:#}").ends_with(told), "{error:#}");
        fs::remove_file(folder.path().join("ringfence.toml")).unwrap();
        fs::create_dir(folder.path().join("ringfence.toml")).unwrap();
        let error = anyhow::Error::from(Settings::load(folder.path()).unwrap_err());
        assert_eq!(
            format!("{error:#}").matches("directory").count(),
            1,
            "{error:#}"
        );
    }

    #[test]
    fn mistakes_name_file_line_and_what_is_accepted() {
        for (text, message) in [
            (
                "\nprotekt = []",
                "ringfence.toml:2: unknown field `protekt`, expected one of `state_dir`",
            ),
            (
                "protect = [\n'192.0.2.7',\n'sip.example/24']",
                "ringfence.toml:3: `sip.example/24` is not an address",
            ),
            (
                "protect = [\n'0.0.0.0/1', '192.0.2.7']",
                "ringfence.toml:2: `0.0.0.0/1` would protect most of the world; write addresses, or networks of /8 and longer",
            ),
            (
                "protect = [\n'10.0.0.0/8', 'fc00::/7',\n'2000::/3']",
                "ringfence.toml:3: `2000::/3` would protect most of the world; write addresses, or networks of /7",
            ),
            (
                "protect = ['-']",
                "ringfence.toml:1: `-` is not an address; write `192.0.2.7`",
            ),
            (
                "protect = ['_sip._udp']",
                "ringfence.toml:1: `_sip._udp` is not an address; write `192.0.2.7`, `192.0.2.0/24`, `2001:db8::7` or `2001:db8::/64`, nor a name such as `trunk.example.net` or `_sip._udp.example.net`",
            ),
            (
                "[apiban]\npoll = '5'",
                "ringfence.toml:2: `5` is not a duration",
            ),
            (
                "[apiban]\npoll = '5s'",
                "ringfence.toml:2: `poll` lies between 1m and 1d",
            ),
            (
                "[apiban]\nset = 'sips'",
                "ringfence.toml:2: unknown variant `sips`, expected one of `sip`",
            ),
            (
                "[apiban]\n\nrate_limit = 50",
                "ringfence.toml:3: `rate_limit` lies between 2 and 11",
            ),
            (
                "[firewall]\nbackend = 'pf'",
                "ringfence.toml:2: unknown variant `pf`, expected one of `auto`, `ipset`, `nftables`",
            ),
            (
                "[firewall]\nmax_bans = 0",
                "ringfence.toml:2: a number of entries lies between",
            ),
            ("[apiban", "ringfence.toml:1: "),
            (
                "\nprotect = \"10.0.0.1\"",
                "ringfence.toml:2: this is a list; write [\"10.0.0.1\"]",
            ),
        ] {
            let error = load(&[("ringfence.toml", text)]).unwrap_err();
            assert!(error.starts_with(message), "{text}: {error}");
        }
    }
}
