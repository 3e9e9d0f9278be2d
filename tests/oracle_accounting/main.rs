//! Our accounting against fail2ban's own: who is banned, until when, how often, and what
//! is left after a restart, over random histories.
//!
//! Each history is played to our engine and store, and by `player.py` to the managers,
//! the observer and the database of the installed fail2ban, under the same clock. It must
//! be installed: this test does not skip. `ACCOUNTING_HISTORIES=5000` plays more.
//!
//! Where we differ on purpose, `player.py` mends fail2ban (each `mask` there), or the
//! histories keep away from it:
//! - `every_ban_is_recorded`: fail2ban bans and does not write it down if the failures are
//!   not newer than another ban of the address.
//! - `a_prolonged_ban_is_recorded`: fail2ban forgets the longer time at a restart.
//! - `a_shortened_ban_ends_in_time`: fail2ban looks at a ban that multipliers made shorter
//!   only when the jail's own ban time is over.
//! - `a_pardon_forgets_failures`: in fail2ban they go on counting.
//! - A ban ends for us at its end, for fail2ban after it: the clock is never at an end.
//! - fail2ban forgets the silent every 5 s or later; here it is made to before each step.
//! - `a_ban_by_hand_has_no_evidence`: over a ban in force, fail2ban leaves the older row's.
//! - `a_weighed_failure_is_one`: in fail2ban one that counts for more, as bans grow, is two,
//!   and its line is kept twice.
//! - With `maxmatches = 0` fail2ban keeps a line if it is the only one; here it is never 0.
//! - An operator's ban keeps its length over a restart with other rules.
//! - `what_chance_adds`: two ends with the same `bantime.rndtime` are alike if no further apart
//!   than that. It is so short here that the clock never falls between them.

#[path = "../common/dice.rs"]
mod dice;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use dice::Dice;
use ringfence::addr::Addr;
use ringfence::ban::record::Record;
use ringfence::ban::store::Store;
use ringfence::config::fail2ban::{Formula, Increment};
use ringfence::engine::{Before, Checks, Effect, Engine, Event};
use ringfence::jail::protect::Protected;
use ringfence::jail::{Rules, Tally};
use ringfence::ticket::{Failure, JailName, Trust, last_lines};
use ringfence::time::{BanTime, Time};
use serde_json::{Value, json};

/// Debian's name for the Python that runs fail2ban.
const PYTHON: &str = "/usr/bin/fail2ban-python";

/// How many histories are played unless the environment says otherwise: a few seconds.
const HISTORIES: u64 = 400;

/// When histories begin. The odd fraction keeps the clock off the ends of bans.
const START: f64 = 1_700_000_000.37;

/// What each step takes beside whole seconds, so that the clock is off the ends of bans by
/// hand as well, which begin when it says.
const MOMENT: f64 = 0.000_5;

/// Lines that fail2ban writes down of a ban: its own `dbmaxmatches`.
const DB_MATCHES: usize = 10;

/// The `bantime.rndtime` of jails that have one, in seconds.
const RNDTIME: f64 = 0.1;

const ADDRS: [&str; 4] = ["192.0.2.7", "192.0.2.8", "198.51.100.9", "2001:db8::7"];
const JAILS: [&str; 3] = ["one", "two", "three"];

/// The rules of a few jails, as ours and as fail2ban's options.
fn jails(dice: &mut Dice, count: usize) -> (Vec<Rules>, Value) {
    let (mut rules, mut options) = (Vec::new(), serde_json::Map::new());
    for name in JAILS.iter().take(count) {
        let bantime = dice.pick(&[60, 300, 600, 600, 3_600, -1]);
        let (increment, extra) = match bantime > 0 && !dice.one_in(3) {
            true => increment(dice),
            false => (Increment::default(), Vec::new()),
        };
        let one = Rules {
            name: (*name).into(),
            maxretry: dice.pick(&[1, 2, 3, 3, 5, 8]),
            findtime: Duration::from_secs(dice.pick(&[60, 600, 600, 3_600])),
            aggregate: None,
            maxmatches: dice.pick(&[1, 3, 5, 20]),
            bantime: match u64::try_from(bantime) {
                Ok(secs) => BanTime::For(Duration::from_secs(secs)),
                Err(_) => BanTime::Forever,
            },
            increment,
            apiban: false,
            tally: Tally::Matches,
            hints: None,
            hosts_only: false,
            maxchallenges: None,
            ignored: Protected::default(),
        };
        let given = json!({
            "maxretry": one.maxretry, "maxmatches": one.maxmatches, "findtime": one.findtime.as_secs(), "bantime": bantime,
            "extra": extra,
        });
        options.insert((*name).to_owned(), given);
        rules.push(one);
    }
    (rules, Value::Object(options))
}

