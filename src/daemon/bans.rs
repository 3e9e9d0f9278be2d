//! The list of all bans, page by page: there may be a million, and while the judge looks
//! through them nobody is banned.
//!
//! Pages stand in a fixed order and each begins behind the last ban of the one before, so
//! a ban that stays is in exactly one of them, whatever comes and goes meanwhile.
//! Absent: APIBAN's list, which holds addresses off without a ban.

use super::bus::Judge;
use super::verbs::{BanShown, BansPage, Place};
use crate::addr::{Addr, AddrError};
use crate::engine::Refusal;
use crate::ticket::Ban;

/// Bans of one page: the judge copies them in a fraction of a millisecond, and as JSON they
/// are a fifth of a megabyte.
pub const PAGE_BANS: usize = 1_000;

/// The bans behind `after`, of one jail or of all.
pub fn page(judge: &Judge, jail: Option<String>, after: Option<Place>) -> Result<BansPage, String> {
    let place = after.as_ref().map(|place| {
        let addr: Result<Addr, AddrError> = place.addr.parse();
        addr.map(|addr| (place.jail.as_str(), addr))
    });
    let place = place.transpose().map_err(|error| error.to_string())?;
    let jail = jail.as_deref();
    let bans: Result<Vec<Ban>, Refusal> = judge.visit(|engine, _, _| {
        if let Some(jail) = jail {
            engine.jail(jail)?;
        }
        let bans = engine.ledger().behind(jail, place);
        Ok(bans.take(PAGE_BANS).collect())
    });
    let bans = bans.map_err(|refusal| refusal.to_string())?;
    let clock = judge.clock();
    let is_full = bans.len() == PAGE_BANS;
    let next = bans.last().filter(|_| is_full).map(|ban| Place {
        jail: ban.jail.to_string(),
        addr: ban.addr.to_string(),
    });
    let bans = bans.into_iter().map(|ban| clock.ban_outward(ban));
    Ok(BansPage {
        bans: bans.map(|ban| BanShown::from(&ban)).collect(),
        next,
    })
}
