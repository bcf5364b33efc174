//! A failing scenario made small: services, deeds and faults are left out and events taken away as long as the same
//! check still fails.

use super::play::{Options, Report, run};
use super::scenario::{Cut, Scenario};
use alloc::vec::Vec;

/// The smallest scenario that was found.
#[derive(Clone, Debug)]
pub struct Smallest {
    /// What was left out.
    pub cut: Cut,
    /// How it is played.
    pub options: Options,
    /// How it ends.
    pub report: Report,
}

/// Makes a scenario small that ends with a violation; `None` if it does not.
#[must_use]
pub fn shrink(scenario: &Scenario, options: &Options) -> Option<Smallest> {
    let report = run(scenario, options);
    let check = report.violation.as_ref()?.check;
    let mut best = Smallest { cut: Cut::default(), options: *options, report };
    loop {
        let before = (best.cut.clone(), best.options);
        for cut in smaller(scenario, &best.cut) {
            best = better(scenario, check, &best, (cut, best.options)).unwrap_or(best);
        }
        let half = Options { most_events: best.options.most_events / 2, ..best.options };
        best = better(scenario, check, &best, (best.cut.clone(), half)).unwrap_or(best);
        if (&best.cut, best.options) == (&before.0, before.1) || best.options.most_events == 0 {
            return Some(best);
        }
    }
}

/// The scenario with more left out, if the same check still fails.
fn better(scenario: &Scenario, check: &str, than: &Smallest, wish: (Cut, Options)) -> Option<Smallest> {
    let (mut cut, options) = wish;
    // What was left out meanwhile stays out.
    cut.services.extend(
        than.cut.services.iter().filter(|at| !cut.services.contains(at)).copied().collect::<Vec<_>>(),
    );
    cut.deeds.extend(than.cut.deeds.iter().filter(|at| !cut.deeds.contains(at)).copied().collect::<Vec<_>>());
    cut.faults
        .extend(than.cut.faults.iter().filter(|at| !cut.faults.contains(at)).copied().collect::<Vec<_>>());
    cut.clients |= than.cut.clients;
    let report = run(&scenario.without(&cut), &options);
    let same = report.violation.as_ref().is_some_and(|violation| violation.check == check);
    same.then_some(Smallest { cut, options, report })
}

/// The cut and one thing more, in every way.
fn smaller(scenario: &Scenario, cut: &Cut) -> Vec<Cut> {
    let mut all = Vec::new();
    // The workers of a pool are all the same, and it counts on so many places.
    let services = if scenario.is_pool() { 0 } else { scenario.members.len() };
    for at in (0..services).filter(|at| !cut.services.contains(at)) {
        let mut more = cut.clone();
        more.services.push(at);
        all.push(more);
    }
    for at in (0..scenario.deeds.len()).filter(|at| !cut.deeds.contains(at)) {
        let mut more = cut.clone();
        more.deeds.push(at);
        all.push(more);
    }
    if scenario.clients.is_some() && !cut.clients {
        all.push(Cut { clients: true, ..cut.clone() });
    }
    for fault in scenario.sites.iter().filter(|fault| !cut.faults.contains(fault)) {
        let mut more = cut.clone();
        more.faults.push(fault);
        all.push(more);
    }
    all
}
