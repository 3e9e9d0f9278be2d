//! The registrars' stores: real SQLite files as Asterisk and FreeSWITCH write them, and a
//! real Kamailio at its control socket.

#[path = "common/namespace.rs"]
mod namespace;
#[path = "common/running.rs"]
mod running;

use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::net::UdpSocket;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use namespace::run;
use ringfence::registrar::{self, Trouble};
use ringfence::time::Time;
use rusqlite::Connection;

const NOW: Time = Time::from_secs(1_700_000_000);

/// As Asterisk 22 makes it.
const ASTDB: &str = r#"
    CREATE TABLE astdb (key VARCHAR(256), value VARCHAR(256), PRIMARY KEY(key));
    INSERT INTO astdb VALUES
      ('/registrar/contact/1001;@0b7c', '{"via_addr":"10.0.0.5","qualify_timeout":"3.000000","call_id":"a1","reg_server":"","prune_on_boot":"no","path":"","endpoint":"1001","via_port":"5060","authenticate_qualify":"no","uri":"sip:1001@192.0.2.7:40000;ob","qualify_frequency":"60","user_agent":"Yealink","expiration_time":"1700003600","outbound_proxy":""}'),
      ('/registrar/contact/1002;@77aa', '{"via_addr":"192.0.2.8","uri":"sip:1002@phone.example:5060","expiration_time":"1700003600"}'),
      ('/registrar/contact/1005;@5555', CAST(x'7b22757269223a227369703a31303035403139322e302e322e3535222c22757365725f6167656e74223a22ff227d' AS TEXT)),
      ('/registrar/contact/1006;@5556', x'7b7d'),
      ('/registrar/contact/1003;@9999', '{"via_addr":"192.0.2.9","uri":"sip:1003@192.0.2.9:5060","expiration_time":"1699999999"}'),
      ('/registrar/contact/1004;@1234', '{"uri":"sip:1004@192.0.2.10'),
      ('/registrar/contact0', '{"uri":"sip:x@192.0.2.66","expiration_time":"1700003600"}'),
      ('/SIP/Registry/2001', '192.0.2.11:5060:3600:2001:sip:2001@10.0.0.7:5060'),
      ('/SIP/Registry/2002', '[2001:db8::7]:5060:3600:2002:sip:2002@[2001:db8::7]:5060'),
      ('/IAX/Registry/3001', '192.0.2.12:4569:60'),
      ('/cidname/192.0.2.13', '192.0.2.13:5060:x'),
      ('/SIP/PeerMethods/2001', '192.0.2.14:1:1');
"#;

/// As FreeSWITCH makes it, but for columns that nobody asks for here.
const SOFIA: &str = "
    CREATE TABLE sip_registrations (
      call_id VARCHAR(255), sip_user VARCHAR(255), sip_host VARCHAR(255), contact VARCHAR(1024),
      expires INTEGER, user_agent VARCHAR(255), network_ip VARCHAR(255), network_port VARCHAR(6), sip_realm VARCHAR(255));
    INSERT INTO sip_registrations VALUES
      ('a', '1001', 'pbx.example', 'sip:1001@10.0.0.5:5060', 1700003600, 'Snom', '192.0.2.7', '40000', 'pbx.example'),
      ('b', '1002', 'pbx.example', 'sip:1002@10.0.0.6:5060', 1699999999, 'Snom', '192.0.2.8', '40000', 'pbx.example'),
      ('c', '1003', 'pbx.example', 'sip:1003@10.0.0.6:5060', 1700003600, 'Snom', NULL, NULL, 'pbx.example'),
      ('e', CAST(x'31ff' AS TEXT), 'pbx.example', '', 1700003600, 'Snom', '192.0.2.9', '5060', 'pbx.example'),
      ('d', '1004', 'pbx.example', 'sip:1004@10.0.0.6:5060', 1700003600, 'Snom', '2001:db8::9', '5060', 'pbx.example');
";

