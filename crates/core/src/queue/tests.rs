//! The lease engine through single histories, and through every order of events that chance makes.

use super::*;
use alloc::collections::BTreeSet;
use doula_model::signal::Signal;
use proptest::prelude::*;

const SECOND: Duration = Duration::from_secs(1);

fn at(seconds: u64) -> Time {
    Time::ZERO.after(SECOND * seconds as u32)
}

/// A queue with this many slots and tasks.
fn queue(policy: Policy, slots: u32, tasks: u64) -> Queue {
    let mut queue = Queue::new(policy, 1);
    (1..=slots).for_each(|slot| queue.handle(at(0), Event::Open(slot)));
    (1..=tasks).for_each(|task| queue.handle(at(0), Event::Submit(TaskId(task))));
    queue.handle(at(0), Event::Close);
    queue
}

/// The same, where most tasks come together.
fn queue_of_many(policy: Policy, slots: u32, tasks: u64) -> Queue {
    let mut queue = Queue::new(policy, 1);
    (1..=slots).for_each(|slot| queue.handle(at(0), Event::Open(slot)));
    queue.handle(at(0), Event::SubmitMany { first: TaskId(1), count: tasks.saturating_sub(3) as u32 });
    (tasks.saturating_sub(3) + 1..=tasks).for_each(|task| queue.handle(at(0), Event::Submit(TaskId(task))));
    queue.handle(at(0), Event::Close);
    queue
}

fn actions(queue: &mut Queue) -> Vec<Action> {
    core::iter::from_fn(|| queue.poll_action()).collect()
}

fn leases(queue: &mut Queue) -> Vec<(SlotId, u64, u32)> {
    let found = actions(queue).into_iter().filter_map(|action| match action {
        Action::Lease { slot, task, attempt, .. } => Some((slot, task.0, attempt)),
        Action::Interrupt { .. }
        | Action::Kill { .. }
        | Action::Retry { .. }
        | Action::Settled { .. }
        | Action::Halted => None,
    });
    found.collect()
}

fn verdicts(actions: &[Action]) -> Vec<(u64, Verdict, u32)> {
    let found = actions.iter().filter_map(|action| match *action {
        Action::Settled { task, verdict, attempts, .. } => Some((task.0, verdict, attempts)),
        Action::Lease { .. }
        | Action::Interrupt { .. }
        | Action::Kill { .. }
        | Action::Retry { .. }
        | Action::Halted => None,
    });
    found.collect()
}

fn end(slot: SlotId, task: u64, failure: Option<Failure>) -> Event {
    Event::Ended { slot, task: TaskId(task), failure }
}

#[test]
fn tasks_go_in_order_to_the_lowest_slots_that_have_room() {
    let mut queue = queue(Policy::PLAIN, 2, 4);
    assert_eq!(leases(&mut queue), [(1, 1, 1), (2, 2, 1)]);
    queue.handle(at(1), end(2, 2, None));
    assert_eq!(leases(&mut queue), [(2, 3, 1)]);
    queue.handle(at(2), end(1, 1, None));
    assert_eq!(leases(&mut queue), [(1, 4, 1)]);
    queue.handle(at(3), end(1, 4, None));
    assert!(!queue.is_over());
    queue.handle(at(3), end(2, 3, None));
    actions(&mut queue);
    assert!(queue.is_over());
    assert_eq!(queue.counts().done, 4);
}

#[test]
fn an_end_of_a_task_that_the_slot_does_not_have_changes_nothing() {
    let mut queue = queue(Policy::PLAIN, 2, 2);
    actions(&mut queue);
    queue.handle(at(1), end(1, 2, None));
    queue.handle(at(1), end(3, 1, None));
    assert_eq!(actions(&mut queue), []);
    assert_eq!(queue.in_work(), 2);
}

