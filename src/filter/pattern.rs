//! A compiled pattern: what a failregex, prefregex, ignoreregex or date is run as.
//!
//! A [`Pattern`] answers as Python's `re.search` does: the leftmost match, its
//! span and its groups. An automaton (`regex`, over the pattern's own alphabet of
//! bytes, without groups) says first whether and where there is a match, in linear
//! time; it holds the pattern itself if that is regular, else a wider one. The
//! backtracker then finds the groups at that place, or searches from there on if
//! the pattern is not regular. Its steps are bounded, so a line costs at most
//! 10 ms. For a regular pattern the automaton can find the groups as well,
//! so such a pattern never gives up.
//!
//! Absent: any other encoding than text in UTF-8; the caller decodes.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use regex_automata::Input;
use regex_automata::meta::{Config, Regex};
use regex_automata::util::captures::Captures;

use super::backtrack::{Outcome, Program, Subject};
use super::dialect::{
    self, Alphabet, Assert, DialectError, DialectErrorKind, Node, Tree, simplify, to_hir,
    widen_node,
};
pub use super::tags::expand;

#[cfg(test)]
mod differential;

/// How many steps the backtracker may take for one line where nobody else can give
/// the answer. A step takes some 4 ns, and 15 on a machine with more to do than it can
/// (`cargo bench --bench redos`), so that a line stays below 10 ms on either.
const LINE_STEPS_MAX: u64 = 400_000;
/// How many steps it may take for the groups of a match that the automaton has
/// found; beyond that the automaton, slower but linear, finds them.
const GROUP_STEPS_MAX: u64 = 20_000;
/// How many steps it may take first for a pattern that can match at the start
/// only: most texts are decided within them, in less time than an automaton needs.
const QUICK_STEPS_MAX: u64 = 500;
/// How large a compiled automaton may be; fail2ban's largest has a tenth of it.
const AUTOMATON_BYTES_MAX: usize = 4 << 20;
/// How much an automaton may remember of its states while it searches. When it
/// is full, it is emptied and filled again.
const AUTOMATON_CACHE_BYTES: usize = 128 << 10;

/// A compiled pattern.
#[derive(Debug)]
pub struct Pattern {
    text: Box<str>,
    multiline: bool,
    alphabet: Alphabet,
    /// The pattern itself if it is regular, else a wider one; without groups. One that
    /// can match at the start only seldom needs it, so that is built when first needed.
    automaton: OnceLock<Option<Regex>>,
    /// The same with groups; built when first needed.
    with_groups: OnceLock<Option<Regex>>,
    program: Program,
    /// Names and places of the named groups, in their order.
    names: Arc<[(Box<str>, usize)]>,
    regular: bool,
    traits: Traits,
}

/// What a regular pattern contains that `regex` does not see as Python does.
#[derive(Clone, Copy, Debug, Default)]
struct Traits {
    /// `$` without MULTILINE: texts with an inner newline differ.
    end: bool,
    /// `\B`: the empty text differs.
    not_word: bool,
    /// A group in a repeated part that can be empty: groups differ.
    empty_loop: bool,
}

/// A match.
#[derive(Clone, Debug, PartialEq)]
pub struct Found<'t> {
    text: &'t str,
    names: Arc<[(Box<str>, usize)]>,
    /// The whole match, then each group, in bytes of `text`.
    spans: Vec<Option<(usize, usize)>>,
}

/// The steps that are left for a line, however many patterns are tried on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Steps(u64);

impl Default for Steps {
    /// All that a line may cost.
    fn default() -> Steps {
        Steps(LINE_STEPS_MAX)
    }
}

/// The steps allowed for one line were used up before the answer was known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no answer after {steps} steps of backtracking; simplify nested or repeated `.*` and `+`")]
pub struct StepLimit {
    /// How many were allowed.
    pub steps: u64,
}

/// A pattern that cannot be compiled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// It is not what Python accepts.
    #[error(transparent)]
    Dialect(#[from] DialectError),
    /// Nothing but blanks: it would match every line.
    #[error("the pattern is empty; write at least one character that is no blank")]
    Empty,
    /// Its automaton would be too large.
    #[error(
        "the pattern needs more than {max_bytes} bytes when compiled; use smaller numbers in `{{least,most}}`"
    )]
    TooLarge {
        /// The limit.
        max_bytes: usize,
    },
}

