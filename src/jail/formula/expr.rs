//! Arithmetic as Python computes it: the safe part of what fail2ban evaluates.
//!
//! Durations (`1d12h - 30m`) and the formulas of `bantime.increment` share it. Numbers
//! are whole or floating; `/` always gives a floating one, `//` and `%` round down, a
//! whole number that outgrows 128 bits goes on as a floating one. There are no names but
//! those the caller knows, no strings, no attributes; depth and length are bounded.

/// The longest expression, in characters. Real ones have fifty; with this many, even a
/// sum of nothing but ones is computed within a small stack.
const CHARS_MAX: usize = 512;

/// How deeply an expression may be nested, so that it fits the stack.
const DEPTH_MAX: u32 = 64;

/// A number.
#[derive(Debug, Clone, Copy)]
pub enum Number {
    /// A whole one.
    Int(i128),
    /// A floating one.
    Float(f64),
}

impl Number {
    /// As a floating number.
    pub fn as_f64(self) -> f64 {
        match self {
            Number::Int(value) => value as f64,
            Number::Float(value) => value,
        }
    }

    pub(crate) fn is_true(self) -> bool {
        self.as_f64() != 0.0
    }
}

/// Why an expression cannot be read or computed; a sentence for the operator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ExprError(String);

impl ExprError {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        ExprError(text.into())
    }
}

/// An operator between two numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Binary {
    Add,
    Sub,
    Mul,
    Div,
    FloorDiv,
    Mod,
    Pow,
    ShiftLeft,
    ShiftRight,
    And,
    Or,
}

/// A comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Comparison {
    Less,
    LessEqual,
    Equal,
    NotEqual,
    GreaterEqual,
    Greater,
}

/// What a name or a function means to the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Name {
    /// A variable, by the caller's number.
    Variable(u8),
    /// A constant.
    Constant(Const),
    /// A function.
    Function(Function),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Const {
    Pi,
    E,
    True,
    False,
}

/// The functions of formulas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Function {
    Min,
    Max,
    Int,
    Float,
    Abs,
    Round,
    Pow,
    MathPow,
    Exp,
    Log,
    Log2,
    Log10,
    Sqrt,
    Floor,
    Ceil,
    Random,
    Uniform,
    RandInt,
}

/// An expression.
#[derive(Debug, Clone)]
pub(crate) enum Expr {
    Number(Number),
    Variable(u8),
    Negate(Box<Expr>),
    Not(Box<Expr>),
    Binary(Binary, Box<Expr>, Box<Expr>),
    Compare(Box<Expr>, Vec<(Comparison, Expr)>),
    If {
        condition: Box<Expr>,
        then: Box<Expr>,
        other: Box<Expr>,
    },
    Call(Function, Vec<Expr>),
}