#[test]
fn failures_are_tried_again_by_kind_with_growing_pauses_and_at_last_given_up() {
    let pause = Pause { first: SECOND, most: SECOND * 3 };
    let retry_on = RetryOn::NONE.code(75);
    let mut queue = queue(Policy { retries: 3, retry_on, pause, ..Policy::PLAIN }, 2, 2);
    actions(&mut queue);
    queue.handle(at(1), end(2, 2, Some(Failure::Code(1))));
    assert_eq!(verdicts(&actions(&mut queue)), [(2, Verdict::Failed(Failure::Code(1)), 1)]);
    let (mut now, mut slot) = (at(1), 1);
    for (attempt, bound) in [(1, 1), (2, 2), (3, 3)] {
        queue.handle(now, end(slot, 1, Some(Failure::Code(75))));
        let [Action::Retry { attempt: told, pause, .. }] = actions(&mut queue)[..] else {
            panic!("no retry")
        };
        assert_eq!(told, attempt);
        assert!(pause <= SECOND * bound);
        now = queue.deadline().expect("it rests until then");
        queue.handle(now, Event::Tick);
        slot = leases(&mut queue)[0].0;
    }
    queue.handle(now, end(slot, 1, Some(Failure::Code(75))));
    assert_eq!(verdicts(&actions(&mut queue)), [(1, Verdict::Failed(Failure::Code(75)), 4)]);
    assert!(queue.is_over());
}

#[test]
fn who_takes_too_long_is_asked_to_end_and_then_killed_and_has_failed_so() {
    let timeout = Some(Timeout::After(SECOND * 5));
    let mut queue = queue(Policy { timeout, grace: SECOND * 2, ..Policy::PLAIN }, 1, 1);
    actions(&mut queue);
    assert_eq!(queue.deadline(), Some(at(5)));
    queue.handle(at(5), Event::Tick);
    assert_eq!(actions(&mut queue), [Action::Interrupt { slot: 1, task: TaskId(1) }]);
    assert_eq!(queue.deadline(), Some(at(7)));
    queue.handle(at(7), Event::Tick);
    assert_eq!(actions(&mut queue), [Action::Kill { slot: 1, task: TaskId(1) }]);
    assert_eq!(queue.deadline(), None);
    queue.handle(at(8), end(1, 1, Some(Failure::Signal(Signal::KILL))));
    assert_eq!(verdicts(&actions(&mut queue)), [(1, Verdict::Failed(Failure::TimedOut), 1)]);
}

#[test]
fn a_task_may_have_a_limit_of_its_own() {
    let mut queue = queue(Policy::PLAIN, 2, 0);
    queue.handle(at(0), Event::Limit { task: TaskId(1), time: SECOND * 3 });
    (1..=2).for_each(|task| queue.handle(at(0), Event::Submit(TaskId(task))));
    actions(&mut queue);
    assert_eq!(queue.deadline(), Some(at(3)));
    queue.handle(at(3), Event::Tick);
    assert_eq!(actions(&mut queue), [Action::Interrupt { slot: 1, task: TaskId(1) }]);
}

#[test]
fn a_limit_by_the_median_counts_only_from_three_successes_on() {
    let timeout = Some(Timeout::OfMedian(200));
    let mut queue = queue(Policy { timeout, ..Policy::PLAIN }, 4, 4);
    actions(&mut queue);
    for (slot, seconds) in [(1, 2), (2, 4), (3, 9)] {
        assert_eq!(queue.deadline(), None);
        queue.handle(at(seconds), end(slot, u64::from(slot), None));
    }
    // Twice the median of 2, 4 and 9 is over already.
    assert_eq!(actions(&mut queue).last(), Some(&Action::Interrupt { slot: 4, task: TaskId(4) }));
}

