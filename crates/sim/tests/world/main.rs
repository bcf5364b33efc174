//! The production engine and driver on the world on paper: seeds, the death of the supervisor at each of its steps,
//! and supervisors that are broken on purpose.

#![expect(clippy::print_stdout, reason = "how long it took to find what is broken is shown")]

mod broken;
mod found;
mod killed;
mod people;
mod pools;
mod second;

use doula_sim::world::{Fault, Options, Report, SITES, Scenario, run, shrink};
use std::process::Command;

/// So many seeds in each run of the tests.
const SEEDS: u64 = 4_000;
/// The seeds that are played in two processes.
const TWICE: u64 = 200;

/// Plays a seed; a violation is told with the smallest scenario that has it.
fn expect_no_violation(seed: u64) -> Report {
    let scenario = Scenario::of(seed);
    let report = run(&scenario, &Options::default());
    if let Some(violation) = &report.violation {
        let small = shrink(&scenario, &Options::default()).expect("it fails");
        let again = format!(
            "doula sim run --seed {seed} --steps {} --without '{}'",
            small.options.most_events, small.cut
        );
        panic!("seed {seed}: {}: {}\n{again} --trace", violation.check, violation.text);
    }
    report
}

#[test]
fn whatever_goes_wrong_in_a_seed_all_checks_hold() {
    let mut fired = vec![0_u64; SITES.len()];
    for seed in 0..SEEDS {
        for (fault, times) in expect_no_violation(seed).fired {
            fired[fault as usize] += u64::from(times);
        }
    }
    // The one that needs the death of a supervisor.
    for seed in 0..200 {
        let report = run(&Scenario::of(seed), &Options { kill_at: Some(100), ..Options::default() });
        for (fault, times) in report.fired {
            fired[fault as usize] += u64::from(times);
        }
    }
    let never: Vec<&str> = Fault::ALL
        .iter()
        .filter(|fault| fired[**fault as usize] == 0)
        .map(|fault| fault.site().name)
        .collect();
    assert!(never.is_empty(), "these sites never fired: {never:?}");
}

/// 100,489 of them die by one call, and 317 that bore them before.
#[test]
fn a_hundred_thousand_orphans_that_die_at_once_are_each_buried_once() {
    const TIMES: u32 = 317;
    let options = Options { most_events: 1_000_000, keep_lines: true, ..Options::default() };
    let report = run(&Scenario::of_orphans(TIMES), &options);
    assert_eq!(report.violation, None);
    let said = |what: &str| report.lines.iter().filter(|line| line.what.contains(what)).count();
    // Those that bore them are orphans too, and kill(-1) does not spare the keeper.
    assert_eq!(said("buried the orphan") as u32, TIMES * (TIMES + 1) + 1);
}

fn hashes() -> String {
    (0..TWICE).map(|seed| format!("{:016x}\n", run(&Scenario::of(seed), &Options::default()).hash)).collect()
}

/// No test of its own, but what the next one runs in another process.
#[test]
fn the_hashes_of_these_seeds_are_printed_for_who_asks() {
    if let Some(path) = std::env::var_os("DOULA_SIM_HASHES") {
        std::fs::write(path, hashes()).expect("a file for the hashes");
    }
}

#[test]
fn a_seed_is_the_same_in_two_processes() {
    let path = std::env::temp_dir().join(format!("doula-sim-hashes-{}", std::process::id()));
    let own = std::env::current_exe().expect("our own file");
    let status = Command::new(own)
        .args(["--exact", "the_hashes_of_these_seeds_are_printed_for_who_asks"])
        .env("DOULA_SIM_HASHES", &path)
        .stdout(std::process::Stdio::null())
        .status();
    assert!(status.expect("ourselves again").success());
    let theirs = std::fs::read_to_string(&path).expect("the hashes");
    std::fs::remove_file(&path).expect("our own file");
    assert_eq!(theirs, hashes());
}
