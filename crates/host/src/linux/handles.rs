//! Signals to children by their handles, so that no stranger gets one who has their number by now.

use super::home::Home;
use super::takeover::number;
use super::trees::Life;
use doula_model::id::Pid;
use doula_model::plan::Errno;
use doula_model::service::Scope;
use doula_model::signal::Signal;
use doula_sys::fd::AsFd;
use doula_sys::pidfd;
use doula_sys::wait::{self, For, Who};

/// To the group that this child leads; every child of ours leads one of its own number.
pub(super) fn signal_group(pid: Pid, handle: impl AsFd, signal: Signal) -> Result<(), Errno> {
    // By the handle, because code that waits for any child may have buried it, and then the number may be a stranger's.
    match pidfd::send_to_group(&handle, signal) {
        Err(Errno::EINVAL) if pidfd::exists(&handle) => pidfd::send_group(pid, signal),
        Err(Errno::EINVAL) => Ok(()),
        answer => answer,
    }
}

impl Home {
    /// Sends a signal to the main process of a life, or to its group. One that a supervisor before us has started is buried by
    /// others, and its number may be given away before we hear of its end: it gets the signal only if it is seen to be the one.
    ///
    /// # Errors
    /// ESRCH: it has ended. EPERM: we may not.
    pub(crate) fn signal_main(
        &self,
        life: Life,
        pid: Pid,
        (signal, scope): (Signal, Scope),
    ) -> Result<(), Errno> {
        let handle = pidfd::open(pid)?;
        // Looked at while we hold it. Only of a child of ours it can be asked how it is.
        let is_child = wait::waitid(Who::Pidfd(handle.as_fd()), For::END.peeking()) != Err(Errno::ECHILD);
        if !is_child && !self.trees.has_member(life, pid) {
            return Err(Errno::ESRCH);
        }
        match scope {
            Scope::Group => signal_group(pid, &handle, signal),
            Scope::Main | Scope::Tree => pidfd::send(&handle, signal),
        }
    }

    /// See [`Kernel::end_the_rest`](doula_core::kernel::Kernel::end_the_rest). The answers of probes of a supervisor before us are
    /// for nobody, and there are others soon.
    pub(super) fn end_the_rest(&mut self) {
        for handle in std::mem::take(&mut self.inherited).into_values() {
            // One that has just ended is as good.
            if let Some(pid) = number(&handle) {
                let _ = signal_group(pid, &handle, Signal::KILL);
            }
            let _ = pidfd::send(&handle, Signal::KILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::{Collector, Options};
    use doula_model::id::{Generation, ServiceId};
    use doula_sys::fd::{self, Access};
    use doula_sys::poll;
    use std::io::{BufRead as _, BufReader};
    use std::process::{Command, Stdio};
    use std::time::Duration;

    #[test]
    fn a_number_that_belongs_to_a_stranger_by_now_gets_no_signal() {
        let null = fd::open(c"/dev/null", Access::ReadWrite).expect("/dev/null");
        let logs = Collector::new(Options::default()).expect("sinks");
        let reader = Box::new(|| Err(String::new()));
        let home = Home::new("handles", std::env::temp_dir(), logs, reader, (null, None)).expect("a home");
        let script = "trap 'kill $!' USR1; sleep 1000 & echo $!; wait $!";
        let mut child =
            Command::new("sh").args(["-c", script]).stdout(Stdio::piped()).spawn().expect("a shell");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut line).expect("its number");
        let pid = |number: i64| Pid::new(number as i32).expect("a number");
        let (ours, stranger) = (pid(child.id().into()), pid(line.trim().parse().expect("a number")));
        let held = pidfd::open(stranger).expect("it lives");
        let life = (ServiceId(0), Generation(1));
        for scope in [Scope::Main, Scope::Group] {
            assert_eq!(home.signal_main(life, stranger, (Signal::TERM, scope)), Err(Errno::ESRCH));
        }
        assert_eq!(poll::readable(&held, Some(Duration::ZERO)), Ok(false), "it lives");
        // A child of ours is nobody else.
        assert_eq!(home.signal_main(life, ours, (Signal::USR1, Scope::Main)), Ok(()));
        child.wait().expect("it ends");
        assert_eq!(poll::readable(&held, Some(Duration::from_secs(60))), Ok(true), "it was told to end");
        assert_eq!(home.signal_main(life, ours, (Signal::TERM, Scope::Main)), Err(Errno::ESRCH));
    }
}
