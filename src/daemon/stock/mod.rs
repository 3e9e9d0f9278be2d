//! Jails with stock actions of fail2ban's, whose bans go where those actions put them.
//!
//! That runs programs, which takes milliseconds, so it has a thread of its own, and nobody
//! who holds the judge's lock waits for it. Orders come to it through a [`Door`], where the
//! judge's hands find it: all that wait are done together. The keeper looks after what is in
//! the kernel, so they share it.
//!
//! Lock order: what is shared here, then the judge's.

mod kept;
mod left;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

use tracing::{debug, error, warn};

pub use kept::Lacking;
pub use left::Left;

use super::bus::{self, Judge, ORDERS_KEPT, set_of};
use super::keeper::Bell;
use crate::action::stock::{Layouts, Stock};
use crate::action::{self, Action, Outcome};
use crate::addr::Addr;
use crate::config::Config;
use crate::engine::{self, Effect, Engine};
use crate::jail::Rules;
use crate::ticket::{JailName, Order, Set};
use crate::time::Time;

/// The name of the thread.
pub(super) const THREAD: &str = "actions";

/// How often bans that could not be laid on are tried again.
const RETRY_EVERY: Duration = Duration::from_secs(3);

/// The jails with stock actions, and what they keep in the kernel.
pub fn layouts(config: &Config) -> Layouts {
    let jails = config.jails.iter().filter(|jail| !jail.stock.is_empty());
    jails
        .map(|jail| (jail.rules.name.clone(), jail.stock.clone()))
        .collect()
}

/// The sets of ours that the other jails need.
pub fn sets_beside(layouts: &Layouts, rules: &[Rules]) -> Vec<Set> {
    let mut sets = engine::sets_of(rules);
    sets.retain(|set| !matches!(set, Set::Jail(jail) if layouts.contains_key(jail)));
    sets
}

/// Takes over what a run before us has left, and takes away what no jail has any more;
/// drops are laid on or `lifted`.
pub fn take_over(left: &Left, config: &Config, layouts: &Layouts, lifted: bool) -> Stock {
    let mut stock = Stock::open(&left.read(), lifted, &mut tell);
    stock.add(layouts, &mut tell);
    stock.retain(&keeps(config), &mut tell);
    left.write(&stock.layouts());
    stock
}

/// Whose chains and sets stay. As long as a jail cannot run for a mistake, what jails that do
/// not run have left may be its: it stays.
pub fn keeps(config: &Config) -> impl Fn(&JailName) -> bool + Send + use<> {
    let with_stock = layouts(config);
    let running: BTreeSet<JailName> = config
        .jails
        .iter()
        .map(|jail| jail.rules.name.clone())
        .collect();
    let is_any_broken = !config.broken.is_empty();
    move |jail| with_stock.contains_key(jail) || (is_any_broken && !running.contains(jail))
}

/// Takes away all that a run before us has left.
pub fn remove(left: &Left) -> Result<(), action::Error> {
    Stock::open(&left.read(), true, &mut tell).remove()?;
    left.write(&Layouts::new());
    Ok(())
}

/// The jails whose bans have another place than before: another set of ours or theirs.
pub fn moved(before: &Layouts, after: &Layouts) -> Vec<JailName> {
    let jails: BTreeSet<&JailName> = before.keys().chain(after.keys()).collect();
    let is_moved = |jail: &&JailName| before.get(*jail) != after.get(*jail);
    jails.into_iter().filter(is_moved).cloned().collect()
}

/// What stands in the kernel for jails with stock actions. Cheap to clone.
#[derive(Clone)]
pub struct Shared(Arc<Mutex<Stock>>);

impl Shared {
    /// From now on others may see to it.
    pub fn new(stock: Stock) -> Shared {
        Shared(Arc::new(Mutex::new(stock)))
    }

    /// Waits until nobody else changes it.
    pub fn lock(&self) -> MutexGuard<'_, Stock> {
        // A panic ends the daemon, so nobody finds the lock poisoned.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same, unless somebody changes it just now.
    pub fn try_lock(&self) -> Option<MutexGuard<'_, Stock>> {
        self.0.try_lock().ok()
    }
}

/// What the thread is told.
enum Work {
    Order(Order),
    /// There are these jails too; one that is there in another form goes first.
    Add(Layouts),
    /// What other jails than these have goes.
    Retain(Box<dyn Fn(&JailName) -> bool + Send>),
    /// The ledger is as whole as it will be: see [`settle`].
    Settle {
        whole: bool,
    },
    /// An operator pardons this address: whoever of it the ledger does not know goes, too.
    Pardon(Addr),
    /// Do what waits, and end; with true, take all of it away first.
    End(bool),
}

