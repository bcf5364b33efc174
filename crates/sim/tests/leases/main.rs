//! Leases on paper: workers may do what they like and die whenever they like; each task has one end all the same.

#![expect(clippy::print_stdout, reason = "the score of the breakages is to be read")]

use doula_core::queue::Policy;
use doula_model::signal::Signal;
use doula_model::task::{Failure, Verdict};
use doula_sim::leases::{Breakage, Case, Deed, Options, run, shrink};

#[test]
fn nineteen_of_twenty_are_done_and_the_one_is_named_whatever_it_does_to_its_workers() {
    for (deed, verdict) in [
        (Deed::KillsItself, Verdict::Quarantined(Failure::Signal(Signal::KILL))),
        (Deed::Crashes, Verdict::Quarantined(Failure::Signal(Signal::SEGV))),
        (Deed::Exits, Verdict::Quarantined(Failure::Lost)),
        (Deed::ExitsBadly, Verdict::Quarantined(Failure::Code(3))),
        (Deed::ClosesOutput, Verdict::Quarantined(Failure::Lost)),
        (Deed::ClosesInput, Verdict::Done),
        (Deed::NeverAnswers, Verdict::Failed(Failure::TimedOut)),
        (Deed::HalfThenExits, Verdict::Quarantined(Failure::Lost)),
        (Deed::HalfThenHangs, Verdict::Failed(Failure::TimedOut)),
        (Deed::Twice, Verdict::Failed(Failure::Protocol)),
        (Deed::Garbage, Verdict::Failed(Failure::Protocol)),
        (Deed::AnswersBefore, Verdict::Done),
        (Deed::Fails, Verdict::Failed(Failure::Answered)),
        (Deed::LeavesChild, Verdict::Done),
        (Deed::Stops, Verdict::Done),
        (Deed::AnswersThenDies, Verdict::Done),
        (Deed::Large, Verdict::Done),
    ] {
        let report = run(&Case::with_one(deed, 20, 7), &Options::default());
        assert_eq!(report.violation, None, "{deed:?}");
        let expected: Vec<_> =
            (1..=20).map(|task| Some(if task == 7 { verdict } else { Verdict::Done })).collect();
        assert_eq!(report.verdicts, expected, "{deed:?}");
    }
}

#[test]
fn a_worker_may_be_killed_before_every_step_of_anybody() {
    for deed in Deed::ALL {
        let case = Case::with_one(*deed, 4, 2);
        let calm = run(&case, &Options::default());
        for (at, slot) in (1..=calm.steps).flat_map(|at| [(at, 1), (at, 2)]) {
            let report = run(&case, &Options { kill_at: Some((at, slot)), ..Options::default() });
            assert_eq!(report.violation, None, "{deed:?}, slot {slot} killed at {at}");
            let others = [1, 3, 4].map(|task| report.verdicts[task - 1]);
            assert_eq!(others, [Some(Verdict::Done); 3], "{deed:?}, slot {slot} killed at {at}");
        }
    }
}

#[test]
fn of_several_in_flight_the_one_that_kills_is_found_whoever_else_dies_at_any_step() {
    let one = Case::with_one(Deed::Crashes, 8, 3);
    let policy = Policy { window: 4, batch: 2, ..one.policy.clone() };
    let case = Case { policy, any_order: true, ..one };
    let calm = run(&case, &Options::default());
    for (at, slot) in (0..=calm.steps).flat_map(|at| [(at, 1), (at, 2)]) {
        let report = run(&case, &Options { kill_at: Some((at, slot)), ..Options::default() });
        assert_eq!(report.violation, None, "slot {slot} killed at {at}");
        for (task, verdict) in (1..).zip(&report.verdicts) {
            let found = matches!(verdict, Some(Verdict::Quarantined(_)));
            assert_eq!(found, task == 3, "task {task}, slot {slot} killed at {at}: {verdict:?}");
        }
    }
}

#[test]
fn the_run_may_be_killed_before_every_step_and_the_next_one_does_the_rest() {
    for deed in [Deed::Well, Deed::Crashes, Deed::HalfThenExits, Deed::LeavesChild] {
        let case = Case::with_one(deed, 4, 2);
        let calm = run(&case, &Options::default());
        for at in 1..=calm.steps {
            let report = run(&case, &Options { kill_run_at: Some(at), ..Options::default() });
            assert_eq!(report.violation, None, "{deed:?}, the run killed at {at}");
            let others = [1, 3, 4].map(|task| report.verdicts[task - 1]);
            assert_eq!(others, [Some(Verdict::Done); 3], "{deed:?}, the run killed at {at}");
        }
    }
}

#[test]
fn seeds_hold_and_are_the_same_twice() {
    for seed in 0..2_000 {
        let case = Case::of(seed);
        let report = run(&case, &Options::default());
        assert_eq!(report.violation, None, "seed {seed}: {case:?}");
        assert_eq!(report.hash, run(&case, &Options::default()).hash);
    }
}

/// A worker that was stopped while it said a long answer did not go on where it was: its next answer became a part of that one.
#[test]
fn who_was_stopped_while_it_answered_goes_on_where_it_was() {
    assert_eq!(run(&Case::of(77_051_456), &Options::default()).violation, None);
}

#[test]
fn a_loop_that_is_broken_on_purpose_is_found_and_made_small() {
    for broken in Breakage::ALL {
        let options = Options { broken: Some(*broken), ..Options::default() };
        let found = (0..5_000).find_map(|seed| Some((seed, shrink(&Case::of(seed), &options)?)));
        let (seed, small) = found.unwrap_or_else(|| panic!("{broken:?} is not found"));
        let check = small.report.violation.expect("a violation").check;
        println!("{broken:?}: seed {seed}, check {check}, without {}", small.cut);
    }
}
