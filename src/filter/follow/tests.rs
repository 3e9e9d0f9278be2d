//! Filters over a few lines, in the exact words of what is found.

use std::sync::Arc;
use std::time::Duration;

use expect_test::{Expect, expect};
use jiff::tz::TimeZone;

use super::Ask;
use crate::filter::lines::{Attached, Lineup, Mode, Reading};
use crate::filter::matched::Match;
use crate::filter::{Filter, FilterText, Names};
use crate::time::Time;

/// Shows what a filter finds in each line; `text` is its file without section.
fn check(text: &str, lines: &str, ask: Ask, expected: Expect) {
    let filter = Filter::compile(&read(text)).expect("a filter");
    let attached = Attached {
        zone: None,
        jail: "jail".into(),
        filter: Arc::new(filter),
        findtime: Duration::from_secs(600),
    };
    let mut lineup = Lineup::new(
        vec![attached],
        0,
        TimeZone::UTC,
        Time::from_secs(1_796_000_000),
    );
    let reading = Reading {
        mode: Mode::Live,
        now: Time::from_secs(1_796_000_000),
        ask,
    };
    let mut told = String::new();
    for line in lines.lines() {
        let line = line.trim();
        told += &format!("{line}\n");
        lineup.matches(format!("{line}\n").as_bytes(), reading, |_, _, found| {
            told += &format!("    {}\n", shown(&found));
        });
    }
    expected.assert_eq(&told);
}

fn read(text: &str) -> FilterText {
    let mut read = FilterText {
        names: Names::Raw,
        datepattern: Some("{NONE}".to_owned()),
        ..FilterText::default()
    };
    let mut option = "";
    for line in text.lines() {
        let value = match line.split_once(" = ") {
            Some((name, value)) if !name.starts_with(' ') => {
                option = name;
                value
            }
            _ => line.trim(),
        };
        match option {
            "prefregex" => read.prefregex = Some(value.to_owned()),
            "failregex" => read.failregex.push(value.to_owned()),
            "ignoreregex" => read.ignoreregex.push(value.to_owned()),
            "maxlines" => read.maxlines = value.parse().expect("a number"),
            _ => panic!("{line}"),
        }
    }
    read
}

fn shown(found: &Match) -> String {
    let mut words = vec![format!("{}", found.form + 1)];
    words.push(found.failure_id().unwrap_or_else(|| "pending".to_owned()));
    if found.nofail {
        words.push("nofail".to_owned());
    }
    let groups = found
        .groups
        .iter()
        .filter(|(name, _)| !["ip4", "ip6", "mlfid", "nofail"].contains(name));
    words.extend(groups.map(|(name, value)| format!("{name}={value:?}")));
    words.push(format!("lines={}", found.evidence.count()));
    words.join(" ")
}

const CONNECTIONS: &str = "\
prefregex = ^\\[<F-MLFID>\\d</F-MLFID>\\] <F-CONTENT>.+</F-CONTENT>$
failregex = ^failed(?: for <F-USER>\\S+</F-USER>)?(?: from <ADDR>)?$
            ^<F-NOFAIL>tried</F-NOFAIL>(?: for <F-USER>\\S+</F-USER>)?(?: from <ADDR>)?$
            ^<F-MLFFORGET>closed</F-MLFFORGET>$
            ^<F-MLFGAINED>welcome</F-MLFGAINED>$";

