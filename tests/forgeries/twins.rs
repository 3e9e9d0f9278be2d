//! Lines that two senders can have had written, to the last byte.
//!
//! For a text of the log, is there another way to read it: as messages of the same server, in
//! which it says nothing of the true source? Then that text convicts nobody. Every line that a
//! server writes is made a pattern, in which each field that a sender controls may be all that
//! comes through there; what fits is a proof that somebody else can have it written.

use regex::Regex;

use crate::servers::{Pen, Says, Way, Written, line};

/// Stand-ins for what a line is made of. They come through every pen.
const WORDS: &str = "\u{e000}";
const IPV4: &str = "\u{e001}";
const IPV6: &str = "\u{e002}::";

/// Between the prefix and an administrator's words.
const SCRIPT: &str = "} <script>: ";

/// The messages of a server, as patterns.
pub(crate) struct Messages {
    known: Vec<(Says, Regex)>,
    /// An administrator's own, if he can have any.
    own: Option<Own>,
}

/// Messages of Kamailio's that its administrator wrote into the script.
///
/// They may be anything, with a sender's words behind his own. Only none is just what a
/// known message is, and none goes on with a sender's words right behind a whole one.
struct Own {
    /// Up to the Call-ID.
    frame: Regex,
    /// What is known, by the same place.
    known: Vec<Regex>,
    /// Known messages that end with the server's words, and the next one right behind them.
    whole: Vec<Regex>,
}

impl Messages {
    pub(crate) fn of(server: &str, all: &[Written], way: Way) -> Messages {
        let each = |call_id: &str, behind: &str| -> Vec<(&Written, Regex)> {
            let both = all.iter().flat_map(|written| {
                [IPV4, IPV6].map(|source| {
                    let message = message(server, written, source, way, call_id);
                    let regex = Regex::new(&format!("^{message}{behind}"));
                    (written, regex.expect("a pattern"))
                })
            });
            both.collect()
        };
        let of_own = || Own {
            frame: Regex::new(r"^.*?[A-Z]+: \{1 1 [A-Z]+ ").expect("a pattern"),
            known: each("[^}]*", "$")
                .into_iter()
                .map(|(_, regex)| regex)
                .collect(),
            whole: each("[^}]*", r"\} (?:<\w+>|\w+ \[)")
                .into_iter()
                .filter(|(written, _)| {
                    !written.text.ends_with('@') && !written.text.contains("ua=")
                })
                .map(|(_, regex)| regex)
                .collect(),
        };
        Messages {
            known: each(r"(?:.|\n )*", "$")
                .into_iter()
                .map(|(written, regex)| (written.says, regex))
                .collect(),
            own: (server == "kamailio").then(of_own),
        }
    }

    /// Can others have had this text written, so that it `says` nothing of `source`?
    pub(crate) fn have_twin(&self, log: &str, says: Says, source: &str) -> bool {
        let log = log.strip_suffix('\n').unwrap_or(log);
        let lines: Vec<&str> = log.split('\n').collect();
        // Does a message that says something else end before this line?
        let mut ends = vec![false; lines.len() + 1];
        ends[0] = true;
        for first in 0..lines.len() {
            if !ends[first] {
                continue;
            }
            for last in first..lines.len() {
                ends[last + 1] |= self.is_other(&lines[first..=last].join("\n"), says, source);
            }
        }
        ends[lines.len()]
    }

    /// Is this a message that does not say it?
    fn is_other(&self, text: &str, says: Says, source: &str) -> bool {
        let known = self.known.iter().any(|(own, regex)| {
            let found = regex.captures(text);
            found.is_some_and(|found| {
                let named = found.name("source").map(|named| named.as_str());
                (*own, named) != (says, Some(source))
            })
        });
        known || self.own.as_ref().is_some_and(|own| own.has(text))
    }
}

impl Own {
    /// Can this be a line of an administrator's own? The Call-ID before it ends at any brace.
    fn has(&self, text: &str) -> bool {
        let Some(frame) = self.frame.find(text) else {
            return false;
        };
        let mut owns = text
            .match_indices(SCRIPT)
            .map(|(at, _)| text.split_at(at).1);
        owns.any(|own| {
            let own = format!("{}7-1{own}", frame.as_str());
            let mut all = self.known.iter().chain(&self.whole);
            !all.any(|regex| regex.is_match(&own))
        })
    }
}

/// A message of the server's, whoever sent whatever.
fn message(server: &str, written: &Written, source: &str, way: Way, call_id: &str) -> String {
    let message = line(server, written, WORDS, source, way);
    let mut regex = regex::escape(message.trim_end());
    let most = |letters: usize| match way {
        Way::File => letters,
        Way::Syslog => 4 * letters,
    };
    let words = match written.pen {
        Pen::Folded if written.text.contains("@} ") => call_id.to_owned(),
        Pen::Folded => r"(?:.|\n )*".to_owned(),
        Pen::Raw => ".*".to_owned(),
        Pen::Quoted => r#"(?:[^"\\]|\\.)*"#.to_owned(),
        Pen::Uri => r#"[^<>\s"]*"#.to_owned(),
        Pen::Decoded(letters) if letters < 100 => format!("(?s:.{{0,{}}})", most(letters)),
        Pen::Decoded(_) | Pen::Prefixed => "(?s:.*)".to_owned(),
        Pen::Unquoted => r#"[^"]*"#.to_owned(),
        Pen::Word => "[^> ]*".to_owned(),
        Pen::Token => "[-a-zA-Z0-9.!%*_+`'~]+".to_owned(),
        Pen::Memory => r#"[^"'\s]*"#.to_owned(),
    };
    for (fixed, free) in [
        (WORDS, words.as_str()),
        (IPV4, "(?<source>[0-9.]+)"),
        (IPV6, "(?<source>[0-9a-f:]+)"),
        (r"7\-1\}", &format!(r"{call_id}\}}")),
    ] {
        regex = regex.replace(fixed, free);
    }
    // What other fields hold of the sender's, what the server writes anew each time, and what
    // is an administrator's choice. The date is not looked at.
    for (fixed, free) in [
        (r#""1001""#, r#"".*""#),
        (r"1\-9425", ".*"),
        (r"1001@192\\.0\\.2\\.10", "[^> ]*@[^> ]*"),
        ("ua=probe", "ua=.*"),
        (r" 2\\\(77\\\) ", r" ?\d+\(\d+\) "),
        (r"1 1 (?:REGISTER|INVITE|OPTIONS)", "1 1 [A-Z]+"),
        (r"(?:NOTICE|WARNING|ERROR|ALERT|INFO): \\\{", r"[A-Z]+: \{"),
        (r"\\\[\d+\\\]", r"\[\d+\]"),
        (r"C\\-0000001.", "C-[0-9a-f]{8}"),
        (r"0x7f[0-9a-f]+", "0x[0-9a-f]+"),
        ("69c49021", "[0-9a-f]+"),
        (r"\\\[Nov 22 07:51:22\\\] ", r"(?:\[[^\]]*\] ?)?"),
    ] {
        let fixed = Regex::new(fixed).expect("a pattern");
        regex = fixed
            .replace_all(&regex, regex::NoExpand(free))
            .into_owned();
    }
    regex
}