impl Pattern {
    /// Compiles a pattern in Python's syntax, tags already expanded. `multiline`
    /// is Python's MULTILINE, which fail2ban sets for filters with `maxlines` > 1.
    pub fn compile(pattern: &str, multiline: bool) -> Result<Pattern, PatternError> {
        if pattern.trim().is_empty() {
            return Err(PatternError::Empty);
        }
        let tree = dialect::parse(pattern, multiline)?;
        let tree = Tree {
            root: simplify(&tree.root),
            ..tree
        };
        let Some(alphabet) = Alphabet::build(&tree.root) else {
            return Err(PatternError::Dialect(DialectError {
                pattern: pattern.to_owned(),
                at: 0,
                kind: DialectErrorKind::TooManyKinds(dialect::KINDS_MAX),
            }));
        };
        let too_large = PatternError::TooLarge {
            max_bytes: AUTOMATON_BYTES_MAX,
        };
        let regex = automaton(&tree.root, &alphabet, false).ok_or(too_large.clone())?;
        let program = Program::compile(&tree, &alphabet).ok_or(too_large)?;
        let automaton = match program.is_anchored() {
            true => OnceLock::new(),
            false => Some(regex).into(),
        };
        Ok(Pattern {
            text: pattern.into(),
            multiline,
            automaton,
            with_groups: OnceLock::new(),
            program,
            names: names(&tree),
            regular: tree.root.is_regular(),
            traits: Traits::of(&tree.root),
            alphabet,
        })
    }

