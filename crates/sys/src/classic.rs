//! The calls of old, which name processes by number and children by luck: fork(2) by itself, kill(2), wait4(2),
//! sigaction(2) with a handler. Feature `classic`.
//!
//! [`files`], [`pages`] and [`terminals`] are the same for descriptors, memory and terminals, [`rights`] for users, limits and namespaces,
//! [`tracing`] for ptrace(2).
//!
//! They are for one purpose: programs that do on Linux what a program does on paper, so that both can be
//! compared. Nothing that supervises uses them: it has handles, plans and a signalfd.

pub mod files;
pub mod pages;
pub mod rights;
pub mod terminals;
pub mod tracing;

use crate::fork::clone::{CloneArgs, SIZE_WITHOUT_CGROUP};
use crate::{Result, raw};
use alloc::vec::Vec;
use core::cell::Cell;
use doula_model::plan::Errno;
use doula_model::signal::Signal;

/// `__WALL`: children whatever their exit signal.
pub const WALL: i32 = libc::__WALL;

/// More signals than this are not noted before they are asked for.
const MOST: usize = 64;

/// What a handler was told of a signal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Caught {
    /// Its number.
    pub signal: i32,
    /// `si_code`.
    pub code: i32,
    /// `si_pid`.
    pub pid: i32,
    /// `si_status` of a child, `si_value` of sigqueue(3), else 0.
    pub value: i32,
}

std::thread_local! {
    /// How many this thread's handlers took, and the first of them.
    static CAUGHT: (Cell<usize>, [Cell<Caught>; MOST]) =
        const { (Cell::new(0), [const { Cell::new(Caught { signal: 0, code: 0, pid: 0, value: 0 }) }; MOST]) };
}

extern "C" fn note(signal: libc::c_int, info: *const libc::siginfo_t, _context: *const core::ffi::c_void) {
    // SAFETY: the kernel hands a whole siginfo_t to a handler with SA_SIGINFO.
    let info = unsafe { &*info };
    let child = matches!(info.si_code, libc::CLD_EXITED..=libc::CLD_CONTINUED);
    let value = match info.si_code {
        // SAFETY: of sigqueue(3) this field is filled.
        libc::SI_QUEUE => unsafe { info.si_value() }.sival_ptr as usize as i32,
        // SAFETY: of a child this field is filled.
        _ if child => unsafe { info.si_status() },
        _ => 0,
    };
    // SAFETY: a number, whatever it means.
    let pid = if info.si_code == libc::SI_KERNEL { 0 } else { unsafe { info.si_pid() } };
    CAUGHT.with(|(count, all)| {
        if let Some(free) = all.get(count.get()) {
            free.set(Caught { signal, code: info.si_code, pid, value });
            count.set(count.get() + 1);
        }
    });
}

/// What the handlers of [`set_action`] took in this thread since this was asked last.
pub fn take_caught() -> Vec<Caught> {
    CAUGHT.with(|(count, all)| all[..count.replace(0)].iter().map(Cell::get).collect())
}

/// What a signal is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handler {
    /// `SIG_DFL`.
    Default,
    /// `SIG_IGN`.
    Ignore,
    /// A handler that takes note ([`take_caught`]).
    Note,
}

/// The flags of sigaction(2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// `SA_RESTART`.
    pub restart: bool,
    /// `SA_RESETHAND`.
    pub once: bool,
    /// `SA_NOCLDSTOP`.
    pub no_stop: bool,
    /// `SA_NOCLDWAIT`.
    pub no_wait: bool,
}

/// `sigaction(signal, handler and flags, NULL)`.
///
/// <https://man7.org/linux/man-pages/man2/sigaction.2.html>
pub fn set_action(signal: Signal, handler: Handler, flags: Flags) -> Result<()> {
    // SAFETY: `sigaction` is numbers only, for which zero is a value.
    let mut action: libc::sigaction = unsafe { core::mem::zeroed() };
    action.sa_sigaction = match handler {
        Handler::Default => libc::SIG_DFL,
        Handler::Ignore => libc::SIG_IGN,
        Handler::Note => {
            action.sa_flags = libc::SA_SIGINFO;
            note as extern "C" fn(_, _, _) as libc::sighandler_t
        }
    };
    for (on, flag) in [
        (flags.restart, libc::SA_RESTART),
        (flags.once, libc::SA_RESETHAND),
        (flags.no_stop, libc::SA_NOCLDSTOP),
        (flags.no_wait, libc::SA_NOCLDWAIT),
    ] {
        action.sa_flags |= if on { flag } else { 0 };
    }
    // SAFETY: the action is whole, and its handler touches cells of its own thread only, whose readers it may interrupt.
    match unsafe { libc::sigaction(signal.number(), &raw const action, core::ptr::null_mut()) } {
        0 => Ok(()),
        _ => Err(crate::fork::copy::last_error()),
    }
}

