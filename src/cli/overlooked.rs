//! What was overlooked in a log, for people: lines that were lost or too long (BLIND), lines
//! without a date (UNDATED), lines that senders may have written (DOUBTED), and lines that
//! nobody is blamed for since they could be about anybody (UNCLEAR) or match no pattern (NEAR
//! MISS).

use std::fmt::Write;

use crate::count::counted;
use crate::daemon::verbs::{DoubtShown, NearMissShown};
use crate::watch::LINE_BYTES_MAX;

/// Shapes of near misses that are shown of each log; `--json` has all.
const NEAR_MISSES_SHOWN: usize = 3;

/// Lines that were too long, and reports of lost messages with how many those were.
pub(super) fn blind(
    text: &mut String,
    lines_cut: u64,
    (reports, messages): (u64, u64),
) -> std::fmt::Result {
    if lines_cut > 0 {
        let lines = counted(lines_cut, "line");
        writeln!(
            text,
            "    BLIND: {lines} longer than {LINE_BYTES_MAX} bytes blamed nobody"
        )?;
    }
    if reports > 0 {
        writeln!(
            text,
            "    BLIND: at least {} lost before they came into it (told {})",
            counted(messages, "message"),
            counted(reports, "time")
        )?;
    }
    Ok(())
}

/// Lines of an old log that say not when they were written.
pub(super) fn undated(text: &mut String, lines: u64) -> std::fmt::Result {
    if lines > 0 {
        let (lines, look) = match lines {
            1 => (counted(lines, "line"), "looks like a failure and has"),
            _ => (counted(lines, "line"), "look like failures and have"),
        };
        writeln!(
            text,
            "    UNDATED: {lines} {look} no date that is known (`datepattern`), so not counted; the daemon counts such a line when it is written"
        )?;
    }
    Ok(())
}

/// Who doubts a log.
pub(super) fn doubted(text: &mut String, doubts: &[DoubtShown]) -> std::fmt::Result {
    for doubt in doubts {
        writeln!(
            text,
            "    DOUBTED by jail {}: senders can write whole lines into it; {} that may be theirs blamed nobody: {}",
            doubt.jail, doubt.disbelieved, doubt.remedy
        )?;
    }
    Ok(())
}

/// Lines of a log that blame nobody, and yet look as if they should.
pub(super) fn missed(text: &mut String, log: &str, misses: &[NearMissShown]) -> std::fmt::Result {
    let is_unclear = |miss: &&NearMissShown| miss.remedy.is_some();
    let (unclear, unknown): (Vec<_>, Vec<_>) = misses.iter().partition(is_unclear);
    for miss in unclear.into_iter().take(NEAR_MISSES_SHOWN) {
        writeln!(
            text,
            "  UNCLEAR: {} of {log} could be about anybody, so jail {} blames nobody: {}; such as {:?}",
            counted(miss.count, "line"),
            miss.jail,
            miss.remedy.as_deref().unwrap_or_default(),
            miss.sample
        )?;
    }
    for miss in unknown.into_iter().take(NEAR_MISSES_SHOWN) {
        writeln!(
            text,
            "  NEAR MISS: no pattern of jail {} matches {} of {log}, such as {:?}",
            miss.jail,
            counted(miss.count, "line"),
            miss.sample
        )?;
    }
    Ok(())
}
