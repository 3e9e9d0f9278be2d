//! The literals that a pattern cannot do without.
//!
//! Every text that a pattern matches contains at least one of its [`required`]
//! literals. The gate searches whole blocks of a log for them and so never looks
//! at most lines. They are taken from the widened tree, never out of a look-ahead,
//! and what cannot be proved is not claimed: `None` sends each line the slow way.
//!
//! A literal is ASCII and has no newline, since a pattern sees a line with a
//! newline added. A pattern also sees the line with its *date cut out*, so a
//! literal may straddle the hole; [`Cut`] says what is known of the hole.
//!
//! Where letters match without regard to case ([`Literal::fold`]), Python lets
//! `ſ` stand for `s`, `K` (Kelvin) for `k`, and `ı` and `İ` for `i`. Those
//! spellings come as literals of their own, so a search that folds ASCII is enough.
//! All this speaks of text in UTF-8 that is not escaped in any way: who reads a
//! log in another encoding or framing decodes first, then asks.

use super::dialect::{CharSet, Node, Repeat, Tree, widen};

/// How many literals one pattern may need; more would slow the scan for all.
pub const LITERALS_MAX: usize = 16;
/// The longest literal kept, in bytes: longer ones find no fewer lines.
const LITERAL_BYTES_MAX: usize = 48;
/// The shortest literal worth a search, in bytes: shorter ones are in most lines.
const LITERAL_BYTES_MIN: usize = 3;
/// How many non-word characters may stand before the date of a line that begins
/// with it (`{^LN-BEG}`).
const BEFORE_DATE_CHARS: usize = 2;
/// Classes of at most so many ASCII characters are spelled out.
const SPELLED_MAX: usize = 4;
/// The non-ASCII characters that Python takes for an ASCII letter in another case.
const ODD_CASES: [char; 4] = ['ſ', '\u{212a}', 'ı', 'İ'];
/// Words that stand in many lines of most logs, so that they tell little.
const COMMON: [&str; 12] = [
    "notice", "warning", "error", "info", "security", "debug", "from", "for", "user", "failed",
    "request", "client",
];

/// A piece of text that some matches contain.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Literal {
    /// The text.
    pub bytes: Vec<u8>,
    /// Does the case of A to Z not matter? Then `bytes` are in lower case.
    pub fold: bool,
}

impl Literal {
    /// Is it in this text?
    pub fn is_in(&self, text: &[u8]) -> bool {
        let mut windows = text.windows(self.bytes.len().max(1));
        match self.fold {
            true => windows.any(|window| window.eq_ignore_ascii_case(&self.bytes)),
            false => memchr::memmem::find(text, &self.bytes).is_some(),
        }
    }
}

/// What is cut out of a line before a pattern sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Nothing, or only from its start or end.
    Nothing,
    /// A date at its beginning, with at most two non-word characters before it.
    LineBegin,
    /// A date, wherever it stands. One hole can break one of two literals that
    /// stand side by side, so matches are asked for either; if the pattern has only
    /// one literal, for either half of it.
    Anywhere,
}

/// Literals of which every text matched by `tree` contains at least one, also
/// in the line as it was before the `cut`. `None` if there are none worth a search.
pub fn required(tree: &Tree, cut: Cut) -> Option<Vec<Literal>> {
    let candidates = Search { cut }.analyse(&widen(tree).root).candidates(cut);
    let texts = match cut {
        Cut::Nothing | Cut::LineBegin => candidates.into_iter().next()?,
        Cut::Anywhere => proof_against_a_hole(candidates)?,
    };
    let mut literals: Vec<Literal> = Vec::new();
    for text in &texts.0 {
        let text = trimmed(text, cut);
        let odd = text.iter().flat_map(|piece| piece.odd_cases());
        literals.extend(odd.map(|char| Literal {
            bytes: char.to_string().into_bytes(),
            fold: false,
        }));
        let fold = text.iter().any(|piece| piece.fold);
        let byte = |piece: &Piece| {
            if fold {
                piece.byte.to_ascii_lowercase()
            } else {
                piece.byte
            }
        };
        literals.push(Literal {
            bytes: text.iter().map(byte).collect(),
            fold,
        });
    }
    literals.sort();
    literals.dedup();
    Some(literals)
}

