//! What a detector's templates did, by the names that fail2ban gives them.
//!
//! `fail2ban-regex` reports the hits of each template under a name: its datepattern, with
//! every token replaced by a word (`%Y` by `Year`). Nothing of this is kept by the detector,
//! which has no use for names; they are worked out again when a report asks for them.

use std::sync::Arc;

use super::template::{LINE_BEGIN, Template};
use super::{Detector, Years, defaults, replaced, templates};

/// What the report calls a list of default templates.
const DEFAULT_TITLE: &str = "Default Detectors";

/// One template, and what it did so far.
#[derive(Clone, Debug, PartialEq)]
pub struct TemplateTally {
    /// As fail2ban names it.
    pub name: String,
    /// Its datepattern; empty for seconds since 1970 and TAI64N.
    pub pattern: String,
    /// Our regex for it.
    pub regex: String,
    /// How often it won.
    pub hits: u64,
    /// How much it counts against others: its hits, the more so the nearer to the line's
    /// beginning the last one was.
    pub weight: f64,
    /// How much one hit counts.
    pub weight_each: u32,
}

/// A template with its datepattern.
type Known = (Arc<Template>, String);

impl Detector {
    /// Its templates, in the order in which they are tried now. `datepattern` is what the
    /// detector was made of.
    pub fn tally(&self, datepattern: Option<&str>) -> Vec<TemplateTally> {
        let known = known(datepattern, self.years);
        let slots = self.slots.iter().map(|slot| {
            let mut patterns = known.iter();
            let found = patterns.find(|(template, _)| template.same(&slot.template));
            let pattern = found.map_or("", |(_, pattern)| pattern);
            let hits = slot.hits as f64 * f64::from(slot.template.weight);
            TemplateTally {
                name: name(pattern),
                pattern: match is_seconds(pattern) || word(pattern).is_some() {
                    true => String::new(),
                    false => pattern.to_owned(),
                },
                regex: slot.template.regex().to_owned(),
                hits: slot.hits,
                weight: match slot.hits {
                    0 => 0.0,
                    _ => hits / slot.distance.max(1) as f64,
                },
                weight_each: slot.template.weight,
            }
        });
        slots.collect()
    }

    /// How often any of its templates won.
    pub fn hits(&self) -> u64 {
        self.slots.iter().map(|slot| slot.hits).sum()
    }
}

/// What the report calls a datepattern as a whole: after its first line, unless there are
/// default templates in it.
pub fn title(datepattern: &str) -> String {
    let lines = datepattern.lines().map(str::trim);
    let lines = lines.filter(|line| !line.is_empty());
    let mut lines = lines.map(|line| (line, line.to_ascii_uppercase()));
    let is_default = |upper: &str| upper == LINE_BEGIN || upper.contains("{DATE}");
    if lines.clone().any(|(_, upper)| is_default(&upper)) {
        return DEFAULT_TITLE.to_owned();
    }
    match lines.find(|(_, upper)| upper != "{DEFAULT}") {
        None => DEFAULT_TITLE.to_owned(),
        Some((_, upper)) if upper == "{NONE}" => name("^"),
        Some((first, _)) => name(first),
    }
}

/// All templates that a datepattern can mean, with their patterns.
fn known(datepattern: Option<&str>, years: Years) -> Vec<Known> {
    let lines = datepattern.unwrap_or("").lines().map(str::trim);
    let mut known: Vec<Known> = lines
        .filter(|line| !line.is_empty())
        .flat_map(|line| of_line(line, years))
        .collect();
    if known.is_empty() {
        known = of_defaults(years);
    }
    known
}

fn of_line(line: &str, years: Years) -> Vec<Known> {
    let Ok((placed, _)) = templates(line, years) else {
        return Vec::new();
    };
    let upper = line.to_ascii_uppercase();
    let patterns: Vec<String> = match upper.as_str() {
        LINE_BEGIN => {
            let mut all = of_defaults(years);
            all.retain(|(template, _)| template.anchored);
            return all;
        }
        "{NONE}" => vec!["{UNB}^".to_owned()],
        _ if upper.contains("{DATE}") => {
            let texts = defaults::texts();
            texts
                .map(|text| shown(&replaced(line, &upper, text)))
                .collect()
        }
        _ => vec![line.to_owned()],
    };
    let templates = placed.into_iter().map(|(template, _)| template);
    templates.zip(patterns).collect()
}

fn of_defaults(years: Years) -> Vec<Known> {
    let templates = defaults::all(years)
        .into_iter()
        .map(|(template, _)| template);
    let patterns = defaults::patterns().map(|pattern| shown(&pattern));
    templates.zip(patterns).collect()
}

