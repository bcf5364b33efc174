//! How a child ended, stopped or went on; and burying it.

use crate::fd::{AsRawFd, BorrowedFd};
use crate::{Result, raw};
use core::time::Duration;
use doula_model::exit::{Evidence, ExitStatus, Outcome};
use doula_model::id::Pid;
use doula_model::plan::Errno;
use doula_model::signal::Signal;

/// Which children are meant.
#[derive(Clone, Copy, Debug)]
pub enum Who<'a> {
    /// Any child.
    Any,
    /// The child with this number. Safe while it is not reaped, for only so long is the number its own.
    Pid(Pid),
    /// The child of this handle. ECHILD when it is none of ours.
    Pidfd(BorrowedFd<'a>),
}

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct For(i32);

impl For {
    /// The end of a child, without waiting: `None` if no child has ended.
    pub const END: For = For(libc::WEXITED | libc::WNOHANG);
    /// A stop or a continuation, without waiting; ends are left alone.
    pub const STOPS: For = For(libc::WSTOPPED | libc::WCONTINUED | libc::WNOHANG);
    /// End, stop or continuation, without waiting.
    pub const CHANGE: For = For(For::END.0 | libc::WSTOPPED | libc::WCONTINUED);

    /// Waits until there is something to tell.
    #[must_use]
    pub const fn blocking(self) -> For {
        For(self.0 & !libc::WNOHANG)
    }

    /// Also from children that were made with another signal than SIGCHLD for their end, or none (`__WALL`).
    #[must_use]
    pub const fn of_any_kind(self) -> For {
        For(self.0 | libc::__WALL)
    }

    /// Leaves the news in place for the next call: a look at a zombie that does not bury it (`WNOWAIT`).
    #[must_use]
    pub const fn peeking(self) -> For {
        For(self.0 | libc::WNOWAIT)
    }
}

/// What became of a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It ended.
    Exited(ExitStatus),
    /// It was stopped by this signal.
    Stopped(Signal),
    /// It goes on after a stop.
    Continued,
}

/// News of a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct News {
    /// Whose.
    pub pid: Pid,
    /// What.
    pub change: Change,
}

/// What a child and its own reaped children have used (getrusage(2)).
///
/// ```
/// use doula_sys::wait::Usage;
/// use std::time::Duration;
/// let usage = Usage { user: Duration::from_millis(30), system: Duration::from_millis(12), max_rss_kb: 2048 };
/// assert_eq!(usage.user + usage.system, Duration::from_millis(42));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// CPU time in its own code.
    pub user: Duration,
    /// CPU time in the kernel.
    pub system: Duration,
    /// The most memory it ever had resident, in kB. Never less than what its parent had at its birth: the kernel begins to
    /// count while both share it.
    pub max_rss_kb: u64,
}

/// `waitid(who, flags)`—the next news of a child, which is thereby buried if it ended (unless
/// [`For::peeking`]). `None` when there is nothing to tell yet. ECHILD when there is no such child.
///
/// <https://man7.org/linux/man-pages/man2/waitid.2.html>
pub fn waitid(who: Who<'_>, what: For) -> Result<Option<News>> {
    wait(who, what, core::ptr::null_mut())
}

/// `waitid(who, flags, rusage)`—as [`waitid`], and what the child has used.
#[doc(alias = "wait4")]
pub fn waitid_usage(who: Who<'_>, what: For) -> Result<Option<(News, Usage)>> {
    // SAFETY: `rusage` is numbers only, for which zero is a value.
    let mut usage: libc::rusage = unsafe { core::mem::zeroed() };
    let news = wait(who, what, &mut usage)?;
    let time = |time: libc::timeval| {
        Duration::new(time.tv_sec.max(0) as u64, time.tv_usec.clamp(0, 999_999) as u32 * 1000)
    };
    let usage = Usage {
        user: time(usage.ru_utime),
        system: time(usage.ru_stime),
        max_rss_kb: u64::try_from(usage.ru_maxrss).unwrap_or(0),
    };
    Ok(news.map(|news| (news, usage)))
}

