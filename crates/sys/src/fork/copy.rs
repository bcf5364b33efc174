//! fork(2): a child that is a copy of us and goes on with our code. For those who must: its cost grows with our
//! memory, and in a process of several threads the copy has one thread only and every lock of the others as it
//! was, for ever.
//!
//! By the C library's fork(3), which puts its own locks and its idea of the thread right in the child.

use super::Born;
use crate::fd::{self, Access, OwnedFd};
use crate::wait::{self, Who};
use crate::{Result, pidfd};
use doula_model::id::Pid;
use doula_model::plan::Errno;

/// What is done when the process has other threads.
///
/// ```no_run
/// use doula_sys::fork::copy::{Threads, fork};
/// let born = fork(Threads::Refuse, || 42)?;
/// # Ok::<(), doula_model::plan::Errno>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Threads {
    /// EBUSY.
    Refuse,
    /// The child is made all the same. It may wait for ever for a lock that nobody will release, also one that
    /// is hidden in an allocation or in a message to standard output.
    Accept,
}

/// The code of a child that panicked, as Rust's own.
const PANICKED: u8 = 101;

/// `fork()`—runs `child` in a copy of this process and ends it by `_exit` with the code that comes back, so
/// that no exit handler of ours runs twice. EBUSY when there are other threads and they are refused.
///
/// The copy waits until we have its handle, so that it has not run, and nothing is left of it, when we get none (EMFILE).
///
/// What is buffered for a C stream is written before, so that it is not written twice; buffers of Rust are the
/// caller's business.
///
/// <https://man7.org/linux/man-pages/man3/fork.3p.html>
pub fn fork(threads: Threads, child: impl FnOnce() -> u8) -> Result<Born> {
    if threads == Threads::Refuse && count_threads()? > 1 {
        return Err(Errno::EBUSY);
    }
    let (hear, tell) = fd::pipe()?;
    flush();
    // SAFETY: the child has a consistent copy of all that this thread sees. What other threads were changing is
    // behind locks that they hold in the copy too: it cannot be seen broken, only waited for.
    match unsafe { libc::fork() } {
        0 => {
            drop(tell);
            if !may_run(&hear) {
                // SAFETY: takes a number, and does not return.
                unsafe { libc::_exit(i32::from(PANICKED)) };
            }
            drop(hear);
            run(child)
        }
        -1 => Err(last_error()),
        number => {
            let pid = Pid::new(number).ok_or(Errno::ESRCH)?;
            let handle = pidfd::open(pid);
            // There is room, and somebody to read it: our own end.
            let told = fd::write(&tell, &[if handle.is_ok() { RUN } else { END }]);
            match handle.and_then(|pidfd| told.map(|_| Born { pid, pidfd })) {
                Ok(born) => Ok(born),
                Err(errno) => {
                    drop(tell);
                    // ECHILD: somebody else buried it.
                    let _ = wait::end(Who::Pid(pid));
                    Err(errno)
                }
            }
        }
    }
}

/// What a copy is told.
const RUN: u8 = b'+';
const END: u8 = b'-';

/// Whether our original has our handle. If it says nothing it is dead, and nobody wants us.
fn may_run(hear: &OwnedFd) -> bool {
    let mut word = [END];
    loop {
        match fd::read(hear, &mut word) {
            Err(Errno::EINTR) => {}
            answer => return answer == Ok(1) && word == [RUN],
        }
    }
}

/// `fflush(NULL)`—writes what is buffered in streams of the C library.
pub(super) fn flush() {
    // SAFETY: a null pointer means all streams.
    unsafe { libc::fflush(core::ptr::null_mut()) };
}

/// The child must never get out into the code of its parent, not even by a panic.
pub(super) fn run(child: impl FnOnce() -> u8) -> ! {
    struct Leave(u8);
    impl Drop for Leave {
        fn drop(&mut self) {
            flush();
            // SAFETY: takes a number, and does not return.
            unsafe { libc::_exit(i32::from(self.0)) };
        }
    }
    let mut leave = Leave(PANICKED);
    leave.0 = child();
    drop(leave);
    unreachable!("the process has ended")
}

pub(crate) fn last_error() -> Errno {
    // SAFETY: only tells an address.
    let at = unsafe { libc::__errno_location() };
    // SAFETY: it is that of this thread's errno, which lives as long as the thread.
    Errno(unsafe { *at })
}

/// How many threads we have: the entries of `/proc/self/task`.
pub fn count_threads() -> Result<usize> {
    let tasks = fd::open(c"/proc/self/task", Access::Directory)?;
    let mut count = 0;
    fd::entries(&tasks, |name| count += usize::from(!name.starts_with(b".")))?;
    Ok(count)
}
