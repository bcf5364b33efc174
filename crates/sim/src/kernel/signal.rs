//! Sending signals: what happens at the sender's end, before anybody takes one.
//!
//! kernel/signal.c: `prepare_signal`, `sig_ignored`, `__send_signal_locked`, `complete_signal`,
//! `check_kill_permission`, `kill_something_info`.

use super::call::{Mask, Reply, Value};
use super::mutant::Mutant;
use super::sigset::{Action, Code, SigInfo, SigSet};
use super::slab::{PidId, TaskId};
use super::task::{Place, Restart, Sleep, Stop, Tell};
use super::{Kernel, Part};
use alloc::vec::Vec;
use doula_model::plan::Errno;
use doula_model::signal::Signal;

/// Who sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum From {
    /// A task, whose rights count, by a call: the receiver hears its number in its own namespace, whatever the receiver's is.
    Caller(TaskId, Code),
    /// The same, that is not to be named.
    Unnamed(TaskId, Code),
    /// A task of which the kernel tells, by its number in the receiver's namespace.
    Task(TaskId, Code),
    /// The kernel.
    Kernel,
}

impl Kernel {
    pub(crate) fn sys_kill(&mut self, task: TaskId, pid: i32, signal: i32) -> Reply {
        let from = From::Caller(task, Code::User);
        let space = self.space_of(task);
        let signal = checked(signal);
        match pid {
            1.. => self.kill_one(from, self.find_task(task, pid), signal),
            i32::MIN => Err(Errno::ESRCH),
            -1 => self.kill_all(task, signal),
            0 => self.kill_group(from, Some(self.process(task).group), signal),
            _ => self.kill_group(from, self.find_pid(space, -pid), signal),
        }
    }

    pub(crate) fn kill_one(
        &mut self,
        from: From,
        target: Option<TaskId>,
        signal: Result<Option<Signal>, Errno>,
    ) -> Reply {
        self.send_checked(from, target.ok_or(Errno::ESRCH)?, signal).map(|()| Value::ZERO)
    }

    /// Everybody but init and ourselves, as far as we may.
    fn kill_all(&mut self, task: TaskId, signal: Result<Option<Signal>, Errno>) -> Reply {
        let (space, own) = (self.space_of(task), self.tasks[task].process);
        let (mut count, mut result, mut from) = (0, Ok(Value::ZERO), From::Caller(task, Code::User));
        let mut leaders: Vec<TaskId> = self.processes.iter().map(|(_, process)| process.leader).collect();
        leaders.sort_by_key(|leader| self.tasks[*leader].birth);
        for leader in leaders {
            let spared = self.tasks[leader].process == own && !self.bent(Mutant::KillAllHitsOneself);
            if spared || self.number_in(self.tasks[leader].pid, space) <= 1 {
                continue;
            }
            count += 1;
            let sent = self.send_checked(from, leader, signal);
            from = self.named_on(from, leader);
            if sent != Err(Errno::EPERM) {
                result = sent.map(|()| Value::ZERO);
            }
        }
        if count == 0 { Err(Errno::ESRCH) } else { result }
    }

    /// Many get one message: once one of them could not see who sends, the later ones are not told the sender either.
    fn named_on(&self, from: From, receiver: TaskId) -> From {
        match from {
            From::Caller(task, code) if self.is_hidden_from(task, receiver) => From::Unnamed(task, code),
            From::Caller(..) | From::Unnamed(..) | From::Task(..) | From::Kernel => from,
        }
    }

    fn is_hidden_from(&self, task: TaskId, receiver: TaskId) -> bool {
        self.number_in(self.tasks[task].pid, self.space_of(receiver)) == 0
    }

    /// A group: well if it reached anybody.
    pub(crate) fn kill_group(
        &mut self,
        mut from: From,
        group: Option<PidId>,
        signal: Result<Option<Signal>, Errno>,
    ) -> Reply {
        let mut result = Err(Errno::ESRCH);
        self.each_member(group.ok_or(Errno::ESRCH)?, |kernel, leader| {
            let sent = kernel.send_checked(from, leader, signal).map(|()| Value::ZERO);
            from = kernel.named_on(from, leader);
            if result.is_err() {
                result = sent;
            }
        });
        result
    }

    /// The kernel signals a group.
    pub(crate) fn tell_group(&mut self, group: PidId, signal: Signal) {
        self.each_member(group, |kernel, leader| kernel.send(From::Kernel, leader, signal, false));
    }

