//! The journal of a run: what was begun, by whom, and how it ended, so that another run can go on when this one was killed.
//!
//! One file to which lines are only appended (each with a checksum), by several processes: the run itself, and for each job a
//! small process that looks after it ([`look_after`]) and lives on when the run is killed. Who appends to a file that was opened so
//! has his line at one place of it, which everybody sees in the same order. All is decided by that order:
//!
//! - `Begin` is written before the birth of a shim, and `Started` by the shim before the birth of its job.
//! - A run that goes on writes its `Head` first, and then reads. A `Started` before that `Head` is a job that runs or ran, and its
//!   shim is adopted. A `Begin` without `Started` before that `Head` never runs: a shim that comes later finds the `Head` before its
//!   own `Started`, and ends without its job.
//! - `Ended` is written by the shim, so that it does not matter who lives when a job ends.
//!
//! So no job is lost or run twice, at whatever moment the run is killed. What a job writes goes to files in the folder beside
//! the journal, for a pipe would break with its reader.
//!
//! - [`Journal`]: the file as it grows, and its lock
//! - [`Past`]: what is in it
//! - [`look_after`]: the process that looks after one job
//!
//! Absent on purpose: locks between the writers. A file system on which appending is not atomic (NFS) can tear lines; they are
//! seen by their checksum and told.

mod read;
mod shim;
mod write;

#[cfg(test)]
mod tests;

pub use read::{Attempt, Ends, Past, Task};
pub use shim::{ASK, WORD, look_after};
pub use write::{Journal, JournalError};

use doula_model::exit::ExitStatus;
use doula_model::id::Pid;
use doula_model::task::{Failure, TaskId, Verdict};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Grows with each change after which an older program would go on wrongly.
pub const VERSION: u32 = 1;

/// One line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Entry {
    /// A run begins, or goes on.
    Head(Head),
    /// An attempt is about to begin.
    Begin(Begin),
    /// Its shim lives; its job is about to begin.
    Started(Started),
    /// Its job has ended.
    Ended(Ended),
    /// An attempt failed, and there will be another.
    Failed(Failed),
    /// A task came to its end.
    Settled(Settled),
    /// What it said was shown.
    Shown(TaskId),
    /// A task that came to its end is to be tried again.
    Retry(TaskId),
    /// From now on nothing is begun, because the machine is short of this; `None`: it is not any more.
    Short(Option<String>),
    /// The run came to its end in order.
    Over,
}

/// Who works at it from here on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Head {
    /// [`VERSION`].
    pub version: u32,
    /// The n-th run, from 1.
    pub run: u32,
    /// Which start of the machine, and which PID namespace: only there do numbers mean anything.
    pub world: String,
    /// Our number.
    pub pid: Pid,
    /// When we were born, in clock ticks since the machine started.
    pub start: u64,
    /// When, in microseconds since 1970: for people.
    pub at: u64,
    /// What is run, in words: two runs of one journal must agree.
    pub template: String,
    /// So many jobs at once.
    pub slots: u32,
    /// So many lines before this one are damaged.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub damaged: u64,
}

/// An attempt that is about to begin.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Begin {
    /// At which task.
    pub task: TaskId,
    /// The n-th, from 1.
    pub attempt: u32,
    /// In which slot.
    pub slot: u32,
    /// When, in microseconds since 1970.
    pub at: u64,
    /// The command.
    pub words: Vec<Text>,
    /// What it was made of.
    pub inputs: Vec<Text>,
}

/// A shim that lives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Started {
    /// At which task.
    pub task: TaskId,
    /// Which attempt.
    pub attempt: u32,
    /// Of which run.
    pub run: u32,
    /// The shim's number.
    pub pid: Pid,
    /// When it was born, in clock ticks since the machine started.
    pub start: u64,
    /// The cgroup that it shares with its job and nobody else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leaf: Option<PathBuf>,
    /// What its environment and that of its descendants is marked with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mark: Option<String>,
}

/// A job that ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Ended {
    /// At which task.
    pub task: TaskId,
    /// Which attempt.
    pub attempt: u32,
    /// Of which run.
    pub run: u32,
    /// How.
    pub end: End,
    /// When it began, in microseconds since 1970.
    pub began: u64,
    /// How long it took, in microseconds.
    pub took: u64,
    /// CPU time of its own in microseconds: in the program, and in the kernel for it.
    pub cpu: (u64, u64),
    /// The most memory that it had, in KiB.
    pub max_rss_kb: u64,
}

/// How a job ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum End {
    /// It ran.
    Status(ExitStatus),
    /// It could not be started: the code that a shell has for that, and why.
    NotStarted(u8, String),
}

/// An attempt that failed, after which there is another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Failed {
    /// At which task.
    pub task: TaskId,
    /// Which attempt.
    pub attempt: u32,
    /// How.
    pub failure: Failure,
    /// The next one is due then, in microseconds since 1970.
    pub until: u64,
}

/// A task that came to its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Settled {
    /// Which.
    pub task: TaskId,
    /// What became of it.
    pub verdict: Verdict,
    /// After how many attempts.
    pub attempts: u32,
    /// When, in microseconds since 1970.
    pub at: u64,
}

/// Bytes, written as text where they are that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Text {
    /// UTF-8.
    Plain(String),
    /// Any.
    Bytes(Vec<u8>),
}

impl Text {
    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        match self {
            Text::Plain(text) => text.as_bytes(),
            Text::Bytes(bytes) => bytes,
        }
    }
}

impl From<Vec<u8>> for Text {
    fn from(bytes: Vec<u8>) -> Text {
        String::from_utf8(bytes).map_or_else(|error| Text::Bytes(error.into_bytes()), Text::Plain)
    }
}

/// Microseconds since 1970.
#[must_use]
pub fn now() -> u64 {
    micros(doula_sys::time::realtime())
}

fn micros(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}
