//! FreeSWITCH's gateways (`sip_profiles/*/*.xml`), the addresses that its access lists allow
//! (`autoload_configs/acl.conf.xml`) and users come from (`directory`), with what
//! `X-PRE-PROCESS` includes and sets (`$${name}`).

use std::collections::HashMap;
use std::path::Path;

use quick_xml::events::{BytesStart, Event};

use super::files::whole;
use super::{Found, Place, of_uri, shown};

/// Where they are, in FreeSWITCH's order: variables first. Users come last, since they may be
/// more than the files that are read.
const PATTERNS: [&str; 9] = [
    "vars.xml",
    "sip_profiles/*.xml",
    "sip_profiles/*/*.xml",
    "autoload_configs/acl.conf.xml",
    "autoload_configs/xml_curl.conf.xml",
    "autoload_configs/lua.conf.xml",
    "autoload_configs/perl.conf.xml",
    "directory/*.xml",
    "directory/*/*.xml",
];

/// Options of a gateway that name its servers.
const SERVERS: [&str; 4] = ["realm", "proxy", "register-proxy", "outbound-proxy"];

/// Options of modules that answer for configuration: a web server's address, a script.
const ELSEWHERE: [&str; 2] = ["gateway-url", "xml-handler-script"];

/// Letters of a gateway's name; a host's has fewer.
const NAME_SHOWN: usize = 256;

/// How long a variable may be, and a value become by them.
const VALUE_BYTES_MAX: usize = 1_024;

pub(super) fn find(folder: &Path, found: &mut Found) {
    let mut reader = Reader {
        found,
        variables: HashMap::new(),
    };
    for pattern in PATTERNS {
        for path in reader.found.named(folder, pattern, whole(folder)) {
            reader.file(&path, whole(&path));
        }
    }
}

/// A configuration while it is read.
struct Reader<'a> {
    found: &'a mut Found,
    /// What `X-PRE-PROCESS` has set.
    variables: HashMap<String, String>,
}

/// A gateway while it is read.
struct Gateway {
    name: String,
    line: usize,
    has_server: bool,
}