    pub(crate) fn sys_tgkill(&mut self, task: TaskId, pid: i32, tid: i32, signal: i32) -> Reply {
        if pid <= 0 || tid <= 0 {
            return Err(Errno::EINVAL);
        }
        let target = self.find_task(task, tid).ok_or(Errno::ESRCH)?;
        let leader = self.process(target).leader;
        if self.number_in(self.tasks[leader].pid, self.space_of(task)) != pid {
            return Err(Errno::ESRCH);
        }
        self.may_kill(task, target, signal)?;
        if let Some(signal) = checked(signal)? {
            self.send(From::Caller(task, Code::Tkill), target, signal, true);
        }
        Ok(Value::ZERO)
    }

    pub(crate) fn sys_sigqueue(&mut self, task: TaskId, pid: i32, signal: i32, number: i32) -> Reply {
        let number = if self.bent(Mutant::QueuedValueLost) { 0 } else { number };
        let from = From::Caller(task, Code::Queue(number));
        self.kill_one(from, self.find_task(task, pid), checked(signal))
    }

    fn send_checked(
        &mut self,
        from: From,
        target: TaskId,
        signal: Result<Option<Signal>, Errno>,
    ) -> Result<(), Errno> {
        let signal = signal?;
        if self.tasks[target].has_ended() && self.bent(Mutant::KillZombieFails) {
            return Err(Errno::ESRCH);
        }
        if let From::Caller(sender, _) | From::Unnamed(sender, _) | From::Task(sender, _) = from {
            self.may_kill(sender, target, signal.map_or(0, |signal| signal.number()))?;
        }
        if let Some(signal) = signal {
            self.send(from, target, signal, false);
        }
        Ok(())
    }

    /// EPERM for a stranger's process; but SIGCONT may be sent within a session.
    fn may_kill(&self, sender: TaskId, target: TaskId, signal: i32) -> Result<(), Errno> {
        let (one, other) = (&self.tasks[sender], &self.tasks[target]);
        let same_session = || self.process(sender).session == self.process(target).session;
        let allowed = one.process == other.process
            || one.uid == 0
            || one.uid == other.uid
            || self.bent(Mutant::AnybodyMayKill)
            || (signal == Signal::CONT.number() && same_session() && !self.bent(Mutant::ContinueForbidden));
        if allowed { Ok(()) } else { Err(Errno::EPERM) }
    }

    /// Sends to a process, or to the one thread.
    pub(crate) fn send(&mut self, from: From, target: TaskId, signal: Signal, thread: bool) {
        let force = match from {
            From::Kernel => true,
            From::Caller(sender, _) | From::Unnamed(sender, _) | From::Task(sender, _) => {
                self.is_hidden_from(sender, target)
            }
        };
        if !self.prepare(target, signal, force) {
            return;
        }
        let info = self.info(from, target, signal);
        self.add(target, info, thread);
    }

    fn add(&mut self, target: TaskId, info: SigInfo, thread: bool) {
        let (signal, process) = (info.signal, self.tasks[target].process);
        let pending =
            if thread { &mut self.tasks[target].pending } else { &mut self.processes[process].pending };
        if (signal.number() < 32 && !self.config.mutant.is_some_and(queues)
            || self.config.mutant == Some(Mutant::RealTimeCollapses))
            && pending.set.has(signal)
        {
            return;
        }
        pending.add(info);
        self.complete(target, signal, thread);
    }

    /// A signal that was taken is sent once more, as it was.
    pub(crate) fn queue(&mut self, target: TaskId, info: SigInfo, thread: bool) {
        if self.prepare(target, info.signal, false) {
            self.add(target, info, thread);
        }
    }

    /// `force_fatal_sig`: a signal of which a thread dies whatever it has asked for, and be it an init.
    pub(crate) fn force_fatal(&mut self, task: TaskId, signal: Signal) {
        let process = self.process_mut(task);
        process.actions.set(signal, Action::DEFAULT);
        process.unkillable = false;
        self.tasks[task].blocked = self.tasks[task].blocked.without(SigSet::of(&[signal]));
        self.send(From::Kernel, task, signal, true);
    }

