//! Trunks: who the phone servers' own configuration says we talk to. For suggestions to an
//! operator: nothing is changed, and nothing here decides.
//!
//! A server's configuration is read as far as it names peers: addresses and names, never
//! passwords. Whatever cannot be understood is a [`Problem`] with file and line, and all else
//! counts. Files, their number and their depth of includes are bounded.

mod asterisk;
mod freeswitch;
mod kamailio;

use std::collections::HashSet;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::jail::is_name;
use crate::addr::Addr;

/// Files that are read of one server.
const FILES_MAX: usize = 512;

/// The longest file that is read; a table of a few ten thousand addresses.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// How deep files may include each other.
const DEPTH_MAX: usize = 16;

/// Suggestions that are made; beyond that nobody reads them.
const SUGGESTIONS_MAX: usize = 4_096;

/// Somebody whom a configuration names.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Suggestion {
    /// An address, a prefix, or a name, as `protect` takes it.
    pub value: String,
    /// What it is there: `pjsip identify provider1`, say.
    pub what: String,
    /// The file.
    pub file: PathBuf,
    /// The line in it, counted from 1.
    pub line: usize,
}

/// Something that could not be understood.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Problem {
    /// The file.
    pub file: PathBuf,
    /// The line in it, counted from 1; 0 is the whole of it.
    pub line: usize,
    /// What is wrong, and what would be accepted.
    pub message: String,
}

/// Where the servers' configurations lie.
#[derive(Clone, Debug)]
pub struct Places {
    /// Asterisk's: `pjsip.conf`, `pjsip_wizard.conf`, `sip.conf`, `iax.conf`.
    pub asterisk: PathBuf,
    /// FreeSWITCH's: gateways and access lists.
    pub freeswitch: PathBuf,
    /// Kamailio's: dispatcher and permissions.
    pub kamailio: PathBuf,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Found {
    /// Each value once, in the order in which they stand there.
    pub suggestions: Vec<Suggestion>,
    /// What was left out.
    pub problems: Vec<Problem>,
    /// The files that were read.
    pub files: Vec<PathBuf>,
}

/// Reads all that is there.
pub fn find(places: &Places) -> Found {
    let mut found = Found::default();
    asterisk::find(&places.asterisk, &mut found);
    freeswitch::find(&places.freeswitch, &mut found);
    kamailio::find(&places.kamailio, &mut found);
    let mut known = HashSet::new();
    found
        .suggestions
        .retain(|suggestion| known.insert(suggestion.value.clone()));
    found.suggestions.truncate(SUGGESTIONS_MAX);
    found
}

/// A place in a file.
#[derive(Clone, Copy, Debug)]
struct Place<'a> {
    file: &'a Path,
    line: usize,
}

impl Found {
    /// Suggests a peer as a configuration writes it: an address, with or without a mask, a
    /// name, or either with a port. Loopback is nobody's, and is protected anyway.
    fn peer(&mut self, written: &str, what: &str, place: Place<'_>) {
        let written = written.trim();
        match peer(written) {
            _ if written.is_empty() => {}
            Some(value) if is_ours(&value) => {}
            Some(value) => self.suggestions.push(Suggestion {
                value,
                what: what.to_owned(),
                file: place.file.to_owned(),
                line: place.line,
            }),
            None => {
                let shown: String = written.chars().take(80).collect();
                self.problem(place, format!("{what}: `{shown}` is neither an address nor a host name; write it into `protect` by hand if it is a trunk"));
            }
        }
    }

    fn problem(&mut self, place: Place<'_>, message: String) {
        if self.problems.len() < SUGGESTIONS_MAX {
            self.problems.push(Problem {
                file: place.file.to_owned(),
                line: place.line,
                message,
            });
        }
    }

