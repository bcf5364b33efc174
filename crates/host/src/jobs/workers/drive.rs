//! The loop: what happens goes to the queue, and what it says is done. What workers say, and how they leave, is in
//! [`ends`](super::ends).

use super::super::beside::{Looks, Source, is_shortage};
use super::super::bounds::Bounds;
use super::super::memory::Deaths;
use super::super::{Flow, Identity, Next, Settings, Stop};
use super::worker::{Worker, WorkerError};
use super::{Rules, Tasks};
use crate::child::os_error;
use crate::room;
use crate::signals::Held;
use doula_core::queue::{Action, Counts, Event, Has, Hiring, Queue, SlotId};
use doula_model::plan::{Errno, Rlimit};
use doula_model::task::TaskId;
use doula_model::time::Time;
use doula_sys::fd::AsFd as _;
use doula_sys::poll::{Epoll, Happening, Interest};
use doula_sys::time;
use std::collections::BTreeMap;
use std::io;
use std::ops::DerefMut;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Has all tasks of `work` done by workers, and returns what became of them. `held` are the signals that it wants to hear of.
///
/// A worker is told to end by the end of its standard input; it has the grace of the policy for it.
///
/// # Errors
/// What `work` fails with, and want of fds or memory. Nobody is left running then.
///
/// ```
/// use doula_host::jobs::workers::{self, Answer, NoAnswer, Rules, Tasks};
/// use doula_host::jobs::{Flow, Next, Settings, SlotId, TaskId, Verdict};
/// use doula_host::{Command, Signal, signals::Held};
/// # use std::io;
///
/// /// One line, which comes back.
/// struct Echo { is_left: bool }
///
/// impl Flow for Echo {
///     fn next(&mut self) -> io::Result<Next> {
///         Ok(if std::mem::take(&mut self.is_left) { Next::Task } else { Next::End })
///     }
///     fn settled(&mut self, _task: TaskId, _verdict: Verdict, _attempts: u32) -> io::Result<()> {
///         Ok(())
///     }
/// }
///
/// impl Tasks for Echo {
///     fn worker(&mut self, _slot: SlotId) -> Command {
///         Command::new("cat")
///     }
///     fn ask(&mut self, _task: TaskId, line: &mut Vec<u8>) {
///         line.extend_from_slice(b"hello\n");
///     }
///     fn answer(&mut self, _task: TaskId, line: &[u8]) -> Result<Answer, NoAnswer> {
///         if line == b"hello" { Ok(Answer::Done) } else { Err(NoAnswer::garbage(line)) }
///     }
/// }
///
/// // SIGTERM is told to `Flow::signal`, which has all of them ended.
/// let held = Held::back(&[Signal::TERM])?;
/// let counts = workers::run(Rules::new(Settings::default()), &mut Echo { is_left: true }, &held)?;
/// assert_eq!(counts.done, 1);
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn run(rules: Rules, work: &mut impl Tasks, held: &Held) -> io::Result<Counts> {
    let mut shop = Shop::new(rules, work)?;
    shop.epoll.add(held, Interest::READ, SIGNALS).map_err(os_error)?;
    while !shop.over()? {
        shop.wait(Some(held))?;
    }
    shop.dismiss();
    while shop.has_workers() {
        shop.wait(Some(held))?;
    }
    match shop.trouble.take() {
        Some(trouble) => Err(trouble),
        None => Ok(*shop.queue.counts()),
    }
}

/// Tokens of what is not of a worker.
const SIGNALS: u64 = u64::MAX;
const SOURCE: u64 = u64::MAX - 1;
/// So much is heard of at once.
const AT_ONCE: usize = 64;
/// So much is read at once.
const PIECE: usize = 64 << 10;

/// What of a worker can be ready. What it says comes first: it said it before it answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Error,
    Output,
    Input,
    Process,
    /// The last of its descendants is gone.
    Gone,
}

/// The number of the worker, its slot (29 bits) and the part: who is dead is never taken for who has its slot now.
pub(super) fn token(worker: &Worker, part: Part) -> u64 {
    u64::from(worker.number) << 32 | u64::from(worker.slot) << 3 | part as u64
}

fn parts(token: u64) -> (u32, SlotId, Part) {
    let part = match token & 7 {
        0 => Part::Error,
        1 => Part::Output,
        2 => Part::Input,
        3 => Part::Process,
        _ => Part::Gone,
    };
    let low = |bits: u64| u32::try_from(bits & u64::from(u32::MAX)).unwrap_or_default();
    (low(token >> 32), low(token) >> 3, part)
}

