//! How a scenario and its violation are shown.

use crate::error::Failure;
use crate::ui::{Ui, escape};
use doula_sim::world::{Cut, Line, Options, Report, Scenario, Violation, shrink};
use serde::Serialize;
use std::collections::BTreeMap;

/// How it went, for programs.
#[derive(Debug, Serialize)]
pub(super) struct Answer {
    seed: u64,
    events: u64,
    steps: u64,
    code: Option<u8>,
    hash: String,
    fired: BTreeMap<&'static str, u32>,
    violation: Option<Finding>,
}

/// A violation, with the command that shows it in its smallest form.
#[derive(Debug, Serialize)]
pub(super) struct Finding {
    pub(super) check: &'static str,
    pub(super) text: String,
    pub(super) replay: String,
}

/// One event, for programs.
#[derive(Debug, Serialize)]
struct Event<'a> {
    at: u64,
    who: &'a str,
    what: &'a str,
}

impl Answer {
    pub(super) fn new(scenario: &Scenario, report: &Report, finding: Option<Finding>) -> Answer {
        Answer {
            seed: scenario.seed,
            events: report.events,
            steps: report.steps,
            code: report.code,
            hash: format!("{:016x}", report.hash),
            fired: report.fired.iter().map(|(fault, times)| (fault.site().name, *times)).collect(),
            violation: finding,
        }
    }
}

impl Finding {
    /// Makes the scenario small; `None` when nothing is wrong with it. `calm`: it was played without faults.
    pub(super) fn of(scenario: &Scenario, options: &Options, calm: bool) -> Option<Finding> {
        let small = shrink(scenario, options)?;
        let violation = small.report.violation.clone()?;
        let replay = replay(scenario, &small.options, calm, &small.cut);
        Some(Finding { check: violation.check, text: violation.text, replay })
    }

    pub(super) fn show(&self, ui: &mut Ui) -> Result<(), Failure> {
        ui.line(&format!("{}: {}", self.check, escape(&self.text)))?;
        ui.line(&format!("smallest: {}", self.replay))
    }
}

/// The command that plays this.
pub(super) fn replay(scenario: &Scenario, options: &Options, calm: bool, cut: &Cut) -> String {
    let mut words = format!("doula sim run --seed {} --steps {}", scenario.seed, options.most_events);
    if scenario.is_pool() {
        words += " --pool";
    }
    if calm {
        words += " --calm";
    }
    if let Some(step) = options.kill_at {
        words += &format!(" --kill-at {step}");
    }
    if let Some(steps) = options.kill_again {
        words += &format!(" --kill-again {steps}");
    }
    if let Some(broken) = options.broken {
        words += &format!(" --broken {}", broken.name());
    }
    if !cut.is_empty() {
        words += &format!(" --without {cut}");
    }
    words + " --trace"
}

/// What must not be, if it was: in its smallest form where one was found.
pub(super) fn violation(
    violation: Option<&Violation>,
    finding: Option<Finding>,
    ui: &mut Ui,
) -> Result<(), Failure> {
    match (violation, finding) {
        (Some(violation), None) => ui.line(&format!("{}: {}", violation.check, violation.text)),
        (Some(_), Some(finding)) => finding.show(ui),
        (None, _) => Ok(()),
    }
}

/// The events, one line each.
pub(super) fn events(lines: &[Line], json: bool, ui: &mut Ui) -> Result<(), Failure> {
    let mut text = String::new();
    for line in lines {
        if json {
            ui.json(&Event { at: line.at.as_nanos(), who: &line.who, what: &line.what })?;
        } else {
            let seconds = line.at.as_nanos() as f64 / 1e9;
            text += &format!("{seconds:14.6}  {:<12} {}\n", escape(&line.who), escape(&line.what));
        }
    }
    ui.print(&text)
}
