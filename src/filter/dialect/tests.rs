//! Reading patterns: what is refused, and how it is said; Python's properties.

use std::collections::BTreeSet;

use expect_test::{Expect, expect};

use super::sets::{Case, CharSet};
use super::{parse, simplify, widen};

fn check_error(pattern: &str, expected: Expect) {
    match parse(pattern, false) {
        Ok(tree) => expected.assert_eq(&format!("accepted: {tree:?}")),
        Err(error) => expected.assert_eq(&error.to_string()),
    }
}

#[test]
fn errors_point_at_the_place() {
    check_error(
        "ab**",
        expect![[r#"
        a repeated part is repeated again; write `(?:…)` around the first, or `\*` for the character (at character 3 of the pattern)
            ab**
               ^"#]],
    );
    check_error(
        r"a\y",
        expect![[r#"
        `\y` has no meaning; letters that may follow `\` are `d D w W s S b B A Z n t r f v a`, `x41`, `u0041` and `U00000041`; any other character that is no letter stands for itself (at character 1 of the pattern)
            a\y
             ^"#]],
    );
    check_error(
        "a(b",
        expect![[r#"
        this `(` is never closed; write `)`, or `\(` for a parenthesis (at character 1 of the pattern)
            a(b
             ^"#]],
    );
    check_error(
        "a)b",
        expect![[r#"
        this `)` closes nothing; write `\)` for a parenthesis (at character 1 of the pattern)
            a)b
             ^"#]],
    );
    check_error(
        "[z-a]",
        expect![[r#"
        `z-a` is not a range; write the lower character first, or `\-` for a hyphen (at character 1 of the pattern)
            [z-a]
             ^"#]],
    );
    check_error(
        "(?<=a+)b",
        expect![[r#"
        a look-behind must have one fixed width; this one takes 1 to 4294967295 characters (at character 0 of the pattern)
            (?<=a+)b
            ^"#]],
    );
    check_error(
        "x(?i)b",
        expect![[r#"
        bad flags: for the whole pattern they stand at its start, for a part as in `(?i:part)` (at character 1 of the pattern)
            x(?i)b
             ^"#]],
    );
    check_error(
        &format!("{}(?P=nobody)", "long ".repeat(30)),
        expect![[r#"
        there is no group `nobody` before this place (at character 150 of the pattern)
            …long long long long long long long long (?P=nobody)
                                                     ^"#]],
    );
}

#[test]
fn nesting_is_bounded() {
    let deep = format!("{}a{}", "(?:".repeat(90), ")".repeat(90));
    assert!(parse(&deep, false).is_ok());
    let deeper = format!("{}a{}", "(".repeat(10_000), ")".repeat(10_000));
    assert!(parse(&deeper, false).is_err());
    assert!(parse(&"(?(1)".repeat(10_000), false).is_err());
    assert!(parse(&"a".repeat(70_000), false).is_err());
}

#[test]
fn widening_is_regular() {
    for pattern in [
        r"(?=a)b(?<!c)",
        r"(a)\1(?(1)b|c)",
        "(?>a++|(?:b?+))*",
        "(?!(?:a(?=b)))",
    ] {
        let tree = parse(pattern, false).expect(pattern);
        assert!(!tree.root.is_regular(), "{pattern}");
        assert!(widen(&tree).root.is_regular(), "{pattern}");
    }
}

#[test]
fn word_edges_are_regular() {
    for (pattern, regular) in [
        (r"(\d+)(?=\b|\W|$)", true),
        (r"(?=^|\b|\W)(\d+)", true),
        (r"(?=^|\b|\W)\d*", false),
        (r"a(?=\b|\W)", false),
        (r"a(?=\b|\W|b|$)", false),
    ] {
        let tree = parse(pattern, false).expect(pattern);
        assert_eq!(simplify(&tree.root).is_regular(), regular, "{pattern}");
    }
}

/// What Python says of every character, as lists of code points.
const PROPERTIES: &str = "
import json, re, sys, unicodedata
from re import _casefix
import _sre
def having(test): return [code for code in range(0x110000) if test(chr(code))]
word, digit, space = (re.compile(text).match for text in (r'\\w', r'\\d', r'\\s'))
print(json.dumps({
    'unknown': having(lambda char: unicodedata.category(char) in ('Cn', 'Cs')),
    'word': having(word), 'digit': having(digit), 'space': having(space),
    'lower': [[code, _sre.unicode_tolower(code)] for code in range(0x110000)
              if _sre.unicode_tolower(code) != code],
    'extra': sorted([code, other] for code, others in _casefix._EXTRA_CASES.items() for other in others),
}))
";

/// Python's Unicode is older or newer than ours, so characters that it does not
/// know are left out.
#[test]
fn properties_are_pythons() {
    let output = std::process::Command::new("python3")
        .args(["-c", PROPERTIES])
        .output()
        .expect("python3 is installed");
    let python: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let list = |key: &str| -> BTreeSet<u32> {
        serde_json::from_value(python[key].clone()).expect("code points")
    };
    let pairs = |key: &str| -> BTreeSet<(u32, u32)> {
        serde_json::from_value(python[key].clone()).expect("pairs of code points")
    };
    let unknown = list("unknown");
    let known = |code: &u32| !unknown.contains(code);
    for (key, set) in [
        ("word", CharSet::word(false)),
        ("digit", CharSet::digit(false)),
        ("space", CharSet::space(false)),
    ] {
        let ours: BTreeSet<u32> = set
            .ranges()
            .flat_map(|(first, last)| u32::from(first)..=u32::from(last))
            .filter(known)
            .collect();
        assert!(ours == list(key), "{key}");
    }
    let case = Case::tables();
    let both_known = |(one, other): &(u32, u32)| known(one) && known(other);
    let lower: BTreeSet<(u32, u32)> = case
        .pairs
        .iter()
        .map(|&(char, low)| (char.into(), low.into()))
        .filter(both_known)
        .collect();
    assert_eq!(lower, pairs("lower"));
    let extra: BTreeSet<(u32, u32)> = case
        .extra
        .iter()
        .flat_map(|(low, others)| others.iter().map(|&other| (u32::from(*low), other.into())))
        .filter(both_known)
        .collect();
    assert_eq!(extra, pairs("extra"));
}
