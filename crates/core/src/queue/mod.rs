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
//! When a worker dies that has several tasks, nobody knows which of them it was: they are tried again one by one, each alone
//! with its worker ([`Policy::deaths`]).

pub mod far;
mod hiring;
mod median;
mod policy;

#[cfg(test)]
mod tests;

pub use hiring::Hiring;
pub use policy::{Counts, Halt, HaltLimit, HaltOn, Pause, Policy, RetryOn, Timeout};

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
    /// Give this task to the worker of this slot.
    Lease {
        /// Which slot.
        slot: SlotId,
        /// Which task.
        task: TaskId,
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
    /// A task came to its end. Once for each task that was submitted.
    Settled {
        /// Which.
        task: TaskId,
        /// What became of it.
        verdict: Verdict,
        /// How many attempts it took.
        attempts: u32,
    },
    /// The queue was given up by its own rule ([`Policy::halt`]). To be told.
    Halted,
}

/// One attempt at a task, made or to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Attempt {
    task: TaskId,
    number: u32,
    /// So many workers died while it was the only one they had.
    deaths: u32,
    /// A worker died that had it: it is tried alone.
    suspect: bool,
}

#[derive(Clone, Copy, Debug)]
struct Lease {
    attempt: Attempt,
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
    leases: Vec<Lease>,
    /// Its worker is alone with its task.
    alone: bool,
    /// Its worker gets no more.
    leaves: bool,
}

