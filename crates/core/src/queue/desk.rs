//! A worker that lives on, as the loop knows it that hands it tasks: what it has, and what it is believed. What becomes of its
//! tasks when it leaves is decided here, whatever world the loop is in.

use super::hands::{Hands, Has};
use super::{Event, SlotId};
use alloc::vec::Vec;
use doula_model::exit::ExitStatus;
use doula_model::signal::Signal;
use doula_model::task::{Failure, TaskId};

/// Why a worker leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leave {
    /// Its process has ended.
    Ended,
    /// It answered what is no answer, and is not believed any more.
    Lied,
    /// It did so, but not to the task that it has.
    LiedBefore,
}

/// Why an answer is none to a task of its worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotIts {
    /// It has no task.
    Unasked,
    /// It does not have this one.
    Stray(TaskId),
}

/// See the head of this file.
///
/// ```
/// use doula_core::queue::{Desk, Event, Facts, Has, Leave};
/// use doula_model::task::{Failure, TaskId};
/// let mut desk = Desk::default();
/// desk.hands.add(Has { task: TaskId(1), count: 1, attempt: 1 });
/// // It is gone and had not read of its task: another worker gets that as if nothing had been.
/// let facts = Facts { leave: Leave::Ended, status: None, took_nothing: true };
/// let parting = desk.part(facts, || false);
/// assert_eq!((parting.suspects, parting.failure), (0, Failure::Lost));
/// let events: Vec<Event> = parting.events(7).collect();
/// assert_eq!(events[1], Event::Returned { slot: 7, task: TaskId(1) });
/// ```
#[derive(Clone, Debug, Default)]
pub struct Desk {
    /// The tasks that it has.
    pub hands: Hands,
    /// Whose task it answered last, and how many it answered.
    pub last: Option<TaskId>,
    /// How many it answered.
    pub answered: u64,
    /// It was asked to end its work.
    pub interrupted: bool,
    /// It gets no more, and is told to end when it has answered what it has.
    pub worn: bool,
    /// It was told that there is no more work for it.
    pub dismissed: bool,
    /// It was killed by us.
    pub killed: bool,
}

/// What is known of a worker that leaves.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    /// Why it leaves.
    pub leave: Leave,
    /// How its process ended, if it has.
    pub status: Option<ExitStatus>,
    /// It has not read what it was asked for.
    pub took_nothing: bool,
}

/// How a worker is parted from, and what comes of its tasks.
#[derive(Clone, Debug)]
pub struct Parting {
    /// The task that it had taken, if it was one, and the n-th attempt at it.
    pub task: Option<(TaskId, u32)>,
    /// So many it had taken.
    pub suspects: u64,
    /// How it failed.
    pub failure: Failure,
    /// It had taken some.
    pub took_some: bool,
    /// It ended before it took any task, and nobody had told it to.
    pub in_vain: bool,
    /// Those that it had not taken, the last first.
    left: Vec<Has>,
}

impl Desk {
    /// To which task an answer is. `whose`: which one it says, if it says that. A worker with one task needs not say it.
    ///
    /// # Errors
    /// To none that it has.
    pub fn addressee(&self, whose: impl FnOnce() -> Option<TaskId>) -> Result<TaskId, NotIts> {
        let first = self.hands.first().ok_or(NotIts::Unasked)?;
        let several = self.hands.single().is_none();
        let task = if several { whose().unwrap_or(first) } else { first };
        if self.hands.has(task) { Ok(task) } else { Err(NotIts::Stray(task)) }
    }

    /// It answered this task; whether it had it.
    pub fn has_answered(&mut self, task: TaskId) -> bool {
        let had = self.hands.take(task);
        if had {
            self.last = Some(task);
            self.answered += 1;
        }
        had
    }

    /// It said what is no answer, and that it is to this task: whether the tasks that it has are to blame.
    pub fn lied(&self, of: Option<TaskId>) -> Leave {
        if of.is_some() && of == self.last { Leave::LiedBefore } else { Leave::Lied }
    }

    /// Whether its end, if it has come to it, is its own doing.
    pub fn ends_by_itself(&self, leave: Leave) -> bool {
        leave == Leave::Ended && !self.killed
    }

