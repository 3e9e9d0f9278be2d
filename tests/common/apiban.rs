//! A stand-in for APIBAN: a small HTTP server on a real socket.
//!
//! Left alone it behaves as the service is documented to: pages of the list after
//! a cursor, single checks, a key. Told so, it answers the next requests badly, in
//! every way that a server or a network can. It counts what arrives.
//!
//! One thread for each connection, one request on each. Nothing here sleeps.

#![allow(unreachable_pub, dead_code)] // several test programs share it, and each uses a part

use std::collections::{HashSet, VecDeque};
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair,
    date_time_ymd,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

/// The span for which the service counts requests.
pub const WINDOW: Duration = Duration::from_secs(120);
/// The service's page.
pub const PAGE_ENTRIES: usize = 250;
/// The longest request that is read.
const REQUEST_BYTES_MAX: usize = 64 * 1024;

/// What is asked of the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// `POST /api/get`
    List,
    /// `POST /api/check`
    Check,
    /// Anything else.
    Other,
}

/// A request that arrived.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// When, by the stand-in's clock.
    pub at: Duration,
    /// What for.
    pub endpoint: Endpoint,
    /// The request line and the headers.
    pub head: String,
    /// The body; null if it is not JSON.
    pub body: Value,
}

impl Arrival {
    /// A field of the body, if it is text.
    pub fn field(&self, name: &str) -> &str {
        self.body.get(name).and_then(Value::as_str).unwrap_or("")
    }

    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines
            .filter(|(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
            .next()
    }
}

/// What a test can wait for.
#[derive(Clone, Debug)]
pub enum Event {
    /// A request arrived.
    Arrived(Arrival),
    /// The client went away before the answer was complete; so many bytes of it were sent.
    Left(usize),
}

/// An answer other than the proper one.
#[derive(Clone, Debug)]
pub enum Reply {
    /// A status, further header lines and a body, with its length.
    Full(u16, &'static str, String),
    /// These bytes, and the end of the connection.
    Raw(Vec<u8>),
    /// Nothing, until the client goes away.
    Silence,
    /// The head of a large answer, and then one byte for each [`Standin::drip`].
    Drip,
    /// A body without end.
    Flood,
}

/// What the service knows.
#[derive(Debug, Default)]
pub struct Service {
    /// The key that it accepts.
    pub key: String,
    /// The list, oldest first; an entry's cursor is `first_id` plus its place.
    pub list: Vec<IpAddr>,
    /// Addresses that are listed though no page has them yet.
    pub listed: HashSet<IpAddr>,
    /// The cursor of the first entry.
    pub first_id: u64,
}

/// How a stand-in is made.
pub struct Setup {
    /// Where to listen; port 0 is any.
    pub listen: SocketAddr,
    /// What it knows at first.
    pub service: Service,
    /// TLS, if it should speak that.
    pub tls: Option<Arc<ServerConfig>>,
    /// Stamps arrivals.
    pub clock: Box<dyn Fn() -> Duration + Send + Sync>,
    /// Runs before each proper answer, and may change what the service knows.
    pub refresh: Box<dyn Fn(&mut Service) + Send + Sync>,
    /// Hears of all that happens.
    pub told: Box<dyn Fn(Event) + Send + Sync>,
}

/// The server. It ends when this is dropped.
pub struct Standin {
    address: SocketAddr,
    shared: Arc<Shared>,
    drips: Sender<()>,
}

struct Shared {
    service: Mutex<Service>,
    lists: Mutex<VecDeque<Reply>>,
    checks: Mutex<VecDeque<Reply>>,
    arrivals: Mutex<Vec<Arrival>>,
    drips: Mutex<Receiver<()>>,
    ended: AtomicBool,
    tls: Option<Arc<ServerConfig>>,
    clock: Box<dyn Fn() -> Duration + Send + Sync>,
    refresh: Box<dyn Fn(&mut Service) + Send + Sync>,
    told: Box<dyn Fn(Event) + Send + Sync>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no thread of the stand-in panics")
}

impl Standin {
    /// Begins to listen.
    pub fn start(setup: Setup) -> io::Result<Self> {
        let listener = TcpListener::bind(setup.listen)?;
        let address = listener.local_addr()?;
        let (drips, dripping) = channel();
        let shared = Arc::new(Shared {
            service: Mutex::new(setup.service),
            lists: Mutex::default(),
            checks: Mutex::default(),
            arrivals: Mutex::default(),
            drips: Mutex::new(dripping),
            ended: AtomicBool::new(false),
            tls: setup.tls,
            clock: setup.clock,
            refresh: setup.refresh,
            told: setup.told,
        });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming() {
                if accepting.ended.load(Ordering::Relaxed) {
                    break;
                }
                let (Ok(stream), shared) = (stream, Arc::clone(&accepting)) else {
                    continue;
                };
                thread::spawn(move || shared.serve(stream));
            }
        });
        Ok(Standin {
            address,
            shared,
            drips,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The next request for a page is answered so.
    pub fn next_list(&self, reply: Reply) {
        lock(&self.shared.lists).push_back(reply);
    }

    /// The next check is answered so.
    pub fn next_check(&self, reply: Reply) {
        lock(&self.shared.checks).push_back(reply);
    }

    /// What the service knows, to be changed.
    pub fn service(&self) -> MutexGuard<'_, Service> {
        lock(&self.shared.service)
    }

    /// One more byte of a [`Reply::Drip`].
    pub fn drip(&self) {
        self.drips.send(()).expect("the stand-in runs");
    }

    /// All that arrived so far.
    pub fn arrivals(&self) -> Vec<Arrival> {
        lock(&self.shared.arrivals).clone()
    }

    /// The most requests that arrived in any [`WINDOW`].
    pub fn most_in_a_window(&self) -> usize {
        let mut times: Vec<_> = self.arrivals().iter().map(|arrival| arrival.at).collect();
        times.sort_unstable();
        let within = |first: usize| {
            let from = times.iter().skip(first);
            from.take_while(|at| **at < times[first] + WINDOW).count()
        };
        (0..times.len()).map(within).max().unwrap_or(0)
    }
}

impl Drop for Standin {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
        TcpStream::connect(self.address).ok(); // wakes the accepting thread
    }
}

impl Shared {
    fn serve(&self, stream: TcpStream) {
        stream.set_nodelay(true).ok();
        // A client that gives up, or does not trust us, is none of our errors.
        match &self.tls {
            None => self.converse(stream).ok(),
            Some(config) => ServerConnection::new(Arc::clone(config))
                .ok()
                .and_then(|connection| self.converse(StreamOwned::new(connection, stream)).ok()),
        };
    }

