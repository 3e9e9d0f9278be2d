//! The keeper: he sees to it that the kernel's firewall stays what the ledger says.
//!
//! Others flush it, rebuild it, empty our sets. He hears of it from the kernel where that
//! tells (nf_tables), and looks for himself about once a second, which takes half a
//! millisecond: do our rules still refer to the sets, and does each set still hold its
//! witnesses, addresses that must be in it, and as many entries as it should (`counts`)? If
//! not, he waits until it has been quiet for a moment, since whoever rebuilds a firewall does
//! it in many steps, and puts back what is missing: objects first, then in bulk, from the
//! ledger, what sets have lost. Nothing that is not ours is touched.
//!
//! Jails with stock actions of fail2ban's have chains and sets of their own, which he looks
//! after in the same way (`stock::kept`).
//!
//! **A fight** is not fought: when repairs do not last he says so, stands back until the
//! firewall has been left alone for a while, and tries again. **A pause** is the operator's:
//! every drop is lifted until its time is over, and nothing else changes.
//!
//! Lock order: the keeper's own, then what the stock actions share, then the judge's. Whoever
//! holds the judge's only rings.

mod counts;
mod fight;

use std::collections::{BTreeSet, HashMap};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use tracing::{debug, error, info, warn};

use counts::{COUNTED_MAX, Counts};
use fight::{Fight, Missed, PEACE, REPAIRS_MAX};

use super::bus::{self, Judge};
use super::stock;
use super::troubles::Troubles;
use super::verbs::SetShown;
use crate::action::stock::{Layout, Shown};
use crate::action::{self, Error, Firewall, Glance, Missing, Monitor, Note, Outcome, Reaches};
use crate::addr::Addr;
use crate::count::counted;
use crate::ticket::{JailName, Set};
use crate::time::{Time, human};

/// The name of his thread.
pub(super) const THREAD: &str = "keeper";

/// How often he looks. With [`SETTLED_MAX`] it keeps a repair within two seconds.
const LOOK_EVERY: Duration = Duration::from_millis(1_050);

/// It is quiet when nothing has changed for so long.
const QUIET: Duration = Duration::from_millis(150);

/// He waits for quiet for so long at most.
const SETTLED_MAX: Duration = Duration::from_millis(700);

/// A set with more entries than this is searched for another witness only so often, since
/// that may look at all of them.
const SEARCHED_OFTEN_MAX: usize = 1_024;

/// See [`SEARCHED_OFTEN_MAX`].
const SEARCH_EVERY: Duration = Duration::from_secs(30);

/// Entries that are laid on again together: a ban waits for so many, about a millisecond.
const PART: usize = 1_024;

/// How long somebody who asks how all is waits while he is at work, and how often he looks.
const PATIENCE: Duration = Duration::from_secs(1);
const TRY_EVERY: Duration = Duration::from_millis(10);

/// What he is told then.
const BUSY: &str = "it is being put in order for longer than a moment, or waits for a program that has not ended (see `ps`), so how it is cannot be said; ask again";

/// Rung by whoever finds that an order cannot be carried out. Cheap to clone.
#[derive(Clone)]
pub struct Bell(Arc<BellParts>);

struct BellParts {
    fd: OwnedFd,
    /// What the orders of all who ring tell of.
    troubles: Mutex<Troubles>,
    /// Sets whose orders were refused.
    doubtful: Mutex<BTreeSet<Set>>,
}

impl Bell {
    /// A bell that nobody has rung.
    pub fn new() -> anyhow::Result<Bell> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        Ok(Bell(Arc::new(BellParts {
            fd: eventfd(0, flags)?,
            troubles: Mutex::default(),
            doubtful: Mutex::default(),
        })))
    }

    /// Has the keeper look after what was refused, if every other order would be. False for
    /// all but the first of a set since he looked, which need not be told again, and for an
    /// alarm that was raised already.
    pub fn hears(&self, outcome: &Outcome) -> bool {
        if self.troubles().hear(outcome, Instant::now()) {
            return false;
        }
        let (set, error) = match outcome {
            Outcome::Refused { set, error, .. } => (set.clone(), error),
            Outcome::LoadFailed { error, .. } => (Set::List, error),
            _ => return true,
        };
        if !matches!(error, Error::Missing { .. }) {
            return true;
        }
        let is_first = self.doubtful().insert(set);
        if is_first {
            self.ring();
        }
        is_first || matches!(outcome, Outcome::LoadFailed { .. })
    }

    fn ring(&self) {
        // It fails only if the bell was rung without end, and then it rings.
        let _full = rustix::io::write(&self.0.fd, &1_u64.to_ne_bytes());
    }

    fn take(&self) -> BTreeSet<Set> {
        let _none = rustix::io::read(&self.0.fd, &mut [0; 8]);
        std::mem::take(&mut *self.doubtful())
    }

    fn troubles(&self) -> MutexGuard<'_, Troubles> {
        let troubles = &self.0.troubles;
        troubles.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn doubtful(&self) -> MutexGuard<'_, BTreeSet<Set>> {
        self.0
            .doubtful
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// How the drops stand.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Stand {
    /// In force.
    Laid,
    /// Lifted until then.
    Paused(Time),
    /// Lifted for good: the daemon ends.
    Over,
}

