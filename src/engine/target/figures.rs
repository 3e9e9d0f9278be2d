//! What the rules are worth, in figures: days of an office and hours of an outage, played
//! to the engine. Every run is the same.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use expect_test::expect;

use crate::addr::Addr;
use crate::engine::tests::START;
use crate::engine::{Checks, Effect, Engine, Event, Tell};
use crate::jail::bantime::Increment;
use crate::jail::protect::Protected;
use crate::jail::standing::{PATIENCE, Rank};
use crate::jail::{Rules, Tally};
use crate::ticket::{Alarm, AlarmKind, Ban, Failure, Reason, Registration, Sight, Sighting, Trust};
use crate::time::{BanTime, Time};

/// As the built-in jails judge.
const MAXRETRY: u32 = 5;

const DAY: f64 = 86_400.0;

/// The address of an office.
const OFFICE: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 5));

/// Seconds into the day.
fn at(secs: f64) -> Time {
    Time::from_secs_f64(START as f64 + secs)
}

/// Numbers from 0 up to, and without, 1; the same in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> f64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) as f64 / f64::from(1u32 << 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.roll() * end as f64) as usize
    }
}

/// The account that a cracker tries next.
type Cracker<'a> = &'a dyn Fn(u32) -> String;

/// A way to earn a standing.
type Way<'a> = &'a dyn Fn(&mut Play);

/// What happens, in any order.
#[derive(Default)]
struct Play {
    events: Vec<(f64, Event)>,
}

impl Play {
    fn fail(&mut self, secs: f64, ip: IpAddr, user: &str) {
        // Asterisk writes a failed try into two logs.
        for form in [0, 65_536] {
            let failure = Failure {
                jail: "asterisk".into(),
                addr: ip.into(),
                time: at(secs),
                form,
                trust: Trust::Proof,
                user: Some(user.into()),
                line: "line".into(),
                captured: None,
            };
            self.events.push((secs, Event::Failure(failure)));
        }
    }

    fn login(&mut self, secs: f64, ip: IpAddr, user: &str, trust: Trust) {
        let sighting = Sighting {
            jail: "asterisk".into(),
            addr: ip.into(),
            time: at(secs),
            sight: Sight::Success,
            trust,
            user: Some(user.into()),
            form: 1,
        };
        self.events.push((secs, Event::Sighting(sighting)));
    }

    fn flow(&mut self, secs: f64, ip: IpAddr, ours: bool) {
        self.events.push((secs, Event::Flow(ip.into(), ours)));
    }

    fn registered(&mut self, secs: f64, ip: IpAddr, user: &str, since: f64) {
        let registration = Registration {
            addr: ip.into(),
            user: user.into(),
            since: Some(at(since)),
        };
        self.events
            .push((secs, Event::Registered(vec![registration])));
    }

    /// Plays all that is left; what lies before `start` is read from the log only then.
    fn run_from(mut self, start: f64, engine: &mut Engine) -> Outcome {
        self.events
            .sort_by(|(one, _), (other, _)| one.total_cmp(other));
        let mut outcome = Outcome::default();
        let mut effects = Vec::new();
        engine.reads_back(at(start));
        let mut is_past = true;
        for (secs, event) in self.events {
            if is_past && secs >= start {
                engine.handle(Event::CaughtUp, at(start), &mut effects);
                is_past = false;
            }
            engine.handle(event, at(secs.max(start)), &mut effects);
            for effect in effects.drain(..) {
                match effect {
                    Effect::Tell(Tell::Banned(ban)) => outcome.bans.push((secs, ban)),
                    Effect::Tell(Tell::Alarm(alarm)) => outcome.alarms.push((secs, alarm)),
                    Effect::Tell(Tell::OutageOver) => outcome.over = Some(secs),
                    _ => {}
                }
            }
        }
        outcome
    }

    fn run(self, engine: &mut Engine) -> Outcome {
        self.run_from(0.0, engine)
    }
}

/// What came of it.
#[derive(Default)]
struct Outcome {
    bans: Vec<(f64, Ban)>,
    alarms: Vec<(f64, Alarm)>,
    over: Option<f64>,
}

