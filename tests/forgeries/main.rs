//! The forgery bench: whatever a sender writes into whichever field, whom do we blame?
//!
//! Lines are made as the three servers make them (`servers.rs`), from every field that a
//! sender controls and every trick that breaks quoting (`tricks.rs`), alone and mixed with
//! a fixed seed, as they come to a file and as they come through syslog. For each field
//! the table says how many forgeries there were, and
//!
//! - `framed`: somebody is blamed whom the server did not write, with proof or in a log
//!   whose lines nobody can forge; never;
//! - `earned`: a proven success of somebody whom the server did not write; never;
//! - `hints`: whole lines that the server wrote for the sender into a file, newline and
//!   all, whose sender guessed the number of the thread right (`newline, thread guessed`);
//! - `unclear`: somebody else can have had the same text written, to the last byte, and in it
//!   the server says nothing of the true source (`twins.rs` finds out how). It blames nobody,
//!   and is counted and shown with what mends it;
//! - `convicted`: the true source is blamed. That is all others in which the server names it.
//!
//! Below it each trick has its column, in the order of `tricks.rs`; then the mixed ones.

use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use expect_test::{Expect, expect};
use jiff::tz::TimeZone;
use ringfence::config;
use ringfence::filter::lines::{Attached, Found, Lineup, Mode};
use ringfence::filter::{Filter, FilterText, Names};
use ringfence::ticket::{Sight, Trust};
use ringfence::time::Time;

mod servers;
mod tricks;
mod twins;

use servers::{ASTERISK, FREESWITCH, KAMAILIO, Says, UUID, Way, Written, line};
use tricks::tricks;
use twins::Messages;

const NOW: Time = Time::from_secs(1_796_000_000);
const VICTIM: &str = "203.0.113.20";
const TRUE: &str = "198.51.100.7";

/// A little generator with a fixed seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % sides as u64).expect("small")
    }
}

#[derive(Default)]
struct Row {
    forgeries: u32,
    framed: u32,
    earned: u32,
    hints: u32,
    named: u32,
    unclear: u32,
    convicted: u32,
}

fn lineup(server: &str) -> Lineup {
    lineup_of(config::filter(Path::new("/nonexistent"), server).expect("our filter"))
}

fn lineup_of(filter: Filter) -> Lineup {
    let attached = Attached {
        zone: None,
        jail: "jail".into(),
        filter: Arc::new(filter),
        findtime: Duration::from_secs(600),
    };
    Lineup::new(vec![attached], 0, TimeZone::UTC, NOW)
}

/// Lets the server write it, and books what was made of it.
/// Gives a letter: `+` the true source is blamed, `?` nobody is since it is unclear who is named, `.` nobody
/// is named, `h` somebody else by a hint, `!` somebody else.
fn judge(
    lineup: &mut Lineup,
    (now, log): (Time, &str),
    written: &Written,
    (source, is_unclear): (&str, bool),
    way: Way,
    row: &mut Row,
) -> char {
    let before = (row.hints, row.framed + row.earned);
    row.forgeries += 1;
    let shown_before = shown_unclear(lineup);
    let mut convicted = false;
    lineup.block(log.as_bytes(), Mode::Live, now, |found| {
        let (addr, trust, sight) = match found {
            Found::Failure(failure) => (failure.addr, failure.trust, None),
            Found::Sighting(seen) => (seen.addr, seen.trust, Some(seen.sight)),
            Found::Named(named) => panic!("our filters do not look up {}", named.name),
        };
        let by_server = addr.to_string() == source;
        let forgeable = way == Way::File && trust == Trust::Hint && log.trim_end().contains('\n');
        match (by_server, sight) {
            (true, None) => convicted |= written.says == Says::Failed,
            (true, Some(Sight::Challenge)) => convicted |= written.says == Says::Challenged,
            (true, Some(Sight::Success)) => convicted |= written.says == Says::Succeeded,
            (false, _) if forgeable => row.hints += 1,
            (false, Some(Sight::Success)) => row.earned += 1,
            (false, _) => row.framed += 1,
        }
        if row.framed + row.earned > 0 {
            println!("{}: blames {addr}: {log:?}", written.field);
        }
        // Nobody succeeds who only failed, and the other way round.
        if by_server && sight == Some(Sight::Success) {
            assert!(written.says == Says::Succeeded, "{log:?}");
        }
    });
    if written.says != Says::Nothing {
        row.named += 1;
        row.unclear += u32::from(is_unclear);
        row.convicted += u32::from(convicted);
        assert!(convicted != is_unclear, "{}: {log:?}", written.field);
        assert!(
            !is_unclear || shown_unclear(lineup) > shown_before,
            "{}: {log:?}",
            written.field
        );
    }
    match before {
        (_, bad) if bad < row.framed + row.earned => '!',
        (hints, _) if hints < row.hints => 'h',
        _ if convicted => '+',
        _ if written.says == Says::Nothing => '.',
        _ => '?',
    }
}

/// How many unclear lines are shown to the operator.
fn shown_unclear(lineup: &Lineup) -> u64 {
    let misses = lineup.near_misses();
    let unclear = misses.iter().filter(|(_, miss)| miss.remedy.is_some());
    let disbelieved = lineup.doubts().into_iter().map(|doubt| doubt.disbelieved);
    unclear.map(|(_, miss)| miss.count).sum::<u64>() + disbelieved.sum::<u64>()
}

