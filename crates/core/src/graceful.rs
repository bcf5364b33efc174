//! The graceful end of one program: which of its hooks runs when, and for how long.
//!
//! Phases come in order, and within a phase the hooks in reverse order of their registration, one after the other.
//! A phase is over when its hooks have ended and nobody holds it any more, or when its time is over. Two things are always
//! true: every hook is begun, however long the others took, and the whole is over in a time that can be told before.
//! Who asks again is in a hurry: from then on each hook and each hold gets the least time. Who asks a third time kills.
//!
//! Absent on purpose: the clock, threads, names, and what a hook does ([`Graceful`] knows numbers only).

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::time::Duration;
use doula_model::event::Haste;
use doula_model::time::Time;

/// What is done at the end of a program, in this order.
///
/// ```
/// use doula_core::graceful::Phase;
/// let all = Phase::ALL.map(|phase| phase.to_string()).join(", ");
/// assert_eq!(all, "stop accepting, finish pending, close connections, flush, remove files");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Nothing new is taken: listening sockets, queues.
    StopAccepting,
    /// What was taken is finished.
    FinishPending,
    /// Connections that are idle by now, or too slow, are closed.
    CloseConnections,
    /// What is buffered is written.
    Flush,
    /// Temporary files, sockets and locks are removed.
    RemoveFiles,
}

impl Phase {
    /// All of them, in their order.
    pub const ALL: [Phase; 5] = [
        Phase::StopAccepting,
        Phase::FinishPending,
        Phase::CloseConnections,
        Phase::Flush,
        Phase::RemoveFiles,
    ];

    /// The words for it.
    ///
    /// ```
    /// assert_eq!(doula_core::graceful::Phase::Flush.name(), "flush");
    /// ```
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Phase::StopAccepting => "stop accepting",
            Phase::FinishPending => "finish pending",
            Phase::CloseConnections => "close connections",
            Phase::Flush => "flush",
            Phase::RemoveFiles => "remove files",
        }
    }

    fn next(self) -> Option<Phase> {
        Phase::ALL.get(self as usize + 1).copied()
    }
}

impl core::fmt::Display for Phase {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.pad(self.name())
    }
}

/// How long the phases may take.
///
/// ```
/// use doula_core::graceful::{Limits, Phase};
/// use std::time::Duration;
/// let mut limits = Limits::default();
/// limits.phases[Phase::FinishPending as usize] = Duration::from_secs(25);
/// // The longest that it takes, but for the least time of each hook: less than a container engine's patience.
/// assert!(Limits::default().phases.iter().sum::<Duration>() < Duration::from_secs(10));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Each phase, in the order of [`Phase::ALL`].
    pub phases: [Duration; 5],
    /// What a hook gets at least, though its phase is over; and in a hurry at most.
    pub least: Duration,
}

/// Together less than the ten seconds that `docker stop` gives, so that the last phase is reached.
const PHASES_MS: [u64; 5] = [1000, 4500, 1000, 2000, 1000];
/// Enough to unlink a file on a busy disk, and nobody who pressed Ctrl-C twice waits for long.
const LEAST_MS: u64 = 250;

impl Default for Limits {
    fn default() -> Limits {
        Limits { phases: PHASES_MS.map(Duration::from_millis), least: Duration::from_millis(LEAST_MS) }
    }
}

/// A hook, or a hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id(u32);

/// How a hook ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It did its work.
    Done,
    /// It said that it could not.
    Failed,
    /// It panicked.
    Panicked,
    /// It was still running when its time was over, and was left alone.
    Cut,
}

/// What is to be done now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// A phase begins. Hooks may still be added to it.
    Begin(Phase),
    /// This hook is run.
    Run(Id),
    /// This hook is not waited for any longer.
    Leave(Id),
    /// Everybody is told to hurry.
    Hurry,
    /// All is over.
    Over,
    /// The process ends at once.
    Kill,
}

/// A hook that was run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ran {
    /// Which.
    pub id: Id,
    /// When.
    pub phase: Phase,
    /// For how long.
    pub took: Duration,
    /// And with what end.
    pub end: End,
}

/// The graceful end of one program.
#[derive(Clone, Debug)]
pub struct Graceful {
    limits: Limits,
    haste: Option<Haste>,
    stage: Stage,
    waiting: Vec<Hook>,
    running: Option<Running>,
    holds: Vec<(Id, Phase)>,
    orders: VecDeque<Order>,
    ran: Vec<Ran>,
    held: Vec<(Id, Phase)>,
    last: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Before,
    In { phase: Phase, until: Time },
    Over,
}

#[derive(Clone, Copy, Debug)]
struct Hook {
    id: Id,
    phase: Phase,
    limit: Option<Duration>,
}

