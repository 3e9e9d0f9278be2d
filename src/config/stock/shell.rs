//! A little shell: as much of `sh` as firewall actions of fail2ban are written in.
//!
//! A script is parsed and then *played*: words are expanded, loops run, and each program
//! is handed to [`Programs`], which have a model of the firewall and touch nothing real.
//! Whatever is not understood is [`Strange`], so nobody takes a script for what it is not.
//!
//! Absent: variables of the environment, files, `if`, functions, arithmetic.

use std::collections::BTreeMap;

use regex::Regex;

/// How long a script may be; the longest stock one has 1 kB.
const SCRIPT_BYTES_MAX: usize = 16 * 1024;

/// How many commands a script may play, loops included.
const STEPS_MAX: u32 = 2_000;

/// How deep groups, loops and `$(…)` may lie in each other.
const DEPTH_MAX: u32 = 16;

/// What a loop's body is played with when there is nothing to play it with.
const ANY: &str = "1";

/// Something in a script that is not understood, in words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Strange(pub(super) String);

/// What a command did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Done {
    pub(super) success: bool,
    pub(super) output: String,
}

impl Done {
    /// It ended so, and printed nothing.
    pub(super) fn quietly(success: bool) -> Self {
        Done {
            success,
            output: String::new(),
        }
    }
}

/// The programs that a script can call, besides the shell's own and `sed` and `grep`.
pub(super) trait Programs {
    /// Runs a program: its name, and its arguments.
    fn run(&mut self, words: &[String]) -> Result<Done, Strange>;

    /// The same programs with a copy of all that they change.
    fn aside(&self) -> Box<dyn Programs>;
}

/// Plays a script; says whether it ended well.
pub(super) fn play(script: &str, programs: &mut dyn Programs) -> Result<bool, Strange> {
    if script.len() > SCRIPT_BYTES_MAX {
        return Err(strange("it is too long"));
    }
    let list = parse(script, 0)?;
    let mut player = Player {
        programs,
        variables: BTreeMap::new(),
        steps: 0,
    };
    Ok(player.list(&list, "")?.success)
}

fn strange(text: impl Into<String>) -> Strange {
    Strange(text.into())
}

/// Commands, and what each needs of the one before.
type List = Vec<(Link, Pipeline)>;
type Pipeline = Vec<Command>;
type Word = Vec<Part>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Link {
    Then,
    And,
    Or,
}

#[derive(Debug, Clone)]
struct Command {
    kind: Kind,
    /// Does its output go to `/dev/null`?
    silent: bool,
}

#[derive(Debug, Clone)]
enum Kind {
    Simple(Vec<Word>),
    Group(List),
    For(String, Vec<Word>, List),
    /// For each line of the input.
    WhileRead(String, List),
}

#[derive(Debug, Clone)]
enum Part {
    Text { text: String, quoted: bool },
    Variable { name: String, quoted: bool },
    Output { list: List, quoted: bool },
}

#[derive(Debug, Clone)]
enum Token {
    Word(Word),
    /// `;` or the end of a line.
    End,
    And,
    Or,
    Pipe,
    /// `>/dev/null`
    Silence,
}

impl Token {
    /// A word that is written without any quotes.
    fn bare(&self) -> Option<&str> {
        match self {
            Token::Word(parts) => match parts.as_slice() {
                [
                    Part::Text {
                        text,
                        quoted: false,
                    },
                ] => Some(text),
                _ => None,
            },
            _ => None,
        }
    }
}

fn parse(script: &str, depth: u32) -> Result<List, Strange> {
    if depth > DEPTH_MAX {
        return Err(strange("its parts lie too deep in each other"));
    }
    let mut lexer = Lexer {
        letters: script.chars().collect(),
        place: 0,
        depth,
    };
    let mut tokens = Vec::new();
    while let Some(token) = lexer.token()? {
        tokens.push(token);
    }
    let mut parser = Parser {
        tokens,
        place: 0,
        depth,
    };
    let list = parser.list(&[])?;
    match parser.peek() {
        None => Ok(list),
        Some(token) => Err(strange(format!(
            "`{}` stands where no command ends",
            token.bare().unwrap_or("…")
        ))),
    }
}