/// How often tricks are mixed for each field, in each way.
const MIXES: usize = 10;

fn check(server: &str, all: &[Written], expected: Expect) {
    let mut dice = Dice(0x05ee_d0fa_11ed);
    let tricks = tricks(server);
    let mut table = String::from("forgeries framed earned hints named unclear convicted\n");
    let mut matrix = String::new();
    let mut sum = Row::default();
    let ways = [Way::File, Way::Syslog].map(|way| (way, Messages::of(server, all, way)));
    // A log of its own for each field and way: one that is doubted stays so.
    for written in all {
        let mut row = Row::default();
        for (way, messages) in &ways {
            let way = *way;
            let mut words: Vec<String> =
                tricks.iter().map(|(_, text)| (*text).to_owned()).collect();
            words.push("A".repeat(8_192) + tricks[0].1);
            for _ in 0..MIXES {
                let some = (0..2 + dice.roll(2)).map(|_| tricks[dice.roll(tricks.len())].1);
                words.push(
                    some.collect::<Vec<_>>()
                        .join([" ", "", "\"", "'"][dice.roll(4)]),
                );
            }
            let mut lineup = lineup(server);
            if (server, way) == ("freeswitch", Way::File) && written.says != Says::Nothing {
                // A line of a call's casts a doubt on the log. Behind it is a pause, and from
                // then on nothing but this field's lines.
                let call = format!("{UUID} 2026-11-22 07:39:00.118206 [INFO] sofia.c:1 x\n");
                lineup.block(call.as_bytes(), Mode::Live, NOW, |_| panic!("{call}"));
                assert_eq!(lineup.doubts().len(), 1);
            }
            let mut letters = String::new();
            let mut now = NOW;
            for (place, words) in words.iter().enumerate() {
                let (source, victim) = match place % 4 {
                    3 => ("2001:db8:bad::110", "2001:db8:1::20"),
                    2 => (TRUE, "2001:db8:1::20"),
                    _ => (TRUE, VICTIM),
                };
                let words = words.replace('¤', victim);
                // In a call of its own: a second line of one call counts for nothing.
                let call = format!("{place}-9425");
                let log = line(server, written, &words, source, way).replace("1-9425", &call);
                now = now + Duration::from_secs(u64::from(place % 2 == 0));
                let is_unclear = messages.have_twin(&log, written.says, source);
                let says = (source, is_unclear);
                letters.push(judge(
                    &mut lineup,
                    (now, &log),
                    written,
                    says,
                    way,
                    &mut row,
                ));
            }
            let (single, mixed) = letters.split_at(tricks.len() + 1);
            let way = match way {
                Way::File => "file",
                Way::Syslog => "syslog",
            };
            writeln!(matrix, "{single} {mixed} {way:<6} {}", written.field).expect("a String");
        }
        let Row {
            forgeries,
            framed,
            earned,
            hints,
            named,
            unclear,
            convicted,
        } = row;
        writeln!(
            table,
            "{forgeries:>9} {framed:>6} {earned:>6} {hints:>5} {named:>5} {unclear:>7} {convicted:>9}  {}",
            written.field
        )
        .expect("a String");
        sum.forgeries += forgeries;
        sum.framed += framed;
        sum.earned += earned;
        sum.hints += hints;
        sum.named += named;
        sum.unclear += unclear;
        sum.convicted += convicted;
    }
    let Row {
        forgeries,
        framed,
        earned,
        hints,
        named,
        unclear,
        convicted,
    } = sum;
    writeln!(
        table,
        "{forgeries:>9} {framed:>6} {earned:>6} {hints:>5} {named:>5} {unclear:>7} {convicted:>9}  all"
    )
    .expect("a String");
    println!("{server}\n{table}\n{matrix}");
    assert!(forgeries >= 500);
    assert_eq!((framed, earned), (0, 0), "{table}");
    expected.assert_eq(&format!("{table}\n{matrix}"));
}

