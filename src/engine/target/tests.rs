//! The right target in rows, as in the engine's own tests: `hint` and `proof` are failures,
//! `login` is one that worked and is proven, `doubted` one that may be forged.

use std::time::Duration;

use expect_test::{Expect, expect};

use crate::addr::Addr;
use crate::ban::listed::Listed;
use crate::ban::record::Record;
use crate::engine::tests::{START, check_with, held, play_with, rules};
use crate::engine::{Before, Checks, Effect, Engine, Event};
use crate::jail::Rules;
use crate::jail::protect::Protected;
use crate::jail::standing::Rank;
use crate::ticket::{Failure, KeptStanding, Order, Registration, Set, Trust};
use crate::time::{BanTime, Time};

/// Two of our jails: 3 tries in 10 minutes ban for an hour, hints for 10 minutes.
pub(super) fn engine() -> Engine {
    let rules = |name| Rules {
        hints: Some(BanTime::For(Duration::from_secs(600))),
        hosts_only: false,
        maxchallenges: Some(10),
        apiban: false,
        ..rules(name)
    };
    let protected = Protected::new(["192.0.2.99".parse().unwrap()]);
    let jails = vec![rules("asterisk"), rules("kamailio")];
    Engine::new(jails, protected, Checks::default(), Time::from_secs(START))
}

fn check(rows: &str, expected: Expect) {
    check_with(engine(), rows, expected);
}

/// The same where conntrack can be asked.
fn check_flows(rows: &str, expected: Expect) {
    let mut engine = engine();
    engine.flows_can_be_asked(true);
    check_with(engine, rows, expected);
}

