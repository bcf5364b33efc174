//! Pools under every fault: sizes, rolls, changes of configuration, clients at their socket, and deaths of the supervisor.

use crate::killed::killed_everywhere;
use doula_model::event::Command;
use doula_model::id::ServiceId;
use doula_model::pool::{Bounds, PoolSpec};
use doula_model::service::ServiceSpec;
use doula_sim::world::{Breakage, Deed, Fault, Habit, Member, Options, Scenario, Sites, run, shrink};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

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

/// A supervisor of servers, with everything that can go wrong, in peace and killed at three moments of its life.
#[test]
fn who_was_taken_is_answered_and_nobody_is_refused_or_waits_for_ever_whatever_goes_wrong() {
    let mut fates = BTreeSet::new();
    for (habit, seed) in
        Habit::SERVERS.into_iter().flat_map(|habit| (0..SEEDS / 8).map(move |seed| (habit, seed)))
    {
        let scenario = Scenario::of_servers(seed, habit);
        let report = run(&scenario, &Options { keep_lines: seed < 20, ..Options::default() });
        assert_eq!(report.violation, None, "{habit:?}, seed {seed}");
        fates.extend(report.lines.iter().filter(|line| line.who == "a client").map(|line| line.what.clone()));
        for part in 1..4 {
            let options = Options { kill_at: Some(report.steps * part / 4 + 1), ..Options::default() };
            assert_eq!(run(&scenario, &options).violation, None, "{habit:?}, seed {seed}, {options:?}");
        }
    }
    for fate in ["Answered", "Silent", "Err(Errno(11))"] {
        assert!(fates.iter().any(|told| told.contains(fate)), "{fate} was not seen: {fates:?}");
    }
}

/// What is asked of a pool, and what is told when it is done.
fn operations(members: &[Member]) -> [(&'static str, Vec<Deed>, &'static str); 7] {
    let all: Vec<ServiceId> = (0..members.len() as u32).map(ServiceId).collect();
    let changed = |member: &Member| ServiceSpec { fingerprint: 7, ..member.spec.clone() };
    let file = members.iter().map(changed).collect();
    let ask = |command| Deed::Command(command);
    [
        ("start", vec![], "is ready after"),
        ("roll", vec![ask(Command::Restart(all.clone()))], "has replaced"),
        ("reload", vec![ask(Command::Reload(all.clone()))], "has replaced"),
        ("apply", vec![ask(Command::Apply(file))], "has replaced"),
        ("stop", vec![ask(Command::Stop(all.clone())), ask(Command::Start(all))], "is stopped"),
        ("scale", vec![], "workers, because"),
        ("upgrade", vec![Deed::Upgrade], "is another program now"),
    ]
}

/// A pool whose size follows what waits, so that it grows and shrinks.
fn elastic(mut scenario: Scenario) -> Scenario {
    for member in &mut scenario.members {
        let spec =
            PoolSpec { surge: 1, ..PoolSpec::new("web", Bounds { start: 1, max: scenario_max(member) }) };
        member.spec.pool = Some(Arc::new(spec));
    }
    scenario
}

fn scenario_max(member: &Member) -> u32 {
    member.spec.pool.as_ref().map_or(1, |pool| pool.places() - 1)
}

#[test]
fn a_pool_with_clients_is_whole_whenever_its_supervisor_is_killed_while_it_starts_rolls_scales_reloads_or_upgrades()
 {
    let (mut deaths, mut seen) = (0, BTreeSet::new());
    for (place, habit) in [Habit::Server, Habit::ForkingServer, Habit::WornServer].into_iter().enumerate() {
        for seed in (0..3).map(|seed| seed + 100 * place as u64) {
            let plain = Scenario { sites: Sites::NONE, deeds: vec![], ..Scenario::of_servers(seed, habit) };
            for (name, deeds, told) in operations(&plain.members) {
                let base = if name == "scale" { elastic(plain.clone()) } else { plain.clone() };
                let at = (1..).map(|place| Duration::from_millis(400 * place));
                let scenario = Scenario { deeds: at.zip(deeds).collect(), ..base };
                let options = Options { most_events: 250, keep_lines: true, ..Options::default() };
                if run(&scenario, &options).lines.iter().any(|line| line.what.contains(told)) {
                    seen.insert(name);
                }
                deaths += killed_everywhere(&scenario, None);
            }
        }
    }
    println!("{deaths} deaths");
    let all: BTreeSet<&str> = operations(&[]).iter().map(|(name, ..)| *name).collect();
    assert_eq!(seen, all, "each of them is done in some pool");
}

#[test]
fn a_socket_is_kept_or_found_again_when_the_keeper_dies_with_the_supervisor() {
    for habit in [Habit::Server, Habit::ForkingServer] {
        for seed in 0..4 {
            let sites = Sites::NONE.with(Fault::KeeperLost);
            let scenario = Scenario { sites, deeds: vec![], ..Scenario::of_servers(seed, habit) };
            killed_everywhere(&scenario, None);
        }
    }
}

#[test]
fn a_failing_pool_is_made_small_without_touching_its_workers() {
    let options = Options { broken: Some(Breakage::MaskInherited), ..Options::default() };
    let scenario = Scenario::of_servers(1, Habit::Server);
    let small = shrink(&scenario, &options).expect("it fails");
    assert!(small.cut.services.is_empty() && small.cut.clients, "{}", small.cut);
    let again = small.cut.to_string().parse().expect("what is printed is read");
    assert_eq!(small.cut, again);
}
