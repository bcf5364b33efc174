//! A pool: workers of one kind that share their sockets, and whose number follows the work.
//!
//! A *worker* is a service of the engine (`web@1`, `web@2` …). While it works it has a *slot*, a number from 1 on that
//! its process finds in `DOULA_SLOT`; a worker that replaces another one gets that one's slot. So slots are lasting
//! and workers are not: what belongs to a place (a CPU, a socket of its own) belongs to the slot.
//!
//! Deliberately absent: how the number is found (`doula-core`, module `pool`) and how work is seen (`doula-host`).

use crate::id::{Generation, ServiceId};
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

/// What the user promised about a pool, as far as the decisions need it. Every worker's
/// [`crate::service::ServiceSpec`] has the one of its pool.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct PoolSpec {
    /// Unique among pools and services.
    pub name: String,
    /// How it finds its size.
    pub policy: Policy,
    /// Between which numbers.
    pub bounds: Bounds,
    /// Whether it starts with the family.
    pub autostart: bool,
    /// So many workers are replaced at the same time; so many more than the maximum may live meanwhile.
    pub surge: u32,
    /// A worker that replaces another one must have been ready for so long before that one is drained.
    pub min_ready: Duration,
    /// What becomes of the others when a worker fails while the pool starts.
    pub on_start_failure: StartFailure,
    /// When a worker has served long enough.
    pub recycle: Recycle,
    /// Each worker has a scoreboard, on which it may write what it does ([`Board`]).
    #[cfg_attr(feature = "serde", serde(default))]
    pub scoreboard: bool,
}

impl PoolSpec {
    /// A pool with the usual policy and rules.
    pub fn new(name: impl Into<String>, bounds: Bounds) -> PoolSpec {
        PoolSpec {
            name: name.into(),
            policy: Policy::Backlog,
            bounds,
            autostart: true,
            surge: 1,
            min_ready: Duration::ZERO,
            on_start_failure: StartFailure::Keep,
            recycle: Recycle::default(),
            scoreboard: false,
        }
    }

    /// How many workers it needs in the family: the most that serve, and those that replace others.
    pub fn places(&self) -> u32 {
        self.bounds.max.saturating_add(self.surge)
    }
}

/// What becomes of a pool when one of its first workers fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum StartFailure {
    /// The others serve; the one that failed is tried again by its restart policy.
    #[default]
    Keep,
    /// The others are stopped, and the pool has failed.
    RollBack,
}

/// When a worker has served long enough, and is replaced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Recycle {
    /// After so many requests, which it counts itself (`X_DOULA_TASKS`, or its scoreboard).
    pub requests: Option<u64>,
    /// After this time, less a random share of a tenth, so that those of one start do not leave together.
    pub age: Option<Duration>,
    /// When its memory grows as fast as this.
    pub leak: Option<Leak>,
}

/// How fast the memory of a worker may grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Leak {
    /// By so many bytes …
    pub memory: u64,
    /// … in this time.
    pub within: Duration,
}

/// How a pool finds its size.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum Policy {
    /// Always the maximum; who is missing is started again.
    Fixed,
    /// By what waits in the accept queue: nothing is asked of the workers. The default.
    Backlog,
    /// Apache's prefork MPM (`server/mpm/prefork/prefork.c`): a look each second, 1, 2, 4 … 32 more while too few are idle, one
    /// less while too many are.
    Apache(Spare),
    /// `pm = dynamic` of php-fpm (`sapi/fpm/fpm/fpm_process_ctl.c`): as Apache, but never more at once than are missing.
    FpmDynamic(Spare),
    /// `pm = ondemand` of php-fpm: one more for each connection that meets nobody idle.
    FpmOndemand {
        /// Who is idle for longer is drained, one each second (`pm.process_idle_timeout`).
        idle: Duration,
    },
    /// `cheaper-algo = spare` of uWSGI (`core/master_utils.c`).
    UwsgiSpare {
        /// How many at once (`cheaper-step`).
        step: u32,
        /// After how many seconds in which all were busy (`cheaper-overload`).
        overload: u32,
    },
}

impl Policy {
    /// Its name in the configuration.
    pub const fn name(&self) -> &'static str {
        match self {
            Policy::Fixed => "fixed",
            Policy::Backlog => "backlog",
            Policy::Apache(_) => "apache",
            Policy::FpmDynamic(_) => "fpm-dynamic",
            Policy::FpmOndemand { .. } => "fpm-ondemand",
            Policy::UwsgiSpare { .. } => "uwsgi-spare",
        }
    }
}

/// How many idle workers there should be (`MinSpareServers`, `MaxSpareServers`; `pm.min_spare_servers`, `pm.max_spare_servers`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Spare {
    /// Fewer than these: more are started.
    pub min: u32,
    /// More than these: one is drained.
    pub max: u32,
}

/// The bounds of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Bounds {
    /// How many there are from the beginning; ours and uWSGI's never go below.
    pub start: u32,
    /// How many there may be, with those that are drained.
    pub max: u32,
}

