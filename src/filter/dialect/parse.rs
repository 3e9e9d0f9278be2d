//! Reading a pattern as Python 3.11's `re` reads it.
//!
//! The parser descends into groups at most [`DEPTH_MAX`] deep. Like Python's it
//! takes the pattern in tokens of one character, or of a backslash and one
//! character, even within comments and names.

use std::collections::BTreeMap;

use super::class::parse_class;
use super::error::{DialectError, DialectErrorKind as Kind};
use super::escape::{Escape, parse_escape};
use super::flags::{FlagGroup, Flags, parse_flags};
use super::sets::CharSet;
use super::tree::{Assert, Fold, Mode, Node, Repeat, Tree};
use super::width::width;

/// The longest pattern in bytes: ten times fail2ban's longest, expanded.
pub const PATTERN_BYTES_MAX: usize = 65_536;
/// How deep groups may stand in each other: far more than anyone writes, and
/// little enough that no walk over a tree can exhaust a thread's stack.
pub const DEPTH_MAX: usize = 100;
/// How many capturing groups a pattern may have.
pub const GROUPS_MAX: usize = 500;

pub(super) type Result<T> = std::result::Result<T, DialectError>;

/// Reads `pattern`; `multiline` is Python's MULTILINE.
pub fn parse(pattern: &str, multiline: bool) -> Result<Tree> {
    let mut parser = Parser {
        pattern,
        chars: Vec::new(),
        pos: 0,
        depth: 0,
        groups: Vec::new(),
        names: BTreeMap::new(),
        look_behind: None,
        conditions: Vec::new(),
    };
    if pattern.len() > PATTERN_BYTES_MAX {
        return parser.fail_at(0, Kind::TooLong(pattern.len(), PATTERN_BYTES_MAX));
    }
    parser.chars = pattern.chars().collect();
    let mut flags = Flags {
        multiline,
        ..Flags::default()
    };
    let root = parser.alternation(&mut flags, true)?;
    if parser.pos < parser.chars.len() {
        return parser.fail(Kind::UnbalancedClose);
    }
    for &(group, at) in &parser.conditions {
        if group as usize > parser.groups.len() {
            return parser.fail_at(at, Kind::UnknownGroup(group.to_string()));
        }
    }
    Ok(Tree {
        root,
        groups: parser.groups.into_iter().map(|group| group.name).collect(),
    })
}

/// One token of a pattern.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Token {
    /// A character.
    Plain(char),
    /// A backslash and this character.
    Escaped(char),
}

struct Group {
    name: Option<Box<str>>,
    /// Its width once it is closed.
    width: Option<(u32, u32)>,
}

/// What may be repeated stands last in a sequence.
#[derive(Clone, Copy, PartialEq)]
enum Last {
    Nothing,
    Edge,
    Repeat,
    Item,
}

pub(super) struct Parser<'p> {
    pattern: &'p str,
    chars: Vec<char>,
    pos: usize,
    depth: usize,
    groups: Vec<Group>,
    names: BTreeMap<String, u32>,
    /// Within a look-behind: how many groups there were before it.
    look_behind: Option<usize>,
    /// Conditionals by number, which may refer to groups that follow.
    conditions: Vec<(u32, usize)>,
}

