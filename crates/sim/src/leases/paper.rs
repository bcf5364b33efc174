//! The machine: its clock, the calls of the run, the workers between them, and what goes wrong.

use super::actor::{Actor, BIRTH, Move};
use super::case::{Case, Trouble};
use super::checks::Checks;
use super::play::Options;
use crate::kernel::call::{Call, Reply, Value};
use crate::kernel::sigset::Action;
use crate::kernel::{CgroupId, Kernel, Outcome, TaskId};
use crate::world::{Log, executable};
use alloc::vec::Vec;
use core::time::Duration;
use doula_core::queue::SlotId;
use doula_core::random::Random;
use doula_model::signal::Signal;
use doula_model::time::Time;

/// So many steps are as good as no end.
const ENDLESS: u64 = 100_000;
/// So often one after the other may be missed by a kill, where Linux misses one of thousands.
const MISSES: u8 = 3;
/// The file of the worker's program.
pub(super) const PROGRAM: &str = "/bin/worker";

/// The run cannot go on: it was killed, or something is wrong.
#[derive(Clone, Copy, Debug)]
pub(super) struct Over;

pub(super) type Going<T> = Result<T, Over>;

/// A life: a task may be given again, a birth is not.
pub(super) type Life = (TaskId, u64);

struct Process {
    life: Life,
    actor: Actor,
    awaited: Option<Call>,
    wakes: Option<Time>,
    /// When somebody continues it, who stopped it.
    continues: Option<Time>,
    /// So often one of its line may be missed still.
    misses: u8,
}

/// See the head of this file.
pub(super) struct Paper<'c> {
    pub(super) case: &'c Case,
    pub(super) options: &'c Options,
    pub(super) kernel: Kernel,
    pub(super) log: Log,
    pub(super) now: Time,
    pub(super) steps: u64,
    pub(super) checks: Checks,
    pub(super) run: TaskId,
    run_birth: u64,
    /// Who works in which slot now, of this run.
    pub(super) at_work: Vec<(SlotId, Life)>,
    processes: Vec<Process>,
    born: u32,
    chance: Vec<Random>,
    pub(super) fired: Vec<(Trouble, u32)>,
    /// Somebody was killed for want of memory since it was asked last.
    pub(super) out_of_memory: bool,
}