/// Makes a database that nobody has written to for a while.
fn database(path: &Path, sql: &str) {
    let connection = Connection::open(path).unwrap();
    connection.execute_batch(sql).unwrap();
    connection.close().unwrap();
    age(path);
}

fn age(path: &Path) {
    written(path, Duration::from_secs(60));
}

/// The file was last written to so long before [`NOW`].
fn written(path: &Path, before: Duration) {
    let file = fs::File::options().append(true).open(path).unwrap();
    let now = Duration::from_secs(NOW.as_secs().unsigned_abs());
    file.set_modified(SystemTime::UNIX_EPOCH + now - before)
        .unwrap();
}

fn read(path: &Path) -> Result<Vec<String>, Trouble> {
    let found = registrar::read(path, NOW)?;
    Ok(found
        .iter()
        .map(|one| format!("{} {}", one.addr, one.user))
        .collect())
}

#[test]
fn stores_of_asterisk_and_freeswitch_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let (asterisk, freeswitch) = (
        folder.path().join("astdb.sqlite3"),
        folder.path().join("sofia reg?%.db"),
    );
    database(&asterisk, ASTDB);
    database(&freeswitch, SOFIA);
    assert_eq!(
        read(&asterisk).unwrap(),
        [
            "192.0.2.7 1001",
            "192.0.2.11 2001",
            "2001:db8::7 2002",
            "192.0.2.12 3001"
        ]
    );
    assert_eq!(
        read(&freeswitch).unwrap(),
        ["192.0.2.7 1001", "2001:db8::9 1004"]
    );
    let pattern = folder.path().join("*").display().to_string();
    assert_eq!(registrar::stores(&[pattern, "[".to_owned()]).len(), 2);
}

#[test]
fn a_reader_is_in_nobodys_way_and_takes_nothing_half() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("astdb.sqlite3");
    database(&path, ASTDB);
    let files = || fs::read_dir(folder.path()).unwrap().count();
    let before = (fs::read(&path).unwrap(), files());

    // The phone server has the lock, and nothing is written yet: what was, counts.
    let mut server = Connection::open(&path).unwrap();
    server.busy_timeout(Duration::ZERO).unwrap();
    let transaction = server
        .transaction_with_behavior(rusqlite::TransactionBehavior::Exclusive)
        .unwrap();
    assert_eq!(read(&path).unwrap().len(), 4);
    transaction.execute("DELETE FROM astdb", []).unwrap();
    assert!(
        matches!(read(&path), Err(Trouble::Busy)),
        "its journal is open"
    );
    transaction.rollback().unwrap();
    age(&path);
    assert_eq!(read(&path).unwrap().len(), 4);
    assert!(
        before == (fs::read(&path).unwrap(), files()),
        "nothing is written"
    );

    server
        .execute("DELETE FROM astdb WHERE key LIKE '/SIP/%'", [])
        .unwrap();
    written(&path, Duration::from_millis(1));
    assert!(
        matches!(read(&path), Err(Trouble::Busy)),
        "it was written to just now"
    );
    age(&path);
    assert_eq!(read(&path).unwrap().len(), 2);
}

