//! Filters over a few lines, in the exact words of what is found.

use std::sync::Arc;
use std::time::Duration;

use expect_test::{Expect, expect};
use jiff::tz::TimeZone;

use super::Ask;
use crate::filter::lines::{Attached, Found, Lineup, Mode, Reading};
use crate::filter::matched::Match;
use crate::filter::{Filter, FilterText, Names, SightingText};
use crate::ticket::Trust;
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
            "successregex" => read.sightings.success.push(value.to_owned()),
            "challengeregex" => read.sightings.challenge.push(value.to_owned()),
            "doubtregex" => read.sightings.doubt.push(value.to_owned()),
            "maxlines" => read.maxlines = value.parse().expect("a number"),
            _ => panic!("{line}"),
        }
    }
    read
}

fn shown(found: &Match) -> String {
    let mut words = vec![format!("{}", found.form + 1)];
    words.push(found.failure_id().unwrap_or_else(|| "pending".to_owned()));
    if let Some(sight) = found.sight {
        words.push(format!("{sight:?}"));
    } else if found.nofail {
        words.push("nofail".to_owned());
    }
    if found.trust == Trust::Proof {
        words.push("proven".to_owned());
    }
    let groups = found
        .groups
        .iter()
        .filter(|(name, _)| !["ip4", "ip6", "mlfid", "nofail", "proof"].contains(name));
    words.extend(groups.map(|(name, value)| format!("{name}={value:?}")));
    if found.sight.is_none() {
        words.push(format!("lines={}", found.evidence.count()));
    }
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

const SIGHTINGS: &str = "\
prefregex = ^(?:\\[\\d+\\] )?<F-CONTENT>.+</F-CONTENT>$
failregex = ^failed(?: <F-PROOF>by tcp</F-PROOF>)? from <ADDR>
ignoreregex = never mind
successregex = ^<F-PROOF>welcome</F-PROOF> <F-USER>\\w+</F-USER> from <ADDR>$
challengeregex = ^who is <ADDR>\\?
doubtregex = ^\\[\\d+\\] careless";

#[test]
fn what_is_no_failure_is_seen_all_the_same() {
    check(
        SIGHTINGS,
        "failed by tcp from 192.0.2.1
         failed from 192.0.2.1
         welcome a from 192.0.2.2
         who is 192.0.2.3?
         who is 192.0.2.3? never mind
         who is 192.0.2.256?
         failed from 192.0.2.4, welcome a from 192.0.2.5",
        Ask::First,
        expect![[r#"
            failed by tcp from 192.0.2.1
                1 192.0.2.1 proven lines=1
            failed from 192.0.2.1
                1 192.0.2.1 lines=1
            welcome a from 192.0.2.2
                2 192.0.2.2 Success proven user=Text("a")
            who is 192.0.2.3?
                3 192.0.2.3 Challenge
            who is 192.0.2.3? never mind
            who is 192.0.2.256?
            failed from 192.0.2.4, welcome a from 192.0.2.5
                1 192.0.2.4 lines=1
        "#]],
    );
}

#[test]
fn tests_of_a_filter_see_what_fail2ban_sees() {
    for ask in [Ask::FirstPending, Ask::All] {
        check(
            SIGHTINGS,
            "welcome a from 192.0.2.2\nwho is 192.0.2.3?",
            ask,
            expect![[r#"
                welcome a from 192.0.2.2
                who is 192.0.2.3?
            "#]],
        );
    }
}

#[test]
fn nothing_is_proven_in_a_log_that_is_doubted() {
    check(
        SIGHTINGS,
        "careless
         failed by tcp from 192.0.2.1
         [1] careless
         failed by tcp from 192.0.2.1
         welcome a from 192.0.2.2",
        Ask::First,
        expect![[r#"
            careless
            failed by tcp from 192.0.2.1
                1 192.0.2.1 proven lines=1
            [1] careless
            failed by tcp from 192.0.2.1
                1 192.0.2.1 lines=1
            welcome a from 192.0.2.2
                2 192.0.2.2 Success user=Text("a")
        "#]],
    );
}

/// A block at a time, as the daemon reads: the gate lets doubts through until there is one.
#[test]
fn the_gate_lets_sightings_and_doubts_through() {
    let mut text = read(SIGHTINGS);
    text.datepattern = None;
    let filter = Filter::compile(&text).expect("a filter");
    assert_eq!(filter.exact(), None);
    let attached = Attached {
        zone: None,
        jail: "jail".into(),
        filter: Arc::new(filter),
        findtime: Duration::from_secs(600),
    };
    let now = Time::from_secs(1_796_000_000);
    let mut lineup = Lineup::new(vec![attached], 0, TimeZone::UTC, now);
    let mut told = Vec::new();
    for block in [
        "nothing\nwelcome a from 192.0.2.1\nnothing\n",
        "[1] careless\n",
        "[1] careless\nwelcome a from 192.0.2.2\n",
    ] {
        lineup.block(block.as_bytes(), Mode::Live, now, |found| match found {
            Found::Sighting(seen) => told.push((seen.addr.to_string(), seen.trust)),
            found => panic!("{found:?}"),
        });
    }
    let expected = [("192.0.2.1", Trust::Proof), ("192.0.2.2", Trust::Hint)];
    assert_eq!(told, expected.map(|(addr, trust)| (addr.to_owned(), trust)));
}

#[test]
fn what_cannot_be_seen_is_an_error() {
    for (text, error) in [
        (
            "failregex = ^a <ADDR>\nsuccessregex = ^b",
            "successregex 1: no address in it; write <HOST> or <ADDR> where it stands",
        ),
        (
            "failregex = ^a <ADDR>\nmaxlines = 2\ndoubtregex = ^b",
            "successregex, challengeregex, doubtregex and wholeregex are for filters with maxlines = 1",
        ),
    ] {
        let found = Filter::compile(&read(text)).expect_err(text);
        assert!(found.is_about_sightings());
        assert_eq!(found.to_string(), error);
    }
}

#[test]
fn failures_behind_another_head_are_near_misses() {
    let filter = Filter::compile(&read(
        "prefregex = ^srv\\[\\d+\\]: <F-CONTENT>.+</F-CONTENT>$\nfailregex = ^wrong password from <ADDR>$",
    ));
    let filter = Arc::new(filter.expect("a filter"));
    for (line, is_near) in [
        ("srv[7]: wrong password from 192.0.2.7", false), // it blames
        ("<13>1 srv 7 - wrong password from 192.0.2.7", true),
        ("wrong password from 192.0.2.7", false), // nothing stands before it
        ("web[7]: the wrong password from 192.0.2.7 again", false),
        ("web[7]: he said \"wrong password from 192.0.2.7\"", false),
        ("web[7]: wrong password of 192.0.2.7", false),
        (
            "a b c d e f g h i j k l wrong password from 192.0.2.7",
            true,
        ),
        (
            "a b c d e f g h i j k l m wrong password from 192.0.2.7",
            false,
        ),
    ] {
        let mut follower = super::Follower::new(Arc::clone(&filter));
        let text = format!("{line}\n");
        let seen = super::Seen {
            text: &text,
            line,
            dated: false,
            time: Time::from_secs(7),
            now: Time::from_secs(7),
            around: super::Around::default(),
        };
        follower.line(seen, Ask::First, &mut |_| {});
        assert_eq!(
            follower.missed().shapes().len(),
            usize::from(is_near),
            "{line}"
        );
        for _ in 0..2 * super::strange::VAIN_MAX {
            let text = "web[7]: no wrong password from 192.0.2.7 nor another\n";
            follower.line(super::Seen { text, ..seen }, Ask::First, &mut |_| {});
        }
        // Of those that come behind many in vain, some are seen.
        for _ in 0..super::strange::LOOKED_AT_ONE_OF {
            let text = "new wrong password from 192.0.2.7\n";
            follower.line(super::Seen { text, ..seen }, Ask::First, &mut |_| {});
        }
        let shapes = follower.missed().shapes();
        assert!(
            shapes
                .iter()
                .any(|miss| miss.shape.starts_with("new wrong")),
            "{line}"
        );
    }
}

#[test]
fn a_line_that_was_repeated_counts_as_often() {
    let wrapper = r"<F-REPEATED>repeated <F-TIMES>\d+</F-TIMES> times: \[ </F-REPEATED>";
    let text = FilterText {
        prefregex: Some(r"^srv: <F-CONTENT>.+</F-CONTENT>$".to_owned()),
        failregex: vec![r"^wrong password from <ADDR>$".to_owned()],
        sightings: SightingText {
            repeat: vec![format!(r"^srv: {wrapper}")],
            ..SightingText::default()
        },
        datepattern: Some("{NONE}".to_owned()),
        ..FilterText::default()
    };
    let filter = Arc::new(Filter::compile(&text).expect("a filter"));
    let wrong = "wrong password from 192.0.2.7";
    let many = super::repeated::TIMES_MAX;
    for (line, count) in [
        (format!("srv: {wrong}"), 1),
        (format!("srv: repeated 3 times: [ {wrong}]"), 3),
        (format!("srv: repeated 3 times: [ {wrong}"), 0), // no end
        (format!("srv: repeated 0 times: [ {wrong}]"), 1),
        (format!("srv: repeated 101 times: [ {wrong}]"), many),
        (
            format!("srv: repeated {} times: [ {wrong}]", "9".repeat(40)),
            many,
        ),
        (format!("srv: he said srv: repeated 3 times: [ {wrong}]"), 0),
    ] {
        let mut lineup = lineup_of(&filter);
        let mut found = 0;
        let block = format!("{line}\n");
        let now = Time::from_secs(1_796_000_000);
        lineup.block(block.as_bytes(), Mode::Live, now, |_| found += 1);
        assert_eq!(found, count, "{line}");
    }
}

fn lineup_of(filter: &Arc<Filter>) -> Lineup {
    let attached = Attached {
        zone: None,
        jail: "jail".into(),
        filter: Arc::clone(filter),
        findtime: Duration::from_secs(600),
    };
    let started = Time::from_secs(1_796_000_000);
    Lineup::new(vec![attached], 0, TimeZone::UTC, started)
}
