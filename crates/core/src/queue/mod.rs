//! Who works at which task, for how long, and what comes after a failure: leases.
//!
//! A task is queued → leased (to a slot, as its n-th attempt, until a deadline) → done, or failed → tried again after a pause,
//! or failed for good, or in quarantine because workers die of it. A [`Queue`] is told what happened ([`Event`]) and says what
//! to do ([`Action`]); it knows no process. A slot is a place for one worker. Where each task has a process of its own, that
//! process is the worker, and the slot is open again when it ended.
//!
//! No result is given to a wrong task: an end names its slot *and* its task, and is believed only while the slot has that
//! lease.
//!
//! A worker may have several tasks at once ([`Policy::window`]), and get some of them in one lease ([`Policy::batch`]). It does
//! them in the order in which it got them: the time of a task runs from the end of the one before.
//!
//! When a worker dies that has several tasks, or takes too long, nobody knows which of them it was: they are tried again one by one, each alone
//! with its worker ([`Policy::deaths`]); for that, one worker gets nothing else.

mod answers;
mod desk;
pub mod far;
mod growth;
mod hands;
mod hiring;
mod median;
mod policy;
mod quiet;

#[cfg(test)]
mod tests;

pub use answers::Answers;
pub use desk::{Desk, Facts, Leave, NotIts, Parting};
pub use growth::Growth;
pub use hands::{Hands, Has, Run};
pub use hiring::Hiring;
pub use policy::{Counts, Halt, HaltLimit, HaltOn, Pause, Policy, RetryOn, Timeout};
pub use quiet::{Closed, Ends, Quiet};

use crate::random::Random;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::time::Duration;
use doula_model::task::{Failure, TaskId, Verdict};
use doula_model::time::Time;
use median::Median;

/// The pause after the last slot was refused: shortages end.
pub const SHORTAGE: Duration = Duration::from_millis(100);

/// The number of a place for a worker, from 1.
pub type SlotId = u32;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// There is a task more. Each number once, in rising order.
    Submit(TaskId),
    /// There are so many more, with the numbers from this one on: they may be given to one worker together.
    SubmitMany {
        /// The first.
        first: TaskId,
        /// How many.
        count: u32,
    },
    /// An attempt at this task may take so long, whatever the policy says. Comes before [`Event::Submit`].
    Limit {
        /// Which.
        task: TaskId,
        /// How long.
        time: Duration,
    },
    /// There is a task more, which was in work before: in another queue, whose end it did not come to.
    Again {
        /// Which.
        task: TaskId,
        /// Which attempt at it is next.
        attempt: u32,
        /// So many workers died of it.
        deaths: u32,
    },
    /// There will be no more.
    Close,
    /// A worker is ready in this slot, with nothing to do.
    Open(SlotId),
    /// A worker came to an end of a task: `None` is success.
    Ended {
        /// In which slot.
        slot: SlotId,
        /// Of which task.
        task: TaskId,
        /// How it failed.
        failure: Option<Failure>,
    },
    /// A worker succeeded at so many tasks, with the numbers from this one on.
    Done {
        /// In which slot.
        slot: SlotId,
        /// The first.
        first: TaskId,
        /// How many.
        count: u32,
    },
    /// An attempt could not begin, because the machine has no room for one more. It waits for its turn again, and the slot is
    /// closed; the last one stays, and tries again after [`SHORTAGE`].
    Refused {
        /// In which slot.
        slot: SlotId,
        /// Which task.
        task: TaskId,
    },
    /// The worker of this slot never took the task that it was given: the task waits for its turn again, as if nothing had
    /// been. Comes after [`Event::Leaves`], else the same worker gets it again.
    Returned {
        /// Which slot.
        slot: SlotId,
        /// Which task.
        task: TaskId,
    },
    /// The worker of this slot is gone, with all that it had. The slot is closed until it is opened again.
    Died {
        /// Which.
        slot: SlotId,
        /// How: [`Failure::Lost`] when nobody knows better.
        failure: Failure,
    },
    /// The worker of this slot will leave: it gets no more tasks until the slot is opened again.
    Leaves(SlotId),
    /// Nothing is begun while it is `true`.
    Throttle(bool),
    /// Nothing is begun any more; what is being worked at is ended too if `now`.
    Stop {
        /// Whether.
        now: bool,
    },
    /// A deadline passed ([`Queue::deadline`]).
    Tick,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Give this task to the worker of this slot, and those behind it if there are several.
    Lease {
        /// Which slot.
        slot: SlotId,
        /// Which task, or the first.
        task: TaskId,
        /// How many: more than one only with [`Policy::batch`].
        count: u32,
        /// The n-th attempt at it, from 1.
        attempt: u32,
    },
    /// Ask the worker to end its work at this task (SIGTERM).
    Interrupt {
        /// Which slot.
        slot: SlotId,
        /// Which task.
        task: TaskId,
    },
    /// It did not, within the grace: kill it with all its descendants.
    Kill {
        /// Which slot.
        slot: SlotId,
        /// Which task.
        task: TaskId,
    },
    /// An attempt failed, and there will be another one after a pause. To be told.
    Retry {
        /// Of which task.
        task: TaskId,
        /// Which attempt it was.
        attempt: u32,
        /// How it failed.
        failure: Failure,
        /// How long the pause is.
        pause: Duration,
    },
    /// A task came to its end, or several did in the same way. Once for each task that was submitted.
    Settled {
        /// Which, or the first.
        task: TaskId,
        /// How many, with the numbers from this one on.
        count: u32,
        /// What became of it.
        verdict: Verdict,
        /// How many attempts it took.
        attempts: u32,
    },
    /// The queue was given up by its own rule ([`Policy::halt`]). To be told.
    Halted,
}

