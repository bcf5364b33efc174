//! A pool on paper: the workers of one, what waits for them, and what must hold of it whatever happens.
//!
//! | check | what it holds |
//! |---|---|
//! | `most` | never more workers than the maximum, and in a roll those that are replaced at the same time |
//! | `capacity` | who is replaced leaves only when another one is up in its slot |
//! | `drained` | a worker gives its slot up only when nothing of it is left |
//! | `wish` | a pool that was stopped stays so, whoever is its supervisor |
//! | `least` | at rest as many are up as there should be, each in a slot of its own, if nobody has failed for good |
//!
//! The load is by chance: a queue, and who has work. It says nothing of how good a policy is ([`crate::pools`] does).

use super::habit::{Habit, helper};
use super::scenario::{Deed, Machine, Member, Scenario, millis, one_of};
use super::sockets::Clients;
use super::{Fault, Happening, Sites, World};
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;
use doula_core::engine::Engine;
use doula_core::random::Random;
use doula_core::view::Doing;
use doula_model::action::{Cause, News, Report, State};
use doula_model::event::{Command, Event};
use doula_model::id::{PoolId, ServiceId};
use doula_model::pool::{Bounds, Measure, Policy, PoolNews, PoolSpec, Roll, Spare, StartFailure};
use doula_model::service::{ReadyBy, RestartWhen, ServiceSpec};

const MOST_WORKERS: u64 = 4;
const MOST_DEEDS: u64 = 6;
/// Those that a pool can be made of; the other habits are no servers.
const HABITS: [Habit; 8] = [
    Habit::Polite,
    Habit::Polite,
    Habit::SlowStop,
    Habit::IgnoresTerm,
    Habit::CrashLoop,
    Habit::ReadyThenDies,
    Habit::DeafGrandchild,
    Habit::SaysThatItStops,
];

/// What is known of a pool: by the slots that were given, and by what people were told.
#[derive(Debug, Default)]
pub(super) struct Known {
    slots: BTreeMap<ServiceId, u32>,
    states: BTreeMap<ServiceId, State>,
    rolled: bool,
    /// What people wish of it as a whole: heard in this turn, and heard and written down.
    asked: Option<bool>,
    wish: Option<bool>,
}

impl Scenario {
    /// The scenario of this seed with a pool: its workers are all members of the family.
    #[must_use]
    pub fn of_pool(seed: u64) -> Scenario {
        let mut random = Random::new(seed ^ 0x706f_6f6c);
        let random = &mut random;
        let serves = random.below(2) == 0;
        let habit = if serves { one_of(random, &Habit::SERVERS) } else { one_of(random, &HABITS) };
        Scenario::of_workers(seed, random, habit)
    }

    /// The scenario of this seed with a pool whose workers have this habit. Servers have clients.
    #[must_use]
    pub fn of_servers(seed: u64, habit: Habit) -> Scenario {
        Scenario::of_workers(seed, &mut Random::new(seed ^ 0x7365_7276), habit)
    }

    fn of_workers(seed: u64, random: &mut Random, habit: Habit) -> Scenario {
        let pool = Arc::new(pool(random));
        let spec = worker(random, habit, &pool);
        let (main, helper) = (habit.script(random), helper(random));
        let member = |number: u32| Member {
            spec: ServiceSpec { name: alloc::format!("web@{}", number + 1), ..spec.clone() },
            habit,
            main: Arc::clone(&main),
            helper: Arc::clone(&helper),
            most: 16,
        };
        let members: Vec<Member> = (0..pool.places()).map(member).collect();
        let mut deeds: Vec<_> = (0..random.below(MOST_DEEDS)).map(|_| deed(random, &members)).collect();
        deeds.sort_by_key(|(at, _)| *at);
        let machine = Machine {
            pid_one: random.below(4) == 0,
            old: random.below(4) == 0,
            nohup: false,
            keep_alive: random.below(2) == 0,
            newest_first: random.below(2) == 0,
        };
        let clients = habit.serves().then(|| Clients::chosen(random));
        Scenario { seed, members, deeds, sites: Sites::chosen(random, seed), machine, clients }
    }
}

