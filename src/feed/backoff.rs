//! How long to leave a service in peace that does not answer as it should.
//!
//! A [`Ladder`] is climbed by one step with each failure and left by a success.
//! Its waits are lower bounds: jitter only lengthens them, so that a thousand
//! machines do not come back in the same second, and none comes back too early.
//! Time is monotonic, told as the span since the feed began.

use std::time::Duration;

use fastrand::Rng;

/// No connection, no name, a time-out, an answer without sense, a 5xx: the waits in seconds.
pub const TROUBLE_SECS: &[u64] = &[5, 15, 60, 300];
/// Too many requests: the waits in seconds, unless the service asks for more.
pub const RATE_LIMITED_SECS: &[u64] = &[120, 240, 480, 900];
/// The key was refused: the waits in seconds.
pub const REFUSED_SECS: &[u64] = &[900, 3600, 21_600];

/// The tenth part by which waits vary.
const JITTER: f64 = 0.1;

/// Waits that grow with each failure in a row.
#[derive(Debug)]
pub struct Ladder {
    steps: &'static [u64],
    failures: u32,
    until: Duration,
}

impl Ladder {
    /// At its foot; `steps` are seconds, and the last one repeats.
    pub fn new(steps: &'static [u64]) -> Self {
        Ladder {
            steps,
            failures: 0,
            until: Duration::ZERO,
        }
    }

    /// One more failure: nothing until the time that is returned, and never before `at_least` has passed.
    pub fn failed(&mut self, now: Duration, at_least: Duration, jitter: &mut Jitter) -> Duration {
        let step = usize::try_from(self.failures).unwrap_or(usize::MAX);
        let secs = self.steps.get(step).or(self.steps.last()).copied();
        let wait = Duration::from_secs(secs.unwrap_or(0)).max(at_least);
        self.failures = self.failures.saturating_add(1);
        self.until = now + jitter.over(wait);
        self.until
    }

    /// It works again. True if it did not before.
    pub fn succeeded(&mut self) -> bool {
        let failing = self.failures > 0;
        self.failures = 0;
        self.until = Duration::ZERO;
        failing
    }

    /// The earliest time of the next try; in the past if there is nothing to wait for.
    pub fn until(&self) -> Duration {
        self.until
    }

    /// How many failures there were in a row.
    pub fn failures(&self) -> u32 {
        self.failures
    }
}

/// Small random numbers that need not be secret.
#[derive(Debug)]
pub struct Jitter(Option<Rng>);

impl Jitter {
    /// The same seed gives the same numbers.
    pub fn new(seed: u64) -> Self {
        Jitter(Some(Rng::with_seed(seed)))
    }

    /// No jitter at all: every span is exact. For tests that tell a story.
    #[cfg(test)]
    pub fn none() -> Self {
        Jitter(None)
    }

    /// `span`, up to a tenth longer.
    pub fn over(&mut self, span: Duration) -> Duration {
        let unit = self.unit().unwrap_or(0.0);
        span.mul_f64(1.0 + JITTER * unit)
    }

    /// `span`, up to a tenth shorter or longer.
    pub fn about(&mut self, span: Duration) -> Duration {
        let unit = self.unit().unwrap_or(0.5);
        span.mul_f64(1.0 - JITTER + 2.0 * JITTER * unit)
    }

    /// A number from 0 up to, but not including, 1.
    fn unit(&mut self) -> Option<f64> {
        self.0.as_mut().map(Rng::f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn climb(steps: &'static [u64], at_least: Duration, tries: usize) -> Vec<Duration> {
        let (mut ladder, mut jitter) = (Ladder::new(steps), Jitter::new(7));
        let now = Duration::from_secs(1_000);
        (0..tries)
            .map(|_| ladder.failed(now, at_least, &mut jitter) - now)
            .collect()
    }

    #[test]
    fn waits_grow_and_stay() {
        for (steps, wanted) in [
            (TROUBLE_SECS, &[5, 15, 60, 300, 300, 300][..]),
            (RATE_LIMITED_SECS, &[120, 240, 480, 900, 900]),
            (REFUSED_SECS, &[900, 3600, 21_600, 21_600]),
        ] {
            for (wait, wanted) in climb(steps, Duration::ZERO, wanted.len())
                .into_iter()
                .zip(wanted)
            {
                let wanted = Duration::from_secs(*wanted);
                assert!(
                    wait >= wanted && wait <= wanted.mul_f64(1.1),
                    "{wait:?} {wanted:?}"
                );
            }
        }
        let asked = climb(RATE_LIMITED_SECS, Duration::from_secs(600), 1);
        assert!(asked.iter().all(|wait| *wait >= Duration::from_secs(600)));
    }

    #[test]
    fn success_leads_back_to_the_foot() {
        let (mut ladder, mut jitter) = (Ladder::new(TROUBLE_SECS), Jitter::new(1));
        assert!(!ladder.succeeded());
        for _ in 0..9 {
            ladder.failed(Duration::ZERO, Duration::ZERO, &mut jitter);
        }
        assert!(ladder.succeeded());
        assert_eq!(ladder.until(), Duration::ZERO);
        let until = ladder.failed(Duration::ZERO, Duration::ZERO, &mut jitter);
        assert!(until < Duration::from_secs(6));
    }

    #[test]
    fn jitter_is_spread() {
        let mut jitter = Jitter::new(3);
        let poll = Duration::from_secs(300);
        let spans: Vec<_> = (0..1_000).map(|_| jitter.about(poll).as_secs()).collect();
        assert!(spans.iter().all(|secs| (270..=330).contains(secs)));
        assert!(spans.iter().any(|secs| *secs < 275) && spans.iter().any(|secs| *secs > 325));
        assert_eq!(Jitter::none().about(poll).as_secs(), 300);
    }
}