/// `waitid(who, WEXITED)`—waits until the child has ended, over interruptions, and buries it.
pub fn end(who: Who<'_>) -> Result<ExitStatus> {
    loop {
        match waitid(who, For::END.blocking()) {
            Ok(Some(News { change: Change::Exited(status), .. })) => return Ok(status),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// The part of `siginfo_t` that waitid(2) fills.
#[repr(C)]
struct SignalInfo {
    signal: i32,
    errno: i32,
    code: i32,
    align: i32,
    pid: i32,
    uid: u32,
    status: i32,
    rest: [i32; 25],
}

fn wait(who: Who<'_>, what: For, usage: *mut libc::rusage) -> Result<Option<News>> {
    const { assert!(size_of::<SignalInfo>() == size_of::<libc::siginfo_t>()) };
    let (kind, id) = match who {
        Who::Any => (libc::P_ALL, 0),
        Who::Pid(pid) => (libc::P_PID, pid.get()),
        Who::Pidfd(fd) => (libc::P_PIDFD, fd.as_raw_fd()),
    };
    let mut info =
        SignalInfo { signal: 0, errno: 0, code: 0, align: 0, pid: 0, uid: 0, status: 0, rest: [0; 25] };
    let info_at = &raw mut info as usize;
    // SAFETY: `info` has the size of a siginfo_t, and `usage` is null or a whole rusage.
    unsafe {
        raw::call(libc::SYS_waitid, [kind as usize, id as usize, info_at, what.0 as usize, usage as usize, 0])
    }?;
    Ok(Pid::new(info.pid).and_then(|pid| Some(News { pid, change: change(info.code, info.status)? })))
}

/// What `si_code` and `si_status` of SIGCHLD mean; `None` for what only a tracer sees.
fn change(code: i32, status: i32) -> Option<Change> {
    let ended = |outcome| Some(Change::Exited(ExitStatus { outcome, evidence: Evidence::Waited }));
    match code {
        libc::CLD_EXITED => ended(Outcome::Code(status as u8)),
        libc::CLD_KILLED => ended(Outcome::Signal { signal: Signal::new(status)?, core: false }),
        libc::CLD_DUMPED => ended(Outcome::Signal { signal: Signal::new(status)?, core: true }),
        libc::CLD_STOPPED => Signal::new(status).map(Change::Stopped),
        libc::CLD_CONTINUED => Some(Change::Continued),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fd::AsFd as _;
    use crate::fork::tests::{run, shell};
    use crate::pidfd;

    #[test]
    fn stop_continue_and_end_are_told_in_order_and_a_peek_buries_nobody() {
        let born = run(&shell("exec sleep 1000"));
        let who = Who::Pidfd(born.pidfd.as_fd());
        let told = |what: For| waitid(who, what).map(|news| news.map(|news| news.change));
        assert_eq!(told(For::CHANGE), Ok(None));
        pidfd::send(&born.pidfd, Signal::STOP).expect("alive");
        assert_eq!(told(For::CHANGE.blocking()), Ok(Some(Change::Stopped(Signal::STOP))));
        pidfd::send(&born.pidfd, Signal::CONT).expect("alive");
        assert_eq!(told(For::CHANGE.blocking()), Ok(Some(Change::Continued)));
        pidfd::send(&born.pidfd, Signal::TERM).expect("alive");
        let killed = Ok(Some(Change::Exited(ExitStatus::signal(Signal::TERM))));
        assert_eq!(told(For::END.blocking().peeking()), killed);
        assert_eq!(told(For::END), killed);
        assert_eq!(told(For::END), Err(Errno::ECHILD));
    }

    #[test]
    fn exit_codes_arrive_with_their_low_eight_bits_and_what_was_used() {
        let born = run(&shell("exit 300"));
        let (news, usage) =
            waitid_usage(Who::Pid(born.pid), For::END.blocking()).expect("our child").expect("blocking");
        assert_eq!(news, News { pid: born.pid, change: Change::Exited(ExitStatus::code(44)) });
        assert!(usage.max_rss_kb > 0);
    }
}
