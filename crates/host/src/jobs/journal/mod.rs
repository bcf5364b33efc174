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

use super::Identity;
use doula_model::exit::ExitStatus;
use doula_model::id::Pid;
use doula_model::task::{Failure, TaskId, Verdict};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Grows with each change after which an older program would go on wrongly.
///
/// ```
/// use doula_host::jobs::journal::{Journal, VERSION};
/// # let file = doula_host::shutdown::TempFile::new_in(std::env::temp_dir(), "journal")?;
/// # let path = file.path();
/// let mut journal = Journal::open(path, false)?;
/// journal.begin("convert {} {}.png", 4)?;
/// assert_eq!(Journal::read(path)?.head.expect("it was begun").version, VERSION);
/// # std::fs::remove_dir_all(journal.folder())?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub const VERSION: u32 = 1;

/// One line.
///
/// ```
/// use doula_host::jobs::journal::{Entry, Journal};
/// # let file = doula_host::shutdown::TempFile::new_in(std::env::temp_dir(), "journal")?;
/// # let path = file.path();
/// let mut journal = Journal::open(path, false)?;
/// journal.begin("convert {} {}.png", 4)?;
/// journal.append(&Entry::Short(Some("memory".to_owned())))?;
/// assert_eq!(Journal::read(path)?.short.as_deref(), Some("memory"));
/// # std::fs::remove_dir_all(journal.folder())?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
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
    /// A worker was started, who is given one task after the other.
    Hired(Hired),
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
///
/// ```
/// use doula_host::jobs::journal::Journal;
/// # let file = doula_host::shutdown::TempFile::new_in(std::env::temp_dir(), "journal")?;
/// # let path = file.path();
/// let mut journal = Journal::open(path, false)?;
/// journal.begin("convert {} {}.png", 4)?;
/// let head = Journal::read(path)?.head.expect("it was begun");
/// assert_eq!((head.run, head.slots, head.template.as_str()), (1, 4, "convert {} {}.png"));
/// # std::fs::remove_dir_all(journal.folder())?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
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
///
/// ```
/// use doula_host::jobs::TaskId;
/// use doula_host::jobs::journal::{Begin, Entry, Journal, Text, now};
/// # let file = doula_host::shutdown::TempFile::new_in(std::env::temp_dir(), "journal")?;
/// # let path = file.path();
/// let mut journal = Journal::open(path, false)?;
/// journal.begin("echo {}", 1)?;
/// let inputs = vec![Text::Plain("a".to_owned())];
/// let words = vec![Text::Plain("echo".to_owned()), Text::Plain("a".to_owned())];
/// let begin = Begin { task: TaskId(1), attempt: 1, slot: 1, at: now(), words, inputs };
/// journal.append(&Entry::Begin(begin.clone()))?;
/// assert_eq!(Journal::read(path)?.tasks[&TaskId(1)].begin(), Some(&begin));
/// # std::fs::remove_dir_all(journal.folder())?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
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
///
/// ```
/// use doula_host::jobs::{Adopted, journal::Started};
/// /// Whether somebody works at it still.
/// fn is_in_work(started: &Started) -> Result<bool, Box<dyn std::error::Error>> {
///     let identity = (started.pid, started.start);
///     Ok(Adopted::find(identity, started.leaf.clone(), started.mark.clone())?.lives())
/// }
/// # let us = doula_host::Pid::new(std::process::id() as i32).expect("a number");
/// # let start = doula_host::sweep::start_ticks(us).expect("we live");
/// # let task = doula_host::jobs::TaskId(1);
/// let started = Started { task, attempt: 1, run: 1, pid: us, start, leaf: None, mark: None };
/// assert!(is_in_work(&started)?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
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
///
/// ```
/// use doula_host::ExitStatus;
/// use doula_host::jobs::{TaskId, journal::{End, Ended}};
/// let end = End::Status(ExitStatus::code(3));
/// let (cpu, max_rss_kb) = ((1200, 300), 2048);
/// let ended = Ended { task: TaskId(1), attempt: 1, run: 1, end, pid: None, began: 0, took: 5000, cpu, max_rss_kb, oom_kills: None };
/// assert!(!ended.success());
/// ```
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
    /// The number that its process had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<Pid>,
    /// When it began, in microseconds since 1970.
    pub began: u64,
    /// How long it took, in microseconds.
    pub took: u64,
    /// CPU time of its own in microseconds: in the program, and in the kernel for it.
    pub cpu: (u64, u64),
    /// The most memory that it had, in KiB.
    pub max_rss_kb: u64,
    /// So many of it the kernel killed for want of memory, where its memory was limited by a cgroup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oom_kills: Option<u64>,
}

