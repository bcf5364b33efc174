//! What workers say, and how they leave: what comes of an answer that is none, of a death, and of what is left then.

use super::super::{SlotId, TaskId};
use super::drive::{Part, Shop, token};
use super::hands::Run;
use super::wire::{Heard, Said};
use super::worker::Worker;
use super::{Answer, Death, NoAnswer, Tasks};
use crate::child::os_error;
use doula_core::queue::Event;
use doula_model::plan::Errno;
use doula_model::signal::Signal;
use doula_model::task::Failure;
use doula_sys::poll::Interest;
use doula_sys::time;
use std::io;
use std::ops::DerefMut;
use std::time::{Duration, Instant};

/// Why a worker leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leave {
    /// Its process has ended.
    Ended,
    /// It answered what is no answer, and is not believed any more.
    Lied,
    /// It did so, but not to the task that it has.
    LiedBefore,
}

/// What a worker said.
enum Answered {
    Nothing,
    /// Success at a task that is not behind those of the run.
    Done(TaskId),
    Failed(TaskId),
    Leaves,
    /// It is not believed any more.
    Wrong(String, Leave),
}

/// Takes in what a worker said, up to something that is no success at the task behind those of `run`.
fn hear(worker: &mut Worker, work: &mut (impl Tasks + ?Sized), run: &mut Run) -> Answered {
    loop {
        let done = match hear_one(worker, work) {
            Ok(Some(Answered::Done(done))) => done,
            Ok(Some(other)) => return other,
            Ok(None) => return Answered::Nothing,
            Err(NoAnswer { why, of }) => {
                let before = of.is_some() && of == worker.last;
                return Answered::Wrong(why, if before { Leave::LiedBefore } else { Leave::Lied });
            }
        };
        if run.count == 0 {
            run.first = done;
        } else if done.0 != run.first.0 + u64::from(run.count) {
            return Answered::Done(done);
        }
        run.count += 1;
    }
}

fn hear_one(worker: &mut Worker, work: &mut (impl Tasks + ?Sized)) -> Result<Option<Answered>, NoAnswer> {
    let Some(said) = worker.wire.next()? else { return Ok(None) };
    let (task, answer) = match said {
        Said::Leaves => return Ok(Some(Answered::Leaves)),
        Said::Line(line) => {
            let task = worker.hands.first().ok_or_else(|| NoAnswer::unasked(line))?;
            let several = worker.hands.single().is_none();
            let task = if several { work.whose(line).unwrap_or(task) } else { task };
            if !worker.hands.has(task) {
                return Err(NoAnswer::stray(task));
            }
            (task, work.answer(task, line)?)
        }
        Said::Done(task, output) if worker.hands.has(task) => (task, work.answer(task, output)?),
        Said::Failed(task, why) if worker.hands.has(task) => {
            work.failed(task, why);
            (task, Answer::Failed)
        }
        Said::Done(task, _) | Said::Failed(task, _) => return Err(NoAnswer::stray(task)),
    };
    if worker.wire.is_lines() && worker.hands.single().is_some() && worker.wire.has_more() {
        return Err(NoAnswer::twice());
    }
    worker.has_answered(task);
    Ok(Some(if answer == Answer::Done { Answered::Done(task) } else { Answered::Failed(task) }))
}

/// How long those may take to be gone who were killed.
const GONE_WITHIN: Duration = Duration::from_secs(10);
const UNFINISHED: &str = "in the middle of an answer";

