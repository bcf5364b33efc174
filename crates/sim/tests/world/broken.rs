//! A test of the tests: supervisors that are broken on purpose are found, by which check, and how many seeds it took.

use doula_sim::world::{Breakage, Options, Scenario, Violation, run};
use std::collections::BTreeSet;

/// A breakage has to be found within so many seeds.
const WITHIN: u64 = 3_000;

/// What is about people, their clock, a second supervisor and logs finds something too.
const CHECKS: [&str; 7] = ["lock", "answers", "deaf", "memory", "schedule", "log", "lines"];

/// How many seeds it took, and what was found.
fn found(broken: Breakage) -> Option<(u64, Violation)> {
    (0..WITHIN).find_map(|seed| Some((seed + 1, violation(broken, &Scenario::of(seed))?)))
}

fn violation(broken: Breakage, scenario: &Scenario) -> Option<Violation> {
    let options = Options { broken: Some(broken), ..Options::default() };
    let report = run(scenario, &options);
    // Who is missed by a kill has lost its parent by it, and the burial of that one is a reason to look again. Only where init is
    // the one who buries is there none. And what is in the memory of a supervisor is lost only with it.
    let needs_a_death = matches!(broken, Breakage::KillsOnce | Breakage::ForgetsBegun);
    if !needs_a_death || report.violation.is_some() {
        return report.violation;
    }
    let kill_at = scenario.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) % report.steps.max(1) + 1;
    run(scenario, &Options { kill_at: Some(kill_at), ..options }).violation
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