/// One attempt at a task, made or to be made; or at several of the same past.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Attempt {
    task: TaskId,
    count: u32,
    number: u32,
    /// So many of the attempts before were cut off by the death of a worker that had others too.
    excused: u32,
    /// So many workers died while it was the only one they had.
    deaths: u32,
    /// A worker died that had it: it is tried alone.
    suspect: bool,
}

impl Attempt {
    const fn new(task: TaskId, count: u32) -> Attempt {
        Attempt { task, count, number: 1, excused: 0, deaths: 0, suspect: false }
    }

    fn has(&self, task: TaskId) -> bool {
        task.0.checked_sub(self.task.0).is_some_and(|behind| behind < u64::from(self.count))
    }

    /// The first `most` of them, and those behind.
    fn split(self, most: u32) -> (Attempt, Option<Attempt>) {
        let count = most.min(self.count);
        let rest =
            Attempt { task: TaskId(self.task.0 + u64::from(count)), count: self.count - count, ..self };
        (Attempt { count, ..self }, Some(rest).filter(|rest| rest.count > 0))
    }
}

#[derive(Clone, Copy, Debug)]
struct Lease {
    attempt: Attempt,
    /// When its worker came to it, if those before are done.
    since: Time,
    ending: Option<Ending>,
}

/// Why, and until when, a worker is asked to end its work.
#[derive(Clone, Copy, Debug)]
struct Ending {
    why: Why,
    /// `None`: it was killed.
    patience: Option<Time>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    Timeout,
    Stop,
}

#[derive(Clone, Debug, Default)]
struct Slot {
    /// In the order in which they are done.
    leases: VecDeque<Lease>,
    /// So many tasks are in them.
    tasks: usize,
    /// Its worker is alone with its task.
    alone: bool,
    /// Its worker gets no more.
    leaves: bool,
}

impl Slot {
    /// Whether so many tasks more may be in its worker's hands.
    fn has_room(&self, count: usize, window: usize) -> bool {
        !self.alone && !self.leaves && self.tasks + count <= window
    }

