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

use tracing::{error, warn};

pub use kept::Lacking;
pub use left::Left;

use super::bus::{self, Judge, ORDERS_KEPT, set_of};
use super::keeper::Bell;
use crate::action::stock::{Layouts, Stock};
use crate::action::{self, Action, Outcome};
use crate::addr::Addr;
use crate::ban::Ledger;
use crate::config::Config;
use crate::engine;
use crate::jail::Rules;
use crate::ticket::{JailName, Order, Set};

/// How often bans that could not be laid on are tried again.
const RETRY_EVERY: Duration = Duration::from_secs(5);

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
/// drops are laid on or `lifted`. As long as a jail cannot run for a mistake, what is left
/// may be its: it stays.
pub fn take_over(left: &Left, config: &Config, layouts: &Layouts, lifted: bool) -> Stock {
    let mut stock = Stock::open(&left.read(), lifted, &mut tell);
    stock.add(layouts, &mut tell);
    if config.broken.is_empty() {
        stock.retain(layouts, &mut tell);
    }
    left.write(&stock.layouts());
    stock
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
}

/// What the thread is told.
enum Work {
    Order(Order),
    /// There are these jails too; one that is there in another form goes first.
    Add(Layouts),
    /// There are these jails only.
    Retain(Layouts),
    /// The ledger is whole: whom it does not know is let go.
    KeepOnly,
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

    /// From now on only these jails have; what others had in the kernel goes.
    pub fn retain(&self, layouts: &Layouts) {
        self.write(|jails| jails.retain(|jail| layouts.contains_key(jail)));
        self.tell(Work::Retain(layouts.clone()));
    }

    /// Lets go whom no jail holds: until now the ledger was not whole.
    pub fn keep_only(&self) {
        self.tell(Work::KeepOnly);
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
    bus::named("actions", move || {
        serve(&stock, &left, &waiting.0, &judge, &bell);
    })
}

fn serve(stock: &Shared, left: &Left, waiting: &Receiver<Work>, judge: &Judge, bell: &Bell) {
    let mut orders = Vec::new();
    let mut is_owing = !stock.lock().owed().is_empty();
    loop {
        let first = match is_owing {
            false => waiting.recv().map_err(|_| RecvTimeoutError::Disconnected),
            true => waiting.recv_timeout(RETRY_EVERY),
        };
        let first = match first {
            Ok(first) => first,
            Err(RecvTimeoutError::Timeout) => {
                try_again(&stock.lock().owed(), judge);
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
                Work::Retain(layouts) => {
                    let mut stock = stock.lock();
                    stock.retain(&layouts, &mut tell);
                    left.write(&stock.layouts());
                }
                Work::KeepOnly => {
                    let mut stock = stock.lock();
                    let wanted = judge.visit(|engine, _, _| wanted(&stock, engine.ledger()));
                    keep_only(&mut stock, &wanted);
                }
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
        is_owing = !stock.lock().owed().is_empty();
    }
}

/// Has bans ordered again that could not be laid on.
fn try_again(owed: &Wanted, judge: &Judge) {
    for (jail, addrs) in owed {
        let (set, addrs): (Set, Vec<Addr>) =
            (Set::Jail(jail.clone()), addrs.iter().copied().collect());
        judge.visit(|engine, now, effects| engine.lay_again(&set, &addrs, now, effects));
    }
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

/// See [`Wanted`].
pub fn wanted(stock: &Stock, ledger: &Ledger) -> Wanted {
    let held = |jail: &JailName| ledger.of_jail(jail).map(|ban| ban.addr).collect();
    stock
        .jails()
        .map(|jail| (jail.clone(), held(jail)))
        .collect()
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
