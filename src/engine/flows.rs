//! Bans that wait for conntrack: did we open a flow to this address?
//!
//! What rests on hints alone may be somebody else's work. An address to which this machine
//! opened a flow itself is a trunk, or a server that we use: then the hints are forged, or
//! its mistake, and nobody is banned. Waiting bans are few and short-lived.
//!
//! Whoever forges packets can fill connection tracking, and this queue. So a question that
//! nobody answers in time, or for which there is no room, bans nobody: the case is dropped,
//! and who goes on failing is asked about again. A network (/24, /48) holds a few places at
//! most, and gives one up for a network that holds fewer when the queue is full. Sources
//! forged from everywhere can still fill it, until the kernel has answered for all of them.
//!
//! Whoever was banned while no flow to him was open is found by what we send to him later:
//! our own drops eat the answers. Only what begins while he is cut off says that. What our
//! server still sends to a scanner at another port than his own (answers, and answers again)
//! began before, or goes on from then without a gap.

use std::collections::{HashMap, HashSet, VecDeque};
use std::num::NonZeroUsize;
use std::time::Duration;

use lru::LruCache;

use crate::addr::Addr;
use crate::ticket::{Ban, Testimony, Unanswered};
use crate::time::Time;

/// How long an answer is waited for; after that the case is dropped. It comes from the kernel
/// on the same machine, but under a flood each reading of its table is followed by a pause.
const PATIENCE: Duration = Duration::from_secs(10);

/// Bans that may wait at once; one more is dropped.
const WAITING_MAX: usize = 1_024;

/// How many of them may be of one network.
const NETWORK_MAX: usize = 32;

/// How long a yes is remembered: hints about the address are not counted so long. A flow is
/// forgotten by the kernel minutes after its last packet, while a trunk is registered at for
/// an hour and calls us meanwhile.
const REMEMBERED: Duration = Duration::from_secs(86_400);

/// So long our server may still begin to answer somebody who is cut off: what came before is
/// in its queue.
pub(super) const GRACE: Duration = Duration::from_secs(1);

/// After so long what it still sends to him is no answer.
pub(super) fn settled(sent: Unanswered) -> Duration {
    Duration::from_secs(match sent.tcp {
        // A connection is tried again for 127 s, and the kernel forgets it 120 s later.
        true => 250,
        // SIP is sent again for 32 s, and the kernel forgets that 30 s later.
        false => 65,
    })
}

/// Addresses for which that is remembered; one that is forgotten is asked about again.
const OURS_MAX: NonZeroUsize = NonZeroUsize::new(1_024).unwrap();

/// A ban, and what the log says for it.
#[derive(Debug)]
pub(super) struct Case {
    pub(super) ban: Ban,
    pub(super) testimony: Testimony,
}

/// See the module's header.
#[derive(Debug)]
pub(super) struct Flows {
    waiting: VecDeque<(Time, Case)>,
    ours: LruCache<Addr, Time>,
    /// To whom we sent in vain when this was last looked for, and when it had not begun yet.
    unanswered: HashMap<Unanswered, Option<Time>>,
    looked: Option<Time>,
    /// When the last ban ends that rests on hints.
    hinted_until: Option<Time>,
    /// Since when those are cut off who were banned last; a ban counts from its last try.
    cut_off: LruCache<Addr, Time>,
    /// Who is held back for hints, and until when.
    held_back: LruCache<Addr, Time>,
}

impl Default for Flows {
    fn default() -> Self {
        Flows {
            waiting: VecDeque::new(),
            ours: LruCache::new(OURS_MAX),
            unanswered: HashMap::new(),
            looked: None,
            hinted_until: None,
            cut_off: LruCache::new(OURS_MAX),
            held_back: LruCache::new(OURS_MAX),
        }
    }
}

impl Flows {
    /// Lets a ban wait for the answer; says whether there is room.
    pub(super) fn wait(&mut self, case: Case, now: Time) -> bool {
        let has_room = self.make_room(Addr::network(case.ban.addr.ip()));
        if has_room {
            self.waiting.push_back((now + PATIENCE, case));
        }
        has_room
    }

