//! What the user promised about a service, as far as the *decisions* need it.
//!
//! How a child is made (command, environment, user, limits …) is not here: the engine only needs to know
//! that it can ask for a birth by [`crate::id::ChildKey`]. A change in that part is seen by
//! [`ServiceSpec::fingerprint`].

use crate::exit::{ExitStatus, Outcome};
use crate::pool::PoolSpec;
use crate::signal::Signal;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

/// A service of the family (one instance: `web` with three instances is `web@1`, `web@2`, `web@3`).
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct ServiceSpec {
    /// Unique in the family.
    pub name: String,
    /// What kind of life it leads.
    pub kind: Kind,
    /// Whether it starts with the family.
    pub autostart: bool,
    /// Its end (one that is not followed by a restart) ends the family, with its exit code.
    pub essential: bool,
    /// When it starts again by itself.
    pub restart: RestartPolicy,
    /// How it is ended.
    pub stop: StopPolicy,
    /// When it counts as ready.
    pub ready: ReadyPolicy,
    /// The longest silence between two `WATCHDOG=1` messages; then it is killed and counts as failed.
    pub watchdog: Option<Duration>,
    /// A probe that must succeed again and again while it is up.
    pub liveness: Option<ProbePolicy>,
    /// The command before the main process, if any: its time limit.
    pub pre_start: Option<Duration>,
    /// The command after the last process, if any: its time limit.
    pub post_stop: Option<Duration>,
    /// How it is asked to read its configuration again.
    pub reload: Reload,
    /// Whom it needs, and in which order.
    pub deps: Vec<Dependency>,
    /// The pool that it is a worker of: then it is started and stopped by its pool, and `autostart` is of no account.
    pub pool: Option<Arc<PoolSpec>>,
    /// A digest of everything about the service that is not in this struct. A different digest under the
    /// same name is a changed service.
    pub fingerprint: u64,
}

impl ServiceSpec {
    /// A plain service with every default: `doula.toml` with nothing but a command.
    pub fn new(name: impl Into<String>) -> ServiceSpec {
        ServiceSpec {
            name: name.into(),
            kind: Kind::Daemon,
            autostart: true,
            essential: false,
            restart: RestartPolicy::default(),
            stop: StopPolicy::default(),
            ready: ReadyPolicy::default(),
            watchdog: None,
            liveness: None,
            pre_start: None,
            post_stop: None,
            reload: Reload::Restart,
            deps: Vec::new(),
            pool: None,
            fingerprint: 0,
        }
    }
}

/// What kind of life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum Kind {
    /// Runs until it is stopped.
    Daemon,
    /// Runs to its end; ready when it ended well.
    Oneshot,
    /// A one-shot that starts each time its schedule is due (the world tells: [`crate::event::Event::Due`]).
    Scheduled {
        /// What happens when the schedule is due while the last run still goes on.
        overlap: Overlap,
    },
}

/// A schedule comes due while the last run still goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum Overlap {
    /// This run is left out, and reported.
    #[default]
    Skip,
    /// One run follows directly when the current one ends.
    Queue,
}

/// When a service starts again by itself.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct RestartPolicy {
    /// After which ends.
    pub when: RestartWhen,
    /// Ends that count as success, beside code 0. A stop that we asked for is always a success.
    pub success: Vec<Outcome>,
    /// The pause before the first restart; grows by `factor` for each further one.
    pub delay: Duration,
    /// The longest pause.
    pub max_delay: Duration,
    /// How much the pause grows each time.
    pub factor: f32,
    /// The random share of a pause, 0 to 1: 0.1 makes 1 s anything from 0.9 to 1.1 s.
    pub jitter: f32,
    /// After being up this long the pause starts from `delay` again.
    pub reset_after: Duration,
    /// No more than `burst` automatic restarts within `interval`; then the service has failed.
    /// Restarts by hand are not counted. `None`: it is tried for ever.
    pub limit: Option<StartLimit>,
}

/// How many automatic restarts are too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct StartLimit {
    /// This many …
    pub burst: u32,
    /// … within this time.
    pub interval: Duration,
}

