//! A filter turns a line into a failure: gate, date, prefregex, failregex,
//! ignoreregex, in fail2ban's dialect and by fail2ban's algorithm.
//!
//! A [`Filter`] is compiled once and never changes; what a log's earlier lines mean
//! for later ones is kept by a [`follow::Follower`]. Nothing here does I/O: a host name
//! is handed on as it is, and the daemon looks it up.

mod attempts;
mod backtrack;
mod claims;
mod connection;
pub mod date;
pub mod dialect;
pub mod follow;
pub mod gate;
pub mod groups;
pub mod lines;
pub mod lint;
pub mod literals;
pub mod losses;
pub mod matched;
pub mod near;
pub mod pattern;
mod pulse;
mod tags;
pub mod tally;
mod threads;

use crate::ticket::Sight;
use crate::time::Time;
use date::{DatePatternError, Detector, Years};
use groups::Form;
use literals::{Cut, Literal};
use pattern::PatternError;

/// The most lines that a pattern may span; stock filters have ten at most.
pub const LINES_MAX: u32 = 1_000;

/// What a host name means where a pattern has `<HOST>`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Names {
    /// It is looked up by the daemon (`usedns` is `yes` or `warn`).
    #[default]
    Lookup,
    /// Nothing (`usedns = no`).
    No,
    /// It is an id as it stands (`usedns = raw`).
    Raw,
}

/// The texts of a filter, as its file and its jail give them: expanded, but with
/// `<HOST>` and its like still in them.
#[derive(Clone, Debug, Default)]
pub struct FilterText {
    /// The pattern that every line must match, if there is one.
    pub prefregex: Option<String>,
    /// The patterns of failures.
    pub failregex: Vec<String>,
    /// The patterns of lines that are none after all.
    pub ignoreregex: Vec<String>,
    /// The patterns of sightings, which fail2ban does not know.
    pub sightings: SightingText,
    /// How many lines a pattern may span; 0 is 1.
    pub maxlines: u32,
    /// The patterns of the date, one a line; `None` is fail2ban's own list.
    pub datepattern: Option<String>,
    /// What a host name means.
    pub names: Names,
    /// Is all that it captures wanted, for fail2ban's database or a command?
    pub captures: bool,
}

/// The patterns of what is no failure and says something all the same. Only lines that no
/// failregex matches are asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SightingText {
    /// Lines that say that somebody has authenticated.
    pub success: Vec<String>,
    /// Lines that say that somebody was asked to.
    pub challenge: Vec<String>,
    /// Lines after which their log is doubted: their writer lets a sender's newlines
    /// through, so whatever follows may be the sender's own, and none of it is a proof.
    /// They are searched in the whole line, whatever the prefregex says.
    pub doubt: Vec<String>,
    /// Lines behind which a message of the server's begins, when their log is doubted: they
    /// end with its own words, and no newline of a sender's is in them. They are searched
    /// in the line as it stands; its thread is what `<F-THREAD>` captures.
    pub whole: Vec<String>,
    /// How messages end in which a sender's words stand before the address; one that has such an
    /// end, and none behind it, has ended. They are searched in the line as it stands.
    pub end: Vec<String>,
    /// How the head of a message begins that stands on the line of one which was cut off, with
    /// `<F-THREAD>`.
    pub glue: Vec<String>,
    /// What a syslog daemon puts before a message that it tells of later, at once: all of that is
    /// `<F-REPEATED>`, and how often it was written `<F-TIMES>`.
    pub repeat: Vec<String>,
    /// What the server writes into every line and changes each second, as `<F-PULSE>` captures
    /// it from the line as it stands: see [`pulse`].
    pub pulse: Vec<String>,
    /// Lines that a pattern knows, or would, and that blame nobody, since they have more than one
    /// reading. They are searched in the whole line, and counted by what is matched of them.
    pub unclear: Vec<String>,
    /// Lines that break off before they name anybody. They are searched and counted in the same
    /// way, unless they can be put together again with the lines behind them; and they are
    /// looked at whatever else stands in them.
    pub broken: Vec<String>,
    /// What an operator can do about lines that are unclear and a log that is doubted.
    pub remedy: String,
}

