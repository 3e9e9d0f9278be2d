//! Alarms: what an operator must look at, since nobody is banned for it.
//!
//! The same alarm is raised once in [`AGAIN`], however long its cause lasts; the newest
//! are kept to be shown.

use std::collections::VecDeque;
use std::time::Duration;

use crate::ticket::{Alarm, AlarmKind};

/// How long the same alarm of the same address is not raised again.
pub const AGAIN: Duration = Duration::from_secs(3_600);

/// Alarms that are kept: some screens full.
const KEPT_MAX: usize = 64;

/// Accounts that one alarm gathers while it is not raised again.
const ACCOUNTS_MAX: usize = 16;

/// See the module's header.
#[derive(Debug, Default)]
pub struct Alarms {
    kept: VecDeque<Alarm>,
    /// Alarms raised since the start.
    pub total: u64,
}

impl Alarms {
    /// Raises an alarm, unless the same was raised lately: that one is brought up to date.
    /// Says whether it is a new one.
    pub fn raise(&mut self, alarm: &Alarm) -> bool {
        let is_same = |kept: &&mut Alarm| {
            (kept.kind, kept.addr) == (alarm.kind, alarm.addr) && kept.time + AGAIN > alarm.time
        };
        if let Some(same) = self.kept.iter_mut().find(is_same) {
            same.count = same.count.max(alarm.count);
            for account in &alarm.accounts {
                if same.accounts.len() < ACCOUNTS_MAX && !same.accounts.contains(account) {
                    same.accounts.push(account.clone());
                }
            }
            return false;
        }
        if self.kept.len() == KEPT_MAX {
            // A finding about the log's addresses is shown elsewhere, too.
            let minor = |kept: &Alarm| kept.kind == AlarmKind::WrongSource;
            let oldest = self.kept.iter().position(minor).unwrap_or(0);
            self.kept.remove(oldest);
        }
        self.kept.push_back(alarm.clone());
        self.total += 1;
        true
    }

    /// The newest alarms, the newest first.
    pub fn newest(&self) -> impl Iterator<Item = &Alarm> {
        self.kept.iter().rev()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::Addr;
    use crate::time::Time;

    #[test]
    fn the_same_is_raised_once_in_an_hour_and_memory_is_bounded() {
        let mut alarms = Alarms::default();
        let raise = |alarms: &mut Alarms, host: u8, secs: i64| {
            alarms.raise(&Alarm {
                kind: AlarmKind::Cracking,
                time: Time::from_secs(secs),
                addr: Some(Addr::host([192, 0, 2, host].into())),
                jail: "asterisk".into(),
                accounts: vec![secs.to_string().into()],
                count: 9,
            })
        };
        assert_eq!(
            [(1, 0), (2, 0), (1, 3_599), (1, 3_600)].map(|(host, secs)| raise(
                &mut alarms,
                host,
                secs
            )),
            [true, true, false, true]
        );
        let first = alarms.newest().last().unwrap();
        assert_eq!(first.accounts, ["0".into(), "3599".into()] as [Box<str>; 2]);
        for host in 0..200 {
            raise(&mut alarms, host, 9_999);
        }
        assert_eq!((alarms.kept.len(), alarms.total), (KEPT_MAX, 203));
        let cracking = |alarms: &Alarms| {
            let kept = alarms.newest();
            kept.filter(|kept| kept.kind == AlarmKind::Cracking).count()
        };
        for host in 0..200 {
            alarms.raise(&Alarm {
                kind: AlarmKind::WrongSource,
                time: Time::from_secs(20_000),
                addr: Some(Addr::host([192, 0, 2, host].into())),
                jail: "asterisk".into(),
                accounts: Vec::new(),
                count: 9,
            });
        }
        assert_eq!(
            (alarms.kept.len(), cracking(&alarms)),
            (KEPT_MAX, KEPT_MAX - 1)
        );
    }
}
