//! Asterisk's peers: `pjsip.conf`, `pjsip_wizard.conf`, `sip.conf` and `iax.conf`, with their
//! includes and templates, and where its objects lie if not there.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::files::whole;
use super::{Found, Place, of_uri, realtime};

/// Settings that sections take from templates, all together: templates of templates double
/// with each line, and the file may be written by somebody else than who runs us.
const INHERITED_MAX: usize = 100_000;

/// The longest line that Asterisk reads.
const LINE_BYTES_MAX: usize = 8_192;

/// One `key = value`, and where it stands.
#[derive(Debug)]
pub(super) struct Setting {
    /// In lower case.
    pub(super) key: String,
    /// Without blanks around it.
    pub(super) value: String,
    file: PathBuf,
    line: usize,
}

/// One `[section]`.
#[derive(Clone, Debug, Default)]
pub(super) struct Section {
    /// Between its brackets.
    pub(super) name: String,
    is_template: bool,
    /// Those of its templates, and its own.
    pub(super) settings: Vec<Arc<Setting>>,
}

/// A configuration while it is read.
struct Reader<'a> {
    folder: &'a Path,
    found: &'a mut Found,
    sections: Vec<Section>,
    /// Where the last section of each name stands.
    named: HashMap<String, usize>,
    /// How many settings sections have taken from templates.
    inherited: usize,
    in_comment: bool,
}

pub(super) fn find(folder: &Path, found: &mut Found) {
    for (name, suggest) in [
        ("pjsip", pjsip as fn(&str, &Section, &mut Found)),
        ("pjsip_wizard", wizard),
        ("sip", peers),
        ("iax", peers),
        ("extconfig", realtime::families),
    ] {
        each_section(folder, name, suggest, found);
    }
    let mut others = BTreeSet::new();
    each_section(
        folder,
        "sorcery",
        |_, section, found| realtime::objects(section, &mut others, found),
        found,
    );
    for name in others {
        each_section(folder, name.trim_end_matches(".conf"), pjsip, found);
    }
}

/// Reads `NAME.conf`, if it is there.
fn each_section(
    folder: &Path,
    name: &str,
    mut each: impl FnMut(&str, &Section, &mut Found),
    found: &mut Found,
) {
    let mut reader = Reader {
        folder,
        found,
        sections: Vec::new(),
        named: HashMap::new(),
        inherited: 0,
        in_comment: false,
    };
    let path = folder.join(format!("{name}.conf"));
    reader.file(&path, whole(&path));
    let sections = reader.sections;
    for section in sections.iter().filter(|section| !section.is_template) {
        each(name, section, found);
    }
}

impl Reader<'_> {
    fn file(&mut self, path: &Path, from: Place<'_>) {
        let Some(text) = self.found.begin(path, from) else {
            return;
        };
        for (number, line) in text.lines().enumerate() {
            let place = Place {
                file: path,
                line: number + 1,
            };
            let line = self.uncommented(line);
            let line = line.trim();
            if line.len() > LINE_BYTES_MAX {
                let message = format!(
                    "longer than {LINE_BYTES_MAX} bytes: Asterisk does not read such a line"
                );
                self.found.problem(place, message);
            } else if let Some(include) = line.strip_prefix('#') {
                self.include(include, place);
            } else if let Some(header) = line.strip_prefix('[') {
                self.section(header, place);
            } else if let Some((key, value)) = line.split_once('=') {
                let value = value.strip_prefix('>').unwrap_or(value);
                let setting = Setting {
                    key: key.trim().to_ascii_lowercase(),
                    value: value.trim().to_owned(),
                    file: path.to_owned(),
                    line: place.line,
                };
                match self.sections.last_mut() {
                    Some(section) => section.settings.push(Arc::new(setting)),
                    None => self.found.problem(
                        place,
                        "a setting in front of the first [section]".to_owned(),
                    ),
                }
            }
        }
        self.found.end();
    }

    /// A line without its comments: `;` to its end, unless it is escaped, and `;-- … --;`
    /// over several lines.
    fn uncommented(&mut self, line: &str) -> String {
        let mut kept = String::new();
        let mut rest = line;
        loop {
            if self.in_comment {
                match rest.split_once("--;") {
                    None => return kept,
                    Some((_, after)) => {
                        self.in_comment = false;
                        rest = after;
                    }
                }
            }
            let escaped = |at: usize| rest.get(..at).is_some_and(|before| before.ends_with('\\'));
            let mut semicolons = rest.match_indices(';').map(|(at, _)| at);
            let Some(at) = semicolons.find(|at| !escaped(*at)) else {
                return kept + rest;
            };
            let (before, after) = rest.split_at(at);
            kept += before;
            if !after.starts_with(";--") || after.starts_with(";---") {
                return kept;
            }
            self.in_comment = true;
            rest = after.strip_prefix(";--").unwrap_or_default();
        }
    }

    /// `include`, `tryinclude` (a missing file is fine), and `exec`, which is not run.
    fn include(&mut self, directive: &str, place: Place<'_>) {
        let (word, name) = directive
            .split_once(char::is_whitespace)
            .unwrap_or((directive, ""));
        let name = name.trim().trim_matches(['"', '<', '>', '\'']);
        match word {
            "exec" => self.found.problem(
                place,
                format!("#exec {name} is not run; what it says is not known here"),
            ),
            "include" | "tryinclude" => {
                let files = self.found.named(self.folder, name, place);
                if files.is_empty() && word == "include" && !name.contains('*') {
                    self.found
                        .problem(place, format!("the included file {name} is not there"));
                }
                for file in files {
                    self.file(&file, place);
                }
            }
            _ => {}
        }
    }

    /// `[name]`, `[name](!)` a template, `[name](template,other)`, `[name](+)` more of it.
    fn section(&mut self, header: &str, place: Place<'_>) {
        let Some((name, rest)) = header.split_once(']') else {
            return self
                .found
                .problem(place, "a section's name ends with `]`".to_owned());
        };
        let inside = rest.trim().strip_prefix('(');
        let inside = inside.and_then(|inside| inside.split(')').next());
        let mut section = Section {
            name: name.to_owned(),
            ..Section::default()
        };
        for word in inside.unwrap_or_default().split(',').map(str::trim) {
            match word {
                "" | "+" => {}
                "!" => section.is_template = true,
                template => {
                    let known = self.named.get(template);
                    match known.and_then(|known| self.sections.get(*known)) {
                        Some(known) if self.inherited + known.settings.len() > INHERITED_MAX => {
                            self.found.problem(
                                place,
                                format!("more than {INHERITED_MAX} settings come from templates; what `{template}` says is left out here"),
                            );
                        }
                        Some(known) => {
                            self.inherited += known.settings.len();
                            section.settings.extend(known.settings.clone());
                        }
                        None => self
                            .found
                            .problem(place, format!("there is no template `{template}`")),
                    }
                }
            }
        }
        self.named.insert(section.name.clone(), self.sections.len());
        self.sections.push(section);
    }
}

