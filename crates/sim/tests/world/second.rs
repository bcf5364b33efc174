//! Two supervisors of one family: the second one is refused while the first lives, and one of several goes on when it is dead.

use crate::killed::killed_everywhere;
use doula_sim::world::{Fault, Options, Scenario, Sites, run};

#[test]
fn a_second_supervisor_is_refused_while_the_first_lives_and_one_goes_on_when_it_is_dead() {
    let sites = Sites::NONE.with(Fault::SecondSupervisor);
    let (mut refused, mut raced) = (0, 0);
    for seed in 0..200 {
        let scenario = Scenario { sites, ..Scenario::of(seed).undisturbed() };
        let options = Options { kill_at: Some(seed % 90 + 1), keep_lines: true, ..Options::default() };
        let report = run(&scenario, &options);
        assert_eq!(report.violation, None, "seed {seed}");
        let said = |what: &str| report.lines.iter().filter(|line| line.what.contains(what)).count();
        refused += said("start another supervisor");
        raced += said("supervisors want the place");
    }
    println!("{refused} were refused while another one lived, {raced} times several began at once");
    assert!(refused > 20 && raced > 20, "{refused}, {raced}");
}

#[test]
fn so_it_is_at_every_step_of_the_first() {
    let sites = Sites::NONE.with(Fault::SecondSupervisor);
    for seed in 0..4 {
        killed_everywhere(&Scenario { sites, ..Scenario::of(seed).undisturbed() }, Some(7));
    }
}
