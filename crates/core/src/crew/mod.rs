//! A pool at work: which of its workers serve, which leave, and who replaces whom.
//!
//! ```text
//! a worker changed, a look was due, somebody knocked  →  tend: free the empty places, replace, size  →  workers start and stop
//! ```
//!
//! A *place* is a worker of the engine, whether it runs or not; its *slot* is the number under which it serves. How many
//! should serve is found by [`crate::pool::Sizer`] from what the world sees ([`Action::Measure`]); who starts and who leaves
//! is chosen here. A worker leaves by its stop policy: signal, grace, SIGKILL, and proof that nothing is left; until then it
//! has its slot. How workers are replaced is in [`roll`], how what is seen becomes a number in [`size`].
//!
//! It sleeps when nothing happens: a pool of fixed size never looks, one that follows its backlog waits for a connection.

mod leak;
mod people;
mod recycle;
mod roll;
mod size;

pub(crate) use people::Wanted;
pub use people::{Doing, PoolView, Rolling, WorkerView};

use crate::context::{Context, is_live};
use crate::engine::{Engine, Seats, known, seat};
use crate::pool::{Policy, Sizer};
use crate::service::{Input, Service, Wish};
use crate::settle::Standing;
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use doula_model::action::{Action, Cause, News, Report, State};
use doula_model::event::Notice;
use doula_model::id::{Generation, PoolId, ServiceId};
use doula_model::pool::{Board, Checkup, Measure, PoolNews, PoolSpec, Reason, Roll, StartFailure};
use doula_model::service::ServiceSpec;
use doula_model::time::Time;
use leak::Growth;
use roll::Rolls;

/// So many seconds of the past queue are kept, for people.
const PAST: usize = 60;

/// What a worker is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Duty {
    /// Nothing: it does not run.
    Free,
    /// It is to serve.
    Serves,
    /// It is to end.
    Leaves,
}

/// One worker, whether it runs or not.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) service: ServiceId,
    pub(crate) slot: Option<u32>,
    pub(crate) duty: Duty,
    /// The life that the following is about.
    life: Generation,
    /// It told itself whether it has work.
    speaks: bool,
    /// Since when it has no work, as far as can be proved.
    pub(crate) idle_since: Option<Time>,
    /// Since when it was seen to have some at each look, for people.
    busy_since: Option<Time>,
    /// How many requests it says that it has answered.
    pub(crate) tasks: u64,
    /// When it is too old.
    due_at: Option<Time>,
    /// How its memory grows, if it is looked at.
    growth: Growth,
    /// Its failure while the pool started was told.
    told: bool,
}

impl Place {
    fn new(service: ServiceId) -> Place {
        Place {
            service,
            slot: None,
            duty: Duty::Free,
            life: Generation::default(),
            speaks: false,
            idle_since: None,
            busy_since: None,
            tasks: 0,
            due_at: None,
            growth: Growth::default(),
            told: false,
        }
    }

    /// A new life has begun: what is known of the last one is forgotten.
    fn enter(&mut self, life: Generation) {
        if self.life != life {
            (self.life, self.speaks, self.idle_since, self.tasks) = (life, false, None, 0);
            (self.busy_since, self.due_at) = (None, None);
            self.growth = Growth::default();
        }
    }

    /// What it has written on its scoreboard. The count is taken as it is: one that was caught half written is right at the
    /// next look.
    fn read(&mut self, now: Time, board: Board) {
        self.tasks = board.requests;
        let Some(busy) = board.busy else { return };
        self.speaks = true;
        self.works(now, busy);
    }

    /// It was seen to have work, or to have none.
    fn works(&mut self, now: Time, busy: bool) {
        if busy {
            (self.idle_since, self.busy_since) = (None, self.busy_since.or(Some(now)));
        } else {
            (self.idle_since, self.busy_since) = (self.idle_since.or(Some(now)), None);
        }
    }
}

/// How a worker is, for its pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    /// It does not run, and need not.
    Free,
    /// It is on its way, also after an end that its restart policy repairs.
    Coming,
    /// It serves.
    Ready,
    /// It ends.
    Going,
    /// It should serve and does not: it failed for good, or lost a service that it requires.
    Held,
}

