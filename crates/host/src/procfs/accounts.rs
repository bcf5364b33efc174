//! How long processes were kept from running (taskstats), and whether the kernel counts all of it.

use super::reader::refused;
use doula_model::id::Pid;
use doula_model::plan::Errno;
use doula_model::process::{Answer, Delays};
use doula_sys::taskstats::Taskstats;
use std::fs;

/// Where it is switched on that more than the waiting for CPUs is counted (sysctl, Linux 5.14; before, it was on).
const SWITCH: &str = "/proc/sys/kernel/task_delayacct";

/// The kernel's accounts.
#[derive(Debug)]
pub(crate) struct Accounts {
    stats: Result<Taskstats, Errno>,
    counts_all: bool,
}

impl Accounts {
    pub(crate) fn open() -> Accounts {
        let switch = fs::read_to_string(SWITCH);
        Accounts { stats: Taskstats::open(), counts_all: switch.map_or(true, |switch| switch.trim() != "0") }
    }

    pub(super) fn of_process(&self, pid: Pid) -> Answer<Box<Delays>> {
        self.answer(|stats| stats.of_process(pid))
    }

    pub(super) fn of_thread(&self, thread: Pid) -> Answer<Box<Delays>> {
        self.answer(|stats| stats.of_thread(thread))
    }

    /// Whether all is counted; why the kernel does not answer.
    pub(crate) fn offer(&self) -> Result<bool, Errno> {
        let stats = self.stats.as_ref().map_err(|errno| *errno)?;
        stats.of_process(doula_sys::group::pid()).map(|_| self.counts_all)
    }

    fn answer(&self, ask: impl FnOnce(&Taskstats) -> Result<Delays, Errno>) -> Answer<Box<Delays>> {
        match self.stats.as_ref().map_err(|errno| *errno).and_then(ask) {
            Ok(delays) if self.counts_all => Answer::Is(Box::new(delays)),
            // What is not counted is told as nothing, which it is not.
            Ok(Delays { cpu, .. }) => Answer::Is(Box::new(Delays { cpu, ..Delays::default() })),
            Err(errno) => refused(errno),
        }
    }
}
