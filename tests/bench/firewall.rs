//! How long does a ban take, and how long a list? `cargo bench --bench firewall`
//!
//! Runs in a network namespace of its own, once for ipset and once for nftables.
//! Compared are our `apply`, a bare netlink request (the least that the kernel can do:
//! written once, only the address changes), and the programs `ipset` and `nft`. It ends
//! with an error if a promise was not kept.

use std::hint::black_box;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::OwnedFd;
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ringfence::action::{Action, Backend, Firewall, Outcome, Sizes};
use ringfence::addr::Addr;
use ringfence::engine::{Checks, Engine, Event};
use ringfence::feed::{Cursor, Page, Rejections};
use ringfence::jail::protect::Protected;
use ringfence::ticket::{Entry, Order, Set};
use ringfence::time::Time;
use rustix::net::netlink::{NETFILTER, SocketAddrNetlink};
use rustix::net::sockopt::set_socket_send_buffer_size;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketType, connect, recv, send, socket};

/// Bans that are timed one by one; a program is started for fewer of them.
const BANS: u32 = 20_000;
const PROGRAMS: u32 = 300;

/// Entries of the list.
const LIST: u32 = 1_000_000;

/// Entries on one page of APIBAN's list.
const PAGE: usize = 250;

/// Entries in one message of the bare loop, as in ours.
const BATCH: u32 = 128;

/// The promises: one ban by a bare request's time, the whole list by that of `ipset
/// restore` (with nftables too) and of a bare loop (the least that the kernel can do), a ban while it is loaded, and memory for the list.
const BAN_TO_BARE_MAX: f64 = 3.0;
const RESTORE_TO_LIST_MIN: f64 = 4.0;
const LIST_TO_BARE_MAX: f64 = 1.6;
const HOT_BAN_P99_MAX: Duration = Duration::from_millis(2);
const LIST_BYTES_MAX: u64 = 64 * 1024 * 1024;

const SIZES: Sizes = Sizes {
    jail: 131_072,
    list: 1_048_576,
    allow: 1_024,
};

fn main() -> ExitCode {
    const INSIDE: &str = "RINGFENCE_BENCH_NAMESPACE";
    if std::env::var_os(INSIDE).is_none() {
        let program = std::env::current_exe().expect("our own path");
        // nft sends a file in one piece, which only true root may: so no namespace of
        // users if we are root.
        let users: &[&str] = match rustix::process::geteuid().is_root() {
            true => &[],
            false => &["--user", "--map-root-user"],
        };
        let status = Command::new("unshare")
            .args(users)
            .args(["--net", "--"])
            .arg(program)
            .env(INSIDE, "1")
            .status()
            .expect("unshare");
        return ExitCode::from(u8::from(!status.success()));
    }
    // First, while this program has used little memory that it could use again.
    let mut kept = memory();
    for bench in [Bench::IPSET, Bench::NFTABLES] {
        println!("\n== {}", bench.name);
        kept &= bench.one_ban();
        kept &= bench.whole_list();
        kept &= bench.bans_during_a_load();
        Firewall::open(bench.backend, SIZES)
            .and_then(|mut firewall| firewall.purge())
            .expect("purge");
    }
    ExitCode::from(u8::from(!kept))
}

/// One kind of firewall, and its program.
struct Bench {
    name: &'static str,
    backend: Backend,
    /// Which program, and what tells it to read many lines.
    program: &'static str,
    restore: &'static [&'static str],
}

impl Bench {
    const IPSET: Bench = Bench {
        name: "ipset",
        backend: Backend::Ipset,
        program: "/usr/sbin/ipset",
        restore: &["-exist", "restore"],
    };

    const NFTABLES: Bench = Bench {
        name: "nftables",
        backend: Backend::Nftables,
        program: "/usr/sbin/nft",
        restore: &["-f", "-"],
    };