/// How the firewall is, for `status`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Condition {
    /// What is missing now, in words.
    pub missing: Vec<String>,
    /// What else is wrong for longer than a moment, in words.
    pub troubles: Vec<String>,
    /// Until when every drop is lifted.
    pub paused_until: Option<Time>,
    /// Repairs since the start.
    pub repairs: u64,
    /// Who cannot be lived with, in words.
    pub fight: Option<String>,
}

/// The keeper, for whoever asks him. Cheap to clone.
#[derive(Clone)]
pub struct Keeper {
    post: Arc<Mutex<Post>>,
    /// Shall he go home? Nobody waits at his post for it.
    is_over: Arc<AtomicBool>,
    bell: Bell,
}

/// What he looks after.
pub struct Kept {
    /// Our own sets and rules.
    pub firewall: Firewall,
    /// The sets in use.
    pub sets: Vec<Set>,
    /// What jails with stock actions have.
    pub stock: stock::Shared,
}

/// What he has at his post.
struct Post {
    firewall: Firewall,
    sets: Vec<Set>,
    stock: stock::Shared,
    judge: Judge,
    stand: Stand,
    /// How it looked when all was well; none if that must be seen first.
    glance: Option<Glance>,
    /// How what jails with stock actions have looked last.
    stock_glance: Glance,
    witnesses: HashMap<Set, Witnesses>,
    counts: Counts,
    /// Sets that have lost entries, by their number or since an order was refused, and that
    /// were not laid on again yet.
    short: BTreeSet<Set>,
    repairs: u64,
    fight: Fight,
    /// Why nothing could be put back the last time, if it could not.
    trouble: Option<String>,
}

/// Addresses that must be in a set, one of each kind.
struct Witnesses {
    addrs: Vec<Addr>,
    /// How many were in force when they were searched for.
    count: usize,
    searched: Instant,
}

impl Keeper {
    /// Takes all of it over. A pause that was begun before goes on.
    pub fn start(
        kept: Kept,
        paused_until: Option<Time>,
        judge: Judge,
        bell: Bell,
    ) -> anyhow::Result<(Keeper, JoinHandle<()>)> {
        let monitor = Monitor::open()?;
        let post = Post {
            firewall: kept.firewall,
            sets: kept.sets,
            stock: kept.stock,
            judge,
            stand: paused_until.map_or(Stand::Laid, Stand::Paused),
            glance: None,
            stock_glance: Glance::default(),
            witnesses: HashMap::new(),
            counts: Counts::default(),
            short: BTreeSet::new(),
            repairs: 0,
            fight: Fight::default(),
            trouble: None,
        };
        post.tell_judge();
        let keeper = Keeper {
            post: Arc::new(Mutex::new(post)),
            is_over: Arc::default(),
            bell,
        };
        let himself = keeper.clone();
        let thread = bus::named(THREAD, move || himself.keep(&monitor))?;
        Ok((keeper, thread))
    }

    fn keep(&self, monitor: &Monitor) {
        loop {
            self.sleep(monitor, LOOK_EVERY);
            if self.is_over.load(Ordering::Relaxed) {
                return;
            }
            let doubtful = self.bell.take();
            monitor.heard();
            let mut post = self.post();
            if post.stand == Stand::Over {
                return;
            }
            let now = post.judge.now();
            post.end_pause(now);
            if !post.is_suspicious(&doubtful) {
                continue;
            }
            drop(post);
            self.wait_for_quiet(monitor);
            self.post().mend(&doubtful);
        }
    }

    /// Waits until nothing has changed for a moment.
    fn wait_for_quiet(&self, monitor: &Monitor) {
        let begun = Instant::now();
        let mut before = self.post().look();
        loop {
            let is_said = self.sleep_quietly(monitor);
            let now = self.post().look();
            if (!is_said && now == before) || begun.elapsed() > SETTLED_MAX {
                return;
            }
            before = now;
        }
    }

