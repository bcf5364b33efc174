//! Handles of processes. A pidfd names one process for ever, where a number may soon name a stranger.
//!
//! A pidfd is readable ([`crate::poll`]) as soon as the process has ended.

use crate::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use crate::{Result, fd, raw};
use doula_model::exit::{Evidence, ExitStatus};
use doula_model::id::Pid;
use doula_model::plan::Errno;
use doula_model::signal::Signal;

/// `pidfd_open(pid)`—a handle of the process that has this number *now*. ESRCH when there is none (a zombie
/// is one).
///
/// A number that was read from `/proc` may have passed to another process before this call: read its start
/// time again afterwards.
///
/// <https://man7.org/linux/man-pages/man2/pidfd_open.2.html>
#[doc(alias = "pidfd_open")]
pub fn open(pid: Pid) -> Result<OwnedFd> {
    // SAFETY: pidfd_open takes numbers only.
    unsafe { raw::call(libc::SYS_pidfd_open, [pid.get() as usize, 0, 0, 0, 0, 0]) }.map(fd::adopt)
}

/// `pidfd_send_signal(pidfd, signal)`—sends a signal to exactly this process. ESRCH once it was reaped; a
/// zombie takes it without effect.
///
/// <https://man7.org/linux/man-pages/man2/pidfd_send_signal.2.html>
#[doc(alias = "pidfd_send_signal")]
pub fn send(pidfd: impl AsFd, signal: Signal) -> Result<()> {
    send_signal(pidfd, signal.number(), 0)
}

/// `pidfd_getfd(pidfd, number, 0)`—an fd of ours for the open file that this process has under this number. EPERM when we may
/// not trace it (ptrace(2)), EBADF when it has none, ESRCH when it has ended.
///
/// <https://man7.org/linux/man-pages/man2/pidfd_getfd.2.html>
#[doc(alias = "pidfd_getfd")]
pub fn get_fd(pidfd: impl AsFd, number: RawFd) -> Result<OwnedFd> {
    let args = [pidfd.as_fd().as_raw_fd() as usize, number as usize, 0, 0, 0, 0];
    // SAFETY: numbers only; the fd that comes back is ours alone.
    unsafe { raw::call(libc::SYS_pidfd_getfd, args) }.map(fd::adopt)
}

/// `pidfd_send_signal(pidfd, signal, PIDFD_SIGNAL_PROCESS_GROUP)`—sends a signal to the group whose leader is
/// (or was) this process.
///
/// EINVAL on kernels before 6.9: then, while the leader is not reaped, its number is still its own, and
/// [`send_group`] is as safe.
pub fn send_to_group(pidfd: impl AsFd, signal: Signal) -> Result<()> {
    send_signal(pidfd, signal.number(), PROCESS_GROUP)
}

/// `kill(-group, signal)`—sends a signal to every process of a group. Safe only while its leader is known not
/// to be reaped, for only so long is the number not given to others.
///
/// <https://man7.org/linux/man-pages/man2/kill.2.html>
#[doc(alias = "kill")]
#[doc(alias = "killpg")]
pub fn send_group(group: Pid, signal: Signal) -> Result<()> {
    let args = [-(group.get() as isize) as usize, signal.number() as usize, 0, 0, 0, 0];
    // SAFETY: kill takes numbers only.
    unsafe { raw::call(libc::SYS_kill, args) }.map(drop)
}

/// `kill(pid, signal)`—only for a child of ours that nobody can have buried, where no handle can be had.
#[doc(alias = "kill")]
pub(crate) fn send_number(pid: Pid, signal: Signal) -> Result<()> {
    // SAFETY: kill takes numbers only.
    unsafe { raw::call(libc::SYS_kill, [pid.get() as usize, signal.number() as usize, 0, 0, 0, 0]) }.map(drop)
}

/// `kill(-1, signal)`—sends a signal to every process of the PID namespace but PID 1 and ourselves. Only for
/// PID 1 itself, of a namespace that is its own.
#[doc(alias = "kill")]
pub fn send_all(signal: Signal) -> Result<()> {
    assert!(crate::group::pid() == Pid::INIT, "kill(-1) from anybody but PID 1 would hit strangers");
    // SAFETY: kill takes numbers only.
    unsafe { raw::call(libc::SYS_kill, [usize::MAX, signal.number() as usize, 0, 0, 0, 0]) }.map(drop)
}