/// How a job ended.
///
/// ```
/// use doula_host::jobs::journal::End;
/// fn told(end: &End) -> String {
///     match end {
///         End::Status(status) => status.to_string(),
///         End::NotStarted(_, why) => format!("could not be started: {why}"),
///     }
/// }
/// assert_eq!(told(&End::Status(doula_host::ExitStatus::code(3))), "exited with code 3");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum End {
    /// It ran.
    Status(ExitStatus),
    /// It could not be started: the code that a shell has for that, and why.
    NotStarted(u8, String),
}

/// An attempt that failed, after which there is another.
///
/// ```
/// use doula_host::Signal;
/// use doula_host::jobs::{Failure, TaskId, journal::{Failed, now}};
/// let failure = Failure::Signal(Signal::SEGV);
/// let failed = Failed { task: TaskId(1), attempt: 1, failure, until: now() + 2_000_000 };
/// assert!(failed.failure.is_death(), "the next attempt comes in two seconds");
/// ```
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

/// A worker that was started.
///
/// ```
/// use doula_host::jobs::{Adopted, journal::Hired};
/// /// A run that goes on cannot speak to the workers of the one before.
/// fn end(hired: &Hired) -> Result<(), Box<dyn std::error::Error>> {
///     Ok(Adopted::of(&hired.worker)?.end()?)
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Hired {
    /// Of which run.
    pub run: u32,
    /// In which slot.
    pub slot: u32,
    /// What it is found by.
    pub worker: Identity,
}

/// What a worker answered, or how it failed at its task.
///
/// ```
/// use doula_host::ExitStatus;
/// use doula_host::jobs::journal::{Answer, Text};
/// let nothing = Text::Plain(String::new());
/// let (status, output) = (ExitStatus::code(0), Text::Plain("42\n".to_owned()));
/// let answer = Answer { slot: 1, began: 0, took: 9, status, output, error: nothing, told: None, oom_kills: None };
/// assert_eq!(answer.output.bytes(), b"42\n");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Answer {
    /// In which slot.
    pub slot: u32,
    /// When it was given its task, in microseconds since 1970.
    pub began: u64,
    /// How long it took, in microseconds.
    pub took: u64,
    /// How the worker ended by itself; else 0 or 1.
    pub status: ExitStatus,
    /// What it answered. What is long is in the file of its attempt ([`Journal::output`]).
    pub output: Text,
    /// What it wrote to standard error meanwhile, if that was kept; in the same way.
    pub error: Text,
    /// How it failed, in words that come after its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub told: Option<String>,
    /// As in [`Ended`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oom_kills: Option<u64>,
}

/// A task that came to its end.
///
/// ```
/// use doula_host::jobs::{TaskId, Verdict};
/// use doula_host::jobs::journal::{Entry, Journal, Settled, now};
/// # let file = doula_host::shutdown::TempFile::new_in(std::env::temp_dir(), "journal")?;
/// # let path = file.path();
/// let mut journal = Journal::open(path, false)?;
/// journal.begin("echo {}", 1)?;
/// let settled = Settled { task: TaskId(1), verdict: Verdict::Done, attempts: 1, at: now(), answer: None };
/// journal.append(&Entry::Settled(settled.clone()))?;
/// assert_eq!(Journal::read(path)?.tasks[&TaskId(1)].settled, Some(settled));
/// # std::fs::remove_dir_all(journal.folder())?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
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
    /// What a worker answered: in the same line, so that there is none without the other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<Answer>,
}

/// Bytes, written as text where they are that.
///
/// ```
/// use doula_host::jobs::journal::Text;
/// assert_eq!(Text::from(b"a.png".to_vec()), Text::Plain("a.png".to_owned()));
/// assert_eq!(Text::from(vec![0xff]), Text::Bytes(vec![0xff]));
/// ```
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
    ///
    /// ```
    /// use doula_host::jobs::journal::Text;
    /// assert_eq!(Text::Plain("a.png".to_owned()).bytes(), b"a.png");
    /// ```
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
///
/// ```
/// use doula_host::jobs::journal::now;
/// use std::time::{Duration, UNIX_EPOCH};
/// let when = UNIX_EPOCH + Duration::from_micros(now());
/// # assert!(when > UNIX_EPOCH);
/// ```
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
