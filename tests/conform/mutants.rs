//! That the comparison finds errors: rules are bent in a model that plays Linux, one at a time, and each has to be
//! found.

use crate::compare::{Comparison, World, compare};
use crate::paper::{Observed, Paper};
use crate::script::generate;
use doula_sim::kernel::call::Call;
use doula_sim::kernel::mutant::Mutant;
use doula_sim::kernel::version::Config;
use std::collections::BTreeMap;

/// So many random programs have to be enough to find any one error.
const ENOUGH: u64 = 500;
/// How many calls each has.
const CALLS: usize = 40;

/// A model with an error, in the place of Linux.
struct Bent {
    config: Config,
    paper: Paper,
    numbers: BTreeMap<usize, i32>,
}

impl Bent {
    fn new(mutant: Option<Mutant>) -> Bent {
        let config = Config { mutant, ..Config::default() };
        Bent { config, paper: Paper::new(config, 2), numbers: BTreeMap::new() }
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

/// How many programs it took to find that a rule does not hold.
fn cases_until_found(mutant: Option<Mutant>) -> Option<u64> {
    let mut bent = Bent::new(mutant);
    (1..=ENOUGH).find(|seed| matches!(compare(&mut bent, &generate(*seed, CALLS)), Comparison::Different(_)))
}

#[test]
#[expect(clippy::print_stdout, reason = "the score is read in the test's output")]
fn every_error_put_into_the_model_is_found() {
    let found: Vec<(Mutant, Option<u64>)> =
        Mutant::ALL.into_iter().map(|mutant| (mutant, cases_until_found(Some(mutant)))).collect();
    for (mutant, cases) in &found {
        println!("{mutant:?}: {}", cases.map_or("not found".into(), |cases| format!("program {cases}")));
    }
    let missed: Vec<Mutant> =
        found.iter().filter(|(_, cases)| cases.is_none()).map(|(mutant, _)| *mutant).collect();
    println!("{} of {} errors found within {ENOUGH} programs", found.len() - missed.len(), found.len());
    assert_eq!(missed, []);
}

#[test]
fn a_model_without_an_error_is_not_accused() {
    let mut right = Bent::new(None);
    for seed in 1..=100 {
        assert!(
            !matches!(compare(&mut right, &generate(seed, CALLS)), Comparison::Different(_)),
            "seed {seed}"
        );
    }
}
