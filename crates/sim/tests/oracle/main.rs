//! That the oracle finds errors: rules are bent in a model that plays Linux, one at a time, and each has to be found.

use doula_sim::kernel::mutant::Mutant;
use doula_sim::oracle::{Bent, Comparison, compare, generate};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

/// So many random programs have to be enough to find any one error.
const ENOUGH: u64 = 500;
/// How many calls each has.
const CALLS: usize = 40;

#[test]
#[expect(clippy::print_stdout, reason = "the score is read in the test's output")]
fn every_error_put_into_the_model_is_found() {
    let (next, (send, receive)) = (AtomicUsize::new(0), mpsc::channel());
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(mutant) = Mutant::ALL.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let found = Bent::cases_until_found(Some(*mutant), ENOUGH, CALLS);
                    send.send((*mutant, found)).expect("the test listens");
                }
            });
        }
    });
    drop(send);
    let found: Vec<(Mutant, Option<u64>)> = receive.iter().collect();
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
        let compared = compare(&mut right, &generate(seed, CALLS));
        assert!(!matches!(compared, Comparison::Different(_)), "seed {seed}: {compared:?}");
    }
}

/// The rows of the table of rules: rule, tests on the model, programs on Linux.
fn table() -> Vec<[Vec<String>; 3]> {
    let document = include_str!("../../../../docs/design/sim.md");
    let part = document.split("## Each rule").nth(1).and_then(|rest| rest.split("\n## ").next());
    let rows = part.expect("the table").lines().filter(|line| line.starts_with("| ")).skip(1);
    let names = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    let row = |line: &str| {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").collect();
        [vec![cells[0].trim().to_lowercase()], names(cells[1]), names(cells[2])]
    };
    rows.map(row).collect()
}

fn is_of_rule(name: &str, rule: &str) -> bool {
    name.split('_').take_while(|word| word[1..].parse::<u32>().is_ok()).any(|word| word == rule)
}

#[test]
fn each_rule_of_the_table_has_a_test_on_the_model_and_each_directed_program_is_in_the_table() {
    let sources: String = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/rules"))
        .expect("the tests of the rules")
        .map(|entry| std::fs::read_to_string(entry.expect("a file").path()).expect("a source"))
        .collect();
    let on_linux = [
        include_str!("../../../../tests/paper/crowd.rs"),
        include_str!("../../../../tests/paper/letters.rs"),
    ];
    let directed: Vec<String> = doula_sim::oracle::directed().into_iter().map(|one| one.name).collect();
    let mut listed = Vec::new();
    for [rule, model, linux] in table() {
        assert!(!model.is_empty(), "{rule:?} has no test on the model");
        for name in &model {
            assert!(sources.contains(&format!("fn {name}(")) && is_of_rule(name, &rule[0]), "{name}");
        }
        for name in &linux {
            let test = format!("fn {name}(");
            let is_there = directed.contains(name) || on_linux.iter().any(|source| source.contains(&test));
            assert!(is_there && is_of_rule(name, &rule[0]), "{name}");
        }
        listed.extend(linux);
    }
    for name in &directed {
        assert!(listed.contains(name), "{name} is not in the table of docs/design/sim.md");
    }
}
