//! The loop: what happens goes to the queue, and what it says is done.

use super::adopted::Adopted;
use super::beside::{Looks, Source, is_shortage};
use super::bounds::Bounds;
use super::memory::Deaths;
use super::place::{Look, Place};
use super::{Known, Next, Settings, Stop, Stream, Work};
use crate::child::os_error;
use crate::room;
use crate::signals::Held;
use doula_core::queue::{Action, Counts, Event, Queue, SlotId};
use doula_model::plan::{Errno, Rlimit};
use doula_model::signal::Signal;
use doula_model::task::{Failure, TaskId};
use doula_sys::fd::AsFd as _;
use doula_sys::poll::{Epoll, Happening, Interest};
use doula_sys::time;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// Runs all tasks of `work`, and returns what became of them. `held` are the signals that it wants to hear of.
///
/// # Errors
/// What `work` fails with, and want of fds or memory. Nobody is left running then.
///
/// ```
/// use doula_host::jobs::{self, Attempt, Flow, Next, Settings, SlotId, TaskId, Verdict, Work};
/// use doula_host::{Command, Signal, signals::Held};
/// # use std::io;
///
/// /// One command.
/// struct Once { is_left: bool }
///
/// impl Flow for Once {
///     fn next(&mut self) -> io::Result<Next> {
///         Ok(if std::mem::take(&mut self.is_left) { Next::Task } else { Next::End })
///     }
///     fn settled(&mut self, _task: TaskId, _verdict: Verdict, _attempts: u32) -> io::Result<()> {
///         Ok(())
///     }
/// }
///
/// impl Work for Once {
///     fn command(&mut self, _task: TaskId, _slot: SlotId) -> Command {
///         Command::new("true")
///     }
///     fn ended(&mut self, _attempt: Attempt) -> io::Result<()> {
///         Ok(())
///     }
/// }
///
/// // SIGTERM is told to `Flow::signal`, which has what runs ended.
/// let held = Held::back(&[Signal::TERM])?;
/// let counts = jobs::run(Settings::default(), &mut Once { is_left: true }, &held)?;
/// assert_eq!((counts.done, counts.failed), (1, 0));
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn run(settings: Settings, work: &mut impl Work, held: &Held) -> io::Result<Counts> {
    let given = room::raise_open_files();
    let mut runner = Runner::new(settings, work)?;
    runner.given = given;
    runner.epoll.add(held, Interest::READ, SIGNALS).map_err(os_error)?;
    runner.look_around();
    while !runner.over()? {
        runner.wait(held)?;
    }
    match runner.trouble {
        Some(trouble) => Err(trouble),
        None => Ok(*runner.queue.counts()),
    }
}

/// Tokens of what is not of a slot.
const SIGNALS: u64 = u64::MAX;
const SOURCE: u64 = u64::MAX - 1;
/// The tokens of a slot are its number times this, plus what it is.
const PER_SLOT: u64 = 4;
const PROCESS: u64 = 0;
const GONE: u64 = 1;
/// And the next: its first and its second stream.
const LINES: u64 = 2;
/// So much is heard of at once.
const AT_ONCE: usize = 64;

struct Runner<'w, W> {
    settings: Settings,
    work: &'w mut W,
    queue: Queue,
    bounds: Arc<Bounds>,
    places: BTreeMap<SlotId, Place>,
    epoll: Epoll,
    /// Handed in so far.
    submitted: u64,
    source: Source,
    /// Why no more tasks could be had.
    trouble: Option<io::Error>,
    looks: Looks,
    ooms: Deaths,
    /// The limit of open files that jobs get.
    given: Option<Rlimit>,
    /// Where somebody was killed and may not be gone.
    killed: BTreeSet<SlotId>,
}