    /// Sleeps until the bell rings or the kernel says something; but for so long at most.
    fn sleep(&self, monitor: &Monitor, span: Duration) {
        let mut fds = [
            PollFd::new(&self.bell.0.fd, PollFlags::IN),
            PollFd::from_borrowed_fd(monitor.as_fd(), PollFlags::IN),
        ];
        let span = Timespec::try_from(span).ok();
        let _interrupted = poll(&mut fds, span.as_ref());
    }

    /// Sleeps for [`QUIET`]; did the kernel say anything meanwhile?
    fn sleep_quietly(&self, monitor: &Monitor) -> bool {
        monitor.heard();
        std::thread::sleep(QUIET);
        monitor.heard()
    }

    /// The jails have changed: makes what their sets need, and drops what their bans reach.
    pub fn set_sets(&self, sets: Vec<Set>, reaches: Reaches) -> Result<(), String> {
        let mut post = self.post();
        if post.stand == Stand::Over {
            return Err("ringfence is about to end".to_owned()); // the rules stay gone
        }
        let reaches_before = post.firewall.narrow(reaches);
        let notes = match post.firewall.ensure(&sets) {
            Ok(notes) => notes,
            Err(error) => {
                post.firewall.narrow(reaches_before); // the jails stay what they were
                return Err(error.to_string());
            }
        };
        for note in notes {
            if matches!(note, Note::Foreign { .. }) {
                error!("{note}");
            }
        }
        let sets_before = std::mem::replace(&mut post.sets, sets);
        if let Err(error) = post.stand_ours() {
            post.sets = sets_before;
            post.firewall.narrow(reaches_before);
            return Err(error);
        }
        post.glance = None;
        post.witnesses.clear();
        Ok(())
    }

    /// Has something done with the firewall.
    pub fn with<R>(&self, work: impl FnOnce(&mut Firewall) -> R) -> R {
        work(&mut self.post().firewall)
    }

    /// Entries that hold this address where stock actions keep them, and what met them.
    pub fn stock_entries(&self, addr: &Addr) -> Result<Vec<(Layout, action::Kept)>, Error> {
        let stock = self.post().stock.clone();
        let shown = stock.lock().show()?;
        let entries = shown.into_iter().flat_map(|Shown { layout, kept, .. }| {
            let holding = kept.into_iter().filter(|kept| kept.addr.contains(addr));
            holding.map(move |kept| (layout.clone(), kept))
        });
        Ok(entries.collect())
    }

    /// Lifts every drop until then. True if they were lifted before.
    pub fn pause(&self, until: Time) -> Result<bool, String> {
        let mut post = self.post();
        let before = std::mem::replace(&mut post.stand, Stand::Paused(until));
        let done = post.stand_as_told();
        if done.is_err() {
            // Some may be lifted; and what cannot be laid on now the keeper will.
            post.stand = before;
            let _tried_again = post.stand_as_told();
        }
        done.map(|()| matches!(before, Stand::Paused(_)))
    }

    /// Ends a pause; false if there was none.
    pub fn resume(&self) -> Result<bool, String> {
        let mut post = self.post();
        let was_paused = matches!(post.stand, Stand::Paused(_));
        post.stand = Stand::Laid;
        post.stand_as_told()?;
        drop(post);
        self.bell.ring(); // what was missed meanwhile is mended
        Ok(was_paused)
    }

    /// Lifts every drop for good, and goes home.
    pub fn lift_for_good(&self) -> Result<(), String> {
        let mut post = self.post();
        post.stand = Stand::Over;
        let lifted = post.firewall.lift(); // at once; and the rules go in any case
        let removed = post.firewall.remove_rules();
        drop(post);
        self.bell.ring();
        removed.or(lifted).map_err(|error| error.to_string())
    }

    /// Goes home, and leaves all as it is.
    pub fn close(&self) {
        self.is_over.store(true, Ordering::Relaxed);
        self.bell.ring();
    }

