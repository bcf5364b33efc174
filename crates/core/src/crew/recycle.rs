//! Workers that have served long enough are replaced, as in a roll: so no capacity is away, however many are due at once.

use super::{Condition, Crew, Place, condition_of};
use crate::engine::Engine;
use alloc::vec::Vec;
use core::time::Duration;
use doula_model::action::Action;
use doula_model::id::ServiceId;
use doula_model::pool::{Checkup, Roll};
use doula_model::time::Time;

/// The ages of those that start together differ by up to this share of the limit.
const SPREAD: u32 = 10;

/// So often a scoreboard is read for the number of requests. Who tells it by a message is heard at once.
const COUNT: Duration = Duration::from_secs(5);

impl Crew {
    /// Has those replaced that are due.
    pub(super) fn recycle(&mut self, engine: &mut Engine) {
        self.set_ages(engine);
        if self.check_at.is_none() {
            self.check_at = self.check_every().map(|pause| engine.cx.now.after(pause));
        }
        if self.rolls.not_before().is_some_and(|at| engine.cx.now < at) {
            return;
        }
        for (worker, why) in self.due(engine) {
            self.begin_roll(engine, Some(worker), why);
        }
    }

    fn due(&self, engine: &Engine) -> Vec<(ServiceId, Roll)> {
        let (limit, leak) = (self.spec.recycle.requests, self.spec.recycle.leak);
        let why = |place: &Place| match () {
            () if limit.is_some_and(|limit| place.tasks >= limit) => Some(Roll::Requests),
            () if place.due_at.is_some_and(|at| at <= engine.cx.now) => Some(Roll::Age),
            () if leak.is_some_and(|leak| place.growth.is_as_fast_as(leak)) => Some(Roll::Leak),
            () => None,
        };
        let serves = |place: &&Place| {
            condition_of(&engine.services, place) == Condition::Ready && !self.rolls.concerns(place.service)
        };
        self.places.iter().filter(serves).filter_map(|place| Some((place.service, why(place)?))).collect()
    }

    /// How often the workers are looked at for what they do not tell; `None`: nothing is to be seen.
    fn check_every(&self) -> Option<Duration> {
        let recycle = self.spec.recycle;
        let counts = (self.spec.scoreboard && recycle.requests.is_some()).then_some(COUNT);
        counts.into_iter().chain(recycle.leak.map(super::leak::pause)).min()
    }

    /// It is time to look.
    pub(super) fn check_up(&mut self, engine: &mut Engine) {
        self.check_at = self.check_every().map(|pause| engine.cx.now.after(pause));
        let ready = |place: &&Place| condition_of(&engine.services, place) == Condition::Ready;
        let workers: Vec<_> = self.places.iter().filter(ready).map(|place| place.service).collect();
        if self.check_at.is_some() && !workers.is_empty() && !engine.cx.is_ending() {
            engine.cx.act(Action::CheckUp { pool: self.id, workers });
        }
    }

    /// What was seen.
    pub(super) fn checked_up(&mut self, engine: &mut Engine, seen: &[Checkup]) {
        let now = engine.cx.now;
        for Checkup { worker, life, memory, board } in seen {
            let alike = |place: &&mut Place| place.service == *worker && place.life == *life;
            let Some(place) = self.places.iter_mut().find(alike) else { continue };
            if let Some(board) = board {
                place.read(now, *board);
            }
            if let (Some(leak), Some(memory)) = (self.spec.recycle.leak, memory) {
                place.growth.note(leak, now, *memory);
            }
        }
        engine.cx.tend.insert(self.id);
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
