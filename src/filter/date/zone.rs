//! Time zones, as logs and `logtimezone` name them.
//!
//! An abbreviation stands for a fixed offset, whatever the season: `CET` is one
//! hour east in July too. That is fail2ban's reading, and the only one under which
//! a stamped line means the same on every machine. `IST`, `BST` and others that
//! mean several zones are not known at all.

use jiff::tz::{Offset, TimeZone};

/// Abbreviations, in upper case, by their offset from UTC in minutes. Single
/// letters are the military zones.
const NAMES: [(i32, &str); 37] = [
    (-720, "Y"),
    (-660, "X NUT SST"),
    (-600, "W CKT HST HAST TAHT TKT"),
    (-570, "MART MIT"),
    (-540, "V AKST GAMT GIT HADT HNY"),
    (-480, "U AKDT CIST HAY HNP PST"),
    (-420, "T HAP HNR MST PDT"),
    (-360, "S CST EAST GALT HAR HNC MDT"),
    (-300, "R CDT COT EASST ECT EST HAC HNE PET"),
    (-270, "HLV VET"),
    (-240, "Q AST BOT CLT COST EDT FKT GYT HAE HNA PYT"),
    (-210, "HNT NST"),
    (
        -180,
        "P ADT ART BRT CLST FKST GFT HAA PMST PYST SRT UYT WGT",
    ),
    (-150, "HAT NDT"),
    (-120, "O BRST FNT PMDT UYST WGST"),
    (-60, "N AZOT CVT EGT"),
    (0, "Z EGST GMT UTC WET"),
    (60, "A CET DFT WAT WEDT WEST"),
    (120, "B CAT CEDT CEST EET SAST WAST"),
    (180, "C EAT EEDT EEST IDT MSK"),
    (210, "IRST"),
    (240, "D AMT AZT GET GST KUYT MSD MUT RET SAMT SCT"),
    (270, "AFT IRDT"),
    (
        300,
        "E AMST AQTT AZST HMT MAWT MVT PKT TFT TJT TMT UZT YEKT",
    ),
    (330, "SLT"),
    (345, "NPT"),
    (360, "F ALMT BIOT BTT IOT KGT NOVT OMST YEKST"),
    (390, "CCT MMT"),
    (420, "G CXT DAVT HOVT ICT KRAT NOVST OMSST THA WIB"),
    (
        480,
        "H ACT AWST BDT BNT CAST HKT IRKT KRAST MYT PHT SGT ULAT WITA WST",
    ),
    (540, "I AWDT IRKST JST KST PWT TLT WDT WIT YAKT"),
    (570, "ACST"),
    (600, "K AEST PGT VLAT YAKST YAPT"),
    (630, "ACDT LHST"),
    (660, "L AEDT LHDT MAGT NCT PONT SBT VLAST VUT"),
    (690, "NFT"),
    (
        720,
        "M ANAST ANAT FJT GILT MAGST MHT NZST PETST PETT TVT WFT",
    ),
];

/// Thirteen hours, beyond the military letters.
const NAMES_BEYOND: (i32, &str) = (780, "FJST NZDT");

/// A zone that cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is no time zone; write an offset (`+0200`, `UTC-03:30`), an abbreviation in upper case \
     (`CET`, `EST`), a place (`Europe/Berlin`) or a rule (`CET-01CEST-02,M3.5.0,M10.5.0`)"
)]
pub struct ZoneError {
    /// What was written.
    pub text: String,
}

/// The zone that `logtimezone` names.
///
/// `UTC+0200`, `+02:00`, `-04` and abbreviations are fail2ban's, and fixed offsets.
/// Places of the system's zone database and POSIX rules are ours, and know summer
/// time. `UTC+2` is refused: a POSIX rule would mean two hours *west* by it.
pub fn zone(text: &str) -> Result<TimeZone, ZoneError> {
    let text = text.trim();
    let fixed = offset_secs(text)
        .and_then(|secs| Offset::from_seconds(secs).ok())
        .map(TimeZone::fixed);
    let by_rule = || {
        let rule = text.contains(',') || text.starts_with('<');
        rule.then(|| TimeZone::posix(text).ok()).flatten()
    };
    let by_place = || {
        let place = text.contains('/') && !text.starts_with(['/', '.']);
        place.then(|| TimeZone::get(text).ok()).flatten()
    };
    fixed
        .or_else(by_rule)
        .or_else(by_place)
        .ok_or_else(|| ZoneError {
            text: text.to_owned(),
        })
}

