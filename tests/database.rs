//! The database in every trouble that we know: what is in force goes on, nothing that was
//! handed over is lost, and nothing that the file knows is written over.

#[path = "common/namespace.rs"]
mod namespace;

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use namespace::run;
use ringfence::ban::archive::Archive;
use ringfence::ban::record::{OldBan, Reading, Record};
use ringfence::ban::store::Store;
use ringfence::ticket::{Ban, Reason, Testimony};
use ringfence::time::Time;
use rusqlite::Connection;

const JAIL: &str = "asterisk";

/// 2026-11-22 12:00:00 UTC.
const NOW: i64 = 1_795_348_800;

fn now() -> Time {
    Time::from_secs(NOW)
}

/// A ban for an hour of the address with this number.
fn ban(number: u32) -> Record {
    let ip = std::net::Ipv4Addr::from(0xc633_0000 + number);
    Record::Ban {
        ban: Ban {
            jail: JAIL.into(),
            addr: ip.to_string().parse().unwrap(),
            since: now(),
            until: Some(Time::from_secs(NOW + 3_600)),
            reason: Reason::MaxRetry,
            tries: 5,
        },
        testimony: Testimony {
            lines: "the line".into(),
            captured: None,
        },
        count: 1,
    }
}

fn addr(number: u32) -> String {
    std::net::Ipv4Addr::from(0xc633_0000 + number).to_string()
}

fn addrs(bans: &[OldBan]) -> Vec<String> {
    let mut addrs: Vec<String> = bans.iter().map(|ban| ban.addr.to_string()).collect();
    addrs.sort();
    addrs
}

fn database(folder: &Path) -> PathBuf {
    folder.join("ringfence.sqlite3")
}

/// A database with bans of these addresses, closed.
fn written(path: &Path, numbers: std::ops::Range<u32>) {
    let mut archive = Archive::open(path, now());
    archive
        .write(&mut numbers.map(ban).collect(), now())
        .unwrap();
}

/// The bans that a start finds.
fn found(path: &Path) -> Vec<String> {
    let mut archive = Archive::open(path, now());
    let bans = archive.load(now()).bans;
    assert_eq!(archive.trouble(), None);
    assert!(archive.is_whole() && archive.lost().is_none());
    addrs(&bans)
}

/// What lies beside the database under a name with `.corrupt-`.
fn aside(path: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(path.parent().unwrap()).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut paths: Vec<PathBuf> = paths
        .filter(|path| path.to_string_lossy().contains(".corrupt-"))
        .collect();
    paths.sort();
    paths
}

fn overwrite(path: &Path, place: u64, bytes: &[u8]) {
    let mut file = File::options().write(true).open(path).unwrap();
    file.seek(SeekFrom::Start(place)).unwrap();
    file.write_all(bytes).unwrap();
}

#[test]
fn a_lock_at_start_is_survived_and_what_it_hid_is_brought_in() {
    let folder = tempfile::tempdir().unwrap();
    let path = database(folder.path());
    written(&path, 1..4);
    let other = Connection::open(&path).unwrap();
    other
        .pragma_update(None, "locking_mode", "EXCLUSIVE")
        .unwrap();
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();

    let mut archive = Archive::open(&path, now());
    assert!(archive.trouble().unwrap().contains("locked"));
    assert!(
        archive.load(now()).bans.is_empty(),
        "nobody can read it either"
    );
    assert!(!archive.is_whole() && archive.lost().is_none());
    let pardon = Record::Unban {
        jail: JAIL.into(),
        addr: addr(2).parse().unwrap(),
    };
    let mut records = vec![ban(1), pardon, ban(7)];
    if let Record::Ban { ban, .. } = &mut records[0] {
        ban.tries = 0; // read from the kernel
    }
    assert!(archive.write(&mut records, now()).is_err());
    assert_eq!(records.len(), 3, "kept");
    assert!(archive.take_late().is_none());

    drop(other);
    archive.write(&mut records, now()).unwrap();
    assert_eq!((records.len(), archive.trouble()), (0, None));
    let late = archive.take_late().unwrap();
    assert_eq!(addrs(&late.bans), [addr(1), addr(3)]);
    assert_eq!(late.bans[0].tries, 5, "the file knows more than the kernel");
    assert!(archive.take_late().is_none() && archive.is_whole());
    assert_eq!(found(&path), [addr(1), addr(3), addr(7)]);
}

