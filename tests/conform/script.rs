//! Programs for both worlds: who makes which call. Processes are named by their place (the step that bore them,
//! 0 for init), because numbers are not known before.

use doula_core::random::Random;
use doula_model::signal::Signal;
use doula_sim::kernel::call::{Call, Clone, Mask, Wait, Who};
use doula_sim::kernel::sigset::{Action, Disposition, SigSet};
use std::fmt;

/// A number that means the process of a place: this and the place.
const PLACE: i32 = 1_000_000_000;
/// A number that nobody has.
const NOBODY: i32 = 4_000_000;
/// No more processes are alive at a time: each is another order of steps.
const MOST: usize = 7;

/// Who makes which call.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    /// The place of this step: the child that it bears has this name.
    pub(crate) place: usize,
    pub(crate) by: usize,
    call: Call,
}

impl Step {
    /// The call with real numbers; `number` tells that of a place.
    pub(crate) fn call(&self, number: impl Fn(usize) -> Option<i32>) -> Call {
        let real = |raw: i32| match raw.unsigned_abs() as i32 {
            place @ PLACE.. => number((place - PLACE) as usize).unwrap_or(NOBODY) * raw.signum(),
            _ => raw,
        };
        self.call.with_numbers(real)
    }
}

/// A program.
#[derive(Clone, Debug)]
pub(crate) struct Script(Vec<Step>);

impl Script {
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn steps(&self) -> &[Step] {
        &self.0
    }

    /// Without one step.
    pub(crate) fn without(&self, at: usize) -> Script {
        let mut steps = self.0.clone();
        steps.remove(at);
        Script(steps)
    }
}

impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|step| writeln!(f, "{step}"))
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
            _ => word.to_owned(),
        });
        write!(f, "p{} {}", self.by, words.collect::<Vec<_>>().join(" "))?;
        if matches!(self.call, Call::Clone(_)) { write!(f, " -> p{}", self.place) } else { Ok(()) }
    }
}

/// The program of a seed.
pub(crate) fn generate(seed: u64, calls: usize) -> Script {
    let mut maker = Maker { random: Random::new(seed), alive: vec![0], born: vec![0] };
    Script((1..=calls).map(|place| maker.step(place)).collect())
}

struct Maker {
    random: Random,
    /// The places of those that were born and not told to end.
    alive: Vec<usize>,
    /// The places of all that were born.
    born: Vec<usize>,
}

impl Maker {
    fn below(&mut self, bound: usize) -> usize {
        self.random.below(bound as u64) as usize
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    fn one_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    fn step(&mut self, place: usize) -> Step {
        let by = self.pick(&self.alive.clone());
        let call = self.call(by, place);
        Step { place, by, call }
    }

    fn call(&mut self, by: usize, place: usize) -> Call {
        match self.below(100) {
            0..25 if self.alive.len() < MOST => self.birth(place),
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

    fn signal(&mut self) -> Signal {
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

    fn mask(&mut self) -> Call {
        let signals = [self.signal(), self.signal()];
        let how = self.pick(&[Mask::Block, Mask::Unblock, Mask::Set]);
        Call::Sigprocmask(how, SigSet::of(&signals))
    }

    fn wait(&mut self, by: usize) -> Call {
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
    fn process(&mut self) -> i32 {
        let from = if self.one_in(4) { self.born.clone() } else { self.alive.clone() };
        PLACE + self.pick(&from) as i32
    }

    fn some_process(&mut self) -> i32 {
        if self.one_in(3) { 0 } else { self.process() }
    }

    fn some_group(&mut self) -> i32 {
        if self.one_in(3) { 0 } else { self.process() }
    }
}
