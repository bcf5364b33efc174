//! A core that takes its time: between the deadly signal and death the process is alive and writes.
//!
//! fs/coredump.c: `do_coredump`, `dump_interrupted`; kernel/signal.c: `prepare_signal`. While it writes no signal reaches it but
//! SIGKILL, which ends the dump and not the reason: the status is that of the first signal, without the word that there is a core.
//! Without [`Kernel::dump_slowly`] a core is written in no time and nobody hears of it, as where its limit is 0.

use super::Kernel;
use super::slab::TaskId;
use super::task::{Place, Sleep};
use doula_model::signal::Signal;

/// In the wait status: there is a core.
const DUMPED: i32 = 0x80;

impl Kernel {
    /// From now on whoever dies of a signal that leaves a core writes it until [`Kernel::finish_dump`].
    pub fn dump_slowly(&mut self) {
        self.dumps = true;
    }

    /// Whether a process writes its core.
    pub fn is_dumping(&self, task: TaskId) -> bool {
        self.tasks.get(task).is_some_and(|row| matches!(row.place, Place::Asleep { what: Sleep::Dump, .. }))
    }

    /// The core of a process is written: now it dies. Nothing happens to one that does not write any more.
    pub fn finish_dump(&mut self, task: TaskId, birth: u64) {
        if self.is_dumping(task) && self.birth(task) == birth {
            let dying = self.process_mut(task);
            dying.group_exit = dying.group_exit.map(|status| status | DUMPED);
            self.wake(task);
            self.settle();
        }
    }

    /// It begins to write, if that takes time.
    pub(crate) fn begin_dump(&mut self, task: TaskId) -> bool {
        if self.dumps {
            self.set_kicked(task, false);
            self.set_place(task, Place::Asleep { what: Sleep::Dump, woken: false });
        }
        self.dumps
    }

    /// SIGKILL ends a dump.
    pub(crate) fn hasten_dump(&mut self, target: TaskId, signal: Signal) {
        let process = self.tasks[target].process;
        if signal == Signal::KILL {
            self.each_thread(process, |kernel, thread| {
                if kernel.is_dumping(thread) {
                    kernel.wake(thread);
                }
            });
        }
    }

    /// It has stopped writing.
    pub(crate) fn die_after_dump(&mut self, task: TaskId) {
        let status = self.process(task).group_exit.unwrap_or_default();
        self.begin_exit(task, status);
    }
}
