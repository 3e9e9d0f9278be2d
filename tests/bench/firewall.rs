//! How long does a ban take, and how long a list? `cargo bench --bench firewall`
//!
//! Runs in a network namespace of its own. Compared are our `apply`, a bare netlink
//! request (the least that the kernel can do), and the program `ipset`.

use std::hint::black_box;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ringfence::action::{Action, Backend, Firewall, Outcome, Sizes};
use ringfence::addr::Addr;
use ringfence::ticket::{Entry, Order, Set};
use rustix::net::netlink::{NETFILTER, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketType, connect, recv, send, socket};

/// Bans that are timed one by one; a program is started for fewer of them.
const BANS: u32 = 20_000;
const PROGRAMS: u32 = 300;

/// Entries of the list.
const LIST: u32 = 1_000_000;

/// Entries on one page of APIBAN's list.
const PAGE: usize = 250;

const SIZES: Sizes = Sizes {
    jail: 131_072,
    list: 1_048_576,
    allow: 1_024,
};

fn main() {
    const INSIDE: &str = "RINGFENCE_BENCH_NAMESPACE";
    if std::env::var_os(INSIDE).is_none() {
        let program = std::env::current_exe().expect("our own path");
        let status = Command::new("unshare")
            .args(["--user", "--map-root-user", "--net", "--"])
            .arg(program)
            .env(INSIDE, "1")
            .status()
            .expect("unshare");
        assert!(status.success());
        return;
    }
    one_ban();
    whole_list();
    bans_during_a_load();
}

/// Addresses of 10.0.0.0/8, one after the other.
fn host(number: u32) -> Ipv4Addr {
    Ipv4Addr::from(0x0a00_0000 + number)
}

fn entry(number: u32) -> Entry {
    Entry {
        addr: Addr::host(IpAddr::V4(host(number))),
        timeout_secs: 86_400,
    }
}

fn jail() -> Set {
    Set::Jail("asterisk".into())
}

fn fresh() -> Firewall {
    let mut firewall = Firewall::open(Backend::Ipset, SIZES).expect("open");
    firewall.purge().expect("purge");
    firewall.ensure(&[jail(), Set::List]).expect("ensure");
    firewall
}

fn must_succeed(outcome: Outcome) {
    assert!(
        matches!(outcome, Outcome::Loaded { refused: 0, .. }),
        "{outcome:?}"
    );
}

fn ban(firewall: &mut Firewall, number: u32) {
    let order = Order::Block {
        set: jail(),
        entry: entry(number),
    };
    firewall.apply(&[order], &mut must_succeed);
}

fn one_ban() {
    println!("one ban                     p50       p90       p99       max   (µs)   to bare");
    fresh();
    let bare = bare_request();
    let base = report("bare netlink request", bare, None);
    let mut firewall = fresh();
    let ours = (0..BANS).map(|number| time(|| ban(&mut firewall, number)));
    report("ringfence's apply", ours.collect(), Some(base));
    fresh();
    let program = (0..PROGRAMS).map(|number| {
        let arguments = format!(
            "-exist add ringfence-asterisk {} timeout 86400",
            host(number)
        );
        time(|| {
            let status = Command::new("/usr/sbin/ipset")
                .args(arguments.split(' '))
                .status();
            assert!(status.expect("ipset").success());
        })
    });
    report("the program ipset add", program.collect(), Some(base));
}

