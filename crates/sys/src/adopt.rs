//! Orphans: who inherits them, and what an orphan-to-be hears.

use crate::{Result, errno};
use doula_model::signal::Signal;
use rustix::process::{Pid, Signal as RawSignal};

/// `prctl(PR_SET_CHILD_SUBREAPER, on)`—orphans among our descendants become our children, as if we were
/// PID 1. Kept across execve, not inherited by children.
///
/// <https://man7.org/linux/man-pages/man2/PR_SET_CHILD_SUBREAPER.2const.html>
#[doc(alias = "prctl")]
pub fn set_subreaper(on: bool) -> Result<()> {
    rustix::process::set_child_subreaper(on.then_some(Pid::INIT)).map_err(errno)
}

/// `prctl(PR_GET_CHILD_SUBREAPER)`—whether orphans among our descendants become our children.
#[doc(alias = "prctl")]
pub fn is_subreaper() -> Result<bool> {
    rustix::process::child_subreaper().map(|pid| pid.is_some()).map_err(errno)
}

/// `prctl(PR_SET_PDEATHSIG, signal)`—what we get when the parent *thread* dies; `None` for nothing.
///
/// A parent that died before the call is not noticed: compare [`crate::group::parent`] before and after.
///
/// <https://man7.org/linux/man-pages/man2/PR_SET_PDEATHSIG.2const.html>
#[doc(alias = "prctl")]
pub fn set_parent_death_signal(signal: Option<Signal>) -> Result<()> {
    let signal = signal.and_then(|signal| RawSignal::from_named_raw(signal.number()));
    rustix::process::set_parent_process_death_signal(signal).map_err(errno)
}
