//! Stories of the planner, told in lines of text.
//!
//! Each line of a script is `SECOND WORDS`. The planner runs up to that second,
//! doing what falls due, and is then told the words. What it does is printed with
//! the second; requests are answered only by the script. There is no jitter.
//!
//! - `page N to ID`: the list answers with N addresses (198.51.100.0 and up)
//! - `list STATUS BODY`, `check STATUS BODY`: an answer
//! - `list fails`, `check fails`: the connection fails
//! - `applied HELD`, `refused by firewall`: what became of the last page
//! - `ask IP`, `key KEY`, `limit N`, `resync`, `state`, `nothing`

use std::fmt::Write as _;

use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::*;
use crate::feed::key::Key;
use crate::feed::settings::{Laboratory, ListName};
use crate::feed::trouble::Shown;

const EPOCH: i64 = 1_700_000_000;

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn at(second: u64) -> Now {
    Now {
        mono: secs(second),
        wall: Time::from_secs(EPOCH) + secs(second),
    }
}

fn settings() -> Settings {
    Settings {
        key: Key::parse("s3cr3t-0001"),
        laboratory: Laboratory {
            accept_reserved: true,
            insecure_http: false,
        },
        ..Settings::default()
    }
}

struct Story {
    planner: Planner,
    now: u64,
    pages: u64,
    text: String,
}

impl Story {
    fn new(settings: Settings, memory: Memory) -> Self {
        Story {
            planner: Planner::new(settings, memory, Jitter::none(), at(0)),
            now: 0,
            pages: 0,
            text: String::new(),
        }
    }

    fn tell(mut self, script: &str) -> String {
        for line in script
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
        {
            let (second, words) = line.split_once(' ').expect(line);
            self.run_to(second.parse().expect(line));
            self.obey(words);
            self.print();
            self.do_what_is_due();
        }
        assert!(!self.text.contains("s3cr3t"), "{}", self.text);
        self.text
    }

    /// Lets the time pass, waking the planner when it wants to be woken.
    fn run_to(&mut self, second: u64) {
        loop {
            let wake = self.do_what_is_due();
            match wake.map(|wake| wake.as_secs_f64().ceil() as u64) {
                Some(wake) if wake <= second => {
                    assert!(wake > self.now, "woken without reason at {wake}");
                    self.now = wake;
                }
                _ => break,
            }
        }
        self.now = second;
        self.do_what_is_due();
    }

    fn do_what_is_due(&mut self) -> Option<Duration> {
        loop {
            let decision = self.planner.next(at(self.now));
            self.print();
            match decision {
                Do::Fetch(cursor) => self.say(&format!("list {cursor}")),
                Do::Check(ip) => self.say(&format!("check {ip}")),
                Do::Wait(until) => return until,
            }
        }
    }