    /// The pattern as it was given.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The names of its groups, in their order.
    pub fn group_names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(|(name, _)| &**name)
    }

    /// Can it be run by an automaton alone? Then it never meets the [`StepLimit`],
    /// except on texts with inner newlines (for `$`), and beyond ASCII where
    /// [`Pattern::knows_words`] is false.
    pub fn is_regular(&self) -> bool {
        self.regular
    }

    /// Does the automaton know, beyond ASCII too, where words begin and end? If not,
    /// such texts are for the backtracker.
    pub fn knows_words(&self) -> bool {
        self.alphabet.words_exact()
    }

    /// Does it match anywhere in `text`?
    pub fn is_match(&self, text: &str) -> Result<bool, StepLimit> {
        Ok(self
            .search(text, 0, false, &mut Steps::default())?
            .is_some())
    }

    /// The leftmost match in `text`, with its groups.
    pub fn find<'t>(&self, text: &'t str) -> Result<Option<Found<'t>>, StepLimit> {
        self.find_at(text, 0)
    }

    /// The same, in no more than `steps`, from which those are taken that it needs.
    pub fn find_within<'t>(
        &self,
        text: &'t str,
        steps: &mut Steps,
    ) -> Result<Option<Found<'t>>, StepLimit> {
        let spans = self.search(text, 0, !self.names.is_empty(), steps)?;
        Ok(spans.map(|spans| self.found(text, spans)))
    }

    /// The leftmost match that begins at byte `start` or later, with its groups. As
    /// with Python's `pos`, what stands before is seen by `^`, `\b` and look-behind.
    /// `start` must be the border of a character; beyond the end nothing is found.
    pub fn find_at<'t>(&self, text: &'t str, start: usize) -> Result<Option<Found<'t>>, StepLimit> {
        let Some(before) = text.get(..start) else {
            return Ok(None);
        };
        let start = if text.is_ascii() {
            start
        } else {
            before.chars().count()
        };
        let steps = &mut Steps::default();
        let spans = self.search(text, start, !self.names.is_empty(), steps)?;
        Ok(spans.map(|spans| self.found(text, spans)))
    }

    fn found<'t>(&self, text: &'t str, spans: Spans) -> Found<'t> {
        Found {
            text,
            names: Arc::clone(&self.names),
            spans: if text.is_ascii() {
                spans
            } else {
                in_bytes(text, spans)
            },
        }
    }

    /// The match in characters, from character `start` on; groups only if they are
    /// `wanted`.
    fn search(
        &self,
        text: &str,
        start: usize,
        wanted: bool,
        steps: &mut Steps,
    ) -> Result<Option<Spans>, StepLimit> {
        if text.is_ascii() {
            let subject = Subject {
                bytes: text.as_bytes(),
                chars: None,
            };
            return self.search_spelled(subject, start, true, wanted, steps);
        }
        let bytes = self.alphabet.spell(text);
        let chars: Option<Vec<char>> = self.program.has_back_refs().then(|| text.chars().collect());
        let subject = Subject {
            bytes: &bytes,
            chars: chars.as_deref(),
        };
        self.search_spelled(subject, start, self.alphabet.words_exact(), wanted, steps)
    }

    /// Only if `words` are what the automaton takes for words can it be asked.
    fn search_spelled(
        &self,
        subject: Subject<'_>,
        start: usize,
        words: bool,
        wanted: bool,
        steps: &mut Steps,
    ) -> Result<Option<Spans>, StepLimit> {
        if start == 0 && self.program.is_anchored() {
            match self
                .program
                .search(subject, 0, true, &mut { QUICK_STEPS_MAX })
            {
                Outcome::Match(spans) => return Ok(Some(spans)),
                Outcome::NoMatch => return Ok(None),
                Outcome::Exhausted => {}
            }
        }
        let automaton = words.then(|| self.automaton()).flatten();
        let Some(automaton) = automaton else {
            return self.backtrack(subject, start, false, steps);
        };
        let Some(hit) = automaton.find(from(subject.bytes, start)) else {
            return Ok(None);
        };
        if !self.regular || self.traits.differ_on(subject.bytes) {
            return self.backtrack(subject, hit.start(), false, steps);
        }
        if !wanted {
            return Ok(Some(vec![Some((hit.start(), hit.end()))]));
        }
        match self
            .program
            .search(subject, hit.start(), true, &mut { GROUP_STEPS_MAX })
        {
            Outcome::Match(spans) => Ok(Some(spans)),
            _ if self.traits.empty_loop => self.backtrack(subject, hit.start(), true, steps),
            _ => match self.groups_by_automaton(subject.bytes, start) {
                Some(spans) => Ok(Some(spans)),
                None => self.backtrack(subject, hit.start(), true, steps),
            },
        }
    }

    fn backtrack(
        &self,
        subject: Subject<'_>,
        start: usize,
        here: bool,
        steps: &mut Steps,
    ) -> Result<Option<Spans>, StepLimit> {
        match self.program.search(subject, start, here, &mut steps.0) {
            Outcome::Match(spans) => Ok(Some(spans)),
            Outcome::NoMatch => Ok(None),
            Outcome::Exhausted => Err(StepLimit {
                steps: LINE_STEPS_MAX,
            }),
        }
    }

    fn automaton(&self) -> Option<&Regex> {
        let built = || self.build_automaton(false);
        self.automaton.get_or_init(built).as_ref()
    }

    fn build_automaton(&self, groups: bool) -> Option<Regex> {
        let tree = dialect::parse(&self.text, self.multiline).ok()?;
        automaton(&simplify(&tree.root), &self.alphabet, groups)
    }

    fn groups_by_automaton(&self, bytes: &[u8], start: usize) -> Option<Spans> {
        let built = || self.build_automaton(true);
        let regex = self.with_groups.get_or_init(built).as_ref()?;
        let mut groups: Captures = regex.create_captures();
        regex.captures(from(bytes, start), &mut groups);
        groups.is_match().then(|| {
            groups
                .iter()
                .map(|group| group.map(|group| (group.start, group.end)))
                .collect()
        })
    }
}

/// Start and end of the whole match and of each group, in characters.
type Spans = Vec<Option<(usize, usize)>>;

