//! The feed against a stand-in for APIBAN, over real sockets and real TLS.
//!
//! The feed's clock is told by the tests, so nothing here sleeps: a test waits
//! for an event, moves the clock, and waits for the next event. What is decided
//! when is tested with the planner; here it is whether the whole does it.

#[path = "common/apiban.rs"]
mod apiban;

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ringfence::feed::{
    BaseUrl, Clock, Command as Told, Condition, Cursor, Key, Laboratory, Memory, Now, Page, Report,
    Settings, State, run,
};
use ringfence::ticket::Verdict;
use ringfence::time::Time;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use apiban::{Arrival, Endpoint, Event, Reply, Service, Setup, Standin, Tls};

const KEY: &str = "s3cr3t-k3y-0001";
const EPOCH: i64 = 1_700_000_000;
/// A test that waits longer for an event has failed. It only keeps it from hanging.
const LOST: Duration = Duration::from_secs(60);

/// The `number`th attacker.
fn attacker(number: u32) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from(0xc633_6400 + number)) // 198.51.100.0 and on
}

fn at(secs: u64) -> Now {
    Now {
        mono: Duration::from_secs(secs),
        wall: Time::from_secs(EPOCH) + Duration::from_secs(secs),
    }
}

/// A feed under test, its service, and the clock that both go by.
struct Bench {
    standin: Standin,
    settings: Settings,
    told: watch::Sender<Now>,
    commands: mpsc::UnboundedSender<Told>,
    reports: mpsc::UnboundedReceiver<Report>,
    events: mpsc::UnboundedReceiver<Event>,
    feed: JoinHandle<()>,
    log: Log,
    state: Option<State>,
    requests: Vec<Time>,
    running: u32,
    _folder: tempfile::TempDir,
    _logging: tracing::subscriber::DefaultGuard,
}

impl Bench {
    /// A service with `entries` on its list, and a feed that trusts it.
    fn new(entries: u32) -> Self {
        Self::with(entries, &["localhost", "127.0.0.1"], |_| {})
    }

    fn with(entries: u32, names: &[&str], change: impl FnOnce(&mut Settings)) -> Self {
        let tls = Tls::new(names, false);
        Self::over(entries, Some(tls), Memory::default(), change)
    }

    fn over(
        entries: u32,
        tls: Option<Tls>,
        memory: Memory,
        change: impl FnOnce(&mut Settings),
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ca_file = folder.path().join("ca.pem");
        let (told, clock) = watch::channel(at(0));
        let (happens, events) = mpsc::unbounded_channel();
        let authority = tls.as_ref().map(|tls| tls.authority.clone());
        std::fs::write(&ca_file, authority.as_deref().unwrap_or_default()).unwrap();
        let stamp = clock.clone();
        let standin = Standin::start(Setup {
            listen: "127.0.0.1:0".parse().unwrap(),
            service: Service {
                key: KEY.to_owned(),
                list: (0..entries).map(attacker).collect(),
                first_id: EPOCH as u64,
                ..Service::default()
            },
            tls: tls.map(|tls| tls.config),
            clock: Box::new(move || stamp.borrow().mono),
            refresh: Box::new(|_| {}),
            told: Box::new(move |event| happens.send(event).unwrap_or(())),
        })
        .unwrap();
        let laboratory = Laboratory {
            accept_reserved: true,
            insecure_http: true,
        };
        let scheme = if authority.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://localhost:{}/", standin.address().port());
        let mut settings = Settings {
            base_url: BaseUrl::parse(&url, laboratory).unwrap(),
            key: Key::parse(KEY),
            ca_file: authority.is_some().then_some(ca_file),
            laboratory,
            ..Settings::default()
        };
        change(&mut settings);
        let log = Log::default();
        let (commands, obeyed) = mpsc::unbounded_channel();
        let (tell, reports) = mpsc::unbounded_channel();
        let logging = log.begin();
        let feed = tokio::spawn(run(
            settings.clone(),
            memory,
            Clock::Told(clock),
            Arc::new(|ip| ip == attacker(7)),
            obeyed,
            move |report| tell.send(report).unwrap_or(()),
        ));
        Bench {
            standin,
            settings,
            told,
            commands,
            reports,
            events,
            feed,
            log,
            state: None,
            requests: Vec::new(),
            running: 0,
            _folder: folder,
            _logging: logging,
        }
    }

