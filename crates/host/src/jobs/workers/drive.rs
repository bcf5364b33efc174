//! The loop: what happens goes to the queue, and what it says is done.

use super::super::memory::Deaths;
use super::super::{Next, Settings, Stop};
use super::worker::{Has, Worker, WorkerError};
use super::{Answer, Tasks};
use crate::child::os_error;
use crate::signals::Held;
use doula_core::queue::{Action, Counts, Event, Queue, SlotId};
use doula_model::plan::Errno;
use doula_model::signal::Signal;
use doula_model::task::{Failure, TaskId};
use doula_sys::poll::{Epoll, Happening, Interest};
use doula_sys::time;
use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, Instant};

/// Has all tasks of `work` done by workers, and returns what became of them. `held` are the signals that it wants to hear of.
///
/// A worker is told to end by the end of its standard input; it has the grace of the policy for it.
///
/// # Errors
/// What `work` fails with, and want of fds or memory. Nobody is left running then.
pub fn run(settings: Settings, work: &mut impl Tasks, held: &Held) -> io::Result<Counts> {
    let queue = Queue::new(settings.policy.clone(), settings.seed);
    let epoll = Epoll::new().map_err(os_error)?;
    epoll.add(held, Interest::READ, SIGNALS).map_err(os_error)?;
    let workers = BTreeMap::new();
    let (ooms, next_look, trouble) = (Deaths::new(), None, None);
    let mut shop = Shop {
        settings,
        work,
        queue,
        workers,
        epoll,
        submitted: 0,
        source: Source::Asked,
        trouble,
        next_look,
        ooms,
    };
    while !shop.over()? {
        shop.wait(held)?;
    }
    shop.dismiss()?;
    match shop.trouble {
        Some(trouble) => Err(trouble),
        None => Ok(*shop.queue.counts()),
    }
}

/// Tokens of what is not of a slot.
const SIGNALS: u64 = u64::MAX;
const SOURCE: u64 = u64::MAX - 1;
/// The tokens of a slot are its number times this, plus what it is. What a worker says comes first: it said it before it
/// answered.
const PER_SLOT: u64 = 4;
const ERROR: u64 = 0;
const OUTPUT: u64 = 1;
const INPUT: u64 = 2;
const PROCESS: u64 = 3;
/// So much is heard of at once.
const AT_ONCE: usize = 64;

/// Whether tasks may be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    /// There may be one.
    Asked,
    /// It is asked when it can be read.
    Awaited,
    /// The same, and it was awaited before.
    AskedAgain,
    Ended,
}

struct Shop<'w, W> {
    settings: Settings,
    work: &'w mut W,
    queue: Queue,
    workers: BTreeMap<SlotId, Worker>,
    epoll: Epoll,
    submitted: u64,
    source: Source,
    trouble: Option<io::Error>,
    next_look: Option<Instant>,
    ooms: Deaths,
}