#[test]
fn a_task_that_kills_two_workers_is_put_into_quarantine_and_its_companions_are_not_blamed() {
    let policy = Policy { window: 3, deaths: 2, ..Policy::PLAIN };
    let mut queue = queue(policy, 1, 3);
    assert_eq!(leases(&mut queue).len(), 3);
    queue.handle(at(1), Event::Died { slot: 1, failure: Failure::Lost });
    // Each is tried alone now; the second is poisonous.
    let (mut settled, mut now) = (Vec::new(), 2);
    while !queue.is_over() {
        queue.handle(at(now), Event::Open(1));
        let happened = actions(&mut queue);
        settled.extend(verdicts(&happened));
        let Some(Action::Lease { task: TaskId(task), .. }) = happened.last().copied() else { continue };
        queue.handle(
            at(now),
            match task {
                2 => Event::Died { slot: 1, failure: Failure::Signal(Signal::SEGV) },
                _ => end(1, task, None),
            },
        );
        now += 1;
    }
    settled.sort_by_key(|(task, ..)| *task);
    let poison = Verdict::Quarantined(Failure::Signal(Signal::SEGV));
    assert_eq!(settled, [(1, Verdict::Done, 2), (2, poison, 3), (3, Verdict::Done, 2)]);
}

#[test]
fn a_worker_gets_several_at_once_and_who_has_least_gets_the_next() {
    let policy = Policy { window: 4, batch: 2, ..Policy::PLAIN };
    let mut queue = Queue::new(policy, 1);
    assert_eq!(queue.wanted(), 2);
    (1..=2).for_each(|slot| queue.handle(at(0), Event::Open(slot)));
    queue.handle(at(0), Event::SubmitMany { first: TaskId(1), count: 7 });
    let lease = |(slot, task, count)| Action::Lease { slot, task: TaskId(task), count, attempt: 1 };
    assert_eq!(actions(&mut queue), [(1, 1, 2), (2, 3, 2), (1, 5, 2), (2, 7, 1)].map(lease));
    assert!(!queue.wants_more());
    // Any of them may end by itself, and several of several leases together.
    queue.handle(at(1), end(1, 2, Some(Failure::Answered)));
    queue.handle(at(1), end(1, 1, None));
    queue.handle(at(1), Event::Done { slot: 1, first: TaskId(5), count: 2 });
    let failed = Verdict::Failed(Failure::Answered);
    assert_eq!(
        verdicts(&actions(&mut queue)),
        [(2, failed, 1), (1, Verdict::Done, 1), (5, Verdict::Done, 1)]
    );
    assert_eq!((queue.counts().done, queue.in_work()), (3, 3));
    assert!(queue.wants_more());
}

#[test]
fn the_time_of_a_task_begins_when_the_one_before_it_is_done() {
    let policy = Policy { window: 3, timeout: Some(Timeout::After(SECOND * 5)), ..Policy::PLAIN };
    let mut queue = queue(policy, 1, 3);
    actions(&mut queue);
    assert_eq!(queue.deadline(), Some(at(5)));
    queue.handle(at(4), end(1, 1, None));
    assert_eq!(queue.deadline(), Some(at(9)));
    queue.handle(at(9), Event::Tick);
    assert!(actions(&mut queue).contains(&Action::Interrupt { slot: 1, task: TaskId(2) }));
    // Its answer may have been on its way, and the other one take too long: each is tried alone.
    queue.handle(at(9), Event::Died { slot: 1, failure: Failure::Lost });
    assert_eq!(actions(&mut queue), []);
    queue.handle(at(9), Event::Open(1));
    assert_eq!(leases(&mut queue), [(1, 2, 2)]);
    queue.handle(at(10), end(1, 2, None));
    assert_eq!(verdicts(&actions(&mut queue)), [(2, Verdict::Done, 2)]);
    queue.handle(at(15), Event::Tick);
    queue.handle(at(15), Event::Died { slot: 1, failure: Failure::Lost });
    let failed = Verdict::Failed(Failure::TimedOut);
    assert_eq!(verdicts(&actions(&mut queue)).last(), Some(&(3, failed, 2)));
}

