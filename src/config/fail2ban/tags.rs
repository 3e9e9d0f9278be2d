//! Tags inside the values of filters and actions: `<name>` becomes what `name` says.
//!
//! A tag has no blank and no `<` inside, so in `<lt_<logtype>/__prefix_line>` the inner
//! one goes first and makes the outer one's name. A replacement's own tags are replaced
//! in turn. A tag that nobody knows stays as it is: so do `<HOST>` and `<F-USER>`, which
//! the filter's compiler replaces, and `<ip>`, which the action's command fills in.

use std::collections::{HashMap, HashSet};

use crate::config::error::{ConfigError, ConfigErrorKind};
use crate::config::ini::{Options, Value};

/// How often one tag may come back in one value, all its places being replaced each
/// time; fail2ban's limit.
const TIMES_MAX: u32 = 25;

/// How long a value may become. fail2ban's longest has 9 kB.
const VALUE_BYTES_MAX: usize = 1024 * 1024;

/// How many bytes the replacements in one value may go through, all together: tags that
/// double each other would otherwise take minutes before they are too long. Real values
/// need some hundred kilobytes.
const WORK_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Replaces the tags in all `values` by each other and by what `lookup` finds; the
/// names in `ignored` stay.
pub(super) fn expand_all(
    values: &Options,
    ignored: &HashSet<&str>,
    lookup: &dyn Fn(&str) -> Result<Option<Value>, ConfigError>,
) -> Result<Options, ConfigError> {
    let mut expanded = values.clone();
    for (key, value) in values.iter() {
        let mut expansion = Expansion {
            key,
            value,
            values,
            ignored,
            lookup,
            times: HashMap::new(),
        };
        let text = expansion.run()?;
        let origin = value.origin.clone();
        expanded.insert(key, Value { text, origin });
    }
    Ok(expanded)
}

struct Expansion<'a> {
    key: &'a str,
    value: &'a Value,
    values: &'a Options,
    ignored: &'a HashSet<&'a str>,
    lookup: &'a dyn Fn(&str) -> Result<Option<Value>, ConfigError>,
    times: HashMap<String, u32>,
}

impl Expansion<'_> {
    fn run(&mut self) -> Result<String, ConfigError> {
        let mut text = self.value.text.clone();
        let mut from = 0;
        let mut work = 0;
        while let Some((start, end)) = next_tag(&text, from) {
            let name = text.get(start + 1..end - 1).unwrap_or_default().to_owned();
            let Some(replacement) = self.replacement(&name)? else {
                from = end;
                continue;
            };
            self.count(&name, &replacement)?;
            let tag = format!("<{name}>");
            let times = text.matches(&tag).count();
            let length = text.len() + times.saturating_mul(replacement.len());
            work += length;
            if length > VALUE_BYTES_MAX || work > WORK_BYTES_MAX {
                return Err(self.too_long());
            }
            text = text.replace(&tag, &replacement);
            // The text may have made the name of a tag that began further left.
            from = text
                .get(..start)
                .and_then(|left| left.rfind('<'))
                .unwrap_or(start);
        }
        Ok(text)
    }

    fn replacement(&self, name: &str) -> Result<Option<String>, ConfigError> {
        if self.ignored.contains(name) {
            return Ok(None);
        }
        if let Some(value) = self.values.get(name) {
            return Ok(Some(value.text.clone()));
        }
        Ok((self.lookup)(name)?.map(|value| value.text))
    }

    fn count(&mut self, name: &str, replacement: &str) -> Result<(), ConfigError> {
        let times = self.times.entry(name.to_owned()).or_default();
        *times += 1;
        let itself = name == self.key || replacement.contains(&format!("<{name}>"));
        if itself || *times > TIMES_MAX {
            return Err(self.value.origin.error(ConfigErrorKind::TagLoop {
                key: self.key.to_owned(),
                tag: name.to_owned(),
                times_max: TIMES_MAX,
            }));
        }
        Ok(())
    }

    fn too_long(&self) -> ConfigError {
        self.value.origin.error(ConfigErrorKind::ValueTooLong {
            key: self.key.to_owned(),
            bytes_max: VALUE_BYTES_MAX,
        })
    }
}

/// The next `<name>` at or behind `from`: where it begins and ends.
fn next_tag(text: &str, from: usize) -> Option<(usize, usize)> {
    let mut start = None;
    for (place, c) in text.get(from..)?.char_indices() {
        match c {
            '<' => start = Some(from + place),
            '>' => match start {
                Some(start) if start + 1 < from + place => return Some((start, from + place + 1)),
                _ => start = None,
            },
            ' ' => start = None,
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::error::Origin;
    use std::path::Path;
    use std::sync::Arc;

    fn value(text: &str) -> Value {
        let path: Arc<Path> = Arc::from(Path::new("x.conf"));
        let text = text.to_owned();
        Value {
            text,
            origin: Origin { path, line: 1 },
        }
    }

    #[test]
    fn tags() {
        let mut values = Options::default();
        for (key, text) in [
            ("mode", "normal"),
            ("mre-normal", "N <HOST>"),
            ("deep", "<mre-<mode>>|<known/x>"),
            ("host", "never"),
            ("matches", "m"),
            ("self", "a <self>"),
            ("one", "<two>"),
            ("two", "<one>"),
        ] {
            values.insert(key, value(text));
        }
        let ignored = HashSet::from(["matches"]);
        let lookup = |name: &str| Ok((name == "known/x").then(|| value("K")));
        let expanded = |text: &str| {
            let mut all = values.clone();
            for key in ["self", "one", "two"] {
                let loops = all.get(key).unwrap().clone();
                if !text.contains(&format!("<{key}>")) {
                    all.insert(key, value("plain"));
                } else {
                    all.insert(key, loops);
                }
            }
            all.insert("tested", value(text));
            match expand_all(&all, &ignored, &lookup) {
                Ok(all) => all.get("tested").unwrap().text.clone(),
                Err(error) => error.to_string(),
            }
        };
        for (text, shown) in [
            ("<deep>", "N <HOST>|K"),
            ("<mode>=<mode>", "normal=normal"),
            ("<HOST> <F-USER>x</F-USER>", "<HOST> <F-USER>x</F-USER>"),
            ("<matches>", "<matches>"),
            ("< mode> <mo de> <> <<mode>>", "< mode> <mo de> <> <normal>"),
            ("a < b, <mode>", "a < b, normal"),
            (
                "<self>",
                "x.conf:1: `self`: the tag `<self>` leads back to itself or comes back more than 25 times",
            ),
        ] {
            assert_eq!(expanded(text), shown, "{text}");
        }
        assert_eq!(expanded(&"<mode>".repeat(99)), "normal".repeat(99));
    }
}
