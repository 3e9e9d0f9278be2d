//! What can be wrong with a pattern, and where.

use std::fmt;

/// How much of a long pattern is shown on either side of the fault, in characters.
const SHOWN_CHARS: usize = 40;

/// A pattern that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct DialectError {
    /// The pattern.
    pub pattern: String,
    /// Where the fault is, in characters from the start.
    pub at: usize,
    /// What is wrong there.
    pub kind: DialectErrorKind,
}

impl fmt::Display for DialectError {
    /// The fault, then the pattern around it with a caret below the place.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let start = self.at.saturating_sub(SHOWN_CHARS);
        let shown: String = self
            .pattern
            .chars()
            .skip(start)
            .take(2 * SHOWN_CHARS)
            .map(|char| if char.is_control() { ' ' } else { char })
            .collect();
        let before = if start > 0 { "…" } else { "" };
        let indent = self.at - start + usize::from(start > 0);
        write!(
            f,
            "{} (at character {} of the pattern)\n    {before}{shown}\n    {:indent$}^",
            self.kind, self.at, ""
        )
    }
}

/// What is wrong at one place of a pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DialectErrorKind {
    /// Longer than we read.
    #[error("the pattern has {0} bytes; at most {1} are accepted")]
    TooLong(usize, usize),
    /// Groups inside groups without end.
    #[error("groups stand more than {0} deep in each other; write the pattern flatter")]
    TooDeep(usize),
    /// More groups than we count.
    #[error("there are more than {0} capturing groups; write `(?:…)` where the text is not needed")]
    TooManyGroups(usize),
    /// More different non-ASCII characters than an automaton over bytes can tell apart.
    #[error(
        "more than {0} kinds of non-ASCII characters are told apart; write `\\w` or `.` for some"
    )]
    TooManyKinds(usize),
    /// A backslash at the end.
    #[error("the pattern ends in a lone `\\`; write `\\\\` for a backslash")]
    LoneBackslash,
    /// An escape that has no meaning.
    #[error(
        "`{0}` has no meaning; letters that may follow `\\` are \
         `d D w W s S b B A Z n t r f v a`, `x41`, `u0041` and `U00000041`; \
         any other character that is no letter stands for itself"
    )]
    BadEscape(String),
    /// An escape by number that is too short or out of range.
    #[error(
        "`{0}` is not complete or out of range; write `\\x41`, `\\u0041`, `\\U00000041` or `\\101`"
    )]
    BadCode(String),
    /// Half of a pair of UTF-16.
    #[error("`{0}` is half of a character (a surrogate) and never occurs in a log")]
    Surrogate(String),
    /// `\N{…}`.
    #[error("`\\N{{…}}` is not supported; write the character itself or `\\uXXXX`")]
    NamedChar,
    /// A class without `]`.
    #[error("this `[` is never closed; write `]`, or `\\[` for a bracket")]
    OpenClass,
    /// `[z-a]`, `[\w-a]`.
    #[error("`{0}` is not a range; write the lower character first, or `\\-` for a hyphen")]
    BadRange(String),
    /// A quantifier after nothing.
    #[error("there is nothing to repeat before `{0}`; write `\\{0}` for the character")]
    NothingToRepeat(char),
    /// `a**`.
    #[error(
        "a repeated part is repeated again; write `(?:…)` around the first, or `\\{0}` for the character"
    )]
    MultipleRepeat(char),
    /// `{3,2}`, `{99999999999}`.
    #[error("`{0}` is not a number of repetitions; write `{{least,most}}` below 4294967295")]
    BadRepeat(String),
    /// `(` without `)`.
    #[error("this `(` is never closed; write `)`, or `\\(` for a parenthesis")]
    OpenGroup,
    /// `)` without `(`.
    #[error("this `)` closes nothing; write `\\)` for a parenthesis")]
    UnbalancedClose,
    /// `(?#` without `)`.
    #[error("this comment is never closed; write `)`")]
    OpenComment,
    /// `(?y…`.
    #[error(
        "`({0}` is not known; after `(?` may follow `:`, `P<name>`, `P=name)`, `#`, `=`, `!`, `<=`, `<!`, `>`, \
         `(group)` or flags out of `aimsux`"
    )]
    UnknownExtension(String),
    /// `(?P<1a>…)`.
    #[error("`{0}` is not a name of a group; write a letter or `_`, then letters, digits or `_`")]
    BadName(String),
    /// The same name twice.
    #[error(
        "the group name `{0}` is taken; each group needs its own (fail2ban merges `alt_{0}`, `alt_{0}_1`…)"
    )]
    NameTaken(String),
    /// A group that does not exist (yet).
    #[error("there is no group `{0}` before this place")]
    UnknownGroup(String),
    /// A reference to a group from within it.
    #[error("the group `{0}` is still open here; refer to it after its `)`")]
    GroupStillOpen(String),
    /// A reference, within a look-behind, to a group of it.
    #[error("the group `{0}` stands in the same look-behind; refer to it from outside")]
    GroupInLookBehind(String),
    /// `(?(1)a|b|c)`.
    #[error("a conditional has at most two branches, `(?(group)yes|no)`")]
    ThreeBranches,
    /// Look-behind of variable width.
    #[error("a look-behind must have one fixed width; this one takes {0} to {1} characters")]
    VariableLookBehind(u32, u32),
    /// Flags that Python refuses.
    #[error("bad flags: {0}")]
    BadFlags(&'static str),
}