/// A pool.
#[derive(Debug)]
pub(crate) struct Crew {
    pub(crate) id: PoolId,
    pub(crate) spec: Arc<PoolSpec>,
    pub(crate) places: Vec<Place>,
    pub(crate) wish: Wish,
    /// Whether it is wanted when the family goes on: a shutdown does not change that.
    wanted: bool,
    /// As many as it begins with have been ready.
    complete: bool,
    /// It was told that none is left that could serve.
    failed: bool,
    sizer: Sizer,
    /// When to look by the clock.
    look_at: Option<Time>,
    /// When to see whether somebody has served long enough.
    check_at: Option<Time>,
    /// When connections are awaited again.
    listen_at: Option<Time>,
    /// Since when connections knock and nobody starts for that.
    knocks_since: Option<Time>,
    /// A look was asked for and not answered yet.
    asked: bool,
    /// It was asked for because somebody knocked.
    knocked: bool,
    /// What keeps it from growing, as it was told last.
    held: Option<Reason>,
    /// Those that fail kept it from growing at the last look.
    braked: bool,
    pub(crate) rolls: Rolls,
    /// The longest queue of each of the last seconds in which it was looked at, the last one at the end.
    pub(crate) past: VecDeque<(Time, u32)>,
}

impl Crew {
    fn new(id: PoolId, spec: Arc<PoolSpec>) -> Crew {
        Crew {
            id,
            sizer: Sizer::new(spec.policy.clone(), spec.bounds),
            spec,
            places: Vec::new(),
            wish: Wish::Down,
            wanted: false,
            complete: false,
            failed: false,
            look_at: None,
            check_at: None,
            listen_at: None,
            knocks_since: None,
            asked: false,
            knocked: false,
            held: None,
            braked: false,
            rolls: Rolls::default(),
            past: VecDeque::new(),
        }
    }

    /// Something about a worker changed.
    fn tend(&mut self, engine: &mut Engine) {
        let ended = self.free_the_empty(engine);
        if self.wish == Wish::Up {
            self.judge_start(engine);
        }
        if self.wish == Wish::Up {
            self.recycle(engine);
            self.roll(engine);
            // Who has failed and comes again is no reason to wait any more, and no clock would say so.
            let released = self.braked && !self.is_failing(engine);
            if ended || released || self.spec.policy == Policy::Fixed {
                self.look(engine, true);
            }
            self.judge_end(engine);
        }
        self.show_standing(engine);
    }

    /// Workers that left, or were stopped for good, give their slots back; whether there were any.
    fn free_the_empty(&mut self, engine: &mut Engine) -> bool {
        let mut ended = false;
        for place in &mut self.places {
            let service = engine.service(place.service);
            place.enter(service.map(|service| service.generation).unwrap_or_default());
            let live = service.is_some_and(|service| is_live(service.state));
            if place.duty == Duty::Leaves && !live {
                (place.duty, place.slot) = (Duty::Free, None);
                engine.cx.act(Action::Seat { service: place.service, slot: None });
                ended = true;
            }
        }
        ended
    }

    /// While a pool starts, a worker that fails is reported, and may take the others with it.
    fn judge_start(&mut self, engine: &mut Engine) {
        if self.complete {
            return;
        }
        let fallen = |place: &&mut Place| {
            let state = engine.service(place.service).map(|service| service.state);
            place.duty == Duty::Serves && matches!(state, Some(State::BackingOff | State::Failed))
        };
        let Some(place) = self.places.iter_mut().filter(|place| !place.told).find(fallen) else {
            self.complete = self.count(engine, Condition::Ready) >= self.sizer.start();
            return;
        };
        place.told = true;
        let (worker, then) = (name_of(engine, place.service), self.spec.on_start_failure);
        self.tell(engine, PoolNews::StartFailed { worker, then });
        if then == StartFailure::RollBack {
            self.stop(engine, &Cause::Pool { reason: Reason::Failing });
            self.failed = true;
        } else {
            self.judge_start(engine);
        }
    }

