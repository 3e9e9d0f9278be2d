//! One ini file, as Python's strict ConfigParser reads it.
//!
//! The dialect: `[section]`, `option = value` or `option : value`; a line that is
//! indented deeper than its option continues the value; blank lines inside a value
//! count, comment lines inside it do not; `#` and `;` begin a comment at the start of
//! a line, and only `;` after a blank begins one later. Option names are lower-cased,
//! section names are not. `[DEFAULT]` may come as often as it likes.
//!
//! Every value knows its line. Nothing is expanded here and no file is opened; a line
//! that cannot be read is reported with its section and left out. Where ConfigParser
//! gives up (an option or a section twice) we go on, the last one counts, and say so.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use super::error::{ConfigError, ConfigErrorKind, Origin, quoted};

/// The section whose options all others inherit.
pub const DEFAULT: &str = "DEFAULT";

/// A map that keeps the order in which keys first came, as Python's dictionary does.
/// The order is visible in the command stream.
#[derive(Debug, Clone)]
pub struct Ordered<V> {
    entries: Vec<(String, V)>,
    places: HashMap<String, usize>,
}

impl<V> Default for Ordered<V> {
    fn default() -> Self {
        Ordered {
            entries: Vec::new(),
            places: HashMap::new(),
        }
    }
}

impl<V> Ordered<V> {
    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&V> {
        self.places.get(key).map(|&place| &self.entries[place].1)
    }

    /// The value of a key, to change it.
    pub fn get_mut(&mut self, key: &str) -> Option<&mut V> {
        self.places
            .get(key)
            .map(|&place| &mut self.entries[place].1)
    }

    /// Is the key there?
    pub fn contains(&self, key: &str) -> bool {
        self.places.contains_key(key)
    }

    /// Sets a key; one that was there keeps its place.
    pub fn insert(&mut self, key: impl Into<String>, value: V) {
        let key = key.into();
        match self.places.get(&key) {
            Some(&place) => self.entries[place].1 = value,
            None => {
                self.places.insert(key.clone(), self.entries.len());
                self.entries.push((key, value));
            }
        }
    }

    /// All pairs, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &V)> {
        self.entries
            .iter()
            .map(|(key, value)| (key.as_str(), value))
    }
}

/// A value and where it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value {
    /// The text; lines are joined by `\n`.
    pub text: String,
    /// Where its option stands.
    pub origin: Origin,
}

/// The options of one section.
pub type Options = Ordered<Value>;

/// One section of a file.
#[derive(Debug, Clone)]
pub struct Section {
    /// Where it began first.
    pub origin: Origin,
    /// What it sets.
    pub options: Options,
}

/// One file.
#[derive(Debug, Clone, Default)]
pub struct Ini {
    /// What `[DEFAULT]` sets.
    pub defaults: Options,
    /// The other sections, in order.
    pub sections: Ordered<Section>,
    /// What could not be read, and in which section it stood (`None`: before the first).
    pub errors: Vec<(Option<String>, ConfigError)>,
}

/// Reads the text of one file. `path` is only for the places that values and errors name.
pub fn parse(text: &str, path: &Arc<Path>) -> Ini {
    let mut reader = Reader {
        path: path.clone(),
        ini: Ini::default(),
        section: None,
        option: None,
        indent: 0,
        line: 0,
    };
    // A byte order mark is an editor's habit, not a part of the first section's name.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let text = text.strip_suffix('\n').unwrap_or(&text);
    for line in text.split('\n') {
        reader.line += 1;
        reader.read(line);
    }
    reader.finish();
    reader.ini
}

/// What a reader knows between two lines.
struct Reader {
    path: Arc<Path>,
    ini: Ini,
    /// The present section.
    section: Option<String>,
    /// The option whose value may go on, and the lines it has.
    option: Option<(String, u32, Vec<String>)>,
    /// How far that option's line is indented.
    indent: usize,
    line: u32,
}

impl Reader {
    fn read(&mut self, line: &str) {
        let code = without_comment(line);
        let text = code.unwrap_or(line).trim();
        if text.is_empty() {
            // A blank line belongs to the value; a line that is all comment does not.
            if let (None, Some((_, _, lines))) = (code, &mut self.option) {
                lines.push(String::new());
            }
            return;
        }
        let indent = line.chars().take_while(|c| c.is_whitespace()).count();
        if indent > self.indent
            && let Some((_, _, lines)) = &mut self.option
        {
            lines.push(text.to_owned());
            return;
        }
        self.indent = indent;
        if let Some(name) = section_name(text) {
            self.begin_section(name.to_owned());
        } else if self.section.is_none() {
            self.error(ConfigErrorKind::NoSection { text: quoted(text) });
        } else {
            self.begin_option(text);
        }
    }

    fn begin_section(&mut self, name: String) {
        self.end_option();
        if name != DEFAULT {
            match self.ini.sections.get(&name) {
                Some(section) => {
                    let first = section.origin.line;
                    let section = name.clone();
                    self.section = Some(name.clone());
                    self.error(ConfigErrorKind::DuplicateSection { section, first });
                }
                None => {
                    let section = Section {
                        origin: self.origin(self.line),
                        options: Options::default(),
                    };
                    self.ini.sections.insert(name.clone(), section);
                }
            }
        }
        self.section = Some(name);
    }

    fn begin_option(&mut self, text: &str) {
        self.end_option();
        let Some((name, value)) = text.split_once(['=', ':']) else {
            return self.error(ConfigErrorKind::NotAssignment { text: quoted(text) });
        };
        let name = name.trim().to_lowercase();
        if name.is_empty() {
            return self.error(ConfigErrorKind::NotAssignment { text: quoted(text) });
        }
        self.option = Some((name, self.line, vec![value.trim().to_owned()]));
    }