#[test]
fn counts_go_on_over_a_database_that_came_late() {
    let folder = tempfile::tempdir().unwrap();
    let path = database(folder.path());
    written(&path, 1..2);
    let other = Connection::open(&path).unwrap();
    other.execute_batch("UPDATE bips SET bancount = 4").unwrap();
    other
        .execute_batch("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE")
        .unwrap();
    let mut archive = Archive::open(&path, now());
    archive.load(now());
    drop(other);
    archive.write(&mut vec![ban(1)], now()).unwrap();
    let history = archive.load(now()).history;
    assert_eq!(history[0].count, 5);
}

#[test]
fn a_writer_beside_us_stops_only_our_writing() {
    let folder = tempfile::tempdir().unwrap();
    let path = database(folder.path());
    written(&path, 1..4);
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut archive = Archive::open(&path, now());
    assert_eq!(archive.load(now()).bans.len(), 3);
    let mut records = vec![ban(7)];
    assert!(archive.write(&mut records, now()).is_err());
    assert!(archive.trouble().unwrap().contains("locked"));
    other.execute_batch("COMMIT").unwrap();
    archive.write(&mut records, now()).unwrap();
    assert!(archive.take_late().is_none(), "it was seen at start");
    assert_eq!(found(&path).len(), 4);
}

#[test]
fn a_file_of_another_version_is_not_touched() {
    for (sql, part) in [
        (
            "UPDATE fail2banDb SET version = 5",
            "fail2ban's tables of version 5",
        ),
        (
            "UPDATE ringfence_facts SET value = '2' WHERE name = 'version'",
            "ringfence's tables of version 2",
        ),
        (
            "UPDATE fail2banDb SET version = 2",
            "let fail2ban 1.0 or newer open it once",
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let path = database(folder.path());
        written(&path, 1..4);
        Connection::open(&path).unwrap().execute_batch(sql).unwrap();
        let before = fs::read(&path).unwrap();
        let mut archive = Archive::open(&path, now());
        let trouble = archive.trouble().unwrap().to_owned();
        assert!(
            trouble.contains(part) && trouble.contains("move the file away"),
            "{trouble}"
        );
        assert!(archive.load(now()).bans.is_empty());
        let mut records = vec![ban(7)];
        assert!(archive.write(&mut records, now()).is_err());
        assert_eq!(fs::read(&path).unwrap(), before);
        // The operator does as he was told.
        fs::rename(&path, folder.path().join("newer")).unwrap();
        archive.write(&mut records, now()).unwrap();
        assert!(!archive.is_whole() && archive.take_late().is_some());
        assert_eq!(found(&path), [addr(7)]);
    }
}

/// Damages a database of 3000 bans, and says how many of them are left.
fn left_after(damage: impl Fn(&Path, u64)) -> usize {
    let folder = tempfile::tempdir().unwrap();
    let path = database(folder.path());
    written(&path, 0..3_000);
    let bytes = fs::metadata(&path).unwrap().len();
    damage(&path, bytes);
    let mut archive = Archive::open(&path, now());
    let bans = archive.load(now()).bans.len();
    assert_eq!(archive.trouble(), None);
    let news = archive.news();
    assert_eq!(news.len(), 1, "{news:?}");
    assert!(
        news[0].contains("rows of it were saved")
            && news[0].contains("ringfence.sqlite3.corrupt-20261122-120000"),
        "{news:?}"
    );
    assert!(archive.take_anew() && !archive.is_whole());
    assert!(archive.lost().unwrap().ends_with("rows of it were saved"));
    let set_aside = aside(&path);
    assert_eq!(
        set_aside[0].file_name().unwrap(),
        "ringfence.sqlite3.corrupt-20261122-120000"
    );
    archive
        .write(&mut vec![ban(5_000), ban(5_001)], now())
        .unwrap();
    drop(archive);
    assert_eq!(found(&path).len(), bans + 2);
    let check: String = Connection::open(&path)
        .unwrap()
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .unwrap();
    assert_eq!(check, "ok");
    bans
}

#[test]
fn a_garbage_page_costs_its_own_rows() {
    let garbage = [0xa5; 4_096];
    // A leaf of the bans; there are tens of rows in one.
    let left = left_after(|path, _| {
        let connection = Connection::open(path).unwrap();
        // The page of the middle of the table, by its text.
        drop(connection);
        let mut bytes = Vec::new();
        File::open(path).unwrap().read_to_end(&mut bytes).unwrap();
        let text = format!("{}{JAIL}", addr(1_500));
        let at = bytes
            .windows(text.len())
            .enumerate()
            .filter(|(_, window)| *window == text.as_bytes());
        for (at, _) in at {
            overwrite(path, at as u64 / 4_096 * 4_096, &garbage);
        }
    });
    assert!((2_800..3_000).contains(&left), "{left}");
}

#[test]
fn a_truncated_file_keeps_what_is_left() {
    let left = left_after(|path, bytes| {
        let file = File::options().write(true).open(path).unwrap();
        file.set_len(bytes * 3 / 4 / 4_096 * 4_096).unwrap();
    });
    assert!((500..3_000).contains(&left), "{left}");
    left_after(|path, _| {
        File::options()
            .write(true)
            .open(path)
            .unwrap()
            .set_len(5_000)
            .unwrap()
    });
}

#[test]
fn a_file_that_is_no_database_is_set_aside() {
    let left = left_after(|path, _| overwrite(path, 0, b"No database, this"));
    assert_eq!(left, 0);
    assert_eq!(
        left_after(|path, _| fs::write(path, "notes ".repeat(999)).unwrap()),
        0
    );
}

#[test]
fn rows_that_make_no_sense_do_not_hide_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let path = database(folder.path());
    written(&path, 1..4);
    let nonsense = "UPDATE bips SET timeofban = x'00ff', data = x'ff' WHERE ip LIKE '%.1';
         INSERT INTO ringfence_positions VALUES(x'ff', 'a', 'b', 'c', 'd', 'e');
         INSERT INTO ringfence_tries VALUES('j', '192.0.2.1', x'ff', 0);
         INSERT INTO ringfence_list VALUES('192.0.2.1', 'never')";
    Connection::open(&path)
        .unwrap()
        .execute_batch(nonsense)
        .unwrap();
    assert_eq!(found(&path), [addr(2), addr(3)]);
}