/// Either of two, or either half of one.
fn proof_against_a_hole(candidates: Vec<Texts>) -> Option<Texts> {
    let mut candidates = candidates.into_iter();
    let first = candidates.next()?;
    let halves = first.halves();
    let both = candidates.next().and_then(|second| first.or(second));
    rank([both, halves].into_iter().flatten(), Cut::Anywhere)
        .into_iter()
        .next()
}

/// One ASCII character of a literal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Piece {
    byte: u8,
    /// Is it a letter that may come in either case?
    fold: bool,
    /// Which of [`ODD_CASES`] may stand for it, one bit each.
    odd: u8,
}

impl Piece {
    fn odd_cases(self) -> impl Iterator<Item = char> {
        ODD_CASES
            .into_iter()
            .enumerate()
            .filter(move |(place, _)| self.odd >> place & 1 == 1)
            .map(|(_, char)| char)
    }
}

/// Some texts, at most [`LITERALS_MAX`].
#[derive(Clone, Debug, PartialEq)]
struct Texts(Vec<Vec<Piece>>);

impl Texts {
    /// Only the empty text.
    fn empty() -> Texts {
        Texts(vec![Vec::new()])
    }

    /// Each of these followed by each of those, if they are few and short enough.
    fn followed_by(&self, next: &Texts) -> Option<Texts> {
        if self.0.len() * next.0.len() > LITERALS_MAX {
            return None;
        }
        let mut all = Vec::new();
        for one in &self.0 {
            for other in &next.0 {
                if one.len() + other.len() > LITERAL_BYTES_MAX {
                    return None;
                }
                all.push([one.as_slice(), other].concat());
            }
        }
        Some(Texts(all))
    }

    /// These and those, if they are few enough.
    fn or(mut self, other: Texts) -> Option<Texts> {
        for text in other.0 {
            if !self.0.contains(&text) {
                self.0.push(text);
            }
        }
        (self.0.len() <= LITERALS_MAX).then_some(self)
    }

    /// Both halves of each, if they are few enough.
    fn halves(&self) -> Option<Texts> {
        let halves = self.0.iter().flat_map(|text| {
            let (one, other) = text.split_at(text.len() / 2);
            [one.to_vec(), other.to_vec()]
        });
        Texts(Vec::new()).or(Texts(halves.collect()))
    }

    /// How much a search for these would tell: the least of its members; `None`
    /// if one is too short to be worth it.
    fn score(&self, cut: Cut) -> Option<(usize, usize)> {
        let least = self.0.iter().map(|text| {
            let text = trimmed(text, cut);
            (text.len() >= LITERAL_BYTES_MIN).then(|| score(text))
        });
        let least = least.min()??;
        Some((least, LITERALS_MAX - self.0.len().min(LITERALS_MAX)))
    }
}

/// A text without the characters that may stand before the cut.
fn trimmed(text: &[Piece], cut: Cut) -> &[Piece] {
    if cut != Cut::LineBegin {
        return text;
    }
    let word = |piece: &Piece| piece.byte == b'_' || piece.byte.is_ascii_alphanumeric();
    let count = text
        .iter()
        .take(BEFORE_DATE_CHARS)
        .take_while(|piece| !word(piece))
        .count();
    text.get(count..).unwrap_or_default()
}

/// How rare a text is, roughly: letters count 2, other characters 1, and of a
/// common word only the first letter counts.
fn score(text: &[Piece]) -> usize {
    let lower: String = text
        .iter()
        .map(|piece| char::from(piece.byte.to_ascii_lowercase()))
        .collect();
    let full: usize = text
        .iter()
        .map(|piece| {
            if piece.byte.is_ascii_alphabetic() {
                2
            } else {
                1
            }
        })
        .sum();
    let common: usize = COMMON
        .iter()
        .map(|word| lower.matches(word).count() * 2 * (word.len() - 1))
        .sum();
    full.saturating_sub(common)
}

/// What is known of the texts that a part matches.
struct Known {
    /// All of them, if they are few.
    exact: Option<Texts>,
    /// Each of them contains one of the first, and beside it one of the second.
    inner: Vec<Texts>,
}

impl Known {
    fn nothing() -> Known {
        Known {
            exact: None,
            inner: Vec::new(),
        }
    }

    fn exact(texts: Texts) -> Known {
        Known {
            exact: Some(texts),
            inner: Vec::new(),
        }
    }

    /// What a search could be made for: sets of texts side by side, the best first.
    fn candidates(self, cut: Cut) -> Vec<Texts> {
        let exact = rank(self.exact, cut);
        if exact.is_empty() { self.inner } else { exact }
    }
}