impl Default for StartLimit {
    /// With the usual pauses a service that ends at once has failed after half a minute; whoever lives for two
    /// seconds or more never comes to the limit, because the pauses grow.
    fn default() -> StartLimit {
        StartLimit { burst: 8, interval: Duration::from_secs(60) }
    }
}

impl Default for RestartPolicy {
    fn default() -> RestartPolicy {
        RestartPolicy {
            when: RestartWhen::OnFailure,
            success: Vec::new(),
            delay: Duration::from_millis(100),
            max_delay: Duration::from_secs(30),
            factor: 2.0,
            jitter: 0.1,
            reset_after: Duration::from_secs(10),
            limit: Some(StartLimit::default()),
        }
    }
}

impl RestartPolicy {
    /// Whether this end counts as a success.
    pub fn is_success(&self, status: ExitStatus) -> bool {
        status.success() || self.success.contains(&status.outcome)
    }
}

/// After which ends a service starts again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum RestartWhen {
    /// After every end that nobody asked for.
    Always,
    /// After an end that is no success.
    #[default]
    OnFailure,
    /// Not at all.
    Never,
}

/// How a service is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct StopPolicy {
    /// The signal that asks.
    pub signal: Signal,
    /// Who gets it.
    pub scope: Scope,
    /// How long the main process has before SIGKILL goes to the whole tree.
    pub grace: Duration,
    /// How long what is left of the tree has, after the main process is gone, between SIGTERM and SIGKILL.
    pub leftover_grace: Duration,
}

impl Default for StopPolicy {
    fn default() -> StopPolicy {
        StopPolicy {
            signal: Signal::TERM,
            scope: Scope::Main,
            grace: Duration::from_secs(10),
            leftover_grace: Duration::from_secs(5),
        }
    }
}

/// Who gets a signal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum Scope {
    /// The main process.
    #[default]
    Main,
    /// The main process's group.
    Group,
    /// Every descendant.
    Tree,
}

/// When a service counts as ready, so that those who need it may start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct ReadyPolicy {
    /// By what.
    pub by: ReadyBy,
    /// The longest time until then; afterwards the start has failed. `None`: no limit.
    pub timeout: Option<Duration>,
}

/// What makes a service ready.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum ReadyBy {
    /// It was executed.
    #[default]
    Exec,
    /// It says so: `READY=1` (sd_notify(3)), a newline on the readiness fd, or the log line that was asked
    /// for. The world tells which came: [`crate::event::Notice::Ready`].
    Notice,
    /// A probe succeeds (TCP, HTTP, or a command): asked again and again.
    Probe(ProbePolicy),
}

/// A probe that is repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct ProbePolicy {
    /// The pause before the first attempt.
    pub initial_delay: Duration,
    /// The pause between the end of an attempt and the next.
    pub interval: Duration,
    /// How long one attempt may take.
    pub timeout: Duration,
    /// So many failures in a row make a live service count as dead. A readiness probe ignores this.
    pub failures: u32,
}

impl Default for ProbePolicy {
    fn default() -> ProbePolicy {
        ProbePolicy {
            initial_delay: Duration::ZERO,
            interval: Duration::from_secs(1),
            timeout: Duration::from_secs(5),
            failures: 3,
        }
    }
}

/// How a service is asked to read its configuration again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum Reload {
    /// It cannot: it is restarted.
    #[default]
    Restart,
    /// By a signal to its main process.
    Signal(Signal),
    /// By a command ([`crate::id::Role::Reload`]) with this time limit.
    Command(Duration),
}

/// One service needs another.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Dependency {
    /// The other's name.
    pub on: String,
    /// How much it is needed.
    pub kind: DependencyKind,
}

/// How much another service is needed (systemd.unit(5)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum DependencyKind {
    /// Started too, first, and ready before; if it fails to start this one does not start; if it stops, this
    /// one is stopped before it. (systemd: `Requires=` with `After=`.)
    Requires,
    /// Started too, first; this one starts when it is ready or has failed
    /// at least once (also if it is tried again). (systemd: `Wants=` with `After=`.)
    Wants,
    /// Only the order, if both are started or stopped.
    After,
}