fn increment(dice: &mut Dice) -> (Increment, Vec<[String; 2]>) {
    let mut increment = Increment {
        enabled: true,
        ..Increment::default()
    };
    let mut extra = vec![["increment".to_owned(), "true".to_owned()]];
    let mut set = |option: &str, value: &str| extra.push([option.to_owned(), value.to_owned()]);
    if dice.one_in(3) {
        let factor = dice.pick(&["1", "2", "0.5", "1.5"]);
        increment.factor = factor.parse().expect(factor);
        set("factor", factor);
    }
    if dice.one_in(3) {
        let multipliers = dice.pick(&["1 2 4 8", "1 5 30 60 300", "3", "0 1 1 2"]);
        let words = multipliers.split(' ');
        increment.multipliers = words.map(|word| word.parse().expect(word)).collect();
        set("multipliers", multipliers);
    } else if dice.one_in(2) {
        let formula = dice.pick(&[
            "ban.Time * (ban.Count + 1)",
            "ban.Time * math.exp(float(ban.Count+1)*banFactor)/math.exp(1*banFactor)",
            "ban.Time // 7 + 100 * ban.Count ** 2",
            "ban.Time / (3 - ban.Count)",
        ]);
        increment.formula = Some(Formula::parse(formula).expect(formula));
        set("formula", formula);
    }
    if dice.one_in(2) {
        let maxtime = dice.pick(&["3600", "5000", "86400"]);
        increment.maxtime = Some(Duration::from_secs(maxtime.parse().expect(maxtime)));
        set("maxtime", maxtime);
    }
    if dice.one_in(3) {
        increment.overalljails = true;
        set("overalljails", "true");
    }
    if dice.one_in(3) {
        increment.rndtime = Some(Duration::from_secs_f64(RNDTIME));
        set("rndtime", &RNDTIME.to_string());
    }
    (increment, extra)
}

/// What is compared after each step: tries, bans and rows of each jail and address.
#[derive(Debug, Default, PartialEq)]
struct State {
    tries: BTreeMap<String, f64>,
    bans: BTreeMap<String, f64>,
    /// When the last ban began, and how many there were.
    rows: BTreeMap<String, (f64, f64)>,
    /// How many failures convicted, and the last lines that tell of them.
    evidence: BTreeMap<String, Vec<String>>,
}

/// Our side.
struct Ours {
    engine: Engine,
    store: Store,
    /// What was written down of each ban's failures.
    evidence: BTreeMap<(JailName, Addr), Vec<String>>,
}

impl Ours {
    fn new(rules: Vec<Rules>, now: Time) -> Self {
        let store = Store::open(Path::new(":memory:")).expect("a database");
        let engine = Engine::new(rules, Protected::default(), Checks::default(), now);
        let evidence = BTreeMap::new();
        Ours {
            engine,
            store,
            evidence,
        }
    }

    fn restart(&mut self, rules: Vec<Rules>, now: Time) {
        let kept = self.store.load(now).expect("a database");
        let before = Before {
            bans: kept.bans,
            history: kept.history,
            ..Before::default()
        };
        self.engine = Engine::new(rules, Protected::default(), Checks::default(), now);
        let mut effects = Vec::new();
        self.engine
            .restore(before, &Default::default(), now, &mut effects);
        self.write(effects);
    }

