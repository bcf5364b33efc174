//! Which process we are, known also to a copy of us: a word of memory that fork(2) empties in the child.
//!
//! The number of a process does not tell a copy from its original where both are, say, PID 1 of their namespaces; the
//! word does.

use crate::raw;
use core::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

/// Where the word is; 0 before anybody asked.
static PLACE: AtomicUsize = AtomicUsize::new(0);
/// So many identities were taken by us and by those whose copies we are.
static TAKEN: AtomicU32 = AtomicU32::new(0);
/// Where no page can be had. The number of the process in it tells copies apart all the same.
static SPARE: AtomicU64 = AtomicU64::new(0);
/// The size of the smallest mapping on every machine that doula runs on.
const PAGE: usize = 4096;

/// `madvise(MADV_WIPEONFORK)`—who this process is: never 0, the same on every call, and another one in a copy of it
/// (fork(2)), in the copies of that, and so on. A number has no meaning beside that.
///
/// <https://man7.org/linux/man-pages/man2/madvise.2.html>
#[doc(alias = "madvise")]
#[doc(alias = "MADV_WIPEONFORK")]
pub fn identity() -> u64 {
    let word = place();
    loop {
        let now = current(word);
        if now != 0 {
            return now;
        }
        let old = word.load(Ordering::Acquire);
        let number = TAKEN.fetch_add(1, Ordering::Relaxed).wrapping_add(1).max(1);
        let new = u64::from(number) << u32::BITS | own_number();
        // Another thread may be quicker: then its word counts.
        let _ = word.compare_exchange(old, new, Ordering::AcqRel, Ordering::Acquire);
    }
}

/// What [`identity`] has said in this process; 0 when nobody asked in it. For signal handlers.
pub fn known_identity() -> u64 {
    match PLACE.load(Ordering::Acquire) {
        0 => 0,
        at => current(word_at(at)),
    }
}

fn current(word: &AtomicU64) -> u64 {
    let value = word.load(Ordering::Acquire);
    // A child that shares our memory until it executes its program (vfork) has another number.
    if value & u64::from(u32::MAX) == own_number() { value } else { 0 }
}

fn own_number() -> u64 {
    crate::group::pid().get() as u64
}

fn place() -> &'static AtomicU64 {
    if PLACE.load(Ordering::Acquire) == 0 {
        let new = page().unwrap_or(&raw const SPARE as usize);
        // A page that came second stays unused.
        let _ = PLACE.compare_exchange(0, new, Ordering::AcqRel, Ordering::Acquire);
    }
    word_at(PLACE.load(Ordering::Acquire))
}

fn word_at(address: usize) -> &'static AtomicU64 {
    // SAFETY: the address is that of SPARE, or of a page of zeros, aligned, that is never given back.
    unsafe { &*core::ptr::with_exposed_provenance::<AtomicU64>(address) }
}

/// A page of zeros that is one of zeros again in a copy of this process.
fn page() -> Option<usize> {
    let protection = (libc::PROT_READ | libc::PROT_WRITE) as usize;
    let kind = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as usize;
    // SAFETY: a new mapping, at a place that the kernel chooses.
    let at = unsafe { raw::call(libc::SYS_mmap, [0, PAGE, protection, kind, usize::MAX, 0]) }.ok()?;
    // SAFETY: the mapping is ours alone, and keeps its content in this process.
    let _ = unsafe { raw::call(libc::SYS_madvise, [at, PAGE, libc::MADV_WIPEONFORK as usize, 0, 0, 0]) };
    Some(at)
}

#[cfg(all(test, feature = "std"))]
mod tests {
    use super::*;
    use crate::fd::AsFd as _;
    use crate::fork::copy::{Threads, fork};
    use crate::wait::{self, Who};
    use doula_model::exit::ExitStatus;

    #[test]
    fn a_copy_is_somebody_else_and_so_is_a_copy_of_it() {
        let us = identity();
        assert_eq!((identity(), known_identity()), (us, us));
        let born = fork(Threads::Accept, || {
            let unknown = known_identity() == 0;
            let copy = identity();
            let deeper = fork(Threads::Accept, || u8::from([us, copy].contains(&identity())));
            let deeper = deeper.and_then(|born| wait::end(Who::Pidfd(born.pidfd.as_fd())));
            u8::from(!unknown || copy == us || copy != identity() || deeper != Ok(ExitStatus::code(0)))
        });
        let born = born.expect("fork");
        assert_eq!(wait::end(Who::Pidfd(born.pidfd.as_fd())), Ok(ExitStatus::code(0)));
        assert_eq!(identity(), us);
    }
}