/// Can the bench fail? What people write on their own is framed.
#[test]
fn the_bench_finds_what_can_be_framed() {
    for (server, all, naive) in [
        ("asterisk", ASTERISK, r"failed for '<HOST>(?::\d+)?'"),
        ("asterisk", ASTERISK, r#"RemoteAddress="IPV4/UDP/<HOST>/"#),
        ("asterisk", ASTERISK, r"<HOST> failed to authenticate as"),
        ("freeswitch", FREESWITCH, r"from ip <HOST>"),
        ("kamailio", KAMAILIO, r"Blocking traffic from <HOST>"),
        (
            "kamailio",
            KAMAILIO,
            r"Auth error for .* from <HOST> cause -\d",
        ),
    ] {
        let text = FilterText {
            failregex: vec![naive.to_owned()],
            names: Names::No,
            ..FilterText::default()
        };
        let mut lineup = lineup_of(Filter::compile(&text).expect("a filter"));
        let mut row = Row::default();
        for written in all {
            for (_, words) in tricks(server) {
                let log = line(
                    server,
                    written,
                    &words.replace('¤', VICTIM),
                    TRUE,
                    Way::Syslog,
                );
                // What is convicted does not matter here.
                let written = Written {
                    says: Says::Nothing,
                    ..*written
                };
                judge(
                    &mut lineup,
                    (NOW, &log),
                    &written,
                    (TRUE, false),
                    Way::Syslog,
                    &mut row,
                );
            }
        }
        assert!(row.framed > 0, "{naive}");
    }
}

/// What a folded header of Kamailio's writes into a log whose daemon keeps newlines.
#[test]
fn folded_lines_blame_nobody() {
    let own = format!("<script>: Auth error for 1@x from {VICTIM} cause -2");
    let auth = format!("NOTICE: {own}");
    let head = "Nov 22 07:51:22 sip1 kamailio[7]: NOTICE:";
    for (line, blames) in [
        (format!("Nov 22 07:51:22 sip1 kamailio[7]: {auth}"), true),
        (
            format!("2026-11-22T07:51:22.000+00:00 sip1 kamailio[7]: {auth}"),
            true,
        ),
        (format!(" Nov 22 07:51:22 sip1 kamailio[7]: {auth}"), false),
        (format!("\tNov 22 07:51:22 sip1 kamailio[7]: {auth}"), false),
        (format!(" [Nov 22 07:51:22 kamailio[7]: {auth}"), false),
        (
            format!(" <2026-11-22T07:51:22.000+00:00 kamailio[7]: {auth}"),
            false,
        ),
        (
            format!(" 2026-11-22T07:51:22.000+00:00 sip1 kamailio[7]: {auth}"),
            false,
        ),
        (format!(" sip1 kamailio[7]: {auth}"), false),
        (format!("\tsip1 kamailio[7]: {auth}"), false),
        (format!(" kamailio[7]: {auth}"), false),
        (format!(" {auth}"), false),
        (format!(" 2(77) {auth}"), false),
        (format!(" sip1 kamailio[7]:  2(77) {auth}"), false),
        (format!("{head} {{1 1 REGISTER x}} {own}"), false),
        (format!("{head} {own}"), true),
    ] {
        let mut lineup = lineup("kamailio");
        let first = "Nov 22 07:51:22 sip1 kamailio[7]: ERROR: {1 1 REGISTER x";
        let block = format!("{first}\n{line}\n y}} <core> [x.c:1]: f(): no\n");
        let mut blamed = false;
        lineup.block(block.as_bytes(), Mode::Live, NOW, |_| blamed = true);
        assert_eq!(blamed, blames, "{line}");
        // Nor does it hide anybody's lines from then on.
        let mut count = 0;
        let block = format!("{head} {own}\n{head} {{1 1 REGISTER x}} {own}\n");
        lineup.block(block.as_bytes(), Mode::Live, NOW, |_| count += 1);
        assert_eq!(count, 2, "{line}");
    }
}

/// Asterisk cuts a message at 8,191 bytes, and the next one stands on its line.
#[test]
fn whoever_stands_behind_a_message_that_was_cut_off_is_not_blamed_for_it() {
    let head = "[2026-11-22 07:51:22] SECURITY[4839] res_security_log.c: ";
    let event = |what: &str, session: &str| {
        let times = "EventTV=\"2026-11-22T07:51:22.000+0000\",Severity=\"Error\"";
        let who = "Service=\"PJSIP\",EventVersion=\"1\",AccountID=\"1001\"";
        format!("{head}SecurityEvent=\"{what}\",{times},{who},SessionID=\"{session}")
    };
    let end = |transport: &str, addr: &str| {
        let ours = format!("LocalAddress=\"IPV4/{transport}/192.0.2.1/5060\"");
        format!("\",{ours},RemoteAddress=\"IPV4/{transport}/{addr}/5060\",Challenge=\"\"\n")
    };
    let cut = |words: &str| {
        let mut cut = event("ChallengeResponseFailed", words);
        cut.truncate(8_191);
        cut
    };
    let long = "c".repeat(9_000);
    let honest = event("ChallengeSent", "x") + &end("TCP", VICTIM);
    let guess = "[2026-11-22 07:51:22] SECURITY[1] res_security_log.c: ";
    let own = |session: &str| event("ChallengeResponseFailed", session) + &end("TCP", TRUE);
    for (block, failed) in [
        (own("x"), true),
        (cut(&long) + &honest, false),
        (cut(&long) + &cut(&long) + &honest, false),
        (cut(&guess.repeat(200)) + &honest, false),
        // What a sender wrote is no head, and what is short is one message.
        (own(&guess.repeat(200)), true),
        (own(head), true),
        (cut(&long) + &own("x"), true),
    ] {
        let mut lineup = lineup("asterisk");
        lineup.block(honest.as_bytes(), Mode::Live, NOW, |_| {});
        let mut found = Vec::new();
        lineup.block(block.as_bytes(), Mode::Live, NOW, |one| {
            if let Found::Failure(failure) = one {
                found.push(failure.addr.to_string());
            }
        });
        let expected = failed.then_some(TRUE);
        assert_eq!(found, Vec::from_iter(expected), "{}", block);
    }
}

/// Asterisk's lines in the file of a syslog daemon that keeps newlines (syslog-ng).
#[test]
fn forged_lines_through_syslog_ng_blame_nobody() {
    let folder = tempfile::tempdir().expect("a folder");
    let filters = folder.path().join("filter.d");
    std::fs::create_dir(&filters).expect("a folder");
    let local = "[Definition]\ndoubtregex = %(known/doubtregex)s\n  %(rawdoubtregex)s\n";
    std::fs::write(filters.join("asterisk.local"), local).expect("a file");
    let head = "Nov 22 07:51:22 pbx asterisk[12]: NOTICE";
    let call = "chan_sip.c:26900 in handle_request_invite: Call from ''";
    let failed = |thread: u64, addr: &str| {
        let what = "chan_sip.c:24900 in handle_request_register: Registration from '<sip:1@x>'";
        format!("{head}[{thread}]: {what} failed for '{addr}:5060' - Wrong password\n")
    };
    let forged = |thread: u64, tail: &str| {
        let call = format!("{head}[1970]: {call} ({TRUE}:5060) to extension 'z\n");
        format!("{call}{}{tail}z' rejected\n", failed(thread, VICTIM))
    };
    let mut lineup = lineup_of(config::filter(folder.path(), "asterisk").expect("our filter"));
    let mut now = NOW;
    for (millis, block, found) in [
        (50, failed(1970, TRUE), "proven"),
        (0, forged(1, ""), "hint"),
        (0, forged(1, &format!("{head}[1]: x.c:1 in f: ")), "hint"),
        (
            50,
            failed(1970, TRUE) + &failed(1971, TRUE),
            "proven proven",
        ),
    ] {
        now = now + Duration::from_millis(millis);
        let mut said = Vec::new();
        lineup.block(block.as_bytes(), Mode::Live, now, |one| match one {
            Found::Failure(failure) => {
                assert_eq!(failure.addr.to_string(), TRUE, "{block}");
                said.push(match failure.trust {
                    Trust::Proof => "proven",
                    Trust::Hint => "hint",
                });
            }
            other => panic!("{block}: {other:?}"),
        });
        assert_eq!(said.join(" "), found, "{block}");
    }
}

/// In a log of FreeSWITCH's that calls are written to: what begins a message for certain.
#[test]
fn lines_of_freeswitch_count_by_their_place() {
    let date = "2026-11-22 07:40:00.118206 97.43% ";
    let auth = |account: &str, from: &str| {
        let what = "SIP auth failure (REGISTER) on sofia profile 'internal'";
        format!("{date}[WARNING] sofia_reg.c:1533 {what} for [{account}] from ip {from}\n")
    };
    let acl = |from: &str| {
        format!("{date}[WARNING] mod_event_socket.c:2889 IP {from} Rejected by acl \"lan\"\n")
    };
    let call = format!("{UUID} {date}[INFO] sofia.c:10460 x receiving invite, call-id: y\n");
    let bare = format!("{date}[INFO] mod_verto.c:1087 192.0.2.9:1 re-connecting session y\n");
    let honest = |from| auth("1001@192.0.2.1", from);
    // Who forges cannot know the idle share.
    let forged = |line: String| line.replace("97.43%", "96.58%");
    let folded = auth(&format!("x@y] from ip {VICTIM}\n z"), TRUE);
    let long = auth(&("\n ".to_owned() + &"x".repeat(5_000)), TRUE);
    let rest = format!(" z@192.0.2.1] from ip {TRUE}\n");
    let dateless = acl(VICTIM).replacen(date.trim_end_matches("97.43% "), " ", 1);
    let mut lineup = lineup("freeswitch");
    let mut now = NOW;
    let mut table = String::new();
    // Milliseconds since the block before it, and the block.
    for (millis, what, block) in [
        (0, "nothing is doubted", honest(TRUE) + &folded + &acl(TRUE)),
        (0, "a doubt is cast behind it", honest(TRUE) + &call),
        (0, "next to a call's", forged(honest(VICTIM))),
        (4, "nor is that a lull", forged(acl(VICTIM))),
        (
            5,
            "a lull",
            honest(TRUE) + &acl(TRUE) + &folded + &honest(TRUE),
        ),
        (0, "whole lines since", honest(TRUE)),
        (50, "a pause", acl(TRUE) + &folded + &honest(TRUE)),
        (0, "whole lines since", (0..40).map(|_| acl(TRUE)).collect()),
        (
            0,
            "another line",
            acl(TRUE) + &call + &forged(honest(VICTIM)),
        ),
        (
            50,
            "forged behind a call's",
            call.clone() + &forged(honest(VICTIM)),
        ),
        (
            50,
            "forged behind verto's",
            bare.clone() + &forged(honest(VICTIM)),
        ),
        (50, "true behind a call's", call.clone() + &honest(TRUE)),
        (0, "and in a block of its own", call.clone() + &acl(TRUE)),
        (0, "and a folded one", bare + &folded.clone()),
        (
            50,
            "a call's own, and true",
            format!("{call}{UUID} {}", acl(TRUE)),
        ),
        (
            1_001,
            "the pulse of another second",
            forged(call.clone()) + &honest(TRUE),
        ),
        (
            50,
            "folded in vain",
            format!("{} {}", acl(TRUE), honest(VICTIM)),
        ),
        (50, "without a date", acl(TRUE) + &dateless),
        (50, "long, and perhaps not all", long.clone()),
        (0, "its rest", rest.clone()),
        (50, "long, and all", long + &acl(TRUE)),
        (
            50,
            "folded, and forged",
            call.clone() + &forged(folded.clone()),
        ),
        (50, "the rest of a line", forged(honest(VICTIM))),
        (0, "and of its message", rest.clone()),
        (
            50,
            "of a call's own",
            format!("{UUID} {}", forged(acl(VICTIM))),
        ),
        (50, "written at once so far", honest(TRUE)),
        (50, "line by line now", rest),
        (50, "which may go on", honest(VICTIM)),
        (50, "and folded may, too", folded.clone()),
        (50, "which does not", folded + &honest(TRUE) + &acl(TRUE)),
    ] {
        now = now + Duration::from_millis(millis);
        if what == "the rest of a line" {
            lineup.goes_on(now);
        }
        let mut found = [0; 2];
        let unclear = shown_unclear(&lineup);
        lineup.block(block.as_bytes(), Mode::Live, now, |one| match one {
            Found::Failure(failure) => {
                assert_eq!(failure.addr.to_string(), TRUE, "{what}");
                found[usize::from(failure.trust == Trust::Proof)] += 1;
            }
            other => panic!("{what}: {other:?}"),
        });
        let [hints, proofs] = found;
        let unclear = shown_unclear(&lineup) - unclear;
        let line = format!("{proofs} proven, {hints} hints, {unclear} unclear: {what}");
        writeln!(table, "{millis:>2} {line}").expect("a String");
    }
    expect![[r#"
         0 2 proven, 1 hints, 0 unclear: nothing is doubted
         0 1 proven, 0 hints, 0 unclear: a doubt is cast behind it
         0 0 proven, 0 hints, 1 unclear: next to a call's
         4 0 proven, 0 hints, 1 unclear: nor is that a lull
         5 0 proven, 4 hints, 0 unclear: a lull
         0 0 proven, 1 hints, 0 unclear: whole lines since
        50 2 proven, 1 hints, 0 unclear: a pause
         0 0 proven, 40 hints, 0 unclear: whole lines since
         0 0 proven, 1 hints, 1 unclear: another line
        50 0 proven, 0 hints, 1 unclear: forged behind a call's
        50 0 proven, 0 hints, 1 unclear: forged behind verto's
        50 0 proven, 1 hints, 0 unclear: true behind a call's
         0 0 proven, 1 hints, 0 unclear: and in a block of its own
         0 0 proven, 1 hints, 0 unclear: and a folded one
        50 0 proven, 1 hints, 0 unclear: a call's own, and true
        1001 0 proven, 0 hints, 1 unclear: the pulse of another second
        50 0 proven, 1 hints, 0 unclear: folded in vain
        50 0 proven, 1 hints, 1 unclear: without a date
        50 0 proven, 0 hints, 1 unclear: long, and perhaps not all
         0 0 proven, 0 hints, 0 unclear: its rest
        50 1 proven, 1 hints, 0 unclear: long, and all
        50 0 proven, 0 hints, 1 unclear: folded, and forged
        50 0 proven, 0 hints, 1 unclear: the rest of a line
         0 0 proven, 0 hints, 0 unclear: and of its message
        50 0 proven, 0 hints, 1 unclear: of a call's own
        50 1 proven, 0 hints, 0 unclear: written at once so far
        50 0 proven, 0 hints, 0 unclear: line by line now
        50 0 proven, 0 hints, 1 unclear: which may go on
        50 0 proven, 0 hints, 1 unclear: and folded may, too
        50 2 proven, 1 hints, 0 unclear: which does not
    "#]]
    .assert_eq(&table);
}

#[test]
fn asterisk() {
    check(
        "asterisk",
        ASTERISK,
        expect![[r#"
            forgeries framed earned hints named unclear convicted
                  126      0      0     0   126       0       126  chan_sip To
                  126      0      0     0   126       0       126  chan_sip extension
                  126      0      0     0   126       0       126  chan_sip extension, long
                  126      0      0     0     0       0         0  chan_sip From, no address
                  126      0      0     0     0       0         0  chan_sip Call-ID, no address
                  126      0      0     0   126       0       126  chan_sip account
                  126      0      0     0   126       0       126  chan_sip nonce
                  126      0      0     0   126       0       126  chan_sip challenge
                  126      0      0     0   126       0       126  pjsip display name
                  126      0      0     0   126       0       126  pjsip From
                  126      0      0     0   126       0       126  pjsip From, too long
                  126      0      0     0   126       0       126  pjsip From, cut
                  126      0      0     0   126       0       126  pjsip display name, cut
                  126      0      0     0   126       0       126  pjsip method
                  126      0      0     0   126       0       126  pjsip Call-ID
                  126      0      0     0   126       0       126  pjsip session
                  126      0      0     0   126       0       126  pjsip response
                  126      0      0     0   126       0       126  pjsip account
                  126      0      0     0   126       0       126  pjsip session of a success
                  126      0      0     0   126       0       126  pjsip session of a challenge
                  126      0      0     0   126       0       126  pjsip extension
                  126      0      0     0   126       0       126  pjsip extension, 16 and 22
                  126      0      0     0   126       0       126  pjsip AOR
                  126      0      0     0     0       0         0  pjsip extension, subscribed
                  126      0      0     0     0       0         0  Contact, by an ACL
                  126      0      0     0   126       0       126  AMI user
                  126      0      0     0   126       1       125  AMI account
                  126      0      0     0   126       1       125  IAX2 peer
                  126      0      0     0   126       0       126  IAX2 user
                  126      0      0     0   126       0       126  IAX2 extension
                  126      0      0     0   126       0       126  dialplan extension
                  126      0      0     0     0       0         0  VERBOSE extension
                  126      0      0     0     0       0         0  VERBOSE extension, long
                  126      0      0     0     0       0         0  VERBOSE caller
                  126      0      0     0     0       0         0  VERBOSE words of a dialplan
                 4410      0      0     0  3402       2      3400  all

            +++++++++++++++++++++++++++++++++++++++++++++++++++++ ++++++++++ file   chan_sip To
            +++++++++++++++++++++++++++++++++++++++++++++++++++++ ++++++++++ syslog chan_sip To
            +++++++++++++++++++++++++++++++++++++++++++++++++++++ ++++++++++ file   chan_sip extension
            +++++++++++++++++++++++++++++++++++++++++++++++++++++ ++++++++++ syslog chan_sip extension
            +++++++++++++++++++++++++++++++++++++++++++++++++++++ ++++++++++ file   chan_sip extension, long
            +++++++++++++++++++++++++++++++++++++++++++++++++++++ ++++++++++ syslog chan_sip extension, long
            ..................................................... .......... file   chan_sip From, no address
            ..................................................... .......... syslog chan_sip From, no address
            ..................................................... .......... file   chan_sip Call-ID, no address
            ..................................................... .......... syslog chan_sip Call-ID, no address
            +++++++++++++++++++++++++++++++++++++++++++++++++++++ ++++++++++ file   chan_sip account
            +++++++++++++++++++++++++++++++++++++++++++++++++++++ ++++++++++ syslog chan_sip account
            +++++++++++++++++++++++++++++++++++++++++++++++++++++ ++++++++++ file   chan_sip nonce
            +++++++++++++++++++++++++++++++++++++++++++++++++++++ ++++++++++ syslog chan_sip nonce
            +++++++++++++++++++++++++++++++++++++++++++++++++++++ ++++++++++ file   chan_sip challenge
            +++++++++++++++++++++++++++++++++++++++++++++++++++++ ++++++++++ syslog chan_sip challenge
            +++++++++++++++++++++++++++++++++++++++++++++++++++++ ++++++++++ file   pjsip display name
            +++++++++++++++++++++++++++++++++++++++++++++++++++++ ++++++++++ syslog pjsip display name
            +++++++++++++++++++++++++++++++++++++++++++++++++++++ ++++++++++ file   pjsip From
            +++++++++++++++++++++++++++++++++++++++++++++++++++++ ++++++++++ syslog pjsip From
            +++++++++++++++++++++++++++++++++++++++++++++++++++++ ++++++++++ file   pjsip From, too long
            +++++++++++++++++++++++++++++++++++++++++++++++++++++ ++++++++++ syslog pjsip From, too long
            +++++++++++++++++++++++++++++++++++++++++++++++++++++ ++++++++++ file   pjsip From, cut
            +++++++++++++++++++++++++++++++++++++++++++++++++++++ ++++++++++ syslog pjsip From, cut
            +++++++++++++++++++++++++++++++++++++++++++++++++++++ ++++++++++ file   pjsip display name, cut
            +++++++++++++++++++++++++++++++++++++++++++++++++++++ ++++++++++ syslog pjsip display name, cut
            +++++++++++++++++++++++++++++++++++++++++++++++++++++ ++++++++++ file   pjsip method
            +++++++++++++++++++++++++++++++++++++++++++++++++++++ ++++++++++ syslog pjsip method
            +++++++++++++++++++++++++++++++++++++++++++++++++++++ ++++++++++ file   pjsip Call-ID
            +++++++++++++++++++++++++++++++++++++++++++++++++++++ ++++++++++ syslog pjsip Call-ID
            +++++++++++++++++++++++++++++++++++++++++++++++++++++ ++++++++++ file   pjsip session
            +++++++++++++++++++++++++++++++++++++++++++++++++++++ ++++++++++ syslog pjsip session
            +++++++++++++++++++++++++++++++++++++++++++++++++++++ ++++++++++ file   pjsip response
            +++++++++++++++++++++++++++++++++++++++++++++++++++++ ++++++++++ syslog pjsip response
            +++++++++++++++++++++++++++++++++++++++++++++++++++++ ++++++++++ file   pjsip account
            +++++++++++++++++++++++++++++++++++++++++++++++++++++ ++++++++++ syslog pjsip account
            +++++++++++++++++++++++++++++++++++++++++++++++++++++ ++++++++++ file   pjsip session of a success
            +++++++++++++++++++++++++++++++++++++++++++++++++++++ ++++++++++ syslog pjsip session of a success
            +++++++++++++++++++++++++++++++++++++++++++++++++++++ ++++++++++ file   pjsip session of a challenge
            +++++++++++++++++++++++++++++++++++++++++++++++++++++ ++++++++++ syslog pjsip session of a challenge
            +++++++++++++++++++++++++++++++++++++++++++++++++++++ ++++++++++ file   pjsip extension
            +++++++++++++++++++++++++++++++++++++++++++++++++++++ ++++++++++ syslog pjsip extension
            +++++++++++++++++++++++++++++++++++++++++++++++++++++ ++++++++++ file   pjsip extension, 16 and 22
            +++++++++++++++++++++++++++++++++++++++++++++++++++++ ++++++++++ syslog pjsip extension, 16 and 22
            +++++++++++++++++++++++++++++++++++++++++++++++++++++ ++++++++++ file   pjsip AOR
            +++++++++++++++++++++++++++++++++++++++++++++++++++++ ++++++++++ syslog pjsip AOR
            ..................................................... .......... file   pjsip extension, subscribed
            ..................................................... .......... syslog pjsip extension, subscribed
            ..................................................... .......... file   Contact, by an ACL
            ..................................................... .......... syslog Contact, by an ACL
            +++++++++++++++++++++++++++++++++++++++++++++++++++++ ++++++++++ file   AMI user
            +++++++++++++++++++++++++++++++++++++++++++++++++++++ ++++++++++ syslog AMI user
            +++++++++++++++++++++++++?+++++++++++++++++++++++++++ ++++++++++ file   AMI account
            +++++++++++++++++++++++++++++++++++++++++++++++++++++ ++++++++++ syslog AMI account
            +++++++++++++++++++++++++++?+++++++++++++++++++++++++ ++++++++++ file   IAX2 peer
            +++++++++++++++++++++++++++++++++++++++++++++++++++++ ++++++++++ syslog IAX2 peer
            +++++++++++++++++++++++++++++++++++++++++++++++++++++ ++++++++++ file   IAX2 user
            +++++++++++++++++++++++++++++++++++++++++++++++++++++ ++++++++++ syslog IAX2 user
            +++++++++++++++++++++++++++++++++++++++++++++++++++++ ++++++++++ file   IAX2 extension
            +++++++++++++++++++++++++++++++++++++++++++++++++++++ ++++++++++ syslog IAX2 extension
            +++++++++++++++++++++++++++++++++++++++++++++++++++++ ++++++++++ file   dialplan extension
            +++++++++++++++++++++++++++++++++++++++++++++++++++++ ++++++++++ syslog dialplan extension
            ..................................................... .......... file   VERBOSE extension
            ..................................................... .......... syslog VERBOSE extension
            ..................................................... .......... file   VERBOSE extension, long
            ..................................................... .......... syslog VERBOSE extension, long
            ..................................................... .......... file   VERBOSE caller
            ..................................................... .......... syslog VERBOSE caller
            ..................................................... .......... file   VERBOSE words of a dialplan
            ..................................................... .......... syslog VERBOSE words of a dialplan
        "#]],
    );
}

#[test]
fn freeswitch() {
    check(
        "freeswitch",
        FREESWITCH,
        expect![[r#"
            forgeries framed earned hints named unclear convicted
                  138      0      0     0   138       0       138  user, failure
                  138      0      0     0   138       0       138  host, failure
                  138      0      0     0   138       0       138  user, unknown
                  138      0      0     0   138       0       138  host, unknown
                  138      0      0     0   138       0       138  user, challenge
                  138      0      0     0     0       0         0  User-Agent, no address
                  138      0      0     1     0       0         0  user of verto, no address
                  138      0      0     0     0       0         0  session of verto, no address
                  138      0      0     0     0       0         0  number dialled, no address
                  138      0      0     0     0       0         0  channel, no address
                  138      0      0     0     0       0         0  Call-ID, no address
                  138      0      0     0     0       0         0  SDP, no address
                  138      0      0     1     0       0         0  SDP, no UUIDs, no address
                 1794      0      0     2   690       0       690  all

            +++++++++++++++++++++++++++++++++++++++++++++++++++++++++++ ++++++++++ file   user, failure
            +++++++++++++++++++++++++++++++++++++++++++++++++++++++++++ ++++++++++ syslog user, failure
            +++++++++++++++++++++++++++++++++++++++++++++++++++++++++++ ++++++++++ file   host, failure
            +++++++++++++++++++++++++++++++++++++++++++++++++++++++++++ ++++++++++ syslog host, failure
            +++++++++++++++++++++++++++++++++++++++++++++++++++++++++++ ++++++++++ file   user, unknown
            +++++++++++++++++++++++++++++++++++++++++++++++++++++++++++ ++++++++++ syslog user, unknown
            +++++++++++++++++++++++++++++++++++++++++++++++++++++++++++ ++++++++++ file   host, unknown
            +++++++++++++++++++++++++++++++++++++++++++++++++++++++++++ ++++++++++ syslog host, unknown
            +++++++++++++++++++++++++++++++++++++++++++++++++++++++++++ ++++++++++ file   user, challenge
            +++++++++++++++++++++++++++++++++++++++++++++++++++++++++++ ++++++++++ syslog user, challenge
            ........................................................... .......... file   User-Agent, no address
            ........................................................... .......... syslog User-Agent, no address
            ........................................................... .h........ file   user of verto, no address
            ........................................................... .......... syslog user of verto, no address
            ........................................................... .......... file   session of verto, no address
            ........................................................... .......... syslog session of verto, no address
            ........................................................... .......... file   number dialled, no address
            ........................................................... .......... syslog number dialled, no address
            ........................................................... .......... file   channel, no address
            ........................................................... .......... syslog channel, no address
            ........................................................... .......... file   Call-ID, no address
            ........................................................... .......... syslog Call-ID, no address
            ........................................................... .......... file   SDP, no address
            ........................................................... .......... syslog SDP, no address
            ........................................................... ......h... file   SDP, no UUIDs, no address
            ........................................................... .......... syslog SDP, no UUIDs, no address
        "#]],
    );
}

#[test]
fn kamailio() {
    check(
        "kamailio",
        KAMAILIO,
        expect![[r#"
            forgeries framed earned hints named unclear convicted
                  126      0      0     0   126       9       117  Call-ID
                  126      0      0     0   126       8       118  Call-ID, port
                  126      0      0     0   126       9       117  Call-ID, tutorial
                  126      0      0     0   126      11       115  Call-ID, success
                  126      0      0     1     0       0         0  Call-ID, no address
                  126      0      0     0   126      10       116  Call-ID, pike
                  126      0      0     0   126       0       126  From user
                  126      0      0     0   126       0       126  From domain
                  126      0      0     0   126       0       126  From user, success
                  126      0      0     0   126      18       108  user
                  126      0      0     1   126      17       109  User-Agent
                  126      0      0     0   126      15       111  User-Agent, blacklisted
                  126      0      0     1   126       0       126  User-Agent, no prefix
                  126      0      0     0   126       0       126  request URI
                  126      0      0     0   126       0       126  From URI, flood
                  126      0      0     0     0       0         0  request URI, no address
                  126      0      0     0     0       0         0  header, no address
                  126      0      0     1     0       0         0  line of an administrator, open
                  126      0      0     1     0       0         0  line of an administrator, longer than ours
                  126      0      0     1     0       0         0  line of an administrator, longer than Kamailio's
                  126      0      0     3     0       0         0  line of an administrator, no prefix
                 2646      0      0     9  1764      97      1667  all

            +++++++++++++++++++++++++++++++++?++??+++++++++++++++ ??++++++++ file   Call-ID
            +++++++++++++++++++++++++++++++++?++??+++++++++++++++ +++++++++? syslog Call-ID
            +++++++++++++++++++++++++++++++++?++??+++++++++++++++ ++?+++++++ file   Call-ID, port
            +++++++++++++++++++++++++++++++++?++??+++++++++++++++ +++++?++++ syslog Call-ID, port
            +++++++++++++++++++++++++++++++++?++??+++++++++++++++ +++++?++?+ file   Call-ID, tutorial
            +++++++++++++++++++++++++++++++++?++??+++++++++++++++ +++++++?++ syslog Call-ID, tutorial
            +++++++++++++++++++++++++++++++++?++??+++++++++++++++ ?+?++?+++? file   Call-ID, success
            +++++++++++++++++++++++++++++++++?++??+++++++++++++++ ++++?+++++ syslog Call-ID, success
            ..............................h...................... .......... file   Call-ID, no address
            ..................................................... .......... syslog Call-ID, no address
            +++++++++++++++++++++++++++++++++?++??+++++++++++++++ ?+?+++++++ file   Call-ID, pike
            +++++++++++++++++++++++++++++++++?++??+++++++++++++++ +++?+++++? syslog Call-ID, pike
            +++++++++++++++++++++++++++++++++++++++++++++++++++++ ++++++++++ file   From user
            +++++++++++++++++++++++++++++++++++++++++++++++++++++ ++++++++++ syslog From user
            +++++++++++++++++++++++++++++++++++++++++++++++++++++ ++++++++++ file   From domain
            +++++++++++++++++++++++++++++++++++++++++++++++++++++ ++++++++++ syslog From domain
            +++++++++++++++++++++++++++++++++++++++++++++++++++++ ++++++++++ file   From user, success
            +++++++++++++++++++++++++++++++++++++++++++++++++++++ ++++++++++ syslog From user, success
            +++++++++++++++++++++++++++++++++?+????+?++++++++++++ +?++++?++? file   user
            +++++++++++++++++++++++++++++++++?+????+?++++++++++++ ?+++++?+?+ syslog user
            ++++++++++++++++++++++++++++++h++?+????+?++++++++++++ +???+++?++ file   User-Agent
            +++++++++++++++++++++++++++++++++?+????+?++++++++++++ +++++?++++ syslog User-Agent
            +++++++++++++++++++++++++++++++++?+????+?++++++++++++ ?+++++++?+ file   User-Agent, blacklisted
            +++++++++++++++++++++++++++++++++?+????+?++++++++++++ ++++++++?+ syslog User-Agent, blacklisted
            ++++++++++++++++++++++++++++++h++++++++++++++++++++++ ++++++++++ file   User-Agent, no prefix
            +++++++++++++++++++++++++++++++++++++++++++++++++++++ ++++++++++ syslog User-Agent, no prefix
            +++++++++++++++++++++++++++++++++++++++++++++++++++++ ++++++++++ file   request URI
            +++++++++++++++++++++++++++++++++++++++++++++++++++++ ++++++++++ syslog request URI
            +++++++++++++++++++++++++++++++++++++++++++++++++++++ ++++++++++ file   From URI, flood
            +++++++++++++++++++++++++++++++++++++++++++++++++++++ ++++++++++ syslog From URI, flood
            ..................................................... .......... file   request URI, no address
            ..................................................... .......... syslog request URI, no address
            ..................................................... .......... file   header, no address
            ..................................................... .......... syslog header, no address
            ..............................h...................... .......... file   line of an administrator, open
            ..................................................... .......... syslog line of an administrator, open
            ..............................h...................... .......... file   line of an administrator, longer than ours
            ..................................................... .......... syslog line of an administrator, longer than ours
            ..............................h...................... .......... file   line of an administrator, longer than Kamailio's
            ..................................................... .......... syslog line of an administrator, longer than Kamailio's
            ..............................h...................... ...hh..... file   line of an administrator, no prefix
            ..................................................... .......... syslog line of an administrator, no prefix
        "#]],
    );
}
