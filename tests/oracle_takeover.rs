//! From fail2ban to ringfence and back to fail2ban, on one database and one tree, against
//! fail2ban alone over the same lines: bans, their ends, counts and positions must be as
//! if nobody had changed.
//!
//! Debian's fail2ban must be installed: this test does not skip. Two laboratories get the
//! same lines at the same time. In one, ringfence has the second of three turns.

#[path = "common/both.rs"]
mod both;
#[path = "common/client.rs"]
mod client;
#[path = "common/namespace.rs"]
mod namespace;

use std::collections::BTreeMap;
use std::fs;

use both::{Both, Lab, now};
use namespace::run;

/// How far apart the two may be in seconds: their clocks tick, and lines have no fractions.
const SLACK: f64 = 3.0;

const JAILS: &str = "[DEFAULT]\nfilter = logins\nbackend = polling\nusedns = no\nmaxretry = 3\nfindtime = 1h\nbantime = 1h\n\
     [one]\nenabled = true\nmaxmatches = 2\nlogpath = @one.log\n\
     [two]\nenabled = true\nlogpath = @one.log\n          @two*.log\nmaxretry = 4\n\
     bantime = 6\nbantime.increment = true\n";

/// A group that always takes part, one that may not, and a list.
const FILTER: &str = "[Definition]
failregex = ^\\s*login of <F-USER>[^/ ]+</F-USER> failed from <HOST>(?: port <F-PORT>\\d+</F-PORT>)?$
            ^\\s*login of <F-TUPLE_USER>\\S+?</F-TUPLE_USER>/<F-TUPLE_USER_2>\\S+</F-TUPLE_USER_2> failed from <HOST>$
";

fn addr(host: u8) -> String {
    format!("203.0.113.{host}")
}

fn fail(both: &Both, log: &str, host: u8, times: usize) {
    let now = now();
    let (domain, port) = match host % 3 {
        0 => ("", ""),
        1 => ("", " port 5060"),
        _ => ("/dom", ""),
    };
    let line =
        |user| format!("{now} login of user{user}{domain} failed from 203.0.113.{host}{port}\n");
    let lines: String = (0..times).map(line).collect();
    both.append(log, &lines);
}

fn rotate(both: &Both, log: &str) {
    for lab in &both.0 {
        fs::rename(lab.path(log), lab.path(&format!("old-{log}"))).unwrap();
    }
}

/// When bans of a table begin and end, by jail and address.
fn times(lab: &Lab, table: &str) -> BTreeMap<String, Vec<(f64, f64)>> {
    let database = lab.database();
    let select =
        format!("SELECT jail || ' ' || ip, timeofban, bantime FROM {table} ORDER BY timeofban");
    let mut select = database.prepare(&select).unwrap();
    let rows = select.query_map([], |row| {
        let (since, span): (f64, f64) = (row.get(1)?, row.get(2)?);
        Ok((row.get(0)?, (since, since + span)))
    });
    let mut times: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
    for row in rows.unwrap() {
        let (who, time) = row.unwrap();
        times.entry(who).or_default().push(time);
    }
    times
}

/// Are both databases the same?
fn compare(both: &Both, when: &str) {
    let [changed, alone] = &both.0;
    // The tries of an address that comes again are worth more, as soon as fail2ban's
    // observer has looked: how many there were differs from run to run.
    for (what, select) in [
        (
            "the latest bans",
            "SELECT concat_ws(' ', jail, ip, bancount, bantime, iif(bancount > 1, '', json_extract(data, '$.failures'))) FROM bips ORDER BY 1",
        ),
        (
            "all bans",
            "SELECT concat_ws(' ', jail, ip, bancount, bantime, iif(bancount > 1, '', json_extract(data, '$.failures'))) FROM bans ORDER BY 1",
        ),
        (
            "the lines that convicted",
            "SELECT concat_ws(' ', jail, ip, json_extract(data, '$.matches')) FROM bips WHERE bancount = 1 ORDER BY 1",
        ),
        (
            "what the first of them captured",
            "SELECT concat_ws(' ', jail, ip, key, value) FROM bips, json_each(data) WHERE key NOT IN ('matches', 'failures', 'ringfence') ORDER BY 1",
        ),
        // What is in a log may have another date, so the mark is compared by its length.
        (
            "the positions",
            "SELECT concat_ws(' ', jail, path, length(firstlinemd5), lastfilepos) FROM logs ORDER BY 1",
        ),
        (
            "the jails",
            "SELECT concat_ws(' ', name, enabled) FROM jails WHERE name IN ('one', 'two') ORDER BY 1",
        ),
    ] {
        assert_eq!(changed.rows(select), alone.rows(select), "{what} {when}");
    }
    for table in ["bips", "bans"] {
        let (ours, theirs) = (times(changed, table), times(alone, table));
        for ((who, ours), theirs) in ours.iter().zip(theirs.values()) {
            for (ours, theirs) in ours.iter().zip(theirs) {
                let near = |one: f64, other: f64| (one - other).abs() <= SLACK;
                let same = near(ours.0, theirs.0) && near(ours.1, theirs.1);
                assert!(same, "{table} {who} {when}: {ours:?} {theirs:?}");
            }
        }
    }
}

