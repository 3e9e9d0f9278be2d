//! Kamailio's script, as far as it says where modules find things: `modparam(…)`, what is
//! included, and what words and strings stand for (`#!define`, `#!substdef`).
//!
//! Conditions (`#!ifdef`) are not judged, since they may hang on the command line: what stands
//! under any counts, and a word stands for all that it may be defined as.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::files::whole;
use super::{Found, Place};

/// Definitions that are kept; each is tried in each setting that names it.
const DEFINITIONS_MAX: usize = 1_024;

/// The longest string in which anything is replaced, and the longest that replaces.
const REPLACED_BYTES_MAX: usize = 4_096;

/// Letters of a condition that are shown.
const CONDITION_SHOWN: usize = 80;

/// What is shown of a condition that must not be met.
const ELSE: &str = " … #!else";

/// Settings of modules that are kept.
const MODPARAMS_MAX: usize = 16_384;

/// A script and what it includes.
#[derive(Debug, Default)]
pub(super) struct Script {
    /// In the order in which they stand.
    pub(super) modparams: Vec<Modparam>,
    /// What words may stand for.
    defined: HashMap<String, Vec<Value>>,
    /// How many definitions were met.
    definitions: usize,
    /// What is replaced in strings, and by what.
    replaced: Vec<(String, String)>,
}

/// `modparam("module|module", "name", value)`
#[derive(Debug)]
pub(super) struct Modparam {
    pub(super) module: String,
    pub(super) name: String,
    pub(super) value: Value,
    /// The innermost condition that it stands under, as it is written.
    pub(super) condition: Option<String>,
    file: PathBuf,
    line: usize,
}

/// A value as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// Between quotes.
    Text(String),
    /// A number, or what a definition stands for.
    Word(String),
}

impl Value {
    /// As a person is shown it: a string may hold a password.
    pub(super) fn shown(&self) -> &str {
        match self {
            Value::Text(_) => "\"…\"",
            Value::Word(word) => word,
        }
    }
}

impl Modparam {
    /// Where it stands.
    pub(super) fn place(&self) -> Place<'_> {
        Place {
            file: &self.file,
            line: self.line,
        }
    }
}

impl Script {
    /// Reads a script; an empty one if it is not there.
    pub(super) fn read(path: &Path, found: &mut Found) -> Script {
        let mut script = Script::default();
        script.file(path, whole(path), found);
        script
    }

    /// All that a value may be; `None` is a word that nothing defines.
    pub(super) fn values(&self, value: &Value) -> Vec<Option<String>> {
        match value {
            Value::Text(text) => vec![Some(self.replace(text))],
            Value::Word(word) => match self.defined.get(word) {
                None => vec![None],
                Some(values) => {
                    let text = |value: &Value| match value {
                        Value::Text(text) => Some(self.replace(text)),
                        Value::Word(_) => None,
                    };
                    values.iter().map(text).collect()
                }
            },
        }
    }

    fn replace(&self, text: &str) -> String {
        let each = |text: String, (name, value): &(String, String)| {
            // What is longer is no name of a file.
            match text.len() <= REPLACED_BYTES_MAX && text.contains(name) {
                true => text.replace(name, value),
                false => text,
            }
        };
        self.replaced.iter().fold(text.to_owned(), each)
    }

    fn file(&mut self, path: &Path, from: Place<'_>, found: &mut Found) {
        if let Some(text) = found.begin(path, from) {
            self.statements(path, &text, found);
            found.end();
        }
    }

    fn statements(&mut self, path: &Path, text: &str, found: &mut Found) {
        let mut words = Words::new(text);
        let mut conditions: Vec<String> = Vec::new();
        while let Some((line, token)) = words.next() {
            let place = Place { file: path, line };
            match token {
                Token::Directive(directive) => {
                    self.directive(&directive, place, &mut conditions, found);
                }
                Token::Word(word) if word == "include_file" || word == "import_file" => {
                    if let Some((_, Token::Text(file))) = words.next() {
                        self.include(&word, &file, place, found);
                    }
                }
                Token::Word(word) if word == "modparam" || word == "modparamx" => {
                    let condition = conditions.last().cloned();
                    self.modparam(&mut words, condition, place, found);
                }
                _ => {}
            }
        }
        if let Some(line) = words.unended {
            let place = Place { file: path, line };
            found.problem(
                place,
                "a string or a comment that begins here does not end; what follows is not read"
                    .to_owned(),
            );
        }
    }

