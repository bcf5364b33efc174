//! Burial: wait4(2) and waitid(2).
//!
//! kernel/exit.c: `do_wait`, `wait_consider_task`, `wait_task_zombie`, `child_wait_callback`.

use super::call::{Value, Wait, Waited, Who};
use super::mutant::Mutant;
use super::slab::TaskId;
use super::task::{Place, Restart, Sleep, Target};
use super::{Kernel, Part};
use alloc::vec::Vec;
use doula_model::plan::Errno;
use doula_model::signal::Signal;

/// What one child is for a wait.
enum Considered {
    /// Nothing: it is not meant.
    No,
    /// Not yet, but it may be.
    Later,
    /// This is told.
    Now(Waited),
}

impl Kernel {
    pub(crate) fn sys_wait4(&mut self, task: TaskId, wait: &Wait) -> Part {
        if wait.no_wait {
            return Errno::EINVAL.into();
        }
        if wait.who == Who::Group(i32::MIN) {
            return Errno::ESRCH.into();
        }
        // As this call names it there is no group 1: -1 is every child.
        let who = if wait.who == Who::Group(1) { Who::Any } else { wait.who };
        self.wait(task, &Wait { who, exited: true, ..*wait })
    }

    pub(crate) fn sys_waitid(&mut self, task: TaskId, wait: &Wait) -> Part {
        let asks = wait.exited || wait.stopped || wait.continued;
        if !asks || matches!(wait.who, Who::Pid(..=0) | Who::Group(..=-1)) {
            return Errno::EINVAL.into();
        }
        self.wait(task, wait)
    }

    /// The object is looked up now and when the call begins again, not at each look: a caller that changes its
    /// group while it sleeps goes on waiting for the old one.
    fn wait(&mut self, task: TaskId, wait: &Wait) -> Part {
        let space = self.space_of(task);
        let target = match wait.who {
            Who::Any => Some(Target::Any),
            Who::Pid(number) => self.find_pid(space, number).map(Target::Pid),
            Who::Group(0) if self.bent(Mutant::GroupZeroIsAny) => Some(Target::Any),
            Who::Group(0) => Some(Target::Group(self.process(task).group)),
            Who::Group(number) => self.find_pid(space, number).map(Target::Group),
        };
        let Some(target) = target else { return Errno::ECHILD.into() };
        self.hold(target);
        self.look_again(task, target, wait)
    }

    fn hold(&mut self, target: Target) {
        if let Target::Pid(pid) | Target::Group(pid) = target {
            self.hold_pid(pid);
        }
    }

    /// Looks at the children first, and at signals only when there is nothing to tell.
    pub(crate) fn look_again(&mut self, task: TaskId, target: Target, wait: &Wait) -> Part {
        let part = match self.scan(task, target, wait) {
            Ok(Some(waited)) => Part::Done(Ok(Value::Waited(waited))),
            Ok(None) if wait.no_hang => Part::Done(Ok(Value::ZERO)),
            Ok(None) if self.tasks[task].kicked => Part::Interrupted(Restart::IfAsked),
            Ok(None) => return Part::Sleep(Sleep::Child(target, *wait)),
            Err(errno) => errno.into(),
        };
        if let Target::Pid(pid) | Target::Group(pid) = target {
            self.let_go_of_pid(pid);
        }
        part
    }

    /// The first child that has something to tell; ECHILD when none ever will.
    fn scan(&mut self, task: TaskId, target: Target, wait: &Wait) -> Result<Option<Waited>, Errno> {
        let mut any = false;
        let mut children = self.candidates(task, target, wait);
        if self.bent(Mutant::WaitNewestFirst) {
            children.reverse();
        }
        for child in children {
            match self.consider(task, child, target, wait) {
                Considered::No => {}
                Considered::Later => any = true,
                Considered::Now(waited) => return Ok(Some(waited)),
            }
        }
        let hopeless = wait.no_hang && self.bent(Mutant::NothingYetIsEchild);
        if any && !hopeless { Ok(None) } else { Err(Errno::ECHILD) }
    }

