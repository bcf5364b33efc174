//! Signals that are caught, wherever in this process they arrive: a handler that writes their numbers into a pipe, and does
//! nothing else.
//!
//! A signalfd ([`crate::signal::signalfd`]) needs the signals blocked in every thread, which a library cannot know of a
//! program, and which children inherit. A handler needs nothing, and execve(2) resets it.
//!
//! A copy of this process (fork(2)) has the handler and the pipe too. There the handler must not speak to its original: it
//! gives the signal its default action back, and lets it happen.

use crate::fd::{self, AsFd, BorrowedFd, IntoRawFd as _, OwnedFd};
use crate::fork::mark;
use crate::signal::{self, Action};
use crate::{Result, start};
use alloc::vec::Vec;
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use doula_model::plan::Errno;
use doula_model::signal::Signal;

/// What signals are caught for. Each purpose has one pipe and can be pursued once at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Somebody asks this process to end. Who asks a third time ends it at once (128+n), also when nobody reads.
    End = 0,
    /// Something is to be looked at.
    Look = 1,
}

/// So many requests end the process at once.
const FATAL: u32 = 3;

/// The pipe of a purpose, and whose it is. Both ends stay open for ever once they are: a handler may be about to write.
struct Channel {
    owner: AtomicU64,
    reader: AtomicI32,
    writer: AtomicI32,
    taken: AtomicU64,
}

static CHANNELS: [Channel; 2] = [const {
    Channel {
        owner: AtomicU64::new(0),
        reader: AtomicI32::new(-1),
        writer: AtomicI32::new(-1),
        taken: AtomicU64::new(0),
    }
}; 2];

/// What was done with a signal before, for the handler: the address of a handler, or 0; and its flags.
struct Before {
    handler: AtomicUsize,
    purpose: AtomicUsize,
}

static BEFORE: [Before; 65] =
    [const { Before { handler: AtomicUsize::new(0), purpose: AtomicUsize::new(0) } }; 65];
/// How often somebody asked this process to end.
static ASKED: AtomicU32 = AtomicU32::new(0);

/// Signals that are caught. Readable ([`AsFd`]) when one has arrived. Dropped, what was done with them before is done again.
pub struct Caught {
    purpose: Purpose,
    owner: u64,
    before: Vec<(Signal, libc::sigaction)>,
}

impl core::fmt::Debug for Caught {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let signals: Vec<Signal> = self.before.iter().map(|(signal, _)| *signal).collect();
        f.debug_struct("Caught").field("purpose", &self.purpose).field("signals", &signals).finish()
    }
}

impl Caught {
    /// `sigaction(signal, handler, SA_RESTART)`—catches these signals from now on. A handler that was there before runs as
    /// well. EBUSY when signals are caught for this purpose already; EINVAL for KILL and STOP.
    ///
    /// <https://man7.org/linux/man-pages/man2/sigaction.2.html>
    #[doc(alias = "sigaction")]
    pub fn new(purpose: Purpose, signals: &[Signal]) -> Result<Caught> {
        let owner = mark::identity();
        let channel = &CHANNELS[purpose as usize];
        let taken = channel.taken.load(Ordering::Acquire);
        let free = taken != owner
            && channel.taken.compare_exchange(taken, owner, Ordering::AcqRel, Ordering::Acquire).is_ok();
        if !free {
            return Err(Errno::EBUSY);
        }
        // From here on dropping gives back what was taken.
        let mut caught = Caught { purpose, owner, before: Vec::new() };
        channel.open(owner)?;
        if purpose == Purpose::End {
            ASKED.store(0, Ordering::Relaxed);
        }
        for &signal in signals {
            caught.before.push((signal, install(signal, purpose)?));
        }
        Ok(caught)
    }

    /// `read(pipe)`—the next signal that arrived, `None` when there is none (any more), or in a copy of the process that caught
    /// them. Of many of one kind some may be lost, never all.
    pub fn next(&self) -> Result<Option<Signal>> {
        let mut number = [0];
        loop {
            if self.owner != mark::known_identity() {
                return Ok(None);
            }
            match fd::read(self, &mut number) {
                Ok(_) => return Ok(Signal::new(i32::from(number[0]))),
                Err(Errno::EAGAIN) => return Ok(None),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno),
            }
        }
    }
}