#[derive(Clone, Copy, Debug)]
struct Running {
    id: Id,
    phase: Phase,
    since: Time,
    until: Time,
}

impl Graceful {
    /// A program that nobody has asked to end.
    #[must_use]
    pub fn new(limits: Limits) -> Graceful {
        Graceful {
            limits,
            haste: None,
            stage: Stage::Before,
            waiting: Vec::new(),
            running: None,
            holds: Vec::new(),
            orders: VecDeque::new(),
            ran: Vec::new(),
            held: Vec::new(),
            last: 0,
        }
    }

    /// One more hook, which may take no longer than `limit` (`None`: what is left of its phase). `None` when the phase is
    /// over.
    pub fn add(&mut self, phase: Phase, limit: Option<Duration>) -> Option<Id> {
        let id = self.id_in(phase)?;
        self.waiting.push(Hook { id, phase, limit });
        Some(id)
    }

    /// Somebody works: the phase is not over before [`Graceful::release`], or before its time is over. `None` when it is over.
    pub fn hold(&mut self, phase: Phase) -> Option<Id> {
        let id = self.id_in(phase)?;
        self.holds.push((id, phase));
        Some(id)
    }

    /// Who worked is done.
    pub fn release(&mut self, id: Id) {
        self.holds.retain(|(held, _)| *held != id);
    }

    /// Somebody asks for the end. Who asks again is in a hurry, and kills at last.
    pub fn ask(&mut self, now: Time) {
        let haste = match self.haste {
            None => Haste::Orderly,
            Some(Haste::Orderly) => Haste::Hurried,
            Some(Haste::Hurried | Haste::Kill) => Haste::Kill,
        };
        self.haste = Some(haste);
        match haste {
            Haste::Orderly => self.begin(Phase::StopAccepting, now),
            Haste::Hurried => self.hurry(now),
            Haste::Kill => self.orders.push_back(Order::Kill),
        }
    }

    /// A hook has ended. One that was left alone is not heard any more.
    pub fn ended(&mut self, id: Id, end: End, now: Time) {
        if let Some(running) = self.running.take_if(|running| running.id == id) {
            self.record(running, end, now);
        }
    }

    /// What is to be done next; `None` when there is nothing before something ends or [`Graceful::deadline`].
    pub fn next(&mut self, now: Time) -> Option<Order> {
        if let Some(order) = self.orders.pop_front() {
            return Some(order);
        }
        let Stage::In { phase, until } = self.stage else { return None };
        if let Some(running) = self.running {
            return (now >= running.until).then(|| self.leave(running, now));
        }
        if let Some(at) = self.waiting.iter().rposition(|hook| hook.phase == phase) {
            let hook = self.waiting.remove(at);
            return Some(self.run(hook, until, now));
        }
        if now < until && self.holds.iter().any(|(_, held)| *held == phase) {
            return None;
        }
        self.held.extend(self.holds.extract_if(.., |(_, held)| *held == phase));
        match phase.next() {
            Some(next) => self.begin(next, now),
            None => {
                assert!(self.waiting.is_empty(), "every hook was begun");
                self.stage = Stage::Over;
                self.orders.push_back(Order::Over);
            }
        }
        self.orders.pop_front()
    }

