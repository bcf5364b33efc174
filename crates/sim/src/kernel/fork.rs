//! Birth: a task is copied step by step, and each step that fails undoes those before it.
//!
//! kernel/fork.c: `copy_process`, `kernel_clone`.

use super::call::{Clone, Reply, Value};
use super::mutant::Mutant;
use super::sigset::{Actions, Pending, SigSet};
use super::slab::{FilesId, MemoryId, PidId, SpaceId, TaskId};
use super::task::{Family, Place, Process, Restart, Return, Sleep, Stop, Task};
use super::version::Order;
use super::{Fault, Kernel, Part};
use alloc::vec::Vec;
use doula_model::plan::Errno;
use doula_model::signal::Signal;

/// What a birth consists of, one after the other. Each can be made to fail ([`Fault::Fork`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ForkStep {
    /// `dup_task_struct`.
    Task,
    /// RLIMIT_NPROC, threads-max, and the rights that the wishes need.
    Limits,
    /// `copy_files`.
    Files,
    /// `copy_sighand`.
    Sighand,
    /// `copy_signal`.
    Signal,
    /// `copy_mm`.
    Memory,
    /// `copy_namespaces`.
    Namespaces,
    /// `copy_thread`.
    Thread,
    /// `alloc_pid`.
    Pid,
    /// `cgroup_can_fork`: the control groups have room for one more.
    Cgroup,
    /// The child is entered into the lists, under the lock of the task list.
    Link,
}

const LINUX: [ForkStep; 11] = [
    ForkStep::Task,
    ForkStep::Limits,
    ForkStep::Files,
    ForkStep::Sighand,
    ForkStep::Signal,
    ForkStep::Memory,
    ForkStep::Namespaces,
    ForkStep::Thread,
    ForkStep::Pid,
    ForkStep::Cgroup,
    ForkStep::Link,
];

const TEXTBOOK: [ForkStep; 11] = [
    ForkStep::Task,
    ForkStep::Limits,
    ForkStep::Memory,
    ForkStep::Files,
    ForkStep::Sighand,
    ForkStep::Signal,
    ForkStep::Namespaces,
    ForkStep::Thread,
    ForkStep::Pid,
    ForkStep::Cgroup,
    ForkStep::Link,
];

impl ForkStep {
    /// All steps, in their order.
    pub const fn order(order: Order) -> &'static [ForkStep] {
        match order {
            Order::Linux => &LINUX,
            Order::Textbook => &TEXTBOOK,
        }
    }
}

/// What a child that is not yet born has.
#[derive(Debug, Default)]
struct Draft {
    files: Option<FilesId>,
    memory: Option<MemoryId>,
    /// A namespace that was made for it.
    own_space: Option<SpaceId>,
    pid: Option<PidId>,
}

impl Draft {
    fn pid(&self) -> PidId {
        self.pid.expect("every order gives a number")
    }
}

impl Kernel {
    pub(crate) fn sys_clone(&mut self, task: TaskId, how: &Clone) -> Part {
        if let Err(errno) = self.check_clone(task, how) {
            return errno.into();
        }
        // Signals that were sent before are taken before: the child has no part in them.
        if self.tasks[task].kicked {
            return Part::Interrupted(Restart::Always);
        }
        let child = match self.copy_process(task, how) {
            Ok(child) => child,
            Err(errno) => return errno.into(),
        };
        let number = self.number_in(self.tasks[child].pid, self.space_of(task));
        if how.vfork && !self.bent(Mutant::VforkDoesNotWait) {
            self.tasks[child].vfork_parent = Some(task);
            return Part::Sleep(Sleep::Vfork { child, number });
        }
        Part::Done(Ok(Value::Number(number)))
    }

    /// Which wishes exclude each other.
    fn check_clone(&self, task: TaskId, how: &Clone) -> Result<(), Errno> {
        let wrong = (how.thread && !how.sighand)
            || (how.sighand && !how.vm)
            || (how.parent && self.process(task).unkillable)
            || (how.thread && (how.new_pid || self.tasks[task].births != self.space_of(task)))
            || ((how.thread || how.parent) && how.exit_signal.is_some());
        if wrong {
            Err(Errno::EINVAL)
        } else if how.sighand && !how.thread {
            Err(Errno::ENOSYS)
        } else {
            Ok(())
        }
    }