/// The way to the thread. Cheap to clone.
#[derive(Clone)]
pub struct Door {
    jails: Arc<RwLock<BTreeSet<JailName>>>,
    work: Sender<Work>,
}

/// What comes through the door.
pub struct Waiting(Receiver<Work>);

impl Door {
    /// A door for the orders of these jails.
    pub fn new(layouts: &Layouts) -> (Door, Waiting) {
        let (work, waiting) = channel();
        let jails = Arc::new(RwLock::new(layouts.keys().cloned().collect()));
        (Door { jails, work }, Waiting(waiting))
    }

    /// From now on these jails have stock actions as well as those before.
    pub fn add(&self, layouts: &Layouts) {
        self.write(|jails| jails.extend(layouts.keys().cloned()));
        self.tell(Work::Add(layouts.clone()));
    }

    /// From now on only jails of this configuration have; what others had in the kernel goes.
    pub fn retain(&self, config: &Config) {
        let layouts = layouts(config);
        self.write(|jails| jails.retain(|jail| layouts.contains_key(jail)));
        self.tell(Work::Retain(Box::new(keeps(config))));
    }

    /// From now on the ledger knows all that the database does: see [`settle`].
    pub fn settle(&self, whole: bool) {
        self.tell(Work::Settle { whole });
    }

    /// Lets go whom an operator pardons and the ledger does not know: until the database is
    /// read there are such in the kernel.
    pub fn pardon(&self, addr: Addr) {
        self.tell(Work::Pardon(addr));
    }

    /// Has the thread end when it has done what waits, and take all away if it shall.
    pub fn end(&self, remove: bool) {
        self.tell(Work::End(remove));
    }

    fn write(&self, change: impl FnOnce(&mut BTreeSet<JailName>)) {
        change(&mut self.jails.write().unwrap_or_else(PoisonError::into_inner));
    }

    fn tell(&self, work: Work) {
        // A thread that has ended has said why.
        let _ended = self.work.send(work);
    }
}

/// Hands that carry orders out: those of jails with stock actions go through the door.
pub struct Hands {
    /// For all others.
    pub ours: Box<dyn Action + Send>,
    /// For those of jails with stock actions.
    pub door: Door,
}

impl Action for Hands {
    fn apply(&mut self, orders: &[Order], outcome: &mut dyn FnMut(Outcome)) {
        let jails = self
            .door
            .jails
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        let is_stock =
            |order: &&Order| matches!(set_of(order), Set::Jail(jail) if jails.contains(jail));
        if jails.is_empty() || !orders.iter().any(|order| is_stock(&order)) {
            return self.ours.apply(orders, outcome);
        }
        let (stock, ours): (Vec<&Order>, Vec<&Order>) = orders.iter().partition(is_stock);
        for order in stock {
            self.door.tell(Work::Order(order.clone()));
        }
        let ours: Vec<Order> = ours.into_iter().cloned().collect();
        self.ours.apply(&ours, outcome);
    }
}

/// Starts the thread.
pub fn start(
    stock: Shared,
    left: Left,
    waiting: Waiting,
    judge: Judge,
    bell: Bell,
) -> anyhow::Result<JoinHandle<()>> {
    bus::named(THREAD, move || {
        serve(&stock, &left, &waiting.0, &judge, &bell);
    })
}

