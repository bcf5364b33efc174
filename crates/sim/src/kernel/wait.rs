//! Burial: wait4(2) and waitid(2).
//!
//! kernel/exit.c: `do_wait`, `wait_consider_task`, `wait_task_zombie`, `child_wait_callback`.

use super::call::{Value, Wait, Waited, Who};
use super::mutant::Mutant;
use super::slab::TaskId;
use super::task::{Place, Restart, Sleep, Target};
use super::{Kernel, Part};
use doula_model::plan::Errno;
use doula_model::signal::Signal;

/// What one child has to tell a wait.
#[derive(Clone, Copy)]
enum News {
    /// Nothing yet, but that may come.
    None,
    /// Its end.
    End,
    /// A stop for its tracer, as the upper half of the status has it.
    Trap(i32),
    /// A stop, by this signal.
    Stop(Signal),
    /// That it goes on.
    Continue,
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

    /// What the first child has to tell that has something; ECHILD when none ever will.
    fn scan(&mut self, task: TaskId, target: Target, wait: &Wait) -> Result<Option<Waited>, Errno> {
        let found = self.find_news(task, target, wait)?;
        Ok(found.map(|(child, news)| self.tell(task, child, news, wait.no_wait)))
    }

    fn find_news(&self, task: TaskId, target: Target, wait: &Wait) -> Result<Option<(TaskId, News)>, Errno> {
        let mut any = false;
        let mut told = self.candidates(task, target, wait).filter_map(|(child, by_trace)| {
            let news = self.news(child, by_trace, target, wait)?;
            any = true;
            (!matches!(news, News::None)).then_some((child, news))
        });
        let found = if self.bent(Mutant::WaitNewestFirst) { told.last() } else { told.next() };
        let hopeless = wait.no_hang && self.bent(Mutant::NothingYetIsEchild);
        if found.is_none() && (!any || hopeless) { Err(Errno::ECHILD) } else { Ok(found) }
    }

    /// Who may be meant, in the order of the lists: birth, and adoption after it, and then those whom a thread traces, for which
    /// it is asked as their tracer (`ptrace_do_wait`). Death plays no part in it.
    fn candidates(&self, task: TaskId, target: Target, wait: &Wait) -> impl Iterator<Item = (TaskId, bool)> {
        let Wait { no_thread, .. } = *wait;
        let (only, parents) = match target {
            Target::Pid(pid) => (self.pids[pid].task, None),
            Target::Any | Target::Group(_) => (None, Some(task)),
        };
        let leads = |found: &TaskId| self.process(*found).leader == *found;
        let child = only.filter(|found| leads(found) && self.is_child_of(*found, task, no_thread));
        let tracee = only.filter(|found| self.is_tracee_of(*found, task, no_thread));
        let only = child.map(|child| (child, false)).into_iter().chain(tracee.map(|tracee| (tracee, true)));
        let others = parents.into_iter().flat_map(|task| self.process(task).threads());
        let others = others.filter(move |thread| *thread != task && !no_thread);
        only.chain(parents.into_iter().chain(others).flat_map(|thread| {
            let tracees = self.tracees(thread).map(|tracee| (tracee, true));
            self.children(thread).map(|child| (child, false)).chain(tracees)
        }))
    }

    fn is_child_of(&self, child: TaskId, task: TaskId, no_thread: bool) -> bool {
        let Some(parent) = self.tasks[child].family.parent else { return false };
        parent == task || (!no_thread && self.tasks[parent].process == self.tasks[task].process)
    }

