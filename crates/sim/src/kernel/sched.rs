//! Who runs next: one step of one task, all steps in a fixed order, or every order that there is.
//!
//! Between two steps everybody may run. A step is as long as Linux makes it: what happens under the lock of
//! the task list is one step, and the way back to the program is a step of its own, on which a signal may
//! still stop or kill a task whose call is over.

use super::slab::{Key, TaskId};
use super::task::{Place, Return, Sleep};
use super::{Kernel, Part};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

/// So often somebody may begin a call again before it is taken for restless. Who is disturbed by each of its children in turn begins
/// again as often as it has children.
const MOST_BEGINNINGS: usize = 1000;

/// One bit for each task that has something to do.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ready(Vec<u64>);

impl Ready {
    fn set(&mut self, index: usize, on: bool) {
        let (word, bit) = (index / 64, index % 64);
        if word >= self.0.len() {
            self.0.resize(word + 1, 0);
        }
        self.0[word] = self.0[word] & !(1 << bit) | u64::from(on) << bit;
    }

    fn first(&self) -> Option<TaskId> {
        let (word, bits) = self.0.iter().enumerate().find(|(_, bits)| **bits != 0)?;
        Some(TaskId::from_index(word as u32 * 64 + bits.trailing_zeros()))
    }

    fn all(&self) -> impl Iterator<Item = TaskId> {
        let indices = (0..self.0.len() * 64).filter(|index| self.0[index / 64] >> (index % 64) & 1 == 1);
        indices.map(|index| TaskId::from_index(index as u32))
    }
}

/// More orders than were asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMany;

impl Kernel {
    /// Who has something to do in the kernel now.
    pub fn ready(&self) -> impl Iterator<Item = TaskId> {
        self.ready.all()
    }

    /// Lets one task of [`Kernel::ready`] do its next thing.
    pub fn step(&mut self, task: TaskId) {
        match self.tasks[task].place {
            Place::User | Place::Stopped { .. } | Place::Traced { .. } => self.deliver(task),
            Place::Leaving if self.begins_again(task) => self.begin_again(task),
            Place::Leaving => self.deliver(task),
            Place::Asleep { what, .. } => self.wake_up(task, what),
            Place::Dying(_) => self.die(task),
            Place::Dead => self.release(task),
            Place::Zombie | Place::Kernel { .. } => {
                unreachable!("a zombie and a thread of the kernel have nothing to do")
            }
        }
    }

    /// Lets everybody do what there is to do, the lowest task first, until nobody has anything to do.
    ///
    /// Who begins its call again and again is left as it is, on its way (`R`, as on Linux): a program in the background whose
    /// handler of SIGTTIN has SA_RESTART reads for ever. The next time it has as many tries.
    pub fn settle(&mut self) {
        let mut left = MOST_BEGINNINGS;
        while let Some(task) = self.ready.first() {
            if self.begins_again(task) {
                if left == 0 {
                    return self.settle_all_but_the_restless();
                }
                left -= 1;
            }
            self.step(task);
        }
    }

    /// Each may begin again so often; the slow half of [`Kernel::settle`].
    fn settle_all_but_the_restless(&mut self) {
        let mut beginnings: BTreeMap<TaskId, usize> = BTreeMap::new();
        loop {
            let calm = |task: &TaskId| beginnings.get(task).is_none_or(|times| *times < MOST_BEGINNINGS);
            let Some(task) = self.ready().find(calm) else { return };
            if self.begins_again(task) {
                *beginnings.entry(task).or_default() += 1;
            }
            self.step(task);
        }
    }

    fn begins_again(&self, task: TaskId) -> bool {
        let row = &self.tasks[task];
        matches!((row.place, &row.ret), (Place::Leaving, Some(Return::Again))) && !row.kicked
    }

    /// Every state that this one can come to rest in, over all orders of steps, each state once. `Err` when
    /// more than `most` states were seen on the way.
    pub fn successors(&self, most: usize) -> Result<Vec<Kernel>, TooMany> {
        let (mut seen, mut rest) = (BTreeSet::new(), Vec::new());
        let mut open = Vec::from([self.clone()]);
        while let Some(state) = open.pop() {
            let mut moved = false;
            for task in state.ready.all() {
                moved = true;
                let mut next = state.clone();
                next.step(task);
                if seen.insert(next.state_hash()) {
                    open.push(next);
                }
                if seen.len() > most {
                    return Err(TooMany);
                }
            }
            if !moved {
                rest.push(state);
            }
        }
        Ok(rest)
    }

    pub(crate) fn set_place(&mut self, task: TaskId, place: Place) {
        self.tasks[task].place = place;
        self.mark(task);
    }

    pub(crate) fn set_kicked(&mut self, task: TaskId, kicked: bool) {
        self.tasks[task].kicked = kicked;
        self.mark(task);
    }

    /// Brings [`Ready`] in line with the task.
    fn mark(&mut self, task: TaskId) {
        let ready = self.tasks[task].is_ready();
        self.ready.set(task.index(), ready);
    }

    pub(crate) fn unmark(&mut self, task: TaskId) {
        self.ready.set(task.index(), false);
    }

    /// Makes a sleeper look again, whatever it sleeps for.
    pub(crate) fn wake(&mut self, task: TaskId) {
        if let Place::Asleep { what, .. } = self.tasks[task].place {
            self.set_place(task, Place::Asleep { what, woken: true });
        }
    }

    /// The call of this task is made again, from its beginning.
    fn begin_again(&mut self, task: TaskId) {
        let row = &mut self.tasks[task];
        row.ret = None;
        let call = row.call.take().expect("who begins again has a call");
        self.perform(task, call);
    }

    /// A sleeper looks whether what it waits for is there, then whether a signal is.
    fn wake_up(&mut self, task: TaskId, what: Sleep) {
        let part = match what {
            Sleep::Child(target, wait) => self.look_again(task, target, &wait),
            Sleep::Pause => self.sys_pause(task),
            Sleep::Vfork { child, number } => self.after_vfork(task, child, number),
            Sleep::Alone => self.exec_again(task),
            Sleep::Pipe { open, done } => self.pipe_again(task, open, done),
            Sleep::Terminal(open) => self.terminal_again(task, open),
            Sleep::Poll(pid) => self.poll_again(task, pid),
            Sleep::Accept(open) => self.accept_again(task, open),
            Sleep::Zap => return self.zap_again(task),
            Sleep::Dump => return self.die_after_dump(task),
        };
        match part {
            Part::Sleep(what) => self.set_place(task, Place::Asleep { what, woken: false }),
            Part::Done(reply) => {
                self.tasks[task].ret = Some(Return::Done(reply));
                self.set_place(task, Place::Leaving);
            }
            Part::Interrupted(restart) => {
                self.tasks[task].ret = Some(Return::Restart(restart));
                self.set_place(task, Place::Leaving);
            }
            Part::Gone => unreachable!("nobody dies in its sleep"),
        }
    }
}
