//! Workers are replaced without a gap: a new one in the slot of the old one, ready and proved; then the old one is drained,
//! and gone; then the next.
//!
//! ```text
//! Coming (the new one starts)  →  Proving (it stays ready for min-ready)  →  Going (the old one ends)  →  the next
//!        └──────── it fails ───────────┘ → it is taken back, nobody else is replaced; a changed configuration goes back
//! ```
//!
//! So there are never fewer that serve than before, and at most [`doula_model::pool::PoolSpec::surge`] more.

use super::{Condition, Crew, Duty, Place, condition_of, name_of};
use crate::context::has_processes;
use crate::engine::{Engine, seat};
use crate::service::{Service, Wish};
use alloc::boxed::Box;
use alloc::collections::{BTreeSet, VecDeque};
use alloc::vec::Vec;
use core::time::Duration;
use doula_model::action::{Action, Cause, State};
use doula_model::id::{Generation, ServiceId};
use doula_model::pool::{PoolNews, Roll};
use doula_model::service::ServiceSpec;
use doula_model::time::Time;

/// After a new worker has failed, nobody is replaced for age or requests for so long.
const PAUSE: Duration = Duration::from_secs(30);

/// A worker in one of its lives.
type Life = (ServiceId, Generation);

/// Who is replaced, and who is to be.
#[derive(Debug, Default)]
pub(crate) struct Rolls {
    queue: VecDeque<(Life, Roll)>,
    steps: Vec<Step>,
    round: Option<Round>,
    /// The last round failed.
    pub(crate) failed: bool,
    /// When the last one failed.
    failed_at: Option<Time>,
    /// What the workers were before their configuration changed, until all are what they are to be.
    before: Option<Box<ServiceSpec>>,
}

/// One worker that is replaced.
#[derive(Clone, Copy, Debug)]
struct Step {
    old: Life,
    new: ServiceId,
    /// The slot of both.
    slot: u32,
    /// The life of the new one before this: the next one is to become ready.
    from: Generation,
    why: Roll,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Coming,
    /// The new one is ready; until then it must stay so.
    Proving(Time),
    Going,
}

/// What is told of those that are replaced together.
#[derive(Clone, Copy, Debug)]
struct Round {
    began: Time,
    done: u32,
    of: u32,
}

impl Rolls {
    /// Nobody is replaced, or to be.
    pub(crate) fn is_idle(&self) -> bool {
        self.steps.is_empty() && self.queue.is_empty()
    }

    /// How many are replaced, of how many.
    pub(crate) fn progress(&self) -> Option<(u32, u32)> {
        self.round.map(|round| (round.done, round.of))
    }

    pub(super) fn deadline(&self) -> Option<Time> {
        let proving = self.steps.iter().filter_map(|step| match step.phase {
            Phase::Proving(until) => Some(until),
            Phase::Coming | Phase::Going => None,
        });
        proving.min()
    }

    /// Why this one is to be replaced, when its turn comes.
    pub(super) fn awaits(&self, worker: ServiceId) -> Option<Roll> {
        self.queue.iter().find(|((queued, _), _)| *queued == worker).map(|(_, why)| *why)
    }

    pub(super) fn concerns(&self, worker: ServiceId) -> bool {
        let queued = self.queue.iter().any(|((queued, _), _)| *queued == worker);
        queued || self.steps.iter().any(|step| step.old.0 == worker)
    }

    /// Before this time nobody is replaced by itself: a new one has just failed.
    pub(super) fn not_before(&self) -> Option<Time> {
        self.failed_at.map(|at| at.after(PAUSE))
    }

    /// What the workers are is about to change.
    pub(crate) fn keep(&mut self, before: &ServiceSpec) {
        if self.before.is_none() {
            self.before = Some(Box::new(before.clone()));
        }
    }
}

impl Crew {
    /// Has these workers replaced, or all.
    pub(crate) fn begin_roll(&mut self, engine: &mut Engine, only: Option<ServiceId>, why: Roll) {
        if self.wish == Wish::Down || engine.cx.is_ending() {
            self.rolls.before = None;
            return;
        }
        let meant = |worker: ServiceId| only.is_none_or(|only| only == worker);
        let meant: Vec<_> = self.places.iter().map(|place| place.service).filter(|it| meant(*it)).collect();
        let mut added = 0;
        for worker in meant {
            added += u32::from(self.begin_one(engine, worker, why));
        }
        self.rolls.failed = false;
        if added > 0 {
            let began = engine.cx.now;
            self.rolls.round.get_or_insert(Round { began, done: 0, of: 0 }).of += added;
            self.tell(engine, PoolNews::RollBegins { workers: added, because: why });
        }
        self.roll(engine);
    }

