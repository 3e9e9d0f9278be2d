//! Our answers against Python's, for patterns and texts made up at random from a
//! fixed seed, and for a list of known traps.
//!
//! Match, span and every group must be equal, from the pattern as it is used, from
//! the backtracker alone, and from the automaton alone where the pattern is
//! regular. Every match must contain one of the literals derived for the gate.
//!
//! `RINGFENCE_DIALECT_CASES` asks for another number of patterns, and
//! `RINGFENCE_DIALECT_SEED` for other ones.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::*;
use crate::filter::literals::{Cut, Literal, required};

/// How many patterns are made up in an ordinary run: about three seconds.
const CASES: usize = 1_500;
/// How many texts each is tried on.
const TEXTS: usize = 6;

struct Case {
    pattern: String,
    multiline: bool,
    texts: Vec<String>,
}

#[test]
fn random_patterns_agree_with_python() {
    let number = |name, default| {
        let value = std::env::var(name).ok();
        value.map_or(default, |value| value.parse().expect("a number"))
    };
    let mut random = Random(number("RINGFENCE_DIALECT_SEED", 20_261_122));
    let cases = (0..number("RINGFENCE_DIALECT_CASES", CASES as u64))
        .map(|_| random.case())
        .collect();
    compare(cases);
}

#[test]
fn traps_agree_with_python() {
    let cases = TRAPS
        .iter()
        .flat_map(|(pattern, texts)| {
            [false, true].map(|multiline| Case {
                pattern: (*pattern).to_owned(),
                multiline,
                texts: texts.iter().map(|text| (*text).to_owned()).collect(),
            })
        })
        .collect();
    compare(cases);
}

/// Asks Python and ourselves, and fails with all differences.
fn compare(cases: Vec<Case>) {
    let mut python = Command::new("python3")
        .args(["-c", include_str!("differential.py")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 is installed");
    let mut stdin = python.stdin.take().expect("piped");
    let stdout = BufReader::new(python.stdout.take().expect("piped"));
    let (mut wrong, mut matches, mut refused) = (Vec::new(), 0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for case in &cases {
                let request = json!({
                    "pattern": case.pattern, "multiline": case.multiline, "texts": case.texts,
                });
                writeln!(stdin, "{request}").expect("python reads");
            }
            drop(stdin);
        });
        for (case, line) in cases.iter().zip(stdout.lines()) {
            let answer = serde_json::from_str(&line.expect("python answers")).expect("JSON");
            match check(case, &answer) {
                Ok(Some(hits)) => matches += hits,
                Ok(None) => refused += 1,
                Err(difference) => wrong.push(difference),
            }
        }
    });
    assert!(python.wait().expect("python ends").success());
    println!(
        "{} patterns, {refused} refused by both, {matches} matches, {} differences",
        cases.len(),
        wrong.len()
    );
    assert!(
        wrong.is_empty(),
        "{}",
        wrong[..wrong.len().min(20)].join("\n")
    );
}

/// How many texts matched; nothing if both refuse the pattern.
fn check(case: &Case, python: &Value) -> Result<Option<usize>, String> {
    let Case {
        pattern,
        multiline,
        texts,
    } = case;
    let ours = Pattern::compile(pattern, *multiline);
    let refusal = python.get("error").and_then(Value::as_str);
    let ours = match (ours, refusal) {
        (Err(_), Some(_)) => return Ok(None),
        (Ok(ours), None) => ours,
        (Ok(_), Some(error)) => return Err(format!("accepted: {pattern:?}, Python: {error}")),
        (Err(error), None) if is_documented(&error) => return Ok(None),
        (Err(error), None) => return Err(format!("refused: {pattern:?}: {error}")),
    };
    let tree = dialect::parse(pattern, *multiline).expect("compiled before");
    let gates = [Cut::Nothing, Cut::Anywhere].map(|cut| (cut, required(&tree, cut)));
    let mut hits = 0;
    for (text, found) in texts
        .iter()
        .zip(python["found"].as_array().expect("a list"))
    {
        let wanted: Option<Spans> = serde_json::from_value(found.clone()).expect("spans");
        for (engine, answer) in answers(&ours, text) {
            if answer != wanted {
                return Err(format!(
                    "{engine}: {pattern:?} multiline {multiline} on {text:?}: {answer:?}, Python: {wanted:?}"
                ));
            }
        }
        if let Some([Some((start, end)), ..]) = wanted.as_deref() {
            hits += 1;
            let chars: Vec<char> = text.chars().collect();
            for (cut, literals) in &gates {
                if let Some(literals) = literals
                    && !passes(&chars[*start..*end], literals, *cut)
                {
                    return Err(format!(
                        "literals {literals:?} for {cut:?}: {pattern:?} on {text:?}"
                    ));
                }
            }
        }
    }
    Ok(Some(hits))
}