#[test]
fn damage_found_while_writing_is_repaired() {
    let folder = tempfile::tempdir().unwrap();
    let path = database(folder.path());
    written(&path, 0..3_000);
    let mut archive = Archive::open(&path, now());
    assert_eq!(archive.load(now()).bans.len(), 3_000);
    let bytes = fs::metadata(&path).unwrap().len();
    // All but the first page, which holds the schema.
    overwrite(
        &path,
        4_096,
        &vec![0xa5; usize::try_from(bytes).unwrap() - 4_096],
    );
    // What is at hand of the file is used for a while.
    let mut number = 5_000;
    while archive.news().is_empty() {
        archive.write(&mut vec![ban(number)], now()).unwrap();
        number += 1;
        assert!(number < 9_000, "the damage is never found");
    }
    assert!(
        archive.take_anew(),
        "what is in force must be written again"
    );
    archive.write(&mut vec![ban(9_999)], now()).unwrap();
    assert!(found(&path).contains(&addr(number - 1)));
    assert_eq!(
        aside(&path)
            .iter()
            .filter(|path| !path.to_string_lossy().ends_with('l')
                && !path.to_string_lossy().ends_with('m'))
            .count(),
        1
    );
}

#[test]
fn a_database_that_was_moved_away_is_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let path = database(folder.path());
    let mut archive = Archive::open(&path, now());
    archive.write(&mut vec![ban(1)], now()).unwrap();
    fs::rename(&path, folder.path().join("old")).unwrap();
    archive.write(&mut vec![ban(2)], now()).unwrap();
    assert!(archive.news()[0].contains("was moved away"));
    assert!(archive.take_anew());
    let Record::Ban { ban: first, .. } = ban(1) else {
        unreachable!()
    };
    let standing = Record::Standing(first, 3);
    archive.write(&mut vec![standing], now()).unwrap();
    assert_eq!(found(&path), [addr(1), addr(2)]);
}