#[test]
fn of_a_batch_that_took_too_long_or_killed_its_worker_each_is_tried_alone() {
    for late in [false, true] {
        let timeout = Some(Timeout::After(SECOND));
        let mut queue = Queue::new(Policy { window: 9, batch: 3, timeout, ..Policy::PLAIN }, 1);
        queue.handle(at(0), Event::Open(1));
        queue.handle(at(0), Event::SubmitMany { first: TaskId(1), count: 3 });
        assert_eq!(queue.deadline(), Some(at(3)), "time for each");
        if late {
            queue.handle(at(3), Event::Tick);
        }
        actions(&mut queue);
        queue.handle(at(3), Event::Died { slot: 1, failure: Failure::Lost });
        for task in 1..=3 {
            queue.handle(at(3), Event::Open(1));
            assert_eq!(leases(&mut queue), [(1, task, 2)], "alone");
            queue.handle(at(3), end(1, task, None));
        }
        assert_eq!(queue.counts().done, 3);
    }
}

#[test]
fn suspects_come_to_their_turn_also_while_there_is_always_more_to_do_and_lose_no_attempt_by_others() {
    let mut queue = Queue::new(Policy { window: 2, retries: 1, deaths: 2, ..Policy::PLAIN }, 1);
    (1..=2).for_each(|slot| queue.handle(at(0), Event::Open(slot)));
    (1..=8).for_each(|task| queue.handle(at(0), Event::Submit(TaskId(task))));
    assert_eq!(leases(&mut queue), [(1, 1, 1), (2, 2, 1), (1, 3, 1), (2, 4, 1)]);
    // Its slot stays closed, and the other one is never empty by itself.
    queue.handle(at(1), Event::Died { slot: 1, failure: Failure::Lost });
    queue.handle(at(1), end(2, 2, None));
    assert_eq!(leases(&mut queue), []);
    queue.handle(at(1), end(2, 4, None));
    assert_eq!(leases(&mut queue), [(2, 1, 2)]);
    // A failure of its own is the first one.
    queue.handle(at(2), end(2, 1, Some(Failure::Answered)));
    assert_eq!(leases(&mut queue), [(2, 3, 2)]);
    queue.handle(at(2), end(2, 3, None));
    assert_eq!(leases(&mut queue), [(2, 1, 3)]);
    queue.handle(at(2), end(2, 1, Some(Failure::Answered)));
    assert_eq!(verdicts(&actions(&mut queue)), [(1, Verdict::Failed(Failure::Answered), 3)]);
}

#[test]
fn a_task_that_was_in_work_before_goes_on_with_its_attempts_and_deaths() {
    let mut queue = queue(Policy { retries: 2, deaths: 2, ..Policy::PLAIN }, 1, 0);
    queue.handle(at(0), Event::Again { task: TaskId(7), attempt: 3, deaths: 0 });
    assert_eq!(leases(&mut queue), [(1, 7, 3)]);
    queue.handle(at(1), end(1, 7, Some(Failure::Code(1))));
    let failed = Verdict::Failed(Failure::Code(1));
    assert_eq!(verdicts(&actions(&mut queue)), [(7, failed, 3)], "the third attempt was the last");
    let mut queue = Queue::new(Policy { retries: 9, deaths: 2, ..Policy::PLAIN }, 1);
    queue.handle(at(0), Event::Open(1));
    queue.handle(at(0), Event::Again { task: TaskId(7), attempt: 2, deaths: 1 });
    assert_eq!(leases(&mut queue), [(1, 7, 2)]);
    let killed = Failure::Signal(Signal::SEGV);
    queue.handle(at(1), end(1, 7, Some(killed)));
    assert_eq!(verdicts(&actions(&mut queue)), [(7, Verdict::Quarantined(killed), 2)]);
}

