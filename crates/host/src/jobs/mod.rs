//! Many commands, a few at a time: what [`doula_core::queue`] decides is done here.
//!
//! ```
//! use doula_host::jobs::{self, Attempt, Flow, Next, Settings, TaskId, Verdict, Work};
//! use doula_host::{Command, signals::Held};
//!
//! /// Three commands, and what they say.
//! struct Greetings { begun: u64, heard: Vec<u8> }
//!
//! impl Flow for Greetings {
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
//! impl Work for Greetings {
//!     fn command(&mut self, task: TaskId, _slot: u32) -> Command {
//!         let mut command = Command::new("echo");
//!         command.arg(format!("hello {task}"));
//!         command
//!     }
//!     fn ended(&mut self, attempt: Attempt) -> std::io::Result<()> {
//!         attempt.output.write_to(&mut self.heard)
//!     }
//! }
//!
//! let mut work = Greetings { begun: 0, heard: Vec::new() };
//! let counts = jobs::run(Settings { slots: 2, ..Settings::default() }, &mut work, &Held::back(&[])?)?;
//! assert_eq!(counts.done, 3);
//! assert_eq!(work.heard.len(), "hello 1\nhello 2\nhello 3\n".len());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Each slot has a cgroup where one may be made, so that a job is known to be over when its last descendant is. What a job
//! leaves behind is ended, and told ([`Attempt::left`]). Without a cgroup that is so only for a job that is killed.

mod adopted;
mod beside;
mod bounds;
mod drive;
mod fence;
mod flow;
#[cfg(feature = "supervisor")]
pub mod journal;
mod lines;
mod memory;
mod place;
#[cfg(feature = "supervisor")]
pub mod shown;
mod spool;
pub mod workers;

pub use adopted::{Adopted, Identity};
pub use drive::run;
pub use flow::Flow;
pub use spool::Kept;

pub use doula_core::queue::{Counts, Halt, HaltLimit, HaltOn, Pause, Policy, RetryOn, SlotId, Timeout};
pub use doula_model::recipe::Limits;
pub use doula_model::task::{Failure, TaskId, Verdict};

use crate::{Command, CommandError, Signal, Usage};
use doula_core::queue::Event;
use doula_model::exit::ExitStatus;
use doula_model::id::Pid;
use std::io;
use std::time::{Duration, SystemTime};

/// How jobs are run.
///
/// ```
/// use doula_host::jobs::{Policy, Settings, Timeout};
/// use std::time::Duration;
/// let policy = Policy { retries: 2, timeout: Some(Timeout::After(Duration::from_secs(60))), ..Policy::PLAIN };
/// let settings = Settings { slots: 4, policy, ..Settings::default() };
/// assert!(settings.contain, "what a job leaves behind is ended, if nobody says otherwise");
/// ```
#[derive(Clone, Debug)]
pub struct Settings {
    /// So many at once.
    pub slots: SlotId,
    /// How often each is tried, for how long, and when all is given up.
    pub policy: Policy,
    /// Decides the random share of pauses.
    pub seed: u64,
    /// What becomes of what they say.
    pub capture: Capture,
    /// Whether descendants that outlive their job are ended.
    pub contain: bool,
    /// What each job, or each worker, may have with all its descendants. What does not hold here, or in another way, is told
    /// ([`Flow::note`]).
    pub limits: Limits,
    /// So often [`Flow::throttle`] is asked, if at all.
    pub look_every: Option<Duration>,
    /// What the process of a job is sent to be asked to end, where no cgroup has all of the job: SIGTERM, or what it
    /// hands on as that.
    pub ask: Signal,
}

impl Default for Settings {
    /// One at a time, once each, all of its output when it has ended.
    fn default() -> Settings {
        let policy = Policy::PLAIN;
        Settings {
            slots: 1,
            policy,
            seed: 0,
            capture: Capture::Whole,
            contain: true,
            limits: Limits::default(),
            look_every: None,
            ask: Signal::TERM,
        }
    }
}

/// What becomes of what jobs write to standard output and standard error.
///
/// ```
/// use doula_host::jobs::{Capture, Settings};
/// // For a job that asks people: it has our terminal.
/// let settings = Settings { capture: Capture::None, ..Settings::default() };
/// assert_eq!(settings.slots, 1);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capture {
    /// They have our streams.
    None,
    /// It is kept until they have ended.
    Whole,
    /// It is told line by line.
    Lines,
}