impl Parser<'_> {
    pub(super) fn pos(&self) -> usize {
        self.pos
    }

    pub(super) fn fail<T>(&self, kind: Kind) -> Result<T> {
        self.fail_at(self.pos, kind)
    }

    pub(super) fn fail_at<T>(&self, at: usize, kind: Kind) -> Result<T> {
        Err(DialectError {
            pattern: self.pattern.to_owned(),
            at,
            kind,
        })
    }

    /// The next token, if the pattern goes on.
    pub(super) fn peek(&self) -> Result<Option<Token>> {
        match self.chars.get(self.pos) {
            None => Ok(None),
            Some('\\') => match self.chars.get(self.pos + 1) {
                None => self.fail(Kind::LoneBackslash),
                Some(&char) => Ok(Some(Token::Escaped(char))),
            },
            Some(&char) => Ok(Some(Token::Plain(char))),
        }
    }

    /// The next token, consumed.
    pub(super) fn take(&mut self) -> Result<Option<Token>> {
        let token = self.peek()?;
        self.pos += match token {
            None => 0,
            Some(Token::Plain(_)) => 1,
            Some(Token::Escaped(_)) => 2,
        };
        Ok(token)
    }

    /// The next token if it is a plain character, consumed; an escape is a NUL.
    pub(super) fn take_char(&mut self) -> Result<Option<char>> {
        Ok(self.take()?.map(|token| match token {
            Token::Plain(char) => char,
            Token::Escaped(_) => '\0',
        }))
    }

    /// Consumes `wanted` if it comes next.
    pub(super) fn eat(&mut self, wanted: char) -> bool {
        let hit = wanted != '\\' && self.chars.get(self.pos) == Some(&wanted);
        self.pos += usize::from(hit);
        hit
    }

    pub(super) fn previous_is(&self, wanted: char) -> bool {
        self.pos
            .checked_sub(1)
            .and_then(|before| self.chars.get(before))
            == Some(&wanted)
    }

    /// At most `count` characters that `accept`s, consumed.
    pub(super) fn take_while(&mut self, count: usize, accept: fn(char) -> bool) -> String {
        let text: String = self
            .chars
            .iter()
            .skip(self.pos)
            .take(count)
            .take_while(|char| accept(**char))
            .collect();
        self.pos += text.chars().count();
        text
    }

    /// The pattern from `start` up to here.
    pub(super) fn since(&self, start: usize) -> String {
        self.chars
            .get(start..self.pos)
            .unwrap_or_default()
            .iter()
            .collect()
    }

    /// `a|b|c`, up to `)` or the end. Flags set at the very start hold from there on.
    fn alternation(&mut self, flags: &mut Flags, top: bool) -> Result<Node> {
        if self.depth > DEPTH_MAX {
            return self.fail(Kind::TooDeep(DEPTH_MAX));
        }
        self.depth += 1;
        let mut choices = vec![self.sequence(flags, top)?];
        while self.eat('|') {
            choices.push(self.sequence(flags, false)?);
        }
        self.depth -= 1;
        Ok(match choices.pop() {
            Some(only) if choices.is_empty() => only,
            Some(last) => {
                choices.push(last);
                Node::Alt(choices)
            }
            None => Node::Empty,
        })
    }

    /// One branch; only the very `first` may begin with global flags.
    fn sequence(&mut self, flags: &mut Flags, first: bool) -> Result<Node> {
        let mut items: Vec<Node> = Vec::new();
        let mut last = Last::Nothing;
        loop {
            let at = self.pos;
            let Some(token) = self.peek()? else { break };
            if matches!(token, Token::Plain('|' | ')')) {
                break;
            }
            self.take()?;
            if flags.verbose && self.skip_verbose(token)? {
                continue;
            }
            match token {
                Token::Plain(char @ ('*' | '+' | '?' | '{')) => {
                    self.quantifier(char, at, &mut items, &mut last)?;
                }
                Token::Plain('(') => match self.group(at, flags, first && items.is_empty())? {
                    Some(node) => {
                        items.push(node);
                        last = Last::Item;
                    }
                    None => continue,
                },
                _ => {
                    let node = self.atom(token, at, flags)?;
                    last = match node {
                        Node::Assert(_) => Last::Edge,
                        _ => Last::Item,
                    };
                    items.push(node);
                }
            }
        }
        Ok(match items.pop() {
            None => Node::Empty,
            Some(only) if items.is_empty() => only,
            Some(last) => {
                items.push(last);
                Node::Concat(items)
            }
        })
    }

    /// Blanks and comments of `(?x)`.
    fn skip_verbose(&mut self, token: Token) -> Result<bool> {
        match token {
            Token::Plain(' ' | '\t' | '\n' | '\r' | '\x0b' | '\x0c') => Ok(true),
            Token::Plain('#') => {
                while !matches!(self.take()?, None | Some(Token::Plain('\n'))) {}
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// Anything that is neither a group nor a quantifier.
    fn atom(&mut self, token: Token, at: usize, flags: &Flags) -> Result<Node> {
        Ok(match token {
            Token::Escaped(char) => match parse_escape(self, char, at, flags)? {
                Escape::Char(char) => char_node(char, flags),
                Escape::Set(set) => Node::Set(set),
                Escape::Assert(assert) => Node::Assert(assert),
                Escape::Group(group) => self.back_reference(group, group.to_string(), at, flags)?,
            },
            Token::Plain('[') => parse_class(self, at, flags)?,
            Token::Plain('.') if flags.dotall => Node::Set(CharSet::all()),
            Token::Plain('.') => Node::Set(CharSet::not_newline()),
            Token::Plain('^') if flags.multiline => Node::Assert(Assert::LineStart),
            Token::Plain('^') => Node::Assert(Assert::TextStart),
            Token::Plain('$') if flags.multiline => Node::Assert(Assert::LineEnd),
            Token::Plain('$') => Node::Assert(Assert::TextEndOrNewline),
            Token::Plain(char) => char_node(char, flags),
        })
    }

    /// `* + ? {2,3}`, with `?` or `+` after it; a `{` that begins none stands for itself.
    fn quantifier(
        &mut self,
        char: char,
        at: usize,
        items: &mut Vec<Node>,
        last: &mut Last,
    ) -> Result<()> {
        let (min, max) = match char {
            '*' => (0, None),
            '+' => (1, None),
            '?' => (0, Some(1)),
            _ => match self.counts(at)? {
                Some(counts) => counts,
                None => {
                    items.push(Node::Char('{'));
                    *last = Last::Item;
                    return Ok(());
                }
            },
        };
        match last {
            Last::Nothing | Last::Edge => return self.fail_at(at, Kind::NothingToRepeat(char)),
            Last::Repeat => return self.fail_at(at, Kind::MultipleRepeat(char)),
            Last::Item => {}
        }
        let mode = if self.eat('?') {
            Mode::Lazy
        } else if self.eat('+') {
            Mode::Possessive
        } else {
            Mode::Greedy
        };
        if let Some(body) = items.pop() {
            items.push(Node::Repeat(Box::new(Repeat {
                min,
                max,
                mode,
                body,
            })));
        }
        *last = Last::Repeat;
        Ok(())
    }

    /// The numbers after a `{`; nothing is consumed if they are none.
    fn counts(&mut self, at: usize) -> Result<Option<(u32, Option<u32>)>> {
        let start = self.pos;
        if self.chars.get(start) == Some(&'}') {
            return Ok(None);
        }
        let digit = |char: char| char.is_ascii_digit();
        let low = self.take_while(usize::MAX, digit);
        let high = if self.eat(',') {
            self.take_while(usize::MAX, digit)
        } else {
            low.clone()
        };
        if !self.eat('}') {
            self.pos = start;
            return Ok(None);
        }
        // Python keeps the greatest number for "without bound".
        let number = |digits: &str| digits.parse().ok().filter(|number| *number < u32::MAX);
        let min = if low.is_empty() {
            Some(0)
        } else {
            number(&low)
        };
        let max = if high.is_empty() {
            Some(None)
        } else {
            number(&high).map(Some)
        };
        match (min, max) {
            (Some(min), Some(max)) if max.is_none_or(|max| max >= min) => Ok(Some((min, max))),
            _ => self.fail_at(at, Kind::BadRepeat(self.since(at))),
        }
    }

    /// What follows a `(`; `None` for comments and global flags.
    fn group(&mut self, at: usize, flags: &mut Flags, first: bool) -> Result<Option<Node>> {
        if !self.eat('?') {
            return self.capture(at, None, flags).map(Some);
        }
        let letter_at = self.pos;
        let Some(letter) = self.take_char()? else {
            return self.fail_at(at, Kind::OpenGroup);
        };
        let node = match letter {
            'P' => self.python_group(at, flags)?,
            ':' => self.body(at, *flags)?,
            '>' => Node::Atomic(Box::new(self.body(at, *flags)?)),
            '=' | '!' => Node::Look {
                behind: None,
                negative: letter == '!',
                body: Box::new(self.body(at, *flags)?),
            },
            '<' => self.look_behind(at, flags)?,
            '(' => self.conditional(at, flags)?,
            '#' => loop {
                match self.take()? {
                    None => return self.fail_at(at, Kind::OpenComment),
                    Some(Token::Plain(')')) => return Ok(None),
                    Some(_) => {}
                }
            },
            'a' | 'i' | 'L' | 'm' | 's' | 'u' | 'x' | '-' => {
                self.pos = letter_at;
                match parse_flags(self, *flags)? {
                    FlagGroup::Scoped(scoped) => self.body(at, scoped)?,
                    FlagGroup::Global(all) if first => {
                        *flags = all;
                        return Ok(None);
                    }
                    FlagGroup::Global(_) => {
                        let kind = Kind::BadFlags(
                            "for the whole pattern they stand at its start, for a part as in `(?i:part)`",
                        );
                        return self.fail_at(at, kind);
                    }
                }
            }
            _ => return self.fail_at(at, Kind::UnknownExtension(self.since(at + 1))),
        };
        Ok(Some(node))
    }

    /// An alternation and its `)`.
    fn body(&mut self, at: usize, mut flags: Flags) -> Result<Node> {
        let node = self.alternation(&mut flags, false)?;
        if self.eat(')') {
            Ok(node)
        } else {
            self.fail_at(at, Kind::OpenGroup)
        }
    }

    fn capture(&mut self, at: usize, name: Option<String>, flags: &Flags) -> Result<Node> {
        if self.groups.len() >= GROUPS_MAX {
            return self.fail_at(at, Kind::TooManyGroups(GROUPS_MAX));
        }
        let place = self.groups.len();
        let index = u32::try_from(place + 1).unwrap_or(u32::MAX);
        if let Some(name) = &name {
            if self.names.contains_key(name) {
                return self.fail_at(at, Kind::NameTaken(name.clone()));
            }
            self.names.insert(name.clone(), index);
        }
        self.groups.push(Group {
            name: name.map(String::into_boxed_str),
            width: None,
        });
        let body = self.body(at, *flags)?;
        let widths: Vec<_> = self.groups.iter().map(|group| group.width).collect();
        if let Some(group) = self.groups.get_mut(place) {
            group.width = Some(width(&body, &widths));
        }
        Ok(Node::Group(index, Box::new(body)))
    }

    /// `(?P<name>…)` and `(?P=name)`.
    fn python_group(&mut self, at: usize, flags: &Flags) -> Result<Node> {
        match self.take_char()? {
            Some('<') => {
                let name = self.name('>', at)?;
                self.capture(at, Some(name), flags)
            }
            Some('=') => {
                let name = self.name(')', at)?;
                match self.names.get(&name) {
                    Some(&group) => self.back_reference(group, name, at, flags),
                    None => self.fail_at(at, Kind::UnknownGroup(name)),
                }
            }
            Some(_) => self.fail_at(at, Kind::UnknownExtension(self.since(at + 1))),
            None => self.fail_at(at, Kind::OpenGroup),
        }
    }

    /// The text up to `end`, which must be a name.
    fn name(&mut self, end: char, at: usize) -> Result<String> {
        let name = self.until(end, at)?;
        if is_name(&name) {
            Ok(name)
        } else {
            self.fail_at(at, Kind::BadName(name))
        }
    }

    fn until(&mut self, end: char, at: usize) -> Result<String> {
        let start = self.pos;
        loop {
            match self.take()? {
                None => return self.fail_at(at, Kind::OpenGroup),
                Some(Token::Plain(char)) if char == end => break,
                Some(_) => {}
            }
        }
        let mut text = self.since(start);
        text.pop();
        Ok(text)
    }

    fn back_reference(&self, group: u32, shown: String, at: usize, flags: &Flags) -> Result<Node> {
        let place = group as usize;
        match place
            .checked_sub(1)
            .and_then(|place| self.groups.get(place))
        {
            None => return self.fail_at(at, Kind::UnknownGroup(shown)),
            Some(group) if group.width.is_none() => {
                return self.fail_at(at, Kind::GroupStillOpen(shown));
            }
            Some(_) => self.check_look_behind(place, &shown, at)?,
        }
        let fold = match (flags.ignorecase, flags.ascii) {
            (false, _) => Fold::None,
            (true, true) => Fold::Ascii,
            (true, false) => Fold::Unicode,
        };
        Ok(Node::BackRef { group, fold })
    }

    /// Within a look-behind, only groups from before it may be referred to.
    fn check_look_behind(&self, group: usize, shown: &str, at: usize) -> Result<()> {
        let Some(before) = self.look_behind else {
            return Ok(());
        };
        let closed = group
            .checked_sub(1)
            .and_then(|place| self.groups.get(place))
            .is_some_and(|group| group.width.is_some());
        if !closed {
            return self.fail_at(at, Kind::GroupStillOpen(shown.to_owned()));
        }
        if group > before {
            return self.fail_at(at, Kind::GroupInLookBehind(shown.to_owned()));
        }
        Ok(())
    }

    /// `(?<=…)` and `(?<!…)`.
    fn look_behind(&mut self, at: usize, flags: &Flags) -> Result<Node> {
        let negative = match self.take_char()? {
            Some('=') => false,
            Some('!') => true,
            Some(_) => return self.fail_at(at, Kind::UnknownExtension(self.since(at + 1))),
            None => return self.fail_at(at, Kind::OpenGroup),
        };
        let outer = self.look_behind;
        self.look_behind = outer.or(Some(self.groups.len()));
        let body = self.body(at, *flags)?;
        self.look_behind = outer;
        let widths: Vec<_> = self.groups.iter().map(|group| group.width).collect();
        let (least, most) = width(&body, &widths);
        if least != most {
            return self.fail_at(at, Kind::VariableLookBehind(least, most));
        }
        Ok(Node::Look {
            behind: Some(least),
            negative,
            body: Box::new(body),
        })
    }

    /// `(?(1)yes|no)` and `(?(name)yes|no)`.
    fn conditional(&mut self, at: usize, flags: &Flags) -> Result<Node> {
        let shown = self.until(')', at)?;
        let group = if is_name(&shown) {
            match self.names.get(&shown) {
                Some(&group) => group,
                None => return self.fail_at(at, Kind::UnknownGroup(shown)),
            }
        } else if !shown.is_empty() && shown.bytes().all(|byte| byte.is_ascii_digit()) {
            match shown.parse() {
                Ok(group) if group > 0 => {
                    self.conditions.push((group, at));
                    group
                }
                _ => return self.fail_at(at, Kind::UnknownGroup(shown)),
            }
        } else {
            return self.fail_at(at, Kind::BadName(shown));
        };
        self.check_look_behind(group as usize, &shown, at)?;
        let mut flags = *flags;
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return self.fail(Kind::TooDeep(DEPTH_MAX));
        }
        let yes = Box::new(self.sequence(&mut flags, false)?);
        let no = Box::new(if self.eat('|') {
            self.sequence(&mut flags, false)?
        } else {
            Node::Empty
        });
        self.depth -= 1;
        if self.chars.get(self.pos) == Some(&'|') {
            return self.fail(Kind::ThreeBranches);
        }
        if !self.eat(')') {
            return self.fail_at(at, Kind::OpenGroup);
        }
        Ok(Node::Cond { group, yes, no })
    }
}

/// One character, with its other cases if case does not matter.
fn char_node(char: char, flags: &Flags) -> Node {
    if !flags.ignorecase {
        return Node::Char(char);
    }
    let one = CharSet::new([(char, char)]);
    let set = CharSet::folded(&one, &CharSet::new([]), flags.ascii);
    if set == one {
        Node::Char(char)
    } else {
        Node::Set(set)
    }
}

/// Is it what Python calls an identifier? (Nearly: Unicode's lists are longer.)
fn is_name(text: &str) -> bool {
    text.chars()
        .next()
        .is_some_and(|first| first == '_' || first.is_alphabetic())
        && text
            .chars()
            .all(|char| char == '_' || char.is_alphanumeric())
}