    /// When to look again though nothing has ended.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        match (self.stage, self.running) {
            (_, Some(running)) => Some(running.until),
            (Stage::In { until, .. }, None) => Some(until),
            (Stage::Before | Stage::Over, None) => None,
        }
    }

    /// The phase that is under way.
    #[must_use]
    pub fn phase(&self) -> Option<Phase> {
        match self.stage {
            Stage::In { phase, .. } => Some(phase),
            Stage::Before | Stage::Over => None,
        }
    }

    /// How much of a hurry there is; `None` when nobody has asked.
    #[must_use]
    pub fn haste(&self) -> Option<Haste> {
        self.haste
    }

    /// The hooks that were run, in their order.
    #[must_use]
    pub fn ran(&self) -> &[Ran] {
        &self.ran
    }

    /// Who still worked when the time of a phase was over.
    #[must_use]
    pub fn held(&self) -> &[(Id, Phase)] {
        &self.held
    }

    fn id_in(&mut self, phase: Phase) -> Option<Id> {
        match self.stage {
            Stage::In { phase: now, .. } if now > phase => return None,
            Stage::Over => return None,
            Stage::Before | Stage::In { .. } => {}
        }
        self.last += 1;
        Some(Id(self.last))
    }

    fn begin(&mut self, phase: Phase, now: Time) {
        assert!(self.running.is_none(), "a phase begins when the one before is over");
        let limit = self.patient(self.limits.phases[phase as usize]);
        self.stage = Stage::In { phase, until: now.after(limit) };
        self.orders.push_back(Order::Begin(phase));
    }

    fn run(&mut self, hook: Hook, phase_until: Time, now: Time) -> Order {
        let left = phase_until.since(now).max(self.limits.least);
        let limit = self.patient(hook.limit.map_or(left, |own| own.min(left)));
        self.running = Some(Running { id: hook.id, phase: hook.phase, since: now, until: now.after(limit) });
        Order::Run(hook.id)
    }

    fn leave(&mut self, running: Running, now: Time) -> Order {
        self.running = None;
        self.record(running, End::Cut, now);
        Order::Leave(running.id)
    }

    fn record(&mut self, running: Running, end: End, now: Time) {
        let took = now.since(running.since);
        self.ran.push(Ran { id: running.id, phase: running.phase, took, end });
    }

    fn hurry(&mut self, now: Time) {
        let soon = now.after(self.limits.least);
        if let Stage::In { until, .. } = &mut self.stage {
            *until = soon.min(*until);
            self.orders.push_back(Order::Hurry);
        }
        if let Some(running) = &mut self.running {
            running.until = soon.min(running.until);
        }
    }

    /// As much of this time as the haste allows.
    fn patient(&self, time: Duration) -> Duration {
        if self.haste > Some(Haste::Orderly) { time.min(self.limits.least) } else { time }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Phase::{CloseConnections, FinishPending, Flush, RemoveFiles, StopAccepting};
    use alloc::vec;
    use proptest::prelude::*;

    const fn ms(time: u64) -> Duration {
        Duration::from_millis(time)
    }

    fn at(time: u64) -> Time {
        Time::ZERO.after(ms(time))
    }

    fn machine() -> Graceful {
        Graceful::new(Limits { phases: [100, 1000, 100, 100, 100].map(ms), least: ms(10) })
    }

    /// All that is to be done now.
    fn orders(machine: &mut Graceful, now: u64) -> Vec<Order> {
        core::iter::from_fn(|| machine.next(at(now))).collect()
    }

    #[test]
    fn phases_come_in_order_and_their_hooks_in_reverse() {
        let mut it = machine();
        let [flush, first, second] =
            [Flush, FinishPending, FinishPending].map(|phase| it.add(phase, None).expect("before the end"));
        assert_eq!((orders(&mut it, 0), it.deadline()), (vec![], None), "nobody asked");
        it.ask(at(0));
        let begun = vec![Order::Begin(StopAccepting), Order::Begin(FinishPending), Order::Run(second)];
        assert_eq!(orders(&mut it, 0), begun);
        it.ended(second, End::Failed, at(5));
        assert_eq!(orders(&mut it, 5), [Order::Run(first)]);
        it.ended(first, End::Panicked, at(6));
        let next = [Order::Begin(CloseConnections), Order::Begin(Flush), Order::Run(flush)];
        assert_eq!(orders(&mut it, 6), next);
        it.ended(flush, End::Done, at(9));
        assert_eq!(orders(&mut it, 9), [Order::Begin(RemoveFiles), Order::Over]);
        let ends: Vec<_> = it.ran().iter().map(|ran| (ran.id, ran.took, ran.end)).collect();
        let expected =
            [(second, ms(5), End::Failed), (first, ms(1), End::Panicked), (flush, ms(3), End::Done)];
        assert_eq!(ends, expected);
    }

    #[test]
    fn a_hook_that_uses_up_its_phase_is_cut_and_the_next_one_gets_its_chance() {
        let mut it = machine();
        let [last, slow] = [StopAccepting; 2].map(|phase| it.add(phase, None).expect("before the end"));
        it.ask(at(0));
        assert_eq!(orders(&mut it, 0), [Order::Begin(StopAccepting), Order::Run(slow)]);
        assert_eq!((orders(&mut it, 99), it.deadline()), (vec![], Some(at(100))));
        assert_eq!(orders(&mut it, 100), [Order::Leave(slow), Order::Run(last)]);
        assert_eq!(it.deadline(), Some(at(110)), "the least time");
        it.ended(slow, End::Done, at(101));
        assert_eq!(orders(&mut it, 101), [], "it is not heard any more");
        it.ended(last, End::Done, at(102));
        assert_eq!(it.ran().iter().map(|ran| ran.end).collect::<Vec<_>>(), [End::Cut, End::Done]);
    }

    #[test]
    fn a_limit_of_its_own_cuts_a_hook_before_its_phase_is_over() {
        let mut it = machine();
        let hook = it.add(FinishPending, Some(ms(30))).expect("before the end");
        it.ask(at(0));
        assert_eq!(orders(&mut it, 0).last(), Some(&Order::Run(hook)));
        assert_eq!(it.deadline(), Some(at(30)));
    }

    #[test]
    fn a_phase_waits_for_those_who_hold_it_and_names_who_held_it_too_long() {
        let mut it = machine();
        let [quick, slow] = [FinishPending; 2].map(|phase| it.hold(phase).expect("before the end"));
        it.ask(at(0));
        assert_eq!(orders(&mut it, 0), [Order::Begin(StopAccepting), Order::Begin(FinishPending)]);
        it.release(quick);
        assert_eq!((orders(&mut it, 999), it.deadline()), (vec![], Some(at(1000))));
        assert!(it.hold(StopAccepting).is_none(), "that is over");
        assert!(it.hold(FinishPending).is_some_and(|late| {
            it.release(late);
            true
        }));
        assert_eq!(orders(&mut it, 1000).last(), Some(&Order::Over));
        assert_eq!(it.held(), [(slow, FinishPending)]);
        it.release(slow);
        assert!(it.hold(RemoveFiles).is_none() && it.add(RemoveFiles, None).is_none());
    }

    #[test]
    fn who_asks_again_hurries_everybody_and_who_asks_a_third_time_kills() {
        let mut it = machine();
        let [flush, slow] = [Flush, FinishPending].map(|phase| it.add(phase, None).expect("before the end"));
        it.hold(CloseConnections).expect("before the end");
        it.ask(at(0));
        orders(&mut it, 0);
        it.ask(at(50));
        assert_eq!((orders(&mut it, 50), it.deadline()), (vec![Order::Hurry], Some(at(60))));
        assert_eq!(orders(&mut it, 60), [Order::Leave(slow), Order::Begin(CloseConnections)]);
        assert_eq!(it.deadline(), Some(at(70)));
        assert_eq!(orders(&mut it, 70), [Order::Begin(Flush), Order::Run(flush)]);
        assert_eq!(it.deadline(), Some(at(80)));
        it.ask(at(71));
        assert_eq!(orders(&mut it, 71), [Order::Kill]);
    }

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Add(usize, Option<u64>),
        Hold(usize),
        Release(usize),
        Ask,
        End,
        Pass(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..5usize, proptest::option::of(0..200u64)).prop_map(|(phase, limit)| Step::Add(phase, limit)),
            (0..5usize).prop_map(Step::Hold),
            (0..8usize).prop_map(Step::Release),
            Just(Step::Ask),
            Just(Step::End),
            (0..150u64).prop_map(Step::Pass),
        ]
    }

    proptest! {
        #[test]
        fn whatever_happens_every_hook_is_begun_once_in_order_and_the_end_comes_in_time(
            steps in proptest::collection::vec(step(), 0..60),
        ) {
            let (mut it, mut now, mut hooks, mut holds) = (machine(), 0, vec![], vec![]);
            let (mut log, mut asked) = (vec![], None);
            for step in steps {
                match step {
                    Step::Add(phase, limit) => hooks.extend(it.add(Phase::ALL[phase], limit.map(ms))),
                    Step::Hold(phase) => holds.extend(it.hold(Phase::ALL[phase])),
                    Step::Release(at) => holds.get(at).into_iter().for_each(|id| it.release(*id)),
                    Step::Ask => {
                        it.ask(at(now));
                        asked = asked.or(Some(now));
                    }
                    Step::End => it.running.into_iter().for_each(|running| it.ended(running.id, End::Done, at(now))),
                    Step::Pass(time) => now += time,
                }
                log.extend(orders(&mut it, now));
            }
            if asked.is_none() {
                it.ask(at(now));
                log.extend(orders(&mut it, now));
            }
            let last_ask = now;
            while let Some(deadline) = it.deadline() {
                now = now.max(deadline.since(Time::ZERO).as_millis() as u64);
                log.extend(orders(&mut it, now));
            }
            let run: Vec<_> = log.iter().filter_map(|order| match order {
                Order::Run(id) => Some(*id),
                Order::Begin(_) | Order::Leave(_) | Order::Hurry | Order::Over | Order::Kill => None,
            }).collect();
            let (mut sorted, mut all) = (run.clone(), hooks.clone());
            sorted.sort_unstable();
            all.sort_unstable();
            prop_assert_eq!(sorted, all, "each once");
            prop_assert!(it.ran().is_sorted_by_key(|ran| ran.phase), "in the order of the phases");
            prop_assert_eq!(log.iter().filter(|order| **order == Order::Over).count(), 1);
            let bound = 1400 + 10 * hooks.len() as u64;
            prop_assert!(now - last_ask <= bound, "{} ms are more than {bound}", now - last_ask);
        }
    }
}