#[test]
fn a_repair_that_was_cut_short_is_ended() {
    let folder = tempfile::tempdir().unwrap();
    let path = database(folder.path());
    written(&path, 1..4);
    fs::rename(&path, folder.path().join("ringfence.sqlite3.repaired")).unwrap();
    let mut archive = Archive::open(&path, now());
    assert_eq!(archive.load(now()).bans.len(), 3);
    assert!(!archive.is_whole() && archive.lost().is_some());
    drop(archive);
    assert_eq!(found(&path).len(), 3);
}

#[test]
fn without_a_path_nothing_is_kept() {
    let mut archive = Archive::none();
    assert!(archive.load(now()).bans.is_empty() && archive.facts("").is_empty());
    let mut records = vec![ban(1), Record::Read(Reading::default())];
    archive.write(&mut records, now()).unwrap();
    assert!(records.is_empty() && archive.trouble().is_none());
}

namespaced! {
    fn a_read_only_disk_is_read_and_written_when_it_can_be() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("state");
        fs::create_dir(&inner).unwrap();
        let path = database(&inner);
        written(&path, 1..4);
        read_only(&inner);
        let mut archive = Archive::open(&path, now());
        assert!(archive.trouble().unwrap().contains("read-only"), "{:?}", archive.trouble());
        assert_eq!(addrs(&archive.load(now()).bans), [addr(1), addr(2), addr(3)]);
        let mut records = vec![ban(7)];
        assert!(archive.write(&mut records, now()).is_err());
        run(&format!("umount {}", inner.display()));
        archive.write(&mut records, now()).unwrap();
        assert!(archive.take_late().is_none(), "it was seen at start");
        assert_eq!(found(&path).len(), 4);

        // As a crash leaves it: with a log of what is not in the file yet.
        let open = Store::open(&path).unwrap();
        let mut archive = Archive::open(&path, now());
        archive.write(&mut vec![ban(8)], now()).unwrap();
        let copy = folder.path().join("copy");
        run(&format!("cp -r {} {}", inner.display(), copy.display()));
        drop((archive, open));
        assert!(fs::metadata(copy.join("ringfence.sqlite3-wal")).unwrap().len() > 0);
        read_only(&copy);
        let mut archive = Archive::open(&database(&copy), now());
        assert_eq!(archive.load(now()).bans.len(), 5);
        drop(archive);
        run(&format!("umount {}", copy.display()));
    }

    fn what_fail2ban_has_is_copied_where_it_may_not_be_written() {
        let folder = tempfile::tempdir().unwrap();
        let theirs = folder.path().join("fail2ban");
        fs::create_dir(&theirs).unwrap();
        let path = theirs.join("fail2ban.sqlite3");
        written(&path, 1..4);
        let drop_ours = "DROP TABLE ringfence_facts; DROP TABLE ringfence_positions; \
            DROP TABLE ringfence_tries; DROP TABLE ringfence_list; PRAGMA journal_mode = DELETE";
        Connection::open(&path).unwrap().execute_batch(drop_ours).unwrap();
        let own = database(&folder.path().join("state"));
        read_only(&theirs);
        assert_eq!(Archive::open(&path, now()).load(now()).bans.len(), 3);
        let mut archive = Archive::open_shared(&path, &own, now());
        let bans = archive.load(now()).bans.len();
        assert_eq!((archive.trouble(), bans), (None, 3));
        assert!(archive.is_whole(), "a copy has all of it");
        let news = archive.news();
        assert!(news[0].contains("read-only") && news[0].ends_with("begins as a copy of it"), "{news:?}");
        archive.write(&mut vec![ban(7)], now()).unwrap();
        drop(archive);
        // The next start does not copy again.
        let mut archive = Archive::open_shared(&path, &own, now());
        assert_eq!(archive.load(now()).bans.len(), 4);
        assert!(archive.is_whole() && archive.lost().is_none());
        drop(archive);
        // The run before kept the other file: what it banned nobody knows.
        run(&format!("umount {}", theirs.display()));
        let mut archive = Archive::open_shared(&path, &own, now());
        assert_eq!((archive.news().len(), archive.load(now()).bans.len()), (1, 3));
        assert!(!archive.is_whole() && archive.lost().unwrap().contains("the last run kept its state in"));
        archive.write(&mut vec![ban(9)], now()).unwrap();
        drop(archive);
        let mut archive = Archive::open_shared(&path, &own, now());
        assert_eq!(archive.load(now()).bans.len(), 4);
        assert!(archive.is_whole());
        drop(archive);
        // Now it may be neither written nor read.
        let hidden = folder.path().join("hidden");
        fs::rename(&path, &hidden).unwrap();
        fs::create_dir(&path).unwrap();
        let mut archive = Archive::open_shared(&path, &own, now());
        assert_eq!(archive.load(now()).bans.len(), 4);
        assert!(!archive.is_whole() && archive.lost().unwrap().contains("unable to open"));
        archive.write(&mut vec![ban(10)], now()).unwrap();
        drop(archive);
        let mut archive = Archive::open_shared(&path, &own, now());
        assert_eq!(archive.load(now()).bans.len(), 5);
        assert!(archive.is_whole(), "the run before kept this one");

        let nowhere = Path::new("/proc/nowhere/fail2ban.sqlite3");
        let mut archive = Archive::open_shared(nowhere, &own, now());
        let bans = archive.load(now()).bans.len();
        assert_eq!((archive.trouble(), bans), (None, 5));
    }

    fn a_full_disk_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let disk = folder.path().display();
        run(&format!("mount -t tmpfs -o size=1m tmpfs {disk}"));
        let path = database(folder.path());
        written(&path, 1..4);
        let mut archive = Archive::open(&path, now());
        archive.load(now());
        let ballast = fill(folder.path());
        let mut records: Vec<Record> = (100..2_000).map(ban).collect();
        assert!(archive.write(&mut records, now()).is_err());
        assert!(archive.trouble().unwrap().contains("full"), "{:?}", archive.trouble());
        assert_eq!(records.len(), 1_900);
        fs::remove_file(&ballast).unwrap();
        run(&format!("mount -o remount,size=8m {disk}"));
        archive.write(&mut records, now()).unwrap();
        assert_eq!(archive.trouble(), None);
        drop(archive);
        assert_eq!(found(&path).len(), 1_903);

        // A start on a full disk knows its bans all the same.
        let ballast = fill(folder.path());
        let mut archive = Archive::open(&path, now());
        assert_eq!(archive.load(now()).bans.len(), 1_903);
        let mut records: Vec<Record> = (2_000..2_500).map(ban).collect();
        assert!(archive.write(&mut records, now()).is_err());
        fs::remove_file(&ballast).unwrap();
        archive.write(&mut records, now()).unwrap();
        assert!(archive.take_late().is_none());
        drop(archive);
        assert_eq!(found(&path).len(), 2_403);

        // So does one that finds no database.
        fs::remove_file(&path).unwrap();
        let ballast = fill(folder.path());
        let mut archive = Archive::open(&path, now());
        assert!(archive.load(now()).bans.is_empty() && archive.trouble().is_some());
        let mut records = vec![ban(1)];
        assert!(archive.write(&mut records, now()).is_err());
        fs::remove_file(&ballast).unwrap();
        archive.write(&mut records, now()).unwrap();
        assert_eq!(archive.take_late().map_or(0, |late| late.bans.len()), 0);
        drop(archive);
        assert_eq!(found(&path), [addr(1)]);
    }

    fn a_damaged_file_on_a_read_only_disk_stays_where_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = database(folder.path());
        fs::write(&path, "notes ".repeat(999)).unwrap();
        read_only(folder.path());
        let mut archive = Archive::open(&path, now());
        assert!(archive.load(now()).bans.is_empty() && archive.trouble().is_some());
        let mut records = vec![ban(1)];
        assert!(archive.write(&mut records, now()).is_err());
        run(&format!("umount {}", folder.path().display()));
        archive.write(&mut records, now()).unwrap();
        assert_eq!((archive.news().len(), found(&path)), (1, vec![addr(1)]));
    }
}

/// Makes a folder read-only, also for root.
fn read_only(folder: &Path) {
    let folder = folder.display();
    run(&format!("mount --bind {folder} {folder}"));
    run(&format!("mount -o remount,ro,bind {folder}"));
}

/// Takes all the room that is left.
fn fill(folder: &Path) -> PathBuf {
    let ballast = folder.join("ballast");
    let mut file = File::create(&ballast).unwrap();
    while file.write_all(&[0; 4_096]).is_ok() {}
    ballast
}
