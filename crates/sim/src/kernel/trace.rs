//! Tracing: who stops for whom, and who hears of it. ptrace(2).
//!
//! kernel/ptrace.c: `ptrace_attach`, `ptrace_resume`, `__ptrace_unlink`, `exit_ptrace`; kernel/signal.c: `ptrace_stop`,
//! `ptrace_signal`, `do_jobctl_trap`, `ptrace_trap_notify`. Absent on purpose: memory and registers, stops at calls and at births,
//! PTRACE_LISTEN, and that a thread that is traced and no leader stays a zombie until its tracer has taken its end.

use super::Kernel;
use super::call::{Reply, Value};
use super::mutant::Mutant;
use super::signal::{From, checked};
use super::sigset::{Code, Disposition, SigInfo, SigSet};
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

impl Trace {
    /// The same about another process.
    #[must_use]
    pub fn with_numbers(self, number: impl Fn(i32) -> i32) -> Trace {
        let mut other = self;
        other.numbers().into_iter().for_each(|pid| *pid = number(*pid));
        other
    }

    /// Whom it is about.
    pub(crate) fn numbers(&mut self) -> Option<&mut i32> {
        match self {
            Trace::Me => None,
            Trace::Attach(pid)
            | Trace::Seize(pid, _)
            | Trace::Interrupt(pid)
            | Trace::Continue(pid, _)
            | Trace::Detach(pid, _) => Some(pid),
        }
    }
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
    /// What a wait(2) of the tracer has not taken yet (`exit_code`).
    report: Option<i32>,
    /// The signal at whose delivery it has stopped.
    held: Option<Held>,
    /// JOBCTL_TRAP_STOP: any stop makes up for it.
    due: bool,
    /// JOBCTL_TRAP_NOTIFY: only a stop that tells of stops does.
    notify: bool,
}

/// A signal on its way to somebody who is traced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Held {
    info: SigInfo,
    /// It came to the whole process.
    shared: bool,
    /// JOBCTL_STOP_DEQUEUED: no SIGCONT has come since, so that it may stop the process.
    may_stop: bool,
}

/// Who was let go on from the delivery of a signal, and with which one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Resumed {
    task: TaskId,
    signal: Option<Signal>,
    held: Held,
}

impl Kernel {
    pub(crate) fn sys_ptrace(&mut self, task: TaskId, what: Trace) -> Reply {
        match what {
            Trace::Me => self.trace_me(task)?,
            Trace::Attach(pid) => {
                let found = self.attach(task, pid, false, false)?;
                self.send(From::Kernel, found, Signal::STOP, true);
                self.trap_who_is_stopped(found);
            }
            Trace::Seize(pid, kills) => {
                let found = self.attach(task, pid, true, kills)?;
                self.trap_who_is_stopped(found);
            }
            Trace::Interrupt(pid) => self.interrupt(task, pid)?,
            Trace::Continue(pid, signal) => drop(self.resume(task, pid, signal)?),
            Trace::Detach(pid, signal) => {
                let found = self.resume(task, pid, signal)?;
                self.unlink(found);
            }
        }
        Ok(Value::ZERO)
    }

    pub(crate) fn traced(&self, task: TaskId) -> Option<&Traced> {
        self.traces.iter().find(|traced| traced.task == task)
    }

    fn traced_mut(&mut self, task: TaskId) -> Option<&mut Traced> {
        self.traces.iter_mut().find(|traced| traced.task == task)
    }

    /// Whom a thread traces, the last one first.
    pub(crate) fn tracees(&self, tracer: TaskId) -> impl Iterator<Item = TaskId> {
        let own = move |traced: &&Traced| traced.tracer == tracer;
        self.traces.iter().rev().filter(own).map(|traced| traced.task)
    }

    /// Whether a thread, or another one of its process, traces a task.
    pub(crate) fn is_tracee_of(&self, task: TaskId, by: TaskId, alone: bool) -> bool {
        self.traced(task).is_some_and(|traced| {
            traced.tracer == by || (!alone && self.tasks[traced.tracer].process == self.tasks[by].process)
        })
    }

    /// `task_struct.parent`: the tracer, or else the parent.
    pub(crate) fn hears_of(&self, task: TaskId) -> Option<TaskId> {
        self.traced(task).map(|traced| traced.tracer).or(self.tasks[task].family.parent)
    }

