//! The addresses that wait to be asked about.
//!
//! The newest goes first: it attacks now, while the oldest may have been banned
//! by local rules already. The queue is bounded, holds an address once, and
//! forgets what has waited too long; whatever it forgets it hands back, so that
//! every question has an answer.

use std::collections::{HashSet, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

/// How many may wait. The budget answers 10 in two minutes; more would only grow old.
pub const WAITING_MAX: usize = 1_000;
/// How long a question is worth an answer.
pub const WAITING_FOR: Duration = Duration::from_secs(60);

/// Questions in the order they came.
#[derive(Debug, Default)]
pub struct Queue {
    waiting: VecDeque<(IpAddr, Duration)>,
    known: HashSet<IpAddr>,
}

impl Queue {
    /// Adds a question unless it waits already. Returns the one that had to go for it.
    pub fn push(&mut self, ip: IpAddr, now: Duration) -> Option<IpAddr> {
        if !self.known.insert(ip) {
            return None;
        }
        self.waiting.push_back((ip, now));
        if self.waiting.len() <= WAITING_MAX {
            return None;
        }
        self.pop_oldest()
    }

    /// Takes the newest.
    pub fn pop(&mut self) -> Option<IpAddr> {
        let (ip, _) = self.waiting.pop_back()?;
        self.known.remove(&ip);
        Some(ip)
    }

    /// Takes one that is too old, if there is any.
    pub fn pop_expired(&mut self, now: Duration) -> Option<IpAddr> {
        if self.next_expiry()? > now {
            return None;
        }
        self.pop_oldest()
    }

    /// When the oldest will be too old.
    pub fn next_expiry(&self) -> Option<Duration> {
        self.waiting.front().map(|(_, since)| *since + WAITING_FOR)
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Does nobody wait?
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    fn pop_oldest(&mut self) -> Option<IpAddr> {
        let (ip, _) = self.waiting.pop_front()?;
        self.known.remove(&ip);
        Some(ip)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn ip(number: usize) -> IpAddr {
        let [.., a, b] = u32::try_from(number).unwrap().to_be_bytes();
        IpAddr::V4(Ipv4Addr::new(198, 51, a, b))
    }

    #[test]
    fn newest_first_each_once() {
        let mut queue = Queue::default();
        for number in [1, 2, 3, 2, 1] {
            assert_eq!(queue.push(ip(number), Duration::ZERO), None);
        }
        let taken: Vec<_> = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!(taken, [ip(3), ip(2), ip(1)]);
        assert_eq!(queue.push(ip(2), Duration::ZERO), None);
        assert_eq!(queue.len(), 1);
    }

    #[test]
    fn the_oldest_make_room() {
        let mut queue = Queue::default();
        for number in 0..WAITING_MAX {
            assert_eq!(queue.push(ip(number), Duration::ZERO), None);
        }
        assert_eq!(queue.push(ip(WAITING_MAX), Duration::ZERO), Some(ip(0)));
        assert_eq!(queue.push(ip(0), Duration::ZERO), Some(ip(1)));
        assert_eq!(queue.len(), WAITING_MAX);
    }

    #[test]
    fn what_waited_a_minute_is_handed_back() {
        let mut queue = Queue::default();
        queue.push(ip(1), Duration::from_secs(0));
        queue.push(ip(2), Duration::from_secs(30));
        assert_eq!(queue.next_expiry(), Some(WAITING_FOR));
        assert_eq!(queue.pop_expired(Duration::from_secs(59)), None);
        assert_eq!(queue.pop_expired(Duration::from_secs(60)), Some(ip(1)));
        assert_eq!(queue.pop_expired(Duration::from_secs(60)), None);
        assert_eq!(queue.len(), 1);
    }
}
