//! What a worker has in its hands: the tasks that it was given and has not answered, in their order.

use super::super::{SlotId, TaskId};
use std::collections::VecDeque;

/// Tasks with the numbers from one on, of one lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Has {
    pub(super) task: TaskId,
    pub(super) count: u32,
    pub(super) attempt: u32,
}

impl Has {
    /// Their numbers.
    pub(super) fn tasks(self) -> impl Iterator<Item = TaskId> {
        (self.task.0..self.task.0 + u64::from(self.count)).map(TaskId)
    }
}

#[derive(Debug, Default)]
pub(super) struct Hands {
    rows: VecDeque<Has>,
}

impl Hands {
    pub(super) fn add(&mut self, has: Has) {
        self.rows.push_back(has);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// How many tasks.
    pub(super) fn count(&self) -> u64 {
        self.rows.iter().map(|has| u64::from(has.count)).sum()
    }

    /// The one that it works at, if it works in order.
    pub(super) fn first(&self) -> Option<TaskId> {
        self.rows.front().map(|has| has.task)
    }

    /// The only one, and which attempt it is.
    pub(super) fn single(&self) -> Option<(TaskId, u32)> {
        let only = self.rows.front().filter(|has| has.count == 1 && self.rows.len() == 1);
        only.map(|has| (has.task, has.attempt))
    }

    /// In which row a task is, and behind how many of it.
    fn find(&self, task: TaskId) -> Option<(usize, u64)> {
        let place = |has: &Has| task.0.checked_sub(has.task.0).filter(|at| *at < u64::from(has.count));
        self.rows.iter().enumerate().find_map(|(row, has)| Some((row, place(has)?)))
    }

    pub(super) fn has(&self, task: TaskId) -> bool {
        self.find(task).is_some()
    }

    /// Takes one of them; whether it was there.
    pub(super) fn take(&mut self, task: TaskId) -> bool {
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
    pub(super) fn take_all(&mut self) -> impl Iterator<Item = Has> + use<> {
        std::mem::take(&mut self.rows).into_iter().rev()
    }
}

/// Tasks, one behind the other, that succeeded in one slot and were not told yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    pub(super) slot: SlotId,
    pub(super) first: TaskId,
    pub(super) count: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

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
