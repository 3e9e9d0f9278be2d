//! Why somebody is banned, in one phrase for all verbs.

use super::printable;
use crate::count::counted;
use crate::ticket::Reason;

/// What the word of a ban's reason means, with the number of its tries.
pub(super) fn reason(word: &str, tries: u32) -> String {
    match Reason::from_word(word) {
        Some(Reason::MaxRetry) => counted(tries, "failed try"),
        Some(Reason::Listed) => format!("APIBAN lists it; {} here", counted(tries, "failed try")),
        Some(Reason::Operator) => "an operator banned it by hand".to_owned(),
        Some(Reason::Hints) => {
            let tries = counted(tries, "try");
            format!("{tries} that one forged packet could cause each, so it is a short ban")
        }
        Some(Reason::Scan) => {
            let times = counted(tries, "time");
            format!("asked to log in {times} and never did; a short ban")
        }
        Some(Reason::Throttled) => {
            let tries = counted(tries, "failed try");
            format!("known-good or called by us, and {tries}: its signalling is held back")
        }
        Some(Reason::Crowd) => format!("{tries} hosts of this network were banned"),
        // A daemon of another version.
        None => format!("{} ({})", printable(word), counted(tries, "try")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_told_in_words() {
        for (word, phrase) in [
            ("maxretry", "5 failed tries"),
            ("apiban", "APIBAN lists it; 5 failed tries here"),
            ("operator", "an operator banned it by hand"),
            (
                "hints",
                "5 tries that one forged packet could cause each, so it is a short ban",
            ),
            ("scan", "asked to log in 5 times and never did; a short ban"),
            (
                "throttled",
                "known-good or called by us, and 5 failed tries: its signalling is held back",
            ),
            ("aggregate", "5 hosts of this network were banned"),
            ("\u{1b}new", "\\u{1b}new (5 tries)"),
        ] {
            assert_eq!(reason(word, 5), phrase);
        }
    }
}