    fn obey(&mut self, words: &str) {
        let (now, planner) = (at(self.now), &mut self.planner);
        let nobody = |_: IpAddr| false;
        let answer = |text: &str| {
            let (status, body) = text.split_once(' ').unwrap_or((text, ""));
            Ok(Content {
                status: status.parse().expect(text),
                retry_after: None,
                whole: true,
                body: body.into(),
            })
        };
        let broken = || Err(Trouble::Connect(Shown::new("connection refused")));
        let (verb, rest) = words.split_once(' ').unwrap_or((words, ""));
        match (verb, rest) {
            ("nothing", _) => {}
            ("list", "fails") => planner.fetched(broken(), &nobody, now),
            ("check", "fails") => planner.checked(broken(), now),
            ("list", rest) => planner.fetched(answer(rest), &nobody, now),
            ("check", rest) => planner.checked(answer(rest), now),
            ("page", rest) => {
                let (count, id) = rest.split_once(" to ").expect(rest);
                let body = page(count.parse().expect(rest), id);
                planner.fetched(answer(&format!("200 {body}")), &nobody, now);
            }
            ("applied", held) => planner.loaded(self.pages, held.parse().expect(held), now),
            ("refused", _) => planner.not_loaded(self.pages, now),
            ("ask", ip) => planner.ask(ip.parse().expect(ip), &nobody, now),
            ("key", key) => {
                let settings = Settings {
                    key: Key::parse(key),
                    ..planner.settings().clone()
                };
                let dropped = planner.reload(settings, now);
                self.say(&format!("requests dropped: {dropped}"));
            }
            ("limit", limit) => {
                let settings = Settings {
                    rate_limit: limit.parse().expect(limit),
                    ..planner.settings().clone()
                };
                let dropped = planner.reload(settings, now);
                self.say(&format!("requests dropped: {dropped}"));
            }
            ("resync", _) => planner.resync(now),
            ("state", _) => {
                let state = planner.state(now);
                let until = state.waits_until.map(|at| at.since(Time::from_secs(EPOCH)));
                self.say(&format!(
                    "{:?}{}, held {}, {} of {} requests, why: {:?}, until {:?}",
                    state.condition,
                    if state.stale { ", stale" } else { "" },
                    state.held,
                    state.requests_in_window,
                    state.rate_limit,
                    state.why,
                    until
                ));
            }
            _ => panic!("`{words}`?"),
        }
    }

    /// Prints what the planner reports.
    fn print(&mut self) {
        for notice in self.planner.take_notices() {
            self.say(&format!("# {notice}"));
        }
        for report in self.planner.take_reports(at(self.now)) {
            match report {
                Report::Page(page) => {
                    self.pages = page.seq;
                    let life = page
                        .entries
                        .first()
                        .map(|(_, expires)| crate::time::human(expires.since(at(self.now).wall)));
                    self.say(&format!(
                        "page {}: {} entries for {}, cursor {}, left out: {}",
                        page.seq,
                        page.entries.len(),
                        life.unwrap_or_default(),
                        page.cursor.id,
                        page.rejected
                    ));
                }
                Report::Answer { ip, verdict } => self.say(&format!("{ip} is {verdict:?}")),
                Report::Servers(ips) => self.say(&format!("servers {ips:?}")),
                Report::Requesting(_) | Report::State(_) => {}
            }
        }
    }

    fn say(&mut self, what: &str) {
        writeln!(self.text, "{} {what}", self.now).unwrap();
    }
}

fn page(count: u32, id: &str) -> String {
    let first = u32::from(std::net::Ipv4Addr::new(198, 51, 100, 0));
    let ips = (first..first + count).map(|ip| std::net::Ipv4Addr::from(ip).to_string());
    let ips: Vec<_> = ips.collect();
    serde_json::json!({ "ipaddress": ips, "ID": id }).to_string()
}

fn check(script: &str, wanted: Expect) {
    check_with(settings(), Memory::default(), script, wanted);
}

fn check_with(settings: Settings, memory: Memory, script: &str, wanted: Expect) {
    wanted.assert_eq(&Story::new(settings, memory).tell(script));
}

const FINISHED: &str = r#"list 400 {"ipaddress":["no new bans"],"ID":"none"}"#;
const UNAUTHORIZED: &str = r#"403 {"ipaddress":"none","ID":"unauthorized"}"#;
const TOO_MANY: &str = r#"429 {"ipaddress":"rate limit exceeded","ID":"unauthorized"}"#;
const NOT_LISTED: &str = r#"check 400 {"ipaddress":["not blocked"],"ID":"none"}"#;