    /// Looks at everything; but nobody waits for long while he is at work.
    pub fn condition(&self) -> Condition {
        let Some(mut post) = self.post_soon() else {
            return Condition {
                troubles: vec![BUSY.to_owned()],
                ..Condition::default()
            };
        };
        let unseen = |error| vec![format!("the firewall cannot be looked at: {error}")];
        let mut missing = match post.firewall.check() {
            Ok(missing) => missing.iter().map(ToString::to_string).collect(),
            Err(error) => unseen(error),
        };
        let lacking = post.stock.lacking_now(&post.judge);
        missing.extend(lacking.map_or_else(unseen, |mut lacking| {
            lacking.words.append(&mut lacking.owed);
            lacking.words
        }));
        let fight = post.fight.calm_since().map(|since| {
            format!(
                "somebody took rules or sets of ringfence away more than {REPAIRS_MAX} times in a minute; nothing is put back until the firewall has been left alone for {} ({} so far); find out who it is, then `ringfence firewall repair`",
                human(PEACE),
                human(Duration::from_secs(since.elapsed().as_secs())),
            )
        });
        let count = |set: &Set| post.judge.visit(|engine, _, _| engine.in_force_max(set));
        let orders = self.bell.troubles().shown(Instant::now(), &count);
        let standing = post.firewall.troubles().iter().map(ToString::to_string);
        let own = post.trouble.iter();
        let own = own.map(|why| format!("what is missing cannot be put back: {why}"));
        Condition {
            missing,
            troubles: own.chain(orders).chain(standing).collect(),
            paused_until: match post.stand {
                Stand::Paused(until) => Some(until),
                _ => None,
            },
            repairs: post.repairs,
            fight,
        }
    }

    /// Every set of ours: how many should be in it, and what the kernel has. To read large
    /// ones takes its time, so nobody waits for it.
    pub fn sets(&self) -> Vec<SetShown> {
        let post = self.post();
        let (sets, stock, judge) = (post.all_sets(), post.stock.clone(), post.judge.clone());
        let firewall = post.firewall.handle();
        drop(post);
        let show = |mut firewall: Firewall| -> Vec<SetShown> {
            let sets = sets.iter();
            sets.map(|set| shown(set, &mut firewall, &judge)).collect()
        };
        // What cannot be looked at `condition` tells of.
        let ours = firewall.map(show).unwrap_or_default();
        let theirs = stock.shown(&judge).unwrap_or_default();
        ours.into_iter().chain(theirs).collect()
    }

    /// Puts back what is missing, now, and lays on again what is in force, all of it.
    /// Says what was done.
    pub fn repair(&self) -> Result<Vec<String>, String> {
        let mut post = self.post();
        post.fight.forget();
        let everything = post.all_sets();
        let stock = post.stock.lock().jails().cloned().collect();
        post.put_back(&everything, &stock)
    }