    /// Sees to it that one more of this network can wait, if it may.
    fn make_room(&mut self, network: Addr) -> bool {
        let networks = self.waiting.iter();
        let networks = networks.map(|(_, case)| Addr::network(case.ban.addr.ip()));
        if self.waiting.len() < WAITING_MAX {
            return networks.filter(|other| *other == network).count() < NETWORK_MAX;
        }
        let mut held: HashMap<Addr, (usize, usize)> = HashMap::new();
        for (place, other) in networks.enumerate() {
            let (count, last) = held.entry(other).or_default();
            (*count, *last) = (*count + 1, place);
        }
        let own = held.get(&network).map_or(0, |(count, _)| *count);
        let most = held.into_values().max().unwrap_or_default();
        let (count, last) = most;
        let is_fair = own + 1 < count;
        if is_fair {
            self.waiting.remove(last);
        }
        is_fair
    }

    /// The addresses that wait, each once.
    pub(super) fn waiting(&self) -> HashSet<Addr> {
        let addrs = self.waiting.iter().map(|(_, case)| case.ban.addr);
        addrs.collect()
    }

    /// Does a ban of this jail wait for an answer about this address?
    pub(super) fn is_waiting(&self, jail: &str, addr: &Addr) -> bool {
        let is_it = |(_, case): &(Time, Case)| *case.ban.jail == *jail && case.ban.addr == *addr;
        self.waiting.iter().any(is_it)
    }

    /// The answer about an address: gives the bans that waited for it.
    pub(super) fn answered(&mut self, addr: Addr, ours: bool, now: Time) -> Vec<Case> {
        if ours {
            self.remember(addr, now);
        }
        let (given, waiting) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition(|(_, case)| case.ban.addr == addr);
        self.waiting = waiting;
        let given: VecDeque<(Time, Case)> = given;
        given.into_iter().map(|(_, case)| case).collect()
    }

    /// Remembers a yes. A network holds a few places at most.
    fn remember(&mut self, addr: Addr, now: Time) {
        let network = Addr::network(addr.ip());
        let known = self.ours.iter().map(|(known, _)| *known);
        let of_network = known.filter(|known| Addr::network(known.ip()) == network);
        let of_network: Vec<Addr> = of_network.collect();
        if of_network.len() >= NETWORK_MAX
            && let Some(oldest) = of_network.last()
        {
            self.ours.pop(oldest);
        }
        self.ours.put(addr, now);
    }

    /// A ban was laid on that rests on hints.
    pub(super) fn hinted(&mut self, ban: &Ban, now: Time) {
        let until = ban.until.unwrap_or(Time::from_micros(i64::MAX));
        self.hinted_until = self.hinted_until.max(Some(until));
        self.cut_off.put(ban.addr, now);
    }

    /// Somebody to whom we opened a flow is held back for hints.
    pub(super) fn hold_back(&mut self, ban: &Ban) {
        let until = ban.until.unwrap_or(Time::from_micros(i64::MAX));
        self.held_back.put(ban.addr, until);
    }

    /// Is he held back for hints?
    pub(super) fn is_held_back(&self, addr: &Addr, now: Time) -> bool {
        self.held_back.peek(addr).is_some_and(|until| *until > now)
    }

    /// Since when an address is cut off that was banned for hints lately.
    pub(super) fn cut_off(&self, addr: &Addr) -> Option<Time> {
        self.cut_off.peek(addr).copied()
    }

    /// Is there one, perhaps?
    pub(super) fn are_hinted(&self, now: Time) -> bool {
        self.hinted_until.is_some_and(|until| until > now)
    }

    /// Takes over to whom we send in vain now; says of each when it had not begun yet, if that
    /// is known.
    pub(super) fn unanswered(
        &mut self,
        all: Vec<Unanswered>,
        now: Time,
    ) -> Vec<(Unanswered, Option<Time>)> {
        let before = std::mem::take(&mut self.unanswered);
        let not_before = |sent: &Unanswered| before.get(sent).copied().unwrap_or(self.looked);
        let all = all.into_iter().map(|sent| (sent, not_before(&sent)));
        self.unanswered = all.collect();
        self.looked = Some(now);
        let all = self.unanswered.iter();
        all.map(|(sent, not_before)| (*sent, *not_before)).collect()
    }