#[test]
fn a_first_sync_goes_page_by_page_and_then_polls() {
    check(
        &format!(
            "1 page 250 to 1698425647
             2 applied 250
             3 page 3 to 1700000000
             4 applied 253
             5 {FINISHED}
             6 state
             310 page 2 to 1700000300
             311 applied 255
             700 nothing"
        ),
        expect![[r#"
            0 list 100
            1 page 1: 250 entries for 1w, cursor 1698425647, left out: none
            2 list 1698425647
            3 page 2: 3 entries for 6d 23h, cursor 1700000000, left out: none
            4 list 1700000000
            5 # list complete, 253 entries in force
            6 Current, held 253, 3 of 10 requests, why: None, until None
            305 list 1700000000
            310 page 3: 2 entries for 6d 23h, cursor 1700000300, left out: none
            611 list 1700000300
        "#]],
    );
}

#[test]
fn nothing_is_asked_before_the_page_is_in_force() {
    check(
        "0 page 250 to 5
         100 nothing
         119 applied 250
         119 page 250 to 6
         120 refused by firewall
         130 page 250 to 6
         300 nothing",
        expect![[r#"
            0 list 100
            0 page 1: 250 entries for 1w, cursor 5, left out: none
            119 list 5
            119 page 2: 250 entries for 1w, cursor 6, left out: none
            120 # list: the firewall did not take the page; will try again
            125 list 5
            130 page 3: 250 entries for 1w, cursor 6, left out: none
            250 # list: the firewall did not take the page, again
            265 list 5
        "#]],
    );
}

#[test]
fn no_key_no_requests() {
    for key in ["", "MYAPIKEY"] {
        let settings = Settings {
            key: Key::parse(key),
            ..settings()
        };
        let planner = Story::new(settings, Memory::default());
        let told = planner.tell("0 ask 192.0.2.7\n 900000 state");
        assert!(told.contains("# off: the key file"), "{told}");
        assert!(told.contains("192.0.2.7 is NoAnswer"), "{told}");
        assert!(told.contains("Off, held 0, 0 of 10 requests"), "{told}");
        assert_eq!(told.lines().count(), 3, "{told}");
    }
}

#[test]
fn trouble_is_left_in_peace_longer_and_longer() {
    check(
        &format!(
            "0 list fails
             5 list 502 <html>
             20 list 200 <html>
             80 list 404 {{}}
             81 state
             380 list fails
             680 page 250 to 5
             681 applied 250
             682 {FINISHED}
             990 list fails
             996 nothing"
        ),
        expect![[r#"
            0 list 100
            0 # list: cannot connect: connection refused; will try again
            5 list 100
            5 # list: status 502; will try again
            20 list 100
            20 # list: an answer without sense: not the JSON that was agreed on; will try again
            80 list 100
            80 # list: status 404; will try again
            81 Trouble, held 0, 4 of 10 requests, why: Some("status 404"), until Some(380s)
            380 list 100
            380 # list: cannot connect: connection refused; will try again
            680 list 100
            680 page 1: 250 entries for 1w, cursor 5, left out: none
            681 # list: works again
            681 list 5
            682 # list complete, 250 entries in force
            982 list 5
            990 # list: cannot connect: connection refused; will try again
            995 list 5
        "#]],
    );
}

#[test]
fn a_refused_key_is_not_asked_with_again() {
    check(
        &format!(
            "0 ask 192.0.2.7
             1 list {UNAUTHORIZED}
             2 ask 192.0.2.8
             3 state
             901 list {UNAUTHORIZED}
             4501 list {UNAUTHORIZED}
             26101 list {UNAUTHORIZED}
             30000 key s3cr3t-0002
             30001 {FINISHED}
             30002 ask 192.0.2.8"
        ),
        expect![[r#"
            0 list 100
            0 check 192.0.2.7
            1 # the key is refused; entries stay; next try in 15m, or at once with another key and a reload
            2 192.0.2.8 is NoAnswer
            3 Refused, held 0, 2 of 10 requests, why: Some("the key is refused"), until Some(901s)
            901 list 100
            901 # the key is refused; entries stay; next try in 1h, or at once with another key and a reload
            4501 list 100
            4501 # the key is refused; entries stay; next try in 6h, or at once with another key and a reload
            26101 list 100
            26101 # the key is refused; entries stay; next try in 6h, or at once with another key and a reload
            30000 requests dropped: true
            30000 192.0.2.7 is NoAnswer
            30000 list 100
            30001 # list complete, 0 entries in force
            30002 check 192.0.2.8
        "#]],
    );
}

#[test]
fn too_many_requests_mean_a_pause_and_half_the_budget() {
    check(
        &format!(
            "0 page 250 to 5
             1 applied 250
             2 list {TOO_MANY}
             3 ask 192.0.2.7
             4 state
             122 list {TOO_MANY}
             362 list {TOO_MANY}
             842 list {TOO_MANY}
             1742 {FINISHED}
             1743 state
             9000 nothing"
        ),
        expect![[r#"
            0 list 100
            0 page 1: 250 entries for 1w, cursor 5, left out: none
            1 list 5
            2 # too many requests, so the key is in use elsewhere; pause of 2m, then 5 requests in 2 minutes for an hour
            3 192.0.2.7 is NoAnswer
            4 RateLimited, held 250, 2 of 5 requests, why: Some("too many requests; the key is in use elsewhere"), until Some(122s)
            122 list 5
            122 # too many requests, so the key is in use elsewhere; pause of 4m, then 2 requests in 2 minutes for an hour
            362 list 5
            362 # too many requests, so the key is in use elsewhere; pause of 8m, then 2 requests in 2 minutes for an hour
            842 list 5
            842 # too many requests, so the key is in use elsewhere; pause of 15m, then 2 requests in 2 minutes for an hour
            1742 list 5
            1742 # list complete, 250 entries in force
            1743 Current, held 250, 1 of 2 requests, why: None, until None
            2042 list 5
        "#]],
    );
}

#[test]
fn checks_are_made_newest_first_and_share_the_budget() {
    let asks: String = (1..=12).map(|n| format!("10 ask 192.0.2.{n}\n")).collect();
    let answers = format!("11 {NOT_LISTED}\n").repeat(9);
    check(
        &format!(
            "0 {FINISHED}
             {asks}
             {answers}
             60 state
             70 ask 192.0.2.99
             200 nothing"
        ),
        expect![[r#"
            0 list 100
            0 # list complete, 0 entries in force
            10 check 192.0.2.1
            11 192.0.2.1 is NotListed
            11 check 192.0.2.12
            11 192.0.2.12 is NotListed
            11 check 192.0.2.11
            11 192.0.2.11 is NotListed
            11 check 192.0.2.10
            11 192.0.2.10 is NotListed
            11 check 192.0.2.9
            11 192.0.2.9 is NotListed
            11 check 192.0.2.8
            11 192.0.2.8 is NotListed
            11 check 192.0.2.7
            11 192.0.2.7 is NotListed
            11 check 192.0.2.6
            11 192.0.2.6 is NotListed
            11 check 192.0.2.5
            11 192.0.2.4 is NoAnswer
            11 192.0.2.3 is NoAnswer
            11 192.0.2.2 is NoAnswer
            11 192.0.2.5 is NotListed
            60 Current, held 0, 10 of 10 requests, why: None, until None
            120 check 192.0.2.99
        "#]],
    );
}

#[test]
fn what_a_check_brings() {
    check(
        &format!(
            r#"0 {FINISHED}
             1 ask 192.0.2.1
             2 ask 192.0.2.1
             3 check 200 {{"ipaddress":["192.0.2.1"],"ID":"987654321"}}
             4 ask 192.0.2.2
             4 check 200 {{"ipaddress":["192.0.2.3"],"ID":"987654321"}}
             5 ask 192.0.2.3
             9 check fails
             10 ask 192.0.2.4
             24 check 400 {{}}
             30 ask 192.0.2.5
             30 check {UNAUTHORIZED}
             40 ask 192.0.2.6
             40 ask 127.0.0.1"#
        ),
        expect![[r#"
            0 list 100
            0 # list complete, 0 entries in force
            1 check 192.0.2.1
            3 192.0.2.1 is Listed
            4 check 192.0.2.2
            4 # check: an answer without sense: neither listed nor not listed; will try again
            4 192.0.2.2 is NoAnswer
            9 check 192.0.2.3
            9 # check: cannot connect: connection refused; will try again
            9 192.0.2.3 is NoAnswer
            24 check 192.0.2.4
            24 # check: works again
            24 192.0.2.4 is NotListed
            30 check 192.0.2.5
            30 # the key is refused; entries stay; next try in 15m, or at once with another key and a reload
            30 192.0.2.5 is NoAnswer
            40 192.0.2.6 is NoAnswer
            40 127.0.0.1 is NoAnswer
        "#]],
    );
}

#[test]
fn checks_stop_when_they_cannot_succeed() {
    check(
        &format!(
            "0 {FINISHED}
             1 ask 192.0.2.1
             1 check fails
             2 ask 192.0.2.2
             6 check fails
             7 ask 192.0.2.3
             21 check fails
             22 ask 192.0.2.4
             82 nothing
             83 ask 192.0.2.5"
        ),
        expect![[r#"
            0 list 100
            0 # list complete, 0 entries in force
            1 check 192.0.2.1
            1 # check: cannot connect: connection refused; will try again
            1 192.0.2.1 is NoAnswer
            6 check 192.0.2.2
            6 # check: cannot connect: connection refused, again
            6 192.0.2.2 is NoAnswer
            21 check 192.0.2.3
            21 # check: cannot connect: connection refused, again
            21 192.0.2.3 is NoAnswer
            81 check 192.0.2.4
        "#]],
    );
}

#[test]
fn circles_end() {
    check(
        "0 page 250 to 5
         0 applied 250
         1 page 250 to 6
         1 applied 500
         2 page 250 to 5
         2 applied 500
         310 page 250 to 5
         310 applied 500
         700 nothing",
        expect![[r#"
            0 list 100
            0 page 1: 250 entries for 1w, cursor 5, left out: none
            0 list 5
            1 page 2: 250 entries for 1w, cursor 6, left out: none
            1 list 6
            2 page 3: 250 entries for 1w, cursor 5, left out: none
            2 # the list leads back to an earlier page; round ended
            302 list 5
            310 page 4: 250 entries for 1w, cursor 5, left out: none
            310 # list complete, 500 entries in force
            610 list 5
        "#]],
    );
}

#[test]
fn the_set_may_be_full() {
    let settings = Settings {
        max_entries: 300,
        ..settings()
    };
    check_with(
        settings,
        Memory::default(),
        "0 page 250 to 5
         0 applied 250
         1 page 250 to 6
         1 applied 300
         2 page 250 to 7
         2 applied 300
         3 state",
        expect![[r#"
            0 list 100
            0 page 1: 250 entries for 1w, cursor 5, left out: none
            0 list 5
            1 # the list is larger than max_entries = 300; the rest is not loaded
            1 page 2: 50 entries for 1w, cursor 6, left out: 200 no room left
            1 list 6
            2 page 3: 0 entries for , cursor 7, left out: 250 no room left
            2 list 7
            3 Syncing, held 300, 4 of 10 requests, why: None, until None
        "#]],
    );
}

#[test]
fn a_restart_goes_on_where_it_was() {
    let mut cursor = Cursor::start(&settings()).unwrap();
    cursor.id = CursorId::parse("1699999999").unwrap();
    let memory = |cursor| Memory {
        cursors: vec![cursor],
        requests: vec![Time::from_secs(EPOCH - 30); 10],
        last_sync: Some(Time::from_secs(EPOCH - 60)),
        held: 500,
    };
    check_with(
        settings(),
        memory(cursor.clone()),
        &format!("0 state\n 110 {FINISHED}"),
        expect![[r#"
            0 Syncing, held 500, 10 of 10 requests, why: None, until None
            110 list 1699999999
            110 # list complete, 500 entries in force
        "#]],
    );
    // With another key, set or host the cursor means nothing.
    for other in [
        Settings {
            key: Key::parse("s3cr3t-0002"),
            ..settings()
        },
        Settings {
            set: ListName::All,
            ..settings()
        },
        Settings {
            base_url: "https://apiban.example/".parse().unwrap(),
            ..settings()
        },
    ] {
        let told = Story::new(other, memory(cursor.clone())).tell("200 nothing");
        assert_eq!(told, "110 list 100\n");
    }
}

#[test]
fn each_set_has_its_own_cursor() {
    let (sip, all) = (
        settings(),
        Settings {
            set: ListName::All,
            ..settings()
        },
    );
    let mut story = Story::new(sip.clone(), Memory::default());
    for (settings, id) in [(&sip, "5"), (&all, "6"), (&sip, "7"), (&all, "8")] {
        story.planner.reload(settings.clone(), at(story.now));
        story.do_what_is_due();
        story.obey(&format!("page 250 to {id}"));
        story.print();
        story.obey("applied 250");
        story.now += 1;
    }
    let asked: Vec<_> = story
        .text
        .lines()
        .filter_map(|line| line.split_once(" list "))
        .map(|(_, cursor)| cursor)
        .collect();
    assert_eq!(asked, ["100", "100", "5", "6"]);
}

#[test]
fn a_lost_firewall_set_is_filled_from_the_start() {
    check(
        &format!(
            "0 page 250 to 5
             0 applied 250
             1 {FINISHED}
             100 resync
             101 page 250 to 5
             102 applied 250
             103 resync"
        ),
        expect![[r#"
            0 list 100
            0 page 1: 250 entries for 1w, cursor 5, left out: none
            0 list 5
            1 # list complete, 250 entries in force
            100 list 100
            101 page 2: 250 entries for 1w, cursor 5, left out: none
            102 list 5
            103 list 100
        "#]],
    );
}

#[test]
fn a_silent_firewall_does_not_stop_the_list() {
    check(
        "0 page 250 to 5
         124 nothing
         126 page 250 to 5
         127 applied 250",
        expect![[r#"
            0 list 100
            0 page 1: 250 entries for 1w, cursor 5, left out: none
            120 # list: the firewall did not take the page; will try again
            125 list 100
            126 page 2: 250 entries for 1w, cursor 5, left out: none
            127 # list: works again
            127 list 5
        "#]],
    );
}

#[test]
fn once_a_day_the_list_is_read_again_from_its_start() {
    let mut story = Story::new(settings(), Memory::default());
    while story.now < 3 * 86_400 {
        let wake = story.do_what_is_due().expect("a poll");
        match story.text.lines().last().unwrap_or_default() {
            line if line.ends_with("list 100") => story.obey("page 9 to 5"),
            line if line.ends_with("list 5") => story.obey(FINISHED),
            _ => {}
        }
        story.print();
        story.planner.loaded(story.pages, 9, at(story.now));
        let busy = story
            .planner
            .walk
            .wants_at()
            .is_none_or(|at| at <= secs(story.now));
        if !busy {
            story.now = (wake.as_secs() + 1).max(story.now + 1);
        }
    }
    let starts = story.text.lines().filter(|line| line.ends_with("list 100"));
    let days: Vec<_> = starts
        .filter_map(|line| line.split_once(' '))
        .map(|(second, _)| second.parse::<u64>().unwrap() / 3_600)
        .collect();
    assert_eq!(days, [0, 24, 48]);
}

#[test]
fn silence_for_a_day_is_called_stale() {
    let mut story = Story::new(settings(), Memory::default());
    while story.now < 3 * 86_400 + 600 {
        if story.do_what_is_due().is_some() && story.planner.walk.wants_at().is_none() {
            story.obey("list fails");
        }
        let wake = story.do_what_is_due().expect("a retry");
        story.now = wake.as_secs_f64().ceil() as u64;
    }
    let stale: Vec<_> = story
        .text
        .lines()
        .filter(|line| line.contains("no successful sync"))
        .filter_map(|line| line.split_once(' '))
        .map(|(second, _)| second.parse::<u64>().unwrap() / 3_600)
        .collect();
    assert_eq!(stale, [24, 48, 72]);
    assert!(story.planner.state(at(story.now)).stale);
    story.now += 400;
    story.do_what_is_due();
    story.obey(FINISHED);
    assert!(!story.planner.state(at(story.now)).stale);
}

#[test]
fn a_flood_of_checks_and_a_long_list_share_the_budget() {
    let mut story = Story::new(settings(), Memory::default());
    let (mut lists, mut checks) = (Vec::new(), Vec::new());
    let mut ips = (1_u32..).map(|n| IpAddr::V4((0xc633_6400 + n % 60_000).into()));
    for second in 0..1_200 {
        story.now = second;
        for ip in ips.by_ref().take(5) {
            story.planner.ask(ip, &|_| false, at(second));
        }
        for _ in 0..30 {
            match story.planner.next(at(second)) {
                Do::Fetch(_) => {
                    lists.push(second);
                    let id = 1_000 + lists.len();
                    story.obey(&format!("page 250 to {id}"));
                    story.print();
                    story.obey("applied 250");
                }
                Do::Check(_) => {
                    checks.push(second);
                    story.obey(NOT_LISTED);
                }
                Do::Wait(_) => break,
            }
        }
    }
    let mut all = [lists.clone(), checks.clone()].concat();
    all.sort_unstable();
    for (place, first) in all.iter().enumerate() {
        let window = all.iter().skip(place).take_while(|at| **at < first + 120);
        assert!(window.count() <= 10);
    }
    assert!(lists.len() >= 78, "{} pages", lists.len());
    assert!(checks.len() >= 18, "{} checks", checks.len());
}

#[test]
fn the_budget_can_change_at_any_time() {
    check(
        "0 page 250 to 5
         0 applied 250
         1 limit 2
         2 page 250 to 6
         3 applied 500
         200 nothing",
        expect![[r#"
            0 list 100
            0 page 1: 250 entries for 1w, cursor 5, left out: none
            0 list 5
            1 requests dropped: false
            2 page 2: 250 entries for 1w, cursor 6, left out: none
            120 list 6
        "#]],
    );
}

#[test]
fn the_services_own_addresses_are_never_entries() {
    let mut story = Story::new(settings(), Memory::default());
    story.do_what_is_due();
    story
        .planner
        .servers(&["198.51.100.1".parse().unwrap()], at(0));
    story.obey("page 3 to 5");
    story.print();
    story
        .planner
        .ask("198.51.100.1".parse().unwrap(), &|_| false, at(0));
    story.print();
    expect![[r#"
        0 list 100
        0 # entries not taken: 1 protected
        0 servers [198.51.100.1]
        0 page 1: 2 entries for 1w, cursor 5, left out: 1 protected
        0 198.51.100.1 is NoAnswer
    "#]]
    .assert_eq(&story.text);
}

#[test]
fn a_clock_that_is_set_changes_nothing_but_dates() {
    let mut story = Story::new(settings(), Memory::default());
    story.do_what_is_due();
    story.obey(FINISHED);
    for years in [-30_i64, 0, 30] {
        let now = Now {
            mono: secs(10),
            wall: Time::from_secs(EPOCH + years * 31_557_600),
        };
        assert_eq!(story.planner.next(now), Do::Wait(Some(secs(300))));
        let poll = story.planner.state(now).next_poll.unwrap();
        assert_eq!(poll, now.wall + secs(290));
    }
}

/// What the world does to the planner at random.
#[derive(Clone, Debug)]
enum Chance {
    Pass(u64),
    Ask(u8),
    List(u8),
    Check(u8),
    Applied,
    NotLoaded,
    Key(bool),
    Resync,
}

fn chance() -> impl Strategy<Value = Chance> {
    prop_oneof![
        4 => (0_u64..200).prop_map(Chance::Pass),
        6 => any::<u8>().prop_map(Chance::Ask),
        6 => (0_u8..8).prop_map(Chance::List),
        6 => (0_u8..6).prop_map(Chance::Check),
        6 => Just(Chance::Applied),
        1 => Just(Chance::NotLoaded),
        1 => any::<bool>().prop_map(Chance::Key),
        1 => Just(Chance::Resync),
    ]
}

proptest! {
    /// Whatever happens: the budget holds, one request of a kind runs at a time,
    /// every question is answered within 60 s of waiting and 5 s of asking.
    #[test]
    fn promises_hold_whatever_happens(chances in prop::collection::vec(chance(), 1..200)) {
        let mut planner = Planner::new(settings(), Memory::default(), Jitter::new(5), at(0));
        let (mut second, mut last_page) = (0, 0);
        let mut running: [Option<u64>; 2] = [None, None];
        let mut starts = Vec::new();
        let mut open = std::collections::HashMap::new();
        let nobody = |_: IpAddr| false;
        for chance in chances {
            match chance {
                // No request lasts longer than its limit; the shell sees to that.
                Chance::Pass(span) => {
                    let ends = [(running[0], 20), (running[1], 5)];
                    let limit = ends.iter().filter_map(|(start, limit)| Some((*start)? + limit));
                    second = limit.fold(second + span, u64::min).max(second);
                }
                Chance::Ask(last) => {
                    let ip = IpAddr::from([192, 0, 2, last]);
                    open.entry(ip).or_insert(second);
                    planner.ask(ip, &nobody, at(second));
                }
                Chance::List(kind) if running[0].is_some() => {
                    running[0] = None;
                    let content = |status, body: &str| Ok(Content {
                        status, retry_after: None, whole: true, body: body.into(),
                    });
                    let outcome = match kind {
                        0 => Err(Trouble::Truncated),
                        1 => content(403, r#"{"ID":"unauthorized"}"#),
                        2 => content(429, ""),
                        3 => content(400, r#"{"ID":"none"}"#),
                        _ => content(200, &page(250, &(5 + second).to_string())),
                    };
                    planner.fetched(outcome, &nobody, at(second));
                }
                Chance::Check(kind) if running[1].is_some() => {
                    running[1] = None;
                    let (status, body) = [
                        (403, r#"{"ID":"unauthorized"}"#),
                        (429, ""),
                        (500, ""),
                        (400, r#"{"ID":"none"}"#),
                        (400, "{}"),
                        (200, r#"{"ipaddress":"blocked","ID":7}"#),
                    ][usize::from(kind)];
                    let body = body.into();
                    let content = Content { status, retry_after: None, whole: true, body };
                    planner.checked(Ok(content), at(second));
                }
                Chance::List(_) | Chance::Check(_) => {}
                Chance::Applied => planner.loaded(last_page, 100, at(second)),
                Chance::NotLoaded => planner.not_loaded(last_page, at(second)),
                Chance::Key(other) => {
                    let key = Key::parse(if other { "s3cr3t-2" } else { "s3cr3t-1" });
                    if planner.reload(Settings { key, ..settings() }, at(second)) {
                        running = [None, None];
                    }
                }
                Chance::Resync => {
                    planner.resync(at(second));
                    running = [None, None];
                }
            }
            loop {
                match planner.next(at(second)) {
                    Do::Fetch(_) => prop_assert!(running[0].replace(second).is_none()),
                    Do::Check(_) => prop_assert!(running[1].replace(second).is_none()),
                    Do::Wait(until) => {
                        prop_assert!(until.is_none_or(|until| until > secs(second)));
                        break;
                    }
                }
                starts.push(second);
            }
            for report in planner.take_reports(at(second)) {
                match report {
                    Report::Page(page) => last_page = page.seq,
                    Report::Answer { ip, .. } => { open.remove(&ip); }
                    _ => {}
                }
            }
            planner.take_notices();
            let overdue = open.values().find(|since| second > **since + 60 + 5);
            prop_assert!(overdue.is_none(), "{overdue:?}");
        }
        for (place, first) in starts.iter().enumerate() {
            let window = starts.iter().skip(place).take_while(|at| **at < first + 120);
            prop_assert!(window.count() <= 10);
        }
    }
}
