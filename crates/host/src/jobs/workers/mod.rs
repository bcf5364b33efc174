//! Workers that live on: each gets one task after another as a line on its standard input, and answers each with a line on its
//! standard output. What [`doula_core::queue`] decides is done here.
//!
//! What a line says is the business of [`Tasks`]. A worker that answers what is no answer, closes a pipe, or dies, costs the one
//! task that it had, and is replaced; it never gets a task while it has one. A task that it had not begun to read goes to another
//! worker, and is not blamed. Who does not answer is looked at, whether it has its pipes itself still: a child may keep them open.
//! What it writes to standard error is told line by line, with the task that it had. Workers that end one after the other before
//! they took any task are started again after pauses, and at last no more.
//!
//! ```
//! use doula_host::jobs::workers::{self, Answer, NoAnswer, Rules, Tasks};
//! use doula_host::jobs::{Flow, Next, Settings, TaskId, Verdict};
//! use doula_host::{Command, signals::Held};
//!
//! /// Three lines for `cat`, which answers what it is asked.
//! struct Echo { begun: u64, heard: Vec<String> }
//!
//! impl Flow for Echo {
//!     fn next(&mut self) -> std::io::Result<Next> {
//!         self.begun += 1;
//!         Ok(if self.begun <= 3 { Next::Task } else { Next::End })
//!     }
//!     fn settled(&mut self, _task: TaskId, verdict: Verdict, _attempts: u32) -> std::io::Result<()> {
//!         assert_eq!(verdict, Verdict::Done);
//!         Ok(())
//!     }
//! }
//!
//! impl Tasks for Echo {
//!     fn worker(&mut self, _slot: u32) -> Command {
//!         Command::new("cat")
//!     }
//!     fn ask(&mut self, task: TaskId, line: &mut Vec<u8>) {
//!         line.extend_from_slice(format!("task {task}\n").as_bytes());
//!     }
//!     fn answer(&mut self, task: TaskId, line: &[u8]) -> Result<Answer, NoAnswer> {
//!         if line != format!("task {task}").as_bytes() {
//!             return Err(NoAnswer::garbage(line));
//!         }
//!         self.heard.push(String::from_utf8_lossy(line).into_owned());
//!         Ok(Answer::Done)
//!     }
//! }
//!
//! let mut work = Echo { begun: 0, heard: Vec::new() };
//! let counts = workers::run(Rules::new(Settings { slots: 2, ..Settings::default() }), &mut work, &Held::back(&[])?)?;
//! assert_eq!((counts.done, work.heard.len()), (3, 3));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Lines are one [`Protocol`] of three. By frames a worker may have several tasks at once ([`window`](super::Policy::window), and
//! [`batch`](super::Policy::batch) of them in one frame); [`serve()`] is the other side of these, for workers in Rust.

mod drive;
mod ends;
mod frames;
mod functions;
pub mod pool;
mod quiet;
mod ring;
mod serve;
mod wire;
mod worker;

#[cfg(test)]
mod tests;

pub use drive::run;
pub use functions::{Function, functions};
pub use serve::serve;

use super::{Flow, Identity, Settings, SlotId, TaskId};
use crate::{Command, CommandError};
use doula_core::queue::Hiring;
use doula_model::exit::ExitStatus;
use doula_model::id::Pid;
use std::fmt;
use std::io;
use std::num::NonZeroU64;

/// A line that is longer is no answer: nobody may fill our memory.
///
/// ```
/// assert_eq!(doula_host::jobs::workers::LONGEST_ANSWER, 16 << 20);
/// ```
pub const LONGEST_ANSWER: usize = 16 << 20;

/// How tasks are done by workers.
///
/// ```
/// use doula_host::jobs::{Settings, workers::Rules};
/// use std::num::NonZeroU64;
/// let rules = Rules { max_tasks: NonZeroU64::new(1000), ..Rules::new(Settings { slots: 4, ..Settings::default() }) };
/// assert!(rules.max_growth.is_none());
/// ```
#[derive(Clone, Debug)]
pub struct Rules {
    /// As for jobs. What becomes of output is not looked at: it is taken line by line.
    pub settings: Settings,
    /// A worker that has answered so many tasks is replaced. Only a share of all is ever away at once, so that one may answer
    /// some more before.
    pub max_tasks: Option<NonZeroU64>,
    /// A worker whose memory grows by so many bytes with each task is replaced, in the same way. What a process has for itself is
    /// counted (`RssAnon` and `VmSwap` of proc_pid_status(5)): asking for its proportional share could have to wait for the worker.
    pub max_growth: Option<NonZeroU64>,
    /// A line of nothing but white space is no answer: many print one more.
    pub skips_blank: bool,
    /// How they are asked and answer.
    pub protocol: Protocol,
}