impl Slot {
    fn has_room(&self, window: usize) -> bool {
        !self.alone && !self.leaves && self.leases.len() < window
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
/// assert_eq!(queue.poll_action(), Some(Action::Lease { slot: 1, task, attempt: 1 }));
/// queue.handle(now, Event::Ended { slot: 1, task, failure: None });
/// assert_eq!(queue.poll_action(), Some(Action::Settled { task, verdict: Verdict::Done, attempts: 1 }));
/// ```
#[derive(Clone, Debug)]
pub struct Queue {
    policy: Policy,
    random: Random,
    /// Those whose worker is ready.
    slots: BTreeMap<SlotId, Slot>,
    ready: VecDeque<Attempt>,
    /// To be tried alone.
    suspects: VecDeque<Attempt>,
    /// To be tried again later.
    resting: BTreeMap<(Time, TaskId), Attempt>,
    /// So many leases there are.
    leased: usize,
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
            Event::Submit(task) => self.submit(Attempt { task, number: 1, deaths: 0, suspect: false }),
            Event::Again { task, attempt, deaths } => {
                self.submit(Attempt { task, number: attempt, deaths, suspect: deaths > 0 });
            }
            Event::Limit { task, time } => drop(self.limits.insert(task, time)),
            Event::Close => self.closed = true,
            Event::Open(slot) => drop(self.slots.entry(slot).or_default()),
            Event::Ended { slot, task, failure } => self.ended(now, slot, task, failure),
            Event::Refused { slot, task } => self.refused(now, slot, task),
            Event::Returned { slot, task } => self.returned(slot, task),
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
        let room = || another || self.slots.values().any(|slot| slot.has_room(self.window()));
        self.phase == Phase::Running && !self.closed && self.ready.is_empty() && room()
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

    /// So many tasks are being worked at.
    pub fn in_work(&self) -> usize {
        self.leased
    }

    /// The median time of the attempts that succeeded.
    pub fn median(&self) -> Option<Duration> {
        self.times.get()
    }

    /// When a [`Event::Tick`] is due at the latest.
    pub fn deadline(&self) -> Option<Time> {
        let resting = self.resting.keys().next().map(|(time, _)| *time);
        let some_wait = !self.ready.is_empty() || !self.suspects.is_empty();
        let waits = some_wait && !self.throttled;
        let start = Some(self.next_start).filter(|_| waits && !self.policy.delay.is_zero());
        let limit = self.limit();
        let ends = self.leases().filter_map(|lease| match lease.ending {
            Some(ending) => ending.patience,
            None => Some(lease.since.after(self.limits.get(&lease.attempt.task).copied().or(limit)?)),
        });
        ends.chain(resting).chain(start).chain(self.short_until).min()
    }

    fn window(&self) -> usize {
        self.policy.window.max(1) as usize
    }

    fn leases(&self) -> impl Iterator<Item = &Lease> {
        self.slots.values().flat_map(|slot| &slot.leases)
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
            place.alone = attempt.suspect;
            place.leases.push(Lease { attempt, since: now, ending: None });
            self.leased += 1;
            let Attempt { task, number, .. } = attempt;
            self.actions.push_back(Action::Lease { slot, task, attempt: number });
        }
    }

    /// A task, and the lowest slot that has room for it. Suspects go first, to workers that have nothing else.
    fn next_pair(&mut self) -> Option<(SlotId, Attempt)> {
        let window = self.window();
        let found = |has_room: &dyn Fn(&Slot) -> bool, row: &mut VecDeque<Attempt>| {
            row.front()?;
            let slot = self.slots.iter().find(|(_, slot)| has_room(slot)).map(|(id, _)| *id)?;
            row.pop_front().map(|attempt| (slot, attempt))
        };
        let alone = found(&|slot| slot.leases.is_empty() && !slot.leaves, &mut self.suspects);
        alone.or_else(|| found(&|slot| slot.has_room(window), &mut self.ready))
    }

    /// Takes a lease back, if the slot has it.
    fn take_back(&mut self, slot: SlotId, task: TaskId) -> Option<Lease> {
        let place = self.slots.get_mut(&slot)?;
        let at = place.leases.iter().position(|lease| lease.attempt.task == task)?;
        place.alone = false;
        self.leased -= 1;
        Some(place.leases.swap_remove(at))
    }

    fn ended(&mut self, now: Time, slot: SlotId, task: TaskId, failure: Option<Failure>) {
        if let Some(lease) = self.take_back(slot, task) {
            self.conclude(now, lease, failure, false);
        }
    }

    fn refused(&mut self, now: Time, slot: SlotId, task: TaskId) {
        let had = self.leased;
        self.returned(slot, task);
        if self.leased == had || self.phase == Phase::Stopping {
            return;
        }
        match self.slots.len() {
            1 => self.short_until = Some(now.after(SHORTAGE)),
            _ => drop(self.slots.remove(&slot)),
        }
    }

    fn returned(&mut self, slot: SlotId, task: TaskId) {
        let Some(Lease { attempt, .. }) = self.take_back(slot, task) else { return };
        if self.phase == Phase::Stopping {
            return self.settle(attempt, Verdict::Skipped);
        }
        // In front: so no other task is taken in for it meanwhile.
        let row = if attempt.suspect { &mut self.suspects } else { &mut self.ready };
        row.push_front(attempt);
    }

    fn died(&mut self, now: Time, slot: SlotId, failure: Failure) {
        let Some(place) = self.slots.remove(&slot) else { return };
        self.leased -= place.leases.len();
        // Whom we ended did not die of a task.
        let ours = place.leases.iter().any(|lease| lease.ending.is_some());
        let alone = place.leases.len() == 1;
        for lease in place.leases {
            if alone || lease.ending.is_some() {
                self.conclude(now, lease, Some(failure), true);
            } else {
                // One of these may have done it: from now on each is tried alone.
                let suspect = lease.attempt.suspect || !ours;
                self.again(now, Attempt { suspect, ..lease.attempt }, Duration::ZERO);
            }
        }
    }

    /// An attempt is over: what comes now? `died`: its worker died with it, in whatever way.
    fn conclude(&mut self, now: Time, lease: Lease, failure: Option<Failure>, died: bool) {
        let mut attempt = lease.attempt;
        let failure = match (lease.ending.map(|ending| ending.why), failure) {
            (_, None) => {
                self.times.add(now.since(lease.since));
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
        let granted = self.policy.retry_on.has(failure) && (deadly || attempt.number <= self.policy.retries);
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
        match verdict {
            Verdict::Done => self.counts.done += 1,
            Verdict::Failed(_) => self.counts.failed += 1,
            Verdict::Quarantined(_) => {
                self.counts.failed += 1;
                self.counts.quarantined += 1;
            }
            Verdict::Cancelled | Verdict::Skipped => self.counts.dropped += 1,
        }
        self.limits.remove(&attempt.task);
        self.actions.push_back(Action::Settled { task: attempt.task, verdict, attempts });
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
        for (&slot, place) in &mut self.slots {
            for lease in &mut place.leases {
                let task = lease.attempt.task;
                let limit = self.limits.get(&task).copied().or(limit);
                match lease.ending {
                    None if limit.is_some_and(|limit| lease.since.after(limit) <= now) => {
                        lease.ending = Some(Ending { why: Why::Timeout, patience: Some(now.after(grace)) });
                        self.actions.push_back(Action::Interrupt { slot, task });
                    }
                    Some(Ending { why, patience: Some(until) }) if until <= now => {
                        lease.ending = Some(Ending { why, patience: None });
                        self.actions.push_back(Action::Kill { slot, task });
                    }
                    None | Some(_) => {}
                }
            }
        }
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
        for (&slot, place) in &mut self.slots {
            for lease in place.leases.iter_mut().filter(|lease| lease.ending.is_none()) {
                lease.ending = Some(Ending { why: Why::Stop, patience });
                self.actions.push_back(Action::Interrupt { slot, task: lease.attempt.task });
            }
        }
    }
}
