//! The engine's clock, which never jumps, and the way between it and the clock on the wall.
//!
//! The wall's clock (`CLOCK_REALTIME`) is set by people and by NTP: an hour forward would end
//! bans that have just begun, an hour back would make them last, and would count old tries
//! again. What passes meanwhile another clock tells (`CLOCK_BOOTTIME`, which counts sleep
//! too). Where the two differ the wall's was set, and by how much. The engine's time is the
//! wall's at the start and then what has passed: it stays behind or ahead by the sum of all
//! steps. Times are translated where they go in and out, so nothing in the engine knows.
//!
//! What always holds: without a step both clocks are the same, and slow corrections (NTP's
//! slewing) are followed. Dates in logs, in the database and before people's eyes are the
//! wall's; after a step the bans in force and the tries are written down anew by it. Kernel
//! entries have their own time-outs, which no step touches.
//!
//! Time zones and summer time are no steps: `Time` is UTC, and a log's local dates are the
//! filter's business.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::ban::record::{Reading, Record};
use crate::engine::{About, Before, Effect, Event, Tell};
use crate::ticket::{Alarm, Ban, FormTries, KeptStanding};
use crate::time::Time;

/// From this difference on it is a step. NTP slews at most 0.5 ms a second, and the clocks
/// are looked at every [`LOOK_EVERY`]; nothing that is judged depends on less.
const STEP_MIN: Duration = Duration::from_secs(1);

/// How often the clocks are compared at least. After sleep what is due is late by no more.
pub const LOOK_EVERY: Duration = Duration::from_secs(2);

/// See the module's header.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    last: Look,
    /// How far, in microseconds, the engine's time is ahead of the wall's.
    ahead: i64,
}

/// Both clocks at one moment.
#[derive(Clone, Copy, Debug)]
struct Look {
    wall: Time,
    /// Microseconds since the boot.
    passed: i64,
}

impl Look {
    fn now() -> Look {
        // Somebody else may have had the processor in between: then the pair says nothing.
        loop {
            let before = passed();
            let wall = Time::now();
            let after = passed();
            if after - before < 1_000 {
                return Look {
                    wall,
                    passed: after,
                };
            }
        }
    }
}

fn passed() -> i64 {
    let time = clock_gettime(ClockId::Boottime);
    time.tv_sec * 1_000_000 + time.tv_nsec / 1_000
}

impl Clock {
    /// The wall's, from now on without its jumps.
    pub fn start() -> Clock {
        Clock {
            last: Look::now(),
            ahead: 0,
        }
    }

    /// Compares the clocks: by how many microseconds was the wall's set forward?
    pub fn look(&mut self) -> Option<i64> {
        self.take(Look::now())
    }

    fn take(&mut self, now: Look) -> Option<i64> {
        let by_wall = now.wall.as_micros() - self.last.wall.as_micros();
        let step = by_wall - (now.passed - self.last.passed);
        self.last = now;
        let is_step = step.unsigned_abs() >= STEP_MIN.as_micros() as u64;
        self.ahead -= if is_step { step } else { 0 };
        is_step.then_some(step)
    }

    /// The engine's time when the clocks were last compared.
    pub fn now(&self) -> Time {
        self.inward(self.last.wall)
    }

    /// A time of the wall's, on the engine's clock.
    pub fn inward(&self, wall: Time) -> Time {
        wall.moved(self.ahead)
    }

    /// A time of the engine's, on the wall's clock.
    pub fn outward(&self, time: Time) -> Time {
        time.moved(-self.ahead)
    }

    /// A ban with the wall's times.
    pub fn ban_outward(&self, ban: Ban) -> Ban {
        Ban {
            since: self.outward(ban.since),
            until: ban.until.map(|until| self.outward(until)),
            ..ban
        }
    }

    /// What the engine knows of an address, on the wall's clock.
    pub fn about_outward(&self, about: About) -> About {
        let outward = |time: Time| self.outward(time);
        About {
            bans: about
                .bans
                .into_iter()
                .map(|ban| self.ban_outward(ban))
                .collect(),
            listed_until: about.listed_until.map(outward),
            known_since: about.known_since.map(outward),
            alarms: about
                .alarms
                .into_iter()
                .map(|alarm| Alarm {
                    time: outward(alarm.time),
                    ..alarm
                })
                .collect(),
            ..about
        }
    }

    /// What comes from outside, on the engine's clock.
    pub fn event(&self, mut event: Event) -> Event {
        if self.ahead == 0 {
            return event;
        }
        match &mut event {
            Event::Failure(failure) => failure.time = self.inward(failure.time),
            Event::Sighting(sighting) => sighting.time = self.inward(sighting.time),
            Event::Registered(all) => {
                for one in all {
                    one.since = one.since.map(|since| self.inward(since));
                }
            }
            Event::Page(page) => {
                for (_, expires) in &mut page.entries {
                    *expires = self.inward(*expires);
                }
            }
            Event::Flow(..)
            | Event::Unanswered(_)
            | Event::Infrastructure(_)
            | Event::Read { .. }
            | Event::Answer(..)
            | Event::Loaded { .. }
            | Event::LoadFailed { .. }
            | Event::Refused { .. }
            | Event::Protect(_)
            | Event::Ignored(..)
            | Event::Fact(..)
            | Event::CaughtUp
            | Event::Tick => {}
        }
        event
    }