/// Which words mean something, and whether units do.
pub(crate) struct Language {
    /// The meaning of a dotted name such as `ban.Time`.
    pub(crate) name: fn(&str) -> Option<Name>,
    /// Seconds of a unit, for durations.
    pub(crate) unit: Option<fn(&str) -> Option<Number>>,
    /// What is accepted, for errors.
    pub(crate) accepted: &'static str,
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Number(NumberText),
    Word(String),
    Sign(&'static str),
}

/// A number and the text it was, since `08` is none.
#[derive(Debug, Clone, PartialEq)]
struct NumberText(String);

const SIGNS: [&str; 20] = [
    "**", "//", "<<", ">>", "<=", ">=", "==", "!=", "+", "-", "*", "/", "%", "(", ")", ",", "<",
    ">", "~", "^",
];

/// Reads an expression.
pub(crate) fn parse(text: &str, language: &Language) -> Result<Expr, ExprError> {
    if text.chars().count() > CHARS_MAX {
        return Err(ExprError::new(format!(
            "it is longer than {CHARS_MAX} characters"
        )));
    }
    let tokens = tokens(text, language.unit.is_some())?;
    let mut parser = Parser {
        tokens: &tokens,
        place: 0,
        depth: 0,
        language,
    };
    let expr = parser.whole()?;
    match parser.peek() {
        None => Ok(expr),
        Some(token) => Err(parser.unexpected(token)),
    }
}

/// Where numbers have units, a digit ends a word: `1d12h`. Elsewhere it does not: `log2`.
fn tokens(text: &str, units: bool) -> Result<Vec<Token>, ExprError> {
    let in_word =
        |c: char| c.is_alphabetic() || !units && (c.is_alphanumeric() || c == '_' || c == '.');
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(c) = rest.chars().next() {
        let (token, after) = if c.is_ascii_digit() || c == '.' {
            number_token(rest)
        } else if in_word(c) {
            let end = rest.find(|c: char| !in_word(c)).unwrap_or(rest.len());
            let (word, after) = rest.split_at(end);
            (Token::Word(word.to_owned()), after)
        } else if let Some(sign) = SIGNS.into_iter().find(|sign| rest.starts_with(sign)) {
            (Token::Sign(sign), rest.strip_prefix(sign).unwrap_or(rest))
        } else {
            return Err(ExprError::new(format!("`{c}` has no meaning here")));
        };
        tokens.push(token);
        rest = after.trim_start();
    }
    Ok(tokens)
}

/// Digits, a point, digits; letters that follow are a unit.
fn number_token(text: &str) -> (Token, &str) {
    let mut seen_point = false;
    let end = text.find(|c: char| {
        let point = c == '.' && !seen_point;
        seen_point |= point;
        !(c.is_ascii_digit() || c == '_' || point)
    });
    let (number, after) = text.split_at(end.unwrap_or(text.len()));
    (Token::Number(NumberText(number.to_owned())), after)
}

struct Parser<'a> {
    tokens: &'a [Token],
    place: usize,
    depth: u32,
    language: &'a Language,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<&'a Token> {
        self.tokens.get(self.place)
    }