    async fn send(&self, command: Told) {
        self.commands.send(command).unwrap();
    }

    async fn report(&mut self) -> Report {
        let report = within(self.reports.recv()).await.expect("the feed runs");
        self.log.write_line(&format!("{report:?}"));
        match &report {
            Report::State(state) => {
                self.log.write_line(&serde_json::to_string(state).unwrap());
                self.state = Some((**state).clone());
            }
            Report::Requesting(time) => self.requests.push(*time),
            Report::Page(page) => self.log.write_line(&page.cursor.to_json()),
            Report::Answer { .. } | Report::Servers(_) => {}
        }
        report
    }

    async fn page(&mut self) -> Page {
        loop {
            if let Report::Page(page) = self.report().await {
                return page;
            }
        }
    }

    async fn answer(&mut self) -> (IpAddr, Verdict) {
        loop {
            if let Report::Answer { ip, verdict } = self.report().await {
                return (ip, verdict);
            }
        }
    }

    /// Waits for a state of which this is true.
    async fn state(&mut self, wanted: impl Fn(&State) -> bool) -> State {
        loop {
            if let Report::State(state) = self.report().await
                && wanted(&state)
            {
                return *state;
            }
        }
    }

    async fn arrival(&mut self) -> Arrival {
        loop {
            if let Event::Arrived(arrival) = within(self.events.recv()).await.unwrap() {
                return arrival;
            }
        }
    }

    async fn client_left(&mut self) -> usize {
        loop {
            if let Event::Left(sent) = within(self.events.recv()).await.unwrap() {
                return sent;
            }
        }
    }

    async fn applied(&self, page: &Page, held: u32) {
        let page = page.seq;
        self.send(Told::Applied { page, held }).await;
    }

    fn now(&self) -> Now {
        *self.told.borrow()
    }

    /// Sets the clock to a time that a state named, and a second more.
    fn advance_to(&self, time: Time) {
        let span = time.since(Time::from_secs(EPOCH)) + Duration::from_secs(1);
        self.told.send_replace(at(span.as_secs()));
    }

    /// Lets the feed do all it wants at this time; each page is applied.
    async fn settle(&mut self) {
        let barrier = attacker(7); // protected, so the answer comes at once
        loop {
            self.send(Told::Check(barrier)).await;
            let mut busy = false;
            let (mut answered, mut running) = (false, self.running);
            while !answered || running > 0 {
                match self.report().await {
                    Report::Answer { ip, .. } if ip == barrier => answered = true,
                    Report::Answer { verdict, .. } if verdict != Verdict::NoAnswer => running -= 1,
                    Report::Requesting(_) => {
                        running += 1;
                        busy = true;
                    }
                    Report::Page(page) => {
                        running -= 1;
                        self.applied(&page, 0).await;
                    }
                    Report::Answer { .. } | Report::Servers(_) | Report::State(_) => {}
                }
            }
            self.running = running;
            if !busy {
                return;
            }
        }
    }

    /// Ends the feed as the daemon does, and looks for the key in all that was said.
    async fn end(self) {
        drop(self.commands);
        within(self.feed).await.unwrap();
        for arrival in self.standin.arrivals() {
            let request = arrival.head.lines().next().unwrap().to_owned();
            assert!(!request.contains(KEY), "{request}");
        }
        let log = self.log.text();
        assert!(!log.contains("s3cr3t"), "the key is in:\n{log}");
    }
}

async fn within<T>(event: impl Future<Output = T>) -> T {
    let waited = tokio::time::timeout(LOST, event).await;
    waited.expect("an event that never came")
}

