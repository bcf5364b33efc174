//! What workers say, and how they leave: what comes of an answer that is none, of a death, and of what is left then.

use super::super::{SlotId, TaskId};
use super::drive::{Part, Shop, token};
use super::wire::{Heard, Said};
use super::worker::Worker;
use super::{Answer, Death, NoAnswer, Tasks};
use crate::child::os_error;
use doula_core::queue::{Event, Facts, Leave, NotIts, Run};
use doula_model::plan::Errno;
use doula_model::task::Failure;
use doula_sys::poll::Interest;
use doula_sys::time;
use std::io;
use std::ops::DerefMut;
use std::time::{Duration, Instant};

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
                return Answered::Wrong(why, worker.desk.lied(of));
            }
        };
        if !run.joins(done) {
            return Answered::Done(done);
        }
    }
}

fn hear_one(worker: &mut Worker, work: &mut (impl Tasks + ?Sized)) -> Result<Option<Answered>, NoAnswer> {
    let Some(said) = worker.wire.next()? else { return Ok(None) };
    let (task, answer) = match said {
        Said::Leaves => return Ok(Some(Answered::Leaves)),
        Said::Line(line) => {
            let task = worker.desk.addressee(|| work.whose(line)).map_err(|why| match why {
                NotIts::Unasked => NoAnswer::unasked(line),
                NotIts::Stray(task) => NoAnswer::stray(task),
            })?;
            (task, work.answer(task, line)?)
        }
        Said::Done(task, output) if worker.desk.hands.has(task) => (task, work.answer(task, output)?),
        Said::Failed(task, why) if worker.desk.hands.has(task) => {
            work.failed(task, why);
            (task, Answer::Failed)
        }
        Said::Done(task, _) | Said::Failed(task, _) => return Err(NoAnswer::stray(task)),
    };
    if worker.wire.is_lines() && worker.desk.hands.single().is_some() && worker.wire.has_more() {
        return Err(NoAnswer::twice());
    }
    worker.desk.has_answered(task);
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
        let task = worker.desk.hands.first();
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
        self.meet(slot);
        // Who was read from may have room again.
        self.send_to(slot);
        self.take_answers(slot)
    }

    fn take_answers(&mut self, slot: SlotId) -> io::Result<()> {
        let mut run = Run::new(slot);
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
        let absent =
            self.workers.values().filter(|worker| worker.desk.worn || worker.desk.answered == 0).count();
        let absent = SlotId::try_from(absent).unwrap_or(SlotId::MAX);
        let Some(worker) = self.workers.get_mut(&slot) else { return };
        let enough = most.is_some_and(|most| worker.desk.answered >= most.get())
            || growth.is_some_and(|bytes| worker.grows(bytes.get()));
        worker.desk.worn |= enough && absent < self.rules.absent() || worker.desk.interrupted;
        if !worker.desk.worn {
            return;
        }
        if worker.desk.hands.is_empty() {
            worker.dismiss(self.rules.settings.policy.grace);
        }
        self.tell(Event::Leaves(slot));
    }

    /// A worker leaves by itself: others do what it has.
    fn let_go(&mut self, slot: SlotId) {
        let Some(worker) = self.workers.get_mut(&slot) else { return };
        worker.dismiss(self.rules.settings.policy.grace);
        worker.desk.worn = true;
        // Who did nothing before it left is as one that died at its start.
        worker.desk.dismissed = worker.desk.answered > 0;
        let left = worker.desk.hands.take_all();
        self.tell(Event::Leaves(slot));
        left.for_each(|has| self.tell(Event::Returned { slot, task: has.task }));
    }

    fn banish(&mut self, slot: SlotId, why: String, leave: Leave) -> io::Result<()> {
        let Some(mut worker) = self.workers.remove(&slot) else { return Ok(()) };
        if !worker.desk.dismissed {
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
        let by_itself = worker.desk.ends_by_itself(leave);
        if by_itself {
            // Its pipes were closed by its end.
            let torn = worker.wire.has_more() && !worker.desk.hands.is_empty();
            worker.fault = torn.then(|| UNFINISHED.to_owned());
        }
        // What is not read yet is counted while its pipe is whole; whoever is killed may not fill the other one for ever.
        let took_nothing =
            worker.took_nothing || worker.wire.took_nothing(worker.desk.hands.single().is_some());
        let status = worker.child.try_wait();
        let (slot, first) = (worker.slot, worker.desk.hands.first());
        let oom_kills = worker.bound.newly_killed();
        // Of a worker that lives on, descendants may have been killed before.
        let oom = || oom_kills.map_or_else(|| self.ooms.any(), |count| count > 0);
        let parting = worker.desk.part(Facts { leave, status, took_nothing }, oom);
        worker.kill()?;
        let work = &mut *self.work;
        worker.error.finish(&mut |_, line| work.said(slot, first, line))?;
        self.unwatch(&worker);
        let (task, suspects, in_vain) = (parting.task, parting.suspects, parting.in_vain);
        if parting.took_some {
            self.hiring.served();
        }
        let (pid, why) = (worker.child.pid(), worker.fault.clone());
        let status = status.filter(|_| by_itself);
        let death = Death { slot, pid, task, suspects, status, why, oom_kills };
        let (born, dismissed, number) = (worker.born, worker.desk.dismissed, worker.number);
        worker.until = Some(Instant::now() + GONE_WITHIN);
        worker.gone_by = worker.until;
        self.leaving.insert(number, worker);
        self.farewell(number)?;
        if !dismissed {
            self.work.died(&death);
        }
        parting.events(slot).for_each(|event| self.tell(event));
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

    /// Kills those whose time is over, those again who were killed and are not gone, and looks after those whose end no event tells.
    pub(super) fn lose_patience(&mut self) -> io::Result<()> {
        let (now, time) = (Instant::now(), time::monotonic());
        let is_late = |worker: &Worker| worker.until.is_some_and(|until| until <= now);
        for worker in self.workers.values_mut() {
            match is_late(worker) {
                true => worker.kill()?,
                false => drop(worker.kill_again(time)?),
            }
        }
        let mut due = Vec::new();
        for (number, worker) in &mut self.leaving {
            if worker.kill_again(time)? || is_late(worker) {
                due.push(*number);
            }
        }
        due.into_iter().try_for_each(|number| self.farewell(number))
    }

    /// Tells all workers to end, and begins nothing more.
    pub(super) fn dismiss(&mut self) {
        let grace = self.rules.settings.policy.grace;
        self.workers.values_mut().for_each(|worker| worker.dismiss(grace));
    }
}