#[test]
fn a_connection_is_blamed_as_a_whole() {
    check(
        CONNECTIONS,
        "[1] tried from 192.0.2.1
         [2] failed
         [1] failed
         [1] closed
         [2] tried from 192.0.2.2
         [1] failed
         [3] tried for a from 192.0.2.3
         [3] tried for b
         [4] failed
         [4] welcome
         [4] tried from 192.0.2.4",
        Ask::First,
        expect![[r#"
            [1] tried from 192.0.2.1
            [2] failed
            [1] failed
                1 192.0.2.1 lines=2
            [1] closed
                3 192.0.2.1 lines=1
            [2] tried from 192.0.2.2
                2 192.0.2.2 lines=2
            [1] failed
            [3] tried for a from 192.0.2.3
            [3] tried for b
                2 192.0.2.3 user=Text("b") lines=2
            [4] failed
            [4] welcome
            [4] tried from 192.0.2.4
        "#]],
    );
}

#[test]
fn tests_are_given_what_waits() {
    check(
        CONNECTIONS,
        "[1] tried
         [1] failed for a
         [1] tried from 192.0.2.1",
        Ask::All,
        expect![[r#"
            [1] tried
                2 pending nofail lines=0
            [1] failed for a
                1 pending user=Text("a") lines=2
            [1] tried from 192.0.2.1
                2 192.0.2.1 user=Text("a") lines=3
        "#]],
    );
}

#[test]
fn groups_fill_each_other() {
    check(
        "prefregex = ^(?:<F-USER>p\\w*</F-USER> )?<F-CONTENT>.+</F-CONTENT>$
failregex = ^<ADDR> user=<F-USER>\\w*</F-USER>(?: or <F-ALT_USER>\\w+</F-ALT_USER>)?$
            ^<ADDR>(?: x=<F-TUPLE_X>\\w+</F-TUPLE_X>)?(?: y=<F-TUPLE_X_1>\\w+</F-TUPLE_X_1>)?$",
        "192.0.2.1 user=a or b
         192.0.2.1 user= or b
         p1 192.0.2.1 user=
         192.0.2.1 x=1 y=2
         192.0.2.1 y=2",
        Ask::First,
        expect![[r#"
            192.0.2.1 user=a or b
                1 192.0.2.1 alt_user=Text("b") user=Text("a") lines=1
            192.0.2.1 user= or b
                1 192.0.2.1 alt_user=Text("b") user=Text("b") lines=1
            p1 192.0.2.1 user=
                1 192.0.2.1 user=Text("p1") lines=1
            192.0.2.1 x=1 y=2
                2 192.0.2.1 tuple_x=Text("1") tuple_x_1=Text("2") x=List([None, Some("1"), Some("2")]) lines=1
            192.0.2.1 y=2
                2 192.0.2.1 tuple_x_1=Text("2") x=List([None, None, Some("2")]) lines=1
        "#]],
    );
}

#[test]
fn who_is_blamed() {
    check(
        "failregex = ^a <HOST>(?: id=<F-ID>\\S*</F-ID>)?$
            ^n <SUBNET>$",
        "a 192.0.2.1
         a [2001:DB8::1]
         a ::ffff:192.0.2.1
         a host.example
         a 192.0.2.1 id=x
         a 192.0.2.1 id=
         n 192.0.2.1/24
         n 192.0.2.1/33
         n 192.0.2.1/0
         b 192.0.2.1",
        Ask::First,
        expect![[r#"
            a 192.0.2.1
                1 192.0.2.1 lines=1
            a [2001:DB8::1]
                1 2001:db8::1 lines=1
            a ::ffff:192.0.2.1
                1 192.0.2.1 lines=1
            a host.example
                1 host.example dns=Text("host.example") lines=1
            a 192.0.2.1 id=x
                1 x fid=Text("x") lines=1
            a 192.0.2.1 id=
                1 192.0.2.1 fid=Text("") lines=1
            n 192.0.2.1/24
                2 192.0.2.0/24 cidr=Text("24") lines=1
            n 192.0.2.1/33
                2 192.0.2.1 cidr=Text("33") lines=1
            n 192.0.2.1/0
            b 192.0.2.1
        "#]],
    );
}

#[test]
fn several_lines_are_one_match() {
    check(
        "maxlines = 4
failregex = ^begin <F-USER>\\w+</F-USER>$<SKIPLINES>^end <ADDR>$
            ^alone <ADDR>
ignoreregex = quiet",
        "begin a
         alone 192.0.2.9
         other
         end 192.0.2.1
         end 192.0.2.1
         alone 192.0.2.2 quiet
         begin b
         end 192.0.2.3",
        Ask::First,
        expect![[r#"
            begin a
            alone 192.0.2.9
                2 192.0.2.9 lines=1
            other
            end 192.0.2.1
                1 192.0.2.1 skiplines0=Text("other\n") user=Text("a") lines=2
            end 192.0.2.1
            alone 192.0.2.2 quiet
            begin b
            end 192.0.2.3
                1 192.0.2.3 skiplines0=Text("") user=Text("b") lines=2
        "#]],
    );
}

#[test]
fn ignored_lines_blame_nobody() {
    check(
        "prefregex = ^pre <F-CONTENT>.*</F-CONTENT> post$
failregex = ^<ADDR>
ignoreregex = post$",
        "pre 192.0.2.1 post
         pre 192.0.2.1 post post",
        Ask::First,
        expect![[r#"
            pre 192.0.2.1 post
                1 192.0.2.1 lines=1
            pre 192.0.2.1 post post
        "#]],
    );
}