    /// Who may be meant, in the order of the lists: birth, and adoption after it. Death plays no part in it.
    fn candidates(&self, task: TaskId, target: Target, wait: &Wait) -> Vec<TaskId> {
        if let Target::Pid(pid) = target {
            let leader = self.pids[pid].task.filter(|found| self.process(*found).leader == *found);
            return leader
                .into_iter()
                .filter(|found| self.is_child_of(*found, task, wait.no_thread))
                .collect();
        }
        let own = core::iter::once(task);
        let others = self.process(task).threads().filter(|thread| *thread != task && !wait.no_thread);
        own.chain(others).flat_map(|thread| self.children(thread)).collect()
    }

    fn is_child_of(&self, child: TaskId, task: TaskId, no_thread: bool) -> bool {
        let Some(parent) = self.tasks[child].family.parent else { return false };
        parent == task || (!no_thread && self.tasks[parent].process == self.tasks[task].process)
    }

    fn consider(&mut self, task: TaskId, child: TaskId, target: Target, wait: &Wait) -> Considered {
        let row = &self.tasks[child];
        let meant = self.is_meant(child, target);
        let by_clone = row.exit_signal != Some(Signal::CHLD) && !self.bent(Mutant::CloneChildrenSeen);
        if row.place == Place::Dead || !meant || (!wait.all && by_clone != wait.clone) {
            return Considered::No;
        }
        if row.is_zombie() && self.process(child).others.is_empty() {
            return if wait.exited { self.bury(task, child, wait) } else { Considered::No };
        }
        self.tell_stop(task, child, wait).map_or(Considered::Later, Considered::Now)
    }

    fn is_meant(&self, child: TaskId, target: Target) -> bool {
        match target {
            Target::Any => true,
            Target::Pid(pid) => self.tasks[child].pid == pid,
            Target::Group(group) => self.process(child).group == group,
        }
    }

    fn bury(&mut self, task: TaskId, child: TaskId, wait: &Wait) -> Considered {
        let waited = self.waited(task, child, self.end_status(child));
        if !wait.no_wait || self.bent(Mutant::NoWaitBuries) {
            self.set_place(child, Place::Dead);
            self.release(child);
        }
        Considered::Now(waited)
    }

    fn tell_stop(&mut self, task: TaskId, child: TaskId, wait: &Wait) -> Option<Waited> {
        let stop = self.process(child).stop;
        let keep = wait.no_wait;
        if wait.stopped
            && stop.stopped
            && let Some(signal) = stop.signal
        {
            self.process_mut(child).stop.signal =
                stop.signal.filter(|_| keep || self.bent(Mutant::StopToldTwice));
            return Some(self.waited(task, child, signal.number() << 8 | 0x7f));
        }
        if wait.continued && stop.continued && !self.bent(Mutant::ContinueNeverTold) {
            self.process_mut(child).stop.continued = keep || self.bent(Mutant::ContinueToldTwice);
            return Some(self.waited(task, child, 0xffff));
        }
        None
    }

    fn waited(&self, task: TaskId, child: TaskId, status: i32) -> Waited {
        Waited { pid: self.number_in(self.tasks[child].pid, self.space_of(task)), status }
    }

    /// Something happened to `child`: those threads of the parent look again that wait for it. Who waits for
    /// another does not wake up, even if the child has become one of those meanwhile.
    pub(crate) fn wake_waiters(&mut self, child: TaskId, parent: TaskId) {
        let process = self.tasks[parent].process;
        self.each_thread(process, |kernel, thread| match kernel.tasks[thread].place {
            Place::Asleep { what: Sleep::Child(target, wait), .. } => {
                let own = kernel.tasks[child].family.parent == Some(thread);
                if kernel.is_meant(child, target) && (own || !wait.no_thread) {
                    kernel.wake(thread);
                }
            }
            Place::Asleep { what: Sleep::Zap, .. } => kernel.wake(thread),
            Place::Asleep { what: Sleep::Pause | Sleep::Vfork { .. } | Sleep::Alone, .. } => {}
            Place::Asleep { what: Sleep::Pipe { .. } | Sleep::Poll(_), .. } => {}
            Place::User | Place::Leaving | Place::Stopped { .. } => {}
            Place::Dying(_) | Place::Zombie | Place::Dead => {}
        });
    }
}