/// `pidfd_send_signal(pidfd, 0)`—whether the process exists still. A zombie does. EPERM also means yes.
pub fn exists(pidfd: impl AsFd) -> bool {
    send_signal(pidfd, 0, 0) != Err(Errno::ESRCH)
}

fn send_signal(pidfd: impl AsFd, signal: i32, flags: usize) -> Result<()> {
    let args = [pidfd.as_fd().as_raw_fd() as usize, signal as usize, 0, flags, 0, 0];
    // SAFETY: the information about the signal is left to the kernel (null).
    unsafe { raw::call(libc::SYS_pidfd_send_signal, args) }.map(drop)
}

/// `PIDFD_SIGNAL_PROCESS_GROUP`.
pub(crate) const PROCESS_GROUP: usize = 1 << 2;

/// `PIDFD_GET_INFO`.
pub(crate) const GET_INFO: usize = 0xc040_ff0b;

/// The first version of `struct pidfd_info` (Linux 6.13).
#[repr(C)]
#[derive(Default)]
struct Info {
    mask: u64,
    cgroup: u64,
    pid: u32,
    thread_group: u32,
    parent: u32,
    users_and_groups: [u32; 8],
    exit_code: i32,
}

/// `ioctl(pidfd, PIDFD_GET_INFO, PIDFD_INFO_EXIT)`—how a process ended that was reaped, by whomever. `None`
/// when it is not reaped yet, or when the kernel (before 6.15) does not keep it.
///
/// <https://man7.org/linux/man-pages/man2/pidfd_open.2.html>
#[doc(alias = "PIDFD_GET_INFO")]
pub fn exit_status(pidfd: impl AsFd) -> Option<ExitStatus> {
    ExitStatus::from_wait(exit_word(pidfd.as_fd().as_raw_fd()).ok()?, Evidence::Pidfd)
}

/// The same as a wait status; ESRCH when it is not there.
pub(crate) fn exit_word(pidfd: i32) -> Result<i32> {
    const PIDFD_INFO_EXIT: u64 = 1 << 3;
    const { assert!(size_of::<Info>() == 64) };
    let mut info = Info { mask: PIDFD_INFO_EXIT, ..Info::default() };
    let args = [pidfd as usize, GET_INFO, &raw mut info as usize, 0, 0, 0];
    // SAFETY: the request number says 64 bytes, which is the size of what the last argument points to.
    unsafe { raw::call(libc::SYS_ioctl, args) }?;
    if info.mask & PIDFD_INFO_EXIT == 0 { Err(Errno::ESRCH) } else { Ok(info.exit_code) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fork::tests::{run, shell};
    use crate::wait::{self, Who};

    #[test]
    fn a_signal_reaches_exactly_the_process_of_the_handle() {
        let born = run(&shell("exec sleep 1000"));
        assert!(exists(&born.pidfd));
        send(&born.pidfd, Signal::KILL).expect("alive");
        let end = wait::end(Who::Pidfd(born.pidfd.as_fd())).expect("our child");
        assert_eq!(end, ExitStatus::signal(Signal::KILL));
        assert!(!exists(&born.pidfd));
        assert_eq!(send(&born.pidfd, Signal::TERM), Err(Errno::ESRCH));
    }

    #[test]
    fn the_handle_tells_the_exit_status_after_somebody_else_reaped() {
        let born = run(&shell("exit 42"));
        assert_eq!(wait::end(Who::Pid(born.pid)), Ok(ExitStatus::code(42)));
        match exit_status(&born.pidfd) {
            Some(status) => {
                assert_eq!(status.outcome, doula_model::exit::Outcome::Code(42));
                assert_eq!(status.evidence, Evidence::Pidfd);
            }
            None => std::println!("skipped: this kernel keeps no exit status for pidfds (Linux 6.15 does)"),
        }
    }

    #[test]
    fn a_group_is_signalled_through_its_leader() {
        let mut plan = shell("sleep 1000 & exec sleep 1000");
        plan.session = doula_model::plan::Session::NewGroup { terminal: None };
        let born = run(&plan);
        match send_to_group(&born.pidfd, Signal::TERM) {
            Ok(()) => {}
            Err(Errno::EINVAL) => send_group(born.pid, Signal::TERM).expect("the leader is not reaped"),
            Err(errno) => panic!("{errno}"),
        }
        let end = wait::end(Who::Pidfd(born.pidfd.as_fd()));
        assert_eq!(end, Ok(ExitStatus::signal(Signal::TERM)));
    }
}
