//! Programs for both worlds: who makes which call. Processes are named by their place (the step that bore them,
//! 0 for init), because numbers are not known before.
//!
//! A program belongs to a family: half of its calls are about that family's subject (`families`), the others about lives.
//! Random calls alone rarely meet; so there are motifs in between, a few calls that mean something together.

use super::directed::place_of;
use super::families::Family;
use crate::kernel::call::{Call, Clone, Mask, Wait, Who};
use crate::kernel::sigset::{Action, Disposition, SigSet};
use alloc::borrow::ToOwned;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use alloc::{format, vec};
use core::fmt;
use doula_core::random::Random;
use doula_model::signal::Signal;

/// A number that means the process of a place: this and the place.
pub(super) const PLACE: i32 = 1_000_000_000;
/// A number that nobody has.
const NOBODY: i32 = 4_000_000;
/// Longer words are not shown whole.
const WORD: usize = 40;
/// No more processes are alive at a time: each is another order of steps.
const MOST: usize = 7;

/// Who makes which call.
#[derive(Clone, Debug)]
pub struct Step {
    /// The place of this step: the child that it bears has this name.
    pub place: usize,
    /// The place of who makes the call.
    pub by: usize,
    call: Call,
    /// What is to come back, in directed programs.
    pub(super) expected: Option<String>,
}

impl Step {
    pub(super) fn new(place: usize, by: usize, call: Call) -> Step {
        Step { place, by, call, expected: None }
    }

    pub(super) fn bears(&self) -> bool {
        matches!(self.call, Call::Clone(_))
    }

    /// What is to come back, with real numbers for `p1` and its like.
    pub(super) fn expected(&self, number: impl Fn(usize) -> Option<i32>) -> Option<String> {
        let named = |word: &str| place_of(word).and_then(&number).map(|number| number.to_string());
        let pieces = self.expected.as_deref()?.split_inclusive([' ', '(', ')']);
        let pieces = pieces.map(|piece| {
            let (word, end) = piece.split_at(piece.trim_end_matches([' ', '(', ')']).len());
            named(word).unwrap_or_else(|| word.to_owned()) + end
        });
        Some(pieces.collect())
    }

    /// The call with real numbers; `number` tells that of a place.
    pub fn call(&self, number: impl Fn(usize) -> Option<i32>) -> Call {
        let real = |raw: i32| match raw.unsigned_abs() as i32 {
            place @ PLACE.. => number((place - PLACE) as usize).unwrap_or(NOBODY) * raw.signum(),
            _ => raw,
        };
        self.call.with_numbers(real)
    }
}

/// A program.
#[derive(Clone, Debug)]
pub struct Script {
    steps: Vec<Step>,
    family: Family,
}

impl Script {
    /// Whether it has no call.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// How many calls it has.
    pub fn len(&self) -> usize {
        self.steps.len()
    }

    /// Its calls, one after the other.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    pub(super) fn of(steps: Vec<Step>) -> Script {
        Script { steps, family: Family::Lives }
    }

    /// Whether it says what is to come back: then it is as small as it is meant to be.
    pub(super) fn is_directed(&self) -> bool {
        self.steps.iter().any(|step| step.expected.is_some())
    }

    /// What most of it is about.
    pub fn family(&self) -> Family {
        self.family
    }

    /// Without one step.
    pub fn without(&self, at: usize) -> Script {
        let mut steps = self.steps.clone();
        steps.remove(at);
        Script { steps, ..*self }
    }
}

impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.steps.iter().try_for_each(|step| writeln!(f, "{step}"))
    }
}

impl fmt::Display for Step {
    /// `p3 kill p5 TERM`: places as names.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.call.to_string();
        let words = text.split(' ').map(|word| match word.parse::<i32>() {
            Ok(raw) if raw.unsigned_abs() >= PLACE as u32 => {
                let sign = if raw < 0 { "-" } else { "" };
                format!("{sign}p{}", raw.unsigned_abs() - PLACE as u32)
            }
            _ if word.len() > WORD => format!("{}…({} bytes)", word.get(..8).unwrap_or_default(), word.len()),
            _ => word.to_owned(),
        });
        write!(f, "p{} {}", self.by, words.collect::<Vec<_>>().join(" "))?;
        if matches!(self.call, Call::Clone(_)) { write!(f, " -> p{}", self.place) } else { Ok(()) }
    }
}

/// The number that stands for the process of a place.
pub(super) const fn name(place: usize) -> i32 {
    PLACE + place as i32
}

pub(super) fn tell(place: usize, signal: Signal) -> Call {
    Call::Kill(name(place), signal.number())
}