    fn fresh(&self) -> Firewall {
        let mut firewall = Firewall::open(self.backend, SIZES).expect("open");
        firewall.purge().expect("purge");
        firewall.ensure(&[jail(), Set::List]).expect("ensure");
        firewall
    }

    /// What its program is told to ban one address.
    fn line(&self, set: &str, host: Ipv4Addr) -> String {
        match self.backend {
            Backend::Nftables => {
                format!("add element inet ringfence {set} {{ {host} timeout 86400s }}")
            }
            _ => format!("add {set} {host} timeout 86400"),
        }
    }

    fn one_ban(&self) -> bool {
        println!("one ban                     p50       p90       p99       max   (µs)   to bare");
        self.fresh();
        let mut bare = Bare::new(self.backend, "ringfence-asterisk", 1);
        let bare: Vec<Duration> = (0..BANS).map(|number| time(|| bare.send(number))).collect();
        let base = report("bare netlink request", bare, None).0;
        let mut firewall = self.fresh();
        let ours = (0..BANS).map(|number| time(|| ban(&mut firewall, number)));
        let (ours, _) = report("ringfence's apply", ours.collect(), Some(base));
        self.fresh();
        let program = (0..PROGRAMS).map(|number| {
            let line = self.line("ringfence-asterisk", host(number));
            time(|| {
                let mut command = Command::new(self.program);
                let status = command.args(line.split(' ')).status();
                assert!(status.expect(self.program).success());
            })
        });
        let what = format!("the program {}", self.name);
        report(&what, program.collect(), Some(base));
        let text = format!("a ban at most {BAN_TO_BARE_MAX}x a bare request (p50)");
        promise(&text, ours / base <= BAN_TO_BARE_MAX)
    }

    fn whole_list(&self) -> bool {
        println!("\n{LIST} entries              s");
        // Whatever holds the bans, `ipset restore` is what a list would be loaded by else.
        let restore = Bench::IPSET.whole_list_by_program();
        if self.backend == Backend::Nftables {
            Firewall::open(Backend::Ipset, SIZES)
                .and_then(|mut firewall| firewall.purge())
                .expect("purge");
            self.whole_list_by_program();
        }
        self.fresh();
        let mut bare = Bare::new(self.backend, "ringfence-apiban", BATCH);
        let bare = time(|| (0..LIST / BATCH).for_each(|batch| bare.send(batch * BATCH)));
        let bare = bare.as_secs_f64();
        println!("{:<22} {bare:>9.2}", "bare netlink loop");
        let mut slowest = 0.0_f64;
        for (what, entries_max) in [
            ("ours, in pages of 250", PAGE),
            ("ours, all at once", LIST as usize),
        ] {
            let mut firewall = self.fresh();
            let orders = pages(entries_max);
            let ours = time(|| firewall.apply(&orders, &mut must_succeed)).as_secs_f64();
            println!("{what:<22} {ours:>9.2}");
            slowest = slowest.max(ours);
            if !firewall.lists_fast() {
                continue;
            }
            let mut listed = 0;
            let read = time(|| {
                firewall
                    .list(&Set::List, &mut |_| listed += 1)
                    .expect("list")
            });
            assert_eq!(listed, LIST);
            println!("{:<22} {:>9.2}", "  and read back", read.as_secs_f64());
        }
        let text = format!(
            "the list at least {RESTORE_TO_LIST_MIN}x faster than `ipset restore` ({:.1}x; the bare loop {:.1}x)",
            restore / slowest,
            restore / bare
        );
        let faster = promise(&text, restore / slowest >= RESTORE_TO_LIST_MIN);
        let text = format!(
            "and at most {LIST_TO_BARE_MAX}x a bare loop ({:.2}x)",
            slowest / bare
        );
        promise(&text, slowest / bare <= LIST_TO_BARE_MAX) && faster
    }

