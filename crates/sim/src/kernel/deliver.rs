//! The way back to the program: signals are taken here and nowhere else.
//!
//! kernel/signal.c: `get_signal`, `do_signal_stop`, `dequeue_signal`. A handler is not run by the kernel: its
//! signal is noted for whoever plays the program ([`Kernel::take_caught`]) and the way back goes on.

use super::Kernel;
use super::call::Call;
use super::mutant::Mutant;
use super::signal::From;
use super::sigset::{Action, Code, Disposition, SigInfo, SigSet};
use super::slab::TaskId;
use super::task::{Place, Restart, Return, Tell};
use doula_model::plan::Errno;
use doula_model::signal::Signal;

/// What `get_signal` found.
enum Found {
    /// Nothing more: back to the program.
    Nothing,
    /// A handler is to run.
    Handler(SigInfo, Action),
    /// The task has stopped, or dies.
    Elsewhere,
}

impl Kernel {
    /// One passage on the way to the program: it ends there, in a stop, in death, or before a call that begins
    /// again.
    pub(crate) fn deliver(&mut self, task: TaskId) {
        let stood = matches!(self.tasks[task].place, Place::Stopped { .. } | Place::Traced { .. });
        if self.tasks[task].kicked || stood {
            self.set_place(task, Place::Leaving);
            loop {
                match self.get_signal(task) {
                    Found::Nothing => {}
                    Found::Elsewhere => return,
                    Found::Handler(info, action) => {
                        self.run_handler(task, info, action);
                        if self.has_to_look(task) {
                            continue;
                        }
                    }
                }
                if !self.come_back_from_handlers(task) {
                    break;
                }
            }
            self.set_kicked(task, false);
        }
        self.return_to_program(task);
    }

    fn return_to_program(&mut self, task: TaskId) {
        let row = &mut self.tasks[task];
        match row.ret.take() {
            Some(Return::Done(reply)) => {
                (row.reply, row.call) = (Some(reply), None);
                self.set_place(task, Place::User);
            }
            Some(Return::Restart(_) | Return::Again) => {
                row.ret = Some(Return::Again);
                self.set_place(task, Place::Leaving);
            }
            None => self.set_place(task, Place::User),
        }
    }

    /// The first handler decides whether an interrupted call begins again.
    fn run_handler(&mut self, task: TaskId, info: SigInfo, action: Action) {
        let restarts =
            action.restart && !self.bent(Mutant::NeverRestarts) || self.bent(Mutant::AlwaysRestarts);
        let row = &mut self.tasks[task];
        if let Some(Return::Restart(restart)) = row.ret {
            row.ret = Some(match restart {
                Restart::Always => Return::Again,
                Restart::IfAsked if restarts => Return::Again,
                Restart::IfAsked | Restart::Never => Return::Done(Err(Errno::EINTR)),
            });
        }
        row.caught.push(info);
        self.block_while_handled(task, info.signal);
    }

    /// Every thread that comes out of a stop looks whether its parent is to hear of it. Whether it did.
    fn tell_of_going_on(&mut self, task: TaskId) -> bool {
        let Some(tell) = self.process_mut(task).stop.tell.take() else { return false };
        let code = match tell {
            Tell::Continued => Code::Continued,
            // Which signal it was is forgotten by now.
            Tell::Stopped => Code::Stopped(0),
        };
        self.tell_parent_of_stop(task, code);
        self.tell_stranger_of_stop(task, code);
        true
    }

    /// `relock`. Whether that is a step of its own: who hears that somebody goes on may take it before it hears of the next stop.
    fn begins_anew(&mut self, task: TaskId) -> bool {
        let step = self.tell_of_going_on(task) && self.has_to_look(task);
        if step {
            self.set_kicked(task, true);
        }
        step
    }

