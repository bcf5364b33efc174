//! Where a job of a journal is in its life.

use crate::ui::Style;
use doula_host::jobs::Adopted;
use doula_host::jobs::journal::{Attempt, Task};
use doula_model::task::{Failure, Verdict};

/// Where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::verbs) enum State {
    /// For a place, or for the next run.
    Waits,
    /// Its process lives.
    Runs,
    /// Until it is tried again, in microseconds since 1970.
    Rests(u64),
    /// Nobody has judged it yet.
    Ended,
    /// Its process is gone, and nobody wrote down how it ended.
    Unknown,
    Done,
    Failed(Failure),
    Quarantined(Failure),
    /// The end of its run was its own.
    Cancelled,
}

impl State {
    /// As it is now.
    pub(in crate::verbs) fn of(task: &Task, in_use: bool) -> State {
        match task.settled.as_ref().map(|settled| settled.verdict) {
            Some(_) if task.again => return State::Waits,
            Some(Verdict::Done) => return State::Done,
            Some(Verdict::Failed(failure)) => return State::Failed(failure),
            Some(Verdict::Quarantined(failure)) => return State::Quarantined(failure),
            Some(Verdict::Cancelled | Verdict::Skipped) => return State::Cancelled,
            None => {}
        }
        match task.last() {
            None => State::Waits,
            Some(Attempt { failed: Some(failed), .. }) => State::Rests(failed.until),
            Some(Attempt { ended: Some(_), .. }) => State::Ended,
            Some(last @ Attempt { started: Some(_), .. }) if lives(last) => State::Runs,
            Some(Attempt { started: Some(_), .. }) => State::Unknown,
            Some(_) if in_use => State::Runs,
            Some(_) => State::Waits,
        }
    }

    /// In one word.
    pub(super) fn word(self) -> &'static str {
        match self {
            State::Waits => "waits",
            State::Runs => "runs",
            State::Rests(_) => "rests",
            State::Ended => "ended",
            State::Unknown => "unknown",
            State::Done => "done",
            State::Failed(_) => "failed",
            State::Quarantined(_) => "quarantined",
            State::Cancelled => "cancelled",
        }
    }

    pub(super) fn style(self) -> Style {
        match self {
            State::Failed(_) | State::Quarantined(_) | State::Unknown => Style::Bad,
            State::Done => Style::Good,
            State::Waits | State::Runs | State::Rests(_) | State::Ended | State::Cancelled => Style::Plain,
        }
    }
}

/// Whether who looks after it lives.
fn lives(last: &Attempt) -> bool {
    let started = last.started.as_ref().filter(|_| last.here);
    let found = started.map(|started| Adopted::find((started.pid, started.start), None, None));
    matches!(found, Some(Ok(adopted)) if adopted.lives())
}