    fn converse(&self, mut stream: impl Read + Write) -> io::Result<()> {
        let (head, body) = read_request(&mut stream)?;
        let endpoint = match head.split(' ').nth(1) {
            Some("/api/get") => Endpoint::List,
            Some("/api/check") => Endpoint::Check,
            _ => Endpoint::Other,
        };
        let arrival = Arrival {
            at: (self.clock)(),
            endpoint,
            head,
            body: serde_json::from_slice(&body).unwrap_or(Value::Null),
        };
        lock(&self.arrivals).push(arrival.clone());
        let told = match endpoint {
            Endpoint::List => lock(&self.lists).pop_front(),
            Endpoint::Check => lock(&self.checks).pop_front(),
            Endpoint::Other => None,
        };
        let reply = told.unwrap_or_else(|| {
            let mut service = lock(&self.service);
            (self.refresh)(&mut service);
            let (status, body) = service.answer(&arrival);
            Reply::Full(status, "", body.to_string())
        });
        (self.told)(Event::Arrived(arrival));
        let mut sent = 0;
        let outcome = self.reply(&mut stream, reply, &mut sent);
        if outcome.is_err() {
            (self.told)(Event::Left(sent));
        }
        outcome
    }

    fn reply(
        &self,
        stream: &mut (impl Read + Write),
        reply: Reply,
        sent: &mut usize,
    ) -> io::Result<()> {
        let mut send = |stream: &mut dyn Write, bytes: &[u8]| {
            stream.write_all(bytes)?;
            stream.flush()?;
            *sent += bytes.len();
            io::Result::Ok(())
        };
        match reply {
            Reply::Full(status, headers, body) => {
                let length = body.len();
                let head = format!(
                    "HTTP/1.1 {status} Said\r\nContent-Length: {length}\r\nConnection: close\r\n{headers}\r\n"
                );
                send(stream, (head + &body).as_bytes())
            }
            Reply::Raw(bytes) => send(stream, &bytes),
            Reply::Silence => Err(match stream.read(&mut [0]) {
                Ok(_) => io::ErrorKind::UnexpectedEof.into(),
                Err(error) => error,
            }),
            Reply::Drip => {
                let head = "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n{";
                send(stream, head.as_bytes())?;
                loop {
                    let dripping = lock(&self.drips).recv();
                    dripping.map_err(|_| io::ErrorKind::BrokenPipe)?;
                    send(stream, b" ")?;
                }
            }
            Reply::Flood => {
                let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
                send(stream, head.as_bytes())?;
                let chunk = format!("1000\r\n{}\r\n", " ".repeat(0x1000));
                loop {
                    send(stream, chunk.as_bytes())?;
                }
            }
        }
    }
}

impl Service {
    /// What the service would say: a status and a body.
    fn answer(&self, arrival: &Arrival) -> (u16, Value) {
        let bearer = format!("Bearer {}", self.key);
        if arrival.header("authorization") != Some(bearer.as_str()) {
            return (403, json!({ "ipaddress": "none", "ID": "unauthorized" }));
        }
        match arrival.endpoint {
            Endpoint::List => self.page(arrival.field("id")),
            Endpoint::Check => self.check(arrival.field("ipaddress")),
            Endpoint::Other => (404, Value::Null),
        }
    }

