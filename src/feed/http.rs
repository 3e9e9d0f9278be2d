//! One request to the service and its whole answer.
//!
//! Each request is one connection and one attempt: nothing is tried again behind
//! the limiter's back, no idle connection is kept that might be gone, no redirect
//! is followed, no cookie kept, nothing decompressed. No proxy is used, whatever
//! the environment says: a daemon's environment is nobody's configuration.
//! Certificates are checked against the system's store and `ca_file`; there is no
//! way to skip that. Time limits are the caller's, who drops the future.

use std::error::Error;
use std::fs::File;
use std::io::Read;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{
    AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, LOCATION,
    RETRY_AFTER, TRANSFER_ENCODING,
};
use reqwest::{Certificate, Response, Url, redirect, retry};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::answer::Content;
use super::cursor::CursorId;
use super::settings::{BaseUrl, ListName, Settings};
use super::trouble::{Shown, Trouble};

/// How long connecting may take, TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The largest body. A page has 5 kB; the largest that is not refused, 250 kB.
pub const BODY_BYTES_MAX: usize = 1024 * 1024;
/// The largest `ca_file`: a whole system's store has 250 kB.
const CA_FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Asks the service.
#[derive(Debug)]
pub struct Client {
    http: reqwest::Client,
    base_url: BaseUrl,
    set: ListName,
    authorization: HeaderValue,
}

impl Client {
    /// A client for the service in the settings. Addresses that names resolve to
    /// are sent to `names`.
    pub fn new(settings: &Settings, names: mpsc::Sender<Vec<IpAddr>>) -> Result<Self, Trouble> {
        // For the whole process, and harmless if somebody did it before.
        let _installed = rustls::crypto::ring::default_provider().install_default();
        let key = settings.key.as_ref().map_err(|why| cannot(why))?;
        let mut authorization =
            HeaderValue::from_str(&key.bearer()).map_err(|error| cannot(&error))?;
        authorization.set_sensitive(true);
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("ringfence/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            .redirect(redirect::Policy::none())
            .retry(retry::never())
            .referer(false)
            .no_proxy()
            .pool_max_idle_per_host(0)
            .https_only(settings.base_url.is_https())
            .dns_resolver(Names(names));
        if let Some(path) = &settings.ca_file {
            builder = builder.tls_certs_merge(authorities(path)?);
        }
        let http = builder.build().map_err(|error| cannot(&error))?;
        Ok(Client {
            http,
            base_url: settings.base_url.clone(),
            set: settings.set,
            authorization,
        })
    }

    /// Asks for the page after `cursor`.
    pub async fn list(&self, cursor: &CursorId) -> Result<Content, Trouble> {
        let question = json!({ "set": self.set.to_string(), "id": cursor.as_str() });
        self.post("api/get", &question).await
    }

    /// Asks about `ip`.
    pub async fn check(&self, ip: IpAddr) -> Result<Content, Trouble> {
        let ip = ip.to_canonical().to_string();
        let question = json!({ "set": self.set.to_string(), "ipaddress": ip });
        self.post("api/check", &question).await
    }

    async fn post(&self, path: &str, question: &Value) -> Result<Content, Trouble> {
        let response = self
            .http
            .post(self.base_url.join(path))
            .header(AUTHORIZATION, self.authorization.clone())
            .header(CONTENT_TYPE, "application/json")
            .body(question.to_string())
            .send()
            .await
            .map_err(|error| unconnected(&error))?;
        read(response).await
    }
}

fn cannot(error: &(dyn Error + 'static)) -> Trouble {
    Trouble::Client(Shown::new(root_cause(error)))
}

/// Reads the whole answer, within bounds.
async fn read(mut response: Response) -> Result<Content, Trouble> {
    let status = response.status();
    let header = |name| response.headers().get(name);
    let text = |value: &HeaderValue| value.to_str().ok().map(str::to_owned);
    if status.is_redirection() {
        let target = header(LOCATION).and_then(text).unwrap_or_default();
        let target = response.url().join(&target).ok();
        let host = target.as_ref().and_then(Url::host_str);
        return Err(Trouble::Redirect(Shown::new(host.unwrap_or("nowhere"))));
    }
    if header(CONTENT_ENCODING).is_some_and(|value| value != "identity") {
        return Err(Trouble::Compressed);
    }
    let retry_after = header(RETRY_AFTER).and_then(text);
    // Without either of these the body ends wherever the connection does.
    let whole = header(CONTENT_LENGTH).is_some() || header(TRANSFER_ENCODING).is_some();
    if response
        .content_length()
        .is_some_and(|bytes| bytes > BODY_BYTES_MAX as u64)
    {
        return Err(Trouble::Huge(BODY_BYTES_MAX));
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|_| Trouble::Truncated)? {
        if body.len() + chunk.len() > BODY_BYTES_MAX {
            return Err(Trouble::Huge(BODY_BYTES_MAX)); // dropping the response ends the connection
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Content {
        status: status.as_u16(),
        retry_after,
        whole,
        body,
    })
}

/// Why there was no answer to read. The URL is left out.
fn unconnected(error: &reqwest::Error) -> Trouble {
    if let Some(rustls::Error::InvalidCertificate(fault)) = tls_error(error) {
        return Trouble::Certificate(Shown::new(fault));
    }
    let cause = Shown::new(root_cause(error));
    if error.is_dns() {
        Trouble::Name(cause)
    } else if error.is_connect() || error.is_timeout() {
        Trouble::Connect(cause)
    } else {
        Trouble::Truncated
    }
}

/// The TLS library's own error. It travels inside an `io::Error`, or in one inside
/// another, and those do not name what they hold as their source.
fn tls_error(error: &reqwest::Error) -> Option<&rustls::Error> {
    let mut next = error.source();
    while let Some(cause) = next {
        if let Some(tls) = cause.downcast_ref() {
            return Some(tls);
        }
        let held = cause
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::get_ref);
        next = match held {
            Some(held) => Some(held),
            None => cause.source(),
        };
    }
    None
}

/// The last error of the chain, which says what is really wrong, and no URL.
fn root_cause<'a>(error: &'a (dyn Error + 'static)) -> &'a dyn Error {
    let mut last = error;
    while let Some(cause) = last.source() {
        last = cause;
    }
    last
}

/// The certificates in a PEM file.
fn authorities(path: &Path) -> Result<Vec<Certificate>, Trouble> {
    let cannot = |what: &str| {
        let path = path.display();
        Trouble::Client(Shown::new(format_args!("ca_file {path}: {what}")))
    };
    let mut pem = Vec::new();
    File::open(path)
        .and_then(|file| file.take(CA_FILE_BYTES_MAX).read_to_end(&mut pem))
        .map_err(|error| cannot(&error.to_string()))?;
    let certificates = Certificate::from_pem_bundle(&pem)
        .map_err(|_| cannot("not certificates in the PEM form"))?;
    if certificates.is_empty() {
        return Err(cannot("holds no certificate in the PEM form"));
    }
    Ok(certificates)
}

/// Looks names up as the system does, and tells which addresses they have.
#[derive(Debug)]
struct Names(mpsc::Sender<Vec<IpAddr>>);

impl Resolve for Names {
    fn resolve(&self, name: Name) -> Resolving {
        let names = self.0.clone();
        Box::pin(async move {
            let found: Vec<SocketAddr> =
                tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let ips = found.iter().map(SocketAddr::ip).collect();
            names.send(ips).await.ok(); // nobody listens when the feed has ended
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}