/// What a kind of pjsip's objects says of a peer: the option, and whether it is a list of
/// hosts, else a URI.
const PJSIP: [(&str, &str, bool); 6] = [
    ("identify", "match", true),
    ("aor", "contact", false),
    ("aor", "outbound_proxy", false),
    ("endpoint", "outbound_proxy", false),
    ("registration", "server_uri", false),
    ("registration", "outbound_proxy", false),
];

fn pjsip(file: &str, section: &Section, found: &mut Found) {
    let kind = section
        .settings
        .iter()
        .rfind(|setting| setting.key == "type");
    let kind = kind.map_or("", |setting| setting.value.as_str());
    let what = format!("{file} {kind} {}", section.name);
    for (_, key, is_list) in PJSIP.iter().filter(|(of, _, _)| *of == kind) {
        for setting in section
            .settings
            .iter()
            .filter(|setting| setting.key == *key)
        {
            match is_list {
                true => hosts(setting, &what, found),
                false => uris(setting, &what, found),
            }
        }
    }
}

fn wizard(file: &str, section: &Section, found: &mut Found) {
    let what = format!("{file} {}", section.name);
    for setting in &section.settings {
        match setting.key.as_str() {
            "remote_hosts" | "identify/match" => hosts(setting, &what, found),
            "outbound_proxy" | "aor/contact" | "registration/server_uri" => {
                uris(setting, &what, found)
            }
            _ => {}
        }
    }
}

/// chan_sip's and IAX2's peers. `host = dynamic` is a phone, wherever it is.
fn peers(file: &str, section: &Section, found: &mut Found) {
    let what = format!("{file} {}", section.name);
    for setting in &section.settings {
        let place = setting.place();
        match (setting.key.as_str(), setting.value.as_str()) {
            ("host", "dynamic") => {}
            ("host", host) => found.peer(host, &what, place),
            // `proxy[:port][,force]`
            ("outboundproxy", proxy) => {
                found.peer(
                    of_uri(proxy.split(',').next().unwrap_or_default()),
                    &what,
                    place,
                );
            }
            // `[transport://]user[:secret]@host[:port][/extension]`: what a password may hold
            // stands in front of the last `@`, and is not shown.
            ("register", line) => {
                let host = line.rsplit('@').next().unwrap_or_default();
                let host = host.split(['/', '~', '?']).next().unwrap_or_default();
                match line.contains('@') {
                    true => found.peer(host, &format!("{file} register"), place),
                    false => found.problem(place, "register: no `@HOST` in it".to_owned()),
                }
            }
            _ => {}
        }
    }
}

fn hosts(setting: &Setting, what: &str, found: &mut Found) {
    for host in setting.value.split(',') {
        found.peer(host, what, setting.place());
    }
}

fn uris(setting: &Setting, what: &str, found: &mut Found) {
    for uri in setting.value.split(',') {
        found.peer(of_uri(uri), what, setting.place());
    }
}

impl Setting {
    /// Where it stands.
    pub(super) fn place(&self) -> Place<'_> {
        Place {
            file: &self.file,
            line: self.line,
        }
    }
}