    fn post_soon(&self) -> Option<MutexGuard<'_, Post>> {
        let begun = Instant::now();
        loop {
            match self.post.try_lock() {
                Ok(post) => return Some(post),
                Err(_) if begun.elapsed() > PATIENCE => return None,
                Err(_) => std::thread::sleep(TRY_EVERY),
            }
        }
    }

    fn post(&self) -> MutexGuard<'_, Post> {
        // A panic ends the daemon, so nobody finds the lock poisoned.
        self.post.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Post {
    fn all_sets(&self) -> BTreeSet<Set> {
        self.sets.iter().cloned().chain([Set::Allow]).collect()
    }

    fn end_pause(&mut self, now: Time) {
        if let Stand::Paused(until) = self.stand
            && until <= now
        {
            self.stand = Stand::Laid;
            info!("the pause is over: drops are in force again");
            if let Err(error) = self.stand_as_told() {
                error!(%error, "drops could not be laid on again");
                self.glance = None; // and so it is tried again, as a repair
            }
        }
    }

    /// Lays drops on or lifts them, as it should be.
    fn stand_as_told(&mut self) -> Result<(), String> {
        let ours = self.stand_ours();
        let stock = match self.stand {
            Stand::Over => Ok(()),
            stand => self.stock.stand(stand == Stand::Laid),
        };
        ours.and(stock.map_err(|error| error.to_string()))
    }

    /// The same for our own sets and rules.
    fn stand_ours(&mut self) -> Result<(), String> {
        let done = match self.stand {
            Stand::Laid => self.firewall.lay(),
            Stand::Paused(_) => self.firewall.lift(),
            Stand::Over => Ok(()),
        };
        self.glance = None;
        if done.is_ok() {
            self.tell_judge();
        }
        done.map_err(|error| error.to_string())
    }

    /// Whether the banned may be seen.
    fn tell_judge(&self) {
        let is_laid = self.stand == Stand::Laid;
        self.judge
            .visit(|engine, now, _| engine.drops_are(is_laid, now));
    }

    /// A cheap look. What cannot be looked at is not well.
    fn look(&mut self) -> Option<Glance> {
        let ours = self.firewall.glance().ok()?;
        // While orders are carried out there it is as it was: he looks again in a moment.
        if let Some(theirs) = self.stock.glance() {
            self.stock_glance = theirs.ok()?;
        }
        Some(ours.and(self.stock_glance.clone()))
    }

    /// Has anything changed, or is anything lost that must be there?
    fn is_suspicious(&mut self, doubtful: &BTreeSet<Set>) -> bool {
        let now = self.look();
        if self.fight.calm_since().is_some() {
            self.short.extend(doubtful.iter().cloned());
            if now != self.glance {
                let missed = self.missed();
                self.fight.see(missed, Instant::now());
                self.glance = now;
            }
            return !self.fight.is_on(Instant::now());
        }
        let sets = self.all_sets();
        let short = self.counts.short(&sets, &mut self.firewall, &self.judge);
        self.short.extend(short);
        now.is_none()
            || now != self.glance
            || !doubtful.is_empty()
            || !self.short.is_empty()
            || !self.lost().is_empty()
    }

    /// What is missing of objects now.
    fn missed(&mut self) -> Missed {
        let missing = self.firewall.check().unwrap_or_default();
        let stock = self.stock.lacking(&self.judge).unwrap_or_default();
        let missing = missing.iter().filter(|missing| missing.is_mendable());
        let missing = missing.map(ToString::to_string);
        (missing.collect(), stock.jails)
    }

    /// The sets of whose witnesses one is not there.
    fn lost(&mut self) -> BTreeSet<Set> {
        let mut lost = self.all_sets();
        lost.retain(|set| {
            self.find_witnesses(set);
            let witnesses = self.witnesses.get(set).map(|known| known.addrs.as_slice());
            let mut witnesses = witnesses.unwrap_or_default().iter();
            let is_there = |addr| match self.firewall.holds(set, addr) {
                Ok(holds) => holds,
                Err(error) => error.is_foreign(), // nobody of ours is in there
            };
            !witnesses.all(is_there)
        });
        lost
    }

    /// Sees to it that we know who must be in the set: the same as before, as long as they
    /// must, and as long as nobody came to a small set, who might be of another kind.
    fn find_witnesses(&mut self, set: &Set) {
        let known = self.witnesses.get(set);
        let found = self.judge.visit(|engine, now, _| {
            let count = engine.in_force_max(set);
            let is_small = count <= SEARCHED_OFTEN_MAX;
            let stand = |known: &Witnesses| {
                let mut addrs = known.addrs.iter();
                (!is_small || known.count == count)
                    && !known.addrs.is_empty()
                    && addrs.all(|addr| engine.is_witness(set, addr, now))
            };
            let is_due = |known: &Witnesses| is_small || known.searched.elapsed() > SEARCH_EVERY;
            match known {
                Some(known) if stand(known) => None,
                Some(known) if !is_due(known) => {
                    let addrs = known.addrs.iter().copied();
                    let standing = addrs.filter(|addr| engine.is_witness(set, addr, now));
                    Some((count, standing.collect(), known.searched))
                }
                _ => Some((count, engine.witnesses(set, now), Instant::now())),
            }
        });
        if let Some((count, addrs, searched)) = found {
            let known = Witnesses {
                addrs,
                count,
                searched,
            };
            self.witnesses.insert(set.clone(), known);
        }
    }

    /// Finds out what is missing, and puts it back.
    fn mend(&mut self, doubtful: &BTreeSet<Set>) {
        if self.stand == Stand::Over {
            return;
        }
        let seen = self.look();
        let mut lost = self.lost();
        let missing = match self.firewall.check() {
            Ok(mut missing) => {
                missing.retain(Missing::is_mendable);
                missing
            }
            Err(error) => {
                warn!(%error, "the firewall cannot be looked at");
                Vec::new()
            }
        };
        self.short.extend(doubtful.iter().cloned());
        lost.extend(self.short.iter().cloned());
        let stock = self.stock.lacking(&self.judge).unwrap_or_else(|error| {
            warn!(%error, "what jails' actions made cannot be looked at");
            stock::Lacking::default()
        });
        let is_lifted = self.firewall.is_lifted().unwrap_or_default();
        let is_paused = matches!(self.stand, Stand::Paused(_));
        let stands = is_lifted == is_paused && self.stock.lock().is_lifted() == is_paused;
        if missing.is_empty() && lost.is_empty() && stock.jails.is_empty() && stands {
            let had_trouble = self.trouble.take().is_some();
            if self.fight.end() || had_trouble {
                info!("the firewall is whole again");
            }
            self.glance = seen;
            debug!("the firewall is as it should be");
            return;
        }
        let missing: Vec<String> = missing.iter().map(ToString::to_string).collect();
        let missed = (missing.clone(), stock.jails.clone());
        if self.fight.begins(missed, Instant::now()) {
            error!(
                "somebody takes rules or sets of ringfence away again and again; they are not put back until the firewall has been left alone for {}: see `ringfence status`",
                human(PEACE)
            );
            self.glance = seen;
            return;
        }
        self.fight.end();
        for missing in missing.iter().chain(&stock.words) {
            warn!("{missing}");
        }
        let lost_names = lost
            .iter()
            .map(|set| set.to_string())
            .collect::<Vec<_>>()
            .join(" ");
        match self.put_back(&lost, &stock.jails) {
            Ok(_) => {
                self.fight.repaired(Instant::now());
                warn!(
                    emptied = lost_names,
                    "somebody changed the firewall; what was missing is put back"
                );
            }
            // Said once, and `status` shows it as long as it is so.
            Err(error) if self.trouble.as_ref() == Some(&error) => {}
            Err(error) => {
                error!(%error, "the firewall could not be put back; it is tried again");
                self.trouble = Some(error);
            }
        }
    }

    /// Makes what is missing, and lays on again what these sets and stock jails, and sets
    /// that had to be made, should hold.
    fn put_back(
        &mut self,
        lost: &BTreeSet<Set>,
        stock: &BTreeSet<JailName>,
    ) -> Result<Vec<String>, String> {
        self.repairs += 1;
        self.glance = None;
        let notes = self
            .firewall
            .ensure(&self.sets)
            .map_err(|error| error.to_string())?;
        let is_paused = matches!(self.stand, Stand::Paused(_));
        let is_told = self.stock.lock().is_lifted() == is_paused;
        let stock_done = match is_told {
            true => Ok(()),
            false => self.stock.stand(!is_paused),
        };
        let ours_done = self.stand_ours();
        let stock_done = self.stock.put_back(stock).and(stock_done);
        ours_done?;
        let mut done = Vec::new();
        let mut lost = lost.clone();
        if notes.iter().any(|note| matches!(note, Note::Made { .. })) {
            lost = self.all_sets(); // what is laid on twice does no harm
        }
        for note in &notes {
            debug!("{note}");
            if !matches!(note, Note::Stray { .. } | Note::Lifted) {
                done.push(note.to_string());
            }
        }
        lost.extend(stock.iter().cloned().map(Set::Jail));
        // The allow set comes first, by the order of sets.
        for set in &lost {
            let count = self.lay_again(set);
            if count > 0 {
                done.push(format!(
                    "laid {} of `{set}` on again",
                    counted(count, "entry")
                ));
            }
        }
        stock_done.map_err(|error| error.to_string())?;
        self.short.clear();
        self.trouble = None;
        Ok(done)
    }

    /// Lays on again all that a set should hold, in parts; the list another thread does.
    fn lay_again(&self, set: &Set) -> usize {
        if *set == Set::List {
            self.judge.lay_list_again();
            return self.judge.visit(|engine, _, _| engine.in_force_max(set));
        }
        let addrs = self.judge.visit(|engine, _, _| engine.in_force(set));
        for addrs in addrs.chunks(PART) {
            self.judge
                .visit(|engine, now, effects| engine.lay_again(set, addrs, now, effects));
        }
        addrs.len()
    }
}

/// How many should be in a set of ours, and what the kernel has. One that is not there has
/// no entries; `condition` tells of it.
fn shown(set: &Set, firewall: &mut Firewall, judge: &Judge) -> SetShown {
    let in_force = judge.visit(|engine, _, _| engine.in_force_len(set));
    let (mut packets, mut bytes) = firewall.counted_beside(set).unwrap_or_default();
    let mut entries = 0;
    if *set == Set::List && in_force > COUNTED_MAX && !firewall.lists_fast() {
        entries = in_force; // to read them takes minutes
    } else {
        let _missing = firewall.list(set, &mut |kept| {
            entries += 1;
            packets += kept.packets;
            bytes += kept.bytes;
        });
    }
    SetShown {
        set: set.to_string(),
        ports: firewall.reach(set).to_string(),
        in_force,
        entries,
        packets,
        bytes,
    }
}