    fn take_sign(&mut self, accepted: &[&str]) -> Option<&'static str> {
        match self.peek() {
            Some(Token::Sign(sign)) if accepted.contains(sign) => {
                self.place += 1;
                Some(sign)
            }
            _ => None,
        }
    }

    fn take_word(&mut self, accepted: &str) -> bool {
        let found = matches!(self.peek(), Some(Token::Word(word)) if word == accepted);
        self.place += usize::from(found);
        found
    }

    fn expect(&mut self, sign: &'static str) -> Result<(), ExprError> {
        match (self.take_sign(&[sign]), self.peek()) {
            (Some(_), _) => Ok(()),
            (None, Some(token)) => Err(self.unexpected(token)),
            (None, None) => Err(ExprError::new(format!("it ends where `{sign}` should be"))),
        }
    }

    fn unexpected(&self, token: &Token) -> ExprError {
        let shown = match token {
            Token::Number(NumberText(text)) | Token::Word(text) => text.as_str(),
            Token::Sign(sign) => sign,
        };
        ExprError::new(format!(
            "`{shown}` has no meaning there; {}",
            self.language.accepted
        ))
    }

    fn deeper<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, ExprError>,
    ) -> Result<T, ExprError> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(ExprError::new("it is nested too deeply"));
        }
        let result = read(self);
        self.depth -= 1;
        result
    }

    /// `a if c else b`
    fn whole(&mut self) -> Result<Expr, ExprError> {
        self.deeper(|parser| {
            let then = parser.either()?;
            if !parser.take_word("if") {
                return Ok(then);
            }
            let condition = parser.either()?;
            if !parser.take_word("else") {
                return Err(ExprError::new("an `if` needs its `else`"));
            }
            let other = parser.whole()?;
            Ok(Expr::If {
                condition: Box::new(condition),
                then: Box::new(then),
                other: Box::new(other),
            })
        })
    }

    fn either(&mut self) -> Result<Expr, ExprError> {
        let mut left = self.both()?;
        while self.take_word("or") {
            left = binary(Binary::Or, left, self.both()?);
        }
        Ok(left)
    }

    fn both(&mut self) -> Result<Expr, ExprError> {
        let mut left = self.negation()?;
        while self.take_word("and") {
            left = binary(Binary::And, left, self.negation()?);
        }
        Ok(left)
    }

    fn negation(&mut self) -> Result<Expr, ExprError> {
        if self.take_word("not") {
            let inner = self.deeper(Self::negation)?;
            return Ok(Expr::Not(Box::new(inner)));
        }
        self.comparison()
    }

    fn comparison(&mut self) -> Result<Expr, ExprError> {
        let left = self.shift()?;
        let mut rest = Vec::new();
        while let Some(sign) = self.take_sign(&["<", "<=", "==", "!=", ">=", ">"]) {
            let comparison = match sign {
                "<" => Comparison::Less,
                "<=" => Comparison::LessEqual,
                "==" => Comparison::Equal,
                "!=" => Comparison::NotEqual,
                ">=" => Comparison::GreaterEqual,
                _ => Comparison::Greater,
            };
            rest.push((comparison, self.shift()?));
        }
        if rest.is_empty() {
            return Ok(left);
        }
        Ok(Expr::Compare(Box::new(left), rest))
    }

    fn shift(&mut self) -> Result<Expr, ExprError> {
        let mut left = self.sum()?;
        while let Some(sign) = self.take_sign(&["<<", ">>"]) {
            let operator = if sign == "<<" {
                Binary::ShiftLeft
            } else {
                Binary::ShiftRight
            };
            left = binary(operator, left, self.sum()?);
        }
        Ok(left)
    }

    fn sum(&mut self) -> Result<Expr, ExprError> {
        let mut left = self.product()?;
        loop {
            if let Some(sign) = self.take_sign(&["+", "-"]) {
                let operator = if sign == "+" {
                    Binary::Add
                } else {
                    Binary::Sub
                };
                left = binary(operator, left, self.product()?);
            } else if self.juxtaposed() {
                left = binary(Binary::Add, left, self.product()?);
            } else {
                return Ok(left);
            }
        }
    }

    /// In a duration two numbers beside each other are added: `1d 12h`.
    fn juxtaposed(&self) -> bool {
        let after_number = matches!(
            self.place
                .checked_sub(1)
                .and_then(|place| self.tokens.get(place)),
            Some(Token::Number(_) | Token::Word(_))
        );
        let number = matches!(self.peek(), Some(Token::Number(_)));
        self.language.unit.is_some() && after_number && number
    }

    fn product(&mut self) -> Result<Expr, ExprError> {
        let mut left = self.signed()?;
        loop {
            if let Some(sign) = self.take_sign(&["*", "/", "//", "%"]) {
                let operator = match sign {
                    "*" => Binary::Mul,
                    "/" => Binary::Div,
                    "//" => Binary::FloorDiv,
                    _ => Binary::Mod,
                };
                left = binary(operator, left, self.signed()?);
            } else if let Some(unit) = self.take_unit()? {
                let unit = self.raised(Expr::Number(unit))?;
                left = binary(Binary::Mul, left, unit);
            } else {
                return Ok(left);
            }
        }
    }

    /// The unit behind a number; a unit multiplies like a factor.
    fn take_unit(&mut self) -> Result<Option<Number>, ExprError> {
        let (Some(unit), Some(Token::Word(word))) = (self.language.unit, self.peek()) else {
            return Ok(None);
        };
        let behind = self
            .place
            .checked_sub(1)
            .and_then(|place| self.tokens.get(place));
        if !matches!(behind, Some(Token::Number(_))) || matches!(word.as_str(), "if" | "else") {
            return Ok(None);
        }
        self.place += 1;
        match unit(word) {
            Some(number) => Ok(Some(number)),
            None => Err(self.unexpected(&Token::Word(word.clone()))),
        }
    }

    fn signed(&mut self) -> Result<Expr, ExprError> {
        match self.take_sign(&["+", "-"]) {
            Some("-") => Ok(Expr::Negate(Box::new(self.deeper(Self::signed)?))),
            Some(_) => self.deeper(Self::signed),
            None => self.power(),
        }
    }

    fn power(&mut self) -> Result<Expr, ExprError> {
        let base = self.atom()?;
        self.raised(base)
    }

    fn raised(&mut self, base: Expr) -> Result<Expr, ExprError> {
        if self.take_sign(&["**"]).is_none() {
            return Ok(base);
        }
        let exponent = self.deeper(Self::signed)?;
        Ok(binary(Binary::Pow, base, exponent))
    }

    fn atom(&mut self) -> Result<Expr, ExprError> {
        let Some(token) = self.peek() else {
            return Err(ExprError::new("it ends too early"));
        };
        self.place += 1;
        match token {
            Token::Number(text) => read_number(text).map(Expr::Number),
            Token::Sign("(") => {
                let inner = self.whole()?;
                self.expect(")")?;
                Ok(inner)
            }
            Token::Word(word) => match (self.language.name)(word) {
                Some(Name::Variable(variable)) => Ok(Expr::Variable(variable)),
                Some(Name::Constant(constant)) => Ok(Expr::Number(value_of(constant))),
                Some(Name::Function(function)) => self.call(function, word),
                None => Err(self.unexpected(token)),
            },
            Token::Sign(_) => Err(self.unexpected(token)),
        }
    }

    fn call(&mut self, function: Function, word: &str) -> Result<Expr, ExprError> {
        self.expect("(")?;
        let mut arguments = Vec::new();
        while self.take_sign(&[")"]).is_none() {
            if !arguments.is_empty() {
                self.expect(",")?;
            }
            arguments.push(self.whole()?);
        }
        let (least, most) = arity(function);
        if arguments.len() < least || arguments.len() > most {
            return Err(ExprError::new(format!(
                "`{word}` does not take {} arguments",
                arguments.len()
            )));
        }
        Ok(Expr::Call(function, arguments))
    }
}

