//! What people ask of a pool or of one of its workers, and what they see of it.

use super::{Condition, Crew, Place, condition_of};
use crate::engine::{Engine, known};
use crate::service::Wish;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use doula_model::action::Cause;
use doula_model::id::{Generation, PoolId, ServiceId};
use doula_model::pool::{PoolSpec, Roll};
use doula_model::service::Reload;
use doula_model::time::Time;

/// What is asked of pools, and of their workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    Start,
    Stop,
    Restart,
    Reload,
}

/// A pool as people see it.
#[derive(Clone, Debug, PartialEq)]
pub struct PoolView {
    /// Its number.
    pub id: PoolId,
    /// What it was promised to be.
    pub spec: PoolSpec,
    /// Whether somebody wants it to run.
    pub wanted: bool,
    /// How many workers are replaced, of how many, while that goes on.
    pub rolling: Option<(u32, u32)>,
    /// Its workers that run or should, by their slots.
    pub workers: Vec<WorkerView>,
    /// The longest queue of each of the last seconds in which it was looked at, the oldest first.
    pub past: Vec<(Time, u32)>,
}

/// A worker as people see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkerView {
    /// Which service it is.
    pub service: ServiceId,
    /// In which life.
    pub life: Generation,
    /// Under which number it serves.
    pub slot: u32,
    /// What it does.
    pub doing: Doing,
    /// Whether it tells itself when it has work.
    pub speaks: bool,
    /// Since when it has no work, if it has none, as far as it was looked at.
    pub idle_since: Option<Time>,
    /// Since when it had work at each look, if it has some.
    pub busy_since: Option<Time>,
    /// How many requests it says that it has answered in this life.
    pub tasks: u64,
}

/// How far a pool is in replacing its workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rolling {
    /// Some are replaced.
    Under,
    /// The last time a new one did not become ready.
    Failed,
    /// All are what they should be.
    Over,
}

/// What a worker does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doing {
    /// It starts, or starts again.
    Starting,
    /// It serves.
    Serving,
    /// It ends.
    Leaving,
    /// It should serve, and does not: it failed for good or lost what it requires.
    Held,
}

impl Engine {
    /// A pool as people see it.
    pub fn pool(&self, id: PoolId) -> Option<PoolView> {
        let crew = self.crews.get(id.0 as usize)?.as_deref()?;
        let view = |place: &Place| self.view_of(place);
        let mut workers: Vec<_> = crew.places.iter().filter_map(view).collect();
        workers.sort_by_key(|worker| (worker.slot, worker.service));
        Some(PoolView {
            id,
            spec: (*crew.spec).clone(),
            wanted: crew.wish == Wish::Up,
            rolling: crew.rolls.progress(),
            workers,
            past: crew.past.iter().copied().collect(),
        })
    }

    /// A worker of a pool as people see it; `None` if its pool does not need it.
    pub fn worker(&self, id: ServiceId) -> Option<WorkerView> {
        let crew = self.crews.get(self.pool_of(id)?.0 as usize)?.as_deref()?;
        self.view_of(crew.places.iter().find(|place| place.service == id)?)
    }

    fn view_of(&self, place: &Place) -> Option<WorkerView> {
        let doing = match condition_of(&self.services, place) {
            Condition::Free => return None,
            Condition::Coming => Doing::Starting,
            Condition::Ready => Doing::Serving,
            Condition::Going => Doing::Leaving,
            Condition::Held => Doing::Held,
        };
        let Place { service, life, slot, speaks, idle_since, busy_since, tasks, .. } = *place;
        Some(WorkerView { service, life, slot: slot?, doing, speaks, idle_since, busy_since, tasks })
    }

