//! A model with an error in it, in the place of Linux: the comparison has to find it.

use super::compare::{Comparison, World, compare};
use super::paper::{Observed, Paper};
use super::script::generate;
use crate::kernel::call::Call;
use crate::kernel::mutant::Mutant;
use crate::kernel::version::Config;
use alloc::collections::BTreeMap;

/// A model with an error, in the place of Linux.
#[derive(Debug)]
pub struct Bent {
    config: Config,
    paper: Paper,
    numbers: BTreeMap<usize, i32>,
}

impl Bent {
    /// With this error; without one it is right.
    pub fn new(mutant: Option<Mutant>) -> Bent {
        let config = Config { mutant, ..Config::default() };
        Bent { config, paper: Paper::new(config, 2), numbers: BTreeMap::new() }
    }
}

impl Bent {
    /// The first of so many random programs that shows the error; `None` when none does.
    pub fn cases_until_found(mutant: Option<Mutant>, cases: u64, calls: usize) -> Option<u64> {
        let mut bent = Bent::new(mutant);
        (1..=cases)
            .find(|seed| matches!(compare(&mut bent, &generate(*seed, calls)), Comparison::Different(_)))
    }
}

impl World for Bent {
    fn begin(&mut self) -> i32 {
        self.paper = Paper::new(self.config, 2);
        self.numbers = BTreeMap::from([(0, 1)]);
        2
    }

    fn number(&self, place: usize) -> Option<i32> {
        self.numbers.get(&place).copied()
    }

    fn perform(&mut self, by: usize, place: usize, call: &Call) -> Observed {
        let number = self.numbers[&by];
        let observed = self.paper.run(number, call);
        if matches!(call, Call::Clone(_))
            && let Some(child) = observed.seen.keys().max().filter(|child| !self.is_known(**child))
        {
            self.numbers.insert(place, *child);
        }
        observed
    }
}

impl Bent {
    fn is_known(&self, number: i32) -> bool {
        self.numbers.values().any(|known| *known == number)
    }
}