    /// Takes so many tasks from this one on out of the lease that has them; the others of it stay.
    fn take(&mut self, now: Time, task: TaskId, count: u32) -> Option<Lease> {
        let at = self.leases.iter().position(|lease| lease.attempt.has(task))?;
        let lease = self.leases.remove(at)?;
        let before = u32::try_from(task.0 - lease.attempt.task.0).unwrap_or(u32::MAX);
        let (head, rest) = lease.attempt.split(before);
        let (taken, tail) = rest?.split(count);
        let left = [Some(head).filter(|head| head.count > 0), tail];
        for attempt in left.into_iter().rev().flatten() {
            self.leases.insert(at, Lease { attempt, ..lease });
        }
        if let Some(next) = self.leases.front_mut().filter(|_| at == 0 && before == 0) {
            next.since = next.since.max(now);
        }
        self.alone = false;
        self.tasks -= taken.count as usize;
        Some(Lease { attempt: taken, ..lease })
    }
}

/// How far the end of all has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Running,
    /// Nothing is begun any more.
    Stopping,
}

/// The leases of all tasks. See the [module](self) for the whole picture.
///
/// ```
/// use doula_core::queue::{Action, Event, Policy, Queue};
/// use doula_model::{task::{TaskId, Verdict}, time::Time};
/// let mut queue = Queue::new(Policy::PLAIN, 0);
/// let (task, now) = (TaskId(1), Time::ZERO);
/// queue.handle(now, Event::Open(1));
/// queue.handle(now, Event::Submit(task));
/// assert_eq!(queue.poll_action(), Some(Action::Lease { slot: 1, task, count: 1, attempt: 1 }));
/// queue.handle(now, Event::Ended { slot: 1, task, failure: None });
/// assert_eq!(queue.poll_action(), Some(Action::Settled { task, count: 1, verdict: Verdict::Done, attempts: 1 }));
/// ```
#[derive(Clone, Debug)]
pub struct Queue {
    policy: Policy,
    random: Random,
    /// Those whose worker is ready.
    slots: BTreeMap<SlotId, Slot>,
    ready: VecDeque<Attempt>,
    /// To be tried alone, each a single task.
    suspects: VecDeque<Attempt>,
    /// To be tried again later.
    resting: BTreeMap<(Time, TaskId), Attempt>,
    /// So many tasks are being worked at.
    leased: usize,
    /// Somebody was asked to end.
    asked: bool,
    closed: bool,
    phase: Phase,
    throttled: bool,
    /// Those that tasks have of their own.
    limits: BTreeMap<TaskId, Duration>,
    /// Nothing is begun before.
    next_start: Time,
    /// Nor before this, because the last slot found no room.
    short_until: Option<Time>,
    times: Median,
    counts: Counts,
    actions: VecDeque<Action>,
}

impl Queue {
    /// An empty one. The seed decides the random share of pauses.
    pub fn new(policy: Policy, seed: u64) -> Queue {
        Queue {
            policy,
            random: Random::new(seed),
            slots: BTreeMap::new(),
            ready: VecDeque::new(),
            suspects: VecDeque::new(),
            resting: BTreeMap::new(),
            leased: 0,
            asked: false,
            closed: false,
            phase: Phase::Running,
            throttled: false,
            limits: BTreeMap::new(),
            next_start: Time::ZERO,
            short_until: None,
            times: Median::default(),
            counts: Counts::default(),
            actions: VecDeque::new(),
        }
    }

    /// Takes in what happened.
    pub fn handle(&mut self, now: Time, event: Event) {
        match event {
            Event::Submit(task) => self.submit(Attempt::new(task, 1)),
            Event::SubmitMany { count: 0, .. } | Event::Done { count: 0, .. } => {}
            Event::SubmitMany { first, count } => self.submit(Attempt::new(first, count)),
            Event::Again { task, attempt: number, deaths } => {
                self.submit(Attempt { number, deaths, suspect: deaths > 0, ..Attempt::new(task, 1) });
            }
            Event::Limit { task, time } => drop(self.limits.insert(task, time)),
            Event::Close => self.closed = true,
            Event::Open(slot) => drop(self.slots.entry(slot).or_default()),
            Event::Ended { slot, task, failure } => self.ended(now, slot, task, failure),
            Event::Done { slot, first, count } => self.done(now, slot, first, count),
            Event::Refused { slot, task } => self.refused(now, slot, task),
            Event::Returned { slot, task } => self.returned(now, slot, task),
            Event::Died { slot, failure } => self.died(now, slot, failure),
            Event::Leaves(slot) => {
                if let Some(place) = self.slots.get_mut(&slot) {
                    place.leaves = true;
                }
            }
            Event::Throttle(on) => self.throttled = on,
            Event::Stop { now: at_once } => self.stop(now, at_once),
            Event::Tick => {}
        }
        self.watch_time(now);
        self.wake(now);
        self.begin(now);
    }