fn automaton(root: &Node, alphabet: &Alphabet, groups: bool) -> Option<Regex> {
    let hir = to_hir(&widen_node(root), alphabet, groups);
    let config = Config::new()
        .utf8_empty(false)
        .nfa_size_limit(Some(AUTOMATON_BYTES_MAX))
        .hybrid_cache_capacity(AUTOMATON_CACHE_BYTES);
    Regex::builder().configure(config).build_from_hir(&hir).ok()
}

/// The text to search from `start` on; what stands before is context.
fn from(bytes: &[u8], start: usize) -> Input<'_> {
    Input::new(bytes).span(start..bytes.len())
}

fn names(tree: &Tree) -> Arc<[(Box<str>, usize)]> {
    tree.groups
        .iter()
        .enumerate()
        .filter_map(|(place, name)| Some((name.clone()?, place + 1)))
        .collect()
}

/// From characters to bytes of `text`.
fn in_bytes(text: &str, spans: Spans) -> Spans {
    let offsets: Vec<usize> = text
        .char_indices()
        .map(|(offset, _)| offset)
        .chain([text.len()])
        .collect();
    let offset = |at: usize| offsets.get(at).copied().unwrap_or(text.len());
    spans
        .into_iter()
        .map(|span| span.map(|(start, end)| (offset(start), offset(end))))
        .collect()
}

impl Traits {
    fn of(root: &Node) -> Traits {
        let mut traits = Traits::default();
        root.walk(&mut |node| match node {
            Node::Assert(Assert::TextEndOrNewline) => traits.end = true,
            Node::Assert(Assert::NotWord { .. }) => traits.not_word = true,
            Node::Repeat(repeat) if repeat.max != Some(1) => {
                let mut groups = false;
                repeat
                    .body
                    .walk(&mut |node| groups |= matches!(node, Node::Group(..)));
                traits.empty_loop |= groups && dialect::can_be_empty(&repeat.body);
            }
            _ => {}
        });
        traits
    }

    fn differ_on(self, bytes: &[u8]) -> bool {
        let inner_newline = || {
            let inner = bytes.split_last().map_or(bytes, |(_, inner)| inner);
            memchr::memchr(b'\n', inner).is_some()
        };
        (self.not_word && bytes.is_empty()) || (self.end && inner_newline())
    }
}

impl<'t> Found<'t> {
    /// Where the whole match is, in bytes of the text.
    pub fn span(&self) -> Range<usize> {
        let (start, end) = self.spans.first().copied().flatten().unwrap_or((0, 0));
        start..end
    }