fn pool(random: &mut Random) -> PoolSpec {
    let max = random.below(MOST_WORKERS) as u32 + 1;
    let spare = Spare { min: 1, max: 2 };
    let policy = match random.below(6) {
        0 => Policy::Apache(spare),
        1 => Policy::FpmDynamic(spare),
        2 => Policy::FpmOndemand { idle: millis(random, 3_000) },
        3 => Policy::UwsgiSpare { step: 1, overload: 2 },
        4 => Policy::Backlog,
        _ => Policy::Fixed,
    };
    let start = if policy == Policy::Fixed { max } else { random.below(u64::from(max)) as u32 + 1 };
    PoolSpec {
        policy,
        surge: random.below(2) as u32 + 1,
        min_ready: Duration::from_millis(random.below(3) * 400),
        on_start_failure: one_of(random, &[StartFailure::Keep, StartFailure::Keep, StartFailure::RollBack]),
        ..PoolSpec::new("web", Bounds { start, max })
    }
}

fn worker(random: &mut Random, habit: Habit, pool: &Arc<PoolSpec>) -> ServiceSpec {
    let mut spec = ServiceSpec::new("web");
    spec.pool = Some(Arc::clone(pool));
    spec.autostart = false;
    spec.restart.when = RestartWhen::Always;
    spec.restart.delay = millis(random, 500);
    spec.restart.max_delay = Duration::from_secs(2);
    spec.restart.limit = spec.restart.limit.filter(|_| random.below(2) == 0);
    // A server has time for the client that it serves.
    let least = if habit.serves() { 1_000 } else { 0 };
    spec.stop.grace = Duration::from_millis(least + random.below(2_000) + 1);
    spec.stop.leftover_grace = millis(random, 500);
    spec.ready.by = if habit.says_ready() { ReadyBy::Notice } else { ReadyBy::Exec };
    spec.ready.timeout = Some(Duration::from_secs(5));
    spec
}

fn deed(random: &mut Random, members: &[Member]) -> (Duration, Deed) {
    let at = millis(random, 60_000);
    let all: Vec<ServiceId> = (0..members.len()).map(|place| ServiceId(place as u32)).collect();
    let one = Vec::from([one_of(random, &all)]);
    let command = match random.below(10) {
        0..4 => Command::Restart(all),
        4 => Command::Restart(one),
        5 => Command::Stop(all),
        6 | 7 => Command::Start(all),
        _ => {
            let fingerprint = random.below(3);
            let changed = |member: &Member| ServiceSpec { fingerprint, ..member.spec.clone() };
            Command::Apply(members.iter().map(changed).collect())
        }
    };
    (at, Deed::Command(command))
}

impl Known {
    /// What a supervisor knows that goes on: as it was written down.
    pub(super) fn of(engine: &Engine, before: &Known) -> Known {
        let states = engine.ids().filter_map(|id| Some((id, engine.status(id)?.state))).collect();
        let slots = engine.ids().filter_map(|id| Some((id, engine.record(id)?.life.slot?))).collect();
        // What was just being asked for may have been heard or not.
        let wish = before.wish.filter(|_| before.asked.is_none());
        // It may have begun to replace workers before it tells anybody.
        let rolls = engine.pools().filter_map(|pool| engine.pool(pool)).any(|pool| pool.rolling.is_some());
        Known { slots, states, rolled: before.rolled || rolls, asked: None, wish }
    }
}