    /// The next thing to do.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Whether another task would be begun at once: then it should be submitted. So a source of any length is read no faster
    /// than it is worked at.
    pub fn wants_more(&self) -> bool {
        self.wants_more_with(false)
    }

    /// The same, if `another` slot is opened for it.
    pub fn wants_more_with(&self, another: bool) -> bool {
        let room = || another || self.slots.values().any(|slot| slot.has_room(self.batch(), self.window()));
        self.phase == Phase::Running && !self.closed && self.ready.is_empty() && room()
    }

    /// So many tasks are best submitted at once: as many as a worker gets at once.
    pub fn wanted(&self) -> u32 {
        self.policy.batch.clamp(1, self.policy.window.max(1))
    }

    /// Whether this slot is open.
    pub fn is_open(&self, slot: SlotId) -> bool {
        self.slots.contains_key(&slot)
    }

    /// Whether a task waits that would be begun at once if one more slot were open.
    pub fn is_starved(&self) -> bool {
        let some_wait = !self.ready.is_empty() || !self.suspects.is_empty();
        self.phase == Phase::Running && !self.throttled && some_wait
    }

    /// Whether every task that was submitted came to its end, and no more will come.
    pub fn is_over(&self) -> bool {
        let none_waits = self.ready.is_empty() && self.suspects.is_empty() && self.resting.is_empty();
        let none_comes = self.closed || self.phase == Phase::Stopping;
        none_comes && none_waits && self.leased == 0 && self.actions.is_empty()
    }

    /// What came to its end so far.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// So many tasks are being worked at, or wait at a worker.
    pub fn in_work(&self) -> usize {
        self.leased
    }

    /// When a [`Event::Tick`] is due at the latest.
    pub fn deadline(&self) -> Option<Time> {
        let resting = self.resting.keys().next().map(|(time, _)| *time);
        let some_wait = !self.ready.is_empty() || !self.suspects.is_empty();
        let waits = some_wait && !self.throttled;
        let start = Some(self.next_start).filter(|_| waits && !self.policy.delay.is_zero());
        let limit = self.limit();
        let late = |lease: &Lease| Some(lease.since.after(self.limit_of(lease, limit)?));
        let first = self.slots.values().filter_map(|slot| slot.leases.front());
        let ends = first.filter(|lease| lease.ending.is_none()).filter_map(late);
        let asked = self.slots.values().filter(|_| self.asked).flat_map(|slot| &slot.leases);
        let asked = asked.filter_map(|lease| lease.ending?.patience);
        ends.chain(asked).chain(resting).chain(start).chain(self.short_until).min()
    }

    /// How long those of a lease may take together, from when its worker came to it.
    fn limit_of(&self, lease: &Lease, limit: Option<Duration>) -> Option<Duration> {
        let Attempt { task, count, .. } = lease.attempt;
        let own = self.limits.get(&task).copied().filter(|_| count == 1);
        own.or_else(|| limit.map(|limit| limit.saturating_mul(count)))
    }

    fn window(&self) -> usize {
        self.policy.window.max(1) as usize
    }

    /// So many tasks are in a lease, where so many wait.
    fn batch(&self) -> usize {
        self.wanted() as usize
    }

    /// How long an attempt may take, by what is known now.
    fn limit(&self) -> Option<Duration> {
        match self.policy.timeout? {
            Timeout::After(time) => Some(time),
            Timeout::OfMedian(_) if self.times.count() < Timeout::SAMPLES => None,
            Timeout::OfMedian(percent) => Some(self.times.get()?.saturating_mul(percent) / 100),
        }
    }

