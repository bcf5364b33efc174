//! What every decision may use besides its own service: the time, and the trays for what comes out of it.

use crate::random::Random;
use crate::timers::Timers;
use alloc::collections::{BTreeSet, VecDeque};
use alloc::vec::Vec;
use doula_model::action::{Action, News, Report, State};
use doula_model::event::Haste;
use doula_model::id::{Generation, PoolId, ServiceId};
use doula_model::time::Time;

/// The time, the trays, and what counts for the whole family.
#[derive(Debug)]
pub(crate) struct Context {
    /// Now.
    pub(crate) now: Time,
    /// How patiently the family shuts down, if it does.
    pub(crate) haste: Option<Haste>,
    /// How many services are in a state that can still lead to something by itself.
    pub(crate) live: usize,
    /// What is to be done, oldest first.
    pub(crate) actions: VecDeque<Action>,
    /// When to wake up.
    pub(crate) timers: Timers,
    /// Chance, from the seed.
    pub(crate) random: Random,
    /// Services that changed: they and their neighbours are to be looked at again.
    pub(crate) changed: VecDeque<ServiceId>,
    /// Services that wait and may perhaps start, once nothing else is left to be settled.
    pub(crate) starts: VecDeque<ServiceId>,
    /// Pools of which a worker changed.
    pub(crate) tend: BTreeSet<PoolId>,
    /// Services that came to their final end by themselves, in this order.
    pub(crate) ended: Vec<ServiceId>,
}

impl Context {
    /// Empty trays at this moment.
    pub(crate) fn new(seed: u64, now: Time) -> Context {
        Context {
            now,
            haste: None,
            live: 0,
            actions: VecDeque::new(),
            timers: Timers::default(),
            random: Random::new(seed),
            changed: VecDeque::new(),
            starts: VecDeque::new(),
            tend: BTreeSet::new(),
            ended: Vec::new(),
        }
    }

    /// Asks the world to do something.
    pub(crate) fn act(&mut self, action: Action) {
        self.actions.push_back(action);
    }

    /// Tells something about a service.
    pub(crate) fn report(&mut self, service: ServiceId, generation: Generation, news: News) {
        self.act(Action::Report(Report { at: self.now, service: Some(service), generation, news }));
    }

    /// Tells something about the family.
    pub(crate) fn announce(&mut self, news: News) {
        let generation = Generation::default();
        self.act(Action::Report(Report { at: self.now, service: None, generation, news }));
    }

    /// Keeps the count of the live services, and remembers who changed.
    pub(crate) fn turned(&mut self, service: ServiceId, from: State, to: State) {
        match (is_live(from), is_live(to)) {
            (false, true) => self.live += 1,
            (true, false) => {
                assert!(self.live > 0, "only a counted service can stop being live");
                self.live -= 1;
            }
            (true, true) | (false, false) => {}
        }
        self.changed.push_back(service);
    }
}

/// Whether a service in this state can still do something by itself: the family does not end before.
pub(crate) const fn is_live(state: State) -> bool {
    match state {
        State::Stopped | State::Done | State::Failed => false,
        State::Scheduled
        | State::Waiting
        | State::Preparing
        | State::Starting
        | State::Up
        | State::Stopping
        | State::Clearing
        | State::Cleaning
        | State::BackingOff => true,
    }
}

/// Whether a service in this state has, or may have, processes.
pub const fn has_processes(state: State) -> bool {
    match state {
        State::Stopped
        | State::Done
        | State::Failed
        | State::Scheduled
        | State::Waiting
        | State::BackingOff => false,
        State::Preparing
        | State::Starting
        | State::Up
        | State::Stopping
        | State::Clearing
        | State::Cleaning => true,
    }
}
