//! From what is seen of a pool to how many start or leave.

use super::{Condition, Crew, Duty, PAST, Place, condition_of};
use crate::engine::{Engine, known};
use crate::pool::{Brakes, Move, Policy, Seen, Victim};
use crate::service::Wish;
use alloc::vec::Vec;
use core::cmp::Reverse;
use core::time::Duration;
use doula_model::action::{Action, Cause, State};
use doula_model::id::{Generation, ServiceId};
use doula_model::pool::{Board, Measure, PoolNews, Reason};
use doula_model::time::Time;

/// After a knock nobody listens for so long: a pool under load is not to wake us for each connection.
const PAUSE: Duration = Duration::from_millis(5);

/// While a connection waits for somebody who is about to take it, and knocks again each time, a look is of no use. So the pause
/// becomes this share of the time for which it has waited, and no longer than that.
const OF_ITS_WAIT: u32 = 4;
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

impl Crew {
    /// Looks at the pool now. One of fixed size needs no eyes for that.
    pub(super) fn look(&mut self, engine: &mut Engine, closely: bool) {
        if self.spec.policy == Policy::Fixed {
            return self.resize(engine, &Measure::default());
        }
        if self.asked || engine.cx.is_ending() {
            return;
        }
        self.asked = true;
        let ready = |place: &&Place| condition_of(&engine.services, place) == Condition::Ready;
        // The first one stands for the sockets, also when nobody serves.
        let first = self.places.first().into_iter();
        let workers = first.chain(self.places.iter().filter(ready)).map(|place| place.service).collect();
        engine.cx.act(Action::Measure { pool: self.id, workers, closely });
    }

    /// What was seen.
    pub(super) fn measured(&mut self, engine: &mut Engine, measure: &Measure) {
        let knocked = core::mem::take(&mut self.knocked);
        self.asked = false;
        if self.wish == Wish::Down || engine.cx.is_ending() {
            return;
        }
        self.remember(engine.cx.now, measure.queue);
        if knocked && measure.queue == 0 && measure.busy.is_empty() {
            // Somebody took it at once.
            self.knocks_since = None;
            self.listen_at = Some(engine.cx.now.after(PAUSE));
            return;
        }
        self.note_work(engine.cx.now, measure);
        self.knocked = knocked;
        self.resize(engine, measure);
        self.knocked = false;
    }

    /// A connection waits, or did.
    pub(super) fn knocked(&mut self, engine: &mut Engine) {
        if self.wish == Wish::Up {
            self.knocked = true;
            self.look(engine, false);
        }
    }

    /// Its deadlines that have passed.
    pub(super) fn tick(&mut self, engine: &mut Engine) {
        let now = engine.cx.now;
        if self.look_at.is_some_and(|at| at <= now) {
            self.look_at = None;
            self.look(engine, true);
        }
        if self.listen_at.is_some_and(|at| at <= now) {
            self.listen(engine);
        }
        if self.check_at.is_some_and(|at| at <= now) {
            self.check_up(engine);
        }
        if [self.rolls.deadline(), self.next_age()].into_iter().flatten().any(|at| at <= now) {
            engine.cx.tend.insert(self.id);
        }
    }

    pub(super) fn deadline(&self) -> Option<Time> {
        let looks = [self.look_at, self.check_at, self.listen_at];
        looks.into_iter().chain([self.rolls.deadline(), self.next_age()]).flatten().min()
    }

    fn listen(&mut self, engine: &mut Engine) {
        self.listen_at = None;
        let workers: Vec<ServiceId> = self.places.first().map(|place| place.service).into_iter().collect();
        engine.cx.act(Action::AwaitConnection { pool: self.id, workers });
    }

    /// The longest queue of each second, for people.
    fn remember(&mut self, now: Time, queue: u32) {
        let second = Time::ZERO.after(Duration::from_secs(now.since(Time::ZERO).as_secs()));
        match self.past.back_mut() {
            Some((at, longest)) if *at == second => *longest = queue.max(*longest),
            Some(_) | None => self.past.push_back((second, queue)),
        }
        if self.past.len() > PAST {
            self.past.pop_front();
        }
    }

    /// Who has work and who has none. What a worker says itself counts more than what is seen.
    fn note_work(&mut self, now: Time, measure: &Measure) {
        for (worker, life, busy) in &measure.busy {
            let place = self.places.iter_mut().find(|place| place.service == *worker && place.life == *life);
            let Some(place) = place.filter(|place| !place.speaks) else { continue };
            place.works(now, *busy);
        }
        for (worker, life, board) in &measure.boards {
            self.read(now, (*worker, *life), *board);
        }
    }

    /// A worker has written this.
    pub(super) fn read(&mut self, now: Time, (worker, life): (ServiceId, Generation), board: Board) {
        let place = self.places.iter_mut().find(|place| place.service == worker && place.life == life);
        if let Some(place) = place {
            place.read(now, board);
        }
    }