/// A filter that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FilterError {
    /// A pattern cannot be understood.
    #[error("{option}: {error}")]
    Pattern {
        /// `failregex 3`, say.
        option: String,
        /// What is wrong with it.
        error: PatternError,
    },
    /// The pattern of the date cannot be understood.
    #[error("datepattern: {0}")]
    Date(#[from] DatePatternError),
    /// A failregex that names nobody.
    #[error("{option}: no address in it; write <HOST> or <ADDR> where it stands")]
    NoAddress {
        /// `failregex 3`, say.
        option: String,
    },
    /// Sightings in a filter for several lines.
    #[error(
        "{SUCCESSREGEX}, {CHALLENGEREGEX}, {DOUBTREGEX} and {WHOLEREGEX} are for filters with maxlines = 1"
    )]
    Sightings,
    /// No failregex at all.
    #[error("no failregex")]
    Empty,
    /// More lines than anybody needs.
    #[error("maxlines = {lines}: write a number up to {LINES_MAX}")]
    Lines {
        /// What was written.
        lines: u32,
    },
}

/// Why every line of a log must be looked at for a filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exact {
    /// Its patterns span several lines.
    SeveralLines,
    /// Its dates may stand anywhere in a line, and where the last one stood counts.
    UnanchoredDates,
    /// There are no literals without which none of its patterns can match.
    NoLiterals,
}

impl std::fmt::Display for Exact {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Exact::SeveralLines => "its patterns span several lines (maxlines)",
            Exact::UnanchoredDates => {
                "its datepattern may hit anywhere; write {^LN-BEG} or ^ before each line of it"
            }
            Exact::NoLiterals => "a failregex has no word that its lines must hold",
        })
    }
}

/// A compiled filter.
#[derive(Debug)]
pub struct Filter {
    prefregex: Option<Form>,
    failregex: Vec<Form>,
    /// The failregexes as they were written.
    written: Vec<Box<str>>,
    ignoreregex: Vec<Form>,
    sightings: Vec<(Sight, Form)>,
    doubtregex: Vec<Form>,
    wholeregex: Vec<Form>,
    endregex: Vec<Form>,
    repeatregex: Vec<Form>,
    glueregex: Vec<Form>,
    pulseregex: Vec<Form>,
    unclearregex: Vec<Form>,
    brokenregex: Vec<Form>,
    remedy: Box<str>,
    maxlines: usize,
    datepattern: Option<String>,
    names: Names,
    captures: bool,
    literals: Option<Vec<Literal>>,
    doubt_literals: Option<Vec<Literal>>,
    broken_literals: Option<Vec<Literal>>,
}

/// Groups that can say who failed, or which connection it was.
const WHO_GROUPS: [&str; 5] = ["fid", "ip4", "ip6", "dns", "mlfid"];

/// Groups that hold an address.
const ADDRESS_GROUPS: [&str; 2] = ["ip4", "ip6"];

/// The options of sightings, by their names in a filter's file.
const SUCCESSREGEX: &str = "successregex";
const CHALLENGEREGEX: &str = "challengeregex";
const DOUBTREGEX: &str = "doubtregex";
const WHOLEREGEX: &str = "wholeregex";
const ENDREGEX: &str = "endregex";
const REPEATREGEX: &str = "repeatregex";
const GLUEREGEX: &str = "glueregex";
const PULSEREGEX: &str = "pulseregex";
const UNCLEARREGEX: &str = "unclearregex";
const BROKENREGEX: &str = "brokenregex";

impl FilterError {
    /// Is it only about what fail2ban does not know?
    pub fn is_about_sightings(&self) -> bool {
        let is_ours = |option: &str| {
            let ours = [
                SUCCESSREGEX,
                CHALLENGEREGEX,
                DOUBTREGEX,
                WHOLEREGEX,
                ENDREGEX,
                REPEATREGEX,
                GLUEREGEX,
                PULSEREGEX,
                UNCLEARREGEX,
                BROKENREGEX,
            ];
            ours.iter().any(|name| option.starts_with(name))
        };
        match self {
            FilterError::Pattern { option, .. } | FilterError::NoAddress { option } => {
                is_ours(option)
            }
            FilterError::Sightings => true,
            _ => false,
        }
    }
}

impl Filter {
    /// A filter that finds nothing, for a jail in which others ban.
    pub fn nothing() -> Filter {
        Filter {
            prefregex: None,
            failregex: Vec::new(),
            written: Vec::new(),
            ignoreregex: Vec::new(),
            sightings: Vec::new(),
            doubtregex: Vec::new(),
            wholeregex: Vec::new(),
            endregex: Vec::new(),
            repeatregex: Vec::new(),
            glueregex: Vec::new(),
            pulseregex: Vec::new(),
            unclearregex: Vec::new(),
            brokenregex: Vec::new(),
            remedy: Box::default(),
            maxlines: 1,
            datepattern: None,
            names: Names::No,
            captures: false,
            literals: Some(Vec::new()),
            doubt_literals: Some(Vec::new()),
            broken_literals: Some(Vec::new()),
        }
    }

