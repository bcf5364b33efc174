//! What happens to the family: the only way in which the world speaks to the decisions.

use crate::exit::ExitStatus;
use crate::id::{ChildKey, Generation, Pid, PoolId, ServiceId};
use crate::plan::SpawnError;
use crate::pool::{Checkup, Measure};
use crate::service::ServiceSpec;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

/// Something happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A birth that was asked for succeeded: the program is being executed.
    Born {
        /// Which child.
        key: ChildKey,
        /// Its number, for display.
        pid: Pid,
    },
    /// A birth that was asked for failed. No [`Event::Exited`] follows.
    Stillborn {
        /// Which child.
        key: ChildKey,
        /// At which step and why.
        error: SpawnError,
    },
    /// A child ended and was reaped. Exactly once for each [`Event::Born`].
    Exited {
        /// Which child.
        key: ChildKey,
        /// How.
        status: ExitStatus,
    },
    /// The main process was stopped (SIGSTOP, SIGTSTP) by somebody.
    Paused {
        /// Which child.
        key: ChildKey,
    },
    /// The main process goes on after a stop.
    Resumed {
        /// Which child.
        key: ChildKey,
    },
    /// The answer to [`crate::action::Action::Clear`]: no process of this generation is left, and this is
    /// proven.
    Emptied {
        /// Whose.
        service: ServiceId,
        /// Of which life.
        generation: Generation,
        /// How many processes were found after the main process had ended.
        leftovers: u32,
    },
    /// The service spoke about itself. Only after its [`Event::Born`]; what comes before is not believed.
    Noticed {
        /// Who.
        service: ServiceId,
        /// In which life.
        generation: Generation,
        /// What.
        notice: Notice,
    },
    /// The schedule of a [`crate::service::Kind::Scheduled`] service came due.
    Due {
        /// Whose.
        service: ServiceId,
    },
    /// The answer to [`crate::action::Action::Measure`].
    Measured {
        /// Which pool.
        pool: PoolId,
        /// What was seen.
        measure: Measure,
    },
    /// The answer to [`crate::action::Action::CheckUp`].
    CheckedUp {
        /// Which pool.
        pool: PoolId,
        /// What was seen.
        seen: Vec<Checkup>,
    },
    /// The answer to [`crate::action::Action::AwaitConnection`]: a connection waits at a socket of this pool, or did.
    Knocked {
        /// Which pool.
        pool: PoolId,
    },
    /// A deadline passed (or nothing happened at all: an empty event is always allowed).
    Tick,
    /// Somebody asks for something.
    Command(Command),
}

/// What a service says about itself (sd_notify(3)), or shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// Ready to serve: by message, readiness fd or log line.
    Ready,
    /// Reads its configuration again.
    Reloading,
    /// Ends by its own decision.
    Stopping,
    /// A line for people.
    Status(String),
    /// A sign of life.
    Watchdog,
    /// Asks to be treated as if the watchdog had expired.
    WatchdogTrigger,
    /// A new watchdog interval.
    WatchdogInterval(Duration),
    /// A worker of a pool has work, or has none (`X_DOULA_BUSY`).
    Busy(bool),
    /// A worker of a pool has answered so many requests since its birth (`X_DOULA_TASKS`).
    Tasks(u64),
    /// Needs this much more time for the start or stop in progress, from now.
    ExtendTimeout(Duration),
}

/// What people ask for.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Start these, and whom they require. Also ends a back-off at once and forgets the start limit.
    Start(Vec<ServiceId>),
    /// Stop these, and before them whoever requires them.
    Stop(Vec<ServiceId>),
    /// Stop, then start; not counted by the start limit. Those who require them are restarted too.
    Restart(Vec<ServiceId>),
    /// Read the configuration again, by [`crate::service::Reload`].
    Reload(Vec<ServiceId>),
    /// This is the family from now on. Services are told apart by name; unchanged ones are not touched, nor
    /// are the processes of those whose restart policy, stop policy, dependencies or step limits differ;
    /// other changed ones are restarted if they run, missing ones are stopped and forgotten, new ones with
    /// `autostart` are started. The engine assumes that the dependencies were checked.
    Apply(Vec<ServiceSpec>),
    /// Stop everything in order, then quit.
    Shutdown(Haste),
}

/// How patient a shutdown is. A second request may only be less patient.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum Haste {
    /// In reverse order of dependencies, each with its grace time.
    Orderly,
    /// All at once, each with its grace time.
    Hurried,
    /// SIGKILL for everything.
    Kill,
}
