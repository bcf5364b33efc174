//! Tracing: who stops for whom, and who hears of it.
//!
//! kernel/ptrace.c: `ptrace_attach`, `__ptrace_detach`, `exit_ptrace`; kernel/signal.c: `ptrace_stop`, `ptrace_signal`. ptrace(2)
//! is [`Kernel::ptrace`] and no [`Call`](super::call::Call): it never sleeps. Absent on purpose: memory and registers, stops
//! at calls and at births, PTRACE_LISTEN, and that SIGCONT makes a seized thread stop once more.

use super::Kernel;
use super::call::{Reply, Value};
use super::signal::{From, checked};
use super::sigset::{Code, Disposition, SigInfo};
use super::slab::TaskId;
use super::task::Place;
use alloc::vec::Vec;
use doula_model::plan::Errno;
use doula_model::signal::Signal;

/// What ptrace(2) is asked for. Numbers are as the caller sees them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Trace {
    /// `PTRACE_TRACEME`: by the parent.
    Me,
    /// `PTRACE_ATTACH`: sends SIGSTOP.
    Attach(i32),
    /// `PTRACE_SEIZE`, with `PTRACE_O_EXITKILL` or without: stops nobody.
    Seize(i32, bool),
    /// `PTRACE_INTERRUPT`, of who was seized.
    Interrupt(i32),
    /// `PTRACE_CONT` with a signal, or 0: instead of the one at which it stopped.
    Continue(i32, i32),
    /// `PTRACE_DETACH`, with the same.
    Detach(i32, i32),
}

/// SIGTRAP.
const TRAP: Signal = match Signal::new(5) {
    Some(signal) => signal,
    None => unreachable!(),
};

/// `PTRACE_EVENT_STOP`, as it is in a wait status.
const EVENT_STOP: i32 = 128 << 8;

/// Somebody who is traced.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Traced {
    task: TaskId,
    tracer: TaskId,
    seized: bool,
    kills: bool,
    /// What a wait(2) of the tracer has not taken yet.
    pub(crate) report: Option<i32>,
    /// The signal at whose delivery it has stopped.
    held: Option<SigInfo>,
    /// A stop that is due on the way to the program.
    due: Option<i32>,
}

impl Kernel {
    /// ptrace(2), with all that follows.
    ///
    /// # Errors
    /// As ptrace(2) fails.
    pub fn ptrace(&mut self, task: TaskId, what: Trace) -> Reply {
        match what {
            Trace::Me => {
                let parent = self.tasks[task].family.parent.filter(|_| self.traced(task).is_none());
                self.link(task, parent.ok_or(Errno::EPERM)?, false, false);
            }
            Trace::Attach(pid) => {
                let found = self.attach(task, pid, false, false)?;
                self.send(From::Kernel, found, Signal::STOP, false);
            }
            Trace::Seize(pid, kills) => drop(self.attach(task, pid, true, kills)?),
            Trace::Interrupt(pid) => self.interrupt(task, pid)?,
            Trace::Continue(pid, signal) => drop(self.resume(task, pid, signal)?),
            Trace::Detach(pid, signal) => {
                let found = self.resume(task, pid, signal)?;
                self.unlink(found);
            }
        }
        self.settle();
        Ok(Value::ZERO)
    }

    pub(crate) fn traced(&self, task: TaskId) -> Option<&Traced> {
        self.traces.iter().find(|traced| traced.task == task)
    }

    pub(crate) fn traced_mut(&mut self, task: TaskId) -> Option<&mut Traced> {
        self.traces.iter_mut().find(|traced| traced.task == task)
    }

    /// Whom a thread traces, the last one first.
    pub(crate) fn tracees(&self, tracer: TaskId) -> impl Iterator<Item = TaskId> {
        let own = move |traced: &&Traced| traced.tracer == tracer;
        self.traces.iter().rev().filter(own).map(|traced| traced.task)
    }

    /// Whether a process, by one of its threads, traces a task.
    pub(crate) fn is_tracee_of(&self, task: TaskId, by: TaskId) -> bool {
        self.traced(task).is_some_and(|traced| self.tasks[traced.tracer].process == self.tasks[by].process)
    }

    /// The tracer, if that is not the process of the parent.
    pub(crate) fn strange_tracer(&self, task: TaskId) -> Option<TaskId> {
        let tracer = self.traced(task)?.tracer;
        let own = self.tasks[task]
            .family
            .parent
            .is_some_and(|parent| self.tasks[parent].process == self.tasks[tracer].process);
        (!own).then_some(tracer)
    }

    fn link(&mut self, task: TaskId, tracer: TaskId, seized: bool, kills: bool) {
        self.traces.push(Traced { task, tracer, seized, kills, report: None, held: None, due: None });
    }

    fn attach(&mut self, by: TaskId, pid: i32, seized: bool, kills: bool) -> Result<TaskId, Errno> {
        let found = self.find_task(by, pid).ok_or(Errno::ESRCH)?;
        let (one, other) = (&self.tasks[by], &self.tasks[found]);
        let may = one.uid == 0 || one.uid == other.uid;
        let kernel = matches!(other.place, Place::Kernel { .. });
        if !may || kernel || one.process == other.process || other.has_ended() || self.traced(found).is_some()
        {
            return Err(Errno::EPERM);
        }
        self.link(found, by, seized, kills);
        if let Place::Stopped { .. } = self.tasks[found].place {
            self.due(found, Signal::STOP.number() | if seized { EVENT_STOP } else { 0 });
            self.set_place(found, Place::Stopped { woken: true });
        }
        Ok(found)
    }

    fn due(&mut self, task: TaskId, code: i32) {
        if let Some(traced) = self.traced_mut(task) {
            traced.due = Some(code);
        }
    }

