//! FreeSWITCH's gateways (`sip_profiles/*/*.xml`) and the addresses that its access lists
//! allow (`autoload_configs/acl.conf.xml`).

use std::path::Path;

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

use super::{Found, Place, named, of_uri};

/// Options of a gateway that name its servers.
const SERVERS: [&str; 4] = ["realm", "proxy", "register-proxy", "outbound-proxy"];

pub(super) fn find(folder: &Path, found: &mut Found) {
    let patterns = [
        "sip_profiles/*.xml",
        "sip_profiles/*/*.xml",
        "autoload_configs/acl.conf.xml",
    ];
    for path in patterns.iter().flat_map(|pattern| named(folder, pattern)) {
        if let Some(text) = found.read(&path) {
            file(&path, &text, found);
        }
    }
}

/// A gateway while it is read.
struct Gateway {
    name: String,
    line: usize,
    has_server: bool,
}

fn file(path: &Path, text: &str, found: &mut Found) {
    let mut reader = Reader::from_str(text);
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
                    let name = value(&tag, "name");
                    end(gateway.take(), path, found);
                    gateway = Some(Gateway {
                        name,
                        line,
                        has_server: false,
                    });
                }
                b"param" => {
                    let (name, value) = (value(&tag, "name"), value(&tag, "value"));
                    if let Some(gateway) = &mut gateway
                        && SERVERS.contains(&name.as_str())
                    {
                        gateway.has_server = true;
                        let what = format!("FreeSWITCH gateway {}", gateway.name);
                        found.peer(of_uri(&value), &what, place);
                    }
                }
                b"list" => list = value(&tag, "name"),
                b"node" if value(&tag, "type") == "allow" => {
                    let what = format!("FreeSWITCH list {list}");
                    let host = [value(&tag, "cidr"), value(&tag, "host")].concat();
                    found.peer(&host, &what, place);
                }
                _ => {}
            },
            Ok(Event::End(tag)) if tag.name().as_ref() == b"gateway" => {
                end(gateway.take(), path, found);
            }
            Ok(Event::Eof) => return end(gateway.take(), path, found),
            Ok(_) => {}
            Err(error) => {
                end(gateway.take(), path, found);
                return found.problem(place, format!("this is no XML: {error}"));
            }
        }
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

/// An attribute's value; empty if there is none, or if it cannot be read.
fn value(tag: &BytesStart<'_>, name: &str) -> String {
    let attribute = tag.try_get_attribute(name).ok().flatten();
    let value = attribute.map(|attribute| String::from_utf8_lossy(&attribute.value).into_owned());
    value.unwrap_or_default()
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
