//! What people ask for, spread over those it concerns.
//!
//! - `start` takes along whom the service requires or wants, if they do not run. A scheduled service that is
//!   named runs now; one that is taken along waits for its time.
//! - Whoever had failed only because a service it requires had failed comes back with that service.
//! - `stop` takes along everybody who runs and requires it, however indirectly. Tasks that are done stay done.
//! - `restart` restarts those too. The rest of the world is not touched.
//! - While the family shuts down nothing can be started.

use crate::context::is_live;
use crate::crew::Wanted;
use crate::deps::Edge;
use crate::engine::{Engine, seat};
use crate::service::{Input, Service, Wish};
use crate::settle::Standing;
use alloc::collections::BTreeSet;
use alloc::vec;
use alloc::vec::Vec;
use doula_model::action::{Action, Cause, State};
use doula_model::event::Command;
use doula_model::id::ServiceId;
use doula_model::service::{DependencyKind, Reload};

/// Who is to start, why, and whether by name.
type Asked = (ServiceId, Cause, bool);

impl Engine {
    /// Does what was asked.
    pub(crate) fn command(&mut self, command: Command) {
        match command {
            Command::Shutdown(haste) => self.shut_down(haste, Cause::Shutdown, None),
            Command::Stop(ids) => self.ask_pools(ids, Wanted::Stop).into_iter().for_each(|id| self.stop(id)),
            Command::Start(_) | Command::Restart(_) | Command::Reload(_) | Command::Apply(_)
                if self.cx.haste.is_some() => {}
            Command::Start(ids) => {
                let services = self.ask_pools(ids, Wanted::Start);
                services.into_iter().for_each(|id| self.start(id, Cause::Asked, true));
            }
            Command::Restart(ids) => self
                .ask_pools(ids, Wanted::Restart)
                .into_iter()
                .for_each(|id| self.restart(id, &Cause::Asked)),
            Command::Reload(ids) => {
                self.ask_pools(ids, Wanted::Reload).into_iter().for_each(|id| self.reload(id));
            }
            Command::Apply(family) => self.apply(family),
        }
    }

    /// Starts a service and, before, those it needs. `named`: by hand, and not only taken along.
    pub(crate) fn start(&mut self, id: ServiceId, cause: Cause, named: bool) {
        self.start_all(vec![(id, cause, named)]);
    }

    /// Starts those whom a service needs, if they do not run.
    pub(crate) fn start_needs(&mut self, id: ServiceId) {
        self.start_all(self.needs_of(id));
    }

    fn start_all(&mut self, mut asked: Vec<Asked>) {
        while let Some((id, cause, named)) = asked.pop() {
            let Some(service) = seat(&mut self.services, id).filter(|it| !it.leaving) else {
                continue;
            };
            if let Some(pool) = service.pool {
                // While a pool is at work it starts its workers itself.
                self.with_crew(pool, |crew, engine| crew.start(engine, &cause));
                self.cx.tend.insert(pool);
                asked.extend(self.losers_of(id).map(|by| (by, cause.clone(), false)));
                continue;
            }
            let idle = service.wish == Wish::Down || service.standing() == Standing::Gone;
            if !named && !idle {
                continue;
            }
            service.reason = cause.clone();
            (service.wish, service.lost) = (Wish::Up, false);
            if named {
                service.history.forget();
                (service.automatic, service.fell) = (false, None);
            }
            service.input(&mut self.cx, Input::Start { run: named });
            self.arm(id);
            self.cx.changed.push_back(id);
            asked.extend(self.needs_of(id));
            asked.extend(self.losers_of(id).map(|by| (by, cause.clone(), false)));
        }
    }

    /// Whom a service requires or wants.
    fn needs_of(&self, id: ServiceId) -> Vec<Asked> {
        let Some(name) = self.service(id).map(|service| &service.spec.name) else { return Vec::new() };
        let needs = self.graph.needs(id).iter().filter(|(_, kind)| *kind != DependencyKind::After);
        needs.map(|(on, _)| (*on, Cause::NeededBy { service: name.clone() }, false)).collect()
    }

    /// Those who went down only because this service, or another one they require, had failed.
    fn losers_of(&self, id: ServiceId) -> impl Iterator<Item = ServiceId> {
        let requires = |(_, kind): &&Edge| *kind == DependencyKind::Requires;
        let lost = |it: &Service| it.lost && it.state == State::Failed;
        let by = self.graph.needed_by(id).iter().filter(requires).map(|(by, _)| *by);
        by.filter(move |by| self.service(*by).is_some_and(lost))
    }

