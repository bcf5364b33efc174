//! What is done about it: the only way in which the decisions speak to the world.

use crate::event::Haste;
use crate::exit::ExitStatus;
use crate::id::{ChildKey, Generation, Pid, PoolId, ServiceId};
use crate::plan::SpawnError;
use crate::pool::{PoolNews, Reason};
use crate::service::Scope;
use crate::signal::Signal;
use crate::time::Time;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

/// Something to be done, in this order. An action that meets a process which is already gone does nothing.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Give birth. Answered by exactly one `Born` or `Stillborn`.
    Spawn {
        /// To whom.
        key: ChildKey,
    },
    /// Send a signal to the main process (or its group, or all its descendants) of this generation.
    Signal {
        /// Whose.
        service: ServiceId,
        /// Of which life.
        generation: Generation,
        /// What.
        signal: Signal,
        /// To whom of them.
        scope: Scope,
    },
    /// SIGKILL one helper (probe, pre-start …) and its descendants. Its `Exited` follows.
    Kill {
        /// Which.
        key: ChildKey,
    },
    /// See that nothing of this generation is left. If something is, send it `signal` (when there is one) and
    /// go on watching. With SIGKILL: keep killing until it is so. Answered by one `Emptied`, however often it
    /// is asked before that answer. It is asked once more after the post-stop command of the generation has
    /// ended (which started in an empty generation), and then answered once more.
    Clear {
        /// Whose.
        service: ServiceId,
        /// Of which life.
        generation: Generation,
        /// What the leftovers get.
        signal: Option<Signal>,
    },
    /// Tell (`Event::Due`) when the schedule of this service comes due next. Asked once for each time; asked again
    /// before the answer (its configuration changed), the new question replaces the old one.
    ArmSchedule {
        /// Whose.
        service: ServiceId,
    },
    /// This worker of a pool has this slot from its next birth on, or gives its slot up.
    Seat {
        /// Who.
        service: ServiceId,
        /// From 1 on.
        slot: Option<u32>,
    },
    /// This worker of a pool is made again as before its last change of configuration, from its next life on.
    Revert {
        /// Who.
        service: ServiceId,
    },
    /// Look at a pool: its queue, and, if something waits there or `closely`, what its workers do. Answered at once by
    /// [`crate::event::Event::Measured`].
    Measure {
        /// Which pool.
        pool: PoolId,
        /// Those that serve; their sockets are the pool's.
        workers: Vec<ServiceId>,
        /// Look at the workers in any case.
        closely: bool,
    },
    /// Look at workers of a pool: their memory and their scoreboards. Answered at once by
    /// [`crate::event::Event::CheckedUp`].
    CheckUp {
        /// Which pool.
        pool: PoolId,
        /// Those that serve.
        workers: Vec<ServiceId>,
    },
    /// Tell once ([`crate::event::Event::Knocked`]) when a connection waits at a socket of these workers, also if one waits
    /// already. Asked again before the answer it replaces the old question; with nobody it takes it back.
    AwaitConnection {
        /// Which pool.
        pool: PoolId,
        /// Whose sockets are the pool's.
        workers: Vec<ServiceId>,
    },
    /// The service is no longer part of the family; nothing of it runs. Its resources can be given back.
    Forget {
        /// Who.
        service: ServiceId,
    },
    /// For the log, the event stream and the eyes of people.
    Report(Report),
    /// All is over: end with this exit code.
    Quit {
        /// The exit code of the family.
        code: u8,
    },
}

/// Something worth telling.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Report {
    /// When it happened: the time of the event that led to it, which may be long before anybody is told.
    pub at: Time,
    /// About whom; `None`: the family.
    pub service: Option<ServiceId>,
    /// In which life.
    pub generation: Generation,
    /// What.
    pub news: News,
}

/// What is worth telling.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "kebab-case", tag = "news")
)]
pub enum News {
    /// It goes from one state into another.
    Turned {
        /// Before.
        from: State,
        /// Now.
        to: State,
        /// Why.
        because: Cause,
    },
    /// A child was born.
    Born {
        /// To do what.
        role: crate::id::Role,
        /// Its number.
        pid: Pid,
    },
    /// A child ended.
    Exited {
        /// What it was there for.
        role: crate::id::Role,
        /// How it ended.
        status: ExitStatus,
        /// How long it lived.
        lived: Duration,
    },
    /// The service is ready.
    Ready {
        /// How long after its birth.
        after: Duration,
    },
    /// It will start again by itself.
    RestartIn {
        /// After this pause.
        delay: Duration,
        /// For the n-th time in a row.
        attempt: u32,
    },
    /// Nothing is left of a generation.
    Empty {
        /// So many processes had outlived the main process.
        leftovers: u32,
    },
    /// The grace time is over; SIGKILL follows.
    Escalated,
    /// The main process was stopped by somebody (SIGSTOP); it is not "running" until it goes on.
    Paused,
    /// It goes on.
    Resumed,
    /// What the service says about itself.
    Status {
        /// In its words.
        text: String,
    },
    /// A probe failed, so many times in a row.
    ProbeFailed {
        /// Which probe.
        role: crate::id::Role,
        /// How often in a row.
        failures: u32,
    },
    /// The kernel killed processes of it for want of memory.
    OutOfMemory {
        /// So many since the last time this was told.
        killed: u64,
        /// The limit of the service in bytes; `None`: it has none, the machine was short of memory.
        limit: Option<u64>,
    },
    /// SIGKILL was sent, and there are processes that cannot take it.
    Unkillable(Unkillable),
    /// A pool changed, or could not.
    Pool {
        /// Which.
        pool: String,
        /// How.
        #[cfg_attr(feature = "serde", serde(flatten))]
        change: PoolNews,
    },
    /// A scheduled run was left out because the last one still goes on.
    RunSkipped,
    /// The supervisor goes on as another program.
    Upgraded {
        /// Its version before.
        from: String,
        /// Its version now.
        to: String,
        /// For so long nobody looked after the family.
        took: Duration,
    },
    /// The family shuts down.
    ShuttingDown {
        /// How patiently.
        haste: Haste,
        /// Why.
        because: Cause,
    },
    /// Nothing of the family is left: every descendant has ended and was buried.
    FamilyEmpty,
}