    /// The tracer, if that is not the process of the parent (`ptrace_reparented`).
    pub(crate) fn strange_tracer(&self, task: TaskId) -> Option<TaskId> {
        let tracer = self.traced(task)?.tracer;
        let own = self.tasks[task]
            .family
            .parent
            .is_some_and(|parent| self.tasks[parent].process == self.tasks[tracer].process);
        (!own).then_some(tracer)
    }

    fn link(&mut self, task: TaskId, tracer: TaskId, seized: bool, kills: bool) {
        self.traces.push(Traced {
            task,
            tracer,
            seized,
            kills,
            report: None,
            held: None,
            due: false,
            notify: false,
        });
    }

    fn trace_me(&mut self, task: TaskId) -> Result<(), Errno> {
        let parent = self.tasks[task].family.parent.filter(|_| self.traced(task).is_none());
        let parent = parent.ok_or(Errno::EPERM)?;
        // `cap_ptrace_traceme`: the parent has all rights that we have.
        if self.tasks[task].uid == 0 && self.tasks[parent].uid != 0 {
            return Err(Errno::EPERM);
        }
        // A parent that ends has let its tracees go already.
        if !self.tasks[parent].exiting {
            self.link(task, parent, false, false);
        }
        Ok(())
    }

    fn attach(&mut self, by: TaskId, pid: i32, seized: bool, kills: bool) -> Result<TaskId, Errno> {
        let found = self.find_task(by, pid).ok_or(Errno::ESRCH)?;
        let (one, other) = (&self.tasks[by], &self.tasks[found]);
        let kernel = matches!(other.place, Place::Kernel { .. });
        let again = self.traced(found).is_some();
        if kernel || one.process == other.process || !self.may_trace(by, found) || other.has_ended() || again
        {
            return Err(Errno::EPERM);
        }
        self.link(found, by, seized, kills);
        Ok(found)
    }

    /// `__ptrace_may_access`: root, and those of the same user, unless it has become that user and executed nothing since.
    fn may_trace(&self, by: TaskId, other: TaskId) -> bool {
        let (uid, row) = (self.tasks[by].uid, &self.tasks[other]);
        uid == 0 || (uid == row.uid && !row.memory.is_some_and(|memory| self.memories[memory].guarded))
    }

    /// `ptrace_set_stopped`: who is stopped already goes from T to t.
    fn trap_who_is_stopped(&mut self, task: TaskId) {
        if let Place::Stopped { .. } = self.tasks[task].place {
            if let Some(traced) = self.traced_mut(task) {
                traced.due = true;
            }
            self.set_place(task, Place::Stopped { woken: true });
        }
    }

    /// The caller's tracee.
    fn tracee(&self, by: TaskId, pid: i32) -> Result<TaskId, Errno> {
        let found = self.find_task(by, pid).ok_or(Errno::ESRCH)?;
        self.traced(found).filter(|traced| traced.tracer == by).map(|_| found).ok_or(Errno::ESRCH)
    }

    fn interrupt(&mut self, by: TaskId, pid: i32) -> Result<(), Errno> {
        let found = self.tracee(by, pid)?;
        let dies = self.tasks[found].exiting || self.process(found).group_exit.is_some();
        let any = self.bent(Mutant::InterruptsWhomIsAttached);
        let Some(traced) = self.traced_mut(found).filter(|traced| traced.seized || any) else {
            return Err(Errno::EIO);
        };
        if !dies {
            traced.due = true;
            self.signal_wake_up(found, false);
        }
        Ok(())
    }

    /// Lets it go on; a signal counts only where it stopped at one.
    fn resume(&mut self, by: TaskId, pid: i32, signal: i32) -> Result<TaskId, Errno> {
        let found = self.tracee(by, pid)?;
        if !matches!(self.tasks[found].place, Place::Traced { woken: false }) {
            return Err(Errno::ESRCH);
        }
        let signal = checked(signal).map_err(|_| Errno::EIO)?;
        self.let_go(found, signal);
        Ok(found)
    }

    fn let_go(&mut self, task: TaskId, signal: Option<Signal>) {
        let Some(traced) = self.traced_mut(task) else { return };
        traced.report = None;
        if let Some(held) = traced.held.take() {
            let own = self.bent(Mutant::TracerHoldsNothingBack).then_some(held.info.signal);
            self.resumed.push(Resumed { task, signal: signal.or(own), held });
        }
        self.set_place(task, Place::Traced { woken: true });
    }