    /// It is gone, or not believed any more. `out_of_memory`: whether somebody was killed for want of memory; only asked if that may
    /// have been it.
    pub fn part(&mut self, facts: Facts, out_of_memory: impl FnOnce() -> bool) -> Parting {
        let Facts { leave, status, took_nothing } = facts;
        let innocent = (took_nothing || leave == Leave::LiedBefore) && !self.interrupted;
        let single = self.hands.single();
        let suspects = if innocent { 0 } else { self.hands.count() };
        let failure = match status.map(Failure::of) {
            _ if leave != Leave::Ended => Failure::Protocol,
            Some(Some(Failure::Signal(Signal::KILL))) if self.killed => Failure::Lost,
            Some(Some(Failure::Signal(Signal::KILL))) if out_of_memory() => Failure::OutOfMemory,
            Some(Some(failure)) => failure,
            Some(None) | None => Failure::Lost,
        };
        Parting {
            task: single.filter(|_| suspects > 0),
            suspects,
            failure,
            took_some: suspects > 0 && !took_nothing,
            in_vain: self.answered == 0 && suspects == 0 && !self.dismissed,
            left: if innocent { self.hands.take_all().collect() } else { Vec::new() },
        }
    }
}

impl Parting {
    /// What the queue is told of the worker of this slot, in this order.
    pub fn events(self, slot: SlotId) -> impl Iterator<Item = Event> {
        let Parting { task, failure, left, .. } = self;
        let returned = left.into_iter().map(move |has| Event::Returned { slot, task: has.task });
        // Who answers wrongly has failed at that task, and did not die of it.
        let ended = task.filter(|_| failure == Failure::Protocol);
        let ended = ended.map(|(task, _)| Event::Ended { slot, task, failure: Some(failure) });
        let first = [Event::Leaves(slot)].into_iter();
        first.chain(returned).chain(ended).chain([Event::Died { slot, failure }])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn desk(tasks: u32) -> Desk {
        let mut desk = Desk::default();
        desk.hands.add(Has { task: TaskId(1), count: tasks, attempt: 1 });
        desk
    }

    fn facts(leave: Leave, took_nothing: bool) -> Facts {
        Facts { leave, status: Some(ExitStatus::signal(Signal::KILL)), took_nothing }
    }

    #[test]
    fn who_died_with_one_task_died_of_it_and_of_several_nobody_is_named() {
        let one = desk(1).part(facts(Leave::Ended, false), || false);
        assert_eq!((one.task, one.suspects), (Some((TaskId(1), 1)), 1));
        assert_eq!(one.failure, Failure::Signal(Signal::KILL));
        let several = desk(3).part(facts(Leave::Ended, false), || true);
        assert_eq!((several.task, several.suspects), (None, 3));
        assert_eq!(several.failure, Failure::OutOfMemory);
        let killed = Desk { killed: true, ..desk(1) }.part(facts(Leave::Ended, false), || true);
        assert_eq!(killed.failure, Failure::Lost);
    }

    #[test]
    fn who_had_not_read_its_task_gives_it_back_unless_it_was_asked_to_end() {
        let innocent = desk(2).part(facts(Leave::Ended, true), || false);
        assert!(innocent.in_vain && !innocent.took_some && innocent.suspects == 0);
        let events: Vec<Event> = innocent.events(4).collect();
        assert!(events.contains(&Event::Returned { slot: 4, task: TaskId(1) }), "{events:?}");
        let asked = Desk { interrupted: true, ..desk(1) }.part(facts(Leave::Ended, true), || false);
        assert!(asked.suspects == 1 && !asked.in_vain && !asked.took_some);
    }

    #[test]
    fn who_lies_has_failed_at_its_task_and_who_answers_the_one_before_again_has_not() {
        let lied = desk(1).part(facts(Leave::Lied, false), || false);
        let ended = Event::Ended { slot: 1, task: TaskId(1), failure: Some(Failure::Protocol) };
        assert_eq!(lied.events(1).nth(1), Some(ended));
        let mut desk = desk(2);
        assert!(desk.has_answered(TaskId(1)) && !desk.has_answered(TaskId(1)));
        assert_eq!(desk.lied(Some(TaskId(1))), Leave::LiedBefore);
        assert_eq!((desk.lied(Some(TaskId(7))), desk.lied(None)), (Leave::Lied, Leave::Lied));
        let returned = Event::Returned { slot: 1, task: TaskId(2) };
        assert_eq!(desk.part(facts(Leave::LiedBefore, false), || false).events(1).nth(1), Some(returned));
    }

    #[test]
    fn an_answer_is_to_the_task_that_it_names_if_its_worker_has_that_one() {
        assert_eq!(desk(1).addressee(|| None), Ok(TaskId(1)));
        assert_eq!(desk(3).addressee(|| Some(TaskId(2))), Ok(TaskId(2)));
        assert_eq!(desk(3).addressee(|| Some(TaskId(9))), Err(NotIts::Stray(TaskId(9))));
        assert_eq!(Desk::default().addressee(|| Some(TaskId(1))), Err(NotIts::Unasked));
    }
}
