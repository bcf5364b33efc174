//! The stack on which a child runs between clone and exec: mapped once, with a guard page below, and used
//! again for the next birth.

use crate::{Result, raw};
use core::sync::atomic::{AtomicUsize, Ordering};

/// Room enough for the child's few calls, also without optimisation.
const SIZE: usize = 64 * 1024;

/// The lowest part, which nobody may touch; a multiple of every page size up to 64 kB would cost address space
/// only, but 16 kB is the largest in use.
const GUARD: usize = 16 * 1024;

/// A stack that waits for the next birth, by address; 0 if there is none.
static SPARE: AtomicUsize = AtomicUsize::new(0);

/// A stack in use.
pub(super) struct Stack(usize);

impl Stack {
    /// The spare one, or a new one. ENOMEM.
    pub(super) fn take() -> Result<Stack> {
        match SPARE.swap(0, Ordering::Acquire) {
            0 => map().map(Stack),
            spare => Ok(Stack(spare)),
        }
    }

    /// Keeps it for the next birth, or unmaps it when another one waits already.
    pub(super) fn give_back(self) {
        if SPARE.compare_exchange(0, self.0, Ordering::Release, Ordering::Relaxed).is_err() {
            // SAFETY: the mapping was made by `map` with this size, and the child that used it is gone.
            let done = unsafe { raw::call(libc::SYS_munmap, [self.0, SIZE, 0, 0, 0, 0]) };
            debug_assert!(done.is_ok());
        }
    }

    /// Its lowest address that may be used.
    pub(super) fn bottom(&self) -> usize {
        self.0 + GUARD
    }

    /// Its size in bytes, a multiple of 16.
    pub(super) fn size(&self) -> usize {
        SIZE - GUARD
    }
}

fn map() -> Result<usize> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_STACK | libc::MAP_NORESERVE;
    let access = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a new private mapping touches no memory of anybody.
    let base =
        unsafe { raw::call(libc::SYS_mmap, [0, SIZE, access as usize, flags as usize, usize::MAX, 0]) }?;
    // SAFETY: this is the lower part of the mapping that was just made.
    unsafe { raw::call(libc::SYS_mprotect, [base, GUARD, libc::PROT_NONE as usize, 0, 0, 0]) }?;
    Ok(base)
}