    fn write(&mut self, effects: Vec<Effect>) {
        let records = effects.into_iter().filter_map(|effect| match effect {
            Effect::Record(record) => Some(record),
            _ => None,
        });
        let records: Vec<Record> = records.collect();
        for record in &records {
            match record {
                Record::Ban { ban, testimony, .. } => {
                    let lines = last_lines(&testimony.lines, DB_MATCHES)
                        .lines()
                        .map(str::to_owned);
                    let told = [ban.tries.to_string()].into_iter().chain(lines).collect();
                    self.evidence.insert((ban.jail.clone(), ban.addr), told);
                }
                Record::Unban { jail, addr } => {
                    self.evidence.remove(&(jail.clone(), *addr));
                }
                Record::Forget(addr) => self.evidence.retain(|(_, known), _| known != addr),
                _ => {}
            }
        }
        self.store.write(&records).expect("a database");
    }

    fn play(&mut self, step: &Step, now: Time) {
        let mut effects = Vec::new();
        self.engine.handle(Event::Tick, now, &mut effects);
        match step {
            Step::Failure {
                jail,
                addr,
                time,
                line,
            } => {
                let failure = Failure {
                    jail: (*jail).into(),
                    addr: addr.parse().expect(addr),
                    time: *time,
                    form: 0,
                    trust: Trust::Hint,
                    user: None,
                    line: line.as_str().into(),
                    captured: None,
                };
                self.engine
                    .handle(Event::Failure(failure), now, &mut effects);
            }
            Step::Ban { jail, addr } => {
                let addr: Addr = addr.parse().expect(addr);
                // Refused if it is banned for as long already: fail2ban says nothing then.
                let _already = self.engine.ban(addr, Some(jail), None, now, &mut effects);
            }
            Step::Unban { addr } => {
                let addr: Addr = addr.parse().expect(addr);
                self.engine.unban(addr, now, &mut effects);
            }
            Step::Restart { rules, .. } => {
                self.write(std::mem::take(&mut effects));
                self.restart(rules.clone(), now);
            }
            Step::Wait => {}
        }
        self.write(effects);
    }

    fn state(&self, now: Time) -> BTreeMap<String, State> {
        let kept = self.store.load(now).expect("a database");
        let jails = self.engine.jails();
        let jails = jails.filter(|jail| JAILS.contains(&&*jail.rules.name));
        let state = jails.map(|jail| {
            let mut state = State::default();
            for text in ADDRS {
                let tries = jail.tries(&text.parse().expect(text), now);
                if tries > 0 {
                    state.tries.insert(text.to_owned(), f64::from(tries));
                }
            }
            for ban in self.engine.ledger().of_jail(&jail.rules.name) {
                let until = ban.until.map_or(-1.0, Time::as_secs_f64);
                state.bans.insert(ban.addr.to_string(), until);
            }
            for past in &kept.history {
                if past.jail == jail.rules.name {
                    let row = (past.latest.as_secs_f64(), f64::from(past.count));
                    state.rows.insert(past.addr.to_string(), row);
                    let told = self.evidence.get(&(past.jail.clone(), past.addr));
                    state
                        .evidence
                        .insert(past.addr.to_string(), told.cloned().unwrap_or_default());
                }
            }
            (jail.rules.name.to_string(), state)
        });
        state.collect()
    }
}

/// What happens.
#[derive(Debug)]
enum Step {
    Failure {
        jail: &'static str,
        addr: &'static str,
        time: Time,
        line: String,
    },
    Ban {
        jail: &'static str,
        addr: &'static str,
    },
    Unban {
        addr: &'static str,
    },
    Restart {
        rules: Vec<Rules>,
        options: Value,
    },
    Wait,
}

impl Step {
    fn random(dice: &mut Dice, now: f64, rules: &[Rules], options: &Value, operated: bool) -> Step {
        let rule = &rules[dice.below(rules.len())];
        let jail = JAILS.into_iter().find(|name| **name == *rule.name);
        let jail = jail.expect("a jail");
        let addr = dice.pick(&ADDRS);
        match dice.below(40) {
            0 if operated => Step::Ban { jail, addr },
            1 => Step::Unban { addr },
            2 | 3 => {
                let (rules, options) = match operated || dice.one_in(2) {
                    true => (rules.to_vec(), options.clone()),
                    false => jails(dice, rules.len()),
                };
                Step::Restart { rules, options }
            }
            4..=6 => Step::Wait,
            _ => {
                // Mostly now; sometimes a line that comes late, never one that is too old.
                let oldest = rule.findtime.as_secs() as usize - 1;
                let late = match dice.below(8) {
                    0 => dice.below(oldest),
                    1 => dice.below(5),
                    _ => 0,
                };
                let fraction = dice.pick(&[0.0, 0.0, 0.25]);
                let time = Time::from_secs_f64(now.floor() + fraction - late as f64);
                let line = format!("line {}", dice.below(1_000));
                Step::Failure {
                    jail,
                    addr,
                    time,
                    line,
                }
            }
        }
    }

