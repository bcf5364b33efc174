//! Linux on paper against Linux itself: random programs run on both, one call at a time, and what Linux does
//! must be among what the model allows.
//!
//! `DOULA_CONFORM_SEED` and `DOULA_CONFORM_CASES` replay and search on; a failure prints both and the smallest
//! program that it was shrunk to.

#[path = "../common/actors.rs"]
mod actors;
mod compare;
mod mutants;
mod paper;
mod script;
mod stage;

use compare::{Comparison, compare};
use script::{Script, generate};
use stage::Stage;
use std::time::Instant;

/// How many random programs a run of the tests plays; `DOULA_CONFORM_CASES` for more.
const CASES: u64 = 60;
/// How many calls a program has; `DOULA_CONFORM_CALLS` for more.
const CALLS: u64 = 40;

fn setting(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

#[test]
#[expect(clippy::print_stdout, reason = "the counts are read in the test's output")]
fn what_linux_does_is_among_what_the_model_allows() {
    let Some(mut stage) = Stage::new() else { return };
    let first = setting("DOULA_CONFORM_SEED", 1);
    let (cases, calls) = (setting("DOULA_CONFORM_CASES", CASES), setting("DOULA_CONFORM_CALLS", CALLS));
    let began = Instant::now();
    let (mut steps, mut several, mut most, mut cut) = (0, 0, 0, 0);
    for seed in first..first + cases {
        let script = generate(seed, calls as usize);
        match compare(&mut stage, &script) {
            Comparison::Same { calls, open, widest } => {
                (steps, several, most) = (steps + calls, several + open, most.max(widest));
            }
            Comparison::TooWide => cut += 1,
            Comparison::Different(report) => {
                let (smallest, report) = shrink(&mut stage, script, report);
                panic!("seed {seed}: Linux does what the model does not allow:\n{smallest}\n{report}");
            }
        }
    }
    let rate = cases as f64 / began.elapsed().as_secs_f64();
    println!(
        "{cases} programs, {steps} calls, {several} with several outcomes, at most {most}; {cut} cut short"
    );
    println!("{rate:.0} programs a second");
}

/// The smallest program that still differs, found by leaving calls out.
fn shrink(stage: &mut Stage, mut script: Script, mut report: String) -> (Script, String) {
    let mut at = script.len();
    while at > 0 {
        at -= 1;
        let smaller = script.without(at);
        // What depends on chance has to differ at one of a few tries.
        let again = (0..3).find_map(|_| match compare(stage, &smaller) {
            Comparison::Different(report) => Some(report),
            Comparison::Same { .. } | Comparison::TooWide => None,
        });
        if let Some(found) = again {
            (script, report) = (smaller, found);
            at = at.min(script.len());
        }
    }
    (script, report)
}