    /// Seconds that the program takes for the list.
    fn whole_list_by_program(&self) -> f64 {
        let lines: String = (0..LIST)
            .map(|number| self.line("ringfence-apiban", host(number)) + "\n")
            .collect();
        self.fresh();
        let seconds = time(|| self.restore(&lines)).as_secs_f64();
        let what = format!("{} {}", self.name, self.restore.join(" "));
        println!("{what:<22} {seconds:>9.2}");
        seconds
    }

    fn restore(&self, lines: &str) {
        let mut program = Command::new(self.program)
            .args(self.restore)
            .stdin(Stdio::piped())
            .spawn()
            .expect(self.program);
        let mut stdin = program.stdin.take().expect("stdin");
        stdin.write_all(lines.as_bytes()).expect("write");
        drop(stdin);
        assert!(program.wait().expect(self.program).success());
    }

    /// Bans of one handle while another loads the list.
    fn bans_during_a_load(&self) -> bool {
        println!("\none ban during a load       p50       p90       p99       max   (µs)");
        let mut hot = self.fresh();
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
        let (_, p99) = report("ringfence's apply", times, None);
        let text = format!("p99 under {HOT_BAN_P99_MAX:?}");
        promise(&text, p99 < HOT_BAN_P99_MAX.as_secs_f64() * 1e6)
    }
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

/// What the engine needs to know the list: page by page, as it comes from the feed.
fn memory() -> bool {
    let now = Time::now();
    let cursor = r#"{"format":1,"id":"1","base_url":"https://apiban.org/","set":"sip","key_digest":"00000000","walked_secs":null}"#;
    let cursor = Cursor::from_json(cursor).expect("a cursor");
    let mut engine = Engine::new(Vec::new(), Protected::default(), Checks::default(), now);
    let mut effects = Vec::new();
    let before = resident_bytes();
    let expires = now + Duration::from_secs(7 * 86_400);
    for first in (0..LIST).step_by(PAGE) {
        let numbers = first..LIST.min(first + PAGE as u32);
        let entries = numbers.map(|number| (IpAddr::V4(host(number)), expires));
        let seq = u64::from(first) + 1;
        let page = Page {
            seq,
            entries: entries.collect(),
            cursor: cursor.clone(),
            rejected: Rejections::default(),
        };
        engine.handle(Event::Page(page), now, &mut effects);
        let (page, refused) = (seq, 0);
        engine.handle(Event::Loaded { page, refused }, now, &mut effects);
        effects.clear();
    }
    assert_eq!(engine.listed(), LIST as usize);
    let bytes = resident_bytes().saturating_sub(before);
    println!("{LIST} entries in the engine: {:.1} MB", bytes as f64 / 1e6);
    promise("memory for them under 64 MiB", bytes < LIST_BYTES_MAX)
}

fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let words = line.and_then(|line| line.split_whitespace().next());
    words
        .and_then(|kib| kib.parse::<u64>().ok())
        .expect("VmRSS")
        * 1024
}

