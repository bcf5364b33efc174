//! A test of the tests: supervisors that are broken on purpose are found, by which check, and how many seeds it took.

use doula_sim::world::{Breakage, Options, Scenario, Violation, run};
use std::collections::BTreeSet;

/// A breakage has to be found within so many seeds.
const WITHIN: u64 = 3_000;

/// What is about people, their clock, a second supervisor and logs finds something too.
const CHECKS: [&str; 6] = ["lock", "answers", "deaf", "memory", "schedule", "log"];

/// How many seeds it took, and what was found.
fn found(broken: Breakage) -> Option<(u64, Violation)> {
    let options = Options { broken: Some(broken), ..Options::default() };
    (0..WITHIN).find_map(|seed| Some((seed + 1, run(&Scenario::of(seed), &options).violation?)))
}

#[test]
fn each_broken_supervisor_is_found() {
    let (mut missed, mut checks) = (Vec::new(), BTreeSet::new());
    for broken in Breakage::ALL {
        match found(*broken) {
            Some((seeds, what)) => {
                println!("{:<22} {seeds:>5} seeds   {}: {}", broken.name(), what.check, what.text);
                checks.insert(what.check);
            }
            None => missed.push(broken.name()),
        }
    }
    assert!(missed.is_empty(), "not found within {WITHIN} seeds: {missed:?}");
    let idle: Vec<_> = CHECKS.into_iter().filter(|check| !checks.contains(check)).collect();
    assert!(idle.is_empty(), "checks that found nothing: {idle:?}");
}
