//! `ringfence examine`: whatever is asked gets one answer, and a bad request ends nothing.

use std::io::Write;
use std::process::{Command, Stdio};

use expect_test::{Expect, expect};
use regex::Regex;

fn check(requests: &str, expected: Expect) {
    let nothing = tempfile::tempdir().expect("a temp folder");
    let mut child = Command::new(env!("CARGO_BIN_EXE_ringfence"))
        .args(["examine", "--jsonl", "--config-dir"])
        .arg(nothing.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("our own program");
    let mut input = child.stdin.take().expect("its input");
    input.write_all(requests.as_bytes()).expect("it reads");
    drop(input);
    let output = child.wait_with_output().expect("its answers");
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8(output.stdout).expect("utf-8");
    let said = said.replace(&nothing.path().display().to_string(), "CONFIG");
    // Our filters grow.
    let number = Regex::new(r#""(failregex|regex)":\d+"#).expect("a pattern");
    expected.assert_eq(&number.replace_all(&said, "\"$1\":N"));
}

#[test]
fn a_built_in_filter_is_driven() {
    check(
        r#"{"op":"open","session":"a","config":null,"filter":"asterisk","now":1796000000,"tz":"UTC"}
{"op":"line","session":"a","id":1,"line":"[2026-11-30 00:53:19] NOTICE[99] chan_sip.c: Registration from '<sip:9@h>' failed for '192.0.2.7:5060' - Wrong password"}
{"op":"line","session":"a","id":2,"line":"[2026-11-30 00:53:19] VERBOSE[99] chan_sip.c: nothing"}
{"op":"close","session":"a"}
"#,
        expect![[r#"
            {"exact":null,"failregex":N,"ignoreregex":0,"maxlines":1,"ok":true,"prefregex":1,"session":"a"}
            {"error":null,"id":1,"rest":"[] NOTICE[99] chan_sip.c: Registration from '<sip:9@h>' failed for '192.0.2.7:5060' - Wrong password","results":[{"fid":"192.0.2.7","groups":{"ip4":"192.0.2.7","proof":"Wrong password","thread":"99","user":"9"},"ip":null,"matches":1,"nofail":false,"pending":false,"regex":N,"time":1795999999.0,"users":[]}]}
            {"error":null,"id":2,"rest":"[] VERBOSE[99] chan_sip.c: nothing","results":[]}
            {"ok":true,"session":"a"}
        "#]],
    );
}

#[test]
fn a_bad_request_gets_an_error_and_the_next_one_an_answer() {
    check(
        r#"hello
{"op":"dance","session":"a"}
{"op":"line","session":"a","id":7,"line":"x"}
{"op":"close","session":"a"}

{"op":"open","session":"a","filter":"asterisc"}
{"op":"open","session":"a","config":"/nonexistent","filter":"asterisk"}
{"op":"open","session":"a","filter":"asterisk","usedns":"perhaps"}
{"op":"open","session":"a","filter":"asterisk","tz":"Mars"}
{"op":"open","session":"a","filter":"asterisk","colour":"red"}
{"op":"open","session":"a","filter":"asterisk","findtime":-1}
{"op":"open","session":"a","filter":"asterisk","options":{"x":"both ' and \""}}
{"op":"open","session":"a","filter":"kamailio","now":1796000000}
{"op":"line","session":"a","id":8,"line":"one\ntwo"}
{"op":"line","session":"a","id":9,"line":"x","journal_time":1796000000}
"#,
        expect![[r#"
            {"error":"expected value at line 1 column 1; write {\"op\": \"open\" | \"line\" | \"close\", \"session\": …}","ok":false}
            {"error":"unknown variant `dance`, expected one of `open`, `line`, `close` at line 1 column 13; write {\"op\": \"open\" | \"line\" | \"close\", \"session\": …}","ok":false,"session":"a"}
            {"error":"there is no session `a`; open it first","id":7,"ok":false,"session":"a"}
            {"error":"there is no session `a`; open it first","ok":false,"session":"a"}
            {"error":"filter: `filter = asterisc`: there is no CONFIG/filter.d/asterisc.conf; did you mean `asterisk`?","ok":false,"session":"a"}
            {"error":"filter: `filter = asterisk`: there is no /nonexistent/filter.d/asterisk.conf; write the name of one that is there","ok":false,"session":"a"}
            {"error":"usedns: `perhaps`: write yes, warn, no or raw","ok":false,"session":"a"}
            {"error":"tz: `Mars` is no time zone; write an offset (`+0200`, `UTC-03:30`), an abbreviation in upper case (`CET`, `EST`), a place (`Europe/Berlin`) or a rule (`CET-01CEST-02,M3.5.0,M10.5.0`)","ok":false,"session":"a"}
            {"error":"unknown field `colour`, expected one of `session`, `config`, `filter`, `options`, `now`, `tz`, `check_findtime`, `catching_up`, `findtime`, `usedns`, `all_regex`, `gate`; write {\"op\": \"open\" | \"line\" | \"close\", \"session\": …}","ok":false,"session":"a"}
            {"error":"findtime: -1: write seconds","ok":false,"session":"a"}
            {"error":"option x: `both ' and \"` has both quotes","ok":false,"session":"a"}
            {"exact":null,"failregex":N,"ignoreregex":2,"maxlines":1,"ok":true,"prefregex":1,"session":"a"}
            {"error":"a line ends at its newline; send the next one by itself","id":8,"ok":false,"session":"a"}
            {"error":null,"id":9,"rest":"x","results":[]}
        "#]],
    );
}