fn engine() -> Engine {
    let rules = Rules {
        aggregate: None,
        name: "asterisk".into(),
        maxretry: MAXRETRY,
        findtime: Duration::from_secs(600),
        maxmatches: 3,
        bantime: BanTime::For(Duration::from_secs(3_600)),
        increment: Increment::default(),
        apiban: false,
        tally: Tally::Tries,
        hints: Some(BanTime::For(Duration::from_secs(600))),
        hosts_only: false,
        maxchallenges: Some(100),
        ignored: Protected::default(),
    };
    let protected = Protected::new([]);
    Engine::new(vec![rules], protected, Checks::default(), at(0.0))
}

/// A day of 200 phones behind one address: they register every `every` seconds, 2 % of
/// them mistype in each hour, and three hold an outdated password and try once a minute.
fn office_day(every: f64, dice: &mut Dice) -> Play {
    let mut play = Play::default();
    for phone in 0..200 {
        let user = (1_000 + phone).to_string();
        let mut secs = dice.roll() * if phone < 3 { 60.0 } else { every };
        while secs < DAY {
            if phone < 3 {
                play.fail(secs, OFFICE, &user);
                secs += 60.0;
            } else {
                play.login(secs, OFFICE, &user, Trust::Proof);
                secs += every;
            }
        }
    }
    for hour in 0..24 {
        for _ in 0..4 {
            let user = (1_003 + dice.below(197)).to_string();
            let mut secs = (f64::from(hour) + dice.roll()) * 3_600.0;
            for _ in 0..=dice.below(3) {
                play.fail(secs, OFFICE, &user);
                secs += 4.0 + 10.0 * dice.roll();
            }
            play.login(secs, OFFICE, &user, Trust::Proof);
        }
    }
    play
}

