//! Pools under every fault: sizes, rolls, changes of configuration, and deaths of the supervisor.

use doula_sim::world::{Breakage, Options, Scenario, run};

/// So many families, each with everything that can go wrong.
const SEEDS: u64 = 2_000;

#[test]
fn a_pool_keeps_its_bounds_its_capacity_and_its_slots_whatever_goes_wrong() {
    let (mut rolled, mut reverted, mut sized) = (0, 0, 0);
    for seed in 0..SEEDS {
        let report = run(&Scenario::of_pool(seed), &Options { keep_lines: true, ..Options::default() });
        let last: Vec<_> = report.lines.iter().rev().take(12).rev().collect();
        assert_eq!(report.violation, None, "seed {seed}, {last:#?}");
        let said = |part: &str| report.lines.iter().any(|line| line.what.contains(part));
        rolled += u32::from(said("has replaced"));
        reverted += u32::from(said("stops replacing workers"));
        sized += u32::from(said("workers, because"));
    }
    let all = [rolled, reverted, sized];
    assert!(all.iter().all(|count| *count > 0), "each is seen in some of them: {all:?}");
}

#[test]
fn a_pool_whose_supervisor_is_killed_at_some_step_is_whole_again_under_the_next_one() {
    for seed in 0..SEEDS / 3 {
        let scenario = Scenario::of_pool(seed);
        let steps = run(&scenario, &Options::default()).steps.max(1);
        for part in 1..4 {
            let options = Options { kill_at: Some(steps * part / 4), ..Options::default() };
            assert_eq!(run(&scenario, &options).violation, None, "seed {seed}, {options:?}");
        }
    }
}

#[test]
fn a_supervisor_that_takes_no_proof_is_found_by_the_checks_of_pools() {
    let options = Options { broken: Some(Breakage::ReleasesPopulated), ..Options::default() };
    let mut found = (0..SEEDS).filter_map(|seed| run(&Scenario::of_pool(seed), &options).violation);
    assert!(found.any(|violation| ["drained", "leftover", "release"].contains(&violation.check)));
}

#[test]
fn a_pool_is_played_the_same_each_time() {
    for seed in 0..10 {
        let play = || run(&Scenario::of_pool(seed), &Options::default()).hash;
        assert_eq!(play(), play(), "seed {seed}");
    }
}
