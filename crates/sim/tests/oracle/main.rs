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