    fn get_signal(&mut self, task: TaskId) -> Found {
        let process = self.tasks[task].process;
        // Who comes from the delivery of a signal goes on with that: it does not look for stops first.
        let mut resumed = self.take_resumed(task);
        if resumed.is_none() && self.begins_anew(task) {
            return Found::Elsewhere;
        }
        loop {
            if let Some(status) = self.processes[process].group_exit {
                self.begin_exit(task, status);
                return Found::Elsewhere;
            }
            if self.processes[process].exec_task.is_some_and(|other| other != task) {
                // Another thread executes a program and wants to be alone.
                self.begin_exit(task, 0);
                return Found::Elsewhere;
            }
            let (info, may_stop) = match resumed.take() {
                Some(resumed) => match self.after_signal(resumed) {
                    Some(after) => after,
                    None => continue,
                },
                None if self.stops_first(task) => return Found::Elsewhere,
                None => match self.next_signal(task) {
                    Some(_) if matches!(self.tasks[task].place, Place::Traced { .. }) => {
                        return Found::Elsewhere;
                    }
                    Some(info) => (info, true),
                    None => return Found::Nothing,
                },
            };
            let mutant = self.config.mutant;
            let actions = &mut self.processes[process].actions;
            let action = actions.get(info.signal);
            match action.disposition {
                Disposition::Ignore => {}
                Disposition::Handler => {
                    if action.once && mutant != Some(Mutant::OnceStays) {
                        // The flags stay: so do those of SIGCHLD that say what becomes of zombies.
                        let flags =
                            if mutant == Some(Mutant::OnceClearsFlags) { Action::DEFAULT } else { action };
                        actions.set(info.signal, Action { disposition: Disposition::Default, ..flags });
                    }
                    return Found::Handler(info, action);
                }
                Disposition::Default if self.does_default(task, info.signal, may_stop) => {
                    return Found::Elsewhere;
                }
                Disposition::Default => {}
            }
        }
    }

    /// Whether it stops before it takes a signal: with its process, or for its tracer.
    fn stops_first(&mut self, task: TaskId) -> bool {
        let stops = self.tasks[task].stop_pending.is_some();
        if stops {
            self.stop(task);
        } else if self.is_trap_due(task) {
            self.trap_for_stop(task);
            return true;
        }
        stops
    }

    /// The signal that is to be acted upon. Who is traced stops at it first, unless it is SIGKILL.
    fn next_signal(&mut self, task: TaskId) -> Option<SigInfo> {
        let wanted = self.blocked_now(task).complement();
        let shared = self.tasks[task].pending.set.and(wanted).is_empty();
        let info = self.dequeue(task, wanted)?;
        if info.signal != Signal::KILL {
            self.trap_at_signal(task, info, shared);
        }
        Some(info)
    }

    /// Back from all handlers to the program: whether there is something to do for what they had blocked.
    fn come_back_from_handlers(&mut self, task: TaskId) -> bool {
        self.unblock_handled(task) && self.has_to_look(task)
    }

    /// Whether there is something left for `get_signal` (`recalc_sigpending`).
    fn has_to_look(&self, task: TaskId) -> bool {
        let (row, process) = (&self.tasks[task], self.process(task));
        let waiting = row.pending.set.or(process.pending.set).without(self.blocked_now(task));
        !waiting.is_empty() || row.stop_pending.is_some() || self.is_trap_due(task)
    }

    /// Whether the default action took the task away.
    fn does_default(&mut self, task: TaskId, signal: Signal, may_stop: bool) -> bool {
        let process = self.tasks[task].process;
        if SigSet::IGNORED_BY_DEFAULT.has(signal) {
            return false;
        }
        let unkillable = self.processes[process].unkillable && !self.bent(Mutant::InitKillable);
        if unkillable && !SigSet::KERNEL_ONLY.has(signal) {
            return false;
        }
        if !SigSet::STOPS.has(signal) {
            self.begin_group_exit(process, signal.number());
            if !(SigSet::CORES.has(signal) && self.begin_dump(task)) {
                self.begin_exit(task, signal.number());
            }
            return true;
        }
        let orphaned = self.is_orphaned(self.processes[process].group, None);
        if signal != Signal::STOP && orphaned && !self.bent(Mutant::StopsInOrphanedGroup) {
            return self.begins_anew(task);
        }
        if !may_stop {
            return false;
        }
        self.begin_stop(task, signal);
        self.stop(task);
        true
    }

