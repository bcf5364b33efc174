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
    use crate::fd::{self, AsFd as _, AsRawFd as _, Standard};
    use crate::fork::tests::apart::{again, alone, apart};
    use crate::fork::tests::{run, shell};
    use crate::wait::{self, Change, For, News, Who};
    use doula_model::exit::ExitStatus;
    use doula_model::plan::{Errno, FdMapping};

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

    #[test]
    fn orphans_of_a_subreaper_become_its_children() {
        alone(
            "adopt::tests::orphans_of_a_subreaper_become_its_children",
            |_| {},
            || {
                assert_eq!(
                    (is_subreaper(), set_subreaper(true), is_subreaper()),
                    (Ok(false), Ok(()), Ok(true))
                );
                let born = run(&shell("(sh -c 'exit 5' &); exit 3"));
                assert_eq!(wait::end(Who::Pid(born.pid)), Ok(ExitStatus::code(3)));
                let orphan = wait::waitid(Who::Any, For::END.blocking()).expect("a child").expect("news");
                assert_eq!(orphan, News { pid: orphan.pid, change: Change::Exited(ExitStatus::code(5)) });
                assert_eq!(wait::waitid(Who::Any, For::END), Err(Errno::ECHILD));
                assert_eq!((set_subreaper(false), is_subreaper()), (Ok(()), Ok(false)));
            },
        );
    }

    #[test]
    fn the_end_of_the_thread_that_bore_us_is_told_if_we_asked_for_it() {
        let name = "adopt::tests::the_end_of_the_thread_that_bore_us_is_told_if_we_asked_for_it";
        let Some(mut plan) = again(name) else {
            set_parent_death_signal(Some(Signal::USR1)).expect("prctl");
            fd::write(fd::standard(Standard::Err), b"!").expect("somebody reads");
            loop {
                std::thread::park();
            }
        };
        let born = apart(move || {
            let (reader, writer) = fd::pipe().expect("pipe");
            let (said, silent) = fd::pipe().expect("pipe");
            plan.fds = [(silent.as_raw_fd(), 1), (writer.as_raw_fd(), 2)]
                .map(|(from, to)| FdMapping { from, to })
                .into();
            let born = run(&plan);
            drop((writer, silent));
            assert_eq!(fd::read(&reader, &mut [0; 1]), Ok(1), "it asked");
            drop(said);
            born
        });
        assert_eq!(wait::end(Who::Pidfd(born.pidfd.as_fd())), Ok(ExitStatus::signal(Signal::USR1)));
    }
}