    /// Tells when nobody is left who could serve.
    fn judge_end(&mut self, engine: &mut Engine) {
        let serving = self.places.iter().filter(|place| place.duty == Duty::Serves);
        let failed = |place: &Place| {
            engine.service(place.service).is_some_and(|it| it.state == State::Failed && !it.lost)
        };
        let (mut some, mut all) = (false, true);
        serving.for_each(|place| (some, all) = (true, all && failed(place)));
        if (some && all) != self.failed {
            self.failed = some && all;
            self.touch(engine);
            if self.failed {
                self.tell(engine, PoolNews::Failed);
            }
        }
    }

    /// Tells those who need the pool how it stands.
    fn show_standing(&self, engine: &mut Engine) {
        let standing = self.standing(engine);
        let Some(first) = self.places.first() else { return };
        if engine.service(first.service).is_none_or(|service| service.stands == standing) {
            return;
        }
        for place in &self.places {
            if let Some(service) = seat(&mut engine.services, place.service) {
                service.stands = standing;
            }
        }
        engine.cx.changed.push_back(first.service);
    }

    fn standing(&self, engine: &Engine) -> Standing {
        let count = |condition| self.count(engine, condition);
        match self.wish {
            Wish::Down if count(Condition::Going) > 0 => Standing::Pending,
            Wish::Down => Standing::Gone,
            Wish::Up if self.complete && (count(Condition::Ready) > 0 || self.sizer.start() == 0) => {
                Standing::Ready
            }
            Wish::Up if count(Condition::Held) > 0 && count(Condition::Coming) == 0 => {
                if count(Condition::Ready) > 0 { Standing::Ready } else { Standing::Gone }
            }
            Wish::Up => Standing::Pending,
        }
    }

    /// Whether something can still happen though no worker runs.
    pub(crate) fn is_awake(&self, engine: &Engine) -> bool {
        self.wish == Wish::Up && self.standing(engine) != Standing::Gone
    }

    /// How many workers are so.
    fn count(&self, engine: &Engine, condition: Condition) -> u32 {
        let alike = self.places.iter().filter(|place| condition_of(&engine.services, place) == condition);
        u32::try_from(alike.count()).unwrap_or(u32::MAX)
    }

    /// How many serve, or are about to.
    fn staying(&self, engine: &Engine) -> u32 {
        self.count(engine, Condition::Ready) + self.count(engine, Condition::Coming)
    }

    /// A place for one more worker, in this slot or in the lowest that is free.
    fn open_place(&mut self, engine: &mut Engine, slot: Option<u32>) -> Option<ServiceId> {
        let slot = slot.unwrap_or_else(|| self.free_slot());
        let rests =
            |place: &&mut Place| place.duty == Duty::Free && engine.service(place.service).is_some_and(rests);
        let place = self.places.iter_mut().find(rests)?;
        (place.slot, place.duty, place.told) = (Some(slot), Duty::Serves, false);
        let service = place.service;
        engine.cx.act(Action::Seat { service, slot: Some(slot) });
        Some(service)
    }

    fn free_slot(&self) -> u32 {
        let taken = |slot: &u32| self.places.iter().any(|place| place.slot == Some(*slot));
        (1..).find(|slot| !taken(slot)).unwrap_or(u32::MAX)
    }

    /// So many more, as far as there are places; how many it were.
    fn grow(&mut self, engine: &mut Engine, count: u32, cause: &Cause) -> u32 {
        let mut grown = 0;
        while grown < count
            && let Some(service) = self.open_place(engine, None)
        {
            engine.start_worker(service, cause.clone());
            grown += 1;
        }
        grown
    }

    /// This one is to leave.
    fn drain(&mut self, engine: &mut Engine, worker: ServiceId, cause: Cause) {
        let Some(place) = self.places.iter_mut().find(|place| place.service == worker) else { return };
        place.duty = Duty::Leaves;
        engine.stop_worker(worker, cause);
    }

    /// It is to serve.
    pub(crate) fn start(&mut self, engine: &mut Engine, cause: &Cause) {
        if engine.cx.haste.is_some() || (self.wish == Wish::Up && !self.failed && !self.has_held(engine)) {
            return;
        }
        (self.wish, self.complete, self.failed, self.held) = (Wish::Up, false, false, None);
        self.is_wanted(engine, true);
        self.sizer = Sizer::new(self.spec.policy.clone(), self.spec.bounds);
        self.wake_the_held(engine, cause);
        let (staying, going) = (self.staying(engine), self.count(engine, Condition::Going));
        let room = self.spec.bounds.max.saturating_sub(staying + going);
        let missing = self.sizer.start().saturating_sub(staying).min(room);
        self.grow(engine, missing, cause);
        self.look(engine, true);
        self.show_standing(engine);
    }

