//! One policy under one load, event by event.

use super::load::{Arrival, Load};
use alloc::collections::{BTreeMap, BinaryHeap, VecDeque};
use alloc::vec::Vec;
use core::cmp::Reverse;
use core::time::Duration;
use doula_core::pool::{Bounds, Brakes, Move, Policy, Seen, Sizer, Victim};
use doula_core::random::Random;
use doula_model::time::Time;

/// A pool, its workers, and the queue before them.
#[derive(Clone, Debug)]
pub struct Setup {
    /// How its size is found.
    pub policy: Policy,
    /// Its bounds.
    pub bounds: Bounds,
    /// From the start of a worker until it is ready.
    pub boot: Duration,
    /// For how many workers there is memory; `None`: for as many as there may be.
    pub memory_for: Option<u32>,
    /// How many connections can wait (the backlog of listen(2)); who finds it full tries again after a second, as TCP does.
    pub backlog: u32,
    /// The seed of the load.
    pub seed: u64,
    /// How long it is watched; connections that are not answered by then are not counted as served.
    pub watched: Duration,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Answered connections.
    pub served: u64,
    /// Tries that found the queue full.
    pub refused: u64,
    /// How long each served connection waited for a worker; sorted.
    pub waits: Vec<Duration>,
    /// How many workers lived, with those that start and those that are drained: each change with its time.
    pub curve: Vec<(Time, u32)>,
    /// The sum of their lives.
    pub worker_time: Duration,
    /// The most that lived at once.
    pub most: u32,
    /// How often the policy looked.
    pub looks: u64,
}

impl Outcome {
    /// The wait that so many per mille of all served connections did not exceed; zero when none was served.
    pub fn wait(&self, per_mille: usize) -> Duration {
        let last = self.waits.len().saturating_sub(1);
        self.waits.get(last * per_mille.min(1_000) / 1_000).copied().unwrap_or_default()
    }

    /// How many workers lived at a moment.
    pub fn workers_at(&self, time: Time) -> u32 {
        let after = self.curve.partition_point(|(changed, _)| *changed <= time);
        after.checked_sub(1).map_or(0, |at| self.curve[at].1)
    }
}

/// Plays a load to its end.
pub fn run(setup: &Setup, load: &Load) -> Outcome {
    let mut play = Play::new(setup, load);
    while let Some(Reverse((time, _, event))) = play.events.pop() {
        if time > play.end {
            break;
        }
        play.now = time;
        play.happen(event);
    }
    play.finish()
}

/// What happens at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// A connection is made, by its place in the list.
    Arrives(usize),
    /// A worker is ready.
    Ready(u32),
    /// A worker has answered.
    Answered(u32),
    /// The policy hears of connections: once of all that arrive at one moment, as an edge of epoll(7) tells.
    Heard,
    /// The policy looks; only the newest appointment counts.
    Look(u64),
}

/// A worker that is not idle has a connection or starts.
#[derive(Clone, Copy, Debug)]
struct Worker {
    born: Time,
    state: State,
    leaves: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Starts,
    Idle(Time),
    Busy(usize),
}

struct Play<'a> {
    setup: &'a Setup,
    sizer: Sizer,
    random: Random,
    load: &'a Load,
    arrivals: Vec<Arrival>,
    events: BinaryHeap<Reverse<(Time, u64, Event)>>,
    serial: u64,
    workers: BTreeMap<u32, Worker>,
    next_worker: u32,
    idle: VecDeque<u32>,
    queue: VecDeque<usize>,
    appointment: u64,
    heard: bool,
    now: Time,
    end: Time,
    outcome: Outcome,
}

