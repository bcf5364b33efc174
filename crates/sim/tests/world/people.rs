//! People at the control socket: in pieces, too much, without reading, nonsense, and gone in the middle; also when the supervisor is
//! killed or becomes another program.

use crate::killed::killed_everywhere;
use doula_sim::world::{Deed, Fault, Line, Options, Report, Scenario, Sites, run};
use std::time::Duration;

const ASKED: Sites = Sites::NONE.with(Fault::PeopleAsk);

fn play(scenario: &Scenario) -> Report {
    let report = run(scenario, &Options { keep_lines: true, ..Options::default() });
    assert_eq!(report.violation, None, "seed {}", scenario.seed);
    report
}

#[test]
fn whoever_asks_is_answered_once_and_costs_little_however_it_asks() {
    let (mut asked, mut manners) = (0, vec![0; 5]);
    for seed in 0..60 {
        let report = play(&Scenario { sites: ASKED, ..Scenario::of(seed).undisturbed() });
        for line in report.lines.iter().filter(|line| line.who == "people") {
            asked += usize::from(line.what.contains("asks by"));
            let names = ["Polite", "Slow", "Deaf", "Vanishes", "Garbage"];
            for (count, name) in manners.iter_mut().zip(names) {
                *count += usize::from(line.what.contains(name));
            }
        }
    }
    println!("{asked} requests; of each manner: {manners:?}");
    assert!(asked > 1_000 && manners.iter().all(|count| *count > 20), "{asked}, {manners:?}");
}

#[test]
fn so_it_is_when_the_supervisor_is_killed_at_any_step_or_becomes_another_program() {
    for seed in 0..2 {
        let upgrade = vec![(Duration::from_secs(5), Deed::Upgrade)];
        let scenario = Scenario { sites: ASKED, deeds: upgrade, ..Scenario::of(seed).undisturbed() };
        killed_everywhere(&scenario, None);
    }
}

#[test]
fn talks_go_on_with_the_program_that_takes_our_place() {
    let goes_on = |seed| {
        let upgrade = vec![(Duration::from_secs(5), Deed::Upgrade)];
        let lines =
            play(&Scenario { sites: ASKED, deeds: upgrade, ..Scenario::of(seed).undisturbed() }).lines;
        let at = lines.iter().position(|line| line.what.contains("another program now"));
        at.is_some_and(|at| {
            let who = |line: &Line, verb| line.what.split_once(verb).map(|(who, _)| who.to_owned());
            let came: Vec<_> = lines[..at].iter().filter_map(|line| who(line, " comes, ")).collect();
            let asks = lines[at..].iter().filter_map(|line| who(line, " asks by "));
            asks.into_iter().any(|who| came.contains(&who))
        })
    };
    let count = (0..60).filter(|seed| goes_on(*seed)).count();
    println!("in {count} of 60 families somebody went on asking another program");
    assert!(count > 0);
}