/// The two that tell most, without those that tell nothing.
fn rank(candidates: impl IntoIterator<Item = Texts>, cut: Cut) -> Vec<Texts> {
    let mut ranked: Vec<_> = candidates
        .into_iter()
        .filter_map(|texts| Some((texts.score(cut)?, texts)))
        .collect();
    ranked.sort_by(|(one, _), (other, _)| other.cmp(one));
    ranked.truncate(2);
    ranked.into_iter().map(|(_, texts)| texts).collect()
}

struct Search {
    cut: Cut,
}

impl Search {
    fn analyse(&self, node: &Node) -> Known {
        match node {
            Node::Empty | Node::Assert(_) | Node::Look { .. } => Known::exact(Texts::empty()),
            Node::Char(char) => self.set(&CharSet::new([(*char, *char)])),
            Node::Set(set) => self.set(set),
            Node::Concat(parts) => self.concat(parts),
            Node::Alt(choices) => self.alternation(choices),
            Node::Repeat(repeat) => self.repeat(repeat),
            Node::Group(_, body) | Node::Atomic(body) => self.analyse(body),
            Node::BackRef { .. } | Node::Cond { .. } => Known::nothing(),
        }
    }

    fn set(&self, set: &CharSet) -> Known {
        match pieces(set) {
            Some(pieces) => {
                Known::exact(Texts(pieces.into_iter().map(|piece| vec![piece]).collect()))
            }
            None => Known::nothing(),
        }
    }

    /// The best run of parts that are known exactly, or the best of one part.
    fn concat(&self, parts: &[Node]) -> Known {
        let mut run = Run {
            texts: Texts::empty(),
            ended: Vec::new(),
            whole: true,
        };
        for part in parts {
            match self.repeated(part) {
                Some(body) => {
                    // One repetition ends the run before it, one begins the next. They
                    // may be the same one, so they do not stand side by side.
                    run.add(body.clone());
                    run.end();
                    if self.cut != Cut::Anywhere {
                        run.texts = body;
                    }
                }
                None => match self.analyse(part) {
                    Known {
                        exact: Some(texts), ..
                    } => run.add(texts),
                    Known { inner, .. } => {
                        run.end();
                        run.ended.extend(inner);
                    }
                },
            }
        }
        if run.whole {
            return Known::exact(run.texts);
        }
        run.end();
        Known {
            exact: None,
            inner: rank(run.ended, self.cut),
        }
    }

    /// The body of a repetition that comes at least once and is known exactly.
    fn repeated(&self, node: &Node) -> Option<Texts> {
        match node {
            Node::Repeat(repeat) if repeat.min > 0 && repeat.max != Some(repeat.min) => {
                self.analyse(&repeat.body).exact
            }
            Node::Group(_, body) => self.repeated(body),
            _ => None,
        }
    }

    fn alternation(&self, choices: &[Node]) -> Known {
        let known: Vec<Known> = choices.iter().map(|choice| self.analyse(choice)).collect();
        let none = || Texts(Vec::new());
        let exact = known
            .iter()
            .try_fold(none(), |all, one| all.or(one.exact.clone()?));
        let branches: Vec<Vec<Texts>> = known
            .into_iter()
            .map(|one| one.candidates(self.cut))
            .collect();
        let side_by_side = (0..2).filter_map(|place| {
            branches
                .iter()
                .try_fold(none(), |all, branch| all.or(branch.get(place)?.clone()))
        });
        Known {
            exact,
            inner: rank(side_by_side, self.cut),
        }
    }

    fn repeat(&self, repeat: &Repeat) -> Known {
        let body = self.analyse(&repeat.body);
        match (repeat.min, repeat.max) {
            (0, Some(1)) => Known {
                exact: body.exact.and_then(|texts| texts.or(Texts::empty())),
                inner: Vec::new(),
            },
            (0, _) => Known::nothing(),
            (min, max) => {
                let times = (max == Some(min)).then_some(min);
                let exact = times
                    .zip(body.exact.clone())
                    .and_then(|(times, texts)| repeated_exactly(&texts, times));
                Known {
                    exact,
                    inner: body.candidates(self.cut),
                }
            }
        }
    }
}

fn repeated_exactly(texts: &Texts, times: u32) -> Option<Texts> {
    if times as usize > LITERAL_BYTES_MAX {
        return None;
    }
    (0..times).try_fold(Texts::empty(), |all, _| all.followed_by(texts))
}