/// Processes that sleep in the kernel (state D), and take no signal before they wake up.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Unkillable {
    /// One of them.
    pub pid: Pid,
    /// How many there are.
    pub count: u32,
    /// In which function of the kernel the one sleeps, if that can be seen.
    pub function: Option<String>,
}

/// Where a service is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum State {
    /// Nothing runs and nothing is wanted.
    Stopped,
    /// Nothing runs; its schedule will start the next run.
    Scheduled,
    /// Wanted, but somebody it needs is not ready yet.
    Waiting,
    /// The pre-start command runs.
    Preparing,
    /// The main process runs and is not ready yet.
    Starting,
    /// The main process runs and is ready.
    Up,
    /// The main process was asked to end.
    Stopping,
    /// The main process is gone; what it left behind is being ended.
    Clearing,
    /// Nothing is left; the post-stop command runs.
    Cleaning,
    /// Waits before it starts again.
    BackingOff,
    /// A one-shot that ended well, or a daemon that ended and is not to start again.
    Done,
    /// Ended badly and does not start again by itself.
    Failed,
}

/// Why something is as it is.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "kebab-case", tag = "cause")
)]
pub enum Cause {
    /// The family starts.
    Autostart,
    /// Somebody asked for it.
    Asked,
    /// Another service needs it.
    NeededBy {
        /// Who.
        service: String,
    },
    /// Another service it needs is not ready.
    WaitsFor {
        /// Who.
        service: String,
    },
    /// Another service it requires failed or stops.
    LostDependency {
        /// Who.
        service: String,
    },
    /// The step before succeeded.
    NextStep,
    /// The main process (or the command of this step) ended.
    Exit {
        /// How.
        status: ExitStatus,
    },
    /// The reload command did not end well.
    ReloadFailed {
        /// How it ended.
        status: ExitStatus,
    },
    /// No child could be made.
    SpawnFailed {
        /// Where and why.
        error: SpawnError,
    },
    /// Not ready in time.
    ReadyTimeout,
    /// The command of this step took too long.
    StepTimeout,
    /// The watchdog heard nothing in time.
    WatchdogExpired,
    /// The liveness probe failed too often in a row.
    NotAlive,
    /// The grace time passed.
    GraceOver,
    /// Nothing is left.
    Empty,
    /// The pause before a restart is over.
    BackOffOver,
    /// Too many restarts in too short a time.
    StartLimit,
    /// Its schedule came due.
    Schedule,
    /// The configuration changed.
    Reconfigured,
    /// The family shuts down.
    Shutdown,
    /// An essential service ended.
    EssentialEnded {
        /// Which.
        service: String,
    },
    /// Nothing is left that could do anything: every service is done or failed.
    NothingLeft,
    /// It ends by its own decision.
    OwnWish,
    /// Its pool changes its size.
    Pool {
        /// Why.
        reason: Reason,
    },
    /// It replaces another worker of its pool, or is replaced.
    Roll {
        /// Why.
        because: crate::pool::Roll,
    },
}

impl Cause {
    /// The other service that it names.
    #[must_use]
    pub fn service(&self) -> Option<&str> {
        match self {
            Cause::NeededBy { service }
            | Cause::WaitsFor { service }
            | Cause::LostDependency { service }
            | Cause::EssentialEnded { service } => Some(service),
            Cause::Autostart
            | Cause::Asked
            | Cause::NextStep
            | Cause::Exit { .. }
            | Cause::ReloadFailed { .. }
            | Cause::SpawnFailed { .. }
            | Cause::ReadyTimeout
            | Cause::StepTimeout
            | Cause::WatchdogExpired
            | Cause::NotAlive
            | Cause::GraceOver
            | Cause::Empty
            | Cause::BackOffOver
            | Cause::StartLimit
            | Cause::Schedule
            | Cause::Reconfigured
            | Cause::Shutdown
            | Cause::NothingLeft
            | Cause::Pool { .. }
            | Cause::Roll { .. }
            | Cause::OwnWish => None,
        }
    }
}
