//! What is tested: the filter that REGEX and IGNOREREGEX mean, and what is said of it.
//!
//! REGEX is a filter's name, perhaps with options, if the configuration has a filter of
//! that name; a file, if it has a slash and there is such a file; else a regex.
//! IGNOREREGEX is a regex, always.

use std::path::{Path, PathBuf};

use super::arguments::Arguments;
use super::python::repr;
use crate::config::{self, fail2ban};
use crate::filter::date::{self, Detector, Years};
use crate::filter::pattern::{PatternError, expand};
use crate::filter::{Filter, FilterError, FilterText, Names};
use crate::time::Time;

/// Where fail2ban has its configuration.
const FAIL2BAN_DIR: &str = "/etc/fail2ban";

/// A text that is longer is cut where it is only mentioned.
const MENTION_CHARS_MAX: usize = 53;
const MENTION_CHARS: usize = 50;

/// Where filters are looked for by their names, unless `--config` says it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Home<'a> {
    /// Where fail2ban looks.
    Fail2ban,
    /// Ours that are built in, this folder over them, and then fail2ban's.
    Ours(&'a Path),
}

/// A filter under test.
#[derive(Debug)]
pub(super) struct Subject {
    pub(super) text: FilterText,
    pub(super) filter: Filter,
}

/// A filter by name.
struct Named {
    /// What is read: a name or a path, with its options.
    entry: String,
    /// The tree that it is in; none for ours.
    tree: Option<PathBuf>,
    is_file: bool,
    mention: String,
    options: Vec<(String, String)>,
}

impl Subject {
    /// Understands what the arguments say; `say` is told what is used, a line or more at a
    /// time. An error is a sentence.
    pub(super) fn read(
        arguments: &Arguments,
        home: Home<'_>,
        say: &mut dyn FnMut(&str),
    ) -> Result<Subject, String> {
        if arguments.maxlines < 0 {
            return Err("maxlines must be integer greater than zero".to_owned());
        }
        if arguments.maxlines > 0 {
            say(&format!("Use         maxlines : {}\n", arguments.maxlines));
        }
        if let Some(pattern) = &arguments.datepattern {
            Detector::new(Some(pattern), Years::at(Time::now()))
                .map_err(|error| format!("Failed to set datepattern {}: {error}", repr(pattern)))?;
            say(&mention_dates(pattern));
        }
        let mut text = match named(&arguments.regex, arguments.config.as_deref(), home) {
            Some(named) => named.load(arguments, home, say)?,
            None => {
                say(&format!(
                    "Use   failregex line : {}\n",
                    short(&arguments.regex)
                ));
                FilterText {
                    failregex: vec![arguments.regex.clone()],
                    ..FilterText::default()
                }
            }
        };
        text.names = names(arguments.usedns.as_deref(), text.names)?;
        if arguments.maxlines > 0 {
            text.maxlines = u32::try_from(arguments.maxlines).unwrap_or(u32::MAX);
        }
        if arguments.datepattern.is_some() {
            text.datepattern.clone_from(&arguments.datepattern);
        }
        let mut filter = compile(&text)?;
        if let Some(regex) = &arguments.ignoreregex {
            say(&format!("Use ignoreregex line : {}\n", short(regex)));
            text.ignoreregex.push(regex.clone());
            filter = compile(&text)?;
        }
        Ok(Subject { text, filter })
    }
}

impl Named {
    fn load(
        &self,
        arguments: &Arguments,
        home: Home<'_>,
        say: &mut dyn FnMut(&str),
    ) -> Result<FilterText, String> {
        say(&self.mention);
        if !self.options.is_empty() {
            let options = self.options.iter();
            let options: Vec<String> = options
                .map(|(name, value)| format!("{}: {}", repr(name), repr(value)))
                .collect();
            say(&format!(
                "Use   filter options : {{{}}}\n",
                options.join(", ")
            ));
        }
        let folder = match home {
            Home::Ours(folder) => folder,
            Home::Fail2ban => Path::new(FAIL2BAN_DIR),
        };
        let loaded = config::tested(folder, self.tree.as_deref(), &self.entry, self.is_file);
        let (text, set) = loaded
            .map_err(|error| format!("failed to load filter {}: {error}", arguments.regex))?;
        let sets = |name: &str| set.iter().any(|own| own == name);
        if sets("maxlines") && arguments.maxlines == 0 {
            say(&format!("Use         maxlines : {}\n", text.maxlines));
        }
        if let Some(pattern) = text.datepattern.as_deref()
            && arguments.datepattern.is_none()
        {
            say(&mention_dates(pattern));
        }
        Ok(text)
    }
}

