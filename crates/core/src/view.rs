//! The family as people see it.

pub use crate::crew::{Doing, PoolView, Rolling, WorkerView};

use crate::child::ROLES;
pub use crate::context::has_processes;
use crate::engine::Engine;
use crate::service::{Service, Wish};
use crate::timers::Alarm;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use doula_model::action::{Cause, State};
use doula_model::exit::ExitStatus;
use doula_model::id::{Generation, Pid, Role, ServiceId};
use doula_model::service::ServiceSpec;
use doula_model::time::Time;

/// One service as people see it.
#[derive(Clone, Debug, PartialEq)]
pub struct ServiceView {
    /// Its number.
    pub id: ServiceId,
    /// Its name.
    pub name: String,
    /// Where it is in its life.
    pub state: State,
    /// Since when.
    pub since: Time,
    /// Why.
    pub cause: Cause,
    /// Whether somebody wants it to run. A service that is `Up` and not wanted waits for those who need it to end.
    pub wanted: bool,
    /// It is to end and to start again. One that is `Up` waits for those who need it to end.
    pub again: bool,
    /// Which life.
    pub generation: Generation,
    /// The main process, if it lives.
    pub pid: Option<Pid>,
    /// Every child that lives, the main process included.
    pub children: Vec<(Role, Pid)>,
    /// Automatic restarts since the family began.
    pub restarts: u64,
    /// How the main process ended the last time.
    pub last_exit: Option<ExitStatus>,
    /// What it says about itself.
    pub status_text: String,
    /// Since when it is ready, if it is.
    pub ready_since: Option<Time>,
    /// The main process was stopped by a signal: it exists and does nothing.
    pub paused: bool,
    /// Why it started again by itself the last time, and when that was; `None` if people have started it since.
    pub fell: Option<(Cause, Time)>,
    /// It is reading its configuration again by its reload command, or will.
    pub reloading: bool,
    /// Why the last reload command of this life failed, if it did.
    pub reload_failure: Option<Cause>,
    /// What happens next without anybody's doing, and when.
    pub next: Option<(Time, Awaited)>,
}

/// What a deadline is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Awaited {
    /// The pre-start command must have ended.
    Prepared,
    /// It must be ready (a task: done).
    Ready,
    /// It must have ended, or SIGKILL follows.
    Ended,
    /// Everything it left must have ended, or SIGKILL follows.
    Cleared,
    /// The post-stop command must have ended.
    Cleaned,
    /// It starts again.
    Restart,
    /// The probe is tried again, or the attempt must be over.
    Probe,
    /// It must have given a sign of life.
    Watchdog,
    /// The reload command must have ended.
    Reloaded,
}

impl fmt::Display for Awaited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Awaited::Prepared => "pre-start limit",
            Awaited::Ready => "ready limit",
            Awaited::Ended => "SIGKILL",
            Awaited::Cleared => "SIGKILL for what is left",
            Awaited::Cleaned => "post-stop limit",
            Awaited::Restart => "restart",
            Awaited::Probe => "probe",
            Awaited::Watchdog => "watchdog",
            Awaited::Reloaded => "reload limit",
        })
    }
}

/// One link of an explanation.
#[derive(Clone, Debug, PartialEq)]
pub struct Reason {
    /// About which service.
    pub service: String,
    /// Where it is in its life.
    pub state: State,
    /// Since when.
    pub since: Time,
    /// Why.
    pub cause: Cause,
}

/// The family in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// All services.
    pub all: usize,
    /// Those that are up.
    pub up: usize,
    /// Those that start, or wait for others to start.
    pub starting: usize,
}