struct Lexer {
    letters: Vec<char>,
    place: usize,
    depth: u32,
}

impl Lexer {
    fn peek(&self) -> Option<char> {
        self.letters.get(self.place).copied()
    }

    fn take(&mut self) -> Option<char> {
        let letter = self.peek();
        self.place += 1;
        letter
    }

    fn eat(&mut self, wanted: char) -> bool {
        let is_it = self.peek() == Some(wanted);
        self.place += usize::from(is_it);
        is_it
    }

    fn token(&mut self) -> Result<Option<Token>, Strange> {
        while self.eat(' ') || self.eat('\t') {}
        let Some(letter) = self.peek() else {
            return Ok(None);
        };
        let token = match letter {
            '\n' | ';' => {
                self.place += 1;
                Token::End
            }
            '|' => {
                self.place += 1;
                if self.eat('|') {
                    Token::Or
                } else {
                    Token::Pipe
                }
            }
            '&' => {
                self.place += 1;
                match self.eat('&') {
                    true => Token::And,
                    false => return Err(strange("it starts something with `&`")),
                }
            }
            '>' => return self.redirection("1"),
            '#' => return Err(strange("it has a comment")),
            '<' | '(' | ')' => return Err(strange(format!("it has a `{letter}`"))),
            _ => return self.word(),
        };
        Ok(Some(token))
    }

    /// At `>`: only what leads nowhere is understood.
    fn redirection(&mut self, from: &str) -> Result<Option<Token>, Strange> {
        self.place += 1;
        while self.eat(' ') {}
        let mut to = String::new();
        while let Some(letter) = self.peek().filter(|letter| !" \t\n;|".contains(*letter)) {
            to.push(letter);
            self.place += 1;
        }
        match (from, to.as_str()) {
            ("1", "/dev/null") => Ok(Some(Token::Silence)),
            ("2", "/dev/null" | "&1") => self.token(),
            _ => Err(strange(format!("it writes to `{to}`"))),
        }
    }

    fn word(&mut self) -> Result<Option<Token>, Strange> {
        let mut parts = Word::new();
        while let Some(letter) = self.peek() {
            match letter {
                ' ' | '\t' | '\n' | ';' | '|' | '&' => break,
                '>' => {
                    if let [
                        Part::Text {
                            text,
                            quoted: false,
                        },
                    ] = parts.as_slice()
                        && (text == "1" || text == "2")
                    {
                        let from = text.clone();
                        return self.redirection(&from);
                    }
                    break;
                }
                '<' | '(' | ')' | '`' => return Err(strange(format!("it has a `{letter}`"))),
                '\'' => {
                    self.place += 1;
                    let text = self.until('\'')?;
                    parts.push(Part::Text { text, quoted: true });
                }
                '"' => {
                    self.place += 1;
                    self.double_quoted(&mut parts)?;
                }
                '\\' => {
                    self.place += 1;
                    let text = self.take().ok_or_else(|| strange("it ends in a `\\`"))?;
                    let text = text.to_string();
                    parts.push(Part::Text { text, quoted: true });
                }
                '$' => parts.push(self.dollar(false)?),
                _ => {
                    self.place += 1;
                    push_letter(&mut parts, letter, false);
                }
            }
        }
        Ok(Some(Token::Word(parts)))
    }

    fn double_quoted(&mut self, parts: &mut Word) -> Result<(), Strange> {
        parts.push(Part::Text {
            text: String::new(),
            quoted: true,
        });
        loop {
            match self.peek() {
                None => return Err(strange("a `\"` is not closed")),
                Some('"') => {
                    self.place += 1;
                    return Ok(());
                }
                Some('`') => return Err(strange("it has a `` ` ``")),
                Some('$') => parts.push(self.dollar(true)?),
                Some('\\') => {
                    self.place += 1;
                    let letter = self.take().ok_or_else(|| strange("it ends in a `\\`"))?;
                    if !"\"\\$`".contains(letter) {
                        push_letter(parts, '\\', true);
                    }
                    push_letter(parts, letter, true);
                }
                Some(letter) => {
                    self.place += 1;
                    push_letter(parts, letter, true);
                }
            }
        }
    }