impl World<'_> {
    /// So many wait, and these have work.
    pub(super) fn load(&mut self, workers: &[ServiceId], closely: bool) -> Measure {
        if self.scenario.clients.is_some() {
            return self.count_clients(workers, closely);
        }
        let queue = if self.quiet { 0 } else { self.dice.below(8).saturating_sub(4) as u32 };
        let mut busy = Vec::new();
        for worker in workers {
            let has_work = !self.quiet && self.dice.below(2) == 0;
            busy.push((*worker, self.seats[self.place(*worker)].life, has_work));
        }
        Measure { queue, busy, ..Measure::default() }
    }

    /// A connection comes some time, unless all is quiet.
    pub(super) fn expect_connection(&mut self, pool: PoolId, workers: &[ServiceId]) {
        if self.scenario.clients.is_some() {
            self.await_client(Some(pool).filter(|_| !workers.is_empty()));
        } else if !self.quiet && !workers.is_empty() {
            let wait = Duration::from_millis(self.dice.below(3_000) + 1);
            self.later(wait, Happening::Knock(pool, self.life));
        }
    }

    /// A worker gets a slot, or gives it up.
    pub(super) fn take_seat(&mut self, worker: ServiceId, slot: Option<u32>) {
        self.log.note(self.now, ("slot", worker.0, slot));
        if let Some(slot) = slot {
            self.known.slots.insert(worker, slot);
            return;
        }
        self.known.slots.remove(&worker);
        if self.is_populated(worker) {
            let text = alloc::format!("s{} gives its slot up and somebody of it lives", worker.0);
            self.checks.fail("drained", text);
        }
    }

    /// The supervisor hears what people ask for.
    pub(super) fn hears(&mut self, event: &Event) {
        let Event::Command(command) = event else { return };
        let all = |ids: &Vec<ServiceId>| ids.len() == self.scenario.members.len();
        let stops = matches!(command, Command::Stop(ids) if all(ids));
        // Whatever else is asked for may start it.
        self.known.asked = Some(!stops);
    }

    /// What was heard is done, and written down.
    pub(super) fn has_heard(&mut self) {
        self.known.wish = self.known.asked.take().or(self.known.wish);
    }

    /// People are told something.
    pub(super) fn told_of_pool(&mut self, report: &Report) {
        if let News::Pool { change: PoolNews::RollBegins { .. }, .. } = &report.news {
            self.known.rolled = true;
        }
        let (Some(worker), News::Turned { from, to, because }) = (report.service, &report.news) else {
            return;
        };
        let Some(pool) = self.scenario.members[self.place(worker)].spec.pool.clone() else { return };
        self.known.states.insert(worker, *to);
        let replaced = matches!(because, Cause::Roll { because } if *because != Roll::Reverted);
        if replaced && (*from, *to) == (State::Up, State::Stopping) && !self.has_successor(worker) {
            let text = alloc::format!("s{} is drained and nobody is up in its slot", worker.0);
            self.checks.fail("capacity", text);
        }
        let rests = |state: &State| matches!(state, State::Stopped | State::Done | State::Failed);
        let live = self.known.states.values().filter(|state| !rests(state)).count();
        let most = pool.bounds.max + if self.known.rolled { pool.surge } else { 0 };
        if live > most as usize {
            self.checks.fail("most", alloc::format!("{live} workers live, and {most} may"));
        }
    }

    fn has_successor(&self, worker: ServiceId) -> bool {
        let slot = self.known.slots.get(&worker);
        let known = &self.known;
        known.slots.iter().any(|(other, of)| {
            *other != worker && Some(of) == slot && known.states.get(other) == Some(&State::Up)
        })
    }

    /// Nothing has gone wrong for a while.
    pub(super) fn pools_at_rest(&mut self, engine: &Engine) {
        for pool in engine.pools().filter_map(|pool| engine.pool(pool)) {
            let no_room = self.faults.fired[Fault::DiskFull as usize] > 0;
            if pool.wanted && self.known.wish == Some(false) && !no_room {
                self.checks.fail("wish", "the pool was stopped, and is wanted".into());
            }
            if pool.wanted && pool.workers.iter().all(|worker| worker.doing != Doing::Held) {
                self.nobody_waits();
            }
            let steady = self.scenario.members.iter().all(|member| member.habit.is_steady());
            let well = pool.workers.iter().all(|worker| worker.doing == Doing::Serving);
            if !pool.wanted || !steady || pool.rolling.is_some() || !well {
                continue;
            }
            let least = match pool.spec.policy {
                Policy::Fixed => pool.spec.bounds.max,
                // They follow the number of idle ones, which here is by chance.
                Policy::Apache(_) | Policy::FpmDynamic(_) | Policy::FpmOndemand { .. } => 0,
                Policy::Backlog | Policy::UwsgiSpare { .. } => pool.spec.bounds.start,
            };
            let up = pool.workers.len();
            let mut slots: Vec<u32> = pool.workers.iter().map(|worker| worker.slot).collect();
            slots.dedup();
            if up < least as usize || slots.len() < up {
                let text = alloc::format!("{up} are up in {} slots, and {least} should be", slots.len());
                self.checks.fail("least", text);
            }
        }
    }
}