    /// One of these. Faults first, then by number; the thread's own before those of the process.
    pub(crate) fn dequeue(&mut self, task: TaskId, wanted: SigSet) -> Option<SigInfo> {
        let process = self.tasks[task].process;
        let own = self.tasks[task].pending.set.and(wanted);
        let fault = own.and(SigSet::SYNCHRONOUS).first();
        if let Some(signal) = fault.or(own.first()) {
            return self.tasks[task].pending.take(signal);
        }
        let mutant = self.config.mutant;
        let shared = &mut self.processes[process].pending;
        let waiting = shared.set.and(wanted);
        let last = mutant == Some(Mutant::HighestSignalFirst);
        let signal = if last { waiting.iter().last() } else { waiting.first() }?;
        shared.take(signal)
    }

    /// Asks every thread of the process to stop.
    fn begin_stop(&mut self, task: TaskId, signal: Signal) {
        let process = self.tasks[task].process;
        let stop = &mut self.processes[process].stop;
        if !stop.stopped {
            stop.signal = Some(signal);
        }
        (stop.kind, stop.count) = (Some(signal), 0);
        self.each_thread(process, |kernel, thread| {
            let row = &mut kernel.tasks[thread];
            if row.exiting || row.has_ended() || matches!(row.place, Place::Stopped { woken: false }) {
                return;
            }
            row.stop_pending = Some(signal);
            kernel.processes[process].stop.count += 1;
            if thread != task {
                kernel.signal_wake_up(thread, false);
            }
        });
    }

    /// This thread stops; the last one tells the parent.
    fn stop(&mut self, task: TaskId) {
        if self.traced(task).is_some() {
            return self.trap_for_stop(task);
        }
        let last = self.takes_part_in_stop(task);
        self.tasks[task].kicked = false;
        self.set_place(task, Place::Stopped { woken: false });
        if let Some(signal) = last {
            self.tell_parent_of_stop(task, Code::Stopped(signal.number()));
        }
    }

    /// Counts a thread as stopped, and tells the signal when it was the last.
    pub(crate) fn takes_part_in_stop(&mut self, task: TaskId) -> Option<Signal> {
        let signal = self.tasks[task].stop_pending.take()?;
        let stop = &mut self.process_mut(task).stop;
        stop.count = stop.count.saturating_sub(1);
        if stop.count > 0 || stop.stopped {
            return None;
        }
        (stop.stopped, stop.continued, stop.tell) = (true, false, None);
        Some(signal)
    }

    /// `do_notify_parent_cldstop`: SIGCHLD if it is wanted, and in any case whoever waits looks again.
    pub(crate) fn tell_parent_of_stop(&mut self, task: TaskId, code: Code) {
        let leader = self.process(task).leader;
        let Some(parent) = self.tasks[leader].family.parent else { return };
        let action = self.process(parent).actions.get(Signal::CHLD);
        if action.disposition != Disposition::Ignore
            && (!action.no_stop || self.bent(Mutant::StopNoticeAlways))
        {
            self.send(From::Task(leader, code), parent, Signal::CHLD, false);
        }
        self.wake_waiters(leader, parent);
    }

    /// Sets TIF_SIGPENDING as the queues and the mask say.
    pub(crate) fn look_for_signals(&mut self, task: TaskId) {
        let row = &self.tasks[task];
        let waiting = row.pending.set.or(self.process(task).pending.set).without(row.blocked);
        if !waiting.is_empty() {
            self.set_kicked(task, true);
        }
    }

    /// The call in which a task sleeps or to which it will go back.
    pub fn call_of(&self, task: TaskId) -> Option<&Call> {
        self.tasks.get(task)?.call.as_ref()
    }
}
