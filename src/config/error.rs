//! What can be wrong in a configuration, and where.
//!
//! Every error names the file, the line, what was written and what would have been
//! accepted. The parts are kept as fields: the sentence is for the operator, the
//! fields are for programs and tests. An error never stops the reading; it is the
//! caller who decides what can run without the broken part.

use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The longest piece of a file that an error quotes, in characters: enough to find
/// the place, short enough for one line of a log.
const QUOTED_CHARS_MAX: usize = 120;

/// Something wrong in a configuration file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{}: {kind}", path.display(), at_line(*line))]
pub struct ConfigError {
    /// The file.
    pub path: PathBuf,
    /// The line in it, counted from 1; 0 if it is not about one line.
    pub line: u32,
    /// The jail that cannot run because of it; `None` if it is not about one jail.
    pub jail: Option<String>,
    /// What is wrong there; boxed, since a result should be small.
    pub kind: Box<ConfigErrorKind>,
}

impl ConfigError {
    /// An error at a line (counted from 1; 0 is the file as a whole).
    pub fn new(path: &Path, line: u32, kind: ConfigErrorKind) -> Self {
        ConfigError {
            path: path.to_owned(),
            line,
            jail: None,
            kind: Box::new(kind),
        }
    }

    /// The same error, and the jail that cannot run because of it.
    #[must_use]
    pub fn of_jail(mut self, jail: &str) -> Self {
        self.jail = Some(jail.to_owned());
        self
    }

    /// Is it only worth a word, while everything runs as written?
    pub fn is_warning(&self) -> bool {
        matches!(
            *self.kind,
            ConfigErrorKind::DuplicateOption { .. }
                | ConfigErrorKind::DuplicateSection { .. }
                | ConfigErrorKind::NoFilter
                | ConfigErrorKind::NoAction
                | ConfigErrorKind::NoProgram { .. }
                | ConfigErrorKind::UnknownKey { .. }
                | ConfigErrorKind::UnknownSection { .. }
                | ConfigErrorKind::IdleAction { .. }
        )
    }
}

fn at_line(line: u32) -> String {
    if line == 0 {
        String::new()
    } else {
        format!(":{line}")
    }
}

/// A piece of a file, cut to a length that an error may quote.
pub(crate) fn quoted(text: &str) -> String {
    let mut cut: String = text.chars().take(QUOTED_CHARS_MAX).collect();
    if cut.len() < text.len() {
        cut.push('…');
    }
    cut
}