#[test]
fn a_queue_that_halts_begins_nothing_more_and_ends_what_runs_only_when_told() {
    for now in [false, true] {
        let halt = Some(Halt { on: HaltOn::Fail, limit: HaltLimit::Count(1), now });
        let mut queue = queue(Policy { halt, ..Policy::PLAIN }, 2, 4);
        actions(&mut queue);
        queue.handle(at(1), end(1, 1, Some(Failure::Code(1))));
        let said = actions(&mut queue);
        assert!(said.contains(&Action::Halted));
        assert_eq!(said.contains(&Action::Interrupt { slot: 2, task: TaskId(2) }), now);
        let skipped =
            |(_, verdict, attempts): &(u64, Verdict, u32)| (*verdict, *attempts) == (Verdict::Skipped, 0);
        assert_eq!(verdicts(&said).iter().filter(|settled| skipped(settled)).count(), 2);
        let failure = now.then_some(Failure::Signal(Signal::TERM));
        queue.handle(at(2), end(2, 2, failure));
        let last = if now { Verdict::Cancelled } else { Verdict::Done };
        assert_eq!(verdicts(&actions(&mut queue)), [(2, last, 1)]);
        assert!(queue.is_over());
    }
}

#[test]
fn a_share_of_failures_halts_only_when_enough_came_to_their_end() {
    let halt = Some(Halt { on: HaltOn::Fail, limit: HaltLimit::Percent(50), now: false });
    let mut queue = queue(Policy { halt, ..Policy::PLAIN }, 1, 9);
    for (task, failure) in [(1, Some(Failure::Code(1))), (2, None)] {
        queue.handle(at(task), end(1, task, failure));
    }
    assert!(!actions(&mut queue).contains(&Action::Halted));
    queue.handle(at(3), end(1, 3, Some(Failure::Code(1))));
    assert!(actions(&mut queue).contains(&Action::Halted));
}

#[test]
fn beginnings_keep_their_distance_and_wait_while_the_machine_is_short() {
    let mut queue = queue(Policy { delay: SECOND, ..Policy::PLAIN }, 3, 3);
    assert_eq!(leases(&mut queue).len(), 1);
    assert_eq!(queue.deadline(), Some(at(1)));
    queue.handle(at(1), Event::Throttle(true));
    assert_eq!(leases(&mut queue), []);
    assert_eq!(queue.deadline(), None);
    queue.handle(at(5), Event::Throttle(false));
    assert_eq!(leases(&mut queue).len(), 1);
}

#[test]
fn who_finds_no_room_waits_for_its_turn_and_the_last_slot_tries_again() {
    let mut queue = queue(Policy::PLAIN, 2, 2);
    actions(&mut queue);
    queue.handle(at(1), Event::Refused { slot: 2, task: TaskId(2) });
    assert_eq!(actions(&mut queue), []);
    queue.handle(at(2), end(1, 1, None));
    assert_eq!(leases(&mut queue), [(1, 2, 1)]);
    queue.handle(at(3), Event::Refused { slot: 1, task: TaskId(2) });
    assert_eq!(queue.deadline(), Some(at(3).after(SHORTAGE)));
    assert!(queue.is_open(1) && !queue.is_open(2));
    // No other task is taken in to be refused too: whoever did that would never sleep again.
    assert!(!queue.wants_more());
    queue.handle(at(3), Event::Submit(TaskId(3)));
    assert_eq!(leases(&mut queue), []);
    queue.handle(at(4), Event::Tick);
    assert_eq!(leases(&mut queue), [(1, 2, 1)]);
}

#[test]
fn a_task_that_its_worker_never_took_goes_to_another_and_is_not_blamed() {
    let mut queue = queue(Policy { deaths: 1, ..Policy::PLAIN }, 2, 3);
    actions(&mut queue);
    queue.handle(at(1), Event::Leaves(1));
    queue.handle(at(1), Event::Returned { slot: 1, task: TaskId(1) });
    queue.handle(at(1), Event::Died { slot: 1, failure: Failure::Lost });
    assert_eq!(actions(&mut queue), []);
    queue.handle(at(2), end(2, 2, None));
    assert_eq!(leases(&mut queue), [(2, 1, 1)]);
    queue.handle(at(3), Event::Leaves(2));
    queue.handle(at(3), end(2, 1, None));
    // Who leaves gets no more.
    assert_eq!(leases(&mut queue), []);
    assert!(queue.is_starved());
    queue.handle(at(4), Event::Died { slot: 2, failure: Failure::Lost });
    queue.handle(at(4), Event::Open(2));
    assert_eq!(leases(&mut queue), [(2, 3, 1)]);
}