    fn has_held(&self, engine: &Engine) -> bool {
        self.count(engine, Condition::Held) > 0
    }

    /// Who should serve and does not gets another chance.
    fn wake_the_held(&mut self, engine: &mut Engine, cause: &Cause) {
        let held = |place: &&Place| condition_of(&engine.services, place) == Condition::Held;
        let held: Vec<_> = self.places.iter().filter(held).map(|place| place.service).collect();
        for worker in held {
            engine.start_worker(worker, cause.clone());
        }
    }

    /// It is to end.
    pub(crate) fn stop(&mut self, engine: &mut Engine, cause: &Cause) {
        self.rest(engine);
        let serving = self.places.iter().filter(|place| place.duty == Duty::Serves);
        for worker in serving.map(|place| place.service).collect::<Vec<_>>() {
            self.drain(engine, worker, cause.clone());
        }
        self.show_standing(engine);
    }

    fn is_wanted(&mut self, engine: &mut Engine, wanted: bool) {
        if self.wanted != wanted {
            self.wanted = wanted;
            self.touch(engine);
        }
    }

    /// What is written down of it is no longer right.
    fn touch(&self, engine: &mut Engine) {
        if let Some(first) = self.places.first() {
            seat(&mut engine.services, first.service);
        }
    }

    /// Whether it is wanted, for the worker that says so.
    pub(crate) fn wish_in(&self, worker: ServiceId) -> Option<bool> {
        let says = self.places.first().is_some_and(|place| place.service == worker);
        says.then_some(self.wanted && !self.failed)
    }

    /// Nothing is to be done any more but to wait for those who end.
    pub(crate) fn rest(&mut self, engine: &mut Engine) {
        (self.wish, self.failed, self.held) = (Wish::Down, false, None);
        if !engine.cx.is_ending() {
            self.is_wanted(engine, false);
        }
        (self.look_at, self.check_at) = (None, None);
        if self.listen_at.take().is_some() || self.sizer.hears_connections() {
            engine.cx.act(Action::AwaitConnection { pool: self.id, workers: Vec::new() });
        }
        self.rolls = Rolls::default();
    }

    /// A worker spoke about its work.
    fn heard(&mut self, now: Time, (worker, life): (ServiceId, Generation), notice: &Notice) {
        let Some(place) = self.places.iter_mut().find(|place| place.service == worker) else { return };
        place.enter(life);
        match notice {
            Notice::Busy(busy) => {
                place.speaks = true;
                place.works(now, *busy);
            }
            // It counts on: a smaller number is an old message.
            Notice::Tasks(tasks) => place.tasks = place.tasks.max(*tasks),
            Notice::Ready
            | Notice::Reloading
            | Notice::Stopping
            | Notice::Status(_)
            | Notice::Watchdog
            | Notice::WatchdogTrigger
            | Notice::WatchdogInterval(_)
            | Notice::ExtendTimeout(_) => {}
        }
    }

    /// Tells something about the pool.
    fn tell(&self, engine: &mut Engine, change: PoolNews) {
        let news = News::Pool { pool: self.spec.name.clone(), change };
        let report = Report { at: engine.cx.now, service: None, generation: Generation::default(), news };
        engine.cx.act(Action::Report(report));
    }
}

/// Whether nothing of a worker runs, and it is not about to.
fn rests(service: &Service) -> bool {
    !is_live(service.state) && !service.leaving
}

/// How a worker is, for its pool.
pub(crate) fn condition_of(services: &Seats, place: &Place) -> Condition {
    let Some(service) = known(services, place.service) else { return Condition::Free };
    match (place.duty, service.state) {
        (Duty::Free, _) => Condition::Free,
        (Duty::Leaves, State::Stopped | State::Done | State::Failed) => Condition::Free,
        (Duty::Leaves, _) => Condition::Going,
        (Duty::Serves, State::Stopped | State::Done | State::Failed) => Condition::Held,
        (Duty::Serves, _) if service.wish == Wish::Down => Condition::Held,
        (Duty::Serves, State::Up) if service.again.is_none() => Condition::Ready,
        (
            Duty::Serves,
            State::Scheduled
            | State::Waiting
            | State::Preparing
            | State::Starting
            | State::Up
            | State::Stopping
            | State::Clearing
            | State::Cleaning
            | State::BackingOff,
        ) => Condition::Coming,
    }
}

