//! Signals: the mask, the dispositions, and signals as something to read.

use crate::fd::{AsFd, AsRawFd, OwnedFd};
use crate::{Result, fd, raw};
use core::mem::{MaybeUninit, size_of};
use core::sync::atomic::{AtomicU8, Ordering};
use core::time::Duration;
use doula_model::id::Pid;
use doula_model::plan::Errno;
use doula_model::signal::Signal;

/// A set of signals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct SignalSet(u64);

impl SignalSet {
    /// None.
    pub const EMPTY: SignalSet = SignalSet(0);
    /// All of them. The kernel leaves KILL and STOP out wherever they cannot be.
    pub const FULL: SignalSet = SignalSet(u64::MAX);

    /// This set and one more.
    #[must_use]
    pub const fn with(self, signal: Signal) -> SignalSet {
        SignalSet(self.0 | bit(signal))
    }

    /// This set but one.
    #[must_use]
    pub const fn without(self, signal: Signal) -> SignalSet {
        SignalSet(self.0 & !bit(signal))
    }

    /// Whether it is in.
    pub const fn contains(self, signal: Signal) -> bool {
        self.0 & bit(signal) != 0
    }

    /// Bit `n - 1` is signal `n`, as in `/proc/PID/status`.
    pub const fn bits(self) -> u64 {
        self.0
    }
}

impl FromIterator<Signal> for SignalSet {
    fn from_iter<I: IntoIterator<Item = Signal>>(signals: I) -> SignalSet {
        signals.into_iter().fold(SignalSet::EMPTY, SignalSet::with)
    }
}

const fn bit(signal: Signal) -> u64 {
    1 << (signal.number() - 1)
}

/// `rt_sigprocmask(SIG_SETMASK, mask)`—these signals, and no others, are held back in this thread; returns
/// those that were before.
///
/// The signals 32 and 33 belong to the C library's threads: block them only for a moment, or where no other
/// thread is.
///
/// <https://man7.org/linux/man-pages/man2/sigprocmask.2.html>
#[doc(alias = "sigprocmask")]
pub fn set_mask(mask: SignalSet) -> SignalSet {
    let mut old = SignalSet::EMPTY;
    let args = [libc::SIG_SETMASK as usize, &raw const mask as usize, &raw mut old as usize, 8, 0, 0];
    // SAFETY: both sets are 8 bytes, as said, and outlive the call.
    let done = unsafe { raw::call(libc::SYS_rt_sigprocmask, args) };
    debug_assert!(done.is_ok(), "fails on bad pointers only");
    old
}

/// What a signal does when it is delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// What signal(7) says: ends, stops or continues the process, or nothing.
    Default,
    /// Nothing; and for CHLD: children are never zombies, their status is lost.
    Ignored,
    /// A handler of this process runs.
    Caught,
}

/// The kernel's `struct sigaction` (not the C library's).
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Action {
    pub(crate) handler: usize,
    flags: usize,
    restorer: usize,
    mask: u64,
}

impl Action {
    pub(crate) const DEFAULT: Action = Action { handler: libc::SIG_DFL, flags: 0, restorer: 0, mask: 0 };
    pub(crate) const IGNORE: Action = Action { handler: libc::SIG_IGN, flags: 0, restorer: 0, mask: 0 };
}

/// `rt_sigaction(signal, NULL, old)`—what this process does with a signal.
///
/// <https://man7.org/linux/man-pages/man2/sigaction.2.html>
#[doc(alias = "sigaction")]
pub fn disposition(signal: Signal) -> Disposition {
    let mut old = Action::DEFAULT;
    let args = [signal.number() as usize, 0, &raw mut old as usize, 8, 0, 0];
    // SAFETY: no new action is given, and the old one has the kernel's layout.
    let done = unsafe { raw::call(libc::SYS_rt_sigaction, args) };
    debug_assert!(done.is_ok(), "every signal of 1 to 64 has a disposition");
    match old.handler {
        libc::SIG_DFL => Disposition::Default,
        libc::SIG_IGN => Disposition::Ignored,
        _ => Disposition::Caught,
    }
}

/// `rt_sigaction(signal, SIG_IGN)`—drops this signal from now on, and also those of it that are pending. It
/// stays ignored over execve. EINVAL for KILL and STOP.
#[doc(alias = "sigaction")]
pub fn ignore(signal: Signal) -> Result<()> {
    if is_real_time(signal) {
        REAL_TIME.store(SOME_IGNORED, Ordering::Relaxed);
    }
    set(signal, &Action::IGNORE)
}