/// What a copy of the process is to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Copy {
    /// `CLONE_VFORK`: come back when the child has ended or executed a program. Its memory is its own all the same.
    pub vfork: bool,
    /// `CLONE_PARENT`: a sibling instead of a child.
    pub parent: bool,
    /// `CLONE_NEWPID`: the init of a new PID namespace.
    pub new_pid: bool,
    /// The signal of its end, for wait(2) by `__WCLONE` unless it is SIGCHLD.
    pub exit_signal: Option<Signal>,
    /// `set_tid` of clone3(2): the number that it shall have in its own namespace.
    pub number: Option<i32>,
    /// The caller's word that all other threads sleep in the kernel, so that none of them holds a lock.
    pub others_sleep: bool,
}

/// `clone(flags)`—two processes come back from it: one with the number of the child, the other with `None`.
/// EBUSY when there are other threads, unless they are known to sleep: the copy would have their locks, and not them.
///
/// <https://man7.org/linux/man-pages/man2/clone.2.html>
pub fn copy(how: Copy) -> Result<Option<i32>> {
    if !how.others_sleep {
        // unshare(2) refuses to part what is shared with other threads, and parts nothing when there are none.
        // SAFETY: takes a number.
        let alone = unsafe { raw::call(libc::SYS_unshare, [libc::CLONE_VM as usize, 0, 0, 0, 0, 0]) };
        alone.map_err(|_| Errno::EBUSY)?;
    }
    let mut flags = 0;
    for (on, flag) in
        [(how.vfork, libc::CLONE_VFORK), (how.parent, libc::CLONE_PARENT), (how.new_pid, libc::CLONE_NEWPID)]
    {
        flags |= if on { flag } else { 0 };
    }
    let signal = how.exit_signal.map_or(0, Signal::number);
    let born = match how.number {
        None => {
            let flags = (flags | signal) as usize;
            // SAFETY: without CLONE_VM the child has its own copy of a stack and a memory that no other thread was changing.
            unsafe { raw::call(libc::SYS_clone, [flags, 0, 0, 0, 0, 0]) }
        }
        Some(number) => {
            let (flags, exit_signal, set_tid) = (flags as u64, signal as u64, (&raw const number) as u64);
            let args = CloneArgs { flags, exit_signal, set_tid, set_tid_size: 1, ..CloneArgs::default() };
            let list = [(&raw const args) as usize, SIZE_WITHOUT_CGROUP, 0, 0, 0, 0];
            // SAFETY: as above; the list and the number in it outlive the call.
            unsafe { raw::call(libc::SYS_clone3, list) }
        }
    };
    Ok(i32::try_from(born?).ok().filter(|number| *number > 0))
}

/// Whether a sandbox lets clone3(2) through: without arguments it is refused in another way.
pub fn has_clone3() -> bool {
    // SAFETY: takes numbers, and makes nothing.
    let refused = unsafe { raw::call(libc::SYS_clone3, [0; 6]) };
    refused == Err(Errno::EINVAL)
}

/// `kill(pid, signal)`—also groups, everybody, and signal 0.
///
/// <https://man7.org/linux/man-pages/man2/kill.2.html>
pub fn kill(pid: i32, signal: i32) -> Result<()> {
    // SAFETY: takes numbers.
    unsafe { raw::call(libc::SYS_kill, [pid as usize, signal as usize, 0, 0, 0, 0]) }.map(drop)
}

/// `tgkill(pid, tid, signal)`.
///
/// <https://man7.org/linux/man-pages/man2/tgkill.2.html>
pub fn tgkill(pid: i32, tid: i32, signal: i32) -> Result<()> {
    // SAFETY: takes numbers.
    unsafe { raw::call(libc::SYS_tgkill, [pid as usize, tid as usize, signal as usize, 0, 0, 0]) }.map(drop)
}

/// `sigqueue(pid, signal, value)`.
///
/// <https://man7.org/linux/man-pages/man3/sigqueue.3.html>
pub fn sigqueue(pid: i32, signal: i32, value: i32) -> Result<()> {
    // The beginning of `siginfo_t` on 64 bits: signal, errno, code, padding, pid, uid, value.
    let mut info = [0_i32; 32];
    (info[0], info[2], info[4], info[6]) = (signal, libc::SI_QUEUE, crate::group::pid().get(), value);
    (info[5], info[7]) = (crate::group::users().0 as i32, 0);
    let args = [pid as usize, signal as usize, (&raw const info) as usize, 0, 0, 0];
    // SAFETY: the kernel reads 128 bytes, which outlive the call.
    unsafe { raw::call(libc::SYS_rt_sigqueueinfo, args) }.map(drop)
}