    /// A supervisor before us was replacing workers. Of those that serve in one slot, the one that came later goes on taking
    /// the place of the one before; those whose turn had not come yet come after.
    pub(super) fn go_on_rolling(&mut self, engine: &mut Engine) {
        let serving = self.places.iter().filter(|place| place.duty == Duty::Serves);
        let slots: BTreeSet<u32> = serving.filter_map(|place| place.slot).collect();
        let steps: Vec<Step> = slots.into_iter().flat_map(|slot| self.steps_in(engine, slot)).collect();
        for step in steps {
            self.note_turn(engine, step.old, step.why);
            self.rolls.steps.push(step);
        }
        for worker in self.places.iter().map(|place| place.service).collect::<Vec<_>>() {
            let known = seat(&mut engine.services, worker);
            let Some((life, why)) = known.and_then(|it| Some((it.generation, it.roll.take()?))) else {
                continue;
            };
            // That its turn has come may not have been written down any more.
            if self.rolls.concerns(worker) {
                continue;
            }
            self.note_turn(engine, (worker, life), why);
            self.rolls.queue.push_back(((worker, life), why));
        }
    }

    /// Those that serve in this slot, each in the place of the one before: two, or more where the new one was to be replaced in its
    /// turn before it was proved.
    fn steps_in(&self, engine: &Engine, slot: u32) -> Vec<Step> {
        let sharing = |place: &&Place| place.duty == Duty::Serves && place.slot == Some(slot);
        let shared = self.places.iter().filter(sharing);
        let mut all: Vec<&Service> = shared.filter_map(|place| engine.service(place.service)).collect();
        all.sort_by_key(|service| (service.ready_since.is_none(), service.ready_since, service.since));
        let step = |pair: &[&Service]| {
            let (old, new) = (pair[0], pair[1]);
            let why = if let Cause::Roll { because } = new.reason { because } else { Roll::Asked };
            let begun = u32::from(new.state != State::Waiting);
            let from = Generation(new.generation.0.saturating_sub(begun));
            Step { old: (old.id, old.generation), new: new.id, slot, from, why, phase: Phase::Coming }
        };
        all.windows(2).map(step).collect()
    }

    /// This one was to be replaced, and counts.
    fn note_turn(&mut self, engine: &Engine, old: Life, why: Roll) {
        let spec = engine.service(old.0).map(|service| &service.spec);
        if let Some(spec) = spec.filter(|_| why == Roll::Reconfigured) {
            self.rolls.keep(spec);
        }
        self.rolls.round.get_or_insert(Round { began: engine.cx.now, done: 0, of: 0 }).of += 1;
    }

    /// Whether this worker waits for its replacement now. One that does not serve yet starts anew by itself.
    fn begin_one(&mut self, engine: &mut Engine, worker: ServiceId, why: Roll) -> bool {
        let Some(place) = self.places.iter().find(|place| place.service == worker) else { return false };
        match condition_of(&engine.services, place) {
            Condition::Ready if !self.rolls.concerns(worker) => {
                // It is written down.
                seat(&mut engine.services, worker);
                self.rolls.queue.push_back(((worker, place.life), why));
                true
            }
            Condition::Coming => {
                engine.start_anew(worker, Cause::Roll { because: why });
                let life = engine.service(worker).map(|service| service.generation).unwrap_or_default();
                for step in self.rolls.steps.iter_mut().filter(|step| step.new == worker) {
                    (step.from, step.phase) = (life, Phase::Coming);
                }
                false
            }
            Condition::Held => {
                engine.start_worker(worker, Cause::Roll { because: why });
                false
            }
            Condition::Ready | Condition::Going | Condition::Free => false,
        }
    }

    /// Goes on as far as it can.
    pub(super) fn roll(&mut self, engine: &mut Engine) {
        let steps = core::mem::take(&mut self.rolls.steps);
        let mut failed = Vec::new();
        for mut step in steps {
            match self.advance(engine, &mut step) {
                Progress::Under => self.rolls.steps.push(step),
                Progress::Over => self.tell_replaced(engine, &step),
                Progress::Failed => failed.push(step),
            }
        }
        if let Some(first) = failed.first() {
            self.give_up(engine, first.new, &failed);
        }
        self.next_steps(engine);
        self.tell_over(engine);
    }

