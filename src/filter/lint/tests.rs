//! What lint says of small filters.

use expect_test::{Expect, expect};

use super::*;

fn check(text: FilterText, expected: Expect) {
    let findings = lint(&text).expect("a good filter");
    let mut shown = String::new();
    for finding in &findings {
        // Cut where the sentence has its joints, to be read.
        let sentence = finding.fault.to_string();
        let sentence = sentence.replace("; ", ";\n  ").replace(": `", ":\n  `");
        let head = format!("{} {}", finding.place, finding.pattern);
        shown += &format!("{}\n  {sentence}\n", head.trim_end());
    }
    if findings.is_empty() {
        shown += "nothing";
    }
    expected.assert_eq(&shown);
}

fn one(failregex: &str) -> FilterText {
    FilterText {
        failregex: vec![failregex.to_owned()],
        ..FilterText::default()
    }
}

fn within(prefregex: &str, failregex: &str) -> FilterText {
    FilterText {
        prefregex: Some(prefregex.to_owned()),
        ..one(failregex)
    }
}

#[test]
fn patterns_that_hold_the_address_from_both_ends_are_clean() {
    for failregex in [
        "^login failed from <HOST>$",
        "^login of '.*' failed from <HOST>$",
        "^login of '[^']*' failed from <ADDR> port \\d+$",
        r#"^<HOST> - \S+ "[^"]*" 40[13] .*"#,
        r"^(?:\S+ )?pbx\[\d+\]: <ADDR> failed: .*$",
        r"^(?:\S+ )?pbx\[\d+\]: \d+ tries from <ADDR>: ",
        r"^connect from [^[]*\[<HOST>\]: ",
        r"^login failed for \S+ \(<HOST>\)",
    ] {
        let findings = lint(&one(failregex)).expect("a good filter");
        assert_eq!(findings, [], "{failregex}");
    }
    let text = within(
        "^pbx: <F-CONTENT>.+</F-CONTENT>$",
        "^'.*' failed from <HOST>$",
    );
    assert_eq!(lint(&text).expect("a good filter"), []);
}