impl<W> Shop<W>
where
    W: DerefMut<Target: Tasks>,
{
    pub(super) fn hear(&mut self, slot: SlotId) -> io::Result<()> {
        let Some(worker) = self.workers.get_mut(&slot) else { return Ok(()) };
        let task = worker.hands.first();
        let work = &mut *self.work;
        if !worker.hear(&mut |line| work.said(slot, task, line))? {
            // Its end would be reported for ever.
            self.epoll.delete(&worker.error).map_err(os_error)?;
        }
        Ok(())
    }

    /// Takes in what a worker answered.
    pub(super) fn answers(&mut self, slot: SlotId) -> io::Result<()> {
        let Some(worker) = self.workers.get_mut(&slot) else { return Ok(()) };
        if let Heard::End(_) = worker.read(&mut self.buffer)? {
            self.epoll.delete(worker.wire.output()).map_err(os_error)?;
            self.tell(Event::Leaves(slot));
            return Ok(());
        }
        // Who was read from may have room again.
        self.send_to(slot);
        self.take_answers(slot)
    }

    fn take_answers(&mut self, slot: SlotId) -> io::Result<()> {
        let mut run = Run { slot, first: TaskId(0), count: 0 };
        loop {
            let Some(worker) = self.workers.get_mut(&slot) else { return Ok(()) };
            let heard = hear(worker, &mut *self.work, &mut run);
            // What succeeded so far counts, whatever comes now.
            let Run { slot, first, count } = run;
            run.count = 0;
            if count > 0 {
                self.hiring.served();
                self.renew(slot);
                self.tell(Event::Done { slot, first, count });
            }
            match heard {
                Answered::Nothing => return Ok(()),
                Answered::Done(first) => run = Run { slot, first, count: 1 },
                Answered::Failed(task) => {
                    self.hiring.served();
                    self.renew(slot);
                    self.tell(Event::Ended { slot, task, failure: Some(Failure::Answered) });
                }
                Answered::Leaves => self.let_go(slot),
                Answered::Wrong(why, leave) => return self.banish(slot, why, leave),
            }
        }
    }

    /// A worker that has answered enough is told to end; one that was asked to end does not get around it by an answer.
    fn renew(&mut self, slot: SlotId) {
        let (most, growth) = (self.rules.max_tasks, self.rules.max_growth);
        let absent = self.workers.values().filter(|worker| worker.worn || worker.answered == 0).count();
        let absent = SlotId::try_from(absent).unwrap_or(SlotId::MAX);
        let Some(worker) = self.workers.get_mut(&slot) else { return };
        let enough = most.is_some_and(|most| worker.answered >= most.get())
            || growth.is_some_and(|bytes| worker.grows(bytes.get()));
        worker.worn |= enough && absent < self.rules.absent() || worker.interrupted;
        if !worker.worn {
            return;
        }
        if worker.hands.is_empty() {
            worker.dismiss(self.rules.settings.policy.grace);
        }
        self.tell(Event::Leaves(slot));
    }

    /// A worker leaves by itself: others do what it has.
    fn let_go(&mut self, slot: SlotId) {
        let Some(worker) = self.workers.get_mut(&slot) else { return };
        worker.dismiss(self.rules.settings.policy.grace);
        worker.worn = true;
        // Who did nothing before it left is as one that died at its start.
        worker.dismissed = worker.answered > 0;
        let left = worker.hands.take_all();
        self.tell(Event::Leaves(slot));
        left.for_each(|has| self.tell(Event::Returned { slot, task: has.task }));
    }

    fn banish(&mut self, slot: SlotId, why: String, leave: Leave) -> io::Result<()> {
        let Some(mut worker) = self.workers.remove(&slot) else { return Ok(()) };
        if !worker.dismissed {
            worker.fault = Some(why);
        }
        self.part_with(worker, leave)
    }

    /// The process of a worker may have ended.
    pub(super) fn ended(&mut self, slot: SlotId) -> io::Result<()> {
        // What it still answered counts.
        while let Some(worker) = self.workers.get_mut(&slot) {
            if worker.child.try_wait().is_none() {
                return Ok(());
            }
            if worker.read(&mut self.buffer)? != Heard::Some {
                break;
            }
            self.take_answers(slot)?;
        }
        match self.workers.remove(&slot) {
            Some(worker) => self.part_with(worker, Leave::Ended),
            None => Ok(()),
        }
    }

    /// Tells the queue that a worker gets no more, and what of its task; who is left of it is killed.
    fn part_with(&mut self, mut worker: Worker, leave: Leave) -> io::Result<()> {
        // By itself, and not because of us.
        let killed = worker.killed;
        let by_itself = leave == Leave::Ended && !killed;
        if by_itself {
            // Its pipes were closed by its end.
            let torn = worker.wire.has_more() && !worker.hands.is_empty();
            worker.fault = torn.then(|| UNFINISHED.to_owned());
        }
        // What is not read yet is counted while its pipe is whole; whoever is killed may not fill the other one for ever.
        let single = worker.hands.single();
        let innocent = worker.wire.took_nothing(single.is_some()) || leave == Leave::LiedBefore;
        worker.kill()?;
        let (slot, first) = (worker.slot, worker.hands.first());
        let work = &mut *self.work;
        worker.error.finish(&mut |_, line| work.said(slot, first, line))?;
        self.unwatch(&worker);
        let innocent = innocent && !worker.interrupted;
        let count = worker.hands.count();
        let blamed = if innocent { 0 } else { count };
        let status = worker.child.try_wait();
        let in_vain = worker.answered == 0 && blamed == 0 && !worker.dismissed;
        let oom_kills = worker.bound.newly_killed();
        let failure = match status.map(Failure::of) {
            _ if leave != Leave::Ended => Failure::Protocol,
            Some(Some(Failure::Signal(Signal::KILL))) if killed => Failure::Lost,
            // Of a worker that lives on, descendants may have been killed before.
            Some(Some(Failure::Signal(Signal::KILL)))
                if oom_kills.map_or_else(|| self.ooms.any(), |count| count > 0) =>
            {
                Failure::OutOfMemory
            }
            Some(Some(failure)) => failure,
            Some(None) | None => Failure::Lost,
        };
        let task = single.filter(|_| blamed > 0);
        let (pid, why) = (worker.child.pid(), worker.fault.clone());
        let status = status.filter(|_| by_itself);
        let death = Death { slot, pid, task, suspects: blamed, status, why, oom_kills };
        let left = if innocent { worker.hands.take_all().collect() } else { Vec::new() };
        let (born, dismissed, number) = (worker.born, worker.dismissed, worker.number);
        worker.until = Some(Instant::now() + GONE_WITHIN);
        worker.gone_by = worker.until;
        self.leaving.insert(number, worker);
        self.farewell(number)?;
        if !dismissed {
            self.work.died(&death);
        }
        self.tell(Event::Leaves(slot));
        left.into_iter().for_each(|has| self.tell(Event::Returned { slot, task: has.task }));
        if let Some((task, _)) = task.filter(|_| failure == Failure::Protocol) {
            self.tell(Event::Ended { slot, task, failure: Some(failure) });
        }
        self.tell(Event::Died { slot, failure });
        if in_vain && self.hiring.in_vain(time::monotonic(), born) {
            self.work.hopeless(&death);
            self.tell(Event::Stop { now: false });
        }
        Ok(())
    }
    /// Its pipes are heard no more. Those that the epoll does not have are none of its errors.
    fn unwatch(&self, worker: &Worker) {
        let _ = self.epoll.delete(worker.wire.output());
        let _ = self.epoll.delete(&worker.error);
        if let Some(input) = worker.wire.input() {
            let _ = self.epoll.delete(input);
        }
    }

    /// Forgets a worker that has left, when all its descendants are gone.
    pub(super) fn farewell(&mut self, number: u32) -> io::Result<()> {
        let Some(worker) = self.leaving.get_mut(&number) else { return Ok(()) };
        if worker.is_gone()? {
            self.leaving.remove(&number);
            return Ok(());
        }
        if worker.gone_by.is_some_and(|by| by <= Instant::now()) {
            let text =
                format!("processes of worker {} live still: they cannot be killed", worker.child.pid());
            self.leaving.remove(&number);
            self.give_up(io::Error::new(io::ErrorKind::TimedOut, text));
            return Ok(());
        }
        let Some(fence) = worker.fence.as_ref().filter(|_| worker.child.has_ended()) else { return Ok(()) };
        let interest = Interest::PRIORITY.and(Interest::EDGE);
        match self.epoll.add(&fence.events, interest, token(worker, Part::Gone)) {
            Err(errno) if errno != Errno::EEXIST => Err(os_error(errno)),
            _ => Ok(()),
        }
    }

    /// Kills those whose time is over, and looks after those whose end no event tells.
    pub(super) fn lose_patience(&mut self) -> io::Result<()> {
        let now = Instant::now();
        let is_late = |worker: &Worker| worker.until.is_some_and(|until| until <= now);
        self.workers.values_mut().filter(|worker| is_late(worker)).try_for_each(Worker::kill)?;
        let late = self.leaving.iter().filter(|(_, worker)| is_late(worker)).map(|(number, _)| *number);
        late.collect::<Vec<_>>().into_iter().try_for_each(|number| self.farewell(number))
    }

    /// Tells all workers to end, and begins nothing more.
    pub(super) fn dismiss(&mut self) {
        let grace = self.rules.settings.policy.grace;
        self.workers.values_mut().for_each(|worker| worker.dismiss(grace));
    }
}
