//! Orphans: who inherits them, and what an orphan-to-be hears.

use crate::{Result, errno, raw};
use doula_model::signal::Signal;
use rustix::process::Pid;

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
    let number = signal.map_or(0, Signal::number) as usize;
    // SAFETY: prctl takes numbers only here. Not by rustix, whose signals have no real-time ones.
    unsafe { raw::call(libc::SYS_prctl, [libc::PR_SET_PDEATHSIG as usize, number, 0, 0, 0, 0]) }.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `prctl(PR_GET_PDEATHSIG)`.
    fn parent_death_signal() -> i32 {
        let mut number = 0i32;
        let args = [libc::PR_GET_PDEATHSIG as usize, &raw mut number as usize, 0, 0, 0, 0];
        // SAFETY: the kernel writes one number, which is there.
        unsafe { raw::call(libc::SYS_prctl, args) }.expect("prctl");
        number
    }

    #[test]
    fn every_signal_can_be_that_of_the_parents_death() {
        for signal in [Signal::USR2, Signal::new(40).expect("a real-time signal")] {
            set_parent_death_signal(Some(signal)).expect("prctl");
            assert_eq!(parent_death_signal(), signal.number());
        }
        set_parent_death_signal(None).expect("prctl");
        assert_eq!(parent_death_signal(), 0);
    }
}