impl AsFd for Caught {
    fn as_fd(&self) -> BorrowedFd<'_> {
        let number = CHANNELS[self.purpose as usize].reader.load(Ordering::Acquire);
        // SAFETY: opened before we were made, and never closed by the process that we are of.
        unsafe { BorrowedFd::borrow_raw(number) }
    }
}

impl Drop for Caught {
    fn drop(&mut self) {
        for (signal, before) in self.before.iter().rev() {
            // SAFETY: the action is one that was in force before, and nothing is told back.
            unsafe { libc::sigaction(signal.number(), before, core::ptr::null_mut()) };
        }
        // In a copy nobody else can have taken it over before this value is gone.
        let taken = &CHANNELS[self.purpose as usize].taken;
        let _ = taken.compare_exchange(self.owner, 0, Ordering::AcqRel, Ordering::Acquire);
    }
}

impl Channel {
    /// Opens the pipe if this process has none yet; an older one has nothing to tell any more.
    fn open(&self, owner: u64) -> Result<()> {
        if self.owner.load(Ordering::Acquire) == owner {
            let mut rest = [0; 64];
            // SAFETY: this process opened it, and never closes it.
            let reader = unsafe { BorrowedFd::borrow_raw(self.reader.load(Ordering::Acquire)) };
            while fd::read(reader, &mut rest).is_ok() {}
            return Ok(());
        }
        let (reader, writer) = fd::pipe()?;
        fd::set_nonblocking(&reader, true)?;
        fd::set_nonblocking(&writer, true)?;
        for (slot, end) in [(&self.reader, reader), (&self.writer, writer)] {
            // What was there is our duplicate of the end of our original, which nobody here uses.
            let inherited = slot.swap(end.into_raw_fd(), Ordering::AcqRel);
            if let Ok(inherited) = usize::try_from(inherited) {
                drop::<OwnedFd>(fd::adopt(inherited));
            }
        }
        self.owner.store(owner, Ordering::Release);
        Ok(())
    }
}

/// A handler of C with all its arguments; one that wants the first alone ignores the others.
type Handler = extern "C" fn(i32, *mut libc::siginfo_t, *mut core::ffi::c_void);

fn install(signal: Signal, purpose: Purpose) -> Result<libc::sigaction> {
    let before_signal = &BEFORE[signal.number() as usize];
    before_signal.purpose.store(purpose as usize, Ordering::Release);
    let mut old = MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: nothing is set, and the old action goes where there is room for it.
    if unsafe { libc::sigaction(signal.number(), core::ptr::null(), old.as_mut_ptr()) } != 0 {
        return Err(Errno::EINVAL);
    }
    // SAFETY: the call succeeded and filled it.
    let old = unsafe { old.assume_init() };
    let other = !matches!(old.sa_sigaction, libc::SIG_DFL | libc::SIG_IGN)
        && old.sa_sigaction != handler as *const () as usize;
    before_signal.handler.store(if other { old.sa_sigaction } else { 0 }, Ordering::Release);
    let mut new = old;
    new.sa_sigaction = handler as *const () as usize;
    new.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART | libc::SA_ONSTACK;
    // SAFETY: the set is a field of a whole action.
    unsafe { libc::sigfillset(&mut new.sa_mask) };
    // SAFETY: the handler does nothing that a signal handler may not do.
    match unsafe { libc::sigaction(signal.number(), &new, core::ptr::null_mut()) } {
        0 => Ok(old),
        _ => Err(Errno::EINVAL),
    }
}

/// Writes the number into the pipe. Bare system calls and atomics only; errno is not touched.
extern "C" fn handler(number: i32, info: *mut libc::siginfo_t, context: *mut core::ffi::c_void) {
    let (Some(signal), Some(before)) = (Signal::new(number), BEFORE.get(number as usize)) else { return };
    let channel = &CHANNELS[before.purpose.load(Ordering::Acquire) % CHANNELS.len()];
    if channel.owner.load(Ordering::Acquire) != mark::known_identity() {
        return in_a_copy(signal, before, info, context);
    }
    let to_end = before.purpose.load(Ordering::Acquire) == Purpose::End as usize;
    if to_end && ASKED.fetch_add(1, Ordering::AcqRel) + 1 >= FATAL {
        start::exit(128 | number as u8);
    }
    // SAFETY: the pipe of this process is never closed.
    let writer = unsafe { BorrowedFd::borrow_raw(channel.writer.load(Ordering::Acquire)) };
    // A full pipe has enough to tell.
    let _ = fd::write(writer, &[number as u8]);
    as_before(before, info, context, number);
}

