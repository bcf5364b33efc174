//! A task of a queue: its number, how an attempt at it can fail, and what finally became of it.

use crate::exit::{ExitStatus, Outcome};
use crate::signal::Signal;
use core::fmt;

/// The number of a task, from 1, in the order in which they were handed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct TaskId(pub u64);

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How one attempt at a task failed: retries are granted by kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum Failure {
    /// It ended with this exit code, which is not 0.
    Code(u8),
    /// It was ended by this signal, which nobody of ours sent.
    Signal(Signal),
    /// The kernel ended it for want of memory.
    OutOfMemory,
    /// It took longer than it may.
    TimedOut,
    /// It could not be started; the code a shell has for that: 126 or 127.
    NotStarted(u8),
    /// Its worker was lost with it.
    Lost,
    /// Its worker answered something that is no answer.
    Protocol,
    /// Its worker answered that it failed.
    Answered,
}

impl Failure {
    /// The failure that an end is; `None` for success.
    pub const fn of(status: ExitStatus) -> Option<Failure> {
        match status.outcome {
            Outcome::Code(0) => None,
            Outcome::Code(code) => Some(Failure::Code(code)),
            Outcome::Signal { signal, .. } => Some(Failure::Signal(signal)),
            Outcome::Unknown => Some(Failure::Lost),
        }
    }

    /// Whether a worker that lives on ended with it: such a one dies of an exit code too.
    pub const fn ends_worker(self) -> bool {
        self.is_death() || matches!(self, Failure::Code(_))
    }

    /// Whether whoever worked at it died of it, so that the task may be poisonous.
    pub const fn is_death(self) -> bool {
        match self {
            Failure::Signal(_) | Failure::OutOfMemory | Failure::Lost => true,
            Failure::Code(_)
            | Failure::TimedOut
            | Failure::NotStarted(_)
            | Failure::Protocol
            | Failure::Answered => false,
        }
    }
}

impl fmt::Display for Failure {
    /// The rest of a sentence that begins with the task: `exited with code 3`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Code(code) => write!(f, "exited with code {code}"),
            Failure::Signal(signal) => write!(f, "was killed by {signal}"),
            Failure::OutOfMemory => f.write_str("was killed for want of memory"),
            Failure::TimedOut => f.write_str("took too long"),
            Failure::NotStarted(_) => f.write_str("could not be started"),
            Failure::Lost => f.write_str("was lost with its worker"),
            Failure::Protocol => f.write_str("was not answered as agreed"),
            Failure::Answered => f.write_str("was answered with an error"),
        }
    }
}

/// What finally became of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum Verdict {
    /// It succeeded.
    Done,
    /// Its last attempt failed so.
    Failed(Failure),
    /// It ended everybody who worked at it, at last so, and is not tried again.
    Quarantined(Failure),
    /// It was ended because the whole run was.
    Cancelled,
    /// It was never begun.
    Skipped,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_a_failure_by_its_kind_and_only_deaths_make_a_task_suspicious() {
        assert_eq!(Failure::of(ExitStatus::code(0)), None);
        assert_eq!(Failure::of(ExitStatus::code(3)), Some(Failure::Code(3)));
        assert_eq!(Failure::of(ExitStatus::UNKNOWN), Some(Failure::Lost));
        let killed = Failure::of(ExitStatus::signal(Signal::SEGV)).expect("a failure");
        assert!(killed.is_death() && !Failure::TimedOut.is_death() && !Failure::Code(139).is_death());
    }
}