    fn json(&self, now: f64) -> Value {
        match self {
            Step::Failure {
                jail,
                addr,
                time,
                line,
            } => json!({
                "do": "failure", "now": now, "jail": jail, "ip": addr, "time": time.as_secs_f64(),
                "line": line,
            }),
            Step::Ban { jail, addr } => json!({"do": "ban", "now": now, "jail": jail, "ip": addr}),
            Step::Unban { addr } => json!({"do": "unban", "now": now, "ip": addr}),
            Step::Restart { options, .. } => json!({"do": "restart", "now": now, "jails": options}),
            Step::Wait => json!({"do": "wait", "now": now}),
        }
    }
}

/// Plays one history to us; gives fail2ban's steps and our states after each.
fn play(seed: u64) -> (Vec<String>, Vec<BTreeMap<String, State>>) {
    let mut dice = Dice(seed);
    let count = 1 + dice.below(JAILS.len());
    let (mut rules, mut options) = jails(&mut dice, count);
    // Operators ban in some histories; in those the rules stay as they are, and nothing
    // is cut at a restart, since no `maxtime` is shorter than a jail's ban time.
    let operated = dice.one_in(4);
    let mut now = START + dice.below(1_000_000) as f64;
    let mut ours = Ours::new(rules.clone(), Time::from_secs_f64(now));
    let new = json!({"do": "new", "now": now, "jails": options});
    let mut steps = vec![new.to_string()];
    let mut states = vec![ours.state(Time::from_secs_f64(now))];
    for _ in 0..20 + dice.below(60) {
        let longest = dice.pick(&[2, 20, 200, 200, 2_000, 20_000]);
        now += dice.below(longest) as f64 + MOMENT;
        let step = Step::random(&mut dice, now, &rules, &options, operated);
        let time = Time::from_secs_f64(now);
        ours.play(&step, time);
        steps.push(step.json(now).to_string());
        states.push(ours.state(time));
        if let Step::Restart {
            rules: new_rules,
            options: new_options,
        } = step
        {
            (rules, options) = (new_rules, new_options);
        }
    }
    (steps, states)
}

/// Gives steps to fail2ban, and returns its states.
fn fail2ban(steps: &[String]) -> Vec<String> {
    let player = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracle_accounting/player.py");
    let mut child = Command::new(PYTHON)
        .args(["-W", "ignore"])
        .arg(player)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("fail2ban must be installed: apt-get install fail2ban");
    let mut input = child.stdin.take().expect("its input");
    let text = steps.join("\n") + "\n";
    let writer = std::thread::spawn(move || input.write_all(text.as_bytes()));
    let output = child.wait_with_output().expect("its output");
    // If Python ends early, the number of answers says so.
    let _broken_pipe = writer.join().expect("a writer");
    let text = String::from_utf8(output.stdout).expect("utf-8");
    text.lines().map(str::to_owned).collect()
}

fn read(line: &str) -> BTreeMap<String, State> {
    let all: BTreeMap<String, Value> = serde_json::from_str(line).expect(line);
    let number = |value: &Value| value.as_f64().expect("a number");
    let numbers = |value: &Value| {
        let pairs = value.as_object().expect("an object").iter();
        pairs
            .map(|(name, value)| (name.clone(), number(value)))
            .collect()
    };
    let states = all.into_iter().map(|(name, state)| {
        let rows = state["rows"].as_object().expect("an object").iter();
        let evidence = rows.clone().map(|(ip, row)| {
            let told = row[3].as_array().expect("a list").iter();
            let word = |value: &Value| value.as_str().map_or(value.to_string(), str::to_owned);
            (ip.clone(), told.map(word).collect())
        });
        let evidence = evidence.collect();
        let rows = rows.map(|(ip, row)| (ip.clone(), (number(&row[0]), number(&row[2]))));
        let state = State {
            tries: numbers(&state["tries"]),
            bans: numbers(&state["bans"]),
            rows: rows.collect(),
            evidence,
        };
        (name, state)
    });
    states.collect()
}

