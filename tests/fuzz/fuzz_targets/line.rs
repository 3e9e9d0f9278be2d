//! Any bytes as the lines of a log, for a fixed set of filters.
//!
//! The first byte chooses the filter: ours, and small ones with a prefregex, several
//! lines, connections, tuples, look-around, each kind of date and of host. What holds:
//!
//! - The gate changes nothing, nor does it matter in which blocks the lines come.
//! - Text that is blamed stands in the lines: an address at most cut in two by the
//!   date that was taken out of it, and if it is one, it is the one that is blamed.
#![no_main]

use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use jiff::tz::TimeZone;
use libfuzzer_sys::fuzz_target;
use ringfence::addr::Addr;
use ringfence::config;
use ringfence::filter::date::{Detector, Years};
use ringfence::filter::follow::Ask;
use ringfence::filter::lines::{Attached, Lineup, Mode, Reading};
use ringfence::filter::matched::{Host, Match};
use ringfence::filter::{Filter, FilterText, Names};
use ringfence::time::Time;

/// 2026-11-22 07:00:00 UTC.
const NOW: f64 = 1_795_330_800.0;

/// Where our own filter for Asterisk stands among these.
const ASTERISK: usize = 0;

static FILTERS: LazyLock<Vec<Arc<Filter>>> = LazyLock::new(|| {
    let mut filters = Vec::new();
    for name in ["asterisk", "freeswitch", "kamailio"] {
        let filter = config::filter(Path::new("/nonexistent"), name);
        filters.push(Arc::new(filter.expect("our own filter")));
    }
    for text in texts() {
        filters.push(Arc::new(Filter::compile(&text).expect("a good filter")));
    }
    filters
});

/// What detectors share lives as long as one of them does.
static KEPT: LazyLock<[Option<Detector>; 3]> = LazyLock::new(|| {
    let kept = [None, Some("{DEFAULT}"), Some(DATES)];
    kept.map(|pattern| Detector::new(pattern, Years::at(Time::from_secs_f64(NOW))).ok())
});

/// The patterns of dates of one of the filters.
const DATES: &str = "^%Y-%m-%d %H:%M:%S\n^{EPOCH}";

/// A filter of these failregexes, and how it differs from the plainest.
fn text(failregex: &[&str], change: impl FnOnce(&mut FilterText)) -> FilterText {
    let mut text = FilterText {
        failregex: failregex.iter().map(|regex| (*regex).to_owned()).collect(),
        datepattern: Some("{NONE}".to_owned()),
        ..FilterText::default()
    };
    change(&mut text);
    text
}

fn texts() -> Vec<FilterText> {
    vec![
        text(&["^bad <HOST>$", "worse <SUBNET>"], |_| {}),
        text(&["^bad <HOST>$"], |text| text.names = Names::Raw),
        text(&["^\\s*bad <ADDR>$"], |text| text.datepattern = None),
        text(&["^\\s*bad <ADDR>$"], |text| {
            text.datepattern = Some(DATES.to_owned());
        }),
        text(
            &["^login .* from <HOST>$", "^no (\\w+) \\1 <HOST>"],
            |text| {
                text.prefregex = Some("^pbx: <F-CONTENT>.+</F-CONTENT>$".to_owned());
                text.ignoreregex = vec!["for nobody".to_owned()];
            },
        ),
        text(&["^a <ADDR>$<SKIPLINES>^b$", "^c$\\n^d <HOST>$"], |text| {
            text.maxlines = 4;
        }),
        text(
            &[
                "^<F-NOFAIL>from</F-NOFAIL> <HOST>$",
                "^bad <F-USER>\\S+</F-USER>(?: <F-ALT_USER>\\S*</F-ALT_USER>)?$",
                "^<F-MLFFORGET><F-MLFGAINED>good</F-MLFGAINED></F-MLFFORGET>",
                "^<F-MLFFORGET>bye</F-MLFFORGET> <F-TUPLE_USER>\\w+</F-TUPLE_USER>",
            ],
            |text| {
                let prefregex = "^<F-MLFID>\\w+\\[\\d+\\]</F-MLFID>: <F-CONTENT>.+</F-CONTENT>$";
                text.prefregex = Some(prefregex.to_owned());
            },
        ),
        text(&["(?i)(?<!not )bad(?! ok).*?(?:id <F-ID/>|<HOST>)"], |_| {}),
    ]
}

fuzz_target!(|input: &[u8]| {
    let Some((first, bytes)) = input.split_first() else {
        return;
    };
    LazyLock::force(&KEPT);
    let place = usize::from(*first) % FILTERS.len();
    let filter = &FILTERS[place];
    let mut bytes = bytes.to_vec();
    bytes.push(b'\n');
    let whole = vec![bytes.as_slice()];
    let lines: Vec<&[u8]> = bytes.split_inclusive(|byte| *byte == b'\n').collect();
    let found = matches(filter, &whole, false);
    assert_eq!(found, matches(filter, &whole, true), "without the gate");
    // What a line of Asterisk's is worth hangs on the lines around it, if they are there yet.
    if place != ASTERISK {
        assert_eq!(found, matches(filter, &lines, false), "line by line");
    }
    let text = String::from_utf8_lossy(&bytes);
    found.iter().for_each(|found| examine(found, &text));
});

fn matches(filter: &Arc<Filter>, blocks: &[&[u8]], open: bool) -> Vec<Match> {
    let attached = Attached {
        zone: None,
        jail: "fuzz".into(),
        filter: Arc::clone(filter),
        findtime: Duration::from_secs(600),
    };
    let mut lineup = Lineup::new(vec![attached], 0, TimeZone::UTC, Time::from_secs_f64(NOW));
    if open {
        lineup.open_gate();
    }
    let reading = Reading {
        mode: Mode::Trusting,
        now: Time::from_secs_f64(NOW),
        ask: Ask::First,
    };
    let mut all = Vec::new();
    for block in blocks {
        lineup.matches(block, reading, |_, _, found| all.push(found));
    }
    assert_eq!(
        lineup.given_up(),
        0,
        "none of the patterns needs many steps"
    );
    all
}

/// What a match blames stands in the log.
fn examine(found: &Match, log: &str) {
    let groups = &found.groups;
    for name in ["ip4", "ip6", "dns", "fid"] {
        let Some(text) = groups.full(name) else {
            continue;
        };
        assert!(stands(text, log), "{name} = {text}");
    }
    let address = groups.full("ip4").or_else(|| groups.full("ip6"));
    if let Some(Ok(ip)) = address.map(str::parse)
        && groups.full("cidr").is_none()
    {
        assert_eq!(found.host, Some(Host::Addr(Addr::host(ip))));
    }
    assert!(
        found.id.is_some() || found.host.is_some(),
        "pending matches are kept back"
    );
}

/// Does `text` stand in the log, in one piece or in two?
fn stands(text: &str, log: &str) -> bool {
    log.contains(text)
        || text.char_indices().any(|(at, _)| {
            let (head, tail) = text.split_at(at);
            log.match_indices(head)
                .any(|(place, _)| log[place + head.len()..].contains(tail))
        })
}
