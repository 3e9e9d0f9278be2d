//! The names of hosts that failed, for commands that want one (`<ip-host>`).
//!
//! Whoever rules the name server of an address says how long it is silent. So names are
//! looked up before a failure's turn at the command comes, many at a time and each address
//! once: nobody waits for an address that is not his own. Answers are remembered, also that
//! there was none. When too many wait the next are dropped and counted.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::time::Duration;

use lru::LruCache;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::warn;

use super::WAITING_MAX;
use crate::ticket::Failure;

/// Lookups at a time: each is a socket, and no thread.
const LOOKUPS_MAX: usize = 64;

/// Addresses of which the names are remembered, and how long: fail2ban's figures.
const REMEMBERED_MAX: NonZeroUsize = NonZeroUsize::new(1_000).unwrap();
const REMEMBERED_FOR: Duration = Duration::from_secs(300);

/// A failure, and its host's name, if that is wanted and there is one.
pub(super) type Hosted = (Failure, Option<String>);

/// Hands failures on, those of which `wants` is true with their host's name. Those of one
/// address keep their order.
pub(super) async fn serve<L>(
    mut failures: mpsc::Receiver<Failure>,
    hosted: mpsc::Sender<Hosted>,
    wants: impl Fn(&Failure) -> bool,
    look_up: impl Fn(IpAddr) -> L,
) where
    L: Future<Output = Option<String>> + Send + 'static,
{
    let mut known: LruCache<IpAddr, (Instant, Option<String>)> = LruCache::new(REMEMBERED_MAX);
    let mut waiting = Waiting::default();
    let mut lookups = JoinSet::new();
    loop {
        while lookups.len() < LOOKUPS_MAX
            && let Some(ip) = waiting.next.pop_front()
        {
            let name = look_up(ip);
            lookups.spawn(async move { (ip, name.await) });
        }
        let (all, name) = tokio::select! {
            Some(failure) = failures.recv() => {
                let name = known.get(&failure.addr.ip());
                let name = name.filter(|(since, _)| since.elapsed() < REMEMBERED_FOR);
                match name {
                    _ if !wants(&failure) => (vec![failure], None),
                    Some((_, name)) => (vec![failure], name.clone()),
                    None => {
                        waiting.add(failure);
                        continue;
                    }
                }
            }
            Some(Ok((ip, name))) = lookups.join_next() => {
                known.put(ip, (Instant::now(), name.clone()));
                (waiting.take(ip), name)
            }
            else => return,
        };
        for failure in all {
            let _stopping = hosted.send((failure, name.clone())).await.is_err();
        }
    }
}

/// Failures that wait for a name.
#[derive(Default)]
struct Waiting {
    failures: HashMap<IpAddr, Vec<Failure>>,
    count: usize,
    dropped: u64,
    /// Addresses that are not asked about yet, in their order.
    next: VecDeque<IpAddr>,
}

impl Waiting {
    fn add(&mut self, failure: Failure) {
        if self.count == WAITING_MAX {
            self.dropped += 1;
            if self.dropped.is_power_of_two() {
                let dropped = self.dropped;
                warn!(
                    dropped,
                    "failures are not judged, since too many wait for a host's name (<ip-host> in ignorecommand)"
                );
            }
            return;
        }
        self.count += 1;
        let ip = failure.addr.ip();
        let same = self.failures.entry(ip).or_default();
        if same.is_empty() {
            self.next.push_back(ip);
        }
        same.push(failure);
    }

    fn take(&mut self, ip: IpAddr) -> Vec<Failure> {
        let all = self.failures.remove(&ip).unwrap_or_default();
        self.count -= all.len();
        all
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::super::tests::failure;
    use super::*;

    /// Nobody answers for 192.0.2.0/24, and for 198.51.100.2 not before he is told to.
    #[tokio::test]
    async fn nobody_waits_for_the_name_of_another() {
        let (sender, failures) = mpsc::channel(1_000);
        let (hosted, mut named) = mpsc::channel::<Hosted>(1);
        let (answer, answered) = tokio::sync::watch::channel(false);
        let asked = Arc::new(AtomicUsize::new(0));
        let look_up = {
            let asked = asked.clone();
            move |ip: IpAddr| {
                asked.fetch_add(1, Ordering::Relaxed);
                let mut answered = answered.clone();
                async move {
                    match ip.to_string().as_str() {
                        "198.51.100.1" => Some("quick.example".to_owned()),
                        "198.51.100.2" => {
                            answered.wait_for(|is_so| *is_so).await.ok()?;
                            Some("slow.example".to_owned())
                        }
                        _ => std::future::pending().await,
                    }
                }
            }
        };
        let wants = |failure: &Failure| &*failure.jail == "sshd";
        let send = |jail: &str, ip: &str| {
            let failure = Failure {
                jail: jail.into(),
                ..failure(ip)
            };
            sender.try_send(failure).unwrap();
        };
        let test = async {
            let mut next = async || {
                let (failure, name) = named.recv().await.unwrap();
                format!("{} {} {name:?}", failure.jail, failure.addr)
            };
            send("sshd", "198.51.100.2");
            send("sshd", "192.0.2.1");
            send("sshd", "198.51.100.2");
            send("other", "198.51.100.2");
            send("sshd", "198.51.100.1");
            assert_eq!(next().await, "other 198.51.100.2 None");
            assert_eq!(next().await, "sshd 198.51.100.1 Some(\"quick.example\")");
            answer.send(true).unwrap();
            for _ in 0..2 {
                assert_eq!(next().await, "sshd 198.51.100.2 Some(\"slow.example\")");
            }
            send("sshd", "198.51.100.1");
            assert_eq!(next().await, "sshd 198.51.100.1 Some(\"quick.example\")");
            assert_eq!(asked.load(Ordering::Relaxed), 3, "each once");
            for host in 1..=LOOKUPS_MAX + 9 {
                send("sshd", &format!("192.0.2.{host}"));
            }
            send("other", "192.0.2.1");
            assert_eq!(next().await, "other 192.0.2.1 None");
            assert_eq!(asked.load(Ordering::Relaxed), 2 + LOOKUPS_MAX);
        };
        tokio::select! {
            () = serve(failures, hosted, wants, look_up) => panic!("it has ended"),
            () = test => {}
        }
    }

    #[test]
    fn so_many_wait_and_no_more() {
        let mut waiting = Waiting::default();
        for _ in 0..WAITING_MAX + 3 {
            waiting.add(failure("192.0.2.1"));
        }
        assert_eq!((waiting.dropped, waiting.next.len()), (3, 1));
        let ip = "192.0.2.1".parse().unwrap();
        assert_eq!(waiting.take(ip).len(), WAITING_MAX);
        waiting.add(failure("192.0.2.1"));
        assert_eq!((waiting.dropped, waiting.next.len()), (3, 2));
    }
}
