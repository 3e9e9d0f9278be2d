//! The engine's story in rows: `SECONDS EVENT ...` in, everything that happened out.
//! Also `nothing` is printed: silence may mean that a row was misread.

use std::fmt::Write;

use expect_test::{Expect, expect};

use super::restore::NO_PAGE;
use super::*;
use crate::ban::record::{OldBan, PastBan};
use crate::feed::Page;
use crate::feed::{Cursor, Rejections};
use crate::ticket::{Captured, FormTries, Registration, Sight, Sighting, Trust, Unanswered};

pub(super) const START: i64 = 1_000_000;

pub(super) fn rules(name: &str) -> Rules {
    Rules {
        name: name.into(),
        maxretry: 3,
        findtime: Duration::from_secs(600),
        aggregate: None,
        maxmatches: 5,
        bantime: BanTime::For(Duration::from_secs(3_600)),
        increment: Increment::default(),
        apiban: true,
        tally: Tally::Tries,
        hints: None,
        hosts_only: false,
        maxchallenges: None,
        ignored: Protected::default(),
    }
}

fn engine() -> Engine {
    let protected = Protected::new(["192.0.2.99".parse().unwrap()]);
    let checks = Checks {
        on: true,
        accept_reserved: true,
    };
    Engine::new(
        vec![rules("asterisk"), rules("kamailio")],
        protected,
        checks,
        Time::from_secs(START),
    )
}

fn check(rows: &str, expected: Expect) {
    check_with(engine(), rows, expected);
}

pub(super) fn check_with(engine: Engine, rows: &str, expected: Expect) {
    expected.assert_eq(&play_with(engine, rows));
}

/// Everything that happened.
pub(super) fn play_with(mut engine: Engine, rows: &str) -> String {
    let mut shown = String::new();
    for row in rows.lines().map(str::trim).filter(|row| !row.is_empty()) {
        let mut words = row.split_whitespace();
        let secs: i64 = words.next().unwrap().parse().expect(row);
        let now = Time::from_secs(START + secs);
        let mut effects = Vec::new();
        play(
            &mut engine,
            &words.collect::<Vec<_>>(),
            now,
            &mut effects,
            &mut shown,
        );
        if effects.is_empty() {
            writeln!(shown, "{secs} nothing").unwrap();
        }
        for effect in effects {
            writeln!(shown, "{secs} {}", show(&effect)).unwrap();
        }
    }
    shown
}

fn play(
    engine: &mut Engine,
    words: &[&str],
    now: Time,
    effects: &mut Vec<Effect>,
    shown: &mut String,
) {
    let ip = |text: &str| text.parse::<IpAddr>().expect(text);
    match words {
        ["bad", jail, addr] => engine.handle(failure(jail, ip(addr), 0, now), now, effects),
        ["bad", jail, addr, form] => engine.handle(
            failure(jail, ip(addr), form.parse().unwrap(), now),
            now,
            effects,
        ),
        ["id", jail, addr, id] => {
            let Event::Failure(mut failure) = failure(jail, ip(addr), 0, now) else {
                unreachable!()
            };
            failure.captured = Some(Box::new(Captured {
                id: Some((*id).into()),
                groups: Vec::new(),
            }));
            engine.handle(Event::Failure(failure), now, effects);
        }
        [trust @ ("hint" | "proof"), jail, addr, rest @ ..] => {
            let trust = match *trust {
                "proof" => Trust::Proof,
                _ => Trust::Hint,
            };
            let user = rest.first().map(|user| (*user).into());
            let event = match failure(jail, ip(addr), 0, now) {
                Event::Failure(failure) => Event::Failure(Failure {
                    trust,
                    user,
                    ..failure
                }),
                other => other,
            };
            engine.handle(event, now, effects);
        }
        [
            seen @ ("login" | "doubted" | "challenge"),
            jail,
            addr,
            rest @ ..,
        ] => {
            let sighting = Sighting {
                jail: (*jail).into(),
                addr: Addr::host(ip(addr)),
                time: now,
                sight: match *seen {
                    "challenge" => Sight::Challenge,
                    _ => Sight::Success,
                },
                trust: match *seen {
                    "login" => Trust::Proof,
                    _ => Trust::Hint,
                },
                user: rest.first().map(|user| (*user).into()),
                form: 0,
            };
            engine.handle(Event::Sighting(sighting), now, effects);
        }
        ["registered", addr, user, since] => {
            let registration = Registration {
                addr: Addr::host(ip(addr)),
                user: (*user).into(),
                since: (*since != "-")
                    .then(|| Time::from_secs(START + since.parse::<i64>().unwrap())),
            };
            engine.handle(Event::Registered(vec![registration]), now, effects);
        }
        ["flow", addr, answer] => {
            let event = Event::Flow(addr.parse().unwrap(), *answer == "yes");
            engine.handle(event, now, effects);
        }
        ["unanswered", addrs @ ..] => {
            let sent = |text: &&str| {
                let of_tcp = text.strip_prefix("tcp:");
                let (ip, tcp) = (ip(of_tcp.unwrap_or(text)), of_tcp.is_some());
                Unanswered { ip, tcp }
            };
            let all = addrs.iter().map(sent).collect();
            engine.handle(Event::Unanswered(all), now, effects);
        }
        ["infrastructure", addrs @ ..] => {
            let addrs = addrs.iter().map(|addr| addr.parse().unwrap());
            engine.handle(Event::Infrastructure(Protected::only(addrs)), now, effects);
        }
        ["rank", addr] => {
            let rank = engine.rank(&addr.parse().unwrap(), now);
            writeln!(shown, "rank: {rank:?}").unwrap();
        }
        ["listed", addr] => engine.handle(Event::Answer(ip(addr), Verdict::Listed), now, effects),
        ["unlisted", addr] => {
            engine.handle(Event::Answer(ip(addr), Verdict::NotListed), now, effects)
        }
        ["page", seq, addrs @ ..] => {
            let entries = addrs
                .iter()
                .map(|addr| (ip(addr), now + Duration::from_secs(86_400)))
                .collect();
            engine.handle(
                Event::Page(page(seq.parse().unwrap(), entries)),
                now,
                effects,
            );
        }
        ["loaded", page] => engine.handle(
            Event::Loaded {
                page: page.parse().unwrap(),
                refused: 0,
            },
            now,
            effects,
        ),
        ["load-failed", page] => engine.handle(
            Event::LoadFailed {
                page: page.parse().unwrap(),
            },
            now,
            effects,
        ),
        ["refused", jail, addr] => {
            let set = Set::Jail((*jail).into());
            engine.handle(
                Event::Refused {
                    set,
                    addr: addr.parse().unwrap(),
                },
                now,
                effects,
            );
        }
        ["ban", addr] => {
            if let Err(refusal) = engine.ban(addr.parse().unwrap(), None, None, now, effects) {
                writeln!(shown, "refusal: {refusal}").unwrap();
            }
        }
        ["unban", addr] => {
            let pardon = engine.unban(addr.parse().unwrap(), now, effects);
            writeln!(
                shown,
                "pardon: {} lifted, {} wider, {} listed",
                pardon.lifted.len(),
                pardon.wider.len(),
                pardon.listed.len()
            )
            .unwrap();
        }
        ["protect", addrs @ ..] => {
            let protected = Protected::new(addrs.iter().map(|addr| addr.parse().unwrap()));
            engine.handle(Event::Protect(protected), now, effects);
        }
        ["only", jail] => {
            engine.reconfigure(vec![rules(jail)], Checks::default(), now, effects);
        }
        ["reads-back", until] => {
            engine.reads_back(Time::from_secs(START + until.parse::<i64>().unwrap()));
        }
        ["caught-up"] => engine.handle(Event::CaughtUp, now, effects),
        ["tick"] => engine.handle(Event::Tick, now, effects),
        other => panic!("no such event: {other:?}"),
    }
}