fn name_of(engine: &Engine, worker: ServiceId) -> String {
    engine.service(worker).map(|service| service.spec.name.clone()).unwrap_or_default()
}

impl Engine {
    /// Sees to the pools of which a worker changed, until nothing changes any more.
    pub(crate) fn settle_crews(&mut self) {
        self.settle();
        while let Some(pool) = self.cx.tend.pop_first() {
            self.with_crew(pool, Crew::tend);
            self.settle();
        }
    }

    /// Lets a pool act on the engine.
    pub(crate) fn with_crew<T>(
        &mut self,
        pool: PoolId,
        act: impl FnOnce(&mut Crew, &mut Engine) -> T,
    ) -> Option<T> {
        let mut crew = self.crews.get_mut(pool.0 as usize)?.take()?;
        let result = act(&mut crew, self);
        self.crews[pool.0 as usize] = Some(crew);
        Some(result)
    }

    /// The world has looked.
    pub(crate) fn measured(&mut self, pool: PoolId, measure: &Measure) {
        self.with_crew(pool, |crew, engine| crew.measured(engine, measure));
    }

    /// The world has seen how the workers of a pool are.
    pub(crate) fn checked_up(&mut self, pool: PoolId, seen: &[Checkup]) {
        self.with_crew(pool, |crew, engine| crew.checked_up(engine, seen));
    }

    /// A connection waits.
    pub(crate) fn knocked(&mut self, pool: PoolId) {
        self.with_crew(pool, Crew::knocked);
    }

    /// A worker spoke about its work.
    pub(crate) fn worker_heard(&mut self, worker: ServiceId, life: Generation, notice: &Notice) {
        let now = self.cx.now;
        let Some(pool) = self.service(worker).and_then(|service| service.pool) else { return };
        self.with_crew(pool, |crew, _| crew.heard(now, (worker, life), notice));
        self.cx.tend.insert(pool);
    }

    /// The deadlines of pools that have passed.
    pub(crate) fn tick_crews(&mut self) {
        for number in 0..self.crews.len() {
            self.with_crew(PoolId(number as u32), Crew::tick);
        }
    }

    /// When the first pool has to be looked at by the clock.
    pub(crate) fn crew_deadline(&self) -> Option<Time> {
        self.crews.iter().flatten().filter_map(|crew| crew.deadline()).min()
    }

    /// Makes the pools what the services say, after these changed.
    pub(crate) fn refresh_crews(&mut self) {
        for number in 0..self.services.len() {
            let id = ServiceId(number as u32);
            let spec = self.service(id).filter(|it| !it.leaving).and_then(|it| it.effective().pool.clone());
            let pool = spec.as_ref().map(|spec| self.crew_named(spec));
            if let Some(service) = seat(&mut self.services, id) {
                service.pool = pool;
            }
            if let (Some(pool), Some(spec)) = (pool, spec) {
                self.with_crew(pool, |crew, engine| crew.refresh(engine, id, spec));
            }
        }
        for number in 0..self.crews.len() {
            self.with_crew(PoolId(number as u32), Crew::dismiss_the_leaving);
        }
    }

    fn crew_named(&mut self, spec: &Arc<PoolSpec>) -> PoolId {
        let known = self.crews.iter().flatten().find(|crew| crew.spec.name == spec.name);
        if let Some(crew) = known {
            return crew.id;
        }
        let id = PoolId(u32::try_from(self.crews.len()).unwrap_or(u32::MAX));
        self.crews.push(Some(Box::new(Crew::new(id, Arc::clone(spec)))));
        id
    }

    /// A worker is wanted by its pool.
    fn start_worker(&mut self, id: ServiceId, cause: Cause) {
        let Some(service) = seat(&mut self.services, id).filter(|it| !it.leaving) else { return };
        (service.wish, service.lost, service.reason) = (Wish::Up, false, cause);
        service.history.forget();
        (service.automatic, service.fell) = (false, None);
        service.input(&mut self.cx, Input::Start { run: true });
        self.cx.changed.push_back(id);
        self.start_needs(id);
    }

