//! Our filters over the sample lines of fail2ban's own tests, which must be installed:
//! whatever its filters for these servers are expected to match, ours match too, and
//! blame the same address.
//!
//! The samples are read where the package has put them, and nothing of them is kept here.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use expect_test::{Expect, expect};
use jiff::tz::TimeZone;
use ringfence::config;
use ringfence::filter::Filter;
use ringfence::filter::lines::{Attached, Found, Lineup, Mode};
use ringfence::ticket::Sight;
use ringfence::time::Time;

const SAMPLES: &str = "/usr/lib/python3/dist-packages/fail2ban/tests/files/logs";
const NOW: Time = Time::from_secs(1_796_000_000);

/// A sample, and what fail2ban expects of its filter.
struct Sample {
    line: String,
    /// Whom it blames; `None` if it must not match.
    host: Option<String>,
    /// Is it an entry of the journal, so that nothing cuts its date out?
    journal: bool,
}

fn samples(name: &str) -> Vec<Sample> {
    let path = Path::new(SAMPLES).join(name);
    let text = fs::read_to_string(path).expect("fail2ban must be installed: apt install fail2ban");
    let mut samples = Vec::new();
    let (mut expected, mut prefix) = (None, None);
    for line in text.lines() {
        if let Some(options) = line.strip_prefix("# filterOptions: ") {
            let options: serde_json::Value = serde_json::from_str(options).expect("JSON");
            let journal = options[0]["logtype"] == "journal";
            let head = options[0]["test.prefix-line"].as_str().unwrap_or_default();
            prefix = journal.then(|| head.to_owned());
        } else if let Some(json) = line.strip_prefix("# failJSON: ") {
            expected = serde_json::from_str::<serde_json::Value>(json).ok();
        } else if let Some(expected) = expected.take() {
            let host = expected["host"].as_str().map(str::to_owned);
            samples.push(Sample {
                line: format!("{}{line}", prefix.as_deref().unwrap_or_default()),
                host: host.filter(|_| expected["match"] == true),
                journal: prefix.is_some(),
            });
        }
    }
    samples
}

/// What our filter makes of a sample: whom it sees, and as what.
fn seen(filter: &Arc<Filter>, sample: &Sample) -> Option<(String, &'static str)> {
    let attached = Attached {
        zone: None,
        jail: "jail".into(),
        filter: Arc::clone(filter),
        findtime: Duration::from_secs(600),
    };
    let mut lineup = Lineup::new(vec![attached], 0, TimeZone::UTC, NOW);
    let mut seen = None;
    let each = |found| {
        seen = Some(match found {
            Found::Failure(failure) => (failure.addr.to_string(), "failed"),
            Found::Sighting(sighting) => match sighting.sight {
                Sight::Challenge => (sighting.addr.to_string(), "challenged"),
                Sight::Success => (sighting.addr.to_string(), "succeeded"),
            },
            Found::Named(named) => panic!("our filters do not look up {}", named.name),
        });
    };
    match sample.journal {
        true => lineup.journal(&sample.line, NOW, Mode::Live, NOW, each),
        false => lineup.block(
            format!("{}\n", sample.line).as_bytes(),
            Mode::Replay,
            NOW,
            each,
        ),
    }
    seen
}

fn check(name: &str, expected: Expect) {
    let (mut failed, mut challenged, mut nobody) = (0, 0, 0);
    let filter = config::filter(Path::new("/nonexistent"), name).expect("our filter");
    let filter = Arc::new(filter);
    for sample in samples(name) {
        let seen = seen(&filter, &sample);
        let whom = seen.as_ref().map(|(host, _)| host.clone());
        assert_eq!(whom, sample.host, "{}", sample.line);
        match seen {
            Some((_, "challenged")) => challenged += 1,
            Some((_, what)) => {
                assert_eq!(what, "failed", "{}", sample.line);
                failed += 1;
            }
            None => nobody += 1,
        }
    }
    expected.assert_eq(&format!(
        "{failed} failed, {challenged} challenged, {nobody} nobody"
    ));
}

#[test]
fn asterisk() {
    check("asterisk", expect!["46 failed, 0 challenged, 0 nobody"]);
}

/// fail2ban counts a challenge as a failure unless told otherwise; every honest phone is
/// challenged first, so we do not.
#[test]
fn freeswitch() {
    check("freeswitch", expect!["7 failed, 1 challenged, 1 nobody"]);
}
