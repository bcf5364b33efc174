//! One service as it is written down: everything that the decisions need to go on after their supervisor was killed.
//!
//! A record is not meant to last: it is read by the next supervisor of the same family since the same boot, for only so long do
//! its times and numbers of processes mean anything. What is at its usual value is left out, so that most records are short.
//!
//! Absent on purpose: probes that run (the next supervisor asks anew), and the deadlines of probes and watchdogs, which begin
//! anew: nobody listened meanwhile.

use crate::action::{Cause, State};
use crate::exit::ExitStatus;
use crate::id::{Generation, Pid, Role, ServiceId};
use crate::pool::Roll;
use crate::service::ServiceSpec;
use crate::time::Time;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

/// A service: what it was promised to be, and where it is in its life.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Its number.
    pub id: ServiceId,
    /// What it is in this life.
    pub spec: Arc<ServiceSpec>,
    /// What it will be in the next one, if that differs.
    pub next: Option<Arc<ServiceSpec>>,
    /// Everything about it that changes.
    pub life: Life,
}

impl Record {
    /// Whether the main process of this life, or of a later one, was asked for as far as is written here.
    pub fn has_begun(&self, generation: Generation) -> bool {
        let main = self.life.children.iter().any(|(role, _)| *role == Role::Main);
        let before = matches!(self.life.state, State::Waiting | State::Preparing);
        self.life.generation > generation || (self.life.generation == generation && (main || !before))
    }
}

/// A child between the wish for it and its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum Child {
    /// Its birth was asked for; the answer is still to come.
    Asked {
        /// It is to be killed as soon as it is born.
        doomed: bool,
    },
    /// It lives.
    Alive {
        /// Its number.
        pid: Pid,
        /// Since when.
        born: Time,
    },
}

/// The automatic restarts of a service up to now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default))]
pub struct Restarts {
    /// All of them.
    pub total: u64,
    /// Those in a row, without a stable time between them.
    pub row: u32,
    /// When the last counted ones happened.
    pub starts: Vec<Time>,
    /// The next one follows a birth that failed: it is not counted.
    pub after_stillbirth: bool,
}

/// Everything about a service that changes. The names are those of the engine's own fields.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub struct Life {
    /// Where it is.
    pub state: State,
    /// Since when.
    pub since: Time,
    /// Why.
    pub cause: Cause,
    /// Why it is wanted, or not.
    pub reason: Cause,
    /// Which life.
    pub generation: Generation,
    /// The service may not extend the time of the step beyond this point.
    pub extend_until: Time,
    /// Whether somebody wants it to run.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "is_usual"))]
    pub wanted: bool,
    /// It is no longer part of the family, only its end is awaited.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "is_usual"))]
    pub leaving: bool,
    /// It starts again at once after this life, for this reason.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "is_usual"))]
    pub again: Option<Cause>,
    /// It goes, or went, down because a service it requires failed.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "is_usual"))]
    pub lost: bool,
    /// Its children but for probes.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "is_usual"))]
    pub children: Vec<(Role, Child)>,
    /// Why this life ends, and whether that counts as a failure.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "is_usual"))]
    pub ending: Option<(Cause, bool)>,
    /// How the main process of this life ended.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "is_usual"))]
    pub exit: Option<ExitStatus>,
    /// The stop signal was sent, or was about to be.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "is_usual"))]
    pub asked: bool,
    /// SIGKILL is the only answer from now on.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "is_usual"))]
    pub escalated: bool,
    /// The proof that nothing is left was asked for.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "is_usual"))]
    pub clearing: bool,
    /// The main process was stopped by a signal.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "is_usual"))]
    pub paused: bool,
    /// Since when it is ready.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "is_usual"))]
    pub ready_since: Option<Time>,
    /// How often in a row the probe failed.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "is_usual"))]
    pub probe_failures: u32,
    /// The watchdog interval that the service chose itself.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "is_usual"))]
    pub own_watchdog: Option<Duration>,
    /// A reload waits.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "is_usual"))]
    pub reload_later: bool,
    /// Why the last reload command failed.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "is_usual"))]
    pub reload_failure: Option<Cause>,
    /// A one-shot that ended well.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "is_usual"))]
    pub fulfilled: bool,
    /// The next start is an automatic restart, and counts.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "is_usual"))]
    pub automatic: bool,
    /// The automatic restarts up to now.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "is_usual"))]
    pub restarts: Restarts,
    /// Why, and when, it was started again by itself the last time.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "is_usual"))]
    pub fell: Option<(Cause, Time)>,
    /// How the main process ended the last time.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "is_usual"))]
    pub last_exit: Option<ExitStatus>,
    /// What it says about itself.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "is_usual"))]
    pub status_text: String,
    /// The world was asked for the next time of the schedule.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "is_usual"))]
    pub armed: bool,
    /// The schedule came due during a run.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "is_usual"))]
    pub queued: bool,
    /// The limit of the step in progress.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "is_usual"))]
    pub step_until: Option<Time>,
    /// The limit of the reload command.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "is_usual"))]
    pub reload_until: Option<Time>,
    /// The slot of a worker of a pool.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "is_usual"))]
    pub slot: Option<u32>,
    /// Why it is to be replaced by another worker of its pool, when its turn comes.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "is_usual"))]
    pub roll: Option<Roll>,
    /// Whether its pool is wanted; one worker of each pool says so.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "is_usual"))]
    pub pool_wanted: Option<bool>,
}

impl Life {
    /// That of somebody who runs and of whom nothing else is known.
    pub fn going_on(generation: Generation, child: (Role, Child), since: Time) -> Life {
        Life {
            state: State::Up,
            since,
            cause: Cause::NextStep,
            reason: Cause::Autostart,
            generation,
            extend_until: since,
            wanted: true,
            leaving: false,
            again: None,
            lost: false,
            children: Vec::from([child]),
            ending: None,
            exit: None,
            asked: false,
            escalated: false,
            clearing: false,
            paused: false,
            ready_since: Some(since),
            probe_failures: 0,
            own_watchdog: None,
            reload_later: false,
            reload_failure: None,
            fulfilled: false,
            automatic: false,
            restarts: Restarts::default(),
            fell: None,
            last_exit: None,
            status_text: String::new(),
            armed: false,
            queued: false,
            step_until: None,
            reload_until: None,
            slot: None,
            roll: None,
            pool_wanted: None,
        }
    }
}

/// Whether a value goes without saying.
#[cfg(feature = "serde")]
fn is_usual<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