    fn resize(&mut self, engine: &mut Engine, measure: &Measure) {
        let seen = self.seen(engine, measure);
        self.braked = seen.brakes.failing;
        let decided = self.sizer.look(&seen);
        let from = self.staying(engine);
        let grown = self.grow(engine, decided.start, &Cause::Pool { reason: decided.reason });
        // While workers are replaced there is one more than needed at times.
        let drained = if self.rolls.is_idle() { self.shrink(engine, &decided) } else { 0 };
        if grown + drained > 0 {
            let to = (from + grown).saturating_sub(drained);
            self.tell(engine, PoolNews::Sized { from, to, reason: decided.reason });
        }
        self.tell_held(engine, from, decided.reason);
        if grown > 0 || measure.queue == 0 {
            self.knocks_since = None;
        }
        self.arrange_next(engine, &decided);
    }

    /// When to look again, and whether to be told of connections until then.
    fn arrange_next(&mut self, engine: &mut Engine, decided: &Move) {
        let now = engine.cx.now;
        self.look_at = decided.again.map(|pause| now.after(pause));
        let soon = decided.again.is_some_and(|pause| pause <= PAUSE);
        if !self.sizer.hears_connections() || soon || self.held.is_some() {
            self.listen_at = None;
        } else if self.knocked {
            let since = *self.knocks_since.get_or_insert(now);
            self.listen_at = Some(now.after((now.since(since) / OF_ITS_WAIT).clamp(PAUSE, LONGEST_PAUSE)));
        } else {
            self.listen(engine);
        }
    }

    fn tell_held(&mut self, engine: &mut Engine, at: u32, reason: Reason) {
        let held = match reason {
            Reason::AtMaximum | Reason::Memory | Reason::Pressure | Reason::Failing => Some(reason),
            Reason::Steady
            | Reason::BelowStart
            | Reason::FewIdle
            | Reason::ManyIdle
            | Reason::Queue
            | Reason::AllBusy => None,
        };
        let changed = held != self.held;
        self.held = held;
        if let Some(reason) = held.filter(|_| changed) {
            self.tell(engine, PoolNews::Held { at, reason });
        }
    }

    /// What the policy is shown. Who should serve and does not has its place, and is not replaced: so it counts with
    /// those that leave.
    fn seen(&self, engine: &Engine, measure: &Measure) -> Seen {
        let mut seen = Seen { now: engine.cx.now, queue: measure.queue, ..Seen::default() };
        for place in &self.places {
            match condition_of(&engine.services, place) {
                Condition::Free => {}
                Condition::Coming => seen.starting += 1,
                Condition::Going | Condition::Held => seen.draining += 1,
                Condition::Ready => {
                    seen.ready += 1;
                    match place.idle_since {
                        None => seen.busy += 1,
                        Some(since) => seen.idle_for = seen.idle_for.max(seen.now.since(since)),
                    }
                }
            }
        }
        seen.brakes = Brakes {
            memory_for: measure.memory_for,
            pressure: measure.pressure,
            failing: self.is_failing(engine),
        };
        seen
    }

    /// Whether those that start end at once: more than a quarter of those that serve, or are about to.
    pub(super) fn is_failing(&self, engine: &Engine) -> bool {
        let fallen = |place: &&Place| {
            let state = known(&engine.services, place.service).map(|service| service.state);
            place.duty == Duty::Serves && matches!(state, Some(State::BackingOff | State::Failed))
        };
        self.places.iter().filter(fallen).count() * 4 > self.staying(engine) as usize
    }

    /// Has so many leave, the right ones; how many it were.
    fn shrink(&mut self, engine: &mut Engine, decided: &Move) -> u32 {
        let mut drained = 0;
        while drained < decided.drain
            && let Some(worker) = self.victim(engine, decided.victim)
        {
            self.drain(engine, worker, Cause::Pool { reason: decided.reason });
            drained += 1;
        }
        drained
    }

    /// Who leaves next. Only a worker that is proved idle, but for the policy that asks for the oldest.
    fn victim(&self, engine: &Engine, kind: Victim) -> Option<ServiceId> {
        let ready = |place: &&Place| condition_of(&engine.services, place) == Condition::Ready;
        let ready = self.places.iter().filter(ready);
        let born = |place: &&Place| engine.service(place.service).and_then(|service| service.ready_since);
        let idle = |place: &&Place| place.idle_since.is_some();
        let found = match kind {
            Victim::AnyIdle => ready.filter(idle).max_by_key(|place| place.slot),
            Victim::OldestIdle => ready.filter(idle).min_by_key(born),
            Victim::Oldest => ready.min_by_key(born),
            Victim::LongestIdle => {
                ready.filter(idle).min_by_key(|place| (place.idle_since, Reverse(place.slot)))
            }
        };
        found.map(|place| place.service)
    }
}
