//! The kernel as the daemon sees it: the firewall, or nothing in a dry run.

use std::time::Duration;

use super::{bus, stock};
use crate::action::stock::Stock;
use crate::action::{self, Action, DryRun, Firewall, Note, Outcome, Sizes};
use crate::addr::Addr;
use crate::ban::listed::Listed;
use crate::config::native::Settings;
use crate::config::{self, Config};
use crate::engine::{Effect, Engine, Held};
use crate::ticket::{Order, Set};
use crate::time::Time;
use tracing::{debug, error, info, warn};

/// Addresses that the allow set holds at most; people write them by hand.
const ALLOWED_MAX: u32 = 4_096;

/// Where bans go.
pub enum Kernel {
    /// Into the kernel's sets.
    Firewall {
        /// The open firewall.
        firewall: Box<Firewall>,
        /// The sets in use.
        sets: Vec<Set>,
        /// What jails with stock actions of fail2ban's keep in the kernel.
        stock: Box<Stock>,
        /// Were all sets there, and all of them ours?
        whole: bool,
    },
    /// Into the log only.
    DryRun,
}

impl Kernel {
    /// Puts the sets and rules in place; entries that are there stay. In a pause the drops
    /// are lifted.
    pub fn open(
        dry_run: bool,
        config: &Config,
        sets: &[Set],
        stock: Stock,
        paused: bool,
    ) -> anyhow::Result<Kernel> {
        if dry_run {
            return Ok(Kernel::DryRun);
        }
        let sizes = sizes(&config.settings);
        let backend = config.settings.firewall.backend;
        let reaches = config::reaches(&config.jails);
        let (mut firewall, notes) = Firewall::establish(backend, sizes, sets, &reaches)?;
        let whole = !notes
            .iter()
            .any(|note| matches!(note, Note::Made { .. } | Note::Foreign { .. }));
        for note in notes {
            match note {
                Note::Made { .. } | Note::Ruled { .. } => debug!("{note}"),
                Note::Enlarged { .. } | Note::TookOver { .. } => info!("{note}"),
                Note::Lifted => debug!("{note}"),
                Note::Foreign { .. } => error!("{note}"),
                Note::NoIpv6 { .. }
                | Note::NoThrottle { .. }
                | Note::OtherStays { .. }
                | Note::Stray { .. } => {
                    warn!("{note}");
                }
            }
        }
        match paused {
            true => firewall.lift()?,
            false => firewall.lay()?, // a run that ended while they were lifted leaves no hole
        }
        remove_strays(&mut firewall, &config.broken);
        Ok(Kernel::Firewall {
            firewall: Box::new(firewall),
            sets: sets.to_vec(),
            stock: Box::new(stock),
            whole,
        })
    }

    /// Who is on the list in the kernel. Where that would take long nobody is: to load
    /// the database's list once more is faster. `now` is when its time-outs began to be read.
    pub fn listed(&mut self, now: Time) -> anyhow::Result<Listed> {
        let mut listed = Listed::default();
        if let Kernel::Firewall { firewall, sets, .. } = self
            && sets.contains(&Set::List)
            && firewall.lists_fast()
        {
            let count = firewall.count(&Set::List)?;
            listed = Listed::with_room_for(count.unwrap_or_default());
            firewall.list(&Set::List, &mut |kept| {
                if kept.addr.is_host() {
                    let left = Duration::from_secs(u64::from(kept.timeout_secs));
                    listed.insert(kept.addr.ip(), now + left);
                }
            })?;
        }
        Ok(listed)
    }

    /// Must the sets of jails be read, even if nobody has changed anything since the last run?
    pub fn must_be_read(&self) -> bool {
        match self {
            Kernel::Firewall {
                firewall, whole, ..
            } => firewall.lists_fast() || !whole,
            Kernel::DryRun => false,
        }
    }

    /// What the kernel holds, but for the list; the sets of jails are left out if nobody
    /// wants them.
    pub fn entries(&mut self, with_jails: bool) -> anyhow::Result<Held> {
        let Kernel::Firewall { firewall, sets, .. } = self else {
            return Ok(Held::new());
        };
        let is_wanted = |set: &&Set| match set {
            Set::List => false,
            Set::Jail(_) => with_jails,
            _ => true,
        };
        let sets = sets.iter().filter(is_wanted);
        entries(firewall, sets.chain([&Set::Allow]))
    }

    /// Gives sets their size that have less, now that the engine knows who is in them.
    pub fn enlarge(&mut self, engine: &Engine, now: Time) -> anyhow::Result<()> {
        if let Kernel::Firewall { firewall, .. } = self {
            let notes = firewall.enlarge(&|set, each| engine.entries(set, now).for_each(each))?;
            notes.iter().for_each(|note| info!("{note}"));
        }
        Ok(())
    }