#[test]
fn what_was_not_given_out_yet_when_its_worker_died_waits_on_and_is_not_blamed() {
    let policy = Policy { window: 2, deaths: 1, ..Policy::PLAIN };
    let mut queue = queue(policy, 1, 4);
    assert_eq!(leases(&mut queue), [(1, 1, 1), (1, 2, 1)]);
    // One worker said both, and nobody has given out what follows from the first when the second is heard.
    queue.handle(at(1), end(1, 1, None));
    queue.handle(at(1), end(1, 2, Some(Failure::Protocol)));
    queue.handle(at(1), Event::Died { slot: 1, failure: Failure::Protocol });
    let told = actions(&mut queue);
    assert_eq!(verdicts(&told), [(1, Verdict::Done, 1), (2, Verdict::Failed(Failure::Protocol), 1)]);
    assert!(!told.iter().any(|action| matches!(action, Action::Lease { .. })), "{told:?}");
    queue.handle(at(2), Event::Open(1));
    assert_eq!(leases(&mut queue), [(1, 3, 1), (1, 4, 1)]);
}

#[test]
fn who_ends_in_whatever_way_with_a_task_is_a_death_that_counts() {
    let mut queue = queue(Policy { deaths: 2, ..Policy::PLAIN }, 1, 1);
    for attempt in 1..=2 {
        assert_eq!(leases(&mut queue), [(1, 1, attempt)]);
        queue.handle(at(1), Event::Died { slot: 1, failure: Failure::Code(3) });
        if attempt == 1 {
            queue.handle(at(1), Event::Open(1));
        }
    }
    assert_eq!(verdicts(&actions(&mut queue)), [(1, Verdict::Quarantined(Failure::Code(3)), 2)]);
}

#[test]
fn no_more_tasks_are_wanted_than_can_be_begun() {
    let mut queue = Queue::new(Policy::PLAIN, 0);
    assert!(!queue.wants_more());
    queue.handle(at(0), Event::Open(1));
    assert!(queue.wants_more());
    queue.handle(at(0), Event::Submit(TaskId(1)));
    assert!(!queue.wants_more());
    queue.handle(at(1), end(1, 1, None));
    assert!(queue.wants_more());
    queue.handle(at(1), Event::Stop { now: false });
    assert!(!queue.wants_more());
}

/// What a worker does with a task, by its number.
fn nature(task: u64) -> Option<Failure> {
    match task % 7 {
        0 => Some(Failure::Lost),
        3 => Some(Failure::Code(1)),
        _ => None,
    }
}

proptest! {
    /// Whatever happens in whatever order: each task comes to exactly one end, and to the right one.
    #[test]
    fn every_task_is_settled_once_and_rightly(
        slots in 1..5_u32, window in 1..6_u32, batch in 1..5_u32, tasks in 0..40_u64, retries in 0..3_u32, choices in
        proptest::collection::vec(any::<u8>(), 600), stop_at in proptest::option::of(0..300_usize), at_once: bool,
    ) {
        let mut play = Play {
            queue: queue_of_many(Policy { window, batch, retries, deaths: 2, ..Policy::PLAIN }, slots, tasks),
            held: BTreeMap::new(), settled: BTreeMap::new(), now: at(0), window: window as usize, interrupted: BTreeSet::new(),
        };
        play.drain();
        for (step, choice) in choices.into_iter().enumerate() {
            if stop_at == Some(step) {
                play.tell(Event::Stop { now: at_once });
            }
            play.step(choice);
        }
        play.finish();
        let settled = play.settled;
        prop_assert_eq!(settled.keys().copied().collect::<Vec<_>>(), (1..=tasks).collect::<Vec<_>>());
        for (task, (verdict, attempts)) in settled {
            let right = match (verdict, nature(task)) {
                (Verdict::Done, None) => true,
                (Verdict::Failed(Failure::Code(1)), Some(Failure::Code(1))) => attempts >= 1,
                (Verdict::Quarantined(Failure::Lost), Some(Failure::Lost)) => attempts >= 2,
                (Verdict::Failed(Failure::Lost), Some(Failure::Lost)) => stop_at.is_some(),
                (Verdict::Cancelled | Verdict::Skipped, _) => stop_at.is_some(),
                _ => false,
            };
            prop_assert!(right, "task {}: {:?} after {} attempts", task, verdict, attempts);
        }
    }
}