#[test]
fn what_cannot_be_read_is_no_news() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("astdb.sqlite3");
    assert!(matches!(read(&path), Err(Trouble::Io(_))));
    for (content, what) in [
        (&b""[..], "empty"),
        (b"no database, but long enough to look like one", "text"),
    ] {
        fs::write(&path, content).unwrap();
        age(&path);
        assert!(read(&path).is_err(), "{what}");
    }
    fs::remove_file(&path).unwrap();
    database(&path, "CREATE TABLE other(x)");
    assert!(matches!(read(&path), Err(Trouble::Unknown)));

    // Damaged pages, and a file that is cut off: an error or less, no panic and no wait.
    fs::remove_file(&path).unwrap();
    let mut many = ASTDB.to_owned();
    for host in 0..2_000 {
        many += &format!(
            "INSERT INTO astdb VALUES('/SIP/Registry/9{host}', '203.0.113.{}:5060:60:x');",
            host % 250
        );
    }
    database(&path, &format!("BEGIN; {many} COMMIT;"));
    let whole = fs::read(&path).unwrap();
    assert!(read(&path).unwrap().len() > 2_000);
    for place in (100..whole.len()).step_by(997) {
        let mut file = fs::File::options().write(true).open(&path).unwrap();
        file.seek(SeekFrom::Start(place as u64)).unwrap();
        file.write_all(&[0xff; 64]).unwrap();
        age(&path);
        let _any = read(&path);
    }
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    age(&path);
    let _any = read(&path);

    // More than anybody has.
    fs::remove_file(&path).unwrap();
    let rows = registrar::REGISTRATIONS_MAX + 1;
    database(
        &path,
        &format!(
            "CREATE TABLE astdb (key, value, PRIMARY KEY(key)) WITHOUT ROWID;
                  WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})
                  INSERT INTO astdb SELECT '/SIP/Registry/' || i, '192.0.2.7:5060:60:x' FROM n;"
        ),
    );
    assert_eq!(
        read(&path).unwrap().len(),
        registrar::REGISTRATIONS_MAX as usize
    );
}

namespaced! {
    fn a_real_kamailio_tells_who_is_registered() {
        run("ip link set lo up");
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("ctl");
        let configuration = folder.path().join("kamailio.cfg");
        fs::write(&configuration, format!(r#"
            fork=yes
            children=1
            tcp_children=1
            listen=udp:127.0.0.1:5060
            loadmodule "pv.so"
            loadmodule "tm.so"
            loadmodule "sl.so"
            loadmodule "usrloc.so"
            loadmodule "registrar.so"
            loadmodule "ctl.so"
            loadmodule "nathelper.so"
            modparam("ctl", "binrpc", "unixs:{}")
            modparam("registrar|nathelper", "received_avp", "$avp(received)")
            request_route {{
                if ($fU == "1002") fix_nated_register();
                save("location");
            }}"#, socket.display())).unwrap();
        let mut kamailio = Command::new("kamailio")
            .args(["-DD", "-E", "-w"]).arg(folder.path())
            .arg("-f").arg(&configuration)
            .arg("-Y").arg(folder.path())
            .stdout(Stdio::null())
            .stderr(fs::File::create(folder.path().join("said")).unwrap())
            .process_group(0) // so that its children end with it
            .spawn().expect("kamailio");
        running::wait("Kamailio", folder.path(), || read(&socket).is_ok());
        assert_eq!(read(&socket).unwrap(), [""; 0]);
        let phone = UdpSocket::bind("127.0.0.1:0").unwrap();
        for (user, contact) in [("1001", "192.0.2.7:5060"), ("1001", "192.0.2.8"), ("1002", "[2001:db8::7]:5060"), ("1003", "phone.example")] {
            let register = format!(
                "REGISTER sip:pbx SIP/2.0\r\nVia: SIP/2.0/UDP {};branch=z9hG4bK{contact}\r\nFrom: <sip:{user}@pbx>;tag=1\r\nTo: <sip:{user}@pbx>\r\n\
                 Call-ID: {contact}\r\nCSeq: 1 REGISTER\r\nMax-Forwards: 9\r\nContact: <sip:{user}@{contact}>\r\nExpires: 600\r\nContent-Length: 0\r\n\r\n",
                phone.local_addr().unwrap());
            phone.send_to(register.as_bytes(), "127.0.0.1:5060").unwrap();
            let mut answer = [0; 2_000];
            let bytes = phone.recv(&mut answer).unwrap();
            assert!(answer[..bytes].starts_with(b"SIP/2.0 200"), "{}", String::from_utf8_lossy(&answer[..bytes]));
        }
        let mut found = read(&socket).unwrap();
        found.sort();
        // 1002 came from loopback, which is nobody's address, so its contact counts.
        assert_eq!(found, ["192.0.2.7 1001", "192.0.2.8 1001", "2001:db8::7 1002"]);
        run(&format!("kill -KILL -- -{}", kamailio.id()));
        kamailio.wait().unwrap();
    }
}