fn time(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

fn promise(what: &str, kept: bool) -> bool {
    println!(
        "promise    {what}: {}",
        if kept { "kept" } else { "NOT KEPT" }
    );
    kept
}

/// Prints the percentiles; returns p50 and p99, in µs.
fn report(what: &str, mut times: Vec<Duration>, base: Option<f64>) -> (f64, f64) {
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
    (at(0.5), at(0.99))
}

/// The same message again and again, written once by hand; only the addresses change.
struct Bare {
    socket: OwnedFd,
    message: Vec<u8>,
    /// Where in the message addresses stand.
    places: Vec<usize>,
}

impl Bare {
    fn new(backend: Backend, set: &str, entries: u32) -> Bare {
        let netlink = socket(AddressFamily::NETLINK, SocketType::RAW, Some(NETFILTER));
        let netlink = netlink.expect("socket");
        connect(&netlink, &SocketAddrNetlink::new(0, 0)).expect("connect");
        set_socket_send_buffer_size(&netlink, 1024 * 1024).expect("buffer");
        let message = match backend {
            Backend::Nftables => nft_message(set, entries),
            _ => ipset_message(set, entries),
        };
        let places = message.windows(4).enumerate();
        let places: Vec<usize> = places
            .filter(|(_, window)| *window == MARK)
            .map(|(place, _)| place)
            .collect();
        assert_eq!(places.len(), entries as usize);
        Bare {
            socket: netlink,
            message,
            places,
        }
    }

    fn send(&mut self, first: u32) {
        for (place, number) in self.places.iter().zip(first..) {
            self.message[*place..place + 4].copy_from_slice(&host(number).octets());
        }
        send(&self.socket, &self.message, SendFlags::empty()).expect("send");
        let mut reply = [0; 4096];
        black_box(recv(&self.socket, &mut reply[..], RecvFlags::empty()).expect("recv"));
        assert_eq!(reply[16..20], [0; 4], "the kernel refused");
    }
}

/// Where an address belongs.
const MARK: [u8; 4] = [0xde, 0xad, 0xbe, 0xef];

fn ipset_message(set: &str, entries: u32) -> Vec<u8> {
    let mut list = Vec::new();
    for _ in 0..entries {
        let mut data = Vec::new();
        let mut ip = Vec::new();
        attribute(&mut ip, 0x4001, &MARK);
        attribute(&mut data, 0x8001, &ip);
        attribute(&mut data, 0x4006, &86_400_u32.to_be_bytes()); // time-out
        attribute(&mut list, 0x8007, &data);
    }
    let mut body = vec![2, 0, 0, 0]; // nfgenmsg
    attribute(&mut body, 1, &[7]); // protocol
    attribute(&mut body, 2, &text(set));
    attribute(&mut body, 9, &0_u32.to_ne_bytes()); // line
    attribute(&mut body, 0x8008, &list);
    message(0x0609, 0x5, &body) // ipset, add; request, acknowledge
}

fn nft_message(set: &str, entries: u32) -> Vec<u8> {
    let milliseconds = 86_400_000_u64.to_be_bytes();
    let mut list = Vec::new();
    for _ in 0..entries {
        let mut element = Vec::new();
        let mut key = Vec::new();
        attribute(&mut key, 1, &MARK);
        attribute(&mut element, 0x8001, &key);
        attribute(&mut element, 4, &milliseconds); // time-out
        attribute(&mut element, 5, &milliseconds); // what is left of it
        attribute(&mut list, 0x8001, &element);
    }
    let mut body = vec![1, 0, 0, 0]; // nfgenmsg: inet
    attribute(&mut body, 1, &text("ringfence"));
    attribute(&mut body, 2, &text(set));
    attribute(&mut body, 0x8003, &list);
    let mut batch = message(0x10, 0x1, &[0, 0, 0, 10]);
    batch.extend(message(0x0a0c, 0x405, &body)); // add elements; create, request, acknowledge
    batch.extend(message(0x11, 0x1, &[0, 0, 0, 10]));
    batch
}

fn message(kind: u16, flags: u16, body: &[u8]) -> Vec<u8> {
    let bytes = u32::try_from(16 + body.len()).expect("short");
    let mut message = bytes.to_ne_bytes().to_vec();
    message.extend_from_slice(&kind.to_ne_bytes());
    message.extend_from_slice(&flags.to_ne_bytes());
    message.extend_from_slice(&[0; 8]);
    message.extend_from_slice(body);
    message
}

fn attribute(buffer: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let bytes = u16::try_from(value.len() + 4).expect("short");
    buffer.extend_from_slice(&bytes.to_ne_bytes());
    buffer.extend_from_slice(&kind.to_ne_bytes());
    buffer.extend_from_slice(value);
    buffer.resize(buffer.len().next_multiple_of(4), 0);
}

fn text(text: &str) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    bytes.push(0);
    bytes
}