    /// The caller's tracee.
    fn tracee(&self, by: TaskId, pid: i32) -> Result<TaskId, Errno> {
        let found = self.find_task(by, pid).ok_or(Errno::ESRCH)?;
        self.traced(found).filter(|traced| traced.tracer == by).map(|_| found).ok_or(Errno::ESRCH)
    }

    fn interrupt(&mut self, by: TaskId, pid: i32) -> Result<(), Errno> {
        let found = self.tracee(by, pid)?;
        if !self.traced(found).is_some_and(|traced| traced.seized) {
            return Err(Errno::EIO);
        }
        self.due(found, TRAP.number() | EVENT_STOP);
        self.signal_wake_up(found, false);
        Ok(())
    }

    /// Lets it go on; a signal counts only where it stopped at one.
    fn resume(&mut self, by: TaskId, pid: i32, signal: i32) -> Result<TaskId, Errno> {
        let found = self.tracee(by, pid)?;
        if !matches!(self.tasks[found].place, Place::Traced { woken: false }) {
            return Err(Errno::ESRCH);
        }
        let signal = checked(signal).map_err(|_| Errno::EIO)?;
        let pid = self.number_in(self.tasks[self.process(by).leader].pid, self.space_of(found));
        let Some(traced) = self.traced_mut(found) else { return Err(Errno::ESRCH) };
        traced.report = None;
        if let (Some(held), Some(signal)) = (traced.held.take(), signal) {
            let other = SigInfo { signal, code: Code::User, pid };
            self.injected.push((found, if held.signal == signal { held } else { other }));
        }
        self.set_place(found, Place::Traced { woken: true });
        Ok(found)
    }

    /// Nobody traces it any more. Who belongs to a stopped process takes part in its stop again.
    fn unlink(&mut self, task: TaskId) {
        self.traces.retain(|traced| traced.task != task);
        let stop = self.process(task).stop;
        let row = &mut self.tasks[task];
        if row.exiting || row.has_ended() {
            return;
        }
        if stop.stopped || stop.count > 0 {
            row.stop_pending = Some(stop.signal.unwrap_or(Signal::STOP));
        }
        if let Place::Traced { .. } = row.place {
            self.set_place(task, Place::Traced { woken: true });
        }
        self.look_for_signals(task);
    }

    /// `exit_ptrace`: who traces others lets them go when it dies, or takes them along.
    pub(crate) fn exit_trace(&mut self, tracer: TaskId) {
        let tracees: Vec<TaskId> = self.tracees(tracer).collect();
        for task in tracees {
            if self.traced(task).is_some_and(|traced| traced.kills) {
                self.send(From::Kernel, task, Signal::KILL, false);
            }
            let strange = self.strange_tracer(task).is_some();
            self.unlink(task);
            let over = self.tasks[task].is_zombie() && self.process(task).others.is_empty();
            let ignores = self.process(tracer).actions.get(Signal::CHLD).disposition == Disposition::Ignore;
            if over && if strange { self.tell_parent_of_end(task) } else { ignores } {
                self.set_place(task, Place::Dead);
                self.release(task);
            }
        }
    }

    /// `ptrace_stop`: the tracer is told.
    pub(crate) fn trap(&mut self, task: TaskId, code: i32, held: Option<SigInfo>) {
        let Some(traced) = self.traced_mut(task) else { return };
        (traced.report, traced.due) = (Some(code), None);
        traced.held = held;
        let tracer = traced.tracer;
        self.tasks[task].kicked = false;
        self.set_place(task, Place::Traced { woken: false });
        let action = self.process(tracer).actions.get(Signal::CHLD);
        if action.disposition != Disposition::Ignore && !action.no_stop {
            self.send(From::Task(task, Code::Stopped(code & 0x7f)), tracer, Signal::CHLD, false);
        }
        self.wake_waiters(task, tracer);
    }

    /// A stop of the whole process, of one who is traced.
    pub(crate) fn trap_in_group_stop(&mut self, task: TaskId, signal: Signal, last: bool) {
        let event = if self.traced(task).is_some_and(|traced| traced.seized) { EVENT_STOP } else { 0 };
        let strange = self.strange_tracer(task).is_some();
        self.trap(task, signal.number() | event, None);
        if last && strange {
            self.tell_parent_of_stop(task, Code::Stopped(signal.number()));
        }
    }

    /// execve(2) of who is traced the old way sends it SIGTRAP.
    pub(crate) fn trap_after_exec(&mut self, task: TaskId) {
        if self.traced(task).is_some_and(|traced| !traced.seized) {
            self.send(From::Caller(task, Code::User), task, TRAP, false);
        }
    }

    pub(crate) fn due_stop(&mut self, task: TaskId) -> Option<i32> {
        self.traced_mut(task)?.due.take()
    }

    /// The signal with which the tracer lets it go on; one that it blocks meanwhile waits again.
    pub(crate) fn injected(&mut self, task: TaskId) -> Option<SigInfo> {
        let at = self.injected.iter().position(|(found, _)| *found == task)?;
        let (_, info) = self.injected.remove(at);
        if self.tasks[task].blocked.has(info.signal) {
            self.tasks[task].pending.add(info);
            return None;
        }
        Some(info)
    }

    /// The tracer hears of the end first; the parent when the tracer has taken it.
    pub(crate) fn tell_tracer_of_end(&mut self, task: TaskId, tracer: TaskId) {
        let code = self.end_code(task);
        self.send(From::Task(task, code), tracer, Signal::CHLD, false);
        self.wake_waiters(task, tracer);
    }

    pub(crate) fn forget_trace(&mut self, task: TaskId) {
        self.traces.retain(|traced| traced.task != task);
        self.injected.retain(|(found, _)| *found != task);
    }
}