/// What is known of our real-time signals: a value of the three below.
static REAL_TIME: AtomicU8 = AtomicU8::new(UNKNOWN);
const UNKNOWN: u8 = 0;
const NONE_IGNORED: u8 = 1;
const SOME_IGNORED: u8 = 2;

/// Whether this process may ignore a real-time signal. All are looked at once, and [`ignore`] is remembered.
pub(crate) fn real_time_may_be_ignored() -> bool {
    if REAL_TIME.load(Ordering::Relaxed) == UNKNOWN {
        let ignored = Signal::all().filter(|&signal| is_real_time(signal));
        let some = ignored.map(disposition).any(|found| found == Disposition::Ignored);
        let seen = if some { SOME_IGNORED } else { NONE_IGNORED };
        // Whoever was told of one meanwhile knows better.
        let _ = REAL_TIME.compare_exchange(UNKNOWN, seen, Ordering::Relaxed, Ordering::Relaxed);
    }
    REAL_TIME.load(Ordering::Relaxed) == SOME_IGNORED
}

/// Also those two that the C library keeps for itself.
pub(crate) const fn is_real_time(signal: Signal) -> bool {
    const LAST_STANDARD: i32 = 31;
    signal.number() > LAST_STANDARD
}

/// `rt_sigaction(signal, SIG_DFL)`—gives the signal its default action back. EINVAL for KILL and STOP.
#[doc(alias = "sigaction")]
pub fn reset(signal: Signal) -> Result<()> {
    set(signal, &Action::DEFAULT)
}

#[inline(always)]
pub(crate) fn set(signal: Signal, action: &Action) -> Result<()> {
    let args = [signal.number() as usize, core::ptr::from_ref(action) as usize, 0, 8, 0, 0];
    // SAFETY: the action has the kernel's layout and names no handler of ours.
    unsafe { raw::call(libc::SYS_rt_sigaction, args) }.map(drop)
}

/// `signalfd4(-1, mask, SFD_NONBLOCK | SFD_CLOEXEC)`—an fd from which pending signals of this set are read.
/// They must be blocked in every thread, or they are delivered as ever.
///
/// <https://man7.org/linux/man-pages/man2/signalfd.2.html>
pub fn signalfd(mask: SignalSet) -> Result<OwnedFd> {
    let flags = libc::SFD_NONBLOCK | libc::SFD_CLOEXEC;
    let args = [usize::MAX, &raw const mask as usize, 8, flags as usize, 0, 0];
    // SAFETY: the mask is 8 bytes, as said.
    unsafe { raw::call(libc::SYS_signalfd4, args) }.map(fd::adopt)
}

/// A signal that arrived, and from whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrived {
    /// Which.
    pub signal: Signal,
    /// `si_code`: 0 (`SI_USER`) by kill(2), negative by other calls, positive from the kernel.
    pub code: i32,
    /// Who sent it; `None` for the kernel, or from outside of our PID namespace.
    pub sender: Option<Pid>,
    /// The sender's real user.
    pub uid: u32,
    /// The value that came with it (sigqueue(3)).
    pub value: i32,
}

/// `read(signalfd)`—the next pending signal, `None` when there is none (any more).
///
/// Several signals of one number below 34 that come before the read are one.
pub fn next(signalfd: impl AsFd) -> Result<Option<Arrived>> {
    let mut info = MaybeUninit::<libc::signalfd_siginfo>::uninit();
    let size = size_of::<libc::signalfd_siginfo>();
    let args = [signalfd.as_fd().as_raw_fd() as usize, info.as_mut_ptr() as usize, size, 0, 0, 0];
    // SAFETY: the kernel writes at most `size` bytes, which the buffer holds.
    match unsafe { raw::call(libc::SYS_read, args) } {
        Ok(count) if count == size => {}
        Ok(_) => return Err(Errno::EIO),
        Err(Errno::EAGAIN) => return Ok(None),
        Err(errno) => return Err(errno),
    }
    // SAFETY: the kernel filled all of it.
    let info = unsafe { info.assume_init() };
    let signal = Signal::new(info.ssi_signo as i32).ok_or(Errno::EIO)?;
    let from_kernel = info.ssi_code > 0;
    let sender = if from_kernel { None } else { Pid::new(info.ssi_pid as i32) };
    Ok(Some(Arrived { signal, code: info.ssi_code, sender, uid: info.ssi_uid, value: info.ssi_int }))
}