/// How a worker is asked and answers.
///
/// ```
/// use doula_host::jobs::{Policy, Settings, workers::{Protocol, Rules}};
/// let policy = Policy { window: 8, ..Policy::PLAIN };
/// let settings = Settings { policy, ..Settings::default() };
/// let rules = Rules { protocol: Protocol::Frames, ..Rules::new(settings) };
/// # assert_eq!(rules.settings.policy.window, 8);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// By lines on its standard input and output, one task at a time: [`window`](super::Policy::window) must be 1.
    Lines,
    /// By frames over a socket, whose number is in `DOULA_FRAMES`. Its standard input is empty, and its standard output is
    /// heard as its standard error is.
    Frames,
    /// By the same frames through memory that both have (`DOULA_RING`): for workers that use [`serve()`]. Where all CPUs are
    /// awake, no system call is needed for a task.
    Ring,
}

impl Rules {
    /// Workers that live as long as they can.
    ///
    /// ```
    /// use doula_host::jobs::{Settings, workers::{Protocol, Rules}};
    /// let rules = Rules::new(Settings::default());
    /// assert_eq!((rules.protocol, rules.max_tasks), (Protocol::Lines, None));
    /// ```
    #[must_use]
    pub fn new(settings: Settings) -> Rules {
        Rules { settings, max_tasks: None, max_growth: None, skips_blank: false, protocol: Protocol::Lines }
    }

    /// So many may be away at once.
    fn absent(&self) -> SlotId {
        Hiring::absent(self.settings.slots)
    }
}

/// What a worker answered.
///
/// ```
/// use doula_host::jobs::workers::{Answer, NoAnswer};
/// /// As `Tasks::answer` may have it.
/// fn answer(line: &[u8]) -> Result<Answer, NoAnswer> {
///     match line {
///         b"ok" => Ok(Answer::Done),
///         b"no" => Ok(Answer::Failed),
///         other => Err(NoAnswer::garbage(other)),
///     }
/// }
/// assert_eq!(answer(b"no"), Ok(Answer::Failed));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The task succeeded.
    Done,
    /// It failed, and the worker is well.
    Failed,
}

/// What a worker said that is no answer to its task.
///
/// ```
/// use doula_host::jobs::{TaskId, workers::NoAnswer};
/// let late = NoAnswer { why: "it answered task 3 again".to_owned(), of: Some(TaskId(3)) };
/// let broken = NoAnswer::from("it answered no JSON".to_owned());
/// assert!(late.of.is_some() && broken.of.is_none());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoAnswer {
    /// Why not: a sentence about the worker.
    pub why: String,
    /// Whose answer it says that it is. If it has answered that one before, its next task is not to blame.
    pub of: Option<TaskId>,
}

impl From<String> for NoAnswer {
    fn from(why: String) -> NoAnswer {
        NoAnswer { why, of: None }
    }
}

impl NoAnswer {
    /// The line is none at all.
    ///
    /// ```
    /// use doula_host::jobs::workers::NoAnswer;
    /// assert_eq!(NoAnswer::garbage(b"\x1bhm").why, r"it answered `\u{1b}hm`");
    /// ```
    #[must_use]
    pub fn garbage(line: &[u8]) -> NoAnswer {
        format!("it answered `{}`", shown(line)).into()
    }

    fn unasked(line: &[u8]) -> NoAnswer {
        format!("it said `{}` without being asked", shown(line)).into()
    }

    fn stray(task: TaskId) -> NoAnswer {
        NoAnswer { why: format!("it answered task {task}, which it does not have"), of: Some(task) }
    }

    fn twice() -> NoAnswer {
        "it answered more than once".to_owned().into()
    }
}

/// As much of a line as people can bear.
fn shown(line: &[u8]) -> String {
    const LONGEST: usize = 60;
    let text = String::from_utf8_lossy(line.get(..4 * LONGEST).unwrap_or(line));
    let mut shown: String = text.chars().take(LONGEST).flat_map(char::escape_debug).collect();
    if text.chars().count() > LONGEST {
        shown.push('…');
    }
    shown
}

/// A worker that ended, or was ended, before it was told to.
///
/// ```
/// use doula_host::Pid;
/// use doula_host::jobs::{TaskId, workers::Death};
/// let (pid, why) = (Pid::new(4711).expect("a number"), Some("it answered `hm`".to_owned()));
/// let death = Death { slot: 1, pid, task: Some((TaskId(3), 1)), suspects: 1, status: None, why, oom_kills: None };
/// assert_eq!(format!("worker {} {death}", death.pid), "worker 4711 was ended: it answered `hm`");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Death {
    /// Where.
    pub slot: SlotId,
    /// Its number, for people.
    pub pid: Pid,
    /// The task that it had taken, if it was one, and the n-th attempt at it.
    pub task: Option<(TaskId, u32)>,
    /// So many it had taken. Several are tried again one by one: nobody knows which it was.
    pub suspects: u64,
    /// How its process ended by itself; `None` when we ended it.
    pub status: Option<ExitStatus>,
    /// What it did wrong.
    pub why: Option<String>,
    /// So many of it the kernel killed for want of memory, in all its life, by the count of its cgroup; `None` where nobody counts.
    pub oom_kills: Option<u64>,
}