    fn info(&self, from: From, target: TaskId, signal: Signal) -> SigInfo {
        let (code, pid) = match from {
            From::Kernel => (Code::Kernel, 0),
            From::Unnamed(_, code) => (code, 0),
            From::Caller(sender, code) if self.is_hidden_from(sender, target) => (code, 0),
            From::Caller(sender, code) => (code, self.own_number(sender)),
            From::Task(sender, code) => {
                let leader = self.process(sender).leader;
                (code, self.number_in(self.tasks[leader].pid, self.space_of(target)))
            }
        };
        SigInfo { signal, code, pid }
    }

    /// What a signal does by being sent, and whether it is then to be queued.
    fn prepare(&mut self, target: TaskId, signal: Signal, force: bool) -> bool {
        let process = self.tasks[target].process;
        if self.processes[process].group_exit.is_some() {
            self.hasten_dump(target, signal);
            return false;
        }
        if SigSet::STOPS.has(signal) {
            if !self.bent(Mutant::StopKeepsContinue) {
                self.flush(target, SigSet::of(&[Signal::CONT]));
            }
        } else if signal == Signal::CONT {
            if !self.bent(Mutant::ContinueKeepsStops) {
                self.flush(target, SigSet::STOPS);
            }
            self.go_on(target);
        }
        !self.is_ignored(target, signal, force)
    }

    /// SIGCONT ends a stop, whatever is done about it as a signal.
    fn go_on(&mut self, target: TaskId) {
        let process = self.tasks[target].process;
        self.each_thread(process, |kernel, thread| {
            kernel.tasks[thread].stop_pending = None;
            if kernel.continue_tracee(thread) {
                return;
            }
            if let Place::Stopped { .. } = kernel.tasks[thread].place {
                kernel.set_place(thread, Place::Stopped { woken: true });
            }
        });
        let stop = &mut self.processes[process].stop;
        let tell = match (stop.stopped, stop.count) {
            (true, _) => Some(Tell::Continued),
            (false, 0) => None,
            (false, _) => Some(Tell::Stopped),
        };
        if tell.is_some() {
            (stop.stopped, stop.continued, stop.count) = (false, true, 0);
            (stop.signal, stop.kind) = (None, None);
            stop.tell = tell;
        }
    }

    fn flush(&mut self, target: TaskId, signals: SigSet) {
        let process = self.tasks[target].process;
        self.processes[process].pending.flush(signals);
        self.each_thread(process, |kernel, thread| kernel.tasks[thread].pending.flush(signals));
    }

    /// Blocked signals are never ignored: the action may be another one when they are taken.
    fn is_ignored(&self, target: TaskId, signal: Signal, force: bool) -> bool {
        if self.tasks[target].blocked.has(signal) {
            return false;
        }
        // Tracers hear also of what is ignored.
        if signal != Signal::KILL
            && self.traced(target).is_some()
            && !self.bent(Mutant::TracersMissWhatIsIgnored)
        {
            return false;
        }
        let process = self.process(target);
        let only = SigSet::KERNEL_ONLY.has(signal);
        if target == self.init && only {
            return true;
        }
        let default = process.actions.disposition(signal) == super::sigset::Disposition::Default;
        let unkillable = process.unkillable && !self.bent(Mutant::InitKillable);
        if unkillable && default && !(force && only) {
            return true;
        }
        process.actions.ignores(signal)
    }

    /// Finds a thread to take the signal, and begins the end of the process when it is deadly.
    fn complete(&mut self, target: TaskId, signal: Signal, thread: bool) {
        let process = self.tasks[target].process;
        let taker = if self.wants(target, signal) {
            target
        } else if thread {
            return;
        } else {
            let mut threads = self.processes[process].threads();
            let Some(other) = threads.find(|other| self.wants(*other, signal)) else { return };
            other
        };
        let at_once = signal == Signal::KILL || self.traced(target).is_none();
        if at_once && self.processes[process].actions.is_fatal(signal) && !SigSet::CORES.has(signal) {
            self.begin_group_exit(process, signal.number());
        } else {
            self.signal_wake_up(taker, false);
        }
    }

    /// Whether a thread would take the signal soon. One that has others to take is not bothered: it will see
    /// this one too before it goes on.
    fn wants(&self, thread: TaskId, signal: Signal) -> bool {
        let row = &self.tasks[thread];
        if row.blocked.has(signal) || row.exiting {
            return false;
        }
        let stopped = matches!(row.place, Place::Stopped { woken: false });
        if stopped && signal == Signal::TERM && self.bent(Mutant::StoppedDiesOfTerm) {
            return true;
        }
        if stopped && self.bent(Mutant::KillWaitsForContinue) {
            return false;
        }
        let held = matches!(row.place, Place::Stopped { woken: false } | Place::Traced { woken: false });
        signal == Signal::KILL || !(held || row.kicked)
    }