    /// What a child has to tell; `None` when it is not meant.
    fn news(&self, child: TaskId, by_trace: bool, target: Target, wait: &Wait) -> Option<News> {
        let row = &self.tasks[child];
        let by_clone = row.exit_signal != Some(Signal::CHLD) && !self.bent(Mutant::CloneChildrenSeen);
        let kind = by_trace || wait.all || by_clone == wait.clone;
        if !kind || !self.is_meant(child, target) || matches!(row.place, Place::Dead) {
            return None;
        }
        let process = &self.processes[row.process];
        let stranger = self.strange_tracer(child).is_some();
        // A parent that traces its child sees it as its tracer.
        let ours = by_trace || (!stranger && self.traced(child).is_some());
        if row.is_zombie() {
            // The parent sees the end of who is traced by another when that one has taken it.
            let alone = process.others.is_empty() || self.bent(Mutant::LeaderWaitable);
            if alone && (ours || !stranger) {
                return wait.exited.then_some(News::End);
            }
            if ours && !wait.exited && !wait.continued {
                return None;
            }
        }
        let trap = if ours { self.trap_to_tell(child) } else { None };
        if let Some(code) = trap.filter(|_| wait.stopped || !self.bent(Mutant::TrapsNeedUntraced)) {
            return Some(News::Trap(code));
        }
        let stop = &process.stop;
        if wait.stopped
            && !ours
            && stop.stopped
            && let Some(signal) = stop.signal
        {
            return Some(News::Stop(signal));
        }
        let goes_on = wait.continued && stop.continued && !self.bent(Mutant::ContinueNeverTold);
        Some(if goes_on { News::Continue } else { News::None })
    }

    fn is_meant(&self, child: TaskId, target: Target) -> bool {
        match target {
            Target::Any => true,
            Target::Pid(pid) => self.tasks[child].pid == pid,
            Target::Group(group) => self.process(child).group == group,
        }
    }

    /// Tells it, once unless the child is to stay as it is: who has told its end is buried.
    fn tell(&mut self, task: TaskId, child: TaskId, news: News, keep: bool) -> Waited {
        let status = match news {
            News::End => self.end_status(child),
            News::Trap(code) => code << 8 | 0x7f,
            News::Stop(signal) => signal.number() << 8 | 0x7f,
            News::Continue | News::None => 0xffff,
        };
        let waited = Waited { pid: self.number_in(self.tasks[child].pid, self.space_of(task)), status };
        let alone = self.process(child).others.is_empty();
        match news {
            News::End if !keep && self.strange_tracer(child).is_some() => {
                self.forget_trace(child);
                if alone && self.tell_parent_of_end(child) {
                    self.set_place(child, Place::Dead);
                    self.release(child);
                }
            }
            News::End if alone && (!keep || self.bent(Mutant::NoWaitBuries)) => {
                self.set_place(child, Place::Dead);
                self.release(child);
            }
            News::Stop(_) if !keep && !self.bent(Mutant::StopToldTwice) => {
                self.process_mut(child).stop.signal = None;
            }
            News::Continue if !keep && !self.bent(Mutant::ContinueToldTwice) => {
                self.process_mut(child).stop.continued = false;
            }
            News::Trap(_) if !keep => {
                self.trap_is_told(child);
            }
            News::End | News::Stop(_) | News::Trap(_) | News::Continue | News::None => {}
        }
        waited
    }

    /// Something happened to `child`: those threads of the parent look again that wait for it. Who waits for
    /// another does not wake up, even if the child has become one of those meanwhile.
    pub(crate) fn wake_waiters(&mut self, child: TaskId, parent: TaskId) {
        let process = self.tasks[parent].process;
        self.each_thread(process, |kernel, thread| match kernel.tasks[thread].place {
            Place::Asleep { what: Sleep::Child(target, wait), .. } => {
                let own = || kernel.hears_of(child) == Some(thread);
                if kernel.is_meant(child, target) && (!wait.no_thread || own()) {
                    kernel.wake(thread);
                }
            }
            Place::Asleep { what: Sleep::Zap, .. } => kernel.wake(thread),
            Place::Asleep {
                what: Sleep::Pause | Sleep::Vfork { .. } | Sleep::Alone | Sleep::Dump, ..
            } => {}
            Place::Asleep { what: Sleep::Pipe { .. } | Sleep::Terminal(_), .. } => {}
            Place::Asleep { what: Sleep::Poll(_) | Sleep::Accept(_), .. } => {}
            Place::User | Place::Leaving | Place::Stopped { .. } | Place::Traced { .. } => {}
            Place::Dying(_) | Place::Zombie | Place::Dead | Place::Kernel { .. } => {}
        });
    }
}