/// Parts that follow each other and are known exactly, while a sequence is walked.
struct Run {
    texts: Texts,
    /// The runs before, and what other parts contain.
    ended: Vec<Texts>,
    /// Is the run all there was so far?
    whole: bool,
}

impl Run {
    fn add(&mut self, texts: Texts) {
        match self.texts.followed_by(&texts) {
            Some(longer) => self.texts = longer,
            None => {
                self.end();
                self.texts = texts;
            }
        }
    }

    fn end(&mut self) {
        self.whole = false;
        let texts = std::mem::replace(&mut self.texts, Texts::empty());
        self.ended.push(texts);
    }
}

/// The members of a small set; `None` if it is large, or has a newline or any
/// non-ASCII character but the odd cases of its one letter.
fn pieces(set: &CharSet) -> Option<Vec<Piece>> {
    let (mut ascii, mut odd) = (Vec::new(), 0_u8);
    for (first, last) in set.ranges() {
        for char in first..=last {
            match u8::try_from(char) {
                Ok(b'\n') => return None,
                Ok(byte) if byte.is_ascii() => ascii.push(byte),
                _ => odd |= 1 << ODD_CASES.iter().position(|case| *case == char)?,
            }
            if ascii.len() > SPELLED_MAX {
                return None;
            }
        }
    }
    if let [upper, lower] = ascii[..]
        && upper.is_ascii_uppercase()
        && upper.to_ascii_lowercase() == lower
    {
        return Some(vec![Piece {
            byte: lower,
            fold: true,
            odd,
        }]);
    }
    let plain = |byte| Piece {
        byte,
        fold: false,
        odd: 0,
    };
    (odd == 0 && !ascii.is_empty()).then(|| ascii.into_iter().map(plain).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::dialect::parse;
    use crate::filter::pattern::expand;

    fn shown(pattern: &str, cut: Cut) -> String {
        let tree = parse(&expand(pattern, true), false).expect(pattern);
        match required(&tree, cut) {
            None => "none".to_owned(),
            Some(literals) => literals
                .iter()
                .map(|literal| {
                    let text = String::from_utf8_lossy(&literal.bytes);
                    format!("{}{text}", if literal.fold { "~" } else { "" })
                })
                .collect::<Vec<_>>()
                .join("|"),
        }
    }

    #[test]
    fn best_literals() {
        for (pattern, literals) in [
            (
                "^Registration from '[^']*' failed for '<HOST>'",
                "Registration from '",
            ),
            ("foo(?:bar|baz)+qux", "foobar|foobaz"),
            ("a?b?c?", "none"),
            ("(?:abc|x*)", "none"),
            ("abc|defg", "abc|defg"),
            ("(?=lookahead)abcd", "abcd"),
            ("(?P<a>abc)(?P=a)", "abc"),
            ("(?i)Wrong[ _]pass", "wrong pass|~wrong_pass|ſ"),
            ("naïve", "none"),
            ("one\ntwo", "one"),
            ("(?:hello ){3}", "hello hello hello "),
            ("wrong fo+bar", "wrong fo"),
            (
                "[0-9]+ requests? dropped",
                " request dropped| requests dropped",
            ),
        ] {
            let literals = literals.replace("wrong pass|", "~wrong pass|");
            assert_eq!(shown(pattern, Cut::Nothing), literals, "{pattern}");
        }
    }

    #[test]
    fn a_hole_breaks_one_of_two() {
        for (pattern, literals) in [
            (
                "Registration from '.*' failed for 'x",
                "Registration from '|' failed for 'x",
            ),
            ("wrong password", "wrong p|assword"),
            (
                "(?:alpha .* beta|gamma.*delta!)",
                "alpha | beta|gamma|delta!",
            ),
            ("^\\[\\] a", "none"),
            ("wrong (?:user)+name", "name|wrong user"),
        ] {
            let mut wanted: Vec<_> = literals.split('|').collect();
            wanted.sort_unstable();
            assert_eq!(shown(pattern, Cut::Anywhere), wanted.join("|"), "{pattern}");
        }
    }

    #[test]
    fn what_may_stand_before_a_date_is_left_out() {
        assert_eq!(
            shown("^\\[\\] wrong password", Cut::Nothing),
            "[] wrong password"
        );
        assert_eq!(
            shown("^\\[\\] wrong password", Cut::LineBegin),
            " wrong password"
        );
        assert_eq!(shown("\\[\\] a", Cut::LineBegin), "none");
    }
}