    /// From here on the process is dead: nothing reaches it, and each thread dies as soon as it runs.
    pub(crate) fn begin_group_exit(&mut self, process: super::ProcessId, status: i32) {
        self.processes[process].group_exit = Some(status);
        // Whatever it had to tell of stops is over: for its group it is no stopped member any more.
        if !self.bent(Mutant::KilledStillStopped) {
            self.processes[process].stop = Stop::default();
        }
        self.each_thread(process, |kernel, thread| {
            kernel.tasks[thread].stop_pending = None;
            kernel.signal_wake_up(thread, true);
        });
    }

    /// Tells a thread to look at its signals, and wakes it if its sleep may be disturbed.
    pub(crate) fn signal_wake_up(&mut self, thread: TaskId, deadly: bool) {
        match self.tasks[thread].place {
            Place::Asleep { what: Sleep::Zap, .. } | Place::Dying(_) | Place::Zombie | Place::Dead => return,
            Place::Kernel { .. } => return,
            Place::Asleep { what: Sleep::Vfork { .. } | Sleep::Alone, .. }
                if !deadly && !self.bent(Mutant::VforkStops) => {}
            Place::Asleep { .. } => self.wake(thread),
            Place::Stopped { .. } if deadly => self.set_place(thread, Place::Stopped { woken: true }),
            Place::Traced { .. } if deadly => self.set_place(thread, Place::Traced { woken: true }),
            Place::Stopped { .. } | Place::Traced { .. } | Place::User | Place::Leaving => {}
        }
        self.set_kicked(thread, true);
    }

    pub(crate) fn sys_sigaction(&mut self, task: TaskId, signal: Signal, action: Action) -> Reply {
        if SigSet::KERNEL_ONLY.has(signal) {
            return Err(Errno::EINVAL);
        }
        self.process_mut(task).actions.set(signal, action);
        if self.process(task).actions.ignores(signal) && !self.bent(Mutant::IgnoreKeepsPending) {
            self.flush(task, SigSet::of(&[signal]));
        }
        Ok(Value::ZERO)
    }

    pub(crate) fn sys_sigprocmask(&mut self, task: TaskId, how: Mask, set: SigSet) -> Reply {
        let old = self.tasks[task].blocked;
        let new = match how {
            Mask::Block => old.or(set),
            Mask::Unblock => old.without(set),
            Mask::Set => set,
        };
        self.tasks[task].blocked = new.without(SigSet::KERNEL_ONLY);
        self.look_for_signals(task);
        Ok(Value::Signals(old))
    }

    pub(crate) fn sys_sigpending(&self, task: TaskId) -> Reply {
        let waiting = self.tasks[task].pending.set.or(self.process(task).pending.set);
        Ok(Value::Signals(waiting.and(self.tasks[task].blocked)))
    }

    /// Blocked or not: whoever takes signals so has blocked them.
    pub(crate) fn sys_sigtake(&mut self, task: TaskId, set: SigSet) -> Reply {
        let taken = self.dequeue(task, set);
        taken.map(|info| Value::Number(info.signal.number())).ok_or(Errno::EAGAIN)
    }

    pub(crate) fn sys_pause(&self, task: TaskId) -> Part {
        if self.tasks[task].kicked { Part::Interrupted(Restart::Never) } else { Part::Sleep(Sleep::Pause) }
    }

    pub(crate) fn sys_alarm(&mut self, task: TaskId, seconds: u32) -> Reply {
        let left = core::mem::replace(&mut self.process_mut(task).alarm, seconds);
        Ok(Value::Number(left as i32))
    }

    /// The timer of alarm(2) has run out.
    pub fn ring_alarm(&mut self, task: TaskId) {
        self.process_mut(task).alarm = 0;
        self.send(From::Kernel, task, Signal::ALRM, false);
    }
}

/// Whether a bent kernel lets standard signals queue.
fn queues(mutant: Mutant) -> bool {
    mutant == Mutant::StandardSignalsQueue
}

/// 0 is no signal, but a question.
pub(crate) fn checked(signal: i32) -> Result<Option<Signal>, Errno> {
    match signal {
        0 => Ok(None),
        _ => Signal::new(signal).map(Some).ok_or(Errno::EINVAL),
    }
}