    /// The parent of vfork(2) goes on: the child has executed a program or ended, or the parent is to die.
    pub(crate) fn after_vfork(&mut self, task: TaskId, child: TaskId, number: i32) -> Part {
        if self.tasks.get(child).is_some_and(|row| row.vfork_parent == Some(task)) {
            if self.process(task).group_exit.is_none() && !self.bent(Mutant::VforkStops) {
                return Part::Sleep(Sleep::Vfork { child, number });
            }
            self.tasks[child].vfork_parent = None;
        }
        Part::Done(Ok(Value::Number(number)))
    }

    /// The child's memory is no longer its parent's: `mm_release`.
    pub(crate) fn release_vfork_parent(&mut self, task: TaskId) {
        if let Some(parent) = self.tasks[task].vfork_parent.take() {
            self.wake(parent);
        }
    }

    /// Step by step; what fails undoes the steps before it, the last one first.
    fn copy_process(&mut self, task: TaskId, how: &Clone) -> Result<TaskId, Errno> {
        let mut draft = Draft::default();
        for step in ForkStep::order(self.config.order) {
            if let Err(errno) = self.fork_step(task, how, *step, &mut draft) {
                self.undo_birth(draft);
                return Err(errno);
            }
        }
        Ok(if how.thread { self.add_thread(task, &draft) } else { self.add_process(task, how, &draft) })
    }

    fn fork_step(
        &mut self,
        task: TaskId,
        how: &Clone,
        step: ForkStep,
        draft: &mut Draft,
    ) -> Result<(), Errno> {
        let fault = |fault: &Fault| matches!(fault, Fault::Fork(at, _) if *at == step);
        if let Some(at) = self.faults.iter().position(fault)
            && let Fault::Fork(_, errno) = self.faults.remove(at)
        {
            return Err(errno);
        }
        match step {
            ForkStep::Task | ForkStep::Sighand | ForkStep::Signal | ForkStep::Thread | ForkStep::Link => {}
            ForkStep::Limits => self.check_limits(task, how)?,
            ForkStep::Files => {
                let files = self.tasks[task].files.expect("only the dying have no table");
                draft.files = Some(if how.files { self.share_files(files) } else { self.copy_files(files) });
            }
            ForkStep::Memory => {
                let memory = self.tasks[task].memory.expect("only the dying have no memory");
                draft.memory =
                    Some(if how.vm { self.share_memory(memory) } else { self.copy_memory(memory) });
            }
            // Who has its children elsewhere already makes no namespace below its own.
            ForkStep::Namespaces if how.new_pid && self.tasks[task].births != self.space_of(task) => {
                return Err(Errno::EINVAL);
            }
            ForkStep::Namespaces if how.new_pid => {
                draft.own_space = Some(self.make_space(self.tasks[task].births)?);
            }
            ForkStep::Namespaces => {}
            ForkStep::Cgroup => self.check_cgroup(self.cgroup_of_child(task, how))?,
            ForkStep::Pid => {
                let space = draft.own_space.unwrap_or(self.tasks[task].births);
                let may_choose = self.tasks[task].uid == 0;
                draft.pid = Some(self.alloc_pid(space, how.set_tid.map(|number| (number, may_choose)))?);
            }
        }
        Ok(())
    }

    /// Linux's `bad_fork_cleanup_…`. The numbers that were passed by are not given back.
    fn undo_birth(&mut self, draft: Draft) {
        match (draft.pid, draft.own_space) {
            // With its only number the new namespace goes.
            (Some(pid), _) => self.free_pid_if_unused(pid),
            (None, Some(space)) => drop(self.spaces.remove(space)),
            (None, None) => {}
        }
        let memory = draft.memory.filter(|_| !self.bent(Mutant::FailedBirthKeepsPages));
        memory.into_iter().for_each(|memory| self.leave_memory(memory));
        for open in draft.files.map(|files| self.leave_files(files)).unwrap_or_default() {
            self.put_open(open);
        }
    }

    fn share_files(&mut self, files: FilesId) -> FilesId {
        self.files[files].users += 1;
        files
    }

    fn share_memory(&mut self, memory: MemoryId) -> MemoryId {
        self.memories[memory].users += 1;
        memory
    }