fn failure(jail: &str, ip: IpAddr, form: u32, time: Time) -> Event {
    Event::Failure(Failure {
        jail: jail.into(),
        addr: Addr::host(ip),
        time,
        form,
        trust: Trust::Hint,
        user: None,
        line: "line".into(),
        captured: None,
    })
}

fn page(seq: u64, entries: Vec<(IpAddr, Time)>) -> Page {
    let cursor = r#"{"format":1,"id":"1698425647","base_url":"https://apiban.org/","set":"sip","key_digest":"00000000","walked_secs":null}"#;
    let cursor = Cursor::from_json(cursor).expect("a cursor");
    Page {
        seq,
        entries,
        cursor,
        rejected: Rejections::default(),
    }
}

fn show(effect: &Effect) -> String {
    let entry = |entry: &Entry| format!("{} {}s", entry.addr, entry.timeout_secs);
    let set = |set: &Set| match set {
        Set::Jail(jail) => jail.to_string(),
        other => format!("{other:?}"),
    };
    match effect {
        Effect::Order(Order::Block {
            set: into,
            entry: what,
        }) => format!("block {} {}", set(into), entry(what)),
        Effect::Order(Order::Unblock { set: from, addr }) => {
            format!("unblock {} {addr}", set(from))
        }
        Effect::Order(Order::Load { page, entries, .. }) => {
            let page = if *page == NO_PAGE {
                "-".to_owned()
            } else {
                page.to_string()
            };
            format!(
                "load {page}: {}",
                entries.iter().map(entry).collect::<Vec<_>>().join(", ")
            )
        }
        Effect::Record(Record::Ban { ban, .. }) => format!("record ban {} {}", ban.jail, ban.addr),
        Effect::Record(Record::Prolonged(ban)) => {
            format!("record prolonged {} {}", ban.jail, ban.addr)
        }
        Effect::Record(Record::Unban { jail, addr }) => format!("record unban {jail} {addr}"),
        Effect::Record(Record::Forget(addr)) => format!("record forget {addr}"),
        Effect::Record(Record::Listed(entries)) => format!("record {} listed", entries.len()),
        Effect::Record(Record::Standing(ban, count)) => {
            format!("record standing {} {} {count}", ban.jail, ban.addr)
        }
        Effect::Record(Record::Known(kept)) => format!("record standing of {}", kept.addr),
        Effect::Record(Record::Jails(jails)) => format!("record {} jails", jails.len()),
        Effect::Record(Record::Fact(name, _)) => format!("record {name}"),
        Effect::Record(Record::Read(reading)) => {
            format!(
                "record {} places and {} tries",
                reading.places.len(),
                reading.tries.len()
            )
        }
        Effect::Feed(Command::Check(ip)) => format!("ask {ip}"),
        Effect::Feed(Command::Applied { page, held }) => format!("applied {page}, {held} held"),
        Effect::Feed(Command::LoadFailed { page }) => format!("load failed {page}"),
        Effect::Feed(other) => format!("feed {other:?}"),
        Effect::Tell(Tell::Found {
            addr,
            tries,
            maxretry,
            ..
        }) => format!("tell found {addr} {tries}/{maxretry}"),
        Effect::Tell(Tell::Banned(ban)) => format!(
            "tell banned {} {} after {}",
            ban.addr, ban.reason, ban.tries
        ),
        Effect::Tell(Tell::Unbanned(ban)) => format!("tell unbanned {}", ban.addr),
        Effect::Tell(Tell::Restored { jail, bans }) => format!("tell restored {bans} of {jail}"),
        Effect::Tell(Tell::Adopted { jail, bans }) => format!("tell adopted {bans} of {jail}"),
        Effect::AskFlow(addr) => format!("ask flow {addr}"),
        Effect::Tell(Tell::Alarm(alarm)) => format!("alarm: {alarm}"),
        Effect::Tell(other) => format!(
            "tell {}",
            format!("{other:?}").split([' ', '(']).next().unwrap()
        ),
    }
}