#[test]
fn without_a_beginning() {
    check(
        one("failed from <HOST>$"),
        expect![[r#"
        failregex 1 failed from <HOST>$
          can be framed, since it matches anywhere in a line, also what a stranger had written there:
          `said, 'x y' [z] ("a"): = 1;
          failed from 203.0.113.66` blames 203.0.113.66;
          begin it with `^` and the words that the server writes first
    "#]],
    );
    check(
        one("^.*failed from <HOST>$"),
        expect![[r#"
        failregex 1 ^.*failed from <HOST>$
          can be framed, since it matches anywhere in a line, also what a stranger had written there:
          `said, 'x y' [z] ("a"): = 1;
          failed from 203.0.113.66` blames 203.0.113.66;
          begin it with `^` and the words that the server writes first
    "#]],
    );
    check(
        within("^pbx: <F-CONTENT>.+</F-CONTENT>$", "failed from <ADDR>$"),
        expect![[r#"
            failregex 1 failed from <ADDR>$
              can be framed, since it matches anywhere in a line, also what a stranger had written there:
              `pbx: said, 'x y' [z] ("a"): = 1;
              failed from 203.0.113.66` blames 203.0.113.66;
              begin it with `^` and the words that the server writes first
        "#]],
    );
    check(
        within("pbx: <F-CONTENT>.+</F-CONTENT>$", "^failed from <ADDR>$"),
        expect![[r#"
            failregex 1 ^failed from <ADDR>$
              can be framed, since it matches anywhere in a line, also what a stranger had written there:
              `said, 'x y' [z] ("a"): = 1;
              pbx: failed from 203.0.113.66` blames 203.0.113.66;
              begin it with `^` and the words that the server writes first
        "#]],
    );
}

#[test]
fn a_field_before_the_address_that_a_stranger_ends() {
    check(
        one("^login of '[^']*' failed from <HOST>"),
        expect![[r#"
        failregex 1 ^login of '[^']*' failed from <HOST>
          can be framed by whoever writes what `[^']*` before the address takes:
          `login of 'x' failed from 203.0.113.66' failed from 198.51.100.7` blames 203.0.113.66;
          go on behind the address to the end of the line, with words that only the server writes there and `$`
    "#]],
    );
    check(
        one("^login of .*? failed from <HOST>"),
        expect![[r#"
        failregex 1 ^login of .*? failed from <HOST>
          can be framed by whoever writes what `.*?` before the address takes:
          `login of x failed from 203.0.113.66 failed from 198.51.100.7` blames 203.0.113.66;
          go on behind the address to the end of the line, with words that only the server writes there and `$`
    "#]],
    );
    // The end is held, but a field before it takes what is left.
    check(
        one(r"^from '.*?' failed for '<HOST>' \(id: [^)]*\)$"),
        expect![[r#"
            failregex 1 ^from '.*?' failed for '<HOST>' \(id: [^)]*\)$
              can be framed by whoever writes what `.*?` before the address takes:
              `from 'x' failed for '203.0.113.66' (id: x' failed for '198.51.100.7' (id: )` blames 203.0.113.66;
              write instead of `.*?` what cannot hold the mark that ends it, as `[^']*` between quotes
        "#]],
    );
}

#[test]
fn a_field_before_the_address_that_takes_the_true_one() {
    check(
        one("^login of .* failed from <HOST>"),
        expect![[r#"
        failregex 1 ^login of .* failed from <HOST>
          can be framed by whoever writes what follows the pattern's end, since `.*` before the address may take the true one:
          `login of x failed from 198.51.100.7 x failed from 203.0.113.66` blames 203.0.113.66;
          end it with `$` behind all that the server writes
    "#]],
    );
    check(
        one("^login of .* failed from <HOST> agent '.*'$"),
        expect![[r#"
            failregex 1 ^login of .* failed from <HOST> agent '.*'$
              can be framed by whoever writes what `.*` behind the address takes, since `.*` before it may take the true one:
              `login of x failed from 198.51.100.7 agent 'x failed from 203.0.113.66 agent 'x''` blames 203.0.113.66;
              write instead of `.*` what cannot hold the mark that ends it, as `[^']*` between quotes
        "#]],
    );
    check(
        one("^login of .* failed from <IP6> agent"),
        expect![[r#"
        failregex 1 ^login of .* failed from <IP6> agent
          can be framed by whoever writes what follows the pattern's end, since `.*` before the address may take the true one:
          `login of x failed from 2001:db8::7 agent x failed from 2001:db8:bad::66 agent` blames 2001:db8:bad::66;
          end it with `$` behind all that the server writes
    "#]],
    );
}

/// The server's own fields, in the prefregex, take the address as well.
#[test]
fn a_prefregex_that_takes_the_true_address() {
    let prefregex = r"^NOTICE\[\d+\]: [^:]+:(?: [^:]+:)? <F-CONTENT>.+</F-CONTENT>$";
    check(
        within(prefregex, "^<HOST> tried to log in as "),
        expect![[r#"
            failregex 1 ^<HOST> tried to log in as
              can be framed by whoever writes what follows the pattern's end, since `[^:]+` before the address may take the true one:
              `NOTICE[1]: x: 198.51.100.7 tried to log in as  x: 203.0.113.66 tried to log in as ` blames 203.0.113.66;
              end it with `$` behind all that the server writes
        "#]],
    );
    check(
        within(prefregex, "^<HOST> tried to log in$"),
        expect!["nothing"],
    );
}

/// An ignoreregex that knows the forged lines makes the pattern a good one.
#[test]
fn the_whole_filter_judges() {
    let mut text = one("^login of .*? failed from <HOST>");
    text.ignoreregex = vec!["failed from .* failed from".to_owned()];
    check(text, expect!["nothing"]);
}

#[test]
fn what_an_automaton_cannot_run() {
    check(
        one(r"^bad (?!user)\w+ from <HOST>$"),
        expect![[r#"
        failregex 1 ^bad (?!user)\w+ from <HOST>$
          takes the slow path, since no automaton can run `(?!…)`;
          its steps are counted, and none of the lines that were tried used them up
    "#]],
    );
    check(
        one(r"^(\w+) and \1 from <HOST>$"),
        expect![[r#"
        failregex 1 ^(\w+) and \1 from <HOST>$
          takes the slow path, since no automaton can run a back-reference;
          its steps are counted, and none of the lines that were tried used them up
    "#]],
    );
    check(
        one(r"^bad (?:(?!user)(?:\w+\s?)*)*=(?:a|b) from <HOST>(?<!7)$"),
        expect![[r#"
            failregex 1 ^bad (?:(?!user)(?:\w+\s?)*)*=(?:a|b) from <HOST>(?<!7)$
              can run into the step limit, since no automaton can run `(?!…)` and it repeats what can be read in many ways: a line of 65533 bytes that begins `bad x x x x x x x x x x x x x x x x x x x x x x x x x x x x ` is given up;
              do without `(?!…)`, or bound the repetition as in `{0,99}`
        "#]],
    );
    let mut text = one("^bad <HOST>$");
    text.ignoreregex = vec![r"^(?:\w+\s?)+\b(?<!x)bad".to_owned()];
    check(
        text,
        expect![[r#"
            the filter
              every line is looked at, a slow path, since a failregex has no word that its lines must hold
            ignoreregex 1 ^(?:\w+\s?)+\b(?<!x)bad
              can run into the step limit, since no automaton can run `(?<!…)` and it repeats what can be read in many ways: a line of 65533 bytes that begins `x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x ` is given up;
              do without `(?<!…)`, or bound the repetition as in `{0,99}`
        "#]],
    );
}

#[test]
fn why_every_line_is_looked_at() {
    check(
        one(r"^<HOST> \d+$"),
        expect![[r#"
            the filter
              every line is looked at, a slow path, since a failregex has no word that its lines must hold
        "#]],
    );
    let mut text = one(r"^x\n.*bad <HOST>$");
    text.maxlines = 2;
    check(
        text,
        expect![[r#"
            the filter
              every line is looked at, a slow path, since its patterns span several lines (maxlines)
            failregex 1 ^x\n.*bad <HOST>$
              can be framed, since it matches anywhere in a line, also what a stranger had written there:
              `x\nsaid, 'x y' [z] ("a"): = 1;
              bad 203.0.113.66` blames 203.0.113.66;
              begin it with `^` and the words that the server writes first
        "#]],
    );
}

#[test]
fn a_filter_that_cannot_be_compiled_is_an_error() {
    let error = lint(&one("(")).expect_err("not a pattern");
    assert!(error.to_string().starts_with("failregex 1: "), "{error}");
}