    /// Carries out the orders among `effects` now, and takes them out; says which bans the
    /// kernel refused for good.
    pub fn apply(&mut self, effects: &mut Vec<Effect>) -> Vec<(Set, Addr)> {
        let mut refused = Vec::new();
        let is_order = |effect: &mut Effect| matches!(effect, Effect::Order(_));
        let orders = effects.extract_if(.., is_order);
        let orders: Vec<_> = orders
            .filter_map(|effect| match effect {
                Effect::Order(order) => Some(order),
                _ => None,
            })
            .collect();
        if let Kernel::Firewall {
            firewall, stock, ..
        } = self
        {
            let is_stock =
                |order: &Order| matches!(bus::set_of(order), Set::Jail(jail) if stock.has(jail));
            let (theirs, ours): (Vec<Order>, Vec<Order>) = orders.into_iter().partition(is_stock);
            let mut outcome = |outcome| match outcome {
                Outcome::Loaded { refused: 0, .. } => {}
                // Said once already; it counts again when what is foreign is gone.
                Outcome::Refused { error, .. } if error.is_foreign() => {}
                // Not this address's fault (a lock, a program, a set): the ban stays.
                Outcome::Refused { set, addr, error } if error.is_lasting() => {
                    error!(%set, %addr, %error, "could not be restored yet");
                }
                Outcome::Refused { set, addr, error } => {
                    error!(%set, %addr, %error, "could not be restored");
                    refused.push((set, addr));
                }
                Outcome::Full { set, error } => error!(%set, %error, "could not be restored"),
                Outcome::LoadFailed { error, .. } => error!(%error, "could not be restored"),
                Outcome::Loaded { refused, .. } => error!(refused, "could not be restored"),
            };
            firewall.apply(&ours, &mut outcome);
            stock.apply(&theirs, &mut outcome);
        }
        refused
    }

    /// Settles what becomes of those whom stock actions hold and no jail does: see
    /// [`stock::settle`].
    pub fn settle(
        &mut self,
        whole: bool,
        engine: &mut Engine,
        now: Time,
        effects: &mut Vec<Effect>,
    ) {
        if let Kernel::Firewall { stock, .. } = self {
            let wanted = stock::settle(stock, whole, engine, now, effects);
            stock::keep_only(stock, &wanted);
        }
    }

    /// Where bans go, in words.
    pub fn describe(&self) -> String {
        match self {
            Kernel::Firewall { firewall, .. } => firewall.describe(),
            Kernel::DryRun => "nowhere (dry run): nothing is done in the kernel".to_owned(),
        }
    }

    /// Three that carry orders out at the same time: for bans, for lists, and for jails
    /// with stock actions.
    pub fn actions(self) -> anyhow::Result<Actions> {
        Ok(match self {
            Kernel::Firewall {
                firewall, stock, ..
            } => Actions {
                lists: Box::new(firewall.handle()?),
                bans: firewall,
                stock: *stock,
            },
            Kernel::DryRun => Actions {
                bans: Box::new(DryRun::logging()),
                lists: Box::new(DryRun::logging()),
                stock: Stock::default(),
            },
        })
    }

    /// A further handle on the firewall, for looking at it and for new sets.
    pub fn another(&self) -> anyhow::Result<Option<Firewall>> {
        Ok(match self {
            Kernel::Firewall { firewall, .. } => Some(firewall.handle()?),
            Kernel::DryRun => None,
        })
    }

    /// Takes the rules away, whether or not a daemon made them in this run.
    pub fn remove_rules() -> anyhow::Result<()> {
        for mut firewall in all_kinds()? {
            firewall.remove_rules()?;
        }
        Ok(())
    }

    /// Takes away rules and sets, whether or not a daemon made them in this run.
    pub fn purge() -> anyhow::Result<()> {
        for mut firewall in all_kinds()? {
            firewall.purge()?;
        }
        Ok(())
    }
}

/// How many entries sets can hold by these settings.
fn sizes(settings: &Settings) -> Sizes {
    Sizes {
        jail: settings.firewall.max_bans,
        list: settings.apiban.max_entries,
        allow: ALLOWED_MAX,
    }
}

/// Whatever there is of ours, to be taken away. What sets could hold does not matter then.
fn all_kinds() -> Result<Vec<Firewall>, action::Error> {
    Firewall::of_all_kinds(sizes(&Settings::default()))
}

/// Who carries orders out.
pub struct Actions {
    /// Those of bans in sets of ours.
    pub bans: Box<dyn Action + Send>,
    /// Those of lists.
    pub lists: Box<dyn Action + Send>,
    /// Those of jails with stock actions.
    pub stock: Stock,
}

/// What these sets hold.
pub fn entries<'a>(
    firewall: &mut Firewall,
    sets: impl Iterator<Item = &'a Set>,
) -> anyhow::Result<Held> {
    let mut held = Held::new();
    for set in sets {
        let entries = held.entry(set.clone()).or_default();
        firewall.list(set, &mut |kept| {
            entries.insert(kept.addr, kept.timeout_secs);
        })?;
    }
    Ok(held)
}

/// Takes away the sets of jails that are gone, so that nobody stays banned whom no jail
/// holds. As long as `broken` jails cannot run for a mistake, their sets may be among them: all stay.
pub fn remove_strays(firewall: &mut Firewall, broken: &[String]) {
    if broken.is_empty() {
        match firewall.remove_strays() {
            Ok(names) if names.is_empty() => {}
            Ok(names) => info!(
                sets = names.join(" "),
                "sets of jails that are gone are taken away"
            ),
            Err(error) => warn!(%error, "sets of jails that are gone could not be taken away"),
        }
    }
}