    fn dollar(&mut self, quoted: bool) -> Result<Part, Strange> {
        self.place += 1;
        if self.eat('(') {
            let list = parse(&self.inside()?, self.depth + 1)?;
            return Ok(Part::Output { list, quoted });
        }
        let mut name = String::new();
        while let Some(letter) = self
            .peek()
            .filter(|l| l.is_ascii_alphanumeric() || *l == '_')
        {
            name.push(letter);
            self.place += 1;
        }
        match name.is_empty() {
            true => Err(strange("it has a `$` without a name")),
            false => Ok(Part::Variable { name, quoted }),
        }
    }

    /// What stands before the `)` that closes.
    fn inside(&mut self) -> Result<String, Strange> {
        let (mut text, mut depth) = (String::new(), 1_u32);
        while let Some(letter) = self.take() {
            match letter {
                '(' => depth += 1,
                ')' if depth == 1 => return Ok(text),
                ')' => depth -= 1,
                '\'' | '"' => {
                    text.push(letter);
                    text.push_str(&self.until(letter)?);
                }
                _ => {}
            }
            text.push(letter);
        }
        Err(strange("a `$(` is not closed"))
    }

    fn until(&mut self, end: char) -> Result<String, Strange> {
        let mut text = String::new();
        while let Some(letter) = self.take() {
            if letter == end {
                return Ok(text);
            }
            text.push(letter);
        }
        Err(strange(format!("a `{end}` is not closed")))
    }
}

fn push_letter(parts: &mut Word, letter: char, is_quoted: bool) {
    match parts.last_mut() {
        Some(Part::Text { text, quoted }) if *quoted == is_quoted => text.push(letter),
        _ => parts.push(Part::Text {
            text: letter.to_string(),
            quoted: is_quoted,
        }),
    }
}

struct Parser {
    tokens: Vec<Token>,
    place: usize,
    depth: u32,
}

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.place)
    }

    fn bare(&self) -> Option<&str> {
        self.peek().and_then(Token::bare)
    }

    fn eat(&mut self, word: &str) -> bool {
        let is_it = self.bare() == Some(word);
        self.place += usize::from(is_it);
        is_it
    }

    fn need(&mut self, word: &str) -> Result<(), Strange> {
        match self.eat(word) {
            true => Ok(()),
            false => Err(strange(format!("a `{word}` is missing"))),
        }
    }

    fn skip_ends(&mut self) {
        while matches!(self.peek(), Some(Token::End)) {
            self.place += 1;
        }
    }

    /// Commands until one of these words, or the end.
    fn list(&mut self, until: &[&str]) -> Result<List, Strange> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(strange("its parts lie too deep in each other"));
        }
        let (mut list, mut link) = (List::new(), Link::Then);
        loop {
            self.skip_ends();
            let is_last = self.bare().is_some_and(|word| until.contains(&word));
            if self.peek().is_none() || is_last {
                break;
            }
            list.push((link, self.pipeline()?));
            link = match self.peek() {
                Some(Token::And) => Link::And,
                Some(Token::Or) => Link::Or,
                _ => {
                    link = Link::Then;
                    if !matches!(self.peek(), Some(Token::End)) {
                        break;
                    }
                    continue;
                }
            };
            self.place += 1;
        }
        self.depth -= 1;
        match link {
            Link::Then => Ok(list),
            _ => Err(strange("it ends in `&&` or `||`")),
        }
    }

    fn pipeline(&mut self) -> Result<Pipeline, Strange> {
        let mut pipeline = vec![self.command()?];
        while matches!(self.peek(), Some(Token::Pipe)) {
            self.place += 1;
            self.skip_ends();
            pipeline.push(self.command()?);
        }
        Ok(pipeline)
    }

    fn command(&mut self) -> Result<Command, Strange> {
        let mut silent = false;
        let kind = if self.eat("{") {
            let list = self.list(&["}"])?;
            self.need("}")?;
            Kind::Group(list)
        } else if self.eat("for") {
            let name = self.name()?;
            self.need("in")?;
            let mut words = Vec::new();
            while let Some(Token::Word(word)) = self.peek() {
                words.push(word.clone());
                self.place += 1;
            }
            Kind::For(name, words, self.body()?)
        } else if self.eat("while") {
            self.need("read")?;
            self.eat("-r");
            let name = self.name()?;
            Kind::WhileRead(name, self.body()?)
        } else {
            let mut words = Vec::new();
            loop {
                match self.peek() {
                    Some(Token::Word(word)) => words.push(word.clone()),
                    Some(Token::Silence) => silent = true,
                    _ => break,
                }
                self.place += 1;
            }
            if words.is_empty() {
                return Err(strange("a command is missing"));
            }
            Kind::Simple(words)
        };
        while matches!(self.peek(), Some(Token::Silence)) {
            silent = true;
            self.place += 1;
        }
        Ok(Command { kind, silent })
    }

    fn name(&mut self) -> Result<String, Strange> {
        let name = self.bare().map(str::to_owned);
        self.place += 1;
        name.ok_or_else(|| strange("a variable's name is missing"))
    }

    fn body(&mut self) -> Result<List, Strange> {
        self.skip_ends();
        self.need("do")?;
        let list = self.list(&["done"])?;
        self.need("done")?;
        Ok(list)
    }
}