/// A default layout as fail2ban writes it down.
fn shown(pattern: &str) -> String {
    let pattern = pattern.replace("(?P<sep>", "(?P<_sep>");
    let pattern = pattern.replace("(?P=sep)", "(?P=_sep)");
    pattern.replace(" {1,2}", "  ?")
}

/// fail2ban's name for a pattern that is a word: seconds since 1970, or TAI64N.
fn word(pattern: &str) -> Option<String> {
    let bound = pattern.strip_prefix(LINE_BEGIN);
    let bound = bound.or_else(|| pattern.strip_prefix('^'));
    let name = match bound.unwrap_or(pattern).to_ascii_uppercase().as_str() {
        "EPOCH" => "Epoch",
        "LEPOCH" => "LongEpoch",
        "TAI64N" => "TAI64N",
        _ => return None,
    };
    Some(match bound {
        Some(_) => format!("{LINE_BEGIN}{name}"),
        None => name.to_owned(),
    })
}

/// Does it hold seconds since 1970 among other things?
fn is_seconds(pattern: &str) -> bool {
    let upper = pattern.to_ascii_uppercase();
    upper.contains("{EPOCH}") || upper.contains("{LEPOCH}")
}

/// A datepattern with words for its tokens.
fn name(pattern: &str) -> String {
    if let Some(name) = word(pattern) {
        return name;
    }
    let mut rest = pattern.strip_prefix("{UNB}").unwrap_or(pattern);
    let mut name = String::new();
    while let Some((before, behind)) = rest.split_once('%') {
        name.push_str(before);
        let exact = behind.strip_prefix("Ex");
        let mut chars = exact.unwrap_or(behind).chars();
        let token = chars.next();
        rest = chars.as_str();
        match (exact, token) {
            (Some(_), Some('k')) => name.push_str("%Exk"),
            (exact, Some(token)) => {
                name.push_str(if exact.is_some() { "Ex" } else { "" });
                match word_of(token) {
                    Some(word) => name.push_str(word),
                    None => name.extend(['%', token]),
                }
            }
            (_, None) => name.push('%'),
        }
    }
    name + rest
}

/// The word for a token; one that has none stays what it is.
fn word_of(token: char) -> Option<&'static str> {
    Some(match token {
        'a' => "DAY",
        'A' => "DAYNAME",
        'b' => "MON",
        'B' => "MONTH",
        'd' => "Day",
        'f' => "Microseconds",
        'H' => "24hour",
        'I' => "12hour",
        'j' => "Yearday",
        'm' => "Month",
        'M' => "Minute",
        'p' => "AMPM",
        'S' => "Second",
        'U' | 'W' => "Yearweek",
        'w' => "Weekday",
        'y' => "Year2",
        'Y' => "Year",
        'z' => "Zone offset",
        'Z' => "Zone name",
        '%' => "%",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Time;

    #[test]
    fn every_default_template_has_a_name() {
        let mut detector = Detector::new(None, Years::at(Time::from_secs(1_700_000_000))).unwrap();
        detector.find("2026-11-22 07:50:06 x").expect("a date");
        let tally = detector.tally(None);
        assert_eq!(tally.len(), 31);
        assert!(tally.iter().all(|template| !template.name.is_empty()));
        assert_eq!((tally[0].hits, tally[0].weight), (1, 100.0));
        assert!(
            tally[0]
                .name
                .starts_with("{^LN-BEG}ExYear(?P<_sep>[-/.])Month")
        );
        assert_eq!(tally[30].name, "TAI64N");
        assert_eq!(tally[30].pattern, "");
    }

    #[test]
    fn tokens_have_words() {
        for (pattern, expected) in [
            ("%Y-%m-%d %H:%M:%S", "Year-Month-Day 24hour:Minute:Second"),
            ("%ExY%Exk%Exl%k%%", "ExYear%ExkEx%l%k%"),
            ("{UNB}%b", "MON"),
            ("^EPOCH", "{^LN-BEG}Epoch"),
            ("epoch\n%Y", "Epoch"),
            ("x{DATE}", "Default Detectors"),
            ("{^LN-BEG}\n%Y", "Default Detectors"),
            ("%Y\n{^LN-BEG}", "Default Detectors"),
            ("{DEFAULT}", "Default Detectors"),
            ("%Y\n{DEFAULT}", "Year"),
            ("{NONE}", "^"),
        ] {
            assert_eq!(title(pattern), expected, "{pattern}");
        }
    }
}
