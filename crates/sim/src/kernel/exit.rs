//! Death: the steps from exit(2) to the zombie, and the release of what is left of a task.
//!
//! kernel/exit.c: `do_group_exit`, `do_exit`, `exit_notify`, `release_task`; kernel/signal.c:
//! `exit_signals`, `do_notify_parent`. The order of a textbook is kept beside Linux's own, so that the
//! difference can be shown.

use super::mutant::Mutant;
use super::signal::From;
use super::sigset::{Code, Disposition};
use super::slab::TaskId;
use super::task::{Place, Process, Stop, Task};
use super::version::Order;
use super::{Kernel, Part};
use doula_model::signal::Signal;

/// What a dying task does, one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ExitStep {
    /// `exit_signals`: it takes no signal any more, and nobody's orphans.
    Signals,
    /// The last thread's timers are stopped: `hrtimer_cancel`, `exit_itimers`.
    Timers,
    /// `tsk->exit_code` is set.
    Code,
    /// `exit_mm`: the memory is left; the parent of vfork(2) goes on.
    Memory,
    /// `exit_files`: the table of descriptors is left; its last owner has the open files still to close.
    Files,
    /// `disassociate_ctty`: the last thread of a session's leader gives the controlling terminal up.
    Terminal,
    /// `exit_task_work`: pipes are really closed, and their other ends learn of it.
    TaskWork,
    /// The init of a namespace closes it, kills all in it, and waits until they are gone.
    Namespace,
    /// `exit_notify`: orphans are given away, it becomes a zombie, and the parent is told, all in one step.
    Notify,
    /// Only in textbooks: orphans are given away on their own.
    Orphans,
    /// Only in textbooks: the parent is told on its own.
    Tell,
    /// Only in textbooks: it becomes a zombie on its own.
    Zombie,
}

const LINUX: [ExitStep; 9] = [
    ExitStep::Signals,
    ExitStep::Timers,
    ExitStep::Code,
    ExitStep::Memory,
    ExitStep::Files,
    ExitStep::Terminal,
    ExitStep::TaskWork,
    ExitStep::Namespace,
    ExitStep::Notify,
];

const TEXTBOOK: [ExitStep; 11] = [
    ExitStep::Code,
    ExitStep::Signals,
    ExitStep::Timers,
    ExitStep::Memory,
    ExitStep::Files,
    ExitStep::Terminal,
    ExitStep::TaskWork,
    ExitStep::Namespace,
    ExitStep::Orphans,
    ExitStep::Tell,
    ExitStep::Zombie,
];

impl ExitStep {
    /// All steps, in their order.
    pub const fn order(order: Order) -> &'static [ExitStep] {
        match order {
            Order::Linux => &LINUX,
            Order::Textbook => &TEXTBOOK,
        }
    }
}

impl Kernel {
    pub(crate) fn sys_exit(&mut self, task: TaskId, code: i32) -> Part {
        if self.bent(Mutant::ThreadEndIsTheProcess) {
            return self.sys_exit_group(task, code);
        }
        self.begin_exit(task, self.status(code));
        Part::Gone
    }

    fn status(&self, code: i32) -> i32 {
        if self.bent(Mutant::CodeNotCut) { code << 8 } else { (code & 0xff) << 8 }
    }

    pub(crate) fn sys_exit_group(&mut self, task: TaskId, code: i32) -> Part {
        let process = self.tasks[task].process;
        let mut status = self.status(code);
        match self.processes[process].group_exit {
            Some(first) => status = first,
            None => self.begin_group_exit(process, status),
        }
        self.begin_exit(task, status);
        Part::Gone
    }

    /// The task will not see its program again.
    pub(crate) fn begin_exit(&mut self, task: TaskId, status: i32) {
        let process = self.process_mut(task);
        process.unhurt -= 1;
        if process.unhurt == 0 && process.group_exit.is_none() {
            (process.group_exit, process.stop) = (Some(status), Stop::default());
        }
        let row = &mut self.tasks[task];
        self.last_words.extend(row.reply.take().map(|reply| (row.birth, reply)));
        (row.code, row.ret, row.call, row.kicked) = (status, None, None, false);
        row.caught.clear();
        self.set_place(task, Place::Dying(0));
    }

    /// The step that a dying task does next.
    pub fn exit_step(&self, task: TaskId) -> Option<ExitStep> {
        match self.tasks.get(task)?.place {
            Place::Dying(at) => ExitStep::order(self.config.order).get(usize::from(at)).copied(),
            Place::User | Place::Leaving | Place::Asleep { .. } => None,
            Place::Stopped { .. } | Place::Traced { .. } => None,
            Place::Zombie | Place::Dead | Place::Kernel { .. } => None,
        }
    }

