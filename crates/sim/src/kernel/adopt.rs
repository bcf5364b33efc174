//! Orphans: who gets them, what they hear of it, and the death of a whole PID namespace.
//!
//! kernel/exit.c: `forget_original_parent`, `find_new_reaper`, `reparent_leader`, `kill_orphaned_pgrp`;
//! kernel/pid_namespace.c: `zap_pid_ns_processes`.

use super::Kernel;
use super::call::{Reply, Value};
use super::mutant::Mutant;
use super::signal::From;
use super::sigset::{Action, Code};
use super::slab::TaskId;
use super::task::{Place, Sleep};
use super::version::Order;
use alloc::vec::Vec;
use doula_model::signal::Signal;

impl Kernel {
    /// Puts a process last among the children of another.
    pub(crate) fn adopt(&mut self, child: TaskId, parent: Option<TaskId>) {
        self.tasks[child].family.parent = parent;
        let Some(parent) = parent else { return };
        let last = self.tasks[parent].family.last.replace(child);
        match last {
            Some(last) => self.tasks[last].family.next = Some(child),
            None => self.tasks[parent].family.first = Some(child),
        }
        let family = &mut self.tasks[child].family;
        (family.previous, family.next) = (last, None);
    }

    /// Only bent kernels do so.
    fn adopt_first(&mut self, child: TaskId, parent: TaskId) {
        let own: Vec<TaskId> = self.children(parent).collect();
        let family = &mut self.tasks[parent].family;
        (family.first, family.last) = (None, None);
        self.adopt(child, Some(parent));
        own.into_iter().for_each(|own| self.adopt(own, Some(parent)));
    }

    pub(crate) fn leave_siblings(&mut self, child: TaskId) {
        let family = self.tasks[child].family;
        match (family.previous, family.parent) {
            (Some(previous), _) => self.tasks[previous].family.next = family.next,
            (None, Some(parent)) => self.tasks[parent].family.first = family.next,
            (None, None) => {}
        }
        match (family.next, family.parent) {
            (Some(next), _) => self.tasks[next].family.previous = family.previous,
            (None, Some(parent)) => self.tasks[parent].family.last = family.previous,
            (None, None) => {}
        }
    }

    /// Puts a task where another stands among its siblings, and takes that one out.
    pub(crate) fn take_place_of(&mut self, old: TaskId, new: TaskId) {
        let family = self.tasks[old].family;
        match (family.previous, family.parent) {
            (Some(previous), _) => self.tasks[previous].family.next = Some(new),
            (None, Some(parent)) => self.tasks[parent].family.first = Some(new),
            (None, None) => {}
        }
        match (family.next, family.parent) {
            (Some(next), _) => self.tasks[next].family.previous = Some(new),
            (None, Some(parent)) => self.tasks[parent].family.last = Some(new),
            (None, None) => {}
        }
        let place = &mut self.tasks[new].family;
        (place.previous, place.next, place.parent) = (family.previous, family.next, family.parent);
        let place = &mut self.tasks[old].family;
        (place.previous, place.next) = (None, None);
    }

    /// The children of a task, oldest first, adopted ones after its own.
    pub(crate) fn children(&self, parent: TaskId) -> impl Iterator<Item = TaskId> {
        core::iter::successors(self.tasks[parent].family.first, |child| self.tasks[*child].family.next)
    }

    /// Gives the children away.
    pub(crate) fn forget_original_parent(&mut self, father: TaskId) {
        self.exit_trace(father);
        if self.tasks[father].family.first.is_none() {
            self.hand_over_namespace(father);
            return;
        }
        self.hand_over_namespace(father);
        let reaper = self.find_new_reaper(father);
        let children: Vec<TaskId> = self.children(father).collect();
        let same = self.tasks[reaper].process == self.tasks[father].process;
        let mut dead = Vec::new();
        // The list is handed over as a whole at the end: until then nobody finds the orphans by their new parent.
        for child in children.iter().copied() {
            self.tell_of_fathers_death(child, father, reaper);
            if !same {
                self.reparent(child, father, &mut dead);
            }
        }
        (self.tasks[father].family.first, self.tasks[father].family.last) = (None, None);
        for child in children {
            if self.bent(Mutant::AdoptedFirst) {
                self.adopt_first(child, reaper);
            } else {
                self.adopt(child, Some(reaper));
            }
        }
        for child in dead {
            self.release(child);
        }
    }

    /// All threads of a child have a new parent, and hear of it if they asked to.
    fn tell_of_fathers_death(&mut self, child: TaskId, father: TaskId, reaper: TaskId) {
        let process = self.tasks[child].process;
        self.each_thread(process, |kernel, thread| {
            kernel.tasks[thread].family.parent = Some(reaper);
            let wanted = kernel.tasks[thread].death_signal.filter(|_| !kernel.bent(Mutant::NoDeathSignal));
            if let Some(signal) = wanted {
                kernel.send_death_signal(father, thread, signal);
            }
        });
    }

    fn send_death_signal(&mut self, father: TaskId, thread: TaskId, signal: Signal) {
        let allowed = self.tasks[father].uid == 0 || self.tasks[father].uid == self.tasks[thread].uid;
        if allowed {
            self.send(From::Task(father, Code::User), thread, signal, false);
        }
    }

    fn reparent(&mut self, child: TaskId, father: TaskId, dead: &mut Vec<TaskId>) {
        if matches!(self.tasks[child].place, Place::Dead) {
            return;
        }
        if !self.bent(Mutant::OrphansKeepExitSignal) {
            self.tasks[child].exit_signal = Some(Signal::CHLD);
        }
        let untraced = self.traced(child).is_none();
        let over = untraced && self.tasks[child].is_zombie() && self.process(child).others.is_empty();
        if over && !self.bent(Mutant::AdoptedZombieUntold) && self.tell_parent_of_end(child) {
            self.set_place(child, Place::Dead);
            self.unmark(child);
            dead.push(child);
        }
        self.hang_up_orphans(child, Some(father));
    }