/// The program of a seed.
pub fn generate(seed: u64, calls: usize) -> Script {
    let family = Family::of(seed);
    let mut maker = Maker { family, ..Maker::new(seed) };
    Script { steps: (1..=calls).map(|place| maker.step(place)).collect(), family }
}

pub(super) struct Maker {
    pub(super) family: Family,
    random: Random,
    /// The places of those that were born and not told to end.
    pub(super) alive: Vec<usize>,
    /// The places of all that were born.
    born: Vec<usize>,
    /// Who bore whom.
    pub(super) parents: BTreeMap<usize, usize>,
    /// The first thread of those who have, or had, more than one.
    pub(super) threaded: BTreeMap<usize, usize>,
    /// What comes next, when it is no chance.
    plan: VecDeque<(usize, Call)>,
}

impl Default for Maker {
    fn default() -> Maker {
        Maker::new(0)
    }
}

impl Maker {
    pub(super) fn new(seed: u64) -> Maker {
        Maker {
            family: Family::Lives,
            random: Random::new(seed),
            alive: vec![0],
            born: vec![0],
            parents: BTreeMap::new(),
            threaded: BTreeMap::new(),
            plan: VecDeque::new(),
        }
    }

    /// A call about lives, by chance alone.
    pub(super) fn life(&mut self, by: usize, place: usize) -> Call {
        self.call(by, place)
    }

    pub(super) fn below(&mut self, bound: usize) -> usize {
        self.random.below(bound as u64) as usize
    }

    pub(super) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    pub(super) fn one_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    fn step(&mut self, place: usize) -> Step {
        // Calls about terminals mean little before somebody has one, and those about tracing before somebody traces.
        let seldom = if self.is_about_few() { 4 } else { 12 };
        if self.plan.is_empty() && self.one_in(seldom) {
            self.motif(place);
        }
        if let Some((by, call)) = self.plan.pop_front() {
            return Step::new(place, by, call);
        }
        let by = self.pick(&self.alive.clone());
        let call = if self.one_in(2) { self.family_call(by, place) } else { None };
        let call = call.unwrap_or_else(|| self.call(by, place));
        if matches!(call, Call::Clone(_)) {
            self.parents.insert(place, by);
        }
        Step::new(place, by, call)
    }

    fn call(&mut self, by: usize, place: usize) -> Call {
        match self.below(100) {
            0..25 if self.may_bear() => self.birth(place),
            0..32 => self.death(by),
            32..48 => self.wait(by),
            48..68 => self.kill(),
            68..76 => self.action(),
            76..85 => Call::Setpgid(self.some_process(), self.some_group()),
            85..89 => Call::Setsid,
            89..92 => Call::SetSubreaper(!self.one_in(3)),
            92..95 => Call::SetParentDeathSignal(Some(self.signal())),
            95..98 => self.mask(),
            98 if self.one_in(2) => Call::Sigpending,
            98 => Call::Getppid,
            _ => self.look(),
        }
    }

    fn is_about_few(&self) -> bool {
        matches!(self.family, Family::Terminals | Family::Tracing)
    }

    /// A few calls that mean little alone. The first of them has this place.
    fn motif(&mut self, place: usize) {
        let alive = self.parents.iter().filter(|(child, parent)| {
            let both = [child, parent];
            both.iter().all(|one| self.alive.contains(*one) && !self.threaded.contains_key(*one))
        });
        let pairs: Vec<(usize, usize)> = alive.map(|(child, parent)| (*child, *parent)).collect();
        if pairs.is_empty() {
            return;
        }
        let (child, parent) = self.pick(&pairs);
        if (self.is_about_few() || self.one_in(2))
            && let Some(plan) = self.family_motif(child, parent, place)
        {
            self.plan.extend(plan);
            return;
        }
        let plan = match self.below(10) {
            0 | 1 => self.stops(child, parent),
            2 => self.interruption(child, parent, place),
            3 => self.waiting_signal(child, parent, place),
            4 => self.two_deaths(parent, place),
            5 => self.blocked_pair(child, parent),
            6 => self.orphan_of_another_signal(child, place),
            7 => self.two_ends(child, parent),
            _ => self.job(parent, place),
        };
        self.plan.extend(plan);
    }

    pub(super) fn born_by(&mut self, parent: usize, place: usize) -> (usize, Call) {
        self.alive.push(place);
        self.born.push(place);
        self.parents.insert(place, parent);
        (parent, Call::Clone(Clone::FORK))
    }