#[test]
fn hints_ban_shortly_and_proofs_as_ever() {
    check(
        "0 hint asterisk 198.51.100.1
         1 hint asterisk 198.51.100.1
         2 hint asterisk 198.51.100.1
         602 tick
         700 proof asterisk 198.51.100.2
         701 hint asterisk 198.51.100.2
         702 proof asterisk 198.51.100.2
         1303 proof asterisk 198.51.100.3
         1304 proof asterisk 198.51.100.3
         1305 proof asterisk 198.51.100.3",
        expect![[r#"
            0 tell found 198.51.100.1 1/3
            1 tell found 198.51.100.1 2/3
            2 block asterisk 198.51.100.1 600s
            2 record ban asterisk 198.51.100.1
            2 tell banned 198.51.100.1 hints after 3
            602 unblock asterisk 198.51.100.1
            602 tell unbanned 198.51.100.1
            700 tell found 198.51.100.2 1/3
            701 tell found 198.51.100.2 2/3
            702 block asterisk 198.51.100.2 600s
            702 record ban asterisk 198.51.100.2
            702 tell banned 198.51.100.2 hints after 3
            1303 tell found 198.51.100.3 1/3
            1303 unblock asterisk 198.51.100.2
            1303 tell unbanned 198.51.100.2
            1304 tell found 198.51.100.3 2/3
            1305 block asterisk 198.51.100.3 3600s
            1305 record ban asterisk 198.51.100.3
            1305 tell banned 198.51.100.3 maxretry after 3
        "#]],
    );
}

#[test]
fn conntrack_is_asked_before_a_ban_that_rests_on_hints() {
    check_flows(
        "0 hint asterisk 198.51.100.1
         1 hint asterisk 198.51.100.1
         2 hint asterisk 198.51.100.1
         2 flow 198.51.100.1 yes
         3 hint asterisk 198.51.100.1
         4 hint asterisk 198.51.100.1
         5 hint asterisk 198.51.100.1
         10 hint asterisk 198.51.100.2
         11 hint asterisk 198.51.100.2
         12 hint asterisk 198.51.100.2
         12 flow 198.51.100.2 no
         20 hint asterisk 198.51.100.3
         21 hint asterisk 198.51.100.3
         22 hint asterisk 198.51.100.3
         22 hint asterisk 198.51.100.3
         22 hint asterisk 198.51.100.3
         22 hint asterisk 198.51.100.3
         32 tick
         33 flow 198.51.100.3 no
         34 proof asterisk 198.51.100.1
         35 proof asterisk 198.51.100.1
         36 proof asterisk 198.51.100.1
         37 flow 198.51.100.1 yes
         38 flow 198.51.100.2 yes
         40 hint asterisk 2001:db8:1::1
         41 hint asterisk 2001:db8:1::2
         42 hint asterisk 2001:db8:1::3
         42 flow 2001:db8:1::/64 no",
        expect![[r#"
            0 tell found 198.51.100.1 1/3
            1 tell found 198.51.100.1 2/3
            2 ask flow 198.51.100.1
            2 nothing
            3 nothing
            4 nothing
            5 nothing
            10 tell found 198.51.100.2 1/3
            11 tell found 198.51.100.2 2/3
            12 ask flow 198.51.100.2
            12 block asterisk 198.51.100.2 600s
            12 record ban asterisk 198.51.100.2
            12 tell banned 198.51.100.2 hints after 3
            20 tell found 198.51.100.3 1/3
            21 tell found 198.51.100.3 2/3
            22 ask flow 198.51.100.3
            22 tell found 198.51.100.3 1/3
            22 tell found 198.51.100.3 2/3
            22 nothing
            32 nothing
            33 nothing
            34 tell found 198.51.100.1 1/3
            35 tell found 198.51.100.1 2/3
            36 block asterisk 198.51.100.1 3600s
            36 record ban asterisk 198.51.100.1
            36 tell banned 198.51.100.1 maxretry after 3
            37 nothing
            38 unblock asterisk 198.51.100.2
            38 record unban asterisk 198.51.100.2
            38 tell unbanned 198.51.100.2
            40 tell found 2001:db8:1::1 1/3
            41 tell found 2001:db8:1::2 2/3
            42 ask flow 2001:db8:1::/64
            42 block asterisk 2001:db8:1::/64 600s
            42 record ban asterisk 2001:db8:1::/64
            42 tell banned 2001:db8:1::/64 hints after 3
        "#]],
    );
}

/// Forged packets fill the queue: nobody is banned for that, and a yes is heard.
#[test]
fn no_room_to_ask_bans_nobody() {
    let mut engine = engine();
    engine.flows_can_be_asked(true);
    let (mut asked, mut banned) = (0, 0);
    let now = Time::from_secs(START);
    let mut effects = Vec::new();
    for sender in 0..2_000_u32 {
        for _ in 0..3 {
            let addr = Addr::host(std::net::Ipv4Addr::from(0xc633_0000 + (sender << 8)).into());
            let failure = Failure {
                jail: "asterisk".into(),
                addr,
                time: now,
                form: 0,
                trust: Trust::Hint,
                user: None,
                line: "line".into(),
                captured: None,
            };
            engine.handle(Event::Failure(failure), now, &mut effects);
        }
    }
    for _ in 0..2 {
        let is_asked = |effect: &&Effect| matches!(effect, Effect::AskFlow(_));
        let is_banned = |effect: &&Effect| matches!(effect, Effect::Order(_));
        asked += effects.iter().filter(is_asked).count();
        banned += effects.iter().filter(is_banned).count();
        effects.clear();
        engine.handle(Event::Tick, now + Duration::from_secs(60), &mut effects);
    }
    assert_eq!((asked, banned), (1_024, 0));
}

#[test]
fn a_known_good_address_is_kept_from_hints_and_held_back_at_most() {
    let tries: String = (0..31)
        .map(|n| format!("{} proof kamailio 203.0.113.5 {n}\n", 4_000 + n * 15))
        .collect();
    check(
        &format!(
            "0 login asterisk 203.0.113.5 1001
             3600 login asterisk 203.0.113.5 1001
             3601 hint asterisk 203.0.113.5
             3602 hint asterisk 203.0.113.5
             3603 hint asterisk 203.0.113.5
             3604 hint asterisk 203.0.113.5
             3605 hint asterisk 203.0.113.5
             3606 hint asterisk 203.0.113.5
             3607 hint asterisk 203.0.113.5
             {tries}
             4460 listed 203.0.113.5
             4460 proof asterisk 203.0.113.5
             4461 proof asterisk 203.0.113.5
             4462 proof asterisk 203.0.113.5
             8036 rank 203.0.113.5
             8100 proof asterisk 203.0.113.5
             8101 proof asterisk 203.0.113.5
             8102 proof asterisk 203.0.113.5"
        ),
        expect![[r#"
            0 record standing of 203.0.113.5
            3600 record standing of 203.0.113.5
            3601 nothing
            3602 nothing
            3603 nothing
            3604 nothing
            3605 nothing
            3606 alarm: 203.0.113.5 is spared, but fails like a cracker (6 tries) (jail asterisk)
            3607 nothing
            4000 tell found 203.0.113.5 1/30
            4015 tell found 203.0.113.5 2/30
            4030 tell found 203.0.113.5 3/30
            4045 tell found 203.0.113.5 4/30
            4060 tell found 203.0.113.5 5/30
            4075 tell found 203.0.113.5 6/30
            4090 tell found 203.0.113.5 7/30
            4105 tell found 203.0.113.5 8/30
            4120 tell found 203.0.113.5 9/30
            4135 tell found 203.0.113.5 10/30
            4150 tell found 203.0.113.5 11/30
            4165 tell found 203.0.113.5 12/30
            4180 tell found 203.0.113.5 13/30
            4195 tell found 203.0.113.5 14/30
            4210 tell found 203.0.113.5 15/30
            4225 tell found 203.0.113.5 16/30
            4240 tell found 203.0.113.5 17/30
            4255 tell found 203.0.113.5 18/30
            4270 tell found 203.0.113.5 19/30
            4285 tell found 203.0.113.5 20/30
            4300 tell found 203.0.113.5 21/30
            4315 tell found 203.0.113.5 22/30
            4330 tell found 203.0.113.5 23/30
            4345 tell found 203.0.113.5 24/30
            4360 tell found 203.0.113.5 25/30
            4375 tell found 203.0.113.5 26/30
            4390 tell found 203.0.113.5 27/30
            4405 tell found 203.0.113.5 28/30
            4420 tell found 203.0.113.5 29/30
            4435 block Throttled 203.0.113.5 3600s
            4435 record ban kamailio 203.0.113.5
            4435 tell banned 203.0.113.5 throttled after 30
            4435 record standing of 203.0.113.5
            4450 nothing
            4460 nothing
            4460 tell found 203.0.113.5 1/30
            4461 tell found 203.0.113.5 2/30
            4462 tell found 203.0.113.5 3/30
            rank: Known
            8036 nothing
            8100 tell found 203.0.113.5 1/30
            8100 unblock Throttled 203.0.113.5
            8100 tell unbanned 203.0.113.5
            8101 tell found 203.0.113.5 2/3
            8102 block asterisk 203.0.113.5 3600s
            8102 record ban asterisk 203.0.113.5
            8102 tell banned 203.0.113.5 maxretry after 3
        "#]],
    );
}

/// Whoever goes on while he is held back is cut off, unless it is a phone whose password is
/// outdated: on accounts that have worked from there nothing is to be cracked.
#[test]
fn who_goes_on_while_he_is_held_back_is_cut_off() {
    let held = |user: &str| -> String {
        let mut rows = String::from(
            "0 login asterisk 203.0.113.5 1001
             3600 login asterisk 203.0.113.5 1001\n",
        );
        for n in 0..70 {
            rows += &format!("{} proof asterisk 203.0.113.5 {user}\n", 4_000 + n);
        }
        rows
    };
    let told = |rows: &str| {
        let shown = play_with(engine(), rows);
        let is_told = |row: &&str| !row.contains("nothing") && !row.contains("found");
        let rows = shown.lines().filter(is_told);
        rows.map(|row| row.to_owned() + "\n").collect::<String>()
    };
    expect![[r#"
        0 record standing of 203.0.113.5
        3600 record standing of 203.0.113.5
        4005 alarm: 203.0.113.5 is spared, but fails like a cracker (6 tries), accounts `2001` (jail asterisk)
        4029 block Throttled 203.0.113.5 3600s
        4029 record ban asterisk 203.0.113.5
        4029 tell banned 203.0.113.5 throttled after 30
        4029 record standing of 203.0.113.5
        4059 block asterisk 203.0.113.5 3600s
        4059 record ban asterisk 203.0.113.5
        4059 tell banned 203.0.113.5 maxretry after 30
        4059 unblock Throttled 203.0.113.5
        4059 record standing of 203.0.113.5
        4060 block asterisk 203.0.113.5 3600s
        4060 record prolonged asterisk 203.0.113.5
        4063 block asterisk 203.0.113.5 3600s
        4063 record prolonged asterisk 203.0.113.5
        4066 block asterisk 203.0.113.5 3600s
        4066 record prolonged asterisk 203.0.113.5
        4069 block asterisk 203.0.113.5 3600s
        4069 record prolonged asterisk 203.0.113.5
    "#]]
    .assert_eq(&told(&held("2001")));
    expect![[r#"
        0 record standing of 203.0.113.5
        3600 record standing of 203.0.113.5
        4005 alarm: 203.0.113.5 is spared, but fails like a cracker (6 tries), accounts `1001` (jail asterisk)
        4029 block Throttled 203.0.113.5 3600s
        4029 record ban asterisk 203.0.113.5
        4029 tell banned 203.0.113.5 throttled after 30
        4029 record standing of 203.0.113.5
        4059 block Throttled 203.0.113.5 3600s
        4059 record prolonged asterisk 203.0.113.5
    "#]]
    .assert_eq(&told(&held("1001")));
}

#[test]
fn a_shared_address_is_never_banned_and_an_alarm_names_the_accounts() {
    let logins: String = (0..20)
        .map(|n| format!("{n} login asterisk 203.0.113.5 {}\n", 1_000 + n))
        .collect();
    check(
        &format!(
            "{logins}
             20 rank 203.0.113.5
             30 proof asterisk 203.0.113.5 2001
             31 proof asterisk 203.0.113.5 2001
             32 proof asterisk 203.0.113.5 2001
             33 proof asterisk 203.0.113.5 2001
             34 proof asterisk 203.0.113.5 2001
             35 proof asterisk 203.0.113.5 2001
             36 hint asterisk 203.0.113.5 2001
             40 page 1 203.0.113.5 198.51.100.1
             41 infrastructure 198.51.100.0/24
             42 proof asterisk 198.51.100.7 3001
             42 proof asterisk 198.51.100.7 3001
             42 proof asterisk 198.51.100.7 3001
             42 proof asterisk 198.51.100.7 3001
             42 proof asterisk 198.51.100.7 3001"
        ),
        expect![[r#"
            0 record standing of 203.0.113.5
            1 record standing of 203.0.113.5
            2 record standing of 203.0.113.5
            3 record standing of 203.0.113.5
            4 record standing of 203.0.113.5
            5 record standing of 203.0.113.5
            6 record standing of 203.0.113.5
            7 record standing of 203.0.113.5
            8 record standing of 203.0.113.5
            9 record standing of 203.0.113.5
            10 record standing of 203.0.113.5
            11 record standing of 203.0.113.5
            12 record standing of 203.0.113.5
            13 record standing of 203.0.113.5
            14 record standing of 203.0.113.5
            15 record standing of 203.0.113.5
            16 record standing of 203.0.113.5
            17 record standing of 203.0.113.5
            18 record standing of 203.0.113.5
            19 record standing of 203.0.113.5
            rank: Shared
            20 nothing
            30 nothing
            31 nothing
            32 nothing
            33 nothing
            34 nothing
            35 alarm: 203.0.113.5 is spared, but fails like a cracker (6 tries), accounts `2001` (jail asterisk)
            36 nothing
            40 load 1: 198.51.100.1 86400s
            41 nothing
            42 nothing
            42 nothing
            42 nothing
            42 nothing
            42 alarm: 198.51.100.7 is spared, but fails like a cracker (5 tries), accounts `3001` (jail asterisk)
        "#]],
    );
}

#[test]
fn a_login_after_many_failures_is_an_alarm_and_no_merit() {
    check(
        "0 proof asterisk 198.51.100.1 1001
         1 proof asterisk 198.51.100.1 1001
         2 login asterisk 198.51.100.1 1001
         3 rank 198.51.100.1
         10 proof asterisk 198.51.100.2 1001
         11 proof asterisk 198.51.100.2 1001
         12 proof asterisk 198.51.100.2 1001
         13 login asterisk 198.51.100.2 1001
         20 hint asterisk 198.51.100.3 1001
         21 hint asterisk 198.51.100.3 1001
         22 hint asterisk 198.51.100.3 1001
         23 login asterisk 198.51.100.3 1001
         3700 login asterisk 198.51.100.2 1001
         3701 rank 198.51.100.2
         7300 login asterisk 198.51.100.2 1001
         7301 rank 198.51.100.2",
        expect![[r#"
            0 tell found 198.51.100.1 1/3
            1 tell found 198.51.100.1 2/3
            2 record standing of 198.51.100.1
            rank: Stranger
            3 nothing
            10 tell found 198.51.100.2 1/3
            11 tell found 198.51.100.2 2/3
            12 block asterisk 198.51.100.2 3600s
            12 record ban asterisk 198.51.100.2
            12 tell banned 198.51.100.2 maxretry after 3
            13 alarm: a login from 198.51.100.2 worked right after 3 that failed, accounts `1001`; is the account cracked? (jail asterisk)
            13 record standing of 198.51.100.2
            20 tell found 198.51.100.3 1/3
            21 tell found 198.51.100.3 2/3
            22 block asterisk 198.51.100.3 600s
            22 record ban asterisk 198.51.100.3
            22 tell banned 198.51.100.3 hints after 3
            23 alarm: a login from 198.51.100.3 worked right after 3 that failed, accounts `1001`; is the account cracked? (jail asterisk)
            23 record standing of 198.51.100.3
            3700 record standing of 198.51.100.2
            3700 unblock asterisk 198.51.100.3
            3700 tell unbanned 198.51.100.3
            3700 unblock asterisk 198.51.100.2
            3700 tell unbanned 198.51.100.2
            rank: Stranger
            3701 nothing
            7300 record standing of 198.51.100.2
            rank: Known
            7301 nothing
        "#]],
    );
}

#[test]
fn a_login_that_may_be_forged_earns_nothing() {
    check(
        "0 doubted asterisk 198.51.100.1 1001
         3600 doubted asterisk 198.51.100.1 1001
         7200 doubted asterisk 198.51.100.1 1001
         7200 rank 198.51.100.1",
        expect![[r#"
            0 nothing
            3600 nothing
            7200 nothing
            rank: Stranger
            7200 nothing
        "#]],
    );
}

#[test]
fn registrations_in_a_store_are_logins() {
    check(
        "5000 registered 203.0.113.5 1001 0
         5000 rank 203.0.113.5
         5001 registered 203.0.113.6 1001 5001
         8000 registered 203.0.113.6 1001 8000
         8000 rank 203.0.113.6
         8700 registered 203.0.113.6 1001 8700
         8700 rank 203.0.113.6
         8701 registered 192.0.2.99 1001 0
         8702 rank 192.0.2.99",
        expect![[r#"
            5000 record standing of 203.0.113.5
            5000 record standing of 203.0.113.5
            rank: Known
            5000 nothing
            5001 record standing of 203.0.113.6
            8000 nothing
            rank: Stranger
            8000 nothing
            8700 record standing of 203.0.113.6
            rank: Known
            8700 nothing
            8701 nothing
            rank: Stranger
            8702 nothing
        "#]],
    );
}

#[test]
fn challenges_without_a_login_are_a_scan() {
    let asked = |from: u32, to: u32, addr: &str| -> String {
        (from..to)
            .map(|secs| format!("{secs} challenge asterisk {addr}\n"))
            .collect()
    };
    check(
        &format!(
            "{}{}9 login asterisk 198.51.100.2 1001\n{}",
            asked(0, 10, "198.51.100.1"),
            asked(0, 9, "198.51.100.2"),
            asked(10, 19, "198.51.100.2"),
        ),
        expect![[r#"
            0 nothing
            1 nothing
            2 nothing
            3 nothing
            4 nothing
            5 nothing
            6 nothing
            7 nothing
            8 nothing
            9 block asterisk 198.51.100.1 600s
            9 record ban asterisk 198.51.100.1
            9 tell banned 198.51.100.1 scan after 10
            0 nothing
            1 nothing
            2 nothing
            3 nothing
            4 nothing
            5 nothing
            6 nothing
            7 nothing
            8 nothing
            9 record standing of 198.51.100.2
            10 nothing
            11 nothing
            12 nothing
            13 nothing
            14 nothing
            15 nothing
            16 nothing
            17 nothing
            18 nothing
        "#]],
    );
    check_flows(
        &format!(
            "{}9 flow 198.51.100.1 yes\n{}",
            asked(0, 10, "198.51.100.1"),
            asked(10, 30, "198.51.100.1"),
        ),
        expect![[r#"
            0 nothing
            1 nothing
            2 nothing
            3 nothing
            4 nothing
            5 nothing
            6 nothing
            7 nothing
            8 nothing
            9 ask flow 198.51.100.1
            9 nothing
            10 nothing
            11 nothing
            12 nothing
            13 nothing
            14 nothing
            15 nothing
            16 nothing
            17 nothing
            18 nothing
            19 nothing
            20 nothing
            21 nothing
            22 nothing
            23 nothing
            24 nothing
            25 nothing
            26 nothing
            27 nothing
            28 nothing
            29 nothing
        "#]],
    );
}

#[test]
fn a_log_that_names_a_proxy_is_a_finding() {
    check(
        "0 proof kamailio 127.0.0.1
         1 proof kamailio 127.0.0.1
         2 proof kamailio 127.0.0.1
         3 proof kamailio 127.0.0.1
         4 proof kamailio 127.0.0.1
         5 proof kamailio 127.0.0.1",
        expect![[r#"
            0 tell Protected
            1 tell Protected
            2 tell Protected
            2 alarm: the log names 127.0.0.1, which is never banned, for 3 failed tries: if it is a proxy, who failed stays hidden (jail kamailio)
            3 tell Protected
            4 tell Protected
            5 tell Protected
        "#]],
    );
}

/// Forged packets from a protected network are one finding at most, and no hint is one
/// unless nobody outside can have sent it.
#[test]
fn who_forges_protected_hosts_fills_no_list() {
    let rows = |trust: &str, addr: &dyn Fn(u32) -> String| -> String {
        let row = |n: u32| format!("{} {trust} kamailio {}\n", n + 1, addr(n));
        let rows = (0..200).map(row).collect::<String>();
        let shown = play_with(
            engine(),
            &format!("0 protect 203.0.113.0/24 172.16.0.0/12\n{rows}"),
        );
        let alarms = shown.lines().filter(|row| row.contains("alarm"));
        alarms.map(|row| row.to_owned() + "\n").collect()
    };
    let all = [
        rows("hint", &|n| format!("203.0.113.{n}")),
        rows("proof", &|n| format!("203.0.113.{n}")),
        rows("hint", &|n| format!("172.17.0.{n}")),
    ];
    expect![[r#"
        3 alarm: the log names 203.0.113.0/24, which is never banned, for 3 failed tries: if it is a proxy, who failed stays hidden (jail kamailio)
        3 alarm: the log names 172.16.0.0/12, which is never banned, for 3 failed tries: if it is a proxy, who failed stays hidden (jail kamailio)
    "#]].assert_eq(&all.concat());
}

#[test]
fn standings_outlive_a_restart_and_a_late_database() {
    let mut before = engine();
    let records = |engine: &mut Engine, secs: i64, row: fn(Time) -> Event| {
        let mut effects = Vec::new();
        let now = Time::from_secs(START + secs);
        engine.handle(row(now), now, &mut effects);
        let kept = effects.into_iter().filter_map(|effect| match effect {
            Effect::Record(Record::Known(kept)) => Some(kept),
            _ => None,
        });
        kept.collect::<Vec<_>>()
    };
    let register = |now: Time| {
        Event::Registered(vec![Registration {
            addr: "203.0.113.5".parse().unwrap(),
            user: "1001".into(),
            since: Some(now),
        }])
    };
    records(&mut before, 0, register);
    let kept = records(&mut before, 3_600, register).pop().unwrap();
    let addr = "203.0.113.5".parse().unwrap();
    let now = Time::from_secs(START + 4_000);
    let written = |kept: &KeptStanding| Before {
        standings: vec![kept.clone()],
        ..Before::default()
    };

    let mut after = engine();
    let mut effects = Vec::new();
    let other = "203.0.113.6";
    let before = Before {
        kernel: held(&[(Set::Throttled, other)]),
        ..written(&kept)
    };
    after.restore(before, &Listed::default(), now, &mut effects);
    // The allow set, and one whom the kernel holds back and nobody knows why.
    assert_eq!((after.rank(&addr, now), effects.len()), (Rank::Known, 10));
    let unblocks = |effect: &Effect| matches!(effect, Effect::Order(Order::Unblock { set: Set::Throttled, addr }) if addr.to_string() == other);
    assert!(effects.iter().any(unblocks));

    let mut late = engine();
    records(&mut late, 3_900, register);
    assert_eq!(late.rank(&addr, now), Rank::Stranger);
    let mut effects = Vec::new();
    late.restore_late(written(&kept), now, &mut effects);
    assert_eq!((late.rank(&addr, now), effects.len()), (Rank::Known, 1)); // written again

    // A new database gets all of them.
    let mut effects = Vec::new();
    late.record_all(&mut effects);
    assert!(
        matches!(&effects[..], [Effect::Record(Record::Known(all))] if all.known == kept.known)
    );
}

/// What was written before the start convicts when all of it is read; what is written later
/// convicts at once.
#[test]
fn bans_for_the_past_wait_until_it_is_read() {
    let logins: String = (0..20)
        .map(|user| format!("60 login asterisk 203.0.113.5 {user}\n"))
        .collect();
    let rows = format!(
        "0 reads-back 100
         10 proof asterisk 203.0.113.5 7
         11 proof asterisk 203.0.113.5 7
         12 proof asterisk 203.0.113.5 7
         20 proof asterisk 198.51.100.1
         21 proof asterisk 198.51.100.1
         22 proof asterisk 198.51.100.1
         30 proof asterisk 198.51.100.1
         31 proof asterisk 198.51.100.1
         32 proof asterisk 198.51.100.1
         33 hint asterisk 198.51.100.1
         34 hint asterisk 198.51.100.1
         35 hint asterisk 198.51.100.1
         40 proof asterisk 198.51.100.2 1001
         41 proof asterisk 198.51.100.2 1001
         42 proof asterisk 198.51.100.2 1001
         43 login asterisk 198.51.100.2 1001
         50 hint asterisk 198.51.100.3
         51 hint asterisk 198.51.100.3
         52 hint asterisk 198.51.100.3
         {logins}
         70 rank 203.0.113.5
         100 proof asterisk 198.51.100.4
         101 proof asterisk 198.51.100.4
         102 proof asterisk 198.51.100.4
         103 caught-up
         104 proof asterisk 198.51.100.5
         105 proof asterisk 198.51.100.5
         106 proof asterisk 198.51.100.5"
    );
    check(
        &rows,
        expect![[r#"
            0 nothing
            10 tell found 203.0.113.5 1/3
            11 tell found 203.0.113.5 2/3
            12 nothing
            20 tell found 198.51.100.1 1/3
            21 tell found 198.51.100.1 2/3
            22 nothing
            30 tell found 198.51.100.1 1/3
            31 tell found 198.51.100.1 2/3
            32 nothing
            33 tell found 198.51.100.1 1/3
            34 tell found 198.51.100.1 2/3
            35 nothing
            40 tell found 198.51.100.2 1/3
            41 tell found 198.51.100.2 2/3
            42 nothing
            43 record standing of 198.51.100.2
            50 tell found 198.51.100.3 1/3
            51 tell found 198.51.100.3 2/3
            52 nothing
            60 record standing of 203.0.113.5
            60 record standing of 203.0.113.5
            60 record standing of 203.0.113.5
            60 record standing of 203.0.113.5
            60 record standing of 203.0.113.5
            60 record standing of 203.0.113.5
            60 record standing of 203.0.113.5
            60 record standing of 203.0.113.5
            60 record standing of 203.0.113.5
            60 record standing of 203.0.113.5
            60 record standing of 203.0.113.5
            60 record standing of 203.0.113.5
            60 record standing of 203.0.113.5
            60 record standing of 203.0.113.5
            60 record standing of 203.0.113.5
            60 record standing of 203.0.113.5
            60 record standing of 203.0.113.5
            60 record standing of 203.0.113.5
            60 record standing of 203.0.113.5
            60 record standing of 203.0.113.5
            rank: Shared
            70 nothing
            100 tell found 198.51.100.4 1/3
            101 tell found 198.51.100.4 2/3
            102 block asterisk 198.51.100.4 3600s
            102 record ban asterisk 198.51.100.4
            102 tell banned 198.51.100.4 maxretry after 3
            103 block asterisk 198.51.100.1 3529s
            103 record ban asterisk 198.51.100.1
            103 tell banned 198.51.100.1 maxretry after 3
            103 block asterisk 198.51.100.2 3539s
            103 record ban asterisk 198.51.100.2
            103 tell banned 198.51.100.2 maxretry after 3
            103 block asterisk 198.51.100.3 549s
            103 record ban asterisk 198.51.100.3
            103 tell banned 198.51.100.3 hints after 3
            103 alarm: a login from 198.51.100.2 worked right after 3 that failed, accounts `1001`; is the account cracked? (jail asterisk)
            104 tell found 198.51.100.5 1/3
            105 tell found 198.51.100.5 2/3
            106 block asterisk 198.51.100.5 3600s
            106 record ban asterisk 198.51.100.5
            106 tell banned 198.51.100.5 maxretry after 3
        "#]],
    );
}

/// Who has himself called guesses no faster than a known-good address, and proofs cut him off.
#[test]
fn many_hints_hold_back_whom_we_called() {
    let hints = |from: u32, to: u32| -> String {
        let row = |secs| format!("{secs} hint asterisk 198.51.100.1 1001\n");
        (from..to).map(row).collect()
    };
    let shown = {
        let mut engine = engine();
        engine.flows_can_be_asked(true);
        let rows = [
            &hints(0, 3),
            "3 flow 198.51.100.1 yes\n",
            &hints(10, 50),
            "50 rank 198.51.100.1
             50 flow 198.51.100.1 yes
             51 proof asterisk 198.51.100.1
             52 proof asterisk 198.51.100.1
             53 proof asterisk 198.51.100.1
             54 rank 198.51.100.1",
        ];
        play_with(engine, &rows.map(|rows| rows).concat())
    };
    let told = shown.lines().filter(|row| !row.ends_with("nothing"));
    let told: String = told.map(|row| format!("{row}\n")).collect();
    expect![[r#"
        0 tell found 198.51.100.1 1/3
        1 tell found 198.51.100.1 2/3
        2 ask flow 198.51.100.1
        15 alarm: 198.51.100.1 is spared, but fails like a cracker (6 tries), accounts `1001` (jail asterisk)
        39 block Throttled 198.51.100.1 600s
        39 record ban asterisk 198.51.100.1
        39 tell banned 198.51.100.1 throttled after 30
        rank: Stranger
        53 unblock Throttled 198.51.100.1
        53 block asterisk 198.51.100.1 3600s
        53 record ban asterisk 198.51.100.1
        53 tell banned 198.51.100.1 maxretry after 3
        rank: Stranger
    "#]].assert_eq(&told);
}

/// An account of one's own makes an address known-good, and lets nobody guess others for ever.
#[test]
fn many_hints_on_strange_accounts_hold_a_known_good_address_back() {
    let hints = |from: u32, account: &str| -> String {
        let row = |secs| format!("{secs} hint asterisk 203.0.113.5 {account}\n");
        (from..from + 30).map(row).collect()
    };
    let rows = [
        "0 login asterisk 203.0.113.5 1001
         3600 login asterisk 203.0.113.5 1001\n",
        &hints(4_000, "1001"),
        &hints(4_100, "1002"),
        "4700 rank 203.0.113.5
         4730 rank 203.0.113.5",
    ];
    let shown = play_with(engine(), &rows.concat());
    let told = shown.lines().filter(|row| !row.ends_with("nothing"));
    let told: String = told.map(|row| format!("{row}\n")).collect();
    expect![[r#"
        0 record standing of 203.0.113.5
        3600 record standing of 203.0.113.5
        4005 alarm: 203.0.113.5 is spared, but fails like a cracker (6 tries), accounts `1001` (jail asterisk)
        4129 block Throttled 203.0.113.5 600s
        4129 record ban asterisk 203.0.113.5
        4129 tell banned 203.0.113.5 throttled after 30
        rank: Known
        rank: Known
    "#]].assert_eq(&told);
}

/// A ban that hints laid on a moment before is one of `bantime` as soon as enough is proven.
#[test]
fn proofs_behind_hints_ban_for_longer() {
    check(
        "0 hint asterisk 198.51.100.1
         0 proof asterisk 198.51.100.1
         1 hint asterisk 198.51.100.1
         2 proof asterisk 198.51.100.1
         3 proof asterisk 198.51.100.1
         10 hint asterisk 198.51.100.2
         11 hint asterisk 198.51.100.2
         12 hint asterisk 198.51.100.2
         13 proof asterisk 198.51.100.2
         14 proof asterisk 198.51.100.2
         15 hint asterisk 198.51.100.2",
        expect![[r#"
            0 tell found 198.51.100.1 1/3
            0 tell found 198.51.100.1 2/3
            1 block asterisk 198.51.100.1 600s
            1 record ban asterisk 198.51.100.1
            1 tell banned 198.51.100.1 hints after 3
            2 nothing
            3 block asterisk 198.51.100.1 3600s
            3 record ban asterisk 198.51.100.1
            3 tell banned 198.51.100.1 maxretry after 3
            10 tell found 198.51.100.2 1/3
            11 tell found 198.51.100.2 2/3
            12 block asterisk 198.51.100.2 600s
            12 record ban asterisk 198.51.100.2
            12 tell banned 198.51.100.2 hints after 3
            13 nothing
            14 nothing
            15 block asterisk 198.51.100.2 600s
            15 record prolonged asterisk 198.51.100.2
        "#]],
    );
}

#[test]
fn whom_we_send_to_while_he_is_banned_for_hints_is_let_go() {
    let banned = |secs: u32, addr: &str, trust: &str| {
        let fails = format!("{secs} {trust} asterisk {addr}\n").repeat(3);
        fails + &format!("{secs} flow {addr} no\n")
    };
    check_flows(
        &[
            // A trunk that we register at some seconds later; it is a trunk for a day.
            &banned(0, "198.51.100.1", "hint"),
            "1 unanswered 198.51.100.2
             2 unanswered 198.51.100.1 198.51.100.2
             61 hint asterisk 198.51.100.1\n",
            &banned(86_000, "198.51.100.1", "hint"),
            // A scanner that names another port, where he does not answer: what we send there
            // goes on from before, and what we still send after a minute is no answer.
            &banned(90_000, "198.51.100.3", "hint"),
            "90000 unanswered 198.51.100.3 tcp:198.51.100.3
             90030 unanswered 198.51.100.3 tcp:198.51.100.3
             90064 unanswered 198.51.100.3 tcp:198.51.100.3
             90100 unanswered tcp:198.51.100.3
             90249 unanswered tcp:198.51.100.3
             90250 unanswered tcp:198.51.100.3\n",
            &banned(90_300, "198.51.100.2", "hint"),
            "90301 unanswered 198.51.100.2
             90364 unanswered 198.51.100.2
             90365 unanswered 198.51.100.2\n",
            // The server was busy, and begins to answer when he is banned.
            &banned(91_000, "198.51.100.4", "hint"),
            "91000 unanswered
             91001 unanswered 198.51.100.4
             91005 unanswered 198.51.100.4
             91040 unanswered
             91042 unanswered 198.51.100.4\n",
            // He is cut off only when the kernel has answered.
            "91100 hint asterisk 198.51.100.6
             91100 hint asterisk 198.51.100.6
             91100 hint asterisk 198.51.100.6
             91103 unanswered
             91105 unanswered 198.51.100.6
             91106 flow 198.51.100.6 no
             91107 unanswered 198.51.100.6\n",
            // Proofs are no hints, whatever we send; and a /64 is let go by one of its hosts.
            &banned(92_000, "198.51.100.5", "proof"),
            &banned(92_001, "2001:db8:1::/64", "hint").replace(
                "hint asterisk 2001:db8:1::/64",
                "hint asterisk 2001:db8:1::7",
            ),
            "92100 unanswered
             92300 unanswered 198.51.100.5 2001:db8:1::9",
        ]
        .concat(),
        expect![[r#"
            0 tell found 198.51.100.1 1/3
            0 tell found 198.51.100.1 2/3
            0 ask flow 198.51.100.1
            0 block asterisk 198.51.100.1 600s
            0 record ban asterisk 198.51.100.1
            0 tell banned 198.51.100.1 hints after 3
            1 nothing
            2 unblock asterisk 198.51.100.1
            2 record unban asterisk 198.51.100.1
            2 tell unbanned 198.51.100.1
            61 nothing
            86000 nothing
            86000 nothing
            86000 nothing
            86000 nothing
            90000 tell found 198.51.100.3 1/3
            90000 tell found 198.51.100.3 2/3
            90000 ask flow 198.51.100.3
            90000 block asterisk 198.51.100.3 600s
            90000 record ban asterisk 198.51.100.3
            90000 tell banned 198.51.100.3 hints after 3
            90000 nothing
            90030 nothing
            90064 nothing
            90100 nothing
            90249 nothing
            90250 unblock asterisk 198.51.100.3
            90250 record unban asterisk 198.51.100.3
            90250 tell unbanned 198.51.100.3
            90300 tell found 198.51.100.2 1/3
            90300 tell found 198.51.100.2 2/3
            90300 ask flow 198.51.100.2
            90300 block asterisk 198.51.100.2 600s
            90300 record ban asterisk 198.51.100.2
            90300 tell banned 198.51.100.2 hints after 3
            90301 nothing
            90364 nothing
            90365 unblock asterisk 198.51.100.2
            90365 record unban asterisk 198.51.100.2
            90365 tell unbanned 198.51.100.2
            91000 tell found 198.51.100.4 1/3
            91000 tell found 198.51.100.4 2/3
            91000 ask flow 198.51.100.4
            91000 block asterisk 198.51.100.4 600s
            91000 record ban asterisk 198.51.100.4
            91000 tell banned 198.51.100.4 hints after 3
            91000 nothing
            91001 nothing
            91005 nothing
            91040 nothing
            91042 unblock asterisk 198.51.100.4
            91042 record unban asterisk 198.51.100.4
            91042 tell unbanned 198.51.100.4
            91100 tell found 198.51.100.6 1/3
            91100 tell found 198.51.100.6 2/3
            91100 ask flow 198.51.100.6
            91103 nothing
            91105 nothing
            91106 block asterisk 198.51.100.6 594s
            91106 record ban asterisk 198.51.100.6
            91106 tell banned 198.51.100.6 hints after 3
            91107 nothing
            92000 tell found 198.51.100.5 1/3
            92000 unblock asterisk 198.51.100.6
            92000 tell unbanned 198.51.100.6
            92000 tell found 198.51.100.5 2/3
            92000 block asterisk 198.51.100.5 3600s
            92000 record ban asterisk 198.51.100.5
            92000 tell banned 198.51.100.5 maxretry after 3
            92000 nothing
            92001 tell found 2001:db8:1::7 1/3
            92001 tell found 2001:db8:1::7 2/3
            92001 ask flow 2001:db8:1::/64
            92001 block asterisk 2001:db8:1::/64 600s
            92001 record ban asterisk 2001:db8:1::/64
            92001 tell banned 2001:db8:1::/64 hints after 3
            92100 nothing
            92300 unblock asterisk 2001:db8:1::/64
            92300 record unban asterisk 2001:db8:1::/64
            92300 tell unbanned 2001:db8:1::/64
        "#]],
    );
}

/// Hints about whom we called ban nobody, and an alarm tells of very many.
#[test]
fn hints_about_whom_we_called_raise_an_alarm() {
    let hints: String = (10..30)
        .map(|secs| format!("{secs} hint asterisk 198.51.100.1 1001\n"))
        .collect();
    let rows = format!(
        "0 hint asterisk 198.51.100.1
         1 hint asterisk 198.51.100.1
         2 hint asterisk 198.51.100.1
         3 flow 198.51.100.1 yes
         {hints}"
    );
    check_flows(
        &rows,
        expect![[r#"
        0 tell found 198.51.100.1 1/3
        1 tell found 198.51.100.1 2/3
        2 ask flow 198.51.100.1
        3 nothing
        10 nothing
        11 nothing
        12 nothing
        13 nothing
        14 nothing
        15 alarm: 198.51.100.1 is spared, but fails like a cracker (6 tries), accounts `1001` (jail asterisk)
        16 nothing
        17 nothing
        18 nothing
        19 nothing
        20 nothing
        21 nothing
        22 nothing
        23 nothing
        24 nothing
        25 nothing
        26 nothing
        27 nothing
        28 nothing
        29 nothing
    "#]],
    );
}