/// The same question to each way of answering.
fn answers(pattern: &Pattern, text: &str) -> Vec<(&'static str, Option<Spans>)> {
    let bytes = pattern.alphabet.spell(text);
    let chars: Vec<char> = text.chars().collect();
    let subject = Subject {
        bytes: &bytes,
        chars: Some(&chars),
    };
    let mut all = vec![(
        "pattern",
        pattern
            .search(text, 0, true, &mut Steps::default())
            .expect("few steps are needed"),
    )];
    match pattern
        .program
        .search(subject, 0, false, &mut { LINE_STEPS_MAX })
    {
        Outcome::Match(spans) => all.push(("backtracker", Some(spans))),
        Outcome::NoMatch => all.push(("backtracker", None)),
        Outcome::Exhausted => panic!("few steps are needed"),
    }
    let exact = pattern.regular && !pattern.traits.differ_on(&bytes) && !pattern.traits.empty_loop;
    if exact && (text.is_ascii() || pattern.alphabet.words_exact()) {
        all.push(("automaton", pattern.groups_by_automaton(&bytes, 0)));
    }
    all
}

/// What we refuse though Python does not.
fn is_documented(error: &PatternError) -> bool {
    match error {
        PatternError::Empty | PatternError::TooLarge { .. } => true,
        PatternError::Dialect(error) => matches!(
            error.kind,
            DialectErrorKind::Surrogate(_) | DialectErrorKind::NamedChar
        ),
    }
}

/// Would the gate let a line pass that contains this match, with any hole in it?
fn passes(matched: &[char], literals: &[Literal], cut: Cut) -> bool {
    let holes = match cut {
        Cut::Anywhere => 0..matched.len().max(1),
        _ => 0..1,
    };
    holes.into_iter().all(|hole| {
        let (before, after) = matched.split_at(hole);
        [before, after].into_iter().any(|part| {
            let exact: String = part.iter().collect();
            let folded = exact.to_ascii_lowercase();
            literals.iter().any(|literal| {
                let literal_text = String::from_utf8(literal.bytes.clone()).expect("UTF-8");
                if literal.fold { &folded } else { &exact }.contains(&literal_text)
            })
        })
    })
}

/// A generator of patterns and texts (xorshift).
struct Random(u64);