/// What would have happened without us.
fn in_a_copy(signal: Signal, before: &Before, info: *mut libc::siginfo_t, context: *mut core::ffi::c_void) {
    if before.handler.load(Ordering::Acquire) != 0 {
        return as_before(before, info, context, signal.number());
    }
    // The signal is blocked while its handler runs, and comes again when it returns.
    let again = signal::set(signal, &Action::DEFAULT).and_then(|()| signal::raise(signal));
    debug_assert!(again.is_ok(), "a signal that was caught can be raised");
}

/// The handler that was there before us.
fn as_before(before: &Before, info: *mut libc::siginfo_t, context: *mut core::ffi::c_void, number: i32) {
    let address = before.handler.load(Ordering::Acquire);
    if address != 0 {
        // SAFETY: sigaction(2) told this address as that of a handler. It gets what the kernel gave to us; a handler of one
        // argument finds it in the first register.
        let handler: Handler = unsafe { core::mem::transmute::<usize, Handler>(address) };
        handler(number, info, context);
    }
}

/// `atexit(run)`—calls this when the process ends by exit(3) or by a return from `main`; later ones first. Also in a copy of
/// the process (fork(2)): [`mark::identity`] tells. ENOMEM when there are too many.
///
/// <https://man7.org/linux/man-pages/man3/atexit.3.html>
#[doc(alias = "atexit")]
pub fn at_exit(run: extern "C" fn()) -> Result<()> {
    // SAFETY: the function lives as long as the process.
    match unsafe { libc::atexit(run) } {
        0 => Ok(()),
        _ => Err(Errno::ENOMEM),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fork::copy::{Threads, fork};
    use crate::poll;
    use crate::signal::{Disposition, disposition};
    use crate::wait::{self, Who};
    use doula_model::exit::ExitStatus;
    use std::sync::Mutex;

    /// There is one of each purpose.
    static ONE: Mutex<()> = Mutex::new(());

    #[test]
    fn a_caught_signal_is_read_and_all_is_as_before_when_it_is_dropped() {
        let _one = ONE.lock().expect("no panic");
        let caught = Caught::new(Purpose::Look, &[Signal::USR1]).expect("free");
        assert_eq!(Caught::new(Purpose::Look, &[Signal::USR2]).map(drop), Err(Errno::EBUSY));
        assert_eq!((disposition(Signal::USR1), caught.next()), (Disposition::Caught, Ok(None)));
        signal::raise(Signal::USR1).expect("ourselves");
        assert_eq!(poll::readable(&caught, None), Ok(true));
        assert_eq!(caught.next(), Ok(Some(Signal::USR1)));
        drop(caught);
        assert_eq!(disposition(Signal::USR1), Disposition::Default);
        let again = Caught::new(Purpose::Look, &[Signal::USR1, Signal::KILL]).map(drop);
        assert_eq!(again, Err(Errno::EINVAL), "nobody catches KILL");
        assert_eq!(disposition(Signal::USR1), Disposition::Default, "nothing is left half done");
    }

    #[test]
    fn a_copy_ends_by_the_signal_and_its_original_hears_nothing() {
        let _one = ONE.lock().expect("no panic");
        let caught = Caught::new(Purpose::Look, &[Signal::USR2]).expect("free");
        let born = fork(Threads::Accept, || signal::raise(Signal::USR2).map_or(1, |()| 0));
        let born = born.expect("fork");
        let end = wait::end(Who::Pidfd(born.pidfd.as_fd()));
        assert_eq!(end, Ok(ExitStatus::signal(Signal::USR2)));
        assert_eq!(caught.next(), Ok(None));
    }

    #[test]
    fn a_copy_catches_signals_of_its_own() {
        let _one = ONE.lock().expect("no panic");
        let caught = Caught::new(Purpose::Look, &[Signal::WINCH]).expect("free");
        let born = fork(Threads::Accept, || {
            let Ok(own) = Caught::new(Purpose::Look, &[Signal::WINCH]) else { return 1 };
            let raised = signal::raise(Signal::WINCH);
            u8::from(raised.is_err() || own.next() != Ok(Some(Signal::WINCH)))
        });
        let born = born.expect("fork");
        assert_eq!(wait::end(Who::Pidfd(born.pidfd.as_fd())), Ok(ExitStatus::code(0)));
        assert_eq!(caught.next(), Ok(None));
    }
}