    /// The numbers of all pools.
    pub fn pools(&self) -> impl Iterator<Item = PoolId> + '_ {
        let live = self.crews.iter().flatten().filter(|crew| !crew.places.is_empty());
        live.map(|crew| crew.id)
    }

    /// The pool that a service is a worker of.
    pub fn pool_of(&self, worker: ServiceId) -> Option<PoolId> {
        known(&self.services, worker)?.pool
    }

    /// The name of that pool.
    pub fn pool_name(&self, worker: ServiceId) -> Option<String> {
        let pool = self.pool_of(worker)?;
        Some(self.crews.get(pool.0 as usize)?.as_deref()?.spec.name.clone())
    }

    /// How far a pool is in replacing its workers; `None` when nobody wants it to run.
    pub fn roll_of(&self, pool: PoolId) -> Option<Rolling> {
        let crew = self.crews.get(pool.0 as usize)?.as_deref()?;
        let rolling = match (crew.rolls.is_idle(), crew.rolls.failed) {
            (false, _) => Rolling::Under,
            (true, true) => Rolling::Failed,
            (true, false) => Rolling::Over,
        };
        (crew.wish == Wish::Up).then_some(rolling)
    }

    /// Does what was asked of whole pools and of single workers; who is left is no worker.
    pub(crate) fn ask_pools(&mut self, ids: Vec<ServiceId>, wanted: Wanted) -> Vec<ServiceId> {
        let (workers, others): (Vec<_>, Vec<_>) = ids.into_iter().partition(|id| self.pool_of(*id).is_some());
        let mut named: BTreeMap<PoolId, Vec<ServiceId>> = BTreeMap::new();
        for worker in workers {
            if let Some(pool) = self.pool_of(worker) {
                named.entry(pool).or_default().push(worker);
            }
        }
        for (pool, workers) in named {
            self.with_crew(pool, |crew, engine| crew.ask(engine, &workers, wanted));
            self.cx.tend.insert(pool);
        }
        others
    }

    /// Those who require a pool are to end with it.
    fn take_down_requirers_of(&mut self, crew: &Crew) {
        if let Some(first) = crew.places.first() {
            self.take_down_requirers(first.service, false);
        }
    }
}

impl Crew {
    /// Something is asked of these workers. All of them are the pool.
    fn ask(&mut self, engine: &mut Engine, workers: &[ServiceId], wanted: Wanted) {
        let whole = workers.len() == self.places.len();
        let each: Vec<Option<ServiceId>> =
            if whole { Vec::from([None]) } else { workers.iter().map(|worker| Some(*worker)).collect() };
        for only in each {
            match (wanted, only) {
                (Wanted::Start, _) => self.start(engine, &Cause::Asked),
                (Wanted::Stop, None) => {
                    self.stop(engine, &Cause::Asked);
                    engine.take_down_requirers_of(self);
                }
                (Wanted::Stop, Some(worker)) => self.leave_out(engine, worker),
                (Wanted::Restart, only) => self.restart(engine, only),
                (Wanted::Reload, only) => self.reload(engine, only),
            }
        }
    }

    /// One worker is to leave; if there are too few then, another one comes.
    fn leave_out(&mut self, engine: &mut Engine, worker: ServiceId) {
        let place = self.places.iter().find(|place| place.service == worker);
        let runs = place.is_some_and(|place| place.duty == super::Duty::Serves);
        if runs {
            self.drain(engine, worker, Cause::Asked);
        }
    }

    fn restart(&mut self, engine: &mut Engine, only: Option<ServiceId>) {
        if self.wish == Wish::Down || self.failed {
            self.start(engine, &Cause::Asked);
        } else {
            self.begin_roll(engine, only, Roll::Asked);
        }
    }

    /// By the reload of its workers, if they have one.
    fn reload(&mut self, engine: &mut Engine, only: Option<ServiceId>) {
        let by_restart = self.template(engine).is_none_or(|spec| spec.reload == Reload::Restart);
        if self.wish == Wish::Down {
            return;
        }
        if by_restart {
            return self.begin_roll(engine, only, Roll::Asked);
        }
        for place in self.places.iter().filter(|place| only.is_none_or(|only| only == place.service)) {
            engine.reload_worker(place.service);
        }
    }
}
