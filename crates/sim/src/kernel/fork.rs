//! Birth: a task is copied step by step, and each step that fails undoes those before it.
//!
//! kernel/fork.c: `copy_process`, `kernel_clone`.

use super::call::{Clone, Reply, Value};
use super::sigset::{Actions, Pending, SigSet};
use super::slab::{PidId, SpaceId, TaskId};
use super::task::{Family, Place, Process, Restart, Return, Sleep, Stop, Task};
use super::{Kernel, Part};
use alloc::vec::Vec;
use doula_model::plan::Errno;
use doula_model::signal::Signal;

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
        if how.vfork {
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
            if self.process(task).group_exit.is_none() {
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

    fn copy_process(&mut self, task: TaskId, how: &Clone) -> Result<TaskId, Errno> {
        self.check_limits(task)?;
        if how.set_tid.is_some() && self.tasks[task].uid != 0 {
            return Err(Errno::EPERM);
        }
        let space = match how.new_pid {
            true if self.tasks[task].uid != 0 => return Err(Errno::EPERM),
            true => self.make_space(self.tasks[task].births)?,
            false => self.tasks[task].births,
        };
        let pid = self.alloc_pid(space, how.set_tid).inspect_err(|_| {
            if how.new_pid {
                self.spaces.remove(space);
            }
        })?;
        Ok(if how.thread { self.add_thread(task, pid) } else { self.add_process(task, how, pid, space) })
    }

    /// RLIMIT_NPROC of the user, from which root is free, and the machine's own limit, from which nobody is.
    fn check_limits(&self, task: TaskId) -> Result<(), Errno> {
        let uid = self.tasks[task].uid;
        let over = self.threads_of_user(uid) >= self.process(task).max_processes;
        if (over && uid != 0) || self.threads >= self.config.max_threads {
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

    fn add_process(&mut self, task: TaskId, how: &Clone, pid: PidId, space: SpaceId) -> TaskId {
        let (mut row, mut process) = (self.tasks[task].clone(), self.process(task).clone());
        let parent = if how.parent { row.family.parent } else { Some(task) };
        if how.parent {
            row.exit_signal = self.tasks[process.leader].exit_signal;
        } else {
            (row.exit_signal, row.parent_exec_id) = (how.exit_signal, row.exec_id);
        }
        row = Task { pid, births: space, ..self.newborn(row) };
        let above = self.process(parent.expect("only init has no parent, and it makes no siblings"));
        process = Process {
            below_subreaper: above.below_subreaper || above.subreaper,
            others: Vec::new(),
            live: 1,
            unhurt: 1,
            is_leader: false,
            pending: Pending::default(),
            group_exit: None,
            stop: Stop::default(),
            unkillable: false,
            subreaper: false,
            alarm: 0,
            ..process
        };
        let child = self.insert(row, process);
        self.adopt(child, parent);
        if self.number_in(pid, space) == 1 {
            self.spaces[space].reaper = Some(child);
            self.process_mut(child).unkillable = true;
        }
        child
    }

    /// Enters a new process into all tables but the list of its siblings.
    fn insert(&mut self, row: Task, process: Process) -> TaskId {
        let (pid, group, session) = (row.pid, process.group, process.session);
        let child = self.tasks.insert(row);
        self.tasks[child].process = self.processes.insert(Process { leader: child, ..process });
        self.pids[pid].task = Some(child);
        self.pids[group].members += 1;
        self.pids[session].in_session += 1;
        self.count_user(self.tasks[child].uid, 1);
        self.spaces[self.tasks[child].births].future += 1;
        self.set_place(child, Place::Leaving);
        child
    }

    fn add_thread(&mut self, task: TaskId, pid: PidId) -> TaskId {
        let row = self.tasks[task].clone();
        let parent = row.family.parent;
        let row = Task { pid, exit_signal: None, ..self.newborn(row) };
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
    fn newborn(&mut self, row: Task) -> Task {
        self.births += 1;
        Task {
            birth: self.births,
            family: Family::default(),
            call: None,
            ret: Some(Return::Done(Ok(Value::ZERO))),
            reply: None,
            caught: Vec::new(),
            pending: Pending::default(),
            kicked: false,
            stop_pending: None,
            death_signal: None,
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
            pending: Pending::default(),
            actions: Actions::default(),
            group_exit: None,
            stop: Stop::default(),
            unkillable: true,
            subreaper: false,
            below_subreaper: false,
            max_processes: u32::MAX,
            alarm: 0,
        };
        let init = self.insert(row, process);
        self.set_place(init, Place::User);
        self.spaces[self.root].reaper = Some(init);
        init
    }

    fn threads_of_user(&self, uid: u32) -> u32 {
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
        }
        Ok(Value::ZERO)
    }
}
