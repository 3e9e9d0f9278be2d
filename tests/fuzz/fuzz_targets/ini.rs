//! Whatever strangers write into a tree: reading it ends, and without a panic.
//!
//! The input is cut at each byte 1 into the files of a tree, whose one jail is enabled
//! and uses the filter and the action among them; the last piece is read as a duration
//! and as a formula too.

#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use ringfence::config::fail2ban::{Formula, Root, Roots, load, timespan};

const NAMES: [&str; 6] = [
    "jail.local",
    "filter.d/f.conf",
    "filter.d/f.local",
    "filter.d/common.conf",
    "action.d/a.conf",
    "fail2ban.conf",
];

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let mut files = BTreeMap::new();
    let jail = "[a]\nenabled = 1\nfilter = f\naction = a\n";
    files.insert("jail.conf".to_owned(), jail.to_owned());
    for (name, piece) in NAMES.into_iter().zip(text.split('\u{1}')) {
        files.insert(name.to_owned(), piece.to_owned());
    }
    let loaded = load(&Roots(vec![Root::Texts(files)]));
    for error in &loaded.errors {
        assert!(!error.to_string().is_empty());
    }
    let last = text.rsplit('\u{1}').next().unwrap_or_default();
    let _ = timespan::duration(last);
    if let Ok(formula) = Formula::parse(last) {
        let _ = formula.eval(600.0, 3, 1.0, &mut || 0.5);
    }
});
