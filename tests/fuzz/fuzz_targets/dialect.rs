//! Any text as a pattern, any text to search.
//!
//! What strangers can choose is the log line; what a careless administrator can
//! choose is the pattern. Neither may panic, hang or eat memory, and a match must
//! lie on character borders and contain one of the literals that the gate asks for.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringfence::filter::dialect::{parse, widen};
use ringfence::filter::literals::{Cut, required};
use ringfence::filter::pattern::{Pattern, expand};

fuzz_target!(|input: (&str, &str, bool)| {
    let (written, text, multiline) = input;
    let pattern = expand(written, multiline);
    let Ok(compiled) = Pattern::compile(&pattern, multiline) else {
        return;
    };
    let tree = parse(&pattern, multiline).expect("compiled before");
    assert!(widen(&tree).root.is_regular());
    let Ok(Some(found)) = compiled.find(text) else {
        return;
    };
    let matched = text.get(found.span()).expect("on character borders");
    assert!(
        found
            .groups()
            .all(|(name, group)| found.get(name) == Some(group))
    );
    let folded = matched.to_ascii_lowercase();
    if let Some(literals) = required(&tree, Cut::Nothing) {
        assert!(literals.iter().any(|literal| {
            let subject = if literal.fold { &folded } else { matched };
            let mut places = subject.as_bytes().windows(literal.bytes.len());
            places.any(|place| place == literal.bytes)
        }));
    }
});