    /// Stops a service and, before, everybody who requires it.
    fn stop(&mut self, id: ServiceId) {
        let Some(service) = seat(&mut self.services, id) else { return };
        (service.wish, service.reason, service.again) = (Wish::Down, Cause::Asked, None);
        (service.lost, service.queued) = (false, false);
        if !is_live(service.state) {
            service.input(&mut self.cx, Input::Stop);
        }
        self.cx.changed.push_back(id);
        self.take_down_requirers(id, false);
    }

    /// Everybody who requires this service, however indirectly, is to end with it. `failed`: because it failed.
    pub(crate) fn take_down_requirers(&mut self, id: ServiceId, failed: bool) {
        for (other, on) in self.requirers(id) {
            let Some(name) = self.service(on).map(|service| service.spec.name.clone()) else { continue };
            let Some(service) = seat(&mut self.services, other) else { continue };
            let cause = Cause::LostDependency { service: name };
            if service.is_scheduled() {
                // Its schedule goes on; a run in progress is ended as lost.
                service.input(&mut self.cx, Input::Fault(cause));
            } else if service.wish == Wish::Up {
                (service.wish, service.reason, service.lost) = (Wish::Down, cause, failed);
                service.again = None;
            }
            self.cx.changed.push_back(other);
        }
    }

    /// Stops and starts a service, and everybody who requires it.
    pub(crate) fn restart(&mut self, id: ServiceId, cause: &Cause) {
        let Some(service) = self.service(id).filter(|service| !service.leaving) else { return };
        let rests = !is_live(service.state);
        if rests || service.wish == Wish::Down {
            self.start(id, cause.clone(), true);
        }
        if !rests {
            self.start_anew(id, cause.clone());
        }
        for (other, on) in self.requirers(id) {
            let Some(name) = self.service(on).map(|service| service.spec.name.clone()) else { continue };
            let runs =
                self.service(other).is_some_and(|it| it.wish == Wish::Up && it.state != State::Scheduled);
            if runs {
                self.start_anew(other, Cause::LostDependency { service: name });
            }
        }
    }

    /// This life is to end and another to begin.
    pub(crate) fn start_anew(&mut self, id: ServiceId, cause: Cause) {
        let Some(service) = seat(&mut self.services, id) else { return };
        service.history.forget();
        (service.automatic, service.fell) = (false, None);
        match service.state {
            State::Scheduled | State::BackingOff => {
                service.input(&mut self.cx, Input::Start { run: true });
            }
            State::Preparing
            | State::Starting
            | State::Up
            | State::Stopping
            | State::Clearing
            | State::Cleaning => service.again = Some(cause),
            State::Stopped | State::Waiting | State::Done | State::Failed => {}
        }
        self.cx.changed.push_back(id);
    }

    /// Asks a service to read its configuration again.
    fn reload(&mut self, id: ServiceId) {
        let Some(service) = self.service(id).filter(|service| is_live(service.state)) else { return };
        match service.spec.reload {
            Reload::Restart => self.restart(id, &Cause::Asked),
            Reload::Signal(_) | Reload::Command(_) => {
                if let Some(service) = seat(&mut self.services, id) {
                    service.reload(&mut self.cx);
                }
            }
        }
    }

    /// Asks a worker to read its configuration again, without an end.
    pub(crate) fn reload_worker(&mut self, id: ServiceId) {
        if let Some(service) = seat(&mut self.services, id) {
            service.reload(&mut self.cx);
        }
    }

    /// Everybody who is live and requires this service, however indirectly, with the one through which.
    fn requirers(&self, id: ServiceId) -> Vec<(ServiceId, ServiceId)> {
        let mut found = vec![(id, id)];
        let mut known = BTreeSet::from([id]);
        let mut next = 0;
        while let Some(&(on, _)) = found.get(next) {
            for &(by, kind) in self.graph.needed_by(on) {
                let live = self.service(by).is_some_and(|service| is_live(service.state));
                if kind == DependencyKind::Requires && live && known.insert(by) {
                    found.push((by, on));
                }
            }
            next += 1;
        }
        found.remove(0);
        found
    }

    /// Asks the world for the next time of a schedule, if nobody has.
    pub(crate) fn arm(&mut self, id: ServiceId) {
        let Some(service) = seat(&mut self.services, id) else { return };
        if service.is_scheduled() && !service.armed {
            service.armed = true;
            self.cx.act(Action::ArmSchedule { service: id });
        }
    }
}