impl<'a> Play<'a> {
    fn new(setup: &'a Setup, load: &'a Load) -> Play<'a> {
        let mut random = Random::new(setup.seed);
        let arrivals = load.arrivals(&mut random);
        let sizer = Sizer::new(setup.policy.clone(), setup.bounds);
        let first = sizer.start().min(setup.memory_for.unwrap_or(u32::MAX));
        let mut play = Play {
            setup,
            sizer,
            random,
            load,
            arrivals,
            events: BinaryHeap::new(),
            serial: 0,
            workers: BTreeMap::new(),
            next_worker: 0,
            idle: VecDeque::new(),
            queue: VecDeque::new(),
            appointment: 0,
            heard: false,
            now: Time::ZERO,
            end: Time::ZERO.after(setup.watched),
            outcome: Outcome::default(),
        };
        // Who is there from the beginning is ready when the load comes.
        for _ in 0..first {
            let worker = play.born(State::Idle(Time::ZERO));
            play.idle.push_back(worker);
        }
        for at in 0..play.arrivals.len() {
            play.at(play.arrivals[at].time, Event::Arrives(at));
        }
        play.look();
        play
    }

    fn at(&mut self, time: Time, event: Event) {
        self.serial += 1;
        self.events.push(Reverse((time, self.serial, event)));
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Arrives(at) => self.arrives(at),
            Event::Ready(worker) => self.free(worker),
            Event::Answered(worker) => self.answered(worker),
            Event::Heard => {
                self.heard = false;
                self.look();
            }
            Event::Look(number) if number == self.appointment => self.look(),
            Event::Look(_) => {}
        }
    }

    fn arrives(&mut self, at: usize) {
        if let Some(worker) = self.idle.pop_front() {
            return self.takes(worker, at);
        }
        if self.queue.len() >= self.setup.backlog as usize {
            self.outcome.refused += 1;
            return self.at(self.now.after(Duration::from_secs(1)), Event::Arrives(at));
        }
        self.queue.push_back(at);
        if self.sizer.hears_connections() && !self.heard {
            self.heard = true;
            self.at(self.now, Event::Heard);
        }
    }

    fn takes(&mut self, worker: u32, at: usize) {
        let arrival = self.arrivals[at];
        self.outcome.waits.push(self.now.since(arrival.time));
        if let Some(worker) = self.workers.get_mut(&worker) {
            worker.state = State::Busy(at);
        }
        self.at(self.now.after(arrival.work), Event::Answered(worker));
    }

    fn answered(&mut self, worker: u32) {
        self.outcome.served += 1;
        let Some(State::Busy(at)) = self.workers.get(&worker).map(|worker| worker.state) else { return };
        self.free(worker);
        let Some(until) = self.arrivals[at].until.filter(|until| self.now < *until) else { return };
        let Load::Described(_, handler) = self.load else { return };
        let work = handler.draw(&mut self.random);
        self.arrivals.push(Arrival { time: self.now, work, until: Some(until) });
        self.at(self.now, Event::Arrives(self.arrivals.len() - 1));
    }

    /// A worker has nothing to do: it leaves, takes who waits, or rests.
    fn free(&mut self, number: u32) {
        let Some(worker) = self.workers.get_mut(&number) else { return };
        if worker.leaves {
            return self.gone(number);
        }
        worker.state = State::Idle(self.now);
        match self.queue.pop_front() {
            Some(at) => self.takes(number, at),
            None => self.idle.push_back(number),
        }
    }

    fn look(&mut self) {
        self.outcome.looks += 1;
        let next = self.sizer.look(&self.seen());
        for _ in 0..next.start {
            let worker = self.born(State::Starts);
            self.at(self.now.after(self.setup.boot), Event::Ready(worker));
        }
        self.drain(next);
        self.appointment += 1;
        if let Some(again) = next.again {
            self.at(self.now.after(again), Event::Look(self.appointment));
        }
    }

    fn seen(&self) -> Seen {
        let count = |wanted: &dyn Fn(&Worker) -> bool| {
            self.workers.values().filter(|worker| wanted(worker)).count() as u32
        };
        let longest = self.idle.front().and_then(|worker| self.workers.get(worker));
        let idle_for = match longest.map(|worker| worker.state) {
            Some(State::Idle(since)) => self.now.since(since),
            Some(State::Starts | State::Busy(_)) | None => Duration::ZERO,
        };
        Seen {
            now: self.now,
            starting: count(&|worker| !worker.leaves && worker.state == State::Starts),
            ready: count(&|worker| !worker.leaves && worker.state != State::Starts),
            busy: count(&|worker| !worker.leaves && matches!(worker.state, State::Busy(_))),
            draining: count(&|worker| worker.leaves),
            queue: self.queue.len() as u32,
            idle_for,
            brakes: Brakes {
                memory_for: self.setup.memory_for.map(|most| most.saturating_sub(self.workers.len() as u32)),
                ..Brakes::default()
            },
        }
    }

    fn drain(&mut self, next: Move) {
        for _ in 0..next.drain {
            let victim = match next.victim {
                Victim::AnyIdle | Victim::LongestIdle => self.idle.front().copied(),
                Victim::OldestIdle => self.idle.iter().min().copied(),
                Victim::Oldest => {
                    self.workers.iter().find(|(_, worker)| !worker.leaves).map(|(number, _)| *number)
                }
            };
            let Some(victim) = victim else { return };
            self.idle.retain(|worker| *worker != victim);
            let Some(worker) = self.workers.get_mut(&victim) else { return };
            worker.leaves = true;
            if matches!(worker.state, State::Idle(_)) {
                self.gone(victim);
            }
        }
    }

    fn born(&mut self, state: State) -> u32 {
        self.next_worker += 1;
        self.workers.insert(self.next_worker, Worker { born: self.now, state, leaves: false });
        self.count();
        self.next_worker
    }

    fn gone(&mut self, number: u32) {
        if let Some(worker) = self.workers.remove(&number) {
            self.outcome.worker_time += self.now.since(worker.born);
            self.count();
        }
    }

    /// Notes how many there are.
    fn count(&mut self) {
        let count = self.workers.len() as u32;
        self.outcome.most = self.outcome.most.max(count);
        match self.outcome.curve.last_mut() {
            Some((time, last)) if *time == self.now => *last = count,
            _ => self.outcome.curve.push((self.now, count)),
        }
    }

    fn finish(mut self) -> Outcome {
        for worker in self.workers.values() {
            self.outcome.worker_time += self.end.since(worker.born);
        }
        self.outcome.waits.sort_unstable();
        self.outcome
    }
}
