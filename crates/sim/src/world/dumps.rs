//! Cores that are written for seconds. Their processes are alive meanwhile, and nothing but SIGKILL reaches them.

use super::faults::Fault;
use super::{Happening, World};
use crate::kernel::TaskId;
use alloc::vec::Vec;
use core::time::Duration;

impl World<'_> {
    /// Who has begun to write a core since the last look: it takes its time, or none.
    pub(super) fn look_at_dumps(&mut self) {
        if !self.scenario.sites.has(Fault::SlowCore) {
            return;
        }
        let all = self.kernel.tasks().filter(|task| self.kernel.is_dumping(*task));
        let all: Vec<(TaskId, u64)> = all.map(|task| (task, self.kernel.birth(task))).collect();
        for (task, birth) in
            all.into_iter().filter(|(_, birth)| !self.dumping.contains(birth)).collect::<Vec<_>>()
        {
            if !self.faults.fires(Fault::SlowCore) {
                self.kernel.finish_dump(task, birth);
                continue;
            }
            let long = Duration::from_millis(self.faults.below(Fault::SlowCore, 5_000));
            self.log.note(self.now, ("dumps", birth));
            let number = self.kernel.look(task).map_or(0, |look| look.pid);
            self.log.say(self.now, "kernel", format_args!("process {number} writes its core for {long:?}"));
            self.dumping.push(birth);
            self.later(long, Happening::Dumped(task, birth));
        }
    }

    pub(super) fn dumped(&mut self, task: TaskId, birth: u64) {
        self.dumping.retain(|other| *other != birth);
        self.kernel.finish_dump(task, birth);
    }
}
