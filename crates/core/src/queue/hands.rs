//! What a worker has in its hands: the tasks that it was given and has not answered, in their order.

use super::SlotId;
use alloc::collections::VecDeque;
use doula_model::task::TaskId;

/// Tasks with the numbers from one on, of one lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Has {
    /// The first.
    pub task: TaskId,
    /// How many.
    pub count: u32,
    /// The n-th attempt at them.
    pub attempt: u32,
}

impl Has {
    /// Their numbers.
    pub fn tasks(self) -> impl Iterator<Item = TaskId> {
        (self.task.0..self.task.0 + u64::from(self.count)).map(TaskId)
    }
}

/// See the head of this file.
///
/// ```
/// use doula_core::queue::{Hands, Has};
/// use doula_model::task::TaskId;
/// let mut hands = Hands::default();
/// hands.add(Has { task: TaskId(3), count: 2, attempt: 1 });
/// assert!(hands.take(TaskId(4)) && !hands.take(TaskId(4)));
/// assert_eq!(hands.single(), Some((TaskId(3), 1)));
/// ```
#[derive(Clone, Debug, Default)]
pub struct Hands {
    rows: VecDeque<Has>,
}

impl Hands {
    /// It was given these.
    pub fn add(&mut self, has: Has) {
        self.rows.push_back(has);
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// How many tasks.
    pub fn count(&self) -> u64 {
        self.rows.iter().map(|has| u64::from(has.count)).sum()
    }

    /// Their numbers.
    pub fn tasks(&self) -> impl Iterator<Item = TaskId> {
        self.rows.iter().flat_map(|has| has.tasks())
    }

    /// The one that it works at, if it works in order.
    pub fn first(&self) -> Option<TaskId> {
        self.rows.front().map(|has| has.task)
    }

    /// The only one, and which attempt it is.
    pub fn single(&self) -> Option<(TaskId, u32)> {
        let only = self.rows.front().filter(|has| has.count == 1 && self.rows.len() == 1);
        only.map(|has| (has.task, has.attempt))
    }

    /// In which row a task is, and behind how many of it.
    fn find(&self, task: TaskId) -> Option<(usize, u64)> {
        let place = |has: &Has| task.0.checked_sub(has.task.0).filter(|at| *at < u64::from(has.count));
        self.rows.iter().enumerate().find_map(|(row, has)| Some((row, place(has)?)))
    }

    /// Whether it has this one.
    pub fn has(&self, task: TaskId) -> bool {
        self.find(task).is_some()
    }

    /// Takes one of them; whether it was there.
    pub fn take(&mut self, task: TaskId) -> bool {
        let Some((row, before)) = self.find(task) else { return false };
        let Some(has) = self.rows.get_mut(row) else { return false };
        let before = u32::try_from(before).unwrap_or(u32::MAX);
        let behind = Has { task: TaskId(task.0 + 1), count: has.count - before - 1, ..*has };
        has.count = before;
        match (before, behind.count) {
            (0, 0) => drop(self.rows.remove(row)),
            (0, _) => *has = behind,
            (_, 0) => {}
            _ => self.rows.insert(row + 1, behind),
        }
        true
    }

    /// Takes all of them, the last first.
    pub fn take_all(&mut self) -> impl Iterator<Item = Has> + use<> {
        core::mem::take(&mut self.rows).into_iter().rev()
    }
}

/// Tasks, one behind the other, that succeeded in one slot and were not told yet.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// Where.
    pub slot: SlotId,
    /// The first.
    pub first: TaskId,
    /// How many.
    pub count: u32,
}

impl Run {
    /// None yet.
    pub const fn new(slot: SlotId) -> Run {
        Run { slot, first: TaskId(0), count: 0 }
    }

    /// One more succeeded; `false` if it is not behind those that are there.
    pub fn joins(&mut self, done: TaskId) -> bool {
        match self.count {
            0 => self.first = done,
            count if done.0 == self.first.0 + u64::from(count) => {}
            _ => return false,
        }
        self.count += 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn any_of_them_can_be_taken_once_and_the_rest_stays_in_order() {
        let mut hands = Hands::default();
        hands.add(Has { task: TaskId(1), count: 1, attempt: 2 });
        assert_eq!(hands.single(), Some((TaskId(1), 2)));
        hands.add(Has { task: TaskId(5), count: 4, attempt: 1 });
        assert_eq!((hands.single(), hands.count()), (None, 5));
        assert!(hands.take(TaskId(6)) && !hands.take(TaskId(6)) && !hands.take(TaskId(9)));
        assert!(hands.take(TaskId(1)) && hands.take(TaskId(8)));
        assert_eq!(hands.first(), Some(TaskId(5)));
        let left: Vec<_> = hands.take_all().flat_map(Has::tasks).collect();
        assert_eq!(left, [TaskId(7), TaskId(5)]);
        assert!(hands.is_empty());
    }
}
