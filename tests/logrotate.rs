//! The real `logrotate` against the log reader, for some seconds each way.
//! `tests/lab/logrotate.rs` does the same for longer.

#[path = "common/rotation.rs"]
mod rotation;

use std::time::Duration;

use rotation::{Load, Outcome, Way};

/// Two rotations while a busy server writes.
const LOAD: Load = Load {
    span: Duration::from_secs(5),
    lines_per_second: 20_000,
    rotate_every: Duration::from_secs(2),
};

fn nothing_is_lost(way: Way) {
    let folder = tempfile::tempdir().unwrap();
    let outcome = rotation::run(folder.path(), way, LOAD);
    let Outcome {
        lost, twice, split, ..
    } = outcome;
    assert!(outcome.rotations > 0);
    assert_eq!((lost, twice, split), (0, 0, 0), "{}: {outcome}", way.name());
}

#[test]
fn renamed_and_created() {
    nothing_is_lost(Way::Create);
}

#[test]
fn copied_and_truncated() {
    nothing_is_lost(Way::CopyTruncate);
}

#[test]
fn renamed_to_a_date() {
    nothing_is_lost(Way::DateExt);
}

#[test]
fn compressed_at_once() {
    nothing_is_lost(Way::Compress);
}