    /// Dies by one step that others can see; those that nobody can see go with it.
    pub(crate) fn die(&mut self, task: TaskId) {
        while let Place::Dying(at) = self.tasks[task].place {
            let step = ExitStep::order(self.config.order)[usize::from(at)];
            let seen = self.is_seen(task, step);
            self.set_place(task, Place::Dying(at + 1));
            self.do_exit_step(task, step);
            if seen {
                break;
            }
        }
    }

    /// One step of [`ExitStep`], for who wants to watch.
    ///
    /// # Panics
    /// When the task is not dying.
    pub fn die_one_step(&mut self, task: TaskId) -> ExitStep {
        let Place::Dying(at) = self.tasks[task].place else { panic!("only a dying task dies further") };
        let step = ExitStep::order(self.config.order)[usize::from(at)];
        self.set_place(task, Place::Dying(at + 1));
        self.do_exit_step(task, step);
        step
    }

    /// Whether anybody could tell that the step has been done: else it need not be a step of its own.
    fn is_seen(&self, task: TaskId, step: ExitStep) -> bool {
        let process = self.process(task);
        match step {
            ExitStep::Signals => process.subreaper || process.unkillable || !process.others.is_empty(),
            ExitStep::Memory => self.tasks[task].vfork_parent.is_some(),
            ExitStep::Terminal => process.live == 0 && self.leads_at_terminal(task),
            ExitStep::TaskWork => !self.tasks[task].closing.is_empty(),
            ExitStep::Timers | ExitStep::Code | ExitStep::Files => false,
            ExitStep::Namespace => self.is_last_of_reaper(task),
            ExitStep::Notify | ExitStep::Orphans | ExitStep::Tell | ExitStep::Zombie => true,
        }
    }

    fn do_exit_step(&mut self, task: TaskId, step: ExitStep) {
        match step {
            ExitStep::Signals => self.exit_signals(task),
            ExitStep::Timers => {
                if self.process(task).live == 0 {
                    self.process_mut(task).alarm = 0;
                }
            }
            ExitStep::Code => {}
            ExitStep::Memory => {
                if let Some(memory) = self.tasks[task].memory.take() {
                    self.leave_memory(memory);
                }
                self.release_vfork_parent(task);
            }
            ExitStep::Files => {
                if let Some(files) = self.tasks[task].files.take() {
                    self.tasks[task].closing = self.leave_files(files);
                }
            }
            ExitStep::Terminal => {
                if self.process(task).live == 0 {
                    self.leader_leaves_terminal(task);
                }
            }
            ExitStep::TaskWork => {
                for open in core::mem::take(&mut self.tasks[task].closing) {
                    self.put_open(open);
                }
            }
            ExitStep::Namespace => self.begin_zap(task),
            ExitStep::Notify => {
                self.forget_original_parent(task);
                self.exit_notify(task);
            }
            ExitStep::Orphans => self.forget_original_parent(task),
            ExitStep::Tell => {
                // Told of a death that has not happened yet: who looks now finds nobody.
                if let Some(parent) = self.tasks[task].family.parent {
                    self.send(From::Kernel, parent, Signal::CHLD, false);
                    self.wake_waiters(task, parent);
                }
            }
            ExitStep::Zombie => {
                let leads = self.process(task).leader == task;
                self.set_place(task, if leads { Place::Zombie } else { Place::Dead });
            }
        }
    }

    fn exit_signals(&mut self, task: TaskId) {
        self.tasks[task].exiting = true;
        let process = self.tasks[task].process;
        self.processes[process].live -= 1;
        if self.processes[process].group_exit.is_some() {
            return;
        }
        self.retarget(task);
        if let Some(signal) = self.takes_part_in_stop(task) {
            self.tell_parent_of_stop(task, Code::Stopped(signal.number()));
        }
    }

    /// What waits for the process and this thread could have taken is shown to the others.
    fn retarget(&mut self, task: TaskId) {
        let process = self.tasks[task].process;
        let waiting = self.processes[process].pending.set.without(self.tasks[task].blocked);
        self.each_thread(process, |kernel, thread| {
            let row = &kernel.tasks[thread];
            if !row.exiting && !waiting.without(row.blocked).is_empty() {
                kernel.signal_wake_up(thread, false);
            }
        });
    }