/// One of the two streams.
///
/// ```
/// use doula_host::jobs::{self, Attempt, Capture, Flow, Next, Settings, SlotId, Stream, TaskId, Verdict, Work};
/// use doula_host::{Command, signals::Held};
/// # use std::io;
///
/// /// One command that complains.
/// struct Complaint { is_left: bool, heard: Vec<u8> }
///
/// impl Flow for Complaint {
///     // …
/// #     fn next(&mut self) -> io::Result<Next> {
/// #         Ok(if std::mem::take(&mut self.is_left) { Next::Task } else { Next::End })
/// #     }
/// #     fn settled(&mut self, _task: TaskId, _verdict: Verdict, _attempts: u32) -> io::Result<()> {
/// #         Ok(())
/// #     }
/// }
///
/// impl Work for Complaint {
///     fn line(&mut self, _task: TaskId, stream: Stream, line: &[u8]) -> io::Result<()> {
///         if stream == Stream::Err {
///             self.heard.extend_from_slice(line);
///         }
///         Ok(())
///     }
///     fn command(&mut self, _task: TaskId, _slot: SlotId) -> Command {
///         let mut command = Command::new("sh");
///         command.args(["-c", "echo fine; echo but slow >&2"]);
///         command
///     }
/// #     fn ended(&mut self, _attempt: Attempt) -> io::Result<()> {
/// #         Ok(())
/// #     }
/// }
///
/// let mut work = Complaint { is_left: true, heard: Vec::new() };
/// jobs::run(Settings { capture: Capture::Lines, ..Settings::default() }, &mut work, &Held::back(&[])?)?;
/// assert_eq!(work.heard, b"but slow\n");
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

/// Whether there is another task.
///
/// ```
/// use doula_host::jobs::Next;
/// /// As `Flow::next` may have it: a task for each word.
/// fn next<'a>(words: &mut impl Iterator<Item = &'a str>) -> Next {
///     if words.next().is_some() { Next::Task } else { Next::End }
/// }
/// let mut words = "one two".split(' ');
/// assert_eq!([(); 3].map(|()| next(&mut words)), [Next::Task, Next::Task, Next::End]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// There is; its number is the next one, from 1 on.
    Task,
    /// The next number is behind this one: of those up to it only some will come, as [`Next::Again`].
    Behind(TaskId),
    /// There is, and it was in work before.
    Again(Before),
    /// Not yet: ask again when [`Flow::waits_for`] is readable.
    Wait,
    /// There will be no more.
    End,
}

/// A task that was in work before.
///
/// ```
/// use doula_host::jobs::{Before, Next, TaskId};
/// // An earlier run tried task 7 twice, and who worked at it died once.
/// let next = Next::Again(Before { task: TaskId(7), attempt: 3, deaths: 1 });
/// # assert_ne!(next, Next::Task);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Before {
    /// Its number.
    pub task: TaskId,
    /// Which attempt at it is next.
    pub attempt: u32,
    /// So many attempts ended in the death of who worked at it.
    pub deaths: u32,
}

impl Before {
    /// What the queue is told of it.
    fn event(self) -> Event {
        let Before { task, attempt, deaths } = self;
        Event::Again { task, attempt, deaths }
    }
}

/// What is known of an end.
///
/// ```
/// use doula_host::ExitStatus;
/// use doula_host::jobs::{Known, Stop};
/// /// As `Work::learn` may have it, where a shell begins each job.
/// fn learn(status: ExitStatus) -> Known {
///     match status.exit_code() {
///         // There is no such program: the other jobs would fare no better.
///         Some(code @ (126 | 127)) => Known::NotStarted(code, Stop::Soon),
///         _ => Known::Seen,
///     }
/// }
/// assert_eq!(learn(ExitStatus::code(127)), Known::NotStarted(127, Stop::Soon));
/// assert_eq!(learn(ExitStatus::code(1)), Known::Seen);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// What the attempt says.
    Seen,
    /// The job could not be started: the code that a shell has for that, and whether others should be.
    NotStarted(u8, Stop),
}

/// What to do after a signal.
///
/// ```
/// use doula_host::{Signal, jobs::Stop};
/// /// As `Flow::signal` may have it.
/// fn stop(signal: Signal) -> Stop {
///     match signal {
///         Signal::HUP => Stop::No,
///         Signal::TERM => Stop::Soon,
///         _ => Stop::Now,
///     }
/// }
/// assert_eq!(stop(Signal::INT), Stop::Now);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Nothing.
    No,
    /// Nothing more is begun.
    Soon,
    /// What runs is asked to end too, and killed after the grace.
    Now,
    /// What runs is killed.
    Kill,
}