    /// A stop and a continue, each waited for twice.
    fn stops(&mut self, child: usize, parent: usize) -> Vec<(usize, Call)> {
        let who = if self.one_in(2) { Who::Pid(name(child)) } else { Who::Any };
        let wait = Wait { who, exited: false, no_hang: true, no_wait: self.one_in(3), ..Wait::any() };
        let stopped = (parent, Call::Waitid(Wait { stopped: true, ..wait }));
        let continued = (parent, Call::Waitid(Wait { continued: true, ..wait }));
        let end = self.pick(&[Signal::CONT, Signal::CONT, Signal::KILL, Signal::TERM]);
        vec![
            (parent, tell(child, Signal::STOP)),
            stopped.clone(),
            stopped,
            (parent, tell(child, end)),
            continued.clone(),
            continued,
        ]
    }

    /// A wait that a handler disturbs.
    fn interruption(&mut self, child: usize, parent: usize, place: usize) -> Vec<(usize, Call)> {
        let action = Action { restart: self.one_in(2), ..Action::HANDLER };
        let sleep = if self.one_in(3) { Call::Pause } else { Call::Wait4(Wait::any()) };
        vec![
            self.born_by(child, place),
            (child, Call::Sigaction(Signal::USR1, action)),
            (child, sleep),
            (parent, tell(child, Signal::USR1)),
        ]
    }

    /// A blocked signal that waits while its receiver bears a child or begins to ignore it.
    fn waiting_signal(&mut self, child: usize, parent: usize, place: usize) -> Vec<(usize, Call)> {
        let set = SigSet::of(&[Signal::USR1]);
        let mut plan = vec![
            (child, Call::Sigprocmask(Mask::Block, set)),
            (parent, tell(child, Signal::USR1)),
            (child, Call::Sigaction(Signal::USR1, self.pick(&[Action::IGNORE, Action::HANDLER]))),
        ];
        if self.one_in(2) {
            plan.extend([self.born_by(child, place + 3), (place + 3, Call::Sigpending)]);
        }
        plan.extend([(child, Call::Sigpending), (child, Call::Sigprocmask(Mask::Unblock, set))]);
        plan
    }

    /// Two signals that wait together, of which the second may undo the first or be one with it.
    fn blocked_pair(&mut self, child: usize, parent: usize) -> Vec<(usize, Call)> {
        let signals = [Signal::CONT, Signal::TSTP, Signal::USR1];
        let (one, other) = (self.pick(&signals), self.pick(&signals));
        let set = SigSet::of(&signals);
        let mut plan = vec![(child, Call::Sigprocmask(Mask::Block, set))];
        plan.extend(signals.map(|signal| (child, Call::Sigaction(signal, Action::HANDLER))));
        plan.extend([
            (parent, tell(child, one)),
            (parent, tell(child, other)),
            (child, Call::Sigpending),
            (child, Call::Sigprocmask(Mask::Unblock, set)),
            (child, Call::Sigpending),
        ]);
        plan
    }

    /// An orphan whose end was to be told by another signal than SIGCHLD.
    fn orphan_of_another_signal(&mut self, child: usize, place: usize) -> Vec<(usize, Call)> {
        let (_, born) =
            (self.born_by(child, place), Clone { exit_signal: Some(Signal::USR1), ..Clone::FORK });
        self.alive.retain(|alive| ![child, place].contains(alive));
        vec![
            (child, Call::Clone(born)),
            (child, Call::ExitGroup(1)),
            (place, Call::ExitGroup(2)),
            (0, Call::Wait4(Wait::any().no_hang())),
            (0, Call::Wait4(Wait::any().no_hang())),
        ]
    }

    /// Two deadly signals that wait together: the lower one is the end.
    fn two_ends(&mut self, child: usize, parent: usize) -> Vec<(usize, Call)> {
        let set = SigSet::of(&[Signal::HUP, Signal::TERM]);
        self.alive.retain(|alive| *alive != child);
        vec![
            (child, Call::Sigprocmask(Mask::Block, set)),
            (parent, tell(child, Signal::TERM)),
            (parent, tell(child, Signal::HUP)),
            (child, Call::Sigprocmask(Mask::Unblock, set)),
            (parent, Call::Wait4(Wait { who: Who::Pid(name(child)), ..Wait::any() }.no_hang())),
        ]
    }

    /// Two children that end, one after the other, and what their parent has to say to SIGCHLD.
    fn two_deaths(&mut self, parent: usize, place: usize) -> Vec<(usize, Call)> {
        let action = Action { once: self.one_in(2), no_wait: self.one_in(2), ..Action::HANDLER };
        let plan = vec![
            (parent, Call::Sigaction(Signal::CHLD, action)),
            self.born_by(parent, place + 1),
            self.born_by(parent, place + 2),
            (place + 1, Call::ExitGroup(1)),
            (place + 2, Call::ExitGroup(2)),
        ];
        self.alive.retain(|alive| !(place + 1..=place + 2).contains(alive));
        plan
    }

