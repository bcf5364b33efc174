//! Whether we may be looked into by our own user: a child that changes its user takes that from us, because
//! until execve its memory is ours. We give it back to ourselves afterwards.
//!
//! Without that, a supervisor that is not root could no longer open its own `/proc/self` after the first birth,
//! and one that crashes would leave no core file. But never while any other child of ours is on its way, for
//! its new user could look into our memory through it.

use crate::{Result, raw};
use core::hint::spin_loop;
use core::sync::atomic::{AtomicBool, AtomicI32, Ordering};

/// How many children that change their user are on their way; [`RESTORING`] while the last one's parent gives
/// back.
static ON_THEIR_WAY: AtomicI32 = AtomicI32::new(0);

const RESTORING: i32 = -1;

/// What we were before the first of them.
static WERE_DUMPABLE: AtomicBool = AtomicBool::new(false);

/// A birth that takes it away, until dropped.
pub(super) struct Guard(());

impl Guard {
    pub(super) fn new() -> Guard {
        loop {
            let count = ON_THEIR_WAY.load(Ordering::Relaxed);
            // Giving back is one short system call of another thread.
            if count == RESTORING || !advance(count, count + 1) {
                spin_loop();
                continue;
            }
            if count == 0 {
                WERE_DUMPABLE.store(get() == Ok(1), Ordering::Relaxed);
            }
            return Guard(());
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        loop {
            let count = ON_THEIR_WAY.load(Ordering::Relaxed);
            let last = count == 1;
            if !advance(count, if last { RESTORING } else { count - 1 }) {
                continue;
            }
            if last {
                if WERE_DUMPABLE.load(Ordering::Relaxed) {
                    set();
                }
                ON_THEIR_WAY.store(0, Ordering::Release);
            }
            return;
        }
    }
}

fn advance(from: i32, to: i32) -> bool {
    ON_THEIR_WAY.compare_exchange(from, to, Ordering::Acquire, Ordering::Relaxed).is_ok()
}

/// `prctl(PR_GET_DUMPABLE)`: 0, 1, or 2 for root alone.
fn get() -> Result<usize> {
    // SAFETY: this option takes no arguments.
    unsafe { raw::call(libc::SYS_prctl, [libc::PR_GET_DUMPABLE as usize, 0, 0, 0, 0, 0]) }
}

fn set() {
    // SAFETY: this option takes a number only.
    let done = unsafe { raw::call(libc::SYS_prctl, [libc::PR_SET_DUMPABLE as usize, 1, 0, 0, 0, 0]) };
    debug_assert!(done.is_ok(), "1 is a value");
}
