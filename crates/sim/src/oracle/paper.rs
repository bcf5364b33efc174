//! The side on paper: all states in which the model can be after what was seen so far.

use super::families::{FILES, File};
use crate::kernel::call::{Call, Clone, Reply};
use crate::kernel::sigset::{Code, SigInfo};
use crate::kernel::version::Config;
use crate::kernel::{Kernel, Outcome, TaskId, TooMany};
use crate::program::{Said, Word};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;
use alloc::{format, vec};
use doula_model::signal::Signal;

/// More states than this on the way from one rest to the next are not gone through.
const MOST_STATES: usize = 60_000;
/// More states than this at rest are not followed.
pub(crate) const MOST_ENDS: usize = 600;

/// What can be seen of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seen {
    /// The letter of `/proc/PID/stat`.
    pub state: char,
    /// The parent's number.
    pub parent: i32,
    /// The group's number.
    pub group: i32,
    /// The session's number.
    pub session: i32,
    /// The foreground group of its controlling terminal; -1 without one.
    pub foreground: i32,
}

/// What became of one call: who came back with what, and how everybody is then, by their numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Observed {
    /// What came back, in words.
    pub said: BTreeMap<i32, String>,
    /// How everybody is.
    pub seen: BTreeMap<i32, Seen>,
}

/// One way in which all can have come about.
#[derive(Clone, Debug)]
pub(crate) struct State {
    kernel: Kernel,
    /// What handlers took before the call that is under way, by the birth of the caller.
    caught: BTreeMap<u64, String>,
    /// Whether that call executes a program.
    executing: BTreeSet<u64>,
}

/// A namespace on paper.
#[derive(Debug)]
pub struct Paper {
    init: TaskId,
    states: Vec<State>,
}

impl Paper {
    /// With its init, whose first child has this number.
    pub fn new(config: Config, next: i32) -> Paper {
        let mut kernel = Kernel::with(config);
        let host = kernel.init();
        assert!(matches!(kernel.call(host, Call::Clone(Clone::INIT)), Outcome::Done(Ok(_))));
        let init = kernel.tasks().find(|task| *task != host).expect("an init");
        kernel.take_reply(init);
        kernel.call(init, Call::Setsid);
        kernel.call(init, Call::SetParentDeathSignal(Some(Signal::KILL)));
        kernel.set_next_pid(init, next);
        FILES.iter().for_each(|file| install(&mut kernel, file));
        Paper { init, states: vec![State { kernel, caught: BTreeMap::new(), executing: BTreeSet::new() }] }
    }

