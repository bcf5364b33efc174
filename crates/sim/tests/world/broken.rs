//! A test of the test: supervisors that are broken on purpose are found, and how many seeds it took.

use doula_sim::world::{Breakage, Options, Scenario, run};

/// A breakage has to be found within so many seeds.
const WITHIN: u64 = 3_000;

fn found(broken: Breakage) -> Option<(u64, String)> {
    let options = Options { broken: Some(broken), ..Options::default() };
    (0..WITHIN).find_map(|seed| {
        let violation = run(&Scenario::of(seed), &options).violation?;
        Some((seed + 1, format!("{}: {}", violation.check, violation.text)))
    })
}

#[test]
fn each_of_ten_broken_supervisors_is_found() {
    let mut missed = Vec::new();
    for broken in Breakage::ALL {
        match found(*broken) {
            Some((seeds, what)) => println!("{:<22} {seeds:>5} seeds   {what}", broken.name()),
            None => missed.push(broken.name()),
        }
    }
    assert!(missed.is_empty(), "not found within {WITHIN} seeds: {missed:?}");
}
