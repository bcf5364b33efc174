//! All small programs: each sequence of so many calls, by at most three processes, out of an alphabet of calls about lives, signals and
//! groups.
//!
//! Programs that lead to the same states are one class. So all programs of one more call are found from the classes and not from
//! the programs, and are counted without being gone through one by one. Numbers are given in the order of births, so that states
//! that differ in names only are the same already.

use super::paper::Paper;
use super::script::{Script, Step};
use crate::kernel::call::{Call, Clone, Wait, Who};
use crate::kernel::sigset::Action;
use crate::kernel::version::Config;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use doula_model::signal::Signal;

/// So many processes may ever be born.
const MOST: usize = 3;
/// The number of the first child.
const FIRST: i32 = 2;

/// What was found.
#[derive(Debug)]
pub struct Exploration {
    /// How many programs there are of exactly so many calls.
    pub programs: u64,
    /// Programs after which so much may be that it was not followed.
    pub cut_short: u64,
    /// One program of each class of final states.
    pub classes: Vec<Script>,
}

/// A class: one of its programs, where it leads to, and how many they are.
struct Class {
    steps: Vec<Step>,
    paper: Paper,
    programs: u64,
}

/// Goes through all programs of so many calls.
pub fn explore(calls: usize) -> Exploration {
    let start = Class { steps: Vec::new(), paper: Paper::new(Config::default(), FIRST), programs: 1 };
    let (mut level, mut cut_short) = (Vec::from([start]), 0);
    for _ in 0..calls {
        let mut next: BTreeMap<Vec<u64>, Class> = BTreeMap::new();
        for class in level {
            cut_short += class.extend(&mut next);
        }
        level = next.into_values().collect();
    }
    let programs = level.iter().map(|class| class.programs).sum();
    Exploration {
        programs,
        cut_short,
        classes: level.into_iter().map(|class| Script::of(class.steps)).collect(),
    }
}

impl Class {
    /// All programs of one more call.
    fn extend(&self, into: &mut BTreeMap<Vec<u64>, Class>) -> u64 {
        let (mut cut_short, place) = (0, self.steps.len() + 1);
        let people = self.people();
        for by in &people {
            if !self.paper.may_call(self.number(*by)) {
                continue;
            }
            for step in alphabet(*by, place, &people) {
                let call = step.call(|place| Some(self.number(place)));
                let Ok(ends) = self.paper.follow(self.number(*by), &call) else {
                    cut_short += self.programs;
                    continue;
                };
                let paper = self.paper.with(ends.into_values().flatten().collect());
                let class = into.entry(paper.key()).or_insert_with(|| {
                    let steps = self.steps.iter().cloned().chain([step]).collect();
                    Class { steps, paper, programs: 0 }
                });
                class.programs += self.programs;
            }
        }
        cut_short
    }

    /// The places of those who were ever born, init first.
    fn people(&self) -> Vec<usize> {
        let born = self.steps.iter().filter(|step| step.bears()).map(|step| step.place);
        core::iter::once(0).chain(born).collect()
    }

    fn number(&self, place: usize) -> i32 {
        let at = self.people().iter().position(|known| *known == place).unwrap_or(0);
        if at == 0 { 1 } else { FIRST + at as i32 - 1 }
    }
}

/// What one process may do.
fn alphabet(by: usize, place: usize, people: &[usize]) -> Vec<Step> {
    let no_hang = Wait::any().no_hang();
    let mut calls = Vec::from([
        Call::Wait4(no_hang),
        Call::Waitid(Wait { exited: false, stopped: true, continued: true, ..no_hang }),
        Call::Setpgid(0, 0),
        Call::Setsid,
        Call::Sigaction(Signal::CHLD, Action::IGNORE),
        Call::Sigaction(Signal::CHLD, Action { no_wait: true, ..Action::HANDLER }),
        Call::SetSubreaper(true),
        Call::SetParentDeathSignal(Some(Signal::STOP)),
        Call::Kill(-1, Signal::CONT.number()),
    ]);
    if people.len() < MOST {
        calls.push(Call::Clone(Clone::FORK));
    }
    if by != 0 {
        calls.extend([Call::ExitGroup(3), Call::Wait4(Wait::any()), Call::Pause]);
    }
    for other in people.iter().map(|place| super::script::name(*place)) {
        let signals = [Signal::STOP, Signal::CONT, Signal::KILL, Signal::TSTP];
        calls.extend(signals.map(|signal| Call::Kill(other, signal.number())));
        calls.push(Call::Setpgid(other, other));
        calls.push(Call::Wait4(Wait { who: Who::Pid(other), ..no_hang }));
    }
    calls.into_iter().map(|call| Step::new(place, by, call)).collect()
}
