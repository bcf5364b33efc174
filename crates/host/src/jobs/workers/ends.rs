//! What workers say, and how they leave: what comes of an answer that is none, of a death, and of what is left then.

use super::super::SlotId;
use super::drive::{Part, Shop, token};
use super::worker::{Heard, Worker};
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

/// How long those may take to be gone who were killed.
const GONE_WITHIN: Duration = Duration::from_secs(10);
const UNFINISHED: &str = "in the middle of an answer";

impl<W> Shop<W>
where
    W: DerefMut<Target: Tasks>,
{
    pub(super) fn hear(&mut self, slot: SlotId) -> io::Result<()> {
        let Some(worker) = self.workers.get_mut(&slot) else { return Ok(()) };
        let task = worker.has.map(|has| has.task);
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
        if worker.read(&mut self.buffer)? == Heard::End {
            self.epoll.delete(&worker.output).map_err(os_error)?;
            self.tell(Event::Leaves(slot));
            return Ok(());
        }
        self.take_answers(slot)
    }

    fn take_answers(&mut self, slot: SlotId) -> io::Result<()> {
        while let Some(worker) = self.workers.get_mut(&slot) {
            let (has, last) = (worker.has, worker.last);
            let answered = match (worker.answers.line(), has) {
                (Ok(None), _) => return Ok(()),
                (Ok(Some(line)), Some(has)) => self.work.answer(has.task, line).map(|answer| (has, answer)),
                (Ok(Some(line)), None) => Err(NoAnswer::unasked(line)),
                (Err(why), _) => Err(why.into()),
            };
            let answered = match answered {
                Ok(_) if !worker.answers.is_empty() => Err(NoAnswer::twice()),
                answered => answered,
            };
            match answered {
                Ok((has, answer)) => {
                    worker.has_answered();
                    self.hiring.served();
                    self.renew(slot);
                    let failure = (answer == Answer::Failed).then_some(Failure::Answered);
                    self.tell(Event::Ended { slot, task: has.task, failure });
                }
                Err(NoAnswer { why, of }) => {
                    let before = of.is_some() && of == last;
                    return self.banish(slot, why, if before { Leave::LiedBefore } else { Leave::Lied });
                }
            }
        }
        Ok(())
    }

    /// A worker that has answered enough is told to end; one that was asked to end does not get around it by an answer.
    fn renew(&mut self, slot: SlotId) {
        let most = self.rules.max_tasks;
        let absent = self.workers.values().filter(|worker| worker.dismissed || worker.answered == 0).count();
        let absent = SlotId::try_from(absent).unwrap_or(SlotId::MAX);
        let Some(worker) = self.workers.get_mut(&slot) else { return };
        let worn = most.is_some_and(|most| worker.answered >= most.get());
        if worn && absent < self.rules.absent() || worker.interrupted {
            worker.dismiss(self.rules.settings.policy.grace);
            self.tell(Event::Leaves(slot));
        }
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
            worker.fault = worker.has.filter(|_| !worker.answers.is_empty()).map(|_| UNFINISHED.to_owned());
        }
        // What is not read yet is counted while its pipe is whole; whoever is killed may not fill the other one for ever.
        let innocent = worker.never_took_it() || leave == Leave::LiedBefore;
        worker.kill()?;
        let (slot, has) = (worker.slot, worker.has);
        let work = &mut *self.work;
        let hear = &mut |line: &[u8]| work.said(slot, has.map(|has| has.task), line);
        worker.error.finish(&mut |_, line| hear(line))?;
        self.unwatch(&worker);
        let blamed = has.filter(|_| !innocent || worker.interrupted);
        let status = worker.child.try_wait();
        let in_vain = worker.answered == 0 && blamed.is_none() && !worker.dismissed;
        let failure = match status.map(Failure::of) {
            _ if leave != Leave::Ended => Failure::Protocol,
            Some(Some(Failure::Signal(Signal::KILL))) if killed => Failure::Lost,
            Some(Some(Failure::Signal(Signal::KILL))) if self.ooms.any() => Failure::OutOfMemory,
            Some(Some(failure)) => failure,
            Some(None) | None => Failure::Lost,
        };
        let task = blamed.map(|has| (has.task, has.attempt));
        let (pid, why) = (worker.child.pid(), worker.fault.clone());
        let death = Death { slot, pid, task, status: status.filter(|_| by_itself), why };
        let (born, dismissed, number) = (worker.born, worker.dismissed, worker.number);
        worker.until = Some(Instant::now() + GONE_WITHIN);
        worker.gone_by = worker.until;
        self.leaving.insert(number, worker);
        self.farewell(number)?;
        if !dismissed {
            self.work.died(&death);
        }
        self.tell(Event::Leaves(slot));
        match (has, blamed) {
            (Some(has), None) => self.tell(Event::Returned { slot, task: has.task }),
            (_, Some(has)) if failure == Failure::Protocol => {
                self.tell(Event::Ended { slot, task: has.task, failure: Some(failure) });
            }
            _ => {}
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
        let _ = self.epoll.delete(&worker.output);
        let _ = self.epoll.delete(&worker.error);
        if let Some(input) = &worker.input {
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
