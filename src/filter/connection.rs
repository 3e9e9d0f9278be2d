//! Connections: failures that several lines report together.
//!
//! `<F-MLFID>` captures what the lines of one connection have in common (its process,
//! say). What they capture is merged, so that a line without an address blames the one
//! that another line named. A line may be no failure by itself (`<F-NOFAIL>`), end the
//! connection (`<F-MLFFORGET>`), or say that access was granted (`<F-MLFGAINED>`).
//!
//! A line that is no failure becomes one if an earlier failure of its connection waits
//! for an address, or if the connection has tried several users.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use super::groups::Groups;
use super::matched::Evidence;
use crate::time::Time;

/// Connections that are remembered at once; fail2ban's figure.
const CONNECTIONS_MAX: usize = 100;

/// How long one is remembered after its first line; fail2ban's figure.
const CONNECTION_AGE_MAX: Duration = Duration::from_secs(5 * 60);

/// Users that are told apart in one connection. Two are enough to judge it.
const USERS_MAX: usize = 100;

/// What is known of a connection.
#[derive(Clone, Debug, Default)]
pub(super) struct Connection {
    pub(super) groups: Groups,
    pub(super) users: BTreeSet<Box<str>>,
    /// Was the last line no failure?
    pub(super) nofail: bool,
    /// Does a failure wait for an address?
    pub(super) pending: bool,
    /// Lines that report failures.
    pub(super) failed: Evidence,
    /// Lines that were no failures, until one comes.
    quiet: Evidence,
}

/// The connections of one log.
#[derive(Clone, Debug, Default)]
pub(super) struct Connections {
    known: HashMap<Box<str>, Slot>,
    /// Their names in the order in which they came; some may be forgotten already.
    order: VecDeque<(u64, Box<str>)>,
    serial: u64,
}

#[derive(Clone, Debug)]
struct Slot {
    serial: u64,
    since: Time,
    connection: Connection,
}

impl Connections {
    /// Joins what a line says to what is known of its connection. `groups` are the
    /// line's own, `lines` what was matched. Gives the connection as it now is.
    pub(super) fn join(
        &mut self,
        id: &str,
        mut groups: Groups,
        lines: &Evidence,
        now: Time,
    ) -> Connection {
        let gained = groups.take_flag("mlfgained");
        let nofail = groups.take_flag("nofail") || gained;
        let forget = groups.take_flag("mlfforget");
        let known = self.known.remove(id);
        let known = known.filter(|slot| now.since(slot.since) < CONNECTION_AGE_MAX);
        let mut connection = match &known {
            Some(slot) => slot.connection.clone(),
            None => Connection::default(),
        };
        if known.is_some() {
            let was_quiet = std::mem::take(&mut connection.nofail);
            connection.pending &= !gained;
            if !was_quiet && !connection.pending {
                connection.failed = Evidence::default();
            }
        }
        if known.is_some() || !forget {
            connection.add_user(groups.full("user"));
        }
        connection.groups.overlay(groups);
        let counts = std::mem::take(&mut connection.pending) || connection.users.len() > 1;
        connection.nofail = nofail && !counts;
        if !connection.nofail {
            let mut failed = std::mem::take(&mut connection.quiet);
            failed.append(&connection.failed);
            failed.append(lines);
            connection.failed = failed;
        } else if !forget {
            connection.quiet.append(lines);
        }
        if !forget {
            let slot = known.unwrap_or_else(|| self.slot(id, now));
            let connection = connection.clone();
            self.known.insert(id.into(), Slot { connection, ..slot });
        }
        connection
    }

    /// Notes that a failure of this connection waits for an address.
    pub(super) fn wait(&mut self, id: &str) {
        if let Some(slot) = self.known.get_mut(id) {
            slot.connection.pending = true;
        }
    }

    /// Room for a new connection; the oldest make it.
    fn slot(&mut self, id: &str, since: Time) -> Slot {
        while self.known.len() >= CONNECTIONS_MAX
            && let Some((serial, oldest)) = self.order.pop_front()
        {
            if self
                .known
                .get(&oldest)
                .is_some_and(|slot| slot.serial == serial)
            {
                self.known.remove(&oldest);
            }
        }
        if self.order.len() >= 2 * CONNECTIONS_MAX {
            let known = &self.known;
            self.order
                .retain(|(serial, id)| known.get(id).is_some_and(|slot| slot.serial == *serial));
        }
        self.serial += 1;
        self.order.push_back((self.serial, id.into()));
        Slot {
            serial: self.serial,
            since,
            connection: Connection::default(),
        }
    }
}

impl Connection {
    fn add_user(&mut self, user: Option<&str>) {
        if let Some(user) = user
            && self.users.len() < USERS_MAX
        {
            self.users.insert(user.into());
        }
    }
}