    /// A job of two in a group of its own, one of which is stopped, the end of its leader, and a way into init's group.
    fn job(&mut self, parent: usize, place: usize) -> Vec<(usize, Call)> {
        let (leader, member) = (place + 1, place + 3);
        let stopped = self.pick(&[leader, member]);
        // In a session of its own, or else init is a link between the group and its session.
        let before = if self.one_in(3) { Call::Getpid } else { Call::Setsid };
        vec![
            (parent, before),
            self.born_by(parent, leader),
            (parent, Call::Setpgid(name(leader), name(leader))),
            self.born_by(leader, member),
            (parent, tell(stopped, Signal::STOP)),
            (parent, tell(leader, Signal::KILL)),
            (member, Call::Setpgid(0, name(0))),
        ]
    }

    pub(super) fn may_bear(&self) -> bool {
        self.alive.len() < MOST
    }

    fn birth(&mut self, place: usize) -> Call {
        self.alive.push(place);
        self.born.push(place);
        let how = match self.below(16) {
            0 => Clone { parent: true, exit_signal: None, ..Clone::FORK },
            1 => Clone { exit_signal: Some(Signal::USR1), ..Clone::FORK },
            2 => Clone { vfork: true, ..Clone::FORK },
            _ => Clone::FORK,
        };
        Call::Clone(how)
    }

    fn death(&mut self, by: usize) -> Call {
        if by == 0 {
            return Call::Getpid;
        }
        self.alive.retain(|place| *place != by);
        Call::ExitGroup(self.below(300) as i32)
    }

    fn kill(&mut self) -> Call {
        let signal = if self.one_in(20) { self.pick(&[0, 65]) } else { self.signal().number() };
        let target = match self.below(20) {
            0 | 1 => -1,
            2..5 => 0,
            5..10 => -self.some_group(),
            _ => self.process(),
        };
        Call::Kill(target, signal)
    }

    pub(super) fn signal(&mut self) -> Signal {
        let rare = [Signal::HUP, Signal::KILL, Signal::TERM, Signal::CHLD, Signal::TTIN];
        let often = [Signal::STOP, Signal::CONT, Signal::TSTP, Signal::USR1];
        if self.one_in(3) { self.pick(&rare) } else { self.pick(&often) }
    }

    fn action(&mut self) -> Call {
        let signal = self.pick(&[
            Signal::CHLD,
            Signal::CHLD,
            Signal::HUP,
            Signal::CONT,
            Signal::TSTP,
            Signal::USR1,
            Signal::TERM,
        ]);
        let disposition = self.pick(&[Disposition::Default, Disposition::Ignore, Disposition::Handler]);
        let handled = disposition == Disposition::Handler;
        let child = signal == Signal::CHLD;
        let action = Action {
            disposition,
            restart: handled && self.one_in(2),
            once: handled && self.one_in(8),
            no_stop: child && self.one_in(3),
            no_wait: child && self.one_in(4),
        };
        Call::Sigaction(signal, action)
    }

    pub(super) fn mask(&mut self) -> Call {
        let signals = [self.signal(), self.signal()];
        let how = self.pick(&[Mask::Block, Mask::Unblock, Mask::Set]);
        Call::Sigprocmask(how, SigSet::of(&signals))
    }

    pub(super) fn wait(&mut self, by: usize) -> Call {
        let who = match self.below(6) {
            0 => Who::Pid(self.process()),
            1 => Who::Group(0),
            2 => Who::Group(self.process()),
            _ => Who::Any,
        };
        let wait = Wait {
            who,
            exited: !self.one_in(6),
            stopped: self.one_in(3),
            continued: self.one_in(4),
            // A sleeping init can do little else, and keeps its namespace from being used again.
            no_hang: by == 0 || self.one_in(2),
            all: self.one_in(8),
            clone: self.one_in(16),
            no_wait: false,
            no_thread: false,
        };
        if self.one_in(2) {
            Call::Waitid(Wait { no_wait: self.one_in(3), ..wait })
        } else {
            Call::Wait4(Wait { exited: true, ..wait })
        }
    }

    fn look(&mut self) -> Call {
        let process = self.some_process();
        if self.one_in(2) { Call::Getpgid(process) } else { Call::Getsid(process) }
    }

    /// Somebody who was born, most likely one of the living.
    pub(super) fn process(&mut self) -> i32 {
        let from = if self.one_in(4) { self.born.clone() } else { self.alive.clone() };
        name(self.pick(&from))
    }

    pub(super) fn some_process(&mut self) -> i32 {
        if self.one_in(3) { 0 } else { self.process() }
    }

    fn some_group(&mut self) -> i32 {
        if self.one_in(3) { 0 } else { self.process() }
    }
}