impl Engine {
    /// The numbers of all services, in the order of their appearance.
    pub fn ids(&self) -> impl Iterator<Item = ServiceId> + '_ {
        self.services.iter().flatten().map(|service| service.id)
    }

    /// The services with this name: one, or all instances (`web` means `web@1`, `web@2` …); empty if there are
    /// none.
    pub fn find(&self, name: &str) -> Vec<ServiceId> {
        if let Some(id) = self.names.get(name) {
            return Vec::from([*id]);
        }
        let instance_of = |full: &str| {
            let number = full.strip_prefix(name).and_then(|rest| rest.strip_prefix('@'));
            number.is_some_and(|number| {
                !number.is_empty() && number.bytes().all(|digit| digit.is_ascii_digit())
            })
        };
        self.services.iter().flatten().filter(|it| instance_of(&it.spec.name)).map(|it| it.id).collect()
    }

    /// One service as people see it; `None` for a number that is not, or no longer, in the family.
    pub fn status(&self, id: ServiceId) -> Option<ServiceView> {
        let service = self.service(id)?;
        Some(ServiceView {
            id,
            name: service.spec.name.clone(),
            state: service.state,
            since: service.since,
            cause: service.cause.clone(),
            wanted: service.wish == Wish::Up,
            again: service.again.is_some(),
            generation: service.generation,
            pid: service.children.pid(Role::Main),
            children: ROLES.iter().filter_map(|role| Some((*role, service.children.pid(*role)?))).collect(),
            restarts: service.history.total,
            last_exit: service.last_exit,
            status_text: service.status_text.clone(),
            ready_since: service.ready_since.filter(|_| service.state == State::Up),
            paused: service.paused,
            fell: service.fell.clone(),
            reloading: service.children.get(Role::Reload).is_some() || service.reload_later,
            reload_failure: service.reload_failure.clone(),
            next: service.next_deadline(),
        })
    }

    /// The configuration of a service in force: that of its present generation.
    pub fn spec(&self, id: ServiceId) -> Option<&ServiceSpec> {
        self.service(id).map(|service| &*service.spec)
    }

    /// Why a service is in its state: its own cause first, then that of the service which the cause names, and
    /// so on to the root.
    pub fn why(&self, id: ServiceId) -> Vec<Reason> {
        let mut chain: Vec<Reason> = Vec::new();
        let mut next = self.service(id);
        while let Some(service) = next {
            let name = &service.spec.name;
            if chain.iter().any(|reason| reason.service == *name) {
                break;
            }
            chain.push(Reason {
                service: name.clone(),
                state: service.state,
                since: service.since,
                cause: service.cause.clone(),
            });
            next = service.cause.service().and_then(|name| self.service(*self.names.get(name)?));
        }
        chain
    }

    /// How many services there are, are up, and are on their way to it.
    pub fn census(&self) -> Census {
        let mut census = Census::default();
        for service in self.services.iter().flatten() {
            census.all += 1;
            match service.state {
                State::Up => census.up += 1,
                State::Waiting | State::Preparing | State::Starting => census.starting += 1,
                State::Stopped
                | State::Scheduled
                | State::Stopping
                | State::Clearing
                | State::Cleaning
                | State::BackingOff
                | State::Done
                | State::Failed => {}
            }
        }
        census
    }

    /// Somebody who cannot start because of a service that fails again and again, and that service.
    pub fn held_up(&self) -> Option<(&str, &str)> {
        self.services.iter().flatten().filter(|service| service.state == State::Waiting).find_map(|service| {
            let Cause::WaitsFor { service: on } = &service.cause else { return None };
            let other = self.service(*self.names.get(on)?)?;
            (other.state == State::BackingOff).then_some((service.spec.name.as_str(), on.as_str()))
        })
    }

    /// How many services run, wait or have a schedule: 0 when nothing can happen by itself any more.
    pub fn live(&self) -> usize {
        self.cx.live
    }
}

impl Service {
    fn next_deadline(&self) -> Option<(Time, Awaited)> {
        let awaited = |alarm: Alarm| match alarm {
            Alarm::Step => self.awaited_by_step(),
            Alarm::Probe => Some(Awaited::Probe),
            Alarm::Watchdog => Some(Awaited::Watchdog),
            Alarm::Reload => Some(Awaited::Reloaded),
        };
        let deadlines = Alarm::ALL.into_iter().filter_map(|alarm| {
            let at = self.alarms[alarm as usize]?;
            Some((at, awaited(alarm)?))
        });
        deadlines.min_by_key(|(at, _)| *at)
    }

    const fn awaited_by_step(&self) -> Option<Awaited> {
        match self.state {
            State::Preparing => Some(Awaited::Prepared),
            State::Starting => Some(Awaited::Ready),
            State::Stopping => Some(Awaited::Ended),
            State::Clearing => Some(Awaited::Cleared),
            State::Cleaning => Some(Awaited::Cleaned),
            State::BackingOff => Some(Awaited::Restart),
            State::Stopped | State::Scheduled | State::Waiting | State::Up | State::Done | State::Failed => {
                None
            }
        }
    }
}
