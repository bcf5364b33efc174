//! Where others failed: our own engine and driver in the world on paper, with all that made them fail, and more.
//! The world's checks hold what must be: zombies are buried, each birth has one end, what is inherited is what was planned.

use doula_sim::world::{Breakage, Fault, Habit, Options, Scenario, run};

/// So many worlds are played for each mistake.
const WORLDS: usize = 25;
/// Among so many seeds they are looked for.
const SEEDS: u64 = 20_000;

/// Plays worlds that have what made others fail.
fn holds_where(what: &str, fits: impl Fn(&Scenario) -> bool) {
    let worlds: Vec<Scenario> = (0..SEEDS).map(Scenario::of).filter(fits).take(WORLDS).collect();
    assert_eq!(worlds.len(), WORLDS, "{what}: worlds enough are like that");
    for scenario in worlds {
        let report = run(&scenario, &Options::default());
        assert_eq!(report.violation, None, "{what}: seed {}", scenario.seed);
        assert!(report.code.is_some(), "{what}: seed {} comes to an end", scenario.seed);
    }
}

fn has(scenario: &Scenario, habits: &[Habit]) -> bool {
    scenario.members.iter().any(|member| habits.contains(&member.habit))
}

#[test]
fn our_supervisor_misses_no_death_where_catatonit_containerd_and_dumb_init_did() {
    holds_where("many deaths, late SIGCHLD", |scenario| {
        let short = |habit: &Habit| matches!(habit, Habit::Task | Habit::CrashLoop | Habit::ReadyThenDies);
        let ends = scenario.members.iter().filter(|member| short(&member.habit)).count();
        ends >= 3 && scenario.sites.has(Fault::ChildSignalLate)
    });
}

#[test]
fn our_supervisor_buries_what_it_adopts_where_start9_gitpod_and_conmon_did_not() {
    let leaves = [Habit::DoubleForker, Habit::DeafGrandchild, Habit::ZombieMaker];
    holds_where("orphans of PID 1", |scenario| scenario.machine.pid_one && has(scenario, &leaves));
    holds_where("orphans of a subreaper", |scenario| !scenario.machine.pid_one && has(scenario, &leaves));
}

#[test]
fn our_supervisor_stands_a_wait_that_steals_as_kernel_images_feared() {
    let stolen = |scenario: &Scenario| scenario.sites.has(Fault::WaitStolen);
    holds_where("a library buries our children", |scenario| {
        stolen(scenario) && has(scenario, &[Habit::DoubleForker])
    });
}

#[test]
fn our_supervisors_children_have_no_mask_of_it_as_those_of_waku_54_had() {
    let members = |scenario: &Scenario| has(scenario, &[Habit::ZombieMaker, Habit::Orphans]);
    holds_where("children that bear and bury", members);
    // And a supervisor that leaves its mask to them is found in the same worlds.
    let flawed = Options { broken: Some(Breakage::MaskInherited), ..Options::default() };
    let found = |scenario: &Scenario| run(scenario, &flawed).violation.map(|violation| violation.check);
    let first = (0..SEEDS).map(Scenario::of).find(members).expect("a world like that");
    assert_eq!(found(&first), Some("inherited"));
}

#[test]
fn our_supervisor_waits_for_whom_it_killed_where_sbsh_only_looked() {
    holds_where("SIGKILL", |scenario| {
        has(scenario, &[Habit::IgnoresTerm]) && scenario.sites.has(Fault::Preempted)
    });
}