    fn advance(&mut self, engine: &mut Engine, step: &mut Step) -> Progress {
        // Also in another life: it may have crashed and started again while the new one came.
        let old = step.old.0;
        let leaves = |place: &Place| place.service == old && place.slot == Some(step.slot);
        let old_is_there = self.places.iter().any(|place| leaves(place) && place.duty != Duty::Free);
        if step.phase == Phase::Going {
            return if old_is_there { Progress::Under } else { Progress::Over };
        }
        let Some(new) = engine.service(step.new) else { return Progress::Failed };
        let begun = new.generation.0 == step.from.0 + 1;
        match new.state {
            State::Up if begun => {}
            State::Waiting | State::Preparing | State::Starting
                if step.phase == Phase::Coming && new.generation.0 <= step.from.0 + 1 =>
            {
                return Progress::Under;
            }
            // It is started anew because its configuration changed meanwhile.
            State::Starting | State::Up | State::Stopping | State::Clearing | State::Cleaning
                if new.generation == step.from && new.again.is_some() =>
            {
                return Progress::Under;
            }
            State::Stopped
            | State::Scheduled
            | State::Waiting
            | State::Preparing
            | State::Starting
            | State::Up
            | State::Stopping
            | State::Clearing
            | State::Cleaning
            | State::BackingOff
            | State::Done
            | State::Failed => return Progress::Failed,
        }
        let until = new.ready_since.unwrap_or(engine.cx.now).after(self.spec.min_ready);
        if until > engine.cx.now {
            step.phase = Phase::Proving(until);
            return Progress::Under;
        }
        step.phase = Phase::Going;
        if old_is_there {
            self.drain(engine, old, Cause::Roll { because: step.why });
            return Progress::Under;
        }
        Progress::Over
    }

    /// New ones did not become ready: this one, and perhaps others in the same moment.
    fn give_up(&mut self, engine: &mut Engine, first: ServiceId, failed: &[Step]) {
        for ((worker, _), _) in self.rolls.queue.drain(..) {
            seat(&mut engine.services, worker);
        }
        (self.rolls.failed, self.rolls.failed_at) = (true, Some(engine.cx.now));
        let taken_back: Vec<ServiceId> = {
            let unproved = self.rolls.steps.iter().filter(|step| step.phase != Phase::Going);
            unproved.chain(failed).map(|step| step.new).collect()
        };
        self.rolls.steps.retain(|step| step.phase == Phase::Going);
        for worker in taken_back {
            self.drain(engine, worker, Cause::Roll { because: Roll::Reverted });
        }
        let replaced = self.rolls.round.take().map_or(0, |round| round.done);
        let before = self.rolls.before.take();
        let worker = name_of(engine, first);
        self.tell(engine, PoolNews::RollFailed { worker, replaced, reverts: before.is_some() });
        if let Some(before) = before {
            self.revert(engine, &before);
        }
    }

    /// Every worker is to be what it was; those that are something else already are replaced.
    fn revert(&mut self, engine: &mut Engine, before: &ServiceSpec) {
        let mut changed = Vec::new();
        for place in &self.places {
            let Some(service) = seat(&mut engine.services, place.service) else { continue };
            let is_old = service.next.take().is_some();
            let spec = ServiceSpec { name: service.spec.name.clone(), ..before.clone() };
            if has_processes(service.state) && !is_old {
                service.next = Some(spec.into());
                changed.push(place.service);
            } else if !is_old {
                service.spec = spec.into();
            }
            engine.cx.act(Action::Revert { service: place.service });
        }
        if let Some(pool) = &before.pool {
            self.spec = alloc::sync::Arc::clone(pool);
        }
        for worker in changed {
            self.begin_roll(engine, Some(worker), Roll::Reverted);
        }
        self.rolls.failed = true;
    }

    /// As many at the same time as may be.
    fn next_steps(&mut self, engine: &mut Engine) {
        while (self.rolls.steps.len() as u64) < u64::from(self.spec.surge.max(1)) {
            let Some((old, why)) = self.rolls.queue.pop_front() else { return };
            seat(&mut engine.services, old.0);
            let place = self.places.iter().find(|place| place.service == old.0 && place.life == old.1);
            let ready = place.filter(|it| condition_of(&engine.services, it) == Condition::Ready);
            let Some(slot) = ready.and_then(|place| place.slot) else {
                // It has left, or started anew, by itself.
                self.rolls.round.iter_mut().for_each(|round| round.done += 1);
                continue;
            };
            let Some(new) = self.open_place(engine, Some(slot)) else {
                self.rolls.queue.push_front((old, why));
                return;
            };
            let from = engine.service(new).map(|service| service.generation).unwrap_or_default();
            self.rolls.steps.push(Step { old, new, slot, from, why, phase: Phase::Coming });
            engine.start_worker(new, Cause::Roll { because: why });
        }
    }

    fn tell_replaced(&mut self, engine: &mut Engine, step: &Step) {
        let Some(round) = &mut self.rolls.round else { return };
        round.done += 1;
        let Round { done, of, .. } = *round;
        let (old, new) = (name_of(engine, step.old.0), name_of(engine, step.new));
        self.tell(engine, PoolNews::Replaced { old, new, done, of });
    }

    fn tell_over(&mut self, engine: &mut Engine) {
        if !self.rolls.is_idle() {
            return;
        }
        self.rolls.before = None;
        if let Some(round) = self.rolls.round.take() {
            let took = engine.cx.now.since(round.began);
            self.tell(engine, PoolNews::RollOver { workers: round.of, took });
        }
    }
}

/// How a step goes.
enum Progress {
    Under,
    Over,
    Failed,
}