    /// A worker is not wanted any more by its pool.
    fn stop_worker(&mut self, id: ServiceId, cause: Cause) {
        let Some(service) = seat(&mut self.services, id) else { return };
        (service.wish, service.reason, service.again) = (Wish::Down, cause, None);
        service.lost = false;
        if !is_live(service.state) {
            service.input(&mut self.cx, Input::Stop);
        }
        self.cx.changed.push_back(id);
        self.cx.tend.extend(service_pool(&self.services, id));
    }
}

fn service_pool(services: &Seats, id: ServiceId) -> Option<PoolId> {
    known(services, id).and_then(|service| service.pool)
}

impl Crew {
    /// This service is one of its workers, and this its configuration.
    fn refresh(&mut self, engine: &mut Engine, worker: ServiceId, spec: Arc<PoolSpec>) {
        if self.spec != spec {
            if self.spec.policy != spec.policy || self.spec.bounds != spec.bounds {
                self.sizer = Sizer::new(spec.policy.clone(), spec.bounds);
            }
            self.spec = spec;
        }
        if !self.places.iter().any(|place| place.service == worker) {
            self.take_in(engine, worker);
        }
    }

    /// A service that runs already was something else before, or is leaving.
    fn take_in(&mut self, engine: &mut Engine, worker: ServiceId) {
        let mut place = Place::new(worker);
        if let Some(service) = engine.service(worker).filter(|service| is_live(service.state)) {
            let slot = service.slot.unwrap_or_else(|| self.free_slot());
            place.duty = if service.wish == Wish::Up { Duty::Serves } else { Duty::Leaves };
            place.slot = Some(slot);
            place.enter(service.generation);
            engine.cx.act(Action::Seat { service: worker, slot: Some(slot) });
        }
        self.places.push(place);
    }

    /// Goes on with the workers of a supervisor before us. Where it did not say whether the pool is wanted, it is if one of them is,
    /// or if it may be without any.
    pub(crate) fn go_on(&mut self, engine: &mut Engine) {
        let serves = self.places.iter().any(|place| place.duty == Duty::Serves);
        let said = |place: &Place| engine.service(place.service)?.pool_wanted;
        let said = self.places.iter().find_map(said);
        let wanted = said.unwrap_or(serves || (self.spec.autostart && self.sizer.start() == 0));
        match (wanted, serves) {
            (true, true) => {
                (self.wish, self.wanted, self.complete) = (Wish::Up, true, true);
                self.go_on_rolling(engine);
                self.look(engine, true);
            }
            (true, false) => self.start(engine, &Cause::Autostart),
            // It was told to end, and not all of its workers were.
            (false, true) => self.stop(engine, &Cause::Asked),
            (false, false) => {}
        }
        self.touch(engine);
        self.show_standing(engine);
        engine.cx.tend.insert(self.id);
    }

    /// The slot of a worker.
    pub(crate) fn slot_of(&self, worker: ServiceId) -> Option<u32> {
        self.places.iter().find(|place| place.service == worker)?.slot
    }

    /// Why a worker is to be replaced, when its turn comes.
    pub(crate) fn roll_of(&self, worker: ServiceId) -> Option<Roll> {
        self.rolls.awaits(worker)
    }

    /// Workers that are no longer part of the family are no longer ours.
    fn dismiss_the_leaving(&mut self, engine: &mut Engine) {
        let ours = |service: &Service| service.pool == Some(self.id) && !service.leaving;
        self.places.retain(|place| engine.service(place.service).is_some_and(ours));
        if self.places.is_empty() && self.wish == Wish::Up {
            self.rest(engine);
        }
        self.touch(engine);
    }

    /// What one of its workers is configured to be.
    fn template<'e>(&self, engine: &'e Engine) -> Option<&'e ServiceSpec> {
        Some(engine.service(self.places.first()?.service)?.effective())
    }
}

impl Context {
    /// Whether nobody is to be started any more.
    pub(crate) const fn is_ending(&self) -> bool {
        self.haste.is_some()
    }
}