impl<'w, W: Work> Runner<'w, W> {
    fn new(settings: Settings, work: &'w mut W) -> io::Result<Runner<'w, W>> {
        let queue = Queue::new(settings.policy.clone(), settings.seed);
        let (bounds, notes) = Bounds::new(&settings)?;
        notes.iter().for_each(|note| work.note(note));
        let epoll = Epoll::new().map_err(os_error)?;
        let places = BTreeMap::new();
        let looks = Looks::new(settings.look_every);
        Ok(Runner {
            settings,
            work,
            queue,
            bounds,
            places,
            epoll,
            submitted: 0,
            source: Source::Asked,
            trouble: None,
            looks,
            ooms: Deaths::new(),
            given: None,
            killed: BTreeSet::new(),
        })
    }

    fn tell(&mut self, event: Event) {
        self.queue.handle(time::monotonic(), event);
    }

    /// Gives out all there is to do; whether all is done.
    fn over(&mut self) -> io::Result<bool> {
        loop {
            self.fill();
            let Some(action) = self.queue.poll_action() else { break };
            self.act(action)?;
        }
        self.work.progress(self.queue.counts(), self.queue.in_work());
        Ok(self.queue.is_over())
    }

    /// Takes tasks from the source as long as they can be begun at once. Slots are made when there is one for them.
    fn fill(&mut self) {
        while self.source.is_asked() && self.trouble.is_none() {
            if !self.queue.wants_more() {
                let slot = SlotId::try_from(self.places.len()).unwrap_or(SlotId::MAX);
                if slot >= self.settings.slots || self.submitted < u64::from(slot) || !self.open(slot + 1) {
                    return;
                }
            }
            match self.work.next() {
                Ok(Next::Task) => {
                    self.submitted += 1;
                    let task = TaskId(self.submitted);
                    if let Some(time) = self.work.limit(task) {
                        self.tell(Event::Limit { task, time });
                    }
                    self.tell(Event::Submit(task));
                }
                Ok(Next::Behind(task)) => self.submitted = task.0,
                Ok(Next::Again(before)) => self.tell(before.event()),
                Ok(Next::Wait) => {
                    if self.await_source() {
                        return;
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

    fn open(&mut self, slot: SlotId) -> bool {
        match Place::new(slot, &self.settings, &self.bounds) {
            Ok(place) => {
                self.places.insert(slot, place);
                self.tell(Event::Open(slot));
                true
            }
            // Those that there are must do.
            Err(error) if !self.places.is_empty() => {
                self.settings.slots = slot - 1;
                self.work.cramped(&error.to_string());
                false
            }
            Err(error) => {
                self.give_up(error);
                false
            }
        }
    }

    /// What runs is let to its end; then [`run`] fails.
    fn give_up(&mut self, error: io::Error) {
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
            // They are submitted one by one.
            Action::Lease { slot, task, attempt, count: _ } => self.begin(slot, task, attempt),
            Action::Interrupt { slot, .. } => {
                if let Some(place) = self.places.get_mut(&slot) {
                    place.interrupt();
                }
                Ok(())
            }
            Action::Kill { slot, .. } => {
                self.killed.insert(slot);
                self.places.get_mut(&slot).map_or(Ok(()), Place::kill)
            }
            Action::Retry { task, attempt, failure, pause } => {
                self.work.retries(task, attempt, failure, pause);
                Ok(())
            }
            Action::Settled { task, verdict, attempts, count: _ } => {
                self.work.settled(task, verdict, attempts)
            }
            Action::Halted => {
                self.work.halted();
                Ok(())
            }
        }
    }

    fn begin(&mut self, slot: SlotId, task: TaskId, attempt: u32) -> io::Result<()> {
        if let Some(adopted) = self.work.adopt(task) {
            return self.adopt(slot, (task, attempt), adopted);
        }
        if let Err(error) = self.work.prepare(task, attempt, slot) {
            self.give_up(error);
            self.tell(Event::Refused { slot, task });
            return Ok(());
        }
        let mut command = self.work.command(task, slot);
        if let Some(limit) = self.given {
            command.limits_else(limit);
        }
        let Some(place) = self.places.get_mut(&slot) else { return Ok(()) };
        match place.begin(task, attempt, command) {
            Ok(job) => {
                let token = u64::from(slot) * PER_SLOT;
                let once = Interest::READ.and(Interest::ONCE);
                if let Some(handle) = job.handle() {
                    self.epoll.add(handle, once, token + PROCESS).map_err(os_error)?;
                }
                for (lines, number) in job.lines.iter().zip(LINES..) {
                    self.epoll.add(lines, Interest::READ, token + number).map_err(os_error)?;
                }
                self.work.began(task, attempt, slot);
            }
            Err(error) if is_shortage(error.errno()) => {
                self.work.cramped(&error.to_string());
                self.refuse(slot, task, error.errno());
            }
            Err(error) => {
                let stop = self.work.not_born(task, attempt, &error);
                let failure = Some(Failure::NotStarted(error.shell_code()));
                self.tell(Event::Ended { slot, task, failure });
                return self.stop(stop);
            }
        }
        Ok(())
    }

    /// Somebody works at it already: he is looked after from now on, or is over at once.
    fn adopt(&mut self, slot: SlotId, (task, attempt): (TaskId, u32), adopted: Adopted) -> io::Result<()> {
        let Some(place) = self.places.get_mut(&slot) else { return Ok(()) };
        let token = u64::from(slot) * PER_SLOT + PROCESS;
        let once = Interest::READ.and(Interest::ONCE);
        match place.adopt(task, attempt, adopted).handle() {
            Some(handle) => self.epoll.add(handle, once, token).map_err(os_error),
            None => self.heard(token),
        }
    }

    /// There is no room for this attempt. Its slot is closed for good and gives back what it holds, for the others may need
    /// that; the last one waits for room, unless only we ourselves could make it.
    fn refuse(&mut self, slot: SlotId, task: TaskId, errno: Errno) {
        if errno == Errno::EMFILE && self.places.len() == 1 {
            let cure = "no job can begin with so few open files: raise their limit (ulimit -n)";
            self.give_up(io::Error::other(cure));
        }
        self.tell(Event::Refused { slot, task });
        if !self.queue.is_open(slot) {
            self.places.remove(&slot);
            self.settings.slots = SlotId::try_from(self.places.len()).unwrap_or(SlotId::MAX);
        }
    }

    /// Sleeps until something happens, and takes it in.
    fn wait(&mut self, held: &Held) -> io::Result<()> {
        let mut happened = [Happening::EMPTY; AT_ONCE];
        let throttled = self.look_around();
        let deadline = self.queue.deadline().map(|deadline| deadline.since(time::monotonic()));
        let kill = self.next_kill();
        let timeout = [deadline, throttled, kill, self.work.before_sleep()?].into_iter().flatten().min();
        let happened = match self.epoll.wait(&mut happened, timeout) {
            Ok(happened) => happened,
            Err(Errno::EINTR) => return Ok(()),
            Err(errno) => return Err(os_error(errno)),
        };
        if happened.is_empty() {
            self.tell(Event::Tick);
        }
        for happening in happened {
            match happening.token() {
                SIGNALS => self.signals(held)?,
                SOURCE => self.source = Source::AskedAgain,
                token => self.heard(token)?,
            }
        }
        self.kill_again()
    }

    /// How long until somebody is killed again.
    fn next_kill(&mut self) -> Option<Duration> {
        let at = |slot: &SlotId| self.places.get(slot)?.kills_again_at();
        self.killed.retain(|slot| at(slot).is_some());
        let next = self.killed.iter().filter_map(at).min();
        next.map(|next| next.since(time::monotonic()))
    }

    /// Kills those again who were killed and are not gone, where it is time to.
    fn kill_again(&mut self) -> io::Result<()> {
        if self.killed.is_empty() {
            return Ok(());
        }
        let now = time::monotonic();
        let slots: Vec<SlotId> = self.killed.iter().copied().collect();
        for slot in slots {
            if self.places.get_mut(&slot).map_or(Ok(false), |place| place.kill_again(now))? {
                self.heard(u64::from(slot) * PER_SLOT + GONE)?;
            }
        }
        Ok(())
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
            self.stop(stop)?;
        }
        Ok(())
    }

    fn stop(&mut self, stop: Stop) -> io::Result<()> {
        if let Some(event) = stop.event() {
            self.tell(event);
        }
        match stop {
            Stop::Kill => {
                self.killed.extend(self.places.keys());
                self.places.values_mut().try_for_each(Place::kill)
            }
            Stop::No | Stop::Soon | Stop::Now => Ok(()),
        }
    }

    fn heard(&mut self, token: u64) -> io::Result<()> {
        let slot = SlotId::try_from(token / PER_SLOT).unwrap_or_default();
        let Some(place) = self.places.get_mut(&slot) else { return Ok(()) };
        if let Some(number) = (token % PER_SLOT).checked_sub(LINES) {
            return Self::hear_line(place, number, self.work, &self.epoll);
        }
        match place.look()? {
            Look::Lives => return Ok(()),
            Look::Left => {
                self.killed.insert(slot);
                return Self::watch_fence(place, token, &self.epoll);
            }
            Look::Over => {}
        }
        let work = &mut *self.work;
        let ended = place.finish(&mut |task, stream: Stream, line: &[u8]| work.line(task, stream, line))?;
        let Some((mut attempt, ours)) = ended else { return Ok(()) };
        if let Known::NotStarted(code, stop) = self.work.learn(&mut attempt)? {
            let (task, failure) = (attempt.task, Some(Failure::NotStarted(code)));
            self.tell(Event::Ended { slot, task, failure });
            return self.stop(stop);
        }
        let (slot, task, failure) = (attempt.slot, attempt.task, Failure::of(attempt.status));
        let starved = match attempt.oom_kills {
            // It may be a descendant whose end made it fail.
            Some(count) => count > 0 && failure.is_some(),
            None => failure == Some(Failure::Signal(Signal::KILL)) && self.ooms.any(),
        };
        let failure = if starved && !ours { Some(Failure::OutOfMemory) } else { failure };
        self.work.ended(attempt)?;
        self.tell(Event::Ended { slot, task, failure });
        Ok(())
    }

    /// Has the cgroup tell when the last of it is gone: from the first time on that somebody outlives a job's process.
    fn watch_fence(place: &Place, token: u64, epoll: &Epoll) -> io::Result<()> {
        let Some(events) = place.events() else { return Ok(()) };
        let interest = Interest::PRIORITY.and(Interest::EDGE);
        match epoll.add(events, interest, token - token % PER_SLOT + GONE) {
            Err(errno) if errno != Errno::EEXIST => Err(os_error(errno)),
            _ => Ok(()),
        }
    }

    fn hear_line(place: &mut Place, number: u64, work: &mut W, epoll: &Epoll) -> io::Result<()> {
        let Some(job) = &mut place.job else { return Ok(()) };
        let task = job.task;
        let Some(lines) = job.lines.get_mut(usize::try_from(number).unwrap_or(usize::MAX)) else {
            return Ok(());
        };
        if !lines.read(&mut |stream, line| work.line(task, stream, line))? {
            // Its end would be reported for ever.
            epoll.delete(lines.as_fd()).map_err(os_error)?;
        }
        Ok(())
    }
}