/// What is known of a history so far, for the masks.
#[derive(Clone, Copy, Default)]
struct Seen {
    /// Bans grow in some of its jails.
    grows: bool,
    /// And by chance.
    by_chance: bool,
}

impl Seen {
    fn step(&mut self, step: &str) {
        if step.contains(r#""do":"new""#) {
            *self = Seen::default();
        }
        self.grows |= step.contains("increment");
        self.by_chance |= step.contains("rndtime");
    }
}

/// The same, but for less than a millisecond?
fn same(ours: &State, theirs: &State, seen: Seen) -> bool {
    let apart = match seen.by_chance {
        true => RNDTIME, // mask what_chance_adds
        false => 0.0,
    };
    let near = |(one, other): ((&String, &f64), (&String, &f64))| {
        one.0 == other.0 && (one.1 - other.1).abs() < apart + 1e-3
    };
    // mask a_ban_by_hand_has_no_evidence
    let told = |(ip, told): (&String, &Vec<String>)| match theirs.evidence.get(ip) {
        _ if **told == ["0"] => true,
        // mask a_weighed_failure_is_one
        Some(other) if seen.grows => {
            let (mut lines, mut own) = (other[1..].to_vec(), told[1..].to_vec());
            lines.dedup();
            own.dedup();
            own.ends_with(&lines)
        }
        other => other == Some(told),
    };
    ours.tries == theirs.tries
        && ours.rows == theirs.rows
        && ours.evidence.len() == theirs.evidence.len()
        && ours.evidence.iter().all(told)
        && ours.bans.len() == theirs.bans.len()
        && ours.bans.iter().zip(&theirs.bans).all(near)
}

#[test]
fn histories() {
    let wanted = std::env::var("ACCOUNTING_HISTORIES");
    let wanted = wanted.map_or(HISTORIES, |text| text.parse().expect("a number"));
    let (mut steps, mut states, mut seeds) = (Vec::new(), Vec::new(), Vec::new());
    for seed in 0..wanted {
        let (more, after) = play(seed);
        seeds.extend(std::iter::repeat_n(seed, more.len()));
        steps.extend(more);
        states.extend(after);
    }
    let answers = fail2ban(&steps);
    let (mut bans, mut longer, mut chanced) = (0, 0, 0);
    let mut seen = Seen::default();
    for (place, (ours, theirs)) in states.iter().zip(&answers).enumerate() {
        let step = &steps[place];
        seen.step(step);
        let theirs = read(theirs);
        let alike = ours.len() == theirs.len()
            && ours.iter().all(|(name, state)| {
                theirs
                    .get(name)
                    .is_some_and(|other| same(state, other, seen))
            });
        if !alike {
            let start = seeds.iter().position(|seed| *seed == seeds[place]);
            let start = start.unwrap_or(0).max(place.saturating_sub(25));
            panic!(
                "seed {}\n{}\n{}\nours   {ours:#?}\ntheirs {theirs:#?}",
                seeds[place],
                steps[start],
                steps[start..=place].join("\n")
            );
        }
        bans += ours.values().map(|state| state.bans.len()).sum::<usize>();
        let rows = ours.values().flat_map(|state| state.rows.values());
        longer += rows.filter(|(_, count)| *count > 1.0).count();
        let ends = ours
            .iter()
            .flat_map(|(name, state)| state.bans.iter().zip(&theirs[name].bans));
        chanced += ends
            .filter(|((_, one), (_, other))| (*one - *other).abs() > 1e-3)
            .count();
    }
    assert_eq!(answers.len(), steps.len(), "Python ended early");
    println!(
        "{} steps, {bans} bans, {longer} not the first, {chanced} with another chance",
        steps.len()
    );
    // Histories in which nothing happens would prove nothing.
    assert!(
        bans > steps.len() / 2 && longer > steps.len() / 10 && chanced > steps.len() / 100,
        "{bans} bans, {longer} of them not the first, {chanced} with another chance, in {} steps",
        steps.len()
    );
}