    fn submit(&mut self, attempt: Attempt) {
        match self.phase {
            Phase::Running => self.ready.push_back(attempt),
            Phase::Stopping => self.settle(attempt, Verdict::Skipped),
        }
    }

    /// Those who have rested go on.
    fn wake(&mut self, now: Time) {
        while let Some(entry) = self.resting.first_entry().filter(|entry| entry.key().0 <= now) {
            let attempt = entry.remove();
            let row = if attempt.suspect { &mut self.suspects } else { &mut self.ready };
            row.push_back(attempt);
        }
    }

    /// Gives tasks to workers.
    fn begin(&mut self, now: Time) {
        self.short_until = self.short_until.filter(|until| *until > now);
        let may_begin = self.phase == Phase::Running && !self.throttled && self.short_until.is_none();
        while may_begin && self.next_start <= now {
            let Some((slot, attempt)) = self.next_pair() else { return };
            self.next_start = now.after(self.policy.delay);
            let Some(place) = self.slots.get_mut(&slot) else { return };
            let Attempt { task, count, number, .. } = attempt;
            place.alone = attempt.suspect;
            place.leases.push_back(Lease { attempt, since: now, ending: None });
            place.tasks += count as usize;
            self.leased += count as usize;
            self.actions.push_back(Action::Lease { slot, task, count, attempt: number });
        }
    }

    /// Tasks, and the slot that gets them. Suspects go first, to workers that have nothing else; if there is none, one of them
    /// gets nothing more until it is such a worker.
    fn next_pair(&mut self) -> Option<(SlotId, Attempt)> {
        let empty = |slot: &Slot| slot.leases.is_empty() && !slot.leaves;
        if !self.suspects.is_empty()
            && let Some(slot) = self.slots.iter().find(|(_, slot)| empty(slot)).map(|(id, _)| *id)
        {
            return self.suspects.pop_front().map(|attempt| (slot, attempt));
        }
        let (window, batch) = (self.window(), self.wanted());
        let count = batch.min(self.ready.front()?.count);
        let spared = self.slot_for_suspects();
        let rooms = self.slots.iter().filter(|(id, _)| Some(**id) != spared);
        let mut rooms = rooms.filter(|(_, slot)| slot.has_room(count as usize, window));
        let slot = match window {
            1 => rooms.next(),
            // Nobody shall wait behind others while a worker has less to do.
            _ => rooms.min_by_key(|(_, slot)| slot.tasks),
        };
        let slot = *slot?.0;
        let (attempt, rest) = self.ready.pop_front()?.split(count);
        if let Some(rest) = rest {
            self.ready.push_front(rest);
        }
        Some((slot, attempt))
    }

    /// Which slot comes to its end of what it has for those who wait to be alone, if none does so already.
    fn slot_for_suspects(&self) -> Option<SlotId> {
        let serves = |slot: &Slot| slot.alone && !slot.leases.is_empty();
        if self.suspects.is_empty() || self.slots.values().any(serves) {
            return None;
        }
        self.slots.iter().min_by_key(|(_, slot)| slot.tasks).map(|(id, _)| *id)
    }

    /// Takes a lease back, if the slot has it: so many tasks from this one on.
    fn take_back(&mut self, now: Time, slot: SlotId, task: TaskId, count: u32) -> Option<Lease> {
        let lease = self.slots.get_mut(&slot)?.take(now, task, count)?;
        self.leased -= lease.attempt.count as usize;
        Some(lease)
    }

    fn ended(&mut self, now: Time, slot: SlotId, task: TaskId, failure: Option<Failure>) {
        if let Some(lease) = self.take_back(now, slot, task, 1) {
            self.conclude(now, lease, failure, false);
        }
    }