impl fmt::Display for Death {
    /// The rest of a sentence that begins with the worker.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.why, self.status) {
            (Some(why), None) => write!(f, "was ended: {why}"),
            (Some(why), Some(status)) => write!(f, "{status} {why}"),
            (None, Some(status)) => status.fmt(f),
            (None, None) => f.write_str("was ended"),
        }
    }
}

/// What is said to workers, and what is told of them and of their answers beside [`Flow`].
///
/// ```
/// use doula_host::jobs::workers::{self, Answer, NoAnswer, Rules, Tasks};
/// use doula_host::jobs::{Flow, Next, Settings, SlotId, TaskId, Verdict};
/// use doula_host::{Command, signals::Held};
/// # use std::io;
///
/// /// Numbers, for a worker that likes the odd ones only.
/// struct Numbers { begun: u64 }
///
/// impl Flow for Numbers {
///     fn next(&mut self) -> io::Result<Next> {
///         self.begun += 1;
///         Ok(if self.begun <= 4 { Next::Task } else { Next::End })
///     }
///     fn settled(&mut self, task: TaskId, verdict: Verdict, _attempts: u32) -> io::Result<()> {
///         assert_eq!(verdict == Verdict::Done, task.0 % 2 == 1);
///         Ok(())
///     }
/// }
///
/// impl Tasks for Numbers {
///     fn worker(&mut self, _slot: SlotId) -> Command {
///         let mut command = Command::new("sh");
///         command.args(["-c", "while read n; do echo $((n % 2)); done"]);
///         command
///     }
///     fn ask(&mut self, task: TaskId, line: &mut Vec<u8>) {
///         line.extend_from_slice(format!("{task}\n").as_bytes());
///     }
///     fn answer(&mut self, _task: TaskId, line: &[u8]) -> Result<Answer, NoAnswer> {
///         match line {
///             b"1" => Ok(Answer::Done),
///             b"0" => Ok(Answer::Failed),
///             other => Err(NoAnswer::garbage(other)),
///         }
///     }
/// }
///
/// let counts = workers::run(Rules::new(Settings::default()), &mut Numbers { begun: 0 }, &Held::back(&[])?)?;
/// assert_eq!((counts.done, counts.failed), (2, 2));
/// # Ok::<(), std::io::Error>(())
/// ```
pub trait Tasks: Flow {
    /// The command of the worker of this slot. It gets pipes as its standard streams.
    fn worker(&mut self, slot: SlotId) -> Command;

    /// A worker was started, and is given its first task after this: what it is found by when we are killed.
    fn hired(&mut self, slot: SlotId, identity: &Identity) {
        let _ = (slot, identity);
    }

    /// Appends what asks for this task: the line with its end, or the payload of its frame.
    fn ask(&mut self, task: TaskId, line: &mut Vec<u8>);

    /// Takes the line (without its end) that the worker of this task answered, or the payload of its frame.
    ///
    /// # Errors
    /// Why it is no answer to it. The worker is killed then, and the task has failed by [`Failure::Protocol`](super::Failure::Protocol). That it has
    /// also so when the worker said more behind its answer: [`Flow::settled`] has the last word.
    fn answer(&mut self, task: TaskId, line: &[u8]) -> Result<Answer, NoAnswer>;

    /// Which task a line answers, where its worker has several ([`Policy::window`](crate::jobs::Policy)); the first of them, where
    /// workers answer in order.
    fn whose(&self, line: &[u8]) -> Option<TaskId> {
        let _ = line;
        None
    }

    /// By frames the worker of this task answered that it failed, for this reason.
    fn failed(&mut self, task: TaskId, why: &[u8]) {
        let _ = (task, why);
    }

    /// A line that a worker wrote to standard error, and the task that it had.
    ///
    /// # Errors
    /// Those of writing it. All is given up then.
    fn said(&mut self, slot: SlotId, task: Option<TaskId>, line: &[u8]) -> io::Result<()> {
        let _ = (slot, task, line);
        Ok(())
    }

    /// A worker ended before it was told to. Comes before what becomes of its task.
    fn died(&mut self, death: &Death) {
        let _ = death;
    }

    /// Workers end before they take a task, again and again, this one last: nothing more is begun.
    fn hopeless(&mut self, death: &Death) {
        let _ = death;
    }

    /// A worker could not be started: nothing more is begun.
    fn not_born(&mut self, slot: SlotId, error: &CommandError) {
        let _ = (slot, error);
    }
}
