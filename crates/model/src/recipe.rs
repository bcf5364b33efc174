//! How the children of a service are made: the part of the configuration that only the world needs.
//!
//! Everything is resolved: names of users are numbers, the environment is complete, paths are absolute. The
//! world turns a recipe into a [`crate::plan::ChildPlan`] for each birth.

use crate::env::Environment;
use crate::plan::{Capabilities, Credentials, Rlimit};
use crate::service::ServiceSpec;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

/// A whole family: what `doula.toml` means.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FamilySpec {
    /// The name under which it is found by `doula ctl`; that of the directory if the file gives none.
    pub name: String,
    /// Its services, in the order of the file. The place in this list is the first [`crate::id::ServiceId`].
    pub services: Vec<(ServiceSpec, Recipe)>,
}

/// How the children of one service are made.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Recipe {
    /// Program and arguments. A program without a slash is searched in the `PATH` of `env`.
    pub command: Vec<String>,
    /// The command before the main process.
    pub pre_start: Vec<String>,
    /// The command after the last process.
    pub post_stop: Vec<String>,
    /// The command that makes it reload.
    pub reload: Vec<String>,
    /// Working directory; that of the supervisor if `None`.
    pub dir: Option<String>,
    /// The whole environment, without what doula adds itself (`NOTIFY_SOCKET`, `LISTEN_FDS` …).
    pub env: Environment,
    /// Who it runs as.
    pub credentials: Option<Credentials>,
    /// Which capabilities it has.
    pub capabilities: Option<Capabilities>,
    /// No more privileges by execve(2).
    pub no_new_privs: bool,
    /// File mode creation mask.
    pub umask: Option<u32>,
    /// Limits of each process.
    pub rlimits: Vec<Rlimit>,
    /// Nice value.
    pub nice: Option<i8>,
    /// CPUs, by number; all if empty.
    pub affinity: Vec<u16>,
    /// `oom_score_adj`.
    pub oom_score_adj: Option<i16>,
    /// Limits of the whole service (cgroup v2, else v1, else what rlimits can do).
    pub limits: Limits,
    /// Where its standard input comes from.
    pub stdin: Stdin,
    /// What shows that it is ready.
    pub ready: ReadySign,
    /// What shows that it lives.
    pub liveness: Option<Probe>,
    /// Whether it may speak by sd_notify(3); always so for [`ReadySign::Notify`] and with a watchdog.
    pub notify: bool,
    /// How many fds it may leave with us by `FDSTORE=1`.
    pub fd_store: u32,
    /// Its watchdog interval, for `WATCHDOG_USEC`.
    pub watchdog: Option<Duration>,
    /// Sockets that doula opens before and keeps across restarts.
    pub sockets: Vec<Socket>,
    /// When a scheduled service runs: five cron fields and a time zone, as the `cronexpr` crate reads them.
    pub schedule: Option<String>,
    /// What happens to its output.
    pub log: LogPolicy,
    /// What a worker of a pool gets with its slot.
    pub seat: Option<Seat>,
}

/// What belongs to a slot of a pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Seat {
    /// One CPU of those that the worker may use (or that are there), by the number of the slot.
    pub pin: bool,
    /// Sockets of its own, bound to the same addresses (`SO_REUSEPORT`), which last as long as the slot does.
    pub own_sockets: bool,
    /// A file in memory on which it may write what it does ([`crate::pool::Board`]).
    #[cfg_attr(feature = "serde", serde(default))]
    pub scoreboard: bool,
}

/// Limits of a whole service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Limits {
    /// Processes and threads at the same time.
    pub pids: Option<u64>,
    /// Memory in bytes.
    pub memory: Option<u64>,
    /// CPU time per time, in thousandths of one CPU: 1500 is one and a half.
    pub cpu_milli: Option<u64>,
}

impl Limits {
    /// Nothing is limited.
    pub const fn is_empty(&self) -> bool {
        self.pids.is_none() && self.memory.is_none() && self.cpu_milli.is_none()
    }
}

/// Where standard input comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum Stdin {
    /// `/dev/null`.
    #[default]
    Null,
    /// This file.
    File(String),
    /// A pipe that `doula ctl attach` writes to.
    Pipe,
    /// A pseudo terminal for input and output, for `doula ctl attach`.
    Terminal,
}

/// What shows that a service is ready.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum ReadySign {
    /// That it was executed (or, for a one-shot, that it ended well).
    #[default]
    Exec,
    /// `READY=1` by sd_notify(3).
    Notify,
    /// A newline on this fd (s6's protocol).
    Fd(u16),
    /// A line of its output that matches this regular expression.
    LogLine(String),
    /// A probe that succeeds.
    Probe(Probe),
}

/// What a probe does. It runs in a child process of its own, under [`crate::id::Role::ReadyProbe`] or
/// [`crate::id::Role::LiveProbe`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum Probe {
    /// Connects to `host:port`.
    Tcp(String),
    /// Gets this URL and wants a status of 200 to 399.
    Http(String),
    /// Runs this command and wants exit code 0.
    Exec(Vec<String>),
}

/// A socket that doula opens and passes on (sd_listen_fds(3)).
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Socket {
    /// Its name in `LISTEN_FDNAMES`.
    pub name: String,
    /// Where it listens.
    pub address: SocketAddress,
    /// The accept queue's length.
    pub backlog: u32,
}

/// Where a socket listens.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum SocketAddress {
    /// TCP, `host:port`.
    Tcp(String),
    /// UDP, `host:port`.
    Udp(String),
    /// A Unix stream socket at this path, with this mode.
    Unix {
        /// Where.
        path: String,
        /// Permission bits of the socket file.
        mode: u32,
    },
}

/// What happens to the output of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct LogPolicy {
    /// Lines a second (averaged over ten) that are passed on; what is more is dropped, counted and reported.
    /// `None`: no limit.
    pub flood: Option<u32>,
}

impl Default for LogPolicy {
    fn default() -> LogPolicy {
        LogPolicy { flood: Some(20_000) }
    }
}
