//! What is the same of tasks whoever does them, commands ([`Work`](super::Work)) or workers ([`Tasks`](super::workers::Tasks)).

use super::{Counts, Failure, Next, SlotId, Stop, TaskId, Verdict};
use crate::signals::Arrival;
use doula_sys::fd::BorrowedFd;
use std::io;
use std::time::Duration;

/// Where tasks come from, and who is told what becomes of them.
///
/// ```
/// use doula_host::jobs::{Flow, Next, TaskId, Verdict};
/// # use std::io;
///
/// /// So many tasks, which are counted.
/// struct Counted { left: u64, done: u64 }
///
/// impl Flow for Counted {
///     fn next(&mut self) -> io::Result<Next> {
///         let next = self.left.checked_sub(1);
///         self.left = next.unwrap_or(0);
///         Ok(if next.is_some() { Next::Task } else { Next::End })
///     }
///     fn settled(&mut self, _task: TaskId, verdict: Verdict, _attempts: u32) -> io::Result<()> {
///         self.done += u64::from(verdict == Verdict::Done);
///         Ok(())
///     }
/// }
///
/// let mut counted = Counted { left: 1, done: 0 };
/// assert_eq!((counted.next()?, counted.next()?), (Next::Task, Next::End));
/// # Ok::<(), io::Error>(())
/// ```
pub trait Flow {
    /// Whether there is another task.
    ///
    /// # Errors
    /// Those of reading them. Nothing more is begun then, and the run returns the error when what is in work has ended.
    fn next(&mut self) -> io::Result<Next>;

    /// What to wait for after [`Next::Wait`].
    fn waits_for(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// How long an attempt at a new task may take, if it has a limit of its own.
    fn limit(&self, task: TaskId) -> Option<Duration> {
        let _ = task;
        None
    }

    /// An attempt begins: its command runs, or a worker has the task.
    fn began(&mut self, task: TaskId, attempt: u32, slot: SlotId) {
        let _ = (task, attempt, slot);
    }

    /// There is no room for more jobs or workers than there are now, for this reason.
    fn cramped(&mut self, why: &str) {
        let _ = why;
    }

    /// Something about the run that people should know: a limit that does not hold here, or in another way.
    fn note(&mut self, text: &str) {
        let _ = text;
    }

    /// An attempt failed, and there will be another after a pause.
    fn retries(&mut self, task: TaskId, attempt: u32, failure: Failure, pause: Duration) {
        let _ = (task, attempt, failure, pause);
    }

    /// A task came to its end: once for each.
    ///
    /// # Errors
    /// Those of telling it. All is given up then.
    fn settled(&mut self, task: TaskId, verdict: Verdict, attempts: u32) -> io::Result<()>;

    /// All was given up by the rule.
    fn halted(&mut self) {}

    /// Whether the machine has no room for another job now.
    fn throttle(&mut self) -> bool {
        false
    }

    /// All that can be done now is done. How long may be slept at most, until there is something else to do here: what was put
    /// off to be done for several tasks at once.
    ///
    /// # Errors
    /// Those of doing it. All is given up then.
    fn before_sleep(&mut self) -> io::Result<Option<Duration>> {
        Ok(None)
    }

    /// Tells how far it is; after each event.
    fn progress(&mut self, counts: &Counts, in_work: usize) {
        let _ = (counts, in_work);
    }

    /// A signal came.
    fn signal(&mut self, arrival: Arrival) -> Stop {
        let _ = arrival;
        Stop::Now
    }
}
