//! The addresses of the service itself, which no list may ban: else the feed
//! could cut itself off.
//!
//! Every name that is looked up for a request is noted here, so we protect
//! exactly what we connect to. A content network hands out other addresses each
//! time; they stay protected for two days after they were last seen.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

/// How long an address is protected after it was last seen.
const REMEMBERED_FOR: Duration = Duration::from_secs(2 * 86_400);
/// How many are remembered; a name with more is not a service's.
const SERVERS_MAX: usize = 64;

/// The service's addresses and when each was last seen.
#[derive(Debug, Default)]
pub struct Servers(HashMap<IpAddr, Duration>);

impl Servers {
    /// The name has these addresses now. All addresses, sorted, if that changed anything.
    pub fn seen(
        &mut self,
        ips: impl IntoIterator<Item = IpAddr>,
        now: Duration,
    ) -> Option<Vec<IpAddr>> {
        let before = self.0.len();
        self.0.retain(|_, seen| now < *seen + REMEMBERED_FOR);
        let mut changed = self.0.len() != before;
        for ip in ips.into_iter().take(SERVERS_MAX) {
            changed |= self.0.insert(ip.to_canonical(), now).is_none();
        }
        while self.0.len() > SERVERS_MAX {
            let oldest = self.0.iter().min_by_key(|(ip, seen)| (**seen, **ip));
            let Some(oldest) = oldest.map(|(ip, _)| *ip) else {
                break;
            };
            self.0.remove(&oldest);
        }
        let mut all: Vec<_> = self.0.keys().copied().collect();
        all.sort_unstable();
        changed.then_some(all)
    }

    /// Is it one of them?
    pub fn contains(&self, ip: IpAddr) -> bool {
        self.0.contains_key(&ip.to_canonical())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_stay_protected_for_two_days() {
        let ip = |last: u8| IpAddr::from([192, 0, 2, last]);
        let day = Duration::from_secs(86_400);
        let mut servers = Servers::default();
        assert_eq!(servers.seen([ip(2), ip(1)], day), Some(vec![ip(1), ip(2)]));
        assert_eq!(servers.seen([ip(1)], 2 * day), None);
        assert!(servers.contains("::ffff:192.0.2.2".parse().unwrap()));
        assert_eq!(servers.seen([ip(3)], 3 * day), Some(vec![ip(1), ip(3)]));
        for last in 0..=255 {
            servers.seen([ip(last)], 4 * day);
        }
        assert_eq!(servers.0.len(), SERVERS_MAX);
    }
}
