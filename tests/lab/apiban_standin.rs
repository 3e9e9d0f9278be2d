//! A stand-in for APIBAN, as a program for laboratories.
//!
//! It hands out the addresses of one file page by page, answers checks for those
//! of another too, and prints a line for each request. Both files may grow while
//! it runs: they are read again for each request, and what is added is new on the
//! list. One address a line; `#` begins a comment.
//!
//! With `--tls-dir DIR` it speaks TLS and writes `ca.pem` there, for `ca_file`.

#[path = "../common/apiban.rs"]
mod apiban;

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;
use std::time::Instant;

use anyhow::{Context, Result};
use clap::Parser;
use ringfence::time::Time;

use apiban::{Event, Service, Setup, Standin, Tls};

/// A stand-in for APIBAN.
#[derive(Parser)]
struct Options {
    /// Where to listen.
    #[arg(long, value_name = "ADDR:PORT")]
    listen: SocketAddr,
    /// The only key that is accepted.
    #[arg(long)]
    key: String,
    /// Addresses on the list, oldest first.
    #[arg(long, value_name = "FILE")]
    preload: Option<PathBuf>,
    /// Addresses that checks find listed, though no page has them.
    #[arg(long, value_name = "FILE")]
    listed: Option<PathBuf>,
    /// Speak TLS, and write the throw-away authority into this folder.
    #[arg(long, value_name = "DIR")]
    tls_dir: Option<PathBuf>,
    /// Names in the certificate besides the address.
    #[arg(long, value_name = "NAME", default_value = "localhost")]
    name: Vec<String>,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let tls = match &options.tls_dir {
        None => None,
        Some(folder) => {
            let ip = options.listen.ip().to_string();
            let names = options.name.iter().map(String::as_str);
            let names: Vec<_> = names.chain([ip.as_str()]).collect();
            let tls = Tls::new(&names, false);
            let path = folder.join("ca.pem");
            fs::write(&path, &tls.authority).with_context(|| path.display().to_string())?;
            Some(tls.config)
        }
    };
    let service = Service {
        key: options.key.clone(),
        list: addresses(options.preload.as_deref())?,
        listed: addresses(options.listed.as_deref())?.into_iter().collect(),
        first_id: Time::now().as_secs().unsigned_abs(),
    };
    let began = Instant::now();
    let (events, happened) = channel();
    let (preload, listed) = (options.preload, options.listed);
    let standin = Standin::start(Setup {
        listen: options.listen,
        service,
        tls,
        clock: Box::new(move || began.elapsed()),
        refresh: Box::new(move |service| {
            // A file that is being written is read the next time.
            if let Ok(list) = addresses(preload.as_deref()) {
                service.list = list;
            }
            if let Ok(listed) = addresses(listed.as_deref()) {
                service.listed = listed.into_iter().collect();
            }
        }),
        told: Box::new(move |event| events.send(event).unwrap_or(())),
    })
    .with_context(|| format!("cannot listen at {}", options.listen))?;
    println!("listening at {}", standin.address());
    for event in happened {
        match event {
            Event::Left(bytes) => println!("client left after {bytes} bytes"),
            Event::Arrived(arrival) => println!(
                "{:.3} {:?} id={} ipaddress={} busiest-2-minutes={}",
                arrival.at.as_secs_f64(),
                arrival.endpoint,
                arrival.field("id"),
                arrival.field("ipaddress"),
                standin.most_in_a_window()
            ),
        }
    }
    Ok(())
}

fn addresses(path: Option<&Path>) -> Result<Vec<IpAddr>> {
    let Some(path) = path else {
        return Ok(Vec::new());
    };
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    text.lines()
        .map(|line| line.split('#').next().unwrap_or("").trim())
        .filter(|line| !line.is_empty())
        .map(|line| {
            line.parse()
                .with_context(|| format!("{}: `{line}` is not an address", path.display()))
        })
        .collect()
}