namespaced! {
    /// The file is one that we have made, and its write-ahead log is not empty.
    fn a_kill_leaves_a_file_that_fail2ban_opens() {
        run("ip link set lo up");
        let mut both = Both::new(JAILS, FILTER);
        fail(&both, "one.log", 1, 3);
        fail(&both, "one.log", 9, 2);
        both.0[0].start_ringfence();
        let lab = &both.0[0];
        lab.wait("the ban", || lab.holds("one", "203.0.113.1"));
        let size = fs::metadata(lab.path("one.log")).unwrap().len();
        let read = format!("SELECT jail FROM logs WHERE path LIKE '%one.log' AND lastfilepos = {size}");
        lab.wait("the position", || lab.rows(&read).len() == 2);
        let lab = &mut both.0[0];
        let mut server = lab.server.take().unwrap();
        run(&format!("kill -KILL {}", server.id()));
        server.wait().unwrap();
        assert!(fs::metadata(lab.path("db.sqlite3-wal")).unwrap().len() > 0);
        lab.start_fail2ban();
        fail(&both, "one.log", 9, 1);
        fail(&both, "one.log", 2, 3);
        let lab = &mut both.0[0];
        lab.wait("the ban", || lab.holds("one", "203.0.113.2"));
        assert!(lab.holds("one", "203.0.113.1"));
        lab.stop();
        assert_eq!(lab.rows("SELECT ip FROM bips ORDER BY 1"), ["203.0.113.1", "203.0.113.2"]);
    }

    fn nobody_sees_who_had_the_turn() {
        run("ip link set lo up");
        let mut both = Both::new(JAILS, FILTER);

        both.start_fail2ban();
        fail(&both, "one.log", 1, 3); // in one for an hour
        fail(&both, "one.log", 9, 2); // too few; who reads them twice bans
        fail(&both, "two-a.log", 2, 4); // in two for 6 s, and longer each time
        fail(&both, "one.log", 8, 3);
        both.wait_for("one", &addr(1), true);
        both.wait_for_record("two", &addr(2), 1);
        both.wait_for("one", &addr(8), true);
        both.wait_for("two", &addr(2), false);
        both.stop();
        compare(&both, "after the first turn");
        let before = times(&both.0[0], "bips");

        fail(&both, "one.log", 3, 3); // nobody watches
        both.0[0].start_ringfence();
        both.0[1].start_fail2ban();
        both.wait_for("one", &addr(3), true);
        both.wait_for("one", &addr(1), true);
        fail(&both, "one.log", 9, 1); // three by now, and two were in the turn before
        fail(&both, "one.log", 10, 2);
        fail(&both, "two-a.log", 2, 4); // again: twice as long
        both.wait_for_record("two", &addr(2), 2);
        fail(&both, "two-a.log", 11, 3);
        fail(&both, "two-a.log", 4, 4);
        both.wait_for_record("two", &addr(4), 1);
        rotate(&both, "two-a.log");
        fail(&both, "two-a.log", 5, 4);
        both.wait_for_record("two", &addr(5), 1);
        fail(&both, "one.log", 6, 3);
        both.wait_for("one", &addr(6), true);
        both.wait_for("two", &addr(2), false);
        both.wait_for("two", &addr(5), false);
        both.stop();
        compare(&both, "after the second turn");
        assert_eq!(times(&both.0[0], "bips")["one 203.0.113.1"], before["one 203.0.113.1"]);

        fail(&both, "two-a.log", 7, 4); // nobody watches
        both.start_fail2ban();
        both.wait_for_record("two", &addr(7), 1);
        for host in [1, 3, 6, 8] {
            both.wait_for("one", &addr(host), true);
        }
        fail(&both, "one.log", 10, 1);
        fail(&both, "two-a.log", 11, 1);
        fail(&both, "two-a.log", 2, 4);
        both.wait_for_record("two", &addr(2), 3);
        fail(&both, "one.log", 12, 3);
        both.wait_for("one", &addr(12), true);
        both.stop();
        compare(&both, "after the third turn");
        let [changed, _] = &both.0;
        assert_eq!(times(changed, "bips")["one 203.0.113.1"], before["one 203.0.113.1"]);
        let counts = "SELECT concat_ws(' ', ip, bancount) FROM bips WHERE ip = '203.0.113.2'";
        assert_eq!(changed.rows(counts), ["203.0.113.2 3"]);
        let few = "SELECT ip FROM bans WHERE ip IN ('203.0.113.9', '203.0.113.10', '203.0.113.11')";
        assert_eq!(changed.rows(few), Vec::<String>::new());
    }
}
