//! The side on paper: all states in which the model can be after what was seen so far.

use doula_model::signal::Signal;
use doula_sim::kernel::call::{Call, Clone};
use doula_sim::kernel::version::Config;
use doula_sim::kernel::{Kernel, Outcome, TaskId, TooMany};
use doula_sim::program::Said;
use std::collections::{BTreeMap, BTreeSet};

/// More states than this on the way from one rest to the next are not gone through.
const MOST_STATES: usize = 60_000;
/// More states than this at rest are not followed.
pub(crate) const MOST_ENDS: usize = 600;

/// What can be seen of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Seen {
    pub(crate) state: char,
    pub(crate) parent: i32,
    pub(crate) group: i32,
    pub(crate) session: i32,
}

/// What became of one call: who came back with what, and how everybody is then, by their numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Observed {
    pub(crate) said: BTreeMap<i32, String>,
    pub(crate) seen: BTreeMap<i32, Seen>,
}

/// One way in which all can have come about.
#[derive(Clone)]
pub(crate) struct State {
    kernel: Kernel,
    /// What handlers took before the call that is under way, by the number of the caller.
    caught: BTreeMap<i32, String>,
}

/// A namespace on paper.
pub(crate) struct Paper {
    init: TaskId,
    states: Vec<State>,
}

impl Paper {
    /// With its init, whose first child has this number.
    pub(crate) fn new(config: Config, next: i32) -> Paper {
        let mut kernel = Kernel::with(config);
        let host = kernel.init();
        assert!(matches!(kernel.call(host, Call::Clone(Clone::INIT)), Outcome::Done(Ok(_))));
        let init = kernel.tasks().find(|task| *task != host).expect("an init");
        kernel.take_reply(init);
        kernel.call(init, Call::Setsid);
        kernel.call(init, Call::SetParentDeathSignal(Some(Signal::KILL)));
        kernel.set_next_pid(init, next);
        Paper { init, states: vec![State { kernel, caught: BTreeMap::new() }] }
    }

    /// Whether a process is in its program, in every state.
    pub(crate) fn may_call(&self, number: i32) -> bool {
        self.states.iter().all(|state| {
            let task = state.kernel.find_as(self.init, number);
            task.is_some_and(|task| state.kernel.is_in_program(task))
        })
    }

    /// All that may follow from a call, by what is seen of it.
    pub(crate) fn follow(&self, by: i32, call: &Call) -> Result<BTreeMap<Observed, Vec<State>>, TooMany> {
        let mut ends: BTreeMap<Observed, Vec<State>> = BTreeMap::new();
        let mut known = BTreeSet::new();
        for state in &self.states {
            let mut state = state.clone();
            let task = state.kernel.find_as(self.init, by).expect("who may call is there");
            let caught = caught(&mut state.kernel, task);
            state.caught.insert(by, caught);
            let before = self.numbers(&state.kernel);
            state.kernel.enter(task, call.clone());
            for kernel in state.kernel.successors(MOST_STATES)? {
                let mut end = State { kernel, caught: state.caught.clone() };
                let observed = self.observe(&mut end, &before);
                if known.insert((end.kernel.state_hash(), end.caught.clone(), observed.said.clone())) {
                    ends.entry(observed).or_default().push(end);
                }
            }
        }
        Ok(ends)
    }

    /// What comes of a call in one fixed order.
    pub(crate) fn run(&mut self, by: i32, call: &Call) -> Observed {
        let mut state = self.states.swap_remove(0);
        let before = self.numbers(&state.kernel);
        if let Some(task) = state.kernel.find_as(self.init, by) {
            let caught = caught(&mut state.kernel, task);
            state.caught.insert(by, caught);
            if state.kernel.is_in_program(task) {
                state.kernel.enter(task, call.clone());
                state.kernel.settle();
            }
        }
        let observed = self.observe(&mut state, &before);
        self.states = vec![state];
        observed
    }

    /// Keeps the states that agree with what was seen.
    pub(crate) fn keep(&mut self, states: Vec<State>) {
        self.states = states;
    }

    pub(crate) fn width(&self) -> usize {
        self.states.len()
    }

    /// Who is there, by birth.
    fn numbers(&self, kernel: &Kernel) -> BTreeMap<u64, i32> {
        let looks = kernel.tasks().filter_map(|task| kernel.look_as(self.init, task));
        looks.map(|look| (kernel.birth(look.task), look.pid)).collect()
    }

    fn observe(&self, state: &mut State, before: &BTreeMap<u64, i32>) -> Observed {
        let mut observed = Observed::default();
        for (birth, reply) in state.kernel.last_words() {
            if let Some(number) = before.get(birth) {
                let caught = state.caught.remove(number).unwrap_or_default();
                observed.said.insert(*number, format!("{}{caught}", Said(reply)));
            }
        }
        let tasks: Vec<TaskId> = state.kernel.tasks().collect();
        for task in tasks {
            let look = state.kernel.look_as(self.init, task).expect("a task");
            if look.pid == 0 {
                continue;
            }
            let reply = state.kernel.take_reply(task);
            if let Some(reply) = reply.filter(|_| before.contains_key(&state.kernel.birth(task))) {
                let caught = state.caught.remove(&look.pid).unwrap_or_default();
                observed.said.insert(look.pid, format!("{}{caught}", Said(&reply)));
            }
            // An agent that is in its program listens.
            let letter = if look.state == 'R' { 'S' } else { look.state };
            let seen = Seen { state: letter, parent: look.ppid, group: look.pgid, session: look.sid };
            observed.seen.insert(look.pid, seen);
        }
        observed
    }
}

/// What an agent adds to its answer.
fn caught(kernel: &mut Kernel, task: TaskId) -> String {
    let mut times = BTreeMap::new();
    for info in kernel.take_caught(task) {
        *times.entry(info.signal).or_insert(0) += 1;
    }
    times.iter().map(|(signal, times)| format!(" {signal}*{times}")).collect()
}