/// `rt_sigtimedwait(set, timeout)`—takes the next pending signal of a set, and waits for it if need be: for ever
/// (`None`), or until the time is over (then `None` comes back). The set must be blocked.
///
/// A process that waits for nothing but signals needs no fd for it. EINTR when a signal outside of the set was
/// handled, or after a stop.
///
/// <https://man7.org/linux/man-pages/man2/sigtimedwait.2.html>
#[doc(alias = "sigtimedwait")]
#[doc(alias = "sigwaitinfo")]
pub fn wait(set: SignalSet, timeout: Option<Duration>) -> Result<Option<Arrived>> {
    /// The part of `siginfo_t` that signals of processes fill.
    #[repr(C)]
    struct Info {
        signal: i32,
        errno: i32,
        code: i32,
        align: i32,
        pid: i32,
        uid: u32,
        value: i32,
        rest: [i32; 25],
    }
    const { assert!(size_of::<Info>() == size_of::<libc::siginfo_t>()) };
    let mut info = Info { signal: 0, errno: 0, code: 0, align: 0, pid: 0, uid: 0, value: 0, rest: [0; 25] };
    let time = timeout.map(|time| [time.as_secs().min(i64::MAX as u64), u64::from(time.subsec_nanos())]);
    let time_at = time.as_ref().map_or(0, |time| time.as_ptr() as usize);
    let args = [&raw const set as usize, &raw mut info as usize, time_at, 8, 0, 0];
    // SAFETY: the set is 8 bytes, the information has the kernel's size, the time is null or two 64-bit numbers.
    match unsafe { raw::call(libc::SYS_rt_sigtimedwait, args) } {
        Ok(_) => {}
        Err(Errno::EAGAIN) => return Ok(None),
        Err(errno) => return Err(errno),
    }
    let signal = Signal::new(info.signal).ok_or(Errno::EIO)?;
    let sender = if info.code > 0 { None } else { Pid::new(info.pid) };
    Ok(Some(Arrived { signal, code: info.code, sender, uid: info.uid, value: info.value }))
}

/// `tgkill(self)`—sends a signal to the calling thread, delivered before this returns unless it is blocked.
///
/// <https://man7.org/linux/man-pages/man2/tgkill.2.html>
pub fn raise(signal: Signal) -> Result<()> {
    let thread = rustix::thread::gettid().as_raw_nonzero().get() as usize;
    let args = [crate::group::pid().get() as usize, thread, signal.number() as usize, 0, 0, 0];
    // SAFETY: tgkill takes numbers only.
    unsafe { raw::call(libc::SYS_tgkill, args) }.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::poll;

    #[test]
    fn a_blocked_signal_is_read_with_its_sender() {
        let set = SignalSet::EMPTY.with(Signal::USR2);
        let old = set_mask(set);
        let signals = signalfd(set).expect("signalfd");
        assert_eq!(next(&signals), Ok(None));
        raise(Signal::USR2).expect("raise");
        assert_eq!(poll::readable(&signals, None), Ok(true));
        let arrived = next(&signals).expect("read").expect("pending");
        assert_eq!((arrived.signal, arrived.sender), (Signal::USR2, Some(crate::group::pid())));
        assert!(arrived.code <= 0);
        assert_eq!(next(&signals), Ok(None));
        assert_eq!(set_mask(old), set);
    }

    #[test]
    fn a_blocked_signal_is_waited_for_and_time_runs_out_without_one() {
        let signal = Signal::new(61).expect("a real-time signal");
        let set = SignalSet::EMPTY.with(signal);
        let old = set_mask(set);
        assert_eq!(wait(set, Some(Duration::ZERO)), Ok(None));
        raise(signal).expect("raise");
        let arrived = wait(set, None).expect("wait").expect("pending");
        assert_eq!((arrived.signal, arrived.sender), (signal, Some(crate::group::pid())));
        set_mask(old);
    }

    #[test]
    fn dispositions_are_set_and_seen() {
        let signal = Signal::new(60).expect("a real-time signal");
        assert_eq!(disposition(signal), Disposition::Default);
        ignore(signal).expect("ignore");
        assert_eq!(disposition(signal), Disposition::Ignored);
        reset(signal).expect("reset");
        assert_eq!(disposition(signal), Disposition::Default);
        assert_eq!(ignore(Signal::KILL), Err(Errno::EINVAL));
    }

    #[test]
    fn sets_hold_what_was_put_in() {
        let set: SignalSet = [Signal::HUP, Signal::TERM].into_iter().collect();
        assert!(set.contains(Signal::HUP) && set.contains(Signal::TERM) && !set.contains(Signal::INT));
        assert_eq!(set.without(Signal::HUP).bits(), 1 << 14);
    }
}