    /// Drops those that have waited for too long.
    pub(super) fn tick(&mut self, now: Time) {
        while self.waiting.front().is_some_and(|(until, _)| *until <= now) {
            self.waiting.pop_front();
        }
    }

    /// When the next has waited for too long.
    pub(super) fn next_deadline(&self) -> Option<Time> {
        self.waiting.front().map(|(until, _)| *until)
    }

    /// Is it known that we opened a flow to this address?
    pub(super) fn are_ours(&self, addr: &Addr, now: Time) -> bool {
        let answered = self.ours.peek(addr);
        answered.is_some_and(|answered| *answered + REMEMBERED > now)
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;
    use crate::ticket::Reason;

    fn case(ip: [u8; 4]) -> Case {
        Case {
            ban: Ban {
                jail: "jail".into(),
                addr: Addr::host(IpAddr::V4(Ipv4Addr::from(ip))),
                since: Time::default(),
                until: None,
                reason: Reason::Hints,
                tries: 5,
            },
            testimony: Testimony::default(),
        }
    }

    #[test]
    fn forged_sources_of_a_few_networks_leave_room_for_others() {
        let mut flows = Flows::default();
        let now = Time::default();
        let flood = |flows: &mut Flows, nets: u8, hosts: u8| {
            let hosts = (0..hosts).flat_map(|host| (0..nets).map(move |net| [10, 0, net, host]));
            let asked = hosts.filter(|ip| flows.wait(case(*ip), now));
            asked.count()
        };
        let hosts = 40; // more than a network may hold
        assert_eq!(flood(&mut flows, 1, hosts), NETWORK_MAX);
        assert!(flood(&mut flows, 100, hosts) >= WAITING_MAX - NETWORK_MAX);
        assert_eq!(flows.waiting().len(), WAITING_MAX);
        // The queue is full, and whoever comes from elsewhere is asked about all the same.
        for host in 1..=9 {
            assert!(flows.wait(case([192, 0, 2, host]), now), "{host}");
            assert!(flows.waiting().contains(&case([192, 0, 2, host]).ban.addr));
        }
        assert_eq!(flows.waiting().len(), WAITING_MAX);
    }

    #[test]
    fn scanners_of_one_network_do_not_push_a_trunk_out() {
        let (mut flows, now) = (Flows::default(), Time::default());
        let trunk = case([192, 0, 2, 7]).ban.addr;
        flows.answered(trunk, true, now);
        for host in 0..2_000u16 {
            let [high, low] = host.to_be_bytes();
            let scanner: IpAddr = [0x2001, 0xdb8, 1, host, 0, 0, 0, 1].into();
            flows.answered(Addr::offender(scanner), true, now);
            flows.answered(case([10, 0, high & 1, low]).ban.addr, true, now);
        }
        assert!(flows.are_ours(&trunk, now));
        assert_eq!(flows.ours.len(), 1 + 3 * NETWORK_MAX);
        let last = case([10, 0, 1, 0xcf]).ban.addr;
        assert!(flows.are_ours(&last, now + Duration::from_secs(86_399)));
        assert!(!flows.are_ours(&last, now + Duration::from_secs(86_400)));
    }

    #[test]
    fn sources_from_everywhere_wait_until_the_kernel_has_answered() {
        let mut flows = Flows::default();
        let now = Time::default();
        let everywhere = (0..2_000u16).map(|n| n.to_be_bytes());
        let asked = everywhere.filter(|[high, low]| flows.wait(case([10, *high, *low, 1]), now));
        assert_eq!(asked.count(), WAITING_MAX);
        let real = case([192, 0, 2, 7]);
        assert!(!flows.wait(case([192, 0, 2, 7]), now));
        for addr in flows.waiting() {
            flows.answered(addr, false, now);
        }
        assert!(flows.wait(real, now));
    }
}