/// While no drop is in force all of very many banned senders are seen: no more than so many
/// orders are given again in a minute.
#[test]
fn very_many_who_are_seen_still_are_not_ordered_for_each_line() {
    let mut engine = engine();
    let senders = 3_000_u32;
    let bad = |engine: &mut Engine, secs: i64| {
        let (mut effects, now) = (Vec::new(), Time::from_secs(START + secs));
        for sender in 0..senders {
            let ip = std::net::Ipv4Addr::from(0xc633_0000 + sender).into();
            engine.handle(failure("asterisk", ip, 0, now), now, &mut effects);
        }
        let again = |effect: &&Effect| matches!(effect, Effect::Tell(Tell::StillSeen(_)));
        effects.iter().filter(again).count()
    };
    let seen: Vec<usize> = [0, 1, 2, 10, 11, 12, 13, 71]
        .map(|secs| bad(&mut engine, secs))
        .into();
    assert_eq!(seen, [0, 0, 0, 1_024, 0, 0, 0, 1_024]);
}

#[test]
fn while_drops_are_lifted_who_is_banned_may_be_seen() {
    let mut engine = engine();
    let mut seen = |secs: i64, laid: Option<bool>| {
        let (mut effects, now) = (Vec::new(), Time::from_secs(START + secs));
        if let Some(laid) = laid {
            engine.drops_are(laid, now);
        }
        let ip = "198.51.100.7".parse().unwrap();
        engine.handle(failure("asterisk", ip, 0, now), now, &mut effects);
        let again = |effect: &Effect| matches!(effect, Effect::Tell(Tell::StillSeen(_)));
        effects.iter().any(again)
    };
    assert_eq!([0, 1, 2].map(|secs| seen(secs, None)), [false; 3]);
    assert!(!seen(10, Some(false)) && !seen(500, None), "lifted");
    assert!(!seen(510, Some(true)), "its line was on its way");
    assert!(seen(514, None), "and this packet came through");
}