struct Player<'a> {
    programs: &'a mut dyn Programs,
    variables: BTreeMap<String, String>,
    steps: u32,
}

impl Player<'_> {
    fn list(&mut self, list: &List, input: &str) -> Result<Done, Strange> {
        let mut all = Done::quietly(true);
        for (link, pipeline) in list {
            let is_due = match link {
                Link::Then => true,
                Link::And => all.success,
                Link::Or => !all.success,
            };
            if !is_due {
                self.aside(|player| player.pipeline(pipeline, input))?;
                continue;
            }
            let done = self.pipeline(pipeline, input)?;
            all.success = done.success;
            all.output += &done.output;
        }
        Ok(all)
    }

    /// Plays what is not due here, for nothing but to see whether it is understood: on a real
    /// machine it may be due.
    fn aside(
        &mut self,
        play: impl FnOnce(&mut Player) -> Result<Done, Strange>,
    ) -> Result<(), Strange> {
        let mut programs = self.programs.aside();
        let mut player = Player {
            programs: programs.as_mut(),
            variables: self.variables.clone(),
            steps: self.steps,
        };
        play(&mut player)?;
        self.steps = player.steps;
        Ok(())
    }

    fn pipeline(&mut self, pipeline: &Pipeline, input: &str) -> Result<Done, Strange> {
        let mut done = Done {
            success: true,
            output: input.to_owned(),
        };
        for command in pipeline {
            done = self.command(command, &done.output)?;
        }
        Ok(done)
    }

    fn command(&mut self, command: &Command, input: &str) -> Result<Done, Strange> {
        self.steps += 1;
        if self.steps > STEPS_MAX {
            return Err(strange("it does too much"));
        }
        let mut done = match &command.kind {
            Kind::Simple(words) => {
                let words = self.words(words)?;
                self.simple(&words, input)?
            }
            Kind::Group(list) => self.list(list, input)?,
            Kind::For(name, words, body) => {
                let values = self.words(words)?;
                self.each(name, values.iter().map(String::as_str), body)?
            }
            Kind::WhileRead(name, body) => self.each(name, input.lines().map(str::trim), body)?,
        };
        if command.silent {
            done.output.clear();
        }
        Ok(done)
    }

    fn each<'v>(
        &mut self,
        name: &str,
        values: impl Iterator<Item = &'v str>,
        body: &List,
    ) -> Result<Done, Strange> {
        let mut all = Done::quietly(true);
        let mut values = values.peekable();
        if values.peek().is_none() {
            self.aside(|player| {
                player.variables.insert(name.to_owned(), ANY.to_owned());
                player.list(body, "")
            })?;
        }
        for value in values {
            self.variables.insert(name.to_owned(), value.to_owned());
            let done = self.list(body, "")?;
            all.success = done.success;
            all.output += &done.output;
        }
        Ok(all)
    }

    /// Expands words: what is not quoted is split at blanks.
    fn words(&mut self, words: &[Word]) -> Result<Vec<String>, Strange> {
        let mut fields = Vec::new();
        for word in words {
            let mut field: Option<String> = None;
            for part in word {
                let (text, quoted) = match part {
                    Part::Text { text, .. } => (text.clone(), true),
                    Part::Variable { name, quoted } => match self.variables.get(name) {
                        Some(value) => (value.clone(), *quoted),
                        None => return Err(strange(format!("nobody sets `${name}`"))),
                    },
                    Part::Output { list, quoted } => {
                        let output = self.list(list, "")?.output;
                        (output.trim_end_matches('\n').to_owned(), *quoted)
                    }
                };
                if quoted {
                    field.get_or_insert_default().push_str(&text);
                    continue;
                }
                if text.starts_with(char::is_whitespace) {
                    fields.extend(field.take());
                }
                for (number, piece) in text.split_whitespace().enumerate() {
                    if number > 0 {
                        fields.extend(field.take());
                    }
                    field.get_or_insert_default().push_str(piece);
                }
                if text.ends_with(char::is_whitespace) {
                    fields.extend(field.take());
                }
            }
            fields.extend(field);
        }
        Ok(fields)
    }

    fn simple(&mut self, words: &[String], input: &str) -> Result<Done, Strange> {
        let Some((program, arguments)) = words.split_first() else {
            return Ok(Done::quietly(true));
        };
        match program.as_str() {
            "true" | ":" => Ok(Done::quietly(true)),
            "false" => Ok(Done::quietly(false)),
            "[" => at_most(arguments),
            "echo" => Ok(Done {
                success: true,
                output: arguments.join(" ") + "\n",
            }),
            "sed" => sed(arguments, input),
            "grep" => grep(arguments, input),
            _ => self.programs.run(words),
        }
    }
}

