//! What one service may do because of others: who may start, who may end, who has lost somebody.
//!
//! It is asked again for a service and its neighbours after each change, and looks only at how things are, not
//! at how they came about: so nothing is forgotten when several things happen at once.
//!
//! - A service starts when each `requires` is ready, and each `wants` and `after` is ready, not coming, or has
//!   failed at least once and is trying again.
//! - A service that is to end waits until everybody who needs it in any way, and is to end or ends too, is empty.
//! - A service whose `requires` is gone for good goes down itself. One that is only restarted by its policy is
//!   not gone: those who need it stay.

use crate::context::{has_processes, is_live};
use crate::deps::Edge;
use crate::engine::{Engine, known, seat};
use crate::service::{Input, Service, Wish};
use doula_model::action::{Action, Cause, State};
use doula_model::event::Haste;
use doula_model::id::ServiceId;
use doula_model::service::{DependencyKind, Kind};

/// How a service stands to those who need it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// They may start.
    Ready,
    /// Not ready now, or about to end: they wait.
    Pending,
    /// It does not run and nothing is under way to change that.
    Gone,
}

impl Service {
    /// How it stands to those who need it.
    pub(crate) fn standing(&self) -> Standing {
        if self.pool.is_some() {
            return self.stands;
        }
        let wanted = self.wish == Wish::Up && self.again.is_none() && !self.leaving;
        match (self.spec.kind, self.state) {
            (_, State::Stopped | State::Failed) => Standing::Gone,
            (_, State::Done) if self.fulfilled => Standing::Ready,
            (_, State::Done) => Standing::Gone,
            (Kind::Oneshot, _) if wanted && self.fulfilled => Standing::Ready,
            (Kind::Scheduled { .. }, _) if wanted => Standing::Ready,
            (Kind::Daemon, State::Up) if wanted => Standing::Ready,
            (
                Kind::Daemon | Kind::Oneshot | Kind::Scheduled { .. },
                State::Scheduled
                | State::Waiting
                | State::Preparing
                | State::Starting
                | State::Up
                | State::Stopping
                | State::Clearing
                | State::Cleaning
                | State::BackingOff,
            ) => Standing::Pending,
        }
    }

    /// It has failed, and tries again: who only wants it need not wait until it works.
    const fn fails_again_and_again(&self) -> bool {
        self.history.row > 0
    }

    /// It has processes, and they are to end.
    fn is_ending(&self) -> bool {
        let ends = matches!(self.state, State::Stopping | State::Clearing | State::Cleaning);
        has_processes(self.state) && (ends || self.wish == Wish::Down || self.again.is_some())
    }
}

impl Engine {
    /// Lets everybody who changed, and their neighbours, do what they may do now. Every loss and every end comes
    /// before any start, because a loss may take down others, end the family, or both: who may start does so only
    /// when nothing else is left to be done.
    pub(crate) fn settle(&mut self) {
        loop {
            self.settle_ends();
            let Some(id) = self.cx.starts.pop_front() else { return };
            self.settle_start(id);
        }
    }

    /// Everything but starts.
    pub(crate) fn settle_ends(&mut self) {
        while !self.cx.changed.is_empty() || !self.cx.ended.is_empty() {
            while let Some(id) = self.cx.changed.pop_front() {
                self.settle_with_neighbours(id);
            }
            self.mourn();
        }
    }

    fn settle_with_neighbours(&mut self, id: ServiceId) {
        self.settle_one(id);
        for place in 0..self.graph.needs(id).len() {
            self.settle_needed(self.graph.needs(id)[place].0);
        }
        for place in 0..self.graph.needed_by(id).len() {
            self.settle_needing(self.graph.needed_by(id)[place], id);
        }
    }

    /// Somebody who needs it changed: perhaps it may end now.
    fn settle_needed(&mut self, id: ServiceId) {
        let ends = |service: &Service| service.wish == Wish::Down || service.again.is_some();
        if self.service(id).is_some_and(ends) {
            self.settle_one(id);
        }
    }

    /// Somebody whom it needs changed: perhaps it may start now, or has lost somebody.
    fn settle_needing(&mut self, (id, kind): Edge, needed: ServiceId) {
        let gone = self.service(needed).is_some_and(|other| other.standing() == Standing::Gone);
        let Some(service) = self.service(id).filter(|service| service.wish == Wish::Up) else { return };
        if gone && kind == DependencyKind::Requires {
            self.settle_one(id);
        } else if service.state == State::Waiting {
            self.cx.starts.push_back(id);
        }
    }

    fn settle_one(&mut self, id: ServiceId) {
        // An end that ends the family comes before anything that would start because of it.
        self.mourn();
        let Some(service) = self.service(id) else { return };
        if service.leaving && !is_live(service.state) {
            return self.forget(id);
        }
        match service.wish {
            Wish::Down if is_live(service.state) => self.settle_end(id),
            Wish::Down => {}
            Wish::Up => self.settle_wanted(id, service.state),
        }
    }