/// How the commands of tasks are made, and what is told of them beside [`Flow`].
///
/// ```
/// use doula_host::jobs::{self, Attempt, Failure, Flow, Next, Settings, SlotId, TaskId, Verdict, Work};
/// use doula_host::{Command, signals::Held};
/// # use std::io;
///
/// /// Programs, and those of them that failed.
/// struct Checks { programs: [&'static str; 2], begun: usize, failed: Vec<(TaskId, Verdict)> }
///
/// impl Flow for Checks {
///     fn next(&mut self) -> io::Result<Next> {
///         self.begun += 1;
///         Ok(if self.begun <= self.programs.len() { Next::Task } else { Next::End })
///     }
///     fn settled(&mut self, task: TaskId, verdict: Verdict, _attempts: u32) -> io::Result<()> {
///         if verdict != Verdict::Done {
///             self.failed.push((task, verdict));
///         }
///         Ok(())
///     }
/// }
///
/// impl Work for Checks {
///     fn command(&mut self, task: TaskId, _slot: SlotId) -> Command {
///         Command::new(self.programs[task.0 as usize - 1])
///     }
///     fn ended(&mut self, attempt: Attempt) -> io::Result<()> {
///         println!("task {} {} after {:?}", attempt.task, attempt.status, attempt.took);
///         Ok(())
///     }
/// }
///
/// let mut checks = Checks { programs: ["true", "false"], begun: 0, failed: Vec::new() };
/// jobs::run(Settings::default(), &mut checks, &Held::back(&[])?)?;
/// assert_eq!(checks.failed, [(TaskId(2), Verdict::Failed(Failure::Code(1)))]);
/// # Ok::<(), std::io::Error>(())
/// ```
pub trait Work: Flow {
    /// An attempt is about to begin: what must be done before, [`Work::command`] comes next.
    ///
    /// # Errors
    /// It does not begin, and nothing more does.
    fn prepare(&mut self, task: TaskId, attempt: u32, slot: SlotId) -> io::Result<()> {
        let _ = (task, attempt, slot);
        Ok(())
    }

    /// Who works at a task already, since before this run: then nobody is born for it.
    fn adopt(&mut self, task: TaskId) -> Option<Adopted> {
        let _ = task;
        None
    }

    /// The command of a task in this slot. Its standard input is what it says, or nothing; its output is captured.
    fn command(&mut self, task: TaskId, slot: SlotId) -> Command;

    /// An attempt could not begin; whether others should.
    fn not_born(&mut self, task: TaskId, attempt: u32, error: &CommandError) -> Stop {
        let _ = (task, attempt, error);
        Stop::No
    }

    /// A line of a job, with its end if it has one ([`Capture::Lines`]).
    ///
    /// # Errors
    /// Those of writing it. All is given up then.
    fn line(&mut self, task: TaskId, stream: Stream, line: &[u8]) -> io::Result<()> {
        let _ = (task, stream, line);
        Ok(())
    }

    /// An attempt ended: what more is known of it than its process showed goes into it.
    ///
    /// # Errors
    /// Those of finding that out. All is given up then.
    fn learn(&mut self, attempt: &mut Attempt) -> io::Result<Known> {
        let _ = attempt;
        Ok(Known::Seen)
    }

    /// An attempt ended.
    ///
    /// # Errors
    /// Those of writing what it said. All is given up then.
    fn ended(&mut self, attempt: Attempt) -> io::Result<()>;
}

/// An attempt that ended.
///
/// ```
/// use doula_host::jobs::Attempt;
/// /// As `Work::ended` may have it.
/// fn ended(attempt: Attempt) -> std::io::Result<()> {
///     attempt.output.write_to(&mut std::io::stdout())?;
///     if !attempt.status.success() {
///         eprintln!("task {} {} after {:?}", attempt.task, attempt.status, attempt.took);
///         attempt.error.write_to(&mut std::io::stderr())?;
///     }
///     Ok(())
/// }
/// ```
#[derive(Debug)]
pub struct Attempt {
    /// At which task.
    pub task: TaskId,
    /// The n-th, from 1.
    pub number: u32,
    /// Where.
    pub slot: SlotId,
    /// The number that its process had, as far as that is known: by it a core is found.
    pub pid: Option<Pid>,
    /// How its process ended.
    pub status: ExitStatus,
    /// When it began, for people.
    pub began: SystemTime,
    /// How long it took, until its last descendant was gone.
    pub took: Duration,
    /// What it used.
    pub usage: Usage,
    /// What it wrote to standard output ([`Capture::Whole`]).
    pub output: Kept,
    /// What it wrote to standard error ([`Capture::Whole`]).
    pub error: Kept,
    /// It came to its end by itself and left somebody behind, who was ended.
    pub left: bool,
    /// So many of it the kernel killed for want of memory, by the count of its cgroup. `None`: nobody counted, for its memory has
    /// no limit ([`Settings::limits`]), or one by an rlimit.
    pub oom_kills: Option<u64>,
}