    /// Puts the option that has just ended into its section.
    fn end_option(&mut self) {
        let Some((name, line, lines)) = self.option.take() else {
            return;
        };
        let origin = self.origin(line);
        let text = lines.join("\n").trim_end().to_owned();
        let Some(section) = self.section.clone() else {
            return;
        };
        let options = if section == DEFAULT {
            &mut self.ini.defaults
        } else {
            match self.ini.sections.get_mut(&section) {
                Some(section) => &mut section.options,
                None => return,
            }
        };
        let first = options.get(&name).map(|value| value.origin.line);
        options.insert(name.clone(), Value { text, origin });
        if let Some(first) = first {
            let kind = ConfigErrorKind::DuplicateOption {
                section: section.clone(),
                option: name,
                first,
            };
            let error = ConfigError::new(&self.path, line, kind);
            self.ini.errors.push((Some(section), error));
        }
    }

    fn finish(&mut self) {
        self.end_option();
    }

    fn origin(&self, line: u32) -> Origin {
        Origin {
            path: self.path.clone(),
            line,
        }
    }

    fn error(&mut self, kind: ConfigErrorKind) {
        let error = ConfigError::new(&self.path, self.line, kind);
        self.ini.errors.push((self.section.clone(), error));
    }
}

/// The part of a line in front of its comment; `None` if it has no comment.
fn without_comment(line: &str) -> Option<&str> {
    if line.trim_start().starts_with(['#', ';']) {
        return Some("");
    }
    let mut blank_before = true;
    for (place, c) in line.char_indices() {
        if c == ';' && blank_before {
            return line.get(..place);
        }
        blank_before = c.is_whitespace();
    }
    None
}

/// The name in `[name]`. What follows the last bracket is passed over.
fn section_name(text: &str) -> Option<&str> {
    let rest = text.strip_prefix('[')?;
    let (name, _) = rest.rsplit_once(']')?;
    (!name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    fn check(text: &str, expected: Expect) {
        let path: Arc<Path> = Arc::from(Path::new("jail.local"));
        let ini = parse(text, &path);
        let mut shown = String::new();
        let mut show = |section: &str, options: &Options| {
            for (name, value) in options.iter() {
                shown += &format!(
                    "{} [{section}] {name} = {:?}\n",
                    value.origin.line, value.text
                );
            }
        };
        show(DEFAULT, &ini.defaults);
        for (name, section) in ini.sections.iter() {
            show(name, &section.options);
        }
        for (section, error) in &ini.errors {
            let section = section.as_deref().unwrap_or("-");
            shown += &format!("in {section}: {error}\n");
        }
        expected.assert_eq(&shown);
    }

    #[test]
    fn options_and_sections() {
        check(
            "[DEFAULT]\nBanTime = 1h\nfindtime: 10m\nempty =\n[Asterisk]\r\nenabled=true\n[DEFAULT]\nmaxretry = 3\n[a]b] junk\nx=y=z:w",
            expect![[r#"
                2 [DEFAULT] bantime = "1h"
                3 [DEFAULT] findtime = "10m"
                4 [DEFAULT] empty = ""
                8 [DEFAULT] maxretry = "3"
                6 [Asterisk] enabled = "true"
                10 [a]b] x = "y=z:w"
            "#]],
        );
    }

    #[test]
    fn values_of_several_lines() {
        check(
            "[a]\nfailregex = one\n   two\n\n   # not this\n   ; nor this\n   = three\n\n\n next = value\nlast =\n  ^first\n  [second]\n\n[b]\n",
            expect![[r#"
                2 [a] failregex = "one\ntwo\n\n= three\n\n\nnext = value"
                11 [a] last = "\n^first\n[second]"
            "#]],
        );
    }

    #[test]
    fn comments() {
        check(
            "# top\n; top\n[a] ; words\nx = 1h#x ; later\ny = a;b ;c\nz = x#all\nw = ;none\n  ; x\n",
            expect![[r#"
                4 [a] x = "1h#x"
                5 [a] y = "a;b"
                6 [a] z = "x#all"
                7 [a] w = ""
            "#]],
        );
    }

    #[test]
    fn indentation_is_measured_from_the_option() {
        check(
            "[a]\n  x = 1\n  y = 2\n    more\n z = 3\n",
            expect![[r#"
                2 [a] x = "1"
                3 [a] y = "2\nmore"
                5 [a] z = "3"
            "#]],
        );
    }

    #[test]
    fn what_cannot_be_read_is_reported_and_left_out() {
        check(
            "stray\n[a]\nignoreip = 192.0.2.1\n192.0.2.2\n= 5\nx = 1\nx = 2\n[a]\ny = 1\n",
            expect![[r#"
                3 [a] ignoreip = "192.0.2.1"
                7 [a] x = "2"
                9 [a] y = "1"
                in -: jail.local:1: `stray` stands before the first section; begin with `[DEFAULT]` or `[JAIL]`
                in a: jail.local:4: `192.0.2.2` is neither `[section]` nor `option = value`; indent it if it continues the line above
                in a: jail.local:5: `= 5` is neither `[section]` nor `option = value`; indent it if it continues the line above
                in a: jail.local:7: `x` was set in [a] on line 6 already; this one counts, fail2ban would not start
                in a: jail.local:8: [a] began on line 2 already; both are joined, fail2ban would not start
            "#]],
        );
    }
}
