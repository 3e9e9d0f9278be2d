//! The clock that the feed goes by: the system's, or one that a test tells.
//!
//! Waiting is on the monotonic clock, so that nobody who sets the date can make
//! the feed ask too often or never. The date is only for what others read: when
//! an entry expires, and when a request was made.

use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::time::Time;

/// The present, by both clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Time since the feed began; it never goes back.
    pub mono: Duration,
    /// The date.
    pub wall: Time,
}

impl Now {
    /// The date that the monotonic time `at` will have, if nobody sets the clock.
    pub(super) fn date_of(self, at: Duration) -> Time {
        match at.checked_sub(self.mono) {
            Some(ahead) => self.wall + ahead,
            None => self.wall - (self.mono - at),
        }
    }
}

/// Where the time comes from.
#[derive(Clone, Debug)]
pub enum Clock {
    /// The system's monotonic clock, and the date by the function given.
    System {
        /// When the feed began.
        began: Instant,
        /// Asks for the date.
        wall: fn() -> Time,
    },
    /// It is what somebody says it is; it stands still until they say more.
    Told(watch::Receiver<Now>),
}

impl Clock {
    /// The system's clock. `wall` is [`Time::now`], handed in by the shell.
    pub fn system(wall: fn() -> Time) -> Self {
        Clock::System {
            began: Instant::now(),
            wall,
        }
    }

    /// The present.
    pub(super) fn now(&self) -> Now {
        match self {
            Clock::System { began, wall } => Now {
                mono: began.elapsed(),
                wall: wall(),
            },
            Clock::Told(told) => *told.borrow(),
        }
    }

    /// Waits until `at`, for ever if there is no such time.
    pub(super) async fn wait_until(mut self, at: Option<Duration>) {
        let Some(at) = at else {
            return std::future::pending().await;
        };
        match &mut self {
            Clock::System { began, .. } => match began.checked_add(at) {
                Some(instant) => tokio::time::sleep_until(instant.into()).await,
                None => std::future::pending().await,
            },
            Clock::Told(told) => {
                if told.wait_for(|now| now.mono >= at).await.is_err() {
                    std::future::pending().await // nobody tells any more
                }
            }
        }
    }
}