/// All that the feed said, in the log and in reports.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn begin(&self) -> tracing::subscriber::DefaultGuard {
        let log = self.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_ansi(false)
            .with_writer(move || log.clone())
            .finish();
        tracing::subscriber::set_default(subscriber)
    }

    fn write_line(&self, line: &str) {
        let mut log = self.0.lock().unwrap();
        writeln!(log, "{line}").unwrap();
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

const FINISHED: &str = r#"{"ipaddress":["no new bans"],"ID":"none"}"#;

fn json(status: u16, body: &str) -> Reply {
    Reply::Full(status, "", body.to_owned())
}

#[tokio::test]
async fn the_list_is_loaded_page_by_page() {
    let mut bench = Bench::new(600);
    assert!(matches!(bench.report().await, Report::Requesting(_)));

    let first = bench.page().await;
    let wanted = (0..250).map(attacker).filter(|ip| *ip != attacker(7));
    let ips: Vec<_> = first.entries.iter().map(|(ip, _)| *ip).collect();
    assert_eq!(ips, wanted.collect::<Vec<_>>());
    assert_eq!(first.rejected.protected, 1);
    let expires = Time::from_secs(EPOCH + 249 + 7 * 86_400);
    assert!(first.entries.iter().all(|(_, time)| *time <= expires));
    assert_eq!(first.cursor.id.as_str(), "1700000249");

    let arrival = bench.arrival().await;
    assert_eq!(arrival.head.lines().next(), Some("POST /api/get HTTP/1.1"));
    for (name, value) in [
        ("authorization", "Bearer s3cr3t-k3y-0001"),
        ("content-type", "application/json"),
        (
            "user-agent",
            concat!("ringfence/", env!("CARGO_PKG_VERSION")),
        ),
    ] {
        assert_eq!(arrival.header(name), Some(value), "{name}");
    }
    assert_eq!(arrival.header("accept-encoding"), None);
    assert_eq!(arrival.body.to_string(), r#"{"id":"100","set":"sip"}"#);

    // Nothing more is asked before the page is in force, however late that is.
    bench.told.send_replace(at(60));
    assert_eq!(bench.standin.arrivals().len(), 1);
    bench.applied(&first, 249).await;
    let second = bench.page().await;
    assert_eq!(bench.arrival().await.field("id"), "1700000249");
    bench.applied(&second, 499).await;
    let third = bench.page().await;
    assert_eq!(bench.arrival().await.field("id"), "1700000499");
    assert_eq!(third.entries.len(), 100);
    bench.applied(&third, 599).await;
    assert_eq!(bench.arrival().await.field("id"), "1700000599");
    let state = bench
        .state(|state| state.condition == Condition::Current)
        .await;
    assert_eq!((state.pages, state.entries, state.held), (3, 599, 599));
    assert_eq!(bench.requests.len(), 4);
    bench.end().await;
}

#[tokio::test]
async fn the_services_addresses_are_known_before_its_list() {
    let mut bench = Bench::with(3, &["localhost"], |_| {});
    let mut seen = None;
    loop {
        match bench.report().await {
            Report::Servers(ips) => seen = Some(ips),
            Report::Page(_) => break,
            _ => {}
        }
    }
    let loopback: IpAddr = "127.0.0.1".parse().unwrap();
    assert!(seen.expect("servers first").contains(&loopback));
    bench.end().await;

    // A host that is an address is known at once.
    let mut bench = Bench::with(3, &["127.0.0.1"], |settings| {
        let url = settings
            .base_url
            .to_string()
            .replace("localhost", "127.0.0.1");
        settings.base_url = url.parse().unwrap();
    });
    assert_eq!(bench.report().await, Report::Servers(vec![loopback]));
    assert_eq!(bench.page().await.entries.len(), 3);
    bench.end().await;
}

/// One way to fail, and what the feed says about it.
struct Failure {
    reply: Reply,
    says: &'static str,
}

#[tokio::test]
async fn whatever_happens_the_cursor_stays_and_the_page_is_asked_for_again() {
    const PAGE: &str = r#"{"ipaddress":["198.51.100.9"],"ID":"77"}"#;
    let raw = |head: &str, body: &str| {
        Reply::Raw(format!("HTTP/1.1 200 OK\r\n{head}\r\n{body}").into_bytes())
    };
    let huge = format!(r#"{{"ipaddress":["{}"],"ID":"77"}}"#, "x".repeat(1 << 20));
    let failures = [
        (Reply::Raw(Vec::new()), "the answer broke off"),
        (
            Reply::Raw(b"SIP/2.0 200 OK\r\n\r\n".to_vec()),
            "the answer broke off",
        ),
        (json(200, ""), "an empty body"),
        (
            json(200, "<html>hello</html>"),
            "not the JSON that was agreed on",
        ),
        (json(200, "{}"), "a page without an address"),
        (
            json(200, r#"{"ipaddress":["198.51."#),
            "JSON that ends too early",
        ),
        (
            json(200, r#"{"ipaddress":["198.51.100.9"],"ID":"none"}"#),
            "no usable ID",
        ),
        (json(500, PAGE), "status 500"),
        (json(503, ""), "status 503"),
        (json(404, "not found"), "status 404"),
        (json(404, PAGE), "status 404"),
        (json(408, ""), "status 408"),
        (json(403, "<html>forbidden"), "status 403"),
        (raw("Content-Length: 900\r\n", PAGE), "broke off"),
        (
            raw(
                "Transfer-Encoding: chunked\r\n",
                &format!("28\r\n{PAGE}\r\n"),
            ),
            "broke off",
        ),
        (raw("", PAGE), "does not say where it ends"),
        (
            raw("Content-Length: 9999999999\r\n", PAGE),
            "larger than 1048576 bytes",
        ),
        (json(200, &huge), "larger than 1048576 bytes"),
        (
            Reply::Full(200, "Content-Encoding: gzip\r\n", PAGE.to_owned()),
            "is compressed",
        ),
        (
            Reply::Full(
                302,
                "Location: https://elsewhere.example/x?y=z\r\n",
                PAGE.to_owned(),
            ),
            "a redirect to elsewhere.example, which is not followed",
        ),
        (
            Reply::Full(307, "Location: /api/get\r\n", PAGE.to_owned()),
            "a redirect to localhost, which is not followed",
        ),
    ]
    .map(|(reply, says)| Failure { reply, says });

    let mut bench = Bench::new(300);
    let page = bench.page().await;
    for Failure { reply, .. } in &failures {
        bench.standin.next_list(reply.clone());
    }
    bench.applied(&page, 249).await;
    let cursor = page.cursor.id.as_str();
    for (place, Failure { reply, says }) in failures.iter().enumerate() {
        let now = bench.now();
        let state = bench
            .state(|state| state.waits_until.is_some_and(|until| until > now.wall))
            .await;
        assert_eq!(state.condition, Condition::Trouble);
        let why = state.why.unwrap();
        assert!(why.contains(says), "{why} instead of {says}");
        let wait = state.waits_until.unwrap().since(now.wall);
        let step = [5, 15, 60, 300].get(place).unwrap_or(&300);
        let step = Duration::from_secs(*step);
        assert!(
            wait >= step && wait <= step.mul_f64(1.11),
            "{reply:?} {wait:?}"
        );
        assert_eq!(state.held, 249);
        bench.advance_to(state.waits_until.unwrap());
    }
    let page = bench.page().await;
    assert_eq!(page.entries.len(), 50);
    bench.applied(&page, 299).await;
    let state = bench
        .state(|state| state.condition == Condition::Current)
        .await;
    assert_eq!((state.why, state.held), (None, 299));
    let arrivals = bench.standin.arrivals();
    assert_eq!(arrivals.len(), failures.len() + 3);
    let asked = arrivals.iter().skip(1).take(failures.len() + 1);
    assert!(asked.clone().all(|arrival| arrival.field("id") == cursor));
    bench.end().await;
}

#[tokio::test]
async fn a_slow_answer_is_given_up_in_total_time() {
    for (slow, ticks) in [(Reply::Silence, 0), (Reply::Drip, 19)] {
        let mut bench = Bench::new(3);
        let cursor = bench.page().await;
        bench.standin.next_list(slow.clone());
        bench.applied(&cursor, 3).await;
        bench.arrival().await; // the page
        bench.arrival().await; // the slow one
        // Bytes that drip do not make it last longer.
        for second in 0..=ticks {
            bench.told.send_replace(at(second));
            bench.standin.drip();
        }
        bench.told.send_replace(at(21));
        let state = bench
            .state(|state| state.condition == Condition::Trouble)
            .await;
        assert_eq!(state.why.as_deref(), Some("no answer within 20 s"));
        bench.standin.drip();
        bench.standin.drip(); // the first byte after the end may still be taken
        bench.client_left().await;
        bench.end().await;
    }
}

#[tokio::test]
async fn a_body_without_end_is_cut_off() {
    let mut bench = Bench::over(3, None, Memory::default(), |_| {});
    let page = bench.page().await;
    bench.standin.next_list(Reply::Flood);
    bench.applied(&page, 3).await;
    let state = bench
        .state(|state| state.condition == Condition::Trouble)
        .await;
    assert_eq!(
        state.why.as_deref(),
        Some("the answer is larger than 1048576 bytes")
    );
    // What the sockets buffered comes on top; it is not without end.
    let sent = bench.client_left().await;
    assert!(sent < 64 << 20, "{sent}");
    bench.end().await;
}

#[tokio::test]
async fn checks_are_answered() {
    let mut bench = Bench::new(3);
    bench.standin.service().listed.insert(attacker(4_000));
    let page = bench.page().await;
    // The list is slow meanwhile, and does not matter to the checks.
    bench.standin.next_list(Reply::Silence);
    bench.applied(&page, 3).await;
    for (ip, wanted) in [
        (attacker(4_000), Verdict::Listed),
        (attacker(4_001), Verdict::NotListed),
        ("2001:db8::7".parse().unwrap(), Verdict::NotListed),
    ] {
        bench.send(Told::Check(ip)).await;
        assert_eq!(bench.answer().await, (ip, wanted));
    }
    let checks = bench.standin.arrivals();
    let checks: Vec<_> = checks
        .iter()
        .filter(|arrival| arrival.endpoint == Endpoint::Check)
        .map(|arrival| arrival.body.to_string())
        .collect();
    assert_eq!(checks[0], r#"{"ipaddress":"198.51.115.160","set":"sip"}"#);
    assert_eq!(checks[2], r#"{"ipaddress":"2001:db8::7","set":"sip"}"#);

    // Never asked: protected ones, our own, the service's.
    for ip in [
        attacker(7),
        "127.0.0.1".parse().unwrap(),
        "::1".parse().unwrap(),
    ] {
        bench.send(Told::Check(ip)).await;
        assert_eq!(bench.answer().await, (ip, Verdict::NoAnswer));
    }
    // The same address is not asked about twice at once.
    bench.standin.next_check(json(200, "{}"));
    bench.send(Told::Check(attacker(5_000))).await;
    bench.send(Told::Check(attacker(5_000))).await;
    bench.send(Told::Check(attacker(7))).await;
    let mut answers = [bench.answer().await, bench.answer().await];
    answers.sort_by_key(|(ip, _)| *ip);
    assert_eq!(answers.map(|(ip, _)| ip), [attacker(7), attacker(5_000)]);
    let state = bench.state(|state| state.checks.no_answer == 1).await;
    assert_eq!((state.checks.asked, state.checks.not_asked), (4, 4));
    bench.end().await;
}

#[tokio::test]
async fn a_check_that_brings_nothing_is_no_answer() {
    const OTHER: &str = r#"{"ipaddress":["198.51.100.99"],"ID":"987654321"}"#;
    let mut bench = Bench::new(3);
    let page = bench.page().await;
    bench.applied(&page, 3).await;
    for reply in [
        json(200, ""),
        json(200, "<html>"),
        json(200, OTHER),
        json(502, ""),
        Reply::Full(
            302,
            "Location: https://elsewhere.example/\r\n",
            String::new(),
        ),
        Reply::Raw(Vec::new()),
    ] {
        bench.standin.next_check(reply.clone());
        bench.send(Told::Check(attacker(4_000))).await;
        let answer = bench.answer().await;
        assert_eq!(answer, (attacker(4_000), Verdict::NoAnswer), "{reply:?}");
        let later = bench.now().mono.as_secs() + 340;
        bench.told.send_replace(at(later));
    }
    bench.standin.next_check(Reply::Silence);
    bench.send(Told::Check(attacker(4_000))).await;
    loop {
        if bench.arrival().await.endpoint == Endpoint::Check
            && bench
                .standin
                .arrivals()
                .iter()
                .filter(|arrival| arrival.endpoint == Endpoint::Check)
                .count()
                == 7
        {
            break;
        }
    }
    let later = bench.now().mono.as_secs() + 6;
    bench.told.send_replace(at(later));
    assert_eq!(bench.answer().await.1, Verdict::NoAnswer);
    bench.end().await;
}

#[tokio::test]
async fn too_many_requests_end_in_the_pause_that_was_asked_for() {
    let mut bench = Bench::new(300);
    let page = bench.page().await;
    let body = r#"{"ipaddress":"rate limit exceeded","ID":"unauthorized"}"#;
    let reply = Reply::Full(429, "Retry-After: 500\r\n", body.to_owned());
    bench.standin.next_list(reply);
    bench.applied(&page, 249).await;
    let state = bench
        .state(|state| state.condition == Condition::RateLimited)
        .await;
    assert!(state.waits_until.unwrap() >= at(500).wall);
    assert_eq!(state.rate_limit, 5);
    bench.send(Told::Check(attacker(4_000))).await;
    assert_eq!(bench.answer().await.1, Verdict::NoAnswer);
    bench.advance_to(state.waits_until.unwrap());
    assert_eq!(bench.page().await.entries.len(), 50);
    assert_eq!(bench.standin.arrivals().len(), 3);
    assert_eq!(
        bench.log.text().matches("WARN").count(),
        2,
        "one for the budget, one for the protected address: {}",
        bench.log.text()
    );
    bench.end().await;
}

#[tokio::test]
async fn a_refused_key_waits_for_another() {
    let wrong = "s3cr3t-wr0ng-k3y";
    let mut bench = Bench::with(3, &["localhost"], |settings| {
        settings.key = Key::parse(wrong);
    });
    let state = bench
        .state(|state| state.condition == Condition::Refused)
        .await;
    assert!(state.waits_until.unwrap() >= at(900).wall);
    bench.send(Told::Check(attacker(1))).await;
    assert_eq!(bench.answer().await.1, Verdict::NoAnswer);
    // A reload that changes nothing does not help, one with the right key does.
    let mut settings = bench.settings.clone();
    bench.send(Told::Settings(Box::new(settings.clone()))).await;
    bench.send(Told::Check(attacker(1))).await;
    assert_eq!(bench.answer().await.1, Verdict::NoAnswer);
    assert_eq!(bench.standin.arrivals().len(), 1);
    settings.key = Key::parse(KEY);
    bench.send(Told::Settings(Box::new(settings))).await;
    assert_eq!(bench.page().await.entries.len(), 3);
    let refusals = bench.log.text().matches("ERROR").count();
    assert_eq!(refusals, 1, "{}", bench.log.text());
    assert!(!bench.log.text().contains(wrong));
    bench.end().await;
}

#[tokio::test]
async fn a_certificate_must_be_valid() {
    let other = Tls::new(&["localhost"], false);
    for (tls, trust, says) in [
        (
            Tls::new(&["localhost"], false),
            Some(other.authority),
            "certificate is not valid",
        ),
        (
            Tls::new(&["localhost"], false),
            None,
            "certificate is not valid",
        ),
        (
            Tls::new(&["elsewhere.example"], false),
            Some(String::new()),
            "certificate is not valid",
        ),
        (
            Tls::new(&["localhost"], true),
            Some(String::new()),
            "certificate is not valid",
        ),
    ] {
        let mut bench = Bench::over(3, Some(tls), Memory::default(), |settings| match trust {
            None => settings.ca_file = None,
            Some(authority) if authority.is_empty() => {}
            Some(authority) => {
                std::fs::write(settings.ca_file.as_ref().unwrap(), authority).unwrap();
            }
        });
        let state = bench
            .state(|state| state.condition == Condition::Trouble)
            .await;
        let why = state.why.unwrap();
        assert!(why.contains(says) && why.contains("ca_file"), "{why}");
        assert_eq!(bench.standin.arrivals().len(), 0, "no key for a stranger");
        bench.end().await;
    }
}

#[tokio::test]
async fn a_bad_ca_file_is_named_and_read_again() {
    let mut bench = Bench::with(3, &["localhost"], |settings| {
        settings.ca_file = Some(Path::new("/nonexistent/ca.pem").to_owned());
    });
    let state = bench
        .state(|state| state.condition == Condition::Trouble)
        .await;
    let why = state.why.unwrap();
    assert!(why.contains("/nonexistent/ca.pem"), "{why}");
    bench.end().await;

    let mut bench = Bench::new(3);
    let page = bench.page().await;
    bench.applied(&page, 3).await;
    let good = bench.settings.ca_file.clone().unwrap();
    let pem = std::fs::read(&good).unwrap();
    bench
        .state(|state| state.condition == Condition::Current)
        .await;
    std::fs::write(&good, "no certificate").unwrap();
    let settings = Box::new(bench.settings.clone());
    bench.send(Told::Settings(settings)).await;
    bench.state(|_| true).await;
    bench.told.send_replace(at(400));
    let state = bench
        .state(|state| state.condition == Condition::Trouble)
        .await;
    let why = state.why.unwrap();
    assert!(why.contains("no certificate in the PEM form"), "{why}");
    std::fs::write(&good, pem).unwrap();
    bench.advance_to(state.waits_until.unwrap());
    bench
        .state(|state| state.condition == Condition::Current)
        .await;
    bench.end().await;
}

#[tokio::test]
async fn nobody_there() {
    let unused = unused_address();
    nobody_at(&format!("https://{unused}/"), "cannot connect").await;
}

/// Run by the next test, where no name server can be reached.
#[tokio::test]
#[ignore = "asks a name server"]
async fn nobody_of_that_name() {
    nobody_at("https://apiban.invalid/", "the name does not resolve").await;
}

#[test]
fn nobody_of_that_name_in_a_network_of_its_own() {
    let mut unshare = Command::new("unshare");
    unshare.args(["-Urn", "sh", "-c", r#"ip link set lo up && exec "$0" "$@""#]);
    unshare.arg(std::env::current_exe().unwrap());
    passes(unshare.args(["--ignored", "--exact", "nobody_of_that_name"]));
}

async fn nobody_at(url: &str, says: &str) {
    let mut bench = Bench::with(3, &["localhost"], |settings| {
        settings.base_url = url.parse().unwrap();
    });
    let state = bench
        .state(|state| state.condition == Condition::Trouble)
        .await;
    let why = state.why.unwrap();
    assert!(why.contains(says), "{why}");
    bench.end().await;
}

/// Where nobody listens, since the listener is closed again.
fn unused_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

/// Runs one test of this program in a process of its own.
fn passes(process: &mut Command) {
    let outcome = process.output().unwrap();
    let said = String::from_utf8_lossy(&outcome.stdout);
    assert!(outcome.status.success(), "{said}");
    assert!(said.contains("1 passed"), "{said}");
}

#[tokio::test]
async fn a_restart_neither_asks_twice_nor_forgets_what_it_spent() {
    let mut bench = Bench::new(600);
    let first = bench.page().await;
    bench.applied(&first, 249).await;
    let second = bench.page().await; // never applied: we crash
    assert_eq!(second.cursor.id.as_str(), "1700000499");
    let memory = Memory {
        cursors: vec![Cursor::from_json(&first.cursor.to_json()).unwrap()],
        requests: std::iter::repeat_n(bench.requests[0], 9).collect(),
        last_sync: bench.state.as_ref().and_then(|state| state.last_sync),
        held: 249,
    };
    let url = bench.settings.base_url.clone();
    bench.end().await;

    // The stand-in's port is new; the cursor belongs to a base URL, so it keeps the old.
    let mut bench = Bench::over(
        600,
        Some(Tls::new(&["localhost"], false)),
        memory.clone(),
        |settings| {
            settings.base_url = url;
        },
    );
    let state = bench
        .state(|state| state.condition == Condition::Trouble)
        .await;
    assert_eq!((state.held, state.requests_in_window), (249, 10));
    bench.end().await;

    // On another port the cursor means nothing, the budget still does.
    let mut bench = Bench::over(600, Some(Tls::new(&["localhost"], false)), memory, |_| {});
    let page = bench.page().await;
    bench.applied(&page, 249).await;
    assert_eq!(bench.arrival().await.field("id"), "100");
    let state = bench.state(|state| state.pages == 1).await;
    assert_eq!(state.requests_in_window, 10);
    bench.told.send_replace(at(141));
    bench.page().await;
    bench.end().await;
}

#[tokio::test]
async fn a_cursor_of_the_last_run_is_where_it_goes_on() {
    let tls = Tls::new(&["localhost"], false);
    let mut cursor = None;
    let memory = Memory::default();
    let mut bench = Bench::over(600, Some(tls), memory, |settings| {
        cursor = Cursor::start(settings);
    });
    let page = bench.page().await;
    assert!(page.cursor.is_of_same_list(&cursor.unwrap()));
    // A resync forgets it; the answer to an earlier page counts no more.
    bench.send(Told::Resync).await;
    let again = bench.page().await;
    assert_eq!(again.cursor, page.cursor);
    bench.applied(&page, 249).await;
    bench.applied(&again, 249).await;
    let ids: Vec<_> = [
        bench.arrival().await,
        bench.arrival().await,
        bench.arrival().await,
    ]
    .iter()
    .map(|arrival| arrival.field("id").to_owned())
    .collect();
    assert_eq!(ids, ["100", "100", "1700000249"]);
    bench.end().await;
}

#[tokio::test]
async fn a_page_that_did_not_load_is_asked_for_again() {
    let mut bench = Bench::new(300);
    let page = bench.page().await;
    bench.send(Told::LoadFailed { page: page.seq }).await;
    let state = bench
        .state(|state| state.condition == Condition::Trouble)
        .await;
    assert_eq!(
        state.why.as_deref(),
        Some("the firewall did not take the page")
    );
    bench.advance_to(state.waits_until.unwrap());
    let again = bench.page().await;
    assert_eq!((again.cursor, again.seq), (page.cursor, 2));
    assert_eq!(bench.arrival().await.field("id"), "100");
    assert_eq!(bench.arrival().await.field("id"), "100");
    bench.end().await;
}

#[tokio::test]
async fn no_more_arrives_than_the_budget_allows() {
    let mut bench = Bench::over(10_000, None, Memory::default(), |_| {});
    for second in 0..600 {
        bench.told.send_replace(at(second));
        for number in 0..3 {
            let ip = attacker(20_000 + u32::try_from(second).unwrap() * 3 + number);
            bench.send(Told::Check(ip)).await;
        }
        bench.settle().await;
    }
    let arrivals = bench.standin.arrivals();
    let of = |wanted| {
        arrivals
            .iter()
            .filter(|found| found.endpoint == wanted)
            .count()
    };
    let (lists, checks) = (of(Endpoint::List), of(Endpoint::Check));
    assert_eq!(
        bench.standin.most_in_a_window(),
        10,
        "requests in 2 minutes"
    );
    assert_eq!(lists + checks, 50, "five full windows");
    assert!(lists.min(checks) >= 10, "{lists} pages, {checks} checks");
    bench.end().await;
}

#[tokio::test]
async fn without_a_key_nothing_is_asked() {
    for key in ["", "YOUR-KEY"] {
        let mut bench = Bench::with(3, &["localhost"], |settings| {
            settings.key = Key::parse(key);
        });
        let state = bench.state(|state| state.condition == Condition::Off).await;
        assert!(state.why.unwrap().contains("getkey.html"));
        bench.send(Told::Check(attacker(1))).await;
        assert_eq!(bench.answer().await.1, Verdict::NoAnswer);
        // A reload with a key starts it.
        let settings = Settings {
            key: Key::parse(KEY),
            ..bench.settings.clone()
        };
        bench.send(Told::Settings(Box::new(settings))).await;
        assert_eq!(bench.page().await.entries.len(), 3);
        assert_eq!(bench.standin.arrivals().len(), 1);
        bench.end().await;
    }
}

#[tokio::test]
async fn the_systems_clock_serves_too() {
    let bench = Bench::new(3);
    let (_commands, obeyed) = mpsc::unbounded_channel();
    let (tell, mut reports) = mpsc::unbounded_channel();
    let feed = tokio::spawn(run(
        bench.settings.clone(),
        Memory::default(),
        Clock::system(Time::now),
        Arc::new(|_| false),
        obeyed,
        move |report| tell.send(report).unwrap_or(()),
    ));
    let page = loop {
        if let Report::Page(page) = within(reports.recv()).await.unwrap() {
            break page;
        }
    };
    let week = Duration::from_secs(7 * 86_400);
    assert!(
        page.entries
            .iter()
            .all(|(_, expires)| *expires <= Time::now() + week)
    );
    feed.abort();
    bench.end().await;
}

#[tokio::test]
async fn list_only_mode_asks_about_nobody() {
    let mut bench = Bench::with(3, &["localhost"], |settings| settings.check = false);
    let page = bench.page().await;
    bench.standin.next_list(json(404, FINISHED));
    bench.applied(&page, 3).await;
    bench
        .state(|state| state.condition == Condition::Current)
        .await;
    bench.send(Told::Check(attacker(1))).await;
    assert_eq!(bench.answer().await, (attacker(1), Verdict::NoAnswer));
    assert_eq!(bench.standin.arrivals().len(), 2);
    bench.end().await;
}

/// The environment's proxies do not count. A process of its own tries it: this
/// test program again, with the test that loads a list.
#[test]
fn the_environments_proxies_do_not_count() {
    let unused = unused_address();
    let proxy = format!("http://{unused}");
    let mut again = Command::new(std::env::current_exe().unwrap());
    again.args(["--exact", "the_list_is_loaded_page_by_page"]);
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
        again.env(name, &proxy).env(name.to_lowercase(), &proxy);
    }
    passes(again.env_remove("NO_PROXY").env_remove("no_proxy"));
}