    /// Compiles a filter's patterns.
    pub fn compile(text: &FilterText) -> Result<Filter, FilterError> {
        if text.maxlines > LINES_MAX {
            let lines = text.maxlines;
            return Err(FilterError::Lines { lines });
        }
        let dns = text.names != Names::No;
        let several = text.maxlines > 1;
        let prefregex = text.prefregex.iter();
        let prefregex = compile_all("prefregex", prefregex, dns, false)?.pop();
        let failregex = compile_all("failregex", text.failregex.iter(), dns, several)?;
        let ignoreregex = compile_all("ignoreregex", text.ignoreregex.iter(), dns, false)?;
        let SightingText {
            success,
            challenge,
            doubt,
            whole,
            end,
            glue,
            repeat,
            pulse,
            unclear,
            broken,
            remedy,
        } = &text.sightings;
        let success = compile_all(SUCCESSREGEX, success.iter(), dns, false)?;
        let challenge = compile_all(CHALLENGEREGEX, challenge.iter(), dns, false)?;
        let doubtregex = compile_all(DOUBTREGEX, doubt.iter(), dns, false)?;
        let wholeregex = compile_all(WHOLEREGEX, whole.iter(), dns, false)?;
        let endregex = compile_all(ENDREGEX, end.iter(), dns, false)?;
        let repeatregex = compile_all(REPEATREGEX, repeat.iter(), dns, false)?;
        let glueregex = compile_all(GLUEREGEX, glue.iter(), dns, false)?;
        let pulseregex = compile_all(PULSEREGEX, pulse.iter(), dns, false)?;
        let unclearregex = compile_all(UNCLEARREGEX, unclear.iter(), dns, false)?;
        let brokenregex = compile_all(BROKENREGEX, broken.iter(), dns, false)?;
        if failregex.is_empty() {
            return Err(FilterError::Empty);
        }
        Detector::new(text.datepattern.as_deref(), Years::at(Time::default()))?;
        let named = |form: &Form| form.has_any(&WHO_GROUPS);
        if !prefregex.as_ref().is_some_and(named)
            && let Some(place) = failregex.iter().position(|form| !named(form))
        {
            return Err(FilterError::NoAddress {
                option: format!("failregex {}", place + 1),
            });
        }
        for (option, forms) in [(SUCCESSREGEX, &success), (CHALLENGEREGEX, &challenge)] {
            if let Some(place) = forms.iter().position(|form| !form.has_any(&ADDRESS_GROUPS)) {
                let option = format!("{option} {}", place + 1);
                return Err(FilterError::NoAddress { option });
            }
        }
        let success = success.into_iter().map(|form| (Sight::Success, form));
        let challenge = challenge.into_iter().map(|form| (Sight::Challenge, form));
        let sightings: Vec<(Sight, Form)> = success.chain(challenge).collect();
        if several && !(sightings.is_empty() && doubtregex.is_empty() && wholeregex.is_empty()) {
            return Err(FilterError::Sightings);
        }
        let cut = match text.datepattern.as_deref().map(str::trim) {
            Some("{NONE}") => Cut::Nothing,
            _ => Cut::Anywhere,
        };
        let seen = failregex
            .iter()
            .chain(sightings.iter().map(|(_, form)| form));
        let literals = required(prefregex.as_ref(), seen, cut);
        let doubt_literals = required(None, doubtregex.iter(), cut);
        let broken_literals = required(None, brokenregex.iter(), cut);
        Ok(Filter {
            prefregex,
            failregex,
            written: text
                .failregex
                .iter()
                .map(|regex| regex.as_str().into())
                .collect(),
            ignoreregex,
            sightings,
            doubtregex,
            wholeregex,
            endregex,
            glueregex,
            repeatregex,
            pulseregex,
            unclearregex,
            brokenregex,
            remedy: remedy.as_str().into(),
            maxlines: text.maxlines.max(1) as usize,
            datepattern: text.datepattern.clone(),
            names: text.names,
            captures: text.captures,
            literals,
            doubt_literals,
            broken_literals,
        })
    }

    /// Why it must see every line; `None` if the gate may choose.
    pub fn exact(&self) -> Option<Exact> {
        if self.maxlines > 1 {
            return Some(Exact::SeveralLines);
        }
        let anchored = |pattern: &str| {
            let pattern = pattern.trim();
            let stock = pattern.is_empty() || ["{DEFAULT}", "{NONE}"].contains(&pattern);
            stock || pattern.starts_with('^') || pattern.starts_with("{^LN-BEG}")
        };
        if !self.datepattern().unwrap_or_default().lines().all(anchored) {
            return Some(Exact::UnanchoredDates);
        }
        let literals = [&self.literals, &self.doubt_literals, &self.broken_literals];
        match literals.iter().all(|literals| literals.is_some()) {
            true => None,
            false => Some(Exact::NoLiterals),
        }
    }

