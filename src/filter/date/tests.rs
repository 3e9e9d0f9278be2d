//! What a person sees of a date: where it was cut out, and when it was.

use jiff::tz::TimeZone;

use super::*;
use crate::time::Time;

/// 2026-11-22T08:00:00Z.
const NOW: Time = Time::from_secs(1_795_334_400);

fn detector(pattern: Option<&str>) -> Detector {
    Detector::new(pattern, Years::at(NOW)).expect("a datepattern")
}

/// The date in UTC, and what is left of the line.
fn read(detector: &mut Detector, line: &str) -> String {
    let Some(found) = detector.find(line) else {
        return format!("no date|{line}");
    };
    let left = format!(
        "{}{}",
        line.get(..found.span.start).unwrap(),
        line.get(found.span.end..).unwrap()
    );
    match found.stamp.time(NOW, &TimeZone::UTC) {
        Some(time) => format!("{time}|{left}"),
        None => format!("no such time|{left}"),
    }
}

#[test]
fn default_layouts() {
    for (line, shown) in [
        ("[Nov 22 07:50:06] NOTICE", "2026-11-22T07:50:06Z|[] NOTICE"),
        (
            "2026-11-22T07:06:05.123456+02:00 sip1",
            "2026-11-22T05:06:05Z| sip1",
        ),
        ("Dec 31 23:59:59 x", "2025-12-31T23:59:59Z| x"),
        ("Nov 23 07:59:59 x", "2026-11-23T07:59:59Z| x"),
        ("Feb 29 07:00:00 x", "no such time| x"),
        ("Nov 22 07:49:60 x", "no such time| x"),
        ("22/Nov/2026:07:50:06 +0200 x", "2026-11-22T05:50:06Z| x"),
        (
            "x - - [22/Nov/2026:07:50:06 +0200] \"GET",
            "2026-11-22T05:50:06Z|x - - [] \"GET",
        ),
        ("11/22/2026:07:50:06 x", "2026-11-22T07:50:06Z| x"),
        ("22/11/26 07:50:06 x", "2026-11-22T07:50:06Z| x"),
        ("11-22-2026 7:50:06.5 x", "2026-11-22T07:50:06Z| x"),
        (
            "type=X msg=audit(1795333806.123:45): x",
            "2026-11-22T07:50:06Z|type=X msg=audit(:45): x",
        ),
        ("07:50:06 x", "2026-11-22T07:50:06Z| x"),
        ("08:50:06 x", "2026-11-21T08:50:06Z| x"),
        ("<11/22/26@07:50:06> x", "2026-11-22T07:50:06Z| x"),
        ("261122  7:50:06 x", "2026-11-22T07:50:06Z| x"),
        ("Nov 22, 2026 12:50:06 AM x", "2026-11-22T00:50:06Z| x"),
        ("Nov-22-26 07:50:06 x", "2026-11-22T07:50:06Z| x"),
        ("20261122T075006Z x", "2026-11-22T07:50:06Z| x"),
        ("20261122-07:50:06 x", "2026-11-22T07:50:06Z| x"),
        ("20261122-07:5006 x", "2026-11-22T07:50:06Z| x"),
        ("CET Nov 22 07:50:06 x", "2026-11-22T06:50:06Z| x"),
        ("+0100 Nov 22 07:50:06 x", "2026-11-22T06:50:06Z| x"),
        ("sip1 Nov 22 07:50:06 x", "2026-11-22T07:50:06Z|sip1  x"),
        ("host Nov 22 07:50:06 x", "no such time| x"), // a zone, it seems
        ("@400000006a12c100abcdef01 x", "2026-05-24T09:12:32Z| x"),
        ("no date: at all", "no date|no date: at all"),
        ("", "no date|"),
        ("é 2026-11-22 07:50:06 ü", "2026-11-22T07:50:06Z|é  ü"),
        ("٢٠٢٦-11-22 07:50:06 x", "no date|٢٠٢٦-11-22 07:50:06 x"), // 20 is asked for
        ("20٢6-11-22 07:50:06 x", "no date|20٢6-11-22 07:50:06 x"),
        ("202٦-11-2٢ ٧:5٠:0٦.1٢ x", "2026-11-22T07:50:06Z|.1٢ x"),
        ("١٧٩٥٣٣٣٨٠٦ x", "2026-11-22T07:50:06Z| x"),
        (
            "Nov 22 07:50:06 2026\u{85}x",
            "2026-11-22T07:50:06Z|\u{85}x",
        ),
        ("Nov 22 07:50:06 2030 x", "2026-11-22T07:50:06Z| 2030 x"),
        ("2030-11-22 07:50:06 x", "no date|2030-11-22 07:50:06 x"),
    ] {
        let mut detector = detector(None);
        assert_eq!(read(&mut detector, line), shown, "{line}");
    }
}