/// Workers that do as [`nature`] says, in an order that somebody chooses.
struct Play {
    queue: Queue,
    held: BTreeMap<SlotId, Vec<u64>>,
    settled: BTreeMap<u64, (Verdict, u32)>,
    now: Time,
    window: usize,
    interrupted: BTreeSet<SlotId>,
}

impl Play {
    fn tell(&mut self, event: Event) {
        self.queue.handle(self.now, event);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(action) = self.queue.poll_action() {
            match action {
                Action::Lease { slot, task, count, .. } => {
                    let held = self.held.entry(slot).or_default();
                    let tasks = task.0..task.0 + u64::from(count);
                    assert!(tasks.clone().all(|task| !self.settled.contains_key(&task)));
                    held.extend(tasks);
                    assert!(held.len() <= self.window);
                }
                Action::Settled { task, count, verdict, attempts } => {
                    for task in task.0..task.0 + u64::from(count) {
                        assert_eq!(self.settled.insert(task, (verdict, attempts)), None);
                    }
                }
                Action::Interrupt { slot, .. } | Action::Kill { slot, .. } => {
                    self.interrupted.insert(slot);
                }
                Action::Retry { .. } | Action::Halted => {}
            }
        }
    }

    /// One worker takes one step; dead ones are replaced.
    fn step(&mut self, choice: u8) {
        self.now = self.now.after(SECOND);
        let busy: Vec<SlotId> =
            self.held.iter().filter(|(_, held)| !held.is_empty()).map(|(slot, _)| *slot).collect();
        let Some(&slot) = busy.get(usize::from(choice) % busy.len().max(1)) else {
            return self.tell(Event::Tick);
        };
        let held = self.held.entry(slot).or_default();
        let task = held[usize::from(choice / 16) % held.len()];
        if nature(task) == Some(Failure::Lost) || self.interrupted.remove(&slot) {
            held.clear();
            self.tell(Event::Died { slot, failure: Failure::Lost });
            return self.tell(Event::Open(slot));
        }
        if choice > 200 && nature(held[0]).is_none() {
            // All that it can do one after the other, told at once.
            let first = held[0];
            let mut row = (first..).zip(held.iter()).take_while(|(task, held)| task == *held);
            let count = row.by_ref().take_while(|(task, _)| nature(*task).is_none()).count();
            held.drain(..count);
            return self.tell(Event::Done { slot, first: TaskId(first), count: count as u32 });
        }
        held.retain(|other| *other != task);
        if choice > 180 && held.is_empty() {
            self.tell(Event::Leaves(slot));
            self.tell(Event::Returned { slot, task: TaskId(task) });
            self.tell(Event::Died { slot, failure: Failure::Lost });
            return self.tell(Event::Open(slot));
        }
        self.tell(end(slot, task, nature(task)));
    }

    fn finish(&mut self) {
        for choice in 0..10_000_u32 {
            if self.queue.is_over() {
                return;
            }
            self.step(choice as u8);
        }
        panic!("it has no end: {:?}", self.queue);
    }
}