impl Reader<'_> {
    /// Reads a file, once: a profile includes its gateways itself, as a rule.
    fn file(&mut self, path: &Path, from: Place<'_>) {
        if self.found.has_read(path) {
            return;
        }
        if let Some(text) = self.found.begin(path, from) {
            self.tags(path, &text);
            self.found.end();
        }
    }

    fn tags(&mut self, path: &Path, text: &str) {
        let mut reader = quick_xml::Reader::from_str(text);
        reader.config_mut().check_end_names = false;
        let mut lines = Lines::default();
        let (mut gateway, mut list): (Option<Gateway>, String) = (None, String::new());
        loop {
            let event = reader.read_event();
            let line = lines.at(text, reader.buffer_position());
            let place = Place { file: path, line };
            match event {
                Ok(Event::Start(tag) | Event::Empty(tag)) => match tag.name().as_ref() {
                    b"gateway" => {
                        end(gateway.take(), path, self.found);
                        gateway = Some(Gateway {
                            name: shown(&self.value(&tag, "name"), NAME_SHOWN),
                            line,
                            has_server: false,
                        });
                    }
                    b"param" => self.param(&tag, gateway.as_mut(), place),
                    b"list" => list = self.value(&tag, "name"),
                    b"node" if self.value(&tag, "type") == "allow" => {
                        let what = format!("FreeSWITCH list {list}");
                        let host = [self.value(&tag, "cidr"), self.value(&tag, "host")].concat();
                        self.hosts(&host, &what, place);
                    }
                    b"user" => {
                        let what = format!("FreeSWITCH user {}", self.value(&tag, "id"));
                        self.hosts(&self.value(&tag, "cidr"), &what, place);
                    }
                    b"X-PRE-PROCESS" => self.command(&tag, place),
                    _ => {}
                },
                Ok(Event::End(tag)) if tag.name().as_ref() == b"gateway" => {
                    end(gateway.take(), path, self.found);
                }
                Ok(Event::Eof) => return end(gateway.take(), path, self.found),
                Ok(_) => {}
                Err(error) => {
                    end(gateway.take(), path, self.found);
                    return self
                        .found
                        .problem(place, format!("this is no XML: {error}"));
                }
            }
        }
    }

    fn param(&mut self, tag: &BytesStart<'_>, gateway: Option<&mut Gateway>, place: Place<'_>) {
        let (name, value) = (self.value(tag, "name"), self.value(tag, "value"));
        match gateway {
            Some(gateway) if SERVERS.contains(&name.as_str()) => {
                gateway.has_server = true;
                let what = format!("FreeSWITCH gateway {}", gateway.name);
                self.found.peer(of_uri(&value), &what, place);
            }
            None if ELSEWHERE.contains(&name.as_str()) => self.found.problem(
                place,
                format!("{name}: what it answers is not asked for here; if gateways, lists or users come from it, write its trunks into `protect` by hand"),
            ),
            _ => {}
        }
    }

    /// `cidr` may name several.
    fn hosts(&mut self, hosts: &str, what: &str, place: Place<'_>) {
        for host in hosts.split(',') {
            self.found.peer(host, what, place);
        }
    }

    /// `<X-PRE-PROCESS cmd="include" data="external/*.xml"/>`, which lies beside the file, and
    /// `cmd="set" data="name=value"`.
    fn command(&mut self, tag: &BytesStart<'_>, place: Place<'_>) {
        let data = self.value(tag, "data");
        match self.value(tag, "cmd").as_str() {
            "include" => {
                let folder = place.file.parent().unwrap_or(place.file);
                let files = self.found.named(folder, &data, place);
                if files.is_empty() && !data.contains('*') {
                    let message = format!("the included file {data} is not there");
                    self.found.problem(place, message);
                }
                for file in files {
                    self.file(&file, place);
                }
            }
            "set" => {
                if let Some((name, value)) = data.split_once('=')
                    && value.len() <= VALUE_BYTES_MAX
                {
                    self.variables.insert(name.to_owned(), value.to_owned());
                }
            }
            // What other commands set (of a program, of the environment) is not known here, and
            // said where it is used.
            _ => {}
        }
    }

    /// An attribute's value, with its variables; empty if there is none, or if it cannot be
    /// read.
    fn value(&self, tag: &BytesStart<'_>, name: &str) -> String {
        let attribute = tag.try_get_attribute(name).ok().flatten();
        let written = attribute.map(|attribute| attribute.value);
        let written = written.as_deref().map(String::from_utf8_lossy);
        let mut rest = written.as_deref().unwrap_or_default();
        let mut value = String::new();
        while let Some((before, variable)) = rest.split_once("$${") {
            value += before;
            let known = variable.split_once('}');
            let known = known.and_then(|(name, after)| Some((self.variables.get(name)?, after)));
            match known.filter(|_| value.len() < VALUE_BYTES_MAX) {
                Some((text, after)) => {
                    value += text;
                    rest = after;
                }
                None => {
                    value += "$${";
                    rest = variable;
                }
            }
        }
        value + rest
    }
}

/// A gateway that names no server is called by its server's name.
fn end(gateway: Option<Gateway>, path: &Path, found: &mut Found) {
    if let Some(gateway) = gateway.filter(|gateway| !gateway.has_server) {
        let what = format!("FreeSWITCH gateway {}", gateway.name);
        let line = gateway.line;
        found.peer(&gateway.name, &what, Place { file: path, line });
    }
}

/// Counts lines as the reader goes on.
#[derive(Default)]
struct Lines {
    read: usize,
    newlines: usize,
}

impl Lines {
    fn at(&mut self, text: &str, position: u64) -> usize {
        let position = usize::try_from(position).unwrap_or(usize::MAX);
        let new = text.as_bytes().get(self.read..position).unwrap_or_default();
        self.newlines += new.iter().filter(|byte| **byte == b'\n').count();
        self.read = self.read.max(position);
        self.newlines + 1
    }
}