/// Is REGEX a filter or a file?
fn named(regex: &str, config: Option<&Path>, home: Home<'_>) -> Option<Named> {
    let (name, options) = fail2ban::split_entry(regex)?;
    let bracket = || regex.find('[').and_then(|at| regex.get(at..));
    let behind = if options.is_empty() { "" } else { bracket()? };
    if name.contains('/') {
        return file(Path::new(&name), behind, options);
    }
    let stem = Path::new(&name).file_stem()?.to_string_lossy().into_owned();
    let is_stem = !name.contains('.') || name.ends_with(".conf") || name.ends_with(".local");
    let trees: Vec<PathBuf> = match (config, home) {
        (Some(tree), _) => vec![tree.to_owned()],
        (None, Home::Fail2ban) => vec![PathBuf::from(FAIL2BAN_DIR)],
        (None, Home::Ours(folder)) => vec![folder.to_owned(), PathBuf::from(FAIL2BAN_DIR)],
    };
    let has = |tree: &PathBuf| {
        let folder = tree.join("filter.d");
        let ends = ["", ".conf", ".local"].map(|end| folder.join(format!("{name}{end}")));
        ends.iter().any(|file| file.is_file())
    };
    let ours = config.is_none() && matches!(home, Home::Ours(_));
    let built_in = ours && is_stem && config::has_filter(&stem);
    let place = trees.iter().position(has);
    let (tree, shown) = match place {
        // Those of our folder are read together with those that are built in.
        Some(0) if ours => (None, trees.first()?.display().to_string()),
        _ if built_in => (None, "built-in".to_owned()),
        Some(place) => {
            let tree = trees.get(place)?;
            (Some(tree.clone()), tree.display().to_string())
        }
        None => return None,
    };
    Some(Named {
        entry: format!("{stem}{behind}"),
        tree,
        is_file: false,
        mention: format!("Use   failregex filter file : {stem}, basedir: {shown}\n"),
        options,
    })
}

/// A file: in a folder `filter.d` it is a filter of that tree.
fn file(path: &Path, behind: &str, options: Vec<(String, String)>) -> Option<Named> {
    if !path.is_file() {
        return None;
    }
    let folder = path.parent()?;
    if folder.file_name().is_some_and(|name| name == "filter.d") {
        let tree = folder.parent()?;
        let stem = path.file_stem()?.to_string_lossy();
        return Some(Named {
            entry: format!("{stem}{behind}"),
            tree: Some(tree.to_owned()),
            is_file: false,
            mention: format!(
                "Use   failregex filter file : {stem}, basedir: {}\n",
                tree.display()
            ),
            options,
        });
    }
    // A path that stands by itself is looked for where we are, not in a tree.
    let whole = std::path::absolute(path).ok()?;
    Some(Named {
        entry: format!("{}{behind}", whole.display()),
        tree: Some(folder.to_owned()),
        is_file: true,
        mention: format!("Use   failregex file : {}\n", path.display()),
        options,
    })
}

fn names(usedns: Option<&str>, otherwise: Names) -> Result<Names, String> {
    match usedns.map(str::to_lowercase).as_deref() {
        None => Ok(otherwise),
        Some("yes" | "warn") => Ok(Names::Lookup),
        Some("no") => Ok(Names::No),
        Some("raw") => Ok(Names::Raw),
        Some(_) => Err(format!(
            "--usedns: {}: write yes, warn, no or raw",
            repr(usedns.unwrap_or_default())
        )),
    }
}

/// Compiles a filter; an error is told in fail2ban's words as far as it has some.
fn compile(text: &FilterText) -> Result<Filter, String> {
    let written = |option: &str| {
        let (name, number) = option.split_once(' ').unwrap_or((option, "1"));
        let place = number.parse::<usize>().unwrap_or(1).saturating_sub(1);
        let regex = match name {
            "prefregex" => text.prefregex.as_ref(),
            "ignoreregex" => text.ignoreregex.get(place),
            _ => text.failregex.get(place),
        };
        let regex = regex.map_or("", String::as_str);
        expand(regex, text.names != Names::No)
    };
    Filter::compile(text).map_err(|error| match &error {
        FilterError::Pattern {
            error: PatternError::Empty,
            ..
        } => "Cannot add empty regex".to_owned(),
        FilterError::Pattern { option, error } => format!(
            "Unable to compile regular expression '{}':\n{error}",
            written(option)
        ),
        FilterError::NoAddress { option } => {
            format!("No failure-id group in '{}'", written(option))
        }
        _ => error.to_string(),
    })
}

fn mention_dates(pattern: &str) -> String {
    let title = date::tally::title(pattern);
    format!("Use      datepattern : {pattern} : {title}\n")
}

/// A text as it is mentioned.
pub(super) fn short(text: &str) -> String {
    match text.chars().count() {
        0..=MENTION_CHARS_MAX => text.to_owned(),
        _ => text
            .chars()
            .take(MENTION_CHARS)
            .chain("...".chars())
            .collect(),
    }
}