    /// The whole match.
    pub fn as_str(&self) -> &'t str {
        self.text.get(self.span()).unwrap_or_default()
    }

    /// Where the group called `name` matched; `None` if there is no such group or
    /// it took no part. A group can take part and be empty.
    pub fn group_span(&self, name: &str) -> Option<Range<usize>> {
        let (_, place) = self.names.iter().find(|(own, _)| **own == *name)?;
        let (start, end) = self.spans.get(*place).copied().flatten()?;
        Some(start..end)
    }

    /// What the group called `name` matched; `None` as in [`Found::group_span`].
    pub fn get(&self, name: &str) -> Option<&'t str> {
        self.text.get(self.group_span(name)?)
    }

    /// The named groups that took part, in the pattern's order, with their texts.
    pub fn groups(&self) -> impl Iterator<Item = (&str, &'t str)> {
        self.names.iter().filter_map(|(name, place)| {
            let (start, end) = self.spans.get(*place).copied().flatten()?;
            Some((&**name, self.text.get(start..end)?))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(pattern: &str, text: &str) -> String {
        let pattern = Pattern::compile(&expand(pattern, true), false).expect(pattern);
        match pattern.find(text) {
            Err(limit) => limit.to_string(),
            Ok(None) => "nothing".to_owned(),
            Ok(Some(found)) => {
                let groups: Vec<String> = found
                    .groups()
                    .map(|(name, text)| format!(" {name}={text:?}"))
                    .collect();
                format!("{:?}{}", found.span(), groups.concat())
            }
        }
    }

    #[test]
    fn groups_are_named() {
        for (pattern, text, expected) in [
            (
                "from <HOST>$",
                "x from 192.0.2.7\n",
                r#"2..16 ip4="192.0.2.7""#,
            ),
            (
                "from <HOST>$",
                "from [2001:db8::7]\n",
                r#"0..18 ip6="2001:db8::7""#,
            ),
            (
                "from <HOST>$",
                "from ::ffff:192.0.2.7",
                r#"0..21 ip4="192.0.2.7""#,
            ),
            (
                "from <HOST>$",
                "from sip.example\n",
                r#"0..16 dns="sip.example""#,
            ),
            ("from <ADDR>$", "from sip.example\n", "nothing"),
            (
                "<SUBNET>:",
                "192.0.2.0/24:",
                r#"0..13 ip4="192.0.2.0" cidr="24""#,
            ),
            (
                "<F-USER>.*</F-USER> <F-X>a</F-X>?;",
                "é ½ ;",
                r#"0..7 user="é ½""#,
            ),
            ("'<F-USER>\\w*</F-USER>'", "''", r#"0..2 user="""#),
            (
                "a<SKIPLINES>.*b",
                "a\nx\ny\nb\n",
                r#"0..7 skiplines0="x\ny\n""#,
            ),
        ] {
            assert_eq!(found(pattern, text), expected, "{pattern} on {text}");
        }
    }

    #[test]
    fn a_search_may_begin_later() {
        for (pattern, text, start, expected) in [
            ("a", "a a", 1, Some(2..3)),
            (r"\ba", "aa a", 1, Some(3..4)),
            ("^a", "aa", 1, None),
            ("(?<=b)a", "ba", 1, Some(1..2)),
            ("(?<=é)(?P<x>a)", "éa", 2, Some(2..3)),
            ("(?P<x>a)", "aé a", 1, Some(4..5)),
            ("a", "é", 1, None),
            ("a|$", "a", 1, Some(1..1)),
            ("a", "a", 2, None),
        ] {
            let pattern = Pattern::compile(pattern, false).expect(pattern);
            let found = pattern.find_at(text, start).expect("few steps");
            assert_eq!(
                found.map(|found| found.span()),
                expected,
                "{}",
                pattern.as_str()
            );
        }
    }

    #[test]
    fn no_text_takes_long() {
        let limit = StepLimit {
            steps: LINE_STEPS_MAX,
        };
        let many = "a".repeat(4_000);
        for (pattern, text, expected) in [
            // Regular: the automaton has the last word.
            (
                "(?P<x>(?:a|a)*)*b",
                format!("{many}c"),
                "nothing".to_owned(),
            ),
            (
                "(?P<x>.*).*.*.*=(?P<y>c)$",
                format!("{}=c", "=".repeat(200)),
                format!("0..202 x={:?} y=\"c\"", "=".repeat(200)),
            ),
            // Not regular, but the automaton knows that there is none.
            ("(?!x)(?:a|a)*b", many.clone(), "nothing".to_owned()),
            ("(?:a|a)*b(?!c)", format!("{many}bc"), limit.to_string()),
        ] {
            assert_eq!(found(pattern, &text), expected, "{pattern}");
        }
    }

    #[test]
    fn what_cannot_be_compiled() {
        for (pattern, shown) in [
            (" \t", "the pattern is empty"),
            ("(?:(?:a{1000}){1000}){1000}", "the pattern needs more than"),
            ("a)", "this `)` closes nothing"),
        ] {
            let error = Pattern::compile(pattern, false).expect_err(pattern);
            assert!(error.to_string().starts_with(shown), "{error}");
        }
        let kinds: String = ('一'..).take(200).collect();
        assert!(Pattern::compile(&kinds, false).is_err());
        assert!(Pattern::compile(&format!("[{kinds}]"), false).is_ok());
    }

    #[test]
    fn one_compiled_pattern_serves_all_texts() {
        let pattern = Pattern::compile(r"\bcaf\w\b", false).expect("compiles");
        for (text, span) in [
            ("cafe", Some(0..4)),
            ("un café!", Some(3..8)),
            ("cafés", None),
        ] {
            let found = pattern.find(text).expect("few steps");
            assert_eq!(found.map(|found| found.span()), span, "{text}");
        }
    }
}
