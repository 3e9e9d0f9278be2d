//! Jails that watch fail2ban's own log, such as stock `recidive`: they are shown every ban
//! as the line that fail2ban would have written, without a file in between. So rotation
//! loses none, and none counts twice.

use std::collections::HashSet;

use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

use super::intake::asking;
use crate::config::{Config, JailConfig};
use crate::filter::lines::{Attached, Found, Lineup, Mode};
use crate::ticket::{Ban, Failure, JailName};
use crate::time::Time;

/// The jails that watch bans.
pub struct Recidive {
    lineup: Lineup,
    line: String,
    /// The jails that have an `ignorecommand`.
    asking: HashSet<JailName>,
}

impl Recidive {
    /// The jails that follow the log of bans; `None` if no jail does.
    pub fn new(config: &Config) -> Option<Recidive> {
        let log = config.ban_log.as_ref()?.to_str()?;
        let jails = config.jails.iter().filter(|jail| jail.follows(log));
        let attached: Vec<Attached> = jails.map(JailConfig::attached).collect();
        let lineup = |attached| Recidive {
            lineup: Lineup::new(attached, 0, TimeZone::system(), Time::now()),
            line: String::new(),
            asking: asking(&config.jails),
        };
        (!attached.is_empty()).then(|| lineup(attached))
    }

    /// Must this jail's failures be asked about first?
    pub fn asks(&self, jail: &JailName) -> bool {
        self.asking.contains(jail)
    }

    /// Whom these jails blame for a ban.
    pub fn see(&mut self, ban: &Ban, now: Time, each: &mut dyn FnMut(Failure)) {
        self.line = line(ban, now);
        self.lineup
            .block(self.line.as_bytes(), Mode::Live, now, |found| match found {
                Found::Failure(failure) => each(failure),
                Found::Sighting(_) => {}
                Found::Named(_) => {} // our own line holds addresses only
            });
    }
}

/// fail2ban's line for a ban. That of a prefix names its first address.
fn line(ban: &Ban, now: Time) -> String {
    let now = Timestamp::from_microsecond(now.as_micros()).unwrap_or_default();
    let now = Zoned::new(now, TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S,%3f");
    let (pid, jail, ip) = (std::process::id(), &ban.jail, ban.addr.ip());
    format!("{now} fail2ban.actions         [{pid}]: NOTICE  [{jail}] Ban {ip}\n")
}
