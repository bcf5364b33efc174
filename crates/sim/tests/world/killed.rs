//! SIGKILL of the supervisor at each of its steps: those that it made itself, and those of its children before their
//! programs. Another one is started on the same machine; after a while everybody who can be up is, and at the end
//! init has buried all.

use doula_sim::world::{Options, Scenario, run};

/// So many families, each killed at every step of its life.
const FAMILIES: u64 = 12;

#[test]
fn a_supervisor_that_is_killed_at_any_step_is_followed_by_one_that_comes_to_the_same_state() {
    let mut deaths = 0;
    for seed in 0..FAMILIES {
        let scenario = Scenario::of(seed).undisturbed();
        let options = Options { most_events: 250, kill_at: Some(u64::MAX), ..Options::default() };
        let calm = run(&scenario, &options);
        assert_eq!(calm.violation, None, "seed {seed}, nobody killed");
        for step in 1..=calm.steps {
            let report = run(&scenario, &Options { kill_at: Some(step), ..options });
            assert_eq!(report.violation, None, "seed {seed}, killed at step {step}");
            assert!(report.steps > step, "seed {seed}: nobody came after the one that was killed at {step}");
            deaths += 1;
        }
    }
    println!("{deaths} deaths");
    assert!(deaths > 1_000, "{deaths}");
}

#[test]
fn it_is_so_too_while_things_go_wrong() {
    for seed in 0..400 {
        let scenario = Scenario::of(seed);
        let steps = run(&scenario, &Options::default()).steps;
        let step = seed.wrapping_mul(0x9e37_79b9) % steps + 1;
        let report = run(&scenario, &Options { kill_at: Some(step), ..Options::default() });
        assert_eq!(report.violation, None, "seed {seed}, killed at step {step}");
    }
}