    /// They may be of several leases.
    fn done(&mut self, now: Time, slot: SlotId, first: TaskId, count: u32) {
        let (mut task, mut left) = (first, count);
        while left > 0
            && let Some(lease) = self.take_back(now, slot, task, left)
        {
            let taken = lease.attempt.count;
            self.conclude(now, lease, None, false);
            (task, left) = (TaskId(task.0 + u64::from(taken)), left - taken);
        }
    }

    fn refused(&mut self, now: Time, slot: SlotId, task: TaskId) {
        let had = self.leased;
        self.returned(now, slot, task);
        if self.leased == had || self.phase == Phase::Stopping {
            return;
        }
        match self.slots.len() {
            1 => self.short_until = Some(now.after(SHORTAGE)),
            _ => drop(self.slots.remove(&slot)),
        }
    }

    fn returned(&mut self, now: Time, slot: SlotId, task: TaskId) {
        let Some(Lease { attempt, .. }) = self.take_back(now, slot, task, u32::MAX) else { return };
        if self.phase == Phase::Stopping {
            return self.settle(attempt, Verdict::Skipped);
        }
        // In front: so no other task is taken in for it meanwhile.
        let row = if attempt.suspect { &mut self.suspects } else { &mut self.ready };
        row.push_front(attempt);
    }

    /// Who is gone cannot be given what it has not been given yet.
    fn withdraw(&mut self, now: Time, slot: SlotId) {
        let is_its = |action: &Action| matches!(action, Action::Lease { slot: whose, .. } if *whose == slot);
        if !self.actions.iter().any(is_its) {
            return;
        }
        let (its, rest): (Vec<Action>, Vec<Action>) = self.actions.drain(..).partition(is_its);
        self.actions.extend(rest);
        for action in its.into_iter().rev() {
            if let Action::Lease { task, .. } = action {
                self.returned(now, slot, task);
            }
        }
    }

    fn died(&mut self, now: Time, slot: SlotId, failure: Failure) {
        self.withdraw(now, slot);
        let Some(place) = self.slots.remove(&slot) else { return };
        self.leased -= place.tasks;
        let alone = place.tasks == 1;
        for lease in place.leases {
            let stops = lease.ending.is_some_and(|ending| ending.why == Why::Stop);
            match alone || stops {
                true => self.conclude(now, lease, Some(failure), true),
                // It was one of these, or took too long: from now on each is tried alone.
                false => self.suspect(now, lease.attempt),
            }
        }
    }

    fn suspect(&mut self, now: Time, attempts: Attempt) {
        let mut rest = Some(attempts);
        while let Some(several) = rest {
            let (one, behind) = several.split(1);
            self.again(now, Attempt { suspect: true, excused: one.excused + 1, ..one }, Duration::ZERO);
            rest = behind;
        }
    }

    /// An attempt is over: what comes now? `died`: its worker died with it, in whatever way.
    fn conclude(&mut self, now: Time, lease: Lease, failure: Option<Failure>, died: bool) {
        let mut attempt = lease.attempt;
        let failure = match (lease.ending.map(|ending| ending.why), failure) {
            (_, None) => {
                if self.policy.needs_times() {
                    self.times.add(now.since(lease.since));
                }
                return self.settle(attempt, Verdict::Done);
            }
            (Some(Why::Stop), Some(_)) => return self.settle(attempt, Verdict::Cancelled),
            (Some(Why::Timeout), Some(_)) => Failure::TimedOut,
            (None, Some(failure)) => failure,
        };
        let died = died && lease.ending.is_none();
        let deadly = (died || failure.is_death()) && self.policy.deaths > 0;
        attempt.deaths += u32::from(deadly);
        attempt.suspect |= deadly;
        if deadly && attempt.deaths >= self.policy.deaths {
            return self.settle(attempt, Verdict::Quarantined(failure));
        }
        let granted = self.policy.retry_on.has(failure)
            && (deadly || attempt.number - attempt.excused <= self.policy.retries);
        if !granted || self.phase == Phase::Stopping {
            return self.settle(attempt, Verdict::Failed(failure));
        }
        let pause = self.policy.pause.after(attempt.number, &mut self.random);
        let Attempt { task, number, .. } = attempt;
        self.actions.push_back(Action::Retry { task, attempt: number, failure, pause });
        self.again(now, attempt, pause);
    }