    /// Literals of which every line that can match holds one; `None` if there are
    /// no such literals, so that every line must be looked at.
    pub fn literals(&self) -> Option<&[Literal]> {
        self.literals.as_deref()
    }

    /// Does this line hold one of them? No, if there are none.
    fn holds_literal(&self, line: &str) -> bool {
        let mut literals = self.literals.iter().flatten();
        literals.any(|literal| literal.is_in(line.as_bytes()))
    }

    /// The same for the lines that cast a doubt on their log.
    pub fn doubt_literals(&self) -> Option<&[Literal]> {
        self.doubt_literals.as_deref()
    }

    /// The same for lines that break off.
    pub fn broken_literals(&self) -> Option<&[Literal]> {
        self.broken_literals.as_deref()
    }

    /// The patterns of the date, as they were given.
    pub fn datepattern(&self) -> Option<&str> {
        self.datepattern.as_deref()
    }

    /// Has it a prefregex?
    pub fn has_prefregex(&self) -> bool {
        self.prefregex.is_some()
    }

    /// How many ignoreregexes it has.
    pub fn ignoreregexes(&self) -> usize {
        self.ignoreregex.len()
    }

    /// What an operator can do about lines that are unclear and a log that is doubted.
    pub fn remedy(&self) -> &str {
        &self.remedy
    }

    /// How many lines it looks at together; at least 1.
    pub fn maxlines(&self) -> usize {
        self.maxlines
    }

    /// How many failregexes it has.
    pub fn len(&self) -> usize {
        self.failregex.len()
    }

    /// The names of what its prefregex captures, in their order, and the regex itself with
    /// its tags written out.
    pub fn prefix(&self) -> Option<(&str, Vec<&str>)> {
        let pattern = &self.prefregex.as_ref()?.pattern;
        Some((pattern.as_str(), pattern.group_names().collect()))
    }

    /// Failregex `form` (counted from 0) as it was written, with its tags.
    pub fn failregex(&self, form: u16) -> Option<&str> {
        self.written.get(usize::from(form)).map(|regex| &**regex)
    }

    /// The names of what a match by failregex `form` (counted from 0) can have captured, in
    /// their order: the prefregex's first.
    pub fn group_names(&self, form: u16) -> impl Iterator<Item = &str> {
        let form = self.failregex.get(usize::from(form));
        let forms = self.prefregex.iter().chain(form);
        forms.flat_map(|form| form.pattern.group_names())
    }

    /// Has it none? Then it finds nothing.
    pub fn is_empty(&self) -> bool {
        self.failregex.is_empty()
    }

    /// Does it know the threads that write its log (`<F-THREAD>` in the prefregex)?
    fn knows_threads(&self) -> bool {
        let prefregex = self.prefregex.as_ref();
        prefregex.is_some_and(|form| form.has_any(&[threads::GROUP, threads::ALTERNATIVE]))
    }

    /// Do its messages go on in lines that begin with a blank (`<F-DATED>`, and no threads)?
    fn is_folded(&self) -> bool {
        let prefregex = self.prefregex.as_ref();
        !self.knows_threads() && prefregex.is_some_and(|form| form.has_any(&[follow::DATED]))
    }

    /// Are so few ignoreregexes there that it pays to ask them first?
    fn ignores_first(&self) -> bool {
        !self.ignoreregex.is_empty() && self.ignoreregex.len() + 3 <= self.failregex.len()
    }
}

fn compile_all<'t>(
    option: &str,
    regexes: impl Iterator<Item = &'t String>,
    dns: bool,
    multiline: bool,
) -> Result<Vec<Form>, FilterError> {
    let one = |(place, regex): (usize, &String)| {
        Form::compile(&pattern::expand(regex, dns), multiline).map_err(|error| {
            FilterError::Pattern {
                option: format!("{option} {}", place + 1),
                error,
            }
        })
    };
    regexes.enumerate().map(one).collect()
}

/// The patterns' literals, which are the rarer ones; else the prefregex's.
fn required<'f>(
    prefregex: Option<&Form>,
    mut forms: impl Iterator<Item = &'f Form>,
    cut: Cut,
) -> Option<Vec<Literal>> {
    let of =
        |form: &Form| literals::required(&dialect::parse(form.pattern.as_str(), false).ok()?, cut);
    let of_forms = forms
        .by_ref()
        .map(of)
        .try_fold(Vec::new(), |mut all, literals| {
            all.extend(literals?);
            Some(all)
        });
    of_forms.or_else(|| of(prefregex?))
}