    fn page(&self, id: &str) -> (u16, Value) {
        let after = match id.parse::<u64>() {
            Ok(cursor) if cursor >= self.first_id => (cursor - self.first_id) as usize + 1,
            _ => 0,
        };
        let page: Vec<_> = self.list.iter().skip(after).take(PAGE_ENTRIES).collect();
        if page.is_empty() {
            return (400, json!({ "ipaddress": ["no new bans"], "ID": "none" }));
        }
        let last = self.first_id + (after + page.len() - 1) as u64;
        (200, json!({ "ipaddress": page, "ID": last.to_string() }))
    }

    fn check(&self, ip: &str) -> (u16, Value) {
        match ip.parse::<IpAddr>() {
            Err(_) => (
                400,
                json!({ "ipaddress": ["invalid address"], "ID": "none" }),
            ),
            Ok(ip) if self.listed.contains(&ip) || self.list.contains(&ip) => {
                (200, json!({ "ipaddress": [ip], "ID": "987654321" }))
            }
            Ok(_) => (400, json!({ "ipaddress": ["not blocked"], "ID": "none" })),
        }
    }
}

/// The head of a request, and its body.
fn read_request(stream: &mut impl Read) -> io::Result<(String, Vec<u8>)> {
    let (mut bytes, mut chunk) = (Vec::new(), [0; 4096]);
    loop {
        let head = bytes.windows(4).position(|four| four == b"\r\n\r\n");
        if let Some(end) = head {
            let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
            let length = head
                .lines()
                .filter_map(|line| line.split_once(": "))
                .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
                .and_then(|(_, value)| value.parse().ok())
                .unwrap_or(0);
            if bytes.len() >= end + 4 + length {
                return Ok((head, bytes[end + 4..].to_vec()));
            }
        }
        let count = stream.read(&mut chunk)?;
        if count == 0 || bytes.len() > REQUEST_BYTES_MAX {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        bytes.extend_from_slice(&chunk[..count]);
    }
}

/// A throw-away authority and the certificate of a server.
pub struct Tls {
    /// The authority's certificate, in PEM: what `ca_file` needs.
    pub authority: String,
    /// For [`Standin::start`].
    pub config: Arc<ServerConfig>,
}

impl Tls {
    /// For a server with these names or addresses; `expired` long ago if so wanted.
    pub fn new(names: &[&str], expired: bool) -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut authority = CertificateParams::default();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.distinguished_name = named("authority of the stand-in");
        let certificate = authority.self_signed(&key).expect("a certificate");
        let issuer = Issuer::new(authority, key);

        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut server = CertificateParams::new(names).expect("names");
        server.distinguished_name = named("stand-in for APIBAN");
        if expired {
            server.not_after = date_time_ymd(2001, 1, 1);
        }
        let key = KeyPair::generate().expect("a key");
        let leaf = server.signed_by(&key, &issuer).expect("a certificate");

        rustls::crypto::ring::default_provider()
            .install_default()
            .ok();
        let chain = vec![CertificateDer::from(leaf.der().to_vec())];
        let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).expect("a key");
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .expect("a usable certificate");
        Tls {
            authority: certificate.pem(),
            config: Arc::new(config),
        }
    }
}

/// Issuer and subject need different names, or OpenSSL takes them for one.
fn named(name: &str) -> DistinguishedName {
    let mut full = DistinguishedName::new();
    full.push(DnType::CommonName, name);
    full
}
