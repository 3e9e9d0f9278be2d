//! The shell's grammar: a script becomes commands.

use super::{Strange, strange};

/// How deep groups, loops and `$(…)` may lie in each other.
const DEPTH_MAX: u32 = 16;

/// Commands, and what each needs of the one before.
pub(super) type List = Vec<(Link, Pipeline)>;
pub(super) type Pipeline = Vec<Command>;
pub(super) type Word = Vec<Part>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Link {
    Then,
    And,
    Or,
}

#[derive(Debug, Clone)]
pub(super) struct Command {
    pub(super) kind: Kind,
    /// Does its output go to `/dev/null`?
    pub(super) silent: bool,
}

#[derive(Debug, Clone)]
pub(super) enum Kind {
    Simple(Vec<Word>),
    Group(List),
    For(String, Vec<Word>, List),
    /// For each line of the input.
    WhileRead(String, List),
}

#[derive(Debug, Clone)]
pub(super) enum Part {
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

/// Parses a script that lies so deep in others.
pub(super) fn parse(script: &str, depth: u32) -> Result<List, Strange> {
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