fn time(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

/// Prints the percentiles; returns the median.
fn report(what: &str, mut times: Vec<Duration>, base: Option<f64>) -> f64 {
    times.sort_unstable();
    let at = |part: f64| {
        let place = (times.len() as f64 * part) as usize;
        times[place.min(times.len() - 1)].as_secs_f64() * 1e6
    };
    let ratio = base.map_or_else(|| "1".to_owned(), |base| format!("{:.1}", at(0.5) / base));
    println!(
        "{what:<22} {:>9.1} {:>9.1} {:>9.1} {:>9.1} {ratio:>16}",
        at(0.5),
        at(0.9),
        at(0.99),
        at(1.0),
    );
    at(0.5)
}

/// The same request again and again, made once by hand; only the address changes.
fn bare_request() -> Vec<Duration> {
    let fd = socket(AddressFamily::NETLINK, SocketType::RAW, Some(NETFILTER)).expect("socket");
    connect(&fd, &SocketAddrNetlink::new(0, 0)).expect("connect");
    let mut request = Vec::new();
    request.extend_from_slice(&[0; 16]);
    request.extend_from_slice(&[2, 0, 0, 0]); // nfgenmsg
    attribute(&mut request, 1, &[7]); // protocol
    attribute(&mut request, 2, b"ringfence-asterisk\0");
    let mut data = Vec::new();
    let mut ip = Vec::new();
    attribute(&mut ip, 0x4001, &[0; 4]);
    attribute(&mut data, 0x8001, &ip);
    attribute(&mut data, 0x4006, &86_400u32.to_be_bytes()); // time-out
    attribute(&mut request, 0x8007, &data);
    let address = request.len() - 4 - 8;
    let bytes = u32::try_from(request.len()).expect("short");
    request[0..4].copy_from_slice(&bytes.to_ne_bytes());
    request[4..6].copy_from_slice(&0x0609u16.to_ne_bytes()); // ipset, add
    request[6..8].copy_from_slice(&5u16.to_ne_bytes()); // request, acknowledge
    let mut reply = [0; 4096];
    let bans = (0..BANS).map(|number| {
        request[address..address + 4].copy_from_slice(&host(number).octets());
        let elapsed = time(|| {
            send(&fd, &request, SendFlags::empty()).expect("send");
            black_box(recv(&fd, &mut reply[..], RecvFlags::empty()).expect("recv"));
        });
        assert_eq!(reply[16..20], [0; 4], "the kernel refused");
        elapsed
    });
    bans.collect()
}

fn attribute(buffer: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let bytes = u16::try_from(value.len() + 4).expect("short");
    buffer.extend_from_slice(&bytes.to_ne_bytes());
    buffer.extend_from_slice(&kind.to_ne_bytes());
    buffer.extend_from_slice(value);
    buffer.resize(buffer.len().next_multiple_of(4), 0);
}

fn pages(entries_max: usize) -> Vec<Order> {
    let entries: Vec<Entry> = (0..LIST).map(entry).collect();
    let pages = entries.chunks(entries_max).zip(1..);
    pages
        .map(|(entries, page)| Order::Load {
            set: Set::List,
            page,
            entries: entries.into(),
        })
        .collect()
}

fn whole_list() {
    println!("\n{LIST} entries              s         to ipset restore");
    let lines: String = (0..LIST)
        .map(|number| format!("add ringfence-apiban {} timeout 86400\n", host(number)))
        .collect();
    fresh();
    let restore = time(|| restore(&lines)).as_secs_f64();
    println!("{:<22} {restore:>9.2} {:>16}", "ipset restore", 1);
    for (what, entries_max) in [
        ("ours, in pages of 250", PAGE),
        ("ours, all at once", LIST as usize),
    ] {
        let mut firewall = fresh();
        let orders = pages(entries_max);
        let ours = time(|| firewall.apply(&orders, &mut must_succeed)).as_secs_f64();
        println!("{what:<22} {ours:>9.2} {:>16.2}", ours / restore);
        let mut listed = 0;
        let read = time(|| {
            firewall
                .list(&Set::List, &mut |_| listed += 1)
                .expect("list")
        });
        assert_eq!(listed, LIST);
        println!("{:<22} {:>9.2}", "  and read back", read.as_secs_f64());
    }
}

fn restore(lines: &str) {
    let mut program = Command::new("/usr/sbin/ipset")
        .args(["-exist", "restore"])
        .stdin(Stdio::piped())
        .spawn()
        .expect("ipset");
    let mut stdin = program.stdin.take().expect("stdin");
    stdin.write_all(lines.as_bytes()).expect("write");
    drop(stdin);
    assert!(program.wait().expect("ipset").success());
}

/// Bans of one handle while another loads the list.
fn bans_during_a_load() {
    println!("\none ban during a load       p50       p90       p99       max   (µs)");
    let mut hot = fresh();
    let mut load = hot.handle().expect("handle");
    let orders = pages(PAGE);
    let loading = AtomicBool::new(true);
    let times = std::thread::scope(|scope| {
        scope.spawn(|| {
            load.apply(&orders, &mut must_succeed);
            loading.store(false, Ordering::Release);
        });
        let mut times = Vec::new();
        for number in (0..SIZES.jail).cycle() {
            if !loading.load(Ordering::Acquire) {
                break;
            }
            times.push(time(|| ban(&mut hot, number)));
            std::thread::sleep(Duration::from_micros(300));
        }
        times
    });
    report("ringfence's apply", times, None);
}