    /// The zombie, and the news of it.
    fn exit_notify(&mut self, task: TaskId) {
        let process = self.tasks[task].process;
        if self.processes[process].live == 0 {
            self.hang_up_orphans(self.processes[process].leader, None);
        }
        self.set_place(task, Place::Zombie);
        let leader = self.processes[process].leader == task;
        let nobody_waits = if leader {
            self.processes[process].others.is_empty() && self.tell_parent_of_end(task)
        } else {
            true
        };
        if nobody_waits {
            self.set_place(task, Place::Dead);
        }
        self.wake_exec(process);
    }

    /// `do_notify_parent`: SIGCHLD and a look for whoever waits; true when the parent wants no zombie.
    pub(crate) fn tell_parent_of_end(&mut self, leader: TaskId) -> bool {
        let Some(parent) = self.tasks[leader].family.parent else { return false };
        self.wake_pollers(self.tasks[leader].pid);
        if let Some(tracer) = self.strange_tracer(leader).filter(|_| !self.bent(Mutant::ParentToldFirst)) {
            self.tell_tracer_of_end(leader, tracer);
            return false;
        }
        let mut signal = self.tasks[leader].exit_signal;
        if self.bent(Mutant::ExitSignalIgnored) {
            signal = Some(Signal::CHLD);
        }
        if signal != Some(Signal::CHLD) && self.tasks[leader].parent_exec_id != self.tasks[parent].exec_id {
            signal = Some(Signal::CHLD);
        }
        let action = self.process(parent).actions.get(Signal::CHLD);
        let mut unwanted = false;
        // A tracer takes the end of its own child, wanted or not.
        let traced = self.traced(leader).is_some();
        if !traced
            && signal == Some(Signal::CHLD)
            && (action.disposition == Disposition::Ignore && !self.bent(Mutant::NoAutoreap)
                || action.no_wait && !self.bent(Mutant::NoWaitIgnored))
        {
            unwanted = true;
            signal = signal.filter(|_| action.disposition != Disposition::Ignore);
        }
        if let Some(signal) = signal {
            let code = self.end_code(leader);
            self.send(From::Task(leader, code), parent, signal, false);
        }
        self.wake_waiters(leader, parent);
        unwanted
    }

    pub(crate) fn end_code(&self, leader: TaskId) -> Code {
        let status = self.end_status(leader);
        match status & 0x7f {
            0 => Code::Exited(status >> 8 & 0xff),
            signal if status & 0x80 != 0 => Code::Dumped(signal),
            signal => Code::Killed(signal),
        }
    }

    /// The wait status: the process's own when it ended as a whole.
    pub(crate) fn end_status(&self, leader: TaskId) -> i32 {
        self.process(leader).group_exit.unwrap_or(self.tasks[leader].code)
    }

    /// `release_task`: the last trace of a task goes, and its number with it if nobody else needs it.
    pub(crate) fn release(&mut self, task: TaskId) {
        let process = self.tasks[task].process;
        let (leader, pid) = (self.processes[process].leader, self.tasks[task].pid);
        if leader == task {
            self.pids[pid].end = Some(self.end_status(task));
            self.leave_siblings(task);
        }
        self.unmark(task);
        self.forget_trace(task);
        let row: Task = self.tasks.remove(task);
        self.leave_births(row.births);
        self.count_user(row.uid, -1);
        if leader == task {
            self.release_process(process);
        } else {
            self.release_thread(process, task);
        }
        // Last: it may also be that of the group and of the session.
        self.pids[pid].task = None;
        self.free_pid_if_unused(pid);
    }

    fn release_process(&mut self, process: super::ProcessId) {
        self.clear_terminal(process);
        let Process { group, session, hung_up_group, .. } = self.processes.remove(process);
        hung_up_group.into_iter().for_each(|pid| self.let_go_of_pid(pid));
        self.pids[group].members.retain(|member| *member != process);
        self.pids[session].in_session -= 1;
        self.free_pid_if_unused(group);
        if session != group {
            self.free_pid_if_unused(session);
        }
    }

    /// The last thread of a process whose leader ended before tells of the leader's end.
    fn release_thread(&mut self, process: super::ProcessId, thread: TaskId) {
        self.processes[process].others.retain(|other| *other != thread);
        self.wake_exec(process);
        let leader = self.processes[process].leader;
        let last = self.processes[process].others.is_empty() && self.tasks[leader].is_zombie();
        if last && self.tell_parent_of_end(leader) {
            self.set_place(leader, Place::Dead);
            self.release(leader);
        }
    }
}

impl Kernel {
    /// Where a namespace's init goes on after all others are gone.
    pub(crate) fn step_after_namespace(&self) -> u8 {
        let order = ExitStep::order(self.config.order);
        let at = order.iter().position(|step| *step == ExitStep::Namespace);
        at.expect("every order has the step") as u8 + 1
    }
}