pub(super) struct Shop<W> {
    pub(super) rules: Rules,
    pub(super) work: W,
    pub(super) queue: Queue,
    pub(super) hiring: Hiring,
    bounds: Arc<Bounds>,
    /// Those that get tasks, or had one when we heard of them last.
    pub(super) workers: BTreeMap<SlotId, Worker>,
    /// Those that have left, by number, until all their descendants are gone.
    pub(super) leaving: BTreeMap<u32, Worker>,
    pub(super) epoll: Epoll,
    pub(super) ooms: Deaths,
    pub(super) buffer: Vec<u8>,
    pub(super) trouble: Option<io::Error>,
    /// So many workers were started, and tasks handed in.
    hired: u32,
    submitted: u64,
    source: Source,
    looks: Looks,
    /// The limit of open files that workers get.
    given: Option<Rlimit>,
    /// Workers of this run were seen to have the ends themselves by which they are asked and answer.
    pub(super) own_ends: bool,
    /// Those that were given something that was not sent yet.
    unsent: Vec<SlotId>,
}

impl<W> Shop<W>
where
    W: DerefMut<Target: Tasks>,
{
    pub(super) fn new(rules: Rules, mut work: W) -> io::Result<Shop<W>> {
        let Settings { policy, seed, .. } = &rules.settings;
        let (bounds, notes) = Bounds::new(&rules.settings)?;
        notes.iter().for_each(|note| work.note(note));
        Ok(Shop {
            queue: Queue::new(policy.clone(), *seed),
            looks: Looks::new(rules.settings.look_every),
            rules,
            work,
            hiring: Hiring::default(),
            bounds,
            workers: BTreeMap::new(),
            leaving: BTreeMap::new(),
            epoll: Epoll::new().map_err(os_error)?,
            ooms: Deaths::new(),
            buffer: vec![0; PIECE],
            trouble: None,
            hired: 0,
            submitted: 0,
            source: Source::Asked,
            given: room::raise_open_files(),
            own_ends: false,
            unsent: Vec::new(),
        })
    }

    pub(super) fn tell(&mut self, event: Event) {
        self.queue.handle(time::monotonic(), event);
    }

    /// Gives out all there is to do; whether all is done.
    pub(super) fn over(&mut self) -> io::Result<bool> {
        self.go_on()?;
        self.work.progress(self.queue.counts(), self.queue.in_work());
        Ok(self.queue.is_over())
    }

    fn go_on(&mut self) -> io::Result<()> {
        loop {
            self.fill()?;
            let Some(action) = self.queue.poll_action() else { return self.send() };
            self.act(action)?;
        }
    }

    /// Sends what workers are asked: several tasks of one at once.
    fn send(&mut self) -> io::Result<()> {
        while let Some(slot) = self.unsent.pop() {
            if !self.workers.get_mut(&slot).map_or(Ok(true), Worker::write)? {
                self.await_room(slot)?;
            }
        }
        Ok(())
    }

    /// Whether there are any, alive or dying.
    pub(super) fn has_workers(&self) -> bool {
        !self.workers.is_empty() || !self.leaving.is_empty()
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
            let asks = self.source.is_asked() && self.trouble.is_none();
            if !asks || !self.queue.wants_more_with(may_hire) {
                return Ok(());
            }
            if !self.take_in() {
                return Ok(());
            }
        }
    }

    /// Takes as many tasks as a worker gets at once; whether there may be more.
    fn take_in(&mut self) -> bool {
        let (first, wanted) = (TaskId(self.submitted + 1), self.queue.wanted());
        let (mut count, mut behind) = (0, None);
        while count < wanted && behind.is_none() {
            match self.work.next() {
                Ok(Next::Task) => count += 1,
                other => behind = Some(other),
            }
        }
        self.submitted += u64::from(count);
        for task in (first.0..=self.submitted).map(TaskId) {
            if let Some(time) = self.work.limit(task) {
                self.tell(Event::Limit { task, time });
            }
        }
        self.tell(Event::SubmitMany { first, count });
        match behind {
            None | Some(Ok(Next::Task)) => {}
            Some(Ok(Next::Behind(task))) => self.submitted = task.0,
            Some(Ok(Next::Again(before))) => self.tell(before.event()),
            Some(Ok(Next::Wait)) => return !self.await_source(),
            Some(Ok(Next::End)) => {
                self.source = Source::Ended;
                self.tell(Event::Close);
            }
            Some(Err(error)) => self.give_up(error),
        }
        true
    }

    /// The lowest slot that has no worker, if one may be started now.
    fn vacancy(&self) -> Option<SlotId> {
        let taken = SlotId::try_from(self.workers.len()).unwrap_or(SlotId::MAX);
        if taken >= self.rules.settings.slots || self.hiring.not_before() > time::monotonic() {
            return None;
        }
        (1..=taken + 1).find(|slot| !self.workers.contains_key(slot))
    }

    /// Starts a worker; whether there is one more.
    fn hire(&mut self) -> io::Result<bool> {
        let Some(slot) = self.vacancy() else { return Ok(false) };
        let mut command = self.work.worker(slot);
        if let Some(limit) = self.given {
            command.limits_else(limit);
        }
        self.hired = self.hired.wrapping_add(1);
        let worker = match Worker::start(slot, self.hired, command, (&self.rules, &self.bounds)) {
            Ok(worker) => worker,
            Err(WorkerError::Command(error)) if is_shortage(error.errno()) && self.bears_shortage() => {
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
        let once = Interest::READ.and(Interest::ONCE);
        let watch = |fd, interest, part| self.epoll.add(fd, interest, token(&worker, part)).map_err(os_error);
        watch(worker.child.as_fd(), once, Part::Process)?;
        watch(worker.wire.output(), Interest::READ, Part::Output)?;
        watch(worker.error.as_fd(), Interest::READ, Part::Error)?;
        if let Some(input) = worker.wire.input().filter(|_| worker.wire.is_lines()) {
            // Only that it is closed.
            watch(input, Interest::NONE.and(Interest::ONCE), Part::Input)?;
        }
        self.work.hired(slot, &Identity::of(&worker.child));
        self.workers.insert(slot, worker);
        self.tell(Event::Open(slot));
        Ok(true)
    }

    /// Those that there are must do; without any it is tried again, a few times.
    fn bears_shortage(&mut self) -> bool {
        if self.workers.is_empty() {
            let now = time::monotonic();
            return !self.hiring.in_vain(now, now);
        }
        self.rules.settings.slots = SlotId::try_from(self.workers.len()).unwrap_or(SlotId::MAX);
        true
    }

    /// What is in work is let to its end; then [`run`] fails.
    pub(super) fn give_up(&mut self, error: io::Error) {
        self.trouble.get_or_insert(error);
        self.tell(Event::Stop { now: false });
    }

    /// Whether it is waited for the source; `false` if it can be read at once.
    fn await_source(&mut self) -> bool {
        match self.source.wait(&self.epoll, self.work.waits_for(), SOURCE) {
            Ok(waits) => waits,
            Err(errno) => {
                self.give_up(os_error(errno));
                true
            }
        }
    }

    fn act(&mut self, action: Action) -> io::Result<()> {
        match action {
            Action::Lease { slot, task, count, attempt } => {
                return self.give(slot, Has { task, count, attempt });
            }
            Action::Interrupt { slot, .. } => {
                // Whatever it still answers, it will be gone.
                self.tell(Event::Leaves(slot));
                if let Some(worker) = self.workers.get_mut(&slot) {
                    worker.interrupt();
                }
            }
            Action::Kill { slot, .. } => return self.workers.get_mut(&slot).map_or(Ok(()), Worker::kill),
            Action::Retry { task, attempt, failure, pause } => {
                self.work.retries(task, attempt, failure, pause);
            }
            Action::Settled { task: TaskId(first), count, verdict, attempts } => {
                for task in first..first + u64::from(count) {
                    self.work.settled(TaskId(task), verdict, attempts)?;
                }
            }
            Action::Halted => self.work.halted(),
        }
        Ok(())
    }

    /// Gives tasks to a worker.
    fn give(&mut self, slot: SlotId, has: Has) -> io::Result<()> {
        has.tasks().for_each(|task| self.work.began(task, has.attempt, slot));
        let Some(worker) = self.workers.get_mut(&slot) else { return Ok(()) };
        let work = &mut *self.work;
        worker.wire.ask(has, &mut |task, line| work.ask(task, line))?;
        if worker.desk.hands.is_empty() {
            worker.quiet.begins(time::monotonic(), worker.desk.answered);
        }
        worker.desk.hands.add(has);
        self.send_to(slot);
        Ok(())
    }

    /// What there is for this worker is sent when all is given out.
    pub(super) fn send_to(&mut self, slot: SlotId) {
        if self.unsent.last() != Some(&slot) {
            self.unsent.push(slot);
        }
    }

    /// Has the epoll tell when a worker's pipe has room again.
    fn await_room(&self, slot: SlotId) -> io::Result<()> {
        let Some(worker) = self.workers.get(&slot) else { return Ok(()) };
        let Some(input) = worker.wire.input() else { return Ok(()) };
        let (once, token) = (Interest::WRITE.and(Interest::ONCE), token(worker, Part::Input));
        match self.epoll.add(input, once, token) {
            Err(Errno::EEXIST) => self.epoll.modify(input, once, token).map_err(os_error),
            added => added.map_err(os_error),
        }
    }

    /// Sleeps until something happens, and takes it in.
    pub(super) fn wait(&mut self, held: Option<&Held>) -> io::Result<()> {
        let mut happened = [Happening::EMPTY; AT_ONCE];
        let awake = self.awake();
        let timeout = if awake.is_empty() { self.timeout()? } else { Some(Duration::ZERO) };
        let happened = match self.epoll.wait(&mut happened, timeout) {
            Ok(happened) => happened,
            Err(Errno::EINTR) => return Ok(()),
            Err(errno) => return Err(os_error(errno)),
        };
        if happened.is_empty() {
            self.tell(Event::Tick);
        }
        for token in awake {
            self.heard(token)?;
            self.go_on()?;
        }
        let mut tokens = [0; AT_ONCE];
        let tokens = &mut tokens[..happened.len()];
        tokens.iter_mut().zip(happened).for_each(|(token, happening)| *token = happening.token());
        tokens.sort_unstable();
        for token in tokens {
            match (*token, held) {
                (SIGNALS, Some(held)) => self.signals(held)?,
                (SOURCE, _) => self.source = Source::AskedAgain,
                (token, _) => {
                    self.heard(token)?;
                    // It works on while the next one is heard.
                    self.go_on()?;
                }
            }
        }
        self.look_at_quiet()?;
        self.lose_patience()
    }

    /// The tokens of those who said something of which nothing tells that sleeps.
    fn awake(&self) -> Vec<u64> {
        let awake = self.workers.values().filter(|worker| !worker.wire.may_sleep());
        awake.map(|worker| token(worker, Part::Output)).collect()
    }

    /// How long may be slept.
    fn timeout(&mut self) -> io::Result<Option<Duration>> {
        let wakes = self.work.before_sleep()?;
        let look = self.look_around();
        let until = |time: Time| time.since(time::monotonic());
        let deadline = self.queue.deadline().map(until);
        let hire = self.queue.is_starved().then(|| self.hiring.not_before());
        let hire = hire.map(until).filter(|pause| !pause.is_zero());
        let all = || self.workers.values().chain(self.leaving.values());
        let kill = all().filter_map(Worker::kills_again_at).min().map(until);
        let patience = all().filter_map(|worker| worker.until).min();
        let patience = patience.map(|until| until.saturating_duration_since(Instant::now()));
        let waits = self.workers.values().filter(|worker| worker.waits());
        let quiet = waits.map(|worker| worker.quiet.deadline()).min().map(until);
        Ok([wakes, deadline, look, patience, kill, hire, quiet].into_iter().flatten().min())
    }

    /// Asks now and then whether there is room on the machine; how long until the next time.
    fn look_around(&mut self) -> Option<Duration> {
        if let Some(event) = self.looks.ask(|| self.work.throttle()) {
            self.tell(event);
        }
        self.looks.pause()
    }

    fn signals(&mut self, held: &Held) -> io::Result<()> {
        while let Some(arrival) = held.take()? {
            let stop = self.work.signal(arrival);
            if let Some(event) = stop.event() {
                self.tell(event);
            }
            if stop == Stop::Kill {
                self.workers.values_mut().try_for_each(Worker::kill)?;
            }
        }
        Ok(())
    }

    fn heard(&mut self, token: u64) -> io::Result<()> {
        let (number, slot, part) = parts(token);
        if self.workers.get(&slot).is_none_or(|worker| worker.number != number) {
            return self.farewell(number);
        }
        match part {
            Part::Error => self.hear(slot),
            Part::Output => self.answers(slot),
            Part::Input => {
                if !self.workers.get_mut(&slot).map_or(Ok(true), Worker::write)? {
                    self.await_room(slot)?;
                }
                self.input_may_be_closed(slot);
                Ok(())
            }
            Part::Process | Part::Gone => self.ended(slot),
        }
    }
}