    /// `__ptrace_unlink`: nobody traces it any more. Who belongs to a stopped process takes part in its stop again.
    fn unlink(&mut self, task: TaskId) {
        // Who stands at a signal has it if nobody was told of it: then it still is in `exit_code`.
        if let Place::Traced { woken: false } = self.tasks[task].place {
            let untold = self.traced(task).and_then(|traced| traced.report);
            let untold = untold.filter(|_| !self.bent(Mutant::UntoldSignalLost));
            self.let_go(task, untold.and_then(Signal::new));
        }
        self.traces.retain(|traced| traced.task != task);
        let stop = self.process(task).stop;
        let stops = (stop.stopped || stop.count > 0) && !self.bent(Mutant::DetachedGoesOn);
        let row = &mut self.tasks[task];
        if row.exiting || row.has_ended() {
            return;
        }
        if stops {
            row.stop_pending = Some(stop.kind.unwrap_or(Signal::STOP));
        }
        // `ptrace_signal_wake_up`: it has a look to take, so that no signal that comes now is acted upon before that.
        if stops || matches!(row.place, Place::Traced { .. }) {
            self.signal_wake_up(task, false);
        }
    }

    /// `exit_ptrace`: who traces others lets them go when it dies, or takes them along.
    pub(crate) fn exit_trace(&mut self, tracer: TaskId) {
        let tracees: Vec<TaskId> = self.tracees(tracer).collect();
        for task in tracees {
            let kills = self.traced(task).is_some_and(|traced| traced.kills);
            if kills && !self.bent(Mutant::ExitKillIgnored) {
                self.send(From::Kernel, task, Signal::KILL, false);
            }
            let strange = self.strange_tracer(task).is_some();
            self.unlink(task);
            let over = self.tasks[task].is_zombie() && self.process(task).others.is_empty();
            let action = self.process(tracer).actions.get(Signal::CHLD);
            let ignores = action.disposition == Disposition::Ignore || action.no_wait;
            if over && if strange { self.tell_parent_of_end(task) } else { ignores } {
                self.set_place(task, Place::Dead);
                self.release(task);
            }
        }
    }

    /// `ptrace_signal`: it stops before a signal is delivered.
    pub(crate) fn trap_at_signal(&mut self, task: TaskId, info: SigInfo, shared: bool) {
        let number = info.signal.number();
        self.trap(task, number, Code::Trapped(number), Some(Held { info, shared, may_stop: true }));
    }

    /// `do_jobctl_trap`: it was interrupted, or its process stops, is stopped, or goes on.
    pub(crate) fn trap_for_stop(&mut self, task: TaskId) {
        let Some(seized) = self.traced(task).map(|traced| traced.seized) else { return };
        let stop = self.process(task).stop;
        let signal = stop.kind.unwrap_or(Signal::STOP);
        let code = match seized {
            true if stop.stopped || stop.count > 0 => signal.number() | EVENT_STOP,
            true => TRAP.number() | EVENT_STOP,
            false => signal.number(),
        };
        let last = self.takes_part_in_stop(task).is_some();
        let strange = self.strange_tracer(task).is_some();
        // `group_exit_code`: none any more when the parent was told.
        let told = self.process(task).stop.signal.map_or(0, Signal::number);
        if let Some(traced) = self.traced_mut(task) {
            traced.notify &= !seized;
        }
        self.trap(task, code, Code::Stopped(told), None);
        if last && strange {
            self.tell_parent_of_stop(task, Code::Stopped(signal.number()));
        }
    }

    /// `ptrace_stop`: the tracer is told.
    fn trap(&mut self, task: TaskId, code: i32, told: Code, held: Option<Held>) {
        let Some(traced) = self.traced_mut(task) else { return };
        (traced.report, traced.due, traced.held) = (Some(code), false, held);
        self.tasks[task].kicked = false;
        self.set_place(task, Place::Traced { woken: false });
        self.tell_tracer_of_stop(task, told);
    }

    /// `do_notify_parent_cldstop` for the tracer.
    fn tell_tracer_of_stop(&mut self, task: TaskId, code: Code) {
        let Some(tracer) = self.traced(task).map(|traced| traced.tracer) else { return };
        let action = self.process(tracer).actions.get(Signal::CHLD);
        if action.disposition != Disposition::Ignore && !action.no_stop {
            self.send(From::Task(task, code), tracer, Signal::CHLD, false);
        }
        self.wake_waiters(task, tracer);
    }

