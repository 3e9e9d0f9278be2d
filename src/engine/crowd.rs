//! Networks of many offenders (`aggregate`): whether one is banned as a whole.
//!
//! It goes through the one door as every ban does, and is not laid on where it would cut off
//! somebody who is not to be: a network of the operator's (a protected prefix that shares
//! something with it), anybody whom the jail ignores, the known-good, infrastructure.
//! Protected hosts inside are no reason: the kernel's allow set lets them through.

use super::Engine;
use super::event::Effect;
use crate::addr::Addr;
use crate::ticket::{Ban, Reason, Testimony};
use crate::time::Time;

impl Engine {
    /// Counts a ban that was laid on, and bans its network if that is too much.
    pub(super) fn crowd(&mut self, ban: &Ban, now: Time, effects: &mut Vec<Effect>) {
        if let Some((network, offenders)) = self.crowd_again(ban, now)
            && self.may_ban_network(ban, &network, now)
        {
            let ban = self.sentence(&ban.jail, network, ban.since, Reason::Crowd, offenders);
            // Refused if it is held for as long already.
            let _already = self.impose(ban, Testimony::default(), now, effects);
        }
    }

    /// Counts a ban, as after a start; gives its network and offenders if they are too many.
    pub(super) fn crowd_again(&mut self, ban: &Ban, now: Time) -> Option<(Addr, u32)> {
        // What one forged packet can cause does not count, nor what an operator does.
        let counts = matches!(ban.reason, Reason::MaxRetry | Reason::Listed);
        let jail = self.jails.get_mut(&ban.jail).filter(|_| counts)?;
        jail.crowd(ban, now)
    }

    fn may_ban_network(&self, ban: &Ban, network: &Addr, now: Time) -> bool {
        let jail = self.jails.get(&ban.jail);
        let is_ignored = jail.is_some_and(|jail| jail.rules.ignored.any_inside(network));
        !(is_ignored
            || self.protected.any_network_inside(network)
            || self.has_friends(network, now))
    }
}