#[test]
fn figure_4_an_office_behind_one_address() {
    let noon = DAY / 2.0;
    let mut table = String::new();
    let crackers: [(&str, Option<Cracker<'_>>); 5] = [
        ("nobody else", None),
        ("a cracker: one account", Some(&|_| "1050".to_owned())),
        (
            "a cracker: ten accounts",
            Some(&|n| (1_050 + n % 10).to_string()),
        ),
        (
            "a cracker: all 200 in turn",
            Some(&|n| (1_000 + n % 200).to_string()),
        ),
        (
            "a cracker: names that are none",
            Some(&|n| format!("admin{n}")),
        ),
    ];
    for (who, cracker) in crackers {
        let mut play = office_day(300.0, &mut Dice(4));
        for n in 0..600 {
            if let Some(user) = cracker {
                play.fail(noon + f64::from(n), OFFICE, &user(n));
            }
        }
        let outcome = play.run(&mut engine());
        let before = outcome
            .alarms
            .iter()
            .filter(|(secs, _)| *secs < noon)
            .count();
        let found = outcome.alarms.iter().find(|(secs, _)| *secs >= noon);
        let tries = found.map(|(secs, _)| (secs - noon) as u32 + 1);
        assert!(outcome.bans.is_empty() && before == 0, "{who}");
        assert_eq!(tries.is_some(), cracker.is_some(), "{who}");
        assert!(tries.is_none_or(|tries| tries <= 2 * MAXRETRY), "{who}");
        let alarm = found.map_or("none".to_owned(), |(_, alarm)| {
            assert_eq!(alarm.kind, AlarmKind::Cracking);
            let named = alarm.accounts.len();
            format!("at the {}th try, names {named}", tries.unwrap_or(0))
        });
        writeln!(
            table,
            "{who:<31} bans {}, alarm {alarm}",
            outcome.bans.len()
        )
        .unwrap();
    }
    // Where phones register once in an hour, the store of the registrar knows them at once.
    let mut play = office_day(3_600.0, &mut Dice(4));
    for phone in 3..200 {
        play.registered(60.0, OFFICE, &(1_000 + phone).to_string(), 60.0);
    }
    let outcome = play.run(&mut engine());
    assert!(outcome.bans.is_empty() && outcome.alarms.is_empty());
    writeln!(table, "{:<31} bans 0, alarm none", "hourly, with a store").unwrap();
    // Without one a first start reads `findtime` back. Whoever fails in it is judged when all
    // of it is read, and its logins are known.
    let outcome = office_day(3_600.0, &mut Dice(4)).run_from(600.0, &mut engine());
    assert!(outcome.bans.is_empty() && outcome.alarms.is_empty());
    writeln!(table, "{:<31} bans 0, alarm none", "hourly, a first start").unwrap();
    let mut play = office_day(3_600.0, &mut Dice(4));
    let attacker = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 7));
    for n in 0..MAXRETRY {
        play.fail(300.0 + f64::from(n), attacker, "1050");
    }
    let outcome = play.run_from(600.0, &mut engine());
    let banned: Vec<Addr> = outcome.bans.iter().map(|(_, ban)| ban.addr).collect();
    assert_eq!(banned, [attacker.into()]);
    writeln!(
        table,
        "{:<31} bans 1, at {} s",
        "the same, and an attacker", outcome.bans[0].0
    )
    .unwrap();
    expect![[r#"
        nobody else                     bans 0, alarm none
        a cracker: one account          bans 0, alarm at the 6th try, names 3
        a cracker: ten accounts         bans 0, alarm at the 8th try, names 8
        a cracker: all 200 in turn      bans 0, alarm at the 8th try, names 8
        a cracker: names that are none  bans 0, alarm at the 8th try, names 8
        hourly, with a store            bans 0, alarm none
        hourly, a first start           bans 0, alarm none
        the same, and an attacker       bans 1, at 607.7031947672367 s
    "#]]
    .assert_eq(&table);
}

#[test]
fn figure_5_everybody_fails_at_once() {
    let mut dice = Dice(5);
    let mut play = Play::default();
    let site = |n: u32| IpAddr::V4(Ipv4Addr::from(0xcb00_7100 + n));
    let attacker = |n: u32| IpAddr::V4(Ipv4Addr::from(0xc633_6400 + n));
    let (down, up) = (10_000.0, 10_600.0);
    for n in 0..300 {
        for phone in 0..10 {
            let user = format!("{n}-{phone}");
            let phase = dice.roll();
            for hour in 0..3 {
                let secs = (f64::from(hour) + 0.9 * phase) * 3_600.0;
                play.login(secs, site(n), &user, Trust::Proof);
            }
            let mut secs = down + phase * 60.0;
            while secs < up {
                play.fail(secs, site(n), &user);
                secs += 25.0 + 10.0 * dice.roll();
            }
            play.login(secs, site(n), &user, Trust::Proof);
        }
    }
    for n in 0..20 {
        for second in 0..600 {
            play.fail(down + f64::from(second) + dice.roll(), attacker(n), "admin");
        }
    }
    // Afterwards all is judged again.
    for second in 0..60 {
        play.fail(12_000.0 + f64::from(second), site(7), "admin");
    }
    let outcome = play.run(&mut engine());
    let banned = |from: f64, to: f64, reason: Reason| {
        let bans = outcome.bans.iter();
        let in_time =
            bans.filter(move |(secs, ban)| (from..to).contains(secs) && ban.reason == reason);
        let mut addrs: Vec<Addr> = in_time.map(|(_, ban)| ban.addr).collect();
        addrs.sort_unstable();
        addrs.dedup();
        addrs.len()
    };
    let alarms = |from: f64, to: f64| {
        let alarms = outcome.alarms.iter();
        alarms
            .filter(move |(secs, _)| (from..to).contains(secs))
            .count()
    };
    let outage = outcome
        .alarms
        .iter()
        .find(|(_, alarm)| alarm.kind == AlarmKind::Outage);
    let table = format!(
        "sites sanctioned      {} of 300\n\
         attackers banned      {} of 20\n\
         alarms                {}\n\
         the brake came on     {:.1} s after the first failure\n\
         and went off          {:.0} s after the last\n\
         a cracker at a known-good site afterwards: {} held back\n",
        banned(0.0, 12_000.0, Reason::Throttled),
        banned(0.0, 12_000.0, Reason::MaxRetry),
        alarms(0.0, 12_000.0),
        outage.map_or(0.0, |(secs, _)| secs - down),
        outcome.over.map_or(0.0, |secs| secs - up),
        banned(12_000.0, DAY, Reason::Throttled),
    );
    expect![[r#"
        sites sanctioned      0 of 300
        attackers banned      20 of 20
        alarms                1
        the brake came on     0.1 s after the first failure
        and went off          11 s after the last
        a cracker at a known-good site afterwards: 1 held back
    "#]]
    .assert_eq(&table);
}

#[test]
fn figure_6_standing_cannot_be_bought() {
    let own = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 7));
    let end = DAY;
    let hourly = |play: &mut Play, user: &str, trust| {
        for hour in 1..24 {
            play.login(f64::from(hour) * 3_600.0, own, user, trust);
        }
    };
    let ways: [(&str, Way<'_>); 9] = [
        ("nothing", &|_| {}),
        ("a trial account", &|play| {
            hourly(play, "trial", Trust::Proof)
        }),
        ("a cracked account", &|play| {
            for n in 0..4 {
                play.fail(f64::from(n), own, "1001");
            }
            hourly(play, "1001", Trust::Proof);
        }),
        ("19 cracked accounts", &|play| {
            (0..19).for_each(|n| hourly(play, &n.to_string(), Trust::Proof));
        }),
        ("a trial account, failing in between", &|play| {
            hourly(play, "trial", Trust::Proof);
            for half in 0..24 {
                play.fail(f64::from(half) * 3_600.0 + 1_800.0, own, "1001");
            }
        }),
        ("an hour of good behaviour at a time", &|play| {
            hourly(play, "trial", Trust::Proof);
            for n in 0..60 {
                play.fail(20_000.0 + f64::from(n), own, "1001");
            }
        }),
        ("a forged success line", &|play| {
            hourly(play, "1001", Trust::Hint)
        }),
        ("a registration in a store", &|play| {
            (1..48).for_each(|n| play.registered(f64::from(n) * 1_800.0, own, "trial", 0.0));
        }),
        // A connection that only stands is in no log and in no store, and whoever is connected
        // to us is nobody to whom we opened a flow: `tests/judgement.rs` has a real one.
        ("an idle SSH connection", &|play| {
            play.flow(end - 1.0, own, false)
        }),
    ];
    let mut table = String::new();
    for (way, buy) in ways {
        let mut play = Play::default();
        buy(&mut play);
        for n in 0..600 {
            play.fail(end + f64::from(n), own, "1050");
        }
        let outcome = play.run(&mut engine());
        let (secs, ban) = outcome
            .bans
            .iter()
            .find(|(secs, _)| *secs >= end)
            .expect(way);
        let tries = (secs - end) as u32 + 1;
        assert!(tries <= MAXRETRY * PATIENCE, "{way}");
        let alarm = outcome.alarms.iter().find(|(secs, _)| *secs >= end);
        let alarm = alarm.map_or("-".to_owned(), |(secs, _)| {
            format!("alarm at {}", (secs - end) as u32 + 1)
        });
        let factor = f64::from(tries) / f64::from(MAXRETRY);
        let last = outcome.bans.last().expect(way);
        let dropped = (last.0 - end) as u32 + 1;
        assert!(
            last.1.reason == Reason::MaxRetry && dropped <= 2 * MAXRETRY * PATIENCE,
            "{way}"
        );
        writeln!(
            table,
            "{way:<36} {tries:>2} tries, factor {factor:>2}, {alarm}, then {}, dropped at {dropped}",
            ban.reason
        )
        .unwrap();
    }
    expect![[r#"
        nothing                               5 tries, factor  1, -, then maxretry, dropped at 5
        a trial account                      50 tries, factor 10, alarm at 6, then throttled, dropped at 99
        a cracked account                    50 tries, factor 10, alarm at 6, then throttled, dropped at 99
        19 cracked accounts                  50 tries, factor 10, alarm at 6, then throttled, dropped at 99
        a trial account, failing in between   5 tries, factor  1, -, then maxretry, dropped at 5
        an hour of good behaviour at a time  50 tries, factor 10, alarm at 6, then throttled, dropped at 99
        a forged success line                 5 tries, factor  1, -, then maxretry, dropped at 5
        a registration in a store            50 tries, factor 10, alarm at 6, then throttled, dropped at 99
        an idle SSH connection                5 tries, factor  1, -, then maxretry, dropped at 5
    "#]]
    .assert_eq(&table);
}

/// One trial account logs in from 40 networks; an hour later it fails from all of them, so
/// that it may look as if everybody failed, and from one of them accounts are cracked.
#[test]
fn figure_6_the_brake_cannot_be_bought() {
    let mut play = Play::default();
    let site = |n: u32| IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + (n << 8)));
    let own = |n: u32| IpAddr::V4(Ipv4Addr::from(0xc633_0000 + (n << 8)));
    for hour in 0..3 {
        let secs = f64::from(hour) * 3_600.0;
        (0..100).for_each(|n| play.login(secs, site(n), &n.to_string(), Trust::Proof));
        (0..40).for_each(|n| play.login(secs, own(n), "trial", Trust::Proof));
    }
    let start = 10_000.0;
    for round in 0..3 {
        for n in 0..40 {
            let secs = start + f64::from(round) * 290.0 + f64::from(n) * 0.1;
            play.fail(secs, own(n), "trial");
            play.fail(secs + 0.05, own(n), &format!("{n}-{round}"));
        }
    }
    for n in 0..600 {
        play.fail(
            start + 60.0 + f64::from(n),
            own(7),
            &(1_000 + n).to_string(),
        );
    }
    let mut engine = engine();
    let outcome = play.run(&mut engine);
    let mut table = String::new();
    for (secs, alarm) in &outcome.alarms {
        let tries = (secs - start - 60.0) as u32 + 1;
        writeln!(table, "alarm {} at the {tries}th try", alarm.kind.word()).unwrap();
    }
    for (secs, ban) in &outcome.bans {
        let tries = (secs - start - 60.0) as u32 + 1;
        writeln!(table, "{} at the {tries}th try", ban.reason).unwrap();
    }
    expect![[r#"
        alarm cracking at the 9th try
        throttled at the 48th try
        maxretry at the 97th try
    "#]]
    .assert_eq(&table);
}

#[test]
fn figure_7_rotating_through_a_64() {
    let mut table = String::new();
    let mut dice = Dice(7);
    let mut ways = |way: &str, address: &mut dyn FnMut(u32, &mut Dice) -> u128| {
        let mut play = Play::default();
        let base = u128::from(Ipv6Addr::new(0x2001, 0xdb8, 0xbad, 0, 0, 0, 0, 0));
        for n in 0..60 {
            let ip = Ipv6Addr::from(base + address(n, &mut dice));
            play.fail(f64::from(n), ip.into(), "1001");
        }
        let mut engine = engine();
        let outcome = play.run(&mut engine);
        let (secs, ban) = outcome.bans.first().expect(way);
        let neighbour: Addr = "2001:db8:bad:1::/64".parse().unwrap();
        assert_eq!(engine.rank(&neighbour, at(60.0)), Rank::Stranger);
        assert!(
            outcome
                .bans
                .iter()
                .all(|(_, ban)| !ban.addr.overlaps(&neighbour))
        );
        let tries = *secs as u32 + 1;
        assert_eq!((tries, outcome.bans.len()), (MAXRETRY, 1), "{way}");
        writeln!(table, "{way:<28} {} banned at try {tries}", ban.addr).unwrap();
    };
    ways("one address", &mut |_, _| 1);
    ways("the next for each try", &mut |n, _| u128::from(n));
    ways("at random", &mut |_, dice| {
        u128::from((dice.roll() * 2f64.powi(64)) as u64)
    });
    expect![[r#"
        one address                  2001:db8:bad::/64 banned at try 5
        the next for each try        2001:db8:bad::/64 banned at try 5
        at random                    2001:db8:bad::/64 banned at try 5
    "#]]
    .assert_eq(&table);
}