fn binary(operator: Binary, left: Expr, right: Expr) -> Expr {
    Expr::Binary(operator, Box::new(left), Box::new(right))
}

fn value_of(constant: Const) -> Number {
    match constant {
        Const::Pi => Number::Float(std::f64::consts::PI),
        Const::E => Number::Float(std::f64::consts::E),
        Const::True => Number::Int(1),
        Const::False => Number::Int(0),
    }
}

fn arity(function: Function) -> (usize, usize) {
    match function {
        Function::Min | Function::Max => (2, 16),
        Function::Round | Function::Log => (1, 2),
        Function::Pow | Function::MathPow | Function::Uniform | Function::RandInt => (2, 2),
        Function::Random => (0, 0),
        _ => (1, 1),
    }
}

fn read_number(text: &NumberText) -> Result<Number, ExprError> {
    let NumberText(written) = text;
    let wrong = || ExprError::new(format!("`{written}` is not a number"));
    let groups = written.split(['.', '_']);
    let well_grouped = !written.contains("__") && !written.ends_with('_');
    let plain = written.replace('_', "");
    if !well_grouped || groups.clone().all(str::is_empty) || written.contains("_.") {
        return Err(wrong());
    }
    if plain.contains('.') {
        return plain.parse().map(Number::Float).map_err(|_| wrong());
    }
    // Python takes `0` and `000`, but not `08`: an old octal number that misleads.
    if plain.len() > 1 && plain.starts_with('0') && plain.bytes().any(|byte| byte != b'0') {
        return Err(wrong());
    }
    match plain.parse() {
        Ok(value) => Ok(Number::Int(value)),
        Err(_) => plain.parse().map(Number::Float).map_err(|_| wrong()),
    }
}