    /// Another thread of the same process, else the nearest subreaper above in the same namespace, else init.
    fn find_new_reaper(&self, father: TaskId) -> TaskId {
        if let Some(thread) = self.living_thread(father).filter(|_| !self.bent(Mutant::ThreadsChildrenToInit))
        {
            return thread;
        }
        let init = self.spaces[self.space_of(father)].reaper.expect("a namespace with tasks has an init");
        let straight = self.config.order == Order::Textbook || self.bent(Mutant::SubreaperIgnored);
        if straight || !self.process(father).below_subreaper {
            return init;
        }
        let level = self.level_of(father);
        let mut above = self.tasks[father].family.parent;
        while let Some(ancestor) = above.filter(|above| self.level_of(*above) == level) {
            if self.process(ancestor).subreaper
                && let Some(thread) = self.living_thread(ancestor)
            {
                return thread;
            }
            above = self.tasks[ancestor].family.parent;
        }
        init
    }

    /// A thread of this process that has not begun to die.
    fn living_thread(&self, task: TaskId) -> Option<TaskId> {
        self.process(task).threads().find(|thread| !self.tasks[*thread].exiting)
    }

    /// A group that has lost its last parent outside of it, and is stopped, would sleep for ever: it is told.
    /// `parent` is who dies above `task`; none when `task` itself dies.
    pub(crate) fn hang_up_orphans(&mut self, task: TaskId, parent: Option<TaskId>) {
        let group = self.process(task).group;
        let ignored = if parent.is_none() { Some(task) } else { None };
        let Some(above) = parent.or(self.tasks[task].family.parent) else { return };
        if self.process(above).group != group
            && self.process(above).session == self.process(task).session
            && self.has_stopped_member(group)
            && self.is_orphaned(group, ignored)
            && !self.bent(Mutant::NoOrphanHangup)
        {
            self.hung_up.push(task);
            self.tell_group(group, Signal::HUP);
            self.tell_group(group, Signal::CONT);
        }
    }

    pub(crate) fn sys_set_subreaper(&mut self, task: TaskId, on: bool) -> Reply {
        self.process_mut(task).subreaper = on;
        let mut open: Vec<TaskId> = Vec::new();
        if on {
            open.extend(self.all_children(task));
        }
        while let Some(child) = open.pop() {
            if self.process(child).below_subreaper || self.process(child).unkillable {
                continue;
            }
            self.process_mut(child).below_subreaper = true;
            open.extend(self.all_children(child));
        }
        Ok(Value::ZERO)
    }

    /// The children of all threads of a process.
    fn all_children(&self, task: TaskId) -> impl Iterator<Item = TaskId> {
        self.process(task).threads().flat_map(|thread| self.children(thread))
    }

    /// Whether the init of a namespace dies, and no other thread of it lives on.
    pub(crate) fn is_last_of_reaper(&self, task: TaskId) -> bool {
        self.spaces[self.space_of(task)].reaper == Some(task) && self.living_thread_but(task).is_none()
    }

    fn living_thread_but(&self, task: TaskId) -> Option<TaskId> {
        let mut threads = self.process(task).threads();
        threads.find(|thread| *thread != task && !self.tasks[*thread].exiting)
    }

    /// Another thread of init is the one that adopts, when this one dies.
    fn hand_over_namespace(&mut self, father: TaskId) {
        let space = self.space_of(father);
        if self.spaces[space].reaper == Some(father)
            && let Some(thread) = self.living_thread(father)
        {
            self.spaces[space].reaper = Some(thread);
        }
    }

    /// `zap_pid_ns_processes`: no births, no zombies, and SIGKILL for everybody.
    pub(crate) fn begin_zap(&mut self, task: TaskId) {
        if !self.is_last_of_reaper(task) || self.bent(Mutant::SpaceOutlivesInit) {
            return;
        }
        let space = self.space_of(task);
        self.close_space(space);
        self.process_mut(task).actions.set(Signal::CHLD, Action::IGNORE);
        let others: Vec<TaskId> = self.spaces[space]
            .pids()
            .filter_map(|pid| self.pids[pid].task)
            .filter(|other| *other != task)
            .collect();
        for other in others {
            self.send(From::Kernel, other, Signal::KILL, false);
        }
        self.zap_again(task);
    }

    /// Buries who died before, and sleeps until the dying one is alone. The step after the sleep is the one
    /// after [`ExitStep::Namespace`](super::ExitStep::Namespace).
    pub(crate) fn zap_again(&mut self, task: TaskId) {
        let children: Vec<TaskId> = self.children(task).collect();
        for child in children {
            if self.tasks[child].is_zombie() && self.process(child).others.is_empty() {
                self.release(child);
            }
        }
        let own = self.process(task).threads().count();
        if self.spaces[self.space_of(task)].population() > own {
            self.set_place(task, Place::Asleep { what: Sleep::Zap, woken: false });
        } else {
            self.set_place(task, Place::Dying(self.step_after_namespace()));
        }
    }

    /// A number of the namespace was given free: its dying init looks again.
    pub(crate) fn wake_from_zap(&mut self, reaper: TaskId) {
        if self
            .tasks
            .get(reaper)
            .is_some_and(|row| matches!(row.place, Place::Asleep { what: Sleep::Zap, .. }))
        {
            self.wake(reaper);
        }
    }
}