    fn settle_wanted(&mut self, id: ServiceId, state: State) {
        match state {
            State::Waiting | State::Preparing | State::Starting | State::Up | State::BackingOff => {
                match self.lost_requirement(id) {
                    Some(other) => self.lose(id, other),
                    None if state == State::Waiting => self.cx.starts.push_back(id),
                    None => self.settle_life(id),
                }
            }
            State::Stopped
            | State::Scheduled
            | State::Stopping
            | State::Clearing
            | State::Cleaning
            | State::Done
            | State::Failed => {}
        }
    }

    /// It is to end: does anybody still need it?
    fn settle_end(&mut self, id: ServiceId) {
        if !self.is_held(id) {
            self.input(id, Input::Stop);
        }
    }

    /// It runs, or is to run again, and has what it requires: is it to be restarted?
    fn settle_life(&mut self, id: ServiceId) {
        let restarts = self.service(id).is_some_and(|service| service.again.is_some());
        if restarts && !self.is_held(id) {
            self.input(id, Input::Stop);
        }
    }

    /// It waits, if it still does: is everything there?
    fn settle_start(&mut self, id: ServiceId) {
        let waits = |service: &Service| service.state == State::Waiting && service.wish == Wish::Up;
        if !self.service(id).is_some_and(waits) {
            return;
        }
        let services = &self.services;
        let waits_for = self.graph.find_need(id, |(on, kind)| {
            let Some(other) = known(services, on) else { return false };
            match (kind, other.standing()) {
                (_, Standing::Ready) => false,
                (DependencyKind::Requires, Standing::Pending) => true,
                (DependencyKind::Wants | DependencyKind::After, Standing::Pending) => {
                    !other.fails_again_and_again()
                }
                (DependencyKind::Requires, Standing::Gone) => {
                    unreachable!("losses come before starts")
                }
                (DependencyKind::Wants | DependencyKind::After, Standing::Gone) => false,
            }
        });
        let waits_for = waits_for.and_then(|on| Some(self.service(on)?.spec.name.clone()));
        let Some(service) = seat(&mut self.services, id) else { return };
        match waits_for {
            None => service.input(&mut self.cx, Input::Go),
            Some(name) => service.wait_for(&mut self.cx, &name),
        }
    }

    /// A service that it requires and that will not come.
    fn lost_requirement(&self, id: ServiceId) -> Option<ServiceId> {
        let mut required = self
            .graph
            .needs(id)
            .iter()
            .filter(|(_, kind)| *kind == DependencyKind::Requires)
            .map(|(on, _)| *on);
        required.find(|on| self.service(*on).is_some_and(|other| other.standing() == Standing::Gone))
    }

    /// It has lost a service that it requires. A scheduled one loses only this run.
    fn lose(&mut self, id: ServiceId, other: ServiceId) {
        let Some(other) = self.service(other) else { return };
        let failed = other.state == State::Failed;
        let cause = Cause::LostDependency { service: other.spec.name.clone() };
        let Some(service) = seat(&mut self.services, id) else { return };
        match service.state {
            State::Waiting | State::BackingOff if failed || service.is_scheduled() => {
                service.input(&mut self.cx, Input::Lost(cause));
            }
            State::Preparing | State::Starting | State::Up if service.is_scheduled() => {
                service.input(&mut self.cx, Input::Fault(cause));
            }
            State::Waiting | State::BackingOff | State::Preparing | State::Starting | State::Up => {
                (service.wish, service.reason, service.lost) = (Wish::Down, cause, failed);
                service.again = None;
                // Those who require it go first, as in any other stop.
                self.take_down_requirers(id, failed);
                self.settle_end(id);
            }
            State::Stopped
            | State::Scheduled
            | State::Stopping
            | State::Clearing
            | State::Cleaning
            | State::Done
            | State::Failed => unreachable!("only who runs or wants to can lose somebody"),
        }
    }

    /// Somebody who needs it is about to end as well, and goes first.
    fn is_held(&mut self, id: ServiceId) -> bool {
        match self.service(id).map(|service| service.state) {
            Some(State::Starting | State::Up) => {}
            // What does not run yet is not used by anybody, and what ends already is not to be held up.
            Some(
                State::Stopped
                | State::Scheduled
                | State::Waiting
                | State::Preparing
                | State::Stopping
                | State::Clearing
                | State::Cleaning
                | State::BackingOff
                | State::Done
                | State::Failed,
            )
            | None => return false,
        }
        let services = &self.services;
        let ends = |(by, _): Edge| by != id && known(services, by).is_some_and(Service::is_ending);
        let orderly = self.cx.haste.is_none_or(|haste| haste == Haste::Orderly);
        orderly && self.graph.find_needing(id, ends).is_some()
    }

    /// Nothing of it is left, and it is no longer part of the family.
    fn forget(&mut self, id: ServiceId) {
        let Some(gone) = self.services.take(id) else { return };
        assert!(gone.children.is_empty() && !gone.clearing, "only who has nothing left is forgotten");
        assert!(gone.alarms.iter().all(Option::is_none), "who rests has no deadline");
        self.names.remove(&gone.spec.name);
        self.cx.act(Action::Forget { service: id });
    }
}