    /// Whether a process is in its program, in every state.
    pub fn may_call(&self, number: i32) -> bool {
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
            let before = self.enter(&mut state, by, call);
            for kernel in state.kernel.successors(MOST_STATES)? {
                let mut end = State { kernel, ..state.clone() };
                let observed = self.observe(&mut end, &before);
                if known.insert((end.kernel.state_hash(), end.caught.clone(), observed.said.clone())) {
                    ends.entry(observed).or_default().push(end);
                }
            }
        }
        Ok(ends)
    }

    /// Makes a call for who is in its program; who was there before, by birth.
    fn enter(&self, state: &mut State, by: i32, call: &Call) -> BTreeMap<u64, i32> {
        let before = self.numbers(&state.kernel);
        let task = state.kernel.find_as(self.init, by);
        if let Some(task) = task.filter(|task| state.kernel.is_in_program(*task)) {
            let caught = caught(&mut state.kernel, task);
            let birth = state.kernel.birth(task);
            state.caught.insert(birth, caught);
            if matches!(call, Call::Execve(_)) {
                state.executing.insert(birth);
            }
            state.kernel.enter(task, call.clone());
        }
        before
    }

    /// What comes of a call in one fixed order.
    pub(crate) fn run(&mut self, by: i32, call: &Call) -> Observed {
        let mut state = self.states.swap_remove(0);
        let before = self.enter(&mut state, by, call);
        state.kernel.settle();
        let observed = self.observe(&mut state, &before);
        self.states = vec![state];
        observed
    }

    /// Keeps the states that agree with what was seen.
    pub(crate) fn keep(&mut self, states: Vec<State>) {
        self.states = states;
    }

    /// The same namespace, in these states.
    pub(crate) fn with(&self, states: Vec<State>) -> Paper {
        Paper { init: self.init, states }
    }

    /// The states, in an order and with numbers that are the same on every way to them.
    pub(crate) fn key(&self) -> Vec<u64> {
        let mut key: Vec<u64> = self.states.iter().map(|state| state.kernel.state_hash()).collect();
        key.sort_unstable();
        key
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
        for (birth, reply) in state.kernel.last_words().to_vec() {
            if let Some(number) = before.get(&birth) {
                let answer = state.answer(birth, None, &reply);
                observed.said.insert(*number, answer);
            }
        }
        let tasks: Vec<TaskId> = state.kernel.tasks().collect();
        for task in tasks {
            let look = state.kernel.look_as(self.init, task).expect("a task");
            if look.pid == 0 {
                continue;
            }
            let birth = state.kernel.birth(task);
            let reply = state.kernel.take_reply(task);
            if let Some(reply) = reply.filter(|_| before.contains_key(&birth)) {
                let answer = state.answer(birth, Some(task), &reply);
                observed.said.insert(look.pid, answer);
            }
            // An agent that is in its program listens.
            let letter = if look.state == 'R' { 'S' } else { look.state };
            let (parent, group, session) = (look.ppid, look.pgid, look.sid);
            let seen = Seen { state: letter, parent, group, session, foreground: look.foreground };
            observed.seen.insert(look.pid, seen);
        }
        observed
    }
}

impl State {
    /// What the program says of a reply: a program that was executed tells its arguments, and knows nothing of earlier
    /// signals.
    fn answer(&mut self, birth: u64, task: Option<TaskId>, reply: &Reply) -> String {
        let caught = self.caught.remove(&birth).unwrap_or_default();
        let executed = self.executing.remove(&birth) && reply.is_ok();
        match task.and_then(|task| self.kernel.program(task)).filter(|_| executed) {
            Some(program) => arguments(program.args.iter().map(String::as_bytes)),
            None => format!("{}{caught}", Said(reply)),
        }
    }
}

/// What a program says that was executed.
pub fn arguments<'a>(args: impl Iterator<Item = &'a [u8]>) -> String {
    let words: Vec<String> = args.map(|arg| format!(" {}", Word(arg))).collect();
    format!("executed{}", words.concat())
}

/// What an agent adds to its answer: the signals that its handlers took, in the order of their words.
fn caught(kernel: &mut Kernel, task: TaskId) -> String {
    words_of(kernel.take_caught(task).into_iter())
}

/// Signals with what came with them, sorted: which handler ran first is no part of the comparison.
pub fn words_of(caught: impl Iterator<Item = SigInfo>) -> String {
    let mut words: Vec<String> = caught.map(|info| word_of(&info)).collect();
    words.sort();
    words.concat()
}

fn word_of(SigInfo { signal, code, pid }: &SigInfo) -> String {
    let why = match code {
        Code::User => format!("by {pid}"),
        Code::Tkill => format!("by {pid} to a thread"),
        Code::Queue(number) => format!("by {pid} with {number}"),
        Code::Kernel => "by the kernel".into(),
        Code::Exited(code) => format!("{pid} exited {code}"),
        Code::Killed(signal) => format!("{pid} killed {signal}"),
        Code::Dumped(signal) => format!("{pid} dumped {signal}"),
        Code::Stopped(signal) => format!("{pid} stopped {signal}"),
        Code::Trapped(signal) => format!("{pid} trapped {signal}"),
        Code::Continued => format!("{pid} continued"),
    };
    format!(" {signal}({why})")
}

fn install(kernel: &mut Kernel, file: &File) {
    match file.bytes {
        Some(bytes) => kernel.install(file.path, file.executable, bytes),
        None => kernel.make_directory(file.path),
    }
}