/// What patterns and texts are made of; the first are the most frequent.
const CHARS: [char; 36] = [
    'a', 'b', 'a', 'b', 'c', ' ', 'a', 'b', '1', '\n', 'A', 'B', '-', '_', 'k', 's', 'i', 'K', 'S',
    'I', 'é', 'É', 'ß', 'ſ', '\u{212a}', 'ı', 'İ', 'µ', 'μ', '½', '٣', '\u{301}', '\x1c',
    '\u{200d}', 'Ⅷ', '𐐀',
];

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % limit
    }

    fn pick<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[self.below(choices.len())]
    }

    /// Nearly always one of the first few.
    fn char(&mut self, ascii: bool) -> char {
        let limit = match self.below(4) {
            0 if !ascii => CHARS.len(),
            0 | 1 => 20,
            _ => 8,
        };
        CHARS[self.below(limit)]
    }

    fn case(&mut self) -> Case {
        let ascii = self.below(3) > 0;
        let flags = match self.below(3) {
            0 => self.pick(&["(?i)", "(?s)", "(?m)", "(?x)", "(?a)", "(?ia)", "(?is)"]),
            _ => "",
        };
        let mut groups = 0;
        let pattern = format!("{flags}{}", self.alternation(3, ascii, &mut groups));
        let texts = (0..TEXTS)
            .map(|_| {
                let length = self.below(10);
                let mut text: String = (0..length).map(|_| self.char(ascii)).collect();
                if self.below(2) == 0 {
                    text.push('\n');
                }
                text
            })
            .collect();
        Case {
            pattern,
            multiline: self.below(6) == 0,
            texts,
        }
    }

    fn alternation(&mut self, depth: usize, ascii: bool, groups: &mut usize) -> String {
        let choices = if self.below(4) == 0 {
            1 + self.below(3)
        } else {
            1
        };
        let choices: Vec<String> = (0..choices)
            .map(|_| self.sequence(depth, ascii, groups))
            .collect();
        choices.join("|")
    }

    fn sequence(&mut self, depth: usize, ascii: bool, groups: &mut usize) -> String {
        let length = self.below(4) + usize::from(self.below(8) > 0);
        let mut text = String::new();
        for _ in 0..length {
            text.push_str(&self.atom(depth, ascii, groups));
            if self.below(3) == 0 {
                text.push_str(self.pick(&[
                    "*", "+", "?", "*", "+", "?", "*?", "+?", "??", "{2}", "{1,2}", "{,2}", "{1,}",
                    "{0,3}?", "*+", "++", "?+", "{1,2}+", "{", "{a}", "{,}", "**", "{2}{3}",
                ]));
            }
        }
        text
    }

    fn atom(&mut self, depth: usize, ascii: bool, groups: &mut usize) -> String {
        let kinds = if depth == 0 { 7 } else { 12 };
        match self.below(kinds) {
            0..=2 => {
                let char = self.char(ascii);
                if self.below(8) == 0 && !char.is_ascii_alphanumeric() {
                    format!("\\{char}")
                } else {
                    char.to_string()
                }
            }
            3 => self.pick(&[".", ".", "^", "$", "$"]).to_owned(),
            4 => self.escape(*groups),
            5 | 6 => self.class(ascii),
            7 | 8 => self.group(depth - 1, ascii, groups),
            9 => self.group(depth - 1, ascii, groups),
            10 if *groups > 0 => {
                let group = 1 + self.below(*groups);
                if self.below(3) == 0 {
                    format!("(?P=g{group})")
                } else {
                    format!("\\{group}")
                }
            }
            _ => self.class(ascii),
        }
    }

    fn escape(&mut self, groups: usize) -> String {
        match self.below(30) {
            0 => format!("\\{}", groups + 1),
            1 => self
                .pick(&[
                    "\\q",
                    "\\x4",
                    "\\N{DIGIT ONE}",
                    "\\777",
                    "\\ud800",
                    "\\U00110000",
                ])
                .to_owned(),
            _ => self
                .pick(&[
                    "\\w",
                    "\\W",
                    "\\d",
                    "\\D",
                    "\\s",
                    "\\S",
                    "\\b",
                    "\\B",
                    "\\b",
                    "\\A",
                    "\\Z",
                    "\\n",
                    "\\x61",
                    "\\u0062",
                    "\\141",
                    "\\<",
                    "\\>",
                    "\\-",
                    "\\0",
                    "\\t",
                    "\\a",
                    "(?=\\b|\\W|$)",
                    "(?=^|\\b|\\W)a",
                ])
                .to_owned(),
        }
    }

    fn class(&mut self, ascii: bool) -> String {
        let mut text = String::from("[");
        if self.below(3) == 0 {
            text.push('^');
        }
        for _ in 0..=self.below(3) {
            match self.below(8) {
                0 => text.push_str(self.pick(&["\\w", "\\W", "\\d", "\\D", "\\s", "\\S", "\\b"])),
                1 => text.push_str(self.pick(&["a-c", "A-K", "0-9", "a-é", "!-~", "\\x00-\\x7f"])),
                2 => {
                    text.push_str(self.pick(&["[", "]", "&&", "--", "~~", "-", "^", "\\]", "\\n"]))
                }
                _ => text.push(self.char(ascii)),
            }
        }
        text.push(']');
        text
    }

    fn group(&mut self, depth: usize, ascii: bool, groups: &mut usize) -> String {
        if self.below(3) == 0 {
            // Numbered in the order of the opening parentheses, so first of all.
            let number = *groups + 1;
            *groups = number;
            let body = self.alternation(depth, ascii, groups);
            return format!("(?P<g{number}>{body})");
        }
        let opening = self.pick(&[
            "(?:", "(?:", "(?:", "(?=", "(?!", "(?<=", "(?<!", "(?>", "(?i:", "(?s:", "(?-i:",
            "(?m:", "(?a:", "(?x:", "(?#", "(?(", "(?(",
        ]);
        if opening == "(?(" {
            let group = 1 + self.below(*groups + 1);
            let name = if self.below(2) == 0 { "g" } else { "" };
            let yes = self.sequence(depth, ascii, groups);
            return match self.below(2) {
                0 => format!("(?({name}{group}){yes})"),
                _ => {
                    let no = self.sequence(depth, ascii, groups);
                    format!("(?({name}{group}){yes}|{no})")
                }
            };
        }
        if opening == "(?<=" || opening == "(?<!" {
            // Of one width, mostly.
            let length = 1 + self.below(2);
            let body: String = (0..length)
                .map(|_| match self.below(4) {
                    0 => self.class(ascii),
                    1 => "\\b".to_owned(),
                    2 => ".".to_owned(),
                    _ => self.char(ascii).to_string(),
                })
                .collect();
            return format!("{opening}{body})");
        }
        format!("{opening}{})", self.alternation(depth, ascii, groups))
    }
}