#[test]
fn datepatterns() {
    for (pattern, line, shown) in [
        ("%d.%m.%Y", "x 21.11.2026 y", "2026-11-21T00:00:00Z|x  y"),
        ("%d.%m.%Y", "x21.11.2026", "no date|x21.11.2026"),
        ("**%d.%m.%Y", "x21.11.2026", "2026-11-21T00:00:00Z|x"),
        ("{UNB}%d.%m.%Y", "x21.11.2026y", "2026-11-21T00:00:00Z|xy"),
        ("^%Y", "2025 x", "2025-11-22T00:00:00Z| x"),
        ("{^LN-BEG}%Y", "[2025] x", "2025-11-22T00:00:00Z|[] x"),
        ("{^LN-BEG}%Y", "[[[2025]", "no date|[[[2025]"),
        (
            "^x (%Y)-%m-%d",
            "x 2026-11-21 y",
            "2026-11-21T00:00:00Z|x -11-21 y",
        ), // group 1 is cut
        ("%Y-%m-%d()", "2026-11-21", "2026-11-21T00:00:00Z|-11-21"), // a token's, if it is the first
        ("()%Y-%m-%d", "2026-11-21", "no date|2026-11-21"),
        ("^%b %d, %I:%M%p", "nov 22, 1:30am", "2026-11-22T01:30:00Z|"), // names: case is of no account
        ("t%H", "T07", "no date|T07"),
        ("%Y %j", "2026 060", "2026-03-01T00:00:00Z|"),
        ("%Y %U %w", "2025 10 3", "2025-03-12T00:00:00Z|"),
        ("%Y %W %a", "2025 00 sun", "2025-01-05T00:00:00Z|"),
        ("%Y-%m", "2025-03", "no such time|"),
        ("%H:%M %z", "09:30 +0200", "2026-11-22T07:30:00Z|"),
        ("%H:%M %Exz", "09:30 CET+01", "2026-11-22T07:30:00Z|"),
        ("%d%% %m", "1% 11 x", "2026-11-01T00:00:00Z| x"),
        ("EPOCH", "1795333806.5x", "2026-11-22T07:50:06Z|.5x"),
        ("epoch", "[1795333806.123] x", "2026-11-22T07:50:06Z|[] x"),
        ("LEPOCH", "1795333806123456 x", "2026-11-22T07:50:06Z| x"),
        ("t={EPOCH}", "a t=1795333806 x", "2026-11-22T07:50:06Z|a  x"),
        (
            "TAI64N",
            "@400000006a12c100abcdef01 x",
            "2026-05-24T09:12:32Z| x",
        ),
        (
            "{NONE}",
            "2026-11-21 07:50:06",
            "no date|2026-11-21 07:50:06",
        ),
        ("", "2026-11-21 07:50:06", "2026-11-21T07:50:06Z|"),
        (
            "{^LN-BEG}",
            "x 2026-11-21 07:50:06",
            "no date|x 2026-11-21 07:50:06",
        ),
        (
            r"\[{DATE}\]",
            "x [Nov 21 07:50:06] y",
            "2026-11-21T07:50:06Z|x  y",
        ),
        ("^{DATE}", "1795333806 x", "2026-11-22T07:50:06Z| x"),
        ("x {DATE}", "x Epoch", "2026-11-22T00:00:00Z|"), // the word, behind other text
        ("%d/%m\n\n  %Y", "1999", "1999-11-22T00:00:00Z|"),
        (
            "{DEFAULT}\n%Y",
            "2026-11-21 07:50:06",
            "2026-11-22T00:00:00Z|-11-21 07:50:06",
        ),
    ] {
        let mut detector = detector(Some(pattern));
        assert_eq!(read(&mut detector, line), shown, "{pattern} on {line}");
    }
}

#[test]
fn datepatterns_that_are_refused() {
    for (pattern, part) in [
        (
            "%Y\n%q",
            "datepattern `%q`: `%q` is not known; after a percent sign %Y",
        ),
        ("50%", "`%` is not known"),
        (
            "(%Y",
            "datepattern `(%Y`, with its tokens written out: this `(` is never closed",
        ),
        ("%Y %ExY", "the group name `Y` is taken"),
        ("{DATE} {DATE}", "is taken"),
    ] {
        let error = Detector::new(Some(pattern), Years::at(NOW))
            .unwrap_err()
            .to_string();
        assert!(error.contains(part), "{pattern}: {error}");
    }
    let many: Vec<String> = (0..=TEMPLATES_MAX).map(|n| format!("{n} %Y")).collect();
    let error = Detector::new(Some(&many.join("\n")), Years::at(NOW)).unwrap_err();
    assert!(matches!(error, DatePatternError::TooMany { .. }), "{error}");
}

/// What is read by hand must be what the templates give.
#[test]
fn by_hand_or_not() {
    for line in [
        "2026-11-22 07:50:06 x",
        "[2026/11/22T07:50:06.5+02:00] x",
        "2026.11.22  07:50:06,123   -0130x",
        "2026-11-22 07:50:06 GMTx",
        "2026-11-22 07:50:06 Z",
        "2026-11-22 07:50:06.1234567",
        "2026-11-22 07:50:06é",
        "Nov 22 07:50:06 2026 x",
        "--Sun Nov  2 07:50:06.5 20267",
        "sun nov 22 07:50:06 host",
        "Nov 22 07:50:061",
        "Nov 22 27:50:06",
        "\u{a0}2026-11-22 07:50:06\u{a0}Z",
        "Nov 22 07:50:06 2026\u{85}",
        "Nov 22 07:50:06 202٦",
        "Nov 22 07:50:06.٣",
        "2026-11-22 07:50:06 Z\u{a0}",
        "2026-11-22 07:50:06+02\u{a0}",
        "2026-11-22 07:50:06+02:٣0",
        "2031-11-22 07:50:06",
    ] {
        let mut detector = detector(None);
        let by_hand = detector.find(line);
        let mut detector = self::detector(None);
        detector.by_hand = false;
        assert_eq!(by_hand, detector.find(line), "{line}");
    }
}