/// Seconds east of UTC: a name, `±hh`, `±hhmm` or `±hh:mm`, or a name and one of
/// these, which add up.
pub(super) fn offset_secs(text: &str) -> Option<i32> {
    let digits_at = text.find(['+', '-']).unwrap_or(text.len());
    let (name, shift) = text.split_at_checked(digits_at)?;
    if name.is_empty() && shift.is_empty() {
        return None;
    }
    let name = if name.is_empty() { 0 } else { named(name)? };
    let shift = if shift.is_empty() { 0 } else { shifted(shift)? };
    Some(60 * (name + shift))
}

fn named(name: &str) -> Option<i32> {
    let mut all = NAMES.iter().chain([&NAMES_BEYOND]);
    all.find(|(_, names)| names.split(' ').any(|own| own == name))
        .map(|(minutes, _)| *minutes)
}

/// Minutes of `±hh`, `±hhmm`, `±hh:mm`; at most 19 hours, as fail2ban has it.
fn shifted(shift: &str) -> Option<i32> {
    let (sign, hours, minutes) = match *shift.as_bytes() {
        [sign, a, b] => (sign, [a, b], [b'0', b'0']),
        [sign, a, b, c, d] | [sign, a, b, b':', c, d] => (sign, [a, b], [c, d]),
        _ => return None,
    };
    if !matches!(hours[0], b'0' | b'1') {
        return None;
    }
    let number = |[tens, ones]: [u8; 2]| {
        let digits = tens.is_ascii_digit() && ones.is_ascii_digit();
        digits.then(|| i32::from(tens - b'0') * 10 + i32::from(ones - b'0'))
    };
    let minutes = number(hours)? * 60 + number(minutes)?;
    Some(if sign == b'-' { -minutes } else { minutes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_by_name_and_number() {
        for (text, secs) in [
            ("UTC", Some(0)),
            ("Z", Some(0)),
            ("UTC+0200", Some(7_200)),
            ("-0400", Some(-14_400)),
            ("+02", Some(7_200)),
            ("-02:30", Some(-9_000)),
            ("+0260", Some(10_800)),
            ("CET", Some(3_600)),
            ("CET+0100", Some(7_200)),
            ("NZDT", Some(46_800)),
            ("A", Some(3_600)),
            ("NPT", Some(20_700)),
            ("J", None),
            ("BST", None),
            ("utc", None),
            ("+2", None),
            ("+2000", None),
            ("UTC+2", None),
            ("UTC +0200", None),
            ("+02:0", None),
            ("XX+01", None),
            ("", None),
            ("+é", None),
        ] {
            assert_eq!(offset_secs(text), secs, "{text}");
        }
    }

    #[test]
    fn each_name_stands_once() {
        let mut names: Vec<&str> = NAMES
            .iter()
            .chain([&NAMES_BEYOND])
            .flat_map(|(_, names)| names.split(' '))
            .collect();
        names.sort_unstable();
        let all = names.len();
        names.dedup();
        assert_eq!(names.len(), all);
    }

    #[test]
    fn logtimezone() {
        let summer = jiff::Timestamp::from_second(1_784_000_000).unwrap(); // July 2026
        for (text, secs) in [
            ("CET", Some(3_600)),
            (" UTC+0200 ", Some(7_200)),
            ("CET-01CEST-02,M3.5.0,M10.5.0", Some(7_200)),
            ("<+0530>-5:30", Some(19_800)),
            ("UTC+2", None),
            ("cet", None),
            ("/etc/localtime", None),
            ("nowhere/at-all", None),
            ("", None),
            ("a,b", None),
        ] {
            let found = zone(text).ok().map(|zone| zone.to_offset(summer).seconds());
            assert_eq!(found, secs, "{text}");
        }
        assert_eq!(
            zone("mars").unwrap_err().to_string().get(..24),
            Some("`mars` is no time zone; ")
        );
    }
}