    /// RLIMIT_NPROC of the user, from which root is free, and the machine's own limit, from which nobody is.
    fn check_limits(&self, task: TaskId, how: &Clone) -> Result<(), Errno> {
        let uid = self.tasks[task].uid;
        if how.new_pid && uid != 0 {
            return Err(Errno::EPERM);
        }
        let over =
            self.threads_of_user(uid) >= self.process(task).max_processes && !self.bent(Mutant::LimitIgnored);
        if (over && (uid != 0 || self.bent(Mutant::LimitBindsRoot)))
            || self.threads >= self.config.max_threads
        {
            return Err(Errno::EAGAIN);
        }
        Ok(())
    }

    /// unshare(2) with CLONE_NEWPID: the next child is the init of a new namespace, later ones are born into it.
    pub(crate) fn sys_unshare_pid(&mut self, task: TaskId) -> Reply {
        let own = self.space_of(task);
        if self.tasks[task].uid != 0 {
            return Err(Errno::EPERM);
        }
        if self.tasks[task].births != own {
            return Err(Errno::EINVAL);
        }
        let space = self.make_space(own)?;
        self.spaces[own].future -= 1;
        self.spaces[space].future += 1;
        self.tasks[task].births = space;
        Ok(Value::ZERO)
    }

    fn add_process(&mut self, task: TaskId, how: &Clone, draft: &Draft) -> TaskId {
        let (pid, space) = (draft.pid(), draft.own_space.unwrap_or(self.tasks[task].births));
        let (mut row, mut process) = (self.tasks[task].clone(), self.process(task).clone());
        let sibling = how.parent && !self.bent(Mutant::ParentFlagIgnored);
        let parent = if sibling { row.family.parent } else { Some(task) };
        if how.parent {
            row.exit_signal = self.tasks[process.leader].exit_signal;
        } else {
            (row.exit_signal, row.parent_exec_id) = (how.exit_signal, row.exec_id);
        }
        row = Task { births: space, ..self.newborn(row, draft) };
        let above = self.process(parent.expect("only init has no parent, and it makes no siblings"));
        process = Process {
            below_subreaper: above.below_subreaper || above.subreaper,
            others: Vec::new(),
            live: 1,
            unhurt: 1,
            is_leader: false,
            hung_up_group: None,
            pending: if self.bent(Mutant::PendingInherited) { process.pending } else { Pending::default() },
            group_exit: None,
            stop: Stop::default(),
            unkillable: false,
            subreaper: false,
            alarm: if self.bent(Mutant::AlarmInherited) { process.alarm } else { 0 },
            exec_task: None,
            cgroup: self.cgroup_of_child(task, how),
            ..process
        };
        let child = self.insert(row, process);
        self.inherit_terminal(self.tasks[child].process);
        self.adopt(child, parent);
        if self.bent(Mutant::ForkMakesGroup) {
            self.move_to_group(child, pid);
        }
        if self.number_in(pid, space) == 1 {
            self.spaces[space].reaper = Some(child);
            self.process_mut(child).unkillable = true;
        }
        child
    }

    /// Enters a new process into all tables but the list of its siblings.
    pub(super) fn insert(&mut self, row: Task, process: Process) -> TaskId {
        let (pid, group, session) = (row.pid, process.group, process.session);
        let child = self.tasks.insert(row);
        let key = self.processes.insert(Process { leader: child, ..process });
        self.tasks[child].process = key;
        self.pids[pid].task = Some(child);
        self.pids[group].members.push(key);
        self.pids[session].in_session += 1;
        self.count_user(self.tasks[child].uid, 1);
        self.spaces[self.tasks[child].births].future += 1;
        self.set_place(child, Place::Leaving);
        child
    }

    fn add_thread(&mut self, task: TaskId, draft: &Draft) -> TaskId {
        let pid = draft.pid();
        let row = self.tasks[task].clone();
        let parent = row.family.parent;
        let row = Task { exit_signal: None, ..self.newborn(row, draft) };
        let (process, uid) = (row.process, row.uid);
        let thread = self.tasks.insert(row);
        self.tasks[thread].family.parent = parent;
        self.processes[process].others.push(thread);
        self.processes[process].live += 1;
        self.processes[process].unhurt += 1;
        self.pids[pid].task = Some(thread);
        self.count_user(uid, 1);
        self.spaces[self.tasks[thread].births].future += 1;
        self.set_place(thread, Place::Leaving);
        thread
    }