    /// Reads a file; none if it is not there, or cannot be read.
    fn read(&mut self, path: &Path) -> Option<String> {
        let whole = Place {
            file: path,
            line: 0,
        };
        if self.files.len() >= FILES_MAX {
            self.problem(
                whole,
                format!("more than {FILES_MAX} files; this one is left out"),
            );
            return None;
        }
        match read(path) {
            Ok(text) => {
                self.files.push(path.to_owned());
                Some(text)
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => {
                self.problem(whole, error.to_string());
                None
            }
        }
    }
}

fn read(path: &Path) -> std::io::Result<String> {
    let mut bytes = Vec::new();
    let file = File::open(path)?;
    if !file.metadata()?.is_file() {
        return Err(std::io::Error::other("it is no plain file"));
    }
    if file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)? as u64 > FILE_BYTES_MAX {
        let message = format!("it is longer than {FILE_BYTES_MAX} bytes");
        return Err(std::io::Error::other(message));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The files that a pattern names, in byte order; relative ones lie in `folder`.
fn named(folder: &Path, pattern: &str) -> Vec<PathBuf> {
    let pattern = folder.join(pattern).display().to_string();
    let paths = glob::glob(&pattern).into_iter().flatten();
    paths.filter_map(Result::ok).take(FILES_MAX).collect()
}

/// What `protect` takes, of what a server's configuration says.
fn peer(written: &str) -> Option<String> {
    if let Some((ip, mask)) = written.split_once('/') {
        let bits = match mask.parse::<std::net::Ipv4Addr>() {
            Ok(mask) => {
                let ones = mask.to_bits().leading_ones();
                let has_holes = ones != mask.to_bits().count_ones();
                (!has_holes).then(|| ones.to_string())?
            }
            Err(_) => mask.to_owned(),
        };
        let prefix: Addr = format!("{ip}/{bits}").parse().ok()?;
        return (prefix.prefix_len() > 0).then(|| prefix.to_string());
    }
    let host = without_port(written);
    match host.parse::<Addr>() {
        Ok(addr) => Some(addr.to_string()),
        Err(_) => is_name(host).then(|| host.trim_end_matches('.').to_ascii_lowercase()),
    }
}

/// `192.0.2.7:5060` and `[2001:db8::7]:5060` without their ports.
fn without_port(written: &str) -> &str {
    match (written.strip_prefix('['), written.matches(':').count()) {
        (Some(v6), _) => v6.split(']').next().unwrap_or_default(),
        (None, 1) => written.split(':').next().unwrap_or_default(),
        (None, _) => written,
    }
}

/// The host and port of a SIP URI: `sip.example.net:5060` of
/// `"X" <sip:user@sip.example.net:5060;transport=udp>`.
fn of_uri(uri: &str) -> &str {
    let uri = uri.split_once('<').map_or(uri, |(_, uri)| uri);
    let schemes = ["sip:", "sips:"];
    let rest = schemes
        .iter()
        .find_map(|scheme| uri.trim().strip_prefix(scheme));
    let rest = rest.unwrap_or(uri).split(['>', ';', '?', '\\']).next();
    rest.unwrap_or_default()
        .rsplit('@')
        .next()
        .unwrap_or_default()
}

/// Is it this machine, or nobody?
fn is_ours(value: &str) -> bool {
    match value.parse::<Addr>() {
        Ok(addr) => addr.ip().is_loopback() || addr.ip().is_unspecified(),
        Err(_) => value == "localhost",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes files, and shows what is found in them: `FILE:LINE VALUE WHAT`.
    fn shown(files: &[(&str, &str)]) -> String {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(
                path,
                text.replace("FOLDER", &folder.path().display().to_string()),
            )
            .unwrap();
        }
        let found = find(&Places {
            asterisk: folder.path().join("asterisk"),
            freeswitch: folder.path().join("freeswitch"),
            kamailio: folder.path().join("kamailio"),
        });
        let file = |path: &Path| {
            let inside = path.strip_prefix(folder.path()).unwrap_or(path);
            inside.display().to_string()
        };
        let suggestions = found.suggestions.iter().map(|one| {
            format!(
                "{}:{} {} {}\n",
                file(&one.file),
                one.line,
                one.value,
                one.what
            )
        });
        let problems = found
            .problems
            .iter()
            .map(|one| format!("{}:{} ! {}\n", file(&one.file), one.line, one.message));
        suggestions.chain(problems).collect()
    }

    #[test]
    fn trunks_of_pjsip() {
        let shown = shown(&[
            (
                "asterisk/pjsip.conf",
                "; our trunks
[global]
type=global
[trunk](!)
type = identify ; of all
match=192.0.2.99 ; a template names nobody
#include \"pjsip.d/*.conf\"
#tryinclude nothing.conf
#include missing.conf
#exec /bin/false
[1001]
type=aor
max_contacts=1
;-- [old]
type=identify
match=192.0.2.98 --; [reg]
type=registration
server_uri=sip:reg.example.net\\;transport=tcp
client_uri=sip:me@192.0.2.97
[1001](+)
type=endpoint
outbound_proxy=sip:proxy.example.net\\;lr
",
            ),
            (
                "asterisk/pjsip.d/a.conf",
                "[first](trunk)
endpoint=first
match=192.0.2.7,198.51.100.0/255.255.255.0,Sip.Example.net
[first]
type=aor
contact=sip:me@203.0.113.5:5080
contact=sip:${TRUNK}
[second](nowhere)
type=identify
match=127.0.0.1
",
            ),
        ]);
        expect_test::expect![[r#"
            asterisk/pjsip.conf:6 192.0.2.99 pjsip identify first
            asterisk/pjsip.d/a.conf:3 192.0.2.7 pjsip identify first
            asterisk/pjsip.d/a.conf:3 198.51.100.0/24 pjsip identify first
            asterisk/pjsip.d/a.conf:3 sip.example.net pjsip identify first
            asterisk/pjsip.d/a.conf:6 203.0.113.5 pjsip aor first
            asterisk/pjsip.conf:18 reg.example.net pjsip registration reg
            asterisk/pjsip.conf:22 proxy.example.net pjsip endpoint 1001
            asterisk/pjsip.d/a.conf:8 ! there is no template `nowhere`
            asterisk/pjsip.conf:9 ! the included file missing.conf is not there
            asterisk/pjsip.conf:10 ! #exec /bin/false is not run; what it says is not known here
            asterisk/pjsip.d/a.conf:7 ! pjsip aor first: `${TRUNK}` is neither an address nor a host name; write it into `protect` by hand if it is a trunk
        "#]]
        .assert_eq(&shown);
    }

    #[test]
    fn peers_of_chan_sip_and_iax() {
        let shown = shown(&[
            (
                "asterisk/sip.conf",
                "stray=1
[general]
register => me:se@cret/pa:ss@sip.example.net:5061/1234
register => nobody
outboundproxy=192.0.2.5:5060,force
[1001]
host=dynamic
secret=192.0.2.66
[provider]
type=peer
host = 192.0.2.7
host=2001:db8::7
",
            ),
            ("asterisk/iax.conf", "[office]\nhost=office.example.net\n"),
        ]);
        expect_test::expect![[r#"
            asterisk/sip.conf:3 sip.example.net sip register
            asterisk/sip.conf:5 192.0.2.5 sip general
            asterisk/sip.conf:11 192.0.2.7 sip provider
            asterisk/sip.conf:12 2001:db8::7 sip provider
            asterisk/iax.conf:2 office.example.net iax office
            asterisk/sip.conf:1 ! a setting in front of the first [section]
            asterisk/sip.conf:4 ! register: no `@HOST` in it
        "#]]
        .assert_eq(&shown);
    }

    #[test]
    fn gateways_and_lists_of_freeswitch() {
        let shown = shown(&[
            (
                "freeswitch/sip_profiles/external/example.xml",
                "<include>
  <gateway name=\"sip.example.net\">
    <!-- <param name=\"proxy\" value=\"192.0.2.66\"/> -->
    <param name=\"username\" value=\"me\"/>
    <param name=\"password\" value=\"192.0.2.67\"/>
  </gateway>
  <gateway name=\"other\">
    <param name=\"realm\" value=\"realm.example.net\"/>
    <param name=\"proxy\" value=\"sip:192.0.2.7:5080;transport=tcp\"/>
    <param name=\"outbound-proxy\" value=\"$${proxy}\"/>
  </gateway>
</include>
",
            ),
            (
                "freeswitch/autoload_configs/acl.conf.xml",
                "<configuration name=\"acl.conf\"><network-lists>
<list name=\"providers\" default=\"deny\">
  <node type=\"allow\" cidr=\"198.51.100.0/24\"/>
  <node type=\"deny\" cidr=\"203.0.113.0/24\"/>
  <node type=\"allow\" domain=\"x\"/>
</list></network-lists></configuration>
",
            ),
            (
                "freeswitch/sip_profiles/internal.xml",
                "<profile>\n<gateway name=\"x\"",
            ),
        ]);
        expect_test::expect![[r#"
            freeswitch/sip_profiles/external/example.xml:2 sip.example.net FreeSWITCH gateway sip.example.net
            freeswitch/sip_profiles/external/example.xml:8 realm.example.net FreeSWITCH gateway other
            freeswitch/sip_profiles/external/example.xml:9 192.0.2.7 FreeSWITCH gateway other
            freeswitch/autoload_configs/acl.conf.xml:3 198.51.100.0/24 FreeSWITCH list providers
            freeswitch/sip_profiles/internal.xml:2 ! this is no XML: syntax error: tag not closed: `>` not found before end of input
            freeswitch/sip_profiles/external/example.xml:10 ! FreeSWITCH gateway other: `$${proxy}` is neither an address nor a host name; write it into `protect` by hand if it is a trunk
        "#]].assert_eq(&shown);
    }

    #[test]
    fn destinations_and_addresses_of_kamailio() {
        let shown = shown(&[
            (
                "kamailio/kamailio.cfg",
                "#modparam(\"dispatcher\", \"list_file\", \"/nowhere\")
modparam(\"dispatcher\", \"list_file\", \"FOLDER/kamailio/mine.list\")
modparam(\"auth_db|permissions\", \"db_url\", \"text://FOLDER/tables\")
",
            ),
            (
                "kamailio/mine.list",
                "# setid destination
1 sip:192.0.2.7:5060 0 0 weight=50
1 sip:sip.example.net;transport=tcp
2 sip:127.0.0.1:5080
",
            ),
            (
                "kamailio/address.list",
                "(comment\n1 192.0.2.0/24 5060\n2 198.51.100.7 32 0 tag\n",
            ),
            (
                "tables/address",
                "id(int,auto) grp(int) ip_addr(string) mask(int) port(int) tag(string,null)
1:1:203.0.113.0:24:5060:office
2:1:2001\\:db8\\:\\:7:128:0:
3:1:300.1.1.1:32:0:
",
            ),
            (
                "tables/dispatcher",
                "id(int,auto) setid(int) destination(string) flags(int)
1:4:sip\\:dispatch.example.net\\:5060:0
",
            ),
        ]);
        expect_test::expect![[r#"
            kamailio/mine.list:2 192.0.2.7 Kamailio dispatcher set 1
            kamailio/mine.list:3 sip.example.net Kamailio dispatcher set 1
            kamailio/address.list:2 192.0.2.0/24 Kamailio address group 1
            kamailio/address.list:3 198.51.100.7 Kamailio address group 2
            tables/dispatcher:2 dispatch.example.net Kamailio dispatcher set 4
            tables/address:2 203.0.113.0/24 Kamailio address group 1
            tables/address:3 2001:db8::7 Kamailio address group 1
            tables/address:4 ! Kamailio address group 1: `300.1.1.1/32` is neither an address nor a host name; write it into `protect` by hand if it is a trunk
        "#]].assert_eq(&shown);
    }

    #[test]
    fn files_that_include_themselves_come_to_an_end() {
        let shown_of_pjsip = |text: &str| shown(&[("asterisk/pjsip.conf", text)]);
        let shown = shown_of_pjsip("#include pjsip.conf\n");
        assert!(
            shown.contains("more than 16 includes in each other"),
            "{shown}"
        );
        let line = |n: usize| format!("[t{n}](t{before},t{before})\n", before = n - 1);
        let templates: String = (1..60).map(line).collect();
        let doubling = shown_of_pjsip(&format!(
            "[t0]\ntype=identify\nmatch=192.0.2.7\n{templates}"
        ));
        assert!(
            doubling.contains("more than 100000 settings come from templates; what `t15` says"),
            "{doubling}"
        );
        let broken = shown_len(&"[a](\n;--\n=\n#\n[\n\\;".repeat(1_000));
        assert!(broken < 1_000_000);
    }

    fn shown_len(text: &str) -> usize {
        let names = [
            "asterisk/pjsip.conf",
            "asterisk/sip.conf",
            "freeswitch/sip_profiles/a.xml",
            "kamailio/dbtext/address",
        ];
        shown(&names.map(|name| (name, text))).len()
    }

    #[test]
    fn peers_as_they_are_written() {
        for (written, expected) in [
            ("192.0.2.7", Some("192.0.2.7")),
            ("192.0.2.7:5060", Some("192.0.2.7")),
            ("192.0.2.7/24", Some("192.0.2.0/24")),
            ("192.0.2.7/255.255.255.128", Some("192.0.2.0/25")),
            ("[2001:db8::7]:5060", Some("2001:db8::7")),
            ("2001:db8::7", Some("2001:db8::7")),
            ("2001:db8::/48", Some("2001:db8::/48")),
            ("SIP.example.net.", Some("sip.example.net")),
            ("sip.example.net:5060", Some("sip.example.net")),
            ("192.0.2.7/255.0.255.0", None),
            ("0.0.0.0/0", None),
            ("192.0.2", None),
            ("${TRUNK}", None),
            ("a b", None),
            ("\u{1b}[2J", None),
        ] {
            assert_eq!(peer(written).as_deref(), expected, "{written}");
        }
        for (uri, expected) in [
            ("sip:192.0.2.7:5060", "192.0.2.7:5060"),
            ("sip:user@sip.example.net", "sip.example.net"),
            (
                "\"X\" <sips:u@[2001:db8::7]:5061;transport=tls>",
                "[2001:db8::7]:5061",
            ),
            ("sip:192.0.2.7\\;lr", "192.0.2.7"),
            ("sip.example.net", "sip.example.net"),
        ] {
            assert_eq!(of_uri(uri), expected, "{uri}");
        }
    }
}