impl<'c> Paper<'c> {
    pub(super) fn new(case: &'c Case, options: &'c Options) -> Paper<'c> {
        let mut kernel = Kernel::new();
        kernel.install(PROGRAM, true, &executable());
        let init = kernel.init();
        // It buries whoever a killed run leaves behind.
        kernel.call(init, Call::Sigaction(Signal::CHLD, Action::IGNORE));
        let stream = |trouble: &Trouble| Random::new(case.seed ^ (*trouble as u64 + 1) << 40);
        Paper {
            case,
            options,
            kernel,
            log: Log::new(options.keep_lines),
            now: Time::ZERO,
            steps: 0,
            checks: Checks::new(case),
            run: init,
            run_birth: 0,
            at_work: Vec::new(),
            processes: Vec::new(),
            born: 0,
            chance: Trouble::ALL.iter().map(stream).collect(),
            fired: Vec::new(),
            out_of_memory: false,
        }
    }

    /// A run begins: a process with nothing but its standard streams.
    pub(super) fn boot(&mut self) -> Going<()> {
        let init = self.kernel.init();
        let Outcome::Done(Ok(Value::Number(number))) = self.kernel.call(init, BIRTH) else {
            return Err(Over);
        };
        self.run = self.kernel.find(number).ok_or(Over)?;
        self.run_birth = self.kernel.birth(self.run);
        self.at_work.clear();
        for call in [
            Call::Pipe(true),
            Call::Dup(0),
            Call::Sigaction(Signal::PIPE, Action::IGNORE),
            Call::Sigaction(Signal::CHLD, Action::DEFAULT),
        ] {
            self.call(call)?.map_err(|_| Over)?;
        }
        Ok(())
    }

    pub(super) fn run_lives(&self) -> bool {
        self.kernel.lives(self.run, self.run_birth)
    }

    /// Whether this goes wrong now.
    pub(super) fn fires(&mut self, trouble: Trouble) -> bool {
        let fires = self.case.troubles.contains(&trouble)
            && self.chance[trouble as usize].below(1_000) < trouble.per_mille();
        if fires {
            match self.fired.iter_mut().find(|(other, _)| *other == trouble) {
                Some((_, times)) => *times += 1,
                None => self.fired.push((trouble, 1)),
            }
        }
        fires
    }

    pub(super) fn below(&mut self, trouble: Trouble, bound: u64) -> u64 {
        self.chance[trouble as usize].below(bound)
    }

    /// A step of anybody: before it death may come.
    fn tick(&mut self) {
        self.steps += 1;
        if self.steps > ENDLESS {
            self.checks.fail("endless", alloc::format!("{ENDLESS} steps, and no end"));
        }
        if let Some((at, slot)) = self.options.kill_at
            && at == self.steps
            && let Some((_, life)) = self.at_work.iter().find(|(other, _)| *other == slot).copied()
        {
            self.kill(life, "is killed");
        }
        if self.options.kill_run_at == Some(self.steps) {
            self.log.note(self.now, "the run is killed");
            self.log.say(self.now, "run", "is killed");
            self.kernel.signal_from_kernel(self.run, Signal::KILL);
        }
        self.trouble_a_worker();
    }

    fn kill(&mut self, (task, birth): Life, how: &'static str) {
        if !self.kernel.lives(task, birth) {
            return;
        }
        self.checks.struck();
        self.log.note(self.now, how);
        self.say(task, how);
        self.kernel.signal_from_kernel(task, Signal::KILL);
    }

    fn trouble_a_worker(&mut self) {
        if let Some(life) = self.chosen(Trouble::Killed) {
            self.kill(life, "is killed by somebody");
        }
        if let Some(life) = self.chosen(Trouble::OutOfMemory) {
            self.out_of_memory = true;
            self.kill(life, "is killed for want of memory");
        }
        if let Some(life) = self.chosen(Trouble::Stopped) {
            self.stop(life);
        }
    }

    /// The worker to whom this happens now, if it happens.
    fn chosen(&mut self, trouble: Trouble) -> Option<Life> {
        if self.at_work.is_empty() || !self.fires(trouble) {
            return None;
        }
        let at = self.below(trouble, self.at_work.len() as u64) as usize;
        Some(self.at_work[at].1)
    }

    fn stop(&mut self, life: Life) {
        let until = self.now.after(Duration::from_millis(self.below(Trouble::Stopped, 1_000)));
        let found = self.processes.iter_mut().find(|process| process.life == life);
        if let Some(process) = found.filter(|_| self.kernel.lives(life.0, life.1)) {
            process.continues = Some(until);
            self.kernel.signal_from_kernel(life.0, Signal::STOP);
            self.say(life.0, "is stopped by somebody");
        }
    }

    /// A step of the run.
    pub(super) fn step(&mut self) -> Going<()> {
        self.tick();
        if self.fires(Trouble::Preempted) {
            let at = self.below(Trouble::Preempted, self.processes.len().max(1) as u64) as usize;
            self.play(at);
        }
        self.going()
    }

    /// Whether the run can go on.
    pub(super) fn going(&self) -> Going<()> {
        if self.run_lives() && !self.checks.has_failed() { Ok(()) } else { Err(Over) }
    }

    /// A call of the run, which never sleeps.
    pub(super) fn call(&mut self, call: Call) -> Going<Reply> {
        self.step()?;
        let text = self.log.is_read().then(|| alloc::format!("{call}"));
        let reply = match self.kernel.call(self.run, call) {
            Outcome::Done(reply) => reply,
            Outcome::Blocked | Outcome::Gone => {
                self.checks.fail("sleeps", alloc::format!("a call of the run sleeps: {text:?}"));
                return Err(Over);
            }
        };
        self.note_reply("run", text, Some(&reply));
        Ok(reply)
    }

    fn note_reply(&mut self, who: &str, text: Option<alloc::string::String>, reply: Option<&Reply>) {
        self.log.note(self.now, reply);
        if let Some(text) = text {
            let said = reply.map(|reply| alloc::format!(" -> {}", crate::program::Said(reply)));
            self.log.say(self.now, who, format_args!("{text:.60}{:.60}", said.unwrap_or_default()));
        }
    }

    /// A call of a child before its program.
    pub(super) fn child_call(&mut self, life: Life, call: Call) -> Going<Option<Reply>> {
        self.step()?;
        if !self.kernel.lives(life.0, life.1) {
            return Ok(None);
        }
        let text = self.log.is_read().then(|| alloc::format!("{call}"));
        let reply = match self.kernel.call(life.0, call) {
            Outcome::Done(reply) => Some(reply),
            Outcome::Blocked | Outcome::Gone => None,
        };
        self.note_reply("child", text, reply.as_ref());
        Ok(reply)
    }

    /// A process has executed the program of a worker.
    pub(super) fn enter(&mut self, slot: SlotId, life: Life) {
        self.born += 1;
        let actor = Actor::new(self.case, self.born);
        self.add(life, actor);
        self.at_work.retain(|(other, _)| *other != slot);
        self.at_work.push((slot, life));
    }

    fn add(&mut self, life: Life, actor: Actor) {
        let (awaited, misses) = (None, MISSES);
        self.processes.push(Process { life, actor, awaited, wakes: None, continues: None, misses });
    }

    /// Whether this worker has read what it was asked for this task; `None` when its last read came back too late to tell.
    pub(super) fn has_touched(&self, life: Life, attempt: (u64, u32)) -> Option<bool> {
        let process = self.processes.iter().find(|process| process.life == life)?;
        let touched = process.actor.touched.contains(&attempt);
        Some(touched).filter(|touched| *touched || process.awaited.is_none())
    }

    /// Everybody makes one move; whether anybody did.
    pub(super) fn play_round(&mut self) -> bool {
        let mut moved = false;
        for at in 0..self.processes.len() {
            moved |= self.play(at);
        }
        moved
    }

    /// Whether it did anything.
    fn play(&mut self, at: usize) -> bool {
        let Some(process) = self.processes.get_mut(at) else { return false };
        let (task, birth) = process.life;
        if process.continues.take_if(|until| *until <= self.now).is_some() && self.kernel.lives(task, birth) {
            self.kernel.signal_from_kernel(task, Signal::CONT);
            self.say(task, "goes on");
            return true;
        }
        if !self.may_move(at) {
            return false;
        }
        self.tick();
        if !self.may_move(at) {
            return true;
        }
        let process = &mut self.processes[at];
        if let Some(call) = process.awaited.take()
            && let Some(reply) = self.kernel.take_reply(task)
        {
            process.actor.reply(&call, &reply);
        }
        process.wakes = None;
        let next = process.actor.next(self.case, self.now);
        self.make(at, next);
        true
    }

    fn may_move(&self, at: usize) -> bool {
        let Process { life: (task, birth), wakes, .. } = self.processes[at];
        let sleeps = wakes.is_some_and(|until| until > self.now);
        !sleeps && self.kernel.lives(task, birth) && self.kernel.is_in_program(task)
    }

    fn make(&mut self, at: usize, next: Move) {
        let (task, birth) = self.processes[at].life;
        let number = self.kernel.look(task).map_or(0, |look| look.pid);
        match next {
            Move::Call(call) => _ = self.perform(at, call),
            Move::Answer { task: of, call } => {
                self.checks.answers(of, birth);
                if self.perform(at, call) {
                    self.checks.has_answered(of, birth);
                }
            }
            Move::Signal(signal) => {
                if signal == Signal::STOP {
                    let until = self.now.after(Duration::from_millis(50));
                    self.processes[at].continues = Some(until);
                }
                let _ = self.perform(at, Call::Kill(number, signal.number()));
            }
            Move::Bear => self.bear(task),
            Move::Sleep(until) => self.processes[at].wakes = Some(until),
            Move::Rest => self.processes[at].wakes = Some(Time::from_nanos(u64::MAX)),
        }
    }

    /// One that is in its program has a child that does nothing.
    fn bear(&mut self, task: TaskId) {
        self.say(task, "bears a process that holds its pipes");
        if let Outcome::Done(Ok(Value::Number(child))) = self.kernel.call(task, BIRTH)
            && let Some(child) = self.kernel.find_as(task, child)
        {
            self.kernel.take_reply(child);
            self.add((child, self.kernel.birth(child)), Actor::idle());
        }
    }

    /// Writes `cgroup.kill`. The last of the group may bear a child meanwhile that lives on.
    pub(super) fn kill_group(&mut self, leaf: CgroupId) {
        if !self.fires(Trouble::KillMisses) {
            return self.kernel.kill_cgroup(leaf);
        }
        let last = self.kernel.cgroup_list(leaf).pop();
        let last = last.map(|last| (last, self.kernel.birth(last)));
        let left = self.processes.iter().find(|process| Some(process.life) == last).map(|last| last.misses);
        let left = left.unwrap_or_default().checked_sub(1);
        let (Some((last, _)), Some(left)) = (last, left) else { return self.kernel.kill_cgroup(leaf) };
        if self.kernel.is_in_program(last) {
            self.bear(last);
        }
        if let Some(missed) = self.kernel.kill_cgroup_but_last_born(leaf) {
            self.log.note(self.now, "missed");
            self.say(missed, "is born meanwhile, and not reached");
            let life = (missed, self.kernel.birth(missed));
            for process in self.processes.iter_mut().filter(|process| process.life == life) {
                process.misses = left;
            }
        }
    }

    /// Whether it came back without a failure.
    fn perform(&mut self, at: usize, call: Call) -> bool {
        let (task, birth) = self.processes[at].life;
        let number = self.kernel.look(task).map_or(0, |look| look.pid);
        let text = self.log.is_read().then(|| alloc::format!("{call}"));
        let reply = match self.kernel.call(task, call.clone()) {
            Outcome::Done(reply) => Some(reply),
            Outcome::Blocked | Outcome::Gone => None,
        };
        self.note_reply(&alloc::format!("{number}"), text, reply.as_ref());
        let well = matches!(reply, Some(Ok(_)));
        match reply {
            Some(reply) => self.processes[at].actor.reply(&call, &reply),
            None if self.kernel.lives(task, birth) => self.processes[at].awaited = Some(call),
            None => {}
        }
        well
    }

    /// Time passes until the next thing happens, at the latest until then; `false` if nothing ever does.
    pub(super) fn let_time_pass(&mut self, deadline: Option<Time>) -> bool {
        let kernel = &self.kernel;
        self.processes.retain(|process| kernel.lives(process.life.0, process.life.1));
        let runs = |process: &&Process| kernel.is_in_program(process.life.0);
        let wakes = self.processes.iter().filter(runs).filter_map(|process| process.wakes);
        let continues = self.processes.iter().filter_map(|process| process.continues);
        let never = Time::from_nanos(u64::MAX);
        let next = wakes.chain(continues).chain(deadline).filter(|at| *at < never).min();
        let Some(next) = next else { return false };
        self.now = self.now.max(next);
        true
    }

    /// What a group holds that was made for a worker.
    pub(super) fn is_populated(&self, leaf: CgroupId) -> bool {
        self.kernel.cgroup_is_populated(leaf)
    }

    pub(super) fn say(&mut self, task: TaskId, what: &str) {
        let number = self.kernel.look(task).map_or(0, |look| look.pid);
        self.log.say(self.now, number, what);
    }

    /// What the queue says or is told.
    pub(super) fn note(&mut self, what: impl core::fmt::Debug) {
        let text = alloc::format!("{what:?}");
        self.log.note(self.now, &text);
        self.log.say(self.now, "queue", text);
    }
}
