//! Workers that have served long enough are replaced, as in a roll: so no capacity is away, however many are due at once.

use super::{Condition, Crew, condition_of};
use crate::engine::Engine;
use alloc::vec::Vec;
use doula_model::pool::Roll;

impl Crew {
    /// Has those replaced that are due.
    pub(super) fn recycle(&mut self, engine: &mut Engine) {
        let Some(limit) = self.spec.recycle.requests else { return };
        let due = |place: &&super::Place| {
            let ready = condition_of(&engine.services, place) == Condition::Ready;
            ready && place.tasks >= limit && !self.rolls.concerns(place.service)
        };
        let due: Vec<_> = self.places.iter().filter(due).map(|place| place.service).collect();
        for worker in due {
            self.begin_roll(engine, Some(worker), Roll::Requests);
        }
    }
}
