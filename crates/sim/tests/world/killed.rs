//! SIGKILL of the supervisor at each of its steps: calls, lines that it writes down, the handing over to the next one, and steps
//! of its children before their programs. The next one takes over: nobody runs twice, nobody is forgotten, each end is told as it
//! was, and at the end init has buried all.

use doula_model::event::Command;
use doula_model::id::ServiceId;
use doula_model::service::ServiceSpec;
use doula_sim::world::{Deed, Fault, Member, Options, Scenario, Sites, run};
use std::time::Duration;

/// So many families, each killed at every step of its life.
const FAMILIES: u64 = 12;
/// Where everything is written down, and torn with the one who writes it.
const PLAIN: Options =
    Options { most_events: 250, kill_at: Some(u64::MAX), kill_again: None, keep_lines: false, broken: None };

/// Kills at every step; how many deaths it were.
pub(crate) fn killed_everywhere(scenario: &Scenario, again: Option<u64>) -> u64 {
    let (seed, options) = (scenario.seed, Options { kill_again: again, ..PLAIN });
    let calm = run(scenario, &options);
    assert_eq!(calm.violation, None, "seed {seed}, nobody killed");
    for step in 1..=calm.steps {
        let report = run(scenario, &Options { kill_at: Some(step), ..options });
        assert_eq!(report.violation, None, "seed {seed}, killed at step {step}, and again after {again:?}");
        assert!(report.steps > step, "seed {seed}: nobody came after the one that was killed at {step}");
    }
    calm.steps
}

#[test]
fn a_supervisor_that_is_killed_at_any_step_is_followed_by_one_that_goes_on_where_it_was() {
    let families = (0..FAMILIES).map(|seed| Scenario::of(seed).undisturbed());
    let deaths: u64 = families.map(|scenario| killed_everywhere(&scenario, None)).sum();
    println!("{deaths} deaths");
    assert!(deaths > 1_000, "{deaths}");
}

#[test]
fn so_is_one_whose_family_is_started_stopped_and_restarted_by_people() {
    let deeds = |seed| Scenario { sites: Sites::NONE, ..Scenario::of(seed) };
    let busy = (0..).map(deeds).filter(|scenario| scenario.deeds.len() > 4);
    let deaths: u64 = busy.take(6).map(|scenario| killed_everywhere(&scenario, None)).sum();
    println!("{deaths} deaths");
}

#[test]
fn so_is_one_that_is_killed_while_it_takes_over() {
    let scenario = Scenario::of(1).undisturbed();
    let deaths: u64 = (1..40).step_by(3).map(|again| killed_everywhere(&scenario, Some(again))).sum();
    println!("{deaths} times two deaths");
}

#[test]
fn nobody_is_started_twice_when_the_keeper_dies_too_or_the_disk_has_no_room() {
    for faults in [&[Fault::KeeperLost][..], &[Fault::DiskFull], &[Fault::DiskFull, Fault::DiskBroken]] {
        let sites = faults.iter().fold(Sites::NONE, |sites, fault| sites.with(*fault));
        for seed in 0..3 {
            killed_everywhere(&Scenario { sites, ..Scenario::of(seed).undisturbed() }, None);
        }
    }
}

#[test]
fn nobody_is_left_whom_a_kill_has_missed() {
    let misses = |scenario: &Scenario| {
        let lines = run(scenario, &Options { keep_lines: true, ..PLAIN }).lines;
        lines.iter().any(|line| line.what.contains("is not reached"))
    };
    let of = |seed| Scenario { sites: Sites::NONE.with(Fault::KillMisses), ..Scenario::of(seed) };
    let scenarios = (0..1_000).map(of).filter(misses).take(6);
    let deaths: Vec<u64> = scenarios.map(|scenario| killed_everywhere(&scenario, None)).collect();
    println!("{deaths:?} deaths");
    assert_eq!(deaths.len(), 6);
}

#[test]
fn no_line_is_lost_torn_or_told_once_more_than_it_may_be() {
    let of =
        |seed| Scenario { sites: Sites::NONE.with(Fault::LinesInPieces), ..Scenario::of(seed).undisturbed() };
    let deaths: u64 = (0..6).map(|seed| killed_everywhere(&of(seed), None)).sum();
    println!("{deaths} deaths, {} times two deaths", killed_everywhere(&of(1), Some(30)));
    assert!(deaths > 1_000, "{deaths}");
}

#[test]
fn it_is_so_too_while_things_go_wrong() {
    for seed in 0..1_500 {
        let scenario = Scenario::of(seed);
        let steps = run(&scenario, &Options::default()).steps;
        let step = seed.wrapping_mul(0x9e37_79b9) % steps + 1;
        let again = (seed % 2 == 0).then_some(seed % 64);
        let options = Options { kill_at: Some(step), kill_again: again, ..Options::default() };
        assert_eq!(run(&scenario, &options).violation, None, "seed {seed}, {options:?}");
    }
}

#[test]
fn so_is_one_that_goes_on_as_another_program() {
    let (mut deaths, mut upgraded) = (0, 0);
    for seed in (0..12).chain([27]) {
        let deeds = vec![(Duration::from_secs(5), Deed::Upgrade)];
        let scenario = Scenario { deeds, ..Scenario::of(seed).undisturbed() };
        let lines = run(&scenario, &Options { keep_lines: true, ..PLAIN }).lines;
        upgraded += lines.iter().filter(|line| line.what.contains("another program now")).count();
        deaths += killed_everywhere(&scenario, None);
    }
    println!("{deaths} deaths, {upgraded} upgrades");
    assert!(upgraded > 5, "{upgraded}");
}

#[test]
fn so_is_one_whose_services_are_reloaded_or_changed_by_a_new_configuration() {
    let mut deaths = 0;
    for seed in 20..24 {
        let calm = Scenario::of(seed).undisturbed();
        let all: Vec<ServiceId> = (0..calm.members.len() as u32).map(ServiceId).collect();
        let changed = |member: &Member| ServiceSpec { fingerprint: 7, ..member.spec.clone() };
        let file: Vec<ServiceSpec> = calm.members.iter().map(changed).collect();
        for command in [Command::Reload(all.clone()), Command::Apply(file.clone())] {
            let deeds = vec![(Duration::from_secs(3), Deed::Command(command))];
            deaths += killed_everywhere(&Scenario { deeds, ..calm.clone() }, None);
        }
    }
    println!("{deaths} deaths");
}
