//! The pulse of a log: what its server writes into every line, and changes each second.
//!
//! FreeSWITCH's lines name no thread, but since 1.10.7 each names the share of idle processor
//! time, as `97.43%`. A sender who writes whole lines cannot see it. So in a doubted log a line
//! that stands right behind a call's, where a sender might have written it, is believed as a
//! hint if its pulse is that of a line which began a message a moment ago: a refused INVITE
//! is written so. A pulse can be guessed: whom wrong ones name is remembered (`claims`).

use std::time::Duration;

use crate::time::Time;

/// The group of `<F-PULSE>`.
pub(super) const GROUP: &str = "pulse";

/// How long a pulse is good for. The server looks at its processor once a second.
const KEPT: Duration = Duration::from_secs(1);

/// The pulse of a log.
#[derive(Clone, Debug, Default)]
pub(super) struct Pulse {
    /// What a line said that began a message, and when it was read.
    last: Option<(Box<str>, Time)>,
}

impl Pulse {
    /// A line that began a message said this.
    pub(super) fn learn(&mut self, pulse: &str, now: Time) {
        match &mut self.last {
            Some((last, at)) if **last == *pulse => *at = now,
            last => *last = Some((pulse.into(), now)),
        }
    }

    /// Is this the pulse? Nobody knows if no message began a moment ago.
    pub(super) fn is(&self, pulse: &str, now: Time) -> Option<bool> {
        let fresh = self.last.as_ref();
        let (last, _) = fresh.filter(|(_, at)| now.since(*at) <= KEPT)?;
        Some(**last == *pulse)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pulse_is_good_for_a_second() {
        let at = |millis| Time::from_secs(1_796_000_000) + Duration::from_millis(millis);
        let mut pulse = Pulse::default();
        assert_eq!(pulse.is("97.43", at(0)), None);
        pulse.learn("97.43", at(0));
        assert_eq!(pulse.is("97.43", at(1_000)), Some(true));
        assert_eq!(pulse.is("97.43", at(1_001)), None);
        pulse.learn("97.50", at(1_001));
        assert_eq!(pulse.is("97.50", at(1_500)), Some(true));
        assert_eq!(pulse.is("97.43", at(1_500)), Some(false));
        pulse.learn("97.50", at(1_900));
        assert_eq!(pulse.is("97.50", at(2_900)), Some(true));
    }
}
