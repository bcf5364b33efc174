//! Which of our children somebody in this process waits for: those that this library bore, and those that were claimed.

use doula_model::id::Pid;
use doula_sys::fork::mark;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

struct Owners {
    /// The process whose children these are; a copy of it has none of them.
    process: u64,
    /// How many wait for each.
    claimed: BTreeMap<Pid, u32>,
    /// Births that are under way: their children may be there already, and nobody knows their numbers.
    births: BTreeSet<u64>,
    last: u64,
}

static OWNERS: Mutex<Owners> =
    Mutex::new(Owners { process: 0, claimed: BTreeMap::new(), births: BTreeSet::new(), last: 0 });

fn lock() -> MutexGuard<'static, Owners> {
    // Nobody panics while holding it.
    let mut owners = OWNERS.lock().unwrap_or_else(PoisonError::into_inner);
    let us = mark::identity();
    if owners.process != us {
        (owners.process, owners.claimed, owners.births) = (us, BTreeMap::new(), BTreeSet::new());
    }
    owners
}

/// A birth that is under way, until this is dropped.
#[derive(Debug)]
pub(crate) struct Birth(u64);

/// A birth begins. What it bears is claimed before this is dropped.
pub(crate) fn birth() -> Birth {
    let mut owners = lock();
    owners.last += 1;
    let number = owners.last;
    owners.births.insert(number);
    Birth(number)
}

impl Drop for Birth {
    fn drop(&mut self) {
        lock().births.remove(&self.0);
    }
}

/// Somebody waits for this child.
pub(crate) fn claim(pid: Pid) {
    *lock().claimed.entry(pid).or_default() += 1;
}

/// It was buried, or nobody waits any more.
pub(crate) fn release(pid: Pid) {
    let mut owners = lock();
    if let Some(count) = owners.claimed.get_mut(&pid) {
        *count -= 1;
        if *count == 0 {
            owners.claimed.remove(&pid);
        }
    }
}

/// Those that nobody of this process waits for, of these that were seen before this call; `None` while that cannot be known,
/// because a birth is under way that may have borne one of them.
pub(super) fn unclaimed(children: &BTreeSet<Pid>) -> Option<BTreeSet<Pid>> {
    let owners = lock();
    owners
        .births
        .is_empty()
        .then(|| children.iter().filter(|pid| !owners.claimed.contains_key(pid)).copied().collect())
}

/// Whether somebody of this process is known to wait for it.
pub(super) fn is_claimed(pid: Pid) -> bool {
    lock().claimed.contains_key(&pid)
}