/// Why a pool changes its size, or does not though it would.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum Reason {
    /// There is nothing to change.
    Steady,
    /// Fewer than there always should be.
    BelowStart,
    /// Fewer are idle than the policy wants.
    FewIdle,
    /// More are idle than the policy wants.
    ManyIdle,
    /// Connections wait, and nobody is about to take them.
    Queue,
    /// All were busy for too long.
    AllBusy,
    /// More are wanted, but there are as many as there may be.
    AtMaximum,
    /// More are wanted, but there is no memory for them.
    Memory,
    /// More are wanted, but the machine is short of CPU or memory already.
    Pressure,
    /// More are wanted, but those that start end at once.
    Failing,
}

/// What the world sees of a pool at one look.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Measure {
    /// Connections that nobody has accepted yet.
    pub queue: u32,
    /// Whether each of these workers has work; who is not named was not looked at, or cannot be seen into.
    pub busy: Vec<(ServiceId, Generation, bool)>,
    /// For how many more workers there is memory, by what those that are there take; `None`: not known.
    pub memory_for: Option<u32>,
    /// Whether work stands still for want of CPU or memory.
    pub pressure: bool,
    /// What those workers have written that have a scoreboard.
    pub boards: Vec<(ServiceId, Generation, Board)>,
}

/// What a worker has written on its scoreboard: a file of 64 bytes in memory, of which the first 16 have a meaning.
///
/// ```text
/// byte 0..4   u32  0: it says nothing of its work, 1: it has none, 2: it has some
/// byte 8..16  u64  how many requests it has answered since it started
/// ```
///
/// Both are in the byte order of the machine. The rest is zero, and is kept for later.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Board {
    /// Whether it has work, if it says so.
    pub busy: Option<bool>,
    /// How many requests it has answered.
    pub requests: u64,
}

impl Board {
    /// How long the file is.
    pub const LENGTH: u64 = 64;

    /// What these bytes mean. A word that means nothing says nothing.
    ///
    /// ```
    /// use doula_model::pool::Board;
    /// let board = Board { busy: Some(true), requests: 7 };
    /// assert_eq!(Board::from_bytes(board.to_bytes()), board);
    /// assert_eq!(Board::from_bytes([0xff; 16]).busy, None);
    /// ```
    pub fn from_bytes(bytes: [u8; 16]) -> Board {
        let [a, b, c, d, _, _, _, _, requests @ ..] = bytes;
        let busy = match u32::from_ne_bytes([a, b, c, d]) {
            1 => Some(false),
            2 => Some(true),
            _ => None,
        };
        Board { busy, requests: u64::from_ne_bytes(requests) }
    }

    /// The first bytes of the file.
    pub fn to_bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        let word = self.busy.map_or(0_u32, |busy| 1 + u32::from(busy));
        bytes[..4].copy_from_slice(&word.to_ne_bytes());
        bytes[8..].copy_from_slice(&self.requests.to_ne_bytes());
        bytes
    }
}

/// What is seen of one worker when it is asked whether it has served long enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checkup {
    /// Who.
    pub worker: ServiceId,
    /// In which life.
    pub life: Generation,
    /// How many bytes of memory its main process has for itself, with what was swapped out.
    pub memory: Option<u64>,
    /// What it has written.
    pub board: Option<Board>,
}

/// Something worth telling about a pool.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "kebab-case", tag = "change")
)]
pub enum PoolNews {
    /// It changes its size.
    Sized {
        /// So many served.
        from: u32,
        /// So many are to serve.
        to: u32,
        /// Why.
        reason: Reason,
    },
    /// It would grow, and must not. Told when it begins to be so.
    Held {
        /// So many serve.
        at: u32,
        /// Why it must not.
        reason: Reason,
    },
    /// Its workers are replaced one after the other.
    RollBegins {
        /// So many of them.
        workers: u32,
        /// Why.
        because: Roll,
    },
    /// A worker was replaced, and its last process is gone.
    Replaced {
        /// Who left.
        old: String,
        /// Who came.
        new: String,
        /// So many are replaced.
        done: u32,
        /// Of so many.
        of: u32,
    },
    /// All of them are replaced.
    RollOver {
        /// So many.
        workers: u32,
        /// How long it took.
        took: Duration,
    },
    /// A new worker did not become ready; those that were not replaced yet stay.
    RollFailed {
        /// Which.
        worker: String,
        /// So many run what is new.
        replaced: u32,
        /// Whether those go back to what they were.
        reverts: bool,
    },
    /// A worker failed while the pool started.
    StartFailed {
        /// Which.
        worker: String,
        /// What becomes of the others.
        then: StartFailure,
    },
    /// None of its workers is left that could serve.
    Failed,
}

/// Why workers are replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum Roll {
    /// Somebody asked for it.
    Asked,
    /// The configuration changed.
    Reconfigured,
    /// The new ones did not become ready: back to what was.
    Reverted,
    /// It has answered as many requests as it may.
    Requests,
    /// It is as old as it may be.
    Age,
    /// Its memory grows too fast.
    Leak,
}
