//! Children that were left: their handles, until they have ended and are buried. No thread waits for them; whoever
//! gives birth looks after them on the way.

use crate::reaper::owners;
use doula_model::id::Pid;
use doula_model::plan::Errno;
use doula_sys::fd::{self, AsFd as _, OwnedFd};
use doula_sys::wait::{self, For, Who};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

static LEFT: Mutex<Vec<(Pid, OwnedFd)>> = Mutex::new(Vec::new());
/// How many there are, so that most births need no lock.
static COUNT: AtomicUsize = AtomicUsize::new(0);

/// Keeps a handle until its process is buried. Without a number for it, the child stays a zombie
/// until we end, or a reaper finds it.
pub(super) fn keep(pid: Pid, handle: &OwnedFd) {
    let Ok(handle) = fd::duplicate(handle, 0) else { return owners::release(pid) };
    let mut left = LEFT.lock().unwrap_or_else(PoisonError::into_inner);
    left.push((pid, handle));
    COUNT.store(left.len(), Ordering::Release);
}

/// Buries who has ended; returns how many live.
pub(crate) fn bury() -> usize {
    if COUNT.load(Ordering::Acquire) == 0 {
        return 0;
    }
    let mut left = LEFT.lock().unwrap_or_else(PoisonError::into_inner);
    // ECHILD: somebody else buried it, or it is a child of the process that we are a copy of.
    left.retain(|(pid, handle)| {
        let lives =
            matches!(wait::waitid(Who::Pidfd(handle.as_fd()), For::END), Ok(None) | Err(Errno::EINTR));
        if !lives {
            owners::release(*pid);
        }
        lives
    });
    COUNT.store(left.len(), Ordering::Release);
    left.len()
}