    /// `("module", "name", value)`; strings one after the other are one.
    fn modparam(
        &mut self,
        words: &mut Words<'_>,
        condition: Option<String>,
        place: Place<'_>,
        found: &mut Found,
    ) {
        let mut values: Vec<Option<Value>> = vec![None];
        for (_, token) in words {
            match (token, values.last_mut()) {
                (Token::Mark('('), _) => {}
                (Token::Mark(','), _) => values.push(None),
                (Token::Text(text), Some(Some(Value::Text(before)))) => before.push_str(&text),
                (Token::Text(text), Some(value)) => *value = Some(Value::Text(text)),
                (Token::Word(word), Some(value @ None)) => *value = Some(Value::Word(word)),
                (Token::Mark('-' | '.'), _) => {}
                _ => break,
            }
        }
        match <[Option<Value>; 3]>::try_from(values) {
            Ok(
                [
                    Some(Value::Text(module)),
                    Some(Value::Text(name)),
                    Some(value),
                ],
            ) => {
                if self.modparams.len() < MODPARAMS_MAX {
                    self.modparams.push(Modparam {
                        module,
                        name,
                        value,
                        condition,
                        file: place.file.to_owned(),
                        line: place.line,
                    });
                }
            }
            _ => found.problem(
                place,
                "modparam: not understood; expected are (\"module\", \"name\", value)".to_owned(),
            ),
        }
    }

    /// A line that begins with `#!` or `!!`.
    fn directive(
        &mut self,
        directive: &str,
        place: Place<'_>,
        conditions: &mut Vec<String>,
        found: &mut Found,
    ) {
        let (word, rest) = directive
            .split_once(char::is_whitespace)
            .unwrap_or((directive, ""));
        let rest = rest.trim();
        match word {
            "ifdef" | "ifndef" | "ifexp" => {
                let shown: String = rest.chars().take(CONDITION_SHOWN).collect();
                conditions.push(format!("#!{word} {shown}"));
            }
            "endif" => drop(conditions.pop()),
            "else" => {
                if let Some(condition) = conditions.last_mut()
                    && !condition.ends_with(ELSE)
                {
                    condition.push_str(ELSE);
                }
            }
            "define" | "def" | "trydefine" | "trydef" | "redefine" | "redef" => {
                let (name, text) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
                let value = match Words::new(text).next() {
                    Some((_, Token::Text(text))) => Value::Text(text),
                    _ => Value::Word(text.trim().to_owned()),
                };
                self.define(name, value);
            }
            "substdef" | "substdefs" => {
                // `"!NAME!value!g"`, with any sign in place of `!`
                let Some((_, Token::Text(text))) = Words::new(rest).next() else {
                    return;
                };
                let mut letters = text.chars();
                let sign = letters.next().unwrap_or('!');
                let mut parts = letters.as_str().split(sign);
                if let (Some(name), Some(value)) = (parts.next(), parts.next())
                    && !name.is_empty()
                    && name.len().max(value.len()) <= REPLACED_BYTES_MAX
                    && self.replaced.len() < DEFINITIONS_MAX
                {
                    self.replaced.push((name.to_owned(), value.to_owned()));
                    self.define(name, Value::Text(value.to_owned()));
                }
            }
            "include_file" | "import_file" => {
                if let Some((_, Token::Text(file))) = Words::new(rest).next() {
                    self.include(word, &file, place, found);
                }
            }
            _ => {}
        }
    }

