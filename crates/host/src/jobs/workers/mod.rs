//! Workers that live on: each gets one task after another as a line on its standard input, and answers each with a line on its
//! standard output. What [`doula_core::queue`] decides is done here.
//!
//! What a line says is the business of [`Tasks`]. A worker that answers what is no answer, closes a pipe, or dies, costs the one
//! task that it had, and is replaced; it never gets a task while it has one. What it writes to standard error is told line by
//! line, with the task that it had.
//!
//! ```
//! use doula_host::jobs::workers::{self, Answer, Tasks};
//! use doula_host::jobs::{Next, Settings, TaskId, Verdict};
//! use doula_host::{Command, signals::Held};
//!
//! /// Three lines for `cat`, which answers what it is asked.
//! struct Echo { begun: u64, heard: Vec<String> }
//!
//! impl Tasks for Echo {
//!     fn next(&mut self) -> std::io::Result<Next> {
//!         self.begun += 1;
//!         Ok(if self.begun <= 3 { Next::Task } else { Next::End })
//!     }
//!     fn worker(&mut self, _slot: u32) -> Command {
//!         Command::new("cat")
//!     }
//!     fn ask(&mut self, task: TaskId) -> Vec<u8> {
//!         format!("task {task}\n").into_bytes()
//!     }
//!     fn answer(&mut self, task: TaskId, line: &[u8]) -> Result<Answer, String> {
//!         let line = String::from_utf8_lossy(line);
//!         if line != format!("task {task}") {
//!             return Err(format!("it answered `{line}`"));
//!         }
//!         self.heard.push(line.into_owned());
//!         Ok(Answer::Done)
//!     }
//!     fn settled(&mut self, _task: TaskId, verdict: Verdict, _attempts: u32) -> std::io::Result<()> {
//!         assert_eq!(verdict, Verdict::Done);
//!         Ok(())
//!     }
//! }
//!
//! let mut work = Echo { begun: 0, heard: Vec::new() };
//! let counts = workers::run(Settings { slots: 2, ..Settings::default() }, &mut work, &Held::back(&[])?)?;
//! assert_eq!((counts.done, work.heard.len()), (3, 3));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Several tasks in flight with one worker are not here: the loop gives one at a time ([`window`](super::Policy::window) is not looked at).

mod drive;
mod worker;

pub use drive::run;

use super::{Failure, Next, SlotId, Stop, TaskId, Verdict};
use crate::signals::Arrival;
use crate::{Command, CommandError};
use doula_core::queue::Counts;
use doula_model::exit::ExitStatus;
use doula_sys::fd::BorrowedFd;
use std::io;
use std::time::Duration;

/// A line that is longer is no answer: nobody may fill our memory.
pub const LONGEST_ANSWER: usize = 16 << 20;

/// What a worker answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The task succeeded.
    Done,
    /// It failed, and the worker is well.
    Failed,
}

/// A worker that ended before it was told to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Death {
    /// Where.
    pub slot: SlotId,
    /// The task that it had, and the n-th attempt at it.
    pub task: Option<(TaskId, u32)>,
    /// How its process ended.
    pub status: ExitStatus,
    /// What it did wrong before, if that was why it was killed.
    pub why: Option<String>,
}

/// Where tasks come from, what is said to workers, and who is told of them.
pub trait Tasks {
    /// Whether there is another task.
    ///
    /// # Errors
    /// Those of reading them. Nothing more is begun then, and [`run`] returns the error when what is in work has ended.
    fn next(&mut self) -> io::Result<Next>;

    /// What to wait for after [`Next::Wait`].
    fn waits_for(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// The command of the worker of this slot. It gets pipes as its standard streams.
    fn worker(&mut self, slot: SlotId) -> Command;

    /// The line that asks for this task, with its end.
    fn ask(&mut self, task: TaskId) -> Vec<u8>;

    /// Takes the line (without its end) that the worker of this task answered. `Err` says why it is no answer to it.
    ///
    /// # Errors
    /// The worker is killed then, and the task has failed by [`Failure::Protocol`].
    fn answer(&mut self, task: TaskId, line: &[u8]) -> Result<Answer, String>;

    /// A worker has a task now.
    fn began(&mut self, task: TaskId, attempt: u32, slot: SlotId) {
        let _ = (task, attempt, slot);
    }

    /// A line that a worker wrote to standard error, and the task that it had.
    ///
    /// # Errors
    /// Those of writing it. All is given up then.
    fn said(&mut self, slot: SlotId, task: Option<TaskId>, line: &[u8]) -> io::Result<()> {
        let _ = (slot, task, line);
        Ok(())
    }

    /// A worker ended before it was told to.
    fn died(&mut self, death: Death) {
        let _ = death;
    }

    /// A worker could not be started: nothing more is begun.
    fn not_born(&mut self, slot: SlotId, error: &CommandError) {
        let _ = (slot, error);
    }

    /// There is no room for more workers than there are, for this reason.
    fn cramped(&mut self, why: &str) {
        let _ = why;
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

    /// Whether the machine has no room for another task now.
    fn throttle(&mut self) -> bool {
        false
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