/// `[ ONE -le OTHER ]`
fn at_most(arguments: &[String]) -> Result<Done, Strange> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    if let [one, "-le", other, "]"] = words.as_slice()
        && let (Ok(one), Ok(other)) = (one.parse::<i64>(), other.parse::<i64>())
    {
        return Ok(Done::quietly(one <= other));
    }
    Err(strange(format!("`[ {}` is not known", words.join(" "))))
}

/// `s/one/other/g` with plain text.
fn sed(arguments: &[String], input: &str) -> Result<Done, Strange> {
    let unknown = || strange(format!("`sed {}` is not known", arguments.join(" ")));
    let [script] = arguments else {
        return Err(unknown());
    };
    let mut parts = script.split('/');
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some("s"), Some(one), Some(other), Some("g"))
            if parts.next().is_none()
                && !one.is_empty()
                && !one.contains(['.', '[', '*', '^', '$', '\\'])
                && !other.contains(['&', '\\']) =>
        {
            Ok(Done {
                success: true,
                output: input.replace(one, other),
            })
        }
        _ => Err(unknown()),
    }
}

/// `grep` with one pattern, in Perl's words or in those that all have.
fn grep(arguments: &[String], input: &str) -> Result<Done, Strange> {
    let unknown = || strange(format!("`grep {}` is not known", arguments.join(" ")));
    let (mut quiet, mut only, mut once, mut pattern) = (false, false, false, None);
    for argument in arguments {
        match argument.strip_prefix('-') {
            Some("m1") => once = true,
            Some(letters) if pattern.is_none() => {
                for letter in letters.chars() {
                    match letter {
                        'q' => quiet = true,
                        'o' => only = true,
                        'P' | 'E' | 'e' => {}
                        _ => return Err(unknown()),
                    }
                }
            }
            _ if pattern.is_none() => pattern = Some(argument),
            _ => return Err(unknown()),
        }
    }
    let pattern = pattern.ok_or_else(unknown)?;
    // `\K` throws away what was matched so far.
    let (before, kept) = pattern.split_once("\\K").unwrap_or(("", pattern));
    let regex = Regex::new(&format!("(?:{before})({kept})")).map_err(|_| unknown())?;
    let mut output = String::new();
    let mut found = false;
    for line in input.lines() {
        let Some(captures) = regex.captures(line) else {
            continue;
        };
        found = true;
        if !quiet {
            let part = captures.get(1).map_or("", |kept| kept.as_str());
            output += if only { part } else { line };
            output.push('\n');
        }
        if once {
            break;
        }
    }
    Ok(Done {
        success: found,
        output,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    /// Programs that write down how they are called; `no` fails.
    #[derive(Default)]
    struct Recorder(String);

    impl Programs for Recorder {
        fn run(&mut self, words: &[String]) -> Result<Done, Strange> {
            self.0 += &format!("{words:?}\n");
            Ok(Done {
                success: words[0] != "no",
                output: format!("{} handle 7\n", words.join(" ")),
            })
        }

        fn aside(&self) -> Box<dyn Programs> {
            Box::new(Recorder::default())
        }
    }

    fn check(script: &str, expected: Expect) {
        let mut recorder = Recorder::default();
        let ended = play(script, &mut recorder);
        expected.assert_eq(&format!("{}{ended:?}\n", recorder.0));
    }

    #[test]
    fn commands_are_played() {
        check(
            "{ no -C a >/dev/null 2>&1; } || { fw -N a || true; fw -A a; }\nfw b && fw 'c  d' \"e $(echo f)\"",
            expect![[r#"
                ["no", "-C", "a"]
                ["fw", "-N", "a"]
                ["fw", "-A", "a"]
                ["fw", "b"]
                ["fw", "c  d", "e f"]
                Ok(true)
            "#]],
        );
        check(
            "for one in $(echo 'a,b' | sed 's/,/ /g'); do\nfor two in x y; do fw $one-$two; done\ndone; no",
            expect![[r#"
                ["fw", "a-x"]
                ["fw", "a-y"]
                ["fw", "b-x"]
                ["fw", "b-y"]
                ["no"]
                Ok(false)
            "#]],
        );
        check(
            r"{ list @a x | grep -oP '@a\s+.*\s+\Khandle\s+(\d+)$'; } | while read -r h; do fw \{ $h \}\; p$(echo ' q r ')s; done",
            expect![[r#"
                ["list", "@a", "x"]
                ["fw", "{", "handle", "7", "};", "p", "q", "r", "s"]
                Ok(true)
            "#]],
        );
    }

    #[test]
    fn what_is_not_understood_is_strange() {
        for (script, why) in [
            ("fw > /etc/passwd", "writes to"),
            ("fw &", "`&`"),
            ("fw `id`", "`"),
            ("fw $HOME", "nobody sets `$HOME`"),
            ("fw <ip>", "`<`"),
            ("if fw; then fw; fi", "no command ends"),
            ("{ fw; ", "`}` is missing"),
            ("fw 'a", "not closed"),
            ("echo a | sed 's/.*/b/g'", "sed"),
            ("fw ||", "ends in"),
        ] {
            let ended = play(script, &mut Recorder::default());
            let told = match &ended {
                Err(Strange(text)) => text.contains(why),
                // `if` and `then` are programs to us, and the model knows none of that name.
                Ok(_) => script.starts_with("if"),
            };
            assert!(told, "{script}: {ended:?}");
        }
        let deep = "{ ".repeat(40) + "fw" + &"; }".repeat(40);
        assert!(play(&deep, &mut Recorder::default()).is_err());
        let long = "fw;".repeat(20_000);
        assert!(play(&long, &mut Recorder::default()).is_err());
        let wide = "for a in 1 2 3 4 5 6 7 8 9; do ".repeat(4) + "fw" + &"; done".repeat(4);
        assert!(play(&wide, &mut Recorder::default()).is_err());
    }
}