    /// A strange tracer of a process hears too that it goes on.
    pub(crate) fn tell_stranger_of_stop(&mut self, task: TaskId, code: Code) {
        let leader = self.process(task).leader;
        if self.strange_tracer(leader).is_some() {
            self.tell_tracer_of_stop(leader, code);
        }
    }

    /// What was waiting for a tracer when SIGCONT came; whether it is the tracer's to wake the thread.
    pub(crate) fn continue_tracee(&mut self, task: TaskId) -> bool {
        for resumed in self.resumed.iter_mut().filter(|resumed| resumed.task == task) {
            resumed.held.may_stop = false;
        }
        let unheard = self.bent(Mutant::SeizedMissesContinue);
        let Some(traced) = self.traced_mut(task) else { return false };
        traced.held.iter_mut().for_each(|held| held.may_stop = false);
        if !traced.seized || unheard {
            return false;
        }
        traced.notify = true;
        self.signal_wake_up(task, false);
        true
    }

    /// execve(2) of who is traced the old way sends it SIGTRAP.
    pub(crate) fn trap_after_exec(&mut self, task: TaskId) {
        if self.traced(task).is_some_and(|traced| !traced.seized) && !self.bent(Mutant::ExecUntold) {
            self.send(From::Caller(task, Code::User), task, TRAP, true);
        }
    }

    /// Whether it is to stop for its tracer before it goes on.
    pub(crate) fn is_trap_due(&self, task: TaskId) -> bool {
        self.traced(task).is_some_and(|traced| traced.due || traced.notify)
    }

    /// The stop of which a wait(2) of the tracer hears.
    pub(crate) fn trap_to_tell(&self, task: TaskId) -> Option<i32> {
        let stands = matches!(self.tasks[task].place, Place::Traced { woken: false });
        self.traced(task).filter(|_| stands)?.report
    }

    pub(crate) fn trap_is_told(&mut self, task: TaskId) {
        if let Some(traced) = self.traced_mut(task) {
            traced.report = None;
        }
    }

    /// Whether it comes from the delivery of a signal, and how it was let go on.
    pub(crate) fn take_resumed(&mut self, task: TaskId) -> Option<Resumed> {
        let at = self.resumed.iter().position(|resumed| resumed.task == task)?;
        Some(self.resumed.remove(at))
    }

    /// The signal with which it goes on, and whether that one may stop its process; one that it blocks meanwhile waits again.
    pub(crate) fn after_signal(&mut self, resumed: Resumed) -> Option<(SigInfo, bool)> {
        let Resumed { task, signal, held } = resumed;
        let signal = signal?;
        let other = || {
            let by = self.hears_of(task);
            let pid = by.map_or(0, |by| self.number_in(self.tasks[by].pid, self.space_of(task)));
            SigInfo { signal, code: Code::User, pid }
        };
        let info = if held.info.signal == signal { held.info } else { other() };
        if self.blocked_now(task).has(signal) {
            self.queue(task, info, !held.shared);
            return None;
        }
        Some((info, held.may_stop || self.bent(Mutant::ContinueLetsStop)))
    }

    /// The tracer hears of the end first; the parent when the tracer has taken it.
    pub(crate) fn tell_tracer_of_end(&mut self, task: TaskId, tracer: TaskId) {
        let code = self.end_code(task);
        self.send(From::Task(task, code), tracer, Signal::CHLD, false);
        self.wake_waiters(task, tracer);
    }

    /// A handler blocks its signal while it runs, and it runs when nothing is left to stop for. Of those who are not traced nobody
    /// sees this.
    pub(crate) fn block_while_handled(&mut self, task: TaskId, signal: Signal) {
        if self.traced(task).is_some() {
            self.handling.push((task, signal));
        }
    }

    /// Whether there were any.
    pub(crate) fn unblock_handled(&mut self, task: TaskId) -> bool {
        let before = self.handling.len();
        self.handling.retain(|(found, _)| *found != task);
        self.handling.len() < before
    }

    pub(crate) fn blocked_now(&self, task: TaskId) -> SigSet {
        let handled = self.handling.iter().filter(|(found, _)| *found == task);
        handled.fold(self.tasks[task].blocked, |blocked, (_, signal)| blocked.or(SigSet::of(&[*signal])))
    }

    pub(crate) fn forget_trace(&mut self, task: TaskId) {
        self.traces.retain(|traced| traced.task != task);
        self.resumed.retain(|resumed| resumed.task != task);
        self.unblock_handled(task);
    }
}