    fn again(&mut self, now: Time, attempt: Attempt, pause: Duration) {
        if self.phase == Phase::Stopping {
            return self.settle(attempt, Verdict::Cancelled);
        }
        self.counts.retried += 1;
        let next = Attempt { number: attempt.number + 1, ..attempt };
        self.resting.insert((now.after(pause), attempt.task), next);
    }

    fn settle(&mut self, attempt: Attempt, verdict: Verdict) {
        let begun = !matches!(verdict, Verdict::Skipped);
        let attempts = if begun { attempt.number } else { attempt.number - 1 };
        let Attempt { task, count, .. } = attempt;
        let counted = u64::from(count);
        match verdict {
            Verdict::Done => self.counts.done += counted,
            Verdict::Failed(_) => self.counts.failed += counted,
            Verdict::Quarantined(_) => {
                self.counts.failed += counted;
                self.counts.quarantined += counted;
            }
            Verdict::Cancelled | Verdict::Skipped => self.counts.dropped += counted,
        }
        self.limits.remove(&task);
        self.actions.push_back(Action::Settled { task, count, verdict, attempts });
    }

    /// Asks those to end who have been at it for too long, and kills those who did not hear.
    fn watch_time(&mut self, now: Time) {
        if let Some(halt) = self.policy.halt.filter(|halt| halt.reached(&self.counts))
            && self.phase == Phase::Running
        {
            self.actions.push_back(Action::Halted);
            self.stop(now, halt.now);
        }
        let (limit, grace) = (self.limit(), self.policy.grace);
        if limit.is_none() && self.limits.is_empty() && !self.asked {
            return;
        }
        let late: Vec<SlotId> = self.late(now, limit).collect();
        for slot in late {
            let first = self.slots.get_mut(&slot).and_then(|place| place.leases.front_mut());
            let Some(lease) = first else { continue };
            lease.ending = Some(Ending { why: Why::Timeout, patience: Some(now.after(grace)) });
            self.actions.push_back(Action::Interrupt { slot, task: lease.attempt.task });
            self.asked = true;
        }
        for (&slot, place) in &mut self.slots {
            for lease in &mut place.leases {
                let task = lease.attempt.task;
                match lease.ending {
                    Some(Ending { why, patience: Some(until) }) if until <= now => {
                        lease.ending = Some(Ending { why, patience: None });
                        self.actions.push_back(Action::Kill { slot, task });
                    }
                    None | Some(_) => {}
                }
            }
        }
    }

    /// The slots whose worker is at its task for too long.
    fn late(&self, now: Time, limit: Option<Duration>) -> impl Iterator<Item = SlotId> {
        let is_late = move |lease: &Lease| {
            let until = self.limit_of(lease, limit).map(|limit| lease.since.after(limit));
            lease.ending.is_none() && until.is_some_and(|until| until <= now)
        };
        let late = self.slots.iter().filter(move |(_, slot)| slot.leases.front().is_some_and(is_late));
        late.map(|(id, _)| *id)
    }

    fn stop(&mut self, now: Time, at_once: bool) {
        self.phase = Phase::Stopping;
        let waiting = core::mem::take(&mut self.ready).into_iter();
        let waiting = waiting.chain(core::mem::take(&mut self.suspects));
        let resting = core::mem::take(&mut self.resting).into_values();
        for attempt in waiting.chain(resting).collect::<Vec<_>>() {
            self.settle(attempt, Verdict::Skipped);
        }
        if !at_once {
            return;
        }
        let patience = Some(now.after(self.policy.grace));
        self.asked = true;
        for (&slot, place) in &mut self.slots {
            for lease in place.leases.iter_mut().filter(|lease| lease.ending.is_none()) {
                lease.ending = Some(Ending { why: Why::Stop, patience });
                self.actions.push_back(Action::Interrupt { slot, task: lease.attempt.task });
            }
        }
    }
}