    /// What the database holds, on the engine's clock.
    pub fn before(&self, mut before: Before) -> Before {
        let bans = before.bans.iter_mut().map(|ban| &mut ban.since);
        let history = before.history.iter_mut().map(|past| &mut past.latest);
        let forms = before.tries.iter_mut().flat_map(|tries| &mut tries.forms);
        let forms = forms.flat_map(|form| [&mut form.first, &mut form.last]);
        let known = before.standings.iter_mut().flat_map(times_of);
        before.listed.move_ends(|end| self.inward(end));
        for time in bans.chain(history).chain(forms).chain(known) {
            *time = self.inward(*time);
        }
        before
    }

    /// What goes outside, on the wall's clock. Orders to the kernel have spans, not times.
    pub fn effect(&self, effect: Effect) -> Effect {
        if self.ahead == 0 {
            return effect;
        }
        match effect {
            Effect::Record(record) => Effect::Record(self.record(record)),
            Effect::Tell(tell) => Effect::Tell(self.tell(tell)),
            Effect::Order(_) | Effect::Feed(_) | Effect::AskFlow(_) => effect,
        }
    }

    fn record(&self, record: Record) -> Record {
        match record {
            Record::Ban {
                ban,
                testimony,
                count,
            } => Record::Ban {
                ban: self.ban_outward(ban),
                testimony,
                count,
            },
            Record::Standing(ban, count) => Record::Standing(self.ban_outward(ban), count),
            Record::Prolonged(ban) => Record::Prolonged(self.ban_outward(ban)),
            Record::Read(reading) => Record::Read(self.reading(reading)),
            Record::Known(mut known) => {
                for time in times_of(&mut known) {
                    *time = self.outward(*time);
                }
                Record::Known(known)
            }
            Record::Listed(mut entries) => {
                for (_, expires) in &mut entries {
                    *expires = self.outward(*expires);
                }
                Record::Listed(entries)
            }
            Record::Unban { .. } | Record::Forget(_) | Record::Jails(_) | Record::Fact(..) => {
                record
            }
        }
    }

    fn reading(&self, mut reading: Reading) -> Reading {
        let all = reading.tries.iter_mut();
        for FormTries { first, last, .. } in all.flat_map(|tries| &mut tries.forms) {
            *first = self.outward(*first);
            *last = self.outward(*last);
        }
        reading
    }

    fn tell(&self, tell: Tell) -> Tell {
        match tell {
            Tell::Banned(ban) => Tell::Banned(self.ban_outward(ban)),
            Tell::Unbanned(ban) => Tell::Unbanned(self.ban_outward(ban)),
            Tell::StillSeen(ban) => Tell::StillSeen(self.ban_outward(ban)),
            Tell::NotInForce(ban) => Tell::NotInForce(self.ban_outward(ban)),
            Tell::Alarm(mut alarm) => {
                alarm.time = self.outward(alarm.time);
                Tell::Alarm(alarm)
            }
            Tell::Found { .. }
            | Tell::Restored { .. }
            | Tell::Adopted { .. }
            | Tell::Protected { .. }
            | Tell::ListLoaded { .. }
            | Tell::OutageOver
            | Tell::OutageTooLong => tell,
        }
    }
}

fn times_of(known: &mut KeptStanding) -> impl Iterator<Item = &mut Time> {
    let times = [&mut known.merit, &mut known.known, &mut known.shared];
    let accounts = known.accounts.iter_mut().map(|(_, time)| time);
    let times = times.into_iter().flatten().chain(accounts);
    times.chain([&mut known.last])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_told_from_slewing_and_sleep() {
        let look = |wall: f64, passed: f64| Look {
            wall: Time::from_secs_f64(wall),
            passed: (passed * 1e6) as i64,
        };
        let mut clock = Clock {
            last: look(1000.0, 5.0),
            ahead: 0,
        };
        for (wall, passed, step, now) in [
            (1002.0, 7.0, None, 1002.0),
            (1004.001, 9.0, None, 1004.001),           // slewed
            (9004.001, 8009.0, None, 9004.001),        // slept
            (12606.001, 8011.0, Some(3600), 9006.001), // set forward
            (12608.001, 8013.0, None, 9008.001),
            (9010.001, 8015.0, Some(-3600), 9010.001), // and back
            (10.001, 8017.0, Some(-9002), 9012.001),
            (10.501, 8017.5, None, 9012.501),
        ] {
            let found = clock.take(look(wall, passed)).map(|step| step / 1_000_000);
            let time = clock.now().as_secs_f64();
            assert_eq!((found, time), (step, now), "{wall} {passed}");
        }
        let time = Time::from_secs(50);
        assert_eq!(clock.outward(clock.inward(time)), time);
    }
}