/// What can be wrong in a configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigErrorKind {
    /// The file is there and cannot be read.
    #[error("cannot be read: {reason}")]
    Unreadable {
        /// What the system says.
        reason: String,
    },
    /// The file is larger than any configuration is.
    #[error("is {bytes} bytes long; a configuration file may have {bytes_max}")]
    TooLarge {
        /// Its length.
        bytes: u64,
        /// What is accepted.
        bytes_max: u64,
    },
    /// Not UTF-8.
    #[error("is not UTF-8 (byte {offset}); save it in UTF-8")]
    NotUtf8 {
        /// The first byte that is not, counted from 0.
        offset: usize,
    },
    /// A value that is none of the words, or none of the kind, that its key takes.
    #[error("`{key} = {value}` is not understood; write {accepted}")]
    Word {
        /// The option.
        key: String,
        /// What was written.
        value: String,
        /// What would be accepted.
        accepted: &'static str,
    },
    /// A key that means nothing, and to which nothing refers.
    #[error(
        "`{key}` is no key of a jail, and no `%({key})s` refers to it: it does nothing; {}",
        meant(candidates, "docs/jails.md has the keys of jails")
    )]
    UnknownKey {
        /// The key.
        key: String,
        /// What it may have been meant for.
        candidates: Vec<String>,
    },
    /// A section that is no jail of ours, and of which nobody said that it is to run.
    #[error(
        "[{section}] is no jail that is built in, and says neither `enabled = true` nor `enabled = false`: it does nothing; {}",
        meant(candidates, "a jail of your own wants `enabled = true`")
    )]
    UnknownSection {
        /// The section.
        section: String,
        /// What it may have been meant for.
        candidates: Vec<String>,
    },
    /// A default for actions that no action of the folder asks for.
    #[error(
        "`{key}` does nothing here, as no `action` refers to `%({key})s`: this jail bans in ringfence's own sets; leave it out, or write `action = …`"
    )]
    IdleAction {
        /// The key.
        key: String,
    },
    /// A program that is not there.
    #[error("`{key}`: there is no program {program}; until there is, it ignores nobody")]
    NoProgram {
        /// The option.
        key: &'static str,
        /// Its path.
        program: String,
    },
    /// Text in front of the first section.
    #[error("`{text}` stands before the first section; begin with `[DEFAULT]` or `[JAIL]`")]
    NoSection {
        /// The line.
        text: String,
    },
    /// Neither a section nor an option.
    #[error(
        "`{text}` is neither `[section]` nor `option = value`; indent it if it continues the line above"
    )]
    NotAssignment {
        /// The line.
        text: String,
    },
    /// One file has the option twice.
    #[error(
        "`{option}` was set in [{section}] on line {first} already; this one counts, fail2ban would not start"
    )]
    DuplicateOption {
        /// The section.
        section: String,
        /// The option.
        option: String,
        /// Where it was set first.
        first: u32,
    },
    /// One file has the section twice.
    #[error("[{section}] began on line {first} already; both are joined, fail2ban would not start")]
    DuplicateSection {
        /// The section.
        section: String,
        /// Where it began first.
        first: u32,
    },
    /// A `%` that is not the beginning of a reference.
    #[error("`{key}`: `%` in `{text}` must be `%%` or begin `%(option)s`")]
    LonePercent {
        /// The option.
        key: String,
        /// The text from the sign on.
        text: String,
    },
    /// A reference to nothing.
    #[error(
        "`{key}` refers to `%({name})s`, which is set neither in this section nor in [DEFAULT]"
    )]
    UnknownReference {
        /// The option.
        key: String,
        /// What it refers to.
        name: String,
    },
    /// References that never end, or are too many.
    #[error("`{key}` refers to itself, or through more than {depth_max} levels; see `%({name})s`")]
    ReferenceDepth {
        /// The option.
        key: String,
        /// The reference at which we gave up.
        name: String,
        /// How many levels are accepted.
        depth_max: u32,
    },
    /// A value that grows without measure when its references are followed.
    #[error("`{key}` becomes longer than {bytes_max} bytes with its references")]
    ValueTooLong {
        /// The option.
        key: String,
        /// What is accepted.
        bytes_max: usize,
    },
    /// A tag that leads back to itself.
    #[error(
        "`{key}`: the tag `<{tag}>` leads back to itself or comes back more than {times_max} times"
    )]
    TagLoop {
        /// The option.
        key: String,
        /// The tag.
        tag: String,
        /// How often a tag may come back in one value.
        times_max: u32,
    },
    /// An option list such as `name[a=b]` that cannot be read.
    #[error("`{key} = {text}` cannot be read at `{found}`{}; write `name[option=value, option=\"value\"]`", at_character(*offset))]
    OptionList {
        /// The option: `filter` or `action`.
        key: &'static str,
        /// The whole text.
        text: String,
        /// Where in the brackets, in characters from 0; `None`: the brackets themselves.
        offset: Option<usize>,
        /// The option in whose value it is; `None`: where an option should begin.
        after: Option<String>,
        /// What stands there.
        found: String,
    },
    /// A file of a filter or an action that is not there.
    #[error("`{key} = {name}`: there is no {}; {}", wanted.display(), similar(candidates))]
    NoSuchFile {
        /// `filter` or `action`.
        key: &'static str,
        /// What was asked for.
        name: String,
        /// The file that would have been read.
        wanted: PathBuf,
        /// Names of files that are there and look alike.
        candidates: Vec<String>,
    },
    /// Two actions of a jail with one name.
    #[error(
        "the action `{name}` is there already; tell the two apart with `[actname=…]` or `[name=…]`"
    )]
    DuplicateAction {
        /// The name.
        name: String,
    },
    /// A folder that holds no jails at all.
    #[error("there is neither `jail.conf` nor `jail.local` nor anything in `jail.d`")]
    NoJailFile,
    /// A line above made the whole tree unsafe to run.
    #[error("the jail cannot run as meant while `{path}` line {line} cannot be read")]
    BrokenDefaults {
        /// The file with the error.
        path: String,
        /// Its line.
        line: u32,
    },
    /// A jail without a filter and without a failregex of its own.
    #[error("the jail has no filter and no `failregex`; write `filter = NAME`")]
    NoFilter,
    /// A jail that only counts.
    #[error("the jail has no action: it will ban in our books only; write `action = NAME`")]
    NoAction,
    /// A duration that cannot be read.
    #[error(
        "`{key} = {value}` is not a duration ({reason}); write seconds, or units as in `1d 12h`"
    )]
    Duration {
        /// The option.
        key: &'static str,
        /// What was written.
        value: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A number that cannot be read, or is out of bounds.
    #[error("`{key} = {value}` is not a number from {min} to {max}")]
    Number {
        /// The option.
        key: &'static str,
        /// What was written.
        value: String,
        /// The least that is accepted.
        min: i64,
        /// The most that is accepted.
        max: i64,
    },
    /// An expression that cannot be read.
    #[error("`{key} = {value}` cannot be computed: {reason}")]
    Expression {
        /// The option.
        key: &'static str,
        /// What was written.
        value: String,
        /// What is wrong, and what would be accepted.
        reason: String,
    },
    /// A quote that is never closed.
    #[error("`{key} = {value}`: a quote is never closed")]
    OpenQuote {
        /// The option.
        key: &'static str,
        /// What was written.
        value: String,
    },
    /// More of something than we take.
    #[error("more than {max} {what}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many are accepted.
        max: usize,
    },
}

fn at_character(offset: Option<usize>) -> String {
    offset.map_or_else(String::new, |offset| {
        format!(" (character {offset} in the brackets)")
    })
}

fn similar(candidates: &[String]) -> String {
    meant(candidates, "write the name of one that is there")
}

/// What was meant, or else what to do.
fn meant(candidates: &[String], otherwise: &str) -> String {
    match candidates {
        [] => otherwise.to_owned(),
        _ => format!("did you mean `{}`?", candidates.join("` or `")),
    }
}

/// Where a value was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The file.
    pub path: Arc<Path>,
    /// The line in it, counted from 1; 0 if the value is ours, not a file's.
    pub line: u32,
}

impl Origin {
    /// An error at this place.
    pub fn error(&self, kind: ConfigErrorKind) -> ConfigError {
        ConfigError::new(&self.path, self.line, kind)
    }
}