#[test]
fn maxretry_failures_ban_and_the_ban_ends() {
    check(
        "0 bad asterisk 192.0.2.7
         1 unlisted 192.0.2.7
         2 bad asterisk 192.0.2.7
         3 bad asterisk 192.0.2.7
         4 bad asterisk 192.0.2.7
         3602 tick
         3603 tick
         3604 bad asterisk 192.0.2.7",
        expect![[r#"
            0 ask 192.0.2.7
            0 tell found 192.0.2.7 1/3
            1 nothing
            2 tell found 192.0.2.7 2/3
            3 block asterisk 192.0.2.7 3600s
            3 record ban asterisk 192.0.2.7
            3 tell banned 192.0.2.7 maxretry after 3
            4 nothing
            3602 nothing
            3603 unblock asterisk 192.0.2.7
            3603 tell unbanned 192.0.2.7
            3604 ask 192.0.2.7
            3604 tell found 192.0.2.7 1/3
        "#]],
    );
}

#[test]
fn a_listed_address_is_banned_at_its_first_failure() {
    check(
        "0 bad kamailio 192.0.2.7
         1 bad kamailio 192.0.2.7
         2 listed 192.0.2.7
         3 bad asterisk 192.0.2.7
         4 listed 192.0.2.8",
        expect![[r#"
            0 ask 192.0.2.7
            0 tell found 192.0.2.7 1/3
            1 tell found 192.0.2.7 2/3
            2 block kamailio 192.0.2.7 86400s
            2 record ban kamailio 192.0.2.7
            2 tell banned 192.0.2.7 apiban after 1
            3 block asterisk 192.0.2.7 86400s
            3 record ban asterisk 192.0.2.7
            3 tell banned 192.0.2.7 apiban after 1
            4 nothing
        "#]],
    );
}

#[test]
fn one_try_in_two_forms_is_one_try() {
    check(
        "0 bad asterisk 192.0.2.7 0
         0 bad asterisk 192.0.2.7 65536
         1 bad asterisk 192.0.2.7 0
         1 bad asterisk 192.0.2.7 65536
         2 bad asterisk 192.0.2.7 0
         2 bad asterisk 192.0.2.7 65536",
        expect![[r#"
            0 ask 192.0.2.7
            0 tell found 192.0.2.7 1/3
            0 tell found 192.0.2.7 1/3
            1 tell found 192.0.2.7 2/3
            1 tell found 192.0.2.7 2/3
            2 block asterisk 192.0.2.7 3600s
            2 record ban asterisk 192.0.2.7
            2 tell banned 192.0.2.7 maxretry after 3
            2 nothing
        "#]],
    );
}

#[test]
fn ipv6_is_counted_and_banned_by_host_where_the_action_knows_no_networks() {
    let mut rules = rules("asterisk");
    rules.hosts_only = true;
    let engine = Engine::new(
        vec![rules],
        Protected::default(),
        Checks::default(),
        Time::from_secs(START),
    );
    check_with(
        engine,
        "0 bad asterisk 2001:db8:1:2::1
         1 bad asterisk 2001:db8:1:2::2
         2 bad asterisk 2001:db8:1:2::1
         3 bad asterisk 2001:db8:1:2::1",
        expect![[r#"
            0 tell found 2001:db8:1:2::1 1/3
            1 tell found 2001:db8:1:2::2 1/3
            2 tell found 2001:db8:1:2::1 2/3
            3 block asterisk 2001:db8:1:2::1 3600s
            3 record ban asterisk 2001:db8:1:2::1
            3 tell banned 2001:db8:1:2::1 maxretry after 3
        "#]],
    );
}

#[test]
fn ipv6_is_counted_and_banned_by_64() {
    check(
        "0 bad asterisk 2001:db8:1:2::1
         1 bad asterisk 2001:db8:1:2::2
         2 bad asterisk 2001:db8:1:2:3::4
         3 unban 2001:db8:1:2::77",
        expect![[r#"
            0 ask 2001:db8:1:2::1
            0 tell found 2001:db8:1:2::1 1/3
            1 ask 2001:db8:1:2::2
            1 tell found 2001:db8:1:2::2 2/3
            2 block asterisk 2001:db8:1:2::/64 3600s
            2 record ban asterisk 2001:db8:1:2::/64
            2 tell banned 2001:db8:1:2::/64 maxretry after 3
            pardon: 1 lifted, 0 wider, 0 listed
            3 unblock asterisk 2001:db8:1:2::/64
            3 record unban asterisk 2001:db8:1:2::/64
            3 tell unbanned 2001:db8:1:2::/64
            3 record forget 2001:db8:1:2::77
            3 record forget 2001:db8:1:2::/64
        "#]],
    );
}

#[test]
fn the_protected_are_not_banned_by_anybody() {
    check(
        "0 bad asterisk 192.0.2.99
         1 bad asterisk 192.0.2.99
         2 bad asterisk 192.0.2.99
         3 listed 192.0.2.99
         4 ban 192.0.2.99
         5 page 1 192.0.2.99 198.51.100.1
         6 bad asterisk 127.0.0.1
         7 ban 192.0.2.0/24
         8 protect 192.0.2.0/24
         9 ban 192.0.2.99",
        expect![[r#"
            0 tell Protected
            1 tell Protected
            2 tell Protected
            2 alarm: the log names 192.0.2.99, which is never banned, for 3 failed tries: if it is a proxy, who failed stays hidden (jail asterisk)
            3 nothing
            refusal: 192.0.2.99 is protected
            4 nothing
            5 load 1: 198.51.100.1 86400s
            6 tell Protected
            7 block operator 192.0.2.0/24 2147483s
            7 record ban operator 192.0.2.0/24
            7 tell banned 192.0.2.0/24 operator after 0
            8 block Allow 192.0.2.0/24 0s
            8 unblock Allow 192.0.2.99
            8 unblock operator 192.0.2.0/24
            8 record unban operator 192.0.2.0/24
            8 tell unbanned 192.0.2.0/24
            8 record forget 192.0.2.0/24
            refusal: 192.0.2.99 is protected
            9 nothing
        "#]],
    );
}

#[test]
fn a_neighbour_of_somebody_protected_is_banned_alone() {
    let mut engine = engine();
    let own = Protected::new(["2001:db8:1::1".parse().unwrap()]);
    engine.handle(Event::Protect(own), Time::from_secs(START), &mut Vec::new());
    check_with(
        engine,
        "0 bad asterisk 2001:db8:1::77
         1 bad asterisk 2001:db8:1::77
         2 bad asterisk 2001:db8:1::77
         3 bad asterisk 2001:db8:1::78
         4 bad asterisk ::2
         5 ban 0.0.0.0/0",
        expect![[r#"
            0 ask 2001:db8:1::77
            0 tell found 2001:db8:1::77 1/3
            1 tell found 2001:db8:1::77 2/3
            2 block asterisk 2001:db8:1::77 3600s
            2 record ban asterisk 2001:db8:1::77
            2 tell banned 2001:db8:1::77 maxretry after 3
            3 ask 2001:db8:1::78
            3 tell found 2001:db8:1::78 1/3
            4 ask ::2
            4 tell found ::2 1/3
            refusal: 0.0.0.0/0 is everybody; ban a longer prefix
            5 nothing
        "#]],
    );
}

#[test]
fn a_pardon_forgets_what_was_done_and_answered() {
    check(
        "0 bad asterisk 198.51.100.9
         1 bad asterisk 198.51.100.9
         2 unban 198.51.100.0/24
         3 bad asterisk 198.51.100.9
         4 listed 198.51.100.9
         5 unban 198.51.100.9
         6 bad asterisk 198.51.100.9",
        expect![[r#"
            0 ask 198.51.100.9
            0 tell found 198.51.100.9 1/3
            1 tell found 198.51.100.9 2/3
            pardon: 0 lifted, 0 wider, 0 listed
            2 record forget 198.51.100.0/24
            3 tell found 198.51.100.9 1/3
            4 block asterisk 198.51.100.9 86400s
            4 record ban asterisk 198.51.100.9
            4 tell banned 198.51.100.9 apiban after 1
            pardon: 1 lifted, 0 wider, 0 listed
            5 unblock asterisk 198.51.100.9
            5 record unban asterisk 198.51.100.9
            5 tell unbanned 198.51.100.9
            5 record forget 198.51.100.9
            6 tell found 198.51.100.9 1/3
        "#]],
    );
}

#[test]
fn what_begins_in_the_future_lasts_no_longer_than_it_was_meant_to() {
    // The clock was set back, or does not know the time yet.
    let (now, future) = (Time::from_secs(START), Time::from_secs(START + 90_000));
    let addr: Addr = "192.0.2.1".parse().unwrap();
    let other: Addr = "192.0.2.2".parse().unwrap();
    let form = FormTries {
        form: 0,
        count: 4,
        proven: 4,
        first: future,
        last: future,
    };
    let before = Before {
        bans: vec![OldBan {
            jail: "asterisk".into(),
            addr,
            since: future,
            bantime: Some(BanTime::For(Duration::from_secs(500))),
            reason: Reason::MaxRetry,
            tries: 5,
        }],
        tries: vec![KeptTries {
            jail: "asterisk".into(),
            addr: other,
            forms: vec![form],
        }],
        ..Before::default()
    };
    let mut engine = engine();
    engine.restore(before, &Listed::default(), now, &mut Vec::new());
    let ban = engine.ledger().get("asterisk", &addr).unwrap();
    assert_eq!(
        (ban.since, ban.until),
        (now, Some(now + Duration::from_secs(500)))
    );
    let jail = engine
        .jails()
        .find(|jail| *jail.rules.name == *"asterisk")
        .unwrap();
    assert_eq!(jail.tries(&other, now), 4);
    let later = now + Duration::from_secs(3_600);
    assert_eq!(
        jail.tries(&other, later),
        0,
        "they are past as if made at the start"
    );
}

#[test]
fn the_list_is_applied_before_its_cursor_is_kept() {
    check(
        "0 page 1 198.51.100.1 198.51.100.2
         1 loaded 1
         2 loaded 1
         3 bad asterisk 198.51.100.1
         4 page 2 198.51.100.3
         5 load-failed 2
         6 loaded 2
         7 bad asterisk 198.51.100.3
         8 unban 198.51.100.2
         90000 tick",
        expect![[r#"
            0 load 1: 198.51.100.1 86400s, 198.51.100.2 86400s
            1 record 2 listed
            1 record apiban.cursor.sip
            1 applied 1, 2 held
            1 tell ListLoaded
            2 nothing
            3 block asterisk 198.51.100.1 86400s
            3 record ban asterisk 198.51.100.1
            3 tell banned 198.51.100.1 apiban after 1
            4 load 2: 198.51.100.3 86400s
            5 load failed 2
            6 nothing
            7 ask 198.51.100.3
            7 tell found 198.51.100.3 1/3
            pardon: 0 lifted, 0 wider, 1 listed
            8 unblock List 198.51.100.2
            8 record 1 listed
            8 record forget 198.51.100.2
            90000 unblock asterisk 198.51.100.1
            90000 tell unbanned 198.51.100.1
        "#]],
    );
}

#[test]
fn an_operator_bans_and_pardons() {
    check(
        "0 ban 192.0.2.7
         1 ban 192.0.2.7
         2 ban 198.51.100.0/24
         3 unban 198.51.100.5
         4 unban 198.51.100.0/24
         5 bad asterisk 203.0.113.1
         6 bad asterisk 203.0.113.1
         7 unban 203.0.113.1
         8 bad asterisk 203.0.113.1",
        expect![[r#"
            0 block operator 192.0.2.7 2147483s
            0 record ban operator 192.0.2.7
            0 tell banned 192.0.2.7 operator after 0
            refusal: 192.0.2.7 is banned by jail operator already
            1 nothing
            2 block operator 198.51.100.0/24 2147483s
            2 record ban operator 198.51.100.0/24
            2 tell banned 198.51.100.0/24 operator after 0
            pardon: 0 lifted, 1 wider, 0 listed
            3 record forget 198.51.100.5
            pardon: 1 lifted, 0 wider, 0 listed
            4 unblock operator 198.51.100.0/24
            4 record unban operator 198.51.100.0/24
            4 tell unbanned 198.51.100.0/24
            4 record forget 198.51.100.0/24
            5 ask 203.0.113.1
            5 tell found 203.0.113.1 1/3
            6 tell found 203.0.113.1 2/3
            pardon: 0 lifted, 0 wider, 0 listed
            7 record forget 203.0.113.1
            8 tell found 203.0.113.1 1/3
        "#]],
    );
}

#[test]
fn a_ban_that_does_not_hold_is_ordered_again_or_struck_out() {
    check(
        "0 ban 192.0.2.7
         0 bad asterisk 192.0.2.8
         0 bad asterisk 192.0.2.8
         0 bad asterisk 192.0.2.8
         2 bad asterisk 192.0.2.8
         5 bad asterisk 192.0.2.8
         5 bad asterisk 192.0.2.8
         6 refused asterisk 192.0.2.8
         7 refused asterisk 192.0.2.8
         8 only kamailio
         9 only asterisk",
        expect![[r#"
            0 block operator 192.0.2.7 2147483s
            0 record ban operator 192.0.2.7
            0 tell banned 192.0.2.7 operator after 0
            0 ask 192.0.2.8
            0 tell found 192.0.2.8 1/3
            0 tell found 192.0.2.8 2/3
            0 block asterisk 192.0.2.8 3600s
            0 record ban asterisk 192.0.2.8
            0 tell banned 192.0.2.8 maxretry after 3
            2 nothing
            5 block asterisk 192.0.2.8 3595s
            5 tell StillSeen
            5 block asterisk 192.0.2.8 3600s
            5 record prolonged asterisk 192.0.2.8
            6 record unban asterisk 192.0.2.8
            6 tell NotInForce
            7 nothing
            8 record 0 places and 1 tries
            9 record 0 places and 0 tries
        "#]],
    );
}

fn jail(name: &str) -> Set {
    Set::Jail(name.into())
}

/// Kernel sets that hold these, for 500 seconds each.
pub(super) fn held(entries: &[(Set, &str)]) -> Held {
    let mut held = Held::new();
    for (set, addr) in entries {
        let entries = held.entry(set.clone()).or_default();
        entries.insert(addr.parse().unwrap(), 500);
    }
    held
}

fn listed(ips: &[&str]) -> Listed {
    let ends = Time::from_secs(START + 500);
    ips.iter().map(|one| (one.parse().unwrap(), ends)).collect()
}

#[test]
fn what_was_in_force_goes_on() {
    let now = Time::from_secs(START);
    let ban = |jail: &str, addr: &str, until: i64| OldBan {
        jail: jail.into(),
        addr: addr.parse().unwrap(),
        since: Time::from_secs(START - 100),
        bantime: Some(BanTime::For(Duration::from_secs(
            (100 + until).unsigned_abs(),
        ))),
        reason: Reason::MaxRetry,
        tries: 3,
    };
    let before = Before {
        bans: vec![
            ban("asterisk", "192.0.2.1", 500),   // in both
            ban("asterisk", "192.0.2.2", 500),   // not in the kernel: a reboot
            ban("asterisk", "192.0.2.6", 9_000), // in the kernel for less; cut to the jail's hour
            ban("asterisk", "192.0.2.3", -1),    // over
            ban("gone", "192.0.2.4", 500),       // its jail is not configured any more
            ban("asterisk", "192.0.2.99", 500),  // protected by now
        ],
        history: Vec::new(),
        tries: Vec::new(),
        standings: Vec::new(),
        listed: listed(&["198.51.100.1", "198.51.100.2"]),
        kernel: held(&[
            (jail("asterisk"), "192.0.2.1"),
            (jail("asterisk"), "192.0.2.3"),
            (jail("asterisk"), "192.0.2.6"),
            (jail("asterisk"), "192.0.2.5"), // killed before it was written down
            (jail("asterisk"), "192.0.2.99"),
            (jail("gone"), "192.0.2.4"),
            (Set::Allow, "203.0.113.9"),
        ]),
        lost: false,
    };
    let on_list = listed(&["198.51.100.1", "198.51.100.3", "192.0.2.99"]);
    let mut engine = engine();
    let mut effects = Vec::new();
    engine.restore(before, &on_list, now, &mut effects);
    effects.extend(engine.missing_on_list(&on_list, now).map(Effect::Order));
    let mut shown: Vec<String> = effects.iter().map(show).collect();
    shown.sort();
    expect![[r#"
        block Allow 0.0.0.0/8 0s
        block Allow 127.0.0.0/8 0s
        block Allow 192.0.2.99 0s
        block Allow 224.0.0.0/4 0s
        block Allow 255.255.255.255 0s
        block Allow :: 0s
        block Allow ::1 0s
        block Allow fe80::/10 0s
        block Allow ff00::/8 0s
        block asterisk 192.0.2.2 500s
        block asterisk 192.0.2.6 3500s
        load -: 198.51.100.2 500s
        record ban asterisk 192.0.2.5
        tell restored 4 of asterisk
        unblock Allow 203.0.113.9
        unblock List 192.0.2.99
        unblock asterisk 192.0.2.3
        unblock asterisk 192.0.2.99
        unblock gone 192.0.2.4
    "#]]
    .assert_eq(&(shown.join("\n") + "\n"));
    let in_force = engine.ledger().of_jail("asterisk");
    let mut in_force: Vec<String> = in_force.map(|ban| ban.addr.to_string()).collect();
    in_force.sort();
    assert_eq!(
        in_force,
        ["192.0.2.1", "192.0.2.2", "192.0.2.5", "192.0.2.6"]
    );
    assert_eq!((engine.ledger().len(), engine.listed()), (4, 3));
    check_with(
        engine,
        "1 bad asterisk 192.0.2.5\n501 tick",
        expect![[r#"
            1 nothing
            501 unblock asterisk 192.0.2.1
            501 tell unbanned 192.0.2.1
            501 unblock asterisk 192.0.2.2
            501 tell unbanned 192.0.2.2
            501 unblock asterisk 192.0.2.5
            501 tell unbanned 192.0.2.5
        "#]],
    );
}

#[test]
fn a_ban_that_only_the_kernel_knows_is_one_more() {
    let mut rules = rules("asterisk");
    rules.increment.enabled = true;
    let now = Time::from_secs(START);
    let addr = "192.0.2.7".parse().unwrap();
    let before = Before {
        history: vec![PastBan {
            jail: "asterisk".into(),
            addr,
            count: 3,
            latest: Time::from_secs(START - 9_000),
        }],
        kernel: held(&[(jail("asterisk"), "192.0.2.7")]),
        ..Before::default()
    };
    let mut engine = Engine::new(vec![rules], Protected::default(), Checks::default(), now);
    let mut effects = Vec::new();
    engine.restore(before, &Listed::default(), now, &mut effects);
    let is_the_fourth =
        |effect: &Effect| matches!(effect, Effect::Record(Record::Ban { count: 4, .. }));
    assert!(effects.iter().any(is_the_fourth), "{effects:?}");
}

#[test]
fn whom_the_database_has_lost_the_kernel_knows() {
    let now = Time::from_secs(START);
    let mut engine = engine();
    let mut effects = Vec::new();
    // Protected by now, one whom the ledger knows by the second time, and a jail that is gone.
    for (name, addrs) in [
        ("asterisk", ["192.0.2.7", "192.0.2.99"]),
        ("asterisk", ["192.0.2.7", "192.0.2.8"]),
        ("gone", ["192.0.2.9", "192.0.2.7"]),
    ] {
        let held = addrs.map(|addr| addr.parse().unwrap());
        engine.adopt(&name.into(), held, now, &mut effects);
    }
    // A jail that comes back.
    for lost in [false, true] {
        let before = Before {
            kernel: held(&[(jail("asterisk"), "192.0.2.10")]),
            lost,
            ..Before::default()
        };
        engine.bring_back(before, now, &mut effects);
    }
    let shown: Vec<String> = effects.iter().map(show).collect();
    expect![[r#"
        unblock asterisk 192.0.2.99
        record ban asterisk 192.0.2.7
        tell adopted 1 of asterisk
        record ban asterisk 192.0.2.8
        tell adopted 1 of asterisk
        unblock asterisk 192.0.2.10
        record ban asterisk 192.0.2.10
    "#]]
    .assert_eq(&(shown.join("\n") + "\n"));
    let ban = engine
        .ledger()
        .get("asterisk", &"192.0.2.7".parse().unwrap());
    let hour = now + Duration::from_secs(3_600);
    assert_eq!(ban.and_then(|ban| ban.until), Some(hour));
}

#[test]
fn old_acquaintances_have_fewer_tries_and_longer_bans() {
    let mut rules = rules("asterisk");
    rules.apiban = false;
    rules.increment.enabled = true;
    let engine = Engine::new(
        vec![rules],
        Protected::default(),
        Checks::default(),
        Time::from_secs(START),
    );
    check_with(
        engine,
        "0 bad asterisk 192.0.2.7
         0 bad asterisk 192.0.2.7
         0 bad asterisk 192.0.2.7
         3600 tick
         3700 bad asterisk 192.0.2.7
         3701 bad asterisk 192.0.2.7
         3702 unban 192.0.2.7
         3703 unban 192.0.2.7
         3704 bad asterisk 192.0.2.7",
        expect![[r#"
            0 tell found 192.0.2.7 1/3
            0 tell found 192.0.2.7 2/3
            0 block asterisk 192.0.2.7 3600s
            0 record ban asterisk 192.0.2.7
            0 tell banned 192.0.2.7 maxretry after 3
            3600 unblock asterisk 192.0.2.7
            3600 tell unbanned 192.0.2.7
            3700 tell found 192.0.2.7 2/3
            3701 block asterisk 192.0.2.7 7200s
            3701 record ban asterisk 192.0.2.7
            3701 tell banned 192.0.2.7 maxretry after 3
            pardon: 1 lifted, 0 wider, 0 listed
            3702 unblock asterisk 192.0.2.7
            3702 record unban asterisk 192.0.2.7
            3702 tell unbanned 192.0.2.7
            3702 record forget 192.0.2.7
            pardon: 0 lifted, 0 wider, 0 listed
            3703 record forget 192.0.2.7
            3704 tell found 192.0.2.7 1/3
        "#]],
    );
}

/// Whatever happens, nobody protected is blocked, and a ban in the ledger that has
/// not ended was ordered.
#[test]
fn the_ledger_and_the_orders_agree() {
    use proptest::prelude::*;
    let step = (0u8..9, 0u8..6, 0i64..2_000);
    proptest!(|(steps in proptest::collection::vec(step, 1..200))| {
        let mut engine = engine();
        let mut now = Time::from_secs(START);
        let mut kernel: HashMap<(Set, Addr), ()> = HashMap::new();
        for (kind, host, wait) in steps {
            now = now + Duration::from_secs(wait.unsigned_abs() / 4);
            let hosts = ["192.0.2.1", "192.0.2.2", "192.0.2.99", "2001:db8::1", "2001:db8::2", "198.51.100.7"];
            let addr = hosts[usize::from(host)];
            let words: Vec<&str> = match kind {
                0..=3 => vec!["bad", "asterisk", addr],
                4 => vec!["listed", addr],
                5 => vec!["unlisted", addr],
                6 => vec!["ban", addr],
                7 => vec!["unban", addr],
                _ => vec!["tick"],
            };
            let mut effects = Vec::new();
            play(&mut engine, &words, now, &mut effects, &mut String::new());
            for effect in effects {
                match effect {
                    Effect::Order(Order::Block { set, entry }) => { kernel.insert((set, entry.addr), ()); }
                    Effect::Order(Order::Unblock { set, addr }) => { kernel.remove(&(set, addr)); }
                    _ => {}
                }
            }
            let bans: usize = ["asterisk", "kamailio", OPERATOR_JAIL].iter().map(|jail| engine.ledger().len_of(jail)).sum();
            prop_assert_eq!(bans, kernel.len());
            for (set, addr) in kernel.keys() {
                let Set::Jail(jail) = set else { continue };
                prop_assert!(engine.ledger().get(jail, addr).is_some());
                prop_assert!(!engine.protected().covers(addr));
            }
        }
    });
}

#[test]
fn tries_outlive_the_run_that_counted_them() {
    let at = |secs| Time::from_secs(START + secs);
    let failure = |host: &str, secs: i64| {
        let failure = Failure {
            jail: "asterisk".into(),
            addr: host.parse().unwrap(),
            time: at(secs),
            form: 7,
            trust: Trust::Hint,
            user: None,
            line: "a line".into(),
            captured: None,
        };
        Event::Failure(failure)
    };
    let mut first = engine();
    let mut effects = Vec::new();
    for (host, secs) in [
        ("192.0.2.1", 0),
        ("192.0.2.2", 1),
        ("192.0.2.1", 2),
        ("192.0.2.3", 3),
        ("192.0.2.3", 3),
        ("192.0.2.3", 3), // banned: nothing is left to count
    ] {
        first.handle(failure(host, secs), at(secs), &mut effects);
    }
    effects.clear();
    first.handle(
        Event::Read {
            places: Vec::new(),
            cursors: Vec::new(),
        },
        at(4),
        &mut effects,
    );
    let [Effect::Record(Record::Read(reading))] = &effects[..] else {
        panic!("{effects:?}");
    };
    let mut tries = reading.tries.clone();
    tries.sort_by_key(|tries| tries.addr);
    let forms: Vec<usize> = tries.iter().map(|tries| tries.forms.len()).collect();
    assert_eq!(forms, [1, 1, 0]);
    let mut effects = Vec::new();
    first.handle(
        Event::Read {
            places: Vec::new(),
            cursors: Vec::new(),
        },
        at(5),
        &mut effects,
    );
    assert_eq!(
        show(&effects[0]),
        "record 0 places and 0 tries",
        "nothing new"
    );

    let mut second = engine();
    let before = Before {
        tries,
        ..Before::default()
    };
    second.restore(before, &Listed::default(), at(10), &mut Vec::new());
    let mut effects = Vec::new();
    second.handle(failure("192.0.2.2", 11), at(11), &mut effects);
    second.handle(failure("192.0.2.1", 12), at(12), &mut effects);
    let banned = |effect: &Effect| matches!(effect, Effect::Tell(Tell::Banned(ban)) if ban.tries == 3 && ban.addr == "192.0.2.1".parse().unwrap());
    assert_eq!(effects.iter().filter(|effect| banned(effect)).count(), 1);
    assert_eq!(second.bans_total(), 1);
}

/// Measured on fail2ban 1.0.2: failures count by their id, and the first address that had it
/// is banned; an address with many ids has the tries of each.
#[test]
fn failures_of_one_id_count_for_the_first_address() {
    let mut rules = rules("sshd");
    (rules.tally, rules.apiban) = (Tally::Matches, false);
    let (protected, checks) = (Protected::default(), Checks::default());
    check_with(
        Engine::new(vec![rules], protected, checks, Time::from_secs(START)),
        "0 id sshd 192.0.2.1 abc
         1 id sshd 192.0.2.2 abc
         1 id sshd 192.0.2.2 other
         2 id sshd 192.0.2.2 another
         2 bad sshd 192.0.2.2
         3 id sshd 192.0.2.3 abc
         4 id sshd 192.0.2.3 abc",
        expect![[r#"
            0 tell found 192.0.2.1 1/3
            1 tell found 192.0.2.2 2/3
            1 tell found 192.0.2.2 1/3
            2 tell found 192.0.2.2 1/3
            2 tell found 192.0.2.2 1/3
            3 block sshd 192.0.2.1 3600s
            3 record ban sshd 192.0.2.1
            3 tell banned 192.0.2.1 maxretry after 3
            4 tell found 192.0.2.3 1/3
        "#]],
    );
}

/// Who may be in a network that is banned, and who not.
fn aggregating(protected: &[&str], ignored: &[&str]) -> Engine {
    let mut rules = rules("sshd");
    (rules.tally, rules.apiban, rules.maxretry) = (Tally::Matches, false, 1);
    rules.aggregate = Some(2);
    let addrs = |texts: &[&str]| {
        texts
            .iter()
            .map(|text| text.parse().unwrap())
            .collect::<Vec<Addr>>()
    };
    rules.ignored = Protected::only(addrs(ignored));
    let protected = Protected::new(addrs(protected));
    Engine::new(
        vec![rules],
        protected,
        Checks::default(),
        Time::from_secs(START),
    )
}

const CROWD: &str = "0 bad sshd 203.0.113.1
     1 bad sshd 203.0.113.1
     1 bad sshd 203.0.113.2
     2 bad sshd 203.0.113.9
     3 bad sshd 203.0.113.3
     4 bad sshd 198.51.100.1
     3605 tick";

#[test]
fn a_network_of_many_offenders_is_banned_around_a_protected_host() {
    check_with(
        aggregating(&["203.0.113.9"], &[]),
        CROWD,
        expect![[r#"
        0 block sshd 203.0.113.1 3600s
        0 record ban sshd 203.0.113.1
        0 tell banned 203.0.113.1 maxretry after 1
        1 block sshd 203.0.113.1 3600s
        1 record prolonged sshd 203.0.113.1
        1 block sshd 203.0.113.2 3600s
        1 record ban sshd 203.0.113.2
        1 tell banned 203.0.113.2 maxretry after 1
        2 tell Protected
        3 block sshd 203.0.113.3 3600s
        3 record ban sshd 203.0.113.3
        3 tell banned 203.0.113.3 maxretry after 1
        3 block sshd 203.0.113.0/24 3600s
        3 record ban sshd 203.0.113.0/24
        3 tell banned 203.0.113.0/24 aggregate after 3
        4 block sshd 198.51.100.1 3600s
        4 record ban sshd 198.51.100.1
        4 tell banned 198.51.100.1 maxretry after 1
        3605 unblock sshd 203.0.113.1
        3605 tell unbanned 203.0.113.1
        3605 unblock sshd 203.0.113.2
        3605 tell unbanned 203.0.113.2
        3605 unblock sshd 203.0.113.0/24
        3605 tell unbanned 203.0.113.0/24
        3605 unblock sshd 203.0.113.3
        3605 tell unbanned 203.0.113.3
        3605 unblock sshd 198.51.100.1
        3605 tell unbanned 198.51.100.1
    "#]],
    );
}

#[test]
fn networks_of_the_operators_and_of_friends_are_not_banned() {
    for (protected, ignored, infrastructure) in [
        (&["203.0.113.128/25"][..], &[][..], None),
        (&["203.0.112.0/23", "198.51.100.0/24"], &[], None),
        (&[], &["203.0.113.9"], None),
        (&[], &["203.0.113.64/28"], None),
        (&[], &[], Some("203.0.113.9")),
    ] {
        let mut engine = aggregating(protected, ignored);
        let mut effects = Vec::new();
        let infrastructure = infrastructure.map(|text| text.parse().unwrap());
        let event = Event::Infrastructure(Protected::only(infrastructure));
        engine.handle(event, Time::from_secs(START), &mut effects);
        for host in 1..8 {
            let addr = Addr::host([203, 0, 113, host].into());
            let event = failure("sshd", addr.ip(), 0, Time::from_secs(START));
            engine.handle(event, Time::from_secs(START), &mut effects);
        }
        let bans = engine.ledger().of_jail("sshd");
        assert!(
            bans.into_iter().all(|ban| ban.addr.is_host()),
            "{protected:?} {ignored:?}"
        );
    }
}

#[test]
fn a_banned_network_outlives_a_restart_and_a_pardon_of_one_host_does_not_lift_it() {
    let now = Time::from_secs(START);
    let mut engine = aggregating(&[], &[]);
    let mut effects = Vec::new();
    for host in 1..=3 {
        let event = failure("sshd", [203, 0, 113, host].into(), 0, now);
        engine.handle(event, now, &mut effects);
    }
    let network: Addr = "203.0.113.0/24".parse().unwrap();
    let ban = engine.ledger().get("sshd", &network).expect("a network");
    assert_eq!((ban.reason, ban.tries), (Reason::Crowd, 3));
    let pardon = engine.unban("203.0.113.1".parse().unwrap(), now, &mut effects);
    assert_eq!(
        (pardon.lifted.len(), &*pardon.wider),
        (1, &[ban.clone()][..])
    );

    let old = OldBan {
        jail: ban.jail.clone(),
        addr: ban.addr,
        since: ban.since,
        bantime: Some(BanTime::For(Duration::from_secs(3_600))),
        reason: ban.reason,
        tries: ban.tries,
    };
    let mut second = aggregating(&[], &[]);
    let before = Before {
        bans: vec![old],
        ..Before::default()
    };
    second.restore(
        before,
        &Listed::default(),
        now + Duration::from_secs(60),
        &mut effects,
    );
    assert_eq!(second.ledger().get("sshd", &network), Some(ban));
}
