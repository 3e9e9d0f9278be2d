//! Host names, looked up away from the paths of lines and bans.
//!
//! A log line may call its offender by name (`usedns = yes`), and a jail may ignore a
//! host by name. Names in lines are the attacker's, and so may be the servers that
//! answer for them: lookups are few at a time, answers are cut and remembered, and when
//! too many lines wait, the next are dropped and counted rather than the log held up.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, ToSocketAddrs};
use std::num::NonZeroUsize;
use std::time::Duration;

use domain::resolv::StubResolver;
use lru::LruCache;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::{debug, warn};

use crate::filter::lines::Named;
use crate::ticket::{Failure, JailName};

/// Lines that may wait for a name; more than an attack writes while one is looked up.
pub const WAITING_MAX: usize = 1_024;

/// Lookups at a time. Each keeps a thread for as long as the system's resolver is patient.
pub const LOOKUPS_MAX: usize = 4;

/// Names of which the addresses are remembered, and how long: fail2ban's figures.
const REMEMBERED_MAX: NonZeroUsize = NonZeroUsize::new(1_000).unwrap();
const REMEMBERED_FOR: Duration = Duration::from_secs(300);

/// Names that are told by themselves when they are looked up, since the start: whoever can
/// write names into a log can write very many.
const WARNINGS_MAX: usize = 100;

/// How long an address's name is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// Addresses of one name that count. An attacker's name server may name the world.
const ADDRESSES_MAX: usize = 16;

/// The addresses of a name; `None` if there is no answer.
pub async fn addresses(name: String) -> Option<Vec<IpAddr>> {
    let lookup = move || (name.as_str(), 0).to_socket_addrs();
    let answer = tokio::task::spawn_blocking(lookup).await.ok()?.ok()?;
    let mut ips: Vec<IpAddr> = answer.map(|answer| answer.ip().to_canonical()).collect();
    ips.sort_unstable();
    ips.dedup();
    ips.truncate(ADDRESSES_MAX);
    Some(ips)
}

/// The addresses of all these names, a few looked up at a time; names without an answer,
/// or without one in time, are left out.
pub async fn all(names: Vec<String>, patience: Duration) -> HashMap<String, Vec<IpAddr>> {
    let end = Instant::now() + patience;
    let mut waiting = names.into_iter();
    let (mut lookups, mut found) = (JoinSet::new(), HashMap::new());
    loop {
        while lookups.len() < LOOKUPS_MAX
            && let Some(name) = waiting.next()
        {
            lookups.spawn(async move { (name.clone(), addresses(name).await) });
        }
        match tokio::time::timeout_at(end, lookups.join_next()).await {
            Ok(Some(Ok((name, Some(ips))))) => found.insert(name, ips),
            Ok(Some(_)) => None,
            Ok(None) | Err(_) => return found,
        };
    }
}

/// The name of an address, by its PTR record; `None` if there is no answer in time.
pub async fn name_of(ip: IpAddr) -> Option<String> {
    let resolver = StubResolver::new();
    let lookup = tokio::time::timeout(PATIENCE, resolver.lookup_addr(ip));
    let names = lookup.await.ok()?.ok()?;
    let name = names.iter().next()?.to_string();
    Some(name.trim_end_matches('.').to_owned())
}

/// Looks up the names of those who failed, and hands on a failure for each address. `warns`
/// says whether a jail wants that to be told (`usedns = warn`).
pub async fn serve(
    mut named: mpsc::Receiver<Named>,
    failures: mpsc::Sender<Failure>,
    warns: impl Fn(&JailName) -> bool,
) {
    let mut warnings = Warnings::default();
    let mut known: LruCache<Box<str>, (Instant, Vec<IpAddr>)> = LruCache::new(REMEMBERED_MAX);
    let mut waiting: HashMap<Box<str>, Vec<Named>> = HashMap::new();
    let mut lookups = JoinSet::new();
    loop {
        let there_is_room = lookups.len() < LOOKUPS_MAX
            && waiting.values().map(Vec::len).sum::<usize>() < WAITING_MAX;
        let (of, ips) = tokio::select! {
            Some(one) = named.recv(), if there_is_room => {
                if let Some((_, ips)) = known.get(&one.name).filter(|(since, _)| since.elapsed() < REMEMBERED_FOR) {
                    (vec![one], ips.clone())
                } else {
                    let same = waiting.entry(one.name.clone()).or_default();
                    if same.is_empty() {
                        let name = one.name.clone();
                        lookups.spawn(async move { (addresses(name.to_string()).await, name) });
                    }
                    same.push(one);
                    continue;
                }
            }
            Some(done) = lookups.join_next() => {
                let Ok((ips, name)) = done else { continue };
                let ips = ips.unwrap_or_default();
                debug!(%name, ?ips, "looked up");
                let of = waiting.remove(&name).unwrap_or_default();
                known.put(name, (Instant::now(), ips.clone()));
                (of, ips)
            }
            else => return,
        };
        if let Some(one) = of.iter().find(|one| warns(one.jail())) {
            warnings.tell(one, &ips);
        }
        for one in of {
            for ip in &ips {
                let _stopping = failures.send(one.at(*ip)).await.is_err();
            }
        }
    }
}

/// Warnings of names that were looked up: one for each name, and not for very many.
#[derive(Default)]
struct Warnings {
    told: HashSet<Box<str>>,
    untold: u64,
}

impl Warnings {
    fn tell(&mut self, named: &Named, ips: &[IpAddr]) {
        if self.told.contains(&named.name) {
            return;
        }
        if self.told.len() < WARNINGS_MAX {
            self.told.insert(named.name.clone());
            warn!(jail = %named.jail(), name = %named.name, ?ips, "looked up, since a line names its host so; whoever rules that name's zone chooses whom it blames (usedns = no ends that)");
            return;
        }
        self.untold += 1;
        if self.untold.is_power_of_two() {
            warn!(
                names = self.untold,
                "more names of hosts in lines were looked up (usedns = warn)"
            );
        }
    }
}