fn serve(stock: &Shared, left: &Left, waiting: &Receiver<Work>, judge: &Judge, bell: &Bell) {
    let mut orders = Vec::new();
    let is_owing = |stock: &Shared| {
        let stock = stock.lock();
        stock.has_litter() || !stock.owed().is_empty()
    };
    let mut owes = is_owing(stock);
    loop {
        let first = match owes {
            false => waiting.recv().map_err(|_| RecvTimeoutError::Disconnected),
            true => waiting.recv_timeout(RETRY_EVERY),
        };
        let first = match first {
            Ok(first) => first,
            Err(RecvTimeoutError::Timeout) => {
                try_again(&mut stock.lock(), left, judge);
                owes = is_owing(stock);
                continue;
            }
            Err(RecvTimeoutError::Disconnected) => return,
        };
        for work in std::iter::once(first).chain(waiting.try_iter()) {
            if let Work::Order(order) = work {
                orders.push(order);
                continue;
            }
            carry_out(stock, &mut orders, judge, bell);
            match work {
                Work::Order(_) => {}
                Work::Add(layouts) => {
                    let mut stock = stock.lock();
                    stock.add(&layouts, &mut tell);
                    left.write(&stock.layouts());
                }
                Work::Retain(keeps) => {
                    let mut stock = stock.lock();
                    stock.retain(&keeps, &mut tell);
                    left.write(&stock.layouts());
                }
                Work::Settle { whole } => {
                    let mut stock = stock.lock();
                    let wanted = judge
                        .visit(|engine, now, effects| settle(&stock, whole, engine, now, effects));
                    keep_only(&mut stock, &wanted);
                }
                Work::Pardon(addr) => orders.extend(unknown(&stock.lock(), judge, &addr)),
                Work::End(false) => return,
                Work::End(true) => match stock.lock().remove() {
                    Ok(()) => return left.write(&Layouts::new()),
                    Err(error) => {
                        return error!(%error, "what jails' actions made could not all be taken away");
                    }
                },
            }
        }
        carry_out(stock, &mut orders, judge, bell);
        owes = is_owing(stock);
    }
}

/// Takes away what could not go, and has bans ordered again that could not be laid on.
fn try_again(stock: &mut Stock, left: &Left, judge: &Judge) {
    if stock.has_litter() {
        stock.sweep(&mut |jail, error| debug!(%jail, %error, "still there"));
        left.write(&stock.layouts());
    }
    for (jail, addrs) in &stock.owed() {
        let (set, addrs): (Set, Vec<Addr>) =
            (Set::Jail(jail.clone()), addrs.iter().copied().collect());
        judge.visit(|engine, now, effects| engine.lay_again(&set, &addrs, now, effects));
    }
}

/// What lets those of an address go whom the kernel holds and the ledger does not know.
fn unknown(stock: &Stock, judge: &Judge, addr: &Addr) -> Vec<Order> {
    let mut orders = Vec::new();
    for jail in stock.jails() {
        let mut held = stock.held(jail);
        held.retain(|held| addr.contains(held));
        judge.visit(|engine, _, _| held.retain(|held| engine.ledger().get(jail, held).is_none()));
        let set = Set::Jail(jail.clone());
        orders.extend(held.into_iter().map(|addr| Order::Unblock {
            set: set.clone(),
            addr,
        }));
    }
    orders
}

/// Lets go whom stock actions hold and no jail of these does: unlike ours, their entries
/// never expire by themselves.
pub fn keep_only(stock: &mut Stock, wanted: &Wanted) {
    for (jail, wanted) in wanted {
        if let Err(error) = stock.keep_only(jail, wanted) {
            tell(jail, error);
        }
    }
}

/// Whom jails with stock actions hold.
pub type Wanted = BTreeMap<JailName, BTreeSet<Addr>>;

/// Settles what becomes of those whom the kernel holds and the ledger does not know, when it
/// knows all that the database does. If that is the `whole` of it, their bans are over. Else
/// they are bans that the database has lost, and the ledger takes them over. Says who stays.
pub fn settle(
    stock: &Stock,
    whole: bool,
    engine: &mut Engine,
    now: Time,
    effects: &mut Vec<Effect>,
) -> Wanted {
    if !whole {
        for jail in stock.jails() {
            engine.adopt(jail, stock.held(jail), now, effects);
        }
    }
    wanted(stock, engine)
}

/// See [`Wanted`]. Of a jail that does not run, since it has a mistake, nobody knows.
fn wanted(stock: &Stock, engine: &Engine) -> Wanted {
    let held = |jail: &JailName| engine.ledger().of_jail(jail).map(|ban| ban.addr).collect();
    let jails = stock.jails().filter(|jail| engine.jail(jail).is_ok());
    jails.map(|jail| (jail.clone(), held(jail))).collect()
}

fn carry_out(stock: &Shared, orders: &mut Vec<Order>, judge: &Judge, bell: &Bell) {
    if orders.is_empty() {
        return;
    }
    stock.lock().apply(orders, &mut |outcome| {
        if bell.hears(&outcome)
            && let Some(event) = bus::answer(outcome)
        {
            judge.event(event);
        }
    });
    orders.clear();
    orders.shrink_to(ORDERS_KEPT);
}

/// Trouble with a jail's objects is told once, and they are tried again at its next ban.
pub(super) fn tell(jail: &JailName, error: crate::action::Error) {
    warn!(%jail, %error, "what the jail's action keeps in the kernel could not be put in order");
}