    /// What a child has not from its parent.
    fn newborn(&mut self, row: Task, draft: &Draft) -> Task {
        self.births += 1;
        Task {
            pid: draft.pid(),
            birth: self.births,
            files: draft.files,
            memory: draft.memory,
            closing: Vec::new(),
            over_limit: false,
            family: Family::default(),
            call: None,
            ret: Some(Return::Done(Ok(Value::ZERO))),
            reply: None,
            caught: Vec::new(),
            pending: Pending::default(),
            blocked: if self.bent(Mutant::MaskNotInherited) { SigSet::EMPTY } else { row.blocked },
            kicked: false,
            stop_pending: None,
            death_signal: row.death_signal.filter(|_| self.bent(Mutant::DeathSignalInherited)),
            exiting: false,
            no_exec: true,
            code: 0,
            vfork_parent: None,
            ..row
        }
    }

    /// PID 1 of the machine.
    pub(crate) fn make_init(&mut self) -> TaskId {
        let pid = self.alloc_pid(self.root, None).expect("an empty namespace has a number");
        let files = self.first_files();
        let memory = self.first_memory();
        let row = Task {
            pid,
            process: super::slab::Key::from_index(0),
            births: self.root,
            family: Family::default(),
            place: Place::User,
            call: None,
            ret: None,
            reply: None,
            caught: Vec::new(),
            blocked: SigSet::EMPTY,
            pending: Pending::default(),
            kicked: false,
            stop_pending: None,
            death_signal: None,
            exit_signal: Some(Signal::CHLD),
            exiting: false,
            no_exec: false,
            exec_id: 0,
            parent_exec_id: 0,
            code: 0,
            files: Some(files),
            closing: Vec::new(),
            memory: Some(memory),
            image: None,
            over_limit: false,
            vfork_parent: None,
            uid: 0,
            birth: 0,
        };
        let process = Process {
            leader: super::slab::Key::from_index(0),
            others: Vec::new(),
            live: 1,
            unhurt: 1,
            group: pid,
            session: pid,
            is_leader: true,
            terminal: None,
            hung_up_group: None,
            pending: Pending::default(),
            actions: Actions::default(),
            group_exit: None,
            stop: Stop::default(),
            unkillable: true,
            subreaper: false,
            below_subreaper: false,
            max_processes: u32::MAX,
            alarm: 0,
            stack_limit: 8 << 20,
            exec_task: None,
            cgroup: super::slab::Key::from_index(0),
        };
        let init = self.insert(row, process);
        self.set_place(init, Place::User);
        self.spaces[self.root].reaper = Some(init);
        init
    }

    pub(crate) fn threads_of_user(&self, uid: u32) -> u32 {
        self.users.iter().find(|(user, _)| *user == uid).map_or(0, |(_, count)| *count)
    }

    /// Counts a user's thread in (1) or out (-1), and in both cases one of the machine.
    pub(crate) fn count_user(&mut self, uid: u32, change: i32) {
        self.threads = self.threads.saturating_add_signed(change);
        self.move_user(uid, change);
    }

    fn move_user(&mut self, uid: u32, change: i32) {
        match self.users.iter_mut().find(|(user, _)| *user == uid) {
            Some((_, count)) => *count = count.saturating_add_signed(change),
            None => self.users.push((uid, change.unsigned_abs())),
        }
        self.users.retain(|(_, count)| *count > 0);
    }

    pub(crate) fn sys_setuid(&mut self, task: TaskId, uid: u32) -> Reply {
        let old = self.tasks[task].uid;
        if old != 0 && old != uid {
            return Err(Errno::EPERM);
        }
        if old != uid {
            self.move_user(old, -1);
            self.move_user(uid, 1);
            // Other credentials end the promise to be told of the parent's death.
            (self.tasks[task].uid, self.tasks[task].death_signal) = (uid, None);
            if let Some(memory) = self.tasks[task].memory {
                self.memories[memory].guarded = true;
            }
            // Too many of them already: told at execve(2), because few programs look at setuid(2).
            self.tasks[task].over_limit = self.threads_of_user(uid) > self.process(task).max_processes;
        }
        Ok(Value::ZERO)
    }
}
