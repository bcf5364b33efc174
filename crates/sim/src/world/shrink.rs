//! A failing scenario made small: services, deeds and faults are left out and events taken away as long as the same
//! check still fails.

use super::play::{Options, Report, run};
use super::scenario::{Cut, Scenario};
use crate::shrink::smallest;
use alloc::vec::Vec;

/// The smallest scenario that was found.
pub type Smallest = crate::shrink::Smallest<Cut, Options, Report>;

/// Makes a scenario small that ends with a violation; `None` if it does not.
#[must_use]
pub fn shrink(scenario: &Scenario, options: &Options) -> Option<Smallest> {
    let report = run(scenario, options);
    let check = report.violation.as_ref()?.check;
    let first = Smallest { cut: Cut::default(), options: *options, report };
    let fails = |cut: &Cut, options: &Options| {
        let report = run(&scenario.without(cut), options);
        report.violation.as_ref().is_some_and(|violation| violation.check == check).then_some(report)
    };
    Some(smallest(first, |best| wishes(scenario, best), and, fails))
}

/// One thing less, in every way, and in the end half of the events.
fn wishes(scenario: &Scenario, best: &Smallest) -> Vec<(Cut, Options)> {
    let mut all: Vec<_> = smaller(scenario, &best.cut).into_iter().map(|cut| (cut, best.options)).collect();
    if best.options.most_events > 0 {
        all.push((best.cut.clone(), Options { most_events: best.options.most_events / 2, ..best.options }));
    }
    all
}

/// Both left out.
fn and(before: &Cut, mut cut: Cut) -> Cut {
    let more: Vec<_> = before.services.iter().filter(|at| !cut.services.contains(at)).copied().collect();
    cut.services.extend(more);
    let more: Vec<_> = before.deeds.iter().filter(|at| !cut.deeds.contains(at)).copied().collect();
    cut.deeds.extend(more);
    let more: Vec<_> = before.faults.iter().filter(|at| !cut.faults.contains(at)).copied().collect();
    cut.faults.extend(more);
    cut.clients |= before.clients;
    cut
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
