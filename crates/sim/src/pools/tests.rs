//! The burst on which the servers themselves were measured: 64 clients, a handler of 0.2 s, 12 s long.

use super::*;
use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;
use doula_core::pool::{Bounds, Policy, Spare};
use doula_model::time::Time;

const SECOND: Duration = Duration::from_secs(1);
const HANDLER: Handler = Handler { least: Duration::from_millis(200), most: Duration::from_millis(200) };
const SPARE: Spare = Spare { min: 5, max: 10 };

fn burst() -> Load {
    let clients = Phase { source: Source::Clients(64), lasts: 12 * SECOND };
    Load::Described(vec![clients, Phase { source: Source::Quiet, lasts: 60 * SECOND }], HANDLER)
}

fn setup(policy: Policy) -> Setup {
    Setup {
        policy,
        bounds: Bounds { start: 5, max: 100 },
        boot: Duration::from_millis(10),
        memory_for: None,
        backlog: 511,
        seed: 1,
        watched: 72 * SECOND,
    }
}

/// How many workers lived in the middle of each second.
fn each_second(outcome: &Outcome, seconds: u64) -> Vec<u32> {
    let half = Duration::from_millis(500);
    (0..seconds)
        .map(|second| outcome.workers_at(Time::ZERO.after(Duration::from_secs(second) + half)))
        .collect()
}

#[test]
fn apache_grows_as_the_real_one_does() {
    let outcome = run(&setup(Policy::Apache(SPARE)), &burst());
    assert_eq!(each_second(&outcome, 8), [5, 6, 8, 12, 20, 36, 68, 100]);
    let quiet = each_second(&outcome, 50);
    assert!(quiet[14..].windows(2).all(|pair| pair[0] == pair[1] + 1), "one less each second: {quiet:?}");
}

#[test]
fn php_fpm_grows_by_what_is_missing_and_no_faster() {
    let outcome = run(&setup(Policy::FpmDynamic(SPARE)), &burst());
    assert_eq!(each_second(&outcome, 12), [5, 6, 8, 12, 17, 22, 27, 32, 37, 42, 47, 52]);
}

#[test]
fn php_fpm_on_demand_doubles_with_each_answer_for_connections_that_come_together_are_heard_once() {
    let outcome = run(&setup(Policy::FpmOndemand { idle: 10 * SECOND }), &burst());
    let at = |millis| outcome.workers_at(Time::ZERO.after(Duration::from_millis(millis)));
    assert_eq!((at(100), at(2_500)), (1, 64), "the real one had 64 after 1.9 s");
    assert!((8..40).contains(&at(1_100)), "and 16 after 1.1 s: {}", at(1_100));
    assert!((85..96).contains(&(outcome.served * 100 / 3_840)), "and served 87 %: {}", outcome.served);
}

#[test]
fn the_queue_brings_nearly_all_that_could_be_served_and_the_pool_is_small_again_afterwards() {
    let outcome = run(&setup(Policy::Backlog), &burst());
    assert!(outcome.served * 100 >= 3_840 * 97, "served {}", outcome.served);
    assert!(outcome.most <= 70, "no more than are needed: {}", outcome.most);
    assert_eq!(outcome.workers_at(Time::ZERO.after(70 * SECOND)), 5);
}

#[test]
fn the_same_seed_gives_the_same_outcome_and_another_one_another() {
    let load = Load::Described(vec![Phase { source: Source::Rate(200), lasts: 5 * SECOND }], HANDLER);
    let once = run(&setup(Policy::Backlog), &load);
    assert_eq!(once, run(&setup(Policy::Backlog), &load));
    assert_ne!(once, run(&Setup { seed: 2, ..setup(Policy::Backlog) }, &load));
    assert!((850..1_150).contains(&once.served), "about 200 a second: {}", once.served);
}

#[test]
fn who_waits_at_a_full_queue_comes_again_and_is_counted() {
    let crowd = Load::Recorded((0..20).map(|_| (Time::ZERO, SECOND / 10)).collect());
    let narrow = Setup { bounds: Bounds { start: 1, max: 1 }, backlog: 4, ..setup(Policy::Fixed) };
    let outcome = run(&narrow, &crowd);
    assert_eq!(outcome.served, 20);
    assert!(outcome.refused >= 15, "one is served, four wait: {}", outcome.refused);
}

#[test]
fn there_are_never_more_workers_than_memory_for_them() {
    let outcome = run(&Setup { memory_for: Some(20), ..setup(Policy::Backlog) }, &burst());
    assert_eq!(outcome.most, 20);
}

#[test]
fn every_worker_is_counted_for_the_time_of_its_life() {
    let nothing = Load::Described(vec![Phase { source: Source::Quiet, lasts: 10 * SECOND }], HANDLER);
    let outcome = run(&Setup { watched: 10 * SECOND, ..setup(Policy::Backlog) }, &nothing);
    assert_eq!((outcome.worker_time, outcome.looks), (50 * SECOND, 1));
}