impl<W: Tasks> Shop<'_, W> {
    fn tell(&mut self, event: Event) {
        self.queue.handle(time::monotonic(), event);
    }

    /// Gives out all there is to do; whether all is done.
    fn over(&mut self) -> io::Result<bool> {
        loop {
            self.fill()?;
            let Some(action) = self.queue.poll_action() else { break };
            self.act(action)?;
        }
        self.work.progress(self.queue.counts(), self.queue.in_work());
        Ok(self.queue.is_over())
    }

    /// Takes tasks as long as they can be begun, and starts workers as long as tasks wait for one.
    fn fill(&mut self) -> io::Result<()> {
        loop {
            let may_hire = self.trouble.is_none() && self.vacancy().is_some();
            if self.queue.is_starved() {
                if !may_hire || !self.hire()? {
                    return Ok(());
                }
                continue;
            }
            let asks = matches!(self.source, Source::Asked | Source::AskedAgain) && self.trouble.is_none();
            if !asks || !(self.queue.wants_more() || may_hire) {
                return Ok(());
            }
            match self.work.next() {
                Ok(Next::Task) => {
                    self.submitted += 1;
                    self.tell(Event::Submit(TaskId(self.submitted)));
                }
                Ok(Next::Wait) => {
                    if self.await_source() {
                        return Ok(());
                    }
                }
                Ok(Next::End) => {
                    self.source = Source::Ended;
                    self.tell(Event::Close);
                }
                Err(error) => self.give_up(error),
            }
        }
    }

    /// The lowest slot that has no worker.
    fn vacancy(&self) -> Option<SlotId> {
        let taken = SlotId::try_from(self.workers.len()).unwrap_or(SlotId::MAX);
        if taken >= self.settings.slots {
            return None;
        }
        (1..=taken + 1).find(|slot| !self.workers.contains_key(slot))
    }

    /// Starts a worker; whether there is one more.
    fn hire(&mut self) -> io::Result<bool> {
        let Some(slot) = self.vacancy() else { return Ok(false) };
        let command = self.work.worker(slot);
        let worker = match Worker::start(slot, command, self.settings.contain) {
            Ok(worker) => worker,
            Err(WorkerError::Command(error)) if is_shortage(error.errno()) && !self.workers.is_empty() => {
                self.settings.slots = SlotId::try_from(self.workers.len()).unwrap_or(SlotId::MAX);
                self.work.cramped(&error.to_string());
                return Ok(false);
            }
            Err(WorkerError::Command(error)) => {
                self.work.not_born(slot, &error);
                self.tell(Event::Stop { now: false });
                return Ok(false);
            }
            Err(WorkerError::Io(error)) => return Err(error),
        };
        let token = u64::from(slot) * PER_SLOT;
        self.epoll
            .add(&worker.child, Interest::READ.and(Interest::ONCE), token + PROCESS)
            .map_err(os_error)?;
        self.epoll.add(&worker.output, Interest::READ, token + OUTPUT).map_err(os_error)?;
        self.epoll.add(&worker.error, Interest::READ, token + ERROR).map_err(os_error)?;
        self.workers.insert(slot, worker);
        self.tell(Event::Open(slot));
        Ok(true)
    }

    /// What is in work is let to its end; then [`run`] fails.
    fn give_up(&mut self, error: io::Error) {
        self.trouble.get_or_insert(error);
        self.tell(Event::Stop { now: false });
    }

    /// Has the epoll tell when the source can be read; `false` if it can be at once.
    fn await_source(&mut self) -> bool {
        let Some(source) = self.work.waits_for() else { return true };
        let once = Interest::READ.and(Interest::ONCE);
        let awaited = match self.source {
            Source::AskedAgain => self.epoll.modify(source, once, SOURCE),
            Source::Asked | Source::Awaited | Source::Ended => self.epoll.add(source, once, SOURCE),
        };
        match awaited {
            Ok(()) => self.source = Source::Awaited,
            // A file is always ready.
            Err(Errno::EPERM) => return false,
            Err(errno) => self.give_up(os_error(errno)),
        }
        true
    }

    fn act(&mut self, action: Action) -> io::Result<()> {
        match action {
            Action::Lease { slot, task, attempt } => {
                let line = self.work.ask(task);
                self.work.began(task, attempt, slot);
                let Some(worker) = self.workers.get_mut(&slot) else { return Ok(()) };
                if !worker.give(Has { task, attempt }, line)? {
                    self.await_room(slot)?;
                }
                Ok(())
            }
            Action::Interrupt { slot, .. } => {
                // Whatever it still answers, it will be gone.
                self.tell(Event::Leaves(slot));
                if let Some(worker) = self.workers.get_mut(&slot) {
                    worker.interrupt();
                }
                Ok(())
            }
            Action::Kill { slot, .. } => {
                self.workers.get_mut(&slot).map_or(Ok(()), |worker| worker.kill(None))
            }
            Action::Retry { task, attempt, failure, pause } => {
                self.work.retries(task, attempt, failure, pause);
                Ok(())
            }
            Action::Settled { task, verdict, attempts } => self.work.settled(task, verdict, attempts),
            Action::Halted => {
                self.work.halted();
                Ok(())
            }
        }
    }

    /// Has the epoll tell when a worker's pipe has room again.
    fn await_room(&self, slot: SlotId) -> io::Result<()> {
        let Some(input) = self.workers.get(&slot).and_then(|worker| worker.input.as_ref()) else {
            return Ok(());
        };
        let (once, token) = (Interest::WRITE.and(Interest::ONCE), u64::from(slot) * PER_SLOT + INPUT);
        match self.epoll.add(input, once, token) {
            Err(Errno::EEXIST) => self.epoll.modify(input, once, token).map_err(os_error),
            added => added.map_err(os_error),
        }
    }

    /// Sleeps until something happens, and takes it in.
    fn wait(&mut self, held: &Held) -> io::Result<()> {
        let mut happened = [Happening::EMPTY; AT_ONCE];
        let look = self.look_around();
        let deadline = self.queue.deadline().map(|deadline| deadline.since(time::monotonic()));
        let patience = self.workers.values().filter_map(Worker::patience).min();
        let patience = patience.map(|until| until.saturating_duration_since(Instant::now()));
        let timeout = [deadline, look, patience].into_iter().flatten().min();
        let happened = match self.epoll.wait(&mut happened, timeout) {
            Ok(happened) => happened,
            Err(Errno::EINTR) => return Ok(()),
            Err(errno) => return Err(os_error(errno)),
        };
        if happened.is_empty() {
            self.tell(Event::Tick);
        }
        let mut tokens = happened.iter().map(Happening::token).collect::<Vec<_>>();
        tokens.sort_unstable();
        for token in tokens {
            match token {
                SIGNALS => self.signals(held)?,
                SOURCE => self.source = Source::AskedAgain,
                token => self.heard(token)?,
            }
        }
        self.lose_patience()
    }

    /// Kills those who closed a pipe and did not end.
    fn lose_patience(&mut self) -> io::Result<()> {
        let now = Instant::now();
        let late = |worker: &&mut Worker| worker.patience().is_some_and(|until| until <= now);
        // Their ends are heard of.
        self.workers.values_mut().filter(late).try_for_each(|worker| worker.kill(None))
    }

    /// Asks now and then whether there is room on the machine; how long until the next time.
    fn look_around(&mut self) -> Option<Duration> {
        let every = self.settings.look_every?;
        let now = Instant::now();
        if self.next_look.is_none_or(|due| due <= now) {
            self.next_look = Some(now + every);
            let throttled = self.work.throttle();
            self.tell(Event::Throttle(throttled));
        }
        self.next_look.map(|due| due.saturating_duration_since(now))
    }

    fn signals(&mut self, held: &Held) -> io::Result<()> {
        while let Some(arrival) = held.take()? {
            match self.work.signal(arrival) {
                Stop::No => {}
                Stop::Soon => self.tell(Event::Stop { now: false }),
                Stop::Now => self.tell(Event::Stop { now: true }),
                Stop::Kill => {
                    self.tell(Event::Stop { now: true });
                    self.workers.values_mut().try_for_each(|worker| worker.kill(None))?;
                }
            }
        }
        Ok(())
    }

    fn heard(&mut self, token: u64) -> io::Result<()> {
        let slot = SlotId::try_from(token / PER_SLOT).unwrap_or_default();
        match token % PER_SLOT {
            ERROR => self.hear(slot),
            OUTPUT => self.answers(slot),
            INPUT => match self.workers.get_mut(&slot).map_or(Ok(true), Worker::write)? {
                true => Ok(()),
                false => self.await_room(slot),
            },
            _ => self.ended(slot),
        }
    }

    fn hear(&mut self, slot: SlotId) -> io::Result<()> {
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
    fn answers(&mut self, slot: SlotId) -> io::Result<()> {
        let Some(worker) = self.workers.get_mut(&slot) else { return Ok(()) };
        if !worker.read()? {
            self.epoll.delete(&worker.output).map_err(os_error)?;
        }
        self.take_answers(slot)
    }

    fn take_answers(&mut self, slot: SlotId) -> io::Result<()> {
        while let Some(worker) = self.workers.get_mut(&slot) {
            let answered = match (worker.line(), worker.has) {
                (Ok(None), _) => return Ok(()),
                (Ok(Some(line)), Some(has)) => self.work.answer(has.task, &line).map(|answer| (has, answer)),
                (Ok(Some(_)), None) => Err("it answered without being asked".to_owned()),
                (Err(why), _) => Err(why),
            };
            match answered {
                Ok((has, answer)) => {
                    worker.has = None;
                    let failure = (answer == Answer::Failed).then_some(Failure::Answered);
                    self.tell(Event::Ended { slot, task: has.task, failure });
                }
                Err(why) => return self.banish(slot, why),
            }
        }
        Ok(())
    }

    /// A worker that answered what is no answer is not believed any more.
    fn banish(&mut self, slot: SlotId, why: String) -> io::Result<()> {
        let Some(mut worker) = self.workers.remove(&slot) else { return Ok(()) };
        worker.kill(Some(why))?;
        self.tell(Event::Leaves(slot));
        self.buried(slot, worker, true)
    }

    /// The process of a worker may have ended.
    fn ended(&mut self, slot: SlotId) -> io::Result<()> {
        // What it still answered counts.
        while let Some(worker) = self.workers.get_mut(&slot) {
            if worker.child.try_wait().is_none() {
                return Ok(());
            }
            let more = doula_sys::poll::readable(&worker.output, Some(Duration::ZERO)).unwrap_or(false);
            if !more || !worker.read()? {
                break;
            }
            self.take_answers(slot)?;
        }
        match self.workers.remove(&slot) {
            Some(worker) => self.buried(slot, worker, false),
            None => Ok(()),
        }
    }

    /// Tells the queue of the end of a worker; `lied`: it answered what is no answer.
    fn buried(&mut self, slot: SlotId, worker: Worker, lied: bool) -> io::Result<()> {
        let task = worker.has.map(|has| has.task);
        let work = &mut *self.work;
        let death = worker.bury(&mut |line| work.said(slot, task, line))?;
        let ours = death.why.is_some();
        let failure = match Failure::of(death.status) {
            _ if lied => Failure::Protocol,
            None => Failure::Lost,
            Some(Failure::Signal(Signal::KILL)) if ours => Failure::Lost,
            Some(Failure::Signal(Signal::KILL)) if self.ooms.any() => Failure::OutOfMemory,
            Some(failure) => failure,
        };
        self.work.died(death);
        if let Some(task) = task.filter(|_| lied) {
            self.tell(Event::Ended { slot, task, failure: Some(failure) });
        }
        self.tell(Event::Died { slot, failure });
        Ok(())
    }

    /// All is done: tells the workers to end, and waits for them.
    fn dismiss(&mut self) -> io::Result<()> {
        let until = Instant::now() + self.settings.policy.grace;
        for worker in self.workers.values_mut() {
            worker.dismissed = true;
            worker.input = None;
        }
        for (slot, mut worker) in std::mem::take(&mut self.workers) {
            worker.child.wait_timeout(until.saturating_duration_since(Instant::now()));
            let work = &mut *self.work;
            drop(worker.bury(&mut |line| work.said(slot, None, line))?);
        }
        Ok(())
    }
}

/// Whether this ends by itself, when somebody else does.
fn is_shortage(errno: Errno) -> bool {
    [Errno::EAGAIN, Errno::EMFILE, Errno::ENFILE, Errno::ENOMEM].contains(&errno)
}
