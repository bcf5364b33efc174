//! Workers that have served long enough are replaced, as in a roll: so no capacity is away, however many are due at once.

use super::{Condition, Crew, Place, condition_of};
use crate::engine::Engine;
use alloc::vec::Vec;
use core::time::Duration;
use doula_model::id::ServiceId;
use doula_model::pool::Roll;
use doula_model::time::Time;

/// The ages of those that start together differ by up to this share of the limit.
const SPREAD: u32 = 10;

impl Crew {
    /// Has those replaced that are due.
    pub(super) fn recycle(&mut self, engine: &mut Engine) {
        self.set_ages(engine);
        if self.rolls.not_before().is_some_and(|at| engine.cx.now < at) {
            return;
        }
        for (worker, why) in self.due(engine) {
            self.begin_roll(engine, Some(worker), why);
        }
    }

    fn due(&self, engine: &Engine) -> Vec<(ServiceId, Roll)> {
        let limit = self.spec.recycle.requests;
        let why = |place: &Place| match () {
            () if limit.is_some_and(|limit| place.tasks >= limit) => Some(Roll::Requests),
            () if place.due_at.is_some_and(|at| at <= engine.cx.now) => Some(Roll::Age),
            () => None,
        };
        let serves = |place: &&Place| {
            condition_of(&engine.services, place) == Condition::Ready && !self.rolls.concerns(place.service)
        };
        self.places.iter().filter(serves).filter_map(|place| Some((place.service, why(place)?))).collect()
    }

    /// Those that have become ready are told how old they may become.
    fn set_ages(&mut self, engine: &mut Engine) {
        let Some(age) = self.spec.recycle.age else { return };
        let spread = u64::try_from((age / SPREAD).as_nanos()).unwrap_or(u64::MAX);
        for place in self.places.iter_mut().filter(|place| place.due_at.is_none()) {
            let since = engine.service(place.service).and_then(|service| service.ready_since);
            if let Some(since) = since.filter(|_| place.duty == super::Duty::Serves) {
                let less = Duration::from_nanos(engine.cx.random.below(spread));
                place.due_at = Some(since.after(age - less));
            }
        }
    }

    /// When the next one is too old, of those that do not wait for their replacement already.
    pub(super) fn next_age(&self) -> Option<Time> {
        let waits = |place: &&Place| place.duty == super::Duty::Serves && !self.rolls.concerns(place.service);
        let due = self.places.iter().filter(waits).filter_map(|place| place.due_at).min()?;
        Some(due.max(self.rolls.not_before().unwrap_or(due)))
    }
}