/// Patterns that other engines read otherwise, and texts that show it.
const TRAPS: &[(&str, &[&str])] = &[
    ("a$", &["a", "a\n", "a\n\n", "a\nb", ""]),
    (r"a\Z", &["a", "a\n"]),
    (r"^a\Z|$", &["a", "a\n", "\n"]),
    (r"\<a\>", &["<a>", "a"]),
    ("[[]a", &["[a", "a"]),
    ("[]a]+", &["]a]", "b"]),
    ("[^]a]", &["]b", "]"]),
    ("[a&&b]+", &["a&b", "b"]),
    ("[a--b]", &["-", "a", "b"]),
    ("[+--]", &[",", "-", "a"]),
    ("[a~~b]+", &["~a"]),
    (r"\d{,3}x", &["1234x", "x"]),
    ("a{,}b", &["aaab", "b"]),
    ("a{", &["a{"]),
    ("{", &["{"]),
    ("a{1", &["a{1"]),
    ("{a}", &["{a}"]),
    ("{2}", &["{2}"]),
    ("x{}", &["x{}"]),
    ("a{2}{3}", &["aaaaaa"]),
    ("a**", &["a"]),
    ("^*", &["a"]),
    (r"\b*", &["a"]),
    ("(?:^)*a", &["a"]),
    ("(?#c)*", &["a"]),
    ("a(?#c)*", &["aaa"]),
    (r"(?#a\))b", &["b"]),
    (
        r"\s+",
        &["a\x1c\x1d\x1e\x1fb", "a\u{85}\u{a0}b", "\u{200b}"],
    ),
    (r"(?a)\s+", &["\x1c", "\u{a0}", " "]),
    (
        r"\w+",
        &["½a", "a\u{301}b", "a\u{200d}b", "_‿_", "٣", "Ⅷ", "éa", "Ⓐ"],
    ),
    (r"\d+", &["٣", "½", "²", "12"]),
    (r"\bfoo\b", &["éfoo", "foo\u{301}", "foo½", "foo‿", "foo é"]),
    (r"\b[a-z]+\b", &["éfoo é abc", "é abc"]),
    (r"\B", &["", "a", "ab", "é", "éa"]),
    (r"(?a)\bé?\b", &["é", "aé"]),
    (r"(?a:\b)x\b", &["éxé", "éx"]),
    ("(?i)k+", &["\u{212a}k", "K"]),
    ("(?i)[k]", &["\u{212a}"]),
    ("(?i)[^k]", &["\u{212a}", "K", "a"]),
    ("(?i)s", &["ſ"]),
    ("(?i)i", &["ı", "İ", "I"]),
    ("(?i)ß", &["ẞ", "SS", "ß"]),
    ("(?i)µ", &["μ", "Μ"]),
    ("(?i)ς", &["σ", "Σ"]),
    ("(?i)ﬅ", &["ﬆ"]),
    ("(?ia)k", &["\u{212a}", "K"]),
    ("(?ia)é", &["É", "é"]),
    ("(?i)[a-z]+", &["ſ\u{212a}ıİ"]),
    ("(?i)(?-i:a)b", &["aB", "AB"]),
    (r"(?i)(a)\1", &["aA"]),
    (r"(?i)(s)\1", &["sſ", "sS"]),
    (r"(?i)(\u0130)\1", &["İi"]),
    (r"(?P<a>x)?(?(a)y|z)", &["xy", "z", "xz"]),
    (r"(?P<a>x)?(?(1)y|z)", &["xy", "z"]),
    (r"(?(1)a|b)(x)", &["bx", "ax"]),
    (r"(?(2)a|b)(x)", &["bx"]),
    (r"(?:(a)|b)*\1", &["aba", "abb", "ba"]),
    (r"(a)|b\1", &["ba", "b"]),
    (r"(?P<q>['\u0022])a(?P=q)", &["'a'", "'a\""]),
    (r"(?=(a+))a*b\1", &["baaabac", "aaab"]),
    (r"(?!(a))b\1?", &["b", "ab"]),
    (r"(a*)*", &["aa", "b"]),
    (r"(a*)+", &["aa", "b"]),
    (r"(a*?)*?b", &["aab"]),
    (r"(a|b*)*c", &["abbac", "c"]),
    (r"(?:a|(b)|)+c", &["abc", "bac"]),
    (r"(?:(a)|(b)|(c))*", &["abc", "cba"]),
    (r"(|a)*", &["aa"]),
    (r"(|a)+b", &["aab"]),
    (r"(?:()|a)*b", &["aab"]),
    (r"(?:a?){3}b", &["aab", "b"]),
    (r"(a?){3}", &["aa", ""]),
    (r"(?>a+)a", &["aaa"]),
    (r"(?>a|ab)c", &["abc", "ac"]),
    (r"a++a", &["aaa"]),
    (r"(?:ab|a)++b", &["abab", "ab"]),
    (r"(?:a|ab){2}+c", &["abac", "aac"]),
    (r"(a|ab){2,3}+c", &["abaac"]),
    (r"(?<=a)b", &["ab", "b"]),
    (r"(?<!a)b", &["ab", "b"]),
    (r"(?<=^a)b", &["ab", "aab"]),
    (r"(?<=ab|cd)e", &["abe", "cde"]),
    (r"(?<=a|bc)e", &["abe"]),
    (r"(a)(?<=\1)b", &["ab"]),
    (r"(?<=(a)\1)b", &["aab"]),
    (r"(a\1)", &["aa"]),
    (r"(?P<a>a)(?P<a>b)", &["ab"]),
    (r"(?P<1a>a)", &["a"]),
    (r"(?P<é>a)(?P=é)", &["aa"]),
    ("(?P<a b>a)", &["a"]),
    ("(?i", &["a"]),
    ("(?", &["a"]),
    ("(?P", &["a"]),
    ("(?P>a)", &["a"]),
    ("(?Px)", &["a"]),
    ("(?<a>b)", &["b"]),
    ("(?<", &["b"]),
    ("(?y)", &["b"]),
    ("a(?i)b", &["aB"]),
    ("(?i)(?s)A.", &["a\n"]),
    ("(?x) (?i) a", &["A"]),
    ("(?i)|b", &["B"]),
    ("b|(?i)a", &["A"]),
    ("(?au)a", &["a"]),
    ("(?a)(?u)a", &["a"]),
    ("(?L)a", &["a"]),
    ("(?i-i:a)", &["a"]),
    ("(?-a:a)", &["a"]),
    ("(?-:a)", &["a"]),
    ("(?-i)a", &["a"]),
    ("(?i-s:A.)", &["ab", "a\n"]),
    ("(?a:é|\\w)", &["é", "a"]),
    ("(?x)a b # c\n d", &["abd", "a b"]),
    ("(?x)a\\ b[ ]c", &["a b c"]),
    ("(?x)a +b", &["aab"]),
    ("(?x)a#b\\\nc", &["ac", "a"]),
    ("(?x:a b)c d", &["abc d"]),
    ("(?x)(?-x:a b)c d", &["a bcd"]),
    (r"\x41\u0042\U00000043\101", &["ABCA"]),
    (r"\0", &["\0"]),
    (r"\08", &["\08"]),
    (r"(a)\18", &["a\u{1}8"]),
    (r"(a)\118", &["aI8", "aO"]),
    (r"\400", &["a"]),
    (r"[\400]", &["a"]),
    (r"[\8]", &["8"]),
    (r"[\b]", &["\x08", "b"]),
    (r"[\w-a]", &["-"]),
    (r"[a-\w]", &["-"]),
    (r"[\w-]", &["-"]),
    (r"[z-a]", &["-"]),
    (r"[a-]", &["-"]),
    (r"[-a]", &["-"]),
    ("[", &["["]),
    ("[]", &["]"]),
    ("[^]", &["]"]),
    ("a]", &["a]"]),
    ("a}", &["a}"]),
    (")", &[")"]),
    ("(", &["("]),
    ("a|*", &["a"]),
    ("(*a)", &["a"]),
    ("\\", &["\\"]),
    (r"\e", &["e"]),
    (r"\é", &["é"]),
    (r"\ ", &[" "]),
    (r"\_", &["_"]),
    (r"\z", &["z"]),
    (r"\G", &["G"]),
    (r"\p{L}", &["L"]),
    ("a.c", &["a\nc", "a\rc", "a\u{85}c", "a\u{2028}c", "aéc"]),
    ("^b", &["a\nb", "a\rb", "b"]),
    ("a$\nb", &["a\nb"]),
    ("^", &["", "a\n"]),
    ("(?m)^$", &["a\n", "\n\n", "a\n\nb"]),
    ("(?m)a$", &["a\nb", "ba"]),
    (r"(?=\b|\W|$)", &["a", "", "\n", " a", "aa"]),
    (r"(?=^|\b|\W)a", &["ba", " a", "a"]),
    (r"(?=^|\b|\W)", &["", " ", "a "]),
    (r"x(?=\b|\W|$)", &["xa", "x", "x ", "xé"]),
    (r"(?:(?:a|b)*?c|a)+", &["abcac"]),
    (r"(?:a{2,3}){2}", &["aaaaa", "aaa"]),
    (r"(?:.*\n)*?b", &["a\na\nb"]),
    (r"a{99999999999}", &["a"]),
    (r"a{4294967295}", &["a"]),
    (r"a{3,2}", &["a"]),
    (r"(?(0)a)", &["a"]),
    (r"(?(a)a)", &["a"]),
    (r"(x)(?(1)a|b|c)", &["xa"]),
    (r"(?( 1)a)", &["a"]),
    (r"((?(1)a|b))+", &["ba", "bb"]),
    ("[\u{10400}x]", &["x", "\u{10400}"]),
    ("[\u{100}-\u{d7ff}]+", &["\u{d7ff}\u{e000}", "\u{e001}"]),
    ("[^\u{e000}]+", &["\u{d7ff}\u{e000}", "\u{e001}"]),
    ("é+", &["éé", "e\u{301}"]),
];