    fn define(&mut self, name: &str, value: Value) {
        if self.definitions >= DEFINITIONS_MAX {
            return;
        }
        self.definitions += 1;
        let values = self.defined.entry(name.to_owned()).or_default();
        if !values.contains(&value) {
            values.push(value);
        }
    }

    /// The file lies beside the one that includes it. `import_file` may name one that is not
    /// there.
    fn include(&mut self, word: &str, file: &str, place: Place<'_>, found: &mut Found) {
        let folder = place.file.parent().unwrap_or(place.file);
        let path = folder.join(self.replace(file));
        if word == "include_file" && path.try_exists().is_ok_and(|is_there| !is_there) {
            found.problem(place, format!("the included file {file} is not there"));
        }
        self.file(&path, place, found);
    }
}

/// What a script is made of.
#[derive(Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    /// What stood between quotes.
    Text(String),
    Mark(char),
    /// The rest of a line behind `#!`.
    Directive(String),
}

/// A script's words with their lines, without comments: `#`, `//` and `/* */`.
struct Words<'a> {
    rest: std::iter::Peekable<std::str::Chars<'a>>,
    line: usize,
    at_line_start: bool,
    /// Where something began that does not end.
    unended: Option<usize>,
}

impl<'a> Words<'a> {
    fn new(text: &'a str) -> Self {
        Words {
            rest: text.chars().peekable(),
            line: 1,
            at_line_start: true,
            unended: None,
        }
    }

    fn letter(&mut self) -> Option<char> {
        let letter = self.rest.next()?;
        if letter == '\n' {
            self.line += 1;
            self.at_line_start = true;
        }
        Some(letter)
    }

    /// The rest of the line; a `\` at its end continues it where `continues`.
    fn line_rest(&mut self, continues: bool) -> String {
        let mut text = String::new();
        while let Some(letter) = self.rest.next_if(|letter| *letter != '\n') {
            text.push(letter);
            if continues && letter == '\\' && self.rest.peek() == Some(&'\n') {
                text.pop();
                self.letter();
            }
        }
        text
    }

    fn quoted(&mut self, quote: char) -> Option<String> {
        let mut text = String::new();
        loop {
            match self.letter()? {
                '\\' => text.extend(self.letter()),
                letter if letter == quote => return Some(text),
                letter => text.push(letter),
            }
        }
    }

    /// Goes behind the next `*/`.
    fn skip_comment(&mut self) -> Option<()> {
        loop {
            if self.letter()? == '*' && self.rest.next_if_eq(&'/').is_some() {
                return Some(());
            }
        }
    }
}

impl Iterator for Words<'_> {
    type Item = (usize, Token);

    fn next(&mut self) -> Option<(usize, Token)> {
        loop {
            let is_first = self.at_line_start;
            let letter = self.letter()?;
            if letter.is_whitespace() {
                continue;
            }
            self.at_line_start = false;
            let line = self.line;
            let token = match (letter, self.rest.peek().copied()) {
                ('#' | '!', Some('!')) if is_first => {
                    self.rest.next();
                    Token::Directive(self.line_rest(true).trim().to_owned())
                }
                ('#', _) | ('/', Some('/')) => {
                    self.line_rest(false);
                    continue;
                }
                ('/', Some('*')) => {
                    self.rest.next();
                    match self.skip_comment() {
                        Some(()) => continue,
                        None => {
                            self.unended = Some(line);
                            return None;
                        }
                    }
                }
                ('"' | '\'', _) => match self.quoted(letter) {
                    Some(text) => Token::Text(text),
                    None => {
                        self.unended = Some(line);
                        return None;
                    }
                },
                (letter, _) if letter.is_alphanumeric() || letter == '_' => {
                    let mut word = String::from(letter);
                    let in_word = |letter: &char| letter.is_alphanumeric() || *letter == '_';
                    while let Some(letter) = self.rest.next_if(in_word) {
                        word.push(letter);
                    }
                    Token::Word(word)
                }
                (letter, _) => Token::Mark(letter),
            };
            return Some((line, token));
        }
    }
}