/// `wait4(pid, &status, options, NULL)`: a number and the status word; number 0 when nothing has happened yet.
///
/// <https://man7.org/linux/man-pages/man2/wait4.2.html>
pub fn wait4(pid: i32, options: i32) -> Result<(i32, i32)> {
    let mut status = 0_i32;
    let args = [pid as usize, &raw mut status as usize, options as usize, 0, 0, 0];
    // SAFETY: the kernel writes one number, which outlives the call.
    let number = unsafe { raw::call(libc::SYS_wait4, args) }?;
    Ok((number as i32, status))
}

/// `waitid(kind, id, &info, options)`: a number and what wait4(2) would have said; number 0 when nothing has
/// happened yet.
///
/// <https://man7.org/linux/man-pages/man2/waitid.2.html>
pub fn waitid(kind: u32, id: i32, options: i32) -> Result<(i32, i32)> {
    // SAFETY: `siginfo_t` is numbers and pointers only, for which zero is a value.
    let mut info: libc::siginfo_t = unsafe { core::mem::zeroed() };
    let args = [kind as usize, id as usize, &raw mut info as usize, options as usize, 0, 0];
    // SAFETY: the kernel writes a `siginfo_t`, which outlives the call.
    unsafe { raw::call(libc::SYS_waitid, args) }?;
    // SAFETY: of waitid(2) these fields are filled, or still zero.
    let pid = unsafe { info.si_pid() };
    // SAFETY: as above.
    let status = unsafe { info.si_status() };
    let word = match info.si_code {
        libc::CLD_EXITED => status << 8,
        libc::CLD_DUMPED => status | 0x80,
        libc::CLD_STOPPED | libc::CLD_TRAPPED => status << 8 | 0x7f,
        libc::CLD_CONTINUED => 0xffff,
        _ => status,
    };
    Ok((pid, word))
}

/// `pause()`—comes back by a handler: EINTR.
///
/// <https://man7.org/linux/man-pages/man2/pause.2.html>
pub fn pause() -> Result<()> {
    // SAFETY: takes a null set of fds, no time limit and no mask.
    unsafe { raw::call(libc::SYS_ppoll, [0; 6]) }.map(drop)
}

/// `setpgid(pid, group)`, with numbers as the kernel takes them: 0 for oneself, and wrong ones.
///
/// <https://man7.org/linux/man-pages/man2/setpgid.2.html>
pub fn setpgid(pid: i32, group: i32) -> Result<()> {
    // SAFETY: takes numbers.
    unsafe { raw::call(libc::SYS_setpgid, [pid as usize, group as usize, 0, 0, 0, 0]) }.map(drop)
}

/// `getpgid(pid)`: 0 for a group outside of our namespace.
///
/// <https://man7.org/linux/man-pages/man2/getpgid.2.html>
pub fn getpgid(pid: i32) -> Result<i32> {
    // SAFETY: takes a number.
    unsafe { raw::call(libc::SYS_getpgid, [pid as usize, 0, 0, 0, 0, 0]) }.map(|group| group as i32)
}

/// `getsid(pid)`: 0 for a session outside of our namespace.
///
/// <https://man7.org/linux/man-pages/man2/getsid.2.html>
pub fn getsid(pid: i32) -> Result<i32> {
    // SAFETY: takes a number.
    unsafe { raw::call(libc::SYS_getsid, [pid as usize, 0, 0, 0, 0, 0]) }.map(|session| session as i32)
}

/// `rt_sigprocmask(how, set, old)`: bit `n - 1` for signal `n`; returns the mask that was.
///
/// <https://man7.org/linux/man-pages/man2/sigprocmask.2.html>
pub fn change_mask(how: i32, set: u64) -> u64 {
    let mut old = 0_u64;
    let args = [how as usize, &raw const set as usize, &raw mut old as usize, 8, 0, 0];
    // SAFETY: both sets are 8 bytes, as said, and outlive the call.
    let done = unsafe { raw::call(libc::SYS_rt_sigprocmask, args) };
    debug_assert!(done.is_ok(), "fails on bad pointers and an unknown `how` only");
    old
}

/// The signals that wait for this thread and are blocked (sigpending(2)), bit `n - 1` for signal `n`.
pub fn pending() -> Result<u64> {
    let mut set = 0_u64;
    // SAFETY: the kernel writes 8 bytes, as said, which outlive the call.
    unsafe { raw::call(libc::SYS_rt_sigpending, [&raw mut set as usize, 8, 0, 0, 0, 0]) }?;
    Ok(set)
}

/// `exit_group(code)`—ends the process at once; of the code the low eight bits arrive.
///
/// <https://man7.org/linux/man-pages/man2/exit_group.2.html>
pub fn exit(code: i32) -> ! {
    // SAFETY: takes a number, and does not return.
    unsafe { libc::_exit(code) }
}
